//! What of a credential's standing is news, and to whom: pure.

use serde::{Deserialize, Serialize};

use crate::{
    credential::{
        definition::Credential,
        facts::{Due, Facts, Standing, away, told_by},
        finding::Status,
        key::Fingerprint,
    },
    error::Code,
    id::Timestamp,
    notify::sink::{Event, Sink},
};

/// How a credential stands, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "CredentialState")]
pub enum State {
    /// There is a value, and nothing speaks against it.
    Provisioned,
    /// It ends soon.
    Expiring,
    /// It is live, and lacks a scope that is asked for.
    UnderScoped,
    /// There is none.
    Missing,
    /// It is not taken any more.
    Dead,
}

impl From<Standing> for State {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Provisioned => Self::Provisioned,
            Standing::Expiring => Self::Expiring,
            Standing::UnderScoped => Self::UnderScoped,
            Standing::Missing => Self::Missing,
            Standing::Dead(_) => Self::Dead,
        }
    }
}

/// A value, by what may be said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    /// Its number; 0 where there is none.
    pub generation: u64,
    /// What stands for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// When it ends, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// Something that is wrong, as far as it is told once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// The value of that number ends then, and nothing renews it in time.
    Ends {
        /// The value.
        generation: u64,
        /// When, UTC.
        at: Timestamp,
    },
    /// It could not be renewed.
    Renewal,
    /// Whether it was renewed cannot be told, and a person must help.
    Lost,
    /// It is not taken any more.
    Dead,
}

impl Wrong {
    /// What that is told as.
    pub const fn event(self) -> Event {
        match self {
            Self::Ends { .. } => Event::Expiring,
            Self::Renewal | Self::Lost | Self::Dead => Event::Failed,
        }
    }
}

/// By how much the same end may be told otherwise, in seconds: an issuer that says how long a value lives
/// on says another one each time.
const SAME_END: u64 = 300;

impl Wrong {
    /// Whether whoever was told of one knows the other.
    fn is_same(self, other: Self) -> bool {
        if let (
            Self::Ends { generation, at },
            Self::Ends {
                generation: of,
                at: then,
            },
        ) = (self, other)
        {
            return generation == of && at.seconds_since(then).unsigned_abs() <= SAME_END;
        }
        self == other
    }
}

/// That others were told of trouble which is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// When it was first seen, UTC.
    pub since: Timestamp,
    /// What was told of it, each once.
    pub told: Vec<Wrong>,
}

/// What others know of a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// How it stood when that was last known for sure.
    pub state: State,
    /// The value in use, once it was delivered.
    pub value: Value,
    /// The trouble that is not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

/// How a credential stands when what was to be done to it is done.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    /// What was applied.
    pub credential: &'a Credential,
    /// What is known of it.
    pub facts: &'a Facts,
    /// Why its renewal has just failed, where it has.
    pub renewal: Option<&'a str>,
    /// The instant, UTC.
    pub now: Timestamp,
}

/// What is to be told, and what others know when it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// What happened, the most telling event first; empty where nothing changed.
    pub events: Vec<Event>,
    /// What others know afterwards.
    pub told: Told,
    /// Since when something was wrong.
    pub since: Option<Timestamp>,
    /// The code and text of what is wrong, and what helps.
    pub error: Option<(Option<Code>, String)>,
}

/// What is news to those who know `before`; `None` is nothing yet, and then a value is none.
///
/// A finding that tells nothing (an issuer that asks to be left alone, or does not answer) is no news,
/// neither bad nor good. A value is new to others when it is delivered and nothing of that has failed.
pub fn decide(before: Option<&Told>, look: &Look<'_>) -> News {
    let facts = look.facts;
    let standing = facts.standing(look.credential, look.now);
    let wrong = wrong(look, standing);
    let value = Value {
        generation: facts.generation,
        fingerprint: facts.fingerprint.clone(),
        expires_at: facts.expiry.map(|expiry| expiry.at),
    };
    let mut told = before.cloned().unwrap_or_else(|| Told {
        state: standing.into(),
        value: value.clone(),
        trouble: None,
    });
    let mut events = Vec::new();
    for one in &wrong {
        let trouble = told.trouble.get_or_insert_with(|| Trouble {
            since: look.now,
            told: Vec::new(),
        });
        if !trouble.told.iter().any(|known| known.is_same(*one)) {
            trouble.told.push(*one);
            if !events.contains(&one.event()) {
                events.push(one.event());
            }
        }
    }
    let since = told.trouble.as_ref().map(|trouble| trouble.since);
    let is_sure = is_sure(look);
    if wrong.is_empty() && is_sure && !is_under_way(facts) && told.trouble.take().is_some() {
        events.push(Event::Recovered);
    }
    let is_failing = wrong.iter().any(|one| one.event() == Event::Failed);
    if !is_failing && !is_under_way(facts) && facts.generation > 0 {
        let is_new = told.value.generation != value.generation && told.value.generation > 0;
        if is_new && !is_brief(facts) {
            events.push(Event::Rotated);
        }
        told.value = value;
    }
    if is_sure || !wrong.is_empty() {
        told.state = standing.into();
    }
    News {
        events,
        told,
        since,
        error: error(look, standing, &wrong),
    }
}

