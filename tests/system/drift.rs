//! What others change behind our back is seen, named, and mended.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use serde_json::Value;

use crate::{
    Test,
    host::{Host, Manager, describe},
};

/// On either manager.
pub const BOTH: &[Test] = &[
    ("drift_is_named_and_mended", mended),
    ("what_is_ignored_is_left_alone", ignored),
    ("what_others_keep_beside_is_left_alone", beside),
    (
        "units_are_found_of_a_manager_that_nothing_names",
        left_by_a_move,
    ),
];

/// One thing that an administrator does, and how it is named.
struct Tamper {
    what: &'static str,
    act: Box<dyn Fn(&Host)>,
    level: &'static str,
    field: &'static str,
}

fn edit(path: PathBuf, from: &'static str, to: &'static str) -> Box<dyn Fn(&Host)> {
    Box::new(move |host| {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        host.write(&path, text.replace(from, to));
    })
}

fn tampers(host: &Host) -> Vec<Tamper> {
    let tamper = |what, level, field, act| Tamper {
        what,
        act,
        level,
        field,
    };
    let control = |verb: &'static str| -> Box<dyn Fn(&Host)> {
        Box::new(move |host| {
            host.systemctl(&[verb, &host.unit("job", "timer")]);
        })
    };
    vec![
        tamper(
            "a unit is edited",
            "definition",
            "service [Service] KillMode",
            edit(
                host.path("job", "service"),
                "KillMode=mixed",
                "KillMode=none",
            ),
        ),
        tamper(
            "a timer is edited",
            "definition",
            "timer [Timer] AccuracySec",
            edit(
                host.path("job", "timer"),
                "AccuracySec=60s",
                "AccuracySec=1s",
            ),
        ),
        tamper(
            "run.json is edited",
            "definition",
            "run.json /timeout",
            edit(host.service("job").join("run.json"), "\"15m\"", "\"1h\""),
        ),
        tamper(
            "run.json runs another program",
            "command",
            "run.json /stages/0/run",
            edit(
                host.service("job").join("run.json"),
                "/bin/true",
                "/bin/false",
            ),
        ),
        tamper(
            "the unit calls another program",
            "command",
            "service [Service] ExecStart",
            edit(
                host.path("job", "service"),
                "/usr/local/bin/lorectl",
                "/usr/bin/env",
            ),
        ),
        tamper(
            "a drop-in is added",
            "platform",
            "drop-in service/50-mine.conf",
            Box::new(|host| {
                let dir = host.path("job", "service.d");
                host.make_dir(&dir);
                host.write(&dir.join("50-mine.conf"), DROP_IN);
            }),
        ),
        tamper(
            "the timer is disabled",
            "platform",
            "enabled",
            control("disable"),
        ),
        tamper(
            "the timer is stopped",
            "platform",
            "active",
            control("stop"),
        ),
    ]
}

/// What is done to the directory that is the job's own.
fn tampers_with_data(host: &Host) -> Vec<Tamper> {
    let data = host.service("job").join("data");
    let (opened, given) = (data.clone(), data);
    let tamper = |what, act| Tamper {
        what,
        act,
        level: "platform",
        field: "data",
    };
    let mut tampers = vec![tamper(
        "data/ is opened to others",
        Box::new(move |_: &Host| {
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&opened, mode).unwrap();
        }) as Box<dyn Fn(&Host)>,
    )];
    // Who is not root cannot take back what is another's.
    if host.manager == Manager::System {
        let give = move |_: &Host| std::os::unix::fs::chown(&given, Some(1), Some(1)).unwrap();
        tampers.push(tamper("data/ is given away", Box::new(give)));
    }
    tampers
}

const DROP_IN: &str = "[Service]\nEnvironment=WHOSE=an-administrator\n";

/// Level and field of each difference, of which there must be some, all in one service.
fn drifted(host: &Host, what: &str) -> Vec<(String, String)> {
    let (status, data) = host.drift();
    assert_eq!(status, 2, "{what}: {data}");
    let drift = data["drift"].as_array().unwrap();
    assert_eq!(drift.len(), 1, "{what}: {data}");
    assert_eq!(drift[0]["address"], "service.job", "{what}");
    let fields = drift[0]["fields"].as_array().unwrap().iter();
    let text = |field: &Value, key: &str| field[key].as_str().unwrap().to_owned();
    fields
        .map(|field| (text(field, "level"), text(field, "field")))
        .collect()
}

