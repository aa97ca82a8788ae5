//! What the `service` commands print as JSON: the names and shapes that scripts rely on.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    super::state::{Held, RunOutcome},
    status::{Backoff, Levels, PlatformState, Run, ServiceStatus, Stage, Undelivered},
    trigger::Trigger,
};
use crate::id::Timestamp;

/// How many runs a status lists.
const RECENT: usize = 5;

fn seconds(millis: u64) -> f64 {
    std::time::Duration::from_millis(millis).as_secs_f64()
}

/// One stage of a run.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StageData {
    /// Its name.
    stage: String,
    /// Whether it did its work.
    success: bool,
    /// How many items it says it has made or changed.
    items_updated: u64,
    /// How long it took, in milliseconds.
    duration_ms: u64,
    /// Whether its failure only degrades the run.
    optional: bool,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The same for machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<String>,
}

impl From<Stage> for StageData {
    fn from(stage: Stage) -> Self {
        Self {
            success: stage.outcome == RunOutcome::Success,
            stage: stage.name,
            items_updated: stage.items_updated.unwrap_or(0),
            duration_ms: stage.duration_ms,
            optional: stage.optional,
            error: stage.error,
            error_code: stage.error_code,
        }
    }
}

/// One run, without its stages.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RunData {
    /// When it began, UTC.
    #[schemars(with = "String")]
    timestamp_iso: Timestamp,
    /// How it ended.
    outcome: RunOutcome,
    /// How long it took.
    duration_seconds: f64,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The last run.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LastRunData {
    #[serde(flatten)]
    run: RunData,
    /// Its stages, in order.
    stage_results: Vec<StageData>,
    /// Transient failures in a row, this one included.
    consecutive_failures: u32,
}

impl From<&Run> for RunData {
    fn from(run: &Run) -> Self {
        Self {
            timestamp_iso: run.started_at,
            outcome: run.outcome,
            duration_seconds: seconds(run.duration_ms),
            error: run.error.clone(),
        }
    }
}

/// An instant at which a service will be due.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct FireData {
    /// When, UTC.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The same in the schedule's zone, `2026-03-29 03:00 CEST`.
    pub local: String,
    /// What a change of the zone's offset does to it, or that there was one since the fire before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transition: Option<String>,
}

/// A run that did not take place.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SkipData {
    /// When that was decided, UTC.
    #[schemars(with = "String")]
    pub timestamp_iso: Timestamp,
    /// Why: a word of `skipped`.
    pub reason: String,
}

/// One service in full.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl service status --json` prints as data")]
pub struct StatusData {
    /// Its name.
    name: String,
    /// The project.
    project: String,
    /// When all this was so, UTC.
    #[schemars(with = "String")]
    at: Timestamp,
    /// Whether it was applied here; if not, little else is known.
    installed: bool,
    /// Its mark on the host: 12 hex digits.
    service_id: Option<String>,
    /// Its line of description.
    description: Option<String>,
    /// Who wakes it: `systemd-system`, `systemd-user`, `worker`.
    platform: Option<String>,
    /// Whether its scheduler has it.
    service_state: PlatformState,
    /// The unit that the scheduler knows it by, where there is one.
    unit: Option<String>,
    /// Whom it runs as, where the scheduler can choose.
    user: Option<String>,
    /// Its schedule in words.
    schedule: Option<String>,
    /// The interval of an `every`.
    interval_seconds: Option<u64>,
    /// The profile that chooses its stages.
    profile: Option<String>,
    /// What it is up to: `idle`, `running`, `running_stale`, `degraded`, `backoff`, `half_open`,
    /// `paused`, `not_installed`.
    scheduler_state: String,
    /// Why it does not run as scheduled, if it does not.
    held: Option<Held>,
    /// Why it is paused, by a person, an error or the open breaker: `CODE: text`.
    paused_reason: Option<String>,
    /// What a failure makes it wait for.
    backoff: Option<Backoff>,
    /// The next runs, UTC.
    #[schemars(with = "Vec<String>")]
    next_runs: Vec<Timestamp>,
    /// The same in the schedule's zone.
    next_fires: Vec<FireData>,
    /// Since when a run is under way, or was when its runner died, UTC.
    #[schemars(with = "Option<String>")]
    running_since: Option<Timestamp>,
    /// The last run.
    last_run: Option<LastRunData>,
    /// The last runs, the latest first.
    recent_runs: Vec<RunData>,
    /// Transient failures in a row.
    consecutive_failures: u32,
    /// How many runs did not take place: `paused`, `breaker`, `backoff`, `overlap`, `lock`, `off` (the
    /// host was, or what wakes it).
    skipped: BTreeMap<String, u64>,
    /// The last run that did not take place.
    last_skip: Option<SkipData>,
    /// At which levels the host differs from what was applied; null where it could not be told.
    drift: Option<Levels>,
    /// Whom of those that hear of it the last news has not reached.
    undelivered: Vec<Undelivered>,
    /// What else should be known.
    notes: Vec<String>,
}

