//! `lorectl state mv`: another name for a service, with its status and its logs.
//!
//! A service's name is in its id, its units, and the directory of its data, so another name is another
//! service to the host. Three things happen in turn, each of which survives a power failure: the old one
//! is deleted as an apply would (its timer stops, a run in flight is waited for, `data/` stays); its
//! directory gets the new name; the new one is made as an apply would, and goes on from that status,
//! so that nothing runs that was not due. What is to be done is written down before the first of them:
//! one that was cut short goes on with the next `state mv` or `reconcile`.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    apply::{
        events::{Event, Report},
        execute::{Interrupt, OnFailure},
        session::{Session, sweep},
    },
    effect::{
        disk::Durability,
        lock::{Holder, ProjectLock},
        random,
        untrusted::Dir,
    },
    error::{Code, Error, Result},
    id::{Address, Kind, ResourceId},
    layout::Layout,
    observe::Wish,
    plan::Options,
    resource::{Action, Applied, Declared, Definition, Desired},
    service::{definition::Service, plan::Render},
    spec::RECONCILE,
    state::{place, trust},
    view::state_file::Moved,
};

use super::{
    super::{
        Done,
        context::Context,
        project::{Project, readers},
        status::{memory, unknown},
    },
    remove::refuse_protected,
};

/// A renaming as it is written down before it begins.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Intent {
    schema_version: u32,
    from: Address,
    to: Address,
    /// The record of the one, of which the other is made.
    record: Applied,
}

/// The version of [`Intent`] that is written and read.
const INTENT_VERSION: u32 = 1;

/// Goes on with a renaming that was cut short, if there is one: the old one is gone from the state and
/// the new one not there yet. Where either is there, nothing is left to do. Gives back what it made.
///
/// # Errors
/// What an apply of the new one fails with; `STATE_CORRUPT` for a note that lorectl did not write.
pub async fn finish(context: &Context, layout: &Layout) -> Result<Option<(Address, Address)>> {
    if read_intent(context, layout)?.is_none() {
        return Ok(None);
    }
    let holder = Holder::this_process(context.now());
    let _lock = ProjectLock::acquire(&layout.lock_file(), &holder)?;
    let Some(Intent {
        from, to, record, ..
    }) = read_intent(context, layout)?
    else {
        return Ok(None);
    };
    let known = memory(context, layout)?;
    if !known.open_journals.is_empty() {
        // Whether the old one is gone is told when that is settled.
        return Ok(None);
    }
    let resources = &known.state.resources;
    let cut_short = !resources.contains_key(&from) && !resources.contains_key(&to);
    if cut_short {
        let renaming = Renaming {
            context,
            layout,
            by: holder.who(),
            command: format!("state mv {from} {to}"),
        };
        renaming.make(&record, &from, &to).await?;
    }
    forget_intent(context, layout)?;
    Ok(cut_short.then_some((from, to)))
}

fn read_intent(context: &Context, layout: &Layout) -> Result<Option<Intent>> {
    let path = layout.renaming();
    let Some(bytes) = trust::read_own(context.disk.as_ref(), &path)? else {
        return Ok(None);
    };
    match serde_json::from_slice(&bytes) {
        Ok(Intent { schema_version, .. }) if schema_version != INTENT_VERSION => {
            let message = format!(
                "{} has version {schema_version}, and this lorectl knows {INTENT_VERSION}",
                path.display()
            );
            Err(Error::new(Code::StateNewer, message).suggest("use the lorectl that wrote it"))
        }
        Ok(intent) => Ok(Some(intent)),
        Err(error) => {
            let message = format!("{} is not what lorectl writes", path.display());
            Err(Error::new(Code::StateCorrupt, message)
                .because(error)
                .suggest("look which of its two services is there, then remove it"))
        }
    }
}

fn write_intent(context: &Context, layout: &Layout, intent: &Intent) -> Result<()> {
    let path = layout.renaming();
    let bytes = serde_json::to_vec(intent).map_err(|error| {
        Error::new(Code::Internal, "a renaming cannot be written as JSON").because(error)
    })?;
    let written = (context.disk).write(&path, &bytes, 0o600, None, Durability::Now);
    written.map_err(|error| Error::io("write", &path, error))
}

fn forget_intent(context: &Context, layout: &Layout) -> Result<()> {
    let path = layout.renaming();
    let removed = context.disk.remove(&path);
    removed
        .map(drop)
        .map_err(|error| Error::io("remove", &path, error))
}

