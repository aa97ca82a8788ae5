//! What may be looked at but not applied: protection, denial, and deletions
//! that look like a mistake.

use std::collections::BTreeSet;

use crate::{
    error::Code,
    resource::{Action, Change, Refusal},
};

use super::Inputs;

/// Below this many deletions, their share of the project says nothing.
const FEW: usize = 3;

/// All refusals that concern the plan as a whole, and replacements of what is protected.
pub fn refusals(inputs: &Inputs<'_>, changes: &[Change]) -> Vec<Refusal> {
    let mut refusals = protected(inputs, changes);
    refusals.extend(denied(inputs, changes));
    if !inputs.options.allow_deletes && inputs.options.destroy.is_none() {
        refusals.extend(mass_deletion(inputs, changes));
    }
    refusals
}

fn protected(inputs: &Inputs<'_>, changes: &[Change]) -> Vec<Refusal> {
    changes
        .iter()
        .filter(|change| change.action == Action::Replace)
        .filter(|change| {
            inputs
                .applied
                .get(&change.address)
                .is_some_and(|applied| applied.meta.protect)
        })
        .map(|change| Refusal {
            code: Code::Protected,
            address: Some(change.address.clone()),
            message: format!("{} is protected and would be replaced", change.address),
            suggestion: Some("apply it with `protect = false` first".to_owned()),
        })
        .collect()
}

fn denied(inputs: &Inputs<'_>, changes: &[Change]) -> Vec<Refusal> {
    changes
        .iter()
        .filter(|change| inputs.options.deny.contains(&change.action))
        .map(|change| Refusal {
            code: Code::Denied,
            address: Some(change.address.clone()),
            message: format!(
                "{}: `{}` is denied",
                change.address,
                change.action.words().join("+")
            ),
            suggestion: None,
        })
        .collect()
}

fn mass_deletion(inputs: &Inputs<'_>, changes: &[Change]) -> Option<Refusal> {
    let deleted: Vec<&Change> = changes
        .iter()
        .filter(|change| change.action == Action::Delete)
        .collect();
    if deleted.is_empty() {
        return None;
    }
    let missing: BTreeSet<&str> = deleted
        .iter()
        .filter_map(|change| inputs.applied.get(&change.address))
        .map(|applied| &*applied.declared_in)
        .filter(|file| !inputs.provenance.files.contains(*file))
        .collect();
    let message = if !missing.is_empty() {
        let files: Vec<&str> = missing.into_iter().collect();
        format!(
            "{} would be deleted because the spec was loaded without {}",
            count(deleted.len()),
            files.join(", ")
        )
    } else if let (Some(now), Some(last)) =
        (&inputs.provenance.origin, &inputs.provenance.last_origin)
        && now != last
    {
        format!(
            "{} would be deleted, and this spec comes from {now}, the last one from {last}",
            count(deleted.len())
        )
    } else if deleted.len() >= FEW && deleted.len() * 3 > inputs.applied.len() {
        format!(
            "{} of the {} there are would be deleted",
            deleted.len(),
            count(inputs.applied.len())
        )
    } else {
        return None;
    };
    Some(Refusal {
        code: Code::MassDeletion,
        address: None,
        message,
        suggestion: Some("if that is meant, say `--allow-deletes`".to_owned()),
    })
}

fn count(resources: usize) -> String {
    match resources {
        1 => "1 resource".to_owned(),
        n => format!("{n} resources"),
    }
}
