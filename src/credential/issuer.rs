//! Asking the issuer of a credential: its provider, its URL and its certificates in one place.

use std::{borrow::Cow, cell::RefCell, collections::BTreeMap};

use secrecy::SecretString;

use crate::{
    effect::{
        disk::Disk,
        http::{Http, HttpUrl},
        process::Stopwatch,
    },
    error::{Code, Error, Result},
    id::Timestamp,
    layout::Layout,
};

use super::{
    definition::{Credential, With},
    finding::{Expiry, Finding, Provenance, Status},
    provider::{self, Endpoint, PROBE_TIMEOUT, Provider, table::Via},
    record::Record,
};

/// The largest file of certificates, in bytes.
const LARGEST_ROOTS: u64 = 1 << 20;

/// The provider of a value whose issuer nobody names: one that tells its own end if it is a JWT.
const NOBODY: &str = "opaque";

/// The provider that a credential names: as the spec that was applied had it, else the one built in.
fn named(credential: &Credential) -> Option<Cow<'_, Provider>> {
    match (&credential.table, &credential.provider) {
        (Some(table), _) => Some(Cow::Borrowed(table)),
        (None, Some(name)) => provider::builtin(name).map(Cow::Borrowed),
        (None, None) => None,
    }
}

/// Whether a value has the form of the provider's.
///
/// # Errors
/// In our words how it has not; never any of the value.
pub fn check_format(credential: &Credential, value: &SecretString) -> Result<(), String> {
    match named(credential) {
        Some(provider) => provider.check_format(value),
        None => Ok(()),
    }
}

/// The same, said of where the value comes from.
///
/// # Errors
/// `TOKEN_INVALID`.
pub fn checked(credential: &Credential, value: &SecretString) -> Result<()> {
    check_format(credential, value).map_err(|why| {
        let (source, provider) = (credential.source.told(), credential.provider.as_deref());
        let provider = provider.unwrap_or_default();
        let message = format!("what {source} gives is no token of `{provider}`: {why}");
        Error::new(Code::TokenInvalid, message).suggest(format!(
            "look whether it is the one that was meant, and whether `{provider}` is its provider"
        ))
    })
}

/// Where a credential's provider is asked; `None` where there is nobody to ask.
pub fn resolved_url(credential: &Credential) -> Option<String> {
    let provider = named(credential)?;
    let default = provider.default_base_url().map(ToOwned::to_owned);
    credential.base_url.clone().or(default)
}

/// Whether there is anybody, or anything in the value itself, that tells what it is worth.
pub fn tells(credential: &Credential) -> bool {
    named(credential).is_some()
}

/// Whether its dates tell what it is worth, and nobody else.
pub fn reads_certificates(credential: &Credential) -> bool {
    named(credential).is_some_and(|provider| provider.probe == Via::X509)
}

/// The host that is asked, for a budget of requests.
pub fn host(credential: &Credential) -> Option<String> {
    let url = resolved_url(credential)?;
    let rest = url.split_once("://").map_or(&*url, |(_, rest)| rest);
    Some(rest.split('/').next().unwrap_or_default().to_owned())
}

/// The certificates that a credential's provider is trusted by, beside those of the host.
///
/// # Errors
/// What the disk says of the file that holds them.
pub fn roots(disk: &dyn Disk, credential: &Credential) -> Result<Option<Vec<u8>>> {
    let Some(path) = &credential.ca_file else {
        return Ok(None);
    };
    let read = disk.read(path, LARGEST_ROOTS);
    let read = read.map_err(|error| Error::io("read", path, error))?;
    let file = read.ok_or_else(|| {
        Error::new(Code::Io, format!("there is no file {}", path.display()))
            .suggest("put the certificates there, or leave `ca_file` out")
    })?;
    Ok(Some(file.bytes))
}

/// With what a credential's provider is asked beside the value itself.
#[derive(Debug, Default)]
pub struct Means {
    roots: Option<Vec<u8>>,
    params: BTreeMap<String, String>,
    secrets: BTreeMap<String, SecretString>,
}

