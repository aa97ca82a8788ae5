//! The JSON Schema as the walk reads it: a tree of what may stand where, with its parsers.

use std::collections::BTreeMap;

use serde_json::Value;

use super::raw::Requirement;
use crate::{
    credential::spec::text::{CredentialName, FileMode, GroupName},
    id::{Address, Invalid, ProjectName, ResourceName, Seconds},
    service::spec::text::{EnvName, HostName, SettingName, UserName},
};

/// A text with a form of its own: what stands for it in the schema, and its parser.
pub struct TextRule {
    /// The pattern or format in the schema.
    pub form: &'static str,
    /// What is expected, for "expected …".
    pub expected: &'static str,
    /// Whether a text is one, and why not.
    pub check: fn(&str) -> Result<(), Invalid>,
}

fn parses<T: std::str::FromStr<Err = Invalid>>(text: &str) -> Result<(), Invalid> {
    text.parse::<T>().map(drop)
}

macro_rules! rule {
    ($type:ty, $form:expr, $expected:literal) => {
        TextRule {
            form: $form,
            expected: $expected,
            check: parses::<$type>,
        }
    };
}

/// Every form that a pattern or format of the schema stands for.
pub const TEXTS: &[TextRule] = &[
    rule!(Seconds, Seconds::PATTERN, "a duration as `\"15m\"`"),
    rule!(ProjectName, ProjectName::PATTERN, "a name"),
    rule!(ResourceName, ResourceName::PATTERN, "a name"),
    rule!(
        Address,
        Address::PATTERN,
        "an address as `\"service.sync\"`"
    ),
    rule!(HostName, HostName::PATTERN, "the name of a host"),
    rule!(UserName, UserName::PATTERN, "the name of a user"),
    rule!(EnvName, EnvName::PATTERN, "the name of a variable"),
    rule!(SettingName, SettingName::PATTERN, "the name of a setting"),
    rule!(GroupName, GroupName::PATTERN, "the name of a group"),
    rule!(FileMode, FileMode::PATTERN, "permissions as `\"0640\"`"),
    rule!(
        CredentialName,
        CredentialName::PATTERN,
        "the name of a credential of systemd's"
    ),
    rule!(Requirement, Requirement::FORMAT, "a version as `\">=0.1\"`"),
];

/// What may stand at a place of a spec.
pub enum Node {
    /// Anything.
    Any,
    /// A string, of a form or of any.
    Text(Option<&'static TextRule>),
    /// One of some strings.
    Word(Vec<String>),
    /// An integer between two bounds, both included.
    Integer(i64, i64),
    /// `true` or `false`.
    Flag,
    /// An array of so many at least, and so many at most.
    Array(Box<Self>, u64, u64),
    /// A table.
    Table(Table),
    /// One of several, told apart by the type of the value.
    Either(Vec<Self>),
}

/// A table of a spec.
#[derive(Default)]
pub struct Table {
    /// The keys that it may have.
    pub keys: BTreeMap<String, Node>,
    /// The keys that it must have.
    pub required: Vec<String>,
    /// What any other key holds, and the form of those keys; `None` where there may be none.
    pub others: Option<(Option<&'static TextRule>, Box<Node>)>,
}

impl Node {
    /// What is expected, for "expected …".
    pub fn expected(&self) -> String {
        match self {
            Self::Any => "a value".to_owned(),
            Self::Text(None) => "a string".to_owned(),
            Self::Text(Some(rule)) => rule.expected.to_owned(),
            Self::Word(words) => {
                let quoted: Vec<String> =
                    words.iter().map(|word| format!("`\"{word}\"`")).collect();
                quoted.join(" or ")
            }
            Self::Integer(..) => "an integer".to_owned(),
            Self::Flag => "`true` or `false`".to_owned(),
            Self::Array(item, ..) => match **item {
                Self::Text(None) => "an array of strings".to_owned(),
                Self::Table(_) => "an array of tables".to_owned(),
                Self::Any
                | Self::Text(Some(_))
                | Self::Word(_)
                | Self::Integer(..)
                | Self::Flag
                | Self::Array(..)
                | Self::Either(_) => "an array".to_owned(),
            },
            Self::Table(_) => "a table".to_owned(),
            Self::Either(nodes) => {
                let all: Vec<String> = nodes.iter().map(Self::expected).collect();
                all.join(" or ")
            }
        }
    }
}

fn form_of(schema: &Value) -> Option<&'static TextRule> {
    let form = schema
        .get("pattern")
        .or_else(|| schema.get("format"))?
        .as_str()?;
    TEXTS.iter().find(|rule| rule.form == form)
}

/// What a part of a schema lets stand, its references all taken in.
pub fn compile(schema: &Value) -> Node {
    let list = |keyword: &str| schema.get(keyword).and_then(Value::as_array);
    if let Some(options) = list("oneOf").or_else(|| list("anyOf")) {
        let words: Option<Vec<String>> = (options.iter())
            .map(|option| Some(option.get("const")?.as_str()?.to_owned()))
            .collect();
        return match words {
            Some(words) => Node::Word(words),
            None => Node::Either(options.iter().map(compile).collect()),
        };
    }
    if let Some(words) = list("enum") {
        let words = words.iter().filter_map(Value::as_str);
        return Node::Word(words.map(ToOwned::to_owned).collect());
    }
    let bound = |keyword: &str| schema.get(keyword).and_then(Value::as_i64);
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => Node::Text(form_of(schema)),
        Some("integer") => {
            let only = bound("const");
            Node::Integer(
                only.or(bound("minimum")).unwrap_or(i64::MIN),
                only.or(bound("maximum")).unwrap_or(i64::MAX),
            )
        }
        Some("boolean") => Node::Flag,
        Some("array") => {
            let bound = |keyword: &str| schema.get(keyword).and_then(Value::as_u64);
            let item = schema.get("items").map_or(Node::Any, compile);
            Node::Array(
                Box::new(item),
                bound("minItems").unwrap_or(0),
                bound("maxItems").unwrap_or(u64::MAX),
            )
        }
        Some("object") => Node::Table(compile_table(schema)),
        Some(_) | None => Node::Any,
    }
}

fn compile_table(schema: &Value) -> Table {
    let map = |keyword: &str| schema.get(keyword).and_then(Value::as_object);
    let keys = (map("properties").into_iter().flatten())
        .map(|(key, value)| (key.clone(), compile(value)))
        .collect();
    let required = (schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten())
    .filter_map(|key| key.as_str().map(ToOwned::to_owned))
    .collect();
    let by_pattern = (map("patternProperties").into_iter().flatten()).next();
    let others = match (by_pattern, schema.get("additionalProperties")) {
        (Some((pattern, value)), _) => {
            let rule = TEXTS.iter().find(|rule| rule.form == pattern);
            Some((rule, Box::new(compile(value))))
        }
        (None, Some(Value::Bool(false)) | None) => None,
        (None, Some(value)) => Some((None, Box::new(compile(value)))),
    };
    Table {
        keys,
        required,
        others,
    }
}
