//! systemd over D-Bus, org.freedesktop.systemd1(5): the few calls that are
//! needed, each for many units at once.
//!
//! `ListUnitFiles` and the like take PID 1 quadratic time and are not here:
//! unit files and their links are read from disk.

mod jobs;
mod services;
mod through;
mod timers;

use std::{cell::Cell, path::PathBuf, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::{sync::OnceCell, time};
use zbus::{Connection, Message, ObjectPath, Variant};

use self::jobs::{Inbox, Jobs};
pub use self::timers::TimerFacts;
use crate::{
    effect::{delegate::Delegate, host, process::Stopwatch},
    error::{Code, Error, Result},
    id::Timestamp,
};

/// How long an ordinary call may take.
const CALL: Duration = Duration::from_secs(25);
/// How long a reload may take: it reads every unit of the host anew.
const RELOAD: Duration = Duration::from_secs(180);
/// How long starting or stopping a batch of timers may take.
const JOBS: Duration = Duration::from_secs(180);
/// Names in one `ListUnitsByNames`: after one of 10,000 the next call took 18 s.
const NAMES: usize = 1000;
/// How many `ListUnitsByNames` are asked before the first is answered.
const AHEAD: usize = 4;
/// Jobs that are open at a time. dbus-daemon allows a connection 128 unanswered calls on the system
/// bus, and PID 1, which adds a match rule for each open job, 512 of these: past that, signals
/// that end jobs are lost (measured).
const WINDOW: usize = 100;

/// Who is called: bus name, interface, object.
type Peer = (&'static str, &'static str, &'static str);

const MANAGER: Peer = (
    "org.freedesktop.systemd1",
    "org.freedesktop.systemd1.Manager",
    "/org/freedesktop/systemd1",
);
const PROPERTIES: Peer = (MANAGER.0, "org.freedesktop.DBus.Properties", MANAGER.2);
const BUS: Peer = (
    "org.freedesktop.DBus",
    "org.freedesktop.DBus",
    "/org/freedesktop/DBus",
);

/// Whose manager is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// The system's: PID 1.
    System,
    /// A user's own.
    User {
        /// The user's id.
        uid: u32,
        /// The user's name, for the hint.
        name: String,
    },
}

/// How far a unit is up, as `systemctl is-active` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Active {
    /// It is up.
    Active,
    /// It is not.
    Inactive,
    /// It is not, and its last run failed.
    Failed,
    /// On its way: activating, deactivating, reloading. A oneshot service is activating while it runs.
    Changing,
}

/// What a manager says of one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitState {
    /// The load state when it is anything but `loaded`: `not-found`, `masked`, `bad-setting`, `error`.
    pub not_loaded: Option<String>,
    /// How far it is up.
    pub active: Active,
    /// Whether something of it runs: it is up or on its way, and its process has not exited.
    pub in_flight: bool,
}

/// What became of one unit of a bulk call; the text says why it failed.
pub type UnitResult = std::result::Result<(), String>;

/// A connection to a systemd manager, made at the first call.
#[derive(Debug)]
pub struct Manager {
    whose: Whose,
    /// Who asks in our place, where the bus would not hear us.
    through: Option<Arc<Delegate>>,
    connection: OnceCell<Connection>,
    subscribed: OnceCell<()>,
    calls: Cell<u64>,
}

/// One row of `ListUnitsByNames`.
type Row<'m> = (
    &'m str,
    &'m str,
    &'m str,
    &'m str,
    &'m str,
    &'m str,
    ObjectPath<'m>,
    u32,
    &'m str,
    ObjectPath<'m>,
);

impl Manager {
    /// The manager of the system or of a user. Connects to nothing yet.
    pub fn new(whose: Whose) -> Self {
        Self {
            whose,
            through: None,
            connection: OnceCell::new(),
            subscribed: OnceCell::new(),
            calls: Cell::new(0),
        }
    }

    /// Method calls made so far, that to the bus for a name included.
    pub fn calls(&self) -> u64 {
        self.calls.get()
    }

