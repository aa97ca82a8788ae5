//! The program, with a home, a state directory and a spec of its own.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use lorectl::id::Timestamp;
use serde_json::Value;

use crate::server::now;

/// Where one test's credentials are declared, kept and delivered; it goes with this.
pub struct Home {
    dir: tempfile::TempDir,
    /// The variables that its sources name.
    env: Vec<(&'static str, String)>,
    /// What its clock says, where it stands still.
    pub now: Option<Timestamp>,
}

/// What a command ended with.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status; 128 and the signal where one ended it.
    pub status: i32,
    /// All that it printed, on either stream.
    pub text: String,
}

impl Home {
    /// A home with a spec, in which `OUT` is a directory to deliver to.
    pub fn new(spec: &str, env: &[(&'static str, &str)]) -> Self {
        let home = Self {
            dir: tempfile::tempdir().unwrap(),
            env: (env.iter())
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            now: None,
        };
        for name in ["home", "spec", "out"] {
            fs::create_dir(home.path(name)).unwrap();
        }
        home.spec(spec);
        home
    }

    pub fn spec(&self, spec: &str) {
        let spec = spec.replace("OUT", self.path("out").to_str().unwrap());
        let head = "version = 1\n[project]\nname = \"acme\"\n";
        fs::write(self.path("spec/lore.toml"), format!("{head}{spec}")).unwrap();
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Sets a variable that a source names.
    pub fn variable(&mut self, name: &'static str, value: &str) {
        self.env.retain(|(known, _)| *known != name);
        self.env.push((name, value.to_owned()));
    }

    /// What was delivered under that name.
    pub fn delivered(&self, name: &str) -> String {
        fs::read_to_string(self.path("out").join(name)).unwrap()
    }

    /// The record of a credential.
    pub fn record(&self, name: &str) -> Value {
        let path = self.path("state/acme/secrets").join(name);
        serde_json::from_slice(&fs::read(path.join("record.json")).unwrap()).unwrap()
    }

    /// Nothing was ever applied or delivered here.
    pub fn forget(&self) {
        for name in ["state", "out"] {
            let _ = fs::remove_dir_all(self.path(name));
        }
        fs::create_dir(self.path("out")).unwrap();
    }

    /// Its clock stands still, so many seconds ahead of the machine's.
    pub fn ahead(&mut self, seconds: i64) {
        self.now = Some(now().plus_seconds(seconds));
    }

    /// Its clock stands still, so many seconds later than before.
    pub fn later(&mut self, seconds: i64) {
        self.now = self.now.map(|now| now.plus_seconds(seconds));
    }

    /// A program with arguments, in this home.
    pub fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.path("home"))
            .env("LORECTL_STATE_DIR", self.path("state"))
            .env("PATH", "/usr/bin:/bin")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.path("spec"))
            .stdin(Stdio::null());
        if let Some(now) = &self.now {
            command.env("LORECTL_NOW", now.to_string());
        }
        command
    }

    /// Runs `lorectl` with these words.
    pub fn run(&self, words: &str) -> Ran {
        let words: Vec<&str> = words.split_whitespace().collect();
        let program = Path::new(env!("CARGO_BIN_EXE_lorectl"));
        Ran::of(&self.command(program, &words).output().unwrap())
    }
}

impl Ran {
    pub fn of(output: &Output) -> Self {
        let status = output.status;
        let text = [&output.stdout[..], &output.stderr].concat();
        Self {
            status: (status.code()).unwrap_or_else(|| 128 + status.signal().unwrap()),
            text: String::from_utf8(text).unwrap(),
        }
    }

    #[track_caller]
    pub fn exits(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    #[track_caller]
    pub fn says(self, part: &str) -> Self {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words(&self.text).contains(&words(part)),
            "no {part:?} in\n{}",
            self.text
        );
        self
    }
}
