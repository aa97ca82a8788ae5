//! What a step has touched on disk so far, so that it can be put back when the
//! step fails.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{super::hand_over::HandedOver, observe::LIMIT};
use crate::{
    effect::disk::{Disk, Durability, EntryKind},
    error::{Error, Result},
    resource::Owner,
};

/// What stood at a path.
#[derive(Debug)]
enum Prior {
    Nothing,
    File {
        bytes: Vec<u8>,
        mode: u32,
        owner: Owner,
    },
    Link(PathBuf),
}

/// The changes of one step, in order.
#[derive(Debug, Default)]
pub(super) struct Undo {
    touched: Vec<(PathBuf, Prior)>,
    /// Directories that were not there.
    made: Vec<PathBuf>,
    /// Directories that were there, empty in the end.
    gone: Vec<(PathBuf, u32, Owner)>,
    /// Directories that were there, and had this mode and owner.
    were: Vec<(PathBuf, u32, Owner)>,
    /// The service's `data/` went to another user.
    handed: Option<HandedOver>,
}

impl Undo {
    /// Writes a file whole, whatever stood there.
    pub(super) fn write(
        &mut self,
        disk: &dyn Disk,
        path: &Path,
        bytes: &[u8],
        mode: u32,
        owner: Owner,
    ) -> Result<()> {
        let prior = prior(disk, path)?;
        disk.write(path, bytes, mode, Some(owner), Durability::Batch)
            .map_err(|error| Error::io("write", path, error))?;
        self.touched.push((path.to_owned(), prior));
        Ok(())
    }

    /// Makes a symbolic link, whatever stood there.
    pub(super) fn link(&mut self, disk: &dyn Disk, target: &Path, path: &Path) -> Result<()> {
        let prior = prior(disk, path)?;
        disk.link(target, path)
            .map_err(|error| Error::io("make the link", path, error))?;
        self.touched.push((path.to_owned(), prior));
        Ok(())
    }

    /// Removes a file or link, if one is there.
    pub(super) fn remove(&mut self, disk: &dyn Disk, path: &Path) -> Result<()> {
        let prior = prior(disk, path)?;
        disk.remove(path)
            .map_err(|error| Error::io("remove", path, error))?;
        self.touched.push((path.to_owned(), prior));
        Ok(())
    }

    /// Makes a directory, or gives one its mode and owner.
    pub(super) fn make_dir(
        &mut self,
        disk: &dyn Disk,
        path: &Path,
        mode: u32,
        owner: Owner,
    ) -> Result<()> {
        let error = |error| Error::io("make the directory", path, error);
        match disk.stat(path).map_err(error)? {
            None => self.made.push(path.to_owned()),
            Some(stat) if (stat.mode, stat.owner) != (mode, owner) => {
                self.were.push((path.to_owned(), stat.mode, stat.owner));
            }
            Some(_) => {}
        }
        disk.make_dir(path, mode, Some(owner)).map_err(error)
    }

    /// Removes a directory when nothing is in it.
    pub(super) fn remove_dir(&mut self, disk: &dyn Disk, path: &Path) -> Result<()> {
        let error = |error| Error::io("remove the directory", path, error);
        let Some(stat) = disk.stat(path).map_err(error)? else {
            return Ok(());
        };
        if stat.kind == EntryKind::Dir && disk.remove_dir(path).map_err(error)? {
            self.gone.push((path.to_owned(), stat.mode, stat.owner));
        }
        Ok(())
    }

    /// Remembers that `data/` went to another user.
    pub(super) fn handed_over(&mut self, handed: HandedOver) {
        self.handed = Some(handed);
    }

    /// After the last thing that may fail: drops what only an undo would have needed.
    pub(super) fn finish(&mut self, disk: &dyn Disk) {
        if let Some(handed) = self.handed.take() {
            // What stays is a directory that nobody looks at; the step is done all the same.
            let _ = handed.finish(disk);
        }
    }

