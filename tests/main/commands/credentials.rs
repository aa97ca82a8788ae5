//! Credentials from source to delivery, as their user would have them; and that no value ever shows.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::world::World;

/// A value that is searched for in everything.
const CANARY: &str = "canary-7f3a-value-that-never-shows";
/// Another.
const SECOND: &str = "canary-91bc-value-that-never-shows";

/// A world with a directory to deliver to.
fn world(spec: &str) -> World {
    let world = World::new();
    fs::create_dir(world.path().join("out")).unwrap();
    world.spec(&spec.replace("OUT", world.path().join("out").to_str().unwrap()));
    world
}

fn out(world: &World, name: &str) -> PathBuf {
    world.path().join("out").join(name)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Every file below a directory that holds a text, in any of the forms in which one may leak.
fn holding(dir: &Path, value: &str, found: &mut Vec<String>) {
    let hex: Vec<String> = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let hex = hex.concat();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            holding(&path, value, found);
        } else if let Ok(bytes) = fs::read(&path) {
            let text = String::from_utf8_lossy(&bytes);
            if text.contains(value) || text.contains(&hex) {
                found.push(path.display().to_string());
            }
        }
    }
    found.sort();
}

const SPEC: &str = r#"
[credentials.app]
source = { env = "APP_TOKEN" }
deliver = [
  { file = "OUT/token", mode = "0640" },
  { env_file = "OUT/env", name = "TOKEN" },
]
"#;

#[test]
fn a_value_goes_from_its_source_to_the_store_and_its_deliveries() {
    let world = world(SPEC);
    fs::write(out(&world, "env"), "A=1\nTOKEN=old\n").unwrap();
    fs::set_permissions(out(&world, "env"), fs::Permissions::from_mode(0o600)).unwrap();
    let lore = |words: &str, value: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        world.command(words).env("APP_TOKEN", value).run()
    };
    lore("plan --detailed-exitcode", CANARY)
        .exits(2)
        .says("value known at apply");
    lore("apply -y", CANARY).exits(0).says("1 created");
    assert_eq!(read(&out(&world, "token")), CANARY);
    assert_eq!(mode(&out(&world, "token")), 0o640);
    assert_eq!(read(&out(&world, "env")), format!("A=1\nTOKEN={CANARY}\n"));
    let store = world.state().join("secrets/app");
    assert_eq!(read(&store.join("value")), CANARY);
    for file in ["value", "record.json"] {
        assert_eq!(mode(&store.join(file)), 0o600);
    }
    // Twice changes nothing, with the variable and without.
    lore("apply -y", CANARY).exits(0).says("No changes");
    let before = world.tree();
    world.run("apply -y").exits(0).says("No changes");
    world.tree().is_untouched_but_for_locks_since(&before);
    // Another value is taken in once, and the one before it changes nothing afterwards.
    lore("plan", SECOND)
        .exits(0)
        .says("its source holds another value");
    lore("apply -y", SECOND).exits(0).says("1 changed");
    assert_eq!(read(&out(&world, "token")), SECOND);
    assert_eq!(read(&out(&world, "env")), format!("A=1\nTOKEN={SECOND}\n"));
    lore("plan --detailed-exitcode", SECOND).exits(0);
    // Drift of each part is seen and mended, whatever the variable holds.
    fs::write(out(&world, "token"), "by hand").unwrap();
    fs::write(out(&world, "env"), "A=2\n").unwrap();
    fs::remove_file(store.join("value")).unwrap();
    let drift = world.run("drift --detailed-exitcode").exits(2);
    for part in ["value", "/token", "/env#TOKEN"] {
        assert!(drift.stdout.contains(part), "{}", drift.stdout);
    }
    world.run("reconcile").exits(0);
    assert_eq!(read(&out(&world, "token")), SECOND);
    assert_eq!(read(&out(&world, "env")), format!("A=2\nTOKEN={SECOND}\n"));
    assert_eq!(read(&store.join("value")), SECOND);
    world.run("drift --detailed-exitcode").exits(0);
    // A delivery that the spec drops goes, and what is not ours stays.
    let file = out(&world, "token").display().to_string();
    world.spec(&format!(
        "[credentials.app]\nsource = {{ env = \"APP_TOKEN\" }}\ndeliver = [{{ file = \"{file}\" }}]\n"
    ));
    world.run("apply -y").exits(0);
    assert_eq!(read(&out(&world, "env")), "A=2\n");
    assert_eq!(mode(&out(&world, "token")), 0o600);
    world.run("destroy -y").exits(0).says("1 deleted");
    assert!(!out(&world, "token").exists() && !store.exists());
    world.run("plan --detailed-exitcode").exits(2);
}

