//! When a minted token is renewed: a pure function of the token, the breaker and the time.
//!
//! The policy is ecluse's: a token that is valid is always served, one past its due instant is renewed
//! behind that, and only one that has ended makes its caller wait. Unlike there, a short life does not
//! make a token due at once, and the wait between failed mints grows before the breaker trips.

use serde::{Deserialize, Serialize};

use crate::{
    credential::facts::to_second,
    id::{Seconds, Timestamp},
    retry,
};

/// The share of its life after which a token is due, in parts per million, before jitter.
const REFRESH_AT: i64 = 800_000;

/// The most by which jitter pulls that share earlier, in parts per million.
const WIDEST: i64 = 100_000;

/// How long before its end a token is due at the latest, in milliseconds.
const FLOOR: i64 = 30_000;

/// How far an issuer's clock may be from ours while anything is rotated.
pub const SKEW: Seconds = Seconds(300);

/// By how much a token's due instant is pulled earlier, so that hosts which began together do not
/// renew together. Drawn once a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jitter(i64);

impl Jitter {
    /// None.
    pub const NONE: Self = Self(0);

    /// So many millionths of the token's life; what is out of bounds counts as the bound.
    pub fn of_millionths(millionths: i64) -> Self {
        Self(millionths.clamp(0, 1_000_000))
    }

    /// Drawn evenly, up to a tenth of the life.
    pub fn draw(seed: u64) -> Self {
        Self(retry::draw(seed, 0, WIDEST))
    }
}

/// When a token is due to be renewed: `max(issued, min(issued + clamp(0.8 − jitter)·life, expires −
/// floor))`, where the floor is 30 s and no more than a fifth of the life.
///
/// It is never before `issued`, and before `expires` whenever that is after `issued`.
pub fn due(issued: Timestamp, expires: Timestamp, jitter: Jitter) -> Timestamp {
    let life = expires.millis().saturating_sub(issued.millis()).max(0);
    let share = (REFRESH_AT - jitter.0).clamp(0, 1_000_000);
    let part = i128::from(life) * i128::from(share) / 1_000_000;
    let part = i64::try_from(part).unwrap_or(life);
    let latest = life - FLOOR.min(life / 5);
    issued.plus_millis(part.min(latest))
}

/// What the policy must know of a token: nothing of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// When it ends, UTC; `None` for one that does not, which is never due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it is due, as [`due`] said when it was minted, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
}

impl Life {
    /// The life of a token that was minted just now.
    pub fn of(issued: Timestamp, expires_at: Option<Timestamp>, jitter: Jitter) -> Self {
        Self {
            expires_at,
            due_at: expires_at.map(|end| due(issued, end, jitter)),
        }
    }

    /// Whether it still serves at `now`.
    pub fn is_valid(self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    /// Whether it is to be renewed at `now`.
    pub fn is_due(self, now: Timestamp) -> bool {
        self.due_at.is_some_and(|due| due <= now)
    }
}

/// Whether the issuer may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Open,
    /// Not before this instant.
    Shut {
        /// When it may be asked again, UTC.
        until: Timestamp,
    },
}

/// What is done for whoever asks for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The stored one serves.
    Serve,
    /// The stored one serves, and a new one is minted behind that.
    ServeAndRefresh,
    /// There is none that serves: whoever asks waits for a new one.
    MintNow,
    /// There is none that serves, and the issuer is not asked before this instant.
    OpenUntil(Timestamp),
}

impl Decision {
    /// In a word or two, for a trace.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::ServeAndRefresh => "serve and refresh",
            Self::MintNow => "mint now",
            Self::OpenUntil(_) => "breaker is open",
        }
    }
}

/// Decides. A valid token is served whatever the breaker says.
pub fn decide(now: Timestamp, token: Option<Life>, issuer: Admission) -> Decision {
    let valid = token.filter(|token| token.is_valid(now));
    match (valid, issuer) {
        (Some(token), Admission::Open) if token.is_due(now) => Decision::ServeAndRefresh,
        (Some(_), Admission::Open | Admission::Shut { .. }) => Decision::Serve,
        (None, Admission::Open) => Decision::MintNow,
        (None, Admission::Shut { until }) => Decision::OpenUntil(until),
    }
}

/// An issuer's clock and ours differ too much for expiries to mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the issuer's clock says {issuer} and this host's {ours}: nothing is rotated while they differ by more than {SKEW}"
)]
pub struct Skewed {
    /// What the issuer's `Date` said, UTC.
    pub issuer: Timestamp,
    /// What our clock said then, UTC.
    pub ours: Timestamp,
}

impl Skewed {
    /// What that means for a token's end.
    pub fn told(&self) -> String {
        format!(
            "its issuer's clock says {} where this host's says {}: one of them is wrong, and its end is told by the issuer's",
            to_second(self.issuer),
            to_second(self.ours)
        )
    }

    /// The same with what helps.
    pub fn told_with_help(&self) -> String {
        format!("{}; `timedatectl` shows this host's", self.told())
    }
}

