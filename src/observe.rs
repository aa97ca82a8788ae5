//! Loading everything before anything is compared: spec, state, journals and
//! host become one [`Situation`], from which the plan is a pure function.

pub mod snapshot;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use crate::{
    apply::{
        record::Record,
        settle::{self, Settled, Unfinished},
    },
    effect::{disk::Disk, process::Stopwatch},
    error::{Code, Error, Result},
    id::{Address, BackendId, Timestamp},
    layout::Layout,
    plan::{Inputs, Options, Provenance},
    resource::{
        Applied, Definition, Desired, Image, Observe, Observed, Scope, ScopeEntry, Seen, Subject,
    },
    service::definition::{Scheduler, user_of},
    state::{
        format::{Origin, State},
        journal::{self, JournalId},
    },
};

/// The backends as a reader sees them.
pub type Readers<'a> = BTreeMap<BackendId, &'a dyn Observe>;

/// What the spec wants of this host.
#[derive(Debug, Default)]
pub struct Wish {
    /// What it wants here.
    pub desired: BTreeMap<Address, Desired>,
    /// What it wants on other hosts only.
    pub elsewhere: BTreeSet<Address>,
    /// Its files, relative to its root.
    pub files: BTreeSet<String>,
    /// Where it comes from.
    pub origin: Option<Origin>,
    /// The digest of its files.
    pub digest: Option<crate::id::Digest>,
    /// What the user should know of it.
    pub warnings: Vec<String>,
    /// Where there is something left of services that nothing names any more, which is to go too.
    pub left: BTreeMap<Address, PathBuf>,
}

/// What this host remembers of a project.
#[derive(Debug)]
pub struct Memory {
    /// The state, or an empty one when nothing was applied yet.
    pub state: State,
    /// Whether there is a state file.
    pub is_stored: bool,
    /// The serial of the state that is gone, as its journal tells.
    pub lost: Option<u64>,
    /// What unfinished journals leave to be told from the host.
    pub unfinished: Unfinished,
    /// Those journals.
    pub open_journals: Vec<JournalId>,
}

/// Everything that a plan is made of.
#[derive(Debug)]
pub struct Situation {
    /// What the spec wants.
    pub wish: Wish,
    /// What is remembered.
    pub memory: Memory,
    /// What is there.
    pub observed: Observed,
    /// How unfinished journals were settled, in memory.
    pub settled: Settled,
    /// The applied records after that.
    pub applied: BTreeMap<Address, Applied>,
    /// Resources in doubt, and the remedy.
    pub in_doubt: BTreeMap<Address, String>,
}

impl Memory {
    /// The memory of a project of which nothing was applied yet.
    pub fn empty(
        project: crate::id::ProjectName,
        lineage: crate::id::Lineage,
        now: Timestamp,
    ) -> Self {
        Self {
            state: State::new(project, lineage, now),
            is_stored: false,
            lost: None,
            unfinished: Unfinished::default(),
            open_journals: Vec::new(),
        }
    }

    /// Reads state and journals.
    ///
    /// # Errors
    /// `STATE_CORRUPT`, `STATE_LOST` where there are backups, `STATE_NEWER`, `STATE_FOREIGN`, or what the disk says. Never empty for damaged.
    pub fn load(
        disk: &dyn Disk,
        layout: &Layout,
        lineage: &crate::id::Lineage,
        now: Timestamp,
    ) -> Result<Self> {
        let stored = crate::state::store::read_of(disk, layout, lineage)?;
        let is_stored = stored.is_some();
        let state =
            stored.unwrap_or_else(|| State::new(layout.project().clone(), lineage.clone(), now));
        let (mut open, mut lost) = (Vec::new(), None);
        for id in journal::list(disk, layout)?.into_iter().rev() {
            let path: PathBuf = journal::path(layout, &id);
            // One that ended carries on what those before it left in doubt, and settled the rest.
            if let Some(Record::Ended(ended)) = journal::last(disk, &path)? {
                lost = (!is_stored && ended.serial > 0).then_some(ended.serial);
                open.push((id, vec![Record::Ended(ended)]));
                break;
            }
            open.push((id, journal::read(disk, &path)?));
        }
        let mut unfinished = Unfinished::default();
        let mut open_journals = Vec::new();
        for (id, records) in open.into_iter().rev() {
            unfinished.fold(&records, state.serial);
            if !matches!(records.last(), Some(Record::Ended(_))) {
                open_journals.push(id);
            }
        }
        Ok(Self {
            state,
            is_stored,
            lost,
            unfinished,
            open_journals,
        })
    }

