//! Credentials from source to delivery, as their user would have them; and that no value ever shows.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{
    listener::{Answer, Listener},
    world::World,
};

/// A value that is searched for in everything.
const CANARY: &str = "canary-7f3a-value-that-never-shows";
/// Another.
const SECOND: &str = "canary-91bc-value-that-never-shows";

/// A world with a directory to deliver to.
pub(super) fn world(spec: &str) -> World {
    let world = World::new();
    fs::create_dir(world.path().join("out")).unwrap();
    world.spec(&spec.replace("OUT", world.path().join("out").to_str().unwrap()));
    world
}

pub(super) fn out(world: &World, name: &str) -> PathBuf {
    world.path().join("out").join(name)
}

pub(super) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

pub(super) fn mode(path: &Path) -> u32 {
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
    // A plan for this host that is made elsewhere finds the same.
    world.run("observe --out seen.json").exits(0);
    let elsewhere = world.run("plan --observed seen.json --detailed-exitcode");
    elsewhere.exits(0).says("No changes");
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
        "plan --observed seen.json",
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
        (&*long, 0o600, "over 64 KiB long"),
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
        .says("its time has come")
        .says("schedule");
    assert_eq!(read(&runs), "run\n");
    at("reconcile --allow drift", "2026-02-03T23:30:00Z").exits(0);
    assert_eq!(read(&runs), "run\n");
    at("reconcile", "2026-02-03T23:30:00Z").exits(0);
    assert_eq!(read(&out(&world, "token")), "token-2");
    let rotated = world.run("credential rotate app -y").exits(0);
    assert!(!rotated.stdout.contains("schedule"), "{}", rotated.stdout);
    rotated.says("asked for");
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
  { file = "relative", mode = "0755" },
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

/// What GitLab says of a token that ends on a day.
pub(super) fn gitlab(ends: &str, scopes: &str) -> Answer {
    let body = format!(
        "{{\"active\":true,\"revoked\":false,\"user_id\":7,\"scopes\":[{scopes}],\"expires_at\":\"{ends}\"}}"
    );
    Answer::With(200, "Content-Type: application/json\r\n", body)
}

pub(super) fn says(status: u16, body: &str) -> Answer {
    Answer::With(
        status,
        "Content-Type: application/json\r\n",
        body.to_owned(),
    )
}

pub(super) const REVOKED: &str = "{\"error\":\"invalid_token\",\"error_description\":\"Token was revoked. You have to re-authorize from the user.\"}";
const EXPIRED: &str = "{\"error\":\"invalid_token\",\"error_description\":\"Token is expired.\"}";
pub(super) const TOKEN: &str = "glpat-canary7f3aValueThatNeverShows";

pub(super) fn gitlab_spec(url: &str) -> String {
    format!(
        "[credentials.gl]\nprovider = \"gitlab\"\nbase_url = \"{url}\"\nsource = {{ env = \"GL\" }}\nscopes = [\"read_api\"]\ndeliver = [{{ file = \"OUT/token\" }}]\n"
    )
}

pub(super) fn with_token<'a>(world: &'a World, words: &str) -> super::world::Call<'a> {
    world.command(words.split(' ')).env("GL", TOKEN)
}

#[test]
fn a_token_is_judged_before_it_is_stored() {
    let server = Listener::issuer([says(401, REVOKED)]);
    let world = world(&gitlab_spec(&server.url("")));
    let nothing = || assert!(!world.state().join("secrets/gl").exists());
    for (answer, status, said) in [
        (says(401, REVOKED), 1, "the token was revoked"),
        (says(401, EXPIRED), 1, "the token has expired"),
        (
            says(401, "{\"message\":\"401 Unauthorized\"}"),
            1,
            "its issuer refuses the token",
        ),
        (
            gitlab("2026-12-01", "\"read_user\""),
            1,
            "the token lacks scopes: read_api",
        ),
        (
            Answer::With(429, "Retry-After: 60\r\n", "Retry later".to_owned()),
            75,
            "left alone until 2026-02-03T04:06:06Z",
        ),
        (
            Answer::With(200, "Content-Type: text/html\r\n", "<html>hi".to_owned()),
            75,
            "cannot be told now",
        ),
        (Answer::Close, 75, "cannot be told now"),
    ] {
        server.answer([answer]);
        let ran = with_token(&world, "apply -y").run();
        assert_eq!(ran.status, status, "{}{}", ran.stdout, ran.stderr);
        let ran = ran.says(said);
        assert!(!ran.stdout.contains(TOKEN) && !ran.stderr.contains(TOKEN));
        nothing();
    }
    // One that has not the form of its provider's is sent nowhere.
    let before = server.seen().len();
    let short = world.command(["apply", "-y"]).env("GL", "short").run();
    short.exits(1).says("shorter than 20 bytes");
    assert_eq!(server.seen().len(), before);
    server.answer([gitlab("2026-02-20", "\"api\",\"read_user\"")]);
    with_token(&world, "apply -y").run().exits(0);
    let seen = server.seen();
    let last = seen.last().unwrap();
    assert_eq!(last.what, "GET /api/v4/personal_access_tokens/self");
    assert!(last.headers.contains(TOKEN));
    assert_eq!(read(&out(&world, "token")), TOKEN);
    with_token(&world, "credential list")
        .run()
        .exits(0)
        .says("provisioned");
}

