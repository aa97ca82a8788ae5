//! One target for all that is tested from outside: the structure of the sources and the commands.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test stands outside the house and stops at the first surprise"
)]

#[path = "main/commands/mod.rs"]
mod commands;
#[path = "main/structure.rs"]
mod structure;
