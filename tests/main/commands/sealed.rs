//! `store = "systemd-creds"`: nothing of a value is in the state directory in the clear, and all that goes
//! with other credentials goes with these.
//!
//! Each host has a key of its own: a directory that is mounted where systemd keeps its own, for the command
//! alone. So these want root and systemd-creds, and are listed as ignored; `tests/run` runs them.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{
    snapshot,
    world::{Call, Ran, World},
};

/// A value that is searched for in everything.
const CANARY: &str = "canary-2c61-value-that-never-shows";
/// Another.
const SECOND: &str = "canary-e07d-value-that-never-shows";

const SPEC: &str = r#"
[credentials.app]
store = "systemd-creds"
source = { env = "TOKEN" }
deliver = [{ file = "OUT/token" }]
"#;

/// A shell's words that run a script with what a host's systemd keeps in `key`.
pub fn on_host(key: &Path, script: &str) -> String {
    fs::create_dir_all(key).unwrap();
    format!(
        "exec unshare --mount --propagation private /bin/sh -c '{}'",
        format!(
            "mount --bind {} /var/lib/systemd && {script}",
            key.display()
        )
        .replace('\'', "'\\''")
    )
}

/// A world with two hosts and a counter of how often systemd-creds is run.
struct Host {
    world: World,
}

impl Host {
    fn new(spec: &str) -> Self {
        let world = World::new();
        fs::create_dir(world.path().join("out")).unwrap();
        world.spec(&spec.replace("OUT", world.path().join("out").to_str().unwrap()));
        let host = Self { world };
        let log = host.path("calls");
        let real = host.path("real");
        fs::copy("/usr/bin/systemd-creds", &real).unwrap();
        host.world.program(
            "counted",
            &format!(
                "#!/bin/sh\necho \"$1 $2\" >>{}\nexec {} \"$@\"\n",
                log.display(),
                real.display()
            ),
        );
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.path().join(name)
    }

    /// A script on one of the hosts.
    fn script(&self, host: &str, script: &str) -> Call<'_> {
        let counted = self.world.spec_dir().join("counted");
        let script = format!(
            "mount --bind {} /usr/bin/systemd-creds && {script}",
            counted.display()
        );
        self.world.shell(&on_host(&self.path(host), &script))
    }

    fn lore(&self, words: &str, token: &str) -> Ran {
        let script = format!("exec \"$LORECTL\" {words}");
        self.script("this", &script).env("TOKEN", token).run()
    }

    /// What systemd-creds was run for since this was asked last.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.path("calls"));
        text.lines().map(ToOwned::to_owned).collect()
    }

    fn stored(&self, name: &str, file: &str) -> PathBuf {
        self.world.state().join("secrets").join(name).join(file)
    }

    /// What units are given that load the value of a credential by some name.
    fn opened(&self, name: &str, by: &str) -> Result<String, String> {
        let file = self.stored(name, "value");
        let script = format!(
            "exec systemd-creds decrypt --name={by} {} -",
            file.display()
        );
        let ran = self
            .world
            .shell(&on_host(&self.path("this"), &script))
            .run();
        match ran.status {
            0 => Ok(ran.stdout),
            _ => Err(ran.stderr),
        }
    }

    /// The files of the state directory that hold a value in a form in which one may leak.
    fn leaks(&self) -> Vec<String> {
        let mut found = Vec::new();
        search(&self.path("state"), &mut found);
        found
    }

    fn change(&self, from: &str, to: &str) {
        let path = self.world.spec_dir().join("lore.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replace(from, to)).unwrap();
    }
}

