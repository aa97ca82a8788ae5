//! A plan file as the text of the plan that it was.

use std::io;

use serde_json::Value;

use super::{super::style::Style, Detail, Observation, PlanContext, page::Files, write_with};
use crate::{
    error::Code,
    id::{ResourceId, Seconds},
    plan::saved::{Saved, SavedChange, SavedRefusal, SavedStep},
    resource::{Change, Definition, Plan, Refusal, Step, StepId, Subject, Values},
};

/// Writes a plan file as text, as `plan` printed it. The file holds no contents of files that come
/// or go, so full detail shows no more of those than their sizes.
///
/// # Errors
/// What the writer says.
pub fn write_saved(
    saved: &Saved,
    style: &Style,
    detail: Detail,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let plan = plan(saved)?;
    let files: Files<'_> = saved
        .changes
        .iter()
        .map(|change| (&change.address, change.files.as_slice()))
        .collect();
    let context = PlanContext {
        observation: Observation::File(saved.observed_at),
        detail,
        error_follows: false,
    };
    write_with(&plan, Some(&files), style, &context, out)
}

/// The plan as far as it is for readers. It is never carried out: its steps have nothing to write.
fn plan(saved: &Saved) -> io::Result<Plan> {
    let definition = Definition::of(&Value::Null).map_err(io::Error::other)?;
    Ok(Plan {
        subject: Subject {
            project: saved.project.clone(),
            host: saved.host.clone(),
            lineage: saved.lineage.clone(),
            serial: saved.serial,
            spec_digest: saved.spec_digest,
            observed_at: saved.observed_at,
        },
        created_at: saved.created_at,
        changes: saved.changes.iter().map(change).collect(),
        drift: saved.drift.clone(),
        steps: saved
            .steps
            .iter()
            .map(|one| step(saved, one, &definition))
            .collect(),
        groups: std::collections::BTreeMap::new(),
        holds: saved.holds.clone(),
        refusals: saved.refusals.iter().map(refusal).collect(),
        warnings: saved.warnings.clone(),
    })
}

fn change(saved: &SavedChange) -> Change {
    Change {
        address: saved.address.clone(),
        action: saved.values.action,
        cause: saved.cause,
        reason: saved.reason,
        before: Values::default(),
        after: Values::default(),
        fields: saved.fields.clone(),
        files: Vec::new(),
        notes: saved.notes.clone(),
        record: None,
    }
}

fn step(saved: &Saved, one: &SavedStep, definition: &Definition) -> Step {
    Step {
        id: StepId(one.id),
        address: one.address.clone(),
        resource: ResourceId::derive(&saved.lineage, &one.address),
        backend: one.backend.clone(),
        verb: one.verb.clone(),
        depends_on: one.depends_on.iter().copied().map(StepId).collect(),
        disruption: one.disruption,
        undo: one.undo.clone(),
        before: None,
        after: None,
        definition: definition.clone(),
        patience: Seconds(0),
    }
}

fn refusal(saved: &SavedRefusal) -> Refusal {
    let code = Code::ALL.iter().find(|code| code.as_str() == saved.code);
    Refusal {
        code: code.copied().unwrap_or(Code::Internal),
        address: saved.address.clone(),
        message: saved.message.clone(),
        suggestion: saved.suggestion.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::document,
        view::{fixture, plan::render},
    };

    #[test]
    fn a_plan_file_reads_as_the_plan_did() {
        for plan in [
            fixture::plan(),
            fixture::refused_plan(),
            fixture::held_plan(),
        ] {
            let mut bytes = Vec::new();
            document::write(&plan, &mut bytes).unwrap();
            let saved = Saved::read(&bytes).unwrap();
            let mut text = Vec::new();
            write_saved(&saved, &Style::PLAIN, Detail::Usual, &mut text).unwrap();
            let told = render(&plan, &Style::PLAIN, &PlanContext::default());
            // All but the heading, which says when the host was looked at.
            let rest = |text: &str| text.split_once('\n').unwrap().1.to_owned();
            assert_eq!(rest(std::str::from_utf8(&text).unwrap()), rest(&told));
        }
    }
}
