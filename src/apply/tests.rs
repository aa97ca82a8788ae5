//! Stories on a world in memory: build it, freeze it, change it, look.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use proptest::prelude::*;

use crate::{
    error::{Code, Error, Result},
    id::{Address, Lineage, ResourceId, Timestamp},
    plan::{
        Inputs, Options, Provenance,
        kinds::Kinds,
        plan,
        toy::{BACKEND, Toy},
    },
    resource::{
        Act, Action, Applied, Declared, Desired, Image, Meta, Observe, Plan, Scope, ScopeEntry,
        Subject,
    },
    service,
};

use super::{
    events::{Failure, Report},
    execute::{Backends, Executed, Interrupt, OnFailure, Tools, execute},
    record::{Began, Ended, Record, Transition},
    settle::Unfinished,
    world::{Fault, World},
};

struct NoServices;

impl service::plan::Render for NoServices {
    fn image(&self, _: &service::definition::Service) -> Result<Image> {
        Err(Error::new(Code::Internal, "no services here"))
    }
    fn path(&self, _: &service::definition::Service, _: &str) -> String {
        String::new()
    }
    fn next_runs(
        &self,
        _: &service::definition::Service,
        _: Timestamp,
        _: Timestamp,
        _: usize,
    ) -> Vec<service::schedule::Fire> {
        Vec::new()
    }
}

impl crate::credential::plan::Sources for NoServices {
    fn ahead(&self, _: &Address) -> Vec<String> {
        Vec::new()
    }

    fn glimpse(&self, _: &Address) -> crate::credential::plan::Glimpse {
        crate::credential::plan::Glimpse::AtApply
    }
}

/// A project on a world: what git, disk and host hold.
struct Story {
    world: Rc<World>,
    desired: BTreeMap<Address, Desired>,
    state: BTreeMap<Address, Applied>,
    serial: u64,
    journals: Vec<Vec<Record>>,
    options: Options,
    on_failure: OnFailure,
    /// Interrupted when so many records are in the journal.
    interrupt_after: Option<usize>,
}

fn address(text: &str) -> Address {
    format!("toy.{text}").parse().unwrap()
}

fn at() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000)
}

impl Story {
    fn new() -> Self {
        Self {
            world: Rc::default(),
            desired: BTreeMap::new(),
            state: BTreeMap::new(),
            serial: 0,
            journals: Vec::new(),
            options: Options::default(),
            on_failure: OnFailure::Rollback,
            interrupt_after: None,
        }
    }

    fn declare(&mut self, name: &str, toy: &Toy, depends_on: &[&str]) {
        let meta = Meta {
            depends_on: depends_on.iter().map(|d| address(d)).collect(),
            ..Meta::default()
        };
        let desired = Desired {
            address: address(name),
            id: ResourceId::from_mark("toy"),
            backend: BACKEND.clone(),
            definition: toy.definition(),
            image: toy.image(),
            renderer: None,
            meta,
            declared: Declared {
                file: "lore.toml".into(),
                line: 1,
            },
            warnings: Vec::new(),
        };
        self.desired.insert(address(name), desired);
    }

    fn simple(&mut self, name: &str, text: &str, depends_on: &[&str]) {
        let parts = [("a", text), ("b", text)];
        let parts = parts.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        self.declare(
            name,
            &Toy {
                parts,
                ..Toy::default()
            },
            depends_on,
        );
    }

    fn meta(&mut self, name: &str) -> &mut Meta {
        &mut self.desired.get_mut(&address(name)).unwrap().meta
    }

    fn unfinished(&self) -> Unfinished {
        let mut unfinished = Unfinished::default();
        for journal in &self.journals {
            unfinished.fold(journal, self.serial);
        }
        unfinished
    }

