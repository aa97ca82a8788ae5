//! Telling others of credentials: that one ends soon, is dead, is well again, has a new value.
//!
//! Whoever applies looks at the end how each credential stands. [`decide`] says, purely, what of that is
//! news, given what others know; both go to the credential's outbox in one write, and [`tell`] sends
//! what is due. So each change is told once, however often it is looked at, and a kill at any moment
//! loses none: what was not kept is decided anew at the next look.
//!
//! None of it changes what becomes of an apply.

pub mod decide;
pub mod message;
pub mod tell;
