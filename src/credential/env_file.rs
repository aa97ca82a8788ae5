//! Files of variables, as those who read them do: systemd (`EnvironmentFile=`, systemd.exec(5)), shells
//! that source them, and Docker (`--env-file`), to whom each line is a variable of its own.
//!
//! They differ in what a quote and a `\` at the end of a line mean. What one of them may take for a part
//! of another line is told apart from what all take alike, and never edited.

use std::{fmt, ops::Range};

use secrecy::{ExposeSecret, SecretString};

/// The characters of a value that every reader of a file of variables takes as they are.
pub fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.~+/=:,@%".contains(c)
}

/// A line that readers take differently; lines count from 1. It holds nothing of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ambiguous {
    /// Where the value, or the comment, begins that may go on.
    from: usize,
    /// The line that may be a part of it; `None` for one that would be added at the end.
    line: Option<usize>,
}

impl fmt::Display for Ambiguous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = self.from;
        match self.line {
            Some(line) => write!(
                f,
                "line {line} may be a part of what begins in line {from}: the readers of such files differ there"
            ),
            None => write!(f, "what begins in line {from} is not closed at its end"),
        }
    }
}

/// Which lines are a part of an entry that began before them, to one reader.
#[derive(Debug, Default)]
struct Reading {
    /// Of each such line, counted from 0, where that entry began.
    within: Vec<(usize, usize)>,
    /// Where an entry began that the end of the file does not close.
    open: Option<usize>,
}

impl Reading {
    fn begin_of(&self, line: usize) -> Option<usize> {
        let found = self.within.iter().find(|(within, _)| *within == line);
        found.map(|(_, from)| *from)
    }
}

/// Steps through a file; `next` says what a byte does to a state, and `fresh` is the one between entries.
fn read<S: Copy + PartialEq>(bytes: &[u8], fresh: S, next: impl Fn(S, u8) -> S) -> (Reading, S) {
    let mut reading = Reading::default();
    let (mut state, mut from) = (fresh, 0);
    for (at, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if state == fresh {
            from = at;
        } else {
            reading.within.push((at, from));
        }
        state = line.iter().fold(state, |state, byte| next(state, *byte));
    }
    // A line that is added begins after the end of the last one.
    if !bytes.is_empty() && !bytes.ends_with(b"\n") {
        state = next(state, b'\n');
    }
    reading.open = (state != fresh).then_some(from);
    (reading, state)
}

/// How systemd reads (`parse_env_file_internal` of src/basic/env-file.c). Until v254 a comment went on
/// after a `\` at its end.
fn systemd(bytes: &[u8]) -> Reading {
    #[derive(Clone, Copy, PartialEq)]
    enum At {
        BeforeKey,
        Key,
        BeforeValue,
        Value,
        Single,
        Double,
        DoubleEscape,
        Escape,
        Comment,
        CommentEscape,
    }
    let is_end = |byte| byte == b'\n' || byte == b'\r';
    let next = |at, byte: u8| match (at, byte) {
        (At::BeforeKey, b'#' | b';') => At::Comment,
        (At::BeforeKey, byte) if byte.is_ascii_whitespace() => At::BeforeKey,
        (At::Key | At::BeforeValue | At::Value | At::Comment, byte) if is_end(byte) => {
            At::BeforeKey
        }
        (At::Key, b'=') => At::BeforeValue,
        (At::BeforeKey | At::Key, _) => At::Key,
        (At::BeforeValue, b'\'') => At::Single,
        (At::BeforeValue, b'"') => At::Double,
        (At::BeforeValue | At::Value, b'\\') => At::Escape,
        (At::BeforeValue, b' ' | b'\t') | (At::Single, b'\'') | (At::Double, b'"') => {
            At::BeforeValue
        }
        (At::BeforeValue | At::Value | At::Escape, _) => At::Value,
        (At::Single, _) => At::Single,
        (At::Double, b'\\') => At::DoubleEscape,
        (At::Double | At::DoubleEscape, _) => At::Double,
        (At::Comment, b'\\') => At::CommentEscape,
        (At::Comment | At::CommentEscape, _) => At::Comment,
    };
    read(bytes, At::BeforeKey, next).0
}

