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
