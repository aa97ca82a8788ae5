//! What the process was started with: variables, directory, standard input.
#![expect(
    clippy::disallowed_methods,
    reason = "the one place that asks the process for its surroundings"
)]

use std::{ffi::OsString, io::Read, path::PathBuf};

use crate::error::{Code, Error, Result};

/// An environment variable that is set and not empty.
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The current directory, absolute.
///
/// # Errors
/// `IO` when it was removed or cannot be read.
pub fn current_dir() -> Result<PathBuf> {
    std::env::current_dir()
        .map_err(|error| Error::new(Code::Io, "cannot tell the current directory").because(error))
}

/// Standard input, to its end; at most one byte more than `limit`, so that too much can be told.
///
/// # Errors
/// What the system says.
pub fn standard_input(limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| Error::new(Code::Io, "cannot read standard input").because(error))?;
    Ok(bytes)
}
