//! Having an issuer make a value, and end one.
//!
//! The intent is in the record before the issuer is asked, and the new value before anything is done
//! with it. So a crash at any moment leaves a record that tells what to do: a value that was made is
//! delivered; a request whose answer was lost is looked into by its mark, or, where another would end
//! what the first has made, is never sent again.

use std::{cell::Cell, path::Path};

use secrecy::{ExposeSecret, SecretString};

use crate::{
    credential::{
        definition::{Credential, StoreKind},
        facts::{self, Facts, Noted},
        issuer::{self, Means},
        key::Key,
        mint::{
            self, Doomed, Issuer, Loss, MintFault, Minted, Revocation, Wire,
            flight::{self, Failure, Flight, Stored, Vault},
            health::{Health, Records},
            policy::{Admission, Life, Skewed},
        },
        record::{Generation, Intent, Phase, Record},
        value::Kept,
    },
    effect::random,
    error::{Code, Error, Result},
    id::{Address, ResourceName, Timestamp},
    resource::{Definition, Outcome, Step},
};

use super::Store;

/// What a request to an issuer is made of.
pub(super) struct Asking {
    pub(super) credential: Credential,
    pub(super) issuer: Issuer,
    pub(super) secret: SecretString,
    roots: Option<Vec<u8>>,
}

/// Where a new value is kept: in the record, pending, and then in use where that is wanted.
pub(super) struct Pending<'a> {
    pub(super) store: &'a Store,
    pub(super) credential: &'a Credential,
    /// The definition by which it is made.
    pub(super) definition: &'a Definition,
    /// Whether it is delivered at once, and the old one retired.
    pub(super) in_use: bool,
    /// Whether it was found to have been applied anew.
    pub(super) outdated: Cell<bool>,
}

impl Pending<'_> {
    fn record(&self) -> Result<Record> {
        let store = self.store;
        match Record::read(store.disk.as_ref(), &store.layout, &self.credential.name)? {
            Some(record) => Ok(record),
            None => Record::new(self.definition.clone()),
        }
    }

    /// What the issuer notes of the value, as the record has it that tells of the request.
    pub(super) fn mark(&self) -> String {
        let record = self.record().ok();
        let intent = record.as_ref().and_then(|one| one.intent.as_ref());
        let next = record.as_ref().map_or(1, Record::next_number);
        intent.map_or_else(|| self.credential.mark(next), |intent| intent.mark.clone())
    }

    /// Whether it was applied anew since: then the value is to be made by that definition.
    fn is_outdated(&self, record: &Record) -> bool {
        self.in_use && record.definition != *self.definition
    }

    fn write(&self, mut record: Record) -> Result<()> {
        let store = self.store;
        record.stays_sealed |= match self.credential.store {
            StoreKind::File => false,
            StoreKind::SystemdCreds => true,
        };
        record.write(store.disk.as_ref(), &store.layout, &self.credential.name)
    }
}

#[async_trait::async_trait(?Send)]
impl Vault for Pending<'_> {
    fn read(&self) -> Result<Stored> {
        let (record, now) = (self.record()?, self.store.now());
        if self.is_outdated(&record) {
            self.outdated.set(true);
            return Err(Error::new(Code::LockHeld, "it was applied anew meanwhile"));
        }
        let noted = Noted::read(
            self.store.disk.as_ref(),
            &self.store.layout,
            &self.credential.name,
        );
        let facts = Facts::of(self.credential, &record, noted.as_ref(), None, now);
        let current = record.current().filter(|_| facts.serves(now));
        Ok(Stored {
            token: current.map(|one| flight::Kept {
                value: one.value.value().clone(),
                life: Life {
                    expires_at: facts.expiry.map(|expiry| expiry.at),
                    due_at: facts.renew_at,
                },
            }),
            open: record.intent.is_some(),
        })
    }

    fn intend(&self, now: Timestamp) -> Result<()> {
        let mut record = self.record()?;
        record.intent = Some(Intent {
            at: now,
            mark: self.credential.mark(record.next_number()),
        });
        self.write(record)
    }

    fn withdraw(&self) -> Result<()> {
        let mut record = self.record()?;
        record.intent = None;
        self.write(record)
    }

    async fn keep(&self, minted: &Minted) -> Result<()> {
        let mut record = self.record()?;
        let number = record.next_number();
        record.drop_pending();
        record.generations.push(Generation {
            number,
            value: Kept::new(minted.value.clone()),
            obtained_at: minted.issued_at,
            expires_at: minted.expires_at,
            issuer_id: minted.id.clone(),
            minted: Some(self.definition.clone()),
            phase: Phase::Pending,
        });
        record.intent = None;
        self.write(record)?;
        if self.in_use {
            self.store
                .put_in_use(self.credential, self.definition)
                .await?;
        }
        Ok(())
    }
}

