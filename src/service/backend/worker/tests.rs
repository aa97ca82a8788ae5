//! The worker's backend on a throw-away state directory.
#![expect(clippy::disallowed_methods, reason = "tests lay out files")]

use std::{cell::RefCell, time::Duration};

use super::*;
use crate::{
    effect::{
        clock::FixedClock,
        disk::{Disk, RealDisk},
        lock::Lock,
    },
    id::{Address, BackendId, Kind, Seconds, Timestamp},
    resource::{
        Act, Definition, Disruption, File, Image, Observe, Outcome, Owner, Part, Scope, ScopeEntry,
        Seen, Step, StepId, Undo, Verb,
    },
    service::{
        definition::Service,
        fixture, image,
        status::file::{self, Stored},
    },
};

const NOW: &str = "2026-02-09T10:00:00Z";

struct World {
    dir: tempfile::TempDir,
    backend: Worker,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let backend = at(dir.path(), NOW);
    World { dir, backend }
}

fn at(dir: &std::path::Path, now: &str) -> Worker {
    let layout = Layout::new(dir.to_owned(), "acme".parse().unwrap());
    let clock = FixedClock(now.parse().unwrap());
    Worker::new(layout, Rc::new(RealDisk), Rc::new(clock))
}

fn applier() -> Owner {
    RealDisk.identity()
}

fn address(service: &Service) -> Address {
    Address::new(Kind::Service, service.name.clone())
}

fn image_of(service: &Service) -> Image {
    let bytes = serde_json::to_vec(service).unwrap();
    let file = File::new(bytes, 0o600, applier());
    let user = service.user.as_deref();
    let runner = user.and_then(|user| crate::effect::user::by_name(user).unwrap());
    let runner = runner.map_or_else(applier, |account| account.owner);
    let data = image::data(image::DATA_MODE, runner);
    let parts = [(image::RUN, Part::File(file)), (image::DATA, data)];
    parts.into_iter().collect()
}

fn step(verb: Verb, service: &Service) -> Step {
    let after = verb == image::INSTALL || verb == image::UPDATE;
    Step {
        id: StepId(1),
        address: address(service),
        resource: service.id.clone(),
        backend: Scheduler::Worker.backend(),
        verb,
        depends_on: Vec::new(),
        disruption: Disruption::None,
        undo: Undo::RestoreBefore,
        before: None,
        after: after.then(|| image_of(service)),
        definition: Definition::of(service).unwrap(),
        patience: Seconds(0),
    }
}

impl World {
    async fn act(&self, steps: &[Step]) -> Vec<Outcome> {
        let told = RefCell::new(0);
        let outcomes = self
            .backend
            .act(steps, &|_, _| *told.borrow_mut() += 1)
            .await;
        assert_eq!(*told.borrow(), steps.len());
        outcomes
    }

    async fn done(&self, verb: Verb, service: &Service) {
        let outcomes = self.act(&[step(verb, service)]).await;
        assert_eq!(outcomes, [Outcome::Done]);
    }

    async fn see(&self, service: &Service, known: &[&Image]) -> Option<Seen> {
        let address = address(service);
        let definition = Definition::of(service).unwrap();
        let backend: BackendId = Scheduler::Worker.backend();
        let scope = Scope {
            project: &service.project,
            entries: vec![ScopeEntry {
                address: &address,
                id: &service.id,
                backend: &backend,
                definition: &definition,
                known: known.to_vec(),
            }],
            all_bytes: false,
        };
        let observed = self.backend.observe(&scope).await.unwrap();
        observed.resources.get(&address).cloned()
    }

    async fn strays(&self) -> Vec<String> {
        let project = "acme".parse().unwrap();
        let scope = Scope {
            project: &project,
            entries: Vec::new(),
            all_bytes: false,
        };
        let observed = self.backend.observe(&scope).await.unwrap();
        let strays = observed.strays.into_iter();
        strays
            .map(|stray| stray.address.unwrap().to_string())
            .collect()
    }
}

fn mode(path: &std::path::Path) -> u32 {
    RealDisk.stat(path).unwrap().unwrap().mode
}

