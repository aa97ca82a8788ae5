//! Tests of loading as a whole: a directory of files in, a spec or the text of an error out.
#![expect(
    clippy::disallowed_methods,
    reason = "tests write the files that are loaded"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use proptest::prelude::*;

use super::*;
use crate::{
    effect::disk::RealDisk,
    service::{
        definition::Scheduler,
        spec::{Context, program::Programs, raw as raw_service, resolve},
    },
};

/// Compares a text with the snapshot of that name.
pub fn snapshot(name: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"),
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(format!("spec_{name}"), text);
    });
}

/// A directory with the files of a spec.
struct World(tempfile::TempDir);

impl World {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn load(&self, paths: &[&str]) -> Result<Spec> {
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        let request = Request {
            paths: &paths,
            stdin: None,
            cwd: self.path(),
        };
        load(&request, &RealDisk)
    }
}

/// An error as a view would print it.
fn shown(error: &Error) -> String {
    let mut text = format!("{}: {}\n", error.code, error.message);
    for detail in &error.details {
        text.push_str(detail);
        text.push('\n');
    }
    if let Some(suggestion) = &error.suggestion {
        text.extend(["help: ", suggestion, "\n"]);
    }
    text
}

/// What loading `lore.toml` with this text ends in.
fn fault(text: &str) -> String {
    match World::new(&[("lore.toml", text)]).load(&[]) {
        Ok(spec) => format!("loaded {} services\n", spec.services.len()),
        Err(error) => shown(&error),
    }
}

/// A spec of one project with these lines after its head.
fn with_head(rest: &str) -> String {
    format!("version = 1\n[project]\nname = \"acme\"\n{rest}")
}

/// A service of the least that one is.
fn service(name: &str, rest: &str) -> String {
    format!("[services.{name}]\nschedule = {{ every = \"1h\" }}\nrun = [\"true\"]\n{rest}\n")
}

const GOOD: &str = r#"
version = 1
[project]
name = "acme"
lorectl = ">=0.1"
min_interval = "1m"
[hosts.web1]
[hosts."bak1.example.com"]
[defaults.services]
splay = "2m"
env = { LEVEL = "info", REGION = "eu" }
retry = { max = "1h" }
[services.backup]
user = "root"
schedule = { cron = "30 2 * * *", timezone = "Europe/Paris" }
run = ["/usr/bin/restic", "backup", "/etc", "%h $HOME \"q\" \\"]
unit = { CapabilityBoundingSet = "CAP_DAC_READ_SEARCH", NoNewPrivileges = true, Nice = 5, SystemCallFilter = ["a", "b"] }
on = ["web1"]
[services.sync]
schedule = { every = "30m" }
scheduler = "auto"
env = { LEVEL = "debug" }
write_paths = ["/srv/gitlore"]
timeout = "10m"
profile = "balanced"
profiles = { fast = ["issues"], balanced = ["issues", "docs"] }
retry = { base = "30m", max = "4h" }
breaker = { failures = 3 }
classify = { permanent = [3, "AUTH_FAILED"], transient = [7] }
depends_on = ["services.backup"]
protect = true
ignore_drift = ["timer"]
[[services.sync.stages]]
name = "issues"
run = ["lore", "sync", "issues"]
criticality = "core"
[[services.sync.stages]]
name = "docs"
run = ["./docs"]
criticality = "optional"
timeout = "30s"
"#;

/// What the services of a spec become, programs not looked up.
fn resolved(spec: &Spec) -> String {
    let lineage = crate::id::Lineage::derive("machine", 0, &spec.project);
    let mut text = String::new();
    for service in &spec.services {
        let context = Context {
            project: &spec.project,
            lineage: &lineage,
            scheduler: Scheduler::Worker,
            current_user: "root",
            privileged: true,
            dir: Path::new("/spec"),
            renewed: &std::collections::BTreeSet::new(),
            sealed: &std::collections::BTreeSet::new(),
            programs: None,
        };
        let made = resolve(service, &context).unwrap();
        let json = serde_json::to_string_pretty(&made).unwrap();
        let read: crate::service::definition::Service = serde_json::from_str(&json).unwrap();
        assert_eq!(read, made, "what is written is what is read");
        let (declared, meta) = (service.declared(), &service.meta);
        text.push_str(&[format!("{declared:?}"), format!("{meta:?}"), json].join("\n"));
        text.push('\n');
    }
    text
}