#[test]
fn no_value_shows_in_what_is_printed_or_kept() {
    let world = world(
        r#"
[credentials.app]
source = { env = "APP_TOKEN" }
deliver = [{ file = "OUT/token" }]
[credentials.cmd]
source = { command = ["./mint"] }
deliver = [{ env_file = "OUT/env", name = "CMD" }]
[credentials.bad]
source = { command = ["./leak"] }
deliver = [{ file = "OUT/missing/token" }]
"#,
    );
    world.program("mint", &format!("#!/bin/sh\necho {CANARY}\n"));
    // One that prints its secret everywhere, and fails.
    let leak = format!("#!/bin/sh\necho {CANARY} >&2\necho {CANARY}\nexit 3\n");
    world.program("leak", &leak);
    let all = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        let ran = world.command(words).env("APP_TOKEN", SECOND).run();
        for text in [&ran.stdout, &ran.stderr] {
            assert!(!text.contains(CANARY) && !text.contains(SECOND), "{text}");
        }
        ran
    };
    all("plan -vvv --out first.json").exits(0);
    // Each failure is its own; the others are carried out.
    all("apply -y -vvv").exits(1).says("ended with 3");
    for words in [
        "plan -vvv",
        "plan --json",
        "plan --out plan.json",
        "apply -y --events",
        "drift --json",
        "observe --out seen.json",
        "credential list --json",
        "credential validate app --json",
        "credential rotate cmd -y --events",
        "status --json",
        "doctor --json",
        "history --json",
        "state show credential.app",
        "state export --out export.json",
        "graph",
    ] {
        let ran = all(words);
        assert!(ran.status < 64, "{words}: {}{}", ran.stdout, ran.stderr);
    }
    // A delivery that cannot be, after the value was obtained.
    world.program("leak", &format!("#!/bin/sh\necho {CANARY}\n"));
    all("apply -y -vvv").exits(1).says("there is no directory");
    for (value, kept) in [
        (
            SECOND,
            vec![
                "out/token",
                "state/acme/secrets/app/record.json",
                "state/acme/secrets/app/value",
            ],
        ),
        (
            CANARY,
            vec![
                "out/env",
                "spec/leak",
                "spec/mint",
                "state/acme/secrets/cmd/record.json",
                "state/acme/secrets/cmd/value",
            ],
        ),
    ] {
        let mut found = Vec::new();
        holding(world.path(), value, &mut found);
        let kept: Vec<String> = (kept.iter())
            .map(|path| world.path().join(path).display().to_string())
            .collect();
        assert_eq!(found, kept);
    }
}