    /// Refuses to go on without the state that an ended apply has written.
    ///
    /// # Errors
    /// `STATE_LOST`, whether or not a backend that is asked carries the project's marks.
    pub fn refuse_lost(&self, layout: &Layout) -> Result<()> {
        let Some(serial) = self.lost else {
            return Ok(());
        };
        let message = format!(
            "{} is gone, though an apply has written it: its journal says serial {serial}",
            layout.state_file().display()
        );
        Err(Error::new(Code::StateLost, message).suggest(format!(
            "`lorectl state repair --project {}` rebuilds the state from the marks",
            layout.project()
        )))
    }
}

impl Situation {
    /// Looks at the host, as `user`, and settles what an earlier apply left unfinished.
    ///
    /// # Errors
    /// `STATE_LOST` when the host carries our marks and there is no state; `BACKEND_UNAVAILABLE` and
    /// its kin when a backend that is needed does not answer: what is unknown is never taken for gone.
    pub async fn observe(
        wish: Wish,
        memory: Memory,
        readers: &Readers<'_>,
        targets: &[Address],
        user: &str,
    ) -> Result<Self> {
        let mut memory = memory;
        let mut observed = look(&wish, &memory, readers).await?;
        look_at_moves(&mut memory, &mut observed, readers).await?;
        refuse_unknown(&observed, targets, &|address| {
            let wanted = wish.desired.get(address).map(|desired| &desired.backend);
            let applied = memory.state.resources.get(address);
            let backend = applied.map(|applied| &applied.backend).or(wanted);
            backend.and_then(user_of).unwrap_or(user).to_owned()
        })?;
        if !memory.is_stored && memory.unfinished.is_empty() {
            refuse_lost(&observed, &memory)?;
        }
        let settled = memory.unfinished.settle(&observed);
        let mut applied = memory.state.resources.clone();
        for (address, record) in &settled.records {
            match record {
                Some(record) => drop(applied.insert(address.clone(), record.clone())),
                None => drop(applied.remove(address)),
            }
        }
        let in_doubt = settled
            .in_doubt
            .iter()
            .map(|(address, doubt)| (address.clone(), doubt.remedy.clone()))
            .collect();
        Ok(Self {
            wish,
            memory,
            observed,
            settled,
            applied,
            in_doubt,
        })
    }

    /// What the planner is given.
    pub fn inputs(&self, host: &str, now: Timestamp, options: Options) -> Inputs<'_> {
        let origin = |origin: &Origin| origin.value.clone();
        Inputs {
            subject: Subject {
                project: self.memory.state.project.clone(),
                host: host.to_owned(),
                lineage: self.memory.state.lineage.clone(),
                serial: self.memory.state.serial,
                spec_digest: self.wish.digest,
                observed_at: None,
            },
            now,
            desired: &self.wish.desired,
            elsewhere: &self.wish.elsewhere,
            applied: &self.applied,
            observed: &self.observed,
            in_doubt: &self.in_doubt,
            left: &self.wish.left,
            provenance: Provenance {
                files: self.wish.files.clone(),
                origin: self.wish.origin.as_ref().map(origin),
                last_origin: self.memory.state.origin.as_ref().map(origin),
            },
            options,
            warnings: self.wish.warnings.clone(),
        }
    }
}

/// One resource as its backend is asked for it.
struct Asked<'a> {
    id: &'a crate::id::ResourceId,
    backend: &'a BackendId,
    definition: &'a Definition,
    known: Vec<&'a Image>,
}

