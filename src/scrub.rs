//! Takes known values out of what is printed or kept: pure, and over any number of pieces.
//!
//! A value is known in the forms in which programs write it: as it is, the lines of one that has
//! several, in base64 (both alphabets, and wherever it begins in a longer encoded text), in hex,
//! percent-encoded and as a JSON string. What is found is replaced by `«NAME»`.
//!
//! Guarantees, for any text in any pieces: no form of a value is in what comes out but where it is cut
//! off by the end of the text; a text without any is unchanged.

pub mod known;

use std::{borrow::Cow, collections::BTreeSet};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroize};

use crate::id::ResourceName;

/// A form shorter than this is found in too many texts that have nothing to do with the value, in bytes.
const SHORTEST_FORM: usize = 8;

/// A line of a value with several that is shorter stands in other texts too, in bytes.
const SHORTEST_LINE: usize = LONG;

/// No form of a value of so many bytes is shorter than that.
pub const LONG: usize = 16;

/// What may stand around the name of a credential, which holds no value and makes none with what is beside it. Of the last no value holds any: a value has no
/// control characters but those of lines.
const BRACKETS: [(&str, &str); 3] = [("«", "»"), ("‹", "›"), ("\u{1}", "\u{2}")];

/// Values, in all their forms, and what is written in their place.
#[derive(Default)]
pub struct Scrubber {
    patterns: Vec<Pattern>,
    /// Which patterns begin with a byte: the longest first, so that the first that is found is the longest.
    by_first: Vec<Vec<usize>>,
    names: Vec<Name>,
    /// Which of [`BRACKETS`] some value holds, or stands in.
    spoiled: [bool; BRACKETS.len()],
}

struct Pattern {
    bytes: Vec<u8>,
    /// The place of its credential's name.
    name: usize,
}

impl Drop for Pattern {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

/// The name of a credential.
struct Name {
    text: String,
    /// It holds a value.
    spoiled: bool,
    /// What is written in the place of its values.
    replacement: String,
}

impl Scrubber {
    /// Knows these values, each by the name of its credential. Empty ones are nothing to be found.
    pub fn new<'a>(values: impl IntoIterator<Item = (&'a ResourceName, &'a SecretString)>) -> Self {
        let mut scrubber = Self::default();
        for (name, value) in values {
            scrubber.learn(name.as_str(), value);
        }
        scrubber
    }

    /// Knows another value. What it finds does not depend on the order in which values were learnt.
    pub fn learn(&mut self, name: &str, value: &SecretString) {
        let mut seen = BTreeSet::new();
        let forms: Vec<_> = (forms(value.expose_secret()).into_iter())
            .filter(|form| seen.insert(form.clone()))
            .collect();
        if forms.is_empty() {
            return;
        }
        self.by_first.resize_with(256, Vec::new);
        let known = self.names.iter().position(|known| known.text == name);
        let at = known.unwrap_or_else(|| {
            let mut all = self.patterns.iter();
            self.names.push(Name {
                text: name.to_owned(),
                spoiled: all.any(|pattern| holds(name.as_bytes(), &pattern.bytes)),
                replacement: String::new(),
            });
            self.names.len() - 1
        });
        for bytes in forms {
            for (spoiled, (open, close)) in self.spoiled.iter_mut().zip(BRACKETS) {
                *spoiled = *spoiled || within(open, &bytes) || within(close, &bytes);
            }
            for name in &mut self.names {
                name.spoiled = name.spoiled || holds(name.text.as_bytes(), &bytes);
            }
            self.put(Pattern { bytes, name: at });
        }
        let free = self.spoiled.iter().position(|spoiled| !spoiled);
        let (open, close) = BRACKETS
            .get(free.unwrap_or(BRACKETS.len() - 1))
            .unwrap_or(&("\u{1}", "\u{2}"));
        for name in &mut self.names {
            let text = if name.spoiled { "" } else { &*name.text };
            name.replacement = format!("{open}{text}{close}");
        }
    }

    fn put(&mut self, pattern: Pattern) {
        let first = pattern.bytes.first().map(|byte| usize::from(*byte));
        let Some(list) = first.and_then(|first| self.by_first.get_mut(first)) else {
            return;
        };
        // Of two that are the same, the name that comes first is told.
        let rank = |one: &Pattern| {
            let name = self.names.get(one.name).map(|name| name.text.clone());
            (std::cmp::Reverse(one.bytes.len()), name)
        };
        let own = rank(&pattern);
        let place = list.partition_point(|at| {
            let other = self.patterns.get(*at);
            other.is_some_and(|other| {
                let shorter = other.bytes.len().cmp(&pattern.bytes.len());
                shorter.is_gt() || (shorter.is_eq() && rank(other) <= own)
            })
        });
        list.insert(place, self.patterns.len());
        self.patterns.push(pattern);
    }

