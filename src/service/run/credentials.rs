//! The credentials of a run: where their values are, and where its stages find them.
//!
//! A unit of systemd's gets them in `$CREDENTIALS_DIRECTORY` (systemd.exec(5)). The worker's runner reads
//! the store before it becomes the service's user, and lays them out as systemd does: in a directory of
//! that user's, for as long as the stages run. They are in no unit, no argument and no environment but
//! that of a stage.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretString};

use crate::{
    credential::value::{LONGEST, is_encrypted},
    effect::{
        disk::{Disk, Durability, EntryKind},
        environment, host,
        user::{self, Account},
    },
    error::{Code, Error, Result},
    id::{Address, Digest, Kind, ResourceName},
    layout::Layout,
    resource::Owner,
    scrub::known,
    service::{
        definition::{Scheduler, Service},
        unit::stem,
    },
};

/// The variable that names the directory of a unit's credentials (systemd.exec(5)).
pub const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Where root's runners keep what lasts no longer than the boot.
const RUN: &str = "/run";

/// What is read of a file that holds a value: one byte more than any is long.
const LIMIT: u64 = LONGEST as u64 + 1;

/// A value, or why there is none, in words that hold nothing of it.
pub type Read = std::result::Result<SecretString, String>;

/// What a run knows of its credentials.
#[derive(Debug, Default)]
pub struct Credentials {
    from: From,
}

#[derive(Debug, Default)]
enum From {
    /// The run needs none.
    #[default]
    Nowhere,
    /// systemd has put them there.
    Directory {
        path: PathBuf,
        names: Vec<ResourceName>,
    },
    /// They were read from the store; they are laid out at `place`.
    Store {
        values: BTreeMap<ResourceName, Read>,
        place: PathBuf,
        /// Where a run before may have laid them out, when there was no runtime directory.
        in_data: PathBuf,
    },
}

impl Credentials {
    /// Finds those of a service. The worker's runner must still be who applied, and makes the
    /// directory in which the run of `account` can lay out its own.
    ///
    /// # Errors
    /// `CREDENTIAL_MISSING` where systemd has not started this; `NOT_PERMITTED` where the store cannot
    /// be read.
    pub fn find(
        disk: &dyn Disk,
        layout: &Layout,
        service: &Service,
        account: &Account,
    ) -> Result<Self> {
        let names: Vec<ResourceName> = service.uses().into_iter().cloned().collect();
        if names.is_empty() {
            return Ok(Self::default());
        }
        let from = match service.scheduler {
            Scheduler::SystemdSystem | Scheduler::SystemdUser => From::Directory {
                path: handed_over(service)?,
                names,
            },
            Scheduler::Worker => {
                let mut values = BTreeMap::new();
                for name in names {
                    let path = layout.secret_value(&name);
                    let read = match disk.read(&path, LIMIT) {
                        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                            return Err(Error::io("read", &path, error)
                                .suggest("run the command as whoever applied the service"));
                        }
                        read => value(&name, read.map(|file| file.map(|file| file.bytes))),
                    };
                    values.insert(name, read);
                }
                let in_data = layout.data(&service.name).join("credentials");
                From::Store {
                    values,
                    place: place(disk, layout, service, account).unwrap_or(in_data.clone()),
                    in_data,
                }
            }
        };
        Ok(Self { from })
    }

    /// One value, as it is now.
    ///
    /// # Errors
    /// Why there is none.
    pub fn read(&self, disk: &dyn Disk, name: &ResourceName) -> Read {
        match &self.from {
            From::Nowhere => Err(missing(name)),
            From::Directory { path, .. } => {
                let read = disk.read(&path.join(name.as_str()), LIMIT);
                value(name, read.map(|file| file.map(|file| file.bytes)))
            }
            From::Store { values, .. } => {
                let known = values.get(name).cloned();
                known.unwrap_or_else(|| Err(missing(name)))
            }
        }
    }

    /// All of them, as they are now.
    pub fn all(&self, disk: &dyn Disk) -> BTreeMap<&ResourceName, Read> {
        let names: Vec<&ResourceName> = match &self.from {
            From::Nowhere => Vec::new(),
            From::Directory { names, .. } => names.iter().collect(),
            From::Store { values, .. } => values.keys().collect(),
        };
        let read = names.into_iter().map(|name| (name, self.read(disk, name)));
        read.collect()
    }

    /// Lays out those that the stages use, and returns the directory in which they are; `None` where
    /// none is used. What a run before left there, whose runner was killed, is removed first: nobody else
    /// may run meanwhile.
    ///
    /// # Errors
    /// What the disk says.
    pub fn lay_out(&self, disk: &dyn Disk, service: &Service) -> io::Result<Option<PathBuf>> {
        let used = !service.credentials.is_empty();
        let (values, place, in_data) = match &self.from {
            From::Nowhere => return Ok(None),
            From::Directory { path, .. } => return Ok(used.then(|| path.clone())),
            From::Store {
                values,
                place,
                in_data,
            } => (values, place, in_data),
        };
        if !used {
            return Ok(None);
        }
        for left in [place, in_data] {
            disk.remove_tree(left)?;
        }
        disk.make_dir(place, 0o700, None)?;
        for used in service.credentials.values() {
            let path = place.join(used.credential.as_str());
            if let Some(Ok(value)) = values.get(&used.credential) {
                let bytes = value.expose_secret().as_bytes();
                disk.write(&path, bytes, 0o400, None, Durability::Batch)?;
            }
        }
        Ok(Some(place.clone()))
    }

    /// Removes what was laid out.
    ///
    /// # Errors
    /// What the disk says.
    pub fn clear(&self, disk: &dyn Disk) -> io::Result<()> {
        match &self.from {
            From::Nowhere | From::Directory { .. } => Ok(()),
            From::Store { place, .. } => disk.remove_tree(place).map(drop),
        }
    }
}

