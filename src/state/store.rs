//! Reading the state, and replacing it.

use std::path::{Path, PathBuf};

use crate::{
    effect::disk::{Disk, Durability},
    error::{Code, Error, Result},
    id::{Lineage, ProjectName, Timestamp},
    layout::Layout,
    state::{
        backups,
        format::{self, Head, State, Unreadable},
        trust::{REPAIR, read_own},
    },
};

/// The state of a project; `None` when nothing was ever committed.
///
/// # Errors
/// `STATE_CORRUPT` for a file that lorectl did not write as it is, or that others could have
/// written; `STATE_NEWER`; `STATE_FOREIGN` for another project's; `STATE_LOST` when there is no
/// state but there are backups of one. The file is never touched.
pub fn read(disk: &dyn Disk, layout: &Layout) -> Result<Option<State>> {
    let path = layout.state_file();
    let Some(bytes) = read_own(disk, &path)? else {
        let kept = backups::list(disk, layout)?;
        let Some(newest) = kept.last() else {
            return Ok(None);
        };
        let message = format!(
            "{} is gone, though there were states before: the last one kept has serial {}",
            path.display(),
            newest.serial
        );
        return Err(Error::new(Code::StateLost, message).suggest(format!(
            "`{REPAIR}` puts the newest good backup in its place"
        )));
    };
    let state = format::decode(&bytes).map_err(|error| refusal(&path, error))?;
    check_project(&path, &state.project, layout.project())?;
    Ok(Some(state))
}

/// Whether a project holds nothing any more: no resource, and nothing that a removed one left. What
/// cannot be read is not taken for nothing.
pub fn is_empty(disk: &dyn Disk, layout: &Layout) -> bool {
    let left = [layout.services(), layout.secrets()];
    let is_left = |dir: &PathBuf| disk.list(dir).is_ok_and(|entries| entries.is_empty());
    left.iter().all(is_left)
        && read(disk, layout).is_ok_and(|state| state.is_some_and(|one| one.resources.is_empty()))
}

/// The state of a project, which must be of this lineage.
///
/// # Errors
/// As [`read`], and `STATE_FOREIGN` for the state of another machine or user.
pub fn read_of(disk: &dyn Disk, layout: &Layout, lineage: &Lineage) -> Result<Option<State>> {
    let Some(state) = read(disk, layout)? else {
        return Ok(None);
    };
    check_lineage(&layout.state_file(), &state.lineage, lineage)?;
    Ok(Some(state))
}

/// What the user is told of a file that is no state.
pub(super) fn refusal(path: &Path, error: Unreadable) -> Error {
    let message = |what: &str| format!("{}: {what}", path.display());
    match error {
        Unreadable::Newer(_) => Error::new(Code::StateNewer, message("it is of a newer lorectl"))
            .because(error)
            .suggest("use a lorectl at least as new as the one that wrote it"),
        Unreadable::Empty
        | Unreadable::NoDigest
        | Unreadable::DigestDiffers
        | Unreadable::NotAState(_)
        | Unreadable::NoSuchVersion(_) => {
            Error::new(Code::StateCorrupt, message("the state is damaged"))
                .because(error)
                .suggest(format!(
                    "`{REPAIR}` puts the newest good backup in its place and keeps this file"
                ))
        }
    }
}

pub(super) fn check_project(path: &Path, found: &ProjectName, asked: &ProjectName) -> Result<()> {
    if found == asked {
        return Ok(());
    }
    let message = format!(
        "{} is the state of project `{found}`, not of `{asked}`",
        path.display()
    );
    Err(Error::new(Code::StateForeign, message)
        .suggest("put it back where it came from; a project is not renamed by moving its files"))
}

fn check_lineage(path: &Path, found: &Lineage, own: &Lineage) -> Result<()> {
    if found == own {
        return Ok(());
    }
    let message = format!(
        "{} was written on another machine or by another user: its lineage is {found}, and {own} is expected here",
        path.display()
    );
    Err(Error::new(Code::StateForeign, message).suggest(
        "run lorectl as the user and on the machine that the state is of; what a state says of another host is not true of this one",
    ))
}

/// The serial of the next state: higher than that of `current` and of every backup.
///
/// # Errors
/// What the disk says of `backups/`; `STATE_CORRUPT` for a serial beyond which there is none.
pub fn next_serial(disk: &dyn Disk, layout: &Layout, current: Option<&State>) -> Result<u64> {
    let kept = backups::list(disk, layout)?;
    let highest = kept.last().map_or(0, |backup| backup.serial);
    let current = current.map_or(0, |state| state.serial);
    let last = current.max(highest);
    last.checked_add(1).ok_or_else(|| {
        Error::new(
            Code::StateCorrupt,
            format!("the serial {last} of the state is the last there is"),
        )
        .suggest("`lorectl state repair` brings back an older one")
    })
}

/// Replaces the state: the old one is kept in `backups/`, the new one takes its place whole.
///
/// When it returns, the new state survives a power failure. When it fails, the state is as before
/// (or, where only the last sync failed, new), never damaged. Only under the project's lock, after
/// [`prepare_dirs`](super::place::prepare_dirs).
///
/// `state.serial` must come from [`next_serial`]; `now` is recorded as the time of writing.
///
/// # Errors
/// What the disk says; what [`read`] refuses of the state that would be replaced; `INTERNAL` for a
/// serial that is not higher than that one's.
pub fn write(disk: &dyn Disk, layout: &Layout, state: &State, now: Timestamp) -> Result<()> {
    let path = layout.state_file();
    check_project(&path, &state.project, layout.project())?;
    let old = match read_own(disk, &path)? {
        None => None,
        Some(bytes) => {
            let head = format::decode_head(&bytes).map_err(|error| refusal(&path, error))?;
            Some((bytes, head))
        }
    };
    if let Some((_, head)) = &old {
        check_successor(&path, head, state)?;
    }
    let bytes = format::encode(state, now).map_err(|error| {
        Error::new(Code::Internal, "the state cannot be written as JSON").because(error)
    })?;
    if let Some((bytes, head)) = old {
        backups::keep(disk, layout, head.serial, &bytes)?;
    }
    disk.write(&path, &bytes, 0o600, None, Durability::Now)
        .map_err(|error| Error::io("write", &path, error))?;
    // The commit stands whether or not old backups can be removed; the next one tries again.
    let _ = backups::prune(disk, layout);
    Ok(())
}

fn check_successor(path: &Path, old: &Head, new: &State) -> Result<()> {
    check_project(path, &old.project, &new.project)?;
    check_lineage(path, &old.lineage, &new.lineage)?;
    if new.serial > old.serial {
        return Ok(());
    }
    let message = format!(
        "{} has serial {} and would be replaced by serial {}: another process wrote it meanwhile",
        path.display(),
        old.serial,
        new.serial
    );
    Err(Error::new(Code::Internal, message))
}
