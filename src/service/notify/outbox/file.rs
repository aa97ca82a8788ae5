//! `outbox.json` on the disk.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{OUTBOX_VERSION, Outbox};
use crate::{
    effect::{
        disk::{Disk, Durability},
        lock::Lock,
        untrusted::Dir,
    },
    id::{ResourceName, Timestamp},
    layout::Layout,
};

/// The file's name in `data/`.
const FILE: &str = "outbox.json";

/// The largest that is read: more than the most that waits can take.
const LIMIT: u64 = 1 << 20;

/// How long a writer waits for another.
const PATIENCE: Duration = Duration::from_secs(2);

/// What stands in the place of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// An outbox; an empty one where there is no file.
    Good(Outbox),
    /// Something that is none, and why not.
    Damaged(String),
    /// One of a newer version.
    Newer(u32),
}

/// Where the outbox of a service is.
pub fn path(layout: &Layout, name: &ResourceName) -> PathBuf {
    layout.data(name).join(FILE)
}

/// Held by whoever sends what waits.
pub fn delivery_lock(layout: &Layout, name: &ResourceName) -> PathBuf {
    layout.data(name).join("outbox.lock")
}

/// Reads the outbox of a service; changes nothing.
pub fn read(disk: &dyn Disk, layout: &Layout, name: &ResourceName) -> Stored {
    match disk.read(&path(layout, name), LIMIT) {
        Ok(Some(file)) => parse(&file.bytes),
        Ok(None) => Stored::Good(Outbox::default()),
        Err(error) => Stored::Damaged(error.to_string()),
    }
}

fn parse(bytes: &[u8]) -> Stored {
    #[derive(serde::Deserialize)]
    struct Version {
        outbox_version: u32,
    }
    let version = match serde_json::from_slice::<Version>(bytes) {
        Ok(version) => version.outbox_version,
        Err(error) => return Stored::Damaged(error.to_string()),
    };
    match version {
        0 => Stored::Damaged("there is no version 0".to_owned()),
        1..=OUTBOX_VERSION => match serde_json::from_slice(bytes) {
            Ok(outbox) => Stored::Good(outbox),
            Err(error) => Stored::Damaged(error.to_string()),
        },
        newer => Stored::Newer(newer),
    }
}

/// The outbox of a service: what to change it with.
#[derive(Clone, Copy)]
pub struct Writer<'a> {
    /// The disk.
    pub disk: &'a dyn Disk,
    /// Where.
    pub layout: &'a Layout,
    /// Whose.
    pub name: &'a ResourceName,
}

/// What an update came to.
#[derive(Debug)]
pub struct Updated {
    /// The outbox as it is now.
    pub outbox: Outbox,
    /// Whether it is on the disk.
    pub kept: bool,
    /// What was in the way, in sentences.
    pub warnings: Vec<String>,
}

impl Writer<'_> {
    /// Reads, changes and durably writes the outbox, with other writers kept out. It never fails: what
    /// cannot be kept is in what it returns, to be told at once.
    ///
    /// A damaged one is set aside, a newer one left alone.
    pub async fn update(&self, now: Timestamp, change: impl FnOnce(&mut Outbox)) -> Updated {
        let data = self.layout.data(self.name);
        let mut updated = Updated {
            outbox: Outbox::default(),
            kept: true,
            warnings: Vec::new(),
        };
        let lock = Lock::take_dir(&data, PATIENCE).await;
        let why = match &lock {
            Ok(Some(_)) => None,
            Ok(None) => Some("another holds its lock".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        match read(self.disk, self.layout, self.name) {
            Stored::Good(outbox) => updated.outbox = outbox,
            Stored::Damaged(why) => match set_aside(&data, now) {
                Ok(aside) => updated.warnings.push(format!(
                    "the outbox was damaged ({why}) and was set aside as {aside}; what waited there is not told"
                )),
                Err(error) => updated.refuse(&error.to_string()),
            },
            Stored::Newer(version) => updated.refuse(&format!(
                "it has version {version}, newer than this lorectl reads"
            )),
        }
        if let Some(why) = why {
            updated.refuse(&why);
        }
        let before = updated.outbox.clone();
        change(&mut updated.outbox);
        if updated.kept
            && updated.outbox != before
            && let Err(error) = self.write(&data, &updated.outbox)
        {
            updated.refuse(&error.to_string());
        }
        updated
    }

    fn write(&self, data: &Path, outbox: &Outbox) -> io::Result<()> {
        let path = data.join(FILE);
        if outbox.is_empty() {
            // After a crash the old one may be there again: what it holds is then sent twice.
            return self.disk.remove(&path).map(|_| ());
        }
        let mut text = serde_json::to_vec(outbox)?;
        text.push(b'\n');
        let owner = self.disk.stat(data)?.map(|stat| stat.owner);
        self.disk.write(&path, &text, 0o600, owner, Durability::Now)
    }
}

impl Updated {
    fn refuse(&mut self, why: &str) {
        self.kept = false;
        self.warnings.push(format!(
            "the outbox could not be written ({why}): what is not delivered at once is not told"
        ));
    }
}

fn set_aside(data: &Path, now: Timestamp) -> io::Result<String> {
    let dir = Dir::open(data)?.ok_or(io::ErrorKind::NotFound)?;
    let aside = format!("{FILE}.damaged-{}", now.millis());
    dir.rename(FILE, &aside)?;
    Ok(aside)
}
