//! `lorectl service status NAME`: one service in full.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::super::{
    canvas::{Canvas, Line},
    state::{Held, RunOutcome, State},
    style::{Paint, Style},
    text, time,
};
use super::data::{FireData, SkipData, StatusData};
use crate::id::Timestamp;

/// One service in full; as JSON it is [`StatusData`].
#[derive(Debug, Clone, Serialize)]
#[serde(into = "StatusData")]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// The project.
    pub project: String,
    /// When all this was so, UTC.
    pub at: Timestamp,
    /// Whether it was applied here; if not, little else is known.
    pub installed: bool,
    /// Its mark on the host.
    pub service_id: Option<String>,
    /// Its line of description.
    pub description: Option<String>,
    /// What it is up to, as people read it.
    pub state: State,
    /// The same for scripts.
    pub scheduler_state: String,
    /// Why it does not run as scheduled, if it does not.
    pub held: Option<Held>,
    /// Why it is paused, by a person, an error or the open breaker.
    pub paused_reason: Option<String>,
    /// What a failure makes it wait for.
    pub backoff: Option<Backoff>,
    /// Its schedule in words.
    pub schedule: Option<String>,
    /// The interval of an `every`.
    pub interval_seconds: Option<u64>,
    /// The profile that chooses its stages.
    pub profile: Option<String>,
    /// Who wakes it.
    pub platform: Option<String>,
    /// Whether that one has it.
    pub platform_state: PlatformState,
    /// Whom it runs as, where the scheduler can choose.
    pub user: Option<String>,
    /// The next runs, UTC.
    pub next_runs: Vec<Timestamp>,
    /// The same in the zone of the schedule, and what changes of its offset do to them.
    pub next_fires: Vec<FireData>,
    /// The same in words, where the schedule has a zone.
    pub next_in_zone: Option<String>,
    /// Since when a run is under way, UTC.
    pub running_since: Option<Timestamp>,
    /// Runs, the latest first; the latest with its stages.
    pub runs: Vec<Run>,
    /// Transient failures in a row.
    pub consecutive_failures: u32,
    /// How many runs did not take place, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// The last that did not.
    pub last_skip: Option<SkipData>,
    /// At which levels the host differs from what was applied; `None` where it could not be told.
    pub drift: Option<Levels>,
    /// The unit that the scheduler knows it by, where there is one.
    pub unit: Option<String>,
    /// Whom of those that hear of it the last news has not reached.
    pub undelivered: Vec<Undelivered>,
    /// What else should be known.
    pub notes: Vec<String>,
}

/// Whether a scheduler has what was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlatformState {
    /// It has, and wakes it.
    Loaded,
    /// It has not, or does not wake it.
    Unloaded,
    /// It does not answer.
    Unknown,
}

impl PlatformState {
    /// The word in a list.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Unloaded => "unloaded",
            Self::Unknown => "unknown",
        }
    }
}

/// Someone whom news has not reached.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Undelivered {
    /// The name in `[notify]`; `ping` for the dead-man's switch.
    pub to: String,
    /// How many notifications wait to be sent again.
    pub waiting: u64,
    /// How many were given up since one was last taken.
    pub given_up: u64,
    /// Why the last try failed.
    pub last_error: Option<String>,
    /// When the next try is made, at the first wake-up or apply from then on, UTC.
    #[schemars(with = "Option<String>")]
    pub next_try: Option<Timestamp>,
}

/// What a failure makes a service wait for.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Backoff {
    /// Transient failures in a row.
    pub consecutive_failures: u32,
    /// When it is tried again: after the wait that was drawn, or the breaker's cooldown. UTC.
    #[schemars(with = "Option<String>")]
    pub next_retry_iso: Option<Timestamp>,
    /// In how many seconds that is; 0 when it has passed.
    pub remaining_seconds: u64,
    /// Why then: `retry_after`, where the job asked for that instant; `drawn` for the wait that grows;
    /// `breaker`.
    pub backoff_reason: &'static str,
    /// Whether a tripped breaker lets one probe through.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub circuit_breaker_cooldown_expired: bool,
    /// The same in words.
    pub message: String,
}

/// At which levels the host differs from what was applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Levels {
    /// Loaded, enabled, active, drop-ins.
    pub platform_drift: bool,
    /// The bytes of the units and of `run.json`.
    pub spec_drift: bool,
    /// The command line, or the program it names.
    pub command_drift: bool,
}

impl Levels {
    /// The levels in words.
    pub fn levels(self) -> Vec<String> {
        let all = [
            (self.platform_drift, "platform"),
            (self.spec_drift, "definition"),
            (self.command_drift, "command"),
        ];
        all.into_iter()
            .filter(|(is, _)| *is)
            .map(|(_, word)| word.to_owned())
            .collect()
    }
}

