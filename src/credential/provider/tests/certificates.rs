use secrecy::SecretString;

use super::*;
use crate::credential::finding::{Provenance, Status};

/// Version 3, of the first of December 2025 to the first of February 2026.
const BRIEF: &str = "\
-----BEGIN CERTIFICATE-----
MIIBTzCB9aADAgECAgEBMAoGCCqGSM49BAMCMBoxGDAWBgNVBAMMD2xvcmVjdGwu
ZXhhbXBsZTAeFw0yNTEyMDEwMDAwMDBaFw0yNjAyMDEwMDAwMDBaMBoxGDAWBgNV
BAMMD2xvcmVjdGwuZXhhbXBsZTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABDUD
ZfN77NmbOrmxwEbhW+vLsVS88akAuojFRh2LFd94pSeAf46W/Vr4ExytwsAbSSr4
SbOe6joTtILkwaz8JbSjLDAqMAkGA1UdEwQCMAAwHQYDVR0OBBYEFPuoeIGLNcwf
fz7hwE3oBaJEWUsGMAoGCCqGSM49BAMCA0kAMEYCIQCqoANLajkObCpShBC1nJKN
71Wn/fV+nFM2Zzv1ve/VMgIhANhfqabjS5q5Inyn2UZ9YHuXV7sEfZdkmiG1zkoF
36bY
-----END CERTIFICATE-----
";

/// Version 1, without extensions, to the first of January 2055, which takes the other form of a time.
const LONG: &str = "\
-----BEGIN CERTIFICATE-----
MIIBHTCBxAIBAjAKBggqhkjOPQQDAjAaMRgwFgYDVQQDDA9sb3JlY3RsLmV4YW1w
bGUwIBcNMjUxMjAxMDAwMDAwWhgPMjA1NTAxMDEwMDAwMDBaMBoxGDAWBgNVBAMM
D2xvcmVjdGwuZXhhbXBsZTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABDUDZfN7
7NmbOrmxwEbhW+vLsVS88akAuojFRh2LFd94pSeAf46W/Vr4ExytwsAbSSr4SbOe
6joTtILkwaz8JbQwCgYIKoZIzj0EAwIDSAAwRQIhAIOeKbmnUyI4dSdoqhgZT1pp
3PMM/NCyF4BuDUKEeyQdAiAVaBgZV0mB2t6kHYTj3Ovr6rWcYSgZ3z28lGJRi/Xv
zg==
-----END CERTIFICATE-----
";

fn judged(pem: &str, at: &str) -> Finding {
    let provider = builtin("x509").unwrap();
    let pem = SecretString::from(pem);
    provider.judge_alone(&pem, at.parse().unwrap()).unwrap()
}

#[test]
fn a_certificate_lives_within_its_dates() {
    for (pem, at, status, end) in [
        (
            BRIEF,
            "2026-01-01T00:00:00Z",
            Status::Live,
            "2026-02-01T00:00:01Z",
        ),
        (
            BRIEF,
            "2025-12-01T00:00:00Z",
            Status::Live,
            "2026-02-01T00:00:01Z",
        ),
        (
            BRIEF,
            "2026-02-01T00:00:00Z",
            Status::Live,
            "2026-02-01T00:00:01Z",
        ),
        (
            BRIEF,
            "2026-02-01T00:00:01Z",
            Status::Expired,
            "2026-02-01T00:00:01Z",
        ),
        (
            BRIEF,
            "2025-11-30T23:59:59Z",
            Status::Error,
            "2026-02-01T00:00:01Z",
        ),
        (
            LONG,
            "2050-01-01T00:00:00Z",
            Status::Live,
            "2055-01-01T00:00:01Z",
        ),
    ] {
        let finding = judged(pem, at);
        assert_eq!(finding.status, status, "{at}");
        let expiry = finding.expiry.unwrap();
        assert_eq!(
            (expiry.at.to_string().as_str(), expiry.from),
            (end, Provenance::Certificate)
        );
    }
    let early = judged(BRIEF, "2025-11-01T00:00:00Z");
    assert_eq!(
        early.detail.unwrap(),
        "it is not valid before 2025-12-01T00:00:00Z"
    );
    assert_eq!(early.retry_at.unwrap().to_string(), "2025-12-01T00:00:00Z");
}

#[test]
fn of_a_chain_the_first_counts_and_a_key_is_passed_over() {
    let key = "-----BEGIN PRIVATE KEY-----\nczNjcmV0\n-----END PRIVATE KEY-----\n";
    let end = |pem: &str| validity(pem.as_bytes()).unwrap().end.to_string();
    assert_eq!(end(&format!("{BRIEF}{LONG}")), "2026-02-01T00:00:01Z");
    assert_eq!(end(&format!("{LONG}{BRIEF}")), "2055-01-01T00:00:01Z");
    assert_eq!(
        end(&format!("# a comment\n{key}{BRIEF}")),
        "2026-02-01T00:00:01Z"
    );
}

#[test]
fn what_is_no_certificate_is_an_error() {
    let pem = |der: &[u8]| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    };
    for text in [
        "",
        "nonsense",
        "-----BEGIN CERTIFICATE-----\nMIIB",
        &BRIEF[..200],
    ] {
        let finding = judged(text, "2026-01-01T00:00:00Z");
        assert_eq!(finding.status, Status::Error);
        assert_eq!(finding.detail.unwrap(), "it holds no PEM certificate");
    }
    for der in [
        &b""[..],
        b"\x30",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x30\x80\x00\x00",
        b"\x04\x01a",
    ] {
        assert_eq!(
            validity(pem(der).as_bytes()),
            Err(CertificateFault::NoDates)
        );
    }
}

#[test]
fn no_certificate_is_too_odd_to_be_read() {
    use base64::Engine as _;
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    let der = CertificateDer::from_pem_slice(BRIEF.as_bytes()).unwrap();
    for index in 0..der.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut odd = der.to_vec();
            odd[index] ^= flip;
            let text = base64::engine::general_purpose::STANDARD.encode(&odd);
            let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
            let _ = validity(pem.as_bytes());
        }
    }
}
