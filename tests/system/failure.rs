//! Five services, of which the third is broken: what hangs together is as before, what stands
//! alone is applied.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{
    Test,
    host::{Host, Job, run},
};

/// On either manager.
pub const BOTH: &[Test] = &[
    ("a_create_that_cannot_write_is_undone", |host| {
        story(host, Change::Create, Fault::Immutable);
    }),
    ("an_update_that_cannot_write_is_undone", |host| {
        story(host, Change::Update, Fault::Immutable);
    }),
    ("a_delete_that_cannot_remove_is_undone", |host| {
        story(host, Change::Delete, Fault::Immutable);
    }),
    ("a_create_whose_timer_does_not_start_is_undone", |host| {
        story(host, Change::Create, Fault::Refused);
    }),
    ("an_update_whose_timer_does_not_start_is_undone", |host| {
        story(host, Change::Update, Fault::Refused);
    }),
    ("what_failed_is_left_when_told_to_stop", stopped),
    ("a_purge_that_is_torn_is_not_called_put_back", purge_torn),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Create,
    Update,
    Delete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A file of the third cannot be written or removed, by root either.
    Immutable,
    /// The timer of the third refuses to be started.
    Refused,
}

const NAMES: [&str; 5] = ["a-one", "b-two", "c-three", "d-four", "e-five"];
/// What hangs together with the third.
const CONNECTED: [&str; 3] = ["b-two", "c-three", "d-four"];
const ALONE: [&str; 2] = ["a-one", "e-five"];

