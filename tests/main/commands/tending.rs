//! `state rm`, `mv`, `export` and `import`: what is remembered, changed by hand and never by half.

use std::{fmt::Write, fs, os::unix::fs::PermissionsExt};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    snapshot,
    world::{Ran, World, service},
};

fn applied() -> World {
    let b = service("b", "depends_on = [\"service.a\"]\n");
    let world = World::with(&[service("a", ""), b, service("c", "protect = true\n")].concat());
    world.ok("apply --yes");
    world
}

fn state(world: &World) -> Value {
    serde_json::from_slice(&fs::read(world.state().join("state.json")).unwrap()).unwrap()
}

fn backups(world: &World) -> usize {
    fs::read_dir(world.state().join("backups")).unwrap().count()
}

/// What a careful forger would write.
fn resealed(text: &str, change: impl Fn(&str) -> String) -> String {
    let body = change(text.split_once('\n').unwrap().1);
    let mut hex = String::new();
    for byte in Sha256::digest(body.as_bytes()) {
        write!(hex, "{byte:02x}").unwrap();
    }
    format!("{{\"digest\":\"{hex}\",\n{body}")
}

#[test]
fn what_is_forgotten_stays_on_the_host() {
    let world = applied();
    world.refuses("state rm service.a service.nope", 64, "NO_SUCH_RESOURCE");
    world.refuses("state rm service.c", 3, "PROTECTED");
    world.refuses("state mv service.c service.d", 3, "PROTECTED");
    let text = world.ok("state rm service.a");
    snapshot("state-rm", &text);
    assert!(world.state().join("services/a/run.json").exists());
    assert_eq!(state(&world)["serial"], 2);
    assert_eq!(backups(&world), 1, "the state from before is kept");
    assert_eq!(world.ok("state list"), "service.b\nservice.c\n");
    world.run("plan").exits(0).says("1 to adopt");
    world.run("apply --yes").exits(0);
    assert!(world.ok("plan").contains("No changes."));
    let text = world.ok("history --color never");
    assert!(
        text.contains("state rm service.a") && text.contains("edited"),
        "{text}"
    );
}

#[test]
fn a_service_gets_another_name_with_its_status_and_logs() {
    let world = applied();
    world.ok("service trigger a");
    let status = fs::read(world.state().join("services/a/data/status.json")).unwrap();
    world.refuses("state mv service.a service.b", 3, "CONFLICT");
    world.refuses("state mv service.a service.a", 3, "CONFLICT");
    world.refuses("state mv service.nope service.x", 64, "NO_SUCH_RESOURCE");
    world.ok("state mv service.a service.sync");
    assert!(!world.state().join("services/a").exists());
    let now = fs::read(world.state().join("services/sync/data/status.json")).unwrap();
    assert_eq!(now, status, "the schedule goes on from where it was");
    assert_eq!(
        world.ok("state list"),
        "service.b\nservice.c\nservice.sync\n"
    );
    assert!(world.ok("drift").contains("No drift."));
    let id = &state(&world)["resources"]["service.sync"]["id"];
    let run = fs::read_to_string(world.state().join("services/sync/run.json")).unwrap();
    assert!(run.contains(id.as_str().unwrap()), "{id} is not in {run}");
    let spec = [
        service("sync", ""),
        service("b", "depends_on = [\"service.sync\"]\n"),
        service("c", "protect = true\n"),
    ];
    world.spec(&spec.concat());
    world.run("plan").exits(0).says("1 to change; 2 unchanged");
    world.run("apply --yes").exits(0);
    assert!(world.ok("plan").contains("No changes."));
}

