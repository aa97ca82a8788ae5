//! The wall clock.
#![expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock and its override"
)]

use chrono::Utc;

use crate::{
    error::{Code, Error, Result},
    id::Timestamp,
};

/// Tells the time. Passed to whatever needs it, so that a test can say what time it is.
pub trait Clock {
    /// The instant now, UTC.
    fn now(&self) -> Timestamp;
}

/// The machine's clock, or the instant that `LORECTL_NOW` fixes (RFC 3339).
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    fixed: Option<Timestamp>,
}

impl SystemClock {
    /// The machine's clock, whatever the environment says.
    pub const fn of_machine() -> Self {
        Self { fixed: None }
    }

    /// Reads `LORECTL_NOW` once.
    ///
    /// # Errors
    /// `USAGE` when it is set and is no RFC 3339 date and time.
    pub fn from_environment() -> Result<Self> {
        let fixed = match std::env::var("LORECTL_NOW") {
            Ok(text) => Some(text.parse().map_err(|error: crate::id::Invalid| {
                Error::new(Code::Usage, format!("LORECTL_NOW: {error}"))
            })?),
            Err(_) => None,
        };
        Ok(Self { fixed })
    }
}

impl SystemClock {
    /// Whether it stands still.
    pub const fn is_fixed(&self) -> bool {
        self.fixed.is_some()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.fixed.unwrap_or_else(|| Utc::now().into())
    }
}

/// A clock that stands still.
#[derive(Debug, Clone, Copy)]
pub struct FixedClock(pub Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}
