//! One run of a service: what every scheduler's wake-up calls, and every request by hand.
//!
//! It knows of the spec what `run.json` says, and of the past what `data/` says. The policy is here
//! and nowhere else: paused, breaker, backoff, lock, stages, classify, record.

pub mod classify;
pub mod credentials;
pub mod gate;
pub mod load;
pub mod record;
pub mod report;
pub mod request;
mod stages;
mod tidings;

use std::{cell::Cell, pin::pin, time::Duration};

use crate::{
    effect::{
        clock::Clock,
        disk::Disk,
        lock::Lock,
        process::{self, Identity, Stopwatch},
        user::{self, Account},
    },
    error::{Code, Error, Result},
    id::{ResourceName, Seconds, Timestamp},
    layout::Layout,
    retry,
    service::{
        definition::{Overlap, Service},
        logs,
        notify::courier::Courier,
        schedule::{self, Due, Past},
        status::{
            CurrentRun, RunRecord, Skip, SkipReason, Status, Trigger,
            file::{self, Stored, Writer},
            skips,
        },
    },
};
use credentials::Credentials;
use gate::{Ask, Verdict};
use load::Loaded;
use report::RunReport;
use stages::{Stages, Stop};

/// How long a lock is tried for where a held one means a skip: longer than anybody's question
/// whether it is held.
const TRY: Duration = Duration::from_millis(300);

/// How long a stage under way may go on when we are asked to end.
pub const FAREWELL: Duration = Duration::from_secs(30);

/// What a run needs from outside.
pub struct Runner<'a> {
    /// The disk.
    pub disk: &'a dyn Disk,
    /// The time.
    pub clock: &'a dyn Clock,
    /// What draws follow from.
    pub seed: u64,
    /// The project's files.
    pub layout: &'a Layout,
    /// The service.
    pub name: &'a ResourceName,
}

/// A report, and the exit status that `service run` ends with.
#[derive(Debug)]
pub struct Done {
    /// What became of it.
    pub report: RunReport,
    /// The exit status of `service run`.
    pub status: u8,
}

