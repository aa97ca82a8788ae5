//! What goes wrong, and what is left of it.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use lorectl::{
    id::{Lineage, ResourceId, Seconds},
    resource::{Outcome, Scope, Seen, UnknownCode},
    service::{backend::systemd::Systemd, definition::Sandbox, image},
};

use crate::{
    Test,
    liar::Liar,
    run,
    systemd::Machine,
    world::{World, act, address, done, install, observe, ours, ours_with_bytes, step, wait},
};

/// For the system's manager.
pub const SYSTEM: &[Test] = &[
    ("an_immutable_unit_fails_its_own_step", immutable),
    ("a_timer_that_refuses_to_start_fails_its_own_step", refused),
    (
        "a_unit_that_does_not_load_fails_its_own_step",
        does_not_load,
    ),
    (
        "a_setting_that_systemd_drops_fails_its_own_step",
        dropped_setting,
    ),
    ("a_write_that_lies_fails_its_own_step", lied_to),
    ("a_removal_waits_for_a_run", waits_for_run),
    ("a_removal_is_held_by_a_run_that_does_not_end", held_by_run),
    ("what_is_not_ours_is_foreign", foreign),
    ("what_others_keep_beside_is_told", notes),
    ("strays_are_found_by_their_mark", strays),
    ("without_a_bus_nothing_is_known", no_bus),
    ("a_link_that_cannot_be_made_fails_its_step", no_link),
    (
        "a_user_without_a_manager_is_told_how_to_get_one",
        no_manager,
    ),
];

/// For a user's manager.
pub const USER_TESTS: &[Test] = &[
    ("the_systems_units_are_not_a_users", not_permitted),
    (
        "a_setting_that_systemd_drops_fails_its_own_step",
        dropped_setting_of_a_user,
    ),
];

fn failed(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Failed { message, .. } => message,
        other => panic!("{other:?}"),
    }
}

/// Success was reported, and other bytes are there: seen before systemd reads them.
fn lied_to() {
    wait(async {
        for about in ["b.service", "b.timer", "services/b/run.json"] {
            let mut machine = Machine::system();
            let about = about.to_owned();
            let liar = std::rc::Rc::new(Liar {
                about: about.clone(),
            });
            machine.backend = Systemd::system(machine.layout.clone(), liar);
            let (a, b) = (machine.service("a"), machine.service("b"));
            let batch = [install(&machine, &b), install(&machine, &a)];
            let outcomes = act(&machine, &batch).await;
            let message = failed(&outcomes[0]);
            let said = format!("{about} is not what was just written");
            assert!(message.contains(&said), "{about}: {message}");
            assert_eq!(outcomes[1], Outcome::Done, "{about}");
            assert_eq!(machine.residue("b"), [""; 0], "{about}");
        }
    });
}

fn dropped_setting() {
    dropped_on(&Machine::system());
}

fn dropped_setting_of_a_user() {
    dropped_on(&Machine::user());
}

