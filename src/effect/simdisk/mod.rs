//! A disk in memory that fails when it is told to, and forgets what was never synced.
//!
//! It models a strict reading of POSIX: `fsync` of a file keeps its content and nothing else; a
//! name survives when its directory was synced; unsynced bytes survive wholly, in part, as zeros,
//! or not at all. A change to one directory (a rename within it too) survives whole, and not
//! without the changes made to that directory before. [`Disk::write`] and [`Disk::append`] go
//! through the same system calls as [`RealDisk`](super::disk::RealDisk), in the same order, each of them an operation at
//! which a crash or an error can strike.
//!
//! Not modelled: links within a path (only as its last component), limits of names, permissions.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::errno::Errno;

use crate::{effect::disk::EntryKind, id::Timestamp, resource::Owner};

mod calls;
mod crash;
mod disk;

pub(crate) use crash::{After, every_crash};

use calls::names;
use crash::{Fate, survivors};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process ends before the operation; nothing works any more, until [`SimDisk::reboot`].
    Crash,
    /// The operation fails, once.
    Error(Errno),
    /// From this operation on, nothing that takes room succeeds.
    Full,
}

type Entries = BTreeMap<String, usize>;
/// What one operation did to a directory: names that came (with their inode) and went.
type EntryChange = Vec<(String, Option<usize>)>;

#[derive(Debug, Clone)]
enum Node {
    File {
        now: Vec<u8>,
        synced: Vec<u8>,
    },
    Dir {
        now: Entries,
        synced: Entries,
        pending: Vec<EntryChange>,
    },
    Link(PathBuf),
    Special,
}

#[derive(Debug, Clone)]
struct Inode {
    node: Node,
    mode: u32,
    owner: Owner,
    modified: Timestamp,
}

