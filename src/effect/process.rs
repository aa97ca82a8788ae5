//! Processes: who one is, and commands that are run to their end with all that they started.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the one place that starts processes and reads proc(5)"
)]

mod dump;
mod tree;

use std::{
    ffi::{CString, OsStr},
    io,
    path::{Path, PathBuf},
    pin::{Pin, pin},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::{prctl, signal},
    unistd::{self, Gid, Pid, Uid},
};
use secrecy::SecretSlice;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep, timeout},
};

pub use self::dump::forbid as forbid_core_dumps;
use crate::effect::user::Account;

/// How long the last output of a stage is waited for once all its processes are gone: a descriptor
/// may have been handed to a process that is none of its descendants.
const DRAIN: Duration = Duration::from_millis(500);

/// Which process of which boot: what a PID alone does not say, since it is given out again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The PID.
    pub pid: u32,
    /// When it started, in clock ticks since boot (proc(5), `starttime`).
    pub started: u64,
    /// The boot, as `/proc/sys/kernel/random/boot_id` names it.
    pub boot: String,
}

impl Identity {
    /// This process.
    pub fn this() -> Self {
        let pid = std::process::id();
        Self {
            pid,
            started: tree::stat(pid).map_or(0, |stat| stat.started),
            boot: boot_id(),
        }
    }

    /// Whether that very process still runs; one that has ended and was not yet waited for does not.
    pub fn is_alive(&self) -> bool {
        self.boot == boot_id()
            && tree::stat(self.pid).is_some_and(|stat| stat.started == self.started && !stat.ended)
    }
}

/// The name of this boot, 36 characters; empty where proc(5) is missing.
pub fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// The path of the running program.
///
/// # Errors
/// As proc(5) fails to tell.
pub fn this_program() -> io::Result<PathBuf> {
    std::env::current_exe()
}

/// Makes this process, for good, one of that user: its groups, its group, its id.
///
/// # Errors
/// As the system refuses; the process may then have changed its groups only and must end.
pub fn assume(account: &Account) -> io::Result<()> {
    become_unseen(account)?;
    // A change of user hides proc(5)'s view of ourselves (prctl(2), PR_SET_DUMPABLE), which
    // the search for our own children needs under `hidepid`. Of secrets there is at most in memory
    // what that user is to have.
    prctl::set_dumpable(true)?;
    Ok(())
}

/// The same, for a process that its user is not to look into: another one of that user can neither
/// trace it nor use what it has open.
///
/// # Errors
/// As [`assume`].
pub fn become_unseen(account: &Account) -> io::Result<()> {
    let name = CString::new(account.name.as_str())?;
    let gid = Gid::from_raw(account.owner.gid);
    let uid = Uid::from_raw(account.owner.uid);
    unistd::initgroups(&name, gid)?;
    unistd::setresgid(gid, gid, gid)?;
    unistd::setresuid(uid, uid, uid)?;
    prctl::set_dumpable(false)?;
    Ok(())
}

/// Starts a command, with the core dumps that it might leave if we forbade ourselves none.
fn spawn(command: &mut tokio::process::Command) -> io::Result<tokio::process::Child> {
    dump::as_before(|| command.spawn())
}

/// Tells of a process that was waited for, but nothing of its arguments.
fn told(argv: &[impl AsRef<OsStr>], watch: Stopwatch, end: Option<End>) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let program = argv
        .first()
        .map(|program| program.as_ref().to_string_lossy());
    let program = program.as_deref().unwrap_or_default();
    let (arguments, ms) = (argv.len().saturating_sub(1), watch.elapsed_ms());
    let (exit, signal) = match end {
        Some(End::Exited(status)) => (Some(status), None),
        Some(End::Killed(signal)) => (None, Some(signal)),
        Some(End::TimedOut | End::Stopped) | None => (None, None),
    };
    let what = match end {
        Some(End::Exited(_)) => "a process ended",
        Some(End::Killed(_)) => "a process was killed",
        Some(End::TimedOut) => "a process took too long and was ended",
        Some(End::Stopped) => "a process was ended",
        None => "a process goes on",
    };
    tracing::debug!(program, arguments, exit, signal, ms, "{what}");
}

