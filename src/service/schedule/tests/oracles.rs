//! The occurrences against two oracles that share no code with them: a walk over every minute on
//! Python's zoneinfo, and systemd's own calendar where it is right.
#![expect(clippy::disallowed_types, reason = "the oracles are other programs")]

use std::{
    io::Write,
    process::{Command, Stdio},
};

use super::*;

const EXPRESSIONS: [&str; 14] = [
    "30 2 * * *",
    "0 3 * * *",
    "0 0 * * *",
    "30 23 * * *",
    "15,45 0-4 * * *",
    "*/20 1,2,3 * * 0",
    "5 2 1-15 * 0",
    "10 2,3 */2 * *",
    "30 * * * *",
    "0 */2 * * *",
    "*/17 */3 * * *",
    "* * * * *",
    "* 2 * * *",
    "59 1,12 * 3,4,9,10,11 *",
];

/// Zones whose offsets do something of their own: half hours, midnight, whole days, Ramadan.
const ZONES: [&str; 16] = [
    "Europe/Paris",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Africa/Casablanca",
    "Africa/Cairo",
    "America/Havana",
    "America/St_Johns",
    "America/Caracas",
    "Asia/Tehran",
    "Asia/Gaza",
    "Asia/Pyongyang",
    "Antarctica/Troll",
    "America/Asuncion",
    "Asia/Kathmandu",
];

type Window = (String, i64, i64, Vec<Vec<(i64, bool)>>);

fn program(name: &str) -> bool {
    let found = Command::new(name).arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: there is no {name} here");
    }
    found
}