/// Values that systemd reads, and values that it logs and forgets.
fn dropped_on(machine: &Machine) {
    wait(async {
        let with = |name: &str, settings: &[(&str, &str)]| {
            let mut service = machine.service(name);
            let settings = settings.iter().map(|(key, value)| {
                let values = value.split('|').map(str::to_owned).collect();
                ((*key).to_owned(), values)
            });
            service.unit = settings.collect();
            service
        };
        let bad = with("bad", &[("CPUQuota", "banana"), ("MemoryMax", "lots")]);
        let good = with(
            "good",
            &[
                ("CPUQuota", "20%"),
                ("LimitNOFILE", "64:128"),
                // Advice is no refusal.
                ("MemoryLimit", "1G"),
                ("SystemCallFilter", "@system-service|~@privileged"),
                // Takes a unit that is not there.
                ("Slice", "none-such.slice"),
            ],
        );
        let batch = [install(machine, &bad), install(machine, &good)];
        let outcomes = act(machine, &batch).await;
        let message = failed(&outcomes[0]);
        for part in ["CPUQuota=banana", "MemoryMax=lots", "ignoring"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert_eq!(outcomes[1], Outcome::Done);
        assert_eq!(machine.residue("bad"), [""; 0]);

        // An update that fails leaves what was there.
        let mut next = good.clone();
        next.unit = [("IOWeight".to_owned(), vec!["0".to_owned()])].into();
        let before = ours_with_bytes(machine, &good).await;
        let images = (machine.image(&good), machine.image(&next));
        let update = step(&image::UPDATE, &next, Some(images.0), Some(images.1));
        let outcomes = act(machine, &[update]).await;
        assert!(failed(&outcomes[0]).contains("IOWeight=0"), "{outcomes:?}");
        assert_eq!(ours_with_bytes(machine, &good).await, before);
    });
}

fn immutable() {
    wait(async {
        let machine = Machine::system();
        let (a, b) = (machine.service("a"), machine.service("b"));
        // A create: something immutable of the same name stands there already.
        let path = machine.path("b", "service");
        let text = machine.image(&b);
        let text = text.file("service").unwrap().bytes.clone().unwrap();
        fs::write(&path, &text).unwrap();
        run("chattr", &["+i", path.to_str().unwrap()]);
        let outcomes = act(&machine, &[install(&machine, &a), install(&machine, &b)]).await;
        assert_eq!(outcomes[0], Outcome::Done);
        assert!(failed(&outcomes[1]).contains("lorectl-"), "{outcomes:?}");
        assert_eq!(ours(&machine, &a).await, machine.image(&a));
        assert_eq!(machine.residue("b"), [machine.unit("b", "service")]);
        run("chattr", &["-i", path.to_str().unwrap()]);
        done(&machine, &[install(&machine, &b)]).await;

        // An update: of the timer too, which is stopped before and must be up after.
        run("chattr", &["+i", path.to_str().unwrap()]);
        let update = |service: &lorectl::service::definition::Service| {
            let mut next = service.clone();
            next.timeout = Seconds(60);
            next.schedule = lorectl::service::definition::Schedule::Every(Seconds(60));
            let images = (machine.image(service), machine.image(&next));
            (
                step(&image::UPDATE, &next, Some(images.0), Some(images.1)),
                next,
            )
        };
        let before = ours_with_bytes(&machine, &b).await;
        let ((update_a, next_a), (update_b, _)) = (update(&a), update(&b));
        let outcomes = act(&machine, &[update_b, update_a]).await;
        failed(&outcomes[0]);
        assert_eq!(outcomes[1], Outcome::Done);
        assert_eq!(ours_with_bytes(&machine, &b).await, before);
        assert_eq!(ours(&machine, &next_a).await, machine.image(&next_a));

        // A delete.
        let remove = |service, image| step(&image::REMOVE, service, Some(image), None);
        let steps = [
            remove(&b, before.clone()),
            remove(&next_a, machine.image(&next_a)),
        ];
        let outcomes = act(&machine, &steps).await;
        failed(&outcomes[0]);
        assert_eq!(outcomes[1], Outcome::Done);
        assert_eq!(ours_with_bytes(&machine, &b).await, before);
        run("chattr", &["-i", path.to_str().unwrap()]);
        done(&machine, &[remove(&b, before)]).await;
        assert_eq!(machine.residue("b"), [""; 0], "it never ran");
    });
}

/// Makes the timers of all services whose names begin with `c-` refuse to be started.
fn refuse(machine: &Machine) -> std::path::PathBuf {
    let dir = machine
        .places
        .units
        .join(format!("lorectl-{}.c-.timer.d", machine.project()));
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("refuse.conf"), "[Unit]\nRefuseManualStart=yes\n").unwrap();
    run("systemctl", &["daemon-reload"]);
    dir
}

