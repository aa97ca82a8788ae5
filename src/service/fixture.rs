//! A service for tests.

use super::definition::{
    Breaker, CatchUp, Classify, Criticality, ExitPolicy, Overlap, RUN_VERSION, Retry, Sandbox,
    Schedule, Scheduler, Service, Stage,
};
use crate::id::{Lineage, ResourceId, Seconds};

/// A stage that a shell runs.
pub fn stage(name: &str, script: &str) -> Stage {
    Stage {
        name: name.parse().unwrap(),
        run: ["/bin/sh", "-c", script].map(str::to_owned).into(),
        timeout: None,
        criticality: Criticality::Core,
    }
}

/// A service of the worker's, due every half hour, with a stage for each script.
pub fn service(name: &str, scripts: &[&str]) -> Service {
    let project = "acme".parse().unwrap();
    let lineage = Lineage::derive("machine", 0, &project);
    let address = format!("service.{name}").parse().unwrap();
    let stages = scripts.iter().enumerate();
    Service {
        run_version: RUN_VERSION,
        project,
        name: name.parse().unwrap(),
        id: ResourceId::derive(&lineage, &address),
        description: None,
        scheduler: Scheduler::Worker,
        user: None,
        schedule: Schedule::Every(Seconds(1800)),
        splay: Seconds(0),
        overlap: Overlap::Skip,
        catch_up: CatchUp::Once,
        timeout: Seconds(60),
        working_dir: "/".into(),
        env: std::collections::BTreeMap::new(),
        credentials: [].into(),
        refreshes: std::collections::BTreeSet::new(),
        sealed: std::collections::BTreeSet::new(),
        write_paths: Vec::new(),
        replaces: None,
        lock: None,
        profile: None,
        stages: stages
            .map(|(index, script)| stage(&format!("s{index}"), script))
            .collect(),
        retry: Retry {
            base: Seconds(1800),
            max: Seconds(4 * 3600),
        },
        breaker: Breaker {
            failures: 10,
            cooldown: Seconds(1800),
        },
        classify: Classify::default(),
        exit: ExitPolicy::Policy,
        sandbox: Sandbox::Off,
        programs: [].into(),
        unit: std::collections::BTreeMap::new(),
        notify: Vec::new(),
        ping: None,
    }
}
