//! The only printer: what the engine found, planned and did, as text for people and as JSON for programs.
//!
//! Everything here is a function of its arguments: the same plan in the same [`style::Style`] gives
//! the same bytes. Text that a user, a host or a job wrote reaches the output through
//! [`canvas::Line`] alone, which escapes what a terminal would act upon.

pub mod apply;
pub mod canvas;
pub mod credential;
pub mod defect;
pub mod doctor;
pub mod drift;
pub mod error;
pub mod explain;
pub mod graph;
pub mod history;
pub mod init;
pub mod json;
pub mod lift;
pub mod plan;
pub mod report;
pub mod service;
pub mod snapshot;
pub mod state;
pub mod state_file;
pub mod status;
pub mod style;
pub mod table;
pub mod terminal;
pub mod text;
pub mod time;
pub mod trace;
pub mod validate;
pub mod worker;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod hostile;

/// What a command has to say: as text for a person, and through `Serialize` as the data of an envelope.
pub trait View: serde::Serialize {
    /// The text for standard output, each line with its end.
    fn text(&self, style: &style::Style) -> String;
}
