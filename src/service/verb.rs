//! What a person does to a service between applies: pause, resume, repair, hold its lock.
//!
//! None of them waits for an apply or for a run, and none touches the scheduler: the runner finds
//! what they wrote.

use std::{path::PathBuf, time::Duration};

use serde::Serialize;

use crate::{
    effect::{disk::Disk, lock::Lock},
    error::{Code, Error, Result},
    id::{ResourceId, ResourceName, Timestamp},
    layout::Layout,
    retry::Gate,
    service::{
        definition::Service,
        run::{load, report::BREAKER},
        status::{
            MANUAL, Paused, State, Status,
            file::{self, Report, Stored, Writer},
            message,
        },
    },
};

/// What the verbs need.
#[derive(Clone, Copy)]
pub struct Verbs<'a> {
    /// The disk.
    pub disk: &'a dyn Disk,
    /// The project's files.
    pub layout: &'a Layout,
    /// The service.
    pub name: &'a ResourceName,
    /// Now, UTC.
    pub now: Timestamp,
}

/// What a pause did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PauseReport {
    /// The service.
    pub service: ResourceName,
    /// Its mark.
    pub service_id: ResourceId,
    /// Always true.
    pub paused: bool,
    /// Why, as it stands now.
    pub reason: String,
    /// Whether it was paused before; its reason was replaced then.
    pub already_paused: bool,
    /// Whether a run is under way, which it lets end first.
    pub after_the_run: bool,
    /// What the reader should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What a resume did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResumeReport {
    /// The service.
    pub service: ResourceName,
    /// Its mark.
    pub service_id: ResourceId,
    /// Whether it was paused, by a person, an error or the breaker; else nothing was done.
    pub was_paused: bool,
    /// Why it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_reason: Option<String>,
    /// The same for machines: `MANUAL`, an error code, `CIRCUIT_BREAKER`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_code: Option<String>,
    /// How many failures in a row were forgotten.
    pub consecutive_failures_cleared: u32,
    /// What the reader should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What a repair did to one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepairAction {
    /// The file.
    pub file: PathBuf,
    /// `reinitialized`, or `left` for what only an apply mends.
    pub action: &'static str,
    /// The name under which the old one was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// What was wrong with it.
    pub why: String,
}

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepairReport {
    /// The service.
    pub service: ResourceName,
    /// Whether anything was mended.
    pub repaired: bool,
    /// What was found wrong.
    pub actions: Vec<RepairAction>,
    /// Whether `lorectl apply` must write its definition anew.
    pub needs_apply: bool,
}

/// Errors of a change that a person asked for, where a run would only have warned.
fn insist(layout: &Layout, name: &ResourceName, reports: Vec<Report>) -> Result<Vec<String>> {
    let path = layout.status_file(name);
    let mut warnings = Vec::new();
    for report in reports {
        match report {
            Report::SetAside(..) => warnings.push(report.sentence()),
            Report::LeftAlone(_) => {
                return Err(Error::new(
                    Code::StateNewer,
                    format!(
                        "{} is of a newer lorectl and was left alone",
                        path.display()
                    ),
                ));
            }
            Report::NotWritten(std::io::ErrorKind::WouldBlock, _) => {
                // The service's user can hold the lock for as long as it likes.
                let data = layout.data(name);
                return Err(Error::new(
                    Code::LockHeld,
                    format!("another process holds the lock of {}", data.display()),
                )
                .suggest(format!(
                    "try again; `fuser -v {}` tells which process it is, if it goes on",
                    data.display()
                )));
            }
            Report::NotWritten(kind, why) => {
                let cause = std::io::Error::new(kind, why);
                return Err(Error::io("write", &path, cause)
                    .suggest("run the command as root or as the service's user"));
            }
        }
    }
    Ok(warnings)
}