#[tokio::test]
async fn a_service_is_made_seen_changed_and_removed() {
    let world = world();
    let layout = &world.backend.layout;
    let mut service = fixture::service("sync", &["true"]);
    assert_eq!(world.see(&service, &[]).await, None);
    world.done(image::INSTALL, &service).await;
    assert_eq!(mode(&layout.service(&service.name)), 0o711);
    assert_eq!(mode(&layout.data(&service.name)), 0o700);
    assert_eq!(mode(&layout.run_file(&service.name)), 0o600);

    let Some(Seen::Ours(found)) = world.see(&service, &[]).await else {
        panic!("it is not seen");
    };
    assert_eq!(found.image, image_of(&service));
    assert!(found.image.file("run.json").unwrap().bytes.is_some());
    assert_eq!(found.counts_from.unwrap().to_string(), NOW);
    assert_eq!(found.running_since, None);
    let known = image_of(&service);
    let Some(Seen::Ours(found)) = world.see(&service, &[&known]).await else {
        panic!("it is not seen");
    };
    assert!(
        found.image.file("run.json").unwrap().bytes.is_none(),
        "known bytes are not carried"
    );

    service.timeout = Seconds(5);
    world.done(image::UPDATE, &service).await;
    let Some(Seen::Ours(found)) = world.see(&service, &[&known]).await else {
        panic!("it is not seen");
    };
    assert_eq!(found.image, image_of(&service));
    assert!(found.image.file("run.json").unwrap().bytes.is_some());

    // What a job left stays; what never ran leaves nothing.
    let kept = layout.data(&service.name).join("kept");
    RealDisk
        .write(
            &kept,
            b"by the job",
            0o600,
            None,
            crate::effect::disk::Durability::Batch,
        )
        .unwrap();
    world.done(image::REMOVE, &service).await;
    assert_eq!(world.see(&service, &[]).await, None);
    assert!(layout.status_file(&service.name).exists(), "data/ stays");
    world.done(image::REMOVE, &service).await;
    world.done(image::PURGE, &service).await;
    assert!(!layout.service(&service.name).exists());
    let left = RealDisk.list(&layout.services()).unwrap();
    assert!(left.is_empty(), "{left:?}");

    world.done(image::INSTALL, &service).await;
    world.done(image::REMOVE, &service).await;
    assert!(!layout.service(&service.name).exists(), "it never ran");
}

#[tokio::test]
async fn a_service_made_anew_counts_from_then() {
    let world = world();
    let service = fixture::service("sync", &["true"]);
    world.done(image::INSTALL, &service).await;
    let status = || match file::read(&RealDisk, &world.backend.layout, &service.name) {
        Stored::Good(status) => *status,
        other => panic!("{other:?}"),
    };
    assert_eq!(status().created_at.to_string(), NOW);
    assert_eq!(status().schedule, Some(service.schedule.clone()));
    world.done(image::REMOVE, &service).await;
    let later = at(world.dir.path(), "2026-02-10T10:00:00Z");
    let steps = [step(image::INSTALL, &service)];
    assert_eq!(later.act(&steps, &|_, _| {}).await, [Outcome::Done]);
    assert_eq!(status().created_at.to_string(), "2026-02-10T10:00:00Z");
}

#[tokio::test]
async fn a_run_in_flight_is_waited_for() {
    let world = world();
    let layout = &world.backend.layout;
    let (a, b) = (
        fixture::service("a", &["true"]),
        fixture::service("b", &["true"]),
    );
    world.done(image::INSTALL, &a).await;
    world.done(image::INSTALL, &b).await;
    let lock_of = |service: &Service| {
        Lock::try_take(&layout.run_lock(&service.name), 0o600)
            .unwrap()
            .unwrap()
    };
    let (lock_a, _lock_b) = (lock_of(&a), lock_of(&b));
    let Some(Seen::Ours(found)) = world.see(&a, &[]).await else {
        panic!("it is not seen");
    };
    assert!(found.running_since.is_some());

    let removal = |service: &Service| Step {
        patience: Seconds(1),
        ..step(image::REMOVE, service)
    };
    let steps = [removal(&a), removal(&b)];
    let release = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(lock_a);
    };
    let (outcomes, ()) = tokio::join!(world.act(&steps), release);
    assert_eq!(outcomes[0], Outcome::Done);
    assert!(matches!(outcomes[1], Outcome::Held { .. }), "{outcomes:?}");
    assert!(layout.run_file(&b.name).exists());
}

