//! Whether root may go where a path leads: who can change a directory on the way, or a link, decides
//! where root writes.

use std::path::{Component, Path, PathBuf};

use crate::{
    effect::disk::{Disk, EntryKind},
    error::{Code, Error, Result},
};

/// The most links on a way (the kernel's own bound).
const LINKS: u32 = 40;

/// Refuses, to root, a way that another user can change. Whoever else applies acts with their own
/// rights, and may be led nowhere that they could not go.
///
/// # Errors
/// `CONFLICT` with the first place on the way to `path` that is not root's alone; what the disk says.
pub fn check(disk: &dyn Disk, path: &Path) -> Result<()> {
    if disk.identity().uid != 0 {
        return Ok(());
    }
    let mut links = 0;
    let mut way = PathBuf::from("/");
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut left: Vec<PathBuf> = steps(dir);
    trusted(disk, &way, path)?;
    while let Some(step) = left.pop() {
        if step.as_os_str() == ".." {
            way.pop();
            continue;
        }
        let next = way.join(&step);
        let failed = |error| Error::io("look at", &next, error);
        match disk.stat(&next).map_err(failed)?.map(|stat| stat.kind) {
            // Nobody can lead anywhere from a place that is not there; who makes it is another's matter.
            None => return Ok(()),
            Some(EntryKind::Link) => {
                trusted(disk, &next, path)?;
                links += 1;
                let target = disk.read_link(&next).map_err(failed)?;
                let Some(target) = target.filter(|_| links <= LINKS) else {
                    return Ok(());
                };
                if target.is_absolute() {
                    way = PathBuf::from("/");
                }
                left.extend(steps(&target));
            }
            Some(EntryKind::Dir | EntryKind::File | EntryKind::Special) => {
                trusted(disk, &next, path)?;
                way = next;
            }
        }
    }
    Ok(())
}

/// The steps of a path, the first one last.
fn steps(path: &Path) -> Vec<PathBuf> {
    let steps = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut steps: Vec<PathBuf> = steps.collect();
    steps.reverse();
    steps
}

/// Refuses a place that belongs to another user than root, or in which others may put what they like.
fn trusted(disk: &dyn Disk, place: &Path, path: &Path) -> Result<()> {
    let failed = |error| Error::io("look at", place, error);
    let Some(stat) = disk.stat(place).map_err(failed)? else {
        return Ok(());
    };
    // In a sticky directory each may change only what is their own (unlink(2)).
    let open = stat.mode & 0o022 != 0 && stat.mode & 0o1000 == 0;
    let why = match stat.kind {
        _ if stat.owner.uid != 0 => format!("belongs to uid {}", stat.owner.uid),
        EntryKind::Dir if open => "can be written by others".to_owned(),
        EntryKind::Dir | EntryKind::Link | EntryKind::File | EntryKind::Special => return Ok(()),
    };
    let message = format!(
        "{} is no place for root to write: {} {why}, who could lead root elsewhere",
        path.display(),
        place.display()
    );
    Err(Error::new(Code::Conflict, message).suggest(
        "name a place that only root can change, as `/etc/acme/token`; `owner` says whom the file there belongs to",
    ))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests lay out files")]

    use std::os::unix::fs::symlink;

    use super::*;
    use crate::effect::disk::RealDisk;

    #[test]
    fn root_goes_where_nobody_else_can_change_the_way() {
        if RealDisk.identity().uid != 0 {
            return;
        }
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path();
        let dir = |name: &str| {
            let path = root.join(name);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let own = dir("own/deep");
        let theirs = dir("theirs");
        std::fs::create_dir(theirs.join("within")).unwrap();
        std::os::unix::fs::chown(&theirs, Some(65_534), None).unwrap();
        symlink(&own, root.join("fine")).unwrap();
        symlink(theirs.join("within"), root.join("led")).unwrap();
        symlink(&own, root.join("lent")).unwrap();
        std::os::unix::fs::lchown(root.join("lent"), Some(65_534), None).unwrap();
        for (place, good) in [
            ("own/deep/token", true),
            ("own/missing/token", true),
            ("fine/token", true),
            ("theirs/token", false),
            ("theirs/within/token", false),
            ("led/token", false),
            ("lent/token", false),
        ] {
            let checked = check(&RealDisk, &root.join(place));
            assert_eq!(checked.is_ok(), good, "{place}: {checked:?}");
        }
    }
}
