//! Storing, delivering and removing.

use crate::{
    error::{Code, Error, Result},
    id::ResourceName,
    resource::{Act, Outcome, Progress, Step},
};

use super::{
    super::{
        definition::Delivery, delivery, facts::Noted, image, key::Key, record::Record,
        setback::Failed,
    },
    Store,
    first::{First, Firsts},
    prepare::{Prepared, Stop},
    stored::file,
    sweep,
    undo::{Memento, STAYS},
    units::Asked,
};

#[async_trait::async_trait(?Send)]
impl Act for Store {
    async fn act(&self, batch: &[Step], progress: &Progress<'_>) -> Vec<Outcome> {
        // By now its record says it.
        self.asked.replace(None);
        let mut outcomes: Vec<Option<Outcome>> = vec![None; batch.len()];
        let mut firsts = Firsts::default();
        for (at, step) in batch.iter().enumerate() {
            tokio::task::yield_now().await;
            let outcome = match self.carry_out(step).await {
                Made::Told(outcome) | Made::Failed(_, outcome) => Some(outcome),
                Made::Waits(waiting) => {
                    firsts.add(at, *waiting);
                    None
                }
            };
            if let (Some(outcome), Some(place)) = (outcome, outcomes.get_mut(at)) {
                progress(step.id, &outcome);
                *place = Some(outcome);
            }
            if firsts.is_full() {
                self.store_firsts(batch, &mut firsts, &mut outcomes, progress)
                    .await;
            }
        }
        self.store_firsts(batch, &mut firsts, &mut outcomes, progress)
            .await;
        let all = outcomes.into_iter();
        all.map(|one| one.unwrap_or_else(|| Outcome::failed("nothing was done")))
            .collect()
    }
}

/// What became of the making of a credential.
pub(super) enum Made {
    /// It is there, or is not.
    Told(Outcome),
    /// It is not there; what that is an error of.
    Failed(Code, Outcome),
    /// It is only to be stored, with others.
    Waits(Box<(First, Memento)>),
}

impl Store {
    async fn carry_out(&self, step: &Step) -> Made {
        // Whoever renews it for a run stays out meanwhile.
        let _alone = match self.alone_for(step).await {
            Ok(alone) => alone,
            Err(outcome) => return Made::Told(outcome),
        };
        if step.verb == image::REMOVE {
            Made::Told(self.remove(step).await)
        } else if step.verb == image::PUT_BACK {
            Made::Told(self.put_back(step).await)
        } else if step.verb == image::MINT {
            Made::Told(self.mint(step).await)
        } else if step.verb == image::WITHDRAW {
            Made::Told(self.withdraw(step).await)
        } else if step.verb == image::REVOKE {
            Made::Told(self.revoke(step).await)
        } else {
            self.make(step).await
        }
    }

    pub(super) async fn make(&self, step: &Step) -> Made {
        let made = self.make_now(step).await;
        if step.verb == image::RENEW {
            self.note(&step.address.name, &made);
        }
        made
    }

    /// Keeps why a value was not renewed, for whoever asks later how it stands; forgets it once it is.
    fn note(&self, name: &ResourceName, made: &Made) {
        let outcome = match made {
            Made::Told(outcome) | Made::Failed(_, outcome) => outcome,
            // Only a first value waits for others.
            Made::Waits(_) => return,
        };
        let why = match outcome {
            Outcome::Done => None,
            Outcome::Failed { message: why, .. }
            | Outcome::Held { reason: why, .. }
            | Outcome::Unknown { reason: why } => Some(why),
        };
        if let Some(noted) = Noted::read(self.disk.as_ref(), &self.layout, name) {
            self.keep_failure(name, noted, why.cloned());
        }
    }

    /// Keeps why a value was not renewed beside what was found of it, or that it was.
    pub(super) fn keep_failure(&self, name: &ResourceName, mut noted: Noted, why: Option<String>) {
        let failed = why.map(|why| Failed {
            at: self.now(),
            why,
            of_secret: false,
        });
        if noted.failed != failed {
            noted.failed = failed;
            // It is told now; who asks later only hears less.
            let _ = noted.write_if_newest(self.disk.as_ref(), &self.layout, name);
        }
    }

    async fn make_now(&self, step: &Step) -> Made {
        let prepared = match self.prepare(step).await {
            Ok(prepared) => prepared,
            Err(Stop::Held { reason, until }) => {
                return Made::Told(Outcome::Held { reason, until });
            }
            Err(Stop::Failed(error)) => {
                return Made::Failed(error.code, Outcome::failed(error.sentence()));
            }
        };
        let memento = match self.memento(step, Some(&prepared)) {
            Ok(memento) => memento,
            Err(error) => return Made::Told(Outcome::failed(error.sentence())),
        };
        let mut asked = Asked::default();
        let error = match self.write(&prepared, &memento, &mut asked).await {
            Ok(None) => {
                self.keep(step, memento);
                return Made::Told(Outcome::Done);
            }
            Ok(Some(first)) => return Made::Waits(Box::new((first, memento))),
            Err(error) => error,
        };
        if self.is_past_return(&prepared) {
            self.stays
                .borrow_mut()
                .insert((step.address.clone(), step.id));
            let outcome = Outcome::failed(format!("{}; {STAYS}", error.sentence()));
            return Made::Failed(error.code, outcome);
        }
        let outcome = self.failed(step, &error, &memento, &asked).await;
        Made::Failed(error.code, outcome)
    }

