//! What the tables built in do not show of the engine.

use std::collections::BTreeSet;

use secrecy::SecretString;

use super::*;
use crate::credential::finding::Status;

fn provider(text: &str) -> Provider {
    toml::from_str::<RawProvider>(text).unwrap().over(None)
}

fn judged(provider: &Provider, status: u16, headers: &[(&str, &str)], body: &str) -> Finding {
    let token = SecretString::from("lorectl-token-of-a-case");
    provider.judge(
        &answer(status, headers, body, &token),
        &BTreeSet::new(),
        now(),
    )
}

#[test]
fn the_first_verdict_that_fits_decides_and_all_its_conditions_count() {
    let provider = provider(
        "verdicts = [
            { status = [400], headers = [{ name = \"X-Why\", contains = \"OLD\" }], is = \"expired\" },
            { status = [400], headers = [{ name = \"x-why\", is = \"gone\" }], json = [{ at = \"/n\", is = 7 }], is = \"revoked\" },
            { status = [400], headers = [{ name = \"x-why\" }], is = \"rejected\" },
            { text = \"all is well\", is = \"live\" },
        ]",
    );
    for (status, headers, body, expected) in [
        (
            400,
            &[("x-why", "too old by far")][..],
            "{}",
            Status::Expired,
        ),
        (401, &[("x-why", "too old by far")], "{}", Status::Error),
        (400, &[("X-WHY", " Gone ")], "{\"n\":7}", Status::Revoked),
        (400, &[("X-WHY", "Gone")], "{\"n\":\"7\"}", Status::Rejected),
        (400, &[("X-WHY", "Gone")], "{\"n\":7.5}", Status::Rejected),
        (
            400,
            &[("x-why", "gone away")],
            "{\"n\":7}",
            Status::Rejected,
        ),
        (400, &[], "{\"n\":7}", Status::Error),
        (200, &[], "All is WELL.", Status::Live),
    ] {
        let found = judged(&provider, status, headers, body).status;
        assert_eq!(found, expected, "{status} {headers:?} {body}");
    }
}

#[test]
fn an_end_that_is_none_is_not_an_unreadable_one() {
    let provider = provider(
        "verdicts = [{ json = [{ at = \"/ok\", exists = true }], is = \"live\" }]
         expiry = [
            { header = \"x-end\", formats = [\"millis\", \"http\"], never = [\"never\"] },
            { json = \"/end\", formats = [\"epoch\"], never = [\"0\"] },
         ]",
    );
    for (headers, body, expected) in [
        (
            &[("x-end", "1767366245000")][..],
            "{\"ok\":1}",
            Ok(Some("2026-01-02T15:04:05Z")),
        ),
        (
            &[("x-end", "Fri, 02 Jan 2026 15:04:05 GMT")],
            "{\"ok\":1}",
            Ok(Some("2026-01-02T15:04:05Z")),
        ),
        (&[("x-end", "never")], "{\"ok\":1}", Ok(None)),
        (
            &[("x-end", "")],
            "{\"ok\":1,\"end\":1767366245}",
            Ok(Some("2026-01-02T15:04:05Z")),
        ),
        (&[], "{\"ok\":1,\"end\":0}", Ok(None)),
        (&[], "{\"ok\":1,\"end\":null}", Ok(None)),
        (&[], "{\"ok\":1}", Ok(None)),
        (
            &[("x-end", "perhaps")],
            "{\"ok\":1,\"end\":1767366245}",
            Err("the header `x-end`"),
        ),
        (&[], "{\"ok\":1,\"end\":\"\"}", Err("`/end` of the answer")),
        (&[], "{\"ok\":1,\"end\":true}", Err("`/end` of the answer")),
        (&[], "{\"ok\":1,\"end\":-1}", Err("`/end` of the answer")),
    ] {
        let finding = judged(&provider, 200, headers, body);
        let end = finding.expiry.map(|expiry| expiry.at.to_string());
        match expected {
            Ok(at) => assert_eq!(
                (finding.status, end.as_deref()),
                (Status::Live, at),
                "{headers:?} {body}"
            ),
            Err(place) => {
                assert_eq!(
                    (finding.status, end),
                    (Status::Error, None),
                    "{headers:?} {body}"
                );
                assert!(finding.detail.unwrap().ends_with(place), "{place}");
            }
        }
    }
}

#[test]
fn a_refused_token_has_expired_by_the_issuer_s_clock_if_it_says_it() {
    let provider = provider(
        "verdicts = [{ status = [401], is = \"rejected\" }]
         expiry = [{ header = \"x-end\", formats = [\"rfc3339\"] }]",
    );
    let end = ("x-end", "2026-01-01T00:30:00Z");
    for (headers, expected) in [
        (&[end][..], Status::Rejected),
        (
            &[end, ("date", "Thu, 01 Jan 2026 01:00:00 GMT")],
            Status::Expired,
        ),
        (&[("x-end", "2025-12-31T23:00:00Z")], Status::Expired),
        (
            &[
                ("x-end", "2025-12-31T23:00:00Z"),
                ("date", "Wed, 31 Dec 2025 22:00:00 GMT"),
            ],
            Status::Rejected,
        ),
        (&[("x-end", "perhaps")], Status::Rejected),
    ] {
        assert_eq!(
            judged(&provider, 401, headers, "").status,
            expected,
            "{headers:?}"
        );
    }
}

#[test]
fn scopes_that_are_no_list_are_not_known() {
    let provider = provider(
        "verdicts = [{ json = [{ at = \"/ok\", exists = true }], is = \"live\" }]
         scopes = { json = \"/scopes\" }
         account = \"/who\"",
    );
    for (scopes, expected) in [
        ("\"a b,c\"", Some(vec!["a", "b", "c"])),
        ("[\"a\",\"lorectl-token-of-a-case\"]", Some(vec!["a"])),
        ("[]", Some(vec![])),
        ("[1]", None),
        ("{\"a\":1}", None),
        ("7", None),
        ("null", None),
    ] {
        let finding = judged(
            &provider,
            200,
            &[],
            &format!("{{\"ok\":1,\"who\":[],\"scopes\":{scopes}}}"),
        );
        let found = finding
            .scopes
            .map(|scopes| scopes.into_iter().collect::<Vec<_>>());
        assert_eq!(
            found,
            expected.map(|all| all.into_iter().map(str::to_owned).collect()),
            "{scopes}"
        );
        assert_eq!(finding.account, None);
    }
}
