//! What an answer means: a pure function of the table, the answer, what is wanted, and the time.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::{
    shown::Echo,
    table::{
        ExpiryRule, HeaderIs, JsonIs, Meaning, Provider, Scalar, ScopeRule, Throttle, TimeFormat,
        Unlisted, Verdict, Via,
    },
    time::{JwtEnd, jwt_end},
};
use crate::{
    credential::finding::{Expiry, Finding, Provenance, Status},
    effect::http::http_date,
    id::Timestamp,
};

/// The longest that an issuer can make us wait, in seconds.
const LONGEST_WAIT: i64 = 86_400;

/// What came for a token.
pub struct Answer<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The headers that are text.
    pub headers: Vec<(&'a str, &'a str)>,
    /// The body.
    pub body: &'a [u8],
    /// Whether that is all of it.
    pub whole: bool,
    /// The token that was asked about.
    pub token: &'a SecretString,
    /// What was sent beside it.
    pub secrets: &'a BTreeMap<String, SecretString>,
}

impl Answer<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter();
        let (_, value) = named.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(value)
    }

    pub(super) fn json(&self) -> Option<Value> {
        if self.whole {
            serde_json::from_slice(self.body).ok()
        } else {
            None
        }
    }

    fn is_html(&self, json: Option<&Value>) -> bool {
        let text = self.body.trim_ascii_start();
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let said = || self.header("content-type");
        let is_said = || said().is_some_and(|kind| contains(kind, "html"));
        text.starts_with(b"<") || (json.is_none() && !text.is_empty() && is_said())
    }

    fn issuer_time(&self) -> Option<Timestamp> {
        http_date(self.header("date")?)
    }

    pub(super) fn echo(&self) -> Echo<'_> {
        Echo::of(std::iter::once(self.token).chain(self.secrets.values()))
    }
}

fn contains(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}

pub(super) fn there<'v>(json: &'v Value, at: &str) -> Option<&'v Value> {
    let found = match (json, at.strip_prefix('/')) {
        // Most are so, and a pointer is taken to pieces each time.
        (Value::Object(map), Some(key)) if !key.contains(['/', '~']) => map.get(key),
        _ => json.pointer(at),
    };
    found.filter(|value| !value.is_null())
}

impl HeaderIs {
    fn fits(&self, answer: &Answer<'_>) -> bool {
        let Some(value) = answer.header(&self.name) else {
            return false;
        };
        let is = self.is.as_ref();
        let part = self.contains.as_ref();
        is.is_none_or(|is| value.trim().eq_ignore_ascii_case(is))
            && part.is_none_or(|part| contains(value, part))
    }
}

impl Scalar {
    fn fits(&self, value: &Value) -> bool {
        match self {
            Self::Bool(wanted) => value.as_bool() == Some(*wanted),
            Self::Number(wanted) => value.as_i64() == Some(*wanted),
            Self::Text(wanted) => value.as_str() == Some(wanted),
        }
    }
}

impl JsonIs {
    fn fits(&self, json: &Value) -> bool {
        let value = there(json, &self.at);
        let is = (self.is.as_ref()).is_none_or(|is| value.is_some_and(|value| is.fits(value)));
        let part = self.contains.as_ref().is_none_or(|part| {
            let text = value.and_then(Value::as_str);
            text.is_some_and(|text| contains(text, part))
        });
        // Nothing is missing in what is no object.
        let exists = (self.exists)
            .is_none_or(|exists| exists == value.is_some() && (exists || json.is_object()));
        is && part && exists
    }
}

impl Verdict {
    fn fits(&self, answer: &Answer<'_>, json: Option<&Value>, is_html: bool) -> bool {
        let says_something = match self.is {
            Meaning::Throttled | Meaning::Error => true,
            Meaning::Live | Meaning::Expired | Meaning::Revoked | Meaning::Rejected => !is_html,
        };
        says_something
            && (self.status.is_empty() || self.status.contains(&answer.status))
            && self.headers.iter().all(|header| header.fits(answer))
            && (self.json.iter()).all(|place| json.is_some_and(|json| place.fits(json)))
            && (self.text.as_ref())
                .is_none_or(|text| contains(&String::from_utf8_lossy(answer.body), text))
            && (!self.blank || answer.body.trim_ascii().is_empty())
    }
}