    /// Settles in memory and plans, as the command does.
    fn plan(&self) -> (Plan, BTreeMap<Address, Applied>, super::settle::Settled) {
        let unfinished = self.unfinished();
        let ids = ResourceId::from_mark("toy");
        let definitions: BTreeMap<&Address, _> = self
            .state
            .iter()
            .map(|(a, r)| (a, &r.definition))
            .chain(unfinished.touched.iter().filter_map(|(a, t)| {
                t.after
                    .as_ref()
                    .or(t.before.as_ref())
                    .map(|r| (a, &r.definition))
            }))
            .chain(self.desired.iter().map(|(a, d)| (a, &d.definition)))
            .collect();
        let project = "p".parse().unwrap();
        let entries = definitions.iter().map(|(address, definition)| ScopeEntry {
            address,
            id: &ids,
            backend: &BACKEND,
            definition,
            known: Vec::new(),
        });
        let scope = Scope {
            project: &project,
            entries: entries.collect(),
            all_bytes: true,
        };
        let observed = ready(self.world.observe(&scope)).unwrap().unwrap();
        let settled = unfinished.settle(&observed);
        let mut applied = self.state.clone();
        for (address, record) in &settled.records {
            match record {
                Some(record) => drop(applied.insert(address.clone(), record.clone())),
                None => drop(applied.remove(address)),
            }
        }
        let in_doubt = settled
            .in_doubt
            .iter()
            .map(|(a, d)| (a.clone(), d.remedy.clone()))
            .collect();
        let inputs = Inputs {
            subject: Subject {
                project: project.clone(),
                host: "h".to_owned(),
                lineage: Lineage::derive("m", 0, &project),
                serial: self.serial,
                spec_digest: None,
                observed_at: None,
            },
            now: at(),
            desired: &self.desired,
            elsewhere: &BTreeSet::new(),
            applied: &applied,
            observed: &observed,
            in_doubt: &in_doubt,
            left: &BTreeMap::new(),
            provenance: Provenance {
                files: ["lore.toml".to_owned()].into(),
                ..Provenance::default()
            },
            options: self.options.clone(),
            warnings: Vec::new(),
        };
        let plan = plan(
            &inputs,
            &Kinds {
                service: &NoServices,
                credential: &NoServices,
            },
        )
        .unwrap();
        (plan, applied, settled)
    }

    /// One apply. `None` when the power failed in it.
    fn apply(&mut self) -> Option<Report> {
        let (plan, applied, settled) = self.plan();
        let changes = plan
            .changes
            .iter()
            .filter(|c| c.action != Action::NoOp)
            .map(|c| {
                let transition = Transition {
                    action: c.action,
                    before: applied.get(&c.address).cloned(),
                    after: c.record.clone(),
                };
                (c.address.clone(), transition)
            });
        let began = Record::Began(Began {
            at: at(),
            by: "test".to_owned(),
            command: None,
            serial: self.serial,
            spec_digest: None,
            changes: changes.collect(),
        });
        let world = self.world.clone();
        // The old journals are superseded only once the state is committed; until then all are read.
        let journal = RefCell::new(vec![began]);
        let interrupt = Interrupt::default();
        let stop_at = self.interrupt_after;
        let log = |records: &[Record]| {
            if world.crashes() {
                return Ok(());
            }
            journal.borrow_mut().extend_from_slice(records);
            if stop_at.is_some_and(|n| journal.borrow().len() >= n) {
                interrupt.set();
            }
            world.crashes();
            Ok(())
        };
        let mut backends: Backends = BTreeMap::new();
        backends.insert(BACKEND.clone(), Box::new(world.clone()) as Box<dyn Act>);
        let tools = Tools {
            backends: &backends,
            log: &log,
            keep: &|_, _, _| Ok(std::path::PathBuf::from("kept")),
            events: &|_| {},
            elapsed_ms: &|| 0,
            interrupt: &interrupt,
            on_failure: self.on_failure,
        };
        let executed = ready(execute(&plan, &applied, &tools));
        let crashed = self
            .world
            .crash_at
            .get()
            .is_some_and(|k| self.world.events.get() >= k);
        self.journals.push(journal.into_inner());
        if crashed {
            return None;
        }
        let Executed {
            report,
            records,
            in_doubt,
        } = executed.unwrap().unwrap();
        self.state = applied;
        for (address, record) in records {
            match record {
                Some(record) => drop(self.state.insert(address, record)),
                None => drop(self.state.remove(&address)),
            }
        }
        self.serial += 1;
        let mut doubts = settled.in_doubt;
        let last = self.journals.last().unwrap().clone();
        let mut own = Unfinished::default();
        own.fold(&last, 0);
        doubts.extend(
            own.doubtful
                .into_iter()
                .filter(|(a, _)| in_doubt.contains(a)),
        );
        let ended = Record::Ended(Ended {
            at: at(),
            serial: self.serial,
            result: String::new(),
            in_doubt: doubts,
        });
        self.journals = vec![[last, vec![ended]].concat()];
        Some(report)
    }