#[test]
fn a_good_spec_loads_and_resolves() {
    let world = World::new(&[("lore.toml", GOOD)]);
    let spec = world
        .load(&[])
        .unwrap_or_else(|error| panic!("{}", shown(&error)));
    snapshot("good", &resolved(&spec));
    assert_eq!(spec.min_interval, Seconds(60));
    assert_eq!(spec.root, world.path());
    assert_eq!(spec.dir_of(&spec.services[0].file), world.path());
    let counts = |host: &str| {
        let selection = spec.services_for(host).unwrap();
        (selection.here.len(), selection.elsewhere.len())
    };
    assert_eq!(counts("WEB1.example.com"), (2, 0));
    assert_eq!(counts("bak1.example.com"), (1, 1));
    let error = spec.services_for("other").unwrap_err();
    assert_eq!(error.code, Code::HostUnknown);
    let unnamed = World::new(&[("lore.toml", &with_head(""))]);
    let unnamed = unnamed.load(&[]).unwrap();
    assert!(unnamed.services_for("any").unwrap().here.is_empty());
}

#[test]
fn faults_of_text() {
    let cases = [
        ("not TOML at all", "<html>\n".to_owned()),
        (
            "several",
            "version = \n[project\nname = \"a\nx = 1 2\n= 3\n".to_owned(),
        ),
        (
            "duplicate keys and tables",
            with_head(
                "name = \"b\"\n[services.a]\ntimeout = \"1m\"\ntimeout = \"2m\"\n[services.a]\n",
            ),
        ),
        (
            "nested",
            with_head(&format!("[services.a]\nrun = {}", "[".repeat(100_000))),
        ),
        (
            "deep keys",
            with_head(&format!("a{} = 1", ".a".repeat(100_000))),
        ),
        (
            "unfinished string",
            with_head("[services.a]\nrun = [\"a\n]\n"),
        ),
        (
            "control characters",
            with_head("[services.a]\ndescription = \"a\u{1b}[31m\"\n"),
        ),
        ("empty", String::new()),
        (
            "a torn line hides no other fault",
            with_head(
                "[services.a]\nschedule = { every = 1h }\ntimeot = \"1m\"\n[services.b]\nrun = 3\n",
            ),
        ),
    ];
    let all: Vec<String> = (cases.iter())
        .map(|(name, text)| format!("-- {name}\n{}", fault(text)))
        .collect();
    snapshot("text", &all.join("\n"));
}

#[test]
fn faults_of_shape() {
    let text = fault(
        r#"version = 2
verison = 1
[project]
name = "Acme Corp"
lorectl = "newest"
[services.sync]
schedule = { evry = "30m" }
scheduler = "systemd_user"
run = "lore sync issues"
timeout = 15
timeot = "5m"
splay = "1 minute"
env = { "1A" = "x", B = 3, C = true, D = "a\nb", E = "\u0000" }
breaker = { failures = 0 }
classify = { permanent = [0, 300, "x"] }
overlap = "queu"
catch_up = "never"
retry = "1h"
on = []
depends_on = ["sync", "timer.x"]
unit = { "Exec-Start" = "x", A = { b = 1 }, D = 2026-01-01 }
[services."../x"]
[services."a/b"]
[services.mail]
stages = [{ nam = "a", run = [] }, "x"]
[services.mail.breaker]
failure = 3
[service.old]
"#,
    );
    snapshot("shape", &text);
}

