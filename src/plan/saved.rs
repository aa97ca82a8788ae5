//! A plan file as what it also is: something to be read, long after it was made and far from its host.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{approval, diff::Diff};
use crate::{
    error::Result,
    id::{Address, BackendId, Digest, Lineage, ProjectName, Timestamp},
    resource::{Action, ActionReason, Cause, Disruption, Drift, FieldChange, Hold, Undo, Verb},
};

/// A plan document, as far as it is for readers.
#[derive(Debug, Clone, Deserialize)]
pub struct Saved {
    /// The project.
    pub project: ProjectName,
    /// The host's name.
    pub host: String,
    /// The lineage of its state.
    pub lineage: Lineage,
    /// The serial of the state that was planned from.
    pub serial: u64,
    /// The digest of the spec's files.
    pub spec_digest: Option<Digest>,
    /// When the plan was made, UTC.
    pub created_at: Timestamp,
    /// When the host was looked at, UTC, where a snapshot told of it.
    #[serde(default)]
    pub observed_at: Option<Timestamp>,
    /// Every resource of spec and state, ordered by address.
    #[serde(rename = "resource_changes")]
    pub changes: Vec<SavedChange>,
    /// What changed on the host since the last apply.
    #[serde(rename = "resource_drift")]
    pub drift: Vec<Drift>,
    /// What is to be done, in an order in which it may be.
    pub steps: Vec<SavedStep>,
    /// What is not done for now.
    pub holds: Vec<Hold>,
    /// Why the plan may not be applied; empty when it may.
    pub refusals: Vec<SavedRefusal>,
    /// What the reader should know.
    pub warnings: Vec<String>,
}

/// One resource's place in the plan.
#[derive(Debug, Clone, Deserialize)]
pub struct SavedChange {
    /// Its address.
    pub address: Address,
    /// Why this action, or why none.
    #[serde(rename = "action_reason")]
    pub reason: ActionReason,
    /// Why, for what is done at all.
    pub cause: Option<Cause>,
    /// What is done.
    #[serde(rename = "change")]
    pub values: SavedValues,
    /// The fields that change.
    #[serde(default)]
    pub fields: Vec<FieldChange>,
    /// The files that change.
    #[serde(default)]
    pub files: Vec<SavedFile>,
    /// What the reader should know.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What is done, and what is there before and after.
#[derive(Debug, Clone, Deserialize)]
pub struct SavedValues {
    /// The action.
    #[serde(rename = "actions")]
    pub action: Action,
    /// What it depends on, before or after.
    #[serde(flatten)]
    pub depends_on: DependsOn,
}

/// What a resource depends on, drawn from its values; the rest of those is not kept.
#[derive(Debug, Clone, Default)]
pub struct DependsOn(pub Vec<Address>);

impl<'de> Deserialize<'de> for DependsOn {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Values {
            after: Value,
            before: Value,
        }
        let values = Values::deserialize(d)?;
        let list = |value: &Value| {
            let list = value.pointer("/meta/depends_on")?.as_array()?;
            let texts = list.iter().filter_map(Value::as_str);
            Some(texts.filter_map(|text| text.parse().ok()).collect())
        };
        Ok(Self(
            list(&values.after)
                .or_else(|| list(&values.before))
                .unwrap_or_default(),
        ))
    }
}

/// One file: sizes, and a unified diff where it is there before and after.
#[derive(Debug, Clone, Deserialize)]
pub struct SavedFile {
    /// Its path on the host.
    pub path: String,
    /// The unified diff, without a heading.
    #[serde(default, deserialize_with = "diff")]
    pub diff: Option<Diff>,
    /// Bytes after; `None` when it goes.
    #[serde(default)]
    pub size_after: Option<usize>,
    /// Bytes before; `None` when it is new.
    #[serde(default)]
    pub size_before: Option<usize>,
}

fn diff<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Diff>, D::Error> {
    Ok(Option::<String>::deserialize(d)?.map(|text| Diff::of_text(&text)))
}

/// One step.
#[derive(Debug, Clone, Deserialize)]
pub struct SavedStep {
    /// Its number, from 1.
    pub id: u32,
    /// Whose step it is.
    pub address: Address,
    /// Who does it.
    pub backend: BackendId,
    /// What is done.
    pub verb: Verb,
    /// Steps that must be done before.
    pub depends_on: Vec<u32>,
    /// What it disturbs.
    pub disruption: Disruption,
    /// How it is undone.
    pub undo: Undo,
}

/// Why the plan may not be applied.
#[derive(Debug, Clone, Deserialize)]
pub struct SavedRefusal {
    /// The error code.
    pub code: String,
    /// Whom it is about, if it is about one.
    pub address: Option<Address>,
    /// What is refused and why.
    pub message: String,
    /// What helps.
    pub suggestion: Option<String>,
}

impl Saved {
    /// Reads a plan file.
    ///
    /// # Errors
    /// `PLAN_INVALID`, as [`approval::read`].
    pub fn read(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(&approval::verified(bytes)?).map_err(approval::shape)
    }

    /// How many resources have that action.
    pub fn count(&self, action: Action) -> usize {
        let changes = self.changes.iter();
        changes
            .filter(|change| change.values.action == action)
            .count()
    }

    /// What is done: everything but the no-ops, in the order of the addresses.
    pub fn done(&self) -> impl Iterator<Item = &SavedChange> {
        let changes = self.changes.iter();
        changes.filter(|change| change.values.action != Action::NoOp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::Code,
        plan::{approval::tests::plan, document},
    };

    #[test]
    fn what_was_written_is_read() {
        let plan = plan();
        let mut bytes = Vec::new();
        document::write(&plan, &mut bytes).unwrap();
        let saved = Saved::read(&bytes).unwrap();
        assert_eq!(saved.project, plan.subject.project);
        assert_eq!(saved.changes.len(), plan.changes.len());
        assert_eq!(saved.done().count(), 4);
        assert_eq!(saved.count(Action::Replace), 1);
        assert_eq!(saved.holds, plan.holds);
        assert_eq!(saved.steps[0].undo, plan.steps[0].undo);
        bytes[40] ^= 1;
        assert_eq!(Saved::read(&bytes).unwrap_err().code, Code::PlanInvalid);
    }
}