/// What helps where a new value may have been made that nobody has.
fn remedy(credential: &Credential) -> String {
    format!(
        "look at {}, make a new token there by hand, put it into {}, then `lorectl apply`",
        credential
            .issuer
            .as_ref()
            .map_or_else(String::new, |one| one.endpoint().to_string()),
        credential.source.told()
    )
}

impl Store {
    pub(super) fn asking(
        &self,
        address: &Address,
        credential: Credential,
        own: &Record,
    ) -> Result<Asking> {
        let disk = self.disk.as_ref();
        let Some(issuer) = credential.issuer.clone() else {
            let message = format!("{address} has no issuer");
            return Err(Error::new(Code::Internal, message));
        };
        let missing = |name: &ResourceName| {
            let message =
                format!("{address}: credential.{name} has no value to sign the request with");
            Error::new(Code::CredentialMissing, message).suggest(format!(
                "`lorectl credential validate {name}` says how that one is"
            ))
        };
        let secret = match &credential.signed_with {
            None => own.current().map(|one| one.value.value().clone()),
            Some(name) => Record::read(disk, &self.layout, name)?
                .and_then(|record| Some(record.current()?.value.value().clone())),
        };
        let name = credential.signed_with.as_ref().unwrap_or(&credential.name);
        Ok(Asking {
            secret: secret.ok_or_else(|| missing(name))?,
            roots: issuer::roots(disk, &credential)?,
            issuer,
            credential,
        })
    }

    fn wire<'a>(&'a self, asking: &'a Asking) -> Wire<'a> {
        Wire {
            credential: asking.credential.name.as_str(),
            http: &self.http,
            roots: asking.roots.as_deref(),
        }
    }

