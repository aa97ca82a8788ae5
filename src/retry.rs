//! When to try again: backoff and breaker, as pure functions of the time and a seed.

use crate::id::{Seconds, Timestamp};

/// How long to wait after failures in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The lower bound, and the first upper one.
    pub base: Seconds,
    /// The last upper bound, and that of a hint. One below `base` counts as `base`.
    pub max: Seconds,
}

impl Backoff {
    /// The longest wait that can be drawn or hinted.
    pub fn longest(self) -> Seconds {
        self.max.max(self.base)
    }

    /// The bounds of the wait after the `failures`-th failure in a row, counted from 1.
    pub fn window(self, failures: u32) -> (Seconds, Seconds) {
        let doublings = failures.saturating_sub(1).min(63);
        let grown = u128::from(self.base.0) << doublings;
        let upper = grown.min(u128::from(self.longest().0));
        (self.base, Seconds(u64::try_from(upper).unwrap_or(u64::MAX)))
    }

    /// The instant of the next try: drawn once, evenly from the window, and then kept by the caller.
    ///
    /// `not_before` is what the other side asked for (Retry-After): a floor, no later than `max`
    /// from `now`.
    pub fn next_try(
        self,
        failures: u32,
        now: Timestamp,
        not_before: Option<Timestamp>,
        seed: u64,
    ) -> Timestamp {
        let (lower, upper) = self.window(failures);
        let drawn = draw(seed, millis(lower), millis(upper));
        let next = Timestamp::from_millis(now.millis().saturating_add(drawn));
        let bound = now.plus_seconds(self.longest().signed());
        not_before.map_or(next, |floor| next.max(floor.min(bound)))
    }

    /// Whether a try is still to be waited for.
    ///
    /// An instant that lies further ahead than any that could have been drawn was drawn before the
    /// clock was put back; it holds nothing up.
    pub fn is_waiting(self, next_try: Timestamp, now: Timestamp) -> bool {
        now < next_try && next_try <= now.plus_seconds(self.longest().signed())
    }
}

/// How long to wait before something small is sent again: from a second or so, and twice as long each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growing {
    /// The wait after the first failure.
    pub first: Seconds,
    /// The longest wait.
    pub cap: Seconds,
    /// How far a wait is spread to both sides, in percent of it; the cap holds all the same.
    pub spread: u8,
}

impl Growing {
    /// The bounds of the wait after the `failures`-th failure in a row, counted from 1, in milliseconds.
    pub fn window(self, failures: u32) -> (i64, i64) {
        let doublings = failures.saturating_sub(1).min(63);
        let grown = u128::from(self.first.0) << doublings;
        let grown = grown.min(u128::from(self.cap.0));
        let wait = millis(Seconds(u64::try_from(grown).unwrap_or(u64::MAX)));
        let spread = wait / 100 * i64::from(self.spread.min(100));
        let cap = millis(self.cap);
        (wait - spread, wait.saturating_add(spread).min(cap))
    }

    /// The instant of the next try, drawn evenly from the window and kept by the caller.
    ///
    /// `not_before` is what the other side asked for (Retry-After): a floor, no later than the cap
    /// from `now`.
    pub fn next_try(
        self,
        failures: u32,
        now: Timestamp,
        not_before: Option<Timestamp>,
        seed: u64,
    ) -> Timestamp {
        let (lower, upper) = self.window(failures);
        let next = now.plus_millis(draw(seed, lower, upper));
        let bound = now.plus_seconds(self.cap.signed());
        not_before.map_or(next, |floor| next.max(floor.min(bound)))
    }

    /// Whether a try is still to be waited for; an instant that no draw of `now` reaches is of a clock
    /// that was put back, and holds nothing up.
    pub fn is_waiting(self, next_try: Timestamp, now: Timestamp) -> bool {
        now < next_try && next_try <= now.plus_seconds(self.cap.signed())
    }
}