    /// Whether it knows no value.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// A whole text without values.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut out = Vec::with_capacity(text.len());
        let mut tail = Tail::default();
        self.feed(&mut tail, text.as_bytes(), &mut out);
        self.end(&mut tail, &mut out);
        // A form begins and ends between characters, so what is left of them is whole.
        Cow::Owned(String::from_utf8_lossy(&out).into_owned())
    }

    /// Takes the next piece of a text and writes what can be told of it by now: what may be the
    /// beginning of a value is kept in `tail`.
    pub fn feed(&self, tail: &mut Tail, piece: &[u8], out: &mut Vec<u8>) {
        if self.is_empty() {
            out.extend_from_slice(piece);
            return;
        }
        tail.0.extend_from_slice(piece);
        let kept = self.scan(&tail.0, false, out);
        tail.keep_from(kept);
    }

    /// Writes what is left at the end of a text.
    pub fn end(&self, tail: &mut Tail, out: &mut Vec<u8>) {
        let kept = self.scan(&tail.0, true, out);
        tail.keep_from(kept);
    }

    /// Writes bytes without values up to where a value may begin of which more is to come; returns where.
    fn scan(&self, bytes: &[u8], is_end: bool, out: &mut Vec<u8>) -> usize {
        let mut at = 0;
        while let Some(first) = bytes.get(at) {
            let rest = bytes.get(at..).unwrap_or_default();
            let mut found: Option<&Pattern> = None;
            for index in self.by_first.get(usize::from(*first)).into_iter().flatten() {
                let Some(pattern) = self.patterns.get(*index) else {
                    continue;
                };
                if rest.starts_with(&pattern.bytes) {
                    found = Some(pattern);
                    break;
                }
                // A longer one than what is found next may still come.
                if !is_end && pattern.bytes.starts_with(rest) {
                    return at;
                }
            }
            if let Some(pattern) = found {
                let name = self.names.get(pattern.name);
                let instead = name.map_or("", |name| &name.replacement);
                out.extend_from_slice(instead.as_bytes());
                at += pattern.bytes.len();
            } else {
                out.push(*first);
                at += 1;
            }
        }
        at
    }
}

/// The end of a text so far that may be the beginning of a value.
#[derive(Default)]
pub struct Tail(Vec<u8>);

impl Tail {
    fn keep_from(&mut self, at: usize) {
        let from = at.min(self.0.len());
        let kept = self.0.len() - from;
        self.0.copy_within(from.., 0);
        if let Some(rest) = self.0.get_mut(kept..) {
            rest.zeroize();
        }
        self.0.truncate(kept);
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Whether one of the two stands in the other, so that one must not be written where the other is sought.
fn within(text: &str, bytes: &[u8]) -> bool {
    holds(text.as_bytes(), bytes) || holds(bytes, text.as_bytes())
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| window == part)
}

/// The forms in which programs write a value.
fn forms(value: &str) -> Vec<Vec<u8>> {
    let bytes = value.as_bytes();
    if bytes.is_empty() {
        return Vec::new();
    }
    let mut derived: Vec<Vec<u8>> = Vec::new();
    for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
        derived.push(engine.encode(bytes).into_bytes());
    }
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        for before in 0..3 {
            derived.push(within_base64(bytes, before, engine));
        }
    }
    let hex = |digits: &[u8; 16]| -> Vec<u8> {
        let digit = |nibble: u8| digits.get(usize::from(nibble)).copied().unwrap_or(b'0');
        let pair = |byte: &u8| [digit(byte >> 4), digit(byte & 15)];
        bytes.iter().flat_map(pair).collect()
    };
    derived.extend([hex(b"0123456789abcdef"), hex(b"0123456789ABCDEF")]);
    derived.extend(percent_encoded(bytes));
    if let Ok(quoted) = serde_json::to_string(value) {
        let inner = quoted.get(1..quoted.len().saturating_sub(1));
        derived.extend(inner.map(|inner| inner.as_bytes().to_vec()));
    }
    derived.retain(|form| form.len() >= SHORTEST_FORM);
    let lines = value.lines().map(str::trim_end).filter(|line| {
        let frame = line.starts_with("-----BEGIN ") || line.starts_with("-----END ");
        line.len() >= SHORTEST_LINE && !frame
    });
    if value.contains('\n') {
        derived.extend(lines.map(|line| line.as_bytes().to_vec()));
    }
    derived.push(bytes.to_vec());
    derived
}

