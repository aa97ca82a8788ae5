//! What became of a wake-up or a request, for whoever asked.

use serde::Serialize;

use crate::{
    id::{ResourceName, Timestamp},
    service::{
        definition::{Criticality, ExitPolicy, Service},
        status::{Outcome, RunRecord, Skip, SkipReason, StageResult, Status, Trigger},
    },
};

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A run.
    RunCompleted,
    /// Nothing, for now.
    Skipped,
    /// Nothing, or a run after which the service is paused, by the breaker for a time.
    Paused,
    /// Nothing: it was not due.
    NotDue,
}

impl Action {
    /// As scripts read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RunCompleted => "run_completed",
            Self::Skipped => "skipped",
            Self::Paused => "paused",
            Self::NotDue => "not_due",
        }
    }
}

/// A stage, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageView {
    /// Its name.
    pub stage: String,
    /// Whether it did its work.
    pub success: bool,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Whether its failure only degrades the run.
    pub optional: bool,
    /// How many items it says it has made or changed.
    pub items_updated: u64,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The same for machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
}

impl From<&StageResult> for StageView {
    fn from(stage: &StageResult) -> Self {
        Self {
            stage: stage.stage.clone(),
            success: stage.success,
            duration_ms: stage.duration_ms,
            optional: stage.criticality == Criticality::Optional,
            items_updated: stage.items_updated,
            error: stage.error.clone(),
            error_code: stage.error_code.clone(),
        }
    }
}

/// The whole report: `data` of `service run --json` and of `service trigger --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunReport {
    /// The service.
    pub service: ResourceName,
    /// What was done.
    pub action: Action,
    /// Who asked.
    pub trigger: Trigger,
    /// How the run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The profile that chose the stages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<f64>,
    /// Its stages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stage_results: Vec<StageView>,
    /// Transient failures in a row.
    pub consecutive_failures: u32,
    /// Why nothing was done, or why the service is paused now, for machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The command that helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// When the reason lifts by itself, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_retry_iso: Option<Timestamp>,
    /// In how many seconds that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining_seconds: Option<u64>,
    /// When it is due next, for what was not due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_due_iso: Option<Timestamp>,
    /// What the reader should know: a damaged status, a log that could not be written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

fn remaining(until: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(until.seconds_since(now)).unwrap_or(0)
}

impl RunReport {
    fn empty(service: &Service, action: Action, trigger: Trigger, status: &Status) -> Self {
        Self {
            service: service.name.clone(),
            action,
            trigger,
            outcome: None,
            profile: service.profile.clone(),
            duration_seconds: None,
            stage_results: Vec::new(),
            consecutive_failures: status.consecutive_failures,
            reason: None,
            message: None,
            suggestion: None,
            next_retry_iso: None,
            remaining_seconds: None,
            next_due_iso: None,
            warnings: Vec::new(),
        }
    }

    /// That it was not due.
    pub(super) fn not_due(service: &Service, status: &Status, next: Option<Timestamp>) -> Self {
        Self {
            next_due_iso: next,
            ..Self::empty(service, Action::NotDue, Trigger::Schedule, status)
        }
    }