fn asked<'a>(wish: &'a Wish, memory: &'a Memory) -> BTreeMap<&'a Address, Asked<'a>> {
    let mut asked: BTreeMap<&Address, Asked<'_>> = BTreeMap::new();
    let unfinished = memory.unfinished.touched.iter();
    let doubtful = memory
        .unfinished
        .doubtful
        .iter()
        .map(|(a, d)| (a, &d.transition));
    for (address, transition) in unfinished.chain(doubtful) {
        for record in transition.before.iter().chain(transition.after.iter()) {
            add(&mut asked, address, record);
        }
    }
    for (address, record) in &memory.state.resources {
        add(&mut asked, address, record);
    }
    for (address, desired) in &wish.desired {
        let entry = asked.entry(address).or_insert(Asked {
            id: &desired.id,
            backend: &desired.backend,
            definition: &desired.definition,
            known: Vec::new(),
        });
        entry.known.push(&desired.image);
    }
    asked
}

fn add<'a>(
    asked: &mut BTreeMap<&'a Address, Asked<'a>>,
    address: &'a Address,
    record: &'a Applied,
) {
    let entry = asked.entry(address).or_insert(Asked {
        id: &record.id,
        backend: &record.backend,
        definition: &record.definition,
        known: Vec::new(),
    });
    entry.backend = &record.backend;
    entry.definition = &record.definition;
    entry.known.push(&record.image);
}

async fn look(wish: &Wish, memory: &Memory, readers: &Readers<'_>) -> Result<Observed> {
    let mut by_backend: BTreeMap<&BackendId, Vec<ScopeEntry<'_>>> =
        readers.keys().map(|id| (id, Vec::new())).collect();
    for (address, asked) in asked(wish, memory) {
        by_backend
            .entry(asked.backend)
            .or_default()
            .push(ScopeEntry {
                address,
                id: asked.id,
                backend: asked.backend,
                definition: asked.definition,
                known: asked.known,
            });
    }
    let project = &memory.state.project;
    let mut calls = Vec::new();
    for (backend, entries) in by_backend {
        let Some(reader) = readers.get(backend) else {
            return Err(Error::new(
                Code::NotInThisBuild,
                format!("the state names the backend `{backend}`, which this build does not have"),
            ));
        };
        let scope = Scope {
            project,
            entries,
            all_bytes: false,
        };
        calls.push(async move {
            let watch = Stopwatch::start();
            let observed = reader.observe(&scope).await;
            let (asked, ms) = (scope.entries.len(), watch.elapsed_ms());
            match &observed {
                Ok(found) => {
                    let (found, strays) = (found.resources.len(), found.strays.len());
                    if asked == 0 && strays == 0 {
                        tracing::debug!(%backend, ms, "nothing of this project is there");
                    } else {
                        tracing::info!(%backend, asked, found, strays, ms, "observed");
                    }
                }
                Err(error) => {
                    tracing::info!(%backend, asked, code = %error.code, ms, "could not observe");
                }
            }
            observed
        });
    }
    let mut all = Observed::default();
    for observed in futures_util::future::join_all(calls).await {
        let observed = observed?;
        all.resources.extend(observed.resources);
        all.strays.extend(observed.strays);
    }
    // What an unfinished journal tells of is no stray.
    all.strays.retain(|stray| {
        stray
            .address
            .as_ref()
            .is_none_or(|address| !memory.unfinished.touched.contains_key(address))
    });
    Ok(all)
}

/// What was under way from one backend to another is looked for on both, and settled as the one or
/// the other: images of two backends are never mixed.
async fn look_at_moves(
    memory: &mut Memory,
    observed: &mut Observed,
    readers: &Readers<'_>,
) -> Result<()> {
    for (address, transition) in &mut memory.unfinished.touched {
        let (Some(before), Some(after)) = (&transition.before, &transition.after) else {
            continue;
        };
        let Some(reader) = readers
            .get(&after.backend)
            .filter(|_| before.backend != after.backend)
        else {
            continue;
        };
        let scope = Scope {
            project: &memory.state.project,
            entries: vec![ScopeEntry {
                address,
                id: &after.id,
                backend: &after.backend,
                definition: &after.definition,
                known: vec![&after.image],
            }],
            all_bytes: false,
        };
        let there = reader.observe(&scope).await?.resources.remove(address);
        let old = observed.resources.get(address);
        if settle::has_moved(
            &before.image,
            &after.image,
            image(old),
            image(there.as_ref()),
        ) {
            match there {
                Some(seen) => drop(observed.resources.insert(address.clone(), seen)),
                None => drop(observed.resources.remove(address)),
            }
            transition.before = None;
        } else {
            transition.after = None;
        }
    }
    Ok(())
}

