//! Obtaining, storing, delivering and removing.

use std::{borrow::Cow, time::Duration};

use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};

use crate::{
    effect::{dbus::Active, disk::Durability, lock::Lock},
    error::{Code, Error, Result},
    id::{ResourceName, Timestamp},
    resource::{Act, Outcome, Progress, Step},
};

use super::{
    super::{
        definition::{Credential, Delivery, Source, StoreKind, Target},
        delivery::{self, Before},
        facts::{Due, Facts, Noted},
        finding::{Finding, Status},
        image, issuer,
        key::Key,
        mint::Issuer,
        record::Record,
        seal::{self, FILE_LIMIT},
        source::{self, Look, Obtained},
    },
    Store,
    first::{First, Firsts},
};

/// How a credential was before a step, byte for byte.
pub struct Memento {
    record: Option<Record>,
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
        let mut outcomes: Vec<Option<Outcome>> = vec![None; batch.len()];
        let mut firsts = Firsts::default();
        for (at, step) in batch.iter().enumerate() {
            tokio::task::yield_now().await;
            let outcome = if step.verb == image::REMOVE {
                Some(self.remove(step).await)
            } else if step.verb == image::PUT_BACK {
                Some(self.put_back(step).await)
            } else if step.verb == image::MINT {
                Some(self.mint(step).await)
            } else if step.verb == image::WITHDRAW {
                Some(self.withdraw(step).await)
            } else if step.verb == image::REVOKE {
                Some(self.revoke(step).await)
            } else {
                match self.make(step).await {
                    Made::Told(outcome) => Some(outcome),
                    Made::Waits(waiting) => {
                        firsts.add(at, *waiting);
                        None
                    }
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
enum Made {
    /// It is there, or is not.
    Told(Outcome),
    /// It is only to be stored, with others.
    Waits(Box<(First, Memento)>),
}

impl Store {
    async fn make(&self, step: &Step) -> Made {
        let prepared = match self.prepare(step).await {
            Ok(prepared) => prepared,
            Err(Stop::Held(reason)) => return Made::Told(Outcome::Held { reason }),
            Err(Stop::Failed(error)) => return Made::Told(Outcome::failed(told(&error))),
        };
        let memento = match self.memento(step, Some(&prepared)) {
            Ok(memento) => memento,
            Err(error) => return Made::Told(Outcome::failed(told(&error))),
        };
        let name = &step.address.name;
        let error = match self.write(&prepared, &memento).await {
            Ok(None) => {
                self.keep(step, memento);
                return Made::Told(Outcome::Done);
            }
            Ok(Some(first)) => return Made::Waits(Box::new((first, memento))),
            Err(error) => error,
        };
        let mut left = Vec::new();
        if let Err(worse) = self.restore(name, &memento).await {
            left.push(worse.chain());
        }
        let message = told(&error);
        Made::Told(Outcome::Failed { message, left })
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
        let is_made = record.pending().is_some();
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
                    let message = format!("{}: {why}", step.address);
                    Error::new(Code::TokenInvalid, message)
                        .suggest("look whether it is the token of that provider")
                })?;
            }
            if same {
                // What gives the same again gives nothing new.
                let facts = Facts::of(&credential, &record, noted.as_ref(), None, now);
                if facts.due.is_some_and(Due::wants_value) {
                    let message = format!(
                        "{}: {} gives the value that is in use already",
                        step.address,
                        credential.source.told()
                    );
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
        let Some(current) = record.current() else {
            let message = format!("{}: there is no value", step.address);
            return Err(Error::new(Code::CredentialMissing, message).into());
        };
        for one in &credential.deliver {
            if one.to.path().starts_with(self.layout.state_dir()) {
                let message = format!(
                    "cannot deliver to {}: lorectl keeps its own files there",
                    one.to
                );
                let error = Error::new(Code::Conflict, message);
                return Err(error
                    .suggest("name a place of the application's own")
                    .into());
            }
            delivery::check(disk, one, current.value.value())?;
        }
        let otherwise = before
            .as_ref()
            .is_none_or(|before| asks(before) != asks(&credential));
        let noted = if fresh || otherwise {
            let value = current.value.value().clone();
            let finding = self.probe(&credential, &value).await?;
            judge(step, &finding, &credential)?;
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
                let message = format!("credential.{}: its issuer made no value", credential.name);
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
        let roots = issuer::roots(self.disk.as_ref(), credential)?;
        let (http, now) = (&self.http, self.now());
        let controls = &self.controls;
        Ok(controls
            .probe(http, credential, roots.as_deref(), value, now)
            .await)
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
            record,
            file,
            places,
        })
    }

    /// Stores, delivers, and has whoever reads it read it anew. A first value that is delivered nowhere
    /// is only made ready.
    async fn write(&self, prepared: &Prepared, memento: &Memento) -> Result<Option<First>> {
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
            if let Some(foreign) = before.foreign(&one.to, known) {
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
        let stale = |one: &&Delivery| delivery::look(disk, one, record) != delivery::wanted(one);
        let stale: Vec<&Delivery> = credential.deliver.iter().filter(stale).collect();
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
        self.reload(reload).await?;
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

    fn store(&self, name: &ResourceName, bytes: &[u8]) -> Result<()> {
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
        let file = format!("credential.{}-{token}", credential.name);
        let path = dir.join(&file);
        // It may be a token of old.
        let bytes = match credential.store {
            StoreKind::File => Cow::Borrowed(bytes),
            StoreKind::SystemdCreds => Cow::Owned(seal::foreign_file(&file, bytes)?),
        };
        let written = (self.disk).write(&path, &bytes, 0o600, None, Durability::Now);
        written.map_err(|error| Error::io("write", &path, error))
    }

    /// Has units that are active reload.
    async fn reload(&self, mut units: Vec<String>) -> Result<()> {
        units.sort_unstable();
        units.dedup();
        if units.is_empty() {
            return Ok(());
        }
        let states = self.manager.states(&units).await?;
        let active = units.into_iter().zip(states);
        // What does not run reads the new value when it starts.
        let active = active.filter(|(_, state)| state.active == Active::Active);
        let units: Vec<String> = active.map(|(unit, _)| unit).collect();
        let results = self.manager.reload_units(&units).await?;
        for (unit, result) in units.iter().zip(results) {
            if let Err(why) = result {
                let message = format!("{unit} cannot be reloaded: {why}");
                return Err(Error::new(Code::ApplyFailed, message)
                    .suggest(format!("look at `systemctl status {unit}`")));
            }
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
                let mut left = Vec::new();
                if let Err(worse) = self.restore(name, &memento).await {
                    left.push(worse.chain());
                }
                let message = told(&error);
                Outcome::Failed { message, left }
            }
        }
    }

    async fn take_away(&self, name: &ResourceName, memento: &Memento) -> Result<()> {
        for (one, before) in &memento.places {
            // What someone else has put there since is theirs.
            let theirs = (memento.record.as_ref())
                .is_some_and(|record| before.foreign(&one.to, record).is_some());
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
        Ok(())
    }

    async fn put_back(&self, step: &Step) -> Outcome {
        let key = (step.address.clone(), step.id);
        let memento = self.before.borrow_mut().remove(&key);
        let Some(memento) = memento else {
            return Outcome::failed("how it was before is not known any more");
        };
        match self.restore(&step.address.name, &memento).await {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::failed(told(&error)),
        }
    }

    pub(super) async fn restore(&self, name: &ResourceName, memento: &Memento) -> Result<()> {
        let disk = self.disk.as_ref();
        let mut reload = Vec::new();
        for (one, before) in &memento.places {
            let _alone = alone(&one.to).await?;
            if delivery::put_back(disk, &one.to, before)? {
                reload.extend(one.reload.clone());
            }
        }
        let Some(record) = &memento.record else {
            let dir = self.layout.secret(name);
            let removed = disk.remove_tree(&dir);
            removed.map_err(|error| Error::io("remove", &dir, error))?;
            return self.reload(reload).await;
        };
        self.directories(name)?;
        let mut record = record.clone();
        if record.current().is_some() {
            let file = file(name, &mut record, memento.file.as_deref())?;
            self.store(name, &file)?;
        }
        record.write(disk, &self.layout, name)?;
        if let Some(noted) = &memento.noted {
            noted.write(disk, &self.layout, name)?;
        }
        self.reload(reload).await
    }
}

/// The file of the value in use, which the record then knows; `there` is what is on the disk.
fn file(
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

/// Whether a value may be stored, given what its issuer says.
fn judge(step: &Step, finding: &Finding, credential: &Credential) -> Result<(), Stop> {
    let address = &step.address;
    let why = finding
        .detail
        .as_ref()
        .map_or_else(String::new, |why| format!(": {why}"));
    let refused = |code, what: &str, help: &str| {
        let message = format!("{address}: {what}{why}");
        Err(Stop::Failed(Error::new(code, message).suggest(help)))
    };
    let anew = "have its issuer make another, and put that where it comes from";
    match finding.status {
        Status::Live | Status::NotImplemented => Ok(()),
        Status::LiveUnderScoped => {
            let missing = finding.missing(&credential.scopes).join(", ");
            let what = format!("the token lacks scopes: {missing}");
            refused(
                Code::TokenUnderScoped,
                &what,
                "give it these, or ask for fewer in `scopes`",
            )
        }
        Status::Expired => refused(Code::TokenExpired, "the token has expired", anew),
        Status::Revoked => refused(Code::TokenRevoked, "the token was revoked", anew),
        Status::Rejected => refused(Code::TokenRejected, "its issuer refuses the token", anew),
        Status::Throttled => Err(Stop::Held(match finding.retry_at {
            Some(at) => format!("its issuer asks to be left alone until {at}"),
            None => "its issuer asks to be left alone for now".to_owned(),
        })),
        Status::Error => Err(Stop::Held(format!(
            "whether the token is live cannot be told now{why}"
        ))),
    }
}
