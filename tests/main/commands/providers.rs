//! Providers that are asked with more than the token, or more than once; and issuers that answer oddly.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    listener::{Answer, Listener},
    world::{Call, World},
};

/// A token that is asked about.
const TOKEN: &str = "token-canary-7f3a-that-never-shows";
/// The secret of the client that asks.
const CLIENT: &str = "client-canary-91bc-that-never-shows";

fn says(status: u16, body: &str) -> Answer {
    Answer::With(
        status,
        "Content-Type: application/json\r\n",
        body.to_owned(),
    )
}

fn live() -> Answer {
    says(
        200,
        "{\"active\":true,\"sub\":\"svc-1\",\"scope\":\"read\",\"exp\":1775000000}",
    )
}

fn dead() -> Answer {
    says(200, "{\"active\":false}")
}

fn spec(url: &str) -> String {
    format!(
        "[credentials.client]\nsource = {{ env = \"CLIENT\" }}\n[credentials.api]\nprovider = \"oauth2\"\nbase_url = \"{url}/introspect\"\nwith = {{ client_id = \"acme\", client_secret = {{ credential = \"client\" }} }}\nsource = {{ env = \"TOKEN\" }}\n"
    )
}

fn lore<'w>(world: &'w World, words: &str) -> Call<'w> {
    let call = world.command(words.split(' '));
    call.env("TOKEN", TOKEN).env("CLIENT", CLIENT)
}

/// Runs a command that shows nothing of what is sent, in any form.
fn run(call: Call<'_>) -> super::world::Ran {
    let ran = call.run();
    let pair = STANDARD.encode(format!("acme:{CLIENT}"));
    for secret in [TOKEN, CLIENT, &pair, &STANDARD.encode(TOKEN)] {
        let shows = ran.stdout.contains(secret) || ran.stderr.contains(secret);
        assert!(!shows, "{ran:?}");
    }
    ran
}

/// Whether a request was made by the client, with that secret.
fn by_client(headers: &str, secret: &str) -> bool {
    let pair = STANDARD.encode(format!("acme:{secret}"));
    headers.contains(&format!("authorization: Basic {pair}\r\n"))
}

#[test]
fn another_credential_goes_with_the_token_where_it_was_applied_and_nowhere_else() {
    // Whoever is called live is tried with a token that nobody has.
    let server = Listener::start([live(), dead()]);
    let thief = Listener::start([live(), dead()]);
    let world = World::with(&spec(&server.url("")));
    run(lore(&world, "plan -vvv"))
        .exits(0)
        .says("client_id = acme, client_secret = credential.client");
    // Not applied, it may be anybody's URL.
    let validate = lore(&world, "credential validate api --value-stdin").stdin(TOKEN.to_owned());
    run(validate)
        .exits(3)
        .complains("NOT_APPROVED")
        .says("its provider is asked with credential.client too");
    assert_eq!(server.seen().len(), 0);
    run(lore(&world, "apply -y -vvv --events")).exits(0);
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|one| by_client(&one.headers, CLIENT)));
    assert!(seen[0].body.starts_with(&format!("token={TOKEN}&")));
    assert_eq!(seen[0].what, "POST /introspect");
    // A review of another URL, another client, another credential.
    server.answer([live()]);
    let sound = fs::read_to_string(world.spec_dir().join("lore.toml")).unwrap();
    for (from, to) in [
        (server.url(""), thief.url("")),
        ("\"acme\"".to_owned(), "\"thief\"".to_owned()),
        (
            "credential = \"client\"".to_owned(),
            "credential = \"other\"".to_owned(),
        ),
    ] {
        let other = "[credentials.other]\nsource = { env = \"TOKEN\" }\n";
        world.file("lore.toml", sound.replace(&from, &to) + other);
        let ran = lore(&world, "plan").env("LORECTL_NOW", "2026-02-05T00:00:00Z");
        run(ran).exits(0).says("credential.api");
    }
    world.file("lore.toml", &sound);
    assert_eq!(thief.seen().len(), 0);
    assert!(
        server
            .seen()
            .iter()
            .all(|one| by_client(&one.headers, CLIENT))
    );
    // Its own next secret is taken in first.
    server.answer([live(), dead()]);
    let next = format!("{CLIENT}-2");
    let later = "2026-02-06T00:00:00Z";
    let call = lore(&world, "apply -y").env("CLIENT", &next);
    call.env("LORECTL_NOW", later).run().exits(0);
    server.answer([live(), dead()]);
    run(lore(&world, "credential validate api"))
        .exits(0)
        .says("svc-1")
        .says("31 Mar");
    assert!(by_client(&server.seen().pop().unwrap().headers, &next));
    // Without it nobody can be asked, and what was known stays.
    let asked = server.seen().len();
    fs::remove_dir_all(world.state().join("secrets/client")).unwrap();
    lore(&world, "credential validate api")
        .run()
        .exits(1)
        .says("credential.client has no value to ask its provider with");
    let ran = world
        .command(["plan"])
        .env("LORECTL_NOW", "2026-02-08T00:00:00Z");
    ran.run().says("ends 2026-03-31");
    assert_eq!(server.seen().len(), asked);
    for path in ["state.json", "secrets/api/finding.json"] {
        let kept = fs::read_to_string(world.state().join(path)).unwrap();
        assert!(!kept.contains(CLIENT) && !kept.contains(TOKEN), "{path}");
    }
}

