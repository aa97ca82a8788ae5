//! The life of a project: applied, run, applied again, changed, destroyed.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use lorectl::id::Timestamp;
use serde_json::Value;

use crate::{
    Test,
    host::{Answer, Host, Manager, list, poll},
};

/// On either manager.
pub const BOTH: &[Test] = &[
    ("what_is_applied_runs_and_is_not_applied_twice", applied),
    ("an_apply_makes_nothing_run", nothing_fires),
    ("a_removal_waits_for_a_run", removal_waits),
    (
        "a_run_ends_as_it_began_when_its_service_changes",
        update_waits,
    ),
    ("who_asks_during_a_run_waits_or_is_told", asked_during_a_run),
    ("of_many_who_ask_at_once_all_are_answered", asked_at_once),
    ("what_drifted_is_mended_by_its_own_timer", reconciled),
    ("what_is_destroyed_is_gone", destroyed),
    ("what_is_protected_stays", protected),
];

/// On the system's manager.
pub const SYSTEM: &[Test] = &[("the_example_for_systemd_does_what_it_says", example)];

/// `examples/systemd`, as its comments have it: copied, planned, applied, run, destroyed.
fn example(_: &Host) {
    let host = Host::of_project(Manager::System, "mirrors");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/systemd");
    for file in list(&from) {
        fs::copy(&file, host.dir.join(file.file_name().unwrap())).unwrap();
    }
    let spec = host.dir.display().to_string();
    let plan = host.lorectl(&["plan", "-f", &spec, "--detailed-exitcode"]);
    plan.exits(2);
    host.lorectl(&["apply", "-y", "-f", &spec]).exits(0);
    host.converged();
    host.lorectl(&["service", "trigger", "mirror"]).exits(0);
    let stages = host.status("mirror").unwrap()["last_run"]["stages"].clone();
    let done = |stage: &Value| stage["success"] == true;
    assert_eq!(
        stages
            .as_array()
            .map(|all| all.iter().filter(|s| done(s)).count()),
        Some(2),
        "{stages}"
    );
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    assert_eq!(host.residue(), Vec::<String>::new());
}

/// The timer of `[reconcile]` puts back what was stopped, edited and added by hand, and says it.
fn reconciled(host: &Host) {
    host.spec(&[host.job("a"), host.job("b")]);
    let spec = host.dir.join("lore.toml");
    let mut text = fs::read_to_string(&spec).unwrap();
    text.push_str("\n[reconcile]\nevery = \"15m\"\nallow = [\"drift\"]\n");
    host.write(&spec, text);
    host.apply().exits(0);
    host.converged();
    let timer = host.unit("a", "timer");
    host.systemctl(&["stop", &timer]);
    host.systemctl(&["disable", &timer]);
    let unit = host.path("b", "service");
    let applied = fs::read(&unit).unwrap();
    fs::write(&unit, [&applied[..], b"Nice=19\n"].concat()).unwrap();
    assert_eq!(host.drift().0, 2);
    // Where it is due is the runner's to say; here a person does not wait for it.
    host.lorectl(&["service", "trigger", "reconcile"]).exits(0);
    host.converged();
    assert_eq!(host.property(&timer, "ActiveState"), "active");
    assert_eq!(fs::read(&unit).unwrap(), applied);
    let logs = host.lorectl(&["service", "logs", "reconcile"]).exits(0);
    assert!(logs.stdout.contains("service.a"), "{}", logs.stdout);
    assert!(logs.stdout.contains("service.b"), "{}", logs.stdout);
    // With nothing to mend it is quiet, and writes no state.
    let serial = host.state()["serial"].clone();
    host.lorectl(&["service", "trigger", "reconcile"]).exits(0);
    assert_eq!(host.state()["serial"], serial);
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    assert_eq!(host.residue(), Vec::<String>::new());
}

/// Each file below some paths, as it would differ had anyone written it.
fn stamps(paths: &[&Path]) -> BTreeMap<String, (u64, i64, i64)> {
    let mut found = BTreeMap::new();
    let mut open: Vec<_> = paths.iter().map(|path| path.to_path_buf()).collect();
    while let Some(path) = open.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        // What runs write changes by itself.
        if path.ends_with("data") {
            continue;
        }
        if meta.is_dir() {
            open.extend(list(&path));
        }
        let stamp = (meta.ino(), meta.mtime(), meta.mtime_nsec());
        found.insert(path.display().to_string(), stamp);
    }
    found
}

