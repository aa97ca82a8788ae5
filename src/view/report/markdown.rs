//! A plan as a comment on a merge request: GitHub's and GitLab's Markdown.
//!
//! Text of others stands in `<code>` with every character but letters, digits and a few harmless
//! ones written as a numeric reference, which Markdown never takes for syntax: it opens no tag, ends
//! no cell, mentions nobody, links nowhere and is no quick action. Diffs stand in fences that are
//! longer than any run of backticks in them.

use std::fmt::Write as _;

use super::{Effect, cause, cut, effects, lifted, origin, summary, word};
use crate::{
    plan::{
        diff::{Diff, Tag},
        saved::{Saved, SavedChange, SavedFile},
    },
    resource::FieldChange,
    view::text,
};

/// The most bytes of a comment. GitHub takes 65,536 characters.
pub const LIMIT: usize = 60_000;

/// What is left for what stands behind the details.
const TAIL: usize = 14_000;
/// The most bytes of the table.
const TABLE: usize = 14_000;
/// The most bytes of one list.
const LIST: usize = 3_000;
/// The most lines of one diff, and the most characters of one line.
const DIFF: (usize, usize) = (60, 200);
/// The most characters of a text in a list or a cell.
const CELL: usize = 200;

/// The comment.
pub fn render(saved: &Saved) -> String {
    let effects = effects(saved);
    let mut out = format!(
        "### Plan for {} on {}: {}\n\n",
        code(saved.project.as_str()),
        code(&cut(&saved.host, CELL)),
        summary(saved)
    );
    let refusals = saved.refusals.iter().map(|refusal| {
        let whom = refusal.address.as_ref();
        let whom = whom.map_or_else(String::new, |a| format!(" {}:", code(&a.to_string())));
        format!(
            "**{}**{whom} {}",
            code(&cut(&refusal.code, CELL)),
            code(&cut(&refusal.message, CELL))
        )
    });
    list(&mut out, "Refused: this plan is not applied", refusals);
    table(&mut out, saved, &effects);
    let mut left_out = 0_usize;
    for change in saved.done() {
        let block = details(
            change,
            effects.get(&change.address).copied().unwrap_or_default(),
        );
        if out.len() + block.len() + TAIL > LIMIT {
            left_out += 1;
        } else {
            out.push_str(&block);
        }
    }
    if left_out > 0 {
        let _ = writeln!(
            out,
            "_The details of {} are left out, since a comment has a limit. `lorectl show FILE` shows all._\n",
            text::count(left_out, "resource")
        );
    }
    let holds = saved.holds.iter().map(|hold| {
        format!(
            "{} {}; {}",
            code(&hold.address.to_string()),
            code(&cut(&hold.reason, CELL)),
            code(&cut(&lifted(&hold.lift), CELL))
        )
    });
    list(&mut out, "Held", holds);
    let drift = saved.drift.iter().flat_map(|drift| {
        drift.fields.iter().map(|field| {
            let ignored = if field.ignored { " (ignored)" } else { "" };
            format!(
                "{} {}: {}{ignored}",
                code(&drift.address.to_string()),
                field.level.as_str(),
                code(&cut(&field.field, CELL))
            )
        })
    });
    list(&mut out, "Changed on the host since the last apply", drift);
    let warnings = saved
        .warnings
        .iter()
        .map(|warning| code(&cut(warning, CELL)));
    list(&mut out, "Warnings", warnings);
    let _ = writeln!(out, "{}", origin(saved).join(" · "));
    out
}

/// A text of others, within a line or a cell.
fn code(text: &str) -> String {
    let clean = text::escape(text);
    let mut out = String::with_capacity(clean.len() + 16);
    out.push_str("<code>");
    let mut before = ' ';
    for c in clean.chars() {
        // `www.` would become a link.
        let dot = c == '.' && !before.eq_ignore_ascii_case(&'w');
        before = c;
        if c.is_ascii_alphanumeric() || " ,-/;()=+%".contains(c) || dot || !c.is_ascii() {
            out.push(c);
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "&#{};", u32::from(c));
        }
    }
    out.push_str("</code>");
    out
}

