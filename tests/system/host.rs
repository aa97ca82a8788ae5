//! The sandbox as a person has it before them: `lorectl` on the PATH, a spec in a directory, a
//! manager to ask, and files to look at.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt::Write as _,
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use serde_json::Value;

/// Where `lorectl` is installed.
pub const INSTALLED: &str = "/usr/local/bin/lorectl";
/// The ordinary user, whose manager lingers.
const USER: &str = "lore";

static PROJECTS: AtomicU32 = AtomicU32::new(0);

/// Whose manager a test works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// PID 1, asked by root.
    System,
    /// That of an ordinary user, asked by that user.
    User,
    /// The same, asked by root for that user.
    Other,
}

/// A manager, and a project and a directory that no other test has.
pub struct Host {
    pub manager: Manager,
    pub project: String,
    /// Whom commands run as.
    pub account: Account,
    /// Whose manager it is.
    pub owner: Account,
    /// Where the spec is, and where commands start.
    pub dir: PathBuf,
    /// The state directory that is taken when none is named.
    pub state_dir: PathBuf,
    /// Where our units are.
    pub units: PathBuf,
}

/// A user of the sandbox.
#[derive(Debug, Clone)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: PathBuf,
}

/// One service of a spec: its keys, and their values as TOML.
#[derive(Debug, Clone)]
pub struct Job {
    name: String,
    keys: BTreeMap<String, String>,
}

impl Job {
    /// Sets a key; the value is TOML.
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.keys.insert(key.to_owned(), value.to_owned());
        self
    }
}

impl Job {
    /// The same under another name.
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Leaves a key out.
    pub fn without(mut self, key: &str) -> Self {
        self.keys.remove(key);
        self
    }
}

