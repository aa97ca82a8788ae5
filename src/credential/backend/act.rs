//! Obtaining, storing, delivering and removing.

use std::{borrow::Cow, path::Path, time::Duration};

use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};

use crate::{
    effect::{
        dbus::Active,
        disk::{Disk, Durability},
        lock::Lock,
    },
    error::{Code, Error, Result},
    id::{ResourceName, Timestamp},
    resource::{Act, Outcome, Progress, Step},
};

use super::{
    super::{
        definition::{Credential, Delivery, Source, StoreKind, Target},
        delivery::{self, Before},
        facts::{self, Due, Facts, Noted},
        finding::{Expiry, Finding, Provenance, Status},
        image,
        issuer::{self, Means},
        key::Key,
        mint::Issuer,
        plan::GIVE_SCOPES,
        record::{Generation, Record},
        seal::{self, FILE_LIMIT},
        source::{self, Look, Obtained},
    },
    Store,
    first::{First, Firsts},
    sweep,
};

/// How a credential was before a step, byte for byte.
pub struct Memento {
    record: Option<Record>,
    /// The number that the next value has after the step: a higher one tells of a renewal since.
    next: u64,
    /// The file of the value, where it is encrypted: the same is not encrypted again.
    file: Option<Vec<u8>>,
    noted: Option<Noted>,
    places: Vec<(Delivery, Before)>,
}

/// All that a step is to write, obtained and judged before anything is written.
struct Prepared {
    credential: Credential,
    record: Record,
    noted: Option<Noted>,
}

/// Why a step goes no further.
enum Stop {
    /// It failed.
    Failed(Error),
    /// It can be told later.
    Held(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

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
        let mut message = told(error);
        for doubt in doubts {
            message = format!("{message}; {doubt}");
        }
        Outcome::Failed { message, left }
    }

    pub(super) fn keep(&self, step: &Step, memento: Memento) {
        let key = (step.address.clone(), step.id);
        self.before.borrow_mut().insert(key, memento);
    }

    /// Obtains and judges; nothing is written.
    async fn prepare(&self, step: &Step) -> Result<Prepared, Stop> {
        let disk = self.disk.as_ref();
        let name = &step.address.name;
        let credential: Credential = step.definition.read()?;
        let now = self.now();
        let old = Record::read(disk, &self.layout, name)?;
        let noted = Noted::read(disk, &self.layout, name);
        let mut record = match &old {
            Some(record) => record.clone(),
            None => Record::new(step.definition.clone())?,
        };
        let before: Option<Credential> = (old.as_ref())
            .map(|record| record.definition.read())
            .transpose()?;
        let another = before
            .as_ref()
            .is_some_and(|before| before.source != credential.source);
        if another {
            record.forget_seen();
        }
        record.forget_ended(now);
        let is_made = record.living_pending(now).is_some();
        if !is_made {
            record.drop_pending();
        }
        let obtained = if is_made {
            let until = now.plus_seconds(credential.grace().signed());
            let lives_on = credential.issuer.as_ref().is_some_and(Issuer::both_live);
            record.promote(lives_on.then_some(until));
            None
        } else {
            let known = noted.as_ref();
            self.obtain(&credential, &record, known, another, now)
                .await?
        };
        let mut fresh = is_made;
        if let Some(Obtained { value, expires_at }) = obtained {
            let same = record
                .current()
                .is_some_and(|one| one.value.value().expose_secret() == value.expose_secret());
            if credential.source.renews() || !same {
                issuer::check_format(&credential, &value).map_err(|why| {
                    Error::new(Code::TokenInvalid, why)
                        .suggest("look whether it is the token of that provider")
                })?;
            }
            if same {
                // What gives the same again gives nothing new.
                let facts = Facts::of(&credential, &record, noted.as_ref(), None, now);
                if facts.due.is_some_and(Due::wants_value) {
                    let told = credential.source.told();
                    let message = format!("{told} gives the value that is in use already");
                    return Err(Error::new(Code::CredentialMissing, message)
                        .suggest("have its issuer make another")
                        .into());
                }
            } else {
                record.take(value.clone(), now, expires_at);
                fresh = true;
            }
            record.see(&value);
        }
        record.definition = step.definition.clone();
        // What it is kept as is its own to say from now on.
        record.stays_sealed = false;
        let Some(current) = record.current() else {
            return Err(Error::new(Code::CredentialMissing, "there is no value").into());
        };
        for one in &credential.deliver {
            delivery::check_value(one, current.value.value())?;
        }
        let changes = |one: &Delivery| is_stale(disk, one, &record);
        self.can_deliver(&credential, changes).await?;
        let otherwise = before
            .as_ref()
            .is_none_or(|before| asks(before) != asks(&credential));
        let noted = if fresh || otherwise {
            let value = current.value.value().clone();
            let finding = self.probe(&credential, &value).await?;
            if is_made && finding.status.is_dead() {
                self.forget_dead(&credential)?;
            }
            judge(&finding, &credential)?;
            if fresh {
                refuse_ended(&finding, &credential, current, is_made, now)?;
            }
            Some(Noted::next(None, current.number, &credential, finding))
        } else {
            None
        };
        Ok(Prepared {
            credential,
            record,
            noted,
        })
    }

