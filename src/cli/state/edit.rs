//! Changing the state alone: under the project's lock, with the old state in `backups/`, and told in
//! the history.

use std::collections::BTreeMap;

use crate::{
    apply::{
        record::{Began, Ended, Record, Transition},
        session::sweep,
    },
    effect::{
        lock::{Holder, ProjectLock},
        random,
    },
    error::{Code, Error, Result},
    id::Address,
    layout::Layout,
    observe::Memory,
    state::{
        format::State,
        journal::{self, Journal},
        place, store,
    },
};

use super::super::context::Context;

/// An edit under way. The project's lock is held until it is dropped.
pub struct Edit<'a> {
    context: &'a Context,
    layout: &'a Layout,
    by: String,
    /// What is remembered; no apply is unfinished in it.
    pub memory: Memory,
    _lock: ProjectLock,
}

impl<'a> Edit<'a> {
    /// Takes the lock and reads the memory.
    ///
    /// # Errors
    /// `LOCK_HELD`; as [`Memory::load`] and, unless the state may be `lost`, [`Memory::refuse_lost`];
    /// `HELD` while an apply that was cut short has to be brought to an end.
    pub fn begin(context: &'a Context, layout: &'a Layout, lost: bool) -> Result<Self> {
        let disk = context.disk.as_ref();
        place::prepare_dirs(disk, layout)?;
        let holder = Holder::this_process(context.now());
        let lock = ProjectLock::acquire(&layout.lock_file(), &holder)?;
        sweep(disk, layout)?;
        let lineage = context.lineage(layout.project())?;
        let memory = Memory::load(disk, layout, &lineage, context.now())?;
        if !lost {
            memory.refuse_lost(layout)?;
        }
        if !memory.open_journals.is_empty() {
            let message = "an apply did not end, and what it did is not in the state yet";
            return Err(Error::new(Code::Held, message)
                .suggest("`lorectl apply` looks what was done and goes on from there"));
        }
        Ok(Self {
            context,
            layout,
            by: holder.who(),
            memory,
            _lock: lock,
        })
    }

    /// The serial that the next state must have at least.
    ///
    /// # Errors
    /// What the disk says.
    pub fn next_serial(&self) -> Result<u64> {
        let memory = &self.memory;
        let stored = memory.is_stored.then_some(&memory.state);
        let next = store::next_serial(self.context.disk.as_ref(), self.layout, stored)?;
        Ok(next.max(memory.lost.map_or(0, |serial| serial.saturating_add(1))))
    }

    /// Replaces the state, between two records of what is done to it.
    ///
    /// A crash between them leaves the state as it was, or as it is to be; the next apply ends the journal.
    ///
    /// # Errors
    /// As [`store::write`] and [`Journal::append`].
    pub fn commit(
        &self,
        command: String,
        changes: BTreeMap<Address, Transition>,
        state: &State,
    ) -> Result<()> {
        let disk = self.context.disk.as_ref();
        let now = self.context.now();
        let mut in_doubt = self.memory.unfinished.doubtful.clone();
        // A person has said what is to be known of these.
        in_doubt.retain(|address, _| !changes.contains_key(address));
        let began = Record::Began(Began {
            at: now,
            by: self.by.clone(),
            command: Some(command),
            serial: self.memory.state.serial,
            spec_digest: None,
            changes,
        });
        let random = u32::try_from(random::seed()? >> 32).unwrap_or_default();
        let id = journal::next_id(disk, self.layout, now, random)?;
        let mut journal = Journal::create(disk, self.layout, &id)?;
        journal.append(&[began])?;
        store::write(disk, self.layout, state, now)?;
        journal.append(&[Record::Ended(Ended {
            at: self.context.now(),
            serial: state.serial,
            result: "edited".to_owned(),
            in_doubt,
        })])?;
        journal::prune(disk, self.layout, &|_| false)?;
        Ok(())
    }
}
