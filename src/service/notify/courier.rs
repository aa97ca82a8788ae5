//! Who tells others of the runs of one service.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use tokio::sync::Semaphore;

use super::{
    decide::{self, Trouble},
    message::{Case, Message},
    ping::Ended,
};
use crate::{
    effect::{
        clock::Clock,
        disk::{Disk, Durability},
        http::Http,
        process::{Limits, Stopwatch},
        user::Account,
    },
    id::ResourceName,
    layout::Layout,
    notify::{
        deliver::{Patience, Sender},
        outbox::{
            self,
            file::{self, Stored, Writer},
        },
        sink::Event,
    },
    service::{
        definition::Service,
        run::{credentials::Credentials, request},
    },
};

/// What is still to be told of a service.
pub type Outbox = outbox::Outbox<Message>;

/// How long one request may take.
pub const ATTEMPT: Duration = Duration::from_secs(10);

/// A unit gives a run a minute beyond its stages. What fails longer is for the next wake-up.
const PATIENCE: Patience = Patience {
    attempt: ATTEMPT,
    command: Limits {
        timeout: Duration::from_secs(20),
        grace: Duration::from_secs(2),
    },
    linger: Duration::from_secs(5),
    last_start: Duration::from_secs(15),
};

/// What is still to be told of a service, as it is on the disk; changes nothing.
pub fn read(disk: &dyn Disk, layout: &Layout, name: &ResourceName) -> Stored<Message> {
    file::read(disk, &layout.data(name))
}

/// Who tells others of one service, for as long as a runner lives.
pub struct Courier<'a> {
    /// The disk.
    pub disk: &'a dyn Disk,
    /// The time.
    pub clock: &'a dyn Clock,
    /// What draws follow from.
    pub seed: u64,
    /// The project's files.
    pub layout: &'a Layout,
    /// The service.
    pub service: &'a Service,
    /// Whom it runs as, and we with it.
    pub account: &'a Account,
    /// What its run knows of its credentials.
    pub credentials: &'a Credentials,
    /// Sends requests.
    pub http: Http,
    /// How the run ended that is to be told to the dead-man's switch.
    pub ended: Cell<Option<Ended>>,
    /// What could not be kept, and so is told at once or not at all.
    pub unkept: RefCell<Option<Outbox>>,
}

impl<'a> Courier<'a> {
    /// A courier who has said nothing yet.
    pub fn new(
        disk: &'a dyn Disk,
        clock: &'a dyn Clock,
        seed: u64,
        layout: &'a Layout,
        service: &'a Service,
        account: &'a Account,
        credentials: &'a Credentials,
    ) -> Self {
        Self {
            disk,
            clock,
            seed,
            layout,
            service,
            account,
            credentials,
            http: Http::default(),
            ended: Cell::new(None),
            unkept: RefCell::new(None),
        }
    }

    /// Changes what is kept. Returns what it came to.
    pub(super) async fn update(&self, change: impl FnOnce(&mut Outbox)) -> file::Updated<Message> {
        let dir = self.layout.data(&self.service.name);
        let writer = Writer {
            disk: self.disk,
            dir: &dir,
            durability: Durability::Now,
        };
        writer.update(self.clock.now(), change).await
    }

    /// Keeps what these events mean to each sink, durably, to be delivered later; `trouble` is that
    /// before them. Returns what was in the way.
    pub async fn post(
        &self,
        case: &Case<'_>,
        events: &[Event],
        trouble: Option<&Trouble>,
    ) -> Vec<String> {
        let sinks = self.service.notify.iter();
        let letters: Vec<(ResourceName, Message)> = sinks
            .filter_map(|sink| {
                let event = decide::told(sink, events, trouble)?;
                Some((sink.name.clone(), case.message(event)))
            })
            .collect();
        if letters.is_empty() {
            return Vec::new();
        }
        let now = self.clock.now();
        let updated = self
            .update(|outbox| {
                for (sink, message) in letters {
                    outbox.push(sink, message, now);
                }
            })
            .await;
        if !updated.kept {
            *self.unkept.borrow_mut() = Some(updated.outbox);
        }
        updated.warnings
    }

    /// Whether the end of a run waits to be told.
    pub fn tells_of(&self, run_id: &str) -> bool {
        let id = |event: &Event| format!("{run_id}.{}", event.as_str());
        match read(self.disk, self.layout, &self.service.name) {
            Stored::Good(outbox) => {
                (Event::OF_SERVICES.iter()).any(|event| outbox.holds(&id(event)))
            }
            Stored::Damaged(_) | Stored::Newer(_) => false,
        }
    }

    /// Tells the dead-man's switch how a run ended, and delivers what is due. Returns what was in the
    /// way, in sentences.
    ///
    /// Its process must have no children but those of the commands that it runs.
    pub async fn deliver(&self) -> Vec<String> {
        let ping = async {
            match self.ended.take() {
                Some(ended) => self.ping_end(&ended).await,
                None => None,
            }
        };
        let (mut warnings, ping) = tokio::join!(self.deliver_due(), ping);
        warnings.extend(ping);
        warnings
    }

    async fn deliver_due(&self) -> Vec<String> {
        let dir = self.layout.data(&self.service.name);
        let sender = Sender {
            disk: self.disk,
            clock: self.clock,
            seed: self.seed,
            dir: &dir,
            sinks: &self.service.notify,
            pings: self.service.ping.is_some(),
            home: &self.account.home,
            credential: &|name| self.credentials.read(self.disk, name),
            // It is run as who the service's own programs are run as.
            distrusts: &|_| None,
            http: &self.http,
            turn: &Semaphore::new(1),
            is_wanted: &|| self.is_wanted(),
            patience: PATIENCE,
            watch: Stopwatch::start(),
        };
        let unkept = self.unkept.take();
        sender.deliver(unkept).await
    }

    /// Whether a person's request waits for the next run, which a scheduler starts when we have ended.
    pub(super) fn is_wanted(&self) -> bool {
        request::waits(self.disk, self.layout, &self.service.name, None)
    }
}
