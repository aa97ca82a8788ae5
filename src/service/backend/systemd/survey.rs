//! One walk over the directories of units: what stands there with a name of
//! this project, without a question to the manager.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
};

use super::{
    Systemd,
    parts::{UnitKind, drop_in, shadow},
};
use crate::{
    effect::{disk::EntryKind, threads},
    resource::PartName,
};

/// From so many services on, directories are listed side by side.
const MANY: usize = 256;

/// What a listing gives.
type Entries = Vec<(String, EntryKind)>;

/// What stands under the names of one service.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// What our service, timer and refresh unit are, in this order.
    units: [Option<EntryKind>; 3],
    /// What is in `timers.target.wants`.
    pub(super) link: Option<EntryKind>,
    /// Drop-ins of its units and unit files that hide them.
    pub(super) extras: Vec<Extra>,
    /// What others keep under its names, for the user.
    pub(super) others: Vec<PathBuf>,
}

/// A file that changes one of our units.
#[derive(Debug)]
pub(super) struct Extra {
    pub(super) part: PartName,
    pub(super) path: PathBuf,
    pub(super) kind: EntryKind,
}

impl Slot {
    pub(super) const fn unit(&self, kind: UnitKind) -> Option<EntryKind> {
        match kind {
            UnitKind::Service => self.units[0],
            UnitKind::Timer => self.units[1],
            UnitKind::Refresh => self.units[2],
        }
    }

    fn set_unit(&mut self, kind: UnitKind, entry: EntryKind) {
        match kind {
            UnitKind::Service => self.units[0] = Some(entry),
            UnitKind::Timer => self.units[1] = Some(entry),
            UnitKind::Refresh => self.units[2] = Some(entry),
        }
    }
}

/// A drop-in that changes units of many names.
#[derive(Debug)]
pub(super) struct Wide {
    /// Stems that begin with this are changed; empty for all units of the type.
    prefix: String,
    kind: UnitKind,
    path: PathBuf,
}

/// All that one walk finds.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) slots: HashMap<String, Slot>,
    /// Names that have a directory under `services/`.
    pub(super) kept: HashSet<String>,
    wide: Vec<Wide>,
}

impl Survey {
    /// What the user should know of a service: what others keep under its names, and drop-ins for many units.
    pub(super) fn notes(&self, stem: &str, slot: Option<&Slot>) -> Vec<String> {
        let others = slot.into_iter().flat_map(|slot| &slot.others);
        let mut notes: Vec<String> = others
            .map(|path| format!("{} is not ours and is left alone", path.display()))
            .collect();
        for wide in &self.wide {
            let longer = stem.len() > wide.prefix.len() && stem.starts_with(&wide.prefix);
            if wide.prefix.is_empty() || longer {
                notes.push(format!(
                    "{} changes this {} too, and is left alone",
                    wide.path.display(),
                    wide.kind.suffix()
                ));
            }
        }
        notes
    }
}

/// A name of this project within a directory of units.
enum Named<'a> {
    Unit(&'a str, UnitKind),
    DropIns(&'a str, UnitKind),
}

fn parse<'a>(entry: &'a str, prefix: &str) -> Option<Named<'a>> {
    let (name, suffix) = entry.strip_prefix(prefix)?.split_once('.')?;
    for kind in UnitKind::ALL {
        if suffix == kind.suffix() {
            return Some(Named::Unit(name, kind));
        }
        if suffix.strip_suffix(".d") == Some(kind.suffix()) {
            return Some(Named::DropIns(name, kind));
        }
    }
    None
}

/// The prefix and type of a directory of drop-ins for many units.
fn parse_wide(entry: &str) -> Option<(&str, UnitKind)> {
    let stem = entry.strip_suffix(".d")?;
    for kind in UnitKind::ALL {
        if stem == kind.suffix() {
            return Some(("", kind));
        }
        let prefix = stem
            .strip_suffix(kind.suffix())
            .and_then(|rest| rest.strip_suffix('.'));
        if let Some(prefix) = prefix.filter(|prefix| prefix.ends_with('-')) {
            return Some((prefix, kind));
        }
    }
    None
}

