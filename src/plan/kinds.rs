//! The one place of the plan that names the kinds: each case goes to its own.

mod credential;
mod needs;

use std::path::Path;

use serde_json::json;

use crate::{
    credential::plan::Sources,
    error::{Code, Error, Result},
    id::{Address, BackendId, Kind, Lineage, ResourceId, Seconds, Timestamp},
    resource::{
        Action, ActionReason, Applied, Cause, Change, Definition, Desired, Disruption, Drift,
        Found, Hold, Image, Seen, Step, StepId, Undo, Values, Verb,
    },
    service,
};

pub use needs::Needs;

/// What the kinds need to explain their resources.
#[derive(Clone, Copy)]
pub struct Kinds<'a> {
    /// For services.
    pub service: &'a dyn service::plan::Render,
    /// For credentials.
    pub credential: &'a dyn Sources,
}

/// One resource with its decision, for its kind to explain.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// Its address.
    pub address: &'a Address,
    /// What is wanted of it; `None` when it is to go.
    pub desired: Option<&'a Desired>,
    /// What was applied.
    pub applied: Option<&'a Applied>,
    /// What is there, when it is ours.
    pub found: Option<&'a Found>,
    /// What is done.
    pub action: Action,
    /// Why, for what is done at all.
    pub cause: Option<Cause>,
    /// Why this action, or why none.
    pub reason: ActionReason,
    /// Whether a deletion takes what a deletion otherwise leaves (status, logs).
    pub purge: bool,
    /// The instant of planning.
    pub now: Timestamp,
}

/// Whether a step makes or removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It makes or changes.
    Making,
    /// It removes.
    Removal,
}

/// A step that has no number yet.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Whose step it is.
    pub address: Address,
    /// The mark of the resource.
    pub resource: ResourceId,
    /// Who does it.
    pub backend: BackendId,
    /// What is done.
    pub verb: Verb,
    /// Whether it makes or removes.
    pub phase: Phase,
    /// What it disturbs.
    pub disruption: Disruption,
    /// How it is undone.
    pub undo: Undo,
    /// What must be there when it begins.
    pub before: Option<Image>,
    /// What is there when it is done.
    pub after: Option<Image>,
    /// The definition that the image was made from.
    pub definition: Definition,
    /// How long it may wait for a run in flight.
    pub patience: Seconds,
}

impl Draft {
    /// The step, numbered and with what it waits for.
    pub fn into_step(self, id: StepId, depends_on: Vec<StepId>) -> Step {
        Step {
            id,
            address: self.address,
            resource: self.resource,
            backend: self.backend,
            verb: self.verb,
            depends_on,
            disruption: self.disruption,
            undo: self.undo,
            before: self.before,
            after: self.after,
            definition: self.definition,
            patience: self.patience,
        }
    }
}

impl Kinds<'_> {
    /// What changed on the host since the last apply; `None` when nothing did or it cannot be told.
    pub fn drift(
        &self,
        address: &Address,
        applied: &Applied,
        seen: Option<&Seen>,
    ) -> Result<Option<Drift>> {
        match address.kind {
            Kind::Service => service::drift::drift(self.service, address, applied, seen),
            Kind::Credential => Ok(crate::credential::drift::drift(address, applied, seen)),
            Kind::Deployment => Err(missing(address)),
            #[cfg(test)]
            Kind::Toy => Ok(super::toy::drift(address, applied, seen)),
        }
    }

    /// The change as its reader wants it, and the steps that carry it out, given what the next runs need.
    pub fn change(&self, case: &Case<'_>, needs: &Needs) -> Result<(Change, Vec<Draft>)> {
        match case.address.kind {
            Kind::Service => service_change(self.service, case),
            Kind::Credential => credential::change(self.credential, case, needs.renewers()),
            Kind::Deployment => Err(missing(case.address)),
            #[cfg(test)]
            Kind::Toy => Ok(super::toy::change(case)),
        }
    }

    /// What stands in the way of a resource besides, and what a reader should know of it, given
    /// what the next runs need.
    pub fn outlook(&self, case: &Case<'_>, needs: &Needs) -> Result<(Option<Hold>, Vec<String>)> {
        match case.address.kind {
            Kind::Credential => {
                let runs = needs.of_credential(&case.address.name);
                credential::outlook(self.credential, case, runs)
            }
            Kind::Service | Kind::Deployment => Ok((None, Vec::new())),
            #[cfg(test)]
            Kind::Toy => Ok((None, Vec::new())),
        }
    }
}