impl Means {
    /// Those of a credential, with the values that the store holds now of the credentials that it names.
    /// They may be sent only where that definition says, and only once it was applied.
    ///
    /// # Errors
    /// As [`roots`] and [`Record::read`]; `CREDENTIAL_MISSING` where a credential that it names has no value.
    pub fn of(disk: &dyn Disk, layout: &Layout, credential: &Credential) -> Result<Self> {
        let mut means = Self {
            roots: roots(disk, credential)?,
            ..Self::default()
        };
        for (key, with) in &credential.with {
            match with {
                With::Text(text) => drop(means.params.insert(key.clone(), text.clone())),
                With::Credential(name) => {
                    let record = Record::read(disk, layout, name)?;
                    let value = record.as_ref().and_then(Record::current);
                    let value = value.ok_or_else(|| {
                        let message = format!(
                            "credential.{}: credential.{name} has no value to ask its provider with",
                            credential.name
                        );
                        Error::new(Code::CredentialMissing, message).suggest(format!(
                            "`lorectl credential validate {name}` says how that one is"
                        ))
                    })?;
                    means
                        .secrets
                        .insert(key.clone(), value.value.value().clone());
                }
            }
        }
        Ok(means)
    }

    fn endpoint<'a>(&'a self, http: &'a Http, base: &'a HttpUrl) -> Endpoint<'a> {
        Endpoint {
            http,
            base,
            roots: self.roots.as_deref(),
            params: &self.params,
            secrets: &self.secrets,
            timeout: PROBE_TIMEOUT,
        }
    }
}

/// Asks the issuer what a value is worth, at the URL of that definition and nowhere else.
pub async fn probe(
    http: &Http,
    credential: &Credential,
    means: &Means,
    value: &SecretString,
    now: Timestamp,
) -> Finding {
    let (watch, host) = (Stopwatch::start(), host(credential));
    let finding = ask(http, credential, means, value, now).await;
    let (credential, verdict, ms) = (&credential.name, finding.status, watch.elapsed_ms());
    match (host, verdict) {
        (Some(host), _) => {
            tracing::info!(%credential, host, %verdict, ms, "asked what it is worth");
        }
        (None, Status::NotImplemented) => {
            tracing::debug!(%credential, "there is nobody to ask what it is worth");
        }
        (None, _) => tracing::info!(%credential, %verdict, "read what it is worth"),
    }
    finding
}

async fn ask(
    http: &Http,
    credential: &Credential,
    means: &Means,
    value: &SecretString,
    now: Timestamp,
) -> Finding {
    let Some(provider) = named(credential) else {
        let alone = provider::builtin(NOBODY).and_then(|nobody| nobody.judge_alone(value, now));
        return alone.unwrap_or_else(|| Finding::new(Status::NotImplemented, now));
    };
    if let Some(finding) = provider.judge_alone(value, now) {
        return finding;
    }
    let url = resolved_url(credential).unwrap_or_default();
    match http.url(&url) {
        Ok(base) => {
            let endpoint = means.endpoint(http, &base);
            provider
                .probe_at(&endpoint, value, &credential.scopes, now)
                .await
        }
        Err(_) => Finding::new(Status::NotImplemented, now)
            .because("this provider has no URL of its own, and the credential says none"),
    }
}

/// Why nobody can be asked about a value whose issuer the spec does not name.
pub const NO_PROVIDER: &str = "no provider";

/// Why nobody was asked what a value is worth; `None` where somebody was.
pub fn unasked(credential: &Credential, finding: Option<&Finding>) -> Option<String> {
    match finding {
        Some(finding) if finding.status != Status::NotImplemented => None,
        Some(Finding {
            detail: Some(why), ..
        }) => Some(why.clone()),
        Some(_) | None if !tells(credential) => Some(NO_PROVIDER.to_owned()),
        Some(_) | None => None,
    }
}

/// What is said of an issuer whose word on tokens is worth nothing.
pub const TAKES_ANY: &str = "the issuer takes any token";

