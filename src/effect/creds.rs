//! systemd-creds(1): what is encrypted for this host, and opened on it alone.
//!
//! Which key it takes is its own choice: the host's, and the TPM's where there is one. What is secret
//! goes through pipes; of what the program says nothing is kept, since it may quote what it was given.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use secrecy::{ExposeSecret, SecretSlice};
use tokio::runtime::Builder;

use crate::id::Digest;

use super::process::{self, Answered, End};

/// The program. It came with systemd 250, as the setting of units did that reads what it writes.
pub const PROGRAM: &str = "systemd-creds";

/// Where it is looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long one call may take: a TPM is asked in some tenths of a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why nothing was encrypted or opened. It quotes nothing of what the program said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not there.
    #[error("there is no `{PROGRAM}` on this host")]
    Absent,
    /// It cannot be run.
    #[error("`{PROGRAM}` cannot be run: {0}")]
    Unrunnable(String),
    /// It refused: another host's key, another name, no key at all.
    #[error("`{PROGRAM} {verb}` ended with {status}")]
    Refused {
        /// What it was asked for.
        verb: &'static str,
        /// The status that it ended with.
        status: i32,
    },
}

/// Encrypts a text for this host, under a name without which it is not opened; in base64, as
/// `LoadCredentialEncrypted=` reads it.
///
/// # Errors
/// Why not.
pub fn encrypt(name: &str, clear: &[u8]) -> Result<Vec<u8>, Fault> {
    call("encrypt", name, &[], clear)
}

/// Opens what was encrypted on this host under that name. It costs a process the first time that this
/// one asks for the same, and nothing after that.
///
/// # Errors
/// Why not.
pub fn decrypt(name: &str, sealed: &[u8]) -> Result<SecretSlice<u8>, Fault> {
    static OPENED: Mutex<BTreeMap<(String, Digest), SecretSlice<u8>>> = Mutex::new(BTreeMap::new());
    let key = (name.to_owned(), Digest::of(sealed));
    let known = |opened: &BTreeMap<_, SecretSlice<u8>>| {
        let clear = opened.get(&key)?.expose_secret();
        Some(clear.to_vec().into())
    };
    if let Some(clear) = known(&OPENED.lock().unwrap_or_else(PoisonError::into_inner)) {
        return Ok(clear);
    }
    let clear: SecretSlice<u8> = call("decrypt", name, &["--newline=no"], sealed)?.into();
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    opened.insert(key.clone(), clear.expose_secret().to_vec().into());
    Ok(clear)
}

fn call(verb: &'static str, name: &str, more: &[&str], input: &[u8]) -> Result<Vec<u8>, Fault> {
    let name = format!("--name={name}");
    let words = [PROGRAM, verb, &name].into_iter();
    let words = words.chain(more.iter().copied()).chain(["-", "-"]);
    let argv: Vec<OsString> = words.map(OsString::from).collect();
    let answered = converse(&argv, input).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Fault::Absent,
        _other => Fault::Unrunnable(error.to_string()),
    })?;
    match answered.end {
        End::Exited(0) => Ok(answered.output),
        End::Exited(status) => Err(Fault::Refused { verb, status }),
        End::Killed(signal) => Err(Fault::Unrunnable(format!("signal {signal} ended it"))),
        End::TimedOut | End::Stopped => Err(Fault::Unrunnable(format!(
            "it did not end within {} s",
            PATIENCE.as_secs()
        ))),
    }
}

/// Waits for the answer on a thread of its own: who opens a file waits for it as for any file, within a
/// runtime or without one.
fn converse(argv: &[OsString], input: &[u8]) -> io::Result<Answered> {
    let env = [("PATH", OsString::from(PATH))];
    thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(process::converse(argv, &env, input, PATIENCE))
        });
        let answered = asked.join();
        answered.unwrap_or_else(|_| Err(io::Error::other("its thread has ended")))
    })
}