    /// The state of each unit, in the order asked. Loads a unit that is not loaded. Asks even for no
    /// unit at all, to know whether the manager answers.
    ///
    /// # Errors
    /// As every call here: `BACKEND_UNAVAILABLE` when nothing answers, `USER_MANAGER_MISSING` when
    /// the user has no manager, `NOT_PERMITTED` when the answer is no.
    pub async fn states(&self, names: &[String]) -> Result<Vec<UnitState>> {
        if let Some(through) = &self.through {
            return through::states(through, names).await;
        }
        let mut batches: Vec<&[String]> = names.chunks(NAMES).collect();
        if batches.is_empty() {
            batches.push(&[]);
        }
        // The manager works on the next ones while the answer to one is read.
        let mut answers = stream::iter(batches)
            .map(|batch| self.states_of(batch))
            .buffered(AHEAD);
        let mut states = Vec::with_capacity(names.len());
        while let Some(answer) = answers.next().await {
            states.extend(answer?);
        }
        Ok(states)
    }

    async fn states_of(&self, batch: &[String]) -> Result<Vec<UnitState>> {
        let reply = self.call("ListUnitsByNames", &(batch,), CALL).await?;
        let body = reply.body();
        let rows: Vec<Row<'_>> = body
            .deserialize()
            .map_err(|error| self.explain("ListUnitsByNames", error))?;
        if rows.len() != batch.len() {
            return Err(self.unavailable("its list of units is not the one asked for"));
        }
        Ok(rows
            .iter()
            .map(|row| {
                let active = match row.3 {
                    "active" => Active::Active,
                    "failed" => Active::Failed,
                    "inactive" => Active::Inactive,
                    _changing => Active::Changing,
                };
                UnitState {
                    not_loaded: (row.2 != "loaded").then(|| row.2.to_owned()),
                    active,
                    in_flight: match active {
                        Active::Active | Active::Changing => row.4 != "exited",
                        Active::Inactive | Active::Failed => false,
                    },
                }
            })
            .collect())
    }

    /// When the manager last read the unit files: at its last reload, else at its start. A file that
    /// changed since may be another than what it holds. `None` where it does not say (before v250).
    ///
    /// # Errors
    /// As [`Self::states`].
    pub async fn units_read_at(&self) -> Result<Option<Timestamp>> {
        if let Some(through) = &self.through {
            return through::units_read_at(through).await;
        }
        for property in ["UnitsLoadTimestamp", "UnitsLoadStartTimestamp"] {
            let asked = (MANAGER.1, property);
            let reply = match self.ask(PROPERTIES, "Get", &asked, CALL).await {
                Ok(reply) => reply,
                // It answers, but knows no such property.
                Err(error) if error.code == Code::Io => return Ok(None),
                Err(error) => return Err(error),
            };
            let body = reply.body();
            let value: Variant<'_> = body
                .deserialize()
                .map_err(|error| self.explain(property, error))?;
            let micros = u64::try_from(&value).map_err(|error| self.explain(property, error))?;
            if micros > 0 {
                let millis = i64::try_from(micros / 1000).unwrap_or(i64::MAX);
                return Ok(Some(Timestamp::from_millis(millis)));
            }
        }
        Ok(None)
    }

    /// Makes the manager read all unit files anew.
    ///
    /// # Errors
    /// As [`Self::states`].
    pub async fn reload(&self) -> Result<()> {
        if let Some(through) = &self.through {
            return through::reload(through).await;
        }
        self.call("Reload", &(), RELOAD).await.map(drop)
    }

    /// Starts units side by side, and waits until each is up or refused.
    ///
    /// # Errors
    /// As [`Self::states`], when the manager does not answer; a unit's own failure is in its result.
    pub async fn start(&self, names: &[String]) -> Result<Vec<UnitResult>> {
        if let Some(through) = &self.through {
            return through::start(through, names).await;
        }
        self.jobs("StartUnit", names, JOBS).await
    }

