//! Where things are kept: the names of a project's files under its state directory.

use std::path::{Path, PathBuf};

use crate::id::{ProjectName, ResourceName};

/// The state directory of one project: `DIR/PROJECT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    state_dir: PathBuf,
    project: ProjectName,
}

impl Layout {
    /// The layout of a project in a state directory, which must be absolute.
    pub const fn new(state_dir: PathBuf, project: ProjectName) -> Self {
        Self { state_dir, project }
    }

    /// The directory of all projects, `/var/lib/lorectl` for root. 0711.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The project.
    pub const fn project(&self) -> &ProjectName {
        &self.project
    }

    /// The project's directory. 0711: a service's user passes through it.
    pub fn root(&self) -> PathBuf {
        self.state_dir.join(self.project.as_str())
    }

    /// The state. 0600.
    pub fn state_file(&self) -> PathBuf {
        self.root().join("state.json")
    }

    /// Old states, and bytes of files that were not ours. 0700.
    pub fn backups(&self) -> PathBuf {
        self.root().join("backups")
    }

    /// Journals, one an apply. 0700.
    pub fn journal(&self) -> PathBuf {
        self.root().join("journal")
    }

    /// The `state mv` that is under way, or was cut short. 0600.
    pub fn renaming(&self) -> PathBuf {
        self.root().join("renaming.json")
    }

    /// The project's lock. 0600.
    pub fn lock_file(&self) -> PathBuf {
        self.root().join("lock")
    }

    /// Locks that services share by name; root-owned 0644, in a directory of 0711.
    pub fn named_lock(&self, name: &ResourceName) -> PathBuf {
        self.root().join("locks").join(name.as_str())
    }

    /// Values of credentials. 0700.
    pub fn secrets(&self) -> PathBuf {
        self.root().join("secrets")
    }

    /// One credential. 0700.
    pub fn secret(&self, name: &ResourceName) -> PathBuf {
        self.secrets().join(name.as_str())
    }

    /// The lock of one credential's record, value and deliveries. 0600.
    pub fn secret_lock(&self, name: &ResourceName) -> PathBuf {
        // No name holds a dot.
        self.secrets().join(format!("{name}.lock"))
    }

    /// The value that is in use, and nothing else. 0600.
    pub fn secret_value(&self, name: &ResourceName) -> PathBuf {
        self.secret(name).join("value")
    }

    /// All that is known of a credential, its values included. 0600.
    pub fn secret_record(&self, name: &ResourceName) -> PathBuf {
        self.secret(name).join("record.json")
    }

    /// What its issuer last said of it. 0600.
    pub fn secret_finding(&self, name: &ResourceName) -> PathBuf {
        self.secret(name).join("finding.json")
    }

    /// How issuers have answered of late. 0700.
    pub fn breakers(&self) -> PathBuf {
        self.root().join("breakers")
    }

    /// What fingerprints of values are keyed with: 32 random bytes. 0600.
    pub fn key_file(&self) -> PathBuf {
        self.root().join("key")
    }

    /// What sealed records are opened with: 32 random bytes, as `systemd-creds` encrypts them. 0600.
    pub fn seal_file(&self) -> PathBuf {
        self.root().join("seal.cred")
    }

    /// All services. 0711.
    pub fn services(&self) -> PathBuf {
        self.root().join("services")
    }

    /// What services took the place of, and how it was before. 0700.
    pub fn replaced_dir(&self) -> PathBuf {
        self.root().join("replaced")
    }

    /// The same of one service. 0600.
    pub fn replaced(&self, name: &ResourceName) -> PathBuf {
        self.replaced_dir().join(format!("{name}.json"))
    }

    /// One service. Owned by whoever applies, 0711.
    pub fn service(&self, name: &ResourceName) -> PathBuf {
        self.services().join(name.as_str())
    }

    /// All that a run needs; 0640, its group that of the service's user.
    pub fn run_file(&self, name: &ResourceName) -> PathBuf {
        self.service(name).join("run.json")
    }

    /// What the runner writes, and the job may; owned by the service's user, 0700.
    pub fn data(&self, name: &ResourceName) -> PathBuf {
        self.service(name).join("data")
    }

    /// What happened to the service so far.
    pub fn status_file(&self, name: &ResourceName) -> PathBuf {
        self.data(name).join("status.json")
    }

    /// Held by a run while it lasts.
    pub fn run_lock(&self, name: &ResourceName) -> PathBuf {
        self.data(name).join("lock")
    }

    /// What the stages printed.
    pub fn logs(&self, name: &ResourceName) -> PathBuf {
        self.data(name).join("logs")
    }
}
