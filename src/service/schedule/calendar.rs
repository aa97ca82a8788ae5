//! What systemd is asked to wake us at, for a cron schedule.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    id::Timestamp,
    service::{
        definition::Schedule,
        schedule::{check_cron, walk},
    },
};

/// The years whose offsets count. They are fixed, so that a unit's text does not depend on the day
/// it is written; the rules of a zone seldom change, and the runner decides in any case.
const YEARS: (&str, &str) = ("2024-01-01T00:00:00Z", "2038-01-01T00:00:00Z");

/// The `OnCalendar=` lines, all in UTC, that wake the runner at every instant at which the schedule
/// can be due, whatever offset the zone has; none for an `every`.
///
/// They wake it at other instants too (for each offset of the zone, every day): it then goes to
/// sleep again. systemd itself is wrong about zones in and around changes of offset.
pub fn calendar_candidates(schedule: &Schedule) -> Vec<String> {
    let Schedule::Cron {
        expression,
        timezone,
    } = schedule
    else {
        return Vec::new();
    };
    let Ok((cron, zone)) = check_cron(expression, timezone) else {
        return Vec::new();
    };
    let (Ok(from), Ok(to)) = (YEARS.0.parse::<Timestamp>(), YEARS.1.parse::<Timestamp>()) else {
        return Vec::new();
    };
    let changes = walk::changes(zone, from, to);
    let mut offsets = BTreeSet::from([walk::zone_at(zone, from).0]);
    // The ends of leaps, as seconds of the day in UTC: what falls into a leap happens there.
    let mut ends = BTreeSet::new();
    for (at, before, after) in changes {
        offsets.insert(after);
        if after > before {
            ends.insert(at.millis().div_euclid(1000).rem_euclid(86_400));
        }
    }
    let mut seconds = BTreeSet::new();
    if !cron.any_hour {
        seconds.extend(ends);
    }
    for minute in cron.minutes_of_day() {
        for offset in &offsets {
            let local = i64::from(minute) * 60;
            seconds.insert((local - i64::from(*offset)).rem_euclid(86_400));
        }
    }
    lines(&seconds)
}

/// Seconds of a day as calendar events, hours with the same minutes taken together.
fn lines(seconds: &BTreeSet<i64>) -> Vec<String> {
    let mut by_hour: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for at in seconds {
        let (minute, second) = (at / 60 % 60, at % 60);
        by_hour
            .entry(at / 3600)
            .or_default()
            .push(format!("{minute:02}:{second:02}"));
    }
    let mut hours_of: BTreeMap<Vec<String>, Vec<i64>> = BTreeMap::new();
    for (hour, minutes) in by_hour {
        hours_of.entry(minutes).or_default().push(hour);
    }
    let mut lines: Vec<String> = Vec::new();
    for (minutes, hours) in hours_of {
        let hours = if hours.len() == 24 {
            "*".to_owned()
        } else {
            let hours: Vec<String> = hours.iter().map(|hour| format!("{hour:02}")).collect();
            hours.join(",")
        };
        let mut by_second: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for minute in &minutes {
            if let Some((minute, second)) = minute.split_once(':') {
                by_second.entry(second).or_default().push(minute);
            }
        }
        for (second, minutes) in by_second {
            let minutes = if minutes.len() == 60 {
                "*".to_owned()
            } else {
                minutes.join(",")
            };
            lines.push(format!("*-*-* {hours}:{minutes}:{second} UTC"));
        }
    }
    lines.sort();
    lines
}
