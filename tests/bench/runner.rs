//! The runner's figures: `tests/bench/run runner [SERVICES] [SECONDS]`.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use lorectl::{
    id::Timestamp,
    service::schedule::{check_cron, walk::Walk},
};

use crate::{LORECTL, ROUNDS, median, ms, row, timed};

const HOUR: i64 = 3600;

/// Measures in a directory that is on a real disk, since a run's record is synced.
pub fn run(place: &Path, services: usize, seconds: u64) {
    println!("{:<52} {:>9} {:>9} {:>7}", "", "lorectl", "floor", "ratio");
    let jobs = Jobs::new(place.join("jobs"));
    jobs.skipped();
    jobs.ran();
    occurrences();
    idle(&place.join("idle"), services, seconds);
}

/// Services of the worker's, whose runs are started here as it would.
struct Jobs {
    dir: PathBuf,
    applied: Timestamp,
}

fn spec(dir: &Path, text: &str) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("lore.toml"), text).unwrap();
}

impl Jobs {
    fn new(dir: PathBuf) -> Self {
        let job = |name: &str, program: &str| {
            format!(
                "[services.{name}]\nscheduler = \"worker\"\nschedule = {{ every = \"1h\" }}\n\
                 splay = \"0s\"\nrun = [\"{program}\"]\n"
            )
        };
        let [held, bad, good] = [
            job("held", "/bin/true"),
            job("bad", "/bin/false"),
            job("good", "/bin/true"),
        ];
        spec(
            &dir,
            &format!("version = 1\n[project]\nname = \"jobs\"\n{held}{bad}{good}"),
        );
        let jobs = Self {
            dir,
            applied: "2026-02-09T10:00:00Z".parse().unwrap(),
        };
        jobs.at(0, &["apply", "-y"]);
        jobs.at(0, &["service", "pause", "held"]);
        jobs
    }

    /// `lorectl` so many seconds after the apply.
    fn command(&self, seconds: i64, args: &[&str]) -> Command {
        let mut command = Command::new(LORECTL);
        let now = self.applied.plus_seconds(seconds).to_string();
        command
            .args(args)
            .args(["--project", "jobs"])
            .current_dir(&self.dir)
            .env("LORECTL_NOW", now)
            .env("LORECTL_STATE_DIR", self.dir.join("state"));
        command
    }

