//! A hub: a token mints its successor, both live, and the new one ends the old.

use lorectl::credential::mint::{self, CarriedOut, Doomed, Issuer, MintFault, Revocation};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::{
    Test,
    server::{Kind, Server, now, until},
};

pub const TESTS: &[Test] = &[
    (
        "jupyterhub::a_token_mints_its_successor",
        Kind::Jupyterhub,
        successor,
    ),
    (
        "jupyterhub::a_token_ends_by_itself",
        Kind::Jupyterhub,
        expiry,
    ),
    (
        "jupyterhub::who_may_not_is_refused",
        Kind::Jupyterhub,
        refused,
    ),
];

const ADMIN: &str = "an-administrator-s-token";

fn issuer(server: &Server, ttl: &str) -> Issuer {
    let base = server.url("/hub/api");
    let issuer = json!({"kind": "jupyterhub", "base_url": base, "user": "lore", "ttl": ttl});
    serde_json::from_value(issuer).unwrap()
}

fn probe(server: &Server, token: &SecretString) -> u16 {
    let header = format!("token {}", token.expose_secret());
    server.get("/hub/api/user", &[("authorization", &header)]).0
}

fn successor() {
    let server = Server::start(Kind::Jupyterhub, ADMIN, &[]);
    let issuer = issuer(&server, "1h");
    let old = server.mint(&issuer, &ADMIN.into()).unwrap();
    let life = old.expires_at.unwrap().seconds_since(old.issued_at);
    assert!((3500..=3700).contains(&life), "{life}");
    assert!(old.issuer_time.is_some() && old.scopes.is_some());
    let new = server.mint(&issuer, &old.value).unwrap();
    assert_ne!(old.id, new.id);
    assert_eq!(
        (probe(&server, &old.value), probe(&server, &new.value)),
        (200, 200)
    );
    let find = |mark: &str| {
        let found = server
            .ask(async |wire| mint::find_marked(wire, &issuer, &new.value, mark, now()).await);
        let found = found.unwrap().unwrap().into_iter();
        found
            .map(|token| {
                assert!(token.created_at.is_some());
                Some(token.id)
            })
            .collect::<Vec<_>>()
    };
    let mut both = [old.id.clone(), new.id.clone()];
    both.sort();
    let mut found = find("lorectl acme/token");
    found.sort();
    assert_eq!(found, both);
    assert_eq!(find("lorectl acme"), []);
    let revoke = || {
        let doomed = Doomed {
            value: None,
            id: old.id.as_deref(),
        };
        server.ask(async |wire| mint::revoke(wire, &issuer, &new.value, doomed, now()).await)
    };
    assert_eq!(revoke().unwrap(), Revocation::Done);
    assert_eq!(revoke().unwrap(), Revocation::Already);
    assert_eq!(
        (probe(&server, &old.value), probe(&server, &new.value)),
        (403, 200)
    );
}

fn expiry() {
    let server = Server::start(Kind::Jupyterhub, ADMIN, &[]);
    let token = server.mint(&issuer(&server, "2s"), &ADMIN.into()).unwrap();
    until("its end", || probe(&server, &token.value) == 403);
    assert!(token.expires_at.unwrap() <= now());
}

fn refused() {
    let server = Server::start(Kind::Jupyterhub, ADMIN, &[]);
    let fault = server
        .mint(&issuer(&server, "1h"), &"garbage".into())
        .unwrap_err();
    assert!(
        matches!(fault, MintFault::Refused { status: 403, .. }),
        "{fault}"
    );
    assert_eq!(fault.carried_out(), CarriedOut::No);
}
