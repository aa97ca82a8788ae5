//! What is said to issuers and made of their answers, against a listener of this host.

use secrecy::ExposeSecret;
use serde_json::json;

use super::*;
use crate::{
    effect::http::{
        Http,
        listener::{Answer, Listener, Seen},
    },
    id::Digest,
};

const PKCS1: &str = include_str!("pkcs1.pem");
const PKCS8: &str = include_str!("pkcs8.pem");
const OTHER_KEY: &str = include_str!("ec.pem");

fn now() -> Timestamp {
    "2026-02-09T10:00:00Z".parse().unwrap()
}

fn issuer(kind: &str, base: &str) -> Issuer {
    let issuer = match kind {
        "oauth2" => json!({
            "kind": kind, "token_url": format!("{base}/token"), "client_id": "a client:1",
            "scopes": ["write", "read"], "revoke_url": format!("{base}/revoke"),
        }),
        "github_app" => json!({
            "kind": kind, "base_url": base, "app_id": "Iv1.app", "installation_id": 42,
            "permissions": {"contents": "read"}, "repositories": ["one"],
        }),
        "gitlab" => json!({ "kind": kind, "base_url": base, "ttl": "90d" }),
        "jupyterhub" => json!({
            "kind": kind, "base_url": format!("{base}/hub/api"), "user": "a/b", "ttl": "1h",
            "scopes": ["self"],
        }),
        other => panic!("{other}"),
    };
    serde_json::from_value(issuer).unwrap()
}

/// With what its requests are signed.
fn secret(kind: &str) -> SecretString {
    match kind {
        "github_app" => PKCS8.into(),
        _ => "s3cret+/:%".into(),
    }
}

const KINDS: [&str; 4] = ["oauth2", "github_app", "gitlab", "jupyterhub"];

/// An answer that each takes.
fn good(kind: &str) -> (u16, String) {
    let (status, answer) = match kind {
        "oauth2" => (
            200,
            json!({
                "access_token": "t0ken", "token_type": "Bearer", "expires_in": 3600,
                "scope": "write read",
            }),
        ),
        "github_app" => (
            201,
            json!({
                "token": "t0ken", "expires_at": "2026-02-09T11:00:00Z",
                "permissions": {"contents": "read", "metadata": "read"},
            }),
        ),
        "gitlab" => (
            200,
            json!({
                "id": 7, "token": "t0ken", "expires_at": "2026-05-10", "scopes": ["api"],
                "active": true,
            }),
        ),
        _ => (
            201,
            json!({
                "id": "a7", "token": "t0ken", "expires_at": "2026-02-09T11:00:00.123456Z",
                "scopes": ["self"], "note": "mark",
            }),
        ),
    };
    (status, answer.to_string())
}

async fn ask(kind: &str, listener: &Listener) -> Result<Minted, MintFault> {
    let http = Http::default();
    let wire = Wire {
        credential: "app",
        http: &http,
        roots: None,
    };
    let issuer = issuer(kind, &listener.url(""));
    mint(wire, &issuer, &secret(kind), "mark", now()).await
}

async fn minted(kind: &str, answer: Answer) -> Result<Minted, MintFault> {
    ask(kind, &Listener::start([answer])).await
}

fn body(answer: &serde_json::Value) -> Answer {
    Answer::With(200, "", answer.to_string())
}

fn header(seen: &Seen, name: &str) -> String {
    let mut lines = seen.headers.lines();
    let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    found.unwrap_or_default().to_owned()
}

