//! A canary in every source, and every byte that is written searched for it.
//!
//! `strace` shows each write of each thread. A value may go to the store, to where it is delivered, and
//! to the issuer that the spec names; to anything else it may not, in any form that one reads back.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use lorectl::view::{self, terminal::ColorChoice};

use super::{
    listener::{Answer, Listener},
    sealed,
    world::World,
};

/// A key of a GitHub App, made for tests.
const APP_KEY: &str = include_str!("../../../src/credential/mint/tests/pkcs8.pem");

/// What is planted, and where: with characters that every encoding changes.
const PLANTED: [(&str, &str); 11] = [
    ("env", "canary+env/7f3a=value:that-never@shows"),
    ("file", "canary+file/18c2?=&value~that<never>shows"),
    ("command", "canary+command/93d1?=&value~that<never>shows"),
    ("systemd", "canary+systemd/5b0e?=&value~that<never>shows"),
    ("client", "canary+client/c61f?=&value~that<never>shows"),
    ("access", "canary+access/0d72?=value~that-never-shows"),
    (
        "hub admin",
        "canary+hub-admin/e4a9?=&value~that<never>shows",
    ),
    ("hub", "canary+hub/2f86?=value~that-never-shows"),
    ("gitlab", "glpat-canary3b57ValueThatNeverShows"),
    ("app", "ghs_canary6e1dValueThatNeverShows00000000"),
    ("bad form", "canary+bad form/a90c?=&value"),
];

fn planted(name: &str) -> &'static str {
    let found = PLANTED.iter().find(|(known, _)| *known == name);
    found.unwrap().1
}

/// Every form of a value in which it could be read back.
fn forms(value: &str) -> Vec<String> {
    let hex = |format: fn(u8) -> String| value.bytes().map(format).collect::<String>();
    let mut forms = vec![
        value.to_owned(),
        hex(|byte| format!("{byte:02x}")),
        hex(|byte| format!("{byte:02X}")),
        url::form_urlencoded::byte_serialize(value.as_bytes()).collect(),
        serde_json::to_string(value)
            .unwrap()
            .trim_matches('"')
            .to_owned(),
        format!("{value:?}").trim_matches('"').to_owned(),
    ];
    for table in ["+/", "-_"] {
        // It may begin at any of the three places within a group; what both ends share with their
        // neighbours is left off.
        for pad in 0..3 {
            let bytes = [&b"\0\0"[..pad], value.as_bytes()].concat();
            let whole = bytes.len() / 3 * 4;
            let text = base64(&bytes, table.as_bytes());
            forms.push(text[(pad * 4).div_ceil(3)..whole].to_owned());
        }
    }
    forms.sort();
    forms.dedup();
    forms
}

/// RFC 4648, unpadded; the last two characters are given.
fn base64(bytes: &[u8], last: &[u8]) -> String {
    let letters: Vec<u8> = (b'A'..=b'Z')
        .chain(b'a'..=b'z')
        .chain(b'0'..=b'9')
        .collect();
    let letters = [&letters[..], last].concat();
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let all = group
            .iter()
            .fold(0, |all, byte| all << 8 | u32::from(*byte));
        let all = all << (8 * (3 - group.len()));
        for at in 0..=group.len() {
            let letter = all >> (18 - 6 * at) & 63;
            text.push(char::from(letters[letter as usize]));
        }
    }
    text
}

