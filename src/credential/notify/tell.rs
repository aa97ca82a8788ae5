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
    credential::{backend, record::Record, setback::Issuers, source::foreign_program},
    effect::{
        clock::Clock,
        disk::{Disk, Durability, EntryKind},
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
    scrub::Scrubber,
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

/// What became of one look.
enum Kept {
    /// Something waits to be sent.
    Due(Box<Due>),
    /// What others know was written, and nothing waits.
    Quiet,
    /// Nothing was written, and nothing waits.
    Nothing,
}

fn knows_no_trouble(outbox: &Outbox) -> bool {
    let told = outbox.told.as_ref();
    told.is_none_or(|told| told.trouble.is_none())
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
        let (mut scrubber, mut is_any_quiet) = (None, false);
        let issuers = Issuers::new(self.disk, self.layout);
        for one in looked {
            // One that cannot be read is told of by whoever observes it.
            let now = self.clock.now();
            let known = backend::facts(self.disk, self.layout, &issuers, &one.name, now);
            let Ok(Some((credential, facts))) = known else {
                continue;
            };
            let look = Look {
                credential: &credential,
                facts: &facts,
                renewal: one.renewal.as_deref(),
                now: self.clock.now(),
            };
            let kept = self.post_one(&look, &mut scrubber, &mut posted.warnings);
            match kept.await {
                Kept::Due(due) => posted.due.push(*due),
                Kept::Quiet => is_any_quiet = true,
                Kept::Nothing => {}
            }
        }
        if is_any_quiet {
            // What a failure of the power would lose is no more than that all is well.
            let _ = self.disk.sync_fs(&self.layout.secrets());
        }
        posted
    }

    async fn post_one(
        &self,
        look: &Look<'_>,
        scrubber: &mut Option<Scrubber>,
        warnings: &mut Vec<String>,
    ) -> Kept {
        let (name, sinks) = (&look.credential.name, &look.credential.notify);
        let dir = self.layout.secret(name);
        if sinks.is_empty() {
            // Whoever hears of it later hears of what is news then.
            let _ = self.disk.remove(&file::path(&dir));
            return Kept::Nothing;
        }
        let mut due = Due {
            name: name.clone(),
            dir,
            sinks: sinks.clone(),
            unkept: None,
        };
        let mut is_quiet = false;
        match file::read::<Message>(self.disk, &due.dir) {
            Stored::Good(outbox) => {
                let news = decide::decide(outbox.told.as_ref(), look);
                let mut next = outbox.clone();
                next.keep_known(sinks, false);
                next.told = Some(news.told);
                if news.events.is_empty() && next == outbox {
                    return if outbox.is_quiet() {
                        Kept::Nothing
                    } else {
                        Kept::Due(Box::new(due))
                    };
                }
                is_quiet = news.events.is_empty()
                    && next.is_quiet()
                    && [&outbox, &next].into_iter().all(knows_no_trouble);
            }
            // It is set aside.
            Stored::Damaged(_) => {}
            Stored::Newer(version) => {
                warnings.push(format!(
                    "credential.{name}: nothing is told of it: its outbox has version {version}, newer than this lorectl reads"
                ));
                return Kept::Nothing;
            }
        }
        if !is_quiet && scrubber.is_none() {
            *scrubber = Some(self.scrubber());
        }
        let scrubber = scrubber.as_ref();
        let writer = Writer {
            disk: self.disk,
            dir: &due.dir,
            // A thousand of which all is well are made durable together.
            durability: if is_quiet {
                Durability::Batch
            } else {
                Durability::Now
            },
        };
        let updated = writer
            .update(look.now, |outbox: &mut Outbox| {
                let before = outbox.told.clone();
                let news = decide::decide(before.as_ref(), look);
                let Some(scrubber) = scrubber else {
                    // Another was faster; what is news since is told at the next look.
                    if news.events.is_empty() {
                        outbox.told = Some(news.told);
                    }
                    return;
                };
                for (sink, message) in self.letters(look, before.as_ref(), &news, scrubber) {
                    outbox.push(sink, message, look.now);
                }
                outbox.keep_known(sinks, false);
                outbox.told = Some(news.told);
            })
            .await;
        let of = |warning| format!("credential.{name}: {warning}");
        warnings.extend(updated.warnings.into_iter().map(of));
        if updated.outbox.is_quiet() {
            return Kept::Quiet;
        }
        due.unkept = (!updated.kept).then_some(updated.outbox);
        Kept::Due(Box::new(due))
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
                    distrusts: &|program| foreign_program(self.disk, program),
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