/// One run.
#[derive(Debug, Clone)]
pub struct Run {
    /// When it began, UTC.
    pub started_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// How it ended.
    pub outcome: RunOutcome,
    /// What went wrong, or why it was skipped.
    pub error: Option<String>,
    /// Its stages, in order.
    pub stages: Vec<Stage>,
}

/// One stage of a run.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub outcome: RunOutcome,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Whether its failure would only degrade the run.
    pub optional: bool,
    /// What it says it updated.
    pub items_updated: Option<u64>,
    /// What went wrong.
    pub error: Option<String>,
    /// The same for machines.
    pub error_code: Option<String>,
}

const COLUMN: usize = 14;
/// Runs that are listed below the last one.
const RECENT: usize = 5;

/// The service as text.
pub fn render(status: &ServiceStatus, style: &Style) -> String {
    let mut canvas = Canvas::new(style);
    let mut head = Line::new()
        .put(status.state.paint(), status.state.mark(style))
        .plain(" ")
        .put(Paint::Strong, format!("service.{}", status.name))
        .plain("  ")
        .put(status.state.paint(), status.state.as_str());
    if let Some(description) = &status.description {
        head = head.plain("  ").put(Paint::Dim, description);
    }
    canvas.line(&head, 2);
    if let Some(held) = &status.held {
        row(&mut canvas, "held", &held.line(status.at));
    }
    if status.installed {
        schedule(&mut canvas, status);
    }
    if let Some(since) = status.running_since {
        let text = format!("since {}", time::when(status.at, since));
        row(&mut canvas, "running", &Line::new().put(Paint::Good, text));
    }
    if let Some(last) = status.runs.first() {
        last_run(&mut canvas, status, last);
    }
    if status.consecutive_failures > 0 {
        let text = format!("{} in a row", status.consecutive_failures);
        row(&mut canvas, "failures", &Line::new().put(Paint::Bad, text));
    }
    let drift = status.drift.unwrap_or_default().levels();
    if !drift.is_empty() {
        let text = format!("{}; `lorectl drift` shows the fields", text::list(&drift));
        row(&mut canvas, "drift", &Line::new().put(Paint::Warning, text));
    }
    if let Some(unit) = &status.unit {
        row(&mut canvas, "unit", &Line::new().plain(unit));
    }
    if !status.skipped.is_empty() {
        let counts = status.skipped.iter();
        let counts: Vec<String> = counts
            .map(|(why, count)| format!("{count} ({why})"))
            .collect();
        let mut text = counts.join(", ");
        if let Some(last) = &status.last_skip {
            let when = time::when(status.at, last.timestamp_iso);
            text = format!("{text}; the last {when}: {}", last.reason);
        }
        row(&mut canvas, "not run", &Line::new().plain(text));
    }
    for own in &status.undelivered {
        row(&mut canvas, "not told", &undelivered(status.at, own));
    }
    for note in &status.notes {
        row(&mut canvas, "note", &Line::new().plain(note));
    }
    recent(&mut canvas, status);
    canvas.finish()
}

/// Whom news has not reached, and why.
pub fn undelivered(now: Timestamp, own: &Undelivered) -> Line {
    let mut parts = Vec::new();
    if own.waiting > 0 {
        parts.push(format!("{} waiting", own.waiting));
    }
    if own.given_up > 0 {
        parts.push(format!("{} given up", own.given_up));
    }
    parts.extend(own.last_error.clone());
    if let Some(next) = own.next_try {
        parts.push(format!("next try {}", time::when(now, next)));
    }
    Line::new()
        .plain(&own.to)
        .plain("  ")
        .put(Paint::Warning, parts.join("; "))
}

fn row(canvas: &mut Canvas<'_>, name: &str, value: &Line) {
    let line = Line::indented(2)
        .put(Paint::Dim, name)
        .pad_to(COLUMN)
        .join(value.clone());
    canvas.line(&line, COLUMN);
}

fn schedule(canvas: &mut Canvas<'_>, status: &ServiceStatus) {
    let text = status.schedule.as_deref().unwrap_or_default();
    row(canvas, "schedule", &Line::new().plain(text));
    let mut next = Line::new();
    for (at, run) in status.next_runs.iter().enumerate() {
        if let Some(text) = &status.next_in_zone {
            let first = time::relative(status.at, *run);
            next = next.plain(text).plain("; the first ").plain(first);
            break;
        }
        next = if at == 0 {
            next.whole(Paint::Plain, time::when(status.at, *run))
        } else {
            next.put(Paint::Dim, "; ")
                .whole(Paint::Dim, time::clock(status.at, *run))
        };
    }
    if status.next_runs.is_empty() {
        next = next.put(Paint::Dim, "none");
    }
    row(canvas, "next runs", &next);
    let text = status.platform.as_deref().unwrap_or_default();
    let mut scheduler = Line::new().plain(text);
    if let Some(user) = &status.user {
        scheduler = scheduler.plain(format!(", as {user}"));
    }
    if status.platform_state != PlatformState::Loaded {
        let text = format!(", {}", status.platform_state.as_str());
        scheduler = scheduler.put(Paint::Warning, text);
    }
    row(canvas, "scheduler", &scheduler);
    if let Some(profile) = &status.profile {
        row(canvas, "profile", &Line::new().plain(profile));
    }
}