#[test]
fn a_failed_neighbour_puts_every_byte_back() {
    let world = world(
        r#"
[credentials.app]
source = { env = "APP_TOKEN" }
deliver = [{ file = "OUT/token" }, { env_file = "OUT/env", name = "TOKEN" }]
"#,
    );
    let run = |value: &str| world.command(["apply", "-y"]).env("APP_TOKEN", value).run();
    run(CANARY).exits(0);
    let before = |name: &str| (read(&out(&world, name)), mode(&out(&world, name)));
    let (token, env) = (before("token"), before("env"));
    // What depends on it fails after it was delivered.
    let spec = read(&world.spec_dir().join("lore.toml"));
    let gone = out(&world, "none/token").display().to_string();
    world.file(
        "lore.toml",
        format!(
            "{spec}\n[credentials.next]\nsource = {{ command = [\"/bin/echo\", \"x\"] }}\ndepends_on = [\"credential.app\"]\ndeliver = [{{ file = \"{gone}\" }}]\n"
        ),
    );
    run(SECOND).exits(1).says("there is no directory");
    assert_eq!((before("token"), before("env")), (token, env));
    assert_eq!(read(&world.state().join("secrets/app/value")), CANARY);
    assert!(!world.state().join("secrets/next").exists());
    // It is still to be taken in.
    world
        .command(["plan"])
        .env("APP_TOKEN", SECOND)
        .run()
        .says("its source holds another value");
}

#[test]
fn what_is_no_token_is_refused_and_nothing_of_it_shown() {
    let world = world("[credentials.app]\nsource = { file = \"OUT/in\" }\n");
    let input = out(&world, "in");
    let long = "a".repeat(1 << 20);
    for (content, mode, said) in [
        ("", 0o600, "the value is empty"),
        ("a\nb", 0o600, "a line feed"),
        ("a\0b", 0o600, "a line feed or another control character"),
        (&*long, 0o600, "larger than"),
        (CANARY, 0o644, "can be read by everyone (0644)"),
    ] {
        fs::write(&input, content).unwrap();
        fs::set_permissions(&input, fs::Permissions::from_mode(mode)).unwrap();
        let ran = world.run("apply -y").exits(1).says(said);
        assert!(!ran.stdout.contains(CANARY) && !ran.stderr.contains(CANARY));
        assert!(!world.state().join("secrets/app").exists());
    }
    fs::write(&input, format!("{CANARY}\n")).unwrap();
    fs::set_permissions(&input, fs::Permissions::from_mode(0o600)).unwrap();
    world.run("apply -y").exits(0);
    assert_eq!(read(&world.state().join("secrets/app/value")), CANARY);
    fs::remove_file(&input).unwrap();
    world.run("apply -y").exits(0).says("No changes");
}

#[test]
fn a_command_that_hangs_or_babbles_is_ended_with_all_that_it_started() {
    let world = world("[credentials.app]\nsource = { command = [\"./mint\"], timeout = \"1s\" }\n");
    let pid = world.path().join("pid");
    // One that leaves its session, so that only the one who adopts orphans can end it.
    let hang = format!(
        "#!/bin/sh\nsetsid sh -c 'echo $$ > {}; sleep 300' &\nsleep 300\n",
        pid.display()
    );
    world.program("mint", &hang);
    world
        .command(["apply", "-y"])
        .in_real_time()
        .run()
        .exits(1)
        .says("took longer than 1s");
    let pid = read(&pid);
    assert!(!Path::new("/proc").join(pid.trim()).exists());
    world.program("mint", "#!/bin/sh\nexec cat /dev/zero\n");
    world
        .command(["apply", "-y"])
        .in_real_time()
        .run()
        .exits(1)
        .says("more than 128 KiB");
    world.program(
        "mint",
        "#!/bin/sh\necho '{\"status\":{\"token\":\"t\",\"expirationTimestamp\":\"soon\"}}'\n",
    );
    world.run("apply -y").exits(1).says("no RFC 3339 instant");
}

