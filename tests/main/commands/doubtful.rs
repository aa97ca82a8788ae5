//! Credentials from sources and issuers that are not as they should be, and from branches under review.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::{PermissionsExt, chown},
};

use super::{
    listener::{Answer, Listener},
    world::{Ran, World},
};

const TOKEN: &str = "glpat-canary7f3aValueThatNeverShows";

fn json(status: u16, headers: &'static str, body: &str) -> Answer {
    Answer::With(status, headers, body.to_owned())
}

fn live(ends: &str) -> String {
    format!(
        "{{\"active\":true,\"revoked\":false,\"user_id\":7,\"scopes\":[\"api\"],\"expires_at\":\"{ends}\"}}"
    )
}

fn gitlab(url: &str) -> String {
    format!(
        "[credentials.gl]\nprovider = \"gitlab\"\nbase_url = \"{url}\"\nsource = {{ env = \"GL\" }}\nrotate = {{ before = \"7d\", ttl = \"90d\" }}\n"
    )
}

/// What it ended with, and what it says of what it could not do.
fn told(ran: &Ran, port: &str) -> String {
    let mut text = format!("exit {}\n", ran.status);
    let lines = ran.stdout.lines();
    let mut shown = false;
    for line in lines {
        shown |= line == "Failed" || line == "Held";
        shown &= !line.is_empty();
        if shown {
            writeln!(
                text,
                "{}",
                line.replacen(port, "PORT", usize::from(!port.is_empty()))
            )
            .unwrap();
        }
    }
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("canary"));
    text
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is one list of what is wrong")]
fn what_is_wrong_with_a_token_is_said() {
    let mut all = String::new();
    let mut add = |what: &str, told: String| writeln!(all, "# {what}\n{told}").unwrap();

    let world = World::with("[credentials.app]\nsource = { file = \"/in\" }\n");
    let input = world.spec_dir().join("in");
    world.spec(&format!(
        "[credentials.app]\nsource = {{ file = \"{}\" }}\n",
        input.display()
    ));
    let long = "a".repeat(1 << 20);
    for (what, bytes, mode) in [
        ("empty", "", 0o600),
        ("a megabyte", &*long, 0o600),
        ("a line feed within", "canary\ncanary", 0o600),
        ("a NUL within", "canary\0canary", 0o600),
        ("readable by everyone", "canary", 0o644),
    ] {
        fs::write(&input, bytes).unwrap();
        fs::set_permissions(&input, fs::Permissions::from_mode(mode)).unwrap();
        add(what, told(&world.run("apply -y"), ""));
    }
    if nix::unistd::geteuid().is_root() {
        fs::set_permissions(&input, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&input, Some(65_533), None).unwrap();
        let ran = world.run("apply -y").exits(1);
        told(&ran.says("user id 65533"), "");
    }
    world.spec("[credentials.app]\nsource = { command = [\"./mint\"], timeout = \"1s\" }\n");
    for (what, script) in [
        ("a command that hangs", "sleep 300"),
        ("a command that babbles", "exec cat /dev/zero"),
        ("a command that fails", "echo canary >&2; exit 3"),
        ("a command that prints nothing", ""),
        (
            "an end that is no instant",
            "echo '{\"status\":{\"token\":\"canary\",\"expirationTimestamp\":\"canary\"}}'",
        ),
    ] {
        world.program("mint", &format!("#!/bin/sh\n{script}\n"));
        let ran = world.command(["apply", "-y"]).in_real_time().run();
        add(what, told(&ran, ""));
    }

    let server = Listener::issuer([Answer::Close]);
    let url = server.url("");
    let port = url.rsplit(':').next().unwrap();
    world.spec(&gitlab(&url));
    let at = |words: &str, now: &str, value: &str| {
        let call = world.command(words.split(' '));
        call.env("GL", value).env("LORECTL_NOW", now).run()
    };
    let now = "2026-02-03T04:05:06Z";
    for (what, answer) in [
        (
            "an issuer that answers HTML",
            json(200, "Content-Type: text/html\r\n", "<html>canary</html>"),
        ),
        ("an issuer that never ends", Answer::Flood),
        (
            "an issuer that sends elsewhere",
            json(302, "Location: http://127.0.0.1:1/\r\n", ""),
        ),
        ("an end that is no date", json(200, "", &live("canary"))),
        (
            "one that repeats the token",
            json(401, "", &format!("{{\"message\":\"{TOKEN}\"}}")),
        ),
    ] {
        server.answer([answer]);
        add(what, told(&at("apply -y", now, TOKEN), port));
    }
    let asked = server.seen().len();
    add(
        "not of its provider's form",
        told(&at("apply -y", now, "canary"), port),
    );
    assert_eq!(server.seen().len(), asked);

    // A clock that is ten years off: nothing is rotated by it.
    server.answer([json(
        200,
        "Date: Tue, 03 Feb 2026 04:05:06 GMT\r\n",
        &live("2026-03-01"),
    )]);
    at("apply -y", now, TOKEN).exits(0);
    let off = at("apply -y", "2036-02-03T04:05:06Z", TOKEN);
    add("a clock ten years off", told(&off, port));
    assert!(
        server
            .seen()
            .iter()
            .all(|seen| !seen.what.starts_with("POST"))
    );

    // An issuer that fails, and then is left alone.
    let body = "{\"access_token\":\"canary\",\"token_type\":\"Bearer\",\"expires_in\":0}";
    server.answer([json(200, "", body)]);
    world.spec(&format!(
        "[credentials.client]\nsource = {{ env = \"GL\" }}\n[credentials.api]\nsource = {{ oauth2 = {{ token_url = \"{url}/token\", client_id = \"acme\", secret = \"client\" }} }}\n"
    ));
    let ran = at("apply -y --allow-deletes", now, TOKEN);
    add("a token that has ended", told(&ran, port));
    server.answer([Answer::status(500)]);
    for (what, now) in [
        ("an issuer that fails", "2026-02-03T04:06:06Z"),
        ("an issuer that failed just now", "2026-02-03T04:06:07Z"),
        ("an issuer that fails again", "2026-02-03T04:07:06Z"),
        ("an issuer that fails a third time", "2026-02-03T04:08:06Z"),
        ("an issuer that fails a fourth time", "2026-02-03T04:09:06Z"),
        ("an issuer that fails a fifth time", "2026-02-03T04:10:06Z"),
        ("a breaker that is open", "2026-02-03T04:10:36Z"),
        ("and nothing else to do", "2026-02-03T04:10:37Z"),
    ] {
        add(what, told(&at("apply -y", now, TOKEN), port));
    }
    super::snapshot("credential-bad-input", &all);
}

