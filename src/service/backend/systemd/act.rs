//! Carries out a batch: every file first, one sync, one reload, all timers at
//! once, one look at what the manager made of the units, then the links.
//!
//! A step that fails is put back and leaves the batch; the others go on. The look comes after the
//! start, because what nothing refers to is unloaded again at once, and parsing a hardened unit
//! twice costs more than all the rest. systemd itself starts no timer whose units do not load.

use std::{collections::HashMap, path::Path};

use super::{
    super::hand_over::{self, Handing, hand_over},
    super::named_lock,
    super::sweep::sweep_units,
    Systemd,
    batch::{Timer, Work},
    parts::UnitKind,
};
use crate::{
    effect::{clock::Clock, dbus::UnitResult, user},
    error::{Code, Error, Result},
    resource::{Act, Outcome, Owner, Progress, Step},
    service::image,
};

#[async_trait::async_trait(?Send)]
impl Act for Systemd {
    async fn act(&self, batch: &[Step], progress: &Progress<'_>) -> Vec<Outcome> {
        self.begin();
        // An outcome each, or nothing yet where there is a work.
        let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(batch.len());
        let mut works = Vec::with_capacity(batch.len());
        for step in batch {
            match Work::of(self, step) {
                Ok(work) => works.push(work),
                Err(error) => {
                    let message = error.chain();
                    let outcome = Outcome::failed(message);
                    progress(step.id, &outcome);
                    outcomes.push(Some(outcome));
                    continue;
                }
            }
            outcomes.push(None);
        }
        let mut live: Vec<&mut Work<'_>> = works.iter_mut().collect();
        self.find_hand_overs(&mut live);
        self.stop_timers(&mut live).await;
        self.find_runs(&mut live).await;
        self.round(&mut live).await;
        let mut told = vec![false; live.len()];
        tell(&live, &mut told, progress);
        self.wait_for_runs(&mut live).await;
        tell(&live, &mut told, progress);

        let mut works = works.into_iter();
        let settle = |outcome: Option<Outcome>| {
            let outcome = outcome.or_else(|| works.next().and_then(|work| work.outcome));
            outcome.unwrap_or_else(|| Outcome::failed("the step was not carried out"))
        };
        outcomes.into_iter().map(settle).collect()
    }

    async fn refresh(&self) -> Result<()> {
        self.begin();
        // What root may not sweep.
        let swept = match &self.delegate {
            Some(_) => self.sweep(),
            None => Ok(()),
        };
        self.manager.reload().await.and(swept)
    }
}