fn search(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            search(&path, found);
            continue;
        }
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        // As it is, in hex, and in base64 wherever in it that begins.
        let forms = ["canary-", "63616e617279", "Y2FuYXJ5", "NhbmFye", "jYW5hcn"];
        if forms.iter().any(|form| text.contains(form)) {
            found.push(path.display().to_string());
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

const NOTHING: [String; 0] = [];

#[test]
#[ignore = "wants root, unshare and systemd-creds: tests/run"]
fn nothing_of_a_value_is_in_the_state_directory() {
    let host = Host::new(SPEC);
    let plan = host.lore("plan", CANARY).exits(0);
    // The head names the spec's digest, which holds the path of this world.
    let (_, body) = plan.stdout.split_once('\n').unwrap();
    snapshot("sealed-plan", body);
    assert_eq!(host.calls(), NOTHING, "a first plan encrypts nothing");
    host.lore("apply -y", CANARY).exits(0).says("1 created");
    assert_eq!(
        host.calls(),
        [
            "encrypt --name=app",
            "encrypt --name=lorectl-acme.seal",
            // What was written is read back.
            "decrypt --name=lorectl-acme.seal"
        ]
    );
    assert_eq!(host.opened("app", "app").as_deref(), Ok(CANARY));
    let why = host.opened("app", "other").unwrap_err();
    assert!(why.contains("does not match"), "{why}");
    assert_eq!(read(&host.path("out/token")), CANARY);
    assert_eq!(host.leaks(), NOTHING);
    for file in ["secrets/app/value", "secrets/app/record.json", "seal.cred"] {
        let mode = fs::metadata(host.world.state().join(file))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o7777, 0o600, "{file}");
    }
    host.lore("plan --detailed-exitcode", CANARY).exits(0);
    host.lore("drift --detailed-exitcode", CANARY).exits(0);
    host.lore("state export --out export.json", CANARY).exits(0);
    // Another value; the one of before is in nobody's way.
    host.lore("apply -y", SECOND).exits(0).says("1 changed");
    assert_eq!(host.opened("app", "app").as_deref(), Ok(SECOND));
    host.lore("apply -y", "").exits(0).says("No changes");
    for words in ["credential list", "status", "doctor --offline"] {
        host.lore(words, SECOND).exits(0);
    }
    host.lore("credential validate app", SECOND).exits(0);
    assert_eq!(host.leaks(), NOTHING);
    // What someone else had put where it is delivered may be a token too.
    fs::write(host.path("out/token"), "canary-of-others").unwrap();
    host.lore("apply -y", SECOND).exits(0);
    assert_eq!(host.leaks(), NOTHING);
    host.lore("destroy -y", SECOND).exits(0);
    assert!(!host.stored("app", "").exists() && !host.path("out/token").exists());
}

#[test]
#[ignore = "wants root, unshare and systemd-creds: tests/run"]
fn a_command_opens_a_thousand_with_one_process() {
    let one = |at: usize| {
        format!(
            "\n[credentials.c{at}]\nstore = \"systemd-creds\"\nsource = {{ env = \"TOKEN\" }}\n"
        )
    };
    let host = Host::new(&(0..20).map(one).collect::<String>());
    host.lore("apply -y", CANARY).exits(0);
    host.calls();
    for words in [
        "plan",
        "plan --offline",
        "drift",
        "credential list",
        "status",
        "apply -y",
    ] {
        host.lore(words, CANARY).exits(0);
        assert_eq!(
            host.calls(),
            ["decrypt --name=lorectl-acme.seal"],
            "{words}"
        );
    }
    // Nor does another project's plan open what is none of its own.
    host.change("acme", "other");
    host.lore("plan", CANARY).exits(0);
    host.lore("validate", CANARY).exits(0);
    assert_eq!(host.calls(), NOTHING);
}

