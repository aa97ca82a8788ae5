//! Programs on the host: bare names on a fixed PATH, and whether a path can be run.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use crate::effect::disk::{Disk, EntryKind};

/// Where bare names are looked for, in order. The caller's own `PATH` has no say, so that the same
/// spec names the same program for everyone.
pub const PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// The programs of a host, each looked up once.
pub struct Programs<'a> {
    disk: &'a dyn Disk,
    seen: RefCell<BTreeMap<PathBuf, Result<PathBuf, String>>>,
}

impl<'a> Programs<'a> {
    /// The programs on a disk.
    pub const fn new(disk: &'a dyn Disk) -> Self {
        Self {
            disk,
            seen: RefCell::new(BTreeMap::new()),
        }
    }

    /// The absolute path of a bare name: the first executable on [`PATH`].
    ///
    /// # Errors
    /// That there is none, in a sentence.
    pub fn find(&self, name: &str) -> Result<String, String> {
        (PATH.iter())
            .map(|dir| Path::new(dir).join(name))
            .find(|path| self.executable(path).is_ok())
            .and_then(|path| path.to_str().map(ToOwned::to_owned))
            .ok_or_else(|| format!("there is no program `{name}` on {}", PATH.join(":")))
    }

    /// The path of an executable file: as it is given, but without `..`, which is followed.
    ///
    /// What the user who plans may not look at is taken to be there: its own user will see.
    ///
    /// # Errors
    /// Why it cannot be run, in a sentence.
    pub fn executable(&self, path: &Path) -> Result<PathBuf, String> {
        if let Some(known) = self.seen.borrow().get(path) {
            return known.clone();
        }
        let found = self.look(path);
        (self.seen.borrow_mut()).insert(path.to_path_buf(), found.clone());
        found
    }

    fn look(&self, path: &Path) -> Result<PathBuf, String> {
        let real = match self.disk.resolve(path) {
            Ok(Some(real)) => real,
            Ok(None) => return Err(format!("there is no program {}", path.display())),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Ok(path.to_path_buf());
            }
            Err(error) => return Err(format!("cannot look at {}: {error}", path.display())),
        };
        let stat = self
            .disk
            .stat(&real)
            .map_err(|error| format!("cannot look at {}: {error}", path.display()))?;
        let Some(stat) = stat else {
            return Err(format!("there is no program {}", path.display()));
        };
        match stat.kind {
            EntryKind::File if stat.mode & 0o111 != 0 => {}
            EntryKind::File => return Err(format!("{} is not executable", path.display())),
            EntryKind::Dir | EntryKind::Link | EntryKind::Special => {
                return Err(format!("{} is not a file", path.display()));
            }
        }
        let climbs = path
            .components()
            .any(|part| part == std::path::Component::ParentDir);
        Ok(if climbs { real } else { path.to_path_buf() })
    }
}
