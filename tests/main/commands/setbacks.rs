//! What stands in the way of a new value, told to whoever asks after the command that met it: a failed
//! try, an open breaker, a lost answer, a clock that is off, a record that cannot be read; and a value
//! that rests between runs, in the way of which nothing stands.

use std::fs;

use super::{
    credentials::{REVOKED, TOKEN, gitlab, gitlab_spec, out, read, says, with_token, world},
    listener::{Answer, Listener},
    remedies::CERTIFICATE,
    world::{Ran, World},
};

const CLIENT: &str = "client-canary-7f3a-s3cret";

/// What a server says beside its refusal, and nobody may keep.
const CANARY: &str = "canary-55d0-text-of-the-issuer";

fn given(token: &str) -> Answer {
    let body =
        format!("{{\"access_token\":\"{token}\",\"token_type\":\"Bearer\",\"expires_in\":3600}}");
    says(200, &body)
}

/// A server that does not know the client.
fn refused() -> Answer {
    let body = format!("{{\"error\":\"invalid_client\",\"error_description\":\"{CANARY}\"}}");
    says(401, &body)
}

/// Two tokens of one server, delivered, each of an hour.
fn two(server: &Listener) -> World {
    let one = |name: &str| {
        format!(
            "[credentials.{name}]\nsource = {{ oauth2 = {{ token_url = \"{}\", client_id = \"acme\", secret = \"client\" }} }}\ndeliver = [{{ file = \"OUT/{name}\" }}]\n",
            server.url("/token")
        )
    };
    let world = world(&format!(
        "[credentials.client]\nsource = {{ env = \"CLIENT\" }}\n{}{}",
        one("api"),
        one("other")
    ));
    at(&world, 0, "apply -y").exits(0);
    world
}

/// Runs words so many seconds after the start.
fn at(world: &World, seconds: i64, words: &str) -> Ran {
    let start: chrono::DateTime<chrono::Utc> = super::world::NOW.parse().unwrap();
    let now = (start + chrono::Duration::seconds(seconds)).to_rfc3339();
    let call = world.command(words.split(' ')).env("CLIENT", CLIENT);
    call.env("LORECTL_NOW", now).run()
}

fn data(ran: &Ran) -> serde_json::Value {
    let all: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    all["data"].clone()
}

/// The row of a credential in `credential list --json`.
fn row(world: &World, seconds: i64, name: &str) -> serde_json::Value {
    let list = data(&at(world, seconds, "credential list --json").exits(0));
    let mut rows = list["credentials"].as_array().unwrap().iter();
    rows.find(|row| row["name"] == name).unwrap().clone()
}

#[test]
fn a_refused_secret_is_named_until_it_is_put_right() {
    let server = Listener::start([given("one")]);
    let world = two(&server);
    server.answer([refused()]);
    at(&world, 4000, "credential refresh api").exits(77);
    let asked = server.seen().len();
    let why = "it does not know the client, or not with this secret (HTTP 401)";
    let what = "put right the secret of credential.client, in the variable CLIENT";
    for words in ["credential list", "status", "plan"] {
        at(&world, 4060, words).exits(0).says(why).says(what);
    }
    at(&world, 4060, "doctor --offline")
        .exits(1)
        .says("fail credential.api renewal: the last try, 60 seconds ago")
        .says(why)
        .says(what);
    let api = row(&world, 4060, "api");
    assert_eq!(api["state"], "dead");
    assert_eq!(api["last_failure"]["at"], "2026-02-03T05:11:46Z");
    assert_eq!(api["last_failure"]["failures"], 1);
    assert_eq!(api["last_failure"]["breaker_open"], false);
    let right = "the secret of credential.client, in the variable CLIENT";
    assert_eq!(api["last_failure"]["put_right"], right);
    // The other one was not asked for.
    assert!(row(&world, 4060, "other")["last_failure"].is_null());
    assert_eq!(server.seen().len(), asked, "looking asks nobody");
    // What is kept of it is ours alone.
    for entry in fs::read_dir(world.state().join("breakers")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("canary"), "{text}");
    }
    server.answer([given("two")]);
    at(&world, 4120, "apply -y").exits(0);
    assert!(row(&world, 4120, "api")["last_failure"].is_null());
    let list = at(&world, 4120, "credential list").exits(0);
    assert!(!list.stdout.contains("last try"), "{}", list.stdout);
}

