//! `lorectl service trigger NAME`: how the run ended, or why there was none.

use serde::Serialize;

use super::{
    super::{
        canvas::{Canvas, Line},
        state::{Held, RunOutcome},
        style::{Paint, Style},
        time,
    },
    data::TriggerData,
    status::{Run, stages},
};
use crate::id::Timestamp;

/// What became of a wake-up or of a request for a run; as JSON it is [`TriggerData`].
#[derive(Debug, Clone, Serialize)]
#[serde(into = "TriggerData")]
pub struct Trigger {
    /// The service's name.
    pub name: String,
    /// When this was so, UTC.
    pub at: Timestamp,
    /// What was done, for scripts.
    pub action: String,
    /// How it ended; `skipped` when it did not run.
    pub outcome: RunOutcome,
    /// The run, where there was one.
    pub run: Option<Run>,
    /// Why it did not run.
    pub held: Option<Held>,
    /// The profile that chooses its stages.
    pub profile: Option<String>,
    /// Transient failures in a row.
    pub consecutive_failures: u32,
    /// Why it failed or did not run, for scripts.
    pub reason: Option<String>,
    /// The same for people.
    pub message: Option<String>,
    /// What helps.
    pub suggestion: Option<String>,
    /// When the reason lifts by itself, UTC.
    pub next_retry: Option<Timestamp>,
    /// In how many seconds that is.
    pub remaining_seconds: Option<u64>,
    /// When it is due next, where it was not, UTC.
    pub next_due: Option<Timestamp>,
    /// What should be known besides.
    pub warnings: Vec<String>,
}

/// The result as text.
pub fn render(trigger: &Trigger, style: &Style) -> String {
    let mut canvas = Canvas::new(style);
    let mut line = Line::new()
        .put(Paint::Strong, format!("service.{}", trigger.name))
        .plain(": ")
        .put(trigger.outcome.paint(), trigger.outcome.as_str());
    if let Some(run) = &trigger.run {
        line = line.plain(format!(" in {}", time::elapsed(run.duration_ms)));
        if let Some(error) = &run.error {
            line = line.plain("; ").plain(error);
        }
    }
    if let Some(held) = &trigger.held {
        // What the run ended with is what pauses it, and is said already.
        let error = trigger.run.as_ref().and_then(|run| run.error.as_ref());
        let held = Held {
            reason: match error {
                Some(error) if *error == held.reason => "the service is paused".to_owned(),
                Some(_) | None => held.reason.clone(),
            },
            ..held.clone()
        };
        line = line.plain("; ").join(held.line(trigger.at));
    }
    canvas.line(&line.plain("."), 2);
    if let Some(run) = &trigger.run {
        stages(&mut canvas, run, 2);
    }
    if trigger.outcome == RunOutcome::Failed {
        let help = format!(
            "`lorectl service logs {}` shows what it printed",
            trigger.name
        );
        let line = Line::indented(2).put(Paint::Good, "help: ").plain(help);
        canvas.line(&line, 8);
    }
    canvas.finish()
}

impl super::super::View for Trigger {
    fn text(&self, style: &Style) -> String {
        render(self, style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture::{self, snapshot};

    #[test]
    fn a_run_says_how_it_ended_and_none_says_why() {
        let runs = fixture::service_status().runs;
        let trigger = |outcome, run: Option<Run>| Trigger {
            action: "run_completed".to_owned(),
            outcome,
            run,
            ..fixture::trigger()
        };
        let mut text = render(
            &trigger(RunOutcome::Degraded, runs.first().cloned()),
            &Style::PLAIN,
        );
        text += &render(
            &trigger(RunOutcome::Failed, runs.get(1).cloned()),
            &Style::PLAIN,
        );
        text += &render(
            &Trigger {
                held: Some(Held {
                    reason: "it is backing off after 3 failures".to_owned(),
                    until: Some(fixture::now().plus_seconds(1800)),
                    lifted_by: None,
                }),
                ..trigger(RunOutcome::Skipped, None)
            },
            &Style::PLAIN,
        );
        snapshot("service-trigger", &text);
    }
}
