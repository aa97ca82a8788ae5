//! How a run changes the status: pure.

use crate::{
    id::Timestamp,
    service::{
        definition::Service,
        run::{classify::Failure, load::Loaded},
        status::{CurrentRun, LastError, Outcome, Paused, RunRecord, SkipReason, Status, Tripped},
    },
};

/// The code of a run whose runner died.
pub const RUNNER_DIED: &str = "RUNNER_DIED";
/// The code of a run that the host's end cut short.
pub const HOST_RESTARTED: &str = "HOST_RESTARTED";

/// Begins a run under that definition. Returns the record of the run before it, if that one
/// ended without a word: nobody else runs, since we hold the lock.
pub fn begin(
    status: &mut Status,
    loaded: &Loaded,
    run: CurrentRun,
    instant: Option<Timestamp>,
    missed: u64,
) -> Option<RunRecord> {
    let stale = take_stale(status, &run.boot_id);
    status.adopt(&loaded.service.schedule, loaded.modified);
    if let Some(instant) = instant {
        status.consume(instant);
    }
    miss(status, missed);
    status.current_run = Some(run);
    stale
}

/// Counts scheduled instants that nobody was awake for.
pub fn miss(status: &mut Status, missed: u64) {
    if missed > 0 {
        let count = status.skipped.entry(SkipReason::Off).or_default();
        *count = count.saturating_add(missed);
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
pub fn finish(
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
            by: "lorectl".to_owned(),
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
