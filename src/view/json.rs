//! JSON for programs: one envelope on standard output, and events as lines before it.
//!
//! What is written is streamed from what it is about; no tree of values is built.

mod apply;
mod event;
mod lists;
#[cfg(test)]
mod schemas;

use std::io;

use schemars::JsonSchema;
use serde::Serialize;

pub use apply::ApplyData;
pub use event::{EventLine, write_event};
pub use lists::{DriftData, StrayData};
pub(super) use lists::{drifts, strays};

use crate::{apply::events::Report, error::Error, plan::document::Document, resource::Plan};

/// What stands beside data and errors.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct Meta {
    /// How long the command took, in milliseconds.
    pub elapsed_ms: u64,
}

/// The envelope of a success.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "The envelope of a command that succeeded")]
pub struct Success<'a, T: ?Sized> {
    /// Always true.
    ok: bool,
    /// What the command has to say; its schema is the command's own.
    data: &'a T,
    /// What stands beside it.
    meta: Meta,
}

/// The envelope of a failure.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "The envelope of a command that failed")]
pub struct Failure<'a, T: ?Sized> {
    /// Always false.
    ok: bool,
    /// What went wrong.
    error: ErrorData<'a>,
    /// What is known all the same: the report of an apply that failed, a plan that was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a T>,
    /// What stands beside it.
    meta: Meta,
}

/// An error.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub struct ErrorData<'a> {
    /// The code; `lorectl explain CODE` says what it means.
    code: &'static str,
    /// What happened, with its causes.
    message: String,
    /// What helps.
    suggestion: Option<&'a str>,
    /// The commands that the suggestion names.
    actions: Vec<&'a str>,
    /// Each finding on its own, where there are several.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    #[schemars(with = "Option<Vec<String>>")]
    details: &'a [String],
}

impl<'a> ErrorData<'a> {
    fn of(error: &'a Error) -> Self {
        let suggestion = error.suggestion.as_deref();
        Self {
            code: error.code.as_str(),
            message: error.chain(),
            suggestion,
            actions: suggestion.map(commands).unwrap_or_default(),
            details: &error.details,
        }
    }
}

/// The commands in a sentence: what stands in backticks and begins with a program that a suggestion would name.
fn commands(sentence: &str) -> Vec<&str> {
    const PROGRAMS: [&str; 10] = [
        "lorectl",
        "loginctl",
        "systemctl",
        "journalctl",
        "sudo",
        "install",
        "chmod",
        "chown",
        "mv",
        "rm",
    ];
    // Every second part stands between two backticks; one that is not closed is none.
    let parts: Vec<&str> = sentence.split('`').collect();
    let quoted = parts.iter().take(parts.len() - 1).skip(1).step_by(2);
    quoted
        .copied()
        .filter(|text| {
            let program = text.split(' ').next().unwrap_or_default();
            PROGRAMS.contains(&program) && *text != program
        })
        .collect()
}

/// Writes one line of JSON, and flushes, so that a reader sees it when it happens.
///
/// # Errors
/// What the writer says.
pub fn line<T: Serialize + ?Sized>(out: &mut dyn io::Write, value: &T) -> io::Result<()> {
    write_line(out, value)?;
    out.flush()
}

fn write_line<T: Serialize + ?Sized>(out: &mut dyn io::Write, value: &T) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Writes the envelope of a success.
///
/// # Errors
/// What the writer says.
pub fn success<T: Serialize + ?Sized>(
    out: &mut dyn io::Write,
    data: &T,
    elapsed_ms: u64,
) -> io::Result<()> {
    let meta = Meta { elapsed_ms };
    write_line(
        out,
        &Success {
            ok: true,
            data,
            meta,
        },
    )
}

/// Writes the envelope of a success whose data is JSON text already.
///
/// # Errors
/// What the writer says.
pub fn success_with(out: &mut dyn io::Write, data: &[u8], elapsed_ms: u64) -> io::Result<()> {
    let meta = Meta { elapsed_ms };
    // One line, as every document: no string of JSON holds a line feed as it is.
    let data: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    out.write_all(b"{\"ok\":true,\"data\":")?;
    for line in data {
        out.write_all(line)?;
    }
    out.write_all(b",\"meta\":")?;
    serde_json::to_writer(&mut *out, &meta)?;
    out.write_all(b"}\n")
}

/// Writes the envelope of a failure.
///
/// # Errors
/// What the writer says.
pub fn failure(out: &mut dyn io::Write, error: &Error, elapsed_ms: u64) -> io::Result<()> {
    failure_with::<()>(out, error, None, elapsed_ms)
}

/// Writes the envelope of a failure, with what is known all the same.
///
/// # Errors
/// What the writer says.
pub fn failure_with<T: Serialize + ?Sized>(
    out: &mut dyn io::Write,
    error: &Error,
    data: Option<&T>,
    elapsed_ms: u64,
) -> io::Result<()> {
    let meta = Meta { elapsed_ms };
    let error = ErrorData::of(error);
    write_line(
        out,
        &Failure {
            ok: false,
            error,
            data,
            meta,
        },
    )
}

