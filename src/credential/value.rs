//! A value on its way: what is a token at all, and how one is kept in a file of ours.

use std::fmt;

use secrecy::{ExposeSecret, SecretString, zeroize::Zeroize};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::scrub::known;

/// The longest value, in bytes: certificates with their chain are some ten thousand.
pub const LONGEST: usize = 64 << 10;

/// Why something is no value that can be kept. It says nothing of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// There is nothing.
    #[error("the value is empty")]
    Empty,
    /// There is more than any token has.
    #[error("the value is over 64 KiB long, which no token is")]
    Long,
    /// It is no text.
    #[error("the value is not UTF-8")]
    NotText,
    /// It holds a line feed or another control character, and is no PEM text.
    #[error("the value holds a line feed or another control character, which no token does")]
    Control,
    /// It begins or ends with white space.
    #[error("the value begins or ends with white space, which no token does")]
    Space,
}

impl Malformed {
    /// What to do about it, wherever the value came from.
    pub const fn help(self) -> &'static str {
        match self {
            Self::Empty => "give the token itself",
            Self::Long => "give the token alone, and not the file that holds it among other things",
            Self::NotText => "give the token as its issuer shows it, not compressed or encrypted",
            Self::Control => {
                "give the token alone, in one line; of PEM, all from its `-----BEGIN` on"
            }
            Self::Space => "give the token alone, without the quotes or spaces around it",
        }
    }
}

/// A value from bytes that hold it and nothing else, but for one line feed at their end.
///
/// A PEM text (RFC 7468) may have lines, and keeps its last line feed.
///
/// # Errors
/// Why it is none.
pub fn from_bytes(mut bytes: Vec<u8>) -> Result<SecretString, Malformed> {
    let checked = check(&bytes);
    let end = match checked {
        Ok(end) => end,
        Err(malformed) => {
            bytes.zeroize();
            return Err(malformed);
        }
    };
    bytes.truncate(end);
    String::from_utf8(bytes).map_or_else(
        |error| {
            error.into_bytes().zeroize();
            Err(Malformed::NotText)
        },
        |text| {
            let value = text.into();
            known::meet(&value);
            Ok(value)
        },
    )
}

/// How many of the bytes are the value.
fn check(bytes: &[u8]) -> Result<usize, Malformed> {
    if bytes.len() > LONGEST {
        return Err(Malformed::Long);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed::NotText)?;
    if text.starts_with("-----BEGIN ") {
        let lines = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
        return if text.contains(lines) {
            Err(Malformed::Control)
        } else {
            Ok(text.len())
        };
    }
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        Err(Malformed::Empty)
    } else if text.contains(char::is_control) {
        Err(Malformed::Control)
    } else if text.trim() != text {
        Err(Malformed::Space)
    } else {
        Ok(text.len())
    }
}

/// Whether everyone may see a value: PEM certificates (RFC 7468, and OpenSSL's older names) and nothing else,
/// neither around them nor within.
pub fn is_public(value: &SecretString) -> bool {
    const PUBLIC: [&str; 4] = [
        "CERTIFICATE",
        "X509 CERTIFICATE",
        "TRUSTED CERTIFICATE",
        "X509 CRL",
    ];
    /// What comes after the certificate that a text begins with.
    fn after_first(text: &str) -> Option<&str> {
        let (label, rest) = text.strip_prefix("-----BEGIN ")?.split_once("-----")?;
        let (body, after) = rest.split_once(&format!("-----END {label}-----"))?;
        (PUBLIC.contains(&label) && is_base64(body)).then_some(after)
    }
    let mut rest = Some(value.expose_secret().trim());
    let mut is_some = false;
    while let Some(text) = rest.filter(|text| !text.is_empty()) {
        rest = after_first(text).map(str::trim_start);
        is_some = true;
    }
    is_some && rest.is_some()
}

/// Whether a text is base64 with white space anywhere (RFC 7468, section 3), and not empty.
fn is_base64(text: &str) -> bool {
    let mut digits = 0_usize;
    let mut padding = 0_usize;
    for c in text.chars().filter(|c| !c.is_ascii_whitespace()) {
        match c {
            '=' => padding += 1,
            _ if padding > 0 => return false,
            c if c.is_ascii_alphanumeric() || matches!(c, '+' | '/') => digits += 1,
            _ => return false,
        }
    }
    digits > 0 && padding <= 2 && (digits + padding).is_multiple_of(4)
}

/// Whether a text is what systemd-creds makes of a value: lines of base64, of which no value has several.
pub fn is_encrypted(text: &str) -> bool {
    let digits = |line: &str| {
        let mut bytes = line.bytes();
        !line.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
    };
    text.lines().nth(1).is_some() && text.lines().all(digits)
}