fn refused() {
    wait(async {
        let machine = Machine::system();
        let dir = refuse(&machine);
        let (three, four) = (machine.service("c-three"), machine.service("four"));
        let steps = [install(&machine, &three), install(&machine, &four)];
        let outcomes = act(&machine, &steps).await;
        assert!(failed(&outcomes[0]).contains("cannot start its timer"));
        assert_eq!(outcomes[1], Outcome::Done);
        assert_eq!(machine.residue("c-three"), [""; 0]);
        assert_eq!(observe(&machine, &[&three], false).await, [None]);

        // An update that must start the timer anew is put back, but the timer stays down: that is told.
        fs::remove_dir_all(&dir).unwrap();
        run("systemctl", &["daemon-reload"]);
        done(&machine, &[install(&machine, &three)]).await;
        refuse(&machine);
        let before = ours_with_bytes(&machine, &three).await;
        let mut next = three.clone();
        next.schedule = lorectl::service::definition::Schedule::Every(Seconds(60));
        let after = Some(machine.image(&next));
        let update = step(&image::UPDATE, &next, Some(before.clone()), after);
        let outcomes = act(&machine, &[update]).await;
        assert!(failed(&outcomes[0]).contains("cannot start its timer again"));
        let seen = ours(&machine, &three).await;
        assert_eq!(crate::world::differences(&before, &seen), ["active"]);
        fs::remove_dir_all(&dir).unwrap();
    });
}

fn does_not_load() {
    wait(async {
        let machine = Machine::system();
        let (good, mut bad) = (machine.service("good"), machine.service("bad"));
        bad.unit = [("ExecStart".to_owned(), Vec::new())].into();
        let steps = [install(&machine, &bad), install(&machine, &good)];
        let outcomes = act(&machine, &steps).await;
        assert!(failed(&outcomes[0]).contains("bad-setting"), "{outcomes:?}");
        assert_eq!(outcomes[1], Outcome::Done);
        assert_eq!(machine.residue("bad"), [""; 0]);
        assert_eq!(ours(&machine, &good).await, machine.image(&good));
    });
}

/// Made by a run that came to its end.
const ENDED: &str = "/run/lorectl-tests/ended";

/// A service whose runs last so many seconds, with one under way.
fn running(machine: &mut Machine, seconds: &str) -> lorectl::service::definition::Service {
    let program = Path::new("/usr/local/lib/lorectl-tests/sleep").join(seconds);
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    fs::write(
        &program,
        format!("#!/bin/sh\nsleep {seconds}\ntouch {ENDED}\n"),
    )
    .unwrap();
    run("chmod", &["0755", program.to_str().unwrap()]);
    machine.context.binary = program;
    let mut service = machine.service("runs");
    service.sandbox = Sandbox::Off;
    wait(done(machine, &[install(machine, &service)]));
    let unit = machine.unit("runs", "service");
    run("systemctl", &["start", "--no-block", &unit]);
    crate::world::poll("the run", || {
        machine.property(&unit, "ActiveState") == "activating"
    });
    service
}

fn waits_for_run() {
    let mut machine = Machine::system();
    let service = running(&mut machine, "2");
    let other = machine.service("other");
    wait(async {
        let before = Some(machine.image(&service));
        let remove = step(&image::PURGE, &service, before, None);
        let outcomes = act(&machine, &[remove, install(&machine, &other)]).await;
        assert_eq!(outcomes, [Outcome::Done, Outcome::Done]);
    });
    assert!(Path::new(ENDED).exists(), "the run came to its own end");
    assert_eq!(machine.residue("runs"), [""; 0]);
}

fn held_by_run() {
    let mut machine = Machine::system();
    let service = running(&mut machine, "600");
    let before = machine.image(&service);
    let mut remove = step(&image::REMOVE, &service, Some(before.clone()), None);
    remove.patience = Seconds(1);
    let began = Instant::now();
    let outcomes = wait(act(&machine, &[remove]));
    assert!(began.elapsed() < Duration::from_secs(60));
    assert!(matches!(outcomes[0], Outcome::Held { .. }), "{outcomes:?}");
    assert_eq!(wait(ours(&machine, &service)), before, "timer and all");
    run(
        "systemctl",
        &["kill", "--signal=KILL", &machine.unit("runs", "service")],
    );
}

