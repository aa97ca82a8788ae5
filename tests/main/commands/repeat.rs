//! Planning writes nothing, applying twice changes nothing, and the same inputs give the same bytes.

use std::{fs, os::unix::fs::PermissionsExt};

use super::world::{World, service};

const LATER: &str = "2026-02-03T05:05:06Z";

fn two() -> String {
    [
        service("a", ""),
        service("b", "depends_on = [\"service.a\"]\n"),
    ]
    .concat()
}

#[test]
fn planning_and_looking_write_nothing() {
    let world = World::with(&two());
    let before = world.tree();
    for words in [
        "validate",
        "schema",
        "explain",
        "plan",
        "plan --json",
        "plan --target service.a",
    ] {
        world.ok(words);
    }
    world.run("plan -vvv --json").exits(0);
    world.run("plan --detailed-exitcode").exits(2);
    world.tree().is_untouched_since(&before);
    world.ok("apply --yes");
    world.ok("service trigger a");
    world.spec(&service("a", "").replace("1h", "2h"));
    fs::write(world.state().join("services/b/run.json"), "{}").unwrap();
    let before = world.tree();
    for words in [
        "plan",
        "plan --json",
        "drift",
        "drift --json",
        "status",
        "status service.a",
        "service list",
        "service status a",
        "service logs a",
        "validate",
    ] {
        world.ok(words);
    }
    world.tree().is_untouched_since(&before);
}

#[test]
fn applying_twice_changes_nothing() {
    let world = World::with(&two());
    world.ok("apply --yes");
    let before = world.tree();
    let again = world
        .command(["apply", "--yes"])
        .env("LORECTL_NOW", LATER)
        .run();
    assert!(again.exits(0).stdout.contains("No changes."));
    world.tree().is_equal_to(&before);
    world.ok("apply");
    world.ok("apply --yes --target service.b");
    world.tree().is_equal_to(&before);
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    // Everything but where it is: two worlds differ by their paths, so one world is made twice.
    let world = World::with(&two());
    let story = |world: &World| {
        world.ok("apply --yes");
        let first = world.tree();
        let plan = world
            .ok("plan --json")
            .split("\"meta\"")
            .next()
            .unwrap()
            .to_owned();
        let status = world
            .ok("status --json")
            .split("\"meta\"")
            .next()
            .unwrap()
            .to_owned();
        fs::remove_dir_all(world.path().join("state")).unwrap();
        (first, plan, status)
    };
    let (tree, plan, status) = story(&world);
    let (again, plan_again, status_again) = story(&world);
    again.is_equal_to(&tree);
    assert_eq!((plan, status), (plan_again, status_again));
    // Another time is another input.
    let later = world
        .command(["plan", "--json"])
        .env("LORECTL_NOW", LATER)
        .run();
    let now = world.run("plan --json");
    assert_ne!(
        later.stdout.split("\"meta\"").next(),
        now.stdout.split("\"meta\"").next()
    );
}

#[test]
fn destroying_leaves_status_and_logs_and_purging_nothing() {
    let world = World::with(&two());
    world.ok("apply --yes");
    world.ok("service trigger a");
    let ran = world.ok("destroy --yes");
    assert!(ran.contains("status and logs stay"), "{ran}");
    let services = world.state().join("services");
    assert!(!services.join("a/run.json").exists());
    assert!(services.join("a/data/status.json").exists());
    assert!(services.join("a/data/logs/service.log").exists());
    let before = world.tree();
    assert!(world.ok("destroy --yes").contains("othing"));
    world.tree().is_equal_to(&before);
    world.ok("apply --yes");
    let ran = world.ok("destroy --yes --purge");
    let says = (
        ran.contains("status and logs are deleted"),
        ran.contains("logs stay"),
    );
    assert_eq!(says, (true, false), "{ran}");
    assert!(!services.join("a").exists() && !services.join("b").exists());
}

#[test]
fn who_triggers_during_a_run_waits_or_is_told_by_overlap() {
    let waits = |name: &str, rest: &str| {
        let wait = "[\"/bin/sh\", \"-c\", \"touch begun; until [ -e go ]; do sleep 0.02; done\"]";
        service(name, rest).replace("[\"true\"]", wait)
    };
    let spec = [waits("a", ""), waits("b", "overlap = \"queue\"\n")];
    let world = World::with(&spec.concat());
    world.ok("apply --yes");
    // The first is in the background, the second during it; `go` ends the first.
    let script = |name: &str, meanwhile: &str| {
        let script = format!(
            "rm -f begun go; \"$LORECTL\" service trigger {name} >first & first=$!
             until [ -e begun ]; do sleep 0.02; done
             {meanwhile}
             wait $first || exit 9"
        );
        world.shell(&script).run()
    };
    let told = script(
        "a",
        "\"$LORECTL\" service trigger a; echo \"exit $?\"; touch go",
    )
    .exits(0);
    told.says("a run of it").says("exit 75");
    let queued = script(
        "b",
        "(sleep 0.3; touch go) & \"$LORECTL\" service trigger b; echo \"exit $?\"",
    );
    queued.exits(0).says("success").says("exit 0");
}

#[test]
fn a_definition_that_says_nothing_any_more_differs_in_plain_words() {
    let world = World::with(&service("a", ""));
    world.ok("apply --yes");
    let run = world.state().join("services/a/run.json");
    fs::write(&run, "gone\n").unwrap();
    let drift = world.run("drift --detailed-exitcode").exits(2);
    drift.says("run.json: differs from what was applied");
    let kept = world.run("apply --yes").exits(0).says("Kept a copy as");
    let kept = kept.stdout.lines().map(str::trim);
    let copy = kept.filter(|line| line.contains("/backups/")).count();
    assert_eq!(copy, 1, "on a line of its own");
}

#[test]
fn a_data_directory_that_was_opened_is_drift_and_closed_again() {
    let world = World::with(&service("a", ""));
    world.ok("apply --yes");
    world.ok("service trigger a");
    let data = world.state().join("services/a/data");
    let mode = || fs::metadata(&data).unwrap().permissions().mode() & 0o7777;
    fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).unwrap();
    let drift = world.run("drift --detailed-exitcode").exits(2);
    drift.says("platform data: applied 0700").says("found 0777");
    let run = world.state().join("services/a/run.json");
    let before = fs::metadata(&run).unwrap().modified().unwrap();
    world.ok("apply --yes");
    assert_eq!(mode(), 0o700);
    assert_eq!(fs::metadata(&run).unwrap().modified().unwrap(), before);
    assert!(data.join("status.json").exists(), "what is in it stays");
    world.ok("plan --detailed-exitcode");

    fs::set_permissions(&data, fs::Permissions::from_mode(0o750)).unwrap();
    world.spec(&service("a", "ignore_drift = [\"data\"]\n"));
    world.ok("apply --yes");
    world.ok("plan --detailed-exitcode");
    assert_eq!(mode(), 0o750);
}
