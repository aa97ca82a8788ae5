//! The truth of one credential: `record.json`, readable to whoever applies alone. It holds the values,
//! sealed where the store is `systemd-creds`.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::{
    effect::{
        disk::{Disk, Durability},
        random,
    },
    error::{Code, Error, Result},
    id::{Digest, ResourceName, Timestamp},
    layout::Layout,
    resource::Definition,
};

use super::{
    definition::{Credential, Delivery, StoreKind},
    key,
    seal::{FILE_LIMIT, Place, Seal},
    value::Kept,
};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};

/// The version of a record that holds its values in the clear.
const CLEAR: u32 = 1;

/// The version of a record whose values are sealed, and the newest that is read.
const SEALED: u32 = 2;

/// The largest record, in bytes.
const LARGEST: u64 = 8 << 20;

/// Its mode.
pub const MODE: u32 = 0o600;

/// What the code of a source's last value is of.
const SEEN: &[u8] = b"lorectl/credential/source\0";

/// What is kept of a credential.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The version of its form.
    pub schema_version: u32,
    /// What was applied of it last.
    pub definition: Definition,
    /// What the codes of source values are keyed with: random, in hex.
    salt: Kept,
    /// The code of the value that the source held when it was last taken in. It is keyed by the
    /// record itself, so that it outlives the loss of the project's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen: Option<String>,
    /// The values, the oldest first.
    pub generations: Vec<Generation>,
    /// The encrypted file of a value, as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stored: Option<Stored>,
    /// A request for a new value that was begun, and of which no outcome is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,
    /// Where a value was delivered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delivered: Vec<Delivery>,
    /// Units that have yet to read what was delivered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reload: Vec<String>,
    /// That someone asked for a new value, which is to be obtained at the next apply.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asked: bool,
    /// That it is sealed, or is to be, whatever the definition says that was applied last: what was
    /// made for another is in it.
    #[serde(skip)]
    pub stays_sealed: bool,
}

/// An encrypted file, which nobody opens to see whether it is the one that was written.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Stored {
    /// The number of the value in it.
    generation: u64,
    /// The digest of its bytes.
    digest: Digest,
}

/// What a record says in the clear, whatever it is kept with.
#[derive(Debug, Clone, Deserialize)]
pub struct Outline {
    schema_version: u32,
    /// What was applied of it last.
    pub definition: Definition,
    /// Where a value was delivered.
    #[serde(default)]
    pub delivered: Vec<Delivery>,
    #[serde(default)]
    stored: Option<Stored>,
}

/// What of a record any version can read.
#[derive(Deserialize)]
struct Version {
    schema_version: u32,
}

/// One value and what is known of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Generation {
    /// Its number, from 1.
    pub number: u64,
    /// The value.
    pub value: Kept,
    /// When it was stored, UTC.
    pub obtained_at: Timestamp,
    /// When it ends, where whoever gave it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What its issuer calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_id: Option<String>,
    /// The definition by which we had it made, so that it is ours to end, and by the same issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minted: Option<Definition>,
    /// What it is for.
    #[serde(default)]
    pub phase: Phase,
}

/// What a value is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Phase {
    /// It is the one in use.
    #[default]
    Current,
    /// It was made, and is not in use yet.
    Pending,
    /// It was in use, and is to be ended.
    Retiring {
        /// When whoever still holds it has had the time to read the new one, UTC.
        until: Timestamp,
    },
}

/// A request for a new value on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// When it was begun, UTC.
    pub at: Timestamp,
    /// What the issuer was to note.
    pub mark: String,
}

impl Record {
    /// The record of a credential that has no value yet.
    ///
    /// # Errors
    /// When the kernel's random source fails.
    pub fn new(definition: Definition) -> Result<Self> {
        let salt: [u8; 16] = random::bytes()
            .map_err(|error| Error::new(Code::Io, "cannot draw a salt").because(error))?;
        Ok(Self {
            schema_version: CLEAR,
            definition,
            salt: Kept::new(key::hex(&salt).into()),
            seen: None,
            generations: Vec::new(),
            stored: None,
            intent: None,
            delivered: Vec::new(),
            reload: Vec::new(),
            asked: false,
            stays_sealed: false,
        })
    }

