//! Making, changing and removing the worker's services.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Mark, Worker, observe::LIMIT};
use crate::{
    effect::{
        disk::{Durability, TEMPORARY},
        lock::Lock,
        random,
        untrusted::Dir,
        user,
    },
    error::{Code, Error, Result},
    id::ResourceName,
    resource::{Act, File, Outcome, Owner, Progress, Step},
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
            outcomes.push(match self.write(step) {
                Ok(true) => Some(Outcome::Done),
                Ok(false) => None,
                Err(error) => Some(Outcome::Failed {
                    message: error.chain(),
                }),
            });
        }
        self.remove_all(batch, &mut outcomes).await;
        self.settle(batch, &mut outcomes);
        let ended = batch.iter().zip(outcomes).map(|(step, outcome)| {
            let outcome = outcome.unwrap_or_else(|| Outcome::Failed {
                message: format!("the worker has no verb `{}`", step.verb),
            });
            progress(step.id, &outcome);
            outcome
        });
        ended.collect()
    }
}

fn removes(step: &Step) -> bool {
    step.verb == image::REMOVE || step.verb == image::PURGE
}

impl Worker {
    /// Makes or changes a service; false for a step that does neither.
    fn write(&self, step: &Step) -> Result<bool> {
        let makes = step.verb == image::INSTALL;
        if !makes && step.verb != image::UPDATE {
            return Ok(false);
        }
        let name = &step.address.name;
        let after = step.after.as_ref();
        let file = after.and_then(|image| image.file(image::RUN.as_str()));
        let (Some(file), Some(bytes)) = (file, file.and_then(|file| file.bytes.clone())) else {
            let message = format!("the step for {} has no run.json to write", step.address);
            return Err(Error::new(Code::Internal, message));
        };
        let service: Service = step.definition.read()?;
        self.directories(&service, file)?;
        // First: a service whose `run.json` is there is no new one, to the worker and to the next apply.
        if makes {
            file::seed_status(&*self.disk, &self.layout, &service, self.clock.now())?;
        }
        let path = self.path(name);
        self.disk
            .write(
                &path,
                &bytes,
                file.mode,
                Some(file.owner),
                Durability::Batch,
            )
            .map_err(|error| Error::io("write", &path, error))?;
        Ok(true)
    }

    /// The service's directory, passable for its user; its `data/`, which is that user's; its lock.
    fn directories(&self, service: &Service, file: &File) -> Result<()> {
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
        let owner = self.runner(service)?;
        self.hand_over(name, owner)?;
        make(&self.layout.data(name), 0o700, owner)?;
        if let Some(lock) = &service.lock {
            let path = self.layout.named_lock(lock);
            if let Some(dir) = path.parent() {
                make(dir, 0o711, applier)?;
            }
            let there = self.disk.stat(&path);
            if there
                .map_err(|error| Error::io("look at", &path, error))?
                .is_none()
            {
                self.disk
                    .append(&path, b"", 0o644, Durability::Batch)
                    .map_err(|error| Error::io("make", &path, error))?;
            }
        }
        Ok(())
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

    /// Puts the `data/` of another user out of the way: what it holds was that user's to write, so
    /// nothing in it is given to the new one.
    fn hand_over(&self, name: &ResourceName, owner: Owner) -> Result<()> {
        let path = self.layout.data(name);
        let failed = |error| Error::io("hand over", &path, error);
        let stat = self.disk.stat(&path).map_err(failed)?;
        let Some(stat) = stat.filter(|stat| stat.owner.uid != owner.uid) else {
            return Ok(());
        };
        let dir = Dir::open(&self.layout.service(name)).map_err(failed)?;
        let dir = dir.ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
        let aside = format!("data.of-{}-{}", stat.owner.uid, self.clock.now().millis());
        dir.rename("data", &aside).map_err(failed)
    }

    /// Removes services as their runs end, each within its patience; one at a time is looked at, so
    /// that no wait adds to another.
    async fn remove_all(&self, batch: &[Step], outcomes: &mut [Option<Outcome>]) {
        let began = Instant::now();
        let mut waiting: Vec<usize> = (0..batch.len()).collect();
        waiting.retain(|at| batch.get(*at).is_some_and(removes));
        while !waiting.is_empty() {
            let mut still = Vec::new();
            for at in waiting {
                let (Some(step), Some(outcome)) = (batch.get(at), outcomes.get_mut(at)) else {
                    continue;
                };
                tokio::task::yield_now().await;
                let patience = Duration::from_secs(step.patience.0);
                *outcome = match self.remove(step) {
                    Ok(true) => Some(Outcome::Done),
                    Ok(false) if began.elapsed() < patience => {
                        still.push(at);
                        continue;
                    }
                    Ok(false) => Some(Outcome::Held {
                        reason: "a run of it is under way".to_owned(),
                    }),
                    Err(error) => Some(Outcome::Failed {
                        message: error.chain(),
                    }),
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
        if step.verb == image::PURGE || file::is_untouched(&*self.disk, &self.layout, name) {
            self.disk.remove_tree(&dir).map_err(failed)?;
        } else {
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
                *outcome = Some(Outcome::Failed { message });
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
