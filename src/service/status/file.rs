//! `status.json` on the disk.

use std::{io, path::Path, time::Duration};

use crate::{
    effect::{
        disk::{Disk, Durability},
        lock::{self, Lock},
        process::Identity,
        untrusted::Dir,
    },
    error::{Code, Error, Result},
    id::{ResourceName, Timestamp},
    layout::Layout,
    resource::Owner,
    service::{
        definition::Service,
        schedule::Past,
        status::{STATUS_VERSION, Status, skips},
    },
};

/// The largest status that is read.
const LIMIT: u64 = 1 << 20;

/// How long a writer waits for another.
const PATIENCE: Duration = Duration::from_secs(2);

/// What stands in the place of the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// A status, skips since then counted in.
    Good(Box<Status>),
    /// Nothing.
    Absent,
    /// Something that is no status, and why not.
    Damaged(String),
    /// A status of a newer version, as far as this one understands it.
    Newer(u32, Option<Box<Status>>),
}

/// Reads the status of a service; changes nothing.
pub fn read(disk: &dyn Disk, layout: &Layout, name: &ResourceName) -> Stored {
    let bytes = match disk.read(&layout.status_file(name), LIMIT) {
        Ok(Some(file)) => file.bytes,
        Ok(None) => return Stored::Absent,
        Err(error) => return Stored::Damaged(error.to_string()),
    };
    let mut stored = parse(&bytes);
    match &mut stored {
        Stored::Good(status) | Stored::Newer(_, Some(status)) => {
            skips::take_in(disk, &layout.data(name), status);
        }
        Stored::Absent | Stored::Damaged(_) | Stored::Newer(_, None) => {}
    }
    stored
}

fn parse(bytes: &[u8]) -> Stored {
    #[derive(serde::Deserialize)]
    struct Version {
        schema_version: u32,
    }
    let version = match serde_json::from_slice::<Version>(bytes) {
        Ok(version) => version.schema_version,
        Err(error) => return Stored::Damaged(error.to_string()),
    };
    let status = serde_json::from_slice::<Status>(bytes).map(Box::new);
    match status {
        status if version > STATUS_VERSION => Stored::Newer(version, status.ok()),
        Ok(_) if version == 0 => Stored::Damaged("there is no version 0".to_owned()),
        Ok(status) => Stored::Good(status),
        Err(error) => Stored::Damaged(error.to_string()),
    }
}

/// Gives what stands in the place of the status another name; returns that name.
///
/// # Errors
/// As the system says.
pub fn set_aside(layout: &Layout, name: &ResourceName, now: Timestamp) -> io::Result<String> {
    let dir = Dir::open(&layout.data(name))?.ok_or(io::ErrorKind::NotFound)?;
    // Two in one millisecond are told apart by nothing, and the later is the better witness.
    let aside = format!("{ASIDE}{}", now.millis());
    dir.rename("status.json", &aside)?;
    Ok(aside)
}

/// How the names begin that damaged statuses get; the milliseconds since 1970 follow.
const ASIDE: &str = "status.json.corrupt.";

/// The damaged status that was set aside last, and when; `None` when there is none, or it cannot be told.
pub fn last_aside(
    disk: &dyn Disk,
    layout: &Layout,
    name: &ResourceName,
) -> Option<(String, Timestamp)> {
    let listed = disk.list(&layout.data(name)).ok()?;
    let asides = listed.into_iter().filter_map(|(name, _)| {
        let digits = name.strip_prefix(ASIDE)?;
        let plain = digits.len() <= 15 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let at = digits.parse().ok().filter(|_| plain)?;
        Some((name, Timestamp::from_millis(at)))
    });
    asides.max_by_key(|(_, at)| *at)
}

/// Replaces the status, durably, and drops the skips that it has taken in.
fn write(
    disk: &dyn Disk,
    data: &Path,
    status: &Status,
    owner: Option<Owner>,
    durability: Durability,
) -> std::io::Result<()> {
    let mut text = serde_json::to_vec_pretty(status)?;
    text.push(b'\n');
    disk.write(&data.join("status.json"), &text, 0o600, owner, durability)?;
    disk.remove(&data.join(skips::FILE)).map(|_| ())
}