fn foreign() {
    let machine = Machine::system();
    let theirs = |name: &str, suffix: &str, text: &str| {
        fs::write(machine.path(name, suffix), text).unwrap();
    };
    theirs("plain", "service", "[Service]\nExecStart=/bin/true\n");
    let project = machine.project();
    let other = Lineage::derive("another machine", 0, project);
    let other = ResourceId::derive(&other, &address("moved"));
    theirs(
        "moved",
        "timer",
        &format!("[Unit]\nX-Lorectl-Project={project}\nX-Lorectl-Id={other}\n"),
    );
    std::os::unix::fs::symlink("/dev/null", machine.path("masked", "timer")).unwrap();
    fs::create_dir_all(machine.path("early", "timer.d")).unwrap();
    fs::write(machine.path("early", "timer.d").join("a.conf"), "[Unit]\n").unwrap();
    fs::create_dir_all(machine.path("dir", "service")).unwrap();
    wait(async {
        for (name, why) in [
            ("plain", "mark"),
            ("moved", "another state"),
            ("masked", "symbolic link"),
            ("early", "timer.d/a.conf"),
            ("dir", "not a file"),
        ] {
            let service = machine.service(name);
            match observe(&machine, &[&service], false).await.remove(0) {
                Some(Seen::Foreign { reason }) => {
                    assert!(reason.contains(why), "{name}: {reason}");
                    assert!(reason.contains(&machine.unit(name, "")), "{name}: {reason}");
                }
                other => panic!("{name} is {other:?}"),
            }
        }
    });
}

fn notes() {
    let machine = Machine::system();
    let service = machine.service("c-noted");
    wait(done(&machine, &[install(&machine, &service)]));
    let dir = refuse(&machine);
    let all = Path::new("/run/systemd/system/service.d");
    fs::create_dir_all(all).unwrap();
    fs::write(all.join("all.conf"), "[Service]\nNice=1\n").unwrap();
    let seen = wait(observe(&machine, &[&service], false)).remove(0);
    let Some(Seen::Ours(found)) = seen else {
        panic!("{seen:?}");
    };
    assert_eq!(found.image, machine.image(&service), "not our drift");
    assert_eq!(found.notes.len(), 2, "{:?}", found.notes);
    assert!(found.notes[0].contains("c-.timer.d/refuse.conf"));
    assert!(found.notes[1].contains("service.d/all.conf"));
    fs::remove_dir_all(dir).unwrap();
    fs::remove_dir_all(all).unwrap();
}

fn strays() {
    let machine = Machine::system();
    let (kept, lost) = (machine.service("kept"), machine.service("lost"));
    wait(async {
        done(
            &machine,
            &[install(&machine, &kept), install(&machine, &lost)],
        )
        .await;
        let kept_address = address("kept");
        let backend = kept.scheduler.backend();
        let definition = lorectl::resource::Definition::of(&kept).unwrap();
        let scope = Scope {
            project: machine.project(),
            entries: vec![lorectl::resource::ScopeEntry {
                address: &kept_address,
                id: &kept.id,
                backend: &backend,
                definition: &definition,
                known: Vec::new(),
            }],
            all_bytes: false,
        };
        let observed = machine.backend().observe(&scope).await.unwrap();
        assert_eq!(observed.strays.len(), 1, "{:?}", observed.strays);
        assert_eq!(observed.strays[0].address, Some(address("lost")));
        assert_eq!(observed.strays[0].id, lost.id);
    });
}

