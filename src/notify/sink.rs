//! Who hears of something, with every choice made: part of a definition.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::id::ResourceName;

/// What a notification tells.
//
// The doc comments of the variants are the descriptions in the JSON Schema.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// A run failed, and the one before it had not; or the breaker tripped, or an error paused it. A
    /// credential is dead, or was not renewed.
    Failed,
    /// A run succeeded after one of which was told; a credential is well after trouble that was told.
    Recovered,
    /// An optional stage failed, and in the run before it had not.
    Degraded,
    /// An error that waiting does not mend has paused it.
    Paused,
    /// The breaker tripped.
    Breaker,
    /// A credential expires soon, and nothing renews it in time.
    Expiring,
    /// A rollout was aborted.
    Aborted,
    /// A credential has a new value.
    Rotated,
}

impl Event {
    /// What an entry of `[notify]` that names no events hears of a service: part of each `run.json`.
    pub const OF_SERVICES: [Self; 7] = [
        Self::Failed,
        Self::Recovered,
        Self::Degraded,
        Self::Paused,
        Self::Breaker,
        Self::Expiring,
        Self::Aborted,
    ];

    /// The same of a credential.
    pub const OF_CREDENTIALS: [Self; 4] =
        [Self::Failed, Self::Recovered, Self::Expiring, Self::Rotated];

    /// As files and people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Recovered => "recovered",
            Self::Degraded => "degraded",
            Self::Paused => "paused",
            Self::Breaker => "breaker",
            Self::Expiring => "expiring",
            Self::Aborted => "aborted",
            Self::Rotated => "rotated",
        }
    }

    /// Whether it says of a service that something is wrong with it.
    pub const fn is_trouble(self) -> bool {
        match self {
            Self::Failed | Self::Degraded | Self::Paused | Self::Breaker => true,
            Self::Recovered | Self::Expiring | Self::Aborted | Self::Rotated => false,
        }
    }
}

/// The form of a notification that a webhook takes.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum NotifyFormat {
    /// All of it as JSON.
    #[default]
    Json,
    /// `{"text": "…"}`, as webhooks like Slack's take it.
    Slack,
}

impl NotifyFormat {
    /// As the spec writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Slack => "slack",
        }
    }
}

/// Where a URL comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UrlSource {
    /// From the spec: it is no secret.
    Url(String),
    /// From a file, read when it is needed: it is one.
    File(PathBuf),
    /// From a credential, read when it is needed.
    Credential(ResourceName),
}

impl UrlSource {
    /// The credential that it is, if it is one.
    pub const fn credential(&self) -> Option<&ResourceName> {
        match self {
            Self::Credential(name) => Some(name),
            Self::Url(_) | Self::File(_) => None,
        }
    }
}

/// Where notifications go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// To a URL.
    Webhook {
        /// Which.
        #[serde(flatten)]
        url: UrlSource,
        /// In which form.
        format: NotifyFormat,
        /// A file of PEM certificates that are trusted beside those of the host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ca_file: Option<PathBuf>,
    },
    /// To a command, on its standard input. The program is an absolute path.
    Command(Vec<String>),
}

/// Someone who hears of something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sink {
    /// Its name in `[notify]`.
    pub name: ResourceName,
    /// What it hears of.
    pub events: Vec<Event>,
    /// Where it is.
    pub to: Target,
}