/// The canaries that stand in some bytes, in any form.
fn shown(bytes: &[u8], needles: &[(&'static str, Vec<String>)]) -> Vec<&'static str> {
    let has = |needle: &str| {
        let mut windows = bytes.windows(needle.len());
        windows.any(|window| window == needle.as_bytes())
    };
    let found = (needles.iter()).filter(|(_, forms)| forms.iter().any(|form| has(form)));
    found.map(|(name, _)| *name).collect()
}

/// A place with every kind of source.
struct Farm {
    world: World,
    needles: Vec<(&'static str, Vec<String>)>,
    /// The listeners: of GitLab, of the server of tokens, of the hub, of GitHub.
    issuers: [Listener; 4],
    /// Whether the store holds nothing in the clear: then each value is encrypted by systemd-creds.
    is_sealed: bool,
    /// Who hears of all of them.
    hook: Listener,
    /// How many commands were searched.
    searched: usize,
    /// How often a value went to systemd-creds.
    sealed: usize,
    /// What all of them traced.
    traced: String,
    leaks: BTreeSet<String>,
}

impl Farm {
    fn new(is_sealed: bool) -> Self {
        let world = World::new();
        let issuers = [(); 4].map(|()| Listener::issuer([Answer::Close]));
        let [gitlab, server, hub, github] = [0, 1, 2, 3].map(|at: usize| issuers[at].url(""));
        let hook = Listener::start([Answer::status(200)]);
        for dir in ["out", "passed"] {
            fs::create_dir(world.path().join(dir)).unwrap();
        }
        let out = world.path().join("out").display().to_string();
        let spec = format!(
            r#"
[credentials.env]
source = {{ env = "PLAIN" }}
deliver = [{{ file = "{out}/env" }}, {{ env_file = "{out}/vars", name = "TOKEN" }}]
[credentials.file]
source = {{ file = "{out}/in" }}
[credentials.command]
source = {{ command = ["./mint"] }}
[credentials.passed]
source = {{ systemd = "passed" }}
[credentials.client]
source = {{ env = "CLIENT" }}
[credentials.access]
source = {{ oauth2 = {{ token_url = "{server}/token", client_id = "acme", secret = "client", revoke_url = "{server}/revoke" }} }}
deliver = [{{ file = "{out}/access" }}]
[credentials.admin]
source = {{ env = "HUB" }}
[credentials.hub]
provider = "jupyterhub"
base_url = "{hub}"
source = {{ jupyterhub = {{ user = "lore", token = "admin" }} }}
[credentials.gl]
provider = "gitlab"
base_url = "{gitlab}"
source = {{ env = "GL" }}
rotate = {{ before = "1d", ttl = "90d" }}
deliver = [{{ file = "{out}/gl" }}]
[credentials.key]
source = {{ file = "{out}/key.pem" }}
[credentials.app]
provider = "github_app"
base_url = "{github}"
source = {{ github_app = {{ app_id = "acme", installation_id = 7, key = "key" }} }}
"#
        );
        let store = if is_sealed { "systemd-creds" } else { "file" };
        let keys = format!("\nstore = \"{store}\"\nnotify = [\"ops\"]\nsource = ");
        let (spec, url) = (spec.replace("\nsource = ", &keys), hook.url("/hook"));
        world.spec(&format!("[notify.ops]\nwebhook = \"{url}\"\n{spec}"));
        let private = |path: PathBuf, text: &str| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        };
        private(world.path().join("out/in"), planted("file"));
        private(world.path().join("out/key.pem"), APP_KEY);
        private(world.path().join("passed/passed"), planted("systemd"));
        // It says its secret on both streams, as careless programs do.
        let (value, path) = (planted("command"), world.path().join("passed/value"));
        private(path.clone(), value);
        let path = path.display();
        world.program(
            "mint",
            &format!("#!/bin/sh\ncat {path} >&2\nexec cat {path}\n"),
        );
        let mut needles: Vec<_> = (PLANTED.iter())
            .map(|(name, value)| (*name, forms(value)))
            .collect();
        let line = APP_KEY.lines().nth(5).unwrap().to_owned();
        needles.push(("app key", vec![line]));
        Self {
            world,
            needles,
            issuers,
            is_sealed,
            hook,
            searched: 0,
            sealed: 0,
            traced: String::new(),
            leaks: BTreeSet::new(),
        }
    }

    /// Every issuer says yes.
    fn good(&self) {
        let json =
            |status, body: String| Answer::With(status, "Content-Type: application/json\r\n", body);
        let [gitlab, server, hub, github] = &self.issuers;
        let of = |token: &str| {
            format!(
                "{{\"active\":true,\"revoked\":false,\"user_id\":7,\"scopes\":[\"api\"],\"expires_at\":\"2026-03-01\",\"id\":8,\"token\":\"{token}\"}}"
            )
        };
        gitlab.answer([json(200, of(planted("gitlab")))]);
        let access = planted("access");
        server.answer([json(
            200,
            format!(
                "{{\"access_token\":\"{access}\",\"token_type\":\"Bearer\",\"expires_in\":36000}}"
            ),
        )]);
        let token = planted("hub");
        hub.answer([json(
            200,
            format!(
                "{{\"id\":\"a1\",\"token\":\"{token}\",\"scopes\":[],\"name\":\"lore\",\"api_tokens\":[]}}"
            ),
        )]);
        let token = planted("app");
        let expires = "2026-02-03T05:05:06Z";
        github.answer([
            json(
                201,
                format!("{{\"token\":\"{token}\",\"expires_at\":\"{expires}\"}}"),
            ),
            json(200, "{\"total_count\":1}".to_owned()),
        ]);
    }

    /// Every issuer says no, and with it what it was asked with.
    fn echo(&self) {
        for issuer in &self.issuers {
            let all: Vec<&str> = PLANTED.iter().map(|(_, value)| *value).collect();
            let body = serde_json::json!({"error": "invalid_token", "error_description": all, "message": all.concat(), "detail": all});
            let headers = "Content-Type: application/json\r\nWWW-Authenticate: Bearer error=\"glpat-canary3b57ValueThatNeverShows\"\r\n";
            issuer.answer([Answer::With(401, headers, body.to_string())]);
        }
    }

    /// Whether a file is one that holds values by right.
    fn is_right(&self, path: &str) -> bool {
        let state = self.world.path().join("state/acme/secrets");
        let mut held = vec![
            self.world.path().join("out"),
            self.world.path().join("passed"),
        ];
        held.extend((!self.is_sealed).then_some(state));
        // What is to be told lies beside the values, and holds none.
        held.iter().any(|dir| Path::new(path).starts_with(dir)) && !path.contains("outbox.json")
    }

    /// Runs a command under `strace`, and searches all that it writes.
    fn run(&mut self, words: &str, now: &str, gitlab: &str) {
        let trace = tempfile::NamedTempFile::new().unwrap();
        let mut script = format!(
            "exec strace -f -qq -yy -xx -s 4194304 -o {} -e trace=execve,dup2,dup3,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,sendmmsg -- \"$LORECTL\" -vvv {words}",
            trace.path().display()
        );
        if self.is_sealed {
            script = sealed::on_host(&self.world.path().join("key"), &script);
        }
        let ran = self.world.shell(&script);
        let ran = ran
            .env("PLAIN", planted("env"))
            .env("CLIENT", planted("client"))
            .env("HUB", planted("hub admin"))
            .env("GL", gitlab)
            .env(
                "CREDENTIALS_DIRECTORY",
                self.world.path().join("passed").to_str().unwrap(),
            )
            .env("LORECTL_NOW", now)
            .run();
        let both = format!("{}{}", ran.stdout, ran.stderr);
        assert!(
            !both.contains("panicked") && ran.status < 128,
            "{words}: {both}"
        );
        let json = words.contains("--json") || words.contains("--events");
        for line in ran.stdout.lines().filter(|_| json) {
            assert!(line.starts_with('{'), "{words}: {line}");
        }
        self.traced += &ran.stderr;
        for name in shown(both.as_bytes(), &self.needles) {
            self.leaks.insert(format!("{words}: prints {name}: {both}"));
        }
        let text = fs::read_to_string(trace.path()).unwrap();
        let writes = self.search(words, &text);
        assert!(writes > 0, "{words} writes nothing: {both}");
        let all = self.world.path().to_path_buf();
        self.files(words, &all);
        self.searched += 1;
    }

    /// Searches the writes of a trace; how many there were.
    fn search(&mut self, words: &str, trace: &str) -> usize {
        let mut others = BTreeSet::new();
        let mut writes = 0;
        let pipes = sealing_pipes(trace);
        for line in trace.lines() {
            let (pid, call) = line.split_once(' ').unwrap();
            let call = call.trim_start();
            if call.starts_with("execve(") {
                for name in shown(&bytes(call), &self.needles) {
                    self.leaks.insert(format!("{words}: {name} is an argument"));
                }
                // A program of the spec writes what it likes; its own pipe is how it gives a value.
                let program = call.split('"').nth(1).unwrap_or_default();
                let ours = unescaped(program).ends_with("/lorectl");
                if !ours {
                    others.insert(pid.to_owned());
                }
                continue;
            }
            if others.contains(pid) || call.starts_with("dup") {
                continue;
            }
            let behind = call.split_once('<').map_or("", |(_, rest)| rest);
            let behind = behind.split_once(">,").map_or(behind, |(behind, _)| behind);
            writes += 1;
            if pipes.contains(&unescaped(behind)) {
                self.sealed += shown(&bytes(call), &self.needles).len();
                continue;
            }
            if behind.starts_with("TCP") || self.is_right(&unescaped(behind)) {
                continue;
            }
            for name in shown(&bytes(call), &self.needles) {
                self.leaks
                    .insert(format!("{words}: writes {name} to {behind}"));
            }
        }
        writes
    }

    /// Searches every file.
    fn files(&mut self, words: &str, dir: &Path) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.files(words, &path);
            } else if !self.is_right(path.to_str().unwrap()) {
                for name in shown(&fs::read(&path).unwrap(), &self.needles) {
                    let path = path.display();
                    self.leaks
                        .insert(format!("{words}: leaves {name} in {path}"));
                }
            }
        }
    }
}

