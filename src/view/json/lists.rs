//! The shared words as JSON: lists that are written entry by entry.

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use crate::resource::{Drift, DriftField, Level, Stray};

/// What drifted of one resource.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Drift")]
pub struct DriftData<'a> {
    /// `service.sync`.
    address: String,
    /// What drifted.
    fields: Vec<DriftFieldData<'a>>,
    /// What is there and is left alone.
    notes: &'a [String],
}

/// One field that drifted.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DriftField")]
struct DriftFieldData<'a> {
    /// `platform`, `definition` or `command`.
    #[schemars(with = "String")]
    level: Level,
    /// Which field.
    field: &'a str,
    /// What was applied, where it can be shown.
    applied: Option<&'a str>,
    /// What is there, where it can be shown.
    observed: Option<&'a str>,
    /// Left alone, because `ignore_drift` names it.
    ignored: bool,
}

impl<'a> DriftFieldData<'a> {
    fn of(field: &'a DriftField) -> Self {
        Self {
            level: field.level,
            field: &field.field,
            applied: field.applied.as_deref(),
            observed: field.observed.as_deref(),
            ignored: field.ignored,
        }
    }
}

/// Serialises drift.
pub fn drifts<S: Serializer>(list: &[Drift], s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(list.iter().map(|drift| DriftData {
        address: drift.address.to_string(),
        fields: drift.fields.iter().map(DriftFieldData::of).collect(),
        notes: &drift.notes,
    }))
}

/// Something that carries the project's mark and is in no state.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Stray")]
pub struct StrayData<'a> {
    /// What it is called on the host.
    name: &'a str,
    /// The address that its name stands for, where it can be told.
    address: Option<String>,
    /// Where it was found.
    backend: &'a str,
}

/// Serialises strays.
pub fn strays<S: Serializer>(list: &[Stray], s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(list.iter().map(|stray| StrayData {
        name: &stray.name,
        address: stray.address.as_ref().map(ToString::to_string),
        backend: stray.backend.as_str(),
    }))
}
