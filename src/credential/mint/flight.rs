//! One mint at a time: of all processes that want a token, one asks the issuer, and the others wait for
//! what it brings.
//!
//! The one is who holds the credential's lock, which the kernel frees with its holder. Whoever comes to
//! hold it reads the store again before anything else. Every failed mint is written to the issuer's
//! record before the lock is let go, so that those who waited find the breaker, and not the issuer.

use std::{path::Path, time::Duration};

use secrecy::SecretString;

use super::{
    CarriedOut, Endpoint, Loss, MintFault, Minted,
    health::{Health, Records, Trouble},
    policy::{Decision, Jitter, Life, decide},
};
use crate::{
    effect::{clock::Clock, lock::Lock},
    error::{Error, Result},
    id::{ResourceName, Timestamp},
};

/// How long the holder of the lock is waited for: longer than a mint may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A token as it is stored.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its value.
    pub value: SecretString,
    /// When it is due and when it ends.
    pub life: Life,
}

/// What the store holds for a credential.
#[derive(Debug, Default)]
pub struct Stored {
    /// The current token.
    pub token: Option<Kept>,
    /// Whether a mint was begun of which no outcome is known.
    pub open: bool,
}

/// Where a minted token is stored. Each call is durable when it returns.
#[async_trait::async_trait(?Send)]
pub trait Vault {
    /// What is there.
    fn read(&self) -> Result<Stored>;
    /// The issuer is about to be asked.
    fn intend(&self, now: Timestamp) -> Result<()>;
    /// It did not do it.
    fn withdraw(&self) -> Result<()>;
    /// It did; this is the token from now on, and nothing is open.
    async fn keep(&self, minted: &Minted) -> Result<()>;
}

/// Who asks for a token, and how.
pub struct Flight<'a> {
    /// The clock: it is read again after each wait.
    pub clock: &'a dyn Clock,
    /// From which waits are drawn.
    pub seed: u64,
    /// The credential.
    pub credential: &'a ResourceName,
    /// Its issuer.
    pub endpoint: &'a Endpoint,
    /// What a lost answer of that leaves behind.
    pub loss: Loss,
    /// The credential's lock; its directory is there.
    pub lock: &'a Path,
    /// How long it is waited for, where there is no token that serves.
    pub patience: Duration,
    /// The records of issuers.
    pub records: Records<'a>,
}

/// How a token was come by.
#[derive(Debug)]
pub enum How {
    /// It was there and is not due, or somebody else is renewing it, or the issuer is to be left alone.
    Served,
    /// It was minted just now.
    Minted,
    /// It was there and is due; minting a new one failed.
    NotRenewed(Failure),
}

/// Why there is no new token.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The issuer gave none.
    #[error(transparent)]
    Mint(MintFault),
    /// Somebody else has been minting it all the while.
    #[error("another process has been fetching it for too long")]
    Busy,
    /// The store or the lock failed; the issuer was not asked.
    #[error(transparent)]
    Store(Error),
    /// There is a new token, and it could not be stored or not be put in use: it is to be revoked, or
    /// put in use after all.
    #[error("a new token was made, and could not be put in use")]
    NotKept {
        /// The token.
        minted: Box<Minted>,
        /// Why.
        #[source]
        error: Error,
    },
}

/// What came of asking for a token.
#[derive(Debug)]
pub struct Outcome {
    /// The token and how it was come by.
    pub result: Result<(Kept, How), Failure>,
    /// What was in the way of the issuer's record.
    pub troubles: Vec<Trouble>,
}

/// What is to be done, and with what.
enum Next {
    Done(Result<(Kept, How), Failure>),
    Mint { old: Option<Kept>, after_loss: bool },
}

/// A token that serves: the stored one, or a new one from `mint`, which is called at most once, with the
/// time and whether an earlier one's answer was lost ([`Loss::Marked`]: what that left behind is revoked
/// first). With an issuer whose loss is fatal it is not called then.
pub async fn refresh(
    flight: &Flight<'_>,
    vault: &dyn Vault,
    mint: impl AsyncFnOnce(Timestamp, bool) -> Result<Minted, MintFault>,
) -> Outcome {
    let mut troubles = Vec::new();
    let result = flight.refresh(vault, mint, &mut troubles).await;
    Outcome { result, troubles }
}

fn next(decision: Decision, stored: Stored) -> Next {
    match (decision, stored.token) {
        (Decision::Serve, Some(kept)) => Next::Done(Ok((kept, How::Served))),
        (Decision::OpenUntil(until), _) => {
            let fault = MintFault::BreakerOpen { until };
            Next::Done(Err(Failure::Mint(fault)))
        }
        (Decision::Serve | Decision::ServeAndRefresh | Decision::MintNow, old) => Next::Mint {
            old,
            after_loss: stored.open,
        },
    }
}