#[test]
fn faults_of_meaning() {
    let mut text = with_head("min_interval = \"10m\"\n");
    text.push_str(
        r#"[services.schedules-a]
run = ["true"]
[services.schedules-b]
run = ["true"]
schedule = { every = "1m" }
[services.schedules-c]
run = ["true"]
schedule = { every = "1h", cron = "* * * * *" }
[services.schedules-d]
run = ["true"]
schedule = { cron = "* * * *", timezone = "UTC" }
[services.schedules-e]
run = ["true"]
schedule = { cron = "* * * * *" }
[services.schedules-h]
run = ["true"]
schedule = { cron = "61 * * * *" }
[services.schedules-f]
run = ["true"]
schedule = { every = "1h", timezone = "UTC" }
[services.schedules-g]
run = ["true"]
schedule = {}
[defaults.services]
breaker = { cooldown = "0s" }
[services.stages-a]
schedule = { every = "1h" }
[services.stages-b]
schedule = { every = "1h" }
run = ["true"]
stages = [{ name = "x", run = ["true"] }, { name = "x", run = [""] }]
[services.stages-c]
schedule = { every = "1h" }
stages = [{ name = "x", run = ["true"], criticality = "optional", timeout = "0s" }]
[services.profiles]
schedule = { every = "1h" }
profile = "fats"
profiles = { fast = ["a", "c", "a"], slow = ["b"], none = [] }
stages = [{ name = "a", run = ["true"] }, { name = "b", run = ["true"], criticality = "optional" }]
[services.programs]
schedule = { every = "1h" }
stages = [{ name = "a", run = ["restic backup"] }, { name = "b", run = ["bin/x"] }, { name = "c", run = ["~/x"] }]
[services.secrets]
schedule = { every = "1h" }
run = ["curl", "https://joe:hunter2@example.com/x", "https://h/?private_token=hunter2&a=1"]
env = { URL = "postgres://joe:hunter2@db/x", OK = "ssh://git@host/x", LORECTL_X = "1" }
description = "see https://hunter2@example.com"
[services.paths]
schedule = { every = "1h" }
run = ["true"]
write_paths = ["srv", "/srv/../etc", "/ok"]
working_dir = "../x"
[services.bounds]
schedule = { every = "1h" }
run = ["true"]
timeout = "0s"
retry = { base = "2h", max = "1h" }
classify = { permanent = [3, "X", ""], transient = ["X", "0"] }
ignore_drift = ["servce", "drop-in/timer/x.conf"]
scheduler = "systemd-system"
unit = { ExecStart = "x", user = "root", Environment = ["A=1"], Type = "simple", Nice = 3 }
[services.settings]
schedule = { every = "1h" }
run = ["true"]
unit = { ReadOnlyDirectories = "/etc", InaccessibleDirectories = "/srv", ReadWriteDirectories = "/var", NiceLevel = 3 }
[services.unitless]
schedule = { every = "1h" }
run = ["true"]
scheduler = "worker"
unit = { Nice = 3 }
[services.depends-a]
schedule = { every = "1h" }
run = ["true"]
depends_on = ["service.depends-c", "service.depend-a", "credential.x"]
on = ["web1"]
[services.depends-b]
schedule = { every = "1h" }
run = ["true"]
depends_on = ["service.depends-a"]
[services.depends-c]
schedule = { every = "1h" }
run = ["true"]
depends_on = ["service.depends-b"]
[services.depends-self]
schedule = { every = "1h" }
run = ["true"]
depends_on = ["service.depends-self"]
"#,
    );
    let shown = fault(&text);
    assert!(!shown.contains("hunter2"), "a secret is quoted:\n{shown}");
    snapshot("meaning", &shown);
}

#[test]
fn what_is_sound_of_a_faulty_service_is_checked_in_the_same_run() {
    let text = with_head(
        r#"[defaults.services]
splay = 5
unit = { Nice = 3 }
timeout = "0s"
[services.a]
shedule = { every = "1h" }
run = ["true"]
working_dir = "../x"
retry = { base = "2h", max = "1h" }
depends_on = ["service.none"]
[services.b]
stages = [{ name = "a", rum = ["true"] }]
profile = "fast"
profiles = { fast = ["a"] }
schedule = { every = "1m" }
[services.c]
schedule = 3
scheduler = "worker"
run = ["bin/x"]
"#,
    );
    snapshot("beside_faults", &fault(&text));
}

#[test]
fn a_default_of_unit_is_for_services_that_have_one() {
    let defaults = "[defaults.services]\nunit = { Nice = 3 }\n";
    let worker = service("a", "scheduler = \"worker\"");
    let spec = World::new(&[("lore.toml", &with_head(&format!("{defaults}{worker}")))]).load(&[]);
    assert!(spec.unwrap().services[0].raw.unit.is_empty());
    let all = format!("{defaults}scheduler = \"worker\"\n{}", service("a", ""));
    let shown = fault(&with_head(&all));
    assert!(
        shown.contains("lore.toml:5:1: the scheduler `worker` writes no unit"),
        "{shown}"
    );
}

