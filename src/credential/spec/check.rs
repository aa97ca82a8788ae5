//! All that is wrong with a credential's table on any host.

use std::collections::BTreeMap;

use crate::{
    effect::http::{HttpUrl, UrlFault},
    service::spec::{Problem, check::nearest, program::program_form, secret, sink},
};

use super::{
    super::{
        mint::Endpoint,
        provider::{self, Provider, RawProvider},
    },
    instant,
    raw::{RawCredential, RawDelivery, RawSource, RawWith},
    text::FileMode,
};

/// The provider whose tokens make their own successors.
pub const ROTATES_ITSELF: &str = "gitlab";

/// The parts of its image that a person may name in `ignore_drift`.
const PARTS: [&str; 2] = ["value", "deliver"];

/// What is wrong with a credential by itself; places count from its table.
pub fn check(raw: &RawCredential) -> Vec<Problem> {
    let mut problems = Vec::new();
    match &raw.source {
        None => problems.push(
            Problem::at("", "it comes from nowhere: missing key `source`")
                .suggest("add `source = { env = \"TOKEN\" }`, or another"),
        ),
        Some(source) => problems.extend(self::source(source)),
    }
    problems.extend(hangs_on_provider(raw));
    problems.extend(raw.base_url.as_deref().and_then(base_url));
    problems.extend((raw.ca_file.as_deref()).and_then(|path| absolute("/ca_file", path)));
    for (index, scope) in raw.scopes.iter().flatten().enumerate() {
        let at = format!("/scopes/{index}");
        if scope.is_empty() || scope.chars().any(|c| c.is_control() || c.is_whitespace()) {
            problems.push(Problem::at(at, "a scope is one word"));
        } else if raw.scopes.iter().flatten().take(index).any(|s| s == scope) {
            problems.push(Problem::at(at, format!("`{scope}` is there twice")));
        }
    }
    if let Some(expiry) = &raw.expiry
        && let Some(at) = &expiry.at
        && instant(at).is_none()
    {
        problems.push(
            Problem::at("/expiry/at", "that is neither a day nor an instant")
                .suggest("write `2026-12-31`, or `2026-12-31T12:00:00Z`"),
        );
    }
    if raw.rotate.is_some()
        && let Some(source) = &raw.source
        && source.command.is_none()
        && raw.signed_with().is_none()
        && raw.provider.as_deref() != Some(ROTATES_ITSELF)
    {
        let message =
            "nobody makes another of it: its source gives one value, and its provider rotates none";
        problems.push(Problem::key("/rotate", message).suggest(
            "take it out; put a new token into the source when `lorectl` warns of its end",
        ));
    }
    if let Some(rotate) = &raw.rotate
        && rotate.grace.is_some_and(|grace| grace.0 < 60)
    {
        let message = "whoever holds the old one gets a minute at least";
        problems.push(Problem::at("/rotate/grace", message));
    }
    if let Some(rotate) = &raw.rotate
        && let (Some(before), Some(ttl)) = (rotate.before, rotate.ttl)
        && before >= ttl
    {
        problems.push(Problem::at(
            "/rotate/before",
            format!("it would be due as soon as it is made: its life is {ttl}"),
        ));
    }
    for (index, one) in raw.deliver.iter().flatten().enumerate() {
        problems.extend(delivery(&format!("/deliver/{index}"), one));
    }
    problems.extend(sink::twice(raw.notify.as_deref().unwrap_or_default()));
    for (index, part) in raw.ignore_drift.iter().flatten().enumerate() {
        let group = part
            .split_once('/')
            .map_or(part.as_str(), |(group, _)| group);
        if !PARTS.contains(&group) {
            let at = format!("/ignore_drift/{index}");
            let problem = Problem::at(at, format!("a credential has no part `{part}`"));
            problems.push(match nearest(group, PARTS.into_iter()) {
                Some(near) => problem.suggest(format!("did you mean `{near}`?")),
                None => problem.suggest("write `value`, `deliver` or `deliver/PATH`"),
            });
        }
    }
    problems
}

