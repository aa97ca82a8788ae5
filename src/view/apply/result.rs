//! How an apply ended: one line when all went well, else what failed, what was put back, what was not, and what to do.

use super::super::{
    canvas::{Canvas, Line},
    lift,
    style::{Paint, Style},
    text, time,
};
use crate::{
    apply::events::{Failure, Report},
    error::{Code, Error, Exit},
    resource::{Action, Lift, Plan},
};

/// The result of an apply as text for standard output.
///
/// A failed one says so with its code, so that no other error needs to be printed.
pub fn render(report: &Report, elapsed_ms: u64, style: &Style) -> String {
    let mut canvas = Canvas::new(style);
    failures(&mut canvas, Paint::Bad, "Failed", &report.failed);
    names(
        &mut canvas,
        Paint::Strong,
        "As before",
        report.undone.iter().map(ToString::to_string).collect(),
    );
    failures(
        &mut canvas,
        Paint::Grave,
        "Not put back",
        &report.not_undone,
    );
    names(
        &mut canvas,
        Paint::Strong,
        "Not begun",
        report.not_begun.iter().map(ToString::to_string).collect(),
    );
    let held: Vec<Failure> = report.held.iter().map(Failure::of).collect();
    failures(&mut canvas, Paint::Held, "Held", &held);
    names(
        &mut canvas,
        Paint::Warning,
        "Drifted since the plan file was made, and left as it is",
        report.left.iter().map(ToString::to_string).collect(),
    );
    failures(&mut canvas, Paint::Bad, "Not mended", &report.unmended);
    copies(&mut canvas, &report.backed_up);
    if code(report).is_some() || report.is_mending {
        let kept = report
            .applied
            .iter()
            .map(|(address, _)| address.to_string());
        let title = if report.is_mending {
            "Mended"
        } else {
            "Applied"
        };
        names(&mut canvas, Paint::Good, title, kept.collect());
    }
    canvas.gap();
    last_lines(&mut canvas, report, elapsed_ms);
    canvas.finish()
}

/// The error that such a report ends a command with, in the words of its last lines; `None` for a success.
pub fn failure(report: &Report) -> Option<Error> {
    let code = code(report)?;
    let message = format!("{}; applied and kept: {}", counts(report), done(report));
    let failed = report.failed.iter().chain(&report.not_undone);
    let failed = failed.chain(&report.unmended);
    let details = failed.map(|one| format!("{}: {}", one.address, one.message));
    Some(
        Error::new(code, message)
            .suggest(next(report))
            .with_details(details.collect()),
    )
}

/// The error that holds end a command with where they left nothing to do; `code` is the one that decides
/// the exit status. A single hold is told by the message and what lifts it, several by the details.
pub fn held(plan: &Plan, report: &Report, code: Code) -> Error {
    if let ([hold], []) = (plan.holds.as_slice(), report.held.as_slice()) {
        let message = format!("nothing was done: {}: {}", hold.address, hold.reason);
        return Error::new(code, message).suggest(match &hold.lift {
            Lift::At { .. } | Lift::Later { .. } => format!("it {}", lifted(&hold.lift, plan)),
            Lift::ByHand { how } => how.clone(),
        });
    }
    let planned = plan.holds.iter().map(|hold| {
        let lifted = lifted(&hold.lift, plan);
        format!("{}: {}; {lifted}", hold.address, hold.reason)
    });
    let met = report.held.iter();
    let met = met.map(|held| format!("{}: {}", held.address, held.message));
    let all: Vec<String> = planned.chain(met).collect();
    let error = match all.as_slice() {
        [one] => Error::new(code, format!("nothing was done: {one}")),
        all => Error::new(code, format!("nothing was done: {} are held", all.len()))
            .with_details(all.to_vec()),
    };
    error.suggest(if code.exit() == Exit::Later {
        "run it again when that is over"
    } else {
        "do what lifts each, then run it again"
    })
}

/// What lifts a hold, to follow its reason.
fn lifted(lift: &Lift, plan: &Plan) -> String {
    let (words, what) = lift::words(lift, |at| time::when(plan.created_at, at));
    format!("{words}{what}")
}