/// What became of the status file in an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// What was there was set aside under this name, for this reason.
    SetAside(String, String),
    /// A newer version was left alone, and nothing was written.
    LeftAlone(u32),
    /// It could not be written, or what was there not be set aside.
    NotWritten(io::ErrorKind, String),
}

impl Report {
    /// The sentence for people.
    pub fn sentence(&self) -> String {
        match self {
            Self::SetAside(aside, why) => {
                format!("the status file was damaged ({why}) and was set aside as {aside}")
            }
            Self::LeftAlone(version) => format!(
                "the status file has version {version}, newer than this lorectl reads; it was left alone and this run is not recorded"
            ),
            Self::NotWritten(_, why) => format!("the status file could not be written: {why}"),
        }
    }
}

fn not_written(error: &io::Error) -> Report {
    Report::NotWritten(error.kind(), error.to_string())
}

/// A status file that is changed: what to do it with.
#[derive(Clone, Copy)]
pub struct Writer<'a> {
    /// The disk.
    pub disk: &'a dyn Disk,
    /// Where.
    pub layout: &'a Layout,
    /// Whose.
    pub name: &'a ResourceName,
}

impl Writer<'_> {
    /// Reads, changes and writes the status, with other writers kept out; returns what was written
    /// and what was in the way. It never fails: what it cannot record, it reports.
    ///
    /// Where there is no status yet, the service was born at `born`.
    pub async fn update(
        &self,
        now: Timestamp,
        born: Timestamp,
        change: impl FnOnce(&mut Status),
    ) -> (Status, Vec<Report>) {
        let data = self.layout.data(self.name);
        let mut reports = Vec::new();
        // Without the lock two writers can lose one another's change; a job that does not run
        // because somebody sits on a lock would be worse.
        let _lock = match Lock::take_dir(&data, PATIENCE).await {
            Ok(Some(lock)) => Some(lock),
            Ok(None) => {
                let why = "another holds its lock".to_owned();
                reports.push(Report::NotWritten(io::ErrorKind::WouldBlock, why));
                None
            }
            Err(error) => {
                reports.push(not_written(&error));
                None
            }
        };
        if !reports.is_empty() {
            let mut status = match read(self.disk, self.layout, self.name) {
                Stored::Good(status) | Stored::Newer(_, Some(status)) => *status,
                Stored::Absent | Stored::Damaged(_) | Stored::Newer(_, None) => Status::new(born),
            };
            change(&mut status);
            return (status, reports);
        }
        let mut status = match read(self.disk, self.layout, self.name) {
            Stored::Good(status) => *status,
            Stored::Absent => Status::new(born),
            Stored::Damaged(why) => {
                match set_aside(self.layout, self.name, now) {
                    Ok(aside) => reports.push(Report::SetAside(aside, why)),
                    Err(error) => reports.push(not_written(&error)),
                }
                Status::new(born)
            }
            Stored::Newer(version, known) => {
                let mut status = known.map_or_else(|| Status::new(born), |known| *known);
                change(&mut status);
                return (status, vec![Report::LeftAlone(version)]);
            }
        };
        change(&mut status);
        status.schema_version = STATUS_VERSION;
        status.updated_at = now;
        let owner = self.disk.stat(&data).ok().flatten().map(|stat| stat.owner);
        if let Err(error) = write(self.disk, &data, &status, owner, Durability::Now) {
            reports.push(not_written(&error));
        }
        (status, reports)
    }
}

/// What an apply does when it creates a service: its schedule counts from `now` on, whatever an
/// earlier service of the name left. Doing it again changes nothing but that instant.
///
/// `data/` must be there; the status will be its owner's. It survives a power failure once the caller
/// has synced the file system, as for the rest of a batch.
///
/// # Errors
/// As the disk says. A damaged status is set aside, a newer one left alone.
pub fn seed_status(
    disk: &dyn Disk,
    layout: &Layout,
    service: &Service,
    now: Timestamp,
) -> Result<()> {
    let name = &service.name;
    let data = layout.data(name);
    let path = layout.status_file(name);
    let failed = |error| Error::io("write", &path, error);
    let stat = disk.stat(&data).map_err(failed)?;
    let owner = stat
        .ok_or_else(|| Error::new(Code::Io, format!("there is no {}", data.display())))?
        .owner;
    // Made here, so that nobody else is the first to make it and its owner.
    let lock = layout.run_lock(name);
    if disk.stat(&lock).map_err(failed)?.is_none() {
        disk.write(&lock, b"", 0o600, Some(owner), Durability::Batch)
            .map_err(failed)?;
    }
    let mut status = match read(disk, layout, name) {
        Stored::Good(status) => *status,
        Stored::Absent => Status::new(now),
        Stored::Newer(..) => return Ok(()),
        Stored::Damaged(_) => {
            set_aside(layout, name, now).map_err(failed)?;
            Status::new(now)
        }
    };
    status.created_at = now;
    status.updated_at = now;
    status.schedule = Some(service.schedule.clone());
    status.schedule_since = None;
    write(disk, &data, &status, Some(owner), Durability::Batch).map_err(failed)
}

