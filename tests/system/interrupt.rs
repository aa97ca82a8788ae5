//! Ctrl-C during an apply, and a second apply beside it.

use std::{fs, process::Child};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    Test,
    cycle::waiting,
    host::{Answer, Host, poll},
};

/// On either manager.
pub const BOTH: &[Test] = &[
    ("one_interrupt_ends_the_batch_and_then_the_apply", once),
    ("two_interrupts_end_it_at_once", twice),
    ("a_second_apply_is_told_who_holds_the_lock", locked),
];

fn interrupt(child: &Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
}

/// An apply whose first wave waits for a run in flight, with a second wave behind it.
fn begun(host: &Host) -> (Child, Child) {
    host.spec(&[
        waiting(host, "slow", "done").with("depends_on", r#"["service.below"]"#),
        host.job("below"),
        host.job("alone"),
    ]);
    host.apply();
    let trigger = host.start(&["service", "trigger", "slow"]);
    poll("the run", || host.dir.join("marks/begun").exists());
    // `slow` goes in the first wave, `below` in the second; `alone` has no part in that.
    host.spec(&[host.job("alone").with("timeout", r#""7m""#)]);
    let apply = host.start(&["apply", "-y", "--json", "--allow-deletes"]);
    poll("the apply to wait for the run", || {
        let text = fs::read_to_string(host.path("alone", "service")).unwrap_or_default();
        let timer = host.property(&host.unit("slow", "timer"), "ActiveState");
        text.contains("TimeoutStartSec=480s") && timer == "inactive"
    });
    (apply, trigger)
}

fn go(host: &Host) {
    host.write(&host.dir.join("marks/go"), "");
}

fn once(host: &Host) {
    let (apply, trigger) = begun(host);
    let before = host.snapshot(&["below"]);
    interrupt(&apply);
    go(host);
    let answer = Answer::of(&apply.wait_with_output().unwrap()).exits(1);
    trigger.wait_with_output().unwrap();
    let data = answer.data();
    assert_eq!(data["interrupted"], true, "{data}");
    // The batch came to its end; what was begun and not finished is as before, what stands alone stays.
    assert_eq!(host.snapshot(&["below"]), before);
    let timer = host.unit("slow", "timer");
    assert_eq!(host.property(&timer, "ActiveState"), "active", "{data}");
    let alone = fs::read_to_string(host.path("alone", "service")).unwrap();
    assert!(alone.contains("TimeoutStartSec=480s"));
    assert_eq!(host.drift().0, 0, "{}", host.drift().1);
    host.lorectl(&["apply", "-y", "--allow-deletes"]).exits(0);
    host.converged();
    assert!(!host.path("slow", "service").exists());
    assert!(!host.path("below", "service").exists());
}

fn twice(host: &Host) {
    let (mut apply, trigger) = begun(host);
    interrupt(&apply);
    // The first one is taken before the second comes: one signal pending is one signal.
    poll("the first interrupt to be taken", || {
        let status = fs::read_to_string(format!("/proc/{}/status", apply.id())).unwrap();
        let pending = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key)).unwrap();
            u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
        };
        pending("SigPnd:") | pending("ShdPnd:") == 0
    });
    // Each interrupt is a byte in a pipe, read when the apply looks up: sent until it has ended.
    poll("the end, while the run goes on", || {
        interrupt(&apply);
        apply.try_wait().unwrap().is_some()
    });
    assert!(!host.dir.join("marks/ended").exists(), "the run goes on");
    let answer = Answer::of(&apply.wait_with_output().unwrap()).exits(1);
    let (code, message, suggestion) = answer.error();
    assert_eq!(code, "APPLY_FAILED", "{message}");
    assert!(message.contains("interrupted twice"), "{message}");
    assert!(suggestion.contains("lorectl apply"), "{suggestion}");
    // What the journal holds is settled while the run still goes on, and afterwards carried out.
    host.lorectl(&["plan", "--detailed-exitcode", "--allow-deletes"])
        .exits(2);
    go(host);
    trigger.wait_with_output().unwrap();
    host.lorectl(&["apply", "-y", "--allow-deletes"]).exits(0);
    host.converged();
    assert_eq!(host.residue().len(), 3, "{:?}", host.residue());
}

fn locked(host: &Host) {
    let (mut apply, trigger) = begun(host);
    let answer = host.lorectl(&["apply", "-y", "--json"]).exits(75);
    assert_eq!(answer.error().0, "LOCK_HELD");
    let who = answer.json()["error"]["details"].to_string();
    for part in [&host.account.name, &apply.id().to_string()] {
        assert!(who.contains(part), "{who}");
    }
    let answer = host.lorectl(&["destroy", "-y", "--json"]).exits(75);
    assert_eq!(answer.error().0, "LOCK_HELD");
    // What only looks takes no lock.
    host.lorectl(&["plan", "--allow-deletes"]).exits(0);
    host.lorectl(&["status"]).exits(0);
    assert!(apply.try_wait().unwrap().is_none(), "it goes on");
    go(host);
    Answer::of(&apply.wait_with_output().unwrap()).exits(0);
    trigger.wait_with_output().unwrap();
    host.converged();
}
