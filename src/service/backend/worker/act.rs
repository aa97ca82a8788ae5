//! Making, changing and removing the worker's services.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    super::hand_over::{Handing, hand_over},
    super::named_lock,
    Mark, Worker,
    observe::LIMIT,
};
use crate::{
    effect::{
        disk::{Durability, TEMPORARY},
        lock::Lock,
        random, user,
    },
    error::{Code, Error, Result},
    resource::{Act, File, Outcome, Owner, Part, Progress, Step},
    service::{definition::Service, image, status::file},
};

/// How often a run in flight is looked at.
const LOOK: Duration = Duration::from_millis(50);

#[async_trait::async_trait(?Send)]
impl Act for Worker {
    async fn act(&self, batch: &[Step], progress: &Progress<'_>) -> Vec<Outcome> {
        let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(batch.len());
        for step in batch {
            // Whoever shows progress and listens for Ctrl-C has a turn.
            tokio::task::yield_now().await;
            outcomes.push(if removes(step) {
                None
            } else {
                settled(self.write(step))
            });
        }
        self.wait_for_runs(batch, &mut outcomes).await;
        self.settle(batch, &mut outcomes);
        let ended = batch.iter().zip(outcomes).map(|(step, outcome)| {
            let outcome =
                outcome.unwrap_or_else(|| Outcome::failed("the step was not carried out"));
            progress(step.id, &outcome);
            outcome
        });
        ended.collect()
    }
}

fn removes(step: &Step) -> bool {
    step.verb == image::REMOVE || step.verb == image::PURGE
}

/// The outcome of a step that was tried; none yet where a run is in flight.
fn settled(tried: Result<bool>) -> Option<Outcome> {
    match tried {
        Ok(true) => Some(Outcome::Done),
        Ok(false) => None,
        Err(error) => Some(Outcome::failed(error.chain())),
    }
}

impl Worker {
    /// Makes or changes a service, whatever the verb that asks for it; false when its `data/` would go
    /// to another user and a run is in flight.
    fn write(&self, step: &Step) -> Result<bool> {
        let name = &step.address.name;
        let after = step.after.as_ref();
        let file = after.and_then(|image| image.file(image::RUN.as_str()));
        let (Some(file), Some(bytes)) = (file, file.and_then(|file| file.bytes.clone())) else {
            let message = format!("the step for {} has no run.json to write", step.address);
            return Err(Error::new(Code::Internal, message));
        };
        let service: Service = step.definition.read()?;
        let before = step.before.as_ref();
        if before.is_some_and(|before| {
            before.get(image::RUN.as_str())
                == after.and_then(|after| after.get(image::RUN.as_str()))
        }) {
            return self.restore_data(step).map(|()| true);
        }
        let handed = match self.directories(&service, file)? {
            Handing::NotDue => None,
            Handing::RunInFlight => return Ok(false),
            Handing::Done(handed) => Some(handed),
        };
        let written = self
            .fill(step, &service, file, &bytes)
            .and_then(|()| self.restore_data(step));
        if let Some(handed) = handed {
            if let Err(error) = written {
                let Err(worse) = handed.put_back(&*self.disk) else {
                    return Err(error);
                };
                let worse = Error::io("put back", &self.layout.data(name), worse);
                return Err(error.with_details(vec![worse.chain()]));
            }
            // What stays is a directory that nobody looks at.
            let _ = handed.finish(&*self.disk);
            return Ok(true);
        }
        written.map(|()| true)
    }

    /// Gives `data/` the mode and owner that the step names; what is in it stays as it is.
    fn restore_data(&self, step: &Step) -> Result<()> {
        let path = self.layout.data(&step.address.name);
        let after = step.after.as_ref();
        let part = after.and_then(|after| after.get(image::DATA.as_str()));
        let done = match part {
            Some(Part::Text(text)) => match image::parse_data(text) {
                Some((mode, owner)) => self.disk.make_dir(&path, mode, Some(owner)),
                None => Ok(()),
            },
            Some(Part::File(_) | Part::Flag(_)) => Ok(()),
            None => self.disk.remove_dir(&path).map(drop),
        };
        done.map_err(|error| Error::io("make", &path, error))
    }

    fn fill(&self, step: &Step, service: &Service, file: &File, bytes: &[u8]) -> Result<()> {
        // First: a service whose `run.json` is there is no new one, to the worker and to the next apply.
        if step.verb == image::INSTALL {
            file::seed_status(&*self.disk, &self.layout, service, self.clock.now())?;
        }
        let path = self.path(&service.name);
        self.disk
            .write(&path, bytes, file.mode, Some(file.owner), Durability::Batch)
            .map_err(|error| Error::io("write", &path, error))
    }

