//! `lorectl state export` and `import`: the state as one file, and back onto a host that was rebuilt.
//!
//! An export is a state as it is kept: its first line vouches for the rest, and older versions are
//! migrated when it is read.

use std::{collections::BTreeMap, path::Path};

use crate::{
    apply::record::Transition,
    credential::{
        self,
        definition::{Credential, STORE},
    },
    effect::environment,
    error::{Code, Error, Result},
    id::{Address, Kind, Lineage, ResourceId},
    layout::Layout,
    resource::{Action, Applied, Definition},
    service::{definition::Service, plan::Render},
    state::{
        backups,
        format::{self, State, Unreadable},
        journal,
    },
    view::{
        self,
        state_file::{Exported, Imported},
    },
};

use super::{
    super::{
        Done, apply::trusted, args::ImportArgs, context::Context, project::Project, status::memory,
    },
    edit::Edit,
};

/// The largest export that is read: that of a project of 100,000 has half of it.
const LARGEST: u64 = 256 << 20;

/// Writes the state to a file, or to standard output.
pub fn export(context: &Context, layout: &Layout, out: Option<&Path>) -> Result<Done> {
    let memory = memory(context, layout)?;
    if !memory.is_stored {
        let message = format!("nothing was applied of {} here", layout.project());
        return Err(Error::new(Code::ProjectUnknown, message)
            .suggest("`lorectl apply` makes a state, and `--project` names another"));
    }
    let bytes = format::encode(&memory.state, memory.state.written_at).map_err(|error| {
        Error::new(Code::Internal, "the state cannot be written as JSON").because(error)
    })?;
    if !memory.open_journals.is_empty() {
        context.console.complain(
            "note: an apply did not end, and what it did is not in this export; `lorectl apply` first\n",
        );
    }
    let out = out.filter(|out| *out != Path::new("-"));
    let Some(out) = out else {
        context.console.print(|to| {
            if context.json() {
                view::json::success_with(to, bytes.trim_ascii_end(), context.elapsed_ms())
            } else {
                to.write_all(&bytes)
            }
        })?;
        return Ok(Done::Fine);
    };
    context.write_out(out, &bytes)?;
    context.show(&Exported {
        project: layout.project().to_string(),
        serial: memory.state.serial,
        resources: memory.state.resources.len(),
        file: out.display().to_string(),
        bytes: bytes.len(),
    })
}

/// Makes an exported state the state of this host.
pub fn import(context: &Context, args: &ImportArgs) -> Result<Done> {
    let mut state = read(context, &args.file)?;
    let asked = match &context.global.project {
        Some(project) => Some(project.clone()),
        None => context.spec().ok().map(|spec| spec.project),
    };
    if let Some(asked) = asked.filter(|asked| *asked != state.project) {
        let message = format!(
            "{} is the state of project `{}`, not of `{asked}`",
            args.file.display(),
            state.project
        );
        return Err(Error::new(Code::StateForeign, message).suggest(
            "a project is not renamed by moving its state; name its own with `--project`",
        ));
    }
    fits(&state, &args.file)?;
    let layout = context.layout(state.project.clone());
    let own = context.lineage(&state.project)?;
    if state.lineage != own && !args.new_host {
        let message = format!(
            "{} was exported on another machine or by another user: its lineage is {}, and {own} is expected here",
            args.file.display(),
            state.lineage
        );
        return Err(Error::new(Code::StateForeign, message).suggest(
            "if this host takes the place of that one, which is gone, say `--new-host`: what it remembers becomes this host's, under ids of its own",
        ));
    }
    refuse_existing(context, &layout, args.overwrite)?;
    // All that can go wrong without the lock goes wrong before a directory is made.
    let renewed = state.lineage != own;
    if renewed {
        renew(context, &mut state, &own)?;
    }
    let edit = Edit::begin(context, &layout, args.overwrite)?;
    // Another process may have made one meanwhile.
    refuse_existing(context, &layout, args.overwrite)?;
    state.serial = edit.next_serial()?.max(state.serial.saturating_add(1));
    let changes = changes(&edit.memory.state, &state);
    let replaced = edit.memory.is_stored.then_some(edit.memory.state.serial);
    let name = args.file.display();
    edit.commit(format!("state import {name}"), changes, &state)?;
    context.show(&Imported {
        project: state.project.to_string(),
        serial: state.serial,
        resources: state.resources.len(),
        renewed,
        replaced,
    })
}

/// Serials beyond this are none that a project comes to: JSON readers keep whole numbers up to it.
const LAST_SERIAL: u64 = 1 << 53;

/// Whether each record is of the service at its address, so that every later plan can go by it.
fn fits(state: &State, shown: &Path) -> Result<()> {
    let odd = |what: String| {
        Error::new(
            Code::StateCorrupt,
            format!("{}: {what}; nothing was imported", shown.display()),
        )
        .suggest("`lorectl state export --out FILE` makes one")
    };
    if state.serial >= LAST_SERIAL {
        return Err(odd(format!("its serial is {}", state.serial)));
    }
    for (address, record) in &state.resources {
        if address.kind == Kind::Credential {
            let known: Result<Credential> = record.definition.read();
            let credential =
                known.map_err(|error| odd(format!("{address} cannot be read")).because(error))?;
            let same = credential.name == address.name
                && credential.project == state.project
                && credential.id == record.id
                && record.backend == STORE;
            if !same {
                return Err(odd(format!("the record of {address} is of something else")));
            }
            continue;
        }
        let known: Result<Service> = record.definition.read();
        let service =
            known.map_err(|error| odd(format!("{address} cannot be read")).because(error))?;
        let same = service.name == address.name
            && service.project == state.project
            && service.id == record.id
            && service.backend() == record.backend;
        if address.kind != Kind::Service || !same {
            return Err(odd(format!("the record of {address} is of something else")));
        }
    }
    Ok(())
}

