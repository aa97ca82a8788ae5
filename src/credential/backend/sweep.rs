//! What a crash leaves half-written: temporary files, which may hold a value.

use std::{collections::BTreeSet, path::PathBuf};

use crate::{
    credential::record::Record,
    effect::disk::{self, Disk, EntryKind},
    error::{Error, Result},
    id::ResourceName,
    layout::Layout,
};

/// Removes what a crash left half-written in the store and where values are delivered. Only under the
/// project's lock.
///
/// # Errors
/// What the disk says.
pub fn sweep(disk: &dyn Disk, layout: &Layout) -> Result<()> {
    let failed = |(path, error): (PathBuf, std::io::Error)| Error::io("sweep", &path, error);
    let secrets = layout.secrets();
    let listed = disk.list(&secrets);
    for (name, kind) in listed.map_err(|error| Error::io("list", &secrets, error))? {
        let Ok(name) = name.parse::<ResourceName>() else {
            continue;
        };
        if kind != EntryKind::Dir {
            continue;
        }
        disk::sweep(disk, &layout.secret(&name), &|_| true).map_err(failed)?;
        // One that cannot be read names no place; whoever observes it says so.
        let Ok(Some(record)) = Record::read(disk, layout, &name) else {
            continue;
        };
        let places: BTreeSet<PathBuf> = (record.delivered.iter())
            .map(|one| one.to.path().to_owned())
            .collect();
        for path in places {
            let (Some(dir), Some(file)) = (path.parent(), path.file_name()) else {
                continue;
            };
            disk::sweep(disk, dir, &|target| file == target).map_err(failed)?;
        }
    }
    Ok(())
}