impl From<ServiceStatus> for StatusData {
    fn from(status: ServiceStatus) -> Self {
        let last = status.runs.first().map(|run| LastRunData {
            run: run.into(),
            stage_results: run.stages.iter().cloned().map(Into::into).collect(),
            consecutive_failures: status.consecutive_failures,
        });
        Self {
            last_run: last,
            recent_runs: status.runs.iter().take(RECENT).map(Into::into).collect(),
            name: status.name,
            project: status.project,
            at: status.at,
            installed: status.installed,
            service_id: status.service_id,
            description: status.description,
            platform: status.platform,
            service_state: status.platform_state,
            unit: status.unit,
            user: status.user,
            schedule: status.schedule,
            interval_seconds: status.interval_seconds,
            profile: status.profile,
            scheduler_state: status.scheduler_state,
            held: status.held,
            paused_reason: status.paused_reason,
            backoff: status.backoff,
            next_runs: status.next_runs,
            next_fires: status.next_fires,
            running_since: status.running_since,
            consecutive_failures: status.consecutive_failures,
            skipped: status.skipped,
            last_skip: status.last_skip,
            drift: status.drift,
            undelivered: status.undelivered,
            notes: status.notes,
        }
    }
}

/// What became of a wake-up or of a request for a run.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl service trigger --json` and `service run --json` print as data")]
pub struct TriggerData {
    /// The service's name.
    name: String,
    /// When this was so, UTC.
    #[schemars(with = "String")]
    at: Timestamp,
    /// What was done: `run_completed`, `skipped`, `paused` (by a person, an error or the breaker), `not_due`.
    action: String,
    /// How the run ended; `skipped` where there was none.
    outcome: RunOutcome,
    /// The profile that chooses its stages.
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    /// How long the run took.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_seconds: Option<f64>,
    /// Its stages, in order.
    stage_results: Vec<StageData>,
    /// Transient failures in a row.
    consecutive_failures: u32,
    /// Why it failed or did not run, for machines: `backoff`, `overlap`, `lock`, `AUTH_FAILED`,
    /// `CIRCUIT_BREAKER`, `MANUAL`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// What helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<String>,
    /// When the reason lifts by itself, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    next_retry_iso: Option<Timestamp>,
    /// In how many seconds that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_seconds: Option<u64>,
    /// When it is due next, where it was not, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    next_due_iso: Option<Timestamp>,
    /// What should be known besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl From<Trigger> for TriggerData {
    fn from(trigger: Trigger) -> Self {
        let stages = trigger.run.as_ref().map(|run| run.stages.clone());
        Self {
            name: trigger.name,
            at: trigger.at,
            action: trigger.action,
            outcome: trigger.outcome,
            profile: trigger.profile,
            duration_seconds: trigger.run.as_ref().map(|run| seconds(run.duration_ms)),
            stage_results: stages.into_iter().flatten().map(Into::into).collect(),
            consecutive_failures: trigger.consecutive_failures,
            reason: trigger.reason,
            message: trigger.message,
            suggestion: trigger.suggestion,
            next_retry_iso: trigger.next_retry,
            remaining_seconds: trigger.remaining_seconds,
            next_due_iso: trigger.next_due,
            warnings: trigger.warnings,
        }
    }
}
