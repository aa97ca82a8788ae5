//! `lorectl graph`: the same bytes each time, of the plan or of the state.

use std::fs;

use serde_json::{Value, json};

use super::{
    snapshot,
    world::{World, service},
};

#[test]
fn a_graph_has_what_is_pending_and_what_needs_what() {
    let world = World::with(
        &[
            service("a", ""),
            service("b", "depends_on = [\"service.a\"]\n"),
            service("gone", ""),
        ]
        .concat(),
    );
    world.ok("apply --yes");
    let spec = [
        service("a", "timeout = \"5m\"\n"),
        service("b", "depends_on = [\"service.a\"]\n"),
        service("c", "depends_on = [\"services.b\", \"service.a\"]\n"),
    ];
    world.spec(&spec.concat());
    let dot = world.ok("graph");
    snapshot("graph-dot", &dot);
    assert_eq!(world.ok("graph --format dot"), dot);
    snapshot("graph-mermaid", &world.ok("graph --format mermaid"));
    let data: Value = serde_json::from_str(&world.ok("graph --json")).unwrap();
    assert_eq!(
        data["data"]["nodes"][2],
        json!({"address": "service.c", "actions": ["create"]})
    );
    assert_eq!(data["data"]["edges"].as_array().unwrap().len(), 3);
}

#[test]
fn without_a_spec_the_graph_is_that_of_the_state() {
    let world = World::with(
        &[
            service("a", ""),
            service("b", "depends_on = [\"service.a\"]\n"),
        ]
        .concat(),
    );
    world.ok("apply --yes");
    fs::remove_file(world.spec_dir().join("lore.toml")).unwrap();
    let dot = world.ok("graph");
    assert!(dot.contains("\"service.b\" -> \"service.a\";"), "{dot}");
    assert!(!dot.contains("create"), "{dot}");
    world.run("graph --format svg").exits(64);
}