    /// Has the issuer make a value, which is pending afterwards.
    pub(super) async fn mint(&self, step: &Step) -> Outcome {
        let name = &step.address.name;
        let disk = self.disk.as_ref();
        let begun = || -> Result<(Record, Asking)> {
            let credential: Credential = step.definition.read()?;
            let record = match Record::read(disk, &self.layout, name)? {
                Some(record) => record,
                None => Record::new(step.definition.clone())?,
            };
            let asking = self.asking(&step.address, credential, &record)?;
            self.directories(name)?;
            Key::make(disk, &self.layout)?;
            Ok((record, asking))
        };
        let (record, asking) = match begun() {
            Ok(begun) => begun,
            Err(error) => return Outcome::failed(error.sentence()),
        };
        if let Some(held) = self.not_now(&asking, &record).await {
            return held;
        }
        // What cannot be delivered is not made: the value before it may end with it.
        if let Err(error) = self.can_deliver(&asking.credential, |_| true).await {
            return Outcome::failed(error.sentence());
        }
        if let Some(lost) = record.intent.clone()
            && let Err(outcome) = self.look_into(&asking, &lost).await
        {
            return outcome;
        }
        let pending = Pending {
            store: self,
            credential: &asking.credential,
            definition: &step.definition,
            in_use: false,
            outdated: Cell::new(false),
        };
        let ask = async |now, _| self.ask(&asking, &pending.mark(), now).await;
        let dir = self.layout.breakers();
        let lock = self.layout.secret_lock(name);
        let flight = self.flight(&asking, &lock, &dir);
        // What is in the way of the issuer's record is in nobody's way.
        let fetched = flight
            .fetch(&pending, ask, self.now(), false, &mut Vec::new())
            .await;
        match fetched {
            Ok(_) => Outcome::Done,
            // The old one is dead: this is all there is, whatever is said of its end.
            Err(Failure::Mint(MintFault::Unusable { .. }))
                if asking.issuer.loss() == Loss::Fatal =>
            {
                Outcome::Done
            }
            Err(Failure::Mint(MintFault::Unusable { why, .. })) => Outcome::failed(format!(
                "its issuer made a value that cannot be used: {why}"
            )),
            Err(Failure::Mint(fault)) => refusal(&asking, &fault),
            Err(Failure::NotKept { error, .. }) if asking.issuer.loss() == Loss::Fatal => {
                Outcome::Unknown {
                    reason: format!(
                        "a new value was made and cannot be stored ({}); {}",
                        error.sentence(),
                        remedy(&asking.credential)
                    ),
                }
            }
            Err(Failure::NotKept { minted, error }) => {
                self.end_unless_kept(&asking, &minted).await;
                Outcome::failed(error.sentence())
            }
            Err(Failure::Store(error)) => Outcome::failed(error.sentence()),
            Err(failure @ Failure::Busy) => Outcome::failed(failure.to_string()),
        }
    }

