//! What changed on the host since a service was applied, by level and field.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    error::Result,
    id::Address,
    resource::{Applied, Drift, DriftField, File, Found, Image, Level, Part, Seen},
};

use super::{
    definition::Service,
    image::{DATA, DROP_IN, RUN, SHADOW},
    plan::Render,
};

/// Compares what was applied with what is there; `None` when they agree or it cannot be told. What
/// others keep beside it is noted, and is no difference: then there may be no field.
///
/// # Errors
/// When the applied definition cannot be read.
pub fn drift(
    render: &dyn Render,
    address: &Address,
    applied: &Applied,
    seen: Option<&Seen>,
) -> Result<Option<Drift>> {
    let found = match seen {
        Some(Seen::Unknown { .. }) => return Ok(None),
        None => return Ok(Some(gone(address, Drift::GONE))),
        Some(Seen::Foreign { reason }) => return Ok(Some(gone(address, reason))),
        Some(Seen::Ours(found)) => found,
    };
    let mut parts = applied.image.differences(&found.image);
    // An earlier version did not record it, so nobody can tell whether it changed.
    parts.retain(|part| **part != DATA || applied.image.get(DATA.as_str()).is_some());
    let programs = programs(applied, found)?;
    if parts.is_empty() && programs.is_empty() {
        let noted = (!found.notes.is_empty()).then(|| Drift {
            address: address.clone(),
            fields: Vec::new(),
            notes: found.notes.clone(),
        });
        return Ok(noted);
    }
    let service: Service = applied.definition.read()?;
    let rendered = render.image(&service)?;
    let mut fields = programs;
    for part in parts {
        let name = part.as_str();
        let ignored = applied.meta.ignore_drift.iter().any(|word| {
            word == name || name.split_once('/').is_some_and(|(group, _)| group == word)
        });
        let differing = part_fields(
            name,
            applied.image.get(name),
            found.image.get(name),
            known_bytes(&applied.image, &rendered, name),
        );
        fields.extend(
            differing
                .into_iter()
                .map(|field| DriftField { ignored, ..field }),
        );
    }
    Ok(Some(Drift {
        address: address.clone(),
        fields,
        notes: found.notes.clone(),
    }))
}

/// The pinned programs that are not what they were.
fn programs(applied: &Applied, found: &Found) -> Result<Vec<DriftField>> {
    if found.programs.is_empty() {
        return Ok(Vec::new());
    }
    let service: Service = applied.definition.read()?;
    let differing = service.programs.iter().filter_map(|(path, was)| {
        let is = found.programs.get(path)?;
        let shown = is.map_or_else(|| Drift::GONE.to_owned(), |is| is.short());
        (*is != Some(*was)).then(|| {
            let name = format!("{}{path}", Drift::PROGRAM);
            field(Level::Command, &name, Some(&was.short()), Some(&shown))
        })
    });
    Ok(differing.collect())
}

fn gone(address: &Address, there: &str) -> Drift {
    Drift {
        address: address.clone(),
        fields: vec![field(Level::Platform, Drift::WHOLE, None, Some(there))],
        notes: Vec::new(),
    }
}

fn field(level: Level, name: &str, applied: Option<&str>, observed: Option<&str>) -> DriftField {
    DriftField {
        level,
        field: name.to_owned(),
        applied: applied.map(str::to_owned),
        observed: observed.map(str::to_owned),
        ignored: false,
    }
}

/// The applied bytes, where this version still renders the same.
fn known_bytes<'a>(applied: &Image, rendered: &'a Image, name: &str) -> Option<&'a [u8]> {
    let file = rendered.file(name)?;
    (applied.file(name)?.digest == file.digest)
        .then_some(file.bytes.as_deref())
        .flatten()
}

fn part_fields(
    name: &str,
    applied: Option<&Part>,
    observed: Option<&Part>,
    bytes: Option<&[u8]>,
) -> Vec<DriftField> {
    if let Some(drop_in) = name.strip_prefix(DROP_IN) {
        let shown = format!("drop-in {drop_in}");
        return vec![field(Level::Platform, &shown, None, Some("present"))];
    }
    if let Some(place) = name.strip_prefix(SHADOW) {
        let shown = format!("hidden by {place}");
        return vec![field(Level::Platform, &shown, None, Some("present"))];
    }
    let file_level = Level::Definition;
    match (applied, observed) {
        (Some(Part::File(was)), Some(Part::File(is))) => file_fields(name, was, is, bytes),
        (Some(Part::File(_)), None) => vec![field(file_level, name, None, Some(Drift::GONE))],
        (Some(Part::File(_)), Some(Part::Text(target))) => {
            let link = format!("a link to {target}");
            vec![field(file_level, name, Some("a file"), Some(&link))]
        }
        (was, is) => {
            let was = was.map(scalar);
            let is = is.map(scalar);
            vec![field(Level::Platform, name, was.as_deref(), is.as_deref())]
        }
    }
}