fn hangs_on_provider(raw: &RawCredential) -> Vec<Problem> {
    let mut problems = Vec::new();
    // The server that gives tokens to a client is asked for these, whoever tells what they are worth.
    let asks = raw.source.as_ref().is_some_and(|one| one.oauth2.is_some());
    if raw.provider.is_none() {
        for (at, said) in [
            ("/base_url", raw.base_url.is_some()),
            ("/ca_file", raw.ca_file.is_some()),
            ("/with", raw.with.is_some()),
            ("/scopes", raw.scopes.is_some() && !asks),
        ] {
            if said {
                problems.push(Problem::key(at, "this goes with `provider`"));
            }
        }
    }
    problems
}

/// What is wrong with the provider that a credential names, given those that the spec declares, and
/// with what hangs on that.
pub fn provider(raw: &RawCredential, declared: &BTreeMap<String, RawProvider>) -> Vec<Problem> {
    let Some(name) = &raw.provider else {
        return open(raw, None);
    };
    if let Ok(resolved) = provider::resolve(name, declared) {
        let mut problems = with(raw, name, &resolved);
        problems.extend(open(raw, Some(&resolved)));
        let asks = resolved.probe == provider::table::Via::Http;
        if asks && raw.base_url.is_none() && resolved.default_base_url().is_none() {
            let message = format!("`{name}` has no URL of its own: missing key `base_url`");
            let problem = Problem::at("/provider", message);
            problems.push(problem.suggest("add `base_url = \"https://…\"`"));
        }
        return problems;
    }
    if declared.contains_key(name) {
        // What is wrong with it is said at its own table.
        return Vec::new();
    }
    let problem = Problem::at("/provider", "there is no such provider");
    let mut names: Vec<&str> = provider::names().collect();
    names.extend(declared.keys().map(String::as_str));
    vec![match nearest(name, names.iter().copied()) {
        Some(near) => problem.suggest(format!("did you mean `{near}`?")),
        None => problem.suggest(format!(
            "one of {}; or leave it out: then nobody is asked what it is worth",
            names.join(", ")
        )),
    }]
}

/// The deliveries that everyone could read and that are to be of no certificate.
fn open(raw: &RawCredential, provider: Option<&Provider>) -> Vec<Problem> {
    let is_certificate = provider.is_some_and(|one| one.probe == provider::table::Via::X509);
    let all = raw.deliver.iter().flatten().enumerate();
    let opened = all.filter(|(_, one)| {
        let mode = one.mode.as_ref().map_or(0, FileMode::bits);
        mode & 0o004 != 0 && !(is_certificate && one.file.is_some())
    });
    let problem = |(index, _)| {
        let at = format!("/deliver/{index}/mode");
        Problem::at(at, "everyone on the host could read the value").suggest(
            "write `0640`, with the `group` of its reader; only a certificate (`provider = \"x509\"`) in a `file` may be read by all",
        )
    };
    opened.map(problem).collect()
}