    /// Forgets a value that was made, and that its issuer refuses, so that another can be made; but where
    /// the one before it died with its making, since then this one is all that tells what happened.
    fn forget_dead(&self, credential: &Credential) -> Result<()> {
        let disk = self.disk.as_ref();
        let old = Record::read(disk, &self.layout, &credential.name)?;
        match old {
            Some(mut record) if credential.issuer.as_ref().is_some_and(Issuer::both_live) => {
                record.drop_pending();
                record.write(disk, &self.layout, &credential.name)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A value, where the source has another or one is needed; `None` where the one in use stays.
    async fn obtain(
        &self,
        credential: &Credential,
        record: &Record,
        noted: Option<&Noted>,
        another_source: bool,
        now: Timestamp,
    ) -> Result<Option<Obtained>, Stop> {
        let disk = self.disk.as_ref();
        let needed = record.current().is_none();
        let expires_at = None;
        match source::look(disk, credential) {
            Look::Value(value) => {
                Ok((needed || !record.has_seen(&value)).then_some(Obtained { value, expires_at }))
            }
            Look::Nothing(error) if needed || another_source => Err(Stop::Failed(error)),
            Look::Nothing(_) => Ok(None),
            Look::Unasked if credential.source == Source::Minted => {
                if !needed {
                    return Ok(None);
                }
                let message = "its issuer made no value";
                Err(Stop::Failed(Error::new(Code::CredentialMissing, message)))
            }
            Look::Unasked => {
                let facts = Facts::of(credential, record, noted, None, now);
                if !needed && !another_source && !facts.due.is_some_and(Due::wants_value) {
                    return Ok(None);
                }
                let obtained =
                    source::obtain(disk, &self.layout, &self.account, credential).await?;
                Ok(Some(obtained))
            }
        }
    }

    /// Asks the issuer what a value is worth.
    async fn probe(&self, credential: &Credential, value: &SecretString) -> Result<Finding> {
        let means = Means::of(self.disk.as_ref(), &self.layout, credential)?;
        let (http, now) = (&self.http, self.now());
        let controls = &self.controls;
        Ok(controls.probe(http, credential, &means, value, now).await)
    }

    /// What is there now of the credential and of every place that the step writes to.
    fn memento(&self, step: &Step, prepared: Option<&Prepared>) -> Result<Memento> {
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
    async fn reload(&self, mut units: Vec<String>) -> Result<Asked> {
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
    async fn active(&self, units: &[String]) -> Result<Vec<String>> {
        let states = self.manager.states(units).await?;
        let active = units.iter().zip(states);
        let active = active.filter(|(_, state)| state.active == Active::Active);
        Ok(active.map(|(unit, _)| unit.clone()).collect())
    }

    /// Refuses a credential that cannot be delivered, before anything is asked for or written: a place,
    /// or a manager that is to have a unit reload and does not answer.
    pub(super) async fn can_deliver(
        &self,
        credential: &Credential,
        is_changed: impl Fn(&Delivery) -> bool,
    ) -> Result<()> {
        let disk = self.disk.as_ref();
        let real = |path: &Path| {
            let resolved = disk.resolve(path).ok().flatten();
            resolved.unwrap_or_else(|| path.to_owned())
        };
        let own = real(self.layout.state_dir());
        for one in &credential.deliver {
            let dir = one.to.path().parent().map(real).unwrap_or_default();
            if dir.starts_with(&own) {
                let message = format!(
                    "cannot deliver to {}: lorectl keeps its own files there",
                    one.to
                );
                let error = Error::new(Code::Conflict, message);
                return Err(error.suggest("name a place of the application's own"));
            }
            delivery::check(disk, one)?;
        }
        let all = credential.deliver.iter().filter(|one| is_changed(one));
        let units: Vec<String> = all.filter_map(|one| one.reload.clone()).collect();
        if !units.is_empty() {
            self.active(&units).await?;
        }
        Ok(())
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

    async fn put_back(&self, step: &Step) -> Outcome {
        let key = (step.address.clone(), step.id);
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
            Err(error) => Outcome::failed(told(&error)),
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
            Err(error) => Outcome::failed(told(&error)),
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
            let put = match alone(&one.to).await {
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

    /// Has those read what was put back whom a step that failed had asked to reload.
    async fn reload_again(&self, asked: &Asked) -> Result<Vec<String>> {
        let refused = asked.refused.iter().map(|(unit, _)| unit);
        let units: Vec<String> = asked.reloaded.iter().chain(refused).cloned().collect();
        if units.is_empty() {
            return Ok(Vec::new());
        }
        let again = self.reload(units.clone()).await?;
        // One that ends of it may do so only now.
        let up = self.active(&units).await?;
        let (mut doubts, mut wrong) = (Vec::new(), Vec::new());
        for unit in units {
            let is_refused = again.refused.iter().any(|(one, _)| *one == unit);
            if !up.contains(&unit) {
                wrong.push(format!(
                    "{unit} ran, and does not since it was asked to reload"
                ));
            } else if is_refused && asked.reloaded.contains(&unit) {
                wrong.push(format!(
                    "{unit} has read the new value, and cannot be reloaded again"
                ));
            } else if is_refused {
                doubts.push(format!(
                    "what was delivered is put back; {unit} runs as before and was asked to reload once more, which failed too, so it cannot be told which of the two values it holds: `systemctl restart {unit}` gives it the one that is there"
                ));
            }
        }
        if wrong.is_empty() {
            Ok(doubts)
        } else {
            Err(Error::new(Code::UndoFailed, wrong.join("; ")))
        }
    }
}

/// Whether a place holds anything but what it is to hold.
fn is_stale(disk: &dyn Disk, one: &Delivery, record: &Record) -> bool {
    delivery::look(disk, one, record).part != delivery::wanted(one)
}

/// Units that were asked to reload, and what became of it.
#[derive(Debug, Default)]
pub(super) struct Asked {
    reloaded: Vec<String>,
    /// Those that could not, and why.
    refused: Vec<(String, String)>,
}

impl Asked {
    /// That some could not.
    fn error(&self) -> Option<Error> {
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
async fn alone(target: &Target) -> Result<Option<Lock>> {
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

/// What of a definition decides how its issuer is asked.
fn asks(credential: &Credential) -> impl PartialEq + '_ {
    (
        &credential.provider,
        &credential.table,
        &credential.base_url,
        &credential.ca_file,
        &credential.with,
        &credential.scopes,
    )
}

/// An error in one line, with what helps.
pub(super) fn told(error: &Error) -> String {
    match &error.suggestion {
        Some(help) => format!("{}; {help}", error.chain()),
        None => error.chain(),
    }
}

/// Refuses a new value that has ended, whoever tells its end: the issuer's clock decides. One that was
/// made here is replaced when its end has come, and refused only where the spec tells that end, which
/// then is the one of the value before.
fn refuse_ended(
    finding: &Finding,
    credential: &Credential,
    value: &Generation,
    is_made: bool,
    now: Timestamp,
) -> Result<(), Stop> {
    let its_now = facts::by_issuer(finding, now);
    let expiry = facts::expiry(credential, Some(value), Some(finding));
    let is_refused =
        |expiry: &Expiry| expiry.at <= its_now && (!is_made || expiry.from == Provenance::Declared);
    let Some(expiry) = expiry.filter(is_refused) else {
        return Ok(());
    };
    let message = format!("the new token {}", facts::ends(its_now, expiry));
    let help = match expiry.from {
        Provenance::Declared => "say in `expiry.at` when the new one ends".to_owned(),
        Provenance::Header | Provenance::Body | Provenance::Jwt | Provenance::Certificate => {
            let source = credential.source.told();
            format!("put one that lives into {source}; this host's clock says {now}")
        }
    };
    Err(Error::new(Code::TokenExpired, message).suggest(help).into())
}

/// Whether a value may be stored, given what its issuer says.
fn judge(finding: &Finding, credential: &Credential) -> Result<(), Stop> {
    let why = finding
        .detail
        .as_ref()
        .map_or_else(String::new, |why| format!(": {why}"));
    let refused = |code, what: &str, help: &str| {
        let message = format!("{what}{why}");
        Err(Stop::Failed(Error::new(code, message).suggest(help)))
    };
    let anew = "have its issuer make another, and put that where it comes from";
    match finding.status {
        Status::Live | Status::NotImplemented => Ok(()),
        Status::LiveUnderScoped => {
            let missing = finding.missing(&credential.scopes).join(", ");
            let what = if missing.is_empty() {
                "the token lacks a scope".to_owned()
            } else {
                format!("the token lacks scopes: {missing}")
            };
            refused(Code::TokenUnderScoped, &what, GIVE_SCOPES)
        }
        Status::Expired => refused(Code::TokenExpired, "the token has expired", anew),
        Status::Revoked => refused(Code::TokenRevoked, "the token was revoked", anew),
        Status::Rejected => refused(Code::TokenRejected, "its issuer refuses the token", anew),
        Status::Throttled => Err(Stop::Held(match finding.retry_at {
            Some(at) => format!(
                "its issuer asks to be left alone until {}",
                facts::to_second(at)
            ),
            None => "its issuer asks to be left alone for now".to_owned(),
        })),
        Status::Error => Err(Stop::Held(format!(
            "whether the token is live cannot be told now{why}"
        ))),
    }
}
