//! Carrying out steps, wave by wave, and putting back what is connected to a failure.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use futures_util::future::join_all;

use crate::{
    error::Result,
    id::{Address, BackendId, Timestamp},
    resource::{
        Act, Applied, Found, Image, Observed, Outcome, Part, Plan, Scope, ScopeEntry, Seen, Step,
        StepId, Undo,
    },
};

use super::{
    events::{Event, Failure, Holding, Report},
    record::{Intent, Intents, Outcomes, Record},
    settle, undo,
};

/// Every backend that a plan may name.
pub type Backends = BTreeMap<BackendId, Box<dyn Act>>;

/// Takes a resource, a part's name and bytes; says where they are kept.
pub type Keep<'a> = dyn Fn(&Address, &str, &[u8]) -> Result<PathBuf> + 'a;

/// What is done with the group of a failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It is put back.
    #[default]
    Rollback,
    /// It is left as it is, and said so.
    Stop,
}

/// Set by the first Ctrl-C: the batch ends, nothing new begins.
#[derive(Debug, Default)]
pub struct Interrupt(Cell<bool>);

impl Interrupt {
    /// Asks for the end.
    pub fn set(&self) {
        self.0.set(true);
    }

    /// Whether the end was asked for.
    pub fn is_set(&self) -> bool {
        self.0.get()
    }
}

/// What the executor works with. It decides nothing.
pub struct Tools<'a> {
    /// The backends.
    pub backends: &'a Backends,
    /// Appends to the journal, durably.
    pub log: &'a dyn Fn(&[Record]) -> Result<()>,
    /// Keeps the bytes of a file that is not ours before it goes; says where.
    pub keep: &'a Keep<'a>,
    /// Hears what happens.
    pub events: &'a dyn Fn(&Event),
    /// Milliseconds since the command began.
    pub elapsed_ms: &'a dyn Fn() -> u64,
    /// Set by Ctrl-C.
    pub interrupt: &'a Interrupt,
    /// What is done with the group of a failure.
    pub on_failure: OnFailure,
}

/// Where a step stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    Waiting,
    Done,
    Failed(String),
    Held(String, Option<Timestamp>),
    Unknown(String),
    Undone,
    NotUndone(String),
}

/// A plan on its way.
pub(super) struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) applied: &'a BTreeMap<Address, Applied>,
    pub(super) tools: &'a Tools<'a>,
    pub(super) standing: BTreeMap<StepId, Standing>,
    /// What was there before each step that was begun, with bytes.
    pub(super) before: BTreeMap<StepId, Option<Image>>,
    /// What backends could not put back of failed steps and no image shows.
    pub(super) left: BTreeMap<StepId, Vec<String>>,
    /// Steps whose undo was tried, or deliberately was not.
    pub(super) undone: BTreeSet<StepId>,
    pub(super) report: Report,
}

/// What an executed plan leaves behind.
pub struct Executed {
    /// How it ended, for the reader.
    pub report: Report,
    /// Records to be replaced in the state; `None` takes one out.
    pub records: BTreeMap<Address, Option<Applied>>,
    /// Pivots whose outcome is unknown.
    pub in_doubt: BTreeSet<Address>,
}

/// Carries out a plan.
///
/// Guarantees: an intent is in the journal before each act; a step whose precondition no longer
/// holds is not begun; after a failure every resource of its group is as it was before, or is named
/// in the report; other groups are carried out.
///
/// # Errors
/// Only when nothing was begun: an executor that has begun reports failures and returns.
pub async fn execute(
    plan: &Plan,
    applied: &BTreeMap<Address, Applied>,
    tools: &Tools<'_>,
) -> Result<Executed> {
    let standing = plan.steps.iter().map(|step| (step.id, Standing::Waiting));
    let mut run = Run {
        plan,
        applied,
        tools,
        standing: standing.collect(),
        before: BTreeMap::new(),
        left: BTreeMap::new(),
        undone: BTreeSet::new(),
        report: Report::default(),
    };
    (tools.events)(&Event::Began {
        steps: plan.steps.len(),
        waves: waves(&plan.steps),
    });
    let mut wave = 0;
    loop {
        if tools.interrupt.is_set() && !run.report.interrupted {
            run.report.interrupted = true;
            (tools.events)(&Event::Interrupted);
        }
        let ready = run.ready();
        if ready.is_empty() {
            break;
        }
        wave += 1;
        run.wave(wave, ready).await;
        undo::failed_groups(&mut run).await;
    }
    if run.report.interrupted {
        undo::interrupted_groups(&mut run).await;
    }
    Ok(run.finish().await)
}