/// Reads an export; `-` is standard input. No more of it than any has is read.
fn read(context: &Context, shown: &Path) -> Result<State> {
    let none = |message: String| {
        Error::new(Code::StateCorrupt, message)
            .suggest("`lorectl state export --out FILE` makes one; nothing was changed")
    };
    let bytes = if shown == Path::new("-") {
        let bytes = environment::standard_input(LARGEST)?;
        if bytes.len() as u64 > LARGEST {
            let limit = view::text::size(usize::try_from(LARGEST).unwrap_or(usize::MAX));
            return Err(none(format!("standard input is larger than {limit}")));
        }
        bytes
    } else {
        let path = context.directory.join(shown);
        let file = context.disk.read(&path, LARGEST).map_err(|error| {
            let failed = Error::io("read", shown, error);
            // What the disk refuses by itself: not a regular file, or too large.
            if failed.code == Code::Io {
                return none(failed.chain());
            }
            failed
        })?;
        let file = file.ok_or_else(|| none(format!("there is no file {}", shown.display())))?;
        if file.mode & 0o002 != 0 {
            let shown = shown.display();
            let message = format!("{shown} can be written by anyone, so it is not believed");
            return Err(Error::new(Code::StateCorrupt, message)
                .suggest(format!("look at it, then `chmod o-w {shown}`")));
        }
        if !trusted(context.account.owner.uid).contains(&file.owner.uid) {
            let (shown, uid) = (shown.display(), file.owner.uid);
            let message = format!(
                "{shown} belongs to user id {uid}, who may write to it, so it is not believed"
            );
            return Err(Error::new(Code::StateCorrupt, message).suggest(format!(
                "look at it, then `chown {} {shown}`",
                context.account.name
            )));
        }
        file.bytes
    };
    format::decode(&bytes).map_err(|error| match error {
        Unreadable::Newer(_) => Error::new(
            Code::StateNewer,
            format!("{}: it is of a newer lorectl", shown.display()),
        )
        .because(error)
        .suggest("use a lorectl at least as new as the one that wrote it"),
        Unreadable::Empty
        | Unreadable::NoDigest
        | Unreadable::DigestDiffers
        | Unreadable::NotAState(_)
        | Unreadable::NoSuchVersion(_) => {
            none(format!("{} is no export of a state", shown.display())).because(error)
        }
    })
}

/// Refuses to put a state in the place of another, or of one that is lost.
fn refuse_existing(context: &Context, layout: &Layout, overwrite: bool) -> Result<()> {
    let disk = context.disk.as_ref();
    let path = layout.state_file();
    let stat = disk.stat(&path);
    let there = stat
        .map_err(|error| Error::io("look at", &path, error))?
        .is_some();
    let before = there
        || !backups::list(disk, layout)?.is_empty()
        || !journal::list(disk, layout)?.is_empty();
    if overwrite || !before {
        return Ok(());
    }
    let what = if there { "there is" } else { "there was" };
    let message = format!("{what} a state of {} here already", layout.project());
    Err(Error::new(Code::StateExists, message).suggest(
        "`lorectl state list` shows it; with `--overwrite` it goes into `backups/` and the import takes its place",
    ))
}

/// Gives every record the lineage of this host, and with it ids and units of its own. None of them is
/// on this host yet: the next plan makes them anew.
fn renew(context: &Context, state: &mut State, own: &Lineage) -> Result<()> {
    let project = Project::open_to_repair(context, state.project.clone())?;
    for (address, record) in &mut state.resources {
        if address.kind == Kind::Credential {
            let mut credential: Credential = record.definition.read()?;
            credential.id = ResourceId::derive(own, address);
            record.definition = Definition::of(&credential)?;
            record.image = credential::image::desired(&record.definition, &credential);
            record.id = credential.id;
            continue;
        }
        let mut service: Service = record.definition.read()?;
        service.id = ResourceId::derive(own, address);
        record.image = project.image(&service)?.without_bytes();
        record.renderer = None;
        record.definition = Definition::of(&service)?;
        record.id = service.id;
    }
    state.lineage = own.clone();
    Ok(())
}

fn changes(old: &State, new: &State) -> BTreeMap<Address, Transition> {
    let transition = |action, before: Option<&Applied>, after: Option<&Applied>| Transition {
        action,
        before: before.cloned(),
        after: after.cloned(),
    };
    let mut changes = BTreeMap::new();
    for (address, record) in &new.resources {
        let before = old.resources.get(address);
        if before != Some(record) {
            changes.insert(
                address.clone(),
                transition(Action::Adopt, before, Some(record)),
            );
        }
    }
    for (address, record) in &old.resources {
        if !new.resources.contains_key(address) {
            changes.insert(
                address.clone(),
                transition(Action::Forget, Some(record), None),
            );
        }
    }
    changes
}
