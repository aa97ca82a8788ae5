//! What changed on the host since a credential was applied.

use crate::{
    id::Address,
    resource::{Applied, Drift, DriftField, Image, Level, Part, PartName, Seen},
};

use super::image::{CURRENT, DEFINITION, DELIVER, DUE, GENERATION, OTHER, SOURCE, VALUE};

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
    let (was, is) = match (text(&applied.image), text(found)) {
        (Some(was), is) if group == DELIVER => delivery(&was, is.as_deref()),
        both => both,
    };
    let ignore = &applied.meta.ignore_drift;
    DriftField {
        level: if *part == VALUE || *part == DEFINITION {
            Level::Definition
        } else {
            Level::Platform
        },
        field: name,
        applied: was,
        observed: is,
        ignored: ignore
            .iter()
            .any(|word| word == part.as_str() || word == group),
    }
}

/// The value of a delivery, as it was applied.
const TOKEN: &str = "the token that was delivered";

/// The texts of a delivery in words: what it holds, and its mode and owner, each where it differs.
fn delivery(was: &str, is: Option<&str>) -> (Option<String>, Option<String>) {
    let whole = |is: Option<&str>| (Some(TOKEN.to_owned()), is.map(ToOwned::to_owned));
    let Some(there) = is else { return whole(None) };
    // What stands there instead of a file is said in words already.
    let (Some((_, of_was)), Some((content, of_is))) = (parts(was), parts(there)) else {
        return whole(is);
    };
    let (mut before, mut after) = (Vec::new(), Vec::new());
    if content != CURRENT {
        before.push(TOKEN.to_owned());
        after.push(match content.strip_prefix(GENERATION) {
            Some(number) => format!("the one of generation {number}"),
            None => "other content".to_owned(),
        });
    }
    for (was, is) in of_was.into_iter().zip(of_is).filter(|(was, is)| was != is) {
        let what = if was.contains(':') { "owner" } else { "mode" };
        before.push(format!("{what} {was}"));
        after.push(format!("{what} {is}"));
    }
    (Some(before.join(", ")), Some(after.join(", ")))
}

/// What a delivery holds, and what of its mode and owner is ours, of the text of its part.
fn parts(text: &str) -> Option<(&str, Vec<&str>)> {
    let number = |rest: &str| rest.find(' ').unwrap_or(rest.len());
    let end = if let Some(rest) = text.strip_prefix(GENERATION) {
        GENERATION.len() + number(rest)
    } else {
        let known = [CURRENT, OTHER].into_iter();
        known
            .filter(|known| text.starts_with(known))
            .map(str::len)
            .next()?
    };
    let (content, rest) = text.split_at_checked(end)?;
    Some((content, rest.split_whitespace().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{credential::image::delivered, resource::Owner};

    #[test]
    fn a_delivery_says_what_differs_and_no_more() {
        let owner = |uid| Some(Owner { uid, gid: 0 });
        let was = delivered(CURRENT, Some(0o600), owner(0));
        for (is, applied, observed) in [
            (
                Some(delivered(OTHER, Some(0o600), owner(0))),
                TOKEN,
                Some("other content"),
            ),
            (
                Some(delivered("generation 2", Some(0o644), owner(0))),
                "the token that was delivered, mode 0600",
                Some("the one of generation 2, mode 0644"),
            ),
            (
                Some(delivered(CURRENT, Some(0o640), owner(7))),
                "mode 0600, owner 0:0",
                Some("mode 0640, owner 7:0"),
            ),
            (
                Some("a symbolic link".to_owned()),
                TOKEN,
                Some("a symbolic link"),
            ),
            (None, TOKEN, None),
        ] {
            let expected = (Some(applied.to_owned()), observed.map(ToOwned::to_owned));
            assert_eq!(delivery(&was, is.as_deref()), expected, "{is:?}");
        }
        assert_eq!(
            delivery(CURRENT, Some(OTHER)).1.as_deref(),
            Some("other content")
        );
    }
}
