//! A host's side of a plan as a file: what `observe --out` writes and `plan --observed` reads.
//!
//! One JSON object in lines. The first holds the digest of all that follows it ([`seal`]); then come
//! the head, a member a line, and a line for each resource, applied and observed. It holds what the
//! state records and what the backends found of it: of files their digest, mode and owner, never
//! their bytes, and no secret, since no definition holds one.
//!
//! The digest guards against accidents, not against forgers. A forged snapshot makes a wrong plan,
//! and a plan only ever allows what was planned afresh on the host.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use super::{Memory, Situation, Wish};
use crate::{
    apply::settle::Settled,
    effect::user::Account,
    error::{Code, Error, Result},
    id::{Address, Lineage, ProjectName, Seconds, Timestamp},
    resource::{Applied, Observed, Owner, Seen, Stray},
    service::definition::Scheduler,
    state::{
        format::{Origin, State},
        seal::{self, Broken},
    },
};

/// The format that is written: a reader takes any of the same major number.
pub const FORMAT_VERSION: &str = "1.0";

/// The largest snapshot that is read, in bytes: some 60,000 services.
pub const MAX_BYTES: u64 = 128 << 20;

/// How far a runner's clock may be behind the host's before a snapshot is from the future.
const SKEW: i64 = 5 * 60;

const END: &[u8] = b"\n}}\n";
/// What helps where a file is no snapshot.
pub const AGAIN: &str = "make it again on the host with `lorectl observe --out FILE`";

/// What was applied to a host, what is there, and what else a plan must know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The project.
    pub project: ProjectName,
    /// The host's name.
    pub host: String,
    /// The lineage of the host's state.
    pub lineage: Lineage,
    /// The serial of the state that was read; 0 when there was none.
    pub serial: u64,
    /// When the host was looked at, UTC, by its own clock.
    pub created_at: Timestamp,
    /// The version of lorectl that looked.
    pub lorectl: String,
    /// Where the spec came from when it was last applied.
    pub origin: Option<Origin>,
    /// The spec's files that were last applied.
    pub files: Vec<String>,
    /// What else a plan must know of the host.
    pub machine: Machine,
    /// Resources whose last step has an unknown outcome, and the remedy.
    pub in_doubt: BTreeMap<Address, String>,
    /// What was applied, after an unfinished journal was settled.
    pub applied: BTreeMap<Address, Applied>,
    /// What is there.
    pub observed: Observed,
}

/// What a plan must know of a host besides its resources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Who applies there: whoever observed.
    pub account: Account,
    /// Whom the applied services run as.
    pub users: BTreeMap<String, Owner>,
    /// What `scheduler = "auto"` is for a new service.
    pub auto: Scheduler,
    /// Whether the manager of that account outlives logins.
    pub lingers: bool,
    /// The users of applied services whose managers do the same.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lingering: BTreeSet<String>,
    /// Whether a worker runs.
    pub worker_runs: bool,
    /// Where states are kept.
    pub state_dir: PathBuf,
    /// The lorectl that units call.
    pub binary: PathBuf,
    /// Why units cannot call the one that observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unstable: Option<Unstable>,
    /// Where the spec lies on the host, if that is known: what its relative paths begin from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec_dir: Option<PathBuf>,
}

/// Why units cannot call a binary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unstable {
    /// What stands against it.
    pub message: String,
    /// What helps.
    pub suggestion: Option<String>,
}

#[derive(Deserialize)]
struct Document {
    project: ProjectName,
    host: String,
    lineage: Lineage,
    serial: u64,
    created_at: Timestamp,
    lorectl: String,
    origin: Option<Origin>,
    files: Vec<String>,
    machine: Machine,
    in_doubt: BTreeMap<Address, String>,
    strays: Vec<Stray>,
    applied: BTreeMap<Address, Applied>,
    observed: BTreeMap<Address, Seen>,
}

impl Snapshot {
    /// The snapshot of a situation that was observed as `wish` of nothing.
    pub fn of(situation: Situation, host: String, machine: Machine, now: Timestamp) -> Self {
        let state = situation.memory.state;
        let mut observed = situation.observed;
        // What nobody applied is not the plan's affair.
        let applied = situation.applied;
        observed.resources.retain(|a, _| applied.contains_key(a));
        Self {
            project: state.project,
            host,
            lineage: state.lineage,
            serial: state.serial,
            created_at: now,
            lorectl: env!("CARGO_PKG_VERSION").to_owned(),
            origin: state.origin,
            files: state.files,
            machine,
            in_doubt: situation.in_doubt,
            applied,
            observed,
        }
    }