    /// That it was skipped.
    pub fn skipped(service: &Service, status: &Status, skip: &Skip) -> Self {
        let name = &service.name;
        let resume = format!("lorectl service resume {name}");
        let mut report = Self::empty(service, Action::Skipped, skip.trigger, status);
        report.reason = Some(skip.reason.as_str().to_owned());
        report.next_retry_iso = skip.until;
        report.remaining_seconds = skip.until.map(|until| remaining(until, skip.at));
        let (message, suggestion) = match skip.reason {
            SkipReason::Paused => {
                report.action = Action::Paused;
                report.reason = status.paused.as_ref().map(|paused| paused.code.clone());
                let why = status.paused.as_ref().map(|paused| paused.reason.as_str());
                let why = why.unwrap_or_default();
                (format!("the service is paused: {why}"), Some(resume))
            }
            SkipReason::Breaker => {
                let last = status.breaker.as_ref().map(|b| b.last_error.as_str());
                let failures = status.consecutive_failures;
                let last = last.unwrap_or_default();
                report.action = Action::Paused;
                report.reason = Some(BREAKER.to_owned());
                let text = format!("{failures} consecutive transient failures (last: {last})");
                (text, Some(resume))
            }
            SkipReason::Backoff => (
                "the last run failed; the next waits".to_owned(),
                Some(format!("lorectl service trigger {name} --ignore-backoff")),
            ),
            SkipReason::Overlap => (
                "a run of it, or a command that holds its lock, has not ended".to_owned(),
                None,
            ),
            SkipReason::Lock => {
                let lock = service.lock.as_ref().map(ToString::to_string);
                let lock = lock.unwrap_or_default();
                (
                    format!("the lock `{lock}` was not to be had"),
                    Some(format!("lorectl service doctor {name}")),
                )
            }
            SkipReason::Off => (
                "its time passed while nothing could run it, and is not made up for".to_owned(),
                None,
            ),
        };
        report.message = Some(message);
        report.suggestion = suggestion;
        report
    }

    /// That a run took place; `status` is the one after it.
    pub fn ran(service: &Service, status: &Status, run: &RunRecord, now: Timestamp) -> Self {
        let mut report = Self::empty(service, Action::RunCompleted, run.trigger, status);
        report.outcome = Some(run.outcome);
        let duration = std::time::Duration::from_millis(run.duration_ms);
        report.duration_seconds = Some(duration.as_secs_f64());
        report.stage_results = run.stages.iter().map(StageView::from).collect();
        if run.outcome != Outcome::Failed {
            return report;
        }
        report.reason.clone_from(&run.error_code);
        report.message.clone_from(&run.error);
        let resume = format!("lorectl service resume {}", service.name);
        if let Some(paused) = &status.paused {
            report.action = Action::Paused;
            report.reason = Some(paused.code.clone());
            report.suggestion = Some(resume);
        } else if let Some(breaker) = &status.breaker {
            let failures = status.consecutive_failures;
            let last = &breaker.last_error;
            report.action = Action::Paused;
            report.reason = Some(BREAKER.to_owned());
            report.message = Some(format!(
                "{failures} consecutive transient failures (last: {last})"
            ));
            let until = breaker
                .opened_at
                .plus_seconds(service.breaker.cooldown.signed());
            report.next_retry_iso = Some(until);
            report.remaining_seconds = Some(remaining(until, now));
            report.suggestion = Some(resume);
        } else {
            report.next_retry_iso = status.next_retry_at;
            report.remaining_seconds = status.next_retry_at.map(|at| remaining(at, now));
            report.suggestion = Some(format!("lorectl service logs {}", service.name));
        }
        report
    }

    /// The exit status of `service run`: 0 whenever policy was carried out, unless the service asks
    /// for its outcome.
    pub const fn run_status(&self, policy: ExitPolicy) -> u8 {
        match (policy, self.outcome) {
            (ExitPolicy::Outcome, Some(Outcome::Failed)) => 1,
            (ExitPolicy::Policy | ExitPolicy::Outcome, _) => 0,
        }
    }

    /// The exit status of `service trigger`: 0 for success and degraded, 1 failed, 75 skipped for
    /// now, 3 paused.
    pub fn trigger_status(&self) -> u8 {
        match (self.outcome, self.action) {
            (Some(Outcome::Success | Outcome::Degraded), _) => 0,
            (Some(Outcome::Failed), _) => 1,
            // Time lifts an open breaker, and a person any other pause.
            (None, Action::Paused) if self.next_retry_iso.is_some() => 75,
            (None, Action::Paused) => 3,
            (None, Action::Skipped | Action::NotDue | Action::RunCompleted) => 75,
        }
    }
}

/// The reason of a pause that the breaker made.
pub const BREAKER: &str = "CIRCUIT_BREAKER";
