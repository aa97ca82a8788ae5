//! Journals: what an apply was about to do and what became of it, a line a record.
//!
//! `{"sum":"…","n":5,"g":4,"r":…}`: `n` counts the records from 1, `g` is the first record of the
//! group that was appended and synced together, `sum` is the beginning of the SHA-256 of the rest
//! of the line. Of a journal that ended in a crash, the records up to the first missing one are
//! read: no group is torn but the last, of which nobody was told that it was written.

use std::path::{Path, PathBuf};

use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::value::RawValue;

use crate::{
    effect::disk::{Disk, Durability},
    error::{Code, Error, Result},
    id::{Digest, Invalid, Timestamp},
    layout::Layout,
    state::{
        backups, format,
        trust::{REPAIR, read_own},
    },
};

/// The name of an apply and of its journal, `20260102T030405678Z-9f3a1c07`: later ones sort after earlier ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct JournalId(String);

impl JournalId {
    /// The name of an apply that begins at `now`; `random` tells apart what begins in one millisecond.
    pub fn new(now: Timestamp, random: u32) -> Self {
        Self(format!("{}-{random:08x}", stamp(now)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for JournalId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for JournalId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let shape = "ddddddddTdddddddddZ-xxxxxxxx";
        let fits = |(c, like): (u8, u8)| match like {
            b'd' => c.is_ascii_digit(),
            b'x' => c.is_ascii_digit() || (b'a'..=b'f').contains(&c),
            literal => c == literal,
        };
        if text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid(format!("`{text}` is not the name of a journal")))
        }
    }
}

fn stamp(at: Timestamp) -> String {
    at.utc().format("%Y%m%dT%H%M%S%3fZ").to_string()
}

/// The file of a journal.
pub fn path(layout: &Layout, id: &JournalId) -> PathBuf {
    layout.journal().join(format!("{id}.jsonl"))
}

/// The journals of a project, earliest first.
///
/// # Errors
/// What the disk says.
pub fn list(disk: &dyn Disk, layout: &Layout) -> Result<Vec<JournalId>> {
    let dir = layout.journal();
    let listed = disk.list(&dir);
    Ok(listed
        .map_err(|error| Error::io("list", &dir, error))?
        .into_iter()
        .filter_map(|(name, _)| name.strip_suffix(".jsonl")?.parse().ok())
        .collect())
}

/// The journal of the apply that began last.
///
/// # Errors
/// What the disk says.
pub fn latest(disk: &dyn Disk, layout: &Layout) -> Result<Option<JournalId>> {
    Ok(list(disk, layout)?.pop())
}

/// A name for the apply that begins at `now`: it sorts after every journal that is there, also when
/// the clock was set back or stands still.
///
/// # Errors
/// What the disk says.
pub fn next_id(disk: &dyn Disk, layout: &Layout, now: Timestamp, random: u32) -> Result<JournalId> {
    let fresh = JournalId::new(now, random);
    let Some(last) = latest(disk, layout)?.filter(|last| *last >= fresh) else {
        return Ok(fresh);
    };
    let (stamp, suffix) = last.0.split_once('-').unwrap_or((&last.0, ""));
    let after = u32::from_str_radix(suffix, 16)
        .ok()
        .and_then(|suffix| suffix.checked_add(1))
        .ok_or_else(|| {
            let message = format!("no name is left after that of journal {last}");
            Error::new(Code::Internal, message)
        })?;
    Ok(JournalId(format!("{stamp}-{after:08x}")))
}

/// How many journals are kept for `history` at least, as long as they are small.
pub const KEPT: usize = 200;

/// How many bytes of journals older than the oldest backup are kept for `history`.
const KEPT_BYTES: u64 = 32 << 20;

/// Removes journals that are older than the one which wrote the oldest backup, and says how many.
///
/// Of those, the newest stay for `history`: [`KEPT`] in all, and no more than 32 MiB of them. None is
/// removed while there are fewer backups than are kept, nor one that is `unfinished`.
///
/// # Errors
/// What the disk says, and what is wrong with the oldest backup.
pub fn prune(
    disk: &dyn Disk,
    layout: &Layout,
    unfinished: &dyn Fn(&JournalId) -> bool,
) -> Result<usize> {
    let kept = backups::list(disk, layout)?;
    let Some(oldest) = kept.first().filter(|_| kept.len() >= backups::KEPT) else {
        return Ok(0);
    };
    let Some(bytes) = read_own(disk, &oldest.path)? else {
        return Ok(0);
    };
    let head =
        format::decode_head(&bytes).map_err(|error| super::store::refusal(&oldest.path, error))?;
    let written = stamp(head.written_at);
    let mut earlier = list(disk, layout)?;
    let all = earlier.len();
    earlier.retain(|id| id.as_str() < written.as_str());
    // The last that began before the oldest backup was written is the one that wrote it.
    earlier.pop();
    let (mut room, mut bytes) = (KEPT.saturating_sub(all - earlier.len()), KEPT_BYTES);
    let mut removed = 0;
    for id in earlier.iter().rev().filter(|id| !unfinished(id)) {
        let path = path(layout, id);
        let stat = disk.stat(&path);
        let size = stat
            .map_err(|error| Error::io("look at", &path, error))?
            .map_or(0, |stat| stat.size);
        if room > 0 && size <= bytes {
            room -= 1;
            bytes -= size;
            continue;
        }
        // Those before it go too: a history has no holes.
        room = 0;
        let gone = disk.remove(&path);
        removed += usize::from(gone.map_err(|error| Error::io("remove", &path, error))?);
    }
    Ok(removed)
}

