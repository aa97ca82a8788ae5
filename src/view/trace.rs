//! What `-v` has told on standard error: the events of the house, a line each, without any value.
//!
//! `-v` tells the phases of a command, `-vv` each request, process, call and lock too, `-vvv` each write
//! and decision. Only our own events are told: what the libraries below say may hold a header or a body.

use std::{
    fmt::{self, Write as _},
    io::{self, Write as _},
    sync::{Mutex, PoisonError},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};

use super::{
    style::{Paint, Style},
    text,
};
use crate::{effect::process::Stopwatch, scrub::known::Screen};

/// What our own events begin with.
const OURS: &str = concat!(env!("CARGO_CRATE_NAME"), "::");

/// The field that holds how long something took, in milliseconds.
const MS: &str = "ms";

/// What is traced, how, and from when.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How many `v`s there were.
    pub depth: u8,
    /// The style of standard error.
    pub style: Style,
    /// When the command began.
    pub since: Stopwatch,
    /// Time stands still: every duration is told as 0, so that the same command tells the same.
    pub timeless: bool,
}

/// Has events told from now on, until the process ends; nothing at depth 0. The first call counts.
pub fn start(settings: Settings) {
    let level = match settings.depth {
        0 => return,
        1 => Level::INFO,
        2 => Level::DEBUG,
        _ => Level::TRACE,
    };
    // There is no other than ours: this is called once a command.
    let _ = tracing::subscriber::set_global_default(Teller {
        level,
        settings,
        screen: Mutex::default(),
    });
}

struct Teller {
    level: Level,
    settings: Settings,
    screen: Mutex<Screen>,
}

impl Subscriber for Teller {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !metadata.is_span()
            && *metadata.level() <= self.level
            && metadata.target().starts_with(OURS)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level.into())
    }

    fn event(&self, event: &Event<'_>) {
        let ms = if self.settings.timeless {
            0
        } else {
            self.settings.since.elapsed_ms()
        };
        let mut said = Said::new(self.settings.timeless);
        event.record(&mut said);
        let mut screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        let line = line(
            ms,
            *event.metadata().level(),
            &said,
            &mut screen,
            &self.settings.style,
        );
        // That it cannot be written is nothing that could be told anyone.
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }

    // No span is ever enabled.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// What an event says: its text, and what it says beside it.
struct Said {
    timeless: bool,
    text: String,
    fields: Vec<(&'static str, String)>,
}

impl Said {
    const fn new(timeless: bool) -> Self {
        Self {
            timeless,
            text: String::new(),
            fields: Vec::new(),
        }
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let told = match field.name() {
            "message" => {
                // A text takes whatever is written to it.
                let _ = write!(self.text, "{value:?}");
                return;
            }
            MS if self.timeless => "0".to_owned(),
            _ => format!("{value:?}"),
        };
        self.fields.push((field.name(), told));
    }
}

/// One event as a line: when, how deep, what, and what beside it.
fn line(ms: u64, level: Level, said: &Said, screen: &mut Screen, style: &Style) -> String {
    let (word, paint) = if level == Level::INFO {
        ("info ", Paint::Good)
    } else if level == Level::DEBUG {
        ("debug", Paint::Held)
    } else {
        ("trace", Paint::Dim)
    };
    let mut line = String::new();
    style.paint_onto(&mut line, Paint::Dim, &format!("{ms:>6} ms"));
    line.push(' ');
    style.paint_onto(&mut line, paint, word);
    line.push(' ');
    line.push_str(&text::escape(&screen.text(&said.text)));
    for (name, value) in &said.fields {
        line.push(' ');
        style.paint_onto(&mut line, Paint::Dim, &format!("{name}="));
        let value = screen.text(value);
        let value = text::escape(&value);
        if value.is_empty() || value.contains([' ', '"', '=']) {
            line.push('"');
            line.push_str(&value.replace('"', "\\\""));
            line.push('"');
        } else {
            line.push_str(&value);
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::process::apart::apart;
    use crate::{scrub::known, view::style::Style};

    fn said(text: &str, fields: &[(&'static str, &str)]) -> Said {
        let owned = fields
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        Said {
            timeless: false,
            text: text.to_owned(),
            fields: owned.collect(),
        }
    }

    // Other tests meet values too.
    apart! {
        fn an_event_is_one_line_without_values() {
            let value = "canary-of-trace-5c1d?&";
            known::meet(&value.into());
            let encoded: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
            let url = format!("h/x/{encoded}");
            let what = said(
                &format!("asked {value}"),
                &[
                    ("url", &url),
                    ("why", "a\u{1b}[2J \"b\"\n"),
                    ("none", ""),
                    ("ms", "7"),
                ],
            );
            let mut screen = Screen::default();
            let text = line(12, Level::INFO, &what, &mut screen, &Style::PLAIN);
            assert_eq!(
                text,
                "    12 ms info  asked «value» url=h/x/«value» why=\"a\\x1b[2J \\\"b\\\"\\n\" none=\"\" ms=7\n"
            );
            let colored = Style {
                color: true,
                ..Style::PLAIN
            };
            let painted = line(1, Level::TRACE, &said("x", &[]), &mut screen, &colored);
            assert_eq!(
                painted,
                "\u{1b}[2m     1 ms\u{1b}[0m \u{1b}[2mtrace\u{1b}[0m x\n"
            );
        }
    }
}
