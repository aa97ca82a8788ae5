//! What the verbs of a service answer, to people and to scripts.

use std::fs;

use serde_json::{Value, json};

use super::{
    runs::{data, status, world},
    world::World,
};

#[test]
fn a_repair_keeps_what_it_replaces_and_says_when_there_is_nothing_to_do() {
    let world = world("", "echo done");
    let ran = world.run("service repair sync").exits(0);
    assert!(
        ran.stdout.contains("nothing had to be mended"),
        "{}",
        ran.stdout
    );
    fs::write(data(&world).join("status.json"), "{").unwrap();
    let ran = world.run("service repair sync --json").exits(0);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let action = &report["data"]["actions"][0];
    assert_eq!(action["action"], "reinitialized");
    let backup = action["backup"].as_str().unwrap();
    assert!(backup.starts_with("status.json.corrupt."), "{backup}");
    assert_eq!(fs::read_to_string(data(&world).join(backup)).unwrap(), "{");
}

#[test]
fn following_is_for_people() {
    let world = world("", "echo done");
    world.run("service logs sync --follow --open").exits(64);
    let ran = world.run("service logs sync --follow --json").exits(64);
    assert!(ran.stdout.contains("\"USAGE\""), "{}", ran.stdout);
    let json = |words: &str| -> Value {
        serde_json::from_str::<Value>(&world.run(words).exits(0).stdout).unwrap()["data"].clone()
    };
    assert_eq!(json("service logs sync --json")["exists"], false);
    world.run("service trigger sync").exits(0);
    assert_eq!(json("service logs sync --json").get("last_lines"), None);
    let lines = json("service logs sync --json --tail 2")["last_lines"].clone();
    assert_eq!(lines.as_array().map(Vec::len), Some(2), "{lines}");
}

/// Looking at what is not there is answered; doing something to it is refused.
#[test]
fn what_is_not_installed_is_told() {
    let world = world("", "echo done");
    let ran = world.run("service status other").exits(0).quiet();
    assert!(ran.stdout.contains("not installed"), "{}", ran.stdout);
    let ran = world.run("service status other --json").exits(0);
    assert!(
        ran.stdout.contains("\"scheduler_state\":\"not_installed\""),
        "{}",
        ran.stdout
    );
    let ran = world.run("service resume other").exits(0).quiet();
    assert!(ran.stdout.contains("not installed"), "{}", ran.stdout);
    for words in [
        "service trigger other",
        "service pause other",
        "service logs other",
    ] {
        let ran = world.run(words);
        assert_ne!(ran.status, 0, "{words}");
        ran.complains("NO_SUCH_RESOURCE");
    }
}

/// A service of two stages, of which the first ends as it is told.
fn staged() -> World {
    let world = World::with(
        "\n[services.sync]\nschedule = { every = \"1h\" }\nscheduler = \"worker\"\n\
         profile = \"fast\"\nprofiles = { fast = [\"issues\", \"docs\"] }\n\
         breaker = { failures = 2, cooldown = \"30m\" }\n\
         [[services.sync.stages]]\nname = \"issues\"\nrun = [\"./job\"]\n\
         [[services.sync.stages]]\nname = \"docs\"\nrun = [\"false\"]\ncriticality = \"optional\"\n",
    );
    let said = r#"{"items_updated": 5, "error_code": "NETWORK", "retry_after": 60}"#;
    let job = format!("#!/bin/sh\necho '{said}' >\"$LORECTL_RESULT\"\nexit $(cat ../status)\n");
    world.program("job", &job);
    world.run("apply --yes").exits(0);
    world
}

fn ends_with(world: &World, status: &str) {
    fs::write(world.path().join("status"), status).unwrap();
}

/// The command's data has these fields, each with that value or, for `*`, with any.
#[track_caller]
fn has(world: &World, words: &str, exit: i32, fields: &[(&str, Value)]) {
    let ran = world.run(words).exits(exit);
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(json["ok"], exit == 0, "{words}");
    for (pointer, expected) in fields {
        let found = json["data"].pointer(pointer);
        let found = found.unwrap_or_else(|| panic!("no {pointer} of {words} in {json}"));
        if *expected != json!("*") {
            assert_eq!(found, expected, "{pointer} of {words} in {json}");
        }
    }
}

