//! Which step comes before which, and which resources share a fate.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    error::{Code, Error, Result},
    id::Address,
    resource::{Action, Applied, Change, Step, StepId, Undo},
};

use super::kinds::{Draft, Phase};

/// The dependencies among the resources of one plan, dependent first.
pub struct Links {
    /// As they were applied: what goes, goes in this order.
    old: BTreeSet<(Address, Address)>,
    /// As they are wished: what is made, is made in the reverse of this order.
    new: BTreeSet<(Address, Address)>,
}

impl Links {
    /// Reads them off the records before and after.
    pub fn of(changes: &[Change], applied: &BTreeMap<Address, Applied>) -> Self {
        let edges = |address: &Address, record: Option<&Applied>| {
            let below = record.map(|record| record.meta.depends_on.clone());
            let address = address.clone();
            below
                .unwrap_or_default()
                .into_iter()
                .map(move |dependency| (address.clone(), dependency))
        };
        let (mut old, mut new) = (BTreeSet::new(), BTreeSet::new());
        for change in changes {
            let applied = applied.get(&change.address);
            old.extend(edges(&change.address, applied));
            new.extend(edges(&change.address, change.record_after(applied)));
        }
        Self { old, new }
    }

    /// Numbers the weakly connected groups of some resources, ignoring all others.
    pub fn groups<'a>(&self, members: impl Iterator<Item = &'a Address>) -> BTreeMap<Address, u32> {
        let members: BTreeSet<&Address> = members.collect();
        let mut neighbours: BTreeMap<&Address, Vec<&Address>> = BTreeMap::new();
        for (a, b) in self.old.union(&self.new) {
            if members.contains(a) && members.contains(b) {
                neighbours.entry(a).or_default().push(b);
                neighbours.entry(b).or_default().push(a);
            }
        }
        let mut groups = BTreeMap::new();
        let mut next = 0;
        for &member in &members {
            if groups.contains_key(member) {
                continue;
            }
            next += 1;
            let mut open = vec![member];
            while let Some(address) = open.pop() {
                if groups.insert(address.clone(), next).is_none()
                    && let Some(more) = neighbours.get(address)
                {
                    open.extend(more);
                }
            }
        }
        groups
    }
}

/// Orders the drafts and numbers them.
///
/// What is made comes after what it depends on; what goes, goes before what it depended on; a
/// resource that stops depending on another is changed before that other goes. What cannot be
/// undone comes as late as the graph allows.
///
/// What was applied may go round in a circle, where two applies recorded one half each; what goes
/// then goes in no order among itself.
///
/// # Errors
/// `INTERNAL` for a cycle: the spec was checked for one.
pub fn arrange(drafts: Vec<Draft>, changes: &[Change], links: &Links) -> Result<Vec<Step>> {
    let mut before: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); drafts.len()];
    let mut by_address: BTreeMap<&Address, Vec<usize>> = BTreeMap::new();
    for (at, draft) in drafts.iter().enumerate() {
        let own = by_address.entry(&draft.address).or_default();
        before[at].extend(own.iter().copied());
        own.push(at);
    }
    let goes = |address: &Address| {
        changes
            .binary_search_by(|change| change.address.cmp(address))
            .is_ok_and(|at| changes[at].action == Action::Delete)
    };
    let precede = |before: &mut [BTreeSet<usize>],
                   first: &Address,
                   then: &Address,
                   phases: (Phase, Phase)| {
        let (Some(firsts), Some(thens)) = (by_address.get(first), by_address.get(then)) else {
            return;
        };
        for (&a, &b) in firsts
            .iter()
            .flat_map(|a| thens.iter().map(move |b| (a, b)))
        {
            if (drafts[a].phase, drafts[b].phase) == phases {
                before[b].insert(a);
            }
        }
    };
    for (dependent, dependency) in &links.new {
        let both = (Phase::Making, Phase::Making);
        precede(&mut before, dependency, dependent, both);
    }
    let as_wished = before.clone();
    for (dependent, dependency) in &links.old {
        let both = (Phase::Removal, Phase::Removal);
        precede(&mut before, dependent, dependency, both);
        // One that stops depending on another is changed before that other goes for good.
        if goes(dependency) {
            let both = (Phase::Making, Phase::Removal);
            precede(&mut before, dependent, dependency, both);
        }
    }
    let order = match sort(&before) {
        Ok(order) => order,
        Err(stuck) => {
            for &at in &stuck {
                let wished = &as_wished[at];
                before[at].retain(|b| wished.contains(b) || !stuck.contains(b));
            }
            sort(&before).map_err(|stuck| circle(&drafts, &stuck))?
        }
    };
    delay_pivots(&drafts, &mut before, &order);
    let order = sort(&before).map_err(|stuck| circle(&drafts, &stuck))?;
    let mut number = vec![StepId(0); drafts.len()];
    for (position, &at) in order.iter().enumerate() {
        number[at] = StepId(u32::try_from(position + 1).unwrap_or(u32::MAX));
    }
    let mut slots: Vec<Option<Draft>> = drafts.into_iter().map(Some).collect();
    Ok(order
        .iter()
        .filter_map(|&at| {
            let draft = slots[at].take()?;
            let mut depends_on: Vec<StepId> = before[at].iter().map(|&b| number[b]).collect();
            depends_on.sort_unstable();
            Some(draft.into_step(number[at], depends_on))
        })
        .collect())
}

