//! What a test needs of a backend, whichever it is.

use std::time::{Duration, Instant};

use lorectl::{
    id::{Address, Kind, Lineage, ProjectName, ResourceId, Seconds},
    resource::{
        Act, Definition, Disruption, Image, Outcome, Scope, ScopeEntry, Seen, Step, StepId, Undo,
        Verb,
    },
    service::{definition::Service, image},
};

/// A backend with a project of its own.
pub trait World {
    /// The backend.
    fn backend(&self) -> &dyn Act;
    /// The project.
    fn project(&self) -> &ProjectName;
    /// A service of the project that its backend takes, which runs nothing of note.
    fn service(&self, name: &str) -> Service;
    /// What the host must hold of a service.
    fn image(&self, service: &Service) -> Image;
    /// What an administrator may do to an installed service, each with the part that differs then.
    fn tampers(&self) -> Vec<(&'static str, &'static str)>;
    /// Does one of these to the service of that name.
    fn tamper(&self, what: &str, name: &str);
    /// Writes a file as the job of the service of that name would, into its data.
    fn leave(&self, name: &str, file: &str);
    /// What is left on the host of a service's name.
    fn residue(&self, name: &str) -> Vec<String>;
}

/// The mark of a service in a test.
pub fn id(project: &ProjectName, name: &str) -> ResourceId {
    let lineage = Lineage::derive("machine", 0, project);
    ResourceId::derive(&lineage, &address(name))
}

/// The address of a service.
pub fn address(name: &str) -> Address {
    Address::new(Kind::Service, name.parse().unwrap())
}

thread_local! {
    /// One for all that a test waits for: a backend's connection lives as long as it does.
    static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
}

/// Runs what is asynchronous.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// Polls until something holds; fails after 20 seconds.
pub fn poll(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A step on a service.
pub fn step(verb: &Verb, service: &Service, before: Option<Image>, after: Option<Image>) -> Step {
    Step {
        id: StepId(1),
        address: address(service.name.as_str()),
        resource: service.id.clone(),
        backend: service.scheduler.backend(),
        verb: verb.clone(),
        depends_on: Vec::new(),
        disruption: Disruption::None,
        undo: Undo::RestoreBefore,
        before,
        after,
        definition: Definition::of(service).unwrap(),
        patience: Seconds(20),
    }
}

/// A step that makes a service.
pub fn install(world: &dyn World, service: &Service) -> Step {
    step(&image::INSTALL, service, None, Some(world.image(service)))
}

/// Carries out a batch; the outcomes, which were also reported, once each.
pub async fn act(world: &dyn World, batch: &[Step]) -> Vec<Outcome> {
    let told = std::cell::RefCell::new(Vec::new());
    let outcomes = world
        .backend()
        .act(batch, &|_, outcome| told.borrow_mut().push(outcome.clone()))
        .await;
    assert_eq!(told.borrow().len(), batch.len(), "one report a step");
    outcomes
}

/// Carries out a batch, all of which must be done.
pub async fn done(world: &dyn World, batch: &[Step]) {
    for (step, outcome) in batch.iter().zip(act(world, batch).await) {
        assert_eq!(outcome, Outcome::Done, "{} {}", step.verb, step.address);
    }
}

/// What a test learns by observing.
pub async fn observe(
    world: &dyn World,
    services: &[&Service],
    all_bytes: bool,
) -> Vec<Option<Seen>> {
    let known: Vec<Image> = services.iter().map(|s| world.image(s)).collect();
    let addresses: Vec<Address> = services.iter().map(|s| address(s.name.as_str())).collect();
    let backends: Vec<_> = services.iter().map(|s| s.scheduler.backend()).collect();
    let definitions: Vec<_> = services
        .iter()
        .map(|s| Definition::of(*s).unwrap())
        .collect();
    let entries = (0..services.len())
        .map(|at| ScopeEntry {
            address: &addresses[at],
            id: &services[at].id,
            backend: &backends[at],
            definition: &definitions[at],
            known: vec![&known[at]],
        })
        .collect();
    let scope = Scope {
        project: world.project(),
        entries,
        all_bytes,
    };
    let mut observed = world.backend().observe(&scope).await.unwrap();
    addresses
        .iter()
        .map(|address| observed.resources.remove(address))
        .collect()
}

/// The image of one service that must be there and ours.
pub async fn ours(world: &dyn World, service: &Service) -> Image {
    match observe(world, &[service], false).await.remove(0) {
        Some(Seen::Ours(found)) => found.image,
        other => panic!("{} is {other:?}", service.name),
    }
}

/// The same, with the bytes of all files.
pub async fn ours_with_bytes(world: &dyn World, service: &Service) -> Image {
    match observe(world, &[service], true).await.remove(0) {
        Some(Seen::Ours(found)) => found.image,
        other => panic!("{} is {other:?}", service.name),
    }
}

/// The names of the parts in which two images differ.
pub fn differences(a: &Image, b: &Image) -> Vec<String> {
    a.differences(b)
        .into_iter()
        .map(ToString::to_string)
        .collect()
}
