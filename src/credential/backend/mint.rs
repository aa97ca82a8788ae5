//! Having an issuer make a value, and end one.
//!
//! The intent is in the record before the issuer is asked, and the new value before anything is done
//! with it. So a crash at any moment leaves a record that tells what to do: a value that was made is
//! delivered; a request whose answer was lost is looked into by its mark, or, where another would end
//! what the first has made, is never sent again.

use secrecy::SecretString;

use crate::{
    credential::{
        definition::Credential,
        facts, issuer,
        key::Key,
        mint::{
            self, CarriedOut, Doomed, Issuer, Loss, MintFault, Minted, Revocation, Wire,
            health::{Health, Records},
            policy::{self, Admission},
        },
        record::{Generation, Intent, Phase, Record},
        value::Kept,
    },
    effect::random,
    error::{Code, Error, Result},
    id::{Address, ResourceName},
    resource::{Outcome, Step},
};

use super::{Store, act::told};

/// What a request to an issuer is made of.
struct Asking {
    credential: Credential,
    issuer: Issuer,
    secret: SecretString,
    roots: Option<Vec<u8>>,
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
    fn asking(&self, address: &Address, credential: Credential, own: &Record) -> Result<Asking> {
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
        let (mut record, asking) = match begun() {
            Ok(begun) => begun,
            Err(error) => return Outcome::failed(told(&error)),
        };
        if let Some(held) = self.not_now(&asking) {
            return Outcome::Held { reason: held };
        }
        // What cannot be delivered is not made: the value before it may end with it.
        if let Err(error) = self.can_deliver(&asking.credential, |_| true).await {
            return Outcome::failed(told(&error));
        }
        if let Some(lost) = record.intent.clone()
            && let Err(outcome) = self.look_into(&asking, &lost).await
        {
            return outcome;
        }
        let now = self.now();
        let mark = asking.credential.mark(record.next_number());
        record.intent = Some(Intent {
            at: now,
            mark: mark.clone(),
        });
        if let Err(error) = record.write(disk, &self.layout, name) {
            return Outcome::failed(told(&error));
        }
        let wire = self.wire(&asking);
        let made = mint::mint(wire, &asking.issuer, &asking.secret, &mark, now).await;
        // The store before the issuer's record: what was brought is the dearer of the two.
        let outcome = self.conclude(step, &asking, record, &made).await;
        let seed = random::seed().unwrap_or_default();
        let after = self.now();
        let learn = |health: &mut Health| match &made {
            Ok(_) => health.succeeded(name),
            Err(fault) => health.failed(name, fault, after, seed),
        };
        let dir = self.layout.breakers();
        let records = Records { disk, dir: &dir };
        // What is in the way of its record is in nobody's way.
        let _ = records.update(asking.issuer.endpoint(), after, learn).await;
        outcome
    }

    /// Why the issuer is not asked now, if it is not.
    fn not_now(&self, asking: &Asking) -> Option<String> {
        let (name, now) = (&asking.credential.name, self.now());
        let dir = self.layout.breakers();
        let records = Records {
            disk: self.disk.as_ref(),
            dir: &dir,
        };
        let (health, _) = records.read(asking.issuer.endpoint());
        if let Admission::Shut { until } = health.admission(name, now) {
            return Some(format!(
                "its issuer failed of late, and is not asked before {}",
                facts::to_second(until)
            ));
        }
        let noted = crate::credential::facts::Noted::read(records.disk, &self.layout, name)?;
        let theirs = noted.finding.issuer_time?;
        let skewed = policy::skew(theirs, noted.finding.probed_at).err()?;
        Some(skewed.to_string())
    }

    /// Ends what an earlier request may have made whose answer was lost.
    async fn look_into(&self, asking: &Asking, lost: &Intent) -> Result<(), Outcome> {
        let now = self.now();
        match asking.issuer.loss() {
            Loss::Brief => Ok(()),
            Loss::Fatal => Err(Outcome::Unknown {
                reason: format!(
                    "the answer to its last rotation was lost; {}",
                    remedy(&asking.credential)
                ),
            }),
            Loss::Marked => {
                let failed = |fault: MintFault| Outcome::Held {
                    reason: format!(
                        "what an earlier request has made cannot be looked for: {fault}"
                    ),
                };
                let wire = self.wire(asking);
                let found =
                    mint::find_marked(wire, &asking.issuer, &asking.secret, &lost.mark, now).await;
                for orphan in found.map_err(failed)?.unwrap_or_default() {
                    let doomed = Doomed {
                        value: None,
                        id: Some(&orphan.id),
                    };
                    let ended =
                        mint::revoke(wire, &asking.issuer, &asking.secret, doomed, now).await;
                    ended.map_err(failed)?;
                }
                Ok(())
            }
        }
    }

