//! What went wrong in a stage: for now or for good.

use serde::Deserialize;

use crate::{
    effect::process::End,
    error::Code,
    id::Timestamp,
    scrub::Scrubber,
    service::{definition::Classify, status::message},
};

/// The variable that names the file in which a stage may say what went wrong.
pub const RESULT: &str = "LORECTL_RESULT";

/// The largest result file that is read.
pub const RESULT_LIMIT: u64 = 64 << 10;

/// What a stage may say of itself in the file that `LORECTL_RESULT` names; every field may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Said {
    /// How many items it has made or changed.
    #[serde(default)]
    pub items_updated: u64,
    /// What went wrong, for machines: up to 64 of `A-Z`, `0-9` and `_`.
    #[serde(default)]
    pub error_code: Option<String>,
    /// What went wrong, for people.
    #[serde(default)]
    pub message: Option<String>,
    /// When to come again: seconds from now, or an RFC 3339 instant.
    #[serde(default)]
    pub retry_after: Option<RetryAfter>,
}

/// When a stage asks to be run again.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum RetryAfter {
    /// In so many seconds.
    Seconds(u32),
    /// Then.
    At(Timestamp),
}

impl Said {
    /// Reads a result file; of the values that are known it holds none.
    ///
    /// # Errors
    /// Why it is none, for the log; the run goes on as if it were not there.
    pub fn parse(bytes: &[u8], known: &Scrubber) -> Result<Self, String> {
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err("it is no JSON object".to_owned());
        }
        let mut said: Self = serde_json::from_slice(bytes)
            // What serde says of a text may quote it.
            .map_err(|error| known.text(&error.to_string()).into_owned())?;
        if let Some(code) = &said.error_code
            && !is_code(code)
        {
            return Err("its `error_code` is not 1 to 64 of `A-Z`, `0-9` and `_`".to_owned());
        }
        // Before it is cut, so that no value is cut in two.
        said.message = (said.message.as_deref()).map(|text| message(&known.text(text)));
        said.error_code = said.error_code.filter(|code| known.text(code) == *code);
        Ok(said)
    }
}

fn is_code(text: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// Why a stage did not do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whether waiting does not mend it.
    pub permanent: bool,
    /// Whether it was us who were asked to end.
    pub interrupted: bool,
    /// Whether the same at once could succeed: not after a timeout, which took its time already.
    pub retry_at_once: bool,
    /// For machines: the stage's own code, else `EXIT_n`, `SIGNAL_n`, `TIMEOUT`, `SPAWN_FAILED`, `INTERRUPTED`.
    pub code: String,
    /// For people.
    pub message: String,
    /// Before when not to come again.
    pub not_before: Option<Timestamp>,
}

/// What an ended stage means; `None` is that it did its work.
///
/// Its own error code is looked up first, then its exit status, each in the service's lists; what
/// they do not name is judged by sysexits(3): 77 (`EX_NOPERM`) and 78 (`EX_CONFIG`) are for good,
/// all else is for now.
pub fn judge(end: End, said: &Said, rules: &Classify, now: Timestamp) -> Option<Failure> {
    let (own_code, text, status) = match end {
        End::Exited(0) => return None,
        End::Exited(status) => (
            format!("EXIT_{status}"),
            format!("exit status {status}"),
            Some(status),
        ),
        End::Killed(signal) => (
            format!("SIGNAL_{signal}"),
            format!("killed by signal {signal}"),
            None,
        ),
        End::TimedOut => ("TIMEOUT".to_owned(), "its time was over".to_owned(), None),
        End::Stopped => (
            "INTERRUPTED".to_owned(),
            "lorectl was asked to end".to_owned(),
            None,
        ),
    };
    let listed = |word: &str| {
        let within = |list: &[String]| list.iter().any(|entry| entry == word);
        match (within(&rules.permanent), within(&rules.transient)) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    };
    let interrupted = matches!(end, End::Stopped);
    let permanent = said
        .error_code
        .as_deref()
        .and_then(listed)
        .or_else(|| listed(&status?.to_string()))
        .or_else(|| listed(&own_code))
        .unwrap_or(matches!(status, Some(77 | 78)));
    let not_before = said.retry_after.as_ref().map(|after| match after {
        RetryAfter::Seconds(seconds) => now.plus_seconds(i64::from(*seconds)),
        RetryAfter::At(at) => *at,
    });
    Some(Failure {
        permanent: permanent && !interrupted,
        interrupted,
        retry_at_once: !permanent && !interrupted && !matches!(end, End::TimedOut),
        code: said.error_code.clone().unwrap_or(own_code),
        message: match &said.message {
            Some(message) => format!("{message} ({text})"),
            None => text,
        },
        not_before,
    })
}

/// That a stage could not be started. A program that is missing may be about to be replaced, so it
/// is for now, unless the service's lists say otherwise of `SPAWN_FAILED`.
pub fn not_started(error: &std::io::Error, rules: &Classify) -> Failure {
    let code = "SPAWN_FAILED".to_owned();
    let permanent = rules.permanent.contains(&code);
    Failure {
        permanent,
        interrupted: false,
        retry_at_once: !permanent,
        message: format!("it could not be started: {error}"),
        code,
        not_before: None,
    }
}

