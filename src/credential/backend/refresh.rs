//! Values for runs: renewed between applies, for whoever is woken and needs one that serves.
//!
//! Only what costs nothing is done here: a value that its source gives whenever it is asked, or that an
//! issuer makes beside the old one. A rotation that ends the old value at once is an apply's.

use crate::{
    credential::{
        definition::{Credential, STORE, Source, StoreKind},
        facts::{Due, Facts, ends},
        image,
        mint::{
            MintFault,
            flight::{self, Failure, How, PATIENCE},
        },
        record::Record,
    },
    effect::lock::Lock,
    error::{Code, Error, Result},
    id::{Address, Kind, ResourceName, Seconds, Timestamp},
    resource::{Definition, Disruption, Outcome, Step, StepId, Undo, Verb},
};

use super::{Store, act::Made, mint::Pending, observe};

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
        let wanted = match self.facts.due {
            Some(Due::Ends | Due::Dead) => true,
            // What a person asked for is done by the apply that they approve.
            Some(Due::Asked) => !self.facts.serves(now),
            Some(Due::Pending | Due::Revoke | Due::Lost | Due::Reload) | None => false,
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
        let now = self.now();
        let mut known = self.known(name)?;
        if known.record.pending().is_some() {
            // One that was made by whoever did not come to its end, or is on its way.
            let made = self.alone_with(name, known.facts.serves(now)).await?;
            known = self.known(name)?;
            if made.is_some() && known.record.pending().is_some() {
                let put = (self.put_in_use(&known.credential, &known.record.definition)).await;
                known = self.known(name)?;
                match put {
                    Ok(()) => {}
                    Err(error) if known.facts.serves(now) => {
                        return Ok(known.told(Renewal::NotRenewed(error)));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        if !known.is_due(now) {
            if !known.facts.serves(now) {
                self.withhold(name).await;
                return Err(lifeless(&known, now));
            }
            self.end_old_ones(name, &known).await;
            return Ok(known.told(Renewal::Served));
        }
        let renewed = match known.credential.source {
            Source::Minted => self.have_minted(name, known).await,
            Source::Command { .. } | Source::Env(_) | Source::File(_) | Source::Systemd(_) => {
                self.have_given(name, known.facts.serves(now)).await
            }
        };
        let known = self.known(name)?;
        self.end_old_ones(name, &known).await;
        match renewed {
            Ok(how) => Ok(known.told(how)),
            Err(error) if known.facts.serves(self.now()) => {
                Ok(known.told(Renewal::NotRenewed(error)))
            }
            Err(error) => {
                self.withhold(name).await;
                Err(error)
            }
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
            Ok(known) if known.facts.is_spent(self.now()) => {
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
        let read = observe::read(self.disk.as_ref(), &self.layout, name, self.now())?;
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
            return Ok(None);
        }
        match self.alone_with(name, false).await {
            Ok(Some(lock)) => Ok(Some(lock)),
            Ok(None) => Err(Outcome::Held {
                reason: Failure::Busy.to_string(),
            }),
            Err(error) => Err(Outcome::failed(super::act::told(&error))),
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
    async fn have_minted(&self, name: &ResourceName, known: Known) -> Result<Renewal> {
        let address = Address::new(Kind::Credential, name.clone());
        let Known {
            record,
            credential,
            facts,
        } = known;
        if let Some(skewed) = facts.skewed() {
            return Err(
                Error::new(Code::IssuerUnavailable, format!("{address}: {skewed}"))
                    .suggest("set this host's clock, or look at the issuer's"),
            );
        }
        let asking = self.asking(&address, credential, &record)?;
        let pending = Pending {
            store: self,
            credential: &asking.credential,
            definition: &record.definition,
            in_use: true,
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
            Ok((_, How::Served)) => return Ok(Renewal::Served),
            Ok((_, How::Minted)) => return Ok(Renewal::Renewed),
            Ok((_, How::NotRenewed(failure))) | Err(failure) => failure,
        };
        if let Failure::NotKept { minted, .. } = &failure
            && self.known(name)?.record.pending().is_none()
        {
            self.end_unusable(&asking, minted).await;
        }
        Err(no_value(&address, failure))
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
        let (code, message) = match self.make(&step).await {
            Made::Told(Outcome::Done) => return Ok(()),
            Made::Told(Outcome::Failed { message, .. }) => (Code::CredentialMissing, message),
            Made::Told(Outcome::Held { reason } | Outcome::Unknown { reason }) => {
                (Code::IssuerUnavailable, reason)
            }
            // Only a first value waits for others, and this is none: its record is there.
            Made::Waits(_) => (Code::Internal, "it was not stored".to_owned()),
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
        Failure::Store(error) => error,
        Failure::NotKept { error, .. } => {
            Error::new(error.code, format!("{address}: {}", error.message)).because(error)
        }
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
    Error::new(code, format!("credential.{name}: {what}")).suggest(format!(
        "a new token in {}, then `lorectl apply`",
        credential.source.told()
    ))
}
