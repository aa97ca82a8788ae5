//! What this host is: its name, its machine id, and which systemd managers it runs.
#![expect(
    clippy::disallowed_methods,
    reason = "the one place that asks the host what it is"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::error::{Code, Error, Result};

/// The host's name as `hostname` prints it.
///
/// # Errors
/// `IO` when the kernel does not say it, or it is not UTF-8.
pub fn name() -> Result<String> {
    let name = nix::unistd::gethostname()
        .map_err(|error| Error::new(Code::Io, "cannot read the host's name").because(error))?;
    name.into_string()
        .map_err(|_| Error::new(Code::Io, "the host's name is not UTF-8"))
}

/// The machine's id, machine-id(5): 32 hex digits. Where none is set, the host's name.
///
/// # Errors
/// As [`name`], where that is needed.
pub fn machine_id() -> Result<String> {
    for path in ["/etc/machine-id", "/var/lib/dbus/machine-id"] {
        if let Ok(text) = fs::read_to_string(path) {
            let id = text.trim();
            if id.len() == 32 && id.bytes().all(|c| c.is_ascii_hexdigit()) {
                return Ok(id.to_owned());
            }
        }
    }
    name()
}

/// Whether systemd is this host's init: what `sd_booted(3)` asks.
pub fn system_manager_runs() -> bool {
    fs::symlink_metadata("/run/systemd/system").is_ok_and(|meta| meta.is_dir())
}

/// Whether a user's own manager runs: its sockets are there.
pub fn user_manager_runs(uid: u32) -> bool {
    let runtime = runtime_dir(uid);
    ["bus", "systemd/private"]
        .into_iter()
        .any(|socket| is_there(&runtime.join(socket)))
}

/// Whether something stands at a path, of whatever kind.
pub fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Whether a user's manager outlives logins and starts at boot, as `loginctl enable-linger` sets it.
pub fn lingers(user: &str) -> bool {
    is_there(&Path::new("/var/lib/systemd/linger").join(user))
}

/// `$XDG_RUNTIME_DIR` as `pam_systemd(8)` makes it, whatever the environment says.
pub fn runtime_dir(uid: u32) -> PathBuf {
    PathBuf::from(format!("/run/user/{uid}"))
}

/// What a file system has left for this user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeSpace {
    /// Bytes.
    pub bytes: u64,
    /// Files; `None` where the file system counts none.
    pub files: Option<u64>,
}

/// What the file system of a path has left.
///
/// # Errors
/// As statvfs(3) fails.
pub fn free_space(path: &Path) -> std::io::Result<FreeSpace> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    let counted = stat.files() > 0;
    Ok(FreeSpace {
        bytes: stat.blocks_available().saturating_mul(stat.fragment_size()),
        files: counted.then(|| stat.files_available()),
    })
}
