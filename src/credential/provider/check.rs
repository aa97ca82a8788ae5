//! What is wrong with a `[providers.NAME]`, and the provider that it is.

use std::{borrow::Cow, collections::BTreeMap};

use super::{
    builtin, names,
    table::{
        Charset, Detail, ExpiryRule, Meaning, Provider, RawProvider, Request, ScopeRule,
        TimeFormat, Verdict, Via,
    },
    template,
};
use crate::{
    effect::http::HttpUrl,
    service::spec::{Problem, check::nearest},
};

/// The most providers in a chain of `extends`.
const DEEPEST: usize = 8;

/// Headers that the request's own machinery writes.
const OURS: [&str; 7] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "te",
    "upgrade",
];

type Check = fn(&RawProvider) -> Vec<Problem>;

/// Every check of what one table says, by what it holds to be true.
const CHECKS: [(&str, Check); 7] = [
    ("a URL that may be asked", base_url),
    ("a request that can be sent", requests),
    ("verdicts that mean one thing", verdicts),
    ("places that can be read", places),
    ("a list in which a token is found", detail),
    ("a format that something fits", formats),
    ("parameters that are names", params),
];

/// All that is wrong with one of the providers that a spec declares; places count from its table.
pub fn check(name: &str, declared: &BTreeMap<String, RawProvider>) -> Vec<Problem> {
    let Some(raw) = declared.get(name) else {
        return Vec::new();
    };
    let mut problems: Vec<Problem> = (CHECKS.iter()).flat_map(|(_, check)| check(raw)).collect();
    if !is_name(name) {
        problems.push(Problem::key(
            "",
            "the name of a provider is 1 to 64 of `a-z`, `0-9`, `_` and `-`",
        ));
    }
    match resolve(name, declared) {
        Err(problem) => problems.push(problem),
        Ok(provider) => {
            problems.extend(complete(&provider));
            problems.extend(secrets(raw, &provider));
        }
    }
    problems
}

/// The provider of a name: as the spec declares it, else the one built in.
///
/// # Errors
/// That there is none, or that it extends one that there is none of, or itself.
pub fn resolve(
    name: &str,
    declared: &BTreeMap<String, RawProvider>,
) -> Result<Cow<'static, Provider>, Problem> {
    let mut chain: Vec<(&str, &RawProvider)> = Vec::new();
    let mut next = Some(name);
    let mut base = None;
    while let Some(name) = next {
        let within = chain.last().is_some_and(|(last, _)| *last == name);
        match declared.get(name) {
            // One of a name that is built in extends the one built in.
            Some(raw) if !within || builtin(name).is_none() => {
                if chain.iter().any(|(earlier, _)| *earlier == name) || chain.len() == DEEPEST {
                    return Err(Problem::at("/extends", "it extends itself in the end")
                        .suggest("extend a provider that is built in"));
                }
                chain.push((name, raw));
                next = raw.extends.as_deref();
            }
            Some(_) | None => {
                let known = builtin(name).ok_or_else(|| unknown(name, declared))?;
                base = Some(Cow::Borrowed(known));
                next = None;
            }
        }
    }
    for (_, raw) in chain.into_iter().rev() {
        let below = base.map(Cow::into_owned);
        base = Some(Cow::Owned(raw.clone().over(below)));
    }
    base.ok_or_else(|| unknown(name, declared))
}

fn unknown(name: &str, declared: &BTreeMap<String, RawProvider>) -> Problem {
    let mut known: Vec<&str> = names().collect();
    known.extend(declared.keys().map(String::as_str));
    let problem = Problem::at("/extends", "there is no such provider");
    if let Some(near) = nearest(name, known.into_iter()) {
        return problem.suggest(format!("did you mean `{near}`?"));
    }
    let names: Vec<&str> = names().collect();
    problem.suggest(format!("built in are {}", names.join(", ")))
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
}