#[test]
fn a_client_that_is_refused_says_nothing_of_the_token() {
    let server = Listener::start([says(401, "{\"error\":\"invalid_client\"}")]);
    let world = World::with(&spec(&server.url("")));
    lore(&world, "apply -y")
        .run()
        .says("the issuer refuses the client that asks");
    assert!(!world.state().join("secrets/api").exists());
    assert!(world.state().join("secrets/client").exists());
}

#[test]
fn a_client_of_the_source_asks_of_its_own_tokens() {
    let given = "{\"access_token\":\"access-one-of-the-client\",\"expires_in\":36000}";
    let server = Listener::start([says(200, given), live(), dead()]);
    let url = server.url("");
    let world = World::with(&format!(
        "[credentials.client]\nsource = {{ env = \"CLIENT\" }}\n[credentials.api]\nprovider = \"oauth2\"\nbase_url = \"{url}/introspect\"\nsource = {{ oauth2 = {{ token_url = \"{url}/token\", client_id = \"acme\", secret = \"client\" }} }}\n"
    ));
    lore(&world, "apply -y").run().exits(0);
    let seen = server.seen();
    let what: Vec<&str> = seen.iter().map(|one| one.what.as_str()).collect();
    assert_eq!(
        what,
        ["POST /token", "POST /introspect", "POST /introspect"]
    );
    assert!(seen.iter().all(|one| by_client(&one.headers, CLIENT)));
}

