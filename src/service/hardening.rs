//! What a unit may not do: the settings of each [`Sandbox`] level.
//!
//! Measured with `systemd-analyze security` of v252: strict scores 1.9 as root and less as
//! another user, where 2.0 is what is asked. Name resolution does without netlink. Left out, because
//! jobs would break: `MemoryDenyWriteExecute=` stops just-in-time compilers,
//! `ProcSubset=` hides `/proc/cpuinfo` and `/proc/meminfo`, and a filter without `@resources`
//! or `@privileged` makes `ionice` and a `chown` to oneself fail. `RemoveIPC=` would take the shared
//! memory of whatever else the service's user runs.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{
    definition::{Sandbox, Scheduler, Service},
    unit::{Setting, path_word, utf8},
};
use crate::{
    error::{Code, Error, Result},
    layout::Layout,
};

/// Settings of `strict`, in the order in which they are written.
const STRICT: &[(&str, &str)] = &[
    ("NoNewPrivileges", "yes"),
    ("CapabilityBoundingSet", ""),
    ("PrivateTmp", "yes"),
    ("PrivateDevices", "yes"),
    ("PrivateMounts", "yes"),
    ("ProtectSystem", "strict"),
    // Not `yes`: the state of a user's services is in the home.
    ("ProtectHome", "read-only"),
    ("ProtectProc", "invisible"),
    ("ProtectClock", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("LockPersonality", "yes"),
    ("SystemCallArchitectures", "native"),
    ("SystemCallFilter", "@system-service"),
    // A refused call fails as such, instead of ending the job without a word.
    ("SystemCallErrorNumber", "EPERM"),
];

/// Settings of `basic`.
const BASIC: &[(&str, &str)] = &[
    ("NoNewPrivileges", "yes"),
    ("PrivateTmp", "yes"),
    ("ProtectSystem", "full"),
];

/// Directories that `PrivateTmp=` replaces with empty ones.
const PRIVATE: [&str; 2] = ["/tmp", "/var/tmp"];

/// The hardening of a service's unit.
///
/// # Errors
/// `SPEC_INVALID` for a path that no unit can hold.
pub(super) fn settings(service: &Service, layout: &Layout) -> Result<Vec<Setting<'static>>> {
    let level = match service.sandbox {
        Sandbox::Off => return Ok(Vec::new()),
        Sandbox::Basic => BASIC,
        Sandbox::Strict => STRICT,
    };
    let mut settings: Vec<Setting<'static>> = level
        .iter()
        .map(|(key, value)| (*key, (*value).into()))
        .collect();
    if service.scheduler == Scheduler::SystemdUser {
        // A user's manager has no right to mount: without a user namespace it ignores what mounts.
        settings.push(("PrivateUsers", "yes".into()));
    }
    let data = layout.data(&service.name);
    let writable = || std::iter::once(&data).chain(&service.write_paths);
    for path in writable() {
        settings.push(("ReadWritePaths", optional("write_paths", path)?.into()));
    }
    for path in hidden(service, layout) {
        settings.push(("BindReadOnlyPaths", bind(&path)?.into()));
    }
    for path in writable().filter(|path| is_private(path)) {
        settings.push(("BindPaths", bind(path)?.into()));
    }
    Ok(settings)
}

/// What the job reads and `PrivateTmp=` would hide.
fn hidden(service: &Service, layout: &Layout) -> Vec<PathBuf> {
    let programs = service
        .stages
        .iter()
        .filter_map(|stage| stage.run.first())
        .map(PathBuf::from);
    let mut paths = vec![layout.root(), service.working_dir.clone()];
    paths.extend(programs);
    paths.extend(service.told_with().map(Path::to_owned));
    paths.retain(|path| is_private(path) && !service.write_paths.contains(path));
    paths.sort_unstable();
    paths.dedup();
    paths
}

fn is_private(path: &Path) -> bool {
    let below = |dir: &str| path.starts_with(dir) && path != Path::new(dir);
    PRIVATE.into_iter().any(below)
}

/// A path that may be missing: the job, and not the unit, is to fail of it.
fn optional(what: &str, path: &Path) -> Result<String> {
    let mut text = OsString::from("-");
    text.push(path);
    path_word(what, Path::new(&text))
}

/// A path to be bound to itself. Colons separate and quotes are taken off twice there, so neither is let in.
fn bind(path: &Path) -> Result<String> {
    let what = "a path below /tmp";
    if utf8(what, path)?.contains([':', '"', '\'', '\\']) {
        return Err(Error::new(
            Code::SpecInvalid,
            format!(
                "{} cannot be shown to a hardened job, because of a `:`, quote or backslash in it",
                path.display()
            ),
        )
        .suggest("Use a directory that is not below /tmp, or `sandbox = \"off\"`."));
    }
    optional(what, path)
}