/// A value in a file of ours. Nothing prints it.
#[derive(Clone)]
pub struct Kept(SecretString);

impl Kept {
    /// Keeps a value.
    pub fn new(value: SecretString) -> Self {
        known::meet(&value);
        Self(value)
    }

    /// The value.
    pub const fn value(&self) -> &SecretString {
        &self.0
    }

    /// Whether it is that value.
    pub fn is(&self, bytes: &[u8]) -> bool {
        self.0.expose_secret().as_bytes() == bytes
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept(…)")
    }
}

impl Serialize for Kept {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.0.expose_secret())
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(Self::new(String::deserialize(d)?.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_token_is_none() {
        for (bytes, expected) in [
            (&b"abc"[..], Ok("abc")),
            (b"abc\n", Ok("abc")),
            (b"abc\r\n", Ok("abc")),
            (b"a b", Ok("a b")),
            (b"", Err(Malformed::Empty)),
            (b"\n", Err(Malformed::Empty)),
            (b"abc\n\n", Err(Malformed::Control)),
            (b"abc\ndef", Err(Malformed::Control)),
            (b"abc\0", Err(Malformed::Control)),
            (b" abc", Err(Malformed::Space)),
            (b"abc ", Err(Malformed::Space)),
            (b"\xff", Err(Malformed::NotText)),
            (&vec![b'a'; 1 << 20], Err(Malformed::Long)),
            (
                b"-----BEGIN X-----\nYQ==\n",
                Ok("-----BEGIN X-----\nYQ==\n"),
            ),
            (b"-----BEGIN X-----\n\0", Err(Malformed::Control)),
        ] {
            let found = from_bytes(bytes.to_vec());
            let found = found.as_ref().map(ExposeSecret::expose_secret);
            assert_eq!(found.map_err(|error| *error), expected);
        }
    }

    #[test]
    fn certificates_alone_are_public() {
        let block = |label: &str| format!("-----BEGIN {label}-----\nYQ==\n-----END {label}-----\n");
        let certificate = block("CERTIFICATE");
        for (text, expected) in [
            (certificate.clone(), true),
            (certificate.repeat(2), true),
            (block("TRUSTED CERTIFICATE"), true),
            (block("X509 CRL"), true),
            (format!("\r\n {certificate}\n\n{certificate}\t\n"), true),
            (certificate.replace("YQ==", "YWJj\r\nYWI=\r\n"), true),
            (format!("{certificate}passphrase: canary\n"), false),
            (format!("passphrase: canary\n{certificate}"), false),
            (format!("{certificate}\nY2FuYXJ5\n{certificate}"), false),
            (
                format!(
                    "{certificate}---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nYQ==\n---- END SSH2 ENCRYPTED PRIVATE KEY ----\n"
                ),
                false,
            ),
            (
                format!("{certificate}PuTTY-User-Key-File-3: ssh-rsa\n"),
                false,
            ),
            (certificate.replace("YQ==", "Key: canary\n\nYQ=="), false),
            (certificate.replace("YQ==", "YQ==YQ=="), false),
            (certificate.replace("YQ==", "YQ="), false),
            (certificate.replace("YQ==", ""), false),
            (certificate.replace("-----END CERTIFICATE-----", ""), false),
            (certificate.replace("END CERT", "END PRIVATE CERT"), false),
            (String::new(), false),
            (format!("{certificate}{}", block("PRIVATE KEY")), false),
            (format!("{}{certificate}", block("RSA PRIVATE KEY")), false),
            (block("EC PRIVATE KEY"), false),
            ("glpat-x".to_owned(), false),
            ("-----BEGIN CERTIFICATE".to_owned(), false),
        ] {
            assert_eq!(is_public(&text.clone().into()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_encrypted_is_told_from_values() {
        let encrypted = "Whxqht+dQJax1aZeCGLxmiAAAAABAAAADAAAABAAAAAaRXOT3JwMSZ/Q9eQAAAAAZGMt6Os0X+JdBcb\nFS3wSI5tJucc9DmjBdLQb00DDU0DtGfOUfGRLACbVUkGT\n";
        for (text, expected) in [
            (encrypted, true),
            (encrypted.trim_end(), true),
            ("abc", false),
            ("abc=\n", false),
            ("", false),
            ("-----BEGIN X-----\nYQ==\n-----END X-----\n", false),
        ] {
            assert_eq!(is_encrypted(text), expected, "{text}");
        }
    }

    #[test]
    fn nothing_prints_it() {
        assert_eq!(format!("{:?}", Kept::new("abc".into())), "Kept(…)");
    }
}