fn image(seen: Option<&Seen>) -> Option<&Image> {
    match seen {
        Some(Seen::Ours(found)) => Some(&found.image),
        Some(Seen::Foreign { .. } | Seen::Unknown { .. }) | None => None,
    }
}

/// Refuses to plan from what could not be looked at; `manager_of` is whose manager a resource is in.
fn refuse_unknown(
    observed: &Observed,
    targets: &[Address],
    manager_of: &dyn Fn(&Address) -> String,
) -> Result<()> {
    for (address, seen) in &observed.resources {
        let asked_for = targets.is_empty() || targets.contains(address);
        if let Seen::Unknown { reason, help, code } = seen
            && asked_for
        {
            let error = Error::new(code.code(), format!("{address}: {reason}"));
            if let Some(help) = help {
                return Err(error.suggest(help));
            }
            return Err(match code {
                crate::resource::UnknownCode::UserManagerMissing => error.suggest(format!(
                    "run `loginctl enable-linger {}` as root, then try again",
                    manager_of(address)
                )),
                crate::resource::UnknownCode::BackendUnavailable => {
                    error.suggest("`systemctl is-system-running` tells whether systemd answers")
                }
                crate::resource::UnknownCode::NotPermitted => error.suggest("try as root"),
                crate::resource::UnknownCode::StateCorrupt => error,
            });
        }
    }
    Ok(())
}

/// Without a state, what carries our mark was applied by a state that is lost.
fn refuse_lost(observed: &Observed, memory: &Memory) -> Result<()> {
    let ours = observed
        .resources
        .iter()
        .filter(|(_, seen)| matches!(seen, Seen::Ours(_)))
        .map(|(address, _)| address.to_string());
    let strays = observed.strays.iter().map(|stray| stray.name.clone());
    let names: Vec<String> = ours.chain(strays).collect();
    if names.is_empty() {
        return Ok(());
    }
    let project = &memory.state.project;
    Err(Error::new(
        Code::StateLost,
        format!(
            "project {project} has no state on this host, but {} here carries its mark",
            match names.len() {
                1 => "something".to_owned(),
                n => format!("each of {n} things"),
            }
        ),
    )
    .with_details(names)
    .suggest(format!(
        "`lorectl state repair --project {project}` rebuilds the state from the marks"
    )))
}

/// The kinds whose backends a project needs opened, from what it wants and what was applied.
pub fn backends_of(wish: &Wish, memory: &Memory) -> BTreeSet<BackendId> {
    let unfinished = memory.unfinished.touched.values();
    let recorded = unfinished.flat_map(|t| t.before.iter().chain(t.after.iter()));
    let wanted = wish.desired.values().map(|desired| &desired.backend);
    let applied = memory.state.resources.values();
    let left = (!wish.left.is_empty()).then(|| Scheduler::Worker.backend());
    wanted
        .chain(applied.map(|record| &record.backend))
        .chain(recorded.map(|record| &record.backend))
        .cloned()
        .chain(left)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_read_is_told_whole_and_its_help_apart() {
        let reason = "cannot read /srv/a; b/record.json: it is damaged; or worse";
        for (help, code, expected) in [
            (
                Some("bring it back; then apply"),
                "state_corrupt",
                Some("bring it back; then apply"),
            ),
            (None, "state_corrupt", None),
            (Some("as root"), "not_permitted", Some("as root")),
            // As older builds wrote it.
            (None, "not_permitted", Some("try as root")),
        ] {
            let mut seen = json!({"is": "unknown", "reason": reason, "code": code});
            if let Some(help) = help {
                seen["help"] = json!(help);
            }
            let read: Seen = serde_json::from_value(seen.clone()).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), seen);
            let address: Address = "credential.app".parse().unwrap();
            let observed = Observed {
                resources: [(address, read)].into(),
                strays: Vec::new(),
            };
            let error = refuse_unknown(&observed, &[], &|_| "root".to_owned()).unwrap_err();
            assert_eq!(error.message, format!("credential.app: {reason}"));
            assert_eq!(error.suggestion.as_deref(), expected);
        }
    }
}
