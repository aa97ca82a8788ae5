//! How a run changes the status: pure.

use crate::{
    id::{Seconds, Timestamp},
    notify::sink::Event,
    service::{
        definition::{CatchUp, Schedule, Service},
        notify::decide,
        run::{classify::Failure, load::Loaded},
        schedule::{self, Due, Past},
        status::{CurrentRun, LastError, Outcome, Paused, RunRecord, SkipReason, Status, Tripped},
    },
};

/// The code of a run whose runner died.
pub const RUNNER_DIED: &str = "RUNNER_DIED";
/// The code of a run that the host's end cut short.
pub const HOST_RESTARTED: &str = "HOST_RESTARTED";

/// What the beginning of a run brought to light.
pub struct Begun {
    /// The record of the run before it, if that one ended without a word.
    pub stale: Option<RunRecord>,
    /// What others are to be told of that.
    pub events: Vec<Event>,
}

/// Begins a run under that definition: nobody else runs, since we hold the lock.
pub fn begin(
    status: &mut Status,
    loaded: &Loaded,
    run: CurrentRun,
    instant: Option<Timestamp>,
    missed: u64,
) -> Begun {
    let before = status.clone();
    let stale = take_stale(status, &run.boot_id);
    let mut events = Vec::new();
    if let Some(stale) = &stale {
        let at_fault = stale.error_code.as_deref() == Some(RUNNER_DIED);
        events = decide::transitions(&before, status, Outcome::Failed, !at_fault);
        tell(
            status,
            &loaded.service,
            &before,
            &events,
            Outcome::Failed,
            run.started_at,
        );
    }
    status.adopt(&loaded.service.schedule, loaded.modified);
    miss(status, loaded, missed);
    if let Some(instant) = instant {
        status.consume(instant);
    }
    status.current_run = Some(run);
    Begun { stale, events }
}

/// Notes what others are told, where there are others.
fn tell(
    status: &mut Status,
    service: &Service,
    before: &Status,
    events: &[Event],
    outcome: Outcome,
    now: Timestamp,
) {
    status.trouble = if service.notify.is_empty() {
        None
    } else {
        decide::trouble(before.trouble.as_ref(), events, outcome, now)
    };
}

/// Counts scheduled instants that passed: while the run before went on, or while nobody was awake.
/// What was dealt with last must not have been noted yet.
pub fn miss(status: &mut Status, loaded: &Loaded, missed: u64) {
    let overlapped = overlapped(status, loaded).min(missed);
    for (reason, more) in [
        (SkipReason::Overlap, overlapped),
        (SkipReason::Off, missed - overlapped),
    ] {
        if more > 0 {
            let count = status.skipped.entry(reason).or_default();
            *count = count.saturating_add(more);
        }
    }
}

/// How many scheduled instants had come when the last run ended.
fn overlapped(status: &Status, loaded: &Loaded) -> u64 {
    let Some(run) = &status.last_run else {
        return 0;
    };
    let service = &loaded.service;
    let lead = match service.schedule {
        Schedule::Every(every) => schedule::lead(every),
        Schedule::Cron { .. } => Seconds(0),
    };
    let took = i64::try_from(run.duration_ms).unwrap_or(i64::MAX);
    let ended = run
        .started_at
        .plus_millis(took)
        .plus_seconds(-lead.signed());
    let past = Past::of(status, &service.schedule, loaded.modified);
    match schedule::due(&service.schedule, past, CatchUp::Once, service.splay, ended) {
        Due::Now { missed, .. } => missed.saturating_add(1),
        Due::NotYet(_) | Due::TooLate { .. } => 0,
    }
}

/// Records a run whose runner is gone. Where the host went down with it, it counts as no failure of
/// the service's.
fn take_stale(status: &mut Status, boot: &str) -> Option<RunRecord> {
    let run = status.current_run.take()?;
    let (code, error) = if run.boot_id == boot {
        let text = format!(
            "its runner, process {}, ended without recording it",
            run.pid
        );
        (RUNNER_DIED, text)
    } else {
        (HOST_RESTARTED, "the host went down during it".to_owned())
    };
    if code == RUNNER_DIED {
        status.consecutive_failures = status.consecutive_failures.saturating_add(1);
    }
    let record = RunRecord {
        id: run.id,
        trigger: run.trigger,
        request: None,
        started_at: run.started_at,
        duration_ms: 0,
        outcome: Outcome::Failed,
        stages: Vec::new(),
        error: Some(error),
        error_code: Some(code.to_owned()),
    };
    status.record(record.clone());
    Some(record)
}

/// Ends a run: `failure` is that of its core stages, `probe` whether it was the half-open breaker's.
/// Returns what others are to be told of it, the most telling first.
pub fn finish(
    status: &mut Status,
    service: &Service,
    record: RunRecord,
    failure: Option<&Failure>,
    probe: bool,
    now: Timestamp,
    seed: u64,
) -> Vec<Event> {
    let before = status.clone();
    let outcome = record.outcome;
    let interrupted = failure.is_some_and(|failure| failure.interrupted);
    end(status, service, record, failure, probe, now, seed);
    let events = decide::transitions(&before, status, outcome, interrupted);
    tell(status, service, &before, &events, outcome, now);
    events
}

fn end(
    status: &mut Status,
    service: &Service,
    record: RunRecord,
    failure: Option<&Failure>,
    probe: bool,
    now: Timestamp,
    seed: u64,
) {
    status.current_run = None;
    status.record(record);
    let Some(failure) = failure else {
        status.clear_failures();
        return;
    };
    status.last_error = Some(LastError {
        code: failure.code.clone(),
        message: failure.message.clone(),
        at: now,
    });
    if failure.interrupted {
        return;
    }
    if failure.permanent {
        status.next_retry_at = None;
        status.retry_after = false;
        // A pause that a person asked for meanwhile says more.
        status.paused.get_or_insert(Paused {
            reason: failure.message.clone(),
            code: failure.code.clone(),
            at: now,
            by: decide::BY_US.to_owned(),
        });
        return;
    }
    status.consecutive_failures = status.consecutive_failures.saturating_add(1);
    if probe || service.breaker.policy().trips(status.consecutive_failures) {
        status.next_retry_at = None;
        status.retry_after = false;
        status.breaker = Some(Tripped {
            opened_at: now,
            last_error: format!("{}: {}", failure.code, failure.message),
        });
        return;
    }
    let failures = status.consecutive_failures;
    let policy = service.retry.policy();
    let next = policy.next_try(failures, now, failure.not_before, seed);
    status.retry_after = next != policy.next_try(failures, now, None, seed);
    status.next_retry_at = Some(next);
}