/// In how many waves some steps go: the longest chain of what waits for what.
fn waves(steps: &[Step]) -> usize {
    let mut depth: BTreeMap<StepId, usize> = BTreeMap::new();
    for step in steps {
        let deepest = step.depends_on.iter().filter_map(|id| depth.get(id)).max();
        depth.insert(step.id, deepest.map_or(1, |deepest| deepest + 1));
    }
    depth.values().copied().max().unwrap_or(0)
}

/// What an observation says of one address: its image, or why it cannot be worked on.
pub(super) fn image_of<'o>(
    observed: &'o Observed,
    address: &Address,
) -> std::result::Result<Option<&'o Found>, String> {
    match observed.resources.get(address) {
        None => Ok(None),
        Some(Seen::Ours(found)) => Ok(Some(found)),
        Some(
            Seen::Foreign { reason }
            | Seen::Unknown {
                reason, help: None, ..
            },
        ) => Err(reason.clone()),
        Some(Seen::Unknown {
            reason,
            help: Some(help),
            ..
        }) => Err(format!("{reason}; {help}")),
    }
}

fn named(parts: &[&crate::resource::PartName]) -> String {
    let names: Vec<&str> = parts.iter().map(|part| part.as_str()).collect();
    names.join(", ")
}

fn difference(expected: Option<&Image>, there: Option<&Image>) -> String {
    match (expected, there) {
        (None, Some(_)) => "it is there".to_owned(),
        (Some(_), None) => "it is gone".to_owned(),
        (Some(a), Some(b)) => named(&a.differences(b)),
        (None, None) => String::new(),
    }
}

impl<'a> Run<'a> {
    fn group(&self, step: &Step) -> u32 {
        self.plan.groups.get(&step.address).copied().unwrap_or(0)
    }

    /// Groups in which something failed.
    pub(super) fn failed_groups(&self) -> BTreeSet<u32> {
        let failed = |step: &&Step| match self.standing.get(&step.id) {
            Some(Standing::Failed(_) | Standing::Unknown(_) | Standing::NotUndone(_)) => true,
            Some(Standing::Waiting | Standing::Done | Standing::Held(..) | Standing::Undone)
            | None => false,
        };
        self.plan
            .steps
            .iter()
            .filter(failed)
            .map(|step| self.group(step))
            .collect()
    }