    fn actions(&self) -> Vec<(String, Action)> {
        let (plan, ..) = self.plan();
        let changed = plan.changes.iter().filter(|c| c.action != Action::NoOp);
        changed
            .map(|c| (c.address.name.to_string(), c.action))
            .collect()
    }

    fn host(&self) -> BTreeMap<Address, Image> {
        self.world.there.borrow().clone()
    }

    fn converged(&self) -> bool {
        let (plan, ..) = self.plan();
        let wanted: BTreeMap<_, _> = self
            .desired
            .iter()
            .map(|(a, d)| (a.clone(), d.image.clone()))
            .collect();
        !plan.has_changes() && self.host() == wanted
    }
}

/// Runs a future of the world, which is ready at once unless the power failed.
fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = Box::pin(future);
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// Five resources: 3 depends on 2, 4 on 3; 1 and 5 stand alone.
fn five(text: &str) -> Story {
    let mut story = Story::new();
    story.simple("one", text, &[]);
    story.simple("two", text, &[]);
    story.simple("three", text, &["two"]);
    story.simple("four", text, &["three"]);
    story.simple("five", text, &[]);
    story
}

fn names(addresses: impl IntoIterator<Item = Address>) -> Vec<String> {
    let mut names: Vec<String> = addresses.into_iter().map(|a| a.name.to_string()).collect();
    names.sort();
    names
}

#[test]
fn applying_twice_changes_nothing() {
    let mut story = five("x");
    let report = story.apply().unwrap();
    assert_eq!(report.applied.len(), 5);
    assert!(story.converged());
    story.world.asked.borrow_mut().clear();
    let report = story.apply().unwrap();
    assert!(report.applied.is_empty() && story.world.asked.borrow().is_empty());
}

#[test]
fn what_is_made_comes_after_what_it_depends_on_and_goes_before_it() {
    let mut story = five("x");
    story.apply().unwrap();
    let order = |story: &Story| -> Vec<String> {
        let asked = story.world.asked.borrow();
        asked
            .iter()
            .map(|(a, _)| a.name.to_string())
            .filter(|n| ["two", "three", "four"].contains(&n.as_str()))
            .collect()
    };
    assert_eq!(order(&story), ["two", "three", "four"]);
    story.world.asked.borrow_mut().clear();
    story.options.allow_deletes = true;
    story.desired.clear();
    story.apply().unwrap();
    assert_eq!(order(&story), ["four", "three", "two"]);
    assert!(story.host().is_empty() && story.state.is_empty());
}

#[test]
fn a_failure_undoes_what_is_connected_and_leaves_the_rest_applied() {
    for fault in [Fault::Fails, Fault::Tears, Fault::Lies] {
        // A create.
        let mut story = five("x");
        story.world.fault("toy.three", "install", fault.clone());
        let report = story.apply().unwrap();
        assert_eq!(
            names(story.host().into_keys()),
            ["five", "one"],
            "{fault:?}"
        );
        assert_eq!(
            names(story.state.clone().into_keys()),
            ["five", "one"],
            "{fault:?}"
        );
        assert_eq!(
            names(report.failed.iter().map(|f| f.address.clone())),
            ["three"]
        );
        assert_eq!(names(report.undone.clone()), ["four", "two"]);
        assert!(report.not_undone.is_empty());
        // An update.
        let mut story = five("x");
        story.apply().unwrap();
        let (host, state) = (story.host(), story.state.clone());
        for (name, depends) in [
            ("one", vec![]),
            ("two", vec![]),
            ("three", vec!["two"]),
            ("four", vec!["three"]),
            ("five", vec![]),
        ] {
            story.simple(name, "y", &depends);
        }
        story.world.fault("toy.three", "update", fault.clone());
        story.apply().unwrap();
        for name in ["two", "three", "four"] {
            if fault == Fault::Tears && name == "three" {
                // The undo is an update too, and the world tears that as well.
                continue;
            }
            assert_eq!(
                story.host()[&address(name)],
                host[&address(name)],
                "{fault:?} {name}"
            );
            assert_eq!(
                story.state[&address(name)],
                state[&address(name)],
                "{fault:?} {name}"
            );
        }
        for name in ["one", "five"] {
            assert_eq!(
                story.host()[&address(name)],
                story.desired[&address(name)].image
            );
        }
        // A delete.
        let mut story = five("x");
        story.apply().unwrap();
        let host = story.host();
        story.options.allow_deletes = true;
        story.desired.clear();
        story.world.fault("toy.three", "remove", fault.clone());
        if fault == Fault::Tears {
            continue;
        }
        story.apply().unwrap();
        let left: BTreeMap<_, _> = host
            .into_iter()
            .filter(|(a, _)| !["one", "five"].contains(&a.name.as_str()))
            .collect();
        assert_eq!(story.host(), left, "{fault:?}");
        assert_eq!(
            names(story.state.clone().into_keys()),
            ["four", "three", "two"]
        );
    }
}

