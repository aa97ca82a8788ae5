//! Services: scheduled jobs.

pub mod definition;
pub mod drift;
pub mod image;
pub mod plan;
pub mod logs;
pub mod schedule;
pub mod status;
pub mod spec;