#[test]
fn scripts_read_what_a_service_is_and_how_it_ran() {
    let world = staged();
    ends_with(&world, "0");
    let looks = [
        ("/services/0/service_id", json!("*")),
        ("/services/0/platform", json!("worker")),
        ("/services/0/interval_seconds", json!(3600)),
        ("/services/0/profile", json!("fast")),
        ("/services/0/installed_at_iso", json!("*")),
        ("/services/0/platform_state", json!("unloaded")),
        ("/services/0/drift", json!(false)),
    ];
    has(&world, "service list --json", 0, &looks);
    let never = [
        ("/installed", json!(true)),
        ("/service_id", json!("*")),
        ("/platform", json!("worker")),
        ("/interval_seconds", json!(3600)),
        ("/profile", json!("fast")),
        ("/service_state", json!("unloaded")),
        ("/scheduler_state", json!("idle")),
        ("/last_run", Value::Null),
        ("/recent_runs", json!([])),
        ("/backoff", Value::Null),
        ("/paused_reason", Value::Null),
        ("/drift/platform_drift", json!(false)),
        ("/drift/spec_drift", json!(false)),
        ("/drift/command_drift", json!(false)),
    ];
    has(&world, "service status sync --json", 0, &never);
    let degraded = [
        ("/action", json!("run_completed")),
        ("/outcome", json!("degraded")),
        ("/profile", json!("fast")),
        ("/duration_seconds", json!("*")),
        ("/stage_results/0/stage", json!("issues")),
        ("/stage_results/0/success", json!(true)),
        ("/stage_results/0/items_updated", json!(5)),
        ("/stage_results/1/success", json!(false)),
        ("/stage_results/1/error", json!("exit status 1")),
        ("/consecutive_failures", json!(0)),
    ];
    has(&world, "service trigger sync --json", 0, &degraded);
    let after = [
        ("/scheduler_state", json!("degraded")),
        ("/last_run/timestamp_iso", json!("2026-02-03T04:05:06Z")),
        ("/last_run/duration_seconds", json!("*")),
        ("/last_run/outcome", json!("degraded")),
        ("/last_run/stage_results/1/error", json!("exit status 1")),
        ("/last_run/consecutive_failures", json!(0)),
        ("/recent_runs/0/outcome", json!("degraded")),
        ("/recent_runs/0/duration_seconds", json!("*")),
    ];
    has(&world, "service status sync --json", 0, &after);
}

#[test]
fn scripts_read_why_a_service_does_not_run() {
    let world = staged();
    ends_with(&world, "75");
    has(
        &world,
        "service trigger sync --json",
        1,
        &[("/consecutive_failures", json!(1))],
    );
    let waits = [
        ("/action", json!("skipped")),
        ("/reason", json!("backoff")),
        ("/consecutive_failures", json!(1)),
        ("/next_retry_iso", json!("2026-02-03T05:05:06Z")),
        ("/remaining_seconds", json!(3600)),
    ];
    has(&world, "service trigger sync --json", 75, &waits);
    let waits = [
        ("/scheduler_state", json!("backoff")),
        ("/backoff/consecutive_failures", json!(1)),
        ("/backoff/next_retry_iso", json!("2026-02-03T05:05:06Z")),
        ("/backoff/remaining_seconds", json!(3600)),
        ("/backoff/backoff_reason", json!("drawn")),
        ("/skipped/backoff", json!(1)),
        ("/last_skip/reason", json!("backoff")),
    ];
    has(&world, "service status sync --json", 0, &waits);
    let tripped = [
        ("/action", json!("paused")),
        ("/reason", json!("CIRCUIT_BREAKER")),
        ("/message", json!("*")),
        ("/consecutive_failures", json!(2)),
        ("/suggestion", json!("lorectl service resume sync")),
    ];
    has(
        &world,
        "service trigger sync --json --ignore-backoff",
        1,
        &tripped,
    );
    // A time, not a person, lifts it.
    let open = [
        ("/action", json!("paused")),
        ("/reason", json!("CIRCUIT_BREAKER")),
        ("/next_retry_iso", json!("2026-02-03T04:35:06Z")),
        ("/remaining_seconds", json!(1800)),
    ];
    has(&world, "service trigger sync --json", 75, &open);
    let later = world.command(["service", "status", "sync"]);
    let half_open = later
        .env("LORECTL_NOW", "2026-02-03T04:35:06Z")
        .run()
        .exits(0);
    half_open.says("half-open").says("the next run is a probe");
    let resumed = [
        ("/was_paused", json!(true)),
        ("/previous_code", json!("CIRCUIT_BREAKER")),
        ("/consecutive_failures_cleared", json!(2)),
    ];
    has(&world, "service resume sync --json", 0, &resumed);
    let paused = [
        ("/service_id", json!("*")),
        ("/paused", json!(true)),
        ("/reason", json!("maintenance")),
        ("/already_paused", json!(false)),
    ];
    has(
        &world,
        "service pause sync --reason maintenance --json",
        0,
        &paused,
    );
    let again = [
        ("/already_paused", json!(true)),
        ("/reason", json!("paused by hand")),
    ];
    has(&world, "service pause sync --json", 0, &again);
    let doctor = [
        ("/checks/0/name", json!("*")),
        ("/checks/0/status", json!("pass")),
        ("/overall", json!("warn")),
    ];
    has(&world, "service doctor sync --json", 0, &doctor);
    has(
        &world,
        "service repair sync --json",
        0,
        &[("/repaired", json!(false)), ("/actions", json!([]))],
    );
}