fn millis(length: Seconds) -> i64 {
    length.signed().saturating_mul(1000)
}

/// A whole number from `lower` to `upper`, both included, that follows from the seed.
pub fn draw(seed: u64, lower: i64, upper: i64) -> i64 {
    let span = upper.saturating_sub(lower).max(0).unsigned_abs();
    let Some(choices) = span.checked_add(1) else {
        return lower;
    };
    let offset = i64::try_from(mix(seed) % choices).unwrap_or(0);
    lower.saturating_add(offset)
}

/// A seed of its own for the `index`-th draw that a command makes.
pub fn derive(seed: u64, index: u64) -> u64 {
    mix(seed ^ mix(index.wrapping_add(1)))
}

/// The finalizer of splitmix64 (Steele, Lea, Flood 2014): each bit of the result depends on each of the seed.
const fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// When a breaker trips and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// Failures in a row that trip it; 0 is never.
    pub failures: u32,
    /// How long it then stays open before one probe is let through.
    pub cooldown: Seconds,
}

/// What a breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Everything.
    Closed,
    /// Nothing, until this instant.
    Open {
        /// When it half-opens, UTC.
        until: Timestamp,
    },
    /// One probe, whose outcome closes or re-opens it.
    HalfOpen,
}

impl Breaker {
    /// Whether so many failures in a row trip it.
    pub const fn trips(self, failures: u32) -> bool {
        self.failures > 0 && failures >= self.failures
    }