#[test]
fn who_is_told_what_is_checked_where_it_stands() {
    let text = with_head(
        r#"[notify.ops]
webhook = "https://hooks.example/x"
[notify.both]
webhook = "htps://hooks.example/x"
command = ["mail"]
[notify.neither]
events = ["failed"]
[notify.scheme]
webhook = "htps://hooks.example/x"
[notify.metadata]
webhook = "http://169.254.169.254/latest"
[notify.form]
webhook = "https://hooks.example/x"
format = "slak"
[notify.here]
webhook = { fil = "/etc/hook" }
[notify.there]
webhook = { file = "hook" }
events = ["failed", "recovred"]
[defaults.services]
notify = ["opps"]
[services.a]
schedule = { every = "1h" }
run = ["true"]
ping = "https://joe:hunter2@hc.example/uuid"
[services.b]
schedule = { every = "1h" }
run = ["true"]
notify = ["ops", "nobody", "ops"]
ping = { file = "/etc/acme/../ping" }
"#,
    );
    let shown = fault(&text);
    assert!(!shown.contains("hunter2"), "{shown}");
    snapshot("notify", &shown);
}

#[test]
fn a_service_has_the_sinks_that_it_names() {
    let head = "version = 1\n[project]\nname = \"acme\"\n";
    let world = World::new(&[
        (
            "a.toml",
            &format!(
                "{head}[defaults.services]\nnotify = [\"ops\"]\n[services.a]\nschedule = {{ every = \"1h\" }}\nrun = [\"true\"]\n"
            ),
        ),
        (
            "sub/b.toml",
            "[notify.ops]\ncommand = [\"./tell\", \"x\"]\nevents = [\"recovered\", \"failed\"]\n",
        ),
    ]);
    let spec = world.load(&["a.toml", "sub/b.toml"]).unwrap();
    let project = spec.project.clone();
    let lineage = crate::id::Lineage::derive("machine", 0, &project);
    let context = Context {
        project: &project,
        lineage: &lineage,
        scheduler: Scheduler::Worker,
        current_user: "joe",
        privileged: false,
        dir: world.path(),
        renewed: &std::collections::BTreeSet::new(),
        sealed: &std::collections::BTreeSet::new(),
        programs: None,
    };
    let service = resolve(&spec.services[0], &context).unwrap();
    let [sink] = &service.notify[..] else {
        panic!("{service:?}")
    };
    let shown = serde_json::to_string(sink).unwrap();
    let program = world.path().join("sub/tell");
    let program = program.display();
    assert_eq!(
        shown,
        format!(
            r#"{{"name":"ops","events":["failed","recovered"],"to":{{"command":["{program}","x"]}}}}"#
        )
    );
}

#[test]
fn what_this_build_lacks_is_said_and_ends_in_its_own_code_when_alone() {
    let text = with_head(
        r#"[notify.ops]
webhook = { credential = "slack" }
[routers.edge]
[deployments.web]
[defaults.services]
notify = ["ops"]
[credentials.slack]
source = { env = "SLACK" }
[services.a]
schedule = { every = "1h" }
run = ["true"]
"#,
    );
    let alone = fault(&text);
    assert!(alone.starts_with("NOT_IN_THIS_BUILD"), "{alone}");
    snapshot("absent", &alone);
    let with_another = fault(&format!("{text}timeot = \"1m\"\n"));
    assert!(with_another.starts_with("SPEC_INVALID"), "{with_another}");
}

