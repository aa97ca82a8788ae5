//! Randomness: names of temporary files from the kernel, and the seed from which a command's draws follow.
#![expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the kernel's random source and its override"
)]

use crate::error::{Code, Error, Result};

/// Sixteen hex digits that nobody can guess, for the name of a temporary file.
///
/// # Errors
/// When the kernel's random source fails.
pub fn token() -> std::io::Result<String> {
    let bits = getrandom::u64().map_err(std::io::Error::other)?;
    Ok(format!("{bits:016x}"))
}

/// So many bytes that nobody can guess, for a key.
///
/// # Errors
/// When the kernel's random source fails.
pub fn bytes<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes)
}

/// The seed of this command's draws: `LORECTL_SEED` (decimal), else from the kernel.
///
/// # Errors
/// `USAGE` when `LORECTL_SEED` is set and is no number.
pub fn seed() -> Result<u64> {
    match std::env::var("LORECTL_SEED") {
        Ok(text) => text
            .parse()
            .map_err(|_| Error::new(Code::Usage, "LORECTL_SEED is not a decimal number")),
        Err(_) => getrandom::u64()
            .map_err(|error| Error::new(Code::Io, "cannot draw a seed").because(error)),
    }
}