    /// The situation that a plan for the host is made of.
    pub fn situation(self, wish: Wish) -> Situation {
        let memory = Memory {
            state: State {
                project: self.project,
                lineage: self.lineage,
                serial: self.serial,
                origin: self.origin,
                written_at: self.created_at,
                files: self.files,
                resources: BTreeMap::new(),
            },
            is_stored: self.serial > 0,
            lost: None,
            unfinished: crate::apply::settle::Unfinished::default(),
            open_journals: Vec::new(),
        };
        Situation {
            wish,
            memory,
            observed: self.observed,
            settled: Settled::default(),
            applied: self.applied,
            in_doubt: self.in_doubt,
        }
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// `INTERNAL` when something cannot be written as JSON.
    pub fn encode(&self) -> Result<Vec<u8>> {
        self.write().map_err(|error| {
            Error::new(Code::Internal, "a snapshot cannot be written as JSON").because(error)
        })
    }

    fn write(&self) -> serde_json::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(seal::ROOM + 2048 + self.applied.len() * 2048);
        out.resize(seal::ROOM, 0);
        member(&mut out, "", "format_version", &FORMAT_VERSION)?;
        member(&mut out, ",\n", "project", &self.project)?;
        member(&mut out, ",\n", "host", &self.host)?;
        member(&mut out, ",\n", "lineage", &self.lineage)?;
        member(&mut out, ",\n", "serial", &self.serial)?;
        member(&mut out, ",\n", "created_at", &self.created_at)?;
        member(&mut out, ",\n", "lorectl", &self.lorectl)?;
        member(&mut out, ",\n", "origin", &self.origin)?;
        member(&mut out, ",\n", "files", &self.files)?;
        member(&mut out, ",\n", "machine", &self.machine)?;
        member(&mut out, ",\n", "in_doubt", &self.in_doubt)?;
        member(&mut out, ",\n", "strays", &self.observed.strays)?;
        out.extend_from_slice(b",\n\"applied\":{");
        members(&mut out, &self.applied)?;
        out.extend_from_slice(b"\n},\n\"observed\":{");
        members(&mut out, &self.observed.resources)?;
        out.extend_from_slice(END);
        seal::seal(&mut out);
        Ok(out)
    }

