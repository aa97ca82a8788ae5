//! Services that use credentials, on either manager and by the worker: what a run reads is what the store
//! holds then, and a value is nowhere else.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{
    Test,
    host::{Host, Manager, list, poll},
    listener::{Answer, Listener},
};

/// On either manager.
pub const BOTH: &[Test] = &[
    ("rotated_values_reach_the_next_run", rotated),
    ("emptied_values_are_named_by_the_runner", emptied),
    ("handed_over_by_systemd_alone", by_hand),
    ("secret_urls_come_from_credentials", urls),
    ("tokens_are_renewed_before_a_run", renewed),
    ("worker_lays_values_out_for_the_job", worker),
    ("reader_that_cannot_reload_keeps_what_it_had", reader),
];

/// On the manager of another user.
pub const OTHER: &[Test] = &[("stored_values_are_not_for_the_managers_of_others", refused)];

/// Values that are searched for.
pub const CANARY: &str = "canary-4d1e/first+value-of-a-token";
pub const SECOND: &str = "canary-8b07/second+value-of-a-token";

/// A program that reads what is delivered, and cannot reload: it goes on, or ends of it.
fn reader(host: &Host) {
    // What root delivers is read by units of the system's manager.
    if host.manager == Manager::Other {
        return;
    }
    let (token, unit) = (
        host.dir.join("delivered"),
        format!("reader-{}.service", host.project),
    );
    let (broken, deadly) = (host.dir.join("broken"), host.dir.join("deadly"));
    let reload = host.script(
        "reload",
        &format!(
            "test -e {0} && kill -9 $MAINPID\ntest ! -e {1} || exit 1\necho reloaded >>{2}",
            deadly.display(),
            broken.display(),
            host.dir.join("reloads").display()
        ),
    );
    let file = host.units.join(&unit);
    host.make_dir(&host.units);
    host.write(
        &file,
        format!(
            "[Service]\nExecStart=/bin/sleep infinity\nExecReload={}\n",
            reload.display()
        ),
    );
    host.systemctl(&["daemon-reload"]);
    host.systemctl(&["start", &unit]);
    let source = provide(host, "token", "first");
    spec(
        host,
        &format!(
            "[credentials.app]\nsource = {{ file = \"{}\" }}\ndeliver = [{{ file = \"{}\", then = {{ reload = \"{unit}\" }} }}]\n",
            source.display(),
            token.display()
        ),
    );
    let holds = |value: &str| assert_eq!(fs::read_to_string(&token).unwrap(), value);
    host.apply();
    holds("first");
    assert_eq!(
        fs::read_to_string(host.dir.join("reloads")).unwrap(),
        "reloaded\n"
    );
    // It cannot reload, neither the new value nor the old one: the file is as before, and so is it.
    host.write(&broken, "");
    provide(host, "token", "second");
    let failed = host.lorectl(&["apply", "--yes"]).exits(1);
    let said: Vec<&str> = failed.stdout.split_whitespace().collect();
    let said = said.join(" ");
    for part in [
        format!("{unit} cannot be reloaded"),
        "so it cannot be told which of the two values it holds".to_owned(),
        format!("`systemctl restart {unit}`"),
    ] {
        assert!(said.contains(&part), "{said}");
    }
    holds("first");
    assert_eq!(host.property(&unit, "ActiveState"), "active");
    host.lorectl(&["drift", "--detailed-exitcode"]).exits(0);
    // One that ends of it is not as before.
    host.write(&deadly, "");
    let worse = host.lorectl(&["apply", "--yes"]).exits(4);
    assert!(worse.stdout.contains("Not put back"), "{}", worse.stdout);
    holds("first");
    fs::remove_file(&deadly).unwrap();
    fs::remove_file(&broken).unwrap();
    // One that does not run reads what is there when it starts.
    host.apply();
    holds("second");
    // What was made for one that cannot reload is ended again, and nothing is left of it.
    host.systemctl(&["start", &unit]);
    host.write(&broken, "");
    let body = "{\"access_token\":\"made\",\"token_type\":\"Bearer\",\"expires_in\":36000}";
    let json = "Content-Type: application/json\r\n";
    let server = Listener::issuer([Answer::With(200, json, body.to_owned())]);
    let (url, made) = (server.url(""), host.dir.join("made"));
    let text = fs::read_to_string(host.dir.join("lore.toml")).unwrap();
    host.write(
        &host.dir.join("lore.toml"),
        format!(
            "{text}[credentials.api]\nsource = {{ oauth2 = {{ token_url = \"{url}/token\", client_id = \"acme\", secret = \"app\", revoke_url = \"{url}/revoke\" }} }}\ndeliver = [{{ file = \"{}\", then = {{ reload = \"{unit}\" }} }}]\n",
            made.display()
        ),
    );
    let failed = host.lorectl(&["apply", "--yes"]).exits(1);
    assert!(!failed.stdout.contains("Not put back"), "{}", failed.stdout);
    let what: Vec<String> = server.seen().into_iter().map(|seen| seen.what).collect();
    assert_eq!(what, ["POST /token", "POST /revoke"]);
    assert!(!made.exists() && !host.root().join("secrets/api").exists());
    rotates_for_a_reader(host, &unit, &broken);
    host.systemctl(&["stop", &unit]);
    // A plan warns of a unit that is not there, and of no other.
    let missing = format!("{unit} is to reload when it is delivered, and there is no such unit");
    let warns = || {
        let plan = host.lorectl(&["plan"]).exits(0).stdout;
        let words: Vec<&str> = plan.split_whitespace().collect();
        words.join(" ").contains(&missing)
    };
    assert!(!warns());
    fs::remove_file(&file).unwrap();
    host.systemctl(&["daemon-reload"]);
    assert!(warns());
}

