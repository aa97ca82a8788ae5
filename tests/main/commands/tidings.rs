//! Others are told of what becomes of runs, whatever ends the program in between.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    listener::{Answer, Listener},
    world::World,
};

const LATER: &str = "2026-02-03T05:05:06Z";

/// A service that fails for now and is not tried again at once, told to `url`.
fn spec(url: &str, rest: &str) -> String {
    format!(
        "
[notify.ops]
webhook = {url}

[services.a]
schedule = {{ every = \"1h\" }}
scheduler = \"worker\"
run = [\"/bin/sh\", \"-c\", \"echo '{{\\\"retry_after\\\": 600}}' >$LORECTL_RESULT; exit 75\"]
notify = [\"ops\"]
{rest}"
    )
}

fn quoted(url: &str) -> String {
    format!("\"{url}\"")
}

fn undelivered(world: &World) -> Value {
    let status: Value = serde_json::from_str(&world.ok("service status a --json")).unwrap();
    status["data"]["undelivered"].clone()
}

#[test]
fn a_runner_that_is_killed_while_it_tells_loses_nothing() {
    let listener = Listener::start([Answer::Hang]);
    let world = World::with(&spec(&quoted(&listener.url("/hook")), ""));
    world.ok("apply --yes");
    let pid = world.path().join("pid");
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            let script = "echo $$ >../pid; exec $LORECTL service run --project acme a";
            world.shell(script).env("LORECTL_NOW", LATER).run()
        });
        listener.wait_for(1);
        let pid: i32 = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        let pid = nix::unistd::Pid::from_raw(pid);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        assert_eq!(run.join().unwrap().status, 137);
    });
    let waiting = undelivered(&world);
    assert_eq!(waiting[0]["to"], "ops", "{waiting}");
    assert_eq!(waiting[0]["waiting"], 1);
    // The next wake-up runs nothing, and tells.
    listener.answer([Answer::status(200)]);
    let words = ["service", "run", "--project", "acme", "a"];
    let ran = world.command(words).env("LORECTL_NOW", LATER).run();
    ran.exits(0).quiet();
    let seen = listener.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].body, seen[1].body);
    assert_eq!(undelivered(&world), Value::Array(Vec::new()));
}

#[test]
fn what_was_not_told_is_shown_and_warned_of() {
    let listener = Listener::start([Answer::status(404)]);
    let world = World::with(&spec(&quoted(&listener.url("/hook")), ""));
    world.ok("apply --yes");
    let ran = world.run("service trigger a").exits(1);
    ran.says("notify.ops was not told: it answered 404; it is given up");
    let shown = undelivered(&world);
    assert_eq!(shown[0]["given_up"], 1, "{shown}");
    assert_eq!(shown[0]["last_error"], "it answered 404");
    let page = world.run("service status a").exits(0);
    page.says("not told ops 1 given up; it answered 404");
    let doctor = world.run("service doctor a").exits(0);
    doctor.says("notify.ops failed at 2026-02-03T04:05:06Z: it answered 404");
}

#[test]
fn one_that_hangs_keeps_nobody_else_from_being_told() {
    let listener = Listener::start([Answer::status(503), Answer::status(200)]);
    let world = World::new();
    let go = world.path().join("go");
    let wait = format!("until [ -e {} ]; do sleep 0.05; done", go.display());
    let rest = format!("[notify.slow]\ncommand = [\"/bin/sh\", \"-c\", \"{wait}\"]\n");
    let spec = spec(&quoted(&listener.url("/hook")), &rest);
    world.spec(&spec.replace("[\"ops\"]", "[\"slow\", \"ops\"]"));
    world.ok("apply --yes");
    thread::scope(|scope| {
        let run = scope.spawn(|| world.run("service trigger a"));
        // Tried again and taken, while the other still hangs.
        listener.wait_for(2);
        fs::write(&go, "").unwrap();
        run.join().unwrap().exits(1);
    });
    assert_eq!(undelivered(&world), Value::Array(Vec::new()));
}

