//! What a manager and its directories hold of a project's services.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    path::Path,
};

use super::{
    Systemd,
    parts::{Paths, UnitKind},
    survey::{Slot, Survey},
};
use crate::{
    effect::{
        dbus::{Active, UnitState},
        disk::{Disk, EntryKind},
        threads,
    },
    error::{Code, Error, Result},
    id::{Address, Kind, ResourceId, ResourceName, Timestamp},
    resource::{
        File, Found, Image, Observe, Observed, Part, PartName, Scope, ScopeEntry, Seen, Stray,
        UnknownCode,
    },
    service::{image, unit},
};

/// The largest unit or `run.json` that is read, in bytes.
pub(super) const LIMIT: u64 = 4 << 20;

/// After so many services the walk lets the bus answer.
const TURN: usize = 128;

/// A thread is worth while for so many services.
const PIECE: usize = 64;

/// An entry as its files show it.
enum Files {
    /// Nothing of it is there.
    Absent,
    /// It is ours; the manager has yet to say whether it is up. With when its units last changed.
    Ours(Found, Timestamp),
    /// Settled already.
    Settled(Seen),
}

#[async_trait::async_trait(?Send)]
impl Observe for Systemd {
    async fn observe(&self, scope: &Scope<'_>) -> Result<Observed> {
        self.begin();
        let entries: Vec<&ScopeEntry<'_>> = scope
            .entries
            .iter()
            .filter(|entry| *entry.backend == self.id)
            .collect();
        let survey = match self.survey(entries.len()) {
            Ok(survey) => survey,
            Err(error) => return Ok(unknown(&entries, &listing(error))),
        };
        let strays = self.strays(scope, &survey);
        if entries.is_empty() {
            return Ok(Observed {
                resources: BTreeMap::new(),
                strays,
            });
        }
        let there: Vec<&ScopeEntry<'_>> = entries
            .iter()
            .copied()
            .filter(|entry| survey.has(&entry.address.name))
            .collect();
        let timers: Vec<String> = there
            .iter()
            .map(|entry| self.unit_name(&entry.address.name, UnitKind::Timer))
            .collect();
        let ask = async {
            let read_at = self.manager.units_read_at().await?;
            let states = self.manager.states(&timers).await?;
            Ok((read_at, states))
        };
        let (asked, files) = tokio::join!(ask, self.files(&there, &survey, scope.all_bytes));
        let (read_at, states) = match asked {
            Ok(asked) => asked,
            Err(error) => {
                let resources = unknown(&entries, &error).resources;
                return Ok(Observed { resources, strays });
            }
        };
        let mut resources = BTreeMap::new();
        for ((entry, files), state) in there.iter().zip(files).zip(states) {
            let seen = match files {
                Files::Absent => continue,
                Files::Settled(seen) => seen,
                Files::Ours(mut found, changed) => {
                    let unread = read_at.is_some_and(|read_at| changed > read_at);
                    add_state(&mut found.image, state, unread);
                    // One image then, however often the two are compared; but bytes that were asked for
                    // are kept: they may have to be put back.
                    let whole = found.image.has_bytes();
                    let same = |known: &&&Image| !whole && ***known == found.image;
                    if let Some(known) = entry.known.iter().find(same) {
                        found.image = known.without_bytes();
                    }
                    Seen::Ours(found)
                }
            };
            resources.insert(entry.address.clone(), seen);
        }
        Ok(Observed { resources, strays })
    }
}

/// What the manager says of a timer, as parts.
fn add_state(image: &mut Image, state: UnitState, unread: bool) {
    image.set(
        image::ACTIVE,
        Part::Flag(match state.active {
            Active::Active => true,
            Active::Inactive | Active::Failed | Active::Changing => false,
        }),
    );
    let outdated = || unread.then(|| image::STALE.to_owned());
    if let Some(text) = state.not_loaded.or_else(outdated) {
        image.set(image::LOAD_STATE, Part::Text(text));
    }
}