/// The code that such a report ends a command with; `None` for a success.
const fn code(report: &Report) -> Option<Code> {
    if !report.not_undone.is_empty() {
        Some(Code::UndoFailed)
    } else if !report.failed.is_empty() || report.interrupted {
        Some(Code::ApplyFailed)
    } else if !report.unmended.is_empty() {
        Some(Code::Held)
    } else {
        None
    }
}

/// Whether all that is wrong is drift that a person must look at.
const fn code_is_held(report: &Report) -> bool {
    matches!(code(report), Some(Code::Held))
}

fn failures(canvas: &mut Canvas<'_>, paint: Paint, title: &str, failures: &[Failure]) {
    if failures.is_empty() {
        return;
    }
    canvas.gap();
    canvas.line(&Line::new().put(paint, title), 0);
    let names: Vec<String> = failures.iter().map(|one| one.address.to_string()).collect();
    let widest = names.iter().map(|name| text::width(name)).max();
    let column = 4 + widest.unwrap_or(0).min(28) + 3;
    for (failure, name) in failures.iter().zip(names) {
        let mut lines = failure.message.trim_end().lines();
        let line = Line::indented(4)
            .put(Paint::Strong, name)
            .plain("   ")
            .pad_to(column)
            .plain(lines.next().unwrap_or_default());
        canvas.line(&line, column);
        for more in lines {
            canvas.line(&Line::indented(column).plain(more), column);
        }
    }
}

fn names(canvas: &mut Canvas<'_>, paint: Paint, title: &str, names: Vec<String>) {
    if names.is_empty() {
        return;
    }
    canvas.gap();
    canvas.line(&Line::new().put(paint, title), 0);
    let last = names.len() - 1;
    let mut line = Line::indented(4);
    for (at, name) in names.into_iter().enumerate() {
        let comma = if at < last { ", " } else { "" };
        line = line.plain(name).plain(comma);
    }
    canvas.line(&line, 4);
}

/// A path a line, never broken: it is there to be copied.
fn copies(canvas: &mut Canvas<'_>, paths: &[String]) {
    if paths.is_empty() {
        return;
    }
    canvas.gap();
    canvas.line(&Line::new().put(Paint::Strong, "Kept a copy as"), 0);
    for path in paths {
        canvas.raw_line(&Line::indented(4).whole(Paint::Plain, path));
    }
}

/// `1 created, 2 changed`, in the order of the actions.
fn done(report: &Report) -> String {
    let count = |action| {
        let done = report.applied.iter().filter(|(_, done)| *done == action);
        done.count()
    };
    let parts: Vec<String> = [
        (Action::Create, "created"),
        (Action::Update, "changed"),
        (Action::Replace, "replaced"),
        (Action::Delete, "deleted"),
        (Action::Adopt, "adopted"),
        (Action::Forget, "forgotten"),
    ]
    .into_iter()
    .map(|(action, word)| (count(action), word))
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}"))
    .collect();
    if parts.is_empty() {
        "nothing".to_owned()
    } else {
        parts.join(", ")
    }
}

/// `1 failed, 2 as before`
fn counts(report: &Report) -> String {
    let interrupted = report.interrupted.then(|| "interrupted".to_owned());
    let counted = [
        (report.failed.len(), "failed"),
        (report.undone.len(), "as before"),
        (report.not_undone.len(), "not put back"),
        (report.not_begun.len(), "not begun"),
        (report.unmended.len(), "not mended"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, words)| format!("{count} {words}"));
    let parts: Vec<String> = interrupted.into_iter().chain(counted).collect();
    parts.join(", ")
}

const fn next(report: &Report) -> &'static str {
    if code_is_held(report) {
        "`lorectl drift` shows what differs, `lorectl plan` what an apply would do"
    } else if report.not_undone.is_empty() {
        "`lorectl plan` shows what is left to do; `lorectl apply` goes on"
    } else {
        "what is there now was recorded; `lorectl plan` shows the way on from it"
    }
}

