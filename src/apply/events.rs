//! What an apply says while it works. The view turns it into words; nothing else prints.

use serde::Serialize;

use crate::{
    id::{Address, BackendId, Timestamp},
    resource::{Action, Outcome, StepId, Verb},
};

/// Something that happened in an apply.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// An unfinished journal of an earlier apply was brought to an end.
    Settled {
        /// Its name.
        journal: String,
        /// What was found of each step that was in doubt.
        found: Vec<SettledStep>,
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
        backend: BackendId,
        /// The steps in it.
        steps: Vec<StepId>,
    },
    /// A step came to an end.
    StepEnded {
        /// Its number.
        step: StepId,
        /// Whose it is.
        address: Address,
        /// What was done.
        verb: Verb,
        /// How it ended.
        outcome: Outcome,
        /// From the beginning of its batch, in milliseconds.
        elapsed_ms: u64,
    },
    /// What was done is put back.
    UndoBegan {
        /// Because of whom.
        failed: Vec<Address>,
        /// Whose steps are undone.
        addresses: Vec<Address>,
    },
    /// An undo came to an end.
    UndoEnded {
        /// The step that was undone.
        step: StepId,
        /// Whose it is.
        address: Address,
        /// How it ended; `Done` is put back.
        outcome: Outcome,
    },
    /// The first Ctrl-C: the batch ends, nothing new begins.
    Interrupted,
    /// The state was replaced.
    Committed {
        /// Its new serial.
        serial: u64,
    },
}

/// What a step of an unfinished apply turned out to be.
#[derive(Debug, Clone, Serialize)]
pub struct SettledStep {
    /// Whose it is.
    pub address: Address,
    /// `done`, `not done` or `unknown`.
    pub found: String,
}

/// How an apply ended.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// What was done and stays.
    pub applied: Vec<(Address, Action)>,
    /// What failed, and why.
    pub failed: Vec<Failure>,
    /// What was done and put back, or not begun because of a failure it is connected to.
    pub undone: Vec<Address>,
    /// What could not be put back, or was left by `--on-failure stop`.
    pub not_undone: Vec<Failure>,
    /// What was not begun, because of an interruption.
    pub not_begun: Vec<Address>,
    /// What was held back while applying (a run in flight).
    pub held: Vec<Holding>,
    /// What drifted since the plan file was made, is not in it, and was left as it is.
    pub left: Vec<Address>,
    /// What drifted and `reconcile` does not put back, with the reason.
    pub unmended: Vec<Failure>,
    /// Whether this is `reconcile`'s, of which nobody saw a plan.
    pub is_mending: bool,
    /// Whether Ctrl-C ended it.
    pub interrupted: bool,
    /// The serial of the state afterwards.
    pub serial: u64,
    /// Where bytes of others that had to go were kept.
    pub backed_up: Vec<String>,
}

/// Something that was not done to one resource for now.
#[derive(Debug, Clone, Serialize)]
pub struct Holding {
    /// Which resource.
    pub address: Address,
    /// What is in the way.
    pub message: String,
    /// The instant that lifts it, UTC, where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Something that went wrong with one resource.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// Which resource.
    pub address: Address,
    /// What happened.
    pub message: String,
}

impl Failure {
    /// What was held, told as what went wrong.
    pub fn of(held: &Holding) -> Self {
        Self {
            address: held.address.clone(),
            message: held.message.clone(),
        }
    }
}
