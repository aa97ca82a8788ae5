//! Files, as a crash leaves them: whole, old or new, never in between.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the one place that touches the file system"
)]

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

use nix::{
    dir::{Dir, Type},
    fcntl::OFlag,
    unistd,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    effect::random,
    id::{Digest, Timestamp},
    resource::Owner,
};

/// When what was written must survive a power failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Before the call returns: the file is synced, renamed, and its directory synced.
    Now,
    /// After the next [`Disk::sync_fs`] on the same file system.
    Batch,
}

/// A file as it was read.
#[derive(Debug, Clone)]
pub struct ReadFile {
    /// The content.
    pub bytes: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Who owns it.
    pub owner: Owner,
    /// When the content last changed, UTC.
    pub modified: Timestamp,
}

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Link,
    /// A pipe, socket or device.
    Special,
}

/// What stands at a path, the last component not followed.
#[derive(Debug, Clone, Copy)]
pub struct Stat {
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u32,
    /// Who owns it.
    pub owner: Owner,
    /// When it last changed, UTC.
    pub modified: Timestamp,
    /// How many bytes a file has.
    pub size: u64,
}

/// Everything lorectl does with files. Nothing follows a symbolic link in the last component unless it says so.
pub trait Disk: Sync {
    /// Reads a regular file of at most `limit` bytes; `None` when there is none.
    ///
    /// # Errors
    /// A link, pipe or device (never a hang), a larger file, or what the system says.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Option<ReadFile>>;

    /// The digest of a regular file, however large; `None` when there is none.
    ///
    /// # Errors
    /// As [`Disk::read`].
    fn digest(&self, path: &Path) -> io::Result<Option<Digest>> {
        let read = self.read(path, u64::MAX)?;
        Ok(read.map(|file| Digest::of(&file.bytes)))
    }

    /// What stands at a path; `None` when nothing does.
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>>;

    /// Replaces a file whole, through a temporary file of a random name in the same directory.
    fn write(
        &self,
        path: &Path,
        bytes: &[u8],
        mode: u32,
        owner: Option<Owner>,
        durability: Durability,
    ) -> io::Result<()>;

    /// Replaces files whole, all on one file system, and in their order; every one survives a power
    /// failure when this returns, and before that each is there whole or as it was.
    ///
    /// # Errors
    /// What the system says of one of them: those before it may be there already.
    fn write_all(&self, files: &[NewFile<'_>]) -> io::Result<()> {
        (files.iter()).try_for_each(|file| {
            let (path, owner) = (file.path, file.owner);
            self.write(path, file.bytes, file.mode, owner, Durability::Now)
        })
    }

    /// Appends to a file that is made when missing; synced when `durability` says so.
    fn append(
        &self,
        path: &Path,
        bytes: &[u8],
        mode: u32,
        durability: Durability,
    ) -> io::Result<()>;

    /// Makes a directory and its parents where missing; the last one gets exactly this mode and owner.
    fn make_dir(&self, path: &Path, mode: u32, owner: Option<Owner>) -> io::Result<()>;

    /// The entries of a directory, ordered by name; empty when there is none.
    ///
    /// # Errors
    /// A link in its place: what it leads to is not what was asked for, and not nothing either.
    fn list(&self, path: &Path) -> io::Result<Vec<(String, EntryKind)>>;

    /// The same of a directory that whoever keeps the host may keep behind a link: units, a state
    /// directory, a spec.
    fn list_behind_links(&self, path: &Path) -> io::Result<Vec<(String, EntryKind)>> {
        match self.resolve(path)? {
            Some(resolved) => self.list(&resolved),
            None => Ok(Vec::new()),
        }
    }

    /// Makes a symbolic link, replacing a link of that name.
    fn link(&self, target: &Path, path: &Path) -> io::Result<()>;

    /// Where a symbolic link points; `None` when there is nothing or something else.
    fn read_link(&self, path: &Path) -> io::Result<Option<PathBuf>>;

    /// The path with every symbolic link and `..` of it followed, for what its owner may keep behind
    /// links: a spec, a program. The path is absolute; `None` when there is nothing at its end.
    ///
    /// # Errors
    /// What the system says, and more than 40 links on the way (the kernel's own bound).
    fn resolve(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let mut left: Vec<_> = path.components().rev().map(own).collect();
        let (mut resolved, mut links) = (PathBuf::new(), 0);
        while let Some(component) = left.pop() {
            if component == ".." {
                resolved.pop();
                continue;
            }
            resolved.push(component);
            let Some(stat) = self.stat(&resolved)? else {
                return Ok(None);
            };
            if stat.kind != EntryKind::Link {
                continue;
            }
            links += 1;
            if links > 40 {
                return Err(io::Error::other("it is behind too many symbolic links"));
            }
            let target = self.read_link(&resolved)?.unwrap_or_default();
            resolved.pop();
            left.extend(target.components().rev().map(own));
        }
        Ok(Some(resolved))
    }

    /// What tells a directory from every other one of the host, whatever it is called: its device and its
    /// inode, links followed. `None` where there is none, or it cannot be told.
    fn directory_id(&self, _path: &Path) -> io::Result<Option<(u64, u64)>> {
        Ok(None)
    }

    /// Removes a file or link; false when there was none.
    fn remove(&self, path: &Path) -> io::Result<bool>;

    /// Removes an empty directory; false when there was none, or it is not empty.
    fn remove_dir(&self, path: &Path) -> io::Result<bool>;

    /// Removes a directory and all below it, following no link; false when there was none.
    fn remove_tree(&self, path: &Path) -> io::Result<bool>;

    /// Makes everything written to the file system of `path` survive a power failure.
    fn sync_fs(&self, path: &Path) -> io::Result<()>;

    /// Whom new files belong to: the effective user and group.
    fn identity(&self) -> Owner {
        Owner {
            uid: unistd::geteuid().as_raw(),
            gid: unistd::getegid().as_raw(),
        }
    }
}

/// A file for [`Disk::write_all`].
#[derive(Clone, Copy)]
pub struct NewFile<'f> {
    /// Where it is to be.
    pub path: &'f Path,
    /// What is to be in it.
    pub bytes: &'f [u8],
    /// Its mode.
    pub mode: u32,
    /// Whose it is to be; who writes it, where none is said.
    pub owner: Option<Owner>,
}

