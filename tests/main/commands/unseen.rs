//! A value that is typed on a terminal: asked for, never shown, and the terminal as before afterwards.

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    pty::openpty,
    sys::{
        signal::{Signal, kill},
        termios::{LocalFlags, Termios, tcgetattr},
    },
    unistd::Pid,
};

use super::world::{World, service};

const TOKEN: &str = "canary-typed-token-0001";

/// How long a test waits for what is to happen.
const DEADLINE: Duration = Duration::from_secs(60);

/// The program on a terminal of its own.
struct OnTerminal {
    child: Child,
    ours: File,
    theirs: OwnedFd,
    before: Termios,
}

impl OnTerminal {
    fn start(world: &World, words: &str) -> Self {
        let pair = openpty(None, None).unwrap();
        let before = tcgetattr(&pair.slave).unwrap();
        let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
        // The terminal becomes its own, so that keys are signals (setsid(1)).
        let call = world.shell(&format!("exec setsid --ctty \"$LORECTL\" {words}"));
        let call = call.env("NO_COLOR", "1");
        let child = call.on(end(&pair.slave), end(&pair.slave), end(&pair.slave));
        let terminal = Self {
            child,
            ours: pair.master.into(),
            theirs: pair.slave,
            before,
        };
        terminal.wait_until("hidden", |flags| {
            !flags.intersects(LocalFlags::ECHO | LocalFlags::ICANON)
        });
        terminal
    }

    fn wait_until(&self, what: &str, holds: impl Fn(LocalFlags) -> bool) {
        let began = Instant::now();
        while !holds(tcgetattr(&self.theirs).unwrap().local_flags) {
            assert!(began.elapsed() < DEADLINE, "the terminal is never {what}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn types(&mut self, text: &str) {
        self.ours.write_all(text.as_bytes()).unwrap();
    }

    /// What a terminal does with a clipboard: it goes on as fast as somebody reads, or nobody.
    fn pastes(&self, text: String) {
        let mut ours = self.ours.try_clone().unwrap();
        thread::spawn(move || ours.write_all(text.as_bytes()));
    }

    /// Its exit status and all that the terminal showed; the terminal is as it was.
    fn end(mut self) -> (Option<i32>, String) {
        let mut ours = self.ours.try_clone().unwrap();
        let (shown, all) = mpsc::channel();
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            // Its other end is gone when this fails.
            while let Ok(read @ 1..) = ours.read(&mut chunk) {
                if shown.send(chunk[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < DEADLINE, "it does not end");
            thread::sleep(Duration::from_millis(5));
        };
        let after = tcgetattr(&self.theirs).unwrap();
        assert_eq!(after.local_flags, self.before.local_flags);
        assert_eq!(after.control_chars, self.before.control_chars);
        drop(self.theirs);
        let mut text = Vec::new();
        while let Ok(more) = all.recv_timeout(DEADLINE) {
            text.extend(more);
        }
        // A line may have been wrapped anywhere.
        let text = String::from_utf8(text).unwrap();
        let words: Vec<&str> = text.split_whitespace().collect();
        (status.code(), words.join(" "))
    }
}

fn world() -> World {
    World::with(&format!(
        "{}[credentials.app]\nsource = {{ env = \"APP_TOKEN\" }}\n",
        service("a", "")
    ))
}

#[test]
fn a_typed_value_is_asked_for_and_not_shown() {
    let words = "credential validate app --value-stdin";
    for (typed, status, said) in [
        (format!("{TOKEN}\n"), 0, "candidate value"),
        ("\n".to_owned(), 77, "the value is empty"),
        (format!("{TOKEN}\n{TOKEN}\n"), 77, "none of it was taken"),
    ] {
        let world = world();
        let mut terminal = OnTerminal::start(&world, words);
        terminal.types(&typed);
        let (ended, shown) = terminal.end();
        assert_eq!(ended, Some(status), "{shown}");
        assert!(shown.contains("credential.app (it is not shown"), "{shown}");
        assert!(shown.contains(said), "{shown}");
        assert!(!shown.contains(TOKEN), "{shown}");
    }
}

#[test]
fn a_paste_of_more_than_a_line_is_refused_whole_and_nobody_else_gets_it() {
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}",
        format!("{TOKEN}\n").repeat(900)
    );
    for pasted in [pem, TOKEN.repeat(9000)] {
        let world = world();
        // Whatever is left would be read by who is next on the terminal.
        let terminal = OnTerminal::start(&world, "credential validate app --value-stdin");
        terminal.pastes(format!("{pasted}\n"));
        let (ended, shown) = terminal.end();
        assert_eq!(ended, Some(77), "{shown}");
        assert!(shown.contains("none of it was taken"), "{shown}");
        let help = "`lorectl credential validate app --value-stdin < FILE` takes PEM";
        assert!(shown.contains(help), "{shown}");
        assert!(!shown.contains("canary"), "{shown}");
    }
}

#[test]
fn an_interrupted_prompt_is_an_error_of_its_own() {
    let world = world();
    let words = "credential validate app --value-stdin --json > envelope";
    let mut terminal = OnTerminal::start(&world, words);
    terminal.types("\x03");
    let (ended, shown) = terminal.end();
    assert_eq!(ended, Some(1), "{shown}");
    let envelope = fs::read(world.spec_dir().join("envelope")).unwrap();
    let envelope: serde_json::Value = serde_json::from_slice(&envelope).unwrap();
    assert_eq!(envelope["ok"], false);
    assert_eq!(envelope["error"]["code"], "INTERRUPTED");
}

#[test]
fn an_interrupted_prompt_leaves_the_terminal_as_it_was() {
    let world = world();
    for key in [Some("\x03"), None] {
        let mut terminal = OnTerminal::start(&world, "credential validate app --value-stdin");
        if let Some(key) = key {
            terminal.types(&format!("{TOKEN}{key}"));
        } else {
            let pid = Pid::from_raw(terminal.child.id().try_into().unwrap());
            kill(pid, Signal::SIGTERM).unwrap();
        }
        let (ended, shown) = terminal.end();
        assert_eq!(ended, Some(1), "{shown}");
        assert!(shown.contains("error[INTERRUPTED]"), "{shown}");
        assert!(!shown.contains(TOKEN), "{shown}");
    }
}

#[test]
fn what_is_no_token_is_told_with_what_helps() {
    let world = world();
    let large = "x".repeat(1 << 20);
    for (input, why, help) in [
        ("", "is empty", "give the token itself"),
        (
            "one\ntwo\n",
            "line feed",
            "give the token alone, in one line",
        ),
        (large.as_str(), "over 64 KiB long", "give the token alone"),
    ] {
        let call = world.command(["credential", "validate", "app", "--value-stdin"]);
        let ran = call.stdin(input).run().exits(77).complains("TOKEN_INVALID");
        ran.says(why).says(help);
    }
}