#[test]
#[ignore = "wants root, unshare and systemd-creds: tests/run"]
fn whatever_became_of_the_encrypted_file_is_drift() {
    let two = "\n[credentials.two]\nstore = \"systemd-creds\"\nsource = { env = \"TOKEN\" }\n";
    let host = Host::new(&format!("{SPEC}{two}"));
    host.lore("apply -y", CANARY).exits(0);
    let file = host.stored("app", "value");
    let again = format!(
        "printf {CANARY} | systemd-creds encrypt --name=app - {} 2>&1",
        file.display()
    );
    let spoils: [(&str, &dyn Fn()); 6] = [
        ("found another value", &|| {
            fs::copy(host.stored("two", "value"), &file).unwrap();
        }),
        ("found another value", &|| {
            let script = on_host(&host.path("this"), &again);
            host.world.shell(&script).run().exits(0);
        }),
        ("found another value", &|| fs::write(&file, "").unwrap()),
        ("found another value", &|| fs::write(&file, CANARY).unwrap()),
        ("found 0644 0:0", &|| {
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        }),
        ("gone", &|| fs::remove_file(&file).unwrap()),
    ];
    for (found, spoil) in spoils {
        spoil();
        let drift = host.lore("drift --detailed-exitcode", CANARY).exits(2);
        drift.says(&format!("value: applied stored, {found}"));
        host.lore("apply -y", CANARY).exits(0).says("1 changed");
        assert_eq!(host.opened("app", "app").as_deref(), Ok(CANARY), "{found}");
        host.lore("drift --detailed-exitcode", CANARY).exits(0);
        assert_eq!(host.leaks(), NOTHING);
    }
    // A record in which a value stands that was sealed for another is not believed.
    let record = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&fs::read(host.stored(name, "record.json")).unwrap()).unwrap()
    };
    let mut forged = record("app");
    forged["generations"][0]["value"] = record("two")["generations"][0]["value"].clone();
    fs::write(host.stored("app", "record.json"), forged.to_string()).unwrap();
    let refused = host
        .lore("plan", CANARY)
        .exits(65)
        .complains("STATE_CORRUPT");
    refused.says("holds what was not sealed for it");
}

#[test]
#[ignore = "wants root, unshare and systemd-creds: tests/run"]
fn another_store_leaves_no_clear_copy_behind_and_is_undone() {
    let clear = SPEC.replace("store = \"systemd-creds\"\n", "");
    let host = Host::new(&clear);
    host.lore("apply -y", CANARY).exits(0);
    assert_eq!(host.leaks().len(), 2);
    // What depends on it fails after it was encrypted: it is as before.
    let next = "\n[credentials.next]\nsource = { command = [\"/bin/echo\", \"x\"] }\ndepends_on = [\"credential.app\"]\ndeliver = [{ file = \"/nowhere/token\" }]\n";
    host.change(
        "[credentials.app]\n",
        "[credentials.app]\nstore = \"systemd-creds\"\n",
    );
    let spec = read(&host.world.spec_dir().join("lore.toml"));
    host.world.file("lore.toml", format!("{spec}{next}"));
    host.lore("apply -y", CANARY).exits(1);
    assert_eq!(read(&host.stored("app", "value")), CANARY);
    host.world.file("lore.toml", &spec);
    host.lore("plan", CANARY).says("store file → systemd-creds");
    host.lore("apply -y", CANARY).exits(0).says("1 changed");
    assert_eq!(host.opened("app", "app").as_deref(), Ok(CANARY));
    assert_eq!(host.leaks(), NOTHING);
    // A failed rotation brings the very bytes back.
    let before = fs::read(host.stored("app", "value")).unwrap();
    host.world.file("lore.toml", format!("{spec}{next}"));
    host.lore("apply -y", SECOND).exits(1);
    assert_eq!(fs::read(host.stored("app", "value")).unwrap(), before);
    assert_eq!(read(&host.path("out/token")), CANARY);
    host.world.file("lore.toml", &spec);
    host.lore("drift --detailed-exitcode", CANARY).exits(0);
    // And back.
    host.change("store = \"systemd-creds\"", "store = \"file\"");
    host.lore("apply -y", CANARY).exits(0).says("1 changed");
    assert_eq!(read(&host.stored("app", "value")), CANARY);
    host.lore("plan --detailed-exitcode", CANARY).exits(0);
}

