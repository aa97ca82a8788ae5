//! The worker with a stand-in for lorectl, in processes of their own.
#![expect(clippy::disallowed_methods, reason = "tests lay out files")]

use std::{cell::RefCell, os::unix::fs::PermissionsExt, rc::Rc};

use super::*;
use crate::{
    effect::{clock::FixedClock, disk::RealDisk, process::apart::apart},
    id::Timestamp,
    layout::Layout,
    service::{definition::Service, fixture, status::file},
};

struct World {
    dir: tempfile::TempDir,
    program: PathBuf,
}

const NOW: &str = "2026-02-09T10:30:00Z";

/// A state directory, and a program that runs a script instead of a service.
fn world(script: &str) -> World {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("lorectl");
    // A text file that was just written may still be open in a child between fork and exec.
    std::fs::write(
        &program,
        format!("#!/bin/sh\ncd {}\n{script}\n", dir.path().display()),
    )
    .unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(dir.path().join("state")).unwrap();
    World { dir, program }
}

impl World {
    fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn apply(&self, service: &Service, created: &str) {
        let layout = Layout::new(self.state_dir(), service.project.clone());
        std::fs::create_dir_all(layout.data(&service.name)).unwrap();
        let text = serde_json::to_vec(service).unwrap();
        std::fs::write(layout.run_file(&service.name), text).unwrap();
        let created: Timestamp = created.parse().unwrap();
        file::seed_status(&RealDisk, &layout, service, created).unwrap();
    }

    /// Serves until `enough` says so, at most 80 seconds; then is asked to end. Returns what was told.
    fn serve(&self, enough: impl Fn(&[Event]) -> bool) -> Vec<Event> {
        self.serve_at(&FixedClock(NOW.parse().unwrap()), enough)
    }

    fn serve_at(&self, clock: &dyn Clock, enough: impl Fn(&[Event]) -> bool) -> Vec<Event> {
        let state_dir = self.state_dir();
        let host = Host {
            disk: &RealDisk,
            clock,
            state_dir: &state_dir,
            program: &self.program,
        };
        let told = Rc::new(RefCell::new(Vec::new()));
        let tell = |event: &Event| told.borrow_mut().push(event.clone());
        let terminated = async {
            for _ in 0..8000 {
                if enough(&told.borrow()) {
                    return;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime
            .block_on(serve(&host, terminated, std::future::pending(), &tell))
            .unwrap();
        told.borrow().clone()
    }
}

apart! {
    fn what_is_due_is_woken_side_by_side_and_once() {
        let world = world("echo $7 >>woken; until [ \"$(wc -l <woken)\" = 2 ]; do sleep 0.02; done; echo $* >>ended");
        let due = |name| fixture::service(name, &["true"]);
        world.apply(&due("a"), "2026-02-09T10:00:00Z");
        world.apply(&due("b"), "2026-02-09T09:00:00Z");
        world.apply(&due("later"), "2026-02-09T10:15:00Z");
        let mut timer = due("timer");
        timer.scheduler = crate::service::definition::Scheduler::SystemdUser;
        world.apply(&timer, "2026-02-09T09:00:00Z");
        std::fs::create_dir_all(world.path("state/acme/services/broken")).unwrap();
        std::fs::write(world.path("state/acme/services/broken/run.json"), "{}").unwrap();
        let told = world.serve(|_| world.read("ended").lines().count() == 2);
        assert_eq!(told[1], Event::Serving { services: 3 });
        assert!(matches!(&told[0], Event::Ignored { service, .. } if service == "acme/broken"));
        let mut woken: Vec<String> = world.read("woken").lines().map(str::to_owned).collect();
        woken.sort();
        assert_eq!(woken, ["a", "b"], "once, though the status does not move");
        let state_dir = world.state_dir();
        let line = format!("service run --state-dir {} --project acme a", state_dir.display());
        assert!(world.read("ended").contains(&line));
    }
}

apart! {
    fn what_is_applied_and_removed_meanwhile_is_noticed() {
        let world = world("echo $7 >>woken");
        let told = world.serve(|told| {
            if told.len() == 1 {
                world.apply(&fixture::service("new", &["true"]), "2026-02-09T10:00:00Z");
            }
            world.read("woken") == "new\n"
        });
        assert_eq!(told[0], Event::Serving { services: 0 });
    }
}

apart! {
    fn one_worker_serves_a_directory() {
        let world = world("true");
        assert!(!is_alive(&world.state_dir()));
        let alive = Rc::new(RefCell::new(false));
        world.serve(|_| {
            *alive.borrow_mut() = is_alive(&world.state_dir());
            true
        });
        assert!(*alive.borrow());
        assert!(!is_alive(&world.state_dir()));
        let _lock = Lock::try_take(&world.path("state/worker.lock"), 0o644).unwrap();
        let clock = FixedClock(NOW.parse().unwrap());
        let state_dir = world.state_dir();
        let host = Host { disk: &RealDisk, clock: &clock, state_dir: &state_dir, program: &world.program };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let refused = serve(&host, std::future::pending(), std::future::pending(), &|_| {});
        assert_eq!(runtime.block_on(refused).unwrap_err().code, Code::LockHeld);
    }
}

apart! {
    fn being_asked_to_end_asks_the_runs_and_waits_for_them() {
        let world = world("trap 'sleep 0.3; echo asked >ended; exit 0' TERM; echo >begun; while :; do sleep 0.05; done");
        world.apply(&fixture::service("a", &["true"]), "2026-02-09T10:00:00Z");
        let told = world.serve(|_| world.path("begun").exists());
        assert_eq!(told.last(), Some(&Event::Ending { running: 1 }));
        assert_eq!(world.read("ended"), "asked\n");
    }
}

apart! {
    fn what_a_killed_runner_leaves_is_ended() {
        let world = world("setsid sh -c 'echo $$ >left; exec sleep 100' & until [ -s left ]; do :; done; kill -9 $$");
        world.apply(&fixture::service("a", &["true"]), "2026-02-09T10:00:00Z");
        let left = RefCell::new(true);
        let told = world.serve(|told| {
            let ended = told.iter().any(|event| matches!(event, Event::Ended { .. }));
            if ended {
                let pid = world.read("left");
                *left.borrow_mut() = std::path::Path::new("/proc").join(pid.trim()).exists();
            }
            ended
        });
        assert!(!*left.borrow(), "it is ended when its runner has, not when the worker does");
        assert!(told.iter().any(|event| matches!(event, Event::Ended { how, .. } if how.contains('9'))));
    }
}
