//! What happened to a service so far: `data/status.json`, written by whoever runs it.
//!
//! The file belongs to the service's user, so whoever else reads it takes it for hostile input.
//! That it cannot be read or written never stops a run.

pub mod file;
pub mod skips;
pub mod state;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    id::Timestamp,
    retry::{self, Gate},
    service::{
        definition::{CatchUp, Criticality, Schedule, Service},
        notify::decide::Trouble,
        schedule,
    },
};
pub use state::State;

/// The version of `status.json` that this binary writes and the newest that it reads.
pub const STATUS_VERSION: u32 = 1;

/// How many runs are remembered.
pub const REMEMBERED: usize = 10;

/// The longest message that is kept, in bytes.
const MESSAGE: usize = 2000;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every stage did its work.
    Success,
    /// Every core stage did; an optional one did not.
    Degraded,
    /// A core stage did not.
    Failed,
}

impl Outcome {
    /// As files and people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        }
    }
}

/// Who asked for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// Its time.
    Schedule,
    /// A person.
    Manual,
}

/// Why a run did not take place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SkipReason {
    /// The service is paused.
    Paused,
    /// The breaker is open.
    Breaker,
    /// It is backing off.
    Backoff,
    /// The run before it has not ended.
    Overlap,
    /// Another holds the lock that it shares.
    Lock,
    /// The host, or what wakes us, was off.
    Off,
}

impl SkipReason {
    /// As files and people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Breaker => "breaker",
            Self::Backoff => "backoff",
            Self::Overlap => "overlap",
            Self::Lock => "lock",
            Self::Off => "off",
        }
    }
}

/// What became of one stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageResult {
    /// Its name.
    pub stage: String,
    /// Whether its failure is the run's.
    pub criticality: Criticality,
    /// Whether it did its work.
    pub success: bool,
    /// How many items it says it has made or changed; 0 where it does not say.
    #[serde(default)]
    pub items_updated: u64,
    /// How often it was started.
    pub attempts: u32,
    /// How long the last attempt took, in milliseconds.
    pub duration_ms: u64,
    /// Its exit status, where it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// What went wrong, at most 2000 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The same for machines: its own code, else one of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its id, the value of `LORECTL_RUN_ID`.
    pub id: String,
    /// Who asked for it.
    pub trigger: Trigger,
    /// The request that it answers, where a person asked through a scheduler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// When it began, UTC.
    pub started_at: Timestamp,
    /// How long it took, in milliseconds; suspension of the machine left out.
    pub duration_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Its stages; empty in the list of recent runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageResult>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The same for machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
}

/// A run that is under way, or that ended without a word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrentRun {
    /// Its id.
    pub id: String,
    /// Who asked for it.
    pub trigger: Trigger,
    /// When it began, UTC.
    pub started_at: Timestamp,
    /// The runner's process.
    pub pid: u32,
    /// When that process started, in clock ticks since boot.
    pub pid_started: u64,
    /// The boot that it belongs to.
    pub boot_id: String,
}

/// Why nothing runs until a person says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// For people.
    pub reason: String,
    /// For machines: `MANUAL`, or the code of the error that waiting does not mend.
    pub code: String,
    /// Since when, UTC.
    pub at: Timestamp,
    /// By whom: a user's name, or `lorectl`.
    pub by: String,
}

/// The code of a pause that a person asked for.
pub const MANUAL: &str = "MANUAL";

/// A breaker that has tripped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tripped {
    /// When it tripped, or when its last probe failed, UTC.
    pub opened_at: Timestamp,
    /// The last failure, for people.
    pub last_error: String,
}

/// The last error, for as long as nothing has succeeded since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// For machines.
    pub code: String,
    /// For people.
    pub message: String,
    /// When, UTC.
    pub at: Timestamp,
}

/// A run that did not take place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip {
    /// When that was decided, UTC.
    pub at: Timestamp,
    /// Why.
    pub reason: SkipReason,
    /// Who had asked for the run.
    pub trigger: Trigger,
    /// The request that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The scheduled instant that is thereby done with, UTC; none where it stays due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumed: Option<Timestamp>,
    /// What lifts the reason at an instant, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// The whole of `status.json`. All instants are UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of this format.
    pub schema_version: u32,
    /// When the service was created, or created anew over what an earlier one left.
    pub created_at: Timestamp,
    /// When this was last written.
    pub updated_at: Timestamp,
    /// The last run, with its stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<RunRecord>,
    /// The last runs, newest first, at most [`REMEMBERED`].
    #[serde(default)]
    pub recent_runs: Vec<RunRecord>,
    /// Transient failures in a row.
    #[serde(default)]
    pub consecutive_failures: u32,
    /// Before when nothing runs after a transient failure; drawn once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_retry_at: Option<Timestamp>,
    /// Whether that instant is one that the other side asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retry_after: bool,
    /// Why nothing runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// The breaker, when it has tripped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<Tripped>,
    /// The last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// The run under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_run: Option<CurrentRun>,
    /// When a run last started because it was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scheduled_start: Option<Timestamp>,
    /// The id of the last occurrence of a cron schedule that was dealt with: its instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_occurrence: Option<Timestamp>,
    /// The schedule that these two belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// From when that schedule counts, where it was changed since the service was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_since: Option<Timestamp>,
    /// How many runs did not take place, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped: BTreeMap<SkipReason, u64>,
    /// The last that did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_skip: Option<Skip>,
    /// The trouble that others were told of, while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

