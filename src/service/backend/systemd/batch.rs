//! One step on its way through a batch: what it changes, what it has touched,
//! and how it ended.

use std::path::Path;

use super::{
    Systemd,
    observe::LIMIT,
    parts::{Role, UnitKind},
    undo::Undo,
};
use crate::{
    error::{Code, Error, Result},
    id::ResourceName,
    resource::{Image, Outcome, Part, PartName, Step},
    service::{definition::Service, image},
};

/// What a step did with its timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// Nothing.
    Untouched,
    /// It was up and was stopped.
    Stopped,
    /// It was started, or could not be.
    Started,
}

/// A step while it is carried out.
pub(super) struct Work<'a> {
    pub(super) step: &'a Step,
    pub(super) service: Service,
    /// The parts that differ between before and after.
    changed: Vec<(PartName, Role)>,
    pub(super) undo: Undo,
    /// Set once it is settled; until then the step goes on.
    pub(super) outcome: Option<Outcome>,
    /// What we did with its timer so far.
    pub(super) timer: Timer,
    /// Why the manager would not start it.
    pub(super) refused: Option<String>,
    /// Its `data/` goes to another user.
    pub(super) hands_over: bool,
    /// A run is in flight that the step waits for.
    pub(super) waits: bool,
    /// Its units that the manager remembers as failed.
    pub(super) failed_units: Vec<String>,
    /// What the manager holds may be something else than what is on disk.
    pub(super) unread: bool,
}

impl<'a> Work<'a> {
    /// Works out what a step changes.
    pub(super) fn of(systemd: &Systemd, step: &'a Step) -> Result<Self> {
        let service: Service = step.definition.read()?;
        let nothing = Image::empty();
        let before = step.before.as_ref().unwrap_or(&nothing);
        let after = step.after.as_ref().unwrap_or(&nothing);
        let mut changed = Vec::new();
        for part in before.differences(after) {
            let role = systemd.role(&step.address.name, part).ok_or_else(|| {
                Error::new(
                    Code::Internal,
                    format!("systemd has no part `{part}` of {}", step.address),
                )
            })?;
            changed.push((part.clone(), role));
        }
        Ok(Self {
            step,
            service,
            changed,
            undo: Undo::default(),
            outcome: None,
            timer: Timer::Untouched,
            refused: None,
            hands_over: false,
            waits: false,
            failed_units: Vec::new(),
            unread: false,
        })
    }

    pub(super) fn name(&self) -> &ResourceName {
        &self.step.address.name
    }

    pub(super) const fn is_removal(&self) -> bool {
        self.step.after.is_none()
    }

    /// Whether it goes on: not settled, and waiting for nothing.
    pub(super) const fn is_live(&self) -> bool {
        self.outcome.is_none() && !self.waits
    }

    pub(super) fn fail(&mut self, message: impl Into<String>) {
        self.outcome = Some(Outcome::failed(message));
    }

    /// Adds to the message of a failure what could not be put back.
    pub(super) fn add(&mut self, more: &[String]) {
        if let Some(
            Outcome::Failed { message, .. }
            | Outcome::Held {
                reason: message, ..
            },
        ) = &mut self.outcome
        {
            for text in more {
                message.push_str("; ");
                message.push_str(text);
            }
        }
    }

    /// Adds to a failure what could not be put back and no image shows.
    pub(super) fn leave(&mut self, more: Vec<String>) {
        if let Some(Outcome::Failed { left, .. }) = &mut self.outcome {
            left.extend(more);
        }
    }

    /// Whether a path is that of a part.
    pub(super) fn is_part(&self, wanted: &Path) -> bool {
        self.changed.iter().any(|(_, role)| match role {
            Role::Unit(_, path) | Role::Run(path) | Role::Extra(_, path) => path == wanted,
            Role::Data(_) | Role::Enabled | Role::Active | Role::LoadState => false,
        })
    }

    fn has(image: Option<&Image>, flag: &PartName) -> bool {
        image.is_some_and(|image| image.flag(flag.as_str()))
    }

    pub(super) fn was_active(&self) -> bool {
        Self::has(self.step.before.as_ref(), &image::ACTIVE)
    }

    fn will_be_active(&self) -> bool {
        Self::has(self.step.after.as_ref(), &image::ACTIVE)
    }

