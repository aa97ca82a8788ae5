//! Where values come from: looking at what is there, and running what makes one.

use std::{path::Path, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    effect::{
        disk::{Disk, EntryKind},
        environment,
        process::{self, Command, End, Limits},
        user::Account,
    },
    error::{Code, Error, Result},
    id::Timestamp,
    layout::Layout,
    service::definition::PATH,
};

use super::{
    definition::{Credential, Source},
    value::{self, LONGEST, Malformed},
};

/// How long a command has from SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// Where systemd keeps credentials that it passes on to services (systemd.exec(5)).
const CREDSTORES: [&str; 3] = ["/etc/credstore", "/run/credstore", "/usr/lib/credstore"];

/// What a source holds, as far as that can be told without running anything.
pub enum Look {
    /// A value.
    Value(SecretString),
    /// Nothing, or nothing that is a value: why.
    Nothing(Error),
    /// It is only known when it is asked.
    Unasked,
}

/// A value that was asked for.
pub struct Obtained {
    /// The value.
    pub value: SecretString,
    /// When it ends, where whoever gave it said so.
    pub expires_at: Option<Timestamp>,
}

fn missing(credential: &Credential, why: &str, help: String) -> Error {
    let message = format!("{} {why}", credential.source.told());
    Error::new(Code::CredentialMissing, message).suggest(help)
}

fn malformed(credential: &Credential, why: Malformed) -> Error {
    let told = credential.source.told();
    let (message, help) = match &credential.source {
        Source::Command { .. } => (
            format!("what {told} printed cannot be used: {why}"),
            "it is to print the token and nothing else, or an `ExecCredential`; run it by hand and look"
                .to_owned(),
        ),
        Source::Env(name) => (
            format!("what {told} holds cannot be used: {why}"),
            format!("set {name} to the token alone, as its issuer gave it"),
        ),
        Source::File(_) | Source::Systemd(_) | Source::Minted => (
            format!("what {told} holds cannot be used: {why}"),
            "put the token there, alone and as its issuer gave it".to_owned(),
        ),
    };
    Error::new(Code::TokenInvalid, message).suggest(help)
}

fn checked(credential: &Credential, bytes: Vec<u8>) -> Look {
    match value::from_bytes(bytes) {
        Ok(value) => Look::Value(value),
        Err(why) => Look::Nothing(malformed(credential, why)),
    }
}

/// Looks at a source, and runs nothing.
pub fn look(disk: &dyn Disk, credential: &Credential) -> Look {
    match &credential.source {
        Source::Env(name) => match environment::variable(name) {
            Some(text) => checked(credential, std::os::unix::ffi::OsStringExt::into_vec(text)),
            None => Look::Nothing(missing(
                credential,
                "is not set, or empty",
                format!("set {name} for `lorectl apply`"),
            )),
        },
        Source::File(path) => file(disk, credential, path, false),
        Source::Systemd(name) => systemd(disk, credential, name),
        Source::Command { .. } | Source::Minted => Look::Unasked,
    }
}

/// Whether there is something all the same where a look found no value, for which `error` is the reason:
/// a file, or a text that is none.
pub fn holds_something(disk: &dyn Disk, credential: &Credential, error: &Error) -> bool {
    match &credential.source {
        Source::File(path) => !matches!(disk.stat(path), Ok(None)),
        Source::Env(_) | Source::Systemd(_) | Source::Command { .. } | Source::Minted => {
            error.code == Code::TokenInvalid
        }
    }
}

/// Who else could have written a program, if someone could: it is run with the rights of who applies.
pub(super) fn foreign_program(disk: &dyn Disk, program: &Path) -> Option<String> {
    let resolved = disk.resolve(program).ok()??;
    let stat = disk.stat(&resolved).ok()??;
    if stat.owner.uid != 0 && stat.owner.uid != disk.identity().uid {
        return Some(format!("belongs to uid {}", stat.owner.uid));
    }
    (stat.mode & 0o002 != 0).then(|| "can be written by anyone".to_owned())
}