#[test]
fn a_clock_that_jumps_by_ten_years_loses_nothing_and_holds_nothing_up() {
    let world = world(
        "",
        "echo '{\"retry_after\": 60}' >\"$LORECTL_RESULT\"; exit $(cat ../status)",
    );
    let at = |year: &str, words: &str| {
        let now = format!("{year}-02-03T05:30:00Z");
        let words: Vec<&str> = words.split_whitespace().collect();
        world.command(words).env("LORECTL_NOW", now).run()
    };
    fs::write(world.path().join("status"), "75").unwrap();
    at("2026", "service trigger sync").exits(1);
    at("2026", "service trigger sync").exits(75);
    for year in ["2016", "2036"] {
        let shown = at(year, "service status sync").exits(0);
        assert!(
            shown.stdout.contains("exit status 75"),
            "{year}: {}",
            shown.stdout
        );
    }
    fs::write(world.path().join("status"), "77").unwrap();
    at("2016", "service trigger sync").exits(1);
    for year in ["2016", "2026", "2036"] {
        let shown = at(year, "service status sync --json").exits(0);
        assert!(
            shown
                .stdout
                .contains("\"paused_reason\":\"EXIT_77: exit status 77"),
            "{}",
            shown.stdout
        );
        at(year, "service trigger sync").exits(3);
    }
    fs::write(world.path().join("status"), "0").unwrap();
    at("2036", "service resume sync").exits(0);
    at("2036", "service trigger sync").exits(0);
    // Back again: what was noted ten years ahead holds nothing up.
    at("2026", "service run sync").exits(0);
    assert_eq!(
        status(&world)["last_run"]["started_at"],
        "2026-02-03T05:30:00Z"
    );
}

#[test]
fn a_command_under_the_lock_and_a_run_keep_out_of_each_other_s_way() {
    let world = world("lock = \"db\"\n", "echo done");
    let under = |inner: &str| {
        let script = format!("\"$LORECTL\" lock sync -- \"$LORECTL\" {inner}");
        world.shell(&script).run()
    };
    let ran = under("service trigger sync").exits(75);
    ran.says("has not ended");
    under("lock sync --wait 0s -- true")
        .exits(75)
        .complains("LOCK_HELD");
    world
        .command(["lock", "sync", "--", "sh", "-c", "exit 7"])
        .run()
        .exits(7);
}

#[test]
fn the_next_runs_are_in_the_zone_of_the_schedule() {
    let world = World::with(
        "\n[services.nightly]\nscheduler = \"worker\"\nrun = [\"true\"]\n\
         schedule = { cron = \"30 2 * * *\", timezone = \"Europe/Paris\" }\n",
    );
    world.run("apply --yes").exits(0);
    let words = ["service", "status", "nightly"];
    let call = world
        .command(words)
        .env("LORECTL_NOW", "2026-03-28T12:00:00Z");
    let ran = call.run().exits(0);
    // In the gap, which ends at three; and a day later in another offset.
    ran.says("03:00 (its local time is skipped that day)")
        .says("CEST");
    let words = ["service", "status", "nightly", "--json"];
    let call = world
        .command(words)
        .env("LORECTL_NOW", "2026-10-24T12:00:00Z");
    let json: Value = serde_json::from_str(&call.run().exits(0).stdout).unwrap();
    let fires = &json["data"]["next_fires"];
    assert_eq!(fires[0]["at"], "2026-10-25T00:30:00Z");
    assert_eq!(fires[0]["local"], "2026-10-25 02:30 CEST");
    assert_eq!(
        fires[0]["transition"],
        "its local time comes twice, this is the first"
    );
    assert_eq!(fires[1]["local"], "2026-10-26 02:30 CET");
}
