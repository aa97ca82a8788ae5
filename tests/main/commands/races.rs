//! Renewals for runs in the middle of applies: whoever comes second finds what the first has done, and
//! no value is lost or made twice.

use std::{fs, path::PathBuf, thread, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    listener::{Answer, Listener, Seen},
    world::{Call, Ran, World},
};

const CLIENT: &str = "client-s3cret";

/// When a token of the apply's is due.
const LATER: &str = "2026-02-03T04:55:06Z";

fn grant(token: &str, life: u32) -> String {
    format!("{{\"access_token\":\"{token}\",\"token_type\":\"Bearer\",\"expires_in\":{life}}}")
}

fn given(token: &str) -> Answer {
    Answer::With(200, "", grant(token, 3600))
}

/// One that takes long enough for others to come meanwhile.
fn slowly(token: &str) -> Answer {
    Answer::Late(Duration::from_secs(1), 200, grant(token, 3600))
}

/// A token of an OAuth 2 server.
struct Story {
    world: World,
    server: Listener,
}

impl Story {
    fn new() -> Self {
        Self::living(3600)
    }

    /// A token that lives so many seconds.
    fn living(life: u32) -> Self {
        let server = Listener::start([Answer::With(200, "", grant("one", life))]);
        let world = World::new();
        fs::create_dir(world.path().join("out")).unwrap();
        let story = Self { world, server };
        story.spec("acme", &["token"], "");
        story.apply(super::world::NOW).run().exits(0);
        story
    }

    fn spec(&self, client: &str, places: &[&str], rest: &str) {
        let deliver = places.iter().map(|name| {
            let path = self.place(name);
            format!("{{ file = \"{}\" }}", path.display())
        });
        let deliver: Vec<String> = deliver.collect();
        self.world.spec(&format!(
            r#"
[credentials.client]
source = {{ env = "CLIENT" }}

[credentials.api]
source = {{ oauth2 = {{ token_url = "{}", client_id = "{client}", secret = "client" }} }}
deliver = [{}]
{rest}"#,
            self.server.url("/token"),
            deliver.join(", ")
        ));
    }

    fn place(&self, name: &str) -> PathBuf {
        self.world.path().join("out").join(name)
    }

    fn holds(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.place(name)).ok()
    }

    fn at(&self, now: &str, words: &str) -> Call<'_> {
        let call = self.world.command(words.split(' '));
        call.env("CLIENT", CLIENT).env("LORECTL_NOW", now)
    }

    fn apply(&self, now: &str) -> Call<'_> {
        self.at(now, "apply -y")
    }

    /// Runs one, and another as soon as the issuer was asked by the first.
    fn both(&self, first: Call<'_>, second: Call<'_>) -> (Ran, Ran) {
        let asked = self.server.seen().len();
        thread::scope(|scope| {
            let came = scope.spawn(move || first.run());
            self.server.wait_for(asked + 1);
            let second = second.run();
            (came.join().unwrap(), second)
        })
    }

    /// Whether this client asked, for each request for a token.
    fn asked(&self, client: &str) -> Vec<bool> {
        let basic = STANDARD.encode(format!("{client}:{CLIENT}"));
        let asked = |seen: &Seen| seen.headers.contains(&basic);
        self.server.seen().iter().map(asked).collect()
    }
}

#[test]
fn an_undo_keeps_the_value_that_a_run_has_had_renewed_meanwhile() {
    let story = Story::living(600);
    // When it is not due yet, and when it is.
    let (before, after) = ("2026-02-03T04:11:46Z", "2026-02-03T04:13:26Z");
    let lorectl = env!("CARGO_BIN_EXE_lorectl");
    let state = story.world.path().join("state");
    story.world.program(
        "fails",
        &format!(
            "#!/bin/sh\nLORECTL_STATE_DIR={} LORECTL_NOW={after} {lorectl} credential refresh api --project acme >&2\nexit 1\n",
            state.display()
        ),
    );
    story.spec(
        "acme",
        &["token", "another"],
        "[credentials.late]\nsource = { command = [\"./fails\"] }\ndepends_on = [\"credential.api\"]\n",
    );
    story.server.answer([given("two")]);
    story.apply(before).run().exits(1);
    // As it was before, but for the value: the old one is on its way out.
    assert_eq!(story.holds("token").as_deref(), Some("two"));
    assert_eq!(story.holds("another"), None);
    story.spec("acme", &["token"], "");
    story.at(after, "plan --detailed-exitcode").run().exits(0);
    assert_eq!(story.server.seen().len(), 2, "none is made for the undo");
}

#[test]
fn a_renewal_that_waited_for_an_apply_goes_by_what_that_has_applied() {
    let story = Story::new();
    story.spec("other", &["token"], "");
    story.server.answer([slowly("two")]);
    let (apply, refresh) = story.both(
        story.apply(LATER),
        story.at(LATER, "credential refresh api"),
    );
    apply.exits(0);
    refresh.exits(0);
    // Nobody asks by the definition of old any more.
    let all = story.server.seen().len();
    let others = (1..all).map(|_| true);
    let others: Vec<bool> = std::iter::once(false).chain(others).collect();
    assert_eq!(story.asked("other"), others);
    let held = story.holds("token");
    assert_ne!(held.as_deref(), Some("one"));
    story.at(LATER, "plan --detailed-exitcode").run().exits(0);
    assert_eq!(story.holds("token"), held);
}

#[test]
fn a_new_value_that_is_asked_for_while_one_is_made_is_made_after_it() {
    let story = Story::new();
    story.server.answer([slowly("two"), given("three")]);
    let (refresh, rotate) = story.both(
        story.at(LATER, "credential refresh api"),
        story.at(LATER, "credential rotate api -y"),
    );
    refresh.exits(0).says("renewed");
    rotate.exits(0);
    assert_eq!(story.holds("token").as_deref(), Some("three"));
    assert_eq!(story.server.seen().len(), 3);
    story.at(LATER, "plan --detailed-exitcode").run().exits(0);
}
