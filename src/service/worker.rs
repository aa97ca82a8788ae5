//! `lorectl worker`: wakes the runner of every service whose scheduler it is, for all projects of
//! one state directory.
//!
//! It holds no policy: each wake-up is a process `lorectl service run`, which decides. So a run that
//! crashes takes nobody along, and becomes its service's user by itself. What an apply writes is
//! found by looking: a look at one directory per project every two seconds, at every file once a
//! minute.

mod agenda;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    effect::{
        clock::Clock,
        disk::Disk,
        lock::{self, Lock},
        process::{self, End, Started, Stopwatch},
    },
    error::{Code, Error, Result},
    id::{ProjectName, ResourceName},
    service::run::FAREWELL,
};
use agenda::{Agenda, Key};

/// How often the directories of services are looked at.
const TICK: Duration = Duration::from_secs(2);

/// How many runs go on at once; more wait for one to end.
const AT_ONCE: usize = 128;

/// How long runners have, beyond the time of their stages, to record and to end.
const RECORDING: Duration = Duration::from_secs(15);

/// How long what a dead runner has left has, from SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// The lock that a worker holds while it lives.
fn lock_path(state_dir: &Path) -> PathBuf {
    state_dir.join("worker.lock")
}

/// Whether a worker serves that state directory.
pub fn is_alive(state_dir: &Path) -> bool {
    lock::is_held(&lock_path(state_dir)).unwrap_or(false)
}

/// What the worker does, for whoever watches it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// It serves so many services.
    Serving {
        /// How many.
        services: usize,
    },
    /// A definition cannot be read, and is left until it changes.
    Ignored {
        /// Which service, as `PROJECT/NAME`.
        service: String,
        /// Why.
        why: String,
    },
    /// A service was woken.
    Woken {
        /// Which, as `PROJECT/NAME`.
        service: String,
        /// The runner's process.
        pid: u32,
    },
    /// A service could not be woken.
    NotWoken {
        /// Which, as `PROJECT/NAME`.
        service: String,
        /// Why.
        why: String,
    },
    /// The runner has ended otherwise than with 0.
    Ended {
        /// Whose, as `PROJECT/NAME`.
        service: String,
        /// How.
        how: String,
    },
    /// It was asked to end, and waits for so many runs.
    Ending {
        /// How many.
        running: usize,
    },
}

/// What the worker needs from outside.
pub struct Host<'a> {
    /// The disk.
    pub disk: &'a dyn Disk,
    /// The time.
    pub clock: &'a dyn Clock,
    /// The directory of all projects; absolute.
    pub state_dir: &'a Path,
    /// lorectl itself, which is started for each run.
    pub program: &'a Path,
}

struct Running {
    pid: u32,
}

struct Loop<'a> {
    host: &'a Host<'a>,
    events: &'a dyn Fn(&Event),
    agenda: Agenda,
    running: BTreeMap<Key, Running>,
    ends: JoinSet<(Key, std::io::Result<End>)>,
}

/// Serves until `terminated` is done; then wakes nobody any more, gives the stages under way 30
/// seconds, ends what is left of them, and returns. When `hurried` is done too, it waits no longer.
///
/// # Errors
/// `LOCK_HELD` when a worker serves the directory already; what the disk says.
pub async fn serve(
    host: &Host<'_>,
    terminated: impl Future<Output = ()>,
    hurried: impl Future<Output = ()>,
    events: &dyn Fn(&Event),
) -> Result<()> {
    let _lock = take_lock(host)?;
    process::adopt_orphans().map_err(|error| {
        Error::new(Code::Io, "cannot adopt what a runner leaves behind").because(error)
    })?;
    let mut work = Loop {
        host,
        events,
        agenda: Agenda::default(),
        running: BTreeMap::new(),
        ends: JoinSet::new(),
    };
    work.look(true);
    events(&Event::Serving {
        services: work.agenda.len(),
    });
    tokio::select! {
        () = work.wake_for_ever() => {}
        () = terminated => {}
    }
    work.end(hurried).await;
    Ok(())
}