#[test]
fn a_command_is_run_by_apply_alone_and_again_when_its_value_ends() {
    let world = world(
        "[credentials.app]\nsource = { command = [\"./mint\"] }\ndeliver = [{ file = \"OUT/token\" }]\n",
    );
    let runs = world.path().join("runs");
    let script = format!(
        "#!/bin/sh\necho run >> {0}\nn=$(wc -l < {0})\nprintf '{{\"status\":{{\"token\":\"token-%s\",\"expirationTimestamp\":\"2026-02-0%sT04:05:06Z\"}}}}' \"$n\" \"$((n + 3))\"\n",
        runs.display()
    );
    world.program("mint", &script);
    world.ok("plan");
    world.ok("plan --json");
    assert!(!runs.exists());
    world.ok("apply -y");
    assert_eq!(read(&out(&world, "token")), "token-1");
    world.ok("apply -y");
    assert_eq!(read(&runs), "run\n");
    // It ends a day later: a fifth of that before, another is due.
    let at = |words: &str, now: &str| {
        world
            .command(words.split(' '))
            .env("LORECTL_NOW", now)
            .run()
    };
    at("plan --detailed-exitcode", "2026-02-03T20:00:00Z").exits(0);
    at("plan", "2026-02-03T23:30:00Z")
        .exits(0)
        .says("a new value is due")
        .says("schedule");
    assert_eq!(read(&runs), "run\n");
    at("reconcile --allow drift", "2026-02-03T23:30:00Z").exits(0);
    assert_eq!(read(&runs), "run\n");
    at("reconcile", "2026-02-03T23:30:00Z").exits(0);
    assert_eq!(read(&out(&world, "token")), "token-2");
    world.ok("credential rotate app -y");
    assert_eq!(read(&out(&world, "token")), "token-3");
    world.ok("apply -y");
    assert_eq!(read(&runs), "run\nrun\nrun\n");
}

#[test]
fn all_that_is_wrong_with_a_credential_is_said_with_its_place() {
    let world = World::with(
        r#"
[credentials.a]
provider = "gitlabb"
base_url = "http://169.254.169.254/"
source = { env = "A", file = "/x" }
scopes = ["read_api", "read_api"]
expiry = { at = "soon" }
deliver = [
  { file = "relative", mode = "0644" },
  { env_file = "/etc/acme/env" },
  { file = "/etc/acme/a", then = { reload = "app.timer" } },
]
ignore_drift = ["valeu"]

[credentials.b]
sorce = { env = "B" }

[credentials.c]
base_url = "https://x.example"

[credentials.d]
source = { command = ["./x"] }
deliver = [{ file = "/etc/acme/same" }, { file = "/etc/acme/same" }]
depends_on = ["credential.e"]

[credentials.f]
source = { env = "F" }
deliver = [{ env_file = "/etc/acme/same", name = "F" }]
depends_on = ["credential.f"]
"#,
    );
    let ran = world.refuses("validate", 65, "SPEC_INVALID");
    super::snapshot("credential-bad-spec", &ran.stderr);
}

#[test]
fn one_place_is_delivered_to_by_one_project() {
    let world = world(SPEC);
    let run = |words: &[&str]| world.command(words).env("APP_TOKEN", CANARY).run();
    run(&["apply", "-y"]).exits(0);
    let other = read(&world.spec_dir().join("lore.toml")).replace("acme", "other");
    world.file("other.toml", other);
    run(&["apply", "-y", "-f", "other.toml"])
        .exits(3)
        .says("the project `acme` delivers to");
    assert!(!world.path().join("state/other/secrets").exists());
}

#[test]
fn a_lost_state_and_a_lost_key_are_rebuilt_from_the_store() {
    let world = world(SPEC);
    let run = |words: &[&str]| world.command(words).env("APP_TOKEN", CANARY).run();
    run(&["apply", "-y"]).exits(0);
    fs::remove_file(world.state().join("key")).unwrap();
    run(&["apply", "-y"]).exits(0).says("No changes");
    for gone in ["state.json", "backups", "journal"] {
        let path = world.state().join(gone);
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
    }
    run(&["plan"]).exits(65).says("STATE_LOST");
    world.run("state repair").exits(0).says("credential.app");
    run(&["apply", "-y"]).exits(0);
    run(&["plan", "--detailed-exitcode"]).exits(0);
}
