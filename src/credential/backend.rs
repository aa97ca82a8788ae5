//! The store: values in files of whoever applies, and their deliveries.

mod act;
mod first;
mod mint;
mod observe;
mod prepare;
mod refresh;
mod stored;
mod sweep;
mod undo;
mod units;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use crate::{
    effect::{
        clock::{Clock, SystemClock},
        dbus::{Manager, Whose},
        disk::Disk,
        http::Http,
        lock::Lock,
        user::Account,
    },
    error::{Code, Error, Result},
    id::{Address, ResourceName, Timestamp},
    layout::Layout,
    resource::StepId,
};

use super::{issuer::Controls, mint::flight::PATIENCE, record::Record};

pub use observe::{Known, facts, look};
pub use refresh::{Refreshed, Renewal};
pub use sweep::{purge_empty_store, purge_replaced, sweep_deliveries, sweep_store};

/// Notes in the record of a credential that someone asks for a new value, or does not any more. Only under
/// the project's lock.
///
/// # Errors
/// As [`Record::read`] and [`Record::write`]; `LOCK_HELD` where it is renewed all the while.
pub async fn set_asked(
    disk: &dyn Disk,
    layout: &Layout,
    name: &ResourceName,
    asked: bool,
) -> Result<()> {
    let path = layout.secret_lock(name);
    if matches!(disk.stat(&layout.secret_record(name)), Ok(None)) {
        return Ok(());
    }
    // Whoever renews it for a run writes the same record.
    let lock = Lock::take(&path, 0o600, PATIENCE).await;
    let Some(_lock) = lock.map_err(|error| Error::io("lock", &path, error))? else {
        let message =
            format!("credential.{name}: another process has been fetching it for too long");
        return Err(Error::new(Code::LockHeld, message).suggest("try again later"));
    };
    let Some(mut record) = Record::read(disk, layout, name)? else {
        // What has none is made anew anyway.
        return Ok(());
    };
    if record.asked == asked {
        return Ok(());
    }
    record.asked = asked;
    record.write(disk, layout, name)
}

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
    before: RefCell<BTreeMap<(Address, StepId), undo::Memento>>,
    /// The steps of this apply that failed and from which there is no way back.
    stays: RefCell<BTreeSet<(Address, StepId)>>,
    /// A credential of which someone asks for a new value, as long as its record does not say so.
    asked: RefCell<Option<ResourceName>>,
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
            stays: RefCell::default(),
            asked: RefCell::default(),
        }
    }

    /// The same where someone asks for a new value of a credential: it plans as if its record said so.
    #[must_use]
    pub fn asked(self, name: Option<ResourceName>) -> Self {
        Self {
            asked: RefCell::new(name),
            ..self
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
