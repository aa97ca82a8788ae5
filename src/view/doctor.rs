//! `lorectl doctor`: what a host lacks for its spec, and the command that mends it.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    View,
    canvas::{Canvas, Line},
    style::{Paint, Style},
    text,
};
use crate::service::doctor::{Check, Verdict};

/// What `lorectl doctor` shows.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl doctor --json` prints as data")]
pub struct Doctor {
    /// The project.
    pub project: String,
    /// The worst that was found.
    pub overall: Grade,
    /// What was looked at: all of the host's, and of services what is not as it should be.
    pub checks: Vec<Finding>,
    /// How many services have all that their runs need.
    pub sound_services: usize,
    /// Whether the checks that pass are shown to a person too.
    #[serde(skip)]
    #[schemars(skip)]
    pub verbose: bool,
}

/// How a check ended, the worst last: that is their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Pass,
    /// It was not, and was mended.
    Fixed,
    /// It works, but not as one would think.
    Warn,
    /// It does not work.
    Fail,
}

/// One check.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Finding {
    /// Of which resource, as `service.sync`; null for the host's own.
    pub address: Option<String>,
    /// What was looked at.
    pub name: String,
    /// How it ended.
    pub status: Grade,
    /// What was found, or done.
    pub message: Option<String>,
    /// The command that mends it.
    pub action: Option<String>,
}

impl Finding {
    /// Of a check, of the host's own or of one resource.
    pub fn of(address: Option<String>, check: Check) -> Self {
        Self {
            address,
            name: check.name.to_owned(),
            status: match check.status {
                Verdict::Pass => Grade::Pass,
                Verdict::Fixed => Grade::Fixed,
                Verdict::Warn => Grade::Warn,
                Verdict::Fail => Grade::Fail,
            },
            message: check.message,
            action: check.action,
        }
    }
}

impl Doctor {
    /// The worst first; the host's own before services.
    pub fn sort(&mut self) {
        self.checks.sort_by(|a, b| {
            let key = |one: &Finding| (std::cmp::Reverse(one.status), one.address.clone());
            key(a).cmp(&key(b))
        });
        let worst = self.checks.iter().map(|check| check.status).max();
        self.overall = worst.unwrap_or(Grade::Pass);
    }
}

const fn words(grade: Grade) -> (Paint, &'static str) {
    match grade {
        Grade::Pass => (Paint::Good, "pass"),
        Grade::Fixed => (Paint::Good, "fixed"),
        Grade::Warn => (Paint::Warning, "warn"),
        Grade::Fail => (Paint::Bad, "fail"),
    }
}

/// Where the text of a check begins.
const COLUMN: usize = 7;

impl View for Doctor {
    fn text(&self, style: &Style) -> String {
        let mut canvas = Canvas::new(style);
        for check in &self.checks {
            if check.status == Grade::Pass && !self.verbose {
                continue;
            }
            let (paint, word) = words(check.status);
            let mut line = Line::new().put(paint, word).pad_to(COLUMN);
            if let Some(address) = &check.address {
                line = line.put(Paint::Strong, address).plain(" ");
            }
            line = line.put(Paint::Strong, check.name.replace('_', " "));
            if let Some(message) = &check.message {
                line = line.plain(": ").plain(message);
            }
            canvas.line(&line, COLUMN);
            if let Some(action) = &check.action {
                let help = Line::indented(COLUMN)
                    .put(Paint::Good, "help: ")
                    .plain(format!("`{action}`"));
                canvas.line(&help, COLUMN + 6);
            }
        }
        canvas.gap();
        canvas.line(&self.summary(), 2);
        canvas.finish()
    }
}

impl Doctor {
    /// `2 failed, 1 warning; 9 other checks and 41 services are sound.`
    fn summary(&self) -> Line {
        let count = |grade| self.checks.iter().filter(|one| one.status == grade).count();
        let mut line = Line::new();
        let mut any = false;
        for (grade, text) in [
            (Grade::Fail, format!("{} failed", count(Grade::Fail))),
            (Grade::Warn, text::count(count(Grade::Warn), "warning")),
            (Grade::Fixed, format!("{} fixed", count(Grade::Fixed))),
        ] {
            if count(grade) == 0 {
                continue;
            }
            line = line
                .plain(if any { ", " } else { "" })
                .whole(words(grade).0, text);
            any = true;
        }
        let passed = text::count(count(Grade::Pass), "check");
        let passed = match self.sound_services {
            0 => format!("{passed} of the host passed"),
            n => format!(
                "{passed} of the host and {} passed",
                text::count(n, "service")
            ),
        };
        line.plain(if any { "; " } else { "" })
            .plain(passed)
            .plain(".")
    }
}
