//! What is remembered is changed by hand, and the host goes on.

use std::fs;

use crate::{
    Test,
    host::{Host, poll, run},
};

/// On either manager.
pub const BOTH: &[Test] = &[
    ("a_rename_waits_for_a_run_and_keeps_what_it_did", renamed),
    ("a_rename_that_cannot_be_done_leaves_all_as_it_was", stuck),
    ("an_export_rebuilds_a_host_that_lost_everything", rebuilt),
];

fn renamed(host: &Host) {
    let marks = host.dir.join("marks");
    host.make_dir(&marks);
    let began = marks.join("began");
    let lines = format!("touch {}\nsleep 2", began.display());
    let program = host.script("slow", &lines);
    let argv = format!(r#"["{}"]"#, program.display());
    let paths = format!(r#"["{}"]"#, marks.display());
    let slow = host
        .job("old")
        .with("run", &argv)
        .with("write_paths", &paths);
    let needs = |name: &str| {
        host.job("needs")
            .with("depends_on", &format!(r#"["service.{name}"]"#))
    };
    host.spec(&[slow.clone(), needs("old")]);
    host.apply();
    let mut child = host.start(&["service", "trigger", "old"]);
    poll("the run begins", || began.exists());
    host.lorectl(&["state", "mv", "service.old", "service.new"])
        .exits(0);
    child.wait().unwrap();
    // The run ended as it began, and the new one knows of it.
    let last = &host.status("new").unwrap()["last_run"];
    assert_eq!(last["outcome"], "success", "{last}");
    assert!(!host.service("old").exists());
    assert!(!host.path("old", "timer").exists() && !host.path("old", "service").exists());
    assert_eq!(
        host.property(&host.unit("new", "timer"), "ActiveState"),
        "active"
    );
    assert_eq!(host.drift().0, 0);
    host.spec(&[slow.named("new"), needs("new")]);
    host.apply();
    host.converged();
    fs::remove_file(&began).unwrap();
    host.lorectl(&["service", "trigger", "new"]).exits(0);
    assert!(began.exists());
    let history = host.lorectl(&["history", "service.new", "--json"]).data();
    assert_eq!(
        history["entries"][0]["command"],
        "state mv service.old service.new"
    );
}

fn stuck(host: &Host) {
    host.spec(&[host.job("old")]);
    host.apply();
    host.lorectl(&["service", "trigger", "old"]).exits(0);
    let before = host.status("old").unwrap();
    // What stands in the way is found before anything is touched.
    let foreign = host.path("new", "service");
    host.write(&foreign, "[Service]\nExecStart=/bin/true\n");
    let answer = host.lorectl(&["state", "mv", "service.old", "service.new", "--json"]);
    assert_eq!(answer.exits(3).error().0, "CONFLICT");
    fs::remove_file(&foreign).unwrap();
    host.converged();
    // And what fails half-way is put back.
    let services = host.root().join("services").display().to_string();
    run("chattr", &["+i", &services]);
    let answer = host.lorectl(&["state", "mv", "service.old", "service.new"]);
    run("chattr", &["-i", &services]);
    assert!([1, 77].contains(&answer.status), "{answer:?}");
    assert_eq!(host.status("old").unwrap()["last_run"], before["last_run"]);
    assert_eq!(
        host.property(&host.unit("old", "timer"), "ActiveState"),
        "active"
    );
    host.converged();
    host.lorectl(&["state", "mv", "service.old", "service.new"])
        .exits(0);
}

fn rebuilt(host: &Host) {
    let jobs = vec![host.job("a"), host.job("b").with("protect", "true")];
    host.spec(&jobs);
    host.apply();
    host.lorectl(&["state", "export", "--out", "x.json"])
        .exits(0);
    // The disk is another: neither state nor units.
    for name in ["a", "b"] {
        host.systemctl(&["disable", "--now", &host.unit(name, "timer")]);
        for suffix in ["timer", "service"] {
            fs::remove_file(host.path(name, suffix)).unwrap();
        }
    }
    host.systemctl(&["daemon-reload"]);
    fs::remove_dir_all(host.root()).unwrap();
    host.lorectl(&["state", "import", "x.json"]).exits(0);
    assert_eq!(host.drift().0, 2);
    host.apply();
    host.converged();
    host.lorectl(&["destroy", "-y"]).exits(3);
    host.spec(&[host.job("a"), host.job("b").with("protect", "false")]);
    host.apply();
    // What is forgotten runs on, and is taken in again.
    host.lorectl(&["state", "rm", "service.a"]).exits(0);
    assert_eq!(
        host.property(&host.unit("a", "timer"), "ActiveState"),
        "active"
    );
    host.lorectl(&["state", "repair"]).exits(0);
    // Where it was declared, no mark tells.
    host.apply();
    host.converged();
    let doctor = host.lorectl(&["doctor", "--json"]).exits(0).data();
    assert_eq!(doctor["sound_services"], 2, "{doctor}");
}
