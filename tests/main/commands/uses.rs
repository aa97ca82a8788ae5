//! Services that use credentials, run by the worker's runner; and that no value gets where it has no
//! business.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    listener::{Answer, Listener},
    world::World,
};

/// A value that is searched for in everything.
const CANARY: &str = "canary-7f3a/value+that-never-shows";
/// Another.
const SECOND: &str = "canary-91bc/value+that-never-shows";

/// A source of the value, and a service whose one stage is `script`.
fn world(script: &str, rest: &str) -> World {
    let world = World::new();
    provide(&world, CANARY);
    world.program("job", &format!("#!/bin/sh\n{script}\n"));
    let source = source(&world).display().to_string();
    world.spec(&format!(
        r#"
[credentials.app]
source = {{ file = "{source}" }}

[services.job]
schedule = {{ every = "1h" }}
scheduler = "worker"
run = ["./job"]
env = {{ TOKEN = {{ credential = "app" }}, TOKEN_FILE = {{ credential = "app", as = "path" }} }}
{rest}"#
    ));
    world
}

fn source(world: &World) -> PathBuf {
    world.path().join("source")
}

/// What the job may know of the value that it is to have.
fn provide(world: &World, value: &str) {
    fs::write(source(world), value).unwrap();
    fs::set_permissions(source(world), fs::Permissions::from_mode(0o600)).unwrap();
}

/// Every file below a directory, but for the store, that holds a value in a form in which one may leak.
fn leaks(dir: &Path) -> Vec<String> {
    let mut forms = Vec::new();
    for value in [CANARY, SECOND] {
        let hex: Vec<String> = value.bytes().map(|byte| format!("{byte:02x}")).collect();
        let quoted = value.replace('/', "%2F").replace('+', "%2B");
        forms.extend([
            value.to_owned(),
            hex.concat(),
            STANDARD.encode(value),
            quoted,
        ]);
    }
    let (mut open, mut found) = (vec![dir.to_owned()], Vec::new());
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("secrets") {
                    open.push(path);
                }
            } else if let Ok(bytes) = fs::read(&path) {
                let text = String::from_utf8_lossy(&bytes);
                let held = forms.iter().filter(|form| text.contains(&***form));
                found.extend(held.map(|form| format!("{} holds {form}", path.display())));
            }
        }
    }
    found
}

const LOOK: &str = r#"
test "$TOKEN" = "$(cat ../source)" || exit 3
test "$(cat "$TOKEN_FILE")" = "$TOKEN" || exit 4
test "$TOKEN_FILE" = "$CREDENTIALS_DIRECTORY/app" || exit 5
test "$(stat -c %a "$CREDENTIALS_DIRECTORY")" = 700 || exit 6
test "$(stat -c %a "$TOKEN_FILE")" = 400 || exit 7
grep -qa "$TOKEN" /proc/$PPID/environ /proc/$PPID/cmdline && exit 8
echo "$CREDENTIALS_DIRECTORY" >"$LORECTL_DATA_DIR/directory"
"#;

#[test]
fn a_stage_gets_what_the_store_holds_and_the_next_run_what_it_then_holds() {
    let world = world(LOOK, "");
    world
        .run("plan")
        .exits(0)
        .says("env.TOKEN ← credential.app")
        .says("env.TOKEN_FILE ← credential.app (path)");
    world.ok("apply -y");
    let run_file = world.state().join("services/job/run.json");
    let before = fs::read(&run_file).unwrap();
    world.run("service trigger job").exits(0);
    let laid_out = fs::read_to_string(world.state().join("services/job/data/directory")).unwrap();
    assert!(!Path::new(laid_out.trim()).exists(), "{laid_out}");
    // A new value changes nothing of the service.
    provide(&world, SECOND);
    let applied = world.run("apply -y").exits(0);
    assert!(
        !applied.stdout.contains("service.job"),
        "{}",
        applied.stdout
    );
    assert_eq!(fs::read(&run_file).unwrap(), before);
    // What a runner that was killed has left there is swept.
    fs::create_dir_all(laid_out.trim()).unwrap();
    fs::write(Path::new(laid_out.trim()).join("stale"), CANARY).unwrap();
    world.run("service trigger job").exits(0);
    assert!(!Path::new(laid_out.trim()).exists(), "{laid_out}");
    assert_eq!(leaks(&world.path().join("state")), Vec::<String>::new());
    // What uses it goes first.
    let plan = world.run("plan --json").exits(0);
    assert!(plan.stdout.contains("\"ok\":true"), "{}", plan.stdout);
    world.run("destroy -y").exits(0);
    assert!(!world.state().join("secrets/app").exists());
}

