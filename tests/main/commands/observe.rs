//! A plan for a host that is elsewhere: what is known of it, what is not, and what is no snapshot.

use std::{fs, path::Path};

use serde_json::Value;

use super::{
    snapshot,
    world::{HEAD, World, service},
};

fn two() -> String {
    [service("a", ""), service("b", "")].concat()
}

/// A host with `a` and `b` applied, its snapshot, and a runner that has the snapshot and nothing else.
fn observed() -> (World, World) {
    let host = World::with(&two());
    host.ok("apply --yes");
    host.ok("observe --out ../snapshot.json");
    let runner = World::with(&two());
    hand_over(&host, &runner, "snapshot.json");
    (host, runner)
}

fn hand_over(from: &World, to: &World, name: &str) {
    fs::copy(from.path().join(name), to.path().join(name)).unwrap();
}

#[test]
fn a_host_is_observed_and_nothing_changes() {
    let (host, _) = observed();
    let before = host.tree();
    let told = host.ok("observe");
    assert!(told.starts_with("acme on "), "{told}");
    assert!(
        told.ends_with("state 1\n2 resources applied; `--out FILE` writes the snapshot.\n"),
        "{told}"
    );
    let bare = host.ok("observe --out -");
    let enveloped: Value = serde_json::from_str(&host.ok("observe --json")).unwrap();
    host.tree().is_equal_to(&before);
    let bare: Value = serde_json::from_str(&bare).unwrap();
    assert_eq!(enveloped["data"], bare);
    assert_eq!(bare["serial"], 1);
    assert_eq!(bare["applied"].as_object().unwrap().len(), 2);
}

