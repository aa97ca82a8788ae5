//! What is still to be told: `outbox.json`, and what became of each try.
//!
//! That of a service is in its `data/`, and there only while something waits or went wrong, so that a
//! service whose sinks are well costs a wake-up no more than a look whether it is. It belongs to the
//! service's user, so whoever else reads it takes it for hostile input. That of a credential is beside
//! its value, and says too what others know of it, so that one write keeps both.

pub mod file;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Letter, sink::Sink};
use crate::{
    id::{ResourceName, Seconds, Timestamp},
    retry::{self, Growing},
};

/// The version of `outbox.json` that this binary writes and the newest that it reads.
pub const OUTBOX_VERSION: u32 = 1;

/// The most that waits; when more comes, the oldest is given up.
pub const MOST: usize = 64;

/// When a notification is sent again.
pub const POLICY: Growing = Growing {
    first: Seconds(1),
    cap: Seconds(3600),
    spread: 20,
};

/// A notification that was not delivered to one sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting<M> {
    /// To whom.
    pub sink: ResourceName,
    /// What.
    pub message: M,
    /// How often it was tried.
    #[serde(default)]
    pub attempts: u32,
    /// When it is tried next, UTC.
    pub next_try: Timestamp,
    /// Why the last try failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

impl<M: Letter> Waiting<M> {
    /// Whether it is to be tried now.
    pub fn is_due(&self, now: Timestamp) -> bool {
        !POLICY.is_waiting(self.next_try, now)
    }

    fn is(&self, sink: &ResourceName, id: &str) -> bool {
        self.sink == *sink && self.message.id() == id
    }
}

/// That a sink, or the ping, failed when it was last tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Why.
    pub error: String,
    /// When, UTC.
    pub at: Timestamp,
    /// How many notifications were given up since it last worked.
    #[serde(default)]
    pub given_up: u64,
}

/// The whole of `outbox.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(serialize = "", deserialize = ""))]
pub struct Outbox<M: Letter> {
    /// The version of this format.
    pub outbox_version: u32,
    /// What waits, in the order in which it happened.
    #[serde(default)]
    pub waiting: Vec<Waiting<M>>,
    /// The sinks that failed when they were last tried.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub faults: BTreeMap<ResourceName, Fault>,
    /// The same of the ping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ping: Option<Fault>,
    /// What others know, where nothing else says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<M::Told>,
}

impl<M: Letter> Default for Outbox<M> {
    fn default() -> Self {
        Self {
            outbox_version: OUTBOX_VERSION,
            waiting: Vec::new(),
            faults: BTreeMap::new(),
            ping: None,
            told: None,
        }
    }
}

/// What became of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// It was taken.
    Delivered,
    /// It was not, and may be later; not before an instant that the other side names.
    Later(String, Option<Timestamp>),
    /// It never will be.
    Never(String),
}

impl<M: Letter> Outbox<M> {
    /// Whether it has nothing to say, so that no file is needed.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
            && self.faults.is_empty()
            && self.ping.is_none()
            && self.told.is_none()
    }

    /// Whether nothing waits to be sent.
    pub fn is_quiet(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Adds what is to be told; what waits already, by its id, is not added again.
    pub fn push(&mut self, sink: ResourceName, message: M, now: Timestamp) {
        let mut known = self.waiting.iter();
        if known.any(|known| known.is(&sink, message.id())) {
            return;
        }
        self.waiting.push(Waiting {
            sink,
            message,
            attempts: 0,
            next_try: now,
            last_error: None,
        });
        while self.waiting.len() > MOST {
            let oldest = self.waiting.remove(0);
            let error = oldest.last_error.unwrap_or_default();
            self.give_up(oldest.sink, format!("too much waited; {error}"), now);
        }
    }

    fn give_up(&mut self, sink: ResourceName, error: String, now: Timestamp) {
        let fault = self.fault(sink, error, now);
        fault.given_up = fault.given_up.saturating_add(1);
    }

    fn fault(&mut self, sink: ResourceName, error: String, now: Timestamp) -> &mut Fault {
        let fault = self.faults.entry(sink).or_insert_with(|| Fault {
            error: String::new(),
            at: now,
            given_up: 0,
        });
        (fault.error, fault.at) = (error, now);
        fault
    }

    /// What is to be tried now: for each sink its oldest, if its time has come. What a sink has not
    /// heard yet goes before what happened later, so that nobody hears of a recovery first.
    pub fn due(&self, now: Timestamp) -> Vec<&Waiting<M>> {
        self.heads().filter(|waiting| waiting.is_due(now)).collect()
    }

    fn heads(&self) -> impl Iterator<Item = &Waiting<M>> {
        self.waiting.iter().enumerate().filter_map(|(index, own)| {
            let before = self.waiting.iter().take(index);
            let first = before.into_iter().all(|other| other.sink != own.sink);
            first.then_some(own)
        })
    }

    /// When something is tried next.
    pub fn next_try(&self) -> Option<Timestamp> {
        self.heads().map(|waiting| waiting.next_try).min()
    }

    /// Records what became of a try of the message with that id. Returns the wait, if there is one.
    pub fn settle(
        &mut self,
        sink: &ResourceName,
        id: &str,
        attempt: Attempt,
        now: Timestamp,
        seed: u64,
    ) {
        let at = self.waiting.iter().position(|known| known.is(sink, id));
        match attempt {
            Attempt::Delivered => {
                self.faults.remove(sink);
                if let Some(at) = at {
                    self.waiting.remove(at);
                }
            }
            Attempt::Never(error) => {
                self.give_up(sink.clone(), error, now);
                if let Some(at) = at {
                    self.waiting.remove(at);
                }
            }
            Attempt::Later(error, not_before) => {
                self.fault(sink.clone(), error.clone(), now);
                if let Some(waiting) = at.and_then(|at| self.waiting.get_mut(at)) {
                    waiting.attempts = waiting.attempts.saturating_add(1);
                    let seed = retry::derive(seed, u64::from(waiting.attempts));
                    waiting.next_try = POLICY.next_try(waiting.attempts, now, not_before, seed);
                    waiting.last_error = Some(error);
                }
            }
        }
    }

    /// Records what became of a ping.
    pub fn settle_ping(&mut self, fault: Option<String>, now: Timestamp) {
        self.ping = fault.map(|error| Fault {
            error,
            at: now,
            given_up: 0,
        });
    }

    /// Forgets what the definition does not name any more.
    pub fn keep_known(&mut self, sinks: &[Sink], ping: bool) {
        let known = |name: &ResourceName| sinks.iter().any(|sink| sink.name == *name);
        self.waiting.retain(|waiting| known(&waiting.sink));
        self.faults.retain(|name, _| known(name));
        if !ping {
            self.ping = None;
        }
    }

    /// Whether the message with that id waits for someone.
    pub fn holds(&self, id: &str) -> bool {
        let mut waiting = self.waiting.iter();
        waiting.any(|waiting| waiting.message.id() == id)
    }
}

#[cfg(test)]
mod tests;
