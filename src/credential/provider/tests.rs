//! The tables, held to their pages of cases (`cases/NAME.toml`).

mod cases;
mod certificates;
mod engine;
mod formats;
mod spec;
mod wire;

use super::*;
use crate::{credential::finding::Finding, id::Timestamp};

/// The time of all cases.
fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// The providers that are asked by a request.
fn asked() -> impl Iterator<Item = (&'static str, &'static Provider)> {
    names()
        .map(|name| (name, builtin(name).unwrap()))
        .filter(|(_, provider)| provider.probe == table::Via::Http)
}

fn answer<'a>(
    status: u16,
    headers: &[(&'a str, &'a str)],
    body: &'a str,
    token: &'a secrecy::SecretString,
) -> Answer<'a> {
    const NONE: &BTreeMap<String, secrecy::SecretString> = &BTreeMap::new();
    Answer {
        status,
        headers: headers.to_vec(),
        body: body.as_bytes(),
        whole: true,
        token,
        secrets: NONE,
    }
}

/// A finding as JSON, to be searched.
fn json(finding: &Finding) -> String {
    serde_json::to_string(finding).unwrap()
}
