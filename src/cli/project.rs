//! A project on this host: its memory, its backends, what the spec wants of it.

mod ahead;
mod credentials;
mod elsewhere;
mod reconcile;
mod resolve;

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use crate::{
    apply::execute::Backends,
    credential::plan::Glimpse,
    effect::{
        disk::EntryKind,
        executable, host,
        process::Stopwatch,
        threads,
        user::{self, Account},
    },
    error::{Error, Result},
    id::{Address, BackendId, Kind, ProjectName, ResourceName, Timestamp},
    layout::Layout,
    observe::{self, Memory, Readers, Situation, Wish},
    plan::{self, Options, kinds::Kinds},
    resource::{Act, Desired, Image, Observe, Plan, Refusal, Seen},
    service::{
        self,
        backend::{self, systemd::ANALYZER},
        definition::{Scheduler, Service, user_of},
        desired::{self, Owners},
        plan::Render,
        schedule::{self, Fire, Past},
        spec::{DeclaredService, program::Programs},
        status::file::{self as status, Stored},
        unit::UnitContext,
    },
    spec::Spec,
    state::origin,
};

use self::elsewhere::Elsewhere;
use super::{context::Context, status::Known};

/// Where a plan assumes lorectl when the running one is not fit to be called by units.
const ASSUMED_BINARY: &str = "/usr/local/bin/lorectl";

/// A thread is worth while for so many services.
const PIECE: usize = 64;

/// A project on this host.
pub struct Project<'a> {
    pub context: &'a Context,
    pub layout: Layout,
    pub memory: Memory,
    pub host: String,
    units: UnitContext,
    /// Why units cannot call the running binary.
    unstable: Option<Error>,
    accounts: RefCell<BTreeMap<String, Option<Account>>>,
    programs: Programs<'a>,
    /// What the sources of the credentials hold that the spec wants.
    glimpses: RefCell<BTreeMap<Address, Glimpse>>,
    /// What an apply of each credential would meet on this host.
    ahead: RefCell<BTreeMap<Address, Vec<String>>>,
    /// Whether issuers are asked how the values in use stand, before a plan.
    pub asks_issuers: bool,
    /// A credential of which someone asks for a new value.
    pub asked: Option<ResourceName>,
    /// What a snapshot says of the host, where it is not this one.
    elsewhere: Option<Elsewhere>,
}

impl<'a> Project<'a> {
    /// Reads the project's memory.
    ///
    /// # Errors
    /// As [`Memory::load`] and [`Memory::refuse_lost`].
    pub fn open(context: &'a Context, name: ProjectName) -> Result<Self> {
        let project = Self::open_to_repair(context, name)?;
        project.memory.refuse_lost(&project.layout)?;
        Ok(project)
    }

    /// As [`Project::open`], where the state may be lost.
    ///
    /// # Errors
    /// As [`Memory::load`].
    pub fn open_to_repair(context: &'a Context, name: ProjectName) -> Result<Self> {
        let layout = context.layout(name);
        let lineage = context.lineage(layout.project())?;
        let memory = Memory::load(context.disk.as_ref(), &layout, &lineage, context.now())?;
        let (binary, unstable) = match executable::stable_binary(context.account.owner.uid) {
            Ok(binary) => (binary, None),
            Err(error) => (ASSUMED_BINARY.into(), Some(error)),
        };
        Ok(Self {
            context,
            units: UnitContext {
                binary,
                layout: layout.clone(),
            },
            layout,
            memory,
            host: crate::effect::host::name()?,
            unstable,
            accounts: RefCell::default(),
            programs: Programs::new(context.disk.as_ref()),
            glimpses: RefCell::default(),
            ahead: RefCell::default(),
            asks_issuers: false,
            asked: None,
            elsewhere: None,
        })
    }

    /// Who applies.
    fn applier(&self) -> &Account {
        let there = self.elsewhere.as_ref();
        there.map_or(&self.context.account, |there| &there.machine.account)
    }

    fn account(&self, name: &str) -> Result<Option<Account>> {
        if let Some(known) = self.accounts.borrow().get(name) {
            return Ok(known.clone());
        }
        if self.elsewhere.is_some() {
            return Ok(None);
        }
        let found = user::by_name(name)?;
        self.accounts
            .borrow_mut()
            .insert(name.to_owned(), found.clone());
        Ok(found)
    }

