//! `lorectl state …`: what lorectl remembers of a project.

mod edit;
mod export;
mod remove;
pub(super) mod rename;

use std::collections::BTreeMap;

use crate::{
    apply::record::{Began, Ended, Record},
    credential::{
        self,
        definition::{Credential, STORE},
        record::Outline,
    },
    effect::{
        disk::EntryKind,
        lock::{Holder, ProjectLock},
        random,
    },
    error::{Code, Error, Result},
    id::{Address, Kind, ResourceId, ResourceName},
    layout::Layout,
    observe::{Memory, Wish},
    resource::{Applied, Declared, Definition, Desired, Meta, Scope, ScopeEntry, Seen},
    service::{
        definition::Service,
        plan::Render,
        run::load,
        status::file::{self as status, Stored},
    },
    state::{
        journal::{self, Journal},
        place,
        repair::{self, Repair},
        store,
    },
    view::state_file::{Listed, Repaired},
};

use super::{
    Done,
    args::StateCommand,
    context::Context,
    project::{Project, readers},
    status::{memory, unknown},
};

/// Where a record says that it was declared, when it was rebuilt and nobody knows.
const NOWHERE: &str = "(rebuilt from its marks)";

/// Runs a verb.
pub async fn run(context: &Context, command: StateCommand) -> Result<Done> {
    if let StateCommand::Import(args) = &command {
        // On a host that was rebuilt, nothing but the file tells the project.
        return export::import(context, args);
    }
    let layout = context.layout(context.project()?);
    match command {
        StateCommand::List => {
            let state = memory(context, &layout)?.state;
            context.show(&Listed::of(&state))
        }
        StateCommand::Show { address } => {
            let mut state = memory(context, &layout)?.state;
            let record = state.resources.remove(&address);
            context.data(&record.ok_or_else(|| unknown(&address))?)
        }
        StateCommand::Rm { addresses } => remove::run(context, &layout, &addresses),
        StateCommand::Mv { from, to } => rename::run(context, &layout, &from, &to).await,
        StateCommand::Export { out } => export::export(context, &layout, out.as_deref()),
        StateCommand::Import(args) => export::import(context, &args),
        StateCommand::Repair => mend(context, &layout).await,
    }
}

async fn mend(context: &Context, layout: &Layout) -> Result<Done> {
    let disk = context.disk.as_ref();
    place::prepare_dirs(disk, layout)?;
    let holder = Holder::this_process(context.now());
    let _lock = ProjectLock::acquire(&layout.lock_file(), &holder)?;
    let mut page = Repaired {
        project: layout.project().to_string(),
        ..Repaired::default()
    };
    match repair::repair(disk, layout) {
        Ok(report) => {
            page.journals = report
                .journals
                .iter()
                .map(|(_, kept)| kept.display().to_string())
                .collect();
            if let Repair::Restored {
                from, set_aside, ..
            } = report.state
            {
                page.restored_from = Some(from.display().to_string());
                page.set_aside = set_aside.map(|kept| kept.display().to_string());
            }
        }
        Err(error) if error.code == Code::StateCorrupt => {
            // No backup is good; what the host carries is all there is.
            let kept = repair::set_aside(disk, layout)?.ok_or(error)?;
            page.set_aside = Some(kept.display().to_string());
        }
        Err(error) => return Err(error),
    }
    let told = forget_doubts(context, layout, &holder)?;
    page.taken_in = take_in(context, layout).await?;
    let mended =
        page.restored_from.is_some() || page.set_aside.is_some() || !page.taken_in.is_empty();
    if mended && !told {
        let memory = Project::open_to_repair(context, layout.project().clone())?.memory;
        // An end would hide an apply that has none yet.
        if memory.open_journals.is_empty() {
            note(context, layout, &holder, &memory)?;
        }
    }
    context.show(&page)
}

/// A person who repairs has looked: what was in doubt is taken as the host shows it.
fn forget_doubts(context: &Context, layout: &Layout, holder: &Holder) -> Result<bool> {
    let memory = Project::open_to_repair(context, layout.project().clone())?.memory;
    let doubtful = !memory.unfinished.doubtful.is_empty();
    if doubtful {
        note(context, layout, holder, &memory)?;
    }
    Ok(doubtful)
}

/// Records that there was a repair, after which nothing is in doubt.
fn note(context: &Context, layout: &Layout, holder: &Holder, memory: &Memory) -> Result<()> {
    let disk = context.disk.as_ref();
    let now = context.now();
    let random = u32::try_from(random::seed()? >> 32).unwrap_or_default();
    let id = journal::next_id(disk, layout, now, random)?;
    let serial = memory.state.serial;
    Journal::create(disk, layout, &id)?.append(&[
        Record::Began(Began {
            at: now,
            by: holder.who(),
            command: Some("state repair".to_owned()),
            serial,
            spec_digest: None,
            changes: BTreeMap::new(),
        }),
        Record::Ended(Ended {
            at: now,
            serial,
            result: "repaired".to_owned(),
            in_doubt: BTreeMap::new(),
        }),
    ])
}

