//! A state that is damaged, lost, newer or not ours: refused by every command, never read as empty.

use std::{fmt::Write, fs, os::unix::fs::symlink};

use sha2::{Digest, Sha256};

use super::{
    snapshot,
    world::{World, service},
};

/// Every command that reads the state.
const READERS: [&str; 9] = [
    "plan",
    "apply --yes",
    "destroy --yes",
    "drift",
    "status",
    "status service.a",
    "service list",
    "service status a",
    "service trigger a",
];

/// A world in which two services were applied.
fn applied() -> World {
    let world = World::with(&[service("a", ""), service("b", "")].concat());
    world.ok("apply --yes");
    world
}

fn refused_everywhere(world: &World, status: i32, code: &str) -> String {
    let mut first = String::new();
    for words in READERS {
        let ran = world.refuses(words, status, code);
        if first.is_empty() {
            first = ran.stderr;
        }
    }
    first
}

/// Sets the digest of the first line to that of the rest: what a careful forger would do.
fn sealed(body: &str) -> String {
    let mut hex = String::new();
    for byte in Sha256::digest(body.as_bytes()) {
        write!(hex, "{byte:02x}").unwrap();
    }
    format!("{{\"digest\":\"{hex}\",\n{body}")
}

#[test]
fn a_damaged_state_is_refused_and_never_read_as_empty() {
    let world = applied();
    let path = world.state().join("state.json");
    let good = fs::read(&path).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let mut told = String::new();
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("cut", good[..good.len() / 2].to_vec()),
        ("a bit flipped", flipped),
        (
            "edited",
            text.replace("\"every\":\"1h\"", "\"every\":\"2h\"")
                .into_bytes(),
        ),
        ("zeros", vec![0; good.len()]),
        ("something else", b"{}\n".to_vec()),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = refused_everywhere(&world, 65, "STATE_CORRUPT");
        told.extend(["--- ", what, "\n", &error, "\n"]);
    }
    snapshot("state-damaged", &told);
    fs::write(&path, good).unwrap();
    assert!(world.ok("plan").contains("No changes."));
}

/// What is wrong with a state, and how it comes to be.
type Damage<'a> = (&'a str, &'a dyn Fn(&World));

#[test]
fn what_an_error_says_of_repair_is_true() {
    let damages: [Damage<'_>; 4] = [
        ("damaged", &|w| {
            fs::write(w.state().join("state.json"), "").unwrap();
        }),
        ("lost", &|w| {
            fs::remove_file(w.state().join("state.json")).unwrap();
        }),
        ("lost with its backups", &|w| {
            fs::remove_file(w.state().join("state.json")).unwrap();
            fs::remove_dir_all(w.state().join("backups")).unwrap();
        }),
        ("lost with all but its marks", &|w| {
            for name in ["state.json", "backups", "journal", "lock"] {
                let path = w.state().join(name);
                let gone = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
                gone.unwrap();
            }
        }),
    ];
    for (what, damage) in damages {
        // Once with a backup to go back to, once without.
        for applies in [1, 2] {
            let world = applied();
            if applies == 2 {
                world.spec(&[service("a", ""), service("b", "timeout = \"5m\"\n")].concat());
                world.ok("apply --yes");
            }
            damage(&world);
            assert_eq!(world.run("plan").status, 65, "{what}, {applies}");
            world.run("state repair").exits(0);
            world.ok("apply --yes");
            assert!(
                world.ok("plan").contains("No changes."),
                "{what}, {applies}"
            );
            assert!(world.ok("drift").contains("No drift."), "{what}, {applies}");
            world.ok("destroy --yes --purge");
            assert!(
                !world.state().join("services/a").exists(),
                "{what}, {applies}"
            );
        }
    }
}

#[test]
fn a_newer_state_is_refused_and_left_as_it_is() {
    let world = applied();
    let path = world.state().join("state.json");
    let text = fs::read_to_string(&path).unwrap();
    let (_, body) = text.split_once('\n').unwrap();
    let newer = body.replace(
        "\"schema_version\":1,",
        "\"schema_version\":2,\"new\":true,",
    );
    assert_ne!(newer, body);
    fs::write(&path, sealed(&newer)).unwrap();
    let error = refused_everywhere(&world, 65, "STATE_NEWER");
    snapshot("state-newer", &error);
    // The seal is what makes the difference: without it nothing of the file is believed.
    fs::write(&path, newer).unwrap();
    refused_everywhere(&world, 65, "STATE_CORRUPT");
}

