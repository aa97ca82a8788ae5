//! What the providers tell of a token.

use secrecy::SecretString;

use super::finding::{Finding, Status};
use crate::{
    effect::{disk::Disk, http::Http},
    error::{Code, Error, Result},
    id::Timestamp,
};

use super::definition::Credential;

/// The providers that are built in.
pub fn provider_names() -> Vec<&'static str> {
    vec!["github", "gitlab"]
}

/// Whether a value has the form of the provider's.
///
/// # Errors
/// In our words how it has not; never any of the value.
pub fn check_format(_: &Credential, _: &SecretString) -> Result<(), String> {
    Ok(())
}

/// Where a credential's provider is asked; `None` where there is nobody to ask.
pub fn resolved_url(credential: &Credential) -> Option<String> {
    credential.base_url.clone()
}

/// The certificates that a credential's provider is trusted by, beside those of the host.
///
/// # Errors
/// What the disk says of the file that holds them.
pub fn roots(disk: &dyn Disk, credential: &Credential) -> Result<Option<Vec<u8>>> {
    let Some(path) = &credential.ca_file else {
        return Ok(None);
    };
    let read = disk
        .read(path, 1 << 20)
        .map_err(|error| Error::io("read", path, error))?;
    let file = read.ok_or_else(|| {
        Error::new(Code::Io, format!("there is no file {}", path.display()))
            .suggest("put the certificates there, or leave `ca_file` out")
    })?;
    Ok(Some(file.bytes))
}

/// Asks the provider what a value is worth.
#[expect(
    clippy::unused_async,
    reason = "no provider of this build has anybody to ask"
)]
pub async fn probe(
    _: &Http,
    _: &Credential,
    _: Option<&[u8]>,
    _: &SecretString,
    now: Timestamp,
) -> Finding {
    Finding::new(Status::NotImplemented, now)
}
