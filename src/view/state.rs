//! What a resource is up to, in a word: the vocabulary of `status` and the `service` commands.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    canvas::Line,
    lift,
    style::{Paint, Style},
    time,
};
use crate::{
    id::Timestamp,
    resource::{Hold, Lift},
};

/// A resource's state, the worst first: that is their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The last run failed, and the next one comes as scheduled.
    Failed,
    /// A person must resume it.
    Paused,
    /// It was applied and is not on the host.
    Missing,
    /// Its issuer does not take it any more.
    Dead,
    /// Something that is not ours has its name.
    Conflict,
    /// It could not be told.
    Unknown,
    /// A run began and its process is gone, or it is over its time.
    RunningStale,
    /// The host differs from what was applied.
    Drifted,
    /// Failures make it wait.
    Backoff,
    /// One run is let through to see whether it works again.
    HalfOpen,
    /// It ends soon.
    Expiring,
    /// It may do less than is asked for.
    UnderScoped,
    /// What is to be done to it is held.
    Held,
    /// An optional stage of the last run failed.
    Degraded,
    /// A run is under way.
    Running,
    /// It has ended, or soon does, and is renewed before the run that needs it.
    Resting,
    /// Applied, and it has not run yet.
    New,
    /// It was not applied here.
    NotInstalled,
    /// All is well.
    Idle,
    /// There is a value, and nothing speaks against it.
    Provisioned,
}

impl State {
    /// The word in a list.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Paused => "paused",
            Self::Missing => "missing",
            Self::Dead => "dead",
            Self::Conflict => "conflict",
            Self::Unknown => "unknown",
            Self::RunningStale => "stale run",
            Self::Drifted => "drifted",
            Self::Backoff => "backoff",
            Self::HalfOpen => "half-open",
            Self::Expiring => "expiring",
            Self::UnderScoped => "under-scoped",
            Self::Held => "held",
            Self::Degraded => "degraded",
            Self::Running => "running",
            Self::Resting => "resting",
            Self::New => "new",
            Self::NotInstalled => "not installed",
            Self::Idle => "idle",
            Self::Provisioned => "provisioned",
        }
    }

    /// Its colour.
    pub const fn paint(self) -> Paint {
        match self {
            Self::Failed | Self::Paused | Self::Missing | Self::Dead | Self::Conflict => Paint::Bad,
            Self::Unknown | Self::RunningStale => Paint::Grave,
            Self::Drifted
            | Self::Backoff
            | Self::HalfOpen
            | Self::Degraded
            | Self::Expiring
            | Self::UnderScoped => Paint::Warning,
            Self::Held => Paint::Held,
            Self::Running | Self::Idle | Self::Provisioned => Paint::Good,
            Self::Resting | Self::New | Self::NotInstalled => Paint::Dim,
        }
    }

    /// The mark in front of a line.
    pub const fn mark(self, style: &Style) -> &'static str {
        let glyphs = style.glyphs();
        match self {
            Self::Failed | Self::Paused | Self::Missing | Self::Dead | Self::Conflict => {
                glyphs.failed
            }
            Self::Unknown | Self::RunningStale => "?",
            Self::Drifted
            | Self::Backoff
            | Self::HalfOpen
            | Self::Degraded
            | Self::Expiring
            | Self::UnderScoped => "!",
            Self::Held | Self::Resting | Self::New | Self::NotInstalled => glyphs.dot,
            Self::Running => glyphs.running,
            Self::Idle | Self::Provisioned => glyphs.done,
        }
    }

    /// Whether a person should look.
    pub const fn needs_attention(self) -> bool {
        match self {
            Self::Failed
            | Self::Paused
            | Self::Missing
            | Self::Dead
            | Self::Conflict
            | Self::Unknown
            | Self::RunningStale
            | Self::Drifted
            | Self::Backoff
            | Self::HalfOpen
            | Self::Degraded
            | Self::Expiring
            | Self::UnderScoped => true,
            Self::Held
            | Self::Resting
            | Self::Running
            | Self::New
            | Self::NotInstalled
            | Self::Idle
            | Self::Provisioned => false,
        }
    }
}

/// How a run or a stage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// All stages succeeded.
    Success,
    /// An optional stage failed.
    Degraded,
    /// It failed.
    Failed,
    /// It did not run.
    Skipped,
}

impl RunOutcome {
    /// The word in a list.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    /// Its colour.
    pub const fn paint(self) -> Paint {
        match self {
            Self::Success => Paint::Good,
            Self::Degraded => Paint::Warning,
            Self::Failed => Paint::Bad,
            Self::Skipped => Paint::Dim,
        }
    }
}

/// The last run, as a list shows it.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct LastRun {
    /// How it ended.
    pub outcome: RunOutcome,
    /// When it ended, UTC.
    #[schemars(with = "String")]
    pub ended_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// Why something is not done, and what lifts that.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Held {
    /// Why.
    pub reason: String,
    /// The instant that lifts it, UTC, where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
    /// What lifts it otherwise: a command, or the end of something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifted_by: Option<String>,
}

impl Held {
    /// A plan's hold.
    pub fn of(hold: &Hold) -> Self {
        let (until, lifted_by) = match &hold.lift {
            Lift::At { at } => (Some(*at), None),
            Lift::Later { what } => (None, Some(what.clone())),
            Lift::ByHand { how } => (None, Some(how.clone())),
        };
        Self {
            reason: hold.reason.clone(),
            until,
            lifted_by,
        }
    }

    /// The reason and what lifts it.
    pub fn line(&self, now: Timestamp) -> Line {
        let mut line = Line::new().plain(&self.reason);
        if let Some(until) = self.until {
            line = line
                .plain("; ")
                .put(Paint::Held, "lifts ")
                .whole(Paint::Held, time::when(now, until));
        }
        if let Some(lifted_by) = &self.lifted_by {
            line = line
                .plain("; ")
                .put(Paint::Held, format!("{}{lifted_by}", lift::BY_HAND));
        }
        line
    }
}
