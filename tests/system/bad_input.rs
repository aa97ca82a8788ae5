//! What is wrong with the host, the state or the surroundings: one clear error, and nothing changed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Test,
    host::{Answer, Host, INSTALLED, Manager, account, describe, poll, run},
};

/// On either manager.
pub const BOTH: &[Test] = &[
    ("a_unit_of_others_is_never_overwritten", foreign),
    ("a_damaged_state_is_refused_and_left", damaged),
    ("a_state_that_is_gone_is_not_taken_for_none", lost),
    ("a_full_disk_leaves_what_was_there", full),
    ("a_binary_of_a_build_tree_is_refused", unstable),
    ("a_careless_umask_opens_nothing", umask),
    ("without_a_bus_nothing_is_done", no_bus),
];

/// For the system's manager alone.
pub const SYSTEM: &[Test] = &[
    // Both need the system's bus, each in its way.
    (
        "a_user_without_a_manager_is_told_how_to_get_one",
        no_manager,
    ),
];

/// Everything of the project, and the directory of units.
fn world(host: &Host) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    describe(&host.root(), &mut found);
    describe(&host.units, &mut found);
    // An apply that is refused may have taken the lock.
    found.remove(&host.root().join("lock").display().to_string());
    found
}

fn foreign(host: &Host) {
    host.spec(&[host.job("mine"), host.job("theirs")]);
    fs::create_dir_all(&host.units).unwrap();
    let path = host.path("theirs", "service");
    host.make_dir(&host.units);
    host.write(&path, "[Service]\nExecStart=/bin/true\n");
    let before = host.snapshot(&["mine", "theirs"]);
    let answer = host.lorectl(&["apply", "-y", "--json"]).exits(3);
    let (code, message, _) = answer.error();
    assert_eq!(code, "CONFLICT");
    assert!(message.contains("theirs"), "{message}");
    assert_eq!(host.snapshot(&["mine", "theirs"]), before);
    host.lorectl(&["plan", "--json"]).exits(3);
    fs::remove_file(path).unwrap();
    host.apply();
    host.converged();
}

/// A state that was spoilt: its bytes, the code that it is refused with, and whether a repair must be named.
fn damages(whole: &[u8]) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let text = String::from_utf8(whole.to_vec()).unwrap();
    let mut flipped = whole.to_vec();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    // The first line holds the digest of what follows.
    let (_, body) = text.split_once('\n').unwrap();
    let newer = body.replacen("\"schema_version\":1,", "\"schema_version\":99,", 1);
    assert_ne!(newer, body);
    let digest = lorectl::id::Digest::of(newer.as_bytes());
    let newer = format!("{{\"digest\":\"{digest}\",\n{newer}");
    vec![
        ("empty", Vec::new(), "STATE_CORRUPT"),
        ("truncated", whole[..middle].to_vec(), "STATE_CORRUPT"),
        ("one bit flipped", flipped, "STATE_CORRUPT"),
        ("no JSON", b"\0\0\0\0".to_vec(), "STATE_CORRUPT"),
        ("newer", newer.into_bytes(), "STATE_NEWER"),
    ]
}

fn damaged(host: &Host) {
    host.spec(&[host.job("a"), host.job("b")]);
    host.apply();
    let path = host.root().join("state.json");
    let whole = fs::read(&path).unwrap();
    for (what, bytes, code) in damages(&whole) {
        host.write(&path, &bytes);
        let before = world(host);
        for command in [
            &["plan", "--json"][..],
            &["apply", "-y", "--json"],
            &["drift", "--json"],
            &["destroy", "-y", "--json"],
            &["status", "--json"],
        ] {
            let answer = host.lorectl(command).exits(65);
            let (found, message, suggestion) = answer.error();
            assert_eq!(found, code, "{what}: {command:?}: {message}");
            assert!(message.contains("state.json"), "{what}: {message}");
            assert!(!suggestion.is_empty(), "{what}");
            assert_eq!(world(host), before, "{what}: {command:?}");
        }
    }
    host.write(&path, &whole);
    host.converged();
}