#[test]
#[ignore = "wants root, unshare and systemd-creds: tests/run"]
fn a_state_from_another_host_is_refused_with_what_helps() {
    let host = Host::new(&format!(
        "{SPEC}\n[credentials.clear]\nsource = {{ env = \"TOKEN\" }}\n"
    ));
    host.lore("apply -y", CANARY).exits(0);
    let there = |words: &str| {
        let call = host.script("other", &format!("exec \"$LORECTL\" {words}"));
        call.env("TOKEN", CANARY).run()
    };
    for words in [
        "plan",
        "apply -y",
        "drift",
        "credential list",
        "status",
        "credential validate app",
    ] {
        let refused = there(words).exits(65).complains("STATE_CORRUPT");
        refused.says("seal.cred cannot be opened on this host");
    }
    there("doctor --offline")
        .exits(1)
        .says("seal.cred cannot be opened on this host");
    // What has no value in it needs no key.
    there("state export --out export.json").exits(0);
    there("validate").exits(0);
    // The command that the message names.
    let refused = there("plan --json").exits(65);
    let told: serde_json::Value = serde_json::from_str(&refused.stdout).unwrap();
    let help = told["error"]["suggestion"].as_str().unwrap();
    let command = help
        .split('`')
        .find(|part| part.starts_with("rm -rf"))
        .unwrap();
    let named = host.world.path().file_name().unwrap().to_str().unwrap();
    let command = command.replace("lorectl-______", named);
    assert!(
        command.contains("/secrets/app") && !command.contains("/secrets/clear"),
        "{command}"
    );
    host.world.shell(&command).run().exits(0);
    there("apply -y").exits(0).says("1 created");
    there("plan --detailed-exitcode").exits(0);
    assert!(host.opened("app", "app").is_err());
}

#[test]
#[ignore = "wants root, unshare and systemd-creds: tests/run"]
fn a_lost_key_is_told_and_a_lost_state_rebuilt() {
    let host = Host::new(SPEC);
    host.lore("apply -y", CANARY).exits(0);
    let (seal, aside) = (host.world.state().join("seal.cred"), host.path("aside"));
    fs::rename(&seal, &aside).unwrap();
    let refused = host
        .lore("plan", CANARY)
        .exits(65)
        .complains("STATE_CORRUPT");
    refused.says("seal.cred is gone");
    // Nor does another credential make another seal in its place.
    let spec = read(&host.world.spec_dir().join("lore.toml"));
    let next = "\n[credentials.next]\nstore = \"systemd-creds\"\nsource = { env = \"TOKEN\" }\n";
    host.world.file("lore.toml", format!("{spec}{next}"));
    host.lore("apply -y --target credential.next", CANARY)
        .exits(1)
        .says("seal.cred is gone");
    assert!(!seal.exists() && !host.stored("next", "").exists());
    host.world.file("lore.toml", &spec);
    fs::rename(&aside, &seal).unwrap();
    for gone in ["state.json", "backups", "journal"] {
        let path = host.world.state().join(gone);
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
    }
    host.lore("plan", CANARY).exits(65).says("STATE_LOST");
    host.lore("state repair", CANARY)
        .exits(0)
        .says("credential.app");
    host.lore("apply -y", CANARY).exits(0);
    host.lore("plan --detailed-exitcode", CANARY).exits(0);
}

