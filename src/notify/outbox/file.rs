//! `outbox.json` on the disk.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{super::Letter, OUTBOX_VERSION, Outbox};
use crate::{
    effect::{
        disk::{self, Disk, Durability},
        lock::Lock,
        untrusted::Dir,
    },
    id::Timestamp,
};

/// The file's name in its directory.
pub const FILE: &str = "outbox.json";

/// The largest that is read: more than the most that waits can take.
const LIMIT: u64 = 1 << 20;

/// How long a writer waits for another.
const PATIENCE: Duration = Duration::from_secs(2);

/// What stands in the place of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored<M: Letter> {
    /// An outbox; an empty one where there is no file.
    Good(Outbox<M>),
    /// Something that is none, and why not.
    Damaged(String),
    /// One of a newer version.
    Newer(u32),
}

/// Where the outbox of a directory is.
pub fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// Held by whoever sends what waits.
pub fn delivery_lock(dir: &Path) -> PathBuf {
    dir.join("outbox.lock")
}

/// Reads the outbox of a directory; changes nothing.
pub fn read<M: Letter>(disk: &dyn Disk, dir: &Path) -> Stored<M> {
    match disk.read(&path(dir), LIMIT) {
        Ok(Some(file)) => parse(&file.bytes),
        Ok(None) => Stored::Good(Outbox::default()),
        Err(error) => Stored::Damaged(error.to_string()),
    }
}

fn parse<M: Letter>(bytes: &[u8]) -> Stored<M> {
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

/// An outbox: what to change it with.
#[derive(Clone, Copy)]
pub struct Writer<'a> {
    /// The disk.
    pub disk: &'a dyn Disk,
    /// The directory that it is in, which must be there. Its owner is the file's.
    pub dir: &'a Path,
    /// When what it writes is to be on the disk: at once, where anything waits.
    pub durability: Durability,
}

/// What an update came to.
#[derive(Debug)]
pub struct Updated<M: Letter> {
    /// The outbox as it is now.
    pub outbox: Outbox<M>,
    /// Whether it is on the disk.
    pub kept: bool,
    /// What was in the way, in sentences.
    pub warnings: Vec<String>,
}

impl Writer<'_> {
    /// Reads, changes and writes the outbox, with other writers kept out. It never fails: what
    /// cannot be kept is in what it returns, to be told at once.
    ///
    /// A damaged one is set aside, a newer one left alone.
    pub async fn update<M: Letter>(
        &self,
        now: Timestamp,
        change: impl FnOnce(&mut Outbox<M>),
    ) -> Updated<M> {
        let mut updated = Updated {
            outbox: Outbox::default(),
            kept: true,
            warnings: Vec::new(),
        };
        let lock = Lock::take_dir(self.dir, PATIENCE).await;
        let why = match &lock {
            Ok(Some(_)) => None,
            Ok(None) => Some("another holds its lock".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        match read(self.disk, self.dir) {
            Stored::Good(outbox) => updated.outbox = outbox,
            Stored::Damaged(why) => match set_aside(self.dir, now) {
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
            && let Err(error) = self.write(&updated.outbox)
        {
            updated.refuse(&error.to_string());
        }
        updated
    }

    fn write<M: Letter>(&self, outbox: &Outbox<M>) -> io::Result<()> {
        let path = path(self.dir);
        // What a crash has left half-written; whoever else writes it is kept out. It is in nobody's way.
        let _ = disk::sweep(self.disk, self.dir, &|target| target == FILE);
        if outbox.is_empty() {
            // After a crash the old one may be there again: what it holds is then sent twice.
            return self.disk.remove(&path).map(|_| ());
        }
        let mut text = serde_json::to_vec(outbox)?;
        text.push(b'\n');
        let owner = self.disk.stat(self.dir)?.map(|stat| stat.owner);
        self.disk.write(&path, &text, 0o600, owner, self.durability)
    }
}

impl<M: Letter> Updated<M> {
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
