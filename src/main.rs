//! The `lorectl` command.

fn main() {}