fn lost(host: &Host) {
    host.spec(&[host.job("a"), host.job("b")]);
    host.apply();
    let refused = |what: &str| {
        let before = world(host);
        for command in [&["plan", "--json"][..], &["apply", "-y", "--json"]] {
            let (code, _, suggestion) = host.lorectl(command).exits(65).error();
            assert_eq!(code, "STATE_LOST", "{what}");
            assert!(
                suggestion.contains("lorectl state repair"),
                "{what}: {suggestion}"
            );
            assert_eq!(world(host), before, "{what}: {command:?}");
        }
    };
    let state = host.root().join("state.json");
    let whole = fs::read(&state).unwrap();
    fs::remove_file(&state).unwrap();
    refused("the state alone");
    for name in ["journal", "backups"] {
        fs::remove_dir_all(host.root().join(name)).unwrap();
    }
    // An apply that is refused makes its directories; they are no state.
    host.lorectl(&["apply", "-y"]).exits(65);
    refused("state, journals and backups");
    run("rm", &["-r", host.root().to_str().unwrap()]);
    host.lorectl(&["apply", "-y"]).exits(65);
    refused("the whole directory");
    host.make_dir(&host.root());
    host.write(&state, whole);
    host.lorectl(&["plan"]).exits(0);
    assert_eq!(host.drift().0, 2, "run.json went with the directory");
    host.apply();
    host.converged();
}

/// A state directory on a small disk of its own, gone with it.
struct Tiny<'a> {
    host: &'a Host,
    dir: PathBuf,
}

impl<'a> Tiny<'a> {
    fn new(host: &'a Host) -> Self {
        let dir = Path::new("/mnt").join(&host.project);
        fs::create_dir_all(&dir).unwrap();
        let (uid, gid) = (host.account.uid, host.account.gid);
        let options = format!("size=1m,mode=0711,uid={uid},gid={gid}");
        run(
            "mount",
            &[
                "-t",
                "tmpfs",
                "-o",
                &options,
                "tmpfs",
                dir.to_str().unwrap(),
            ],
        );
        Self { host, dir }
    }

    fn lorectl(&self, args: &[&str]) -> Answer {
        let mut all = vec!["--state-dir", self.dir.to_str().unwrap()];
        all.extend(args);
        self.host.lorectl(&all)
    }

    /// Leaves so many pages free.
    fn fill(&self, pages: usize) {
        let ballast = self.dir.join("ballast");
        fs::remove_file(&ballast).ok();
        let free: usize = run("stat", &["-f", "-c", "%a", self.dir.to_str().unwrap()])
            .trim()
            .parse()
            .unwrap();
        let bytes = free.saturating_sub(pages) * 4096;
        fs::write(&ballast, vec![1; bytes]).unwrap();
    }

    fn converged(&self) {
        self.lorectl(&["plan", "--detailed-exitcode"]).exits(0);
        let answer = self
            .lorectl(&["drift", "--detailed-exitcode", "--json"])
            .exits(0);
        assert_eq!(answer.data()["strays"], serde_json::json!([]));
    }
}

impl Drop for Tiny<'_> {
    fn drop(&mut self) {
        Command::new("umount")
            .args(["-l"])
            .arg(&self.dir)
            .status()
            .ok();
    }
}