/// Lays out a `data/` that was just made: its status, and its lock, both its owner's.
///
/// It survives a power failure once the caller has synced the file system.
///
/// # Errors
/// As the disk says.
pub fn hand_down(disk: &dyn Disk, data: &Path, status: &Status, owner: Owner) -> io::Result<()> {
    let lock = data.join("lock");
    disk.write(&lock, b"", 0o600, Some(owner), Durability::Batch)?;
    write(disk, data, status, Some(owner), Durability::Batch)
}

/// Whether there is nothing in `data/` but what [`hand_down`] and [`seed_status`] put there.
///
/// # Errors
/// As the disk says.
pub fn holds_no_more_than_status(
    disk: &dyn Disk,
    layout: &Layout,
    name: &ResourceName,
) -> io::Result<bool> {
    let ours = [layout.status_file(name), layout.run_lock(name)];
    let ours = |entry: &str| {
        ours.iter()
            .any(|path| path.file_name().is_some_and(|file| file == entry))
    };
    let entries = disk.list(&layout.data(name))?;
    Ok(entries.iter().all(|(entry, _)| ours(entry)))
}

/// Whether a service left nothing worth keeping: it never ran, and its data is what [`seed_status`]
/// made. A removal takes that along, so that an install which is undone leaves no trace.
pub fn is_untouched(disk: &dyn Disk, layout: &Layout, name: &ResourceName) -> bool {
    holds_no_more_than_status(disk, layout, name).unwrap_or(false)
        && match read(disk, layout, name) {
            Stored::Good(status) => {
                status.last_run.is_none()
                    && status.current_run.is_none()
                    && status.last_skip.is_none()
                    && status.paused.is_none()
            }
            Stored::Absent => true,
            Stored::Damaged(_) | Stored::Newer(..) => false,
        }
}

/// Since when a run of the service is under way, if one is.
///
/// That one is, the kernel says (the run's lock); since when, the status, which may be missing or
/// lie: then it is since the lock's file was made.
pub fn running_since(disk: &dyn Disk, layout: &Layout, name: &ResourceName) -> Option<Timestamp> {
    let lock = layout.run_lock(name);
    if !lock::is_held(&lock).unwrap_or(false) {
        return None;
    }
    let started = match read(disk, layout, name) {
        Stored::Good(status) | Stored::Newer(_, Some(status)) => {
            status.current_run.map(|run| run.started_at)
        }
        Stored::Absent | Stored::Damaged(_) | Stored::Newer(_, None) => None,
    };
    started.or_else(|| Some(disk.stat(&lock).ok()??.modified))
}

/// From when the schedule of a service counts: its last scheduled start, else its creation, else
/// its last change (`modified`, that of `run.json`); `None` where no status tells.
pub fn counts_from(
    disk: &dyn Disk,
    layout: &Layout,
    service: &Service,
    modified: Timestamp,
) -> Option<Timestamp> {
    match read(disk, layout, &service.name) {
        Stored::Good(status) | Stored::Newer(_, Some(status)) => {
            Some(Past::of(&status, &service.schedule, modified).latest())
        }
        Stored::Absent | Stored::Damaged(_) | Stored::Newer(_, None) => None,
    }
}

/// Whether the run that the status calls current is under way: its very process lives.
pub fn run_is_alive(status: &Status) -> bool {
    status.current_run.as_ref().is_some_and(|run| {
        let process = Identity {
            pid: run.pid,
            started: run.pid_started,
            boot: run.boot_id.clone(),
        };
        process.is_alive()
    })
}
