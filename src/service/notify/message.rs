//! What is told, and how it reads.

use serde::{Deserialize, Serialize};

use crate::{
    id::{ProjectName, ResourceName, Timestamp},
    notify::{Letter, sink::Event},
    service::{definition::Service, spec::secret, status::State},
};

/// The longest error text that is told, in bytes.
const LONGEST: usize = 1000;

/// What stands in the place of a secret.
const WITHHELD: &str = "***";

/// The version of [`Message`] that this binary writes.
pub const MESSAGE_VERSION: u32 = 1;

/// What a webhook gets as its body, and a command on its standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "OfRun")]
pub struct Message {
    /// The version of this format.
    pub version: u32,
    /// The same for the same event of the same run, however often it is sent.
    pub id: String,
    /// What happened.
    pub event: Event,
    /// The project.
    pub project: ProjectName,
    /// The service.
    pub service: ResourceName,
    /// The host that it runs on.
    pub host: String,
    /// When it happened, UTC.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The state of the service before: `idle`, `degraded`, `backoff`, `paused`, `half_open`.
    #[schemars(with = "String")]
    pub state_before: State,
    /// The state of the service since.
    #[schemars(with = "String")]
    pub state_after: State,
    /// The run.
    pub run_id: String,
    /// Since when something was wrong, UTC.
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
    /// What went wrong, for machines.
    pub error_code: Option<String>,
    /// What went wrong, for people, on one line of at most 1000 bytes.
    pub error: Option<String>,
    /// Transient failures in a row.
    pub consecutive_failures: u32,
    /// Before when it does not run again, UTC.
    #[schemars(with = "Option<String>")]
    pub next_retry_at: Option<Timestamp>,
}

/// What a message is made of, beside its event.
pub struct Case<'a> {
    /// The service.
    pub service: &'a Service,
    /// The host's name.
    pub host: &'a str,
    /// When the run ended.
    pub at: Timestamp,
    /// The states before and since.
    pub states: (State, State),
    /// The run.
    pub run_id: &'a str,
    /// Since when something was wrong.
    pub since: Option<Timestamp>,
    /// The code and text of its error.
    pub error: (Option<&'a str>, Option<&'a str>),
    /// Transient failures in a row.
    pub consecutive_failures: u32,
    /// Before when it does not run again.
    pub next_retry_at: Option<Timestamp>,
}

impl Case<'_> {
    /// The message of an event.
    pub fn message(&self, event: Event) -> Message {
        Message {
            version: MESSAGE_VERSION,
            id: format!("{}.{}", self.run_id, event.as_str()),
            event,
            project: self.service.project.clone(),
            service: self.service.name.clone(),
            host: clean(self.host),
            at: self.at,
            state_before: self.states.0,
            state_after: self.states.1,
            run_id: self.run_id.to_owned(),
            since: self.since,
            error_code: self.error.0.map(clean),
            error: self.error.1.map(clean),
            consecutive_failures: self.consecutive_failures,
            next_retry_at: self.next_retry_at,
        }
    }
}

/// A text that others may read: one line, of a bounded length, with no secret of a URL in it.
///
/// A job says what it likes of its own failure.
pub fn clean(text: &str) -> String {
    let mut kept = String::new();
    let mut from = 0;
    for secret in secret::in_urls(text) {
        kept.push_str(text.get(from..secret.start).unwrap_or_default());
        kept.push_str(WITHHELD);
        from = secret.end;
    }
    kept.push_str(text.get(from..).unwrap_or_default());
    let line: String = (kept.chars())
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let line = line.trim();
    let mut end = line.len().min(LONGEST);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.get(..end).unwrap_or_default().to_owned()
}

impl Letter for Message {
    /// It is in the status.
    type Told = ();

    fn id(&self) -> &str {
        &self.id
    }