#[test]
fn a_purge_leaves_nothing_that_only_credentials_need() {
    let given = "{\"access_token\":\"access-one-of-the-client\",\"expires_in\":36000}";
    let server = Listener::start([says(200, given)]);
    let url = server.url("");
    let world = World::with(&format!(
        "[credentials.client]\nsource = {{ env = \"CLIENT\" }}\n[credentials.api]\nsource = {{ oauth2 = {{ token_url = \"{url}/token\", client_id = \"acme\", secret = \"client\" }} }}\n"
    ));
    let left = || {
        let listed = fs::read_dir(world.state()).unwrap();
        let mut names: Vec<String> = listed
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let ours = ["breakers", "key", "seal.cred", "secrets"];
    let rest = ["backups", "journal", "lock", "state.json"];
    let all = [&ours[..], &rest[..]].concat();
    let sorted = |mut names: Vec<&str>| {
        names.sort_unstable();
        names.into_iter().map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    lore(&world, "apply -y").run().exits(0);
    fs::write(world.state().join("seal.cred"), "").unwrap();
    assert_eq!(left(), sorted(all.clone()));
    // What is not purged stays, and so do the keys of a value that nobody knows of.
    lore(&world, "destroy -y").run().exits(0);
    assert_eq!(left(), sorted(all.clone()));
    lore(&world, "apply -y").run().exits(0);
    let stray = world.state().join("secrets/stray");
    fs::create_dir(&stray).unwrap();
    let ran = lore(&world, "destroy -y --purge").run().exits(0);
    ran.says("warning: ")
        .says("/secrets/stray is no credential's of this project; see to that");
    assert_eq!(left(), sorted(all.clone()));
    fs::remove_dir(stray).unwrap();
    let busy = world.state().join("secrets/busy.lock");
    fs::write(&busy, "").unwrap();
    let purge = "\"$LORECTL\" destroy -y --purge";
    let held = format!("exec 9<'{}'; flock 9; {purge} 9<&-", busy.display());
    let ran = world.shell(&held).run().exits(0);
    ran.says("/secrets/busy.lock is held by another process");
    assert_eq!(left(), sorted(all));
    let ran = lore(&world, "destroy -y --purge").run().exits(0);
    assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
    assert_eq!(left(), sorted(rest.to_vec()));
    // It can begin anew.
    lore(&world, "apply -y").run().exits(0);
    assert!(left().contains(&"key".to_owned()));
}

#[test]
fn docker_hub_is_asked_with_the_user_of_a_token() {
    const PAT: &str = "dckr_pat_aTokenThatNeverShows0000000";
    let server = Listener::issuer([says(200, "{\"access_token\":\"x\"}")]);
    let world = World::with(&format!(
        "[credentials.hub]\nprovider = \"dockerhub\"\nbase_url = \"{}\"\nwith = {{ user = \"ada\" }}\nsource = {{ env = \"HUB\" }}\n",
        server.url("")
    ));
    world
        .command(["apply", "-y"])
        .env("HUB", PAT)
        .run()
        .exits(0);
    let seen = server.seen();
    assert_eq!(seen[0].what, "POST /v2/auth/token");
    assert_eq!(
        seen[0].body,
        format!("{{\"identifier\":\"ada\",\"secret\":\"{PAT}\"}}")
    );
}

#[test]
fn what_a_provider_is_asked_with_is_checked() {
    let api = |rest: &str| {
        format!(
            "[credentials.client]\nsource = {{ env = \"C\" }}\n[credentials.api]\nsource = {{ env = \"A\" }}\n{rest}"
        )
    };
    let oauth2 = |with: &str| {
        api(&format!(
            "provider = \"oauth2\"\nbase_url = \"https://x.example\"\n{with}"
        ))
    };
    for (spec, said) in [
        (
            oauth2(""),
            "`oauth2` is asked with `client_id` and `client_secret` beside the value",
        ),
        (
            oauth2(""),
            "add `with = { client_id = \"…\", client_secret = { credential = \"NAME\" } }`",
        ),
        (
            oauth2("with = { client_id = \"a\" }\n"),
            "add `with = { client_secret = { credential = \"NAME\" } }`",
        ),
        (
            oauth2("with = { client_id = \"a\", client_secret = \"s3cret\" }\n"),
            "that is a secret",
        ),
        (
            oauth2("with = { client_ids = \"a\", client_secret = { credential = \"client\" } }\n"),
            "did you mean `client_id`?",
        ),
        (
            oauth2("with = { client_id = \"\", client_secret = { credential = \"client\" } }\n"),
            "it is one line of text, and not empty",
        ),
        (
            oauth2("with = { client_id = \"a\", client_secret = { credential = \"cleint\" } }\n"),
            "did you mean `client`?",
        ),
        (
            oauth2("with = { client_id = \"a\", client_secret = { credential = \"api\" } }\n"),
            "there is no other `[credentials.api]`",
        ),
        (
            api("provider = \"gitlab\"\nwith = { user = \"a\" }\n"),
            "`gitlab` is asked with no `user`",
        ),
        (
            api("with = { user = \"a\" }\n"),
            "this goes with `provider`",
        ),
        (
            api("provider = \"dockerhub\"\n"),
            "add `with = { user = \"…\" }`",
        ),
    ] {
        let world = World::with(&spec);
        let ran = world.refuses("validate", 65, "SPEC_INVALID");
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let stderr = words(&ran.stderr.replace('│', " "));
        assert!(
            stderr.contains(&words(said)),
            "no {said:?} in\n{}",
            ran.stderr
        );
    }
    let cycle =
        oauth2("with = { client_id = \"a\", client_secret = { credential = \"client\" } }\n")
            .replace(
                "[credentials.api]",
                "depends_on = [\"credential.api\"]\n[credentials.api]",
            );
    let world = World::with(&cycle);
    let ran = world.refuses("validate", 65, "SPEC_INVALID");
    assert!(
        ran.stderr.contains("the dependencies go round in a circle"),
        "{}",
        ran.stderr
    );
    let hosts =
        oauth2("with = { client_id = \"a\", client_secret = { credential = \"client\" } }\n")
            .replace("[credentials.api]", "on = [\"a1\"]\n[credentials.api]");
    let world = World::with(&format!("[hosts.a1]\n[hosts.b1]\n{hosts}"));
    let ran = world.refuses("validate", 65, "SPEC_INVALID");
    assert!(ran.stderr.contains("is not on b1"), "{}", ran.stderr);
}

#[test]
fn a_list_of_tokens_tells_the_end_of_one_and_keeps_it_when_it_is_not_answered() {
    const NPM: &str = "npm_canaryCanaryCANARY0123456789canary";
    let who = || says(200, "{\"username\":\"npmuser\"}");
    let list = |end: &str| {
        says(
            200,
            &format!(
                "{{\"objects\":[{{\"key\":\"k\",\"token\":\"npm_cana...nary\",\"expiry\":\"{end}\",\"permissions\":[{{\"name\":\"package\",\"action\":\"write\"}}]}}],\"total\":1,\"urls\":{{}}}}"
            ),
        )
    };
    let server = Listener::issuer([who(), list("2026-03-01T12:00:00.000Z")]);
    let world = World::with(&format!(
        "[credentials.npm]\nprovider = \"npm\"\nbase_url = \"{}\"\nsource = {{ env = \"NPM\" }}\nscopes = [\"package:read\"]\n",
        server.url("")
    ));
    let at = |words: &str, now: &str| {
        let call = world.command(words.split(' ')).env("NPM", NPM);
        call.env("LORECTL_NOW", now).run()
    };
    at("apply -y", "2026-02-03T00:00:00Z").exits(0);
    // The list fails afterwards, and then the whole registry.
    server.answer([who(), Answer::status(500)]);
    at("plan", "2026-02-04T00:00:00Z")
        .exits(0)
        .says("live ends 2026-03-01, in 25 days (issuer)");
    server.answer([who(), says(200, "{\"objects\":[]}")]);
    at("plan", "2026-02-05T00:00:00Z")
        .exits(0)
        .says("live ends 2026-03-01, in 24 days (issuer)");
    // An end that cannot be read is not passed over in silence.
    server.answer([who(), list("in 90 days")]);
    let call = world.command(["credential", "validate", "npm", "--value-stdin"]);
    call.stdin(NPM.to_owned())
        .run()
        .exits(69)
        .says("when it ends cannot be read");
}

#[test]
fn an_issuer_that_answers_oddly_gets_no_token_a_second_time_and_stores_none() {
    const TOKEN: &str = "glpat-canary7f3aValueThatNeverShows";
    let elsewhere = Listener::start([says(200, "{\"active\":true}")]);
    let away: &'static str = format!("Location: {}\r\n", elsewhere.url("/")).leak();
    let server = Listener::start([Answer::Close]);
    let world = World::with(&format!(
        "[credentials.gl]\nprovider = \"gitlab\"\nbase_url = \"{}\"\nsource = {{ env = \"GL\" }}\n",
        server.url("")
    ));
    for (answer, said) in [
        (
            Answer::With(302, away, String::new()),
            "a redirect, which is not followed",
        ),
        (
            Answer::With(308, away, String::new()),
            "a redirect, which is not followed",
        ),
        (Answer::Flood, "its answer is too long"),
        (says(200, "<html>Welcome"), "a page of HTML"),
        (
            says(200, "{\"active\":"),
            "none that this provider is known to give",
        ),
        (
            says(200, "{\"active\":true,\"expires_at\":\"31/12/2026\"}"),
            "when it ends cannot be read",
        ),
    ] {
        server.answer([answer]);
        let before = server.seen().len();
        let ran = world.command(["apply", "-y"]).env("GL", TOKEN).run();
        let ran = ran.exits(75).says(said);
        assert!(!ran.stdout.contains(TOKEN) && !ran.stderr.contains(TOKEN));
        assert!(server.seen().len() <= before + 2);
        assert!(!world.state().join("secrets/gl").exists());
        let call = world.command(["credential", "validate", "gl", "--value-stdin"]);
        call.stdin(TOKEN.to_owned()).run().exits(69).says(said);
    }
    assert_eq!(elsewhere.seen().len(), 0);
}

#[test]
fn a_clock_that_is_ten_years_off_ends_no_token_that_its_issuer_takes() {
    const TOKEN: &str = "glpat-canary7f3aValueThatNeverShows";
    let answer = Answer::With(
        200,
        "Content-Type: application/json\r\nDate: Tue, 03 Feb 2026 04:05:06 GMT\r\n",
        "{\"active\":true,\"revoked\":false,\"scopes\":[\"api\"],\"expires_at\":\"2026-12-01\"}"
            .to_owned(),
    );
    let server = Listener::issuer([answer]);
    let world = World::with(&format!(
        "[credentials.gl]\nprovider = \"gitlab\"\nbase_url = \"{}\"\nsource = {{ env = \"GL\" }}\n",
        server.url("")
    ));
    let at = |words: &str, now: &str| {
        let call = world.command(words.split(' ')).env("GL", TOKEN);
        call.env("LORECTL_NOW", now).run()
    };
    at("apply -y", "2026-02-03T04:05:06Z").exits(0);
    for now in ["2036-02-03T04:05:06Z", "2016-02-03T04:05:06Z"] {
        at("plan --detailed-exitcode", now)
            .exits(0)
            .says("ends 2026-12-01, in 300 days (issuer)")
            .says(&format!(
                "its issuer's clock says 2026-02-03T04:05:06Z where this host's says {now}"
            ));
        at("apply -y", now).exits(0);
        at("status", now).exits(0).says("provisioned");
        at("credential validate gl", now).exits(0).says("live");
    }
}

#[test]
fn a_value_that_has_ended_already_is_not_stored() {
    let world = World::with("[credentials.app]\nsource = { command = [\"./mint\"] }\n");
    let print = |token: &str, end: &str| {
        let body = "{\"status\":{\"token\":\"TOKEN\",\"expirationTimestamp\":\"END\"}}";
        let body = body.replace("TOKEN", token).replace("END", end);
        world.program("mint", &format!("#!/bin/sh\nprintf '{body}'\n"));
    };
    print("token-one", "2026-02-03T04:05:06Z");
    world
        .run("apply -y")
        .exits(1)
        .says("the new token ended 2026-02-03T04:05:06Z (now, says its source)")
        .says("this host's clock says 2026-02-03T04:05:06Z");
    assert!(!world.state().join("secrets/app").exists());
    print("token-one", "2026-02-03T04:06:06Z");
    world.run("apply -y").exits(0);
    // Nor does it take the place of another.
    print("token-two", "2026-02-03T04:05:06Z");
    world
        .run("credential rotate app -y")
        .exits(1)
        .says("the new token ended");
    world.run("apply -y").exits(0).says("No changes");
}

#[test]
fn a_token_that_its_issuer_says_has_ended_is_not_stored() {
    const GITLAB: &str = "glpat-canary7f3aValueThatNeverShows";
    let says = |end: &str| {
        let body =
            "{\"active\":true,\"revoked\":false,\"scopes\":[\"api\"],\"expires_at\":\"END\"}";
        self::says(200, &body.replace("END", end))
    };
    let server = Listener::issuer([says("2026-01-31")]);
    let world = World::with(&format!(
        "[credentials.gl]\nprovider = \"gitlab\"\nbase_url = \"{}\"\nsource = {{ env = \"GL\" }}\n",
        server.url("")
    ));
    let run = |words: &str| world.command(words.split(' ')).env("GL", GITLAB).run();
    run("plan --offline").exits(0).says("observed offline");
    run("apply -y")
        .exits(1)
        .says("the new token ended 2026-01-31T00:00:00Z (3 days ago, says the issuer's answer)")
        .says("this host's clock says 2026-02-03T04:05:06Z");
    assert!(!world.state().join("secrets/gl").exists());
    server.answer([says("2026-02-06")]);
    run("apply -y").exits(0);
    run("plan --offline").exits(0).says("last asked just now");
    // Its end passes, and nobody can be asked: it is not called live, and the reason is told.
    let at = |words: &str, now: &str| {
        let call = world.command(words.split(' ')).env("GL", GITLAB);
        call.env("LORECTL_NOW", now).run()
    };
    let offline = at("plan --offline", "2026-02-08T00:00:00Z");
    assert!(
        !offline.stdout.contains("live, ended"),
        "{}",
        offline.stdout
    );
    offline.says("ended 2026-02-06T00:00:00Z (2 days ago");
    server.answer([Answer::With(429, "Retry-After: 120\r\n", String::new())]);
    let now = "2026-02-05T00:00:00Z";
    at("credential validate gl", now).exits(75);
    let until = "throttled, asks to be left alone until 2026-02-05T00:02:00Z";
    at("plan --offline", now).exits(0).says(until);
    at("credential list", now).exits(0).says(until);
    at("credential list --json", now)
        .exits(0)
        .says("\"retry_at\":\"2026-02-05T00:02:00");
    at("doctor", now).says(until);
}

#[test]
fn a_target_that_no_token_goes_to_is_refused() {
    for (url, said) in [
        ("http://169.254.169.254/latest", "link-local"),
        ("http://[fe80::1]/", "link-local"),
        ("http://[::ffff:169.254.169.254]/", "link-local"),
        ("http://0xa9fea9fe/", "link-local"),
        ("file:///etc/passwd", "is not `https`"),
        ("ftp://x.example/", "is not `https`"),
        ("gopher://x.example/", "is not `https`"),
    ] {
        let world = World::with(&format!(
            "[credentials.gl]\nprovider = \"gitlab\"\nbase_url = \"{url}\"\nsource = {{ env = \"GL\" }}\n"
        ));
        let ran = world.refuses("validate", 65, "SPEC_INVALID");
        assert!(ran.stderr.contains(said), "{url}: {}", ran.stderr);
    }
}

#[test]
#[ignore = "wants root: tests/run"]
fn a_file_of_another_user_is_no_source() {
    let world = World::new();
    let file = world.path().join("in");
    world.spec(&format!(
        "[credentials.app]\nsource = {{ file = \"{}\" }}\n",
        file.display()
    ));
    fs::write(&file, TOKEN).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(&file, Some(65534), Some(65534)).unwrap();
    let ran = world
        .run("apply -y")
        .exits(1)
        .says("belongs to user id 65534");
    assert!(!ran.stderr.contains(TOKEN));
    assert!(!Path::new(&world.state()).join("secrets/app").exists());
}

#[test]
fn a_variable_holds_a_token_and_nothing_else() {
    let world = World::with("[credentials.app]\nsource = { env = \"TOKEN\" }\n");
    let long = "a".repeat(100_000);
    for (value, said) in [
        ("", "is not set, or empty"),
        ("\n", "the value is empty"),
        (" \n", "begins or ends with white space"),
        ("a\nb", "a line feed"),
        ("a\u{7}b", "another control character"),
        (long.as_str(), "over 64 KiB long"),
    ] {
        let ran = world.command(["apply", "-y"]).env("TOKEN", value).run();
        ran.exits(1).says(said);
        let call = world.command(["credential", "validate", "app", "--value-stdin"]);
        let ran = call.stdin(value.to_owned()).run();
        assert!([1, 77].contains(&ran.status), "{value:?}: {ran:?}");
    }
    let call = world.command(["credential", "validate", "app", "--value-stdin"]);
    call.stdin("a".repeat(1 << 20))
        .run()
        .exits(77)
        .says("over 64 KiB long");
    assert!(!world.state().join("secrets/app").exists());
}
