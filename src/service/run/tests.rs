//! Stories of runs: a service in a throw-away state directory, real processes, a clock that is told.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests lay out files"
)]

mod tidings;

use std::{cell::Cell, path::PathBuf};

use super::*;
use crate::{
    effect::{disk::RealDisk, process::apart::apart},
    service::{
        definition::{CatchUp, Criticality, Retry, Schedule},
        fixture,
        status::{MANUAL, Outcome, Paused, State},
    },
};
use report::Action;

struct Told(Cell<Timestamp>);

impl Clock for Told {
    fn now(&self) -> Timestamp {
        self.0.get()
    }
}

struct World {
    dir: tempfile::TempDir,
    layout: Layout,
    service: Service,
    clock: Told,
    seed: u64,
}

/// A service that was applied at ten o'clock and is due every half hour.
fn world(scripts: &[&str]) -> World {
    let dir = tempfile::tempdir().unwrap();
    let service = Service {
        working_dir: dir.path().to_owned(),
        ..fixture::service("sync", scripts)
    };
    let layout = Layout::new(dir.path().to_owned(), service.project.clone());
    std::fs::create_dir_all(layout.data(&service.name)).unwrap();
    let now: Timestamp = "2026-02-09T10:00:00Z".parse().unwrap();
    // Second attempts are to come soon.
    let soon = |seed: &u64| {
        (0..3).all(|index| retry::draw(retry::derive(*seed, index), 1000, 5000) < 1600)
    };
    let world = World {
        seed: (0..100_000).find(soon).unwrap(),
        dir,
        layout,
        service,
        clock: Told(Cell::new(now)),
    };
    world.apply();
    file::seed_status(&RealDisk, &world.layout, &world.service, now).unwrap();
    world
}