#[test]
fn a_review_sends_and_runs_nothing() {
    let server = Listener::issuer([json(200, "", &live("2026-12-01"))]);
    let world = World::new();
    let ran = world.path().join("ran");
    let spec = |url: &str| {
        format!(
            "{}[credentials.cmd]\nsource = {{ command = [\"./mint\"] }}\n",
            gitlab(url)
        )
    };
    world.spec(&spec(&server.url("")));
    world.program("mint", "#!/bin/sh\necho first\n");
    let lore = |words: &str, now: &str, value: &str| {
        let call = world.command(words.split(' '));
        call.env("GL", value).env("LORECTL_NOW", now).run()
    };
    lore("apply -y", "2026-02-03T04:05:06Z", TOKEN).exits(0);
    // The branch: another URL, and another program by the same name.
    let thief = Listener::issuer([json(200, "", &live("2026-12-01"))]);
    let marker = ran.display();
    world.program("mint", &format!("#!/bin/sh\ntouch {marker}\necho second\n"));
    for (at, spec) in [spec(&server.url("")), spec(&thief.url(""))]
        .iter()
        .enumerate()
    {
        world.spec(spec);
        // When nothing is due, when all is, and with another token in the environment.
        for now in [
            "2026-02-05T00:00:00Z",
            "2026-11-30T00:00:00Z",
            "2027-02-01T00:00:00Z",
        ] {
            for value in [TOKEN, "glpat-canary91bcValueThatNeverShows"] {
                for words in [
                    "validate",
                    "plan",
                    "plan --out plan.json",
                    "plan --json",
                    "plan --offline",
                    "show plan.json",
                    "drift",
                    "status",
                    "doctor",
                    "observe --out seen.json",
                    "plan --observed seen.json",
                    "graph",
                    "credential list",
                ] {
                    let ran = lore(words, now, value);
                    assert!(ran.status < 3, "{at} {words}: {ran:?}");
                }
            }
        }
    }
    assert_eq!(thief.seen().len(), 0);
    assert!(!ran.exists());
    let posts = server.seen();
    let mut posts = posts.iter().filter(|seen| !seen.what.starts_with("GET"));
    assert!(posts.next().is_none());
    // The traps work: whoever applies it is caught.
    lore("apply -y", "2026-11-30T00:00:00Z", TOKEN);
    lore("credential rotate cmd -y", "2026-11-30T00:00:00Z", TOKEN);
    assert!(ran.exists() && !thief.seen().is_empty());
}

#[test]
fn of_many_who_need_a_token_one_asks_though_the_first_is_killed() {
    let given = |token: &str| {
        let body = format!("{{\"access_token\":\"{token}\",\"expires_in\":3600}}");
        json(200, "", &body)
    };
    let server = Listener::issuer([given("first")]);
    let url = server.url("");
    let world = World::with(&format!(
        "[credentials.client]\nsource = {{ env = \"GL\" }}\n[credentials.api]\nsource = {{ oauth2 = {{ token_url = \"{url}/token\", client_id = \"acme\", secret = \"client\" }} }}\n"
    ));
    let apply = || {
        let call = world.command(["apply", "-y"]).env("GL", TOKEN);
        call.env("LORECTL_NOW", "2026-02-03T07:05:06Z")
    };
    world
        .command(["apply", "-y"])
        .env("GL", TOKEN)
        .run()
        .exits(0);
    // It has ended two hours ago. Who comes first gets no answer, and dies with the question asked.
    server.answer([Answer::Hang, given("second"), given("third")]);
    let mut first = apply().spawn();
    server.wait_for(2);
    let others: Vec<_> = (0..200).map(|_| apply().spawn()).collect();
    first.kill().unwrap();
    first.wait().unwrap();
    for other in others {
        let status = other.wait_with_output().unwrap().status.code();
        // Done, nothing to do, or another is at it.
        assert!([Some(0), Some(75)].contains(&status), "{status:?}");
    }
    apply().run().exits(0);
    let value = world.state().join("secrets/api/value");
    assert_eq!(fs::read_to_string(value).unwrap(), "second");
    let seen = server.seen();
    let what: Vec<&str> = seen.iter().map(|seen| &*seen.what).collect();
    assert_eq!(what, ["POST /token"; 3], "one more than the killed one's");
}
