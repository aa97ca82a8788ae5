//! API tokens of a `JupyterHub` user. A token may mint its successor, and that one end it.

use std::collections::BTreeSet;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json as value;

use super::Endpoint;
use crate::{
    credential::mint::{
        Marked, MintFault, Minted, Revocation,
        wire::{Call, Token, Wire, by_status, json},
    },
    effect::http::Method,
    id::{Seconds, Timestamp},
};

/// A user of a hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jupyterhub {
    /// The hub's API: `https://HOST/hub/api`.
    pub base_url: Endpoint,
    /// Whose tokens they are.
    pub user: String,
    /// How long a new token is to live; none is as long as the hub allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Seconds>,
    /// The scopes that are asked for; none is all that the user has.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub scopes: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Answer {
    id: String,
    token: Token,
    expires_at: Option<String>,
    scopes: Option<BTreeSet<String>>,
}

#[derive(Deserialize)]
struct List {
    api_tokens: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    note: Option<String>,
    created: Option<String>,
}

impl Jupyterhub {
    fn call(
        &self,
        method: Method,
        id: Option<&str>,
        with: &SecretString,
    ) -> Result<Call, MintFault> {
        let mut steps = vec!["users", self.user.as_str(), "tokens"];
        steps.extend(id);
        let call = Call::new(method, &self.base_url, &steps)?;
        Ok(call.authorization("token", with))
    }

    /// Makes a token; its note is the mark, by which it is found again.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn mint(
        &self,
        wire: Wire<'_>,
        with: &SecretString,
        mark: &str,
        now: Timestamp,
    ) -> Result<Minted, MintFault> {
        let mut body = value!({ "note": mark });
        if let Some(ttl) = self.ttl {
            body["expires_in"] = ttl.0.into();
        }
        if !self.scopes.is_empty() {
            body["scopes"] = value!(self.scopes);
        }
        let call = self.call(Method::Post, None, with)?.json(&body);
        let response = wire.ask(&call, &[200, 201], now, by_status).await?;
        let answer: Answer = json(&response)?;
        let minted = Minted {
            value: answer.token.value()?,
            id: Some(answer.id),
            issued_at: now,
            expires_at: None,
            scopes: answer.scopes,
            issuer_time: response.date(),
        };
        minted.ending(answer.expires_at.as_deref(), |text| text.parse().ok())
    }

    /// The user's tokens that carry a mark.
    ///
    /// # Errors
    /// Why they are not known.
    pub async fn find_marked(
        &self,
        wire: Wire<'_>,
        with: &SecretString,
        mark: &str,
        now: Timestamp,
    ) -> Result<Vec<Marked>, MintFault> {
        let call = self.call(Method::Get, None, with)?;
        let response = wire.ask(&call, &[200], now, by_status).await?;
        let list: List = json(&response)?;
        let ours = |token: &Listed| token.note.as_deref() == Some(mark);
        let marked = list.api_tokens.into_iter().filter(ours);
        Ok(marked
            .map(|token| Marked {
                id: token.id,
                created_at: token.created.and_then(|text| text.parse().ok()),
            })
            .collect())
    }

    /// Ends a token by its id, with another or itself.
    ///
    /// # Errors
    /// Why it may still live.
    pub async fn revoke(
        &self,
        wire: Wire<'_>,
        with: &SecretString,
        id: &str,
        now: Timestamp,
    ) -> Result<Revocation, MintFault> {
        let call = self.call(Method::Delete, Some(id), with)?;
        Revocation::unless(wire.ask(&call, &[204], now, by_status).await, 404)
    }
}