#[test]
fn stop_leaves_what_was_done_and_says_so() {
    let mut story = five("x");
    story.on_failure = OnFailure::Stop;
    story.world.fault("toy.three", "install", Fault::Fails);
    let report = story.apply().unwrap();
    assert_eq!(names(story.host().into_keys()), ["five", "one", "two"]);
    assert!(names(report.not_undone.into_iter().map(|f| f.address)).contains(&"two".to_owned()));
    assert!(
        story.state.contains_key(&address("two")),
        "what is there is recorded"
    );
}

#[test]
fn an_undo_that_fails_is_named_and_what_is_there_is_recorded() {
    let mut story = five("x");
    story.world.fault("toy.three", "install", Fault::Fails);
    story.world.fault("toy.two", "remove", Fault::Fails);
    let report = story.apply().unwrap();
    assert_eq!(
        names(report.not_undone.into_iter().map(|f| f.address)),
        ["two"]
    );
    assert!(story.state.contains_key(&address("two")));
    story.world.faults.borrow_mut().clear();
    story.apply().unwrap();
    assert!(story.converged());
}

#[test]
fn an_undo_leaves_what_someone_else_has_changed_since() {
    let mut story = five("x");
    story.apply().unwrap();
    story.simple("two", "y", &[]);
    story.simple("three", "y", &["two"]);
    // While three fails, someone edits two.
    story.world.fault("toy.three", "update", Fault::Fails);
    let world = story.world.clone();
    let (plan, ..) = story.plan();
    assert_eq!(plan.steps.len(), 2);
    world.fault("toy.two", "edited", Fault::Fails);
    let report = {
        // The edit happens between the waves: the world is edited by the log of the first outcome.
        let edited = RefCell::new(false);
        let (plan, applied, _) = story.plan();
        let mut backends: Backends = BTreeMap::new();
        backends.insert(BACKEND.clone(), Box::new(world.clone()) as Box<dyn Act>);
        let log = |records: &[Record]| {
            if matches!(records, [Record::Outcomes(_)]) && !edited.replace(true) {
                world.set("toy.two", "a", "someone else's");
            }
            Ok(())
        };
        let tools = Tools {
            backends: &backends,
            log: &log,
            keep: &|_, _, _| Ok(std::path::PathBuf::from("kept")),
            events: &|_| {},
            elapsed_ms: &|| 0,
            interrupt: &Interrupt::default(),
            on_failure: OnFailure::Rollback,
        };
        ready(execute(&plan, &applied, &tools))
            .unwrap()
            .unwrap()
            .report
    };
    let there = world.there.borrow();
    let two = &there[&address("two")];
    assert_eq!(
        two.get("a"),
        Some(&crate::resource::Part::Text("someone else's".to_owned()))
    );
    assert_eq!(
        names(report.not_undone.into_iter().map(|f| f.address)),
        ["two"]
    );
}

fn minted(text: &str) -> Toy {
    let parts = [("copy", text), ("token", text)].map(|(k, v)| (k.to_owned(), v.to_owned()));
    Toy {
        parts: parts.into(),
        minted: Some("token".to_owned()),
        generations: false,
    }
}

#[test]
fn what_a_failed_step_left_and_no_image_shows_is_not_called_put_back() {
    let mut story = Story::new();
    story.simple("one", "x", &[]);
    story.simple("two", "x", &["one"]);
    story.world.fault("toy.two", "install", Fault::Leaves);
    let report = story.apply().unwrap();
    assert!(story.host().is_empty());
    let failed = |failures: &[Failure]| -> Vec<String> {
        let said = failures
            .iter()
            .map(|f| format!("{}: {}", f.address, f.message));
        said.collect()
    };
    assert_eq!(failed(&report.failed), ["toy.two: the world fails"]);
    assert_eq!(failed(&report.not_undone), ["toy.two: its shadow stays"]);
    assert_eq!(names(report.undone), ["one"]);
}

