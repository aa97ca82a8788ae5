//! Where a manager keeps units, systemd.unit(5), "Unit File Load Path".

use std::path::{Path, PathBuf};

/// A directory of units beside the one that we write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// Its short name within the names of parts.
    pub tag: &'static str,
    /// Where it is.
    pub dir: PathBuf,
    /// A unit file here hides ours of the same name.
    pub hides: bool,
}

/// The directories of one manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Where our units are.
    pub units: PathBuf,
    /// Directories that whoever applies may write to: what changes our units there is drift.
    pub beside: Vec<Beside>,
    /// Directories of others: what changes our units there is told, and left alone.
    pub others: Vec<PathBuf>,
    /// Stamps of timers with `Persistent=`, systemd.timer(5).
    pub stamps: PathBuf,
}

impl Places {
    /// Of the system's manager.
    pub fn system() -> Self {
        let beside = |tag, dir: &str, hides| Beside {
            tag,
            dir: PathBuf::from(dir),
            hides,
        };
        Self {
            units: PathBuf::from("/etc/systemd/system"),
            beside: vec![
                beside("etc-control", "/etc/systemd/system.control", true),
                beside("run-control", "/run/systemd/system.control", true),
                beside("run", "/run/systemd/system", false),
            ],
            others: [
                "/run/systemd/transient",
                "/run/systemd/generator.early",
                "/run/systemd/generator",
                "/run/systemd/generator.late",
                "/etc/systemd/system.attached",
                "/usr/local/lib/systemd/system",
                "/usr/lib/systemd/system",
            ]
            .map(PathBuf::from)
            .to_vec(),
            stamps: PathBuf::from("/var/lib/systemd/timers"),
        }
    }

    /// Of a user's manager, as `pam_systemd(8)` starts it: without `XDG_` variables of the user's own.
    pub fn user(home: &Path, runtime: &Path) -> Self {
        let beside = |tag, dir: PathBuf, hides| Beside { tag, dir, hides };
        let run = runtime.join("systemd");
        let config = home.join(".config/systemd");
        Self {
            units: config.join("user"),
            beside: vec![
                beside("home-control", config.join("user.control"), true),
                beside("run-control", run.join("user.control"), true),
                beside("run", run.join("user"), false),
            ],
            others: vec![
                run.join("transient"),
                run.join("generator.early"),
                run.join("generator"),
                run.join("generator.late"),
                PathBuf::from("/etc/systemd/user"),
                PathBuf::from("/run/systemd/user"),
                home.join(".local/share/systemd/user"),
                PathBuf::from("/usr/local/lib/systemd/user"),
                PathBuf::from("/usr/lib/systemd/user"),
            ],
            stamps: home.join(".local/share/systemd/timers"),
        }
    }

    /// The directories that whoever has this manager may write units to.
    pub fn written(&self) -> impl Iterator<Item = PathBuf> {
        let beside = self.beside.iter().map(|beside| beside.dir.clone());
        [self.wants(), self.units.clone()].into_iter().chain(beside)
    }

    /// The directory of links that enable timers.
    pub fn wants(&self) -> PathBuf {
        self.units.join("timers.target.wants")
    }
}
