//! `reconcile`: what drifted is put back as it was applied, whatever the spec says by now.

use std::{fs, os::unix::fs::symlink};

use super::world::{World, service};

const RECONCILE: &str = "[reconcile]\nevery = \"15m\"\n";

fn world() -> World {
    let world = World::with(&format!(
        "{RECONCILE}{}{}",
        service("a", ""),
        service("b", "")
    ));
    world.ok("apply --yes");
    world
}

fn run_file(world: &World, name: &str) -> std::path::PathBuf {
    world.state().join("services").join(name).join("run.json")
}

#[test]
fn where_nothing_drifted_it_says_and_writes_nothing() {
    let world = world();
    let before = fs::read(world.state().join("state.json")).unwrap();
    let journals = || fs::read_dir(world.state().join("journal")).unwrap().count();
    let begun = journals();
    let said = world.run("reconcile").exits(0);
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""));
    assert_eq!(fs::read(world.state().join("state.json")).unwrap(), before);
    assert_eq!(journals(), begun);
}

#[test]
fn what_drifted_is_as_applied_and_a_changed_spec_waits_for_an_apply() {
    let world = world();
    let applied = fs::read(run_file(&world, "a")).unwrap();
    fs::write(run_file(&world, "a"), "{}").unwrap();
    fs::remove_file(run_file(&world, "b")).unwrap();
    world.spec(&format!(
        "{RECONCILE}{}",
        service("a", "timeout = \"9m\"\n")
    ));
    let said = world.run("reconcile").exits(0);
    said.says("service.a").says("service.b");
    assert_eq!(fs::read(run_file(&world, "a")).unwrap(), applied);
    world.ok("drift --detailed-exitcode");
    world.run("plan --detailed-exitcode").exits(2);
    // Nor does it read the spec: it is as good without one.
    fs::remove_file(world.spec_dir().join("lore.toml")).unwrap();
    fs::write(run_file(&world, "a"), "{}").unwrap();
    world.ok("reconcile --project acme");
    assert_eq!(fs::read(run_file(&world, "a")).unwrap(), applied);
}

#[test]
fn what_it_is_not_allowed_it_does_not_do() {
    let world = world();
    fs::write(run_file(&world, "a"), "{}").unwrap();
    world.ok("reconcile --allow rotation,rollout");
    world.run("drift --detailed-exitcode").exits(2);
    world.run("reconcile --allow nonsense").exits(64);
    world.ok("reconcile --allow drift");
    world.ok("drift --detailed-exitcode");
}

#[test]
fn by_hand_it_does_no_more_than_was_allowed_when_it_was_applied() {
    let spec = |allow: &str| format!("{RECONCILE}allow = {allow}\n{}", service("a", ""));
    let world = World::with(&spec("[\"rotation\"]"));
    world.ok("apply --yes");
    fs::write(run_file(&world, "a"), "{}").unwrap();
    // What the spec says by now is of no account.
    world.spec(&spec("[\"drift\"]"));
    assert_eq!(world.ok("reconcile"), "");
    world.run("drift --detailed-exitcode").exits(2);
    world.ok("service trigger reconcile");
    world.run("drift --detailed-exitcode").exits(2);
    // Who asks may say more than it does by itself.
    world.ok("reconcile --allow drift");
    world.ok("drift --detailed-exitcode");
    world.ok("apply --yes");
    fs::write(run_file(&world, "a"), "{}").unwrap();
    world.ok("reconcile");
    world.ok("drift --detailed-exitcode");
    // Where there is no timer of our own, nothing was forbidden it.
    world.spec(&service("a", ""));
    world.ok("apply --yes");
    fs::write(run_file(&world, "a"), "{}").unwrap();
    world.ok("reconcile");
    world.ok("drift --detailed-exitcode");
}

#[test]
fn what_it_may_not_touch_is_told_and_the_rest_mended() {
    let world = world();
    fs::remove_file(run_file(&world, "a")).unwrap();
    symlink("/etc/passwd", run_file(&world, "a")).unwrap();
    fs::write(run_file(&world, "b"), "{}").unwrap();
    let said = world.run("reconcile").exits(3);
    said.says("service.a").says("service.b");
    let told = world.run("reconcile --json").exits(3);
    let told: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(told["ok"], false, "{told:#}");
    assert_eq!(
        told["data"]["unmended"][0]["address"], "service.a",
        "{told:#}"
    );
    assert!(
        fs::symlink_metadata(run_file(&world, "a"))
            .unwrap()
            .is_symlink()
    );
    assert_ne!(fs::read(run_file(&world, "b")).unwrap(), b"{}");
    // Its own run ends there: the same person would be waited for a second later.
    world.run("service trigger reconcile").exits(1);
    let logs = world.run("service logs reconcile").exits(0).stdout;
    assert!(!logs.contains("once more"), "{logs}");
}

