//! What was applied: the state with its backups, the journals beside it, and whose they are.
//!
//! The state is read whole and replaced whole. What is damaged, lost, newer or another's is
//! refused with the command that helps; it is never taken for an empty state, which would plan to
//! make everything again.

pub mod backups;
pub mod format;
pub mod identity;
pub mod journal;
pub mod origin;
pub mod place;
pub mod repair;
pub mod seal;
pub mod store;
pub mod trust;

#[cfg(test)]
mod tests;