/// How a shell reads; `None` for what it does not read at all, since a quote is open at the end.
fn shell(bytes: &[u8]) -> Option<Reading> {
    #[derive(Clone, Copy, PartialEq)]
    enum At {
        Begin,
        Blank,
        Word,
        Escape,
        Single,
        Double,
        DoubleEscape,
        Comment,
    }
    let next = |at, byte: u8| match (at, byte) {
        (At::Begin | At::Blank | At::Word | At::Comment, b'\n')
        | (At::Begin, b' ' | b'\t' | b'\r') => At::Begin,
        // No shell takes a `;` there: it is a comment of systemd's.
        (At::Begin, b';') | (At::Begin | At::Blank, b'#') | (At::Comment, _) => At::Comment,
        (At::Blank | At::Word, b' ' | b'\t' | b';' | b'&' | b'|' | b'(' | b')') => At::Blank,
        (At::Begin | At::Blank | At::Word, b'\\') => At::Escape,
        (At::Begin | At::Blank | At::Word, b'\'') => At::Single,
        (At::Begin | At::Blank | At::Word, b'"') => At::Double,
        (At::Double, b'\\') => At::DoubleEscape,
        (At::Begin | At::Blank | At::Word | At::Escape, _)
        | (At::Single, b'\'')
        | (At::Double, b'"') => At::Word,
        (At::Single, _) => At::Single,
        (At::Double | At::DoubleEscape, _) => At::Double,
    };
    let (reading, end) = read(bytes, At::Begin, next);
    match end {
        At::Single | At::Double | At::DoubleEscape => None,
        At::Begin | At::Blank | At::Word | At::Escape | At::Comment => Some(reading),
    }
}

/// What a line sets a variable to, without quotes around it.
fn set_by<'l>(line: &'l [u8], name: &str) -> Option<&'l [u8]> {
    let line = line.trim_ascii();
    let line = line
        .strip_prefix(b"export ")
        .unwrap_or(line)
        .trim_ascii_start();
    let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
    let quoted = |quote: &[u8]| value.strip_prefix(quote)?.strip_suffix(quote);
    Some(quoted(b"\"").or_else(|| quoted(b"'")).unwrap_or(value))
}

/// The lines that set a variable, each with its end.
fn lines<'b>(bytes: &'b [u8], name: &str) -> impl Iterator<Item = (usize, Range<usize>, &'b [u8])> {
    let mut at = 0;
    let all = bytes.split_inclusive(|byte| *byte == b'\n').enumerate();
    all.filter_map(move |(number, line)| {
        let range = at..at + line.len();
        at = range.end;
        Some((number, range, set_by(line, name)?))
    })
}

/// Whether all readers take the lines that set a variable, or the one that would be added, for that.
fn check(bytes: &[u8], name: &str, adds: bool) -> Result<(), Ambiguous> {
    for reading in [Some(systemd(bytes)), shell(bytes)].into_iter().flatten() {
        let mut own = lines(bytes, name).map(|(number, _, _)| number).peekable();
        if let (None, Some(from), true) = (own.peek(), reading.open, adds) {
            return Err(Ambiguous {
                from: from + 1,
                line: None,
            });
        }
        for number in own {
            let begins_before = reading.begin_of(number).map(|from| (from, Some(number)));
            let next = number + 1;
            let goes_on = (reading.begin_of(next)).map(|from| (from, Some(next)));
            let is_open = reading.open.map(|from| (from, None));
            let from_here = [goes_on, is_open].into_iter().flatten();
            let mut from_here = from_here.filter(|(from, _)| *from == number);
            if let Some((from, line)) = begins_before.or_else(|| from_here.next()) {
                let line = line.map(|line| line + 1);
                return Err(Ambiguous {
                    from: from + 1,
                    line,
                });
            }
        }
    }
    Ok(())
}

