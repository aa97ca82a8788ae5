//! Others are told of what becomes of credentials: once, whatever ends the program in between, and
//! nothing of a value.

use std::{fmt::Write as _, fs, os::unix::fs::PermissionsExt, path::PathBuf};

use serde_json::Value;

use super::{
    listener::{Answer, Listener, Seen},
    world::{Ran, World},
};

/// Values that are searched for in all that is sent and kept.
const FIRST: &str = "glpat-canary7f3aValueThatNeverShows";
const SECOND: &str = "glpat-canary91bcValueThatNeverShows";

const NOW: &str = "2026-02-03T04:05:06Z";

fn json(status: u16, body: &str) -> Answer {
    Answer::With(status, "", body.to_owned())
}

fn live(ends: &str) -> Answer {
    let body = format!(
        "{{\"active\":true,\"revoked\":false,\"user_id\":7,\"scopes\":[\"api\"],\"expires_at\":\"{ends}\"}}"
    );
    json(200, &body)
}

fn revoked() -> Answer {
    let body = "{\"error\":\"invalid_token\",\"error_description\":\"Token was revoked. You have to re-authorize from the user.\"}";
    json(401, body)
}

/// A token of GitLab's of which `ops` hears.
struct Story {
    world: World,
    issuer: Listener,
    hook: Listener,
}

impl Story {
    fn new(rest: &str) -> Self {
        let issuer = Listener::issuer([live("2026-12-01")]);
        let hook = Listener::start([Answer::status(200)]);
        let story = Self {
            world: World::new(),
            issuer,
            hook,
        };
        let url = story.hook.url("/hook");
        story.spec(&format!("[notify.ops]\nwebhook = \"{url}\"\n"), rest);
        story
    }

    fn spec(&self, sinks: &str, rest: &str) {
        let url = self.issuer.url("");
        self.world.spec(&format!(
            "{sinks}\n[credentials.gl]\nprovider = \"gitlab\"\nbase_url = \"{url}\"\nsource = {{ env = \"GL\" }}\nnotify = [\"ops\"]\n{rest}"
        ));
    }

    fn at(&self, now: &str, words: &str, value: &str) -> Ran {
        let call = self.world.command(words.split(' '));
        let ran = call.env("GL", value).env("LORECTL_NOW", now).run();
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("canary"));
        ran
    }

    /// The events that came.
    fn heard(&self) -> Vec<String> {
        let texts = |seen: &Seen| text(&body(seen)["event"]);
        self.hook.seen().iter().map(texts).collect()
    }

    fn last(&self) -> Value {
        body(self.hook.seen().last().unwrap())
    }

    fn outbox(&self) -> PathBuf {
        self.world.state().join("secrets/gl/outbox.json")
    }

    fn undelivered(&self) -> Value {
        let list = self.at(NOW, "credential list --json", FIRST).exits(0);
        let list: Value = serde_json::from_str(&list.stdout).unwrap();
        list["data"]["credentials"][0]["undelivered"].clone()
    }
}

