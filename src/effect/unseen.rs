//! A line from the terminal that nobody sees as it is typed.

use std::io;

use nix::{
    sys::termios::{
        self, LocalFlags, SetArg,
        SpecialCharacterIndices::{VMIN, VQUIT, VSUSP, VTIME},
        Termios,
    },
    unistd,
};
use secrecy::zeroize::{Zeroize, Zeroizing};

use crate::error::{Code, Error, Result};

use super::signals::Interrupts;

/// What is the end of a line's input, what takes back a character, and what all of them (termios(3), ^D,
/// ^H, DEL and ^U).
const END: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const DELETE: u8 = 0x7f;
const KILL: u8 = 0x15;

/// Reads a line of at most `limit` bytes from the terminal on standard input, which shows none of it.
/// What was pasted after the line's end is a part of what is given back, and never left to the shell.
///
/// The terminal is as before when this returns, also by Ctrl-C or SIGTERM, for which `None` is given
/// back: then the process is to end. It cannot be suspended meanwhile, since a shell that goes on with
/// it would have it show what is typed.
///
/// # Errors
/// `IO` when the terminal cannot be read or set.
pub async fn read_line(limit: usize) -> Result<Option<Zeroizing<Vec<u8>>>> {
    let failed = |error: nix::Error| {
        Error::new(Code::Io, "cannot read from the terminal").because(io::Error::from(error))
    };
    let mut interrupts = Interrupts::listen()?;
    let _unseen = Unseen::begin().map_err(failed)?;
    // The end of the process ends the thread.
    let typed = tokio::task::spawn_blocking(move || {
        let mut line = Line::default();
        let mut chunk = Zeroizing::new([0; 4096]);
        loop {
            match unistd::read(io::stdin(), chunk.as_mut_slice()) {
                Ok(0) => return Ok(line.0),
                Ok(read) if line.takes(&chunk[..read]) || line.0.len() > limit => {
                    return Ok(line.0);
                }
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    });
    tokio::select! {
        typed = typed => match typed {
            Ok(line) => line.map(Some).map_err(failed),
            Err(_) => Err(Error::new(Code::Internal, "the terminal's reader is gone")),
        },
        () = interrupts.next() => Ok(None),
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
        // What is left of a paste would be the shell's to carry out: it is thrown away. That it fails
        // is nothing that could be mended.
        let _ = termios::tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &self.0);
    }
}

/// What was typed so far.
#[derive(Default)]
struct Line(Zeroizing<Vec<u8>>);

impl Line {
    /// Takes what was read; whether it ends the line.
    fn takes(&mut self, chunk: &[u8]) -> bool {
        for (at, byte) in chunk.iter().enumerate() {
            match *byte {
                b'\n' | b'\r' | END => {
                    let rest = &chunk[at + 1..];
                    if rest.iter().any(|byte| !byte.is_ascii_whitespace()) {
                        // More than a line was pasted: let it be told from a token.
                        self.0.push(b'\n');
                        self.0.extend_from_slice(rest);
                    }
                    return true;
                }
                BACKSPACE | DELETE => {
                    // A character's continuing bytes go with it (UTF-8).
                    while self.0.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
                }
                KILL => self.0.zeroize(),
                byte => self.0.push(byte),
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_edited_and_ends() {
        for (chunks, expected, ends) in [
            (&[&b"abc\n"[..]][..], &b"abc"[..], true),
            (&[b"ab", b"c\r"], b"abc", true),
            (&[b"abc\x04"], b"abc", true),
            (&[b"abx\x7fc\n"], b"abc", true),
            (&["a\u{e9}\x08b\n".as_bytes()], b"ab", true),
            (&[b"\x7f\x08a\n"], b"a", true),
            (&[b"wrong\x15abc\n"], b"abc", true),
            (&[b"abc\n\n"], b"abc", true),
            (&[b"abc\ndef\n"], b"abc\ndef\n", true),
            (&[b"abc"], b"abc", false),
            (&[b"\n"], b"", true),
        ] {
            let mut line = Line::default();
            let ended: Vec<bool> = chunks.iter().map(|chunk| line.takes(chunk)).collect();
            assert_eq!(line.0.as_slice(), expected);
            assert_eq!(ended.last(), Some(&ends), "{chunks:?}");
        }
    }
}