#[tokio::test]
async fn each_issuer_is_asked_in_its_own_way() {
    for kind in KINDS {
        let (status, body) = good(kind);
        let date = "Date: Mon, 09 Feb 2026 10:00:03 GMT\r\n";
        let listener = Listener::start([Answer::With(status, date, body)]);
        let minted = ask(kind, &listener).await.unwrap();
        assert_eq!(minted.value.expose_secret(), "t0ken");
        assert_eq!(minted.issuer_time, Some(now().plus_seconds(3)));
        let ends = minted.expires_at.unwrap();
        let seen = listener.seen().remove(0);
        let (what, sent, scopes) = match kind {
            "oauth2" => {
                // Each part encoded as in a form, then joined (RFC 6749, 2.3.1).
                let basic = header(&seen, "authorization");
                assert_eq!(basic, "Basic YStjbGllbnQlM0ExOnMzY3JldCUyQiUyRiUzQSUyNQ==");
                let sent = "grant_type=client_credentials&scope=read+write";
                ("POST /token", sent, vec!["read", "write"])
            }
            "github_app" => {
                assert_eq!(header(&seen, "x-github-api-version"), "2022-11-28");
                assert!(header(&seen, "authorization").starts_with("Bearer eyJ"));
                (
                    "POST /app/installations/42/access_tokens",
                    "{\"permissions\":{\"contents\":\"read\"},\"repositories\":[\"one\"]}",
                    vec!["contents:read", "metadata:read"],
                )
            }
            "gitlab" => {
                assert_eq!(header(&seen, "private-token"), "s3cret+/:%");
                assert_eq!(ends.to_string(), "2026-05-10T00:00:00Z");
                (
                    "POST /api/v4/personal_access_tokens/self/rotate",
                    "expires_at=2026-05-10",
                    vec!["api"],
                )
            }
            _ => {
                assert_eq!(header(&seen, "authorization"), "token s3cret+/:%");
                (
                    "POST /hub/api/users/a%2Fb/tokens",
                    "{\"expires_in\":3600,\"note\":\"mark\",\"scopes\":[\"self\"]}",
                    vec!["self"],
                )
            }
        };
        assert_eq!((seen.what.as_str(), seen.body.as_str()), (what, sent));
        let told = minted.scopes.iter().flatten();
        assert_eq!(told.collect::<Vec<_>>(), scopes, "{kind}");
        if kind != "gitlab" {
            assert_eq!(ends.seconds_since(now()), 3600, "{kind}");
        }
        assert!(!format!("{minted:?}").contains("t0ken"));
    }
}

#[tokio::test]
async fn a_client_may_prove_itself_in_the_body() {
    let (status, body) = good("oauth2");
    let listener = Listener::start([Answer::With(status, "", body)]);
    let issuer: Issuer = serde_json::from_value(json!({
        "kind": "oauth2", "token_url": listener.url("/t"), "client_id": "id", "auth": "post",
        "audience": "https://api",
    }))
    .unwrap();
    let http = Http::default();
    let wire = Wire {
        credential: "app",
        http: &http,
        roots: None,
    };
    mint(wire, &issuer, &"a&b".into(), "", now()).await.unwrap();
    let seen = &listener.seen()[0];
    assert_eq!(header(seen, "authorization"), "");
    assert_eq!(
        seen.body,
        "grant_type=client_credentials&audience=https%3A%2F%2Fapi&client_id=id&client_secret=a%26b"
    );
}

/// The signature was made by openssl(1), which signs with the same key in both forms alike.
#[tokio::test]
async fn an_app_signs_as_openssl_does_with_either_form_of_its_key() {
    let (status, body) = good("github_app");
    let listener = Listener::start([Answer::With(status, "", body)]);
    let issuer = issuer("github_app", &listener.url(""));
    let http = Http::default();
    let wire = Wire {
        credential: "app",
        http: &http,
        roots: None,
    };
    for (index, key) in [PKCS1, PKCS8].into_iter().enumerate() {
        mint(wire, &issuer, &key.into(), "", now()).await.unwrap();
        let sent = header(&listener.seen()[index], "authorization");
        let token = sent.strip_prefix("Bearer ").unwrap();
        let digest = Digest::of(token.as_bytes()).to_string();
        assert_eq!(
            digest,
            "67bfe70fb32c941e6db3c90084d877c4bd162941b530466b97bc4dcf2a71adc8"
        );
    }
    for key in ["", "nonsense", OTHER_KEY, &PKCS8.replace("MII", "AII")] {
        let fault = mint(wire, &issuer, &key.into(), "", now())
            .await
            .unwrap_err();
        assert!(matches!(fault, MintFault::Unsendable(_)), "{fault}");
        assert_eq!(fault.carried_out(), CarriedOut::No);
    }
    assert_eq!(listener.seen().len(), 2, "nothing was sent");
}

