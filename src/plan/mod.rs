//! The pure plan: three snapshots, the time and some settings in, a [`Plan`] out.
//!
//! Nothing here can write, and nothing reads a clock. Every choice that apply
//! carries out is made here: the action, its steps and their order, each
//! step's inverse, and every refusal.

pub mod approval;
mod decide;
pub mod diff;
pub mod document;
mod guard;
pub mod kinds;
mod order;
pub mod saved;
#[cfg(test)]
pub(crate) mod toy;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use crate::{
    error::{Code, Error, Result},
    id::{Address, Timestamp},
    resource::{
        Action, ActionReason, Applied, Change, Desired, Drift, Hold, Observed, Plan, Refusal, Seen,
        Stray, Subject,
    },
};

use decide::Decision;
use kinds::{Draft, Kinds, Needs};

/// Everything that a plan is made of. All of it was loaded before.
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    /// What it is a plan of.
    pub subject: Subject,
    /// The instant of planning, UTC.
    pub now: Timestamp,
    /// What the spec wants on this host.
    pub desired: &'a BTreeMap<Address, Desired>,
    /// What the spec declares for other hosts only.
    pub elsewhere: &'a BTreeSet<Address>,
    /// What was applied, after an unfinished journal was settled.
    pub applied: &'a BTreeMap<Address, Applied>,
    /// What is there.
    pub observed: &'a Observed,
    /// Resources whose last step has an unknown outcome, and the remedy.
    pub in_doubt: &'a BTreeMap<Address, String>,
    /// What earlier removals left of services that nothing names any more, and where it is; it goes with
    /// a purge.
    pub left: &'a BTreeMap<Address, PathBuf>,
    /// Where the spec is and was, for the guard against mass deletion.
    pub provenance: Provenance,
    /// What the command line asks for.
    pub options: Options,
    /// What the user should know, whatever the plan is.
    pub warnings: Vec<String>,
}

/// Where the spec came from, this time and the last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The files that were loaded.
    pub files: BTreeSet<String>,
    /// The spec's origin now: a Git remote, else a path.
    pub origin: Option<String>,
    /// The origin of the last apply.
    pub last_origin: Option<String>,
}

/// What a command asks of the plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Only these, what they depend on, and for deletions what depends on them.
    pub targets: Vec<Address>,
    /// Not these: they drifted, and the plan file that approves the rest has no change for them.
    pub leave: BTreeSet<Address>,
    /// Actions that make the plan refused.
    pub deny: Vec<Action>,
    /// Lifts the guard against mass deletion.
    pub allow_deletes: bool,
    /// Only what drifted is asked; nothing is to be done.
    pub drift_only: bool,
    /// Everything goes; the spec is not asked.
    pub destroy: Option<Destroy>,
}

/// How much `destroy` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destroy {
    /// Status and logs stay.
    KeepData,
    /// They go too.
    Purge,
}

/// Makes the plan.
///
/// # Errors
/// `NO_SUCH_RESOURCE` for a target that is neither in spec nor state; `INTERNAL` and
/// `STATE_CORRUPT` for definitions that cannot be read.
pub fn plan(inputs: &Inputs<'_>, kinds: &Kinds<'_>) -> Result<Plan> {
    let addresses: BTreeSet<&Address> =
        inputs.desired.keys().chain(inputs.applied.keys()).collect();
    let targeted = targeted(inputs, &addresses)?;
    let in_scope = |address: &Address| {
        !inputs.options.drift_only && targeted.as_ref().is_none_or(|set| set.contains(address))
    };
    let mut drafting = Drafting {
        needs: Needs::of(inputs, in_scope)?,
        ..Drafting::default()
    };
    for &address in &addresses {
        drafting.consider(inputs, kinds, address, in_scope(address))?;
    }
    if inputs.options.destroy == Some(Destroy::Purge) {
        let left = inputs.left.iter();
        for (address, path) in left.filter(|(address, _)| !addresses.contains(address)) {
            let (change, draft) = kinds::purge_left(&inputs.subject.lineage, address, path)?;
            drafting.changes.push(change);
            drafting.drafts.push(draft);
        }
        drafting.changes.sort_by(|a, b| a.address.cmp(&b.address));
    }
    let Drafting {
        changes,
        drafts,
        drift,
        holds,
        mut refusals,
        mut warnings,
        needs: _,
    } = drafting;
    refusals.extend(guard::refusals(inputs, &changes));
    warnings.extend(inputs.warnings.iter().cloned());
    for stray in &inputs.observed.strays {
        warnings.push(stray_warning(inputs, stray));
    }
    warnings.sort();
    warnings.dedup();
    let links = order::Links::of(&changes, inputs.applied);
    let steps = order::arrange(drafts, &changes, &links)?;
    let groups = links.groups(steps.iter().map(|step| &step.address));
    Ok(Plan {
        subject: inputs.subject.clone(),
        created_at: inputs.now,
        changes,
        drift,
        steps,
        groups,
        holds,
        refusals,
        warnings,
    })
}

