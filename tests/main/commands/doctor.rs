//! `lorectl doctor`: each prerequisite, what is wrong with it, and the command that mends it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::Value;

use super::{
    snapshot,
    world::{World, service},
};

fn applied() -> World {
    let world = World::with(&[service("a", ""), service("b", "")].concat());
    world.ok("apply --yes");
    world
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// What did not pass: its address, name and status.
fn wrong(world: &World, words: &str) -> Vec<String> {
    let ran = world.run(&format!("{words} --json"));
    let data: Value = serde_json::from_str(&ran.stdout).unwrap();
    let checks = data["data"]["checks"].as_array().unwrap();
    let wrong = checks.iter().filter(|check| check["status"] != "pass");
    wrong
        .map(|check| {
            let text = |key: &str| check[key].as_str().unwrap_or("host").to_owned();
            format!("{} {} {}", text("address"), text("name"), text("status"))
        })
        .collect()
}

#[test]
fn a_host_that_has_all_lacks_only_its_worker() {
    let world = applied();
    let text = world.ok("doctor");
    snapshot("doctor-sound", &text);
    let all = world.run("doctor -v").exits(0).stdout;
    for name in [
        "state",
        "journal",
        "backups",
        "disk space",
        "clock",
        "drift",
        "strays",
    ] {
        assert!(all.contains(&format!("pass   {name}\n")), "{all}");
    }
    // Nothing was applied, and a spec that could be.
    assert_eq!(
        wrong(&World::with(&service("a", "")), "doctor"),
        ["host worker warn"]
    );
}

#[test]
fn what_is_wrong_is_named_with_what_mends_it_and_mended_when_asked() {
    let world = applied();
    mode(&world.state().join("backups"), 0o755);
    mode(&world.state().join("services/a/data"), 0o755);
    fs::write(world.state().join("services/b/data/status.json"), "{").unwrap();
    fs::write(world.state().join("journal/.lorectl-0123456789abcdef"), "x").unwrap();
    let before = world.tree();
    let ran = world.run("doctor").exits(1);
    snapshot("doctor-wrong", &ran.stdout);
    world.tree().is_untouched_but_for_locks_since(&before);
    assert_eq!(
        wrong(&world, "doctor --fix"),
        [
            "host worker warn",
            "host directories fixed",
            "service.a data_directory fixed",
            "service.b status fixed",
        ]
    );
    assert_eq!(wrong(&world, "doctor"), ["host worker warn"]);
}

#[test]
fn the_exit_status_is_that_of_the_worst() {
    let world = applied();
    fs::remove_file(world.state().join("services/a/run.json")).unwrap();
    assert_eq!(
        wrong(&world, "doctor"),
        [
            "service.a definition fail",
            "host worker warn",
            "host drift warn"
        ]
    );
    world.run("doctor").exits(1);
    // Offline, nobody is asked what differs.
    assert_eq!(
        wrong(&world, "doctor --offline"),
        ["service.a definition fail", "host worker warn"]
    );
    world.run("apply --yes").exits(0);
    world.run("doctor").exits(0);
    world.spec("\n[services.x]\nschedule = { every = \"1h\" }\nscheduler = \"worker\"\nrun = [\"no-such-program\"]\n");
    let ran = world.run("doctor").exits(1);
    ran.says("there is no program `no-such-program`")
        .says("help: `lorectl plan`");
}

#[test]
fn a_state_that_is_damaged_and_a_clock_that_was_set_back_are_findings() {
    let world = applied();
    let ran = world
        .command(["doctor"])
        .env("LORECTL_NOW", "2026-02-03T03:00:00Z")
        .run();
    ran.exits(0).says("it was set back");
    let ran = world
        .command(["doctor"])
        .env("LORECTL_NOW", "1970-01-01T00:00:00Z")
        .run();
    ran.exits(1).says("before this lorectl was made");
    fs::write(world.state().join("state.json"), "x").unwrap();
    world
        .run("doctor")
        .exits(1)
        .says("help: `lorectl state repair`");
}