#[test]
fn a_pivot_comes_last_and_rolls_forward() {
    let mut story = five("x");
    story.declare("key", &minted("1"), &["two"]);
    story.simple("user", "x", &["key"]);
    let (plan, ..) = story.plan();
    let at = |name: &str, verb: &str| {
        plan.steps
            .iter()
            .position(|s| s.address == address(name) && s.verb.as_str() == verb)
            .unwrap()
    };
    for name in ["one", "two", "three", "four", "five"] {
        assert!(at(name, "install") < at("key", "mint"), "{name}");
    }
    assert!(at("key", "mint") < at("user", "install"));
    story.world.fault("toy.user", "install", Fault::Fails);
    let report = story.apply().unwrap();
    let there = names(story.host().into_keys());
    assert!(
        there.contains(&"key".to_owned()) && there.contains(&"two".to_owned()),
        "{there:?}"
    );
    assert!(!there.contains(&"user".to_owned()));
    let kept = names(report.not_undone.into_iter().map(|f| f.address));
    assert!(kept.contains(&"key".to_owned()), "{kept:?}");
}

#[test]
fn a_mint_whose_answer_was_lost_is_a_hold_and_is_never_sent_again() {
    let mut story = Story::new();
    story.declare("key", &minted("1"), &[]);
    story.world.fault("toy.key", "mint", Fault::LosesAnswer);
    story.apply().unwrap();
    // The issuer's answer is lost, so what the host shows says nothing.
    story.world.there.borrow_mut().clear();
    story.world.faults.borrow_mut().clear();
    for _ in 0..2 {
        let (plan, ..) = story.plan();
        assert_eq!(plan.holds.len(), 1, "{:?}", plan.holds);
        assert!(plan.steps.is_empty());
        story.apply().unwrap();
    }
    let mints = story
        .world
        .asked
        .borrow()
        .iter()
        .filter(|(_, v)| v == "mint")
        .count();
    assert_eq!(mints, 1);
}

#[test]
fn a_stored_generation_is_put_back_by_its_own_verb() {
    let mut story = Story::new();
    let toy = |text: &str| Toy {
        generations: true,
        ..minted(text)
    };
    let plain = |text: &str| Toy {
        minted: None,
        ..toy(text)
    };
    story.declare("key", &plain("1"), &[]);
    story.simple("user", "x", &["key"]);
    story.apply().unwrap();
    let host = story.host();
    story.declare("key", &plain("2"), &[]);
    story.simple("user", "y", &["key"]);
    story.world.fault("toy.user", "update", Fault::Fails);
    story.apply().unwrap();
    assert_eq!(story.host(), host);
    let asked = story.world.asked.borrow();
    assert!(
        asked.contains(&(address("key"), "restore".to_owned())),
        "{asked:?}"
    );
}

#[test]
fn a_step_that_is_held_holds_what_waits_for_it_and_undoes_nothing() {
    let mut story = five("x");
    story.apply().unwrap();
    story.options.allow_deletes = true;
    story.desired.clear();
    story.world.fault("toy.three", "remove", Fault::Busy);
    let report = story.apply().unwrap();
    assert_eq!(names(story.host().into_keys()), ["three", "two"]);
    assert_eq!(names(report.held.into_iter().map(|f| f.address)), ["three"]);
    assert!(report.failed.is_empty());
    story.world.faults.borrow_mut().clear();
    story.apply().unwrap();
    assert!(story.host().is_empty());
}

#[test]
fn an_interruption_undoes_what_is_torn_and_begins_nothing() {
    let mut story = five("x");
    // Began, the first intents, the first outcomes; then Ctrl-C.
    story.interrupt_after = Some(3);
    let report = story.apply().unwrap();
    assert!(report.interrupted);
    assert_eq!(names(story.host().into_keys()), ["five", "one"]);
    story.interrupt_after = None;
    story.apply().unwrap();
    assert!(story.converged());
}