/// The third depends on the second and the fourth on the third. The interval is in the timers, the
/// limit in the services.
fn jobs(host: &Host, every: &str) -> Vec<Job> {
    let job = |name: &str| {
        host.job(name)
            .with("schedule", &format!("{{ every = {every:?} }}"))
            .with("timeout", &format!("{every:?}"))
    };
    NAMES
        .iter()
        .map(|name| match *name {
            "c-three" => job(name).with("depends_on", r#"["service.b-two"]"#),
            "d-four" => job(name).with("depends_on", r#"["service.c-three"]"#),
            name => job(name),
        })
        .collect()
}

impl Fault {
    /// Breaks the third; what mends it.
    fn strike(self, host: &Host, change: Change) -> Box<dyn FnOnce()> {
        match self {
            Self::Immutable => {
                let path = match change {
                    // Nothing is there yet: its directory takes no file.
                    Change::Create => {
                        let dir = host.service("c-three");
                        host.make_dir(&dir);
                        dir
                    }
                    Change::Update | Change::Delete => host.path("c-three", "service"),
                };
                chattr("+i", &path);
                Box::new(move || chattr("-i", &path))
            }
            Self::Refused => {
                let stem = format!("lorectl-{}.c-.timer.d", host.project);
                let dir = host.units.join(stem);
                host.make_dir(&dir);
                host.write(&dir.join("refuse.conf"), "[Unit]\nRefuseManualStart=yes\n");
                host.systemctl(&["daemon-reload"]);
                Box::new(move || fs::remove_dir_all(dir).unwrap())
            }
        }
    }
}

fn chattr(flag: &str, path: &Path) {
    run("chattr", &[flag, path.to_str().unwrap()]);
}

fn addresses(value: &serde_json::Value) -> Vec<String> {
    let list = value.as_array().unwrap();
    let address =
        |one: &serde_json::Value| one["address"].as_str().or(one.as_str()).map(str::to_owned);
    let mut found: Vec<String> = list.iter().filter_map(address).collect();
    found.sort();
    found
}

fn named(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("service.{name}")).collect()
}

fn without(map: BTreeMap<String, String>, part: &str) -> BTreeMap<String, String> {
    map.into_iter()
        .filter(|(path, _)| !path.contains(part))
        .collect()
}

fn story(host: &Host, change: Change, fault: Fault) {
    match change {
        Change::Create => host.spec(&jobs(host, "1h")),
        Change::Update => {
            host.spec(&jobs(host, "1h"));
            host.apply();
            host.spec(&jobs(host, "2h"));
        }
        Change::Delete => {
            host.spec(&jobs(host, "1h"));
            host.apply();
            host.spec(&[]);
        }
    }
    let mend = fault.strike(host, change);
    // A directory that was made so that it can be broken is not what a failed create must remove.
    let own = match (change, fault) {
        (Change::Create, Fault::Immutable) => host.service("c-three").display().to_string(),
        _ => "\n".to_owned(),
    };
    let before = without(host.snapshot(&CONNECTED), &own);
    let apply = ["apply", "-y", "--json", "--allow-deletes"];
    let answer = host.lorectl(&apply);
    let after = without(host.snapshot(&CONNECTED), &own);
    let timer = host.unit("c-three", "timer");
    let stays_down = change == Change::Update && fault == Fault::Refused;
    if stays_down {
        // Its timer had to be stopped, and what refuses the new one refuses the old one too: that is told.
        let data = answer.exits(4).data();
        assert_eq!(
            addresses(&data["not_undone"]),
            named(&["c-three"]),
            "{data}"
        );
        assert_eq!(host.property(&timer, "ActiveState"), "inactive");
        let down = |map: BTreeMap<String, String>| without(map, &format!("Id={timer}"));
        assert_eq!(down(after), down(before));
    } else {
        let answer = answer.exits(1);
        let data = answer.data();
        assert_eq!(answer.error().0, "APPLY_FAILED");
        assert_eq!(addresses(&data["failed"]), named(&["c-three"]), "{data}");
        assert_eq!(addresses(&data["not_undone"]), [""; 0], "{data}");
        assert_eq!(addresses(&data["applied"]), named(&ALONE), "{data}");
        assert_eq!(after, before);
    }
    let changed = host.snapshot(&ALONE);
    for name in ALONE {
        let text = changed.get(&host.path(name, "timer").display().to_string());
        match change {
            Change::Create => assert!(text.unwrap().contains("3600s")),
            Change::Update => assert!(text.unwrap().contains("7200s")),
            Change::Delete => assert_eq!(text, None),
        }
    }
    assert_eq!(host.temporary_files(), [""; 0]);
    // What the state says is what is there: the failure itself is no drift.
    if !stays_down {
        assert_eq!(host.drift().0, 0, "{}", host.drift().1);
    }
    host.lorectl(&["plan", "--detailed-exitcode", "--allow-deletes"])
        .exits(2);

    mend();
    host.lorectl(&apply).exits(0);
    host.converged();
    match change {
        Change::Create | Change::Update => {
            for name in NAMES {
                let timer = host.unit(name, "timer");
                assert_eq!(host.property(&timer, "ActiveState"), "active", "{name}");
                assert_eq!(host.status(name).unwrap().get("last_run"), None, "{name}");
            }
        }
        Change::Delete => assert_eq!(host.residue(), [""; 0]),
    }
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    assert_eq!(host.residue(), [""; 0]);
}

/// `--on-failure stop` leaves what was done, and says so.
fn stopped(host: &Host) {
    host.spec(&jobs(host, "1h"));
    host.apply();
    host.spec(&jobs(host, "2h"));
    let mend = Fault::Immutable.strike(host, Change::Update);
    let data = host
        .lorectl(&["apply", "-y", "--json", "--on-failure", "stop"])
        .exits(4)
        .data();
    assert_eq!(addresses(&data["failed"]), named(&["c-three"]), "{data}");
    assert_eq!(
        addresses(&data["not_undone"]),
        named(&["b-two", "c-three"]),
        "{data}"
    );
    let two = fs::read_to_string(host.path("b-two", "timer")).unwrap();
    assert!(two.contains("7200s"), "{two}");
    assert_eq!(host.drift().0, 0, "what is there was recorded");
    mend();
    host.apply();
    host.converged();
}

/// The service is there again, but nobody can say that of its data.
fn purge_torn(host: &Host) {
    host.spec(&[host.job("a")]);
    host.apply();
    host.lorectl(&["service", "trigger", "a"]).exits(0);
    let kept = host.service("a").join("data/kept");
    host.write(&kept, "");
    chattr("+i", &kept);
    let answer = host.lorectl(&["destroy", "-y", "--purge"]).exits(4);
    chattr("-i", &kept);
    let page: Vec<&str> = answer.stdout.split_whitespace().collect();
    let page = page.join(" ");
    assert!(
        page.contains("Not put back service.a what is gone of it stays gone"),
        "{answer:?}"
    );
    assert!(host.path("a", "service").exists());
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    assert_eq!(host.residue(), Vec::<String>::new());
}
