//! How credentials stand, as their user is told.

use std::{fs, path::Path};

use super::{
    credentials::{TOKEN, gitlab, gitlab_spec, out, read, says, with_token, world},
    listener::Listener,
    world::World,
};

#[test]
fn a_store_or_a_delivery_that_is_gone_is_told_without_asking_anybody() {
    let server = Listener::issuer([gitlab("2027-02-01", "\"read_api\"")]);
    let world = world(&gitlab_spec(&server.url("")));
    with_token(&world, "apply -y").run().exits(0);
    let asked = server.seen().len();
    let told = |state: &str, why: &str| {
        let why = &*world.redacted(why);
        for words in ["status", "credential list"] {
            world.run(words).exits(0).says(state).says(why);
        }
        world.run("doctor --offline").says(state).says(why);
    };
    let token = out(&world, "token");
    fs::remove_file(&token).unwrap();
    told("drifted", &format!("{} is gone", token.display()));
    fs::write(&token, "another").unwrap();
    told("drifted", &format!("{} is not as applied", token.display()));
    world.run("reconcile").exits(0);
    world.run("status").says("provisioned");
    let value = world.state().join("secrets/gl/value");
    fs::write(&value, "another").unwrap();
    told("drifted", "its value in the store is not as applied");
    fs::remove_file(&value).unwrap();
    told("missing", "gone");
    assert_eq!(server.seen().len(), asked);
    world.run("reconcile").exits(0);
    assert_eq!(read(&value), TOKEN);
    world.run("status").exits(0).says("provisioned");
    // What is ignored is no news.
    let lore = world.spec_dir().join("lore.toml");
    fs::write(&lore, read(&lore) + "ignore_drift = [\"deliver\"]\n").unwrap();
    with_token(&world, "apply -y").run().exits(0);
    fs::remove_file(&token).unwrap();
    world.run("status").exits(0).says("provisioned");
}

#[test]
fn a_token_that_may_do_too_little_is_told_of() {
    let server = Listener::issuer([gitlab("2027-02-01", "\"read_api\"")]);
    let world = world(&gitlab_spec(&server.url("")));
    let at = |words: &str| {
        let call = with_token(&world, words);
        call.env("LORECTL_NOW", "2026-02-03T05:00:00Z").run()
    };
    with_token(&world, "apply -y").run().exits(0);
    server.answer([gitlab("2027-02-01", "\"read_user\"")]);
    at("plan --detailed-exitcode")
        .exits(0)
        .says("under-scoped ends 2027-02-01, in 362 days (issuer)")
        .says("! credential.gl: it lacks scopes: read_api");
    for words in ["status", "credential list", "doctor --offline"] {
        at(words)
            .says("under-scoped")
            .says("lacks scopes: read_api");
    }
    at("credential list --json").says("\"missing_scopes\":[\"read_api\"]");
    at("plan --offline").says("it lacks scopes: read_api");
}

#[test]
fn an_end_that_the_spec_declares_is_an_end() {
    let world =
        world("[credentials.app]\nsource = { env = \"GL\" }\nexpiry = { at = \"2026-02-10\" }\n");
    let at = |words: &str, now: &str| {
        let call = with_token(&world, words);
        call.env("LORECTL_NOW", now).run()
    };
    at("apply -y", "2026-02-03T00:00:00Z").exits(0);
    at("credential validate app", "2026-02-03T00:00:00Z")
        .exits(0)
        .says("not asked")
        .says("it has no `provider`")
        .says("ends");
    let after = "2026-02-11T00:00:00Z";
    at("credential validate app", after)
        .exits(77)
        .says("the stored value: expired")
        .says("the spec says that its end has passed");
    at("credential validate app --json", after)
        .exits(77)
        .says("\"status\":\"expired\"")
        .says("\"expiry_from\":\"declared\"");
    at("plan", after).says("a new token in the variable GL and its end in `expiry.at`");
    // A new token, and the end of the old one still in the spec.
    let new = with_token(&world, "apply -y").env("GL", "another");
    new.env("LORECTL_NOW", after)
        .run()
        .exits(1)
        .says("say in `expiry.at` when the new one ends");
    assert_eq!(read(&world.state().join("secrets/app/value")), TOKEN);
}

#[test]
fn an_end_that_has_passed_counts_though_the_issuer_takes_it() {
    let live = says(
        200,
        "{\"active\":true,\"revoked\":false,\"scopes\":[\"read_api\"]}",
    );
    let server = Listener::issuer([live]);
    let spec = gitlab_spec(&server.url(""));
    let world = world(&format!("{spec}expiry = {{ at = \"2026-02-10\" }}\n"));
    let at = |words: &str, now: &str| {
        let call = with_token(&world, words);
        call.env("LORECTL_NOW", now).run()
    };
    at("apply -y", "2026-02-03T00:00:00Z").exits(0);
    at("credential validate gl", "2026-02-03T01:00:00Z").exits(0);
    at("credential validate gl", "2026-02-11T00:00:00Z")
        .exits(77)
        .says("expired")
        .says("its issuer still takes it");
}

