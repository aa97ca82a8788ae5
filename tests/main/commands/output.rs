//! What programs read: exit statuses, envelopes, events; and what no pipe gets to see.

use serde_json::Value;

use super::{
    listener::{Answer, Listener},
    snapshot,
    world::{Ran, World, service},
};

fn two() -> String {
    [service("a", ""), service("b", "")].concat()
}

/// The one JSON document on standard output.
#[track_caller]
fn envelope(ran: &Ran) -> Value {
    assert_eq!(ran.stderr, "", "a program reads standard output alone");
    assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
    let value: Value = serde_json::from_str(&ran.stdout).unwrap();
    let ok = value["ok"].as_bool().unwrap();
    assert!(value["meta"]["elapsed_ms"].is_u64(), "{value}");
    if ok {
        assert!(value.get("data").is_some() && value.get("error").is_none());
    } else {
        let error = &value["error"];
        assert!(error["code"].is_string() && error["message"].is_string());
        assert!(error["actions"].is_array() && error.get("suggestion").is_some());
    }
    value
}

#[test]
fn what_succeeds_is_one_envelope() {
    let world = World::with(&two());
    for (words, pointer, expected) in [
        ("validate", "/data/project", "acme"),
        ("plan", "/data/format_version", "1.0"),
        ("apply --yes", "/data/applied/0/address", "service.a"),
        ("apply", "/data/applied", "0 items"),
        ("plan", "/data/resource_changes/0/change/actions/0", "no-op"),
        ("drift", "/data/project", "acme"),
        ("status", "/data/resources/0/address", "service.a"),
        ("service list", "/data/services/0/name", "a"),
        ("service status a", "/data/name", "a"),
        ("service trigger a", "/data/outcome", "success"),
        ("destroy --yes", "/data/applied/0/actions/0", "delete"),
        ("init --force", "/data/project", "spec"),
    ] {
        let ran = world.run(&format!("{words} --json")).exits(0);
        let value = envelope(&ran);
        let found = match value.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(items)) => format!("{} items", items.len()),
            other => panic!("{words}: {pointer} is {other:?} in {value:#}"),
        };
        assert_eq!(found, expected, "{words}: {value:#}");
    }
}

#[test]
fn holds_that_left_nothing_to_do_are_the_error_that_the_status_is() {
    let server = Listener::issuer([Answer::With(
        429,
        "Retry-After: 600\r\n",
        "Retry later".to_owned(),
    )]);
    let world = World::with(&format!(
        "[credentials.gl]\nprovider = \"gitlab\"\nbase_url = \"{}\"\nsource = {{ env = \"GL\" }}\n",
        server.url("")
    ));
    let lore = |words: &str, now: &str| {
        let call = world.command(words.split(' ')).env("LORECTL_NOW", now);
        call.env("GL", "glpat-aaaaaaaaaaaaaaaaaaaa").run()
    };
    let held = |ran: Ran, status: i32, code: &str| {
        let value = envelope(&ran.exits(status));
        assert_eq!(value["ok"], false, "{value:#}");
        assert_eq!(value["error"]["code"], code, "{value:#}");
        assert_eq!(value["data"]["applied"], serde_json::json!([]));
        value
    };
    let value = held(
        lore("apply -y --json", "2026-02-03T04:05:06Z"),
        75,
        "HELD_FOR_NOW",
    );
    let met = &value["data"]["held"][0];
    assert_eq!(met["address"], "credential.gl");
    assert_eq!(met["until"], "2026-02-03T04:15:06Z");
    let live =
        "{\"active\":true,\"revoked\":false,\"scopes\":[\"api\"],\"expires_at\":\"2026-12-01\"}";
    server.answer([Answer::With(200, "", live.to_owned())]);
    let done = lore("apply -y --json", "2026-02-03T05:05:06Z").exits(0);
    assert_eq!(envelope(&done)["ok"], true);
    // A hold beside real changes is no error.
    let revoked = "{\"error\":\"invalid_token\",\"error_description\":\"Token was revoked. You have to re-authorize from the user.\"}";
    server.answer([Answer::With(401, "", revoked.to_owned())]);
    let at = "2026-02-03T06:05:06Z";
    for words in ["apply -y --json", "apply --json", "reconcile --json"] {
        let value = held(lore(words, at), 77, "TOKEN_REVOKED");
        assert_eq!(value["data"]["holds"][0]["code"], "TOKEN_REVOKED");
        let lifting = "a new token in the variable GL; the next apply takes it in";
        assert_eq!(value["error"]["suggestion"], lifting);
        // An apply as things are would fail again.
        assert_eq!(value["error"]["actions"], serde_json::json!([]));
    }
    let told = envelope(&lore("credential validate gl --json", at).exits(77));
    assert_eq!(told["ok"], false, "{told:#}");
    assert_eq!(told["error"]["code"], "TOKEN_REVOKED");
    assert_eq!(told["data"]["status"], "revoked");
    let spec = std::fs::read_to_string(world.spec_dir().join("lore.toml")).unwrap();
    world.file("lore.toml", spec + &service("a", ""));
    let value = envelope(&lore("apply -y --json", at).exits(0));
    assert_eq!(value["ok"], true);
    assert_eq!(value["data"]["holds"][0]["address"], "credential.gl");
}

