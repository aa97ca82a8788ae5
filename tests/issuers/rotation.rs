//! A rotation by the program on a real hub: with overlap, and with a kill at every step of it.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    Test,
    home::{Home, Ran},
    server::{Kind, Server},
};

pub const TESTS: &[Test] = &[
    (
        "rotation::a_token_of_a_hub_is_rotated_with_overlap",
        Kind::Jupyterhub,
        || overlap("file"),
    ),
    (
        "rotation::a_token_that_is_kept_encrypted_is_rotated_with_overlap",
        Kind::Jupyterhub,
        || encrypted(overlap),
    ),
    (
        "rotation::a_kill_anywhere_in_it_leaves_one_living_token",
        Kind::Jupyterhub,
        || kills_of_apply("file"),
    ),
    (
        "rotation::a_kill_anywhere_in_it_leaves_one_living_token_that_is_encrypted",
        Kind::Jupyterhub,
        || encrypted(kills_of_apply),
    ),
    (
        "rotation::a_kill_anywhere_in_a_renewal_for_a_run_leaves_one_living_token",
        Kind::Jupyterhub,
        || kills_of_refresh("file"),
    ),
    (
        "rotation::a_kill_anywhere_in_a_renewal_of_what_is_encrypted_leaves_one_living_token",
        Kind::Jupyterhub,
        || encrypted(kills_of_refresh),
    ),
];

const ADMIN: &str = "an-administrator-s-token";

/// Seconds after which the token is due.
const DUE: i64 = 215;

/// Seconds from then to when the one before it is revoked.
const GRACE: i64 = 65;

/// The most points at which a rotation is killed: past this every second, third … is.
const MOST: usize = 60;

/// A home whose token lives for seven minutes, is due halfway to its end, and is revoked a minute after
/// another was delivered: all within what a clock may differ from its issuer's.
fn home(server: &Server, store: &str) -> Home {
    let url = server.url("");
    Home::new(
        &format!(
            r#"
[credentials.admin]
store = "{store}"
source = {{ env = "HUB_ADMIN" }}
[credentials.hub]
store = "{store}"
provider = "jupyterhub"
base_url = "{url}"
source = {{ jupyterhub = {{ user = "lore", token = "admin" }} }}
rotate = {{ before = "6m", ttl = "7m", grace = "1m" }}
deliver = [{{ file = "OUT/token" }}, {{ env_file = "OUT/env", name = "TOKEN" }}]
"#
        ),
        &[("HUB_ADMIN", ADMIN)],
    )
}

/// A test with tokens that systemd-creds keeps, where it can: it has its key on this very machine.
fn encrypted(test: fn(&str)) {
    let is_root = lorectl::effect::user::effective().uid == 0;
    if is_root && Path::new("/usr/bin/systemd-creds").exists() {
        test("systemd-creds");
    } else {
        eprintln!("needs root and systemd-creds");
    }
}

/// Whether the hub takes a token.
fn lives(server: &Server, token: &str) -> bool {
    let header = format!("token {token}");
    server.get("/hub/api/user", &[("authorization", &header)]).0 == 200
}

/// The ids of all tokens that the user has at the hub.
fn ids(server: &Server) -> Vec<String> {
    let header = format!("token {ADMIN}");
    let headers = [("authorization", &*header)];
    let (status, told) = server.get("/hub/api/users/lore/tokens", &headers);
    assert_eq!(status, 200);
    let tokens = told["api_tokens"].as_array().unwrap().iter();
    tokens
        .map(|token| token["id"].as_str().unwrap().to_owned())
        .collect()
}

/// Ends what another round has left at the hub.
fn clear(server: &Server) {
    let header = format!("token {ADMIN}");
    for id in ids(server) {
        let path = format!("/hub/api/users/lore/tokens/{id}");
        let headers = [("authorization", &*header)];
        let (status, _) = server.send(lorectl::effect::http::Method::Delete, &path, &headers, "");
        assert_eq!(status, 204);
    }
}

