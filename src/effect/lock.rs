//! Locks: flock(2) on files that stay where they are.
//!
//! The kernel frees a lock when its holder ends, however it ends, so no lock is ever judged by a
//! PID and there is nothing to clean up. What a lock file says of its holder is for people only.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a lock is an open file, and who holds it is read from the process"
)]

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    unistd::{self, AccessFlags, Uid, User},
};
use serde::{Deserialize, Serialize};

use crate::{
    effect::process::{self, Stopwatch},
    error::{Code, Error, Result},
    id::Timestamp,
};

/// How often a lock that is waited for is tried again; flock(2) itself knows no deadline.
const RETRY: Duration = Duration::from_millis(20);

/// The most that is read of what a holder wrote about itself.
const HOLDER_LIMIT: u64 = 4096;

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// What became of a file that was to be locked.
#[derive(Debug)]
enum Claim {
    Taken(Lock),
    Held,
    /// It is not, or no longer, the file at the path.
    Replaced,
}

/// What a lock file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    /// To be locked, or to be read.
    Lock,
    /// To be written, too.
    Write,
}

/// Opens a lock file without following a link and without waiting at a pipe.
///
/// Where the file is someone else's and may only be read, a read-only descriptor serves: flock(2)
/// asks for no particular mode.
fn open(path: &Path, create: Option<u32>, wants: Wants) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(create.is_some())
        .mode(create.unwrap_or(0o600))
        .custom_flags(flags.bits())
        .open(path);
    let file = match opened {
        // Another's file, or one that a hardened unit sees on a read-only mount.
        Err(error)
            if wants == Wants::Lock
                && matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                ) =>
        {
            OpenOptions::new()
                .read(true)
                .custom_flags(flags.bits())
                .open(path)?
        }
        Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => {
            return Err(io::Error::other("the lock is a symbolic link"));
        }
        other => other?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("the lock is not a regular file"));
    }
    Ok(file)
}