#[test]
fn a_credential_that_is_named_must_be_there_and_where_it_is_needed() {
    let text = with_head(
        r#"[hosts.web1]
[hosts.bak1]
[reconcile]
every = "15m"
[notify.ops]
webhook = { credential = "slak" }
[notify.web]
webhook = { credential = "slack" }
[defaults.services]
env = { TOKEN = { credential = "gitlba" } }
notify = ["web"]
[credentials.slack]
source = { env = "SLACK" }
on = ["web1"]
[credentials.gitlab]
source = { env = "GITLAB_TOKEN" }
on = ["bak1"]
depends_on = ["service.round"]
[services.wrong-word]
schedule = { every = "1h" }
run = ["true"]
env = { A = { credential = "gitlab", as = "file" }, B = { credental = "gitlab" }, C = { credential = "Git Lab" } }
[services.nowhere]
schedule = { every = "1h" }
run = ["true"]
notify = ["ops", "web"]
env = { A = { credential = "gitlab" }, CREDENTIALS_DIRECTORY = "/x" }
ping = { credential = "pin" }
[services.round]
schedule = { every = "1h" }
run = ["true"]
on = ["bak1"]
notify = []
env = { TOKEN = { credential = "gitlab", as = "path" } }
[services.own]
schedule = { every = "1h" }
run = ["true"]
on = ["web1"]
env = { TOKEN = "literal" }
"#,
    );
    snapshot("credential_uses", &fault(&text));
}

#[test]
fn a_service_depends_on_the_credentials_that_it_uses() {
    let text = with_head(
        r#"[notify.ops]
webhook = { credential = "slack" }
[credentials.slack]
source = { env = "SLACK" }
[credentials.gitlab]
source = { env = "GITLAB_TOKEN" }
[services.a]
schedule = { every = "1h" }
run = ["true"]
notify = ["ops"]
depends_on = ["credential.gitlab"]
env = { TOKEN = { credential = "gitlab" }, FILE = { credential = "gitlab", as = "path" } }
"#,
    );
    let spec = World::new(&[("lore.toml", &text)]).load(&[]).unwrap();
    let needed: Vec<String> = (spec.services[0].meta.depends_on.iter())
        .map(ToString::to_string)
        .collect();
    assert_eq!(needed, ["credential.gitlab", "credential.slack"]);
}

#[test]
fn the_reconciling_timer_is_held_to_the_guard_rail_and_its_name_kept() {
    for (text, said) in [
        (
            "[reconcile]\nevery = \"1m\"\n",
            "lore.toml:5:9: `every` is 1m, under the project's `min_interval` of 5m",
        ),
        (
            "[reconcile]\nevery = \"15m\"\nallow = [\"drfit\"]\n",
            "lore.toml:6:10: ",
        ),
        ("[reconcile]\nallow = [\"drift\"]\n", "missing key `every`"),
        (
            &service("reconcile", ""),
            "the name `reconcile` is kept for lorectl's own timer",
        ),
    ] {
        let shown = fault(&with_head(text));
        assert!(shown.contains(said), "{shown}");
    }
    let two = "[reconcile]\nevery = \"15m\"\n";
    let world = World::new(&[("a.toml", &with_head(two)), ("b.toml", two)]);
    let shown = world.load(&["."]).unwrap_err();
    let shown = format!("{:?}", shown.details);
    assert!(shown.contains("`[reconcile]` stands in a.toml"), "{shown}");
}

#[test]
fn files_are_joined_and_clashes_name_both_places() {
    let joined = [
        (
            "conf/a.toml",
            with_head("[hosts.web1]\n[defaults.services]\nsplay = \"9s\"\n"),
        ),
        (
            "conf/b.toml",
            service("one", "depends_on = [\"service.two\"]"),
        ),
        (
            "conf/c.toml",
            service("two", "splay = \"1s\"\non = [\"web1\"]"),
        ),
        ("conf/.hidden.toml", "nonsense".to_owned()),
        ("conf/notes.txt", "nonsense".to_owned()),
    ];
    let joined: Vec<(&str, &str)> = joined.iter().map(|(n, t)| (*n, t.as_str())).collect();
    let world = World::new(&joined);
    let spec = world
        .load(&["conf"])
        .unwrap_or_else(|e| panic!("{}", shown(&e)));
    assert_eq!(
        spec.files.iter().map(|f| &**f).collect::<Vec<_>>(),
        ["a.toml", "b.toml", "c.toml"]
    );
    assert_eq!(spec.root, world.path().join("conf"));
    let splays: Vec<_> = spec
        .services
        .iter()
        .map(|s| (s.raw.splay, &*s.file, s.line))
        .collect();
    assert_eq!(
        splays,
        [
            (Some(Seconds(9)), "b.toml", 1),
            (Some(Seconds(1)), "c.toml", 1)
        ]
    );
    let same = world
        .load(&[
            "conf/c.toml",
            "conf/a.toml",
            "conf",
            "./conf/../conf/b.toml",
        ])
        .unwrap();
    assert_eq!(
        same.digest, spec.digest,
        "the order and repetition of -f mean nothing"
    );
    assert_eq!(same.files, spec.files);

    let clash = World::new(&[
        (
            "a.toml",
            &with_head(&format!(
                "[hosts.web1]\n[defaults.services]\nsplay = \"9s\"\n{}",
                service("one", "")
            )),
        ),
        (
            "b.toml",
            &with_head(&format!(
                "min_interval = \"1m\"\n[hosts.web1]\n[defaults.services]\nsplay = \"9s\"\ntimeout = \"0s\"\n{}",
                service("one", "")
            )),
        ),
    ]);
    let error = clash.load(&["."]).unwrap_err();
    let none = World::new(&[("a.toml", "[services]\n"), ("b.toml", "")]);
    let nothing = none.load(&["."]).unwrap_err();
    snapshot("clash", &[shown(&error), shown(&nothing)].join("\n"));
}