    /// The account of a user as far as it is known here: the home of one who is not is `~USER`.
    fn known_account(&self, name: &str) -> Account {
        let known = self.account(name).ok().flatten();
        let mut account = known.unwrap_or_else(|| Account {
            name: name.to_owned(),
            owner: desired::KNOWN_AT_APPLY,
            home: PathBuf::new(),
        });
        if account.home.as_os_str().is_empty() {
            account.home = PathBuf::from(format!("~{name}"));
        }
        account
    }

    fn owners(&self, service: &Service) -> Result<Owners> {
        let account = match &service.user {
            None => None,
            Some(name) => self.account(name)?,
        };
        resolve::owners(
            service,
            self.applier(),
            account.as_ref(),
            self.elsewhere.is_some(),
        )
    }

    /// What the spec wants of this host.
    ///
    /// # Errors
    /// Everything that is wrong with it here, in one error: programs and users that are missing.
    pub fn wish(&self, spec: &Spec) -> Result<Wish> {
        let disk = self.context.disk.as_ref();
        let selection = spec.services_for(&self.host)?;
        let mut wish = Wish {
            elsewhere: selection.elsewhere.iter().map(|s| s.address()).collect(),
            files: spec.files.iter().map(ToString::to_string).collect(),
            origin: match (origin::origin(disk, &spec.root)?, &self.elsewhere) {
                (origin, None) => Some(origin),
                (origin, Some(there)) => there.origin(origin),
            },
            digest: Some(spec.digest),
            ..Wish::default()
        };
        let programs = &self.programs;
        let resolver = self.resolver(spec, &selection.here)?;
        let made = threads::map(&selection.here, PIECE, |declared| {
            resolver.desired(declared)
        });
        let mut problems = Vec::new();
        for (declared, made) in selection.here.iter().zip(made) {
            match made? {
                Ok(desired) => drop(wish.desired.insert(desired.address.clone(), desired)),
                Err(found) => {
                    let own = |problem| (declared.address(), declared.declared(), problem);
                    problems.extend(found.into_iter().map(own));
                }
            }
        }
        problems.extend(self.wish_credentials(spec, &mut wish)?);
        if !problems.is_empty() {
            return Err(spec.report(&problems, disk));
        }
        if let Some(own) = &spec.reconcile {
            let declared = self.reconciler(spec, own)?;
            let desired = self.desired_reconciler(spec, &declared)?;
            wish.desired.insert(desired.address.clone(), desired);
        }
        wish.warnings = self.scheduler_warnings(&wish.desired);
        wish.warnings
            .extend(unverified(&selection.here, &wish.desired, programs));
        Ok(wish)
    }

    /// The directories of services that were removed, with the data that stayed. One is ours that stands
    /// in the project's own directory, belongs to who applies, has a `data/`, and defines nothing any more.
    ///
    /// # Errors
    /// What the disk says.
    pub fn left_behind(&self) -> Result<BTreeMap<Address, PathBuf>> {
        let disk = self.context.disk.as_ref();
        let services = self.layout.services();
        let listed = disk.list(&services);
        let mut left = BTreeMap::new();
        for (name, kind) in listed.map_err(|error| Error::io("list", &services, error))? {
            let Ok(name) = name.parse::<ResourceName>() else {
                continue;
            };
            let (dir, run) = (self.layout.service(&name), self.layout.run_file(&name));
            let look = |path: &Path| {
                disk.stat(path)
                    .map_err(|error| Error::io("look at", path, error))
            };
            let address = Address::new(Kind::Service, name);
            let known = self.memory.state.resources.contains_key(&address)
                || self.memory.unfinished.touched.contains_key(&address);
            let applier = self.context.account.owner.uid;
            let ours = look(&dir)?.is_some_and(|stat| stat.owner.uid == applier);
            let data = look(&self.layout.data(&address.name))?;
            let made = data.is_some_and(|stat| stat.kind == EntryKind::Dir);
            if kind == EntryKind::Dir && !known && ours && made && look(&run)?.is_none() {
                left.insert(address, dir);
            }
        }
        Ok(left)
    }

    fn scheduler_warnings(&self, desired: &BTreeMap<Address, Desired>) -> Vec<String> {
        let backends: BTreeSet<&BackendId> =
            desired.values().map(|desired| &desired.backend).collect();
        let there = self.elsewhere.as_ref().map(|there| &there.machine);
        backends
            .into_iter()
            .filter_map(|backend| Some((Scheduler::of(backend)?, user_of(backend))))
            .filter_map(|(scheduler, user)| match scheduler {
                Scheduler::Worker => {
                    let here = || service::worker::is_alive(&self.context.state_dir);
                    let alive = there.map_or_else(here, |there| there.worker_runs);
                    (!alive).then(|| {
                        "no worker is running: services of the scheduler `worker` run only when triggered; start `lorectl worker`".to_owned()
                    })
                }
                Scheduler::SystemdUser | Scheduler::SystemdSystem => {
                    let lingers = match (there, user) {
                        (None, user) => host::lingers(user.unwrap_or(&self.applier().name)),
                        (Some(there), None) => there.lingers,
                        // Of one whom nothing applied has, nothing is known.
                        (Some(there), Some(user)) => {
                            there.lingering.contains(user) || !there.users.contains_key(user)
                        }
                    };
                    let user = user.unwrap_or(&self.applier().name);
                    backend::lingering_warning(scheduler, user, lingers)
                }
            })
            .collect()
    }

