//! Services that use credentials which systemd-creds keeps: systemd opens them for a run, and nobody else
//! does.

use std::{fs, path::Path};

use crate::{
    Test,
    host::{Host, poll},
    listener::{Answer, Listener},
    uses::{CANARY, SECOND, digest, holds, job, own, provide, read, spec, tree_holds},
};

/// On the system's manager, which alone has the key.
pub const SYSTEM: &[Test] = &[
    ("encrypted_values_reach_the_next_run", rotated),
    (
        "encrypted_values_that_are_gone_are_named_by_the_runner",
        gone,
    ),
    ("encrypted_files_of_others_are_refused", foreign),
    ("another_store_is_told_to_the_services", changed),
    ("credentials_that_systemd_cannot_open_are_told", unopened),
    (
        "encrypted_values_are_mended_by_the_timer_of_our_own",
        reconciled,
    ),
    ("secret_urls_come_from_encrypted_credentials", urls),
];

/// Keeps the job's credential encrypted, or not.
fn store(host: &Host, store: &str) {
    let path = host.dir.join("lore.toml");
    let text = fs::read_to_string(&path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("store = "));
    let lines = lines.map(|line| match line {
        "[credentials.app]" => format!("{line}\nstore = \"{store}\"\n"),
        line => format!("{line}\n"),
    });
    host.write(&path, lines.collect::<String>());
}

fn sealed_job(host: &Host) {
    job(host, own(host));
    store(host, "systemd-creds");
}

fn source(host: &Host, source: &str) {
    let path = host.dir.join("lore.toml");
    let text = fs::read_to_string(&path).unwrap();
    let lines = text.lines().map(|line| match line {
        line if line.starts_with("source = ") => format!("source = {source}\n"),
        line => format!("{line}\n"),
    });
    host.write(&path, lines.collect::<String>());
}

/// The next run has that value, and nothing of the service has changed for it.
fn runs_with(host: &Host, value: &str) {
    host.lorectl(&["service", "trigger", "job", "--ignore-backoff"])
        .exits(0);
    assert_eq!(read(host, "digest").trim(), digest(value));
    assert_eq!(tree_holds(&host.root()), Vec::<String>::new());
}

/// A line may have been wrapped anywhere.
#[track_caller]
fn says(answer: &crate::host::Answer, part: &str) {
    let said = format!("{} {}", answer.stdout, answer.stderr);
    let said: Vec<&str> = said.split_whitespace().collect();
    assert!(said.join(" ").contains(part), "{said:?}");
}

fn rotated(host: &Host) {
    sealed_job(host);
    host.apply();
    host.converged();
    runs_with(host, CANARY);
    let text = fs::read_to_string(host.path("job", "service")).unwrap();
    let stored = host.root().join("secrets/app/value");
    let line = format!("\nLoadCredentialEncrypted=app:{}\n", stored.display());
    assert!(
        text.contains(&line) && !text.contains("\nLoadCredential="),
        "{text}"
    );
    assert_eq!(read(host, "rights").lines().count(), 2);
    let before = host.snapshot(&["job"]);
    // From a file, from the environment, from a command.
    provide(host, "token", SECOND);
    host.apply();
    assert_eq!(host.snapshot(&["job"]), before);
    runs_with(host, SECOND);
    source(host, "{ env = \"TOKEN\" }");
    let third = "canary-55aa/third+value-of-a-token";
    for value in [CANARY, third] {
        let applied = host
            .command(crate::host::INSTALLED)
            .args(["apply", "-y"])
            .env("TOKEN", value)
            .output();
        let applied = crate::host::Answer::of(&applied.unwrap()).exits(0);
        assert!(
            !applied.stdout.contains("service.job"),
            "{}",
            applied.stdout
        );
        assert_eq!(host.snapshot(&["job"]), before);
        runs_with(host, value);
    }
    let kept = provide(host, "minted", CANARY);
    let mint = host.script("mint", &format!("cat {}", kept.display()));
    source(host, &format!("{{ command = [\"{}\"] }}", mint.display()));
    host.apply();
    runs_with(host, CANARY);
    // Such a source can be asked before a run, for which there is another unit.
    let before = host.snapshot(&["job"]);
    provide(host, "minted", SECOND);
    host.lorectl(&["credential", "rotate", "app", "-y"])
        .exits(0);
    assert_eq!(host.snapshot(&["job"]), before);
    runs_with(host, SECOND);
    for text in [
        host.systemctl(&["show", &host.unit("job", "service")]),
        host.lorectl(&["service", "logs", "job"]).exits(0).stdout,
    ] {
        assert!(!holds(text.as_bytes()), "{text}");
    }
    for words in [
        &["doctor"][..],
        &["service", "doctor", "job"],
        &["credential", "list"],
    ] {
        host.lorectl(words).exits(0);
    }
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    assert_eq!(host.residue(), Vec::<String>::new());
}

fn gone(host: &Host) {
    sealed_job(host);
    host.apply();
    fs::remove_file(host.root().join("secrets/app/value")).unwrap();
    let ran = host.lorectl(&["service", "trigger", "job"]).exits(1);
    says(&ran, "credential.app has no value");
    // The unit itself has not failed: the runner has recorded it.
    let unit = host.unit("job", "service");
    assert_eq!(host.property(&unit, "Result"), "success");
    let status = host.status("job").unwrap();
    assert_eq!(status["last_run"]["error_code"], "CREDENTIAL_MISSING");
    let doctor = host.lorectl(&["service", "doctor", "job"]).exits(1);
    says(&doctor, "credential.app is not in the store");
    host.lorectl(&["reconcile"]).exits(0);
    runs_with(host, CANARY);
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
}