impl Provider {
    /// What an answer means. It holds nothing of the answer's text but the names of scopes and of the
    /// account, and these only where they hold nothing of what was sent.
    pub fn judge(&self, answer: &Answer<'_>, wanted: &BTreeSet<String>, now: Timestamp) -> Finding {
        let json = answer.json();
        let is_html = answer.is_html(json.as_ref());
        let mut verdicts = self.verdicts.iter();
        let verdict = verdicts.find(|verdict| verdict.fits(answer, json.as_ref(), is_html));
        let mut finding = match verdict {
            None => unknown(answer, is_html, now),
            Some(verdict) => {
                let mut finding = Finding::new(verdict.is.into(), now);
                finding.detail.clone_from(&verdict.detail);
                finding
            }
        };
        finding.issuer_time = answer.issuer_time();
        if finding.status == Status::Throttled {
            finding.retry_at = Some(self.throttle.retry_at(answer, now));
        }
        if !finding.status.is_live() && !finding.status.is_dead() {
            return finding;
        }
        if finding.status.is_live() {
            let echo = answer.echo();
            let scopes = self.scopes.as_ref();
            finding.scopes =
                scopes.and_then(|rule| rule.read(answer, json.as_ref(), wanted, &echo));
            finding.account = (self.account.as_ref())
                .and_then(|at| there(json.as_ref()?, at))
                .and_then(|value| echo.shown(value));
            let none = BTreeSet::new();
            scoped(
                &mut finding,
                verdict.map_or(&none, |verdict| &verdict.lacks),
                wanted,
            );
        }
        end(&self.expiry, &mut finding, answer, json.as_ref());
        finding
    }

    /// What can be said of a token without asking anyone: a certificate's dates, and the `exp` of one that
    /// nobody can be asked about. `None` where there is an issuer to ask.
    pub fn judge_alone(&self, token: &SecretString, now: Timestamp) -> Option<Finding> {
        match self.probe {
            Via::Http => None,
            Via::X509 => {
                let pem = token.expose_secret().as_bytes();
                Some(super::certificate::judge(pem, now))
            }
            Via::None => {
                let mut finding = Finding::new(Status::NotImplemented, now);
                if self.expiry.iter().any(|rule| rule.jwt)
                    && let JwtEnd::At(at) = jwt_end(token.expose_secret())
                {
                    finding.expiry = Some(Expiry {
                        at,
                        from: Provenance::Jwt,
                    });
                    if at <= now {
                        finding.status = Status::Expired;
                        finding.detail = Some("its own exp has passed".to_owned());
                    }
                }
                Some(finding)
            }
        }
    }
}

/// Puts in when a token ends.
pub(super) fn end(
    rules: &[ExpiryRule],
    finding: &mut Finding,
    answer: &Answer<'_>,
    json: Option<&Value>,
) {
    let now = finding.probed_at;
    let mut rules = rules.iter();
    match rules.find_map(|rule| rule.read(answer, json, now)) {
        Some(Ok(expiry)) => {
            finding.expiry = Some(expiry);
            // The issuer's own clock, where it says it.
            let ended = expiry.at <= finding.issuer_time.unwrap_or(now);
            if finding.status == Status::Rejected && ended {
                finding.status = Status::Expired;
                finding.detail = Some("it is refused, and its end has passed".to_owned());
            }
        }
        Some(Err(place)) if finding.status.is_live() => {
            finding.status = Status::Error;
            finding.detail = Some(format!(
                "it is taken, and when it ends cannot be read from {place}"
            ));
        }
        None | Some(Err(_)) => {}
    }
}

impl From<Meaning> for Status {
    fn from(meaning: Meaning) -> Self {
        match meaning {
            Meaning::Live => Self::Live,
            Meaning::Expired => Self::Expired,
            Meaning::Revoked => Self::Revoked,
            Meaning::Rejected => Self::Rejected,
            Meaning::Throttled => Self::Throttled,
            Meaning::Error => Self::Error,
        }
    }
}

/// What an answer means that the table does not know.
fn unknown(answer: &Answer<'_>, is_html: bool, now: Timestamp) -> Finding {
    let status = answer.status;
    let detail = match status {
        429 => return Finding::new(Status::Throttled, now),
        300..=399 => {
            format!(
                "it answers with a redirect, which is not followed (HTTP {status}); see `base_url`"
            )
        }
        500..=599 => format!("the issuer fails (HTTP {status})"),
        _ if !answer.whole => format!("its answer is too long (HTTP {status})"),
        _ if is_html => {
            format!("it answers with a page of HTML (HTTP {status}); see `base_url`")
        }
        _ => format!("its answer is none that this provider is known to give (HTTP {status})"),
    };
    Finding::new(Status::Error, now).because(detail)
}

/// Makes of a live token an under-scoped one, if it lacks what is wanted.
pub(super) fn scoped(finding: &mut Finding, lacks: &BTreeSet<String>, wanted: &BTreeSet<String>) {
    let mut missing: BTreeSet<&str> = finding.missing(wanted).into_iter().collect();
    missing.extend(lacks.intersection(wanted).map(String::as_str));
    if missing.is_empty() {
        return;
    }
    let missing: Vec<String> = missing.iter().map(|scope| format!("`{scope}`")).collect();
    let word = if missing.len() == 1 {
        "scope"
    } else {
        "scopes"
    };
    let detail = format!("it lacks the {word} {}", missing.join(", "));
    finding.status = Status::LiveUnderScoped;
    finding.detail = Some(detail);
}

impl Unlisted {
    fn fits(&self, json: Option<&Value>) -> bool {
        let value = json.and_then(|json| there(json, &self.at));
        value.is_some_and(|value| self.is.fits(value))
    }
}

