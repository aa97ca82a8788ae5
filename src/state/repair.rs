//! Mending: the newest good backup in the place of a damaged or lost state, damaged journals out of the way.

use std::path::PathBuf;

use crate::{
    effect::disk::{Disk, Durability},
    error::{Code, Error, Result},
    id::Timestamp,
    layout::Layout,
    state::{
        backups,
        format::{self, Unreadable},
        journal,
        store::{check_project, refusal},
        trust::read_own,
    },
};

/// What a repair found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The state.
    pub state: Repair,
    /// The journals that were damaged: where each was, and where it is kept. What they announced
    /// is found on the host by its marks.
    pub journals: Vec<(PathBuf, PathBuf)>,
}

/// What became of the state in a repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repair {
    /// The state is good; nothing was done.
    Sound {
        /// Its serial.
        serial: u64,
    },
    /// There is neither a state nor a backup of one; nothing was done.
    NothingThere,
    /// A backup is in its place.
    Restored {
        /// The backup.
        from: PathBuf,
        /// Its serial.
        serial: u64,
        /// When it was written, UTC. What was applied since then is not in it.
        written_at: Timestamp,
        /// Where the damaged file is kept; `None` when there was none.
        set_aside: Option<PathBuf>,
        /// Newer backups that are damaged too, and how.
        passed_over: Vec<(PathBuf, String)>,
    },
}

/// Puts the newest good backup in the place of a damaged or lost state, and damaged journals out of
/// the way; nothing is deleted, all is kept in `backups/`.
///
/// At no moment is there no state where there was one. What was cut short is done by another
/// repair. Only under the project's lock.
///
/// # Errors
/// `STATE_CORRUPT` when no backup is good, and for what stands there and is not a file of ours;
/// `STATE_NEWER` and `STATE_FOREIGN` when the state or the newest backup is such: it is not
/// damaged, and putting an older one in its place would lose what it knows.
pub fn repair(disk: &dyn Disk, layout: &Layout) -> Result<Report> {
    let state = repair_state(disk, layout)?;
    let mut journals = Vec::new();
    for id in journal::list(disk, layout)? {
        let from = journal::path(layout, &id);
        if let Some(bytes) = journal::damaged(disk, &from)? {
            let name = format!("damaged-{id}.jsonl");
            let to = backups::keep_beside(disk, &layout.backups(), &name, &bytes)?;
            disk.remove(&from)
                .map_err(|error| Error::io("remove", &from, error))?;
            journals.push((from, to));
        }
    }
    Ok(Report { state, journals })
}

/// Moves a state that cannot be mended into `backups/`, so that one can be rebuilt from the marks on
/// the host; says where it is kept. Only under the project's lock, and only after [`repair`] refused.
///
/// # Errors
/// What the disk says.
pub fn set_aside(disk: &dyn Disk, layout: &Layout) -> Result<Option<PathBuf>> {
    let path = layout.state_file();
    let Some(bytes) = read_own(disk, &path)? else {
        return Ok(None);
    };
    let kept = backups::keep_beside(disk, &layout.backups(), "damaged-state.json", &bytes)?;
    disk.remove(&path)
        .map_err(|error| Error::io("remove", &path, error))?;
    Ok(Some(kept))
}

fn repair_state(disk: &dyn Disk, layout: &Layout) -> Result<Repair> {
    let path = layout.state_file();
    let damaged = match read_own(disk, &path)? {
        None => None,
        Some(bytes) => match format::decode(&bytes) {
            Ok(state) => {
                check_project(&path, &state.project, layout.project())?;
                let serial = state.serial;
                return Ok(Repair::Sound { serial });
            }
            Err(error @ Unreadable::Newer(_)) => return Err(refusal(&path, error)),
            Err(error) => Some((bytes, error)),
        },
    };
    let mut passed_over = Vec::new();
    for backup in backups::list(disk, layout)?.into_iter().rev() {
        let found = read_own(disk, &backup.path).map_err(|error| error.chain());
        let bytes = match found {
            Ok(Some(bytes)) => bytes,
            Ok(None) => continue,
            Err(reason) => {
                passed_over.push((backup.path, reason));
                continue;
            }
        };
        let state = match format::decode(&bytes) {
            Ok(state) => state,
            Err(error @ Unreadable::Newer(_)) => return Err(refusal(&backup.path, error)),
            Err(error) => {
                passed_over.push((backup.path, error.to_string()));
                continue;
            }
        };
        check_project(&backup.path, &state.project, layout.project())?;
        let set_aside = match &damaged {
            None => None,
            Some((bytes, _)) => {
                let dir = layout.backups();
                Some(backups::keep_beside(
                    disk,
                    &dir,
                    "damaged-state.json",
                    bytes,
                )?)
            }
        };
        disk.write(&path, &bytes, 0o600, None, Durability::Now)
            .map_err(|error| Error::io("write", &path, error))?;
        return Ok(Repair::Restored {
            from: backup.path,
            serial: state.serial,
            written_at: state.written_at,
            set_aside,
            passed_over,
        });
    }
    let details = passed_over
        .iter()
        .map(|(path, reason)| format!("{}: {reason}", path.display()))
        .collect();
    match damaged {
        None if passed_over.is_empty() => Ok(Repair::NothingThere),
        None => Err(no_good_backup(&format!("{} is gone", path.display())).with_details(details)),
        Some((_, error)) => {
            let what = format!("{} is damaged", path.display());
            Err(no_good_backup(&what).because(error).with_details(details))
        }
    }
}

fn no_good_backup(what: &str) -> Error {
    let message = format!("{what}, and there is no good backup to put in its place");
    Error::new(Code::StateCorrupt, message)
        .suggest("nothing was changed; bring the state back from a backup of the host")
}