    /// Starts units whose start ends with what they run, and waits for that, at most `patience`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn run(&self, names: &[String], patience: Duration) -> Result<Vec<UnitResult>> {
        if let Some(through) = &self.through {
            return through::run(through, names, patience).await;
        }
        self.jobs("StartUnit", names, patience).await
    }

    /// Stops units side by side, and waits until each is down. One that is not loaded is down.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn stop(&self, names: &[String]) -> Result<Vec<UnitResult>> {
        if let Some(through) = &self.through {
            return through::stop(through, names).await;
        }
        self.jobs("StopUnit", names, JOBS).await
    }

    /// Has active units reload their own configuration, and waits for that.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn reload_units(&self, names: &[String]) -> Result<Vec<UnitResult>> {
        self.jobs("ReloadUnit", names, JOBS).await
    }

    /// Forgets that units have failed, so that a removed one is not kept in memory.
    ///
    /// # Errors
    /// As [`Self::states`].
    pub async fn reset_failed(&self, names: &[String]) -> Result<()> {
        if let Some(through) = &self.through {
            return through::reset_failed(through, names).await;
        }
        for name in names {
            match self.call("ResetFailedUnit", &(name,), CALL).await {
                Err(error) if error.code != Code::Io => return Err(error),
                // Refused for this unit: it is not loaded any more.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Calls a method of the manager.
    async fn call<B>(&self, method: &'static str, body: &B, limit: Duration) -> Result<Message>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        self.ask(MANAGER, method, body, limit).await
    }

    async fn ask<B>(
        &self,
        (destination, interface, path): Peer,
        method: &'static str,
        body: &B,
        limit: Duration,
    ) -> Result<Message>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let connection = self.connection().await?;
        self.calls.set(self.calls.get() + 1);
        let watch = Stopwatch::start();
        let call = connection.call_method(Some(destination), path, Some(interface), method, body);
        let answer = time::timeout(limit, call).await;
        let (answered, ms) = (matches!(answer, Ok(Ok(_))), watch.elapsed_ms());
        tracing::debug!(member = method, answered, ms, "called over D-Bus");
        match answer {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(self.explain(method, error)),
            Err(_) => Err(self.unavailable(&format!(
                "{method} was not answered within {} s",
                limit.as_secs()
            ))),
        }
    }

    async fn connection(&self) -> Result<&Connection> {
        self.connection
            .get_or_try_init(async || {
                let text = format!("unix:path={}", self.socket()?.display());
                let builder = zbus::connection::Builder::address(text.as_str());
                self.calls.set(self.calls.get() + 1);
                match time::timeout(CALL, builder.build()).await {
                    Ok(Ok(connection)) => Ok(connection),
                    Ok(Err(error)) => Err(self.explain("connecting", error)),
                    Err(_) => Err(self.unavailable("its bus does not answer")),
                }
            })
            .await
    }

    /// The bus that the manager is on.
    fn socket(&self) -> Result<PathBuf> {
        match &self.whose {
            Whose::System => {
                if !host::system_manager_runs() {
                    return Err(self.unavailable("this host was not booted with it"));
                }
                let bus = PathBuf::from("/run/dbus/system_bus_socket");
                if host::is_there(&bus) {
                    return Ok(bus);
                }
                Err(self
                    .unavailable("there is no D-Bus system bus")
                    .suggest("Run `systemctl start dbus.service`."))
            }
            Whose::User { uid, .. } => {
                let bus = host::runtime_dir(*uid).join("bus");
                if host::is_there(&bus) {
                    return Ok(bus);
                }
                if host::user_manager_runs(*uid) {
                    return Err(self
                        .unavailable("there is no D-Bus session bus")
                        .suggest("Install the package `dbus-user-session`."));
                }
                Err(self.no_manager())
            }
        }
    }

    /// Asks manager and bus for the signals that end jobs. Once is enough for a connection.
    async fn subscribe(&self) -> Result<()> {
        let (sender, interface, path) = MANAGER;
        let rule = format!(
            "type='signal',sender='{sender}',path='{path}',interface='{interface}',member='JobRemoved'"
        );
        self.subscribed
            .get_or_try_init(async || {
                self.call("Subscribe", &(), CALL).await?;
                self.ask(BUS, "AddMatch", &rule, CALL).await.map(drop)
            })
            .await
            .copied()
    }

    /// Queues one job a unit and waits for all of them.
    ///
    /// Signals are listened to before the first job is queued, so that none is missed.
    async fn jobs(
        &self,
        method: &'static str,
        names: &[String],
        patience: Duration,
    ) -> Result<Vec<UnitResult>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        self.subscribe().await?;
        let connection = self.connection().await?;
        let (destination, interface, path) = MANAGER;
        let mut inbox = Inbox::open(connection);
        let mut jobs = Jobs::new(names.len());
        let deadline = time::Instant::now() + patience;
        let mut queue = names.iter().enumerate();
        let watch = Stopwatch::start();
        loop {
            let room = WINDOW.saturating_sub(jobs.under_way());
            let mut messages = Vec::new();
            for (at, name) in queue.by_ref().take(room) {
                let message = Message::method_call(path, method)
                    .destination(destination)
                    .interface(interface)
                    .build(&(name.as_str(), "replace"))
                    .map_err(|error| self.explain(method, error))?;
                jobs.called(message.primary_header().serial_num(), at);
                messages.push(message);
            }
            self.calls.set(self.calls.get() + messages.len() as u64);
            match time::timeout_at(deadline, connection.send_all(&messages)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(self.explain(method, error)),
                Err(_) => break,
            }
            if jobs.open == 0 {
                break;
            }
            match time::timeout_at(deadline, inbox.next()).await {
                Ok(Some(message)) => jobs.take(&message),
                Ok(None) => return Err(self.unavailable("the connection to it broke off")),
                Err(_) => break,
            }
        }
        let (units, ms) = (names.len(), watch.elapsed_ms());
        tracing::debug!(member = method, units, ms, "called over D-Bus");
        Ok(jobs.results(method, patience))
    }

    fn name(&self) -> String {
        match &self.whose {
            Whose::System => "systemd".to_owned(),
            Whose::User { name, .. } => format!("the systemd manager of {name}"),
        }
    }

    fn unavailable(&self, why: &str) -> Error {
        Error::new(
            Code::BackendUnavailable,
            format!("{} does not answer: {why}", self.name()),
        )
    }

    fn no_manager(&self) -> Error {
        match &self.whose {
            Whose::System => self.unavailable("it is not running"),
            Whose::User { name, .. } => Error::new(
                Code::UserManagerMissing,
                format!("user {name} has no systemd manager running"),
            )
            .suggest(format!("Run `loginctl enable-linger {name}` as root.")),
        }
    }

    /// A bus error as the user meets it. `IO` is the manager's own answer about one unit.
    fn explain(&self, doing: &str, error: zbus::Error) -> Error {
        let denied = || {
            Error::new(
                Code::NotPermitted,
                format!("{} refuses {doing} to this user", self.name()),
            )
        };
        match &error {
            zbus::Error::InputOutput(io) => match io.kind() {
                std::io::ErrorKind::PermissionDenied => denied().because(error),
                _other => match &self.whose {
                    Whose::User { .. } if doing == "connecting" => self.no_manager(),
                    Whose::User { .. } | Whose::System => self.unavailable(doing),
                }
                .because(error),
            },
            zbus::Error::Handshake(_) => denied().because(error),
            zbus::Error::MethodError(name, text, _) => {
                let text = text.clone().unwrap_or_default();
                Error::new(
                    Code::Io,
                    format!("{}: {doing}: {text} ({name})", self.name()),
                )
            }
            zbus::Error::FDO(fdo) => match &**fdo {
                zbus::fdo::Error::UnknownProperty(_) => {
                    Error::new(Code::Io, format!("{} knows no {doing}", self.name()))
                }
                zbus::fdo::Error::AccessDenied(_)
                | zbus::fdo::Error::AuthFailed(_)
                | zbus::fdo::Error::InteractiveAuthorizationRequired(_) => denied().because(error),
                _other => self.unavailable(doing).because(error),
            },
            _other => self.unavailable(doing).because(error),
        }
    }
}
