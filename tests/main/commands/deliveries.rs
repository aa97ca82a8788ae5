//! Places to which values are delivered, as other people leave them.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use super::{
    credentials::{mode, out, read, says, world},
    listener::{Answer, Listener},
    world::{NOW, Ran, World},
};

const SPEC: &str = r#"
[credentials.app]
source = { env = "APP_TOKEN" }
deliver = [
  { file = "OUT/token" },
  { env_file = "OUT/env", name = "TOKEN" },
]
"#;

fn lore(world: &World, words: &str, value: &str) -> Ran {
    let call = world.command(words.split(' '));
    call.env("APP_TOKEN", value).run()
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Writes a file that only its owner reads.
fn put(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    chmod(path, 0o600);
}

#[test]
fn a_value_that_everyone_could_read_is_told_of_and_no_other_is_put_there() {
    let world = world(SPEC);
    let env = out(&world, "env");
    lore(&world, "apply -y", "one").exits(0);
    chmod(&env, 0o644);
    let told = "holds its value and can be read by everyone (0644)";
    lore(&world, "plan --detailed-exitcode", "one")
        .exits(0)
        .says(told);
    for words in ["drift", "status", "credential list", "doctor"] {
        lore(&world, words, "one").exits(0).says(told);
    }
    // It is not ours to change, and no apply tries to.
    lore(&world, "apply -y", "one").exits(0).says("No changes");
    assert_eq!(mode(&env), 0o644);
    lore(&world, "apply -y", "two")
        .exits(1)
        .says("it can be read by everyone (0644)");
    assert_eq!(read(&env), "TOKEN=one\n");
    chmod(&env, 0o640);
    lore(&world, "apply -y", "two").exits(0);
    assert_eq!(read(&env), "TOKEN=two\n");
    let quiet = lore(&world, "drift", "two").exits(0);
    assert!(!quiet.stdout.contains("everyone"), "{}", quiet.stdout);
}

#[test]
fn what_is_no_file_is_left_alone_and_holds_up_no_removal() {
    let world = world(SPEC);
    let (token, env, other) = (
        out(&world, "token"),
        out(&world, "env"),
        out(&world, "other"),
    );
    lore(&world, "apply -y", "one").exits(0);
    // What the links lead to is another's, and holds what would be ours.
    put(&other, "TOKEN=one\n");
    for path in [&token, &env] {
        fs::remove_file(path).unwrap();
        symlink(&other, path).unwrap();
    }
    let told = "a symbolic link stands at";
    lore(&world, "plan", "one").exits(0).says(told);
    lore(&world, "drift --detailed-exitcode", "one")
        .exits(2)
        .says(told);
    lore(&world, "apply -y", "one")
        .exits(1)
        .says("it is a symbolic link");
    lore(&world, "destroy -y", "one").exits(0).says(told);
    for path in [&token, &env] {
        assert_eq!(fs::read_link(path).unwrap(), other);
    }
    assert_eq!(read(&other), "TOKEN=one\n");
    assert!(!world.state().join("secrets/app").exists());
}

#[test]
fn a_place_that_the_spec_drops_may_be_anything_by_then() {
    let world = world(SPEC);
    lore(&world, "apply -y", "one").exits(0);
    let token = out(&world, "token");
    fs::remove_file(&token).unwrap();
    fs::create_dir(&token).unwrap();
    let lore_toml = world.spec_dir().join("lore.toml");
    let spec = read(&lore_toml);
    let kept: Vec<&str> = spec
        .lines()
        .filter(|line| !line.contains("/token"))
        .collect();
    fs::write(&lore_toml, kept.join("\n")).unwrap();
    lore(&world, "apply -y", "one").exits(0);
    assert!(token.is_dir());
    lore(&world, "plan --detailed-exitcode", "one").exits(0);
}

#[test]
fn a_line_that_may_be_a_part_of_another_is_not_edited() {
    let world = world(SPEC);
    let env = out(&world, "env");
    for (file, line) in [
        (
            "KEY='begin\nTOKEN=theirs\nend'\n",
            "line 2 may be a part of what begins in line 1",
        ),
        ("A=1\nKEY=\"begin\n", "what begins in line 2 is not closed"),
        (
            "A=1 \\\nTOKEN=theirs\n",
            "line 2 may be a part of what begins in line 1",
        ),
    ] {
        put(&env, file);
        lore(&world, "apply -y", "one")
            .exits(1)
            .says(&world.redacted(&format!("{} is not edited: {line}", env.display())));
        assert_eq!(read(&env), file);
        assert!(!out(&world, "token").exists());
    }
    // One of several lines that says nothing of ours is as good as any.
    let theirs = "KEY='begin\nA=theirs\nend'\n";
    put(&env, theirs);
    lore(&world, "apply -y", "one").exits(0);
    assert_eq!(read(&env), format!("{theirs}TOKEN=one\n"));
    // Of two lines that set it, each reader takes the one it likes.
    put(&env, "TOKEN=one\nTOKEN=two\n");
    lore(&world, "drift", "one").exits(0).says("other content");
    lore(&world, "apply -y", "one").exits(0);
    assert_eq!(read(&env), "TOKEN=one\n");
    // What got around ours afterwards is told, and not taken away.
    let around = "KEY='\nTOKEN=one\n'\n";
    put(&env, around);
    lore(&world, "destroy -y", "one")
        .exits(1)
        .says("is not edited");
    assert_eq!(read(&env), around);
    put(&env, "TOKEN=one\nKEY='\n'\n");
    lore(&world, "destroy -y", "one").exits(0);
    assert_eq!(read(&env), "KEY='\n'\n");
}

#[test]
fn one_place_is_one_by_whatever_name() {
    let rivals = |first: &str, second: &str| {
        format!(
            "[credentials.a]\nsource = {{ env = \"APP_TOKEN\" }}\ndeliver = [{{ {first} }}]\n[credentials.b]\nsource = {{ env = \"APP_TOKEN\" }}\ndeliver = [{{ {second} }}]\n"
        )
    };
    // By what is there.
    let through = rivals("file = \"OUT/token\"", "file = \"OUT/alias/token\"");
    let world = world(&through);
    symlink(out(&world, ""), out(&world, "alias")).unwrap();
    world.ok("validate");
    let planned = world.run("plan").exits(65).complains("SPEC_INVALID");
    planned.says("`credential.a` is delivered there");
    let beside = rivals("env_file = \"./env\", name = \"T\"", "file = \"SPEC/env\"");
    world.spec(&beside.replace("SPEC", world.spec_dir().to_str().unwrap()));
    world
        .run("plan")
        .exits(65)
        .says("`credential.a` is delivered there");
    // Another project's.
    let one = |name: &str, place: &str| {
        let place = out(&world, place).display().to_string();
        world.file(
            &format!("{name}.toml"),
            format!("version = 1\n[project]\nname = \"{name}\"\n[credentials.app]\nsource = {{ env = \"APP_TOKEN\" }}\ndeliver = [{{ file = \"{place}\" }}]\n"),
        )
    };
    one("first", "token");
    one("second", "alias/token");
    lore(&world, "apply -y -f first.toml", "one").exits(0);
    lore(&world, "apply -y -f second.toml", "two")
        .exits(3)
        .says("the project `first` delivers to");
    assert_eq!(read(&out(&world, "token")), "one");
    // And lorectl's own.
    symlink(world.path().join("state"), out(&world, "own")).unwrap();
    one("third", "own/token");
    lore(&world, "apply -y -f third.toml", "one")
        .exits(1)
        .says("keeps its own files there");
}

#[test]
fn nothing_is_made_that_cannot_be_delivered() {
    let body = "{\"access_token\":\"access-one\",\"token_type\":\"Bearer\",\"expires_in\":36000}";
    let server = Listener::issuer([says(200, body)]);
    let url = server.url("");
    let world = world(&format!(
        "[credentials.client]\nsource = {{ env = \"APP_TOKEN\" }}\n[credentials.api]\nsource = {{ oauth2 = {{ token_url = \"{url}/token\", client_id = \"acme\", secret = \"client\", revoke_url = \"{url}/revoke\" }} }}\ndeliver = [{{ file = \"OUT/none/token\" }}]\n"
    ));
    lore(&world, "apply -y", "one")
        .exits(1)
        .says("there is no directory");
    assert_eq!(server.seen().len(), 0);
}

#[test]
fn purging_leaves_nothing_of_what_deliveries_replaced() {
    let world = world(SPEC);
    put(&out(&world, "token"), "theirs");
    let replaced = || {
        let files = fs::read_dir(world.state().join("backups")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("credential.")).count()
    };
    lore(&world, "apply -y", "one").exits(0);
    assert_eq!(replaced(), 1);
    lore(&world, "destroy -y", "one").exits(0);
    assert_eq!(replaced(), 1);
    lore(&world, "apply -y", "one").exits(0);
    lore(&world, "destroy -y --purge", "one")
        .exits(0)
        .says("what its deliveries replaced is deleted");
    assert_eq!(replaced(), 0);
    // And a project that holds nothing any more is in nobody's way.
    let other = read(&world.spec_dir().join("lore.toml")).replace("acme", "other");
    fs::write(world.spec_dir().join("lore.toml"), other).unwrap();
    lore(&world, "apply -y", "one").exits(0);
    let apart = world.shell("cd / && exec $LORECTL status").run();
    apart.exits(0).says("1 resource of other");
}

#[test]
#[ignore = "wants root and unshare: tests/run"]
fn a_state_directory_that_cannot_be_written_is_named() {
    let world = world(SPEC);
    lore(&world, "apply -y", "one").exits(0);
    let state = world.state().parent().unwrap().display().to_string();
    for words in [
        "apply -y",
        "destroy -y",
        "state repair",
        "reconcile",
        "apply -y -f new.toml",
    ] {
        let spec = read(&world.spec_dir().join("lore.toml"));
        world.file(
            "new.toml",
            spec.replace("acme", "new").replace("/out/", "/new/"),
        );
        let script = format!(
            "mount --bind {state} {state} && mount -o remount,ro,bind {state} && exec $LORECTL {words}"
        );
        let call = world.shell(&format!("exec unshare -m sh -c '{script}'"));
        let ran = call.env("APP_TOKEN", "two").run();
        let ran = ran.exits(77).complains("NOT_PERMITTED");
        ran.says("read-only").says("findmnt -T");
    }
}

/// What fails, after `credential.gl`.
const FAILS: &str = "\n[credentials.late]\nsource = { command = [\"/bin/false\"] }\ndepends_on = [\"credential.gl\"]\n";

#[test]
fn an_undo_brings_back_no_token_that_its_successor_has_ended() {
    let (old, new) = ("glpat-theFirstOfTheFamily", "glpat-theSecondOfTheFamily");
    let json = "Content-Type: application/json\r\n";
    let body = format!(
        "{{\"id\":43,\"token\":\"{new}\",\"active\":true,\"revoked\":false,\"scopes\":[],\"expires_at\":\"2099-01-01\"}}"
    );
    let good = Answer::With(200, json, body);
    let busy = Answer::With(429, "Retry-After: 1\r\n", String::new());
    let server = Listener::issuer([good.clone()]);
    let world = World::new();
    fs::create_dir(out(&world, "")).unwrap();
    let spec = |rest: &str| {
        world.spec(&format!(
            "[credentials.gl]\nprovider = \"gitlab\"\nbase_url = \"{}\"\nsource = {{ env = \"GL\" }}\nrotate = {{ before = \"1d\", ttl = \"30d\" }}\ndeliver = [{{ file = \"{}\" }}]\n{rest}",
            server.url(""),
            out(&world, "token").display()
        ));
    };
    let lore = |words: &str, now: &str| {
        let call = world.command(words.split(' '));
        call.env("GL", old).env("LORECTL_NOW", now).run()
    };
    spec("");
    lore("apply -y", NOW).exits(0);
    assert_eq!(read(&out(&world, "token")), old);
    // The new one is made, and what it is worth cannot be told yet.
    server.answer([good.clone(), busy]);
    lore("credential rotate gl -y", NOW).exits(75);
    assert_eq!(read(&out(&world, "token")), old);
    server.answer([good]);
    spec(FAILS);
    let later = "2026-02-03T05:05:06Z";
    lore("plan", later).says("its issuer ends the old token when it makes the new one");
    let failed = lore("apply -y", later);
    assert!([1, 4].contains(&failed.status), "{failed:?}");
    assert_eq!(read(&out(&world, "token")), new);
    let rotations = server.seen();
    let rotations = rotations
        .iter()
        .filter(|seen| seen.what.starts_with("POST"));
    assert_eq!(rotations.count(), 1);
}
