//! Carrying out a plan: waves, the journal around each act, undo, and the
//! settlement of what an earlier apply left unfinished.

pub mod events;
pub mod execute;
pub mod history;
pub mod record;
pub mod session;
pub mod settle;
#[cfg(test)]
mod tests;
pub mod undo;
#[cfg(test)]
pub(crate) mod world;