    fn environment(&self) -> Vec<(&'static str, &str)> {
        vec![
            ("LORECTL_EVENT", self.event.as_str()),
            ("LORECTL_PROJECT", self.project.as_str()),
            ("LORECTL_SERVICE", self.service.as_str()),
            ("LORECTL_RUN_ID", &self.run_id),
        ]
    }

    fn text(&self) -> String {
        let (project, service, host) = (&self.project, &self.service, &self.host);
        let what = match self.event {
            Event::Failed => "failed",
            Event::Recovered => "recovered",
            Event::Degraded => "is degraded: an optional stage failed",
            Event::Paused => "is paused until somebody resumes it",
            Event::Breaker => "is stopped by its breaker",
            Event::Expiring => "has a credential that expires soon",
            Event::Aborted => "was aborted",
            Event::Rotated => "has a credential with a new value",
        };
        let mut text = format!("{project}/{service} on {host} {what}");
        let error = [&self.error_code, &self.error];
        let error: Vec<&str> = error.into_iter().flatten().map(String::as_str).collect();
        if !error.is_empty() {
            text.push_str(": ");
            text.push_str(&error.join(": "));
        }
        let mut more = Vec::new();
        if self.consecutive_failures > 1 {
            more.push(format!("{} failures in a row", self.consecutive_failures));
        }
        if let Some(since) = self.since.filter(|_| self.event == Event::Recovered) {
            more.push(format!("in trouble since {since}"));
        }
        if let Some(next) = self.next_retry_at {
            more.push(format!("next try at {next}"));
        }
        if !more.is_empty() {
            text.push_str(" (");
            text.push_str(&more.join(", "));
            text.push(')');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{notify::sink::NotifyFormat, service::fixture};
    use proptest::prelude::*;

    fn message(event: Event) -> Message {
        let service = fixture::service("sync", &["true"]);
        let case = Case {
            service: &service,
            host: "web1",
            at: "2026-02-09T10:00:00Z".parse().unwrap(),
            states: (State::Idle, State::Backoff),
            run_id: "19c-1",
            since: Some("2026-02-09T09:00:00Z".parse().unwrap()),
            error: (
                Some("EXIT_1"),
                Some("cannot reach <https://joe:pw@host/>\n\u{1b}[31m!"),
            ),
            consecutive_failures: 3,
            next_retry_at: Some("2026-02-09T10:30:00Z".parse().unwrap()),
        };
        case.message(event)
    }

    #[test]
    fn the_two_forms() {
        let json = String::from_utf8(message(Event::Failed).body(NotifyFormat::Json)).unwrap();
        assert_eq!(
            json,
            r#"{"version":1,"id":"19c-1.failed","event":"failed","project":"acme","service":"sync","host":"web1","at":"2026-02-09T10:00:00Z","state_before":"idle","state_after":"backoff","run_id":"19c-1","since":"2026-02-09T09:00:00Z","error_code":"EXIT_1","error":"cannot reach <https://***@host/>  [31m!","consecutive_failures":3,"next_retry_at":"2026-02-09T10:30:00Z"}"#
        );
        let slack = String::from_utf8(message(Event::Failed).body(NotifyFormat::Slack)).unwrap();
        assert_eq!(
            slack,
            r#"{"text":"acme/sync on web1 failed: EXIT_1: cannot reach &lt;https://***@host/&gt;  [31m! (3 failures in a row, next try at 2026-02-09T10:30:00Z)"}"#
        );
        let mut well = message(Event::Recovered);
        (well.error, well.error_code, well.next_retry_at) = (None, None, None);
        well.consecutive_failures = 0;
        assert_eq!(
            well.text(),
            "acme/sync on web1 recovered (in trouble since 2026-02-09T09:00:00Z)"
        );
    }

    proptest! {
        #[test]
        fn any_text_becomes_one_short_line(text in "(.|\n|\u{1b}|é){0,1500}") {
            let line = clean(&text);
            prop_assert!(line.len() <= LONGEST && !line.contains(char::is_control));
        }
    }
}
