//! What becomes of a job between applies: it waits longer after each failure, stops itself, is tried
//! once again, and runs once for each occurrence of its schedule, whatever its zone does.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use lorectl::id::Timestamp;
use serde_json::{Value, json};

use crate::{
    Test,
    host::{Answer, Host, Job, Manager, poll},
    told::{JOB, Told},
};

/// On either manager.
pub const BOTH: &[Test] = &[
    ("a_job_that_fails_for_now_waits_longer_each_time", backs_off),
    (
        "a_nightly_job_is_tried_again_before_the_next_night",
        retried,
    ),
    ("a_job_that_fails_for_good_is_paused_until_resumed", paused),
    ("a_breaker_trips_probes_opens_again_and_closes", breaker),
    ("an_optional_stage_degrades_and_clears_failures", degraded),
    ("a_killed_runner_is_seen_by_the_next_run", killed),
    ("a_person_may_trigger_again_and_again", again),
];

/// On the system's manager.
pub const SYSTEM: &[Test] = &[("each_occurrence_runs_once_where_clocks_change", transitions)];

/// On an ordinary user's manager.
pub const USER: &[Test] = &[("the_example_gitlore_does_what_it_says", gitlore)];

const HOUR: i64 = 3600;

/// A job that ends as the file `mode` says, once an hour.
pub fn job(host: &Host) -> Job {
    let script = host.script("job", JOB);
    host.job("sync")
        .with("run", &format!("[\"{}\"]", script.display()))
}