#[test]
fn a_plan_says_when_the_value_before_is_revoked() {
    let given = |token: &str| {
        let body = format!(
            "{{\"access_token\":\"{token}\",\"token_type\":\"Bearer\",\"expires_in\":36000}}"
        );
        says(200, &body)
    };
    let server = Listener::issuer([given("access-one")]);
    let url = server.url("");
    let world = world(&format!(
        "[credentials.client]\nsource = {{ env = \"GL\" }}\n[credentials.api]\nsource = {{ oauth2 = {{ token_url = \"{url}/token\", client_id = \"acme\", secret = \"client\", revoke_url = \"{url}/revoke\" }} }}\nrotate = {{ before = \"2h\" }}\n[credentials.other]\nsource = {{ env = \"GL\" }}\nexpiry = {{ at = \"2027-01-01\" }}\n"
    ));
    let at = |words: &str, now: &str| {
        let call = with_token(&world, words);
        call.env("LORECTL_NOW", now).run()
    };
    at("apply -y", "2026-02-03T00:00:00.123Z").exits(0);
    server.answer([given("access-two")]);
    let rotated = at("credential rotate api -y", "2026-02-03T01:00:00.456Z").exits(0);
    // Who rotates one reads nothing of the others.
    assert!(
        !rotated.stdout.contains("credential.other"),
        "{}",
        rotated.stdout
    );
    let planned = at("plan --offline", "2026-02-03T01:10:00.789Z").exits(0);
    // The spec's digest is another for each port.
    let (head, stays) = planned.stdout.split_once("\n\n").unwrap();
    assert!(head.contains("observed offline 01:10 UTC"), "{head}");
    super::snapshot("credential-stays", stays);
    // Each has its row, also one of which nothing is known.
    planned.says("credential.client not asked no end known; no provider");
    at("credential list --json", "2026-02-03T01:10:00Z")
        .says("\"revoke_at\":\"2026-02-03T02:00:00.456Z\"");
    // One that has ended does not end soon.
    at("plan --offline", "2026-02-04T00:00:00Z").says("it has ended");
}

#[test]
fn what_was_asked_for_and_not_approved_is_not_done_later() {
    let world = world(
        "[credentials.app]\nsource = { command = [\"./mint\"] }\ndeliver = [{ file = \"OUT/token\" }]\n",
    );
    let runs = world.path().join("runs");
    let mint = format!(
        "#!/bin/sh\necho run >>{0}\nprintf token-%s $(wc -l <{0})\n",
        runs.display()
    );
    world.program("mint", &mint);
    world.run("apply --yes").exits(0);
    let record = world.state().join("secrets/app/record.json");
    let before = read(&record);
    world
        .run("credential rotate app")
        .exits(3)
        .says("a new value was asked for")
        .says("nobody approved it");
    assert_eq!(read(&record), before);
    assert!(!before.contains("asked"));
    world.run("plan --detailed-exitcode").exits(0);
    // One that is ended while it asks has left nothing either.
    if Path::new("/usr/bin/script").exists() {
        asked_and_ended(&world);
        assert_eq!(read(&record), before);
    }
    world.run("apply --yes").exits(0).says("No changes");
    assert_eq!(read(&runs), "run\n");
    world.run("credential rotate app --yes").exits(0);
    assert_eq!(read(&out(&world, "token")), "token-2");
    world.run("plan --detailed-exitcode").exits(0);
}

/// Has `rotate` ask on a terminal, and ends it there.
fn asked_and_ended(world: &World) {
    let shown = world.path().join("shown");
    let script = format!(
        "mkfifo {0}.in && exec 3<>{0}.in; script -qfc 'exec $LORECTL credential rotate app' {0} <&3 >/dev/null 2>&1 & n=0; until grep -q 'Rotate it' {0} 2>/dev/null; do n=$((n + 1)); [ $n -lt 600 ] || exit 9; sleep 0.1; done; kill -9 $(pgrep -P $!) || exit 8; kill -9 $!; wait; true",
        shown.display()
    );
    world.shell(&script).run().exits(0);
}

#[test]
fn a_value_that_was_made_and_cannot_be_used_is_revoked() {
    let body = |token: &str| {
        let body = format!(
            "{{\"access_token\":\"{token}\",\"token_type\":\"Bearer\",\"expires_in\":36000}}"
        );
        says(200, &body)
    };
    // What no file of variables takes is known only when it is there.
    let server = Listener::issuer([body("access'one")]);
    let url = server.url("");
    let world = world(&format!(
        "[credentials.client]\nsource = {{ env = \"GL\" }}\n[credentials.api]\nsource = {{ oauth2 = {{ token_url = \"{url}/token\", client_id = \"acme\", secret = \"client\", revoke_url = \"{url}/revoke\" }} }}\ndeliver = [{{ env_file = \"OUT/env\", name = \"T\" }}]\n"
    ));
    let ran = with_token(&world, "apply -y").run().exits(1);
    assert!(!ran.stdout.contains("Not put back"), "{}", ran.stdout);
    let what: Vec<String> = server.seen().into_iter().map(|seen| seen.what).collect();
    assert_eq!(what, ["POST /token", "POST /revoke"]);
    assert!(!world.state().join("secrets/api").exists());
}
