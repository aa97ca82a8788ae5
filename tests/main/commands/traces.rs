//! What `-v` tells, and that it tells nothing to programs.

use super::{
    listener::{Answer, Listener},
    snapshot,
    world::World,
};

/// A credential with an issuer whose URL has a path, and a service that posts to a URL which is a secret.
fn world(issuer: &Listener) -> World {
    let world = World::new();
    world.spec(&format!(
        r#"
[credentials.gl]
provider = "gitlab"
base_url = "{}"
source = {{ env = "GL" }}
[services.job]
schedule = {{ every = "1h" }}
scheduler = "worker"
run = ["true"]
"#,
        issuer.url("")
    ));
    world
}

const TOKEN: &str = "glpat-ValueThatNeverShows1";

/// A trace without what differs between machines and runs: a port, names that are drawn, the size of what
/// holds a host's name, what only root looks at, and what is no trace.
fn told(stderr: &str, port: &str) -> String {
    let mut told = String::new();
    for line in stderr.replace(&format!(":{port}"), ":PORT").lines() {
        let traced = [" info  ", " debug ", " trace "]
            .iter()
            .any(|word| line.contains(word));
        if !traced || line.contains(".tmp") || line.contains("=systemd-") {
            continue;
        }
        let words = line
            .split(' ')
            .map(|word| match word.split_once("/journal/") {
                Some((before, _)) => format!("{before}/journal/…"),
                None if word.starts_with("bytes=") => "bytes=…".to_owned(),
                None => word.to_owned(),
            });
        told += &words.collect::<Vec<_>>().join(" ");
        told.push('\n');
    }
    told
}

#[test]
fn each_v_tells_more_and_only_on_standard_error() {
    let live = Answer::With(
        200,
        "Content-Type: application/json\r\n",
        "{\"active\":true,\"revoked\":false,\"scopes\":[\"api\"]}".to_owned(),
    );
    let issuer = Listener::issuer([live]);
    let world = world(&issuer);
    let lore = |words: &str| {
        let words = words.split(' ');
        world.command(words).env("GL", TOKEN).run().exits(0)
    };
    let port = issuer.url("").rsplit_once(':').unwrap().1.to_owned();
    let told = |stderr: &str| told(stderr, &port);
    snapshot("trace-apply", &told(&lore("apply -y -vvv").stderr));
    snapshot(
        "trace-validate",
        &told(&lore("credential validate gl -vv").stderr),
    );
    snapshot("trace-plan", &told(&lore("plan -v").stderr));
    // The same command tells the same.
    assert_eq!(lore("plan -v").stderr, lore("plan -v").stderr);
    let [plain, traced] = ["plan --json", "plan --json -vvv"].map(lore);
    assert_eq!(plain.stderr, "");
    assert!(traced.stderr.contains(" trace "), "{}", traced.stderr);
    let document = |text: &str| {
        let mut json: serde_json::Value = serde_json::from_str(text).unwrap();
        json["meta"] = serde_json::Value::Null;
        json
    };
    assert_eq!(document(&plain.stdout), document(&traced.stdout));
    lore("plan -q -vvv").quiet();
}

#[test]
fn of_a_url_that_is_a_secret_the_host_is_told() {
    let sink = Listener::start([Answer::status(200)]);
    let world = World::new();
    let url = world.path().join("url");
    std::fs::write(&url, sink.url("/T0/p4th-that-never-shows?q=1")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&url, mode).unwrap();
    world.spec(&format!(
        "\n[services.job]\nschedule = {{ every = \"1h\" }}\nscheduler = \"worker\"\nrun = [\"true\"]\nping = {{ file = \"{}\" }}\n",
        url.display()
    ));
    world.run("apply -y").exits(0);
    let ran = world.run("service trigger job -vvv").exits(0);
    assert!(sink.seen()[0].what.contains("p4th"));
    let host = sink.url("").replace("http://", "");
    assert!(
        ran.stderr
            .contains(&format!("method=GET url={host} status=200")),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains("p4th"), "{}", ran.stderr);
}
