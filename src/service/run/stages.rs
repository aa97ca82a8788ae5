//! The stages of a run, in order.

use std::{
    cell::Cell,
    collections::BTreeMap,
    future::poll_fn,
    io,
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use secrecy::{ExposeSecret, zeroize::Zeroize};
use tokio::time::sleep;

use crate::{
    effect::{
        clock::Clock,
        disk::Disk,
        process::{self, Command, End, Finished, Limits, Stopwatch, Stream},
        user::Account,
    },
    id::{ResourceName, Timestamp},
    layout::Layout,
    retry,
    scrub::{Scrubber, Tail},
    service::{
        definition::{CredentialForm, Criticality, Service, Stage},
        logs,
        run::{
            classify::{self, Failure, RESULT, RESULT_LIMIT, Said},
            credentials::{Credentials, DIRECTORY, Read},
        },
        status::{Outcome, StageResult, message},
    },
};

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// Where programs look for programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The bounds of the wait before a core stage's second attempt, in milliseconds.
const AGAIN: (i64, i64) = (1000, 5000);

/// What the stages are run with.
pub(super) struct Stages<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) clock: &'a dyn Clock,
    pub(super) layout: &'a Layout,
    pub(super) service: &'a Service,
    pub(super) account: &'a Account,
    pub(super) credentials: &'a Credentials,
    /// Where the stages find their credentials; `None` where they use none.
    pub(super) directory: Result<Option<PathBuf>, String>,
    pub(super) run_id: &'a str,
    pub(super) seed: u64,
    pub(super) log: logs::Writer<'a>,
}

/// What the stages came to.
pub(super) struct Ran {
    pub(super) outcome: Outcome,
    pub(super) results: Vec<StageResult>,
    /// Of the core stage that ended the run.
    pub(super) failure: Option<Failure>,
}

/// That we are asked to end, and that the time of the stage under way is then over.
pub(super) struct Stop<'s> {
    /// Sets `asked` when we are asked; done when the stage is to be ended.
    pub(super) ending: Pin<&'s mut dyn Future<Output = ()>>,
    pub(super) asked: &'s Cell<bool>,
    pub(super) ended: bool,
}

