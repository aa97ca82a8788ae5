//! Newtypes for everything that has a name, an identity or a unit.
//!
//! A value of one of these types is valid: parsing is the only way in, and
//! every parser says what it refuses and why.

use std::{borrow::Cow, fmt, marker::PhantomData, str::FromStr};

use chrono::{DateTime, SecondsFormat, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use smol_str::SmolStr;

/// Why a text is not the name or value it was taken for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// Serialises through `Display` and deserialises through `FromStr`.
macro_rules! serde_as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                d.deserialize_str(Parsed(PhantomData))
            }
        }
    };
}

/// What reads a text as it comes, without a copy of it.
struct Parsed<T>(PhantomData<T>);

impl<T: FromStr<Err = Invalid>> de::Visitor<'_> for Parsed<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// The JSON Schema of a text that a spec holds: its pattern is what an editor checks, its parser what lorectl does.
macro_rules! schema_of_text {
    ($name:ident, $title:literal, $pattern:literal, $says:literal) => {
        impl $name {
            /// The pattern in the JSON Schema. It may take more than the parser does, never less.
            pub const PATTERN: &'static str = $pattern;
        }
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                $title.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "pattern": $pattern,
                    "description": $says
                })
            }
        }
    };
}

/// The name of a project: `[a-z0-9-]{1,32}`. It scopes the state and every name on the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProjectName(SmolStr);

impl ProjectName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ProjectName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty() || text.len() > 32 || !text.chars().all(allowed) {
            return Err(Invalid(
                "a project's name is 1 to 32 of `a-z`, `0-9` and `-`".to_owned(),
            ));
        }
        Ok(Self(text.into()))
    }
}
serde_as_text!(ProjectName);
schema_of_text!(
    ProjectName,
    "ProjectName",
    "^[a-z0-9-]{1,32}$",
    "1 to 32 of `a-z`, `0-9` and `-`."
);

/// The name of a resource within its kind: `[a-z0-9][a-z0-9_-]{0,63}`.
///
/// It holds no dot, so that no two pairs of project and name give the same unit name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName(SmolStr);

impl ResourceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ResourceName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let rest = |c: char| first(c) || c == '_' || c == '-';
        if text.len() > 64 || !text.starts_with(first) || !text.chars().all(rest) {
            return Err(Invalid(
                "a name is 1 to 64 of `a-z`, `0-9`, `_` and `-`, and begins with a letter or digit"
                    .to_owned(),
            ));
        }
        Ok(Self(text.into()))
    }
}
serde_as_text!(ResourceName);
schema_of_text!(
    ResourceName,
    "ResourceName",
    "^[a-z0-9][a-z0-9_-]{0,63}$",
    "1 to 64 of `a-z`, `0-9`, `_` and `-`, beginning with a letter or digit."
);

/// The kinds of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A token and where it is delivered.
    Credential,
    /// Revisions and their traffic.
    Deployment,
    /// A scheduled job.
    Service,
    /// A kind of the engine's own tests, which has what services do not need yet.
    #[cfg(test)]
    Toy,
}

impl Kind {
    /// Every kind that a spec may declare.
    pub const ALL: [Self; 3] = [Self::Credential, Self::Deployment, Self::Service];

    /// The word used in addresses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::Deployment => "deployment",
            Self::Service => "service",
            #[cfg(test)]
            Self::Toy => "toy",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "credential" | "credentials" => Ok(Self::Credential),
            "deployment" | "deployments" => Ok(Self::Deployment),
            "service" | "services" => Ok(Self::Service),
            #[cfg(test)]
            "toy" => Ok(Self::Toy),
            other => Err(Invalid(format!(
                "`{other}` is no kind; there are service, credential and deployment"
            ))),
        }
    }
}

/// A resource's address within a project, `service.sync`; the plural is accepted, the singular shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The kind, the part before the dot.
    pub kind: Kind,
    /// The name, the part after it.
    pub name: ResourceName,
}

impl Address {
    /// Joins a kind and a name.
    pub const fn new(kind: Kind, name: ResourceName) -> Self {
        Self { kind, name }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind, self.name)
    }
}

