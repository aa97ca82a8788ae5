//! Text of unknown origin made safe and measurable for a terminal.

use std::borrow::Cow;

use unicode_width::UnicodeWidthStr;

/// Whether a character acts upon the terminal, or hides or reorders what stands beside it.
///
/// Control characters (C0, DEL, C1), the bidirectional controls of UAX #9, line and paragraph
/// separators, and the invisible characters that Unicode marks as format characters. The joiners
/// U+200C and U+200D are left: scripts and emoji need them, and they reorder nothing.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// The text with every such character written out: `\n`, `\t`, `\x1b`, `\u{202e}`.
///
/// What comes back is one line, of only the characters that it shows.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => clean.push_str("\\n"),
            '\r' => clean.push_str("\\r"),
            '\t' => clean.push_str("\\t"),
            c if c.is_ascii_control() => {
                clean.push_str("\\x");
                for shift in [4, 0] {
                    let digit = (u32::from(c) >> shift) & 15;
                    clean.push(char::from_digit(digit, 16).unwrap_or('0'));
                }
            }
            c if acts(c) => clean.extend(c.escape_unicode()),
            c => clean.push(c),
        }
    }
    Cow::Owned(clean)
}

/// How many columns an escaped text takes (UAX #11, as terminals do).
pub fn width(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.width()
    }
}

/// The longest beginning of a text that takes at most that many columns, and the rest.
///
/// At least one character is taken from a text that has one, so that a loop over the rest ends.
pub fn split_at_width(text: &str, columns: usize) -> (&str, &str) {
    let mut end = 0;
    for (at, c) in text.char_indices() {
        let next = at + c.len_utf8();
        if at > 0 && width(text.get(..next).unwrap_or(text)) > columns {
            break;
        }
        end = next;
    }
    text.split_at(end)
}

/// The text in at most that many columns, its end replaced by `ellipsis` where it is longer.
pub fn cut<'a>(text: &'a str, columns: usize, ellipsis: &str) -> Cow<'a, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let room = columns.saturating_sub(width(ellipsis));
    if room == 0 {
        return Cow::Owned(split_at_width(ellipsis, columns).0.to_owned());
    }
    let (kept, _) = split_at_width(text, room);
    // A single character may be wider than all the room there is.
    let kept = if width(kept) > room { "" } else { kept };
    Cow::Owned(format!("{}{ellipsis}", kept.trim_end()))
}

/// `1 service`, `2 services`; the plural is the singular with an `s`.
pub fn count(n: usize, singular: &str) -> String {
    if n == 1 {
        format!("1 {singular}")
    } else {
        format!("{n} {singular}s")
    }
}

/// `a`, `a and b`, `a, b and c`.
pub fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

/// A size as people say it: `340 B`, `2.1 KB`, `3.4 MB` (thousands).
pub fn size(bytes: usize) -> String {
    let tenths = |unit: usize| {
        let tenths = bytes.saturating_mul(10).saturating_add(unit / 2) / unit;
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..999_950 => format!("{} KB", tenths(1000)),
        _ => format!("{} MB", tenths(1_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_acts_on_a_terminal_is_written_out() {
        for (raw, shown) in [
            ("plain ±→é", "plain ±→é"),
            ("a\nb\tc\r", "a\\nb\\tc\\r"),
            ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\u{202e}b\u{2066}", "a\\u{202e}b\\u{2066}"),
            ("\u{0}\u{7f}", "\\x00\\x7f"),
            ("zero\u{200b}width\u{feff}", "zero\\u{200b}width\\u{feff}"),
        ] {
            assert_eq!(escape(raw), shown);
        }
    }

    #[test]
    fn sizes_round_as_people_do() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 KB"),
            (2149, "2.1 KB"),
            (999_949, "999.9 KB"),
            (999_950, "1.0 MB"),
            (3_449_000, "3.4 MB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn a_wide_character_is_not_squeezed_into_one_column() {
        assert_eq!(cut("🈐 ", 2, "…"), "…");
        assert_eq!(cut("a🈐b", 3, "…"), "a…");
        assert_eq!(cut("abc", 2, "..."), "..");
    }

    proptest! {
        #[test]
        fn an_escaped_text_is_one_plain_line(text in any::<String>()) {
            let clean = escape(&text);
            prop_assert!(!clean.contains(acts));
            prop_assert_eq!(escape(&clean), clean.as_ref());
        }

        #[test]
        fn a_cut_text_fits(text in any::<String>(), columns in 1_usize..40) {
            let clean = escape(&text);
            prop_assert!(width(&cut(&clean, columns, "…")) <= columns);
        }

        #[test]
        fn a_split_text_is_whole(text in ".{1,60}", columns in 1_usize..20) {
            let (a, b) = split_at_width(&text, columns);
            prop_assert!(!a.is_empty());
            prop_assert_eq!(format!("{}{}", a, b), text);
        }
    }
}
