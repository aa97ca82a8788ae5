//! Telling others what became of runs: notifications and pings.
//!
//! A run changes the status of its service; [`decide`] says, purely, which of these changes are told.
//! What is to be told goes to the [`outbox`](crate::notify::outbox) before the status is written, so that whatever ends the
//! runner loses none; the [`courier`] sends what is due, at the end of a run and at each wake-up. It may
//! be sent twice, with the same id, and is never lost but to the bounds of the outbox. A [`ping`] is
//! worth nothing when it is late: it is not kept.
//!
//! None of it changes what becomes of a run.

pub mod courier;
pub mod decide;
pub mod message;
pub mod ping;
