//! The terminal that a command speaks to: whether there is one, how wide it is, and what the environment asks of it.
#![expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment variables a terminal is described by"
)]

use std::io::IsTerminal;

use terminal_size::{Width, terminal_size_of};

/// What the environment says of colour and characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// `NO_COLOR` is set and not empty (no-color.org).
    pub no_color: bool,
    /// `TERM` is `dumb`: no escape sequence is understood.
    pub dumb: bool,
    /// The first of `LC_ALL`, `LC_CTYPE` and `LANG` that is not empty (locale(7)), if any is.
    pub locale: Option<String>,
}

/// One of the standard streams, as far as printing is concerned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stream {
    /// Whether a person reads along.
    pub is_terminal: bool,
    /// The window's width in columns, where there is a window that says.
    pub columns: Option<usize>,
}

/// Reads the environment, once, at the start of a command.
pub fn environment() -> Environment {
    let set = |name: &str| {
        std::env::var_os(name)
            .map(|value| value.to_string_lossy().into_owned())
            .filter(|value| !value.is_empty())
    };
    Environment {
        no_color: set("NO_COLOR").is_some(),
        dumb: set("TERM").as_deref() == Some("dumb"),
        locale: set("LC_ALL")
            .or_else(|| set("LC_CTYPE"))
            .or_else(|| set("LANG")),
    }
}

/// Standard output.
pub fn stdout() -> Stream {
    let stream = std::io::stdout();
    Stream {
        is_terminal: stream.is_terminal(),
        columns: terminal_size_of(&stream).map(|(Width(columns), _)| usize::from(columns)),
    }
}

/// Standard error.
pub fn stderr() -> Stream {
    let stream = std::io::stderr();
    Stream {
        is_terminal: stream.is_terminal(),
        columns: terminal_size_of(&stream).map(|(Width(columns), _)| usize::from(columns)),
    }
}

/// Whether standard input is a terminal, so that a question can be answered.
pub fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}