/// The pipes from which systemd-creds reads, as a trace tells.
fn sealing_pipes(trace: &str) -> BTreeSet<String> {
    let (mut inputs, mut pipes) = (BTreeMap::new(), BTreeSet::new());
    for line in trace.lines() {
        let (pid, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        if call.starts_with("dup") {
            // dup2(5<pipe:[1234]>, 0</dev/null>) = 0<pipe:[1234]>
            if let Some((_, input)) = call.split_once(" = 0<") {
                let input = input.split(['<', '>']).next().unwrap_or_default();
                inputs.insert(pid, unescaped(input));
            }
        } else if call.starts_with("execve(") {
            let program = unescaped(call.split('"').nth(1).unwrap_or_default());
            if program.ends_with("/systemd-creds") {
                pipes.extend(inputs.get(pid).cloned());
            }
        }
    }
    pipes
}

/// What `-xx` wrote out, of all strings of a call.
fn bytes(call: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in call.split('"').skip(1).step_by(2) {
        let pairs = piece.split("\\x").skip(1);
        bytes.extend(pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()));
    }
    bytes
}

fn text(call: &str) -> String {
    String::from_utf8_lossy(&bytes(call)).into_owned()
}

/// A path behind a descriptor, which `-xx` may have written out too.
fn unescaped(path: &str) -> String {
    if !path.contains("\\x") {
        return path.to_owned();
    }
    text(&format!("\"{path}\""))
}

