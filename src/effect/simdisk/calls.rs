//! The system calls of the simulated disk, each of which a fault can strike.

use std::{
    io,
    path::{Component, Path, PathBuf},
};

use nix::errno::Errno;

use super::{Entries, EntryChange, Fault, Inner, Inode, Node, ROOT};
use crate::{
    effect::disk::{Durability, TEMPORARY},
    resource::Owner,
};

pub(super) fn names(path: &Path) -> io::Result<Vec<&str>> {
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

pub(super) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn dead() -> io::Error {
    io::Error::other("the simulated process has ended")
}

impl Inner {
    /// One system call that changes or syncs something.
    pub(super) fn operate(&mut self, name: &str, path: &Path, takes_room: bool) -> io::Result<()> {
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

    pub(super) fn alive(&self) -> io::Result<()> {
        if self.dead { Err(dead()) } else { Ok(()) }
    }

    pub(super) fn entries(&self, dir: usize) -> io::Result<&Entries> {
        match &self.inodes[dir].node {
            Node::Dir { now, .. } => Ok(now),
            Node::File { .. } | Node::Link(_) | Node::Special => Err(Errno::ENOTDIR.into()),
        }
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<Option<usize>> {
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

    pub(super) fn directory(&self, path: &Path) -> io::Result<usize> {
        let at = self.find(path)?.ok_or(Errno::ENOENT)?;
        self.entries(at)?;
        Ok(at)
    }

    pub(super) fn change(&mut self, dir: usize, changes: EntryChange) {
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

    pub(super) fn add(&mut self, inode: Inode) -> usize {
        self.inodes.push(inode);
        self.inodes.len() - 1
    }

    pub(super) fn add_durably(&mut self, dir: usize, name: &str, inode: Inode) -> usize {
        let at = self.add(inode);
        self.change(dir, vec![(name.to_owned(), Some(at))]);
        self.settle(dir);
        at
    }

    /// Makes what an inode holds durable.
    pub(super) fn settle(&mut self, at: usize) {
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

    pub(super) fn sync(&mut self, call: &str, path: &Path, at: usize) -> io::Result<()> {
        self.operate(call, path, false)?;
        if self.heeds_syncs {
            self.settle(at);
        }
        Ok(())
    }

    pub(super) fn new_inode(&mut self, node: Node, mode: u32) -> usize {
        let (owner, modified) = (self.identity, self.now);
        self.add(Inode {
            node,
            mode,
            owner,
            modified,
        })
    }

    pub(super) fn temporary(&mut self, dir: &Path) -> (String, PathBuf) {
        self.temporaries += 1;
        let (prefix, suffix) = TEMPORARY;
        let name = format!("{prefix}{:016x}{suffix}", self.temporaries);
        let path = dir.join(&name);
        (name, path)
    }

    pub(super) fn create_file(&mut self, dir: usize, path: &Path, mode: u32) -> io::Result<usize> {
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
    pub(super) fn write_bytes(&mut self, path: &Path, at: usize, bytes: &[u8]) -> io::Result<()> {
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

    pub(super) fn remove_entry(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.directory(parent(path))?;
        self.operate("unlink", path, false)?;
        self.change(dir, vec![(file_name(path)?, None)]);
        Ok(())
    }

    pub(super) fn write_whole(
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

    pub(super) fn remove_below(&mut self, path: &Path, at: usize) -> io::Result<()> {
        if let Node::Dir { now, .. } = &self.inodes[at].node {
            for (name, child) in now.clone() {
                self.remove_below(&path.join(name), child)?;
            }
        }
        self.remove_entry(path)
    }
}

pub(super) fn file_name(path: &Path) -> io::Result<String> {
    path.file_name()
        .and_then(|name| name.to_str())
        .map(ToOwned::to_owned)
        .ok_or_else(|| Errno::EINVAL.into())
}