#[test]
fn a_plan_asks_where_it_was_applied_and_says_how_it_stands() {
    let server = Listener::issuer([gitlab("2026-02-15", "\"api\",\"read_user\"")]);
    let world = world(&gitlab_spec(&server.url("")));
    let at = |words: &str, now: &str| with_token(&world, words).env("LORECTL_NOW", now).run();
    // The first plan asks nobody: nothing was applied anywhere.
    at("plan", "2026-02-03T04:05:06Z")
        .exits(0)
        .says("gitlab is asked at http");
    assert_eq!(server.seen().len(), 0);
    at("apply -y", "2026-02-03T04:05:06Z").exits(0);
    let later = "2026-02-04T00:00:00Z";
    at("plan", later)
        .exits(0)
        .says("No changes")
        .says("live ends 2026-02-15, in 11 days (issuer)")
        .says("it has more scopes than are asked for: api, read_user");
    let asked = server.seen().len();
    at("plan --offline", "2026-02-13T00:00:00Z")
        .exits(0)
        .says("in 2 days");
    at("status", "2026-02-13T00:00:00Z")
        .exits(0)
        .says("expiring");
    at("doctor", "2026-02-13T00:00:00Z").says("expiring");
    assert_eq!(server.seen().len(), asked);
    // A review of a branch that names another URL sends nothing there, from store or environment.
    let thief = Listener::issuer([gitlab("2026-12-01", "\"api\"")]);
    let lore = world.spec_dir().join("lore.toml");
    let sound = read(&lore);
    fs::write(&lore, sound.replace(&server.url(""), &thief.url(""))).unwrap();
    at("plan", "2026-02-05T00:00:00Z").exits(0).says("base_url");
    with_token(&world, "plan")
        .env("GL", format!("{TOKEN}2"))
        .run()
        .exits(0);
    at("drift", "2026-02-05T00:00:00Z").exits(0);
    assert_eq!(thief.seen().len(), 0);
    fs::write(&lore, sound).unwrap();
    // Revoked: the plan holds, the apply ends with 77, and the issuer is asked ever more rarely.
    server.answer([says(401, REVOKED)]);
    let noon = "2026-02-06T12:00:00Z";
    at("plan", noon)
        .exits(0)
        .says("it was revoked; to lift it: a new token in the variable GL");
    let asked = server.seen().len();
    at("apply -y", "2026-02-06T12:01:00Z").exits(77);
    at("plan", "2026-02-06T12:14:00Z").exits(0);
    assert_eq!(server.seen().len(), asked);
    at("plan", "2026-02-06T12:16:00Z").exits(0);
    assert_eq!(server.seen().len(), asked + 1);
    at("plan", "2026-02-06T12:40:00Z").exits(0);
    assert_eq!(server.seen().len(), asked + 1);
    at("doctor", noon).says("revoked");
    at("status", noon).says("dead");
    // A new token in the same variable mends it.
    server.answer([gitlab("2027-01-01", "\"api\"")]);
    let new = format!("{TOKEN}2");
    let fixed = with_token(&world, "apply -y")
        .env("GL", &new)
        .env("LORECTL_NOW", "2026-02-06T12:42:00Z");
    fixed.run().exits(0);
    assert_eq!(read(&out(&world, "token")), new);
}

