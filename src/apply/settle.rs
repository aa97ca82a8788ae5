//! Bringing an unfinished journal to an end, by looking at the host.
//!
//! Pure: the journal, the state and an observation in, the state as it must be
//! read out. `plan` does this in memory, `apply` commits it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    id::{Address, Kind},
    resource::{Applied, Image, Observed, Outcome, Part, Seen, StepId},
    service,
};

use super::{
    events::SettledStep,
    record::{Doubt, Intent, Record, Transition},
};

/// What unfinished journals leave to be told from the host.
#[derive(Debug, Clone, Default)]
pub struct Unfinished {
    /// Resources with at least one intent, and their records before and after.
    pub touched: BTreeMap<Address, Transition>,
    /// Resources with a pivot of which no outcome, or an unknown one, is recorded.
    pub doubtful: BTreeMap<Address, Doubt>,
    /// Resources whose data was to go with them, and may be all that is left of them.
    pub purged: BTreeSet<Address>,
}

/// The state as it must be read after a crash.
#[derive(Debug, Clone, Default)]
pub struct Settled {
    /// Records to be replaced; `None` takes one out.
    pub records: BTreeMap<Address, Option<Applied>>,
    /// What is still in doubt.
    pub in_doubt: BTreeMap<Address, Doubt>,
    /// What was found, for the reader.
    pub found: Vec<SettledStep>,
}

impl Unfinished {
    /// Whether there is nothing to settle.
    pub fn is_empty(&self) -> bool {
        self.touched.is_empty() && self.doubtful.is_empty()
    }

    /// Every address that must be observed.
    pub fn addresses(&self) -> BTreeSet<&Address> {
        self.touched.keys().chain(self.doubtful.keys()).collect()
    }

    /// Folds one journal, given the serial of the state: what the state holds already says nothing new.
    pub fn fold(&mut self, records: &[Record], serial: u64) {
        let mut began = None;
        let mut intents: BTreeMap<StepId, &Intent> = BTreeMap::new();
        let mut ended: BTreeMap<StepId, &Outcome> = BTreeMap::new();
        for record in records {
            match record {
                Record::Began(record) => began = Some(record),
                Record::Intents(record) => {
                    intents.extend(record.steps.iter().map(|intent| (intent.step, intent)));
                }
                Record::Outcomes(record) => {
                    ended.extend(record.steps.iter().map(|(step, outcome)| (*step, outcome)));
                }
                Record::Ended(record) => {
                    self.doubtful.clone_from(&record.in_doubt);
                    return;
                }
            }
        }
        let Some(began) = began.filter(|began| began.serial >= serial) else {
            return;
        };
        for intent in intents.values() {
            let Some(transition) = began.changes.get(&intent.address) else {
                continue;
            };
            self.touched
                .insert(intent.address.clone(), transition.clone());
            if intent.verb == service::image::PURGE {
                self.purged.insert(intent.address.clone());
            }
            let told = match ended.get(&intent.step) {
                None | Some(Outcome::Unknown { .. }) => false,
                Some(Outcome::Done | Outcome::Failed { .. } | Outcome::Held { .. }) => true,
            };
            // What became of the mint of a credential is told by its own record.
            if intent.pivot && !told && intent.address.kind != Kind::Credential {
                let doubt = Doubt {
                    transition: transition.clone(),
                    remedy: format!(
                        "find out whether `{}` of {} was carried out, then `lorectl state repair`",
                        intent.verb, intent.address
                    ),
                };
                self.doubtful.insert(intent.address.clone(), doubt);
            }
        }
    }