impl Verbs<'_> {
    fn service(&self) -> Result<Service> {
        Ok(load::load(self.disk, self.layout, self.name)?.service)
    }

    fn status(&self) -> Option<Status> {
        match file::read(self.disk, self.layout, self.name) {
            Stored::Good(status) | Stored::Newer(_, Some(status)) => Some(*status),
            Stored::Absent | Stored::Damaged(_) | Stored::Newer(_, None) => None,
        }
    }

    async fn update(&self, change: impl FnOnce(&mut Status)) -> Result<Vec<String>> {
        let writer = Writer {
            disk: self.disk,
            layout: self.layout,
            name: self.name,
        };
        let (_, reports) = writer.update(self.now, self.now, change).await;
        insist(self.layout, self.name, reports)
    }

    /// Lets nothing run, by schedule or by hand, until somebody resumes the service. A run under way
    /// comes to its end first.
    ///
    /// # Errors
    /// `NO_SUCH_RESOURCE`; `NOT_PERMITTED` and `IO` when its status cannot be written.
    pub async fn pause(&self, reason: Option<&str>, by: &str) -> Result<PauseReport> {
        let service = self.service()?;
        let reason = message(reason.unwrap_or("paused by hand"));
        let paused = Paused {
            reason: reason.clone(),
            code: MANUAL.to_owned(),
            at: self.now,
            by: by.to_owned(),
        };
        let mut already = false;
        let mut running = false;
        let mut refused = None;
        let warnings = self
            .update(|status| {
                let alive = file::run_is_alive(status);
                running = status.state(&service, self.now, alive) == State::Running;
                already = status.paused.is_some();
                // While it runs, the pause waits in the file for the run to end.
                let from = status.resting_state(&service, self.now);
                match from.go(State::Paused) {
                    Ok(_) => status.paused = Some(paused),
                    Err(error) => refused = Some(error),
                }
            })
            .await?;
        if let Some(error) = refused {
            return Err(error);
        }
        Ok(PauseReport {
            service: service.name,
            service_id: service.id,
            paused: true,
            reason,
            already_paused: already,
            after_the_run: running,
            warnings,
        })
    }

    /// Lets a paused service run again when it is next due, its failures forgotten. One that is not
    /// paused is left as it is.
    ///
    /// # Errors
    /// As [`Verbs::pause`].
    pub async fn resume(&self) -> Result<ResumeReport> {
        let service = self.service()?;
        let mut report = ResumeReport {
            service: service.name.clone(),
            service_id: service.id.clone(),
            was_paused: false,
            previous_reason: None,
            previous_code: None,
            consecutive_failures_cleared: 0,
            warnings: Vec::new(),
        };
        let known = self.status();
        let tripped = |status: &Status| status.gate(&service, self.now) != Gate::Closed;
        if !known.is_some_and(|status| status.paused.is_some() || tripped(&status)) {
            return Ok(report);
        }
        let mut told = report.clone();
        report.warnings = self
            .update(|status| {
                told.was_paused = true;
                told.consecutive_failures_cleared = status.consecutive_failures;
                if let Some(breaker) = &status.breaker {
                    told.previous_code = Some(BREAKER.to_owned());
                    told.previous_reason = Some(breaker.last_error.clone());
                }
                if let Some(paused) = status.paused.take() {
                    told.previous_code = Some(paused.code);
                    told.previous_reason = Some(paused.reason);
                }
                status.clear_failures();
            })
            .await?;
        Ok(ResumeReport {
            warnings: report.warnings,
            ..told
        })
    }

    /// Sets a status aside that cannot be read, and begins a new one; says what else is wrong.
    /// Nothing is deleted.
    ///
    /// # Errors
    /// `NO_SUCH_RESOURCE`; `STATE_NEWER` for a status of a newer lorectl; what the disk says.
    pub async fn repair(&self) -> Result<RepairReport> {
        let mut report = RepairReport {
            service: self.name.clone(),
            repaired: false,
            actions: Vec::new(),
            needs_apply: false,
        };
        let service = match self.service() {
            Ok(service) => Some(service),
            Err(error) if error.code == Code::NoSuchResource => return Err(error),
            Err(error) => {
                report.needs_apply = true;
                report.actions.push(RepairAction {
                    file: self.layout.run_file(self.name),
                    action: "left",
                    backup: None,
                    why: error.chain(),
                });
                None
            }
        };
        match file::read(self.disk, self.layout, self.name) {
            Stored::Good(_) | Stored::Absent => {}
            Stored::Newer(version, _) => {
                insist(self.layout, self.name, vec![Report::LeftAlone(version)])?;
            }
            Stored::Damaged(why) => {
                let writer = Writer {
                    disk: self.disk,
                    layout: self.layout,
                    name: self.name,
                };
                let begin = |status: &mut Status| {
                    status.schedule = service.map(|service| service.schedule);
                };
                let (_, reports) = writer.update(self.now, self.now, begin).await;
                let backup = reports.iter().find_map(|report| match report {
                    Report::SetAside(aside, _) => Some(aside.clone()),
                    Report::LeftAlone(_) | Report::NotWritten(..) => None,
                });
                insist(self.layout, self.name, reports)?;
                report.repaired = true;
                report.actions.push(RepairAction {
                    file: self.layout.status_file(self.name),
                    action: "reinitialized",
                    backup,
                    why,
                });
            }
        }
        Ok(report)
    }

    /// Takes the locks of a service as a run of it does, its own and the one that it shares, so that
    /// a command by hand and a run keep out of each other's way. They are held until dropped.
    ///
    /// # Errors
    /// `LOCK_HELD` when they were not to be had within `patience`; `NO_SUCH_RESOURCE`; what the system says.
    pub async fn hold(&self, patience: Duration) -> Result<Vec<Lock>> {
        let service = self.service()?;
        let mut paths = vec![self.layout.run_lock(self.name)];
        paths.extend(service.lock.map(|lock| self.layout.named_lock(&lock)));
        let mut locks = Vec::new();
        for path in paths {
            let taken = Lock::take(&path, 0o644, patience).await;
            match taken.map_err(|error| Error::io("lock", &path, error))? {
                Some(lock) => locks.push(lock),
                None => {
                    return Err(Error::new(
                        Code::LockHeld,
                        format!("a run holds the lock {}", path.display()),
                    )
                    .suggest(format!("`lorectl service status {}` shows it", self.name)));
                }
            }
        }
        Ok(locks)
    }
}

#[cfg(test)]
mod tests;