fn take_lock(host: &Host<'_>) -> Result<Lock> {
    let path = lock_path(host.state_dir);
    let there = host.disk.stat(host.state_dir);
    if matches!(there, Ok(None)) {
        host.disk
            .make_dir(host.state_dir, 0o711, None)
            .map_err(|error| Error::io("make", host.state_dir, error))?;
    }
    let taken = Lock::try_take(&path, 0o644).map_err(|error| Error::io("lock", &path, error))?;
    taken.ok_or_else(|| {
        let dir = host.state_dir.display();
        Error::new(Code::LockHeld, format!("a worker serves {dir} already"))
            .suggest("one worker serves all projects of a state directory; end that one first")
    })
}

impl Loop<'_> {
    async fn wake_for_ever(&mut self) {
        let mut looked = Stopwatch::start();
        loop {
            let now = self.host.clock.now();
            while self.running.len() < AT_ONCE
                && let Some((key, only_to_tell)) = self.agenda.pop_due(now)
            {
                self.wake(key, only_to_tell);
            }
            // A wall clock that jumps is noticed at the next tick.
            let pause = self
                .agenda
                .until_next(now)
                .map_or(TICK, |wait| wait.min(TICK));
            tokio::select! {
                () = sleep(pause.max(Duration::from_millis(10))) => {}
                Some(ended) = self.ends.join_next() => {
                    if let Ok((key, end)) = ended {
                        self.ended(&key, end).await;
                    }
                }
            }
            if looked.elapsed() >= TICK {
                looked = Stopwatch::start();
                self.look(false);
            }
        }
    }

    fn look(&mut self, whole: bool) {
        let (host, events) = (self.host, self.events);
        self.agenda.look(host, whole, &|service, why| {
            events(&Event::Ignored { service, why });
        });
    }

    fn wake(&mut self, key: Key, only_to_tell: bool) {
        let service = key.to_string();
        let mut argv = argv(self.host, &key.project, &key.name);
        if only_to_tell {
            argv.push("--only-notify".into());
        }
        match Started::start(&argv) {
            Ok(mut child) => {
                let pid = child.pid();
                (self.events)(&Event::Woken { service, pid });
                self.running.insert(key.clone(), Running { pid });
                self.ends.spawn(async move {
                    let end = child.wait().await;
                    (key, end)
                });
            }
            Err(error) => {
                let why = error.to_string();
                (self.events)(&Event::NotWoken { service, why });
                self.agenda.note(self.host, &key);
            }
        }
    }

    async fn ended(&mut self, key: &Key, end: std::io::Result<End>) {
        self.running.remove(key);
        let how = match &end {
            Ok(End::Exited(0) | End::TimedOut | End::Stopped) => None,
            Ok(End::Exited(status)) => Some(format!("exit status {status}")),
            Ok(End::Killed(signal)) => Some(format!("killed by signal {signal}")),
            Err(error) => Some(error.to_string()),
        };
        if matches!(end, Ok(End::Killed(_))) {
            // Its stage fell to us, and nobody watches its time any more.
            let alive: Vec<u32> = self.running.values().map(|run| run.pid).collect();
            process::end_strays(&alive, GRACE).await;
        }
        if let Some(how) = how {
            let service = key.to_string();
            (self.events)(&Event::Ended { service, how });
        }
        self.agenda.note(self.host, key);
    }

    /// Lets what runs come to its end, within its time.
    async fn end(&mut self, hurried: impl Future<Output = ()>) {
        (self.events)(&Event::Ending {
            running: self.running.len(),
        });
        for run in self.running.values() {
            process::ask_to_end(run.pid);
        }
        let all = async {
            while let Some(ended) = self.ends.join_next().await {
                drop(ended);
            }
        };
        tokio::select! {
            () = all => {}
            () = sleep(FAREWELL + RECORDING) => {}
            () = hurried => {}
        }
        process::end_strays(&[], Duration::from_secs(1)).await;
    }
}

/// The command line of a run; that of a unit's `ExecStart=` is the same.
fn argv(host: &Host<'_>, project: &ProjectName, name: &ResourceName) -> Vec<OsString> {
    let word = OsString::from;
    vec![
        host.program.into(),
        word("service"),
        word("run"),
        word("--state-dir"),
        host.state_dir.into(),
        word("--project"),
        word(project.as_str()),
        word(name.as_str()),
    ]
}

#[cfg(test)]
mod tests;
