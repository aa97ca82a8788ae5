//! The examples of the repository are checked, planned and applied as their reader would.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::world::World;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name)
}

#[test]
fn the_recipes_name_scripts_that_are_there_and_can_be_read() {
    let dir = example("ci");
    let mut named = std::collections::BTreeSet::new();
    for recipe in ["gitlab-ci.yml", "github-actions.yml"] {
        let text = fs::read_to_string(dir.join(recipe)).unwrap();
        for rest in text.split("sh ci/").skip(1) {
            named.insert(rest.lines().next().unwrap().to_owned());
        }
    }
    let there: std::collections::BTreeSet<String> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|end| end == "sh"))
        .collect();
    assert_eq!(named, there);
    for name in there {
        let path = dir.join(name);
        let read = std::process::Command::new("sh")
            .arg("-n")
            .arg(&path)
            .status();
        assert!(read.unwrap().success(), "{}", path.display());
    }
}

#[test]
fn the_quickstart_is_what_the_readme_says() {
    let world = World::new();
    let path = example("quickstart");
    let spec = path.to_str().unwrap();
    let file = ["--file", spec];
    let lore = |words: &[&str]| world.command([words, &file].concat()).run();
    lore(&["validate"]).exits(0);
    let plan = lore(&["plan", "--detailed-exitcode"]).exits(2);
    assert!(
        plan.stdout.contains("Plan: 1 to create."),
        "{}",
        plan.stdout
    );
    let ran = lore(&["apply", "--yes"]).exits(0).quiet();
    assert!(ran.stdout.contains("1 created"), "{}", ran.stdout);
    assert!(lore(&["plan"]).exits(0).stdout.contains("No changes."));
    // The rest needs no spec: the project is the only one there is.
    let ran = world.run("service trigger mirror").exits(0).quiet();
    assert!(ran.stdout.contains("success"), "{}", ran.stdout);
    let logs = world.ok("service logs mirror");
    assert!(
        logs.contains("mirrored 3 commits") && logs.contains("verified"),
        "{logs}"
    );
    assert!(!logs.contains("left behind"), "{logs}");
    let status = world.ok("status");
    assert!(
        status.contains("service.mirror") && status.contains("success"),
        "{status}"
    );
    world.run("drift --detailed-exitcode").exits(0);
    let run = world
        .path()
        .join("state/quickstart/services/mirror/run.json");
    let text = fs::read_to_string(&run).unwrap();
    fs::write(&run, text.replace("15m", "16m")).unwrap();
    let drift = world.run("drift --detailed-exitcode").exits(2);
    assert!(drift.stdout.contains("service.mirror"), "{}", drift.stdout);
    lore(&["apply", "--yes"]).exits(0);
    world.run("drift --detailed-exitcode").exits(0);
    world.ok("destroy --yes");
    assert!(!run.exists());
    assert!(
        world
            .path()
            .join("state/quickstart/services/mirror/data/mirror.git")
            .exists()
    );
}

#[test]
fn the_credentials_are_delivered_as_their_example_says() {
    let world = World::new();
    let read = |path: PathBuf| fs::read_to_string(path).unwrap();
    // It writes beside its spec, so it is taken elsewhere first.
    world.file("lore.toml", read(example("credentials").join("lore.toml")));
    for name in ["mint", "pull"] {
        world.program(name, &read(example("credentials").join(name)));
    }
    let env = || read(world.spec_dir().join("app.env"));
    let call = |words: &[&str]| world.command(words).in_real_time().run();
    call(&["apply", "-y"]).exits(0).says("2 created");
    let first = env();
    let token = first.trim().strip_prefix("SESSION_TOKEN=").unwrap();
    assert_eq!(token.len(), 48, "{first}");
    call(&["plan", "--detailed-exitcode"]).exits(0);
    call(&["service", "trigger", "pull"]).exits(0);
    let log = call(&["service", "logs", "pull"]).exits(0).stdout;
    assert!(
        log.contains("of 48 characters") && !log.contains(token),
        "{log}"
    );
    call(&["credential", "rotate", "session", "-y"]).exits(0);
    assert_ne!(env(), first);
    call(&["destroy", "-y"]).exits(0);
    assert!(!world.spec_dir().join("app.env").exists());
}

#[test]
fn the_example_for_systemd_is_a_spec() {
    let world = World::new();
    let path = example("systemd");
    let ran = world
        .command(["validate", "-f", path.to_str().unwrap()])
        .run();
    assert!(ran.exits(0).quiet().stdout.contains("mirrors"));
}

#[test]
fn a_first_spec_can_be_planned() {
    let world = World::new();
    world.ok("init");
    world.ok("validate");
    let before = world.tree();
    world
        .run("init")
        .exits(64)
        .complains("USAGE")
        .says("--force");
    world.tree().is_untouched_since(&before);
    world.ok("init --force");
    world.tree().is_equal_to(&before);
}

/// `examples/gitlore` for the worker, beside a stand-in for `lore`, with a token in the home.
fn gitlore() -> World {
    let world = World::new();
    let read = |path: PathBuf| fs::read_to_string(path).unwrap();
    let spec = read(example("gitlore").join("lore.toml"));
    let spec = spec.replace("scheduler = \"auto\"", "scheduler = \"worker\"");
    let lore = world.spec_dir().join("lore");
    let named = spec.replace("LORE = \"lore\"", &format!("LORE = \"{}\"", lore.display()));
    assert_ne!(named, spec);
    world.file("lore.toml", named);
    world.program("stage", &read(example("gitlore").join("stage")));
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    world.program("lore", &read(fixtures.join("lore/lore")));
    world
}

