//! Who may apply what: a yes, a plan file, and what neither covers.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{
    snapshot,
    world::{HEAD, World, service},
};

fn two() -> String {
    [service("a", ""), service("b", "")].concat()
}

/// Another schedule for one of the services.
fn changed(name: &str, spec: &str) -> String {
    let (head, rest) = spec.split_once(&format!("[services.{name}]")).unwrap();
    let rest = rest.replacen("1h", "2h", 1);
    format!("{head}[services.{name}]{rest}")
}

/// A world with `a` and `b` applied, a change of `a` in the spec, and a plan of it.
fn planned() -> (World, PathBuf) {
    let world = World::with(&two());
    world.ok("apply --yes");
    world.spec(&changed("a", &two()));
    world.ok("plan --out ../plan.json");
    let plan = world.path().join("plan.json");
    (world, plan)
}

fn is_applied(world: &World) {
    assert!(world.ok("plan").contains("No changes."));
}

#[test]
fn without_a_terminal_nothing_is_applied_unless_someone_said_yes() {
    let world = World::with(&two());
    let before = world.tree();
    let ran = world.run("apply").exits(3).complains("NOT_APPROVED");
    assert!(ran.stdout.contains("Plan: 2 to create."), "{}", ran.stdout);
    snapshot("not-approved", &ran.stderr);
    // A yes in a pipe is no yes: it is for a person at a terminal.
    let ran = world.command(["apply"]).stdin("yes\n").run();
    ran.exits(3).complains("NOT_APPROVED");
    world.tree().is_untouched_since(&before);
    world.ok("apply --yes");
    let before = world.tree();
    let ran = world.run("destroy").exits(3).complains("NOT_APPROVED");
    assert!(ran.stdout.contains("Plan: 2 to delete."), "{}", ran.stdout);
    world.tree().is_untouched_since(&before);
    // What changes nothing needs nobody.
    world.ok("apply");
    world.tree().is_untouched_since(&before);
}