/// Records what carries the project's marks and is in no state.
async fn take_in(context: &Context, layout: &Layout) -> Result<Vec<String>> {
    let mut project = Project::open_to_repair(context, layout.project().clone())?;
    let found = unrecorded(context, layout, &project.memory)?;
    let stored = unrecorded_credentials(context, layout, &project.memory)?;
    if found.is_empty() && stored.is_empty() {
        return Ok(Vec::new());
    }
    let desired: BTreeMap<Address, Desired> = found
        .iter()
        .map(|service| desired(&project, service))
        .chain(stored.iter().map(stored_one))
        .collect::<Result<_>>()?;
    let wish = Wish {
        desired,
        ..Wish::default()
    };
    let backends = project.backends(&wish)?;
    let mut records = BTreeMap::new();
    for (id, reader) in readers(&backends) {
        let entries = wish
            .desired
            .values()
            .filter(|desired| desired.backend == id);
        let scope = Scope {
            project: layout.project(),
            entries: entries
                .map(|desired| ScopeEntry {
                    address: &desired.address,
                    id: &desired.id,
                    backend: &desired.backend,
                    definition: &desired.definition,
                    known: Vec::new(),
                })
                .collect(),
            all_bytes: false,
        };
        let observed = reader.observe(&scope).await?;
        for (address, seen) in observed.resources {
            if let (Seen::Ours(_), Some(desired)) = (seen, wish.desired.get(&address)) {
                records.insert(address, record(context, layout, desired));
            }
        }
    }
    let names = records.keys().map(ToString::to_string).collect();
    let disk = context.disk.as_ref();
    let memory = &mut project.memory;
    let stored = memory.is_stored.then_some(&memory.state);
    let after_lost = memory.lost.map_or(0, |serial| serial.saturating_add(1));
    let serial = store::next_serial(disk, layout, stored)?.max(after_lost);
    memory.state.resources.extend(records);
    memory.state.serial = serial;
    store::write(disk, layout, &memory.state, context.now())?;
    Ok(names)
}

/// The services whose `run.json` is here, with our id, and that no state tells of.
fn unrecorded(context: &Context, layout: &Layout, memory: &Memory) -> Result<Vec<Service>> {
    let dir = layout.services();
    let listed = context.disk.list(&dir);
    let mut found = Vec::new();
    for (name, kind) in listed.map_err(|error| Error::io("list", &dir, error))? {
        let Ok(name) = name.parse::<ResourceName>() else {
            continue;
        };
        let address = Address::new(Kind::Service, name.clone());
        if kind != EntryKind::Dir || memory.state.resources.contains_key(&address) {
            continue;
        }
        let service = match load::load(context.disk.as_ref(), layout, &name) {
            Ok(loaded) => loaded.service,
            Err(error) if error.code == Code::NoSuchResource => continue,
            Err(error) => return Err(error),
        };
        if service.id == ResourceId::derive(&memory.state.lineage, &address) {
            found.push(service);
        }
    }
    Ok(found)
}

/// The credentials whose record is here, with our id, and that no state tells of.
fn unrecorded_credentials(
    context: &Context,
    layout: &Layout,
    memory: &Memory,
) -> Result<Vec<Credential>> {
    let (disk, dir) = (context.disk.as_ref(), layout.secrets());
    let listed = disk.list(&dir);
    let mut found = Vec::new();
    for (name, kind) in listed.map_err(|error| Error::io("list", &dir, error))? {
        let Ok(name) = name.parse::<ResourceName>() else {
            continue;
        };
        let address = Address::new(Kind::Credential, name.clone());
        if kind != EntryKind::Dir || memory.state.resources.contains_key(&address) {
            continue;
        }
        if let Some(kept) = Outline::read(disk, layout, &name)? {
            let credential: Credential = kept.definition.read()?;
            if credential.id == ResourceId::derive(&memory.state.lineage, &address) {
                found.push(credential);
            }
        }
    }
    Ok(found)
}

fn stored_one(credential: &Credential) -> Result<(Address, Desired)> {
    let address = Address::new(Kind::Credential, credential.name.clone());
    let definition = Definition::of(credential)?;
    let desired = Desired {
        address: address.clone(),
        id: credential.id.clone(),
        backend: STORE,
        image: credential::image::desired(&definition, credential),
        definition,
        renderer: None,
        meta: Meta::default(),
        declared: Declared {
            file: NOWHERE.into(),
            line: 0,
        },
        warnings: Vec::new(),
    };
    Ok((address, desired))
}

fn desired(project: &Project<'_>, service: &Service) -> Result<(Address, Desired)> {
    let address = Address::new(Kind::Service, service.name.clone());
    let used = service.uses().into_iter();
    let needed = used.map(|name| Address::new(Kind::Credential, name.clone()));
    let desired = Desired {
        address: address.clone(),
        id: service.id.clone(),
        backend: service.backend(),
        definition: Definition::of(service)?,
        image: project.image(service)?.without_bytes(),
        renderer: None,
        // Else a destroy would take away first what the runs of others need.
        meta: Meta {
            depends_on: needed.collect(),
            ..Meta::default()
        },
        declared: Declared {
            file: NOWHERE.into(),
            line: 0,
        },
        warnings: Vec::new(),
    };
    Ok((address, desired))
}

/// The record of what was rendered from a `run.json`: where the host differs from it, that is drift.
fn record(context: &Context, layout: &Layout, desired: &Desired) -> Applied {
    let known = status::read(context.disk.as_ref(), layout, &desired.address.name);
    let created_at = match known {
        Stored::Good(status) => status.created_at,
        Stored::Absent | Stored::Damaged(_) | Stored::Newer(..) => context.now(),
    };
    Applied {
        id: desired.id.clone(),
        backend: desired.backend.clone(),
        definition: desired.definition.clone(),
        image: desired.image.clone(),
        renderer: None,
        meta: desired.meta.clone(),
        declared_in: desired.declared.file.clone(),
        created_at,
    }
}
