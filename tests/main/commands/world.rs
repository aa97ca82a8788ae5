//! A place of its own for one test: a home, a state directory, a spec, a fixed time and seed.

use std::{
    ffi::OsStr,
    fs,
    io::Write,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use super::tree::Tree;

/// How long a command may take before a test calls it hung. No test waits so long for a state.
const DEADLINE: Duration = Duration::from_secs(120);

/// The instant at which every test begins.
pub const NOW: &str = "2026-02-03T04:05:06Z";

/// The head of a spec.
pub const HEAD: &str = "version = 1\n\n[project]\nname = \"acme\"\n";

/// A service of the worker that does nothing, every hour.
pub fn service(name: &str, rest: &str) -> String {
    format!(
        "\n[services.{name}]\nschedule = {{ every = \"1h\" }}\nscheduler = \"worker\"\nrun = [\"true\"]\n{rest}"
    )
}

/// A place of its own for one test, removed at its end.
pub struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// An empty home, no state, no spec.
    pub fn new() -> Self {
        // The same length everywhere, so that no text is wrapped elsewhere on another machine.
        let dir = tempfile::Builder::new()
            .prefix("lorectl-")
            .rand_bytes(6)
            .tempdir_in("/tmp")
            .unwrap();
        for name in ["home", "spec"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    /// A world with this spec after the head.
    pub fn with(spec: &str) -> Self {
        let world = Self::new();
        world.spec(spec);
        world
    }

    /// The directory that holds all of it.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The directory that commands start in.
    pub fn spec_dir(&self) -> PathBuf {
        self.path().join("spec")
    }

    /// The state directory of the project `acme`.
    pub fn state(&self) -> PathBuf {
        self.path().join("state/acme")
    }

    /// Writes `lore.toml`: the head, then this.
    pub fn spec(&self, rest: &str) {
        self.file("lore.toml", format!("{HEAD}{rest}"));
    }

    /// Writes a file beside the spec.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.spec_dir().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Writes a program beside the spec.
    pub fn program(&self, name: &str, text: &str) {
        let path = self.file(name, text);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// All that is there.
    pub fn tree(&self) -> Tree {
        Tree::of(self.path())
    }

    /// `lorectl` with these arguments, to be changed and run.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Call<'_> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lorectl"));
        command.args(arguments);
        self.prepared(command)
    }

    /// `/bin/sh` with this script; `$LORECTL` is the program.
    pub fn shell(&self, script: &str) -> Call<'_> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        self.prepared(command)
    }

    fn prepared(&self, mut command: Command) -> Call<'_> {
        command
            .env_clear()
            .env("HOME", self.path().join("home"))
            .env("LORECTL", env!("CARGO_BIN_EXE_lorectl"))
            .env("LORECTL_NOW", NOW)
            .env("LORECTL_SEED", "1")
            .env("LORECTL_STATE_DIR", self.path().join("state"))
            .env("PATH", "/usr/bin:/bin")
            .current_dir(self.spec_dir())
            .stdin(Stdio::null());
        Call {
            world: self,
            command,
            input: None,
        }
    }

    /// Runs `lorectl` with these words.
    pub fn run(&self, words: &str) -> Ran {
        self.command(words.split_whitespace()).run()
    }

    /// Runs `lorectl` with these words, which must end with 0 and complain of nothing.
    pub fn ok(&self, words: &str) -> String {
        self.run(words).exits(0).quiet().stdout
    }

    /// Runs `lorectl` with these words, which must end with this status and this one error, print
    /// nothing else and touch nothing.
    pub fn refuses(&self, words: &str, status: i32, code: &str) -> Ran {
        self.command(words.split_whitespace()).refuses(status, code)
    }

    /// A text without what differs between machines and runs; as long as before, where columns count.
    pub fn redacted(&self, text: &str) -> String {
        let own = self.path().file_name().unwrap().to_str().unwrap();
        without_digests(&text.replace(own, "lorectl-______"))
    }
}

