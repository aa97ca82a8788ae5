//! The examples of the repository are checked, planned and applied as their reader would.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::world::World;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name)
}

#[test]
fn the_quickstart_is_what_the_readme_says() {
    let world = World::new();
    let path = example("quickstart");
    let spec = path.to_str().unwrap();
    let file = ["--file", spec];
    let lore = |words: &[&str]| world.command([words, &file].concat()).run();
    lore(&["validate"]).exits(0);
    let plan = lore(&["plan", "--detailed-exitcode"]).exits(2);
    assert!(
        plan.stdout.contains("Plan: 1 to create."),
        "{}",
        plan.stdout
    );
    let ran = lore(&["apply", "--yes"]).exits(0).quiet();
    assert!(ran.stdout.contains("1 created"), "{}", ran.stdout);
    assert!(lore(&["plan"]).exits(0).stdout.contains("No changes."));
    // The rest needs no spec: the project is the only one there is.
    let ran = world.run("service trigger mirror").exits(0).quiet();
    assert!(ran.stdout.contains("success"), "{}", ran.stdout);
    let logs = world.ok("service logs mirror");
    assert!(
        logs.contains("mirrored 3 commits") && logs.contains("verified"),
        "{logs}"
    );
    assert!(!logs.contains("left behind"), "{logs}");
    let status = world.ok("status");
    assert!(
        status.contains("service.mirror") && status.contains("success"),
        "{status}"
    );
    world.run("drift --detailed-exitcode").exits(0);
    let run = world
        .path()
        .join("state/quickstart/services/mirror/run.json");
    let text = fs::read_to_string(&run).unwrap();
    fs::write(&run, text.replace("15m", "16m")).unwrap();
    let drift = world.run("drift --detailed-exitcode").exits(2);
    assert!(drift.stdout.contains("service.mirror"), "{}", drift.stdout);
    lore(&["apply", "--yes"]).exits(0);
    world.run("drift --detailed-exitcode").exits(0);
    world.ok("destroy --yes");
    assert!(!run.exists());
    assert!(
        world
            .path()
            .join("state/quickstart/services/mirror/data/mirror.git")
            .exists()
    );
}

#[test]
fn the_example_for_systemd_is_a_spec() {
    let world = World::new();
    let path = example("systemd");
    let ran = world
        .command(["validate", "-f", path.to_str().unwrap()])
        .run();
    assert!(ran.exits(0).quiet().stdout.contains("mirrors"));
}

#[test]
fn a_first_spec_can_be_planned() {
    let world = World::new();
    world.ok("init");
    world.ok("validate");
    let before = world.tree();
    world
        .run("init")
        .exits(64)
        .complains("USAGE")
        .says("--force");
    world.tree().is_untouched_since(&before);
    world.ok("init --force");
    world.tree().is_equal_to(&before);
}