/// A home is that of the account that runs, whatever `HOME` says; so the token's file is named.
fn with_token(world: &World, mode: u32) -> PathBuf {
    let spec = fs::read_to_string(world.spec_dir().join("lore.toml")).unwrap();
    let token = world.path().join("home/token");
    let line = "# GITLAB_TOKEN_FILE = \"/etc/gitlore/token\"";
    let named = spec.replace(
        line,
        &format!("GITLAB_TOKEN_FILE = \"{}\"", token.display()),
    );
    assert_ne!(named, spec);
    world.file("lore.toml", named);
    fs::write(&token, format!("{TOKEN}\n")).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(mode)).unwrap();
    token
}

const TOKEN: &str = "glpat-Zk3Planted7xQ";

fn trigger(world: &World, status: i32) -> Value {
    let ran = world.run("service trigger sync --json").exits(status);
    serde_json::from_str::<Value>(&ran.stdout).unwrap()["data"].clone()
}

#[test]
fn gitlore_is_a_spec_as_it_stands() {
    let world = World::new();
    let path = example("gitlore");
    let file = ["-f", path.to_str().unwrap()];
    let ran = world.command([&["validate"][..], &file].concat()).run();
    assert!(ran.exits(0).quiet().stdout.contains("gitlore"));
    let text = fs::read_to_string(path.join("lore.toml")).unwrap();
    assert!(text.starts_with("#:schema ../../schemas/lorectl.schema.json\n"));
    let profiles = ["fast", "balanced", "full"];
    assert!(
        profiles
            .iter()
            .all(|name| text.contains(&format!("\n{name} = [")))
    );
}

#[test]
fn gitlore_syncs_stage_by_stage_and_keeps_its_token_to_itself() {
    let world = gitlore();
    with_token(&world, 0o600);
    let plan = world.run("plan --detailed-exitcode").exits(2);
    assert!(
        plan.stdout.contains("Plan: 1 to create."),
        "{}",
        plan.stdout
    );
    world.run("apply --yes").exits(0);
    let data = trigger(&world, 0);
    assert_eq!(
        (&data["outcome"], &data["profile"]),
        (&json!("success"), &json!("balanced"))
    );
    let stages = |data: &Value, key: &str| -> Vec<Value> {
        let stages = data["stage_results"].as_array().unwrap();
        stages.iter().map(|stage| stage[key].clone()).collect()
    };
    assert_eq!(stages(&data, "stage"), ["issues", "mrs", "docs"]);
    assert_eq!(stages(&data, "items_updated"), [5, 5, 5]);

    world.file("lore-answers", "docs 1 IO_ERROR\n");
    let data = trigger(&world, 0);
    assert_eq!(
        (&data["outcome"], &data["consecutive_failures"]),
        (&json!("degraded"), &json!(0))
    );
    assert_eq!(stages(&data, "error_code")[2], "IO_ERROR");

    // For now; and for good, which asks for a person.
    world.file("lore-answers", "mrs 1 NETWORK_ERROR\n");
    let data = trigger(&world, 1);
    assert_eq!(
        (&data["reason"], &data["remaining_seconds"]),
        (&json!("NETWORK_ERROR"), &json!(1800))
    );
    world.file("lore-answers", "issues 1 AUTH_FAILED\n");
    let ran = world
        .run("service trigger sync --json --ignore-backoff")
        .exits(1);
    assert!(
        ran.stdout.contains("\"action\":\"paused\""),
        "{}",
        ran.stdout
    );
    assert_eq!(trigger(&world, 3)["reason"], "AUTH_FAILED");
    world.file("lore-answers", "");
    world.run("service resume sync").exits(0);
    assert_eq!(trigger(&world, 0)["outcome"], "success");

    let profiles = [("fast", 2), ("full", 4)];
    for (profile, count) in profiles {
        let spec = fs::read_to_string(world.spec_dir().join("lore.toml")).unwrap();
        let at = spec.find("profile = \"").unwrap();
        let end = at + spec[at..].find('\n').unwrap();
        world.file(
            "lore.toml",
            format!("{}profile = \"{profile}\"{}", &spec[..at], &spec[end..]),
        );
        world.run("apply --yes").exits(0);
        assert_eq!(
            stages(&trigger(&world, 0), "stage").len(),
            count,
            "{profile}"
        );
    }
    let tree = Command::new("grep")
        .args(["-r", "-l", TOKEN])
        .arg(world.path())
        .output()
        .unwrap();
    let holds = String::from_utf8(tree.stdout).unwrap();
    assert_eq!(
        holds.trim(),
        world.path().join("home/token").to_str().unwrap()
    );
}

#[test]
fn gitlore_asks_for_a_token_that_is_its_own() {
    for (mode, text, says) in [
        (0o644, Some(TOKEN), "can be read by others"),
        (0o600, Some(""), "is empty"),
        (0o600, None, "is missing"),
    ] {
        let world = gitlore();
        let token = with_token(&world, mode);
        match text {
            Some(text) => fs::write(&token, text).unwrap(),
            None => fs::remove_file(&token).unwrap(),
        }
        world.run("apply --yes").exits(0);
        let data = trigger(&world, 1);
        assert_eq!(
            (&data["action"], &data["reason"]),
            (&json!("paused"), &json!("TOKEN_NOT_SET"))
        );
        assert!(data["message"].as_str().unwrap().contains(says), "{data}");
    }
}
