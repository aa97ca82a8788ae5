//! Tests of loading as a whole: a directory of files in, a spec or the text of an error out.
#![expect(
    clippy::disallowed_methods,
    reason = "tests write the files that are loaded"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::*;
use crate::effect::disk::RealDisk;

/// Compares a text with the snapshot of that name.
pub fn snapshot(name: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"),
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(format!("spec_{name}"), text);
    });
}

/// A directory with the files of a spec.
struct World(tempfile::TempDir);

impl World {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn load(&self, paths: &[&str]) -> Result<Spec> {
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        let request = Request {
            paths: &paths,
            stdin: None,
            cwd: self.path(),
        };
        load(&request, &RealDisk)
    }
}

/// An error as a view would print it.
fn shown(error: &Error) -> String {
    let mut text = format!("{}: {}\n", error.code, error.message);
    for detail in &error.details {
        text.push_str(detail);
        text.push('\n');
    }
    if let Some(suggestion) = &error.suggestion {
        text.extend(["help: ", suggestion, "\n"]);
    }
    text
}

/// What loading `lore.toml` with this text ends in.
fn fault(text: &str) -> String {
    match World::new(&[("lore.toml", text)]).load(&[]) {
        Ok(spec) => format!("loaded {} services\n", spec.services.len()),
        Err(error) => shown(&error),
    }
}

#[test]
fn a_good_spec_loads() {
    let spec = World::new(&[(
        "lore.toml",
        r#"
version = 1
[project]
name = "acme"
lorectl = ">=0.1"
min_interval = "1m"
[hosts.web1]
[hosts."bak1.example.com"]
[defaults.services]
splay = "2m"
env = { LEVEL = "info", REGION = "eu" }
[services.backup]
user = "root"
schedule = { cron = "30 2 * * *", timezone = "Europe/Paris" }
run = ["/usr/bin/restic", "backup", "/etc", "%h $HOME \"q\" \\"]
unit = { CapabilityBoundingSet = "CAP_DAC_READ_SEARCH", NoNewPrivileges = true, Nice = 5, SystemCallFilter = ["a", "b"] }
on = ["web1"]
[services.sync]
schedule = { every = "30m" }
scheduler = "auto"
env = { LEVEL = "debug" }
write_paths = ["/srv/gitlore"]
timeout = "15m"
profile = "balanced"
profiles = { fast = ["issues"], balanced = ["issues", "docs"] }
retry = { base = "30m", max = "4h" }
breaker = { failures = 10, cooldown = "30m" }
classify = { permanent = [3, "AUTH_FAILED"], transient = [7] }
depends_on = ["service.backup"]
protect = true
ignore_drift = ["timer"]
[[services.sync.stages]]
name = "issues"
run = ["lore", "sync", "issues"]
criticality = "core"
[[services.sync.stages]]
name = "docs"
run = ["./docs"]
criticality = "optional"
timeout = "30s"
"#,
    )])
    .load(&[])
    .unwrap_or_else(|error| panic!("{}", shown(&error)));
    snapshot("good", &format!("{:#?}", spec.services));
    assert_eq!(spec.min_interval, Seconds(60));
    let here = spec.services_for("WEB1.example.com").unwrap();
    assert_eq!((here.here.len(), here.elsewhere.len()), (2, 0));
    let there = spec.services_for("bak1.example.com").unwrap();
    assert_eq!((there.here.len(), there.elsewhere.len()), (1, 1));
    let error = spec.services_for("other").unwrap_err();
    snapshot("host_unknown", &shown(&error));
}

#[test]
fn faults_of_shape() {
    let text = fault(
        r#"version = 2
verison = 1
[project]
name = "Acme Corp"
lorectl = "newest"
[services.sync]
schedule = { evry = "30m" }
scheduler = "systemd_user"
run = "lore sync issues"
timeout = 15
timeot = "5m"
splay = "1 minute"
env = { "1A" = "x", B = 3, C = true }
breaker = { failures = 0 }
classify = { permanent = [0, 300, "x"] }
overlap = "queu"
[services."../x"]
[services.mail]
stages = [{ nam = "a", run = [] }]
"#,
    );
    snapshot("shape", &text);
}
