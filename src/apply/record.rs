//! What the journal holds: intent before each act, outcome after it.
//!
//! A journal is a fold: [`super::settle`] reads an unfinished one and says what of it was done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    id::{Address, Timestamp},
    resource::{Applied, Outcome, StepId, Verb},
};

/// One line of a journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// An apply begins.
    Began(Began),
    /// A batch is about to be handed to its backend.
    Intents(Intents),
    /// What became of a batch.
    Outcomes(Outcomes),
    /// The state holds all of it; the journal is finished.
    Ended(Ended),
}

/// What an apply set out to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Began {
    /// When, UTC.
    pub at: Timestamp,
    /// Who, for `history`: a user's name and where from.
    pub by: String,
    /// The command, for `history`, as `apply --target service.sync`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The serial of the state it began from. Once the state is past it, the journal says nothing new.
    pub serial: u64,
    /// The digest of the spec's files, where it read any.
    pub spec_digest: Option<crate::id::Digest>,
    /// Each resource that changes: its record before and after.
    pub changes: BTreeMap<Address, Transition>,
}

/// A resource's record before and after.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Transition {
    /// What the action is called.
    pub action: crate::resource::Action,
    /// The record before; `None` when there was none.
    pub before: Option<Applied>,
    /// The record after; `None` when it goes.
    pub after: Option<Applied>,
}

/// Steps about to be taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Intents {
    /// Whether they put back what was done.
    pub undo: bool,
    /// Which.
    pub steps: Vec<Intent>,
}

/// One step about to be taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Intent {
    /// Its number in the plan.
    pub step: StepId,
    /// Whose it is.
    pub address: Address,
    /// What is done.
    pub verb: Verb,
    /// It cannot be undone, and looking at the host cannot tell whether it was done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pivot: bool,
    /// Where bytes that were not ours are kept, when the step replaces or removes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
}

/// What became of steps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcomes {
    /// Whether they put back what was done.
    pub undo: bool,
    /// Each step's end.
    pub steps: BTreeMap<StepId, Outcome>,
}

/// The end of a journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ended {
    /// When, UTC.
    pub at: Timestamp,
    /// The serial of the state that holds its result.
    pub serial: u64,
    /// What the apply came to: `applied`, `failed`, `undo failed`, `interrupted`, `settled`,
    /// `edited` for what changed the state alone, `repaired`.
    pub result: String,
    /// Resources whose step is still in doubt.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub in_doubt: BTreeMap<Address, Doubt>,
}

/// A step of which nobody can tell whether it was carried out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Doubt {
    /// The record before and after it.
    pub transition: Transition,
    /// What a person does about it.
    pub remedy: String,
}