    /// Reads a snapshot.
    ///
    /// # Errors
    /// `SNAPSHOT_INVALID` when it is none, too large, cut short, was edited, or is of another major
    /// format.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > MAX_BYTES {
            let most = MAX_BYTES >> 20;
            return Err(invalid(format!("the snapshot is larger than {most} MiB")));
        }
        seal::check(bytes).map_err(|broken| broken_one(bytes, broken))?;
        let shape = |error: serde_json::Error| {
            invalid("the snapshot is not one that this version reads").because(error)
        };
        check_format(&version_of(bytes))?;
        let read: Document = serde_json::from_slice(bytes).map_err(shape)?;
        Ok(Self {
            project: read.project,
            host: read.host,
            lineage: read.lineage,
            serial: read.serial,
            created_at: read.created_at,
            lorectl: read.lorectl,
            origin: read.origin,
            files: read.files,
            machine: read.machine,
            in_doubt: read.in_doubt,
            applied: read.applied,
            observed: Observed {
                resources: read.observed,
                strays: read.strays,
            },
        })
    }

    /// Refuses a snapshot of another host than the one asked for, or of another project.
    ///
    /// A host is the same with and without its domain. A lineage is known on the host alone: the plan
    /// carries it, and `apply` refuses another's.
    ///
    /// # Errors
    /// `SNAPSHOT_FOREIGN`.
    pub fn check_subject(&self, project: &ProjectName, host: Option<&str>) -> Result<()> {
        let foreign = |what: &str, theirs: &str, asked: &str| {
            let message = format!("the snapshot is of {what} `{theirs}`, not of `{asked}`");
            Err(Error::new(Code::SnapshotForeign, message).suggest(format!(
                "make one of `{asked}`, there, with `lorectl observe --out FILE`"
            )))
        };
        if self.project != *project {
            return foreign("project", self.project.as_str(), project.as_str());
        }
        match host {
            Some(host) if !same_host(host, &self.host) => foreign("host", &self.host, host),
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses a snapshot that is older than this.
    ///
    /// # Errors
    /// `SNAPSHOT_STALE`, also for one that is from the future by more than five minutes: then one of
    /// the two clocks is wrong, and its age cannot be told.
    pub fn check_age(&self, most: Seconds, now: Timestamp) -> Result<()> {
        let age = now.seconds_since(self.created_at);
        let message = if age < -SKEW {
            format!(
                "the snapshot was made at {}, which is yet to come here: the clocks differ",
                self.created_at
            )
        } else if age > most.signed() {
            // The larger of two units is enough: rounded up, so that it never reads as allowed.
            let unit = match age {
                ..7200 => 60,
                7200..172_800 => 3600,
                172_800.. => 86_400,
            };
            let age = Seconds(age.unsigned_abs().div_ceil(unit).saturating_mul(unit));
            format!("the snapshot is {age} old, and `--max-age` allows {most}")
        } else {
            return Ok(());
        };
        Err(Error::new(Code::SnapshotStale, message).suggest(AGAIN))
    }

    /// The names of the users whom the applied services run as.
    ///
    /// # Errors
    /// `STATE_CORRUPT` for a definition that cannot be read.
    pub fn users_of(applied: &BTreeMap<Address, Applied>) -> Result<BTreeSet<String>> {
        #[derive(Deserialize)]
        struct User {
            user: Option<String>,
        }
        let mut users = BTreeSet::new();
        for record in applied.values() {
            users.extend(record.definition.read::<User>()?.user);
        }
        Ok(users)
    }
}

fn same_host(asked: &str, named: &str) -> bool {
    let short = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let both_full = asked.contains('.') && named.contains('.');
    asked.eq_ignore_ascii_case(named)
        || (!both_full && short(asked).eq_ignore_ascii_case(&short(named)))
}

fn member(
    out: &mut Vec<u8>,
    before: &str,
    key: impl std::fmt::Display,
    value: &impl Serialize,
) -> serde_json::Result<()> {
    write!(out, "{before}\"{key}\":").map_err(serde_json::Error::io)?;
    serde_json::to_writer(out, value)
}

fn members<T: Serialize>(out: &mut Vec<u8>, all: &BTreeMap<Address, T>) -> serde_json::Result<()> {
    for (index, (address, value)) in all.iter().enumerate() {
        let before = if index == 0 { "\n" } else { ",\n" };
        member(out, before, address, value)?;
    }
    Ok(())
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::SnapshotInvalid, message).suggest(AGAIN)
}

fn broken_one(bytes: &[u8], broken: Broken) -> Error {
    match broken {
        Broken::NoDigest if bytes.is_empty() => invalid("the snapshot is empty"),
        Broken::NoDigest if bytes.starts_with(b"{\"ok\":") => {
            invalid("the file is what `--json` prints, not the snapshot")
        }
        Broken::NoDigest => invalid("the file is no snapshot of lorectl"),
        Broken::Differs if !bytes.ends_with(END) => invalid("the snapshot is cut short"),
        Broken::Differs => invalid(
            "the snapshot was edited or damaged after it was made: its digest is not that of its content",
        ),
    }
}

/// What the second line says, without going through the rest; empty where it says nothing.
fn version_of(bytes: &[u8]) -> String {
    let line = bytes.split(|byte| *byte == b'\n').nth(1);
    let value = line
        .and_then(|line| line.strip_prefix(b"\"format_version\":"))
        .and_then(|rest| rest.strip_suffix(b","));
    value
        .and_then(|value| serde_json::from_slice(value).ok())
        .unwrap_or_default()
}

fn check_format(version: &str) -> Result<()> {
    let major = |version: &str| -> Option<u32> { version.split_once('.')?.0.parse().ok() };
    match (major(version), major(FORMAT_VERSION)) {
        (Some(theirs), Some(ours)) if theirs == ours => Ok(()),
        (Some(theirs), Some(ours)) if theirs > ours => Err(Error::new(
            Code::SnapshotInvalid,
            format!(
                "the snapshot is of format {version}, which is newer than the {FORMAT_VERSION} that this version reads"
            ),
        )
        .suggest("plan with a lorectl at least as new as the host's")),
        _ => Err(invalid(format!(
            "the snapshot is of format `{version}`; this version reads {FORMAT_VERSION}"
        ))),
    }
}

#[cfg(test)]
mod tests;
