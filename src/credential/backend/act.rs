//! Storing, delivering and removing.

use std::{borrow::Cow, time::Duration};

use secrecy::{ExposeSecret, zeroize::Zeroizing};

use crate::{
    effect::{
        dbus::Active,
        disk::{Disk, Durability},
        lock::Lock,
    },
    error::{Code, Error, Result},
    id::ResourceName,
    resource::{Act, Outcome, Progress, Step},
};

use super::{
    super::{
        definition::{Credential, Delivery, StoreKind, Target},
        delivery,
        facts::Noted,
        image,
        key::Key,
        record::Record,
        seal,
        setback::Failed,
    },
    Store,
    first::{First, Firsts},
    prepare::{Prepared, Stop},
    sweep,
    undo::Memento,
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
            | Outcome::Held { reason: why }
            | Outcome::Unknown { reason: why } => Some(why),
        };
        let disk = self.disk.as_ref();
        let Some(mut noted) = Noted::read(disk, &self.layout, name) else {
            return;
        };
        let failed = why.map(|why| Failed {
            at: self.now(),
            why: why.clone(),
            of_secret: false,
        });
        if noted.failed != failed {
            noted.failed = failed;
            // It is told now; who asks later only hears less.
            let _ = noted.write_if_newest(disk, &self.layout, name);
        }
    }

    async fn make_now(&self, step: &Step) -> Made {
        let prepared = match self.prepare(step).await {
            Ok(prepared) => prepared,
            Err(Stop::Held(reason)) => return Made::Told(Outcome::Held { reason }),
            Err(Stop::Failed(error)) => {
                return Made::Failed(error.code, Outcome::failed(told(&error)));
            }
        };
        let memento = match self.memento(step, Some(&prepared)) {
            Ok(memento) => memento,
            Err(error) => return Made::Told(Outcome::failed(told(&error))),
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
        let stale: Vec<&Delivery> = stale.filter(|one| is_stale(disk, one, record)).collect();
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
            let _alone = alone(&one.to).await?;
            // One that was not as its record said may have been cut short.
            let is_cut = |old: &Record| is_stale(disk, one, old);
            if memento.record.as_ref().is_some_and(is_cut) {
                sweep::sweep_place(disk, one.to.path())?;
            }
            delivery::put(disk, one, value)?;
        }
        for one in old {
            if credential.deliver.iter().all(|wanted| wanted.to != one.to) {
                let _alone = alone(&one.to).await?;
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

    pub(super) fn directories(&self, name: &ResourceName) -> Result<()> {
        for dir in [self.layout.secrets(), self.layout.secret(name)] {
            let own = self.disk.identity();
            let made = self.disk.make_dir(&dir, 0o700, Some(own));
            made.map_err(|error| Error::io("make", &dir, error))?;
        }
        Ok(())
    }

    pub(super) fn store(&self, name: &ResourceName, bytes: &[u8]) -> Result<()> {
        let path = self.layout.secret_value(name);
        let own = self.disk.identity();
        let written = self
            .disk
            .write(&path, bytes, 0o600, Some(own), Durability::Now);
        written.map_err(|error| Error::io("write", &path, error))
    }

    /// Keeps what someone else had put where a value is delivered.
    fn keep_foreign(&self, credential: &Credential, bytes: &[u8]) -> Result<()> {
        let dir = self.layout.backups();
        let failed = |error| Error::io("write", &dir, error);
        let token = crate::effect::random::token().map_err(failed)?;
        let path = sweep::replaced(&self.layout, &credential.name, &token);
        // It may be a token of old.
        let bytes = match credential.store {
            StoreKind::File => Cow::Borrowed(bytes),
            StoreKind::SystemdCreds => {
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                Cow::Owned(seal::foreign_file(&file, bytes)?)
            }
        };
        let written = (self.disk).write(&path, &bytes, 0o600, None, Durability::Now);
        written.map_err(|error| Error::io("write", &path, error))
    }

    /// Has units that are active reload.
    ///
    /// # Errors
    /// When the manager does not answer; what a unit says is in what is returned.
    pub(super) async fn reload(&self, mut units: Vec<String>) -> Result<Asked> {
        units.sort_unstable();
        units.dedup();
        let mut asked = Asked::default();
        if units.is_empty() {
            return Ok(asked);
        }
        // What does not run reads the new value when it starts.
        let units = self.active(&units).await?;
        let results = self.manager.reload_units(&units).await?;
        for (unit, result) in units.into_iter().zip(results) {
            match result {
                Ok(()) => asked.reloaded.push(unit),
                Err(why) => asked.refused.push((unit, why)),
            }
        }
        Ok(asked)
    }

    /// Those of some units that run.
    pub(super) async fn active(&self, units: &[String]) -> Result<Vec<String>> {
        let states = self.manager.states(units).await?;
        let active = units.iter().zip(states);
        let active = active.filter(|(_, state)| state.active == Active::Active);
        Ok(active.map(|(unit, _)| unit.clone()).collect())
    }

    async fn remove(&self, step: &Step) -> Outcome {
        let memento = match self.memento(step, None) {
            Ok(memento) => memento,
            Err(error) => return Outcome::failed(told(&error)),
        };
        let name = &step.address.name;
        // Only what we had made is ours to end; while it lives, it is not forgotten.
        if let Some(record) = &memento.record {
            for one in record.generations.iter().filter(|one| one.minted.is_some()) {
                if let Err(why) = self.end(&step.address, record, one).await {
                    let reason = format!("its value cannot be revoked: {why}");
                    return Outcome::Held { reason };
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
                let _alone = alone(&one.to).await?;
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

/// Whether a place holds anything but what it is to hold.
pub(super) fn is_stale(disk: &dyn Disk, one: &Delivery, record: &Record) -> bool {
    delivery::look(disk, one, record).part != delivery::wanted(one)
}

/// Units that were asked to reload, and what became of it.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) reloaded: Vec<String>,
    /// Those that could not, and why.
    pub(super) refused: Vec<(String, String)>,
}

impl Asked {
    /// That some could not.
    pub(super) fn error(&self) -> Option<Error> {
        let (first, _) = self.refused.first()?;
        let all = self.refused.iter();
        let all: Vec<String> = all
            .map(|(unit, why)| format!("{unit} cannot be reloaded: {why}"))
            .collect();
        let help = format!("look at `systemctl status {first}`");
        Some(Error::new(Code::ApplyFailed, all.join("; ")).suggest(help))
    }
}

/// The file of the value in use, which the record then knows; `there` is what is on the disk.
pub(super) fn file(
    name: &ResourceName,
    record: &mut Record,
    there: Option<&[u8]>,
) -> Result<Zeroizing<Vec<u8>>> {
    let value = record.current().map(|one| one.value.value());
    let Some(value) = value else {
        return Err(Error::new(Code::Internal, "there is no value to store"));
    };
    if !record.is_sealed()? {
        let bytes = Zeroizing::new(value.expose_secret().as_bytes().to_vec());
        record.set_stored_as(None);
        return Ok(bytes);
    }
    let bytes = match there.filter(|there| record.is_stored_as(there)) {
        Some(there) => there.to_vec(),
        None => seal::value_file(name, value)?,
    };
    record.set_stored_as(Some(&bytes));
    Ok(Zeroizing::new(bytes))
}

/// How long another process may take with the files of a directory.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keeps other projects from the same file of variables, of which each changes a line: it is read and
/// written whole. `None` for a file that holds one value.
///
/// # Errors
/// `LOCK_HELD` when it stays locked; what the system says.
pub(super) async fn alone(target: &Target) -> Result<Option<Lock>> {
    let (Target::EnvFile { path, .. }, Some(dir)) = (target, target.path().parent()) else {
        return Ok(None);
    };
    match Lock::take_dir(dir, PATIENCE).await {
        Ok(Some(lock)) => Ok(Some(lock)),
        Ok(None) => {
            let message = format!("another process keeps {} locked", dir.display());
            Err(Error::new(Code::LockHeld, message).suggest("try again when it is done"))
        }
        // What is wrong with the place is said by who writes there.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("lock the directory of", path, error)),
    }
}

/// An error in one line, with what helps.
pub(super) fn told(error: &Error) -> String {
    match &error.suggestion {
        Some(help) => format!("{}; {help}", error.chain()),
        None => error.chain(),
    }
}