#[tokio::test]
async fn what_was_surely_not_done_is_told_from_what_may_have_been() {
    const SECRET: &str = "{\"token\":\"t0ken\",\"error\":\"up$tream\",\"message\":\"up$tream\"}";
    let with = |status, headers| Answer::With(status, headers, SECRET.to_owned());
    for kind in KINDS {
        let (status, good) = good(kind);
        for (answer, expected) in [
            (with(400, ""), CarriedOut::No),
            (with(401, ""), CarriedOut::No),
            (with(403, ""), CarriedOut::No),
            (with(404, ""), CarriedOut::No),
            (with(405, ""), CarriedOut::No),
            (with(422, ""), CarriedOut::No),
            (with(429, ""), CarriedOut::No),
            (with(301, "Location: /\r\n"), CarriedOut::No),
            (with(308, "Location: /\r\n"), CarriedOut::No),
            (with(302, "Location: /\r\n"), CarriedOut::Maybe),
            (with(303, "Location: /\r\n"), CarriedOut::Maybe),
            (with(408, ""), CarriedOut::Maybe),
            (with(499, ""), CarriedOut::Maybe),
            (with(500, ""), CarriedOut::Maybe),
            (with(502, ""), CarriedOut::Maybe),
            (with(504, ""), CarriedOut::Maybe),
            (with(204, ""), CarriedOut::Maybe),
            (Answer::Close, CarriedOut::Maybe),
            (Answer::Flood, CarriedOut::Maybe),
            (body(&json!("<html>up$tream</html>")), CarriedOut::Maybe),
            (
                Answer::With(status, "", "<html>up$tream".to_owned()),
                CarriedOut::Maybe,
            ),
            (Answer::With(status, "", String::new()), CarriedOut::Maybe),
            // Broken off in its middle.
            (
                Answer::With(
                    status,
                    "Transfer-Encoding: chunked\r\n",
                    format!("fff\r\n{good}"),
                ),
                CarriedOut::Maybe,
            ),
            (
                Answer::With(status, "", good.replace("t0ken", "")),
                CarriedOut::Maybe,
            ),
            (
                Answer::With(status, "", good.replace("t0ken", "t0\\nken")),
                CarriedOut::Maybe,
            ),
            (
                Answer::With(status, "", good.replace("t0ken", &"t".repeat(1 << 20))),
                CarriedOut::Maybe,
            ),
        ] {
            let fault = minted(kind, answer.clone()).await.unwrap_err();
            assert_eq!(fault.carried_out(), expected, "{kind} {answer:?}: {fault}");
            let shown = format!("{fault} {fault:?}");
            assert!(
                !shown.contains("up$tream") && !shown.contains("t0ken"),
                "{shown}"
            );
        }
        let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", refused.local_addr().unwrap());
        drop(refused);
        let http = Http::default();
        let wire = Wire {
            credential: "app",
            http: &http,
            roots: None,
        };
        for base in [base.as_str(), "http://issuer.invalid"] {
            let issuer = issuer(kind, base);
            let fault = mint(wire, &issuer, &secret(kind), "", now())
                .await
                .unwrap_err();
            assert!(matches!(fault, MintFault::Unreachable(_)), "{fault}");
            assert_eq!(fault.carried_out(), CarriedOut::No);
        }
    }
}

#[tokio::test]
async fn an_issuer_that_hangs_may_have_done_it() {
    let listener = Listener::start([Answer::Hang]);
    let asked = ask("gitlab", &listener);
    tokio::pin!(asked);
    tokio::select! {
        biased;
        _ = &mut asked => panic!("it hangs"),
        () = async { while listener.seen().is_empty() { tokio::task::yield_now().await } } => {}
    }
    // Only from here on, or the clock would run ahead of the connection.
    tokio::time::pause();
    let fault = asked.await.unwrap_err();
    assert_eq!(fault.carried_out(), CarriedOut::Maybe, "{fault}");
    assert_eq!(
        fault.to_string(),
        "the issuer may have done it: its answer is lost: no answer in time"
    );
}

