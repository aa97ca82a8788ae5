//! Taking over what ran before: the timers of systemd and the lines of crontabs.
//!
//! [`host`] finds what a host runs, [`found`] makes services of it that do the same, and [`text`] a spec.
//! A service that `replaces` one names it by an [`id`]; its backend retires it when the service is
//! made, and puts it back when that is undone.

pub mod calendar;
pub mod crontab;
pub mod found;
pub mod host;
pub mod id;
pub mod text;
