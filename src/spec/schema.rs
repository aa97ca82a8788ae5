//! The JSON Schema of a spec: as it is published, and as the walk over a parsed file reads it.

use std::collections::BTreeSet;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::{
    absent,
    node::{self, Node},
    raw::RawSpec,
};

/// What a spec file may hold.
pub fn node() -> Node {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<RawSpec>()
        .to_value();
    tidy(&mut schema);
    node::compile(&schema)
}

/// The schema that `lorectl schema` prints: pretty JSON, draft 2020-12, a line feed at its end.
///
/// What this build does not have is left out, so that no editor offers it.
pub fn json_schema() -> String {
    let settings = SchemaSettings::draft2020_12();
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<RawSpec>()
        .to_value();
    tidy(&mut schema);
    for absent in absent::ABSENT {
        prune(&mut schema, "", absent.path);
    }
    drop_unused(&mut schema);
    // A `Value` always has a JSON text.
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").is_some_and(|t| t == "null") || schema.get("const") == Some(&Value::Null)
}

/// Takes out what TOML has no use for: null, defaults that only say "none", formats of machine integers.
fn tidy(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    object.remove("default");
    if let Some(format) = object.get("format").and_then(Value::as_str)
        && (format.starts_with("int") || format.starts_with("uint"))
    {
        object.remove("format");
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|t| t != "null");
        if let [single] = types.as_slice() {
            let single = single.clone();
            object.insert("type".to_owned(), single);
        }
    }
    if let Some(Value::Array(words)) = object.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    for keyword in ["properties", "patternProperties", "$defs"] {
        if let Some(Value::Object(map)) = object.get_mut(keyword) {
            map.values_mut().for_each(tidy);
        }
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(keyword) {
            tidy(inner);
        }
    }
    for keyword in ["anyOf", "oneOf", "allOf"] {
        if let Some(Value::Array(options)) = object.get_mut(keyword) {
            options.retain(|option| !is_null(option));
            options.iter_mut().for_each(tidy);
            collapse(object, keyword);
        }
    }
}

/// Puts the only option that is left in the place of the choice; what the place says of itself holds.
fn collapse(object: &mut Map<String, Value>, keyword: &str) {
    let only = match object.get(keyword) {
        Some(Value::Array(options)) => match options.as_slice() {
            [Value::Object(only)] => only.clone(),
            _ => return,
        },
        _ => return,
    };
    object.remove(keyword);
    for (key, value) in only {
        object.entry(key).or_insert(value);
    }
}

/// Takes the property at the end of a path out of a schema, and the option that it alone makes.
fn prune(root: &mut Value, at: &str, path: &[&str]) {
    let Some((key, rest)) = path.split_first() else {
        return;
    };
    let mut at = at.to_owned();
    while let Some(target) = (root.pointer(&at).and_then(|node| node.get("$ref")))
        .and_then(Value::as_str)
        .and_then(|target| target.strip_prefix('#'))
    {
        at = target.to_owned();
    }
    let Some(node) = root.pointer_mut(&at).and_then(Value::as_object_mut) else {
        return;
    };
    if rest.is_empty() {
        if let Some(Value::Object(properties)) = node.get_mut("properties") {
            properties.remove(*key);
        }
        return;
    }
    let mut below = Vec::new();
    if let Some(Value::Object(properties)) = node.get("properties")
        && properties.contains_key(*key)
    {
        below.push(format!("{at}/properties/{key}"));
    }
    if *key == "*" {
        if let Some(Value::Object(patterns)) = node.get("patternProperties") {
            let escaped = patterns
                .keys()
                .map(|k| k.replace('~', "~0").replace('/', "~1"));
            below.extend(escaped.map(|pattern| format!("{at}/patternProperties/{pattern}")));
        }
        if node.contains_key("additionalProperties") {
            below.push(format!("{at}/additionalProperties"));
        }
    }
    for below in below {
        prune_below(root, &below, rest);
    }
}

/// [`prune`] at a place that may be a choice: an option that must have the last key is taken out, and
/// one that may have it loses it.
fn prune_below(root: &mut Value, at: &str, rest: &[&str]) {
    let mut at = at.to_owned();
    while let Some(target) = (root.pointer(&at).and_then(|node| node.get("$ref")))
        .and_then(Value::as_str)
        .and_then(|target| target.strip_prefix('#'))
    {
        at = target.to_owned();
    }
    let options = (root.pointer(&at).and_then(|node| node.get("anyOf")))
        .and_then(Value::as_array)
        .cloned();
    match (options, rest) {
        (Some(options), [last]) => {
            let has = |option: &Value| {
                let option = (option.get("$ref").and_then(Value::as_str))
                    .and_then(|target| root.pointer(target.strip_prefix('#')?))
                    .unwrap_or(option);
                (option.get("required").and_then(Value::as_array))
                    .is_some_and(|keys| keys.iter().any(|key| key == last))
            };
            let kept: Vec<Value> = options.iter().filter(|o| !has(o)).cloned().collect();
            if let Some(node) = root.pointer_mut(&at).and_then(Value::as_object_mut) {
                node.insert("anyOf".to_owned(), Value::Array(kept));
                collapse(node, "anyOf");
            }
            let left = root.pointer(&at).and_then(|node| node.get("anyOf"));
            for index in 0..left.and_then(Value::as_array).map_or(0, Vec::len) {
                prune(root, &format!("{at}/anyOf/{index}"), rest);
            }
        }
        (_, rest) => prune(root, &at, rest),
    }
}