#[test]
fn validate_tries_a_candidate_and_stores_nothing() {
    let server = Listener::issuer([gitlab("2026-12-01", "\"api\"")]);
    let world = world(&gitlab_spec(&server.url("")));
    let validate = |value: &str| {
        let call = world.command(["credential", "validate", "gl", "--value-stdin"]);
        call.stdin(format!("{value}\n")).run()
    };
    validate(TOKEN).exits(0).says("candidate value: live");
    for (answer, status) in [
        (says(401, REVOKED), 77),
        (says(401, EXPIRED), 77),
        (gitlab("2026-12-01", ""), 77),
        (
            Answer::With(429, "Retry-After: 60\r\n", "Retry later".to_owned()),
            75,
        ),
        (Answer::Close, 69),
    ] {
        server.answer([answer]);
        let ran = validate(TOKEN).exits(status);
        assert!(!ran.stdout.contains(TOKEN) && !ran.stderr.contains(TOKEN));
    }
    validate("a\0b").exits(77).complains("TOKEN_INVALID");
    world
        .run("credential validate gl")
        .exits(1)
        .complains("CREDENTIAL_MISSING");
    assert!(!world.state().exists());
}

#[test]
fn a_spec_may_declare_a_provider() {
    let server = Listener::issuer([says(200, "{\"id\":1}")]);
    let provider = "[providers.forge]\nrequest = { path = \"/me\", headers = { X-Token = \"{token}\" } }\nverdicts = [{ status = [200], json = [{ at = \"/id\", exists = true }], is = \"live\" }, { status = [401], is = \"rejected\" }]\n";
    let spec = |url: &str| {
        format!(
            "{provider}[credentials.f]\nprovider = \"forge\"\nbase_url = \"{url}\"\nsource = {{ env = \"GL\" }}\n"
        )
    };
    let world = world(&spec(&server.url("/base")));
    with_token(&world, "apply -y").run().exits(0);
    assert_eq!(server.seen()[0].what, "GET /base/me");
    let lore = world.spec_dir().join("lore.toml");
    // The request is a part of what was applied: another one in a branch is not sent in a review.
    let edited = read(&lore).replace("\"/me\"", "\"/steal\"");
    fs::write(&lore, edited).unwrap();
    with_token(&world, "plan")
        .env("LORECTL_NOW", "2026-02-05T00:00:00Z")
        .run()
        .exits(0);
    assert!(server.seen().iter().all(|seen| seen.what == "GET /base/me"));
    let bad = read(&lore).replace("provider = \"forge\"", "provider = \"froge\"");
    fs::write(&lore, bad.replace("exists = true", "exists = true, is = 1")).unwrap();
    let ran = world.refuses("validate", 65, "SPEC_INVALID");
    ran.says("did you mean `forge`?");
}

fn requests(server: &Listener, method: &str) -> usize {
    let seen = server.seen();
    seen.iter()
        .filter(|seen| seen.what.starts_with(method))
        .count()
}

fn rotating(url: &str) -> String {
    gitlab_spec(url).replace(
        "scopes = [\"read_api\"]",
        "scopes = [\"read_api\"]\nrotate = { before = \"7d\", ttl = \"90d\" }",
    )
}

/// What GitLab answers to a rotation.
fn rotated(token: &str, ends: &str) -> Answer {
    let body = format!(
        "{{\"id\":8,\"token\":\"{token}\",\"scopes\":[\"api\"],\"expires_at\":\"{ends}\"}}"
    );
    Answer::With(200, "Content-Type: application/json\r\n", body)
}

#[test]
fn a_token_that_rotates_itself_is_rotated_once_and_an_old_variable_undoes_nothing() {
    let server = Listener::issuer([gitlab("2026-03-01", "\"api\"")]);
    let world = world(&rotating(&server.url("")));
    let at = |words: &str, now: &str| with_token(&world, words).env("LORECTL_NOW", now).run();
    at("apply -y", "2026-02-03T00:00:00Z").exits(0);
    at("plan --detailed-exitcode", "2026-02-21T00:00:00Z")
        .exits(0)
        .says("next value Sun 00:00 UTC");
    at("plan", "2026-02-23T00:00:00Z")
        .exits(0)
        .says("schedule")
        .says("its issuer ends the old token when it makes the new one");
    assert_eq!(requests(&server, "POST"), 0);
    let new = "glpat-canary91bcValueThatNeverShows";
    server.answer([
        gitlab("2026-03-01", "\"api\""),
        rotated(new, "2026-05-24"),
        gitlab("2026-05-24", "\"api\""),
    ]);
    let ran = at("reconcile", "2026-02-23T00:00:20Z").exits(0);
    assert!(!ran.stdout.contains(new) && !ran.stderr.contains(new));
    assert_eq!(requests(&server, "POST"), 1);
    assert_eq!(read(&out(&world, "token")), new);
    // The variable still holds what it held.
    at("apply -y", "2026-02-23T01:00:00Z")
        .exits(0)
        .says("No changes");
    assert_eq!(read(&out(&world, "token")), new);
    let mut found = Vec::new();
    holding(world.path(), new, &mut found);
    let kept = [
        "out/token",
        "state/acme/secrets/gl/record.json",
        "state/acme/secrets/gl/value",
    ];
    let kept: Vec<String> = kept
        .iter()
        .map(|path| world.path().join(path).display().to_string())
        .collect();
    assert_eq!(found, kept);
}

