use std::{collections::BTreeSet, time::Duration};

use secrecy::SecretString;

use super::*;
use crate::{
    credential::finding::Status,
    effect::http::{
        Http, HttpUrl,
        listener::{Answer as Say, Listener},
    },
};

const TOKEN: &str = "glpat-canary-Canary-CANARY-0123456789";
const GITHUB: &str = "ghp_canaryCanaryCANARY0123456789canaryCanary";
const DOCKER: &str = "dckr_pat_canary-Canary-CANARY-0123";

fn says(status: u16, headers: &'static str, body: &str) -> Say {
    Say::With(status, headers, body.to_owned())
}

async fn probed(provider: &str, url: &str, token: &str) -> Finding {
    let base = HttpUrl::parse(url).unwrap();
    let token = SecretString::from(token);
    let http = Http::default();
    let provider = builtin(provider).unwrap();
    let finding = provider
        .probe_at(
            &Endpoint::new(&http, &base, None),
            &token,
            &BTreeSet::new(),
            now(),
        )
        .await;
    for part in ["canary", "Canary", "127.0.0.1"] {
        assert!(!json(&finding).contains(part), "{finding:?}");
    }
    finding
}

#[tokio::test]
async fn a_probe_sends_what_the_table_says_to_the_base_url_that_is_given() {
    let live = "{\"active\":true,\"revoked\":false,\"user_id\":3}";
    let listener = Listener::start([says(200, "Date: Thu, 01 Jan 2026 00:00:09 GMT\r\n", live)]);
    let finding = probed("gitlab", &listener.url("/git"), TOKEN).await;
    assert_eq!(finding.status, Status::Live);
    assert_eq!(finding.issuer_time, Some(now().plus_seconds(9)));
    let seen = &listener.wait_for(1)[0];
    assert_eq!(seen.what, "GET /git/api/v4/personal_access_tokens/self");
    assert!(
        seen.headers
            .contains(&format!("private-token: {TOKEN}\r\n"))
    );
    assert!(seen.headers.contains("user-agent: lorectl/"));
    assert_eq!(seen.body, "");
}

#[tokio::test]
async fn a_form_and_an_object_are_sent_filled_in() {
    let listener = Listener::start([says(200, "", "{\"active\":true,\"access_token\":\"x\"}")]);
    let base = HttpUrl::parse(&listener.url("/introspect")).unwrap();
    let http = Http::default();
    let secrets = BTreeMap::from([("client_secret".to_owned(), SecretString::from("p&ss"))]);
    let params = BTreeMap::from([
        ("client_id".to_owned(), "lorectl".to_owned()),
        ("user".to_owned(), "ada".to_owned()),
    ]);
    let endpoint = Endpoint {
        params: &params,
        secrets: &secrets,
        ..Endpoint::new(&http, &base, None)
    };
    let token = SecretString::from("a+b&c\"d\"");
    let oauth2 = builtin("oauth2").unwrap();
    let finding = oauth2
        .probe_at(&endpoint, &token, &BTreeSet::new(), now())
        .await;
    assert_eq!(finding.status, Status::Live);
    let seen = &listener.wait_for(1)[0];
    assert_eq!(seen.what, "POST /introspect");
    assert!(
        seen.headers
            .contains("authorization: Basic bG9yZWN0bDpwJTI2c3M=\r\n"),
        "{}",
        seen.headers
    );
    assert!(
        seen.headers
            .contains("content-type: application/x-www-form-urlencoded")
    );
    assert_eq!(
        seen.body,
        "token=a%2Bb%26c%22d%22&token_type_hint=access_token"
    );

    let mut dockerhub = builtin("dockerhub").unwrap().clone();
    dockerhub.format.clear();
    let finding = dockerhub
        .probe_at(&endpoint, &token, &BTreeSet::new(), now())
        .await;
    assert_eq!(finding.status, Status::Live);
    let seen = &listener.wait_for(2)[1];
    assert_eq!(
        seen.body,
        "{\"identifier\":\"ada\",\"secret\":\"a+b&c\\\"d\\\"\"}"
    );
}

#[tokio::test]
async fn without_what_the_request_asks_for_nothing_is_sent() {
    let listener = Listener::start([Say::status(200)]);
    let finding = probed("dockerhub", &listener.url("/"), DOCKER).await;
    assert_eq!(finding.status, Status::NotImplemented);
    let detail = finding.detail.unwrap();
    assert_eq!(
        detail,
        "this provider asks with `user`, which the credential does not say"
    );
    assert_eq!(listener.seen().len(), 0);
}

