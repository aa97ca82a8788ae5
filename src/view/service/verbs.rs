//! `lorectl service pause`, `resume` and `repair`: what was done.

use super::super::{
    View,
    canvas::{Canvas, Line},
    style::{Paint, Style},
};
use crate::{
    id::ResourceName,
    service::{
        doctor::{Report, Verdict},
        verb::{PauseReport, RepairReport, ResumeReport},
    },
};

use serde::Serialize;

/// Where the messages of a doctor begin.
const COLUMN: usize = 31;

impl View for Report {
    fn text(&self, style: &Style) -> String {
        let mut canvas = Canvas::new(style);
        for check in &self.checks {
            let (paint, word) = match check.status {
                Verdict::Pass => (Paint::Good, "pass"),
                Verdict::Fixed => (Paint::Good, "fixed"),
                Verdict::Warn => (Paint::Warning, "warn"),
                Verdict::Fail => (Paint::Bad, "fail"),
            };
            let mut line = Line::new()
                .put(paint, word)
                .pad_to(7)
                .put(Paint::Strong, check.name)
                .pad_to(COLUMN);
            if let Some(message) = &check.message {
                line = line.plain(message);
            }
            canvas.line(&line, COLUMN);
            if let Some(action) = &check.action {
                let help = Line::indented(COLUMN)
                    .put(Paint::Good, "help: ")
                    .plain(action);
                canvas.line(&help, COLUMN + 6);
            }
        }
        canvas.finish()
    }
}

/// That a service is not there, where that is no error.
#[derive(Debug, Serialize)]
pub struct NotInstalled {
    service: String,
    installed: bool,
    was_paused: bool,
    message: String,
}

impl NotInstalled {
    /// Of that name.
    pub fn new(service: &ResourceName) -> Self {
        Self {
            service: service.to_string(),
            installed: false,
            was_paused: false,
            message: "it is not installed: nothing was applied here under that name".to_owned(),
        }
    }
}

impl View for NotInstalled {
    fn text(&self, style: &Style) -> String {
        let rest = "; `lorectl service list` shows what is.";
        one_line(style, &self.service, Paint::Dim, "not installed", rest)
    }
}

fn one_line(style: &Style, service: &str, paint: Paint, did: &str, rest: &str) -> String {
    let mut canvas = Canvas::new(style);
    let line = Line::new()
        .put(Paint::Strong, format!("service.{service}"))
        .plain(": ")
        .put(paint, did)
        .plain(rest);
    canvas.line(&line, 2);
    canvas.finish()
}

impl View for PauseReport {
    fn text(&self, style: &Style) -> String {
        let did = match (self.already_paused, self.after_the_run) {
            (true, _) => "was paused already",
            (false, true) => "paused once the run under way has ended",
            (false, false) => "paused",
        };
        let rest = format!(
            ": {}. `lorectl service resume {}` lifts it.",
            self.reason, self.service
        );
        one_line(style, self.service.as_str(), Paint::Held, did, &rest)
    }
}

impl View for ResumeReport {
    fn text(&self, style: &Style) -> String {
        let service = self.service.as_str();
        if !self.was_paused {
            return one_line(style, service, Paint::Dim, "was not paused", ".");
        }
        let reason = self.previous_reason.as_deref().unwrap_or("no reason given");
        let rest = format!("; it was paused for: {reason}.");
        one_line(style, service, Paint::Good, "resumed", &rest)
    }
}

impl View for RepairReport {
    fn text(&self, style: &Style) -> String {
        let mut canvas = Canvas::new(style);
        if self.actions.is_empty() {
            return one_line(
                style,
                self.service.as_str(),
                Paint::Good,
                "sound",
                "; nothing had to be mended.",
            );
        }
        for action in &self.actions {
            let mut line = Line::new()
                .put(Paint::Warning, action.action)
                .plain(" ")
                .plain(action.file.display().to_string())
                .plain(": ")
                .plain(&action.why);
            if let Some(backup) = &action.backup {
                line = line.plain("; the old one is kept as ").plain(backup);
            }
            canvas.line(&line, 2);
        }
        if self.needs_apply {
            canvas.line(
                &Line::new().plain("`lorectl apply` writes its definition anew."),
                2,
            );
        }
        canvas.finish()
    }
}