/// Whether this process may act for any user.
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// A clock that only measures: `CLOCK_MONOTONIC`, which a changed wall clock does not move and which
/// stands still while the machine is suspended (`clock_gettime(2)`).
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// How long ago that was.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// The same in whole milliseconds.
    pub fn elapsed_ms(self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Makes this process the one to which orphans among its descendants fall (prctl(2),
/// `PR_SET_CHILD_SUBREAPER`), so that none gets away by forking twice or by setsid(2).
///
/// # Errors
/// As the system refuses.
pub fn adopt_orphans() -> io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

/// A command to run to its end.
#[derive(Debug)]
pub struct Command<'a> {
    /// The program, an absolute path, and its arguments.
    pub argv: &'a [String],
    /// Its whole environment.
    pub env: &'a [(String, String)],
    /// Where it starts.
    pub dir: &'a Path,
    /// What it reads on its standard input; when that is empty, it has none.
    pub input: &'a [u8],
}

/// How long a command may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until it is asked to end.
    pub timeout: Duration,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
}

/// Where a command wrote something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal, which was not ours.
    Killed(i32),
    /// By us, after its time.
    TimedOut,
    /// By us, because `stop` was done.
    Stopped,
}

impl End {
    /// The exit status that a shell would give it: 128 and the signal for what a signal ended.
    pub fn shell_status(self) -> u8 {
        let status = match self {
            Self::Exited(status) => status,
            Self::Killed(signal) => 128_i32.saturating_add(signal),
            Self::TimedOut | Self::Stopped => 124,
        };
        u8::try_from(status).unwrap_or(u8::MAX)
    }
}

/// What is known of a command when it and all its descendants are gone.
#[derive(Debug, Clone, Copy)]
pub struct Finished {
    /// How it ended.
    pub end: End,
    /// How long it took, suspension of the machine left out.
    pub elapsed: Duration,
    /// Descendants that were still there when it ended by itself, and were ended.
    pub left_behind: usize,
    /// Descendants that could not be ended (another user's, or stuck in the kernel).
    pub survivors: usize,
}

fn end_of(status: ExitStatus) -> End {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exited(code),
        (None, signal) => End::Killed(signal.unwrap_or(0)),
    }
}

/// Copies both streams to `output` until both have ended, through one small buffer each.
async fn pump(
    mut out: impl AsyncRead + Unpin,
    mut err: impl AsyncRead + Unpin,
    output: &mut dyn FnMut(Stream, &[u8]),
) {
    let (mut out_buffer, mut err_buffer) = (vec![0_u8; 16 << 10], vec![0_u8; 16 << 10]);
    let (mut out_open, mut err_open) = (true, true);
    while out_open || err_open {
        // A read that fails tells no more than an end: the other end is gone.
        tokio::select! {
            read = out.read(&mut out_buffer), if out_open => match read {
                Ok(0) | Err(_) => out_open = false,
                Ok(n) => output(Stream::Out, out_buffer.get(..n).unwrap_or_default()),
            },
            read = err.read(&mut err_buffer), if err_open => match read {
                Ok(0) | Err(_) => err_open = false,
                Ok(n) => output(Stream::Err, err_buffer.get(..n).unwrap_or_default()),
            },
        }
        // Sixteen kilobytes at a time: a flood must not keep the timeout from being looked at.
        tokio::task::yield_now().await;
    }
}

/// Writes all of `input`, as far as anybody reads it, and then ends it.
async fn feed(stdin: Option<tokio::process::ChildStdin>, input: &[u8]) {
    if let Some(mut stdin) = stdin {
        // Who closes his input has read enough.
        let _ = stdin.write_all(input).await;
    }
}

/// Drives `pump` while it waits for `what`.
async fn while_pumping<T>(
    mut pump: Pin<&mut impl Future<Output = ()>>,
    pumped: &mut bool,
    what: impl Future<Output = T>,
) -> T {
    let mut what = pin!(what);
    loop {
        tokio::select! {
            biased;
            done = &mut what => return done,
            () = pump.as_mut(), if !*pumped => *pumped = true,
        }
    }
}

/// Runs a command until it has ended, or until its time is over or `stop` is done; then ends
/// whatever is left of its process tree, and returns when that is gone.
///
/// The command gets a process group of its own and nothing of our environment.
/// Its output goes to `output` in pieces of at most 16 KiB and is never held back. The calling
/// process must have called [`adopt_orphans`] and have no other children: all its descendants are
/// taken for the command's.
///
/// # Errors
/// When the command cannot be started.
pub async fn run(
    command: &Command<'_>,
    limits: Limits,
    stop: impl Future<Output = ()>,
    output: &mut dyn FnMut(Stream, &[u8]),
) -> io::Result<Finished> {
    run_beside(command, limits, stop, output, tree::Spared::Some(&[])).await
}