/// That a stage could not be started for want of a credential. The value may come back with any apply,
/// rotation or `reconcile`, none of which resumes a paused service: so it is for now, unless the
/// service's lists say otherwise of `CREDENTIAL_MISSING`.
pub fn without_credential(why: &str, rules: &Classify) -> Failure {
    let code = Code::CredentialMissing.as_str().to_owned();
    Failure {
        permanent: rules.permanent.contains(&code),
        interrupted: false,
        // Nothing brings it in the next seconds.
        retry_at_once: false,
        message: why.to_owned(),
        code,
        not_before: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-02-09T10:00:00Z".parse().unwrap()
    }

    #[test]
    fn what_ended_how_means_what() {
        let rules = Classify {
            permanent: vec!["3".to_owned(), "AUTH_FAILED".to_owned()],
            transient: vec!["77".to_owned(), "BUSY".to_owned()],
        };
        let none = Classify::default();
        let table = [
            // status, error code, rules, and what it means
            (0, None, &none, "done"),
            (0, Some("AUTH_FAILED"), &rules, "done"),
            (1, None, &none, "now EXIT_1"),
            (75, None, &none, "now EXIT_75"),
            (77, None, &none, "good EXIT_77"),
            (78, None, &none, "good EXIT_78"),
            (3, None, &none, "now EXIT_3"),
            (3, None, &rules, "good EXIT_3"),
            (77, None, &rules, "now EXIT_77"),
            (1, Some("AUTH_FAILED"), &rules, "good AUTH_FAILED"),
            (1, Some("AUTH_FAILED"), &none, "now AUTH_FAILED"),
            (3, Some("BUSY"), &rules, "now BUSY"),
            (3, Some("OTHER"), &rules, "good OTHER"),
        ];
        for (status, code, rules, expected) in table {
            let said = Said {
                error_code: code.map(str::to_owned),
                ..Said::default()
            };
            let found = match judge(End::Exited(status), &said, rules, now()) {
                None => "done".to_owned(),
                Some(failure) => {
                    let lasting = if failure.permanent { "good" } else { "now" };
                    assert_eq!(failure.retry_at_once, !failure.permanent);
                    format!("{lasting} {}", failure.code)
                }
            };
            assert_eq!(found, expected, "{status} {code:?}");
        }
        let said = Said::default();
        let judge = |end| judge(end, &said, &none, now()).unwrap();
        assert_eq!(judge(End::Killed(9)).code, "SIGNAL_9");
        assert!(judge(End::Killed(9)).retry_at_once);
        assert!(!judge(End::TimedOut).retry_at_once && !judge(End::TimedOut).permanent);
        assert!(judge(End::Stopped).interrupted && !judge(End::Stopped).retry_at_once);
    }

    #[test]
    fn result_files() {
        let full = br#"{"items_updated": 5, "error_code": "RATE_LIMITED", "message": " slow down ", "retry_after": 90, "x": 1}"#;
        let said = Said::parse(full, &Scrubber::default()).unwrap();
        assert_eq!(said.items_updated, 5);
        let failure = judge(End::Exited(75), &said, &Classify::default(), now()).unwrap();
        assert_eq!(failure.message, "slow down (exit status 75)");
        assert_eq!(failure.not_before, Some(now().plus_seconds(90)));
        let at = Said::parse(
            br#"{"retry_after": "2026-02-09T11:00:00Z"}"#,
            &Scrubber::default(),
        )
        .unwrap();
        assert_eq!(
            at.retry_after,
            Some(RetryAfter::At(now().plus_seconds(3600)))
        );
        assert_eq!(
            Said::parse(b"{}", &Scrubber::default()).unwrap(),
            Said::default()
        );
        for bad in [
            &b""[..],
            b"[]",
            b"{\"items_updated\": -1}",
            b"{\"error_code\": \"a b\"}",
            b"{\"error_code\": \"\"}",
            b"{\"retry_after\": \"soon\"}",
            b"\xff",
        ] {
            assert!(
                Said::parse(bad, &Scrubber::default()).is_err(),
                "{}",
                String::from_utf8_lossy(bad)
            );
        }
        let long = format!("{{\"message\": \"{}\"}}", "é".repeat(3000));
        let said = Said::parse(long.as_bytes(), &Scrubber::default()).unwrap();
        assert!(said.message.unwrap().len() <= 2000);
    }

    #[test]
    fn a_missing_credential_is_for_now_unless_the_lists_say_otherwise() {
        let mut rules = Classify::default();
        let failure = without_credential("credential.a has no value", &rules);
        assert!(!failure.permanent && !failure.retry_at_once);
        assert_eq!(failure.code, "CREDENTIAL_MISSING");
        rules.permanent = vec!["CREDENTIAL_MISSING".to_owned()];
        assert!(without_credential("", &rules).permanent);
    }

    #[test]
    fn what_a_stage_says_holds_no_value_wherever_it_is_cut() {
        let name = "a".parse().unwrap();
        let value = "S3CRET_VALUE".into();
        let known = Scrubber::new([(&name, &value)]);
        let long = format!(
            r#"{{"message": "{}S3CRET_VALUE", "error_code": "S3CRET_VALUE"}}"#,
            "x".repeat(2000 - 6)
        );
        let said = Said::parse(long.as_bytes(), &known).unwrap();
        assert!(!said.message.unwrap().contains("S3C"));
        assert_eq!(said.error_code, None);
        let wrong = br#"{"items_updated": "S3CRET_VALUE"}"#;
        assert!(!Said::parse(wrong, &known).unwrap_err().contains("S3C"));
    }
}
