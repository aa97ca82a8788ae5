//! Obtaining what a step is to write, and judging it, before anything is written.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use crate::{
    error::{Code, Error, Result},
    id::Timestamp,
    resource::Step,
};

use super::{
    super::{
        definition::{Credential, Delivery, Source},
        delivery,
        facts::{self, Due, Facts, Noted},
        finding::{Expiry, Finding, Provenance, Status},
        issuer::{self, Means},
        mint::Issuer,
        plan::GIVE_SCOPES,
        record::{Generation, Record},
        source::{self, Look, Obtained},
    },
    Store,
};

/// All that a step is to write, obtained and judged before anything is written.
pub(super) struct Prepared {
    pub(super) credential: Credential,
    pub(super) record: Record,
    pub(super) noted: Option<Noted>,
    /// Whether its value was made by an issuer that ended the one before with it: there is no way back.
    pub(super) is_final: bool,
}

/// Why a step goes no further.
pub(super) enum Stop {
    /// It failed.
    Failed(Error),
    /// It can be told later.
    Held {
        /// What is in the way.
        reason: String,
        /// When it may be tried again, where that is known.
        until: Option<Timestamp>,
    },
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Store {
    /// Obtains and judges; nothing is written.
    pub(super) async fn prepare(&self, step: &Step) -> Result<Prepared, Stop> {
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
        let lives_on = credential.issuer.as_ref().is_some_and(Issuer::both_live);
        if !is_made {
            record.drop_pending();
        }
        let obtained = if is_made {
            let until = now.plus_seconds(credential.grace().signed());
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
                issuer::checked(&credential, &value)?;
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
            let told = credential.source.told();
            return Err(Error::new(Code::CredentialMissing, "there is no value")
                .suggest(format!("put one into {told}, then `lorectl apply`"))
                .into());
        };
        for one in &credential.deliver {
            delivery::check_value(one, current.value.value())?;
        }
        let changes = |one: &Delivery| delivery::is_stale(disk, one, &record);
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
            is_final: is_made && !lives_on,
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
                let error = Error::new(Code::CredentialMissing, message);
                Err(Stop::Failed(error.suggest("`lorectl apply` asks it again")))
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
    pub(super) async fn probe(
        &self,
        credential: &Credential,
        value: &SecretString,
    ) -> Result<Finding> {
        let means = Means::of(self.disk.as_ref(), &self.layout, credential)?;
        let (http, now) = (&self.http, self.now());
        let controls = &self.controls;
        Ok(controls.probe(http, credential, &means, value, now).await)
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
        Provenance::Header
        | Provenance::Body
        | Provenance::Source
        | Provenance::Jwt
        | Provenance::Certificate => {
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
        Status::Throttled => Err(Stop::Held {
            reason: match finding.retry_at {
                Some(at) => format!(
                    "its issuer asks to be left alone until {}",
                    facts::to_second(at)
                ),
                None => "its issuer asks to be left alone for now".to_owned(),
            },
            until: finding.retry_at,
        }),
        Status::Error => Err(Stop::Held {
            reason: format!("whether the token is live cannot be told now{why}"),
            until: None,
        }),
    }
}