    /// Every backend that some resource of the project names. Nothing is connected to yet.
    ///
    /// # Errors
    /// `NOT_IN_THIS_BUILD` for a backend that the state names and this build lacks.
    pub fn backends(&self, wish: &Wish) -> Result<Backends> {
        let needed = observe::backends_of(wish, &self.memory);
        let open = |id: BackendId| Ok((id.clone(), self.open_backend(&id)?));
        needed.into_iter().map(open).collect()
    }

    fn open_backend(&self, id: &BackendId) -> Result<Box<dyn Act>> {
        let mut host = self.context.host(self.layout.clone());
        host.asked.clone_from(&self.asked);
        backend::open(id, &host)
    }

    /// Looks at the host, through readers alone, and plans.
    ///
    /// # Errors
    /// As [`Situation::observe`] and [`plan::plan`].
    pub async fn plan(
        &mut self,
        wish: Wish,
        readers: &Readers<'_>,
        options: Options,
    ) -> Result<(Situation, Plan)> {
        if self.asks_issuers && !options.drift_only && options.destroy.is_none() {
            self.ask_issuers(&options.targets).await;
        }
        let mut situation = self.look(wish, readers, &options.targets).await?;
        self.look_up_schedules(&mut situation, false);
        self.look_at_pins(&mut situation)?;
        if !options.drift_only && options.destroy.is_none() {
            self.look_ahead(&situation).await?;
        }
        let plan = self.decide(&situation, options)?;
        Ok((situation, plan))
    }

    async fn look(
        &mut self,
        wish: Wish,
        readers: &Readers<'_>,
        targets: &[Address],
    ) -> Result<Situation> {
        let nothing = Memory::empty(
            self.memory.state.project.clone(),
            self.memory.state.lineage.clone(),
            self.context.now(),
        );
        let memory = std::mem::replace(&mut self.memory, nothing);
        let user = &self.context.account.name;
        // Units that a service left behind when it moved to the worker are looked for too.
        let others = self.unnamed_systemd(readers)?;
        let mut readers = readers.clone();
        readers.extend(others.iter().map(|(id, backend)| {
            let reader: &dyn Observe = backend.as_ref();
            (id.clone(), reader)
        }));
        Situation::observe(wish, memory, &readers, targets, user).await
    }

    /// Plans from what was looked at.
    ///
    /// # Errors
    /// As [`plan::plan`].
    pub fn decide(&self, situation: &Situation, options: Options) -> Result<Plan> {
        let inputs = situation.inputs(&self.host, self.context.now(), options);
        let kinds = Kinds {
            service: self,
            credential: self,
        };
        let watch = Stopwatch::start();
        let mut plan = plan::plan(&inputs, &kinds)?;
        tracing::info!(
            resources = plan.changes.len(),
            steps = plan.steps.len(),
            drifted = plan.drift.len(),
            holds = plan.holds.len(),
            ms = watch.elapsed_ms(),
            "planned"
        );
        if let Some(unstable) = &self.unstable
            && plan.steps.iter().any(needs_binary)
        {
            plan.refusals.push(Refusal {
                code: unstable.code,
                address: None,
                message: unstable.message.clone(),
                suggestion: unstable.suggestion.clone(),
            });
        }
        Ok(plan)
    }

    /// The managers of systemd that no resource names. Asked for no unit, they list a few directories
    /// and connect to nothing.
    fn unnamed_systemd(&self, readers: &Readers<'_>) -> Result<Backends> {
        let root = self.context.account.owner.uid == 0;
        let system = root.then_some(Scheduler::SystemdSystem);
        let ids = system.into_iter().chain([Scheduler::SystemdUser]);
        ids.map(Scheduler::backend)
            .filter(|id| !readers.contains_key(id))
            .map(|id| Ok((id.clone(), self.open_backend(&id)?)))
            .collect()
    }

