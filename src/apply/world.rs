//! A world in memory, for stories about the engine: it holds images, does what
//! it is asked, and fails where it is told to.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use crate::{
    error::Result,
    id::Address,
    resource::{
        Act, Found, Image, Observe, Observed, Outcome, Part, PartName, Progress, Scope, Seen, Step,
    },
};

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The step fails before anything is done.
    Fails,
    /// It fails after its first part was written.
    Tears,
    /// It is done and the answer is lost.
    LosesAnswer,
    /// It is not done, and something that no image shows is not as it was.
    Leaves,
    /// It says done, and did nothing.
    Lies,
    /// Something that will end is in the way.
    Busy,
}

/// The host.
#[derive(Debug, Default)]
pub struct World {
    pub there: RefCell<BTreeMap<Address, Image>>,
    pub foreign: RefCell<BTreeMap<Address, String>>,
    /// A fault for each address and verb; a verb of `*` is any, and stays.
    pub faults: RefCell<BTreeMap<(Address, String), Fault>>,
    /// Every step that was asked for, in order.
    pub asked: RefCell<Vec<(Address, String)>>,
    /// The power fails at this event; every event counts one.
    pub crash_at: Cell<Option<usize>>,
    pub events: Cell<usize>,
}

impl World {
    /// Counts an event; true when the power fails here, or has failed.
    pub fn crashes(&self) -> bool {
        let now = self.events.get() + 1;
        self.events.set(now);
        self.crash_at.get().is_some_and(|at| now >= at)
    }

    pub fn set(&self, address: &str, part: &str, text: &str) {
        let address: Address = address.parse().unwrap();
        let part = PartName::from_text(part.to_owned());
        self.there
            .borrow_mut()
            .entry(address)
            .or_default()
            .set(part, Part::Text(text.to_owned()));
    }

    pub fn fault(&self, address: &str, verb: &str, fault: Fault) {
        self.faults
            .borrow_mut()
            .insert((address.parse().unwrap(), verb.to_owned()), fault);
    }

    fn fault_of(&self, step: &Step) -> Option<Fault> {
        let faults = self.faults.borrow();
        let key = |verb: &str| (step.address.clone(), verb.to_owned());
        faults
            .get(&key(step.verb.as_str()))
            .or_else(|| faults.get(&key("*")))
            .cloned()
    }

    fn write(&self, address: &Address, image: Option<&Image>, torn: bool) {
        let mut there = self.there.borrow_mut();
        let Some(image) = image else {
            there.remove(address);
            return;
        };
        if !torn {
            there.insert(address.clone(), image.clone());
            return;
        }
        let mut now = there.get(address).cloned().unwrap_or_default();
        let first = now.differences(image).first().map(|name| (*name).clone());
        if let Some(name) = first {
            match image.get(name.as_str()) {
                Some(part) => now.set(name, part.clone()),
                None => drop(now.remove(name.as_str())),
            }
        }
        there.insert(address.clone(), now);
    }

    async fn step(&self, step: &Step) -> Outcome {
        if self.crashes() {
            std::future::pending::<()>().await;
        }
        self.asked
            .borrow_mut()
            .push((step.address.clone(), step.verb.to_string()));
        let failed = |message: &str| Outcome::failed(message);
        match self.fault_of(step) {
            Some(Fault::Fails) => return failed("the world fails"),
            Some(Fault::Busy) => {
                return Outcome::held("a run is under way");
            }
            Some(Fault::Lies) => return Outcome::Done,
            Some(Fault::Tears) => {
                self.write(&step.address, step.after.as_ref(), true);
                return failed("the world tears");
            }
            Some(Fault::Leaves) => {
                return Outcome::Failed {
                    message: "the world fails".to_owned(),
                    left: vec!["its shadow stays".to_owned()],
                };
            }
            Some(Fault::LosesAnswer) => {
                self.write(&step.address, step.after.as_ref(), false);
                return Outcome::Unknown {
                    reason: "the answer was lost".to_owned(),
                };
            }
            None => {}
        }
        if self.crashes() {
            self.write(&step.address, step.after.as_ref(), true);
            std::future::pending::<()>().await;
        }
        self.write(&step.address, step.after.as_ref(), false);
        if self.crashes() {
            std::future::pending::<()>().await;
        }
        Outcome::Done
    }
}

#[async_trait::async_trait(?Send)]
impl Observe for std::rc::Rc<World> {
    async fn observe(&self, scope: &Scope<'_>) -> Result<Observed> {
        let mut observed = Observed::default();
        for entry in &scope.entries {
            let address = entry.address.clone();
            if let Some(reason) = self.foreign.borrow().get(&address) {
                let reason = reason.clone();
                observed.resources.insert(address, Seen::Foreign { reason });
            } else if let Some(image) = self.there.borrow().get(&address) {
                let found = Found {
                    image: image.clone(),
                    ..Found::default()
                };
                observed.resources.insert(address, Seen::Ours(found));
            }
        }
        Ok(observed)
    }
}

#[async_trait::async_trait(?Send)]
impl Act for std::rc::Rc<World> {
    async fn act(&self, batch: &[Step], progress: &Progress<'_>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for step in batch {
            let outcome = self.step(step).await;
            progress(step.id, &outcome);
            outcomes.push(outcome);
        }
        outcomes
    }
}
