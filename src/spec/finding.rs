//! What is wrong with a spec, as its author reads it: place, source line, what is underlined, help.

use std::{
    fmt::{self, Write as _},
    ops::Range,
    sync::Arc,
};

use unicode_width::UnicodeWidthChar as _;

use crate::{
    error::{Code, Error},
    service::spec::secret,
};

/// The most findings that are shown of one run; what follows is counted.
const MOST: usize = 200;

/// The widest source line that is shown whole, in columns.
const WIDEST: usize = 96;

/// Something wrong at one place of a spec.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, as the user would open it.
    pub file: Arc<str>,
    /// The line, from 1; 0 is the file as a whole.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What helps.
    pub suggestion: Option<String>,
    /// The line, made fit to print: control characters escaped, secrets in URLs starred, cut to size.
    pub source_line: String,
    /// How many columns of `source_line` stand before what is underlined.
    pub underline_at: usize,
    /// How many columns are underlined, at least 1.
    pub underline_len: usize,
    /// Whether all that is wrong is that this build does not have it.
    pub not_in_this_build: bool,
}

impl Finding {
    /// A finding about a file as a whole.
    pub fn of_file(file: &Arc<str>, message: impl Into<String>) -> Self {
        Self {
            file: Arc::clone(file),
            line: 0,
            column: 0,
            message: message.into(),
            suggestion: None,
            source_line: String::new(),
            underline_at: 0,
            underline_len: 0,
            not_in_this_build: false,
        }
    }

    /// Adds what helps.
    #[must_use]
    pub fn suggest(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }
}

impl fmt::Display for Finding {
    /// `FILE:LINE:COLUMN: message`, which editors and CI jump to, then the line underlined.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", printable(&self.file))?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", printable(&self.message))?;
        let number = self.line.to_string();
        let gutter = number.len();
        if self.line > 0 {
            let (at, len) = (self.underline_at, self.underline_len);
            write!(f, "\n {:gutter$} |", "")?;
            write!(f, "\n {number} | {}", self.source_line)?;
            write!(f, "\n {:gutter$} | {:at$}{:^<len$}", "", "", "")?;
        }
        if let Some(suggestion) = &self.suggestion {
            write!(f, "\n {:gutter$} = help: {}", "", printable(suggestion))?;
        }
        Ok(())
    }
}

/// A text whose control and direction characters are written out, so that none reaches a terminal.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        push_printable(&mut shown, c);
    }
    shown
}

/// Whether a character would act on a terminal or on its neighbours instead of being seen.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

fn push_printable(shown: &mut String, c: char) {
    if c == '\t' {
        shown.push_str("    ");
    } else if is_hidden(c) {
        // Writing to a string does not fail.
        let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
    } else {
        shown.push(c);
    }
}

fn width(c: char) -> usize {
    if c == '\t' {
        4
    } else if is_hidden(c) {
        format!("\\u{{{:x}}}", u32::from(c)).len()
    } else {
        c.width().unwrap_or(0)
    }
}

/// The text of a file with the beginnings of its lines.
pub struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    /// Finds the lines of a text.
    pub fn of(text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0)
            .chain(breaks.map(|(at, _)| at + 1))
            .collect();
        Self { text, starts }
    }

    /// The line of a byte, from 1.
    pub fn line(&self, offset: usize) -> u32 {
        let count = self.starts.partition_point(|start| *start <= offset);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn source(&self, line: u32) -> (usize, &'a str) {
        let index = usize::try_from(line).unwrap_or(1).saturating_sub(1);
        let start = self.starts.get(index).copied().unwrap_or(0);
        let end = self.starts.get(index + 1).map(|next| next - 1);
        let line = self.text.get(start..end.unwrap_or(self.text.len()));
        let line = line.unwrap_or_default();
        (start, line.strip_suffix('\r').unwrap_or(line))
    }

    /// The line and column (in characters) of a byte, both from 1.
    pub fn place(&self, offset: usize) -> (u32, u32) {
        let line = self.line(offset);
        let (start, source) = self.source(line);
        // Every byte but UTF-8's continuation bytes begins a character.
        let before = (source.bytes().take(offset.saturating_sub(start)))
            .filter(|byte| byte & 0xc0 != 0x80)
            .count();
        let column = u32::try_from(before).unwrap_or(u32::MAX);
        (line, column.saturating_add(1))
    }

    /// A finding about a span of the text.
    pub fn finding(
        &self,
        file: &Arc<str>,
        span: Range<usize>,
        message: impl Into<String>,
    ) -> Finding {
        let (line, column) = self.place(span.start);
        let (start, source) = self.source(line);
        let from = span.start.saturating_sub(start).min(source.len());
        let to = span.end.saturating_sub(start).clamp(from, source.len());
        let (source_line, underline_at, underline_len) = excerpt(source, from..to);
        Finding {
            line,
            column,
            source_line,
            underline_at,
            underline_len,
            ..Finding::of_file(file, message)
        }
    }
}

/// The part of a line near a span, a few kilobytes at most, and the span within it.
fn near(source: &str, span: Range<usize>) -> (&str, Range<usize>) {
    const REACH: usize = 4096;
    let boundary = |at: usize| (0..=at).rev().find(|at| source.is_char_boundary(*at));
    let from = boundary(span.start.saturating_sub(REACH)).unwrap_or(0);
    let to = boundary((span.start + REACH).min(source.len())).unwrap_or(0);
    let part = source.get(from..to).unwrap_or_default();
    (part, span.start - from..(span.end - from).min(part.len()))
}

