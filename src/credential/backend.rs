//! The store: values in files of whoever applies, and their deliveries.

mod act;
mod first;
mod mint;
mod observe;
mod refresh;
mod sweep;

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use crate::{
    effect::{
        clock::{Clock, SystemClock},
        dbus::{Manager, Whose},
        disk::Disk,
        http::Http,
        user::Account,
    },
    id::{Address, Timestamp},
    layout::Layout,
    resource::StepId,
};

use super::issuer::Controls;

pub use observe::facts;
pub use refresh::{Refreshed, Renewal};
pub use sweep::{sweep_deliveries, sweep_store};

/// The backend of credentials.
pub struct Store {
    account: Account,
    layout: Layout,
    disk: Rc<dyn Disk>,
    clock: SystemClock,
    http: Http,
    controls: Controls,
    manager: Manager,
    /// How it was before each step of this apply, so that an undo puts back every byte.
    before: RefCell<BTreeMap<(Address, StepId), act::Memento>>,
}

impl Store {
    /// Opens the store. It connects to nothing before it is used.
    pub fn new(account: &Account, layout: Layout, disk: &Rc<dyn Disk>, clock: SystemClock) -> Self {
        let whose = if account.owner.uid == 0 {
            Whose::System
        } else {
            Whose::User {
                uid: account.owner.uid,
                name: account.name.clone(),
            }
        };
        Self {
            account: account.clone(),
            layout,
            disk: Rc::clone(disk),
            clock,
            http: Http::default(),
            controls: Controls::default(),
            manager: Manager::new(whose),
            before: RefCell::default(),
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
