//! OAuth 2 client credentials (RFC 6749, 4.4), and revocation (RFC 7009).

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Endpoint;
use crate::{
    credential::mint::{
        MintFault, Minted, Revocation,
        wire::{Call, Token, Wire, json},
    },
    effect::http::{Method, Response},
    id::Timestamp,
};

/// How a client proves itself (RFC 6749, 2.3.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// By the `Authorization` header, which every server must take.
    #[default]
    Basic,
    /// In the body.
    Post,
}

/// A client of an authorization server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oauth2 {
    /// The token endpoint.
    pub token_url: Endpoint,
    /// The client.
    pub client_id: String,
    /// How it proves itself.
    #[serde(default)]
    pub auth: ClientAuth,
    /// The scopes that are asked for; none leaves them to the server.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub scopes: BTreeSet<String>,
    /// The `audience` that some servers want named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The revocation endpoint, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke_url: Option<Endpoint>,
}

/// RFC 6749, 5.1; and `error`, which some servers answer with status 200.
#[derive(Deserialize)]
struct Answer {
    access_token: Option<Token>,
    token_type: Option<String>,
    expires_in: Option<Value>,
    scope: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// What is said where the client's secret is to be put right.
pub const NOT_THE_CLIENT: &str = "it does not know the client, or not with this secret";

/// RFC 6749, 5.2, and RFC 7009, 2.2.1.
fn why(error: &str) -> Option<&'static str> {
    Some(match error {
        "invalid_client" => NOT_THE_CLIENT,
        "invalid_scope" => "a scope is unknown to it, or not for this client",
        "unauthorized_client" => "the client may not have tokens in this way",
        "unsupported_grant_type" => "it gives no tokens for client credentials",
        "unsupported_token_type" => "it does not revoke tokens of this kind",
        "invalid_grant" | "invalid_request" => "it does not take the request",
        "invalid_target" => "it does not know the audience",
        "access_denied" => "the client may not have this token",
        _ => return None,
    })
}

fn refusal(response: &Response, _: Timestamp) -> Option<MintFault> {
    let told: Refusal = serde_json::from_slice(response.body.expose_secret()).ok()?;
    let status = response.status;
    why(&told.error).map(|why| MintFault::Refused { status, why })
}

/// The life that a server states, in seconds: a number, or one in quotes, as some write it.
fn life(value: &Value) -> Result<i64, &'static str> {
    let seconds = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    match seconds {
        Some(seconds) if seconds > 0 => Ok(seconds),
        Some(_) => Err("its `expires_in` says that it has ended already"),
        None => Err("its `expires_in` is no number of seconds"),
    }
}

impl Oauth2 {
    fn call(
        &self,
        endpoint: &Endpoint,
        secret: &SecretString,
        fields: &[(&str, &str)],
    ) -> Result<Call, MintFault> {
        let call = Call::new(Method::Post, endpoint, &[])?;
        Ok(match self.auth {
            ClientAuth::Basic => {
                // Each is encoded as in a form before they are joined, or a colon in one would end it.
                let encoded = |text: &str| -> String {
                    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
                };
                let id = encoded(&self.client_id);
                let pair = SecretString::from(format!("{id}:{}", encoded(secret.expose_secret())));
                let pair = SecretString::from(STANDARD.encode(pair.expose_secret()));
                call.authorization("Basic", &pair).form(fields)
            }
            ClientAuth::Post => {
                let own = [
                    ("client_id", self.client_id.as_str()),
                    ("client_secret", secret.expose_secret()),
                ];
                call.form(&[fields, &own].concat())
            }
        })
    }

    /// Asks for a token. Its end is told as a length of time, and so by our own clock.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn mint(
        &self,
        wire: Wire<'_>,
        secret: &SecretString,
        now: Timestamp,
    ) -> Result<Minted, MintFault> {
        let scopes: Vec<&str> = self.scopes.iter().map(String::as_str).collect();
        let scopes = scopes.join(" ");
        let mut fields = vec![("grant_type", "client_credentials")];
        if !scopes.is_empty() {
            fields.push(("scope", &scopes));
        }
        if let Some(audience) = &self.audience {
            fields.push(("audience", audience));
        }
        let call = self.call(&self.token_url, secret, &fields)?;
        let response = wire.ask(&call, &[200, 201], now, refusal).await?;
        let answer: Answer = json(&response)?;
        let Some(token) = answer.access_token else {
            let error = answer.error.ok_or_else(|| {
                MintFault::Unknown("its answer holds no `access_token`".to_owned())
            })?;
            return Err(MintFault::Refused {
                status: response.status,
                why: why(&error).unwrap_or("it does not take the request"),
            });
        };
        // It may be left out where it is what was asked for (RFC 6749, 5.1), and is by some servers
        // where nothing was granted: then nobody knows.
        let granted = answer.scope.as_ref().map(|scope| {
            let scopes = scope.split_whitespace();
            scopes.map(str::to_owned).collect()
        });
        let mut minted = Minted {
            value: token.value()?,
            id: None,
            issued_at: now,
            expires_at: None,
            scopes: granted,
            issuer_time: response.date(),
        };
        let kind = answer.token_type.as_deref().unwrap_or("bearer");
        if !kind.eq_ignore_ascii_case("bearer") {
            return Err(minted.unusable("it is no bearer token"));
        }
        match answer
            .expires_in
            .as_ref()
            .filter(|life| !life.is_null())
            .map(life)
        {
            None => Ok(minted),
            Some(Ok(seconds)) => {
                minted.expires_at = Some(now.plus_seconds(seconds));
                Ok(minted)
            }
            Some(Err(why)) => Err(minted.unusable(why)),
        }
    }

    /// Ends a token.
    ///
    /// # Errors
    /// Why it may still live.
    pub async fn revoke(
        &self,
        wire: Wire<'_>,
        secret: &SecretString,
        token: &SecretString,
        now: Timestamp,
    ) -> Result<Revocation, MintFault> {
        let Some(endpoint) = &self.revoke_url else {
            return Ok(Revocation::NotOffered);
        };
        let fields = [
            ("token", token.expose_secret()),
            ("token_type_hint", "access_token"),
        ];
        let call = self.call(endpoint, secret, &fields)?;
        wire.ask(&call, &[200, 204], now, refusal).await?;
        // A token that it does not know is answered in the same way (RFC 7009, 2.2).
        Ok(Revocation::Done)
    }
}