fn body(seen: &Seen) -> Value {
    serde_json::from_str(&seen.body).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn one_that_ends_soon_is_told_of_once_by_the_timer_too() {
    let story = Story::new("");
    story.at(NOW, "apply -y", FIRST).exits(0).quiet();
    assert_eq!(story.heard(), [""; 0]);
    // Nobody who only looks tells anything.
    let late = "2026-11-20T00:00:00Z";
    for words in [
        "plan",
        "drift",
        "status",
        "doctor",
        "credential list",
        "credential validate gl",
        "observe --out seen.json",
    ] {
        story.at(late, words, FIRST);
    }
    assert_eq!(story.heard(), [""; 0]);
    // The timer finds no drift, says nothing, and tells.
    let ran = story.at(late, "reconcile", FIRST).exits(0).quiet();
    assert_eq!(
        (ran.stdout.as_str(), story.heard()),
        ("", vec!["expiring".to_owned()])
    );
    let told = story.last();
    assert_eq!(text(&told["credential"]), "gl");
    assert_eq!(text(&told["expires_at"]), "2026-12-01T00:00:00Z");
    assert_eq!(text(&told["state_before"]), "provisioned");
    assert_eq!(text(&told["state_after"]), "expiring");
    assert!(text(&told["error"]).contains("put a new token into the variable GL"));
    for (now, words) in [
        ("2026-11-20T00:01:00Z", "reconcile"),
        ("2026-11-21T00:00:00Z", "apply -y"),
        ("2026-11-30T00:00:00Z", "reconcile"),
    ] {
        story.at(now, words, FIRST).exits(0).quiet();
    }
    assert_eq!(story.heard(), ["expiring"]);
    // That it is over is told to who heard of it.
    story.issuer.answer([live("2027-06-01")]);
    story
        .at("2026-11-30T01:00:00Z", "apply -y", SECOND)
        .exits(0);
    assert_eq!(story.heard(), ["expiring", "recovered"]);
    let told = story.last();
    assert_eq!(text(&told["since"]), "2026-11-20T00:00:00Z");
    assert_eq!(text(&told["expires_at_before"]), "2026-12-01T00:00:00Z");
    assert_eq!(text(&told["expires_at"]), "2027-06-01T00:00:00Z");
    let [old, new] = ["fingerprint_before", "fingerprint"].map(|key| text(&told[key]));
    assert!(old.starts_with("hmac:") && new.starts_with("hmac:") && old != new);
    let mode = fs::metadata(story.outbox()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn one_that_is_dead_is_told_of_until_another_lives() {
    let story = Story::new("");
    story.at(NOW, "apply -y", FIRST).exits(0);
    story.issuer.answer([revoked()]);
    story
        .at("2026-02-03T05:00:00Z", "reconcile", FIRST)
        .exits(77);
    assert_eq!(story.heard(), ["failed"]);
    assert_eq!(text(&story.last()["error_code"]), "TOKEN_REVOKED");
    story.at("2026-02-03T06:00:00Z", "reconcile", FIRST);
    story
        .at("2026-02-03T07:00:00Z", "apply -y", FIRST)
        .exits(77);
    // An issuer that says nothing says nothing.
    story.issuer.answer([json(429, "Retry later")]);
    story.at("2026-02-04T07:00:00Z", "reconcile", FIRST);
    story.issuer.answer([Answer::Close]);
    story.at("2026-02-05T07:00:00Z", "reconcile", FIRST);
    assert_eq!(story.heard(), ["failed"]);
    story.issuer.answer([live("2026-12-01")]);
    story
        .at("2026-02-06T07:00:00Z", "apply -y", SECOND)
        .exits(0)
        .quiet();
    assert_eq!(story.heard(), ["failed", "recovered"]);
    // A new one in the place of one that is well.
    story.at("2026-02-06T08:00:00Z", "apply -y", FIRST).exits(0);
    assert_eq!(story.heard(), ["failed", "recovered", "rotated"]);
    // A person who is asked nothing, since nothing is to be done, tells too.
    story.issuer.answer([revoked()]);
    story.at("2026-02-06T09:00:00Z", "apply", FIRST).exits(77);
    assert_eq!(story.heard(), ["failed", "recovered", "rotated", "failed"]);
    // Who removes it all tells nothing.
    story
        .at("2026-02-06T10:00:00Z", "destroy -y", FIRST)
        .exits(0);
    assert_eq!(story.heard().len(), 4);
    assert!(!story.outbox().exists());
}

#[test]
fn a_rotation_and_its_failure_are_told() {
    let rotated = format!(
        "{{\"id\":8,\"active\":true,\"revoked\":false,\"scopes\":[\"api\"],\"expires_at\":\"2026-05-04\",\"token\":\"{SECOND}\"}}"
    );
    let story = Story::new("rotate = { before = \"7d\", ttl = \"90d\" }\n");
    story.at(NOW, "apply -y", FIRST).exits(0);
    // It is refused: the old one lives.
    story.issuer.answer([
        live("2026-12-01"),
        json(403, "{\"message\":\"canary 403\"}"),
        live("2026-12-01"),
    ]);
    story
        .at("2026-02-03T05:00:00Z", "credential rotate gl -y", FIRST)
        .exits(1);
    assert_eq!(story.heard(), ["failed"]);
    let error = text(&story.last()["error"]);
    assert!(error.starts_with("no new value: "), "{error}");
    story
        .at("2026-02-03T05:30:00Z", "reconcile", FIRST)
        .exits(0);
    assert_eq!(story.heard(), ["failed", "recovered"]);
    story
        .issuer
        .answer([live("2026-12-01"), json(200, &rotated), live("2026-05-04")]);
    story
        .at("2026-02-03T06:00:00Z", "credential rotate gl -y", FIRST)
        .exits(0);
    assert_eq!(story.heard(), ["failed", "recovered", "rotated"]);
    let told = story.last();
    assert_eq!(text(&told["expires_at"]), "2026-05-04T00:00:00Z");
    assert_eq!(text(&told["expires_at_before"]), "2026-12-01T00:00:00Z");
    // An answer that is lost is for a person, and told once.
    story
        .issuer
        .answer([live("2026-05-04"), Answer::Close, live("2026-05-04")]);
    story
        .at("2026-02-03T07:00:00Z", "credential rotate gl -y", FIRST)
        .exits(1);
    story
        .at("2026-02-03T07:30:00Z", "reconcile", FIRST)
        .exits(3);
    assert_eq!(story.heard()[3..], ["failed"]);
    assert_eq!(text(&story.last()["error_code"]), "HELD");
}

#[test]
fn a_webhook_that_is_down_is_told_at_the_next_reconcile() {
    let story = Story::new("");
    story.at(NOW, "apply -y", FIRST).exits(0);
    story.hook.answer([Answer::status(503)]);
    let late = "2026-11-20T00:00:00Z";
    let ran = story.at(late, "reconcile", FIRST).exits(0);
    ran.says("credential.gl: notify.ops was not told: it answered 503; it is tried again");
    let waiting = story.undelivered();
    assert_eq!(waiting[0]["to"], "ops", "{waiting}");
    assert_eq!(waiting[0]["waiting"], 1);
    story
        .at(NOW, "credential list", FIRST)
        .says("not told ops 1 waiting; it answered 503");
    story
        .at(NOW, "doctor", FIRST)
        .says("notify.ops failed at 2026-11-20T00:00:00Z: it answered 503");
    // Not before it is time.
    story.at(late, "reconcile", FIRST).exits(0).quiet();
    assert_eq!(story.hook.seen().len(), 1);
    story.hook.answer([Answer::status(200)]);
    story
        .at("2026-11-20T00:15:00Z", "reconcile", FIRST)
        .exits(0)
        .quiet();
    let seen = story.hook.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].body, seen[1].body);
    assert_eq!(story.undelivered(), Value::Array(Vec::new()));
    // What is refused for good is not tried again.
    story.hook.answer([Answer::status(404)]);
    story.issuer.answer([revoked()]);
    let ran = story
        .at("2026-11-20T01:00:00Z", "reconcile", FIRST)
        .exits(77);
    ran.says("it answered 404; it is given up");
    story.at("2026-11-20T03:00:00Z", "reconcile", FIRST);
    assert_eq!(story.hook.seen().len(), 3);
    assert_eq!(story.undelivered()[0]["given_up"], 1);
}

#[test]
fn one_that_is_killed_while_it_tells_loses_nothing() {
    let story = Story::new("");
    story.at(NOW, "apply -y", FIRST).exits(0);
    story.hook.answer([Answer::Hang]);
    let late = "2026-11-20T00:00:00Z";
    let call = story.world.command(["reconcile"]);
    let mut child = call.env("GL", FIRST).env("LORECTL_NOW", late).spawn();
    story.hook.wait_for(1);
    // Another apply does not wait for it.
    story.at("2026-11-20T00:00:01Z", "apply -y", FIRST).exits(0);
    child.kill().unwrap();
    child.wait().unwrap();
    story.hook.answer([Answer::status(200)]);
    story
        .at("2026-11-20T00:00:02Z", "reconcile", FIRST)
        .exits(0)
        .quiet();
    let seen = story.hook.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].body, seen[1].body);
    // Killed before it was kept, it is news to the next one.
    fs::remove_file(story.outbox()).unwrap();
    story
        .at("2026-11-20T01:00:00Z", "reconcile", FIRST)
        .exits(0);
    assert_eq!(story.heard(), ["expiring"; 3]);
}

