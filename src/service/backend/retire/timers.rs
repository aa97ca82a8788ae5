//! Timers of a manager: enabled by links, up or down.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    rc::Rc,
};

use super::{
    Now,
    record::{Prior, PriorTimer},
};
use crate::{
    effect::{
        dbus::{Active, Manager},
        disk::{Disk, EntryKind},
    },
    error::{Code, Error, Result},
    service::{backend::systemd::Places, image},
};

/// What a masked unit is a link to.
const NOWHERE: &str = "/dev/null";

/// The timers of one manager.
pub(super) struct Timers {
    manager: Manager,
    places: Places,
    disk: Rc<dyn Disk>,
}

/// The text of the part, for what stands like this.
pub(super) fn standing(id: &str, now: &Now) -> String {
    match now {
        Now::Retired | Now::Gone => image::retired(id),
        Now::Live(_, how) => format!("{id} is {how}"),
    }
}

impl Timers {
    pub(super) fn new(manager: Manager, places: Places, disk: &Rc<dyn Disk>) -> Self {
        Self {
            manager,
            places,
            disk: Rc::clone(disk),
        }
    }

    /// How each timer stands.
    pub(super) async fn look(&self, units: &[String]) -> Result<BTreeMap<String, Now>> {
        if units.is_empty() {
            return Ok(BTreeMap::new());
        }
        let wanted: BTreeSet<&str> = units.iter().map(String::as_str).collect();
        let mut links = self.links(&wanted)?;
        let states = self.manager.states(units).await?;
        let mut found = BTreeMap::new();
        for (unit, state) in units.iter().zip(states) {
            let active = match state.active {
                Active::Active | Active::Changing => true,
                Active::Inactive | Active::Failed => false,
            };
            let prior = PriorTimer {
                active,
                ..links.remove(unit.as_str()).unwrap_or_default()
            };
            let is_mask = self.is_masked(unit)?;
            let enabled = !is_mask && (prior.masked || !prior.links.is_empty());
            let how = match (enabled, active) {
                (false, false) => {
                    found.insert(unit.clone(), Now::Retired);
                    continue;
                }
                (true, true) => "enabled and up",
                (true, false) => "enabled",
                (false, true) => "up",
            };
            found.insert(unit.clone(), Now::Live(Prior::Timer(prior), how.to_owned()));
        }
        Ok(found)
    }

    /// The links that enable each unit: those that we may take, and whether there are others.
    fn links(&self, wanted: &BTreeSet<&str>) -> Result<BTreeMap<String, PriorTimer>> {
        let mut found: BTreeMap<String, PriorTimer> = BTreeMap::new();
        let ours = std::iter::once(&self.places.units)
            .chain(self.places.beside.iter().map(|beside| &beside.dir))
            .map(|dir| (dir, true));
        let others = self.places.others.iter().map(|dir| (dir, false));
        for (dir, mine) in ours.chain(others) {
            let error = |error| Error::io("list", dir, error);
            for (entry, kind) in self.disk.list_behind_links(dir).map_err(error)? {
                let suffix = entry.rsplit_once('.').map(|(_, suffix)| suffix);
                let pulls = matches!(suffix, Some("wants" | "requires"));
                if !pulls || kind != EntryKind::Dir {
                    continue;
                }
                let pulling = dir.join(entry);
                for (unit, _) in self.disk.list(&pulling).map_err(error)? {
                    if !wanted.contains(unit.as_str()) {
                        continue;
                    }
                    let path = pulling.join(&unit);
                    let target = self.disk.read_link(&path).map_err(error)?;
                    let prior = found.entry(unit).or_default();
                    match target {
                        Some(target) if mine => prior.links.push((path, target)),
                        Some(_) | None => prior.masked = true,
                    }
                }
            }
        }
        Ok(found)
    }

    fn mask(&self, unit: &str) -> PathBuf {
        self.places.units.join(unit)
    }

    fn is_masked(&self, unit: &str) -> Result<bool> {
        let path = self.mask(unit);
        let target = self.disk.read_link(&path);
        let target = target.map_err(|error| Error::io("read", &path, error))?;
        Ok(target.as_deref() == Some(Path::new(NOWHERE)))
    }

    /// Stops and disables those that go on; what fails is put back.
    pub(super) async fn retire(&self, all: &mut [(&str, &mut Result<Option<Prior>>)]) {
        if all.is_empty() {
            return;
        }
        let names: Vec<String> = all.iter().map(|(unit, _)| (*unit).to_owned()).collect();
        let stopped = match self.manager.stop(&names).await {
            Ok(stopped) => stopped,
            Err(error) => {
                for (_, outcome) in all {
                    **outcome = Err(error.again());
                }
                return;
            }
        };
        for ((unit, outcome), stopped) in all.iter_mut().zip(stopped) {
            let Ok(Some(Prior::Timer(prior))) = &**outcome else {
                continue;
            };
            let prior = prior.clone();
            let taken = match stopped {
                Ok(()) => self.take_links(unit, &prior),
                Err(why) => Err(Error::new(Code::Io, format!("cannot stop {unit}: {why}"))),
            };
            if let Err(error) = taken {
                // What of it cannot be put back is said beside why.
                let back = self.put_back(unit, &prior).await;
                **outcome = Err(match back {
                    Ok(()) => error,
                    Err(worse) => error.with_details(vec![worse.chain()]),
                });
            }
        }
        if let Err(error) = self.manager.reload().await {
            for (_, outcome) in all {
                **outcome = Err(error.again());
            }
        }
    }

    fn take_links(&self, unit: &str, prior: &PriorTimer) -> Result<()> {
        if prior.masked {
            let path = self.mask(unit);
            let stat = self.disk.stat(&path);
            let stat = stat.map_err(|error| Error::io("look at", &path, error))?;
            if stat.is_some() && !self.is_masked(unit)? {
                let message = format!(
                    "{unit} is enabled where only its package may take it away, and {} keeps it from being masked",
                    path.display()
                );
                return Err(Error::new(Code::Conflict, message));
            }
            (self.disk.link(Path::new(NOWHERE), &path))
                .map_err(|error| Error::io("mask with", &path, error))?;
        }
        for (path, _) in &prior.links {
            let gone = self.disk.remove(path);
            gone.map_err(|error| Error::io("remove", path, error))?;
        }
        Ok(())
    }

    /// Enables and starts a timer as it was.
    pub(super) async fn put_back(&self, unit: &str, prior: &PriorTimer) -> Result<()> {
        for (path, target) in &prior.links {
            if let Some(dir) = path.parent()
                && (self.disk.stat(dir))
                    .map_err(|error| Error::io("look at", dir, error))?
                    .is_none()
            {
                (self.disk.make_dir(dir, 0o755, None))
                    .map_err(|error| Error::io("make the directory", dir, error))?;
            }
            (self.disk.link(target, path)).map_err(|error| Error::io("make", path, error))?;
        }
        if prior.masked && self.is_masked(unit)? {
            let path = self.mask(unit);
            (self.disk.remove(&path)).map_err(|error| Error::io("unmask with", &path, error))?;
        }
        self.manager.reload().await?;
        if prior.active {
            let started = self.manager.start(&[unit.to_owned()]).await?;
            if let Some(Err(why)) = started.into_iter().next() {
                let message = format!("cannot start {unit} again: {why}");
                return Err(Error::new(Code::Io, message));
            }
        }
        Ok(())
    }
}