impl Runner<'_> {
    /// Answers a wake-up or a request: runs the service, or says why not.
    ///
    /// Called by root for a service with another user, it makes this whole process that user's, for
    /// good. It takes all descendants of this process for the service's, so there must be no others.
    /// `terminated` is done when this process is asked to end.
    ///
    /// # Errors
    /// When there is no definition that could be run, or no right to run it. That a run fails is no error.
    pub async fn answer(&self, ask: Ask, terminated: impl Future<Output = ()>) -> Result<Done> {
        let loaded = load::load(self.disk, self.layout, self.name)?;
        let (account, credentials) = self.become_user(&loaded.service)?;
        let mut ask = ask;
        let mut warnings = Vec::new();
        if ask.trigger == Trigger::Schedule
            && let Some(request) =
                request::take(self.disk, self.layout, self.name, self.clock.now())
        {
            ask = request;
        }
        let courier = self.courier(&loaded.service, &account, &credentials);
        let asked = Cell::new(false);
        let mut terminated = pin!(async {
            terminated.await;
            asked.set(true);
        });
        let mut report = self
            .decide_and_run(&loaded, &courier, &ask, terminated.as_mut(), &mut warnings)
            .await;
        if !asked.get() {
            warnings.extend(tidings::deliver(&courier, terminated).await);
        }
        report.warnings = warnings;
        let status = report.run_status(loaded.service.exit);
        Ok(Done { report, status })
    }

    /// Delivers what waits to be told of the service, and runs nothing. Returns what was in the way.
    ///
    /// # Errors
    /// As [`Runner::answer`].
    pub async fn tell(&self, terminated: impl Future<Output = ()>) -> Result<Vec<String>> {
        let loaded = load::load(self.disk, self.layout, self.name)?;
        let (account, credentials) = self.become_user(&loaded.service)?;
        let courier = self.courier(&loaded.service, &account, &credentials);
        Ok(tidings::deliver(&courier, terminated).await)
    }

    /// Makes this process the service user's, where it is root's; otherwise it must be that already.
    /// What that user may not read is read before.
    fn become_user(&self, service: &Service) -> Result<(Account, Credentials)> {
        let account = account(service)?;
        let credentials = Credentials::find(self.disk, self.layout, service, &account)?;
        if account.owner.uid != user::effective().uid {
            process::assume(&account).map_err(|error| not_allowed(&account.name).because(error))?;
        }
        Ok((account, credentials))
    }

    fn courier<'a>(
        &'a self,
        service: &'a Service,
        account: &'a Account,
        credentials: &'a Credentials,
    ) -> Courier<'a> {
        let seed = retry::derive(self.seed, u64::MAX - 2);
        Courier::new(
            self.disk,
            self.clock,
            seed,
            self.layout,
            service,
            account,
            credentials,
        )
    }

    async fn decide_and_run(
        &self,
        loaded: &Loaded,
        courier: &Courier<'_>,
        ask: &Ask,
        terminated: impl Future<Output = ()>,
        warnings: &mut Vec<String>,
    ) -> RunReport {
        let service = &loaded.service;
        let now = self.clock.now();
        // A first look without any lock or write: most wake-ups end here.
        let status = self.status(loaded, now);
        let verdict = Self::verdict(loaded, &status, ask, now);
        tracing::trace!(service = %service.name, verdict = verdict.as_str(), "decided on a run");
        let consumed = match verdict {
            Verdict::NotDue(next) => return RunReport::not_due(service, &status, next),
            Verdict::Skip { skip, missed } => {
                return self.skip(loaded, status, skip, missed, warnings).await;
            }
            Verdict::Run { instant, .. } => instant,
        };
        let locks = match self.locks(service, ask, warnings).await {
            Ok(locks) => locks,
            Err(reason) => {
                let skip = Skip {
                    consumed,
                    ..gate::skip(reason, ask, now)
                };
                return self.skip(loaded, status, skip, 0, warnings).await;
            }
        };
        let report = self
            .locked(loaded, courier, ask, terminated, warnings)
            .await;
        drop(locks);
        report
    }

    /// What is known of the past; whatever stands in the way of knowing is reported when it is written.
    fn status(&self, loaded: &Loaded, now: Timestamp) -> Status {
        match file::read(self.disk, self.layout, self.name) {
            Stored::Good(status) | Stored::Newer(_, Some(status)) => *status,
            Stored::Absent | Stored::Damaged(_) | Stored::Newer(_, None) => {
                Status::new(loaded.modified.min(now))
            }
        }
    }

    fn due(loaded: &Loaded, status: &Status, now: Timestamp) -> Due {
        let service = &loaded.service;
        let past = Past::of(status, &service.schedule, loaded.modified);
        schedule::due(
            &service.schedule,
            past,
            service.catch_up,
            service.splay,
            now,
        )
    }

    fn verdict(loaded: &Loaded, status: &Status, ask: &Ask, now: Timestamp) -> Verdict {
        let due = Self::due(loaded, status, now);
        gate::decide(&loaded.service, status, due, ask, now)
    }

    fn writer(&self) -> Writer<'_> {
        Writer {
            disk: self.disk,
            layout: self.layout,
            name: self.name,
        }
    }

    async fn update(
        &self,
        warnings: &mut Vec<String>,
        born: Timestamp,
        change: impl FnOnce(&mut Status),
    ) -> Status {
        let now = self.clock.now();
        let (status, reports) = self.writer().update(now, born, change).await;
        for report in reports {
            let sentence = report.sentence();
            if !warnings.contains(&sentence) {
                warnings.push(sentence);
            }
        }
        status
    }

    /// Notes a skip: one appended line, unless there is more to say or the lines have become many.
    async fn skip(
        &self,
        loaded: &Loaded,
        mut status: Status,
        skip: Skip,
        missed: u64,
        warnings: &mut Vec<String>,
    ) -> RunReport {
        let service = &loaded.service;
        let data = self.layout.data(self.name);
        let new_schedule = status.schedule.as_ref() != Some(&service.schedule);
        let length = self.disk.read(&data.join(skips::FILE), skips::FULL);
        let short = length.is_ok();
        if short && missed == 0 && !(new_schedule && skip.consumed.is_some()) {
            if let Err(error) = skips::append(self.disk, &data, &skip) {
                warnings.push(format!("the skip could not be noted: {error}"));
            }
            status.skip(skip.clone());
        } else {
            let noted = skip.clone();
            let change = |status: &mut Status| {
                status.adopt(&service.schedule, loaded.modified);
                record::miss(status, loaded, missed);
                status.skip(noted);
            };
            let born = status.created_at;
            status = self.update(warnings, born, change).await;
        }
        RunReport::skipped(service, &status, &skip)
    }

    /// The run's own lock, and the shared one; or why there is to be no run.
    ///
    /// A lock that cannot be had because of its file is reported, and the run goes on: a scheduler
    /// starts no second run of a unit that runs.
    async fn locks(
        &self,
        service: &Service,
        ask: &Ask,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Lock>, SkipReason> {
        let patience = match (service.overlap, ask.trigger) {
            (Overlap::Queue, Trigger::Schedule | Trigger::Manual) => {
                Duration::from_secs(service.patience().0)
            }
            (Overlap::Skip, Trigger::Schedule | Trigger::Manual) => TRY,
        };
        let mut locks = Vec::new();
        let own = self.layout.run_lock(self.name);
        match Lock::take(&own, 0o600, patience).await {
            Ok(Some(lock)) => locks.push(lock),
            Ok(None) => return Err(SkipReason::Overlap),
            Err(error) => warnings.push(format!("{}: {error}", own.display())),
        }
        if let Some(name) = &service.lock {
            let path = self.layout.named_lock(name);
            match Lock::take(&path, 0o644, patience).await {
                Ok(Some(lock)) => locks.push(lock),
                Ok(None) => return Err(SkipReason::Lock),
                // Its author asked that nothing runs beside it: what cannot be locked does not run.
                Err(error) => {
                    warnings.push(format!("{}: {error}", path.display()));
                    return Err(SkipReason::Lock);
                }
            }
        }
        Ok(locks)
    }

    /// What a run that starts then is called.
    fn run_id(&self, started_at: Timestamp) -> String {
        let drawn = retry::derive(self.seed, u64::MAX) >> 32;
        format!("{:x}-{drawn:08x}", started_at.millis())
    }

    /// Opens the log of a run with what is to be said before its first stage.
    fn open_log(
        &self,
        run_id: &str,
        probe: bool,
        stale: Option<RunRecord>,
        now: Timestamp,
        warnings: &mut Vec<String>,
    ) -> logs::Writer<'_> {
        if let Some(stale) = stale {
            let why = stale.error.unwrap_or_default();
            warnings.push(format!("the run of {} failed: {why}", stale.started_at));
        }
        let mut log = logs::Writer::open(self.disk, self.layout, self.name);
        for warning in &*warnings {
            log.say(now, "-", warning);
        }
        let what = if probe { "a probe" } else { "a run" };
        log.say(now, "-", &format!("{what} begins: {run_id}"));
        log
    }

    /// The run itself, with nobody else running.
    async fn locked(
        &self,
        loaded: &Loaded,
        courier: &Courier<'_>,
        ask: &Ask,
        terminated: impl Future<Output = ()>,
        warnings: &mut Vec<String>,
    ) -> RunReport {
        let service = &loaded.service;
        let started_at = self.clock.now();
        // While the lock was waited for, a run has ended, a person has paused the service, or an
        // apply, which holds this lock while it does, has removed it.
        let status = self.status(loaded, started_at);
        let removed = self.disk.stat(&self.layout.run_file(self.name));
        if matches!(removed, Ok(None)) {
            return RunReport::not_due(service, &status, None);
        }
        let (probe, instant, missed) = match Self::verdict(loaded, &status, ask, started_at) {
            Verdict::NotDue(next) => return RunReport::not_due(service, &status, next),
            Verdict::Skip { skip, missed } => {
                return self.skip(loaded, status, skip, missed, warnings).await;
            }
            Verdict::Run {
                probe,
                instant,
                missed,
            } => (probe, instant, missed),
        };
        if let Err(error) = process::adopt_orphans() {
            warnings.push(format!(
                "what a stage leaves behind cannot be found: {error}"
            ));
        }
        let run_id = self.run_id(started_at);
        let current = current_run(&run_id, ask.trigger, started_at);
        warnings.extend(tidings::of_stale(courier, loaded, &status, &current).await);
        let mut stale = None;
        self.update(warnings, loaded.modified.min(started_at), |status| {
            stale = record::begin(status, loaded, current, instant, missed).stale;
        })
        .await;
        let log = self.open_log(&run_id, probe, stale, started_at, warnings);

        let watch = Stopwatch::start();
        let laid_out = courier.credentials.lay_out(self.disk, service);
        let mut stages = Stages {
            disk: self.disk,
            clock: self.clock,
            layout: self.layout,
            service,
            account: courier.account,
            credentials: courier.credentials,
            directory: laid_out.map_err(|error| error.to_string()),
            run_id: &run_id,
            seed: self.seed,
            log,
        };
        let asked = Cell::new(false);
        let stop = async {
            terminated.await;
            asked.set(true);
            tokio::time::sleep(FAREWELL).await;
        };
        let stop = Stop {
            ending: pin!(stop),
            asked: &asked,
            ended: false,
        };
        let ran = tidings::beside(stages.run(stop), courier.ping_start()).await;
        let duration = watch.elapsed();
        if let Err(error) = courier.credentials.clear(self.disk) {
            warnings.push(format!("its credentials could not be removed: {error}"));
        }

        let ended_at = self.clock.now();
        let mut log = stages.log;
        let outcome = ran.outcome;
        log.say(
            ended_at,
            "-",
            &format!("the run ends: {}", outcome.as_str()),
        );
        if let Some(why) = log.finish(ended_at) {
            warnings.push(format!("the log could not be written: {why}"));
        }
        let record = RunRecord {
            id: run_id,
            trigger: ask.trigger,
            request: ask.request.clone(),
            started_at,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            outcome,
            error: ran.failure.as_ref().map(|failure| failure.message.clone()),
            error_code: ran.failure.as_ref().map(|failure| failure.code.clone()),
            stages: ran.results,
        };
        let seed = retry::derive(self.seed, u64::MAX - 1);
        let noted = record.clone();
        let failure = ran.failure.as_ref();
        let before = self.status(loaded, ended_at);
        let told = tidings::of_end(courier, &before, &record, failure, probe, seed).await;
        warnings.extend(told);
        let status = self
            .update(warnings, loaded.modified.min(ended_at), |status| {
                record::finish(status, service, noted, failure, probe, ended_at, seed);
            })
            .await;
        RunReport::ran(service, &status, &record, ended_at)
    }
}

