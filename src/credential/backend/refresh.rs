//! Values for runs: renewed between applies, for whoever is woken and needs one that serves.
//!
//! Only what costs nothing is done here: a value that its source gives whenever it is asked, or that an
//! issuer makes beside the old one. A rotation that ends the old value at once is an apply's.

use std::cell::Cell;

use crate::{
    credential::{
        definition::{Credential, STORE, Source, StoreKind},
        facts::{Due, Facts, Noted, ends},
        image,
        mint::{
            MintFault,
            flight::{self, Failure, How, PATIENCE},
        },
        record::Record,
        seal::FILE_LIMIT,
        setback::Issuers,
    },
    effect::lock::Lock,
    error::{Code, Error, Result},
    id::{Address, Kind, ResourceName, Seconds, Timestamp},
    resource::{Definition, Disruption, Outcome, Step, StepId, Undo, Verb},
};

use super::{
    Store,
    act::Made,
    mint::{Asking, Pending},
    observe,
    stored::file,
};

/// How often a renewal begins anew, where an apply came before it.
const ANEW: usize = 3;

/// How a value that serves was come by.
#[derive(Debug)]
pub enum Renewal {
    /// It was there, and is not due.
    Served,
    /// It is new.
    Renewed,
    /// It is due and serves still; why there is no new one.
    NotRenewed(Error),
}

/// A value that serves.
#[derive(Debug)]
pub struct Refreshed {
    /// How it was come by.
    pub how: Renewal,
    /// What is known of it.
    pub facts: Facts,
}

/// What is known of a credential at one instant.
struct Known {
    record: Record,
    credential: Credential,
    facts: Facts,
}

impl Known {
    /// Whether another value is wanted that can be had here.
    fn is_due(&self, now: Timestamp) -> bool {
        let ends = self.facts.renew_at.is_some_and(|at| at <= now);
        let wanted = match self.facts.due {
            Some(Due::Ends | Due::Dead) => true,
            // What a person asked for is done by the apply that they approve.
            Some(Due::Asked | Due::Revoke | Due::Reload) | None => ends || !self.facts.serves(now),
            Some(Due::Pending | Due::Lost) => false,
        };
        self.credential.renews_for_runs() && (wanted || self.facts.generation == 0)
    }
}

impl Store {
    /// Sees to it that a credential that was applied has a value that serves, and renews one that is due:
    /// stores it, delivers it, and has whoever reads it read it anew. Of many that ask at once, one asks
    /// the issuer, and the others wait for what it brings.
    ///
    /// # Errors
    /// Why there is no value that serves: `BREAKER_OPEN` and `ISSUER_THROTTLED` with the instant from
    /// which the issuer is asked again, `ISSUER_UNAVAILABLE`, `TOKEN_REJECTED`, `TOKEN_EXPIRED`,
    /// `CREDENTIAL_MISSING`, `LOCK_HELD`; `NO_SUCH_RESOURCE` for one that was not applied.
    pub async fn refresh(&self, name: &ResourceName) -> Result<Refreshed> {
        let renewed = self.renew(name).await;
        let known = self.known(name)?;
        self.end_old_ones(name, &known).await;
        if known.facts.serves(self.now()) {
            self.give_back(name, &known).await;
            let how = renewed.unwrap_or_else(Renewal::NotRenewed);
            return Ok(known.told(how));
        }
        self.withhold(name).await;
        Err(match renewed {
            Err(error) => error,
            Ok(_) => lifeless(&known, self.now()),
        })
    }

    /// Has another value put in use, where one is due.
    async fn renew(&self, name: &ResourceName) -> Result<Renewal> {
        for _ in 0..ANEW {
            let now = self.now();
            let mut known = self.known(name)?;
            if known.record.living_pending(now).is_some() {
                // One that was made by whoever did not come to its end, or is on its way.
                let alone = self.alone_with(name, known.facts.serves(now)).await?;
                known = self.known(name)?;
                if alone.is_some() && known.record.living_pending(now).is_some() {
                    let put = self.put_in_use(&known.credential, &known.record.definition);
                    let put = put.await;
                    known = self.known(name)?;
                    // One that its issuer refuses was forgotten, and another is made.
                    if known.record.living_pending(now).is_some() || known.facts.serves(now) {
                        put?;
                    }
                }
            }
            if !known.is_due(now) {
                return Ok(Renewal::Served);
            }
            let serves = known.facts.serves(now);
            match known.credential.source {
                Source::Minted => {
                    if let Some(renewal) = self.have_minted(name, known).await? {
                        return Ok(renewal);
                    }
                }
                Source::Command { .. } | Source::Env(_) | Source::File(_) | Source::Systemd(_) => {
                    return self.have_given(name, serves).await;
                }
            }
        }
        let address = Address::new(Kind::Credential, name.clone());
        Err(no_value(&address, Failure::Busy))
    }

