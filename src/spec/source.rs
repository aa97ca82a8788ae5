//! Which files a spec is made of, and their bytes.

use std::{
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use super::finding::Finding;
use crate::{
    effect::disk::{Disk, EntryKind},
    error::{Code, Error, Result},
};

/// The largest spec file: 4 MiB. Larger specs are directories.
pub const LARGEST_FILE: u64 = 4 << 20;

/// The most that all files of a spec hold together: 32 MiB, about 100,000 services.
const LARGEST_SET: u64 = 32 << 20;

/// What the user asked to load.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The values of `-f`, in order; none is `lore.toml` in `cwd`.
    pub paths: &'a [PathBuf],
    /// What standard input held, where a path is `-`.
    pub stdin: Option<&'a [u8]>,
    /// The absolute directory that paths are relative to.
    pub cwd: &'a Path,
}

/// One file of a spec.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name relative to the spec's root; `-` is standard input.
    pub name: Arc<str>,
    /// Its name as the user would open it.
    pub shown: Arc<str>,
    /// Where it is, absolute; `None` is standard input.
    pub path: Option<PathBuf>,
}

/// The files of a spec, in the order of their names.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The absolute directory that names are relative to.
    pub root: PathBuf,
    /// The files.
    pub files: Vec<Source>,
    stdin: Option<Arc<[u8]>>,
}

/// What reading a file gave.
pub enum Bytes {
    /// Its content.
    Read(Vec<u8>),
    /// Why it cannot be part of a spec.
    Refused(Finding),
}

impl Sources {
    /// Finds the files.
    ///
    /// # Errors
    /// `SPEC_NOT_FOUND`, or that a directory cannot be read.
    pub fn find(request: &Request<'_>, disk: &dyn Disk) -> Result<Self> {
        let default = [PathBuf::from("lore.toml")];
        let paths = if request.paths.is_empty() {
            &default
        } else {
            request.paths
        };
        let mut found: Vec<(Arc<str>, Option<PathBuf>)> = Vec::new();
        let mut roots = Vec::new();
        for path in paths {
            if path == Path::new("-") {
                found.push((Arc::from("<stdin>"), None));
                roots.push(request.cwd.to_path_buf());
                continue;
            }
            let absolute = absolute(request.cwd, path, disk)?;
            let kind = kind_of(&absolute, disk)?;
            match kind {
                None => return Err(not_found(path, request)),
                Some(EntryKind::Dir) => {
                    let before = found.len();
                    for (name, _) in disk
                        .list_behind_links(&absolute)
                        .map_err(|error| Error::io("list", path, error))?
                    {
                        if is_spec_file(&name) {
                            let shown = shown(&path.join(&name));
                            found.push((Arc::from(shown), Some(absolute.join(&name))));
                        }
                    }
                    if found.len() == before {
                        return Err(Error::new(
                            Code::SpecNotFound,
                            format!("there is no `*.toml` in {}", path.display()),
                        )
                        .suggest("`lorectl init` writes a first `lore.toml`"));
                    }
                    roots.push(absolute);
                }
                Some(EntryKind::File | EntryKind::Link | EntryKind::Special) => {
                    found.push((Arc::from(shown(path)), Some(absolute.clone())));
                    roots.push(absolute.parent().unwrap_or(request.cwd).to_path_buf());
                }
            }
        }
        let root = common_ancestor(&roots).unwrap_or_else(|| request.cwd.to_path_buf());
        let mut files: Vec<Source> = (found.into_iter())
            .map(|(shown, path)| Source {
                name: name_of(path.as_deref(), &root),
                shown,
                path,
            })
            .collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files.dedup_by(|a, b| a.name == b.name);
        Ok(Self {
            root,
            files,
            stdin: request.stdin.map(Arc::from),
        })
    }

