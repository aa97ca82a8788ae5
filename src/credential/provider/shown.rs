//! What an issuer says that may be shown: names, where they hold nothing of the token.

use base64::{Engine as _, engine::general_purpose};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::form_urlencoded::byte_serialize;

/// The longest name that is shown, in characters.
const LONGEST: usize = 128;

/// A token shorter than this is no token, and would be found in any text.
const SHORTEST: usize = 4;

/// A piece of a token from this length on is not shown either, in bytes.
const PIECE: usize = 16;

/// A token in the forms in which an answer may repeat it.
pub struct Echo {
    token: SecretString,
    forms: Vec<SecretString>,
}

impl Echo {
    /// The forms of a token.
    pub fn of(token: &SecretString) -> Self {
        let text = token.expose_secret().trim();
        let bytes = text.as_bytes();
        let mut forms = Vec::new();
        if bytes.len() >= SHORTEST {
            let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
            let hex: String = (bytes.iter())
                .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
                .collect();
            forms.extend([
                SecretString::from(text),
                SecretString::from(hex.to_uppercase()),
                SecretString::from(hex),
                SecretString::from(general_purpose::STANDARD_NO_PAD.encode(bytes)),
                SecretString::from(general_purpose::URL_SAFE_NO_PAD.encode(bytes)),
                SecretString::from(byte_serialize(bytes).collect::<String>()),
            ]);
        }
        Self {
            token: text.into(),
            forms,
        }
    }

    /// A name as it may be shown: short, of visible characters, and without the token or a piece of it.
    pub fn text(&self, text: &str) -> Option<String> {
        let text = text.trim();
        let odd =
            text.is_empty() || text.chars().count() > LONGEST || text.chars().any(char::is_control);
        let repeats = (self.forms.iter()).any(|form| text.contains(form.expose_secret()))
            || (text.len() >= PIECE && self.token.expose_secret().contains(text));
        (!odd && !repeats).then(|| text.to_owned())
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
        let echo = Echo::of(&SecretString::from("s3cret/token+value=with.more"));
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
            ("a\nb", false),
            ("", false),
        ] {
            assert_eq!(echo.text(text).is_some(), shown, "{text}");
        }
        assert_eq!(echo.text(&"x".repeat(129)), None);
        assert_eq!(echo.shown(&Value::from(7)).as_deref(), Some("7"));
        assert_eq!(
            Echo::of(&SecretString::from("")).text("x").as_deref(),
            Some("x")
        );
    }
}
