//! What a provider's table says: the words of `[providers.NAME]` and of the tables built in.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::Seconds;

/// A provider: how it is asked of a token, and what its answers mean.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Provider")]
pub struct RawProvider {
    /// The provider that this one is like; what is not said here is as there, and verdicts said here come
    /// before those there.
    pub extends: Option<String>,
    /// How a token is looked at. Default: `http`.
    pub probe: Option<Via>,
    /// The URL that paths are below, where a credential says no other.
    pub base_url: Option<String>,
    /// What is sent.
    pub request: Option<Request>,
    /// What answers mean. The first that fits decides; an answer that none fits is no verdict.
    pub verdicts: Option<Vec<Verdict>>,
    /// Where an answer says when the token ends; the first that is there counts.
    pub expiry: Option<Vec<ExpiryRule>>,
    /// Where an answer lists what the token may do.
    pub scopes: Option<ScopeRule>,
    /// Where an answer says whose the token is, as a JSON pointer.
    pub account: Option<String>,
    /// A second request, for what the answer about a live token does not say.
    pub detail: Option<Detail>,
    /// When a throttled request may be sent again.
    pub throttle: Option<Throttle>,
    /// What a token looks like; one of these fits it.
    pub format: Option<Vec<Format>>,
    /// A token that nobody has. A provider that takes it takes anything.
    pub control: Option<String>,
    /// Whether an old and a new token can both be live. Default: `true`.
    pub both_live: Option<bool>,
    /// Values for the `{name}`s of the request that are no secret.
    pub params: Option<BTreeMap<String, String>>,
    /// Those `{name}`s of the request that only another credential may fill.
    pub secrets: Option<BTreeSet<String>>,
}

/// How a token is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "ProviderProbe")]
pub enum Via {
    /// By a request.
    #[default]
    Http,
    /// By reading it as a PEM certificate.
    X509,
    /// Not at all.
    None,
}

/// What is sent. In header values, `form` and `json`, `{token}` stands for the token, and `{NAME}` for one of
/// `params` or of the credential's `with`; `{NAME:NAME}` is what follows `Basic` (RFC 7617), and
/// `{form:NAME:NAME}` the same as OAuth 2 has it (RFC 6749, 2.3.1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "ProviderRequest")]
pub struct Request {
    /// The method. Default: `GET`.
    pub method: Verb,
    /// The path below the base URL, as `/api/v1/user?limit=1`.
    pub path: String,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// Fields of a form, which is the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<BTreeMap<String, String>>,
    /// Fields of a JSON object, which is the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<BTreeMap<String, String>>,
}

impl Request {
    /// The texts of it that have places for values.
    pub(super) fn templates(&self) -> impl Iterator<Item = &String> {
        let fields = self.form.iter().chain(&self.json);
        (self.headers.values()).chain(fields.flat_map(BTreeMap::values))
    }
}

/// A request's method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(rename = "ProviderMethod")]
pub enum Verb {
    /// `GET`.
    #[default]
    Get,
    /// `POST`.
    Post,
}