#[test]
fn a_url_of_a_file_is_written_nowhere() {
    let listener = Listener::start([Answer::status(503)]);
    let world = World::new();
    let file = world.path().join("hook");
    fs::write(&file, listener.url("/T0/s3cret-word")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let source = format!("{{ file = \"{}\" }}", file.display());
    world.spec(&spec(&source, &format!("ping = {source}\n")));
    let mut said = vec![world.ok("plan"), world.ok("plan --json")];
    let mut note = |ran: super::world::Ran| said.extend([ran.stdout, ran.stderr]);
    note(world.run("apply --yes"));
    note(world.run("service trigger a"));
    for words in [
        "service status a --json",
        "service doctor a",
        "service logs a",
        "status --json",
        "drift",
    ] {
        note(world.run(words));
    }
    assert!(
        listener
            .seen()
            .iter()
            .any(|seen| seen.what.contains("s3cret-word"))
    );
    for text in said {
        assert!(!text.contains("s3cret"), "{text}");
    }
    fs::remove_file(&file).unwrap();
    let mut open = vec![world.path().to_owned()];
    let mut files = 0;
    while let Some(dir) = open.pop() {
        for path in fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            if path.is_dir() {
                open.push(path);
                continue;
            }
            files += 1;
            let bytes = fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains("s3cret"), "{}", path.display());
        }
    }
    assert!(files > 6, "only {files}");
}

#[test]
fn a_plan_shows_who_is_told_as_any_other_change() {
    let world = World::with(&spec("\"https://hooks.example/x\"", ""));
    world.ok("apply --yes");
    let text = spec(
        "{ file = \"/etc/acme/hook\" }\nformat = \"slack\"\nevents = [\"failed\"]",
        "ping = \"https://hc.example/1\"\n",
    );
    world.spec(&text);
    let plan = world.run("plan").exits(0);
    let plan =
        plan.says("notify.ops https://hooks.example/x → in /etc/acme/hook (slack) on failed");
    plan.says("ping unset → https://hc.example/1");
    world.ok("apply --yes");
    let run = fs::read_to_string(world.state().join("services/a/run.json")).unwrap();
    let run: Value = serde_json::from_str(&run).unwrap();
    assert_eq!(run["notify"][0]["to"]["webhook"]["file"], "/etc/acme/hook");
    assert_eq!(run["ping"]["url"], "https://hc.example/1");
}

#[test]
fn the_worker_tells_what_waits_between_runs() {
    let too_much = Answer::With(429, "Retry-After: 6\r\n", String::new());
    let listener = Listener::start([too_much, Answer::status(200)]);
    let world = World::with(&spec(&quoted(&listener.url("/hook")), ""));
    let now = |words: &str| world.shell(&format!("unset LORECTL_NOW; exec $LORECTL {words}"));
    now("apply --yes").run().exits(0);
    now("service trigger a")
        .run()
        .exits(1)
        .says("it answered 429; it is tried again");
    assert_eq!(listener.seen().len(), 1);
    let pid = world.path().join("pid");
    thread::scope(|scope| {
        let script = "unset LORECTL_NOW; echo $$ >../pid; exec $LORECTL worker";
        let worker = scope.spawn(|| world.shell(script).run());
        listener.wait_for(2);
        // Who is asked to end before he has noted that it was taken tells it again.
        let deadline = Instant::now() + Duration::from_secs(60);
        while world.state().join("services/a/data/outbox.json").exists() {
            assert!(
                Instant::now() < deadline,
                "it is not noted that it was taken"
            );
            thread::sleep(Duration::from_millis(10));
        }
        let pid: i32 = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        let pid = nix::unistd::Pid::from_raw(pid);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        worker.join().unwrap().exits(0);
    });
    let status: Value = serde_json::from_str(&world.ok("service status a --json")).unwrap();
    assert_eq!(
        status["data"]["recent_runs"].as_array().unwrap().len(),
        1,
        "{status}"
    );
    assert_eq!(status["data"]["undelivered"], Value::Array(Vec::new()));
}

#[test]
#[ignore = "wants strace: tests/run"]
fn a_skipped_run_touches_no_outbox_and_opens_no_certificates() {
    let world = World::with(&spec(
        "\"https://hooks.example/x\"",
        "ping = \"https://hc.example/1\"\n",
    ));
    world.ok("apply --yes");
    world.ok("service pause a");
    let script = "exec strace -f -o ../trace $LORECTL service run --project acme a";
    world.shell(script).env("LORECTL_NOW", LATER).run().exits(0);
    let trace = fs::read_to_string(world.path().join("trace")).unwrap();
    assert!(trace.contains("outbox.json"), "it was looked for");
    for call in [
        "/etc/ssl",
        "resolv.conf",
        "socket(AF_INET",
        "fsync(",
        "fdatasync(",
        "outbox.lock",
    ] {
        assert!(!trace.contains(call), "{call} in a skipped run");
    }
}
