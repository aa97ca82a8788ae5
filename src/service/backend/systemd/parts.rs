//! The names of a service's parts, and the paths that they stand for.

use std::path::PathBuf;

use super::{Places, Systemd};
use crate::{
    id::ResourceName,
    layout::Layout,
    resource::PartName,
    service::{image, unit},
};

/// One of the units of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnitKind {
    /// The job.
    Service,
    /// What wakes it.
    Timer,
    /// What renews the credentials of a run, before it.
    Refresh,
}

impl UnitKind {
    pub(super) const ALL: [Self; 3] = [Self::Service, Self::Timer, Self::Refresh];

    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Timer => "timer",
            Self::Refresh => "refresh.service",
        }
    }

    pub(super) const fn part(self) -> PartName {
        match self {
            Self::Service => image::SERVICE,
            Self::Timer => image::TIMER,
            Self::Refresh => image::REFRESH,
        }
    }

    fn of(suffix: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.suffix() == suffix)
    }
}

/// What a part of an image is on this backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// A unit file.
    Unit(UnitKind, PathBuf),
    /// `run.json`.
    Run(PathBuf),
    /// Mode and owner of `data/`.
    Data(PathBuf),
    /// The link that enables the timer.
    Enabled,
    /// Whether the timer is up.
    Active,
    /// What the manager made of the timer; follows from the other parts.
    LoadState,
    /// A drop-in, or a unit file in a directory that hides ours.
    Extra(UnitKind, PathBuf),
}

impl Role {
    /// Whether the manager must read its files anew when this part changes.
    pub(super) const fn wants_reload(&self) -> bool {
        match self {
            Self::Unit(..) | Self::Extra(..) | Self::LoadState => true,
            Self::Run(_) | Self::Data(_) | Self::Enabled | Self::Active => false,
        }
    }

    /// Whether the timer must be started anew for this part's change to count.
    pub(super) const fn wants_restart(&self) -> bool {
        match self {
            Self::Unit(UnitKind::Timer, _) | Self::Extra(UnitKind::Timer, _) | Self::LoadState => {
                true
            }
            Self::Unit(UnitKind::Service | UnitKind::Refresh, _)
            | Self::Extra(UnitKind::Service | UnitKind::Refresh, _)
            | Self::Run(_)
            | Self::Data(_)
            | Self::Enabled
            | Self::Active => false,
        }
    }
}

/// The name of the part for a drop-in; `tag` is `None` in the directory of our units.
pub(super) fn drop_in(kind: UnitKind, tag: Option<&str>, file: &str) -> PartName {
    let tag = tag.map(|tag| format!("{tag}/")).unwrap_or_default();
    PartName::from_text(format!("{}{}/{tag}{file}", image::DROP_IN, kind.suffix()))
}

/// The name of the part for a unit file that hides ours.
pub(super) fn shadow(kind: UnitKind, tag: &str) -> PartName {
    PartName::from_text(format!("{}{}/{tag}", image::SHADOW, kind.suffix()))
}

/// The names and paths of a project's units, without a manager: to be shared by threads.
#[derive(Clone, Copy)]
pub(super) struct Paths<'a> {
    pub(super) places: &'a Places,
    pub(super) layout: &'a Layout,
}

impl Paths<'_> {
    pub(super) fn unit_name(self, name: &ResourceName, kind: UnitKind) -> String {
        let stem = unit::stem(self.layout.project(), name);
        format!("{stem}.{}", kind.suffix())
    }

    pub(super) fn unit_path(self, name: &ResourceName, kind: UnitKind) -> PathBuf {
        self.places.units.join(self.unit_name(name, kind))
    }

    pub(super) fn wants_link(self, name: &ResourceName) -> PathBuf {
        self.places
            .wants()
            .join(self.unit_name(name, UnitKind::Timer))
    }
}

impl Systemd {
    pub(super) const fn paths(&self) -> Paths<'_> {
        Paths {
            places: &self.places,
            layout: &self.layout,
        }
    }

    pub(super) fn unit_name(&self, name: &ResourceName, kind: UnitKind) -> String {
        self.paths().unit_name(name, kind)
    }

    pub(super) fn unit_path(&self, name: &ResourceName, kind: UnitKind) -> PathBuf {
        self.paths().unit_path(name, kind)
    }

    pub(super) fn wants_link(&self, name: &ResourceName) -> PathBuf {
        self.paths().wants_link(name)
    }

    pub(super) fn stamp(&self, name: &ResourceName) -> PathBuf {
        let timer = self.unit_name(name, UnitKind::Timer);
        self.places.stamps.join(format!("stamp-{timer}"))
    }

    /// What a part is, and where; `None` for a name that is none of this backend's.
    pub(super) fn role(&self, name: &ResourceName, part: &PartName) -> Option<Role> {
        if *part == image::SERVICE {
            let kind = UnitKind::Service;
            return Some(Role::Unit(kind, self.unit_path(name, kind)));
        }
        if *part == image::TIMER {
            let kind = UnitKind::Timer;
            return Some(Role::Unit(kind, self.unit_path(name, kind)));
        }
        if *part == image::REFRESH {
            let kind = UnitKind::Refresh;
            return Some(Role::Unit(kind, self.unit_path(name, kind)));
        }
        if *part == image::RUN {
            return Some(Role::Run(self.layout.run_file(name)));
        }
        if *part == image::DATA {
            return Some(Role::Data(self.layout.data(name)));
        }
        if *part == image::ENABLED {
            return Some(Role::Enabled);
        }
        if *part == image::ACTIVE {
            return Some(Role::Active);
        }
        if *part == image::LOAD_STATE {
            return Some(Role::LoadState);
        }
        self.extra(name, part.as_str())
    }

    fn extra(&self, name: &ResourceName, part: &str) -> Option<Role> {
        let dir_of = |tag: &str| {
            let found = self.places.beside.iter().find(|beside| beside.tag == tag);
            found.map(|beside| beside.dir.clone())
        };
        if let Some(rest) = part.strip_prefix(image::SHADOW) {
            let (suffix, tag) = rest.split_once('/')?;
            let kind = UnitKind::of(suffix)?;
            let path = dir_of(tag)?.join(self.unit_name(name, kind));
            return Some(Role::Extra(kind, path));
        }
        let rest = part.strip_prefix(image::DROP_IN)?;
        let (suffix, rest) = rest.split_once('/')?;
        let kind = UnitKind::of(suffix)?;
        let (dir, file) = match rest.split_once('/') {
            Some((tag, file)) => (dir_of(tag)?, file),
            None => (self.places.units.clone(), rest),
        };
        // A name from a plan or a state must not lead out of the directory.
        if file.is_empty() || file == "." || file == ".." || file.contains(['/', '\0']) {
            return None;
        }
        let unit = self.unit_name(name, kind);
        Some(Role::Extra(kind, dir.join(format!("{unit}.d")).join(file)))
    }
}
