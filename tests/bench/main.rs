//! Figures, by hand: lorectl against a floor in the same run. See `tests/bench/run`.
//!
//! The floor is the least that has to be done: bare `std::fs` and D-Bus, no spec, no state, no plan.
//! Runs alternate, so that a machine whose speed drifts is fair to both; medians are printed.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark stands outside the house, prints, and stops at the first surprise"
)]

mod credentials;
mod runner;
mod seat;

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

const LORECTL: &str = "/usr/local/bin/lorectl";
const UNITS: &str = "/etc/systemd/system";
const ROUNDS: usize = 7;

fn main() {
    let mut args = std::env::args().skip(1);
    let binary = args.next().unwrap_or_default();
    if !Path::new("/run/lorectl-sandbox").exists() {
        println!("run tests/bench/run");
        return;
    }
    fs::copy(&binary, LORECTL).unwrap();
    fs::set_permissions(LORECTL, fs::Permissions::from_mode(0o755)).unwrap();
    let number = |word: Option<String>, default| match word {
        Some(word) => word.parse().unwrap(),
        None => default,
    };
    let mut args = args.peekable();
    if args.next_if(|word| word == "runner").is_some() {
        let services = number(args.next(), 10_000);
        let seconds = number(args.next(), 60);
        let place = Path::new(&binary).with_file_name("runner");
        runner::run(&place, services, seconds.try_into().unwrap());
        return;
    }
    if args.next_if(|word| word == "seat").is_some() {
        seat::run(number(args.next(), 10_000));
        return;
    }
    if args.next_if(|word| word == "credentials").is_some() {
        credentials::run(number(args.next(), 1_000));
        return;
    }
    let most: usize = number(args.next(), 10_000);
    println!("{:<52} {:>9} {:>9} {:>7}", "", "lorectl", "floor", "ratio");
    small();
    let few = Host::new((most / 10).max(10));
    few.create();
    few.apply();
    let quick = few.no_op();
    few.destroy();
    let many = Host::new(most);
    many.apply();
    let slow = many.no_op();
    println!(
        "{:<52} {:>8.1}x",
        format!("growth from {} to {}", few.services, many.services),
        slow.as_secs_f64() / quick.as_secs_f64()
    );
}

/// A spec of so many services, and where its state goes.
struct Host {
    services: usize,
    spec: PathBuf,
    state: PathBuf,
}

impl Host {
    fn new(services: usize) -> Self {
        let spec = PathBuf::from(format!("/srv/spec-{services}"));
        fs::create_dir_all(&spec).unwrap();
        for file in 0..10 {
            let mut text = String::from("version = 1\n");
            if file == 0 {
                text.push_str("[project]\nname = \"bench\"\n");
            }
            for job in (0..services).filter(|job| job % 10 == file) {
                writeln!(
                    text,
                    "[services.job{job:05}]\ndescription = \"Job {job}\"\nuser = \"root\"\n\
                     schedule = {{ every = \"{}m\" }}\nrun = [\"/bin/echo\", \"job\", \"{job}\"]\n\
                     env = {{ LEVEL = \"info\" }}\ntimeout = \"10m\"",
                    30 + job % 30
                )
                .unwrap();
            }
            fs::write(spec.join(format!("{file}.toml")), text).unwrap();
        }
        Self {
            services,
            spec,
            state: PathBuf::from(format!("/srv/state-{services}")),
        }
    }

    fn lorectl(&self, command: &[&str]) -> Usage {
        let mut process = Command::new(LORECTL);
        process.args(command).arg("-q");
        process.arg("-f").arg(&self.spec);
        process.arg("--state-dir").arg(&self.state);
        timed(&mut process)
    }

    fn apply(&self) {
        self.lorectl(&["apply", "-y"]);
    }

    fn destroy(&self) {
        self.lorectl(&["destroy", "-y", "--purge"]);
        fs::remove_dir_all(&self.state).unwrap();
    }

    fn names(&self, suffix: &str) -> Vec<String> {
        (0..self.services)
            .map(|job| format!("lorectl-bench.job{job:05}{suffix}"))
            .collect()
    }

    fn services_dir(&self) -> PathBuf {
        self.state.join("bench/services")
    }

    /// A no-op plan, against reading and hashing the same files and asking for the same timers.
    fn no_op(&self) -> Duration {
        let (mut ours, mut floor, mut memory) = (Vec::new(), Vec::new(), 0);
        let bus = Bus::open();
        for _ in 0..ROUNDS {
            let began = Instant::now();
            self.read_and_hash();
            bus.list(&self.names(".timer"));
            floor.push(began.elapsed());
            let usage = self.lorectl(&["plan"]);
            memory = memory.max(usage.peak_kib);
            ours.push(usage.wall);
        }
        let ours = median(ours);
        row(
            &format!("no-op plan of {} services", self.services),
            ours,
            Some(median(floor)),
        );
        println!("{:<52} {:>6} MB", "  its peak memory", memory / 1024);
        ours
    }

    fn read_and_hash(&self) {
        let mut sum = Sha256::new();
        for suffix in [".service", ".timer"] {
            for name in self.names(suffix) {
                sum.update(fs::read(Path::new(UNITS).join(name)).unwrap());
            }
        }
        for job in 0..self.services {
            let path = self.services_dir().join(format!("job{job:05}/run.json"));
            sum.update(fs::read(path).unwrap());
        }
        std::hint::black_box(sum.finalize());
    }

