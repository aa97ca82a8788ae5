//! Users, as the system's databases know them.

use std::path::PathBuf;

use nix::unistd::{self, Gid, Uid};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Code, Error, Result},
    resource::Owner,
};

/// A user of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The login name.
    pub name: String,
    /// User id and primary group.
    pub owner: Owner,
    /// The home directory, which need not be there.
    pub home: PathBuf,
}

impl Account {
    /// Whether this user may act for any other.
    pub const fn is_root(&self) -> bool {
        self.owner.uid == 0
    }
}

impl From<unistd::User> for Account {
    fn from(user: unistd::User) -> Self {
        Self {
            name: user.name,
            owner: Owner {
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
            },
            home: user.dir,
        }
    }
}

/// The user of that name; `None` when there is none.
///
/// # Errors
/// `IO` when the databases cannot be read.
pub fn by_name(name: &str) -> Result<Option<Account>> {
    // A NUL cannot be looked up, and no user has one.
    if name.contains('\0') {
        return Ok(None);
    }
    let found = unistd::User::from_name(name).map_err(|error| unreadable(name, error))?;
    Ok(found.map(Account::from))
}

/// The user of that id; `None` when there is none.
///
/// # Errors
/// `IO` when the databases cannot be read.
pub fn by_uid(uid: u32) -> Result<Option<Account>> {
    let found = unistd::User::from_uid(Uid::from_raw(uid))
        .map_err(|error| unreadable(&format!("uid {uid}"), error))?;
    Ok(found.map(Account::from))
}

/// The id of the group of that name; `None` when there is none.
///
/// # Errors
/// `IO` when the databases cannot be read.
pub fn group_by_name(name: &str) -> Result<Option<u32>> {
    if name.contains('\0') {
        return Ok(None);
    }
    let found = unistd::Group::from_name(name).map_err(|error| {
        Error::new(Code::Io, format!("cannot look up group {name}")).because(error)
    })?;
    Ok(found.map(|group| group.gid.as_raw()))
}

/// The groups of a user, the primary one among them.
///
/// # Errors
/// `IO` when the databases cannot be read.
pub fn groups(account: &Account) -> Result<Vec<u32>> {
    let name = std::ffi::CString::new(account.name.as_str())
        .map_err(|_| Error::new(Code::Io, "a user's name holds a NUL"))?;
    let found = unistd::getgrouplist(&name, Gid::from_raw(account.owner.gid))
        .map_err(|error| unreadable(&account.name, error))?;
    Ok(found.into_iter().map(Gid::as_raw).collect())
}

/// Whom this process acts as: the effective ids.
pub fn effective() -> Owner {
    Owner {
        uid: Uid::effective().as_raw(),
        gid: Gid::effective().as_raw(),
    }
}

/// The user this process acts as.
///
/// # Errors
/// `NOT_PERMITTED` when the effective user id has no entry; `IO` as [`by_uid`].
pub fn current() -> Result<Account> {
    let uid = effective().uid;
    by_uid(uid)?.ok_or_else(|| {
        Error::new(
            Code::NotPermitted,
            format!("user id {uid} has no entry in the user database"),
        )
    })
}

fn unreadable(whom: &str, error: nix::Error) -> Error {
    Error::new(Code::Io, format!("cannot look up user {whom}")).because(error)
}
