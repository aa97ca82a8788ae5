//! The occurrences of a cron expression in a zone, in the order of time.
//!
//! Time is walked from one change of the zone's offset to the next. Within such a stretch local time
//! and UTC go together, and only its ends need thought. Where the hour field is fixed, each local
//! time happens once: one that the clock leaps over happens when it has leapt, and one that comes
//! twice happens the first time. Where the hour is a wildcard, elapsed time rules: what is leapt
//! over does not happen, and what comes twice happens twice. That is what Vixie cron and cronie
//! intend (cron(8), "Daylight Saving Time and other time changes").

use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::{OffsetName, Tz};

use crate::{id::Timestamp, service::schedule::cron::Cron};

/// The longest leap whose times are made up for at its end (cron(8): three hours). A longer one is
/// time that was missed.
const LEAP: TimeDelta = TimeDelta::hours(3);

/// How far back a change of offset is looked for, since what it repeats may reach to now.
const LOOK_BACK: TimeDelta = TimeDelta::days(2);

/// How far the offset is looked ahead for at once. No zone goes back on a change within a week; the
/// shortest that did took a month (Ramadan).
const STEP: TimeDelta = TimeDelta::days(7);

/// How far ahead of an occurrence the next is looked for.
const LOOK_AHEAD: TimeDelta = TimeDelta::days(366 * 41);

/// What a change of the zone's offset did to an occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shift {
    /// Nothing.
    None,
    /// Its local time does not exist; it happens when the clock has leapt over it.
    Leapt,
    /// Its local time, and all of the day around it, does not exist: it counts as missed.
    Missed,
    /// Its local time comes twice; this is the second.
    Second,
}

/// One occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrence {
    /// When, UTC. It is the occurrence's id: no two are at one instant.
    pub at: Timestamp,
    /// What a change of offset did to it.
    pub shift: Shift,
}

/// A stretch of time in which the zone's offset does not change, up to `end`, which is not in it.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    offset: TimeDelta,
    end: DateTime<Utc>,
    /// Whether `end` is a change of the offset, or only as far as was looked.
    ends: bool,
}

/// Walks the occurrences after an instant.
#[derive(Debug, Clone)]
pub struct Walk {
    cron: Cron,
    zone: Tz,
    stretch: Stretch,
    /// The local time up to which the stretches before reach, where it matters.
    covered: NaiveDateTime,
    /// The next local time of the stretch to look at.
    local: NaiveDateTime,
    limit: DateTime<Utc>,
    /// An occurrence at the beginning of the stretch that is still to be handed out.
    leapt: Option<Occurrence>,
}

fn offset(zone: Tz, at: DateTime<Utc>) -> TimeDelta {
    let seconds = zone.offset_from_utc_datetime(&at.naive_utc()).fix();
    TimeDelta::seconds(i64::from(seconds.local_minus_utc()))
}