#[tokio::test]
async fn a_redirect_is_an_error_and_the_token_goes_nowhere_else() {
    let other = Listener::start([Say::status(200)]);
    let target: &'static str = format!("Location: {}\r\n", other.url("/")).leak();
    let listener = Listener::start([says(302, target, "")]);
    let finding = probed("github", &listener.url("/"), GITHUB).await;
    assert_eq!(finding.status, Status::Error);
    assert!(finding.detail.unwrap().contains("a redirect"));
    assert_eq!((listener.seen().len(), other.seen().len()), (1, 0));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_an_error_and_not_an_unknown_provider() {
    let hanging = Listener::start([Say::Hang]);
    let closing = Listener::start([Say::Close]);
    let http = Http::default();
    for (url, expected) in [
        (hanging.url("/"), "no answer in time"),
        (
            closing.url("/"),
            "the connection broke off, or what came was no HTTP",
        ),
        (
            "http://nobody.invalid/".to_owned(),
            "the host's name cannot be resolved",
        ),
    ] {
        let base = HttpUrl::parse(&url).unwrap();
        let endpoint = Endpoint {
            timeout: if url == hanging.url("/") {
                Duration::from_millis(200)
            } else {
                PROBE_TIMEOUT
            },
            ..Endpoint::new(&http, &base, None)
        };
        for (name, token) in [("github", GITHUB), ("gitlab", TOKEN)] {
            let provider = builtin(name).unwrap();
            let token = SecretString::from(token);
            let finding = provider
                .probe_at(&endpoint, &token, &BTreeSet::new(), now())
                .await;
            assert_eq!(
                finding,
                Finding::new(Status::Error, now()).because(expected),
                "{name}"
            );
        }
    }
    assert_eq!(PROBE_TIMEOUT, Duration::from_secs(10));
}

#[tokio::test]
async fn no_answer_in_time_is_as_the_page_of_all_has_it() {
    let hanging = Listener::start([Say::Hang]);
    let base = HttpUrl::parse(&hanging.url("/")).unwrap();
    let http = Http::default();
    let secrets = BTreeMap::from([("client_secret".to_owned(), SecretString::from("x"))]);
    let params = ["client_id", "user"].map(|name| (name.to_owned(), "ada".to_owned()));
    let params = BTreeMap::from(params);
    let endpoint = Endpoint {
        params: &params,
        secrets: &secrets,
        timeout: Duration::from_millis(300),
        ..Endpoint::new(&http, &base, None)
    };
    let cases = super::cases::silent();
    assert_eq!(cases.len(), 1);
    let all = asked().map(async |(name, provider)| {
        let token = SecretString::from(provider.control.as_deref().unwrap());
        let none = BTreeSet::new();
        let finding = provider.probe_at(&endpoint, &token, &none, now()).await;
        for case in &cases {
            case.holds(&finding)
                .unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
        }
    });
    futures_util::future::join_all(all).await;
}

#[tokio::test]
async fn a_second_request_goes_where_the_first_went_and_changes_no_verdict() {
    const NPM: &str = "npm_canaryCanaryCANARY0123456789canary";
    let who = || says(200, "", "{\"username\":\"npmuser\"}");
    let row =
        "{\"key\":\"k\",\"token\":\"npm_cana...nary\",\"expiry\":\"2026-03-01T12:00:00.000Z\"}";
    let list = format!(
        "{{\"objects\":[{row}],\"total\":1,\"urls\":{{\"next\":\"http://127.0.0.1:1/\"}}}}"
    );
    let listener = Listener::start([who(), says(200, "", &list)]);
    let finding = probed("npm", &listener.url("/registry"), NPM).await;
    assert_eq!(finding.status, Status::Live);
    let ends = finding.expiry.unwrap().at.to_string();
    assert_eq!(ends, "2026-03-01T12:00:00Z");
    let what: Vec<String> = listener.seen().into_iter().map(|seen| seen.what).collect();
    assert_eq!(
        what,
        [
            "GET /registry/-/whoami",
            "GET /registry/-/npm/v1/tokens?perPage=100"
        ]
    );
    assert!(
        listener.seen()[1]
            .headers
            .contains(&format!("authorization: Bearer {NPM}\r\n"))
    );
    let other = Listener::start([Say::status(200)]);
    let away: &'static str = format!("Location: {}\r\n", other.url("/")).leak();
    for second in [
        Say::status(401),
        Say::status(500),
        says(302, away, ""),
        says(429, "Retry-After: 60\r\n", ""),
        says(200, "", "<html>"),
        Say::Close,
        Say::Flood,
    ] {
        let listener = Listener::start([who(), second.clone()]);
        let finding = probed("npm", &listener.url("/"), NPM).await;
        assert_eq!(
            (finding.status, finding.partial),
            (Status::Live, true),
            "{second:?}"
        );
        assert_eq!(finding.expiry, None);
    }
    assert_eq!(other.seen().len(), 0);
    let listener = Listener::start([who(), Say::Hang]);
    let base = HttpUrl::parse(&listener.url("/")).unwrap();
    let http = Http::default();
    let endpoint = Endpoint {
        timeout: Duration::from_millis(300),
        ..Endpoint::new(&http, &base, None)
    };
    let (npm, token, none) = (
        builtin("npm").unwrap(),
        SecretString::from(NPM),
        BTreeSet::new(),
    );
    let finding = npm.probe_at(&endpoint, &token, &none, now()).await;
    assert_eq!((finding.status, finding.partial), (Status::Live, true));
    assert!(finding.detail.unwrap().ends_with("no answer in time"));
    // Of a token that is not live no more is asked.
    for first in [says(200, "", "{}"), Say::status(401), Say::status(500)] {
        let listener = Listener::start([first]);
        let finding = probed("npm", &listener.url("/"), NPM).await;
        assert!(!finding.status.is_live());
        assert_eq!(listener.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_body_is_read_to_64_kib() {
    let flood = Listener::start([Say::Flood]);
    let finding = probed("github", &flood.url("/"), GITHUB).await;
    let detail = finding.detail.unwrap();
    assert_eq!(
        (finding.status, detail.as_str()),
        (Status::Error, "its answer is too long (HTTP 200)")
    );
    let body = |filler: usize| format!("{{\"login\":\"ada\",\"x\":\"{}\"}}", "x".repeat(filler));
    let brim = PROBE_BODY - body(0).len();
    let listener = Listener::start([says(200, "", &body(brim)), says(200, "", &body(brim + 1))]);
    let whole = probed("github", &listener.url("/"), GITHUB).await;
    assert_eq!(whole.status, Status::Live);
    let cut = probed("github", &listener.url("/"), GITHUB).await;
    assert_eq!(cut.status, Status::Error);
}

#[tokio::test]
async fn an_answer_that_repeats_the_token_leaves_nothing_of_it() {
    for (status, body) in [
        (200, format!("{{\"login\":\"{GITHUB}\"}}")),
        (200, format!("{{\"login\":\"user of {GITHUB}\"}}")),
        (
            401,
            format!("{{\"message\":\"Bad credentials: {GITHUB}\"}}"),
        ),
        (418, format!("{{\"message\":\"{GITHUB}\"}}")),
        (500, GITHUB.to_owned()),
    ] {
        let headers: &'static str = format!("X-OAuth-Scopes: repo, {GITHUB}\r\n").leak();
        let listener = Listener::start([says(status, headers, &body)]);
        let finding = probed("github", &listener.url("/"), GITHUB).await;
        assert_eq!(finding.account, None);
        assert_eq!(finding.status.is_live(), status == 200, "{finding:?}");
    }
}

#[tokio::test]
async fn what_looks_like_no_token_of_the_provider_is_not_sent_and_not_quoted() {
    let listener = Listener::start([Say::status(200)]);
    for (provider, token, expected) in [
        (
            "gitlab",
            "canary-canary-canary\nHost: x",
            "it holds a line break",
        ),
        ("gitlab", "canary-canary-canary\0", "it holds a NUL"),
        ("gitlab", "", "it is empty"),
        ("slack", TOKEN, "it does not begin with `xox` or `xapp-`"),
    ] {
        let finding = probed(provider, &listener.url("/"), token).await;
        let detail = format!("it is not sent, as it is no token of this provider: {expected}");
        assert_eq!(finding, Finding::new(Status::Error, now()).because(detail));
    }
    assert_eq!(listener.seen().len(), 0);
}

#[tokio::test]
async fn the_control_finds_an_issuer_that_takes_anything() {
    let http = Http::default();
    for (provider, say, expected) in [
        ("npm", says(200, "", "{}"), Ok(true)),
        ("npm", says(401, "", ""), Ok(true)),
        (
            "npm",
            says(200, "", "{\"username\":\"anybody\"}"),
            Ok(false),
        ),
        (
            "cargo",
            says(
                403,
                "",
                "{\"errors\":[{\"detail\":\"this action can only be performed on the crates.io website\"}]}",
            ),
            Ok(false),
        ),
        (
            "github",
            says(429, "Retry-After: 5\r\n", ""),
            Err(Status::Throttled),
        ),
        ("github", Say::Close, Err(Status::Error)),
    ] {
        let listener = Listener::start([say]);
        let base = HttpUrl::parse(&listener.url("/")).unwrap();
        let endpoint = Endpoint::new(&http, &base, None);
        let control = builtin(provider).unwrap().control(&endpoint, now()).await;
        assert_eq!(
            control.map_err(|finding| finding.status),
            expected,
            "{provider}"
        );
        let garbage = builtin(provider).unwrap().control.clone().unwrap();
        assert!(listener.wait_for(1)[0].headers.contains(&garbage));
    }
    let base = HttpUrl::parse("http://127.0.0.1:9/").unwrap();
    let control = builtin("opaque")
        .unwrap()
        .control(&Endpoint::new(&http, &base, None), now())
        .await;
    assert_eq!(control.unwrap_err().status, Status::NotImplemented);
}

#[tokio::test]
async fn a_provider_without_an_issuer_sends_nothing() {
    let listener = Listener::start([Say::status(200)]);
    for name in ["none", "opaque", "x509"] {
        let finding = probed(name, &listener.url("/"), "no-certificate").await;
        assert!(!finding.status.is_live(), "{name}: {finding:?}");
    }
    assert_eq!(listener.seen().len(), 0);
}