fn current_run(id: &str, trigger: Trigger, started_at: Timestamp) -> CurrentRun {
    let process = Identity::this();
    CurrentRun {
        id: id.to_owned(),
        trigger,
        started_at,
        pid: process.pid,
        pid_started: process.started,
        boot_id: process.boot,
    }
}

/// Whom a service runs as. It is this process's user, or one that it can become.
fn account(service: &Service) -> Result<Account> {
    let this = user::effective();
    let Some(name) = &service.user else {
        let known = user::by_uid(this.uid)?;
        return Ok(known.unwrap_or_else(|| Account {
            name: this.uid.to_string(),
            owner: this,
            home: "/".into(),
        }));
    };
    let Some(wanted) = user::by_name(name)? else {
        return Err(Error::new(
            Code::NotPermitted,
            format!("there is no user `{name}` on this host"),
        ));
    };
    if wanted.owner.uid == this.uid || this.uid == 0 {
        Ok(wanted)
    } else {
        Err(not_allowed(name))
    }
}

fn not_allowed(user: &str) -> Error {
    let uid = user::effective().uid;
    Error::new(
        Code::NotPermitted,
        format!("this service runs as `{user}`, which user id {uid} cannot become"),
    )
    .suggest("run the command as root or as that user")
}

/// How long an apply waits for a run in flight before it removes a service.
pub const fn patience(service: &Service) -> Seconds {
    service.patience()
}

#[cfg(test)]
mod tests;
