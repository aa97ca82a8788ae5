//! Sending what is to be told.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use secrecy::SecretString;
use tokio::sync::Semaphore;

use super::{
    Letter, address,
    outbox::{
        Attempt, Outbox, Waiting,
        file::{self, Stored, Writer},
    },
    sink::{NotifyFormat, Sink, Target, UrlSource},
};
use crate::{
    effect::{
        clock::Clock,
        disk::{Disk, Durability},
        http::{Http, Method, Request},
        lock::Lock,
        process::{self, Command, End, Limits, Stopwatch},
        user,
    },
    id::{ResourceName, Timestamp},
    retry,
};

/// How often we look meanwhile whether somebody waits for us to end.
const GLANCE: Duration = Duration::from_millis(200);

/// Where programs look for programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long it may take to tell others.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How long one request may take.
    pub attempt: Duration,
    /// How long a command may take, and then from SIGTERM to SIGKILL.
    pub command: Limits,
    /// How long we stay to try again what failed: a hiccup is over by then.
    pub linger: Duration,
    /// After this no further try begins.
    pub last_start: Duration,
}

/// Who sends what waits in one outbox.
#[derive(Clone, Copy)]
pub struct Sender<'a> {
    /// The disk.
    pub disk: &'a dyn Disk,
    /// The time.
    pub clock: &'a dyn Clock,
    /// What draws follow from.
    pub seed: u64,
    /// The directory of the outbox.
    pub dir: &'a Path,
    /// Who hears of it.
    pub sinks: &'a [Sink],
    /// Whether a ping's failure is kept there too.
    pub pings: bool,
    /// The home of whom we run as.
    pub home: &'a Path,
    /// Reads the value of a credential.
    pub credential: &'a dyn Fn(&ResourceName) -> address::Value,
    /// Why a program is not run, in words that follow its path; `None` is all well.
    pub distrusts: &'a dyn Fn(&Path) -> Option<String>,
    /// Sends requests.
    pub http: &'a Http,
    /// One permit, which whoever runs a command holds: whatever is below this process meanwhile is taken
    /// for that command's own.
    pub turn: &'a Semaphore,
    /// Whether somebody waits for us to end.
    pub is_wanted: &'a dyn Fn() -> bool,
    /// How long it may take.
    pub patience: Patience,
    /// Since when it takes that.
    pub watch: Stopwatch,
}

