//! Instants and lengths of time in words, UTC beside how far away it is.

use chrono::Datelike;

use crate::id::Timestamp;

/// An instant as short as it is clear: `09:12 UTC` today, `Fri 02:30 UTC` within six days, else with its date.
pub fn clock(now: Timestamp, at: Timestamp) -> String {
    let (now, at) = (now.utc(), at.utc());
    let days = at
        .date_naive()
        .signed_duration_since(now.date_naive())
        .num_days();
    let format = match days {
        0 => "%H:%M UTC",
        -6..=6 => "%a %H:%M UTC",
        _ if at.year() == now.year() => "%a %d %b %H:%M UTC",
        _ => "%Y-%m-%d %H:%M UTC",
    };
    at.format(format).to_string()
}

/// An instant in full, for tables that are read beside a log: `Fri 2025-11-21 02:30:00 UTC`.
pub fn full(at: Timestamp) -> String {
    at.utc().format("%a %Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A length of time in one unit, rounded down: `45 s`, `5 min`, `3 h`, `5 days`.
fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..5400 => format!("{} min", seconds / 60),
        5400..129_600 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// How far away an instant is: `in 5 min`, `3 h ago`, `now`.
pub fn relative(now: Timestamp, at: Timestamp) -> String {
    match at.seconds_since(now) {
        0 => "now".to_owned(),
        ahead @ 1.. => format!("in {}", span(ahead.unsigned_abs())),
        past => format!("{} ago", span(past.unsigned_abs())),
    }
}

/// An instant and how far away it is: `09:30 UTC, in 18 min`.
pub fn when(now: Timestamp, at: Timestamp) -> String {
    format!("{}, {}", clock(now, at), relative(now, at))
}

/// How long something took: `850 ms`, `1.3 s`, `2 min 5 s`.
pub fn elapsed(millis: u64) -> String {
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..59_950 => {
            let tenths = (millis + 50) / 100;
            format!("{}.{} s", tenths / 10, tenths % 10)
        }
        _ => {
            let seconds = (millis + 500) / 1000;
            match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
                (0, minutes, 0) => format!("{minutes} min"),
                (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
                (hours, minutes, _) => format!("{hours} h {minutes} min"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_instants_are_short_and_far_ones_whole() {
        let now: Timestamp = "2025-11-20T09:12:00Z".parse().unwrap();
        for (at, shown) in [
            ("2025-11-20T09:12:00Z", "09:12 UTC, now"),
            ("2025-11-20T09:12:45Z", "09:12 UTC, in 45 s"),
            ("2025-11-20T09:30:00Z", "09:30 UTC, in 18 min"),
            ("2025-11-20T06:12:00Z", "06:12 UTC, 3 h ago"),
            ("2025-11-21T02:30:00Z", "Fri 02:30 UTC, in 17 h"),
            ("2025-11-15T09:12:00Z", "Sat 09:12 UTC, 5 days ago"),
            ("2025-11-01T09:12:00Z", "Sat 01 Nov 09:12 UTC, 19 days ago"),
            ("2026-02-01T00:00:00Z", "2026-02-01 00:00 UTC, in 72 days"),
        ] {
            assert_eq!(when(now, at.parse().unwrap()), shown);
        }
    }

    #[test]
    fn lengths_read_as_one_says_them() {
        for (millis, shown) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1000, "1.0 s"),
            (1349, "1.3 s"),
            (59_949, "59.9 s"),
            (59_950, "1 min"),
            (125_000, "2 min 5 s"),
            (7_260_000, "2 h 1 min"),
        ] {
            assert_eq!(elapsed(millis), shown);
        }
    }

    #[test]
    fn no_instant_overflows() {
        let (first, last) = (
            Timestamp::from_millis(i64::MIN),
            Timestamp::from_millis(i64::MAX),
        );
        assert!(when(first, last).starts_with("9999-12-31"));
        assert!(when(last, first).ends_with("ago"));
    }
}