impl Status {
    /// The status of a service that never ran.
    pub const fn new(created_at: Timestamp) -> Self {
        Self {
            schema_version: STATUS_VERSION,
            created_at,
            updated_at: created_at,
            last_run: None,
            recent_runs: Vec::new(),
            consecutive_failures: 0,
            next_retry_at: None,
            retry_after: false,
            paused: None,
            breaker: None,
            last_error: None,
            current_run: None,
            last_scheduled_start: None,
            last_occurrence: None,
            schedule: None,
            schedule_since: None,
            skipped: BTreeMap::new(),
            last_skip: None,
            trouble: None,
        }
    }

    /// The state at `now`; `run_is_alive` says whether the process of `current_run` still runs.
    pub fn state(&self, service: &Service, now: Timestamp, run_is_alive: bool) -> State {
        match &self.current_run {
            Some(_) if run_is_alive => State::Running,
            Some(_) => State::RunningStale,
            None => self.resting_state(service, now),
        }
    }

    /// The state at `now` if no run is under way.
    pub fn resting_state(&self, service: &Service, now: Timestamp) -> State {
        if self.paused.is_some() {
            return State::Paused;
        }
        match self.gate(service, now) {
            Gate::Open { .. } => return State::Paused,
            Gate::HalfOpen => return State::HalfOpen,
            Gate::Closed => {}
        }
        if self.next_retry_at.is_some() {
            return State::Backoff;
        }
        match self.last_run.as_ref().map(|run| run.outcome) {
            Some(Outcome::Degraded) => State::Degraded,
            Some(Outcome::Success | Outcome::Failed) | None => State::Idle,
        }
    }

    /// What the breaker lets through.
    pub fn gate(&self, service: &Service, now: Timestamp) -> Gate {
        let opened_at = self.breaker.as_ref().map(|tripped| tripped.opened_at);
        service.breaker.policy().gate(opened_at, now)
    }

    /// Until when it backs off, if it still does at `now`.
    pub fn backing_off(&self, service: &Service, now: Timestamp) -> Option<Timestamp> {
        let policy = service.retry.policy();
        self.next_retry_at.filter(|at| policy.is_waiting(*at, now))
    }

    /// When the last run is made up for, having failed for now: the instant that was drawn, ahead or
    /// past. It is then due whatever its schedule says.
    ///
    /// None where nothing is to be made up for: there is a pause or a tripped breaker, the instant was
    /// drawn before the clock was put back, or `catch_up = "skip"` and it passed while nothing woke us.
    pub fn retry_at(&self, service: &Service, now: Timestamp) -> Option<Timestamp> {
        let at = self.next_retry_at?;
        if self.paused.is_some() || self.breaker.is_some() {
            return None;
        }
        let policy = service.retry.policy();
        if at > now && !policy.is_waiting(at, now) {
            return None;
        }
        let late = now.seconds_since(at);
        let in_time = schedule::in_time(service.splay).saturating_add(policy.base.signed());
        (service.catch_up == CatchUp::Once || late <= in_time).then_some(at)
    }

    /// Remembers a run as the last one.
    pub fn record(&mut self, run: RunRecord) {
        let mut summary = run.clone();
        summary.stages = Vec::new();
        self.recent_runs.insert(0, summary);
        self.recent_runs.truncate(REMEMBERED);
        self.last_run = Some(run);
    }

    /// Counts a run that did not take place.
    pub fn skip(&mut self, skip: Skip) {
        let count = self.skipped.entry(skip.reason).or_default();
        *count = count.saturating_add(1);
        if let Some(consumed) = skip.consumed {
            self.consume(consumed);
        }
        self.last_skip = Some(skip);
    }

    /// Takes note of the schedule that the service has now; another one than before counts from
    /// `changed_at`, and what was dealt with under the old one is not its.
    pub fn adopt(&mut self, schedule: &Schedule, changed_at: Timestamp) {
        if self
            .schedule
            .as_ref()
            .is_some_and(|known| known != schedule)
        {
            self.last_scheduled_start = None;
            self.last_occurrence = None;
            self.schedule_since = Some(changed_at);
        }
        self.schedule = Some(schedule.clone());
    }

    /// Marks a scheduled instant as done with.
    pub fn consume(&mut self, at: Timestamp) {
        match self.schedule {
            Some(Schedule::Cron { .. }) => self.last_occurrence = Some(at),
            Some(Schedule::Every(_)) | None => self.last_scheduled_start = Some(at),
        }
    }

    /// Forgets failures: after a success, and when a person resumes.
    pub fn clear_failures(&mut self) {
        self.consecutive_failures = 0;
        self.next_retry_at = None;
        self.retry_after = false;
        self.breaker = None;
        self.last_error = None;
    }
}

impl super::definition::Retry {
    /// The pure policy.
    pub const fn policy(self) -> retry::Backoff {
        retry::Backoff {
            base: self.base,
            max: self.max,
        }
    }
}

impl super::definition::Breaker {
    /// The pure policy.
    pub const fn policy(self) -> retry::Breaker {
        retry::Breaker {
            failures: self.failures,
            cooldown: self.cooldown,
        }
    }
}

/// A message cut to what is kept, at a character's edge.
pub fn message(text: &str) -> String {
    let text = text.trim();
    let mut end = text.len().min(MESSAGE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}
