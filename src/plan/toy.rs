//! A kind for the engine's tests: texts as parts, with the pivots, unknown
//! outcomes and stored generations that services do not need.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    id::{Address, BackendId, Seconds},
    resource::{
        Action, Applied, Change, Definition, Disruption, Drift, DriftField, Image, Level, Part,
        PartName, Seen, Undo, Verb,
    },
};

use super::kinds::{Case, Draft, Phase, record};

pub static BACKEND: BackendId = BackendId::from_static("toys");

/// A toy's definition: its texts, and whether making it passes a pivot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toy {
    pub parts: BTreeMap<String, String>,
    /// The part that is minted: made by a step that cannot be undone.
    pub minted: Option<String>,
    /// Whether its undo puts back a stored generation.
    pub generations: bool,
}

impl Toy {
    pub fn image(&self) -> Image {
        self.parts
            .iter()
            .map(|(name, text)| (PartName::from_text(name.clone()), Part::Text(text.clone())))
            .collect()
    }

    pub fn definition(&self) -> Definition {
        Definition::of(self).unwrap()
    }
}

pub fn drift(address: &Address, applied: &Applied, seen: Option<&Seen>) -> Option<Drift> {
    let empty = Image::empty();
    let there = match seen {
        Some(Seen::Ours(found)) => &found.image,
        Some(Seen::Foreign { .. }) | None => &empty,
        Some(Seen::Unknown { .. }) => return None,
    };
    let fields: Vec<DriftField> = applied
        .image
        .differences(there)
        .into_iter()
        .map(|part| DriftField {
            level: Level::Definition,
            field: part.to_string(),
            applied: None,
            observed: None,
            ignored: false,
        })
        .collect();
    (!fields.is_empty()).then(|| Drift {
        address: address.clone(),
        fields,
        notes: Vec::new(),
    })
}

pub fn change(case: &Case<'_>) -> (Change, Vec<Draft>) {
    let value =
        |definition: Option<&Definition>| definition.map_or(json!(null), |d| d.read().unwrap());
    let record = record(case);
    let change = Change {
        address: case.address.clone(),
        action: case.action,
        cause: case.cause,
        reason: case.reason,
        before: value(case.applied.map(|a| &a.definition)).into(),
        after: value(case.desired.map(|d| &d.definition)).into(),
        fields: Vec::new(),
        files: Vec::new(),
        notes: Vec::new(),
        record,
    };
    (change, drafts(case))
}

fn drafts(case: &Case<'_>) -> Vec<Draft> {
    let before = case.found.map(|found| found.image.clone());
    let draft = |verb: &'static str,
                 phase,
                 undo,
                 before: Option<Image>,
                 after: Option<Image>,
                 definition: &Definition| Draft {
        address: case.address.clone(),
        resource: crate::id::ResourceId::from_mark("toy"),
        backend: BACKEND.clone(),
        verb: Verb::from_static(verb),
        phase,
        disruption: Disruption::None,
        undo,
        before,
        after,
        definition: definition.clone(),
        patience: Seconds(0),
    };
    match (case.action, case.desired, case.applied) {
        (Action::Create | Action::Update, Some(desired), _) => {
            let toy: Toy = desired.definition.read().unwrap();
            let goal = super::decide::goal(desired, case.applied, case.found).into_owned();
            if Some(&goal) == before.as_ref() {
                return Vec::new();
            }
            let undo = if toy.generations {
                Undo::RestoreGeneration { generation: 1 }
            } else {
                Undo::RestoreBefore
            };
            let verb = if before.is_some() {
                "update"
            } else {
                "install"
            };
            let last = |from: Option<Image>| {
                draft(
                    verb,
                    Phase::Making,
                    undo.clone(),
                    from,
                    Some(goal.clone()),
                    &desired.definition,
                )
            };
            let Some(minted) = toy.minted.as_ref() else {
                return vec![last(before)];
            };
            let mut pivot = before.clone().unwrap_or_default();
            pivot.set(
                PartName::from_text(minted.clone()),
                goal.get(minted).unwrap().clone(),
            );
            if Some(&pivot) == before.as_ref() {
                return vec![last(before)];
            }
            let never = Undo::Never {
                reason: "it was minted".to_owned(),
            };
            let mint = draft(
                "mint",
                Phase::Making,
                never,
                before,
                Some(pivot.clone()),
                &desired.definition,
            );
            if pivot == goal {
                return vec![mint];
            }
            vec![mint, last(Some(pivot))]
        }
        (Action::Delete, _, Some(applied)) => {
            vec![draft(
                "remove",
                Phase::Removal,
                Undo::RestoreBefore,
                before,
                None,
                &applied.definition,
            )]
        }
        _ => Vec::new(),
    }
}
