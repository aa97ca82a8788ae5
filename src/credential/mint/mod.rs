//! Tokens that an issuer makes for us: when, by whom, and at most once.
//!
//! [`policy`] decides by the time and a token's life whether it serves, and [`breaker`] whether its
//! issuer is asked; both are pure. [`health`] keeps the breakers, and [`flight`] lets one process of
//! many mint while the others wait for what it brings. What is said to whom is in [`issuer`].

pub mod breaker;
mod fault;
pub mod flight;
pub mod health;
pub mod issuer;
pub mod policy;
mod wire;

use std::collections::BTreeSet;

use secrecy::SecretString;

use crate::{
    effect::{http::Response, process::Stopwatch},
    id::Timestamp,
};
pub use fault::{CarriedOut, MintFault};
pub use issuer::{Endpoint, Issuer, Loss};
pub use wire::{TIMEOUT, Wire};

/// A new token. Its `Debug` hides the value.
#[derive(Debug, Clone)]
pub struct Minted {
    /// The token.
    pub value: SecretString,
    /// What the issuer calls it, where it names its tokens.
    pub id: Option<String>,
    /// When it was asked for, by our clock, UTC.
    pub issued_at: Timestamp,
    /// The first instant at which it is dead, UTC; `None` where the issuer names none.
    pub expires_at: Option<Timestamp>,
    /// What it may do, where the issuer says it.
    pub scopes: Option<BTreeSet<String>>,
    /// The issuer's clock when it answered, UTC, where it says it.
    pub issuer_time: Option<Timestamp>,
}

impl Minted {
    fn unusable(self, why: &'static str) -> MintFault {
        let minted = Box::new(self);
        MintFault::Unusable { why, minted }
    }

    /// With the instant of its end as the issuer's clock has it, which must lie ahead and be read by
    /// a clock that agrees with that.
    fn ending(
        mut self,
        end: Option<&str>,
        read: impl Fn(&str) -> Option<Timestamp>,
    ) -> Result<Self, MintFault> {
        let Some(text) = end else { return Ok(self) };
        let Some(end) = read(text) else {
            return Err(self.unusable("its expiry is no date"));
        };
        if let Some(theirs) = self.issuer_time
            && policy::skew(theirs, self.issued_at).is_err()
        {
            return Err(self.unusable(
                "its expiry means nothing here, since the issuer's clock and this host's differ by more than 5m",
            ));
        }
        if end <= self.issued_at {
            return Err(self.unusable("its expiry has passed"));
        }
        self.expires_at = Some(end);
        Ok(self)
    }
}

/// A token that carries our mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// What the issuer calls it.
    pub id: String,
    /// When it was made, by the issuer's clock, UTC.
    pub created_at: Option<Timestamp>,
}

/// What became of a token that was to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// The issuer has ended it.
    Done,
    /// It was dead before, or the issuer does not know it.
    Already,
    /// The issuer ends none: it dies when its time has come.
    NotOffered,
}

impl Revocation {
    /// Done, or already so where the refusal has this status.
    fn unless(answer: Result<Response, MintFault>, dead: u16) -> Result<Self, MintFault> {
        match answer {
            Ok(_) => Ok(Self::Done),
            Err(MintFault::Refused { status, .. }) if status == dead => Ok(Self::Already),
            Err(fault) => Err(fault),
        }
    }
}

/// Asks an issuer for a new token, once. `secret` is what [`Issuer`] says the request is signed with,
/// `mark` what the token is found by again where the issuer keeps a note.
///
/// With an issuer whose [`Loss`] is fatal this ends the token that is `secret`, and must not be called
/// again with it once the outcome was [`MintFault::Unknown`].
///
/// # Errors
/// Why there is none, and by [`MintFault::carried_out`] whether there may be one.
pub async fn mint(
    wire: Wire<'_>,
    issuer: &Issuer,
    secret: &SecretString,
    mark: &str,
    now: Timestamp,
) -> Result<Minted, MintFault> {
    let (watch, credential) = (Stopwatch::start(), wire.credential);
    let minted = match issuer {
        Issuer::Oauth2(issuer) => issuer.mint(wire, secret, now).await,
        Issuer::GithubApp(issuer) => issuer.mint(wire, secret, now).await,
        Issuer::Gitlab(issuer) => issuer.rotate(wire, secret, now).await,
        Issuer::Jupyterhub(issuer) => issuer.mint(wire, secret, mark, now).await,
    };
    let (ms, host) = (watch.elapsed_ms(), issuer.endpoint().host());
    match &minted {
        Ok(_) => tracing::info!(credential, host, ms, "an issuer made a new token"),
        Err(fault) => {
            tracing::info!(credential, host, %fault, ms, "an issuer made no new token");
        }
    }
    minted
}

/// Which token is to be ended.
#[derive(Debug, Clone, Copy)]
pub struct Doomed<'a> {
    /// Its value, where it is known.
    pub value: Option<&'a SecretString>,
    /// What the issuer calls it, where it names its tokens.
    pub id: Option<&'a str>,
}

/// Ends a token. It may be asked for again, whatever became of it the last time.
///
/// `with` signs the request: the client's secret for OAuth 2, a living token for `JupyterHub`; GitHub
/// and GitLab take the doomed token's own value for it.
///
/// # Errors
/// Why it may still live.
pub async fn revoke(
    wire: Wire<'_>,
    issuer: &Issuer,
    with: &SecretString,
    doomed: Doomed<'_>,
    now: Timestamp,
) -> Result<Revocation, MintFault> {
    let value = || {
        let lost = MintFault::Unsendable("the token to be revoked is not known by its value");
        doomed.value.ok_or(lost)
    };
    let (watch, credential) = (Stopwatch::start(), wire.credential);
    let revoked = match issuer {
        Issuer::Oauth2(issuer) => issuer.revoke(wire, with, value()?, now).await,
        Issuer::GithubApp(issuer) => issuer.revoke(wire, value()?, now).await,
        Issuer::Gitlab(issuer) => issuer.revoke(wire, value()?, now).await,
        Issuer::Jupyterhub(issuer) => {
            let lost = MintFault::Unsendable("the token to be revoked is not known by its id");
            issuer.revoke(wire, with, doomed.id.ok_or(lost)?, now).await
        }
    };
    let (ms, host) = (watch.elapsed_ms(), issuer.endpoint().host());
    match &revoked {
        Ok(Revocation::Done) => tracing::info!(credential, host, ms, "an issuer ended a token"),
        Ok(Revocation::Already) => {
            tracing::info!(credential, host, ms, "a token had ended already");
        }
        Ok(Revocation::NotOffered) => {
            tracing::info!(
                credential,
                host,
                "an issuer that ends no tokens was not asked to"
            );
        }
        Err(fault) => tracing::info!(credential, host, %fault, ms, "an issuer ended no token"),
    }
    revoked
}

/// The tokens of an issuer that carry exactly this mark; `None` where it keeps no notes.
///
/// # Errors
/// Why they are not known.
pub async fn find_marked(
    wire: Wire<'_>,
    issuer: &Issuer,
    with: &SecretString,
    mark: &str,
    now: Timestamp,
) -> Result<Option<Vec<Marked>>, MintFault> {
    match issuer {
        Issuer::Oauth2(_) | Issuer::GithubApp(_) | Issuer::Gitlab(_) => Ok(None),
        Issuer::Jupyterhub(issuer) => {
            let marked = issuer.find_marked(wire, with, mark, now).await?;
            Ok(Some(marked))
        }
    }
}

#[cfg(test)]
mod tests;
