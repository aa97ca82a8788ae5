//! `lorectl service logs NAME`: what the stages printed.

use std::io;

use schemars::JsonSchema;
use serde::Serialize;

use super::super::{
    canvas::{Canvas, Line},
    style::{Paint, Style},
    text,
};
use crate::id::Timestamp;

/// Where a line was printed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The runner's own remark.
    Runner,
}

/// The widest column for the names of stages; longer ones push their line.
const WIDEST: usize = 20;

/// The end of a service's log.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl service logs --json` prints as data")]
pub struct Logs {
    /// The file that is written to now.
    pub log_path: String,
    /// Whether there is one.
    pub exists: bool,
    /// Its length, without the files before it.
    pub size_bytes: u64,
    /// The last lines, oldest first, at most 100; where `--tail` asks for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_lines: Option<Vec<LogLine>>,
}

/// One line of a log.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LogLine {
    /// When it was printed, UTC, where that was recorded.
    #[schemars(with = "Option<String>")]
    pub at: Option<Timestamp>,
    /// The stage, where it is one's.
    pub stage: Option<String>,
    /// Where it was printed to.
    pub stream: Stream,
    /// The line, without its newline.
    pub text: String,
}

/// Writes log lines as text, a column for the stages.
///
/// Lines are not wrapped, so that they can be searched; what acts on a terminal is written out.
///
/// # Errors
/// What the writer says.
pub fn write(lines: &[LogLine], style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let mut canvas = Canvas::new(style);
    let widths = lines.iter().filter_map(|log| log.stage.as_deref());
    let widest = widths.map(|stage| text::width(&text::escape(stage)));
    let widest = widest.max().map_or(0, |widest| widest.min(WIDEST) + 2);
    let mut day = String::new();
    for log in lines {
        let mut line = Line::new();
        if let Some(at) = log.at {
            let date = at.utc().format("%a %Y-%m-%d UTC").to_string();
            if date != day {
                canvas.gap();
                canvas.raw_line(&Line::new().put(Paint::Dim, &date));
                day = date;
            }
            line = line
                .put(Paint::Dim, at.utc().format("%H:%M:%S").to_string())
                .plain("  ");
        }
        let stage = log.stage.as_deref().unwrap_or_default();
        let column = line.width() + widest;
        line = line.put(Paint::Held, stage).pad_to(column);
        let paint = match log.stream {
            Stream::Stdout => Paint::Plain,
            Stream::Stderr => Paint::Warning,
            Stream::Runner => Paint::Strong,
        };
        canvas.raw_line(&line.put(paint, &log.text));
        out.write_all(canvas.take().as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture::snapshot;

    #[test]
    fn lines_keep_their_length_and_lose_their_teeth() {
        let line = |at: &str, stage: Option<&str>, stream, text: &str| LogLine {
            at: Some(at.parse().unwrap()),
            stage: stage.map(str::to_owned),
            stream,
            text: text.to_owned(),
        };
        let lines = vec![
            line(
                "2025-11-19T23:59:58Z",
                None,
                Stream::Runner,
                "due: every 30m",
            ),
            line(
                "2025-11-19T23:59:59Z",
                Some("issues"),
                Stream::Stdout,
                "fetched 5 \x1b[2J issues",
            ),
            line(
                "2025-11-20T00:00:01Z",
                Some("mrs"),
                Stream::Stderr,
                &"long ".repeat(30),
            ),
        ];
        let mut out = Vec::new();
        write(&lines, &Style::PLAIN, &mut out).unwrap();
        snapshot("service-logs", &String::from_utf8(out).unwrap());
    }
}