#[test]
fn what_fails_is_one_envelope_too() {
    let world = World::with(&two());
    for (words, status, code) in [
        ("plan -f nope.toml", 65, "SPEC_NOT_FOUND"),
        ("apply", 3, "NOT_APPROVED"),
        ("apply nope.json", 65, "PLAN_INVALID"),
        ("plan --target service.x", 64, "NO_SUCH_RESOURCE"),
        ("status service.x", 64, "NO_SUCH_RESOURCE"),
        ("service trigger x", 64, "NO_SUCH_RESOURCE"),
        ("explain NO_SUCH_CODE", 64, "USAGE"),
        ("plan --no-such-flag", 64, "USAGE"),
        ("no-such-command", 64, "USAGE"),
        ("--project a/b status", 64, "USAGE"),
    ] {
        let ran = world.run(&format!("--json {words}")).exits(status);
        let value = envelope(&ran);
        assert_eq!(value["ok"], false);
        assert_eq!(value["error"]["code"], code, "{words}: {value:#}");
    }
    world.spec("[services.a]\nshedule = 1\n");
    let value = envelope(&world.run("plan --json").exits(65));
    let details = value["error"]["details"].as_array().unwrap();
    assert!(
        details[0].as_str().unwrap().contains("shedule"),
        "{value:#}"
    );
}

#[test]
fn a_run_that_fails_is_told_with_its_report() {
    // A permanent failure is not tried twice, and pauses the service.
    let fails = service("a", "classify = { permanent = [1] }\n").replace("\"true\"", "\"false\"");
    let world = World::with(&fails);
    world.ok("apply --yes");
    for (status, code, outcome) in [
        (1, "RUN_FAILED", "failed"),
        (3, "SERVICE_PAUSED", "skipped"),
    ] {
        let ran = world.run("service trigger a --json").exits(status);
        let value = envelope(&ran);
        assert_eq!(value["ok"], false, "{value:#}");
        assert_eq!(value["error"]["code"], code, "{value:#}");
        assert_eq!(value["data"]["outcome"], outcome, "{value:#}");
    }
}