    /// Gives runs a value back that was kept from them, and serves after all.
    async fn give_back(&self, name: &ResourceName, known: &Known) {
        let path = self.layout.secret_value(name);
        let there = self.disk.read(&path, FILE_LIMIT);
        let is_withheld =
            there.is_ok_and(|file| observe::keeps_from_runs(known.credential.store, file.as_ref()));
        if !is_withheld {
            return;
        }
        // What stands in the way of that is drift, which an apply mends.
        if let Ok(Some(_lock)) = self.alone_with(name, true).await
            && let Ok(Some(mut record)) = Record::read(self.disk.as_ref(), &self.layout, name)
            && let Ok(bytes) = file(name, &mut record, None)
            && record.write(self.disk.as_ref(), &self.layout, name).is_ok()
        {
            let _ = self.store(name, &bytes);
        }
    }

    /// Keeps from runs a value that does not serve: the runner names what is missing and tries again
    /// later, where a stage would be refused and could take that for final. Nothing is lost: the record
    /// has it. What stands in the way of that is no reason to say less of why there is no value.
    async fn withhold(&self, name: &ResourceName) {
        let Ok(Some(_lock)) = self.alone_with(name, true).await else {
            return;
        };
        match self.known(name) {
            // Only what could be renewed for a run is its own to keep back.
            Ok(known) if known.credential.renews_for_runs() && known.facts.is_spent(self.now()) => {
                let _ = match known.credential.store {
                    // A unit whose file is missing does not start.
                    StoreKind::File => self.store(name, b""),
                    StoreKind::SystemdCreds => {
                        let path = self.layout.secret_value(name);
                        let removed = self.disk.remove(&path);
                        removed
                            .map(drop)
                            .map_err(|error| Error::io("remove", &path, error))
                    }
                };
            }
            Ok(_) | Err(_) => {}
        }
    }

    fn known(&self, name: &ResourceName) -> Result<Known> {
        let (disk, layout) = (self.disk.as_ref(), &self.layout);
        // Others ask meanwhile.
        let issuers = Issuers::new(disk, layout);
        let read = observe::read(disk, layout, &issuers, name, self.now())?;
        let Some((record, credential, facts)) = read else {
            let message = format!("credential.{name} was not applied here");
            return Err(Error::new(Code::NoSuchResource, message)
                .suggest("`lorectl credential list` shows those that were"));
        };
        Ok(Known {
            record,
            credential,
            facts,
        })
    }

    /// The lock that a step of an apply holds; none where nothing was stored yet that a run could renew.
    ///
    /// # Errors
    /// What the step comes to, where somebody else holds it all the while.
    pub(super) async fn alone_for(&self, step: &Step) -> Result<Option<Lock>, Outcome> {
        let name = &step.address.name;
        let path = self.layout.secret_record(name);
        if matches!(self.disk.stat(&path), Ok(None)) {
            if step.verb != image::MINT {
                return Ok(None);
            }
            // Its record comes before its value, and a renewal would take up what that tells.
            if let Err(error) = self.directories(name) {
                return Err(Outcome::failed(error.sentence()));
            }
        }
        match self.alone_with(name, false).await {
            Ok(Some(lock)) => Ok(Some(lock)),
            Ok(None) => Err(Outcome::held(Failure::Busy.to_string())),
            Err(error) => Err(Outcome::failed(error.sentence())),
        }
    }

    /// The credential's lock: at once or not at all for who has a value that serves.
    async fn alone_with(&self, name: &ResourceName, serves: bool) -> Result<Option<Lock>> {
        let path = self.layout.secret_lock(name);
        let taken = if serves {
            Lock::try_take(&path, 0o600)
        } else {
            Lock::take(&path, 0o600, PATIENCE).await
        };
        taken.map_err(|error| Error::io("lock", &path, error))
    }