/// What each line that sets a variable sets it to, in their order.
///
/// # Errors
/// What readers take differently.
pub fn values<'b>(bytes: &'b [u8], name: &str) -> Result<Vec<&'b [u8]>, Ambiguous> {
    check(bytes, name, false)?;
    Ok(lines(bytes, name).map(|(_, _, value)| value).collect())
}

/// Whether a variable can be set there, or added.
///
/// # Errors
/// What readers take differently.
pub fn takes(bytes: &[u8], name: &str) -> Result<(), Ambiguous> {
    check(bytes, name, true)
}

/// The lines that set a variable, whole.
///
/// # Errors
/// What readers take differently.
pub fn own_lines(bytes: &[u8], name: &str) -> Result<Vec<u8>, Ambiguous> {
    check(bytes, name, false)?;
    let own = lines(bytes, name).filter_map(|(_, range, _)| bytes.get(range));
    Ok(own.flatten().copied().collect())
}

/// A file of variables with one of them set, or taken out; what else is in it stays.
///
/// # Errors
/// What readers take differently.
pub fn with(bytes: &[u8], name: &str, value: Option<&SecretString>) -> Result<Vec<u8>, Ambiguous> {
    let there = lines(bytes, name).next();
    let there = there.and_then(|(_, range, _)| bytes.get(range));
    // Who reads the file reads it as before: a shell that exports, a line's end as the others'.
    let export = there.is_some_and(|line| line.trim_ascii_start().starts_with(b"export "));
    let end = match there.or(bytes.split_inclusive(|byte| *byte == b'\n').next()) {
        Some(line) if line.ends_with(b"\r\n") => "\r\n",
        Some(_) | None => "\n",
    };
    let before = if export { "export " } else { "" };
    let own = value.map(|value| format!("{before}{name}={}{end}", value.expose_secret()));
    in_place_of(bytes, name, own.map(String::into_bytes))
}

