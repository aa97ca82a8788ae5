//! Core dumps: this process, which holds values, leaves none; what it starts may as it might before.

use std::sync::OnceLock;

use nix::sys::{
    prctl,
    resource::{Resource, getrlimit, setrlimit},
};

/// How large a core dump of ours could be before they were forbidden, in bytes.
static BEFORE: OnceLock<u64> = OnceLock::new();

/// Forbids core dumps of this process, and others of its user to look into its memory (core(5), prctl(2),
/// `PR_SET_DUMPABLE`), for good. Of a dump that goes to a program the limit alone would say nothing.
///
/// Where the system does not let us, as a filter of system calls may, all else works as before.
pub fn forbid() {
    let _ = prctl::set_dumpable(false);
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_CORE)
        && soft > 0
        && setrlimit(Resource::RLIMIT_CORE, 0, hard).is_ok()
    {
        let _ = BEFORE.set(soft);
    }
}

/// Starts something with the limit as it was before. That we may be looked into begins anew with each
/// program (execve(2)) and is not changed here.
pub(super) fn as_before<T>(start: impl FnOnce() -> T) -> T {
    let limit = |soft| {
        if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_CORE) {
            let _ = setrlimit(Resource::RLIMIT_CORE, soft, hard);
        }
    };
    match BEFORE.get() {
        None => start(),
        Some(before) => {
            limit(*before);
            let started = start();
            limit(0);
            started
        }
    }
}
