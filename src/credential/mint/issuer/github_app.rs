//! Tokens of a GitHub App's installation.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::{
    SignatureScheme,
    pki_types::{PrivateKeyDer, pem::PemObject},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json as value;

use super::Endpoint;
use crate::{
    credential::mint::{
        MintFault, Minted, Revocation,
        wire::{Call, Token, Wire, json},
    },
    effect::http::{Method, Response},
    id::Timestamp,
};

/// How far before now a signed request says it was made, in seconds: GitHub refuses one from a clock
/// that is ahead of its own, and advises this.
const BEFORE: i64 = 60;

/// How long after now it is taken, in seconds. GitHub allows ten minutes from its own clock.
const AFTER: i64 = 540;

const VERSION: &str = "2022-11-28";

/// An installation of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GithubApp {
    /// The API: `https://api.github.com`, or `https://HOST/api/v3`.
    pub base_url: Endpoint,
    /// The app, by its client id or its number.
    pub app_id: String,
    /// The installation.
    pub installation_id: u64,
    /// The repositories, by name, that a token is for; none is all of the installation's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
    /// What a token may do, as `contents = "read"`; none is all that the installation may.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub permissions: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Answer {
    token: Token,
    expires_at: Option<String>,
    permissions: Option<BTreeMap<String, String>>,
}

/// A JSON Web Token that says who the app is (RFC 7519), signed with RS256 (RFC 7518, 3.3).
///
/// rustls signs: it holds the key in memory already for what it does, and reads both forms that GitHub
/// and openssl(1) write, PKCS#1 and PKCS#8.
fn signed(app: &str, key: &SecretString, now: Timestamp) -> Result<SecretString, MintFault> {
    let unusable = MintFault::Unsendable;
    let pem = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes())
        .map_err(|_| unusable("the app's private key is no PEM"))?;
    let key = rustls::crypto::ring::sign::any_supported_type(&pem).map_err(|_| {
        unusable("the app's private key cannot be read, or is weaker than RSA 2048")
    })?;
    let signer = key
        .choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])
        .ok_or_else(|| unusable("the app's private key is not of RSA"))?;
    let seconds = now.millis().div_euclid(1000);
    let claims = value!({"iat": seconds - BEFORE, "exp": seconds + AFTER, "iss": app});
    let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
    let text = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = signer
        .sign(text.as_bytes())
        .map_err(|_| unusable("the app's private key does not sign"))?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)).into())
}

/// Some limits are told by nothing but the message of a 403, and GitHub asks to wait a minute then
/// (docs.github.com, "Rate limits for the REST API").
fn refusal(response: &Response, now: Timestamp) -> Option<MintFault> {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    let told: Refusal = serde_json::from_slice(response.body.expose_secret()).ok()?;
    let limit = response.status == 403 && told.message.to_lowercase().contains("rate limit");
    limit.then(|| MintFault::Throttled {
        until: now.plus_seconds(60),
    })
}

impl GithubApp {
    /// Asks for a token of the installation.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn mint(
        &self,
        wire: Wire<'_>,
        key: &SecretString,
        now: Timestamp,
    ) -> Result<Minted, MintFault> {
        let installation = self.installation_id.to_string();
        let steps = ["app", "installations", &installation, "access_tokens"];
        let mut body = serde_json::Map::new();
        if !self.repositories.is_empty() {
            body.insert("repositories".to_owned(), value!(self.repositories));
        }
        if !self.permissions.is_empty() {
            body.insert("permissions".to_owned(), value!(self.permissions));
        }
        let call = Call::new(Method::Post, &self.base_url, &steps)?
            .authorization("Bearer", &signed(&self.app_id, key, now)?)
            .header("x-github-api-version", VERSION)
            .json(&body.into());
        let response = wire.ask(&call, &[201], now, refusal).await?;
        let answer: Answer = json(&response)?;
        let permissions = answer.permissions.map(|granted| {
            let each = granted.into_iter();
            each.map(|(what, how)| format!("{what}:{how}")).collect()
        });
        let minted = Minted {
            value: answer.token.value()?,
            id: None,
            issued_at: now,
            expires_at: None,
            scopes: permissions,
            issuer_time: response.date(),
        };
        minted.ending(answer.expires_at.as_deref(), |text| text.parse().ok())
    }

    /// Ends a token of the installation, with itself.
    ///
    /// # Errors
    /// Why it may still live.
    pub async fn revoke(
        &self,
        wire: Wire<'_>,
        token: &SecretString,
        now: Timestamp,
    ) -> Result<Revocation, MintFault> {
        let call = Call::new(Method::Delete, &self.base_url, &["installation", "token"])?
            .authorization("Bearer", token)
            .header("x-github-api-version", VERSION);
        let answer = wire.ask(&call, &[204], now, refusal).await;
        Revocation::unless(answer, 401)
    }
}
