//! `lorectl service trigger NAME`: how the run ended, or why there was none.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    super::{
        canvas::{Canvas, Line},
        state::{Held, RunOutcome},
        style::{Paint, Style},
        time,
    },
    status::{Run, stages},
};
use crate::id::Timestamp;

/// A triggered run.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl service trigger --json` prints as data")]
pub struct Trigger {
    /// The service's name.
    pub name: String,
    /// When this was so, UTC.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// How it ended; `skipped` when it did not run.
    pub outcome: RunOutcome,
    /// The run, where there was one.
    pub run: Option<Run>,
    /// Why it did not run.
    pub held: Option<Held>,
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
            name: "sync".to_owned(),
            at: fixture::now(),
            outcome,
            run,
            held: None,
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
