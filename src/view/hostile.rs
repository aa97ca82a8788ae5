//! Whatever a user, a host or a job wrote, no view lets it act upon the terminal.

use proptest::prelude::*;

use super::{
    View, apply, drift, error, fixture,
    init::{Found, Initialised, LeftAlone},
    service::{self, LogLine, Stream, Trigger},
    state::RunOutcome,
    style::Style,
    text,
    validate::Validated,
};
use crate::{
    apply::events::{Event, Report, SettledStep},
    error::{Code, Error},
    resource::Outcome,
};

/// Every view but the plan's (which has its own test), full of one text.
fn views(hostile: &str, style: &Style) -> Vec<String> {
    let text = || hostile.to_owned();
    let mut status = fixture::status();
    status.project = text();
    status.notes.push(text());
    for row in &mut status.resources {
        row.why = Some(text());
        if let Some(held) = &mut row.held {
            held.reason = text();
            held.lifted_by = Some(text());
        }
    }
    let mut list = fixture::service_list();
    for row in &mut list.services {
        row.schedule = text();
        row.platform = text();
    }
    let mut one = fixture::service_status();
    one.description = Some(text());
    one.schedule = Some(text());
    one.profile = Some(text());
    one.platform = Some(text());
    one.next_in_zone = Some(text());
    one.user = Some(text());
    one.notes.push(text());
    for run in &mut one.runs {
        run.error = Some(text());
        for stage in &mut run.stages {
            stage.name = text();
            stage.error = Some(text());
        }
    }
    let trigger = Trigger {
        name: text(),
        outcome: RunOutcome::Failed,
        run: one.runs.first().cloned(),
        held: one.held.clone(),
        ..fixture::trigger()
    };
    let (mut plan, mut report) = (fixture::plan(), fixture::failed_report());
    plan.drift[1].notes.push(text());
    plan.drift[1].fields[0].field = text();
    report.failed[0].message = text();
    let drift = drift::Report::of(&plan, 3);
    let written = Initialised {
        path: text(),
        project: text(),
        found: Some(Found {
            services: 1,
            left: vec![LeftAlone {
                what: text(),
                why: text(),
            }],
        }),
    };
    let validated = Validated {
        project: text(),
        files: vec![text()],
        resources: [("service".to_owned(), 1)].into(),
        warnings: vec![text()],
    };
    vec![
        status.text(style),
        list.text(style),
        one.text(style),
        trigger.text(style),
        drift.text(style),
        written.text(style),
        validated.text(style),
        apply::render(&report, 1, style),
        error::warning(hostile, style),
    ]
}

/// What is not wrapped: logs, source lines, paths to be copied, and lines that are drawn over.
fn unwrapped(hostile: &str) -> Vec<String> {
    let text = || hostile.to_owned();
    let error = Error::new(Code::Internal, text())
        .because(std::io::Error::other(text()))
        .suggest(text())
        .with_details(vec![text(), format!("{hostile}\n{hostile}")]);
    let line = LogLine {
        at: Some(fixture::now()),
        stage: Some(text()),
        stream: Stream::Stderr,
        text: text(),
    };
    let mut logs = Vec::new();
    service::write_logs(&[line], &Style::PLAIN, &mut logs).unwrap();
    let plan = fixture::plan();
    let mut progress = apply::Progress::new(&plan, Style::PLAIN, false, apply::Verbosity::Verbose);
    let step = &plan.steps[0];
    let ended = |outcome| Event::StepEnded {
        step: step.id,
        address: step.address.clone(),
        verb: step.verb.clone(),
        outcome,
        elapsed_ms: 1,
    };
    let mut lines = progress.event(&ended(Outcome::failed(text())), 0);
    lines += &progress.event(&ended(Outcome::Unknown { reason: text() }), 0);
    let settled = Event::Settled {
        journal: text(),
        found: vec![SettledStep {
            address: step.address.clone(),
            found: text(),
        }],
    };
    lines += &progress.event(&settled, 0);
    let report = Report {
        backed_up: vec![text()],
        ..Report::default()
    };
    vec![
        apply::render(&report, 1, &Style::PLAIN),
        error::render(&error, &Style::PLAIN),
        String::from_utf8(logs).unwrap(),
        lines,
    ]
}

fn acts(c: char) -> bool {
    (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_view_acts_or_overflows(
        hostile in prop_oneof![any::<String>(), "[a\\x1b\\[31m\n\t\u{202e}` ]{0,200}"],
        width in 40_usize..121,
    ) {
        let style = Style::PLAIN.at_width(width);
        for view in views(&hostile, &style) {
            prop_assert!(!view.contains(acts), "{view:?}");
            for line in view.lines() {
                prop_assert!(text::width(line) <= width + 1, "{} > {width}: {line:?}", text::width(line));
            }
        }
        for view in unwrapped(&hostile) {
            prop_assert!(!view.contains(acts), "{view:?}");
        }
    }
}
