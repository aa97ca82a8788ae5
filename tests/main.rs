//! One target for all that is tested from outside: the structure of the sources and the commands.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test stands outside the house and stops at the first surprise"
)]

#[path = "main/structure.rs"]
mod structure;
