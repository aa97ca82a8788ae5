//! When a PEM certificate begins and ends.
//!
//! Of X.509 only the path to `validity` is walked (RFC 5280, 4.1): no crate of the tree gives it, and a
//! whole parser for two dates is more than they are worth. Nothing is verified.

use chrono::{DateTime, NaiveDateTime, Utc};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::{
    credential::finding::{Expiry, Finding, Provenance, Status},
    id::Timestamp,
};

/// The time in which a certificate is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Its `notBefore`, the first instant.
    pub from: Timestamp,
    /// The first instant after its `notAfter`, which itself is within it (4.1.2.5).
    pub end: Timestamp,
}

/// Why a value is no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// It holds no `-----BEGIN CERTIFICATE-----`, or none that ends.
    #[error("it holds no PEM certificate")]
    NoPem,
    /// What it holds is no X.509, or has no dates.
    #[error(
        "its certificate cannot be read: the dates of its validity are not where X.509 has them"
    )]
    NoDates,
}

/// The validity of the first certificate of a PEM text, which is the leaf of a chain (RFC 8446, 4.4.2).
///
/// # Errors
/// That there is none, or none that can be read.
pub fn validity(pem: &[u8]) -> Result<Validity, CertificateFault> {
    let first = CertificateDer::pem_slice_iter(pem).next();
    let der = first.and_then(Result::ok).ok_or(CertificateFault::NoPem)?;
    dates(&der).ok_or(CertificateFault::NoDates)
}

/// What a certificate's dates say at an instant. It is live within them: whether anyone trusts it is not asked.
pub fn judge(pem: &[u8], now: Timestamp) -> Finding {
    let validity = match validity(pem) {
        Ok(validity) => validity,
        Err(fault) => return Finding::new(Status::Error, now).because(fault.to_string()),
    };
    let mut finding = if now >= validity.end {
        Finding::new(Status::Expired, now).because("its notAfter has passed")
    } else if now < validity.from {
        let mut early = Finding::new(Status::Error, now)
            .because(format!("it is not valid before {}", validity.from));
        early.retry_at = Some(validity.from);
        early
    } else {
        Finding::new(Status::Live, now)
    };
    finding.expiry = Some(Expiry {
        at: validity.end,
        from: Provenance::Certificate,
    });
    finding
}

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0] EXPLICIT Version`, which version 1 leaves out.
const VERSION: u8 = 0xa0;

/// The first element of a DER text: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let bytes = rest.get(..count)?;
        rest = rest.get(count..)?;
        (bytes.iter()).fold(0, |length, byte| length << 8 | usize::from(*byte))
    };
    Some((tag, rest.get(..length)?, rest.get(length..)?))
}

fn sequence(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = element(der)?;
    (tag == SEQUENCE).then_some((content, rest))
}

fn dates(der: &[u8]) -> Option<Validity> {
    let (certificate, _) = sequence(der)?;
    let (body, _) = sequence(certificate)?;
    let (tag, _, after) = element(body)?;
    let serial = if tag == VERSION { after } else { body };
    let (_, _, rest) = element(serial)?;
    let (_algorithm, rest) = sequence(rest)?;
    let (_issuer, rest) = sequence(rest)?;
    let (validity, _) = sequence(rest)?;
    let (from, rest) = time(validity)?;
    let (last, _) = time(rest)?;
    Some(Validity {
        from: from.into(),
        end: Timestamp::from(last).plus_seconds(1),
    })
}

/// A `Time` (4.1.2.5): with two digits of the year, of which 50 is 1950, or with four.
fn time(der: &[u8]) -> Option<(DateTime<Utc>, &[u8])> {
    let (tag, content, rest) = element(der)?;
    let text = std::str::from_utf8(content).ok()?;
    let text = match tag {
        UTC_TIME => {
            let year: u8 = text.get(..2)?.parse().ok()?;
            let century = if year >= 50 { "19" } else { "20" };
            format!("{century}{text}")
        }
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let at = NaiveDateTime::parse_from_str(&text, "%Y%m%d%H%M%SZ").ok()?;
    Some((at.and_utc(), rest))
}