impl Future for Stop<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.ended && self.ending.as_mut().poll(context).is_ready() {
            self.ended = true;
        }
        if self.ended {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Stop<'_> {
    /// Done when we are asked to end.
    async fn asked(&mut self) {
        poll_fn(|context| {
            let _ = Pin::new(&mut *self).poll(context);
            if self.asked.get() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Whether we were asked to end by now.
    async fn was_asked(&mut self) -> bool {
        tokio::select! {
            biased;
            () = self.asked() => true,
            () = std::future::ready(()) => false,
        }
    }
}

impl Stages<'_> {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Runs them, until one that is core has failed: what follows it builds on it.
    ///
    /// Once we are asked to end, no further one begins.
    pub(super) async fn run(&mut self, mut stop: Stop<'_>) -> Ran {
        let watch = Stopwatch::start();
        let limit = Duration::from_secs(self.service.timeout.0);
        let mut ran = Ran {
            outcome: Outcome::Success,
            results: Vec::new(),
            failure: None,
        };
        for (index, stage) in self.service.stages.iter().enumerate() {
            if stop.was_asked().await {
                ran.outcome = Outcome::Failed;
                ran.failure = self.interruption();
                break;
            }
            let left = || limit.saturating_sub(watch.elapsed());
            let mut seed = retry::derive(self.seed, index as u64);
            let (mut result, mut failure) = self.attempt(stage, 1, left(), &mut stop).await;
            if stage.criticality == Criticality::Core
                && let Some(first) = &failure
                && let Some(pause) = self.again_after(first, &mut seed)
                && pause < left()
            {
                let text = format!("{}; once more in {pause:.1?}", first.message);
                self.log.say(self.clock.now(), &result.stage, &text);
                tokio::select! {
                    biased;
                    () = stop.asked() => {}
                    () = sleep(pause) => {
                        (result, failure) = self.attempt(stage, 2, left(), &mut stop).await;
                    }
                }
            }
            if failure.is_some() && stop.was_asked().await {
                // Whoever asks us to end may have asked the stage as well (systemd.kill(5)): that it
                // then fails says nothing of the service.
                failure = self.interruption();
                result = failed(result, failure.as_ref());
            }
            if let Some(failure) = &failure {
                self.log.say(
                    self.clock.now(),
                    &result.stage,
                    &format!("failed: {}", failure.message),
                );
            }
            let core = stage.criticality == Criticality::Core;
            ran.results.push(result);
            if let Some(failure) = failure {
                if core || failure.interrupted {
                    ran.outcome = Outcome::Failed;
                    ran.failure = Some(failure);
                    break;
                }
                ran.outcome = Outcome::Degraded;
            }
        }
        ran
    }

    /// How long to wait before a second attempt, if there is to be one.
    fn again_after(&self, failure: &Failure, seed: &mut u64) -> Option<Duration> {
        let millis = retry::draw(*seed, AGAIN.0, AGAIN.1);
        let pause = Duration::from_millis(millis.unsigned_abs());
        let wanted = failure
            .not_before
            .map_or(0, |at| at.seconds_since(self.now()));
        // Where one failure trips the breaker, nothing is tried twice.
        let tries = self.service.breaker.failures > 1 && failure.retry_at_once;
        (tries && wanted.saturating_mul(1000) <= millis).then_some(pause)
    }

    fn interruption(&self) -> Option<Failure> {
        let rules = &self.service.classify;
        classify::judge(End::Stopped, &Said::default(), rules, self.now())
    }

    /// The whole environment of a stage.
    ///
    /// # Errors
    /// Why there is none: a credential has no value.
    fn environment(
        &self,
        stage: &Stage,
        result: &str,
        values: &BTreeMap<&ResourceName, Read>,
    ) -> Result<Vec<(String, String)>, String> {
        let data = self.layout.data(&self.service.name);
        let own = [
            ("PATH", PATH.to_owned()),
            ("HOME", self.account.home.display().to_string()),
            ("LANG", "C.UTF-8".to_owned()),
        ];
        let ours = [
            ("LORECTL_DATA_DIR", data.display().to_string()),
            ("LORECTL_PROJECT", self.service.project.to_string()),
            ("LORECTL_SERVICE", self.service.name.to_string()),
            ("LORECTL_STAGE", stage.name.to_string()),
            ("LORECTL_RUN_ID", self.run_id.to_owned()),
            (RESULT, result.to_owned()),
        ];
        let owned = |(name, value): (&str, String)| (name.to_owned(), value);
        // What the spec says may replace PATH, HOME and LANG, but not what we tell the stage.
        let mut env: Vec<_> = own.into_iter().map(owned).collect();
        env.extend(self.service.env.clone());
        let directory = (self.directory.as_ref())
            .map_err(|why| format!("its credentials cannot be laid out: {why}"))?;
        if let Some(directory) = directory {
            for (name, used) in &self.service.credentials {
                let value = match values.get(&used.credential) {
                    Some(Ok(value)) => value.expose_secret(),
                    Some(Err(why)) => return Err(why.clone()),
                    None => return Err(format!("credential.{} is not known", used.credential)),
                };
                let path = || {
                    directory
                        .join(used.credential.as_str())
                        .display()
                        .to_string()
                };
                env.push(match used.form {
                    CredentialForm::Value => (name.clone(), value.to_owned()),
                    CredentialForm::Path => (name.clone(), path()),
                });
            }
            env.push((DIRECTORY.to_owned(), directory.display().to_string()));
        }
        env.extend(ours.into_iter().map(owned));
        Ok(env)
    }

    fn result_file(&self) -> PathBuf {
        self.layout.data(&self.service.name).join("result.json")
    }

    async fn attempt(
        &mut self,
        stage: &Stage,
        attempt: u32,
        left: Duration,
        stop: &mut Stop<'_>,
    ) -> (StageResult, Option<Failure>) {
        let name = stage.name.to_string();
        let own = stage.timeout.map(|own| Duration::from_secs(own.0));
        let timeout = own.map_or(left, |own| own.min(left));
        let path = self.result_file();
        // What is left there was said by another attempt; if it cannot be removed, `read` tells.
        let _ = self.disk.remove(&path);
        let values = self.credentials.all(self.disk);
        let known = values.iter().filter_map(|(name, value)| {
            let value = value.as_ref().ok()?;
            Some((*name, value))
        });
        let known = Scrubber::new(known);
        let env = self.environment(stage, &path.display().to_string(), &values);
        drop(values);
        let limits = Limits {
            timeout,
            grace: GRACE,
        };
        let finished = match env {
            Ok(env) => Ok(self.run_one(stage, env, limits, stop, &known).await),
            Err(why) => Err(why),
        };
        let now = self.now();
        self.log.end_stage(now, &name);
        let said = self.said(&name, &known);
        let rules = &self.service.classify;
        let (failure, elapsed, exit) = match finished {
            Err(why) => {
                let failure = classify::without_credential(&why, rules);
                (Some(failure), Duration::ZERO, None)
            }
            Ok(Ok(finished)) => {
                if finished.left_behind > 0 {
                    let text = format!(
                        "processes that it left behind were ended: {}",
                        finished.left_behind
                    );
                    self.log.say(now, &name, &text);
                }
                if finished.survivors > 0 {
                    let text = format!("processes that could not be ended: {}", finished.survivors);
                    self.log.say(now, &name, &text);
                }
                let exit = match finished.end {
                    End::Exited(status) => Some(status),
                    End::Killed(_) | End::TimedOut | End::Stopped => None,
                };
                let failure = classify::judge(finished.end, &said, rules, now);
                (failure, finished.elapsed, exit)
            }
            Ok(Err(error)) => (
                Some(classify::not_started(&error, rules)),
                Duration::ZERO,
                None,
            ),
        };
        let result = StageResult {
            stage: name,
            criticality: stage.criticality,
            success: true,
            items_updated: said.items_updated,
            attempts: attempt,
            duration_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            exit,
            error: None,
            error_code: None,
        };
        (failed(result, failure.as_ref()), failure)
    }

    /// Runs a stage's command, and logs what it prints but for the values that are known.
    async fn run_one(
        &mut self,
        stage: &Stage,
        mut env: Vec<(String, String)>,
        limits: Limits,
        stop: &mut Stop<'_>,
        known: &Scrubber,
    ) -> io::Result<Finished> {
        let command = Command {
            argv: &stage.run,
            env: &env,
            dir: &self.service.working_dir,
            input: &[],
        };
        let (clock, log, name) = (self.clock, &mut self.log, stage.name.as_str());
        let (mut out, mut err) = (Tail::default(), Tail::default());
        let finished = process::run(&command, limits, stop, &mut |stream, bytes| {
            let tail = match stream {
                Stream::Out => &mut out,
                Stream::Err => &mut err,
            };
            let mut sound = Vec::with_capacity(bytes.len());
            known.feed(tail, bytes, &mut sound);
            log.output(clock.now(), name, stream, &sound);
        })
        .await;
        for (stream, mut tail) in [(Stream::Out, out), (Stream::Err, err)] {
            let mut sound = Vec::new();
            known.end(&mut tail, &mut sound);
            log.output(clock.now(), name, stream, &sound);
        }
        for (_, value) in &mut env {
            value.zeroize();
        }
        finished
    }

    /// What the stage said of itself; one that wrote nonsense said nothing.
    fn said(&mut self, stage: &str, known: &Scrubber) -> Said {
        let path = self.result_file();
        let said = match self.disk.read(&path, RESULT_LIMIT) {
            Ok(None) => Ok(Said::default()),
            Ok(Some(file)) => Said::parse(&file.bytes, known),
            Err(error) => Err(error.to_string()),
        };
        // It is not needed any more, and the next attempt removes it in any case.
        let _ = self.disk.remove(&path);
        said.unwrap_or_else(|why| {
            let text = format!("its result file is left out: {why}");
            self.log.say(self.clock.now(), stage, &text);
            Said::default()
        })
    }
}

fn failed(mut result: StageResult, failure: Option<&Failure>) -> StageResult {
    if let Some(failure) = failure {
        result.success = false;
        result.error = Some(message(&failure.message));
        result.error_code = Some(failure.code.clone());
    }
    result
}
