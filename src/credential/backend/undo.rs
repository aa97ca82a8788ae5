//! Putting back what a step did, byte for byte.

use crate::{
    error::{Error, Result},
    id::ResourceName,
    resource::{Outcome, Step},
};

use super::{
    super::{
        definition::Delivery,
        delivery::{self, Before},
        facts::Noted,
        record::Record,
        seal::FILE_LIMIT,
    },
    Store,
    act::Made,
    prepare::Prepared,
    stored::file,
    units::Asked,
};

/// What is said of a step that failed and is not undone.
pub(super) const STAYS: &str = "the new value stays in use, since its issuer ended the old one when it made it: the next apply goes on from there";

/// How a credential was before a step, byte for byte.
pub struct Memento {
    pub(super) record: Option<Record>,
    /// The number that the next value has after the step: a higher one tells of a renewal since.
    next: u64,
    /// The file of the value, where it is encrypted: the same is not encrypted again.
    pub(super) file: Option<Vec<u8>>,
    noted: Option<Noted>,
    pub(super) places: Vec<(Delivery, Before)>,
}

impl Store {
    /// What is there now of the credential and of every place that the step writes to.
    pub(super) fn memento(&self, step: &Step, prepared: Option<&Prepared>) -> Result<Memento> {
        let disk = self.disk.as_ref();
        let name = &step.address.name;
        let record = Record::read(disk, &self.layout, name)?;
        let mut places: Vec<(Delivery, Before)> = Vec::new();
        let old = record.iter().flat_map(|record| &record.delivered);
        let new = prepared
            .iter()
            .flat_map(|prepared| &prepared.credential.deliver);
        for one in old.chain(new) {
            if places.iter().all(|(known, _)| known.to != one.to) {
                places.push((one.clone(), delivery::before(disk, &one.to)?));
            }
        }
        let mut file = None;
        if record
            .as_ref()
            .is_some_and(|record| record.is_sealed().is_ok_and(|sealed| sealed))
        {
            let path = self.layout.secret_value(name);
            // What cannot be read is made anew.
            let read = disk.read(&path, FILE_LIMIT).ok().flatten();
            file = read.map(|file| file.bytes);
        }
        Ok(Memento {
            noted: Noted::read(disk, &self.layout, name),
            next: prepared.map_or(u64::MAX, |prepared| prepared.record.next_number()),
            record,
            file,
            places,
        })
    }

    /// Whether a step that failed has put a value in use whose maker ended the one before: what is there
    /// of it stays, and the next apply goes on from there.
    pub(super) fn is_past_return(&self, prepared: &Prepared) -> bool {
        let name = &prepared.credential.name;
        let number = |record: &Record| record.current().map(|one| one.number);
        let there = Record::read(self.disk.as_ref(), &self.layout, name);
        let in_use = there.ok().flatten().and_then(|there| number(&there));
        prepared.is_final && in_use == number(&prepared.record)
    }

    /// Puts back what a step that failed has done, and says what became of it.
    pub(super) async fn failed(
        &self,
        step: &Step,
        error: &Error,
        memento: &Memento,
        asked: &Asked,
    ) -> Outcome {
        let restored = self.restore(&step.address.name, memento, Some(asked)).await;
        let (doubts, left) = match restored {
            Ok(doubts) => (doubts, Vec::new()),
            Err(worse) => (Vec::new(), vec![worse.chain()]),
        };
        let mut message = error.sentence();
        for doubt in doubts {
            message = format!("{message}; {doubt}");
        }
        Outcome::Failed { message, left }
    }

    pub(super) fn keep(&self, step: &Step, memento: Memento) {
        let key = (step.address.clone(), step.id);
        self.before.borrow_mut().insert(key, memento);
    }

    pub(super) async fn put_back(&self, step: &Step) -> Outcome {
        let key = (step.address.clone(), step.id);
        if self.stays.borrow().contains(&key) {
            return Outcome::failed(STAYS);
        }
        let memento = self.before.borrow_mut().remove(&key);
        let Some(memento) = memento else {
            return Outcome::failed("how it was before is not known any more");
        };
        let there = Record::read(self.disk.as_ref(), &self.layout, &step.address.name);
        if let Ok(Some(there)) = there
            && memento.next < there.next_number()
        {
            return self.put_back_around(step, &memento, &there).await;
        }
        match self.restore(&step.address.name, &memento, None).await {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::failed(error.sentence()),
        }
    }

    /// Puts back a credential that a run has had renewed since the step: its definition and its places, with
    /// the value that is in use now. Where it was not there before, what was made since is ended.
    async fn put_back_around(&self, step: &Step, memento: &Memento, there: &Record) -> Outcome {
        if let Some(old) = &memento.record {
            let definition = old.definition.clone();
            let step = Step {
                definition,
                ..step.clone()
            };
            return match self.make(&step).await {
                Made::Told(outcome) | Made::Failed(_, outcome) => outcome,
                Made::Waits(_) => Outcome::failed("it was not stored"),
            };
        }
        let new = there.generations.iter();
        for one in new.filter(|one| one.minted.is_some() && memento.next <= one.number) {
            // One that stays ends by itself.
            let _ = self.end(&step.address, there, one).await;
        }
        match self.restore(&step.address.name, memento, None).await {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::failed(error.sentence()),
        }
    }

    /// Puts back every byte, and has those read it who have read what was there in between: whom a step
    /// that failed has asked, or, without one, every unit of a place that was another. What is as before
    /// as far as can be told, and may not be, is returned; a sentence each.
    ///
    /// # Errors
    /// What is not as before.
    async fn restore(
        &self,
        name: &ResourceName,
        memento: &Memento,
        asked: Option<&Asked>,
    ) -> Result<Vec<String>> {
        let disk = self.disk.as_ref();
        let mut reload = Vec::new();
        // What stands in the way of one place keeps no other from being put back, nor the record.
        let mut failed = None;
        for (one, before) in &memento.places {
            let put = match delivery::alone(&one.to).await {
                Ok(_alone) => delivery::put_back(disk, &one.to, before),
                Err(error) => Err(error),
            };
            match put {
                Ok(true) => reload.extend(one.reload.clone()),
                Ok(false) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if let Some(record) = &memento.record {
            self.directories(name)?;
            let mut record = record.clone();
            if record.current().is_some() {
                let file = file(name, &mut record, memento.file.as_deref())?;
                self.store(name, &file)?;
            } else {
                let path = self.layout.secret_value(name);
                let removed = disk.remove(&path);
                removed.map_err(|error| Error::io("remove", &path, error))?;
            }
            record.write(disk, &self.layout, name)?;
            if let Some(noted) = &memento.noted {
                noted.write(disk, &self.layout, name)?;
            }
        } else {
            let dir = self.layout.secret(name);
            let removed = disk.remove_tree(&dir);
            removed.map_err(|error| Error::io("remove", &dir, error))?;
        }
        if let Some(error) = failed {
            return Err(error);
        }
        match asked {
            // The new value was read; the old one is to be.
            None => {
                let again = self.reload(reload).await?;
                again.error().map_or(Ok(Vec::new()), Err)
            }
            Some(asked) => self.reload_again(asked).await,
        }
    }
}
