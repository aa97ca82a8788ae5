//! When a service is due: pure functions of its schedule, its past and the time.
//!
//! What wakes us (a timer, the worker) is coarse and holds no policy. It is here that a wake-up
//! becomes a run or not, so that every scheduler means the same.

pub mod calendar;
pub mod cron;
pub mod walk;

use chrono_tz::Tz;

use crate::{
    id::{Invalid, Seconds, Timestamp},
    service::{
        definition::{CatchUp, Schedule},
        status::Status,
    },
};
use cron::Cron;
use walk::{Shift, Walk};

/// What a wake-up may lack to the instant at which an `every` is due: a minute, or a fifth of the
/// interval where that is less. Wake-ups are not exact (systemd.timer(5), `AccuracySec=`), and one
/// that comes a moment early must not cost a whole interval.
pub fn lead(every: Seconds) -> Seconds {
    Seconds((every.0 / 5).min(60))
}

/// How late a run may be and still count as in time, beyond its splay; for `catch_up = "skip"`.
const LATE: i64 = 300;

/// How many seconds late a run may be and still count as in time.
pub fn in_time(splay: Seconds) -> i64 {
    splay.signed().saturating_add(LATE)
}

/// The most missed occurrences that are counted one by one.
const COUNTED: usize = 1000;

/// What a schedule remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// From when it counts, UTC: the service's creation, or the last change of its schedule.
    pub since: Timestamp,
    /// What was dealt with last, UTC: of an `every` the last scheduled start, of a `cron` the last
    /// occurrence.
    pub last: Option<Timestamp>,
}

impl Past {
    /// That of a service that begins at `now`.
    pub const fn none(now: Timestamp) -> Self {
        Self {
            since: now,
            last: None,
        }
    }

    /// What the status says of this schedule. If it speaks of another one, the schedule was changed
    /// at `changed_at` (when `run.json` was written) and counts from then on, so that no edit makes
    /// a job run at once.
    pub fn of(status: &Status, schedule: &Schedule, changed_at: Timestamp) -> Self {
        let same = status
            .schedule
            .as_ref()
            .is_none_or(|known| known == schedule);
        let last = match schedule {
            Schedule::Every(_) => status.last_scheduled_start,
            Schedule::Cron { .. } => status.last_occurrence,
        };
        if same {
            let changed = status.schedule_since.unwrap_or(status.created_at);
            let since = status.created_at.max(changed);
            return Self { since, last };
        }
        Self {
            since: changed_at.max(status.created_at),
            last: None,
        }
    }

    /// The instant that the schedule counts from: what was dealt with last, else its beginning.
    pub fn latest(self) -> Timestamp {
        self.last.map_or(self.since, |last| last.max(self.since))
    }

    /// The same as far as it is not after `most`: what lies ahead was noted before the clock was put back,
    /// and counts for nothing, but what was dealt with since then does.
    fn latest_until(self, most: Timestamp) -> Option<Timestamp> {
        let all = [Some(self.latest()), self.last];
        all.into_iter().flatten().find(|at| *at <= most)
    }
}

/// How far back an occurrence is looked for where all that was noted lies ahead, in seconds: a wake-up
/// comes a little after what it is for.
const LOOK_BACK: i64 = 600;

/// A cron expression and its zone, both valid.
///
/// # Errors
/// Which of the two is not, and why.
pub fn check_cron(expression: &str, timezone: &str) -> Result<(Cron, Tz), Invalid> {
    let cron = expression.parse()?;
    let zone = timezone.parse::<Tz>().map_err(|_| {
        Invalid(format!(
            "`{timezone}` is no IANA time zone, as `Europe/Paris` or `UTC`"
        ))
    })?;
    Ok((cron, zone))
}

/// When the schedule is next due; in the past when it is overdue. None where it never is.
pub fn next_due(schedule: &Schedule, past: Past, now: Timestamp) -> Option<Timestamp> {
    match schedule {
        Schedule::Every(every) => Some(every_due(*every, past, now)),
        Schedule::Cron {
            expression,
            timezone,
        } => {
            let (cron, zone) = check_cron(expression, timezone).ok()?;
            let mut walk = Walk::after(cron, zone, cron_past(past, now));
            walk.next().map(|occurrence| occurrence.at)
        }
    }
}