/// The directory that systemd made for the unit.
fn handed_over(service: &Service) -> Result<PathBuf> {
    let named = environment::variable(DIRECTORY).map(PathBuf::from);
    named.filter(|path| path.is_absolute()).ok_or_else(|| {
        let (name, unit) = (&service.name, stem(&service.project, &service.name));
        Error::new(
            Code::CredentialMissing,
            format!("service.{name} has no credentials here: {DIRECTORY} is not set, which systemd does when it starts {unit}.service"),
        )
        .suggest(format!(
            "`lorectl service trigger {name}` has systemd start it"
        ))
    })
}

fn missing(name: &ResourceName) -> String {
    let address = Address::new(Kind::Credential, name.clone());
    format!("{address} has no value; `lorectl credential list` tells why")
}

/// The value in the bytes of a file, without one line feed at its end.
fn value(name: &ResourceName, read: io::Result<Option<Vec<u8>>>) -> Read {
    let address = Address::new(Kind::Credential, name.clone());
    let bytes = match read {
        Ok(bytes) => bytes.unwrap_or_default(),
        Err(error) => return Err(format!("the value of {address} cannot be read: {error}")),
    };
    let Ok(mut text) = String::from_utf8(bytes) else {
        return Err(format!("the value of {address} is not UTF-8"));
    };
    if text.ends_with('\n') {
        text.pop();
    }
    match text.as_str() {
        "" => Err(missing(name)),
        // A unit, or a worker, of before the store was changed, of which nobody has told the service.
        text if is_encrypted(text) => Err(format!(
            "the value of {address} is encrypted, and is handed over as it is; `lorectl apply` has the service read it"
        )),
        text if text.contains('\0') => Err(format!("the value of {address} holds a NUL")),
        _ => {
            let value = text.into();
            known::meet(&value);
            tracing::trace!(credential = %name, "read a secret's file");
            Ok(value)
        }
    }
}

/// Where a run of that user lays its credentials out: below the runtime directory, whose content is
/// never on a disk; `None` where there is none, and `data/` must do.
fn place(
    disk: &dyn Disk,
    layout: &Layout,
    service: &Service,
    account: &Account,
) -> Option<PathBuf> {
    // Another state directory may have a service of that name too.
    let root = Digest::of(layout.root().as_os_str().as_encoded_bytes()).short();
    let name = format!("{}.{}-{root}", service.project, service.name);
    runtime_dir(disk, account.owner).map(|dir| dir.join(name))
}

/// A directory of that user's which no other can pass, where there is a runtime directory.
fn runtime_dir(disk: &dyn Disk, owner: Owner) -> Option<PathBuf> {
    let this = user::effective();
    let is_ours = |path: &Path, uid: u32| {
        let stat = disk.stat(path).ok().flatten();
        stat.is_some_and(|stat| {
            stat.kind == EntryKind::Dir && stat.owner.uid == uid && stat.mode & 0o022 == 0
        })
    };
    if this.uid != 0 {
        let dir = host::runtime_dir(this.uid);
        let own = dir.join("lorectl");
        return (is_ours(&dir, this.uid) && disk.make_dir(&own, 0o700, None).is_ok())
            .then_some(own);
    }
    let all = Path::new(RUN).join("lorectl");
    let own = all.join(owner.uid.to_string());
    let made = is_ours(Path::new(RUN), 0)
        && disk.make_dir(&all, 0o711, Some(this)).is_ok()
        && disk.make_dir(&own, 0o700, Some(owner)).is_ok();
    made.then_some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_what_is_there_without_one_line_feed() {
        let name: ResourceName = "gitlab".parse().unwrap();
        let read = |bytes: &[u8]| {
            let read = value(&name, Ok(Some(bytes.to_vec())));
            read.map(|value| value.expose_secret().to_owned())
        };
        for (bytes, expected) in [
            (&b"abc"[..], Ok("abc")),
            (b"abc\n", Ok("abc")),
            (b"abc\n\n", Ok("abc\n")),
            (b"", Err("has no value")),
            (b"\n", Err("has no value")),
            (b"YWJj\nZGVm\n", Err("is encrypted")),
            (b"a\0b", Err("holds a NUL")),
            (b"\xff", Err("is not UTF-8")),
        ] {
            match (read(bytes), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(why), Err(expected)) => {
                    assert!(
                        why.contains("credential.gitlab") && why.contains(expected),
                        "{why}"
                    );
                }
                (found, expected) => panic!("{found:?} {expected:?}"),
            }
        }
        let why = value(&name, Ok(None)).unwrap_err();
        assert!(why.contains("credential.gitlab has no value"), "{why}");
    }
}
