//! What a plan warns of before an apply meets it.

use std::{fs, os::unix::fs::PermissionsExt};

use super::{
    credentials::{out, world},
    world::{Ran, World},
};

const SPEC: &str = r#"
[credentials.nodir]
source = { env = "APP_TOKEN" }
deliver = [{ file = "OUT/none/token" }]
[credentials.open]
source = { file = "OUT/open" }
[credentials.unset]
source = { env = "NOT_SET" }
[credentials.nocommand]
source = { command = ["OUT/nocommand"] }
[credentials.noprogram]
source = { command = ["OUT/open"] }
[credentials.openfile]
source = { env = "APP_TOKEN" }
deliver = [{ env_file = "OUT/env", name = "TOKEN" }]
[credentials.nounit]
source = { env = "APP_TOKEN" }
deliver = [{ file = "OUT/token", then = { reload = "no-such-lorectl.service" } }]
"#;

fn lore(world: &World, words: &str) -> Ran {
    let call = world.command(words.split(' '));
    call.env("APP_TOKEN", "a-token-of-the-app").run()
}

fn write(world: &World, name: &str, text: &str, mode: u32) {
    fs::write(out(world, name), text).unwrap();
    fs::set_permissions(out(world, name), fs::Permissions::from_mode(mode)).unwrap();
}

/// The lines of a plan's warnings, put together.
fn warnings(ran: &Ran) -> String {
    let (_, told) = ran.stdout.split_once("Warnings\n").unwrap_or_default();
    told.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_plan_warns_of_what_an_apply_would_meet() {
    let world = world(SPEC);
    write(&world, "open", "a-token-that-all-can-read\n", 0o644);
    write(&world, "env", "A=1\n", 0o644);
    let told = warnings(&lore(&world, "plan").exits(0));
    let own = world.redacted(out(&world, "").to_str().unwrap());
    for part in [
        format!(
            "credential.nodir: cannot deliver to {own}none/token: there is no directory {own}none; `mkdir -p {own}none`"
        ),
        format!(
            "credential.open: the file {own}open can be read by everyone (0644); `chmod 600 {own}open`"
        ),
        "credential.unset: the variable NOT_SET is not set, or empty; set NOT_SET".to_owned(),
        format!("credential.nocommand: its command cannot be run: there is no {own}nocommand"),
        format!(
            "credential.noprogram: its command cannot be run: {own}open is not executable (0644); `chmod u+x {own}open`"
        ),
        format!(
            "credential.openfile: cannot deliver to {own}env#TOKEN: it can be read by everyone (0644); `chmod o= {own}env`"
        ),
    ] {
        assert!(told.contains(&part), "no {part:?} in\n{told}");
    }
    // As the host is: without systemd, or without that unit.
    let unit = [
        "no unit can be told to reload: ",
        "no-such-lorectl.service is to reload when it is delivered, and there is no such unit",
    ];
    assert_eq!(unit.iter().filter(|part| told.contains(*part)).count(), 1);
    // Once for each, and not among the notes too.
    assert_eq!(told.matches("can be read by everyone").count(), 2);
    // Of another host nothing is known that could be looked at here.
    world.run("observe --out seen.json").exits(0);
    let there = lore(&world, "plan --observed seen.json").exits(0);
    assert!(!there.stdout.contains("Warnings"), "{}", there.stdout);
}

#[test]
fn a_source_that_is_not_taken_any_more_is_warned_of() {
    let spec = "[credentials.app]\nsource = { file = \"OUT/source\" }\n[credentials.var]\nsource = { env = \"APP_TOKEN\" }\n";
    let world = world(spec);
    write(&world, "source", "a-token-in-a-file\n", 0o600);
    let quiet = lore(&world, "apply -y").exits(0);
    assert_eq!(warnings(&quiet), "");
    for (text, mode, why) in [
        (
            "a-token-in-a-file\n",
            0o644,
            "can be read by everyone (0644)",
        ),
        ("two\nlines\n", 0o600, "line feed"),
    ] {
        write(&world, "source", text, mode);
        let told = warnings(&lore(&world, "plan").exits(0));
        assert!(
            told.contains("nothing is taken from its source: "),
            "{told}"
        );
        assert!(told.contains(why), "{told}");
        let ran = world.run("doctor --offline").exits(0);
        ran.says("credential.app outlook: nothing is taken")
            .says(why);
    }
    // Nobody is asked, which its first line says also where nothing is to be done.
    let offline = lore(&world, "plan --offline").exits(0);
    offline
        .says("observed offline 04:05 UTC")
        .says("No changes");
    // One that is gone changes nothing, nor does a variable that is not set.
    fs::remove_file(out(&world, "source")).unwrap();
    let ran = world.run("plan --detailed-exitcode").exits(0);
    assert_eq!(warnings(&ran), "");
}
