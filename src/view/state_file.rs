//! The `state` commands: what is recorded, and what a repair did.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    View,
    canvas::{Canvas, Line},
    style::{Paint, Style},
    text,
};
use crate::state::format::State;

/// What was applied.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl state list --json` prints as data")]
pub struct Listed {
    /// The project.
    pub project: String,
    /// The serial of the state; 0 when there is none.
    pub serial: u64,
    /// The addresses, in order.
    pub resources: Vec<String>,
}

impl Listed {
    /// What a state records.
    pub fn of(state: &State) -> Self {
        Self {
            project: state.project.to_string(),
            serial: state.serial,
            resources: state.resources.keys().map(ToString::to_string).collect(),
        }
    }
}

impl View for Listed {
    fn text(&self, style: &Style) -> String {
        let mut canvas = Canvas::new(style);
        for address in &self.resources {
            canvas.raw_line(&Line::new().plain(address));
        }
        canvas.finish()
    }
}

/// What a repair did.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl state repair --json` prints as data")]
pub struct Repaired {
    /// The project.
    pub project: String,
    /// The backup that is the state now, if one had to be.
    pub restored_from: Option<String>,
    /// Where the damaged state is kept.
    pub set_aside: Option<String>,
    /// Where damaged journals are kept.
    pub journals: Vec<String>,
    /// What carried the project's marks and is recorded again.
    pub taken_in: Vec<String>,
}

impl View for Repaired {
    fn text(&self, style: &Style) -> String {
        let mut canvas = Canvas::new(style);
        let mut say = |head: &str, rest: &str| {
            let line = Line::new().put(Paint::Good, head).plain(" ").plain(rest);
            canvas.line(&line, 2);
        };
        if let Some(backup) = &self.restored_from {
            say("Restored", &format!("the state from {backup}."));
        }
        if let Some(kept) = &self.set_aside {
            say("Kept", &format!("the damaged state as {kept}."));
        }
        for kept in &self.journals {
            say("Kept", &format!("a damaged journal as {kept}."));
        }
        if !self.taken_in.is_empty() {
            let what = text::count(self.taken_in.len(), "resource");
            let names = text::list(&self.taken_in);
            say(
                "Recorded",
                &format!("{what} from the marks on the host: {names}."),
            );
        }
        let untouched = self.restored_from.is_none() && self.set_aside.is_none();
        if untouched && self.journals.is_empty() && self.taken_in.is_empty() {
            say(
                "Sound:",
                &format!("the state of {} needs no repair.", self.project),
            );
        } else {
            let line = Line::new().plain("`lorectl plan` shows what differs from the spec now.");
            canvas.line(&line, 2);
        }
        canvas.finish()
    }
}

/// What was forgotten.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl state rm --json` prints as data")]
pub struct Forgotten {
    /// The project.
    pub project: String,
    /// The serial of the state that no longer has them.
    pub serial: u64,
    /// The resources.
    pub resources: Vec<Left>,
}

/// What stays of one that was forgotten.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Left {
    /// Which, as `service.sync`.
    pub address: String,
    /// The files that stay on the host.
    pub files: Vec<String>,
}

impl View for Forgotten {
    fn text(&self, style: &Style) -> String {
        let mut canvas = Canvas::new(style);
        for left in &self.resources {
            let line = Line::new()
                .put(Paint::Good, "Forgot")
                .plain(" ")
                .put(Paint::Strong, &left.address)
                .plain("; it stays on the host as it is, and runs as before:");
            canvas.line(&line, 2);
            for file in &left.files {
                canvas.line(&Line::indented(4).plain(file), 4);
            }
        }
        canvas.gap();
        let line = Line::new().plain(
            "While the spec has it, the next apply takes it in again. `lorectl state repair` records what is left.",
        );
        canvas.line(&line, 0);
        canvas.finish()
    }
}

/// What was renamed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl state mv --json` prints as data")]
pub struct Moved {
    /// The project.
    pub project: String,
    /// What it was called.
    pub from: String,
    /// What it is called.
    pub to: String,
    /// Whether it is a service; else only data of one that was deleted was moved.
    pub recorded: bool,
}

impl View for Moved {
    fn text(&self, style: &Style) -> String {
        let mut canvas = Canvas::new(style);
        let line = Line::new()
            .put(Paint::Strong, &self.from)
            .plain(if self.recorded {
                " is "
            } else {
                "'s status and logs are now those of "
            })
            .put(Paint::Good, &self.to)
            .plain(if self.recorded {
                " now, with its status and logs."
            } else {
                "."
            });
        canvas.line(&line, 2);
        let rest = if self.recorded {
            "Give it the new name in the spec too: `lorectl apply` would put the old one back."
        } else {
            "`lorectl apply` makes it, and goes on from them."
        };
        canvas.line(&Line::new().plain(rest), 2);
        canvas.finish()
    }
}

/// What was exported.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl state export --out --json` prints as data")]
pub struct Exported {
    /// The project.
    pub project: String,
    /// The serial of the state.
    pub serial: u64,
    /// How many resources it has.
    pub resources: usize,
    /// The file.
    pub file: String,
    /// Its size.
    pub bytes: usize,
}

impl View for Exported {
    fn text(&self, style: &Style) -> String {
        let mut canvas = Canvas::new(style);
        let line = Line::new()
            .put(Paint::Good, "Wrote")
            .plain(format!(" the state of {} to ", self.project))
            .put(Paint::Strong, &self.file)
            .plain(format!(
                ": serial {}, {}, {}.",
                self.serial,
                text::count(self.resources, "resource"),
                text::size(self.bytes)
            ));
        canvas.line(&line, 2);
        canvas.finish()
    }
}

/// What was imported.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl state import --json` prints as data")]
pub struct Imported {
    /// The project.
    pub project: String,
    /// The serial of the state now.
    pub serial: u64,
    /// How many resources it has.
    pub resources: usize,
    /// Whether it was another host's, and its records got ids of this one.
    pub renewed: bool,
    /// The serial of the state that it replaces, if it does; that one is in `backups/`.
    pub replaced: Option<u64>,
}

impl View for Imported {
    fn text(&self, style: &Style) -> String {
        let mut canvas = Canvas::new(style);
        let mut line = Line::new().put(Paint::Good, "Imported").plain(format!(
            " {} of {}; the state has serial {} now.",
            text::count(self.resources, "resource"),
            self.project,
            self.serial
        ));
        if let Some(serial) = self.replaced {
            line = line.plain(format!(
                " The one before, of serial {serial}, is in `backups/`."
            ));
        }
        canvas.line(&line, 2);
        let rest = if self.renewed {
            "It was another host's and is this one's now. `lorectl plan` shows what is to be made here."
        } else {
            "`lorectl plan` shows what differs from the host and the spec."
        };
        canvas.line(&Line::new().plain(rest), 2);
        canvas.finish()
    }
}