/// An order in which each comes after those `before` it.
///
/// # Errors
/// Those that wait for one another, and what waits for them.
fn sort(before: &[BTreeSet<usize>]) -> std::result::Result<Vec<usize>, BTreeSet<usize>> {
    let count = before.len();
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut waiting: Vec<usize> = Vec::with_capacity(count);
    for (at, earlier) in before.iter().enumerate() {
        waiting.push(earlier.len());
        for &b in earlier {
            after[b].push(at);
        }
    }
    let mut ready: BTreeSet<usize> = (0..count).filter(|&at| waiting[at] == 0).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(at) = ready.pop_first() {
        order.push(at);
        for &next in &after[at] {
            waiting[next] -= 1;
            if waiting[next] == 0 {
                ready.insert(next);
            }
        }
    }
    if order.len() == count {
        return Ok(order);
    }
    Err((0..count).filter(|at| waiting[*at] > 0).collect())
}

fn circle(drafts: &[Draft], stuck: &BTreeSet<usize>) -> Error {
    let stuck: Vec<String> = (stuck.iter())
        .map(|&at| drafts[at].address.to_string())
        .collect();
    Error::new(
        Code::Internal,
        format!("the steps of {} wait for one another", stuck.join(", ")),
    )
}

/// Makes every step that cannot be undone wait for all steps that do not wait for it, nor for what
/// another such step was made to wait for.
fn delay_pivots(drafts: &[Draft], before: &mut [BTreeSet<usize>], order: &[usize]) {
    let is_pivot = |at: usize| matches!(drafts[at].undo, Undo::Never { .. });
    let others: Vec<usize> = (0..drafts.len()).filter(|at| !is_pivot(*at)).collect();
    if others.is_empty() {
        return;
    }
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); drafts.len()];
    for (at, earlier) in before.iter().enumerate() {
        for &b in earlier {
            after[b].push(at);
        }
    }
    for &pivot in order.iter().filter(|&&at| is_pivot(at)) {
        let mut waits_for_it = vec![false; drafts.len()];
        let mut open = vec![pivot];
        while let Some(at) = open.pop() {
            if !std::mem::replace(&mut waits_for_it[at], true) {
                open.extend(&after[at]);
            }
        }
        for &other in others.iter().filter(|&&other| !waits_for_it[other]) {
            if before[pivot].insert(other) {
                after[other].push(pivot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{BackendId, Kind, ResourceId, Seconds},
        resource::{Definition, Disruption, Verb},
    };

    fn draft(name: &str, undo: Undo) -> Draft {
        Draft {
            address: Address::new(Kind::Toy, name.parse().unwrap()),
            resource: ResourceId::from_mark(name),
            backend: BackendId::from_static("toys"),
            verb: Verb::from_static("make"),
            phase: Phase::Making,
            disruption: Disruption::None,
            undo,
            before: None,
            after: None,
            definition: Definition::of(&()).unwrap(),
            patience: Seconds(1),
        }
    }

    #[test]
    fn steps_that_cannot_be_undone_come_late_and_do_not_wait_for_one_another() {
        let never = || Undo::Never {
            reason: "it is final".to_owned(),
        };
        let drafts = vec![
            draft("a", never()),
            draft("a-user", Undo::RestoreBefore),
            draft("b", never()),
            draft("b-user", Undo::RestoreBefore),
            draft("other", Undo::RestoreBefore),
        ];
        let edge = |at: usize, on: usize| (drafts[at].address.clone(), drafts[on].address.clone());
        let links = Links {
            old: BTreeSet::new(),
            new: BTreeSet::from([edge(1, 0), edge(3, 2)]),
        };
        let steps = arrange(drafts, &[], &links).unwrap();
        let names: Vec<&str> = steps.iter().map(|s| s.address.name.as_str()).collect();
        assert_eq!(names, ["other", "b", "b-user", "a", "a-user"]);
    }
}
