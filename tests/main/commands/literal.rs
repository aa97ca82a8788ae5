//! What a spec says reaches a stage as it stands: no shell, no specifier, no quoting in between.

use std::os::unix::fs::PermissionsExt;

use super::world::World;

const HEAD: &str = "version = 1\n[project]\nname = \"acme\"\n";

/// Words that a shell, systemd or printf(3) would take to mean something.
const WORDS: [&str; 14] = [
    "%h", "%%", "$HOME", "${HOME}", "$$", "`id`", "$(id)", "a b", "'", "\"", "\\", "\\n", "a;b",
    "*",
];

#[test]
fn arguments_and_variables_reach_the_stage_unchanged() {
    let world = World::new();
    let program = world.file(
        "show",
        "#!/bin/sh\nfor word in \"$@\" \"$VALUE\"; do printf '<%s>\\n' \"$word\"; done\n",
    );
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let value = WORDS.join("");
    let spec = format!(
        "{HEAD}[services.show]\nschedule = {{ every = \"1h\" }}\nscheduler = \"worker\"\nrun = {}\nenv = {{ VALUE = {} }}\n",
        serde_json::to_string(&[&["./show"], &WORDS[..]].concat()).unwrap(),
        serde_json::to_string(&value).unwrap(),
    );
    world.file("lore.toml", spec);
    world.ok("apply --yes");
    world.ok("service trigger show");
    let logs = world.ok("service logs show");
    for word in WORDS.iter().copied().chain([value.as_str()]) {
        let line = format!("<{word}>");
        let found = logs.lines().any(|l| l.ends_with(&line));
        assert!(found, "no {line} in\n{logs}");
    }
}
