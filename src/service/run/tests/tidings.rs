//! Stories of what others hear of runs, with a server that listens.

use std::{
    collections::BTreeMap,
    os::unix::fs::{MetadataExt, PermissionsExt},
    time::Duration,
};

use super::*;
use crate::{
    effect::http::listener::{Answer, Listener, Seen},
    notify::{
        outbox::file::Stored as Waiting,
        sink::{Event, NotifyFormat, Sink, Target, UrlSource},
    },
    service::notify::courier::{self, Outbox},
};

/// Fails for now, and is not tried again at once.
const FAILS: &str =
    "echo '{\"retry_after\": 600, \"message\": \"no route\"}' >$LORECTL_RESULT; exit 75";

/// Does as the file `how` says, when there is one.
const AS_TOLD: &str =
    "test -f fails || exit 0; echo '{\"retry_after\": 600}' >$LORECTL_RESULT; exit $(cat fails)";

fn webhook(name: &str, url: String) -> Sink {
    sink(name, UrlSource::Url(url))
}

fn sink(name: &str, url: UrlSource) -> Sink {
    Sink {
        name: name.parse().unwrap(),
        events: Event::OF_SERVICES.to_vec(),
        to: Target::Webhook {
            url,
            format: NotifyFormat::Json,
            ca_file: None,
        },
    }
}

fn told(script: &str, sinks: Vec<Sink>) -> World {
    let mut world = world(&[script]);
    world.service.notify = sinks;
    world.apply();
    world
}

fn ok() -> Listener {
    Listener::start([Answer::status(200)])
}

/// The events that came, in order.
fn events(seen: &[Seen]) -> Vec<String> {
    let event = |seen: &Seen| {
        let body: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
        body["event"].as_str().unwrap().to_owned()
    };
    seen.iter().map(event).collect()
}

impl World {
    fn fails(&self, how: Option<&str>) -> &Self {
        match how {
            Some(how) => std::fs::write(self.path("fails"), how).unwrap(),
            None => std::fs::remove_file(self.path("fails")).unwrap(),
        }
        self
    }

    fn outbox(&self) -> Outbox {
        match courier::read(&RealDisk, &self.layout, &self.service.name) {
            Waiting::Good(outbox) => outbox,
            other => panic!("{other:?}"),
        }
    }

    fn has_outbox(&self) -> bool {
        self.data("outbox.json").exists()
    }

    /// Every file of the state, by path.
    fn files(&self) -> BTreeMap<PathBuf, String> {
        let mut open = vec![self.layout.root()];
        let mut found = BTreeMap::new();
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let bytes = std::fs::read(&path).unwrap();
                    found.insert(path, String::from_utf8_lossy(&bytes).into_owned());
                }
            }
        }
        found
    }
}

apart! {
    fn a_failure_and_its_end_are_told_once_each() {
        let listener = ok();
        let world = told(AS_TOLD, vec![webhook("ops", listener.url("/hook"))]);
        world.at("09T10:30").wake();
        assert!(listener.seen().is_empty() && !world.has_outbox());

        world.fails(Some("75")).at("09T11:00").wake();
        let report = world.trigger(true);
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
        assert_eq!(report.consecutive_failures, 2);
        world.fails(None);
        world.trigger(true);
        world.trigger(true);
        let seen = listener.seen();
        assert_eq!(events(&seen), ["failed", "recovered"]);
        assert!(!world.has_outbox() && world.status().trouble.is_none());

        let failed: serde_json::Value = serde_json::from_str(&seen[0].body).unwrap();
        assert_eq!(seen[0].what, "POST /hook");
        assert!(seen[0].headers.contains("content-type: application/json"), "{}", seen[0].headers);
        for (key, expected) in [
            ("project", "acme"),
            ("service", "sync"),
            ("state_before", "idle"),
            ("state_after", "backoff"),
            ("error_code", "EXIT_75"),
            ("error", "exit status 75"),
            ("at", "2026-02-09T11:00:00Z"),
        ] {
            assert_eq!(failed[key], expected, "{failed}");
        }
        assert_eq!(failed["consecutive_failures"], 1);
        assert!(failed["next_retry_at"].is_string() && failed["run_id"].is_string());
        let recovered: serde_json::Value = serde_json::from_str(&seen[1].body).unwrap();
        assert_eq!(recovered["since"], "2026-02-09T11:00:00Z");
    }
}

