//! The verbs on a throw-away state directory.
#![expect(clippy::disallowed_methods, reason = "tests lay out files")]

use super::*;
use crate::{
    effect::{disk::RealDisk, process::Identity},
    service::{
        definition::Service,
        fixture,
        status::{CurrentRun, LastError, Trigger, Tripped},
    },
};

struct World {
    _dir: tempfile::TempDir,
    layout: Layout,
    service: Service,
    now: Timestamp,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let service = fixture::service("sync", &["true"]);
    let layout = Layout::new(dir.path().to_owned(), service.project.clone());
    std::fs::create_dir_all(layout.data(&service.name)).unwrap();
    let text = serde_json::to_vec(&service).unwrap();
    std::fs::write(layout.run_file(&service.name), text).unwrap();
    let now: Timestamp = "2026-02-09T10:00:00Z".parse().unwrap();
    file::seed_status(&RealDisk, &layout, &service, now).unwrap();
    World {
        _dir: dir,
        layout,
        service,
        now,
    }
}

impl World {
    fn verbs(&self) -> Verbs<'_> {
        Verbs {
            disk: &RealDisk,
            layout: &self.layout,
            name: &self.service.name,
            now: self.now,
        }
    }

    fn status(&self) -> Status {
        self.verbs().status().unwrap()
    }

    fn set(&self, change: impl FnOnce(&mut Status)) {
        let mut status = self.status();
        change(&mut status);
        let text = serde_json::to_vec(&status).unwrap();
        std::fs::write(self.layout.status_file(&self.service.name), text).unwrap();
    }
}

#[tokio::test]
async fn a_pause_holds_until_it_is_resumed() {
    let world = world();
    let verbs = world.verbs();
    assert!(!verbs.resume().await.unwrap().was_paused);
    let report = verbs.pause(Some("maintenance"), "ana").await.unwrap();
    assert!(!report.already_paused && !report.after_the_run);
    let paused = world.status().paused.unwrap();
    assert_eq!((paused.by.as_str(), paused.code.as_str()), ("ana", MANUAL));
    let report = verbs.pause(None, "bo").await.unwrap();
    assert!(report.already_paused);
    assert_eq!(world.status().paused.unwrap().reason, "paused by hand");
    let report = verbs.resume().await.unwrap();
    assert!(report.was_paused);
    assert_eq!(report.previous_code.as_deref(), Some(MANUAL));
    assert_eq!(world.status().paused, None);
}

#[tokio::test]
async fn resuming_closes_the_breaker_and_forgets_failures_but_not_a_backoff() {
    let world = world();
    let fail = |status: &mut Status| {
        status.consecutive_failures = 10;
        status.last_error = Some(LastError {
            code: "EXIT_75".to_owned(),
            message: "no network".to_owned(),
            at: world.now,
        });
    };
    world.set(|status| {
        fail(status);
        status.breaker = Some(Tripped {
            opened_at: world.now,
            last_error: "no network".to_owned(),
        });
    });
    let report = world.verbs().resume().await.unwrap();
    assert_eq!(report.consecutive_failures_cleared, 10);
    assert_eq!(report.previous_code.as_deref(), Some(BREAKER));
    let status = world.status();
    assert!(status.breaker.is_none() && status.last_error.is_none());
    assert_eq!(status.consecutive_failures, 0);

    world.set(|status| {
        fail(status);
        status.next_retry_at = Some(world.now.plus_seconds(60));
    });
    assert!(!world.verbs().resume().await.unwrap().was_paused);
    assert_eq!(world.status().consecutive_failures, 10);
}

#[tokio::test]
async fn a_pause_during_a_run_takes_effect_when_it_ends() {
    let world = world();
    let this = Identity::this();
    world.set(|status| {
        status.current_run = Some(CurrentRun {
            id: "1".to_owned(),
            trigger: Trigger::Schedule,
            started_at: world.now,
            pid: this.pid,
            pid_started: this.started,
            boot_id: this.boot.clone(),
        });
    });
    let report = world.verbs().pause(None, "ana").await.unwrap();
    assert!(report.after_the_run);
    let status = world.status();
    assert_eq!(
        status.state(&world.service, world.now, true),
        State::Running
    );
    assert_eq!(
        status.resting_state(&world.service, world.now),
        State::Paused
    );
}

#[tokio::test]
async fn a_repair_keeps_what_it_replaces() {
    let world = world();
    let verbs = world.verbs();
    let report = verbs.repair().await.unwrap();
    assert!(!report.repaired && report.actions.is_empty());
    let path = world.layout.status_file(&world.service.name);
    std::fs::write(&path, "garbage").unwrap();
    let report = verbs.repair().await.unwrap();
    assert!(report.repaired && !report.needs_apply);
    let backup = report.actions[0].backup.clone().unwrap();
    let data = world.layout.data(&world.service.name);
    assert_eq!(
        std::fs::read_to_string(data.join(backup)).unwrap(),
        "garbage"
    );
    assert_eq!(
        world.status().schedule,
        Some(world.service.schedule.clone())
    );

    std::fs::write(&path, "{\"schema_version\": 9}").unwrap();
    assert_eq!(verbs.repair().await.unwrap_err().code, Code::StateNewer);
    assert_eq!(
        verbs.pause(None, "ana").await.unwrap_err().code,
        Code::StateNewer
    );

    std::fs::remove_file(&path).unwrap();
    std::fs::write(world.layout.run_file(&world.service.name), "{").unwrap();
    let report = verbs.repair().await.unwrap();
    assert!(report.needs_apply && !report.repaired);
}

#[tokio::test]
async fn who_may_not_write_is_told_so() {
    let world = world();
    let none: ResourceName = "none".parse().unwrap();
    let verbs = Verbs {
        name: &none,
        ..world.verbs()
    };
    assert_eq!(
        verbs.pause(None, "x").await.unwrap_err().code,
        Code::NoSuchResource
    );
    std::fs::remove_dir_all(world.layout.data(&world.service.name)).unwrap();
    assert_eq!(
        world.verbs().pause(None, "x").await.unwrap_err().code,
        Code::Io
    );
}

#[tokio::test]
async fn a_held_lock_keeps_others_out() {
    let world = world();
    let soon = Duration::from_millis(50);
    let locks = world.verbs().hold(soon).await.unwrap();
    assert_eq!(locks.len(), 1);
    assert_eq!(
        world.verbs().hold(soon).await.unwrap_err().code,
        Code::LockHeld
    );
    drop(locks);
    world.verbs().hold(soon).await.unwrap();
}

#[tokio::test]
async fn a_held_lock_is_waited_for_a_little_and_told() {
    let world = world();
    let data = world.layout.data(&world.service.name);
    let held = crate::effect::lock::Lock::take_dir(&data, Duration::ZERO).await;
    let held = held.unwrap().unwrap();
    let error = world.verbs().pause(None, "ana").await.unwrap_err();
    assert_eq!(error.code, Code::LockHeld);
    assert!(error.suggestion.unwrap().contains("fuser"));
    assert_eq!(world.status().paused, None);
    drop(held);
    world.verbs().pause(None, "ana").await.unwrap();
}