/// What a command answered.
#[derive(Debug)]
pub struct Answer {
    /// The exit status; 128 and the signal's number for one that a signal ended.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    pub fn of(output: &Output) -> Self {
        let status = output.status;
        Self {
            status: status
                .code()
                .or(status.signal().map(|signal| 128 + signal))
                .unwrap(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Itself, where the status is that; else a panic that shows all.
    #[track_caller]
    pub fn exits(self, status: i32) -> Self {
        assert_eq!(
            self.status, status,
            "exit status\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// The envelope.
    #[track_caller]
    pub fn json(&self) -> Value {
        let last = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The data of the envelope.
    #[track_caller]
    pub fn data(&self) -> Value {
        self.json()["data"].clone()
    }

    /// The code, message and suggestion of the envelope's error.
    #[track_caller]
    pub fn error(&self) -> (String, String, String) {
        let error = self.json()["error"].clone();
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        (text("code"), text("message"), text("suggestion"))
    }
}

/// Installs `lorectl`, and makes the ordinary user with a manager that lingers. On a first boot, no
/// state of this machine's own is taken for the sandbox's.
pub fn prepare() {
    run(
        "install",
        &["-m", "0755", env!("CARGO_BIN_EXE_lorectl"), INSTALLED],
    );
    if account(USER).is_none() {
        run("useradd", &["--create-home", "--shell", "/bin/bash", USER]);
        run("rm", &["-rf", "/var/lib/lorectl"]);
    }
    // Starts logind too, which the sandbox's basic.target does not.
    run("loginctl", &["enable-linger", USER]);
    let user = account(USER).unwrap();
    poll("the user's manager", || {
        lorectl::effect::host::runtime_dir(user.uid)
            .join("bus")
            .exists()
    });
}

/// A user by name.
pub fn account(name: &str) -> Option<Account> {
    let found = lorectl::effect::user::by_name(name).unwrap()?;
    Some(Account {
        name: name.to_owned(),
        uid: found.owner.uid,
        gid: found.owner.gid,
        home: found.home,
    })
}

/// Polls until something holds; fails after 30 seconds.
#[track_caller]
pub fn poll(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a program that must succeed; what it printed.
#[track_caller]
pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let answer = Answer::of(&output);
    assert_eq!(answer.status, 0, "{program} {args:?}: {answer:?}");
    answer.stdout
}

impl Host {
    /// A project for a test of that name.
    pub fn new(manager: Manager, test: &str) -> Self {
        let number = PROJECTS.fetch_add(1, Ordering::Relaxed);
        let word = test
            .split('_')
            .find(|word| word.len() > 3)
            .unwrap_or("test");
        Self::of_project(manager, &format!("{word}-{number}"))
    }

    /// The host with a project of that name.
    pub fn of_project(manager: Manager, project: &str) -> Self {
        match manager {
            Manager::System => Self {
                manager,
                project: project.to_owned(),
                account: account("root").unwrap(),
                owner: account("root").unwrap(),
                dir: Path::new("/srv/specs").join(project),
                state_dir: PathBuf::from("/var/lib/lorectl"),
                units: PathBuf::from("/etc/systemd/system"),
            },
            Manager::User => Self::of_user(account(USER).unwrap(), project),
            Manager::Other => Self::for_user(account(USER).unwrap(), project),
        }
        .with_dir()
    }

    /// The host as some ordinary user sees it.
    pub fn of_user(account: Account, project: &str) -> Self {
        Self {
            manager: Manager::User,
            project: project.to_owned(),
            dir: account.home.join("specs").join(project),
            state_dir: account.home.join(".local/state/lorectl"),
            units: account.home.join(".config/systemd/user"),
            owner: account.clone(),
            account,
        }
        .with_dir()
    }

    /// The host as root sees it who applies for some ordinary user.
    pub fn for_user(owner: Account, project: &str) -> Self {
        Self {
            manager: Manager::Other,
            units: owner.home.join(".config/systemd/user"),
            owner,
            ..Self::of_project(Manager::System, project)
        }
    }

    fn with_dir(self) -> Self {
        self.make_dir(&self.dir);
        self
    }

    /// Makes a directory that belongs to whoever commands run as; where jobs leave something, and in a
    /// home, to whoever has the manager.
    pub fn make_dir(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        let homes = [&self.account.home, &self.owner.home];
        let mut at = dir;
        while !homes.contains(&&at.to_path_buf())
            && at.parent().is_some_and(|up| up != Path::new("/"))
        {
            self.own(at);
            at = at.parent().unwrap();
        }
    }

    fn own(&self, path: &Path) {
        let below = |dir: &Path| path != dir && path.starts_with(dir);
        let of_owner = below(&self.owner.home) || (below(&self.dir) && path.is_dir());
        let whose = if of_owner { &self.owner } else { &self.account };
        std::os::unix::fs::chown(path, Some(whose.uid), Some(whose.gid)).unwrap();
    }

    /// Writes a file: a new one is of whoever commands run as.
    pub fn write(&self, path: &Path, bytes: impl AsRef<[u8]>) {
        let is_new = fs::symlink_metadata(path).is_err();
        fs::write(path, bytes).unwrap();
        if is_new {
            self.own(path);
        }
    }

    /// A program that runs those lines of shell.
    pub fn script(&self, name: &str, lines: &str) -> PathBuf {
        let path = self.dir.join(name);
        self.write(&path, format!("#!/bin/sh\n{lines}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// A service that runs nothing of note, once an hour.
    pub fn job(&self, name: &str) -> Job {
        let job = Job {
            name: name.to_owned(),
            keys: BTreeMap::new(),
        };
        let job = job
            .with("schedule", r#"{ every = "1h" }"#)
            .with("splay", r#""0s""#)
            .with("run", r#"["/bin/true"]"#);
        match self.manager {
            Manager::System => job
                .with("scheduler", r#""systemd-system""#)
                .with("user", r#""root""#),
            Manager::User => job.with("scheduler", r#""systemd-user""#),
            Manager::Other => job
                .with("scheduler", r#""systemd-user""#)
                .with("user", &format!("\"{}\"", self.owner.name)),
        }
    }

    /// Writes the spec.
    pub fn spec(&self, jobs: &[Job]) {
        let mut text = format!(
            "version = 1\n[project]\nname = \"{}\"\nmin_interval = \"1s\"\n",
            self.project
        );
        for job in jobs {
            let _ = writeln!(text, "\n[services.{}]", job.name);
            for (key, value) in &job.keys {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        self.write(&self.dir.join("lore.toml"), text);
    }

    /// A command of whoever the host is seen as, in the directory of the spec, with next to no environment.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", &self.account.home)
            .current_dir(&self.dir)
            .stdin(Stdio::null());
        if self.account.uid != 0 {
            command.uid(self.account.uid).gid(self.account.gid);
        }
        command
    }

    /// A command of whoever has the manager, in that user's home.
    pub fn command_of_owner(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command(program);
        let runtime = lorectl::effect::host::runtime_dir(self.owner.uid);
        command
            .env("HOME", &self.owner.home)
            .env("XDG_RUNTIME_DIR", runtime)
            .current_dir(&self.owner.home)
            .uid(self.owner.uid)
            .gid(self.owner.gid);
        command
    }

    /// Runs `lorectl`.
    pub fn lorectl(&self, args: &[&str]) -> Answer {
        Answer::of(&self.command(INSTALLED).args(args).output().unwrap())
    }

    /// Starts `lorectl` and does not wait for it.
    pub fn start(&self, args: &[&str]) -> Child {
        let mut command = self.command(INSTALLED);
        command
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Applies the spec, which must succeed.
    #[track_caller]
    pub fn apply(&self) -> Answer {
        self.lorectl(&["apply", "-y"]).exits(0)
    }

    /// The data of `drift --json`, and its exit status.
    pub fn drift(&self) -> (i32, Value) {
        let answer = self.lorectl(&["drift", "--json", "--detailed-exitcode"]);
        (answer.status, answer.data())
    }

    /// Nothing is left to do, and nothing drifted.
    #[track_caller]
    pub fn converged(&self) {
        self.lorectl(&["plan", "--detailed-exitcode"]).exits(0);
        let (status, drift) = self.drift();
        let none = Value::Array(Vec::new());
        for key in ["drift", "unknown", "strays"] {
            assert_eq!(drift[key], none, "{key} of {drift}");
        }
        assert_eq!(status, 0);
    }

    /// Runs `systemctl` of this manager; what it printed, whatever its status.
    pub fn systemctl(&self, args: &[&str]) -> String {
        let mut command = self.command_of_owner("systemctl");
        if self.manager != Manager::System {
            command.arg("--user");
        }
        Answer::of(&command.args(args).output().unwrap()).stdout
    }

    /// One property of a unit.
    pub fn property(&self, unit: &str, property: &str) -> String {
        let shown = self.systemctl(&["show", "--value", "--property", property, unit]);
        shown.trim().to_owned()
    }

    /// `lorectl-PROJECT.NAME.SUFFIX`.
    pub fn unit(&self, name: &str, suffix: &str) -> String {
        format!("lorectl-{}.{name}.{suffix}", self.project)
    }

    /// Where that unit is.
    pub fn path(&self, name: &str, suffix: &str) -> PathBuf {
        self.units.join(self.unit(name, suffix))
    }

    /// Where the links that enable timers are.
    pub fn wants(&self) -> PathBuf {
        self.units.join("timers.target.wants")
    }

    /// The project's directory.
    pub fn root(&self) -> PathBuf {
        self.state_dir.join(&self.project)
    }

    /// A service's directory.
    pub fn service(&self, name: &str) -> PathBuf {
        self.root().join("services").join(name)
    }

    /// `state.json`.
    pub fn state(&self) -> Value {
        serde_json::from_slice(&fs::read(self.root().join("state.json")).unwrap()).unwrap()
    }

    /// `status.json` of a service, if it is there and whole.
    pub fn status(&self, name: &str) -> Option<Value> {
        let bytes = fs::read(self.service(name).join("data/status.json")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Everything on the host of those services but what belongs to their runs: files and links with
    /// bytes, mode and owner, and whether the timers are up.
    pub fn snapshot(&self, names: &[&str]) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for name in names {
            let stem = format!("lorectl-{}.{name}.", self.project);
            for dir in [self.units.clone(), self.wants()] {
                for path in list(&dir) {
                    if file_name(&path).starts_with(&stem) {
                        describe(&path, &mut found);
                    }
                }
            }
            describe(&self.service(name), &mut found);
        }
        found.retain(|path, _| !path.contains("/data/"));
        let timers: Vec<String> = names.iter().map(|name| self.unit(name, "timer")).collect();
        let mut args = vec![
            "show",
            "--property",
            "Id,ActiveState,LoadState,UnitFileState",
        ];
        args.extend(timers.iter().map(String::as_str));
        for block in self.systemctl(&args).split("\n\n") {
            let mut lines: Vec<&str> = block.trim().lines().collect();
            lines.sort_unstable();
            found.insert(format!("systemd {}", lines.join(" ")), String::new());
        }
        found
    }

    /// All that the host holds of the project beside its state: units, links, stamps, drop-ins; and
    /// temporary files in every directory that we write to.
    pub fn residue(&self) -> Vec<String> {
        let stem = format!("lorectl-{}.", self.project);
        let mut found = Vec::new();
        for dir in self.unit_dirs() {
            for path in list(&dir) {
                let name = file_name(&path);
                if name.contains(&stem) || is_temporary(&name) {
                    found.push(path.display().to_string());
                }
            }
        }
        found.extend(self.temporary_files());
        found.sort();
        found.dedup();
        found
    }

    /// Temporary files in every directory that we write to.
    pub fn temporary_files(&self) -> Vec<String> {
        let mut found = BTreeMap::new();
        describe(&self.root(), &mut found);
        for dir in self.unit_dirs() {
            found.extend(
                list(&dir)
                    .iter()
                    .map(|path| (path.display().to_string(), String::new())),
            );
        }
        found
            .into_keys()
            .filter(|path| is_temporary(&file_name(Path::new(path))))
            .collect()
    }

    fn unit_dirs(&self) -> Vec<PathBuf> {
        let (more, stamps) = match self.manager {
            Manager::System => (
                vec![
                    PathBuf::from("/etc/systemd/system.control"),
                    PathBuf::from("/run/systemd/system"),
                    PathBuf::from("/run/systemd/system.control"),
                    PathBuf::from("/run/systemd/transient"),
                ],
                PathBuf::from("/var/lib/systemd/timers"),
            ),
            Manager::User | Manager::Other => {
                let run = lorectl::effect::host::runtime_dir(self.owner.uid).join("systemd");
                (
                    vec![
                        self.owner.home.join(".config/systemd/user.control"),
                        run.join("user"),
                        run.join("user.control"),
                        run.join("transient"),
                    ],
                    self.owner.home.join(".local/share/systemd/timers"),
                )
            }
        };
        let mut dirs = vec![self.units.clone(), self.wants(), stamps];
        dirs.extend(more);
        dirs
    }

    /// Polls until the manager knows no unit of the project.
    #[track_caller]
    pub fn forgotten(&self) {
        let stem = format!("lorectl-{}.", self.project);
        poll("the manager to forget", || {
            let all = self.systemctl(&["list-units", "--all", "--plain", "--no-legend"]);
            !all.contains(&stem)
        });
    }
}

fn is_temporary(name: &str) -> bool {
    let (prefix, suffix) = lorectl::effect::disk::TEMPORARY;
    name.starts_with(prefix) && name.ends_with(suffix)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// What is in a directory, ordered; nothing where there is none.
pub fn list(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    paths
}

/// Everything below a path with its bytes, mode and owner. What goes while one looks is not there.
pub fn describe(path: &Path, found: &mut BTreeMap<String, String>) {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return;
    };
    let what = if meta.is_symlink() {
        format!("-> {}", fs::read_link(path).unwrap().display())
    } else if meta.is_dir() {
        for path in list(path) {
            describe(&path, found);
        }
        "directory".to_owned()
    } else {
        String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
    };
    let (mode, uid, gid) = (meta.mode() & 0o7777, meta.uid(), meta.gid());
    found.insert(
        path.display().to_string(),
        format!("{mode:04o} {uid}:{gid} {what}"),
    );
}