/// Compares an issuer's `Date` with our clock at the moment it came.
///
/// # Errors
/// When they differ by more than [`SKEW`], to either side.
pub fn skew(issuer: Timestamp, ours: Timestamp) -> Result<(), Skewed> {
    let apart = issuer.millis().abs_diff(ours.millis());
    if apart > SKEW.0 * 1000 {
        return Err(Skewed { issuer, ours });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn start() -> Timestamp {
        at("2026-02-09T10:00:00Z")
    }

    /// After how many milliseconds a token of that life is due, without jitter.
    fn after(life: i64) -> i64 {
        let due = due(start(), start().plus_millis(life), Jitter::NONE);
        due.millis() - start().millis()
    }

    #[test]
    fn a_token_is_due_at_four_fifths_of_its_life_and_before_the_floor() {
        assert_eq!(after(3_600_000), 2_880_000);
        assert_eq!(after(150_000), 120_000, "where both rules meet");
        assert_eq!(after(100_000), 80_000);
        assert_eq!(after(0), 0);
        assert_eq!(after(-5000), 0, "never before it was issued");
        let widest = Jitter::of_millionths(i64::MAX);
        let end = start().plus_seconds(3600);
        assert_eq!(due(start(), end, widest), start(), "clamped");
    }

    /// ecluse subtracts 30 s from any life, so that a shorter one is due on every call.
    #[test]
    fn a_life_of_half_a_minute_or_less_is_not_due_at_once() {
        for (life, expected) in [(30_000, 24_000), (10_000, 8000), (1000, 800), (5, 4)] {
            assert_eq!(after(life), expected, "{life}");
        }
    }

    #[test]
    fn what_is_done_follows_from_the_token_and_the_breaker() {
        let life = Life::of(start(), Some(start().plus_seconds(3600)), Jitter::NONE);
        let until = start().plus_seconds(9999);
        let shut = Admission::Shut { until };
        for (seconds, open, closed) in [
            (-100, Decision::Serve, Decision::Serve),
            (0, Decision::Serve, Decision::Serve),
            (2879, Decision::Serve, Decision::Serve),
            (2880, Decision::ServeAndRefresh, Decision::Serve),
            (3599, Decision::ServeAndRefresh, Decision::Serve),
            (3600, Decision::MintNow, Decision::OpenUntil(until)),
        ] {
            let now = start().plus_seconds(seconds);
            assert_eq!(decide(now, Some(life), Admission::Open), open, "{seconds}");
            assert_eq!(decide(now, Some(life), shut), closed, "{seconds}");
        }
        assert_eq!(decide(start(), None, Admission::Open), Decision::MintNow);
        assert_eq!(decide(start(), None, shut), Decision::OpenUntil(until));
        let endless = Life::of(start(), None, Jitter::NONE);
        let decade = start().plus_seconds(10 * 365 * 86_400);
        assert_eq!(
            decide(decade, Some(endless), Admission::Open),
            Decision::Serve
        );
    }

    #[test]
    fn clocks_may_differ_by_five_minutes_to_either_side() {
        for (millis, fine) in [
            (0, true),
            (300_000, true),
            (-300_000, true),
            (300_001, false),
            (-300_001, false),
            (i64::MAX, false),
            (i64::MIN, false),
        ] {
            let issuer = start().plus_millis(millis);
            assert_eq!(skew(issuer, start()).is_ok(), fine, "{millis}");
        }
        let told = skew(start(), start().plus_seconds(-301)).unwrap_err();
        assert_eq!(
            told.to_string(),
            "the issuer's clock says 2026-02-09T10:00:00Z and this host's 2026-02-09T09:54:59Z: nothing is rotated while they differ by more than 5m"
        );
    }

    proptest! {
        #[test]
        fn a_due_instant_lies_in_the_life_and_jitter_only_pulls_it_earlier(
            issued in any::<i64>(), life in -1_000_000_i64..400_000_000_000, seed in any::<u64>(),
            millionths in any::<i64>(),
        ) {
            let issued = Timestamp::from_millis(issued / 4);
            let expires = issued.plus_millis(life);
            let plain = due(issued, expires, Jitter::NONE);
            for jitter in [Jitter::draw(seed), Jitter::of_millionths(millionths)] {
                let due = due(issued, expires, jitter);
                prop_assert!(issued <= due && due <= plain);
                prop_assert!(due < expires || expires <= issued);
            }
            let drawn = due(issued, expires, Jitter::draw(seed)).millis() - issued.millis();
            let life = (expires.millis() - issued.millis()).max(0);
            prop_assert!(drawn >= life / 10 * 7 - 1, "no earlier than at seven tenths");
        }

        #[test]
        fn a_valid_token_is_always_served_and_a_dead_one_never(
            expires in proptest::option::of(-100_000_i64..100_000), shut in any::<bool>(),
            seed in any::<u64>(), now in -200_000_i64..200_000,
        ) {
            let expires = expires.map(|end| start().plus_seconds(end));
            let life = Life::of(start(), expires, Jitter::draw(seed));
            let now = start().plus_seconds(now);
            let until = now.plus_seconds(7);
            let issuer = if shut { Admission::Shut { until } } else { Admission::Open };
            let served = match decide(now, Some(life), issuer) {
                Decision::Serve | Decision::ServeAndRefresh => true,
                Decision::MintNow | Decision::OpenUntil(_) => false,
            };
            prop_assert_eq!(served, expires.is_none_or(|end| now < end));
        }
    }
}
