//! A service whose user changes: its `data/` was the old user's to write, so the new one gets a fresh
//! one, and with it what the status says of pauses, failures and the schedule.
//!
//! The old directory is kept beside it as `data.of-UID-MILLIS`. Where the service goes back to its old
//! user before anything ran, as an undo does, that user gets it back as it was.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    effect::{
        disk::{Disk, EntryKind},
        lock::{self, Lock},
        untrusted::Dir,
    },
    error::{Error, Result},
    id::{ResourceName, Timestamp},
    layout::Layout,
    resource::Owner,
    service::{
        definition::Service,
        status::{
            REMEMBERED, Status,
            file::{self, Stored},
        },
    },
};

/// The directory that is about to become `data/`.
const NEXT: &str = "data.next";

const DATA: &str = "data";

/// What the name of a directory that was put aside begins with.
const ASIDE: &str = "data.of-";

/// A hand-over that took place, and can be taken back.
#[derive(Debug)]
#[must_use]
pub(super) struct HandedOver {
    /// The service's directory.
    home: PathBuf,
    /// Where the `data/` from before is now.
    aside: String,
    /// Where the present `data/` was before; `None` for one that was made.
    from: Option<String>,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Handing {
    /// `data/` is the new user's, or not there, already.
    NotDue,
    /// A run is in flight, and the old `data/` still in place.
    RunInFlight,
    /// It is done.
    Done(HandedOver),
}

/// Whether there is a `data/`, and it is another user's.
///
/// # Errors
/// What the disk says.
pub(super) fn is_due(
    disk: &dyn Disk,
    layout: &Layout,
    name: &ResourceName,
    runner: Owner,
) -> Result<bool> {
    let path = layout.data(name);
    let stat = disk.stat(&path);
    let stat = stat.map_err(|error| Error::io("look at", &path, error))?;
    Ok(stat.is_some_and(|stat| stat.owner.uid != runner.uid))
}

/// Whether a run holds the service's lock. The lock is the old user's, who may have put anything in its
/// place: then there is nothing to wait for.
pub(super) fn runs(layout: &Layout, name: &ResourceName) -> bool {
    lock::is_held(&layout.run_lock(name)).unwrap_or(false)
}

/// Gives a service whose `data/` is another user's one of `runner`.
///
/// What cannot be read of the old status is not carried over, and links in it are not followed. No run
/// begins in the old directory meanwhile. It survives a power failure once the caller has synced the file system.
///
/// # Errors
/// What the disk says; then `data/` is as it was.
pub(super) fn hand_over(
    disk: &dyn Disk,
    layout: &Layout,
    service: &Service,
    runner: Owner,
    now: Timestamp,
) -> Result<Handing> {
    let name = &service.name;
    let home = layout.service(name);
    let data = layout.data(name);
    let failed = |error| Error::io("hand over", &data, error);
    let next = home.join(NEXT);
    let Some(stat) = disk.stat(&data).map_err(failed)? else {
        // An earlier hand-over was cut short between its two renames.
        if let Some(stat) = disk.stat(&next).map_err(failed)?
            && stat.owner.uid == runner.uid
        {
            open(&home)
                .and_then(|dir| dir.rename(NEXT, DATA))
                .map_err(failed)?;
        }
        return Ok(Handing::NotDue);
    };
    if stat.owner.uid == runner.uid {
        return Ok(Handing::NotDue);
    }
    let _lock = match Lock::try_take_existing(&layout.run_lock(name)) {
        Ok(None) => return Ok(Handing::RunInFlight),
        Ok(lock) => lock,
        Err(_) => None,
    };
    let aside = format!("{ASIDE}{}-{}", stat.owner.uid, now.millis());
    let status = carried(file::read(disk, layout, name), service, now);
    let earlier = returning(disk, layout, name, &home, runner).map_err(failed)?;
    if earlier.is_none() {
        disk.remove_tree(&next)
            .and_then(|_| disk.make_dir(&next, 0o700, Some(runner)))
            .and_then(|()| file::hand_down(disk, &next, &status, runner))
            .map_err(failed)?;
    }
    let dir = open(&home).map_err(failed)?;
    dir.rename(DATA, &aside).map_err(failed)?;
    if let Err(error) = dir.rename(earlier.as_deref().unwrap_or(NEXT), DATA) {
        // It was ours a moment ago; that it cannot go back either is not the news.
        let _ = dir.rename(&aside, DATA);
        return Err(failed(error));
    }
    Ok(Handing::Done(HandedOver {
        home,
        aside,
        from: earlier,
    }))
}

impl HandedOver {
    /// The service's directory.
    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// Takes it back: the `data/` from before is in its place again. What came into the new one since
    /// goes, or, where that had been there before, stays in it.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn put_back(&self, disk: &dyn Disk) -> io::Result<()> {
        let dir = open(&self.home)?;
        dir.rename(DATA, self.from.as_deref().unwrap_or(NEXT))?;
        dir.rename(&self.aside, DATA)?;
        if self.from.is_none() {
            disk.remove_tree(&self.home.join(NEXT))?;
        }
        Ok(())
    }

    /// Drops what is of no use once all else is done: the fresh directory of a user who never ran
    /// anything in it.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn finish(self, disk: &dyn Disk) -> io::Result<()> {
        match self.from {
            Some(_) => disk.remove_tree(&self.home.join(self.aside)).map(drop),
            None => Ok(()),
        }
    }
}

/// Removes what hand-overs have put aside, for a removal that takes the data along.
///
/// # Errors
/// What the disk says.
pub(super) fn purge(disk: &dyn Disk, layout: &Layout, name: &ResourceName) -> Result<()> {
    let home = layout.service(name);
    let failed = |error| Error::io("remove", &home, error);
    for (entry, _) in disk.list(&home).map_err(failed)? {
        if entry == NEXT || entry.starts_with(ASIDE) {
            disk.remove_tree(&home.join(entry)).map_err(failed)?;
        }
    }
    Ok(())
}

fn open(home: &Path) -> io::Result<Dir> {
    Dir::open(home)?.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// What the new user's status begins with. No run is in flight, so none is carried over.
fn carried(stored: Stored, service: &Service, now: Timestamp) -> Status {
    let mut status = match stored {
        Stored::Good(status) | Stored::Newer(_, Some(status)) => *status,
        Stored::Absent | Stored::Damaged(_) | Stored::Newer(_, None) => {
            let mut status = Status::new(now);
            status.schedule = Some(service.schedule.clone());
            status
        }
    };
    status.schema_version = crate::service::status::STATUS_VERSION;
    status.current_run = None;
    status.recent_runs.truncate(REMEMBERED);
    status.updated_at = now;
    status
}

/// The directory that `runner` had, where the present one is as it was when it took that one's place.
fn returning(
    disk: &dyn Disk,
    layout: &Layout,
    name: &ResourceName,
    home: &Path,
    runner: Owner,
) -> io::Result<Option<String>> {
    if !file::holds_no_more_than_status(disk, layout, name)? {
        return Ok(None);
    }
    let stored = match file::read(disk, layout, name) {
        Stored::Good(status) => status.updated_at,
        Stored::Absent | Stored::Damaged(_) | Stored::Newer(..) => return Ok(None),
    };
    // Whoever wrote the status since, a pause or a run, has changed when it was last written.
    let earlier = format!("{ASIDE}{}-{}", runner.uid, stored.millis());
    let Some(stat) = disk.stat(&home.join(&earlier))? else {
        return Ok(None);
    };
    let of_runner = stat.kind == EntryKind::Dir && stat.owner.uid == runner.uid;
    Ok(of_runner.then_some(earlier))
}
