//! The truth of one credential: `record.json`, readable to whoever applies alone. It holds the values.

use serde::{Deserialize, Serialize};

use crate::{
    effect::{
        disk::{Disk, Durability},
        random,
    },
    error::{Code, Error, Result},
    id::{ResourceName, Timestamp},
    layout::Layout,
    resource::Definition,
};

use super::{definition::Delivery, key, value::Kept};
use secrecy::{SecretString, zeroize::Zeroizing};

/// The version that is written and the newest that is read.
const VERSION: u32 = 1;

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
    salt: String,
    /// The code of the value that the source held when it was last taken in. It is keyed by the
    /// record itself, so that it outlives the loss of the project's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen: Option<String>,
    /// The values, the oldest first.
    pub generations: Vec<Generation>,
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
            schema_version: VERSION,
            definition,
            salt: key::hex(&salt),
            seen: None,
            generations: Vec::new(),
            intent: None,
            delivered: Vec::new(),
            reload: Vec::new(),
            asked: false,
        })
    }

    /// Reads a record; `None` where there is none.
    ///
    /// # Errors
    /// `STATE_CORRUPT`, `STATE_NEWER`, or what the disk says. Never empty for damaged.
    pub fn read(disk: &dyn Disk, layout: &Layout, name: &ResourceName) -> Result<Option<Self>> {
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
        let record: Option<Self> = serde_json::from_slice(&file.bytes).ok();
        let version = match &record {
            Some(record) => Some(record.schema_version),
            None => serde_json::from_slice(&file.bytes)
                .ok()
                .map(|Version { schema_version }| schema_version),
        };
        if version.is_some_and(|version| version > VERSION) {
            let help = "use a lorectl at least as new as the one that wrote it".to_owned();
            return refused(Code::StateNewer, "is of a newer lorectl".to_owned(), help);
        }
        if record.is_some() {
            return Ok(record);
        }
        let help = format!(
            "bring it back from a backup, or `rm {shown}`: the next apply makes it anew from its source"
        );
        refused(Code::StateCorrupt, "is damaged".to_owned(), help)
    }

    /// Writes the record; it is there, whole, when this returns.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self, disk: &dyn Disk, layout: &Layout, name: &ResourceName) -> Result<()> {
        let path = layout.secret_record(name);
        let bytes = self.encoded()?;
        let written = disk.write(&path, &bytes, MODE, None, Durability::Now);
        written.map_err(|error| Error::io("write", &path, error))
    }

    /// The bytes of its file, which hold values.
    ///
    /// # Errors
    /// `INTERNAL`, which is not to happen.
    pub fn encoded(&self) -> Result<Zeroizing<Vec<u8>>> {
        let bytes = serde_json::to_vec_pretty(self).map_err(|_| {
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

    /// The values whose time to be ended has come. One that has ended by itself needs no more.
    pub fn retired(&self, now: Timestamp) -> impl Iterator<Item = &Generation> {
        self.generations.iter().filter(move |one| match one.phase {
            Phase::Retiring { until } => until <= now && one.expires_at.is_none_or(|end| now < end),
            Phase::Current | Phase::Pending => false,
        })
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
        key::hex(&key::code(self.salt.as_bytes(), SEEN, value))
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