impl ScopeRule {
    /// The names of scopes in an array's item: the item itself, or its parts.
    fn name(&self, item: &Value) -> Option<String> {
        if self.each.is_empty() {
            return Some(item.as_str()?.to_owned());
        }
        let parts = self.each.iter().map(|at| there(item, at)?.as_str());
        Some(parts.collect::<Option<Vec<&str>>>()?.join(":"))
    }

    pub(super) fn read(
        &self,
        answer: &Answer<'_>,
        json: Option<&Value>,
        wanted: &BTreeSet<String>,
        echo: &Echo<'_>,
    ) -> Option<BTreeSet<String>> {
        let header = self.header.as_ref().and_then(|name| answer.header(name));
        let place = (self.json.as_ref()).and_then(|at| there(json?, at));
        let words: Vec<String> = match (header.or(place.and_then(Value::as_str)), place) {
            (Some(text), _) => {
                let words = text.split([',', ' ', '\t']).map(str::trim);
                words.map(ToOwned::to_owned).collect()
            }
            (None, Some(Value::Array(items))) => {
                let names = items.iter().map(|item| self.name(item));
                names.collect::<Option<_>>()?
            }
            (None, None) => {
                let known = self.unlisted.iter().find(|one| one.fits(json))?;
                known.scopes.iter().cloned().collect()
            }
            (None, Some(_)) => return None,
        };
        let words = words.iter().filter(|word| !word.is_empty());
        let mut scopes: BTreeSet<String> = words.filter_map(|word| echo.text(word)).collect();
        // What is wanted and comes with another is there.
        let mut reached: Vec<String> = scopes.iter().cloned().collect();
        let mut seen = scopes.clone();
        while let Some(scope) = reached.pop() {
            for included in self.includes.get(&scope).into_iter().flatten() {
                if wanted.contains(included) {
                    scopes.insert(included.clone());
                }
                if seen.insert(included.clone()) {
                    reached.push(included.clone());
                }
            }
        }
        Some(scopes)
    }
}

impl ExpiryRule {
    /// The end that it leads to; `Err` is the place of one that cannot be read.
    fn read(
        &self,
        answer: &Answer<'_>,
        json: Option<&Value>,
        now: Timestamp,
    ) -> Option<Result<Expiry, String>> {
        if self.jwt {
            return match jwt_end(answer.token.expose_secret()) {
                JwtEnd::Unsaid => None,
                JwtEnd::At(at) => Some(Ok(Expiry {
                    at,
                    from: Provenance::Jwt,
                })),
                JwtEnd::Unreadable => Some(Err("its own `exp`".to_owned())),
            };
        }
        let (text, from) = match (&self.header, &self.json) {
            (Some(name), _) => (Some(answer.header(name)?.into()), Provenance::Header),
            (None, Some(at)) => {
                let text: Option<Cow<'_, str>> = match there(json?, at)? {
                    Value::String(text) => Some(text.into()),
                    Value::Number(number) => Some(number.to_string().into()),
                    _ => None,
                };
                (text, Provenance::Body)
            }
            (None, None) => return None,
        };
        let place = || match (&self.header, &self.json) {
            (Some(name), _) => format!("the header `{name}`"),
            (None, at) => format!("`{}` of the answer", at.as_deref().unwrap_or_default()),
        };
        let Some(text) = text else {
            return Some(Err(place()));
        };
        // A header that says nothing is as good as none; a place of the body that does is no end.
        let is_unsaid = self.header.is_some() && text.trim().is_empty();
        if is_unsaid || self.never.iter().any(|never| never == text.trim()) {
            return None;
        }
        let at = self
            .formats
            .iter()
            .find_map(|format| format.read(&text, now));
        Some(at.map(|at| Expiry { at, from }).ok_or_else(place))
    }
}

impl Throttle {
    fn retry_at(&self, answer: &Answer<'_>, now: Timestamp) -> Timestamp {
        // What an issuer says by its own clock is told by ours.
        let ahead = answer.issuer_time().map_or(0, |at| at.seconds_since(now));
        let read = |text: &str, format: TimeFormat| {
            let at = format.read(text, now)?;
            Some(match format {
                TimeFormat::Seconds => at,
                TimeFormat::Date
                | TimeFormat::Rfc3339
                | TimeFormat::Epoch
                | TimeFormat::Millis
                | TimeFormat::GitHub
                | TimeFormat::Http => at.plus_seconds(-ahead),
            })
        };
        let after = answer.header("retry-after").and_then(|text| {
            read(text, TimeFormat::Seconds).or_else(|| read(text, TimeFormat::Http))
        });
        let reset = || {
            let counts = |remaining: &String| answer.header(remaining).map(str::trim) == Some("0");
            (self.reset.iter())
                .filter(|rule| rule.remaining.as_ref().is_none_or(counts))
                .find_map(|rule| read(answer.header(&rule.header)?, rule.format))
        };
        (after.or_else(reset))
            .filter(|at| *at > now)
            .unwrap_or_else(|| now.plus_seconds(self.wait.signed()))
            .min(now.plus_seconds(LONGEST_WAIT))
    }
}