#[test]
fn an_open_breaker_is_told_with_the_instant_that_lifts_it() {
    let server = Listener::start([given("one")]);
    let world = two(&server);
    server.answer([says(503, CANARY)]);
    // Four failures are waited for, the fifth opens it.
    for tried in 0..5 {
        at(&world, 3700 + 20 * tried, "credential refresh api").exits(69);
    }
    let asked = server.seen().len();
    let told = "5 failures in a row, so that its issuer is not asked before 2026-02-03T05:09:06Z (in 55 seconds)";
    for words in ["credential list", "status", "plan", "doctor --offline"] {
        at(&world, 3785, words).says("HTTP 503").says(told);
    }
    at(&world, 3785, "status").says("05:09 UTC, in 55 s");
    let api = row(&world, 3785, "api");
    assert_eq!(api["last_failure"]["breaker_open"], true);
    assert_eq!(api["last_failure"]["failures"], 5);
    assert_eq!(api["last_failure"]["not_before"], "2026-02-03T05:09:06Z");
    assert_eq!(server.seen().len(), asked);
    // It is shut to all that it would be asked for, also where nothing is due yet.
    server.answer([given("two")]);
    at(&world, 4000, "apply -y").exits(0);
    let healthy = row(&world, 4060, "api");
    assert!(healthy["last_failure"].is_null(), "{healthy}");
    let file = fs::read_dir(world.state().join("breakers")).unwrap();
    let mut file = file.map(|entry| entry.unwrap().path());
    let file = file.find(|path| path.extension().is_some_and(|it| it == "json"));
    let file = file.unwrap();
    let mut health: serde_json::Value = serde_json::from_str(&read(&file)).unwrap();
    // As one that keeps no words has written it.
    health["issuer"] = serde_json::json!({"failures": 5, "opened_at": "2026-02-03T05:12:00Z"});
    fs::write(&file, health.to_string()).unwrap();
    let told = "5 failures in a row, so that its issuer is not asked before 2026-02-03T05:13:00Z";
    at(&world, 4060, "credential list")
        .exits(0)
        .says("✓ api provisioned")
        .says(told);
    at(&world, 4060, "plan --detailed-exitcode")
        .exits(0)
        .says(told);
    let doctor = at(&world, 4060, "doctor --offline").exits(0);
    doctor.says("warn credential.api renewal").says(told);
    // Once it is over, the old failures of a value that is not due are no news.
    assert!(row(&world, 4120, "api")["last_failure"].is_null());
}

#[test]
fn a_command_that_failed_says_so_afterwards() {
    let world = world(
        "[credentials.app]\nsource = { command = [\"./mint\"] }\ndeliver = [{ file = \"OUT/token\" }]\n",
    );
    let mint = |end: &str, how: &str| {
        let printed = format!(
            "{{\"status\":{{\"token\":\"token-{end}\",\"expirationTimestamp\":\"2026-02-{end}T00:00:00Z\"}}}}"
        );
        world.program(
            "mint",
            &format!("#!/bin/sh\n{how}\nprintf '%s' '{printed}'\n"),
        );
    };
    mint("05", "");
    at(&world, 0, "apply -y").exits(0);
    // Who prints an end is the source, and no issuer.
    assert_eq!(row(&world, 0, "app")["expiry_from"], "source");
    at(&world, 0, "plan").says("ends Thu 00:00 UTC, in 43 hours (source)");
    mint("08", &format!("echo {CANARY} >&2; exit 3"));
    let days = |days: i64| days * 86_400;
    at(&world, days(3), "credential refresh app").exits(1);
    let why = "mint ended with 3";
    for words in ["credential list", "status", "plan", "doctor --offline"] {
        let ran = at(&world, days(3) + 60, words)
            .says(why)
            .says("the last try, 60 seconds ago");
        assert!(!ran.stdout.contains(CANARY), "{}", ran.stdout);
    }
    at(&world, days(3) + 60, "apply -y").exits(1);
    at(&world, days(3) + 120, "status").says("the last try, 60 seconds ago");
    mint("08", "");
    at(&world, days(3) + 180, "apply -y").exits(0);
    assert!(row(&world, days(3) + 180, "app")["last_failure"].is_null());
    assert!(!read(&world.state().join("secrets/app/finding.json")).contains("ended with"));
}