#[test]
fn a_state_of_another_lineage_or_project_is_refused() {
    let world = applied();
    let path = world.state().join("state.json");
    let text = fs::read_to_string(&path).unwrap();
    let (_, body) = text.split_once('\n').unwrap();
    let at = body.find("\"lineage\":\"").unwrap() + "\"lineage\":\"".len();
    let mut other = body.to_owned();
    other.replace_range(at..at + 8, "00000000");
    fs::write(&path, sealed(&other)).unwrap();
    refused_everywhere(&world, 65, "STATE_FOREIGN");
    let other = body.replace("\"project\":\"acme\"", "\"project\":\"amce\"");
    fs::write(&path, sealed(&other)).unwrap();
    refused_everywhere(&world, 65, "STATE_FOREIGN");
}

#[test]
fn a_lost_state_is_not_an_empty_one() {
    let world = applied();
    fs::remove_file(world.state().join("state.json")).unwrap();
    let mut told = refused_everywhere(&world, 65, "STATE_LOST");
    // Not even the journals are left: the marks still tell.
    for entry in fs::read_dir(world.state().join("journal")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for words in ["plan", "apply --yes"] {
        told.push_str(&world.refuses(words, 65, "STATE_LOST").stderr);
    }
    snapshot("state-lost", &told);
}

#[test]
fn a_pipe_or_a_link_in_place_of_the_state_is_refused_without_a_hang() {
    let world = applied();
    let path = world.state().join("state.json");
    let kept = world.path().join("kept");
    fs::rename(&path, &kept).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut told = world.run("plan");
    assert!(told.status == 65 || told.status == 1, "{}", told.stderr);
    let code = if told.status == 65 {
        "STATE_CORRUPT"
    } else {
        "IO"
    };
    refused_everywhere(&world, told.status, code);
    let mut text = told.stderr;
    fs::remove_file(&path).unwrap();
    symlink(&kept, &path).unwrap();
    told = world.run("plan");
    refused_everywhere(&world, told.status, code);
    text.push_str(&told.stderr);
    snapshot("state-no-file", &text);
}

#[test]
fn a_link_in_place_of_the_lock_is_refused_and_its_target_untouched() {
    let world = applied();
    let lock = world.state().join("lock");
    let target = world.path().join("target");
    fs::write(&target, "precious").unwrap();
    fs::remove_file(&lock).unwrap();
    symlink(&target, &lock).unwrap();
    world.spec("");
    let ran = world.refuses("apply --yes --allow-deletes", 1, "IO");
    snapshot("lock-link", &ran.stderr);
    // Who takes no lock goes on.
    world.ok("plan --allow-deletes");
    world.ok("status");
}

#[test]
fn a_link_in_place_of_the_projects_directory_is_refused() {
    let world = World::with(&service("a", ""));
    let elsewhere = world.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::create_dir(world.path().join("state")).unwrap();
    symlink(&elsewhere, world.state()).unwrap();
    world.refuses("apply --yes", 77, "NOT_PERMITTED");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[test]
fn a_held_lock_turns_an_apply_away_and_nobody_else() {
    let world = applied();
    let path = world.state().join("lock");
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.lock().unwrap();
    fs::write(
        &path,
        r#"{"user":"ana","pid":7,"pid_started":8,"since":"2026-02-03T04:00:00Z","host":"web1","from":"192.0.2.7"}"#,
    )
    .unwrap();
    world.spec("");
    let ran = world.refuses("apply --yes --allow-deletes", 75, "LOCK_HELD");
    world.refuses("destroy --yes", 75, "LOCK_HELD");
    snapshot("lock-held", &ran.stderr);
    world.ok("plan --allow-deletes");
    world.ok("drift");
    world.ok("status");
    world.ok("service trigger a");
    drop(file);
    world.ok("apply --yes --allow-deletes");
}

#[test]
fn several_projects_must_be_named() {
    let world = applied();
    let spec = world.spec_dir().join("lore.toml");
    let text = fs::read_to_string(&spec).unwrap();
    fs::write(&spec, text.replace("acme", "zeta")).unwrap();
    world.ok("apply --yes");
    fs::remove_file(&spec).unwrap();
    let ran = world.refuses("status", 64, "PROJECT_UNKNOWN");
    snapshot("project-unknown", &ran.stderr);
    for words in ["drift", "destroy --yes", "service list", "service status a"] {
        world.refuses(words, 64, "PROJECT_UNKNOWN");
    }
    assert!(world.ok("status --project zeta").contains("zeta"));
    assert!(world.ok("status --project acme").contains("acme"));
    world.ok("destroy --yes --project zeta");
    let none = World::new();
    none.refuses("status", 64, "PROJECT_UNKNOWN");
    none.refuses("destroy --yes", 64, "PROJECT_UNKNOWN");
}

/// `lorectl` under a limit of so many blocks of 512 bytes to each file, which it is told by EFBIG
/// as it would be told of a full disk.
fn limited(world: &World, blocks: usize, words: &str) -> super::world::Ran {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$LORECTL\" {words}");
    world.shell(&script).run()
}

#[test]
fn a_disk_that_is_full_leaves_what_was_there() {
    let many: Vec<String> = (0..20).map(|n| service(&format!("s{n}"), "")).collect();
    let world = World::with(&many.concat());
    let before = world.tree().without(&["state"]);
    // Not even the journal can be begun.
    limited(&world, 2, "apply --yes").exits(1).complains("IO");
    world.tree().without(&["state"]).is_equal_to(&before);
    assert!(!world.state().join("state.json").exists());
    assert!(!world.state().join("services").exists());
    world.ok("apply --yes");
    // The journal of one change has room, the state of twenty services has not.
    let state = world.state().join("state.json");
    let good = fs::read(&state).unwrap();
    assert!(good.len() > 12 * 1024, "{}", good.len());
    world.spec(
        &many
            .concat()
            .replacen("run = [\"true\"]", "run = [\"true\", \"x\"]", 1),
    );
    let ran = limited(&world, 16, "apply --yes").exits(1).complains("IO");
    snapshot("disk-full", &ran.stderr);
    assert_eq!(fs::read(&state).unwrap(), good, "the state is as before");
    // What was done stands in the journal.
    assert!(world.ok("status").contains("did not end"));
    world
        .run("apply --yes")
        .exits(0)
        .says("was settled: service.s0 was done");
    assert!(world.ok("plan").contains("No changes."));
    assert!(world.ok("drift").contains("No drift."));
}

#[test]
fn a_process_that_is_ended_in_a_write_leaves_nothing_half_written() {
    let many: Vec<String> = (0..20).map(|n| service(&format!("s{n}"), "")).collect();
    for blocks in [1, 2, 8, 16, 24, 32] {
        let world = World::with(&many.concat());
        // SIGXFSZ ends it in the middle of a write, as a kill would.
        let script = format!("ulimit -c 0; ulimit -f {blocks}; exec \"$LORECTL\" apply --yes");
        let ran = world.shell(&script).run();
        assert_ne!(ran.status, 0, "{blocks} blocks are no limit");
        world.run("apply --yes").exits(0);
        assert!(world.ok("plan").contains("No changes."));
        assert!(world.ok("drift").contains("No drift."));
        let left = world.tree().paths();
        let temporary = left.iter().find(|path| path.contains(".lorectl-"));
        assert_eq!(temporary, None);
    }
}

#[test]
fn what_is_written_is_for_its_owner_whatever_the_umask() {
    let world = World::with(&service("a", ""));
    let script = "umask 000; \"$LORECTL\" apply --yes && \"$LORECTL\" service trigger a && \"$LORECTL\" plan --out ../plan.json";
    world.shell(script).run().exits(0);
    let mut seen = 0;
    for (path, mode) in world.tree().modes() {
        if path.starts_with("state/") || path == "plan.json" {
            seen += 1;
            assert_eq!(mode & 0o066, 0, "{path} has the mode {mode:o}");
        }
    }
    assert!(seen > 10, "only {seen} files were seen");
}
