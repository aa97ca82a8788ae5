//! The one line that says it all.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        canvas::{Canvas, Line},
        style::Paint,
        text,
    },
    Page,
};
use crate::resource::{Action, ActionReason, Plan};

/// Draws the summary line.
pub fn draw(canvas: &mut Canvas<'_>, plan: &Plan, page: &Page<'_>) {
    if page.blocks.is_empty() {
        no_changes(canvas, plan, page);
    } else {
        changes(canvas, plan, page);
    }
}

/// `Plan: 1 to create, 2 to change, 1 to delete, 1 of them cannot be undone; 1 held; 9 unchanged.`
fn changes(canvas: &mut Canvas<'_>, plan: &Plan, page: &Page<'_>) {
    let title = if plan.refusals.is_empty() {
        Line::new().put(Paint::Strong, "Plan:")
    } else {
        Line::new().put(Paint::Bad, "Plan, refused:")
    };
    let mut line = title.plain(" ");
    let mut first = true;
    for (action, words) in [
        (Action::Create, "to create"),
        (Action::Update, "to change"),
        (Action::Replace, "to replace"),
        (Action::Delete, "to delete"),
        (Action::Adopt, "to adopt"),
        (Action::Forget, "to forget"),
    ] {
        let count = plan.count(action);
        if count > 0 {
            let comma = if std::mem::take(&mut first) { "" } else { ", " };
            line = line
                .plain(comma)
                .whole(Paint::of(action), format!("{count} {words}"));
        }
    }
    let never = page.blocks.iter().filter(|b| b.never_undone.is_some());
    let never = never.count();
    if never > 0 {
        line = line
            .plain(", ")
            .whole(Paint::Grave, format!("{never} of them cannot be undone"));
    }
    for (paint, part) in rest(plan) {
        line = line.plain("; ").whole(paint, part);
    }
    canvas.line(&line.plain("."), 6);
}

/// What is left: held, not targeted, unchanged.
fn rest(plan: &Plan) -> Vec<(Paint, String)> {
    let held: BTreeSet<_> = plan.holds.iter().map(|hold| &hold.address).collect();
    let (mut refused, mut not_targeted, mut unchanged) = (0_usize, 0_usize, 0_usize);
    let mut left = 0_usize;
    for change in plan.changes.iter().filter(|c| c.action == Action::NoOp) {
        if change.reason == ActionReason::NotTargeted {
            not_targeted += 1;
        } else if change.reason == ActionReason::NotApproved {
            left += 1;
        } else if change.reason == ActionReason::Refused {
            refused += 1;
        } else if !held.contains(&change.address) {
            unchanged += 1;
        }
    }
    let parts = [
        (Paint::Held, held.len(), "held"),
        (Paint::Bad, refused, "refused"),
        (Paint::Warning, left, "left drifted"),
        (Paint::Plain, not_targeted, "not targeted"),
        (Paint::Plain, unchanged, "unchanged"),
    ];
    let parts = parts.into_iter().filter(|(_, count, _)| *count > 0);
    parts
        .map(|(paint, count, words)| (paint, format!("{count} {words}")))
        .collect()
}

/// `No changes. 12 services are as the spec says.`
fn no_changes(canvas: &mut Canvas<'_>, plan: &Plan, page: &Page<'_>) {
    let held: BTreeSet<_> = plan.holds.iter().map(|hold| &hold.address).collect();
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut not_targeted, mut left) = (0_usize, 0_usize);
    for change in &plan.changes {
        if change.reason == ActionReason::NotTargeted {
            not_targeted += 1;
        } else if change.reason == ActionReason::NotApproved {
            left += 1;
        } else if !held.contains(&change.address) && change.reason != ActionReason::Refused {
            *kinds.entry(change.address.kind.as_str()).or_default() += 1;
        }
    }
    let total: usize = kinds.values().sum();
    let said = match plan.subject.spec_digest {
        Some(_) => "as the spec says",
        None => "as applied",
    };
    let counted: Vec<String> = kinds
        .into_iter()
        .map(|(kind, n)| text::count(n, kind))
        .collect();
    let (title, paint) = if plan.refusals.is_empty() {
        ("No changes.", Paint::Good)
    } else {
        ("Refused.", Paint::Bad)
    };
    let mut line = Line::new().put(paint, title);
    let mut parts = Vec::new();
    if total > 0 {
        let are = if total == 1 { "is" } else { "are" };
        parts.push(format!("{} {are} {said}", text::list(&counted)));
    }
    if !held.is_empty() {
        parts.push(format!("{} held", held.len()));
    }
    if left > 0 {
        parts.push(format!("{left} left drifted"));
    }
    if not_targeted > 0 {
        parts.push(format!("{not_targeted} not targeted"));
    }
    let ignored = page.left_alone.iter().flat_map(|(drift, _)| &drift.fields);
    let ignored = ignored.filter(|field| field.ignored).count();
    if ignored > 0 {
        let are = if ignored == 1 { "is" } else { "are" };
        parts.push(format!(
            "{} {are} ignored, -v shows them",
            text::count(ignored, "drifted field")
        ));
    }
    if plan.changes.is_empty() {
        parts.push("There is nothing to do for this host".to_owned());
    }
    if !parts.is_empty() {
        line = line.plain(format!(" {}.", parts.join("; ")));
    }
    canvas.line(&line, 0);
}
