//! An authorization server: client credentials with a life of seconds, introspection, revocation.

use lorectl::credential::mint::{self, Doomed, Issuer, MintFault, Revocation};
use lorectl::effect::http::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::{
    Test,
    home::Home,
    server::{Kind, Server, now, until},
};

pub const TESTS: &[Test] = &[
    ("oidc::a_client_gets_a_token_and_ends_it", Kind::Oidc, cycle),
    ("oidc::a_token_ends_by_itself", Kind::Oidc, expiry),
    ("oidc::a_refusal_is_told_by_its_error", Kind::Oidc, refused),
    ("oidc::the_program_renews_and_revokes", Kind::Oidc, renewed),
    ("oidc::the_program_introspects", Kind::Oidc, introspected),
];

/// What must be encoded in a header and in a form.
const SECRET: &str = "s3cret +/:%&=~";

fn issuer(server: &Server, client: &str, auth: &str, scope: &str) -> Issuer {
    let issuer = json!({
        "kind": "oauth2", "token_url": server.url("/token"), "client_id": client, "auth": auth,
        "scopes": [scope], "revoke_url": server.url("/token/revocation"),
    });
    serde_json::from_value(issuer).unwrap()
}

/// What the server itself says of a token (RFC 7662).
fn introspect(server: &Server, token: &SecretString) -> Value {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("token", token.expose_secret())
        .append_pair("client_id", "by-post")
        .append_pair("client_secret", SECRET);
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    let (status, told) = server.send(Method::Post, "/token/introspection", &kind, &form.finish());
    assert_eq!(status, 200);
    told
}

fn is_active(server: &Server, token: &SecretString) -> bool {
    introspect(server, token)["active"] == true
}

fn cycle() {
    let server = Server::start(Kind::Oidc, SECRET, &[("ISSUER_TTL", "600")]);
    for (client, auth) in [("by basic", "basic"), ("by-post", "post")] {
        let issuer = issuer(&server, client, auth, "read");
        let token = server.mint(&issuer, &SECRET.into()).unwrap();
        let life = token.expires_at.unwrap().seconds_since(token.issued_at);
        assert_eq!(life, 600);
        assert_eq!(token.scopes, Some(["read".to_owned()].into()));
        assert!(is_active(&server, &token.value));
        for _ in 0..2 {
            let doomed = Doomed {
                value: Some(&token.value),
                id: None,
            };
            let with = SECRET.into();
            let revoked =
                server.ask(async |wire| mint::revoke(wire, &issuer, &with, doomed, now()).await);
            assert_eq!(revoked.unwrap(), Revocation::Done);
        }
        assert!(!is_active(&server, &token.value));
    }
}

fn expiry() {
    let server = Server::start(Kind::Oidc, SECRET, &[("ISSUER_TTL", "2")]);
    let token = server.mint(
        &issuer(&server, "by basic", "basic", "read"),
        &SECRET.into(),
    );
    let token = token.unwrap();
    until("its end", || !is_active(&server, &token.value));
    assert!(token.expires_at.unwrap() <= now().plus_seconds(1));
}

fn refused() {
    let server = Server::start(Kind::Oidc, SECRET, &[]);
    for (client, auth, scope, secret, status, words) in [
        (
            "by basic",
            "basic",
            "read",
            "bad",
            401,
            "it does not know the client",
        ),
        (
            "by-post",
            "post",
            "read",
            "bad",
            401,
            "it does not know the client",
        ),
        (
            "nobody",
            "post",
            "read",
            SECRET,
            401,
            "it does not know the client",
        ),
        (
            "by-post",
            "post",
            "write",
            SECRET,
            400,
            "a scope is unknown",
        ),
    ] {
        let issuer = issuer(&server, client, auth, scope);
        let fault = server.mint(&issuer, &secret.into()).unwrap_err();
        let MintFault::Refused { status: told, why } = fault else {
            panic!("{client} {scope}: {fault}");
        };
        assert!(
            told == status && why.starts_with(words),
            "{client} {scope}: {told} {why}"
        );
    }
}