#[tokio::test]
async fn a_throttle_is_no_refusal() {
    let epoch = now().millis() / 1000 + 90;
    let reset: &'static str =
        format!("x-ratelimit-remaining: 0\r\nx-ratelimit-reset: {epoch}\r\n").leak();
    let gitlab: &'static str = format!("RateLimit-Reset: {epoch}\r\n").leak();
    for (status, headers, seconds) in [
        (429, "", 60),
        (429, "Retry-After: 7\r\n", 7),
        (429, "Retry-After: Mon, 09 Feb 2026 10:00:11 GMT\r\n", 11),
        (429, "Retry-After: Tue, 09 Feb 2016 10:00:11 GMT\r\n", 0),
        (429, "Retry-After: soon\r\n", 60),
        (429, gitlab, 90),
        (403, "Retry-After: 7\r\n", 7),
        (403, reset, 90),
    ] {
        let answer = Answer::With(status, headers, String::new());
        let fault = minted("github_app", answer).await.unwrap_err();
        let MintFault::Throttled { until } = fault else {
            panic!("{fault}");
        };
        assert_eq!(until.seconds_since(now()), seconds, "{headers}");
    }
}

/// ecluse checks none of this of the token it begins with.
#[tokio::test]
async fn a_new_token_s_expiry_is_checked() {
    let oauth2 = |life: serde_json::Value| json!({"access_token": "t0ken", "expires_in": life});
    for (life, expected) in [
        (json!(3600), Some(3600)),
        (json!("3600"), Some(3600)),
        (json!(null), None),
    ] {
        let minted = minted("oauth2", body(&oauth2(life))).await.unwrap();
        let ends = minted.expires_at.map(|end| end.seconds_since(now()));
        assert_eq!(ends, expected);
    }
    let plain = json!({"access_token": "t0ken"});
    let plain = minted("oauth2", body(&plain)).await.unwrap();
    assert_eq!((plain.expires_at, plain.scopes), (None, None));
    for life in [
        json!(0),
        json!(-5),
        json!("soon"),
        json!([]),
        json!(1.5),
        json!(true),
    ] {
        assert_unusable("oauth2", body(&oauth2(life))).await;
    }
    let mac = json!({"access_token": "t0ken", "token_type": "mac"});
    assert_unusable("oauth2", body(&mac)).await;
    let ending = |end: &str| json!({"id": 7, "token": "t0ken", "expires_at": end});
    for end in ["2026-02-09", "2016-02-09", "soon", "", "2026-13-01"] {
        assert_unusable("gitlab", body(&ending(end))).await;
    }
    let endless = json!({"id": 7, "token": "t0ken", "expires_at": null});
    assert_eq!(
        minted("gitlab", body(&endless)).await.unwrap().expires_at,
        None
    );
    let ending = |end: &str| json!({"id": "a7", "token": "t0ken", "expires_at": end});
    for end in ["2026-02-09T09:59:59Z", "2026-02-09T10:00:00Z", "soon"] {
        assert_unusable("jupyterhub", body(&ending(end))).await;
    }
    let skewed = "Date: Mon, 09 Feb 2026 10:05:01 GMT\r\n";
    let skewed = |kind| {
        let (status, body) = good(kind);
        Answer::With(status, skewed, body)
    };
    assert_unusable("jupyterhub", skewed("jupyterhub")).await;
    assert_unusable("gitlab", skewed("gitlab")).await;
    assert!(
        minted("oauth2", skewed("oauth2")).await.is_ok(),
        "a length of time is one on any clock"
    );
}

/// The token is not lost with its expiry: where the old one is dead, it is the only one.
async fn assert_unusable(kind: &str, answer: Answer) {
    let fault = minted(kind, answer.clone()).await.unwrap_err();
    assert_eq!(fault.carried_out(), CarriedOut::Yes, "{answer:?}: {fault}");
    let MintFault::Unusable { minted, .. } = fault else {
        panic!("{fault}");
    };
    assert_eq!(minted.value.expose_secret(), "t0ken");
    assert_eq!(minted.expires_at, None);
}

#[tokio::test]
async fn an_error_is_told_in_our_words_whatever_its_status() {
    for (status, error, words) in [
        (401, "invalid_client", "it does not know the client"),
        (400, "invalid_client", "it does not know the client"),
        (400, "invalid_scope", "a scope is unknown to it"),
        (200, "unauthorized_client", "the client may not have tokens"),
        (200, "up$tream", "it does not take the request"),
        (400, "up$tream", "it does not take the request"),
    ] {
        let answer = json!({"error": error, "error_description": "up$tream"}).to_string();
        let fault = minted("oauth2", Answer::With(status, "", answer))
            .await
            .unwrap_err();
        let text = fault.to_string();
        assert!(text.contains(words) && !text.contains("up$tream"), "{text}");
        assert!(matches!(fault, MintFault::Refused { .. }));
    }
}

