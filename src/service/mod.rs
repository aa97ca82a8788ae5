//! Services: scheduled jobs.

pub mod definition;
pub mod drift;
pub mod image;
pub mod logs;
pub mod plan;
pub mod run;
pub mod schedule;
pub mod spec;
pub mod status;