fn overlap(store: &str) {
    let server = Server::start(Kind::Jupyterhub, ADMIN, &[]);
    let mut home = home(&server, store);
    home.run("plan")
        .exits(0)
        .says("its issuer makes a new value");
    assert_eq!(ids(&server), [""; 0], "a plan makes nothing");
    home.run("apply -y").exits(0);
    let old = home.delivered("token");
    assert!(lives(&server, &old));
    assert_eq!(home.delivered("env"), format!("TOKEN={old}\n"));
    assert_eq!(ids(&server).len(), 1);
    home.run("apply -y").exits(0).says("No changes");
    home.run("credential validate hub").exits(0).says("live");

    home.ahead(DUE);
    home.run("plan").exits(0).says("schedule");
    assert_eq!(ids(&server).len(), 1, "a plan makes nothing");
    home.run("apply -y").exits(0);
    let new = home.delivered("token");
    assert_ne!(new, old);
    assert_eq!(home.delivered("env"), format!("TOKEN={new}\n"));
    assert!(lives(&server, &old), "whoever still holds it has a minute");
    assert!(lives(&server, &new));
    home.run("apply -y").exits(0).says("No changes");
    assert_eq!(ids(&server).len(), 2);

    home.later(GRACE);
    home.run("plan")
        .exits(0)
        .says("an old value is to be revoked");
    home.run("reconcile").exits(0);
    assert!(!lives(&server, &old) && lives(&server, &new));
    assert_eq!(home.delivered("token"), new);
    home.run("plan --detailed-exitcode").exits(0);

    home.run("destroy -y").exits(0);
    assert!(!lives(&server, &new), "what was made is ended");
    assert_eq!(ids(&server), [""; 0]);
}

/// One call of a traced command that something outside sees.
#[derive(Debug, Clone)]
struct Call {
    name: String,
    /// Which of that name it is, from 1: what `strace` calls `when`.
    number: usize,
    text: String,
}

/// The calls that change a file, or send something to the hub.
const SEEN: [&str; 10] = [
    "write",
    "writev",
    "sendto",
    "sendmsg",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
];

fn strace(home: &Home, options: &[&str], words: &[&str]) -> Ran {
    let lorectl = env!("CARGO_BIN_EXE_lorectl");
    let all = [&["-f", "-qq"], options, &[lorectl], words].concat();
    Ran::of(&home.command(Path::new("strace"), &all).output().unwrap())
}

/// The calls of a command that is left alone.
fn traced(home: &Home, words: &[&str]) -> Vec<Call> {
    let file = home.path("trace");
    // The first line is the command's own `execve`, whatever it starts then.
    let trace = format!("trace=execve,{}", SEEN.join(","));
    let options = ["-yy", "-o", file.to_str().unwrap(), "-e", &trace];
    strace(home, &options, words).exits(0);
    let text = fs::read_to_string(&file).unwrap();
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    let mut calls = Vec::new();
    // `strace` counts the calls of each thread by themselves, and the first one does all that counts.
    let first = text.split(' ').next().unwrap_or_default();
    for line in text.lines() {
        let Some(line) = line.strip_prefix(first) else {
            continue;
        };
        let call = line.trim_start().split_once('(');
        let Some((name, rest)) = call.filter(|(name, _)| SEEN.contains(name)) else {
            continue;
        };
        let number = counts.entry(name.to_owned()).or_default();
        *number += 1;
        let behind = rest.split_once('<').map_or("", |(_, behind)| behind);
        let is_seen = match name {
            "write" | "writev" | "sendto" | "sendmsg" => {
                (behind.starts_with('/') && !behind.starts_with("/dev/"))
                    || behind.starts_with("TCP")
            }
            _ => !rest.contains(") = -1 "),
        };
        if is_seen {
            calls.push(Call {
                name: name.to_owned(),
                number: *number,
                text: rest.chars().take(120).collect(),
            });
        }
    }
    calls
}

/// Ends a command before or after a call; whether the end came there.
fn strike(home: &Home, words: &[&str], call: &Call, after: bool) -> Result<bool, String> {
    // Instead of the call comes SIGKILL; with it, a signal that nothing handles.
    let (signal, number) = if after {
        ("SIGUSR1", 10)
    } else {
        ("SIGKILL", 9)
    };
    let inject = format!("inject={}:signal={signal}:when={}", call.name, call.number);
    let trace = format!("trace={}", call.name);
    let options = ["-o", "/dev/null", "-e", &trace, "-e", &inject];
    let ran = strace(home, &options, words);
    match ran.status {
        0 => Ok(false),
        status if status == 128 + number => Ok(true),
        _ => Err(format!("{ran:?}")),
    }
}

