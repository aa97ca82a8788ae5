//! Secrets that were written into a value by mistake: in the userinfo or the query of a URL.

use std::ops::Range;

/// Names of query parameters and of their parts that carry a secret.
const PARAMETERS: [&str; 8] = [
    "token",
    "password",
    "passwd",
    "secret",
    "apikey",
    "api_key",
    "api-key",
    "private_key",
];

/// The bytes of `text` that look like a secret in a URL, in order and without overlap.
///
/// A password in any URL's userinfo is one (RFC 3986, 3.2.1), so is any userinfo of `http` and
/// `https`, where a token often stands alone. The name in `ssh://git@host` is none.
pub fn in_urls(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find("://")) {
        let (scheme_end, start) = (from + at, from + at + 3);
        let rest = text.get(start..).unwrap_or_default();
        let end = rest
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`'))
            .unwrap_or(rest.len());
        let url = rest.get(..end).unwrap_or_default();
        let authority = url.find(['/', '?', '#']).unwrap_or(url.len());
        if let Some(host) = url.get(..authority).and_then(|text| text.rfind('@')) {
            let userinfo = url.get(..host).unwrap_or_default();
            let web = text
                .get(..scheme_end)
                .is_some_and(|before| before.ends_with("http") || before.ends_with("https"));
            if !userinfo.is_empty() && (web || userinfo.contains(':')) {
                found.push(start..start + host);
            }
        }
        if let Some(query) = url.find('?') {
            let mut at = start + query + 1;
            for pair in url.get(query + 1..).unwrap_or_default().split(['&', '#']) {
                if let Some((name, value)) = pair.split_once('=') {
                    let name = name.to_ascii_lowercase();
                    if !value.is_empty() && PARAMETERS.iter().any(|word| name.contains(word)) {
                        let value_at = at + pair.len() - value.len();
                        found.push(value_at..value_at + value.len());
                    }
                }
                at += pair.len() + 1;
            }
        }
        from = start + end;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_secret_in_a_url_is_found_and_nothing_else() {
        let secret = |text: &str| {
            in_urls(text)
                .into_iter()
                .map(|range| text[range].to_owned())
                .collect::<Vec<_>>()
        };
        for (text, expected) in [
            ("https://joe:pw@host/x", vec!["joe:pw"]),
            ("--url=ftp://joe:pw@host", vec!["joe:pw"]),
            ("https://ghp_1234@github.com/a.git", vec!["ghp_1234"]),
            ("postgres://u:p@h/d postgres://v:q@h", vec!["u:p", "v:q"]),
            ("https://h/?a=1&private_token=xyz#f", vec!["xyz"]),
            ("ssh://git@host/x", vec![]),
            ("git@host:x", vec![]),
            ("https://host/a@b?x=1", vec![]),
            ("https://host:8080/", vec![]),
            ("user:pass@host", vec![]),
            ("://", vec![]),
            ("https://@host", vec![]),
        ] {
            assert_eq!(secret(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_found_lies_within_the_text(text in "(https?://|[a-z:@?&=/# ]|é){0,12}") {
            let mut last = 0;
            for range in in_urls(&text) {
                prop_assert!(last <= range.start && text.get(range.clone()).is_some());
                last = range.end;
            }
        }
    }
}