/// All that one does with credentials, and that looks at them. Each is traced as deep as it goes.
const COMMANDS: [&str; 20] = [
    "validate",
    "plan",
    "plan --json --out plan.json",
    "apply -y",
    "apply -y --events",
    "drift",
    "drift --json",
    "status",
    "status --json",
    "credential list",
    "credential list --json",
    "credential validate gl",
    "credential validate hub --json",
    "credential rotate gl -y",
    "credential rotate access -y --events",
    "history --json",
    "doctor",
    "observe --out seen.json",
    "show plan.json --format html",
    "state export --out export.json",
];

#[test]
#[ignore = "wants strace: tests/run"]
fn no_canary_is_written_but_where_it_belongs() {
    let mut farm = Farm::new(false);
    let gl = planted("gitlab");
    farm.good();
    // One that has not the form of a token is refused, and nothing of it said.
    for words in ["plan", "apply -y", "apply -y --events"] {
        farm.run(words, "2026-02-03T04:05:06Z", planted("bad form"));
    }
    for words in COMMANDS {
        farm.run(words, "2026-02-03T04:05:06Z", gl);
    }
    // They were all there to be found.
    let mut kept = Vec::new();
    for entry in fs::read_dir(farm.world.state().join("secrets")).unwrap() {
        kept.extend(fs::read(entry.unwrap().path().join("record.json")).unwrap_or_default());
    }
    let shown_in_store = shown(&kept, &farm.needles);
    for (name, _) in PLANTED.iter().filter(|(name, _)| *name != "bad form") {
        assert!(
            shown_in_store.contains(name),
            "{name} never came to the store"
        );
    }
    // Issuers that say no, and repeat what they were asked with; then nobody is there.
    farm.echo();
    let late = [
        "2026-02-28T12:00:00Z",
        "2026-02-28T20:00:00Z",
        "2026-02-28T22:00:00Z",
    ];
    for words in COMMANDS {
        farm.run(words, late[0], gl);
    }
    for issuer in &farm.issuers {
        issuer.answer([Answer::Close]);
    }
    for words in COMMANDS {
        farm.run(words, late[1], planted("bad form"));
    }
    farm.good();
    farm.run("destroy -y", late[2], gl);
    assert_eq!(farm.searched, 64);
    // What others heard.
    let heard = farm.hook.seen();
    for event in ["failed", "expiring"] {
        let told = format!("\"event\":\"{event}\"");
        assert!(
            heard.iter().any(|seen| seen.body.contains(&told)),
            "{event}"
        );
    }
    for seen in heard {
        let all = format!("{} {} {}", seen.what, seen.headers, seen.body);
        for name in shown(all.as_bytes(), &farm.needles) {
            farm.leaks.insert(format!("others hear {name}: {all}"));
        }
    }
    // All that can be traced was.
    for told in [
        "loaded the spec",
        "observed",
        "planned",
        "carried out",
        "asked what it is worth",
        "an issuer made a new token",
        "an issuer made no new token",
        "asked method=",
        "not answered method=",
        "a process ended",
        "locked",
        "written",
        "read a secret's file",
        "and not again yet",
    ] {
        assert!(farm.traced.contains(told), "nothing is traced of {told:?}");
    }
    assert!(farm.leaks.is_empty(), "{:#?}", farm.leaks);
}