impl FromStr for Address {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let Some((kind, name)) = text.split_once('.') else {
            return Err(Invalid(
                "an address is a kind and a name, as in `service.sync`".to_owned(),
            ));
        };
        Ok(Self::new(kind.parse()?, name.parse()?))
    }
}
serde_as_text!(Address);
schema_of_text!(
    Address,
    "Address",
    "^(service|credential|deployment)s?\\.[a-z0-9][a-z0-9_-]{0,63}$",
    "A kind and a name, as in `service.sync`."
);

/// Which backend holds a resource: `systemd-system`, `systemd-user`, `worker`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BackendId(SmolStr);

impl BackendId {
    /// A backend known at compile time.
    pub const fn from_static(text: &'static str) -> Self {
        Self(SmolStr::new_static(text))
    }

    /// A backend that is named by what is known at run time.
    pub fn from_text(text: &str) -> Self {
        Self(SmolStr::new(text))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a project's state is the state *of*: 32 hex digits, drawn from machine, user and project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lineage(String);

impl Lineage {
    /// The first lineage of a project on a machine.
    ///
    /// It is derived, not drawn, so that a state lost to a disk is recognised by the marks it left.
    pub fn derive(machine_id: &str, uid: u32, project: &ProjectName) -> Self {
        let digest = Digest::of(format!("lineage\0{machine_id}\0{uid}\0{project}").as_bytes());
        Self(digest.to_string()[..32].to_owned())
    }

    /// The lineage as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The mark that what we make carries (`X-Lorectl-Id=`): 12 hex digits of SHA-256 over lineage, kind and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceId(SmolStr);

impl ResourceId {
    /// The id of a resource under a lineage.
    pub fn derive(lineage: &Lineage, address: &Address) -> Self {
        let text = format!("id\0{lineage}\0{}\0{}", address.kind, address.name);
        Self(Digest::of(text.as_bytes()).to_string()[..12].into())
    }

    /// An id read from a mark on the host.
    pub fn from_mark(text: &str) -> Self {
        Self(text.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SHA-256, written as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest that a streaming hash ended in.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its first seven hex digits, as Git shortens a commit.
    pub fn short(&self) -> String {
        self.to_string()[..7].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0_u8; 64];
        for (at, byte) in self.0.iter().enumerate() {
            text[at * 2] = HEX[usize::from(byte >> 4)];
            text[at * 2 + 1] = HEX[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid("a SHA-256 is 64 lower-case hex digits".to_owned());
        let nibble = |c: u8| match c {
            b'0'..=b'9' => Ok(c - b'0'),
            b'a'..=b'f' => Ok(c - b'a' + 10),
            _ => Err(invalid()),
        };
        let text = text.as_bytes();
        if text.len() != 64 {
            return Err(invalid());
        }
        let mut bytes = [0_u8; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }
}
serde_as_text!(Digest);

/// An instant of the wall clock, UTC, kept to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(DateTime<Utc>);

impl Timestamp {
    /// The instant so many milliseconds after 1970, clamped to what a calendar can say.
    pub fn from_millis(millis: i64) -> Self {
        let clamped = millis.clamp(-62_135_596_800_000, 253_402_300_799_999);
        Self(DateTime::from_timestamp_millis(clamped).unwrap_or(DateTime::UNIX_EPOCH))
    }

    /// Milliseconds since 1970.
    pub fn millis(self) -> i64 {
        self.0.timestamp_millis()
    }

    /// As a date and time of `chrono`, UTC.
    pub const fn utc(self) -> DateTime<Utc> {
        self.0
    }

    /// The instant `seconds` later, or earlier when negative; clamped, never a panic.
    #[must_use]
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self::from_millis(self.millis().saturating_add(seconds.saturating_mul(1000)))
    }

    /// The instant `millis` milliseconds later, or earlier when negative; clamped, never a panic.
    #[must_use]
    pub fn plus_millis(self, millis: i64) -> Self {
        Self::from_millis(self.millis().saturating_add(millis))
    }

    /// Seconds from `earlier` to this instant, rounded down; negative when `earlier` is later.
    pub fn seconds_since(self, earlier: Self) -> i64 {
        (self.millis() - earlier.millis()).div_euclid(1000)
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(at: DateTime<Utc>) -> Self {
        Self::from_millis(at.timestamp_millis())
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC; milliseconds only where there are any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl FromStr for Timestamp {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        DateTime::parse_from_rfc3339(text)
            .map(|at| Self::from(at.with_timezone(&Utc)))
            .map_err(|_| Invalid(format!("`{text}` is no RFC 3339 date and time")))
    }
}
serde_as_text!(Timestamp);

/// A length of time in whole seconds, written `90s`, `15m`, `6h`, `14d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(pub u64);

impl Seconds {
    /// The longest that a spec may say: ten years.
    pub const MAX: Self = Self(10 * 366 * 86_400);

    /// As a signed count, for arithmetic on instants.
    pub fn signed(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

impl fmt::Display for Seconds {
    /// The largest unit that loses nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0s"),
            n if n % 86_400 == 0 => write!(f, "{}d", n / 86_400),
            n if n % 3600 == 0 => write!(f, "{}h", n / 3600),
            n if n % 60 == 0 => write!(f, "{}m", n / 60),
            n => write!(f, "{n}s"),
        }
    }
}

impl FromStr for Seconds {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            Invalid(format!(
                "`{text}` is no duration; write `90s`, `15m`, `6h` or `14d`"
            ))
        };
        let unit = match text.as_bytes().last() {
            Some(b's') => 1,
            Some(b'm') => 60,
            Some(b'h') => 3600,
            Some(b'd') => 86_400,
            _ => return Err(invalid()),
        };
        let digits = &text[..text.len() - 1];
        if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
            return Err(invalid());
        }
        let seconds = digits
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(unit))
            .filter(|n| *n <= Self::MAX.0)
            .ok_or_else(|| Invalid(format!("`{text}` is more than ten years")))?;
        Ok(Self(seconds))
    }
}
serde_as_text!(Seconds);

schema_of_text!(
    Seconds,
    "Duration",
    "^[0-9]+[smhd]$",
    "A length of time: `90s`, `15m`, `6h`, `14d`."
);

/// Basis points: hundredths of a percent; all of the traffic is 10000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bps(pub u16);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_could_reach_a_path_or_a_unit_are_refused() {
        for bad in [
            "",
            "../x",
            "a/b",
            "a.b",
            "a\0b",
            "a\nb",
            "A",
            "-a",
            "é",
            &"a".repeat(65),
        ] {
            assert!(bad.parse::<ResourceName>().is_err(), "{bad:?}");
        }
        for good in ["a", "0", "a-b_c", &"a".repeat(64)] {
            assert!(good.parse::<ResourceName>().is_ok(), "{good:?}");
        }
    }

    #[test]
    fn an_address_takes_the_plural_and_shows_the_singular() {
        let address: Address = "services.sync".parse().unwrap();
        assert_eq!(address.to_string(), "service.sync");
        assert!("service".parse::<Address>().is_err());
        assert!("timer.sync".parse::<Address>().is_err());
    }

    #[test]
    fn ids_differ_between_lineages_kinds_and_names() {
        let one = Lineage::derive("m", 0, &"p".parse().unwrap());
        let two = Lineage::derive("m", 1, &"p".parse().unwrap());
        let a: Address = "service.a".parse().unwrap();
        let b: Address = "credential.a".parse().unwrap();
        let ids = [
            ResourceId::derive(&one, &a),
            ResourceId::derive(&two, &a),
            ResourceId::derive(&one, &b),
        ];
        assert!(ids[0] != ids[1] && ids[0] != ids[2] && ids[1] != ids[2]);
        assert_eq!(ids[0].as_str().len(), 12);
    }

    proptest! {
        #[test]
        fn durations_round_trip(seconds in 0_u64..Seconds::MAX.0) {
            let text = Seconds(seconds).to_string();
            prop_assert_eq!(text.parse::<Seconds>().unwrap(), Seconds(seconds));
        }

        #[test]
        fn no_text_panics_a_parser(text in ".{0,40}") {
            let _ = text.parse::<Seconds>();
            let _ = text.parse::<Address>();
            let _ = text.parse::<ProjectName>();
            let _ = text.parse::<Timestamp>();
            let _ = text.parse::<Digest>();
        }

        #[test]
        fn instants_and_digests_round_trip(millis in any::<i64>(), bytes in any::<Vec<u8>>()) {
            let at = Timestamp::from_millis(millis);
            prop_assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at);
            let digest = Digest::of(&bytes);
            prop_assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        }
    }
}
