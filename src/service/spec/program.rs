//! Programs: how a spec may write them, and where they are on the host.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::Problem;
pub use crate::service::definition::PATH;
use crate::{
    effect::disk::{Disk, EntryKind},
    id::Digest,
    service::definition::{DIGEST_AT_APPLY, KNOWN_AT_APPLY},
};

/// How a program is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgramForm {
    /// `/usr/bin/restic`.
    Absolute,
    /// `./backup` or `../backup`.
    Relative,
    /// `restic`.
    Bare,
}

/// How a program is written.
///
/// # Errors
/// That it is in no form that names one program.
pub fn program_form(written: &str) -> Result<ProgramForm, Problem> {
    let fault = |message: &str| Err(Problem::at("", message));
    if written.is_empty() {
        return fault("the program is empty");
    }
    if written.ends_with('/') || matches!(written, "." | "..") {
        return fault("that is a directory, not a program");
    }
    if written.starts_with('/') {
        return Ok(ProgramForm::Absolute);
    }
    if written.starts_with("./") || written.starts_with("../") {
        return Ok(ProgramForm::Relative);
    }
    if written.starts_with('~') {
        return fault("`~` is a shell's, and there is none here")
            .map_err(|problem: Problem| problem.suggest("write the absolute path"));
    }
    if written.contains('/') {
        return fault("a relative program begins with `./`")
            .map_err(|problem: Problem| problem.suggest(format!("write `./{written}`")));
    }
    if written.contains(char::is_whitespace) {
        return fault("the program holds a space; `run` is a list of words, never a shell line")
            .map_err(|problem: Problem| problem.suggest("write each word as a string of its own"));
    }
    Ok(ProgramForm::Bare)
}

/// What was found at a path, whoever of several threads has looked.
struct Known<T>(Mutex<BTreeMap<PathBuf, T>>);

impl<T: Clone> Known<T> {
    const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// Two threads may look at once; both find the same.
    fn or_look(&self, path: &Path, look: impl FnOnce() -> T) -> T {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known().get(path) {
            return known.clone();
        }
        let found = look();
        known().insert(path.to_path_buf(), found.clone());
        found
    }
}

/// The programs of a host, each looked up once.
pub struct Programs<'a> {
    /// The host's; `None` for a host that is not this one.
    disk: Option<&'a dyn Disk>,
    seen: Known<Result<PathBuf, String>>,
    digests: Known<Result<Option<Digest>, String>>,
}

impl<'a> Programs<'a> {
    /// The programs on a disk.
    pub const fn new(disk: &'a dyn Disk) -> Self {
        Self {
            disk: Some(disk),
            seen: Known::new(),
            digests: Known::new(),
        }
    }

    /// The programs of another host: where a bare name leads is known there, and so is whether
    /// anything is there at all.
    pub const fn of_another_host() -> Self {
        Self {
            disk: None,
            seen: Known::new(),
            digests: Known::new(),
        }
    }

    /// The absolute path of a bare name: the first executable on [`PATH`].
    ///
    /// # Errors
    /// That there is none, in a sentence.
    pub fn find(&self, name: &str) -> Result<String, String> {
        if self.disk.is_none() {
            return Ok(format!("{KNOWN_AT_APPLY}:{name}"));
        }
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
        self.seen.or_look(path, || self.look(path))
    }

    /// The digest of what is at a path, links followed; `None` where nothing is. Read once, however many
    /// services run it. [`DIGEST_AT_APPLY`] for a host that is not this one.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn digest(&self, path: &Path) -> Result<Option<Digest>, String> {
        let Some(disk) = self.disk else {
            return Ok(Some(DIGEST_AT_APPLY));
        };
        self.digests.or_look(path, || {
            let digest = disk.resolve(path).and_then(|real| match real {
                Some(real) => disk.digest(&real),
                None => Ok(None),
            });
            digest.map_err(|error| error.to_string())
        })
    }

    fn look(&self, path: &Path) -> Result<PathBuf, String> {
        let climbs = path
            .components()
            .any(|part| part == std::path::Component::ParentDir);
        let Some(disk) = self.disk else {
            return Ok(if climbs {
                // Where it leads depends on the links of that host.
                let mut unknown = std::ffi::OsString::from(format!("{KNOWN_AT_APPLY}/"));
                unknown.push(path.file_name().unwrap_or_default());
                unknown.into()
            } else {
                path.to_path_buf()
            });
        };
        let real = match disk.resolve(path) {
            Ok(Some(real)) => real,
            Ok(None) => return Err(format!("there is no program {}", path.display())),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Ok(path.to_path_buf());
            }
            Err(error) => return Err(format!("cannot look at {}: {error}", path.display())),
        };
        let stat = disk
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
        Ok(if climbs { real } else { path.to_path_buf() })
    }
}
