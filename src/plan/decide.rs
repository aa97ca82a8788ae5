//! One resource: which action, and why.

use std::borrow::Cow;

use crate::{
    error::Code,
    id::{Address, Kind},
    resource::{
        Action, ActionReason, Applied, Cause, Desired, Found, Hold, Image, Lift, PartName, Refusal,
        Seen,
    },
};

/// The three states of one resource.
pub struct Three<'a> {
    pub address: &'a Address,
    pub desired: Option<&'a Desired>,
    pub applied: Option<&'a Applied>,
    pub seen: Option<&'a Seen>,
    /// Whether the spec declares it for other hosts.
    pub elsewhere: bool,
    /// Whether `destroy` asks.
    pub destroying: bool,
}

/// What is done to a resource, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    pub action: Action,
    pub cause: Option<Cause>,
    pub reason: ActionReason,
}

/// Why nothing can be decided.
#[derive(Debug)]
pub enum Stop {
    Hold(Box<Hold>),
    Refusal(Box<Refusal>),
}

impl Decision {
    pub const fn nothing(reason: ActionReason) -> Self {
        Self {
            action: Action::NoOp,
            cause: None,
            reason,
        }
    }

    const fn new(action: Action, cause: Cause, reason: ActionReason) -> Self {
        Self {
            action,
            cause: Some(cause),
            reason,
        }
    }
}

/// The hold of a step whose answer was lost.
pub fn in_doubt(address: &Address, remedy: &str) -> Hold {
    Hold {
        address: address.clone(),
        reason: "it is unknown whether its last step was carried out".to_owned(),
        lift: Lift::ByHand {
            how: remedy.to_owned(),
        },
        code: Some(Code::Held),
    }
}

/// Whether a resource's `ignore_drift` covers a part: by its name, or by the word before the slash.
pub fn ignored(ignore_drift: &[String], part: &PartName) -> bool {
    let name = part.as_str();
    let group = name.split_once('/').map_or(name, |(group, _)| group);
    ignore_drift
        .iter()
        .any(|word| word == name || word == group)
}

/// What the host must hold, given what is there: the desired image, but for drift that is ignored.
///
/// A part is left as found when `ignore_drift` names it and the spec asks for the same as was applied.
pub fn goal<'d>(
    desired: &'d Desired,
    applied: Option<&Applied>,
    found: Option<&Found>,
) -> Cow<'d, Image> {
    let mut goal = Cow::Borrowed(&desired.image);
    let (Some(applied), Some(found)) = (applied, found) else {
        return goal;
    };
    for part in found.image.differences(&desired.image) {
        let name = part.as_str();
        let same_wish = applied.image.get(name) == desired.image.get(name);
        if ignored(&desired.meta.ignore_drift, part) && same_wish {
            match found.image.get(name) {
                Some(there) => goal.to_mut().set(part.clone(), there.clone()),
                None => drop(goal.to_mut().remove(name)),
            }
        }
    }
    goal
}