fn last_lines(canvas: &mut Canvas<'_>, report: &Report, elapsed_ms: u64) {
    let serial = format!("(serial {}, {})", report.serial, time::elapsed(elapsed_ms));
    let held = match report.held.len() {
        0 => String::new(),
        held => format!("; {held} held"),
    };
    let Some(code) = code(report) else {
        let line = Line::new()
            .put(Paint::Good, "Applied:")
            .plain(format!(" {}{held} ", done(report)))
            .whole(Paint::Plain, format!("{serial}."));
        canvas.line(&line, 2);
        return;
    };
    let line = Line::new()
        .whole(Paint::Bad, format!("error[{code}]:"))
        .put(Paint::Strong, format!(" {}", counts(report)))
        .plain(format!("; applied and kept: {}{held} ", done(report)))
        .whole(Paint::Plain, format!("{serial}."));
    canvas.line(&line, 2);
    let line = Line::indented(2)
        .put(Paint::Good, "help: ")
        .plain(next(report));
    canvas.line(&line, 8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture::{self, address, snapshot};

    #[test]
    fn a_success_is_one_line() {
        let report = Report {
            applied: vec![
                (address("a"), Action::Create),
                (address("b"), Action::Update),
                (address("c"), Action::Update),
            ],
            serial: 42,
            ..Report::default()
        };
        assert_eq!(
            render(&report, 1349, &Style::PLAIN),
            "Applied: 1 created, 2 changed (serial 42, 1.3 s).\n"
        );
        assert_eq!(
            render(
                &Report {
                    serial: 41,
                    ..Report::default()
                },
                20,
                &Style::PLAIN
            ),
            "Applied: nothing (serial 41, 20 ms).\n"
        );
    }

    #[test]
    fn holds_that_left_nothing_are_an_error_that_names_each() {
        let mut plan = fixture::held_plan();
        let all = held(&plan, &Report::default(), Code::Held);
        assert_eq!(all.message, "nothing was done: 3 are held");
        assert_eq!(
            all.details[1..],
            [
                "service.job04: a run is in flight since 09:10 UTC; lifts after that run, by 09:26 UTC at the latest",
                "service.job05: backing off; lifts Fri 09:12 UTC, in 24 h"
            ]
        );
        plan.holds.truncate(1);
        let one = held(&plan, &Report::default(), Code::Held);
        assert_eq!(
            one.suggestion.as_deref(),
            Some("`lorectl service resume job03`")
        );
        assert!(one.details.is_empty());
        let by_itself = |at: usize| {
            let mut plan = fixture::held_plan();
            plan.holds = vec![plan.holds.swap_remove(at)];
            held(&plan, &Report::default(), Code::HeldForNow).suggestion
        };
        assert_eq!(
            by_itself(1).as_deref(),
            Some("it lifts after that run, by 09:26 UTC at the latest")
        );
        assert_eq!(
            by_itself(2).as_deref(),
            Some("it lifts Fri 09:12 UTC, in 24 h")
        );
        plan.holds.clear();
        let met = held(&plan, &fixture::failed_report(), Code::HeldForNow);
        assert_eq!(
            met.message,
            "nothing was done: service.f: a run is in flight since 09:10 UTC"
        );
        assert_eq!(
            met.suggestion.as_deref(),
            Some("run it again when that is over")
        );
    }

    #[test]
    fn the_path_of_a_copy_is_never_broken() {
        let path = format!("/var/lib/lorectl/acme/backups/{}", "part/".repeat(30));
        let report = Report {
            backed_up: vec![path.clone(), "/b".to_owned()],
            ..Report::default()
        };
        let text = render(&report, 1, &Style::PLAIN.at_width(80));
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(lines[..3], ["Kept a copy as", &path, "/b"]);
    }

    #[test]
    fn a_failure_says_what_is_where_and_what_to_do() {
        snapshot(
            "apply-undone",
            &render(&fixture::undone_report(), 2650, &Style::PLAIN),
        );
        snapshot(
            "apply-failed",
            &render(&fixture::failed_report(), 2650, &Style::PLAIN),
        );
        let report = Report {
            interrupted: true,
            not_begun: vec![address("d")],
            undone: vec![address("c")],
            serial: 41,
            ..Report::default()
        };
        snapshot("apply-interrupted", &render(&report, 900, &Style::PLAIN));
    }
}
