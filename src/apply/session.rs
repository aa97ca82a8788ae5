//! One apply from approval to commit: the journal begun, the plan executed, the
//! state replaced once, the journal ended.

use std::{cell::RefCell, collections::BTreeMap};

use crate::{
    effect::{clock::Clock, disk::Disk},
    error::Result,
    id::{Address, Timestamp},
    layout::Layout,
    observe::Situation,
    resource::{Action, ActionReason, PartName, Plan},
    state::{
        backups,
        format::State,
        journal::{self, Journal},
        place, store,
    },
};

use super::{
    events::{Event, Report},
    execute::{Backends, Executed, Interrupt, OnFailure, Tools, execute},
    record::{Began, Doubt, Ended, Record, Transition},
    settle::Unfinished,
};

/// What an apply works with. The project's lock is held by the caller throughout.
pub struct Session<'a> {
    /// Files.
    pub disk: &'a dyn Disk,
    /// Where the project's are.
    pub layout: &'a Layout,
    /// The time.
    pub clock: &'a dyn Clock,
    /// The backends.
    pub backends: &'a Backends,
    /// Hears what happens.
    pub events: &'a dyn Fn(&Event),
    /// Milliseconds since the command began.
    pub elapsed_ms: &'a dyn Fn() -> u64,
    /// Set by Ctrl-C.
    pub interrupt: &'a Interrupt,
    /// What is done with the group of a failure.
    pub on_failure: OnFailure,
    /// Who applies, for `history`.
    pub by: String,
    /// The command, for `history`.
    pub command: String,
    /// Tells apart applies of one millisecond.
    pub random: u32,
}

/// Removes what a crash left half-written in the project's own directories.
///
/// # Errors
/// What the disk says.
pub fn sweep(disk: &dyn Disk, layout: &Layout) -> Result<()> {
    for dir in [layout.root(), layout.backups(), layout.journal()] {
        place::sweep_temporaries(disk, &dir)?;
    }
    Ok(())
}

