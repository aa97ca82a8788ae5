//! A spec file as its author writes it. The doc comments are the descriptions in the JSON Schema,
//! so they speak to that author.

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

use crate::{
    credential::spec::raw::RawCredential,
    id::{Invalid, ProjectName, ResourceName, Seconds},
    service::spec::{
        raw::{RawService, RawServiceDefaults},
        sink::RawNotify,
        text::HostName,
    },
};

/// What a host does: lorectl reconciles it with this file.
//
// The shape of a whole file, for its schema; loading reads each table on its own.
#[derive(Debug, Default, JsonSchema)]
#[schemars(default, deny_unknown_fields, rename = "Spec")]
#[expect(
    clippy::zero_sized_map_values,
    reason = "a host's table has no key yet"
)]
pub struct RawSpec {
    /// The version of this format: 1.
    #[schemars(extend("const" = 1))]
    pub version: Option<u8>,
    /// What the state, and every name on the host, is scoped by.
    pub project: Option<RawProject>,
    /// The hosts that the spec is for. Without it, any.
    pub hosts: BTreeMap<HostName, RawHost>,
    /// A timer of our own that mends between applies.
    pub reconcile: Option<RawReconcile>,
    /// Who hears of what happens.
    pub notify: BTreeMap<ResourceName, RawNotify>,
    /// What resources do not say themselves.
    pub defaults: RawDefaults,
    /// Tokens: where they come from and where they are delivered.
    pub credentials: BTreeMap<ResourceName, RawCredential>,
    /// Scheduled jobs.
    pub services: BTreeMap<ResourceName, RawService>,
}

/// The project.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Project")]
pub struct RawProject {
    /// Its name.
    pub name: ProjectName,
    /// The versions of lorectl that may read it, as `>=0.1`.
    pub lorectl: Option<Requirement>,
    /// The shortest `every`. Default: `5m`.
    pub min_interval: Option<Seconds>,
}

/// A host of the spec.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Host")]
pub struct RawHost {}

/// A timer of our own that mends between applies.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Reconcile")]
pub struct RawReconcile {
    /// How often.
    pub every: Seconds,
    /// What it may do. Default: all of it.
    #[schemars(length(min = 1))]
    pub allow: Option<Vec<RawAllowed>>,
}

/// What the reconciling timer may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Allowed")]
pub enum RawAllowed {
    /// Mend drift.
    Drift,
    /// Rotate what is due.
    Rotation,
    /// Go on with rollouts.
    Rollout,
}

impl RawAllowed {
    /// The word in the spec and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drift => "drift",
            Self::Rotation => "rotation",
            Self::Rollout => "rollout",
        }
    }
}

/// What resources do not say themselves.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Defaults")]
pub struct RawDefaults {
    /// Of services.
    pub services: RawServiceDefaults,
}

/// The versions of lorectl that a spec is for, in Cargo's syntax.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement(semver::VersionReq);

impl Requirement {
    /// Whether a version meets it. What a version's pre-release is before counts as that version.
    pub fn is_met_by(&self, version: &str) -> bool {
        semver::Version::parse(version).is_ok_and(|mut version| {
            version.pre = semver::Prerelease::EMPTY;
            self.0.matches(&version)
        })
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Requirement {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parsed = semver::VersionReq::parse(text);
        parsed.map(Self).map_err(|error| {
            Invalid(format!(
                "that is no requirement of a version, as `>=0.1`: {error}"
            ))
        })
    }
}

impl<'de> Deserialize<'de> for Requirement {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(d)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Requirement {
    fn schema_name() -> Cow<'static, str> {
        "Requirement".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "format": Self::FORMAT})
    }
}

impl Requirement {
    /// The `format` in the JSON Schema, which has no pattern for it.
    pub const FORMAT: &'static str = "version-requirement";
}
