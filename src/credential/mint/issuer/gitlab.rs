//! GitLab access tokens that rotate themselves: personal, group and project ones alike.

use std::collections::BTreeSet;

use chrono::{Days, NaiveDate, NaiveTime};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::Endpoint;
use crate::{
    credential::mint::{
        MintFault, Minted, Revocation,
        wire::{Call, Token, Wire, by_status, json},
    },
    effect::http::Method,
    id::{Seconds, Timestamp},
};

const SELF: [&str; 4] = ["api", "v4", "personal_access_tokens", "self"];

/// An instance of GitLab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gitlab {
    /// Its URL, without `/api/v4`.
    pub base_url: Endpoint,
    /// How long a new token is to live, in whole days; GitLab gives a week where none is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Seconds>,
}

#[derive(Deserialize)]
struct Answer {
    id: u64,
    token: Token,
    expires_at: Option<String>,
    scopes: Option<BTreeSet<String>>,
}

/// A date of GitLab's: the token is dead from its first instant on, UTC.
fn midnight(text: &str) -> Option<Timestamp> {
    let date: NaiveDate = text.parse().ok()?;
    Some(date.and_time(NaiveTime::MIN).and_utc().into())
}

/// The date on which a token ends that is to live so long, tomorrow at the earliest.
fn ends_on(now: Timestamp, ttl: Seconds) -> Option<NaiveDate> {
    let days = (ttl.0 / 86_400).max(1);
    now.utc().date_naive().checked_add_days(Days::new(days))
}

impl Gitlab {
    /// Rotates a token: there is a new one, and the old one is dead from that moment on.
    ///
    /// Whoever calls has written down that he will, and never calls it again with the same token once
    /// the outcome is [`MintFault::Unknown`]: that would end the new token as well.
    ///
    /// # Errors
    /// Why there is no new token, and whether the old one still lives.
    pub async fn rotate(
        &self,
        wire: Wire<'_>,
        token: &SecretString,
        now: Timestamp,
    ) -> Result<Minted, MintFault> {
        let [api, version, tokens, this] = SELF;
        let steps = [api, version, tokens, this, "rotate"];
        let call =
            Call::new(Method::Post, &self.base_url, &steps)?.header("private-token", token.clone());
        let call = match self.ttl.and_then(|ttl| ends_on(now, ttl)) {
            Some(date) => call.form(&[("expires_at", &date.to_string())]),
            None => call,
        };
        let response = wire.ask(&call, &[200, 201], now, by_status).await?;
        let answer: Answer = json(&response)?;
        let minted = Minted {
            value: answer.token.value()?,
            id: Some(answer.id.to_string()),
            issued_at: now,
            expires_at: None,
            scopes: answer.scopes,
            issuer_time: response.date(),
        };
        minted.ending(answer.expires_at.as_deref(), midnight)
    }

    /// Ends a token, with itself.
    ///
    /// # Errors
    /// Why it may still live.
    pub async fn revoke(
        &self,
        wire: Wire<'_>,
        token: &SecretString,
        now: Timestamp,
    ) -> Result<Revocation, MintFault> {
        let call = Call::new(Method::Delete, &self.base_url, &SELF)?
            .header("private-token", token.clone());
        Revocation::unless(wire.ask(&call, &[204], now, by_status).await, 401)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_s_date_is_no_later_than_its_life_and_tomorrow_at_the_earliest() {
        let now: Timestamp = "2026-02-09T23:59:00Z".parse().unwrap();
        let ends = |ttl: u64| ends_on(now, Seconds(ttl)).unwrap().to_string();
        assert_eq!(ends(90 * 86_400), "2026-05-10");
        assert_eq!(ends(86_400), "2026-02-10");
        assert_eq!(ends(0), "2026-02-10");
        assert_eq!(ends_on(now, Seconds(u64::MAX)), None);
        let end = midnight("2026-05-10").unwrap();
        assert_eq!(end.to_string(), "2026-05-10T00:00:00Z");
        assert_eq!(midnight("soon"), None);
    }
}
