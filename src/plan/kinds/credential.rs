//! What is done about a credential, and in which steps.

use crate::{
    credential::{
        image,
        plan::{self, Making, NextRun, Occasion, Sources},
        rest::{Renewer, Renewers},
    },
    error::Result,
    id::Seconds,
    resource::{
        Action, ActionReason, Applied, Cause, Change, Definition, Desired, Disruption, Found, Hold,
        Image, Undo, Verb,
    },
};

use super::{super::decide, Case, Draft, Phase, record};

fn told_case<'a>(case: &Case<'a>) -> plan::Case<'a> {
    plan::Case {
        address: case.address,
        before: case.applied.map(|applied| &applied.definition),
        applied_image: case.applied.map(|applied| &applied.image),
        found: case.found,
        after: case.desired.map(|desired| &desired.definition),
        desired_image: case.desired.map(|desired| &desired.image),
        meta: (
            case.applied.map(|applied| &applied.meta),
            case.desired.map(|desired| &desired.meta),
        ),
        action: case.action,
        purge: case.purge,
        now: case.now,
    }
}

/// What stands in the way of a credential besides, and what a reader should know of it.
pub fn outlook(
    sources: &dyn Sources,
    case: &Case<'_>,
    runs: &[NextRun],
) -> Result<(Option<Hold>, Vec<String>)> {
    let case = &told_case(case);
    Ok(match plan::hold(case, runs)? {
        Some(hold) => (Some(hold), Vec::new()),
        None => (None, plan::warnings(sources, case)?),
    })
}

/// The change as its reader wants it, and the steps that carry it out.
pub fn change(
    sources: &dyn Sources,
    case: &Case<'_>,
    renewers: &Renewers,
) -> Result<(Change, Vec<Draft>)> {
    let rest = rest(case, renewers)?;
    let case = &with_true_cause(case, rest);
    let told = plan::tell(sources, &told_case(case), rest)?;
    let change = Change {
        address: case.address.clone(),
        action: case.action,
        cause: case.cause,
        reason: case.reason,
        before: told.before.into(),
        after: told.after.into(),
        fields: told.fields,
        files: Vec::new(),
        notes: told.notes,
        record: record(case),
    };
    Ok((change, drafts(case)?))
}

/// The service before whose next run its value is renewed, where all that is due is that, and nobody needs
/// it until then.
fn rest<'r>(case: &Case<'_>, renewers: &'r Renewers) -> Result<Option<&'r Renewer>> {
    let (Action::Update, ActionReason::Drifted, Some(desired), Some(found)) =
        (case.action, case.reason, case.desired, case.found)
    else {
        return Ok(None);
    };
    let goal = decide::goal(desired, case.applied, case.found);
    let differing = found.image.differences(&goal);
    if differing.iter().any(|part| **part != image::DUE) {
        return Ok(None);
    }
    plan::rest(&desired.definition, found, renewers)
}

/// The case with its true cause: a source with another value, and a value that is due, are no drift;
/// and nothing is done to one of which it cannot be told whether it was rotated, or that a run has renewed.
fn with_true_cause<'a>(case: &Case<'a>, rest: Option<&Renewer>) -> Case<'a> {
    if rest.is_some() {
        return Case {
            action: Action::NoOp,
            cause: None,
            reason: ActionReason::AtRest,
            ..*case
        };
    }
    if let (Action::Update, Some(found)) = (case.action, case.found)
        && plan::is_lost(found)
    {
        return Case {
            action: Action::NoOp,
            cause: None,
            reason: ActionReason::Held,
            ..*case
        };
    }
    if let (ActionReason::Drifted, Some(desired), Some(found)) =
        (case.reason, case.desired, case.found)
        && let Some(occasion) = plan::occasion(&found.image, &desired.image)
    {
        let (why, reason) = match occasion {
            Occasion::Source => (Cause::Spec, ActionReason::SourceChanged),
            Occasion::Due => (Cause::Schedule, ActionReason::RenewalDue),
            Occasion::Asked => (Cause::Schedule, ActionReason::RenewalAsked),
        };
        return Case {
            cause: Some(why),
            reason,
            ..*case
        };
    }
    *case
}

