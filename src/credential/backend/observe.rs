//! What there is of the store's credentials.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use crate::{
    effect::{
        disk::{Disk, EntryKind},
        threads,
    },
    error::{Code, Result},
    id::{Address, Kind, ProjectName, ResourceName, Timestamp},
    layout::Layout,
    resource::{
        Found, Image, Observe, Observed, Part, Scope, ScopeEntry, Seen, Stray, UnknownCode,
    },
};

use super::{
    super::{
        definition::{Credential, STORE, Target},
        delivery,
        facts::{Facts, Noted},
        image::{self, DUE, SOURCE, STORED, TAKEN_IN, VALUE},
        key::Key,
        record::Record,
        source::{self, Look},
    },
    Store,
};

/// After so many credentials others may work.
const TURN: usize = 512;

/// How many are read by one core at least.
const PIECE: usize = 32;

/// What looks, on any core.
#[derive(Clone, Copy)]
struct Reader<'a> {
    disk: &'a dyn Disk,
    layout: &'a Layout,
    now: Timestamp,
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

/// What is known of a credential from its own files alone.
///
/// # Errors
/// As [`Record::read`] and [`Key::read`].
pub fn facts(
    disk: &dyn Disk,
    layout: &Layout,
    name: &ResourceName,
    now: Timestamp,
) -> Result<Option<(Credential, Facts)>> {
    let Some(record) = Record::read(disk, layout, name)? else {
        return Ok(None);
    };
    let credential: Credential = record.definition.read()?;
    let key = Key::read(disk, layout)?;
    let noted = Noted::read(disk, layout, name);
    let fingerprint = fingerprint(key.as_ref(), &record);
    let facts = Facts::of(&credential, &record, noted.as_ref(), fingerprint, now);
    Ok(Some((credential, facts)))
}

fn fingerprint(key: Option<&Key>, record: &Record) -> Option<super::super::key::Fingerprint> {
    Some(key?.fingerprint(record.current()?.value.value()))
}

impl Reader<'_> {
    fn look(
        &self,
        entry: &ScopeEntry<'_>,
        key: Option<&Key>,
        others: &BTreeMap<Target, ProjectName>,
    ) -> Option<Seen> {
        let disk = self.disk;
        let name = &entry.address.name;
        let unknown = |error: &crate::error::Error| Seen::Unknown {
            reason: match &error.suggestion {
                Some(help) => format!("{}; {help}", error.chain()),
                None => error.chain(),
            },
            code: match error.code {
                Code::NotPermitted => UnknownCode::NotPermitted,
                _other => UnknownCode::BackendUnavailable,
            },
        };
        if let Ok(wanted) = entry.definition.read::<Credential>()
            && let Some((target, project)) =
                (wanted.deliver.iter()).find_map(|one| Some((&one.to, others.get(&one.to)?)))
        {
            let reason = format!("the project `{project}` delivers to {target} too");
            return Some(Seen::Foreign { reason });
        }
        let record = match Record::read(disk, self.layout, name) {
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
        let noted = Noted::read(disk, self.layout, name);
        let print = fingerprint(key, &record);
        let facts = Facts::of(&credential, &record, noted.as_ref(), print, self.now);
        let image = self.image(&credential, &record, &facts);
        let told = serde_json::to_value(&facts).ok().map(Box::new);
        Some(Seen::Ours(Found {
            image,
            told,
            ..Found::default()
        }))
    }

    fn image(&self, credential: &Credential, record: &Record, facts: &Facts) -> Image {
        let disk = self.disk;
        let mut image = Image::empty();
        image.set(image::DEFINITION, image::definition(&record.definition));
        if let Some(text) = self.value(&credential.name, record) {
            image.set(VALUE, Part::Text(text));
        }
        let source = match source::look(disk, credential) {
            Look::Value(value) if !record.has_seen(&value) => image::NEW_VALUE,
            // One that is gone, or holds what is no value, takes nothing back.
            Look::Value(_) | Look::Nothing(_) | Look::Unasked => TAKEN_IN,
        };
        image.set(SOURCE, Part::Text(source.to_owned()));
        for one in &record.delivered {
            if let Some(text) = delivery::look(disk, one, record) {
                image.set(image::part(one), Part::Text(text));
            }
        }
        if let Some(due) = facts.due {
            image.set(DUE, Part::Text(due.as_str().to_owned()));
        }
        image
    }

    /// How the file of the value is; `None` where it is not there.
    fn value(&self, name: &ResourceName, record: &Record) -> Option<String> {
        let disk = self.disk;
        let limit = super::super::value::LONGEST as u64 * 2;
        let file = match disk.read(&self.layout.secret_value(name), limit) {
            Ok(Some(file)) => file,
            Ok(None) => return None,
            Err(error) => return Some(format!("cannot be read: {error}")),
        };
        let own = disk.identity().uid;
        let current = record.current();
        Some(if !current.is_some_and(|one| one.value.is(&file.bytes)) {
            "another value".to_owned()
        } else if file.mode != 0o600 || file.owner.uid != own {
            format!("{:04o} {}:{}", file.mode, file.owner.uid, file.owner.gid)
        } else {
            STORED.to_owned()
        })
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
            let record = Record::read(disk, self.layout, &name).ok()??;
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
fn others(disk: &dyn Disk, layout: &Layout) -> BTreeMap<Target, ProjectName> {
    let mut found = BTreeMap::new();
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
            if let Ok(Some(record)) = Record::read(disk, &other, &name) {
                let targets = record.delivered.into_iter().map(|one| one.to);
                found.extend(targets.map(|target| (target, project.clone())));
            }
        }
    }
    found
}
