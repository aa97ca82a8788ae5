//! `lorectl service status NAME`: one service in full.

use schemars::JsonSchema;
use serde::Serialize;

use super::super::{
    canvas::{Canvas, Line},
    state::{Held, RunOutcome, State},
    style::{Paint, Style},
    text, time,
};
use crate::id::Timestamp;

/// One service in full.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl service status --json` prints as data")]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// The project.
    pub project: String,
    /// When all this was so, UTC.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Its line of description.
    pub description: Option<String>,
    /// What it is up to.
    pub state: State,
    /// Why it does not run as scheduled, if it does not.
    pub held: Option<Held>,
    /// Its schedule in words.
    pub schedule: String,
    /// Who wakes it.
    pub scheduler: String,
    /// Whom it runs as, where the scheduler can choose.
    pub user: Option<String>,
    /// The next runs, UTC.
    #[schemars(with = "Vec<String>")]
    pub next_runs: Vec<Timestamp>,
    /// Since when a run is under way, UTC.
    #[schemars(with = "Option<String>")]
    pub running_since: Option<Timestamp>,
    /// Runs, the latest first.
    pub runs: Vec<Run>,
    /// Transient failures in a row.
    pub consecutive_failures: u32,
    /// The levels at which the host differs from what was applied.
    pub drift: Vec<String>,
    /// The unit that the scheduler knows it by, where there is one.
    pub unit: Option<String>,
    /// What else should be known.
    pub notes: Vec<String>,
}

/// One run.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Run {
    /// When it began, UTC.
    #[schemars(with = "String")]
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
#[derive(Debug, Clone, Serialize, JsonSchema)]
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
    schedule(&mut canvas, status);
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
    if !status.drift.is_empty() {
        let text = format!(
            "{}; `lorectl drift` shows the fields",
            text::list(&status.drift)
        );
        row(&mut canvas, "drift", &Line::new().put(Paint::Warning, text));
    }
    if let Some(unit) = &status.unit {
        row(&mut canvas, "unit", &Line::new().plain(unit));
    }
    for note in &status.notes {
        row(&mut canvas, "note", &Line::new().plain(note));
    }
    recent(&mut canvas, status);
    canvas.finish()
}

fn row(canvas: &mut Canvas<'_>, name: &str, value: &Line) {
    let line = Line::indented(2)
        .put(Paint::Dim, name)
        .pad_to(COLUMN)
        .join(value.clone());
    canvas.line(&line, COLUMN);
}

fn schedule(canvas: &mut Canvas<'_>, status: &ServiceStatus) {
    row(canvas, "schedule", &Line::new().plain(&status.schedule));
    let mut next = Line::new();
    for (at, run) in status.next_runs.iter().enumerate() {
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
    let mut scheduler = Line::new().plain(&status.scheduler);
    if let Some(user) = &status.user {
        scheduler = scheduler.plain(format!(", as {user}"));
    }
    row(canvas, "scheduler", &scheduler);
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
            drift: Vec::new(),
            unit: None,
            notes: Vec::new(),
            ..status
        };
        snapshot("service-status-new", &render(&new, &Style::PLAIN));
    }
}
