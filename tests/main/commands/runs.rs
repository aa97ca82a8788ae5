//! Runs of the worker's services, by the real program: what a stage or a hostile hand may do to them.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::symlink,
    path::PathBuf,
    process::Child,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    bad_spec::all,
    world::{HEAD, World},
};

/// A service whose stages are shell scripts.
pub fn world(keys: &str, script: &str) -> World {
    let world = World::with(&format!(
        "\n[services.sync]\nschedule = {{ every = \"1h\" }}\nscheduler = \"worker\"\n\
         run = [\"./job\"]\n{keys}"
    ));
    world.program("job", &format!("#!/bin/sh\n{script}\n"));
    world.run("apply --yes").exits(0);
    world
}

pub fn data(world: &World) -> PathBuf {
    world.state().join("services/sync/data")
}

pub fn status(world: &World) -> Value {
    serde_json::from_slice(&fs::read(data(world).join("status.json")).unwrap()).unwrap()
}

/// Polls until something holds; fails after a minute.
#[track_caller]
fn poll(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_schedule_or_a_profile_that_means_nothing_is_refused() {
    let spec = |schedule: &str, rest: &str| {
        format!(
            "{HEAD}\n[services.x]\nschedule = {{ {schedule} }}\n{rest}\n\
             [[services.x.stages]]\nname = \"a\"\nrun = [\"true\"]\n\
             [[services.x.stages]]\nname = \"b\"\nrun = [\"true\"]\ncriticality = \"optional\"\n"
        )
    };
    let cron = |cron: &str| spec(&format!("cron = \"{cron}\", timezone = \"UTC\""), "");
    let every = |rest: &str| spec("every = \"1h\"", rest);
    all(
        "bad-spec-schedule",
        &[
            ("empty", cron("")),
            ("impossible", cron("0 0 30 2 *")),
            ("out of range", cron("61 * * * *")),
            ("too many fields", cron("0 0 * * * *")),
            (
                "unknown zone",
                spec("cron = \"0 * * * *\", timezone = \"Mars/Olympus\"", ""),
            ),
            ("no zone", spec("cron = \"0 * * * *\"", "")),
            (
                "both",
                spec(
                    "cron = \"0 * * * *\", timezone = \"UTC\", every = \"1h\"",
                    "",
                ),
            ),
            (
                "unknown profile",
                every("profile = \"nope\"\nprofiles = { fast = [\"a\"] }"),
            ),
            ("unknown stage", every("profiles = { fast = [\"zzz\"] }")),
            ("no core stage", every("profiles = { fast = [\"b\"] }")),
            ("empty profile", every("profiles = { fast = [] }")),
        ],
    );
}

#[test]
fn a_result_file_that_is_none_says_nothing() {
    for (what, script, said) in [
        (
            "huge",
            "head -c 3000000 /dev/zero | tr '\\0' ' ' >\"$LORECTL_RESULT\"",
            "left out",
        ),
        (
            "malformed",
            "echo '{\"error_code\":' >\"$LORECTL_RESULT\"",
            "left out",
        ),
        ("no object", "echo '[1]' >\"$LORECTL_RESULT\"", "left out"),
        (
            "a link",
            "ln -s ../../../../../spec/secret.json \"$LORECTL_RESULT\"",
            "left out",
        ),
        ("a pipe", "mkfifo \"$LORECTL_RESULT\"", "left out"),
        (
            "a directory",
            "mkdir \"$LORECTL_RESULT\"; touch \"$LORECTL_RESULT/x\"",
            "left out",
        ),
        (
            "wide numbers",
            "echo '{\"items_updated\": 1e400}' >\"$LORECTL_RESULT\"",
            "left out",
        ),
        (
            "deep",
            "head -c 60000 /dev/zero | tr '\\0' '[' >\"$LORECTL_RESULT\"",
            "left out",
        ),
        ("nothing", "true", "the run ends: failed"),
    ] {
        let world = world("timeout = \"1s\"\n", &format!("{script}\nexit 78"));
        let secret = "{\"error_code\": \"PLANTED\", \"message\": \"hunter2\"}";
        world.file("secret.json", secret);
        let ran = world.run("service trigger sync --json").exits(1);
        assert!(
            ran.stdout.contains("\"reason\":\"EXIT_78\""),
            "{what}: {}",
            ran.stdout
        );
        let log = world.ok("service logs sync");
        assert!(log.contains(said), "{what}: {log}");
        let all = format!("{}{log}{}", ran.stdout, status(&world));
        assert!(
            !all.contains("hunter2") && !all.contains("PLANTED"),
            "{what}: {all}"
        );
        assert_eq!(
            fs::read_to_string(world.spec_dir().join("secret.json")).unwrap(),
            secret
        );
    }
}

/// Much more than there is memory for: what is allowed is the address space of the whole process.
#[test]
fn a_flood_of_output_does_not_fill_the_memory() {
    let world = world(
        "",
        "head -c 150000000 /dev/zero; yes | head -c 10000000; echo the end",
    );
    let script = "ulimit -v 120000; exec \"$LORECTL\" service trigger sync --json";
    let ran = world.shell(script).run().exits(0);
    assert!(
        ran.stdout.contains("\"outcome\":\"success\""),
        "{}",
        ran.stdout
    );
    let logs = data(&world).join("logs");
    let size: u64 = fs::read_dir(logs)
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert!(size < 30_000_000, "{size}");
    let log = world.ok("service logs sync -n 3");
    assert!(log.contains("the end"), "{log}");
}

#[test]
fn what_forks_away_from_a_stage_is_ended_with_it() {
    let stubborn = "setsid sh -c 'trap \"\" TERM HUP INT; (trap \"\" TERM; echo $$ >>\"$0\"; while :; do sleep 0.1; done)' \"$LORECTL_DATA_DIR/pids\" &\n\
                    until [ -s \"$LORECTL_DATA_DIR/pids\" ]; do sleep 0.05; done";
    for (keys, end, status, says) in [
        ("", "exit 0", 0, "left behind were ended"),
        ("timeout = \"4s\"\n", "sleep 600", 1, "its time was over"),
    ] {
        let world = world(keys, &format!("{stubborn}\n{end}"));
        world.run("service trigger sync").exits(status);
        let log = world.ok("service logs sync");
        assert!(log.contains(says), "{log}");
        let pids = fs::read_to_string(data(&world).join("pids")).unwrap();
        for pid in pids.lines() {
            let alive = fs::read_to_string(format!("/proc/{pid}/cmdline"));
            assert!(!alive.unwrap_or_default().contains("trap"), "{pid} lives");
        }
    }
}

#[test]
fn a_status_that_is_none_stops_no_run_and_is_kept() {
    type Damage = fn(&[u8]) -> Vec<u8>;
    let cases: [(&str, Damage); 5] = [
        ("truncated", |bytes| bytes[..bytes.len() / 2].to_vec()),
        ("empty", |_| Vec::new()),
        ("flipped", |bytes| {
            let mut bytes = bytes.to_vec();
            let at = bytes.len() / 3;
            bytes[at] ^= 0x80;
            bytes
        }),
        ("not ours", |_| b"{\"schema_version\": \"one\"}".to_vec()),
        ("huge", |_| vec![b' '; 3 << 20]),
    ];
    for (what, damage) in cases {
        let world = world("", "echo done");
        world.run("service trigger sync").exits(0);
        let path = data(&world).join("status.json");
        let damaged = damage(&fs::read(&path).unwrap());
        fs::write(&path, &damaged).unwrap();
        let shown = world.run("service status sync").exits(0);
        assert!(
            shown.stdout.contains("cannot be read"),
            "{what}: {}",
            shown.stdout
        );
        let ran = world.run("service trigger sync").exits(0);
        assert!(
            ran.stderr.contains("set aside as status.json.corrupt."),
            "{what}: {}",
            ran.stderr
        );
        assert_eq!(status(&world)["last_run"]["outcome"], "success", "{what}");
        let aside = fs::read_dir(data(&world)).unwrap().find_map(|file| {
            let path = file.unwrap().path();
            path.to_str()?.contains(".corrupt.").then_some(path)
        });
        let aside = aside.unwrap();
        assert_eq!(fs::read(&aside).unwrap(), damaged, "{what}");
        // Who did not see the run is told later too, until they have looked.
        for command in ["service status sync", "service doctor sync"] {
            let told = world.run(command).exits(0).stdout;
            let told: String = told.split_whitespace().collect();
            let name = aside.file_name().unwrap().to_str().unwrap();
            assert!(told.contains(name), "{what}: {command}: {told}");
        }
        fs::remove_file(&aside).unwrap();
        let found = world.run("service doctor sync").exits(0).stdout;
        assert!(!found.contains("set aside"), "{what}: {found}");
    }
}

#[test]
fn a_newer_status_is_left_alone_and_a_linked_one_not_followed() {
    let world = world("", "echo done");
    world.run("service trigger sync").exits(0);
    let path = data(&world).join("status.json");
    let text = fs::read_to_string(&path).unwrap();
    let newer = text.replace("\"schema_version\": 1", "\"schema_version\": 99");
    assert_ne!(newer, text);
    fs::write(&path, &newer).unwrap();
    let ran = world.run("service trigger sync").exits(0);
    assert!(
        ran.stderr.contains("newer than this lorectl reads"),
        "{}",
        ran.stderr
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), newer);
    world
        .run("service repair sync")
        .exits(65)
        .says("STATE_NEWER");

    fs::remove_file(&path).unwrap();
    let outside = world.file("outside.json", &text);
    symlink(&outside, &path).unwrap();
    world.run("service trigger sync").exits(0);
    assert_eq!(fs::read_to_string(&outside).unwrap(), text);
    assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
}

