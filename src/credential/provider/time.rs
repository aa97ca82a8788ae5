//! Instants as issuers write them, and what a token says of its own end.

use base64::{
    Engine as _,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use serde_json::Value;

use super::table::TimeFormat;
use crate::{effect::http::http_date, id::Timestamp};

/// Ten thousand years, in seconds; what is beyond is no instant.
const FAR: i64 = 253_402_300_799;

/// Base64 as JWTs have it, padded or not.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

impl TimeFormat {
    /// The instant that a text says, if it is written so.
    pub fn read(self, text: &str, now: Timestamp) -> Option<Timestamp> {
        let text = text.trim();
        match self {
            Self::Date => {
                let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
                Some(date.and_time(NaiveTime::MIN).and_utc().into())
            }
            Self::Rfc3339 => {
                let at = DateTime::parse_from_rfc3339(text).ok()?;
                Some(at.with_timezone(&Utc).into())
            }
            Self::GitHub => {
                let text = match text.strip_suffix("UTC") {
                    Some(bare) => format!("{bare}+0000"),
                    None => text.to_owned(),
                };
                let at = DateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S %z").ok()?;
                Some(at.with_timezone(&Utc).into())
            }
            Self::Http => http_date(text),
            Self::Epoch => {
                let seconds = whole(text)?;
                (0..=FAR)
                    .contains(&seconds)
                    .then(|| Timestamp::from_millis(seconds * 1000))
            }
            Self::Millis => {
                let millis = whole(text)?;
                (0..=FAR * 1000)
                    .contains(&millis)
                    .then(|| Timestamp::from_millis(millis))
            }
            Self::Seconds => {
                let seconds = whole(text)?;
                (0..=FAR)
                    .contains(&seconds)
                    .then(|| now.plus_seconds(seconds))
            }
        }
    }
}

/// A number without its fraction, which some issuers write.
fn whole(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    whole.parse().ok()
}

/// What a JWT says of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwtEnd {
    /// It is no JWT, or one without `exp`.
    Unsaid,
    /// It is this instant.
    At(Timestamp),
    /// It has an `exp` that is no instant.
    Unreadable,
}

/// Reads the `exp` of a JWT (RFC 7519, 4.1.4). Nothing is verified: whoever made the token may have lied.
///
/// Text before the first part, as `ghs_APPID_`, is passed over.
pub fn jwt_end(token: &str) -> JwtEnd {
    let mut parts = token.trim().split('.');
    let (Some(head), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return JwtEnd::Unsaid;
    };
    // `{"` is `eyJ` or `ey` with a space's `A`: any JWT's header has it.
    if !head.contains("ey") {
        return JwtEnd::Unsaid;
    }
    let Ok(claims) = BASE64URL.decode(claims) else {
        return JwtEnd::Unsaid;
    };
    let Ok(Value::Object(claims)) = serde_json::from_slice(&claims) else {
        return JwtEnd::Unsaid;
    };
    match claims.get("exp") {
        None | Some(Value::Null) => JwtEnd::Unsaid,
        Some(Value::Number(number)) => {
            match TimeFormat::Epoch.read(&number.to_string(), Timestamp::from_millis(0)) {
                Some(at) => JwtEnd::At(at),
                None => JwtEnd::Unreadable,
            }
        }
        Some(_) => JwtEnd::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(format: TimeFormat, text: &str) -> Option<String> {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        format.read(text, now).map(|at| at.to_string())
    }

    #[test]
    fn instants_as_issuers_write_them() {
        use TimeFormat::{Date, Epoch, GitHub, Http, Millis, Rfc3339, Seconds};
        for (format, text, expected) in [
            (Date, "2026-01-02", Some("2026-01-02T00:00:00Z")),
            (Date, "2026-02-30", None),
            (Date, "2026-01-02 15:04:05 UTC", None),
            (
                Rfc3339,
                "2026-01-02T15:04:05Z",
                Some("2026-01-02T15:04:05Z"),
            ),
            (
                Rfc3339,
                "2026-01-02T15:04:05.25+01:00",
                Some("2026-01-02T14:04:05.250Z"),
            ),
            (Rfc3339, "2026-01-02", None),
            (
                GitHub,
                "2026-01-02 15:04:05 UTC",
                Some("2026-01-02T15:04:05Z"),
            ),
            (
                GitHub,
                "2026-01-02 15:04:05 -0700",
                Some("2026-01-02T22:04:05Z"),
            ),
            (GitHub, "2026-01-02", None),
            (GitHub, "soon", None),
            (Epoch, "1767366245", Some("2026-01-02T15:04:05Z")),
            (Epoch, "1767366245.5", Some("2026-01-02T15:04:05Z")),
            (Epoch, "-1", None),
            (Epoch, "99999999999999999999", None),
            (Epoch, "1767366245000", None),
            (Millis, "1767366245000", Some("2026-01-02T15:04:05Z")),
            (
                Http,
                "Fri, 02 Jan 2026 15:04:05 GMT",
                Some("2026-01-02T15:04:05Z"),
            ),
            (Seconds, "90", Some("2026-01-01T00:01:30Z")),
            (Seconds, "", None),
        ] {
            assert_eq!(read(format, text).as_deref(), expected, "{format:?} {text}");
        }
    }

    fn jwt(claims: &str) -> String {
        format!("eyJhbGciOiJub25lIn0.{}.c2ln", BASE64URL.encode(claims))
    }

    #[test]
    fn a_jwt_s_end() {
        let at = JwtEnd::At("2026-01-02T15:04:05Z".parse().unwrap());
        for (token, expected) in [
            (jwt("{\"exp\":1767366245}"), at),
            (jwt("{\"exp\":1767366245.9,\"sub\":\"x\"}"), at),
            (jwt("{\"exp\":1767366245}").replace('=', ""), at),
            (format!("ghs_123_{}", jwt("{\"exp\":1767366245}")), at),
            (jwt("{}"), JwtEnd::Unsaid),
            (jwt("{\"exp\":null}"), JwtEnd::Unsaid),
            (jwt("{\"exp\":\"soon\"}"), JwtEnd::Unreadable),
            (jwt("{\"exp\":-5}"), JwtEnd::Unreadable),
            (jwt("{\"exp\":1e300}"), JwtEnd::Unreadable),
            (jwt("[]"), JwtEnd::Unsaid),
            (jwt("no JSON"), JwtEnd::Unsaid),
            ("eyJ.%%%.x".to_owned(), JwtEnd::Unsaid),
            ("a.b".to_owned(), JwtEnd::Unsaid),
            ("a.b.c.d".to_owned(), JwtEnd::Unsaid),
            (String::new(), JwtEnd::Unsaid),
        ] {
            assert_eq!(jwt_end(&token), expected, "{token}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_too_odd_to_be_read(text in ".{0,60}", claims in ".{0,40}") {
            let _ = (jwt_end(&text), jwt_end(&jwt(&claims)));
            let now = Timestamp::from_millis(0);
            for format in [
                TimeFormat::Date, TimeFormat::Rfc3339, TimeFormat::Epoch, TimeFormat::Millis,
                TimeFormat::GitHub, TimeFormat::Http, TimeFormat::Seconds,
            ] {
                let _ = format.read(&text, now);
            }
        }
    }
}