/// A file of variables with these bytes in the place of the lines that set one.
///
/// # Errors
/// What readers take differently.
pub fn in_place_of(
    bytes: &[u8],
    name: &str,
    mut own: Option<Vec<u8>>,
) -> Result<Vec<u8>, Ambiguous> {
    check(bytes, name, own.is_some())?;
    let mut out = Vec::with_capacity(bytes.len() + 256);
    let mut kept = 0;
    for (_, range, _) in lines(bytes, name) {
        out.extend_from_slice(bytes.get(kept..range.start).unwrap_or_default());
        out.extend(own.take().unwrap_or_default());
        kept = range.end;
    }
    out.extend_from_slice(bytes.get(kept..).unwrap_or_default());
    if let Some(own) = own {
        if !out.is_empty() && !out.ends_with(b"\n") {
            out.push(b'\n');
        }
        out.extend(own);
    }
    // What stood behind our line may read it otherwise now that it is another.
    check(&out, name, false)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8], value: Option<&str>) -> Result<String, String> {
        let value = value.map(|value| SecretString::from(value.to_owned()));
        with(bytes, "TOKEN", value.as_ref())
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .map_err(|why| why.to_string())
    }

    #[test]
    fn one_line_is_ours_and_the_rest_is_kept() {
        for (before, set, unset) in [
            ("", "TOKEN=new\n", ""),
            ("A=1", "A=1\nTOKEN=new\n", "A=1"),
            ("# x\nA=1\n", "# x\nA=1\nTOKEN=new\n", "# x\nA=1\n"),
            (
                "A=1\nTOKEN=old\nB=2\n",
                "A=1\nTOKEN=new\nB=2\n",
                "A=1\nB=2\n",
            ),
            ("export TOKEN='old'\nB=2", "export TOKEN=new\nB=2", "B=2"),
            ("A=1\r\nTOKEN=a\r\n", "A=1\r\nTOKEN=new\r\n", "A=1\r\n"),
            ("A=1\r\n", "A=1\r\nTOKEN=new\r\n", "A=1\r\n"),
            ("TOKEN=a\nTOKEN=b\n", "TOKEN=new\n", ""),
            (
                "TOKENS=x\nMY_TOKEN=y\n#TOKEN=z\n",
                "TOKENS=x\nMY_TOKEN=y\n#TOKEN=z\nTOKEN=new\n",
                "TOKENS=x\nMY_TOKEN=y\n#TOKEN=z\n",
            ),
            // A value of several lines that says nothing of ours.
            (
                "KEY='-----\nabc=\n-----'\nTOKEN=old\n",
                "KEY='-----\nabc=\n-----'\nTOKEN=new\n",
                "KEY='-----\nabc=\n-----'\n",
            ),
            ("A=1 \\\n 2\n", "A=1 \\\n 2\nTOKEN=new\n", "A=1 \\\n 2\n"),
            // An apostrophe that only a shell would take for a quote, and no shell reads the file.
            ("A=it's\n", "A=it's\nTOKEN=new\n", "A=it's\n"),
            (
                "# don't\nA=1\n",
                "# don't\nA=1\nTOKEN=new\n",
                "# don't\nA=1\n",
            ),
        ] {
            assert_eq!(text(before.as_bytes(), Some("new")), Ok(set.to_owned()));
            assert_eq!(text(before.as_bytes(), None), Ok(unset.to_owned()));
        }
    }

    #[test]
    fn what_readers_take_differently_is_not_edited() {
        let within = |line, from| {
            Err(format!(
                "line {line} may be a part of what begins in line {from}: the readers of such files differ there"
            ))
        };
        for (file, set) in [
            ("A='1\nTOKEN=x\n'\n", within(2, 1)),
            ("B=0\nA=\"1\n  TOKEN=x\n\"\nTOKEN=y\n", within(3, 2)),
            ("A=1\\\nTOKEN=x\n", within(2, 1)),
            ("# a path: C:\\\nTOKEN=x\n", within(2, 1)),
            ("A=it's\nTOKEN=x\nB=it's\n", within(2, 1)),
            // Our own, of several lines.
            ("TOKEN='a\nb'\n", within(2, 1)),
            ("A=1\nexport TOKEN=a\\\nb\n", within(3, 2)),
        ] {
            assert_eq!(text(file.as_bytes(), Some("new")), set, "{file:?}");
            assert_eq!(text(file.as_bytes(), None), set, "{file:?}");
            assert!(values(file.as_bytes(), "TOKEN").is_err());
            assert!(own_lines(file.as_bytes(), "TOKEN").is_err());
        }
        // What is open at the end would take in what is added there.
        for file in ["B=1\nA='x\n", "B=1\nA=\"x", "B=1\nA=x\\", "B=1\n# x\\\n"] {
            let open = Err("what begins in line 2 is not closed at its end".to_owned());
            assert_eq!(text(file.as_bytes(), Some("new")), open, "{file:?}");
            assert_eq!(text(file.as_bytes(), None), Ok(file.to_owned()));
        }
        assert!(takes(b"A=1\nTOKEN='x", "TOKEN").is_err());
    }

    #[test]
    fn a_line_that_would_be_read_otherwise_is_not_written() {
        let file = b"\\\nT=A'";
        assert!(takes(file, "T").is_ok());
        assert!(with(file, "T", Some(&SecretString::from("A"))).is_err());
    }

    proptest::proptest! {
        /// Whatever a file holds: what is set is read back, once, and what is taken out leaves the rest.
        #[test]
        fn what_is_set_is_read_and_what_is_not_ours_stays(file in "[AT\\\\'\"=# ;\n]{0,24}") {
            let (file, name) = (file.as_bytes(), "T");
            if let Ok(set) = with(file, name, Some(&SecretString::from("A"))) {
                proptest::prop_assert_eq!(values(&set, name), Ok(vec![&b"A"[..]]));
                let rest = with(&set, name, None);
                let mut before = with(file, name, None).unwrap_or_default();
                if lines(file, name).next().is_none() && !before.is_empty() && !before.ends_with(b"\n") {
                    before.push(b'\n');
                }
                proptest::prop_assert_eq!(rest, Ok(before));
            }
        }
    }
}
