//! What a crash leaves half-written: temporary files, which may hold a value.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::{
    credential::record::Outline,
    effect::{
        disk::{self, Disk, EntryKind},
        lock,
    },
    error::{Error, Result},
    id::ResourceName,
    layout::Layout,
    notify::outbox::file::FILE as OUTBOX,
};

/// Removes what a crash left half-written in the store. No journal tells of it: a plan keeps what it
/// found there, and a request for a rotation is noted there. Only under the project's lock.
///
/// # Errors
/// What the disk says.
pub fn sweep_store(disk: &dyn Disk, layout: &Layout) -> Result<()> {
    // The outbox is written without that lock too, and sweeps for itself; it holds no value.
    let ours = |target: &str| target != OUTBOX;
    for name in names(disk, layout)? {
        // What is half-written there is on its way.
        if lock::is_held(&layout.secret_lock(&name)).unwrap_or(false) {
            continue;
        }
        disk::sweep(disk, &layout.secret(&name), &ours).map_err(failed)?;
    }
    Ok(())
}

/// Removes what a crash left half-written where values are delivered. Only under the project's lock.
///
/// # Errors
/// What the disk says.
pub fn sweep_deliveries(disk: &dyn Disk, layout: &Layout) -> Result<()> {
    for name in names(disk, layout)? {
        // One that cannot be read names no place; whoever observes it says so.
        let Ok(Some(record)) = Outline::read(disk, layout, &name) else {
            continue;
        };
        let places: BTreeSet<PathBuf> = (record.delivered.iter())
            .map(|one| one.to.path().to_owned())
            .collect();
        for path in places {
            sweep_place(disk, &path)?;
        }
    }
    Ok(())
}

/// Removes what a crash left half-written of one file to which values are delivered. Whoever calls it
/// keeps others from writing there.
///
/// # Errors
/// What the disk says.
pub(super) fn sweep_place(disk: &dyn Disk, path: &Path) -> Result<()> {
    let (Some(dir), Some(file)) = (path.parent(), path.file_name()) else {
        return Ok(());
    };
    disk::sweep(disk, dir, &|target| file == target)
        .map(drop)
        .map_err(failed)
}

fn failed((path, error): (PathBuf, std::io::Error)) -> Error {
    Error::io("sweep", &path, error)
}

/// The credentials that have a place in the store.
fn names(disk: &dyn Disk, layout: &Layout) -> Result<Vec<ResourceName>> {
    let secrets = layout.secrets();
    let listed = disk.list(&secrets);
    let listed = listed.map_err(|error| Error::io("list", &secrets, error))?;
    let dirs = listed
        .into_iter()
        .filter(|(_, kind)| *kind == EntryKind::Dir);
    Ok(dirs.filter_map(|(name, _)| name.parse().ok()).collect())
}