/// What has become known of issuers: whether each refuses a token that nobody has, by provider and URL.
#[derive(Debug, Default)]
pub struct Controls(RefCell<BTreeMap<(Option<String>, String), bool>>);

impl Controls {
    /// As [`probe`]; an issuer that calls a value live is tried, once, with one that nobody has. Where it
    /// takes that too, nobody can tell what the value is worth. One that gives no verdict on it is believed.
    pub async fn probe(
        &self,
        http: &Http,
        credential: &Credential,
        means: &Means,
        value: &SecretString,
        now: Timestamp,
    ) -> Finding {
        let finding = probe(http, credential, means, value, now).await;
        if !finding.status.is_live() || !self.takes_any(http, credential, means, now).await {
            return finding;
        }
        let own = |expiry: &Expiry| matches!(expiry.from, Provenance::Jwt);
        let mut worthless = Finding::new(Status::NotImplemented, now).because(TAKES_ANY);
        worthless.expiry = finding.expiry.filter(own);
        worthless
    }

    async fn takes_any(
        &self,
        http: &Http,
        credential: &Credential,
        means: &Means,
        now: Timestamp,
    ) -> bool {
        let (Some(provider), Some(url)) = (named(credential), resolved_url(credential)) else {
            return false;
        };
        let Ok(base) = http.url(&url) else {
            return false;
        };
        let key = (credential.provider.clone(), url.clone());
        if let Some(known) = self.0.borrow().get(&key) {
            return *known;
        }
        let endpoint = means.endpoint(http, &base);
        let credential = &credential.name;
        match provider.control(&endpoint, now).await {
            Ok(refuses) => {
                tracing::debug!(%credential, refuses, "tried its issuer with a token that nobody has");
                self.0.borrow_mut().insert(key, !refuses);
                !refuses
            }
            Err(_) => false,
        }
    }
}

/// Whether what was found is that the issuer takes any token.
pub fn takes_any(finding: &Finding) -> bool {
    finding.status == Status::NotImplemented && finding.detail.as_deref() == Some(TAKES_ANY)
}

/// The provider of that name for a definition: `None` for one that is built in and that no spec changes.
///
/// # Errors
/// In our words that there is none.
pub fn table(
    name: &str,
    declared: &BTreeMap<String, provider::RawProvider>,
) -> Result<Option<Provider>, crate::service::spec::Problem> {
    let resolved = provider::resolve(name, declared)?;
    let differs = !declared.is_empty() && provider::builtin(name) != Some(&resolved);
    Ok(differs.then(|| resolved.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::http::listener::{Answer, Listener};

    fn credential(url: &str) -> Credential {
        let source = super::super::definition::Source::Env("X".to_owned());
        let json = serde_json::json!({
            "project": "acme", "name": "gl", "id": "0123456789abcdef", "provider": "gitlab",
            "base_url": url, "source": source, "warn": "60s",
        });
        serde_json::from_value(json).unwrap()
    }

    #[tokio::test]
    async fn an_issuer_is_tried_once_and_one_that_takes_garbage_is_not_believed() {
        let live = Answer::With(
            200,
            "Content-Type: application/json\r\n",
            "{\"active\":true,\"revoked\":false,\"scopes\":[\"api\"]}".to_owned(),
        );
        let now: Timestamp = "2026-02-03T04:05:06Z".parse().unwrap();
        let value = SecretString::from("glpat-canary7f3aValueThatNeverShows");
        let (any, sound) = (Listener::start([live.clone()]), Listener::issuer([live]));
        let (http, controls) = (Http::default(), Controls::default());
        let none = Means::default();
        for _ in 0..2 {
            let at = credential(&any.url(""));
            let found = controls.probe(&http, &at, &none, &value, now).await;
            assert!(takes_any(&found), "{found:?}");
            let at = credential(&sound.url(""));
            let found = controls.probe(&http, &at, &none, &value, now).await;
            assert_eq!(found.status, Status::Live);
        }
        assert_eq!(any.seen().len(), 3);
    }
}