#[test]
fn events_are_lines_and_the_envelope_the_last() {
    let world = World::with(&two());
    let ran = world.run("apply --yes --events").exits(0).quiet();
    let lines: Vec<Value> = (ran.stdout.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (last, events) = lines.split_last().unwrap();
    assert_eq!(last["ok"], true);
    assert!(events.len() >= 4, "{events:#?}");
    let kinds: Vec<&str> = events
        .iter()
        .map(|e| e["event"].as_str().unwrap())
        .collect();
    snapshot("events", &kinds.join("\n"));
    assert!(
        events
            .iter()
            .all(|event| event["at"] == "2026-02-03T04:05:06Z"
                || event["at"] == "2026-02-03T04:05:06.000Z"),
        "{events:#?}"
    );
    // Where there is nothing to do, there is the envelope.
    let ran = world.run("apply --yes --events").exits(0).quiet();
    let last = ran.stdout.lines().last().unwrap();
    assert_eq!(serde_json::from_str::<Value>(last).unwrap()["ok"], true);
}

#[test]
fn detailed_exit_statuses_tell_changes_from_none() {
    let world = World::with(&two());
    world.run("plan --detailed-exitcode").exits(2);
    world.run("plan").exits(0);
    world.run("plan --detailed-exitcode --json").exits(2);
    world.ok("apply --yes");
    world.run("plan --detailed-exitcode").exits(0);
    world.run("drift --detailed-exitcode").exits(0);
    std::fs::write(world.state().join("services/a/run.json"), "{}").unwrap();
    world.run("drift --detailed-exitcode").exits(2);
    world.run("drift").exits(0);
    world.run("plan --detailed-exitcode").exits(2);
    // A bad spec is no change.
    world.spec("[services.a]\n");
    world.run("plan --detailed-exitcode").exits(65);
}

#[test]
fn colour_is_for_terminals_and_for_who_asks() {
    let world = World::with(&two());
    let colored = |ran: Ran| {
        let all = [ran.stdout, ran.stderr].concat();
        all.contains('\x1b')
    };
    for words in [
        "plan",
        "status",
        "apply",
        "validate -f nope",
        "--help",
        "plan --nope",
        "explain",
        "schema",
    ] {
        assert!(!colored(world.run(words)), "{words}");
    }
    assert!(colored(world.run("plan --color always")));
    assert!(colored(world.run("validate -f nope --color always")));
    assert!(!colored(world.run("plan --color never")));
    let no_color = world.command(["plan"]).env("NO_COLOR", "1").run();
    assert!(!colored(no_color));
    let asked = world
        .command(["plan", "--color", "always"])
        .env("NO_COLOR", "1");
    assert!(
        colored(asked.run()),
        "what is asked for here and now is stronger"
    );
    // Programs get no colour at all.
    assert!(!colored(world.run("plan --color always --json")));
}

#[test]
fn what_is_wrong_with_the_command_line_is_64() {
    let world = World::with(&two());
    let mut told = String::new();
    for words in [
        "",
        "plam",
        "plan --no-such-flag",
        "plan --target",
        "plan --target service.A",
        "status nothing",
        "--project ../x status",
        "--color sometimes plan",
        "service trigger",
        "service trigger ../x",
        "service logs a -n x",
        "apply --on-failure maybe",
    ] {
        let before = world.tree();
        let ran = world.run(words).exits(64);
        assert_eq!(ran.stdout, "", "{words}");
        world.tree().is_untouched_since(&before);
        told.extend(["--- lorectl ", words, "\n", &ran.stderr, "\n"]);
    }
    snapshot("usage", &told);
    for (name, value) in [("LORECTL_NOW", "today"), ("LORECTL_SEED", "x")] {
        let call = world.command(["apply", "--yes"]).env(name, value);
        call.refuses(64, "USAGE").says(name);
    }
}

#[test]
fn asking_for_help_is_no_mistake() {
    let world = World::new();
    for words in [
        "--help",
        "-h",
        "--version",
        "plan --help",
        "service --help",
        "service trigger -h",
    ] {
        world.ok(words);
    }
    assert_eq!(
        world.ok("--version"),
        format!("lorectl {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn each_code_is_explained() {
    let world = World::new();
    let list = world.ok("explain");
    let codes: Vec<&str> = list
        .split_whitespace()
        .filter(|word| word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        .collect();
    assert!(
        codes.contains(&"SPEC_INVALID") && codes.contains(&"LOCK_HELD"),
        "{list}"
    );
    for code in codes {
        let text = world.ok(&format!("explain {code}"));
        assert!(text.contains(code), "{text}");
    }
    let ran = world.refuses("explain SPEC_INVLID", 64, "USAGE");
    ran.says("SPEC_INVALID");
}
