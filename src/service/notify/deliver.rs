//! Sending what is to be told.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use secrecy::SecretString;

use super::{
    address,
    decide::{self, Trouble},
    message::{Case, Message},
    outbox::{
        Attempt, Outbox, Waiting,
        file::{self, Stored, Writer},
    },
    ping::Ended,
    sink::{Event, NotifyFormat, Sink, Target, UrlSource},
};
use crate::{
    effect::{
        clock::Clock,
        disk::Disk,
        http::{Http, Method, Request},
        lock::Lock,
        process::{self, Command, End, Limits, Stopwatch},
        user::{self, Account},
    },
    id::{ResourceName, Timestamp},
    layout::Layout,
    retry,
    service::{
        definition::Service,
        run::{credentials::Credentials, request},
    },
};

/// How long one request may take.
pub const ATTEMPT: Duration = Duration::from_secs(10);

/// How long a command may take, and then from SIGTERM to SIGKILL.
const COMMAND: Limits = Limits {
    timeout: Duration::from_secs(20),
    grace: Duration::from_secs(2),
};

/// How long we stay to try again what failed: a hiccup is over by then, and the rest is for the next
/// wake-up.
const LINGER: Duration = Duration::from_secs(5);

/// How often we look meanwhile whether somebody waits for us to end.
const GLANCE: Duration = Duration::from_millis(200);

/// After this no further try begins: a unit gives a run a minute beyond its stages.
const LAST_START: Duration = Duration::from_secs(15);

