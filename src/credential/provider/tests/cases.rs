use std::collections::BTreeSet;

use proptest::prelude::*;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use super::{
    super::table::{Meaning, Via},
    *,
};
use crate::credential::finding::{Provenance, Status};

/// A text in every answer of an issuer that no finding may hold.
const CANARY: &str = "upstream canary";

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Page {
    /// A page whose cases hold here too.
    extends: Option<String>,
    case: Vec<Case>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// What it answers to a token that nobody has.
    #[serde(default)]
    garbage: bool,
    #[serde(default)]
    token: Option<String>,
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: String,
    #[serde(default)]
    wanted: BTreeSet<String>,
    expect: Expect,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    is: Status,
    /// Not said: it is not looked at.
    detail: Option<String>,
    account: Option<String>,
    scopes: Option<BTreeSet<String>>,
    expiry: Option<Timestamp>,
    from: Option<Provenance>,
    /// In seconds.
    retry_in: Option<i64>,
    issuer_time: Option<Timestamp>,
}

fn page(name: &str) -> Vec<Case> {
    let path = format!(
        "{}/src/credential/provider/cases/{name}.toml",
        env!("CARGO_MANIFEST_DIR")
    );
    #[expect(clippy::disallowed_methods, reason = "a test reads its cases")]
    let text = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("{path} is not there"));
    let page: Page = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut cases = page.case;
    if let Some(base) = page.extends {
        cases.extend(self::page(&base));
    }
    cases
}

fn found(provider: &Provider, case: &Case) -> Finding {
    let token = case.token.as_deref().unwrap_or("lorectl-token-of-a-case");
    let token = SecretString::from(token);
    let headers: Vec<(&str, &str)> = (case.headers.iter())
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let answer = answer(case.status, &headers, &case.body, &token);
    provider.judge(&answer, &case.wanted, now())
}

fn holds(provider: &Provider, case: &Case) -> Result<(), String> {
    let finding = found(provider, case);
    let said = Expect {
        is: finding.status,
        detail: (case.expect.detail.as_ref()).and(finding.detail.clone()),
        account: finding.account.clone(),
        scopes: finding.scopes.clone(),
        expiry: finding.expiry.map(|expiry| expiry.at),
        from: finding.expiry.map(|expiry| expiry.from),
        retry_in: finding.retry_at.map(|at| at.seconds_since(now())),
        issuer_time: finding.issuer_time,
    };
    if said == case.expect {
        return Ok(());
    }
    Err(format!(
        "{}:\n{:#?}\nis not\n{said:#?}",
        case.name, case.expect
    ))
}

#[test]
fn every_case_of_every_provider_holds() {
    for (name, provider) in asked() {
        let cases = page(name);
        for case in &cases {
            holds(provider, case).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
        }
        let has = |test: fn(&Case) -> bool| cases.iter().any(test);
        assert!(has(|case| case.expect.is.is_live()), "{name}: none is live");
        assert!(has(|case| case.expect.is.is_dead()), "{name}: none is dead");
        if provider.scopes.is_some() {
            let under = |case: &Case| case.expect.is == Status::LiveUnderScoped;
            assert!(has(under), "{name}: none is under-scoped");
        }
        for rule in &provider.throttle.reset {
            let hint = |case: &Case| {
                (case.headers.keys()).any(|name| name.eq_ignore_ascii_case(&rule.header))
                    && case.expect.is == Status::Throttled
            };
            assert!(cases.iter().any(hint), "{name}: no case of {}", rule.header);
        }
    }
}

#[test]
fn without_any_one_verdict_a_case_fails() {
    for (name, provider) in asked() {
        let cases = page(name);
        for index in 0..provider.verdicts.len() {
            let mut mutant = provider.clone();
            let gone = mutant.verdicts.remove(index);
            let noticed = cases.iter().any(|case| holds(&mutant, case).is_err());
            assert!(noticed, "{name}: nobody misses {gone:#?}");
        }
    }
}

#[test]
fn without_any_one_rule_of_expiry_or_throttling_a_case_fails() {
    for (name, provider) in asked() {
        let cases = page(name);
        let noticed = |mutant: &Provider| cases.iter().any(|case| holds(mutant, case).is_err());
        for index in 0..provider.expiry.len() {
            let mut mutant = provider.clone();
            let gone = mutant.expiry.remove(index);
            assert!(noticed(&mutant), "{name}: nobody misses {gone:?}");
        }
        for index in 0..provider.throttle.reset.len() {
            let mut mutant = provider.clone();
            let gone = mutant.throttle.reset.remove(index);
            assert!(noticed(&mutant), "{name}: nobody misses {gone:?}");
        }
        for mutant in [
            Provider {
                scopes: None,
                ..provider.clone()
            },
            Provider {
                account: None,
                ..provider.clone()
            },
        ] {
            assert!(mutant == *provider || noticed(&mutant), "{name}");
        }
    }
}

