//! A snapshot of a host, in a few lines.

use super::{
    canvas::{Canvas, Line},
    style::{Paint, Style},
    text, time,
};
use crate::{id::Timestamp, observe::snapshot::Snapshot, resource::Seen};

/// What a snapshot holds.
#[derive(Debug, Clone)]
pub struct Observed {
    project: String,
    host: String,
    serial: u64,
    created_at: Timestamp,
    applied: usize,
    gone: usize,
    foreign: Vec<String>,
    in_doubt: Vec<String>,
    strays: usize,
    written: Option<String>,
}

impl Observed {
    /// What there is to say of a snapshot, and of where it was written.
    pub fn of(snapshot: &Snapshot, written: Option<String>) -> Self {
        let seen = &snapshot.observed.resources;
        let gone = snapshot
            .applied
            .keys()
            .filter(|address| !seen.contains_key(address));
        let foreign = seen.iter().filter_map(|(address, seen)| match seen {
            Seen::Foreign { .. } | Seen::Unknown { .. } => Some(address.to_string()),
            Seen::Ours(_) => None,
        });
        Self {
            project: snapshot.project.to_string(),
            host: snapshot.host.clone(),
            serial: snapshot.serial,
            created_at: snapshot.created_at,
            applied: snapshot.applied.len(),
            gone: gone.count(),
            foreign: foreign.collect(),
            in_doubt: snapshot.in_doubt.keys().map(ToString::to_string).collect(),
            strays: snapshot.observed.strays.len(),
            written,
        }
    }

    /// The text for standard output.
    pub fn text(&self, style: &Style) -> String {
        let mut canvas = Canvas::new(style);
        let state = match self.serial {
            0 => "no state yet".to_owned(),
            serial => format!("state {serial}"),
        };
        let dot = style.glyphs().dot;
        let line = Line::new()
            .put(Paint::Strong, &self.project)
            .plain(" on ")
            .put(Paint::Strong, &self.host)
            .plain(" ")
            .whole(
                Paint::Dim,
                format!("{dot} observed {}", time::full(self.created_at)),
            )
            .plain(" ")
            .whole(Paint::Dim, format!("{dot} {state}"));
        canvas.line(&line, 2);
        let mut parts = vec![format!("{} applied", text::count(self.applied, "resource"))];
        if self.gone > 0 {
            parts.push(format!("{} gone from the host", self.gone));
        }
        if !self.foreign.is_empty() {
            parts.push(format!("not ours: {}", text::list(&self.foreign)));
        }
        if !self.in_doubt.is_empty() {
            parts.push(format!("in doubt: {}", text::list(&self.in_doubt)));
        }
        if self.strays > 0 {
            parts.push(format!("{} with our mark in no state", self.strays));
        }
        let written = self.written.as_ref().map_or_else(
            || "`--out FILE` writes the snapshot".to_owned(),
            |file| format!("written to {file}"),
        );
        canvas.line(
            &Line::new().plain(format!("{}; {written}.", parts.join(", "))),
            2,
        );
        canvas.finish()
    }
}