apart! {
    fn a_hiccup_is_over_before_the_runner_ends() {
        let listener = Listener::start([Answer::status(500), Answer::Close, Answer::status(200)]);
        let world = told(FAILS, vec![webhook("ops", listener.url("/"))]);
        let report = world.at("09T10:30").wake();
        assert_eq!(report.outcome, Some(Outcome::Failed));
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
        let seen = listener.seen();
        assert_eq!(seen.len(), 3);
        assert!(seen.iter().all(|again| again.body == seen[0].body), "the id stays");
        assert!(!world.has_outbox());
    }
}

apart! {
    fn what_is_refused_for_good_is_given_up_and_remembered() {
        let listener = Listener::start([Answer::status(404)]);
        let world = told(AS_TOLD, vec![webhook("ops", listener.url("/"))]);
        let report = world.fails(Some("75")).at("09T10:30").wake();
        assert_eq!(
            report.warnings,
            ["notify.ops was not told: it answered 404; it is given up"]
        );
        world.trigger(true);
        assert_eq!(listener.seen().len(), 1);
        let outbox = world.outbox();
        let fault = outbox.faults.values().next().unwrap();
        assert_eq!((fault.error.as_str(), fault.given_up), ("it answered 404", 1));
        assert!(outbox.waiting.is_empty());

        // A redirect is not followed, and the next that is taken ends the fault.
        listener.answer([Answer::With(302, "Location: /elsewhere\r\n", String::new())]);
        world.fails(None);
        world.trigger(true);
        assert_eq!(world.outbox().faults.values().next().unwrap().given_up, 2);
        assert_eq!(listener.seen().len(), 2);
        listener.answer([Answer::status(200)]);
        world.fails(Some("75")).trigger(true);
        assert!(!world.has_outbox());
    }
}

apart! {
    fn what_waits_is_sent_at_a_wake_up_that_runs_nothing() {
        let too_much = Answer::With(429, "Retry-After: 120\r\n", String::new());
        let listener = Listener::start([too_much, Answer::status(200)]);
        let world = told(FAILS, vec![webhook("ops", listener.url("/"))]);
        let report = world.at("09T10:30").wake();
        assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
        let waiting = &world.outbox().waiting[0];
        assert_eq!(waiting.next_try, world.clock.now().plus_seconds(120));
        assert_eq!(waiting.attempts, 1);

        let mut inode = None;
        for _ in 0..3 {
            assert_eq!(world.later(30).wake().action, Action::NotDue);
            let now = std::fs::metadata(world.data("outbox.json")).unwrap().ino();
            assert_eq!(*inode.get_or_insert(now), now, "nothing is written");
        }
        assert_eq!(listener.seen().len(), 1);
        assert_eq!(world.later(31).wake().action, Action::NotDue);
        assert_eq!(listener.seen().len(), 2);
        assert!(!world.has_outbox());
    }
}

apart! {
    fn one_bad_sink_holds_up_no_other_and_changes_nothing() {
        let listener = ok();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let world = told(
            AS_TOLD,
            vec![
                webhook("away", format!("http://{closed}/")),
                webhook("bad", "http://no-such-name.invalid/".to_owned()),
                webhook("ops", listener.url("/")),
            ],
        );
        let report = world.fails(Some("77")).at("09T10:30").wake();
        assert_eq!((report.outcome, report.action), (Some(Outcome::Failed), Action::Paused));
        assert_eq!(report.warnings.len(), 2, "{:?}", report.warnings);
        assert_eq!(events(&listener.seen()), ["paused"]);
        let outbox = world.outbox();
        assert_eq!(outbox.waiting.len(), 2);
        assert!(outbox.waiting.iter().all(|waiting| waiting.attempts >= 2), "{outbox:?}");
        assert!(report.warnings[0].contains("no connection: connection refused"), "{report:?}");
        // A sink that the spec names no more is told nothing more.
        let mut world = world;
        world.service.notify.truncate(1);
        world.apply();
        world.later(7200).wake();
        assert_eq!(world.outbox().waiting.len(), 1);
    }
}

apart! {
    fn what_is_not_sent_when_we_are_asked_to_end_is_sent_at_the_next_wake_up() {
        let listener = Listener::start([Answer::Hang]);
        let world = told(FAILS, vec![webhook("ops", listener.url("/"))]);
        world.at("09T10:30");
        let asked = async {
            while listener.seen().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let done = world.ask(Ask::SCHEDULED, asked);
        assert_eq!(done.report.outcome, Some(Outcome::Failed));
        assert_eq!(world.outbox().waiting[0].attempts, 0);
        listener.answer([Answer::status(200)]);
        world.wake();
        let seen = listener.seen();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0].body, seen[1].body);
    }
}