#[test]
fn a_rotation_whose_answer_was_lost_is_never_sent_again() {
    let server = Listener::issuer([gitlab("2026-03-01", "\"api\"")]);
    let world = world(&rotating(&server.url("")));
    let at = |words: &str, now: &str| with_token(&world, words).env("LORECTL_NOW", now).run();
    at("apply -y", "2026-02-03T00:00:00Z").exits(0);
    server.answer([gitlab("2026-03-01", "\"api\""), Answer::Close]);
    at("apply -y", "2026-02-23T00:00:00Z")
        .exits(1)
        .says("its answer is lost");
    assert_eq!(requests(&server, "POST"), 1);
    server.answer([gitlab("2026-03-01", "\"api\"")]);
    for now in ["2026-02-23T01:00:00Z", "2026-02-25T00:00:00Z"] {
        at("apply -y", now).exits(3).says("must not be sent again");
        at("reconcile", now);
        at("credential rotate gl -y", now);
    }
    at("state repair", "2026-02-25T00:00:00Z").exits(0);
    at("apply -y", "2026-02-25T00:01:00Z").exits(3);
    assert_eq!(requests(&server, "POST"), 1);
    // A person makes another.
    let new = "glpat-canary91bcValueThatNeverShows";
    server.answer([gitlab("2026-08-01", "\"api\"")]);
    let call = with_token(&world, "apply -y").env("GL", new);
    call.env("LORECTL_NOW", "2026-02-25T00:02:00Z")
        .run()
        .exits(0);
    assert_eq!(read(&out(&world, "token")), new);
    at("plan --offline --detailed-exitcode", "2026-02-25T01:00:00Z")
        .says("its source holds another value");
}

#[test]
fn what_was_made_is_delivered_whatever_failed_after() {
    let server = Listener::issuer([gitlab("2026-03-01", "\"api\"")]);
    let world = world(&rotating(&server.url("")));
    let at = |words: &str, now: &str| with_token(&world, words).env("LORECTL_NOW", now).run();
    at("apply -y", "2026-02-03T00:00:00Z").exits(0);
    let new = "glpat-canary91bcValueThatNeverShows";
    // The new one cannot be judged at first.
    server.answer([
        gitlab("2026-03-01", "\"api\""),
        rotated(new, "2026-05-24"),
        Answer::Close,
    ]);
    let ran = at("apply -y", "2026-02-23T00:00:00Z");
    assert_ne!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(read(&out(&world, "token")), TOKEN);
    server.answer([gitlab("2026-05-24", "\"api\"")]);
    at("plan", "2026-02-23T00:01:00Z").exits(0);
    at("apply -y", "2026-02-23T00:01:00Z").exits(0);
    assert_eq!(requests(&server, "POST"), 1);
    assert_eq!(read(&out(&world, "token")), new);
    at("apply -y", "2026-02-23T00:02:00Z")
        .exits(0)
        .says("No changes");
}

