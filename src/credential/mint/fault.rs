//! Why there is no new token, and whether there may be one all the same.

use super::issuer::oauth2;
use crate::{
    credential::mint::Minted,
    effect::http::{self, Response},
    id::Timestamp,
};

/// Why an issuer did not do what it was asked. It holds no text of the issuer and no secret.
#[derive(Debug, thiserror::Error)]
pub enum MintFault {
    /// It said no, and did nothing.
    #[error("the issuer refuses: {why} (HTTP {status})")]
    Refused {
        /// The status of its answer.
        status: u16,
        /// What that means, in our words.
        why: &'static str,
    },
    /// It asks to be left alone, and did nothing.
    #[error("the issuer asks to be left alone until {until}")]
    Throttled {
        /// When it may be asked again, UTC.
        until: Timestamp,
    },
    /// The request did not leave this host.
    #[error("the issuer was not reached: {0}")]
    Unreachable(http::Fault),
    /// What the request is made with cannot be used, so none was sent.
    #[error("nothing was sent: {0}")]
    Unsendable(&'static str),
    /// The request left, and no answer came that tells what became of it: it may have been carried out.
    #[error("the issuer may have done it: {0}")]
    Unknown(String),
    /// There is a new token, and what is said of it cannot be believed. Where the old one died with the
    /// request, this is the only one there is; elsewhere it is to be revoked.
    #[error("the issuer made a token that cannot be used: {why}")]
    Unusable {
        /// What is wrong with it.
        why: &'static str,
        /// The token, without an expiry.
        minted: Box<Minted>,
    },
    /// It failed too often of late, and is not asked.
    #[error("the issuer is not asked before {until}, since it failed of late")]
    BreakerOpen {
        /// When it will be, UTC.
        until: Timestamp,
    },
}

/// Whether a request that came to nothing was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CarriedOut {
    /// Surely not: it may be sent again.
    No,
    /// That cannot be told from here.
    Maybe,
    /// It was.
    Yes,
}

impl MintFault {
    /// Whether the issuer did what it was asked.
    pub const fn carried_out(&self) -> CarriedOut {
        match self {
            Self::Refused { .. }
            | Self::Throttled { .. }
            | Self::Unreachable(_)
            | Self::Unsendable(_)
            | Self::BreakerOpen { .. } => CarriedOut::No,
            Self::Unknown(_) => CarriedOut::Maybe,
            Self::Unusable { .. } => CarriedOut::Yes,
        }
    }

    /// The instant from which the issuer may be asked again, UTC, where one is known.
    pub const fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Throttled { until } | Self::BreakerOpen { until } => Some(*until),
            Self::Refused { .. }
            | Self::Unreachable(_)
            | Self::Unsendable(_)
            | Self::Unknown(_)
            | Self::Unusable { .. } => None,
        }
    }

    /// What a person can do about it; `None` where it passes, or the fault says so itself.
    pub const fn help(&self) -> Option<&'static str> {
        match self {
            Self::Refused { status, .. } => match *status {
                401 => Some(
                    "look at what the request is signed with, and put a good one where that comes from",
                ),
                403 | 405 => {
                    Some("have its issuer allow that, or use another token to sign the request")
                }
                404 => Some("look at the URLs and ids in its `source`"),
                400..=499 => {
                    Some("look at its `source`: the ids, scopes and lifetimes that are asked for")
                }
                _ => None,
            },
            Self::Throttled { .. }
            | Self::Unreachable(_)
            | Self::Unsendable(_)
            | Self::Unknown(_)
            | Self::Unusable { .. }
            | Self::BreakerOpen { .. } => None,
        }
    }

    /// Whether it is what the request is made with that is to be put right.
    pub(super) fn is_of_secret(&self) -> bool {
        match self {
            // A server may say the first with a 400 (RFC 6749, 5.2).
            Self::Refused { status, why } => {
                *why == oauth2::NOT_THE_CLIENT || matches!(*status, 401 | 403)
            }
            Self::Unsendable(_) => true,
            Self::Throttled { .. }
            | Self::Unreachable(_)
            | Self::Unknown(_)
            | Self::Unusable { .. }
            | Self::BreakerOpen { .. } => false,
        }
    }

    /// What a request that got no answer means.
    pub(super) fn unanswered(fault: http::Fault) -> Self {
        if fault.is_before_sending() {
            Self::Unreachable(fault)
        } else {
            Self::Unknown(format!("its answer is lost: {fault}"))
        }
    }

    /// What an answer other than the expected one means.
    pub(super) fn answered(response: &Response, now: Timestamp) -> Self {
        let status = response.status;
        if let Some(until) = throttled(response, now) {
            return Self::Throttled { until };
        }
        let why = match status {
            // Whoever ends a request for its slowness may have passed it on before.
            408 | 499 => {
                return Self::Unknown(format!("it answered HTTP {status}, which does not tell"));
            }
            401 => "it does not know what the request is signed with, or no longer",
            403 => "what the request is signed with may not do this",
            404 => "there is nothing at that URL, or it may not be seen",
            405 => "that cannot be done with a token of this kind",
            400..=499 => "it does not take the request",
            // The target moved before anything was done; with another redirect it may have been.
            301 | 307 | 308 => "it redirects, which is not followed: set the URL it redirects to",
            _ => return Self::Unknown(format!("it answered HTTP {status}, which does not tell")),
        };
        Self::Refused { status, why }
    }
}

/// Until when the issuer wants to be left alone, where it says so: by status 429, or, as GitHub does,
/// by a 403 with a rate limit's headers.
fn throttled(response: &Response, now: Timestamp) -> Option<Timestamp> {
    let after = response.retry_after(now);
    let spent = response.header("x-ratelimit-remaining") == Some("0");
    let throttles = match response.status {
        429 => true,
        403 => after.is_some() || spent,
        _ => false,
    };
    let reset = || {
        // GitHub tells it of another limit than the one that was met, too.
        let own = response
            .header("x-ratelimit-reset")
            .filter(|_| spent || response.header("x-ratelimit-remaining").is_none());
        let epoch = own.or_else(|| response.header("ratelimit-reset"))?;
        let seconds: i64 = epoch.trim().parse().ok()?;
        Some(Timestamp::from_millis(seconds.saturating_mul(1000)))
    };
    throttles.then(|| {
        let until = after.or_else(reset);
        until.map_or(now.plus_seconds(60), |until| until.max(now))
    })
}
