//! What a manager knows of its timers.

use std::collections::HashMap;

use zbus::{OwnedObjectPath, OwnedVariant};

use super::{CALL, MANAGER, Manager, PROPERTIES};
use crate::error::Result;

/// A timer that the manager has loaded, systemd.timer(5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimerFacts {
    /// Its name.
    pub unit: String,
    /// What it says of itself.
    pub description: String,
    /// What it starts.
    pub starts: String,
    /// Where its file is; empty for one without.
    pub fragment: String,
    /// Whether it is up.
    pub is_active: bool,
    /// Whether it is enabled, as `systemctl is-enabled` says it.
    pub file_state: String,
    /// Its calendar events, normalised.
    pub calendar: Vec<String>,
    /// Its other triggers by name, and after how many microseconds.
    pub monotonic: Vec<(String, u64)>,
    /// `Persistent=`.
    pub is_persistent: bool,
    /// `RandomizedDelaySec=`, in microseconds.
    pub delay_us: u64,
    /// `WakeSystem=`.
    pub wakes: bool,
}

/// One row of `ListUnitsByPatterns`, of which name and path are read.
type Row = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

/// The properties of one interface.
pub(super) type Properties = HashMap<String, OwnedVariant>;

pub(super) fn take<T: TryFrom<OwnedVariant>>(properties: &mut Properties, name: &str) -> Option<T> {
    T::try_from(properties.remove(name)?).ok()
}

impl Manager {
    /// Every timer that is loaded, by name.
    ///
    /// # Errors
    /// As [`Self::states`].
    pub async fn timers(&self) -> Result<Vec<TimerFacts>> {
        let states: [&str; 0] = [];
        let asked = (states.as_slice(), ["*.timer"].as_slice());
        let reply = self.call("ListUnitsByPatterns", &asked, CALL).await?;
        let rows: Vec<Row> = (reply.body().deserialize())
            .map_err(|error| self.explain("ListUnitsByPatterns", error))?;
        let mut timers = Vec::with_capacity(rows.len());
        for (unit, description, _, active, _, _, path, ..) in rows {
            let mut of_unit = self.properties(&path, "Unit").await?;
            let mut of_timer = self.properties(&path, "Timer").await?;
            let calendar: Vec<(String, String, u64)> =
                take(&mut of_timer, "TimersCalendar").unwrap_or_default();
            let monotonic: Vec<(String, u64, u64)> =
                take(&mut of_timer, "TimersMonotonic").unwrap_or_default();
            timers.push(TimerFacts {
                unit,
                description,
                starts: take(&mut of_timer, "Unit").unwrap_or_default(),
                fragment: take(&mut of_unit, "FragmentPath").unwrap_or_default(),
                is_active: active == "active",
                file_state: take(&mut of_unit, "UnitFileState").unwrap_or_default(),
                calendar: calendar.into_iter().map(|(_, event, _)| event).collect(),
                monotonic: (monotonic.into_iter())
                    .map(|(name, span, _)| (name, span))
                    .collect(),
                is_persistent: take(&mut of_timer, "Persistent").unwrap_or_default(),
                delay_us: take(&mut of_timer, "RandomizedDelayUSec").unwrap_or_default(),
                wakes: take(&mut of_timer, "WakeSystem").unwrap_or_default(),
            });
        }
        timers.sort_by(|a, b| a.unit.cmp(&b.unit));
        Ok(timers)
    }

    pub(super) async fn properties(&self, path: &OwnedObjectPath, of: &str) -> Result<Properties> {
        let connection = self.connection().await?;
        self.calls.set(self.calls.get() + 1);
        let interface = format!("{}.{of}", MANAGER.0);
        let (destination, properties, _) = PROPERTIES;
        let call = connection.call_method(
            Some(destination),
            path,
            Some(properties),
            "GetAll",
            &interface,
        );
        let reply = match tokio::time::timeout(CALL, call).await {
            Ok(reply) => reply.map_err(|error| self.explain("GetAll", error))?,
            Err(_) => return Err(self.unavailable("GetAll was not answered in time")),
        };
        (reply.body().deserialize()).map_err(|error| self.explain("GetAll", error))
    }
}