    /// Reads a record; `None` where there is none. One that is sealed is opened, for which the first
    /// of a process costs another process.
    ///
    /// # Errors
    /// `STATE_CORRUPT`, `STATE_NEWER`, or what the disk says; as [`Seal::read`]. Never empty for damaged.
    pub fn read(disk: &dyn Disk, layout: &Layout, name: &ResourceName) -> Result<Option<Self>> {
        Self::read_with(disk, layout, name, &OnceLock::new())
    }

    /// The same for who reads many: the seal is read for the first that is sealed, and left there.
    ///
    /// # Errors
    /// As [`Record::read`].
    pub fn read_with(
        disk: &dyn Disk,
        layout: &Layout,
        name: &ResourceName,
        seal: &OnceLock<Seal>,
    ) -> Result<Option<Self>> {
        let version = |record: &Self| record.schema_version;
        let Some(mut record) = decoded(disk, layout, name, version)? else {
            return Ok(None);
        };
        if record.schema_version == SEALED {
            record.stays_sealed = true;
            if seal.get().is_none() {
                // Whoever comes second finds the same.
                let _ = seal.set(Seal::read(disk, layout)?);
            }
            if let Some(seal) = seal.get() {
                record.open(seal, layout, name)?;
            }
        }
        Ok(Some(record))
    }

    /// Opens what is sealed in it.
    fn open(&mut self, seal: &Seal, layout: &Layout, name: &ResourceName) -> Result<()> {
        let project = layout.project();
        self.map(&mut |generation, kept| {
            let place = Place {
                project,
                name,
                generation,
            };
            let clear = seal.open(place, kept.value()).ok_or_else(|| {
                let path = layout.secret_record(name);
                let (shown, dir) = (path.display(), layout.secret(name));
                let message = format!(
                    "{shown} holds what was not sealed for it with {}",
                    layout.seal_file().display()
                );
                Error::new(Code::StateCorrupt, message).suggest(format!(
                    "bring both back from one backup, or `rm -rf {}`: the next apply makes it \
                     anew from its source",
                    dir.display()
                ))
            })?;
            Ok(Kept::new(clear))
        })
    }

    /// Puts other texts in the place of those that are secret, each told by the number of its generation.
    fn map(&mut self, each: &mut dyn FnMut(Option<u64>, &Kept) -> Result<Kept>) -> Result<()> {
        self.salt = each(None, &self.salt)?;
        for one in &mut self.generations {
            one.value = each(Some(one.number), &one.value)?;
        }
        Ok(())
    }
}

/// What the file of a record holds; `None` where there is none.
fn decoded<T: serde::de::DeserializeOwned>(
    disk: &dyn Disk,
    layout: &Layout,
    name: &ResourceName,
    version: impl Fn(&T) -> u32,
) -> Result<Option<T>> {
    let path = layout.secret_record(name);
    let read = disk.read(&path, LARGEST);
    let Some(file) = read.map_err(|error| Error::io("read", &path, error))? else {
        return Ok(None);
    };
    let shown = path.display();
    tracing::trace!(path = %shown, "read a secret's file");
    let refused = |code, what: String, help: String| {
        Err(Error::new(code, format!("{shown} {what}")).suggest(help))
    };
    let trusted = [0, disk.identity().uid];
    if !trusted.contains(&file.owner.uid) || file.mode & 0o077 != 0 {
        let help = format!(
            "look at it, then `chown {} {shown}` and `chmod 600 {shown}`",
            disk.identity().uid
        );
        let what = "can be read or written by others, so it is not believed".to_owned();
        return refused(Code::StateCorrupt, what, help);
    }
    // What serde says of a text may quote it.
    let decoded: Option<T> = serde_json::from_slice(&file.bytes).ok();
    let version = decoded.as_ref().map(version).or_else(|| {
        let version = serde_json::from_slice::<Version>(&file.bytes).ok()?;
        Some(version.schema_version)
    });
    if version.is_some_and(|version| version > SEALED) {
        let help = "use a lorectl at least as new as the one that wrote it".to_owned();
        return refused(Code::StateNewer, "is of a newer lorectl".to_owned(), help);
    }
    if decoded.is_some() {
        return Ok(decoded);
    }
    let help = format!(
        "bring it back from a backup, or `rm {shown}`: the next apply makes it anew from its source"
    );
    refused(Code::StateCorrupt, "is damaged".to_owned(), help)
}

