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

use crate::{error::Error, plan::document::Document, resource::Plan};

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

/// The data of `plan --json`: the same document that `--out` writes bare.
///
/// # Errors
/// When a value of the plan cannot be written as JSON.
pub fn plan(plan: &Plan) -> io::Result<Document<'_>> {
    Document::of(plan)
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
        let value = written(|out| success(out, &plan(&plan_value)?, 7));
        assert_eq!(value["data"]["format_version"], "1.0");
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