/// A list under its title, as long as there is room.
fn list(out: &mut String, title: &str, items: impl Iterator<Item = String>) {
    let mut text = String::new();
    let mut left = 0_usize;
    for item in items {
        if left == 0 && text.len() + item.len() <= LIST {
            let _ = writeln!(text, "- {item}");
        } else {
            left += 1;
        }
    }
    if text.is_empty() && left == 0 {
        return;
    }
    if left > 0 {
        let _ = writeln!(text, "- _and {left} more_");
    }
    let _ = writeln!(out, "**{title}**\n\n{text}");
}

fn table(
    out: &mut String,
    saved: &Saved,
    effects: &std::collections::BTreeMap<&crate::id::Address, Effect<'_>>,
) {
    if saved.done().next().is_none() {
        return;
    }
    out.push_str("| | Resource | Why | Effect |\n| --- | --- | --- | --- |\n");
    let (mut used, mut left) = (0, 0_usize);
    for change in saved.done() {
        let effect = effects.get(&change.address).copied().unwrap_or_default();
        let disturbs = match effect.never_undone {
            Some(_) => "**cannot be undone**",
            None => effect.disturbs,
        };
        let row = format!(
            "| {} | {} | {} | {disturbs} |\n",
            word(change.values.action),
            code(&change.address.to_string()),
            cause(change),
        );
        if left == 0 && used + row.len() <= TABLE {
            used += row.len();
            out.push_str(&row);
        } else {
            left += 1;
        }
    }
    out.push('\n');
    if left > 0 {
        let _ = writeln!(out, "_and {} more_\n", text::count(left, "resource"));
    }
}

fn details(change: &SavedChange, effect: Effect<'_>) -> String {
    if change.fields.is_empty()
        && change.files.is_empty()
        && change.notes.is_empty()
        && effect.never_undone.is_none()
    {
        return String::new();
    }
    let mut out = format!(
        "<details><summary>{} {}</summary>\n\n",
        word(change.values.action),
        code(&change.address.to_string())
    );
    fields(&mut out, &change.fields);
    for file in &change.files {
        draw_file(&mut out, file);
    }
    let never = effect
        .never_undone
        .map(|reason| format!("cannot be undone: {reason}"));
    for note in never.iter().chain(&change.notes) {
        let _ = writeln!(out, "- {}", code(&cut(note, CELL)));
    }
    out.push_str("\n</details>\n\n");
    out
}

fn fields(out: &mut String, fields: &[FieldChange]) {
    if fields.is_empty() {
        return;
    }
    out.push_str("| Field | Before | After |\n| --- | --- | --- |\n");
    let value = |value: &Option<String>| {
        value
            .as_ref()
            .map_or_else(String::new, |value| code(&cut(value, CELL)))
    };
    for field in fields {
        let _ = writeln!(
            out,
            "| {} | {} | {} |",
            code(&cut(&field.field, CELL)),
            value(&field.before),
            value(&field.after)
        );
    }
    out.push('\n');
}

fn draw_file(out: &mut String, file: &SavedFile) {
    let path = code(&cut(&file.path, CELL));
    match (file.size_before, file.size_after, &file.diff) {
        (Some(_), Some(_), Some(diff)) => {
            let _ = writeln!(out, "{path}\n");
            draw_diff(out, diff);
        }
        (Some(_), Some(_), None) => {
            let _ = writeln!(out, "{path}: too large to be compared by lines\n");
        }
        (None, Some(size), _) => {
            let _ = writeln!(out, "{path}: new, {}\n", text::size(size));
        }
        (Some(size), None, _) => {
            let _ = writeln!(out, "{path}: gone, {}\n", text::size(size));
        }
        (None, None, _) => {}
    }
}

fn draw_diff(out: &mut String, diff: &Diff) {
    let (most, columns) = DIFF;
    let mut body = String::new();
    for line in diff.lines.iter().take(most) {
        let text = cut(&text::escape(&line.text), columns);
        let _ = writeln!(body, "{}{text}", line.tag.sign());
    }
    let left = diff.lines.get(most..).unwrap_or_default();
    if !left.is_empty() {
        let of = |tag| left.iter().filter(|line| line.tag == tag).count();
        let _ = writeln!(
            body,
            "… {} more, {} added and {} removed",
            text::count(left.len(), "line"),
            of(Tag::Added),
            of(Tag::Removed)
        );
    }
    let mut longest = 0;
    let mut run = 0;
    for c in body.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(longest.max(2) + 1);
    let _ = writeln!(out, "{fence}diff\n{body}{fence}\n");
}
