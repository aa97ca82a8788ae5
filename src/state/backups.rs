//! What is kept in `backups/`: the last states, and bytes of files that were not ours.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use crate::{
    effect::disk::{Disk, Durability, EntryKind},
    error::{Code, Error, Result},
    id::{Address, Digest},
    layout::Layout,
    resource::PartName,
    state::{journal::JournalId, place, trust::read_own},
};

/// How many old states are kept.
pub const KEPT: usize = 10;

/// One old state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Its serial.
    pub serial: u64,
    /// The file.
    pub path: PathBuf,
}

/// The old states that are kept, by serial; their content is not looked at.
///
/// # Errors
/// What the disk says.
pub fn list(disk: &dyn Disk, layout: &Layout) -> Result<Vec<Backup>> {
    let dir = layout.backups();
    let listed = disk.list(&dir);
    let mut found: Vec<Backup> = listed
        .map_err(|error| Error::io("list", &dir, error))?
        .into_iter()
        .filter_map(|(name, _)| {
            let digits = name.strip_prefix("state-")?.strip_suffix(".json")?;
            let plain = digits.bytes().all(|c| c.is_ascii_digit());
            let serial = digits.parse().ok().filter(|_| plain)?;
            Some(Backup {
                serial,
                path: dir.join(name),
            })
        })
        .collect();
    found.sort_unstable_by_key(|backup| backup.serial);
    Ok(found)
}

/// Keeps a state that will be replaced, and reads it back.
pub(super) fn keep(disk: &dyn Disk, layout: &Layout, serial: u64, bytes: &[u8]) -> Result<()> {
    let path = layout.backups().join(format!("state-{serial:010}.json"));
    disk.write(&path, bytes, 0o600, None, Durability::Now)
        .map_err(|error| Error::io("write", &path, error))?;
    if read_own(disk, &path)?.is_some_and(|kept| kept == bytes) {
        return Ok(());
    }
    let message = format!("{} does not read back as it was written", path.display());
    Err(Error::new(Code::Io, message)
        .suggest("the disk may be failing: look at the kernel's log (`dmesg`) before trying again"))
}

/// Removes all but the last [`KEPT`] states.
pub(super) fn prune(disk: &dyn Disk, layout: &Layout) -> Result<()> {
    let all = list(disk, layout)?;
    for old in all.iter().rev().skip(KEPT) {
        disk.remove(&old.path)
            .map_err(|error| Error::io("remove", &old.path, error))?;
    }
    Ok(())
}

/// Keeps the bytes of a file that was not ours before it goes, and says where.
///
/// They are on disk, 0600, when this returns. Kept once for the same bytes; other bytes of the
/// same part in the same apply are kept beside them, never over them.
///
/// # Errors
/// What the disk says. Then the file must not go.
pub fn keep_foreign(
    disk: &dyn Disk,
    layout: &Layout,
    apply: &JournalId,
    address: &Address,
    part: &PartName,
    bytes: &[u8],
) -> Result<PathBuf> {
    let dir = layout.backups().join("foreign").join(apply.as_str());
    if disk
        .stat(&dir)
        .map_err(|error| Error::io("look at", &dir, error))?
        .is_none()
    {
        place::make(disk, &layout.backups().join("foreign"), 0o700)?;
        place::make(disk, &dir, 0o700)?;
    }
    let name = file_name(&format!("{address}/{part}"));
    keep_beside(disk, &dir, &name, bytes)
}