    /// The service's directory, passable for its user; its lock; its `data/`, which is that user's.
    fn directories(&self, service: &Service, file: &File) -> Result<Handing> {
        let name = &service.name;
        let make = |path: &std::path::Path, mode, owner| {
            self.disk
                .make_dir(path, mode, Some(owner))
                .map_err(|error| Error::io("make", path, error))
        };
        let applier = Owner {
            uid: file.owner.uid,
            gid: self.disk.identity().gid,
        };
        make(&self.layout.services(), 0o711, applier)?;
        make(&self.layout.service(name), 0o711, applier)?;
        named_lock::make(&*self.disk, &self.layout, service, applier)?;
        // Last, so that nothing that fails here leaves it done.
        let owner = self.runner(service)?;
        let now = self.clock.now();
        let handing = hand_over(&*self.disk, &self.layout, service, owner, now)?;
        match handing {
            Handing::RunInFlight => return Ok(handing),
            Handing::NotDue | Handing::Done(_) => {}
        }
        make(&self.layout.data(name), 0o700, owner)?;
        Ok(handing)
    }

    /// Whom the service runs as: its user, or whoever applies.
    fn runner(&self, service: &Service) -> Result<Owner> {
        let Some(name) = &service.user else {
            return Ok(self.disk.identity());
        };
        let found = user::by_name(name)?;
        found.map(|account| account.owner).ok_or_else(|| {
            Error::new(
                Code::NotPermitted,
                format!("there is no user `{name}` on this host"),
            )
        })
    }

    /// Carries out what waits for runs to end, each within its patience; one at a time is looked at, so
    /// that no wait adds to another.
    async fn wait_for_runs(&self, batch: &[Step], outcomes: &mut [Option<Outcome>]) {
        let began = Instant::now();
        let mut waiting: Vec<usize> = (0..batch.len()).collect();
        waiting.retain(|at| outcomes.get(*at).is_some_and(Option::is_none));
        while !waiting.is_empty() {
            let mut still = Vec::new();
            for at in waiting {
                let (Some(step), Some(outcome)) = (batch.get(at), outcomes.get_mut(at)) else {
                    continue;
                };
                tokio::task::yield_now().await;
                let patience = Duration::from_secs(step.patience.0);
                let tried = if removes(step) {
                    self.remove(step)
                } else {
                    self.write(step)
                };
                *outcome = match tried {
                    Ok(false) if began.elapsed() < patience => {
                        still.push(at);
                        continue;
                    }
                    Ok(false) => Some(Outcome::held("a run of it is under way")),
                    tried => settled(tried),
                };
            }
            waiting = still;
            if !waiting.is_empty() {
                sleep(LOOK).await;
            }
        }
    }

    /// Removes a service unless a run is in flight; false when one is.
    fn remove(&self, step: &Step) -> Result<bool> {
        let name = &step.address.name;
        let path = self.path(name);
        let failed = |error| Error::io("remove", &path, error);
        let run_lock = self.layout.run_lock(name);
        // The lock is the service user's, who may have put anything in its place: then there is
        // nothing to wait for. Held while we remove, it keeps a run from beginning meanwhile.
        let _lock = match Lock::try_take_existing(&run_lock) {
            Ok(None) => return Ok(false),
            Ok(lock) => lock,
            Err(_) => None,
        };
        if let Some(read) = self.disk.read(&path, LIMIT).map_err(failed)?
            && let Some(mark) = Mark::read(&read.bytes)
            && mark.id != step.resource
        {
            let message = format!("{} is of another resource", path.display());
            return Err(Error::new(Code::Conflict, message));
        }
        self.disk.remove(&path).map_err(failed)?;
        let dir = self.layout.service(name);
        if step.verb == image::PURGE {
            self.disk.remove_tree(&dir).map_err(failed)?;
        } else {
            // What an earlier user of it left stays, whatever the present one did.
            if file::is_untouched(&*self.disk, &self.layout, name) {
                let data = self.layout.data(name);
                self.disk.remove_tree(&data).map_err(failed)?;
            }
            self.disk.remove_dir(&dir).map_err(failed)?;
        }
        Ok(true)
    }

    /// Makes all that was done survive a power failure, and lets the worker notice it.
    fn settle(&self, batch: &[Step], outcomes: &mut [Option<Outcome>]) {
        let services = self.layout.services();
        let synced = self.notify().and_then(|()| self.disk.sync_fs(&services));
        let Err(error) = synced else {
            return;
        };
        let gone = self.disk.stat(&services).is_ok_and(|stat| stat.is_none());
        for (step, outcome) in batch.iter().zip(outcomes) {
            if *outcome == Some(Outcome::Done) && !(gone && removes(step)) {
                let message = format!("cannot make {} durable: {error}", step.address);
                *outcome = Some(Outcome::failed(message));
            }
        }
    }

    /// Touches the directory of services: what the worker watches.
    fn notify(&self) -> std::io::Result<()> {
        let (prefix, suffix) = TEMPORARY;
        let name = format!("{prefix}{}{suffix}", random::token()?);
        let path = self.layout.services().join(name);
        self.disk.append(&path, b"", 0o600, Durability::Batch)?;
        self.disk.remove(&path).map(|_| ())
    }
}
