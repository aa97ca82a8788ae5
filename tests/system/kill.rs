//! `kill -9` before and after everything that an apply does to the world.
//!
//! The points come from a trace of an apply that was left alone. Before a call: SIGKILL, which
//! `strace` delivers instead of the call. After one: a signal that nothing handles, which it
//! delivers with the call; the process ends as it would of SIGKILL, at the same place each time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use crate::{
    Test, adopt,
    host::{Answer, Host, Manager, list, run},
    trace,
};

/// On either manager.
pub const BOTH: &[Test] = &[
    ("a_kill_anywhere_in_an_apply_is_mended", changes),
    ("a_kill_anywhere_in_a_first_apply_is_mended", first),
    ("a_kill_anywhere_in_a_destroy_is_mended", purge),
];

/// On the system's manager.
pub const SYSTEM: &[Test] = &[("a_kill_anywhere_in_a_take_over_is_mended", takes_over)];

/// Where an apply is ended.
#[derive(Debug, Clone)]
struct Point {
    call: trace::Call,
    after: bool,
}

impl Point {
    /// How it reads in a report.
    fn name(&self) -> String {
        let when = if self.after { "after" } else { "before" };
        let shown: String = self.call.text.chars().take(100).collect();
        format!("{when} {} {}: {shown}", self.call.name, self.call.number)
    }

    /// Gives the command and ends it here; whether the end came here.
    fn strike(&self, host: &Host, command: &[&str]) -> Result<bool, String> {
        let (signal, number) = if self.after {
            ("SIGUSR1", 10)
        } else {
            ("SIGKILL", 9)
        };
        let (name, when) = (&self.call.name, self.call.number);
        let inject = format!("inject={name}:signal={signal}:when={when}");
        let trace = format!("trace={name}");
        let options = ["-o", "/dev/null", "-e", &trace, "-e", &inject];
        let output = trace::strace(host, &options, command).output();
        let answer = Answer::of(&output.unwrap());
        match answer.status {
            0 => Ok(false),
            status if status == 128 + number => Ok(true),
            _ => Err(format!("{answer:?}")),
        }
    }
}

/// Before each call that has an effect, and after what others act upon while we wait: each message to
/// the manager, and the last call of all.
fn points(calls: &[trace::Call]) -> Vec<Point> {
    let with_effect: Vec<&trace::Call> = calls.iter().filter(|call| call.has_effect()).collect();
    let last = with_effect.len() - 1;
    let mut points = Vec::new();
    for (at, call) in with_effect.into_iter().enumerate() {
        let point = |after| Point {
            call: call.clone(),
            after,
        };
        points.push(point(false));
        if call.sends() || at == last {
            points.push(point(true));
        }
    }
    points
}

/// A story of kills.
struct Story<'a> {
    host: &'a Host,
    /// Brings the host to where each killed command begins.
    prepare: &'a dyn Fn(),
    /// The command that is killed, and then given again.
    command: &'a [&'a str],
    /// The services that the host is looked at for.
    names: &'a [&'a str],
    /// The fewest points that there may be.
    least: usize,
    /// The most that are tried: past this every second, third … is.
    most: usize,
    /// What else must be as it was, once the command was given again.
    also: &'a dyn Fn() -> String,
}

impl Story<'_> {
    fn run(&self) {
        let host = self.host;
        (self.prepare)();
        let (answer, calls) = trace::traced(host, self.command);
        answer.exits(0);
        let (wanted, also) = (self.look(), (self.also)());
        let all = points(&calls);
        assert!(
            all.len() >= self.least,
            "only {} points in {calls:#?}",
            all.len()
        );
        let chosen: Vec<&Point> = all.iter().step_by(all.len().div_ceil(self.most)).collect();
        let mut hit = 0;
        let mut wrong = Vec::new();
        for point in &chosen {
            (self.prepare)();
            let found = match point.strike(host, self.command) {
                Ok(false) => continue,
                Ok(true) => {
                    hit += 1;
                    let mut wrong = self.mend(&wanted);
                    let found = (self.also)();
                    if found != also {
                        wrong.push(format!("there is {found} and not {also}"));
                    }
                    wrong
                }
                Err(what) => vec![what],
            };
            wrong.extend(
                found
                    .into_iter()
                    .map(|what| format!("{}: {what}", point.name())),
            );
        }
        eprintln!(
            "{}: killed at {hit} of {} points, of {} that there are",
            host.project,
            chosen.len(),
            all.len()
        );
        assert!(
            wrong.is_empty(),
            "{} findings\n{}",
            wrong.len(),
            wrong.join("\n")
        );
        assert!(hit * 10 >= chosen.len() * 9, "{hit} of {}", chosen.len());
    }

    /// What the host holds, temporary files of all projects included, and nothing that runs write.
    fn look(&self) -> BTreeMap<String, String> {
        let mut found = self.host.snapshot(self.names);
        for path in self.host.temporary_files() {
            found.insert(path, "a temporary file".to_owned());
        }
        found
    }

    /// Gives the command again; what is not as it must be.
    fn mend(&self, wanted: &BTreeMap<String, String>) -> Vec<String> {
        let host = self.host;
        let mut wrong = Vec::new();
        let mut must = |what: &str, args: &[&str], statuses: &[i32]| {
            let answer = host.lorectl(args);
            if !statuses.contains(&answer.status) {
                wrong.push(format!("{what}: {answer:?}"));
            }
        };
        must("a plan after the kill", &["plan", "--allow-deletes"], &[0]);
        must("status after the kill", &["status"], &[0]);
        must("the same again", self.command, &[0]);
        if self.command[0] == "apply" {
            must("a plan after that", &["plan", "--detailed-exitcode"], &[0]);
        }
        let (status, drift) = host.drift();
        if status != 0 || drift["strays"] != serde_json::json!([]) {
            wrong.push(format!("drift: {drift}"));
        }
        let found = self.look();
        let all: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
        for path in all {
            let (wanted, found) = (wanted.get(path), found.get(path));
            if wanted != found {
                wrong.push(format!("{path} is {found:?} and must be {wanted:?}"));
            }
        }
        for name in self.names {
            let installed = host.path(name, "timer").exists();
            let status = host.status(name);
            if installed && status.is_none_or(|status| status.get("last_run").is_some()) {
                wrong.push(format!("{name} has no status, or it ran"));
            }
        }
        for path in host.temporary_files() {
            fs::remove_file(path).unwrap();
        }
        wrong
    }
}