/// Gives a service another name.
///
/// # Errors
/// `CONFLICT` for a name that is taken, in the state or by data that is left; `NO_SUCH_RESOURCE`;
/// `PROTECTED`; `HELD` while an apply is unfinished; what an apply fails with. Then the old one is as
/// it was, or the error says what became of it.
pub async fn run(context: &Context, layout: &Layout, from: &Address, to: &Address) -> Result<Done> {
    let moved = |recorded| Moved {
        project: layout.project().to_string(),
        from: from.to_string(),
        to: to.to_string(),
        recorded,
    };
    if let Some((one, other)) = finish(context, layout).await?
        && (&one, &other) == (from, to)
    {
        return context.show(&moved(true));
    }
    let known = memory(context, layout)?;
    check(context, layout, &known.state.resources, from, to)?;
    place::prepare_dirs(context.disk.as_ref(), layout)?;
    let holder = Holder::this_process(context.now());
    let _lock = ProjectLock::acquire(&layout.lock_file(), &holder)?;
    sweep(context.disk.as_ref(), layout)?;
    let known = memory(context, layout)?;
    if !known.open_journals.is_empty() {
        let message = "an apply did not end, and what it did is not in the state yet";
        return Err(Error::new(Code::Held, message)
            .suggest("`lorectl apply` looks what was done and goes on from there"));
    }
    let renaming = Renaming {
        context,
        layout,
        by: holder.who(),
        command: format!("state mv {from} {to}"),
    };
    check(context, layout, &known.state.resources, from, to)?;
    let record = known.state.resources.get(from);
    if let Some(record) = record {
        // What stands in the way of the new one is said while the old one is still there.
        renaming.create(record, to, Do::LookOnly).await?;
        let intent = Intent {
            schema_version: INTENT_VERSION,
            from: from.clone(),
            to: to.clone(),
            record: record.clone(),
        };
        write_intent(context, layout, &intent)?;
        if let Err(error) = renaming.delete(from).await {
            // The old one is there as it was: nothing has begun.
            forget_intent(context, layout)?;
            return Err(error);
        }
        if let Err(error) = renaming.make(record, from, to).await {
            return Err(renaming.back(record, from, to, error).await);
        }
        forget_intent(context, layout)?;
    } else {
        rename(context, layout, from, to)?;
    }
    context.show(&moved(record.is_some()))
}

/// Refuses a move that cannot be: of nothing, or onto something.
fn check(
    context: &Context,
    layout: &Layout,
    records: &BTreeMap<Address, Applied>,
    from: &Address,
    to: &Address,
) -> Result<()> {
    let disk = context.disk.as_ref();
    if from.kind != Kind::Service || to.kind != Kind::Service {
        let message = format!("{from} cannot become {to}: only services can be renamed");
        return Err(
            Error::new(Code::Usage, message).suggest("`lorectl state list` lists the addresses")
        );
    }
    if [from, to].iter().any(|one| one.name.as_str() == RECONCILE) {
        let message =
            format!("{from} cannot become {to}: `{RECONCILE}` is the name of lorectl's own timer");
        return Err(Error::new(Code::Usage, message).suggest("choose another name"));
    }
    let there = |path: &Path| {
        let stat = disk.stat(path);
        let stat = stat.map_err(|error| Error::io("look at", path, error))?;
        Ok::<bool, Error>(stat.is_some())
    };
    let taken = |what: String, help: &str| {
        let message = format!("{from} cannot become {to}: {what}");
        Err(Error::new(Code::Conflict, message).suggest(help))
    };
    if from == to || records.contains_key(to) {
        return taken(
            format!("there is a {to} already"),
            "choose another name; `lorectl state list` lists those that are taken",
        );
    }
    let home = layout.service(&to.name);
    if there(&home)? {
        return taken(
            format!(
                "{} is left of an earlier service of that name",
                home.display()
            ),
            "move that directory away if its status and logs are of no use any more",
        );
    }
    match records.get(from) {
        Some(record) => refuse_protected(from, record),
        None if there(&layout.data(&from.name))? && !there(&layout.run_file(&from.name))? => Ok(()),
        None => Err(unknown(from)),
    }
}

/// Gives a service's directory another name; it survives a power failure.
fn rename(context: &Context, layout: &Layout, from: &Address, to: &Address) -> Result<()> {
    let services = layout.services();
    let failed = |error| Error::io("rename a directory in", &services, error);
    let Some(dir) = Dir::open(&services).map_err(failed)? else {
        return Ok(());
    };
    if dir.dir(from.name.as_str()).map_err(failed)?.is_some() {
        dir.rename(from.name.as_str(), to.name.as_str())
            .and_then(|()| context.disk.sync_fs(&services))
            .map_err(failed)?;
    }
    Ok(())
}

/// Whether something is done, or only whether it could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Do {
    LookOnly,
    It,
}

struct Renaming<'a> {
    context: &'a Context,
    layout: &'a Layout,
    by: String,
    command: String,
}

