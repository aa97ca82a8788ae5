//! Which style a stream gets, and writing to it.

use std::io::{self, BufRead, Read, Write};

use super::{
    View, json,
    style::{DEFAULT_WIDTH, MIN_WIDTH, Style},
};
use crate::{
    effect::terminal::{self, Environment, Stream},
    error::{Code, Error},
};

/// When to use colours: `--color`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ColorChoice {
    /// On a terminal that understands them, unless `NO_COLOR` forbids it.
    #[default]
    Auto,
    /// Always, in a pipe too; stronger than `NO_COLOR`, since it was asked for here and now.
    Always,
    /// Never.
    Never,
}

/// The style of a stream: a function of what was asked for, the stream and the environment.
pub fn style(choice: ColorChoice, stream: Stream, environment: &Environment) -> Style {
    let color = match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => stream.is_terminal && !environment.no_color && !environment.dumb,
    };
    // In a pipe the reader is a program, a file or a CI log, and all of those take UTF-8.
    let unicode = !stream.is_terminal
        || environment.locale.as_deref().is_some_and(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        });
    let width = match stream.columns.filter(|_| stream.is_terminal) {
        // Some pseudo-terminals report no size as 0.
        None | Some(0) => DEFAULT_WIDTH,
        Some(columns) => columns.max(MIN_WIDTH),
    };
    Style {
        color,
        unicode,
        width,
    }
}

/// What a command prints to.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    /// The style of standard output.
    pub stdout: Style,
    /// The style of standard error.
    pub stderr: Style,
    /// Whether progress is shown: standard error is a terminal that moves its cursor and is wide enough.
    pub live: bool,
    /// Whether a question can be asked: standard input and standard error are terminals.
    pub can_ask: bool,
}

impl Console {
    /// The console of this process. Reads the environment and the terminals once.
    pub fn of_process(choice: ColorChoice) -> Self {
        let environment = terminal::environment();
        let (stdout, stderr) = (terminal::stdout(), terminal::stderr());
        Self {
            stdout: style(choice, stdout, &environment),
            stderr: style(choice, stderr, &environment),
            live: stderr.is_terminal
                && !environment.dumb
                && stderr
                    .columns
                    .is_none_or(|columns| columns == 0 || columns > MIN_WIDTH),
            can_ask: stderr.is_terminal && terminal::stdin_is_terminal(),
        }
    }

    /// Writes to standard output through a buffer that is flushed at the end.
    ///
    /// # Errors
    /// What the system says; a reader that went away (`lorectl plan | head`) is no error.
    pub fn print(
        &self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> crate::error::Result<()> {
        let mut out = io::BufWriter::with_capacity(64 * 1024, io::stdout().lock());
        forgive(write(&mut out).and_then(|()| out.flush()))
            .map_err(|error| Error::new(Code::Io, "cannot write to standard output").because(error))
    }

    /// Shows what a command has to say: as text, or as the data of an envelope.
    ///
    /// # Errors
    /// As [`Console::print`].
    pub fn show<T: View>(&self, view: &T, json: bool, elapsed_ms: u64) -> crate::error::Result<()> {
        self.print(|out| {
            if json {
                json::success(out, view, elapsed_ms)
            } else {
                out.write_all(view.text(&self.stdout).as_bytes())
            }
        })
    }

    /// Shows the error that a command ends with: as text on standard error, or as an envelope on standard output.
    ///
    /// That it cannot be shown is nothing that could be told anyone.
    pub fn fail(&self, error: &Error, json: bool, elapsed_ms: u64) {
        if json {
            let _ = self.print(|out| json::failure(out, error, elapsed_ms));
        } else {
            self.complain(&super::error::render(error, &self.stderr));
        }
    }

    /// Asks on standard error, and reads the answer from standard input; see [`ask`].
    ///
    /// # Errors
    /// `IO` when there is nobody to ask.
    pub fn ask(&self, question: &str) -> crate::error::Result<bool> {
        let (mut input, mut out) = (io::stdin().lock(), io::stderr().lock());
        ask(question, &self.stderr, &mut input, &mut out)
            .map_err(|error| Error::new(Code::Io, "cannot ask on the terminal").because(error))
    }

    /// Writes text to standard error. That it cannot be written is nothing that could be told anyone.
    pub fn complain(&self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

fn forgive(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Asks a question to which only `yes` is yes; the end of input and anything else is no.
///
/// # Errors
/// When the question cannot be written or the answer not be read.
pub fn ask(
    question: &str,
    style: &Style,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
) -> io::Result<bool> {
    let mut line = String::new();
    style.paint_onto(
        &mut line,
        super::style::Paint::Strong,
        &super::text::escape(question),
    );
    write!(out, "{line} Only `yes` is taken: ")?;
    out.flush()?;
    let mut answer = String::new();
    input.take(1024).read_line(&mut answer)?;
    if !answer.ends_with('\n') {
        writeln!(out)?;
    }
    Ok(answer.trim() == "yes")
}

/// Prints what clap has to say of the arguments, or the help or version that they ask for, and gives
/// the exit status: 0, or 64 (sysexits(3), `EX_USAGE`) for what is wrong.
pub fn usage(error: &clap::Error) -> u8 {
    // That it cannot be printed is nothing that could be told anyone.
    let _ = error.print();
    if error.use_stderr() {
        crate::error::Exit::Usage.status()
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Stream = Stream {
        is_terminal: false,
        columns: None,
    };
    const WINDOW: Stream = Stream {
        is_terminal: true,
        columns: Some(120),
    };

    fn environment(no_color: bool, dumb: bool, locale: &str) -> Environment {
        Environment {
            no_color,
            dumb,
            locale: Some(locale.to_owned()),
        }
    }

    #[test]
    fn colour_is_for_terminals_that_want_it() {
        let usual = environment(false, false, "C.UTF-8");
        for (choice, stream, environment, color) in [
            (ColorChoice::Auto, WINDOW, &usual, true),
            (ColorChoice::Auto, PIPE, &usual, false),
            (
                ColorChoice::Auto,
                WINDOW,
                &environment(true, false, "C.UTF-8"),
                false,
            ),
            (
                ColorChoice::Auto,
                WINDOW,
                &environment(false, true, "C.UTF-8"),
                false,
            ),
            (
                ColorChoice::Always,
                PIPE,
                &environment(true, true, "C"),
                true,
            ),
            (ColorChoice::Never, WINDOW, &usual, false),
        ] {
            assert_eq!(style(choice, stream, environment).color, color);
        }
    }

    #[test]
    fn the_window_says_the_width_and_the_locale_the_characters() {
        let window = |columns| Stream {
            is_terminal: true,
            columns,
        };
        for (stream, locale, width, unicode) in [
            (window(Some(120)), "fr_FR.utf8", 120, true),
            (window(Some(20)), "C", 40, false),
            (window(Some(0)), "C.UTF-8", 80, true),
            (window(None), "", 80, false),
            (PIPE, "C", 80, true),
        ] {
            let got = style(
                ColorChoice::Auto,
                stream,
                &environment(false, false, locale),
            );
            assert_eq!((got.width, got.unicode), (width, unicode));
        }
    }

    #[test]
    fn only_yes_is_yes() {
        for (answer, yes) in [
            ("yes\n", true),
            (" yes \n", true),
            ("y\n", false),
            ("", false),
        ] {
            let mut out = Vec::new();
            let got = ask("Apply?", &Style::PLAIN, &mut answer.as_bytes(), &mut out).unwrap();
            assert_eq!(got, yes, "{answer:?}");
        }
    }
}