/// A journal that is being written. One process writes it, under the project's lock.
pub struct Journal<'d> {
    disk: &'d dyn Disk,
    path: PathBuf,
    /// How many records are on disk for sure.
    records: u64,
    /// How many bytes those are.
    length: usize,
    /// Whether an append failed, so that more than `length` bytes may be there.
    torn: bool,
}

impl std::fmt::Debug for Journal<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("path", &self.path)
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct LineOut<'r, R> {
    n: u64,
    g: u64,
    r: &'r R,
}

#[derive(Deserialize)]
struct LineIn<'t> {
    n: u64,
    g: u64,
    #[serde(borrow)]
    r: &'t RawValue,
}

const SUM: (&str, &str) = ("{\"sum\":\"", "\",");
const SUM_DIGITS: usize = 16;

fn sum(text: &[u8]) -> String {
    let mut sum = Digest::of(text).to_string();
    sum.truncate(SUM_DIGITS);
    sum
}

impl<'d> Journal<'d> {
    /// A new journal. The file appears, durably, with its first record.
    ///
    /// # Errors
    /// `INTERNAL` when there is one of that name; otherwise what the disk says.
    pub fn create(disk: &'d dyn Disk, layout: &Layout, id: &JournalId) -> Result<Self> {
        let path = path(layout, id);
        let stat = disk.stat(&path);
        if stat
            .map_err(|error| Error::io("look at", &path, error))?
            .is_some()
        {
            let message = format!("{} exists already", path.display());
            return Err(Error::new(Code::Internal, message));
        }
        Ok(Self {
            disk,
            path,
            records: 0,
            length: 0,
            torn: false,
        })
    }