impl Renaming<'_> {
    /// Removes the one from the host, and keeps its data.
    async fn delete(&self, address: &Address) -> Result<()> {
        let mut project = Project::open(self.context, self.layout.project().clone())?;
        let change = (address, Action::Delete);
        self.carry_out(&mut project, Wish::default(), change, Do::It)
            .await
    }

    /// Moves the data, and makes the one from it.
    async fn make(&self, record: &Applied, from: &Address, to: &Address) -> Result<()> {
        rename(self.context, self.layout, from, to)?;
        self.create(record, to, Do::It).await
    }

    async fn create(&self, record: &Applied, address: &Address, act: Do) -> Result<()> {
        let mut project = Project::open(self.context, self.layout.project().clone())?;
        let mut wish = Wish::default();
        let mut service: Service = record.definition.read()?;
        service.name = address.name.clone();
        service.id = ResourceId::derive(&project.memory.state.lineage, address);
        let definition = Definition::of(&service)?;
        let desired = desired(&project, address, record, &service, definition)?;
        wish.desired.insert(address.clone(), desired);
        self.carry_out(&mut project, wish, (address, Action::Create), act)
            .await
    }

    /// The new one could not be made: the old one as it was, as far as that goes.
    async fn back(&self, record: &Applied, from: &Address, to: &Address, error: Error) -> Error {
        let restored = match rename(self.context, self.layout, to, from) {
            Ok(()) => self.create(record, from, Do::It).await,
            Err(error) => Err(error),
        };
        match restored.and_then(|()| forget_intent(self.context, self.layout)) {
            Ok(()) => error,
            Err(stuck) => {
                let message = format!(
                    "{to} could not be made, and {from} not be put back: {}",
                    stuck.chain()
                );
                Error::new(Code::UndoFailed, message)
                    .because(error)
                    .suggest("its status and logs are kept: `lorectl apply` makes what the spec names, and goes on from them")
            }
        }
    }

    /// Carries out one action on one resource, and nothing else.
    async fn carry_out(
        &self,
        project: &mut Project<'_>,
        wish: Wish,
        (address, action): (&Address, Action),
        act: Do,
    ) -> Result<()> {
        let backends = project.backends(&wish)?;
        let all = project.memory.state.resources.keys();
        let others = all.filter(|other| *other != address);
        let options = Options {
            targets: vec![address.clone()],
            // What else has changed, in the spec or on the host, is not this command's.
            leave: others.cloned().collect(),
            allow_deletes: true,
            ..Options::default()
        };
        let (situation, plan) = project.plan(wish, &readers(&backends), options).await?;
        if let Some(refusal) = plan.refusals.first() {
            let error = Error::new(refusal.code, refusal.message.clone());
            return Err(match &refusal.suggestion {
                Some(help) => error.suggest(help.clone()),
                None => error,
            });
        }
        let found = plan
            .changes
            .iter()
            .find(|change| change.address == *address);
        if let Some(found) = found.filter(|change| ![Action::NoOp, action].contains(&change.action))
        {
            let message = format!(
                "{address} is not as it was applied: it would be {}, not {}",
                found.action.words().join("/"),
                action.words().join("/")
            );
            return Err(Error::new(Code::Held, message)
                .suggest("`lorectl drift` shows it, `lorectl apply` mends it; then try again"));
        }
        if let Some(hold) = plan.holds.first() {
            let message = format!("{}: {}", hold.address, hold.reason);
            return Err(Error::new(hold.code.unwrap_or(Code::HeldForNow), message));
        }
        if act == Do::LookOnly {
            return Ok(());
        }
        let interrupt = Interrupt::default();
        let context = self.context;
        let session = Session {
            disk: context.disk.as_ref(),
            layout: self.layout,
            clock: &context.clock,
            backends: &backends,
            events: &|_: &Event| {},
            elapsed_ms: &|| context.elapsed_ms(),
            interrupt: &interrupt,
            on_failure: OnFailure::Rollback,
            by: self.by.clone(),
            command: self.command.clone(),
            random: u32::try_from(random::seed()? >> 32).unwrap_or_default(),
        };
        let report = session.carry_out(&situation, &plan).await?;
        outcome(&report)
    }
}

/// What an apply came to, as an error where it did not do what it was to do.
fn outcome(report: &Report) -> Result<()> {
    if let Some(failure) = report.not_undone.first() {
        let message = format!("{}: {}", failure.address, failure.message);
        return Err(Error::new(Code::UndoFailed, message));
    }
    if let Some(failure) = report.failed.first() {
        let message = format!("{}: {}", failure.address, failure.message);
        return Err(Error::new(Code::ApplyFailed, message));
    }
    if let Some(held) = report.held.first() {
        let message = format!("{}: {}", held.address, held.message);
        return Err(Error::new(Code::HeldForNow, message).suggest("try again when it is over"));
    }
    Ok(())
}

fn desired(
    project: &Project<'_>,
    address: &Address,
    record: &Applied,
    service: &Service,
    definition: Definition,
) -> Result<Desired> {
    Ok(Desired {
        address: address.clone(),
        id: service.id.clone(),
        backend: record.backend.clone(),
        definition,
        image: project.image(service)?.without_bytes(),
        renderer: None,
        meta: record.meta.clone(),
        declared: Declared {
            file: record.declared_in.clone(),
            line: 0,
        },
        warnings: Vec::new(),
    })
}