#[test]
#[ignore = "wants root, unshare and systemd-creds: tests/run"]
fn where_it_cannot_hold_it_is_refused_by_the_plan() {
    let host = Host::new(SPEC);
    // No systemd-creds.
    let bare = |words: &str| {
        let script =
            format!("mount --bind /dev/null /usr/bin/systemd-creds && exec \"$LORECTL\" {words}");
        let call = host.world.shell(&on_host(&host.path("this"), &script));
        call.env("TOKEN", CANARY).run()
    };
    let refused = bare("plan").exits(69).complains("BACKEND_UNAVAILABLE");
    refused.says("there is no `systemd-creds` on this host");
    bare("apply -y").exits(69);
    assert!(!host.world.state().join("secrets").exists());
    host.lore("apply -y", CANARY).exits(0);
    let refused = bare("credential list")
        .exits(69)
        .complains("BACKEND_UNAVAILABLE");
    refused.says("install systemd 250 or newer");
    // No key that it would encrypt with: nothing is half-done.
    fs::remove_dir_all(host.path("state")).unwrap();
    fs::remove_file(host.path("out/token")).unwrap();
    let script = "mount -t tmpfs tmpfs /var/lib/systemd && mount -o remount,ro /var/lib/systemd && exec \"$LORECTL\" apply -y";
    let call = host.world.shell(&on_host(&host.path("this"), script));
    call.env("TOKEN", CANARY)
        .run()
        .exits(1)
        .says("encrypts and opens nothing here");
    assert!(!host.stored("app", "").exists() && !host.path("out/token").exists());
    // Who is not root: of a namespace in which nobody is.
    let call = host
        .world
        .shell("exec unshare --user \"$LORECTL\" plan")
        .env("LORECTL_STATE_DIR", host.path("none"));
    let refused = call
        .env("TOKEN", CANARY)
        .run()
        .exits(65)
        .complains("SPEC_INVALID");
    refused.says("only what root applies is encrypted by systemd-creds");
    // Services that systemd does not run with the system's key.
    for (scheduler, at) in [
        (
            "scheduler = \"worker\"\nenv = { T = { credential = \"app\" } }",
            "`worker` cannot open it",
        ),
        (
            "scheduler = \"systemd-user\"\nenv = { T = { credential = \"app\" } }",
            "`systemd-user` cannot open it",
        ),
        (
            "scheduler = \"worker\"\nping = { credential = \"app\" }",
            "`worker` cannot open it",
        ),
    ] {
        let service = format!(
            "\n[services.job]\nschedule = {{ every = \"1h\" }}\nrun = [\"true\"]\n{scheduler}\n"
        );
        let out = host.path("out").display().to_string();
        host.world
            .spec(&format!("{}{service}", SPEC.replace("OUT", &out)));
        let refused = host
            .lore("plan", CANARY)
            .exits(65)
            .complains("SPEC_INVALID");
        refused.says(at);
    }
}

/// Kills an apply at each of its renames: the next one mends what it left.
#[test]
#[ignore = "wants root, unshare, strace and systemd-creds: tests/run"]
fn a_kill_between_the_files_is_mended_by_the_next_apply() {
    for at in 1..40 {
        let host = Host::new(&SPEC.replace("store = \"systemd-creds\"\n", ""));
        host.lore("apply -y", CANARY).exits(0);
        // Another store and another value in one.
        host.change(
            "[credentials.app]\n",
            "[credentials.app]\nstore = \"systemd-creds\"\n",
        );
        let renames = "rename,renameat,renameat2";
        let script = format!(
            "exec strace -qq -o /dev/null -e trace={renames} -e inject={renames}:signal=SIGKILL:when={at} \"$LORECTL\" apply -y"
        );
        let ran = host.script("this", &script).env("TOKEN", SECOND).run();
        if ran.status == 0 {
            assert!(at > 4, "the renames were {}", at - 1);
            return;
        }
        let mended = host.lore("apply -y", SECOND).exits(0);
        assert_eq!(
            host.opened("app", "app").as_deref(),
            Ok(SECOND),
            "{at}: {mended:?}"
        );
        assert_eq!(read(&host.path("out/token")), SECOND);
        assert_eq!(host.leaks(), NOTHING, "{at}");
        host.lore("plan --detailed-exitcode", SECOND).exits(0);
    }
    panic!("it never ended");
}