    /// Stores what was made, or says why nothing was.
    async fn conclude(
        &self,
        step: &Step,
        asking: &Asking,
        mut record: Record,
        made: &std::result::Result<Minted, MintFault>,
    ) -> Outcome {
        let name = &step.address.name;
        let disk = self.disk.as_ref();
        let minted = match made {
            Ok(minted) => minted,
            // The old one is dead: this is all there is, whatever is said of its end.
            Err(MintFault::Unusable { minted, .. }) if asking.issuer.loss() == Loss::Fatal => {
                minted
            }
            Err(MintFault::Unusable { why, minted }) => {
                let doomed = Doomed {
                    value: Some(&minted.value),
                    id: minted.id.as_deref(),
                };
                let wire = self.wire(asking);
                // One that stays ends by itself, or is found by its mark.
                let _ =
                    mint::revoke(wire, &asking.issuer, &asking.secret, doomed, self.now()).await;
                return Outcome::failed(format!(
                    "its issuer made a value that cannot be used: {why}"
                ));
            }
            Err(fault) => {
                if fault.carried_out() == CarriedOut::No {
                    record.intent = None;
                    // One that stays is looked into the next time.
                    let _ = record.write(disk, &self.layout, name);
                }
                return refusal(asking, fault);
            }
        };
        record.generations.push(Generation {
            number: record.next_number(),
            value: Kept::new(minted.value.clone()),
            obtained_at: minted.issued_at,
            expires_at: minted.expires_at,
            issuer_id: minted.id.clone(),
            minted: Some(step.definition.clone()),
            phase: Phase::Pending,
        });
        record.intent = None;
        match record.write(disk, &self.layout, name) {
            Ok(()) => Outcome::Done,
            Err(error) if asking.issuer.loss() == Loss::Fatal => Outcome::Unknown {
                reason: format!(
                    "a new value was made and cannot be stored ({}); {}",
                    told(&error),
                    remedy(&asking.credential)
                ),
            },
            Err(error) => Outcome::failed(told(&error)),
        }
    }

    /// Ends a value that was made and is not in use: the inverse of a mint.
    pub(super) async fn withdraw(&self, step: &Step) -> Outcome {
        let name = &step.address.name;
        let disk = self.disk.as_ref();
        let mut record = match Record::read(disk, &self.layout, name) {
            Ok(Some(record)) => record,
            Ok(None) => return Outcome::Done,
            Err(error) => return Outcome::failed(told(&error)),
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
            Err(error) => Outcome::failed(told(&error)),
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
            Err(error) => return Outcome::failed(told(&error)),
        };
        let retired: Vec<Generation> = record.retired(now).cloned().collect();
        for one in retired {
            if let Err(reason) = self.end(&step.address, &record, &one).await {
                let reason = format!("an old value cannot be revoked: {reason}");
                return Outcome::Held { reason };
            }
            record
                .generations
                .retain(|known| known.number != one.number);
            if let Err(error) = record.write(disk, &self.layout, name) {
                return Outcome::failed(told(&error));
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
        let credential: Credential = definition.read().map_err(|error| told(&error))?;
        let asking = (self.asking(address, credential, record)).map_err(|error| told(&error))?;
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
        let roots = asking.roots.as_deref();
        let finding = issuer::probe(http, &asking.credential, roots, value, now).await;
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
            }
        }
        MintFault::Unknown(_) if asking.issuer.loss() == Loss::Fatal => Outcome::Unknown {
            reason: format!("{fault}; {}", remedy(&asking.credential)),
        },
        MintFault::Unknown(_)
        | MintFault::Refused { .. }
        | MintFault::Unsendable(_)
        | MintFault::Unusable { .. } => Outcome::failed(fault.to_string()),
    }
}
