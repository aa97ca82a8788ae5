//! A dead-man's switch that hears of runs, as Healthchecks takes it
//! (<https://healthchecks.io/docs/http_api/>): `URL/start`, `URL`, `URL/fail`.
//!
//! A run that does not take place is not told: that is what such a switch is for.

use std::time::Duration;

use super::courier::{self, ATTEMPT, Courier};
use crate::{
    effect::{
        http::{Method, Request},
        process::Stopwatch,
        user,
    },
    id::ResourceName,
    notify::{address, outbox::file::Stored, sink::UrlSource},
    service::status::Outcome,
};

/// How often the end of a run is told, where that fails.
const TRIES: u32 = 3;

/// How long after the first try another is begun.
const PERSISTENCE: Duration = Duration::from_secs(5);

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// Whether we were asked to end, so that the service has neither done its work nor failed.
    pub interrupted: bool,
    /// What went wrong.
    pub error: String,
}

enum Fault {
    Passing(String),
    Lasting(String),
}

impl Courier<'_> {
    /// Tells that a run begins. That it cannot is told when it ends.
    pub async fn ping_start(&self) {
        if let Some(ping) = &self.service.ping {
            drop(self.ping(ping, Some("start"), Method::Get, None).await);
        }
    }

    async fn ping(
        &self,
        source: &UrlSource,
        step: Option<&str>,
        method: Method,
        body: Option<&[u8]>,
    ) -> Result<(), Fault> {
        let read = |name: &ResourceName| self.credentials.read(self.disk, name);
        let mut url =
            address::url(self.disk, source, user::effective(), &read).map_err(Fault::Lasting)?;
        if let Some(step) = step {
            url = url.below(step);
        }
        let request = Request {
            method,
            url: &url,
            headers: &[],
            body,
            roots: None,
            timeout: ATTEMPT,
            body_limit: 0,
        };
        match self.http.send(&request).await {
            Err(fault) => Err(Fault::Passing(fault.to_string())),
            Ok(response) => match response.status {
                200..=299 => Ok(()),
                status @ (300..=428 | 430..=499) => {
                    Err(Fault::Lasting(format!("it answered {status}")))
                }
                status => Err(Fault::Passing(format!("it answered {status}"))),
            },
        }
    }

    /// Tells how a run ended, a few times if need be, and remembers whether that worked. Returns what
    /// was in the way.
    pub(super) async fn ping_end(&self, ended: &Ended) -> Option<String> {
        let source = self.service.ping.as_ref()?;
        let (step, method, body) = match ended.outcome {
            Outcome::Success | Outcome::Degraded => (None, Method::Get, None),
            // Whoever waits for it hears by its silence.
            Outcome::Failed if ended.interrupted => return None,
            Outcome::Failed => {
                let text = super::message::clean(&ended.error);
                (Some("fail"), Method::Post, Some(text.into_bytes()))
            }
        };
        let watch = Stopwatch::start();
        let mut wait = Duration::from_secs(1);
        let mut tries = 0;
        let fault = loop {
            tries += 1;
            match self.ping(source, step, method, body.as_deref()).await {
                Ok(()) => break None,
                Err(Fault::Lasting(why)) => break Some(why),
                Err(Fault::Passing(why))
                    if tries == TRIES || watch.elapsed() > PERSISTENCE || self.is_wanted() =>
                {
                    break Some(why);
                }
                Err(Fault::Passing(_)) => {}
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        };
        let known = match courier::read(self.disk, self.layout, &self.service.name) {
            Stored::Good(outbox) => outbox.ping.is_some(),
            Stored::Damaged(_) | Stored::Newer(_) => false,
        };
        if fault.is_some() || known {
            let now = self.clock.now();
            let noted = fault.clone();
            self.update(|outbox| outbox.settle_ping(noted, now)).await;
        }
        fault.map(|why| format!("the ping was not delivered: {why}"))
    }
}