/// What a command that was run for its output said.
#[derive(Debug)]
pub struct Captured {
    /// How it ended; [`End::Stopped`] where it said too much.
    pub end: End,
    /// Its standard output. It may be a secret.
    pub output: SecretSlice<u8>,
    /// How many bytes it wrote to standard error; they are dropped, since they may hold the secret too.
    pub errors: usize,
}

/// Runs a command for at most `most` bytes of standard output, and ends its whole process tree when it
/// takes longer or says more. What we started besides, in our own process group, is left alone.
///
/// The calling process must have called [`adopt_orphans`], and run no other command so meanwhile.
///
/// # Errors
/// When the command cannot be started.
pub async fn capture(command: &Command<'_>, limits: Limits, most: usize) -> io::Result<Captured> {
    let (mut said, mut errors) = (Vec::with_capacity(most), 0);
    let enough = tokio::sync::Notify::new();
    let mut output = |stream, bytes: &[u8]| match stream {
        Stream::Out if said.len() + bytes.len() > most => enough.notify_one(),
        Stream::Out => said.extend_from_slice(bytes),
        Stream::Err => errors += bytes.len(),
    };
    let stop = enough.notified();
    let finished = run_beside(command, limits, stop, &mut output, tree::Spared::OwnGroup).await?;
    Ok(Captured {
        end: finished.end,
        output: said.into(),
        errors,
    })
}

async fn run_beside(
    command: &Command<'_>,
    limits: Limits,
    stop: impl Future<Output = ()>,
    output: &mut dyn FnMut(Stream, &[u8]),
    spared: tree::Spared<'_>,
) -> io::Result<Finished> {
    let watch = Stopwatch::start();
    let (program, arguments) = command
        .argv
        .split_first()
        .ok_or_else(|| io::Error::other("the argument vector is empty"))?;
    let mut child = spawn(
        tokio::process::Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(command.env.iter().map(|(name, value)| (name, value)))
            .current_dir(command.dir)
            .process_group(0)
            .stdin(if command.input.is_empty() {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    )?;
    let main = child.id();
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::Error::other("the command's output was not piped"));
    };
    let feed = feed(child.stdin.take(), command.input);
    let mut pump = pin!(async {
        let ((), ()) = tokio::join!(pump(out, err, output), feed);
    });
    let mut pumped = false;

    let ended = async {
        tokio::select! {
            status = child.wait() => status.map(end_of),
            () = sleep(limits.timeout) => Ok(End::TimedOut),
            () = stop => Ok(End::Stopped),
        }
    };
    let end = while_pumping(pump.as_mut(), &mut pumped, ended).await?;
    let elapsed = watch.elapsed();
    told(command.argv, watch, Some(end));
    let mut gone = tree::Gone::default();
    if tree::has_children() {
        let ending = tree::end_descendants(main, spared, limits.grace);
        let waiting = async {
            let (gone, _) = tokio::join!(ending, timeout(limits.grace * 2, child.wait()));
            gone
        };
        gone = while_pumping(pump.as_mut(), &mut pumped, waiting).await;
    }
    if !pumped {
        let _ = timeout(DRAIN, pump).await;
    }
    let by_itself = matches!(end, End::Exited(_) | End::Killed(_));
    Ok(Finished {
        end,
        elapsed,
        left_behind: if by_itself { gone.found } else { 0 },
        survivors: gone.survivors,
    })
}

/// A process of ours that goes on by itself: a run that the worker started.
#[derive(Debug)]
pub struct Started {
    child: tokio::process::Child,
    pid: u32,
}

impl Started {
    /// Starts a program with our environment, no standard input, and its standard output thrown away.
    ///
    /// It gets a process group of its own, so that a Ctrl-C in a terminal reaches only us.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(argv: &[std::ffi::OsString]) -> io::Result<Self> {
        let (program, arguments) = argv
            .split_first()
            .ok_or_else(|| io::Error::other("the argument vector is empty"))?;
        let child = spawn(
            tokio::process::Command::new(program)
                .args(arguments)
                .process_group(0)
                .stdin(Stdio::null())
                .stdout(Stdio::null()),
        )?;
        told(argv, Stopwatch::start(), None);
        let pid = child.id().unwrap_or(0);
        Ok(Self { child, pid })
    }

    /// Its PID.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// As wait(2) fails.
    pub async fn wait(&mut self) -> io::Result<End> {
        self.child.wait().await.map(end_of)
    }
}

