//! The GitLab stand-in: a rotation kills the old token at once, and a second one the whole family.

use lorectl::credential::mint::{self, CarriedOut, Doomed, Issuer, MintFault, Revocation};
use lorectl::effect::http::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::{
    Test,
    home::Home,
    server::{Kind, Server, now},
};

pub const TESTS: &[Test] = &[
    (
        "gitlab::a_rotation_kills_the_old_token_at_once",
        Kind::Gitlab,
        rotation,
    ),
    (
        "gitlab::a_second_rotation_kills_the_whole_family",
        Kind::Gitlab,
        family,
    ),
    (
        "gitlab::a_lost_answer_may_have_been_a_rotation",
        Kind::Gitlab,
        lost,
    ),
    (
        "gitlab::the_program_sends_a_rotation_once",
        Kind::Gitlab,
        once,
    ),
    (
        "gitlab::the_program_holds_when_an_answer_is_lost",
        Kind::Gitlab,
        held,
    ),
];

const FIRST: &str = "glpat-first";

/// One that has the form of such tokens.
const LONG: &str = "glpat-aFirstTokenOfTheFamily";

fn issuer(server: &Server, ttl: &str) -> Issuer {
    let issuer = json!({"kind": "gitlab", "base_url": server.url(""), "ttl": ttl});
    serde_json::from_value(issuer).unwrap()
}

fn probe(server: &Server, token: &SecretString) -> u16 {
    let headers = [("private-token", token.expose_secret())];
    server
        .get("/api/v4/personal_access_tokens/self", &headers)
        .0
}

fn rotation() {
    let server = Server::start(Kind::Gitlab, FIRST, &[]);
    let issuer = issuer(&server, "90d");
    let new = server.mint(&issuer, &FIRST.into()).unwrap();
    let life = new.expires_at.unwrap().seconds_since(new.issued_at);
    assert!((89 * 86_400..=90 * 86_400).contains(&life), "{life}");
    assert_eq!(new.id.as_deref(), Some("2"));
    assert_eq!(
        (probe(&server, &FIRST.into()), probe(&server, &new.value)),
        (401, 200)
    );
    for expected in [Revocation::Done, Revocation::Already] {
        let doomed = Doomed {
            value: Some(&new.value),
            id: None,
        };
        let revoked =
            server.ask(async |wire| mint::revoke(wire, &issuer, &new.value, doomed, now()).await);
        assert_eq!(revoked.unwrap(), expected);
    }
    let fault = server.mint(&issuer, &"glpat-garbage".into()).unwrap_err();
    assert!(
        matches!(fault, MintFault::Refused { status: 401, .. }),
        "{fault}"
    );
}

fn family() {
    let server = Server::start(Kind::Gitlab, FIRST, &[]);
    let issuer = issuer(&server, "7d");
    let new = server.mint(&issuer, &FIRST.into()).unwrap();
    let fault = server.mint(&issuer, &FIRST.into()).unwrap_err();
    assert!(
        matches!(fault, MintFault::Refused { status: 401, .. }),
        "{fault}"
    );
    assert_eq!(probe(&server, &new.value), 401, "the new one died with it");
}

fn lost() {
    let server = Server::start(Kind::Gitlab, FIRST, &[]);
    assert_eq!(server.send(Method::Post, "/-/lose", &[], "").0, 204);
    let fault = server
        .mint(&issuer(&server, "7d"), &FIRST.into())
        .unwrap_err();
    assert_eq!(fault.carried_out(), CarriedOut::Maybe, "{fault}");
    let (_, family) = server.get("/-/family", &[]);
    assert_eq!(family[0]["active"], false);
    assert_eq!(family[0]["rotations"], 1, "it was sent once");
    assert_eq!(family[1]["active"], true);
}

/// A home whose token, of a week, rotates itself when it is asked to.
fn home(server: &Server) -> Home {
    let url = server.url("");
    let spec = format!(
        r#"
[credentials.gl]
provider = "gitlab"
base_url = "{url}"
source = {{ env = "GL" }}
rotate = {{ before = "1d", ttl = "30d" }}
deliver = [{{ file = "OUT/token" }}]
"#
    );
    Home::new(&spec, &[("GL", LONG)])
}

/// How often each token of the family was rotated with, and which live.
fn told(server: &Server) -> (Vec<u64>, Vec<bool>) {
    let (_, family) = server.get("/-/family", &[]);
    let each = family.as_array().unwrap().iter();
    let each = each.map(|one| {
        (
            one["rotations"].as_u64().unwrap(),
            one["active"].as_bool().unwrap(),
        )
    });
    each.unzip()
}

fn once() {
    let server = Server::start(Kind::Gitlab, LONG, &[]);
    let home = home(&server);
    home.run("apply -y").exits(0);
    assert_eq!(home.delivered("token"), LONG);
    for _ in 0..2 {
        let old = home.delivered("token");
        home.run("credential rotate gl -y").exits(0);
        let new = home.delivered("token");
        assert_ne!(new, old);
        assert_eq!(
            (probe(&server, &new.into()), probe(&server, &old.into())),
            (200, 401)
        );
        // The variable still holds the first.
        home.run("apply -y").exits(0).says("No changes");
        home.run("reconcile").exits(0);
    }
    assert_eq!(told(&server), (vec![1, 1, 0], vec![false, false, true]));
}

fn held() {
    let server = Server::start(Kind::Gitlab, LONG, &[]);
    let mut home = home(&server);
    home.run("apply -y").exits(0);
    assert_eq!(server.send(Method::Post, "/-/lose", &[], "").0, 204);
    home.run("credential rotate gl -y")
        .exits(1)
        .says("its answer is lost");
    for words in [
        "plan",
        "apply -y",
        "reconcile",
        "credential rotate gl -y",
        "apply -y",
    ] {
        let ran = home.run(words);
        assert!([0, 3].contains(&ran.status), "{words}: {ran:?}");
    }
    assert_eq!(told(&server), (vec![1, 0], vec![false, true]));
    // A person makes another.
    let new = "glpat-madeByAPersonInTheEnd";
    let headers = [("private-token", new)];
    assert_eq!(server.send(Method::Post, "/-/make", &headers, "").0, 204);
    home.variable("GL", new);
    home.run("apply -y").exits(0);
    assert_eq!(home.delivered("token"), new);
    // An issuer that failed is left alone for a while, and what was asked for then is not done unasked.
    home.run("credential rotate gl -y").exits(75);
    home.ahead(60);
    home.run("apply -y").exits(0).says("No changes");
    home.run("credential rotate gl -y").exits(0);
    assert_eq!(told(&server).0, [1, 0, 1, 0]);
}