    /// Stores, delivers, and has whoever reads it read it anew. A first value that is delivered nowhere
    /// is only made ready.
    async fn write(
        &self,
        prepared: &Prepared,
        memento: &Memento,
        asked: &mut Asked,
    ) -> Result<Option<First>> {
        let disk = self.disk.as_ref();
        let Prepared {
            credential,
            record,
            noted,
            ..
        } = prepared;
        let name = &credential.name;
        self.directories(name)?;
        Key::make(disk, &self.layout)?;
        let value = record.current().map(|one| one.value.value());
        let Some(value) = value else {
            return Err(Error::new(Code::Internal, "there is no value to store"));
        };
        // The record names every place before one is written, so that none is forgotten.
        let mut announced = record.clone();
        let file = file(name, &mut announced, memento.file.as_deref())?;
        // What a delivery replaces and nobody else has is kept first.
        for (one, before) in &memento.places {
            let known = memento.record.as_ref().unwrap_or(record);
            for foreign in before.foreign(&one.to, known) {
                self.keep_foreign(credential, foreign)?;
            }
        }
        announced.delivered.clone_from(&credential.deliver);
        let old = memento.record.iter().flat_map(|record| &record.delivered);
        for one in old.clone() {
            if announced.delivered.iter().all(|known| known.to != one.to) {
                announced.delivered.push(one.clone());
            }
        }
        let stale = credential.deliver.iter();
        let stale: Vec<&Delivery> = stale
            .filter(|one| delivery::is_stale(disk, one, record))
            .collect();
        let units = stale.iter().filter_map(|one| one.reload.clone());
        announced.reload.extend(units);
        announced.reload.sort_unstable();
        announced.reload.dedup();
        // Without a place there is nothing that could be forgotten.
        if announced.delivered.is_empty() && memento.record.is_none() {
            if let Some(noted) = noted {
                noted.write(disk, &self.layout, name)?;
            }
            return self.first(name, file, &announced).map(Some);
        }
        announced.write(disk, &self.layout, name)?;
        self.store(name, &file)?;
        for one in stale {
            let _alone = delivery::alone(&one.to).await?;
            // One that was not as its record said may have been cut short.
            let is_cut = |old: &Record| delivery::is_stale(disk, one, old);
            if memento.record.as_ref().is_some_and(is_cut) {
                sweep::sweep_place(disk, one.to.path())?;
            }
            delivery::put(disk, one, value)?;
        }
        for one in old {
            if credential.deliver.iter().all(|wanted| wanted.to != one.to) {
                let _alone = delivery::alone(&one.to).await?;
                delivery::take_away(disk, &one.to)?;
            }
        }
        if let Some(noted) = noted {
            noted.write(disk, &self.layout, name)?;
        }
        // While it is named there, a unit that was not told is told by the next apply.
        let reload = std::mem::take(&mut announced.reload);
        let is_told = reload.is_empty() && announced.delivered == credential.deliver;
        *asked = self.reload(reload).await?;
        if let Some(error) = asked.error() {
            return Err(error);
        }
        if !is_told {
            announced.delivered.clone_from(&credential.deliver);
            announced.write(disk, &self.layout, name)?;
        }
        Ok(None)
    }

    async fn remove(&self, step: &Step) -> Outcome {
        let memento = match self.memento(step, None) {
            Ok(memento) => memento,
            Err(error) => return Outcome::failed(error.sentence()),
        };
        let name = &step.address.name;
        // Only what we had made is ours to end; while it lives, it is not forgotten.
        if let Some(record) = &memento.record {
            for one in record.generations.iter().filter(|one| one.minted.is_some()) {
                if let Err(why) = self.end(&step.address, record, one).await {
                    let reason = format!(
                        "its value cannot be revoked: {why}; `lorectl state rm {}` forgets it and leaves it alive",
                        step.address
                    );
                    return Outcome::held(reason);
                }
            }
        }
        match self.take_away(name, &memento).await {
            Ok(()) => {
                self.keep(step, memento);
                Outcome::Done
            }
            Err(error) => {
                let asked = Asked::default();
                self.failed(step, &error, &memento, &asked).await
            }
        }
    }

    async fn take_away(&self, name: &ResourceName, memento: &Memento) -> Result<()> {
        for (one, before) in &memento.places {
            // What someone else has put there since is theirs.
            let theirs = (memento.record.as_ref())
                .is_some_and(|record| !before.foreign(&one.to, record).is_empty());
            if !theirs {
                let _alone = delivery::alone(&one.to).await?;
                delivery::take_away(self.disk.as_ref(), &one.to)?;
            }
        }
        let dir = self.layout.secret(name);
        // The record goes last: while it is there, all that is left can be found.
        for path in [
            self.layout.secret_value(name),
            self.layout.secret_finding(name),
        ] {
            let removed = self.disk.remove(&path);
            removed.map_err(|error| Error::io("remove", &path, error))?;
        }
        let removed = self.disk.remove_tree(&dir);
        removed.map_err(|error| Error::io("remove", &dir, error))?;
        // Whoever waits for it finds that there is nothing any more.
        let lock = self.layout.secret_lock(name);
        let removed = self.disk.remove(&lock);
        removed.map_err(|error| Error::io("remove", &lock, error))?;
        Ok(())
    }
}