#[test]
fn a_move_that_cannot_be_made_leaves_the_old_one_as_it_was() {
    let world = applied();
    world.ok("service trigger a");
    let data = world.state().join("services/a/data/status.json");
    let status = fs::read(&data).unwrap();
    // What is left of another service is not overwritten.
    fs::create_dir(world.state().join("services/x")).unwrap();
    world.refuses("state mv service.a service.x", 3, "CONFLICT");
    fs::remove_dir(world.state().join("services/x")).unwrap();
    // Drift elsewhere, of what it depends on even, is left as it is.
    let run = world.state().join("services/a/run.json");
    let kept = fs::read(&run).unwrap();
    fs::remove_file(&run).unwrap();
    world.ok("state mv service.b service.y");
    world.ok("state mv service.y service.b");
    assert!(!run.exists());
    // What is gone from the host is not moved.
    let ran = world
        .run("state mv service.a service.x")
        .exits(3)
        .complains("HELD");
    assert!(ran.stderr.contains("lorectl drift"), "{}", ran.stderr);
    fs::write(&run, kept).unwrap();
    assert_eq!(fs::read(&data).unwrap(), status);
    // Data whose service went in the middle of a move can be moved again.
    world.spec(&[service("b", ""), service("c", "protect = true\n")].concat());
    world.run("apply --yes").exits(0);
    world.ok("state mv service.a service.x");
    assert!(world.state().join("services/x/data/status.json").exists());
    assert_eq!(world.ok("state list"), "service.b\nservice.c\n");
}