#[test]
fn a_rotation_whose_answer_was_lost_is_held_everywhere() {
    let live = || {
        says(
            200,
            "{\"active\":true,\"revoked\":false,\"scopes\":[\"api\"],\"expires_at\":\"2026-03-01\"}",
        )
    };
    let server = Listener::issuer([live()]);
    let world = world(&format!(
        "[credentials.gl]\nprovider = \"gitlab\"\nbase_url = \"{}\"\nsource = {{ env = \"GL\" }}\nrotate = {{ before = \"7d\" }}\n",
        server.url("")
    ));
    let run = |words: &str, now: &str| {
        let call = with_token(&world, words);
        call.env("LORECTL_NOW", now).run()
    };
    run("apply -y", "2026-02-03T00:00:00Z").exits(0);
    // Two looks before the rotation, and then nothing.
    server.answer([live(), Answer::Close]);
    run("apply -y", "2026-02-25T00:00:00Z").exits(1);
    server.answer([live()]);
    let lost = "the answer to its last rotation was lost, and it must not be sent again";
    let how = "a new token, made by hand where it is issued, in the variable GL; the next apply takes it in";
    let now = "2026-02-25T01:00:00Z";
    for words in ["plan", "credential list", "status", "doctor --offline"] {
        run(words, now).says(lost).says(how);
    }
    run("credential list", now).says("· gl held");
    run("doctor --offline", now)
        .exits(1)
        .says("fail credential.gl held");
    let told = data(&run("credential list --json", now).exits(0));
    let gl = &told["credentials"][0];
    assert_eq!(gl["state"], "held");
    assert_eq!(gl["held"]["reason"], lost);
    assert_eq!(gl["held"]["lifted_by"], how);
    // A hold says it once: what stays is others.
    let plan = run("plan", now).exits(0);
    assert!(
        !plan.stdout.contains("Credentials that stay"),
        "{}",
        plan.stdout
    );
    // One that its issuer takes no more is dead besides.
    server.answer([says(401, REVOKED)]);
    run("credential validate gl", now).exits(77);
    let told = data(&run("credential list --json", now).exits(0));
    let gl = &told["credentials"][0];
    assert_eq!(gl["state"], "dead");
    assert_eq!(gl["held"]["reason"], lost);
    for words in ["credential list", "status", "doctor --offline"] {
        run(words, now).says(lost).says(how);
    }
    run("credential list", now).says("✗ gl dead");
    run("status", now).says("✗ credential.gl dead");
    run("doctor --offline", now)
        .exits(1)
        .says("fail credential.gl held");
}

#[test]
fn a_first_value_that_was_not_had_is_told_by_the_plan() {
    let server = Listener::start([refused()]);
    let world = world(&format!(
        "[credentials.client]\nsource = {{ env = \"CLIENT\" }}\n[credentials.api]\nsource = {{ oauth2 = {{ token_url = \"{}\", client_id = \"acme\", secret = \"client\" }} }}\n",
        server.url("/token")
    ));
    let plan = at(&world, 0, "plan").exits(0);
    assert!(!plan.stdout.contains("last try"), "{}", plan.stdout);
    // Undone, nothing has a record of it; where it stops, that record has no value.
    for (seconds, how, status) in [(0, "", 1), (100, " --on-failure stop", 4)] {
        at(&world, seconds, &format!("apply -y{how}")).exits(status);
        at(&world, seconds + 60, "plan")
            .exits(0)
            .says("the last try, 60 seconds ago: the issuer refuses")
            .says("put right the secret of credential.client");
    }
}

/// A token of an hour that a job of the worker's uses once a day, and one that the same server gives.
fn rare(server: &Listener, more: &str) -> World {
    let world = world(&daily(server, more));
    at(&world, 0, "apply -y").exits(0);
    world
}

fn daily(server: &Listener, more: &str) -> String {
    format!(
        r#"
[credentials.client]
source = {{ env = "CLIENT" }}

[credentials.api]
source = {{ oauth2 = {{ token_url = "{}", client_id = "acme", secret = "client" }} }}
notify = ["ops"]
{more}

[notify.ops]
command = ["/bin/sh", "-c", "echo $LORECTL_EVENT >>OUT/heard"]

[services.nightly]
schedule = {{ every = "1d" }}
scheduler = "worker"
run = ["true"]
env = {{ TOKEN = {{ credential = "api" }} }}
"#,
        server.url("/token")
    )
}