impl Session<'_> {
    /// Carries out a plan of that situation and commits what came of it.
    ///
    /// Without anything to do and to settle, nothing is written.
    ///
    /// # Errors
    /// When the journal cannot be begun (nothing was done), or the state cannot be written (what was
    /// done stands in the journal, and the next apply settles it).
    pub async fn carry_out(&self, situation: &Situation, plan: &Plan) -> Result<Report> {
        let memory = &situation.memory;
        if !plan.has_changes() && memory.open_journals.is_empty() {
            return Ok(Report {
                serial: memory.state.serial,
                ..Report::default()
            });
        }
        let began_at = self.clock.now();
        let id = journal::next_id(self.disk, self.layout, began_at, self.random)?;
        let journal = RefCell::new(Journal::create(self.disk, self.layout, &id)?);
        let began = self.began(situation, plan, began_at);
        journal.borrow_mut().append(std::slice::from_ref(&began))?;
        let settled = &situation.settled;
        if !settled.found.is_empty() {
            (self.events)(&Event::Settled {
                journal: id.to_string(),
                found: settled.found.clone(),
            });
        }
        let written = RefCell::new(vec![began]);
        let log = |records: &[Record]| {
            journal.borrow_mut().append(records)?;
            written.borrow_mut().extend_from_slice(records);
            Ok(())
        };
        let keep = |address: &Address, part: &str, bytes: &[u8]| {
            let part = PartName::from_text(part.to_owned());
            backups::keep_foreign(self.disk, self.layout, &id, address, &part, bytes)
        };
        let tools = Tools {
            backends: self.backends,
            log: &log,
            keep: &keep,
            events: self.events,
            elapsed_ms: self.elapsed_ms,
            interrupt: self.interrupt,
            on_failure: self.on_failure,
        };
        let executed = execute(plan, &situation.applied, &tools).await?;
        let in_doubt = in_doubt(situation, &executed, &written.borrow());
        if !memory.open_journals.is_empty() {
            for backend in self.backends.values() {
                // What is on disk is settled whatever a scheduler remembers.
                let _ = backend.refresh().await;
            }
        }
        self.commit(situation, plan, executed, &journal, in_doubt)
    }

    fn began(&self, situation: &Situation, plan: &Plan, at: Timestamp) -> Record {
        let all = plan.changes.iter().filter(|c| c.action != Action::NoOp);
        let changes = all.map(|change| {
            let transition = Transition {
                action: change.action,
                before: situation.applied.get(&change.address).cloned(),
                after: change.record.clone(),
            };
            (change.address.clone(), transition)
        });
        Record::Began(Began {
            at,
            by: self.by.clone(),
            command: Some(self.command.clone()),
            serial: situation.memory.state.serial,
            spec_digest: plan.subject.spec_digest,
            changes: changes.collect(),
        })
    }

    fn commit(
        &self,
        situation: &Situation,
        plan: &Plan,
        executed: Executed,
        journal: &RefCell<Journal<'_>>,
        in_doubt: BTreeMap<Address, Doubt>,
    ) -> Result<Report> {
        let Executed {
            mut report,
            records,
            ..
        } = executed;
        let now = self.clock.now();
        let memory = &situation.memory;
        let stored = memory.is_stored.then_some(&memory.state);
        let mut state = successor(situation, plan, records, memory.state.serial, now);
        // What only puts back what is recorded replaces no state: each one replaced pushes out a backup.
        let replaced =
            !memory.open_journals.is_empty() || stored.is_none_or(|old| differs(old, &state));
        if replaced {
            state.serial = store::next_serial(self.disk, self.layout, stored)?;
            store::write(self.disk, self.layout, &state, now)?;
        }
        let serial = state.serial;
        report.serial = serial;
        (self.events)(&Event::Committed { serial });
        let ended = Record::Ended(Ended {
            at: now,
            serial,
            result: result(&report).to_owned(),
            in_doubt,
        });
        // The state holds it all from here on; a journal without its end is settled to the same.
        journal.borrow_mut().append(&[ended])?;
        for id in &memory.open_journals {
            let path = journal::path(self.layout, id);
            let (mut old, _) = Journal::open::<Record>(self.disk, &path)?;
            old.append(&[Record::Ended(Ended {
                at: now,
                serial,
                result: "settled".to_owned(),
                in_doubt: BTreeMap::new(),
            })])?;
        }
        journal::prune(self.disk, self.layout, &|_| false)?;
        Ok(report)
    }
}

/// Whether two states say different things; when and in which order they were written aside.
fn differs(old: &State, new: &State) -> bool {
    (&old.resources, &old.origin, &old.files) != (&new.resources, &new.origin, &new.files)
}

/// The state after the records that an apply leaves behind.
fn successor(
    situation: &Situation,
    plan: &Plan,
    records: BTreeMap<Address, Option<crate::resource::Applied>>,
    serial: u64,
    now: Timestamp,
) -> State {
    let mut state = situation.memory.state.clone();
    state.resources.clone_from(&situation.applied);
    for (address, record) in records {
        match record {
            Some(record) => drop(state.resources.insert(address, record)),
            None => drop(state.resources.remove(&address)),
        }
    }
    // One that left something out says nothing of where the whole comes from.
    let whole = plan
        .changes
        .iter()
        .all(|change| change.reason != ActionReason::NotTargeted);
    if let Some(origin) = situation.wish.origin.as_ref().filter(|_| whole) {
        state.origin = Some(origin.clone());
        state.files = situation.wish.files.iter().cloned().collect();
    }
    state.serial = serial;
    state.written_at = now;
    state
}

/// Doubts that remain, and those that this apply adds.
fn in_doubt(
    situation: &Situation,
    executed: &Executed,
    written: &[Record],
) -> BTreeMap<Address, Doubt> {
    let mut own = Unfinished::default();
    own.fold(written, 0);
    let mut doubts = situation.settled.in_doubt.clone();
    let added = own.doubtful.into_iter();
    doubts.extend(added.filter(|(address, _)| executed.in_doubt.contains(address)));
    doubts
}

const fn result(report: &Report) -> &'static str {
    if !report.not_undone.is_empty() {
        "undo failed"
    } else if !report.failed.is_empty() {
        "failed"
    } else if report.interrupted {
        "interrupted"
    } else {
        "applied"
    }
}
