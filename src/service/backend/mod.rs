//! Who wakes the runner: the schedulers, and which of them `auto` is.

mod hand_over;
pub mod named_lock;
pub mod retire;
mod sweep;
pub mod systemd;
pub mod worker;

use std::{path::PathBuf, rc::Rc, sync::Arc};

use crate::{
    credential::{backend::Store, definition::STORE},
    effect::{
        clock::SystemClock,
        dbus::{Manager, Whose},
        delegate::Delegate,
        disk::Disk,
        host,
        user::{self, Account},
    },
    error::{Code, Error, Result},
    id::{BackendId, ResourceName},
    layout::Layout,
    resource::Act,
    service::{
        definition::{Scheduler, Service, user_of},
        image, status,
    },
};

use retire::Retiring;
pub use sweep::sweep;
use systemd::{Places, Systemd};
use worker::Worker;

/// What backends work with.
#[derive(Clone)]
pub struct Host {
    /// Who applies.
    pub account: Account,
    /// Where the project's files are.
    pub layout: Layout,
    /// Files.
    pub disk: Rc<dyn Disk>,
    /// The time, for the status that a new service begins with.
    pub clock: SystemClock,
    /// A credential of which someone asks for a new value.
    pub asked: Option<ResourceName>,
}

/// Opens the backend of that name. It connects to nothing before it is used.
///
/// # Errors
/// `NOT_IN_THIS_BUILD` for a name that this build does not know.
pub fn open(id: &BackendId, host: &Host) -> Result<Box<dyn Act>> {
    if *id == STORE {
        let store = Store::new(&host.account, host.layout.clone(), &host.disk, host.clock);
        return Ok(Box::new(store.asked(host.asked.clone())));
    }
    let inner = open_scheduler(id, host)?;
    let (layout, disk) = (host.layout.clone(), &host.disk);
    let retiring = Retiring::new(inner, id.clone(), &host.account, layout, disk);
    Ok(Box::new(retiring))
}

fn open_scheduler(id: &BackendId, host: &Host) -> Result<Box<dyn Act>> {
    let (layout, disk) = (host.layout.clone(), Rc::clone(&host.disk));
    let seed = host.clone();
    let seed = Rc::new(move |service: &Service| {
        use crate::effect::clock::Clock;
        let now = seed.clock.now();
        status::file::seed_status(seed.disk.as_ref(), &seed.layout, service, now)
    });
    if let Some(name) = user_of(id) {
        if !host.account.is_root() {
            let message = format!("the manager of `{name}` is that user's and root's alone");
            return Err(Error::new(Code::NotPermitted, message).suggest("apply as root"));
        }
        let systemd = match user::by_name(name)? {
            Some(account) => Systemd::of_user(&account, layout),
            None => Systemd::of_nobody(name, layout),
        };
        return Ok(Box::new(systemd.on_install(seed).clock(host.clock)));
    }
    match Scheduler::of(id) {
        Some(Scheduler::SystemdSystem) => {
            let systemd = Systemd::system(layout, disk);
            Ok(Box::new(systemd.on_install(seed).clock(host.clock)))
        }
        Some(Scheduler::SystemdUser) => Ok(Box::new(
            Systemd::user(&host.account, layout, disk)
                .on_install(seed)
                .clock(host.clock),
        )),
        Some(Scheduler::Worker) => Ok(Box::new(Worker::new(layout, disk, Rc::new(host.clock)))),
        None => Err(Error::new(
            Code::NotInThisBuild,
            format!(
                "the state names the backend `{id}`, which this build of lorectl does not have"
            ),
        )),
    }
}

/// Where a file part of a service is on the host, whose manager's user has this account.
pub fn path_of(service: &Service, part: &str, layout: &Layout, account: &Account) -> PathBuf {
    if part == image::RUN.as_str() {
        return layout.run_file(&service.name);
    }
    let places = match service.scheduler {
        Scheduler::SystemdSystem => Places::system(),
        Scheduler::SystemdUser | Scheduler::Worker => {
            Places::user(&account.home, &host::runtime_dir(account.owner.uid))
        }
    };
    let stem = super::unit::stem(&service.project, &service.name);
    places.units.join(format!("{stem}.{part}"))
}

/// The manager that wakes a service; none where that is the worker.
///
/// # Errors
/// `NOT_PERMITTED` when it is the manager of a user whom the host does not have; what the user
/// database says.
pub fn manager(service: &Service, account: &Account) -> Result<Option<Manager>> {
    if let Some(name) = service.manager_of() {
        let found = user::by_name(name)?.ok_or_else(|| {
            let message = format!("there is no user `{name}` on this host");
            Error::new(Code::NotPermitted, message)
        })?;
        return Ok(Some(Manager::through(&Arc::new(Delegate::new(found)))));
    }
    Ok(match service.scheduler {
        Scheduler::SystemdSystem => Some(Manager::new(Whose::System)),
        Scheduler::SystemdUser => Some(Manager::new(Whose::User {
            uid: account.owner.uid,
            name: account.name.clone(),
        })),
        Scheduler::Worker => None,
    })
}

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
