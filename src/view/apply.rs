//! An apply for its operator: progress while it works, and how it ended.

mod progress;
mod result;

pub use progress::{Progress, Verbosity};
pub use result::{failure, held, render};

use super::terminal::Console;
use crate::{apply::events::Event, resource::Plan};

/// [`Progress`] that is written to standard error as it comes.
#[derive(Debug)]
pub struct Live<'p> {
    console: Console,
    progress: Progress<'p>,
}

impl<'p> Live<'p> {
    /// Progress of a plan's apply.
    pub fn new(plan: &'p Plan, console: &Console, verbosity: Verbosity) -> Self {
        Self {
            console: *console,
            progress: Progress::new(plan, console.stderr, console.live, verbosity),
        }
    }

    /// Shows an event. Milliseconds of any steady clock.
    pub fn event(&mut self, event: &Event, now_ms: u64) {
        self.console.complain(&self.progress.event(event, now_ms));
    }

    /// Lets the running lines move on; call it some ten times a second.
    pub fn tick(&mut self, now_ms: u64) {
        self.console.complain(&self.progress.tick(now_ms));
    }

    /// Takes the running lines away; call it whatever the end, before anything else is printed.
    pub fn finish(&mut self) {
        self.console.complain(&self.progress.finish());
    }
}
