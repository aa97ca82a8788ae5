//! Across a reboot: `tests/backends/run` boots one machine twice, and runs one of these in each boot.

use lorectl::{
    id::Seconds,
    service::definition::{Schedule, Service},
};

use crate::{
    Test,
    systemd::Machine,
    world::{World, done, install, ours, poll, wait},
};

/// In the first boot, and in the second.
pub const BOOTS: &[Test] = &[("leaves", leaves), ("finds", finds)];

fn services(machine: &Machine) -> [Service; 2] {
    let mut often = machine.service("often");
    often.schedule = Schedule::Every(Seconds(5));
    [machine.service("seldom"), often]
}

fn leaves() {
    let machine = Machine::of_project("reboots");
    for service in services(&machine) {
        wait(done(&machine, &[install(&machine, &service)]));
    }
}

fn finds() {
    let machine = Machine::of_project("reboots");
    let [seldom, often] = services(&machine);
    for service in [&seldom, &often] {
        assert_eq!(wait(ours(&machine, service)), machine.image(service));
    }
    let starts = |name: &str| {
        let unit = machine.unit(name, "service");
        machine.property(&unit, "ExecMainStartTimestampMonotonic")
    };
    poll("a run after the boot", || starts("often") != "0");
    assert_eq!(starts("seldom"), "0", "a boot alone starts nothing");
}