impl Systemd {
    /// Walks the unit directories, the links and `services/` once; for `services` that are asked for.
    ///
    /// # Errors
    /// When a directory cannot be listed.
    pub(super) fn survey(&self, services: usize) -> io::Result<Survey> {
        let mut survey = Survey::default();
        let prefix = format!("lorectl-{}.", self.layout.project());
        if services == 0 {
            // Only what has our name is looked for.
            let units = self.disk.list_behind_links(&self.places.units)?;
            self.survey_units(&mut survey, units, &prefix)?;
            return Ok(survey);
        }
        let (wants, kept) = (self.places.wants(), self.layout.services());
        // The one with the most names last, where it is alone when there are two threads.
        let large = [(&wants, true), (&kept, false), (&self.places.units, true)];
        let least = if services < MANY { large.len() } else { 1 };
        let disk = &*self.disk;
        let list = |(dir, behind_links): &(&PathBuf, bool)| match behind_links {
            true => disk.list_behind_links(dir),
            false => disk.list(dir),
        };
        let mut listed = threads::map(&large, least, list).into_iter();
        let mut next = || listed.next().unwrap_or_else(|| Ok(Vec::new()));
        let (wants, kept, units) = (next()?, next()?, next()?);
        self.survey_units(&mut survey, units, &prefix)?;
        for (entry, kind) in wants {
            if let Some(Named::Unit(name, UnitKind::Timer)) = parse(&entry, &prefix) {
                survey.slots.entry(name.to_owned()).or_default().link = Some(kind);
            }
        }
        for beside in &self.places.beside {
            for (entry, kind) in self.disk.list_behind_links(&beside.dir)? {
                let path = beside.dir.join(&entry);
                self.wide(&mut survey.wide, &entry, &path)?;
                match parse(&entry, &prefix) {
                    Some(Named::Unit(name, unit)) => {
                        let slot = survey.slots.entry(name.to_owned()).or_default();
                        if beside.hides {
                            let part = shadow(unit, beside.tag);
                            slot.extras.push(Extra { part, path, kind });
                        } else {
                            slot.others.push(path);
                        }
                    }
                    Some(Named::DropIns(name, unit)) => {
                        let slot = survey.slots.entry(name.to_owned()).or_default();
                        self.drop_ins(slot, unit, Some(beside.tag), &path, kind)?;
                    }
                    None => {}
                }
            }
        }
        for dir in &self.places.others {
            for (entry, _) in self.disk.list_behind_links(dir)? {
                let path = dir.join(&entry);
                // What the distribution ships for all units is no news.
                if !dir.starts_with("/usr") {
                    self.wide(&mut survey.wide, &entry, &path)?;
                }
                match parse(&entry, &prefix) {
                    Some(Named::Unit(name, _) | Named::DropIns(name, _)) => {
                        let slot = survey.slots.entry(name.to_owned()).or_default();
                        slot.others.push(path);
                    }
                    None => {}
                }
            }
        }
        survey.kept = kept.into_iter().map(|(name, _)| name).collect();
        Ok(survey)
    }

    fn survey_units(&self, survey: &mut Survey, units: Entries, prefix: &str) -> io::Result<()> {
        for (entry, kind) in units {
            let path = self.places.units.join(&entry);
            match parse(&entry, prefix) {
                Some(Named::Unit(name, unit)) => {
                    let slot = survey.slots.entry(name.to_owned()).or_default();
                    slot.set_unit(unit, kind);
                }
                Some(Named::DropIns(name, unit)) => {
                    let slot = survey.slots.entry(name.to_owned()).or_default();
                    self.drop_ins(slot, unit, None, &path, kind)?;
                }
                None => {}
            }
            // `lorectl-p.c-.timer.d` is for the service `c-`, and for all whose names begin with that.
            self.wide(&mut survey.wide, &entry, &path)?;
        }
        Ok(())
    }

    /// The drop-ins in `UNIT.d/`. A link in place of the directory leads to files that are not ours to touch.
    fn drop_ins(
        &self,
        slot: &mut Slot,
        unit: UnitKind,
        tag: Option<&str>,
        dir: &Path,
        kind: EntryKind,
    ) -> io::Result<()> {
        match kind {
            EntryKind::Dir => {}
            EntryKind::Link => {
                slot.others.push(dir.to_owned());
                return Ok(());
            }
            EntryKind::File | EntryKind::Special => return Ok(()),
        }
        for (file, kind) in self.disk.list(dir)? {
            if is_drop_in(&file) {
                slot.extras.push(Extra {
                    part: drop_in(unit, tag, &file),
                    path: dir.join(&file),
                    kind,
                });
            }
        }
        Ok(())
    }

    fn wide(&self, wide: &mut Vec<Wide>, entry: &str, path: &Path) -> io::Result<()> {
        if let Some((prefix, kind)) = parse_wide(entry) {
            for (file, _) in self.disk.list_behind_links(path)? {
                if is_drop_in(&file) {
                    wide.push(Wide {
                        prefix: prefix.to_owned(),
                        kind,
                        path: path.join(file),
                    });
                }
            }
        }
        Ok(())
    }
}

/// Whether systemd reads a file in `UNIT.d/`.
fn is_drop_in(file: &str) -> bool {
    file.strip_suffix(".conf")
        .is_some_and(|stem| !stem.is_empty() && !file.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_of_the_project_are_taken() {
        let unit = |entry| match parse(entry, "lorectl-a.") {
            Some(Named::Unit(name, kind)) => Some((name, kind, false)),
            Some(Named::DropIns(name, kind)) => Some((name, kind, true)),
            None => None,
        };
        for (entry, expected) in [
            ("lorectl-a.x.service", Some(("x", UnitKind::Service, false))),
            ("lorectl-a.x.timer", Some(("x", UnitKind::Timer, false))),
            ("lorectl-a.x.timer.d", Some(("x", UnitKind::Timer, true))),
            ("lorectl-ab.x.timer", None),
            ("lorectl-a.x.timer.wants", None),
            (
                "lorectl-a.x.refresh.service",
                Some(("x", UnitKind::Refresh, false)),
            ),
            (
                "lorectl-a.x.refresh.service.d",
                Some(("x", UnitKind::Refresh, true)),
            ),
            ("lorectl-a.c-.timer.d", Some(("c-", UnitKind::Timer, true))),
            ("lorectl-a.x", None),
            ("cron.service", None),
        ] {
            assert_eq!(unit(entry), expected, "{entry}");
        }
    }

    #[test]
    fn drop_ins_for_many_units_are_told_from_those_for_one() {
        for (entry, expected) in [
            ("timer.d", Some(("", UnitKind::Timer))),
            ("service.d", Some(("", UnitKind::Service))),
            ("lorectl-.service.d", Some(("lorectl-", UnitKind::Service))),
            (
                "lorectl-a.c-.timer.d",
                Some(("lorectl-a.c-", UnitKind::Timer)),
            ),
            ("cron.service.d", None),
            ("service", None),
        ] {
            assert_eq!(parse_wide(entry), expected, "{entry}");
        }
    }
}
