//! A disk that reports success and keeps something else than it was given.

use std::{
    io,
    path::{Path, PathBuf},
};

use lorectl::{
    effect::disk::{Disk, Durability, EntryKind, ReadFile, RealDisk, Stat},
    resource::Owner,
};

/// The real disk, but for the files whose names end so: a byte of what is written to them is lost.
pub struct Liar {
    /// The end of their names.
    pub about: String,
}

impl Disk for Liar {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Option<ReadFile>> {
        RealDisk.read(path, limit)
    }
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        RealDisk.stat(path)
    }
    fn write(
        &self,
        path: &Path,
        bytes: &[u8],
        mode: u32,
        owner: Option<Owner>,
        durability: Durability,
    ) -> io::Result<()> {
        let lies = path.to_string_lossy().ends_with(&self.about);
        let kept = if lies {
            &bytes[..bytes.len() - 1]
        } else {
            bytes
        };
        RealDisk.write(path, kept, mode, owner, durability)
    }
    fn append(
        &self,
        path: &Path,
        bytes: &[u8],
        mode: u32,
        durability: Durability,
    ) -> io::Result<()> {
        RealDisk.append(path, bytes, mode, durability)
    }
    fn make_dir(&self, path: &Path, mode: u32, owner: Option<Owner>) -> io::Result<()> {
        RealDisk.make_dir(path, mode, owner)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<(String, EntryKind)>> {
        RealDisk.list(path)
    }
    fn link(&self, target: &Path, path: &Path) -> io::Result<()> {
        RealDisk.link(target, path)
    }
    fn read_link(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        RealDisk.read_link(path)
    }
    fn remove(&self, path: &Path) -> io::Result<bool> {
        RealDisk.remove(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<bool> {
        RealDisk.remove_dir(path)
    }
    fn remove_tree(&self, path: &Path) -> io::Result<bool> {
        RealDisk.remove_tree(path)
    }
    fn sync_fs(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_fs(path)
    }
}
