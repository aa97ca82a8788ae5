//! `lorectl status`: one line a resource, the worst first.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    canvas::{Canvas, Line},
    state::{Held, LastRun, State},
    style::{Paint, Style},
    table::{Column, Table},
    text, time,
};
use crate::id::{Address, Kind, Timestamp};

/// What `lorectl status` shows.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl status --json` prints as data")]
pub struct Status {
    /// The project.
    pub project: String,
    /// The host's name.
    pub host: String,
    /// The serial of the state; 0 when there is none.
    pub serial: u64,
    /// When all this was so, UTC.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The resources, in the order that [`Status::sort`] gives them.
    pub resources: Vec<Row>,
    /// What concerns no resource: an apply that did not end, a scheduler that does not run.
    pub notes: Vec<String>,
}

/// One resource.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Row {
    /// `service.sync`.
    #[schemars(with = "String")]
    pub address: Address,
    /// What it is up to.
    pub state: State,
    /// When it runs next, or a credential's next value is obtained, UTC.
    #[schemars(with = "Option<String>")]
    pub next_run: Option<Timestamp>,
    /// Its last run.
    pub last_run: Option<LastRun>,
    /// Why what is to be done is not, if so.
    pub held: Option<Held>,
    /// What else should be known: the error of the last run, what drifted.
    pub why: Option<String>,
}

impl Status {
    /// Puts the worst first, and equals in the order of their addresses.
    pub fn sort(&mut self) {
        self.resources
            .sort_by(|a, b| (a.state, &a.address).cmp(&(b.state, &b.address)));
    }
}

const COLUMNS: [Column; 5] = [
    Column {
        title: "RESOURCE",
        spare: 0,
    },
    Column {
        title: "STATE",
        spare: 1,
    },
    Column {
        title: "LAST RUN",
        spare: 2,
    },
    Column {
        title: "TOOK",
        spare: 3,
    },
    Column {
        title: "NEXT RUN",
        spare: 0,
    },
];

/// From this width on, instants are shown in full.
const FULL_WIDTH: usize = 72;

/// The status as text.
pub fn render(status: &Status, style: &Style) -> String {
    let mut canvas = Canvas::new(style);
    for note in &status.notes {
        let line = Line::new().put(Paint::Warning, "! ").plain(note);
        canvas.line(&line, 2);
    }
    canvas.gap();
    if !status.resources.is_empty() {
        // Full instants where all that matters fits, else only how far away they are.
        let full = table(status, style, true);
        if style.columns() >= FULL_WIDTH && full.fits(style) {
            full.draw(&mut canvas);
        } else {
            table(status, style, false).draw(&mut canvas);
        }
    }
    canvas.gap();
    summary(&mut canvas, status);
    canvas.finish()
}

fn table(status: &Status, style: &Style, full: bool) -> Table {
    let when = if full { time::when } else { time::relative };
    let mut table = Table::new(COLUMNS.to_vec(), 0);
    for row in &status.resources {
        let (last, took) = match &row.last_run {
            Some(last) => (
                Line::new()
                    .put(last.outcome.paint(), last.outcome.as_str())
                    .plain(" ")
                    .plain(time::relative(status.at, last.ended_at)),
                Line::new().put(Paint::Dim, time::elapsed(last.duration_ms)),
            ),
            None if row.address.kind == Kind::Credential => (Line::new(), Line::new()),
            None => (Line::new().put(Paint::Dim, "never"), Line::new()),
        };
        let next = match row.next_run {
            // A run is never due for long; a value is until it was obtained.
            Some(next) if row.address.kind == Kind::Credential && next <= status.at => {
                Line::new().plain("due")
            }
            Some(next) => Line::new().plain(when(status.at, next)),
            None => Line::new().put(Paint::Dim, "-"),
        };
        table.row(vec![
            Line::new()
                .put(row.state.paint(), row.state.mark(style))
                .plain(" ")
                .put(Paint::Strong, row.address.to_string()),
            Line::new().put(row.state.paint(), row.state.as_str()),
            last,
            took,
            next,
        ]);
        if let Some(held) = &row.held {
            table.note(held.line(status.at));
        }
        if let Some(why) = &row.why {
            table.note(Line::new().plain(why));
        }
    }
    table
}

/// `12 resources: 1 failed, 1 paused, 10 idle.`
fn summary(canvas: &mut Canvas<'_>, status: &Status) {
    if status.resources.is_empty() {
        let line = Line::new().plain(format!(
            "Nothing is applied for {} on {}. `lorectl plan` shows what would be.",
            status.project, status.host
        ));
        canvas.line(&line, 0);
        return;
    }
    let mut line = Line::new().plain(format!(
        "{} of {} on {}: ",
        text::count(status.resources.len(), "resource"),
        status.project,
        status.host
    ));
    let mut counts: Vec<(State, usize)> = Vec::new();
    let mut sorted: Vec<State> = status.resources.iter().map(|row| row.state).collect();
    sorted.sort_unstable();
    for state in sorted {
        match counts.last_mut() {
            Some((last, count)) if *last == state => *count += 1,
            _ => counts.push((state, 1)),
        }
    }
    for (at, (state, count)) in counts.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        line = line
            .plain(comma)
            .whole(state.paint(), format!("{count} {}", state.as_str()));
    }
    canvas.line(&line.plain("."), 2);
}

impl super::View for Status {
    fn text(&self, style: &Style) -> String {
        render(self, style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture::{self, snapshot};

    #[test]
    fn the_worst_comes_first_and_says_why() {
        let mut status = fixture::status();
        status.sort();
        snapshot("status-80", &render(&status, &Style::PLAIN));
        snapshot("status-120", &render(&status, &Style::PLAIN.at_width(120)));
        snapshot("status-40", &render(&status, &Style::PLAIN.at_width(40)));
    }

    #[test]
    fn an_empty_state_says_so() {
        let status = Status {
            resources: Vec::new(),
            notes: Vec::new(),
            ..fixture::status()
        };
        assert_eq!(
            render(&status, &Style::PLAIN),
            "Nothing is applied for acme on web1. `lorectl plan` shows what would be.\n"
        );
    }
}
