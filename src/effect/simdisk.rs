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
    io,
    path::{Component, Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::errno::Errno;

use crate::{
    effect::disk::{Disk, Durability, EntryKind, ReadFile, Stat, TEMPORARY},
    id::Timestamp,
    resource::Owner,
};

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

/// What the crash was, and so what it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// `kill -9`: the kernel lives on, and all that was written is there.
    Kill,
    /// The power went. Seeds 0 to 3 are the corners: nothing unsynced is left; names without their
    /// content; content without its names; everything. Others mix them at random.
    PowerCut(u64),
}

impl After {
    /// A kill, the corners of a power cut, and four mixtures.
    pub(crate) const ALL: [Self; 9] = [
        Self::Kill,
        Self::PowerCut(0),
        Self::PowerCut(1),
        Self::PowerCut(2),
        Self::PowerCut(3),
        Self::PowerCut(4),
        Self::PowerCut(5),
        Self::PowerCut(6),
        Self::PowerCut(7),
    ];
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
        let mut fate = Fate::of(after);
        let mut left = Vec::new();
        survivors(&inner.inodes, ROOT, &mut fate, &mut left);
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

/// A point at which a story was ended, and how.
#[derive(Debug, Clone)]
pub(crate) struct CrashPoint {
    /// The operation before which it was, counted from 1.
    pub(crate) at: usize,
    /// That operation, in words.
    pub(crate) operation: String,
    /// How it ended.
    pub(crate) after: After,
}

impl std::fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            at,
            operation,
            after,
        } = self;
        write!(f, "{after:?} before operation {at}, {operation}")
    }
}

/// Ends `story` before each of its operations, in each manner, and shows `check` what is left.
///
/// `story` starts on a new disk of `begin` each time and must do the same each time; what it
/// returns is for `check`, which learns with it what the process had been told before it died.
/// Returns how many points there were, for the test to see that it tested something.
pub(crate) fn every_crash<T>(
    begin: impl Fn() -> SimDisk,
    story: impl Fn(&SimDisk) -> T,
    mut check: impl FnMut(&SimDisk, &T, &CrashPoint),
) -> usize {
    let whole = begin();
    let before = whole.trace().len();
    story(&whole);
    let trace = whole.trace().split_off(before);
    for (index, operation) in trace.iter().enumerate() {
        let disk = begin();
        disk.fail(index + 1, Fault::Crash);
        let told = story(&disk);
        assert!(disk.was_struck(), "{operation} was not reached again");
        for after in After::ALL {
            let point = CrashPoint {
                at: index + 1,
                operation: operation.clone(),
                after,
            };
            check(&disk.reboot(after), &told, &point);
        }
    }
    trace.len()
}

/// Draws what becomes of each unsynced thing.
enum Fate {
    Kill,
    Corner { names: bool, content: bool },
    Random(u64),
}

impl Fate {
    fn of(after: After) -> Self {
        match after {
            After::Kill => Self::Kill,
            After::PowerCut(corner @ 0..4) => Self::Corner {
                names: corner & 1 != 0,
                content: corner & 2 != 0,
            },
            After::PowerCut(seed) => Self::Random(seed),
        }
    }

    /// A number below `bound`, by splitmix64.
    fn draw(seed: &mut u64, bound: usize) -> usize {
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from((z ^ (z >> 31)) % bound).unwrap_or(0)
    }

    fn content(&mut self, now: &[u8], synced: &[u8]) -> Vec<u8> {
        match self {
            Self::Kill | Self::Corner { content: true, .. } => now.to_vec(),
            Self::Corner { content: false, .. } => synced.to_vec(),
            Self::Random(seed) => {
                let kept = if now.starts_with(synced) {
                    synced.len()
                } else {
                    0
                };
                let cut = kept + Self::draw(seed, now.len() - kept + 1);
                match Self::draw(seed, 4) {
                    0 => synced.to_vec(),
                    1 => now[..cut].to_vec(),
                    // The length reached the disk and the last blocks did not.
                    2 => {
                        let mut bytes = now.to_vec();
                        bytes[cut..].fill(0);
                        bytes
                    }
                    // The last blocks reached it and some before them did not.
                    _ => {
                        let mut bytes = now.to_vec();
                        bytes[kept..cut].fill(0);
                        bytes
                    }
                }
            }
        }
    }

    fn entries(&mut self, now: &Entries, synced: &Entries, pending: &[EntryChange]) -> Entries {
        let count = match self {
            Self::Kill => return now.clone(),
            Self::Corner { names: true, .. } => pending.len(),
            Self::Corner { names: false, .. } => 0,
            Self::Random(seed) => Self::draw(seed, pending.len() + 1),
        };
        let mut entries = synced.clone();
        for (name, inode) in pending.iter().take(count).flatten() {
            match inode {
                Some(at) => entries.insert(name.clone(), *at),
                None => entries.remove(name),
            };
        }
        entries
    }
}