/// What is wrong with the names that only another credential may fill.
fn secrets(raw: &RawProvider, provider: &Provider) -> Vec<Problem> {
    let places = provider.places();
    let own = raw.secrets.iter().flatten().enumerate();
    let unknown = own.filter(|(_, name)| !places.contains(&name.as_str()));
    let unknown = unknown.map(|(index, name)| {
        let at = format!("/secrets/{index}");
        Problem::at(at, format!("its request has no place for `{name}`"))
    });
    let params = raw.params.iter().flatten().map(|(name, _)| name);
    let open = params.filter(|name| provider.is_secret(name)).map(|name| {
        let at = format!("/params/{}", escaped(name));
        let message = "that is a secret, which everyone who reads the spec could see";
        Problem::key(at, message).suggest("let a credential say it in its `with`")
    });
    unknown.chain(open).collect()
}

/// What a provider lacks to say anything.
fn complete(provider: &Provider) -> Vec<Problem> {
    if provider.probe != Via::Http {
        return Vec::new();
    }
    let mut problems = Vec::new();
    let detail = provider.detail.iter().map(|detail| &detail.request);
    let requests = std::iter::once(&provider.request).chain(detail);
    for (request, key) in requests.zip(["request", "detail.request"]) {
        let mut templates = request.templates();
        if !templates.any(|text| template::names(text).contains(&template::TOKEN)) {
            let message = format!("its {key} does not say where the token goes");
            problems.push(Problem::at("", message).suggest(format!(
                "write `{key}.headers = {{ authorization = \"Bearer {{token}}\" }}`"
            )));
        }
    }
    if !provider
        .verdicts
        .iter()
        .any(|verdict| verdict.is == Meaning::Live)
    {
        problems.push(
            Problem::at("", "no answer means that a token is live")
                .suggest("add a verdict, as `{ status = [200], json = [{ at = \"/id\", exists = true }], is = \"live\" }`"),
        );
    }
    problems
}

fn base_url(raw: &RawProvider) -> Vec<Problem> {
    let Some(url) = &raw.base_url else {
        return Vec::new();
    };
    let fault = HttpUrl::parse(url).err().map(|fault| fault.to_string());
    let secret = url::Url::parse(url).is_ok_and(|url| {
        !url.username().is_empty() || url.password().is_some() || url.query().is_some()
    });
    let secret = secret.then(|| "the base URL holds no user, password or query".to_owned());
    (fault.or(secret).into_iter())
        .map(|message| Problem::at("/base_url", message))
        .collect()
}

fn requests(raw: &RawProvider) -> Vec<Problem> {
    let own = (raw.request.iter()).flat_map(|one| request("/request", one));
    let detail = raw.detail.iter().map(|detail| &detail.request);
    let detail = detail.flat_map(|one| request("/detail/request", one));
    own.chain(detail).collect()
}

fn request(place: &str, request: &Request) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Request {
        path,
        headers,
        form,
        json,
        method: _,
    } = request;
    if let Some(wrong) = path_fault(path) {
        problems.push(Problem::at(format!("{place}/path"), wrong));
    }
    for (name, value) in headers {
        let at = format!("{place}/headers/{}", escaped(name));
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            problems.push(Problem::key(&at, "that is no name of a header"));
        } else if OURS.contains(&name.to_ascii_lowercase().as_str()) {
            problems.push(Problem::key(&at, "lorectl writes this header itself"));
        }
        if value.contains(char::is_control) {
            problems.push(Problem::at(
                &at,
                "a header's value holds no control character",
            ));
        }
        problems.extend(
            template::pieces(value)
                .err()
                .map(|wrong| Problem::at(&at, wrong)),
        );
    }
    if form.is_some() && json.is_some() {
        problems.push(Problem::key(
            format!("{place}/json"),
            "a request has `form` or `json`, not both",
        ));
    }
    for (key, fields) in [("form", form), ("json", json)] {
        for (name, value) in fields.iter().flatten() {
            let at = format!("{place}/{key}/{}", escaped(name));
            problems.extend(
                template::pieces(value)
                    .err()
                    .map(|wrong| Problem::at(at, wrong)),
            );
        }
    }
    problems
}