#[test]
fn garbage_is_never_live() {
    for (name, provider) in asked() {
        let cases: Vec<Case> = page(name).into_iter().filter(|case| case.garbage).collect();
        assert!(!cases.is_empty(), "{name}: no case of garbage");
        for case in cases {
            let finding = found(provider, &case);
            assert!(!finding.status.is_live(), "{name}: {}", case.name);
        }
        let control = SecretString::from(provider.control.as_deref().unwrap());
        assert_eq!(provider.check_format(&control), Ok(()), "{name}");
    }
}

#[test]
fn what_any_server_can_answer_says_nothing_of_a_token() {
    let token = SecretString::from("lorectl-token-of-a-case");
    let html = "<!DOCTYPE html><html><body>Bad credentials: invalid token, expired</body></html>";
    for (name, provider) in asked() {
        for (status, headers, body, detail) in [
            (200, &[][..], html, "a page of HTML (HTTP 200)"),
            (
                200,
                &[("Content-Type", "text/html")],
                "Sign in",
                "(HTTP 200)",
            ),
            (401, &[], html, "a page of HTML (HTTP 401)"),
            (403, &[], html, "a page of HTML (HTTP 403)"),
            (200, &[], "{\"login\":", "(HTTP 200)"),
            (200, &[], "null", "(HTTP 200)"),
            (200, &[], "[]", "(HTTP 200)"),
            (200, &[], "\"ok\"", "(HTTP 200)"),
            (204, &[], "", "(HTTP 204)"),
            (
                302,
                &[("Location", "https://elsewhere.example/")],
                "",
                "a redirect",
            ),
            (404, &[], "not found", "(HTTP 404)"),
            (500, &[], "{}", "the issuer fails (HTTP 500)"),
            (502, &[], html, "the issuer fails (HTTP 502)"),
        ] {
            let finding = provider.judge(
                &answer(status, headers, body, &token),
                &BTreeSet::new(),
                now(),
            );
            assert_eq!(finding.status, Status::Error, "{name}: {status} {body}");
            let said = finding.detail.unwrap();
            assert!(said.contains(detail), "{name}: {status} {body}: {said}");
        }
        let finding = provider.judge(&answer(429, &[], html, &token), &BTreeSet::new(), now());
        assert_eq!(finding.status, Status::Throttled, "{name}");
        let wait = finding.retry_at.unwrap().seconds_since(now());
        assert_eq!(wait, 60, "{name}");
    }
}

#[test]
fn an_answer_that_was_cut_is_no_verdict_of_its_json() {
    let token = SecretString::from("lorectl-token-of-a-case");
    for (name, provider) in asked() {
        for case in page(name) {
            let mut answer = answer(case.status, &[], &case.body, &token);
            answer.whole = false;
            let finding = provider.judge(&answer, &BTreeSet::new(), now());
            let blank = case.body.is_empty();
            assert!(blank || !finding.status.is_live(), "{name}: {}", case.name);
        }
    }
}

#[test]
fn a_403_is_never_revoked() {
    let token = SecretString::from("lorectl-token-of-a-case");
    for (name, provider) in asked() {
        for verdict in &provider.verdicts {
            let revokes = verdict.is == Meaning::Revoked && verdict.status.contains(&403);
            assert!(!revokes, "{name}: {verdict:?}");
        }
        for body in [
            "",
            "{}",
            "{\"message\":\"Forbidden\"}",
            "{\"error\":\"forbidden\"}",
            "revoked",
        ] {
            let finding = provider.judge(&answer(403, &[], body, &token), &BTreeSet::new(), now());
            assert_ne!(finding.status, Status::Revoked, "{name}: {body}");
        }
    }
}

