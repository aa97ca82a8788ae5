//! Programs that are pinned: one that changes is drift of the command, and nothing that a run minds.

use std::{fs, os::unix::fs::PermissionsExt};

use super::world::{World, service};

fn world(rest: &str) -> World {
    let spec = service("a", rest).replace("\"true\"", "\"./job\"");
    let world = World::with(&[spec, service("b", "pin_program = true\n")].concat());
    job(&world, "exit 0");
    world.ok("apply --yes");
    world
}

fn job(world: &World, script: &str) {
    let path = world.file("job", format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_pinned_program_that_changes_is_drift_and_is_taken_in() {
    let world = world("pin_program = true\n");
    world.ok("drift --detailed-exitcode");
    world.ok("plan --detailed-exitcode");
    job(&world, "exit 0 # changed");
    let drift = world.run("drift --detailed-exitcode").exits(2);
    let drift = drift.says("service.a").says("command").says("spec/job");
    assert!(!drift.stdout.contains("service.b"), "{}", drift.stdout);
    let plan = world.run("plan --json").exits(0);
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).unwrap();
    let change = &plan["data"]["resource_changes"][0];
    assert_eq!(change["address"], "service.a");
    assert_eq!(change["cause"], "drift", "{change:#}");
    drift.says("`lorectl apply` takes the changed program in");
    // What is not ours cannot be put back, and is told each time.
    world
        .run("reconcile")
        .exits(3)
        .says("service.a")
        .says("pins");
    world.run("drift --detailed-exitcode").exits(2);
    // What runs is not kept from it.
    world.ok("service trigger a");
    world.ok("apply --yes");
    world.ok("drift --detailed-exitcode");
    world.ok("plan --detailed-exitcode");

    fs::remove_file(world.spec_dir().join("job")).unwrap();
    world.run("drift --detailed-exitcode").exits(2).says("gone");
    world.refuses("plan", 65, "SPEC_INVALID");
}

#[test]
fn a_program_that_is_not_pinned_may_change() {
    let world = world("");
    job(&world, "exit 0 # changed");
    world.ok("drift --detailed-exitcode");
    world.ok("plan --detailed-exitcode");
    // To pin it is a change of the spec.
    let spec = fs::read_to_string(world.spec_dir().join("lore.toml")).unwrap();
    world.file(
        "lore.toml",
        spec.replacen("\"./job\"]\n", "\"./job\"]\npin_program = true\n", 1),
    );
    world.ok("drift --detailed-exitcode");
    world.run("plan").exits(0).says("spec").says("program.");
    world.ok("apply --yes");
    world.ok("plan --detailed-exitcode");
}
