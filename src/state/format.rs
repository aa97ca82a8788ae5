//! The state as it is kept on disk.
//!
//! It is one JSON document of which the first line holds the digest of all that follows it, so
//! that a single changed byte is noticed; then come the head, a key a line, and a line for each
//! resource. `tail -n +2 state.json | sha256sum` prints the digest, `grep '"service.sync"'` finds a
//! resource, and any JSON reader takes the whole.
//!
//! Every later version keeps the first line as it is: what a digest vouches for can be believed
//! about its version too.

use std::{borrow::Cow, collections::BTreeMap, io::Write as _};

use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

use super::seal::{self, Broken};
use crate::{
    effect::threads,
    id::{Address, Lineage, ProjectName, Timestamp},
    resource::Applied,
};

/// The version that this binary writes and the newest that it reads.
pub const SCHEMA_VERSION: u32 = 1;

const RESOURCES: &str = "\n\"resources\":{";

/// Where the spec came from when it was last applied, for the guard against another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// What kind of place it is.
    pub kind: OriginKind,
    /// The place: a remote's URL without user or query, followed by `//` and the path within the
    /// repository where it is not its root; or an absolute path. No secret.
    pub value: String,
}

/// What kind of place a spec comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OriginKind {
    /// A Git checkout with a remote.
    Git,
    /// A directory of this host.
    Path,
}

/// What was last applied of one project on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Whose state it is.
    pub project: ProjectName,
    /// What it is the state of; see [`Lineage::derive`].
    pub lineage: Lineage,
    /// Raised by every commit, from 1. It never goes back, whatever happens to the file.
    pub serial: u64,
    /// Where the spec came from; `None` before the first apply that read one.
    pub origin: Option<Origin>,
    /// When it was written, UTC.
    pub written_at: Timestamp,
    /// The spec's files that were last applied, relative to its root, ordered.
    pub files: Vec<String>,
    /// What was applied, by address.
    pub resources: BTreeMap<Address, Applied>,
}

impl State {
    /// The state of a project of which nothing was applied yet. Its serial is 0; it is on no disk.
    pub const fn new(project: ProjectName, lineage: Lineage, now: Timestamp) -> Self {
        Self {
            project,
            lineage,
            serial: 0,
            origin: None,
            written_at: now,
            files: Vec::new(),
            resources: BTreeMap::new(),
        }
    }
}

/// Why a file is not a state that this binary can read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It has no bytes.
    #[error("it is empty")]
    Empty,
    /// Its first line is not the one that lorectl writes.
    #[error("its first line is not one that lorectl wrote")]
    NoDigest,
    /// What follows the first line is not what was written.
    #[error("its content does not have the digest that its first line states")]
    DigestDiffers,
    /// The digest is right and the content is not a state: someone else wrote it.
    #[error("its content is not a state")]
    NotAState(#[source] serde_json::Error),
    /// No version that there ever was.
    #[error("its schema version {0} never was one")]
    NoSuchVersion(u32),
    /// A newer binary wrote it.
    #[error("it has schema version {0}, and this lorectl reads up to {SCHEMA_VERSION}")]
    Newer(u32),
}

/// The head of a state: everything but its resources.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Head {
    /// The version of the format.
    pub schema_version: u32,
    /// Whose state it is.
    pub project: ProjectName,
    /// What it is the state of.
    pub lineage: Lineage,
    /// Its serial.
    pub serial: u64,
    /// When it was written, UTC.
    pub written_at: Timestamp,
}

#[derive(Deserialize)]
struct Version {
    schema_version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "digest")]
    _digest: IgnoredAny,
    #[serde(rename = "schema_version")]
    _schema_version: u32,
    project: ProjectName,
    lineage: Lineage,
    serial: u64,
    origin: Option<Origin>,
    written_at: Timestamp,
    files: Vec<String>,
    resources: BTreeMap<Address, Applied>,
}

/// The bytes of a state that is written at `now`.
///
/// # Errors
/// When a definition cannot be written as JSON, which is a defect of its kind.
pub fn encode(state: &State, now: Timestamp) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(seal::ROOM + 512 + state.resources.len() * 1024);
    out.resize(seal::ROOM, 0);
    line(&mut out, "", "schema_version", &SCHEMA_VERSION)?;
    line(&mut out, ",\n", "project", &state.project)?;
    line(&mut out, ",\n", "lineage", &state.lineage)?;
    line(&mut out, ",\n", "serial", &state.serial)?;
    line(&mut out, ",\n", "origin", &state.origin)?;
    line(&mut out, ",\n", "written_at", &now)?;
    line(&mut out, ",\n", "files", &state.files)?;
    out.push(b',');
    out.extend_from_slice(RESOURCES.as_bytes());
    for (index, (address, applied)) in state.resources.iter().enumerate() {
        let before = if index == 0 { "\n" } else { ",\n" };
        line(&mut out, before, address, applied)?;
    }
    out.extend_from_slice(b"\n}}\n");
    seal::seal(&mut out);
    Ok(out)
}