#[test]
fn commands_and_secret_urls_are_told_and_hold_no_value() {
    let story = Story::new("");
    let out = story.world.path().join("told");
    fs::create_dir(&out).unwrap();
    // It tries to find a value, wherever it may be.
    let script = format!(
        "#!/bin/sh\nenv >{0}/env\ncat >{0}/input\necho \"$LORECTL_EVENT $LORECTL_CREDENTIAL $LORECTL_PROJECT\" >{0}/words\n",
        out.display()
    );
    story.world.program("tell", &script);
    let issuer = story.issuer.url("");
    let hook = story.hook.url("/T0/s3cret-word");
    let spec = format!(
        r#"
[notify.ops]
command = ["./tell"]
events = ["failed"]
[notify.web]
webhook = {{ credential = "url" }}
format = "slack"
[credentials.url]
source = {{ env = "HOOK" }}
[credentials.gl]
provider = "gitlab"
base_url = "{issuer}"
source = {{ env = "GL" }}
notify = ["ops", "web"]
"#
    );
    story.world.spec(&spec);
    let at = |now: &str, words: &str| {
        let call = story.world.command(words.split(' ')).env("GL", FIRST);
        call.env("HOOK", &hook).env("LORECTL_NOW", now).run()
    };
    at(NOW, "plan")
        .exits(0)
        .says("notify.web ← credential.url (slack)");
    at(NOW, "apply -y").exits(0).quiet();
    // A plan that is made elsewhere finds the same program.
    at(NOW, "observe --out seen.json").exits(0);
    let elsewhere = at(NOW, "plan --observed seen.json --detailed-exitcode");
    elsewhere.exits(0).says("No changes");
    story.issuer.answer([revoked()]);
    // Whoever applies runs no program that anyone can rewrite.
    let program = story.world.spec_dir().join("tell");
    let mode = |mode| fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o777);
    let ran = at("2026-02-03T05:00:00Z", "reconcile").exits(77);
    ran.says("notify.ops was not told: it is not run: ")
        .says("can be written by anyone; it is tried again");
    assert!(!out.join("words").exists());
    mode(0o755);
    at("2026-02-03T05:05:00Z", "reconcile").exits(77).quiet();
    assert_eq!(
        fs::read_to_string(out.join("words")).unwrap(),
        "failed gl acme\n"
    );
    let input = fs::read_to_string(out.join("input")).unwrap();
    let input: Value = serde_json::from_str(&input).unwrap();
    assert_eq!(text(&input["event"]), "failed");
    let seen = story.hook.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].what, "POST /T0/s3cret-word");
    let said = text(&body(&seen[0])["text"]);
    assert!(
        said.starts_with("acme/credential.gl on ") && said.contains(" failed: TOKEN_REVOKED: "),
        "{said}"
    );
    let outbox = fs::read_to_string(story.outbox()).unwrap();
    for name in ["env", "input", "words"] {
        let told = fs::read_to_string(out.join(name)).unwrap();
        assert!(
            !told.contains("canary") && !told.contains("s3cret"),
            "{name}: {told}"
        );
    }
    assert!(
        !outbox.contains("canary") && !outbox.contains("s3cret"),
        "{outbox}"
    );
    assert!(!said.contains("canary"));
}

