//! What an apply that was cut short left of services beside their own files.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{Host, retire, systemd::Places};
use crate::{
    effect::{
        disk::{self, Disk, EntryKind},
        host,
    },
    error::{Error, Result},
    id::{Address, Kind, ResourceName},
    layout::Layout,
    service::status::file,
};

/// Removes temporary files of this project from every directory that services are written to, and
/// the data of services of which nothing else is there: of those that were begun, and of those that
/// were to be `purged`.
///
/// Under the project's lock, and only where an apply did not come to its end: else there is nothing.
/// Files of other projects in the same directories are told by their names, and left alone. A `data/`
/// that a run may write to is too.
///
/// # Errors
/// What the disk says.
pub fn sweep(host: &Host, purged: &BTreeSet<Address>) -> Result<()> {
    let disk = host.disk.as_ref();
    sweep_units(disk, &host.layout, unit_dirs(host))?;
    let units = if host.account.owner.uid == 0 {
        Places::system().units
    } else {
        Places::user(
            &host.account.home,
            &host::runtime_dir(host.account.owner.uid),
        )
        .units
    };
    retire::sweep(&host.disk, &host.layout, &units)?;
    let services = host.layout.services();
    sweep_dir(disk, &services, &|_| true)?;
    for (name, kind) in list(disk, &services)? {
        let Ok(name) = name.parse::<ResourceName>() else {
            continue;
        };
        if kind != EntryKind::Dir {
            continue;
        }
        let dir = host.layout.service(&name);
        sweep_dir(disk, &dir, &|_| true)?;
        let run = host.layout.run_file(&name);
        let stat = disk.stat(&run);
        if stat
            .map_err(|error| Error::io("look at", &run, error))?
            .is_some()
        {
            continue;
        }
        let data = host.layout.data(&name);
        sweep_dir(disk, &data, &|_| true)?;
        let address = Address::new(Kind::Service, name.clone());
        if purged.contains(&address) || file::is_untouched(disk, &host.layout, &name) {
            let gone = disk.remove_tree(&data).and_then(|_| disk.remove_dir(&dir));
            gone.map_err(|error| Error::io("remove", &dir, error))?;
        }
    }
    Ok(())
}

/// Removes temporary files of the project from directories of units.
///
/// # Errors
/// What the disk says.
pub(super) fn sweep_units(
    disk: &dyn Disk,
    layout: &Layout,
    dirs: impl IntoIterator<Item = PathBuf>,
) -> Result<()> {
    let stem = format!("lorectl-{}.", layout.project());
    let of_project = |target: &str| target.starts_with(&stem);
    for dir in dirs {
        // Whoever keeps the host may keep its units behind a link.
        let resolved = disk.resolve(&dir);
        let Some(dir) = resolved.map_err(|error| Error::io("look at", &dir, error))? else {
            continue;
        };
        sweep_dir(disk, &dir, &of_project)?;
        for (name, kind) in list(disk, &dir)? {
            if kind == EntryKind::Dir && of_project(&name) {
                sweep_dir(disk, &dir.join(name), &|_| true)?;
            }
        }
    }
    Ok(())
}

fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<(String, EntryKind)>> {
    let listed = disk.list(dir);
    listed.map_err(|error| Error::io("list", dir, error))
}

fn sweep_dir(disk: &dyn Disk, dir: &Path, ours: &dyn Fn(&str) -> bool) -> Result<()> {
    disk::sweep(disk, dir, ours)
        .map(drop)
        .map_err(|(path, error)| Error::io("sweep", &path, error))
}

/// Directories of units that whoever applies may write to.
fn unit_dirs(host: &Host) -> Vec<PathBuf> {
    let uid = host.account.owner.uid;
    let user = Places::user(&host.account.home, &host::runtime_dir(uid));
    let system = (uid == 0).then(Places::system);
    let mut dirs = Vec::new();
    for places in system.into_iter().chain([user]) {
        dirs.extend(places.written());
    }
    dirs
}