#[test]
fn an_issuer_that_revokes_none_is_not_said_to() {
    let body = |token: &str| {
        format!("{{\"access_token\":\"{token}\",\"token_type\":\"Bearer\",\"expires_in\":36000}}")
    };
    let server = Listener::issuer([says(200, &body("access-one"))]);
    let world = world(&format!(
        "[credentials.client]\nsource = {{ env = \"GL\" }}\n[credentials.api]\nsource = {{ oauth2 = {{ token_url = \"{}/token\", client_id = \"acme\", secret = \"client\" }} }}\n",
        server.url("")
    ));
    let at = |words: &str, now: &str| {
        let call = world.command(words.split(' ')).env("GL", "client-secret");
        call.env("LORECTL_NOW", now).run()
    };
    let mut said = String::new();
    said += &at("plan", "2026-02-03T00:00:00Z").exits(0).stdout;
    at("apply -y", "2026-02-03T00:00:00Z").exits(0);
    server.answer([says(200, &body("access-two"))]);
    at("apply -y", "2026-02-03T08:30:00Z").exits(0);
    said += &at("plan", "2026-02-03T08:31:00Z").exits(0).stdout;
    said += &at("plan", "2026-02-03T09:31:00Z").exits(0).stdout;
    said += &at("destroy", "2026-02-03T08:31:00Z").stdout;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for told in [
        "and revokes none: an old one lives until its own end",
        "its issuer revokes none: what it made for us lives until its own end",
        "an old value is forgotten: its issuer revokes none",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    for wrong in ["is revoked", "to be revoked"] {
        assert!(!said.contains(wrong), "{said}");
    }
}

#[test]
fn a_minted_token_is_renewed_with_overlap_and_the_old_one_revoked() {
    let given = |token: &str| {
        says(
            200,
            &format!(
                "{{\"access_token\":\"{token}\",\"token_type\":\"Bearer\",\"expires_in\":36000}}"
            ),
        )
    };
    let server = Listener::issuer([given("access-one")]);
    let url = server.url("");
    let world = world(&format!(
        "[credentials.client]\nsource = {{ env = \"GL\" }}\n[credentials.api]\nsource = {{ oauth2 = {{ token_url = \"{url}/token\", client_id = \"acme\", secret = \"client\", revoke_url = \"{url}/revoke\" }} }}\ndeliver = [{{ file = \"OUT/token\" }}]\n"
    ));
    let at = |words: &str, now: &str| with_token(&world, words).env("LORECTL_NOW", now).run();
    at("plan", "2026-02-03T00:00:00Z")
        .exits(0)
        .says("credential.client");
    assert_eq!(server.seen().len(), 0);
    at("apply -y", "2026-02-03T00:00:00Z").exits(0);
    assert_eq!(read(&out(&world, "token")), "access-one");
    assert!(
        server.seen()[0]
            .body
            .contains("grant_type=client_credentials")
    );
    at("apply -y", "2026-02-03T07:00:00Z")
        .exits(0)
        .says("No changes");
    // Due at four fifths of its life.
    server.answer([given("access-two")]);
    at("reconcile", "2026-02-03T08:30:00Z").exits(0);
    assert_eq!(read(&out(&world, "token")), "access-two");
    assert_eq!(server.seen().len(), 2);
    // The old one lives for an hour, and is revoked then.
    at("plan --detailed-exitcode", "2026-02-03T09:00:00Z").exits(0);
    server.answer([says(200, "")]);
    at("plan", "2026-02-03T09:31:00Z")
        .exits(0)
        .says("an old value is to be revoked");
    at("reconcile", "2026-02-03T09:31:00Z").exits(0);
    let last = server.seen().pop().unwrap();
    assert!(last.what.starts_with("POST /revoke") && last.body.contains("access-one"));
    at("plan --detailed-exitcode", "2026-02-03T09:32:00Z").exits(0);
    assert!(!read(&world.state().join("secrets/api/record.json")).contains("access-one"));
    // A refusal leaves what is there, and nothing is asked while the breaker is open.
    server.answer([Answer::status(500)]);
    let later = "2026-02-03T16:40:00Z";
    at("apply -y", later).exits(1);
    let asked = server.seen().len();
    at("apply -y", later).exits(75).says("is not asked before");
    assert_eq!(server.seen().len(), asked);
    assert_eq!(read(&out(&world, "token")), "access-two");
    // What was made is revoked when it goes.
    server.answer([says(200, "")]);
    at("destroy -y", "2026-02-03T17:00:00Z").exits(0);
    let last = server.seen().pop().unwrap();
    assert!(last.what.starts_with("POST /revoke") && last.body.contains("access-two"));
    assert!(!out(&world, "token").exists());
}

#[test]
#[ignore = "wants strace: tests/run"]
fn what_a_crash_left_of_a_value_is_swept() {
    let world = world(SPEC);
    let run = |value: &str| world.command(["apply", "-y"]).env("APP_TOKEN", value).run();
    run(CANARY).exits(0);
    // Ended before each file gets its name: the journal, the key, the store, the deliveries, the state.
    for when in 1.. {
        let trace = world.path().join("trace");
        let script = format!(
            "exec strace -f -o {} -e trace=rename -e inject=rename:signal=SIGKILL:when={when} $LORECTL apply -y",
            trace.display()
        );
        let value = format!("{SECOND}-{when}");
        let ran = world.shell(&script).env("APP_TOKEN", &value).run();
        let killed = read(&trace).contains("killed by SIGKILL");
        assert!(killed || ran.status == 0, "{}{}", ran.stdout, ran.stderr);
        run(&value).exits(0);
        run(&value).exits(0).says("No changes");
        assert_eq!(read(&out(&world, "token")), value);
        assert!(read(&out(&world, "env")).ends_with(&format!("TOKEN={value}\n")));
        let mut found = Vec::new();
        holding(world.path(), &value, &mut found);
        assert_eq!(found.len(), 4, "{found:?}");
        if !killed {
            assert!(when > 5, "only {when} files are written");
            return;
        }
    }
}

#[test]
fn a_place_or_a_program_that_is_not_ones_own_is_refused() {
    let state = World::new();
    let place = state.state().parent().unwrap().join("token");
    state.spec(&format!(
        "[credentials.app]\nsource = {{ env = \"APP_TOKEN\" }}\ndeliver = [{{ file = \"{}\" }}]\n",
        place.display()
    ));
    let refused = state
        .command(["apply", "-y"])
        .env("APP_TOKEN", CANARY)
        .run();
    refused.exits(1).says("keeps its own files");
    assert!(!place.exists());

    let world = world(
        "[credentials.app]\nsource = { command = [\"./mint\"] }\ndeliver = [{ file = \"OUT/token\" }]\n",
    );
    world.program("mint", "#!/bin/sh\nprintf made >>ran; printf token-1\n");
    let mint = world.spec_dir().join("mint");
    fs::set_permissions(&mint, fs::Permissions::from_mode(0o777)).unwrap();
    let refused = world.run("apply --yes").exits(1);
    refused.says("can be written by anyone");
    assert!(!world.spec_dir().join("ran").exists());
    fs::set_permissions(&mint, fs::Permissions::from_mode(0o755)).unwrap();
    world.run("apply --yes").exits(0);
}

#[test]
fn a_rotation_that_failed_is_not_tried_again_unasked() {
    let world = world(
        "[credentials.app]\nsource = { command = [\"./mint\"] }\ndeliver = [{ file = \"OUT/token\" }]\n",
    );
    world.program("mint", "#!/bin/sh\nprintf token-1\n");
    let mint = world.spec_dir().join("mint");
    world.run("apply --yes").exits(0);
    fs::write(&mint, "#!/bin/sh\nexit 1\n").unwrap();
    world.run("credential rotate app --yes").exits(1);
    world.run("plan --detailed-exitcode").exits(0);
    world.run("apply --yes").exits(0);
    world.run("reconcile").exits(0);
    assert_eq!(read(&out(&world, "token")), "token-1");
}

#[test]
fn an_issuer_that_takes_any_token_calls_none_live() {
    let server = Listener::start([gitlab("2026-12-01", "\"api\"")]);
    let world = world(&gitlab_spec(&server.url("")));
    let validate = |status: &str| {
        let call = world.command(["credential", "validate", "gl", "--value-stdin"]);
        let ran = call.stdin(format!("{TOKEN}\n")).run();
        ran.exits(0).says(status)
    };
    validate("candidate value: not asked").says("the issuer takes any token");
    with_token(&world, "apply -y").run().exits(0);
    // The token, and what nobody has, each time.
    assert_eq!(server.seen().len(), 4);
    with_token(&world, "plan")
        .env("LORECTL_NOW", "2026-02-05T00:00:00Z")
        .run()
        .exits(0)
        .says("credential.gl: the issuer takes any token");
    assert_eq!(server.seen().len(), 4);
    let list = |status: &str| {
        let ran = with_token(&world, "credential list --json").run().exits(0);
        ran.says(&format!("\"status\":\"{status}\""));
    };
    list("not_implemented");
    let sound = Listener::issuer([gitlab("2026-12-01", "\"api\"")]);
    let lore = world.spec_dir().join("lore.toml");
    let text = read(&lore).replace(&server.url(""), &sound.url(""));
    fs::write(&lore, text).unwrap();
    validate("candidate value: ");
    with_token(&world, "apply -y").run().exits(0);
    list("live");
}