fn missing(address: &Address) -> Error {
    Error::new(
        Code::NotInThisBuild,
        format!("{address}: this build of lorectl has no {}s", address.kind),
    )
}

/// The removal of what an earlier one left of a service. Only files are left, so it is the worker's,
/// whoever woke the service once: it minds a run that someone may have begun, and needs no manager.
///
/// # Errors
/// `INTERNAL`, which is not to happen.
pub fn purge_left(lineage: &Lineage, address: &Address, path: &Path) -> Result<(Change, Draft)> {
    let left = json!({ "left": path });
    let change = Change {
        address: address.clone(),
        action: Action::Delete,
        cause: Some(Cause::Destroy),
        reason: ActionReason::Destroy,
        before: left.clone().into(),
        after: Values::default(),
        fields: Vec::new(),
        files: Vec::new(),
        notes: vec![format!("all that is left of it is {}", path.display())],
        record: None,
    };
    let draft = Draft {
        address: address.clone(),
        resource: ResourceId::derive(lineage, address),
        backend: service::definition::Scheduler::Worker.backend(),
        verb: service::image::PURGE,
        phase: Phase::Removal,
        disruption: Disruption::None,
        undo: Undo::Never {
            reason: DATA_GOES.to_owned(),
        },
        before: None,
        after: None,
        definition: Definition::of(&left)?,
        patience: Seconds(60),
    };
    Ok((change, draft))
}

/// Why a purge is not undone.
const DATA_GOES: &str = "its status and logs are deleted";

/// The record that the state gets when the change is done; `None` when it is to have none, and when
/// nothing is done, so that what it has stays.
///
/// `created_at` is kept for as long as the resource is known.
pub fn record(case: &Case<'_>) -> Option<Applied> {
    match (case.action, case.desired) {
        (Action::NoOp | Action::Delete | Action::Forget, _) | (_, None) => None,
        (Action::Create | Action::Update | Action::Replace | Action::Adopt, Some(desired)) => {
            let image = super::decide::goal(
                desired,
                case.applied.filter(|_| case.action == Action::Update),
                case.found,
            );
            // What is left as found by `ignore_drift` is recorded as wished, so that it stays drift.
            let recorded = if case.action == Action::Update {
                desired.image.without_bytes()
            } else {
                image.without_bytes()
            };
            Some(Applied {
                id: desired.id.clone(),
                backend: desired.backend.clone(),
                definition: desired.definition.clone(),
                renderer: desired.renderer.filter(|_| recorded == desired.image),
                image: recorded,
                meta: desired.meta.clone(),
                declared_in: desired.declared.file.clone(),
                created_at: case.applied.map_or(case.now, |applied| applied.created_at),
            })
        }
    }
}

fn service_change(
    render: &dyn service::plan::Render,
    case: &Case<'_>,
) -> Result<(Change, Vec<Draft>)> {
    let case = &judged(case)?;
    let told = service::plan::tell(render, &told_case(case))?;
    let change = Change {
        address: case.address.clone(),
        action: case.action,
        cause: case.cause,
        reason: case.reason,
        before: told.before.into(),
        after: told.after.into(),
        fields: told.fields,
        files: told.files,
        notes: told.notes,
        record: record(case),
    };
    Ok((change, service_drafts(render, case)?))
}

/// The case with its true cause: a pinned program that someone has changed is drift, though the
/// definition that is wanted now names the new one.
fn judged<'a>(case: &Case<'a>) -> Result<Case<'a>> {
    if let (ActionReason::SpecChanged, Some(desired), Some(applied)) =
        (case.reason, case.desired, case.applied)
        && service::plan::differ_in_programs_alone(&applied.definition, &desired.definition)?
    {
        return Ok(Case {
            cause: Some(Cause::Drift),
            reason: ActionReason::Drifted,
            ..*case
        });
    }
    Ok(*case)
}

