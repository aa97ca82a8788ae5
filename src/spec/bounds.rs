//! Whether a text is of a size that may be parsed, found before anything is built from it.
//!
//! A parser that recovers builds a tree of a hundred times the text and an error for every stray
//! character; this looks at bytes alone, so that a hundred thousand brackets cost a hundred
//! thousand steps.

use std::ops::Range;

/// The deepest nesting of arrays, tables and dotted keys that a spec may have.
pub const DEEPEST: usize = 64;

/// The most tables and arrays of one file; 4 MiB of services have about 100,000.
const MOST_TABLES: usize = 150_000;

/// The most lines, values and items of one file; as many again as 4 MiB of services have.
const MOST_ENTRIES: usize = 600_000;

/// What exceeds the bounds first, and where; `None` when nothing does.
///
/// Where the text is no TOML the answer may be wrong; the parser then finds the fault.
pub fn exceeded(text: &str) -> Option<(Range<usize>, String)> {
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut dots) = (0, 0_usize, 0_usize);
    let (mut tables, mut entries) = (0_usize, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'#' => at += line_rest(bytes, at),
            b'"' | b'\'' => {
                at += string_length(bytes, at, *byte);
                continue;
            }
            b'[' | b'{' => {
                depth += 1;
                tables += 1;
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'.' => {
                dots += 1;
                tables += 1;
            }
            b'\n' | b',' | b'=' => {
                dots = 0;
                entries += 1;
            }
            _ => {}
        }
        let message = if depth > DEEPEST || dots >= DEEPEST {
            Some(format!("this nests deeper than {DEEPEST}"))
        } else if tables > MOST_TABLES {
            Some(format!(
                "the file holds more than {MOST_TABLES} tables; make it a directory of files"
            ))
        } else if entries > MOST_ENTRIES {
            Some(format!(
                "the file holds more than {MOST_ENTRIES} entries; make it a directory of files"
            ))
        } else {
            None
        };
        if let Some(message) = message {
            return Some((at..at + 1, message));
        }
        at += 1;
    }
    None
}

fn line_rest(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let end = rest.iter().position(|byte| *byte == b'\n');
    end.unwrap_or(rest.len()).saturating_sub(1)
}

/// The length of the string that begins at `at`; one that is not closed ends with its line, or the text.
fn string_length(bytes: &[u8], at: usize, quote: u8) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let long = rest.starts_with(&[quote; 3]);
    let mut length = if long { 3 } else { 1 };
    while let Some(byte) = rest.get(length) {
        if *byte == b'\\' && quote == b'"' {
            length += 1;
        } else if !long && *byte == b'\n' {
            return length;
        } else if *byte == quote {
            if !long {
                return length + 1;
            }
            if rest
                .get(length..)
                .is_some_and(|r| r.starts_with(&[quote; 3]))
            {
                // Up to two quotes may stand right before the closing three (TOML, "String").
                let extra = (rest.iter().skip(length + 3).take(2))
                    .take_while(|byte| **byte == quote)
                    .count();
                return length + 3 + extra;
            }
        }
        length += 1;
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_brackets_outside_of_strings_and_comments_count() {
        let many = "[".repeat(100);
        for shallow in [
            format!("a = \"{many}\""),
            format!("a = '{many}'"),
            format!("a = \"\\\"{many}\""),
            format!("a = \"\"\"\n\"{many}\\\"\"\"\"\"\n"),
            format!("a = '''\n{many}'''''\n"),
            format!("# {many}\na = 1"),
            "a = [1]\n".repeat(100),
            "a = [1.0, 2.0, 3.0]\n".repeat(100),
            format!("{}1{}", "[".repeat(64), "]".repeat(64)),
        ] {
            assert_eq!(exceeded(&shallow), None, "{shallow}");
        }
        for (deep, at) in [
            (format!("a = {many}"), 68),
            (format!("a = \"\"\n{}", "{a=".repeat(100)), 199),
            (format!("# [\n{many}"), 68),
            (format!("a = '''x'''{many}"), 75),
            (format!("a{} = 1", ".a".repeat(64)), 127),
        ] {
            assert_eq!(exceeded(&deep).unwrap().0, at..at + 1, "{deep}");
        }
    }

    #[test]
    fn a_file_holds_so_much_and_no_more() {
        let found = |text: String| exceeded(&text).map(|(_, message)| message);
        assert_eq!(found("[a]\n".repeat(MOST_TABLES)), None);
        assert_eq!(found("a=1\n".repeat(MOST_ENTRIES / 2)), None);
        let tables = found("[a]\n".repeat(MOST_TABLES + 1));
        assert_eq!(
            tables.as_deref(),
            Some("the file holds more than 150000 tables; make it a directory of files")
        );
        let entries = found("=\n".repeat(MOST_ENTRIES));
        assert_eq!(
            entries.as_deref(),
            Some("the file holds more than 600000 entries; make it a directory of files")
        );
    }

    proptest! {
        #[test]
        fn no_text_panics_the_scan(text in "[\\[\\]{}\"'\\\\#\na.=é,]{0,80}") {
            let _ = exceeded(&text);
        }
    }
}
