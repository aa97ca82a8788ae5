//! Keyed fingerprints: what stands for a value wherever one is shown.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::{
    effect::{
        disk::{Disk, Durability},
        random,
    },
    error::{Code, Error, Result},
    layout::Layout,
};

/// How many bytes of the code are shown: two values of a project are alike in one of 2^48 pairs.
const SHOWN: usize = 6;

/// What a fingerprint is of, so that no other use of the key makes the same.
const DOMAIN: &[u8] = b"lorectl/credential/value\0";

/// What stands for a value: of two that are equal in one project, the same; without the project's key
/// it tells nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The key of a project's fingerprints.
pub struct Key(secrecy::SecretSlice<u8>);

impl Key {
    /// The project's key; `None` where nothing was stored yet, so that no fingerprint is known.
    ///
    /// # Errors
    /// What the disk says, and a file that is no key.
    pub fn read(disk: &dyn Disk, layout: &Layout) -> Result<Option<Self>> {
        let path = layout.key_file();
        let read = disk.read(&path, 64);
        let Some(file) = read.map_err(|error| Error::io("read", &path, error))? else {
            return Ok(None);
        };
        if file.bytes.len() != 32 {
            let message = format!("{} is no key", path.display());
            return Err(Error::new(Code::StateCorrupt, message).suggest(format!(
                "`rm {}`: the next apply makes another, and nothing but the fingerprints changes",
                path.display()
            )));
        }
        Ok(Some(Self(file.bytes.into())))
    }

    /// The project's key, made where there is none.
    ///
    /// # Errors
    /// As [`Key::read`].
    pub fn make(disk: &dyn Disk, layout: &Layout) -> Result<Self> {
        if let Some(key) = Self::read(disk, layout)? {
            return Ok(key);
        }
        let path = layout.key_file();
        let bytes: [u8; 32] = random::bytes()
            .map_err(|error| Error::new(Code::Io, "cannot draw a key").because(error))?;
        disk.write(&path, &bytes, 0o600, None, Durability::Now)
            .map_err(|error| Error::io("write", &path, error))?;
        Ok(Self(bytes.to_vec().into()))
    }

    /// What stands for a value.
    pub fn fingerprint(&self, value: &SecretString) -> Fingerprint {
        let code = code(self.0.expose_secret(), DOMAIN, value);
        Fingerprint(format!(
            "hmac:{}",
            hex(code.get(..SHOWN).unwrap_or_default())
        ))
    }
}

/// The code of a value under a key (RFC 2104, SHA-256).
pub fn code(key: &[u8], domain: &[u8], value: &SecretString) -> [u8; 32] {
    // A key of any length is one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    mac.update(domain);
    mac.update(value.expose_secret().as_bytes());
    mac.finalize().into_bytes().into()
}

/// Bytes in hex.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