/// Keeps bytes under a name, or beside other bytes of that name as `NAME~2`; once for the same bytes.
pub(super) fn keep_beside(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    bytes: &[u8],
) -> Result<PathBuf> {
    let mut path = dir.join(name);
    let mut copy = 1_u32;
    loop {
        let stat = disk.stat(&path);
        match stat
            .map_err(|error| Error::io("look at", &path, error))?
            .map(|stat| stat.kind)
        {
            None => break,
            Some(EntryKind::File) => {
                if read_own(disk, &path)?.is_some_and(|kept| kept == bytes) {
                    break;
                }
            }
            Some(EntryKind::Dir | EntryKind::Link | EntryKind::Special) => {}
        }
        copy = copy.saturating_add(1);
        path = dir.join(format!("{name}~{copy}"));
    }
    // Written again even if it is there: whoever wrote it may have ended before it was durable.
    disk.write(&path, bytes, 0o600, None, Durability::Now)
        .and_then(|()| disk.sync_fs(&path))
        .map_err(|error| Error::io("write", &path, error))?;
    Ok(path)
}

/// A file name from any text: `/` becomes `,`, what could surprise a shell or a terminal is
/// percent-encoded, what is long ends in a digest. Two texts never give the same name.
fn file_name(text: &str) -> String {
    let mut name = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'@' => {
                name.push(char::from(byte));
            }
            b'/' => name.push(','),
            _ => {
                // Writing to a `String` cannot fail.
                let _ = write!(name, "%{byte:02x}");
            }
        }
    }
    if name.len() > 200 {
        name.truncate(130);
        name.push('~');
        name.push_str(&Digest::of(text.as_bytes()).to_string());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        effect::simdisk::{After, Fault, SimDisk, every_crash},
        id::Timestamp,
    };
    use proptest::prelude::*;

    fn layout() -> Layout {
        Layout::new("/s".into(), "acme".parse().unwrap())
    }

    fn keep_one(disk: &SimDisk, part: &str, bytes: &[u8]) -> Result<PathBuf> {
        let apply = JournalId::new(Timestamp::from_millis(0), 1);
        let address = "service.sync".parse().unwrap();
        let part = PartName::from_text(part.to_owned());
        keep_foreign(disk, &layout(), &apply, &address, &part, bytes)
    }

    #[test]
    fn foreign_bytes_are_kept_once_and_never_over_others() {
        let disk = SimDisk::new();
        place::prepare_dirs(&disk, &layout()).unwrap();
        let part = "drop-in/timer/50-x.conf";
        let first = keep_one(&disk, part, b"one").unwrap();
        assert_eq!(
            first,
            Path::new(
                "/s/acme/backups/foreign/19700101T000000000Z-00000001/service.sync,drop-in,timer,50-x.conf"
            )
        );
        assert_eq!(keep_one(&disk, part, b"one").unwrap(), first);
        let second = keep_one(&disk, part, b"two").unwrap();
        assert_ne!(second, first);
        for (path, bytes) in [(first, b"one"), (second, b"two")] {
            let kept = disk.reboot(After::PowerCut(0)).read(&path, 9).unwrap();
            let kept = kept.expect("it survives");
            assert_eq!((kept.bytes.as_slice(), kept.mode), (&bytes[..], 0o600));
        }
    }

    #[test]
    fn foreign_bytes_that_cannot_be_kept_are_an_error() {
        let begin = || {
            let disk = SimDisk::new();
            place::prepare_dirs(&disk, &layout()).unwrap();
            disk
        };
        let points = every_crash(
            begin,
            |disk| keep_one(disk, "x", b"bytes"),
            |_, told, point| assert!(told.is_err(), "{point}"),
        );
        assert!(points > 8, "{points}");
        let disk = begin();
        disk.fail(1, Fault::Full);
        assert_eq!(keep_one(&disk, "x", b"bytes").unwrap_err().code, Code::Io);
    }

    proptest! {
        #[test]
        fn any_part_gives_one_plain_name_of_its_own(a in ".{0,300}", b in ".{0,300}") {
            let (one, two) = (file_name(&a), file_name(&b));
            prop_assert!(one.len() <= 200 && one.bytes().all(|c| c.is_ascii_graphic() && c != b'/'));
            prop_assert_eq!(a == b, one == two);
        }
    }
}