    fn at(&self, seconds: i64, args: &[&str]) -> String {
        let output = self.command(seconds, args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a wake-up costs that is not to become a run.
    fn skipped(&self) {
        // A wake-up half a minute early is due; the wait after a failure is an hour to the second.
        self.at(HOUR, &["service", "run", "bad"]);
        let early = 2 * HOUR - 30;
        for (what, name, seconds) in [("paused", "held", 2 * HOUR), ("backoff", "bad", early)] {
            let args = ["service", "run", name, "--json"];
            let said = self.at(seconds, &args);
            assert!(said.contains("\"outcome\":\"skipped\""), "{what}: {said}");
            let (mut ours, mut floor, mut peak) = (Vec::new(), Vec::new(), 0);
            for _ in 0..ROUNDS * 3 {
                floor.push(timed(&mut Command::new("/bin/true")).wall);
                let usage = timed(&mut self.command(seconds, &args));
                ours.push(usage.wall);
                peak = peak.max(usage.peak_kib);
            }
            let what = format!("`service run` that is skipped ({what})");
            row(&what, median(ours), Some(median(floor)));
            println!("{:<52} {:>6.1} MB", "  its peak memory", mib(peak));
        }
    }

    /// What a run costs beyond its stage, durable records included.
    fn ran(&self) {
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        for round in 1..=ROUNDS * 3 {
            floor.push(timed(&mut Command::new("/bin/true")).wall);
            let seconds = HOUR * i64::try_from(round).unwrap();
            let args = ["service", "run", "good"];
            ours.push(timed(&mut self.command(seconds, &args)).wall);
        }
        let status = self.at(0, &["service", "status", "good", "--json"]);
        assert!(status.contains("\"outcome\":\"success\""), "{status}");
        let (ours, floor) = (median(ours), median(floor));
        row("`service run` of one stage `true`", ours, Some(floor));
        let overhead = ours.saturating_sub(floor);
        println!("{:<52} {:>9}", "  less the stage itself", ms(overhead));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn float(count: u64) -> f64 {
    count as f64
}

fn mib(kib: u64) -> f64 {
    float(kib) / 1024.0
}

/// The next thousand occurrences of a thousand schedules, in zones that do something of their own.
fn occurrences() {
    let expressions = [
        "30 2 * * *",
        "15,45 0-4 * * *",
        "*/20 1,2,3 * * 0",
        "5 2 1-15 * 0",
        "30 * * * *",
        "*/17 */3 * * *",
        "59 1,12 * 3,4,9,10,11 *",
    ];
    let zones = [
        "Europe/Paris",
        "America/New_York",
        "Australia/Lord_Howe",
        "Africa/Casablanca",
        "Asia/Gaza",
        "UTC",
    ];
    let after: Timestamp = "2026-02-09T10:00:00Z".parse().unwrap();
    let measure = || {
        let began = Instant::now();
        for number in 0..1000 {
            let expression = expressions[number % expressions.len()];
            let (cron, zone) = check_cron(expression, zones[number % zones.len()]).unwrap();
            std::hint::black_box(Walk::after(cron, zone, after).nth(999).unwrap());
        }
        began.elapsed()
    };
    let times = (0..ROUNDS).map(|_| measure()).collect();
    row(
        "next 1,000 occurrences of 1,000 schedules",
        median(times),
        None,
    );
}

/// What the worker costs that has nothing to do.
fn idle(dir: &Path, services: usize, seconds: u64) {
    let mut text = String::from("version = 1\n[project]\nname = \"idle\"\n");
    for job in 0..services {
        write!(
            text,
            "[services.job{job:05}]\nscheduler = \"worker\"\nschedule = {{ every = \"{}h\" }}\n\
             run = [\"/bin/true\"]\n",
            10 + job % 10
        )
        .unwrap();
    }
    spec(dir, &text);
    let state = dir.join("state");
    let mut apply = Command::new(LORECTL);
    apply
        .args(["apply", "-y", "-q"])
        .current_dir(dir)
        .env("LORECTL_STATE_DIR", &state);
    timed(&mut apply);
    let mut worker = Command::new(LORECTL)
        .arg("worker")
        .arg("-q")
        .env("LORECTL_STATE_DIR", &state)
        .spawn()
        .unwrap();
    let proc = PathBuf::from(format!("/proc/{}", worker.id()));
    // It has read all there is when it goes to sleep.
    let mut last = ticks(&proc);
    loop {
        thread::sleep(Duration::from_secs(2));
        let now = ticks(&proc);
        if now - last < 5 {
            break;
        }
        last = now;
    }
    let (before, began) = (ticks(&proc), Instant::now());
    thread::sleep(Duration::from_secs(seconds));
    let used = ticks(&proc) - before;
    let elapsed = began.elapsed().as_secs_f64();
    let status = fs::read_to_string(proc.join("status")).unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|kib| kib.parse().ok())
        .unwrap();
    worker.kill().unwrap();
    worker.wait().unwrap();
    // A tick is a hundredth of a second: proc(5), `sysconf(_SC_CLK_TCK)`.
    let core = float(used) / elapsed;
    let what = format!("worker with {services} idle services for {seconds} s");
    println!("{what:<52} {core:>5.2} % of a core");
    println!("{:<52} {:>6.1} MB", "  its peak memory", mib(peak));
}

/// The processor time of a process, its own and the system's, in ticks.
fn ticks(proc: &Path) -> u64 {
    let stat = fs::read_to_string(proc.join("stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields = fields.split(' ').skip(11).take(2);
    fields.map(|field| field.parse::<u64>().unwrap()).sum()
}