/// What a file holds that nobody else may read. In a directory of systemd's it may be more open, and
/// its mode is systemd's affair.
fn file(disk: &dyn Disk, credential: &Credential, path: &Path, trusted: bool) -> Look {
    let shown = path.display();
    let failed = |error| Look::Nothing(Error::io("read", path, error));
    let limit = LONGEST as u64 + 2;
    let read = match disk.read(path, limit) {
        Ok(Some(read)) => Ok(Some(read)),
        // Secrets are often mounted behind a link.
        Ok(None) | Err(_) => match disk.resolve(path) {
            Ok(Some(resolved)) => disk.read(&resolved, limit),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        },
    };
    let read = match read {
        Ok(Some(read)) => read,
        Ok(None) => {
            let help = format!("put the token into {shown}, readable to nobody else");
            return Look::Nothing(missing(credential, "is not there", help));
        }
        Err(_) if matches!(disk.resolve(path).map(|real| real.map(|real| disk.stat(&real))), Ok(Some(Ok(Some(stat)))) if stat.size > limit) =>
        {
            return Look::Nothing(malformed(credential, Malformed::Long));
        }
        Err(error) => return failed(error),
    };
    tracing::trace!(path = %shown, "read a secret's file");
    let own = disk.identity().uid;
    if !trusted && read.mode & 0o007 != 0 {
        let help = format!("`chmod 600 {shown}`, and have the issuer make another token");
        let why = format!("can be read by everyone ({:04o})", read.mode);
        return Look::Nothing(missing(credential, &why, help));
    }
    if ![0, own].contains(&read.owner.uid) {
        let help = format!("look at it, then `chown {own} {shown}`");
        let why = format!("belongs to user id {}", read.owner.uid);
        return Look::Nothing(missing(credential, &why, help));
    }
    checked(credential, read.bytes)
}

fn systemd(disk: &dyn Disk, credential: &Credential, name: &str) -> Look {
    let passed = environment::variable("CREDENTIALS_DIRECTORY");
    let dirs = passed.iter().map(Path::new);
    for dir in dirs.chain(CREDSTORES.map(Path::new)) {
        let path = dir.join(name);
        if matches!(disk.stat(&path), Ok(Some(stat)) if stat.kind == EntryKind::File) {
            return file(disk, credential, &path, passed.is_some());
        }
    }
    let help = format!(
        "put it into {}/{name}, or pass it to the unit that applies with `LoadCredential={name}`",
        CREDSTORES[0]
    );
    Look::Nothing(missing(credential, "is not there", help))
}

/// Has a source give a value. Only an apply may do this.
///
/// # Errors
/// Why it gives none. No error holds what a command has written.
pub async fn obtain(
    disk: &dyn Disk,
    layout: &Layout,
    account: &Account,
    credential: &Credential,
) -> Result<Obtained> {
    let Source::Command { argv, timeout, dir } = &credential.source else {
        return match look(disk, credential) {
            Look::Value(value) => Ok(Obtained {
                value,
                expires_at: None,
            }),
            Look::Nothing(error) => Err(error),
            Look::Unasked => Err(Error::new(Code::Internal, "a source that nobody can ask")),
        };
    };
    let failed =
        |code, what: String| Error::new(code, format!("{} {what}", credential.source.told()));
    let program = argv.first().map_or(Path::new("/"), Path::new);
    if let Some(why) = foreign_program(disk, program) {
        let error = failed(
            Code::Conflict,
            format!("is not run: {} {why}", program.display()),
        );
        return Err(error
            .suggest("let it belong to root, or to who applies, and be written by nobody else"));
    }
    process::adopt_orphans()
        .map_err(|error| failed(Code::Io, "cannot be run".to_owned()).because(error))?;
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let env = [
        variable("PATH", &PATH.join(":")),
        variable("HOME", &account.home.display().to_string()),
        variable("USER", &account.name),
        variable("LANG", "C.UTF-8"),
        variable("LORECTL_PROJECT", layout.project().as_str()),
        variable("LORECTL_CREDENTIAL", credential.name.as_str()),
    ];
    let command = Command {
        argv,
        env: &env,
        dir,
        input: &[],
    };
    let limits = Limits {
        timeout: Duration::from_secs(timeout.0),
        grace: GRACE,
    };
    // An object around a token may be a little longer.
    let ran = process::capture(&command, limits, LONGEST * 2).await;
    let ran = ran.map_err(|error| {
        failed(Code::CredentialMissing, "cannot be run".to_owned())
            .because(error)
            .suggest("look whether it is there and can be executed")
    })?;
    let by_hand = "run it by hand as the user who applies; what it writes to standard error is not kept, since it may hold the secret";
    match ran.end {
        End::Exited(0) => {}
        End::Exited(status) => {
            let what = format!("ended with {status}");
            return Err(failed(Code::CredentialMissing, what).suggest(by_hand));
        }
        End::Killed(signal) => {
            let what = format!("was ended by signal {signal}");
            return Err(failed(Code::CredentialMissing, what).suggest(by_hand));
        }
        End::TimedOut => {
            let what = format!("took longer than {timeout} and was ended");
            return Err(failed(Code::CredentialMissing, what)
                .suggest("raise `timeout` of the source, or find out what it waits for"));
        }
        End::Stopped => {
            let what = "wrote more than 128 KiB and was ended".to_owned();
            return Err(failed(Code::TokenInvalid, what)
                .suggest("it is to print the token and nothing else"));
        }
    }
    read(ran.output.expose_secret()).map_err(|why| match why {
        Unread::Malformed(why) => malformed(credential, why),
        Unread::Object(why) => failed(Code::TokenInvalid, why.to_owned()).suggest(
            "it is to print the token, or an `ExecCredential` with `status.token` and `status.expirationTimestamp`",
        ),
    })
}