    /// Reads the status of each service whose definition changes, or of `all`: from when its schedule
    /// counts, and whether it runs. The first also of those that use a credential, which must not end
    /// before their next run, and when that is as their runs so far have it.
    fn look_up_schedules(&self, situation: &mut Situation, all: bool) {
        let disk = self.context.disk.as_ref();
        for (address, seen) in &mut situation.observed.resources {
            let wanted = situation.wish.desired.get(address).map(|d| &d.definition);
            let applied = situation.applied.get(address).map(|a| &a.definition);
            let Seen::Ours(found) = seen else { continue };
            let changes = wanted != applied || all;
            let (may_use, now) = (service::plan::may_use_credentials, self.context.now());
            let uses = wanted.is_some_and(may_use) || applied.is_some_and(may_use);
            if address.kind != Kind::Service || !(changes || uses) {
                continue;
            }
            let status = status::read(disk, &self.layout, &address.name);
            if let Stored::Good(status) = status {
                let last = status.last_scheduled_start.or(status.last_occurrence);
                found.counts_from = Some(last.unwrap_or(status.created_at));
            }
            // What cannot be read is told of by whoever reads it.
            if let Some(applied) = situation.applied.get(address)
                && may_use(&applied.definition)
                && let Ok(service) = applied.definition.read::<Service>()
            {
                let created_at = applied.created_at;
                let known = Known::read(self.context, &self.layout, &service, created_at);
                found.told = service::plan::told(known.next_run(&service, now));
            }
            if changes {
                found.running_since = status::running_since(disk, &self.layout, &address.name);
            }
        }
    }
}

impl Project<'_> {
    /// Reads the programs that were pinned, and no others.
    fn look_at_pins(&self, situation: &mut Situation) -> Result<()> {
        for (address, seen) in &mut situation.observed.resources {
            let Seen::Ours(found) = seen else { continue };
            let Some(applied) = situation.applied.get(address) else {
                continue;
            };
            if address.kind != Kind::Service {
                continue;
            }
            // Ten thousand definitions are not read for the few that pin something.
            if !applied.definition.as_json().contains("\"programs\":") {
                continue;
            }
            let service: Service = applied.definition.read()?;
            let look = |path: String| {
                let digest = self.programs.digest(path.as_ref()).ok().flatten();
                (path, digest)
            };
            found.programs = service.programs.into_keys().map(look).collect();
        }
        Ok(())
    }
}

impl Render for Project<'_> {
    fn image(&self, service: &Service) -> Result<Image> {
        desired::image(service, &self.units, self.owners(service)?)
    }

    fn path(&self, service: &Service, part: &str) -> String {
        let account = match service.manager_of() {
            None => Cow::Borrowed(self.applier()),
            Some(user) => Cow::Owned(self.known_account(user)),
        };
        backend::path_of(service, part, &self.layout, &account)
            .display()
            .to_string()
    }

    fn next_runs(
        &self,
        service: &Service,
        counts_from: Timestamp,
        now: Timestamp,
        count: usize,
    ) -> Vec<Fire> {
        let past = Past {
            since: counts_from,
            last: Some(counts_from),
        };
        schedule::upcoming(&service.schedule, past, now, count)
    }
}

/// The same backends, for reading only.
pub fn readers(backends: &Backends) -> Readers<'_> {
    let mut readers = Readers::new();
    for (id, backend) in backends {
        readers.insert(id.clone(), backend.as_ref() as &dyn Observe);
    }
    readers
}

/// That nothing here tells whether systemd takes what the spec gives units.
fn unverified(
    declared: &[&DeclaredService],
    desired: &BTreeMap<Address, Desired>,
    programs: &Programs<'_>,
) -> Option<String> {
    let worker = Scheduler::Worker.backend();
    let checked = |declared: &&DeclaredService| {
        let desired = desired.get(&declared.address());
        !declared.raw.unit.is_empty() && desired.is_some_and(|desired| desired.backend != worker)
    };
    let names = declared.iter().copied().filter(checked);
    let names: Vec<&str> = names.map(|declared| declared.name.as_str()).collect();
    if names.is_empty() || programs.find(ANALYZER).is_ok() {
        return None;
    }
    Some(format!(
        "there is no `{ANALYZER}` on this host: an apply does not find a value in `unit` that systemd does not take (of {})",
        names.join(", ")
    ))
}

fn needs_binary(step: &crate::resource::Step) -> bool {
    step.after.is_some()
        && match Scheduler::of(&step.backend) {
            Some(Scheduler::SystemdSystem | Scheduler::SystemdUser) => true,
            Some(Scheduler::Worker) | None => false,
        }
}