fn scalar(part: &Part) -> String {
    match part {
        Part::Flag(true) => "yes".to_owned(),
        Part::Flag(false) => "no".to_owned(),
        Part::Text(text) => text.clone(),
        Part::File(_) => "a file".to_owned(),
    }
}

fn file_fields(name: &str, was: &File, is: &File, bytes: Option<&[u8]>) -> Vec<DriftField> {
    let mut fields = Vec::new();
    if was.digest != is.digest {
        let known = bytes.and_then(|b| std::str::from_utf8(b).ok());
        let there = is
            .bytes
            .as_deref()
            .and_then(|b| std::str::from_utf8(b).ok());
        let keys = match (known, there) {
            (Some(known), Some(there)) if name == RUN.as_str() => json_keys(known, there),
            (Some(known), Some(there)) => unit_keys(known, there),
            _ => Vec::new(),
        };
        if keys.is_empty() {
            fields.push(field(Level::Definition, name, None, None));
        }
        for (level, key, ours) in keys {
            let shown = format!("{name} {key}");
            fields.push(field(level, &shown, ours.as_deref(), Some(OTHER)));
        }
    }
    if was.mode != is.mode {
        let (was, is) = (format!("{:04o}", was.mode), format!("{:04o}", is.mode));
        fields.push(field(
            Level::Definition,
            &format!("{name} mode"),
            Some(&was),
            Some(&is),
        ));
    }
    if was.owner != is.owner {
        let text = |file: &File| format!("{}:{}", file.owner.uid, file.owner.gid);
        fields.push(field(
            Level::Definition,
            &format!("{name} owner"),
            Some(&text(was)),
            Some(&text(is)),
        ));
    }
    fields
}

/// What is shown of a value that someone else wrote: it may be a secret.
const OTHER: &str = "something else";

/// A field that differs: its level, its name, and our own value, where there is one.
type Differing = (Level, String, Option<String>);

/// The keys of a unit whose values differ, as `[Service] ExecStart`.
fn unit_keys(known: &str, there: &str) -> Vec<Differing> {
    let (known, there) = (unit_entries(known), unit_entries(there));
    let mut keys: Vec<&String> = known.keys().chain(there.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .filter(|key| known.get(*key) != there.get(*key))
        .map(|key| {
            let command = key.starts_with("[Service] Exec");
            let level = if command {
                Level::Command
            } else {
                Level::Definition
            };
            let ours = known.get(key).map(|values| values.join(" "));
            (level, key.clone(), ours)
        })
        .collect()
}

/// Section and key to the values, in order: a key may be there several times (systemd.syntax(7)).
fn unit_entries(text: &str) -> BTreeMap<String, Vec<&str>> {
    let mut section = "";
    let mut entries: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if let Some((key, value)) = line.split_once('=')
            && !line.starts_with(['#', ';'])
        {
            let key = format!("{section} {}", key.trim_end());
            entries.entry(key).or_default().push(value.trim_start());
        }
    }
    entries
}

/// The pointers in `run.json` whose values differ, as `/stages/0/run`.
fn json_keys(known: &str, there: &str) -> Vec<Differing> {
    let (Ok(known), Ok(there)) = (
        serde_json::from_str::<Value>(known),
        serde_json::from_str::<Value>(there),
    ) else {
        return Vec::new();
    };
    let mut keys = Vec::new();
    differing(&known, &there, "", &mut keys);
    keys.into_iter()
        .map(|key| {
            let command = key.starts_with("/stages/") && key.contains("/run");
            let level = if command {
                Level::Command
            } else {
                Level::Definition
            };
            let ours = known.pointer(&key).map(ToString::to_string);
            (level, key, ours)
        })
        .collect()
}

fn differing(known: &Value, there: &Value, at: &str, keys: &mut Vec<String>) {
    match (known, there) {
        (Value::Object(a), Value::Object(b)) => {
            let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let (a, b) = (a.get(name), b.get(name));
                let null = Value::Null;
                differing(
                    a.unwrap_or(&null),
                    b.unwrap_or(&null),
                    &format!("{at}/{name}"),
                    keys,
                );
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() && !at.ends_with("/run") => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differing(a, b, &format!("{at}/{index}"), keys);
            }
        }
        (a, b) if a != b => keys.push(at.to_owned()),
        _ => {}
    }
}
