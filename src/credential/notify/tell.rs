//! Keeping what is to be told of credentials, and sending it.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use futures_util::{StreamExt as _, stream};
use secrecy::SecretString;
use tokio::sync::Semaphore;

use super::{
    decide::{self, Look, News, Told},
    message::{Case, Message},
};
use crate::{
    credential::{backend, definition::Credential, facts::Facts, record::Record, scrub::Scrubber},
    effect::{
        clock::Clock,
        disk::{Disk, EntryKind},
        http::Http,
        process::{Limits, Stopwatch},
        user::Account,
    },
    id::{Address, Kind, ResourceName},
    layout::Layout,
    notify::{
        address,
        deliver::{Patience, Sender},
        outbox::{
            self,
            file::{self, Stored, Writer},
        },
        sink::Sink,
    },
    retry,
};

/// What is still to be told of a credential, and what others know of it.
pub type Outbox = outbox::Outbox<Message>;

/// An apply waits no longer than some ten seconds in all. What fails is for the next one.
const PATIENCE: Patience = Patience {
    attempt: Duration::from_secs(5),
    command: Limits {
        timeout: Duration::from_secs(5),
        grace: Duration::from_secs(1),
    },
    linger: Duration::ZERO,
    last_start: Duration::from_secs(4),
};

/// Of how many credentials others are told side by side.
const SIDE_BY_SIDE: usize = 16;

/// What is still to be told of a credential, as it is on the disk; changes nothing.
pub fn read(disk: &dyn Disk, layout: &Layout, name: &ResourceName) -> Stored<Message> {
    file::read(disk, &layout.secret(name))
}

/// A credential that was looked after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// Its name.
    pub name: ResourceName,
    /// Why it could not be renewed, where that was tried and has failed. That an issuer asks to be left
    /// alone, or does not answer, is no such failure.
    pub renewal: Option<String>,
}

/// What is kept and is to be sent.
#[derive(Debug, Default)]
pub struct Posted {
    due: Vec<Due>,
    warnings: Vec<String>,
}

impl Posted {
    /// Whether there is nothing to be sent or said.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty() && self.warnings.is_empty()
    }
}

/// What is to be sent of one credential.
#[derive(Debug)]
struct Due {
    name: ResourceName,
    dir: PathBuf,
    sinks: Vec<Sink>,
    /// What could not be kept, and so is told at once or not at all.
    unkept: Option<Outbox>,
}

/// Who tells others of credentials.
#[derive(Clone, Copy)]
pub struct Teller<'a> {
    /// The disk.
    pub disk: &'a dyn Disk,
    /// The time.
    pub clock: &'a dyn Clock,
    /// What draws follow from.
    pub seed: u64,
    /// The project's files.
    pub layout: &'a Layout,
    /// Whom it runs as.
    pub account: &'a Account,
    /// The host's name.
    pub host: &'a str,
}