#[test]
fn its_timer_is_a_service_of_the_project() {
    let world = world();
    fs::write(run_file(&world, "b"), "{}").unwrap();
    world.ok("service trigger reconcile");
    world.ok("drift --detailed-exitcode");
    let list = world.run("service list").exits(0);
    list.says("reconcile");
    // Where nothing was ever applied there is nothing to mend.
    let empty = World::with(RECONCILE);
    empty.ok("reconcile");
    assert!(!empty.state().exists());
    // Without the table the timer goes.
    world.spec(&format!("{}{}", service("a", ""), service("b", "")));
    world.run("plan").exits(0).says("- service.reconcile");
}

#[test]
fn what_stands_in_the_place_of_data_is_a_conflict_and_stays() {
    let world = world();
    let data = world.state().join("services/a/data");
    fs::remove_dir_all(&data).unwrap();
    let before = fs::read(world.state().join("state.json")).unwrap();
    let stays = || {
        for command in ["reconcile", "apply --yes"] {
            world.run(command).exits(3);
        }
        assert_eq!(fs::read(world.state().join("state.json")).unwrap(), before);
    };
    fs::write(&data, "theirs").unwrap();
    stays();
    assert_eq!(fs::read(&data).unwrap(), b"theirs");
    fs::remove_file(&data).unwrap();
    symlink("/etc", &data).unwrap();
    stays();
    assert_eq!(fs::read_link(&data).unwrap(), std::path::Path::new("/etc"));
}

#[test]
fn however_often_it_mends_the_old_states_are_kept() {
    let world = world();
    world.spec(&format!(
        "{RECONCILE}{}",
        service("a", "timeout = \"9m\"\n")
    ));
    world.ok("apply --yes");
    let backups = || {
        let listed = fs::read_dir(world.state().join("backups")).unwrap();
        let mut names: Vec<_> = listed.map(|entry| entry.unwrap().file_name()).collect();
        // Beside them is kept what was not ours.
        names.retain(|name| name != "foreign");
        names.sort();
        names
    };
    let state = || fs::read(world.state().join("state.json")).unwrap();
    let (kept, before) = (backups(), state());
    assert!(!kept.is_empty());
    let applied = fs::read(run_file(&world, "a")).unwrap();
    for _ in 0..12 {
        fs::write(run_file(&world, "a"), "{}").unwrap();
        world.ok("reconcile");
        assert_eq!(fs::read(run_file(&world, "a")).unwrap(), applied);
    }
    assert_eq!(backups(), kept);
    assert!(state() == before, "the state was replaced");
    // What was mended is in the history, and nothing of it is unfinished.
    world.ok("history");
    world.run("plan --detailed-exitcode").exits(0);
    fs::remove_file(run_file(&world, "a")).unwrap();
    world.ok("reconcile");
    world.spec(&format!(
        "{RECONCILE}{}",
        service("a", "timeout = \"8m\"\n")
    ));
    world.ok("apply --yes");
    assert_eq!(backups().len(), kept.len() + 1);
}

#[test]
fn what_waits_for_a_person_is_told_and_does_not_slow_its_timer() {
    let world = World::with(&format!(
        "{RECONCILE}[notify.ops]\ncommand = [\"true\"]\n[defaults.services]\nnotify = [\"ops\"]\n{}",
        service("a", "")
    ));
    world.ok("apply --yes");
    let run = fs::read_to_string(run_file(&world, "reconcile")).unwrap();
    let run: serde_json::Value = serde_json::from_str(&run).unwrap();
    let retry = serde_json::json!({"base": "15m", "max": "15m"});
    assert_eq!(run["retry"], retry, "{run:#}");
    assert_eq!(run["breaker"]["failures"], 1_000_000, "{run:#}");
    assert_eq!(run["notify"][0]["name"], "ops", "{run:#}");
}

#[test]
fn drift_says_what_helps() {
    let world = world();
    fs::remove_file(run_file(&world, "a")).unwrap();
    let gone = world.ok("drift");
    assert!(gone.contains("all of it: gone"), "{gone}");
    assert!(gone.contains("`lorectl apply` puts it right."), "{gone}");
    symlink("/etc/passwd", run_file(&world, "a")).unwrap();
    let foreign = world.ok("drift");
    assert!(foreign.contains("is left alone: remove"), "{foreign}");
    assert!(!foreign.contains("lorectl apply"), "{foreign}");
    fs::write(run_file(&world, "b"), "{}").unwrap();
    let both = world.ok("drift");
    assert!(both.contains("puts the rest right"), "{both}");
}
