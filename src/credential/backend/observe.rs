//! What there is of the store's credentials.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::OnceLock,
};

use crate::{
    effect::{
        disk::{Disk, EntryKind, ReadFile},
        threads,
    },
    error::{Code, Result},
    id::{Address, Kind, ProjectName, ResourceName, Timestamp},
    layout::Layout,
    resource::{
        Applied, Found, Observe, Observed, Part, Scope, ScopeEntry, Seen, Stray, UnknownCode,
    },
};

use super::{
    super::{
        definition::{Credential, STORE, StoreKind},
        delivery, drift,
        facts::{Facts, Noted},
        image::{self, DUE, SOURCE, STORED, TAKEN_IN, VALUE},
        key::Key,
        record::{Outline, Record},
        rest::{Renewer, Renewers},
        seal::{FILE_LIMIT, Seal},
        setback,
        source::{self, Look},
        spot::Claims,
    },
    Store,
};

/// After so many credentials others may work.
const TURN: usize = 2048;

/// How many are read by one core at least.
const PIECE: usize = 32;

/// What looks, on any core.
struct Reader<'a> {
    disk: &'a dyn Disk,
    layout: &'a Layout,
    now: Timestamp,
    /// For which a new value is asked.
    asked: Option<ResourceName>,
    /// What opens sealed records, once one was read.
    seal: OnceLock<Seal>,
}

#[async_trait::async_trait(?Send)]
impl Observe for Store {
    async fn observe(&self, scope: &Scope<'_>) -> Result<Observed> {
        let disk = self.disk.as_ref();
        let key = Key::read(disk, &self.layout)?;
        let others = others(disk, &self.layout);
        let reader = Reader {
            disk,
            layout: &self.layout,
            now: self.now(),
            asked: self.asked.borrow().clone(),
            seal: OnceLock::new(),
        };
        let mut resources = BTreeMap::new();
        let entries = scope.entries.iter().filter(|entry| *entry.backend == STORE);
        let entries: Vec<&ScopeEntry<'_>> = entries.collect();
        for turn in entries.chunks(TURN) {
            tokio::task::yield_now().await;
            let look = |entry: &&ScopeEntry<'_>| reader.look(entry, key.as_ref(), &others);
            let seen = threads::map(turn, PIECE, look);
            let found = turn.iter().zip(seen);
            resources.extend(found.filter_map(|(at, seen)| Some((at.address.clone(), seen?))));
        }
        let strays = reader.strays(scope);
        Ok(Observed { resources, strays })
    }
}

/// What is known of a credential from its own files and deliveries alone.
pub struct Known {
    /// What was applied last.
    pub credential: Credential,
    /// What is known of its value.
    pub facts: Facts,
    /// Whether the file of the value is there, which runs read.
    pub is_stored: bool,
    /// What of its store and its deliveries is not as applied; a sentence each.
    pub differs: Vec<String>,
    /// What else should be known of them: who else could read it, and what is in the way.
    pub notes: Vec<String>,
}

impl Known {
    /// Whether its store and its deliveries are as applied, and nothing else is in the way.
    pub const fn is_as_applied(&self) -> bool {
        self.differs.is_empty() && self.notes.is_empty()
    }

    /// The service before whose next run it is renewed, where nobody needs it until then.
    pub fn rest<'r>(&self, renewers: &'r Renewers) -> Option<&'r Renewer> {
        renewers.of(&self.credential, &self.facts)
    }
}

/// Looks at the files of one that was applied.
///
/// # Errors
/// As [`Record::read`] and [`Key::read`].
pub fn look(
    disk: &dyn Disk,
    layout: &Layout,
    address: &Address,
    applied: &Applied,
    now: Timestamp,
) -> Result<Option<Known>> {
    let Some((record, credential, facts)) = read(disk, layout, &address.name, now)? else {
        return Ok(None);
    };
    let found = held(disk, layout, &credential, &record, (&facts, now));
    let is_stored = found.image.get(VALUE.as_str()).is_some();
    let drift = drift::drift(address, applied, Some(&Seen::Ours(found)));
    Ok(Some(Known {
        credential,
        facts,
        is_stored,
        differs: drift.iter().flat_map(drift::told).collect(),
        notes: drift.map(|drift| drift.notes).unwrap_or_default(),
    }))
}

