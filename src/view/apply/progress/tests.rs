//! What a terminal shows of an apply, frame by frame, and what a file gets.

use super::*;
use crate::{
    id::BackendId,
    resource::Verb,
    view::fixture::{self, address, snapshot},
};

fn events() -> Vec<(u64, Event)> {
    let ended = |step, name, verb, outcome, elapsed_ms| Event::StepEnded {
        step: StepId(step),
        address: address(name),
        verb: Verb::from_static(verb),
        outcome,
        elapsed_ms,
    };
    let failed =
        || Outcome::failed("its timer did not start: Unit may not be \x1b[31mstarted\nsee the log");
    vec![
        (
            0,
            Event::Settled {
                journal: "0007".to_owned(),
                found: vec![SettledStep {
                    address: address("old"),
                    found: "not done".to_owned(),
                }],
            },
        ),
        (0, Event::Began { steps: 8, waves: 2 }),
        (
            100,
            Event::BatchBegan {
                wave: 1,
                backend: BackendId::from_static("systemd-system"),
                steps: [1, 2, 4, 8].map(StepId).to_vec(),
            },
        ),
        (
            100,
            Event::BatchBegan {
                wave: 1,
                backend: BackendId::from_static("worker"),
                steps: [5, 7].map(StepId).to_vec(),
            },
        ),
        (400, ended(5, "mail", "remove", Outcome::Done, 300)),
        (1450, ended(1, "backup", "update", Outcome::Done, 1350)),
        (1500, ended(2, "index", "install", failed(), 1400)),
        (
            1600,
            Event::UndoBegan {
                failed: vec![address("index")],
                addresses: vec![address("sync")],
            },
        ),
        (
            1700,
            Event::UndoEnded {
                step: StepId(3),
                address: address("sync"),
                outcome: Outcome::Done,
            },
        ),
        (1800, Event::Interrupted),
        (1900, Event::Committed { serial: 42 }),
    ]
}

fn told(live: bool, verbosity: Verbosity) -> String {
    let plan = fixture::plan();
    let mut progress = Progress::new(&plan, Style::PLAIN, live, verbosity);
    let mut out = String::new();
    for (at, event) in events() {
        out += &progress.event(&event, at);
        out += &progress.tick(at + 150);
    }
    out + &progress.finish()
}

/// What a terminal shows after such output: it knows only what progress uses.
fn screen(output: &str) -> Vec<String> {
    let (mut rows, mut row, mut column) = (vec![Vec::<char>::new()], 0_usize, 0_usize);
    let mut chars = output.chars();
    while let Some(c) = chars.next() {
        match c {
            '\n' => {
                row += 1;
                column = 0;
                if row == rows.len() {
                    rows.push(Vec::new());
                }
            }
            '\r' => column = 0,
            '\x1b' => {
                assert_eq!(chars.next(), Some('['));
                let mut number = String::new();
                let verb = loop {
                    match chars.next().unwrap() {
                        digit if digit.is_ascii_digit() => number.push(digit),
                        verb => break verb,
                    }
                };
                match verb {
                    'A' => row -= number.parse::<usize>().unwrap(),
                    'K' => rows[row].truncate(column),
                    'J' => {
                        rows[row].truncate(column);
                        rows.truncate(row + 1);
                    }
                    other => panic!("an escape sequence that is not known: {other}"),
                }
            }
            c => {
                if column < rows[row].len() {
                    rows[row][column] = c;
                } else {
                    rows[row].push(c);
                }
                column += 1;
                assert!(column < Style::PLAIN.width, "a live line wraps");
            }
        }
    }
    rows.into_iter()
        .map(|row| row.into_iter().collect())
        .collect()
}

fn frame(at: &str, output: &str) -> String {
    format!("--- {at}\n{}\n", screen(output).join("\n"))
}

#[test]
fn a_terminal_shows_what_runs_and_keeps_what_ended() {
    let plan = fixture::plan();
    let mut progress = Progress::new(&plan, Style::PLAIN, true, Verbosity::Usual);
    let (mut out, mut frames) = (String::new(), String::new());
    for (at, event) in events() {
        out += &progress.event(&event, at);
        frames += &frame(&format!("{at} ms"), &out);
    }
    out += &progress.finish();
    frames += &frame("end", &out);
    snapshot("apply-progress", &frames);
}

#[test]
fn what_did_not_move_is_not_drawn_again() {
    let plan = fixture::plan();
    let mut progress = Progress::new(&plan, Style::PLAIN, true, Verbosity::Usual);
    for (at, event) in events().into_iter().take(3) {
        progress.event(&event, at);
    }
    assert!(!progress.tick(350).is_empty());
    assert!(progress.tick(360).is_empty());
}

#[test]
fn a_file_gets_steps_only_when_asked_and_what_matters_always() {
    let usual = told(false, Verbosity::Usual);
    assert_eq!(usual.matches('!').count(), 2, "{usual}");
    assert!(!usual.contains("service.backup"), "{usual}");
    assert!(usual.contains("journal 0007") && usual.contains("Ctrl-C"));
    let verbose = told(false, Verbosity::Verbose);
    assert!(
        verbose.contains("✓ service.backup  update   1.4 s"),
        "{verbose}"
    );
    assert!(verbose.contains("\\x1b[31mstarted\n"), "{verbose}");
    for text in [usual, verbose, told(true, Verbosity::Quiet)] {
        assert!(!text.contains('\x1b'), "{text:?}");
    }
}
