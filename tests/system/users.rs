//! Root applies for another user: what that user owns, sees, breaks, and could try.

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown, symlink},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    Test,
    host::{Account, Host, account, describe, poll, run},
};

/// On the manager of another user, asked by root.
pub const OTHER: &[Test] = &[
    ("what_root_applies_for_a_user_is_that_users", applied),
    ("what_a_user_breaks_is_seen_and_mended", broken),
    ("a_credential_that_a_user_cannot_open_is_told", unopened),
    ("a_service_goes_from_user_to_user", moved),
    ("a_user_without_a_manager_is_told_of", lonely),
    ("links_of_a_user_lead_no_further_than_the_user", links),
    ("a_process_that_the_user_kills_fails_what_it_did", killed),
    ("an_apply_that_is_killed_is_gone_on_with", cut_short),
    ("a_user_who_is_gone_is_told_of", gone),
    ("nobody_else_may_apply_for_a_user", refused),
];

fn owner_of(path: &Path) -> (u32, u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.uid(), meta.gid(), meta.mode() & 0o7777)
}

fn applied(host: &Host) {
    let marks = host.dir.join("marks");
    host.make_dir(&marks);
    let mark = marks.join("ran");
    let lines = format!("echo $(id -un) $HOME >{}", mark.display());
    let program = host.script("job", &lines);
    let job = host
        .job("job")
        .with("schedule", r#"{ every = "1s" }"#)
        .with("run", &format!(r#"["{}"]"#, program.display()))
        .with("write_paths", &format!(r#"["{}"]"#, marks.display()));
    host.spec(&[job]);
    host.apply();
    // The timer runs it, as that user.
    poll("a run", || {
        fs::read_to_string(&mark).is_ok_and(|text| text.ends_with('\n'))
    });
    let (name, home) = (&host.owner.name, host.owner.home.display());
    let ran = fs::read_to_string(&mark).unwrap();
    assert_eq!(ran, format!("{name} {home}\n"));

    let (uid, gid) = (host.owner.uid, host.owner.gid);
    for suffix in ["service", "timer"] {
        assert_eq!(owner_of(&host.path("job", suffix)), (uid, gid, 0o644));
    }
    let service = host.service("job");
    assert_eq!(owner_of(&service), (0, 0, 0o711));
    assert_eq!(owner_of(&service.join("run.json")), (0, gid, 0o640));
    assert_eq!(owner_of(&service.join("data")), (uid, gid, 0o700));
    assert_eq!(owner_of(&host.root().join("state.json")), (0, 0, 0o600));
    let state = host.state();
    let backend = &state["resources"]["service.job"]["backend"];
    assert_eq!(*backend, format!("systemd-user@{name}"));

    let again = host.lorectl(&["apply", "-y", "--json"]).exits(0);
    assert_eq!(again.data()["applied"], serde_json::json!([]));
    host.converged();
    host.lorectl(&["service", "trigger", "job"]).exits(0);
    host.lorectl(&["doctor"]).exits(0);
    let snapshot = host.dir.join("snapshot.json").display().to_string();
    host.lorectl(&["observe", "--out", &snapshot]).exits(0);
    let plan = ["plan", "--observed", &snapshot, "--detailed-exitcode"];
    let plan = host.lorectl(&plan).exits(0);
    assert!(!plan.stdout.contains("enable-linger"), "{plan:?}");

    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    assert_eq!(host.residue(), [""; 0]);
    assert!(!service.exists());
    host.forgotten();
}

fn broken(host: &Host) {
    host.spec(&[host.job("job")]);
    host.apply();
    let path = host.path("job", "timer");
    let shell = |script: &str| {
        let mut command = host.command_of_owner("/bin/sh");
        let status = command.args(["-euc", script]).status().unwrap();
        assert!(status.success(), "{script}");
    };
    let (timer, units) = (path.display(), host.units.display());
    let unit = host.unit("job", "timer");
    for (script, part) in [
        (format!("echo '# mine' >>{timer}"), "timer"),
        (
            format!("rm {timer}; systemctl --user daemon-reload"),
            "timer",
        ),
        (format!("systemctl --user stop {unit}"), "active"),
        (format!("systemctl --user disable {unit}"), "enabled"),
        (
            format!("mkdir {units}/{unit}.d; echo '[Timer]' >{units}/{unit}.d/x.conf"),
            "drop-in timer/x.conf",
        ),
        // In place of a unit, a link to what root alone may read.
        (format!("ln -sf /etc/shadow {timer}"), "timer"),
    ] {
        shell(&script);
        let (status, drift) = host.drift();
        assert_eq!(status, 2, "{script}: {drift}");
        let told = drift.to_string();
        assert!(told.contains(part), "{script}: {told}");
        assert!(!told.contains("root:"), "{script}: {told}");
        host.lorectl(&["reconcile"]).exits(0);
        host.converged();
    }
    // A pipe is no unit of ours; nobody waits at it.
    shell(&format!("rm {timer}; mkfifo {timer}"));
    let drift = host.lorectl(&["plan"]);
    assert!(
        drift.stdout.contains("is not a file") || drift.stderr.contains("is not a file"),
        "{drift:?}"
    );
    shell(&format!("rm {timer}"));
    host.apply();
    host.converged();
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    assert_eq!(host.residue(), [""; 0]);
}

/// Asked of the manager by a process of its user.
fn unopened(host: &Host) {
    host.spec(&[host.job("job")]);
    host.apply();
    let added = format!("{}/{}.d", host.units.display(), host.unit("job", "service"));
    let script = format!(
        "mkdir {added}; printf '[Service]\nLoadCredential=other:/is-not-there\n' >{added}/x.conf; systemctl --user daemon-reload"
    );
    let mut command = host.command_of_owner("/bin/sh");
    let status = command.args(["-euc", &script]).status().unwrap();
    assert!(status.success(), "{script}");
    let (code, message, help) = host
        .lorectl(&["service", "trigger", "job", "--json"])
        .error();
    assert_eq!(code, "CREDENTIAL_MISSING", "{message}");
    assert!(help.contains("systemctl --user --machine="), "{help}");
    fs::remove_dir_all(&added).unwrap();
    host.systemctl(&["daemon-reload"]);
    host.lorectl(&["service", "trigger", "job"]).exits(0);
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
}

/// Another user with a manager.
fn neighbour() -> Account {
    if account("neighbour").is_none() {
        run("useradd", &["--create-home", "neighbour"]);
    }
    run("loginctl", &["enable-linger", "neighbour"]);
    let user = account("neighbour").unwrap();
    poll("the neighbour's manager", || {
        lorectl::effect::host::runtime_dir(user.uid)
            .join("bus")
            .exists()
    });
    user
}

fn moved(host: &Host) {
    let neighbour = neighbour();
    host.spec(&[host.job("job"), host.job("stays")]);
    host.apply();
    host.lorectl(&["service", "trigger", "job"]).exits(0);
    let there = Host::for_user(neighbour, &host.project);
    let with = |job: crate::host::Job| job.with("user", r#""neighbour""#);
    host.spec(&[with(host.job("job")), host.job("stays")]);
    host.apply();
    host.converged();
    assert!(!host.path("job", "timer").exists());
    let timer = host.unit("job", "timer");
    assert_eq!(there.property(&timer, "ActiveState"), "active");
    assert_eq!(
        there.property(&host.unit("stays", "timer"), "ActiveState"),
        "inactive"
    );
    assert_eq!(
        host.property(&host.unit("stays", "timer"), "ActiveState"),
        "active"
    );
    assert_eq!(
        owner_of(&host.service("job").join("data")).0,
        there.owner.uid
    );
    there.lorectl(&["service", "trigger", "job"]).exits(0);
    // To the system's manager, and away.
    let system = host
        .job("job")
        .with("scheduler", r#""systemd-system""#)
        .with("user", r#""daemon""#);
    host.spec(&[system, host.job("stays")]);
    host.apply();
    host.converged();
    assert!(!there.path("job", "timer").exists());
    assert!(Path::new("/etc/systemd/system").join(&timer).exists());
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    assert_eq!(host.residue(), [""; 0]);
    assert_eq!(there.residue(), [""; 0]);
    assert!(!Path::new("/etc/systemd/system").join(&timer).exists());
}

fn lonely(host: &Host) {
    if account("hermit").is_none() {
        run("useradd", &["--create-home", "hermit"]);
    }
    let hermit = account("hermit").unwrap();
    let before = {
        let mut found = std::collections::BTreeMap::new();
        describe(&hermit.home, &mut found);
        found
    };
    host.spec(&[host.job("job").with("user", r#""hermit""#)]);
    for args in [["plan", "--json"].as_slice(), &["apply", "-y", "--json"]] {
        let answer = host.lorectl(args).exits(69);
        let (code, message, suggestion) = answer.error();
        assert_eq!(code, "USER_MANAGER_MISSING", "{answer:?}");
        assert!(message.contains("user hermit has no"), "{message}");
        let hint = "loginctl enable-linger hermit";
        assert!(suggestion.contains(hint), "{suggestion}");
    }
    let mut after = std::collections::BTreeMap::new();
    describe(&hermit.home, &mut after);
    assert_eq!(before, after);

    // One that runs, but not for long, is warned of.
    run(
        "systemctl",
        &["start", &format!("user@{}.service", hermit.uid)],
    );
    let plan = host.lorectl(&["plan"]).exits(0);
    let words: Vec<&str> = plan.stdout.split_whitespace().collect();
    let said = words.join(" ");
    assert!(said.contains("timers of hermit stop at logout"), "{said}");
    host.apply();
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    run(
        "systemctl",
        &["stop", &format!("user@{}.service", hermit.uid)],
    );
}

/// A user who makes links of the directories that units are in.
fn links(host: &Host) {
    if account("liar").is_none() {
        run("useradd", &["--create-home", "liar"]);
    }
    run("loginctl", &["enable-linger", "liar"]);
    let liar = account("liar").unwrap();
    poll("the liar's manager", || {
        lorectl::effect::host::runtime_dir(liar.uid)
            .join("bus")
            .exists()
    });
    let there = Host::for_user(liar.clone(), &host.project);
    fs::create_dir_all(liar.home.join(".config/systemd")).unwrap();
    symlink("/etc/systemd/system", &there.units).unwrap();
    run(
        "chown",
        &["-Rh", "liar:", liar.home.join(".config").to_str().unwrap()],
    );
    there.spec(&[there.job("job")]);
    let system = Path::new("/etc/systemd/system");
    let answer = there.lorectl(&["apply", "-y", "--json"]).exits(1);
    assert!(answer.stdout.contains("Permission denied"), "{answer:?}");
    assert!(!system.join(there.unit("job", "timer")).exists());
    // Where the user may write, the user may have them.
    let elsewhere = liar.home.join("units");
    fs::remove_file(&there.units).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, &there.units).unwrap();
    run("chown", &["-Rh", "liar:", liar.home.to_str().unwrap()]);
    there.apply();
    there.converged();
    assert!(elsewhere.join(there.unit("job", "timer")).exists());
    there.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    assert_eq!(there.residue(), [""; 0]);
}

/// A job that is another one for each number.
fn numbered(host: &Host, number: u32) {
    let timeout = format!("\"{}m\"", 10 + number);
    let jobs = ["a", "b", "c"].map(|name| host.job(name).with("timeout", &timeout));
    host.spec(&jobs);
}

/// The process that acts for a user is the user's to kill.
fn killed(host: &Host) {
    numbered(host, 0);
    host.apply();
    let script = "while :; do pkill -KILL -u $(id -u) -f '^/proc/self/exe as-user'; done";
    let mut killer = host.command_of_owner("/bin/sh");
    let mut killer = killer
        .args(["-c", script])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    poll("a plan that was cut short", || {
        let plan = host.lorectl(&["plan", "--json"]);
        assert!([0, 69].contains(&plan.status), "{plan:?}");
        assert!(
            plan.status == 0 || plan.stdout.contains("acts for"),
            "{plan:?}"
        );
        plan.status != 0
    });
    let mut number = 0;
    poll("an apply that was cut short while it acted", || {
        number += 1;
        numbered(host, number);
        let apply = host.lorectl(&["apply", "-y", "--json"]);
        // Failed and put back, not put back, not looked at: said each time.
        let told = apply.status == 0 || apply.stdout.contains("acts for");
        assert!([0, 1, 4, 69].contains(&apply.status) && told, "{apply:?}");
        [1, 4].contains(&apply.status)
    });
    killer.kill().unwrap();
    killer.wait().unwrap();
    host.apply();
    host.converged();
    assert_eq!(host.temporary_files(), [""; 0]);
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    assert_eq!(host.residue(), [""; 0]);
}

/// Root's own process is killed, wherever it then is: the next apply goes on, and sweeps the home too.
fn cut_short(host: &Host) {
    numbered(host, 0);
    host.apply();
    let left = host.units.join(format!(
        ".lorectl-0123456789abcdef.{}.tmp",
        host.unit("a", "timer")
    ));
    let mut swept = 0;
    for number in 1..20 {
        numbered(host, number);
        let mut apply = host.start(&["apply", "-y"]);
        // Not to wait for anything: so that each is killed somewhere else.
        std::thread::sleep(Duration::from_millis(u64::from(number) * 6));
        apply.kill().unwrap();
        apply.wait().unwrap();
        fs::write(&left, "").unwrap();
        chown(&left, Some(host.owner.uid), Some(host.owner.gid)).unwrap();
        host.apply();
        host.converged();
        if fs::remove_file(&left).is_err() {
            swept += 1;
        }
    }
    assert!(swept > 0, "none was killed while it acted");
    assert_eq!(host.temporary_files(), [""; 0]);
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    assert_eq!(host.residue(), [""; 0]);
}

fn gone(host: &Host) {
    run("useradd", &["--create-home", "leaver"]);
    run("loginctl", &["enable-linger", "leaver"]);
    let leaver = account("leaver").unwrap();
    poll("the leaver's manager", || {
        lorectl::effect::host::runtime_dir(leaver.uid)
            .join("bus")
            .exists()
    });
    let there = Host::for_user(leaver.clone(), &host.project);
    there.spec(&[there.job("job")]);
    there.apply();
    run("loginctl", &["disable-linger", "leaver"]);
    run(
        "systemctl",
        &["stop", &format!("user@{}.service", leaver.uid)],
    );
    let status = Command::new("userdel")
        .args(["--remove", "--force", "leaver"])
        .stderr(Stdio::null())
        .status();
    assert!(status.is_ok());
    there.spec(&[]);
    let answer = there.lorectl(&["plan", "--json"]).exits(69);
    let said = "there is no user `leaver` on this host";
    assert!(answer.stdout.contains(said), "{answer:?}");
    there.lorectl(&["state", "rm", "service.job"]).exits(0);
    there.lorectl(&["plan", "--detailed-exitcode"]).exits(0);
}

fn refused(host: &Host) {
    let lore = Host::of_user(host.owner.clone(), &host.project);
    lore.spec(&[lore.job("job").with("user", r#""root""#)]);
    let answer = lore.lorectl(&["plan", "--json"]).exits(65);
    let said = "of `lore` cannot run a service as `root`";
    assert!(answer.stdout.contains(said), "{answer:?}");
    // Nor does the process become anybody for who is not root.
    let answer = lore.lorectl(&["as-user", "root"]);
    assert_ne!(answer.status, 0, "{answer:?}");
    fs::remove_dir_all(&lore.dir).unwrap();
}