/// Where programs look for programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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

    pub(super) fn writer(&self) -> Writer<'a> {
        Writer {
            disk: self.disk,
            layout: self.layout,
            name: &self.service.name,
        }
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
        let updated = (self.writer())
            .update(now, |outbox| {
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
        match file::read(self.disk, self.layout, &self.service.name) {
            Stored::Good(outbox) => outbox.tells_of(run_id),
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
        if self.service.notify.is_empty() {
            return Vec::new();
        }
        let started = self.clock.now();
        let mut warnings = Vec::new();
        let mut outbox = match self.unkept.take() {
            Some(outbox) => outbox,
            None => match file::read(self.disk, self.layout, &self.service.name) {
                Stored::Good(outbox) if outbox.due(started).is_empty() => return warnings,
                Stored::Good(outbox) => outbox,
                // What is newer was told of when something was posted.
                Stored::Newer(_) => return warnings,
                Stored::Damaged(_) => {
                    let updated = self.writer().update(started, |_| {}).await;
                    return updated.warnings;
                }
            },
        };
        let path = file::delivery_lock(self.layout, &self.service.name);
        let lock = Lock::try_take(&path, 0o600);
        if matches!(lock, Ok(None)) {
            // Another of us is at it.
            return warnings;
        }
        let watch = Stopwatch::start();
        // By a clock that stands still, what we wait for comes all the same.
        let slept = Cell::new(Duration::ZERO);
        let now_by = || {
            let millis = i64::try_from(slept.get().as_millis()).unwrap_or(i64::MAX);
            self.clock.now().max(started.plus_millis(millis))
        };
        let mut said = BTreeMap::new();
        outbox.keep_known(&self.service.notify, self.service.ping.is_some());
        let mut sending = FuturesUnordered::new();
        let mut busy: BTreeSet<ResourceName> = BTreeSet::new();
        let mut is_stuck = false;
        loop {
            let now = now_by();
            if watch.elapsed() < LAST_START && !is_stuck {
                for waiting in outbox.due(now) {
                    if self.may_begin(&waiting.sink, &busy) {
                        busy.insert(waiting.sink.clone());
                        sending.push(self.send(waiting.clone()));
                    }
                }
            }
            if sending.is_empty() {
                let left = LINGER.saturating_sub(watch.elapsed());
                let wait = (outbox.next_try()).map(|next| next.millis() - now.millis());
                let wait = wait.and_then(|wait| u64::try_from(wait).ok());
                match wait.map(Duration::from_millis) {
                    Some(wait) if wait <= left && !is_stuck && !self.is_wanted() => {
                        let wait = wait.min(GLANCE);
                        tokio::time::sleep(wait).await;
                        slept.set(slept.get() + wait);
                    }
                    Some(_) | None => break,
                }
                continue;
            }
            // Each is kept as it ends: one that hangs keeps nobody else's from being remembered, nor
            // from being tried again.
            let (sink, id, attempt) = tokio::select! {
                Some(sent) = sending.next() => sent,
                () = tokio::time::sleep(GLANCE) => {
                    slept.set(slept.get() + GLANCE);
                    continue;
                }
            };
            busy.remove(&sink);
            let now = now_by();
            let sinks = &self.service.notify;
            let updated = (self.writer())
                .update(now, |outbox| {
                    outbox.keep_known(sinks, self.service.ping.is_some());
                    let seed = retry::derive(self.seed, u64::from(sink_number(sinks, &sink)));
                    outbox.settle(&sink, &id, attempt.clone(), now, seed);
                })
                .await;
            match attempt {
                Attempt::Delivered => drop(said.remove(&sink)),
                Attempt::Later(why, _) => {
                    said.insert(sink, format!("{why}; it is tried again"));
                }
                Attempt::Never(why) => drop(said.insert(sink, format!("{why}; it is given up"))),
            }
            if updated.kept {
                outbox = updated.outbox;
            } else {
                warnings.extend(updated.warnings);
                // Nothing remembers what was tried: once is enough.
                is_stuck = true;
            }
        }
        drop(sending);
        drop(lock);
        warnings.extend(
            said.into_iter()
                .map(|(sink, what)| format!("notify.{sink} was not told: {what}")),
        );
        warnings
    }

    /// Whether a person's request waits for the next run, which a scheduler starts when we have ended.
    pub(super) fn is_wanted(&self) -> bool {
        request::waits(self.disk, self.layout, &self.service.name, None)
    }

    fn target(&self, sink: &ResourceName) -> Option<&Target> {
        let mut sinks = self.service.notify.iter();
        sinks.find(|own| own.name == *sink).map(|own| &own.to)
    }

    /// Whether a sink's turn has come while others are busy: webhooks go side by side, commands one
    /// after the other, since whatever is below us while a command runs is taken for its own.
    fn may_begin(&self, sink: &ResourceName, busy: &BTreeSet<ResourceName>) -> bool {
        let is_command = |name| matches!(self.target(name), Some(Target::Command(_)));
        let waits_for_another = is_command(sink) && busy.iter().any(is_command);
        !busy.contains(sink) && !waits_for_another
    }

    /// Tries a message once.
    async fn send(&self, waiting: Waiting) -> (ResourceName, String, Attempt) {
        let message = &waiting.message;
        let attempt = match self.target(&waiting.sink) {
            Some(Target::Webhook {
                url,
                format,
                ca_file,
            }) => {
                self.request(url, *format, ca_file.as_deref(), message)
                    .await
            }
            Some(Target::Command(argv)) => self.command(argv, message).await,
            None => Attempt::Never("the spec does not name it any more".to_owned()),
        };
        (waiting.sink, waiting.message.id, attempt)
    }

    async fn request(
        &self,
        url: &UrlSource,
        format: NotifyFormat,
        ca_file: Option<&Path>,
        message: &Message,
    ) -> Attempt {
        let later = |why: String| Attempt::Later(why, None);
        let url = match address::url(self.disk, url, user::effective(), self.credentials) {
            Ok(url) => url,
            Err(why) => return later(why),
        };
        let roots = match ca_file.map(|path| address::certificates(self.disk, path)) {
            Some(Ok(roots)) => Some(roots),
            Some(Err(why)) => return later(why),
            None => None,
        };
        let body = message.body(format);
        let request = Request {
            method: Method::Post,
            url: &url,
            headers: &[("content-type", SecretString::from("application/json"))],
            body: Some(&body),
            roots: roots.as_deref(),
            timeout: ATTEMPT,
            body_limit: 0,
        };
        match self.http.send(&request).await {
            Err(fault) => later(fault.to_string()),
            Ok(response) => {
                let after = response.retry_after(self.clock.now());
                judge_status(response.status, after)
            }
        }
    }

    async fn command(&self, argv: &[String], message: &Message) -> Attempt {
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let env = [
            own("PATH", PATH),
            own("HOME", &self.account.home.display().to_string()),
            own("LANG", "C.UTF-8"),
            own("LORECTL_EVENT", message.event.as_str()),
            own("LORECTL_PROJECT", message.project.as_str()),
            own("LORECTL_SERVICE", message.service.as_str()),
            own("LORECTL_RUN_ID", &message.run_id),
            own("LORECTL_TEXT", &message.text()),
        ];
        let input = message.body(NotifyFormat::Json);
        let command = Command {
            argv,
            env: &env,
            // Where the stages start may be what is missing.
            dir: Path::new("/"),
            input: &input,
        };
        let never = std::future::pending();
        // Without it, what gets away from the command is not found; it is told all the same.
        let _ = process::adopt_orphans();
        match process::run(&command, COMMAND, never, &mut |_, _| {}).await {
            Ok(finished) => judge_end(finished.end),
            Err(error) => Attempt::Later(format!("it could not be started: {error}"), None),
        }
    }
}

fn sink_number(sinks: &[Sink], name: &ResourceName) -> u32 {
    let at = sinks.iter().position(|sink| sink.name == *name);
    at.and_then(|at| u32::try_from(at).ok()).unwrap_or(u32::MAX)
}

/// What a status means: what the client did wrong (4xx) is wrong the next time too, but for a bad
/// moment (408, 425) and too much at once (429).
fn judge_status(status: u16, retry_after: Option<Timestamp>) -> Attempt {
    let said = format!("it answered {status}");
    match status {
        200..=299 => Attempt::Delivered,
        408 | 425 | 429 => Attempt::Later(said, retry_after),
        300..=399 => Attempt::Never(format!("{said}, and redirects are not followed")),
        400..=499 => Attempt::Never(said),
        _ => Attempt::Later(said, retry_after),
    }
}

/// What the end of a command means: 77 and 78 are for good, as for a stage.
fn judge_end(end: End) -> Attempt {
    match end {
        End::Exited(0) => Attempt::Delivered,
        End::Exited(status @ (77 | 78)) => Attempt::Never(format!("its exit status was {status}")),
        End::Exited(status) => Attempt::Later(format!("its exit status was {status}"), None),
        End::Killed(signal) => Attempt::Later(format!("it was killed by signal {signal}"), None),
        End::TimedOut => Attempt::Later("it did not end in time".to_owned(), None),
        End::Stopped => Attempt::Later("it was stopped".to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_means() {
        let hint = Some(Timestamp::from_millis(1));
        for (status, lasting) in [
            (200, None),
            (204, None),
            (301, Some(true)),
            (400, Some(true)),
            (404, Some(true)),
            (408, Some(false)),
            (410, Some(true)),
            (425, Some(false)),
            (429, Some(false)),
            (500, Some(false)),
            (503, Some(false)),
            (999, Some(false)),
        ] {
            let found = match judge_status(status, hint) {
                Attempt::Delivered => None,
                Attempt::Never(_) => Some(true),
                Attempt::Later(_, after) => {
                    assert_eq!(after, hint);
                    Some(false)
                }
            };
            assert_eq!(found, lasting, "{status}");
        }
    }

    #[test]
    fn what_a_command_s_end_means() {
        for (end, lasting) in [
            (End::Exited(0), None),
            (End::Exited(1), Some(false)),
            (End::Exited(75), Some(false)),
            (End::Exited(77), Some(true)),
            (End::Exited(78), Some(true)),
            (End::Killed(9), Some(false)),
            (End::TimedOut, Some(false)),
            (End::Stopped, Some(false)),
        ] {
            let found = match judge_end(end) {
                Attempt::Delivered => None,
                Attempt::Never(_) => Some(true),
                Attempt::Later(..) => Some(false),
            };
            assert_eq!(found, lasting, "{end:?}");
        }
    }
}
