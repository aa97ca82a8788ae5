//! `store = "systemd-creds"`: values of which nothing is on the disk in the clear.
//!
//! The file of the value is what systemd-creds makes of it, for units to read. The values of a record
//! are sealed with a key of the project's own (envelope encryption), which alone is encrypted by
//! systemd-creds: so whoever reads a thousand records runs it once. Each is bound to its project, its
//! credential and its generation, so that none can stand in another's place.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use secrecy::{
    ExposeSecret, SecretString,
    zeroize::{Zeroize, Zeroizing},
};

use crate::{
    effect::{
        creds::{self, Fault},
        disk::{Disk, Durability, EntryKind},
        random,
    },
    error::{Code, Error, Result},
    id::{ProjectName, ResourceName},
    layout::Layout,
};

use super::{record, value::LONGEST};

/// How long the key is, in bytes (RFC 8439).
const KEY: usize = 32;

/// The largest file of a key, in bytes: with a TPM some thousand are used.
const LARGEST: u64 = 64 << 10;

/// The largest file of a value, in bytes: base64 of the longest one, and some thousand with a TPM.
pub const FILE_LIMIT: u64 = LONGEST as u64 * 2;

/// What is wrong with a seal that is not there.
const GONE: &str = "is gone, without which nobody reads the values that are sealed with it";

/// What is sealed, so that no other use of the key makes the same.
const DOMAIN: &str = "lorectl/credential/record";

/// What seals the records of a project.
pub struct Seal {
    key: LessSafeKey,
}

/// The place of a text in a record, to which it is bound.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The project.
    pub project: &'a ProjectName,
    /// The credential.
    pub name: &'a ResourceName,
    /// The number of the generation; `None` for what the codes of source values are keyed with.
    pub generation: Option<u64>,
}

impl Place<'_> {
    fn bytes(&self) -> Vec<u8> {
        let what = (self.generation).map_or_else(|| "salt".to_owned(), |number| number.to_string());
        // Neither a project nor a credential has a NUL in its name.
        format!("{DOMAIN}\0{}\0{}\0{what}", self.project, self.name).into_bytes()
    }
}

impl Seal {
    /// The project's seal, which is there wherever a sealed record is.
    ///
    /// # Errors
    /// `STATE_CORRUPT` where it is gone or is not opened on this host, with what to remove;
    /// `BACKEND_UNAVAILABLE` where there is no systemd-creds; what the disk says.
    pub fn read(disk: &dyn Disk, layout: &Layout) -> Result<Self> {
        Self::find(disk, layout)?.ok_or_else(|| lost(disk, layout, GONE))
    }

    /// The project's seal, made where nothing is sealed yet: then under the project's lock.
    ///
    /// # Errors
    /// As [`Seal::read`]; and where systemd-creds has no key to encrypt with.
    pub fn make(disk: &dyn Disk, layout: &Layout) -> Result<Self> {
        if let Some(seal) = Self::find(disk, layout)? {
            return Ok(seal);
        }
        // Another one in its place would keep it from being brought back.
        if !sealed(disk, layout).is_empty() {
            return Err(lost(disk, layout, GONE));
        }
        let bytes: [u8; KEY] = random::bytes()
            .map_err(|error| Error::new(Code::Io, "cannot draw a key").because(error))?;
        let bytes = Zeroizing::new(bytes);
        let path = layout.seal_file();
        let sealed = encrypt(&file_name(layout), bytes.as_slice())?;
        disk.write(&path, &sealed, 0o600, None, Durability::Now)
            .map_err(|error| Error::io("write", &path, error))?;
        Self::of(bytes.as_slice()).ok_or_else(|| lost(disk, layout, "holds no key"))
    }

    fn find(disk: &dyn Disk, layout: &Layout) -> Result<Option<Self>> {
        let path = layout.seal_file();
        let read = disk.read(&path, LARGEST);
        let Some(file) = read.map_err(|error| Error::io("read", &path, error))? else {
            return Ok(None);
        };
        let bytes = match creds::decrypt(&file_name(layout), &file.bytes) {
            Ok(bytes) => bytes,
            Err(fault @ (Fault::Absent | Fault::Unrunnable(_))) => return Err(unavailable(fault)),
            Err(fault @ Fault::Refused { .. }) => {
                let what = "cannot be opened on this host";
                return Err(lost(disk, layout, what).because(fault));
            }
        };
        let seal = Self::of(bytes.expose_secret());
        seal.map(Some)
            .ok_or_else(|| lost(disk, layout, "holds no key"))
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, bytes).ok()?;
        Some(Self {
            key: LessSafeKey::new(key),
        })
    }

    /// A text, sealed for its place: a random nonce and what RFC 8439 makes of it, in base64.
    ///
    /// # Errors
    /// When the kernel's random source fails.
    pub fn close(&self, place: Place<'_>, clear: &SecretString) -> Result<SecretString> {
        // At random: one project does not come near the 2^32 texts that a key is good for.
        let nonce: [u8; NONCE_LEN] = random::bytes()
            .map_err(|error| Error::new(Code::Io, "cannot draw a nonce").because(error))?;
        let mut bytes = Zeroizing::new(clear.expose_secret().as_bytes().to_vec());
        let tag = (self.key)
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place.bytes()),
                &mut bytes,
            )
            .map_err(|_| Error::new(Code::Internal, "a value is too long to be sealed"))?;
        let sealed = [&nonce, bytes.as_slice(), tag.as_ref()].concat();
        Ok(STANDARD_NO_PAD.encode(sealed).into())
    }

    /// What was sealed for that place with this seal; `None` for anything else.
    pub fn open(&self, place: Place<'_>, sealed: &SecretString) -> Option<SecretString> {
        let sealed = STANDARD_NO_PAD.decode(sealed.expose_secret()).ok()?;
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let aad = Aad::from(place.bytes());
        let clear = self.key.open_in_place(nonce, aad, &mut bytes).ok()?;
        let text = String::from_utf8(clear.to_vec());
        let text = text.map_err(|error| error.into_bytes().zeroize());
        text.ok().map(SecretString::from)
    }
}