/// The host and the state as a `state mv service.a service.x` leaves them that is killed after its first step.
fn cut_short(world: &World) {
    world.ok("service trigger a");
    let state = fs::read_to_string(world.state().join("state.json")).unwrap();
    let row = state
        .lines()
        .find_map(|line| line.strip_prefix("\"service.a\":"));
    let record = row.unwrap().trim_end_matches(',').to_owned();
    world.spec(&[service("b", ""), service("c", "protect = true\n")].concat());
    world.run("apply --yes").exits(0);
    let note =
        format!(r#"{{"schema_version":1,"from":"service.a","to":"service.x","record":{record}}}"#);
    fs::write(world.state().join("renaming.json"), note).unwrap();
}

#[test]
fn a_move_that_was_cut_short_is_gone_on_with() {
    for command in ["reconcile", "state mv service.a service.x"] {
        let world = applied();
        cut_short(&world);
        world.ok(command);
        assert_eq!(
            world.ok("state list"),
            "service.b\nservice.c\nservice.x\n",
            "{command}"
        );
        let status = world.run("service status x --json").exits(0).stdout;
        assert!(status.contains(r#""outcome":"success""#), "{status}");
        assert!(!world.state().join("services/a").exists());
        assert!(!world.state().join("renaming.json").exists());
        world.ok("drift --detailed-exitcode");
    }
    // What has come back meanwhile is not made again under the other name.
    let world = applied();
    cut_short(&world);
    world.spec(
        &[
            service("a", ""),
            service("b", ""),
            service("c", "protect = true\n"),
        ]
        .concat(),
    );
    world.run("apply --yes").exits(0);
    world.ok("reconcile");
    assert_eq!(world.ok("state list"), "service.a\nservice.b\nservice.c\n");
    assert!(!world.state().join("renaming.json").exists());
    // A note that is none stops what would believe it, and nothing else.
    fs::write(world.state().join("renaming.json"), "{").unwrap();
    world.refuses("reconcile", 65, "STATE_CORRUPT");
    world.run("apply --yes").exits(0);
}

#[test]
fn an_export_comes_back_onto_a_host_that_has_nothing() {
    let world = applied();
    world.ok("state export --out ../x.json");
    let file = world.path().join("x.json");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    let printed = world.command(["state", "export"]).run().exits(0);
    assert_eq!(printed.stdout, world.redacted(&text));
    let data: Value = serde_json::from_str(&world.ok("state export --json")).unwrap();
    assert_eq!(data["data"]["serial"], 1);
    world.refuses("state import ../x.json", 3, "STATE_EXISTS");
    fs::remove_dir_all(world.state()).unwrap();
    world.ok("state import ../x.json");
    assert_eq!(world.ok("state list"), "service.a\nservice.b\nservice.c\n");
    // Higher than any that was ever given out.
    assert_eq!(state(&world)["serial"], 2);
    world.run("plan").exits(0).says("3 to create");
    // What was protected is so again.
    world.run("destroy --yes").exits(3).complains("PROTECTED");
    world.run("apply --yes").exits(0);
    world.ok("state import ../x.json --overwrite");
    assert!(backups(&world) >= 1);
    let history = world.ok("history --color never");
    assert!(history.contains("state import ../x.json"), "{history}");
}

#[test]
fn an_export_of_another_host_becomes_this_ones_only_when_asked() {
    let world = applied();
    world.ok("state export --out ../x.json");
    let text = fs::read_to_string(world.path().join("x.json")).unwrap();
    let own = state(&world)["lineage"].as_str().unwrap().to_owned();
    let flipped: String = own
        .chars()
        .map(|c| {
            if c == '0' {
                '1'
            } else if c == '1' {
                '0'
            } else {
                c
            }
        })
        .collect();
    fs::write(
        world.path().join("x.json"),
        resealed(&text, |body| body.replace(&own, &flipped)),
    )
    .unwrap();
    fs::remove_dir_all(world.state()).unwrap();
    let ran = world.refuses("state import ../x.json", 65, "STATE_FOREIGN");
    assert!(ran.stderr.contains("--new-host"), "{}", ran.stderr);
    world.ok("state import ../x.json --new-host");
    assert_eq!(state(&world)["lineage"], own.as_str());
    world.run("plan").exits(0).says("3 to create");
    world.run("apply --yes").exits(0);
    assert!(world.ok("plan").contains("No changes."));
}

#[test]
fn what_is_no_export_is_refused_and_nothing_is_made() {
    let world = applied();
    world.ok("state export --out ../x.json");
    let good = fs::read_to_string(world.path().join("x.json")).unwrap();
    fs::remove_dir_all(world.path().join("state")).unwrap();
    let file = world.path().join("y.json");
    let newer = resealed(&good, |body| {
        body.replace("\"schema_version\":1", "\"schema_version\":9")
    });
    let foreign = resealed(&good, |body| {
        body.replace("\"project\":\"acme\"", "\"project\":\"zeta\"")
    });
    let mut told = String::new();
    for (what, text, code) in [
        ("empty", "", "STATE_CORRUPT"),
        ("cut", &good[..good.len() / 2], "STATE_CORRUPT"),
        ("edited", &good.replace("1h", "2h"), "STATE_CORRUPT"),
        ("newer", &newer, "STATE_NEWER"),
        ("of another project", &foreign, "STATE_FOREIGN"),
        (
            "of no version",
            &resealed(&good, |b| {
                b.replace("\"schema_version\":1", "\"schema_version\":0")
            }),
            "STATE_CORRUPT",
        ),
    ] {
        fs::write(&file, text).unwrap();
        let ran = world.refuses("state import ../y.json", 65, code);
        told.extend(["--- ", what, "\n", &ran.stderr, "\n"]);
        let piped = world.command(["state", "import", "-"]).stdin(text);
        piped.run().exits(65).complains(code);
    }
    world.refuses("state import ../none.json", 65, "STATE_CORRUPT");
    world.refuses("state import ..", 65, "STATE_CORRUPT");
    fs::write(&file, &good).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    world.refuses("state import ../y.json", 65, "STATE_CORRUPT");
    assert!(!world.path().join("state").exists());
    snapshot("state-import", &told);
}

#[test]
fn an_export_of_half_a_gigabyte_is_not_read() {
    let world = World::with(&service("a", ""));
    let file = fs::File::create(world.path().join("large.json")).unwrap();
    file.set_len(500_000_000).unwrap();
    drop(file);
    // A limit that it would burst if it were read.
    let limited = |words: &str| -> Ran {
        let script = format!("ulimit -v 900000; exec \"$LORECTL\" state import {words}");
        world.shell(&script).run()
    };
    limited("../large.json")
        .exits(65)
        .complains("STATE_CORRUPT");
    limited("- < ../large.json")
        .exits(65)
        .complains("STATE_CORRUPT");
}

#[test]
fn nothing_is_edited_while_an_apply_is_unfinished() {
    let world = applied();
    world.spec(&[service("a", ""), service("c", "protect = true\n")].concat());
    world.run("apply --yes").exits(0);
    let mut all: Vec<_> = fs::read_dir(world.state().join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    all.sort();
    let text = fs::read_to_string(all.last().unwrap()).unwrap();
    let cut: String = text.split_inclusive('\n').take(2).collect();
    fs::write(all.last().unwrap(), cut).unwrap();
    for words in ["state rm service.a", "state mv service.a service.x"] {
        let ran = world.run(words).exits(3).complains("HELD");
        assert!(ran.stderr.contains("lorectl apply"), "{}", ran.stderr);
    }
    assert_eq!(world.ok("state list"), "service.a\nservice.c\n");
}