/// The prefix and suffix of temporary files, so that what a crash left can be swept. Between them are
/// random hex digits, then a dot and the name of the file that was being written.
pub const TEMPORARY: (&str, &str) = (".lorectl-", ".tmp");

/// The longest name of a file that is part of its temporary file's: `NAME_MAX` is 255 bytes.
const LONGEST_TARGET: usize = 200;

/// A new temporary file for what will be at `path`.
fn temporary(path: &Path) -> io::Result<PathBuf> {
    let (prefix, suffix) = TEMPORARY;
    let target = path.file_name().and_then(|name| name.to_str());
    let target = target
        .filter(|name| name.len() <= LONGEST_TARGET)
        .map(|name| format!(".{name}"))
        .unwrap_or_default();
    let token = random::token()?;
    Ok(parent(path).join(format!("{prefix}{token}{target}{suffix}")))
}

/// Removes the temporary files that a crash left in a directory, those whose targets are `ours` by
/// name; how many there were. Other writers of such files must be kept out meanwhile.
///
/// # Errors
/// What the disk says, with the path it says it of.
pub fn sweep(
    disk: &dyn Disk,
    dir: &Path,
    ours: &dyn Fn(&str) -> bool,
) -> Result<usize, (PathBuf, io::Error)> {
    let (prefix, suffix) = TEMPORARY;
    let mut swept = 0;
    let listed = disk.list(dir);
    for (name, kind) in listed.map_err(|error| (dir.to_owned(), error))? {
        let inner = name
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_suffix(suffix));
        let Some(inner) = inner else { continue };
        let target = inner.split_once('.').map_or("", |(_, target)| target);
        let removable = match kind {
            EntryKind::File | EntryKind::Link => true,
            EntryKind::Dir | EntryKind::Special => false,
        };
        if removable && ours(target) {
            let path = dir.join(&name);
            let gone = disk.remove(&path);
            swept += usize::from(gone.map_err(|error| (path, error))?);
        }
    }
    Ok(swept)
}

/// The machine's own file systems.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

fn own(component: Component<'_>) -> std::ffi::OsString {
    component.as_os_str().to_owned()
}

