//! A credential as its author writes it. The doc comments are the descriptions in the JSON Schema,
//! so they speak to that author.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::text::{CredentialName, FileMode, GroupName};
use crate::{
    credential::definition::With,
    id::{Address, ResourceName, Seconds},
    service::spec::text::{EnvName, HostName, UserName},
};

/// A token: where it comes from, who tells what it is worth, and where it is delivered.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Credential")]
pub struct RawCredential {
    /// Who issued it, and so how it is probed, as `gitlab`. Without it nobody is asked what it is worth.
    pub provider: Option<String>,
    /// Where the provider is asked, as `https://gitlab.example.com`. Default: the provider's own.
    pub base_url: Option<String>,
    /// A file of PEM certificates that the provider is trusted by, beside those of the host.
    pub ca_file: Option<String>,
    /// What the provider is asked with beside the value, by the names that its requests have places for: as
    /// `{ user = "acme" }`, or a secret as `{ client_secret = { credential = "NAME" } }`. A client of `oauth2`
    /// is that of the source, where none is said.
    pub with: Option<BTreeMap<String, RawWith>>,
    /// Where its value comes from: one of `env`, `file`, `command`, `systemd`, `oauth2`, `github_app`, `jupyterhub`.
    pub source: Option<RawSource>,
    /// What it must be able to do, in the provider's words.
    pub scopes: Option<Vec<String>>,
    /// When it ends.
    pub expiry: Option<RawExpiry>,
    /// How it is replaced before it ends. With the provider `gitlab` and a source that gives one value, the
    /// token rotates itself.
    pub rotate: Option<RawRotate>,
    /// How it is kept. Default: `file`.
    pub store: Option<RawStore>,
    /// Where it is delivered, beside the services that use it.
    #[schemars(length(max = 100))]
    pub deliver: Option<Vec<RawDelivery>>,
    /// The entries of `[notify]` that hear of it.
    pub notify: Option<Vec<ResourceName>>,
    /// The hosts that have it, of those that `[hosts]` lists. Default: every host.
    #[schemars(length(min = 1))]
    pub on: Option<Vec<HostName>>,
    /// What must be there before it, and goes after it: `credential.NAME`.
    pub depends_on: Option<Vec<Address>>,
    /// Not destroyed and not replaced, until an apply of `protect = false`.
    pub protect: Option<bool>,
    /// Parts whose drift is left alone: `value`, `deliver`, `deliver/PATH`.
    pub ignore_drift: Option<Vec<String>>,
}

/// What a provider is asked with beside a value.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "With")]
pub enum RawWith {
    /// A text that is no secret.
    Text(String),
    /// The value of another credential.
    Credential(RawWithCredential),
}

/// Another credential.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WithCredential")]
pub struct RawWithCredential {
    /// Which of `[credentials]`.
    pub credential: ResourceName,
}

/// Where a value comes from: one of the keys. It acts only when what it holds differs from what it held
/// when it was last looked at, so that an old variable never undoes a rotation.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Source")]
pub struct RawSource {
    /// A variable in the environment of `lorectl apply`.
    pub env: Option<EnvName>,
    /// The path of a file, absolute or `./x` from the spec file, that others cannot read, and that belongs to root or to whoever applies.
    pub file: Option<String>,
    /// A command that prints the value on standard output, as an argument vector; or a JSON object as
    /// Kubernetes' exec plugins print it, with `status.token` and `status.expirationTimestamp`. It is run
    /// by `apply`, and before a run that uses it, when a value is needed; never by a plan.
    #[schemars(length(min = 1))]
    pub command: Option<Vec<String>>,
    /// How long `command` may take. Default: `30s`.
    pub timeout: Option<Seconds>,
    /// A client of an OAuth 2 server, to which it gives tokens (RFC 6749, 4.4).
    pub oauth2: Option<RawOauth2>,
    /// An installation of a GitHub App, whose tokens live an hour.
    pub github_app: Option<RawGithubApp>,
    /// A user of a `JupyterHub`, whose tokens are made with another.
    pub jupyterhub: Option<RawJupyterhub>,
    /// The name of a credential of systemd's: in `$CREDENTIALS_DIRECTORY`, else in a `credstore`.
    pub systemd: Option<CredentialName>,
}

/// A client of an OAuth 2 server.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Oauth2")]
pub struct RawOauth2 {
    /// The token endpoint, as `https://login.example.com/oauth2/token`.
    pub token_url: String,
    /// The client.
    pub client_id: String,
    /// The one of `[credentials]` that is the client's secret.
    pub secret: ResourceName,
    /// How the client proves itself. Default: `basic`.
    pub auth: Option<RawClientAuth>,
    /// The `audience` that some servers want named.
    pub audience: Option<String>,
    /// The revocation endpoint (RFC 7009), where there is one.
    pub revoke_url: Option<String>,
}

/// How a client proves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "ClientAuth")]
pub enum RawClientAuth {
    /// By the `Authorization` header, which every server must take.
    Basic,
    /// In the body.
    Post,
}

