//! How an issuer has answered of late, and whether it is asked again: a pure fold over outcomes.

use serde::{Deserialize, Serialize};

use super::policy::Admission;
use crate::{
    credential::setback::{Failed, Setback},
    id::{Seconds, Timestamp},
    retry::{Breaker, Gate, Growing},
};

/// Trips after five failures in a row, for a minute.
pub const BREAKER: Breaker = Breaker {
    failures: 5,
    cooldown: Seconds(60),
};

/// The waits between failures, before it trips and after.
const WAITS: Growing = Growing {
    first: Seconds(1),
    cap: Seconds(60),
    spread: 20,
};

/// The longest that an issuer's wish to be left alone is heeded.
const LONGEST: Seconds = Seconds(3600);

/// How long the one probe of a half-open breaker is waited for: longer than a request may take. One
/// whose process was killed would otherwise be the last.
pub const PROBE: Seconds = Seconds(90);

/// The outcomes so far of asking one issuer, or for one credential of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Failures in a row.
    #[serde(default)]
    pub failures: u32,
    /// When the breaker tripped last, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<Timestamp>,
    /// Before when it is not asked again, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try: Option<Timestamp>,
    /// Since when the one probe of the half-open breaker is under way, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probing_since: Option<Timestamp>,
    /// The last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Failed>,
}

impl Record {
    /// Whether the issuer may be asked at `now`. An instant that lies further ahead than any that is
    /// ever written is of a clock that was put back, and holds nothing up.
    pub fn admission(&self, now: Timestamp) -> Admission {
        let limit = now.plus_seconds(LONGEST.signed());
        let wait = self.next_try.filter(|next| now < *next && *next <= limit);
        let shut = match BREAKER.gate(self.opened_at, now) {
            Gate::Closed => wait,
            Gate::Open { until } => Some(wait.map_or(until, |wait| wait.max(until))),
            Gate::HalfOpen => {
                let probe = self.probing_since.filter(|since| *since <= now);
                let end = probe.map(|since| since.plus_seconds(PROBE.signed()));
                wait.max(end.filter(|end| now < *end))
            }
        };
        shut.map_or(Admission::Open, |until| Admission::Shut { until })
    }

    /// What of it is to be told at `now`; `None` where the last try did not fail.
    pub fn setback(&self, now: Timestamp) -> Option<Setback> {
        let until = match self.admission(now) {
            Admission::Open => None,
            Admission::Shut { until } => Some(until),
        };
        (self.failures > 0).then(|| Setback {
            last: self.last.clone(),
            failures: self.failures,
            until,
            is_open: until.is_some() && self.opened_at.is_some(),
            secret: None,
        })
    }

    /// The same once somebody was let through at `now`: the half-open breaker lets in nobody else.
    pub fn entered(&mut self, now: Timestamp) {
        match BREAKER.gate(self.opened_at, now) {
            Gate::HalfOpen => self.probing_since = Some(now),
            Gate::Closed | Gate::Open { .. } => {}
        }
    }

