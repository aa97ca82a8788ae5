//! `lorectl init`: what was written, and what to do next.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    canvas::{Canvas, Line},
    style::{Paint, Style},
};

/// A first spec that was written.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl init --json` prints as data")]
pub struct Initialised {
    /// The file.
    pub path: String,
    /// The project that it declares.
    pub project: String,
}

/// The result as text.
pub fn render(written: &Initialised, style: &Style) -> String {
    let mut canvas = Canvas::new(style);
    let line = Line::new()
        .put(Paint::Good, "Wrote")
        .plain(format!(" {}, project {}.", written.path, written.project));
    canvas.line(&line, 2);
    canvas.line(
        &Line::new().plain("Edit it, then `lorectl plan` shows what applying it would change."),
        2,
    );
    canvas.finish()
}