/// What is not as it must be, once the command was given again.
fn mend(server: &Server, home: &mut Home, old: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut must = |home: &Home, words: &str| {
        let ran = home.run(words);
        if ran.status != 0 {
            wrong.push(format!("{words}: {ran:?}"));
        }
    };
    must(home, "plan");
    must(home, "apply -y");
    let delivered = home.delivered("token");
    home.later(GRACE);
    must(home, "apply -y");
    must(home, "plan --detailed-exitcode");
    must(home, "drift --detailed-exitcode");
    let new = home.delivered("token");
    if delivered == old || new != delivered {
        wrong.push("the next apply did not end with the new token".to_owned());
    }
    if home.delivered("env") != format!("TOKEN={new}\n") {
        wrong.push("the deliveries differ".to_owned());
    }
    if !lives(server, &new) || lives(server, old) {
        wrong.push("the wrong token lives".to_owned());
    }
    let living = ids(server);
    let known = home.record("hub");
    let kept: Vec<&Value> = known["generations"].as_array().unwrap().iter().collect();
    let known: Vec<&str> = (kept.iter())
        .map(|one| one["issuer_id"].as_str().unwrap())
        .collect();
    if living != known || living.len() != 1 {
        wrong.push(format!("there live {living:?}, and {known:?} are known"));
    }
    for dir in ["out", "state/acme/secrets/hub"] {
        for entry in fs::read_dir(home.path(dir)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let ours = ["token", "env", "value", "record.json", "finding.json"];
            if !ours.contains(&&*name) {
                wrong.push(format!("{dir}/{name} is left"));
            }
        }
    }
    wrong
}

fn kills_of_apply(store: &str) {
    kills(store, &["apply", "-y"], (6, 30));
}

fn kills_of_refresh(store: &str) {
    kills(store, &["credential", "refresh", "hub"], (4, 15));
}

/// Kills a command at each of its calls. There are more than `least` of them, and it sends something
/// at so many.
fn kills(store: &str, words: &[&str], (least_sent, least): (usize, usize)) {
    if std::process::Command::new("strace")
        .arg("-V")
        .output()
        .is_err()
    {
        eprintln!("needs strace");
        return;
    }
    let server = Server::start(Kind::Jupyterhub, ADMIN, &[]);
    let mut home = home(&server, store);
    let prepare = |home: &mut Home| {
        clear(&server);
        home.forget();
        home.now = None;
        home.run("apply -y").exits(0);
        home.ahead(DUE);
        home.delivered("token")
    };
    prepare(&mut home);
    let mut points = Vec::new();
    for call in traced(&home, words) {
        points.push((call.clone(), false));
        // What was sent is acted upon while we are gone.
        if call.text.contains("<TCP") {
            points.push((call, true));
        }
    }
    // An apply probes, mints and probes what was made, with a kill on either side.
    let sent = points.iter().filter(|(call, _)| call.text.contains("<TCP"));
    assert!(
        sent.count() >= least_sent && points.len() > least,
        "{points:#?}"
    );
    let every = points.len().div_ceil(MOST);
    // What is sent is never left out.
    let chosen = (points.iter().enumerate())
        .filter(|(at, (call, _))| at % every == 0 || call.text.contains("<TCP"))
        .map(|(_, point)| point);
    let chosen: Vec<_> = chosen.collect();
    let (mut hit, mut wrong) = (0, Vec::new());
    for (call, after) in &chosen {
        let old = prepare(&mut home);
        let found = match strike(&home, words, call, *after) {
            Ok(false) => continue,
            Ok(true) => {
                hit += 1;
                mend(&server, &mut home, &old)
            }
            Err(what) => vec![what],
        };
        let when = if *after { "after" } else { "before" };
        let place = format!("{when} {} {}: {}", call.name, call.number, call.text);
        wrong.extend(found.into_iter().map(|what| format!("{place}\n    {what}")));
    }
    let (tried, all) = (chosen.len(), points.len());
    eprintln!("killed at {hit} of {tried} points, of {all} that there are");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(hit * 10 >= tried * 9, "{hit} of {tried}");
}
