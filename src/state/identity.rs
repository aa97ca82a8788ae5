//! Which machine this is, for the first lineage of a project.

use std::path::{Path, PathBuf};

use crate::{
    effect::disk::Disk,
    error::{Code, Error, Result},
    id::{Lineage, ProjectName},
};

/// machine-id(5), and where D-Bus kept its own before there was one.
const PLACES: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// The lineage of a project's state on this machine, for this user.
///
/// # Errors
/// As [`machine_id`].
pub fn lineage(disk: &dyn Disk, project: &ProjectName) -> Result<Lineage> {
    let machine = machine_id(disk)?;
    Ok(Lineage::derive(&machine, disk.identity().uid, project))
}

/// The machine's id: 32 hex digits. It is never shown: machine-id(5) asks that it be hashed first.
///
/// # Errors
/// `IO` when the machine has none, and what the disk says.
pub fn machine_id(disk: &dyn Disk) -> Result<String> {
    for place in PLACES {
        let path = Path::new(place);
        let found = read_followed(disk, path);
        let text = found.map_err(|error| Error::io("read", path, error))?;
        if let Some(id) = text.as_deref().and_then(valid) {
            return Ok(id.to_owned());
        }
    }
    Err(Error::new(
        Code::Io,
        "this machine has no id: neither /etc/machine-id nor /var/lib/dbus/machine-id holds one, and without it the state of one machine cannot be told from another's",
    )
    .suggest("run `systemd-machine-id-setup` or `dbus-uuidgen --ensure=/etc/machine-id` as root"))
}

/// An id as machine-id(5) has it; `uninitialized`, nothing and all zeros are none.
fn valid(text: &str) -> Option<&str> {
    let id = text.trim_end_matches('\n');
    let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    (id.len() == 32 && id.bytes().all(hex) && id.bytes().any(|c| c != b'0')).then_some(id)
}

/// Reads a small file of the system, which may be a link there: systems with a read-only root have it so.
fn read_followed(disk: &dyn Disk, path: &Path) -> std::io::Result<Option<String>> {
    let mut path: PathBuf = path.to_owned();
    for _ in 0..8 {
        let Some(target) = disk.read_link(&path)? else {
            let file = disk.read(&path, 4096)?;
            return Ok(file.and_then(|file| String::from_utf8(file.bytes).ok()));
        };
        path = path.parent().unwrap_or(Path::new("/")).join(target);
    }
    Err(std::io::Error::other("too many links"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{effect::simdisk::SimDisk, resource::Owner};

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn with(files: &[(&str, &str)]) -> SimDisk {
        let disk = SimDisk::new();
        for (path, text) in files {
            let root = Owner { uid: 0, gid: 0 };
            disk.put(Path::new(path), text.as_bytes(), 0o444, root);
        }
        disk
    }

    #[test]
    fn the_machine_is_told_by_its_own_id_or_by_that_of_dbus() {
        let line = &format!("{ID}\n");
        for files in [
            &[("/etc/machine-id", line.as_str())][..],
            &[("/etc/machine-id", ID), (PLACES[1], "x")],
            &[("/etc/machine-id", "uninitialized\n"), (PLACES[1], line)],
            &[("/etc/machine-id", ""), (PLACES[1], line)],
        ] {
            assert_eq!(machine_id(&with(files)).unwrap(), ID);
        }
        let linked = with(&[("/run/machine-id", line)]);
        linked.put_link(Path::new(PLACES[0]), Path::new("/run/machine-id"));
        assert_eq!(machine_id(&linked).unwrap(), ID);
    }

    #[test]
    fn a_machine_without_an_id_is_told_so() {
        let zeros = "0".repeat(32);
        let short = &ID[1..];
        let upper = ID.to_uppercase();
        for text in [
            "",
            "uninitialized\n",
            &zeros,
            short,
            &upper,
            &format!("{ID} x"),
        ] {
            let error = machine_id(&with(&[(PLACES[0], text)])).unwrap_err();
            assert_eq!(error.code, Code::Io, "{text:?}");
            assert!(error.suggestion.is_some());
        }
        let circle = SimDisk::new();
        circle.put_link(Path::new(PLACES[0]), Path::new(PLACES[0]));
        assert!(machine_id(&circle).is_err());
    }

    #[test]
    fn users_and_projects_have_lineages_of_their_own() {
        let disk = with(&[(PLACES[0], ID)]);
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        let first = lineage(&disk, &a).unwrap();
        assert_ne!(first, lineage(&disk, &b).unwrap());
        disk.become_user(Owner { uid: 7, gid: 7 });
        assert_ne!(first, lineage(&disk, &a).unwrap());
    }
}