#[test]
fn many_are_told_of_in_one_go_and_a_recovery_never_before_its_trouble() {
    let story = Story::new("");
    let (issuer, hook) = (story.issuer.url(""), story.hook.url("/hook"));
    let mut spec = format!("[notify.ops]\nwebhook = \"{hook}\"\n");
    for at in 0..40 {
        write!(
            spec,
            "[credentials.c{at}]\nprovider = \"gitlab\"\nbase_url = \"{issuer}\"\nsource = {{ env = \"GL\" }}\nnotify = [\"ops\"]\n"
        )
        .unwrap();
    }
    story.world.spec(&spec);
    story.at(NOW, "apply -y", FIRST).exits(0).quiet();
    story.issuer.answer([revoked()]);
    story.hook.answer([Answer::status(500)]);
    let ran = story
        .at("2026-02-03T05:00:00Z", "reconcile", FIRST)
        .exits(77);
    ran.says("notify.ops was not told: it answered 500; it is tried again (of 40 credentials)");
    assert_eq!(story.heard().len(), 40);
    story.issuer.answer([live("2026-12-01")]);
    story.hook.answer([Answer::status(200)]);
    // Both wait by now, and are told in their order.
    story
        .at("2026-02-04T05:00:00Z", "apply -y", SECOND)
        .exits(0)
        .quiet();
    let heard: Vec<(String, String)> = (story.hook.seen()[40..].iter())
        .map(|seen| (text(&body(seen)["credential"]), text(&body(seen)["event"])))
        .collect();
    assert_eq!(heard.len(), 80);
    for at in 0..40 {
        let own = heard.iter().filter(|(name, _)| *name == format!("c{at}"));
        let events: Vec<&str> = own.map(|(_, event)| event.as_str()).collect();
        assert_eq!(events, ["failed", "recovered"], "c{at}");
    }
}

#[test]
fn what_is_named_must_be_there() {
    let story = Story::new("");
    story.spec("[notify.ops]\nwebhook = \"https://hooks.example/x\"\n", "");
    let spec = fs::read_to_string(story.world.spec_dir().join("lore.toml")).unwrap();
    let write = |from: &str, to: &str| {
        story.world.file("lore.toml", spec.replace(from, to));
    };
    write(
        "notify = [\"ops\"]",
        "notify = [\"opps\", \"ops\", \"ops\"]",
    );
    let ran = story.world.run("validate").exits(65);
    let ran = ran
        .says("there is no `[notify.opps]`")
        .says("did you mean `ops`?");
    ran.says("`ops` is there twice");
    write(
        "[notify.ops]\nwebhook = \"https://hooks.example/x\"\n",
        "[hosts.a]\n[hosts.b]\n[credentials.url]\nsource = { env = \"U\" }\non = [\"a\"]\n[notify.ops]\nwebhook = { credential = \"url\" }\n",
    );
    let ran = story.world.run("validate").exits(65);
    ran.says("`credential.url` is not on b, which has this credential");
}