    /// It answered as it should.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// It did not. `not_before` is what it asked for itself; an hour of that is heeded.
    pub fn failed(&mut self, now: Timestamp, not_before: Option<Timestamp>, seed: u64) {
        self.failures = self.failures.saturating_add(1);
        self.probing_since = None;
        if BREAKER.trips(self.failures) {
            self.opened_at = Some(now);
        }
        let drawn = WAITS.next_try(self.failures, now, None, seed);
        let asked = not_before.map(|asked| asked.min(now.plus_seconds(LONGEST.signed())));
        self.next_try = Some(asked.map_or(drawn, |asked| asked.max(drawn)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DECADE: i64 = 10 * 365 * 86_400;

    fn start() -> Timestamp {
        "2026-02-09T10:00:00Z".parse().unwrap()
    }

    fn after(failures: u32) -> Record {
        let mut record = Record::default();
        for seed in 0..failures {
            record.failed(start(), None, u64::from(seed));
        }
        record
    }

    fn is_open(record: &Record, seconds: i64) -> bool {
        record.admission(start().plus_seconds(seconds)) == Admission::Open
    }

    #[test]
    fn the_fifth_failure_in_a_row_shuts_it_for_a_minute() {
        let four = after(4);
        assert_eq!(four.opened_at, None);
        assert!(is_open(&four, 11), "8 s and a fifth");
        let five = after(5);
        assert!(!is_open(&five, 0) && !is_open(&five, 59));
        assert!(is_open(&five, 60));
        let mut mended = five;
        mended.succeeded();
        assert_eq!(mended, Record::default());
    }

    /// ecluse asks again at once until its breaker trips.
    #[test]
    fn there_is_a_wait_after_each_failure_before_it_trips() {
        for (failures, least, most) in [(1, 0, 2), (2, 1, 3), (3, 3, 5), (4, 6, 10)] {
            let record = after(failures);
            assert!(!is_open(&record, least), "{failures}");
            assert!(is_open(&record, most), "{failures}");
        }
    }

    /// ecluse lets in everyone once the cooldown is over.
    #[test]
    fn half_open_lets_in_exactly_one() {
        let mut record = after(5);
        assert!(is_open(&record, 60));
        record.entered(start().plus_seconds(60));
        assert!(!is_open(&record, 60) && !is_open(&record, 149));
        assert!(is_open(&record, 150), "whoever probed is gone");
        let mut failed = record.clone();
        failed.failed(start().plus_seconds(61), None, 1);
        assert!(!is_open(&failed, 120) && is_open(&failed, 121));
        let mut closed = Record::default();
        closed.entered(start());
        assert!(is_open(&closed, 0), "a closed one lets in all");
    }

    #[test]
    fn what_the_issuer_asks_for_is_a_floor_of_an_hour_at_most() {
        let mut record = Record::default();
        record.failed(start(), Some(start().plus_seconds(900)), 1);
        assert!(!is_open(&record, 899) && is_open(&record, 900));
        record.failed(start(), Some(start().plus_seconds(DECADE)), 1);
        assert!(!is_open(&record, 3599) && is_open(&record, 3600));
        let mut late = Record::default();
        late.failed(start(), Some(start().plus_seconds(-DECADE)), 1);
        assert!(!is_open(&late, 0) && is_open(&late, 2));
    }

    #[test]
    fn a_clock_that_jumps_shuts_it_for_ever_neither_way() {
        let mut record = after(9);
        record.probing_since = Some(start());
        assert!(is_open(&record, DECADE) && is_open(&record, -DECADE));
    }

    proptest! {
        #[test]
        fn it_opens_again_within_the_hour_whatever_happened(
            steps in proptest::collection::vec((0_i64..200, 0_u8..4, any::<u64>()), 0..30),
        ) {
            let (mut record, mut now) = (Record::default(), start());
            for (pause, what, seed) in steps {
                now = now.plus_seconds(pause);
                match what {
                    0 => record.succeeded(),
                    1 => record.failed(now, Some(now.plus_seconds(pause * 100)), seed),
                    2 => record.entered(now),
                    _ => record.failed(now, None, seed),
                }
                if let Admission::Shut { until } = record.admission(now) {
                    prop_assert!(now < until && until <= now.plus_seconds(3600));
                }
            }
            prop_assert_eq!(record.admission(now.plus_seconds(3600)), Admission::Open);
        }

        #[test]
        fn a_wait_that_nobody_asked_for_never_passes_its_cap(failures in 1_u32..40, seed in any::<u64>()) {
            let mut record = after(failures - 1);
            record.failed(start(), None, seed);
            let Admission::Shut { until } = record.admission(start()) else {
                return Err(TestCaseError::fail("no wait"));
            };
            prop_assert!(until <= start().plus_seconds(60));
        }
    }
}