impl World {
    fn apply(&self) {
        let text = serde_json::to_vec_pretty(&self.service).unwrap();
        std::fs::write(self.layout.run_file(&self.service.name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn data(&self, name: &str) -> PathBuf {
        self.layout.data(&self.service.name).join(name)
    }

    fn at(&self, text: &str) -> &Self {
        self.clock
            .0
            .set(format!("2026-02-{text}:00Z").parse().unwrap());
        self
    }

    fn later(&self, seconds: i64) -> &Self {
        self.clock.0.set(self.clock.now().plus_seconds(seconds));
        self
    }

    fn ask(&self, ask: Ask, terminated: impl Future<Output = ()>) -> Done {
        self.ask_in(false, ask, terminated)
    }

    /// With `hurried`, all waiting takes no time.
    fn ask_in(&self, hurried: bool, ask: Ask, terminated: impl Future<Output = ()>) -> Done {
        let runner = Runner {
            disk: &RealDisk,
            clock: &self.clock,
            seed: self.seed,
            layout: &self.layout,
            name: &self.service.name,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(hurried)
            .build()
            .unwrap();
        runtime.block_on(runner.answer(ask, terminated)).unwrap()
    }

    fn wake(&self) -> RunReport {
        self.ask(Ask::SCHEDULED, std::future::pending()).report
    }

    fn trigger(&self, ignore_backoff: bool) -> RunReport {
        let ask = Ask {
            trigger: Trigger::Manual,
            request: None,
            ignore_backoff,
        };
        self.ask(ask, std::future::pending()).report
    }

    fn status(&self) -> Status {
        match file::read(&RealDisk, &self.layout, &self.service.name) {
            Stored::Good(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    fn state(&self) -> State {
        let status = self.status();
        let alive = file::run_is_alive(&status);
        status.state(&self.service, self.clock.now(), alive)
    }

    fn log(&self) -> String {
        let tail = logs::tail(&self.layout, &self.service.name, 1000).unwrap();
        let lines = tail.last_lines.iter();
        let show = |line: &logs::Line| format!("{} {:?} {}\n", line.stage, line.source, line.text);
        lines.map(show).collect()
    }
}

apart! {
    fn a_run_when_it_is_due_and_not_before() {
        let world = world(&["echo one; echo two >&2", "echo three"]);
        let report = world.at("09T10:20").wake();
        assert_eq!(report.action, Action::NotDue);
        assert_eq!(report.next_due_iso.unwrap().to_string(), "2026-02-09T10:30:00Z");
        assert_eq!(world.state(), State::Idle);

        let report = world.at("09T10:30").wake();
        assert_eq!(report.action, Action::RunCompleted);
        assert_eq!(report.outcome, Some(Outcome::Success));
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
        let status = world.status();
        assert_eq!(status.last_scheduled_start, Some(world.clock.now()));
        assert_eq!(status.recent_runs.len(), 1);
        assert!(status.current_run.is_none());
        assert_eq!(world.state(), State::Idle);
        let log = world.log();
        for line in ["s0 Out one", "s0 Err two", "s1 Out three", "- Run the run ends: success"] {
            assert!(log.contains(line), "{log}");
        }
        assert_eq!(world.at("09T10:30").wake().action, Action::NotDue);
        assert_eq!(world.at("09T10:59").wake().action, Action::RunCompleted);
        assert_eq!(world.at("09T11:00").wake().action, Action::NotDue);
        let report = world.trigger(false);
        assert_eq!(report.action, Action::RunCompleted);
        assert_eq!(world.at("09T11:29").wake().action, Action::RunCompleted, "a run by hand moves nothing");
    }
}

apart! {
    fn a_stage_finds_its_place_and_environment() {
        let mut world = world(&[
            "pwd >where; echo $LORECTL_DATA_DIR $LORECTL_SERVICE $LORECTL_PROJECT $LORECTL_STAGE >who
             echo $EXTRA $LANG >what; echo \"{\\\"items_updated\\\": 5}\" >$LORECTL_RESULT; env | grep ^CARGO; exit 0",
        ]);
        world.service.env = [("EXTRA", "a b"), ("LORECTL_STAGE", "lie"), ("LANG", "de")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        world.apply();
        let report = world.trigger(false);
        assert_eq!(report.stage_results[0].items_updated, 5);
        assert_eq!(world.read("where").trim(), world.dir.path().to_str().unwrap());
        let data = world.layout.data(&world.service.name);
        assert_eq!(world.read("who"), format!("{} sync acme s0\n", data.display()));
        assert_eq!(world.read("what"), "a b de\n");
        assert!(!world.log().contains("CARGO"));
        assert!(!world.data("result.json").exists());
    }
}

apart! {
    fn transient_failures_back_off_trip_the_breaker_and_a_probe_decides() {
        let mut world = world(&["echo x >>count; exit $(cat status)"]);
        world.service.breaker.failures = 3;
        world.service.stages[0].criticality = Criticality::Core;
        world.apply();
        std::fs::write(world.path("status"), "75").unwrap();
        let report = world.at("09T10:30").wake();
        assert_eq!(report.outcome, Some(Outcome::Failed));
        assert_eq!(report.consecutive_failures, 1);
        assert_eq!(world.read("count"), "x\nx\n", "a core stage is tried twice");
        assert_eq!(report.next_retry_iso, Some(world.clock.now().plus_seconds(1800)));
        assert_eq!(world.state(), State::Backoff);

        let drawn = world.status().next_retry_at;
        let report = world.at("09T10:59").wake();
        assert_eq!((report.action, report.reason.as_deref()), (Action::Skipped, Some("backoff")));
        assert_eq!(world.status().next_retry_at, drawn, "it is drawn once");
        assert_eq!(world.status().skipped[&SkipReason::Backoff], 1);
        assert_eq!(world.trigger(false).trigger_status(), 75);

        let report = world.at("09T11:00").wake();
        assert_eq!(report.consecutive_failures, 2);
        let status = world.status();
        let wait = status.next_retry_at.unwrap().seconds_since(world.clock.now());
        assert!((1800..=3600).contains(&wait), "{wait}");
        assert_eq!(status.skipped[&SkipReason::Backoff], 2, "the lines were taken in");
        assert!(!world.data(skips::FILE).exists());

        let report = world.trigger(true);
        assert_eq!((report.action, report.reason.as_deref()), (Action::Paused, Some("CIRCUIT_BREAKER")));
        assert_eq!((report.consecutive_failures, report.trigger_status()), (3, 1));
        assert_eq!(world.state(), State::Paused);
        let report = world.later(1799).wake();
        assert_eq!((report.action, report.reason.as_deref()), (Action::Paused, Some("CIRCUIT_BREAKER")));
        assert_eq!(report.remaining_seconds, Some(1));

        world.later(1);
        assert_eq!(world.state(), State::HalfOpen);
        let report = world.wake();
        assert_eq!((report.action, report.outcome), (Action::Paused, Some(Outcome::Failed)));
        assert_eq!(world.state(), State::Paused, "a probe that fails opens it again");
        assert!(world.log().contains("a probe begins"));

        std::fs::write(world.path("status"), "0").unwrap();
        let report = world.later(1800).wake();
        assert_eq!((report.outcome, report.consecutive_failures), (Some(Outcome::Success), 0));
        let status = world.status();
        assert!(status.breaker.is_none() && status.next_retry_at.is_none() && status.last_error.is_none());
        assert_eq!(world.state(), State::Idle);
    }
}

apart! {
    fn a_daily_job_that_fails_is_tried_again_when_its_wait_is_over() {
        let mut world = world(&["echo x >>count; exit $(cat status)"]);
        world.service.schedule = Schedule::Cron {
            expression: "30 2 * * *".to_owned(),
            timezone: "UTC".to_owned(),
        };
        world.apply();
        file::seed_status(&RealDisk, &world.layout, &world.service, world.clock.now()).unwrap();
        let runs = |world: &World| world.read("count").lines().count();
        std::fs::write(world.path("status"), "75").unwrap();
        assert_eq!(world.at("10T02:30").wake().outcome, Some(Outcome::Failed));
        let occurrence = world.status().last_occurrence;

        let report = world.at("10T02:59").wake();
        assert_eq!(report.action, Action::NotDue, "the night's occurrence is dealt with");
        assert_eq!(report.next_due_iso, Some("2026-02-10T03:00:00Z".parse().unwrap()));
        assert_eq!(runs(&world), 2, "a core stage is tried twice");
        let report = world.at("10T03:00").wake();
        assert_eq!((report.outcome, report.consecutive_failures), (Some(Outcome::Failed), 2));
        assert_eq!(runs(&world), 4);
        assert_eq!(world.status().last_occurrence, occurrence, "a retry uses none up");

        std::fs::write(world.path("status"), "0").unwrap();
        let retry = world.status().next_retry_at.unwrap();
        world.clock.0.set(retry);
        let report = world.wake();
        assert_eq!((report.outcome, report.consecutive_failures), (Some(Outcome::Success), 0));
        assert_eq!(world.wake().next_due_iso, Some("2026-02-11T02:30:00Z".parse().unwrap()));
        assert_eq!(world.at("11T02:30").wake().outcome, Some(Outcome::Success));
    }
}

apart! {
    fn a_retry_that_was_slept_through_follows_catch_up() {
        for (catch_up, expected) in [(CatchUp::Once, Action::RunCompleted), (CatchUp::Skip, Action::NotDue)] {
            let mut world = world(&["exit $(cat status)"]);
            world.service.schedule = Schedule::Every(Seconds(86_400));
            world.service.catch_up = catch_up;
            world.service.retry = Retry { base: Seconds(600), max: Seconds(3600) };
            world.apply();
            file::seed_status(&RealDisk, &world.layout, &world.service, world.clock.now()).unwrap();
            std::fs::write(world.path("status"), "75").unwrap();
            assert_eq!(world.at("10T10:00").wake().outcome, Some(Outcome::Failed));
            std::fs::write(world.path("status"), "0").unwrap();
            let start = world.status().last_scheduled_start;
            assert_eq!(world.at("10T15:00").wake().action, expected, "{catch_up:?}");
            assert_eq!(world.status().last_scheduled_start, start, "the interval counts on");
        }
    }
}

apart! {
    fn a_pause_and_an_open_breaker_hold_a_retry() {
        let mut world = world(&["exit 75"]);
        world.service.schedule = Schedule::Every(Seconds(86_400));
        world.service.breaker.failures = 2;
        world.service.retry = Retry { base: Seconds(600), max: Seconds(3600) };
        world.apply();
        file::seed_status(&RealDisk, &world.layout, &world.service, world.clock.now()).unwrap();
        assert_eq!(world.at("10T10:00").wake().outcome, Some(Outcome::Failed));
        let paused = Paused {
            reason: "maintenance".to_owned(),
            code: MANUAL.to_owned(),
            at: world.clock.now(),
            by: "ann".to_owned(),
        };
        let writer = Writer { disk: &RealDisk, layout: &world.layout, name: &world.service.name };
        let set = |paused: Option<Paused>| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let now = world.clock.now();
            runtime.block_on(writer.update(now, now, |status| status.paused = paused));
        };
        set(Some(paused));
        assert_eq!(world.at("10T10:10").wake().action, Action::NotDue);
        set(None);
        assert_eq!(world.wake().reason.as_deref(), Some("CIRCUIT_BREAKER"));
        assert_eq!(world.at("10T12:00").wake().action, Action::NotDue, "the next occurrence is the probe");
        assert!(world.log().lines().filter(|line| line.contains("a run begins")).count() == 2);
        assert!(world.at("11T10:00").wake().outcome.is_some());
        assert!(world.log().contains("a probe begins"));
    }
}

apart! {
    fn what_waiting_does_not_mend_pauses() {
        let world = world(&["echo x >>count; exit 78", "echo never >>count"]);
        let report = world.at("09T10:30").wake();
        assert_eq!((report.action, report.reason.as_deref()), (Action::Paused, Some("EXIT_78")));
        assert_eq!(world.read("count"), "x\n", "neither again nor further");
        assert_eq!(world.state(), State::Paused);
        assert_eq!(world.status().consecutive_failures, 0);
        let report = world.at("09T11:00").wake();
        assert_eq!((report.action, report.reason.as_deref()), (Action::Paused, Some("EXIT_78")));
        let report = world.trigger(true);
        assert_eq!((report.action, report.trigger_status()), (Action::Paused, 3));
        assert_eq!(world.status().skipped[&SkipReason::Paused], 2);
        assert_eq!(world.status().last_scheduled_start, Some(world.clock.now()), "the skip dealt with it");
    }
}

apart! {
    fn an_optional_stage_degrades_and_clears_failures() {
        let mut world = world(&["exit $(cat status)", "exit 1", "echo on >after"]);
        world.service.stages[1].criticality = Criticality::Optional;
        world.apply();
        std::fs::write(world.path("status"), "75").unwrap();
        world.at("09T10:30").wake();
        assert_eq!(world.status().consecutive_failures, 1);
        std::fs::write(world.path("status"), "0").unwrap();
        let report = world.at("09T11:30").wake();
        assert_eq!((report.outcome, report.trigger_status()), (Some(Outcome::Degraded), 0));
        assert_eq!(world.state(), State::Degraded);
        assert_eq!(world.status().consecutive_failures, 0);
        assert_eq!(world.read("after"), "on\n", "what follows an optional stage runs");
        let results: Vec<bool> = report.stage_results.iter().map(|s| s.success).collect();
        assert_eq!(results, [true, false, true]);
    }
}

apart! {
    fn a_passing_failure_is_overcome_within_the_run() {
        let world = world(&["echo x >>count; [ $(wc -l <count) = 2 ]"]);
        let report = world.at("09T10:30").wake();
        assert_eq!(report.outcome, Some(Outcome::Success));
        assert_eq!(world.status().last_run.unwrap().stages[0].attempts, 2);
    }
}

apart! {
    fn a_hint_is_waited_for() {
        let script = "echo '{\"error_code\": \"RATE_LIMITED\", \"message\": \"slow\", \"retry_after\": 7200}' >$LORECTL_RESULT; echo x >>count; exit 1";
        let world = world(&[script]);
        let report = world.at("09T10:30").wake();
        assert_eq!(world.read("count"), "x\n", "not at once");
        assert_eq!(report.reason.as_deref(), Some("RATE_LIMITED"));
        assert_eq!(report.message.as_deref(), Some("slow (exit status 1)"));
        assert_eq!(report.remaining_seconds, Some(7200));
        assert!(world.status().retry_after);
    }
}

apart! {
    fn time_is_over_for_a_stage_and_for_a_run() {
        let mut world = world(&["sleep 60", "echo never >after"]);
        world.service.stages[0].timeout = Some(Seconds(1));
        world.apply();
        let report = world.at("09T10:30").wake();
        assert_eq!(report.reason.as_deref(), Some("TIMEOUT"));
        let status = world.status();
        assert_eq!(status.last_run.unwrap().stages[0].attempts, 1);
        assert!(!world.path("after").exists());

        world.service.stages[0].timeout = None;
        world.service.timeout = Seconds(1);
        world.apply();
        let report = world.trigger(true);
        assert_eq!(report.reason.as_deref(), Some("TIMEOUT"));
    }
}

apart! {
    fn a_second_run_is_skipped_or_queued() {
        let mut world = world(&["echo x >>count"]);
        let lock = Lock::try_take(&world.layout.run_lock(&world.service.name), 0o600).unwrap();
        let report = world.at("09T10:30").wake();
        assert_eq!((report.action, report.reason.as_deref()), (Action::Skipped, Some("overlap")));
        assert_eq!(world.status().last_scheduled_start, Some(world.clock.now()));
        assert_eq!(world.trigger(false).trigger_status(), 75);
        assert!(!world.path("count").exists());

        world.service.overlap = Overlap::Queue;
        world.apply();
        let release = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(500));
            drop(lock);
        });
        assert_eq!(world.trigger(false).outcome, Some(Outcome::Success));
        release.join().unwrap();
        assert_eq!(world.read("count"), "x\n");
    }
}

apart! {
    fn services_share_a_lock() {
        let mut world = world(&["true"]);
        world.service.lock = Some("db".parse().unwrap());
        world.apply();
        let path = world.layout.named_lock(&"db".parse().unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let lock = Lock::try_take(&path, 0o644).unwrap();
        let report = world.at("09T10:30").wake();
        assert_eq!(report.reason.as_deref(), Some("lock"));
        drop(lock);
        assert_eq!(world.trigger(false).outcome, Some(Outcome::Success));
    }
}

apart! {
    fn a_runner_that_died_is_seen_by_the_next_run() {
        let world = world(&["true"]);
        let mut status = world.status();
        let current = |boot_id: String| CurrentRun {
            id: "1".to_owned(),
            trigger: Trigger::Schedule,
            started_at: "2026-02-09T09:00:00Z".parse().unwrap(),
            pid: 4_000_000,
            pid_started: 1,
            boot_id,
        };
        status.current_run = Some(current(process::boot_id()));
        let text = serde_json::to_vec(&status).unwrap();
        std::fs::write(world.data("status.json"), &text).unwrap();
        assert_eq!(world.state(), State::RunningStale);
        let report = world.at("09T10:30").wake();
        assert_eq!(report.outcome, Some(Outcome::Success));
        assert!(report.warnings[0].contains("process 4000000"), "{:?}", report.warnings);
        let runs = world.status().recent_runs;
        assert_eq!(runs[1].error_code.as_deref(), Some(record::RUNNER_DIED));
        assert!(world.log().contains("process 4000000"));

        status.current_run = Some(current("another boot".to_owned()));
        status.consecutive_failures = 2;
        let loaded = Loaded { service: world.service.clone(), modified: world.clock.now() };
        let stale = record::begin(&mut status, &loaded, current("this".to_owned()), None, 0).stale;
        assert_eq!(stale.unwrap().error_code.as_deref(), Some(record::HOST_RESTARTED));
        assert_eq!(status.consecutive_failures, 2, "a power failure is not the service's");
    }
}

apart! {
    fn a_status_that_is_no_status_stops_no_run() {
        type Spoil = fn(&World);
        let spoil: [(&str, Spoil); 7] = [
            ("empty", |world| std::fs::write(world.data("status.json"), "").unwrap()),
            ("garbage", |world| std::fs::write(world.data("status.json"), [0xff; 900]).unwrap()),
            ("truncated", |world| {
                let text = std::fs::read(world.data("status.json")).unwrap();
                std::fs::write(world.data("status.json"), &text[..text.len() / 2]).unwrap();
            }),
            ("link", |world| {
                std::fs::remove_file(world.data("status.json")).unwrap();
                std::os::unix::fs::symlink("/etc/passwd", world.data("status.json")).unwrap();
            }),
            ("pipe", |world| {
                std::fs::remove_file(world.data("status.json")).unwrap();
                let mode = nix::sys::stat::Mode::S_IRWXU;
                nix::unistd::mkfifo(&world.data("status.json"), mode).unwrap();
            }),
            ("giant", |world| {
                let file = std::fs::File::create(world.data("status.json")).unwrap();
                file.set_len(500 << 20).unwrap();
            }),
            ("directory", |world| {
                std::fs::remove_file(world.data("status.json")).unwrap();
                std::fs::create_dir(world.data("status.json")).unwrap();
            }),
        ];
        for (what, spoil) in spoil {
            let world = world(&["true"]);
            spoil(&world);
            let report = world.trigger(false);
            assert_eq!(report.outcome, Some(Outcome::Success), "{what}");
            assert_eq!(report.warnings.len(), 1, "{what}: {:?}", report.warnings);
            assert!(report.warnings[0].contains("set aside"), "{what}");
            let names = RealDisk.list(&world.layout.data(&world.service.name)).unwrap();
            let aside = names.iter().filter(|(name, _)| name.starts_with("status.json.corrupt."));
            assert_eq!(aside.count(), 1, "{what}");
            assert_eq!(world.status().recent_runs.len(), 1, "{what}");
        }
    }
}

apart! {
    fn a_newer_status_is_left_alone_and_the_job_runs() {
        let world = world(&["true"]);
        let text = "{\"schema_version\": 99, \"news\": true}";
        std::fs::write(world.data("status.json"), text).unwrap();
        let report = world.trigger(false);
        assert_eq!(report.outcome, Some(Outcome::Success));
        assert!(report.warnings[0].contains("version 99"), "{:?}", report.warnings);
        assert_eq!(std::fs::read_to_string(world.data("status.json")).unwrap(), text);
    }
}

apart! {
    fn hostile_neighbours_of_the_status_stop_no_run() {
        let world = world(&["echo $LORECTL_RESULT; ln -sf /etc/passwd $LORECTL_RESULT"]);
        std::os::unix::fs::symlink("/etc/passwd", world.data("trigger.json")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", world.data(skips::FILE)).unwrap();
        std::fs::create_dir(world.path("elsewhere")).unwrap();
        std::os::unix::fs::symlink(world.path("elsewhere"), world.data("logs")).unwrap();
        let mode = nix::sys::stat::Mode::S_IRWXU;
        std::fs::remove_file(world.data("lock")).unwrap();
        nix::unistd::mkfifo(&world.data("lock"), mode).unwrap();
        let report = world.at("09T10:30").wake();
        assert_eq!(report.outcome, Some(Outcome::Success));
        assert_eq!(report.warnings.len(), 2, "{:?}", report.warnings);
        assert!(!world.path("elsewhere/service.log").exists());
    }
}

apart! {
    fn a_pause_during_a_run_holds_after_it() {
        let world = world(&["echo paused >>seen; exit 0"]);
        let mut status = world.status();
        status.paused = Some(Paused {
            reason: "maintenance".to_owned(),
            code: MANUAL.to_owned(),
            at: world.clock.now(),
            by: "ana".to_owned(),
        });
        let record = RunRecord {
            id: "1".to_owned(),
            trigger: Trigger::Schedule,
            request: None,
            started_at: world.clock.now(),
            duration_ms: 1,
            outcome: Outcome::Success,
            stages: Vec::new(),
            error: None,
            error_code: None,
        };
        record::finish(&mut status, &world.service, record, None, false, world.clock.now(), 1);
        assert_eq!(status.resting_state(&world.service, world.clock.now()), State::Paused);
    }
}

apart! {
    fn being_asked_to_end_begins_no_further_stage() {
        let world = world(&["sleep 1; echo done >first", "echo never >second"]);
        let soon = tokio::time::sleep;
        let done = world.ask(
            Ask { trigger: Trigger::Manual, ..Ask::SCHEDULED },
            async move { soon(Duration::from_millis(200)).await },
        );
        assert_eq!(world.read("first"), "done\n", "what is under way may end");
        assert!(!world.path("second").exists());
        assert_eq!(done.report.reason.as_deref(), Some("INTERRUPTED"));
        let status = world.status();
        assert_eq!((status.consecutive_failures, status.next_retry_at), (0, None));
        assert_eq!(world.state(), State::Idle);
    }
}

apart! {
    fn a_request_through_a_scheduler_is_answered() {
        let world = world(&["true"]);
        let name = &world.service.name;
        let leave = |id: &str, ignore_backoff: bool| {
            let (wait, now) = (crate::id::Seconds(0), world.clock.now());
            let left = request::leave(&RealDisk, &world.layout, name, id, ignore_backoff, wait, now);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(left).unwrap();
        };
        leave("r1", false);
        let answer = |id| request::answer(&RealDisk, &world.layout, &world.service, id, world.clock.now());
        assert!(answer("r1").is_none());
        let report = world.later(60).wake();
        assert_eq!((report.action, report.trigger), (Action::RunCompleted, Trigger::Manual));
        assert_eq!(answer("r1").unwrap().trigger_status(), 0);
        assert!(answer("r2").is_none());
        assert_eq!(world.wake().action, Action::NotDue, "a request is good once");

        leave("r3", false);
        assert_eq!(world.later(600).wake().action, Action::NotDue, "and not for long");

        let mut status = world.status();
        status.paused = Some(Paused {
            reason: "x".to_owned(), code: MANUAL.to_owned(), at: world.clock.now(), by: "ana".to_owned(),
        });
        std::fs::write(world.data("status.json"), serde_json::to_vec(&status).unwrap()).unwrap();
        leave("r4", true);
        assert_eq!(world.wake().trigger_status(), 3);
        assert_eq!(answer("r4").unwrap().trigger_status(), 3);
    }
}

apart! {
    fn a_definition_that_is_none_is_refused_by_name() {
        let world = world(&["true"]);
        let path = world.layout.run_file(&world.service.name);
        let refused = |text: &str| {
            std::fs::write(&path, text).unwrap();
            load::load(&RealDisk, &world.layout, &world.service.name).unwrap_err().code
        };
        assert_eq!(refused(""), Code::StateCorrupt);
        assert_eq!(refused("{\"run_version\": 1}"), Code::StateCorrupt);
        assert_eq!(refused("{\"run_version\": 2}"), Code::StateNewer);
        let mut other = world.service.clone();
        other.name = "other".parse().unwrap();
        assert_eq!(refused(&serde_json::to_string(&other).unwrap()), Code::StateForeign);
        std::fs::remove_file(&path).unwrap();
        let error = load::load(&RealDisk, &world.layout, &world.service.name).unwrap_err();
        assert_eq!(error.code, Code::NoSuchResource);
    }
}

apart! {
    fn a_stage_that_the_system_ends_with_us_is_no_failure_of_the_service() {
        // As `systemctl stop` does: the signal goes to the stage, too.
        let world = world(&["echo x >>count; sleep 0.5; kill -TERM $$"]);
        let soon = tokio::time::sleep;
        let done = world.ask(
            Ask { trigger: Trigger::Manual, ..Ask::SCHEDULED },
            async move { soon(Duration::from_millis(200)).await },
        );
        assert_eq!(done.report.reason.as_deref(), Some("INTERRUPTED"));
        assert_eq!(world.read("count"), "x\n");
        assert_eq!(world.status().consecutive_failures, 0);
    }
}

apart! {
    fn an_edit_and_a_run_by_hand_make_nothing_due() {
        let mut world = world(&["true"]);
        world.service.schedule = Schedule::Every(Seconds(86_400));
        world.apply();
        assert_eq!(world.later(86_400).wake().action, Action::RunCompleted);
        // The file's own time is the real one, far from the told.
        let edited: Timestamp = "2026-02-11T09:00:00Z".parse().unwrap();
        world.service.schedule = Schedule::Every(Seconds(300));
        world.apply();
        world.clock.0.set(edited);
        let path = world.layout.run_file(&world.service.name);
        let file = std::fs::File::options().write(true).open(path).unwrap();
        let time = std::time::UNIX_EPOCH + Duration::from_millis(edited.millis().unsigned_abs());
        file.set_modified(time).unwrap();
        world.trigger(false);
        assert_eq!(world.later(200).wake().action, Action::NotDue);
        assert_eq!(world.later(100).wake().action, Action::RunCompleted);
    }
}

apart! {
    fn a_stage_that_does_not_end_in_time_is_ended_with_us() {
        let mut world = world(&["trap '' TERM; echo $$ >pid; while :; do sleep 0.1; done", "echo never >second"]);
        world.service.timeout = Seconds(30 * 86_400);
        world.apply();
        let ask = Ask { trigger: Trigger::Manual, ..Ask::SCHEDULED };
        let path = world.path("pid");
        let begun = async move {
            while !path.exists() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let done = world.ask_in(true, ask, begun);
        assert_eq!(done.report.reason.as_deref(), Some("INTERRUPTED"));
        assert!(!world.path("second").exists());
        let pid = world.read("pid");
        assert!(!std::path::Path::new("/proc").join(pid.trim()).exists());
    }
}

apart! {
    fn what_another_run_said_is_not_believed() {
        let world = world(&["true"]);
        std::fs::write(world.data("result.json"), "{\"items_updated\": 9}").unwrap();
        let report = world.trigger(false);
        assert_eq!(report.stage_results[0].items_updated, 0);
    }
}

#[test]
fn a_failed_probe_opens_the_breaker_whatever_its_limit_is_by_now() {
    let service = fixture::service("sync", &["true"]);
    let now: Timestamp = "2026-02-09T10:00:00Z".parse().unwrap();
    let failure = classify::Failure {
        permanent: false,
        interrupted: false,
        retry_at_once: true,
        code: "EXIT_1".to_owned(),
        message: "no".to_owned(),
        not_before: None,
    };
    let record = RunRecord {
        id: "1".to_owned(),
        trigger: Trigger::Schedule,
        request: None,
        started_at: now,
        duration_ms: 1,
        outcome: Outcome::Failed,
        stages: Vec::new(),
        error: None,
        error_code: None,
    };
    for (probe, opens) in [(true, true), (false, false)] {
        let mut status = Status::new(now);
        record::finish(
            &mut status,
            &service,
            record.clone(),
            Some(&failure),
            probe,
            now,
            1,
        );
        assert_eq!(status.breaker.is_some(), opens);
        assert_eq!(status.next_retry_at.is_none(), opens);
    }
}

#[test]
fn what_passed_during_a_run_was_no_time_off() {
    let mut service = fixture::service("sync", &["true"]);
    let at = |time: &str| -> Timestamp { format!("2026-02-09T{time}:00Z").parse().unwrap() };
    let nightly = Schedule::Cron {
        expression: "0,30 * * * *".to_owned(),
        timezone: "UTC".to_owned(),
    };
    for schedule in [Schedule::Every(Seconds(1800)), nightly] {
        service.schedule = schedule;
        let loaded = Loaded {
            service: service.clone(),
            modified: at("08:00"),
        };
        // From ten on for an hour and forty minutes; then the host was off until two.
        let mut status = Status::new(at("08:00"));
        status.adopt(&service.schedule, at("08:00"));
        status.consume(at("10:00"));
        status.record(RunRecord {
            id: String::new(),
            trigger: Trigger::Schedule,
            request: None,
            started_at: at("10:00"),
            duration_ms: 100 * 60 * 1000,
            outcome: Outcome::Success,
            stages: Vec::new(),
            error: None,
            error_code: None,
        });
        record::miss(&mut status, &loaded, 7);
        let counted = |reason| status.skipped.get(&reason).copied();
        assert_eq!(counted(SkipReason::Overlap), Some(3), "10:30, 11:00, 11:30");
        assert_eq!(counted(SkipReason::Off), Some(4));
    }
}
