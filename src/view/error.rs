//! An error for a person: what happened, because of what, each finding, and what helps.

use super::{
    canvas::{Canvas, Line},
    style::{Paint, Style},
};
use crate::error::{Code, Error};

/// An error as text for standard error.
///
/// ```text
/// error[SPEC_INVALID]: 2 errors in the spec
///   because …
///   • service.sync: …
///   help: run `lorectl validate`
/// ```
pub fn render(error: &Error, style: &Style) -> String {
    let mut canvas = Canvas::new(style);
    let head = Line::new()
        .whole(Paint::Bad, format!("error[{}]:", error.code))
        .plain(" ")
        .put(Paint::Strong, &error.message);
    canvas.line(&head, 2);
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        paragraph(
            &mut canvas,
            Line::indented(2).put(Paint::Dim, "because "),
            &error.to_string(),
        );
        cause = error.source();
    }
    for detail in &error.details {
        if detail.contains('\n') {
            // A finding with its source line: its columns mean something, so nothing is wrapped.
            canvas.gap();
            for line in detail.trim_end().lines() {
                source_line(&mut canvas, line);
            }
            canvas.gap();
        } else {
            let bullet = canvas.style().glyphs().bullet;
            let line = Line::indented(2).put(Paint::Dim, bullet).plain(" ");
            canvas.line(&line.plain(detail), 4);
        }
    }
    let help = Line::indented(2).put(Paint::Good, "help: ");
    if let Some(suggestion) = &error.suggestion {
        paragraph(&mut canvas, help, suggestion);
    } else {
        let more = format!("`lorectl explain {}` says what this means", error.code);
        canvas.line(&help.put(Paint::Dim, more), 8);
    }
    canvas.finish()
}

/// What clap has to say of the arguments, as an error like any other.
pub fn of_usage(error: &clap::Error) -> Error {
    let text = error.to_string();
    let said: Vec<&str> = (text.lines())
        .take_while(|line| !line.trim().is_empty())
        .map(str::trim)
        .collect();
    let said = said.join(" ");
    let message = said.strip_prefix("error: ").unwrap_or(&said);
    Error::new(Code::Usage, message).suggest("`lorectl COMMAND --help` says what is taken")
}

/// A warning as text for standard error.
pub fn warning(text: &str, style: &Style) -> String {
    let mut canvas = Canvas::new(style);
    let line = Line::new().put(Paint::Warning, "warning: ").plain(text);
    canvas.line(&line, 2);
    canvas.finish()
}

/// Text of one or more lines behind a label.
fn paragraph(canvas: &mut Canvas<'_>, label: Line, text: &str) {
    let hang = label.width();
    let mut lines = text.trim_end().lines();
    canvas.line(&label.plain(lines.next().unwrap_or_default()), hang);
    for line in lines {
        canvas.line(&Line::indented(hang).plain(line), hang);
    }
}

fn source_line(canvas: &mut Canvas<'_>, text: &str) {
    let underlines = text.contains('^')
        && text
            .chars()
            .all(|c| matches!(c, ' ' | '^' | '|' | '-' | '~') || c.is_ascii_digit());
    let paint = if underlines { Paint::Bad } else { Paint::Plain };
    canvas.raw_line(&Line::indented(2).whole(paint, text));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture::snapshot;

    #[test]
    fn an_error_says_what_why_where_and_what_helps() {
        let io = std::io::Error::other("No space left on device (os error 28)");
        let io = Error::io(
            "write",
            std::path::Path::new("/var/lib/lorectl/acme/state.json"),
            io,
        );
        let spec = Error::new(Code::SpecInvalid, "2 errors in the spec")
            .with_details(vec![
                "lore.toml:12:1: unknown key `shedule`; did you mean `schedule`?\n   |\n12 | shedule = { every = \"30m\" }\n   | ^^^^^^^\n".to_owned(),
                "lore.toml:20:12: `2m` is under the project's `min_interval` of 5m\n   |\n20 | schedule = { every = \"2m\" }\n   |                      ^^^^\n".to_owned(),
            ])
            .suggest("fix them and run `lorectl validate`; `lorectl schema` prints what an editor can complete from");
        let approval = Error::new(
            Code::NotApproved,
            "2 of 5 changes are not what the plan file approves",
        )
        .with_details(vec![
            "service.sync: `schedule` is \"every 5m\", \"every 15m\" was approved".to_owned(),
            "service.new: would be created; the file does not have it".to_owned(),
        ])
        .suggest("review the plan as it is now, and approve it with `lorectl plan --out FILE`");
        let hostile = Error::new(Code::Conflict, "unit \x1b[31mevil\x1b[0m\nerror[OK]: fine")
            .because(std::io::Error::other("two\nlines"));
        let mut text = String::new();
        for error in [&io, &spec, &approval, &hostile] {
            text += &render(error, &Style::PLAIN);
            text += "\n";
        }
        text += &warning("user `git` has no lingering", &Style::PLAIN);
        snapshot("error", &text);
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn the_underline_is_red() {
        let style = Style {
            color: true,
            ..Style::PLAIN
        };
        let error = Error::new(Code::SpecInvalid, "1 error")
            .with_details(vec!["x\n3 | a ^ b\n  |   ^\n".to_owned()]);
        let text = render(&error, &style);
        assert!(text.contains("\n    \x1b[1;31m|   ^\x1b[0m\n"), "{text:?}");
        assert!(text.contains("\n  3 | a ^ b\n"), "{text:?}");
    }
}