fn line(
    out: &mut Vec<u8>,
    before: &str,
    key: impl std::fmt::Display,
    value: &impl Serialize,
) -> serde_json::Result<()> {
    write!(out, "{before}\"{key}\":").map_err(serde_json::Error::io)?;
    serde_json::to_writer(out, value)
}

/// The text of a document whose digest is right and whose version can be read.
fn verified(bytes: &[u8]) -> Result<(&str, u32), Unreadable> {
    if bytes.is_empty() {
        return Err(Unreadable::Empty);
    }
    seal::check(bytes).map_err(|broken| match broken {
        Broken::NoDigest => Unreadable::NoDigest,
        Broken::Differs => Unreadable::DigestDiffers,
    })?;
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Unreadable::NotAState(serde::de::Error::custom(error)))?;
    let version = head_of::<Version>(text)?.schema_version;
    match version {
        0 => Err(Unreadable::NoSuchVersion(version)),
        1..=SCHEMA_VERSION => Ok((text, version)),
        _ => Err(Unreadable::Newer(version)),
    }
}

/// Reads what stands before the resources, without going through them.
fn head_of<T: DeserializeOwned>(text: &str) -> Result<T, Unreadable> {
    let head = match text.split_once(RESOURCES) {
        Some((head, _)) => Cow::Owned(format!("{}}}", head.trim_end_matches(','))),
        None => Cow::Borrowed(text),
    };
    serde_json::from_str(&head).map_err(Unreadable::NotAState)
}

/// The head of a state of which the whole was verified.
///
/// # Errors
/// As [`decode`].
pub fn decode_head(bytes: &[u8]) -> Result<Head, Unreadable> {
    let (text, version) = verified(bytes)?;
    head_of(&migrate(text, version, MIGRATIONS)?)
}

/// The state in these bytes, older versions migrated.
///
/// # Errors
/// [`Unreadable`], for anything that [`encode`] did not write.
pub fn decode(bytes: &[u8]) -> Result<State, Unreadable> {
    let (text, version) = verified(bytes)?;
    let text = migrate(text, version, MIGRATIONS)?;
    let mut document: Document;
    match rows(&text) {
        Some((head, rows)) => {
            document = serde_json::from_str(&head).map_err(Unreadable::NotAState)?;
            let read = threads::map(&rows, PIECE, |row| {
                let address = row.0.parse().map_err(serde::de::Error::custom)?;
                Ok((address, serde_json::from_str(row.1)?))
            });
            let read: serde_json::Result<_> = read.into_iter().collect();
            document.resources = read.map_err(Unreadable::NotAState)?;
        }
        None => document = serde_json::from_str(&text).map_err(Unreadable::NotAState)?,
    }
    Ok(State {
        project: document.project,
        lineage: document.lineage,
        serial: document.serial,
        origin: document.origin,
        written_at: document.written_at,
        files: document.files,
        resources: document.resources,
    })
}

/// A thread is worth while for reading so many resources.
const PIECE: usize = 256;

/// The document without its resources, and each of these, its key and its value, which [`encode`]
/// writes on a line of its own; `None` for a text that is laid out otherwise.
fn rows(text: &str) -> Option<(String, Vec<(&str, &str)>)> {
    let (head, rows) = text.split_once(RESOURCES)?;
    let rows = rows.strip_suffix("\n}}\n")?.strip_prefix('\n')?;
    let rows: Option<Vec<_>> = (rows.split(",\n"))
        .map(|row| row.strip_prefix('"')?.split_once("\":"))
        .collect();
    Some((format!("{head}{RESOURCES}}}}}"), rows?))
}

/// Turns the text of one version into that of the next. It takes old structs of its own and keeps
/// definitions as they are written: a definition that is reordered reads as a changed spec.
type Migration = fn(&str) -> Result<String, Unreadable>;

/// From version 1 to 2 first, and so on.
const MIGRATIONS: &[Migration] = &[];

fn migrate<'t>(
    text: &'t str,
    version: u32,
    chain: &[Migration],
) -> Result<Cow<'t, str>, Unreadable> {
    let done = usize::try_from(version).map_or(usize::MAX, |version| version.saturating_sub(1));
    chain
        .iter()
        .skip(done)
        .try_fold(Cow::Borrowed(text), |text, step| {
            step(&text).map(Cow::Owned)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_run_from_the_version_that_is_there() {
        let chain: &[Migration] = &[|t| Ok(format!("{t}→2")), |t| Ok(format!("{t}→3"))];
        for (version, expected) in [(1, "x→2→3"), (2, "x→3"), (3, "x")] {
            assert_eq!(migrate("x", version, chain).unwrap(), expected);
        }
        assert_eq!(
            MIGRATIONS.len() + 1,
            usize::try_from(SCHEMA_VERSION).unwrap(),
            "each version but the last has a way to the next"
        );
    }
}
