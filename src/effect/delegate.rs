//! Acting for another user: what is done in a home and on a user's bus is done by a process of that
//! user, which a root process asks over two sockets.
//!
//! Root must not follow links in a home that its owner controls, and a user's bus refuses root. The
//! process is this same program, started by [`Delegate`], which gives up all rights but the user's
//! before it answers anything ([`serve`]). It decides nothing: it reads, writes and calls what it is
//! asked to. It may be the user's in every way, killed, stopped or lying: what it answers is capped in
//! size and time, and believed as far as the user could have brought it about by other means.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the one place that starts a process for another user, and waits for it with a deadline"
)]

mod disk;
mod serve;
mod wire;

use std::{
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time,
};

pub(super) use self::wire::{BusAnswer, BusAsk, WireState, capped, milliseconds};
use self::wire::{FileAnswer, FileAsk, Hello};
pub use self::{disk::SharedDisk, serve::serve};
use crate::{
    effect::{process::Said, user::Account},
    error::{Code, Error, Result},
};

/// The command by which this program is such a process; the user's name follows.
pub const COMMAND: &str = "as-user";

/// How long the process may take to begin.
const BEGIN: Duration = Duration::from_secs(20);

/// How long one thing done to a file may take.
const FILE: Duration = Duration::from_secs(10);

/// The same for a sync of a file system.
const SYNC: Duration = Duration::from_secs(120);

/// How long all that is done to files in one batch may take. That of a thousand services takes a second.
const ALL: Duration = Duration::from_secs(180);

/// How much may be answered in one batch, in bytes: several times what ten thousand services are.
const MOST: usize = 64 << 20;

/// A process that acts for one user, started when it is first asked.
#[derive(Debug)]
pub struct Delegate {
    name: String,
    /// `None` when the host has no such user any more.
    account: Option<Account>,
    link: Mutex<Link>,
    /// One question on the bus at a time.
    asking: tokio::sync::Mutex<()>,
    limits: Limits,
}

/// What the process may take of our time and memory, in a batch.
#[derive(Debug, Clone, Copy)]
struct Limits {
    file: Duration,
    all: Duration,
    bytes: usize,
}

const LIMITS: Limits = Limits {
    file: FILE,
    all: ALL,
    bytes: MOST,
};

/// How the process stands.
#[derive(Debug)]
enum Link {
    /// It is not needed yet.
    Idle,
    Up(Up),
    /// It is gone, or not to be believed any more.
    Down(String),
}

/// The ends of our sockets.
#[derive(Debug)]
struct Up {
    files: UnixStream,
    /// Taken while a question is under way; one that was given up leaves none.
    bus: Option<UnixStream>,
    /// `None` where a test serves.
    child: Option<Child>,
    /// What is left of the time for files, and of the bytes.
    left: (Duration, usize),
}

impl Up {
    /// Has one thing done to files, and counts what it took.
    fn ask(&mut self, frame: &[u8], patience: Duration) -> io::Result<FileAnswer> {
        let began = Instant::now();
        let deadline = began + patience.min(self.left.0);
        send(&mut self.files, frame, deadline)?;
        let answer = receive(&mut self.files, deadline, self.left.1)?;
        self.left.0 = self.left.0.saturating_sub(began.elapsed());
        self.left.1 = self.left.1.saturating_sub(answer.len());
        wire::unpack(&answer)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may be gone. One that cannot be waited for now is init's when we end.
            let _ = child.kill();
            let _ = child.try_wait();
        }
    }
}

impl Delegate {
    /// For a user of this host. Nothing is started yet.
    pub fn new(account: Account) -> Self {
        Self::with(account.name.clone(), Some(account), Link::Idle)
    }

    /// For a user whom the host does not have any more: whatever is asked fails with that.
    pub fn of_nobody(name: &str) -> Self {
        Self::with(name.to_owned(), None, Link::Idle)
    }

    fn with(name: String, account: Option<Account>, link: Link) -> Self {
        Self {
            name,
            account,
            link: Mutex::new(link),
            asking: tokio::sync::Mutex::default(),
            limits: LIMITS,
        }
    }

    /// The user's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Before a batch: a process that broke off is replaced by a new one when it is next asked.
    pub fn begin(&self) {
        let mut link = self.link();
        let broken = match &mut *link {
            Link::Idle => false,
            Link::Up(up) => {
                up.left = (self.limits.all, self.limits.bytes);
                up.bus.is_none()
            }
            Link::Down(_) => true,
        };
        if broken {
            *link = Link::Idle;
        }
    }