/// A token that died when its successor was made is not put back for a reader that cannot reload.
fn rotates_for_a_reader(host: &Host, unit: &str, broken: &Path) {
    let (old, new) = ("glpat-theFirstOfTheFamily", "glpat-theSecondOfTheFamily");
    let body = format!(
        "{{\"id\":43,\"token\":\"{new}\",\"active\":true,\"revoked\":false,\"scopes\":[],\"expires_at\":\"2099-01-01\"}}"
    );
    let json = "Content-Type: application/json\r\n";
    let server = Listener::issuer([Answer::With(200, json, body)]);
    let (source, file) = (provide(host, "family", old), host.dir.join("gl"));
    spec(
        host,
        &format!(
            "[credentials.gl]\nprovider = \"gitlab\"\nbase_url = \"{}\"\nsource = {{ file = \"{}\" }}\nrotate = {{ before = \"1d\", ttl = \"30d\" }}\ndeliver = [{{ file = \"{}\", then = {{ reload = \"{unit}\" }} }}]\n",
            server.url(""),
            source.display(),
            file.display()
        ),
    );
    fs::remove_file(broken).unwrap();
    host.lorectl(&["apply", "--yes", "--allow-deletes"])
        .exits(0);
    let holds = |value: &str| assert_eq!(fs::read_to_string(&file).unwrap(), value);
    holds(old);
    host.write(broken, "");
    let failed = host
        .lorectl(&["credential", "rotate", "gl", "--yes"])
        .exits(4);
    let said: Vec<&str> = failed.stdout.split_whitespace().collect();
    let said = said.join(" ");
    assert!(said.contains("the new value stays in use"), "{said}");
    holds(new);
    // The next apply goes on, and makes no third.
    fs::remove_file(broken).unwrap();
    let reloads = || fs::read_to_string(host.dir.join("reloads")).unwrap().len();
    let before = reloads();
    host.apply();
    assert!(before < reloads());
    holds(new);
    let seen = server.seen();
    let rotations = seen.iter().filter(|seen| seen.what.starts_with("POST"));
    assert_eq!(rotations.count(), 1);
    host.converged();
}

/// What a service of the manager needs beside its schedule.
pub fn own(host: &Host) -> &'static str {
    match host.manager {
        Manager::System => "scheduler = \"systemd-system\"\nuser = \"daemon\"",
        Manager::User => "scheduler = \"systemd-user\"",
        Manager::Other => "scheduler = \"systemd-user\"\nuser = \"lore\"",
    }
}