/// Reports what is settled and was not reported.
fn tell(works: &[&mut Work<'_>], told: &mut [bool], progress: &Progress<'_>) {
    for (work, told) in works.iter().zip(told) {
        if let Some(outcome) = work.outcome.as_ref().filter(|_| !*told) {
            progress(work.step.id, outcome);
            *told = true;
        }
    }
}

/// The works that go on.
pub(super) fn live<'w, 'a>(
    works: &'w mut [&'_ mut Work<'a>],
) -> impl Iterator<Item = &'w mut Work<'a>> {
    works
        .iter_mut()
        .map(|work| &mut **work)
        .filter(|work| work.is_live())
}

impl Systemd {
    /// Marks the steps that give their service's `data/` to another user.
    fn find_hand_overs(&self, works: &mut [&mut Work<'_>]) {
        let mut runners: HashMap<String, Owner> = HashMap::new();
        for work in live(works).filter(|work| work.writes_run()) {
            let due = self.runner(work, &mut runners).and_then(|runner| {
                hand_over::is_due(&*self.disk, &self.layout, work.name(), runner)
            });
            match due {
                Ok(due) => work.hands_over = due,
                Err(error) => work.fail(error.chain()),
            }
        }
    }

    /// Stops the timers that go, and those that change: a reload would let an overdue one fire.
    async fn stop_timers(&self, works: &mut [&mut Work<'_>]) {
        let mut stopping: Vec<&mut Work<'_>> =
            live(works).filter(|work| work.stops_timer()).collect();
        let names = self.timers(&stopping);
        match self.manager.stop(&names).await {
            Ok(results) => {
                for (work, result) in stopping.into_iter().zip(results) {
                    match result {
                        Ok(()) => mark_stopped(work),
                        Err(why) => work.fail(format!("cannot stop its timer: {why}")),
                    }
                }
            }
            Err(error) => {
                for work in &mut stopping {
                    mark_stopped(work);
                    work.fail(error.chain());
                }
                self.start_again(works).await;
            }
        }
    }

    fn timers(&self, works: &[&mut Work<'_>]) -> Vec<String> {
        works
            .iter()
            .map(|work| self.unit_name(work.name(), UnitKind::Timer))
            .collect()
    }

    /// Carries all live works to their end.
    pub(super) async fn round(&self, works: &mut [&mut Work<'_>]) {
        if live(works).next().is_none() {
            return self.start_again(works).await;
        }
        self.change_files(works);
        self.sync(works);
        for work in live(works) {
            if let Err(error) = self.read_back(work) {
                self.give_up(work, &error.chain());
            }
        }
        self.verify(works).await;
        self.reload(works).await;
        self.start_timers(works).await;
        self.check_loaded(works).await;
        self.change_links(works);
        self.forget(works).await;
        for work in live(works) {
            work.undo.finish(&*self.disk);
            work.outcome = Some(Outcome::Done);
        }
        self.start_again(works).await;
    }

    /// Fails a step and puts back what it has touched.
    pub(super) fn give_up(&self, work: &mut Work<'_>, message: &str) {
        work.fail(message);
        self.put_back(work);
    }

    fn put_back(&self, work: &mut Work<'_>) {
        work.unread |= !work.undo.is_empty();
        let wants = self.wants_link(work.name());
        let failures = work.undo.put_back(&*self.disk);
        let mut left = Vec::new();
        for (path, why) in failures {
            // Of a part the next look tells whether it is back; of the rest nothing does.
            if path != wants && !work.is_part(&path) {
                left.push(why.clone());
            }
            work.add(&[why]);
        }
        work.leave(left);
    }

    fn change_files(&self, works: &mut [&mut Work<'_>]) {
        let mut runners: HashMap<String, Owner> = HashMap::new();
        let mut bases = false;
        for work in live(works) {
            let result = (|| {
                if work.is_removal() {
                    return self.erase(work);
                }
                if work.writes_run() {
                    if !bases {
                        self.make_bases()?;
                        bases = true;
                    }
                    let runner = self.runner(work, &mut runners)?;
                    if !self.make_home(work, runner)? {
                        work.outcome = Some(Outcome::held("a run is in flight"));
                        self.put_back(work);
                        return Ok(());
                    }
                }
                // First: a service of which anything else is there is no new one to the next apply.
                if work.step.verb == image::INSTALL {
                    (self.on_install)(&work.service)?;
                }
                self.write(work)
            })();
            if let Err(error) = result {
                self.give_up(work, &error.chain());
            }
        }
    }

    /// The directories that all services share.
    fn make_bases(&self) -> Result<()> {
        let make = |path: &Path, mode, owner| {
            self.disk
                .make_dir(path, mode, Some(owner))
                .map_err(|error| Error::io("make the directory", path, error))
        };
        // What is there already has the mode that somebody chose.
        for (path, mode, owner) in [
            (self.places.units.clone(), 0o755, self.unit_owner),
            (self.layout.state_dir().to_owned(), 0o711, self.applier),
            (self.layout.root(), 0o711, self.applier),
        ] {
            let stat = self.disk.stat(&path);
            if stat
                .map_err(|error| Error::io("read", &path, error))?
                .is_none()
            {
                make(&path, mode, owner)?;
            }
        }
        make(&self.layout.services(), 0o711, self.applier)
    }

    /// Whom the service runs as, and so who owns its data.
    fn runner(&self, work: &Work<'_>, known: &mut HashMap<String, Owner>) -> Result<Owner> {
        let Some(user) = &work.service.user else {
            return Ok(self.applier);
        };
        if let Some(owner) = known.get(user) {
            return Ok(*owner);
        }
        let account = user::by_name(user)?.ok_or_else(|| {
            Error::new(
                Code::NotPermitted,
                format!("there is no user `{user}` on this host"),
            )
        })?;
        known.insert(user.clone(), account.owner);
        Ok(account.owner)
    }

    /// The service's own directories; false when a run is in flight that keeps `data/` from going to
    /// another user.
    fn make_home(&self, work: &mut Work<'_>, runner: Owner) -> Result<bool> {
        let disk = &*self.disk;
        let name = work.step.address.name.clone();
        let home = self.layout.service(&name);
        work.undo.make_dir(disk, &home, 0o711, self.applier)?;
        named_lock::make(disk, &self.layout, &work.service, self.applier)?;
        match hand_over(disk, &self.layout, &work.service, runner, self.clock.now())? {
            Handing::NotDue => {}
            Handing::RunInFlight => return Ok(false),
            Handing::Done(handed) => work.undo.handed_over(handed),
        }
        let data = self.layout.data(&name);
        work.undo.make_dir(disk, &data, 0o700, runner)?;
        Ok(true)
    }

    /// Removes what an apply that was cut short left among the units.
    fn sweep(&self) -> Result<()> {
        sweep_units(&*self.disk, &self.layout, self.places.written())
    }

    /// Makes what was written survive a power failure.
    fn sync(&self, works: &mut [&mut Work<'_>]) {
        for path in [self.places.units.clone(), self.layout.root()] {
            let there = self.disk.stat(&path).is_ok_and(|stat| stat.is_some());
            if !there {
                continue;
            }
            if let Err(error) = self.disk.sync_fs(&path) {
                let error = Error::io("sync the file system of", &path, error);
                for work in live(works) {
                    self.give_up(work, &error.chain());
                }
            }
        }
    }

    async fn reload(&self, works: &mut [&mut Work<'_>]) {
        if !live(works).any(|work| work.wants_reload()) {
            return;
        }
        if let Err(error) = self.manager.reload().await {
            for work in live(works) {
                self.give_up(work, &error.chain());
            }
        }
    }

    /// Fails the steps whose units the manager read and would not have, or whose timer it would not start.
    async fn check_loaded(&self, works: &mut [&mut Work<'_>]) {
        let mut names = Vec::new();
        for work in live(works) {
            names.extend(
                work.must_load()
                    .map(|kind| self.unit_name(work.name(), kind)),
            );
        }
        let states = if names.is_empty() {
            Vec::new()
        } else {
            match self.manager.states(&names).await {
                Ok(states) => states,
                Err(error) => {
                    for work in live(works) {
                        self.give_up(work, &error.chain());
                    }
                    return;
                }
            }
        };
        let mut states = states.into_iter();
        for work in live(works) {
            let kinds: Vec<UnitKind> = work.must_load().collect();
            for kind in kinds {
                if let Some(state) = states.next().and_then(|state| state.not_loaded)
                    && work.outcome.is_none()
                {
                    let path = self.unit_path(work.name(), kind);
                    let message = format!(
                        "systemd does not load {0} ({state}); `systemd-analyze verify {0}` says why",
                        path.display()
                    );
                    self.give_up(work, &message);
                }
            }
            if let Some(why) = work.refused.take()
                && work.outcome.is_none()
            {
                self.give_up(work, &format!("cannot start its timer: {why}"));
            }
        }
    }

    /// Enables and disables, once all that is enabled is known to be sound.
    fn change_links(&self, works: &mut [&mut Work<'_>]) {
        let wants = self.places.wants();
        let mut changed = false;
        for work in live(works).filter(|work| work.changes_link()) {
            let link = self.wants_link(work.name());
            let target = self.unit_path(work.name(), UnitKind::Timer);
            let disk = &*self.disk;
            let result = if work.will_be_enabled() {
                work.undo
                    .make_dir(disk, &wants, 0o755, self.unit_owner)
                    .and_then(|()| work.undo.link(disk, &target, &link))
            } else {
                work.undo.remove(disk, &link)
            };
            changed = true;
            if let Err(error) = result {
                self.give_up(work, &error.chain());
            }
        }
        if changed {
            self.sync(works);
        }
    }

    async fn start_timers(&self, works: &mut [&mut Work<'_>]) {
        let starting: Vec<&mut Work<'_>> = live(works).filter(|work| work.starts_timer()).collect();
        let names = self.timers(&starting);
        match self.manager.start(&names).await {
            Ok(results) => {
                for (work, result) in starting.into_iter().zip(results) {
                    work.timer = Timer::Started;
                    work.refused = result.err();
                }
            }
            Err(error) => {
                for work in starting {
                    work.timer = Timer::Started;
                    self.give_up(work, &error.chain());
                }
            }
        }
    }

    /// Leaves things as they were for the steps that failed or are held: what the manager has read
    /// of them is read anew, and the timers that were up are started.
    async fn start_again(&self, works: &mut [&mut Work<'_>]) {
        let mut failed: Vec<&mut Work<'_>> = works
            .iter_mut()
            .map(|work| &mut **work)
            .filter(|work| match &work.outcome {
                Some(Outcome::Failed { .. } | Outcome::Held { .. } | Outcome::Unknown { .. }) => {
                    true
                }
                Some(Outcome::Done) | None => false,
            })
            .collect();
        let started: Vec<&mut Work<'_>> = failed
            .iter_mut()
            .map(|work| &mut **work)
            .filter(|work| work.timer == Timer::Started)
            .collect();
        let names = self.timers(&started);
        let results = self.manager.stop(&names).await;
        for (at, work) in started.into_iter().enumerate() {
            mark_stopped(work);
            work.add(&refusal(&results, at, "cannot stop its timer"));
        }
        if failed.iter().any(|work| work.unread) {
            let result = self.manager.reload().await;
            for work in failed.iter_mut().filter(|work| work.unread) {
                work.unread = false;
                if let Err(error) = &result {
                    work.add(&[format!("cannot reload: {}", error.chain())]);
                }
            }
        }
        failed.retain(|work| work.timer == Timer::Stopped);
        let names = self.timers(&failed);
        let results = self.manager.start(&names).await;
        for (at, work) in failed.iter_mut().enumerate() {
            work.timer = Timer::Untouched;
            work.add(&refusal(&results, at, "cannot start its timer again"));
        }
    }
}

/// A timer that was up is to be started again, should the step fail.
fn mark_stopped(work: &mut Work<'_>) {
    work.timer = if work.was_active() {
        Timer::Stopped
    } else {
        Timer::Untouched
    };
}

/// What a bulk call said against one of its units.
fn refusal(results: &Result<Vec<UnitResult>>, at: usize, doing: &str) -> Vec<String> {
    let why = match results {
        Ok(results) => results.get(at).and_then(|result| result.clone().err()),
        Err(error) => Some(error.chain()),
    };
    why.map(|why| format!("{doing}: {why}"))
        .into_iter()
        .collect()
}
