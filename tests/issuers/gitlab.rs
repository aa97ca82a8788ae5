//! The GitLab stand-in: a rotation kills the old token at once, and a second one the whole family.

use lorectl::credential::mint::{self, CarriedOut, Doomed, Issuer, MintFault, Revocation};
use lorectl::effect::http::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::{
    Test,
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
];

const FIRST: &str = "glpat-first";

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