fn instant(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// The instant that `service status` names.
#[track_caller]
fn retry_at(told: &Told) -> Timestamp {
    let status = told.status("sync");
    assert_eq!(status["scheduler_state"], "backoff", "{status}");
    let at = instant(&status["backoff"]["next_retry_iso"]);
    let remaining = at.seconds_since(told.now());
    assert_eq!(status["backoff"]["remaining_seconds"], remaining);
    assert_eq!(instant(&status["next_runs"][0]), at);
    let human = told.lorectl(&["service", "status", "sync"]).exits(0);
    assert!(human.stdout.contains("backoff"), "{human:?}");
    at
}

fn backs_off(host: &Host) {
    host.spec(&[job(host)]);
    let told = Told::apply(host, &["sync"], "2026-02-09T10:00:00Z");
    told.mode("75").at("2026-02-09T11:00:00Z");
    for failures in 1..=3_i64 {
        told.wake("sync");
        let status = told.status("sync");
        assert_eq!(status["consecutive_failures"], failures, "{status}");
        let at = retry_at(&told);
        let wait = at.seconds_since(told.now());
        let most = (HOUR << (failures - 1)).min(4 * HOUR);
        assert!((HOUR..=most).contains(&wait), "{wait} after {failures}");
        let ran = told.count("sync");
        for before in [wait - 1, 1] {
            let early = at.plus_seconds(-before);
            told.at(&early.to_string()).wake("sync");
            assert_eq!(retry_at(&told), at, "it is drawn once");
            assert_eq!(told.count("sync"), ran);
        }
        told.at(&at.to_string());
    }
    told.mode("0").wake("sync");
    let status = told.status("sync");
    assert_eq!(status["scheduler_state"], "idle", "{status}");
    assert_eq!(status["last_run"]["outcome"], "success");
    assert_eq!(status["consecutive_failures"], 0);
    assert_eq!(status["backoff"], Value::Null);
}

/// By the timer itself, and the machine's clock.
fn retried(host: &Host) {
    let script = host.script("job", JOB);
    let yearly = host
        .job("sync")
        .with("run", &format!("[\"{}\"]", script.display()))
        .with("schedule", r#"{ cron = "0 0 1 1 *", timezone = "UTC" }"#)
        .with("retry", r#"{ base = "2s", max = "2s" }"#);
    host.spec(&[yearly]);
    host.write(&host.dir.join("mode"), "75");
    host.apply();
    let answer = host.lorectl(&["service", "trigger", "sync", "--json"]);
    assert_eq!(answer.exits(1).json()["data"]["reason"], "NETWORK");
    let runs = || host.status("sync").unwrap()["recent_runs"].clone();
    poll("a second failure", || {
        runs().as_array().is_some_and(|runs| runs.len() >= 2)
    });
    assert_eq!(runs()[0]["trigger"], "schedule");
    host.write(&host.dir.join("mode"), "0");
    poll("a success", || runs()[0]["outcome"] == "success");
    // Woken again, it finds nothing to make up for.
    let count = runs().as_array().unwrap().len();
    let woken = || {
        host.property(
            &host.unit("sync", "service"),
            "ExecMainExitTimestampMonotonic",
        )
    };
    let (first, mut last, mut times) = (woken(), woken(), 0);
    poll("two more wake-ups", || {
        let now = woken();
        times += usize::from(now != last && now != first);
        last = now;
        times >= 2
    });
    assert_eq!(runs().as_array().unwrap().len(), count);
}

fn paused(host: &Host) {
    host.spec(&[job(host)]);
    let told = Told::apply(host, &["sync"], "2026-02-09T10:00:00Z");
    told.mode("77").at("2026-02-09T11:00:00Z").wake("sync");
    let status = told.status("sync");
    assert_eq!(status["scheduler_state"], "paused");
    let reason = status["paused_reason"].as_str().unwrap();
    assert!(reason.starts_with("EXIT_77: "), "{reason}");
    assert!(reason.contains("lorectl service resume sync"), "{reason}");
    assert_eq!(status["backoff"], Value::Null);
    assert_eq!(told.count("sync"), 1, "what is for good is not tried again");

    told.mode("0").later(HOUR).wake("sync");
    assert_eq!(told.count("sync"), 1);
    let kept = host.status("sync").unwrap();
    assert_eq!(kept["last_run"]["outcome"], "failed");
    for words in [&["--ignore-backoff"][..], &[]] {
        let words = [&["service", "trigger", "sync", "--json"], words].concat();
        let data = told.lorectl(&words).exits(3).json()["data"].clone();
        assert_eq!(
            (&data["action"], &data["reason"]),
            (&json!("paused"), &json!("EXIT_77"))
        );
    }

    let words = ["service", "resume", "sync", "--json"];
    let resumed = told.lorectl(&words).exits(0).data();
    assert_eq!(
        (&resumed["was_paused"], &resumed["previous_code"]),
        (&json!(true), &json!("EXIT_77"))
    );
    assert_eq!(told.count("sync"), 1, "resuming starts nothing");
    assert_eq!(told.status("sync")["scheduler_state"], "idle");
    assert_eq!(told.lorectl(&words).exits(0).data()["was_paused"], false);
    told.later(HOUR).wake("sync");
    assert_eq!(told.count("sync"), 2);
    assert_eq!(told.status("sync")["last_run"]["outcome"], "success");
}

fn breaker(host: &Host) {
    let often = job(host)
        .with("retry", r#"{ base = "1m", max = "1m" }"#)
        .with("breaker", r#"{ failures = 10, cooldown = "2h" }"#);
    host.spec(&[often]);
    let told = Told::apply(host, &["sync"], "2026-02-09T10:00:00Z");
    told.mode("75").at("2026-02-09T11:00:00Z");
    for failures in 1..=10 {
        let status = told.status("sync");
        assert_ne!(status["scheduler_state"], "paused", "after {failures}");
        told.wake("sync");
        assert_eq!(told.status("sync")["consecutive_failures"], failures);
        told.later(60);
    }
    let tripped = told.now().plus_seconds(-60);
    let is_open = |since: Timestamp, failures: u32| {
        let status = told.status("sync");
        assert_eq!(status["scheduler_state"], "paused", "{status}");
        let reason = status["paused_reason"].as_str().unwrap();
        let wanted =
            format!("CIRCUIT_BREAKER: {failures} consecutive transient failures (last: NETWORK");
        assert!(reason.starts_with(&wanted), "{reason}");
        let until = instant(&status["backoff"]["next_retry_iso"]);
        assert_eq!(until, since.plus_seconds(2 * HOUR));
    };
    is_open(tripped, 10);

    // Scheduled and by hand, nothing runs meanwhile.
    let ran = told.count("sync");
    assert_eq!(ran, 10);
    told.at("2026-02-09T12:30:00Z").wake("sync");
    told.lorectl(&["service", "trigger", "sync", "--ignore-backoff"])
        .exits(75);
    assert_eq!(told.count("sync"), ran);

    let half_open = |at: Timestamp| {
        told.at(&at.to_string());
        let status = told.status("sync");
        assert_eq!(status["scheduler_state"], "half_open", "{status}");
        assert_eq!(status["backoff"]["circuit_breaker_cooldown_expired"], true);
        assert_eq!(status["paused_reason"], Value::Null);
    };
    half_open(tripped.plus_seconds(2 * HOUR));
    told.wake("sync");
    assert_eq!(told.count("sync"), ran + 1, "one probe");
    is_open(told.now(), 11);
    told.later(60).wake("sync");
    assert_eq!(told.count("sync"), ran + 1);

    half_open(told.now().plus_seconds(2 * HOUR));
    told.mode("0").wake("sync");
    let status = told.status("sync");
    assert_eq!(
        (&status["scheduler_state"], &status["consecutive_failures"]),
        (&json!("idle"), &json!(0))
    );
    assert_eq!(told.count("sync"), ran + 2);
    let log = told.lorectl(&["service", "logs", "sync"]).exits(0).stdout;
    assert_eq!(log.matches("a probe begins").count(), 2, "{log}");
}

fn degraded(host: &Host) {
    let script = host.script("job", JOB);
    let stages = format!(
        "[{{ name = \"issues\", run = [\"{}\"] }}, {{ name = \"docs\", run = [\"/bin/false\"], criticality = \"optional\" }}]",
        script.display()
    );
    host.spec(&[host.job("sync").without("run").with("stages", &stages)]);
    let told = Told::apply(host, &["sync"], "2026-02-09T10:00:00Z");
    told.mode("75").at("2026-02-09T11:00:00Z").wake("sync");
    assert_eq!(told.status("sync")["consecutive_failures"], 1);
    let at = retry_at(&told);

    told.mode("0").at(&at.to_string()).wake("sync");
    let status = told.status("sync");
    assert_eq!(status["scheduler_state"], "degraded", "{status}");
    assert_eq!(
        (&status["consecutive_failures"], &status["backoff"]),
        (&json!(0), &Value::Null)
    );
    let last = &status["last_run"];
    assert_eq!(last["outcome"], "degraded");
    let told_of = |stage: usize, key: &str| last["stage_results"][stage][key].clone();
    assert_eq!(
        (told_of(0, "success"), told_of(1, "success")),
        (json!(true), json!(false))
    );
    assert_eq!(told_of(1, "optional"), true);
    assert_eq!(told_of(1, "error_code"), "EXIT_1");
    // The next run is on time.
    let ran = told.count("sync");
    told.later(HOUR).wake("sync");
    assert_eq!(told.count("sync"), ran + 1);
    let trigger = ["service", "trigger", "sync", "--json"];
    assert_eq!(
        told.lorectl(&trigger).exits(0).data()["outcome"],
        "degraded"
    );
}

fn killed(host: &Host) {
    host.spec(&[job(host)]);
    let told = Told::apply(host, &["sync"], "2026-02-09T10:00:00Z");
    told.mode("hang").at("2026-02-09T11:00:00Z");
    let unit = host.unit("sync", "service");
    host.systemctl(&["start", "--no-block", &unit]);
    poll("the stage", || told.count("sync") == 1);
    let status = told.status("sync");
    assert_eq!(status["scheduler_state"], "running", "{status}");
    let runner = host.property(&unit, "MainPID");
    let killed = Command::new("kill").args(["-9", &runner]).status().unwrap();
    assert!(killed.success());
    poll("the unit's end", || {
        host.property(&unit, "ActiveState") == "failed"
    });
    let status = told.status("sync");
    assert_eq!(status["scheduler_state"], "running_stale", "{status}");
    let note = status["notes"].to_string();
    assert!(
        note.contains(&runner) && note.contains("11:00:00"),
        "{note}"
    );

    told.mode("0").later(HOUR).wake("sync");
    let status = told.status("sync");
    assert_eq!(status["last_run"]["outcome"], "success", "{status}");
    let died = &status["recent_runs"][1];
    assert_eq!(died["outcome"], "failed");
    let said = died["error"].as_str().unwrap();
    assert!(
        said.contains(&runner) && said.contains("without recording"),
        "{said}"
    );
    let log = told.lorectl(&["service", "logs", "sync"]).exits(0).stdout;
    assert!(log.contains("ended without recording it"), "{log}");
    let kept = host.status("sync").unwrap();
    assert_eq!(kept["recent_runs"][1]["error_code"], "RUNNER_DIED");
}

/// systemd by itself refuses the sixth start of a unit within ten seconds.
fn again(host: &Host) {
    let told = job(host)
        .named("told")
        .with("run", "[\"/bin/false\"]")
        .with("exit", "\"outcome\"")
        .with("timeout", "\"1s\"");
    host.spec(&[job(host), told]);
    host.write(&host.dir.join("mode"), "0");
    host.apply();
    for time in 1..=8 {
        let answer = host.lorectl(&["service", "trigger", "sync"]);
        assert_eq!(answer.status, 0, "time {time}: {answer:?}");
    }
    // One whose unit fails as its run does.
    let answer = host.lorectl(&["service", "trigger", "told", "--json"]);
    let data = answer.exits(1).json()["data"].clone();
    assert_eq!(data["reason"], "EXIT_1", "{data}");
    let unit = host.unit("told", "service");
    assert_eq!(host.property(&unit, "ActiveState"), "failed");
}

/// `examples/gitlore` as its README has it, with a stand-in for `lore` on the PATH.
fn gitlore(_: &Host) {
    let host = Host::of_project(Manager::User, "gitlore");
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["lore.toml", "stage"] {
        let to = host.dir.join(name);
        fs::copy(checkout.join("examples/gitlore").join(name), to).unwrap();
    }
    let lore = Path::new("/usr/local/bin/lore");
    fs::copy(checkout.join("tests/fixtures/lore/lore"), lore).unwrap();
    let token = host.account.home.join(".config/gitlore/token");
    host.lorectl(&["apply", "-y"]).exits(0);
    host.converged();
    let trigger = ["service", "trigger", "sync", "--json"];
    let data = host.lorectl(&trigger).exits(1).json()["data"].clone();
    assert_eq!(data["reason"], "TOKEN_NOT_SET", "{data}");
    host.lorectl(&["service", "resume", "sync"]).exits(0);

    host.make_dir(token.parent().unwrap());
    host.write(&token, "glpat-Zk3Planted7xQ\n");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let data = host.lorectl(&trigger).exits(0).data();
    assert_eq!(data["outcome"], "success", "{data}");
    assert_eq!(data["stage_results"].as_array().map(Vec::len), Some(3));
    assert!(host.service("sync").join("data/index").exists());
    let places = [&host.root(), &host.units];
    let mut grep = Command::new("grep");
    grep.args(["-r", "-l", "glpat-Zk3Planted7xQ"]).args(places);
    assert_eq!(
        String::from_utf8(grep.output().unwrap().stdout).unwrap(),
        ""
    );
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    assert_eq!(host.residue(), [""; 0]);
    fs::remove_file(lore).unwrap();
    fs::remove_file(token).unwrap();
}

/// The instants, within a time, at which a timer wakes its unit: as systemd reads its `OnCalendar=`.
fn candidates(host: &Host, name: &str, from: Timestamp, to: Timestamp) -> BTreeSet<Timestamp> {
    let shown = host.property(&host.unit(name, "timer"), "TimersCalendar");
    let mut found = BTreeSet::new();
    for line in shown.lines() {
        let spec = line.split("OnCalendar=").nth(1).unwrap();
        let spec = spec.split(" ;").next().unwrap();
        let base = format!("--base-time=@{}", from.millis() / 1000 - 1);
        let output = host
            .command("systemd-analyze")
            .env("TZ", "UTC")
            .args(["calendar", &base, "--iterations=100", spec])
            .output()
            .unwrap();
        let answer = Answer::of(&output).exits(0);
        let times = answer.stdout.lines().filter_map(|line| {
            let line = line.trim();
            let elapse = line.starts_with("Next elapse:") || line.starts_with("Iter");
            let time = elapse.then_some(line)?.strip_suffix(" UTC")?;
            let (rest, clock) = time.rsplit_once(' ')?;
            let (_, date) = rest.rsplit_once(' ')?;
            Some(format!("{date}T{clock}Z").parse::<Timestamp>().unwrap())
        });
        found.extend(times.filter(|at| (from..to).contains(at)));
    }
    found
}

fn transitions(host: &Host) {
    let script = host.script("job", JOB);
    let with = |name: &str, cron: &str| {
        host.job(name)
            .with("run", &format!("[\"{}\"]", script.display()))
            .with(
                "schedule",
                &format!("{{ cron = \"{cron}\", timezone = \"Europe/Paris\" }}"),
            )
    };
    host.spec(&[with("nightly", "30 2 * * *"), with("half", "30 * * * *")]);
    host.write(&host.dir.join("mode"), "0");
    for (from, to, hours, nightly) in [
        // The day of 23 hours: half past two is in the gap, and runs at its end.
        (
            "2026-03-28T23:00:00Z",
            "2026-03-29T22:00:00Z",
            23,
            "2026-03-29T01:00:00Z",
        ),
        // The day of 25: half past two comes twice, and runs the first time.
        (
            "2026-10-24T22:00:00Z",
            "2026-10-25T23:00:00Z",
            25,
            "2026-10-25T00:30:00Z",
        ),
    ] {
        let told = Told::apply(host, &["nightly", "half"], from);
        let (from, to): (Timestamp, Timestamp) = (from.parse().unwrap(), to.parse().unwrap());
        for name in ["nightly", "half"] {
            let woken = candidates(host, name, from, to);
            assert!(woken.len() >= 2, "{woken:?}");
            // Half an hour after its last run it is woken for a retry, which is none.
            let wakes: BTreeSet<Timestamp> = woken
                .iter()
                .flat_map(|at| [*at, at.plus_seconds(1800)])
                .collect();
            for at in wakes {
                told.at(&at.to_string()).wake(name);
            }
        }
        assert_eq!(told.count("half"), hours);
        assert_eq!(told.count("nightly"), 1);
        let kept = host.status("nightly").unwrap();
        assert_eq!(kept["last_run"]["started_at"], nightly);
        let page = told.status("nightly");
        assert_eq!(page["last_run"]["timestamp_iso"], nightly);
        host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
        assert!(!fs::exists(host.service("half")).unwrap());
    }
}
