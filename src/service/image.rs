//! The parts of a service's image, by name.

use crate::{
    effect::disk::{EntryKind, Stat},
    resource::{Owner, Part, PartName, Verb},
};

/// The unit `lorectl-PROJECT.NAME.service`: a [`crate::resource::Part::File`]. systemd only.
pub const SERVICE: PartName = PartName::from_static("service");
/// The unit `lorectl-PROJECT.NAME.timer`: a file. systemd only.
pub const TIMER: PartName = PartName::from_static("timer");
/// The unit `lorectl-PROJECT.NAME.refresh.service`, which renews what a run is to get: a file. systemd only, and
/// only where a run uses a credential that can be renewed.
pub const REFRESH: PartName = PartName::from_static("refresh.service");
/// `run.json`: a file. Every scheduler.
pub const RUN: PartName = PartName::from_static("run.json");
/// Mode and owner of `data/`: a text, `0700 UID:GID`. What is in it is the job's. Every scheduler.
pub const DATA: PartName = PartName::from_static("data");
/// The mode of `data/`.
pub const DATA_MODE: u32 = 0o700;
/// The timer's link in `timers.target.wants`: a flag. systemd only.
pub const ENABLED: PartName = PartName::from_static("enabled");
/// Whether the timer is active: a flag. systemd only.
pub const ACTIVE: PartName = PartName::from_static("active");
/// The timer's load state when it is anything but `loaded`, or [`STALE`]: a text, never desired. systemd only.
pub const LOAD_STATE: PartName = PartName::from_static("load-state");
/// The load state of a service whose files are newer than what the manager has read: whoever wrote them
/// did not reload it, so that what runs may be something else than what the files say.
pub const STALE: &str = "changed on disk";
/// What the service takes the place of, and how that stands: a text, as [`retired`] writes it where it
/// runs no more. Every scheduler.
pub const REPLACES: PartName = PartName::from_static("replaces");
/// The text of [`REPLACES`] where what is replaced is retired.
pub fn retired(replaced: &str) -> String {
    format!("{replaced} is retired")
}
/// Prefix of drop-ins in `UNIT.d/`: `drop-in/service/NAME.conf` and `drop-in/timer/NAME.conf`, and `drop-in/timer/TAG/NAME.conf`
/// in another directory than that of our units; files or, for links, texts; never desired.
pub const DROP_IN: &str = "drop-in/";
/// Prefix of what stands in a directory that hides our unit (`/run/systemd/system.control`): files or, for links, texts; never desired.
pub const SHADOW: &str = "shadow/";

/// Makes a service: files, link, timer started.
pub const INSTALL: Verb = Verb::from_static("install");
/// Brings a service to its `after`, touching only the parts that differ.
pub const UPDATE: Verb = Verb::from_static("update");
/// Puts a service back as it was before it was removed: its status and its schedule go on.
pub const RESTORE: Verb = Verb::from_static("restore");
/// Removes a service, once no run is in flight; its `data/` stays.
pub const REMOVE: Verb = Verb::from_static("remove");
/// Removes a service and its `data/`.
pub const PURGE: Verb = Verb::from_static("purge");
/// The inverse of what made a service in the place of something else, or made it take that place: that
/// is put back, once all else is as it was.
pub const WITHDRAW: Verb = Verb::from_static("withdraw");

/// The part for a `data/` of that mode and owner.
pub fn data(mode: u32, owner: Owner) -> Part {
    Part::Text(format!("{mode:04o} {}:{}", owner.uid, owner.gid))
}

/// The part for what stands in the place of `data/`.
pub fn data_found(stat: &Stat) -> Part {
    match stat.kind {
        EntryKind::Dir => data(stat.mode, stat.owner),
        EntryKind::File | EntryKind::Link | EntryKind::Special => {
            Part::Text("not a directory".to_owned())
        }
    }
}

/// The mode and owner that such a part says; `None` for one that is of no directory.
pub fn parse_data(text: &str) -> Option<(u32, Owner)> {
    let (mode, owner) = text.split_once(' ')?;
    let (uid, gid) = owner.split_once(':')?;
    let owner = Owner {
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
    };
    Some((u32::from_str_radix(mode, 8).ok()?, owner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_and_owner_are_read_as_they_are_written() {
        let owner = Owner { uid: 1000, gid: 7 };
        let Part::Text(text) = data(0o1750, owner) else {
            panic!("no text")
        };
        assert_eq!(text, "1750 1000:7");
        assert_eq!(parse_data(&text), Some((0o1750, owner)));
        for none in [
            "not a directory",
            "",
            "0700",
            "0700 1",
            "0800 1:1",
            "0700 1:-1",
        ] {
            assert_eq!(parse_data(none), None, "{none}");
        }
    }
}
