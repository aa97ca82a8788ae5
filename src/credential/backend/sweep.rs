//! What a crash leaves half-written: temporary files, which may hold a value.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::{
    credential::record::Outline,
    effect::{
        disk::{self, Disk, EntryKind},
        lock::Lock,
    },
    error::{Error, Result},
    id::ResourceName,
    layout::Layout,
    notify::outbox::file::FILE as OUTBOX,
};

/// Whether nobody else has to do with the files of a credential.
enum Alone {
    /// Nobody, while this lock is held; there is none where nobody ever renewed it.
    Yes(Option<Lock>),
    /// Somebody has.
    No,
}

fn alone(layout: &Layout, name: &ResourceName) -> Alone {
    match Lock::try_take_existing(&layout.secret_lock(name)) {
        Ok(Some(lock)) => Alone::Yes(Some(lock)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Alone::Yes(None),
        Ok(None) | Err(_) => Alone::No,
    }
}

/// Removes what a crash left half-written in the store. No journal tells of it: a plan keeps what it
/// found there, and a request for a rotation is noted there. Only under the project's lock.
///
/// # Errors
/// What the disk says.
pub fn sweep_store(disk: &dyn Disk, layout: &Layout) -> Result<()> {
    // The outbox is written without that lock too, and sweeps for itself; it holds no value.
    let ours = |target: &str| target != OUTBOX;
    for name in names(disk, layout)? {
        // What is half-written there may be on its way.
        let Alone::Yes(_lock) = alone(layout, &name) else {
            continue;
        };
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
        let Alone::Yes(_lock) = alone(layout, &name) else {
            continue;
        };
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

/// How the files in `backups/` begin that hold what a credential's deliveries replaced.
const REPLACED: &str = "credential.";

/// The file in `backups/` for what a credential's delivery replaces.
pub(super) fn replaced(layout: &Layout, name: &ResourceName, token: &str) -> PathBuf {
    layout.backups().join(format!("{REPLACED}{name}-{token}"))
}

/// Removes from `backups/` what was replaced by deliveries of other credentials than these. Only under
/// the project's lock.
///
/// # Errors
/// What the disk says.
pub fn purge_replaced(
    disk: &dyn Disk,
    layout: &Layout,
    kept: &BTreeSet<ResourceName>,
) -> Result<()> {
    let dir = layout.backups();
    let listed = disk.list(&dir);
    for (file, _) in listed.map_err(|error| Error::io("list", &dir, error))? {
        let name = file.strip_prefix(REPLACED);
        let name = name.and_then(|rest| rest.rsplit_once('-')?.0.parse().ok());
        if name.is_some_and(|name: ResourceName| !kept.contains(&name)) {
            let path = dir.join(&file);
            let removed = disk.remove(&path);
            removed.map_err(|error| Error::io("remove", &path, error))?;
        }
    }
    Ok(())
}

/// Removes what only credentials need, where the project has none any more: what is known of issuers, the
/// keys, and the store, which must be empty. Only under the project's lock, and with no journal open.
///
/// Gives back why all of that was left, where it was: each sentence names a path.
///
/// # Errors
/// What the disk says.
pub fn purge_empty_store(disk: &dyn Disk, layout: &Layout) -> Result<Vec<String>> {
    let removing = |path: &Path, error| Error::io("remove", path, error);
    let (secrets, breakers) = (layout.secrets(), layout.breakers());
    let listed = |dir: &Path| {
        let listed = disk.list(dir);
        listed.map_err(|error| Error::io("list", dir, error))
    };
    // Whoever holds a lock still has to do with a value, or with an issuer.
    let (mut held, mut locks, mut in_the_way) = (Vec::new(), Vec::new(), Vec::new());
    for dir in [&secrets, &breakers] {
        for (file, kind) in listed(dir)? {
            let path = dir.join(&file);
            let is_lock = path
                .extension()
                .is_some_and(|extension| extension == "lock");
            if kind == EntryKind::File && is_lock {
                let shown = path.display();
                match Lock::try_take_existing(&path) {
                    Ok(Some(lock)) => held.push(lock),
                    Ok(None) => in_the_way.push(format!("{shown} is held by another process")),
                    Err(error) => in_the_way.push(format!("cannot lock {shown}: {error}")),
                }
                locks.push(path);
            } else if dir == &secrets {
                // What it holds may be a value, and the keys stay with it.
                let shown = path.display();
                in_the_way.push(format!("{shown} is no credential's of this project"));
            }
        }
    }
    if !in_the_way.is_empty() {
        return Ok(in_the_way);
    }
    for path in locks {
        disk.remove(&path).map_err(|error| removing(&path, error))?;
    }
    (disk.remove_dir(&secrets)).map_err(|error| removing(&secrets, error))?;
    (disk.remove_tree(&breakers)).map_err(|error| removing(&breakers, error))?;
    for path in [layout.key_file(), layout.seal_file()] {
        disk.remove(&path).map_err(|error| removing(&path, error))?;
    }
    Ok(Vec::new())
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
