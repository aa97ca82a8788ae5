//! What is told of a credential, and how it reads.

use serde::{Deserialize, Serialize};

use super::decide::{News, State, Told};
use crate::{
    credential::definition::Credential,
    id::{ProjectName, ResourceName, Timestamp},
    notify::{Letter, sink::Event},
    scrub::Scrubber,
    service::notify::message::{MESSAGE_VERSION, clean},
};

/// What a webhook gets as its body, and a command on its standard input. It holds no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "OfCredential")]
pub struct Message {
    /// The version of this format.
    pub version: u32,
    /// The same for the same event, however often it is sent.
    pub id: String,
    /// What happened.
    pub event: Event,
    /// The project.
    pub project: ProjectName,
    /// The credential.
    pub credential: ResourceName,
    /// The host that it was applied on.
    pub host: String,
    /// When it was seen, UTC.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// How it stood when others last heard of it: `provisioned`, `expiring`, `under_scoped`, `missing`,
    /// `dead`.
    pub state_before: State,
    /// How it stands since.
    pub state_after: State,
    /// Since when something was wrong, UTC.
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
    /// What is wrong, for machines.
    pub error_code: Option<String>,
    /// What is wrong, for people, on one line of at most 1000 bytes.
    pub error: Option<String>,
    /// The number of the value in use.
    pub generation: u64,
    /// What stands for it: equal ones are equal values of this project.
    pub fingerprint: Option<String>,
    /// When it ends, UTC.
    #[schemars(with = "Option<String>")]
    pub expires_at: Option<Timestamp>,
    /// What stands for the value that it took the place of, where it did.
    pub fingerprint_before: Option<String>,
    /// When that one ends or would have, UTC.
    #[schemars(with = "Option<String>")]
    pub expires_at_before: Option<Timestamp>,
}

/// What a message is made of, beside its event.
pub struct Case<'a> {
    /// The credential.
    pub credential: &'a Credential,
    /// The host's name.
    pub host: &'a str,
    /// When it was seen.
    pub at: Timestamp,
    /// What others knew.
    pub before: Option<&'a Told>,
    /// What they are to know.
    pub news: &'a News,
    /// Knows every value of the project.
    pub scrubber: &'a Scrubber,
}

impl Case<'_> {
    /// The message of an event.
    pub fn message(&self, event: Event) -> Message {
        let (credential, news) = (self.credential, self.news);
        let now = &news.told.value;
        let old = self.before.map(|told| &told.value);
        let replaced = old.filter(|old| old.generation != now.generation);
        let text = |text: &str| clean(&self.scrubber.text(text));
        let error = news.error.as_ref();
        Message {
            version: MESSAGE_VERSION,
            id: format!(
                "{}.{}.{}.{}",
                credential.id,
                now.generation,
                self.at.millis(),
                event.as_str()
            ),
            event,
            project: credential.project.clone(),
            credential: credential.name.clone(),
            host: text(self.host),
            at: self.at,
            state_before: self.before.map_or(news.told.state, |told| told.state),
            state_after: news.told.state,
            since: news.since,
            error_code: error
                .and_then(|(code, _)| *code)
                .map(|code| code.as_str().to_owned()),
            error: error.map(|(_, why)| text(why)),
            generation: now.generation,
            fingerprint: now.fingerprint.as_ref().map(ToString::to_string),
            expires_at: now.expires_at,
            fingerprint_before: replaced
                .and_then(|old| old.fingerprint.as_ref())
                .map(ToString::to_string),
            expires_at_before: replaced.and_then(|old| old.expires_at),
        }
    }
}

impl Letter for Message {
    type Told = Told;

    fn id(&self) -> &str {
        &self.id
    }

    fn environment(&self) -> Vec<(&'static str, &str)> {
        vec![
            ("LORECTL_EVENT", self.event.as_str()),
            ("LORECTL_PROJECT", self.project.as_str()),
            ("LORECTL_CREDENTIAL", self.credential.as_str()),
        ]
    }

    fn text(&self) -> String {
        let (project, name, host) = (&self.project, &self.credential, &self.host);
        let what = match self.event {
            Event::Failed => "failed",
            Event::Recovered => "recovered",
            Event::Expiring => "expires soon",
            Event::Rotated => "has a new value",
            // These are not of credentials.
            Event::Degraded | Event::Paused | Event::Breaker | Event::Aborted => {
                self.event.as_str()
            }
        };
        let mut text = format!("{project}/credential.{name} on {host} {what}");
        let error = [&self.error_code, &self.error];
        let error: Vec<&str> = error.into_iter().flatten().map(String::as_str).collect();
        if !error.is_empty() {
            text.push_str(": ");
            text.push_str(&error.join(": "));
        }
        let mut more = Vec::new();
        if let Some(since) = self.since.filter(|_| self.event == Event::Recovered) {
            more.push(format!("in trouble since {since}"));
        }
        if matches!(self.event, Event::Recovered | Event::Rotated) {
            if let (Some(new), Some(old)) = (&self.fingerprint, &self.fingerprint_before) {
                more.push(format!("{new} in the place of {old}"));
            }
            let end = |at: Timestamp| format!("ends {at}");
            more.extend(self.expires_at.map(end));
            let old = self.expires_at_before;
            more.extend(old.map(|at| format!("the old one: {at}")));
        }
        if !more.is_empty() {
            text.push_str(" (");
            text.push_str(&more.join(", "));
            text.push(')');
        }
        text
    }
}