/// An installation of a GitHub App.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "GithubApp")]
pub struct RawGithubApp {
    /// The app, by its client id or its number.
    pub app_id: String,
    /// The installation.
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_u64))]
    pub installation_id: u64,
    /// The one of `[credentials]` that is the app's private key, PEM.
    pub key: ResourceName,
    /// The repositories, by name, that tokens are for. Default: all of the installation's.
    pub repositories: Option<Vec<String>>,
    /// What tokens may do, as `contents = "read"`. Default: all that the installation may.
    pub permissions: Option<BTreeMap<String, String>>,
}

/// A user of a `JupyterHub`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Jupyterhub")]
pub struct RawJupyterhub {
    /// Whose tokens they are.
    pub user: String,
    /// The one of `[credentials]` that may make them.
    pub token: ResourceName,
}

/// When a credential ends.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Expiry")]
pub struct RawExpiry {
    /// How long before its end it is warned of. Default: `14d`.
    pub warn: Option<Seconds>,
    /// When it ends, where the issuer does not say: `2026-12-31`, or an instant as `2026-12-31T12:00:00Z`.
    pub at: Option<String>,
}

/// How a credential is replaced before it ends.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Rotate")]
pub struct RawRotate {
    /// How long before its end. Default: a fifth of its life.
    pub before: Option<Seconds>,
    /// The life that the issuer is asked for. Default: what it gives.
    pub ttl: Option<Seconds>,
    /// How long the old one lives beside the new, where the issuer lets both: longer than any run
    /// that still holds the old. Default: `1h`.
    pub grace: Option<Seconds>,
}

impl RawCredential {
    /// Whether another value can be had for a run, without an apply: see
    /// [`Credential::renews_for_runs`](crate::credential::definition::Credential::renews_for_runs).
    pub fn renews_for_runs(&self) -> bool {
        let source = self.source.as_ref();
        source.is_some_and(|source| source.command.is_some()) || self.signed_with().is_some()
    }

    /// The credential that its issuer's requests are signed with, and where that is said.
    pub fn signed_with(&self) -> Option<(&'static str, &ResourceName)> {
        let source = self.source.as_ref()?;
        let oauth2 = source
            .oauth2
            .as_ref()
            .map(|one| ("/source/oauth2/secret", &one.secret));
        let app = source.github_app.as_ref();
        let app = app.map(|one| ("/source/github_app/key", &one.key));
        let hub = source.jupyterhub.as_ref();
        let hub = hub.map(|one| ("/source/jupyterhub/token", &one.token));
        oauth2.or(app).or(hub)
    }

    /// What the client of the source is, by the names by which `oauth2` is asked with one.
    pub fn client(&self, name: &str) -> Option<With> {
        let client = self.source.as_ref()?.oauth2.as_ref()?;
        match name {
            "client_id" => Some(With::Text(client.client_id.clone())),
            "client_secret" => Some(With::Credential(client.secret.clone())),
            _ => None,
        }
    }

    /// The credentials that it needs, and where each is said: what its issuer's requests are signed with,
    /// and what its provider is asked with.
    pub fn uses(&self) -> impl Iterator<Item = (String, &ResourceName)> {
        let signed_with = self.signed_with();
        let with = self.with.iter().flatten();
        let with = with.filter_map(|(key, with)| match with {
            RawWith::Text(_) => None,
            RawWith::Credential(one) => Some((format!("/with/{key}"), &one.credential)),
        });
        (signed_with.into_iter())
            .map(|(at, name)| (at.to_owned(), name))
            .chain(with)
    }
}

/// How a value is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Store")]
pub enum RawStore {
    /// In a file of whoever applies, 0600.
    File,
    /// Encrypted for this host by systemd-creds: for root who applies, and services of `systemd-system`.
    SystemdCreds,
}

/// A place to which a value is delivered: `file`, or `env_file` and `name`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Delivery")]
pub struct RawDelivery {
    /// The path, absolute or `./x` from the spec file, of a file that holds the value and nothing else. Its directory must be there.
    pub file: Option<String>,
    /// The path, absolute or `./x` from the spec file, of a file of variables, of which one line is ours and the rest is kept.
    pub env_file: Option<String>,
    /// The variable of `env_file`.
    pub name: Option<EnvName>,
    /// Whom the file belongs to. Default: whoever applies; an env file that is there keeps its owner.
    pub owner: Option<UserName>,
    /// The file's group. Default: the owner's own.
    pub group: Option<GroupName>,
    /// The file's permissions, as `0640`; a certificate may be read by others too, as `0644`. Default: `0600`; an env file that is there keeps its own.
    pub mode: Option<FileMode>,
    /// What is done after the value has changed.
    pub then: Option<RawThen>,
}

/// What is done after a value has changed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Then")]
pub struct RawThen {
    /// The unit of systemd that is reloaded if it is active, as `app.service`.
    pub reload: Option<String>,
}