/// A last start that lies ahead was noted before the clock was put back: the interval counts anew.
fn every_due(every: Seconds, past: Past, now: Timestamp) -> Timestamp {
    let latest = past.latest_until(now.plus_seconds(lead(every).signed()));
    latest.map_or(now, |latest| latest.plus_seconds(every.signed()))
}

/// The instant after which occurrences have not been dealt with.
///
/// A clock put back by less than a day repeats none; one put back by more was wrong, and what was
/// noted by it holds nothing up.
fn cron_past(past: Past, now: Timestamp) -> Timestamp {
    let latest = past.latest_until(now.plus_seconds(86_400));
    latest.unwrap_or_else(|| now.plus_seconds(-LOOK_BACK))
}

/// What a wake-up at an instant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing: the next is due then, if ever.
    NotYet(Option<Timestamp>),
    /// A run, which deals with this instant; so many before it were missed.
    Now {
        /// The scheduled instant that the run deals with, UTC.
        instant: Timestamp,
        /// How many earlier ones it makes up for.
        missed: u64,
    },
    /// Nothing, though something was due: it is too late for it, and it is not to be made up for.
    TooLate {
        /// The last scheduled instant that is thereby dealt with, UTC.
        instant: Timestamp,
        /// How many were missed.
        missed: u64,
    },
}

/// Whether a wake-up at `now` is to become a run.
///
/// `splay` is the delay that the wake-up may have been given on top.
pub fn due(
    schedule: &Schedule,
    past: Past,
    catch_up: CatchUp,
    splay: Seconds,
    now: Timestamp,
) -> Due {
    let in_time = in_time(splay);
    match schedule {
        Schedule::Every(every) => {
            let at = every_due(*every, past, now);
            if now.plus_seconds(lead(*every).signed()) < at {
                return Due::NotYet(Some(at));
            }
            let late = now.seconds_since(at).max(0);
            let missed = late.unsigned_abs() / every.0.max(1);
            match catch_up {
                CatchUp::Skip if late > in_time && missed > 0 => Due::TooLate {
                    instant: now,
                    missed,
                },
                CatchUp::Skip | CatchUp::Once => Due::Now {
                    instant: now,
                    missed,
                },
            }
        }
        Schedule::Cron {
            expression,
            timezone,
        } => {
            let Ok((cron, zone)) = check_cron(expression, timezone) else {
                return Due::NotYet(None);
            };
            cron_due(cron, zone, cron_past(past, now), catch_up, in_time, now)
        }
    }
}

fn cron_due(
    cron: Cron,
    zone: Tz,
    after: Timestamp,
    catch_up: CatchUp,
    in_time: i64,
    now: Timestamp,
) -> Due {
    let open = |after| Walk::after(cron, zone, after).take_while(move |o| o.at <= now);
    let mut missed = 0;
    let mut latest = None;
    for occurrence in open(after).take(COUNTED) {
        missed += u64::from(latest.is_some());
        latest = Some(occurrence);
    }
    if missed + 1 >= COUNTED as u64 {
        // Too many to count, as after a decade in a drawer: only the latest matters.
        let days = [1, 40, 400, 366 * 41];
        let recent = days.map(|days| now.plus_seconds(-86_400 * days).max(after));
        latest = recent.into_iter().find_map(|from| open(from).last());
    }
    let Some(latest) = latest else {
        let next = Walk::after(cron, zone, now.max(after)).next();
        return Due::NotYet(next.map(|occurrence| occurrence.at));
    };
    let instant = latest.at;
    let late = now.seconds_since(instant) > in_time || latest.shift == Shift::Missed;
    match catch_up {
        CatchUp::Skip if late => Due::TooLate {
            instant,
            missed: missed + 1,
        },
        CatchUp::Skip | CatchUp::Once => Due::Now { instant, missed },
    }
}

/// One instant at which a service will be due, as people read it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Fire {
    /// When, UTC.
    pub at: Timestamp,
    /// The same in the schedule's zone, `2026-03-29 03:00 CEST`; that of an `every` is UTC.
    pub local: String,
    /// What a change of the zone's offset does to it, or that there was one since the fire before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transition: Option<&'static str>,
}