fn kind_of(file_type: fs::FileType) -> EntryKind {
    if file_type.is_symlink() {
        EntryKind::Link
    } else if file_type.is_dir() {
        EntryKind::Dir
    } else if file_type.is_fifo()
        || file_type.is_socket()
        || file_type.is_char_device()
        || file_type.is_block_device()
    {
        EntryKind::Special
    } else {
        EntryKind::File
    }
}

fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
        Err(error) => Err(error),
    }
}

fn modified(meta: &fs::Metadata) -> Timestamp {
    let millis = meta
        .mtime()
        .saturating_mul(1000)
        .saturating_add(meta.mtime_nsec() / 1_000_000);
    Timestamp::from_millis(millis)
}

fn owner_of(meta: &fs::Metadata) -> Owner {
    Owner {
        uid: meta.uid(),
        gid: meta.gid(),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
}

/// Tells of a file that was written, and nothing of what is in it.
fn told(path: &Path, bytes: &[u8], mode: u32) {
    let (path, bytes) = (path.display(), bytes.len());
    tracing::trace!(%path, bytes, mode = %format_args!("{mode:04o}"), "written");
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl RealDisk {
    fn write_temporary(
        temporary: &Path,
        bytes: &[u8],
        mode: u32,
        owner: Option<Owner>,
        durability: Durability,
    ) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).bits())
            .open(temporary)?;
        file.write_all(bytes)?;
        if let Some(owner) = owner {
            let meta = file.metadata()?;
            if owner_of(&meta) != owner {
                let (uid, gid) = (owner.uid.into(), owner.gid.into());
                unistd::fchown(&file, Some(uid), Some(gid))?;
            }
        }
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        match durability {
            Durability::Now => file.sync_all(),
            Durability::Batch => Ok(()),
        }
    }
}

/// Opens a regular file, whatever else stands there: it follows no link and waits for no pipe.
fn open_file(path: &Path) -> io::Result<Option<(File, fs::Metadata)>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path);
    let Some(file) = absent_is_none(opened)? else {
        return Ok(None);
    };
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(Some((file, meta)))
}

