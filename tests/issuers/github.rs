//! The GitHub stand-in: tokens of both kinds, limits of each kind, an app's installation; and that it, and the
//! cases of the provider's pages, answer as GitHub's own schemas have it.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use lorectl::effect::http::Method;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Test,
    home::Home,
    server::{Kind, Server, now},
};

pub const TESTS: &[Test] = &[
    ("github::tokens_of_both_kinds", Kind::Github, tokens),
    ("github::a_limit_is_no_death", Kind::Github, limits),
    ("github::an_app_s_installation", Kind::Github, installation),
    (
        "github::answers_are_as_its_schemas_have_them",
        Kind::Github,
        conform,
    ),
];

const CLASSIC: &str = "ghp_aClassicTokenOfTheStandIn0000000000000";
const FINE: &str = "github_pat_aFineGrainedTokenOfTheStandIn0000000";
const ODD: &str = "ghp_aTokenWhoseEndCannotBeRead0000000000000";
const SUSPENDED: &str = "ghp_aTokenOfASuspendedAccount00000000000000";
const UNKNOWN: &str = "ghp_aTokenThatNobodyEverGaveOut000000000000";
const APP: &str = "Iv23liLorectl";

/// The private key of the app, and the public one of it.
fn key() -> (String, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/credential/mint/tests/pkcs8.pem");
    let public = Command::new("openssl")
        .args(["pkey", "-pubout", "-in"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(public.status.success());
    (
        fs::read_to_string(path).unwrap(),
        String::from_utf8(public.stdout).unwrap(),
    )
}

fn start(public: &str) -> Server {
    let tokens = json!({
        CLASSIC: {"scopes": "repo, read:org", "expires": "2099-03-01 12:00:00 UTC"},
        FINE: {"expires": "2099-03-01 12:00:00 -0700"},
        ODD: {"scopes": "repo", "expires": "in a while"},
        SUSPENDED: {"scopes": "repo", "suspended": true},
    });
    let more = [("ISSUER_APP", APP), ("ISSUER_KEY", public)];
    Server::start(Kind::Github, &tokens.to_string(), &more)
}

fn home(server: &Server, scopes: &str) -> Home {
    let url = server.url("");
    let spec = format!(
        "[credentials.gh]\nprovider = \"github\"\nbase_url = \"{url}\"\nsource = {{ env = \"GH\" }}\nscopes = [{scopes}]\ndeliver = [{{ file = \"OUT/token\" }}]\n"
    );
    Home::new(&spec, &[])
}

fn validate(home: &Home, value: &str) -> (i32, Value) {
    let program = Path::new(env!("CARGO_BIN_EXE_lorectl"));
    let words = ["credential", "validate", "gh", "--value-stdin", "--json"];
    let mut command = home.command(program, &words);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(value.as_bytes()).unwrap();
    drop(input);
    let ran = child.wait_with_output().unwrap();
    let told: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert!(!told.to_string().contains(value));
    (ran.status.code().unwrap(), told["data"].clone())
}

fn tokens() {
    let server = start("");
    let mut home = home(&server, "\"read:user\"");
    for (token, status, said, ends, detail) in [
        (
            CLASSIC,
            77,
            "live_under_scoped",
            "2099-03-01T12:00:00Z",
            "it lacks the scope `read:user`",
        ),
        (FINE, 0, "live", "2099-03-01T19:00:00Z", ""),
        (
            ODD,
            69,
            "error",
            "",
            "it is taken, and when it ends cannot be read from the header `github-authentication-token-expiration`",
        ),
        (SUSPENDED, 77, "rejected", "", "its account is suspended"),
        (
            UNKNOWN,
            77,
            "rejected",
            "",
            "GitHub does not know it: expired, revoked or mistyped",
        ),
    ] {
        let (ended, told) = validate(&home, token);
        assert_eq!((ended, &told["status"]), (status, &json!(said)), "{told}");
        let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
        assert_eq!(text("expires_at"), ends);
        assert!(text("detail").starts_with(detail), "{told}");
    }
    home.variable("GH", UNKNOWN);
    home.run("apply -y").exits(1).says("refuses the token");
    home.variable("GH", FINE);
    home.run("apply -y").exits(0);
    assert_eq!(home.delivered("token"), FINE);
    home.run("plan").exits(0).says("ends 2099-03-01, in");
}

/// Each way in which GitHub tells a limit, and after how many seconds it may be asked again.
fn limited() -> Vec<(Value, i64)> {
    let reset = now().plus_seconds(600).millis() / 1000;
    let primary = "API rate limit exceeded for user ID 1.";
    let secondary =
        "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
    let mut all = Vec::new();
    for status in [403, 429] {
        for (headers, message, wait) in [
            (json!({"retry-after": "120"}), secondary, 120),
            (
                json!({"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset.to_string()}),
                primary,
                600,
            ),
            (json!({}), secondary, 60),
        ] {
            let limit = json!({"status": status, "headers": headers, "message": message});
            all.push((limit, wait));
        }
    }
    all
}

fn limit(server: &Server, limit: &Value) {
    let told = server.send(Method::Post, "/-/limit", &[], &limit.to_string());
    assert_eq!(told.0, 204);
}

fn limits() {
    let (_, public) = key();
    let server = start(&public);
    let mut home = home(&server, "");
    home.variable("GH", CLASSIC);
    for (each, wait) in limited() {
        limit(&server, &each);
        let (status, told) = validate(&home, CLASSIC);
        assert_eq!(
            (status, &told["status"]),
            (75, &json!("throttled")),
            "{told}"
        );
        let instant =
            |key: &str| -> lorectl::id::Timestamp { told[key].as_str().unwrap().parse().unwrap() };
        let waits = instant("retry_at").seconds_since(instant("probed_at"));
        assert!((wait - 5..=wait + 2).contains(&waits), "{each}: {waits}");
        limit(&server, &each);
        home.run("apply -y").exits(75).says("left alone until");
        assert!(!home.path("state/acme/secrets/gh").exists());
    }
    home.run("apply -y").exits(0);
}

fn installation() {
    let (private, public) = key();
    let server = start(&public);
    let url = server.url("");
    let spec = format!(
        r#"
[credentials.key]
source = {{ env = "KEY" }}
provider = "none"
[credentials.gh]
provider = "github_app"
base_url = "{url}"
source = {{ github_app = {{ app_id = "{APP}", installation_id = 7, key = "key", permissions = {{ contents = "read" }} }} }}
rotate = {{ before = "20m", grace = "1m" }}
deliver = [{{ file = "OUT/token" }}]
"#
    );
    let mut home = Home::new(&spec, &[]);
    let living = || server.get("/-/living", &[]).1;
    home.variable("KEY", &private);
    // Limits of each kind are waited for.
    home.run("apply -y --target credential.key").exits(0);
    for (each, _) in limited() {
        limit(&server, &each);
        home.run("apply -y").exits(75).says("left alone until");
        // It is not asked until then.
        home.run("apply -y").exits(75).says("is not asked before");
        fs::remove_dir_all(home.path("state/acme/breakers")).unwrap();
    }
    assert_eq!(living(), 0);
    home.run("apply -y").exits(0);
    let old = home.delivered("token");
    assert!(old.starts_with("ghs_1234_"), "the new form");
    assert_eq!(living(), 1);
    home.run("credential validate gh")
        .exits(0)
        .says("live")
        .says("says the token itself");
    home.run("apply -y").exits(0).says("No changes");
    home.run("credential rotate gh -y").exits(0);
    let new = home.delivered("token");
    assert!(new != old);
    assert_eq!(living(), 2);
    home.ahead(65);
    home.run("reconcile").exits(0);
    assert_eq!(living(), 1, "the old one was revoked");
    home.run("destroy -y").exits(0);
    assert_eq!(living(), 0);

    // What the installation may not; and another app's key.
    home.now = None;
    home.spec(&spec.replace("contents = \"read\"", "administration = \"write\""));
    home.run("apply -y")
        .exits(1)
        .says("does not take the request");
    fs::remove_dir_all(home.path("state/acme/breakers")).unwrap();
    home.spec(&spec.replace(APP, "Iv23liAnother"));
    home.run("apply -y --target credential.gh")
        .says("does not know what the request is signed with");
    assert_eq!(living(), 0);
}

/// A page of cases, as far as its answers go.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    bodies: BTreeMap<String, String>,
    case: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    #[serde(default)]
    foreign: bool,
    status: u16,
    #[serde(default)]
    body: String,
    of: Option<String>,
}

/// The answers of a page's cases that are GitHub's own.
fn cases(page: &str, request: &str) -> Vec<Value> {
    let path = format!("src/credential/provider/cases/{page}.toml");
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let page: Page = toml::from_str(&text).unwrap();
    let own = page.case.iter().filter(|case| !case.foreign);
    own.map(|case| {
        let body = (case.of.as_ref()).map_or(&case.body, |name| &page.bodies[name]);
        json!({"from": case.name, "request": request, "status": case.status, "body": body})
    })
    .collect()
}

/// What the app says it is by, made by another hand than lorectl's.
fn jwt() -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let seconds = now().millis() / 1000;
    let claims = json!({"iat": seconds - 60, "exp": seconds + 300, "iss": APP});
    let text = format!(
        "{}.{}",
        part(json!({"alg": "RS256", "typ": "JWT"})),
        part(claims)
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/credential/mint/tests/pkcs8.pem");
    let child = Command::new("openssl")
        .args(["dgst", "-sha256", "-binary", "-sign"])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let signature = child.wait_with_output().unwrap().stdout;
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The answers of the stand-in.
fn answers() -> Vec<Value> {
    let (private, public) = key();
    let server = start(&public);
    let mut all = Vec::new();
    let mut ask = |method: Method, path: &str, request: &str, bearer: &str| {
        let bearer = format!("Bearer {bearer}");
        let (status, body) = server.send(method, path, &[("authorization", &bearer)], "");
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        all.push(
            json!({"from": "the stand-in", "request": request, "status": status, "body": body}),
        );
    };
    let who = "GET /user";
    let mint = "POST /app/installations/{installation_id}/access_tokens";
    let list = "GET /installation/repositories";
    for token in [CLASSIC, FINE, SUSPENDED, UNKNOWN] {
        ask(Method::Get, "/user", who, token);
    }
    for (each, _) in limited() {
        limit(&server, &each);
        ask(Method::Get, "/user", who, CLASSIC);
        limit(&server, &each);
        ask(
            Method::Post,
            "/app/installations/7/access_tokens",
            mint,
            "x",
        );
    }
    ask(
        Method::Post,
        "/app/installations/7/access_tokens",
        mint,
        "x",
    );
    let issuer = json!({
        "kind": "github_app", "base_url": server.url(""), "app_id": APP, "installation_id": 7,
    });
    let issuer = serde_json::from_value(issuer).unwrap();
    let minted = server.mint(&issuer, &private.into()).unwrap();
    let token = minted.value.expose_secret().to_owned();
    let jwt = jwt();
    for id in [7, 8] {
        let path = format!("/app/installations/{id}/access_tokens");
        ask(Method::Post, &path, mint, &jwt);
    }
    ask(Method::Get, "/user", who, &token);
    ask(Method::Get, "/installation/repositories", list, &token);
    ask(
        Method::Delete,
        "/installation/token",
        "DELETE /installation/token",
        &token,
    );
    ask(Method::Get, "/installation/repositories", list, &token);
    all
}

/// Whether answers are as the schemas have them, and what is said of them.
fn checked(answers: &[Value]) -> (bool, String) {
    let place = PathBuf::from(std::env::var_os("LORECTL_ISSUERS").unwrap());
    // Modules are looked for beside the script.
    let script = place.join("conform.mjs");
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/issuers/conform.mjs");
    fs::copy(own, &script).unwrap();
    let child = Command::new("node")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let lines: Vec<String> = answers.iter().map(Value::to_string).collect();
    let mut input = child.stdin.take().unwrap();
    input.write_all(lines.join("\n").as_bytes()).unwrap();
    drop(input);
    let ran = child.wait_with_output().unwrap();
    let said = String::from_utf8(ran.stdout).unwrap();
    (ran.status.success(), said)
}

fn conform() {
    let mut all = answers();
    let statuses: Vec<u64> = all
        .iter()
        .map(|one| one["status"].as_u64().unwrap())
        .collect();
    for status in [200, 201, 204, 401, 403, 404, 429] {
        assert!(statuses.contains(&status), "no {status} in {statuses:?}");
    }
    let stand_in = all.len();
    all.extend(cases("github", "GET /user"));
    all.extend(cases("github_app", "GET /installation/repositories"));
    assert!(all.len() > stand_in + 15);
    let (sound, said) = checked(&all);
    assert!(sound, "{said}");
    assert!(
        said.contains(&format!("{} answers, 0 wrong", all.len())),
        "{said}"
    );
    // A body that is broken is found, of each kind.
    for (broken, why) in [
        ("", "it is no JSON"),
        (
            "{\"login\":\"octocat\",\"id\":1}",
            "must have required property",
        ),
        ("{\"message\":7}", "must be string"),
    ] {
        let status = if why == "must be string" { 401 } else { 200 };
        let answer = json!({"from": "x", "request": "GET /user", "status": status, "body": broken});
        let (sound, said) = checked(&[answer]);
        assert!(!sound && said.contains(why), "{broken}: {said}");
    }
}