#[test]
fn a_step_is_not_begun_when_the_host_changed_since_it_was_planned() {
    let mut story = five("x");
    story.apply().unwrap();
    story.simple("one", "y", &[]);
    let (plan, applied, _) = story.plan();
    story.world.set("toy.one", "a", "meanwhile");
    let mut backends: Backends = BTreeMap::new();
    backends.insert(
        BACKEND.clone(),
        Box::new(story.world.clone()) as Box<dyn Act>,
    );
    let tools = Tools {
        backends: &backends,
        log: &|_| Ok(()),
        keep: &|_, _, _| Ok(std::path::PathBuf::from("kept")),
        events: &|_| {},
        elapsed_ms: &|| 0,
        interrupt: &Interrupt::default(),
        on_failure: OnFailure::Rollback,
    };
    story.world.asked.borrow_mut().clear();
    let report = ready(execute(&plan, &applied, &tools))
        .unwrap()
        .unwrap()
        .report;
    assert!(story.world.asked.borrow().is_empty());
    assert!(
        report.failed[0].message.contains("changed since"),
        "{:?}",
        report.failed
    );
}

#[test]
fn a_journal_that_takes_no_record_begins_nothing() {
    let story = five("x");
    let (plan, applied, _) = story.plan();
    let mut backends: Backends = BTreeMap::new();
    backends.insert(
        BACKEND.clone(),
        Box::new(story.world.clone()) as Box<dyn Act>,
    );
    let tools = Tools {
        backends: &backends,
        log: &|_| Err(Error::new(Code::Io, "the disk is full")),
        keep: &|_, _, _| Ok(std::path::PathBuf::from("kept")),
        events: &|_| {},
        elapsed_ms: &|| 0,
        interrupt: &Interrupt::default(),
        on_failure: OnFailure::Rollback,
    };
    let report = ready(execute(&plan, &applied, &tools))
        .unwrap()
        .unwrap()
        .report;
    assert!(story.world.asked.borrow().is_empty() && story.host().is_empty());
    assert_eq!(
        report.failed.len(),
        3,
        "the first wave: {:?}",
        report.failed
    );
}

#[test]
fn drift_is_mended_ignored_or_reported() {
    let mut story = five("x");
    story.apply().unwrap();
    story.world.set("toy.one", "a", "drifted");
    assert_eq!(story.actions(), [("one".to_owned(), Action::Update)]);
    let (plan, ..) = story.plan();
    assert_eq!(plan.drift.len(), 1);
    story.meta("one").ignore_drift = vec!["a".to_owned()];
    story.apply().unwrap();
    let drifted = crate::resource::Part::Text("drifted".to_owned());
    assert_eq!(
        story.host()[&address("one")].get("a"),
        Some(&drifted),
        "left alone"
    );
    assert!(story.actions().is_empty());
    // A change of the spec reaches the part all the same.
    story.simple("one", "y", &[]);
    story.meta("one").ignore_drift = vec!["a".to_owned()];
    story.apply().unwrap();
    assert_eq!(
        story.host()[&address("one")],
        story.desired[&address("one")].image
    );
}

#[test]
fn protection_is_lifted_by_an_apply_and_not_by_removing_the_block() {
    let mut story = five("x");
    story.meta("one").protect = true;
    story.apply().unwrap();
    let one = story.desired.remove(&address("one")).unwrap();
    let (plan, ..) = story.plan();
    assert_eq!(plan.refusals.len(), 1);
    assert_eq!(plan.refusals[0].code, Code::Protected);
    assert!(plan.steps.is_empty());
    story.desired.insert(address("one"), one);
    story.meta("one").protect = false;
    story.apply().unwrap();
    story.desired.remove(&address("one"));
    let (plan, ..) = story.plan();
    assert!(plan.refusals.is_empty() && plan.steps.len() == 1);
}

#[test]
fn deletions_that_look_like_a_mistake_are_refused() {
    // More than a third, three at least.
    let mut story = five("x");
    story.apply().unwrap();
    for name in ["three", "four", "five"] {
        story.desired.remove(&address(name));
    }
    assert_eq!(story.plan().0.refusals[0].code, Code::MassDeletion);
    story.simple("five", "x", &[]);
    assert!(story.plan().0.refusals.is_empty(), "two are few");
    // A file that declared something is missing.
    story.state.get_mut(&address("three")).unwrap().declared_in = "jobs.toml".into();
    assert_eq!(story.plan().0.refusals[0].code, Code::MassDeletion);
    story.options.allow_deletes = true;
    assert!(story.plan().0.refusals.is_empty());
}

#[test]
fn a_name_that_is_not_ours_is_a_conflict_and_is_left() {
    let story = five("x");
    story
        .world
        .foreign
        .borrow_mut()
        .insert(address("one"), "there is one".to_owned());
    let (plan, ..) = story.plan();
    assert_eq!(plan.refusals[0].code, Code::Conflict);
    assert!(plan.steps.iter().all(|s| s.address != address("one")));
}