#[test]
fn a_followed_log_is_followed_across_two_rotations_at_once() {
    let world = world("", "echo first");
    world.run("service trigger sync").exits(0);
    let mut follow = Ended(
        world
            .command(["service", "logs", "sync", "--follow"])
            .spawn(),
    );
    let stdout = follow.0.stdout.take().unwrap();
    let (say, said) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = say.send(line);
        }
    });
    let wait_for = |text: &str| {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = said
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("no {text} in {seen:?}"));
            if line.contains(text) {
                return seen;
            }
            seen.push(line);
        }
    };
    wait_for("the run ends");
    let logs = data(&world).join("logs");
    let file = |name: &str| logs.join(name);
    let line = |text: &str| format!("2026-02-03T04:05:06Z main out {text}\n");
    let mut old = fs::OpenOptions::new()
        .append(true)
        .open(file("service.log"))
        .unwrap();
    std::io::Write::write_all(&mut old, line("second").as_bytes()).unwrap();
    fs::rename(file("service.log"), file("service.log.2")).unwrap();
    fs::write(file("service.log.1"), line("third")).unwrap();
    fs::write(file("service.log"), line("fourth")).unwrap();
    let seen = wait_for("fourth");
    assert!(seen.iter().any(|line| line.contains("second")), "{seen:?}");
    assert!(seen.iter().any(|line| line.contains("third")), "{seen:?}");
}

