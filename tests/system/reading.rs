//! What only looks changes nothing, and asks little.

use std::{collections::BTreeMap, fs};

use crate::{
    Test,
    host::{Host, describe, poll},
    trace,
};

/// On either manager.
pub const BOTH: &[Test] = &[
    ("what_only_looks_changes_no_file", looks),
    ("a_plan_of_a_thousand_services_makes_few_calls", thousand),
];

const LOOKS: &[&[&str]] = &[
    &["plan"],
    &["plan", "--detailed-exitcode", "--json"],
    &["drift"],
    &["drift", "--detailed-exitcode", "--json"],
    &["status"],
    &["status", "--json"],
    &["status", "service.ticks"],
    &["service", "list"],
    &["service", "list", "--json"],
    &["service", "status", "ticks"],
    &["service", "logs", "ticks"],
    &["validate"],
];

/// Everything that a command could change, whether it is ours or not.
fn world(host: &Host) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for path in [&host.root(), &host.dir, &host.units] {
        describe(path, &mut found);
    }
    found
}

fn looks(host: &Host) {
    let jobs = || vec![host.job("ticks"), host.job("drifts"), host.job("goes")];
    host.spec(&jobs());
    // Before the first apply there is nothing, and nothing comes of a look.
    for look in [&["plan"][..], &["status"], &["drift"]] {
        let (_, calls) = trace::traced(host, look);
        untouched(&calls, look);
    }
    assert!(!host.root().exists());
    // The trace is not blind: the same eyes see what an apply does.
    let (answer, calls) = trace::traced(host, &["apply", "-y"]);
    answer.exits(0);
    let seen = calls.iter().filter(|call| call.changes_files()).count();
    assert!(seen > 30, "{seen}");

    host.lorectl(&["service", "trigger", "ticks"]).exits(0);
    let path = host.path("drifts", "service");
    let text = fs::read_to_string(&path).unwrap();
    host.write(&path, text.replace("KillMode=mixed", "KillMode=none"));
    // An unfinished journal, which a plan settles in memory alone.
    host.spec(&[
        host.job("ticks").with("timeout", r#""7m""#),
        host.job("drifts"),
        host.job("new"),
    ]);
    let options = [
        "-o",
        "/dev/null",
        "-e",
        "trace=syncfs",
        "-e",
        "inject=syncfs:signal=SIGKILL:when=1",
    ];
    let killed = trace::strace(host, &options, &["apply", "-y"])
        .output()
        .unwrap();
    assert!(!killed.status.success());
    poll("runs to end", || {
        host.property(&host.unit("ticks", "service"), "ActiveState") == "inactive"
    });
    let before = world(host);
    for look in LOOKS {
        let (answer, calls) = trace::traced(host, look);
        assert!([0, 2].contains(&answer.status), "{look:?}: {answer:?}");
        untouched(&calls, look);
        assert_eq!(world(host), before, "{look:?}");
    }
    host.apply();
    host.converged();
}

fn untouched(calls: &[trace::Call], look: &[&str]) {
    let changes: Vec<&trace::Call> = calls.iter().filter(|call| call.changes_files()).collect();
    assert!(changes.is_empty(), "{look:?}: {changes:#?}");
    assert!(
        calls.len() > 50,
        "{look:?}: the trace has {} calls",
        calls.len()
    );
}

fn thousand(host: &Host) {
    let jobs: Vec<_> = (0..1000)
        .map(|number| host.job(&format!("s{number}")))
        .collect();
    host.spec(&jobs);
    host.apply();
    let (answer, calls) = trace::bus_calls(host, &["plan", "--detailed-exitcode"]);
    answer.exits(0);
    assert!(
        calls.iter().any(|call| call == "ListUnitsByNames"),
        "{calls:?}"
    );
    assert!(calls.len() < 10, "{calls:?}");
    // The count is not blind either: what differs is looked at and costs a call.
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    assert_eq!(host.residue(), [""; 0]);
}