impl<'a> Sender<'a> {
    /// Sends what is due, or what could not be kept. Returns what was in the way, in sentences.
    ///
    /// Its process must have no children but those of the commands that it runs.
    pub async fn deliver<M: Letter>(&self, unkept: Option<Outbox<M>>) -> Vec<String> {
        if self.sinks.is_empty() {
            return Vec::new();
        }
        let started = self.clock.now();
        let writer = self.writer();
        let is_kept = unkept.is_none();
        let mut outbox = match unkept {
            Some(outbox) => outbox,
            None => match self.due::<M>(started).await {
                Ok(outbox) => outbox,
                Err(warnings) => return warnings,
            },
        };
        let lock = Lock::try_take(&file::delivery_lock(self.dir), 0o600);
        if matches!(lock, Ok(None)) {
            // Another of us is at it.
            return Vec::new();
        }
        // Whoever had it may have sent some of that meanwhile.
        if is_kept && let Stored::Good(left) = file::read::<M>(self.disk, self.dir) {
            outbox = left;
        }
        // By a clock that stands still, what we wait for comes all the same.
        let slept = Cell::new(Duration::ZERO);
        let now_by = || {
            let millis = i64::try_from(slept.get().as_millis()).unwrap_or(i64::MAX);
            self.clock.now().max(started.plus_millis(millis))
        };
        let (mut warnings, mut said) = (Vec::new(), BTreeMap::new());
        outbox.keep_known(self.sinks, self.pings);
        let mut sending = FuturesUnordered::new();
        let mut busy: BTreeSet<ResourceName> = BTreeSet::new();
        let mut is_stuck = false;
        loop {
            let now = now_by();
            if self.may_start() && !is_stuck {
                for waiting in outbox.due(now) {
                    if self.may_begin(&waiting.sink, &busy) {
                        busy.insert(waiting.sink.clone());
                        sending.push(self.send(waiting.clone()));
                    }
                }
            }
            if sending.is_empty() {
                let left = (self.patience.linger).saturating_sub(self.watch.elapsed());
                let wait = (outbox.next_try()).map(|next| next.millis() - now.millis());
                let wait = wait.and_then(|wait| u64::try_from(wait).ok());
                match wait.map(Duration::from_millis) {
                    Some(wait) if wait <= left && !is_stuck && !(self.is_wanted)() => {
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
            let Some(attempt) = attempt else {
                // Its turn did not come in time.
                continue;
            };
            let now = now_by();
            let updated = writer
                .update::<M>(now, |outbox| {
                    outbox.keep_known(self.sinks, self.pings);
                    let number = u64::from(sink_number(self.sinks, &sink));
                    let seed = retry::derive(self.seed, number);
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
        if !is_stuck && !self.may_start() {
            note_late(&outbox, now_by(), &mut said);
        }
        warnings.extend(
            said.into_iter()
                .map(|(sink, what)| format!("notify.{sink} was not told: {what}")),
        );
        warnings
    }

    /// What was kept, where some of it is due; else what is in the way.
    async fn due<M: Letter>(&self, now: Timestamp) -> Result<Outbox<M>, Vec<String>> {
        match file::read::<M>(self.disk, self.dir) {
            Stored::Good(outbox) if outbox.due(now).is_empty() => Err(Vec::new()),
            Stored::Good(outbox) => Ok(outbox),
            // What is newer was told of when something was posted.
            Stored::Newer(_) => Err(Vec::new()),
            Stored::Damaged(_) => Err(self.writer().update::<M>(now, |_| {}).await.warnings),
        }
    }

    fn writer(&self) -> Writer<'a> {
        Writer {
            disk: self.disk,
            dir: self.dir,
            durability: Durability::Now,
        }
    }

    fn may_start(&self) -> bool {
        self.watch.elapsed() < self.patience.last_start
    }

    fn target(&self, sink: &ResourceName) -> Option<&Target> {
        let mut sinks = self.sinks.iter();
        sinks.find(|own| own.name == *sink).map(|own| &own.to)
    }

    /// Whether a sink's turn has come while others are busy: webhooks go side by side, commands one
    /// after the other.
    fn may_begin(&self, sink: &ResourceName, busy: &BTreeSet<ResourceName>) -> bool {
        let is_command = |name| matches!(self.target(name), Some(Target::Command(_)));
        let waits_for_another = is_command(sink) && busy.iter().any(is_command);
        !busy.contains(sink) && !waits_for_another
    }

    /// Tries a message once; `None` where its turn did not come in time.
    async fn send<M: Letter>(
        &self,
        waiting: Waiting<M>,
    ) -> (ResourceName, String, Option<Attempt>) {
        let message = &waiting.message;
        let attempt = match self.target(&waiting.sink) {
            Some(Target::Webhook {
                url,
                format,
                ca_file,
            }) => Some(
                self.request(url, *format, ca_file.as_deref(), message)
                    .await,
            ),
            Some(Target::Command(argv)) => self.command(argv, message).await,
            None => Some(Attempt::Never(
                "the spec does not name it any more".to_owned(),
            )),
        };
        (waiting.sink, message.id().to_owned(), attempt)
    }

    async fn request(
        &self,
        url: &UrlSource,
        format: NotifyFormat,
        ca_file: Option<&Path>,
        message: &impl Letter,
    ) -> Attempt {
        let later = |why: String| Attempt::Later(why, None);
        let url = match address::url(self.disk, url, user::effective(), self.credential) {
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
            timeout: self.patience.attempt,
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

    async fn command(&self, argv: &[String], message: &impl Letter) -> Option<Attempt> {
        let _turn = self.turn.acquire().await.ok()?;
        if !self.may_start() {
            return None;
        }
        let program = argv.first().map_or(Path::new("/"), Path::new);
        if let Some(why) = (self.distrusts)(program) {
            let why = format!("it is not run: {} {why}", program.display());
            return Some(Attempt::Later(why, None));
        }
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut env = vec![
            own("PATH", PATH),
            own("HOME", &self.home.display().to_string()),
            own("LANG", "C.UTF-8"),
        ];
        let words = message.environment().into_iter();
        env.extend(words.map(|(name, value)| own(name, value)));
        env.push(own("LORECTL_TEXT", &message.text()));
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
        let limits = self.patience.command;
        Some(
            match process::run(&command, limits, never, &mut |_, _| {}).await {
                Ok(finished) => judge_end(finished.end),
                Err(error) => Attempt::Later(format!("it could not be started: {error}"), None),
            },
        )
    }
}

/// Says of whom there was no time to tell.
fn note_late<M: Letter>(
    outbox: &Outbox<M>,
    now: Timestamp,
    said: &mut BTreeMap<ResourceName, String>,
) {
    for waiting in outbox.due(now) {
        let late = || "there was no time left; it is tried again".to_owned();
        said.entry(waiting.sink.clone()).or_insert_with(late);
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