#[test]
fn a_target_takes_what_it_depends_on_and_nothing_else() {
    let mut story = five("x");
    story.options.targets = vec![address("three")];
    let changed = names(story.actions().into_iter().map(|(n, _)| address(&n)));
    assert_eq!(changed, ["three", "two"]);
    story.options.targets = vec![address("nobody")];
    let unfinished = story.unfinished();
    assert!(unfinished.is_empty());
}

#[test]
fn one_that_stops_depending_is_changed_before_the_other_goes() {
    let mut story = five("x");
    story.apply().unwrap();
    story.simple("three", "y", &[]);
    story.desired.remove(&address("two"));
    let (plan, ..) = story.plan();
    let order = names_in_order(&plan);
    assert_eq!(order, ["three", "two"]);
}

fn names_in_order(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .map(|s| s.address.name.to_string())
        .collect()
}

/// Every moment at which the power can fail, for a create, an update and a delete: the next apply converges.
#[test]
fn the_power_may_fail_at_any_moment() {
    let mut moments = 0;
    for scene in 0..3 {
        for crash_at in 1.. {
            let mut story = five("x");
            if scene > 0 {
                story.apply().unwrap();
                story.options.allow_deletes = true;
                for (name, depends) in [("two", vec![]), ("three", vec!["two"]), ("five", vec![])] {
                    story.simple(name, "y", &depends);
                }
            }
            if scene == 2 {
                story.desired.retain(|a, _| a.name.as_str() == "one");
            }
            story.world.events.set(0);
            story.world.crash_at.set(Some(crash_at));
            let finished = story.apply().is_some();
            story.world.crash_at.set(None);
            if finished {
                break;
            }
            moments += 1;
            let report = story.apply().unwrap();
            assert!(
                report.failed.is_empty(),
                "scene {scene}, moment {crash_at}: {report:?}"
            );
            assert!(story.converged(), "scene {scene}, moment {crash_at}");
            assert_eq!(
                names(story.state.clone().into_keys()),
                names(story.desired.clone().into_keys()),
                "nothing is orphaned"
            );
        }
    }
    assert!(moments > 60, "only {moments} moments were tried");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any graph, any edit, any faults, the power failing anywhere: the next good apply converges, and
    /// a failed one without a failed undo leaves each group whole, old or new.
    #[test]
    fn any_project_converges(
        edges in proptest::collection::vec((0_usize..6, 0_usize..6), 0..8),
        reversed in any::<[bool; 3]>(),
        texts in proptest::collection::vec(0_u8..3, 18),
        faults in proptest::collection::vec((0_usize..6, 0_usize..3, 0_usize..4), 0..3),
        crash in proptest::option::of(1_usize..60),
    ) {
        let name = |n: usize| ["a", "b", "c", "d", "e", "f"][n];
        // Each edit may turn every dependency round.
        let build = |story: &mut Story, texts: &[u8], reversed: bool| {
            story.desired.clear();
            for (n, text) in texts.iter().enumerate().filter(|(_, t)| **t > 0) {
                let depends: Vec<&str> = edges
                    .iter()
                    .filter(|(from, to)| to < from)
                    .map(|&(from, to)| if reversed { (to, from) } else { (from, to) })
                    .filter(|(from, to)| *from == n && texts[*to] > 0)
                    .map(|(_, to)| name(to))
                    .collect();
                story.simple(name(n), &text.to_string(), &depends);
            }
        };
        let mut story = Story::new();
        story.options.allow_deletes = true;
        build(&mut story, &texts[..6], reversed[0]);
        story.apply().unwrap();
        prop_assert!(story.converged());
        let old = story.host();
        build(&mut story, &texts[6..12], reversed[1]);
        let (plan, ..) = story.plan();
        for (n, verb, fault) in &faults {
            let fault = [Fault::Fails, Fault::Tears, Fault::Lies, Fault::Busy][*fault].clone();
            let verb = ["install", "update", "remove"][*verb];
            story.world.fault(&format!("toy.{}", name(*n)), verb, fault);
        }
        story.world.events.set(0);
        story.world.crash_at.set(crash);
        if let Some(report) = story.apply()
            && report.not_undone.is_empty()
            && report.held.is_empty()
        {
            let new: BTreeMap<_, _> =
                story.desired.iter().map(|(a, d)| (a.clone(), d.image.clone())).collect();
            let mut of_group: BTreeMap<u32, BTreeSet<bool>> = BTreeMap::new();
            for (address, group) in &plan.groups {
                let there = story.host().get(address).cloned();
                let is_new = there == new.get(address).cloned();
                prop_assert!(is_new || there == old.get(address).cloned());
                of_group.entry(*group).or_default().insert(is_new);
            }
            prop_assert!(of_group.values().all(|whole| whole.len() == 1), "{:?}", of_group);
        }
        story.world.crash_at.set(None);
        story.world.faults.borrow_mut().clear();
        // The spec may have been edited meanwhile: what was begun for the old one is not orphaned.
        build(&mut story, &texts[12..], reversed[2]);
        let report = story.apply().unwrap();
        prop_assert!(report.failed.is_empty(), "{:?}", report.failed);
        prop_assert!(story.converged());
    }
}