    /// An apply that creates all, against writing the same files, one sync, one reload, one start.
    fn create(&self) {
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            ours.push(self.lorectl(&["apply", "-y"]).wall);
            let files = self.files();
            self.destroy();
            let began = Instant::now();
            for dir in &files.dirs {
                fs::create_dir_all(dir).unwrap();
            }
            for (path, bytes) in &files.contents {
                fs::write(path, bytes).unwrap();
            }
            Command::new("sync").arg("-f").arg(UNITS).status().unwrap();
            let systemctl = |args: &[String]| {
                let status = Command::new("systemctl").args(args).status().unwrap();
                assert!(status.success(), "systemctl {:?}", args.first());
            };
            systemctl(&["daemon-reload".to_owned()]);
            for (link, target) in &files.links {
                std::os::unix::fs::symlink(target, link).unwrap();
            }
            let all = |verb: &str| -> Vec<String> {
                let mut args = vec![verb.to_owned()];
                args.extend(self.names(".timer"));
                args
            };
            systemctl(&all("start"));
            floor.push(began.elapsed());
            systemctl(&all("stop"));
            let paths = files.contents.iter().map(|(path, _)| path);
            for path in paths.chain(files.links.iter().map(|(link, _)| link)) {
                fs::remove_file(path).unwrap();
            }
            fs::remove_dir_all(&self.state).unwrap();
            systemctl(&["daemon-reload".to_owned()]);
        }
        row(
            &format!("apply that creates {} services", self.services),
            median(ours),
            Some(median(floor)),
        );
    }

    fn files(&self) -> Files {
        let mut files = Files::default();
        for suffix in [".service", ".timer"] {
            for name in self.names(suffix) {
                let path = Path::new(UNITS).join(name);
                let bytes = fs::read(&path).unwrap();
                files.contents.push((path, bytes));
            }
        }
        for name in self.names(".timer") {
            let link = Path::new(UNITS).join("timers.target.wants").join(&name);
            let target = fs::read_link(&link).unwrap();
            files.links.push((link, target));
        }
        for job in 0..self.services {
            let dir = self.services_dir().join(format!("job{job:05}"));
            files.dirs.push(dir.join("data"));
            for name in ["run.json", "data/status.json"] {
                let path = dir.join(name);
                let bytes = fs::read(&path).unwrap();
                files.contents.push((path, bytes));
            }
        }
        files
    }
}

/// What an apply wrote.
#[derive(Default)]
struct Files {
    dirs: Vec<PathBuf>,
    contents: Vec<(PathBuf, Vec<u8>)>,
    links: Vec<(PathBuf, PathBuf)>,
}

/// The whole process where there is little to do: a service of the worker.
fn small() {
    let dir = Path::new("/srv/small");
    fs::create_dir_all(dir).unwrap();
    let spec = "version = 1\n[project]\nname = \"small\"\n[services.one]\nscheduler = \"worker\"\n\
                schedule = { every = \"1h\" }\nrun = [\"/bin/true\"]\n";
    fs::write(dir.join("lore.toml"), spec).unwrap();
    let lorectl = |args: &[&str]| timed(Command::new(LORECTL).args(args).current_dir(dir)).wall;
    lorectl(&["apply", "-y"]);
    for (what, args) in [
        ("`lorectl plan` of one service on the worker", &["plan"][..]),
        ("`lorectl --version`", &["--version"]),
    ] {
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS * 3 {
            ours.push(lorectl(args));
            floor.push(timed(&mut Command::new("/bin/true")).wall);
        }
        row(what, median(ours), Some(median(floor)));
    }
}

/// What a process took.
struct Usage {
    wall: Duration,
    peak_kib: u64,
}

fn timed(command: &mut Command) -> Usage {
    let program = command.get_program().to_owned();
    let mut watched = Command::new("/usr/bin/time");
    watched
        .args(["-q", "-o", "/srv/peak", "-f", "%M"])
        .arg(program);
    watched.args(command.get_args());
    for (name, value) in command.get_envs() {
        watched.env(name, value.unwrap_or_default());
    }
    if let Some(dir) = command.get_current_dir() {
        watched.current_dir(dir);
    }
    watched.stdout(Stdio::null());
    let began = Instant::now();
    let status = watched.status().unwrap();
    let wall = began.elapsed();
    assert!(status.success(), "{command:?}");
    let peak = fs::read_to_string("/srv/peak").unwrap();
    Usage {
        wall,
        peak_kib: peak.trim().parse().unwrap(),
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn row(what: &str, ours: Duration, floor: Option<Duration>) {
    match floor {
        Some(floor) => println!(
            "{what:<52} {:>9} {:>9} {:>6.2}x",
            ms(ours),
            ms(floor),
            ours.as_secs_f64() / floor.as_secs_f64()
        ),
        None => println!("{what:<52} {:>9}", ms(ours)),
    }
}

/// The system's manager, with nothing in between.
struct Bus {
    runtime: tokio::runtime::Runtime,
    connection: zbus::Connection,
}

impl Bus {
    fn open() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let connection = runtime.block_on(zbus::Connection::system()).unwrap();
        Self {
            runtime,
            connection,
        }
    }

    fn list(&self, names: &[String]) {
        self.runtime.block_on(async {
            for batch in names.chunks(1000) {
                let reply = self
                    .connection
                    .call_method(
                        Some("org.freedesktop.systemd1"),
                        "/org/freedesktop/systemd1",
                        Some("org.freedesktop.systemd1.Manager"),
                        "ListUnitsByNames",
                        &batch,
                    )
                    .await
                    .unwrap();
                std::hint::black_box(reply.body().len());
            }
        });
    }
}
