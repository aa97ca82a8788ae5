//! A plan for its reader: what is done, why, what it disturbs, what is held or refused, in one summary line.

mod change;
mod files;
mod page;
mod saved;
mod summary;

use std::io;

pub(super) use change::draw_drifted;
use page::{Block, Files, Page};
pub use saved::write_saved;

use super::{
    canvas::{Canvas, Line},
    lift,
    style::{Paint, Style},
    text, time,
};
use crate::{
    id::{Address, Kind, Timestamp},
    resource::{Action, ActionReason, Hold, Lift, Plan, Refusal},
};

/// How much is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Detail {
    /// What stands in the way, and the summary: `-q`.
    Summary,
    /// What a reviewer wants.
    #[default]
    Usual,
    /// Whole files, whole diffs, the steps in their order: `-v`.
    Full,
}

/// Where the plan's knowledge of the host comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Observation {
    /// The host was asked when the plan was made.
    #[default]
    Live,
    /// The host was asked when the plan was made, and no issuer.
    Offline,
    /// A snapshot that was taken at that instant, UTC.
    Snapshot(Timestamp),
    /// The plan comes from a file; the host was looked at when it was made, or then, UTC.
    File(Option<Timestamp>),
}

/// What a printed plan depends on besides the plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlanContext {
    /// Where the knowledge of the host comes from.
    pub observation: Observation,
    /// How much is shown.
    pub detail: Detail,
    /// Whether the command ends with an error that tells the refusals, so that the page need not.
    pub error_follows: bool,
}

/// The plan as text.
pub fn render(plan: &Plan, style: &Style, context: &PlanContext) -> String {
    let mut out = Vec::new();
    // A vector takes everything.
    let _ = write(plan, style, context, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// Writes the plan as text, block by block.
///
/// # Errors
/// What the writer says.
pub fn write(
    plan: &Plan,
    style: &Style,
    context: &PlanContext,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    write_with(plan, None, style, context, out)
}

fn write_with<'a>(
    plan: &'a Plan,
    files: Option<&Files<'a>>,
    style: &Style,
    context: &PlanContext,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let page = Page::of(plan, files);
    let mut canvas = Canvas::new(style);
    if context.detail != Detail::Summary {
        // What nobody was asked about is as old as it says, also where nothing is to be done.
        if !page.blocks.is_empty() || context.observation == Observation::Offline {
            heading(&mut canvas, plan, context);
        }
        let mut dense = false;
        for block in &page.blocks {
            if !(dense && block.is_one_line()) {
                canvas.gap();
            }
            dense = block.is_one_line();
            change::draw(&mut canvas, &page, block, context.detail);
            out.write_all(canvas.take().as_bytes())?;
        }
        watched(&mut canvas, plan);
        change::draw_left_alone(&mut canvas, &page, context.detail);
        if context.detail == Detail::Full {
            steps(&mut canvas, plan);
        }
    }
    holds(&mut canvas, &plan.holds, plan.created_at);
    if !context.error_follows {
        refusals(&mut canvas, &plan.refusals);
    }
    warnings(&mut canvas, &plan.warnings);
    canvas.gap();
    summary::draw(&mut canvas, plan, &page);
    out.write_all(canvas.finish().as_bytes())
}

/// `acme on web1 · observed live 09:12 UTC · spec 3f9c1e2 · state 41`
fn heading(canvas: &mut Canvas<'_>, plan: &Plan, context: &PlanContext) {
    let subject = &plan.subject;
    let mut parts = vec![match context.observation {
        Observation::Live => format!(
            "observed live {}",
            time::clock(plan.created_at, plan.created_at)
        ),
        Observation::Offline => format!(
            "observed offline {}",
            time::clock(plan.created_at, plan.created_at)
        ),
        Observation::Snapshot(at) => format!("observed {}", time::when(plan.created_at, at)),
        Observation::File(None) => format!("observed {}", time::full(plan.created_at)),
        Observation::File(Some(at)) => format!("observed {}", time::full(at)),
    }];
    if let Some(digest) = &subject.spec_digest {
        parts.push(format!("spec {}", digest.short()));
    }
    parts.push(match subject.serial {
        0 => "no state yet".to_owned(),
        serial => format!("state {serial}"),
    });
    let mut line = Line::new()
        .put(Paint::Strong, subject.project.as_str())
        .plain(" on ")
        .put(Paint::Strong, &subject.host);
    let dot = canvas.style().glyphs().dot;
    for part in parts {
        line = line.plain(" ").whole(Paint::Dim, format!("{dot} {part}"));
    }
    canvas.line(&line, 2);
}

fn section(canvas: &mut Canvas<'_>, paint: Paint, title: &str) {
    canvas.gap();
    canvas.line(&Line::new().put(paint, title), 0);
}

/// The widest cell that columns are aligned by.
const WIDEST_CELL: usize = 44;

/// The width of the first column of a section's rows.
fn name_column<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.map(text::width).max().unwrap_or(0).min(28)
}