fn introspected() {
    let server = Server::start(Kind::Oidc, SECRET, &[("ISSUER_TTL", "300")]);
    let url = server.url("");
    let client = "by basic";
    let spec = format!(
        r#"
[credentials.client]
provider = "oauth2_client"
base_url = "{url}/token"
with = {{ client_id = "{client}" }}
source = {{ env = "CLIENT" }}
[credentials.given]
provider = "oauth2"
base_url = "{url}/token/introspection"
with = {{ client_id = "{client}", client_secret = {{ credential = "client" }} }}
source = {{ env = "GIVEN" }}
scopes = ["read"]
[credentials.made]
provider = "oauth2"
base_url = "{url}/token/introspection"
source = {{ oauth2 = {{ token_url = "{url}/token", client_id = "{client}", secret = "client", revoke_url = "{url}/token/revocation" }} }}
scopes = ["read"]
rotate = {{ grace = "1m" }}
deliver = [{{ file = "OUT/made" }}]
"#
    );
    // A client that proves itself in the body.
    let post = format!(
        r#"
[providers.by_post]
extends = "oauth2"
request = {{ method = "POST", form = {{ token = "{{token}}", client_id = "{{client_id}}", client_secret = "{{client_secret}}" }} }}
[credentials.posted]
provider = "by_post"
base_url = "{url}/token/introspection"
with = {{ client_id = "by-post", client_secret = {{ credential = "client" }} }}
source = {{ env = "GIVEN" }}
"#
    );
    let spec = format!("{spec}{post}");
    let token = server.mint(&issuer(&server, client, "basic", "read"), &SECRET.into());
    let token = token.unwrap();
    let given = token.value.expose_secret();
    let mut home = Home::new(&spec, &[("CLIENT", SECRET), ("GIVEN", given)]);
    // Of a client that it does not know, the server says nothing.
    home.variable("CLIENT", "another");
    home.run("apply -y")
        .exits(1)
        .says("does not know the client");
    home.variable("CLIENT", SECRET);
    home.run("apply -y").exits(0);
    for name in ["client", "given", "made", "posted"] {
        home.run(&format!("credential validate {name}"))
            .exits(0)
            .says("live");
    }
    home.run("plan").exits(0).says("(issuer)");
    // An old one is revoked by the same client, and looked at afterwards.
    let old = home.delivered("made");
    home.run("credential rotate made -y").exits(0);
    home.ahead(65);
    home.run("reconcile").exits(0);
    assert!(!is_active(&server, &old.as_str().into()));
    assert!(is_active(&server, &home.delivered("made").as_str().into()));
    home.now = None;
    // One that was revoked elsewhere.
    let issuer = issuer(&server, client, "basic", "read");
    let doomed = Doomed {
        value: Some(&token.value),
        id: None,
    };
    let with = SECRET.into();
    let ended = server.ask(async |wire| mint::revoke(wire, &issuer, &with, doomed, now()).await);
    assert_eq!(ended.unwrap(), Revocation::Done);
    home.run("credential validate given")
        .exits(77)
        .says("it is not active");
}

fn renewed() {
    let server = Server::start(Kind::Oidc, SECRET, &[("ISSUER_TTL", "300")]);
    let url = server.url("");
    let spec = format!(
        r#"
[credentials.client]
source = {{ env = "CLIENT" }}
[credentials.api]
source = {{ oauth2 = {{ token_url = "{url}/token", client_id = "by basic", secret = "client", revoke_url = "{url}/token/revocation" }} }}
scopes = ["read"]
rotate = {{ before = "4m", grace = "1m" }}
deliver = [{{ file = "OUT/token" }}]
"#
    );
    let mut home = Home::new(&spec, &[("CLIENT", SECRET)]);
    home.run("apply -y").exits(0);
    let old = home.delivered("token");
    let active = |value: &str| is_active(&server, &value.into());
    assert!(active(&old));
    home.run("apply -y").exits(0).says("No changes");
    home.ahead(155);
    home.run("reconcile").exits(0);
    let new = home.delivered("token");
    assert!(new != old && active(&new) && active(&old));
    home.run("reconcile").exits(0);
    assert_eq!(home.delivered("token"), new);
    // Its issuer ended the old one itself by then, or it is ended now.
    home.later(65);
    home.run("reconcile").exits(0);
    assert_eq!(
        home.record("api")["generations"].as_array().unwrap().len(),
        1
    );
    home.run("destroy -y").exits(0);
    assert!(!active(&new) && !home.path("out/token").exists());
}
