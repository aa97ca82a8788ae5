//! Directories that somebody else writes, and may fill with what he likes: nothing here follows a
//! link, waits at a pipe, or reads more than it was told to.
#![expect(
    clippy::disallowed_types,
    reason = "files are opened here relative to a directory, which `Disk` has no words for"
)]

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat, renameat},
    sys::stat::Mode,
};

use crate::resource::Owner;

/// A directory, held open, so that it stays the same one whatever is renamed.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
}

const DIRECTORY: OFlag = OFlag::O_DIRECTORY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

fn absent_is_none<T>(result: Result<T, Errno>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Dir {
    /// Opens a directory; `None` when there is none. The last component is not followed.
    ///
    /// # Errors
    /// Anything but a directory in its place, or what the system says.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let opened = absent_is_none(open(path, DIRECTORY, Mode::empty()))?;
        Ok(opened.map(|fd| Self { fd }))
    }

    /// Opens a directory in it.
    ///
    /// # Errors
    /// As [`Dir::open`].
    pub fn dir(&self, name: &str) -> io::Result<Option<Self>> {
        let opened = openat(&self.fd, name, DIRECTORY, Mode::empty());
        Ok(absent_is_none(opened)?.map(|fd| Self { fd }))
    }

    /// Who owns it.
    ///
    /// # Errors
    /// As fstat(2) fails.
    pub fn owner(&self) -> io::Result<Owner> {
        let meta = File::from(self.fd.try_clone()?).metadata()?;
        Ok(Owner {
            uid: meta.uid(),
            gid: meta.gid(),
        })
    }

    /// Opens a regular file in it, for reading; `None` when there is none.
    ///
    /// # Errors
    /// A link, pipe, device or directory in its place, or what the system says.
    pub fn file(&self, name: &str) -> io::Result<Option<ReadOnly>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let Some(fd) = absent_is_none(openat(&self.fd, name, flags, Mode::empty()))? else {
            return Ok(None);
        };
        let file = File::from(fd);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        Ok(Some(ReadOnly { file }))
    }

    /// Gives something in it another name, whatever it is; replaces nothing that can be told apart
    /// from it, so `to` should be a new name.
    ///
    /// # Errors
    /// As renameat(2) fails.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.fd, from, &self.fd, to)?)
    }
}

/// A regular file, open for reading.
#[derive(Debug)]
pub struct ReadOnly {
    file: File,
}

impl ReadOnly {
    /// How long it is now, in bytes.
    ///
    /// # Errors
    /// As fstat(2) fails.
    pub fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Whether it is empty now.
    ///
    /// # Errors
    /// As fstat(2) fails.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// What tells it from another file of the same name.
    ///
    /// # Errors
    /// As fstat(2) fails.
    pub fn inode(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.ino())
    }

    /// At most `limit` bytes from an offset on.
    ///
    /// # Errors
    /// As reading fails.
    pub fn read_at(&self, offset: u64, limit: u64) -> io::Result<Vec<u8>> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests lay out files")]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_pipes_and_directories_are_not_read() {
        let base = tempfile::tempdir().unwrap();
        let outside = base.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("secret"), "s").unwrap();
        let path = base.path().join("data");
        std::fs::create_dir(&path).unwrap();
        symlink(&outside, path.join("logs")).unwrap();
        symlink(outside.join("secret"), path.join("link")).unwrap();
        nix::unistd::mkfifo(&path.join("pipe"), Mode::S_IRWXU).unwrap();
        std::fs::create_dir(path.join("dir")).unwrap();
        std::fs::write(path.join("file"), "0123456789").unwrap();

        let dir = Dir::open(&path).unwrap().unwrap();
        assert!(dir.dir("logs").is_err());
        for name in ["link", "pipe", "dir"] {
            assert!(dir.file(name).is_err(), "{name}");
        }
        assert!(dir.file("none").unwrap().is_none() && dir.dir("none").unwrap().is_none());
        let file = dir.file("file").unwrap().unwrap();
        assert_eq!(file.read_at(4, 3).unwrap(), b"456");
        assert_eq!(file.read_at(40, 3).unwrap(), b"");

        symlink(&path, base.path().join("alias")).unwrap();
        assert!(Dir::open(&base.path().join("alias")).is_err());
    }

    #[test]
    fn what_is_renamed_may_be_anything() {
        let base = tempfile::tempdir().unwrap();
        let dir = Dir::open(base.path()).unwrap().unwrap();
        symlink("/etc/passwd", base.path().join("a")).unwrap();
        dir.rename("a", "b").unwrap();
        assert!(std::fs::symlink_metadata(base.path().join("b")).is_ok());
        assert!(dir.rename("a", "b").is_err());
    }
}