/// What helps against something with our mark that nobody asked for.
fn stray_warning(inputs: &Inputs<'_>, stray: &Stray) -> String {
    let home = stray.address.as_ref().and_then(|address| {
        let applied = inputs.applied.get(address).map(|record| &record.backend);
        let backend = applied.or_else(|| Some(&inputs.desired.get(address)?.backend));
        Some((
            address,
            backend.filter(|backend| **backend != stray.backend)?,
        ))
    });
    match home {
        // It would be taken in under a name that is another's by now.
        Some((address, backend)) => format!(
            "{} carries this project's mark, but {address} is on {backend}: stop it and remove it by hand",
            stray.name
        ),
        None => format!(
            "{} carries this project's mark and is in neither spec nor state; `lorectl state repair` takes it in",
            stray.name
        ),
    }
}

/// The addresses that `--target` lets through; `None` is all.
fn targeted<'a>(
    inputs: &'a Inputs<'_>,
    addresses: &BTreeSet<&'a Address>,
) -> Result<Option<BTreeSet<&'a Address>>> {
    if inputs.options.targets.is_empty() {
        return Ok(None);
    }
    let mut open = Vec::new();
    for target in &inputs.options.targets {
        let Some(known) = addresses.get(target) else {
            return Err(Error::new(
                Code::NoSuchResource,
                format!("{target} is neither in the spec nor in the state"),
            )
            .suggest("`lorectl status` lists what there is"));
        };
        open.push(*known);
    }
    let mut chosen = BTreeSet::new();
    while let Some(address) = open.pop() {
        if !chosen.insert(address) {
            continue;
        }
        if let Some(desired) = inputs.desired.get(address) {
            open.extend(
                desired
                    .meta
                    .depends_on
                    .iter()
                    .filter_map(|a| addresses.get(a)),
            );
        } else {
            let dependents = inputs
                .applied
                .iter()
                .filter(|(other, record)| {
                    !inputs.desired.contains_key(other) && record.meta.depends_on.contains(address)
                })
                .map(|(other, _)| other);
            open.extend(dependents);
        }
    }
    Ok(Some(chosen))
}

/// What has been decided so far.
#[derive(Default)]
struct Drafting {
    changes: Vec<Change>,
    drafts: Vec<Draft>,
    drift: Vec<Drift>,
    holds: Vec<Hold>,
    refusals: Vec<Refusal>,
    warnings: Vec<String>,
    /// What the next runs need.
    needs: Needs,
}

impl Drafting {
    fn consider(
        &mut self,
        inputs: &Inputs<'_>,
        kinds: &Kinds<'_>,
        address: &Address,
        in_scope: bool,
    ) -> Result<()> {
        let wanted = inputs.desired.get(address);
        let desired = wanted.filter(|_| inputs.options.destroy.is_none());
        let applied = inputs.applied.get(address);
        let seen = inputs.observed.resources.get(address);
        let found = match seen {
            Some(Seen::Ours(found)) => Some(found),
            Some(Seen::Foreign { .. } | Seen::Unknown { .. }) | None => None,
        };
        if let Some(applied) = applied {
            let drift = kinds.drift(address, applied, seen)?;
            // A plan has the notes among its warnings.
            let told = |drift: &Drift| inputs.options.drift_only || !drift.fields.is_empty();
            self.drift.extend(drift.filter(told));
        }
        if let Some(found) = found {
            let notes = found.notes.iter().map(|note| format!("{address}: {note}"));
            self.warnings.extend(notes);
        }
        if let Some(desired) = desired {
            self.warnings.extend(desired.warnings.iter().cloned());
        }
        let decision = if !in_scope {
            Decision::nothing(ActionReason::NotTargeted)
        } else if inputs.options.leave.contains(address) {
            Decision::nothing(ActionReason::NotApproved)
        } else if let Some(remedy) = inputs.in_doubt.get(address) {
            self.holds.push(decide::in_doubt(address, remedy));
            Decision::nothing(ActionReason::Held)
        } else {
            let three = decide::Three {
                address,
                desired,
                applied,
                seen,
                elsewhere: inputs.elsewhere.contains(address),
                destroying: inputs.options.destroy.is_some(),
            };
            match three.decide() {
                Ok(decision) => decision,
                Err(decide::Stop::Hold(hold)) => {
                    self.holds.push(*hold);
                    Decision::nothing(ActionReason::Held)
                }
                Err(decide::Stop::Refusal(refusal)) => {
                    self.refusals.push(*refusal);
                    Decision::nothing(ActionReason::Refused)
                }
            }
        };
        let case = kinds::Case {
            address,
            desired,
            applied,
            found,
            action: decision.action,
            cause: decision.cause,
            reason: decision.reason,
            purge: inputs.options.destroy == Some(Destroy::Purge),
            now: inputs.now,
        };
        if desired.is_some() && in_scope && !inputs.options.drift_only {
            let (hold, warning) = kinds.outlook(&case, &self.needs)?;
            self.holds.extend(hold);
            self.warnings.extend(warning);
        }
        let (change, drafts) = kinds.change(&case, &self.needs)?;
        self.changes.push(change);
        self.drafts.extend(drafts);
        Ok(())
    }
}
