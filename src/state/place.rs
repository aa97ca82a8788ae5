//! Where states are kept, and the directories they need.

use std::{
    ffi::OsStr,
    path::{Component, Path, PathBuf},
};

use crate::{
    effect::disk::{self, Disk, EntryKind},
    error::{Code, Error, Result},
    id::ProjectName,
    layout::Layout,
    resource::Owner,
};

/// The state directory of root.
pub const SYSTEM: &str = "/var/lib/lorectl";

/// What decides where states are kept.
#[derive(Debug, Clone, Copy)]
pub struct Whereabouts<'a> {
    /// `--state-dir`, else `LORECTL_STATE_DIR`; relative to `current_dir`.
    pub state_dir: Option<&'a Path>,
    /// The effective user id.
    pub uid: u32,
    /// `XDG_STATE_HOME`. It counts only when it is absolute, as the XDG Base Directory Specification has it.
    pub xdg_state_home: Option<&'a OsStr>,
    /// `HOME`.
    pub home: Option<&'a OsStr>,
    /// The current directory, absolute.
    pub current_dir: &'a Path,
}

/// The directory of all projects: absolute, without `.` and `..`, fit for a unit file.
///
/// For root it is the same whatever `HOME` says.
///
/// # Errors
/// `USAGE` when a user has neither `HOME` nor `XDG_STATE_HOME`, and when the path has a control
/// character or is not UTF-8.
pub fn state_dir(from: &Whereabouts<'_>) -> Result<PathBuf> {
    let absolute = |text: &&OsStr| Path::new(text).is_absolute();
    let path = if let Some(given) = from.state_dir.filter(|dir| !dir.as_os_str().is_empty()) {
        from.current_dir.join(given)
    } else if from.uid == 0 {
        PathBuf::from(SYSTEM)
    } else if let Some(state_home) = from.xdg_state_home.filter(absolute) {
        Path::new(state_home).join("lorectl")
    } else if let Some(home) = from.home.filter(absolute) {
        Path::new(home).join(".local/state/lorectl")
    } else {
        return Err(Error::new(
            Code::Usage,
            "it cannot be told where the state is kept: neither HOME nor XDG_STATE_HOME is an absolute path",
        )
        .suggest("set HOME, or name a directory with `--state-dir`"));
    };
    match path.to_str() {
        Some(text) if !text.contains(char::is_control) => Ok(plain(&path)),
        _ => Err(Error::new(
            Code::Usage,
            format!(
                "`{}` cannot be a state directory: units carry its path, which must be UTF-8 without control characters",
                path.to_string_lossy().escape_debug()
            ),
        )
        .suggest("name another directory with `--state-dir`")),
    }
}

/// Takes `.` and `..` out by their letters alone: systemd refuses a path that has them.
pub(super) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            Component::RootDir | Component::Prefix(_) | Component::Normal(_) => {
                plain.push(component);
            }
        }
    }
    plain
}

/// The projects that have something in a state directory, ordered by name; none when it is missing.
///
/// # Errors
/// What the disk says.
pub fn list_projects(disk: &dyn Disk, state_dir: &Path) -> Result<Vec<ProjectName>> {
    let mut projects = Vec::new();
    let listed = disk.list_behind_links(state_dir);
    for (name, kind) in listed.map_err(|error| Error::io("list", state_dir, error))? {
        let Ok(project) = name.parse::<ProjectName>() else {
            continue;
        };
        match kind {
            EntryKind::Dir => {}
            EntryKind::File | EntryKind::Link | EntryKind::Special => continue,
        }
        let layout = Layout::new(state_dir.to_owned(), project.clone());
        for mark in [layout.state_file(), layout.journal(), layout.backups()] {
            let stat = disk.stat(&mark);
            if stat
                .map_err(|error| Error::io("look at", &mark, error))?
                .is_some()
            {
                projects.push(project);
                break;
            }
        }
    }
    Ok(projects)
}

