//! What an error or a page tells its reader to run can be run.

use std::{collections::BTreeSet, fs, path::Path};

use super::world::World;

/// The sources that are part of the program, without their test modules.
fn sources(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if ["tests", "fixture", "toy", "world"].contains(&name) {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let lines = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            found.push(lines.collect::<Vec<_>>().join("\n"));
        }
    }
}

/// The words after each `lorectl` that look like a command's: at most two, before an argument.
fn named(text: &str) -> BTreeSet<String> {
    let is_word = |word: &&str| {
        !word.is_empty()
            && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
            && !word.starts_with('-')
    };
    let mut named = BTreeSet::new();
    for quote in ["`lorectl ", "\"lorectl ", ": lorectl "] {
        for rest in text.split(quote).skip(1) {
            let end = rest.find(['`', '"', '\\', '\n', ';']).unwrap_or(rest.len());
            let words: Vec<&str> = rest[..end].split(' ').take_while(is_word).take(2).collect();
            let length = words.iter().map(|word| word.len() + 1).sum();
            let is_prose = (rest[..end].get(length..))
                .is_some_and(|more| more.starts_with(|c: char| c.is_ascii_lowercase()));
            if !words.is_empty() && !is_prose {
                named.insert(words.join(" "));
            }
        }
    }
    named
}

#[test]
fn every_command_that_is_named_is_there() {
    let mut texts = Vec::new();
    sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut texts,
    );
    let named = named(&texts.join("\n"));
    assert!(named.len() > 8, "{named:?}");
    let world = World::new();
    let missing: Vec<&String> = (named.iter())
        .filter(|words| world.run(&format!("{words} --help")).status != 0)
        .collect();
    assert!(missing.is_empty(), "{missing:?} of {named:?}");
}
