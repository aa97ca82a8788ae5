//! A directory as it is: to hold two of them against each other.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Dir,
    File(Vec<u8>),
    Link(PathBuf),
    Pipe,
}

/// What is at a path, and when and in which file it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    content: Content,
    mode: u32,
    owner: (u32, u32),
    inode: u64,
    modified: (i64, i64),
}

/// Everything under a directory, itself included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree(BTreeMap<PathBuf, Entry>);

impl Tree {
    /// Reads it.
    pub fn of(root: &Path) -> Self {
        let mut entries = BTreeMap::new();
        let mut open = vec![root.to_owned()];
        while let Some(path) = open.pop() {
            let stat = fs::symlink_metadata(&path).unwrap();
            let kind = stat.file_type();
            let content = if kind.is_dir() {
                open.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
                Content::Dir
            } else if kind.is_symlink() {
                Content::Link(fs::read_link(&path).unwrap())
            } else if kind.is_fifo() {
                Content::Pipe
            } else {
                Content::File(fs::read(&path).unwrap())
            };
            let entry = Entry {
                content,
                mode: stat.mode(),
                owner: (stat.uid(), stat.gid()),
                inode: stat.ino(),
                modified: (stat.mtime(), stat.mtime_nsec()),
            };
            entries.insert(path.strip_prefix(root).unwrap().to_owned(), entry);
        }
        Self(entries)
    }

    /// Nothing was written in between: not even the same bytes again, nor a file that is gone by now.
    #[track_caller]
    pub fn is_untouched_since(&self, before: &Self) {
        self.same(before, Entry::clone);
    }

    /// As [`Tree::is_untouched_since`]; a lock may have been taken in between, and its holder named in it.
    #[track_caller]
    pub fn is_untouched_but_for_locks_since(&self, before: &Self) {
        let quiet = |tree: &Self| {
            let mut tree = tree.clone();
            for (path, entry) in &mut tree.0 {
                if path.ends_with("lock") {
                    entry.modified = (0, 0);
                }
            }
            tree
        };
        quiet(self).is_untouched_since(&quiet(before));
    }

    /// The same files with the same bytes and rights, however they came to be.
    #[track_caller]
    pub fn is_equal_to(&self, other: &Self) {
        self.same(other, |e| (e.content.clone(), e.mode, e.owner));
    }

    #[track_caller]
    fn same<T: PartialEq>(&self, other: &Self, of: impl Fn(&Entry) -> T) {
        let paths = self.0.keys().chain(other.0.keys());
        let differing: Vec<String> = paths
            .filter(|path| self.0.get(*path).map(&of) != other.0.get(*path).map(&of))
            .map(|path| {
                let state = |tree: &Self| match tree.0.get(path).map(|e| &e.content) {
                    None => "nothing".to_owned(),
                    Some(Content::File(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
                    Some(other) => format!("{other:?}"),
                };
                format!("{}: {} → {}", path.display(), state(other), state(self))
            })
            .collect();
        assert!(differing.is_empty(), "{differing:#?}");
    }

    /// The same without what is at these paths and below them.
    pub fn without(mut self, paths: &[&str]) -> Self {
        self.0
            .retain(|path, _| !paths.iter().any(|left_out| path.starts_with(left_out)));
        self
    }

    /// Its paths with their permission bits.
    pub fn modes(&self) -> Vec<(String, u32)> {
        let modes = (self.0.iter()).map(|(p, e)| (p.display().to_string(), e.mode & 0o7777));
        modes.collect()
    }

    /// Its paths, in order.
    pub fn paths(&self) -> Vec<String> {
        self.0.keys().map(|p| p.display().to_string()).collect()
    }
}
