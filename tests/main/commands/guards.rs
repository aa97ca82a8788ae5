//! What an apply refuses to do although the spec says so, and how that is lifted.

use std::fs;

use super::{
    snapshot,
    world::{HEAD, World, service},
};

/// A spec of two files, `a` in one and `b` in the other, applied.
fn directory() -> World {
    let world = World::with(&service("a", ""));
    world.file("more.toml", service("b", ""));
    world.ok("apply --yes -f .");
    world
}

/// The first line of an error's text is the same for a plan that shows it and an apply that ends with it.
fn refusal(world: &World, words: &str, status: i32, code: &str) -> String {
    let before = world.tree();
    let ran = world.run(words).exits(status);
    let shown = [ran.stdout.as_str(), ran.stderr.as_str()].concat();
    assert!(shown.contains(code), "{shown}");
    assert!(!shown.contains('\x1b'), "{shown}");
    world.tree().is_untouched_but_for_locks_since(&before);
    ran.stderr
}

#[test]
fn a_file_that_is_missing_is_not_taken_for_a_deletion() {
    let world = directory();
    fs::remove_file(world.spec_dir().join("more.toml")).unwrap();
    refusal(&world, "plan -f .", 3, "MASS_DELETION");
    let told = refusal(&world, "apply --yes -f .", 3, "MASS_DELETION");
    snapshot("mass-deletion-file", &told);
    let ran = world.run("apply --yes -f . --allow-deletes").exits(0);
    assert!(ran.stdout.contains("1 deleted"), "{}", ran.stdout);
    // An empty file in its place says that it is meant.
    let world = directory();
    world.file("more.toml", "");
    let ran = world.run("apply --yes -f .").exits(0);
    assert!(ran.stdout.contains("1 deleted"), "{}", ran.stdout);
}

#[test]
fn a_third_of_the_project_is_not_deleted_in_passing() {
    let spec = |names: &[&str]| names.iter().map(|n| service(n, "")).collect::<String>();
    let world = World::with(&spec(&["a", "b", "c", "d", "e", "f"]));
    world.ok("apply --yes");
    world.spec(&spec(&["a", "b"]));
    let told = refusal(&world, "apply --yes", 3, "MASS_DELETION");
    snapshot("mass-deletion-third", &told);
    world.spec(&spec(&["a", "b", "c", "d"]));
    world.ok("apply --yes");
    world.spec("");
    refusal(&world, "apply --yes", 3, "MASS_DELETION");
    world.ok("apply --yes --allow-deletes");
}

#[test]
fn a_spec_from_elsewhere_is_not_taken_for_the_projects() {
    let world = World::with(&[service("a", ""), service("b", "")].concat());
    world.ok("apply --yes");
    let other = world.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(
        other.join("lore.toml"),
        format!("{HEAD}{}", service("a", "")),
    )
    .unwrap();
    let told = refusal(&world, "apply --yes -f ../other", 3, "MASS_DELETION");
    snapshot("mass-deletion-origin", &told);
}

#[test]
fn what_is_protected_is_not_destroyed() {
    let world = World::with(&[service("a", "protect = true\n"), service("b", "")].concat());
    world.ok("apply --yes");
    world.spec(&service("b", ""));
    let mut told = refusal(&world, "apply --yes --allow-deletes", 3, "PROTECTED");
    told.push_str(&refusal(&world, "destroy --yes", 3, "PROTECTED"));
    snapshot("protected", &told);
    // Lifted by an apply that says so, not by leaving it out.
    world.spec(&[service("a", "protect = false\n"), service("b", "")].concat());
    world.ok("apply --yes");
    world.spec(&service("b", ""));
    world.ok("apply --yes --allow-deletes");
    world.ok("destroy --yes");
}

#[test]
fn what_is_denied_is_not_planned() {
    let world = World::with(&[service("a", ""), service("b", "")].concat());
    world.ok("apply --yes");
    world.spec(&service("a", ""));
    world.ok("plan --deny create,update,replace");
    let before = world.tree();
    let ran = world.run("plan --deny delete,replace").exits(3);
    world.tree().is_untouched_since(&before);
    assert!(ran.stdout.contains("DENIED") || ran.stderr.contains("DENIED"));
    snapshot(
        "denied",
        &[ran.stdout, ran.stderr]
            .join("=====\n")
            .replace(&host(), "HOST"),
    );
    let ran = world.run("plan --deny delete --json").exits(3).quiet();
    let value: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(value["error"]["code"], "DENIED");
    // What is not to be is 64, and not a plan without it.
    world.run("plan --deny destroy").exits(64);
}

fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .unwrap()
        .trim()
        .to_owned()
}

#[test]
fn a_target_that_is_nothing_is_a_mistake() {
    let world = World::with(&service("a", ""));
    for words in [
        "plan --target service.nope",
        "apply --yes --target service.nope",
    ] {
        world
            .refuses(words, 64, "NO_SUCH_RESOURCE")
            .says("service.nope");
    }
    world.ok("plan --target services.a");
    let ran = world.run("plan --target a").exits(64);
    assert!(ran.stderr.contains("service.sync"), "{}", ran.stderr);
}

