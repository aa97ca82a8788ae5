//! Services: scheduled jobs.

pub mod adopt;
pub mod backend;
pub mod definition;
pub mod desired;
pub mod doctor;
pub mod drift;
#[cfg(test)]
pub(crate) mod fixture;
mod hardening;
pub mod image;
pub mod logs;
pub mod notify;
pub mod plan;
pub mod run;
pub mod schedule;
pub mod spec;
pub mod status;
pub mod unit;
pub mod verb;
pub mod worker;