/// Runs a command by hand: with our environment, directory, terminal and process group, so that a
/// Ctrl-C reaches it; the caller must listen to signals, to outlive it. Waits for its end.
///
/// # Errors
/// When it cannot be started, or waited for.
pub async fn foreground(argv: &[std::ffi::OsString]) -> io::Result<End> {
    let (program, arguments) = argv
        .split_first()
        .ok_or_else(|| io::Error::other("the argument vector is empty"))?;
    let watch = Stopwatch::start();
    let mut child = spawn(tokio::process::Command::new(program).args(arguments))?;
    let end = end_of(child.wait().await?);
    told(argv, watch, Some(end));
    Ok(end)
}

/// What a short command said, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// How it ended.
    pub end: End,
    /// Its standard error, at most [`MOST_SAID`] bytes of it.
    pub error_text: String,
}

/// How much of what a command says is kept, in bytes.
pub const MOST_SAID: u64 = 1 << 20;

/// Runs a command for what it says on standard error: with nothing on standard input, no environment
/// but `env`, and killed when it takes longer than `patience`.
///
/// # Errors
/// `NotFound` where there is no such program; else as it cannot be started or waited for.
pub async fn listen(
    argv: &[std::ffi::OsString],
    env: &[(&str, std::ffi::OsString)],
    patience: Duration,
) -> io::Result<Said> {
    let (program, arguments) = argv
        .split_first()
        .ok_or_else(|| io::Error::other("the argument vector is empty"))?;
    let watch = Stopwatch::start();
    let mut child = spawn(
        tokio::process::Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true),
    )?;
    let mut text = Vec::new();
    let stderr = child.stderr.take();
    let whole = async {
        if let Some(mut stderr) = stderr {
            (&mut stderr).take(MOST_SAID).read_to_end(&mut text).await?;
            // The rest is read and dropped, so that it does not wait for us.
            tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await?;
        }
        child.wait().await
    };
    let end = match timeout(patience, whole).await {
        Ok(status) => end_of(status?),
        Err(_) => End::TimedOut,
    };
    if end == End::TimedOut {
        let _ = child.kill().await;
    }
    told(argv, watch, Some(end));
    Ok(Said {
        end,
        error_text: String::from_utf8_lossy(&text).into_owned(),
    })
}

/// What a short command answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// How it ended.
    pub end: End,
    /// Its standard output.
    pub output: Vec<u8>,
    /// Its standard error, at most [`MOST_SAID`] bytes of it.
    pub error_text: String,
}

/// Runs a command with `input` on standard input, for what it writes: with no environment but `env`,
/// and killed when it takes longer than `patience` or writes more than 16 [`MOST_SAID`].
///
/// # Errors
/// As [`listen`].
pub async fn converse(
    argv: &[std::ffi::OsString],
    env: &[(&str, std::ffi::OsString)],
    input: &[u8],
    patience: Duration,
) -> io::Result<Answered> {
    use tokio::io::AsyncWriteExt as _;
    let (program, arguments) = argv
        .split_first()
        .ok_or_else(|| io::Error::other("the argument vector is empty"))?;
    let watch = Stopwatch::start();
    let mut child = spawn(
        tokio::process::Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true),
    )?;
    let (mut output, mut said) = (Vec::new(), Vec::new());
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // Whoever does not read its input says why on its own.
            let _ = stdin.write_all(input).await;
        }
    };
    let hear = async {
        if let Some(stdout) = stdout {
            stdout.take(16 * MOST_SAID).read_to_end(&mut output).await?;
        }
        Ok::<(), io::Error>(())
    };
    let listen = async {
        if let Some(stderr) = stderr {
            stderr.take(MOST_SAID).read_to_end(&mut said).await?;
        }
        Ok::<(), io::Error>(())
    };
    let whole = async {
        let ((), heard, listened) = tokio::join!(feed, hear, listen);
        heard.and(listened)?;
        child.wait().await
    };
    let end = match timeout(patience, whole).await {
        Ok(status) => end_of(status?),
        Err(_) => End::TimedOut,
    };
    if end == End::TimedOut {
        let _ = child.kill().await;
    }
    told(argv, watch, Some(end));
    Ok(Answered {
        end,
        output,
        error_text: String::from_utf8_lossy(&said).into_owned(),
    })
}

