//! A plan file for other places than a terminal: a comment, a merge request's widget, a page.
//!
//! All that a plan holds may have been written by someone who wants to be read as something else.
//! Each format has one function through which every text goes, and no other way in.

mod graph;
pub mod html;
pub mod markdown;

use std::collections::BTreeMap;

use serde::Serialize;

use super::lift;
use crate::{
    id::Address,
    plan::saved::{Saved, SavedChange, SavedStep},
    resource::{Action, ActionReason, Cause, Disruption, Lift, Undo},
};

/// What GitLab's Terraform report holds (`artifacts: reports: terraform`), which its merge requests
/// show as "N to add, N to change, N to delete".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gitlab {
    create: usize,
    update: usize,
    delete: usize,
}

impl Gitlab {
    /// The counts of a plan. What is replaced counts as deleted and as made, as it does for Terraform;
    /// what is adopted or forgotten changes what is recorded, and counts as changed.
    pub fn of(saved: &Saved) -> Self {
        let replaced = saved.count(Action::Replace);
        let recorded = saved.count(Action::Adopt) + saved.count(Action::Forget);
        Self {
            create: saved.count(Action::Create) + replaced,
            update: saved.count(Action::Update) + recorded,
            delete: saved.count(Action::Delete) + replaced,
        }
    }
}

/// What an action is called.
const fn word(action: Action) -> &'static str {
    match action {
        Action::NoOp => "unchanged",
        Action::Create => "create",
        Action::Update => "change",
        Action::Replace => "replace",
        Action::Delete => "delete",
        Action::Adopt => "adopt",
        Action::Forget => "forget",
    }
}

/// `1 to create, 2 to change; 1 held; 9 unchanged`, or `no changes`.
fn summary(saved: &Saved) -> String {
    let mut parts: Vec<String> = [
        Action::Create,
        Action::Update,
        Action::Replace,
        Action::Delete,
        Action::Adopt,
        Action::Forget,
    ]
    .into_iter()
    .map(|action| (saved.count(action), word(action)))
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} to {word}"))
    .collect();
    if parts.is_empty() {
        parts.push("no changes".to_owned());
    }
    let mut rest = vec![parts.join(", ")];
    let still = |change: &&SavedChange| match change.reason {
        ActionReason::Held | ActionReason::Refused | ActionReason::NotTargeted => false,
        ActionReason::UpToDate
        | ActionReason::NewInSpec
        | ActionReason::GoneFromHost
        | ActionReason::Drifted
        | ActionReason::SpecChanged
        | ActionReason::RecordChanged
        | ActionReason::SourceChanged
        | ActionReason::RenewalDue
        | ActionReason::RenewalAsked
        | ActionReason::AtRest
        | ActionReason::RemovedFromSpec
        | ActionReason::NotForThisHost
        | ActionReason::BackendChanged
        | ActionReason::FoundOnHost
        | ActionReason::AlreadyGone
        | ActionReason::NotApproved
        | ActionReason::DriftIgnored
        | ActionReason::Destroy => change.values.action == Action::NoOp,
    };
    for (count, word) in [
        (saved.refusals.len(), "refused"),
        (saved.holds.len(), "held"),
        (saved.changes.iter().filter(still).count(), "unchanged"),
    ] {
        if count > 0 {
            rest.push(format!("{count} {word}"));
        }
    }
    rest.join("; ")
}

fn cause(change: &SavedChange) -> &'static str {
    if change.reason == ActionReason::RenewalAsked {
        // A person is no schedule.
        return "asked";
    }
    change.cause.map_or("", Cause::as_str)
}

/// What a change disturbs, and why it cannot be undone, if it cannot.
#[derive(Debug, Clone, Copy, Default)]
struct Effect<'a> {
    disturbs: &'static str,
    never_undone: Option<&'a str>,
}

fn effects(saved: &Saved) -> BTreeMap<&Address, Effect<'_>> {
    let mut steps: BTreeMap<&Address, Vec<&SavedStep>> = BTreeMap::new();
    for step in &saved.steps {
        steps.entry(&step.address).or_default().push(step);
    }
    steps
        .into_iter()
        .map(|(address, steps)| {
            let gravest = steps.iter().max_by_key(|step| step.disruption);
            let never_undone = steps.iter().find_map(|step| match &step.undo {
                Undo::Never { reason } => Some(reason.as_str()),
                Undo::Verb { .. } | Undo::RestoreBefore | Undo::RestoreGeneration { .. } => None,
            });
            let effect = Effect {
                disturbs: gravest.map_or("", |step| disturbs(step)),
                never_undone,
            };
            (address, effect)
        })
        .collect()
}

fn disturbs(step: &SavedStep) -> &'static str {
    match step.disruption {
        Disruption::None => "",
        Disruption::Hitless => "hitless",
        Disruption::Reload if step.backend.as_str().starts_with("systemd") => "daemon-reload",
        Disruption::Reload => "reload",
        Disruption::Restart => "restart",
    }
}

/// What lifts a hold, to follow its reason.
fn lifted(lift: &Lift) -> String {
    let (words, what) = lift::words(lift, |at| at.to_string());
    format!("{words}{what}")
}

/// The first characters of a text, and a sign that there were more.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Where the plan's knowledge comes from: `observed …`, `spec 3f9c1e2`, `state 41`.
fn origin(saved: &Saved) -> Vec<String> {
    let observed = saved.observed_at.unwrap_or(saved.created_at);
    let mut parts = vec![format!("observed {}", super::time::full(observed))];
    parts.extend(
        saved
            .spec_digest
            .map(|digest| format!("spec {}", digest.short())),
    );
    parts.push(match saved.serial {
        0 => "no state yet".to_owned(),
        serial => format!("state {serial}"),
    });
    parts
}

#[cfg(test)]
mod tests;