/// All entries unknown, for one reason.
fn unknown(entries: &[&ScopeEntry<'_>], error: &Error) -> Observed {
    let code = if error.code == Code::NotPermitted {
        UnknownCode::NotPermitted
    } else if error.code == Code::UserManagerMissing {
        UnknownCode::UserManagerMissing
    } else {
        UnknownCode::BackendUnavailable
    };
    let seen = Seen::Unknown {
        reason: error.chain(),
        help: None,
        code,
    };
    let resources = entries
        .iter()
        .map(|entry| (entry.address.clone(), seen.clone()))
        .collect();
    Observed {
        resources,
        strays: Vec::new(),
    }
}

fn listing(error: io::Error) -> Error {
    let code = match error.kind() {
        io::ErrorKind::PermissionDenied => Code::NotPermitted,
        _other => Code::BackendUnavailable,
    };
    Error::new(code, "cannot list the directories of units").because(error)
}

fn unreadable(path: &Path, error: &io::Error) -> Seen {
    Seen::Unknown {
        reason: format!("cannot read {}: {error}", path.display()),
        help: None,
        code: match error.kind() {
            io::ErrorKind::PermissionDenied => UnknownCode::NotPermitted,
            _other => UnknownCode::BackendUnavailable,
        },
    }
}

/// Whether the bytes of a file are wanted: they are known when each known image has the same.
fn wants_bytes(entry: &ScopeEntry<'_>, all_bytes: bool, part: &PartName, file: &File) -> bool {
    let known = |image: &&Image| {
        let same = |known: &File| known.digest == file.digest;
        image.file(part.as_str()).is_some_and(same)
    };
    all_bytes || entry.known.is_empty() || !entry.known.iter().all(known)
}

impl Survey {
    fn has(&self, name: &ResourceName) -> bool {
        self.slots.contains_key(name.as_str()) || self.kept.contains(name.as_str())
    }
}

impl Systemd {
    /// Reads what there is of each entry, on all cores, and lets the bus answer in between.
    async fn files(
        &self,
        entries: &[&ScopeEntry<'_>],
        survey: &Survey,
        all_bytes: bool,
    ) -> Vec<Files> {
        let reader = Reader {
            disk: &*self.disk,
            paths: self.paths(),
            survey,
            all_bytes,
        };
        let mut files = Vec::with_capacity(entries.len());
        for turn in entries.chunks(TURN) {
            tokio::task::yield_now().await;
            files.extend(threads::map(turn, PIECE, |entry| reader.entry(entry)));
        }
        files
    }

    /// Units with the project's mark under names that nobody asks for.
    fn strays(&self, scope: &Scope<'_>, survey: &Survey) -> Vec<Stray> {
        let asked: HashSet<&str> = scope
            .entries
            .iter()
            .filter(|entry| entry.address.kind == Kind::Service)
            .map(|entry| entry.address.name.as_str())
            .collect();
        let mut strays: Vec<Stray> = survey
            .slots
            .iter()
            .filter(|(name, _)| !asked.contains(name.as_str()))
            .filter_map(|(name, slot)| self.stray(name, slot))
            .collect();
        strays.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        strays
    }

    fn stray(&self, name: &str, slot: &Slot) -> Option<Stray> {
        if slot.unit(UnitKind::Service) == Some(EntryKind::File) {
            let unit = format!("lorectl-{}.{name}.service", self.layout.project());
            let read = self.disk.read(&self.places.units.join(unit), LIMIT);
            let text = read.ok().flatten().map(|read| read.bytes);
            if text.is_some_and(|text| unit::is_kept_elsewhere(&text, &self.layout)) {
                return None;
            }
        }
        UnitKind::ALL.into_iter().find_map(|kind| {
            if slot.unit(kind) != Some(EntryKind::File) {
                return None;
            }
            let unit = format!("lorectl-{}.{name}.{}", self.layout.project(), kind.suffix());
            // What cannot be read carries no mark that we could know of.
            let read = self.disk.read(&self.places.units.join(&unit), LIMIT);
            let bytes = read.ok().flatten()?.bytes;
            let (project, id) = unit::mark(&bytes)?;
            let address = name.parse().ok();
            (project == self.layout.project().as_str()).then(|| Stray {
                name: unit,
                address: address.map(|name| Address::new(Kind::Service, name)),
                id,
                backend: self.id.clone(),
            })
        })
    }
}

/// What reads the files of all entries.
struct Reader<'a> {
    disk: &'a dyn Disk,
    paths: Paths<'a>,
    survey: &'a Survey,
    all_bytes: bool,
}

impl Reader<'_> {
    fn entry(&self, entry: &ScopeEntry<'_>) -> Files {
        let name = &entry.address.name;
        let nothing = Slot::default();
        let slot = self.survey.slots.get(name.as_str()).unwrap_or(&nothing);
        let mut reading = Reading {
            reader: self,
            entry,
            image: Image::empty(),
            changed: Timestamp::from_millis(0),
        };
        match reading.parts(slot, self.survey.kept.contains(name.as_str())) {
            Err(seen) => Files::Settled(seen),
            Ok(false) => Files::Absent,
            Ok(true) => {
                let stem = unit::stem(self.paths.layout.project(), name);
                let found = Found {
                    image: reading.image,
                    notes: self.survey.notes(&stem, Some(slot)),
                    running_since: None,
                    counts_from: None,
                    programs: BTreeMap::new(),
                    told: None,
                };
                Files::Ours(found, reading.changed)
            }
        }
    }
}