#[test]
fn what_is_not_ours_is_not_overwritten() {
    let world = World::with(&service("a", ""));
    world.ok("apply --yes");
    let run = world.state().join("services/b/run.json");
    fs::create_dir(run.parent().unwrap()).unwrap();
    let own = fs::read_to_string(world.state().join("services/a/run.json")).unwrap();
    // By its id it is another resource's, whatever its name.
    fs::write(&run, own.replace("\"name\": \"a\"", "\"name\": \"b\"")).unwrap();
    world.spec(&[service("a", ""), service("b", "")].concat());
    let mut told = refusal(&world, "apply --yes", 3, "CONFLICT");
    fs::remove_file(&run).unwrap();
    let target = world.path().join("target");
    fs::write(&target, &own).unwrap();
    std::os::unix::fs::symlink(&target, &run).unwrap();
    told.push_str(&refusal(&world, "apply --yes", 3, "CONFLICT"));
    fs::remove_file(&run).unwrap();
    nix::unistd::mkfifo(&run, nix::sys::stat::Mode::S_IRWXU).unwrap();
    told.push_str(&refusal(&world, "apply --yes", 3, "CONFLICT"));
    snapshot("conflict", &told);
}

#[test]
fn a_spec_can_come_from_a_pipe() {
    let world = World::new();
    let spec = format!("{HEAD}{}", service("a", ""));
    world
        .command(["plan", "-f", "-"])
        .stdin(spec.clone())
        .run()
        .exits(0)
        .quiet();
    world
        .command(["apply", "--yes", "-f", "-"])
        .stdin(spec.clone())
        .run()
        .exits(0)
        .quiet();
    let again = world.command(["plan", "-f", "-"]).stdin(spec).run();
    assert!(again.exits(0).stdout.contains("No changes."));
}

#[test]
fn what_the_worker_does_not_heed_is_said() {
    let rest = "write_paths = [\"/srv\"]\nsandbox = \"strict\"\n";
    let world = World::with(&[service("a", rest), service("b", "sandbox = \"off\"\n")].concat());
    let plan = world.run("plan").exits(0);
    let said =
        "service.a: the worker runs it unsandboxed, so write_paths and sandbox have no effect";
    assert!(!plan.says(said).stdout.contains("service.b: the worker"));
}

#[test]
fn a_purge_takes_what_an_earlier_destroy_left() {
    let world = World::with(&[service("a", ""), service("b", "")].concat());
    world.ok("apply --yes");
    world.ok("service trigger a");
    world.ok("service trigger b");
    world.run("destroy --yes").exits(0).says("destroy");
    let data = |name: &str| world.state().join("services").join(name);
    assert!(data("a").exists() && data("b").exists());
    // What is another's, or defines something, is left.
    world.file("x", "");
    let odd = data("odd");
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join("run.json"), "{}").unwrap();
    std::os::unix::fs::symlink(world.spec_dir(), data("link")).unwrap();

    world.ok("destroy --yes");
    assert!(data("a").exists());
    let asked = world.run("destroy --purge").exits(3);
    asked
        .says("- service.a")
        .says("all that is left of it is")
        .says("2 to delete");
    assert!(data("a").exists());
    let ran = world.run("destroy --purge --yes").exits(0);
    assert!(ran.stdout.contains("2 deleted"), "{}", ran.stdout);
    assert!(!data("a").exists() && !data("b").exists());
    assert!(odd.join("run.json").exists() && world.spec_dir().join("x").exists());
    world
        .run("destroy --purge --yes")
        .exits(0)
        .says("No changes");
}

#[test]
fn a_purge_waits_for_a_lock_on_what_is_left_and_then_holds() {
    let world = World::with(&service("a", ""));
    world.ok("apply --yes");
    world.ok("service trigger a");
    world.ok("destroy --yes");
    let data = world.state().join("services/a/data");
    let script = format!(
        "exec 9<{0}/lock; flock 9; (sleep 0.5; flock -u 9) & \"$LORECTL\" destroy --purge --yes",
        data.display()
    );
    world.shell(&script).run().exits(0);
    assert!(!data.exists());
}

#[test]
fn a_refusal_is_told_once() {
    let world = World::with(&[service("a", "protect = true\n"), service("b", "")].concat());
    world.ok("apply --yes");
    world.spec(&service("b", ""));
    let told = |words: &str| {
        let ran = world.run(words).exits(3);
        let all = format!("{}{}", ran.stdout, ran.stderr);
        assert_eq!(all.matches("is protected").count(), 1, "{words}:\n{all}");
        assert_eq!(all.matches("PROTECTED").count(), 1, "{words}:\n{all}");
        ran
    };
    assert_eq!(told("plan").stderr, "");
    for words in ["apply --yes", "apply"] {
        let ran = told(words);
        assert!(ran.stdout.contains("Refused."), "{}", ran.stdout);
        ran.complains("PROTECTED");
    }
}
