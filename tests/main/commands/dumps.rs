//! That no core dump holds what a command knew.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::world::World;

/// Whether a core dump is a file here, and not handed to a program.
fn dumps_are_files() -> bool {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let dir = tempfile::tempdir().unwrap();
    let crashed = Command::new("/bin/sh")
        .args(["-c", "ulimit -c unlimited && kill -ABRT $$"])
        .current_dir(dir.path())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    !pattern.starts_with('|') && crashed.core_dumped()
}

/// What a file holds, once it is there whole.
fn awaited(path: &std::path::Path) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            Ok(_) | Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            other => panic!("{}: {other:?}", path.display()),
        }
    }
}

#[test]
fn a_crash_leaves_no_core_dump_and_what_it_started_has_its_limits() {
    let world = World::with("[credentials.slow]\nsource = { command = [\"./slow\"] }\n");
    let (told, own) = (world.path().join("told"), world.path().join("own"));
    world.program(
        "slow",
        &format!(
            "#!/bin/sh\necho $$ >{own}\necho $PPID $(ulimit -c) >{told}\nexec sleep 600\n",
            own = own.display(),
            told = told.display()
        ),
    );
    let script = "ulimit -c 4096 || exit 9; exec \"$LORECTL\" apply -y";
    let mut lorectl = world.shell(script).spawn();
    let said = awaited(&told);
    let (pid, limit) = said.split_once(' ').unwrap();
    assert_eq!(limit, "4096", "the limit of what it starts");
    assert_eq!(pid, lorectl.id().to_string());
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let own_limit = limits.lines().find(|line| line.starts_with("Max core"));
    let own_limit: Vec<&str> = own_limit.unwrap().split_whitespace().collect();
    assert_eq!(own_limit[4], "0", "its own: {own_limit:?}");
    let signal = |pid: &str, signal| kill(Pid::from_raw(pid.parse().unwrap()), signal).unwrap();
    signal(pid, Signal::SIGABRT);
    let ended = lorectl.wait().unwrap();
    assert_eq!(ended.signal(), Some(Signal::SIGABRT as i32));
    assert!(!ended.core_dumped());
    // It is nobody's now.
    signal(&awaited(&own), Signal::SIGKILL);
    if dumps_are_files() {
        let listed = fs::read_dir(world.spec_dir()).unwrap();
        let names = listed.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let cores: Vec<String> = names.filter(|name| name.starts_with("core")).collect();
        assert_eq!(cores, [""; 0]);
    }
}
