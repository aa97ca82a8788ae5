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

fn spot(disk: &dyn Disk, path: &Path) -> Spot {
    let dir = path.parent().map(|dir| disk.directory_id(dir));
    match (dir, path.file_name()) {
        (Some(Ok(Some(dir))), Some(name)) => Spot::In {
            dir,
            name: name.to_owned(),
        },
        (_, _) => Spot::At(path.to_owned()),
    }
}

/// Who delivers where.
pub struct Claims<W>(BTreeMap<Spot, Vec<(Target, W)>>);

impl<W> Default for Claims<W> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<W> Claims<W> {
    /// Notes that a place is someone's.
    pub fn add(&mut self, disk: &dyn Disk, target: Target, whose: W) {
        let spot = spot(disk, target.path());
        self.0.entry(spot).or_default().push((target, whose));
    }

    /// Who delivers to the same, and by which name. A file that holds a value and nothing else cannot hold
    /// variables too.
    pub fn rival(&self, disk: &dyn Disk, target: &Target) -> Option<(&Target, &W)> {
        if self.0.is_empty() {
            return None;
        }
        let there = self.0.get(&spot(disk, target.path()))?;
        let clashes = |other: &Target| match (other, target) {
            (Target::EnvFile { name: theirs, .. }, Target::EnvFile { name, .. }) => theirs == name,
            (Target::File(_), _) | (_, Target::File(_)) => true,
        };
        let found = there.iter().find(|(other, _)| clashes(other));
        found.map(|(other, whose)| (other, whose))
    }
}