#[derive(Debug)]
struct Inner {
    inodes: Vec<Inode>,
    now: Timestamp,
    identity: Owner,
    trace: Vec<String>,
    fault: Option<(usize, Fault)>,
    struck: bool,
    dead: bool,
    heeds_syncs: bool,
    temporaries: u64,
    unreadable: Vec<PathBuf>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct SimDisk(Mutex<Inner>);

const ROOT: usize = 0;

impl SimDisk {
    /// An empty disk with a root directory, owned by root, on 1 January 2026.
    pub(crate) fn new() -> Self {
        let owner = Owner { uid: 0, gid: 0 };
        let now = Timestamp::from_millis(1_767_225_600_000);
        Self(Mutex::new(Inner {
            inodes: vec![Inode {
                node: Node::directory(Entries::new()),
                mode: 0o755,
                owner,
                modified: now,
            }],
            now,
            identity: owner,
            trace: Vec::new(),
            fault: None,
            struck: false,
            dead: false,
            heeds_syncs: true,
            temporaries: 0,
            unreadable: Vec::new(),
        }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `fault` strike at the `at`-th operation from now, counted from 1.
    pub(crate) fn fail(&self, at: usize, fault: Fault) {
        let mut inner = self.inner();
        inner.fault = Some((inner.trace.len() + at, fault));
        inner.struck = false;
    }

    /// Lifts what [`SimDisk::fail`] set.
    pub(crate) fn heal(&self) {
        self.inner().fault = None;
    }

    /// Whether the fault was met.
    pub(crate) fn was_struck(&self) -> bool {
        self.inner().struck
    }

    /// Every operation so far that changes or syncs something, in words.
    pub(crate) fn trace(&self) -> Vec<String> {
        self.inner().trace.clone()
    }

    /// Lets every sync succeed and do nothing: the disk on which careful code must be seen to fail.
    pub(crate) fn ignore_syncs(&self) {
        self.inner().heeds_syncs = false;
    }

    /// Whom new files belong to from now on.
    pub(crate) fn become_user(&self, owner: Owner) {
        self.inner().identity = owner;
    }

    /// Makes reads of a path fail with `EIO`, as a bad sector does.
    pub(crate) fn make_unreadable(&self, path: &Path) {
        self.inner().unreadable.push(path.to_owned());
    }

    /// Puts a durable file there, with its directories, as another program would have.
    pub(crate) fn put(&self, path: &Path, bytes: &[u8], mode: u32, owner: Owner) {
        let file = Node::File {
            now: bytes.to_vec(),
            synced: bytes.to_vec(),
        };
        self.put_node(path, file, mode, owner);
    }

    /// Puts a durable pipe there.
    pub(crate) fn put_pipe(&self, path: &Path) {
        self.put_node(path, Node::Special, 0o600, Owner { uid: 0, gid: 0 });
    }

    /// Puts a durable symbolic link there.
    pub(crate) fn put_link(&self, path: &Path, target: &Path) {
        let owner = Owner { uid: 0, gid: 0 };
        self.put_node(path, Node::Link(target.to_owned()), 0o777, owner);
    }

    fn put_node(&self, path: &Path, node: Node, mode: u32, owner: Owner) {
        let mut inner = self.inner();
        let modified = inner.now;
        let mut dir = ROOT;
        let mut names = names(path).expect("an absolute path");
        let last = names.pop().expect("a name");
        for name in names {
            dir = match inner.entries(dir).expect("a directory").get(name) {
                Some(&at) => at,
                None => inner.add_durably(
                    dir,
                    name,
                    Inode {
                        node: Node::directory(Entries::new()),
                        mode: 0o755,
                        owner,
                        modified,
                    },
                ),
            };
        }
        inner.add_durably(
            dir,
            last,
            Inode {
                node,
                mode,
                owner,
                modified,
            },
        );
    }

    /// What is left after a crash: a disk without a fault, on which a new process may work.
    pub(crate) fn reboot(&self, after: After) -> Self {
        let inner = self.inner();
        let left = match after {
            // What was not synced still is not.
            After::Kill => inner.inodes.clone(),
            After::PowerCut(seed) => {
                let mut left = Vec::new();
                survivors(&inner.inodes, ROOT, &mut Fate::of(seed), &mut left);
                left
            }
        };
        Self(Mutex::new(Inner {
            inodes: left,
            now: inner.now,
            identity: inner.identity,
            trace: Vec::new(),
            fault: None,
            struck: false,
            dead: false,
            heeds_syncs: inner.heeds_syncs,
            temporaries: inner.temporaries,
            unreadable: inner.unreadable.clone(),
        }))
    }

    /// Every path with what it holds, for comparing two disks and for messages of tests.
    pub(crate) fn tree(&self) -> BTreeMap<PathBuf, String> {
        let inner = self.inner();
        let mut all = BTreeMap::new();
        let mut todo = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, at)) = todo.pop() {
            let inode = &inner.inodes[at];
            let text = match &inode.node {
                Node::File { now, .. } => String::from_utf8_lossy(now).into_owned(),
                Node::Link(target) => format!("-> {}", target.display()),
                Node::Special => "special".to_owned(),
                Node::Dir { now, .. } => {
                    todo.extend(now.iter().map(|(name, at)| (path.join(name), *at)));
                    "directory".to_owned()
                }
            };
            all.insert(path, format!("{:o} {text}", inode.mode));
        }
        all
    }
}

impl Node {
    fn directory(entries: Entries) -> Self {
        Self::Dir {
            synced: entries.clone(),
            now: entries,
            pending: Vec::new(),
        }
    }

