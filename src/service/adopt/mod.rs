//! Taking over what ran before: the timers of systemd and the lines of crontabs.
//!
//! A service that `replaces` one names it by an [`id`]; its backend retires it when the service is
//! made, and puts it back when that is undone.

pub mod crontab;
pub mod id;
