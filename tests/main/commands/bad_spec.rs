//! A spec that is wrong: one error, the right exit status, nothing changed.

use std::{fmt::Write, fs};

use super::{
    snapshot,
    world::{HEAD, World, service},
};

/// Runs `apply --yes` on each spec, and keeps what it complains of.
pub fn all(name: &str, cases: &[(&str, String)]) {
    let mut text = String::new();
    for (what, spec) in cases {
        let world = World::new();
        world.file("lore.toml", spec);
        let ran = world.refuses("apply --yes", 65, "SPEC_INVALID");
        write!(text, "--- {what}\n{}\n", ran.stderr).unwrap();
    }
    snapshot(name, &text);
}

fn head(rest: &str) -> String {
    format!("{HEAD}{rest}")
}

fn with(line: &str) -> String {
    head(&service("sync", line))
}

#[test]
fn what_is_no_spec_is_refused() {
    all(
        "bad-spec-form",
        &[
            ("nothing", String::new()),
            ("no TOML", "<html>\n".to_owned()),
            ("malformed", head("[services.sync\nrun = [\"true\"\n")),
            ("an unknown key", with("shedule = { every = \"1h\" }\n")),
            ("a key twice", with("timeout = \"1m\"\ntimeout = \"2m\"\n")),
            ("a table twice", with("[services.sync]\n")),
            ("a type", with("timeout = 5\n")),
            ("a newer format", HEAD.replace('1', "2")),
            ("too deep", format!("a = {}", "[".repeat(100_000))),
        ],
    );
}

#[test]
fn what_means_nothing_is_refused() {
    let depends = |on: &str| format!("depends_on = [\"service.{on}\"]\n");
    all(
        "bad-spec-meaning",
        &[
            (
                "a cycle",
                head(
                    &[
                        service("a", &depends("b")),
                        service("b", &depends("c")),
                        service("c", &depends("a")),
                    ]
                    .concat(),
                ),
            ),
            ("a cycle of one", with(&depends("sync"))),
            ("nothing to depend on", with(&depends("sink"))),
            (
                "an interval under the guard rail",
                head("[services.sync]\nschedule = { every = \"30s\" }\nrun = [\"true\"]\n"),
            ),
            ("no schedule", head("[services.sync]\nrun = [\"true\"]\n")),
            (
                "an unknown scheduler",
                head(
                    "[services.sync]\nschedule = { every = \"1h\" }\nscheduler = \"systemd\"\nrun = [\"true\"]\n",
                ),
            ),
            (
                "a password in a URL",
                with("env = { REMOTE = \"https://joe:hunter2@example.com/x.git\" }\n"),
            ),
        ],
    );
}

#[test]
fn a_program_that_is_not_there_is_refused() {
    let run = |program: &str| {
        head(&format!(
            "[services.sync]\nschedule = {{ every = \"1h\" }}\nscheduler = \"worker\"\nrun = [\"{program}\"]\n"
        ))
    };
    all(
        "bad-spec-program",
        &[
            ("absolute", run("/usr/bin/no-such-program")),
            ("bare", run("no-such-program")),
            ("relative", run("./no-such-program")),
            ("above", run("../../../../no-such-program")),
            ("in a directory of the path", run("bin/no-such-program")),
            ("a directory", run("/usr")),
            ("a file that is not executable", run("./lore.toml")),
            ("a shell's home", run("~/bin/x")),
        ],
    );
}

#[test]
fn a_line_feed_or_a_nul_reaches_no_unit() {
    let mut cases = Vec::new();
    for (escape, what) in [("\\n", "line feed"), ("\\u0000", "NUL"), ("\\r", "CR")] {
        for line in [
            format!("description = \"a{escape}ExecStartPre=/bin/evil\"\n"),
            format!("env = {{ A = \"a{escape}b\" }}\n"),
            format!("working_dir = \"/a{escape}b\"\n"),
            format!("write_paths = [\"/a{escape}b\"]\n"),
            format!("user = \"a{escape}b\"\n"),
            format!("unit = {{ Nice = \"1{escape}ExecStartPre=/bin/evil\" }}\n"),
            format!("stages = [{{ name = \"a\", run = [\"true\", \"a{escape}b\"] }}]\n"),
            format!("stages = [{{ name = \"a{escape}b\", run = [\"true\"] }}]\n"),
        ] {
            let spec = with(&line);
            let spec = if line.starts_with("stages") {
                spec.replace("run = [\"true\"]\nstages", "stages")
            } else {
                spec
            };
            let key = line.split(' ').next().unwrap();
            cases.push((format!("{what} in {key}"), spec));
        }
    }
    let named: Vec<(&str, String)> = (cases.iter())
        .map(|(what, spec)| (what.as_str(), spec.clone()))
        .collect();
    all("bad-spec-control", &named);
}