    /// Tells from the host what was done.
    pub fn settle(&self, observed: &Observed) -> Settled {
        let mut settled = Settled::default();
        for (address, transition) in &self.touched {
            let image = match observed.resources.get(address) {
                Some(Seen::Ours(found)) => Some(&found.image),
                Some(Seen::Unknown { .. }) => continue,
                Some(Seen::Foreign { .. }) | None => None,
            };
            let before = transition.before.as_ref();
            let after = transition.after.as_ref();
            settled
                .records
                .insert(address.clone(), merge(before, after, image));
            let done = match (after, image) {
                (Some(after), Some(image)) => after.image == *image,
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            settled.found.push(SettledStep {
                address: address.clone(),
                found: if done { "done" } else { "not done" }.to_owned(),
            });
        }
        for (address, doubt) in &self.doubtful {
            let after = doubt.transition.after.as_ref();
            let seen = match observed.resources.get(address) {
                Some(Seen::Ours(found)) => Some(&found.image),
                Some(Seen::Foreign { .. } | Seen::Unknown { .. }) | None => None,
            };
            if after.map(|after| &after.image) == seen && seen.is_some() {
                continue;
            }
            settled.in_doubt.insert(address.clone(), doubt.clone());
            settled.records.remove(address);
            settled.found.retain(|step| step.address != *address);
            settled.found.push(SettledStep {
                address: address.clone(),
                found: "unknown".to_owned(),
            });
        }
        settled
    }
}

/// Whether a resource that was on its way from one backend to another has left the first.
///
/// It has not while anything is there that only the first backend makes; it has as soon as anything
/// is there that only the second makes. What both make under one name (`run.json`) tells by its content.
pub fn has_moved(before: &Image, after: &Image, old: Option<&Image>, new: Option<&Image>) -> bool {
    let own = |image: Option<&Image>, of: &Image, other: &Image| {
        image.is_some_and(|image| {
            of.iter().any(|(part, _)| {
                let name = part.as_str();
                other.get(name).is_none() && !same(image.get(name), None)
            })
        })
    };
    if own(old, before, after) {
        return false;
    }
    if own(new, after, before) {
        return true;
    }
    let shared = |image: Option<&Image>, wanted: &Image| {
        image.is_some_and(|image| {
            wanted
                .iter()
                .any(|(part, wanted)| image.get(part.as_str()) == Some(wanted))
        })
    };
    shared(new, after) || !shared(old, before)
}

/// The record of a resource that was caught between two definitions.
///
/// Each part is recorded as whichever of the two is there; where neither is, as what was being
/// written, so that the difference shows as drift. A resource that is gone has no record.
pub fn merge(
    before: Option<&Applied>,
    after: Option<&Applied>,
    found: Option<&Image>,
) -> Option<Applied> {
    let found = found?;
    let base = match (before, after) {
        (None, None) => return None,
        (Some(record), None) | (None, Some(record)) => record,
        (Some(before), Some(after)) => {
            let reached = before
                .image
                .differences(&after.image)
                .iter()
                .any(|part| same(found.get(part.as_str()), after.image.get(part.as_str())));
            if reached || *found == after.image {
                after
            } else {
                before
            }
        }
    };
    let mut record = base.clone();
    let empty = Image::empty();
    let old = before.map_or(&empty, |before| &before.image);
    let new = after.map_or(&empty, |after| &after.image);
    let mut image = Image::empty();
    let names: BTreeSet<_> = old.iter().chain(new.iter()).map(|(name, _)| name).collect();
    for name in names {
        let there = found.get(name.as_str());
        let (old, new) = (old.get(name.as_str()), new.get(name.as_str()));
        let recorded = if same(there, new) {
            new
        } else if same(there, old) {
            old
        } else {
            new.or(old)
        };
        if let Some(part) = recorded {
            image.set(name.clone(), part.clone());
        }
    }
    record.image = image;
    record.renderer = None;
    Some(record)
}

/// Whether two parts are the same; a flag that is off is as good as none.
fn same(a: Option<&Part>, b: Option<&Part>) -> bool {
    let on = |part: Option<&Part>| match part {
        Some(Part::Flag(false)) | None => None,
        Some(part) => Some(part.clone()),
    };
    on(a) == on(b)
}