#[test]
#[ignore = "wants root, unshare, strace and systemd-creds: tests/run"]
fn no_canary_is_in_the_clear_where_the_store_is_encrypted() {
    let mut farm = Farm::new(true);
    let gl = planted("gitlab");
    farm.good();
    for words in COMMANDS {
        farm.run(words, "2026-02-03T04:05:06Z", gl);
    }
    // All of them came to the store.
    let secrets = farm.world.state().join("secrets");
    let values = fs::read_dir(secrets).unwrap();
    let values = values.filter(|entry| entry.as_ref().unwrap().path().join("value").exists());
    assert_eq!(values.count(), 11);
    assert!(farm.sealed >= PLANTED.len() - 1, "{}", farm.sealed);
    farm.echo();
    for words in ["plan", "apply -y", "credential rotate access -y"] {
        farm.run(words, "2026-02-28T12:00:00Z", gl);
    }
    farm.good();
    farm.run("destroy -y", "2026-02-28T22:00:00Z", gl);
    assert_eq!(farm.searched, 24);
    assert!(farm.leaks.is_empty(), "{:#?}", farm.leaks);
}

/// The defect of the test below: it panics with every canary in every form, as no code of ours does.
fn defect() {
    view::defect::listen(ColorChoice::Never);
    let mut said = Vec::new();
    for (name, value) in PLANTED {
        let met = lorectl::credential::value::from_bytes(value.as_bytes().to_vec());
        assert!(met.is_ok(), "{name}");
        let hex: Vec<String> = value.bytes().map(|byte| format!("{byte:02x}")).collect();
        let hex = hex.concat();
        let url: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
        said.extend([
            value.to_owned(),
            hex.to_uppercase(),
            hex,
            url,
            format!("{value:?}"),
        ]);
        for table in ["+/", "-_"] {
            for before in ["", "a", "bc"] {
                let longer = format!("{before}{value}!");
                said.push(base64(longer.as_bytes(), table.as_bytes()));
            }
        }
    }
    let said = said.join(" ");
    let key = lorectl::credential::value::from_bytes(APP_KEY.as_bytes().to_vec());
    assert!(key.is_ok());
    panic!("the defect: {said} {APP_KEY}");
}

#[test]
fn no_canary_is_written_by_a_panic() {
    const MARK: &str = "LORECTL_TEST_PANICS";
    const NAME: &str = "commands::canaries::no_canary_is_written_by_a_panic";
    if std::env::var(MARK).is_ok() {
        return defect();
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--test-threads=1", NAME])
        .env(MARK, "1")
        .output()
        .unwrap();
    let both = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&both).into_owned();
    let told = "error[INTERNAL]: lorectl has a defect: the defect: «value»";
    assert!(text.contains(told), "{text}");
    let farm_needles = PLANTED.map(|(name, value)| (name, forms(value)));
    assert_eq!(shown(&both, &farm_needles), [""; 0], "{text}");
    let line = APP_KEY.lines().nth(5).unwrap();
    assert!(!text.contains(line), "{text}");
}
