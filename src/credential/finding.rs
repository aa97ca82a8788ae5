//! What an issuer says of a token, in the words that all providers share.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::facts::to_second;
use crate::id::Timestamp;

/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The issuer takes it, and it may do all that is asked of it.
    Live,
    /// The issuer takes it, and it lacks a scope.
    LiveUnderScoped,
    /// Its end has come.
    Expired,
    /// Someone has ended it.
    Revoked,
    /// The issuer refuses it and does not say why.
    Rejected,
    /// The issuer asks to be left alone for now. It says nothing of the token.
    Throttled,
    /// The provider has no way to ask.
    NotImplemented,
    /// There was no answer that means anything.
    Error,
}

impl Status {
    /// The word in a printed list and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::LiveUnderScoped => "live_under_scoped",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Rejected => "rejected",
            Self::Throttled => "throttled",
            Self::NotImplemented => "not_implemented",
            Self::Error => "error",
        }
    }

    /// In words, for a reader.
    pub const fn told(self) -> &'static str {
        match self {
            Self::LiveUnderScoped => "live, but under-scoped",
            Self::NotImplemented => "not asked",
            Self::Live
            | Self::Expired
            | Self::Revoked
            | Self::Rejected
            | Self::Throttled
            | Self::Error => self.as_str(),
        }
    }

    /// Whether the issuer will never take the token again.
    pub const fn is_dead(self) -> bool {
        match self {
            Self::Expired | Self::Revoked | Self::Rejected => true,
            Self::Live
            | Self::LiveUnderScoped
            | Self::Throttled
            | Self::NotImplemented
            | Self::Error => false,
        }
    }

    /// Whether the issuer takes the token.
    pub const fn is_live(self) -> bool {
        match self {
            Self::Live | Self::LiveUnderScoped => true,
            Self::Expired
            | Self::Revoked
            | Self::Rejected
            | Self::Throttled
            | Self::NotImplemented
            | Self::Error => false,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where an expiry is known from, the surest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provenance {
    /// A header of the issuer's answer.
    Header,
    /// The body of the issuer's answer.
    Body,
    /// Where the value came from: a command that printed its end beside it.
    Source,
    /// The token's own `exp` (RFC 7519).
    Jwt,
    /// The certificate's `notAfter`.
    Certificate,
    /// The spec says so.
    Declared,
}

impl Provenance {
    /// The word in a printed list.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Body => "body",
            Self::Source => "source",
            Self::Jwt => "jwt",
            Self::Certificate => "certificate",
            Self::Declared => "declared",
        }
    }
}

/// When a token ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expiry {
    /// The first instant at which it is dead, UTC.
    pub at: Timestamp,
    /// Where that is known from.
    pub from: Provenance,
}

/// What is known of a token after it was probed. It holds no secret and no text of the issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What the issuer says.
    pub status: Status,
    /// Why, in our words; `None` where the status says it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When it ends, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry: Option<Expiry>,
    /// What it may do, where the issuer lists it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<BTreeSet<String>>,
    /// Whose it is, where the issuer says it and it is no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// When the issuer may be asked again, UTC, where it throttles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// The issuer's clock, UTC, as its answer's `Date` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_time: Option<Timestamp>,
    /// Whether another request tells more of it, and did not this time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// When it was asked, UTC.
    pub probed_at: Timestamp,
}

impl Finding {
    /// A finding of nothing but a status.
    pub const fn new(status: Status, probed_at: Timestamp) -> Self {
        Self {
            status,
            detail: None,
            expiry: None,
            scopes: None,
            account: None,
            retry_at: None,
            issuer_time: None,
            partial: false,
            probed_at,
        }
    }

    /// The same with a reason, in our words.
    #[must_use]
    pub fn because(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Why the issuer gave no verdict when it was last asked, and until when it is left alone; `None` where
    /// it gave one, or has none to give.
    pub fn no_verdict(&self) -> Option<String> {
        match self.status {
            Status::Throttled | Status::Error => {}
            Status::Live
            | Status::LiveUnderScoped
            | Status::Expired
            | Status::Revoked
            | Status::Rejected
            | Status::NotImplemented => return None,
        }
        let detail = self.detail.iter().map(|why| format!(": {why}"));
        let until = self.retry_at.map(to_second);
        let until = until.map(|at| format!(", asks to be left alone until {at}"));
        let detail: String = detail.chain(until).collect();
        Some(format!("{}{detail}", self.status.told()))
    }

    /// The scopes that are asked for and not there; empty where the issuer lists none.
    pub fn missing<'w>(&self, wanted: &'w BTreeSet<String>) -> Vec<&'w str> {
        let Some(scopes) = &self.scopes else {
            return Vec::new();
        };
        let missing = wanted.iter().filter(|scope| !scopes.contains(*scope));
        missing.map(String::as_str).collect()
    }

    /// The scopes that are there and not asked for.
    pub fn excess(&self, wanted: &BTreeSet<String>) -> Vec<&str> {
        let there = self.scopes.iter().flatten();
        let excess = there.filter(|scope| !wanted.contains(*scope));
        excess.map(String::as_str).collect()
    }
}