fn full(host: &Host) {
    let tiny = Tiny::new(host);
    let spec = |every: &str| {
        let every = format!("{{ every = {every:?} }}");
        host.spec(&["a", "b"].map(|name| host.job(name).with("schedule", &every)));
    };
    spec("1h");
    tiny.lorectl(&["apply", "-y"]).exits(0);
    let mut failed = 0;
    let mut hours = 1;
    for pages in 0..24 {
        hours += 1;
        spec(&format!("{hours}h"));
        tiny.fill(pages);
        let answer = tiny.lorectl(&["apply", "-y", "--json"]);
        // Full or not: what is there can be read.
        tiny.lorectl(&["plan"]).exits(0);
        fs::remove_file(tiny.dir.join("ballast")).unwrap();
        if answer.status == 0 {
            tiny.converged();
            continue;
        }
        failed += 1;
        let answer = answer.exits(1);
        let json = answer.json().to_string();
        assert!(
            json.contains("No space left on device"),
            "{pages} pages: {json}"
        );
        let (_, _, suggestion) = answer.error();
        assert!(!suggestion.is_empty(), "{pages} pages: {json}");
        tiny.lorectl(&["apply", "-y"]).exits(0);
        tiny.converged();
    }
    assert!(failed >= 3, "only {failed} applies met a full disk");
    assert!(failed < 24, "no apply had room");
    tiny.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    assert_eq!(host.residue(), [""; 0]);
}

fn unstable(host: &Host) {
    host.spec(&[host.job("a")]);
    let tree = host.dir.join("target/debug");
    host.make_dir(&tree);
    host.write(&host.dir.join("target/CACHEDIR.TAG"), "");
    let built = tree.join("lorectl");
    // Not written by this process: whatever another thread starts meanwhile would keep it open.
    let (uid, gid) = (host.account.uid.to_string(), host.account.gid.to_string());
    run(
        "install",
        &[
            "-m",
            "0755",
            "-o",
            &uid,
            "-g",
            &gid,
            INSTALLED,
            built.to_str().unwrap(),
        ],
    );
    let lorectl = |args: &[&str]| Answer::of(&host.command(&built).args(args).output().unwrap());
    let (code, message, suggestion) = lorectl(&["apply", "-y", "--json"]).exits(3).error();
    assert_eq!(code, "BINARY_UNSTABLE");
    assert!(message.contains(built.to_str().unwrap()), "{message}");
    assert!(suggestion.contains("install -"), "{suggestion}");
    assert_eq!(host.residue(), [""; 0]);
    // The command that it names helps.
    let command = suggestion.split('`').nth(1).unwrap();
    // Where the others' program is, they would find none for a moment: it goes to a place of its own.
    let copied = match host.manager {
        Manager::System | Manager::Other => {
            let built = built.display();
            let apart = format!(
                "mount -t tmpfs tmpfs /usr/local/bin && {command} && cmp {built} {INSTALLED}"
            );
            let mut unshare = host.command("unshare");
            unshare.args(["--mount", "sh", "-c", &apart]).output()
        }
        Manager::User => host.command("sh").args(["-c", command]).output(),
    };
    Answer::of(&copied.unwrap()).exits(0);
    let installed = match host.manager {
        Manager::System | Manager::Other => PathBuf::from(INSTALLED),
        Manager::User => host.account.home.join(".local/bin/lorectl"),
    };
    let applied = host.command(&installed).args(["apply", "-y"]).output();
    Answer::of(&applied.unwrap()).exits(0);
    let text = fs::read_to_string(host.path("a", "service")).unwrap();
    let called = format!("\nExecStart=\"{}\" service run", installed.display());
    assert!(text.contains(&called), "{text}");
    // What removes needs no such thing.
    lorectl(&["destroy", "-y", "--purge"]).exits(0);
    assert_eq!(host.residue(), [""; 0]);
    if host.manager == Manager::User {
        fs::remove_file(installed).unwrap();
    }
}

