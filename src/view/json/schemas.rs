//! The schemas in `schemas/` are those of the types: a difference fails, `LORECTL_WRITE_SCHEMAS=1` writes them.
#![expect(
    clippy::disallowed_methods,
    reason = "a test compares files of the repository with what the types say"
)]

use std::path::Path;

use schemars::{JsonSchema, generate::SchemaSettings};

use super::{ApplyData, EventLine, Failure, Success};
use crate::{
    credential::notify::message::Message as OfCredential,
    plan::document::Document,
    service::notify::message::Message as OfRun,
    view::{
        credential::{
            List as CredentialList, Refresh as CredentialRefresh, Validated as CredentialValidated,
        },
        doctor::Doctor,
        drift,
        graph::Graph,
        history::History,
        init::{Imported as Adopted, Initialised},
        service,
        state_file::{Exported, Forgotten, Imported, Moved},
        status::Status,
        validate::Validated,
    },
};

/// What a webhook of the form `json` and a command are told: of a run, or of a credential.
#[derive(serde::Serialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "nothing but its schema is wanted")]
enum Notification {
    Run(OfRun),
    Credential(OfCredential),
}

fn schema<T: JsonSchema>() -> String {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let schema = settings.into_generator().into_root_schema_for::<T>();
    serde_json::to_string_pretty(&schema).unwrap() + "\n"
}

#[test]
fn the_schemas_are_those_of_the_types() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let write = std::env::var_os("LORECTL_WRITE_SCHEMAS").is_some();
    let mut differ = Vec::new();
    for (name, generated) in [
        ("success", schema::<Success<'_, serde_json::Value>>()),
        ("failure", schema::<Failure<'_, serde_json::Value>>()),
        ("plan", schema::<Document<'_>>()),
        ("apply", schema::<ApplyData<'_>>()),
        ("event", schema::<EventLine<'_>>()),
        ("drift", schema::<drift::Report<'_>>()),
        ("status", schema::<Status>()),
        ("doctor", schema::<Doctor>()),
        ("graph", schema::<Graph>()),
        ("history", schema::<History>()),
        ("state-rm", schema::<Forgotten>()),
        ("state-mv", schema::<Moved>()),
        ("state-export", schema::<Exported>()),
        ("state-import", schema::<Imported>()),
        ("service-list", schema::<service::List>()),
        ("service-status", schema::<service::StatusData>()),
        ("service-logs", schema::<service::Logs>()),
        ("service-trigger", schema::<service::TriggerData>()),
        ("credential-list", schema::<CredentialList>()),
        ("credential-refresh", schema::<CredentialRefresh>()),
        ("credential-validate", schema::<CredentialValidated>()),
        ("init", schema::<Initialised>()),
        ("import", schema::<Adopted>()),
        ("validate", schema::<Validated>()),
        ("notification", schema::<Notification>()),
    ] {
        let path = dir.join(format!("{name}.schema.json"));
        if write {
            std::fs::write(&path, &generated).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != generated {
            differ.push(path);
        }
    }
    assert!(
        differ.is_empty(),
        "run this test with LORECTL_WRITE_SCHEMAS=1 and look at what changed: {differ:?}"
    );
}
