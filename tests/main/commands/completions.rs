//! What a shell completes, and the manual.

use std::fs;

use super::world::{World, service};

/// What bash completes each of these lines to.
fn completed(world: &World, lines: &[&str]) -> Vec<String> {
    let mut script = "PATH=${LORECTL%/*}:$PATH\neval \"$(lorectl completions bash)\"\n\
         try() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9; COMPREPLY=()\n\
         _clap_complete_lorectl lorectl \"${COMP_WORDS[COMP_CWORD]}\"; echo \"${COMPREPLY[*]}\"; }\n"
        .to_owned();
    for line in lines {
        script.extend(["try lorectl ", line, "\n"]);
    }
    world.file("complete.bash", &script);
    let ran = world.shell("exec bash complete.bash").run().exits(0);
    ran.quiet().stdout.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_addresses() {
    let world = World::with(&[service("applied", ""), service("both", "")].concat());
    world.ok("apply --yes");
    world.spec(&[service("both", ""), service("written", "")].concat());
    let before = world.tree();
    let lines = [
        ("pla", "plan"),
        ("plan --targ", "--target"),
        (
            "plan --target ''",
            "service.applied service.both service.written",
        ),
        ("status service.w", "service.written"),
        ("history service.a", "service.applied"),
        ("state mv service.a", "service.applied"),
        ("service logs b", "both"),
        ("explain spec_n", "SPEC_NOT_FOUND"),
        ("--project a", "acme"),
        ("show --format ''", "text markdown gitlab html"),
        ("service tri", "trigger"),
    ];
    let told = completed(&world, &lines.map(|(line, _)| line));
    assert_eq!(told, lines.map(|(_, expected)| expected));
    fs::remove_file(world.spec_dir().join("complete.bash")).unwrap();
    world.tree().is_equal_to(&before);
}

#[test]
fn other_shells_ask_and_are_answered() {
    let world = World::with(&service("a", ""));
    for shell in ["zsh", "fish"] {
        let script = world.ok(&format!("completions {shell}"));
        assert!(
            script.contains(&format!("LORECTL_COMPLETE=\"{shell}\""))
                || script.contains(&format!("LORECTL_COMPLETE={shell}")),
            "{script}"
        );
        let asks = world.command(["--", "lorectl", "status", "service."]);
        let asks = asks
            .env("LORECTL_COMPLETE", shell)
            .env("_CLAP_COMPLETE_INDEX", "2");
        assert_eq!(asks.run().exits(0).stdout.trim(), "service.a");
    }
    let asks = world.command(["--", "lorectl", "plan"]);
    let ran = asks.env("LORECTL_COMPLETE", "nosh").run().exits(1);
    assert_eq!((ran.stdout, ran.stderr), (String::new(), String::new()));
}

#[test]
fn every_command_has_a_page() {
    let world = World::new();
    let page = world.ok("man service trigger");
    assert!(page.contains(".TH lorectl-service-trigger 1"), "{page}");
    assert!(page.contains("ignore\\-backoff"), "{page}");
    world.refuses("man service run", 64, "USAGE");
    world.refuses("man nothing", 64, "USAGE");
    fs::create_dir(world.path().join("pages")).unwrap();
    world.ok("man --out ../pages");
    let pages = fs::read_dir(world.path().join("pages")).unwrap();
    let pages: Vec<String> = pages
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .collect();
    let help = world.ok("--help");
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let lines = commands.lines().take_while(|line| !line.is_empty());
    // A line that is indented further goes on with the one before.
    for line in lines.filter(|line| !line.starts_with("   ")) {
        let name = line.split_whitespace().next().unwrap();
        assert!(pages.contains(&format!("lorectl-{name}.1")), "{name}");
    }
    assert!(pages.contains(&"lorectl.1".to_owned()));
}