/// The file of a value, as units read it, for the credential of that name.
///
/// # Errors
/// `BACKEND_UNAVAILABLE` where systemd-creds is not there or has no key to encrypt with.
pub fn value_file(name: &ResourceName, value: &SecretString) -> Result<Vec<u8>> {
    encrypt(name.as_str(), value.expose_secret().as_bytes())
}

/// Bytes that were someone else's, for the file of that name.
///
/// # Errors
/// As [`value_file`].
pub fn foreign_file(file: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    encrypt(file, bytes)
}

fn encrypt(name: &str, clear: &[u8]) -> Result<Vec<u8>> {
    creds::encrypt(name, clear).map_err(unavailable)
}

/// The name in the file of a project's key, so that the file of another project is none.
fn file_name(layout: &Layout) -> String {
    format!("lorectl-{}.seal", layout.project())
}

fn unavailable(fault: Fault) -> Error {
    let help = match fault {
        Fault::Absent => "install systemd 250 or newer, or keep it with `store = \"file\"`",
        Fault::Unrunnable(_) | Fault::Refused { .. } => {
            "`echo test | systemd-creds encrypt --name=test - -` says why; `store = \"file\"` does without it"
        }
    };
    let message = "systemd-creds encrypts and opens nothing here";
    Error::new(Code::BackendUnavailable, message)
        .because(fault)
        .suggest(help)
}

/// That what was sealed cannot be read again, and the command after which the next apply makes it anew.
fn lost(disk: &dyn Disk, layout: &Layout, what: &str) -> Error {
    let path = layout.seal_file();
    let sealed = sealed(disk, layout);
    let dirs: Vec<String> = (sealed.iter())
        .map(|name| format!(" {}", layout.secret(name).display()))
        .collect();
    let help = format!(
        "what was encrypted is opened on the host where that was done, with the key that it had then; else `rm -rf {}{}`, then `lorectl apply` takes each value anew from its source (one that only the store had is to be made anew by its issuer first)",
        path.display(),
        dirs.concat()
    );
    let message = format!("{} {what}", path.display());
    Error::new(Code::StateCorrupt, message).suggest(help)
}

/// The credentials whose record is sealed.
fn sealed(disk: &dyn Disk, layout: &Layout) -> Vec<ResourceName> {
    let listed = disk.list(&layout.secrets()).unwrap_or_default();
    let dirs = listed.into_iter();
    let names = dirs.filter(|(_, kind)| *kind == EntryKind::Dir);
    let names = names.filter_map(|(name, _)| name.parse::<ResourceName>().ok());
    names
        .filter(|name| record::is_sealed(disk, layout, name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seal(byte: u8) -> Seal {
        Seal::of(&[byte; KEY]).unwrap()
    }

    #[test]
    fn a_text_is_opened_in_its_own_place_alone() {
        let (acme, other): (ProjectName, ProjectName) =
            ("acme".parse().unwrap(), "other".parse().unwrap());
        let (app, web): (ResourceName, ResourceName) =
            ("app".parse().unwrap(), "web".parse().unwrap());
        let place = |project, name, generation| Place {
            project,
            name,
            generation,
        };
        let own = place(&acme, &app, Some(1));
        let text = SecretString::from("canary-of-a-record");
        let sealed = seal(7).close(own, &text).unwrap();
        let opened = |seal: &Seal, place, sealed: &SecretString| {
            let opened = seal.open(place, sealed);
            opened.map(|text| text.expose_secret().to_owned())
        };
        let clear = opened(&seal(7), own, &sealed);
        assert_eq!(clear.as_deref(), Some("canary-of-a-record"));
        for elsewhere in [
            place(&other, &app, Some(1)),
            place(&acme, &web, Some(1)),
            place(&acme, &app, Some(2)),
            place(&acme, &app, None),
        ] {
            assert_eq!(opened(&seal(7), elsewhere, &sealed), None, "{elsewhere:?}");
        }
        assert_eq!(opened(&seal(8), own, &sealed), None);
        for damaged in ["", "AAAA", "not base64!"] {
            assert_eq!(opened(&seal(7), own, &damaged.into()), None);
        }
        // The same again is another text: nobody sees that two are alike.
        let again = seal(7).close(own, &text).unwrap();
        assert_ne!(again.expose_secret(), sealed.expose_secret());
    }

    proptest! {
        #[test]
        fn any_text_comes_back_and_no_changed_one_does(
            text in ".{0,200}",
            at in any::<prop::sample::Index>(),
            bit in 0u8..6,
        ) {
            let (project, name) = ("acme".parse().unwrap(), "app".parse().unwrap());
            let place = Place { project: &project, name: &name, generation: Some(3) };
            let sealed = seal(1).close(place, &text.clone().into()).unwrap();
            let opened = seal(1).open(place, &sealed).unwrap();
            prop_assert_eq!(opened.expose_secret(), &text);
            let mut bytes = STANDARD_NO_PAD.decode(sealed.expose_secret()).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let changed = SecretString::from(STANDARD_NO_PAD.encode(bytes));
            prop_assert!(seal(1).open(place, &changed).is_none());
        }
    }
}
