//! systemd: a service is a oneshot unit and the timer that starts it.
//!
//! Unit files, links and `run.json` are read and written on disk; the manager is asked only for
//! what the disk does not say, always for many units in one call.

mod act;
mod batch;
mod observe;
mod parts;
mod places;
mod removal;
mod survey;
mod undo;
mod verify;

use std::{ffi::OsString, rc::Rc};

use crate::{
    effect::{
        clock::SystemClock,
        dbus::{Manager, Whose},
        disk::Disk,
        user::Account,
    },
    error::Result,
    id::BackendId,
    layout::Layout,
    resource::Owner,
    service::definition::{Scheduler, Service},
};

pub use places::Places;
pub use verify::ANALYZER;

/// Called for each service that is made, once its directories are there and before anything of it
/// is that a later apply would know it by: where this was cut short, the service is made anew.
pub type OnInstall = Rc<dyn Fn(&Service) -> Result<()>>;

/// The backends `systemd-system` and `systemd-user`.
pub struct Systemd {
    id: BackendId,
    manager: Manager,
    places: Places,
    layout: Layout,
    /// Who applies, and so who owns what is written.
    applier: Owner,
    disk: Rc<dyn Disk>,
    on_install: OnInstall,
    clock: SystemClock,
    /// What a program of a user's session finds in its environment; nothing for the system's.
    session: Vec<(&'static str, OsString)>,
}

impl Systemd {
    /// The system's manager, for root.
    pub fn system(layout: Layout, disk: Rc<dyn Disk>) -> Self {
        Self {
            id: Scheduler::SystemdSystem.backend(),
            manager: Manager::new(Whose::System),
            places: Places::system(),
            layout,
            applier: crate::effect::user::effective(),
            disk,
            on_install: Rc::new(|_| Ok(())),
            clock: SystemClock::of_machine(),
            session: Vec::new(),
        }
    }

    /// The manager of the user who applies.
    pub fn user(account: &Account, layout: Layout, disk: Rc<dyn Disk>) -> Self {
        let uid = account.owner.uid;
        let runtime = crate::effect::host::runtime_dir(uid);
        Self {
            id: Scheduler::SystemdUser.backend(),
            manager: Manager::new(Whose::User {
                uid,
                name: account.name.clone(),
            }),
            places: Places::user(&account.home, &runtime),
            session: vec![
                ("HOME", account.home.clone().into()),
                ("XDG_RUNTIME_DIR", runtime.into()),
            ],
            layout,
            applier: account.owner,
            disk,
            on_install: Rc::new(|_| Ok(())),
            clock: SystemClock::of_machine(),
        }
    }

    /// The same, with something to be done for each new service before its definition is written.
    #[must_use]
    pub fn on_install(mut self, on_install: OnInstall) -> Self {
        self.on_install = on_install;
        self
    }

    /// The same, with another clock than the machine's.
    #[must_use]
    pub const fn clock(mut self, clock: SystemClock) -> Self {
        self.clock = clock;
        self
    }

    /// D-Bus method calls made so far.
    pub fn calls(&self) -> u64 {
        self.manager.calls()
    }
}
