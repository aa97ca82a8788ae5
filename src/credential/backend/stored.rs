//! The files of the store: of the value in use, and of what its deliveries replaced.

use std::borrow::Cow;

use secrecy::{ExposeSecret, zeroize::Zeroizing};

use crate::{
    effect::{disk::Durability, random},
    error::{Code, Error, Result},
    id::ResourceName,
};

use super::{
    super::{
        definition::{Credential, StoreKind},
        record::Record,
        seal,
    },
    Store, sweep,
};

/// The file of the value in use, which the record then knows; `there` is what is on the disk.
pub(super) fn file(
    name: &ResourceName,
    record: &mut Record,
    there: Option<&[u8]>,
) -> Result<Zeroizing<Vec<u8>>> {
    let value = record.current().map(|one| one.value.value());
    let Some(value) = value else {
        return Err(Error::new(Code::Internal, "there is no value to store"));
    };
    if !record.is_sealed()? {
        let bytes = Zeroizing::new(value.expose_secret().as_bytes().to_vec());
        record.set_stored_as(None);
        return Ok(bytes);
    }
    let bytes = match there.filter(|there| record.is_stored_as(there)) {
        Some(there) => there.to_vec(),
        None => seal::value_file(name, value)?,
    };
    record.set_stored_as(Some(&bytes));
    Ok(Zeroizing::new(bytes))
}

impl Store {
    pub(super) fn directories(&self, name: &ResourceName) -> Result<()> {
        for dir in [self.layout.secrets(), self.layout.secret(name)] {
            let own = self.disk.identity();
            let made = self.disk.make_dir(&dir, 0o700, Some(own));
            made.map_err(|error| Error::io("make", &dir, error))?;
        }
        Ok(())
    }

    pub(super) fn store(&self, name: &ResourceName, bytes: &[u8]) -> Result<()> {
        let path = self.layout.secret_value(name);
        let own = self.disk.identity();
        let written = self
            .disk
            .write(&path, bytes, 0o600, Some(own), Durability::Now);
        written.map_err(|error| Error::io("write", &path, error))
    }

    /// Keeps what someone else had put where a value is delivered.
    pub(super) fn keep_foreign(&self, credential: &Credential, bytes: &[u8]) -> Result<()> {
        let dir = self.layout.backups();
        let failed = |error| Error::io("write", &dir, error);
        let token = random::token().map_err(failed)?;
        let path = sweep::replaced(&self.layout, &credential.name, &token);
        // It may be a token of old.
        let bytes = match credential.store {
            StoreKind::File => Cow::Borrowed(bytes),
            StoreKind::SystemdCreds => {
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                Cow::Owned(seal::foreign_file(&file, bytes)?)
            }
        };
        let written = (self.disk).write(&path, &bytes, 0o600, None, Durability::Now);
        written.map_err(|error| Error::io("write", &path, error))
    }
}
