//! Services: scheduled jobs.

pub mod definition;
pub mod image;