impl Three<'_> {
    /// The action, or what stands in its way.
    pub fn decide(&self) -> Result<Decision, Stop> {
        let found = match self.seen {
            None => None,
            Some(Seen::Ours(found)) => Some(found),
            Some(Seen::Unknown { reason, help, code }) => {
                return Err(Stop::Hold(Box::new(Hold {
                    address: self.address.clone(),
                    reason: reason.clone(),
                    lift: match help {
                        Some(how) => Lift::ByHand { how: how.clone() },
                        None => Lift::Later {
                            what: "the backend answers".to_owned(),
                        },
                    },
                    code: Some(code.code()),
                })));
            }
            Some(Seen::Foreign { reason }) => return self.foreign(reason),
        };
        match (self.desired, self.applied) {
            (Some(desired), applied) => Ok(Self::wanted(desired, applied, found)),
            (None, Some(applied)) => self.unwanted(applied, found),
            (None, None) => Ok(Decision::nothing(ActionReason::UpToDate)),
        }
    }

    fn foreign(&self, reason: &str) -> Result<Decision, Stop> {
        if self.desired.is_none() && self.applied.is_some() {
            // It may be ours with its mark edited away, and still run: it is neither removed nor forgotten.
            return Err(Stop::Hold(Box::new(Hold {
                address: self.address.clone(),
                reason: format!("it was applied and is to go, but {reason}"),
                lift: Lift::ByHand {
                    how: "removing that by hand; the next apply removes the rest".to_owned(),
                },
                code: Some(Code::Conflict),
            })));
        }
        Err(Stop::Refusal(Box::new(Refusal {
            code: Code::Conflict,
            address: Some(self.address.clone()),
            message: reason.to_owned(),
            suggestion: Some(match self.address.kind {
                Kind::Credential => {
                    "deliver it elsewhere, or take it out of the other project".to_owned()
                }
                _other => "rename the service, or remove what stands there by hand".to_owned(),
            }),
        })))
    }

    fn wanted(desired: &Desired, applied: Option<&Applied>, found: Option<&Found>) -> Decision {
        let Some(applied) = applied else {
            return match found {
                None => Decision::new(Action::Create, Cause::Spec, ActionReason::NewInSpec),
                Some(found) if found.image == desired.image => {
                    Decision::new(Action::Adopt, Cause::Spec, ActionReason::FoundOnHost)
                }
                Some(_) => Decision::new(Action::Update, Cause::Spec, ActionReason::FoundOnHost),
            };
        };
        let Some(found) = found else {
            return Decision::new(Action::Create, Cause::Drift, ActionReason::GoneFromHost);
        };
        if applied.backend != desired.backend {
            return Decision::new(Action::Replace, Cause::Spec, ActionReason::BackendChanged);
        }
        let goal = goal(desired, Some(applied), Some(found));
        let spec_changed = applied.definition != desired.definition;
        if found.image == *goal {
            let record_differs = spec_changed
                || applied.image != desired.image
                || applied.meta != desired.meta
                || applied.declared_in != desired.declared.file;
            return if record_differs {
                Decision::new(Action::Update, Cause::Spec, ActionReason::RecordChanged)
            } else if found.image == desired.image {
                Decision::nothing(ActionReason::UpToDate)
            } else {
                Decision::nothing(ActionReason::DriftIgnored)
            };
        }
        if spec_changed {
            return Decision::new(Action::Update, Cause::Spec, ActionReason::SpecChanged);
        }
        if applied.image == desired.image {
            return Decision::new(Action::Update, Cause::Drift, ActionReason::Drifted);
        }
        let unfinished = desired
            .image
            .iter()
            .any(|(part, _)| applied.image.get(part.as_str()).is_none());
        let cause = if unfinished {
            Cause::Spec
        } else {
            Cause::Version
        };
        Decision::new(Action::Update, cause, ActionReason::SpecChanged)
    }

    fn unwanted(&self, applied: &Applied, found: Option<&Found>) -> Result<Decision, Stop> {
        let (cause, reason) = if self.destroying {
            (Cause::Destroy, ActionReason::Destroy)
        } else if self.elsewhere {
            (Cause::Spec, ActionReason::NotForThisHost)
        } else {
            (Cause::Spec, ActionReason::RemovedFromSpec)
        };
        if applied.meta.protect {
            return Err(Stop::Refusal(Box::new(Refusal {
                code: Code::Protected,
                address: Some(self.address.clone()),
                message: format!("{} is protected and would be destroyed", self.address),
                suggestion: Some(
                    "apply it with `protect = false` first, then remove it".to_owned(),
                ),
            })));
        }
        Ok(match found {
            Some(_) => Decision::new(Action::Delete, cause, reason),
            None => Decision::new(Action::Forget, Cause::Drift, ActionReason::AlreadyGone),
        })
    }
}