/// What is wrong with what a provider is asked with beside the value.
fn with(raw: &RawCredential, name: &str, provider: &Provider) -> Vec<Problem> {
    let mut problems = Vec::new();
    let places = provider.places();
    for (key, value) in raw.with.iter().flatten() {
        let at = format!("/with/{}", escaped(key));
        if !places.contains(&key.as_str()) {
            let message = format!("`{name}` is asked with no `{key}`");
            let problem = Problem::key(at, message);
            problems.push(match nearest(key, places.iter().copied()) {
                Some(near) => problem.suggest(format!("did you mean `{near}`?")),
                None if places.is_empty() => problem.suggest("take it out: the value is all"),
                None => problem.suggest(format!("it is asked with `{}`", places.join("`, `"))),
            });
            continue;
        }
        match value {
            RawWith::Text(_) if provider.is_secret(key) => problems.push(
                Problem::at(at, "that is a secret, which everyone who reads the spec could see")
                    .suggest(format!(
                        "put it where a credential has its source, and write `{key} = {{ credential = \"NAME\" }}`"
                    )),
            ),
            RawWith::Text(text) if text.is_empty() || text.contains(char::is_control) => problems
                .push(Problem::at(at, "it is one line of text, and not empty")),
            RawWith::Text(_) | RawWith::Credential(_) => {}
        }
    }
    let said = |key: &str| raw.with.as_ref().is_some_and(|with| with.contains_key(key));
    let mut missing = provider.asks_for();
    missing.retain(|key| !said(key) && raw.client(key).is_none());
    if !missing.is_empty() {
        let message = format!(
            "`{name}` is asked with `{}` beside the value",
            missing.join("` and `")
        );
        let written = |key: &&str| {
            if provider.is_secret(key) {
                format!("{key} = {{ credential = \"NAME\" }}")
            } else {
                format!("{key} = \"…\"")
            }
        };
        let written: Vec<String> = missing.iter().map(written).collect();
        let problem = Problem::at("/provider", message);
        problems.push(problem.suggest(format!("add `with = {{ {} }}`", written.join(", "))));
    }
    problems
}

/// A key as a JSON pointer has it (RFC 6901, 3).
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// What is wrong with where a provider is asked.
fn base_url(text: &str) -> Option<Problem> {
    let at = "/base_url";
    if !secret::in_urls(text).is_empty() {
        let message = "the URL holds a secret, which everyone who reads the spec could see";
        return Some(Problem::at(at, message).suggest("leave it out of the URL"));
    }
    if text.contains(['?', '#']) {
        return Some(Problem::at(at, "a base has no query and no fragment"));
    }
    let fault = HttpUrl::parse(text).err()?;
    let problem = Problem::at(at, fault.to_string());
    Some(match fault {
        UrlFault::Scheme(scheme) => match nearest(&scheme, ["https", "http"].into_iter()) {
            Some(near) => problem.suggest(format!("did you mean `{near}`?")),
            None => problem.suggest("write `https://…`"),
        },
        UrlFault::NotOne | UrlFault::LinkLocal | UrlFault::Disguised | UrlFault::Long => problem,
    })
}

fn source(raw: &RawSource) -> Vec<Problem> {
    let named: Vec<&str> = [
        ("env", raw.env.is_some()),
        ("file", raw.file.is_some()),
        ("command", raw.command.is_some()),
        ("systemd", raw.systemd.is_some()),
        ("oauth2", raw.oauth2.is_some()),
        ("github_app", raw.github_app.is_some()),
        ("jupyterhub", raw.jupyterhub.is_some()),
    ]
    .into_iter()
    .filter_map(|(key, said)| said.then_some(key))
    .collect();
    let mut problems = Vec::new();
    match named.as_slice() {
        [_] => {}
        [] => problems.push(
            Problem::at("/source", "it names no source")
                .suggest("write `{ env = \"TOKEN\" }`, or `file`, `command` or `systemd`"),
        ),
        [first, second, ..] => problems.push(Problem::key(
            format!("/source/{second}"),
            format!("a value comes from one place, and `{first}` is there already"),
        )),
    }
    if let Some(path) = &raw.file {
        problems.extend(absolute("/source/file", path));
    }
    let urls = raw.oauth2.iter().flat_map(|one| {
        let revoke = one.revoke_url.iter().map(|url| ("revoke_url", url));
        [("token_url", &one.token_url)].into_iter().chain(revoke)
    });
    for (key, url) in urls {
        if let Err(why) = url.parse::<Endpoint>() {
            problems.push(Problem::at(
                format!("/source/oauth2/{key}"),
                why.to_string(),
            ));
        }
    }
    if let Some(argv) = &raw.command {
        problems.extend(command(argv));
    } else if raw.timeout.is_some() {
        problems.push(Problem::key("/source/timeout", "this goes with `command`"));
    }
    if raw
        .timeout
        .is_some_and(|timeout| timeout.0 == 0 || timeout.0 > 600)
    {
        let message = "a command gets between 1s and 10m";
        problems.push(Problem::at("/source/timeout", message));
    }
    problems
}