/// What is known of a credential from its record alone.
///
/// # Errors
/// As [`look`].
pub fn facts(
    disk: &dyn Disk,
    layout: &Layout,
    name: &ResourceName,
    now: Timestamp,
) -> Result<Option<(Credential, Facts)>> {
    let known = read(disk, layout, name, now)?;
    Ok(known.map(|(_, credential, facts)| (credential, facts)))
}

/// The same with the record, which holds the values.
pub(super) fn read(
    disk: &dyn Disk,
    layout: &Layout,
    name: &ResourceName,
    now: Timestamp,
) -> Result<Option<(Record, Credential, Facts)>> {
    let Some(record) = Record::read(disk, layout, name)? else {
        return Ok(None);
    };
    let credential: Credential = record.definition.read()?;
    let key = Key::read(disk, layout)?;
    let noted = Noted::read(disk, layout, name);
    let fingerprint = fingerprint(key.as_ref(), &record);
    let facts = Facts::of(&credential, &record, noted.as_ref(), fingerprint, now);
    let facts = facts.and(setback::of_issuer(disk, layout, &credential, now));
    Ok(Some((record, credential, facts)))
}

/// What of a credential the host holds: the parts of its image that are its files.
fn held(
    disk: &dyn Disk,
    layout: &Layout,
    credential: &Credential,
    record: &Record,
    (facts, now): (&Facts, Timestamp),
) -> Found {
    let mut found = Found::default();
    let image = &mut found.image;
    image.set(image::DEFINITION, image::definition(&record.definition));
    // One that does not serve is kept from runs, where it could be renewed for them.
    let is_withheld = credential.renews_for_runs() && facts.is_spent(now);
    if let Some(text) = value(disk, layout, credential, record, is_withheld) {
        image.set(VALUE, Part::Text(text));
    }
    for one in &record.delivered {
        let there = delivery::look(disk, one, record);
        if let Some(text) = there.part {
            image.set(image::part(one), Part::Text(text));
        }
        found.notes.extend(there.note);
    }
    found
}

/// Whether a value is kept from runs: its file is empty, since a unit whose file is missing does not
/// start, or, where it is encrypted, there is none.
pub(super) fn keeps_from_runs(store: StoreKind, file: Option<&ReadFile>) -> bool {
    match store {
        StoreKind::File => file.is_some_and(|file| file.bytes.is_empty()),
        StoreKind::SystemdCreds => file.is_none(),
    }
}

/// How the file of the value is; `None` where it is not there.
fn value(
    disk: &dyn Disk,
    layout: &Layout,
    credential: &Credential,
    record: &Record,
    is_withheld: bool,
) -> Option<String> {
    let file = match disk.read(&layout.secret_value(&credential.name), FILE_LIMIT) {
        Ok(file) => file,
        Err(error) => return Some(format!("cannot be read: {error}")),
    };
    let is_withheld = is_withheld && keeps_from_runs(credential.store, file.as_ref());
    let Some(file) = file else {
        return is_withheld.then(|| STORED.to_owned());
    };
    let own = disk.identity().uid;
    let is_stored = match credential.store {
        StoreKind::File => (record.current()).is_some_and(|one| one.value.is(&file.bytes)),
        StoreKind::SystemdCreds => record.is_stored_as(&file.bytes),
    };
    let is_current = is_stored || is_withheld;
    Some(if !is_current {
        "another value".to_owned()
    } else if file.mode != 0o600 || file.owner.uid != own {
        format!("{:04o} {}:{}", file.mode, file.owner.uid, file.owner.gid)
    } else {
        STORED.to_owned()
    })
}

fn fingerprint(key: Option<&Key>, record: &Record) -> Option<super::super::key::Fingerprint> {
    Some(key?.fingerprint(record.current()?.value.value()))
}

