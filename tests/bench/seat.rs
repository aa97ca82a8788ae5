//! The figures of the operator's seat: `tests/bench/run seat [SERVICES]`.

use std::{fmt::Write as _, fs, path::PathBuf, process::Command, time::Instant};

use sha2::{Digest, Sha256};

use crate::{LORECTL, ROUNDS, median, ms, row, timed};

/// Measures plans of so many services for another host, and what people wait for with a tenth of them.
pub fn run(services: usize) {
    println!("{:<52} {:>9} {:>9} {:>7}", "", "lorectl", "floor", "ratio");
    let few = Place::new((services / 10).max(10));
    few.looked_at();
    let many = Place::new(services);
    many.elsewhere();
}

/// Services of the worker's, applied; what is read of them has no part in whom they are woken by.
struct Place {
    services: usize,
    dir: PathBuf,
}

impl Place {
    fn new(services: usize) -> Self {
        let dir = PathBuf::from(format!("/srv/seat{services}"));
        let place = Self { services, dir };
        place.write("info");
        let mut apply = place.command(&["apply", "-y", "-q"]);
        assert!(apply.output().unwrap().status.success());
        place
    }

    /// The spec, in ten files.
    fn write(&self, level: &str) {
        let spec = self.dir.join("spec");
        fs::create_dir_all(&spec).unwrap();
        for file in 0..10 {
            let mut text = "version = 1\n".to_owned();
            if file == 0 {
                text += "[project]\nname = \"bench\"\n";
            }
            for job in (file..self.services).step_by(10) {
                writeln!(
                    text,
                    "[services.job{job:05}]\nscheduler = \"worker\"\ndescription = \"Job {job}\"\n\
                     schedule = {{ every = \"{}m\" }}\nrun = [\"/bin/echo\", \"job\", \"{job}\"]\n\
                     env = {{ LEVEL = \"{level}\" }}\ntimeout = \"10m\"",
                    30 + job % 30
                )
                .unwrap();
            }
            fs::write(spec.join(format!("{file}.toml")), text).unwrap();
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(LORECTL);
        command
            .args(args)
            .env("LORECTL_STATE_DIR", self.dir.join("state"))
            .env("HOME", &self.dir)
            .current_dir(self.dir.join("spec"));
        if args[0] != "status" && !args.contains(&"--") && args[0] != "observe" {
            command.args(["-f", "."]);
        }
        command
    }

    /// `status`, and the completion of an address, beside a bare process.
    fn looked_at(&self) {
        let status = ["status", "--project", "bench"];
        beside_true(
            &format!("`lorectl status` of {} services", self.services),
            || self.command(&status),
        );
        let asks = [
            "--",
            "lorectl",
            "status",
            "--project",
            "bench",
            "service.job0000",
        ];
        let completion = || {
            let mut command = Command::new(LORECTL);
            command
                .args(asks)
                .env("LORECTL_STATE_DIR", self.dir.join("state"))
                .env("HOME", &self.dir)
                .env("LORECTL_COMPLETE", "zsh")
                .env("_CLAP_COMPLETE_INDEX", (asks.len() - 2).to_string())
                .current_dir(&self.dir);
            command
        };
        let told = completion().output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        assert!(told.contains("service.job00001"), "{told}");
        beside_true("  completion of an address among them", completion);
    }

    /// `plan --observed` where nothing changes, and where everything does, beside reading and hashing
    /// what it reads.
    fn elsewhere(&self) {
        let snapshot = self.dir.join("snapshot.json");
        let out = snapshot.to_str().unwrap();
        let mut observe = self.command(&["observe", "--project", "bench", "--out", out]);
        assert!(observe.output().unwrap().status.success());
        for (level, what) in [("info", "nothing changes"), ("debug", "every one changes")] {
            self.write(level);
            let plan = ["plan", "-q", "--observed", out];
            let (mut ours, mut floor, mut peak) = (Vec::new(), Vec::new(), 0);
            for _ in 0..ROUNDS {
                let began = Instant::now();
                let mut sum = Sha256::new();
                for file in fs::read_dir(self.dir.join("spec")).unwrap() {
                    sum.update(fs::read(file.unwrap().path()).unwrap());
                }
                sum.update(fs::read(&snapshot).unwrap());
                assert_ne!(sum.finalize()[..], [0; 32]);
                floor.push(began.elapsed());
                let usage = timed(&mut self.command(&plan));
                ours.push(usage.wall);
                peak = peak.max(usage.peak_kib);
            }
            let what = format!("`plan --observed` of {}: {what}", self.services);
            println!(
                "{what:<52} {:>9} {:>9}",
                ms(median(ours)),
                ms(median(floor))
            );
            println!("{:<52} {:>6} MB", "  its peak memory", peak / 1024);
        }
    }
}

fn beside_true(what: &str, command: impl Fn() -> Command) {
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS * 3 {
        ours.push(timed(&mut command()).wall);
        floor.push(timed(&mut Command::new("/bin/true")).wall);
    }
    row(what, median(ours), Some(median(floor)));
}