/// Writes the envelope of a plan: its data is the document that `--out` writes bare.
///
/// A plan that is refused is a failure, with its first refusal as the error and the document beside it.
///
/// # Errors
/// What the writer says.
pub fn plan(plan: &Plan, elapsed_ms: u64, out: &mut dyn io::Write) -> io::Result<()> {
    match refused(plan) {
        None => success(out, &Document::of(plan)?, elapsed_ms),
        Some(error) => plan_that_failed(plan, &error, elapsed_ms, out),
    }
}

/// Writes the envelope of a failure with the plan that it is about beside it.
///
/// # Errors
/// What the writer says.
pub fn plan_that_failed(
    plan: &Plan,
    error: &Error,
    elapsed_ms: u64,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    failure_with(out, error, Some(&Document::of(plan)?), elapsed_ms)
}

/// The refusals of a plan as an error, the first one's code first; `None` when it may be applied.
pub fn refused(plan: &Plan) -> Option<Error> {
    let first = plan.refusals.first()?;
    let mut error = Error::new(first.code, first.message.clone());
    error.suggestion.clone_from(&first.suggestion);
    if plan.refusals.len() > 1 {
        let details = plan.refusals.iter().map(|refusal| match &refusal.address {
            Some(address) if !refusal.message.starts_with(&address.to_string()) => {
                format!("{}: {address}: {}", refusal.code, refusal.message)
            }
            Some(_) | None => format!("{}: {}", refusal.code, refusal.message),
        });
        error = error.with_details(details.collect());
    }
    Some(error)
}

/// Writes the envelope of an apply.
///
/// `ended` is the error that the command ends with, whatever it is ([`super::apply::failure`] for
/// one that failed; holds that left nothing to do); the report is there all the same.
///
/// # Errors
/// What the writer says.
pub fn applied(
    plan: &Plan,
    report: &Report,
    ended: Option<&Error>,
    elapsed_ms: u64,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let data = ApplyData::of(plan, report);
    match ended {
        None => success(out, &data, elapsed_ms),
        Some(error) => failure_with(out, error, Some(&data), elapsed_ms),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{error::Code, view::fixture};

    fn written(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Value {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        assert_eq!(std::str::from_utf8(&out).unwrap().lines().count(), 1);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_success_is_ok_data_and_meta() {
        let value = written(|out| success(out, &[1, 2], 7));
        assert_eq!(
            value,
            json!({"ok": true, "data": [1, 2], "meta": {"elapsed_ms": 7}})
        );
        let plan_value = fixture::plan();
        let value = written(|out| plan(&plan_value, 7, out));
        assert_eq!(value["ok"], true);
        assert_eq!(value["data"]["format_version"], "1.0");
    }

    #[test]
    fn a_refused_plan_is_a_failure_that_shows_the_plan() {
        let value = written(|out| plan(&fixture::refused_plan(), 7, out));
        assert_eq!(value["ok"], false);
        assert_eq!(value["error"]["code"], "MASS_DELETION");
        assert_eq!(
            value["error"]["details"][1],
            "PROTECTED: service.job02: it was applied with `protect = true`"
        );
        assert_eq!(value["data"]["refusals"][0]["code"], "MASS_DELETION");
    }

    #[test]
    fn a_failed_apply_is_an_error_and_its_report() {
        let (plan, report) = (fixture::plan(), fixture::failed_report());
        let error = crate::view::apply::failure(&report).unwrap();
        let value = written(|out| applied(&plan, &report, Some(&error), 7, out));
        assert_eq!(value["error"]["code"], "UNDO_FAILED");
        assert_eq!(value["error"]["actions"], json!(["lorectl plan"]));
        assert_eq!(
            value["data"]["applied"][0],
            json!({"address": "service.a", "actions": ["create"]})
        );
        assert_eq!(value["data"]["not_undone"][0]["address"], "service.b");
        assert_eq!(value["data"]["holds"][0]["address"], "service.mirror");
        let done = Report::default();
        assert!(crate::view::apply::failure(&done).is_none());
        assert_eq!(
            written(|out| applied(&plan, &done, None, 7, out))["ok"],
            true
        );
    }

    #[test]
    fn a_failure_is_an_error_with_its_causes_and_commands() {
        let error = Error::new(Code::UserManagerMissing, "user `git` has no manager")
            .because(io::Error::other("no such file"))
            .suggest("run `loginctl enable-linger git` as root, or say `scheduler = \"worker\"`; `lorectl` helps");
        assert_eq!(
            written(|out| failure(out, &error, 3)),
            json!({
                "ok": false,
                "error": {
                    "code": "USER_MANAGER_MISSING",
                    "message": "user `git` has no manager: no such file",
                    "suggestion": error.suggestion,
                    "actions": ["loginctl enable-linger git"],
                },
                "meta": {"elapsed_ms": 3},
            })
        );
        let error = Error::new(Code::SpecInvalid, "2 errors").with_details(vec!["a\nb".to_owned()]);
        let value = written(|out| failure_with(out, &error, Some(&[1]), 3));
        assert_eq!(value["error"]["details"], json!(["a\nb"]));
        assert_eq!(value["error"]["suggestion"], Value::Null);
        assert_eq!(value["error"]["actions"], json!([]));
        assert_eq!(value["data"], json!([1]));
    }

    #[test]
    fn backticks_that_do_not_close_name_no_command() {
        assert_eq!(
            commands("a `lorectl plan` b `lorectl apply"),
            ["lorectl plan"]
        );
        assert_eq!(commands("`"), [""; 0]);
        assert_eq!(commands(""), [""; 0]);
    }
}