impl Fire {
    /// An instant that is not the schedule's own, as a retry's; it is read in the schedule's zone.
    pub fn unscheduled(schedule: &Schedule, at: Timestamp) -> Self {
        let zone = match schedule {
            Schedule::Every(_) => Tz::UTC,
            Schedule::Cron { timezone, .. } => timezone.parse().unwrap_or(Tz::UTC),
        };
        let name = walk::zone_at(zone, at).1;
        let time = at.utc().with_timezone(&zone);
        Self {
            at,
            local: format!("{} {name}", time.format("%Y-%m-%d %H:%M")),
            transition: None,
        }
    }
}

/// The next `count` instants at which a service will be due, the first not before `now`.
pub fn upcoming(schedule: &Schedule, past: Past, now: Timestamp, count: usize) -> Vec<Fire> {
    match schedule {
        Schedule::Every(every) => {
            let first = every_due(*every, past, now).max(now);
            let step = |index: usize| {
                every
                    .signed()
                    .saturating_mul(i64::try_from(index).unwrap_or(0))
            };
            let at = |index| first.plus_seconds(step(index));
            (0..count)
                .map(|index| Fire {
                    at: at(index),
                    local: at(index).utc().format("%Y-%m-%d %H:%M UTC").to_string(),
                    transition: None,
                })
                .collect()
        }
        Schedule::Cron {
            expression,
            timezone,
        } => {
            let Ok((cron, zone)) = check_cron(expression, timezone) else {
                return Vec::new();
            };
            let mut offset = walk::zone_at(zone, now).0;
            let fires = Walk::after(cron, zone, cron_past(past, now).max(now));
            fires
                .take(count)
                .map(|occurrence| {
                    let (seconds, name) = walk::zone_at(zone, occurrence.at);
                    let changed = seconds != std::mem::replace(&mut offset, seconds);
                    let time = occurrence.at.utc().with_timezone(&zone);
                    Fire {
                        at: occurrence.at,
                        local: format!("{} {name}", time.format("%Y-%m-%d %H:%M")),
                        transition: match occurrence.shift {
                            Shift::Leapt => Some("its local time is skipped that day"),
                            Shift::Missed => Some("its local day is skipped"),
                            Shift::Second => Some("its local time comes twice, this is the second"),
                            Shift::None if walk::comes_again(zone, occurrence.at) => {
                                Some("its local time comes twice, this is the first")
                            }
                            Shift::None => {
                                changed.then_some("the zone's offset has changed before it")
                            }
                        },
                    }
                })
                .collect()
        }
    }
}

#[cfg(test)]
#[path = "schedule/tests/oracles.rs"]
mod oracles;

#[cfg(test)]
mod tests {
    use super::*;

