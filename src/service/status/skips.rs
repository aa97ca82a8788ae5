//! Runs that did not take place, as lines beside the status.
//!
//! A skipped run is to cost next to nothing, and a replaced status file costs two syncs. So a skip
//! is one unsynced line, which the next write of the status takes in.

use std::path::Path;

use crate::{
    effect::disk::{Disk, Durability},
    service::status::{Skip, Status},
};

/// The file's name in `data/`.
pub const FILE: &str = "skips.jsonl";

/// From this length on the status is to be written anew, which empties the file.
pub const FULL: u64 = 64 << 10;

/// The most that is read of it.
const LIMIT: u64 = 4 * FULL;

/// Appends a skip.
///
/// # Errors
/// As the disk says; the caller goes on, as with all that only records.
pub fn append(disk: &dyn Disk, data: &Path, skip: &Skip) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(skip)?;
    line.push(b'\n');
    disk.append(&data.join(FILE), &line, 0o600, Durability::Batch)
}

/// Counts what was appended since the status was written; returns how many bytes that is.
///
/// A file that cannot be read counts nothing: a lost count is no reason to stop.
pub fn take_in(disk: &dyn Disk, data: &Path, status: &mut Status) -> u64 {
    let Ok(Some(file)) = disk.read(&data.join(FILE), LIMIT) else {
        return 0;
    };
    for line in file.bytes.split(|byte| *byte == b'\n') {
        // A crash or a hostile hand can leave anything there.
        if let Ok(skip) = serde_json::from_slice::<Skip>(line) {
            status.skip(skip);
        }
    }
    file.bytes.len() as u64
}
