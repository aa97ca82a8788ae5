//! A plan as one page: nothing of it comes from elsewhere, and its policy says so to the browser.

use std::{collections::BTreeMap, io};

use super::{Effect, cause, effects, graph, lifted, origin, summary, word};
use crate::{
    id::Address,
    plan::{
        diff::{Diff, Tag},
        saved::{Saved, SavedChange, SavedFile, SavedStep},
    },
    resource::{Drift, DriftField, Undo},
    view::text,
};

const STYLE: &str = include_str!("page.css");

/// Writes the page.
///
/// # Errors
/// What the writer says.
pub fn write(saved: &Saved, out: &mut dyn io::Write) -> io::Result<()> {
    let title = format!("{} on {}", saved.project, saved.host);
    writeln!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>Plan for {0}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>Plan for {0}</h1>\n<p class=\"summary\">{1}</p>\n<p class=\"origin\">{2}</p>",
        escape(&title),
        escape(&summary(saved)),
        escape(&origin(saved).join(" · "))
    )?;
    refusals(saved, out)?;
    let effects = effects(saved);
    let drifts = saved.drift.iter().map(|drift| (&drift.address, drift));
    let mut drifts: BTreeMap<&Address, &Drift> = drifts.collect();
    for change in saved.done() {
        let effect = effects.get(&change.address).copied().unwrap_or_default();
        one(change, effect, drifts.remove(&change.address), out)?;
    }
    holds(saved, out)?;
    left_drift(drifts.into_values(), out)?;
    items("Warnings", "warning", &saved.warnings, out)?;
    if let Some(graph) = graph::draw(saved) {
        write!(
            out,
            "<section>\n<h2>What depends on what</h2>\n<div class=\"graph\">\n{graph}</div>\n</section>\n"
        )?;
    }
    steps(&saved.steps, out)?;
    out.write_all(b"</main>\n</body>\n</html>\n")
}

/// A text of others: neither a tag nor the end of an attribute, and nothing that hides.
pub fn escape(text: &str) -> String {
    let clean = text::escape(text);
    let mut out = String::with_capacity(clean.len() + 8);
    for c in clean.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn refusals(saved: &Saved, out: &mut dyn io::Write) -> io::Result<()> {
    let told: Vec<String> = saved
        .refusals
        .iter()
        .map(|refusal| {
            let whom = refusal
                .address
                .as_ref()
                .map_or_else(String::new, |a| format!(" {a}"));
            let help = refusal
                .suggestion
                .as_ref()
                .map_or_else(String::new, |s| format!(" ({s})"));
            format!("{}{whom}: {}{help}", refusal.code, refusal.message)
        })
        .collect();
    items("Refused", "refused", &told, out)
}

fn holds(saved: &Saved, out: &mut dyn io::Write) -> io::Result<()> {
    let told: Vec<String> = saved
        .holds
        .iter()
        .map(|hold| format!("{}: {}; {}", hold.address, hold.reason, lifted(&hold.lift)))
        .collect();
    items("Held", "held", &told, out)
}

/// Drift of what the plan does nothing to.
fn left_drift<'a>(
    left: impl Iterator<Item = &'a Drift>,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let told: Vec<String> = left
        .flat_map(|drift| {
            let fields = drift.fields.iter();
            fields.map(|field| format!("{}: {}", drift.address, drifted(field)))
        })
        .collect();
    items("Drift that is left", "held", &told, out)
}

fn drifted(field: &DriftField) -> String {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    format!(
        "{} {}: applied {}, found {}{}",
        field.level.as_str(),
        field.field,
        value(&field.applied),
        value(&field.observed),
        if field.ignored { " (ignored)" } else { "" }
    )
}

fn items(title: &str, class: &str, list: &[String], out: &mut dyn io::Write) -> io::Result<()> {
    if list.is_empty() {
        return Ok(());
    }
    writeln!(out, "<section class=\"{class}\">\n<h2>{title}</h2>\n<ul>")?;
    for one in list {
        writeln!(out, "<li>{}</li>", escape(one))?;
    }
    out.write_all(b"</ul>\n</section>\n")
}