    const CREATED: &str = "2026-02-09T10:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn cron(expression: &str, timezone: &str) -> Schedule {
        Schedule::Cron {
            expression: expression.to_owned(),
            timezone: timezone.to_owned(),
        }
    }

    fn past(last: Option<&str>) -> Past {
        Past {
            since: at(CREATED),
            last: last.map(at),
        }
    }

    #[test]
    fn every_counts_from_creation_and_then_from_the_last_start() {
        let half_hour = Schedule::Every(Seconds(1800));
        let table = [
            // created, the first start, now; and when it is due, or `now` with so many missed
            (None, "2026-02-09T10:00:05Z", "at 2026-02-09T10:30:00Z"),
            (None, "2026-02-09T10:28:59Z", "at 2026-02-09T10:30:00Z"),
            (None, "2026-02-09T10:29:00Z", "now 0"),
            (None, "2026-02-09T10:59:59Z", "now 0"),
            (None, "2026-02-09T11:00:00Z", "now 1"),
            (
                Some("2026-02-09T12:00:10Z"),
                "2026-02-09T12:10:00Z",
                "at 2026-02-09T12:30:10Z",
            ),
            (
                Some("2026-02-09T12:00:10Z"),
                "2026-02-12T12:10:00Z",
                "now 143",
            ),
            // The clock was put on and back by ten years.
            (None, "2036-02-09T10:00:05Z", "now 175295"),
            (
                Some("2036-02-09T10:00:00Z"),
                "2026-02-09T12:00:00Z",
                "now 0",
            ),
        ];
        for (last, now, expected) in table {
            let due = due(&half_hour, past(last), CatchUp::Once, Seconds(60), at(now));
            let found = match due {
                Due::NotYet(next) => format!("at {}", next.unwrap()),
                Due::Now { instant, missed } => {
                    assert_eq!(instant, at(now));
                    format!("now {missed}")
                }
                Due::TooLate { .. } => "late".to_owned(),
            };
            assert_eq!(found, expected, "{last:?} {now}");
        }
    }

    #[test]
    fn what_was_missed_is_left_or_made_up_for_once() {
        let nightly = cron("30 2 * * *", "UTC");
        let now = at("2026-02-12T09:00:00Z");
        let last = past(Some("2026-02-10T02:30:00Z"));
        let instant = at("2026-02-12T02:30:00Z");
        let once = due(&nightly, last, CatchUp::Once, Seconds(60), now);
        assert_eq!(once, Due::Now { instant, missed: 1 });
        let skip = due(&nightly, last, CatchUp::Skip, Seconds(60), now);
        assert_eq!(skip, Due::TooLate { instant, missed: 2 });
        let in_time = at("2026-02-12T02:32:00Z");
        let skip = due(&nightly, last, CatchUp::Skip, Seconds(60), in_time);
        assert_eq!(skip, Due::Now { instant, missed: 1 });
        let done = past(Some("2026-02-12T02:30:00Z"));
        let next = Due::NotYet(Some(at("2026-02-13T02:30:00Z")));
        assert_eq!(due(&nightly, done, CatchUp::Once, Seconds(0), now), next);

        let hourly = Schedule::Every(Seconds(3600));
        let late = due(&hourly, last, CatchUp::Skip, Seconds(60), now);
        assert_eq!(
            late,
            Due::TooLate {
                instant: now,
                missed: 53
            }
        );
    }

    #[test]
    fn what_was_made_by_a_clock_ten_years_ahead_runs_as_often_as_it_should() {
        let now = at("2026-02-09T10:00:00Z");
        let ahead = |last: Option<&str>| Past {
            since: at("2036-02-09T10:00:00Z"),
            last: last.map(at),
        };
        let every = Schedule::Every(Seconds(300));
        let due = |schedule: &Schedule, last| next_due(schedule, ahead(last), now);
        for last in [None, Some("2036-02-09T10:00:00Z")] {
            assert_eq!(due(&every, last), Some(now), "{last:?}");
        }
        let ran = Some("2026-02-09T09:59:00Z");
        assert_eq!(due(&every, ran), Some(at("2026-02-09T10:04:00Z")));
        // A wake-up a little after its time is for that.
        let hourly = cron("0 * * * *", "UTC");
        let now = at("2026-02-09T10:00:20Z");
        let due = |last| next_due(&hourly, ahead(last), now);
        assert_eq!(due(None), Some(at("2026-02-09T10:00:00Z")));
        let next = Some(at("2026-02-09T11:00:00Z"));
        assert_eq!(due(Some("2026-02-09T10:00:00Z")), next);
    }

    #[test]
    fn an_occurrence_runs_once_though_the_clock_steps_back() {
        let nightly = cron("30 2 * * *", "UTC");
        let done = past(Some("2026-02-12T02:30:00Z"));
        for now in ["2026-02-12T02:29:58Z", "2026-02-11T23:00:00Z"] {
            let due = due(&nightly, done, CatchUp::Once, Seconds(0), at(now));
            assert!(matches!(due, Due::NotYet(_)), "{now}");
        }
        let decade_back = at("2016-02-12T02:29:58Z");
        let next = due(&nightly, done, CatchUp::Once, Seconds(0), decade_back);
        assert_eq!(next, Due::NotYet(Some(at("2016-02-12T02:30:00Z"))));
        let decade_on = at("2036-02-12T02:29:58Z");
        let instant = at("2036-02-11T02:30:00Z");
        let due = due(&nightly, done, CatchUp::Once, Seconds(0), decade_on);
        assert!(
            matches!(due, Due::Now { instant: i, .. } if i == instant),
            "{due:?}"
        );
    }

    #[test]
    fn an_edited_schedule_counts_from_its_edit() {
        let daily = Schedule::Every(Seconds(86_400));
        let mut status = Status::new(at(CREATED));
        status.schedule = Some(daily.clone());
        status.last_scheduled_start = Some(at("2026-02-10T10:00:00Z"));
        let edited = at("2026-02-11T09:00:00Z");
        assert_eq!(
            Past::of(&status, &daily, edited).last,
            Some(at("2026-02-10T10:00:00Z"))
        );
        let often = Schedule::Every(Seconds(300));
        let past = Past::of(&status, &often, edited);
        assert_eq!(
            next_due(&often, past, edited),
            Some(at("2026-02-11T09:05:00Z"))
        );
        status.adopt(&often, edited);
        assert_eq!(Past::of(&status, &often, edited), past, "and so it stays");
        let nightly = cron("0 8 * * *", "UTC");
        let past = Past::of(&status, &nightly, edited);
        assert_eq!(
            next_due(&nightly, past, edited),
            Some(at("2026-02-12T08:00:00Z"))
        );
    }

    #[test]
    fn what_comes_next_names_its_zone_and_marks_transitions() {
        let show = |schedule: &Schedule, now: &str, count| -> Vec<String> {
            let fires = upcoming(schedule, Past::none(at(now)), at(now), count);
            let line = |fire: &Fire| {
                format!(
                    "{} {} {}",
                    fire.at,
                    fire.local,
                    fire.transition.unwrap_or("-")
                )
            };
            fires.iter().map(line).collect()
        };
        let nightly = cron("30 2 * * *", "Europe/Paris");
        assert_eq!(
            show(&nightly, "2026-03-27T12:00:00Z", 3),
            [
                "2026-03-28T01:30:00Z 2026-03-28 02:30 CET -",
                "2026-03-29T01:00:00Z 2026-03-29 03:00 CEST its local time is skipped that day",
                "2026-03-30T00:30:00Z 2026-03-30 02:30 CEST -",
            ]
        );
        assert_eq!(
            show(&nightly, "2026-10-24T12:00:00Z", 2),
            [
                "2026-10-25T00:30:00Z 2026-10-25 02:30 CEST its local time comes twice, this is the first",
                "2026-10-26T01:30:00Z 2026-10-26 02:30 CET the zone's offset has changed before it",
            ]
        );
        let half_past = cron("30 * * * *", "Europe/Paris");
        assert_eq!(
            show(&half_past, "2026-10-25T00:00:00Z", 3),
            [
                "2026-10-25T00:30:00Z 2026-10-25 02:30 CEST its local time comes twice, this is the first",
                "2026-10-25T01:30:00Z 2026-10-25 02:30 CET its local time comes twice, this is the second",
                "2026-10-25T02:30:00Z 2026-10-25 03:30 CET -",
            ]
        );
        assert_eq!(
            show(&Schedule::Every(Seconds(1800)), CREATED, 2),
            [
                "2026-02-09T10:30:00Z 2026-02-09 10:30 UTC -",
                "2026-02-09T11:00:00Z 2026-02-09 11:00 UTC -",
            ]
        );
    }

    #[test]
    fn a_day_that_a_zone_leaves_out_is_missed_time() {
        let nightly = cron("30 2 * * *", "Pacific/Apia");
        let (cron, zone) = check_cron("30 2 * * *", "Pacific/Apia").unwrap();
        let after = at("2011-12-29T13:00:00Z");
        let found: Vec<_> = Walk::after(cron, zone, after).take(2).collect();
        assert_eq!(found[0].at, at("2011-12-30T10:00:00Z"));
        assert_eq!(found[0].shift, Shift::Missed);
        assert_eq!(found[1].at, at("2011-12-30T12:30:00Z"));
        let past = Past {
            since: after,
            last: None,
        };
        let now = at("2011-12-30T10:00:00Z");
        let skip = due(&nightly, past, CatchUp::Skip, Seconds(0), now);
        assert!(matches!(skip, Due::TooLate { .. }));
        let once = due(&nightly, past, CatchUp::Once, Seconds(0), now);
        assert!(matches!(once, Due::Now { .. }));
    }

    #[test]
    fn zones_and_expressions_are_checked() {
        assert!(check_cron("30 2 * * *", "Europe/Paris").is_ok());
        for (expression, zone) in [("30 2 * *", "UTC"), ("30 2 * * *", "Europe/Atlantis")] {
            assert!(check_cron(expression, zone).is_err());
        }
    }
}
