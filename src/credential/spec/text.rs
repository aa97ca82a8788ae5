//! Texts of a credential's spec that have a form of their own.

use crate::service::spec::text::{text, word};

text!(
    /// The name of a group of the system.
    GroupName,
    "^[A-Za-z_][A-Za-z0-9_.-]{0,31}$",
    "a group's name is 1 to 32 of letters, digits, `_`, `.` and `-`, and begins with a letter or `_`",
    |text| word(
        text,
        32,
        |c| c.is_ascii_alphabetic() || c == '_',
        |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
    )
);

text!(
    /// The permissions of a file in octal: reading and writing, for the owner and the group; for others
    /// nothing, or reading.
    FileMode,
    "^0?[0246][0246][04]$",
    "the permissions are `0600` or such: reading (4) and writing (2), for the owner and the group; nothing for others, but reading of a certificate",
    |text| {
        let digits = text.as_bytes();
        let three = match digits {
            [b'0', rest @ ..] if rest.len() == 3 => rest,
            rest => rest,
        };
        matches!(three, [a, b, b'0' | b'4'] if matches!(a, b'0' | b'2' | b'4' | b'6') && matches!(b, b'0' | b'2' | b'4' | b'6'))
    }
);

impl FileMode {
    /// The permission bits.
    pub fn bits(&self) -> u32 {
        u32::from_str_radix(self.as_str(), 8).unwrap_or(0o600)
    }
}

text!(
    /// The name of a credential of systemd's (systemd.exec(5), `LoadCredential=`).
    CredentialName,
    "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$",
    "the name is 1 to 255 of letters, digits, `_`, `.` and `-`, and does not begin with a dot",
    |text| word(
        text,
        255,
        |c| c.is_ascii_alphanumeric() || c == '_',
        |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
    )
);