#[tokio::test]
async fn a_token_is_ended_in_each_issuer_s_way() {
    let doomed = SecretString::from("d00med");
    for (kind, answers, what) in [
        (
            "oauth2",
            [(200, Some(Revocation::Done)), (400, None)],
            "POST /revoke",
        ),
        (
            "github_app",
            [
                (204, Some(Revocation::Done)),
                (401, Some(Revocation::Already)),
            ],
            "DELETE /installation/token",
        ),
        (
            "gitlab",
            [
                (204, Some(Revocation::Done)),
                (401, Some(Revocation::Already)),
            ],
            "DELETE /api/v4/personal_access_tokens/self",
        ),
        (
            "jupyterhub",
            [
                (204, Some(Revocation::Done)),
                (404, Some(Revocation::Already)),
            ],
            "DELETE /hub/api/users/a%2Fb/tokens/a7",
        ),
    ] {
        for (status, expected) in answers.into_iter().chain([(403, None), (500, None)]) {
            let listener = Listener::start([Answer::status(status)]);
            let issuer = issuer(kind, &listener.url(""));
            let http = Http::default();
            let wire = Wire {
                credential: "app",
                http: &http,
                roots: None,
            };
            let token = Doomed {
                value: Some(&doomed),
                id: Some("a7"),
            };
            let revoked = revoke(wire, &issuer, &secret(kind), token, now()).await;
            assert_eq!(revoked.as_ref().ok(), expected.as_ref(), "{kind} {status}");
            let seen = &listener.seen()[0];
            assert_eq!(seen.what, what);
            match kind {
                "oauth2" => assert_eq!(seen.body, "token=d00med&token_type_hint=access_token"),
                "github_app" => assert_eq!(header(seen, "authorization"), "Bearer d00med"),
                "gitlab" => assert_eq!(header(seen, "private-token"), "d00med"),
                _ => assert_eq!(header(seen, "authorization"), "token s3cret+/:%"),
            }
        }
    }
    let http = Http::default();
    let wire = Wire {
        credential: "app",
        http: &http,
        roots: None,
    };
    let issuer: Issuer = serde_json::from_value(json!({
        "kind": "oauth2", "token_url": "http://issuer.invalid", "client_id": "x",
    }))
    .unwrap();
    let token = Doomed {
        value: Some(&doomed),
        id: None,
    };
    let revoked = revoke(wire, &issuer, &secret("oauth2"), token, now()).await;
    assert_eq!(revoked.unwrap(), Revocation::NotOffered);
}

#[tokio::test]
async fn a_marked_token_is_found_by_its_whole_mark() {
    let list = json!({"api_tokens": [
        {"id": "a1", "note": "mark", "created": "2026-02-09T09:00:00.5Z"},
        {"id": "a2", "note": "mark2", "created": null},
        {"id": "a3", "note": null},
        {"id": "a4", "note": "mark"},
    ]});
    let listener = Listener::start([body(&list)]);
    let http = Http::default();
    let wire = Wire {
        credential: "app",
        http: &http,
        roots: None,
    };
    for kind in KINDS {
        let issuer = issuer(kind, &listener.url(""));
        let found = find_marked(wire, &issuer, &secret(kind), "mark", now())
            .await
            .unwrap();
        let Some(found) = found else {
            assert_ne!(kind, "jupyterhub");
            continue;
        };
        let ids: Vec<&str> = found.iter().map(|token| token.id.as_str()).collect();
        assert_eq!((kind, ids.as_slice()), ("jupyterhub", &["a1", "a4"][..]));
        assert_eq!(found[0].created_at, Some(now().plus_millis(-3_599_500)));
    }
    assert_eq!(listener.seen().len(), 1, "only one keeps notes");
}

#[test]
fn an_issuer_is_the_same_after_it_was_written() {
    for kind in KINDS {
        let issuer = issuer(kind, "https://issuer.example");
        let text = serde_json::to_string(&issuer).unwrap();
        assert_eq!(serde_json::from_str::<Issuer>(&text).unwrap(), issuer);
        assert!(text.contains(&format!("\"kind\":\"{kind}\"")), "{text}");
        assert_eq!(issuer.both_live(), kind != "gitlab");
    }
}