/// What is known of credentials to which nothing is done, a row each; what is held says so itself.
fn watched(canvas: &mut Canvas<'_>, plan: &Plan) {
    let stays = plan.changes.iter().filter(|change| {
        // Who plans for some wants to read of these.
        let is_asked_for = change.reason != ActionReason::NotTargeted;
        let is_held = plan.holds.iter().any(|hold| hold.address == change.address);
        let of_kind = change.address.kind == Kind::Credential && change.action == Action::NoOp;
        of_kind && is_asked_for && !is_held && !change.notes.is_empty()
    });
    let stays: Vec<(String, &[String])> = stays
        .map(|change| (change.address.to_string(), change.notes.as_slice()))
        .collect();
    if stays.is_empty() {
        return;
    }
    section(canvas, Paint::Strong, "Credentials that stay");
    let wide = |note: &str| text::width(&text::escape(note));
    let widest = |at: usize| {
        let cells = stays.iter().filter_map(|(_, notes)| notes.get(at));
        let widths = cells.map(|note| wide(note));
        widths
            .filter(|width| *width <= WIDEST_CELL)
            .max()
            .unwrap_or(0)
    };
    let how = 4 + name_column(stays.iter().map(|(name, _)| name.as_str())) + 3;
    let ends = how + widest(0) + 3;
    let more = ends + widest(1) + 3;
    let columns = canvas.style().columns();
    for (address, notes) in &stays {
        let mut line = Line::indented(4).put(Paint::Strong, address);
        let mut below = Vec::new();
        for (at, note) in notes.iter().enumerate() {
            let start = match at {
                0 => how,
                1 => ends,
                _more => more,
            };
            let fits = start.max(line.width() + 3) + wide(note) <= columns;
            if at == 0 || (fits && at < 3 && below.is_empty()) {
                line = line.plain("   ").pad_to(start).plain(note);
            } else {
                below.push(note);
            }
        }
        canvas.line(&line, how);
        for note in below {
            canvas.line(&Line::indented(how).plain(note), how + 2);
        }
    }
}

fn holds(canvas: &mut Canvas<'_>, holds: &[Hold], now: Timestamp) {
    if holds.is_empty() {
        return;
    }
    section(canvas, Paint::Held, "Held");
    let names: Vec<String> = holds.iter().map(|hold| hold.address.to_string()).collect();
    let column = 4 + name_column(names.iter().map(String::as_str)) + 3;
    for (hold, name) in holds.iter().zip(&names) {
        let line = Line::indented(4)
            .put(Paint::Strong, name)
            .plain("   ")
            .pad_to(column)
            .plain(&hold.reason)
            .plain("; ")
            .join(lifted(&hold.lift, now));
        canvas.line(&line, column);
    }
}

/// What lifts a hold, to follow its reason.
fn lifted(lift: &Lift, now: Timestamp) -> Line {
    let (words, what) = lift::words(lift, |at| time::when(now, at));
    let line = Line::new().put(Paint::Held, words);
    match lift {
        Lift::At { .. } => line.whole(Paint::Held, what),
        Lift::Later { .. } | Lift::ByHand { .. } => line.put(Paint::Held, what),
    }
}