fn mended(host: &Host) {
    host.spec(&[host.job("job"), host.job("other")]);
    host.apply();
    let names = ["job", "other"];
    let whole = host.snapshot(&names);
    host.converged();
    for tamper in tampers(host).into_iter().chain(tampers_with_data(host)) {
        let what = tamper.what;
        (tamper.act)(host);
        let mut fields = drifted(host, what);
        // That the manager has not read it yet is told besides.
        let stale = ("platform".to_owned(), "load-state".to_owned());
        fields.retain(|field| *field != stale);
        let wanted = [(tamper.level.to_owned(), tamper.field.to_owned())];
        assert_eq!(fields, wanted, "{what}");
        host.systemctl(&["daemon-reload"]);
        assert_eq!(drifted(host, what), wanted, "{what}, read by the manager");
        let shown = host.lorectl(&["drift", "--detailed-exitcode"]).exits(2);
        assert!(
            shown.stdout.contains(tamper.field),
            "{what}: {}",
            shown.stdout
        );
        host.lorectl(&["drift"]).exits(0);
        host.lorectl(&["plan", "--detailed-exitcode"]).exits(2);
        host.apply();
        assert_eq!(host.snapshot(&names), whole, "{what}");
        host.converged();
    }
    let mut kept = std::collections::BTreeMap::new();
    describe(&host.root().join("backups"), &mut kept);
    let copies = kept.values().filter(|text| text.ends_with(DROP_IN));
    assert_eq!(copies.count(), 1, "the drop-in is kept: {:?}", kept.keys());
    assert_eq!(
        host.status("job").unwrap().get("last_run"),
        None,
        "nothing ran of it"
    );
}

fn ignored(host: &Host) {
    host.spec(&[host
        .job("job")
        .with("ignore_drift", r#"["active", "drop-in/service/mine.conf"]"#)]);
    host.apply();
    let timer = host.unit("job", "timer");
    host.systemctl(&["stop", &timer]);
    let dir = host.path("job", "service.d");
    host.make_dir(&dir);
    host.write(&dir.join("mine.conf"), DROP_IN);
    host.systemctl(&["daemon-reload"]);
    let (status, data) = host.drift();
    assert_eq!(status, 0, "{data}");
    let fields = data["drift"][0]["fields"].as_array().unwrap();
    assert_eq!(fields.len(), 2, "{data}");
    assert!(
        fields.iter().all(|field| field["ignored"] == true),
        "{data}"
    );
    host.apply();
    assert_eq!(host.property(&timer, "ActiveState"), "inactive");
    assert!(dir.join("mine.conf").exists());
    // An edit beside it is mended, and leaves it all the same.
    edit(
        host.path("job", "service"),
        "KillMode=mixed",
        "KillMode=none",
    )(host);
    assert_eq!(host.drift().0, 2);
    host.apply();
    assert_eq!(host.drift().0, 0);
    assert!(dir.join("mine.conf").exists());
    let text = fs::read_to_string(host.path("job", "service")).unwrap();
    assert!(text.contains("KillMode=mixed"));
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    assert_eq!(host.residue(), [""; 0]);
}

/// Drop-ins that change other units too are told, and stay.
fn beside(host: &Host) {
    host.spec(&[host.job("job")]);
    host.apply();
    let dir = host
        .units
        .join(format!("lorectl-{}.j-.service.d", host.project));
    let all = host.units.join("service.d");
    for dir in [&dir, &all] {
        host.make_dir(dir);
        host.write(&dir.join("all.conf"), "[Service]\nNice=1\n");
    }
    host.spec(&[host.job("j-job")]);
    host.apply();
    let (status, data) = host.drift();
    let shown = data.to_string();
    host.apply();
    let stay = [&dir, &all].map(|dir| dir.join("all.conf").exists());
    for dir in [&dir, &all] {
        fs::remove_dir_all(dir).unwrap();
    }
    assert_eq!(status, 0, "{shown}");
    assert_eq!(stay, [true, true]);
    assert!(shown.contains(".j-.service.d/all.conf"), "{shown}");
    assert!(shown.contains("/service.d/all.conf"), "{shown}");
}

/// All services are the worker's by now, and an old unit is there again.
fn left_by_a_move(host: &Host) {
    host.spec(&[host.job("job"), host.job("other")]);
    host.apply();
    let units = ["service", "timer"].map(|suffix| host.path("job", suffix));
    let texts = units.clone().map(|unit| fs::read(unit).unwrap());
    let moved = |name: &str| host.job(name).with("scheduler", r#""worker""#);
    host.spec(&[moved("job"), moved("other")]);
    host.apply();
    host.converged();
    for (unit, text) in units.iter().zip(&texts) {
        host.write(unit, text);
    }
    let plan = host.lorectl(&["plan"]).exits(0);
    let words: Vec<&str> = plan.stdout.split_whitespace().collect();
    let said = "carries this project's mark, but service.job is on worker: stop it";
    assert!(words.join(" ").contains(said), "{plan:?}");
    assert_eq!(host.drift().1["strays"].as_array().map(Vec::len), Some(1));

    // A project of the same name that is kept elsewhere has nothing to do with them.
    let elsewhere = host.dir.join("elsewhere").display().to_string();
    let plan = host.lorectl(&["--state-dir", &elsewhere, "plan"]).exits(0);
    assert!(!plan.stdout.contains("mark"), "{plan:?}");
    // Without a state, they say that there was one.
    fs::remove_dir_all(host.root()).unwrap();
    let answer = host.lorectl(&["plan", "--json"]).exits(65);
    assert_eq!(answer.error().0, "STATE_LOST");
    for unit in &units {
        fs::remove_file(unit).unwrap();
    }
}