fn drafts(case: &Case<'_>) -> Result<Vec<Draft>> {
    Ok(
        match (case.action, case.desired, case.applied, case.found) {
            (Action::Create, Some(desired), _, _) => {
                bring(case, desired, None, desired.image.clone())?
            }
            (Action::Update | Action::Replace, Some(desired), _, Some(found)) => {
                let goal = decide::goal(desired, case.applied, case.found).into_owned();
                if goal == found.image {
                    Vec::new()
                } else if plan::is_to_revoke(found) {
                    revoking(case, desired, found, goal)?
                } else {
                    bring(case, desired, Some(found), goal)?
                }
            }
            (Action::Delete, _, Some(applied), Some(found)) => {
                vec![removal(case, applied, found)?]
            }
            (
                Action::NoOp
                | Action::Adopt
                | Action::Forget
                | Action::Create
                | Action::Update
                | Action::Replace
                | Action::Delete,
                _,
                _,
                _,
            ) => Vec::new(),
        },
    )
}

/// A step that disturbs nothing and waits for nothing.
fn step(case: &Case<'_>, desired: &Desired, verb: Verb, undo: Undo) -> Draft {
    Draft {
        address: case.address.clone(),
        resource: desired.id.clone(),
        backend: desired.backend.clone(),
        verb,
        phase: Phase::Making,
        disruption: Disruption::None,
        undo,
        before: None,
        after: None,
        definition: desired.definition.clone(),
        patience: Seconds(0),
    }
}

const fn put_back() -> Undo {
    Undo::Verb {
        verb: image::PUT_BACK,
    }
}

/// Obtains what is needed, stores and delivers it; what its issuer makes is there before the rest is done.
fn bring(
    case: &Case<'_>,
    desired: &Desired,
    before: Option<&Found>,
    goal: Image,
) -> Result<Vec<Draft>> {
    let verb = match before {
        None => image::INSTALL,
        Some(found) if plan::is_due(found) => image::RENEW,
        Some(_) => image::UPDATE,
    };
    let there = before.map(|found| found.image.clone());
    let mut rest = Draft {
        disruption: plan::disruption(&desired.definition)?,
        before: there.clone(),
        after: Some(goal),
        ..step(case, desired, verb, put_back())
    };
    let applied: Option<&Definition> = case.applied.map(|applied| &applied.definition);
    let no_way_back = || Undo::Never {
        reason: plan::OLD_ONE_ENDS.to_owned(),
    };
    let undo = match plan::making(applied, &desired.definition, before)? {
        Making::Nothing => return Ok(vec![rest]),
        Making::WasFinal => {
            rest.undo = no_way_back();
            return Ok(vec![rest]);
        }
        Making::Undoable => Undo::Verb {
            verb: image::WITHDRAW,
        },
        Making::Final => no_way_back(),
    };
    let made = image::minted(there.as_ref(), &desired.definition);
    rest.before = Some(made.clone());
    let mint = Draft {
        before: there,
        after: Some(made),
        ..step(case, desired, image::MINT, undo)
    };
    Ok(vec![mint, rest])
}

/// Ends old values, after what else is to be done.
fn revoking(case: &Case<'_>, desired: &Desired, found: &Found, goal: Image) -> Result<Vec<Draft>> {
    let mut before = goal.clone();
    if let Some(due) = found.image.get(image::DUE.as_str()) {
        before.set(image::DUE, due.clone());
    }
    let mut drafts = if before == found.image {
        Vec::new()
    } else {
        bring(case, desired, Some(found), before.clone())?
    };
    let reason = if plan::revokes(&desired.definition)? {
        "a token that is revoked stays so"
    } else {
        "a value that is forgotten stays so"
    };
    let undo = Undo::Never {
        reason: reason.to_owned(),
    };
    drafts.push(Draft {
        before: Some(before),
        after: Some(goal),
        ..step(case, desired, image::REVOKE, undo)
    });
    Ok(drafts)
}

fn removal(case: &Case<'_>, applied: &Applied, found: &Found) -> Result<Draft> {
    let undo = if plan::revokes(&applied.definition)? {
        Undo::Never {
            reason: "what its issuer made for us is revoked".to_owned(),
        }
    } else {
        put_back()
    };
    Ok(Draft {
        address: case.address.clone(),
        resource: applied.id.clone(),
        backend: applied.backend.clone(),
        verb: image::REMOVE,
        phase: Phase::Removal,
        disruption: Disruption::None,
        undo,
        before: Some(found.image.clone()),
        after: None,
        definition: applied.definition.clone(),
        patience: Seconds(0),
    })
}
