//! Texts of a service's spec that have a form of their own.

/// Makes a newtype of a text: its documentation, name, pattern, what is said of a text that is none, and
/// the check.
macro_rules! text {
    ($(#[doc = $doc:literal])+ $name:ident, $pattern:literal, $says:literal, $check:expr) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The pattern in the JSON Schema. It may take more than the parser does, never less.
            pub const PATTERN: &'static str = $pattern;

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::id::Invalid;

            fn from_str(text: &str) -> Result<Self, $crate::id::Invalid> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err($crate::id::Invalid($says.to_owned()))
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'_, str> as serde::Deserialize>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "pattern": $pattern})
            }
        }
    };
}
pub(crate) use text;

/// Whether a text is a word of at most so many bytes, of such characters.
pub(crate) fn word(
    text: &str,
    longest: usize,
    first: fn(char) -> bool,
    rest: fn(char) -> bool,
) -> bool {
    text.len() <= longest && text.starts_with(first) && text.chars().all(rest)
}

text!(
    /// The name of a variable of the environment.
    EnvName,
    "^[A-Za-z_][A-Za-z0-9_]{0,254}$",
    "the name of a variable is letters, digits and `_`, and does not begin with a digit",
    |text| word(text, 255, |c| c.is_ascii_alphabetic() || c == '_', |c| c
        .is_ascii_alphanumeric()
        || c == '_')
);

text!(
    /// The name of a user of the system; as useradd(8) takes it, capitals and dots included.
    UserName,
    "^[A-Za-z_][A-Za-z0-9_.-]{0,30}[A-Za-z0-9_.$-]?$",
    "a user's name is 1 to 32 of letters, digits, `_`, `.` and `-`, and begins with a letter or `_`",
    |text| word(
        text.strip_suffix('$').unwrap_or(text),
        32,
        |c| c.is_ascii_alphabetic() || c == '_',
        |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
    ) && text.len() <= 32
);

text!(
    /// The name of a host, with or without its domain (RFC 1123).
    HostName,
    "^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$",
    "a host's name is letters, digits, `-`, `_` and `.`, and begins with a letter or digit",
    |text| word(text, 253, |c| c.is_ascii_alphanumeric(), |c| c
        .is_ascii_alphanumeric()
        || matches!(c, '-' | '_' | '.'))
);

text!(
    /// The name of a setting of `[Service]`, as `CapabilityBoundingSet`.
    SettingName,
    "^[A-Za-z][A-Za-z0-9]{0,63}$",
    "the name of a unit's setting is letters and digits, as in `CapabilityBoundingSet`",
    |text| word(text, 64, |c| c.is_ascii_alphabetic(), |c| c
        .is_ascii_alphanumeric())
);