fn one(
    change: &SavedChange,
    effect: Effect<'_>,
    drift: Option<&Drift>,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let action = word(change.values.action);
    writeln!(
        out,
        "<details open class=\"one {action}\">\n<summary><span class=\"action\">{action}</span> <b>{}</b> <span class=\"why\">{}</span>{}</summary>",
        escape(&change.address.to_string()),
        cause(change),
        match effect.never_undone {
            Some(_) => " <span class=\"never\">cannot be undone</span>".to_owned(),
            None => format!(" <span class=\"why\">{}</span>", effect.disturbs),
        }
    )?;
    if !change.fields.is_empty() {
        out.write_all(b"<table>\n<tr><th>Field</th><th>Before</th><th>After</th></tr>\n")?;
        for field in &change.fields {
            let value = |value: &Option<String>| escape(value.as_deref().unwrap_or_default());
            writeln!(
                out,
                "<tr><td>{}</td><td class=\"before\">{}</td><td class=\"after\">{}</td></tr>",
                escape(&field.field),
                value(&field.before),
                value(&field.after)
            )?;
        }
        out.write_all(b"</table>\n")?;
    }
    let drift = drift.into_iter().flat_map(|drift| &drift.fields);
    let drift: Vec<String> = drift
        .map(|field| format!("drift: {}", drifted(field)))
        .collect();
    let never = effect
        .never_undone
        .map(|reason| format!("cannot be undone: {reason}"));
    let notes: Vec<&String> = drift.iter().chain(&never).chain(&change.notes).collect();
    if !notes.is_empty() {
        out.write_all(b"<ul>\n")?;
        for note in notes {
            writeln!(out, "<li>{}</li>", escape(note))?;
        }
        out.write_all(b"</ul>\n")?;
    }
    for file in &change.files {
        draw_file(file, out)?;
    }
    out.write_all(b"</details>\n")
}

fn draw_file(file: &SavedFile, out: &mut dyn io::Write) -> io::Result<()> {
    let said = match (file.size_before, file.size_after, &file.diff) {
        (Some(_), Some(_), Some(_)) => String::new(),
        (Some(_), Some(_), None) => ": too large to be compared by lines".to_owned(),
        (None, Some(size), _) => format!(": new, {}", text::size(size)),
        (Some(size), None, _) => format!(": gone, {}", text::size(size)),
        (None, None, _) => return Ok(()),
    };
    writeln!(out, "<p class=\"path\">{}{said}</p>", escape(&file.path))?;
    match &file.diff {
        Some(diff) => draw_diff(diff, out),
        None => Ok(()),
    }
}

fn draw_diff(diff: &Diff, out: &mut dyn io::Write) -> io::Result<()> {
    out.write_all(b"<pre>")?;
    for line in &diff.lines {
        let class = match line.tag {
            Tag::Hunk | Tag::NoNewline => "hunk",
            Tag::Context => "same",
            Tag::Added => "added",
            Tag::Removed => "removed",
        };
        let sign = line.tag.sign();
        writeln!(
            out,
            "<span class=\"{class}\">{sign}{}</span>",
            escape(&line.text)
        )?;
    }
    out.write_all(b"</pre>\n")
}

fn steps(steps: &[SavedStep], out: &mut dyn io::Write) -> io::Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    out.write_all(
        b"<section>\n<h2>Steps</h2>\n<table>\n<tr><th>Step</th><th>Resource</th><th>What</th><th>On</th><th>After</th><th>Undo</th></tr>\n",
    )?;
    for step in steps {
        let after: Vec<String> = step.depends_on.iter().map(ToString::to_string).collect();
        let undo = match &step.undo {
            Undo::Verb { verb } => verb.to_string(),
            Undo::RestoreBefore => "restore".to_owned(),
            Undo::RestoreGeneration { generation } => format!("restore generation {generation}"),
            Undo::Never { reason } => format!("none: {reason}"),
        };
        writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            step.id,
            escape(&step.address.to_string()),
            escape(step.verb.as_str()),
            escape(step.backend.as_str()),
            after.join(", "),
            escape(&undo)
        )?;
    }
    out.write_all(b"</table>\n</section>\n")
}