impl Reader<'_> {
    fn look(
        &self,
        entry: &ScopeEntry<'_>,
        key: Option<&Key>,
        others: &Claims<ProjectName>,
    ) -> Option<Seen> {
        let disk = self.disk;
        let name = &entry.address.name;
        let unknown = |error: &crate::error::Error| Seen::Unknown {
            reason: error.chain(),
            help: error.suggestion.clone(),
            code: match error.code {
                Code::NotPermitted => UnknownCode::NotPermitted,
                Code::StateCorrupt => UnknownCode::StateCorrupt,
                _other => UnknownCode::BackendUnavailable,
            },
        };
        if !others.is_empty()
            && let Ok(wanted) = entry.definition.read::<Credential>()
            && let Some((target, (theirs, project))) = (wanted.deliver.iter())
                .find_map(|one| Some((&one.to, others.rival(disk, &one.to)?)))
        {
            let same = if theirs == target {
                String::new()
            } else {
                format!(", which it calls {theirs}")
            };
            let reason = format!("the project `{project}` delivers to {target} too{same}");
            return Some(Seen::Foreign { reason });
        }
        let mut record = match Record::read_with(disk, self.layout, name, &self.seal) {
            Ok(Some(record)) => record,
            Ok(None) => return None,
            Err(error) => return Some(unknown(&error)),
        };
        let credential: Credential = match record.definition.read() {
            Ok(credential) => credential,
            Err(error) => return Some(unknown(&error)),
        };
        if credential.id != *entry.id {
            let path = self.layout.secret_record(name);
            let reason = format!(
                "{} is of another resource, {}",
                path.display(),
                credential.id
            );
            return Some(Seen::Foreign { reason });
        }
        record.asked |= self.asked.as_ref() == Some(name);
        let noted = Noted::read(disk, self.layout, name);
        let print = fingerprint(key, &record);
        let facts = Facts::of(&credential, &record, noted.as_ref(), print, self.now);
        let of_issuer = setback::of_issuer(disk, self.layout, &credential, self.now);
        let facts = facts.and(of_issuer);
        let here = (&facts, self.now);
        let mut found = held(disk, self.layout, &credential, &record, here);
        let image = &mut found.image;
        let source = match source::look(disk, &credential) {
            Look::Value(value) if !record.has_seen(&value) => image::NEW_VALUE,
            // One that is gone, or holds what is no value, takes nothing back.
            Look::Value(_) | Look::Nothing(_) | Look::Unasked => TAKEN_IN,
        };
        image.set(SOURCE, Part::Text(source.to_owned()));
        if let Some(due) = facts.due {
            image.set(DUE, Part::Text(due.as_str().to_owned()));
        }
        found.told = serde_json::to_value(&facts).ok().map(Box::new);
        Some(Seen::Ours(found))
    }

    /// What is in the store under names that nobody asks for.
    fn strays(&self, scope: &Scope<'_>) -> Vec<Stray> {
        let entries = scope.entries.iter();
        let of_kind = entries.filter(|entry| entry.address.kind == Kind::Credential);
        let asked: BTreeSet<&ResourceName> = of_kind.map(|entry| &entry.address.name).collect();
        let disk = self.disk;
        // What cannot be listed or read carries no mark that we could know of.
        let names = disk.list(&self.layout.secrets()).unwrap_or_default();
        let strays = names.into_iter().filter_map(|(name, kind)| {
            let name: ResourceName = name.parse().ok()?;
            if kind != EntryKind::Dir || asked.contains(&name) {
                return None;
            }
            let record = Outline::read(disk, self.layout, &name).ok()??;
            let credential: Credential = record.definition.read().ok()?;
            Some(Stray {
                name: self.layout.secret(&name).display().to_string(),
                address: Some(Address::new(Kind::Credential, name)),
                id: credential.id,
                backend: STORE,
            })
        });
        strays.collect()
    }
}

/// What other projects of the state directory deliver, and where.
fn others(disk: &dyn Disk, layout: &Layout) -> Claims<ProjectName> {
    let mut found = Claims::default();
    let projects = disk.list(layout.state_dir()).unwrap_or_default();
    for (project, _) in projects {
        let Ok(project) = project.parse::<ProjectName>() else {
            continue;
        };
        if project == *layout.project() {
            continue;
        }
        let other = Layout::new(PathBuf::from(layout.state_dir()), project.clone());
        for (name, _) in disk.list(&other.secrets()).unwrap_or_default() {
            let Ok(name) = name.parse::<ResourceName>() else {
                continue;
            };
            if let Ok(Some(record)) = Outline::read(disk, &other, &name) {
                for one in record.delivered {
                    found.add(disk, one.to, project.clone());
                }
            }
        }
    }
    found
}