    fn kind(&self) -> EntryKind {
        match self {
            Self::File { .. } => EntryKind::File,
            Self::Dir { .. } => EntryKind::Dir,
            Self::Link(_) => EntryKind::Link,
            Self::Special => EntryKind::Special,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::effect::disk::{Disk, Durability};

    const FILE: &str = "/d/file";

    fn begin() -> SimDisk {
        let disk = SimDisk::new();
        let root = Owner { uid: 0, gid: 0 };
        disk.put(Path::new(FILE), b"old", 0o600, root);
        disk
    }

    fn content(disk: &SimDisk) -> Option<Vec<u8>> {
        disk.read(Path::new(FILE), 100).unwrap().map(|f| f.bytes)
    }

    #[test]
    fn a_synced_write_is_old_or_new_and_survives_once_it_has_returned() {
        let story =
            |disk: &SimDisk| disk.write(Path::new(FILE), b"new", 0o600, None, Durability::Now);
        let points = every_crash(begin, story, |disk, told, point| {
            let found = content(disk).unwrap();
            assert!(found == b"old" || found == b"new", "{point}: {found:?}");
            assert!(told.is_err(), "{point}");
        });
        assert_eq!(points, 8, "open, three writes, chmod, sync, rename, sync");
        let disk = begin();
        story(&disk).unwrap();
        for after in After::ALL {
            assert_eq!(content(&disk.reboot(after)).unwrap(), b"new", "{after:?}");
        }
    }

    #[test]
    fn without_syncs_a_power_cut_leaves_an_empty_file_or_the_old_one() {
        let disk = begin();
        let path = Path::new(FILE);
        disk.write(path, b"new", 0o600, None, Durability::Batch)
            .unwrap();
        let left = |after| content(&disk.reboot(after)).unwrap();
        assert_eq!(left(After::Kill), b"new");
        assert_eq!(left(After::PowerCut(0)), b"old");
        assert_eq!(left(After::PowerCut(1)), b"", "renamed without its content");
        assert_eq!(left(After::PowerCut(2)), b"old");
        assert_eq!(left(After::PowerCut(3)), b"new");
        disk.sync_fs(path).unwrap();
        assert_eq!(left(After::PowerCut(0)), b"new");
    }

    #[test]
    fn a_directory_that_was_never_synced_takes_its_synced_files_with_it() {
        let disk = SimDisk::new();
        let (dir, file) = (Path::new("/a/b"), Path::new("/a/b/c"));
        disk.make_dir(dir, 0o700, None).unwrap();
        disk.write(file, b"x", 0o600, None, Durability::Now)
            .unwrap();
        assert!(disk.reboot(After::PowerCut(0)).stat(dir).unwrap().is_none());
        let killed = disk.reboot(After::Kill);
        assert!(killed.stat(file).unwrap().is_some());
        let left = killed.reboot(After::PowerCut(0));
        assert!(left.stat(dir).unwrap().is_none(), "a kill syncs nothing");
        disk.sync_fs(file).unwrap();
        assert!(
            disk.reboot(After::PowerCut(0))
                .stat(file)
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn a_full_disk_refuses_what_takes_room_and_leaves_no_temporary_file() {
        let (path, before) = (Path::new(FILE), begin().tree());
        for at in 1..=3 {
            let disk = begin();
            disk.fail(at, Fault::Full);
            let error = disk
                .write(path, b"new", 0o600, None, Durability::Now)
                .unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            assert_eq!(disk.tree(), before);
            disk.heal();
            disk.write(path, b"new", 0o600, None, Durability::Now)
                .unwrap();
        }
    }

    #[test]
    fn appended_bytes_survive_in_part_as_zeros_or_not_at_all() {
        let disk = begin();
        disk.append(Path::new(FILE), b"+tail", 0o600, Durability::Batch)
            .unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let left = content(&disk.reboot(After::PowerCut(seed))).unwrap();
            assert!(left.starts_with(b"old"), "{left:?}");
            seen.insert(left);
        }
        for expected in [
            &b"old"[..],
            b"old+tail",
            b"old+ta",
            b"old+t\0\0\0",
            b"old\0\0ail",
        ] {
            assert!(seen.contains(expected), "{expected:?} in {seen:?}");
        }
    }
}
