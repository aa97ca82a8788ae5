//! One target for all that is tested from outside: the structure of the sources and the commands.

#[path = "main/structure.rs"]
mod structure;