    /// Reads a file; what cannot be a spec is a finding, what the system forbids an error.
    ///
    /// Links are followed, pipes and devices refused without a hang.
    ///
    /// # Errors
    /// What the system says.
    pub fn read(&self, source: &Source, disk: &dyn Disk) -> Result<Bytes> {
        let refused =
            |message: String| Ok(Bytes::Refused(Finding::of_file(&source.shown, message)));
        let too_large = || refused("the file is larger than 4 MiB".to_owned());
        let Some(path) = &source.path else {
            return match &self.stdin {
                Some(bytes) if bytes.len() as u64 > LARGEST_FILE => too_large(),
                Some(bytes) => Ok(Bytes::Read(bytes.to_vec())),
                None => Err(Error::new(Code::Internal, "standard input was not read")),
            };
        };
        let failed = |error| Error::io("read", path, error);
        let Some(real) = disk.resolve(path).map_err(failed)? else {
            return refused("the file is gone, or a link that leads nowhere".to_owned());
        };
        match disk.stat(&real).map_err(failed)?.map(|stat| stat.kind) {
            Some(EntryKind::File) | None => {}
            Some(EntryKind::Dir) => return refused("that is a directory".to_owned()),
            Some(EntryKind::Link | EntryKind::Special) => {
                return refused(
                    "that is a pipe or a device, and a spec is a regular file".to_owned(),
                );
            }
        }
        match disk.read(&real, LARGEST_FILE) {
            Ok(Some(file)) => Ok(Bytes::Read(file.bytes)),
            Ok(None) => refused("the file is gone".to_owned()),
            // What the disk refuses by itself: not a regular file, or too large.
            Err(error) if error.kind() == std::io::ErrorKind::Other => {
                refused(format!("{error}, and a spec file is at most 4 MiB"))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The most bytes that all files together may hold.
    pub const fn limit() -> u64 {
        LARGEST_SET
    }

    /// The absolute directory of a file, by its name; standard input is in the root.
    pub fn dir_of(&self, name: &str) -> PathBuf {
        (self.files)
            .binary_search_by(|file| (*file.name).cmp(name))
            .ok()
            .and_then(|at| self.files.get(at))
            .and_then(|file| file.path.as_deref()?.parent())
            .unwrap_or(&self.root)
            .to_path_buf()
    }
}

/// A path as the user would open it, without the `./` that `-f .` brings in front.
fn shown(path: &Path) -> String {
    let plain = path.strip_prefix(".").unwrap_or(path);
    plain.display().to_string()
}

/// What a directory's `*.toml` means: as a shell reads it, without the hidden ones that editors leave.
fn is_spec_file(name: &str) -> bool {
    !name.starts_with('.') && name.strip_suffix(".toml").is_some()
}

fn kind_of(path: &Path, disk: &dyn Disk) -> Result<Option<EntryKind>> {
    let failed = |error| Error::io("read", path, error);
    let Some(real) = disk.resolve(path).map_err(failed)? else {
        // A link that leads nowhere is there, and is refused when it is read.
        return Ok(disk.stat(path).map_err(failed)?.map(|stat| stat.kind));
    };
    Ok(disk.stat(&real).map_err(failed)?.map(|stat| stat.kind))
}

/// The absolute path of what may be relative. Links in it stay, but where it climbs (`..`) they
/// must be followed: the parent of a link's target is not the link's parent.
fn absolute(cwd: &Path, path: &Path, disk: &dyn Disk) -> Result<PathBuf> {
    let joined: PathBuf = cwd.join(path).components().collect();
    if !joined.components().any(|part| part == Component::ParentDir) {
        return Ok(joined);
    }
    let resolved = disk
        .resolve(&joined)
        .map_err(|error| Error::io("read", path, error))?;
    Ok(resolved.unwrap_or(joined))
}

fn not_found(path: &Path, request: &Request<'_>) -> Error {
    let message = if request.paths.is_empty() {
        format!("there is no `lore.toml` in {}", request.cwd.display())
    } else {
        format!("there is no {}", path.display())
    };
    let suggestion = if request.paths.is_empty() {
        "`lorectl init` writes a first one; `-f PATH` names another"
    } else {
        "`-f` takes a file, a directory, or `-` for standard input"
    };
    Error::new(Code::SpecNotFound, message).suggest(suggestion)
}

fn common_ancestor(dirs: &[PathBuf]) -> Option<PathBuf> {
    let (first, rest) = dirs.split_first()?;
    let mut common = first.as_path();
    while !rest.iter().all(|dir| dir.starts_with(common)) {
        common = common.parent()?;
    }
    Some(common.to_path_buf())
}

fn name_of(path: Option<&Path>, root: &Path) -> Arc<str> {
    match path {
        None => Arc::from("-"),
        Some(path) => {
            let relative = path.strip_prefix(root).unwrap_or(path);
            Arc::from(relative.to_string_lossy())
        }
    }
}