/// Drops the definitions that nothing refers to any more.
fn drop_unused(schema: &mut Value) {
    fn refer(value: &Value, definitions: &Map<String, Value>, seen: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let name = (value.as_str()).and_then(|text| text.strip_prefix("#/$defs/"));
                    match name {
                        Some(name) if key == "$ref" => {
                            if seen.insert(name.to_owned())
                                && let Some(definition) = definitions.get(name)
                            {
                                refer(definition, definitions, seen);
                            }
                        }
                        Some(_) | None => refer(value, definitions, seen),
                    }
                }
            }
            Value::Array(values) => {
                for value in values {
                    refer(value, definitions, seen);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let Some(Value::Object(mut definitions)) =
        schema.as_object_mut().and_then(|root| root.remove("$defs"))
    else {
        return;
    };
    let mut seen = BTreeSet::new();
    refer(schema, &definitions, &mut seen);
    definitions.retain(|name, _| seen.contains(name));
    schema["$defs"] = Value::Object(definitions);
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::disallowed_methods,
        reason = "a test compares the schema with the file that publishes it"
    )]

    use super::{super::node::TEXTS, *};
    use crate::id::Seconds;

    fn forms(schema: &Value, found: &mut BTreeSet<String>) {
        match schema {
            Value::Object(map) => {
                for keyword in ["pattern", "format"] {
                    if let Some(form) = map.get(keyword).and_then(Value::as_str) {
                        found.insert(form.to_owned());
                    }
                }
                if let Some(patterns) = map.get("patternProperties").and_then(Value::as_object) {
                    found.extend(patterns.keys().cloned());
                }
                map.values().for_each(|value| forms(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| forms(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn every_pattern_of_the_schema_has_a_parser() {
        let settings = SchemaSettings::draft2020_12();
        let schema = settings
            .into_generator()
            .into_root_schema_for::<RawSpec>()
            .to_value();
        let mut schema = schema;
        tidy(&mut schema);
        let mut found = BTreeSet::new();
        forms(&schema, &mut found);
        let known: BTreeSet<String> = TEXTS.iter().map(|rule| rule.form.to_owned()).collect();
        assert_eq!(found, known);
    }

    #[test]
    fn the_published_schema_is_this_one() {
        let path =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/lorectl.schema.json");
        let text = json_schema();
        if std::env::var_os("LORECTL_UPDATE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let published = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            published == text,
            "schemas/lorectl.schema.json is stale; `LORECTL_UPDATE=1 cargo test --lib schema` writes it"
        );
    }

    #[test]
    fn the_published_schema_offers_nothing_that_this_build_lacks() {
        let schema: Value = serde_json::from_str(&json_schema()).unwrap();
        let keys = |at: &str| {
            let keys = schema.pointer(at).and_then(Value::as_object).unwrap();
            keys.keys().cloned().collect::<BTreeSet<_>>()
        };
        let service = keys("/$defs/Service/properties");
        assert!(service.contains("schedule") && service.contains("protect"));
        assert!(!keys("/properties").contains("routers"));
        assert!(!keys("/properties").contains("deployments"));
        let mut referred = BTreeSet::new();
        let text = json_schema();
        for part in text.split("#/$defs/").skip(1) {
            referred.insert(part.split('"').next().unwrap().to_owned());
        }
        assert_eq!(referred, keys("/$defs"));
    }

    #[test]
    fn a_pattern_takes_all_that_its_parser_takes() {
        use proptest::{
            strategy::{Strategy as _, ValueTree as _},
            test_runner::TestRunner,
        };
        // The pattern is what an editor checks: what it makes, the parser may refuse only by size.
        let mut runner = TestRunner::deterministic();
        for rule in TEXTS.iter().filter(|rule| rule.form.starts_with('^')) {
            let strategy =
                proptest::string::string_regex(rule.form.trim_matches(['^', '$'])).unwrap();
            for _ in 0..50 {
                let text = strategy.new_tree(&mut runner).unwrap().current();
                if rule.form != Seconds::PATTERN || text.len() < 8 {
                    assert!((rule.check)(&text).is_ok(), "{} {text:?}", rule.form);
                }
            }
        }
    }
}
