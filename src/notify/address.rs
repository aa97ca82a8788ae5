//! The URL of a sink or ping, read when it is needed.

use std::{io, path::Path};

use secrecy::{ExposeSecret, SecretString};

use super::sink::UrlSource;
use crate::{
    effect::{
        disk::{Disk, ReadFile},
        http::HttpUrl,
        user,
    },
    id::ResourceName,
    resource::Owner,
    scrub::known,
};

/// The largest file that a URL is read from.
const LIMIT: u64 = 8 << 10;

/// The largest file of certificates.
const CA_LIMIT: u64 = 1 << 20;

/// The value of a credential, or why there is none, in words that hold nothing of it.
pub type Value = Result<SecretString, String>;

/// The URL that a source stands for, to a reader who acts as that user; `credential` reads values.
///
/// # Errors
/// Why there is none, in words that hold nothing of it.
pub fn url(
    disk: &dyn Disk,
    source: &UrlSource,
    reader: Owner,
    credential: &dyn Fn(&ResourceName) -> Value,
) -> Result<HttpUrl, String> {
    match source {
        UrlSource::Url(text) => HttpUrl::parse(text).map_err(|fault| fault.to_string()),
        UrlSource::File(path) => {
            let file = secret_file(disk, path, reader)?;
            // What a fault says of a text could be part of the secret.
            HttpUrl::parse(file.expose_secret().trim()).map_err(|_| {
                format!(
                    "{} holds no URL to send to: nothing but `https://…` or `http://…`, to no link-local address",
                    path.display()
                )
            })
        }
        UrlSource::Credential(name) => {
            let value = credential(name)?;
            HttpUrl::parse(value.expose_secret().trim()).map_err(|_| {
                format!(
                    "credential.{name} holds no URL to send to: nothing but `https://…` or `http://…`, to no link-local address"
                )
            })
        }
    }
}

/// Reads a file behind whatever links lead to it.
fn read(disk: &dyn Disk, path: &Path, limit: u64) -> Result<ReadFile, String> {
    let shown = path.display();
    let whom = || {
        let uid = user::effective().uid;
        let known = user::by_uid(uid).ok().flatten();
        known.map_or_else(
            || format!("user id {uid}"),
            |account| format!("`{}`", account.name),
        )
    };
    let found =
        (disk.resolve(path)).and_then(|real| real.map_or(Ok(None), |real| disk.read(&real, limit)));
    match found {
        Ok(Some(file)) => Ok(file),
        Ok(None) => Err(format!("there is no file {shown}")),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(format!(
            "{} may not read {shown}, and others are told as that user",
            whom()
        )),
        Err(error) => Err(format!("cannot read {shown}: {error}")),
    }
}

/// Whose a file seems to be whose owner a user namespace does not know (`user_namespaces(7)`,
/// `/proc/sys/kernel/overflowuid`). In the sandbox of a unit of a user's manager that is everybody but
/// the user, root too.
const HIDDEN: u32 = 65534;

/// What is wrong with the rights on a file that holds a secret for a user.
pub fn too_open(file_owner: Owner, mode: u32, reader: Owner) -> Option<String> {
    if file_owner.uid == HIDDEN && reader.uid != HIDDEN {
        let why = "is not its reader's own, and the sandbox of a user's manager does not show whose it is";
        return Some(why.to_owned());
    }
    if file_owner.uid != 0 && file_owner.uid != reader.uid {
        return Some(format!(
            "belongs to user id {}, who could change it",
            file_owner.uid
        ));
    }
    if mode & 0o022 != 0 {
        return Some("can be written by others than its owner".to_owned());
    }
    (mode & 0o004 != 0).then(|| "can be read by everybody".to_owned())
}

fn secret_file(disk: &dyn Disk, path: &Path, reader: Owner) -> Result<SecretString, String> {
    let file = read(disk, path, LIMIT)?;
    let shown = path.display();
    if let Some(wrong) = too_open(file.owner, file.mode, reader) {
        return Err(format!(
            "{shown} holds a secret and {wrong}: chmod 0640 or less"
        ));
    }
    let text = String::from_utf8(file.bytes).map_err(|_| format!("{shown} is not UTF-8"))?;
    tracing::trace!(path = %shown, "read a secret's file");
    let text = text.into();
    known::meet(&text);
    Ok(text)
}

/// The certificates of a `ca_file`.
///
/// # Errors
/// Why they cannot be read.
pub fn certificates(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, String> {
    Ok(read(disk, path, CA_LIMIT)?.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::disk::{Durability, RealDisk};

    #[test]
    fn a_file_whose_owner_is_hidden_is_nobodys_to_believe() {
        let of = |uid| Owner { uid, gid: 1000 };
        let wrong = |owner, reader| too_open(of(owner), 0o640, of(reader));
        assert_eq!(wrong(1000, 1000), None);
        assert_eq!(wrong(0, 1000), None);
        assert_eq!(wrong(HIDDEN, HIDDEN), None);
        assert!(wrong(HIDDEN, 1000).unwrap().contains("does not show"));
        assert!(wrong(1001, 1000).unwrap().contains("1001"));
    }

    #[test]
    fn what_a_file_holds_is_in_no_message() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hook");
        let source = UrlSource::File(path.clone());
        for text in [
            "xoxb-s3cret:443/path",
            "joe:s3cret@host",
            "s3cret",
            "https://169.254.1.1/s3cret",
            "https://s3cret host/",
            "http://joe:s3cret@",
        ] {
            RealDisk
                .write(&path, text.as_bytes(), 0o600, None, Durability::Batch)
                .unwrap();
            let none = |_: &ResourceName| Err(String::new());
            let said = url(&RealDisk, &source, user::effective(), &none).unwrap_err();
            assert!(
                !said.contains("s3cret") && said.contains("holds no URL"),
                "{said}"
            );
        }
    }
}