#[tokio::test]
async fn what_is_another_s_is_foreign_and_what_is_damaged_is_drift() {
    let world = world();
    let service = fixture::service("sync", &["true"]);
    world.done(image::INSTALL, &service).await;
    let path = world.backend.layout.run_file(&service.name);
    let mut other = service.clone();
    other.id = ResourceId::from_mark("000000000000");
    std::fs::write(&path, serde_json::to_vec(&other).unwrap()).unwrap();
    assert!(matches!(
        world.see(&service, &[]).await,
        Some(Seen::Foreign { .. })
    ));
    let outcomes = world.act(&[step(image::REMOVE, &service)]).await;
    assert!(
        matches!(&outcomes[0], Outcome::Failed { .. }),
        "{outcomes:?}"
    );
    assert!(path.exists());

    std::fs::write(&path, "garbage").unwrap();
    assert!(matches!(
        world.see(&service, &[]).await,
        Some(Seen::Ours(_))
    ));
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    assert!(matches!(
        world.see(&service, &[]).await,
        Some(Seen::Foreign { .. })
    ));
}

#[tokio::test]
async fn strays_are_the_worker_s_own_that_nobody_asks_for() {
    let world = world();
    world
        .done(image::INSTALL, &fixture::service("left", &["true"]))
        .await;
    let mut timer = fixture::service("timer", &["true"]);
    world.done(image::INSTALL, &timer).await;
    timer.scheduler = Scheduler::SystemdSystem;
    let path = world.backend.layout.run_file(&timer.name);
    std::fs::write(path, serde_json::to_vec(&timer).unwrap()).unwrap();
    std::fs::create_dir(world.backend.layout.services().join("UPPER")).unwrap();
    assert_eq!(world.strays().await, ["service.left"]);
    assert_eq!(world.see(&timer, &[]).await, None, "that one is systemd's");
}

#[tokio::test]
async fn hostile_data_neither_hangs_nor_lies() {
    let world = world();
    let service = fixture::service("sync", &["true"]);
    world.done(image::INSTALL, &service).await;
    let layout = &world.backend.layout;
    let status = layout.status_file(&service.name);
    let spoil = |path: &std::path::Path| {
        let _ = std::fs::remove_file(path);
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    };
    spoil(&status);
    spoil(&layout.run_lock(&service.name));
    let Some(Seen::Ours(found)) = world.see(&service, &[]).await else {
        panic!("it is not seen");
    };
    assert_eq!((found.running_since, found.counts_from), (None, None));
    world.done(image::REMOVE, &service).await;

    std::fs::remove_file(layout.run_lock(&service.name)).unwrap();
    let _lock = Lock::try_take(&layout.run_lock(&service.name), 0o600).unwrap();
    let since: Option<Timestamp> = file::running_since(&RealDisk, layout, &service.name);
    assert!(since.is_some(), "the kernel says that one runs");
}

