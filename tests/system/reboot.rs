//! Across a reboot: `tests/system/run` boots one machine twice, and runs one of these in each boot.

use std::fs;

use crate::{
    Test,
    cycle::{instant, now},
    host::{Host, Job, poll},
};

/// In the first boot, and in the second.
pub const BOOTS: &[Test] = &[("leaves", leaves), ("finds", finds)];

fn jobs(host: &Host) -> [Job; 2] {
    let job = |name: &str, every: &str| {
        host.job(name)
            .with("schedule", &format!("{{ every = \"{every}\" }}"))
    };
    [job("seldom", "75s"), job("often", "5s")]
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap()
}

fn leaves(host: &Host) {
    host.spec(&jobs(host));
    host.apply();
    poll("a run", || {
        host.status("often")
            .is_some_and(|status| status.get("last_run").is_some())
    });
    host.write(&host.dir.join("boot"), boot());
}

fn finds(host: &Host) {
    assert_ne!(fs::read_to_string(host.dir.join("boot")).unwrap(), boot());
    let ran = host.status("often").unwrap()["last_run"]["id"].clone();
    host.converged();
    for name in ["seldom", "often"] {
        assert_eq!(
            host.property(&host.unit(name, "timer"), "ActiveState"),
            "active"
        );
    }
    poll("a run after the boot", || {
        host.status("often")
            .is_some_and(|status| status["last_run"]["id"] != ran)
    });
    // Its wake-up after the boot comes a fifth of its interval later, and finds that it is not due:
    // unless this machine was so slow that it is.
    let service = host.unit("seldom", "service");
    poll("a wake-up", || {
        host.property(&service, "ExecMainExitTimestampMonotonic") != "0"
    });
    let seldom = host.status("seldom").unwrap();
    if now() - instant(&seldom["created_at"]) < 60_000 {
        assert_eq!(seldom.get("last_run"), None, "a boot alone starts nothing");
    }
    host.converged();
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    assert_eq!(host.residue(), [""; 0]);
}
