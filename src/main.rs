//! The `lorectl` command: parses its arguments, runs, and maps the result to an exit status.

use std::process::ExitCode;

fn main() -> ExitCode {
    lorectl::cli::main(std::env::args_os())
}