/// A text with `#` for each digit of a digest, whole or cut short: what it is of holds paths and users.
fn without_digests(text: &str) -> String {
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (run, after) = rest.split_at(rest.find(|c| !is_hex(c)).unwrap_or(rest.len()));
        if run.len() < 32 {
            clean.push_str(run);
        } else {
            clean.extend(run.chars().map(|_| '#'));
        }
        let (other, after) = after.split_at(after.find(is_hex).unwrap_or(after.len()));
        clean.push_str(other);
        rest = after;
    }
    clean
}

/// One call of a command.
pub struct Call<'a> {
    world: &'a World,
    command: Command,
    input: Option<Vec<u8>>,
}

impl Call<'_> {
    /// Sets a variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// What standard input holds.
    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.command.stdin(Stdio::piped());
        self.input = Some(input.into());
        self
    }

    /// Time passes, as on a machine.
    pub fn in_real_time(mut self) -> Self {
        self.command.env_remove("LORECTL_NOW");
        self
    }

    /// Starts it; what it prints is to be read.
    pub fn spawn(mut self) -> Child {
        let command = self.command.stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    /// Starts it with these as standard input, output and error.
    pub fn on(mut self, stdin: Stdio, stdout: Stdio, stderr: Stdio) -> Child {
        let command = self.command.stdin(stdin).stdout(stdout).stderr(stderr);
        command.spawn().unwrap()
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Ran {
        let shown = format!("{:?}", self.command);
        let mut child = self
            .command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
        if let Some(input) = self.input.take() {
            let mut stdin = child.stdin.take().unwrap();
            // Whoever ends without reading all of it has its reasons.
            thread::spawn(move || drop(stdin.write_all(&input)));
        }
        let (ended, end) = mpsc::channel();
        thread::spawn(move || ended.send(child.wait_with_output()));
        let Ok(output) = end.recv_timeout(DEADLINE) else {
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            panic!("{shown} does not end");
        };
        Ran::of(self.world, output.unwrap())
    }

    /// As [`World::refuses`].
    pub fn refuses(self, status: i32, code: &str) -> Ran {
        let world = self.world;
        let before = world.tree();
        let ran = self.run().exits(status).complains(code);
        assert_eq!(ran.stdout, "", "it prints\n{}", ran.stderr);
        world.tree().is_untouched_but_for_locks_since(&before);
        ran
    }
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status; 128 and the signal where one ended it.
    pub status: i32,
    /// What it printed, redacted.
    pub stdout: String,
    /// What it complained of, redacted.
    pub stderr: String,
}

impl Ran {
    fn of(world: &World, output: Output) -> Self {
        let text = |bytes| world.redacted(&String::from_utf8(bytes).unwrap());
        let status = output.status;
        Self {
            status: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap()),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// It ended with this status.
    #[track_caller]
    pub fn exits(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// It complained of nothing.
    #[track_caller]
    pub fn quiet(self) -> Self {
        assert_eq!(self.stderr, "");
        self
    }

    /// It complained of one thing, by this code, in plain text.
    #[track_caller]
    pub fn complains(self, code: &str) -> Self {
        let heads: Vec<&str> = (self.stderr.lines())
            .filter(|line| line.starts_with("error"))
            .collect();
        let [head] = heads.as_slice() else {
            panic!("not one error:\n{}", self.stderr)
        };
        let begins = format!("error[{code}]: ");
        assert!(head.starts_with(&begins), "{}", self.stderr);
        for text in [&self.stderr, &self.stdout] {
            let escaped = text.contains(|c: char| c.is_control() && c != '\n');
            assert!(!escaped, "control characters in {text:?}");
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// It printed or complained this.
    #[track_caller]
    pub fn says(self, part: &str) -> Self {
        let all = format!("{}{}", self.stdout, self.stderr);
        // A line may have been wrapped anywhere.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words(&all).contains(&words(part)), "no {part:?} in\n{all}");
        self
    }
}
