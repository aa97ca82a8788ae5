//! Who wakes the runner: the schedulers, and which of them `auto` is.

pub mod systemd;

use crate::{effect::host, service::definition::Scheduler};

/// Which managers answer to the user who applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Managers {
    /// systemd is the host's init.
    pub system: bool,
    /// The user has a manager.
    pub user: bool,
}

impl Managers {
    /// Looks at the sockets and directories that the managers keep; connects to nothing.
    pub fn of_host(uid: u32) -> Self {
        Self {
            system: host::system_manager_runs(),
            user: host::user_manager_runs(uid),
        }
    }
}

/// What `scheduler = "auto"` is for whoever creates the service: root gets the system's manager,
/// a user their own, and where there is none the worker takes its place.
pub const fn auto(uid: u32, managers: Managers) -> Scheduler {
    match (uid, managers) {
        (0, Managers { system: true, .. }) => Scheduler::SystemdSystem,
        (1.., Managers { user: true, .. }) => Scheduler::SystemdUser,
        (_, Managers { .. }) => Scheduler::Worker,
    }
}

/// What the user should know about a scheduler whenever it is planned; `None` when all is well.
///
/// `lingers` is whether the user's manager outlives their logins.
pub fn lingering_warning(scheduler: Scheduler, user: &str, lingers: bool) -> Option<String> {
    match scheduler {
        Scheduler::SystemdUser if !lingers => Some(format!(
            "timers of {user} stop at logout and do not start at boot: run `loginctl enable-linger {user}` as root"
        )),
        Scheduler::SystemdUser | Scheduler::SystemdSystem | Scheduler::Worker => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_the_manager_that_answers() {
        let managers = |system, user| Managers { system, user };
        for (uid, managers, expected) in [
            (0, managers(true, true), Scheduler::SystemdSystem),
            (0, managers(true, false), Scheduler::SystemdSystem),
            (0, managers(false, true), Scheduler::Worker),
            (1000, managers(true, true), Scheduler::SystemdUser),
            (1000, managers(true, false), Scheduler::Worker),
            (1000, managers(false, false), Scheduler::Worker),
        ] {
            assert_eq!(auto(uid, managers), expected, "{uid} {managers:?}");
        }
    }

    #[test]
    fn only_a_user_without_lingering_is_warned() {
        assert!(lingering_warning(Scheduler::SystemdUser, "joe", false).is_some());
        assert!(lingering_warning(Scheduler::SystemdUser, "joe", true).is_none());
        assert!(lingering_warning(Scheduler::SystemdSystem, "root", false).is_none());
    }
}