/// Asks a process to end (SIGTERM). One that is gone already is no error.
pub fn ask_to_end(pid: u32) {
    send(pid, signal::Signal::SIGTERM);
}

/// Ends every descendant of this process that is not one of `except` or below one of them.
pub async fn end_strays(except: &[u32], grace: Duration) {
    tree::end_strays(except, grace).await;
}

fn send(pid: u32, signal: signal::Signal) {
    if let Ok(pid) = i32::try_from(pid)
        && pid > 1
    {
        // It may be gone, or another user's by now: both are seen when we look again.
        let _ = signal::kill(Pid::from_raw(pid), signal);
    }
}

/// Tests in processes of their own: [`run`] takes all descendants of its process for its command's.
#[cfg(test)]
pub mod apart {
    /// Runs the body of a test in a process of its own; `name` is its path, crate included.
    ///
    /// # Panics
    /// When the test fails.
    pub fn run(name: &str, body: fn()) {
        const MARK: &str = "LORECTL_TEST_APART";
        if std::env::var(MARK).is_ok() {
            return body();
        }
        let (_, path) = name.split_once("::").unwrap();
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "--test-threads=1", path])
            .env(MARK, "1")
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{out}{err}");
        assert!(out.contains("1 passed"), "{path} was not run: {out}");
    }

    macro_rules! apart {
        ($(#[$meta:meta])* fn $name:ident() $body:block) => {
            $(#[$meta])*
            #[test]
            fn $name() {
                let name = concat!(module_path!(), "::", stringify!($name));
                $crate::effect::process::apart::run(name, || $body);
            }
        };
    }
    pub(crate) use apart;
}

#[cfg(test)]
mod tests {
    use super::{apart::apart, *};

    fn shell(
        dir: &Path,
        script: &str,
        limits: Limits,
        output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Finished {
        adopt_orphans().unwrap();
        let argv = ["/bin/sh", "-c", script].map(str::to_owned);
        let command = Command {
            argv: &argv,
            env: &[("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
            dir,
            input: &[],
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime
            .block_on(run(&command, limits, std::future::pending(), output))
            .unwrap()
    }

    const SOON: Limits = Limits {
        timeout: Duration::from_millis(700),
        grace: Duration::from_millis(200),
    };
    const LATE: Limits = Limits {
        timeout: Duration::from_secs(60),
        grace: Duration::from_millis(200),
    };

    apart! {
        fn we_leave_no_core_dump_and_what_we_start_may() {
            use nix::sys::resource::{Resource, getrlimit, setrlimit};
            let limit = || getrlimit(Resource::RLIMIT_CORE).unwrap();
            let (_, hard) = limit();
            let before = hard.min(1 << 20);
            setrlimit(Resource::RLIMIT_CORE, before, hard).unwrap();
            let asked = |expected: &str| {
                let dir = tempfile::tempdir().unwrap();
                let mut text = Vec::new();
                let finished = shell(dir.path(), "ulimit -c", LATE, &mut |_, bytes| {
                    text.extend_from_slice(bytes);
                });
                assert_eq!(finished.end, End::Exited(0));
                assert_eq!(String::from_utf8(text).unwrap().trim(), expected);
            };
            // In blocks of 512 bytes (dash(1), POSIX).
            let blocks = (before / 512).to_string();
            asked(&blocks);
            for _ in 0..2 {
                forbid_core_dumps();
                assert_eq!(limit(), (0, hard));
                assert!(!prctl::get_dumpable().unwrap());
                asked(&blocks);
                assert_eq!(limit(), (0, hard));
            }
        }
    }

    fn is_gone(pid_file: &Path) -> bool {
        let pid = std::fs::read_to_string(pid_file).unwrap();
        tree::stat(pid.trim().parse().unwrap()).is_none_or(|stat| stat.ended)
    }

    apart! {
        fn what_ignores_sigterm_and_leaves_its_session_is_ended() {
            let dir = tempfile::tempdir().unwrap();
            let script = "trap '' TERM
                (setsid sh -c 'trap \"\" TERM; echo $$ >deaf; while :; do sleep 1; done' &)
                sh -c 'echo $$ >stopped; kill -STOP $$' &
                while :; do sleep 1; done";
            let finished = shell(dir.path(), script, SOON, &mut |_, _| {});
            assert_eq!(finished.end, End::TimedOut);
            assert_eq!(finished.survivors, 0);
            assert!(!tree::has_children());
            assert!(is_gone(&dir.path().join("deaf")));
            assert!(is_gone(&dir.path().join("stopped")));
        }
    }

    apart! {
        fn what_a_command_leaves_behind_is_ended_and_counted() {
            let dir = tempfile::tempdir().unwrap();
            let script = "(setsid sh -c 'echo $$ >left; exec sleep 60' &)
                until [ -s left ]; do :; done; echo done; exit 7";
            let mut text = Vec::new();
            let finished = shell(dir.path(), script, LATE, &mut |_, bytes| {
                text.extend_from_slice(bytes);
            });
            assert_eq!(finished.end, End::Exited(7));
            assert_eq!(finished.left_behind, 1);
            assert_eq!(text, b"done\n");
            assert!(is_gone(&dir.path().join("left")));
        }
    }

    apart! {
        fn what_forks_faster_than_it_is_killed_is_ended() {
            let dir = tempfile::tempdir().unwrap();
            let script = "cat >hydra <<'END'
trap '' TERM
echo x >>heads
setsid sh hydra &
setsid sh -c 'trap \"\" TERM; sleep 60' &
sleep 0.01
END
                sh hydra & sleep 60";
            let finished = shell(dir.path(), script, SOON, &mut |_, _| {});
            assert_eq!(finished.survivors, 0);
            assert!(!tree::has_children());
            let heads = std::fs::read(dir.path().join("heads")).unwrap().len();
            assert!(heads > 20, "only {heads}");
        }
    }

    apart! {
        fn a_flood_of_output_stays_out_of_memory() {
            let dir = tempfile::tempdir().unwrap();
            let mut total = 0_u64;
            let count = &mut |_, bytes: &[u8]| total += bytes.len() as u64;
            let finished = shell(dir.path(), "yes | head -c 300000000; exit 3", LATE, count);
            assert_eq!((finished.end, total), (End::Exited(3), 300_000_000));
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
            let kilobytes: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
            assert!(kilobytes < 64 << 10, "{peak}");
        }
    }

    apart! {
        fn streams_directory_and_environment_are_the_commands_own() {
            let dir = tempfile::tempdir().unwrap();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let script = "echo o; echo e >&2; pwd; env; read line || echo nothing; kill -9 $$";
            let finished = shell(dir.path(), script, LATE, &mut |stream, bytes| match stream {
                Stream::Out => out.extend_from_slice(bytes),
                Stream::Err => err.extend_from_slice(bytes),
            });
            assert_eq!(finished.end, End::Killed(9));
            let out = String::from_utf8(out).unwrap();
            assert!(out.starts_with("o\n") && out.ends_with("nothing\n"), "{out}");
            assert!(out.contains(dir.path().to_str().unwrap()));
            assert!(!out.contains("LORECTL_TEST"), "our environment is not passed on");
            assert_eq!(err, b"e\n");
        }
    }

    #[tokio::test]
    async fn a_short_command_is_heard_and_not_waited_for_for_ever() {
        let listen = async |script: &str, patience: u64| {
            let argv = ["/bin/sh", "-c", script].map(std::ffi::OsString::from);
            let env = [("WORD", "w".into())];
            super::listen(&argv, &env, Duration::from_millis(patience)).await
        };
        let said = listen("echo $WORD >&2; echo $HOME >&2; exit 3", 60_000).await;
        let said = said.unwrap();
        assert_eq!(
            (said.end, said.error_text.as_str()),
            (End::Exited(3), "w\n\n")
        );
        let said = listen("yes >&2 & exec sleep 60", 300).await.unwrap();
        assert_eq!(said.end, End::TimedOut);
        assert_eq!(said.error_text.len() as u64, MOST_SAID);
        let missing = super::listen(&["/no/such".into()], &[], Duration::from_secs(60)).await;
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn this_process_is_alive_and_another_of_its_number_is_not() {
        let this = Identity::this();
        assert!(this.is_alive());
        let other = |change: fn(&mut Identity)| {
            let mut other = this.clone();
            change(&mut other);
            other
        };
        assert!(!other(|id| id.started += 1).is_alive());
        assert!(!other(|id| id.boot.push('x')).is_alive());
        assert!(!other(|id| id.pid = u32::MAX).is_alive());
    }
}
