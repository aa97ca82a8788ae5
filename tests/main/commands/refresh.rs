//! Values that are renewed for a run, without an apply.

use std::{
    fs,
    path::Path,
    process::{Child, Output},
    time::Duration,
};

use super::{
    listener::{Answer, Listener},
    world::World,
};

/// What signs the requests of the client.
const CLIENT: &str = "client-s3cret";

fn given(token: &str, life: u32) -> Answer {
    Answer::With(200, "", grant(token, life))
}

fn grant(token: &str, life: u32) -> String {
    format!("{{\"access_token\":\"{token}\",\"token_type\":\"Bearer\",\"expires_in\":{life}}}")
}

/// An hour's tokens of an OAuth 2 server, delivered to a file and used by a job of the worker's.
fn world(server: &Listener) -> World {
    let world = World::new();
    fs::create_dir(world.path().join("out")).unwrap();
    world.program(
        "job",
        "#!/bin/sh\nprintf %s \"$TOKEN\" >\"$LORECTL_DATA_DIR/seen\"\n",
    );
    let out = world.path().join("out").display().to_string();
    world.spec(&format!(
        r#"
[credentials.client]
source = {{ env = "CLIENT" }}

[credentials.api]
source = {{ oauth2 = {{ token_url = "{}", client_id = "acme", secret = "client" }} }}
deliver = [{{ file = "{out}/token" }}]

[services.job]
schedule = {{ every = "1h" }}
scheduler = "worker"
run = ["./job"]
env = {{ TOKEN = {{ credential = "api" }} }}
"#,
        server.url("/token")
    ));
    let applied = world.command(["apply", "-y"]).env("CLIENT", CLIENT);
    applied.run().exits(0);
    world
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn delivered(world: &World) -> String {
    read(&world.path().join("out/token"))
}

/// Runs words so many seconds after the apply.
fn after(world: &World, seconds: i64, words: &str) -> super::world::Ran {
    let start: chrono::DateTime<chrono::Utc> = super::world::NOW.parse().unwrap();
    let now = start + chrono::Duration::seconds(seconds);
    let call = world.command(words.split(' '));
    call.env("LORECTL_NOW", now.to_rfc3339()).run()
}

#[test]
fn a_token_is_renewed_when_it_is_due_and_served_while_it_is_valid() {
    let server = Listener::start([given("one", 3600)]);
    let world = world(&server);
    let refresh = |seconds| after(&world, seconds, "credential refresh api");
    refresh(60).exits(0).says("credential.api: serves");
    assert_eq!(server.seen().len(), 1, "it is not due");

    server.answer([given("two", 3600)]);
    refresh(3000)
        .exits(0)
        .says("credential.api: renewed")
        .quiet();
    assert_eq!(delivered(&world), "two");
    assert_eq!(server.seen().len(), 2);
    after(&world, 3000, "plan --detailed-exitcode").exits(0);
    after(&world, 3000, "drift --detailed-exitcode").exits(0);

    // Due, and the issuer does not answer: the old one serves, and the issuer is left alone for now.
    server.answer([Answer::Close]);
    refresh(3000 + 3100)
        .exits(0)
        .says("due, and not renewed")
        .says("its answer is lost");
    assert_eq!(server.seen().len(), 3);
    refresh(3000 + 3100).exits(0).says("serves");
    assert_eq!(server.seen().len(), 3);

    // Past its end there is nothing to serve: what the issuer did is told, and then when it is asked again.
    let gone = refresh(3000 + 3700).exits(69);
    assert!(
        gone.stderr.contains("ISSUER_UNAVAILABLE"),
        "{}",
        gone.stderr
    );
    for _ in 0..2 {
        let shut = refresh(3000 + 3700).exits(75).complains("BREAKER_OPEN");
        shut.says("is not asked before 2026-02-03T05:5");
    }
    assert_eq!(server.seen().len(), 4);
    assert_eq!(delivered(&world), "two");
    // No run begins with it, and that is no drift.
    let value = world.state().join("secrets/api/value");
    assert_eq!(read(&value), "");
    after(&world, 3000 + 3700, "drift --detailed-exitcode").exits(0);
    let ran = after(&world, 3000 + 3700, "service trigger job").exits(1);
    ran.says("credential.api has no value");
    let status = after(&world, 3000 + 3700, "service status job --json").exits(0);
    let status = status.says("CREDENTIAL_MISSING");
    assert!(status.stdout.contains("\"backoff\""), "{}", status.stdout);

    // Where the clock was wrong, it is given back.
    refresh(3000 + 3500).exits(0);
    assert_eq!(read(&value), "two");

    server.answer([given("three", 3600)]);
    refresh(3000 + 3900).exits(0).says("renewed");
    assert_eq!(delivered(&world), "three");
    assert_eq!(read(&value), "three");
}

#[test]
fn a_run_gets_a_token_that_serves() {
    let server = Listener::start([given("one", 3600)]);
    let world = world(&server);
    let seen = world.state().join("services/job/data/seen");
    after(&world, 10, "service trigger job").exits(0);
    assert_eq!(read(&seen), "one");
    let definition = read(&world.state().join("services/job/run.json"));
    server.answer([given("two", 3600)]);
    after(&world, 4000, "service trigger job").exits(0);
    assert_eq!(read(&seen), "two");
    assert_eq!(
        read(&world.state().join("services/job/run.json")),
        definition
    );
    // The run has its value, so it begins though there is no newer one.
    server.answer([Answer::status(500)]);
    after(&world, 4000 + 3100, "service trigger job")
        .exits(0)
        .says("it answered HTTP 500, which does not tell");
    assert_eq!(read(&seen), "two");
}

#[test]
fn what_a_command_gives_is_asked_for_again_when_it_is_due() {
    let world = World::new();
    world.program(
        "mint",
        "#!/bin/sh\necho x >>\"${0%/*}/calls\"\ncat \"${0%/*}/answer\"\n",
    );
    let answer = |token: &str, ends: &str| {
        let text =
            format!("{{\"status\":{{\"token\":\"{token}\",\"expirationTimestamp\":\"{ends}\"}}}}");
        world.file("answer", text);
    };
    answer("one", "2026-02-03T05:05:06Z");
    world.spec("[credentials.cmd]\nsource = { command = [\"./mint\"] }\n");
    world.run("apply -y").exits(0);
    let value = world.state().join("secrets/cmd/value");
    let refresh = |seconds| after(&world, seconds, "credential refresh cmd");
    refresh(60).exits(0).says("serves");
    answer("two", "2026-02-03T06:05:06Z");
    refresh(3000).exits(0).says("renewed");
    assert_eq!(read(&value), "two");
    world.program("mint", "#!/bin/sh\necho x >>\"${0%/*}/calls\"\nexit 7\n");
    refresh(3000 + 3500).exits(0).says("not renewed");
    refresh(3000 + 5000)
        .exits(1)
        .complains("CREDENTIAL_MISSING");
    assert_eq!(read(&world.spec_dir().join("calls")).lines().count(), 4);
    assert_eq!(read(&value), "", "it has ended");
}

#[test]
fn what_ends_the_old_value_is_left_to_an_apply() {
    let own = "{\"id\":7,\"active\":true,\"revoked\":false,\"scopes\":[\"api\"],\"expires_at\":\"2026-02-05\"}";
    let server = Listener::issuer([Answer::With(200, "", own.to_owned())]);
    let world = World::new();
    let url = server.url("");
    world.spec(&format!(
        "[credentials.gl]\nprovider = \"gitlab\"\nbase_url = \"{url}\"\nsource = {{ env = \"GL\" }}\nrotate = {{ before = \"1h\", ttl = \"90d\" }}\n"
    ));
    let apply = world
        .command(["apply", "-y"])
        .env("GL", "glpat-abcdefghijklmnopqrst");
    apply.run().exits(0);
    let asked = server.seen().len();
    // Its last hour.
    let ran = world
        .command(["credential", "refresh", "gl"])
        .env("LORECTL_NOW", "2026-02-04T23:30:00Z")
        .run();
    ran.exits(0).says("serves");
    let ran = world
        .command(["credential", "refresh", "gl"])
        .env("LORECTL_NOW", "2026-02-05T00:00:01Z")
        .run();
    ran.exits(77).complains("TOKEN_EXPIRED");
    assert_eq!(server.seen().len(), asked);
    world
        .run("credential refresh none")
        .exits(64)
        .complains("NO_SUCH_RESOURCE");
}

#[test]
fn of_two_hundred_that_ask_one_asks_the_issuer_though_the_first_is_killed() {
    let server = Listener::start([given("one", 60)]);
    // By the machine's clock it ended long ago.
    let world = world(&server);
    let late = Answer::Late(Duration::from_secs(2), 200, grant("two", 3600));
    server.answer([Answer::Hang, late]);
    let start = || -> Child {
        let call = world.command(["credential", "refresh", "api", "--json"]);
        call.in_real_time().spawn()
    };
    let mut first = start();
    server.wait_for(2);
    let others: Vec<Child> = (0..200).map(|_| start()).collect();
    first.kill().unwrap();
    first.wait().unwrap();
    let ends = others
        .into_iter()
        .map(|one| one.wait_with_output().unwrap());
    let ends: Vec<Output> = ends.collect();
    let saying = |what: &str| {
        let said = |end: &&Output| String::from_utf8_lossy(&end.stdout).contains(what);
        ends.iter().filter(said).count()
    };
    let counts = (saying("\"how\":\"renewed\""), saying("\"how\":\"served\""));
    assert_eq!(counts, (1, 199));
    assert!(ends.iter().all(|end| end.status.success()));
    assert_eq!(
        server.seen().len(),
        3,
        "the apply's, the killed one's, and one more"
    );
    assert_eq!(delivered(&world), "two");
}

/// The same, of which `ops` hears.
fn heard() -> (Listener, Listener, World) {
    let hook = Listener::start([Answer::status(200)]);
    let server = Listener::start([given("one", 3600)]);
    let world = world(&server);
    let spec = read(&world.spec_dir().join("lore.toml"));
    let told = format!("[notify.ops]\nwebhook = \"{}\"\n", hook.url("/hook"));
    let spec = spec.replace(
        "secret = \"client\" } }",
        "secret = \"client\" } }\nnotify = [\"ops\"]",
    );
    world.file("lore.toml", format!("{spec}\n{told}"));
    let applied = world.command(["apply", "-y"]).env("CLIENT", CLIENT);
    applied.run().exits(0);
    (hook, server, world)
}

/// The events that came.
fn told(hook: &Listener) -> Vec<String> {
    let said = hook.seen().into_iter().map(|seen| {
        let body: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
        body["event"].as_str().unwrap().to_owned()
    });
    said.collect()
}

#[test]
fn a_renewal_beside_an_apply_waits_for_none_and_is_told_of_by_the_next() {
    let (hook, server, world) = heard();
    let events = || told(&hook);
    let refresh = |seconds| after(&world, seconds, "credential refresh api").exits(0);
    // A run never waits for an apply.
    let apply = fs::File::open(world.state().join("lock")).unwrap();
    apply.lock().unwrap();
    server.answer([Answer::status(401)]);
    refresh(2950).says("not renewed");
    assert_eq!(events(), [""; 0]);
    apply.unlock().unwrap();
    refresh(2955).says("not renewed");
    assert_eq!(events(), ["failed"]);
    server.answer([given("one", 3600)]);
    refresh(2960).says("renewed");
    assert_eq!(events(), ["failed", "recovered"]);
}

#[test]
fn a_renewal_that_fails_is_told_of_once_and_one_that_is_not_answered_never() {
    let (hook, server, world) = heard();
    let events = || told(&hook);
    let refresh = |seconds| after(&world, seconds, "credential refresh api").exits(0);
    // That it does not answer is not told: it may in a moment.
    server.answer([Answer::Close]);
    refresh(3000).says("not renewed");
    assert_eq!(events(), [""; 0]);
    server.answer([Answer::status(401)]);
    refresh(3100).says("not renewed");
    refresh(3200).says("not renewed");
    assert_eq!(events(), ["failed"]);
    server.answer([given("two", 3600)]);
    refresh(3400).says("renewed");
    assert_eq!(events(), ["failed", "recovered"]);
}

#[test]
fn what_a_run_does_not_renew_is_not_kept_from_it() {
    let world = World::new();
    world.spec(
        "[credentials.app]\nsource = { env = \"CLIENT\" }\nexpiry = { at = \"2026-02-04\" }\n",
    );
    let applied = world.command(["apply", "-y"]).env("CLIENT", CLIENT);
    applied.run().exits(0);
    after(&world, 200_000, "credential refresh app")
        .exits(77)
        .complains("TOKEN_EXPIRED");
    assert_eq!(read(&world.state().join("secrets/app/value")), CLIENT);
}

#[test]
fn an_old_token_that_waits_to_be_revoked_holds_up_no_renewal() {
    let server = Listener::start([given("one", 36_000)]);
    let world = world(&server);
    server.answer([given("two", 600)]);
    let refresh = |seconds| after(&world, seconds, "credential refresh api");
    refresh(30_000).exits(0).says("renewed");
    server.answer([given("three", 3600)]);
    // The one before lives still, and its hour is over.
    refresh(34_000).exits(0).says("renewed");
    assert_eq!(delivered(&world), "three");
}

#[test]
fn a_token_that_ended_before_it_was_put_in_use_is_made_anew() {
    let server = Listener::start([given("one", 3600)]);
    let world = world(&server);
    server.answer([given("two", 3600)]);
    after(&world, 3000, "credential refresh api").exits(0);
    // As a process leaves it that is killed in between.
    let path = world.state().join("secrets/api/record.json");
    let record = read(&path);
    let pending = record.replace("\"is\": \"current\"", "\"is\": \"pending\"");
    let cut_short = pending.replace("\"is\": \"retiring\"", "\"is\": \"current\"");
    assert!(cut_short != pending && pending != record, "{record}");
    fs::write(&path, cut_short).unwrap();
    server.answer([given("three", 3600)]);
    after(&world, 3000 + 3700, "credential refresh api")
        .exits(0)
        .says("renewed");
    assert_eq!(delivered(&world), "three");
    after(&world, 3000 + 3700, "plan --detailed-exitcode").exits(0);
}

#[test]
fn a_token_of_a_clock_that_was_ahead_is_not_believed_to_live_for_years() {
    let server = Listener::start([given("one", 3600)]);
    let world = world(&server);
    server.answer([given("two", 40)]);
    after(&world, 10 * 365 * 86_400, "credential refresh api")
        .exits(0)
        .says("renewed");
    server.answer([given("three", 3600)]);
    after(&world, 60, "plan --detailed-exitcode").exits(2);
    after(&world, 60, "credential refresh api")
        .exits(0)
        .says("renewed");
    assert_eq!(delivered(&world), "three");
    after(&world, 120, "plan --detailed-exitcode").exits(0);
}