#[test]
fn a_name_that_is_no_name_is_refused() {
    let named = |name: &str| head(&service(&format!("\"{name}\""), ""));
    let project = |name: &str| HEAD.replace("acme", name);
    all(
        "bad-spec-name",
        &[
            ("a slash", named("a/b")),
            ("dots", named("..")),
            ("a way up", named("../x")),
            ("a dot", named("a.b")),
            ("nothing", named("")),
            ("too long", named(&"a".repeat(300))),
            ("a homoglyph", named("sуnc")),
            ("a project's slash", project("a/b")),
            ("a project's dots", project("..")),
            ("a project's length", project(&"a".repeat(33))),
        ],
    );
}

#[test]
fn what_is_not_in_this_build_is_an_error_that_says_so() {
    let mut text = String::new();
    for spec in [
        "[deployments.web]\ndeployer = \"systemd\"\n",
        "[routers.edge]\n",
    ] {
        let world = World::with(spec);
        let ran = world.refuses("apply --yes", 69, "NOT_IN_THIS_BUILD");
        text.push_str(&ran.stderr);
    }
    snapshot("not-in-this-build", &text);
}

#[test]
fn a_pipe_a_device_and_what_is_not_there_are_no_spec() {
    let world = World::new();
    let mut text = world.refuses("apply --yes", 65, "SPEC_NOT_FOUND").stderr;
    let ran = world.refuses("apply --yes -f other.toml", 65, "SPEC_NOT_FOUND");
    text.push_str(&ran.stderr);
    let ran = world.refuses("apply --yes -f .", 65, "SPEC_NOT_FOUND");
    text.push_str(&ran.stderr);
    nix::unistd::mkfifo(
        &world.spec_dir().join("lore.toml"),
        nix::sys::stat::Mode::S_IRWXU,
    )
    .unwrap();
    let ran = world.refuses("apply --yes", 65, "SPEC_INVALID");
    text.push_str(&ran.stderr);
    let ran = world.refuses("apply --yes -f .", 65, "SPEC_INVALID");
    text.push_str(&ran.stderr);
    let ran = world.refuses("apply --yes -f /dev/zero", 65, "SPEC_INVALID");
    text.push_str(&ran.stderr);
    fs::remove_file(world.spec_dir().join("lore.toml")).unwrap();
    fs::create_dir(world.spec_dir().join("lore.toml")).unwrap();
    let ran = world.refuses("apply --yes", 65, "SPEC_NOT_FOUND");
    text.push_str(&ran.stderr);
    snapshot("no-spec", &text);
}

#[test]
fn a_spec_that_is_too_large_is_refused() {
    let world = World::new();
    world.file("lore.toml", vec![b'#'; (4 << 20) + 1]);
    world.refuses("plan", 65, "SPEC_INVALID").says("4 MiB");
    let long = format!("{HEAD}description = \"{}\"\n", "a".repeat(5 << 20));
    let stdin = world.command(["plan", "-f", "-"]).stdin(long);
    stdin.refuses(65, "SPEC_INVALID").says("4 MiB");
}

#[test]
fn a_spec_for_a_newer_lorectl_is_refused() {
    let world = World::with("lorectl = \">=99\"\n");
    let ran = world.refuses("apply --yes", 65, "BINARY_TOO_OLD");
    ran.says("the spec is for lorectl >=99");
}

#[test]
fn a_host_that_is_not_listed_is_an_error_and_no_deletion() {
    let world = World::with("[hosts.no-such-host]\n");
    let ran = world.refuses("apply --yes", 65, "HOST_UNKNOWN");
    assert!(ran.stderr.contains("[hosts]"), "{}", ran.stderr);
    // Whether it is well formed can be told anywhere.
    world.ok("validate");
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let world = World::with(
        "lorectl = \">=0.1\"\n[services.a]\nshedule = 1\nrun = [\"bin/x\"]\n[services.b]\nrun = \"x\"\n",
    );
    world.file(
        "more.toml",
        "[services.a]\nrun = [\"true\"]\nschedule = { every = \"1s\" }\n",
    );
    let ran = world.refuses("validate -f .", 65, "SPEC_INVALID");
    snapshot("bad-spec-many", &ran.stderr);
}

#[test]
fn every_command_that_reads_the_spec_refuses_a_bad_one() {
    let world = World::with("[services.a]\n");
    for words in [
        "validate",
        "plan",
        "apply",
        "apply --yes",
        "apply -y --target service.a",
    ] {
        world.refuses(words, 65, "SPEC_INVALID");
    }
}
