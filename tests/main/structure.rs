//! Imports run one way, and each wall stands where it says it does.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The rooms from the ground up. A room may use its own floor and those below.
const FLOORS: &[&[&str]] = &[
    &["id", "error", "retry", "layout"],
    &["resource"],
    &["effect"],
    &["scrub", "notify"],
    &["service", "credential", "deployment"],
    &["spec", "observe", "plan", "apply", "state"],
    &["view"],
    &["cli"],
];

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut open = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(&root).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

fn room(path: &Path) -> String {
    let first = path
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// Whether a file is only compiled for tests, as its parent module says.
fn is_test_file(path: &Path, text: &str) -> bool {
    let name = path.file_stem().unwrap().to_str().unwrap();
    let parts: Vec<&str> = path.iter().map(|p| p.to_str().unwrap()).collect();
    ["tests", "world", "toy", "fixture", "simdisk"].contains(&name)
        || parts.contains(&"tests")
        || text.contains("#![cfg(test)]")
}

/// The code of a file without its `#[cfg(test)]` module, which is always the last item.
fn code(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod tests {")
        .map_or(text, |at| &text[..at])
}

/// The rooms that a file names after `crate::`, braces one level deep included.
fn used(text: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let mut rest = text;
    while let Some(at) = rest.find("crate::") {
        rest = &rest[at + "crate::".len()..];
        if let Some(inner) = rest.strip_prefix('{') {
            let (mut depth, mut word) = (0_i32, String::new());
            for c in inner.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        used.insert(std::mem::take(&mut word));
                    }
                    c if depth == 0 => word.push(c),
                    _ => {}
                }
            }
            used.insert(word);
        } else {
            let end = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            used.insert(rest[..end].to_owned());
        }
    }
    used.iter()
        .map(|path| path.trim().split("::").next().unwrap().trim().to_owned())
        .filter(|word| !word.is_empty() && word.chars().next().is_some_and(char::is_lowercase))
        .collect()
}

#[test]
fn imports_run_one_way() {
    let mut wrong = Vec::new();
    let mut edges = 0;
    for (path, text) in sources() {
        let own = room(&path);
        if own == "lib" || own == "main" || is_test_file(&path, &text) {
            continue;
        }
        let own_floor = floor(&own).unwrap_or_else(|| panic!("{own} has no floor"));
        for other in used(code(&text)) {
            let Some(other_floor) = floor(&other) else {
                continue;
            };
            edges += 1;
            if other_floor > own_floor {
                wrong.push(format!("{} uses {other}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(edges > 30, "only {edges} imports were seen");
}

#[test]
fn the_walls_are_opened_only_in_effect_and_view() {
    let lints = [
        "disallowed_methods",
        "disallowed_types",
        "print_stdout",
        "print_stderr",
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if ["effect", "view"].contains(&room(&path).as_str()) || is_test_file(&path, &text) {
            continue;
        }
        for lint in lints {
            if code(&text).contains(&format!("clippy::{lint}")) {
                wrong.push(format!("{} opens {lint}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_planner_holds_nothing_that_writes() {
    for (path, text) in sources() {
        if room(&path) != "plan" || is_test_file(&path, &text) {
            continue;
        }
        let lines = code(&text)
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let words: BTreeSet<&str> = lines
            .flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'))
            .collect();
        for word in ["Act", "Disk", "Backends", "async", "effect"] {
            assert!(!words.contains(word), "{} names {word}", path.display());
        }
    }
}