    pub(super) fn will_be_enabled(&self) -> bool {
        Self::has(self.step.after.as_ref(), &image::ENABLED)
    }

    pub(super) fn wants_reload(&self) -> bool {
        self.is_removal() || self.changed.iter().any(|(_, role)| role.wants_reload())
    }

    fn wants_restart(&self) -> bool {
        self.changed.iter().any(|(_, role)| role.wants_restart())
    }

    /// The bytes of its service unit, where they are written and carry settings of the spec's own.
    pub(super) fn written_overrides(&self) -> Option<&[u8]> {
        let writes =
            |(_, role): &(PartName, Role)| matches!(role, Role::Unit(UnitKind::Service, _));
        if self.service.unit.is_empty() || !self.changed.iter().any(writes) {
            return None;
        }
        let file = self.step.after.as_ref()?.file(image::SERVICE.as_str())?;
        file.bytes.as_deref()
    }

    fn changes(&self, wanted: &Role) -> bool {
        self.changed.iter().any(|(_, role)| role == wanted)
    }

    /// Whether nothing is touched while a run is in flight.
    pub(super) const fn minds_runs(&self) -> bool {
        self.is_removal() || self.hands_over
    }

    /// Whether the timer is stopped before a file changes, so that no reload finds it overdue and no
    /// run begins in a `data/` that goes to another user.
    pub(super) fn stops_timer(&self) -> bool {
        let down = self.changes(&Role::Active) && !self.will_be_active();
        self.is_removal()
            || (self.was_active() && (down || self.wants_restart() || self.hands_over))
    }

    pub(super) fn starts_timer(&self) -> bool {
        self.will_be_active()
            && (self.changes(&Role::Active) || self.wants_restart() || self.hands_over)
    }

    pub(super) fn changes_link(&self) -> bool {
        !self.is_removal() && self.changes(&Role::Enabled)
    }

    /// Units that must be loaded once the manager has read them.
    pub(super) fn must_load(&self) -> impl Iterator<Item = UnitKind> {
        let after = self
            .step
            .after
            .as_ref()
            .filter(|_| self.wants_reload())
            .filter(|image| image.get(image::LOAD_STATE.as_str()).is_none());
        UnitKind::ALL.into_iter().filter(move |kind| {
            after.is_some_and(|image| image.file(kind.part().as_str()).is_some())
        })
    }

    /// Whether `run.json` is written, and so its directories must be there.
    pub(super) fn writes_run(&self) -> bool {
        let run = |(part, _): &(PartName, Role)| *part == image::RUN;
        !self.is_removal() && self.changed.iter().any(run)
    }
}

impl Systemd {
    /// Writes the files of a step that makes or changes a service.
    pub(super) fn write(&self, work: &mut Work<'_>) -> Result<()> {
        let Some(after) = &work.step.after else {
            return Ok(());
        };
        let disk = &*self.disk;
        self.refresh(work)?;
        for (part, role) in &work.changed {
            let path = match role {
                Role::Unit(_, path) | Role::Run(path) => path,
                Role::Extra(_, path) => {
                    if let (Some(_), Some(dir)) = (after.get(part.as_str()), path.parent()) {
                        work.undo.make_dir(disk, dir, 0o755, self.unit_owner)?;
                    }
                    path
                }
                Role::Data(path) => {
                    self.restore_data(&mut work.undo, work.step, path)?;
                    continue;
                }
                Role::Enabled | Role::Active | Role::LoadState => continue,
            };
            match after.get(part.as_str()) {
                Some(Part::File(file)) => {
                    let bytes = file.bytes.as_deref().ok_or_else(|| {
                        Error::new(Code::Internal, format!("no bytes for `{part}`"))
                    })?;
                    work.undo.write(disk, path, bytes, file.mode, file.owner)?;
                }
                Some(Part::Text(target)) => work.undo.link(disk, Path::new(target), path)?,
                Some(Part::Flag(_)) | None => self.take(&mut work.undo, role, path)?,
            }
        }
        Ok(())
    }