    /// Has its issuer make a value.
    ///
    /// `None` where it was applied anew while its lock was waited for, so that all is to be looked at anew.
    async fn have_minted(&self, name: &ResourceName, known: Known) -> Result<Option<Renewal>> {
        let address = Address::new(Kind::Credential, name.clone());
        let Known {
            record,
            credential,
            facts,
        } = known;
        let known = (&credential, &facts, &record);
        let asking = match self.ready(&address, known).await {
            Ok(asking) => asking,
            Err(error) => {
                self.remember(name, facts.generation, &error).await;
                return Err(error);
            }
        };
        let pending = Pending {
            store: self,
            credential: &asking.credential,
            definition: &record.definition,
            in_use: true,
            outdated: Cell::new(false),
        };
        let ask = async |now, after_loss| {
            let mark = pending.mark();
            if after_loss && let Err(fault) = self.end_orphans(&asking, &mark).await {
                // The intent stays, so that they are looked for again.
                return Err(MintFault::Unknown(fault.to_string()));
            }
            self.ask(&asking, &mark, now).await
        };
        let (dir, lock) = (self.layout.breakers(), self.layout.secret_lock(name));
        let flight = self.flight(&asking, &lock, &dir);
        // What is in the way of the issuer's record is in nobody's way.
        let outcome = flight::refresh(&flight, &pending, ask).await;
        let failure = match outcome.result {
            Ok((_, How::Served)) => return Ok(Some(Renewal::Served)),
            Ok((_, How::Minted)) => return Ok(Some(Renewal::Renewed)),
            Ok((_, How::NotRenewed(failure))) | Err(failure) => failure,
        };
        if pending.outdated.get() {
            return Ok(None);
        }
        if let Failure::NotKept { minted, .. } = &failure {
            self.end_unless_kept(&asking, minted).await;
        }
        let is_told = match &failure {
            // Unless that record could not be written.
            Failure::Mint(_) => {
                let issuers = Issuers::new(self.disk.as_ref(), &self.layout);
                issuers.setback(&asking.credential, self.now()).is_some()
            }
            // Who holds the lock tells what came of it.
            Failure::Busy => true,
            Failure::Store(_) | Failure::NotKept { .. } => false,
        };
        let error = no_value(&address, failure);
        if !is_told {
            self.remember(name, facts.generation, &error).await;
        }
        Err(error)
    }

    /// What its issuer is asked with, where it may be asked and what it makes could be delivered.
    async fn ready(
        &self,
        address: &Address,
        (credential, facts, record): (&Credential, &Facts, &Record),
    ) -> Result<Asking> {
        if let Some(skewed) = self.still_apart(credential, record, facts).await {
            return Err(
                Error::new(Code::IssuerUnavailable, format!("{address}: {skewed}"))
                    .suggest("set this host's clock, or look at the issuer's"),
            );
        }
        // What cannot be delivered is not made.
        let places = self.can_deliver(credential, |_| true).await;
        places.map_err(|error| Error {
            message: format!("{address}: {}", error.message),
            ..error
        })?;
        self.asking(address, credential.clone(), record)
    }

    /// Keeps why the value of that number was not renewed, where no issuer's record has that, for whoever
    /// asks later how it stands; the next value forgets it.
    async fn remember(&self, name: &ResourceName, generation: u64, error: &Error) {
        // Whoever holds the lock keeps what comes of their own try.
        let Ok(Some(_lock)) = self.alone_with(name, true).await else {
            return;
        };
        let disk = self.disk.as_ref();
        let record = Record::read(disk, &self.layout, name).ok().flatten();
        let is_current = record
            .and_then(|record| Some(record.current()?.number))
            .is_some_and(|number| number == generation);
        let noted = Noted::read(disk, &self.layout, name);
        let Some(noted) = noted.filter(|one| is_current && one.generation == generation) else {
            return;
        };
        let sentence = error.sentence();
        // It is told in the line of its credential.
        let own = format!("credential.{name}: ");
        let why = sentence.strip_prefix(&own).unwrap_or(&sentence);
        self.keep_failure(name, noted, Some(why.to_owned()));
    }

    /// Has a source give another value, which it does whenever it is asked.
    async fn have_given(&self, name: &ResourceName, serves: bool) -> Result<Renewal> {
        let Some(_lock) = self.alone_with(name, serves).await? else {
            if serves {
                return Ok(Renewal::Served);
            }
            let address = Address::new(Kind::Credential, name.clone());
            return Err(no_value(&address, Failure::Busy));
        };
        // Whoever held the lock may have brought it.
        let known = self.known(name)?;
        if !known.is_due(self.now()) {
            return Ok(Renewal::Served);
        }
        self.put_in_use(&known.credential, &known.record.definition)
            .await?;
        Ok(Renewal::Renewed)
    }

