//! `lorectl history`: what happened, from the journals alone.

use std::fs;

use serde_json::Value;

use super::world::{World, service};

const LATER: &str = "2026-02-03T06:00:00Z";

fn json(world: &World, words: &str) -> Value {
    let ran = world.run(&format!("{words} --json")).exits(0);
    serde_json::from_str(&ran.stdout).unwrap()
}

/// Three applies, of which the second fails at one service and puts the other back.
fn lived() -> World {
    let world = World::with(&[service("a", ""), service("b", "")].concat());
    world.ok("apply --yes");
    let spec = [
        service("a", "timeout = \"5m\"\n"),
        service("b", "timeout = \"5m\"\ndepends_on = [\"service.a\"]\n"),
    ];
    world.spec(&spec.concat());
    let run = world.state().join("services/b/run.json");
    let kept = fs::read(&run).unwrap();
    fs::remove_file(&run).unwrap();
    fs::create_dir(&run).unwrap();
    let ran = world
        .command(["apply", "--yes"])
        .env("LORECTL_NOW", LATER)
        .run();
    assert_ne!(ran.status, 0, "{}", ran.stdout);
    fs::remove_dir(&run).unwrap();
    fs::write(&run, kept).unwrap();
    world
}

#[test]
fn each_apply_is_told_with_what_became_of_each_resource() {
    let world = lived();
    let text = world.ok("history --color never");
    let data = json(&world, "history")["data"].clone();
    let entries = data["entries"].as_array().unwrap();
    assert_eq!(entries.last().unwrap()["command"], "apply");
    assert_eq!(entries.last().unwrap()["result"], "applied");
    assert!(entries.last().unwrap()["spec_digest"].is_string());
    let first = text.rfind("+ service.a").expect(&text);
    assert!(text[..first].contains("apply"), "{text}");
    // One resource alone, and the last alone.
    let one = json(&world, "history service.b")["data"].clone();
    for entry in one["entries"].as_array().unwrap() {
        assert_eq!(entry["resources"].as_array().unwrap().len(), 1);
    }
    let last = json(&world, "history -n 1")["data"].clone();
    assert_eq!(last["entries"].as_array().unwrap().len(), 1);
    assert_eq!(last["earlier"], entries.len() - 1);
    assert!(
        world
            .ok("history service.none")
            .contains("Nothing is recorded")
    );
}

#[test]
fn a_journal_that_cannot_be_read_is_one_line_of_the_history() {
    let world = World::with(&service("a", ""));
    world.ok("apply --yes");
    let dir = world.state().join("journal");
    let name = fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
    fs::write(&name, b"{}\n{}\n").unwrap();
    // Nor does a state that is damaged keep anyone from looking.
    fs::write(world.state().join("state.json"), "x").unwrap();
    let text = world.ok("history");
    assert!(text.contains("unreadable"), "{text}");
    let entry = &json(&world, "history")["data"]["entries"][0];
    assert_eq!(entry["result"], "unreadable");
    assert!(entry["problem"].is_string());
}

#[test]
fn an_apply_that_was_cut_short_is_told_as_such() {
    let world = World::with(&service("a", ""));
    world.ok("apply --yes");
    world.spec(&service("a", "timeout = \"5m\"\n"));
    world.ok("apply --yes");
    let dir = world.state().join("journal");
    let mut all: Vec<_> = (fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path())).collect();
    all.sort();
    let last = all.pop().unwrap();
    let text = fs::read_to_string(&last).unwrap();
    let cut: String = text.split_inclusive('\n').take(2).collect();
    fs::write(&last, cut).unwrap();
    let text = world.ok("history --color never");
    assert!(
        text.contains("unfinished") && text.contains("in doubt"),
        "{text}"
    );
}