/// One created, one updated, one deleted, one left alone; three waves.
fn changes(host: &Host) {
    let job = |name| host.job(name);
    let before = [job("old"), job("kept"), job("changed")];
    let changed = job("changed")
        .with("schedule", r#"{ every = "2h" }"#)
        .with("run", r#"["/bin/echo", "anew"]"#)
        .with("depends_on", r#"["service.kept"]"#);
    let made = job("made").with("depends_on", r#"["service.changed"]"#);
    let after = [job("kept"), changed, made];

    // Once there and back, so that every apply finds the same data beside the services.
    for jobs in [&before, &after, &before] {
        host.spec(jobs);
        host.apply();
    }
    let (aside, root) = (format!("/run/aside-{}", host.project), host.root());
    run("cp", &["-a", root.to_str().unwrap(), &aside]);
    // The same backups and journals too, so that each apply makes the same calls.
    let restore = format!(
        "cd {} && rm -r state.json journal backups && cp -a {aside}/state.json {aside}/journal {aside}/backups .",
        root.display()
    );
    let names = ["old", "kept", "changed", "made"];
    let begin = host.snapshot(&names);
    let prepare = || {
        host.spec(&before);
        host.apply();
        assert_eq!(host.snapshot(&names), begin);
        run("sh", &["-c", &restore]);
        host.spec(&after);
    };
    Story {
        host,
        prepare: &prepare,
        command: &["apply", "-y"],
        names: &names,
        least: 80,
        // All of them once; what differs between the managers is not when to die.
        most: match host.manager {
            Manager::System => 150,
            Manager::User | Manager::Other => 70,
        },
        also: &String::new,
    }
    .run();
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    assert_eq!(host.residue(), [""; 0]);
}

/// Nothing is there but what the program cannot know of.
fn nothing(host: &Host) {
    if host.root().exists() {
        host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
        assert!(list(&host.root().join("services")).is_empty());
        run("rm", &["-r", host.root().to_str().unwrap()]);
    }
    assert_eq!(host.residue(), [""; 0]);
}

fn two(host: &Host) -> [&'static str; 2] {
    host.spec(&[
        host.job("one"),
        host.job("two").with("depends_on", r#"["service.one"]"#),
    ]);
    ["one", "two"]
}

/// The first apply of a project, of two services.
fn first(host: &Host) {
    let names = two(host);
    Story {
        host,
        prepare: &|| nothing(host),
        command: &["apply", "-y"],
        names: &names,
        least: 60,
        most: 35,
        also: &String::new,
    }
    .run();
    nothing(host);
    host.forgotten();
}

/// The first apply of a project whose services take the place of a timer and of a line.
fn takes_over(host: &Host) {
    let names = ["line", "timer"];
    let (timer, table) = adopt::story(host, false);
    let text = fs::read_to_string(&table).unwrap();
    let prepare = || {
        nothing(host);
        fs::write(&table, &text).unwrap();
        host.systemctl(&["enable", "--now", &timer]);
    };
    let also = || {
        let (enabled, active) = adopt::stands(host, &timer);
        format!(
            "{enabled} {active}\n{}",
            fs::read_to_string(&table).unwrap()
        )
    };
    Story {
        host,
        prepare: &prepare,
        command: &["apply", "-y"],
        names: &names,
        least: 60,
        most: 40,
        also: &also,
    }
    .run();

    // Whoever thinks better of it after a kill has what was there before.
    let (_, calls) = {
        prepare();
        trace::traced(host, &["apply", "-y"])
    };
    prepare();
    let before = also();
    let spec = fs::read_to_string(host.dir.join("lore.toml")).unwrap();
    let all = points(&calls);
    for point in all.iter().step_by(all.len().div_ceil(30)) {
        prepare();
        host.write(&host.dir.join("lore.toml"), &spec);
        let struck = point.strike(host, &["apply", "-y"]);
        let state = host.root().join("state.json").exists();
        host.spec(&[host.job("other")]);
        let answer = host.lorectl(&["apply", "-y", "--allow-deletes"]).exits(0);
        let found = also();
        let made = answer.stdout.contains("deleted") || state;
        assert!(
            made || found == before,
            "{struck:?} {}: {found}\n{answer:?}",
            point.name()
        );
    }
    nothing(host);
}

/// The end of a project, whose services have run.
fn purge(host: &Host) {
    let names = two(host);
    let prepare = || {
        nothing(host);
        host.apply();
        for name in names {
            let logs = host.service(name).join("data/logs");
            host.make_dir(&logs);
            host.write(&logs.join("service.log"), "it ran\n");
        }
    };
    Story {
        host,
        prepare: &prepare,
        command: &["destroy", "-y", "--purge"],
        names: &names,
        least: 40,
        most: 35,
        also: &String::new,
    }
    .run();
    nothing(host);
}
