//! Files of which some are the user's and some are ours.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Delegate,
    wire::{self, FileAnswer, FileAsk},
};
use crate::{
    effect::disk::{Disk, Durability, EntryKind, ReadFile, RealDisk, Stat},
    id::Timestamp,
    resource::Owner,
};

/// The machine's files: those below one directory reached by this process, all others with the rights
/// of the delegate's user alone.
///
/// Each call is carried out as [`RealDisk`] would. What it answers of the user's files is the user's
/// word: of the size that was asked for, of names that lead nowhere else.
#[derive(Debug)]
pub struct SharedDisk {
    user: Arc<Delegate>,
    /// What is below is ours.
    ours: PathBuf,
}

/// The most that a path of the user's may have, in bytes: `PATH_MAX`.
const LONGEST: usize = 4096;

impl SharedDisk {
    /// Files below `ours` are this process's, all others the user's.
    pub const fn new(user: Arc<Delegate>, ours: PathBuf) -> Self {
        Self { user, ours }
    }

    fn is_ours(&self, path: &Path) -> bool {
        path.starts_with(&self.ours)
    }

    fn ask(&self, ask: &FileAsk) -> io::Result<FileAnswer> {
        match self.user.ask_files(ask)? {
            FileAnswer::Failed {
                number: Some(number),
                ..
            } => Err(io::Error::from_raw_os_error(number)),
            FileAnswer::Failed { number: None, text } => Err(io::Error::other(wire::capped(&text))),
            answer => Ok(answer),
        }
    }

    fn done(&self, ask: &FileAsk) -> io::Result<()> {
        match self.ask(ask)? {
            FileAnswer::Done => Ok(()),
            _other => Err(self.astray()),
        }
    }

    fn was(&self, ask: &FileAsk) -> io::Result<bool> {
        match self.ask(ask)? {
            FileAnswer::Was(was) => Ok(was),
            _other => Err(self.astray()),
        }
    }

    fn path(&self, ask: &FileAsk) -> io::Result<Option<PathBuf>> {
        match self.ask(ask)? {
            FileAnswer::Absent => Ok(None),
            FileAnswer::Path(path) => {
                let path = path.into_path()?;
                if path.as_os_str().len() > LONGEST {
                    return Err(self.astray());
                }
                Ok(Some(path))
            }
            _other => Err(self.astray()),
        }
    }

    fn listed(&self, path: &Path, behind_links: bool) -> io::Result<Vec<(String, EntryKind)>> {
        let path = path.into();
        match self.ask(&FileAsk::List { path, behind_links })? {
            FileAnswer::Entries(mut entries) => {
                if !entries.iter().all(|(name, _)| is_name(name)) {
                    return Err(self.astray());
                }
                entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
                entries.dedup_by(|a, b| a.0 == b.0);
                Ok(entries)
            }
            _other => Err(self.astray()),
        }
    }

    fn astray(&self) -> io::Error {
        io::Error::other(self.user.astray())
    }
}

/// Whether a directory can have an entry of that name.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && ![".", ".."].contains(&name)
        && !name.contains(['/', '\0'])
}

const fn synced(durability: Durability) -> bool {
    match durability {
        Durability::Now => true,
        Durability::Batch => false,
    }
}

impl Disk for SharedDisk {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Option<ReadFile>> {
        if self.is_ours(path) {
            return RealDisk.read(path, limit);
        }
        let path = path.into();
        match self.ask(&FileAsk::Read { path, limit })? {
            FileAnswer::Absent => Ok(None),
            FileAnswer::File {
                bytes,
                mode,
                owner,
                modified,
            } => {
                let bytes = bytes.into_vec()?;
                if bytes.len() as u64 > limit {
                    return Err(io::Error::other(format!("it is larger than {limit} bytes")));
                }
                Ok(Some(ReadFile {
                    bytes,
                    mode: mode & 0o7777,
                    owner,
                    modified: Timestamp::from_millis(modified),
                }))
            }
            _other => Err(self.astray()),
        }
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        if self.is_ours(path) {
            return RealDisk.stat(path);
        }
        match self.ask(&FileAsk::Stat { path: path.into() })? {
            FileAnswer::Absent => Ok(None),
            FileAnswer::Stat {
                kind,
                mode,
                owner,
                modified,
                size,
            } => Ok(Some(Stat {
                kind,
                mode: mode & 0o7777,
                owner,
                modified: Timestamp::from_millis(modified),
                size,
            })),
            _other => Err(self.astray()),
        }
    }

    fn write(
        &self,
        path: &Path,
        bytes: &[u8],
        mode: u32,
        owner: Option<Owner>,
        durability: Durability,
    ) -> io::Result<()> {
        if self.is_ours(path) {
            return RealDisk.write(path, bytes, mode, owner, durability);
        }
        self.done(&FileAsk::Write {
            path: path.into(),
            bytes: bytes.into(),
            mode,
            owner,
            synced: synced(durability),
        })
    }

    fn append(
        &self,
        path: &Path,
        bytes: &[u8],
        mode: u32,
        durability: Durability,
    ) -> io::Result<()> {
        if self.is_ours(path) {
            return RealDisk.append(path, bytes, mode, durability);
        }
        self.done(&FileAsk::Append {
            path: path.into(),
            bytes: bytes.into(),
            mode,
            synced: synced(durability),
        })
    }

    fn make_dir(&self, path: &Path, mode: u32, owner: Option<Owner>) -> io::Result<()> {
        if self.is_ours(path) {
            return RealDisk.make_dir(path, mode, owner);
        }
        let path = path.into();
        self.done(&FileAsk::MakeDir { path, mode, owner })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(String, EntryKind)>> {
        if self.is_ours(path) {
            return RealDisk.list(path);
        }
        self.listed(path, false)
    }

    fn list_behind_links(&self, path: &Path) -> io::Result<Vec<(String, EntryKind)>> {
        if self.is_ours(path) {
            return RealDisk.list_behind_links(path);
        }
        self.listed(path, true)
    }

    fn link(&self, target: &Path, path: &Path) -> io::Result<()> {
        if self.is_ours(path) {
            return RealDisk.link(target, path);
        }
        self.done(&FileAsk::Link {
            target: target.into(),
            path: path.into(),
        })
    }

    fn read_link(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        if self.is_ours(path) {
            return RealDisk.read_link(path);
        }
        self.path(&FileAsk::ReadLink { path: path.into() })
    }

    fn resolve(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        if self.is_ours(path) {
            return RealDisk.resolve(path);
        }
        let resolved = self.path(&FileAsk::Resolve { path: path.into() })?;
        // What is to be done there is the user's too, wherever the user says it is.
        match resolved {
            Some(path) if !path.is_absolute() || self.is_ours(&path) => Err(self.astray()),
            resolved => Ok(resolved),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<bool> {
        if self.is_ours(path) {
            return RealDisk.remove(path);
        }
        self.was(&FileAsk::Remove { path: path.into() })
    }

    fn remove_dir(&self, path: &Path) -> io::Result<bool> {
        if self.is_ours(path) {
            return RealDisk.remove_dir(path);
        }
        self.was(&FileAsk::RemoveDir { path: path.into() })
    }

    fn remove_tree(&self, path: &Path) -> io::Result<bool> {
        if self.is_ours(path) {
            return RealDisk.remove_tree(path);
        }
        self.was(&FileAsk::RemoveTree { path: path.into() })
    }

    fn sync_fs(&self, path: &Path) -> io::Result<()> {
        if self.is_ours(path) {
            return RealDisk.sync_fs(path);
        }
        self.done(&FileAsk::SyncFs { path: path.into() })
    }
}
