//! Whether a value looks like a token of its provider.

use secrecy::{ExposeSecret, SecretString};

use super::{
    certificate,
    table::{Charset, Format, Provider, Via},
};

/// The longest value of any kind, in bytes: what a header or a unit's credential still takes.
const LONGEST: usize = 64 * 1024;

impl Charset {
    const fn holds(self, byte: u8) -> bool {
        match self {
            Self::Hex => byte.is_ascii_hexdigit(),
            Self::Alphanumeric => byte.is_ascii_alphanumeric(),
            Self::Word => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Self::Bearer => {
                byte.is_ascii_alphanumeric()
                    || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
            }
            Self::Visible => byte.is_ascii_graphic(),
            Self::Any => byte != 0,
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Hex => "hexadecimal digits",
            Self::Alphanumeric => "letters and digits",
            Self::Word => "letters, digits, `_` and `-`",
            Self::Bearer => "letters, digits and `-._~+/=`",
            Self::Visible => "visible characters of ASCII",
            Self::Any => "text",
        }
    }
}

impl Format {
    fn check(&self, value: &str) -> Result<(), String> {
        if value.len() < self.min {
            return Err(format!("it is shorter than {} bytes", self.min));
        }
        if value.len() > self.max {
            return Err(format!("it is longer than {} bytes", self.max));
        }
        let rest = value.strip_prefix(self.prefix.as_str()).unwrap_or(value);
        if !rest.bytes().all(|byte| self.charset.holds(byte)) {
            return Err(format!("it is made of more than {}", self.charset.what()));
        }
        Ok(())
    }
}

impl Provider {
    /// Whether a value looks like a token of this provider. What does not is never sent anywhere.
    ///
    /// # Errors
    /// Why it is none. It holds nothing of the value.
    pub fn check_format(&self, value: &SecretString) -> Result<(), String> {
        let value = value.expose_secret();
        if value.trim().is_empty() {
            return Err("it is empty".to_owned());
        }
        if value.len() > LONGEST {
            return Err("it is longer than 64 KiB".to_owned());
        }
        if value.contains('\0') {
            return Err("it holds a NUL".to_owned());
        }
        if self.probe == Via::X509 {
            return match certificate::validity(value.as_bytes()) {
                Ok(_) => Ok(()),
                Err(fault) => Err(fault.to_string()),
            };
        }
        let any = [Format::default()];
        let formats: &[Format] = if self.format.is_empty() {
            &any
        } else {
            &self.format
        };
        let lines = formats.iter().any(|format| format.charset == Charset::Any);
        if !lines && value.contains(['\n', '\r']) {
            return Err("it holds a line break".to_owned());
        }
        // The longest prefix says most of what was meant.
        let begun = (formats.iter()).filter(|format| value.starts_with(format.prefix.as_str()));
        let Some(longest) = begun.clone().map(|format| format.prefix.len()).max() else {
            let prefixes: Vec<String> = (formats.iter())
                .map(|format| format!("`{}`", format.prefix))
                .collect();
            return Err(format!("it does not begin with {}", prefixes.join(" or ")));
        };
        let mut wrong = Ok(());
        for format in begun.filter(|format| format.prefix.len() == longest) {
            wrong = format.check(value);
            if wrong.is_ok() {
                break;
            }
        }
        wrong
    }
}
