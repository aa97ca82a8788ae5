//! How an apply ended, as JSON.

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use crate::{
    apply::events::{Failure, Holding, Report},
    error::Code,
    id::{Address, Timestamp},
    resource::{Action, Hold, Plan},
    view::state::Held,
};

/// The data of `apply --json`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl apply --json` prints as data")]
pub struct ApplyData<'a> {
    /// The serial of the state afterwards.
    serial: u64,
    /// Whether Ctrl-C ended it.
    interrupted: bool,
    /// What was done and stays.
    #[serde(serialize_with = "applied")]
    #[schemars(with = "Vec<AppliedData>")]
    applied: &'a [(Address, Action)],
    /// What failed.
    #[serde(serialize_with = "failures")]
    #[schemars(with = "Vec<FailureData>")]
    failed: &'a [Failure],
    /// What is as it was before: put back, or not begun because of a failure it is connected to.
    #[schemars(with = "Vec<String>")]
    undone: &'a [Address],
    /// What could not be put back, or was left.
    #[serde(serialize_with = "failures")]
    #[schemars(with = "Vec<FailureData>")]
    not_undone: &'a [Failure],
    /// What was not begun, because of an interruption.
    #[schemars(with = "Vec<String>")]
    not_begun: &'a [Address],
    /// What drifted since the plan file was made, is not in it, and was left as it is.
    #[schemars(with = "Vec<String>")]
    left: &'a [Address],
    /// What drifted and `reconcile` does not put back.
    #[serde(serialize_with = "failures")]
    #[schemars(with = "Vec<FailureData>")]
    unmended: &'a [Failure],
    /// What the plan held back, and what lifts that.
    holds: Vec<HoldData<'a>>,
    /// What was held back while applying.
    #[serde(serialize_with = "holdings")]
    #[schemars(with = "Vec<HoldingData>")]
    held: &'a [Holding],
    /// Where bytes of others that had to go were kept.
    backed_up: &'a [String],
    /// What the plan warned of.
    warnings: &'a [String],
}

impl<'a> ApplyData<'a> {
    /// The data of a report.
    pub fn of(plan: &'a Plan, report: &'a Report) -> Self {
        Self {
            holds: plan.holds.iter().map(HoldData::of).collect(),
            serial: report.serial,
            interrupted: report.interrupted,
            applied: &report.applied,
            failed: &report.failed,
            undone: &report.undone,
            not_undone: &report.not_undone,
            not_begun: &report.not_begun,
            left: &report.left,
            unmended: &report.unmended,
            held: &report.held,
            backed_up: &report.backed_up,
            warnings: &plan.warnings,
        }
    }
}

/// What was done to one resource.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Applied")]
struct AppliedData {
    /// `service.sync`.
    address: String,
    /// As in the plan document.
    #[schemars(with = "Vec<String>")]
    actions: Action,
}

/// What is not done for now.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Hold")]
struct HoldData<'a> {
    /// What is held.
    address: String,
    /// Why, and what lifts it.
    #[serde(flatten)]
    held: Held,
    /// The error code of the reason, where it has one.
    code: Option<&'a str>,
}

impl<'a> HoldData<'a> {
    fn of(hold: &'a Hold) -> Self {
        Self {
            address: hold.address.to_string(),
            held: Held::of(hold),
            code: hold.code.map(Code::as_str),
        }
    }
}

/// What happened to one resource.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Failure")]
struct FailureData<'a> {
    /// `service.sync`.
    address: String,
    /// What happened.
    message: &'a str,
}

/// What was held back while applying.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "HeldBack")]
struct HoldingData<'a> {
    /// `service.sync`.
    address: String,
    /// What is in the way.
    message: &'a str,
    /// The instant that lifts it, UTC, where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    until: Option<Timestamp>,
}

fn applied<S: Serializer>(list: &[(Address, Action)], s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(list.iter().map(|(address, action)| AppliedData {
        address: address.to_string(),
        actions: *action,
    }))
}

fn failures<S: Serializer>(list: &[Failure], s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(list.iter().map(|failure| FailureData {
        address: failure.address.to_string(),
        message: &failure.message,
    }))
}

fn holdings<S: Serializer>(list: &[Holding], s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(list.iter().map(|held| HoldingData {
        address: held.address.to_string(),
        message: &held.message,
        until: held.until,
    }))
}
