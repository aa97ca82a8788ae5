//! What goes over the sockets: frames of a length (four bytes, big-endian) and JSON.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    effect::{
        dbus::{Active, UnitState},
        disk::EntryKind,
        process::{End, MOST_SAID, Said},
    },
    error::{Code, Error},
    resource::Owner,
};

/// The largest frame, in bytes: a unit of the largest size that is read, as JSON at its worst.
const MOST: usize = 32 << 20;

/// The most of a text of another user's that is passed on, in characters.
const MOST_TEXT: usize = 1000;

/// A value as a frame.
pub(super) fn pack<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, value)?;
    let length = frame.len() - 4;
    let too_large = || io::Error::other("it is too large to be handed to another process");
    if length > MOST {
        return Err(too_large());
    }
    let length = u32::try_from(length).map_err(|_| too_large())?;
    for (byte, of_length) in frame.iter_mut().zip(length.to_be_bytes()) {
        *byte = of_length;
    }
    Ok(frame)
}

/// The length of a frame, where it may be so long.
pub(super) fn length(told: u32) -> io::Result<usize> {
    let length = usize::try_from(told).unwrap_or(usize::MAX);
    if length > MOST {
        return Err(too_much());
    }
    Ok(length)
}

/// That an answer is larger than any may be.
pub(super) fn too_much() -> io::Error {
    io::Error::other("it says more than it may")
}

/// The value of a frame.
pub(super) fn unpack<T: DeserializeOwned>(frame: &[u8]) -> io::Result<T> {
    serde_json::from_slice(frame).map_err(|_| io::Error::other("what it says cannot be read"))
}

/// A text of another user's, on one line and not too long.
pub(in super::super) fn capped(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(MOST_TEXT).map(shown).collect()
}

/// Bytes that are mostly text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Bytes {
    Text(String),
    Hex(String),
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        use std::fmt::Write as _;
        if let Ok(text) = std::str::from_utf8(bytes) {
            return Self::Text(text.to_owned());
        }
        let mut hex = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            // A string takes all that is written to it.
            let _ = write!(hex, "{byte:02x}");
        }
        Self::Hex(hex)
    }
}

impl From<&Path> for Bytes {
    fn from(path: &Path) -> Self {
        path.as_os_str().as_bytes().into()
    }
}

impl From<&OsStr> for Bytes {
    fn from(text: &OsStr) -> Self {
        text.as_bytes().into()
    }
}

impl Bytes {
    pub(super) fn into_vec(self) -> io::Result<Vec<u8>> {
        let hex = match self {
            Self::Text(text) => return Ok(text.into_bytes()),
            Self::Hex(hex) => hex,
        };
        let pairs = hex.as_bytes().chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).ok().filter(|p| p.len() == 2)?;
            u8::from_str_radix(pair, 16).ok()
        });
        let bytes: Option<Vec<u8>> = pairs.collect();
        bytes.ok_or_else(|| io::Error::other("what it says cannot be read"))
    }

    pub(super) fn into_os(self) -> io::Result<OsString> {
        Ok(OsString::from_vec(self.into_vec()?))
    }

    pub(super) fn into_path(self) -> io::Result<PathBuf> {
        Ok(self.into_os()?.into())
    }
}

/// What the process says first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Hello {
    /// It is that user's.
    Ready { uid: u32 },
    /// It could not become the user's.
    Failed(String),
}

/// Something to be done to files: the calls of [`crate::effect::disk::Disk`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FileAsk {
    Read {
        path: Bytes,
        limit: u64,
    },
    Stat {
        path: Bytes,
    },
    Write {
        path: Bytes,
        bytes: Bytes,
        mode: u32,
        owner: Option<Owner>,
        synced: bool,
    },
    Append {
        path: Bytes,
        bytes: Bytes,
        mode: u32,
        synced: bool,
    },
    MakeDir {
        path: Bytes,
        mode: u32,
        owner: Option<Owner>,
    },
    List {
        path: Bytes,
        behind_links: bool,
    },
    Link {
        target: Bytes,
        path: Bytes,
    },
    ReadLink {
        path: Bytes,
    },
    Resolve {
        path: Bytes,
    },
    Remove {
        path: Bytes,
    },
    RemoveDir {
        path: Bytes,
    },
    RemoveTree {
        path: Bytes,
    },
    SyncFs {
        path: Bytes,
    },
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FileAnswer {
    Done,
    Was(bool),
    Absent,
    File {
        bytes: Bytes,
        mode: u32,
        owner: Owner,
        /// Milliseconds since 1970.
        modified: i64,
    },
    Stat {
        kind: EntryKind,
        mode: u32,
        owner: Owner,
        /// Milliseconds since 1970.
        modified: i64,
        size: u64,
    },
    Entries(Vec<(String, EntryKind)>),
    Path(Bytes),
    Failed {
        /// errno(3), where the system said no.
        number: Option<i32>,
        text: String,
    },
}

