//! Whether a wake-up or a request becomes a run: paused, breaker, backoff, in this order.

use crate::{
    id::Timestamp,
    retry::Gate,
    service::{
        definition::{Schedule, Service},
        schedule::Due,
        status::{Skip, SkipReason, Status, Trigger},
    },
};

/// Who asks for a run, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Who asks.
    pub trigger: Trigger,
    /// The request's own id, where it came through a scheduler.
    pub request: Option<String>,
    /// Whether backoff is not waited for.
    pub ignore_backoff: bool,
}

impl Ask {
    /// A wake-up.
    pub const SCHEDULED: Self = Self {
        trigger: Trigger::Schedule,
        request: None,
        ignore_backoff: false,
    };
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Run.
    Run {
        /// Whether it is the one probe of a half-open breaker.
        probe: bool,
        /// The scheduled instant that it deals with.
        instant: Option<Timestamp>,
        /// How many earlier ones it makes up for.
        missed: u64,
    },
    /// Do not.
    Skip {
        /// What to note.
        skip: Skip,
        /// How many scheduled instants were missed before.
        missed: u64,
    },
    /// It was not due; the next time is this, if there is one.
    NotDue(Option<Timestamp>),
}

impl Verdict {
    /// In a word or two, for a trace.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Run { probe: false, .. } => "run",
            Self::Run { probe: true, .. } => "run as the breaker's probe",
            Self::Skip { .. } => "skip",
            Self::NotDue(_) => "not due",
        }
    }
}

/// Decides; `due` is what the schedule says at `now`.
pub fn decide(service: &Service, status: &Status, due: Due, ask: &Ask, now: Timestamp) -> Verdict {
    let (instant, missed) = match (ask.trigger, due) {
        (Trigger::Manual, _) => (None, 0),
        // A failure that may pass is made up for between the scheduled instants, and uses up none.
        (Trigger::Schedule, Due::NotYet(next)) => match status.retry_at(service, now) {
            Some(retry) if retry <= now => (None, 0),
            Some(retry) => return Verdict::NotDue(Some(next.map_or(retry, |at| at.min(retry)))),
            None => return Verdict::NotDue(next),
        },
        (Trigger::Schedule, Due::Now { instant, missed }) => (Some(instant), missed),
        (Trigger::Schedule, Due::TooLate { instant, missed }) => {
            let skip = Skip {
                consumed: Some(instant),
                ..skip(SkipReason::Off, ask, now)
            };
            let missed = missed.saturating_sub(1);
            return Verdict::Skip { skip, missed };
        }
    };
    let refuse = |reason, until| {
        // What is due stays due until the wait is over, so that a run follows it at once; but an
        // occurrence is dealt with once, by its id, and a pause has no end to wait for.
        let stays_due = match (&service.schedule, reason) {
            (Schedule::Every(_), SkipReason::Backoff | SkipReason::Breaker) => true,
            (Schedule::Every(_) | Schedule::Cron { .. }, _) => false,
        };
        let skip = Skip {
            consumed: instant.filter(|_| !stays_due),
            until,
            ..skip(reason, ask, now)
        };
        Verdict::Skip { skip, missed }
    };
    if status.paused.is_some() {
        return refuse(SkipReason::Paused, None);
    }
    let probe = match status.gate(service, now) {
        Gate::Open { until } => return refuse(SkipReason::Breaker, Some(until)),
        Gate::HalfOpen => true,
        Gate::Closed => false,
    };
    match status.backing_off(service, now) {
        Some(until) if !ask.ignore_backoff => refuse(SkipReason::Backoff, Some(until)),
        Some(_) | None => Verdict::Run {
            probe,
            instant,
            missed,
        },
    }
}

/// A note that no run took place.
pub fn skip(reason: SkipReason, ask: &Ask, now: Timestamp) -> Skip {
    Skip {
        at: now,
        reason,
        trigger: ask.trigger,
        request: ask.request.clone(),
        consumed: None,
        until: None,
    }
}