impl Outline {
    /// Reads what a record says in the clear; nothing is opened. `None` where there is none.
    ///
    /// # Errors
    /// As [`Record::read`], but for what is sealed.
    pub fn read(disk: &dyn Disk, layout: &Layout, name: &ResourceName) -> Result<Option<Self>> {
        decoded(disk, layout, name, |outline: &Self| outline.schema_version)
    }
}

/// Whether a record is there whose values are sealed, as far as it can be told.
pub fn is_sealed(disk: &dyn Disk, layout: &Layout, name: &ResourceName) -> bool {
    let file = disk.read(&layout.secret_record(name), LARGEST).ok();
    let version = |bytes: &[u8]| serde_json::from_slice::<Version>(bytes).ok();
    let version = file.flatten().and_then(|file| version(&file.bytes));
    version.is_some_and(|version| version.schema_version == SEALED)
}

/// Whether the encrypted file of a value is there and is not the one that was written last. It opens
/// nothing; what cannot be read is not told.
pub fn is_replaced(disk: &dyn Disk, layout: &Layout, name: &ResourceName) -> bool {
    let file = disk.read(&layout.secret_value(name), FILE_LIMIT).ok();
    let record = Outline::read(disk, layout, name).ok();
    let stored = record.flatten().and_then(|record| record.stored);
    (file.flatten().zip(stored))
        .is_some_and(|(file, stored)| stored.digest != Digest::of(&file.bytes))
}

impl Record {
    /// Whether nothing of its values may be on the disk in the clear, as its definition says.
    ///
    /// # Errors
    /// `STATE_CORRUPT` for a definition that cannot be read.
    pub fn is_sealed(&self) -> Result<bool> {
        let credential: Credential = self.definition.read()?;
        Ok(match credential.store {
            StoreKind::File => false,
            StoreKind::SystemdCreds => true,
        })
    }

    /// Whether those bytes are the encrypted file of the value in use, as it was written.
    pub fn is_stored_as(&self, bytes: &[u8]) -> bool {
        let current = self.current().map(|one| one.number);
        (self.stored).is_some_and(|stored| {
            Some(stored.generation) == current && stored.digest == Digest::of(bytes)
        })
    }

    /// Remembers the encrypted file of the value in use; `None` where it is in the clear.
    pub fn set_stored_as(&mut self, bytes: Option<&[u8]>) {
        let current = self.current().map(|one| one.number);
        self.stored = current.zip(bytes).map(|(generation, bytes)| Stored {
            generation,
            digest: Digest::of(bytes),
        });
    }