/// Makes what is missing of a project's own directories, durably: they are there after a power
/// failure, and so is what is synced into them.
///
/// The state directory is made 0711 and is left alone when it exists; the project's own is 0711,
/// `backups/` and `journal/` are 0700. What the kinds keep, they make.
///
/// # Errors
/// `NOT_PERMITTED` when one of them belongs to another user; otherwise what the disk says.
pub fn prepare_dirs(disk: &dyn Disk, layout: &Layout) -> Result<()> {
    let mut made = false;
    if own_mode(disk, layout.state_dir(), Foreign::Allowed)?.is_none() {
        make(disk, layout.state_dir(), 0o711)?;
        made = true;
    }
    for (dir, mode) in [
        (layout.root(), 0o711),
        (layout.backups(), 0o700),
        (layout.journal(), 0o700),
    ] {
        let there = own_mode(disk, &dir, Foreign::Refused)?;
        if there != Some(mode) {
            make(disk, &dir, mode)?;
        }
        made |= there.is_none();
    }
    // Without a state nothing vouches for an earlier sync: a process may have ended before it.
    let state = layout.state_file();
    let first = disk.stat(&state);
    if made
        || first
            .map_err(|error| Error::io("look at", &state, error))?
            .is_none()
    {
        let root = layout.root();
        disk.sync_fs(&root)
            .map_err(|error| Error::io("sync", &root, error))?;
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Foreign {
    Allowed,
    Refused,
}

/// The mode of a directory; `None` when there is nothing.
fn own_mode(disk: &dyn Disk, dir: &Path, foreign: Foreign) -> Result<Option<u32>> {
    let stat = disk.stat(dir);
    let Some(stat) = stat.map_err(|error| Error::io("look at", dir, error))? else {
        return Ok(None);
    };
    if foreign == Foreign::Allowed {
        return Ok(Some(stat.mode));
    }
    let refused = |what: String| {
        Error::new(Code::NotPermitted, format!("{} {what}", dir.display())).suggest(
            "lorectl keeps its state only where no other user can change it: move it away, or name another directory with `--state-dir`",
        )
    };
    let Owner { uid, .. } = stat.owner;
    let own = disk.identity().uid;
    match stat.kind {
        EntryKind::Dir if uid == own || uid == 0 => Ok(Some(stat.mode)),
        EntryKind::Dir => Err(refused(format!(
            "belongs to uid {uid}, and this is uid {own}"
        ))),
        EntryKind::File | EntryKind::Link | EntryKind::Special => {
            Err(refused("is not a directory".to_owned()))
        }
    }
}

pub(super) fn make(disk: &dyn Disk, dir: &Path, mode: u32) -> Result<()> {
    disk.make_dir(dir, mode, None)
        .map_err(|error| Error::io("make the directory", dir, error))
}

/// Removes the temporary files that a crash left in a directory, and says how many there were.
///
/// Only while nobody else writes there: under the lock that guards the directory's files.
///
/// # Errors
/// What the disk says.
pub fn sweep_temporaries(disk: &dyn Disk, dir: &Path) -> Result<usize> {
    disk::sweep(disk, dir, &|_| true).map_err(|(path, error)| Error::io("sweep", &path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::simdisk::SimDisk;

    fn from(
        given: Option<&'static str>,
        uid: u32,
        xdg: Option<&'static str>,
        home: Option<&'static str>,
    ) -> Whereabouts<'static> {
        Whereabouts {
            state_dir: given.map(Path::new),
            uid,
            xdg_state_home: xdg.map(OsStr::new),
            home: home.map(OsStr::new),
            current_dir: Path::new("/cur/dir"),
        }
    }

    #[test]
    fn the_state_directory_is_the_one_that_the_user_expects() {
        for (from, expected) in [
            (from(None, 0, Some("/xdg"), Some("/home/me")), SYSTEM),
            (
                from(None, 1000, Some("/xdg"), Some("/home/me")),
                "/xdg/lorectl",
            ),
            (
                from(None, 1000, Some("xdg"), Some("/home/me")),
                "/home/me/.local/state/lorectl",
            ),
            (
                from(None, 1000, None, Some("/home/me")),
                "/home/me/.local/state/lorectl",
            ),
            (from(Some(""), 0, None, None), SYSTEM),
            (from(Some("/s"), 0, None, None), "/s"),
            (from(Some("./s/../t"), 1000, None, None), "/cur/dir/t"),
            (from(Some("../../../t/"), 1000, None, None), "/t"),
        ] {
            assert_eq!(state_dir(&from).unwrap(), Path::new(expected), "{from:?}");
        }
        for refused in [
            from(None, 1000, None, None),
            from(None, 1000, None, Some("me")),
            from(Some("/a\nExecStartPre=x"), 0, None, None),
        ] {
            assert_eq!(state_dir(&refused).unwrap_err().code, Code::Usage);
        }
    }

    #[test]
    fn projects_are_listed_by_what_they_left() {
        let disk = SimDisk::new();
        let root = Owner { uid: 0, gid: 0 };
        for file in [
            "/s/b/state.json",
            "/s/a/journal/x",
            "/s/Not-one/state.json",
            "/s/c/other",
            "/s/worker.lock",
        ] {
            disk.put(Path::new(file), b"", 0o600, root);
        }
        disk.put_link(Path::new("/s/d"), Path::new("/s/a"));
        let names: Vec<String> = list_projects(&disk, Path::new("/s"))
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, ["a", "b"]);
        assert!(list_projects(&disk, Path::new("/none")).unwrap().is_empty());
    }

    #[test]
    fn only_what_a_crash_left_is_swept() {
        let disk = SimDisk::new();
        let root = Owner { uid: 0, gid: 0 };
        for name in [".lorectl-0123.tmp", ".lorectl-x", "x.tmp", "state.json"] {
            disk.put(&Path::new("/d").join(name), b"", 0o600, root);
        }
        disk.put_link(Path::new("/d/.lorectl-4.tmp"), Path::new("/d/x.tmp"));
        assert_eq!(sweep_temporaries(&disk, Path::new("/d")).unwrap(), 2);
        assert_eq!(disk.list(Path::new("/d")).unwrap().len(), 3);
        assert_eq!(sweep_temporaries(&disk, Path::new("/none")).unwrap(), 0);
    }

    #[test]
    fn a_directory_of_another_user_is_not_taken_over() {
        let disk = SimDisk::new();
        let other = Owner { uid: 7, gid: 7 };
        disk.put(Path::new("/s/acme/planted"), b"", 0o644, other);
        let layout = Layout::new("/s".into(), "acme".parse().unwrap());
        let before = disk.tree();
        assert_eq!(
            prepare_dirs(&disk, &layout).unwrap_err().code,
            Code::NotPermitted
        );
        assert_eq!(disk.tree(), before);
    }
}