/// Whether the file that was locked is still the one at the path.
fn is_current(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(now) => Ok((held.dev(), held.ino()) == (now.dev(), now.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Tells of a lock that was asked for, and how long it was waited for.
fn told(path: &Path, watch: Stopwatch, taken: bool) {
    let (path, ms) = (path.display(), watch.elapsed_ms());
    if taken {
        tracing::debug!(%path, ms, "locked");
    } else {
        tracing::debug!(%path, ms, "not locked");
    }
}

impl Lock {
    /// Takes the lock if nobody holds it; makes the file with these permission bits when it is missing.
    ///
    /// # Errors
    /// A link, pipe or device in its place, or what the system says.
    pub fn try_take(path: &Path, mode: u32) -> io::Result<Option<Self>> {
        Self::attempt(path, Some(mode), Wants::Lock)
    }

    /// Takes the lock if nobody holds it; the file must be there.
    ///
    /// # Errors
    /// As [`Lock::try_take`], and when the file is missing.
    pub fn try_take_existing(path: &Path) -> io::Result<Option<Self>> {
        Self::attempt(path, None, Wants::Lock)
    }

    /// Takes the lock of a directory, waiting at most `patience`; `None` when it was held all the
    /// while. It needs no file, so nobody can be the first to make it with the wrong owner.
    ///
    /// # Errors
    /// A link or anything but a directory in its place, or what the system says.
    pub async fn take_dir(path: &Path, patience: Duration) -> io::Result<Option<Self>> {
        let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_DIRECTORY;
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(flags.bits()).open(path)?;
        let attempts = async {
            loop {
                match file.try_lock() {
                    Ok(()) => return Ok(()),
                    Err(TryLockError::WouldBlock) => tokio::time::sleep(RETRY).await,
                    Err(TryLockError::Error(error)) => return Err(error),
                }
            }
        };
        let watch = Stopwatch::start();
        let taken = tokio::time::timeout(patience, attempts).await;
        told(path, watch, matches!(taken, Ok(Ok(()))));
        match taken {
            Ok(result) => result.map(|()| Some(Self { file })),
            Err(_) => Ok(None),
        }
    }

    fn attempt(path: &Path, create: Option<u32>, wants: Wants) -> io::Result<Option<Self>> {
        let watch = Stopwatch::start();
        let taken = Self::attempt_at(path, create, wants);
        told(path, watch, matches!(taken, Ok(Some(_))));
        taken
    }

    fn attempt_at(path: &Path, create: Option<u32>, wants: Wants) -> io::Result<Option<Self>> {
        // Whoever purges a service removes its lock file; the loop ends with the second such removal.
        for _ in 0..3 {
            match Self::claim(open(path, create, wants)?, path)? {
                Claim::Taken(lock) => return Ok(Some(lock)),
                Claim::Held => return Ok(None),
                Claim::Replaced => {}
            }
        }
        Ok(None)
    }

    /// Locks a file that was opened at a path, which may be another's by now: however long ago that
    /// was (a process can be stopped in between), a lock that nobody else would find is none.
    fn claim(file: File, path: &Path) -> io::Result<Claim> {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Claim::Held),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(if is_current(&file, path)? {
            Claim::Taken(Self { file })
        } else {
            Claim::Replaced
        })
    }

    /// Takes the lock, waiting at most `patience`; `None` when it was held all the while.
    ///
    /// # Errors
    /// As [`Lock::try_take`].
    pub async fn take(path: &Path, mode: u32, patience: Duration) -> io::Result<Option<Self>> {
        let watch = Stopwatch::start();
        let attempts = async {
            loop {
                if let Some(lock) = Self::attempt_at(path, Some(mode), Wants::Lock)? {
                    return Ok(Some(lock));
                }
                tokio::time::sleep(RETRY).await;
            }
        };
        let taken = match tokio::time::timeout(patience, attempts).await {
            Ok(taken) => taken,
            Err(_) => Self::attempt_at(path, Some(mode), Wants::Lock),
        };
        told(path, watch, matches!(taken, Ok(Some(_))));
        taken
    }

    /// Replaces the content of the lock's file. What it says guards nothing, so it is not synced.
    fn describe(&self, text: &[u8]) -> io::Result<()> {
        let mut file = &self.file;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(text)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would leave the lock to a child that is between fork(2) and execve(2).
        let _ = self.file.unlock();
    }
}

/// Whether somebody holds the lock at this moment; false when there is no such file.
///
/// The question is put with a shared lock, so that several may ask at once; a holder-to-be tries
/// more than once and so is not turned away by a question.
///
/// # Errors
/// A link, pipe or device in its place, or what the system says.
pub fn is_held(path: &Path) -> io::Result<bool> {
    let file = match open(path, None, Wants::Lock) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Who holds a project's lock, as its file tells people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The user's name, or number where it has none; for sudo(8) the one who called it.
    pub user: String,
    /// The process.
    pub pid: u32,
    /// When that process started, in clock ticks since boot (proc(5), `starttime`).
    pub pid_started: u64,
    /// Since when, UTC.
    pub since: Timestamp,
    /// On which host.
    pub host: String,
    /// The address that the user's session came from, where it came over ssh(1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

impl Holder {
    /// This process, as a holder since `now`.
    pub fn this_process(now: Timestamp) -> Self {
        let uid = Uid::effective();
        let name = User::from_uid(uid).ok().flatten().map(|user| user.name);
        let name = name.unwrap_or_else(|| uid.to_string());
        let user = match std::env::var("SUDO_USER") {
            Ok(caller) if uid.is_root() && caller != name => format!("{caller} (as {name})"),
            Ok(_) | Err(_) => name,
        };
        let from = std::env::var("SSH_CONNECTION").ok();
        let from = from.and_then(|text| text.split(' ').next().map(str::to_owned));
        let host = unistd::gethostname().ok();
        let process = process::Identity::this();
        Self {
            user,
            pid: process.pid,
            pid_started: process.started,
            since: now,
            host: host
                .and_then(|name| name.into_string().ok())
                .unwrap_or_default(),
            from: from.filter(|address| !address.is_empty()),
        }
    }

    /// Who it is and where from, for the record: `alice (as root) from 10.0.0.7`.
    pub fn who(&self) -> String {
        match &self.from {
            Some(from) => format!("{} from {from}", self.user),
            None => self.user.clone(),
        }
    }

    fn sentence(&self) -> String {
        let from = self.from.as_ref().map(|from| format!(" from {from}"));
        format!(
            "{} holds it since {} on {}{}, as process {}",
            self.user,
            self.since,
            self.host,
            from.unwrap_or_default(),
            self.pid
        )
    }
}

/// The lock of one project, held by one apply at a time until this is dropped.
#[derive(Debug)]
pub struct ProjectLock {
    lock: Lock,
}

impl ProjectLock {
    /// Takes a project's lock (`Layout::lock_file`) and writes into its file who holds it.
    ///
    /// The directory must be there. Waits for nobody.
    ///
    /// # Errors
    /// `LOCK_HELD` with who, since when and from where; else as reading and writing fails.
    pub fn acquire(path: &Path, who: &Holder) -> Result<Self> {
        if let Some(dir) = path.parent() {
            writable(dir)?;
        }
        let taken = Lock::attempt(path, Some(0o600), Wants::Write);
        let taken = taken.map_err(|e| Error::io("lock", path, e))?;
        let Some(lock) = taken else {
            return Err(held(path));
        };
        let text = serde_json::to_vec(who)
            .map_err(|error| Error::new(Code::Internal, "a holder is no JSON").because(error))?;
        lock.describe(&text)
            .map_err(|e| Error::io("write", path, e))?;
        Ok(Self { lock })
    }
}

impl Drop for ProjectLock {
    fn drop(&mut self) {
        // Emptied while still held, so that nobody reads a holder that is gone; a failure changes
        // nothing, since the text is only for people.
        let _ = self.lock.describe(b"");
    }
}

/// Refuses a directory in which nothing can be made or replaced, whoever asks.
///
/// # Errors
/// `NOT_PERMITTED` with why, and what helps; what else is wrong with it is said by who writes there.
pub fn writable(dir: &Path) -> Result<()> {
    let shown = dir.display();
    let refused = |why: &str, help: String| {
        let message = format!("the state directory {shown} {why}");
        Err(Error::new(Code::NotPermitted, message).suggest(help))
    };
    match unistd::eaccess(dir, AccessFlags::W_OK) {
        Err(Errno::EROFS) => refused(
            "is on a file system that is mounted read-only",
            format!(
                "`findmnt -T {shown}` shows the mount; `mount -o remount,rw` makes it writable, or `--state-dir` names another place"
            ),
        ),
        Err(Errno::EPERM) => refused(
            "is immutable",
            format!("`chattr -i {shown}` lifts that, which `lsattr -d {shown}` shows"),
        ),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Who holds the lock, as far as its file tells.
///
/// # Errors
/// What the system says, and a link, pipe or device in its place.
pub fn holder(path: &Path) -> io::Result<Option<Holder>> {
    let mut text = Vec::new();
    open(path, None, Wants::Lock)?
        .take(HOLDER_LIMIT)
        .read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text).ok())
}

fn held(path: &Path) -> Error {
    let who = holder(path).ok().flatten();
    let error = Error::new(
        Code::LockHeld,
        format!("another lorectl holds the lock {}", path.display()),
    );
    let error = match who {
        Some(holder) => error.with_details(vec![holder.sentence()]),
        None => error,
    };
    error.suggest(
        "try again when it has ended; the lock is freed with its holder, however that ends",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder_named(user: &str) -> Holder {
        Holder {
            user: user.to_owned(),
            pid: 7,
            pid_started: 8,
            since: "2026-02-03T04:05:06Z".parse().unwrap(),
            host: "web1".to_owned(),
            from: Some("192.0.2.7".to_owned()),
        }
    }

    #[test]
    fn a_held_project_lock_names_its_holder_and_is_free_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = ProjectLock::acquire(&path, &holder_named("ana")).unwrap();
        assert!(is_held(&path).unwrap());
        let error = ProjectLock::acquire(&path, &holder_named("bo")).unwrap_err();
        assert_eq!(error.code, Code::LockHeld);
        let told = error.details.join("");
        for part in ["ana", "2026-02-03T04:05:06Z", "web1", "192.0.2.7", "7"] {
            assert!(told.contains(part), "{told}");
        }
        drop(lock);
        assert!(!is_held(&path).unwrap());
        assert_eq!(holder(&path).unwrap(), None, "nobody is named any more");
        ProjectLock::acquire(&path, &holder_named("bo")).unwrap();
    }

    #[test]
    fn a_lock_that_was_replaced_meanwhile_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let opened = || open(&path, Some(0o600), Wants::Lock).unwrap();
        // What a waiter has open when it is stopped, and what has become of it when it goes on.
        let before = opened();
        std::fs::write(dir.path().join("new"), "").unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
        assert!(matches!(
            Lock::claim(before, &path).unwrap(),
            Claim::Replaced
        ));
        let before = opened();
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(
            Lock::claim(before, &path).unwrap(),
            Claim::Replaced
        ));
        // A claim that came to nothing keeps nobody out.
        let held = Lock::try_take(&path, 0o600).unwrap();
        assert!(held.is_some());
        assert!(matches!(Lock::claim(opened(), &path).unwrap(), Claim::Held));
        drop(held);
        assert!(matches!(
            Lock::claim(opened(), &path).unwrap(),
            Claim::Taken(_)
        ));
    }

    #[test]
    fn a_link_a_pipe_and_a_directory_are_no_locks() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        std::fs::write(&target, "kept").unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let pipe = dir.path().join("pipe");
        unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [&link, &pipe, &dir.path().to_path_buf()] {
            assert!(Lock::try_take(path, 0o600).is_err(), "{}", path.display());
            assert!(is_held(path).is_err(), "{}", path.display());
        }
        let refused = Lock::try_take(&link, 0o600).unwrap_err();
        assert_eq!(refused.to_string(), "the lock is a symbolic link");
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "kept");
    }

    #[test]
    fn an_absent_lock_is_not_held_and_is_made_only_on_demand() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert!(!is_held(&path).unwrap());
        assert!(Lock::try_take_existing(&path).is_err());
        assert!(Lock::try_take(&path, 0o600).unwrap().is_some());
        assert!(Lock::try_take_existing(&path).unwrap().is_some());
    }

    #[test]
    fn a_read_only_file_can_be_locked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::fs::write(&path, "").unwrap();
        let file = File::open(&path).unwrap();
        file.try_lock().unwrap();
        assert!(Lock::try_take_existing(&path).unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_with_the_holder_or_with_patience() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::try_take(&path, 0o600).unwrap().unwrap();
        let patience = Duration::from_secs(5);
        assert!(Lock::take(&path, 0o600, patience).await.unwrap().is_none());
        let release = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(first);
        };
        let (taken, ()) = tokio::join!(Lock::take(&path, 0o600, patience), release);
        assert!(taken.unwrap().is_some());
    }
}