/// What an answer means that fits all of its conditions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ProviderVerdict")]
pub struct Verdict {
    /// The HTTP status is one of these. Not said: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<u16>,
    /// Headers that are so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderIs>,
    /// Places of the body, which is JSON, that are so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub json: Vec<JsonIs>,
    /// The body contains this text, in upper or lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The body is empty.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blank: bool,
    /// What it means. An answer that is a page of HTML is never `live`, `expired`, `revoked` or `rejected`.
    pub is: Meaning,
    /// Why, in words that are shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Scopes that such a token surely lacks.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lacks: BTreeSet<String>,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "ProviderMeaning")]
pub enum Meaning {
    /// The token is taken.
    Live,
    /// Its end has come.
    Expired,
    /// Someone has ended it.
    Revoked,
    /// It is refused, and why is not said.
    Rejected,
    /// The request came too soon.
    Throttled,
    /// It says nothing of the token.
    Error,
}

/// A header that is so. Of `is` and `contains`, one is said, or neither: then it is enough that it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ProviderHeader")]
pub struct HeaderIs {
    /// Its name, in any case.
    pub name: String,
    /// It is this, in upper or lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is: Option<String>,
    /// It contains this, in upper or lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
}

/// A place of a JSON body that is so. Of `is`, `contains` and `exists`, one is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ProviderJson")]
pub struct JsonIs {
    /// The place, as a JSON pointer (RFC 6901).
    pub at: String,
    /// It is this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is: Option<Scalar>,
    /// It is a text that contains this, in upper or lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// It is there and not null; or, of a body that is an object, it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
}

/// A value of one word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "ProviderScalar")]
pub enum Scalar {
    /// Yes or no.
    Bool(bool),
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
}

/// Where a token's end is said: in a header, in the body, or in the token itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "ProviderExpiry")]
pub struct ExpiryRule {
    /// The header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The place of the body, as a JSON pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<String>,
    /// Whether the token is a JWT that says it in its `exp`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub jwt: bool,
    /// How it is written; the first that fits counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub formats: Vec<TimeFormat>,
    /// What is written for a token that does not end, beside null and nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub never: Vec<String>,
}

/// How an instant is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "ProviderTime")]
pub enum TimeFormat {
    /// `2026-01-02`: its beginning, UTC.
    Date,
    /// `2026-01-02T15:04:05Z` (RFC 3339).
    Rfc3339,
    /// Seconds since 1970.
    Epoch,
    /// Milliseconds since 1970.
    Millis,
    /// `2026-01-02 15:04:05 UTC`, and `2026-01-02 15:04:05 -0700`.
    GitHub,
    /// `Fri, 02 Jan 2026 15:04:05 GMT` (RFC 9110).
    Http,
    /// Seconds from now.
    Seconds,
}

/// Where an answer lists what a token may do: in a header, or in the body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "ProviderScopes")]
pub struct ScopeRule {
    /// The header, which lists them with commas or spaces between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The place of the body, as a JSON pointer: an array, or a text with commas or spaces between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<String>,
    /// Where the array's items are objects: the places, as JSON pointers, of the parts of each one's scope,
    /// which is written with `:` between them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub each: Vec<String>,
    /// What is known of scopes where they are not listed; the first that fits counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unlisted: Vec<Unlisted>,
    /// Scopes with those that they include.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub includes: BTreeMap<String, BTreeSet<String>>,
}

/// A place of the body that tells all scopes of a token without listing them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ProviderUnlisted")]
pub struct Unlisted {
    /// The place, as a JSON pointer.
    pub at: String,
    /// It is this.
    pub is: Scalar,
    /// Then the token has these scopes, and no other.
    pub scopes: BTreeSet<String>,
}

/// A second request, for what the answer about a live token does not say: a list of tokens. It goes to the
/// same base URL. Whatever is answered, the token is taken; but an end that cannot be read is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ProviderDetail")]
pub struct Detail {
    /// What is sent. An answer of another status than 200 says nothing.
    pub request: Request,
    /// The place of the list, as a JSON pointer.
    pub list: String,
    /// By what the token's own row is known. The first that any row fits decides, and where two rows fit it,
    /// none is taken.
    pub own: Vec<Own>,
    /// Where the row says when the token ends; the first that is there counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expiry: Vec<ExpiryRule>,
    /// Where the row lists what the token may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<ScopeRule>,
}

/// A place of a row that tells whose row it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ProviderOwn")]
pub struct Own {
    /// The place, as a JSON pointer.
    pub at: String,
    /// What it holds of the token.
    pub holds: Sign,
}

/// What a list holds of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "ProviderSign")]
pub enum Sign {
    /// Its SHA-512, in hexadecimal digits.
    Sha512,
    /// Its beginning and its end with dots between them, together twelve characters at least.
    Ends,
}

/// When a throttled request may be sent again: as `Retry-After` says, else as one of these, else after `wait`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "ProviderThrottle")]
pub struct Throttle {
    /// Headers that say it; the first that can be read counts.
    pub reset: Vec<ResetRule>,
    /// How long to wait where no header says it, or one says what is past. Default: `60s`.
    pub wait: Seconds,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            reset: Vec::new(),
            wait: Seconds(60),
        }
    }
}