/// One entry while its files are read.
struct Reading<'a> {
    reader: &'a Reader<'a>,
    entry: &'a ScopeEntry<'a>,
    image: Image,
    /// When a file that the manager reads last changed.
    changed: Timestamp,
}

impl Reading<'_> {
    /// Reads every part; whether anything of the service is there.
    ///
    /// An error is the verdict on the whole entry: foreign or unknown.
    fn parts(&mut self, slot: &Slot, kept: bool) -> std::result::Result<bool, Seen> {
        let name = &self.entry.address.name;
        let mut ours = false;
        let mut linked = None;
        for kind in UnitKind::ALL {
            let path = self.reader.paths.unit_path(name, kind);
            match slot.unit(kind) {
                None => {}
                Some(EntryKind::File) => {
                    if let Some(bytes) = self.file(kind.part(), &path)? {
                        self.check_mark(&path, &bytes)?;
                        ours = true;
                    }
                }
                Some(EntryKind::Link) => {
                    self.link(kind.part(), &path)?;
                    linked = Some(path);
                }
                Some(EntryKind::Dir | EntryKind::Special) => {
                    return Err(foreign(&path, "is not a file"));
                }
            }
        }
        if kept {
            let path = self.reader.paths.layout.run_file(name);
            ours |= self.file_or_link(&image::RUN, &path)?;
        }
        if let Some(path) = linked.filter(|_| !ours) {
            return Err(foreign(
                &path,
                "is a symbolic link that lorectl did not make",
            ));
        }
        if !ours && slot.link.is_none() {
            let extra = slot.extras.iter().map(|extra| &extra.path);
            return match extra.chain(&slot.others).next() {
                Some(path) => Err(foreign(path, "is of no service that lorectl made")),
                None => Ok(false),
            };
        }
        for extra in &slot.extras {
            match extra.kind {
                EntryKind::File => drop(self.file(extra.part.clone(), &extra.path)?),
                EntryKind::Link => self.link(extra.part.clone(), &extra.path)?,
                // systemd reads neither.
                EntryKind::Dir | EntryKind::Special => {}
            }
        }
        if kept {
            let path = self.reader.paths.layout.data(name);
            let stat = self.reader.disk.stat(&path);
            if let Some(stat) = stat.map_err(|error| unreadable(&path, &error))? {
                if stat.kind != EntryKind::Dir {
                    return Err(foreign(&path, "is not a directory"));
                }
                self.image.set(image::DATA, image::data_found(&stat));
            }
        }
        let enabled = self.enabled(slot)?;
        self.image.set(image::ENABLED, enabled);
        Ok(true)
    }

    /// The link that enables the timer, or what stands in its place.
    fn enabled(&self, slot: &Slot) -> std::result::Result<Part, Seen> {
        let name = &self.entry.address.name;
        match slot.link {
            None => Ok(Part::Flag(false)),
            Some(EntryKind::Link) => {
                let path = self.reader.paths.wants_link(name);
                let target = self.reader.disk.read_link(&path);
                let target = target.map_err(|error| unreadable(&path, &error))?;
                let timer = self.reader.paths.unit_name(name, UnitKind::Timer);
                Ok(match target {
                    None => Part::Flag(false),
                    Some(target) if target.file_name().is_some_and(|file| *file == *timer) => {
                        Part::Flag(true)
                    }
                    Some(target) => Part::Text(target.to_string_lossy().into_owned()),
                })
            }
            Some(EntryKind::File | EntryKind::Dir | EntryKind::Special) => {
                Ok(Part::Text("not a link".to_owned()))
            }
        }
    }

    /// Reads a file into a part; its bytes, or `None` when it is gone meanwhile.
    fn file(&mut self, part: PartName, path: &Path) -> std::result::Result<Option<Vec<u8>>, Seen> {
        let read = self.reader.disk.read(path, LIMIT);
        let Some(read) = read.map_err(|error| unreadable(path, &error))? else {
            return Ok(None);
        };
        let mut file = File {
            digest: crate::id::Digest::of(&read.bytes),
            mode: read.mode,
            owner: read.owner,
            bytes: None,
        };
        if wants_bytes(self.entry, self.reader.all_bytes, &part, &file) {
            file.bytes = Some(read.bytes.as_slice().into());
        }
        if part != image::RUN {
            self.changed = self.changed.max(read.modified);
        }
        self.image.set(part, Part::File(file));
        Ok(Some(read.bytes))
    }

    fn link(&mut self, part: PartName, path: &Path) -> std::result::Result<(), Seen> {
        let target = self.reader.disk.read_link(path);
        if let Some(target) = target.map_err(|error| unreadable(path, &error))? {
            let target = target.to_string_lossy().into_owned();
            self.image.set(part, Part::Text(target));
        }
        Ok(())
    }

    /// A part whose kind no listing told; whether anything is there.
    fn file_or_link(&mut self, part: &PartName, path: &Path) -> std::result::Result<bool, Seen> {
        match self.file(part.clone(), path) {
            Ok(bytes) => Ok(bytes.is_some()),
            Err(seen) => {
                self.link(part.clone(), path)?;
                let linked = self.image.get(part.as_str()).is_some();
                if linked { Ok(true) } else { Err(seen) }
            }
        }
    }

    fn check_mark(&self, path: &Path, bytes: &[u8]) -> std::result::Result<(), Seen> {
        let project = self.reader.paths.layout.project().as_str();
        match unit::mark(bytes) {
            None => Err(foreign(path, "does not carry lorectl's mark")),
            Some((theirs, _)) if theirs != project => {
                Err(foreign(path, &format!("is of project {theirs}")))
            }
            Some((_, id)) if id != *self.entry.id => Err(foreign(path, &other_id(&id))),
            Some(_) => Ok(()),
        }
    }
}

fn other_id(id: &ResourceId) -> String {
    format!("carries the id {id}, which is not this service's: another state made it")
}

fn foreign(path: &Path, why: &str) -> Seen {
    Seen::Foreign {
        reason: format!("{} {why}", path.display()),
    }
}
