//! The journal on the real disk: what the simulation takes for granted of it, seen in a trace.

use std::path::Path;

use crate::{
    Test,
    host::Host,
    trace::{self, Call},
};

/// On either manager.
pub const BOTH: &[Test] = &[
    (
        "a_record_is_durable_before_the_act_that_it_announces",
        durable,
    ),
    ("a_trace_that_breaks_the_rule_is_told", told),
];

/// What is not durable yet.
#[derive(Debug, Default, PartialEq, Eq)]
struct Pending {
    /// The journal has bytes that no sync has covered.
    bytes: bool,
    /// Its name is in no synced directory.
    name: bool,
}

/// What a trace shows of one journal.
#[derive(Debug, Default)]
struct Seen {
    /// Groups of records that were written.
    groups: usize,
    /// Acts on the host, each with how many groups were written before.
    acts: Vec<usize>,
    /// Calls with an effect while something was pending.
    early: Vec<String>,
}

/// Follows the calls: after each write to the journal nothing has an effect until it is synced, and
/// after its creation nothing but that until the directory is.
fn follow(calls: &[Call], journal: &Path, acts: &[&Path]) -> Seen {
    let behind = |path: &Path| format!("<{}", path.display());
    let (dir, file) = (behind(journal) + ">", behind(journal) + "/");
    let mut pending = Pending::default();
    let mut seen = Seen::default();
    for call in calls.iter().filter(|call| call.has_effect()) {
        let on_file = call.text.split_once(", ").map_or(&*call.text, |(fd, _)| fd);
        if call.name == "openat" && call.text.contains(&format!("\"{}/", journal.display())) {
            // Later records are appended to what is there.
            pending.name |= seen.groups == 0;
        } else if call.name == "write" && on_file.contains(&file) {
            pending.bytes = true;
            seen.groups += 1;
        } else if call.syncs() && on_file.contains(&file) {
            pending.bytes = false;
        } else if call.syncs() && on_file.contains(&dir) {
            pending.name = false;
        } else if pending != Pending::default() {
            seen.early.push(format!("{}({}", call.name, call.text));
        } else if acts
            .iter()
            .any(|path| call.text.contains(&*path.to_string_lossy()))
        {
            seen.acts.push(seen.groups);
        }
    }
    seen
}

fn durable(host: &Host) {
    host.spec(&[host.job("a"), host.job("b")]);
    host.lorectl(&["apply", "-y"]).exits(0);
    host.spec(&[host.job("a").with("timeout", r#""7m""#)]);
    let (answer, calls) = trace::traced(host, &["apply", "-y"]);
    answer.exits(0);
    let units = host.path("a", "service");
    let seen = follow(&calls, &host.root().join("journal"), &[&units]);
    assert_eq!(seen.early, Vec::<String>::new());
    // That it began, intents, outcomes, that it ended.
    assert!(seen.groups >= 4, "{seen:?}");
    assert!(!seen.acts.is_empty(), "the unit is written");
    let announced = seen
        .acts
        .iter()
        .all(|groups| (2..seen.groups).contains(groups));
    assert!(announced, "between the intents and the outcomes: {seen:?}");
}

/// The eye that looks is not blind.
fn told(_: &Host) {
    let journal = Path::new("/s/journal");
    let create = "openat(AT_FDCWD</>, \"/s/journal/j\", O_WRONLY|O_CREAT|O_APPEND, 0600) = 9</s/journal/j>\n";
    let write = "write(9</s/journal/j>, \"{\", 1) = 1\n";
    let (sync, sync_dir) = (
        "fdatasync(9</s/journal/j>) = 0\n",
        "fsync(9</s/journal>) = 0\n",
    );
    let act = "rename(\"/u/.x\", \"/u/a.service\") = 0\n";
    let early = |lines: &[&str]| {
        let calls = trace::calls(&lines.concat());
        let seen = follow(&calls, journal, &[Path::new("/u/a.service")]);
        assert_eq!(seen.acts.len() + seen.early.len(), 1, "{seen:?}");
        seen.early.len()
    };
    assert_eq!(early(&[create, write, sync, sync_dir, act]), 0);
    assert_eq!(
        early(&[create, write, sync, act]),
        1,
        "its name is not durable"
    );
    assert_eq!(early(&[write, act, sync]), 1, "its bytes are not durable");
    assert_eq!(early(&[write, sync, act]), 0);
}