/// Between two times of its schedule, which are a year apart.
#[test]
fn the_worker_makes_up_for_a_failure_when_its_wait_is_over() {
    let spec = |script: &str| {
        let world = World::with(
            "\n[services.sync]\nschedule = { cron = \"0 0 1 1 *\", timezone = \"UTC\" }\n\
             scheduler = \"worker\"\nrun = [\"./job\"]\nretry = { base = \"1s\", max = \"1s\" }\nsplay = \"0s\"\n",
        );
        world.program("job", &format!("#!/bin/sh\n{script}\n"));
        world
    };
    let world = spec(
        "[ -e ../good ] && exit 0\necho '{\"retry_after\": 30}' >\"$LORECTL_RESULT\"\nexit 75",
    );
    world
        .command(["apply", "--yes"])
        .in_real_time()
        .run()
        .exits(0);
    let trigger = world.command(["service", "trigger", "sync"]).in_real_time();
    trigger.run().exits(1);
    let _worker = Ended(world.command(["worker"]).in_real_time().spawn());
    let runs = || {
        status(&world)["recent_runs"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    poll("a second failure", || runs().len() >= 2);
    assert_eq!(runs()[0]["trigger"], "schedule");
    fs::write(world.path().join("good"), "").unwrap();
    poll("a success", || runs()[0]["outcome"] == "success");
}
