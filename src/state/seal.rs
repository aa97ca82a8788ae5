//! The first line of a JSON document that vouches for all that follows it.
//!
//! `{"digest":"HEX",` and a line feed, then the other members: whoever reads the file can tell that
//! it is as it was written before it is parsed, and it is one JSON object all the same.

use crate::id::Digest;

const EDGES: (&[u8], &[u8]) = (b"{\"digest\":\"", b"\",\n");
const HEX: usize = 64;

/// The bytes that the first line takes.
pub const ROOM: usize = EDGES.0.len() + HEX + EDGES.1.len();

/// Why a document is not as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Its first line is not such a line.
    NoDigest,
    /// What follows the first line has another digest.
    Differs,
}

/// Writes the first line, for which [`ROOM`] bytes were left, over what follows it.
pub fn seal(out: &mut [u8]) {
    let Some((first, body)) = out.split_at_mut_checked(ROOM) else {
        return;
    };
    let digest = Digest::of(body).to_string();
    let parts = EDGES.0.iter().chain(digest.as_bytes()).chain(EDGES.1);
    for (to, from) in first.iter_mut().zip(parts) {
        *to = *from;
    }
}

/// Whether a document is as it was sealed.
///
/// # Errors
/// What is wrong with its first line.
pub fn check(bytes: &[u8]) -> Result<(), Broken> {
    let (digest, body) = bytes
        .strip_prefix(EDGES.0)
        .and_then(|rest| rest.split_at_checked(HEX))
        .and_then(|(hex, rest)| Some((hex, rest.strip_prefix(EDGES.1)?)))
        .and_then(|(hex, body)| Some((std::str::from_utf8(hex).ok()?, body)))
        .and_then(|(hex, body)| Some((hex.parse::<Digest>().ok()?, body)))
        .ok_or(Broken::NoDigest)?;
    if Digest::of(body) == digest {
        Ok(())
    } else {
        Err(Broken::Differs)
    }
}