#[test]
fn a_default_is_blamed_where_it_stands_and_once() {
    let world = World::new(&[
        (
            "a.toml",
            &with_head("[defaults.services]\nschedule = { every = \"1m\" }\nworking_dir = \"~\"\n"),
        ),
        (
            "b.toml",
            "[services.one]\nrun = [\"true\"]\n[services.two]\nrun = [\"true\"]\n",
        ),
    ]);
    let error = world.load(&["."]).unwrap_err();
    snapshot("defaults", &shown(&error));
}

#[test]
fn sources_that_are_none_are_refused_without_a_hang() {
    let world = World::new(&[
        ("good.toml", &with_head("")),
        ("empty/readme.md", ""),
        ("bad/latin.toml", ""),
    ]);
    let path = |name: &str| world.path().join(name);
    fs::write(path("bad/latin.toml"), b"version = 1\nname = \"caf\xe9\"\n").unwrap();
    fs::write(path("large.toml"), vec![b'#'; 5 << 20]).unwrap();
    nix::unistd::mkfifo(&path("pipe.toml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink("good.toml", path("link.toml")).unwrap();
    std::os::unix::fs::symlink("gone.toml", path("dangling.toml")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", path("device.toml")).unwrap();
    let mut all = String::new();
    for name in [
        "none.toml",
        "empty",
        "bad",
        "large.toml",
        "pipe.toml",
        "dangling.toml",
        "device.toml",
    ] {
        let error = world.load(&[name]).unwrap_err();
        all.push_str(&shown(&error));
    }
    all.push_str(&shown(
        &world.load(&["link.toml", "large.toml", "bad"]).unwrap_err(),
    ));
    snapshot("sources", &all);
    assert!(world.load(&["link.toml"]).is_ok(), "a spec may be a link");
    let missing = World::new(&[]).load(&[]).unwrap_err();
    assert_eq!(missing.code, Code::SpecNotFound);
}

#[test]
fn a_mark_at_the_beginning_and_line_ends_of_elsewhere_are_taken() {
    let text = with_head(&service("a", "timeot = 1")).replace('\n', "\r\n");
    let found = fault(&format!("\u{feff}{text}"));
    assert!(
        found.contains("lore.toml:7:1: unknown key `timeot`"),
        "{found}"
    );
    assert!(
        !found.contains('\r') && found.contains("has an error in"),
        "{found}"
    );
}

#[test]
fn standard_input_is_a_file_of_its_own() {
    let world = World::new(&[]);
    let load = |text: &str| {
        let request = Request {
            paths: &[PathBuf::from("-")],
            stdin: Some(text.as_bytes()),
            cwd: world.path(),
        };
        load(&request, &RealDisk)
    };
    let spec = load(&with_head(&service("a", ""))).unwrap();
    assert_eq!(
        (&*spec.files[0], &spec.root),
        ("-", &world.path().to_path_buf())
    );
    assert_eq!(spec.dir_of(&spec.services[0].file), world.path());
    let error = load(&with_head(&service("a", "timeout = \"0s\""))).unwrap_err();
    assert!(
        error.details[0].starts_with("<stdin>:7:11: "),
        "{}",
        error.details[0]
    );
}

#[test]
fn an_older_binary_says_so_before_anything_else() {
    let error = fault("version = 7\n[project]\nname = \"a\"\nlorectl = \">=99\"\nnew_key = 1\n");
    assert!(error.starts_with("BINARY_TOO_OLD"), "{error}");
    let requirement: raw::Requirement = ">=0.2".parse().unwrap();
    assert!(requirement.is_met_by("0.2.0") && requirement.is_met_by("0.2.0-dev.1"));
    assert!(!requirement.is_met_by("0.1.9"));
}

#[test]
fn problems_of_a_host_are_reported_with_their_places() {
    let text = with_head(
        "[services.a]\nschedule = { every = \"1h\" }\nstages = [\n  { name = \"x\", run = [\"./none\"] },\n]\n",
    );
    let world = World::new(&[("lore.toml", &text)]);
    let spec = world.load(&[]).unwrap();
    let programs = Programs::new(&RealDisk);
    let lineage = crate::id::Lineage::derive("machine", 0, &spec.project);
    let context = Context {
        project: &spec.project,
        lineage: &lineage,
        scheduler: Scheduler::SystemdSystem,
        current_user: "root",
        privileged: true,
        dir: world.path(),
        renewed: &std::collections::BTreeSet::new(),
        sealed: &std::collections::BTreeSet::new(),
        programs: Some(&programs),
    };
    let problems = resolve(&spec.services[0], &context).unwrap_err();
    let problems: Vec<_> = (problems.into_iter())
        .map(|problem| {
            let service = &spec.services[0];
            (service.address(), service.declared(), problem)
        })
        .collect();
    let here = world.path().display().to_string();
    let found = shown(&spec.report(&problems, &RealDisk)).replace(&here, "DIR");
    fs::remove_file(world.path().join("lore.toml")).unwrap();
    let gone = shown(&spec.report(&problems, &RealDisk)).replace(&here, "DIR");
    snapshot("report", &[found, gone].join("\n"));
}

#[test]
fn findings_are_counted_beyond_what_is_shown() {
    let mut text = with_head("[services.a]\n");
    for n in 0..5000 {
        text.push_str(&["unknown", &n.to_string(), " = 1\n"].concat());
    }
    let world = World::new(&[("lore.toml", &text)]);
    let error = world.load(&[]).unwrap_err();
    assert_eq!(error.details.len(), 201);
    assert!(error.message.contains("5000 errors"), "{}", error.message);
    assert_eq!(error.details[200], "… and 4800 more");
}

#[test]
fn the_template_and_the_examples_load() {
    for user in [None, Some("nobody")] {
        let text = template(&"acme".parse().unwrap(), user);
        let world = World::new(&[("lore.toml", &text)]);
        let spec = world.load(&[]).unwrap_or_else(|e| panic!("{}", shown(&e)));
        let found = spec.services[0].raw.user.as_ref().map(ToString::to_string);
        assert_eq!(found.as_deref(), user);
        snapshot(user.map_or("template", |_| "template_root"), &text);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join("examples")).unwrap() {
        let dir = entry.unwrap().path();
        // The recipes are for a spec that is elsewhere.
        if dir.ends_with("ci") {
            continue;
        }
        let request = Request {
            paths: std::slice::from_ref(&dir),
            stdin: None,
            cwd: root,
        };
        let spec = load(&request, &RealDisk).unwrap_or_else(|e| panic!("{}", shown(&e)));
        let programs = Programs::new(&RealDisk);
        let lineage = crate::id::Lineage::derive("machine", 0, &spec.project);
        for service in &spec.services {
            let named = service
                .raw
                .scheduler
                .and_then(raw_service::RawScheduler::named);
            let context = Context {
                project: &spec.project,
                lineage: &lineage,
                scheduler: named.unwrap_or(Scheduler::Worker),
                current_user: "root",
                privileged: true,
                dir: &spec.dir_of(&service.file),
                renewed: &std::collections::BTreeSet::new(),
                sealed: &std::collections::BTreeSet::new(),
                programs: Some(&programs),
            };
            let made = resolve(service, &context).unwrap();
            // Its programs are beside it.
            assert!(Path::new(&made.stages[0].run[0]).starts_with(&dir));
        }
        let text = fs::read_to_string(dir.join("lore.toml")).unwrap();
        let schema = text
            .lines()
            .next()
            .unwrap()
            .strip_prefix("#:schema ")
            .unwrap();
        assert!(dir.join(schema).exists(), "{schema}");
        found.push(dir.file_name().unwrap().to_str().unwrap().to_owned());
    }
    found.sort();
    assert_eq!(found, ["credentials", "gitlore", "quickstart", "systemd"]);
}

#[test]
fn a_long_chain_and_a_long_cycle_are_walked_without_overflow() {
    let mut text = with_head("");
    for n in 0..3000 {
        text.push_str(&service(
            &format!("s{n}"),
            &format!("depends_on = [\"service.s{}\"]", n + 1),
        ));
    }
    let chain = format!("{text}{}", service("s3000", ""));
    assert_eq!(fault(&chain), "loaded 3001 services\n");
    let cycle = format!(
        "{text}{}",
        service("s3000", "depends_on = [\"service.s0\"]")
    );
    let error = fault(&cycle);
    assert!(
        error.contains("service.s0 → service.s1 → ") && error.contains(" → … → "),
        "{error}"
    );
}

/// Pieces from which texts are made that look like a spec more often than noise does.
fn piece() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "version = 1\n",
        "[project]\n",
        "name = \"a\"\n",
        "[services.a]\n",
        "[services.b]\n",
        "[[services.a.stages]]\n",
        "run = [\"true\"]\n",
        "schedule = { every = \"1h\" }\n",
        "schedule = { cron = \"* * * * *\", timezone = \"UTC\" }\n",
        "depends_on = [\"service.a\"]\n",
        "on = [\"h\"]\n",
        "[hosts.h]\n",
        "[defaults.services]\n",
        "env = { A = \"b\" }\n",
        "\"\"\"",
        "'",
        "profile = \"p\"\n",
        "services.a.profiles.p = [\"x\"]\n",
        "{",
        "}",
        "[",
        "]",
        "=",
        ".",
        "\n",
        "é",
        "\r\n",
        "timeout = ",
        "\"1m\"\n",
        "1e400",
        "0x_f",
        "2026-01-01",
        "inf",
        "\\u0000",
        "#",
    ]);
    prop_oneof![9 => known.prop_map(str::to_owned), 1 => ".{0,8}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics_the_loader(pieces in prop::collection::vec(piece(), 0..30)) {
        let text = pieces.concat();
        let request = Request {
            paths: &[PathBuf::from("-")],
            stdin: Some(text.as_bytes()),
            cwd: Path::new("/"),
        };
        match load(&request, &RealDisk) {
            Ok(spec) => prop_assert_eq!(spec.files.len(), 1),
            Err(error) => {
                prop_assert!(error.code != Code::Internal, "{}", shown(&error));
                for detail in &error.details {
                    prop_assert!(!detail.contains(['\r', '\t', '\u{1b}']), "{detail:?}");
                }
            }
        }
    }

    #[test]
    fn no_bytes_panic_the_loader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let request = Request { paths: &[PathBuf::from("-")], stdin: Some(&bytes), cwd: Path::new("/") };
        prop_assert!(load(&request, &RealDisk).is_err());
    }
}

#[test]
fn what_is_replaced_is_named_once_and_as_it_is_written() {
    let service = |name: &str, rest: &str| {
        format!("[services.{name}]\nschedule = {{ every = \"1h\" }}\nrun = [\"true\"]\n{rest}\n")
    };
    let timer = r#"replaces = "systemd:logrotate.timer""#;
    let hosts = "[hosts.web1]\n[hosts.web2]\n";
    let told = [
        service("a", r#"replaces = "logrotate""#),
        service("a", r#"replaces = "crontab:/etc/passwd#0123abcd""#),
        service("a", timer) + &service("b", timer),
        hosts.to_owned()
            + &service("a", &format!("{timer}\non = [\"web1\"]"))
            + &service("b", &format!("{timer}\non = [\"web2\"]")),
        hosts.to_owned()
            + &service("a", &format!("{timer}\non = [\"web1\"]"))
            + &service("b", timer),
    ]
    .map(|text| fault(&with_head(&text)));
    snapshot("replaces", &told.join("\n"));
}