fn foreign(host: &Host) {
    sealed_job(host);
    host.apply();
    let value = host.root().join("secrets/app/value");
    let other = host.dir.join("other");
    let encrypt = format!(
        "printf {SECOND} | systemd-creds encrypt --name=other - {} 2>&1",
        other.display()
    );
    crate::host::run("/bin/sh", &["-c", &encrypt]);
    let unit = host.unit("job", "service");
    // Another's, one that is empty, one in the clear.
    for bytes in [fs::read(&other).unwrap(), Vec::new(), CANARY.into()] {
        host.write(&value, &bytes);
        let started = host.command("systemctl").args(["start", &unit]).output();
        assert!(!started.unwrap().status.success());
        assert_eq!(host.property(&unit, "ExecMainStatus"), "243");
        let (code, message, help) = host
            .lorectl(&["service", "trigger", "job", "--json"])
            .error();
        assert_eq!(code, "CREDENTIAL_MISSING");
        assert!(
            message.contains("is not as lorectl has encrypted it"),
            "{message}"
        );
        assert!(help.contains("`lorectl reconcile`"), "{help}");
        let doctor = host.lorectl(&["service", "doctor", "job"]).exits(1);
        says(&doctor, "is not as lorectl has encrypted it");
        host.lorectl(&["reconcile"]).exits(0);
        runs_with(host, CANARY);
    }
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
}

/// Where lorectl's own file is as it was written, only the unit's end tells.
fn unopened(host: &Host) {
    sealed_job(host);
    host.apply();
    let unit = host.unit("job", "service");
    let told = || {
        let (code, message, help) = host
            .lorectl(&["service", "trigger", "job", "--json"])
            .error();
        assert_eq!(code, "CREDENTIAL_MISSING", "{message}");
        assert!(message.contains("243/CREDENTIALS"), "{message}");
        assert!(help.contains("`lorectl service doctor job`"), "{help}");
        assert!(help.contains(&format!("systemctl status {unit}")), "{help}");
        host.lorectl(&["service", "trigger", "job"]).exits(1);
    };
    // The key of the host is not there.
    let place = "/var/lib/systemd";
    crate::host::run("mount", &["-t", "tmpfs", "tmpfs", place]);
    told();
    crate::host::run("umount", &[place]);
    runs_with(host, CANARY);
    // Somebody has added one that is not there.
    let added = Path::new("/etc/systemd/system").join(format!("{unit}.d"));
    fs::create_dir_all(&added).unwrap();
    let text = "[Service]\nLoadCredential=other:/etc/lorectl-test-is-not-there\n";
    fs::write(added.join("x.conf"), text).unwrap();
    host.systemctl(&["daemon-reload"]);
    told();
    fs::remove_dir_all(&added).unwrap();
    host.systemctl(&["daemon-reload"]);
    runs_with(host, CANARY);
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
}

fn changed(host: &Host) {
    job(host, own(host));
    host.apply();
    host.lorectl(&["service", "trigger", "job"]).exits(0);
    store(host, "systemd-creds");
    // The credential alone: no job takes for a token what is none.
    host.lorectl(&["apply", "-y", "--target", "credential.app"])
        .exits(0);
    fs::remove_file(host.service("job").join("data/digest")).unwrap();
    let ran = host.lorectl(&["service", "trigger", "job"]).exits(1);
    says(&ran, "the value of credential.app is encrypted");
    assert!(!host.service("job").join("data/digest").exists());
    host.apply();
    host.converged();
    runs_with(host, CANARY);
    store(host, "file");
    host.apply();
    host.converged();
    host.lorectl(&["service", "trigger", "job"]).exits(0);
    assert_eq!(read(host, "digest").trim(), digest(CANARY));
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
}

fn reconciled(host: &Host) {
    sealed_job(host);
    let path = host.dir.join("lore.toml");
    let text = fs::read_to_string(&path).unwrap();
    let own = "[reconcile]\nevery = \"1h\"\nallow = [\"drift\", \"rotation\"]\n";
    host.write(&path, format!("{text}{own}"));
    host.apply();
    fs::remove_file(host.root().join("secrets/app/value")).unwrap();
    host.lorectl(&["service", "trigger", "reconcile"]).exits(0);
    runs_with(host, CANARY);
    host.converged();
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
}

fn urls(host: &Host) {
    let listener = Listener::start([Answer::status(200)]);
    let hook = provide(host, "hook", &listener.url("/canary-hook"));
    let ping = provide(host, "ping", &listener.url("/canary-uuid"));
    spec(
        host,
        &format!(
            r#"
[credentials.slack]
store = "systemd-creds"
source = {{ file = "{}" }}
[credentials.hc]
store = "systemd-creds"
source = {{ file = "{}" }}
[notify.ops]
webhook = {{ credential = "slack" }}
[services.job]
schedule = {{ every = "1h" }}
run = ["/bin/sh", "-c", "exit 77"]
notify = ["ops"]
ping = {{ credential = "hc" }}
{}
"#,
            hook.display(),
            ping.display(),
            own(host).replace("daemon", "root")
        ),
    );
    host.apply();
    host.lorectl(&["service", "trigger", "job"]).exits(1);
    for what in [
        "GET /canary-uuid/start",
        "POST /canary-uuid/fail",
        "POST /canary-hook",
    ] {
        poll(what, || {
            listener.seen().iter().any(|seen| seen.what == what)
        });
    }
    assert_eq!(tree_holds(&host.root()), Vec::<String>::new());
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
}