fn told_case<'a>(case: &Case<'a>) -> service::plan::Case<'a> {
    service::plan::Case {
        before: case.applied.map(|applied| &applied.definition),
        applied_image: case.applied.map(|applied| &applied.image),
        found: case.found,
        after: case.desired.map(|desired| &desired.definition),
        meta: (
            case.applied.map(|applied| &applied.meta),
            case.desired.map(|desired| &desired.meta),
        ),
        action: case.action,
        purge: case.purge,
        now: case.now,
    }
}

fn service_drafts(render: &dyn service::plan::Render, case: &Case<'_>) -> Result<Vec<Draft>> {
    let making = |desired: &Desired, before: Option<&Found>, goal: Image| -> Result<Draft> {
        Ok(Draft {
            address: case.address.clone(),
            resource: desired.id.clone(),
            backend: desired.backend.clone(),
            verb: match before {
                None => service::image::INSTALL,
                Some(_) => service::image::UPDATE,
            },
            phase: Phase::Making,
            disruption: service::plan::disruption(&desired.backend),
            undo: if retires(desired, case, before) {
                Undo::Verb {
                    verb: service::image::WITHDRAW,
                }
            } else {
                Undo::RestoreBefore
            },
            before: before.map(|found| found.image.without_bytes()),
            after: Some(with_bytes(
                goal,
                &service::plan::image(render, &desired.definition)?,
            )),
            definition: desired.definition.clone(),
            patience: service::plan::patience(&desired.definition)?,
        })
    };
    let removal = |applied: &Applied, found: &Found| -> Result<Draft> {
        Ok(Draft {
            address: case.address.clone(),
            resource: applied.id.clone(),
            backend: applied.backend.clone(),
            verb: if case.purge {
                service::image::PURGE
            } else {
                service::image::REMOVE
            },
            phase: Phase::Removal,
            disruption: service::plan::disruption(&applied.backend),
            undo: if case.purge {
                Undo::Never {
                    reason: DATA_GOES.to_owned(),
                }
            } else {
                Undo::RestoreBefore
            },
            before: Some(found.image.without_bytes()),
            after: None,
            definition: applied.definition.clone(),
            patience: service::plan::patience(&applied.definition)?,
        })
    };
    let goal =
        |desired: &Desired| super::decide::goal(desired, case.applied, case.found).into_owned();
    Ok(
        match (case.action, case.desired, case.applied, case.found) {
            (Action::Create, Some(desired), _, _) => {
                vec![making(desired, None, desired.image.clone())?]
            }
            (Action::Update, Some(desired), _, Some(found)) => {
                let goal = goal(desired);
                if goal == found.image {
                    Vec::new()
                } else {
                    vec![making(desired, Some(found), goal)?]
                }
            }
            (Action::Replace, Some(desired), Some(applied), Some(found)) => vec![
                removal(applied, found)?,
                Draft {
                    // Its data stays, and its schedule goes on.
                    verb: service::image::RESTORE,
                    ..making(desired, None, desired.image.clone())?
                },
            ],
            (Action::Delete, _, Some(applied), Some(found)) => vec![removal(applied, found)?],
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

/// Whether making it retires what it takes the place of, so that its undo is to put that back.
fn retires(desired: &Desired, case: &Case<'_>, before: Option<&Found>) -> bool {
    let name = service::image::REPLACES;
    let Some(wanted) = desired.image.get(name.as_str()) else {
        return false;
    };
    let known = match (case.action, before) {
        // What is deleted and made anew keeps what it took over.
        (Action::Replace, None) => case.found.map(|found| &found.image),
        (_, found) => found.map(|found| &found.image),
    };
    known.and_then(|image| image.get(name.as_str())) != Some(wanted)
}

/// Gives the files of `image` the bytes of those in `rendered` that are equal.
fn with_bytes(mut image: Image, rendered: &Image) -> Image {
    let equal: Vec<_> = rendered
        .iter()
        .filter(|(name, part)| image.get(name.as_str()) == Some(part))
        .map(|(name, part)| (name.clone(), part.clone()))
        .collect();
    for (name, part) in equal {
        image.set(name, part);
    }
    image
}
