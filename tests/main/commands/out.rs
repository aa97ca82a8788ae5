//! What `--out` may write to: files, and what leads to files; devices as they stand, never replaced.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, PermissionsExt, symlink},
};

use super::world::{World, service};

#[test]
fn a_device_is_written_to_and_a_link_is_followed() {
    let world = World::with(&service("a", ""));
    world.ok("apply --yes");
    let at = |name: &str| world.path().join(name);
    symlink("/dev/null", at("nothing")).unwrap();
    symlink("real", at("link")).unwrap();
    symlink("gone/nowhere", at("dangling")).unwrap();
    fs::write(at("real"), "old").unwrap();
    fs::create_dir(at("dir")).unwrap();
    for command in ["plan", "observe", "state export"] {
        world.ok(&format!("{command} --out ../nothing"));
        assert!(at("nothing").is_symlink());
        let device = fs::metadata("/dev/null").unwrap().file_type();
        assert!(device.is_char_device(), "{command} replaced a device");

        world.ok(&format!("{command} --out ../link"));
        assert!(at("link").is_symlink());
        let real = fs::metadata(at("real")).unwrap();
        assert_eq!(real.permissions().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(at("real")).unwrap().contains("acme"));

        for refused in ["dangling", "dir"] {
            world.refuses(&format!("{command} --out ../{refused}"), 1, "IO");
        }
        assert!(at("dangling").is_symlink());

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