fn umask(host: &Host) {
    host.spec(&[host.job("a")]);
    let lorectl = |args: &str| {
        let line = format!("umask 000; exec {INSTALLED} {args}");
        let output = host.command("sh").args(["-c", &line]).output().unwrap();
        Answer::of(&output).exits(0)
    };
    // Made, changed and triggered, so that every file of ours has been written.
    lorectl("apply -y");
    host.spec(&[host.job("a").with("timeout", r#""7m""#)]);
    lorectl("apply -y");
    lorectl("service trigger a");
    let mut found = BTreeMap::new();
    describe(&host.root(), &mut found);
    let root = host.root().display().to_string();
    let service = host.service("a").display().to_string();
    for (path, what) in &found {
        let mode = what.split(' ').next().unwrap();
        let is_dir = what.ends_with(" directory");
        let wanted = match path.strip_prefix(&root).unwrap() {
            "" | "/services" | "/services/a" => "0711",
            "/services/a/run.json" if host.account.uid == 0 => "0640",
            _ if is_dir => "0700",
            _ => "0600",
        };
        assert_eq!(mode, wanted, "{path}");
    }
    assert!(found.len() >= 12, "{:?}", found.keys());
    assert!(found.contains_key(&format!("{service}/data/logs")));
    for suffix in ["service", "timer"] {
        let mut unit = BTreeMap::new();
        describe(&host.path("a", suffix), &mut unit);
        assert!(
            unit.values().all(|what| what.starts_with("0644 ")),
            "{unit:?}"
        );
    }
    let parents = host
        .state_dir
        .ancestors()
        .take_while(|dir| dir.starts_with(&host.account.home));
    for dir in parents.chain([host.units.as_path(), &host.wants()]) {
        let mut own = BTreeMap::new();
        describe(dir, &mut own);
        let what = &own[&dir.display().to_string()];
        let open = what.as_bytes()[3] & 2 != 0 || what.as_bytes()[2] & 2 != 0;
        assert!(!open, "{} is {what}", dir.display());
    }
}

fn no_bus(host: &Host) {
    host.spec(&[host.job("there")]);
    host.apply();
    host.spec(&[
        host.job("there").with("timeout", r#""7m""#),
        host.job("new"),
    ]);
    let before = world(host);
    let bus = ["dbus.socket", "dbus.service"];
    // Over its private socket: `systemctl` asks no bus for that.
    host.systemctl(&[&["stop"], &bus[..]].concat());
    let looks = [
        &["plan", "--json"][..],
        &["apply", "-y", "--json"],
        &["drift", "--json"],
    ];
    let answers = looks.map(|args| host.lorectl(args));
    let after = world(host);
    host.systemctl(&[&["start"], &bus[..]].concat());
    poll("the bus", || host.lorectl(&["drift"]).status == 0);
    for answer in answers {
        let (code, message, _) = answer.exits(69).error();
        assert_eq!(code, "BACKEND_UNAVAILABLE", "{message}");
    }
    assert_eq!(after, before);
    host.apply();
    host.converged();
}

/// A user who never logged in, and whose manager does not linger.
fn no_manager(host: &Host) {
    if account("lonely").is_none() {
        run("useradd", &["--create-home", "lonely"]);
    }
    let lonely = Host::of_user(account("lonely").unwrap(), &host.project);
    lonely.spec(&[lonely.job("a")]);
    let home = || {
        let mut found = BTreeMap::new();
        describe(&lonely.account.home, &mut found);
        found
    };
    let before = home();
    let (code, message, suggestion) = lonely.lorectl(&["plan", "--json"]).exits(69).error();
    assert_eq!(code, "USER_MANAGER_MISSING", "{message}");
    assert!(
        suggestion.contains("loginctl enable-linger lonely"),
        "{suggestion}"
    );
    assert_eq!(home(), before);
    let (code, _, suggestion) = lonely.lorectl(&["apply", "-y", "--json"]).exits(69).error();
    assert_eq!(code, "USER_MANAGER_MISSING");
    assert!(!lonely.units.exists());
    let command = suggestion.split('`').nth(1).unwrap();
    run("sh", &["-c", command]);
    poll("the manager", || {
        lorectl::effect::host::runtime_dir(lonely.account.uid)
            .join("bus")
            .exists()
    });
    lonely.apply();
    lonely.converged();
    lonely.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    run("loginctl", &["disable-linger", "lonely"]);
    poll("the manager to end", || {
        !lorectl::effect::host::runtime_dir(lonely.account.uid).exists()
    });
}