    /// Gives `data/` the mode and owner that the step names; what is in it stays as it is.
    fn restore_data(&self, undo: &mut Undo, step: &Step, path: &Path) -> Result<()> {
        let after = step.after.as_ref();
        let disk = &*self.disk;
        match after.and_then(|after| after.get(image::DATA.as_str())) {
            Some(Part::Text(text)) => match image::parse_data(text) {
                Some((mode, owner)) => undo.make_dir(disk, path, mode, owner),
                // Only an undo could ask for what stood there; it was refused when it was found.
                None => Ok(()),
            },
            Some(Part::File(_) | Part::Flag(_)) => Ok(()),
            None => undo.remove_dir(disk, path),
        }
    }

    /// Writes a unit as it is, where something that changes it goes or the manager may not have read it:
    /// should we be killed before the reload, its age tells that one is due.
    fn refresh(&self, work: &mut Work<'_>) -> Result<()> {
        for kind in UnitKind::ALL {
            let mut due = false;
            let mut written = false;
            for (_, role) in &work.changed {
                match role {
                    Role::LoadState => due = true,
                    Role::Extra(extra, _) => due |= *extra == kind,
                    Role::Unit(unit, _) => written |= *unit == kind,
                    Role::Run(_) | Role::Data(_) | Role::Enabled | Role::Active => {}
                }
            }
            if !due || written {
                continue;
            }
            let path = self.unit_path(&work.step.address.name, kind);
            let read = self.disk.read(&path, LIMIT);
            if let Some(read) = read.map_err(|error| Error::io("read", &path, error))? {
                let disk = &*self.disk;
                work.undo
                    .write(disk, &path, &read.bytes, read.mode, read.owner)?;
            }
        }
        Ok(())
    }

    /// Removes a service's files; `data/` stays.
    pub(super) fn erase(&self, work: &mut Work<'_>) -> Result<()> {
        let disk = &*self.disk;
        let name = work.step.address.name.clone();
        work.undo.remove(disk, &self.wants_link(&name))?;
        for kind in [UnitKind::Timer, UnitKind::Service, UnitKind::Refresh] {
            work.undo.remove(disk, &self.unit_path(&name, kind))?;
        }
        for (_, role) in &work.changed {
            if let Role::Extra(_, path) = role {
                self.take(&mut work.undo, role, path)?;
            }
        }
        // A stamp that outlives its timer would make a new one of that name fire at once. The timer
        // is stopped, so nothing writes it any more.
        work.undo.remove(disk, &self.stamp(&name))?;
        work.undo.remove(disk, &self.layout.run_file(&name))?;
        work.undo.remove_dir(disk, &self.layout.service(&name))
    }

    fn take(&self, undo: &mut Undo, role: &Role, path: &Path) -> Result<()> {
        undo.remove(&*self.disk, path)?;
        match (role, path.parent()) {
            (Role::Extra(..), Some(dir)) if dir.extension().is_some_and(|ext| ext == "d") => {
                undo.remove_dir(&*self.disk, dir)
            }
            _kept => Ok(()),
        }
    }

    /// Compares what is on disk with what the step wrote.
    pub(super) fn read_back(&self, work: &Work<'_>) -> Result<()> {
        for (part, role) in &work.changed {
            let (Role::Unit(_, path) | Role::Run(path) | Role::Extra(_, path)) = role else {
                continue;
            };
            let wanted = work
                .step
                .after
                .as_ref()
                .and_then(|after| after.get(part.as_str()));
            let same = match wanted {
                Some(Part::File(file)) => {
                    let read = self.disk.read(path, LIMIT);
                    let read = read.map_err(|error| Error::io("read back", path, error))?;
                    read.is_some_and(|read| {
                        let digest = crate::id::Digest::of(&read.bytes);
                        (digest, read.mode, read.owner) == (file.digest, file.mode, file.owner)
                    })
                }
                Some(Part::Text(target)) => {
                    let read = self.disk.read_link(path);
                    let read = read.map_err(|error| Error::io("read back", path, error))?;
                    read.as_deref() == Some(Path::new(target))
                }
                Some(Part::Flag(_)) | None => {
                    let stat = self.disk.stat(path);
                    let stat = stat.map_err(|error| Error::io("read back", path, error))?;
                    stat.is_none()
                }
            };
            if !same {
                return Err(Error::new(
                    Code::Io,
                    format!("{} is not what was just written", path.display()),
                ));
            }
        }
        Ok(())
    }
}