#[test]
fn a_dependency_may_be_reversed() {
    let mut story = Story::new();
    story.simple("a", "x", &[]);
    story.simple("b", "x", &["a"]);
    story.apply().unwrap();
    story.simple("a", "y", &["b"]);
    story.simple("b", "y", &[]);
    let (plan, ..) = story.plan();
    assert_eq!(names_in_order(&plan), ["b", "a"]);
    story.apply().unwrap();
    assert!(story.converged());
}

/// An apply that fails half-way through a reversal leaves records that depend on each other.
#[test]
fn what_was_applied_in_a_circle_can_still_go() {
    let mut story = Story::new();
    story.options.allow_deletes = true;
    story.simple("a", "x", &[]);
    story.simple("b", "x", &["a"]);
    story.simple("c", "x", &["b"]);
    story.apply().unwrap();
    let record = story.state.get_mut(&address("a")).unwrap();
    record.meta.depends_on = vec![address("b")];
    story.desired.clear();
    let (plan, ..) = story.plan();
    // What merely waits for the circle keeps its place.
    let order = names_in_order(&plan);
    let at = |name: &str| order.iter().position(|one| one == name);
    assert!(at("c") < at("b"), "{order:?}");
    story.apply().unwrap();
    assert!(story.converged() && story.host().is_empty());
}

#[test]
fn what_lost_its_mark_is_neither_removed_nor_forgotten() {
    let mut story = five("x");
    story.apply().unwrap();
    story.desired.remove(&address("one"));
    let reason = "it does not carry our mark".to_owned();
    story
        .world
        .foreign
        .borrow_mut()
        .insert(address("one"), reason);
    let (plan, ..) = story.plan();
    assert_eq!(plan.holds.len(), 1, "{:?}", plan.holds);
    assert!(plan.steps.is_empty() && !plan.has_changes());
    story.apply().unwrap();
    assert!(
        story.state.contains_key(&address("one")),
        "it is remembered"
    );
}

#[test]
fn a_move_between_backends_is_settled_as_one_or_the_other() {
    use super::settle::has_moved;
    let image = |parts: &[(&'static str, &str)]| -> Image {
        let part = |(name, text): &(&'static str, &str)| {
            let part = crate::resource::Part::Text((*text).to_owned());
            (crate::resource::PartName::from_static(name), part)
        };
        parts.iter().map(part).collect()
    };
    let systemd = image(&[("run.json", "1"), ("service", "s"), ("timer", "t")]);
    let worker = image(&[("run.json", "2")]);
    let rest = image(&[("timer", "t")]);
    let run = |text| image(&[("run.json", text)]);
    for (before, after, old, new, moved) in [
        // Nothing removed yet; a part left; only run.json left; nothing left; the new one there.
        (&systemd, &worker, Some(systemd.clone()), None, false),
        (&systemd, &worker, Some(rest), None, false),
        (&systemd, &worker, Some(run("1")), Some(run("1")), false),
        (&systemd, &worker, None, None, true),
        (&systemd, &worker, Some(run("2")), Some(run("2")), true),
        // The other way round.
        (&worker, &systemd, Some(run("2")), Some(run("2")), false),
        (&worker, &systemd, None, None, true),
        (&worker, &systemd, Some(run("1")), Some(run("1")), true),
        (
            &worker,
            &systemd,
            Some(run("1")),
            Some(systemd.clone()),
            true,
        ),
    ] {
        let got = has_moved(before, after, old.as_ref(), new.as_ref());
        assert_eq!(got, moved, "{old:?} {new:?}");
    }
}