    /// What it lets through at `now`, having tripped at `opened_at` if it did.
    ///
    /// One that tripped later than now did so before the clock was put back: it is half-open.
    pub fn gate(self, opened_at: Option<Timestamp>, now: Timestamp) -> Gate {
        let Some(opened_at) = opened_at else {
            return Gate::Closed;
        };
        let until = opened_at.plus_seconds(self.cooldown.signed());
        if opened_at <= now && now < until {
            Gate::Open { until }
        } else {
            Gate::HalfOpen
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: u64 = 60;
    const HOUR: u64 = 3600;
    const DECADE: i64 = 10 * 365 * 86_400;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn windows_double_up_to_the_maximum() {
        let half_hour = Backoff {
            base: Seconds(30 * MINUTE),
            max: Seconds(4 * HOUR),
        };
        for (failures, upper) in [
            (0, 30 * MINUTE),
            (1, 30 * MINUTE),
            (2, HOUR),
            (3, 2 * HOUR),
            (4, 4 * HOUR),
            (5, 4 * HOUR),
            (u32::MAX, 4 * HOUR),
        ] {
            let window = half_hour.window(failures);
            assert_eq!(window, (Seconds(30 * MINUTE), Seconds(upper)), "{failures}");
        }
        let daily = Backoff {
            base: Seconds(24 * HOUR),
            max: Seconds(4 * HOUR),
        };
        assert_eq!(daily.window(9), (Seconds(24 * HOUR), Seconds(24 * HOUR)));
    }

    #[test]
    fn a_hint_is_a_floor_and_bounded() {
        let policy = Backoff {
            base: Seconds(60),
            max: Seconds(600),
        };
        let now = at("2026-02-09T10:00:00Z");
        let next = |hint: Option<&str>| policy.next_try(1, now, hint.map(at), 1).to_string();
        assert_eq!(next(None), "2026-02-09T10:01:00Z");
        assert_eq!(next(Some("2026-02-09T10:00:30Z")), "2026-02-09T10:01:00Z");
        assert_eq!(next(Some("2026-02-09T10:05:00Z")), "2026-02-09T10:05:00Z");
        assert_eq!(next(Some("2036-02-09T10:05:00Z")), "2026-02-09T10:10:00Z");
    }

    #[test]
    fn small_waits_double_are_spread_and_keep_to_their_cap() {
        let policy = Growing {
            first: Seconds(1),
            cap: Seconds(HOUR),
            spread: 20,
        };
        for (failures, window) in [
            (0, (800, 1200)),
            (1, (800, 1200)),
            (2, (1600, 2400)),
            (3, (3200, 4800)),
            (12, (1_638_400, 2_457_600)),
            (13, (2_880_000, 3_600_000)),
            (u32::MAX, (2_880_000, 3_600_000)),
        ] {
            assert_eq!(policy.window(failures), window, "{failures}");
        }
    }

    #[test]
    fn a_breaker_opens_half_opens_and_stays_sane_when_the_clock_jumps() {
        let breaker = Breaker {
            failures: 10,
            cooldown: Seconds(1800),
        };
        assert!(!breaker.trips(9) && breaker.trips(10) && breaker.trips(11));
        let opened = at("2026-02-09T10:00:00Z");
        let until = at("2026-02-09T10:30:00Z");
        let gate = |now| breaker.gate(Some(opened), now);
        assert_eq!(breaker.gate(None, opened), Gate::Closed);
        assert_eq!(gate(opened), Gate::Open { until });
        assert_eq!(gate(until.plus_seconds(-1)), Gate::Open { until });
        assert_eq!(gate(until), Gate::HalfOpen);
        assert_eq!(gate(opened.plus_seconds(DECADE)), Gate::HalfOpen);
        assert_eq!(gate(opened.plus_seconds(-DECADE)), Gate::HalfOpen);
    }

    #[test]
    fn draws_reach_both_ends_and_differ_by_index() {
        let drawn: std::collections::BTreeSet<i64> =
            (0..200).map(|index| draw(derive(7, index), 1, 5)).collect();
        assert_eq!(drawn, (1..=5).collect());
        assert_eq!(draw(1, 5, 5), 5);
        assert_eq!(draw(1, 5, 1), 5);
    }

    proptest! {
        #[test]
        fn a_small_wait_lies_in_its_window_and_under_its_cap(
            failures in 0_u32..80, seed in any::<u64>(),
            hint in proptest::option::of(-10_000_i64..10_000),
        ) {
            let policy = Growing { first: Seconds(1), cap: Seconds(HOUR), spread: 20 };
            let now = at("2026-02-09T10:00:00Z");
            let floor = hint.map(|seconds| now.plus_seconds(seconds));
            let next = policy.next_try(failures, now, floor, seed);
            let wait = next.millis() - now.millis();
            let (lower, upper) = policy.window(failures);
            prop_assert!(lower <= wait && wait <= 3_600_000);
            prop_assert!(hint.is_some_and(|hint| hint > 0) || wait <= upper);
            prop_assert!(floor.is_none_or(|floor| next >= floor || wait == 3_600_000));
            prop_assert!(policy.is_waiting(next, now) && !policy.is_waiting(next, next));
            prop_assert!(!policy.is_waiting(next, now.plus_seconds(-DECADE)));
        }

        #[test]
        fn what_is_drawn_lies_in_the_window_and_is_waited_for(
            base in 1_u64..200_000, max in 1_u64..200_000, failures in 1_u32..40,
            seed in any::<u64>(), hint in proptest::option::of(-400_000_i64..400_000),
        ) {
            let policy = Backoff { base: Seconds(base), max: Seconds(max) };
            let now = at("2026-02-09T10:00:00Z");
            let hint = hint.map(|seconds| now.plus_seconds(seconds));
            let next = policy.next_try(failures, now, hint, seed);
            let (lower, upper) = policy.window(failures);
            prop_assert!(next >= now.plus_seconds(lower.signed()));
            prop_assert!(next <= now.plus_seconds(policy.longest().signed()));
            if hint.is_none() {
                prop_assert!(next <= now.plus_seconds(upper.signed()));
            }
            prop_assert!(policy.is_waiting(next, now));
            prop_assert!(!policy.is_waiting(next, next));
            prop_assert!(!policy.is_waiting(next, now.plus_seconds(-DECADE)));
        }
    }
}