/// A life, in seconds, under which a new value is no news: it comes with every run or so.
const BRIEF: i64 = 86_400;

fn is_brief(facts: &Facts) -> bool {
    let life = facts.obtained_at.zip(facts.expiry);
    life.is_some_and(|(begun, expiry)| expiry.at.seconds_since(begun) < BRIEF)
}

/// All that is wrong, the worst first.
fn wrong(look: &Look<'_>, standing: Standing) -> Vec<Wrong> {
    let facts = look.facts;
    let mut wrong = Vec::new();
    if matches!(standing, Standing::Dead(_)) {
        wrong.push(Wrong::Dead);
    }
    if facts.due == Some(Due::Lost) {
        wrong.push(Wrong::Lost);
    }
    if look.renewal.is_some() {
        wrong.push(Wrong::Renewal);
    }
    if let (Standing::Expiring, Some(expiry)) = (standing, facts.expiry) {
        // Half of the time in which it is to be renewed may pass: an issuer may be away for a while.
        let half = |at: Timestamp| at.plus_seconds(expiry.at.seconds_since(at) / 2);
        if facts.renew_at.is_none_or(|at| half(at) <= look.now) {
            wrong.push(Wrong::Ends {
                generation: facts.generation,
                at: expiry.at,
            });
        }
    }
    wrong
}

/// Whether what was last found tells whether the value is live.
fn is_sure(look: &Look<'_>) -> bool {
    let status = look.facts.finding.as_ref().map(|finding| finding.status);
    match status {
        None => look.credential.provider.is_none(),
        Some(Status::Throttled | Status::Error) => false,
        Some(
            Status::Live
            | Status::LiveUnderScoped
            | Status::NotImplemented
            | Status::Expired
            | Status::Revoked
            | Status::Rejected,
        ) => true,
    }
}

/// Whether a new value is still to be had, or to be delivered.
const fn is_under_way(facts: &Facts) -> bool {
    match facts.due {
        Some(Due::Asked | Due::Ends | Due::Dead | Due::Pending | Due::Lost | Due::Reload) => true,
        Some(Due::Revoke) | None => false,
    }
}

/// The worst that is wrong, in a sentence with what helps.
fn error(look: &Look<'_>, standing: Standing, wrong: &[Wrong]) -> Option<(Option<Code>, String)> {
    let source = look.credential.source.told();
    let by_hand = format!("put a new token into {source}, then `lorectl apply`");
    // One that signs its own renewal cannot when it is dead.
    let renews = match standing {
        Standing::Dead(_) => look.credential.source.renews(),
        Standing::Provisioned | Standing::Expiring | Standing::UnderScoped | Standing::Missing => {
            look.credential.renews()
        }
    };
    let help = if renews {
        "`lorectl apply` obtains another"
    } else {
        &by_hand
    };
    Some(match (wrong.first()?, standing) {
        (Wrong::Dead, Standing::Dead(status)) => {
            let (code, what) = match status {
                Status::Expired => (Code::TokenExpired, "it has expired"),
                Status::Revoked => (Code::TokenRevoked, "it was revoked"),
                Status::Rejected
                | Status::Live
                | Status::LiveUnderScoped
                | Status::Throttled
                | Status::NotImplemented
                | Status::Error => (Code::TokenRejected, "its issuer refuses it"),
            };
            let why = look.renewal.map(|why| format!(" ({why})"));
            let why = why.unwrap_or_default();
            (Some(code), format!("{what}{why}; {help}"))
        }
        (Wrong::Lost, _) => {
            let what = "the answer to its last rotation was lost, and it must not be sent again";
            (Some(Code::Held), format!("{what}; {by_hand}"))
        }
        (Wrong::Renewal, _) => {
            let why = look.renewal.unwrap_or_default();
            (Some(Code::ApplyFailed), format!("no new value: {why}"))
        }
        (Wrong::Dead | Wrong::Ends { .. }, _) => {
            let ends = look.facts.expiry.map_or_else(String::new, |expiry| {
                let (at, from) = (expiry.at, told_by(expiry.from));
                format!("it ends {at} ({}, says {from}); ", away(look.now, at))
            });
            (None, format!("{ends}{help}"))
        }
    })
}

/// What a sink is told of some events: the most telling of those that it hears of, if there is one.
/// `before` is what others knew.
///
/// A recovery is for who heard of what it is from, and for who asks for recoveries alone.
pub fn heard(sink: &Sink, events: &[Event], before: Option<&Told>) -> Option<Event> {
    let hears = |event: Event| sink.events.contains(&event);
    let concerned = || {
        let trouble = before.and_then(|told| told.trouble.as_ref());
        let mut told = trouble.iter().flat_map(|trouble| &trouble.told);
        let of_trouble = [Event::Failed, Event::Expiring];
        told.any(|one| hears(one.event())) || !of_trouble.into_iter().any(hears)
    };
    let mut events = events.iter().copied();
    events.find(|event| hears(*event) && (*event != Event::Recovered || concerned()))
}

#[cfg(test)]
mod tests;
