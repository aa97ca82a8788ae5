use super::*;

fn declared(text: &str) -> BTreeMap<String, RawProvider> {
    toml::from_str(text).unwrap()
}

fn problems(text: &str) -> Vec<String> {
    let declared = declared(text);
    (declared.keys())
        .flat_map(|name| check(name, &declared))
        .map(|problem| {
            let near = problem.suggestion.unwrap_or_default();
            format!("{}: {} ({near})", problem.at, problem.message)
        })
        .collect()
}

const WHOLE: &str = "
[acme]
base_url = \"https://tokens.acme.example\"
request = { path = \"/me\", headers = { X-Token = \"{token}\" } }
verdicts = [{ status = [200], json = [{ at = \"/id\", exists = true }], is = \"live\" }]
";

#[test]
fn sound_providers() {
    for text in [
        WHOLE,
        "[acme]\nextends = \"gitlab\"\nbase_url = \"https://git.acme.example\"",
        "[gitlab]\nextends = \"gitlab\"\nbase_url = \"https://git.acme.example\"",
        "[hub]\nextends = \"dockerhub\"\nparams = { user = \"acme\" }",
        "[a]\nextends = \"b\"\n[b]\nextends = \"github\"",
        "[cert]\nprobe = \"x509\"",
        "[post]\nextends = \"oauth2\"\nrequest = { method = \"POST\", form = { token = \"{token}\", client_id = \"{client_id}\", client_secret = \"{client_secret}\" } }",
        // Asked by the bearer of another token.
        "[bearer]\nextends = \"oauth2\"\nrequest = { method = \"POST\", headers = { authorization = \"Bearer {asker}\" }, form = { token = \"{token}\" } }\nsecrets = [\"asker\"]",
    ] {
        assert_eq!(problems(text), [""; 0], "{text}");
    }
}

#[test]
fn what_is_not_said_is_as_in_the_one_that_is_extended() {
    let declared = declared(
        "[gitlab]
extends = \"gitlab\"
base_url = \"https://git.acme.example\"
verdicts = [{ status = [403], json = [{ at = \"/error\", is = \"insufficient_scope\" }], is = \"error\" }]
[child]
extends = \"gitlab\"
both_live = true",
    );
    let builtin = builtin("gitlab").unwrap();
    let ours = resolve("gitlab", &declared).unwrap();
    assert_eq!(ours.default_base_url(), Some("https://git.acme.example"));
    assert_eq!(ours.verdicts[1..], builtin.verdicts[..]);
    assert_eq!(ours.request, builtin.request);
    let child = resolve("child", &declared).unwrap();
    assert!(child.both_live() && ours.revokes_at_once());
    assert_eq!(child.verdicts, ours.verdicts);
    assert_eq!(
        resolve("github", &declared).as_deref().ok(),
        super::builtin("github")
    );
    let text = serde_json::to_string(&child).unwrap();
    assert_eq!(serde_json::from_str::<Provider>(&text).unwrap(), *child);
}

/// What is said of a table; one that is no whole file is said of one that extends `github`.
const WRONG: &[(&str, &str)] = &[
    (
        "[acme]\nextends = \"gitlb\"",
        "/extends: there is no such provider (did you mean `gitlab`?)",
    ),
    (
        "[acme]\nextends = \"zzzzzzzz\"",
        "built in are anthropic, cargo,",
    ),
    (
        "[acme]\nextends = \"acme\"",
        "/extends: it extends itself in the end",
    ),
    (
        "[\"A b\"]\nextends = \"github\"",
        ": the name of a provider is",
    ),
    ("base_url = \"ftp://x\"", "/base_url: `ftp` is not `https`"),
    (
        "base_url = \"http://169.254.169.254/\"",
        "/base_url: a request to a link-local",
    ),
    (
        "base_url = \"https://u:s3cret@x\"",
        "/base_url: the base URL holds no user",
    ),
    (
        "request = { path = \"x\", headers = { a = \"{token}\" } }",
        "/request/path: a path begins with `/`",
    ),
    (
        "request = { path = \"/{token}\", headers = { a = \"{token}\" } }",
        "/request/path: a path has no places",
    ),
    (
        "request = { path = \"/a/../b\", headers = { a = \"{token}\" } }",
        "/request/path: a path has no `.`",
    ),
    (
        "request = { headers = { \"a b\" = \"{token}\" } }",
        "/request/headers/a b: that is no name",
    ),
    (
        "request = { headers = { Host = \"x\", a = \"{token}\" } }",
        "/request/headers/Host: lorectl writes",
    ),
    (
        "request = { headers = { a = \"{token}\", b = \"{token\" } }",
        "/request/headers/b: a `{` has no `}`",
    ),
    (
        "secrets = [\"client_secret\"]",
        "/secrets/0: its request has no place for `client_secret`",
    ),
    (
        "[acme]\nextends = \"oauth2\"\nparams = { client_secret = \"x\" }",
        "/params/client_secret: that is a secret",
    ),
    (
        "detail = { request = { path = \"x\", headers = { a = \"{token}\" } }, list = \"/o\", own = [{ at = \"/k\", holds = \"ends\" }] }",
        "/detail/request/path: a path begins with `/`",
    ),
    (
        "detail = { request = { path = \"/x\", headers = { a = \"{token}\" } }, list = \"o\", own = [{ at = \"/k\", holds = \"ends\" }] }",
        "/detail/list: a JSON pointer begins with `/`",
    ),
    (
        "detail = { request = { path = \"/x\", headers = { a = \"{token}\" } }, list = \"/o\", own = [] }",
        "/detail/own: it does not say how the token's own row is known",
    ),
    (
        "detail = { request = { path = \"/x\", headers = { a = \"{token}\" } }, list = \"/o\", own = [{ at = \"k\", holds = \"ends\" }] }",
        "/detail/own/0/at: a JSON pointer begins with `/`",
    ),
    (
        "detail = { request = { path = \"/x\" }, list = \"/o\", own = [{ at = \"/k\", holds = \"ends\" }] }",
        ": its detail.request does not say where the token goes",
    ),
    (
        "request = { headers = { a = \"x\" } }",
        ": its request does not say where the token goes (write",
    ),
    (
        "request = { form = { a = \"{token}\" }, json = {} }",
        "/request/json: a request has `form` or `json`",
    ),
    (
        "verdicts = [{ is = \"revoked\" }]",
        "/verdicts/0: it has no condition",
    ),
    (
        "verdicts = [{ status = [200], is = \"live\" }]",
        "/verdicts/0: a proxy's answer would be",
    ),
    (
        "verdicts = [{ status = [20], is = \"error\" }]",
        "/verdicts/0/status/0: an HTTP status has three digits",
    ),
    (
        "verdicts = [{ status = [401], lacks = [\"a\"], is = \"rejected\" }]",
        "/verdicts/0/lacks: this goes with",
    ),
    (
        "verdicts = [{ text = \"\", is = \"rejected\" }]",
        "/verdicts/0/text: any body contains",
    ),
    (
        "verdicts = [{ blank = true, text = \"a\", is = \"rejected\" }]",
        "/verdicts/0/blank: an empty body",
    ),
    (
        "verdicts = [{ json = [{ at = \"/a\" }], is = \"live\" }]",
        "/verdicts/0/json/0: it says one of",
    ),
    (
        "verdicts = [{ json = [{ at = \"a\", exists = true }], is = \"live\" }]",
        "/verdicts/0/json/0/at: a JSON pointer begins",
    ),
    (
        "verdicts = [{ headers = [{ name = \"a\", is = \"b\", contains = \"c\" }], is = \"error\" }]",
        "/verdicts/0/headers/0: it says",
    ),
    (
        "verdicts = [{ status = [401], is = \"rejected\", detail = \"a\\nb\" }]",
        "/verdicts/0/detail: a detail is one line",
    ),
    (
        "expiry = [{ header = \"a\" }]",
        "/expiry/0: it does not say how",
    ),
    (
        "expiry = [{ jwt = true, formats = [\"date\"] }]",
        "/expiry/0: a JWT's `exp`",
    ),
    (
        "expiry = [{ header = \"a\", json = \"/a\", formats = [\"date\"] }]",
        "/expiry/0: it says one of",
    ),
    (
        "scopes = { header = \"a\", json = \"/b\" }",
        "/scopes: it says one of",
    ),
    ("account = \"login\"", "/account: a JSON pointer begins"),
    (
        "throttle = { reset = [{ header = \"a\", format = \"date\" }] }",
        "/throttle/reset/0/format: a day",
    ),
    (
        "format = [{ min = 5, max = 4 }]",
        "/format/0: nothing is that long",
    ),
    (
        "format = [{ prefix = \"a b\" }]",
        "/format/0/prefix: a prefix is of visible",
    ),
    (
        "params = { token = \"x\" }",
        "/params/token: `token` is the credential's own",
    ),
    (
        "params = { \"A\" = \"x\" }",
        "/params/A: a parameter's name",
    ),
    (
        "[acme]\nrequest = { headers = { a = \"{token}\" } }",
        ": no answer means that a token is live (add",
    ),
];

#[test]
fn what_is_wrong_is_said_with_what_helps() {
    for (text, expected) in WRONG {
        let text = if text.starts_with('[') {
            (*text).to_owned()
        } else {
            format!("[acme]\nextends = \"github\"\n{text}")
        };
        let found = problems(&text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].contains(expected), "{text}: {}", found[0]);
        assert!(!found[0].contains("s3cret"), "{}", found[0]);
    }
}

#[test]
fn a_circle_is_found_wherever_one_begins() {
    let declared = declared("[a]\nextends = \"b\"\n[b]\nextends = \"c\"\n[c]\nextends = \"a\"");
    for name in ["a", "b", "c"] {
        let problem = resolve(name, &declared).unwrap_err();
        assert_eq!(problem.message, "it extends itself in the end", "{name}");
    }
    let long: BTreeMap<String, RawProvider> = (0..20)
        .map(|n| {
            let raw = RawProvider {
                extends: Some(format!("p{}", n + 1)),
                ..RawProvider::default()
            };
            (format!("p{n}"), raw)
        })
        .collect();
    assert!(resolve("p0", &long).is_err());
}

#[test]
fn unknown_keys_are_refused() {
    for text in [
        "verdict = []",
        "request = { url = \"x\" }",
        "verdicts = [{ is = \"dead\" }]",
    ] {
        assert!(toml::from_str::<RawProvider>(text).is_err(), "{text}");
    }
}

fn undocumented(schema: &serde_json::Value, path: &str, found: &mut Vec<String>) {
    let properties = schema.get("properties").and_then(|all| all.as_object());
    for (key, property) in properties.into_iter().flatten() {
        if property.get("description").is_none() {
            found.push(format!("{path}/{key}"));
        }
    }
    let parts = schema.as_object().into_iter().flatten();
    let items = schema.as_array().into_iter().flatten();
    for part in parts.map(|(_, part)| part).chain(items) {
        undocumented(part, path, found);
    }
}

#[test]
fn every_key_says_what_it_is_for() {
    let schema = schemars::schema_for!(RawProvider).to_value();
    let mut found = Vec::new();
    undocumented(&schema, "", &mut found);
    assert_eq!(found, [""; 0]);
}
