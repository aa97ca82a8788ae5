//! A hardened service tells others, from within its sandbox and as its user.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
};

use crate::{
    Test,
    host::{Host, Manager, poll},
    listener::{Answer, Listener},
};

/// On either manager.
pub const BOTH: &[Test] = &[
    ("a_hardened_service_tells_others", tells),
    ("what_waits_is_told_at_the_next_wake_up", next_wake_up),
];

/// What a service of the manager needs beside its schedule.
fn own(host: &Host) -> &'static str {
    match host.manager {
        Manager::System => "scheduler = \"systemd-system\"\nuser = \"daemon\"",
        Manager::User => "scheduler = \"systemd-user\"",
        Manager::Other => "scheduler = \"systemd-user\"\nuser = \"lore\"",
    }
}

/// A program that fails for now as long as `well` is not there, and is not tried again at once.
fn failing(host: &Host) -> String {
    let lines = "test -e well && exit 0\necho '{\"retry_after\": 600}' >$LORECTL_RESULT\nexit 75";
    host.script("job", lines).display().to_string()
}

/// A file that the service's user may read, and not everybody.
fn secret(host: &Host, name: &str, text: &str) -> String {
    let path = host.dir.join(name);
    host.write(&path, text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let (uid, gid) = match host.manager {
        Manager::System => (None, crate::host::account("daemon").unwrap().gid),
        // The sandbox hides whose another's would be.
        Manager::User | Manager::Other => (Some(host.owner.uid), host.owner.gid),
    };
    chown(&path, uid, Some(gid)).unwrap();
    path.display().to_string()
}

fn spec(host: &Host, text: &str) {
    let project = &host.project;
    let head = format!("version = 1\n[project]\nname = \"{project}\"\nmin_interval = \"1s\"\n");
    host.write(&host.dir.join("lore.toml"), format!("{head}{text}"));
}

fn tells(host: &Host) {
    let listener = Listener::start([Answer::status(200)]);
    let (plain, program) = (listener.url("/hook"), failing(host));
    // By name, so that the resolver is needed too.
    let named = plain.replace("127.0.0.1", "localhost");
    let file = secret(host, "hook", &named);
    let ping = secret(host, "ping", &listener.url("/uuid"));
    let trusted = named.replace("http:", "https:");
    let told = host.service("job").join("data/told");
    let command = host.script("tell", &format!("cat >{}", told.display()));
    spec(
        host,
        &format!(
            "
[notify.file]
webhook = {{ file = \"{file}\" }}
[notify.tls]
webhook = \"{trusted}\"
[notify.program]
command = [\"{}\", \"x\"]
[services.job]
schedule = {{ every = \"1h\" }}
run = [\"{program}\"]
notify = [\"file\", \"tls\", \"program\"]
ping = {{ file = \"{ping}\" }}
{}
",
            command.display(),
            own(host)
        ),
    );
    host.apply();
    let unit = fs::read_to_string(host.path("job", "service")).unwrap();
    assert!(unit.contains("ProtectSystem=strict"), "{unit}");
    host.lorectl(&["service", "trigger", "job"]).exits(1);
    poll("the ping of its end", || {
        let seen = listener.seen();
        seen.iter().any(|seen| seen.what == "POST /uuid/fail")
    });
    let hook = || {
        let seen = listener.seen().into_iter();
        seen.filter(|seen| seen.what == "POST /hook").count()
    };
    poll("the webhook", || hook() == 1);
    poll("the command", || told.exists());
    let text = fs::read_to_string(&told).unwrap();
    assert!(text.contains("\"event\":\"failed\""), "{text}");
    // The certificates were found: it is the server that speaks no TLS.
    poll("what became of the other", || {
        let answer = host.lorectl(&["service", "status", "job", "--json"]);
        let shown = answer.data()["undelivered"].clone();
        let error = shown[0]["last_error"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(!error.contains("no trusted certificates"), "{error}");
        shown[0]["to"] == "tls" && !error.is_empty()
    });

    host.write(&host.dir.join("well"), "");
    let (start, end) = ("GET /uuid/start", "GET /uuid");
    host.lorectl(&["service", "trigger", "job", "--ignore-backoff"])
        .exits(0);
    poll("the recovery", || hook() == 2);
    let seen: Vec<String> = listener.seen().into_iter().map(|seen| seen.what).collect();
    assert!(seen.iter().any(|what| what == start), "{seen:?}");
    poll("the ping of its success", || {
        listener.seen().iter().any(|seen| seen.what == end)
    });
    let recovered = listener
        .seen()
        .into_iter()
        .rfind(|seen| seen.what == "POST /hook");
    assert!(recovered.unwrap().body.contains("\"event\":\"recovered\""));
    host.converged();
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
    assert_eq!(host.residue(), Vec::<String>::new());
}

fn next_wake_up(host: &Host) {
    let too_much = Answer::With(429, "Retry-After: 7\r\n", String::new());
    let listener = Listener::start([too_much, Answer::status(200)]);
    let (url, program) = (listener.url("/hook"), failing(host));
    spec(
        host,
        &format!(
            "
[notify.ops]
webhook = \"{url}\"
[services.job]
schedule = {{ every = \"2s\" }}
retry = {{ base = \"1h\" }}
splay = \"0s\"
run = [\"{program}\"]
notify = [\"ops\"]
{}
",
            own(host)
        ),
    );
    host.apply();
    // The timer wakes it; it fails once, backs off for an hour, and is woken on.
    poll("what comes again", || listener.seen().len() == 2);
    let seen = listener.seen();
    assert_eq!(seen[0].body, seen[1].body);
    let outbox = host.service("job").join("data/outbox.json");
    poll("what was taken to be noted", || !outbox.exists());
    let runs = host.status("job").unwrap()["recent_runs"].clone();
    assert_eq!(runs.as_array().unwrap().len(), 1, "{runs}");
    host.lorectl(&["destroy", "-y", "--purge"]).exits(0);
}