#[test]
fn a_token_that_a_run_has_renewed_rests_between_runs() {
    let server = Listener::start([given("one")]);
    let world = rare(&server, "");
    let heard = out(&world, "heard");
    let rest = "renewed before the next run of service.nightly, 2026-02-04T04:05:06Z (in 22 hours)";
    at(&world, 7200, "plan --detailed-exitcode")
        .exits(0)
        .says("credential.api resting")
        .says(rest);
    at(&world, 7200, "apply -y").exits(0).says("No changes");
    at(&world, 7200, "reconcile").exits(0);
    assert_eq!(server.seen().len(), 1, "nobody renews it for nothing");
    assert!(!heard.exists(), "nor is it news that it has ended");
    at(&world, 7200, "credential list")
        .says("· api resting")
        .says(rest);
    at(&world, 7200, "status")
        .says("· credential.api resting Wed 04:05 UTC, in 22 h")
        .says(rest);
    let doctor = at(&world, 7200, "doctor --offline");
    assert!(
        !doctor.stdout.contains("credential.api"),
        "{}",
        doctor.stdout
    );
    assert_eq!(row(&world, 7200, "api")["renewed_for"], "service.nightly");
    // A run has one, and a person may have one all the same.
    server.answer([given("two")]);
    at(&world, 7200, "service trigger nightly").exits(0);
    assert_eq!(row(&world, 7200, "api")["state"], "provisioned");
    server.answer([given("three")]);
    at(&world, 14_400, "credential rotate api -y").exits(0);
    assert_eq!(row(&world, 14_400, "api")["state"], "provisioned");
    // Where the last renewal failed, it is dead.
    server.answer([refused()]);
    at(&world, 21_600, "credential refresh api").exits(77);
    assert_eq!(row(&world, 21_600, "api")["state"], "dead");
    assert!(heard.exists());
    at(&world, 21_600, "doctor --offline")
        .exits(1)
        .says("fail credential.api dead")
        .says("warn service.nightly credentials: credential.api has no value that serves")
        .says("help: `lorectl credential refresh api`");
    at(&world, 21_600, "plan --detailed-exitcode").exits(2);
}

/// That a renewal which failed before its issuer was asked is told of everywhere, and its value does not rest.
fn stuck(world: &World, seconds: i64, why: &str) {
    let api = row(world, seconds, "api");
    assert_eq!(api["state"], "dead");
    assert!(api["renewed_for"].is_null());
    let told = api["last_failure"]["why"].as_str().unwrap();
    assert!(told.starts_with(why), "{told}");
    for words in ["credential list", "status", "plan"] {
        at(world, seconds, words)
            .exits(0)
            .says(&format!("the last try, 60 seconds ago: {why}"));
    }
    at(world, seconds, "plan --detailed-exitcode").exits(2);
    at(world, seconds, "doctor --offline")
        .exits(1)
        .says("fail credential.api dead")
        .says(why);
}

/// A token of the server, what the server says of it, when it ends so long after the start, and that the
/// server knows no other.
fn introspected(token: &str, headers: &'static str, ends: i64) -> [Answer; 3] {
    let start: chrono::DateTime<chrono::Utc> = super::world::NOW.parse().unwrap();
    let live = format!("{{\"active\":true,\"exp\":{}}}", start.timestamp() + ends);
    let dead = says(200, "{\"active\":false}");
    [given(token), Answer::With(200, headers, live), dead]
}

fn introspects(server: &Listener) -> String {
    let url = server.url("/introspect");
    format!("provider = \"oauth2\"\nbase_url = \"{url}\"")
}

#[test]
fn clocks_that_are_far_apart_let_nothing_rest() {
    let far = "Content-Type: application/json\r\nDate: Tue, 03 Feb 2026 04:15:06 GMT\r\n";
    let server = Listener::start(introspected("one", far, 3600));
    let world = rare(&server, &introspects(&server));
    let asked = server.seen().len();
    // Every run would do without.
    assert_eq!(row(&world, 7200, "api")["state"], "dead");
    at(&world, 7200, "credential refresh api").exits(69);
    // It is asked whether they still are, and for no token.
    assert_eq!(server.seen().len(), asked + 1);
    stuck(
        &world,
        7260,
        "the issuer's clock says 2026-02-03T04:15:06Z and this host's 2026-02-03T04:05:06Z",
    );
}