#[test]
fn a_plan_file_is_an_approval() {
    let (world, plan) = planned();
    assert_eq!(
        fs::metadata(&plan).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let ran = world.run("apply ../plan.json").exits(0).quiet();
    assert!(ran.stdout.contains("1 changed"), "{}", ran.stdout);
    is_applied(&world);
    // What is already done is no change.
    let before = world.tree();
    world.ok("apply ../plan.json");
    world.tree().is_equal_to(&before);
}

#[test]
fn an_approval_outlives_a_run_and_an_edit_that_changes_nothing() {
    let (world, _) = planned();
    world.ok("service trigger b");
    let spec = changed("a", &two());
    world.spec(&format!("# A comment.\n{spec}"));
    world.ok("apply ../plan.json");
    is_applied(&world);
}

#[test]
fn what_was_done_meanwhile_needs_no_approval() {
    let world = World::with(&two());
    world.ok("plan --out ../plan.json");
    world.ok("apply --yes --target service.a");
    let ran = world.run("apply ../plan.json").exits(0).quiet();
    assert!(ran.stdout.contains("1 created"), "{}", ran.stdout);
    is_applied(&world);
}

#[test]
fn what_is_not_in_the_plan_file_is_named_and_not_done() {
    let (world, _) = planned();
    let mut told = String::new();
    let more = [changed("a", &two()), service("c", "")].concat();
    for (what, spec) in [
        ("one more", more),
        ("another change", changed("b", &changed("a", &two()))),
        ("another value", two().replacen("1h", "3h", 1)),
        ("one less", service("a", "").replace("1h", "2h")),
    ] {
        world.spec(&spec);
        let ran = world.refuses("apply ../plan.json", 3, "NOT_APPROVED");
        told.extend(["--- ", what, "\n", &ran.stderr, "\n"]);
    }
    // Drift does not hide an edit: what is put back would not be what was.
    let run = world.state().join("services/b/run.json");
    fs::remove_file(&run).unwrap();
    world.spec(&changed("b", &changed("a", &two())));
    let ran = world.refuses("apply ../plan.json", 3, "NOT_APPROVED");
    told.extend(["--- an edit of what is gone\n", &ran.stderr]);
    snapshot("not-in-the-plan", &told);
    // What was approved can be had without the rest.
    world.ok("apply ../plan.json --target service.a");
}

#[test]
fn what_only_drifted_is_left_and_listed_and_the_rest_goes_on() {
    for gone in [false, true] {
        let (world, _) = planned();
        let run = world.state().join("services/b/run.json");
        if gone {
            fs::remove_file(&run).unwrap();
        } else {
            fs::write(&run, "{}").unwrap();
        }
        let ran = world.run("apply ../plan.json").exits(0).quiet();
        let (told, _) = ran.stdout.split_once("(serial").unwrap();
        snapshot("drift-left", told);
        assert_eq!(run.exists(), !gone, "what nobody approved was put back");
        let drift = world.run("drift --detailed-exitcode").exits(2).stdout;
        assert!(
            drift.contains("service.b") && !drift.contains("service.a"),
            "{drift}"
        );
        // With nothing else to do, it is shown, and still left.
        let ran = world.run("apply ../plan.json").exits(0).quiet();
        if !gone {
            snapshot("drift-left-alone", &ran.stdout);
        }
        let json = world.ok("apply ../plan.json --json");
        assert!(json.contains(r#""left":["service.b"]"#), "{json}");
        world.ok("plan --out ../plan.json");
        world.ok("apply ../plan.json");
        is_applied(&world);
    }
}

/// What is wrong with a plan file, and how it comes to be.
type Damage<'a> = (&'a str, &'a dyn Fn(&Path));

fn edited(plan: &Path, edit: impl Fn(&str) -> String) {
    let text = fs::read_to_string(plan).unwrap();
    let new = edit(&text);
    assert_ne!(new, text, "the edit edits nothing");
    fs::write(plan, new).unwrap();
}

#[test]
fn a_plan_file_that_cannot_be_trusted_approves_nothing() {
    let mut told = String::new();
    let cases: [Damage<'_>; 7] = [
        ("edited", &|plan| edited(plan, |t| t.replace("2h", "3h"))),
        ("cut", &|plan| edited(plan, |t| t[..400].to_owned())),
        ("empty", &|plan| fs::write(plan, "").unwrap()),
        ("no plan", &|plan| fs::write(plan, "{}").unwrap()),
        ("newer", &|plan| {
            edited(plan, |t| {
                t.replace("version\":\"1.0\"", "version\":\"2.0\"")
            });
        }),
        ("written by anyone", &|plan| {
            fs::set_permissions(plan, fs::Permissions::from_mode(0o666)).unwrap();
        }),
        ("a pipe", &|plan| {
            fs::remove_file(plan).unwrap();
            nix::unistd::mkfifo(plan, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }),
    ];
    for (what, damage) in cases {
        let (world, plan) = planned();
        damage(&plan);
        let ran = world.refuses("apply ../plan.json", 65, "PLAN_INVALID");
        told.extend(["--- ", what, "\n", &ran.stderr, "\n"]);
    }
    let (world, _) = planned();
    let ran = world.refuses("apply nothing.json", 65, "PLAN_INVALID");
    told.extend(["--- nothing\n", &ran.stderr, "\n"]);
    // What `--json` prints is for programs, and no approval.
    let json = world.ok("plan --json");
    fs::write(world.path().join("plan.json"), json).unwrap();
    let ran = world.refuses("apply ../plan.json", 65, "PLAN_INVALID");
    told.extend(["--- an envelope\n", &ran.stderr, "\n"]);
    snapshot("plan-invalid", &told);
}

#[test]
#[ignore = "wants root: tests/run"]
fn a_plan_file_of_someone_else_approves_nothing() {
    let (world, plan) = planned();
    nix::unistd::chown(&plan, Some(1.into()), None).unwrap();
    let ran = world.refuses("apply ../plan.json", 65, "PLAN_INVALID");
    assert!(
        ran.stderr.contains("plan.json belongs to "),
        "{}",
        ran.stderr
    );
    // Whoever may call `sudo` may as well say `-y`.
    let sudo = |uid: &str| {
        world
            .command(["apply", "../plan.json"])
            .env("SUDO_UID", uid)
    };
    sudo("2").refuses(65, "PLAN_INVALID");
    sudo("1").run().exits(0);
}

#[test]
fn a_plan_file_of_another_project_approves_nothing() {
    let (world, _) = planned();
    world.file(
        "lore.toml",
        format!("{HEAD}{}", changed("a", &two())).replace("acme", "zeta"),
    );
    let ran = world.refuses("apply ../plan.json", 3, "PLAN_FOREIGN");
    snapshot("plan-foreign", &ran.stderr);
}

#[test]
fn a_plan_names_no_secret_place_and_is_written_whole() {
    let (world, plan) = planned();
    let text = fs::read_to_string(&plan).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["format_version"], "1.0");
    assert_eq!(value["resource_changes"][0]["address"], "service.a");
    assert_eq!(
        value["resource_changes"][0]["change"]["actions"][0],
        "update"
    );
    // The same inputs make the same bytes.
    world.ok("plan --out ../again.json");
    assert_eq!(
        fs::read_to_string(world.path().join("again.json")).unwrap(),
        text
    );
}