/// Copies what is left of an inode, and of all below it, to `left`; returns its new number.
fn survivors(inodes: &[Inode], at: usize, fate: &mut Fate, left: &mut Vec<Inode>) -> usize {
    let inode = &inodes[at];
    let to = left.len();
    left.push(inode.clone());
    match &inode.node {
        Node::File { now, synced } => {
            let bytes = fate.content(now, synced);
            left[to].node = Node::File {
                now: bytes.clone(),
                synced: bytes,
            };
        }
        Node::Dir {
            now,
            synced,
            pending,
        } => {
            let entries = fate
                .entries(now, synced, pending)
                .into_iter()
                .map(|(name, child)| (name, survivors(inodes, child, fate, left)))
                .collect();
            left[to].node = Node::directory(entries);
        }
        Node::Link(_) | Node::Special => {}
    }
    to
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

fn names(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir => {}
            Component::Normal(name) => {
                names.push(
                    name.to_str()
                        .ok_or_else(|| io::Error::from(Errno::EILSEQ))?,
                );
            }
            Component::Prefix(_) | Component::CurDir | Component::ParentDir => {
                return Err(io::Error::other("the simulated disk takes plain paths"));
            }
        }
    }
    if !path.is_absolute() {
        return Err(io::Error::other("the simulated disk takes absolute paths"));
    }
    Ok(names)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn dead() -> io::Error {
    io::Error::other("the simulated process has ended")
}