/// A header that says when a request may be sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ProviderReset")]
pub struct ResetRule {
    /// The header.
    pub header: String,
    /// How it is written.
    pub format: TimeFormat,
    /// A header that must be `0` for this one to count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<String>,
}

/// What a token looks like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "ProviderFormat")]
pub struct Format {
    /// How it begins.
    pub prefix: String,
    /// The least number of bytes, those of the prefix included.
    pub min: usize,
    /// The greatest number of bytes, those of the prefix included.
    pub max: usize,
    /// What it is made of after the prefix.
    pub charset: Charset,
}

impl Default for Format {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            min: 1,
            max: 8192,
            charset: Charset::Visible,
        }
    }
}

/// What a token is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "ProviderCharset")]
pub enum Charset {
    /// 0-9, a-f in upper or lower case.
    Hex,
    /// Letters and digits of ASCII.
    Alphanumeric,
    /// Letters, digits, `_` and `-`.
    Word,
    /// Letters, digits and `-._~+/=`: what may stand after `Bearer` (RFC 6750).
    Bearer,
    /// All of ASCII that can be seen.
    Visible,
    /// Any text, of several lines too.
    Any,
}

/// A provider whose every choice is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// How a token is looked at.
    pub probe: Via,
    /// The URL that paths are below, where a credential says no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// What is sent; nothing means anything without [`Via::Http`].
    pub request: Request,
    /// What answers mean, the first that fits.
    pub verdicts: Vec<Verdict>,
    /// Where an end is said.
    pub expiry: Vec<ExpiryRule>,
    /// Where scopes are said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<ScopeRule>,
    /// Where the account is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// What else is asked of a live token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
    /// When a throttled request may be sent again.
    pub throttle: Throttle,
    /// What a token looks like.
    pub format: Vec<Format>,
    /// A token that nobody has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
    /// Whether an old and a new token can both be live.
    pub both_live: bool,
    /// Values for the `{name}`s of the request.
    pub params: BTreeMap<String, String>,
    /// Those `{name}`s that only another credential may fill.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub secrets: BTreeSet<String>,
}

impl RawProvider {
    /// The provider that it is, given the one that it extends.
    pub(super) fn over(self, base: Option<Provider>) -> Provider {
        let base = base.unwrap_or_else(|| Provider {
            probe: Via::default(),
            base_url: None,
            request: Request::default(),
            verdicts: Vec::new(),
            expiry: Vec::new(),
            scopes: None,
            account: None,
            detail: None,
            throttle: Throttle::default(),
            format: Vec::new(),
            control: None,
            both_live: true,
            params: BTreeMap::new(),
            secrets: BTreeSet::new(),
        });
        let mut verdicts = self.verdicts.unwrap_or_default();
        verdicts.extend(base.verdicts);
        let mut params = base.params;
        params.extend(self.params.unwrap_or_default());
        Provider {
            probe: self.probe.unwrap_or(base.probe),
            base_url: self.base_url.or(base.base_url),
            request: self.request.unwrap_or(base.request),
            verdicts,
            expiry: self.expiry.unwrap_or(base.expiry),
            scopes: self.scopes.or(base.scopes),
            account: self.account.or(base.account),
            detail: self.detail.or(base.detail),
            throttle: self.throttle.unwrap_or(base.throttle),
            format: self.format.unwrap_or(base.format),
            control: self.control.or(base.control),
            both_live: self.both_live.unwrap_or(base.both_live),
            params,
            secrets: self.secrets.unwrap_or(base.secrets),
        }
    }
}