    /// Runs a command as the user for what it says on standard error, as [`super::process::listen`] does.
    ///
    /// # Errors
    /// As that; and when the user's process breaks off.
    pub async fn listen(
        &self,
        argv: &[std::ffi::OsString],
        env: &[(&str, std::ffi::OsString)],
        patience: Duration,
    ) -> io::Result<Said> {
        let ask = BusAsk::listen(argv, env, patience);
        match self.ask_bus(&ask, patience + FILE).await {
            Ok(BusAnswer::Said(said)) => said.into_said(),
            Ok(BusAnswer::Failed(fault)) => Err(io::Error::other(fault.text())),
            Ok(_other) => Err(io::Error::other(self.astray())),
            Err(error) => Err(io::Error::other(error.chain())),
        }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The user's id; `(uid_t) -1`, which is nobody's, where the host has no such user.
    pub fn uid(&self) -> u32 {
        self.account
            .as_ref()
            .map_or(u32::MAX, |account| account.owner.uid)
    }

    /// That an answer does not fit what was asked.
    pub(super) fn astray(&self) -> String {
        format!(
            "the process that acts for `{}` answered something else than what it was asked",
            self.name
        )
    }

    fn broke_off(&self, why: &str) -> String {
        format!("the process that acts for `{}` broke off: {why}", self.name)
    }

    /// The process, started where there is none yet.
    fn up<'l>(&self, link: &'l mut Link) -> io::Result<&'l mut Up> {
        if matches!(link, Link::Idle) {
            *link = match self.start() {
                Ok(up) => Link::Up(up),
                Err(why) => Link::Down(why),
            };
        }
        match link {
            Link::Up(up) => Ok(up),
            Link::Down(why) => Err(io::Error::other(why.clone())),
            Link::Idle => Err(io::Error::other(self.broke_off("it was not started"))),
        }
    }

    fn start(&self) -> std::result::Result<Up, String> {
        let name = &self.name;
        let Some(account) = &self.account else {
            return Err(format!("there is no user `{name}` on this host"));
        };
        let failed = |why: &dyn std::fmt::Display| {
            format!("cannot start a process that acts for `{name}`: {why}")
        };
        let start = || -> io::Result<Up> {
            let (files, their_files) = UnixStream::pair()?;
            let (bus, their_bus) = UnixStream::pair()?;
            // As the kernel knows us: the file may have been replaced since we started. No environment
            // of ours goes along, no terminal, and nothing open but the two sockets.
            let child = Command::new("/proc/self/exe")
                .args([COMMAND, "--", name])
                .env_clear()
                .current_dir("/")
                .stdin(Stdio::from(OwnedFd::from(their_files)))
                .stdout(Stdio::from(OwnedFd::from(their_bus)))
                .stderr(Stdio::null())
                .spawn()?;
            Ok(Up {
                files,
                bus: Some(bus),
                child: Some(child),
                left: (self.limits.all, self.limits.bytes),
            })
        };
        let mut up = start().map_err(|error| failed(&error))?;
        let deadline = Instant::now() + BEGIN;
        let hello = receive(&mut up.files, deadline, self.limits.bytes)
            .and_then(|frame| wire::unpack(&frame));
        match hello.map_err(|error| failed(&error))? {
            Hello::Ready { uid } if uid == account.owner.uid => Ok(up),
            Hello::Ready { .. } => Err(failed(&"it is another user's")),
            Hello::Failed(why) => Err(failed(&wire::capped(&why))),
        }
    }

    /// Has one thing done to files.
    fn ask_files(&self, ask: &FileAsk) -> io::Result<FileAnswer> {
        let frame = wire::pack(ask)?;
        let patience = match ask {
            FileAsk::SyncFs { .. } => SYNC,
            _other => self.limits.file,
        };
        let mut link = self.link();
        let up = self.up(&mut link)?;
        up.ask(&frame, patience).map_err(|error| {
            let why = self.broke_off(&error.to_string());
            *link = Link::Down(why.clone());
            io::Error::other(why)
        })
    }

    /// Has the user's manager asked something, or a command run.
    pub(super) async fn ask_bus(&self, ask: &BusAsk, patience: Duration) -> Result<BusAnswer> {
        let silent = |why: String| Error::new(Code::BackendUnavailable, why);
        let frame = wire::pack(ask).map_err(|error| silent(error.to_string()))?;
        let _one = self.asking.lock().await;
        let taken = {
            let mut link = self.link();
            let up = self.up(&mut link);
            up.map_err(|error| silent(error.to_string()))?.bus.take()
        };
        let talked = match taken {
            None => Err(io::Error::other("a question to it was given up")),
            Some(bus) => converse(bus, &frame, patience).await,
        };
        let mut link = self.link();
        match talked {
            Ok((bus, answer)) => {
                if let Link::Up(up) = &mut *link {
                    up.bus = Some(bus);
                }
                Ok(answer)
            }
            Err(error) => {
                let why = match &*link {
                    // Something else went wrong first, and this of it.
                    Link::Down(why) => why.clone(),
                    Link::Idle | Link::Up(_) => self.broke_off(&error.to_string()),
                };
                *link = Link::Down(why.clone());
                Err(silent(why))
            }
        }
    }
}

/// One question and its answer.
async fn converse(
    bus: UnixStream,
    frame: &[u8],
    patience: Duration,
) -> io::Result<(UnixStream, BusAnswer)> {
    bus.set_nonblocking(true)?;
    let mut bus = tokio::net::UnixStream::from_std(bus)?;
    let talk = async {
        bus.write_all(frame).await?;
        let length = wire::length(bus.read_u32().await?)?;
        let mut answer = vec![0; length];
        bus.read_exact(&mut answer).await?;
        wire::unpack(&answer)
    };
    let answer = match time::timeout(patience, talk).await {
        Ok(answer) => answer?,
        Err(_) => return Err(late()),
    };
    Ok((bus.into_std()?, answer))
}

fn late() -> io::Error {
    io::Error::other("it did not answer in time")
}

/// A socket whose reads and writes all end by one instant, however slowly the other end is.
struct Timed<'s> {
    stream: &'s mut UnixStream,
    deadline: Instant,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        Ok(Some(left))
    }
}

fn told(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => late(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => io::Error::other("it ended"),
        _other => error,
    }
}

fn send(stream: &mut UnixStream, frame: &[u8], deadline: Instant) -> io::Result<()> {
    let mut timed = Timed { stream, deadline };
    timed.write_all(frame).map_err(told)
}

fn receive(stream: &mut UnixStream, deadline: Instant, most: usize) -> io::Result<Vec<u8>> {
    let mut timed = Timed { stream, deadline };
    let mut length = [0; 4];
    timed.read_exact(&mut length).map_err(told)?;
    let length = wire::length(u32::from_be_bytes(length))?;
    if length > most {
        return Err(wire::too_much());
    }
    let mut frame = vec![0; length];
    timed.read_exact(&mut frame).map_err(told)?;
    Ok(frame)
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
