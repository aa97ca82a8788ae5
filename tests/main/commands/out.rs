//! What `--out` may write to: files, and nothing in the place of something else.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, PermissionsExt, symlink},
};

use super::world::{World, service};

#[test]
fn only_a_file_is_replaced() {
    let world = World::with(&service("a", ""));
    world.ok("apply --yes");
    let at = |name: &str| world.path().join(name);
    symlink("real", at("link")).unwrap();
    nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(at("dir")).unwrap();
    for command in ["plan", "observe", "state export"] {
        fs::write(at("real"), "old").unwrap();
        for refused in ["link", "pipe", "dir"] {
            world.refuses(&format!("{command} --out ../{refused}"), 1, "IO");
        }
        assert!(at("link").is_symlink());
        assert!(fs::metadata(at("pipe")).unwrap().file_type().is_fifo());
        assert_eq!(fs::read_to_string(at("real")).unwrap(), "old");

        world.ok(&format!("{command} --out ../real"));
        let real = fs::metadata(at("real")).unwrap();
        assert_eq!(real.permissions().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(at("real")).unwrap().contains("acme"));
        world.ok(&format!("{command} --out /dev/null"));
        let device = fs::symlink_metadata("/dev/null").unwrap().file_type();
        assert!(device.is_char_device(), "{command} replaced a device");

        let shown = world.run(&format!("{command} --out -")).exits(0).stdout;
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["project"], "acme", "{command}");
        assert!(!world.spec_dir().join("-").exists());
    }
}

#[test]
fn a_refused_plan_approves_nothing() {
    let world = World::with(&service("a", ""));
    world
        .run("plan --deny create --out ../denied.json")
        .exits(3);
    world.refuses("apply ../denied.json", 3, "NOT_APPROVED");
    assert!(!world.state().join("state.json").exists());
}
