//! A manager whose units are told the time, so that days pass in a moment.

use std::{cell::RefCell, fs};

use lorectl::id::Timestamp;
use serde_json::Value;

use crate::host::{Answer, Host, INSTALLED, poll};

/// What the units of a manager and our own commands take for the time; the machine's again when dropped.
///
/// A wake-up is what a timer does: it starts the unit. The timers themselves are stopped, for they
/// know the machine's time alone.
pub struct Told<'a> {
    pub host: &'a Host,
    now: RefCell<String>,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.host.systemctl(&["unset-environment", "LORECTL_NOW"]);
    }
}

impl<'a> Told<'a> {
    /// Applies the spec at that time, and stops its timers.
    #[track_caller]
    pub fn apply(host: &'a Host, names: &[&str], now: &str) -> Self {
        let told = Self::at_boot(host, now);
        told.lorectl(&["apply", "-y"]).exits(0);
        told.stop_timers(names);
        told
    }

    /// Finds what an earlier boot applied.
    pub fn at_boot(host: &'a Host, now: &str) -> Self {
        let told = Self {
            host,
            now: RefCell::default(),
        };
        told.at(now);
        told
    }

    pub fn stop_timers(&self, names: &[&str]) {
        for name in names {
            self.host
                .systemctl(&["stop", &self.host.unit(name, "timer")]);
        }
    }

    /// From now on it is then.
    pub fn at(&self, now: &str) -> &Self {
        self.host
            .systemctl(&["set-environment", &format!("LORECTL_NOW={now}")]);
        now.clone_into(&mut self.now.borrow_mut());
        self
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        self.now.borrow().parse().unwrap()
    }

    /// So many seconds later.
    pub fn later(&self, seconds: i64) -> &Self {
        self.at(&self.now().plus_seconds(seconds).to_string())
    }

    /// Does what a timer does, and waits for the end of it.
    #[track_caller]
    pub fn wake(&self, name: &str) {
        let unit = self.host.unit(name, "service");
        // A start would be taken for the one whose runner has said all and is about to end.
        poll("the end of a run", || {
            self.host.property(&unit, "ActiveState") != "activating"
        });
        self.host.systemctl(&["start", &unit]);
        let result = self.host.property(&unit, "Result");
        assert_eq!(result, "success", "of a wake-up at {}", self.now());
    }

    /// Runs `lorectl`.
    pub fn lorectl(&self, args: &[&str]) -> Answer {
        let mut command = self.host.command(INSTALLED);
        command.args(args).env("LORECTL_NOW", &*self.now.borrow());
        Answer::of(&command.output().unwrap())
    }

    /// The data of `service status --json`.
    #[track_caller]
    pub fn status(&self, name: &str) -> Value {
        let words = ["service", "status", name, "--json"];
        self.lorectl(&words).exits(0).data()
    }

    /// How often the job of [`job`] was started.
    pub fn count(&self, name: &str) -> usize {
        let path = self.host.service(name).join("data/count");
        fs::read_to_string(path).map_or(0, |text| text.lines().count())
    }

    /// What the job is to end with from now on.
    pub fn mode(&self, mode: &str) -> &Self {
        self.host.write(&self.host.dir.join("mode"), mode);
        self
    }
}

/// The lines of a job that counts its starts and ends as the file `mode` says: with that status, or
/// not at all for `hang`. It asks for time after a 75, so that a core stage is not tried at once again.
pub const JOB: &str = r#"echo x >>"$LORECTL_DATA_DIR/count"
mode=$(cat mode)
if [ "$mode" = hang ]; then sleep 600 & wait; fi
if [ "$mode" = 75 ]; then echo '{"error_code": "NETWORK", "message": "connection refused", "retry_after": 30}' >"$LORECTL_RESULT"; fi
exit "$mode""#;