impl Teller<'_> {
    /// Keeps what is news of some credentials, durably, to be sent later. It never fails; what is in
    /// the way is said when it is sent.
    ///
    /// Only when what was to be done is done and recorded, and while nobody else does anything: under
    /// the project's lock.
    pub async fn post(&self, looked: &[Looked]) -> Posted {
        let mut posted = Posted::default();
        let mut scrubber = None;
        for one in looked {
            // One that cannot be read is told of by whoever observes it.
            let known = backend::facts(self.disk, self.layout, &one.name, self.clock.now());
            let Ok(Some((credential, facts))) = known else {
                continue;
            };
            let due = self
                .post_one(
                    one,
                    &credential,
                    &facts,
                    &mut scrubber,
                    &mut posted.warnings,
                )
                .await;
            posted.due.extend(due);
        }
        posted
    }

    async fn post_one(
        &self,
        looked: &Looked,
        credential: &Credential,
        facts: &Facts,
        scrubber: &mut Option<Scrubber>,
        warnings: &mut Vec<String>,
    ) -> Option<Due> {
        let now = self.clock.now();
        let dir = self.layout.secret(&looked.name);
        if credential.notify.is_empty() {
            // Whoever hears of it later hears of what is news then.
            let _ = self.disk.remove(&file::path(&dir));
            return None;
        }
        let look = Look {
            credential,
            facts,
            renewal: looked.renewal.as_deref(),
            now,
        };
        let mut due = Due {
            name: looked.name.clone(),
            dir,
            sinks: credential.notify.clone(),
            unkept: None,
        };
        match file::read::<Message>(self.disk, &due.dir) {
            Stored::Good(outbox) => {
                let news = decide::decide(outbox.told.as_ref(), &look);
                let mut next = outbox.clone();
                next.keep_known(&due.sinks, false);
                next.told = Some(news.told);
                if news.events.is_empty() && next == outbox {
                    return (!outbox.is_quiet()).then_some(due);
                }
            }
            // It is set aside.
            Stored::Damaged(_) => {}
            Stored::Newer(version) => {
                warnings.push(format!(
                    "credential.{}: nothing is told of it: its outbox has version {version}, newer than this lorectl reads",
                    looked.name
                ));
                return None;
            }
        }
        let scrubber = scrubber.get_or_insert_with(|| self.scrubber());
        let writer = Writer {
            disk: self.disk,
            dir: &due.dir,
        };
        let updated = writer
            .update(now, |outbox: &mut Outbox| {
                let before = outbox.told.clone();
                let news = decide::decide(before.as_ref(), &look);
                let letters = self.letters(&look, before.as_ref(), &news, scrubber);
                for (sink, message) in letters {
                    outbox.push(sink, message, now);
                }
                outbox.keep_known(&credential.notify, false);
                outbox.told = Some(news.told);
            })
            .await;
        let of = |warning| format!("credential.{}: {warning}", looked.name);
        warnings.extend(updated.warnings.into_iter().map(of));
        due.unkept = (!updated.kept).then_some(updated.outbox);
        Some(due)
    }

    /// Who is told what.
    fn letters(
        &self,
        look: &Look<'_>,
        before: Option<&Told>,
        news: &News,
        scrubber: &Scrubber,
    ) -> Vec<(ResourceName, Message)> {
        let case = Case {
            credential: look.credential,
            host: self.host,
            at: look.now,
            before,
            news,
            scrubber,
        };
        let sinks = look.credential.notify.iter();
        let letters = sinks.filter_map(|sink| {
            let event = decide::heard(sink, &news.events, before)?;
            Some((sink.name.clone(), case.message(event)))
        });
        letters.collect()
    }

    /// Knows every value of the project, old ones and new ones too.
    fn scrubber(&self) -> Scrubber {
        let listed = self.disk.list(&self.layout.secrets()).unwrap_or_default();
        let names = listed.into_iter().filter_map(|(name, kind)| {
            let name = name.parse::<ResourceName>().ok();
            name.filter(|_| kind == EntryKind::Dir)
        });
        let values: Vec<(ResourceName, SecretString)> = names
            .filter_map(|name| Some((Record::read(self.disk, self.layout, &name).ok()??, name)))
            .flat_map(|(record, name)| {
                let all = record.generations.into_iter();
                all.map(move |one| (name.clone(), one.value.value().clone()))
            })
            .collect();
        Scrubber::new(values.iter().map(|(name, value)| (name, value)))
    }

    /// Sends what is due, side by side, within some ten seconds in all. Returns what was in the way, in
    /// sentences.
    ///
    /// Its process must have no children but those of the commands that it runs.
    pub async fn deliver(&self, posted: Posted) -> Vec<String> {
        let Posted { due, mut warnings } = posted;
        let (http, turn, watch) = (Http::default(), Semaphore::new(1), Stopwatch::start());
        let credential = |name: &ResourceName| self.value(name);
        let (http, turn, credential) = (&http, &turn, &credential);
        let all = due
            .into_iter()
            .zip(0_u64..)
            .map(|(due, number)| async move {
                let sender = Sender {
                    disk: self.disk,
                    clock: self.clock,
                    seed: retry::derive(self.seed, number),
                    dir: &due.dir,
                    sinks: &due.sinks,
                    pings: false,
                    home: &self.account.home,
                    credential,
                    http,
                    turn,
                    is_wanted: &|| false,
                    patience: PATIENCE,
                    watch,
                };
                (due.name, sender.deliver(due.unkept).await)
            });
        let mut said: BTreeMap<String, Vec<ResourceName>> = BTreeMap::new();
        let mut sent = std::pin::pin!(stream::iter(all).buffer_unordered(SIDE_BY_SIDE));
        while let Some((name, warnings)) = sent.next().await {
            for warning in warnings {
                said.entry(warning).or_default().push(name.clone());
            }
        }
        warnings.extend(said.into_iter().map(|(what, mut names)| {
            names.sort_unstable();
            match names.as_slice() {
                [one] => format!("credential.{one}: {what}"),
                all => format!("{what} (of {} credentials)", all.len()),
            }
        }));
        warnings
    }

    /// The value in use of a credential.
    fn value(&self, name: &ResourceName) -> address::Value {
        let address = Address::new(Kind::Credential, name.clone());
        match Record::read(self.disk, self.layout, name) {
            Ok(record) => (record.as_ref())
                .and_then(Record::current)
                .map(|one| one.value.value().clone())
                .ok_or_else(|| {
                    format!("{address} has no value; `lorectl credential list` tells why")
                }),
            Err(error) => Err(error.chain()),
        }
    }
}