#[test]
fn what_is_approved_elsewhere_is_applied_on_the_host() {
    let (host, runner) = observed();
    // A bare program, another one, and a service whose program the runner lacks.
    let spec = [
        service("a", "").replace("\"true\"", "\"false\""),
        service("b", ""),
        service("c", "").replace("\"true\"", "\"./job\", \"x\""),
    ]
    .concat();
    runner.spec(&spec);
    let ran = runner
        .run("plan --observed ../snapshot.json --max-age 1h --out ../plan.json")
        .exits(0)
        .quiet();
    let told = runner.redacted(ran.stdout.split_once('\n').unwrap().1);
    let place = host.path().file_name().unwrap().to_str().unwrap();
    snapshot("plan-observed", &told.replace(place, "lorectl-______"));
    assert!(
        !runner.path().join("state").exists(),
        "the runner has no state"
    );
    hand_over(&runner, &host, "plan.json");
    // Drift since, of what the plan leaves alone, and the one thing that is not as approved.
    fs::write(host.state().join("services/b/run.json"), "{}").unwrap();
    let job = host.file("job", "#!/bin/sh\n");
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    fs::set_permissions(&job, mode).unwrap();
    host.spec(&spec.replace("\"false\"", "\"id\""));
    let ran = host.refuses("apply ../plan.json", 3, "NOT_APPROVED");
    assert!(ran.stderr.contains("service.a"), "{}", ran.stderr);
    host.spec(&format!("{spec}{}", service("d", "")));
    let ran = host.refuses("apply ../plan.json", 3, "NOT_APPROVED");
    assert!(ran.stderr.contains("service.d"), "{}", ran.stderr);
    host.spec(&spec);
    let ran = host.run("apply ../plan.json").exits(0).quiet();
    assert!(
        ran.stdout.contains("1 created, 1 changed"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("service.b"), "{}", ran.stdout);
}

#[test]
fn what_is_unchanged_is_unchanged_elsewhere_too() {
    let spec = [
        service("a", "working_dir = \"sub\"\n"),
        service("b", "").replace("\"true\"", "\"./job\""),
    ]
    .concat();
    let host = World::with(&spec);
    let job = host.file("job", "#!/bin/sh\n");
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    fs::set_permissions(&job, mode).unwrap();
    host.ok("apply --yes");
    let runner = World::with(&spec);
    // With the spec at hand, the host says where that lies; without, what was applied tells.
    for place in [host.spec_dir(), host.path().join("home")] {
        let observe = "--project acme observe --out ../snapshot.json -C";
        let words = observe.split(' ').map(str::to_owned);
        host.command(words.chain([place.display().to_string()]))
            .run()
            .exits(0);
        hand_over(&host, &runner, "snapshot.json");
        let plan = runner.ok("plan --observed ../snapshot.json --detailed-exitcode");
        assert!(plan.contains("No changes. 2 services"), "{plan}");
    }
}

#[test]
fn a_deletion_can_be_denied_elsewhere() {
    let (_, runner) = observed();
    runner.spec(&service("a", ""));
    let plan = "plan --observed ../snapshot.json";
    runner.run(&format!("{plan} --detailed-exitcode")).exits(2);
    let ran = runner
        .run(&format!("{plan} --deny delete,replace"))
        .exits(3);
    assert!(ran.stdout.contains("DENIED"), "{}", ran.stdout);
}

#[test]
fn drift_is_planned_elsewhere_too() {
    let (host, runner) = observed();
    fs::write(host.state().join("services/b/run.json"), "secret words").unwrap();
    host.ok("observe --out ../snapshot.json");
    hand_over(&host, &runner, "snapshot.json");
    let text = fs::read_to_string(host.path().join("snapshot.json")).unwrap();
    assert!(
        !text.contains("secret words"),
        "bytes of others are in the snapshot"
    );
    let plan = runner.ok("plan --observed ../snapshot.json");
    assert!(plan.contains("Plan: 1 to change; 1 unchanged."), "{plan}");
    assert!(
        plan.contains("run.json: differs from what was applied"),
        "{plan}"
    );
}

#[test]
fn the_host_of_the_snapshot_chooses_what_is_on_it() {
    let (_, runner) = observed();
    let listed = |hosts: &str| format!("{hosts}{}", two());
    runner.spec(&listed("[hosts.nowhere]\n"));
    runner.refuses("plan --observed ../snapshot.json", 65, "HOST_UNKNOWN");
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    runner.spec(&listed(&format!("[hosts.{}]\n", name.trim())));
    runner.ok(&format!(
        "plan --observed ../snapshot.json --host {}",
        name.trim()
    ));
    runner.refuses(
        "plan --observed ../snapshot.json --host nowhere",
        3,
        "SNAPSHOT_FOREIGN",
    );
}

/// What is wrong with a snapshot, and how it comes to be.
type Damage<'a> = (&'a str, &'a dyn Fn(&Path));

#[test]
fn what_cannot_be_believed_makes_no_plan() {
    let (_, runner) = observed();
    let path = runner.path().join("snapshot.json");
    let good = fs::read_to_string(&path).unwrap();
    let plan = "plan --observed ../snapshot.json --out ../plan.json";
    let mut told = String::new();
    let cases: [Damage<'_>; 5] = [
        ("edited", &|path| {
            fs::write(path, good.replace("\"serial\":1", "\"serial\":9")).unwrap();
        }),
        ("cut", &|path| {
            fs::write(path, &good[..good.len() / 2]).unwrap();
        }),
        ("500 MB", &|path| {
            fs::File::create(path).unwrap().set_len(500 << 20).unwrap();
        }),
        ("a directory", &|path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        ("nothing", &|path| fs::remove_dir(path).unwrap()),
    ];
    for (what, damage) in cases {
        damage(&path);
        let ran = runner.refuses(plan, 65, "SNAPSHOT_INVALID");
        told.extend(["--- ", what, "\n", &ran.stderr, "\n"]);
    }
    fs::write(&path, &good).unwrap();
    let ran = runner
        .command((plan.to_owned() + " --max-age 1h").split(' '))
        .env("LORECTL_NOW", "2026-02-03T05:05:07Z")
        .refuses(3, "SNAPSHOT_STALE");
    told.extend(["--- old\n", &ran.stderr, "\n"]);
    runner.file(
        "lore.toml",
        format!("{HEAD}{}", two()).replace("acme", "zeta"),
    );
    let ran = runner.refuses(plan, 3, "SNAPSHOT_FOREIGN");
    told.extend(["--- another project\n", &ran.stderr]);
    snapshot("snapshot-refused", &told);
}