impl Inner {
    /// One system call that changes or syncs something.
    fn operate(&mut self, name: &str, path: &Path, takes_room: bool) -> io::Result<()> {
        if self.dead {
            return Err(dead());
        }
        self.trace.push(format!("{name} {}", path.display()));
        let Some((at, fault)) = self.fault else {
            return Ok(());
        };
        let here = self.trace.len();
        let error = match fault {
            Fault::Crash if here == at => {
                self.dead = true;
                dead()
            }
            Fault::Error(errno) if here == at => errno.into(),
            Fault::Full if here >= at && takes_room => Errno::ENOSPC.into(),
            Fault::Crash | Fault::Error(_) | Fault::Full => return Ok(()),
        };
        self.struck = true;
        Err(error)
    }

    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(dead()) } else { Ok(()) }
    }

    fn entries(&self, dir: usize) -> io::Result<&Entries> {
        match &self.inodes[dir].node {
            Node::Dir { now, .. } => Ok(now),
            Node::File { .. } | Node::Link(_) | Node::Special => Err(Errno::ENOTDIR.into()),
        }
    }

    fn find(&self, path: &Path) -> io::Result<Option<usize>> {
        let mut at = ROOT;
        for name in names(path)? {
            match self.entries(at) {
                Ok(entries) => match entries.get(name) {
                    Some(&child) => at = child,
                    None => return Ok(None),
                },
                Err(_) => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    fn directory(&self, path: &Path) -> io::Result<usize> {
        let at = self.find(path)?.ok_or(Errno::ENOENT)?;
        self.entries(at)?;
        Ok(at)
    }

    fn change(&mut self, dir: usize, changes: EntryChange) {
        let modified = self.now;
        let inode = &mut self.inodes[dir];
        inode.modified = modified;
        if let Node::Dir { now, pending, .. } = &mut inode.node {
            for (name, at) in &changes {
                match at {
                    Some(at) => now.insert(name.clone(), *at),
                    None => now.remove(name),
                };
            }
            pending.push(changes);
        }
    }

    fn add(&mut self, inode: Inode) -> usize {
        self.inodes.push(inode);
        self.inodes.len() - 1
    }

    fn add_durably(&mut self, dir: usize, name: &str, inode: Inode) -> usize {
        let at = self.add(inode);
        self.change(dir, vec![(name.to_owned(), Some(at))]);
        self.settle(dir);
        at
    }

    /// Makes what an inode holds durable.
    fn settle(&mut self, at: usize) {
        match &mut self.inodes[at].node {
            Node::File { now, synced } => synced.clone_from(now),
            Node::Dir {
                now,
                synced,
                pending,
            } => {
                synced.clone_from(now);
                pending.clear();
            }
            Node::Link(_) | Node::Special => {}
        }
    }

    fn sync(&mut self, call: &str, path: &Path, at: usize) -> io::Result<()> {
        self.operate(call, path, false)?;
        if self.heeds_syncs {
            self.settle(at);
        }
        Ok(())
    }

    fn new_inode(&mut self, node: Node, mode: u32) -> usize {
        let (owner, modified) = (self.identity, self.now);
        self.add(Inode {
            node,
            mode,
            owner,
            modified,
        })
    }

    fn temporary(&mut self, dir: &Path) -> (String, PathBuf) {
        self.temporaries += 1;
        let (prefix, suffix) = TEMPORARY;
        let name = format!("{prefix}{:016x}{suffix}", self.temporaries);
        let path = dir.join(&name);
        (name, path)
    }

    fn create_file(&mut self, dir: usize, path: &Path, mode: u32) -> io::Result<usize> {
        self.operate("open", path, true)?;
        let empty = Node::File {
            now: Vec::new(),
            synced: Vec::new(),
        };
        let at = self.new_inode(empty, mode);
        self.change(dir, vec![(file_name(path)?, Some(at))]);
        Ok(at)
    }

    /// Writes in three calls, so that a fault can strike with a part written.
    fn write_bytes(&mut self, path: &Path, at: usize, bytes: &[u8]) -> io::Result<()> {
        let piece = bytes.len().div_ceil(3).max(1);
        for part in bytes.chunks(piece) {
            self.operate("write", path, true)?;
            let modified = self.now;
            let inode = &mut self.inodes[at];
            inode.modified = modified;
            if let Node::File { now, .. } = &mut inode.node {
                now.extend_from_slice(part);
            }
        }
        Ok(())
    }

    fn remove_entry(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.directory(parent(path))?;
        self.operate("unlink", path, false)?;
        self.change(dir, vec![(file_name(path)?, None)]);
        Ok(())
    }

    fn write_whole(
        &mut self,
        path: &Path,
        bytes: &[u8],
        mode: u32,
        owner: Option<Owner>,
        durability: Durability,
        temporary: &Path,
    ) -> io::Result<usize> {
        let dir = self.directory(parent(path))?;
        let at = self.create_file(dir, temporary, 0o600)?;
        self.write_bytes(temporary, at, bytes)?;
        if let Some(owner) = owner
            && self.inodes[at].owner != owner
        {
            self.operate("fchown", temporary, false)?;
            self.inodes[at].owner = owner;
        }
        self.operate("fchmod", temporary, false)?;
        self.inodes[at].mode = mode;
        if durability == Durability::Now {
            self.sync("fsync", temporary, at)?;
        }
        if let Some(there) = self.find(path)?
            && matches!(self.inodes[there].node, Node::Dir { .. })
        {
            return Err(Errno::EISDIR.into());
        }
        self.operate("rename", path, false)?;
        self.change(
            dir,
            vec![(file_name(temporary)?, None), (file_name(path)?, Some(at))],
        );
        Ok(dir)
    }

    fn remove_below(&mut self, path: &Path, at: usize) -> io::Result<()> {
        if let Node::Dir { now, .. } = &self.inodes[at].node {
            for (name, child) in now.clone() {
                self.remove_below(&path.join(name), child)?;
            }
        }
        self.remove_entry(path)
    }
}

fn file_name(path: &Path) -> io::Result<String> {
    path.file_name()
        .and_then(|name| name.to_str())
        .map(ToOwned::to_owned)
        .ok_or_else(|| Errno::EINVAL.into())
}

impl Disk for SimDisk {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Option<ReadFile>> {
        let inner = self.inner();
        inner.alive()?;
        let Some(at) = inner.find(path)? else {
            return Ok(None);
        };
        if inner.unreadable.iter().any(|bad| bad == path) {
            return Err(Errno::EIO.into());
        }
        let inode = &inner.inodes[at];
        let Node::File { now, .. } = &inode.node else {
            return Err(io::Error::other("it is not a regular file"));
        };
        if now.len() as u64 > limit {
            return Err(io::Error::other(format!("it is larger than {limit} bytes")));
        }
        Ok(Some(ReadFile {
            bytes: now.clone(),
            mode: inode.mode,
            owner: inode.owner,
            modified: inode.modified,
        }))
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let inner = self.inner();
        inner.alive()?;
        Ok(inner.find(path)?.map(|at| {
            let inode = &inner.inodes[at];
            Stat {
                kind: inode.node.kind(),
                mode: inode.mode,
                owner: inode.owner,
                modified: inode.modified,
            }
        }))
    }

    fn write(
        &self,
        path: &Path,
        bytes: &[u8],
        mode: u32,
        owner: Option<Owner>,
        durability: Durability,
    ) -> io::Result<()> {
        let mut inner = self.inner();
        let (_, temporary) = inner.temporary(parent(path));
        match inner.write_whole(path, bytes, mode, owner, durability, &temporary) {
            Ok(dir) => match durability {
                Durability::Now => inner.sync("fsync", parent(path), dir),
                Durability::Batch => Ok(()),
            },
            Err(error) => {
                if let Ok(Some(_)) = inner.find(&temporary) {
                    let _ = inner.remove_entry(&temporary);
                }
                Err(error)
            }
        }
    }

    fn append(
        &self,
        path: &Path,
        bytes: &[u8],
        mode: u32,
        durability: Durability,
    ) -> io::Result<()> {
        let mut inner = self.inner();
        inner.alive()?;
        let dir = inner.directory(parent(path))?;
        let (at, existed) = match inner.find(path)? {
            Some(at) => (at, true),
            None => (inner.create_file(dir, path, mode)?, false),
        };
        match &inner.inodes[at].node {
            Node::File { .. } => {}
            Node::Dir { .. } => return Err(Errno::EISDIR.into()),
            Node::Link(_) => return Err(Errno::ELOOP.into()),
            Node::Special => return Err(Errno::ENXIO.into()),
        }
        inner.write_bytes(path, at, bytes)?;
        if durability == Durability::Now {
            inner.sync("fdatasync", path, at)?;
            if !existed {
                inner.sync("fsync", parent(path), dir)?;
            }
        }
        Ok(())
    }

    fn make_dir(&self, path: &Path, mode: u32, owner: Option<Owner>) -> io::Result<()> {
        let mut inner = self.inner();
        inner.alive()?;
        let mut missing = Vec::new();
        let mut above = path;
        while inner.find(above)?.is_none() {
            missing.push(above);
            above = parent(above);
        }
        inner.directory(above)?;
        for dir in missing.into_iter().rev() {
            let within = inner.directory(parent(dir))?;
            inner.operate("mkdir", dir, true)?;
            let new = inner.new_inode(Node::directory(Entries::new()), 0o755);
            inner.change(within, vec![(file_name(dir)?, Some(new))]);
        }
        let at = inner.directory(path)?;
        if let Some(owner) = owner
            && inner.inodes[at].owner != owner
        {
            inner.operate("lchown", path, false)?;
            inner.inodes[at].owner = owner;
        }
        if inner.inodes[at].mode != mode {
            inner.operate("chmod", path, false)?;
            inner.inodes[at].mode = mode;
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(String, EntryKind)>> {
        let inner = self.inner();
        inner.alive()?;
        let Some(at) = inner.find(path)? else {
            return Ok(Vec::new());
        };
        // As the real one does: what is no directory has no entries.
        let Ok(entries) = inner.entries(at) else {
            return Ok(Vec::new());
        };
        Ok(entries
            .iter()
            .map(|(name, at)| (name.clone(), inner.inodes[*at].node.kind()))
            .collect())
    }

    fn link(&self, target: &Path, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.alive()?;
        let dir = inner.directory(parent(path))?;
        let (name, temporary) = inner.temporary(parent(path));
        inner.operate("symlink", &temporary, true)?;
        let at = inner.new_inode(Node::Link(target.to_owned()), 0o777);
        inner.change(dir, vec![(name.clone(), Some(at))]);
        if let Err(error) = inner.operate("rename", path, false) {
            let _ = inner.remove_entry(&temporary);
            return Err(error);
        }
        inner.change(dir, vec![(name, None), (file_name(path)?, Some(at))]);
        Ok(())
    }

    fn read_link(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let inner = self.inner();
        inner.alive()?;
        Ok(inner
            .find(path)?
            .and_then(|at| match &inner.inodes[at].node {
                Node::Link(target) => Some(target.clone()),
                Node::File { .. } | Node::Dir { .. } | Node::Special => None,
            }))
    }

    fn remove(&self, path: &Path) -> io::Result<bool> {
        let mut inner = self.inner();
        inner.alive()?;
        let Some(at) = inner.find(path)? else {
            return Ok(false);
        };
        if matches!(inner.inodes[at].node, Node::Dir { .. }) {
            return Err(Errno::EISDIR.into());
        }
        inner.remove_entry(path).map(|()| true)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<bool> {
        let mut inner = self.inner();
        inner.alive()?;
        let Some(at) = inner.find(path)? else {
            return Ok(false);
        };
        if !inner.entries(at)?.is_empty() {
            return Ok(false);
        }
        inner.remove_entry(path).map(|()| true)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<bool> {
        let mut inner = self.inner();
        inner.alive()?;
        let Some(at) = inner.find(path)? else {
            return Ok(false);
        };
        inner.entries(at)?;
        inner.remove_below(path, at).map(|()| true)
    }

    fn sync_fs(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.alive()?;
        inner.find(path)?.ok_or(Errno::ENOENT)?;
        inner.operate("syncfs", path, false)?;
        if inner.heeds_syncs {
            for at in 0..inner.inodes.len() {
                inner.settle(at);
            }
        }
        Ok(())
    }

    fn identity(&self) -> Owner {
        self.inner().identity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
