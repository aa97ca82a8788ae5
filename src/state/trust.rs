//! Reading what nobody else can have written.

use std::{io, path::Path};

use crate::{
    effect::disk::{Disk, EntryKind},
    error::{Code, Error, Result},
};

/// The largest state or journal that is read: several times what a project of 100,000 has.
const LIMIT: u64 = 512 << 20;

/// Reads a file that must be this user's (or root's) alone to write; `None` when there is none.
///
/// # Errors
/// `STATE_CORRUPT` for a link, a pipe, a directory, and for a file that another user owns or can
/// write to: it may be anyone's. Otherwise what the disk says.
pub fn read_own(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>> {
    let failed = |error: io::Error| Error::io("read", path, error);
    let is = match disk.stat(path).map_err(failed)?.map(|stat| stat.kind) {
        None => return Ok(None),
        Some(EntryKind::File) => None,
        Some(EntryKind::Dir) => Some("a directory"),
        Some(EntryKind::Link) => Some("a symbolic link"),
        Some(EntryKind::Special) => Some("a pipe, socket or device"),
    };
    if let Some(kind) = is {
        let message = format!("{} is {kind} and not a file", path.display());
        return Err(Error::new(Code::StateCorrupt, message).suggest(format!(
            "lorectl did not make it and follows no link here: see what it is, move it away, and run `{REPAIR}`"
        )));
    }
    let Some(file) = disk.read(path, LIMIT).map_err(failed)? else {
        return Ok(None);
    };
    let (own, owner) = (disk.identity().uid, file.owner.uid);
    if owner != own && owner != 0 {
        let message = format!(
            "{} belongs to uid {owner}, and this is uid {own}",
            path.display()
        );
        return Err(Error::new(Code::StateCorrupt, message).suggest(
            "whoever owns the file decides what is in it: run lorectl as that user, or, if the file is trusted, give it to this one with chown(1)",
        ));
    }
    if file.mode & 0o022 != 0 {
        let message = format!(
            "{} can be written by other users (mode {:04o})",
            path.display(),
            file.mode
        );
        return Err(Error::new(Code::StateCorrupt, message).suggest(format!(
            "if its content is trusted, run `chmod 600 {}`; else `{REPAIR}`",
            path.display()
        )));
    }
    Ok(Some(file.bytes))
}

/// The command that mends a damaged state.
pub(super) const REPAIR: &str = "lorectl state repair";