    /// Whether nothing was touched.
    pub(super) fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }

    /// Puts everything back, in reverse; all of it is tried, and what fails is returned with its path.
    pub(super) fn put_back(&mut self, disk: &dyn Disk) -> Vec<(PathBuf, String)> {
        let mut failures = Vec::new();
        let mut tell = |path: &Path, result: io::Result<()>| {
            if let Err(error) = result {
                let why = format!("cannot put back {}: {error}", path.display());
                failures.push((path.to_owned(), why));
            }
        };
        for (path, mode, owner) in self.gone.drain(..).rev() {
            tell(&path, disk.make_dir(&path, mode, Some(owner)));
        }
        for (path, prior) in self.touched.drain(..).rev() {
            let result = match prior {
                Prior::Nothing => disk.remove(&path).map(drop),
                Prior::File { bytes, mode, owner } => {
                    disk.write(&path, &bytes, mode, Some(owner), Durability::Batch)
                }
                Prior::Link(target) => disk.link(&target, &path),
            };
            tell(&path, result);
        }
        for path in self.made.drain(..).rev() {
            // Nobody had anything there: what is in it now came with this step.
            tell(&path, disk.remove_tree(&path).map(drop));
        }
        for (path, mode, owner) in self.were.drain(..).rev() {
            tell(&path, disk.make_dir(&path, mode, Some(owner)));
        }
        if let Some(handed) = self.handed.take() {
            tell(handed.home(), handed.put_back(disk));
        }
        failures
    }
}

/// What stands at a path. A step that fails to replace it leaves it whole: every write is atomic.
fn prior(disk: &dyn Disk, path: &Path) -> Result<Prior> {
    let read = || -> io::Result<Prior> {
        let Some(stat) = disk.stat(path)? else {
            return Ok(Prior::Nothing);
        };
        match stat.kind {
            EntryKind::File => Ok(match disk.read(path, LIMIT)? {
                None => Prior::Nothing,
                Some(read) => Prior::File {
                    bytes: read.bytes,
                    mode: read.mode,
                    owner: read.owner,
                },
            }),
            EntryKind::Link => Ok(match disk.read_link(path)? {
                None => Prior::Nothing,
                Some(target) => Prior::Link(target),
            }),
            EntryKind::Dir | EntryKind::Special => {
                Err(io::Error::other("it is neither a file nor a link"))
            }
        }
    };
    read().map_err(|error| Error::io("read", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::disk::RealDisk;

    #[test]
    fn everything_touched_is_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let whoami = crate::effect::user::effective();
        let write = |path: &Path, bytes: &[u8], mode| {
            RealDisk
                .write(path, bytes, mode, None, Durability::Batch)
                .unwrap();
        };
        write(&at("changed"), b"old", 0o640);
        write(&at("removed"), b"kept", 0o600);
        RealDisk.link(Path::new("there"), &at("link")).unwrap();
        RealDisk.make_dir(&at("full"), 0o711, None).unwrap();
        write(&at("full/only"), b"x", 0o644);

        RealDisk.make_dir(&at("there"), 0o750, None).unwrap();
        // Only root gives directories away.
        let other = if crate::effect::process::is_root() {
            Owner { uid: 12, gid: 34 }
        } else {
            whoami
        };

        let mut undo = Undo::default();
        undo.write(&RealDisk, &at("changed"), b"new", 0o644, whoami)
            .unwrap();
        undo.write(&RealDisk, &at("changed"), b"newer", 0o644, whoami)
            .unwrap();
        undo.write(&RealDisk, &at("link"), b"a file", 0o644, whoami)
            .unwrap();
        undo.remove(&RealDisk, &at("removed")).unwrap();
        undo.remove(&RealDisk, &at("full/only")).unwrap();
        undo.remove_dir(&RealDisk, &at("full")).unwrap();
        undo.make_dir(&RealDisk, &at("made"), 0o700, whoami)
            .unwrap();
        undo.make_dir(&RealDisk, &at("there"), 0o755, other)
            .unwrap();
        undo.write(&RealDisk, &at("made/file"), b"", 0o600, whoami)
            .unwrap();
        assert!(RealDisk.stat(&at("full")).unwrap().is_none());

        assert_eq!(undo.put_back(&RealDisk), []);
        let read = |name: &str| {
            let read = RealDisk.read(&at(name), 100).unwrap().unwrap();
            (read.bytes, read.mode)
        };
        assert_eq!(read("changed"), (b"old".to_vec(), 0o640));
        assert_eq!(read("removed"), (b"kept".to_vec(), 0o600));
        assert_eq!(read("full/only"), (b"x".to_vec(), 0o644));
        let link = RealDisk.read_link(&at("link")).unwrap().unwrap();
        assert_eq!(link, Path::new("there"));
        assert_eq!(RealDisk.stat(&at("full")).unwrap().unwrap().mode, 0o711);
        assert!(RealDisk.stat(&at("made")).unwrap().is_none());
        let there = RealDisk.stat(&at("there")).unwrap().unwrap();
        assert_eq!((there.mode, there.owner), (0o750, whoami));
    }
}
