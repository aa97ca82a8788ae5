//! Asking an issuer of a token.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    time::Duration,
};

use futures_util::future::{Either, select};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use url::form_urlencoded::Serializer;

use super::{
    judge::Answer,
    table::{self, Provider, Verb},
    template::{TOKEN, fill},
};
use crate::{
    credential::finding::{Finding, Status},
    effect::http::{Fault, Http, HttpUrl, Method, Request, Response},
    id::Timestamp,
};

/// How long a probe may take, from the name's resolution to the last byte of the last answer.
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
    /// Values for the `{name}`s of the request that are no secret, before those of the table.
    pub params: &'a BTreeMap<String, String>,
    /// Secrets for the `{name}`s of the request, as `client_secret`.
    pub secrets: &'a BTreeMap<String, SecretString>,
    /// How long a probe may take; [`PROBE_TIMEOUT`] but in tests.
    pub timeout: Duration,
}

impl<'a> Endpoint<'a> {
    /// An issuer that is asked with the token alone.
    pub const fn new(http: &'a Http, base: &'a HttpUrl, roots: Option<&'a [u8]>) -> Self {
        const NOTHING: &BTreeMap<String, String> = &BTreeMap::new();
        const NONE: &BTreeMap<String, SecretString> = &BTreeMap::new();
        Self {
            http,
            base,
            roots,
            params: NOTHING,
            secrets: NONE,
            timeout: PROBE_TIMEOUT,
        }
    }
}

/// A request's headers and body, filled in.
struct Filled<'r> {
    headers: Vec<(&'r str, SecretString)>,
    body: Option<SecretSlice<u8>>,
}

/// Why there is no answer to a request.
enum Silence {
    /// It asks with a value of that name, and there is none.
    Lacks(String),
    /// Nothing came that could be read.
    Unanswered(Fault),
}

impl Provider {
    /// What an issuer says of a token. One request is sent, and of a live one another where the table has
    /// it; no redirect is followed. A provider without an issuer is asked nothing, and one whose tokens
    /// look otherwise ([`Provider::check_format`]) is not sent this one. No finding holds anything of what
    /// was sent, the URL or the answers' text.
    pub async fn probe_at(
        &self,
        endpoint: &Endpoint<'_>,
        token: &SecretString,
        wanted: &BTreeSet<String>,
        now: Timestamp,
    ) -> Finding {
        // The second request has what the first leaves of the time.
        let over = pin!(tokio::time::sleep(endpoint.timeout));
        let finding = self.first(endpoint, token, wanted, now).await;
        let Some(detail) = &self.detail else {
            return finding;
        };
        if !finding.status.is_live() {
            return finding;
        }
        let asked = pin!(self.ask(&detail.request, endpoint, token));
        let why = match select(asked, over).await {
            Either::Left((Ok(response), _)) => {
                let answer = answer(&response, endpoint, token);
                return self.add_detail(finding, &answer, wanted);
            }
            Either::Left((Err(Silence::Lacks(name)), _)) => lacks(&name),
            Either::Left((Err(Silence::Unanswered(fault)), _)) => fault.to_string(),
            Either::Right(((), _)) => Fault::TimedOut.to_string(),
        };
        Self::without_detail(finding, &why)
    }

    /// What the first request tells.
    async fn first(
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
        match self.ask(&self.request, endpoint, token).await {
            Ok(response) => self.judge(&answer(&response, endpoint, token), wanted, now),
            Err(Silence::Lacks(name)) => {
                Finding::new(Status::NotImplemented, now).because(lacks(&name))
            }
            Err(Silence::Unanswered(fault)) => {
                Finding::new(Status::Error, now).because(fault.to_string())
            }
        }
    }

    /// Sends one request.
    async fn ask(
        &self,
        request: &table::Request,
        endpoint: &Endpoint<'_>,
        token: &SecretString,
    ) -> Result<Response, Silence> {
        let filled = self.filled(request, endpoint, token);
        let filled = filled.map_err(Silence::Lacks)?;
        let sent = Request {
            method: request.method.into(),
            url: &endpoint.base.path_below(&request.path).with_path_told(),
            headers: &filled.headers,
            body: filled.body.as_ref().map(ExposeSecret::expose_secret),
            roots: endpoint.roots,
            timeout: endpoint.timeout,
            // One byte more tells whether there is more.
            body_limit: PROBE_BODY + 1,
        };
        let response = endpoint.http.send(&sent).await;
        response.map_err(Silence::Unanswered)
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
        let finding = (self.first(endpoint, &garbage, &BTreeSet::new(), now)).await;
        match finding.status {
            Status::Live | Status::LiveUnderScoped => Ok(false),
            Status::Expired | Status::Revoked | Status::Rejected => Ok(true),
            Status::Throttled | Status::NotImplemented | Status::Error => Err(finding),
        }
    }

    /// A request, or the name of a value that is missing.
    fn filled<'r>(
        &self,
        request: &'r table::Request,
        endpoint: &Endpoint<'_>,
        token: &SecretString,
    ) -> Result<Filled<'r>, String> {
        let token = token.expose_secret();
        let value = |name: &str| {
            if name == TOKEN {
                return Some(token);
            }
            let secret = endpoint.secrets.get(name).map(ExposeSecret::expose_secret);
            let plain = || (endpoint.params.get(name)).or_else(|| self.params.get(name));
            secret.or_else(|| plain().map(String::as_str))
        };
        let mut headers = Vec::new();
        for (name, template) in &request.headers {
            headers.push((name.as_str(), fill(template, &value)?));
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
        headers.push(("content-type", SecretString::from(kind)));
        let body = Some(body.into());
        Ok(Filled { headers, body })
    }
}

/// What is said where a value is missing.
fn lacks(name: &str) -> String {
    format!("this provider asks with `{name}`, which the credential does not say")
}

fn answer<'a>(
    response: &'a Response,
    endpoint: &Endpoint<'a>,
    token: &'a SecretString,
) -> Answer<'a> {
    let body = response.body.expose_secret();
    Answer {
        status: response.status,
        headers: response.headers().collect(),
        body: body.get(..PROBE_BODY).unwrap_or(body),
        whole: body.len() <= PROBE_BODY,
        token,
        secrets: endpoint.secrets,
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
