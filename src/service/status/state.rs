//! The states of a service and the moves between them.

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result};

/// What a service is up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing is wrong and nothing is under way.
    Idle,
    /// A run is under way.
    Running,
    /// A run was under way, and its process is gone without having recorded an end.
    RunningStale,
    /// The last run did its core stages; an optional one failed.
    Degraded,
    /// The last run failed for now; the next waits for an instant that was drawn.
    Backoff,
    /// Nothing runs: by a person, for an error that waiting does not mend, or by the open breaker.
    Paused,
    /// The breaker's time is over: the next run is a probe.
    HalfOpen,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Idle,
        Self::Running,
        Self::RunningStale,
        Self::Degraded,
        Self::Backoff,
        Self::Paused,
        Self::HalfOpen,
    ];

    /// As files and people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::RunningStale => "running_stale",
            Self::Degraded => "degraded",
            Self::Backoff => "backoff",
            Self::Paused => "paused",
            Self::HalfOpen => "half_open",
        }
    }

    /// Whether a service may go from this state to that one.
    ///
    /// A pause is legal from any state but `running`, where it takes effect when the run ends;
    /// leaving a pause by hand gives `idle` or, by what the last run left, `degraded`.
    pub const fn may_become(self, next: Self) -> bool {
        match self {
            Self::Idle | Self::RunningStale | Self::Degraded | Self::Backoff => {
                matches!(next, Self::Running | Self::Paused)
            }
            Self::Running => !matches!(next, Self::Running | Self::HalfOpen),
            Self::Paused => !matches!(next, Self::RunningStale | Self::Backoff),
            Self::HalfOpen => matches!(
                next,
                Self::Running | Self::Paused | Self::Idle | Self::Degraded
            ),
        }
    }

    /// Goes there, where that is legal.
    ///
    /// # Errors
    /// `STATE_CORRUPT` with the two states: only an edited status file asks for such a move.
    pub fn go(self, next: Self) -> Result<Self> {
        if self.may_become(next) {
            return Ok(next);
        }
        let (from, to) = (self.as_str(), next.as_str());
        Err(Error::new(
            Code::StateCorrupt,
            format!("a service that is {from} cannot become {to}"),
        )
        .suggest("`lorectl service repair NAME` sets a status aside that contradicts itself"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_moves() {
        let table = [
            (State::Idle, "running paused"),
            (State::Running, "idle running_stale degraded backoff paused"),
            (State::RunningStale, "running paused"),
            (State::Degraded, "running paused"),
            (State::Backoff, "running paused"),
            (State::Paused, "idle running degraded paused half_open"),
            (State::HalfOpen, "idle running degraded paused"),
        ];
        for (from, expected) in table {
            let legal: Vec<&str> = State::ALL
                .into_iter()
                .filter(|to| from.may_become(*to))
                .map(State::as_str)
                .collect();
            assert_eq!(legal.join(" "), expected, "from {}", from.as_str());
        }
        assert_eq!(
            State::Backoff.go(State::Idle).unwrap_err().code,
            Code::StateCorrupt
        );
    }
}