    fn ready(&self) -> Vec<&'a Step> {
        if self.tools.interrupt.is_set() {
            return Vec::new();
        }
        let failed = self.failed_groups();
        let done = |id: &StepId| self.standing.get(id) == Some(&Standing::Done);
        self.plan
            .steps
            .iter()
            .filter(|step| self.standing.get(&step.id) == Some(&Standing::Waiting))
            .filter(|step| !failed.contains(&self.group(step)))
            .filter(|step| step.depends_on.iter().all(done))
            .collect()
    }

    /// Looks at the resources of some steps, on every backend side by side.
    pub(super) async fn observe(&self, steps: &[&Step], all_bytes: bool) -> Result<Observed> {
        let mut by_backend: BTreeMap<&BackendId, Vec<ScopeEntry<'_>>> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for step in steps {
            if !seen.insert((&step.backend, &step.address)) {
                continue;
            }
            by_backend
                .entry(&step.backend)
                .or_default()
                .push(ScopeEntry {
                    address: &step.address,
                    id: &step.resource,
                    backend: &step.backend,
                    definition: &step.definition,
                    known: step.before.iter().chain(step.after.iter()).collect(),
                });
        }
        let mut all = Observed::default();
        let mut calls = Vec::new();
        for (backend, entries) in by_backend {
            let Some(act) = self.tools.backends.get(backend) else {
                continue;
            };
            let scope = Scope {
                project: &self.plan.subject.project,
                entries,
                all_bytes,
            };
            calls.push(async move { act.observe(&scope).await });
        }
        for observed in join_all(calls).await {
            all.resources.extend(observed?.resources);
        }
        Ok(all)
    }

    /// Hands steps to their backends, side by side, and reads back what they say is done.
    pub(super) async fn act(
        &self,
        steps: &[&Step],
        ended: &dyn Fn(&Step, &Outcome),
    ) -> BTreeMap<StepId, Outcome> {
        let mut by_backend: BTreeMap<&BackendId, Vec<Step>> = BTreeMap::new();
        for step in steps {
            by_backend
                .entry(&step.backend)
                .or_default()
                .push((*step).clone());
        }
        let mut outcomes = BTreeMap::new();
        let mut calls = Vec::new();
        for (id, batch) in &by_backend {
            let Some(backend) = self.tools.backends.get(*id) else {
                let missing = Outcome::failed(format!("the backend {id} is not open"));
                outcomes.extend(batch.iter().map(|step| (step.id, missing.clone())));
                continue;
            };
            calls.push(async move {
                let report = |step: StepId, outcome: &Outcome| {
                    if let Some(step) = batch.iter().find(|s| s.id == step) {
                        ended(step, outcome);
                    }
                };
                let outcomes = backend.act(batch, &report).await;
                batch
                    .iter()
                    .map(|step| step.id)
                    .zip(outcomes)
                    .collect::<Vec<_>>()
            });
        }
        for batch in join_all(calls).await {
            outcomes.extend(batch);
        }
        self.read_back(steps, &mut outcomes).await;
        outcomes
    }

    async fn read_back(&self, steps: &[&Step], outcomes: &mut BTreeMap<StepId, Outcome>) {
        let done: Vec<&Step> = steps
            .iter()
            .filter(|step| outcomes.get(&step.id) == Some(&Outcome::Done))
            .copied()
            .collect();
        let observed = match self.observe(&done, false).await {
            Ok(observed) => observed,
            Err(error) => {
                let message = format!("cannot read back: {}", error.chain());
                let failed = done.iter().map(|step| {
                    let message = message.clone();
                    (step.id, Outcome::failed(message))
                });
                outcomes.extend(failed.collect::<Vec<_>>());
                return;
            }
        };
        for step in done {
            let there = image_of(&observed, &step.address);
            let message = match there {
                Err(reason) => reason,
                Ok(found) => {
                    let image = found.map(|found| &found.image);
                    if image == step.after.as_ref() {
                        continue;
                    }
                    format!(
                        "read back, the host differs from what was written: {}",
                        difference(step.after.as_ref(), image)
                    )
                }
            };
            outcomes.insert(step.id, Outcome::failed(message));
        }
    }

    async fn wave(&mut self, number: usize, ready: Vec<&'a Step>) {
        let began = (self.tools.elapsed_ms)();
        let mut steps = self.check(ready).await;
        if !self.announce(&mut steps) {
            return;
        }
        let mut batches: BTreeMap<&BackendId, Vec<StepId>> = BTreeMap::new();
        for step in &steps {
            batches.entry(&step.backend).or_default().push(step.id);
        }
        for (backend, steps) in batches {
            (self.tools.events)(&Event::BatchBegan {
                wave: number,
                backend: backend.clone(),
                steps,
            });
        }
        let tools = self.tools;
        let outcomes = self.act(&steps, &|_, _| {}).await;
        let done = outcomes.values().filter(|it| matches!(it, Outcome::Done));
        tracing::info!(
            wave = number,
            steps = steps.len(),
            done = done.count(),
            ms = (tools.elapsed_ms)().saturating_sub(began),
            "carried out"
        );
        for step in &steps {
            if let Some(outcome) = outcomes.get(&step.id) {
                (tools.events)(&Event::StepEnded {
                    step: step.id,
                    address: step.address.clone(),
                    verb: step.verb.clone(),
                    outcome: outcome.clone(),
                    elapsed_ms: (tools.elapsed_ms)().saturating_sub(began),
                });
            }
        }
        let record = Record::Outcomes(Outcomes {
            undo: false,
            steps: outcomes.clone(),
        });
        let logged = (tools.log)(&[record]);
        for (id, outcome) in outcomes {
            let standing = match (outcome, &logged) {
                (Outcome::Done, Ok(())) => Standing::Done,
                (Outcome::Done, Err(error)) => {
                    Standing::Failed(format!("its outcome cannot be recorded: {}", error.chain()))
                }
                (Outcome::Failed { message, left }, _) => {
                    if !left.is_empty() {
                        self.left.insert(id, left);
                    }
                    Standing::Failed(message)
                }
                (Outcome::Held { reason, until }, _) => Standing::Held(reason, until),
                (Outcome::Unknown { reason }, _) => Standing::Unknown(reason),
            };
            self.standing.insert(id, standing);
        }
    }

    /// Looks whether the host still is as the plan saw it; what is not is a failure, and not begun.
    async fn check(&mut self, ready: Vec<&'a Step>) -> Vec<&'a Step> {
        let observed = match self.observe(&ready, true).await {
            Ok(observed) => observed,
            Err(error) => {
                for step in ready {
                    self.fail(step, format!("cannot look at the host: {}", error.chain()));
                }
                return Vec::new();
            }
        };
        let mut go = Vec::new();
        for step in ready {
            let found = match image_of(&observed, &step.address) {
                Ok(found) => found,
                Err(reason) => {
                    self.fail(step, reason);
                    continue;
                }
            };
            let image = found.map(|found| &found.image);
            if image == step.before.as_ref() {
                self.before.insert(step.id, image.cloned());
                go.push(step);
            } else if image == step.after.as_ref() {
                self.standing.insert(step.id, Standing::Done);
            } else {
                let what = difference(step.before.as_ref(), image);
                self.fail(
                    step,
                    format!("the host changed since it was planned: {what}"),
                );
            }
        }
        go
    }

    fn fail(&mut self, step: &Step, message: String) {
        (self.tools.events)(&Event::StepEnded {
            step: step.id,
            address: step.address.clone(),
            verb: step.verb.clone(),
            outcome: Outcome::failed(message.clone()),
            elapsed_ms: 0,
        });
        self.standing.insert(step.id, Standing::Failed(message));
    }

    /// Keeps what is not ours and would go, then writes the intents. False when nothing may be begun.
    fn announce(&mut self, steps: &mut Vec<&'a Step>) -> bool {
        let mut intents = Vec::new();
        let mut go = Vec::new();
        for step in std::mem::take(steps) {
            match self.keep_foreign(step) {
                Ok(kept) => {
                    intents.push(Intent {
                        step: step.id,
                        address: step.address.clone(),
                        verb: step.verb.clone(),
                        // A removal can be looked for, and done again.
                        pivot: matches!(step.undo, Undo::Never { .. }) && step.after.is_some(),
                        kept: kept.clone(),
                    });
                    self.report.backed_up.extend(kept);
                    go.push(step);
                }
                Err(error) => {
                    let message = format!("what it replaces cannot be kept: {}", error.chain());
                    self.fail(step, message);
                }
            }
        }
        if go.is_empty() {
            return false;
        }
        let record = Record::Intents(Intents {
            undo: false,
            steps: intents,
        });
        if let Err(error) = (self.tools.log)(&[record]) {
            for step in go {
                self.before.remove(&step.id);
                self.fail(
                    step,
                    format!("its intent cannot be recorded: {}", error.chain()),
                );
            }
            return false;
        }
        *steps = go;
        true
    }

    /// Keeps the files that the step replaces or removes and that are not what was applied.
    fn keep_foreign(&self, step: &Step) -> Result<Vec<String>> {
        let Some(Some(before)) = self.before.get(&step.id) else {
            return Ok(Vec::new());
        };
        let applied = self.applied.get(&step.address).map(|record| &record.image);
        let mut kept = Vec::new();
        for (name, part) in before.iter() {
            let after = step
                .after
                .as_ref()
                .and_then(|image| image.get(name.as_str()));
            let ours = applied.and_then(|image| image.file(name.as_str()));
            if let Part::File(file) = part
                && after != Some(part)
                && ours.is_none_or(|ours| ours.digest != file.digest)
                && let Some(bytes) = &file.bytes
            {
                let path = (self.tools.keep)(&step.address, name.as_str(), bytes)?;
                kept.push(path.display().to_string());
            }
        }
        Ok(kept)
    }

    /// The records that the state gets, and the report's lists.
    async fn finish(mut self) -> Executed {
        let mut records = BTreeMap::new();
        let mut in_doubt = BTreeSet::new();
        let mut unclear: Vec<&Step> = Vec::new();
        let mut by_address: BTreeMap<&Address, Vec<&Step>> = BTreeMap::new();
        for step in &self.plan.steps {
            by_address.entry(&step.address).or_default().push(step);
        }
        for change in &self.plan.changes {
            if change.action == crate::resource::Action::NoOp {
                continue;
            }
            let address = &change.address;
            let steps = by_address.remove(address).unwrap_or_default();
            let stands = |wanted: fn(&Standing) -> bool| {
                steps
                    .iter()
                    .all(|step| self.standing.get(&step.id).is_some_and(wanted))
            };
            if stands(|s| *s == Standing::Done) && (!steps.is_empty() || !self.report.interrupted) {
                records.insert(address.clone(), change.record.clone());
                self.report.applied.push((address.clone(), change.action));
                continue;
            }
            let mut begun = false;
            for step in &steps {
                let failure = |message: &String| Failure {
                    address: address.clone(),
                    message: message.clone(),
                };
                begun |= self.before.contains_key(&step.id);
                match self.standing.get(&step.id) {
                    Some(Standing::Failed(why)) => self.report.failed.push(failure(why)),
                    Some(Standing::Held(why, until)) => self.report.held.push(Holding {
                        address: address.clone(),
                        message: why.clone(),
                        until: *until,
                    }),
                    Some(Standing::NotUndone(why)) => self.report.not_undone.push(failure(why)),
                    Some(Standing::Unknown(why)) => {
                        in_doubt.insert(address.clone());
                        self.report.failed.push(failure(why));
                    }
                    Some(Standing::Waiting | Standing::Done | Standing::Undone) | None => {}
                }
            }
            if !begun {
                let failed = steps
                    .iter()
                    .any(|step| matches!(self.standing.get(&step.id), Some(Standing::Failed(_))));
                if self.report.interrupted && !failed {
                    self.report.not_begun.push(address.clone());
                } else if !failed {
                    self.report.undone.push(address.clone());
                }
                continue;
            }
            if stands(|s| matches!(s, Standing::Undone | Standing::Waiting)) {
                self.report.undone.push(address.clone());
            }
            unclear.extend(steps);
        }
        self.record_what_is_there(&unclear, &mut records).await;
        Executed {
            report: self.report,
            records,
            in_doubt,
        }
    }

    /// What was begun and is not plainly done is recorded as it is on the host.
    async fn record_what_is_there(
        &self,
        steps: &[&Step],
        records: &mut BTreeMap<Address, Option<Applied>>,
    ) {
        let Ok(observed) = self.observe(steps, false).await else {
            return;
        };
        for step in steps {
            let Ok(found) = image_of(&observed, &step.address) else {
                continue;
            };
            let before = self.applied.get(&step.address);
            let after = self
                .plan
                .change(&step.address)
                .and_then(|change| change.record.as_ref());
            let merged = settle::merge(before, after, found.map(|found| &found.image));
            records.insert(step.address.clone(), merged);
        }
    }
}