apart! {
    fn a_runner_that_died_is_told_of_once() {
        let listener = ok();
        let world = told("exit 0", vec![webhook("ops", listener.url("/"))]);
        let writer = file::Writer { disk: &RealDisk, layout: &world.layout, name: &world.service.name };
        let dead = CurrentRun {
            id: "dead".to_owned(),
            trigger: Trigger::Schedule,
            started_at: world.clock.now(),
            pid: u32::MAX,
            pid_started: 1,
            boot_id: process::boot_id(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let now = world.clock.now();
        runtime.block_on(writer.update(now, now, |status| status.current_run = Some(dead)));
        world.at("09T10:30").wake();
        let seen = listener.seen();
        assert_eq!(events(&seen), ["failed", "recovered"]);
        assert!(seen[0].body.contains("RUNNER_DIED") && seen[0].body.contains("\"run_id\":\"dead\""));
    }
}

apart! {
    fn a_command_reads_it_and_leaves_nothing_behind() {
        let world = world(&[FAILS]);
        let command = |name: &str, script: &str| Sink {
            to: Target::Command(["/bin/sh", "-c", script].map(str::to_owned).into()),
            ..webhook(name, String::new())
        };
        let dir = world.dir.path().display().to_string();
        let mut world = world;
        world.service.notify = vec![
            command("mail", &format!(
                "cat >{dir}/mail; echo $LORECTL_EVENT $LORECTL_PROJECT $LORECTL_SERVICE $PWD >{dir}/env
                 (setsid sleep 600 & echo $! >{dir}/left); test -z \"$CARGO\""
            )),
            command("deaf", "exec <&-; exit 0"),
            command("never", "exit 78"),
            command("gone", "kill -9 $$"),
        ];
        world.service.notify[3].to = Target::Command(vec!["/no/such/program".to_owned()]);
        world.apply();
        let report = world.at("09T10:30").wake();
        let body: serde_json::Value = serde_json::from_str(&world.read("mail")).unwrap();
        assert_eq!(body["event"], "failed");
        assert_eq!(body["error"], "no route (exit status 75)");
        assert_eq!(world.read("env"), "failed acme sync /\n");
        let left: i32 = world.read("left").trim().parse().unwrap();
        let alive = nix::sys::signal::kill(nix::unistd::Pid::from_raw(left), None);
        assert_eq!(alive, Err(nix::errno::Errno::ESRCH));
        assert_eq!(report.warnings.len(), 2, "{:?}", report.warnings);
        assert!(report.warnings[0].starts_with("notify.gone was not told: it could not be started"));
        assert!(report.warnings[1].ends_with("exit status was 78; it is given up"));
    }
}

apart! {
    fn a_url_of_a_file_is_a_secret_and_is_written_nowhere() {
        let listener = Listener::start([Answer::status(200), Answer::status(500)]);
        let mut world = world(&[FAILS]);
        let file = world.path("hook");
        std::fs::write(&file, format!("{}\n", listener.url("/services/T0/s3cret-path"))).unwrap();
        let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o600);
        world.service.notify = vec![sink("ops", UrlSource::File(file.clone()))];
        world.service.ping = Some(UrlSource::File(file.clone()));
        world.apply();
        let report = world.at("09T10:30").wake();
        let seen = listener.seen();
        assert!(seen.iter().any(|seen| seen.what == "POST /services/T0/s3cret-path"), "{seen:?}");
        assert!(seen.iter().any(|seen| seen.what == "POST /services/T0/s3cret-path/fail"), "{seen:?}");
        let said = format!("{report:?}");
        assert!(!said.contains("s3cret") && said.contains("it answered 500"), "{said}");
        let files = world.files();
        assert!(files.len() > 4, "{files:?}");
        for (path, text) in files {
            assert!(!text.contains("s3cret"), "{}: {text}", path.display());
        }

        // What everybody could read is sent nowhere until that is mended.
        world.service.ping = None;
        world.service.notify.push(sink("none", UrlSource::File("/no/such/file".into())));
        world.service.notify.push(sink("odd", UrlSource::File(world.path("odd"))));
        std::fs::write(world.path("odd"), "not-a-url s3cret").unwrap();
        std::fs::set_permissions(world.path("odd"), std::fs::Permissions::from_mode(0o600)).unwrap();
        world.apply();
        mode(0o644);
        listener.answer([Answer::status(200)]);
        let before = listener.seen().len();
        world.later(4000);
        let text = std::fs::read_to_string(world.layout.status_file(&world.service.name)).unwrap();
        std::fs::write(world.layout.status_file(&world.service.name), text.replace("\"consecutive_failures\": 1", "\"consecutive_failures\": 0")).unwrap();
        let warnings = world.trigger(true).warnings;
        assert_eq!(listener.seen().len(), before);
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[0].contains("there is no file /no/such/file"), "{warnings:?}");
        assert!(warnings[1].contains("holds no URL to send to"), "{warnings:?}");
        assert!(warnings[2].contains("can be read by everybody: chmod 0640"), "{warnings:?}");
        assert!(!format!("{warnings:?}").contains("s3cret"));
        mode(0o640);
        world.later(4000).wake();
        assert!(listener.seen().len() > before);
    }
}

