use std::collections::BTreeSet;

use proptest::prelude::*;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use super::{
    super::table::{Detail, ExpiryRule, Meaning, Verdict, Via},
    *,
};
use crate::credential::finding::{Provenance, Status};

/// A text in every answer of an issuer that no finding may hold.
const CANARY: &str = "upstream canary";

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Page {
    /// A page that holds here too.
    extends: Option<String>,
    /// Bodies that several cases have, by name.
    bodies: BTreeMap<String, String>,
    /// Why there is no case of a status.
    absent: BTreeMap<Status, String>,
    formats: Formats,
    case: Vec<Case>,
}

/// What looks like a token of the provider, and what does not.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Formats {
    fit: Vec<String>,
    unfit: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    name: String,
    /// What it answers to a token that nobody has.
    #[serde(default)]
    garbage: bool,
    /// What no server of that provider is known to answer.
    #[serde(default, rename = "foreign")]
    _foreign: bool,
    /// The providers for which it does not hold.
    #[serde(default)]
    except: BTreeSet<String>,
    /// It does not answer.
    #[serde(default)]
    pub timeout: bool,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    /// The name of its body, in place of one.
    #[serde(default)]
    of: Option<String>,
    #[serde(default)]
    wanted: BTreeSet<String>,
    /// What is answered to the second request.
    #[serde(default)]
    detail: Option<Second>,
    pub expect: Expect,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Second {
    status: u16,
    body: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
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
    #[serde(default)]
    partial: bool,
}

fn page(name: &str) -> Page {
    let path = format!(
        "{}/src/credential/provider/cases/{name}.toml",
        env!("CARGO_MANIFEST_DIR")
    );
    #[expect(clippy::disallowed_methods, reason = "a test reads its cases")]
    let text = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("{path} is not there"));
    let mut page: Page = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    for case in &mut page.case {
        if let Some(body) = &case.of {
            case.body.clone_from(&page.bodies[body]);
        }
    }
    if let Some(base) = page.extends.take() {
        let base = self::page(&base);
        page.case.extend(base.case);
        for (status, why) in base.absent {
            if page.case.iter().all(|case| case.expect.is != status) {
                page.absent.entry(status).or_insert(why);
            }
        }
        if page.formats.fit.is_empty() {
            page.formats = base.formats;
        }
    }
    page
}

/// The cases of a provider, those of all included, in which there is an answer.
fn cases(name: &str) -> Vec<Case> {
    let all = page(name).case.into_iter().chain(page("any").case);
    all.filter(|case| !case.timeout && !case.except.contains(name))
        .collect()
}

/// The cases of any provider in which there is no answer.
pub fn silent() -> Vec<Case> {
    let all = page("any").case.into_iter();
    all.filter(|case| case.timeout).collect()
}

fn found(provider: &Provider, case: &Case) -> Finding {
    let token = case.token.as_deref().unwrap_or("lorectl-token-of-a-case");
    let token = SecretString::from(token);
    let headers: Vec<(&str, &str)> = (case.headers.iter())
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let first = answer(case.status, &headers, &case.body, &token);
    let finding = provider.judge(&first, &case.wanted, now());
    match &case.detail {
        Some(second) if finding.status.is_live() => {
            let second = answer(second.status, &[], &second.body, &token);
            provider.add_detail(finding, &second, &case.wanted)
        }
        Some(_) | None => finding,
    }
}

impl Case {
    /// Whether that was to be found.
    ///
    /// # Errors
    /// What was to be found, and was.
    pub fn holds(&self, finding: &Finding) -> Result<(), String> {
        let said = Expect {
            is: finding.status,
            detail: (self.expect.detail.as_ref()).and(finding.detail.clone()),
            account: finding.account.clone(),
            scopes: finding.scopes.clone(),
            expiry: finding.expiry.map(|expiry| expiry.at),
            from: finding.expiry.map(|expiry| expiry.from),
            retry_in: finding.retry_at.map(|at| at.seconds_since(now())),
            issuer_time: finding.issuer_time,
            partial: finding.partial,
        };
        if said == self.expect {
            return Ok(());
        }
        Err(format!(
            "{}:\n{:#?}\nis not\n{said:#?}",
            self.name, self.expect
        ))
    }
}