/// A run's outcome with when and how long, then its stages.
fn last_run(canvas: &mut Canvas<'_>, status: &ServiceStatus, run: &Run) {
    let mut line = Line::new()
        .put(run.outcome.paint(), run.outcome.as_str())
        .plain(format!(", {}", time::when(status.at, run.started_at)));
    if run.outcome != RunOutcome::Skipped {
        line = line.plain(format!(", took {}", time::elapsed(run.duration_ms)));
    }
    row(canvas, "last run", &line);
    if let Some(error) = &run.error {
        row(canvas, "", &Line::new().put(run.outcome.paint(), error));
    }
    stages(canvas, run, COLUMN);
}

/// The stages of a run, one line each.
pub(super) fn stages(canvas: &mut Canvas<'_>, run: &Run, indent: usize) {
    let widths = run.stages.iter().map(|stage| text::width(&stage.name));
    let widest = widths.max().unwrap_or(0).min(24);
    for stage in &run.stages {
        let glyphs = canvas.style().glyphs();
        let mark = match stage.outcome {
            RunOutcome::Success => glyphs.done,
            RunOutcome::Degraded => "!",
            RunOutcome::Failed => glyphs.failed,
            RunOutcome::Skipped => glyphs.dot,
        };
        let mut line = Line::indented(indent)
            .put(stage.outcome.paint(), mark)
            .plain(" ")
            .plain(&stage.name)
            .plain(" ")
            .pad_to(indent + 2 + widest + 2);
        line = match stage.outcome {
            RunOutcome::Skipped => line.put(Paint::Dim, "not run"),
            RunOutcome::Success | RunOutcome::Degraded | RunOutcome::Failed => {
                line.put(Paint::Dim, time::elapsed(stage.duration_ms))
            }
        };
        if let Some(items) = stage.items_updated {
            let items = usize::try_from(items).unwrap_or(usize::MAX);
            line = line.plain(format!("  {} updated", text::count(items, "item")));
        }
        if let Some(error) = &stage.error {
            line = line.plain("  ").put(stage.outcome.paint(), error);
        }
        if stage.optional {
            line = line.put(Paint::Dim, " (optional)");
        }
        canvas.line(&line, indent + 2 + widest + 2);
    }
}

fn recent(canvas: &mut Canvas<'_>, status: &ServiceStatus) {
    let recent = status.runs.get(1..).unwrap_or_default();
    if recent.is_empty() {
        return;
    }
    canvas.gap();
    canvas.line(&Line::indented(2).put(Paint::Dim, "before that"), 2);
    for run in recent.iter().take(RECENT) {
        let line = Line::indented(COLUMN)
            .put(run.outcome.paint(), format!("{:<9}", run.outcome.as_str()))
            .plain(format!("{:<14}", time::clock(status.at, run.started_at)))
            .plain(" ");
        let line = match (&run.error, run.outcome) {
            (Some(error), _) => line.plain(error),
            (None, RunOutcome::Skipped) => line,
            (None, _) => line.put(Paint::Dim, time::elapsed(run.duration_ms)),
        };
        canvas.line(&line, COLUMN + 24);
    }
}

impl super::super::View for ServiceStatus {
    fn text(&self, style: &Style) -> String {
        render(self, style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture::{self, snapshot};

    #[test]
    fn one_service_in_full() {
        let status = fixture::service_status();
        snapshot("service-status", &render(&status, &Style::PLAIN));
        let new = ServiceStatus {
            description: None,
            state: State::New,
            held: None,
            user: None,
            running_since: None,
            runs: Vec::new(),
            consecutive_failures: 0,
            drift: None,
            unit: None,
            skipped: BTreeMap::new(),
            last_skip: None,
            undelivered: Vec::new(),
            notes: Vec::new(),
            ..status
        };
        let nightly = ServiceStatus {
            schedule: Some("30 2 * * *   Europe/Paris".to_owned()),
            next_in_zone: Some("Sat 02:30, Sun 02:30, Mon 02:30 CET".to_owned()),
            ..new.clone()
        };
        let text = render(&new, &Style::PLAIN) + &render(&nightly, &Style::PLAIN);
        snapshot("service-status-new", &text);
    }
}
