//! What `strace` saw of a command: the calls that change something, and those on the bus.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use crate::host::{Answer, Host, INSTALLED};

/// Calls that change a file system whatever their arguments.
const CHANGING: &[&str] = &[
    "creat",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "chmod",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "chown",
    "fchown",
    "lchown",
    "fchownat",
    "truncate",
    "ftruncate",
    "fallocate",
    "utime",
    "utimes",
    "utimensat",
    "futimesat",
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "removexattr",
    "lremovexattr",
    "fremovexattr",
];
/// Calls that make what was written durable.
const SYNCING: &[&str] = &["fsync", "fdatasync", "syncfs", "sync"];
/// Calls that write to a descriptor.
const WRITING: &[&str] = &["write", "writev", "pwrite64", "pwritev", "pwritev2"];
/// Calls that send to a socket.
const SENDING: &[&str] = &["sendmsg", "sendto", "sendmmsg"];
/// Calls that open a file.
const OPENING: &[&str] = &["open", "openat", "openat2"];

/// One call of a traced command.
#[derive(Debug, Clone)]
pub struct Call {
    pub name: String,
    /// Which of the calls of that name it is, from 1: what `strace` calls `when`.
    pub number: usize,
    /// Arguments and result, as printed.
    pub text: String,
}

impl Call {
    fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.name.as_str())
    }

    fn failed(&self) -> bool {
        self.text.contains(") = -1 ") || self.text.ends_with(" = ?")
    }

    /// Whether the descriptor that it writes to is a file: `-y` shows what stands behind it.
    fn to_file(&self) -> bool {
        let behind = self.text.split_once('<').map(|(_, rest)| rest);
        behind.is_some_and(|path| path.starts_with('/') && !path.starts_with("/dev/"))
    }

    fn opens_for_change(&self) -> bool {
        let shared = ["\"/dev/null\"", "\"/dev/tty\""];
        self.is(OPENING)
            && ["O_CREAT", "O_TRUNC", "O_APPEND"]
                .iter()
                .any(|flag| self.text.contains(flag))
            && !shared.iter().any(|path| self.text.contains(path))
    }

    /// Whether it creates, changes or removes a file.
    pub fn changes_files(&self) -> bool {
        self.is(CHANGING) || self.opens_for_change() || (self.is(WRITING) && self.to_file())
    }

    /// Whether it hands something to another process, over a socket.
    pub fn sends(&self) -> bool {
        self.is(SENDING)
    }

    /// Whether it makes something durable.
    pub fn syncs(&self) -> bool {
        self.is(SYNCING)
    }

    /// Whether something outside the process is different after it.
    pub fn has_effect(&self) -> bool {
        (self.changes_files() || self.sends() || self.is(SYNCING)) && !self.failed()
    }
}

/// `strace` of `lorectl` as whoever the host is seen as.
pub fn strace(host: &Host, options: &[&str], args: &[&str]) -> Command {
    let mut command = Command::new("strace");
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", &host.account.home)
        .current_dir(&host.dir)
        .stdin(std::process::Stdio::null())
        .args(["-f", "-qq", "-u", &host.account.name])
        .args(options)
        .arg(INSTALLED)
        .args(args);
    command
}

/// Runs `lorectl` under `strace`: what it answered, and its calls in order.
pub fn traced(host: &Host, args: &[&str]) -> (Answer, Vec<Call>) {
    traced_with(host, &["-y"], args)
}

fn traced_with(host: &Host, options: &[&str], args: &[&str]) -> (Answer, Vec<Call>) {
    let file = Path::new("/run").join(format!("trace-{}", host.project));
    let mut all = vec!["-o", file.to_str().unwrap()];
    all.extend(options);
    let answer = Answer::of(&strace(host, &all, args).output().unwrap());
    let text = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    (answer, calls(&text))
}

/// The calls of a trace. A command that works on more than one thread would make them countless.
pub fn calls(text: &str) -> Vec<Call> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let line = line
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .trim_start();
        assert!(
            !line.contains("<unfinished ...>"),
            "more than one thread: {line}"
        );
        let Some((name, rest)) = line.split_once('(') else {
            continue;
        };
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            continue;
        }
        let number = counts.entry(name.to_owned()).or_default();
        *number += 1;
        calls.push(Call {
            name: name.to_owned(),
            number: *number,
            text: rest.to_owned(),
        });
    }
    calls
}

/// Runs `lorectl` and counts the method calls that it makes on a bus.
pub fn bus_calls(host: &Host, args: &[&str]) -> (Answer, Vec<String>) {
    let options = ["-xx", "-s", "4194304", "-e", "trace=sendmsg"];
    let (answer, calls) = traced_with(host, &options, args);
    let mut streams: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for call in &calls {
        let socket = call.text.split(',').next().unwrap().to_owned();
        let sent: usize = call
            .text
            .rsplit("= ")
            .next()
            .unwrap()
            .trim()
            .parse()
            .unwrap_or(0);
        let mut bytes = Vec::new();
        for piece in call.text.split("iov_base=\"").skip(1) {
            let hex = piece.split('"').next().unwrap();
            let pairs = hex.split("\\x").skip(1);
            bytes.extend(pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()));
        }
        bytes.truncate(sent);
        streams.entry(socket).or_default().extend(bytes);
    }
    (
        answer,
        streams
            .values()
            .flat_map(|bytes| method_calls(bytes))
            .collect(),
    )
}

/// The members that the method calls of a stream name: D-Bus specification, "Message Format". What
/// stands before the first message is its handshake.
fn method_calls(stream: &[u8]) -> Vec<String> {
    const BEGIN: &[u8] = b"BEGIN\r\n";
    let begin = stream
        .windows(BEGIN.len())
        .position(|window| window == BEGIN);
    let mut rest = begin.map_or(stream, |at| &stream[at + BEGIN.len()..]);
    let mut members = Vec::new();
    while rest.len() >= 16 {
        assert_eq!(rest[0], b'l', "a message begins with its byte order");
        let number = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap()) as usize;
        let (body, fields) = (number(4), number(12));
        let header = (16 + fields).next_multiple_of(8);
        if rest[1] == 1 {
            members.push(member(&rest[16..16 + fields]));
        }
        rest = &rest[header + body..];
    }
    assert!(rest.is_empty(), "{} bytes are left", rest.len());
    members
}

/// The member among the header fields: code 3, a string.
fn member(fields: &[u8]) -> String {
    const MARK: &[u8] = &[3, 1, b's', 0];
    let at = fields.windows(4).position(|window| window == MARK).unwrap() + 4;
    let length = u32::from_le_bytes(fields[at..at + 4].try_into().unwrap()) as usize;
    String::from_utf8_lossy(&fields[at + 4..at + 4 + length]).into_owned()
}
