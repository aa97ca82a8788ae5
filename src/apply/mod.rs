//! Carrying out a plan.

pub mod events;
