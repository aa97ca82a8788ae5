//! What every backend is held to.

use lorectl::{
    resource::{Outcome, Seen},
    service::{definition::Schedule, image},
};

use crate::world::{
    World, act, differences, done, install, observe, ours, ours_with_bytes, step, wait,
};

/// One story, told on a world.
pub type Story = fn(&dyn World);

/// Every story.
pub const ALL: &[(&str, Story)] = &[
    (
        "what_is_installed_is_what_was_desired",
        installed_is_desired,
    ),
    (
        "bytes_are_carried_where_they_are_not_known",
        bytes_where_unknown,
    ),
    ("drift_is_seen_and_mended", drift_is_seen_and_mended),
    ("an_update_is_undone_by_its_reverse", update_and_back),
    ("a_removal_leaves_nothing_but_data", removal_leaves_nothing),
    ("a_removal_is_undone_by_its_reverse", removal_and_back),
    ("what_is_absent_has_no_entry", absent_has_no_entry),
    (
        "a_step_that_cannot_be_read_fails_alone",
        unreadable_step_fails_alone,
    ),
];

fn installed_is_desired(world: &dyn World) {
    wait(async {
        let (a, b) = (world.service("a"), world.service("b"));
        done(world, &[install(world, &a), install(world, &b)]).await;
        for service in [&a, &b] {
            let seen = ours(world, service).await;
            assert_eq!(seen, world.image(service));
        }
        // A second look finds the same.
        assert_eq!(ours(world, &a).await, world.image(&a));
    });
}

fn bytes_where_unknown(world: &dyn World) {
    wait(async {
        let service = world.service("bytes");
        done(world, &[install(world, &service)]).await;
        let lean = ours(world, &service).await;
        let full = ours_with_bytes(world, &service).await;
        assert!(lean.file("run.json").unwrap().bytes.is_none());
        let bytes = full.file("run.json").unwrap().bytes.clone().unwrap();
        assert_eq!(
            Some(&bytes),
            world
                .image(&service)
                .file("run.json")
                .unwrap()
                .bytes
                .as_ref()
        );
    });
}

fn drift_is_seen_and_mended(world: &dyn World) {
    for (what, part) in world.tampers() {
        wait(async {
            let service = world.service("drifts");
            let desired = world.image(&service);
            done(world, &[install(world, &service)]).await;
            world.tamper(what, "drifts");
            let seen = ours_with_bytes(world, &service).await;
            let fields = differences(&desired, &seen);
            assert!(
                fields.iter().any(|field| field == part),
                "{what}: {fields:?}"
            );
            let mend = step(&image::UPDATE, &service, Some(seen), Some(desired.clone()));
            done(world, &[mend]).await;
            let mended = ours(world, &service).await;
            assert_eq!(differences(&desired, &mended), [""; 0], "{what}");
            let remove = step(&image::PURGE, &service, Some(desired), None);
            done(world, &[remove]).await;
            assert_eq!(world.residue("drifts"), [""; 0], "{what}");
        });
    }
}

fn update_and_back(world: &dyn World) {
    wait(async {
        let old = world.service("changes");
        let mut new = old.clone();
        new.stages[0].run.push("more".to_owned());
        new.schedule = Schedule::Every(lorectl::id::Seconds(7200));
        done(world, &[install(world, &old)]).await;
        let before = ours_with_bytes(world, &old).await;
        let after = world.image(&new);
        let update = step(
            &image::UPDATE,
            &new,
            Some(before.clone()),
            Some(after.clone()),
        );
        done(world, &[update]).await;
        assert_eq!(ours(world, &new).await, after);
        let back = step(&image::UPDATE, &old, Some(after), Some(before.clone()));
        done(world, &[back]).await;
        assert_eq!(ours(world, &old).await, before);
    });
}

fn removal_leaves_nothing(world: &dyn World) {
    wait(async {
        let service = world.service("goes");
        done(world, &[install(world, &service)]).await;
        let before = Some(ours(world, &service).await);
        // What a job left stays; what never ran leaves nothing.
        world.leave("goes", "by-the-job");
        let remove = step(&image::REMOVE, &service, before, None);
        done(world, &[remove]).await;
        assert_eq!(world.residue("goes"), ["data"]);
        assert_eq!(observe(world, &[&service], false).await, [None]);
        // What is gone can be removed again, now with its data.
        let purge = step(&image::PURGE, &service, None, None);
        done(world, &[purge]).await;
        assert_eq!(world.residue("goes"), [""; 0]);
    });
}

fn removal_and_back(world: &dyn World) {
    wait(async {
        let service = world.service("returns");
        done(world, &[install(world, &service)]).await;
        let before = ours_with_bytes(world, &service).await;
        let remove = step(&image::REMOVE, &service, Some(before.clone()), None);
        done(world, &[remove]).await;
        let back = step(&image::INSTALL, &service, None, Some(before.clone()));
        done(world, &[back]).await;
        assert_eq!(ours(world, &service).await, before);
        // The undo of a creation.
        let undo = step(&image::REMOVE, &service, Some(before), None);
        done(world, &[undo]).await;
        assert_eq!(observe(world, &[&service], false).await, [None]);
    });
}

fn absent_has_no_entry(world: &dyn World) {
    wait(async {
        let (there, absent) = (world.service("there"), world.service("absent"));
        done(world, &[install(world, &there)]).await;
        let seen = observe(world, &[&there, &absent], false).await;
        assert!(matches!(seen[0], Some(Seen::Ours(_))), "{seen:?}");
        assert_eq!(seen[1], None);
    });
}

fn unreadable_step_fails_alone(world: &dyn World) {
    wait(async {
        let (good, bad) = (world.service("good"), world.service("bad"));
        let mut broken = install(world, &bad);
        // A definition of another kind.
        broken.definition = lorectl::resource::Definition::of(&"nonsense").unwrap();
        let outcomes = act(world, &[broken, install(world, &good)]).await;
        assert!(matches!(outcomes[0], Outcome::Failed { .. }));
        assert_eq!(outcomes[1], Outcome::Done);
        assert_eq!(observe(world, &[&bad], false).await, [None]);
        assert_eq!(ours(world, &good).await, world.image(&good));
    });
}
