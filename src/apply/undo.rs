//! Putting back what is connected to a failure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    id::Address,
    resource::{Image, Outcome, Part, Step, StepId, Undo, Verb},
    service,
};

use super::{
    events::{Event, Failure},
    execute::{OnFailure, Run, Standing, image_of},
    record::{Intent, Intents, Outcomes, Record},
};

/// Undoes every group in which something failed, once.
pub(super) async fn failed_groups(run: &mut Run<'_>) {
    let failed = run.failed_groups();
    undo(run, &failed).await;
}

/// After an interruption, undoes the groups that were begun and not finished.
pub(super) async fn interrupted_groups(run: &mut Run<'_>) {
    let mut begun = BTreeSet::new();
    let mut waiting = BTreeSet::new();
    for step in &run.plan.steps {
        let group = run.plan.groups.get(&step.address).copied().unwrap_or(0);
        match run.standing.get(&step.id) {
            Some(Standing::Done) if run.before.contains_key(&step.id) => begun.insert(group),
            Some(Standing::Waiting) => waiting.insert(group),
            _ => false,
        };
    }
    let torn: BTreeSet<u32> = begun.intersection(&waiting).copied().collect();
    undo(run, &torn).await;
}

/// The steps of failed groups that were begun.
fn to_undo<'a>(run: &Run<'a>, groups: &BTreeSet<u32>) -> Vec<&'a Step> {
    let in_group = |address: &Address| {
        run.plan
            .groups
            .get(address)
            .is_some_and(|g| groups.contains(g))
    };
    let touched = |step: &&Step| {
        run.before.contains_key(&step.id)
            && !run.undone.contains(&step.id)
            && matches!(
                run.standing.get(&step.id),
                Some(Standing::Done | Standing::Failed(_))
            )
    };
    run.plan
        .steps
        .iter()
        .filter(|step| in_group(&step.address))
        .filter(touched)
        .collect()
}

/// The addresses that a pivot carries with it: its own, and what it stands on.
fn rolling_forward(run: &Run<'_>, steps: &[&Step]) -> BTreeMap<Address, String> {
    let mut forward = BTreeMap::new();
    let mut open = Vec::new();
    for step in steps {
        if let (Undo::Never { reason }, Some(Standing::Done)) =
            (&step.undo, run.standing.get(&step.id))
        {
            open.push((step.address.clone(), reason.clone()));
        }
    }
    while let Some((address, reason)) = open.pop() {
        if forward.insert(address.clone(), reason.clone()).is_none()
            && let applied = run.applied.get(&address)
            && let Some(change) = run.plan.change(&address)
            && let Some(record) = change.record_after(applied)
        {
            let below = record.meta.depends_on.iter();
            open.extend(below.map(|below| (below.clone(), reason.clone())));
        }
    }
    forward
}

async fn undo(run: &mut Run<'_>, groups: &BTreeSet<u32>) {
    let mut open = to_undo(run, groups);
    if open.is_empty() {
        return;
    }
    run.undone.extend(open.iter().map(|step| step.id));
    if run.tools.on_failure == OnFailure::Stop {
        for step in open {
            let why = "left as it is, as `--on-failure stop` asks".to_owned();
            not_undone(run, step, why);
        }
        return;
    }
    let forward = rolling_forward(run, &open);
    open.retain(|step| match forward.get(&step.address) {
        Some(reason) if run.standing.get(&step.id) == Some(&Standing::Done) => {
            let why = format!("cannot be undone: {reason}");
            run.standing.insert(step.id, Standing::NotUndone(why));
            false
        }
        Some(_) | None => true,
    });
    let failed = open
        .iter()
        .filter(|step| matches!(run.standing.get(&step.id), Some(Standing::Failed(_))));
    let failed: BTreeSet<&Address> = failed.map(|step| &step.address).collect();
    let addresses: BTreeSet<&Address> = open.iter().map(|step| &step.address).collect();
    (run.tools.events)(&Event::UndoBegan {
        failed: failed.into_iter().cloned().collect(),
        addresses: addresses.into_iter().cloned().collect(),
    });
    while !open.is_empty() {
        let needed: BTreeSet<StepId> = open
            .iter()
            .flat_map(|step| step.depends_on.iter().copied())
            .collect();
        let (last, rest): (Vec<&Step>, Vec<&Step>) =
            open.iter().partition(|step| !needed.contains(&step.id));
        if last.is_empty() {
            break;
        }
        undo_wave(run, &last).await;
        open = rest;
    }
}