impl From<&io::Error> for FileAnswer {
    fn from(error: &io::Error) -> Self {
        Self::Failed {
            number: error.raw_os_error(),
            text: error.to_string(),
        }
    }
}

/// Something to be asked of the user's manager: the calls of [`crate::effect::dbus::Manager`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum BusAsk {
    States {
        names: Vec<String>,
    },
    UnitsReadAt,
    ExitStatus {
        service: String,
    },
    Reload,
    Start {
        names: Vec<String>,
    },
    Run {
        names: Vec<String>,
        patience_ms: u64,
    },
    Stop {
        names: Vec<String>,
    },
    ResetFailed {
        names: Vec<String>,
    },
    /// No call of the manager, but a command to be run.
    Listen {
        argv: Vec<Bytes>,
        env: Vec<(String, Bytes)>,
        patience_ms: u64,
    },
}

impl BusAsk {
    pub(super) fn listen(argv: &[OsString], env: &[(&str, OsString)], patience: Duration) -> Self {
        let pair =
            |(name, value): &(&str, OsString)| ((*name).to_owned(), Bytes::from(value.as_os_str()));
        Self::Listen {
            argv: argv.iter().map(|word| word.as_os_str().into()).collect(),
            env: env.iter().map(pair).collect(),
            patience_ms: milliseconds(patience),
        }
    }
}

/// A duration as it is sent.
pub(in super::super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What the manager answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum BusAnswer {
    Done,
    States(Vec<WireState>),
    /// Milliseconds since 1970.
    ReadAt(Option<i64>),
    ExitStatus(Option<i32>),
    /// One a unit; the text says why it failed.
    Results(Vec<Option<String>>),
    Said(WireSaid),
    Failed(Fault),
}

/// The state of a unit.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct WireState {
    not_loaded: Option<String>,
    active: Active,
    in_flight: bool,
}

impl From<UnitState> for WireState {
    fn from(state: UnitState) -> Self {
        Self {
            not_loaded: state.not_loaded,
            active: state.active,
            in_flight: state.in_flight,
        }
    }
}

impl WireState {
    pub(in super::super) fn into_state(self) -> UnitState {
        UnitState {
            not_loaded: self.not_loaded.as_deref().map(capped),
            active: self.active,
            in_flight: self.in_flight,
        }
    }
}

/// How a command ended, and what it said.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum WireSaid {
    Exited {
        status: i32,
        text: Bytes,
    },
    Killed(i32),
    TimedOut,
    /// There is no such program.
    NotFound,
}

impl From<Said> for WireSaid {
    fn from(said: Said) -> Self {
        match said.end {
            End::Exited(status) => Self::Exited {
                status,
                text: said.error_text.as_bytes().into(),
            },
            End::Killed(signal) => Self::Killed(signal),
            End::TimedOut | End::Stopped => Self::TimedOut,
        }
    }
}

impl WireSaid {
    pub(super) fn into_said(self) -> io::Result<Said> {
        let (end, text) = match self {
            Self::Exited { status, text } => (End::Exited(status), text.into_vec()?),
            Self::Killed(signal) => (End::Killed(signal), Vec::new()),
            Self::TimedOut => (End::TimedOut, Vec::new()),
            Self::NotFound => return Err(io::ErrorKind::NotFound.into()),
        };
        let most = usize::try_from(MOST_SAID).unwrap_or(usize::MAX);
        let kept = text.get(..text.len().min(most)).unwrap_or_default();
        Ok(Said {
            end,
            error_text: String::from_utf8_lossy(kept).into_owned(),
        })
    }
}

/// Why a manager could not be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Fault {
    /// The user has no manager.
    NoManager(String),
    /// It refuses.
    Denied(String),
    /// It answered, with an error of one unit.
    Answered(String),
    /// It does not answer.
    Silent(String),
}

impl From<&Error> for Fault {
    fn from(error: &Error) -> Self {
        let text = error.chain();
        match error.code {
            Code::UserManagerMissing => Self::NoManager(text),
            Code::NotPermitted => Self::Denied(text),
            Code::Io => Self::Answered(text),
            _other => Self::Silent(text),
        }
    }
}

impl Fault {
    pub(super) fn text(&self) -> String {
        match self {
            Self::NoManager(text)
            | Self::Denied(text)
            | Self::Answered(text)
            | Self::Silent(text) => capped(text),
        }
    }

    /// The error of a manager of `user`.
    pub(in super::super) fn into_error(self, user: &str) -> Error {
        let text = self.text();
        match self {
            Self::NoManager(_) => Error::new(Code::UserManagerMissing, text)
                .suggest(format!("Run `loginctl enable-linger {user}` as root.")),
            Self::Denied(_) => Error::new(Code::NotPermitted, text),
            Self::Answered(_) => Error::new(Code::Io, text),
            Self::Silent(_) => Error::new(Code::BackendUnavailable, text),
        }
    }
}
