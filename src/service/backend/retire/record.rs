//! How it was before: a file for each service that took the place of something.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    rc::Rc,
};

use serde::{Deserialize, Serialize};

use crate::{
    effect::disk::{Disk, Durability, EntryKind},
    error::{Code, Error, Result},
    id::ResourceName,
    layout::Layout,
    service::adopt::id::Replaced,
};

/// The largest record that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// The version of a record that this binary writes and the newest that it reads.
const VERSION: u32 = 1;

/// How something was before it was retired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Prior {
    /// A timer.
    Timer(PriorTimer),
    /// A line, as it stood there.
    Line {
        /// The line.
        line: String,
    },
}

/// How a timer was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PriorTimer {
    /// Whether it was up.
    pub(super) active: bool,
    /// The links that enabled it, each with its target.
    pub(super) links: Vec<(PathBuf, PathBuf)>,
    /// Whether the distribution enables it where nobody else may, so that only a mask keeps it down.
    #[serde(default)]
    pub(super) masked: bool,
}

/// What a service took the place of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    /// What it holds the place of now.
    pub(super) held: Option<String>,
    /// How each was, by its name.
    pub(super) before: BTreeMap<String, Prior>,
    /// Whether the step that wrote it has not ended.
    #[serde(default)]
    pub(super) unsettled: bool,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            version: VERSION,
            held: None,
            before: BTreeMap::new(),
            unsettled: false,
        }
    }
}

/// The name in a record.
///
/// # Errors
/// `STATE_CORRUPT`.
pub(super) fn named(id: &str) -> Result<Replaced> {
    id.parse().map_err(|invalid: crate::id::Invalid| {
        Error::new(
            Code::StateCorrupt,
            "a record of what was replaced is damaged",
        )
        .because(invalid)
    })
}

/// All records of a project.
pub(super) struct Records {
    disk: Rc<dyn Disk>,
    layout: Layout,
}

impl Records {
    pub(super) fn new(disk: Rc<dyn Disk>, layout: Layout) -> Self {
        Self { disk, layout }
    }

    /// The services that have one.
    pub(super) fn names(&self) -> Result<BTreeSet<ResourceName>> {
        let dir = self.layout.replaced_dir();
        let listed = self.disk.list(&dir);
        let listed = listed.map_err(|error| Error::io("list", &dir, error))?;
        let named = listed.into_iter().filter_map(|(file, kind)| {
            let name = file
                .strip_suffix(".json")
                .filter(|_| kind == EntryKind::File)?;
            name.parse().ok()
        });
        Ok(named.collect())
    }

    pub(super) fn read(&self, name: &ResourceName) -> Result<Option<Record>> {
        let path = self.layout.replaced(name);
        let read = self.disk.read(&path, LIMIT);
        let Some(read) = read.map_err(|error| Error::io("read", &path, error))? else {
            return Ok(None);
        };
        let record: Record =
            serde_json::from_slice(&read.bytes).map_err(|error| damaged(&path).because(error))?;
        if record.version > VERSION {
            let message = format!("{} is of a newer lorectl", path.display());
            return Err(Error::new(Code::StateNewer, message));
        }
        Ok(Some(record))
    }

    /// Writes one; it survives a power failure once [`Self::sync`] is done.
    pub(super) fn write(&self, name: &ResourceName, record: &Record) -> Result<()> {
        let (dir, path) = (self.layout.replaced_dir(), self.layout.replaced(name));
        let make = self.disk.make_dir(&dir, 0o700, None);
        make.map_err(|error| Error::io("make the directory", &dir, error))?;
        let mut bytes = serde_json::to_vec_pretty(record).map_err(|error| {
            Error::new(Code::Internal, "a record cannot be written").because(error)
        })?;
        bytes.push(b'\n');
        (self
            .disk
            .write(&path, &bytes, 0o600, None, Durability::Batch))
        .map_err(|error| Error::io("write", &path, error))
    }

    pub(super) fn remove(&self, name: &ResourceName) -> Result<()> {
        let path = self.layout.replaced(name);
        let gone = self.disk.remove(&path);
        gone.map(drop)
            .map_err(|error| Error::io("remove", &path, error))
    }

    /// Makes what was written survive a power failure.
    pub(super) fn sync(&self) -> Result<()> {
        let dir = self.layout.replaced_dir();
        let there = self.disk.stat(&dir);
        if there
            .map_err(|error| Error::io("look at", &dir, error))?
            .is_none()
        {
            return Ok(());
        }
        (self.disk.sync_fs(&dir)).map_err(|error| Error::io("sync the file system of", &dir, error))
    }

    /// Whether the service is there.
    pub(super) fn has_service(&self, name: &ResourceName) -> Result<bool> {
        let path = self.layout.run_file(name);
        let stat = self.disk.stat(&path);
        Ok(stat
            .map_err(|error| Error::io("look at", &path, error))?
            .is_some())
    }
}

fn damaged(path: &Path) -> Error {
    Error::new(
        Code::StateCorrupt,
        format!("{} is not what lorectl wrote", path.display()),
    )
    .suggest("move it away; then how what the service replaces was before is not known any more")
}
