//! Texts of a request with places for the token and other values.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use url::form_urlencoded::byte_serialize;

const NAMES: &str = "between `{` and `}` is a name of `a-z`, `0-9` and `_`";

/// The place of the token.
pub const TOKEN: &str = "token";

/// A piece of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'t> {
    /// Text as it is.
    Text(&'t str),
    /// The value of that name.
    Value(&'t str),
    /// Base64 of two values with a colon between, as `Basic` has them (RFC 7617).
    Pair(&'t str, &'t str),
    /// The same of two values that are encoded as in a form first, as OAuth has it (RFC 6749, 2.3.1).
    Client(&'t str, &'t str),
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Takes a template to pieces.
///
/// # Errors
/// What is wrong with its braces.
pub fn pieces(template: &str) -> Result<Vec<Piece<'_>>, &'static str> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((text, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or("a `{` has no `}`")?;
        pieces.push(Piece::Text(text));
        let parts: Vec<&str> = name.split(':').collect();
        if !parts.iter().all(|part| is_name(part)) {
            return Err(NAMES);
        }
        pieces.push(match parts[..] {
            [name] => Piece::Value(name),
            [first, second] => Piece::Pair(first, second),
            ["form", first, second] => Piece::Client(first, second),
            _ => return Err(NAMES),
        });
        rest = after;
    }
    if rest.contains('}') {
        return Err("a `}` has no `{`");
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

/// The names that a template has places for.
pub fn names(template: &str) -> Vec<&str> {
    let pieces = pieces(template).unwrap_or_default();
    let named = pieces.into_iter().flat_map(|piece| match piece {
        Piece::Text(_) => [None, None],
        Piece::Value(name) => [Some(name), None],
        Piece::Pair(first, second) | Piece::Client(first, second) => [Some(first), Some(second)],
    });
    named.flatten().collect()
}

/// Fills a template.
///
/// # Errors
/// The name for which there is no value.
pub fn fill<'v>(
    template: &str,
    value: &dyn Fn(&str) -> Option<&'v str>,
) -> Result<SecretString, String> {
    let get = |name: &str| value(name).ok_or_else(|| name.to_owned());
    let mut filled = String::new();
    for piece in pieces(template).unwrap_or_default() {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Value(name) => filled.push_str(get(name)?),
            Piece::Pair(first, second) => {
                let pair = SecretString::from(format!("{}:{}", get(first)?, get(second)?));
                STANDARD.encode_string(pair.expose_secret(), &mut filled);
            }
            Piece::Client(first, second) => {
                let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
                let (first, second) = (encoded(get(first)?), encoded(get(second)?));
                let pair = SecretString::from(format!("{first}:{second}"));
                STANDARD.encode_string(pair.expose_secret(), &mut filled);
            }
        }
    }
    Ok(filled.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled() {
        let value = |name: &str| match name {
            "token" => Some("t0k"),
            "user" => Some("Aladdin"),
            "password" => Some("open sesame"),
            _ => None,
        };
        for (template, expected) in [
            ("Bearer {token}", Ok("Bearer t0k")),
            ("{token}{token}", Ok("t0kt0k")),
            ("plain", Ok("plain")),
            ("", Ok("")),
            (
                "Basic {user:password}",
                Ok("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ),
            // `Aladdin:open+sesame`.
            ("{form:user:password}", Ok("QWxhZGRpbjpvcGVuK3Nlc2FtZQ==")),
            ("{nobody}", Err("nobody")),
            ("{user:nobody}", Err("nobody")),
        ] {
            let filled = fill(template, &value);
            let filled = filled.as_ref().map(ExposeSecret::expose_secret);
            assert_eq!(
                filled,
                expected.map_err(str::to_owned).as_ref().copied(),
                "{template}"
            );
        }
        assert_eq!(names("a {b} {c:d}"), ["b", "c", "d"]);
    }

    #[test]
    fn braces_that_make_no_sense() {
        for template in [
            "{", "}", "{a", "a}", "{}", "{A}", "{a:}", "{a b}", "{{a}}", "{a:b:c}",
        ] {
            assert!(pieces(template).is_err(), "{template}");
        }
    }
}