fn no_bus() {
    let machine = Machine::system();
    let service = machine.service("alone");
    wait(done(&machine, &[install(&machine, &service)]));
    run("systemctl", &["stop", "dbus.socket", "dbus.service"]);
    let machine = Machine {
        backend: lorectl::service::backend::systemd::Systemd::system(
            machine.layout.clone(),
            std::rc::Rc::new(lorectl::effect::disk::RealDisk),
        ),
        ..machine
    };
    let absent = machine.service("absent");
    let seen = wait(observe(&machine, &[&service, &absent], false));
    let outcomes = wait(act(&machine, &[install(&machine, &absent)]));
    run("systemctl", &["start", "dbus.socket", "dbus.service"]);
    for seen in seen {
        match seen {
            Some(Seen::Unknown { code, reason, .. }) => {
                assert_eq!(code, UnknownCode::BackendUnavailable, "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(
        failed(&outcomes[0]).contains("does not answer"),
        "{outcomes:?}"
    );
    assert_eq!(machine.residue("absent"), [""; 0]);
}

fn no_link() {
    wait(async {
        let machine = Machine::system();
        let (a, b) = (machine.service("a"), machine.service("b"));
        done(&machine, &[install(&machine, &a)]).await;
        let before = ours_with_bytes(&machine, &a).await;
        let mut next = a.clone();
        next.schedule = lorectl::service::definition::Schedule::Every(Seconds(60));
        let mut after = machine.image(&next);
        after.set(image::ENABLED, lorectl::resource::Part::Flag(false));
        let update = step(&image::UPDATE, &next, Some(before.clone()), Some(after));
        let wants = machine.places.wants();
        run("chattr", &["+i", wants.to_str().unwrap()]);
        let outcomes = act(&machine, &[update, install(&machine, &b)]).await;
        run("chattr", &["-i", wants.to_str().unwrap()]);
        for outcome in &outcomes {
            assert!(
                failed(outcome).contains("timers.target.wants"),
                "{outcome:?}"
            );
        }
        // Both timers had been started by then.
        assert_eq!(ours(&machine, &a).await, before);
        let timer = machine.unit("a", "timer");
        let monotonic = machine.property(&timer, "TimersMonotonic");
        assert!(
            monotonic.contains("1h"),
            "with its old interval: {monotonic}"
        );
        assert_eq!(machine.residue("b"), [""; 0]);
    });
}

fn no_manager() {
    let machine = Machine::system();
    let account = lorectl::effect::user::Account {
        name: "nobody-at-home".to_owned(),
        owner: lorectl::resource::Owner {
            uid: 4242,
            gid: 4242,
        },
        home: "/var/lib/nobody-at-home".into(),
    };
    let disk = std::rc::Rc::new(lorectl::effect::disk::RealDisk);
    let machine = Machine {
        backend: lorectl::service::backend::systemd::Systemd::user(
            &account,
            machine.layout.clone(),
            disk,
        ),
        scheduler: lorectl::service::definition::Scheduler::SystemdUser,
        ..machine
    };
    let service = machine.service("x");
    match wait(observe(&machine, &[&service], false)).remove(0) {
        Some(Seen::Unknown { code, reason, .. }) => {
            assert_eq!(code, UnknownCode::UserManagerMissing);
            assert!(reason.contains("nobody-at-home"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

fn not_permitted() {
    let machine = Machine {
        places: lorectl::service::backend::systemd::Places::system(),
        ..Machine::user()
    };
    let machine = Machine {
        backend: lorectl::service::backend::systemd::Systemd::system(
            machine.layout.clone(),
            std::rc::Rc::new(lorectl::effect::disk::RealDisk),
        ),
        scheduler: lorectl::service::definition::Scheduler::SystemdSystem,
        ..machine
    };
    let pid1 = lorectl::effect::dbus::Manager::new(lorectl::effect::dbus::Whose::System);
    let error = wait(pid1.reload()).unwrap_err();
    assert_eq!(error.code, lorectl::error::Code::NotPermitted, "{error:?}");
    let service = machine.service("x");
    assert_eq!(wait(observe(&machine, &[&service], false)), [None]);
    let outcomes = wait(act(&machine, &[install(&machine, &service)]));
    assert!(
        failed(&outcomes[0]).contains("cannot write /etc"),
        "{outcomes:?}"
    );
    assert_eq!(machine.residue("x"), [""; 0]);
}