#[test]
fn whoever_sets_a_clock_right_need_not_say_so() {
    let far = "Content-Type: application/json\r\nDate: Tue, 03 Feb 2026 04:15:06 GMT\r\n";
    let right = "Content-Type: application/json\r\nDate: Tue, 03 Feb 2026 06:07:06 GMT\r\n";
    let server = Listener::start(introspected("one", far, 3600));
    let world = rare(&server, &introspects(&server));
    let [grant, live, dead] = introspected("two", right, 7320 + 3600);
    let ended = Answer::With(200, right, "{\"active\":false}".to_owned());
    let asked = server.seen().len();
    server.answer([ended, grant, live, dead]);
    at(&world, 7320, "credential refresh api").exits(0);
    let seen = server.seen();
    let what: Vec<&str> = seen[asked..].iter().map(|one| one.what.as_str()).collect();
    assert_eq!(what[..2], ["POST /introspect", "POST /token"], "{what:?}");
}

#[test]
fn a_renewal_that_fails_before_its_issuer_is_asked_is_told_of_until_one_succeeds() {
    let near = "Content-Type: application/json\r\n";
    let server = Listener::start(introspected("one", near, 3600));
    let ca = |world: &World| out(world, "ca.pem");
    let more = format!("{}\nca_file = \"OUT/ca.pem\"", introspects(&server));
    let world = world(&daily(&server, &more));
    fs::write(ca(&world), CERTIFICATE).unwrap();
    at(&world, 0, "apply -y").exits(0);
    assert_eq!(row(&world, 7200, "api")["state"], "resting");
    fs::remove_file(ca(&world)).unwrap();
    at(&world, 7200, "credential refresh api").exits(1);
    stuck(&world, 7260, "there is no file /");
    fs::write(ca(&world), CERTIFICATE).unwrap();
    server.answer(introspected("two", near, 7320 + 3600));
    at(&world, 7320, "credential refresh api").exits(0);
    assert!(row(&world, 7320, "api")["last_failure"].is_null());
    assert_eq!(row(&world, 14_400, "api")["state"], "resting");
    let finding = read(&world.state().join("secrets/api/finding.json"));
    assert!(!finding.contains("ca.pem"), "{finding}");
}

#[test]
fn a_plan_says_as_a_list_does_when_what_rests_is_renewed() {
    let server = Listener::start([given("one")]);
    let world = rare(&server, "");
    let day = 86_400;
    let renewed = |seconds, rest: &str| {
        let rest = format!("renewed before the next run of service.nightly{rest}");
        for words in ["credential list", "plan"] {
            let ran = at(&world, seconds, words).exits(0).says(&rest);
            let words: Vec<&str> = ran.stdout.split_whitespace().collect();
            let is_due = words.join(" ").contains("which is due");
            assert_eq!(is_due, rest.ends_with("which is due"), "{}", ran.stdout);
        }
    };
    renewed(day + 60, ", which is due");
    at(&world, day + 60, "service pause nightly").exits(0);
    renewed(day + 60, "");
    at(&world, day + 60, "service resume nightly").exits(0);
    renewed(day + 60, ", which is due");
}

#[test]
fn a_service_that_is_not_there_lets_nothing_rest() {
    let server = Listener::start([given("one")]);
    let spec = daily(&server, "");
    let (credentials, _) = spec.split_once("[services.nightly]").unwrap();
    let world = world(credentials);
    let dir = world.path().join("out");
    let wants = |spec: &str| world.spec(&spec.replace("OUT", dir.to_str().unwrap()));
    at(&world, 0, "apply -y").exits(0);
    wants(&spec);
    // The plan that makes it leaves the token to its run, and one that makes it not does not.
    let rest = "credential.api resting";
    let alone = "plan --target credential.api --detailed-exitcode";
    at(&world, 7200, "plan").exits(0).says(rest);
    let due = at(&world, 7200, alone).exits(2);
    assert!(!due.stdout.contains("resting"), "{}", due.stdout);
    assert_eq!(row(&world, 7200, "api")["state"], "dead");
    at(&world, 7200, "apply -y").exits(0);
    at(&world, 7200, alone).exits(0).says(rest);
    // One that the spec has no more is there until it is deleted.
    wants(credentials);
    at(&world, 7200, alone).exits(0).says(rest);
    at(&world, 7200, "plan").exits(0).says("~ credential.api");
}

