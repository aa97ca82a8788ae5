//! What a plan's page holds: its changes in the order in which they are carried out, and what each disturbs.

use std::collections::BTreeMap;

use crate::{
    id::Address,
    plan::saved::SavedFile,
    resource::{Action, ActionReason, Change, Disruption, Drift, Plan, Step, Undo},
};

/// The files of changes that come from a plan file.
pub type Files<'a> = BTreeMap<&'a Address, &'a [SavedFile]>;

/// A plan, arranged for reading.
pub struct Page<'a> {
    /// What is done, in order.
    pub blocks: Vec<Block<'a>>,
    /// Drift of resources to which nothing is done, and whether that is as the user asked
    /// (`ignore_drift`, `--target`).
    pub left_alone: Vec<(&'a Drift, bool)>,
    /// The columns that the widest cause takes.
    pub cause_width: usize,
    /// The columns that the widest effect takes.
    pub effect_width: usize,
}

/// Stands where a change's disruption would, when that matters more.
pub const NOT_UNDONE: &str = "cannot be undone";

/// One change, with what its steps do to the host.
pub struct Block<'a> {
    /// The change.
    pub change: &'a Change,
    /// Its files as a plan file has them, in place of the change's own.
    pub saved: Option<&'a [SavedFile]>,
    /// What drifted on the host, of the same resource.
    pub drift: Option<&'a Drift>,
    /// What its steps disturb, in a word; empty for nothing.
    pub disruption: &'static str,
    /// Why it cannot be undone, if it cannot.
    pub never_undone: Option<&'a str>,
}

impl<'a> Page<'a> {
    /// Arranges a plan; where it comes from a file, with the files that this has.
    pub fn of(plan: &'a Plan, files: Option<&Files<'a>>) -> Self {
        let mut steps: BTreeMap<&Address, Vec<&Step>> = BTreeMap::new();
        for step in &plan.steps {
            steps.entry(&step.address).or_default().push(step);
        }
        let mut drift: BTreeMap<&Address, &Drift> = plan
            .drift
            .iter()
            .map(|drift| (&drift.address, drift))
            .collect();
        let mut ordered: Vec<(u32, Block<'a>)> = Vec::new();
        for change in &plan.changes {
            if change.action == Action::NoOp {
                continue;
            }
            let own = steps.remove(&change.address).unwrap_or_default();
            let first = own.iter().map(|step| step.id.0).min().unwrap_or(u32::MAX);
            let block = Block {
                change,
                saved: files.map(|files| files.get(&change.address).copied().unwrap_or_default()),
                drift: drift.remove(&change.address),
                disruption: disruption(&own),
                never_undone: own.iter().find_map(|step| never(&step.undo)),
            };
            ordered.push((first, block));
        }
        // The sort is stable: changes without a step stay in the order of their addresses, at the end.
        ordered.sort_by_key(|(first, _)| *first);
        let blocks: Vec<Block<'a>> = ordered.into_iter().map(|(_, block)| block).collect();
        let causes = blocks.iter().map(|block| block.cause().len());
        let effects = blocks.iter().map(|block| block.effect().len());
        Self {
            cause_width: causes.max().unwrap_or(0),
            effect_width: effects.max().unwrap_or(0),
            left_alone: drift
                .into_values()
                .map(|drift| (drift, as_asked(plan, drift)))
                .collect(),
            blocks,
        }
    }
}

impl Block<'_> {
    /// Why it is in the plan, in a word.
    pub fn cause(&self) -> &'static str {
        if self.change.reason == ActionReason::RenewalAsked {
            // A person is no schedule; the reason says it.
            return "";
        }
        self.change.cause.map_or("", crate::resource::Cause::as_str)
    }

    /// Whether its heading says all of it, so that it needs no room around it.
    pub fn is_one_line(&self) -> bool {
        self.change.fields.is_empty()
            && self
                .saved
                .map_or(self.change.files.is_empty(), <[_]>::is_empty)
            && self.change.notes.is_empty()
            && self.drift.is_none()
            && self.never_undone.is_none()
    }

    /// What the reader must know before anything else, in a word or three.
    pub const fn effect(&self) -> &'static str {
        match self.never_undone {
            Some(_) => NOT_UNDONE,
            None => self.disruption,
        }
    }
}

fn as_asked(plan: &Plan, drift: &Drift) -> bool {
    drift.fields.iter().all(|field| field.ignored)
        || plan
            .change(&drift.address)
            .is_some_and(|change| change.reason == ActionReason::NotTargeted)
}

fn never(undo: &Undo) -> Option<&str> {
    match undo {
        Undo::Never { reason } => Some(reason),
        Undo::Verb { .. } | Undo::RestoreBefore | Undo::RestoreGeneration { .. } => None,
    }
}

/// The gravest disruption of a resource's steps, in its backend's word.
fn disruption(steps: &[&Step]) -> &'static str {
    let Some(gravest) = steps.iter().max_by_key(|step| step.disruption) else {
        return "";
    };
    match gravest.disruption {
        Disruption::None => "",
        Disruption::Hitless => "hitless",
        Disruption::Reload if gravest.backend.as_str().starts_with("systemd") => "daemon-reload",
        Disruption::Reload => "reload",
        Disruption::Restart => "restart",
    }
}

/// How a step is undone, in words.
pub fn undo_words(undo: &Undo) -> String {
    match undo {
        Undo::Verb { verb } => format!("undo: {}", verb.as_str()),
        Undo::RestoreBefore => "undo: restore".to_owned(),
        Undo::RestoreGeneration { generation } => {
            format!("undo: restore generation {generation}")
        }
        Undo::Never { reason } => format!("no undo: {reason}"),
    }
}