#[test]
fn the_credential_comes_before_what_uses_it_and_goes_after_it() {
    let world = world(LOOK, "");
    let order = |words: &str| -> Vec<String> {
        let page: serde_json::Value = serde_json::from_str(&world.run(words).stdout).unwrap();
        let steps = page.pointer("/data/steps").unwrap().as_array().unwrap();
        (steps.iter())
            .map(|step| step["address"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(order("plan --json"), ["credential.app", "service.job"]);
    world.ok("apply -y");
    // The names do not decide it: the credential's sorts before the service's.
    let spec = fs::read_to_string(world.spec_dir().join("lore.toml")).unwrap();
    world.spec("");
    let deletions = ["service.job", "credential.app"];
    assert_eq!(order("plan --json --allow-deletes"), deletions);
    // A state that was rebuilt from what is there knows it too.
    world.file("lore.toml", spec);
    fs::remove_file(world.state().join("state.json")).unwrap();
    fs::remove_dir_all(world.state().join("backups")).unwrap();
    world.run("state repair").exits(0);
    world.spec("");
    assert_eq!(order("plan --json --allow-deletes"), deletions);
    world.run("apply -y --allow-deletes").exits(0);
    assert!(!world.state().join("secrets/app").exists());
}

#[test]
fn what_uses_a_credential_is_not_made_without_it() {
    let world = world(LOOK, "");
    fs::remove_file(source(&world)).unwrap();
    world.run("apply -y").exits(1);
    assert!(!world.state().join("services/job/run.json").exists());
    provide(&world, CANARY);
    world.run("apply -y").exits(0).says("2 created");
}

#[test]
fn the_timer_of_our_own_tells_through_credentials_too() {
    let world = world(LOOK, "");
    let spec = fs::read_to_string(world.spec_dir().join("lore.toml")).unwrap();
    let more = "[reconcile]\nevery = \"15m\"\n[defaults.services]\nnotify = [\"ops\"]\n[notify.ops]\nwebhook = { credential = \"app\" }\n";
    world.file("lore.toml", format!("{spec}\n{more}"));
    world.run("apply -y").exits(0).says("3 created");
    let run = world.state().join("services/reconcile/run.json");
    let text = fs::read_to_string(run).unwrap();
    assert!(text.contains("\"credential\": \"app\""), "{text}");
    world.run("graph").exits(0).says("credential.app");
    world.run("plan --detailed-exitcode").exits(0);
}

#[test]
fn nothing_that_a_stage_prints_or_says_holds_a_value() {
    let script = r#"
printf 'plain %s\n' "$TOKEN"
printf '%s' "$TOKEN" | cut -c1-9 | tr -d '\n'; sleep 0.2; printf '%s\n' "$TOKEN" | cut -c10-
printf '%s' "$TOKEN" | base64 -w0 >&2; echo >&2
printf '%s' "$TOKEN" | od -An -tx1 | tr -d ' \n'; echo
printf 'url?token=canary-7f3a%%2Fvalue%%2Bthat-never-shows\n'
printf '{"message": "refused: %s", "error_code": "AUTH_FAILED"}' "$TOKEN" >"$LORECTL_RESULT"
exit 77"#;
    let listener = Listener::start([Answer::status(200)]);
    let rest = format!(
        "notify = [\"ops\"]\nping = \"{}\"\n[notify.ops]\nwebhook = \"{}\"\n",
        listener.url("/uuid"),
        listener.url("/hook")
    );
    let world = world(script, &rest);
    world.ok("apply -y");
    let ran = world.run("service trigger job").exits(1);
    assert!(ran.stdout.contains("refused: «app»"), "{}", ran.stdout);
    let log = world.state().join("services/job/data/logs/service.log");
    let log = fs::read_to_string(log).unwrap();
    for part in [
        "plain «app»",
        "out «app»\n",
        "err «app»\n",
        "url?token=«app»",
    ] {
        assert!(log.contains(part), "no {part} in\n{log}");
    }
    let status = world.ok("service status job");
    for text in [&ran.stdout, &ran.stderr, &log, &status] {
        assert!(!text.contains("canary-7f3a"), "{text}");
    }
    let told = listener.seen();
    assert!(told.iter().any(|seen| seen.what == "POST /hook"));
    for seen in told {
        assert!(!seen.body.contains("canary"), "{}", seen.body);
    }
    assert_eq!(leaks(&world.path().join("state")), Vec::<String>::new());
}

#[test]
fn a_credential_without_a_value_fails_the_run_for_now_and_is_named() {
    let world = world(LOOK, "retry = { base = \"10m\" }");
    world.ok("apply -y");
    world.run("service doctor job").exits(0);
    let value = world.state().join("secrets/app/value");
    fs::write(&value, "").unwrap();
    let ran = world.run("service trigger job").exits(1);
    ran.says("credential.app has no value; `lorectl credential list` tells why");
    let status = world.run("service status job --json").exits(0).stdout;
    assert!(status.contains("CREDENTIAL_MISSING"), "{status}");
    assert!(!status.contains("\"paused\":true"), "{status}");
    world
        .run("service doctor job")
        .exits(1)
        .says("credential.app has no value");
    // Whatever brings it back is enough.
    world.run("reconcile").exits(0);
    world.run("service trigger job --ignore-backoff").exits(0);
    fs::remove_file(&value).unwrap();
    world
        .run("service trigger job")
        .exits(1)
        .says("credential.app has no value");
}

#[test]
fn a_webhook_and_a_ping_are_read_from_the_store_when_something_is_told() {
    let first = Listener::start([Answer::status(503)]);
    let second = Listener::start([Answer::status(200)]);
    let world = World::new();
    let url = |name: &str, url: &str| {
        let path = world.path().join(name);
        fs::write(&path, url).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let secret = "/services/T0/B0/canary-hook";
    let hook = url("hook", &first.url(secret));
    let ping = url("ping", &second.url("/uuid-canary-ping"));
    world.spec(&format!(
        r#"
[credentials.slack]
source = {{ file = "{hook}" }}
[credentials.hc]
source = {{ file = "{ping}" }}
[notify.ops]
webhook = {{ credential = "slack" }}
format = "slack"
[services.job]
schedule = {{ every = "1h" }}
scheduler = "worker"
run = ["/bin/sh", "-c", "test -z \"$CREDENTIALS_DIRECTORY\" && exit 77"]
notify = ["ops"]
ping = {{ credential = "hc" }}
"#
    ));
    world
        .run("apply -y")
        .exits(0)
        .says("notify.ops ← credential.slack (slack)");
    let ran = world.run("service trigger job").exits(1);
    ran.says("notify.ops was not told: it answered 503");
    assert!(!first.seen().is_empty());
    let seen: Vec<String> = second.seen().into_iter().map(|seen| seen.what).collect();
    assert_eq!(
        seen,
        ["GET /uuid-canary-ping/start", "POST /uuid-canary-ping/fail"]
    );
    let outbox = world.state().join("services/job/data/outbox.json");
    assert!(outbox.exists());
    for dir in ["services", "journal", "backups"] {
        for entry in walk(&world.state().join(dir)) {
            let text = String::from_utf8_lossy(&fs::read(&entry).unwrap()).into_owned();
            assert!(!text.contains("canary"), "{}: {text}", entry.display());
        }
    }
    // What waits goes where the credential then says.
    url("hook", &second.url(secret));
    world.run("apply -y").exits(0);
    let words = [
        "service",
        "run",
        "--only-notify",
        "--project",
        "acme",
        "job",
    ];
    let later = world
        .command(words)
        .env("LORECTL_NOW", "2026-02-03T06:05:06Z");
    later.run().exits(0);
    let what = format!("POST {secret}");
    assert!(second.seen().iter().any(|seen| seen.what == what));
    assert!(!outbox.exists());
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let (mut open, mut files) = (vec![dir.to_owned()], Vec::new());
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files
}

#[test]
fn a_value_that_ends_before_the_next_run_is_held_unless_it_is_renewed_until_then() {
    let world = world("true", "");
    let lore = world.spec_dir().join("lore.toml");
    let text = fs::read_to_string(&lore).unwrap();
    let monthly = text
        .replace("every = \"1h\"", "cron = \"0 4 1 * *\", timezone = \"UTC\"")
        .replace(
            "[credentials.app]\n",
            "[credentials.app]\nexpiry = { at = \"2026-01-25T00:00:00Z\", warn = \"1d\" }\n",
        );
    fs::write(&lore, &monthly).unwrap();
    let at = |words: &str, now: &str| {
        let call = world.command(words.split(' ')).env("LORECTL_NOW", now);
        call.run()
    };
    let held = "it ends 2026-01-25T00:00:00Z (in 9 days, says the spec), before the next run of service.job (2026-02-01T04:00:00Z)";
    at("apply -y", "2026-01-15T00:00:00Z").exits(0);
    for words in ["plan", "plan --offline"] {
        at(words, "2026-01-16T00:00:00Z").exits(0).says(held);
    }
    at("apply -y", "2026-01-16T00:00:00Z").exits(3).says(held);
    // One that runs in time, and a value that is made anew until then.
    let daily = monthly.replace("0 4 1 * *", "0 4 * * *");
    let (file, command) = (source(&world), "{ command = [\"./job\"] }");
    let made = monthly.replace(&format!("{{ file = \"{}\" }}", file.display()), command);
    assert_ne!(made, monthly);
    world.program("job", &format!("#!/bin/sh\necho {SECOND}\n"));
    for (spec, now) in [
        (daily, "2026-01-16T01:00:00Z"),
        (made, "2026-01-16T02:00:00Z"),
    ] {
        fs::write(&lore, spec).unwrap();
        at("apply -y", now).exits(0);
        let plan = at("plan --offline", "2026-01-16T03:00:00Z").exits(0);
        assert!(
            !plan.stdout.contains("before the next run"),
            "{}",
            plan.stdout
        );
        at("apply -y", "2026-01-16T03:00:00Z").exits(0);
    }
}
