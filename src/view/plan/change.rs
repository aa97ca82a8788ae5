//! One change of a plan: its heading, fields, drift, files and notes.

use super::{
    super::{
        canvas::{Canvas, Line},
        style::Paint,
        text,
    },
    Block, Detail, Page, files, section,
};
use crate::{
    resource::{Action, ActionReason, Drift, DriftField, FieldChange},
    service::image::LOAD_STATE,
};

/// Where a block's rows begin.
pub const INDENT: usize = 6;
/// The widest column of field names; a longer name pushes its own value along.
const WIDEST_NAME: usize = 18;
/// The widest heading: cause and effect are to be read with the address.
const WIDEST_HEADING: usize = 100;

/// Draws one change.
pub fn draw(canvas: &mut Canvas<'_>, page: &Page<'_>, block: &Block<'_>, detail: Detail) {
    heading(canvas, page, block);
    let column = INDENT + name_width(block) + 3;
    for field in &block.change.fields {
        draw_field(canvas, field, block.change.action, column);
    }
    if let Some(drift) = block.drift {
        draw_drift(canvas, drift, column);
    }
    let files = match block.saved {
        Some(saved) => files::Sorted::of_saved(saved),
        None => files::Sorted::of(&block.change.files),
    };
    files.draw_names(canvas, column);
    if let Some(reason) = block.never_undone {
        let line = Line::indented(INDENT).put(Paint::Grave, "! ").plain(reason);
        canvas.line(&line, INDENT + 2);
    }
    for note in &block.change.notes {
        draw_note(canvas, note, INDENT);
    }
    files.draw_contents(canvas, detail);
}

/// `  ~ service.backup                                     spec    daemon-reload`
fn heading(canvas: &mut Canvas<'_>, page: &Page<'_>, block: &Block<'_>) {
    let action = block.change.action;
    let (symbol, paint) = match (action, block.never_undone) {
        (Action::Update, Some(_)) => ("!", Paint::Grave),
        _ => (canvas.style().symbol(action), Paint::of(action)),
    };
    let left = Line::indented(2)
        .put(paint, symbol)
        .pad_to(4)
        .put(Paint::Strong, block.change.address.to_string());
    let cause = block.cause();
    let (causes, effects) = (page.cause_width, page.effect_width);
    let gap = if causes > 0 && effects > 0 { 4 } else { 0 };
    let columns = canvas.style().columns().min(WIDEST_HEADING);
    let start = columns.saturating_sub(causes + gap + effects);
    let effect_paint = match block.never_undone {
        Some(_) => Paint::Grave,
        None => Paint::Plain,
    };
    let right = |line: Line| {
        line.pad_to(start)
            .put(Paint::Dim, cause)
            .pad_to(start + causes + gap)
            .whole(effect_paint, block.effect())
    };
    let reason = reason(block.change.reason);
    let explained = reason.map(|reason| left.clone().plain("   ").put(Paint::Dim, reason));
    if let Some(left) = explained.filter(|left| left.width() + 2 <= start) {
        canvas.line(&right(left), start);
        return;
    }
    if left.width() + 2 <= start {
        canvas.line(&right(left), start);
    } else {
        canvas.line(&left, INDENT);
        if !cause.is_empty() || !block.effect().is_empty() {
            canvas.line(&right(Line::new()), start);
        }
    }
    if let Some(reason) = reason {
        canvas.line(&Line::indented(INDENT).put(Paint::Dim, reason), INDENT);
    }
}

/// Why this action, where the action and its cause do not say so already.
const fn reason(reason: ActionReason) -> Option<&'static str> {
    match reason {
        ActionReason::UpToDate
        | ActionReason::NewInSpec
        | ActionReason::SpecChanged
        | ActionReason::Drifted
        | ActionReason::NotTargeted
        | ActionReason::NotApproved
        | ActionReason::DriftIgnored
        | ActionReason::AtRest
        | ActionReason::Destroy
        | ActionReason::Held
        | ActionReason::Refused => None,
        ActionReason::SourceChanged => Some("its source holds another value"),
        ActionReason::RenewalDue => Some("its time has come"),
        ActionReason::RenewalAsked => Some("asked for"),
        ActionReason::GoneFromHost => Some("was applied, and is gone from the host"),
        ActionReason::RecordChanged => {
            Some("only what lorectl records changes; the host is not touched")
        }
        ActionReason::RemovedFromSpec => Some("no longer in the spec"),
        ActionReason::NotForThisHost => Some("the spec has it for other hosts"),
        ActionReason::BackendChanged => Some("moves to another backend"),
        ActionReason::FoundOnHost => {
            Some("is on the host with our mark; taken into the state as it is")
        }
        ActionReason::AlreadyGone => {
            Some("no longer in the spec, and already gone from the host; only the record goes")
        }
    }
}