/// All that is wrong with a provider by its page.
fn wrong(provider: &Provider, page: &Page, cases: &[Case]) -> Vec<String> {
    let mut wrong: Vec<String> = (cases.iter())
        .filter_map(|case| case.holds(&found(provider, case)).err())
        .collect();
    for (values, fits) in [(&page.formats.fit, true), (&page.formats.unfit, false)] {
        for value in values {
            let checked = provider.check_format(&SecretString::from(value.as_str()));
            if checked.is_ok() != fits {
                wrong.push(format!("{value}: {checked:?}"));
            }
        }
    }
    wrong
}

#[test]
fn every_case_of_every_provider_holds() {
    for (name, provider) in asked() {
        let (page, cases) = (page(name), cases(name));
        let wrong = wrong(provider, &page, &cases);
        assert!(wrong.is_empty(), "{name}: {}", wrong.join("\n"));
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
fn a_page_has_a_case_of_each_status_or_says_why_not() {
    for (name, _) in asked() {
        let (page, cases) = (page(name), cases(name));
        for status in [
            Status::Live,
            Status::LiveUnderScoped,
            Status::Expired,
            Status::Revoked,
            Status::Rejected,
            Status::Throttled,
            Status::Error,
        ] {
            let has = cases.iter().any(|case| case.expect.is == status);
            let why = page.absent.get(&status);
            assert!(has || why.is_some(), "{name}: no case of {status}");
            assert!(!has || why.is_none(), "{name}: {status} has a case");
        }
        assert!(cases.iter().any(|case| case.garbage), "{name}: no garbage");
        assert!(!page.formats.fit.is_empty(), "{name}: no value that fits");
    }
}

/// A provider with one thing of the list less, each time another.
fn without<T: std::fmt::Debug>(
    provider: &Provider,
    mutants: &mut Vec<(String, Provider)>,
    list: fn(&mut Provider) -> &mut Vec<T>,
) {
    for index in 0..list(&mut provider.clone()).len() {
        let mut mutant = provider.clone();
        let gone = list(&mut mutant).remove(index);
        mutants.push((format!("{gone:?}"), mutant));
    }
}

/// The same of each rule's own list.
fn within<T, U: std::fmt::Debug>(
    provider: &Provider,
    mutants: &mut Vec<(String, Provider)>,
    rules: fn(&mut Provider) -> &mut Vec<T>,
    list: fn(&mut T) -> &mut Vec<U>,
    least: usize,
) {
    for rule in 0..rules(&mut provider.clone()).len() {
        for index in 0..list(&mut rules(&mut provider.clone())[rule]).len() {
            let mut mutant = provider.clone();
            let own = list(&mut rules(&mut mutant)[rule]);
            if own.len() >= least {
                let gone = own.remove(index);
                mutants.push((format!("{gone:?} of rule {rule}"), mutant));
            }
        }
    }
}

/// Every provider that lacks one thing of its table.
fn mutants(provider: &Provider) -> Vec<(String, Provider)> {
    let mut all = Vec::new();
    without(provider, &mut all, |one| &mut one.verdicts);
    without(provider, &mut all, |one| &mut one.expiry);
    without(provider, &mut all, |one| &mut one.throttle.reset);
    without(provider, &mut all, |one| &mut one.format);
    // The last of a list of statuses or forms would be any.
    let verdicts: fn(&mut Provider) -> &mut Vec<Verdict> = |one| &mut one.verdicts;
    within(provider, &mut all, verdicts, |one| &mut one.status, 2);
    within(provider, &mut all, verdicts, |one| &mut one.headers, 1);
    within(provider, &mut all, verdicts, |one| &mut one.json, 1);
    let expiry: fn(&mut Provider) -> &mut Vec<ExpiryRule> = |one| &mut one.expiry;
    within(provider, &mut all, expiry, |one| &mut one.formats, 2);
    within(provider, &mut all, expiry, |one| &mut one.never, 1);
    for index in 0..provider.verdicts.len() {
        let lacks = provider.verdicts[index].lacks.iter();
        for gone in lacks {
            let mut mutant = provider.clone();
            mutant.verdicts[index].lacks.remove(gone);
            all.push((format!("lacks {gone}"), mutant));
        }
        if provider.verdicts[index].text.is_some() {
            let mut mutant = provider.clone();
            mutant.verdicts[index].text = None;
            all.push((format!("the text of verdict {index}"), mutant));
        }
        if provider.verdicts[index].detail.is_some() {
            let mut mutant = provider.clone();
            mutant.verdicts[index].detail = None;
            all.push((format!("the detail of verdict {index}"), mutant));
        }
    }
    for (index, rule) in provider.throttle.reset.iter().enumerate() {
        if rule.remaining.is_some() {
            let mut mutant = provider.clone();
            mutant.throttle.reset[index].remaining = None;
            all.push((format!("what must be 0 for {}", rule.header), mutant));
        }
    }
    let mut mutant = provider.clone();
    mutant.throttle.wait.0 += 1;
    all.push(("how long to wait".to_owned(), mutant));
    let mut mutant = provider.clone();
    mutant.scopes = None;
    all.push(("the scopes".to_owned(), mutant));
    let mut mutant = provider.clone();
    mutant.account = None;
    all.push(("the account".to_owned(), mutant));
    let rule = provider.scopes.iter();
    for (scope, others) in rule.flat_map(|rule| &rule.includes) {
        for other in others {
            let mut mutant = provider.clone();
            let rule = mutant.scopes.as_mut().unwrap();
            rule.includes.get_mut(scope).unwrap().remove(other);
            all.push((format!("that {scope} includes {other}"), mutant));
        }
    }
    all.extend(mutants_of_detail(provider));
    all.retain(|(_, mutant)| mutant != provider);
    all
}

fn mutants_of_detail(provider: &Provider) -> Vec<(String, Provider)> {
    let mut all = Vec::new();
    let Some(detail) = &provider.detail else {
        return all;
    };
    let mut add = |what: String, change: &dyn Fn(&mut Detail)| {
        let mut mutant = provider.clone();
        change(mutant.detail.as_mut().unwrap());
        all.push((what, mutant));
    };
    for index in 0..detail.own.len() {
        add(format!("own {index}"), &|one| drop(one.own.remove(index)));
    }
    for index in 0..detail.expiry.len() {
        add(format!("expiry {index}"), &|one| {
            one.expiry.remove(index);
        });
    }
    add("the list".to_owned(), &|one| one.list.clear());
    add("the scopes of the row".to_owned(), &|one| one.scopes = None);
    if let Some(rule) = &detail.scopes {
        for index in 0..rule.each.len() {
            add(format!("each {index}"), &|one| {
                one.scopes.as_mut().unwrap().each.remove(index);
            });
        }
        for index in 0..rule.unlisted.len() {
            add(format!("unlisted {index}"), &|one| {
                one.scopes.as_mut().unwrap().unlisted.remove(index);
            });
        }
        for scope in rule.includes.keys() {
            add(format!("that {scope} includes others"), &|one| {
                one.scopes.as_mut().unwrap().includes.remove(scope);
            });
        }
    }
    let mut mutant = provider.clone();
    mutant.detail = None;
    all.push(("the second request".to_owned(), mutant));
    all
}

#[test]
fn without_any_one_rule_a_case_fails() {
    let mut unmissed = Vec::new();
    for (name, provider) in asked() {
        let (page, cases) = (page(name), cases(name));
        for (gone, mutant) in mutants(provider) {
            if wrong(&mutant, &page, &cases).is_empty() {
                unmissed.push(format!("{name}: nobody misses {gone}"));
            }
        }
    }
    assert!(unmissed.is_empty(), "{}", unmissed.join("\n"));
}

#[test]
fn garbage_is_never_live() {
    for (name, provider) in asked() {
        for case in cases(name).into_iter().filter(|case| case.garbage) {
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
        for case in cases(name) {
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
        for mut case in cases(name) {
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
        ("oauth2_client", vec!["client_id"]),
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