fn path_fault(path: &str) -> Option<&'static str> {
    let (bare, _) = path.split_once('?').unwrap_or((path, ""));
    if !path.is_empty() && !path.starts_with('/') {
        Some("a path begins with `/`")
    } else if path.contains(['{', '}']) {
        Some("a path has no places for values: logs on the way would keep them")
    } else if path.contains('#') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        Some("a path is of visible characters of ASCII, without `#`")
    } else if bare.split('/').any(|step| [".", ".."].contains(&step)) {
        Some("a path has no `.` or `..`")
    } else {
        None
    }
}

fn verdicts(raw: &RawProvider) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, verdict) in raw.verdicts.iter().flatten().enumerate() {
        let at = |rest: &str| format!("/verdicts/{index}{rest}");
        let Verdict {
            status,
            headers,
            json,
            text,
            blank,
            is,
            detail,
            lacks,
        } = verdict;
        let body = !json.is_empty() || text.is_some() || *blank;
        if status.is_empty() && headers.is_empty() && !body {
            problems.push(
                Problem::at(at(""), "it has no condition, so no verdict after it counts")
                    .suggest("add `status = [401]`"),
            );
        } else if *is == Meaning::Live && !body {
            problems.push(Problem::at(at(""), "a proxy's answer would be a live token's: nothing of the body is asked")
                .suggest("add `json = [{ at = \"/id\", exists = true }]`, or `blank = true` for an empty body"));
        }
        if *blank && (text.is_some() || !json.is_empty()) {
            problems.push(Problem::key(
                at("/blank"),
                "an empty body holds nothing else",
            ));
        }
        if text.as_ref().is_some_and(String::is_empty) {
            problems.push(Problem::at(at("/text"), "any body contains the empty text"));
        }
        if !lacks.is_empty() && *is != Meaning::Live {
            problems.push(Problem::key(at("/lacks"), "this goes with `is = \"live\"`"));
        }
        let long = |detail: &String| detail.len() > 200 || detail.contains(char::is_control);
        if detail.as_ref().is_some_and(long) {
            problems.push(Problem::at(
                at("/detail"),
                "a detail is one line of at most 200 bytes",
            ));
        }
        for (place, status) in status.iter().enumerate() {
            if !(100..=999).contains(status) {
                let at = at(&format!("/status/{place}"));
                problems.push(Problem::at(at, "an HTTP status has three digits"));
            }
        }
        for (place, header) in headers.iter().enumerate() {
            if header.is.is_some() && header.contains.is_some() {
                let at = at(&format!("/headers/{place}"));
                problems.push(Problem::at(at, "it says `is` or `contains`, not both"));
            }
        }
        for (place, json) in json.iter().enumerate() {
            let said = [
                json.is.is_some(),
                json.contains.is_some(),
                json.exists.is_some(),
            ];
            if said.into_iter().filter(|said| *said).count() != 1 {
                let at = at(&format!("/json/{place}"));
                problems.push(Problem::at(
                    at,
                    "it says one of `is`, `contains` and `exists`",
                ));
            }
            problems.extend(pointer(at(&format!("/json/{place}/at")), &json.at));
        }
    }
    problems
}

fn expiry<'r>(place: &str, rules: impl Iterator<Item = &'r ExpiryRule>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, rule) in rules.enumerate() {
        let at = format!("{place}/{index}");
        let ExpiryRule {
            header,
            json,
            jwt,
            formats,
            never: _,
        } = rule;
        let said = [header.is_some(), json.is_some(), *jwt];
        if said.into_iter().filter(|said| *said).count() != 1 {
            problems.push(Problem::at(
                &at,
                "it says one of `header`, `json` and `jwt`",
            ));
        } else if *jwt != formats.is_empty() {
            let message = if *jwt {
                "a JWT's `exp` is always written in one way"
            } else {
                "it does not say how the instant is written: missing key `formats`"
            };
            problems.push(Problem::at(&at, message));
        }
        problems.extend((json.as_ref()).and_then(|json| pointer(format!("{at}/json"), json)));
    }
    problems
}