enum Unread {
    Malformed(Malformed),
    Object(&'static str),
}

/// What a command has printed: the value, or an object as Kubernetes' exec plugins print it
/// (client.authentication.k8s.io/v1, `ExecCredential`).
fn read(output: &[u8]) -> Result<Obtained, Unread> {
    #[derive(Deserialize)]
    struct Exec {
        status: Given,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Given {
        token: Option<Value>,
        expiration_timestamp: Option<Value>,
    }
    if !output.trim_ascii_start().starts_with(b"{") {
        let value = value::from_bytes(output.to_vec()).map_err(Unread::Malformed)?;
        return Ok(Obtained {
            value,
            expires_at: None,
        });
    }
    // What serde says may quote it.
    let Exec { status } = serde_json::from_slice(output).map_err(|_| {
        Unread::Object("printed what begins as an object, and is no JSON with a `status`")
    })?;
    let Some(Value::String(token)) = status.token else {
        return Err(Unread::Object("printed an object without `status.token`"));
    };
    let value = value::from_bytes(token.into_bytes()).map_err(Unread::Malformed)?;
    let expires_at = match status.expiration_timestamp {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => text.parse().ok().map(Some).ok_or(UNREADABLE_END)?,
        Some(_) => return Err(UNREADABLE_END),
    };
    Ok(Obtained { value, expires_at })
}

const UNREADABLE_END: Unread =
    Unread::Object("printed a `status.expirationTimestamp` that is no RFC 3339 instant");

#[cfg(test)]
mod tests {
    use super::*;

    fn told(output: &[u8]) -> Result<(String, Option<String>), String> {
        match read(output) {
            Ok(obtained) => Ok((
                obtained.value.expose_secret().to_owned(),
                obtained.expires_at.map(|at| at.to_string()),
            )),
            Err(Unread::Malformed(why)) => Err(why.to_string()),
            Err(Unread::Object(why)) => Err(why.to_owned()),
        }
    }

    #[test]
    fn a_command_prints_a_token_or_an_exec_credential() {
        assert_eq!(told(b"abc\n"), Ok(("abc".to_owned(), None)));
        let exec = br#"{"kind":"ExecCredential","status":{"token":"abc","expirationTimestamp":"2026-03-01T00:00:00Z"}}"#;
        let expected = ("abc".to_owned(), Some("2026-03-01T00:00:00Z".to_owned()));
        assert_eq!(told(exec), Ok(expected));
        for (output, part) in [
            (&b""[..], "empty"),
            (b"a\nb\n", "line feed"),
            (b"{\"status\":{}}", "without `status.token`"),
            (b"{\"status\":{\"token\":7}}", "without `status.token`"),
            (b"{\"status\":{\"token\":\"\"}}", "empty"),
            (b"{\"secret\":1}", "no JSON with a `status`"),
            (b"{", "no JSON with a `status`"),
            (
                br#"{"status":{"token":"abc","expirationTimestamp":1893456000}}"#,
                "RFC 3339",
            ),
            (
                br#"{"status":{"token":"abc","expirationTimestamp":""}}"#,
                "RFC 3339",
            ),
            (
                br#"{"status":{"token":"abc","expirationTimestamp":"soon"}}"#,
                "RFC 3339",
            ),
        ] {
            let error = told(output).unwrap_err();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("abc"));
        }
    }
}
