//! `--events`: one line of JSON for each event of an apply.

use std::io;

use schemars::JsonSchema;
use serde::Serialize;

use crate::{apply::events::Event, id::Timestamp, resource::Outcome};

/// One line of `--events`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "One line of `lorectl apply --events`")]
pub struct EventLine<'a> {
    /// When it happened, UTC.
    #[schemars(with = "String")]
    at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    event: EventData<'a>,
}

/// What happened.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "event")]
#[schemars(rename = "Event")]
enum EventData<'a> {
    /// An apply that did not end was brought to an end.
    Settled {
        /// Its journal.
        journal: &'a str,
        /// What its steps in doubt turned out to be.
        found: Vec<SettledData<'a>>,
    },
    /// Work begins.
    Began {
        /// How many steps there are.
        steps: usize,
        /// In how many waves.
        waves: usize,
    },
    /// A batch was handed to its backend.
    BatchBegan {
        /// The wave, from 1.
        wave: usize,
        /// The backend.
        backend: &'a str,
        /// The numbers of its steps.
        steps: Vec<u32>,
    },
    /// A step ended.
    StepEnded {
        /// Its number.
        step: u32,
        /// Whose it is.
        address: String,
        /// What was done.
        verb: &'a str,
        /// How it ended.
        outcome: OutcomeData<'a>,
        /// From the beginning of its batch, in milliseconds.
        elapsed_ms: u64,
    },
    /// What was done is put back.
    UndoBegan {
        /// Because of whom.
        failed: Vec<String>,
        /// Whose steps.
        addresses: Vec<String>,
    },
    /// An undo ended.
    UndoEnded {
        /// The step that was undone.
        step: u32,
        /// Whose it is.
        address: String,
        /// How it ended.
        outcome: OutcomeData<'a>,
    },
    /// Ctrl-C: nothing new begins.
    Interrupted,
    /// The state was replaced.
    Committed {
        /// Its new serial.
        serial: u64,
    },
}

/// What a step of an apply that did not end turned out to be.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Settled")]
struct SettledData<'a> {
    /// Whose it is.
    address: String,
    /// `done`, `not done` or `unknown`.
    found: &'a str,
}

/// How a step ended.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "is")]
#[schemars(rename = "Outcome")]
enum OutcomeData<'a> {
    /// Done.
    Done,
    /// Not done.
    Failed {
        /// What happened.
        message: &'a str,
    },
    /// Not done for now.
    Held {
        /// What is in the way.
        reason: &'a str,
        /// The instant that lifts it, UTC, where one does.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        until: Option<Timestamp>,
    },
    /// It cannot be told.
    Unknown {
        /// What happened, and the remedy.
        reason: &'a str,
    },
}

impl<'a> OutcomeData<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::Done,
            Outcome::Failed { message, .. } => Self::Failed { message },
            Outcome::Held { reason, until } => Self::Held {
                reason,
                until: *until,
            },
            Outcome::Unknown { reason } => Self::Unknown { reason },
        }
    }
}

impl<'a> EventData<'a> {
    fn of(event: &'a Event) -> Self {
        match event {
            Event::Settled { journal, found } => Self::Settled {
                journal,
                found: found
                    .iter()
                    .map(|step| SettledData {
                        address: step.address.to_string(),
                        found: &step.found,
                    })
                    .collect(),
            },
            Event::Began { steps, waves } => Self::Began {
                steps: *steps,
                waves: *waves,
            },
            Event::BatchBegan {
                wave,
                backend,
                steps,
            } => Self::BatchBegan {
                wave: *wave,
                backend: backend.as_str(),
                steps: steps.iter().map(|step| step.0).collect(),
            },
            Event::StepEnded {
                step,
                address,
                verb,
                outcome,
                elapsed_ms,
            } => Self::StepEnded {
                step: step.0,
                address: address.to_string(),
                verb: verb.as_str(),
                outcome: OutcomeData::of(outcome),
                elapsed_ms: *elapsed_ms,
            },
            Event::UndoBegan { failed, addresses } => Self::UndoBegan {
                failed: failed.iter().map(ToString::to_string).collect(),
                addresses: addresses.iter().map(ToString::to_string).collect(),
            },
            Event::UndoEnded {
                step,
                address,
                outcome,
            } => Self::UndoEnded {
                step: step.0,
                address: address.to_string(),
                outcome: OutcomeData::of(outcome),
            },
            Event::Interrupted => Self::Interrupted,
            Event::Committed { serial } => Self::Committed { serial: *serial },
        }
    }
}

impl<'a> EventLine<'a> {
    /// The line of an event.
    pub fn of(event: &'a Event, at: Timestamp) -> Self {
        Self {
            at,
            event: EventData::of(event),
        }
    }
}

/// Writes an event as one line, and flushes, so that a reader sees it when it happens.
///
/// # Errors
/// What the writer says.
pub fn write_event(out: &mut dyn io::Write, event: &Event, at: Timestamp) -> io::Result<()> {
    super::write_line(out, &EventLine::of(event, at))?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::BackendId,
        resource::{StepId, Verb},
        view::fixture::{self, address, snapshot},
    };

    #[test]
    fn every_event_is_a_line() {
        let mut out = Vec::new();
        for event in [
            Event::Settled {
                journal: "0007".to_owned(),
                found: Vec::new(),
            },
            Event::Began { steps: 2, waves: 1 },
            Event::BatchBegan {
                wave: 1,
                backend: BackendId::from_static("worker"),
                steps: vec![StepId(1), StepId(2)],
            },
            Event::StepEnded {
                step: StepId(1),
                address: address("sync"),
                verb: Verb::from_static("install"),
                outcome: Outcome::failed("a\nb"),
                elapsed_ms: 12,
            },
            Event::UndoBegan {
                failed: vec![address("sync")],
                addresses: Vec::new(),
            },
            Event::UndoEnded {
                step: StepId(2),
                address: address("web"),
                outcome: Outcome::Done,
            },
            Event::Interrupted,
            Event::Committed { serial: 42 },
        ] {
            write_event(&mut out, &event, fixture::now()).unwrap();
        }
        snapshot("events", &String::from_utf8(out).unwrap());
    }
}