    /// Takes up a journal that a crash ended, with what it holds. What the crash tore off is cut off.
    ///
    /// # Errors
    /// As [`read`], and what the disk says of the write.
    pub fn open<R: DeserializeOwned>(disk: &'d dyn Disk, path: &Path) -> Result<(Self, Vec<R>)> {
        let bytes = read_own(disk, path)?.unwrap_or_default();
        let parsed = parse(path, &bytes)?;
        let mut whole = bytes.get(..parsed.length).unwrap_or_default().to_vec();
        if !whole.is_empty() && !whole.ends_with(b"\n") {
            whole.push(b'\n');
        }
        // Written anew even if nothing is torn: the process that made it may have ended before its
        // name was durable.
        disk.write(path, &whole, 0o600, None, Durability::Now)
            .map_err(|error| Error::io("write", path, error))?;
        let journal = Self {
            disk,
            path: path.to_owned(),
            records: parsed.records.len() as u64,
            length: whole.len(),
            torn: false,
        };
        Ok((journal, parsed.records))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends records, in one write and one sync. When it returns, they survive a power failure.
    ///
    /// When it fails, a reader may see some of them or none, and the next append cuts them off.
    /// A record type must not be flattened or internally tagged around a
    /// [`Definition`](crate::resource::Definition): JSON is kept in it as it is written.
    ///
    /// # Errors
    /// What the disk says; then what the records announce must not be done.
    pub fn append<R: Serialize>(&mut self, records: &[R]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(records.len() * 256);
        let group = self.records + 1;
        for (n, r) in (group..).zip(records) {
            let text = serde_json::to_vec(&LineOut { n, g: group, r }).map_err(|error| {
                Error::new(
                    Code::Internal,
                    "a record of the journal cannot be written as JSON",
                )
                .because(error)
            })?;
            // All but the brace that opens it.
            let rest = text.get(1..).unwrap_or_default();
            bytes.extend_from_slice(SUM.0.as_bytes());
            bytes.extend_from_slice(sum(rest).as_bytes());
            bytes.extend_from_slice(SUM.1.as_bytes());
            bytes.extend_from_slice(rest);
            bytes.push(b'\n');
        }
        self.mend()?;
        // Until the append is known to be whole, it is not.
        self.torn = true;
        self.disk
            .append(&self.path, &bytes, 0o600, Durability::Now)
            .map_err(|error| Error::io("write", &self.path, error))?;
        self.torn = false;
        self.records += records.len() as u64;
        self.length += bytes.len();
        Ok(())
    }

    /// Cuts off what a failed append may have left.
    fn mend(&mut self) -> Result<()> {
        if !self.torn {
            return Ok(());
        }
        let bytes = read_own(self.disk, &self.path)?.unwrap_or_default();
        let whole = bytes.get(..self.length).ok_or_else(|| {
            let message = format!(
                "{} became shorter while it was written",
                self.path.display()
            );
            Error::new(Code::StateCorrupt, message)
        })?;
        self.disk
            .write(&self.path, whole, 0o600, None, Durability::Now)
            .map_err(|error| Error::io("write", &self.path, error))?;
        self.torn = false;
        Ok(())
    }
}

/// The records of a journal, in order; none when there is no such file.
///
/// What a crash tore off the end is left out: nobody was told that it was written.
///
/// # Errors
/// `STATE_CORRUPT` for any other damage, and for a file that others could have written;
/// `STATE_NEWER` for a whole record that this version does not know.
pub fn read<R: DeserializeOwned>(disk: &dyn Disk, path: &Path) -> Result<Vec<R>> {
    match read_own(disk, path)? {
        Some(bytes) => parse(path, &bytes).map(|parsed| parsed.records),
        None => Ok(Vec::new()),
    }
}

/// The last record of a journal whose end is whole and known, without reading the others; `None`
/// else, and then [`read`] tells.
///
/// # Errors
/// What the disk says, and a file that others could have written.
pub fn last<R: DeserializeOwned>(disk: &dyn Disk, path: &Path) -> Result<Option<R>> {
    let Some(bytes) = read_own(disk, path)? else {
        return Ok(None);
    };
    let Some(text) = bytes.strip_suffix(b"\n") else {
        return Ok(None);
    };
    let from = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let line = text.get(from..).and_then(whole_line);
    Ok(line.and_then(|line| serde_json::from_str(line.r.get()).ok()))
}

/// The bytes of a journal that is damaged; `None` for one that can be read.
pub(super) fn damaged(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>> {
    let Some(bytes) = read_own(disk, path)? else {
        return Ok(None);
    };
    let sound = parse::<IgnoredAny>(path, &bytes).is_ok();
    Ok((!sound).then_some(bytes))
}

struct Parsed<R> {
    records: Vec<R>,
    /// Where the last whole record ends.
    length: usize,
}

fn parse<R: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<Parsed<R>> {
    let mut records = Vec::new();
    let mut length = 0;
    let mut group = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let next = records.len() as u64 + 1;
        let expected = |line: &LineIn<'_>| line.n == next && (line.g == next || line.g == group);
        let Some(found) = whole_line(line).filter(expected) else {
            break;
        };
        let record = serde_json::from_str(found.r.get()).map_err(|error| {
            let message = format!(
                "{}: record {next} is whole and not one that this version knows",
                path.display()
            );
            Error::new(Code::StateNewer, message)
                .because(error)
                .suggest("use a lorectl at least as new as the one that wrote it")
        })?;
        records.push(record);
        group = found.g;
        length += line.len();
    }
    let rest = bytes.get(length..).unwrap_or_default();
    if is_torn(rest, records.len() as u64 + 1) {
        return Ok(Parsed { records, length });
    }
    let message = format!(
        "{} is damaged at record {}, and not by a crash while it was written",
        path.display(),
        records.len() + 1
    );
    Err(Error::new(Code::StateCorrupt, message).suggest(format!(
        "`{REPAIR}` sets it aside; what it announced is then found on the host by its marks"
    )))
}

fn whole_line(line: &[u8]) -> Option<LineIn<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let (found, rest) = line
        .strip_prefix(SUM.0.as_bytes())?
        .split_at_checked(SUM_DIGITS)?;
    let rest = rest.strip_prefix(SUM.1.as_bytes())?;
    if sum(rest).as_bytes() != found {
        return None;
    }
    serde_json::from_slice(line).ok()
}

/// Whether a crash in an append can have left this in place of record `next`: the end of it is
/// missing or was never filled in, and no later append, which waits for this one's sync, is there.
fn is_torn(rest: &[u8], next: u64) -> bool {
    let cut_short = !rest.ends_with(b"\n") || rest.contains(&0);
    let later = |line: LineIn<'_>| line.n <= next || line.g > next;
    rest.is_empty()
        || cut_short
            && !rest
                .split_inclusive(|byte| *byte == b'\n')
                .filter_map(whole_line)
                .any(later)
}
