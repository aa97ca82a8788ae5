//! What an issuer says that may be shown: names, where they hold nothing of the token.

use std::cell::OnceCell;

use base64::{Engine as _, engine::general_purpose};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::form_urlencoded::byte_serialize;

use crate::{
    id::ResourceName,
    scrub::{self, Scrubber},
};

/// The longest name that is shown, in characters.
const LONGEST: usize = 128;

/// A token shorter than this is no token, and would be found in any text.
const SHORTEST: usize = 4;

/// A piece of a token from this length on is not shown either, in bytes.
const PIECE: usize = 16;

/// What was sent, which an answer may repeat.
pub struct Echo<'s> {
    sent: Vec<&'s str>,
    /// The forms in which it may be repeated, from the first text on that is long enough for one.
    known: OnceCell<Known>,
}

struct Known {
    forms: Vec<SecretString>,
    /// It knows them within what they are encoded together with, too.
    scrubber: Scrubber,
}

impl Known {
    fn of(sent: &[&str]) -> Self {
        let (mut texts, mut forms) = (Vec::new(), Vec::new());
        for text in sent {
            let bytes = text.as_bytes();
            texts.push(SecretString::from(*text));
            if bytes.len() < SHORTEST {
                continue;
            }
            let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
            let hex: String = (bytes.iter())
                .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
                .collect();
            forms.extend([
                SecretString::from(*text),
                SecretString::from(hex.to_uppercase()),
                SecretString::from(hex),
                SecretString::from(general_purpose::STANDARD_NO_PAD.encode(bytes)),
                SecretString::from(general_purpose::URL_SAFE_NO_PAD.encode(bytes)),
                SecretString::from(byte_serialize(bytes).collect::<String>()),
            ]);
        }
        // What is put in the place of what is found is not looked at.
        let scrubber = |name: ResourceName| Scrubber::new(texts.iter().map(|text| (&name, text)));
        let scrubber = "sent".parse().map(scrubber).unwrap_or_default();
        Self { forms, scrubber }
    }

    fn is_in(&self, text: &str) -> bool {
        let mut forms = self.forms.iter();
        forms.any(|form| text.contains(form.expose_secret())) || self.scrubber.text(text) != text
    }
}

impl<'s> Echo<'s> {
    /// Knows a token and what was sent beside it.
    pub fn of(sent: impl Iterator<Item = &'s SecretString>) -> Self {
        Self {
            sent: sent.map(|one| one.expose_secret().trim()).collect(),
            known: OnceCell::new(),
        }
    }

    /// A name as it may be shown: short, of visible characters, and without what was sent or a piece of it.
    pub fn text(&self, text: &str) -> Option<String> {
        let text = text.trim();
        let odd =
            text.is_empty() || text.chars().count() > LONGEST || text.chars().any(char::is_control);
        (!odd && !self.is_repeated_in(text)).then(|| text.to_owned())
    }

    fn is_repeated_in(&self, text: &str) -> bool {
        let is_long = |text: &str| text.len() >= scrub::LONG;
        // No form of a long value is in a short text.
        if !is_long(text) && self.sent.iter().all(|sent| is_long(sent)) {
            return false;
        }
        let is_piece = |sent: &&str| text.len() >= PIECE && sent.contains(text);
        let known = self.known.get_or_init(|| Known::of(&self.sent));
        known.is_in(text) || self.sent.iter().any(is_piece)
    }

    /// A text or a number of a body as it may be shown.
    pub fn shown(&self, value: &Value) -> Option<String> {
        match value {
            Value::String(text) => self.text(text),
            Value::Number(number) => self.text(&number.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_repeats_the_token_is_not_shown() {
        let token = SecretString::from("s3cret/token+value=with.more");
        let client = SecretString::from("an0ther-of-the-client");
        let echo = Echo::of([&token, &client].into_iter());
        for (text, shown) in [
            ("alice", true),
            ("Åse Ødegård", true),
            ("alice s3cret/token+value=with.more", false),
            ("s3cret/token+val", false),
            ("s3cret%2Ftoken%2Bvalue%3Dwith.more", false),
            ("czNjcmV0L3Rva2VuK3ZhbHVlPXdpdGgubW9yZQ==", false),
            (
                "7333637265742f746f6b656e2b76616c75653d776974682e6d6f7265",
                false,
            ),
            ("my an0ther-of-the-client", false),
            ("an0ther-of-the-cl", false),
            // `acme:an0ther-of-the-client`, as it goes in a header.
            ("YWNtZTphbjB0aGVyLW9mLXRoZS1jbGllbnQ=", false),
            ("a\nb", false),
            ("", false),
        ] {
            assert_eq!(echo.text(text).is_some(), shown, "{text}");
        }
        assert_eq!(echo.text(&"x".repeat(129)), None);
        assert_eq!(echo.shown(&Value::from(7)).as_deref(), Some("7"));
        assert_eq!(
            Echo::of([&SecretString::from("")].into_iter())
                .text("x")
                .as_deref(),
            Some("x")
        );
        // A short one is found in short texts.
        let short = SecretString::from("s3cret7");
        for (text, shown) in [
            ("my s3cret7", false),
            ("czNjcmV0Nw", false),
            ("alice", true),
        ] {
            let echo = Echo::of([&short, &token].into_iter());
            assert_eq!(echo.text(text).is_some(), shown, "{text}");
        }
    }
}
