//! Who issues tokens: how each is asked of one, and what its answers mean.
//!
//! A provider is a [`table`](table::RawProvider): those built in are the TOML files of `tables/`, and a
//! spec adds its own or says how one differs. The engine that reads them is small. [`Provider::probe_at`]
//! sends the requests of the table; [`Provider::judge`] and [`Provider::add_detail`] are pure functions of
//! the answers. A provider without an issuer to ask ([`Provider::judge_alone`]) is a certificate, or says nothing.
//!
//! What the engine knows by itself, whatever a table says: an answer that no rule fits is no verdict; a
//! page of HTML is none; an end that cannot be read is an error; a name that holds a piece of the token
//! is not kept.

mod certificate;
mod check;
mod detail;
mod format;
mod judge;
mod probe;
mod shown;
pub mod table;
mod template;
pub mod time;

use std::{collections::BTreeMap, sync::LazyLock};

pub use certificate::{CertificateFault, Validity, validity};
pub use check::{check, resolve};
pub use judge::Answer;
pub use probe::{Endpoint, PROBE_BODY, PROBE_TIMEOUT};
pub use table::{Provider, RawProvider};

macro_rules! tables {
    ($($name:literal),* $(,)?) => {
        /// The tables that are built in, by name, and each after those that it extends.
        const TABLES: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("tables/", $name, ".toml")))),*
        ];
    };
}

tables![
    "anthropic",
    "cargo",
    "cloudflare",
    "datadog",
    "digitalocean",
    "dockerhub",
    "gitea",
    "forgejo",
    "github",
    "github_app",
    "gitlab",
    "huggingface",
    "jupyterhub",
    "kubernetes",
    "none",
    "npm",
    "oauth2",
    "oauth2_client",
    "openai",
    "opaque",
    "sendgrid",
    "sentry",
    "slack",
    "stripe",
    "vault",
    "openbao",
    "x509",
];

static BUILTIN: LazyLock<BTreeMap<&'static str, Provider>> = LazyLock::new(|| {
    let mut known: BTreeMap<&'static str, Provider> = BTreeMap::new();
    for (name, text) in TABLES {
        // A test reads them all; one that could not be read would be one that is not known.
        let Ok(raw) = toml::from_str::<RawProvider>(text) else {
            continue;
        };
        let base = raw.extends.as_deref().and_then(|base| known.get(base));
        let provider = raw.clone().over(base.cloned());
        known.insert(*name, provider);
    }
    known
});

/// A provider that is built in.
pub fn builtin(name: &str) -> Option<&'static Provider> {
    BUILTIN.get(name)
}

/// The names of those built in, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILTIN.keys().copied()
}

impl Provider {
    /// The URL that its paths are below, where a credential says no other.
    pub fn default_base_url(&self) -> Option<&str> {
        self.base_url.as_deref()
    }

    /// Whether an old and a new token can both be live.
    pub const fn both_live(&self) -> bool {
        self.both_live
    }

    /// Whether a rotation ends the old token at once, so that it must never be sent twice.
    pub const fn revokes_at_once(&self) -> bool {
        !self.both_live
    }

    /// The names that its requests have places for beside the token's, and that no parameter fills: what a
    /// credential is to say in its `with`. Sorted.
    pub fn asks_for(&self) -> Vec<&str> {
        let mut asked = self.places();
        asked.retain(|name| !self.params.contains_key(*name));
        asked
    }

    /// The names that its requests have places for beside the token's, sorted.
    pub fn places(&self) -> Vec<&str> {
        let detail = self.detail.iter().map(|detail| &detail.request);
        let requests = std::iter::once(&self.request).chain(detail);
        let mut names: Vec<&str> = (requests.flat_map(table::Request::templates))
            .flat_map(|text| template::names(text))
            .filter(|name| *name != template::TOKEN)
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether only another credential may fill a place of that name.
    pub fn is_secret(&self, name: &str) -> bool {
        self.secrets.contains(name)
    }
}

#[cfg(test)]
mod tests;