fn scopes(place: &str, rule: &ScopeRule) -> Vec<Problem> {
    let mut problems = Vec::new();
    let ScopeRule {
        header,
        json,
        each,
        unlisted,
        includes: _,
    } = rule;
    if header.is_some() == json.is_some() {
        problems.push(Problem::at(place, "it says one of `header` and `json`"));
    }
    let json = json.iter().map(|at| (format!("{place}/json"), at));
    let each = each.iter().enumerate();
    let each = each.map(|(index, at)| (format!("{place}/each/{index}"), at));
    let unlisted = unlisted.iter().enumerate();
    let unlisted = unlisted.map(|(index, one)| (format!("{place}/unlisted/{index}/at"), &one.at));
    let places = json.chain(each).chain(unlisted);
    problems.extend(places.filter_map(|(at, text)| pointer(at, text)));
    problems
}

fn detail(raw: &RawProvider) -> Vec<Problem> {
    let Some(Detail {
        request: _,
        list,
        own,
        expiry: ends,
        scopes: rule,
    }) = &raw.detail
    else {
        return Vec::new();
    };
    let mut problems = expiry("/detail/expiry", ends.iter());
    problems.extend(rule.iter().flat_map(|rule| scopes("/detail/scopes", rule)));
    problems.extend(pointer("/detail/list".to_owned(), list));
    if own.is_empty() {
        let message = "it does not say how the token's own row is known";
        let problem = Problem::at("/detail/own", message);
        problems.push(problem.suggest("write `[{ at = \"/key\", holds = \"sha512\" }]`"));
    }
    for (index, one) in own.iter().enumerate() {
        problems.extend(pointer(format!("/detail/own/{index}/at"), &one.at));
    }
    problems
}

fn places(raw: &RawProvider) -> Vec<Problem> {
    let mut problems = expiry("/expiry", raw.expiry.iter().flatten());
    problems.extend(raw.scopes.iter().flat_map(|rule| scopes("/scopes", rule)));
    problems.extend((raw.account.as_ref()).and_then(|at| pointer("/account".to_owned(), at)));
    for (index, rule) in raw
        .throttle
        .iter()
        .flat_map(|throttle| &throttle.reset)
        .enumerate()
    {
        if matches!(rule.format, TimeFormat::Date) {
            let at = format!("/throttle/reset/{index}/format");
            problems.push(Problem::at(at, "a day is too long to wait"));
        }
    }
    problems
}

fn pointer(at: String, text: &str) -> Option<Problem> {
    (!text.is_empty() && !text.starts_with('/'))
        .then(|| Problem::at(at, "a JSON pointer begins with `/`").suggest("as `/user/id`"))
}

fn formats(raw: &RawProvider) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, format) in raw.format.iter().flatten().enumerate() {
        let at = format!("/format/{index}");
        if format.min > format.max || format.prefix.len() > format.max {
            problems.push(Problem::at(&at, "nothing is that long and that short"));
        }
        let visible = format.prefix.bytes().all(|byte| byte.is_ascii_graphic());
        if !visible && format.charset != Charset::Any {
            problems.push(Problem::at(
                format!("{at}/prefix"),
                "a prefix is of visible characters of ASCII",
            ));
        }
    }
    problems
}

fn params(raw: &RawProvider) -> Vec<Problem> {
    let mut problems = Vec::new();
    for name in raw.params.iter().flatten().map(|(name, _)| name) {
        let at = format!("/params/{}", escaped(name));
        if name == template::TOKEN {
            problems.push(Problem::key(at, "`token` is the credential's own value"));
        } else if template::names(&format!("{{{name}}}")) != [name.as_str()] {
            problems.push(Problem::key(
                at,
                "a parameter's name is of `a-z`, `0-9` and `_`",
            ));
        }
    }
    problems
}

/// A key as a JSON pointer has it (RFC 6901, 3).
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
