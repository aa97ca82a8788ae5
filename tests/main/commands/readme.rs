//! What the README says of the spec and of exit statuses is so.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use super::world::World;

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The rows of the table under this heading of the first column: what its first cell names.
fn rows(readme: &str, heading: &str) -> BTreeSet<String> {
    let (_, table) = readme.split_once(&format!("\n| {heading} |")).unwrap();
    let lines = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let cells = lines.filter_map(|line| line.split('|').nth(1));
    let words = cells.flat_map(|cell| cell.split(','));
    words
        .map(|word| word.trim().trim_matches(['`', '*']).to_owned())
        .collect()
}

#[test]
fn the_spec_by_example_is_one() {
    let readme = readme();
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    let (spec, _) = rest.split_once("```").unwrap();
    let world = World::new();
    world.file("lore.toml", spec);
    world.ok("validate");
}

#[test]
fn every_key_is_in_the_table_and_no_other() {
    let world = World::new();
    let schema: Value = serde_json::from_str(&world.ok("schema")).unwrap();
    let keys = |pointer: &str| -> BTreeSet<String> {
        let found = schema.pointer(pointer).unwrap().as_object().unwrap();
        found.keys().cloned().collect()
    };
    // This build refuses them, as the section on what is not in it says.
    let absent = ["retry", "breaker"];
    let mut wanted = keys("/$defs/Service/properties");
    wanted.retain(|key| !absent.contains(&key.as_str()));
    for key in keys("/$defs/Project/properties") {
        wanted.insert(format!("project.{key}"));
    }
    for key in keys("/$defs/Reconcile/properties") {
        wanted.insert(format!("reconcile.{key}"));
    }
    for key in keys("/$defs/Notify/properties") {
        wanted.insert(format!("notify.NAME.{key}"));
    }
    for table in ["retry", "breaker"] {
        let def = format!("{}{}", table[..1].to_uppercase(), &table[1..]);
        for key in keys(&format!("/$defs/{def}/properties")) {
            wanted.insert(format!("{table}.{key}"));
        }
    }
    wanted.extend(
        [
            "version",
            "hosts.NAME",
            "defaults.services",
            "services.NAME",
        ]
        .map(str::to_owned),
    );
    assert_eq!(rows(&readme(), "key"), wanted);
}

#[test]
fn every_exit_status_is_in_the_table_and_no_other() {
    let world = World::new();
    let mut statuses = BTreeSet::from(["0".to_owned(), "2".to_owned()]);
    let list = world.ok("explain");
    for code in list.split_whitespace() {
        if code.len() < 2 || !code.chars().all(|c| c.is_ascii_uppercase() || c == '_') {
            continue;
        }
        let text = world.ok(&format!("explain {code}"));
        let (_, rest) = text
            .split_once("exit status ")
            .unwrap_or_else(|| panic!("{text}"));
        let status: String = rest.chars().take_while(char::is_ascii_digit).collect();
        statuses.insert(status);
    }
    assert_eq!(rows(&readme(), "status"), statuses);
}