impl Disk for RealDisk {
    fn directory_id(&self, path: &Path) -> io::Result<Option<(u64, u64)>> {
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => Ok(Some((meta.dev(), meta.ino()))),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn digest(&self, path: &Path) -> io::Result<Option<Digest>> {
        let Some((mut file, _)) = open_file(path)? else {
            return Ok(None);
        };
        let mut hash = Sha256::new();
        let mut buffer = vec![0_u8; 64 << 10];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(Some(Digest::from_bytes(hash.finalize().into()))),
                n => hash.update(buffer.get(..n).unwrap_or_default()),
            }
        }
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Option<ReadFile>> {
        let Some((mut file, meta)) = open_file(path)? else {
            return Ok(None);
        };
        if meta.len() > limit {
            return Err(io::Error::other(format!("it is larger than {limit} bytes")));
        }
        let length = usize::try_from(meta.len()).unwrap_or(0);
        let mut bytes = vec![0; length + 1];
        let read = loop {
            match file.read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        bytes.truncate(read);
        // As long as it said: a second call, only to be told that this was the end, is saved.
        if read != length {
            file.take(limit + 1 - read as u64).read_to_end(&mut bytes)?;
        }
        if bytes.len() as u64 > limit {
            return Err(io::Error::other(format!("it is larger than {limit} bytes")));
        }
        Ok(Some(ReadFile {
            bytes,
            mode: meta.mode() & 0o7777,
            owner: owner_of(&meta),
            modified: modified(&meta),
        }))
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        Ok(
            absent_is_none(fs::symlink_metadata(path))?.map(|meta| Stat {
                kind: kind_of(meta.file_type()),
                mode: meta.mode() & 0o7777,
                owner: owner_of(&meta),
                modified: modified(&meta),
                size: meta.len(),
            }),
        )
    }

    fn write(
        &self,
        path: &Path,
        bytes: &[u8],
        mode: u32,
        owner: Option<Owner>,
        durability: Durability,
    ) -> io::Result<()> {
        let dir = parent(path);
        let temporary = temporary(path)?;
        let written = Self::write_temporary(&temporary, bytes, mode, owner, durability)
            .and_then(|()| fs::rename(&temporary, path));
        if let Err(error) = written {
            // The temporary file is ours alone; that it cannot be removed either is not the news.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        told(path, bytes, mode);
        match durability {
            Durability::Now => sync_dir(dir),
            Durability::Batch => Ok(()),
        }
    }

    /// Two syncs of the file system, however many they are: of what is in them before any has its
    /// name, and of the names.
    fn write_all(&self, files: &[NewFile<'_>]) -> io::Result<()> {
        let Some(first) = files.first() else {
            return Ok(());
        };
        let mut temporaries: Vec<PathBuf> = Vec::with_capacity(files.len());
        let written = files.iter().try_for_each(|file| {
            let new = temporary(file.path)?;
            temporaries.push(new.clone());
            let (mode, owner) = (file.mode, file.owner);
            Self::write_temporary(&new, file.bytes, mode, owner, Durability::Batch)
        });
        let dir = parent(first.path);
        let mut pairs = temporaries.iter().zip(files);
        let named = written
            .and_then(|()| self.sync_fs(dir))
            .and_then(|()| pairs.try_for_each(|(new, file)| fs::rename(new, file.path)));
        if let Err(error) = named {
            for new in &temporaries {
                // Those that have their names are not there under these any more.
                let _ = fs::remove_file(new);
            }
            return Err(error);
        }
        for file in files {
            told(file.path, file.bytes, file.mode);
        }
        self.sync_fs(dir)
    }

    fn append(
        &self,
        path: &Path,
        bytes: &[u8],
        mode: u32,
        durability: Durability,
    ) -> io::Result<()> {
        let existed = self.stat(path)?.is_some();
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(mode)
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).bits())
            .open(path)?;
        file.write_all(bytes)?;
        tracing::trace!(path = %path.display(), bytes = bytes.len(), "appended to");
        if durability == Durability::Now {
            file.sync_data()?;
            if !existed {
                sync_dir(parent(path))?;
            }
        }
        Ok(())
    }

    fn make_dir(&self, path: &Path, mode: u32, owner: Option<Owner>) -> io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent(path))?;
        match fs::DirBuilder::new().mode(mode).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let meta = fs::symlink_metadata(path)?;
        if !meta.is_dir() {
            return Err(io::Error::other("it is not a directory"));
        }
        if let Some(owner) = owner
            && owner_of(&meta) != owner
        {
            std::os::unix::fs::lchown(path, Some(owner.uid), Some(owner.gid))?;
        }
        if meta.mode() & 0o7777 != mode {
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(String, EntryKind)>> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let dir = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits())
            .open(path);
        let Some(dir) = absent_is_none(dir)? else {
            let is_link = |stat: Stat| stat.kind == EntryKind::Link;
            return if self.stat(path)?.is_some_and(is_link) {
                Err(io::Error::other("it is a symbolic link"))
            } else {
                Ok(Vec::new())
            };
        };
        let mut dir = Dir::from_fd(dir.into())?;
        let mut listed = Vec::new();
        for entry in dir.iter() {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours, and nothing of ours can refer to it.
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if matches!(name, "." | "..") {
                continue;
            }
            let kind = match entry.file_type() {
                Some(Type::File) => EntryKind::File,
                Some(Type::Directory) => EntryKind::Dir,
                Some(Type::Symlink) => EntryKind::Link,
                Some(Type::Fifo | Type::Socket | Type::CharacterDevice | Type::BlockDevice) => {
                    EntryKind::Special
                }
                // Some file systems do not say it with the name (readdir(3)).
                None => match self.stat(&path.join(name))? {
                    Some(stat) => stat.kind,
                    None => continue,
                },
            };
            listed.push((name.to_owned(), kind));
        }
        listed.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(listed)
    }

    fn list_behind_links(&self, path: &Path) -> io::Result<Vec<(String, EntryKind)>> {
        match absent_is_none(fs::canonicalize(path))? {
            Some(resolved) => self.list(&resolved),
            None => Ok(Vec::new()),
        }
    }

    fn link(&self, target: &Path, path: &Path) -> io::Result<()> {
        let temporary = temporary(path)?;
        std::os::unix::fs::symlink(target, &temporary)?;
        let named = fs::rename(&temporary, path).inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        });
        if named.is_ok() {
            tracing::trace!(path = %path.display(), to = %target.display(), "linked");
        }
        named
    }

    fn read_link(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        match absent_is_none(fs::read_link(path)) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
            other => other,
        }
    }

    fn resolve(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        absent_is_none(fs::canonicalize(path))
    }

    fn remove(&self, path: &Path) -> io::Result<bool> {
        let removed = absent_is_none(fs::remove_file(path))?.is_some();
        if removed {
            tracing::trace!(path = %path.display(), "removed");
        }
        Ok(removed)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<bool> {
        match absent_is_none(fs::remove_dir(path)) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            other => Ok(other?.is_some()),
        }
    }

    fn remove_tree(&self, path: &Path) -> io::Result<bool> {
        let removed = absent_is_none(fs::remove_dir_all(path))?.is_some();
        if removed {
            tracing::trace!(path = %path.display(), "removed with all below");
        }
        Ok(removed)
    }

    fn sync_fs(&self, path: &Path) -> io::Result<()> {
        unistd::syncfs(File::open(path)?)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_together_and_leave_nothing_half_done() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path();
        let (one, two) = (dir.join("one"), dir.join("two"));
        let nowhere = dir.join("missing/file");
        fs::write(&one, "old").unwrap();
        let file = |path, bytes| NewFile {
            path,
            bytes,
            mode: 0o640,
            owner: None,
        };
        let failed = RealDisk.write_all(&[file(&one, b"new"), file(&nowhere, b"new")]);
        failed.unwrap_err();
        assert_eq!(fs::read(&one).unwrap(), b"old");
        assert_eq!(RealDisk.list(dir).unwrap().len(), 1);
        RealDisk
            .write_all(&[file(&one, b"new"), file(&two, b"")])
            .unwrap();
        assert_eq!(fs::read(&one).unwrap(), b"new");
        let names = RealDisk.list(dir).unwrap();
        let names: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(RealDisk.stat(&two).unwrap().unwrap().mode, 0o640);
        RealDisk.write_all(&[]).unwrap();
    }

    #[test]
    fn a_link_in_place_of_a_directory_is_listed_only_on_demand() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path();
        fs::create_dir_all(dir.join("real/sub")).unwrap();
        fs::write(dir.join("real/file"), "").unwrap();
        std::os::unix::fs::symlink("real", dir.join("link")).unwrap();
        std::os::unix::fs::symlink("file", dir.join("real/other")).unwrap();
        nix::unistd::mkfifo(&dir.join("real/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let there = RealDisk.list(&dir.join("real")).unwrap();
        let expected = [
            ("file", EntryKind::File),
            ("other", EntryKind::Link),
            ("pipe", EntryKind::Special),
            ("sub", EntryKind::Dir),
        ];
        assert_eq!(there, expected.map(|(name, kind)| (name.to_owned(), kind)));
        let refused = RealDisk.list(&dir.join("link")).unwrap_err();
        assert_eq!(refused.to_string(), "it is a symbolic link");
        assert_eq!(
            RealDisk.list_behind_links(&dir.join("link")).unwrap(),
            there
        );
        for nothing in ["none", "real/file"] {
            assert_eq!(RealDisk.list(&dir.join(nothing)).unwrap(), []);
            assert_eq!(RealDisk.list_behind_links(&dir.join(nothing)).unwrap(), []);
        }
    }

    #[test]
    fn a_digest_is_of_the_whole_file_and_of_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        fs::write(&path, &bytes).unwrap();
        assert_eq!(RealDisk.digest(&path).unwrap(), Some(Digest::of(&bytes)));
        assert_eq!(RealDisk.digest(&dir.path().join("none")).unwrap(), None);
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        RealDisk.digest(&dir.path().join("link")).unwrap_err();
        RealDisk.digest(dir.path()).unwrap_err();
    }

    #[test]
    fn a_pipe_a_link_and_a_giant_are_refused_without_a_hang() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("file"), &link).unwrap();
        fs::write(dir.path().join("file"), "12345").unwrap();
        assert!(RealDisk.read(&pipe, 10).is_err());
        assert!(RealDisk.read(&link, 10).is_err());
        assert!(RealDisk.read(&dir.path().join("file"), 4).is_err());
        assert_eq!(
            RealDisk
                .read(&dir.path().join("file"), 5)
                .unwrap()
                .unwrap()
                .bytes,
            b"12345"
        );
        assert!(
            RealDisk
                .read(&dir.path().join("none"), 5)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_write_replaces_a_link_and_leaves_its_target() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        RealDisk
            .write(&link, b"new", 0o640, None, Durability::Now)
            .unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "old");
        let written = RealDisk.read(&link, 10).unwrap().unwrap();
        assert_eq!(
            (written.bytes.as_slice(), written.mode),
            (&b"new"[..], 0o640)
        );
        assert_eq!(
            RealDisk.list(dir.path()).unwrap().len(),
            2,
            "no temporary file is left"
        );
    }

    #[test]
    fn a_sweep_takes_what_was_to_become_ours() {
        let dir = tempfile::tempdir().unwrap();
        let long = "x".repeat(LONGEST_TARGET + 1);
        for name in ["mine.timer", "mine.d", "theirs.timer", &long] {
            let path = temporary(&dir.path().join(name)).unwrap();
            assert!(path.file_name().unwrap().len() <= 255);
            fs::write(&path, "").unwrap();
        }
        fs::write(dir.path().join("mine.timer"), "").unwrap();
        fs::create_dir(dir.path().join(".lorectl-0.mine.tmp")).unwrap();
        let left = |dir: &Path| RealDisk.list(dir).unwrap().len();
        let mine = |target: &str| target.starts_with("mine.");
        assert_eq!(sweep(&RealDisk, dir.path(), &mine).unwrap(), 2);
        assert_eq!(left(dir.path()), 4);
        assert_eq!(sweep(&RealDisk, dir.path(), &|_| true).unwrap(), 2);
        assert_eq!(left(dir.path()), 2);
        assert_eq!(
            sweep(&RealDisk, &dir.path().join("none"), &mine).unwrap(),
            0
        );
    }

    /// The trait's own `resolve`, which a simulated disk uses.
    struct Walked(RealDisk);

    impl Disk for Walked {
        fn read(&self, path: &Path, limit: u64) -> io::Result<Option<ReadFile>> {
            self.0.read(path, limit)
        }
        fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
            self.0.stat(path)
        }
        fn write(
            &self,
            _: &Path,
            _: &[u8],
            _: u32,
            _: Option<Owner>,
            _: Durability,
        ) -> io::Result<()> {
            Err(io::Error::other("read-only"))
        }
        fn append(&self, _: &Path, _: &[u8], _: u32, _: Durability) -> io::Result<()> {
            Err(io::Error::other("read-only"))
        }
        fn make_dir(&self, _: &Path, _: u32, _: Option<Owner>) -> io::Result<()> {
            Err(io::Error::other("read-only"))
        }
        fn list(&self, path: &Path) -> io::Result<Vec<(String, EntryKind)>> {
            self.0.list(path)
        }
        fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
            Err(io::Error::other("read-only"))
        }
        fn read_link(&self, path: &Path) -> io::Result<Option<PathBuf>> {
            self.0.read_link(path)
        }
        fn remove(&self, _: &Path) -> io::Result<bool> {
            Err(io::Error::other("read-only"))
        }
        fn remove_dir(&self, _: &Path) -> io::Result<bool> {
            Err(io::Error::other("read-only"))
        }
        fn remove_tree(&self, _: &Path) -> io::Result<bool> {
            Err(io::Error::other("read-only"))
        }
        fn sync_fs(&self, _: &Path) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn links_are_resolved_as_the_system_does() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(temporary.path()).unwrap();
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, dir.join(name)).unwrap();
        };
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::write(dir.join("a/file"), "").unwrap();
        link("a/b", "down");
        link(dir.join("a").to_str().unwrap(), "absolute");
        link("gone", "dangling");
        link("loop", "loop");
        for path in [
            "a/file",
            "down/../file",
            "absolute/file",
            "./down/.",
            "absolute/b/../../down",
            "dangling",
            "none/x",
        ] {
            assert_eq!(
                Walked(RealDisk).resolve(&dir.join(path)).unwrap(),
                RealDisk.resolve(&dir.join(path)).unwrap(),
                "{path}"
            );
        }
        assert!(RealDisk.resolve(&dir.join("loop")).is_err());
        assert!(Walked(RealDisk).resolve(&dir.join("loop")).is_err());
    }
}
