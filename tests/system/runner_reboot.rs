//! Across a reboot: a backoff's instant, a pause and a killed run are what they were.

use std::fs;

use serde_json::{Value, json};

use crate::{
    Test,
    host::{Host, poll},
    runner::job,
    told::Told,
};

/// In one boot, and in the next.
pub const BOOTS: &[Test] = &[("runner_leaves", leaves), ("runner_finds", finds)];

/// What is noted of the first boot.
const NOTE: &str = "before";

fn leaves(host: &Host) {
    let named = |name: &str| job(host).named(name);
    // A hardened unit has a /proc of its own, in which the sandbox's boot id is this machine's.
    let cut = named("cut").with("sandbox", "\"off\"");
    host.spec(&[named("sync"), named("held"), cut]);
    let told = Told::apply(host, &["sync", "held", "cut"], "2026-02-09T10:00:00Z");
    told.mode("77").at("2026-02-09T11:00:00Z").wake("held");
    told.mode("75");
    let mut at = told.now();
    for _ in 0..3 {
        told.at(&at.to_string()).wake("sync");
        let status = told.status("sync");
        at = status["backoff"]["next_retry_iso"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
    }
    let sync = told.status("sync");
    assert_eq!(sync["consecutive_failures"], 3, "{sync}");
    told.mode("hang");
    let unit = host.unit("cut", "service");
    host.systemctl(&["start", "--no-block", &unit]);
    poll("the stage", || told.count("cut") == 1);
    let note = json!({ "now": told.now(), "sync": sync, "held": told.status("held") });
    host.write(&host.dir.join(NOTE), note.to_string());
}

fn finds(host: &Host) {
    let text = fs::read_to_string(host.dir.join(NOTE)).unwrap();
    let before: Value = serde_json::from_str(&text).unwrap();
    let told = Told::at_boot(host, before["now"].as_str().unwrap());
    told.stop_timers(&["sync", "held", "cut"]);
    let is_as_before = |name: &str| {
        let status = told.status(name);
        for key in [
            "scheduler_state",
            "backoff",
            "paused_reason",
            "consecutive_failures",
            "recent_runs",
        ] {
            assert_eq!(status[key], before[name][key], "{key} of {status}");
        }
    };
    is_as_before("sync");
    is_as_before("held");
    let at: lorectl::id::Timestamp = before["sync"]["backoff"]["next_retry_iso"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let ran = told.count("sync");
    told.mode("0")
        .at(&at.plus_seconds(-1).to_string())
        .wake("sync");
    assert_eq!(told.count("sync"), ran, "it still waits");
    let again = &told.status("sync")["backoff"]["next_retry_iso"];
    assert_eq!(*again, before["sync"]["backoff"]["next_retry_iso"]);
    told.at(&at.to_string()).wake("sync");
    assert_eq!(told.count("sync"), ran + 1);
    assert_eq!(told.status("sync")["scheduler_state"], "idle");
    told.wake("held");
    assert_eq!(told.count("held"), 1, "a pause outlives a boot");

    assert_eq!(told.status("cut")["scheduler_state"], "running_stale");
    told.wake("cut");
    let cut = host.status("cut").unwrap();
    assert_eq!(
        cut["recent_runs"][1]["error_code"], "HOST_RESTARTED",
        "{cut}"
    );
    assert_eq!(cut["last_run"]["outcome"], "success");
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
}