#[test]
fn a_token_that_somebody_reads_between_runs_does_not_rest() {
    let server = Listener::start([given("one")]);
    let world = rare(&server, "deliver = [{ file = \"OUT/token\" }]");
    assert_eq!(row(&world, 7200, "api")["state"], "dead");
    at(&world, 7200, "plan --detailed-exitcode").exits(2);
    at(&world, 7200, "doctor --offline")
        .exits(1)
        .says("credential.api dead");
}

#[test]
fn clocks_that_are_far_apart_are_told_of_everywhere() {
    let live = "{\"active\":true,\"revoked\":false,\"scopes\":[\"read_api\"],\"expires_at\":\"2027-12-01\"}";
    let dated = |date: &'static str| Answer::With(200, date, live.to_owned());
    let far = "Content-Type: application/json\r\nDate: Wed, 03 Feb 2027 04:05:06 GMT\r\n";
    let near = "Content-Type: application/json\r\nDate: Tue, 03 Feb 2026 04:08:06 GMT\r\n";
    let server = Listener::issuer([dated(far)]);
    let world = world(&gitlab_spec(&server.url("")));
    with_token(&world, "apply -y").run().exits(0);
    let told = "its issuer's clock says 2027-02-03T04:05:06Z where this host's says 2026-02-03T04:05:06Z: one of them is wrong, and its end is told by the issuer's";
    for words in [
        "plan",
        "credential list",
        "status",
        "credential validate gl",
    ] {
        let ran = world.run(words).exits(0).says(told);
        ran.says("`timedatectl` shows this host's");
    }
    let doctor = world.run("doctor --offline").exits(0);
    doctor
        .says("warn credential.gl clock")
        .says(told)
        .says("help: `timedatectl`");
    let clocks =
        serde_json::json!({"issuer": "2027-02-03T04:05:06Z", "host": "2026-02-03T04:05:06Z"});
    assert_eq!(row(&world, 0, "gl")["clocks"], clocks);
    let validated = data(&world.run("credential validate gl --json").exits(0));
    assert_eq!(validated["clocks"], clocks);
    // Three minutes are what clocks differ by.
    server.answer([dated(near)]);
    world.run("credential validate gl").exits(0);
    assert!(row(&world, 0, "gl")["clocks"].is_null());
}

#[test]
fn a_record_that_cannot_be_read_is_told_in_the_same_words() {
    let server = Listener::issuer([gitlab("2027-02-01", "\"read_api\"")]);
    let spec = gitlab_spec(&server.url(""));
    let other = "\n[credentials.other]\nsource = { env = \"GL\" }\n";
    let world = world(&format!("{spec}{other}"));
    with_token(&world, "apply -y").run().exits(0);
    fs::write(world.state().join("secrets/gl/record.json"), "{").unwrap();
    let what = "secrets/gl/record.json is damaged";
    let help = "help: bring it back from a backup, or `rm ";
    for words in [
        "plan",
        "drift",
        "credential list",
        "status",
        "credential validate gl",
    ] {
        let ran = with_token(&world, words)
            .run()
            .exits(65)
            .complains("STATE_CORRUPT");
        let ran = ran.says(what).says(help);
        assert!(!ran.stderr.contains("explain"), "{}", ran.stderr);
    }
    // What can be read is shown beside it.
    for (words, rows) in [("credential list", "credentials"), ("status", "resources")] {
        world.run(words).says("gl unknown").says("other");
        let told = world.run(&format!("{words} --json")).exits(65).stdout;
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        let rows = told["data"][rows].as_array().unwrap();
        let unknown = rows.iter().filter(|row| row["state"] == "unknown");
        assert_eq!((unknown.count(), rows.len() > 1), (1, true), "{told}");
        assert_eq!(told["error"]["code"], "STATE_CORRUPT");
    }
    let doctor = world
        .run("doctor")
        .exits(1)
        .says("credential.gl unreadable");
    let doctor = doctor.says(
        "schedulers: not asked, nor whether anything drifted, while credential.gl cannot be read",
    );
    let flat = doctor
        .stdout
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert_eq!(flat.matches("is damaged").count(), 1, "{flat}");
    world
        .run("explain STATE_CORRUPT")
        .says("`state repair` does not mend it")
        .says("`lorectl apply` takes the value anew from its source");
    assert_eq!(read(&out(&world, "token")), TOKEN);
}