impl Flight<'_> {
    async fn refresh(
        &self,
        vault: &dyn Vault,
        mint: impl AsyncFnOnce(Timestamp, bool) -> Result<Minted, MintFault>,
        troubles: &mut Vec<Trouble>,
    ) -> Result<(Kept, How), Failure> {
        let now = self.clock.now();
        let stored = vault.read().map_err(Failure::Store)?;
        let (health, _) = self.records.read(self.endpoint);
        let admission = health.admission(self.credential, now);
        let decision = decide(now, stored.token.as_ref().map(|it| it.life), admission);
        tracing::trace!(credential = %self.credential, decision = decision.as_str(), "decided on a mint");
        let served = match next(decision, stored) {
            Next::Done(result) => return result,
            Next::Mint { old, .. } => old.filter(|it| it.life.is_valid(now)),
        };
        let failed = |error| Failure::Store(Error::io("lock", self.lock, error));
        let lock = match &served {
            Some(_) => Lock::try_take(self.lock, 0o600),
            None => Lock::take(self.lock, 0o600, self.patience).await,
        };
        let Some(_lock) = lock.map_err(failed)? else {
            return match served {
                Some(kept) => Ok((kept, How::Served)),
                None => Err(Failure::Busy),
            };
        };
        // Whoever held the lock may have brought what is wanted, or learnt that there is none.
        let now = self.clock.now();
        let stored = vault.read().map_err(Failure::Store)?;
        let life = stored.token.as_ref().map(|it| it.life);
        let enter = |health: &mut Health| {
            let decision = decide(now, life, health.admission(self.credential, now));
            match decision {
                Decision::ServeAndRefresh | Decision::MintNow => {
                    health.entered(self.credential, now);
                }
                Decision::Serve | Decision::OpenUntil(_) => {}
            }
            decision
        };
        let (decision, met) = self.records.update(self.endpoint, now, enter).await;
        tracing::trace!(credential = %self.credential, decision = decision.as_str(), "decided on a mint");
        troubles.extend(met);
        let (old, after_loss) = match next(decision, stored) {
            Next::Done(result) => return result,
            Next::Mint { old, after_loss } => (old, after_loss),
        };
        let failure = match self.fetch(vault, mint, now, after_loss, troubles).await {
            Ok(kept) => return Ok((kept, How::Minted)),
            Err(failure) => failure,
        };
        match old.filter(|it| it.life.is_valid(self.clock.now())) {
            Some(kept) => Ok((kept, How::NotRenewed(failure))),
            None => Err(failure),
        }
    }

    async fn keep(vault: &dyn Vault, minted: Minted) -> Result<Kept, Failure> {
        match vault.keep(&minted).await {
            Ok(()) => Ok(Kept {
                life: Life::of(minted.issued_at, minted.expires_at, Jitter::NONE),
                value: minted.value,
            }),
            Err(error) => Err(Failure::NotKept {
                minted: Box::new(minted),
                error,
            }),
        }
    }

    /// Asks the issuer, whatever is there, and stores and records what comes of it. Whoever calls it
    /// holds the credential's lock.
    ///
    /// # Errors
    /// Why there is no new token.
    pub async fn fetch(
        &self,
        vault: &dyn Vault,
        mint: impl AsyncFnOnce(Timestamp, bool) -> Result<Minted, MintFault>,
        now: Timestamp,
        after_loss: bool,
        troubles: &mut Vec<Trouble>,
    ) -> Result<Kept, Failure> {
        if after_loss && self.loss == Loss::Fatal {
            let why = "the answer to an earlier request was lost, and a second would end what the first one made";
            return Err(Failure::Mint(MintFault::Unknown(why.to_owned())));
        }
        vault.intend(now).map_err(Failure::Store)?;
        let outcome = mint(now, after_loss).await;
        let after = self.clock.now();
        // The store before the issuer's record: what was brought is the dearer of the two.
        let result = match outcome {
            Ok(minted) => Self::keep(vault, minted).await,
            Err(MintFault::Unusable { why, minted }) if self.loss == Loss::Fatal => {
                // The old one is dead: this one is all there is, whatever is said of its end.
                match Self::keep(vault, minted.as_ref().clone()).await {
                    Ok(_) => Err(Failure::Mint(MintFault::Unusable { why, minted })),
                    Err(failure) => Err(failure),
                }
            }
            Err(fault) => {
                match fault.carried_out() {
                    // An intent that stays for want of room is looked into the next time.
                    CarriedOut::No => drop(vault.withdraw()),
                    CarriedOut::Maybe | CarriedOut::Yes => {}
                }
                Err(Failure::Mint(fault))
            }
        };
        let learn = |health: &mut Health| match &result {
            Ok(_) | Err(Failure::NotKept { .. }) => health.succeeded(self.credential),
            Err(Failure::Mint(fault)) => health.failed(self.credential, fault, after, self.seed),
            Err(Failure::Busy | Failure::Store(_)) => {}
        };
        let ((), met) = self.records.update(self.endpoint, after, learn).await;
        troubles.extend(met);
        result
    }
}

#[cfg(test)]
mod tests;