/// The first instant in (`low`, `high`] at which the zone's offset is no longer that at `low`.
fn change(zone: Tz, mut low: DateTime<Utc>, mut high: DateTime<Utc>) -> DateTime<Utc> {
    let before = offset(zone, low);
    while high - low > TimeDelta::seconds(1) {
        let middle = low + TimeDelta::seconds((high - low).num_seconds() / 2);
        if offset(zone, middle) == before {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

fn local(at: DateTime<Utc>, offset: TimeDelta) -> NaiveDateTime {
    let naive = at.naive_utc();
    naive.checked_add_signed(offset).unwrap_or(naive)
}

impl Walk {
    /// The occurrences later than `after`.
    pub fn after(cron: Cron, zone: Tz, after: Timestamp) -> Self {
        let now = DateTime::from_timestamp(after.millis().div_euclid(1000), 0).unwrap_or_default();
        let now = now.clamp(
            DateTime::UNIX_EPOCH - TimeDelta::days(365 * 200),
            DateTime::UNIX_EPOCH + TimeDelta::days(365 * 7000),
        );
        let limit = now + LOOK_AHEAD;
        let current = offset(zone, now);
        let start = now - LOOK_BACK;
        let mut covered = NaiveDateTime::MIN;
        if offset(zone, start) != current {
            // There may be more than one change in two days only in theory; the last one counts.
            covered = local(change(zone, start, now), offset(zone, start));
        }
        let stretch = Stretch {
            offset: current,
            end: now,
            ends: false,
        };
        let mut walk = Self {
            cron,
            zone,
            stretch,
            covered,
            local: local(now, current) + TimeDelta::seconds(1),
            limit,
            leapt: None,
        };
        if !cron.any_hour {
            walk.local = walk.local.max(covered);
        }
        walk
    }

    /// Moves the end of the stretch a step on, or to the change that comes before.
    fn look_further(&mut self) {
        let far = self.stretch.end + STEP;
        if offset(self.zone, far) == self.stretch.offset {
            self.stretch.end = far;
        } else {
            self.stretch.end = change(self.zone, self.stretch.end, far);
            self.stretch.ends = true;
        }
    }

    /// Goes to the stretch after a change.
    fn cross(&mut self) {
        let start = self.stretch.end;
        let before = self.stretch.offset;
        let now = offset(self.zone, start);
        self.covered = self.covered.max(local(start, before));
        let begins = local(start, now);
        self.stretch = Stretch {
            offset: now,
            end: start,
            ends: false,
        };
        self.local = begins;
        if self.cron.any_hour {
            return;
        }
        self.local = begins.max(self.covered);
        if begins > self.covered
            && let Some(leapt) = self.cron.next(self.covered)
            && leapt < begins
        {
            let shift = if begins - self.covered > LEAP {
                Shift::Missed
            } else {
                Shift::Leapt
            };
            self.leapt = Some(Occurrence {
                at: start.into(),
                shift,
            });
        }
    }

    /// Whether a local time of the stretch has been before.
    fn shift(&self, time: NaiveDateTime) -> Shift {
        if time < self.covered {
            Shift::Second
        } else {
            Shift::None
        }
    }
}

impl Iterator for Walk {
    type Item = Occurrence;

    fn next(&mut self) -> Option<Occurrence> {
        if self.leapt.is_some() {
            let leapt = self.leapt.take();
            // A time that falls on the very end of the leap is the same occurrence.
            if self.cron.next(self.local) == Some(self.local) {
                self.local += TimeDelta::seconds(1);
            }
            return leapt;
        }
        let mut time = self.cron.next(self.local)?;
        loop {
            let at = time.checked_sub_signed(self.stretch.offset)?.and_utc();
            if at < self.stretch.end {
                self.local = time + TimeDelta::seconds(1);
                self.limit = at + LOOK_AHEAD;
                return Some(Occurrence {
                    at: at.into(),
                    shift: self.shift(time),
                });
            }
            if self.stretch.end > self.limit {
                return None;
            }
            if self.stretch.ends {
                self.cross();
                if self.leapt.is_some() {
                    return self.next();
                }
                time = self.cron.next(self.local)?;
            } else {
                self.look_further();
            }
        }
    }
}

/// The offset from UTC in seconds and the abbreviation of the zone at an instant.
pub fn zone_at(zone: Tz, at: Timestamp) -> (i32, String) {
    let offset = zone.offset_from_utc_datetime(&at.utc().naive_utc());
    let name = offset.abbreviation().map(str::to_owned);
    let seconds = offset.fix().local_minus_utc();
    (seconds, name.unwrap_or_else(|| offset.fix().to_string()))
}

/// Whether the local time of an instant comes a second time later.
pub fn comes_again(zone: Tz, at: Timestamp) -> bool {
    let time = at.utc().with_timezone(&zone).naive_local();
    match zone.offset_from_local_datetime(&time) {
        LocalResult::Ambiguous(one, other) => {
            let (one, other) = (one.fix().local_minus_utc(), other.fix().local_minus_utc());
            zone_at(zone, at).0 == one.max(other)
        }
        LocalResult::Single(_) | LocalResult::None => false,
    }
}

/// Every change of the zone's offset from `from` to `to`: the instant, and the offset in seconds
/// before and after.
pub fn changes(zone: Tz, from: Timestamp, to: Timestamp) -> Vec<(Timestamp, i32, i32)> {
    let (mut at, to) = (from.utc(), to.utc());
    let mut found = Vec::new();
    while at < to {
        let far = at + TimeDelta::days(1);
        let (before, after) = (offset(zone, at), offset(zone, far));
        if before != after {
            let seconds = |delta: TimeDelta| i32::try_from(delta.num_seconds()).unwrap_or(0);
            let instant = change(zone, at, far).into();
            found.push((instant, seconds(before), seconds(after)));
        }
        at = far;
    }
    found
}
