//! What others are told of a run, at its beginning and its end.

use std::{pin::pin, time::Duration};

use crate::{
    effect::{host, process},
    id::Timestamp,
    notify::sink::Event,
    retry::Gate,
    service::{
        notify::{courier::Courier, message::Case, ping::Ended},
        run::{classify::Failure, load::Loaded, record},
        status::{CurrentRun, RunRecord, Status},
    },
};

/// Keeps what the death of the runner before this run means to others, unless what that one ended with
/// is kept already: it then died after that. Returns what was in the way.
pub(super) async fn of_stale(
    courier: &Courier<'_>,
    loaded: &Loaded,
    before: &Status,
    run: &CurrentRun,
) -> Vec<String> {
    if courier.service.notify.is_empty() || before.current_run.is_none() {
        return Vec::new();
    }
    let mut after = before.clone();
    let begun = record::begin(&mut after, loaded, run.clone(), None, 0);
    match &begun.stale {
        Some(stale) if !courier.tells_of(&stale.id) => {
            post(
                courier,
                before,
                &after,
                stale,
                &begun.events,
                run.started_at,
            )
            .await
        }
        Some(_) | None => Vec::new(),
    }
}

/// Keeps what the end of a run means to others. It comes before the status says that it has ended, so
/// that nothing ends us in between: `before` is the status as it is. Returns what was in the way.
pub(super) async fn of_end(
    courier: &Courier<'_>,
    before: &Status,
    run: &RunRecord,
    failure: Option<&Failure>,
    probe: bool,
    seed: u64,
) -> Vec<String> {
    courier.ended.set(Some(Ended {
        outcome: run.outcome,
        interrupted: failure.is_some_and(|failure| failure.interrupted),
        error: failure.map_or_else(String::new, |failure| {
            format!("{}: {}", failure.code, failure.message)
        }),
    }));
    let service = courier.service;
    if service.notify.is_empty() {
        return Vec::new();
    }
    let now = courier.clock.now();
    let (mut after, end) = (before.clone(), run.clone());
    let events = record::finish(&mut after, service, end, failure, probe, now, seed);
    post(courier, before, &after, run, &events, now).await
}

async fn post(
    courier: &Courier<'_>,
    before: &Status,
    after: &Status,
    run: &RunRecord,
    events: &[Event],
    now: Timestamp,
) -> Vec<String> {
    if events.is_empty() {
        return Vec::new();
    }
    let service = courier.service;
    let host = host::name().unwrap_or_default();
    // A degraded run has no error of its own.
    let stage = (run.stages.iter()).find(|stage| !stage.success && run.error.is_none());
    let error = match stage {
        Some(stage) => (stage.error_code.as_deref(), stage.error.as_deref()),
        None => (run.error_code.as_deref(), run.error.as_deref()),
    };
    let trouble = after.trouble.as_ref().or(before.trouble.as_ref());
    let case = Case {
        service,
        host: &host,
        at: now,
        states: (
            before.resting_state(service, run.started_at),
            after.resting_state(service, now),
        ),
        run_id: &run.id,
        since: trouble.map(|trouble| trouble.since),
        error,
        consecutive_failures: after.consecutive_failures,
        next_retry_at: match after.gate(service, now) {
            Gate::Open { until } => Some(until),
            Gate::HalfOpen | Gate::Closed => after.next_retry_at,
        },
    };
    courier.post(&case, events, before.trouble.as_ref()).await
}

/// Delivers what is due, until we are asked to end: it is kept, and the next wake-up goes on.
pub(super) async fn deliver(
    courier: &Courier<'_>,
    terminated: impl Future<Output = ()>,
) -> Vec<String> {
    tokio::select! {
        warnings = courier.deliver() => warnings,
        () = terminated => {
            process::end_strays(&[], Duration::from_secs(1)).await;
            Vec::new()
        }
    }
}

/// Does one thing, and another beside it for as long as the first one takes.
pub(super) async fn beside<T>(
    first: impl Future<Output = T>,
    second: impl Future<Output = ()>,
) -> T {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let mut done = false;
    loop {
        tokio::select! {
            biased;
            result = &mut first => return result,
            () = &mut second, if !done => done = true,
        }
    }
}
