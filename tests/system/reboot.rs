//! Across a reboot: `tests/system/run` boots one machine twice, and runs one of these in each boot.

use std::fs;

use crate::{
    Test,
    host::{Host, Job, poll},
};

/// In the first boot, and in the second.
pub const BOOTS: &[Test] = &[("leaves", leaves), ("finds", finds)];

fn jobs(host: &Host) -> [Job; 2] {
    let often = host.job("often").with("schedule", r#"{ every = "5s" }"#);
    [host.job("seldom"), often]
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
    let seldom = host.status("seldom").unwrap();
    assert_eq!(seldom.get("last_run"), None, "a boot alone starts nothing");
    host.converged();
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    assert_eq!(host.residue(), [""; 0]);
}
