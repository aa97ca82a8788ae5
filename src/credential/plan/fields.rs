//! The fields of a credential as a plan shows them, and the values that its document has.

use serde_json::{Value, json};

use super::Coming;
use crate::{
    credential::{
        definition::{Credential, Delivery, Source, StoreKind},
        facts::Facts,
        key::Fingerprint,
    },
    error::Result,
    resource::{Definition, FieldChange, Image, Meta, Part},
};

/// The values that the document shows and an approval compares.
pub(super) fn value(
    definition: Option<&Definition>,
    image: Option<&Image>,
    meta: Option<&Meta>,
    print: Option<&Fingerprint>,
) -> Result<Value> {
    let Some(definition) = definition else {
        return Ok(Value::Null);
    };
    let texts = image.into_iter().flat_map(Image::iter);
    let parts: serde_json::Map<String, Value> = texts
        .filter_map(|(name, part)| match part {
            Part::Text(text) => Some((name.to_string(), json!(text))),
            Part::File(_) | Part::Flag(_) => None,
        })
        .collect();
    Ok(json!({
        "definition": definition.read::<Value>()?,
        "parts": parts,
        "meta": meta,
        "value": print.map_or_else(|| json!({"unknown": true}), |print| json!(print)),
    }))
}

type Reader = (&'static str, fn(&Credential) -> Option<String>);

const READERS: &[Reader] = &[
    ("provider", |c| c.provider.clone()),
    ("base_url", |c| c.base_url.clone()),
    ("ca_file", |c| {
        c.ca_file.as_ref().map(|path| path.display().to_string())
    }),
    ("with", |c| {
        let with = c.with.iter().map(|(key, with)| format!("{key} = {with}"));
        (!c.with.is_empty()).then(|| with.collect::<Vec<_>>().join(", "))
    }),
    ("source", |c| Some(source(&c.source))),
    ("issuer", |c| {
        c.issuer.as_ref().map(|one| one.endpoint().to_string())
    }),
    ("signed with", |c| {
        c.signed_with
            .as_ref()
            .map(|name| format!("credential.{name}"))
    }),
    ("store", |c| Some(c.store.as_str().to_owned())),
    ("scopes", |c| {
        let scopes: Vec<&str> = c.scopes.iter().map(String::as_str).collect();
        (!scopes.is_empty()).then(|| scopes.join(", "))
    }),
    ("expiry.warn", |c| Some(c.warn.to_string())),
    ("expiry.at", |c| c.ends_at.map(|at| at.to_string())),
    ("rotate.before", |c| {
        c.rotate.before.map(|one| one.to_string())
    }),
    ("rotate.ttl", |c| c.rotate.ttl.map(|one| one.to_string())),
    ("rotate.grace", |c| {
        c.rotate.grace.map(|one| one.to_string())
    }),
];

/// Fields that a new credential is shown with.
const SHOWN_ON_CREATE: &[&str] = &[
    "provider",
    "base_url",
    "with",
    "source",
    "issuer",
    "signed with",
    "scopes",
    "expiry.at",
];

/// A source in one line, as the spec would say it.
fn source(source: &Source) -> String {
    match source {
        Source::Env(name) => format!("env {name}"),
        Source::File(path) => format!("file {}", path.display()),
        Source::Command { argv, .. } => {
            format!("command {}", crate::service::plan::argv(argv))
        }
        Source::Systemd(name) => format!("systemd {name}"),
        Source::Minted => "its issuer".to_owned(),
    }
}

fn change(field: String, before: Option<String>, after: Option<String>) -> Option<FieldChange> {
    (before != after).then_some(FieldChange {
        field,
        before,
        after,
    })
}

/// Those that change; of a new credential the telling ones.
pub(super) fn of(before: Option<&Credential>, after: Option<&Credential>) -> Vec<FieldChange> {
    let both = before.is_some() && after.is_some();
    let mut fields = Vec::new();
    if after.is_none() {
        return fields;
    }
    let sealed = after.is_some_and(|after| after.store == StoreKind::SystemdCreds);
    for (name, read) in READERS {
        if both || SHOWN_ON_CREATE.contains(name) || (*name == "store" && sealed) {
            fields.extend(change(
                (*name).to_owned(),
                before.and_then(read),
                after.and_then(read),
            ));
        }
    }
    let places = |credential: Option<&Credential>| {
        let all = credential.into_iter().flat_map(|one| &one.deliver);
        all.map(|one| (one.to.to_string(), delivery(one)))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let (old, new) = (places(before), places(after));
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        fields.extend(change(
            "deliver".to_owned(),
            old.get(name).cloned(),
            new.get(name).cloned(),
        ));
    }
    fields
}

/// A delivery in one line: `/etc/acme/token   0640 0:0, reloads app.service`.
fn delivery(one: &Delivery) -> String {
    let mut of_file = Vec::new();
    of_file.extend(one.mode.map(|mode| format!("{mode:04o}")));
    of_file.extend(
        one.owner
            .map(|owner| format!("{}:{}", owner.uid, owner.gid)),
    );
    let mut text = one.to.to_string();
    if !of_file.is_empty() {
        text = format!("{text}   {}", of_file.join(" "));
    }
    match &one.reload {
        Some(unit) => format!("{text}, reloads {unit}"),
        None => text,
    }
}

/// What changes of what any resource may say.
pub(super) fn of_meta((before, after): (Option<&Meta>, Option<&Meta>)) -> Vec<FieldChange> {
    match (before, after) {
        (Some(before), Some(after)) => crate::service::plan::meta_fields(Some(before), Some(after)),
        (_, _) => Vec::new(),
    }
}

/// That its value changes.
pub(super) fn of_value(coming: &Coming, facts: Option<&Facts>) -> Option<FieldChange> {
    let Coming::New(print) = coming else {
        return None;
    };
    let old = facts.filter(|facts| facts.generation > 0).map(|facts| {
        (facts.fingerprint.as_ref()).map_or_else(|| "unknown".to_owned(), ToString::to_string)
    });
    let new = (print.as_ref()).map_or_else(|| "known at apply".to_owned(), ToString::to_string);
    Some(FieldChange {
        field: "value".to_owned(),
        before: old,
        after: Some(new),
    })
}
