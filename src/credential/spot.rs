//! Which places are one, whatever they are called: behind links, `..` and bind mounts.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::effect::disk::Disk;

use super::definition::Target;

/// A file by the directory that it is in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Spot {
    /// In a directory that is there.
    In {
        /// The device and the inode of that.
        dir: (u64, u64),
        /// The file's name.
        name: OsString,
    },
    /// By its path alone.
    At(PathBuf),
}

/// The device and the inode of a directory that is there.
fn directory(disk: &dyn Disk, dir: &Path) -> Option<(u64, u64)> {
    disk.directory_id(dir).ok().flatten()
}

fn spot(path: &Path, id: impl FnOnce(&Path) -> Option<(u64, u64)>) -> Spot {
    match (path.parent().and_then(id), path.file_name()) {
        (Some(dir), Some(name)) => Spot::In {
            dir,
            name: name.to_owned(),
        },
        (_, _) => Spot::At(path.to_owned()),
    }
}

/// Who delivers where.
pub struct Claims<W> {
    places: BTreeMap<Spot, Vec<(Target, W)>>,
    /// The directories that were looked at.
    dirs: BTreeMap<PathBuf, Option<(u64, u64)>>,
}

impl<W> Default for Claims<W> {
    fn default() -> Self {
        Self {
            places: BTreeMap::new(),
            dirs: BTreeMap::new(),
        }
    }
}

impl<W> Claims<W> {
    /// Notes that a place is someone's. Each directory is looked at once.
    pub fn add(&mut self, disk: &dyn Disk, target: Target, whose: W) {
        let spot = spot(target.path(), |dir| match self.dirs.get(dir) {
            Some(known) => *known,
            None => *(self.dirs)
                .entry(dir.to_owned())
                .or_insert_with(|| directory(disk, dir)),
        });
        self.places.entry(spot).or_default().push((target, whose));
    }

    /// Whether nobody delivers anywhere.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Who delivers to the same, and by which name. A file that holds a value and nothing else cannot hold
    /// variables too.
    pub fn rival(&self, disk: &dyn Disk, target: &Target) -> Option<(&Target, &W)> {
        if self.is_empty() {
            return None;
        }
        let id = |dir: &Path| match self.dirs.get(dir) {
            Some(known) => *known,
            None => directory(disk, dir),
        };
        let there = self.places.get(&spot(target.path(), id))?;
        let clashes = |other: &Target| match (other, target) {
            (Target::EnvFile { name: theirs, .. }, Target::EnvFile { name, .. }) => theirs == name,
            (Target::File(_), _) | (_, Target::File(_)) => true,
        };
        let found = there.iter().find(|(other, _)| clashes(other));
        found.map(|(other, whose)| (other, whose))
    }
}
