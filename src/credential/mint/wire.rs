//! How an issuer is asked, and how its answers are read.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::{Deserialize, de::DeserializeOwned};

use super::{fault::MintFault, issuer::Endpoint};
use crate::{
    effect::http::{Http, HttpUrl, Method, Request, Response},
    id::Timestamp,
    scrub::known,
};

/// How long an issuer may take.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// The most that is read of an answer: a list of tokens is the longest. What reaches it is cut off.
const BODY_LIMIT: usize = 4 << 20;

/// The longest value of a token, in bytes.
const LONGEST: usize = 64 << 10;

/// How issuers are reached.
#[derive(Debug, Clone, Copy)]
pub struct Wire<'a> {
    /// The credential that it is about, for a trace.
    pub credential: &'a str,
    /// What sends.
    pub http: &'a Http,
    /// PEM certificates that are trusted beside the host's.
    pub roots: Option<&'a [u8]>,
}

/// A request on its way to an issuer.
#[derive(Debug)]
pub(super) struct Call {
    method: Method,
    url: HttpUrl,
    headers: Vec<(&'static str, SecretString)>,
    body: Option<SecretSlice<u8>>,
}

impl Call {
    /// A request to the resource at these steps below an endpoint.
    pub(super) fn new(
        method: Method,
        endpoint: &Endpoint,
        steps: &[&str],
    ) -> Result<Self, MintFault> {
        let base = endpoint.url()?.with_path_told();
        Ok(Self {
            method,
            url: steps.iter().fold(base, |url, step| url.below(step)),
            headers: vec![("accept", "application/json".into())],
            body: None,
        })
    }

    /// With a header.
    pub(super) fn header(mut self, name: &'static str, value: impl Into<SecretString>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With `Authorization: SCHEME VALUE`.
    pub(super) fn authorization(self, scheme: &str, value: &SecretString) -> Self {
        let value = value.expose_secret();
        self.header("authorization", format!("{scheme} {value}"))
    }

    /// With a form (WHATWG URL, `application/x-www-form-urlencoded`).
    pub(super) fn form(mut self, fields: &[(&str, &str)]) -> Self {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        let text = form.extend_pairs(fields).finish();
        self.body = Some(text.into_bytes().into());
        self.header("content-type", "application/x-www-form-urlencoded")
    }

    /// With a JSON body.
    pub(super) fn json(mut self, body: &serde_json::Value) -> Self {
        self.body = Some(body.to_string().into_bytes().into());
        self.header("content-type", "application/json")
    }
}

impl Wire<'_> {
    /// Sends a request once; any answer counts.
    async fn send(&self, call: &Call) -> Result<Response, MintFault> {
        let body = call.body.as_ref().map(ExposeSecret::expose_secret);
        let request = Request {
            method: call.method,
            url: &call.url,
            headers: &call.headers,
            body,
            roots: self.roots,
            timeout: TIMEOUT,
            body_limit: BODY_LIMIT,
        };
        let sent = self.http.send(&request).await;
        sent.map_err(MintFault::unanswered)
    }

    /// Sends a request once, and takes an answer with one of these statuses. What else is answered goes
    /// to `refusal` first, which may know more of it than its status says.
    pub(super) async fn ask(
        &self,
        call: &Call,
        good: &[u16],
        now: Timestamp,
        refusal: fn(&Response, Timestamp) -> Option<MintFault>,
    ) -> Result<Response, MintFault> {
        let response = self.send(call).await?;
        if good.contains(&response.status) {
            return Ok(response);
        }
        let plain = MintFault::answered(&response, now);
        Err(match plain {
            MintFault::Refused { .. } => refusal(&response, now).unwrap_or(plain),
            other => other,
        })
    }
}

/// Nothing more is known of a refusal than its status.
pub(super) const fn by_status(_: &Response, _: Timestamp) -> Option<MintFault> {
    None
}

/// The JSON of an answer that says it was carried out.
pub(super) fn json<T: DeserializeOwned>(response: &Response) -> Result<T, MintFault> {
    let body = response.body.expose_secret();
    if body.len() >= BODY_LIMIT {
        return Err(MintFault::Unknown(
            "its answer is over 4 MiB long".to_owned(),
        ));
    }
    // What serde says of it may quote it.
    serde_json::from_slice(body)
        .map_err(|_| MintFault::Unknown("its answer is not the JSON that was expected".to_owned()))
}

/// A token within an answer.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
pub(super) struct Token(SecretString);

impl From<String> for Token {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl Token {
    /// The value, if it can be one: it is sent in a header and kept in a line of a file.
    pub(super) fn value(self) -> Result<SecretString, MintFault> {
        let text = self.0.expose_secret();
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.is_empty() || text.len() > LONGEST || !visible {
            let why = "what it answers holds no token that could be sent";
            return Err(MintFault::Unknown(why.to_owned()));
        }
        known::meet(&self.0);
        Ok(self.0)
    }
}
