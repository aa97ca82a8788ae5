//! What changed on the host since a credential was applied.

use crate::{
    id::Address,
    resource::{Applied, Drift, DriftField, Image, Level, Part, PartName, Seen},
};

use super::image::{DEFINITION, DELIVER, DUE, SOURCE, VALUE};

/// Compares what was applied with what is there; `None` when they agree or it cannot be told. That a
/// source holds another value, or that one is due, is no drift.
pub fn drift(address: &Address, applied: &Applied, seen: Option<&Seen>) -> Option<Drift> {
    let whole = |there: &str| {
        Some(Drift {
            address: address.clone(),
            fields: vec![DriftField {
                level: Level::Platform,
                field: Drift::WHOLE.to_owned(),
                applied: None,
                observed: Some(there.to_owned()),
                ignored: false,
            }],
            notes: Vec::new(),
        })
    };
    let found = match seen {
        Some(Seen::Unknown { .. }) => return None,
        None => return whole(Drift::GONE),
        Some(Seen::Foreign { reason }) => return whole(reason),
        Some(Seen::Ours(found)) => found,
    };
    let differing = applied.image.differences(&found.image).into_iter();
    let fields: Vec<DriftField> = differing
        .filter(|part| is_held_by_the_host(part))
        .map(|part| field(part, applied, &found.image))
        .collect();
    (!fields.is_empty() || !found.notes.is_empty()).then(|| Drift {
        address: address.clone(),
        fields,
        notes: found.notes.clone(),
    })
}

/// What differs and is not ignored: a sentence each.
pub fn told(drift: &Drift) -> Vec<String> {
    let fields = drift.fields.iter().filter(|field| !field.ignored);
    let told = fields.map(|field| {
        let what = match field.field.split_once("deliver ") {
            Some((_, place)) => place.to_owned(),
            None if field.field == VALUE.as_str() => "its value in the store".to_owned(),
            None => format!("its {}", field.field),
        };
        match &field.observed {
            None => format!("{what} is gone"),
            Some(_) => format!("{what} is not as applied"),
        }
    });
    told.collect()
}

/// Whether a part is what the host holds, rather than what is to come.
pub fn is_held_by_the_host(part: &PartName) -> bool {
    *part != SOURCE && *part != DUE
}

fn field(part: &PartName, applied: &Applied, found: &Image) -> DriftField {
    let text = |image: &Image| match image.get(part.as_str()) {
        Some(Part::Text(text)) => Some(text.clone()),
        Some(Part::File(_) | Part::Flag(_)) | None => None,
    };
    let (group, name) = match part.as_str().split_once('/') {
        Some((group, _)) => (group, part.as_str().replacen(DELIVER, "deliver ", 1)),
        None => (part.as_str(), part.to_string()),
    };
    let ignore = &applied.meta.ignore_drift;
    DriftField {
        level: if *part == VALUE || *part == DEFINITION {
            Level::Definition
        } else {
            Level::Platform
        },
        field: name,
        applied: text(&applied.image),
        observed: text(found),
        ignored: ignore
            .iter()
            .any(|word| word == part.as_str() || word == group),
    }
}
