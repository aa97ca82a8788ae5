use secrecy::SecretString;

use super::*;

fn checked(provider: &str, value: &str) -> Result<(), String> {
    builtin(provider)
        .unwrap()
        .check_format(&SecretString::from(value))
}

#[test]
fn tokens_look_as_their_providers_make_them() {
    let classic = format!("ghp_{}", "a1B2".repeat(9));
    let fine = format!("github_pat_{}_{}", "a1B2".repeat(5), "c3D4".repeat(14));
    let old = "0123456789abcdef".repeat(3)[..40].to_owned();
    let installation = format!("ghs_{}", "a1B2".repeat(9));
    let jwt = format!(
        "ghs_123456_{}.{}.{}",
        "eyJh".repeat(20),
        "eyJl".repeat(40),
        "a-b_".repeat(85)
    );
    for (provider, value) in [
        ("github", classic.as_str()),
        ("github", fine.as_str()),
        ("github", old.as_str()),
        ("github_app", installation.as_str()),
        // Since 2026-04 an installation's token is not 40 characters long.
        ("github_app", jwt.as_str()),
        ("gitlab", "glpat-aBcDeFgHiJkLmNoPqRsT"),
        ("gitlab", "glpat-aBcDeFgHiJkLmNoPqRsTuVwXyZ.01.1a2b3c4d5"),
        ("gitlab", "acme-aBcDeFgHiJkLmNoPqRsT"),
        ("slack", "xoxb-1234567890-abcdef"),
        ("none", "correct horse\nbattery staple\n"),
        ("opaque", "x"),
    ] {
        assert_eq!(checked(provider, value), Ok(()), "{provider} {value}");
    }
}

#[test]
fn what_is_no_token_is_said_without_its_value() {
    let long = "s3cret".repeat(200_000);
    for (provider, value, expected) in [
        ("github", "", "it is empty"),
        ("github", " \n", "it is empty"),
        ("github", long.as_str(), "it is longer than 64 KiB"),
        ("none", long.as_str(), "it is longer than 64 KiB"),
        ("none", "s3cret\0", "it holds a NUL"),
        ("github", "ghp_s3cret\n", "it holds a line break"),
        ("opaque", "s3cret\r\n", "it holds a line break"),
        (
            "opaque",
            "s3cret s3cret",
            "it is made of more than visible characters of ASCII",
        ),
        (
            "opaque",
            "s3crét",
            "it is made of more than visible characters of ASCII",
        ),
        ("github", "ghp_s3cret", "it is shorter than 40 bytes"),
        (
            "github",
            "glpat-s3crets3crets3cret",
            "it is shorter than 40 bytes",
        ),
        ("github_app", "s3cret", "it does not begin with `ghs_`"),
        ("slack", "s3cret", "it does not begin with `xox` or `xapp-`"),
        ("gitlab", "s3cret", "it is shorter than 20 bytes"),
        ("x509", "s3cret", "it holds no PEM certificate"),
    ] {
        let wrong = checked(provider, value).unwrap_err();
        assert_eq!(wrong, expected, "{provider}");
        assert!(!wrong.contains("s3cret"), "{wrong}");
    }
}