fn refusals(canvas: &mut Canvas<'_>, refusals: &[Refusal]) {
    if refusals.is_empty() {
        return;
    }
    section(canvas, Paint::Bad, "Refused");
    for refusal in refusals {
        let mut line = Line::indented(4).put(Paint::Bad, refusal.code.as_str());
        let begins = |address: &Address| refusal.message.starts_with(&address.to_string());
        if let Some(address) = refusal.address.as_ref().filter(|address| !begins(address)) {
            line = line.plain("  ").put(Paint::Strong, address.to_string());
        }
        canvas.line(&line.plain("  ").plain(&refusal.message), 6);
        if let Some(suggestion) = &refusal.suggestion {
            let line = Line::indented(6)
                .put(Paint::Strong, "help: ")
                .plain(suggestion);
            canvas.line(&line, 12);
        }
    }
}

fn warnings(canvas: &mut Canvas<'_>, warnings: &[String]) {
    if warnings.is_empty() {
        return;
    }
    section(canvas, Paint::Warning, "Warnings");
    for warning in warnings {
        let line = Line::indented(4).put(Paint::Warning, "! ").plain(warning);
        canvas.line(&line, 6);
    }
}

fn steps(canvas: &mut Canvas<'_>, plan: &Plan) {
    if plan.steps.is_empty() {
        return;
    }
    section(canvas, Paint::Strong, "Steps");
    let number = |id: u32| format!("{id}");
    let digits = plan.steps.len().to_string().len();
    for step in &plan.steps {
        let id = number(step.id.0);
        let mut line = Line::indented(4 + digits.saturating_sub(id.len()))
            .put(Paint::Dim, id)
            .plain("  ")
            .whole(Paint::Plain, step.address.to_string())
            .plain(" ")
            .plain(step.verb.as_str())
            .put(Paint::Dim, format!(" on {}", step.backend));
        if !step.depends_on.is_empty() {
            let after: Vec<String> = step.depends_on.iter().map(|id| number(id.0)).collect();
            line = line.put(Paint::Dim, format!(", after {}", text::list(&after)));
        }
        line = line.put(Paint::Dim, format!("; {}", page::undo_words(&step.undo)));
        canvas.line(&line, 6 + digits);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        resource::{ActionReason, FileChange},
        view::fixture::{self, snapshot},
    };

    const FULL: PlanContext = PlanContext {
        observation: Observation::Live,
        detail: Detail::Full,
        error_follows: false,
    };

    fn plain(plan: &Plan, width: usize) -> String {
        let style = Style::PLAIN.at_width(width);
        render(plan, &style, &PlanContext::default())
    }

    #[test]
    fn one_of_everything() {
        snapshot("plan-80", &plain(&fixture::plan(), 80));
        snapshot("plan-120", &plain(&fixture::plan(), 120));
        let ascii = Style {
            unicode: false,
            ..Style::PLAIN
        };
        let text = render(&fixture::plan(), &ascii, &PlanContext::default());
        assert!(text.is_ascii(), "{text}");
    }

    #[test]
    fn colours_mean_what_they_say() {
        for width in [80, 120] {
            let style = Style {
                color: true,
                unicode: true,
                width,
            };
            let text = render(&fixture::plan(), &style, &PlanContext::default());
            snapshot(
                &format!("plan-{width}-color"),
                &text.replace('\x1b', "\\x1b"),
            );
        }
    }

    #[test]
    fn all_of_it_is_shown_when_asked_for() {
        snapshot(
            "plan-verbose",
            &render(&fixture::plan(), &Style::PLAIN, &FULL),
        );
    }

    #[test]
    fn a_summary_is_what_stands_in_the_way_and_one_line() {
        let context = PlanContext {
            observation: Observation::Snapshot(fixture::now().plus_seconds(-3600)),
            detail: Detail::Summary,
            ..PlanContext::default()
        };
        snapshot(
            "plan-summary",
            &render(&fixture::plan(), &Style::PLAIN, &context),
        );
    }

    #[test]
    fn what_needs_nothing_says_little() {
        snapshot("plan-no-changes", &plain(&fixture::quiet_plan(), 80));
        snapshot("plan-held-only", &plain(&fixture::held_plan(), 80));
        snapshot("plan-refused", &plain(&fixture::refused_plan(), 80));
        let mut nothing = fixture::quiet_plan();
        nothing.changes.clear();
        assert_eq!(
            plain(&nothing, 80),
            "No changes. There is nothing to do for this host.\n"
        );
        let mut one = fixture::quiet_plan();
        one.changes.truncate(1);
        assert_eq!(
            plain(&one, 80),
            "No changes. 1 service is as the spec says.\n"
        );
    }

    #[test]
    fn drift_that_nobody_asked_to_leave_is_shown_and_what_is_refused_is_not_unchanged() {
        let mut plan = fixture::quiet_plan();
        plan.drift = fixture::drift().split_off(1);
        plan.drift[0].address = fixture::address("job03");
        plan.changes[3].reason = ActionReason::Refused;
        plan.refusals = fixture::refused_plan().refusals;
        let text = plain(&plan, 80);
        assert!(
            text.contains("Drift that is left\n    service.job03\n      platform    enabled:"),
            "{text}"
        );
        assert!(
            text.ends_with("Refused. 11 services are as the spec says.\n"),
            "{text}"
        );
        plan.changes[3].reason = ActionReason::NotTargeted;
        assert!(!plain(&plan, 80).contains("Drift that is left"));
        assert!(render(&plan, &Style::PLAIN, &FULL).contains("Drift that is left"));
    }

    #[test]
    fn a_long_diff_is_elided_with_a_count() {
        let text = |from: usize| -> Arc<str> {
            let lines: Vec<String> = (from..from + 200).map(|n| format!("line {n}\n")).collect();
            lines.concat().into()
        };
        let mut plan = fixture::plan();
        plan.changes[1].files = vec![FileChange {
            path: "/etc/long".to_owned(),
            before: Some(text(0)),
            after: Some(text(1000)),
        }];
        let usual = plain(&plan, 80);
        assert!(
            usual.contains("… 341 lines more, 200 added and 141 removed; -v shows them"),
            "{usual}"
        );
        assert!(!usual.contains("+line 1000"));
        let full = render(&plan, &Style::PLAIN, &FULL);
        assert!(full.contains("+line 1199\n"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_text_of_a_user_acts_or_overflows(
            hostile in prop_oneof![any::<String>(), "[a\\x1b\\[31m\n\t\u{202e} ]{0,200}"],
            name in "[a-z]{1,64}",
            width in 40_usize..121,
        ) {
            let mut plan = fixture::plan();
            plan.subject.host.clone_from(&hostile);
            plan.warnings.push(hostile.clone());
            plan.holds[0].reason.clone_from(&hostile);
            plan.refusals = fixture::refused_plan().refusals;
            plan.refusals[0].message.clone_from(&hostile);
            plan.drift[1].fields[0].observed = Some(hostile.clone());
            plan.drift[1].fields[1].field.clone_from(&hostile);
            for change in &mut plan.changes {
                change.notes.push(hostile.clone());
                change.fields.push(fixture::field(&hostile, Some(&hostile), Some(&hostile)));
                change.files.push(fixture::file(&hostile, Some("a"), Some(&hostile)));
                change.files.push(fixture::file("/x", None, Some(&hostile)));
            }
            plan.changes[1].address = fixture::address(&name);
            let style = Style::PLAIN.at_width(width);
            for context in [PlanContext::default(), FULL] {
                let text = render(&plan, &style, &context);
                for line in text.split('\n') {
                    prop_assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
                    // A character may be two columns wide and meet the margin with one of them.
                    prop_assert!(text::width(line) <= width + 1, "{} > {width}: {line:?}", text::width(line));
                }
            }
        }
    }
}