#[tokio::test]
async fn data_of_another_user_is_put_out_of_the_way() {
    if !crate::effect::process::is_root() {
        eprintln!("skipped: only root makes files of other users");
        return;
    }
    let world = world();
    let layout = &world.backend.layout;
    let mut service = fixture::service("sync", &["true"]);
    service.user = Some("nobody".to_owned());
    world.done(image::INSTALL, &service).await;
    let owner = |path: &std::path::Path| RealDisk.stat(path).unwrap().unwrap().owner.uid;
    let nobody = crate::effect::user::by_name("nobody").unwrap().unwrap();
    assert_eq!(owner(&layout.data(&service.name)), nobody.owner.uid);
    assert_eq!(owner(&layout.status_file(&service.name)), nobody.owner.uid);
    assert_eq!(owner(&layout.run_lock(&service.name)), nobody.owner.uid);
    let read = || match file::read(&RealDisk, layout, &service.name) {
        Stored::Good(status) => *status,
        other => panic!("{other:?}"),
    };
    let mut ran = read();
    ran.paused = Some(crate::service::status::Paused {
        reason: "by hand".to_owned(),
        code: crate::service::status::MANUAL.to_owned(),
        at: NOW.parse().unwrap(),
        by: "joe".to_owned(),
    });
    ran.consecutive_failures = 3;
    ran.last_scheduled_start = Some("2026-02-09T09:00:00Z".parse().unwrap());
    std::fs::write(
        layout.status_file(&service.name),
        serde_json::to_vec(&ran).unwrap(),
    )
    .unwrap();
    std::os::unix::fs::symlink("/etc", layout.logs(&service.name)).unwrap();
    let names = || -> Vec<String> {
        let listed = RealDisk.list(&layout.service(&service.name)).unwrap();
        listed.into_iter().map(|(name, _)| name).collect()
    };
    let mut changed = service.clone();
    changed.user = None;

    // A run in flight is waited for, and nothing is touched meanwhile.
    let lock = Lock::try_take(&layout.run_lock(&service.name), 0o600).unwrap();
    let outcomes = world.act(&[step(image::UPDATE, &changed)]).await;
    assert!(matches!(outcomes[0], Outcome::Held { .. }), "{outcomes:?}");
    assert_eq!(owner(&layout.data(&service.name)), nobody.owner.uid);
    drop(lock);

    // What fails after it takes it back.
    let run = layout.run_file(&service.name);
    std::fs::remove_file(&run).unwrap();
    std::fs::create_dir(&run).unwrap();
    let outcomes = world.act(&[step(image::UPDATE, &changed)]).await;
    assert!(
        matches!(outcomes[0], Outcome::Failed { .. }),
        "{outcomes:?}"
    );
    assert_eq!(owner(&layout.data(&service.name)), nobody.owner.uid);
    assert_eq!(names(), ["data", "run.json"]);
    std::fs::remove_dir(&run).unwrap();

    world.done(image::UPDATE, &changed).await;
    assert_eq!(owner(&layout.data(&service.name)), 0);
    assert_eq!(owner(&layout.status_file(&service.name)), 0);
    assert_eq!(owner(&layout.run_lock(&service.name)), 0);
    assert_eq!(read(), ran, "the pause and the schedule are carried over");
    assert!(
        RealDisk
            .stat(&layout.logs(&service.name))
            .unwrap()
            .is_none()
    );
    let aside = format!(
        "data.of-{}-{}",
        nobody.owner.uid,
        world.backend.clock.now().millis()
    );
    assert_eq!(names(), ["data", aside.as_str(), "run.json"]);

    // An undo gives the old user all of it back.
    world.done(image::UPDATE, &service).await;
    assert_eq!(owner(&layout.data(&service.name)), nobody.owner.uid);
    assert!(
        RealDisk
            .stat(&layout.logs(&service.name))
            .unwrap()
            .is_some()
    );
    assert_eq!(read(), ran);
    assert_eq!(names(), ["data", "run.json"]);

    // After a run the new user's data is its own, and is kept aside in turn.
    world.done(image::UPDATE, &changed).await;
    std::fs::create_dir(layout.logs(&service.name)).unwrap();
    world.done(image::UPDATE, &service).await;
    assert!(
        RealDisk
            .stat(&layout.logs(&service.name))
            .unwrap()
            .is_none()
    );
    assert_eq!(names().len(), 4, "{:?}", names());
    world.done(image::PURGE, &service).await;
    assert!(!layout.service(&service.name).exists());
}

#[tokio::test]
async fn a_removal_that_is_undone_leaves_the_schedule_alone() {
    let world = world();
    let layout = &world.backend.layout;
    let service = fixture::service("sync", &["true"]);
    world.done(image::INSTALL, &service).await;
    std::fs::write(layout.data(&service.name).join("kept"), "").unwrap();
    world.done(image::REMOVE, &service).await;
    let later = at(world.dir.path(), "2026-02-10T10:00:00Z");
    let restore = Step {
        after: Some(image_of(&service)),
        ..step(crate::resource::Verb::from_static("restore"), &service)
    };
    assert_eq!(later.act(&[restore], &|_, _| {}).await, [Outcome::Done]);
    assert!(layout.run_file(&service.name).exists());
    match file::read(&RealDisk, layout, &service.name) {
        Stored::Good(status) => assert_eq!(status.created_at.to_string(), NOW),
        other => panic!("{other:?}"),
    }
}