apart! {
    fn a_damaged_outbox_is_set_aside_and_a_newer_one_left_alone() {
        let listener = ok();
        let world = told(FAILS, vec![webhook("ops", listener.url("/"))]);
        std::fs::write(world.data("outbox.json"), "{\"outbox_version\": 1, \"wai").unwrap();
        let report = world.at("09T10:20").wake();
        assert_eq!(report.action, Action::NotDue);
        assert!(report.warnings[0].contains("was set aside as outbox.json.damaged-"), "{report:?}");
        assert!(!world.has_outbox());

        let newer = "{\"outbox_version\": 2}";
        std::fs::write(world.data("outbox.json"), newer).unwrap();
        let report = world.at("09T10:30").wake();
        assert_eq!(report.outcome, Some(Outcome::Failed));
        assert!(report.warnings[0].contains("it has version 2"), "{report:?}");
        assert_eq!(events(&listener.seen()), ["failed"], "it is told all the same");
        assert_eq!(std::fs::read_to_string(world.data("outbox.json")).unwrap(), newer);
    }
}

apart! {
    fn a_dead_man_s_switch_hears_of_start_and_end() {
        let listener = Listener::start([Answer::status(200)]);
        let mut world = world(&[AS_TOLD]);
        world.service.ping = Some(UrlSource::Url(listener.url("/uuid?create=1")));
        world.apply();
        let heard = || -> Vec<String> {
            listener.seen().into_iter().map(|seen| format!("{} {}", seen.what, seen.body)).collect()
        };
        assert_eq!(world.at("09T10:20").wake().action, Action::NotDue);
        assert!(heard().is_empty());
        world.at("09T10:30").wake();
        // The start is not waited for: it may be lost where the run is as short as this.
        let all = heard();
        assert_eq!(all.last().unwrap(), "GET /uuid?create=1 ");
        assert!(all.len() == 1 || all[0] == "GET /uuid/start?create=1 ", "{all:?}");
        let before = all.len();
        world.fails(Some("75")).trigger(true);
        assert_eq!(heard().last().unwrap(), "POST /uuid/fail?create=1 EXIT_75: exit status 75");

        // One that fails is remembered until it works again.
        listener.answer([Answer::status(404)]);
        let report = world.trigger(true);
        assert_eq!(report.warnings, ["the ping was not delivered: it answered 404"]);
        assert_eq!(world.outbox().ping.unwrap().error, "it answered 404");
        listener.answer([Answer::status(500), Answer::status(500), Answer::status(200)]);
        let report = world.trigger(true);
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
        assert!(!world.has_outbox() && heard().len() > before + 3);
    }
}

apart! {
    fn a_switch_that_hangs_is_told_of_the_end_all_the_same() {
        let listener = Listener::start([Answer::Hang, Answer::status(200)]);
        let mut world = world(&["sleep 0.3; date >ran"]);
        world.service.ping = Some(UrlSource::Url(listener.url("/uuid")));
        world.apply();
        let report = world.at("09T10:30").wake();
        assert_eq!(report.outcome, Some(Outcome::Success));
        let seen: Vec<String> = listener.seen().into_iter().map(|seen| seen.what).collect();
        assert_eq!(seen, ["GET /uuid/start", "GET /uuid"]);
    }
}

#[tokio::test]
async fn what_is_done_beside_a_run_is_not_waited_for() {
    let never = std::future::pending();
    assert_eq!(
        super::super::tidings::beside(std::future::ready(7), never).await,
        7
    );
    let told = Cell::new(false);
    let second = async { told.set(true) };
    let first = async {
        tokio::task::yield_now().await;
        told.get()
    };
    assert!(super::super::tidings::beside(first, second).await);
}