async fn undo_wave(run: &mut Run<'_>, steps: &[&Step]) {
    let observed = match run.observe(steps, true).await {
        Ok(observed) => observed,
        Err(error) => {
            for step in steps {
                let why = format!("cannot look at the host: {}", error.chain());
                settle(run, step, Outcome::failed(why));
            }
            return;
        }
    };
    let mut inverse: Vec<Step> = Vec::new();
    for step in steps {
        let there = match image_of(&observed, &step.address) {
            Ok(found) => found.map(|found| &found.image),
            Err(message) => {
                settle(run, step, Outcome::failed(message));
                continue;
            }
        };
        let before = run.before.get(&step.id).cloned().flatten();
        let goal = goal(before.as_ref(), step.after.as_ref(), there);
        match goal {
            Ok(goal) if goal.as_ref() == there => settle(run, step, Outcome::Done),
            Ok(goal) => {
                // A removal that takes what nothing brings back, and that was begun.
                if let (Undo::Never { reason }, None) = (&step.undo, &step.after) {
                    let left = format!("what is gone of it stays gone: {reason}");
                    run.left.entry(step.id).or_default().push(left);
                }
                inverse.push(inverse_of(run, step, there.cloned(), goal));
            }
            Err(message) => settle(run, step, Outcome::failed(message)),
        }
    }
    if inverse.is_empty() {
        return;
    }
    let intents = inverse.iter().map(|step| Intent {
        step: step.id,
        address: step.address.clone(),
        verb: step.verb.clone(),
        pivot: false,
        kept: Vec::new(),
    });
    let intents = Record::Intents(Intents {
        undo: true,
        steps: intents.collect(),
    });
    // Even when the disk takes no more records, putting back is better than not: a settlement tells
    // what was done from the host.
    let _ = (run.tools.log)(&[intents]);
    let inverse: Vec<&Step> = inverse.iter().collect();
    let outcomes = run.act(&inverse, &|_, _| {}).await;
    let _ = (run.tools.log)(&[Record::Outcomes(Outcomes {
        undo: true,
        steps: outcomes.clone(),
    })]);
    for step in &inverse {
        let missing = || Outcome::failed("its backend gave no outcome");
        let outcome = outcomes.get(&step.id).cloned().unwrap_or_else(missing);
        settle(run, step, outcome);
    }
}

/// Records how an undo ended. A step that had failed stays failed; its undo may add that it is not put back.
fn settle(run: &mut Run<'_>, step: &Step, outcome: Outcome) {
    (run.tools.events)(&Event::UndoEnded {
        step: step.id,
        address: step.address.clone(),
        outcome: outcome.clone(),
    });
    let was_failed = matches!(run.standing.get(&step.id), Some(Standing::Failed(_)));
    match outcome {
        Outcome::Done if was_failed => {
            if let Some(left) = run.left.remove(&step.id) {
                not_undone(run, step, left.join("; "));
            }
        }
        Outcome::Done => {
            run.standing.insert(step.id, Standing::Undone);
        }
        Outcome::Failed { message: why, .. }
        | Outcome::Held { reason: why, .. }
        | Outcome::Unknown { reason: why } => not_undone(run, step, why),
    }
}

fn not_undone(run: &mut Run<'_>, step: &Step, why: String) {
    if matches!(run.standing.get(&step.id), Some(Standing::Failed(_))) {
        run.report.not_undone.push(Failure {
            address: step.address.clone(),
            message: why,
        });
    } else {
        run.standing.insert(step.id, Standing::NotUndone(why));
    }
}

/// What must be there once a step is undone: what was there before, where the host still holds what
/// the step wrote.
///
/// # Errors
/// Names the parts that someone else has changed since.
fn goal(
    before: Option<&Image>,
    after: Option<&Image>,
    there: Option<&Image>,
) -> Result<Option<Image>, String> {
    let empty = Image::empty();
    let (old, new, now) = (
        before.unwrap_or(&empty),
        after.unwrap_or(&empty),
        there.unwrap_or(&empty),
    );
    let mut foreign = Vec::new();
    for part in now.differences(old) {
        let name = part.as_str();
        let content = |image: &Image| match image.get(name) {
            Some(Part::Flag(_)) | None => None,
            Some(part @ (Part::File(_) | Part::Text(_))) => Some(part.clone()),
        };
        let is = content(now);
        if is.is_some() && is != content(new) {
            foreign.push(name);
        }
    }
    if foreign.is_empty() {
        return Ok(before.cloned());
    }
    Err(format!(
        "someone else has changed {} since",
        foreign.join(", ")
    ))
}

/// The step that leads back. What it puts back was made from the applied definition.
fn inverse_of(run: &Run<'_>, step: &Step, there: Option<Image>, goal: Option<Image>) -> Step {
    let applied = run.applied.get(&step.address).filter(|_| goal.is_some());
    let definition = applied.map_or(&step.definition, |record| &record.definition);
    let verb: Verb = match (&step.undo, &there, &goal) {
        (Undo::Verb { verb }, _, _) => verb.clone(),
        (Undo::RestoreGeneration { .. }, _, _) | (_, None, Some(_)) => service::image::RESTORE,
        (_, _, None) => service::image::REMOVE,
        (_, Some(_), Some(_)) => service::image::UPDATE,
    };
    Step {
        verb,
        depends_on: Vec::new(),
        before: there,
        after: goal,
        definition: definition.clone(),
        ..step.clone()
    }
}