fn minutes(zones: &[&str], years: (i32, i32)) -> Vec<Window> {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/service/schedule/tests/minutes.py"
    );
    let mut python = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let asked = serde_json::json!({"zones": zones, "expressions": EXPRESSIONS, "years": years});
    let mut stdin = python.stdin.take().unwrap();
    stdin.write_all(asked.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    let lines = output.stdout.split(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// Compares every window; returns how many occurrences were compared.
fn compare(windows: &[Window]) -> usize {
    let mut compared = 0;
    let mut wrong = Vec::new();
    for (zone, from, to, expected) in windows {
        for (expression, expected) in EXPRESSIONS.iter().zip(expected) {
            let (cron, tz) = check_cron(expression, zone).unwrap();
            let after = Timestamp::from_millis((from - 1) * 1000);
            let found: Vec<(i64, bool)> = Walk::after(cron, tz, after)
                .map(|o| (o.at.millis() / 1000, o.shift == Shift::Missed))
                .take_while(|(at, _)| at < to)
                .collect();
            compared += found.len();
            if found != *expected {
                let differs = |(a, b): &(&(i64, bool), &(i64, bool))| a != b;
                let first = found.iter().zip(expected).find(differs);
                wrong.push(format!(
                    "{zone} {expression} from {}: {} against {}, first {first:?}",
                    after,
                    found.len(),
                    expected.len()
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{}: {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(20)]
    );
    compared
}

#[test]
fn every_minute_around_the_changes_of_odd_zones() {
    if !program("python3") {
        return;
    }
    let mut windows = minutes(&ZONES, (2026, 2026));
    windows.extend(minutes(
        &["Pacific/Apia", "Asia/Pyongyang", "America/Caracas"],
        (2011, 2018),
    ));
    assert!(
        windows.len() > 30,
        "only {} changes were met",
        windows.len()
    );
    let compared = compare(&windows);
    assert!(compared > 50_000, "only {compared}");
}

#[test]
#[ignore = "every zone over twenty years takes many minutes of Python"]
fn every_minute_around_the_changes_of_every_zone_over_twenty_years() {
    let windows = minutes(&[], (2018, 2037));
    let compared = compare(&windows);
    println!("{} changes, {compared} occurrences", windows.len());
    assert!(compared > 10_000_000);
}

/// The same as a calendar event of systemd, where it has one.
fn calendar_event(expression: &str, zone: &str) -> Option<String> {
    let fields: Vec<String> = expression.split(' ').map(str::to_owned).collect();
    let [minute, hour, day, month, weekday] = fields.as_slice() else {
        return None;
    };
    if day != "*" && weekday != "*" {
        return None;
    }
    let list = |text: &str, low: u32| {
        let items = text.split(',').map(|item| match item.split_once('/') {
            Some(("*", step)) => format!("{low}/{step}"),
            Some((range, step)) => format!("{}/{step}", range.replace('-', "..")),
            None => item.replace('-', ".."),
        });
        items.collect::<Vec<_>>().join(",")
    };
    let names = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let weekday = match weekday.as_str() {
        "*" => String::new(),
        days => {
            let name = |day: &str| names[day.parse::<usize>().unwrap()].to_owned();
            let days: Vec<String> = days.split(',').map(name).collect();
            format!("{} ", days.join(","))
        }
    };
    Some(format!(
        "{weekday}*-{}-{} {}:{}:00 {zone}",
        list(month, 1),
        list(day, 1),
        list(hour, 0),
        list(minute, 0)
    ))
}

#[test]
fn systemd_agrees_where_no_offset_changes() {
    if !program("systemd-analyze") {
        return;
    }
    let cases = [
        "30 2 * * *",
        "15,45 0-4 * * *",
        "*/20 1,2,3 * * 0",
        "10 2,3 */2 * *",
        "*/17 */3 * * *",
        "0 0 29 2 *",
        "0 12 31 * *",
        "5 4 * 1-3,12 1,5",
    ];
    let mut compared = 0;
    for zone in ["UTC", "Asia/Kathmandu", "Asia/Tokyo"] {
        for expression in cases {
            let event = calendar_event(expression, zone).unwrap();
            let output = Command::new("systemd-analyze")
                .args(["calendar", "--base-time=2026-02-09 10:00:00 UTC"])
                .args(["--iterations=25", &event])
                .env("TZ", "UTC")
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let expected: Vec<Timestamp> = text
                .lines()
                .filter(|line| line.contains("Next elapse:") || line.contains("Iter. #"))
                .map(|line| {
                    let words: Vec<&str> = line.split_whitespace().rev().take(3).collect();
                    format!("{}T{}Z", words[2], words[1]).parse().unwrap()
                })
                .collect();
            assert_eq!(expected.len(), 25, "{event}: {text}");
            let (cron, tz) = check_cron(expression, zone).unwrap();
            let after = "2026-02-09T10:00:00Z".parse().unwrap();
            let found: Vec<Timestamp> = Walk::after(cron, tz, after)
                .take(25)
                .map(|o| o.at)
                .collect();
            assert_eq!(found, expected, "{event}");
            compared += found.len();
        }
    }
    assert_eq!(compared, 600);
}

/// The minutes of a day in UTC that a calendar event names.
fn minutes_of(event: &str) -> Vec<i64> {
    let time = event
        .strip_prefix("*-*-* ")
        .unwrap()
        .strip_suffix(" UTC")
        .unwrap();
    let parts: Vec<&str> = time.split(':').collect();
    let values = |text: &str, end: i64| -> Vec<i64> {
        match text {
            "*" => (0..end).collect(),
            list => list.split(',').map(|n| n.parse().unwrap()).collect(),
        }
    };
    assert_eq!(parts[2], "00");
    let minutes = values(parts[1], 60);
    let hours = values(parts[0], 24).into_iter();
    hours
        .flat_map(|hour| minutes.iter().map(move |minute| hour * 60 + minute))
        .collect()
}

#[test]
fn a_timer_wakes_at_every_occurrence() {
    for zone in ZONES {
        for expression in EXPRESSIONS {
            let schedule = Schedule::Cron {
                expression: expression.to_owned(),
                timezone: zone.to_owned(),
            };
            let events = calendar::calendar_candidates(&schedule);
            assert!(
                !events.is_empty() && events.len() < 40,
                "{zone} {expression}: {events:?}"
            );
            let woken: std::collections::BTreeSet<i64> =
                events.iter().flat_map(|event| minutes_of(event)).collect();
            let (cron, tz) = check_cron(expression, zone).unwrap();
            let from: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
            let to: Timestamp = "2026-12-31T00:00:00Z".parse().unwrap();
            for occurrence in Walk::after(cron, tz, from).take_while(|o| o.at < to) {
                let minute = occurrence.at.millis().rem_euclid(86_400_000) / 60_000;
                assert!(
                    woken.contains(&minute),
                    "{zone} {expression} at {}",
                    occurrence.at
                );
            }
        }
    }
    let nightly = Schedule::Cron {
        expression: "30 2 * * *".to_owned(),
        timezone: "Europe/Paris".to_owned(),
    };
    assert_eq!(
        calendar::calendar_candidates(&nightly),
        ["*-*-* 00:30:00 UTC", "*-*-* 01:00,30:00 UTC"]
    );
    assert!(calendar::calendar_candidates(&Schedule::Every(Seconds(60))).is_empty());
}

#[test]
fn a_nightly_job_runs_once_a_day_and_an_hourly_one_with_the_clock() {
    let count = |expression: &str, from: &str, to: &str| {
        let (cron, tz) = check_cron(expression, "Europe/Paris").unwrap();
        let (from, to): (Timestamp, Timestamp) = (from.parse().unwrap(), to.parse().unwrap());
        let walk = Walk::after(cron, tz, from.plus_seconds(-1));
        walk.take_while(|o| o.at < to).count()
    };
    let spring = ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
    let autumn = ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
    assert_eq!(count("30 2 * * *", spring.0, spring.1), 1);
    assert_eq!(count("30 2 * * *", autumn.0, autumn.1), 1);
    assert_eq!(count("30 * * * *", spring.0, spring.1), 23);
    assert_eq!(count("30 * * * *", autumn.0, autumn.1), 25);
}

#[test]
fn a_walk_that_begins_in_a_repeated_hour_repeats_nothing() {
    let next = |expression: &str, after: &str| {
        let (cron, tz) = check_cron(expression, "Europe/Paris").unwrap();
        let mut walk = Walk::after(cron, tz, after.parse().unwrap());
        walk.next().unwrap().at.to_string()
    };
    let again = "2026-10-25T01:10:00Z";
    assert_eq!(next("30 2 * * *", again), "2026-10-26T01:30:00Z");
    assert_eq!(next("30 2,3 * * *", again), "2026-10-25T02:30:00Z");
    assert_eq!(next("30 * * * *", again), "2026-10-25T01:30:00Z");
}