/// Puts the canary into every sentence and object of a body.
fn planted(value: &mut Value) {
    match value {
        Value::String(text) if text.contains(' ') => text.push_str(CANARY),
        Value::Array(items) => items.iter_mut().for_each(planted),
        Value::Object(fields) => {
            fields.values_mut().for_each(planted);
            fields.insert("extra".to_owned(), Value::from(CANARY));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn no_finding_carries_a_text_of_the_issuer_or_the_token() {
    let mut seen = 0;
    for (name, provider) in asked() {
        for mut case in page(name) {
            if let Ok(mut body) = serde_json::from_str::<Value>(&case.body) {
                planted(&mut body);
                case.body = body.to_string();
                seen += usize::from(case.body.contains(CANARY));
            } else {
                case.body
                    .push_str(if case.body.is_empty() { "" } else { CANARY });
            }
            let finding = json(&found(provider, &case));
            assert!(!finding.contains(CANARY), "{name}: {finding}");
            let token = case.token.as_deref().unwrap_or("lorectl-token-of-a-case");
            assert!(!finding.contains(token), "{name}: {finding}");
        }
    }
    assert!(seen > 60, "only {seen} bodies took a canary");
}

#[test]
fn tables_are_what_a_spec_may_say() {
    for (name, text) in TABLES {
        let raw: RawProvider =
            toml::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let declared = BTreeMap::from([((*name).to_owned(), raw)]);
        assert_eq!(check(name, &declared), [], "{name}");
        assert_eq!(
            *resolve(name, &declared).unwrap(),
            *builtin(name).unwrap(),
            "{name}"
        );
    }
    assert_eq!(names().count(), TABLES.len());
}

#[test]
fn a_provider_survives_its_writing() {
    for name in names() {
        let provider = builtin(name).unwrap();
        let text = serde_json::to_string(provider).unwrap();
        assert_eq!(
            serde_json::from_str::<Provider>(&text).unwrap(),
            *provider,
            "{name}"
        );
    }
}

#[test]
fn who_revokes_at_once_and_who_asks_for_more() {
    let at_once: Vec<&str> = (names())
        .filter(|name| builtin(name).unwrap().revokes_at_once())
        .collect();
    assert_eq!(at_once, ["gitlab"]);
    let more: Vec<(&str, Vec<&str>)> = (asked())
        .map(|(name, provider)| (name, provider.asks_for()))
        .filter(|(_, more)| !more.is_empty())
        .collect();
    let expected = [
        ("dockerhub", vec!["user"]),
        ("oauth2", vec!["client_id", "client_secret"]),
    ];
    assert_eq!(more, expected);
}

#[test]
fn a_token_that_nobody_can_be_asked_about() {
    let none = builtin("none").unwrap();
    let opaque = builtin("opaque").unwrap();
    assert_eq!(none.probe, Via::None);
    let password = SecretString::from("correct horse");
    let finding = none.judge_alone(&password, now()).unwrap();
    assert_eq!(finding, Finding::new(Status::NotImplemented, now()));
    for (token, status, expiry) in [
        ("plain", Status::NotImplemented, None),
        (
            "eyJhbGciOiJub25lIn0.eyJleHAiOjE3NjcyMjkyMDB9.c2ln",
            Status::NotImplemented,
            Some("2026-01-01T01:00:00Z"),
        ),
        (
            "eyJhbGciOiJub25lIn0.eyJleHAiOjE3NjcyMjIwMDB9.c2ln",
            Status::Expired,
            Some("2025-12-31T23:00:00Z"),
        ),
    ] {
        let finding = opaque
            .judge_alone(&SecretString::from(token), now())
            .unwrap();
        assert_eq!(finding.status, status, "{token}");
        let at = finding.expiry.map(|expiry| expiry.at.to_string());
        assert_eq!(at.as_deref(), expiry, "{token}");
    }
    let (_, github) = asked().find(|(name, _)| *name == "github").unwrap();
    assert_eq!(github.judge_alone(&password, now()), None);
}

proptest! {
    #[test]
    fn no_answer_is_too_odd_and_none_by_chance_is_live(
        status in 100_u16..=599,
        header in "[ -~]{0,40}",
        body in "\\PC{0,80}",
    ) {
        let token = SecretString::from("lorectl-token-of-a-case");
        for (name, provider) in asked() {
            let headers: Vec<(&str, &str)> = [
                "date", "retry-after", "x-oauth-scopes", "x-ratelimit-reset", "ratelimit-reset",
                "github-authentication-token-expiration", "content-type",
            ].into_iter().map(|name| (name, header.as_str())).collect();
            let finding = provider.judge(&answer(status, &headers, &body, &token), &BTreeSet::new(), now());
            let blank = name == "sentry" && body.trim().is_empty();
            prop_assert!(blank || !finding.status.is_live(), "{name}: {finding:?}");
            if let Some(at) = finding.retry_at {
                prop_assert!(at > now() && at.seconds_since(now()) <= 86_400, "{name}: {at}");
            }
        }
    }
}
