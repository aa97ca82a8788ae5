//! A line from the terminal that nobody sees as it is typed.

use std::{
    io,
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::termios::{
        self, LocalFlags, SetArg,
        SpecialCharacterIndices::{VMIN, VQUIT, VSUSP, VTIME},
        Termios,
    },
    unistd,
};
use secrecy::zeroize::{Zeroize, Zeroizing};
use tokio::time::Instant;

use crate::error::{Code, Error, Result};

use super::signals::Interrupts;

/// What is the end of a line's input, what takes back a character, and what all of them (termios(3), ^D,
/// ^H, DEL and ^U).
const END: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const DELETE: u8 = 0x7f;
const KILL: u8 = 0x15;

/// How long nothing has come when a paste is taken to be over: more than a terminal far away pauses for.
const QUIET_MS: u16 = 300;

/// How long what comes after a line's end is waited for at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// How soon it is seen that the process is to end.
const GLANCE_MS: u16 = 100;

/// What came of asking.
pub enum Typed {
    /// A line, without its end.
    Line(Zeroizing<Vec<u8>>),
    /// More than one line, or a longer one: none of it is kept.
    More,
    /// Ctrl-C, or SIGTERM: the process is to end.
    Interrupted,
}

/// Reads a line of at most `limit` bytes from the terminal on standard input, which shows none of it.
/// What comes after the line's end or the limit, until the terminal is quiet, is read and thrown away: the
/// rest of a paste is neither shown nor left to the shell.
///
/// The terminal is as before when this returns, also by Ctrl-C or SIGTERM. It cannot be suspended
/// meanwhile, since a shell that goes on with it would have it show what is typed.
///
/// # Errors
/// `IO` when the terminal cannot be read or set.
pub async fn read_line(limit: usize) -> Result<Typed> {
    let failed = |error: nix::Error| {
        Error::new(Code::Io, "cannot read from the terminal").because(io::Error::from(error))
    };
    let mut interrupts = Interrupts::listen()?;
    let _unseen = Unseen::begin().map_err(failed)?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let mut reader = tokio::task::spawn_blocking(move || read(limit, &stopped));
    let typed = tokio::select! {
        typed = &mut reader => typed,
        () = interrupts.next() => {
            stop.store(true, Ordering::Relaxed);
            // Nothing is shown before the terminal is quiet; what came is of no use.
            drop(reader.await);
            return Ok(Typed::Interrupted);
        }
    };
    match typed {
        Ok(line) => line.map(Line::finish).map_err(failed),
        Err(_) => Err(Error::new(Code::Internal, "the terminal's reader is gone")),
    }
}

/// Reads until the line has ended, or `stop` says so, and the terminal is quiet.
fn read(limit: usize, stop: &AtomicBool) -> nix::Result<Line> {
    let stdin = io::stdin();
    let mut line = Line::new(limit);
    let mut chunk = Zeroizing::new([0; 4096]);
    let mut until = None;
    loop {
        if until.is_none() && (line.has_ended || stop.load(Ordering::Relaxed)) {
            until = Some(Instant::now() + PATIENCE);
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Ok(line);
        }
        let wait = if until.is_some() { QUIET_MS } else { GLANCE_MS };
        let mut terminal = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut terminal, PollTimeout::from(wait)) {
            Ok(0) if until.is_some() => return Ok(line),
            Ok(0) | Err(nix::Error::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        match unistd::read(&stdin, chunk.as_mut_slice()) {
            Ok(0) => return Ok(line),
            Ok(read) => line.take(&chunk[..read]),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// A terminal that shows nothing of what is typed, as long as this lives.
struct Unseen(Termios);

impl Unseen {
    fn begin() -> nix::Result<Self> {
        let before = termios::tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        // By lines, it would cut what is longer than 4095 bytes (termios(3)).
        hidden
            .local_flags
            .remove(LocalFlags::ECHO | LocalFlags::ECHONL | LocalFlags::ICANON);
        for key in [VSUSP, VQUIT] {
            // _POSIX_VDISABLE
            hidden.control_chars[key as usize] = 0;
        }
        hidden.control_chars[VMIN as usize] = 1;
        hidden.control_chars[VTIME as usize] = 0;
        termios::tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        // What came meanwhile would be the shell's to carry out: it is thrown away. That it fails is
        // nothing that could be mended.
        let _ = termios::tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &self.0);
    }
}

/// What was typed so far.
struct Line {
    /// Never longer than its first room: growing would leave a copy behind.
    bytes: Zeroizing<Vec<u8>>,
    limit: usize,
    has_ended: bool,
    /// Whether there was more than a line, or a longer one.
    is_more: bool,
}

impl Line {
    fn new(limit: usize) -> Self {
        Self {
            bytes: Zeroizing::new(Vec::with_capacity(limit)),
            limit,
            has_ended: false,
            is_more: false,
        }
    }

    /// Takes what was read.
    fn take(&mut self, chunk: &[u8]) {
        for byte in chunk {
            match *byte {
                byte if self.has_ended => {
                    self.is_more |= !byte.is_ascii_whitespace() && byte != END;
                }
                b'\n' | b'\r' | END => self.has_ended = true,
                BACKSPACE | DELETE => {
                    // A character's continuing bytes go with it (UTF-8).
                    while self.bytes.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
                }
                KILL => self.bytes.zeroize(),
                byte if self.bytes.len() < self.limit => self.bytes.push(byte),
                _ => {
                    self.has_ended = true;
                    self.is_more = true;
                }
            }
        }
        if self.is_more {
            self.bytes.zeroize();
        }
    }

    fn finish(self) -> Typed {
        if self.is_more {
            Typed::More
        } else {
            Typed::Line(self.bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_edited_and_ends() {
        for (chunks, expected, ends) in [
            (&[&b"abc\n"[..]][..], Some(&b"abc"[..]), true),
            (&[b"ab", b"c\r"], Some(b"abc"), true),
            (&[b"abc\x04"], Some(b"abc"), true),
            (&[b"abx\x7fc\n"], Some(b"abc"), true),
            (&["a\u{e9}\x08b\n".as_bytes()], Some(b"ab"), true),
            (&[b"\x7f\x08a\n"], Some(b"a"), true),
            (&[b"wrong\x15abc\n"], Some(b"abc"), true),
            (&[b"abc\n\n"], Some(b"abc"), true),
            (&[b"abc\r", b"\n\x04"], Some(b"abc"), true),
            (&[b"abc\ndef\n"], None, true),
            (&[b"abc\n", b"\n", b"def"], None, true),
            (&[b"\nabc\n"], None, true),
            (&[b"abc"], Some(b"abc"), false),
            (&[b"12345678\n"], Some(b"12345678"), true),
            (&[b"123456789\n"], None, true),
            (&[b"12345678", b"9"], None, true),
            (&[b"\n"], Some(b""), true),
        ] {
            let mut line = Line::new(8);
            for chunk in chunks {
                line.take(chunk);
            }
            assert_eq!(line.has_ended, ends, "{chunks:?}");
            let found = match line.finish() {
                Typed::Line(line) => Some(line.to_vec()),
                Typed::More | Typed::Interrupted => None,
            };
            assert_eq!(found.as_deref(), expected, "{chunks:?}");
        }
    }
}