fn runs(host: &Host, name: &str) -> Vec<Value> {
    let status = host.status(name).unwrap_or_default();
    status["recent_runs"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

fn applied(host: &Host) {
    let marks = host.dir.join("marks");
    host.make_dir(&marks);
    let script = host.script("tick", "echo \"run by $(id -un)\"; date >> marks/ticks");
    let tick = host
        .job("tick")
        .with("schedule", r#"{ every = "2s" }"#)
        .with("run", &format!("[\"{}\"]", script.display()))
        .with("write_paths", &format!("[\"{}\"]", marks.display()));
    host.spec(&[tick, host.job("quiet")]);
    host.lorectl(&["plan", "--detailed-exitcode"]).exits(2);
    assert!(!host.root().exists(), "a plan leaves nothing behind");
    host.apply();

    for name in ["tick", "quiet"] {
        let timer = host.unit(name, "timer");
        assert_eq!(host.property(&timer, "ActiveState"), "active");
        assert_eq!(host.property(&timer, "UnitFileState"), "enabled");
        for suffix in ["service", "timer"] {
            let text = fs::read_to_string(host.path(name, suffix)).unwrap();
            let project = format!("\nX-Lorectl-Project={}\n", host.project);
            assert!(text.contains(&project), "{text}");
            let id = text.split("X-Lorectl-Id=").nth(1).unwrap();
            let id = id.lines().next().unwrap();
            assert_eq!(id.len(), 12);
            assert!(id.bytes().all(|c| c.is_ascii_hexdigit()), "{id}");
        }
    }
    let fragment = host.property(&host.unit("tick", "service"), "FragmentPath");
    assert_eq!(Path::new(&fragment), host.path("tick", "service"));

    poll("three runs by the timer", || runs(host, "tick").len() >= 3);
    for run in runs(host, "tick") {
        assert_eq!(run["trigger"], "schedule", "{run}");
        assert_eq!(run["outcome"], "success", "{run}");
    }
    let ticks = fs::read_to_string(marks.join("ticks")).unwrap();
    assert!(ticks.lines().count() >= 3, "{ticks}");
    let logs = host.lorectl(&["service", "logs", "tick"]).exits(0);
    let line = format!("run by {}", host.owner.name);
    assert!(logs.stdout.contains(&line), "{}", logs.stdout);
    assert!(runs(host, "quiet").is_empty());
    let status = host.lorectl(&["status", "--json"]).exits(0).stdout;
    assert!(status.contains("service.tick"), "{status}");

    let root = host.root();
    let paths = [host.units.as_path(), root.as_path()];
    let ours = |stamps: &BTreeMap<String, _>| -> Vec<String> {
        let stem = format!("lorectl-{}.", host.project);
        let root = host.root().display().to_string();
        let ours = |path: &&String| path.contains(&stem) || path.starts_with(&root);
        stamps.keys().filter(ours).cloned().collect()
    };
    let before = stamps(&paths);
    assert!(ours(&before).len() > 10, "{before:?}");
    let serial = host.state()["serial"].clone();
    host.lorectl(&["plan", "--detailed-exitcode"]).exits(0);
    let again = host.lorectl(&["apply", "-y", "--json"]).exits(0);
    let data = again.data();
    assert_eq!(data["applied"], Value::Array(Vec::new()), "{data}");
    assert_eq!(data["serial"], serial);
    assert_eq!(host.state()["serial"], serial);
    let after = stamps(&paths);
    assert_eq!(ours(&after), ours(&before));
    for path in ours(&before) {
        // Taking the lock and leaving no trace in the project's directory but this.
        let lock = host.root().join("lock");
        if Path::new(&path) != lock {
            assert_eq!(after[&path], before[&path], "{path}");
        }
    }
    host.converged();
}

/// Now, in milliseconds.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// An instant of a status, in milliseconds.
pub fn instant(value: &Value) -> i64 {
    let text = value
        .as_str()
        .unwrap_or_else(|| panic!("no instant: {value}"));
    text.parse::<Timestamp>().unwrap().millis()
}

/// Applies come and go while an interval passes; the one run is that of the interval.
fn nothing_fires(host: &Host) {
    let job = |timeout: &str, every: &str| {
        host.job("seldom")
            .with("schedule", &format!("{{ every = \"{every}\" }}"))
            .with("timeout", &format!("\"{timeout}\""))
    };
    host.spec(&[job("5m", "10s")]);
    let made = now();
    host.apply();
    assert_eq!(runs(host, "seldom"), [Value::Null; 0]);
    // Changes of the unit, of the timer, and repairs of a timer that was stopped.
    for (timeout, every) in [("6m", "10s"), ("6m", "11s"), ("7m", "10s")] {
        host.spec(&[job(timeout, every)]);
        host.apply();
        host.systemctl(&["stop", &host.unit("seldom", "timer")]);
        host.apply();
    }
    poll("the first run", || !runs(host, "seldom").is_empty());
    let first = instant(&runs(host, "seldom")[0]["started_at"]);
    // Two seconds early is due: a wake-up is not exact.
    assert!(
        first - made >= 8000,
        "{} ms after it was made",
        first - made
    );

    // An overdue service that is made anew counts from then.
    host.spec(&[job("5m", "10s"), host.job("other")]);
    host.apply();
    host.spec(&[host.job("other")]);
    host.apply();
    let last = runs(host, "seldom").len();
    poll("the interval to pass", || now() - first > 12_000);
    host.spec(&[job("5m", "10s"), host.job("other")]);
    let made = now();
    host.apply();
    poll("a run of the new one", || runs(host, "seldom").len() > last);
    let next = instant(&runs(host, "seldom")[0]["started_at"]);
    assert!(
        next - made >= 8000,
        "{} ms after it was made anew",
        next - made
    );
}

/// A service whose run waits until a file is there; it says when it began and when it ended.
pub fn waiting(host: &Host, name: &str, says: &str) -> crate::host::Job {
    let marks = host.dir.join("marks");
    host.make_dir(&marks);
    let script = host.script(
        name,
        "touch marks/begun; until [ -e marks/go ]; do sleep 0.05; done; echo \"$1\" > marks/ended",
    );
    host.job(name)
        .with("run", &format!("[\"{}\", {says:?}]", script.display()))
        .with("write_paths", &format!("[\"{}\"]", marks.display()))
        .with("timeout", r#""60s""#)
}

fn removal_waits(host: &Host) {
    let marks = host.dir.join("marks");
    host.spec(&[waiting(host, "slow", "as it began"), host.job("other")]);
    host.apply();
    let trigger = host.start(&["service", "trigger", "slow"]);
    poll("the run", || marks.join("begun").exists());

    host.spec(&[host.job("other").with("timeout", r#""7m""#)]);
    let mut apply = host.start(&["apply", "-y"]);
    // The other change of the wave does not wait for the run.
    poll("the other change", || {
        let text = fs::read_to_string(host.path("other", "service")).unwrap_or_default();
        text.contains("TimeoutStartSec=480s")
    });
    poll("the timer to be stopped", || {
        host.property(&host.unit("slow", "timer"), "ActiveState") == "inactive"
    });
    assert!(apply.try_wait().unwrap().is_none(), "it waits");
    assert!(host.path("slow", "service").exists());
    assert!(!marks.join("ended").exists());
    host.write(&marks.join("go"), "");
    Answer::of(&apply.wait_with_output().unwrap()).exits(0);
    let said = fs::read_to_string(marks.join("ended")).unwrap();
    assert_eq!(said, "as it began\n");
    trigger.wait_with_output().unwrap();
    assert!(!host.path("slow", "service").exists());
    host.converged();
}

fn update_waits(host: &Host) {
    let marks = host.dir.join("marks");
    host.spec(&[waiting(host, "slow", "as it began")]);
    host.apply();
    let trigger = host.start(&["service", "trigger", "slow"]);
    poll("the run", || marks.join("begun").exists());
    host.spec(&[waiting(host, "slow", "as it is now").with("timeout", r#""90s""#)]);
    host.apply();
    assert!(
        !marks.join("ended").exists(),
        "the apply ended before the run"
    );
    host.write(&marks.join("go"), "");
    let answer = Answer::of(&trigger.wait_with_output().unwrap()).exits(0);
    assert!(answer.stdout.contains("success"), "{answer:?}");
    let ended = || fs::read_to_string(marks.join("ended")).unwrap();
    assert_eq!(ended(), "as it began\n");
    host.lorectl(&["service", "trigger", "slow"]).exits(0);
    assert_eq!(ended(), "as it is now\n");
    host.converged();
}

/// By `overlap`: the second is told that a run is under way, or has a run of its own after it.
fn asked_during_a_run(host: &Host) {
    let marks = host.dir.join("marks");
    let slow = waiting(host, "slow", "skip");
    let queued = waiting(host, "queued", "queue").with("overlap", r#""queue""#);
    host.spec(&[slow, queued]);
    host.apply();
    let first = host.start(&["service", "trigger", "slow"]);
    poll("the run", || marks.join("begun").exists());
    let second = host.lorectl(&["service", "trigger", "slow"]).exits(75);
    assert!(second.stdout.contains("a run of it"), "{second:?}");
    host.write(&marks.join("go"), "");
    Answer::of(&first.wait_with_output().unwrap()).exits(0);
    assert_eq!(runs(host, "slow").len(), 1);

    for mark in ["go", "begun"] {
        fs::remove_file(marks.join(mark)).unwrap();
    }
    let first = host.start(&["service", "trigger", "queued"]);
    poll("the run", || marks.join("begun").exists());
    let request = host.service("queued").join("data/trigger.json");
    poll("the first request to be taken", || !request.exists());
    let second = host.start(&["service", "trigger", "queued"]);
    let third = host.start(&["service", "trigger", "queued"]);
    poll("the second request", || request.exists());
    host.write(&marks.join("go"), "");
    for trigger in [first, second, third] {
        Answer::of(&trigger.wait_with_output().unwrap()).exits(0);
    }
    let count = runs(host, "queued").len();
    assert!((2..=3).contains(&count), "{count} runs");
    assert!(!request.exists());
}

/// Whoever loses the race for the unit's start hears of the run that answers all, or that one is
/// under way; never nothing.
fn asked_at_once(host: &Host) {
    host.spec(&[
        host.job("skips"),
        host.job("queues").with("overlap", r#""queue""#),
    ]);
    host.apply();
    for (name, allowed) in [("skips", &[0, 75][..]), ("queues", &[0])] {
        let triggers: Vec<_> = (0..6)
            .map(|_| host.start(&["service", "trigger", name]))
            .collect();
        let answers = triggers.into_iter().map(|trigger| {
            let answer = Answer::of(&trigger.wait_with_output().unwrap());
            assert!(allowed.contains(&answer.status), "{name}: {answer:?}");
            answer.status
        });
        assert!(answers.filter(|status| *status == 0).count() > 0);
        let request = host.service(name).join("data/trigger.json");
        assert!(!request.exists(), "{name}");
    }
}

fn destroyed(host: &Host) {
    host.spec(&[
        host.job("a"),
        host.job("b").with("depends_on", r#"["service.a"]"#),
    ]);
    host.apply();
    host.lorectl(&["service", "trigger", "a"]).exits(0);
    // A stamp that its timer left, from a time when it was persistent.
    let stamps = match host.manager {
        Manager::System => Path::new("/var/lib/systemd/timers").to_owned(),
        Manager::User | Manager::Other => host.owner.home.join(".local/share/systemd/timers"),
    };
    host.make_dir(&stamps);
    host.write(
        &stamps.join(format!("stamp-{}", host.unit("a", "timer"))),
        "",
    );
    assert_eq!(host.residue().len(), 7, "{:?}", host.residue());

    // Nobody said yes, and there is no terminal to ask on.
    let refused = host.lorectl(&["destroy", "--json"]).exits(3);
    assert_eq!(refused.error().0, "NOT_APPROVED");
    assert_eq!(host.residue().len(), 7);
    host.lorectl(&["destroy", "-y"]).exits(0);
    assert_eq!(host.residue(), [""; 0]);
    host.forgotten();
    // What ran keeps its status and logs; of what never ran there is nothing to keep.
    assert_eq!(list(&host.service("a")), [host.service("a").join("data")]);
    assert!(host.status("a").is_some(), "status stays");
    assert!(!host.service("b").exists());
    assert!(host.service("a").join("data/logs").exists(), "logs stay");
    assert_eq!(host.state()["resources"], serde_json::json!({}));

    host.apply();
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    assert_eq!(host.residue(), [""; 0]);
    host.forgotten();
    assert!(list(&host.root().join("services")).is_empty());
}

fn protected(host: &Host) {
    let spec = |protect: Option<&str>| {
        let kept = host.job("kept");
        let kept = match protect {
            Some(protect) => kept.with("protect", protect),
            None => kept,
        };
        host.spec(&[kept, host.job("other")]);
    };
    spec(Some("true"));
    host.apply();
    let before = host.snapshot(&["kept", "other"]);
    let refused = |answer: Answer| {
        let (code, message, _) = answer.exits(3).error();
        assert_eq!(code, "PROTECTED", "{message}");
        assert!(message.contains("service.kept"), "{message}");
        assert_eq!(host.snapshot(&["kept", "other"]), before);
    };
    refused(host.lorectl(&["destroy", "-y", "--json"]));
    refused(host.lorectl(&["destroy", "-y", "--purge", "--json"]));
    // Nor does it go when its block goes, or its word alone.
    host.spec(&[host.job("other")]);
    refused(host.lorectl(&["apply", "-y", "--json"]));
    spec(Some("false"));
    host.apply();
    host.lorectl(&["destroy", "-y"]).exits(0);
    assert_eq!(host.residue(), [""; 0]);
}