/// A line as it is shown, and the columns of it that are underlined.
fn excerpt(source: &str, span: Range<usize>) -> (String, usize, usize) {
    let (source, span) = near(source, span);
    let secrets = secret::in_urls(source);
    let starred = |at: usize, c: char| {
        let hidden = secrets.iter().any(|range| range.contains(&at));
        if hidden { '*' } else { c }
    };
    let before: usize = width_of(source, 0..span.start, &starred);
    let marked: usize = width_of(source, span.clone(), &starred).max(1);
    // What is underlined stays in sight, with about a third of the room before it.
    let room_before = (WIDEST / 3).max(WIDEST.saturating_sub(marked + 8));
    let skip = if before + marked.min(WIDEST) > WIDEST {
        before.saturating_sub(room_before.min(before))
    } else {
        0
    };
    let (mut shown, mut column, mut written, mut at_mark) = (String::new(), 0, 0, None);
    if skip > 0 {
        shown.push('…');
        written = 1;
    }
    for (at, c) in source.char_indices() {
        let c = starred(at, c);
        let wide = width(c);
        if column >= skip {
            if at >= span.start && at_mark.is_none() {
                at_mark = Some(written);
            }
            if written + wide > WIDEST {
                shown.push('…');
                written += 1;
                break;
            }
            push_printable(&mut shown, c);
            written += wide;
        }
        column += wide;
    }
    let at_mark = at_mark.unwrap_or(written);
    let len = marked.min(written.saturating_sub(at_mark)).max(1);
    (shown, at_mark, len)
}

fn width_of(source: &str, span: Range<usize>, starred: &dyn Fn(usize, char) -> char) -> usize {
    (source.char_indices())
        .filter(|(at, _)| span.contains(at))
        .map(|(at, c)| width(starred(at, c)))
        .sum()
}

/// Puts findings in order, each once.
pub fn sort(findings: &mut Vec<Finding>) {
    findings.sort_unstable();
    findings.dedup();
}

/// All findings as one error; `None` when there is none. `dropped` more are counted, not shown.
///
/// `NOT_IN_THIS_BUILD` only where nothing else is wrong, else `SPEC_INVALID`.
pub fn to_error(mut findings: Vec<Finding>, dropped: usize) -> Option<Error> {
    sort(&mut findings);
    let first = findings.first()?;
    let count = findings.len() + dropped;
    let message = if count == 1 {
        let place = if first.line > 0 {
            format!("{}:{}:{}", first.file, first.line, first.column)
        } else {
            first.file.to_string()
        };
        format!("the spec has an error in {place}")
    } else {
        let files: std::collections::BTreeSet<&str> =
            findings.iter().map(|finding| &*finding.file).collect();
        match files.len() {
            1 => format!("the spec has {count} errors in {}", first.file),
            n => format!("the spec has {count} errors in {n} files"),
        }
    };
    let code = if findings.iter().all(|finding| finding.not_in_this_build) {
        Code::NotInThisBuild
    } else {
        Code::SpecInvalid
    };
    let mut details: Vec<String> = (findings.iter().take(MOST))
        .map(ToString::to_string)
        .collect();
    if count > details.len() {
        details.push(format!("… and {} more", count - details.len()));
    }
    Some(Error::new(code, printable(&message)).with_details(details))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str, span: Range<usize>) -> String {
        Lines::of(text)
            .finding(&Arc::from("lore.toml"), span, "wrong")
            .to_string()
    }

    #[test]
    fn lines_are_shown_whole_cut_and_escaped() {
        let long = format!("{} = \"{}\"", "k".repeat(40), "v".repeat(400));
        let far = format!("{}here{}", "é".repeat(300), "x".repeat(300));
        let cases = [
            ("plain", "a = 1\nbcd = 2\r\n".to_owned(), 6..9),
            ("end of file", "a = ".to_owned(), 4..4),
            ("past a line", "a = [\n1]\n".to_owned(), 4..8),
            ("tab and escape", "\ta\u{1b}[31m = x".to_owned(), 11..12),
            ("wide", "名前 = x".to_owned(), 9..10),
            ("direction", "a\u{202e}b = x".to_owned(), 8..9),
            ("long value", long, 43..445),
            ("far to the right", far, 600..604),
            (
                "secret",
                "u = \"https://joe:pw@host/\" # é".to_owned(),
                4..26,
            ),
            ("empty", String::new(), 0..0),
        ];
        let all: Vec<String> = (cases.into_iter())
            .map(|(name, text, span)| format!("-- {name}\n{}", shown(&text, span)))
            .collect();
        crate::spec::tests::snapshot("finding_lines", &all.join("\n"));
    }

    proptest! {
        #[test]
        fn no_span_of_any_text_panics(text in "[a-z\u{1b}\té名\n\r:/@\"]{0,200}", from in 0_usize..220, len in 0_usize..220) {
            let finding = Lines::of(&text).finding(&Arc::from("f"), from..from + len, "m");
            prop_assert!(finding.underline_len >= 1);
            let shown = finding.to_string();
            prop_assert!(!shown.contains('\u{1b}'), "an escape is shown");
        }
    }
}