/// What a value becomes in the base64 of a longer text, where so many bytes (of three) are before it in
/// its first group: the digits that depend on the value alone.
fn within_base64(
    bytes: &[u8],
    before: usize,
    engine: &base64::engine::general_purpose::GeneralPurpose,
) -> Vec<u8> {
    let mut text = vec![0_u8; before];
    text.extend_from_slice(bytes);
    let encoded = engine.encode(&text).into_bytes();
    text.zeroize();
    let (from, to) = ((before * 8).div_ceil(6), (before + bytes.len()) * 8 / 6);
    encoded.get(from..to).unwrap_or_default().to_vec()
}

/// A value percent-encoded (RFC 3986), as far as programs differ in what they encode: the slash or not,
/// a space as `+`, digits large or small.
fn percent_encoded(bytes: &[u8]) -> Vec<Vec<u8>> {
    let encode = |plain: &[u8], plus: bool, large: bool| -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() * 3);
        for byte in bytes {
            match byte {
                b' ' if plus => out.push(b'+'),
                b'-' | b'.' | b'_' => out.push(*byte),
                byte if byte.is_ascii_alphanumeric() || plain.contains(byte) => out.push(*byte),
                byte if large => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
                byte => out.extend_from_slice(format!("%{byte:02x}").as_bytes()),
            }
        }
        out
    };
    let mut all = Vec::new();
    // What nobody encodes is the value itself.
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    if bytes.iter().all(is_plain) {
        return all;
    }
    // `encodeURI` of JavaScript leaves the third, `encodeURIComponent` the fourth, a form (WHATWG URL,
    // `application/x-www-form-urlencoded`) the fifth, and programs older than RFC 3986 no tilde.
    let plains: [&[u8]; 7] = [
        b"~",
        b"~/",
        b"~;,/?:@&=+$!*'()#",
        b"~!*'()",
        b"*",
        b"",
        b"/",
    ];
    for plain in plains {
        for (plus, large) in [(false, true), (false, false), (true, true), (true, false)] {
            all.push(encode(plain, plus, large));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> ResourceName {
        text.parse().unwrap()
    }

    fn scrubber(values: &[(&str, &str)]) -> Scrubber {
        let owned: Vec<(ResourceName, SecretString)> = (values.iter())
            .map(|(own, value)| (name(own), (*value).into()))
            .collect();
        Scrubber::new(owned.iter().map(|(name, value)| (name, value)))
    }

    fn pieces(scrubber: &Scrubber, text: &[u8], cuts: &[usize]) -> Vec<u8> {
        let (mut out, mut tail, mut at) = (Vec::new(), Tail::default(), 0);
        for cut in cuts {
            let to = (at + cut).min(text.len());
            scrubber.feed(&mut tail, &text[at..to], &mut out);
            at = to;
        }
        scrubber.feed(&mut tail, &text[at..], &mut out);
        scrubber.end(&mut tail, &mut out);
        out
    }

    #[test]
    fn each_form_is_replaced_by_the_name() {
        let value = "glpat-s3cr3t/+ \"x\"é";
        let known = scrubber(&[("gitlab", value)]);
        let basic = STANDARD.encode(format!("oauth2:{value}"));
        let long = URL_SAFE.encode(format!("{{\"a\":\"{value}\"}}"));
        for (text, expected) in [
            (format!("a {value} b"), Some("a «gitlab» b")),
            (format!("{value}{value}"), Some("«gitlab»«gitlab»")),
            (STANDARD.encode(value), Some("«gitlab»")),
            (URL_SAFE_NO_PAD.encode(value), Some("«gitlab»")),
            (format!("Authorization: Basic {basic}"), None),
            (long, None),
            (
                "676c7061742d733363723374".to_owned() + "2f2b202278" + "22c3a9",
                Some("«gitlab»"),
            ),
            (
                "t=glpat-s3cr3t%2F%2B%20%22x%22%C3%A9&".to_owned(),
                Some("t=«gitlab»&"),
            ),
            (
                "t=glpat-s3cr3t%2f%2b+%22x%22%c3%a9&".to_owned(),
                Some("t=«gitlab»&"),
            ),
            (serde_json::to_string(value).unwrap(), Some("\"«gitlab»\"")),
        ] {
            let found = known.text(&text);
            assert!(found.contains("«gitlab»"), "{text}: {found}");
            if let Some(expected) = expected {
                assert_eq!(found, expected, "{text}");
            }
        }
        assert_eq!(known.text("glpat-s3cr3"), "glpat-s3cr3");
    }

    #[test]
    fn what_a_form_and_what_a_path_encode_is_replaced() {
        let value = "s3cr3t~value*of it?";
        let known = scrubber(&[("gitlab", value)]);
        let form: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
        assert_eq!(form, "s3cr3t%7Evalue*of+it%3F");
        for text in [
            form.as_str(),
            "s3cr3t~value%2Aof%20it%3F",
            "s3cr3t%7evalue%2aof%20it%3f",
            "s3cr3t~value*of%20it%3F",
        ] {
            assert_eq!(known.text(text), "«gitlab»", "{text}");
        }
    }

    #[test]
    fn the_lines_of_a_key_are_each_a_secret_and_its_frame_is_not() {
        let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\nx9x9\n-----END PRIVATE KEY-----\n";
        let known = scrubber(&[("key", key)]);
        assert_eq!(
            known.text(&format!("it is:\n{key}that")),
            "it is:\n«key»that"
        );
        assert_eq!(known.text("> MC4CAQAwBQYDK2VwBCIEIA\r\n"), "> «key»\r\n");
        assert_eq!(
            known.text("-----BEGIN PRIVATE KEY-----\nAAAA"),
            "-----BEGIN PRIVATE KEY-----\nAAAA"
        );
    }

    #[test]
    fn what_is_put_in_its_place_holds_no_value() {
        for (values, text) in [
            (&[("gitlab", "gitlab")][..], "gitlab"),
            (&[("a", "s3cret-s3cret"), ("b", "«")], "s3cret-s3cret«"),
            (&[("a", "xy"), ("b", "y«"), ("c", "‹")], "xxyxy"),
            (&[("ab", "a"), ("b", "b")], "abba"),
        ] {
            let found = scrubber(values).text(text).into_owned();
            for (_, value) in values {
                assert!(!found.contains(value), "{values:?}: {found}");
            }
        }
    }

    #[test]
    fn the_longest_of_several_is_found() {
        let known = scrubber(&[("short", "token-1"), ("long", "token-1234")]);
        for cuts in [&[][..], &[7], &[3, 4], &[7, 1]] {
            let out = pieces(&known, b"token-1234 token-12", cuts);
            assert_eq!(String::from_utf8(out).unwrap(), "«long» «short»2");
        }
    }

    fn hex(text: &str) -> String {
        let digits: Vec<String> = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        digits.concat()
    }

    proptest! {
        #[test]
        fn a_value_never_survives(
            first in "[a-c]{1,12}|[ -~]{1,40}|[a-zé\n]{20,50}",
            second in "[a-c]{1,4}|[!-~]{1,20}",
            parts in proptest::collection::vec((0..7_u8, "[a-c«»]{0,6}"), 0..12),
            cuts in proptest::collection::vec(0..24_usize, 0..40),
        ) {
            let known = scrubber(&[("one", &first), ("two", &second)]);
            let mut text = String::new();
            for (kind, noise) in &parts {
                text.push_str(noise);
                text.push_str(&match kind {
                    0 | 1 => first.clone(),
                    2 => second.clone(),
                    3 => STANDARD.encode(&first),
                    4 => URL_SAFE.encode(format!("{noise}{first}")),
                    5 => hex(&first),
                    _ => hex(&first).to_uppercase(),
                });
            }
            let out = pieces(&known, text.as_bytes(), &cuts);
            for value in [&first, &second] {
                for form in forms(value) {
                    prop_assert!(!holds(&out, &form), "{:?} in {:?}", form, String::from_utf8_lossy(&out));
                }
            }
            // Where it is cut makes no difference.
            prop_assert_eq!(&out, &pieces(&known, text.as_bytes(), &[]));
            let whole = known.text(&text);
            prop_assert_eq!(whole.as_bytes(), &out[..]);
        }

        #[test]
        fn no_form_of_a_long_value_is_short(value in "[ -~]{16,40}|[a-zé\n\t\"]{16,50}") {
            for form in forms(&value) {
                prop_assert!(form.len() >= LONG, "{:?}", String::from_utf8_lossy(&form));
            }
        }

        #[test]
        fn a_text_without_values_is_unchanged(
            text in proptest::collection::vec(any::<u8>(), 0..200),
            cuts in proptest::collection::vec(0..24_usize, 0..20),
        ) {
            let known = scrubber(&[("one", "s3cret-that-is-nowhere"), ("two", "\u{0}aa-bb-cc-dd")]);
            prop_assert_eq!(pieces(&known, &text, &cuts), text);
        }
    }
}
