//! Asking an issuer of a token.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretSlice, SecretString};
use url::form_urlencoded::Serializer;

use super::{
    judge::Answer,
    table::{Provider, Verb},
    template::{TOKEN, fill},
};
use crate::{
    credential::finding::{Finding, Status},
    effect::http::{Http, HttpUrl, Method, Request},
    id::Timestamp,
};

/// How long a probe may take, from the name's resolution to the last byte of the answer.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The most that is read of an answer's body, in bytes.
pub const PROBE_BODY: usize = 64 * 1024;

/// Where an issuer is asked, and with what beside the token.
#[derive(Clone, Copy)]
pub struct Endpoint<'a> {
    /// What sends.
    pub http: &'a Http,
    /// The URL that the provider's path is below.
    pub base: &'a HttpUrl,
    /// PEM certificates that are trusted beside the host's.
    pub roots: Option<&'a [u8]>,
    /// Secrets for the `{name}`s of the request, as `client_secret`.
    pub secrets: &'a BTreeMap<String, SecretString>,
    /// How long it may take; [`PROBE_TIMEOUT`] but in tests.
    pub timeout: Duration,
}

impl<'a> Endpoint<'a> {
    /// An issuer that is asked with the token alone.
    pub const fn new(http: &'a Http, base: &'a HttpUrl, roots: Option<&'a [u8]>) -> Self {
        const NONE: &BTreeMap<String, SecretString> = &BTreeMap::new();
        Self {
            http,
            base,
            roots,
            secrets: NONE,
            timeout: PROBE_TIMEOUT,
        }
    }
}

/// A request's headers and body, filled in.
struct Filled {
    headers: Vec<(String, SecretString)>,
    body: Option<SecretSlice<u8>>,
}

impl Provider {
    /// What an issuer says of a token. One request is sent, and no redirect followed; a provider without
    /// an issuer is asked nothing, and one whose tokens look otherwise ([`Provider::check_format`]) is not
    /// sent this one. No finding holds anything of the token, the URL or the answer's text.
    pub async fn probe(
        &self,
        http: &Http,
        base: &HttpUrl,
        roots: Option<&[u8]>,
        token: &SecretString,
        wanted: &BTreeSet<String>,
        now: Timestamp,
    ) -> Finding {
        let endpoint = Endpoint::new(http, base, roots);
        self.probe_at(&endpoint, token, wanted, now).await
    }

    /// The same with all that an endpoint can say.
    pub async fn probe_at(
        &self,
        endpoint: &Endpoint<'_>,
        token: &SecretString,
        wanted: &BTreeSet<String>,
        now: Timestamp,
    ) -> Finding {
        if let Some(finding) = self.judge_alone(token, now) {
            return finding;
        }
        if let Err(wrong) = self.check_format(token) {
            let error = Finding::new(Status::Error, now);
            return error.because(format!(
                "it is not sent, as it is no token of this provider: {wrong}"
            ));
        }
        let filled = match self.filled(endpoint, token) {
            Ok(filled) => filled,
            Err(name) => {
                return Finding::new(Status::NotImplemented, now).because(format!(
                    "this provider asks with `{name}`, which the credential does not say"
                ));
            }
        };
        let headers: Vec<(&str, SecretString)> = (filled.headers.iter())
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect();
        let request = Request {
            method: self.request.method.into(),
            url: &(endpoint.base.clone())
                .with_path_told()
                .path_below(&self.request.path),
            headers: &headers,
            body: filled.body.as_ref().map(ExposeSecret::expose_secret),
            roots: endpoint.roots,
            timeout: endpoint.timeout,
            // One byte more tells whether there is more.
            body_limit: PROBE_BODY + 1,
        };
        let response = match endpoint.http.send(&request).await {
            Ok(response) => response,
            Err(fault) => return Finding::new(Status::Error, now).because(fault.to_string()),
        };
        let body = response.body.expose_secret();
        let answer = Answer {
            status: response.status,
            headers: response.headers().collect(),
            body: body.get(..PROBE_BODY).unwrap_or(body),
            whole: body.len() <= PROBE_BODY,
            token,
        };
        self.judge(&answer, wanted, now)
    }

    /// Whether an issuer refuses a token that nobody has. Where it does not, its word on others is worth
    /// nothing.
    ///
    /// # Errors
    /// What came instead of a verdict: it is throttled, fails, or cannot be asked.
    pub async fn control(&self, endpoint: &Endpoint<'_>, now: Timestamp) -> Result<bool, Finding> {
        let Some(garbage) = &self.control else {
            let nothing = Finding::new(Status::NotImplemented, now);
            return Err(nothing.because("this provider has no token to try in vain"));
        };
        let garbage = SecretString::from(garbage.as_str());
        let finding = (self.probe_at(endpoint, &garbage, &BTreeSet::new(), now)).await;
        match finding.status {
            Status::Live | Status::LiveUnderScoped => Ok(false),
            Status::Expired | Status::Revoked | Status::Rejected => Ok(true),
            Status::Throttled | Status::NotImplemented | Status::Error => Err(finding),
        }
    }

    /// The request, or the name of a value that is missing.
    fn filled(&self, endpoint: &Endpoint<'_>, token: &SecretString) -> Result<Filled, String> {
        let token = token.expose_secret();
        let value = |name: &str| {
            if name == TOKEN {
                return Some(token);
            }
            let secret = endpoint.secrets.get(name).map(ExposeSecret::expose_secret);
            secret.or_else(|| self.params.get(name).map(String::as_str))
        };
        let request = &self.request;
        let mut headers = Vec::new();
        for (name, template) in &request.headers {
            headers.push((name.clone(), fill(template, &value)?));
        }
        let fields = request.form.as_ref().or(request.json.as_ref());
        let mut filled = BTreeMap::new();
        for (name, template) in fields.into_iter().flatten() {
            filled.insert(name.as_str(), fill(template, &value)?);
        }
        let exposed = (filled.iter()).map(|(name, value)| (*name, value.expose_secret()));
        let (kind, body) = if request.form.is_some() {
            let form = Serializer::new(String::new())
                .extend_pairs(exposed)
                .finish();
            ("application/x-www-form-urlencoded", form.into_bytes())
        } else if request.json.is_some() {
            let object: BTreeMap<&str, &str> = exposed.collect();
            // A map of texts is always JSON.
            let object = serde_json::to_vec(&object).unwrap_or_default();
            ("application/json", object)
        } else {
            let body = None;
            return Ok(Filled { headers, body });
        };
        headers.push(("content-type".to_owned(), SecretString::from(kind)));
        let body = Some(body.into());
        Ok(Filled { headers, body })
    }
}

impl From<Verb> for Method {
    fn from(verb: Verb) -> Self {
        match verb {
            Verb::Get => Self::Get,
            Verb::Post => Self::Post,
        }
    }
}
