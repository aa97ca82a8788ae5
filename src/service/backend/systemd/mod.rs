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

use std::{ffi::OsString, rc::Rc, sync::Arc};

use crate::{
    effect::{
        clock::SystemClock,
        dbus::{Manager, Whose},
        delegate::{Delegate, SharedDisk},
        disk::Disk,
        user::Account,
    },
    error::Result,
    id::BackendId,
    layout::Layout,
    resource::Owner,
    service::definition::{self, Scheduler, Service},
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
    /// Who applies, and so who owns what is written to the state directory.
    applier: Owner,
    /// Who owns the units.
    unit_owner: Owner,
    /// Who acts where the manager and its units are another user's.
    delegate: Option<Arc<Delegate>>,
    disk: Rc<dyn Disk>,
    on_install: OnInstall,
    clock: SystemClock,
    /// What a program of a user's session finds in its environment; nothing for the system's.
    session: Vec<(&'static str, OsString)>,
}

impl Systemd {
    /// The system's manager, for root.
    pub fn system(layout: Layout, disk: Rc<dyn Disk>) -> Self {
        let applier = crate::effect::user::effective();
        Self {
            id: Scheduler::SystemdSystem.backend(),
            manager: Manager::new(Whose::System),
            places: Places::system(),
            layout,
            applier,
            unit_owner: applier,
            delegate: None,
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
            unit_owner: account.owner,
            delegate: None,
            disk,
            on_install: Rc::new(|_| Ok(())),
            clock: SystemClock::of_machine(),
        }
    }

    /// The manager of another user, for root: all that is in that user's home, and all that the user's
    /// bus is asked, is done by a process of that user.
    pub fn of_user(account: &Account, layout: Layout) -> Self {
        let delegate = Arc::new(Delegate::new(account.clone()));
        Self::through(account, delegate, layout)
    }

    /// The same for a user whom the host does not have any more: nothing of theirs can be told.
    pub fn of_nobody(name: &str, layout: Layout) -> Self {
        let nobody = Account {
            name: name.to_owned(),
            owner: super::super::desired::KNOWN_AT_APPLY,
            home: "/nonexistent".into(),
        };
        Self::through(&nobody, Arc::new(Delegate::of_nobody(name)), layout)
    }

    fn through(account: &Account, delegate: Arc<Delegate>, layout: Layout) -> Self {
        let disk = SharedDisk::new(Arc::clone(&delegate), layout.state_dir().to_owned());
        Self {
            id: definition::backend_of_user(&account.name),
            manager: Manager::through(&delegate),
            applier: crate::effect::user::effective(),
            delegate: Some(delegate),
            ..Self::user(account, layout, Rc::new(disk))
        }
    }

    /// Before a batch: what broke off in an earlier one is tried anew.
    fn begin(&self) {
        if let Some(delegate) = &self.delegate {
            delegate.begin();
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
