//! The locks that services share by name.

use crate::{
    effect::disk::{Disk, Durability},
    error::{Error, Result},
    layout::Layout,
    resource::Owner,
    service::definition::Service,
};

/// Makes the lock that a service names, where it is missing: a file that every user may read and so
/// lock (flock(2) asks for no right to write), and that nobody but the applier may replace.
///
/// # Errors
/// What the disk says.
pub fn make(disk: &dyn Disk, layout: &Layout, service: &Service, applier: Owner) -> Result<()> {
    let Some(lock) = &service.lock else {
        return Ok(());
    };
    let path = layout.named_lock(lock);
    let failed = |error| Error::io("make", &path, error);
    if disk.stat(&path).map_err(failed)?.is_some() {
        return Ok(());
    }
    if let Some(dir) = path.parent() {
        disk.make_dir(dir, 0o711, Some(applier)).map_err(failed)?;
    }
    disk.write(&path, b"", 0o644, Some(applier), Durability::Batch)
        .map_err(failed)
}