/// Where the value of `credential.NAME` comes from.
pub fn provide(host: &Host, name: &str, value: &str) -> PathBuf {
    let path = host.dir.join(name);
    host.write(&path, value);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

pub fn spec(host: &Host, text: &str) {
    let project = &host.project;
    let head = format!("version = 1\n[project]\nname = \"{project}\"\nmin_interval = \"1s\"\n");
    host.write(&host.dir.join("lore.toml"), format!("{head}{text}"));
}

/// A job that writes down what it was given, as far as it is the same in both ways, and prints it.
pub fn job(host: &Host, scheduling: &str) {
    let source = provide(host, "token", CANARY);
    let script = host.script(
        "job",
        r#"set -eu
test "$(cat "$TOKEN_FILE")" = "$TOKEN"
test "$TOKEN_FILE" = "$CREDENTIALS_DIRECTORY/app"
if tr '\0' '\n' </proc/$PPID/environ | grep -qF "$TOKEN"; then exit 3; fi
if tr '\0' '\n' </proc/$PPID/cmdline | grep -qF "$TOKEN"; then exit 4; fi
printf '%s' "$TOKEN" | sha256sum | cut -d' ' -f1 >"$LORECTL_DATA_DIR/digest"
stat -c '%a %U' "$CREDENTIALS_DIRECTORY" "$TOKEN_FILE" >"$LORECTL_DATA_DIR/rights"
echo "$CREDENTIALS_DIRECTORY" >"$LORECTL_DATA_DIR/directory"
echo "the token is $TOKEN"
printf %s "$TOKEN" | base64 -w0"#,
    );
    spec(
        host,
        &format!(
            r#"
[credentials.app]
source = {{ file = "{}" }}
[services.job]
schedule = {{ every = "1h" }}
run = ["{}"]
env = {{ TOKEN = {{ credential = "app" }}, TOKEN_FILE = {{ credential = "app", as = "path" }} }}
{scheduling}
"#,
            source.display(),
            script.display()
        ),
    );
}

pub fn read(host: &Host, name: &str) -> String {
    fs::read_to_string(host.service("job").join("data").join(name)).unwrap()
}

pub fn digest(value: &str) -> String {
    let digest = lorectl::id::Digest::of(value.as_bytes()).to_string();
    digest.rsplit(':').next().unwrap().to_owned()
}

/// The files below a directory, but for the store, that hold a value.
fn leaks(dir: &Path) -> Vec<String> {
    let mut found = tree_holds(dir);
    let store = dir.join("secrets").display().to_string();
    found.retain(|path| !path.starts_with(&store));
    found
}

/// The files below a directory that hold a value.
pub fn tree_holds(dir: &Path) -> Vec<String> {
    let (mut open, mut found) = (vec![dir.to_owned()], Vec::new());
    while let Some(dir) = open.pop() {
        for path in list(&dir) {
            if path.is_dir() {
                open.push(path);
            } else if fs::read(&path).is_ok_and(|bytes| holds(&bytes)) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

pub fn holds(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    // The base64 of what both begin with.
    text.contains("canary-") || text.contains("Y2FuYXJ5")
}

fn rotated(host: &Host) {
    job(host, own(host));
    let plan = host.lorectl(&["plan"]).exits(0);
    assert!(plan.stdout.contains("← credential.app"), "{}", plan.stdout);
    host.apply();
    host.converged();
    host.lorectl(&["service", "trigger", "job"]).exits(0);
    assert_eq!(read(host, "digest").trim(), digest(CANARY));
    let unit = host.unit("job", "service");
    let before = host.snapshot(&["job"]);
    let text = fs::read_to_string(host.path("job", "service")).unwrap();
    let stored = host.root().join("secrets/app/value");
    let line = format!("\nLoadCredential=app:{}\n", stored.display());
    assert!(text.contains(&line), "{text}");
    // Another value: nothing of the service changes, and the next run has it.
    provide(host, "token", SECOND);
    let applied = host.apply();
    assert!(
        !applied.stdout.contains("service.job"),
        "{}",
        applied.stdout
    );
    assert_eq!(host.snapshot(&["job"]), before);
    host.lorectl(&["service", "trigger", "job"]).exits(0);
    assert_eq!(read(host, "digest").trim(), digest(SECOND));
    // No value is in what anybody may ask systemd, in the unit's files, in the journal, or in our state.
    for text in [
        host.systemctl(&["show", &unit]),
        host.systemctl(&["cat", &unit]),
        fs::read_to_string(host.path("job", "service")).unwrap(),
        host.lorectl(&["service", "logs", "job"]).exits(0).stdout,
        crate::host::run("journalctl", &["--no-pager", "--output", "cat"]),
    ] {
        assert!(!holds(text.as_bytes()), "{text}");
    }
    let log = read(host, "logs/service.log");
    assert!(log.contains("the token is «app»"), "{log}");
    assert_eq!(leaks(&host.root()), Vec::<String>::new());
    // The unit goes before what it needs.
    host.converged();
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    assert_eq!(host.residue(), Vec::<String>::new());
    assert!(!host.root().join("secrets/app").exists());
}

fn emptied(host: &Host) {
    job(host, own(host));
    host.apply();
    let value = host.root().join("secrets/app/value");
    host.write(&value, "");
    let ran = host.lorectl(&["service", "trigger", "job"]).exits(1);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    let said: Vec<&str> = said.split_whitespace().collect();
    assert!(
        said.join(" ").contains("credential.app has no value"),
        "{said:?}"
    );
    // The unit itself has not failed: the runner has recorded it.
    let unit = host.unit("job", "service");
    assert_eq!(host.property(&unit, "Result"), "success");
    let status = host.status("job").unwrap();
    assert_eq!(status["last_run"]["error_code"], "CREDENTIAL_MISSING");
    let doctor = host.lorectl(&["service", "doctor", "job"]).exits(1);
    assert!(doctor.stdout.contains("credential.app has no value"));
    host.lorectl(&["reconcile"]).exits(0);
    host.lorectl(&["service", "trigger", "job", "--ignore-backoff"])
        .exits(0);
    assert_eq!(read(host, "digest").trim(), digest(CANARY));
    // One that is missing would fail the unit before anything of ours runs.
    fs::remove_file(&value).unwrap();
    let (code, _, help) = host
        .lorectl(&["service", "trigger", "job", "--json"])
        .error();
    assert_eq!(code, "CREDENTIAL_MISSING");
    assert!(help.contains("`lorectl reconcile`"), "{help}");
    host.lorectl(&["reconcile"]).exits(0);
    host.lorectl(&["service", "trigger", "job"]).exits(0);
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
}

fn by_hand(host: &Host) {
    job(host, own(host));
    host.apply();
    let run = ["service", "run", "--project", &host.project, "job"];
    let (code, message, help) = host.lorectl(&[&run[..], &["--json"]].concat()).error();
    assert_eq!(code, "CREDENTIAL_MISSING");
    assert!(
        message.contains("CREDENTIALS_DIRECTORY is not set"),
        "{message}"
    );
    assert!(help.contains("`lorectl service trigger job`"), "{help}");
    // Nobody's mistake by hand is a failure of the service.
    assert!(
        host.status("job")
            .is_none_or(|status| status["last_run"].is_null())
    );
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
}

fn urls(host: &Host) {
    let listener = Listener::start([Answer::status(200)]);
    let hook = provide(host, "hook", &listener.url("/canary-hook"));
    let ping = provide(host, "ping", &format!("{}\n", listener.url("/canary-uuid")));
    spec(
        host,
        &format!(
            r#"
[credentials.slack]
source = {{ file = "{}" }}
[credentials.hc]
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
            // Root without its capabilities reads what is root's.
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
    assert_eq!(leaks(&host.root()), Vec::<String>::new());
    assert!(!holds(
        host.systemctl(&["show", &host.unit("job", "service")])
            .as_bytes()
    ));
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
}

fn renewed(host: &Host) {
    let given = |token: &str, life: u32| {
        let body = format!("{{\"access_token\":\"{token}\",\"expires_in\":{life}}}");
        Answer::With(200, "", body)
    };
    let server = Listener::start([given(CANARY, 1)]);
    job(host, own(host));
    let secret = provide(host, "client", "canary-of-a-client");
    let file = host.dir.join("lore.toml");
    let text = fs::read_to_string(&file).unwrap();
    let minted = format!(
        "source = {{ oauth2 = {{ token_url = \"{}\", client_id = \"acme\", secret = \"client\" }} }}",
        server.url("/token")
    );
    let source = format!(
        "source = {{ file = \"{}\" }}",
        host.dir.join("token").display()
    );
    let text = text.replace(&source, &minted);
    let client = format!(
        "[credentials.client]\nsource = {{ file = \"{}\" }}\n",
        secret.display()
    );
    host.write(&file, format!("{text}{client}"));
    let plan = host.lorectl(&["plan"]).exits(0);
    assert!(plan.stdout.contains("refresh.service"), "{}", plan.stdout);
    host.apply();
    host.converged();
    let before = host.snapshot(&["job"]);
    let trigger = || drop(host.lorectl(&["service", "trigger", "job"]).exits(0));
    // Its second has passed, or passes now: then the run gets another, and no unit is written.
    server.answer([given(SECOND, 3600)]);
    poll("a run with the second token", || {
        trigger();
        read(host, "digest").trim() == digest(SECOND)
    });
    assert_eq!(host.snapshot(&["job"]), before);
    assert_eq!(server.seen().len(), 2);
    trigger();
    assert_eq!(server.seen().len(), 2, "it is served while it is valid");
    host.converged();
    let unit = host.unit("job", "refresh.service");
    assert_eq!(host.property(&unit, "Result"), "success");
    // Its unit is a part like the others.
    let path = host.path("job", "refresh.service");
    let own_text = fs::read_to_string(&path).unwrap();
    host.write(
        &path,
        own_text.replace("credential refresh", "credential list"),
    );
    let drift = host.lorectl(&["drift", "--detailed-exitcode"]).exits(2);
    assert!(drift.stdout.contains("refresh"), "{}", drift.stdout);
    host.lorectl(&["reconcile"]).exits(0);
    assert_eq!(fs::read_to_string(&path).unwrap(), own_text);
    fs::remove_file(&path).unwrap();
    host.lorectl(&["drift", "--detailed-exitcode"]).exits(2);
    host.apply();
    host.converged();
    // A token of its own source needs no such unit, and the one that is there goes.
    let text = fs::read_to_string(&file).unwrap();
    host.write(&file, text.replace(&minted, &source));
    host.apply();
    host.converged();
    assert!(!path.exists());
    trigger();
    assert_eq!(read(host, "digest").trim(), digest(CANARY));
    assert_eq!(leaks(&host.root()), Vec::<String>::new());
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    assert_eq!(host.residue(), Vec::<String>::new());
}

fn refused(host: &Host) {
    job(host, own(host));
    let (code, _, _) = host.lorectl(&["apply", "-y", "--json"]).exits(65).error();
    assert_eq!(code, "SPEC_INVALID");
    let refused = host.lorectl(&["plan"]).exits(65);
    let said = "the manager of `lore` cannot read what is kept for root's credentials";
    assert!(refused.stderr.contains(said), "{}", refused.stderr);
    assert!(!host.root().join("secrets").exists());
}

fn worker(host: &Host) {
    // Root reads the store, and the job is another user's; or both are one ordinary user's.
    let (user, own, runtime) = match host.manager {
        Manager::System | Manager::Other => {
            ("daemon", "user = \"daemon\"", "/run/lorectl".to_owned())
        }
        Manager::User => (
            host.account.name.as_str(),
            "",
            format!("/run/user/{}/lorectl", host.account.uid),
        ),
    };
    job(host, &format!("scheduler = \"worker\"\n{own}"));
    host.apply();
    host.lorectl(&["service", "trigger", "job"]).exits(0);
    assert_eq!(read(host, "digest").trim(), digest(CANARY));
    assert_eq!(read(host, "rights"), format!("700 {user}\n400 {user}\n"));
    let directory = PathBuf::from(read(host, "directory").trim());
    assert!(directory.starts_with(&runtime), "{}", directory.display());
    assert!(!directory.exists());
    provide(host, "token", SECOND);
    host.apply();
    // What a killed runner has left is swept by the next run.
    let parent = directory.parent().unwrap();
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("left"), CANARY).unwrap();
    let owner = crate::host::account(user).unwrap();
    std::os::unix::fs::chown(&directory, Some(owner.uid), Some(owner.gid)).unwrap();
    host.lorectl(&["service", "trigger", "job"]).exits(0);
    assert_eq!(read(host, "digest").trim(), digest(SECOND));
    assert_eq!(list(parent), Vec::<PathBuf>::new());
    assert_eq!(leaks(&host.root()), Vec::<String>::new());
    assert_eq!(leaks(Path::new(&runtime)), Vec::<String>::new());
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
}