fn command(argv: &[String]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let program = argv.first().map(|program| program_form(program));
    if let Some(Err(problem)) = program {
        problems.push(Problem {
            at: "/source/command/0".to_owned(),
            ..problem
        });
    }
    for (index, argument) in argv.iter().enumerate() {
        let at = format!("/source/command/{index}");
        if !secret::in_urls(argument).is_empty() {
            problems.push(Problem::at(
                at,
                "a URL here holds a secret, which everyone on the host could read",
            ));
        } else if argument.contains('\0') {
            problems.push(Problem::at(at, "an argument holds no NUL"));
        }
    }
    problems
}

fn delivery(at: &str, raw: &RawDelivery) -> Vec<Problem> {
    let mut problems = Vec::new();
    match (&raw.file, &raw.env_file) {
        (None, None) => problems.push(
            Problem::at(
                at,
                "it is delivered nowhere: missing key `file`, or `env_file`",
            )
            .suggest("add `file = \"/etc/acme/token\"`"),
        ),
        (Some(_), Some(_)) => problems.push(
            Problem::key(
                format!("{at}/env_file"),
                "one delivery has `file` or `env_file`, not both",
            )
            .suggest("make two deliveries"),
        ),
        (Some(path), None) => {
            problems.extend(absolute(&format!("{at}/file"), path));
            if raw.name.is_some() {
                problems.push(Problem::key(
                    format!("{at}/name"),
                    "this goes with `env_file`",
                ));
            }
        }
        (None, Some(path)) => {
            problems.extend(absolute(&format!("{at}/env_file"), path));
            if raw.name.is_none() {
                problems.push(
                    Problem::at(at, "it does not say which variable: missing key `name`")
                        .suggest("add `name = \"TOKEN\"`"),
                );
            }
        }
    }
    if let Some(unit) = raw.then.as_ref().and_then(|then| then.reload.as_deref()) {
        problems.extend(self::unit(&format!("{at}/then/reload"), unit));
    } else if raw.then.is_some() {
        let problem = Problem::at(format!("{at}/then"), "it names nothing to be done");
        problems.push(problem.suggest("write `{ reload = \"app.service\" }`"));
    }
    problems
}

/// What is wrong with the name of a unit that can be reloaded (systemd.unit(5)).
fn unit(at: &str, name: &str) -> Option<Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if name.len() > 255 || !name.chars().all(plain) || name.starts_with('.') {
        return Some(Problem::at(at, "that is no name of a unit"));
    }
    let Some(stem) = name.strip_suffix(".service") else {
        let problem = Problem::at(at, "only a service can be reloaded");
        return Some(problem.suggest(format!("write `{name}.service`")));
    };
    (stem.is_empty() || stem.ends_with('@')).then(|| Problem::at(at, "that is no name of a unit"))
}

/// What is wrong with a path, which is absolute or begins with `./`, at the spec file.
fn absolute(at: &str, path: &str) -> Option<Problem> {
    let path = path
        .strip_prefix('.')
        .filter(|rest| rest.starts_with('/'))
        .unwrap_or(path);
    let climbs = path.split('/').any(|part| part == ".." || part == ".");
    let wrong = if path.starts_with('~') {
        "`~` is a shell's, and there is none here"
    } else if !path.starts_with('/') {
        "the path of the file is absolute, or begins with `./`"
    } else if climbs {
        "the path of the file holds no `.` and no `..`"
    } else if path.ends_with('/') || path.contains("//") {
        "that is no path of a file"
    } else if path.contains(char::is_control) {
        "the path holds a control character"
    } else if path.contains('#') {
        "the path holds no `#`"
    } else {
        return None;
    };
    Some(Problem::at(at, wrong).suggest(
        "write the absolute path, as `/etc/acme/token`, or one from the spec file, as `./token`",
    ))
}
