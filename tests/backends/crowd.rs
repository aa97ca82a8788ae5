//! A thousand services: what is asked of the manager must not grow with them.

use lorectl::{
    resource::{Outcome, Seen},
    service::image,
};

use crate::{
    Test,
    systemd::Machine,
    world::{World, act, done, install, observe, step, wait},
};

/// For the system's manager.
pub const SYSTEM: &[Test] = &[("a_thousand_services_come_and_go", thousand)];

fn thousand() {
    let machine = Machine::system();
    let services: Vec<_> = (0..1000)
        .map(|n| machine.service(&format!("s{n}")))
        .collect();
    let services: Vec<_> = services.iter().collect();
    let steps: Vec<_> = services.iter().map(|s| install(&machine, s)).collect();
    wait(done(&machine, &steps));

    // Calls for the whole batch; starting is one a timer, on one connection.
    let fresh = lorectl::service::backend::systemd::Systemd::system(
        machine.layout.clone(),
        std::rc::Rc::new(lorectl::effect::disk::RealDisk),
    );
    let machine = Machine {
        backend: fresh,
        ..machine
    };
    let seen = wait(observe(&machine, &services, false));
    assert!(machine.backend.calls() < 10, "{}", machine.backend.calls());
    for (service, seen) in services.iter().zip(seen) {
        let Some(Seen::Ours(found)) = seen else {
            panic!("{}: {seen:?}", service.name);
        };
        assert_eq!(found.image, machine.image(service));
    }

    let purge = |service: &&lorectl::service::definition::Service| {
        step(&image::PURGE, service, Some(machine.image(service)), None)
    };
    let steps: Vec<_> = services.iter().map(purge).collect();
    let outcomes = wait(act(&machine, &steps));
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Done));
    for seen in wait(observe(&machine, &services, false)) {
        assert_eq!(seen, None);
    }
}