/// The width of a block's column of names.
fn name_width(block: &Block<'_>) -> usize {
    let fields = block.change.fields.iter();
    let widths = fields.map(|field| text::width(&text::escape(&field.field)));
    widths
        .filter(|width| *width <= WIDEST_NAME)
        .chain([9])
        .max()
        .unwrap_or(9)
}

/// The beginning of a row: its name, padded to the column of values.
pub fn named(name: &str, column: usize) -> Line {
    Line::indented(INDENT)
        .put(Paint::Dim, name)
        .plain("   ")
        .pad_to(column)
}

fn draw_field(canvas: &mut Canvas<'_>, field: &FieldChange, action: Action, column: usize) {
    let arrow = canvas.style().glyphs().arrow;
    let name = named(&field.field, column);
    let changes = !matches!(action, Action::Create | Action::Delete | Action::Forget);
    let line = match (&field.before, &field.after) {
        (Some(before), Some(after)) => {
            let one = before_after(name.clone(), before, after, &format!("  {arrow}  "));
            if one.width() > canvas.style().columns() {
                // Too long for one line: each value gets its own, aligned below one another.
                let mark = Line::indented(column).put(Paint::Dim, arrow).plain(" ");
                let hang = mark.width();
                canvas.line(&name.pad_to(hang).put(Paint::Dim, before), hang);
                canvas.line(&mark.plain(after), hang);
                return;
            }
            one
        }
        (None, Some(after)) if changes => {
            before_after(name, "unset", after, &format!("  {arrow}  "))
        }
        (Some(before), None) if changes => {
            before_after(name, before, "unset", &format!("  {arrow}  "))
        }
        (None, Some(value)) => name.plain(value),
        (Some(value), None) => name.put(Paint::Dim, value),
        (None, None) => name.put(Paint::Dim, "changes"),
    };
    canvas.line(&line, column);
}

fn before_after(line: Line, before: &str, after: &str, arrow: &str) -> Line {
    line.put(Paint::Dim, before)
        .whole(Paint::Dim, arrow)
        .plain(after)
}

fn draw_drift(canvas: &mut Canvas<'_>, drift: &Drift, column: usize) {
    for (at, field) in drift.fields.iter().enumerate() {
        let name = if at == 0 { "drift" } else { "" };
        draw_drifted(canvas, named(name, column), field);
    }
    for note in &drift.notes {
        draw_note(canvas, note, INDENT);
    }
}

/// Columns of a field's level.
const LEVEL: usize = 12;

/// `platform    enabled: applied yes, found no`; what follows a break stands under the field.
pub fn draw_drifted(canvas: &mut Canvas<'_>, line: Line, field: &DriftField) {
    let hang = line.width() + LEVEL;
    canvas.line(&drifted(line, field), hang);
}

fn drifted(line: Line, field: &DriftField) -> Line {
    let level = line.width();
    let line = line
        .put(Paint::Warning, field.level.as_str())
        .pad_to(level + LEVEL)
        .put(Paint::Strong, &field.field)
        .plain(": ");
    let line = match (&field.applied, &field.observed) {
        (Some(applied), Some(observed)) => line
            .put(Paint::Dim, format!("applied {applied}, "))
            .plain(format!("found {observed}")),
        (Some(applied), None) => line
            .put(Paint::Dim, format!("applied {applied}, "))
            .plain("gone"),
        // What these say is of the resource or the part as a whole, which was applied.
        (None, Some(observed))
            if observed == Drift::GONE
                || [Drift::WHOLE, LOAD_STATE.as_str()].contains(&&*field.field) =>
        {
            line.plain(observed)
        }
        (None, Some(observed)) => line.plain(format!("not applied, found {observed}")),
        (None, None) => line.plain("differs from what was applied"),
    };
    if field.ignored {
        line.put(Paint::Dim, " (ignored)")
    } else {
        line
    }
}

fn draw_note(canvas: &mut Canvas<'_>, note: &str, indent: usize) {
    let bullet = canvas.style().glyphs().bullet;
    let line = Line::indented(indent)
        .put(Paint::Dim, bullet)
        .plain(" ")
        .plain(note);
    canvas.line(&line, indent + 2);
}

/// Draws drift to which nothing is done: what is held or refused, and under `-v` what the user leaves alone.
pub fn draw_left_alone(canvas: &mut Canvas<'_>, page: &Page<'_>, detail: Detail) {
    let shown = page.left_alone.iter();
    let shown: Vec<&Drift> = shown
        .filter(|(_, as_asked)| !as_asked || detail == Detail::Full)
        .map(|(drift, _)| *drift)
        .collect();
    if shown.is_empty() {
        return;
    }
    section(canvas, Paint::Strong, "Drift that is left");
    for drift in shown {
        let address = drift.address.to_string();
        canvas.line(&Line::indented(4).put(Paint::Strong, address), 4);
        for field in &drift.fields {
            draw_drifted(canvas, Line::indented(INDENT), field);
        }
        for note in &drift.notes {
            draw_note(canvas, note, INDENT);
        }
    }
}
