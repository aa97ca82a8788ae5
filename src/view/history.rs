//! `lorectl history`: what was done to a project, the last first.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    View,
    canvas::{Canvas, Line},
    style::{Paint, Style},
    table::{Column, Table},
    time,
};
use crate::{
    apply::history::{Affected, End, Entry},
    id::Timestamp,
};

/// So many resources of one apply are named; the rest is counted.
const NAMED: usize = 6;

/// What `lorectl history` shows.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl history --json` prints as data")]
pub struct History {
    /// The project.
    pub project: String,
    /// The resource that was asked for, if one was.
    pub address: Option<String>,
    /// When this was so, UTC.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// What was done, the last first.
    pub entries: Vec<Entry>,
    /// How many earlier journals there are that were not looked at.
    pub earlier: usize,
}

const COLUMNS: [Column; 6] = [
    Column {
        title: "WHEN",
        spare: 0,
    },
    Column {
        title: "RESULT",
        spare: 0,
    },
    Column {
        title: "TOOK",
        spare: 2,
    },
    Column {
        title: "BY",
        spare: 1,
    },
    Column {
        title: "SPEC",
        spare: 3,
    },
    Column {
        title: "COMMAND",
        spare: 0,
    },
];

fn paint(result: &str) -> Paint {
    match result {
        "applied" | "edited" | "repaired" => Paint::Good,
        "failed" | "undo failed" | "unreadable" => Paint::Bad,
        _ => Paint::Warning,
    }
}

impl View for History {
    fn text(&self, style: &Style) -> String {
        let mut canvas = Canvas::new(style);
        if self.entries.is_empty() {
            let what = self.address.as_ref().unwrap_or(&self.project);
            let line = Line::new().plain(format!("Nothing is recorded of {what} on this host."));
            canvas.line(&line, 0);
            return canvas.finish();
        }
        let full = self.table(style, time::when);
        if full.fits(style) {
            full.draw(&mut canvas);
        } else {
            self.table(style, time::relative).draw(&mut canvas);
        }
        if self.earlier > 0 {
            canvas.gap();
            let more = format!("{} before these; `-n` shows more.", self.earlier);
            let line = Line::new().put(Paint::Dim, more);
            canvas.line(&line, 0);
        }
        canvas.finish()
    }
}

impl History {
    fn table(&self, style: &Style, when: fn(Timestamp, Timestamp) -> String) -> Table {
        let mut table = Table::new(COLUMNS.to_vec(), 0);
        for entry in &self.entries {
            let began = entry.began_at.map(|at| when(self.at, at));
            let dash = || style.glyphs().dot.to_owned();
            let spec = entry.spec_digest.as_ref().map(|digest| {
                let mut short = digest.to_string();
                short.truncate(8);
                short
            });
            table.row(vec![
                Line::new().plain(began.unwrap_or_else(dash)),
                Line::new().put(paint(&entry.result), &entry.result),
                Line::new().put(
                    Paint::Dim,
                    entry.duration_ms.map(time::elapsed).unwrap_or_default(),
                ),
                Line::new().plain(entry.by.as_deref().unwrap_or_default()),
                Line::new().put(Paint::Dim, spec.unwrap_or_default()),
                Line::new().put(Paint::Strong, entry.command.as_deref().unwrap_or(&entry.id)),
            ]);
            for note in notes(entry) {
                table.note(note);
            }
        }
        table
    }
}

/// What became of each resource, those that are as planned on one line.
fn notes(entry: &Entry) -> Vec<Line> {
    let mut notes = Vec::new();
    if let Some(problem) = &entry.problem {
        notes.push(Line::new().put(Paint::Bad, problem));
    }
    let (done, other): (Vec<&Affected>, Vec<&Affected>) =
        (entry.resources.iter()).partition(|one| one.outcome == End::Done);
    if !done.is_empty() {
        notes.push(list(&done));
    }
    for end in [
        End::NotUndone,
        End::Failed,
        End::Unknown,
        End::Held,
        End::Undone,
        End::NotBegun,
    ] {
        let all: Vec<&Affected> = other
            .iter()
            .copied()
            .filter(|one| one.outcome == end)
            .collect();
        let (paint, word) = words(end);
        let (told, plain): (Vec<&Affected>, Vec<&Affected>) =
            all.into_iter().partition(|one| one.message.is_some());
        for one in told.iter().take(NAMED) {
            let message = one.message.as_deref().unwrap_or_default();
            let line = Line::new().put(paint, word).plain(" ");
            notes.push(line.join(named(one)).plain(": ").plain(message));
        }
        if told.len() > NAMED {
            let more = format!(" {} more", told.len() - NAMED);
            notes.push(Line::new().put(paint, word).plain(more));
        }
        if !plain.is_empty() {
            let line = Line::new().put(paint, word).plain(" ");
            notes.push(line.join(list(&plain)));
        }
    }
    notes
}

const fn words(end: End) -> (Paint, &'static str) {
    match end {
        End::Done => (Paint::Good, "done"),
        End::Failed => (Paint::Bad, "failed"),
        End::Undone => (Paint::Warning, "put back"),
        End::NotUndone => (Paint::Bad, "not put back"),
        End::Held => (Paint::Held, "held"),
        End::Unknown => (Paint::Grave, "in doubt"),
        End::NotBegun => (Paint::Dim, "not begun"),
    }
}

fn named(one: &Affected) -> Line {
    let symbol = one.actions.symbol().trim();
    let mark = if symbol.is_empty() {
        String::new()
    } else {
        format!("{symbol} ")
    };
    Line::new().whole(Paint::of(one.actions), format!("{mark}{}", one.address))
}

fn list(all: &[&Affected]) -> Line {
    let mut line = Line::new();
    for (at, one) in all.iter().take(NAMED).enumerate() {
        if at > 0 {
            line = line.plain("  ");
        }
        line = line.join(named(one));
    }
    if all.len() > NAMED {
        line = line.put(Paint::Dim, format!("  and {} more", all.len() - NAMED));
    }
    line
}
