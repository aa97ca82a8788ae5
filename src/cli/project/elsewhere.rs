//! A project on another host, as a snapshot tells of it.

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    effect::{host, user::Account},
    error::{Code, Error, Result},
    layout::Layout,
    observe::{
        Memory, Situation, Wish,
        snapshot::{Machine, Snapshot, Unstable},
    },
    plan::Options,
    resource::Plan,
    service::{
        self,
        backend::{self, Managers},
        definition::{KNOWN_AT_APPLY, Service},
        spec::{DeclaredService, program::Programs, sink::DeclaredSink},
        unit::UnitContext,
    },
    spec::Spec,
    state::format::{Origin, OriginKind},
};

use super::{super::context::Context, Project};

/// What a snapshot says of the host that a plan is for.
pub struct Elsewhere {
    /// What a plan must know of it besides its resources.
    pub machine: Machine,
    /// Where its spec came from when it was last applied.
    origin: Option<Origin>,
}

impl<'a> Project<'a> {
    /// The project on the host of a snapshot, and what the plan is to be made of. Nothing of this
    /// host is looked at.
    pub fn of_snapshot(context: &'a Context, mut snapshot: Snapshot) -> (Self, Snapshot) {
        let machine = snapshot.machine.clone();
        let layout = Layout::new(machine.state_dir.clone(), snapshot.project.clone());
        let account = |(name, owner): (&String, &crate::resource::Owner)| {
            let known = Account {
                name: name.clone(),
                owner: *owner,
                home: PathBuf::new(),
            };
            (name.clone(), Some(known))
        };
        let unstable = machine.unstable.as_ref().map(|unstable| {
            let mut error = Error::new(Code::BinaryUnstable, unstable.message.clone());
            error.suggestion.clone_from(&unstable.suggestion);
            error
        });
        let origin = snapshot.origin.clone();
        let applied = std::mem::take(&mut snapshot.applied);
        let mut memory = Memory::empty(
            snapshot.project.clone(),
            snapshot.lineage.clone(),
            snapshot.created_at,
        );
        // What a new resource is resolved against is looked up here.
        memory.state.resources = applied;
        let project = Self {
            context,
            units: UnitContext {
                binary: machine.binary.clone(),
                layout: layout.clone(),
            },
            layout,
            memory,
            host: snapshot.host.clone(),
            unstable,
            accounts: RefCell::new(
                machine
                    .users
                    .iter()
                    .map(account)
                    .collect::<BTreeMap<_, _>>(),
            ),
            programs: Programs::of_another_host(),
            glimpses: RefCell::default(),
            ahead: RefCell::default(),
            asks_issuers: false,
            asked: None,
            elsewhere: Some(Elsewhere { machine, origin }),
        };
        (project, snapshot)
    }

    /// Plans for the host of a snapshot that [`Project::of_snapshot`] gave back.
    ///
    /// # Errors
    /// As [`Project::decide`].
    pub fn plan_elsewhere(
        &mut self,
        mut snapshot: Snapshot,
        wish: Wish,
        options: Options,
    ) -> Result<Plan> {
        snapshot.applied = std::mem::take(&mut self.memory.state.resources);
        let observed_at = snapshot.created_at;
        let mut plan = self.decide(&snapshot.situation(wish), options)?;
        plan.subject.observed_at = Some(observed_at);
        Ok(plan)
    }

    /// Looks at this host, for a plan that is made elsewhere.
    ///
    /// # Errors
    /// As [`Situation::observe`].
    pub async fn observe(&mut self) -> Result<Snapshot> {
        let wish = Wish::default();
        let backends = self.backends(&wish)?;
        let mut situation = self.look(wish, &super::readers(&backends), &[]).await?;
        self.look_up_schedules(&mut situation, true);
        self.look_at_pins(&mut situation)?;
        let machine = self.machine(&situation)?;
        let now = self.context.now();
        Ok(Snapshot::of(situation, self.host.clone(), machine, now))
    }

    fn machine(&self, situation: &Situation) -> Result<Machine> {
        let account = self.context.account.clone();
        let mut users = BTreeMap::new();
        for name in Snapshot::users_of(&situation.applied)? {
            if let Some(known) = self.account(&name)? {
                users.insert(name, known.owner);
            }
        }
        let lingering = users.keys().filter(|name| host::lingers(name)).cloned();
        Ok(Machine {
            lingering: lingering.collect(),
            users,
            auto: backend::auto(account.owner.uid, Managers::of_host(account.owner.uid)),
            lingers: host::lingers(&account.name),
            worker_runs: service::worker::is_alive(&self.context.state_dir),
            state_dir: self.context.state_dir.clone(),
            binary: self.units.binary.clone(),
            unstable: self.unstable.as_ref().map(|error| Unstable {
                message: error.message.clone(),
                suggestion: error.suggestion.clone(),
            }),
            spec_dir: self.spec_dir(&situation.memory),
            account,
        })
    }

    /// Where the spec lies here: what `-f` or the current directory names, else where the last apply
    /// found it, as far as that was a directory and no repository, which may be checked out anew.
    fn spec_dir(&self, memory: &Memory) -> Option<PathBuf> {
        let spec = self.context.spec().ok();
        let own = spec.filter(|spec| spec.project == memory.state.project);
        own.map(|spec| spec.root).or_else(|| {
            let origin = memory.state.origin.as_ref()?;
            (origin.kind == OriginKind::Path).then(|| PathBuf::from(&origin.value))
        })
    }
}

impl Elsewhere {
    /// The directory, on the host, of a file of the spec that declares something.
    pub fn dir_of(&self, spec: &Spec, file: &str) -> PathBuf {
        self.there(spec, &spec.dir_of(file))
    }

    /// A service as it is declared, with the directories of its sinks on the host.
    pub fn declared<'s>(
        &self,
        spec: &Spec,
        declared: &'s DeclaredService,
    ) -> Cow<'s, DeclaredService> {
        if declared.sinks.is_empty() {
            return Cow::Borrowed(declared);
        }
        let mut moved = declared.clone();
        self.place(spec, &mut moved.sinks);
        Cow::Owned(moved)
    }

    /// Puts sinks into their directories on the host.
    pub fn place(&self, spec: &Spec, sinks: &mut [Arc<DeclaredSink>]) {
        for sink in sinks {
            let dir = self.there(spec, &sink.dir);
            Arc::make_mut(sink).dir = dir;
        }
    }

    /// A directory of the spec's, on the host.
    fn there(&self, spec: &Spec, here: &Path) -> PathBuf {
        let below = here.strip_prefix(&spec.root).unwrap_or(Path::new(""));
        match &self.machine.spec_dir {
            Some(dir) => dir.join(below).components().collect(),
            None => Path::new(KNOWN_AT_APPLY).join(below).components().collect(),
        }
    }

    /// The spec's origin, as far as it can be compared with that of the last apply there: a path of
    /// this machine says nothing of that one.
    pub fn origin(&self, here: Origin) -> Option<Origin> {
        let kind = self.origin.as_ref().map(|origin| origin.kind);
        (here.kind == OriginKind::Git && kind == Some(OriginKind::Git)).then_some(here)
    }

    /// What the reader is to know of users that no applied service has.
    pub fn warning(&self, service: &Service) -> Option<String> {
        let user = service.user.as_ref()?;
        (!self.machine.users.contains_key(user))
            .then(|| format!("whether the host has the user `{user}` is known at apply"))
    }
}
