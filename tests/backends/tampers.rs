//! What an administrator does to a service on systemd, and the part that drifts.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use crate::systemd::Machine;

type Tamper = (&'static str, &'static str, fn(&Machine, &str));

/// Every one that drift must show.
pub const TAMPERS: &[Tamper] = &[
    ("a unit edited", "service", |machine, name| {
        edit(
            &machine.path(name, "service"),
            "KillMode=mixed",
            "KillMode=none",
        );
    }),
    ("another program", "service", |machine, name| {
        edit(
            &machine.path(name, "service"),
            "/usr/bin/true",
            "/usr/bin/false",
        );
    }),
    ("another interval", "timer", |machine, name| {
        edit(
            &machine.path(name, "timer"),
            "OnActiveSec=3600s",
            "OnActiveSec=60s",
        );
    }),
    ("a unit's mode", "timer", |machine, name| {
        let mode = Permissions::from_mode(0o666);
        fs::set_permissions(machine.path(name, "timer"), mode).unwrap();
    }),
    ("a unit removed", "service", |machine, name| {
        fs::remove_file(machine.path(name, "service")).unwrap();
    }),
    ("a unit masked", "timer", |machine, name| {
        let path = machine.path(name, "timer");
        fs::remove_file(&path).unwrap();
        symlink("/dev/null", path).unwrap();
    }),
    (
        "a unit edited and put back without a reload",
        "load-state",
        |machine, name| {
            let path = machine.path(name, "timer");
            edit(&path, "OnActiveSec=3600s", "OnActiveSec=3601s");
            machine.systemctl(&["daemon-reload"]);
            edit(&path, "OnActiveSec=3601s", "OnActiveSec=3600s");
        },
    ),
    ("run.json edited", "run.json", |machine, name| {
        let path = machine.layout.run_file(&name.parse().unwrap());
        edit(&path, "/usr/bin/true", "/usr/bin/false");
    }),
    ("data/ opened", "data", |machine, name| {
        let data = machine.layout.data(&name.parse().unwrap());
        fs::set_permissions(data, Permissions::from_mode(0o755)).unwrap();
    }),
    ("data/ removed", "data", |machine, name| {
        let data = machine.layout.data(&name.parse().unwrap());
        fs::remove_dir_all(data).unwrap();
    }),
    ("the timer disabled", "enabled", |machine, name| {
        machine.systemctl(&["disable", &machine.unit(name, "timer")]);
    }),
    ("the timer stopped", "active", |machine, name| {
        machine.systemctl(&["stop", &machine.unit(name, "timer")]);
    }),
    (
        "a drop-in for the service",
        "drop-in/service/50-mine.conf",
        |machine, name| {
            drop_in(
                machine,
                None,
                name,
                "service",
                "[Service]\nEnvironment=X=1\n",
            );
        },
    ),
    (
        "a drop-in for the timer",
        "drop-in/timer/50-mine.conf",
        |machine, name| {
            drop_in(machine, None, name, "timer", "[Timer]\nAccuracySec=2s\n");
        },
    ),
    (
        "a drop-in until reboot",
        "drop-in/timer/run/50-mine.conf",
        |machine, name| {
            drop_in(
                machine,
                Some("run"),
                name,
                "timer",
                "[Timer]\nAccuracySec=2s\n",
            );
        },
    ),
    (
        "a unit hidden",
        "shadow/timer/run-control",
        |machine, name| {
            let dir = beside(machine, "run-control");
            fs::create_dir_all(dir).unwrap();
            let path = dir.join(machine.unit(name, "timer"));
            fs::write(path, "[Timer]\nOnBootSec=1d\n").unwrap();
            machine.systemctl(&["daemon-reload"]);
        },
    ),
];

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

fn beside<'a>(machine: &'a Machine, tag: &str) -> &'a Path {
    let found = machine
        .places
        .beside
        .iter()
        .find(|beside| beside.tag == tag);
    &found.unwrap().dir
}

fn drop_in(machine: &Machine, tag: Option<&str>, name: &str, suffix: &str, text: &str) {
    let dir = tag.map_or(machine.places.units.as_path(), |tag| beside(machine, tag));
    let dir = dir.join(format!("{}.d", machine.unit(name, suffix)));
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("50-mine.conf"), text).unwrap();
}