    /// Who asks for the value of a credential.
    pub(super) fn flight<'a>(
        &'a self,
        asking: &'a Asking,
        lock: &'a Path,
        breakers: &'a Path,
    ) -> Flight<'a> {
        Flight {
            clock: &self.clock,
            seed: random::seed().unwrap_or_default(),
            credential: &asking.credential.name,
            endpoint: asking.issuer.endpoint(),
            loss: asking.issuer.loss(),
            lock,
            patience: flight::PATIENCE,
            records: Records {
                disk: self.disk.as_ref(),
                dir: breakers,
            },
        }
    }

    /// Asks for a value. One that cannot be used is ended at once, where the old one lives.
    pub(super) async fn ask(
        &self,
        asking: &Asking,
        mark: &str,
        now: Timestamp,
    ) -> std::result::Result<Minted, MintFault> {
        let wire = self.wire(asking);
        let made = mint::mint(wire, &asking.issuer, &asking.secret, mark, now).await;
        if let Err(MintFault::Unusable { minted, .. }) = &made
            && asking.issuer.both_live()
        {
            self.end_unusable(asking, minted).await;
        }
        made
    }

    /// Revokes a value that could not be stored, unless the record has it after all.
    pub(super) async fn end_unless_kept(&self, asking: &Asking, minted: &Minted) {
        let name = &asking.credential.name;
        let record = Record::read(self.disk.as_ref(), &self.layout, name);
        let value = minted.value.expose_secret().as_bytes();
        let is_kept = match &record {
            Ok(record) => record.as_ref().is_some_and(|one| one.find(value).is_some()),
            // What cannot be told is left alive.
            Err(_) => true,
        };
        if !is_kept {
            self.end_unusable(asking, minted).await;
        }
    }

    /// Revokes a value that was made and is not kept. One that stays ends by itself, or is found by its
    /// mark.
    pub(super) async fn end_unusable(&self, asking: &Asking, minted: &Minted) {
        let doomed = Doomed {
            value: Some(&minted.value),
            id: minted.id.as_deref(),
        };
        let wire = self.wire(asking);
        let _ = mint::revoke(wire, &asking.issuer, &asking.secret, doomed, self.now()).await;
    }

    /// How far the issuer's clock and ours are apart, where they were when it was last asked, and are: it is
    /// asked once more, as they may have been put right.
    pub(super) async fn still_apart(
        &self,
        credential: &Credential,
        record: &Record,
        facts: &Facts,
    ) -> Option<Skewed> {
        let (apart, current) = (facts.skewed()?, record.current()?);
        let Ok(finding) = self.probe(credential, current.value.value()).await else {
            return Some(apart);
        };
        let now_apart = match finding.issuer_time {
            Some(_) => facts::skewed(&finding),
            None => Some(apart),
        };
        if now_apart.is_none() {
            let name = &credential.name;
            let before = Noted::read(self.disk.as_ref(), &self.layout, name);
            let noted = Noted::next(before.as_ref(), current.number, credential, finding);
            // Where it cannot be kept, it is asked once more.
            let _ = noted.write_if_newest(self.disk.as_ref(), &self.layout, name);
        }
        now_apart
    }

    /// Why the issuer is not asked now, if it is not. Whoever may ask is let through, as the only one
    /// where the breaker is half open.
    async fn not_now(&self, asking: &Asking, record: &Record) -> Option<Outcome> {
        let (name, now) = (&asking.credential.name, self.now());
        let noted = Noted::read(self.disk.as_ref(), &self.layout, name);
        let facts = Facts::of(&asking.credential, record, noted.as_ref(), None, now);
        if let Some(skewed) = self.still_apart(&asking.credential, record, &facts).await {
            return Some(Outcome::held(skewed.to_string()));
        }
        let dir = self.layout.breakers();
        let records = Records {
            disk: self.disk.as_ref(),
            dir: &dir,
        };
        let enter = |health: &mut Health| {
            let admission = health.admission(name, now);
            match admission {
                Admission::Open => health.entered(name, now),
                Admission::Shut { .. } => {}
            }
            admission
        };
        let (admission, _) = records.update(asking.issuer.endpoint(), now, enter).await;
        match admission {
            Admission::Open => None,
            Admission::Shut { until } => Some(Outcome::Held {
                reason: format!(
                    "its issuer failed of late, and is not asked before {}",
                    facts::to_second(until)
                ),
                until: Some(until),
            }),
        }
    }

    /// Ends what an earlier request may have made whose answer was lost.
    async fn look_into(&self, asking: &Asking, lost: &Intent) -> Result<(), Outcome> {
        match asking.issuer.loss() {
            Loss::Brief => Ok(()),
            Loss::Fatal => Err(Outcome::Unknown {
                reason: format!(
                    "the answer to its last rotation was lost; {}",
                    remedy(&asking.credential)
                ),
            }),
            Loss::Marked => {
                let ended = self.end_orphans(asking, &lost.mark).await;
                ended.map_err(|fault| Outcome::Held {
                    reason: format!(
                        "what an earlier request has made cannot be looked for: {fault}"
                    ),
                    until: fault.until(),
                })
            }
        }
    }

    /// Revokes what carries a mark of ours.
    pub(super) async fn end_orphans(
        &self,
        asking: &Asking,
        mark: &str,
    ) -> std::result::Result<(), MintFault> {
        let (wire, now) = (self.wire(asking), self.now());
        let found = mint::find_marked(wire, &asking.issuer, &asking.secret, mark, now).await?;
        for orphan in found.unwrap_or_default() {
            let doomed = Doomed {
                value: None,
                id: Some(&orphan.id),
            };
            mint::revoke(wire, &asking.issuer, &asking.secret, doomed, now).await?;
        }
        Ok(())
    }

    /// Ends a value that was made and is not in use: the inverse of a mint.
    pub(super) async fn withdraw(&self, step: &Step) -> Outcome {
        let name = &step.address.name;
        let disk = self.disk.as_ref();
        let mut record = match Record::read(disk, &self.layout, name) {
            Ok(Some(record)) => record,
            Ok(None) => return Outcome::Done,
            Err(error) => return Outcome::failed(error.sentence()),
        };
        let pending = record.pending().cloned();
        if let Some(pending) = pending {
            let ended = self.end(&step.address, &record, &pending).await;
            if let Err(why) = ended {
                return Outcome::failed(format!("the new value cannot be revoked: {why}"));
            }
        }
        record.generations.retain(|one| one.phase != Phase::Pending);
        let done = if record.generations.is_empty() && step.after.is_none() {
            let dir = self.layout.secret(name);
            let removed = disk.remove_tree(&dir);
            removed
                .map(drop)
                .map_err(|error| Error::io("remove", &dir, error))
        } else {
            record.write(disk, &self.layout, name)
        };
        match done {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::failed(error.sentence()),
        }
    }

    /// Ends the old values whose time has come. What fails is held, and tried again.
    pub(super) async fn revoke(&self, step: &Step) -> Outcome {
        let name = &step.address.name;
        let disk = self.disk.as_ref();
        let now = self.now();
        let mut record = match Record::read(disk, &self.layout, name) {
            Ok(Some(record)) => record,
            Ok(None) => return Outcome::failed("its record is gone"),
            Err(error) => return Outcome::failed(error.sentence()),
        };
        let retired: Vec<Generation> = record.retired(now).cloned().collect();
        for one in retired {
            if let Err(reason) = self.end(&step.address, &record, &one).await {
                let reason = format!("an old value cannot be revoked: {reason}");
                return Outcome::held(reason);
            }
            record
                .generations
                .retain(|known| known.number != one.number);
            if let Err(error) = record.write(disk, &self.layout, name) {
                return Outcome::failed(error.sentence());
            }
        }
        Outcome::Done
    }

    /// Ends a value that we had made, and looks whether it is dead.
    ///
    /// # Errors
    /// Why it may still live, in a sentence.
    pub(super) async fn end(
        &self,
        address: &Address,
        record: &Record,
        one: &Generation,
    ) -> std::result::Result<(), String> {
        let now = self.now();
        if one.expires_at.is_some_and(|end| end <= now) {
            return Ok(());
        }
        let definition = one.minted.as_ref().unwrap_or(&record.definition);
        let credential: Credential = definition.read().map_err(|error| error.sentence())?;
        let asking =
            (self.asking(address, credential, record)).map_err(|error| error.sentence())?;
        let doomed = Doomed {
            value: Some(one.value.value()),
            id: one.issuer_id.as_deref(),
        };
        let wire = self.wire(&asking);
        let ended = mint::revoke(wire, &asking.issuer, &asking.secret, doomed, now).await;
        match ended.map_err(|fault| fault.to_string())? {
            Revocation::NotOffered => return Ok(()),
            Revocation::Done | Revocation::Already => {}
        }
        let (http, value) = (&self.http, one.value.value());
        let means = Means::of(self.disk.as_ref(), &self.layout, &asking.credential);
        let means = means.map_err(|error| error.sentence())?;
        let finding = issuer::probe(http, &asking.credential, &means, value, now).await;
        if finding.status.is_live() {
            return Err("its issuer still takes it after it was revoked".to_owned());
        }
        Ok(())
    }
}

/// What a mint that brought nothing means.
fn refusal(asking: &Asking, fault: &MintFault) -> Outcome {
    match fault {
        MintFault::Throttled { .. } | MintFault::Unreachable(_) | MintFault::BreakerOpen { .. } => {
            Outcome::Held {
                reason: fault.to_string(),
                until: fault.until(),
            }
        }
        MintFault::Unknown(_) if asking.issuer.loss() == Loss::Fatal => Outcome::Unknown {
            reason: format!("{fault}; {}", remedy(&asking.credential)),
        },
        MintFault::Unknown(_)
        | MintFault::Refused { .. }
        | MintFault::Unsendable(_)
        | MintFault::Unusable { .. } => Outcome::failed(match fault.help() {
            Some(help) => format!("{fault}; {help}"),
            None => fault.to_string(),
        }),
    }
}