    /// Puts a pending value in use, or what its source gives; whoever calls it holds the lock.
    pub(super) async fn put_in_use(
        &self,
        credential: &Credential,
        definition: &Definition,
    ) -> Result<()> {
        let step = step(credential, definition, image::RENEW);
        let (code, outcome) = match self.make(&step).await {
            Made::Told(outcome) => (Code::IssuerUnavailable, outcome),
            Made::Failed(code, outcome) => (code, outcome),
            // Only a first value waits for others, and this is none: its record is there.
            Made::Waits(_) => (Code::Internal, Outcome::failed("it was not stored")),
        };
        let message = match outcome {
            Outcome::Done => return Ok(()),
            Outcome::Failed { message, .. } => message,
            Outcome::Held { reason, .. } | Outcome::Unknown { reason } => reason,
        };
        let name = &credential.name;
        Err(Error::new(code, format!("credential.{name}: {message}")))
    }

    /// Ends the old values whose time has come, as far as that can be done now; else the next apply or
    /// renewal does.
    async fn end_old_ones(&self, name: &ResourceName, known: &Known) {
        if known.record.retired(self.now()).next().is_none() {
            return;
        }
        if let Ok(Some(_lock)) = self.alone_with(name, true).await {
            let step = step(&known.credential, &known.record.definition, image::REVOKE);
            let _ = self.revoke(&step).await;
        }
    }
}

impl Known {
    fn told(self, how: Renewal) -> Refreshed {
        Refreshed {
            how,
            facts: self.facts,
        }
    }
}

/// The step of an apply that does the same.
fn step(credential: &Credential, definition: &Definition, verb: Verb) -> Step {
    Step {
        id: StepId(0),
        address: Address::new(Kind::Credential, credential.name.clone()),
        resource: credential.id.clone(),
        backend: STORE,
        verb,
        depends_on: Vec::new(),
        disruption: Disruption::None,
        undo: Undo::RestoreBefore,
        before: None,
        after: Some(image::desired(definition, credential)),
        definition: definition.clone(),
        patience: Seconds(0),
    }
}

/// Why there is no new value.
fn no_value(address: &Address, failure: Failure) -> Error {
    let (code, help) = match &failure {
        Failure::Store(_) | Failure::NotKept { .. } => (Code::Io, None),
        Failure::Busy => (Code::LockHeld, Some("try again later")),
        Failure::Mint(fault) => match fault {
            MintFault::BreakerOpen { .. } => (Code::BreakerOpen, Some("try again then")),
            MintFault::Throttled { .. } => (Code::IssuerThrottled, Some("try again then")),
            MintFault::Unreachable(_) | MintFault::Unknown(_) | MintFault::Unusable { .. } => {
                (Code::IssuerUnavailable, None)
            }
            MintFault::Refused { .. } | MintFault::Unsendable(_) => (
                Code::TokenRejected,
                Some("look at what the request is signed with: `lorectl credential list`"),
            ),
        },
    };
    let error = match failure {
        Failure::Store(error) | Failure::NotKept { error, .. } => error,
        other @ (Failure::Mint(_) | Failure::Busy) => {
            Error::new(code, format!("{address}: {other}"))
        }
    };
    match help {
        Some(help) => error.suggest(help),
        None => error,
    }
}

/// That there is no value that serves, and none can be had here.
fn lifeless(known: &Known, now: Timestamp) -> Error {
    let Known {
        credential, facts, ..
    } = known;
    let name = &credential.name;
    let (code, what) = match facts.expiry {
        Some(expiry) if facts.generation != 0 && expiry.at <= facts.by_issuer(now) => {
            (Code::TokenExpired, format!("it {}", ends(now, expiry)))
        }
        Some(_) | None if facts.generation != 0 => {
            let what = "its issuer does not take it any more";
            (Code::TokenRejected, what.to_owned())
        }
        Some(_) | None => (Code::CredentialMissing, "it has no value".to_owned()),
    };
    let help = if credential.source.renews() {
        "`lorectl apply` obtains another".to_owned()
    } else {
        let source = credential.source.told();
        format!("put a new token into {source}, then `lorectl apply`")
    };
    Error::new(code, format!("credential.{name}: {what}")).suggest(help)
}
