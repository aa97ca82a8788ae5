//! The simulated disk as a [`Disk`].

use std::{
    io,
    path::{Path, PathBuf},
};

use nix::errno::Errno;

use super::{
    Entries, Node, SimDisk,
    calls::{file_name, parent},
};
use crate::{
    effect::disk::{Disk, Durability, EntryKind, ReadFile, Stat},
    resource::Owner,
};

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
                size: match &inode.node {
                    Node::File { now, .. } => now.len() as u64,
                    Node::Dir { .. } | Node::Link(_) | Node::Special => 0,
                },
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
        if inner.inodes[at].node.kind() == EntryKind::Link {
            return Err(io::Error::other("it is a symbolic link"));
        }
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