    /// Writes the record; it is there, whole, when this returns.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self, disk: &dyn Disk, layout: &Layout, name: &ResourceName) -> Result<()> {
        let path = layout.secret_record(name);
        let bytes = self.encoded(disk, layout, name)?;
        let written = disk.write(&path, &bytes, MODE, None, Durability::Now);
        written.map_err(|error| Error::io("write", &path, error))
    }

    /// The bytes of its file, which hold values, sealed or not as its definition says.
    ///
    /// # Errors
    /// As [`Seal::make`]; `INTERNAL`, which is not to happen.
    pub fn encoded(
        &self,
        disk: &dyn Disk,
        layout: &Layout,
        name: &ResourceName,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let mut filed = self.clone();
        filed.schema_version = CLEAR;
        if self.stays_sealed || self.is_sealed()? {
            filed.schema_version = SEALED;
            let (seal, project) = (Seal::make(disk, layout)?, layout.project());
            filed.map(&mut |generation, kept| {
                let place = Place {
                    project,
                    name,
                    generation,
                };
                Ok(Kept::new(seal.close(place, kept.value())?))
            })?;
        }
        let bytes = serde_json::to_vec_pretty(&filed).map_err(|_| {
            Error::new(
                Code::Internal,
                "a credential's record cannot be written as JSON",
            )
        })?;
        let mut bytes = Zeroizing::new(bytes);
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The value in use.
    pub fn current(&self) -> Option<&Generation> {
        let mut all = self.generations.iter();
        all.find(|one| one.phase == Phase::Current)
    }

    /// The value that was made and is not in use yet.
    pub fn pending(&self) -> Option<&Generation> {
        let mut all = self.generations.iter();
        all.find(|one| one.phase == Phase::Pending)
    }

    /// The same, unless it has ended by itself meanwhile.
    pub fn living_pending(&self, now: Timestamp) -> Option<&Generation> {
        (self.pending()).filter(|one| one.expires_at.is_none_or(|end| now < end))
    }

    /// Forgets a value that was made and is not to be used.
    pub fn drop_pending(&mut self) {
        self.generations.retain(|one| one.phase != Phase::Pending);
    }

    /// The values whose time to be ended has come. One that has ended by itself needs no more.
    pub fn retired(&self, now: Timestamp) -> impl Iterator<Item = &Generation> {
        self.generations.iter().filter(move |one| match one.phase {
            Phase::Retiring { until } => until <= now && one.expires_at.is_none_or(|end| now < end),
            Phase::Current | Phase::Pending => false,
        })
    }

    /// When the first of the old values that still live is to be ended, UTC.
    pub fn next_to_end(&self, now: Timestamp) -> Option<Timestamp> {
        let live = |one: &&Generation| one.expires_at.is_none_or(|end| now < end);
        let until = |one: &Generation| match one.phase {
            Phase::Retiring { until } => Some(until),
            Phase::Current | Phase::Pending => None,
        };
        self.generations.iter().filter(live).filter_map(until).min()
    }

    /// Forgets the old values that have ended by themselves: there is nothing left to end.
    pub fn forget_ended(&mut self, now: Timestamp) {
        self.generations.retain(|one| match one.phase {
            Phase::Retiring { .. } => one.expires_at.is_none_or(|end| now < end),
            Phase::Current | Phase::Pending => true,
        });
    }

    /// The number that the next value gets.
    pub fn next_number(&self) -> u64 {
        let last = self.generations.iter().map(|one| one.number).max();
        last.map_or(1, |last| last.saturating_add(1))
    }

    /// Puts the value that was made in the place of the one in use, which lives on until `until`, where
    /// it does.
    pub fn promote(&mut self, until: Option<Timestamp>) {
        self.generations.retain_mut(|one| match (one.phase, until) {
            (Phase::Current, Some(until)) if one.minted.is_some() => {
                one.phase = Phase::Retiring { until };
                true
            }
            // What we did not make is not ours to end.
            (Phase::Current, _) => false,
            (Phase::Pending, _) => {
                one.phase = Phase::Current;
                true
            }
            (Phase::Retiring { .. }, _) => true,
        });
        self.asked = false;
    }

    /// The generation that is this text, if one is.
    pub fn find(&self, bytes: &[u8]) -> Option<&Generation> {
        self.generations
            .iter()
            .rev()
            .find(|one| one.value.is(bytes))
    }

    /// Whether the source held this value when it was last taken in.
    pub fn has_seen(&self, value: &SecretString) -> bool {
        self.seen.as_deref() == Some(&*self.code(value))
    }

    /// Remembers what the source holds.
    pub fn see(&mut self, value: &SecretString) {
        self.seen = Some(self.code(value));
    }

    /// Forgets what another source held.
    pub fn forget_seen(&mut self) {
        self.seen = None;
    }

    fn code(&self, value: &SecretString) -> String {
        let salt = self.salt.value().expose_secret().as_bytes();
        key::hex(&key::code(salt, SEEN, value))
    }

    /// Makes a value the one in use. The one before is forgotten: it is its source's, which may bring
    /// it back.
    pub fn take(&mut self, value: SecretString, now: Timestamp, expires_at: Option<Timestamp>) {
        let number = self.next_number();
        // What is to be ended is still to be ended.
        let retiring = |one: &Generation| matches!(one.phase, Phase::Retiring { .. });
        self.generations.retain(retiring);
        self.generations.push(Generation {
            number,
            value: Kept::new(value),
            obtained_at: now,
            expires_at,
            issuer_id: None,
            minted: None,
            phase: Phase::Current,
        });
        self.intent = None;
        self.asked = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::finding::{Finding, Status};

    #[test]
    fn a_panic_that_shows_a_record_shows_no_value() {
        let value = "canary-7f3a-value-that-never-shows";
        let now = Timestamp::from_millis(0);
        let mut record = Record::new(Definition::of(&1).unwrap()).unwrap();
        record.take(value.into(), now, None);
        record.see(&value.into());
        let found = Finding::new(Status::Live, now);
        let thrown = std::panic::catch_unwind(|| panic!("{record:?} {found:?}"));
        let payload = thrown.unwrap_err().downcast::<String>().unwrap();
        assert!(
            payload.contains("Kept(…)") && !payload.contains("canary"),
            "{payload}"
        );
    }
}
