//! Whether systemd takes the settings that a spec gives its unit.
//!
//! A value that systemd cannot read it drops with a line in the journal, and loads the unit all the
//! same: a limit or a hardening that was asked for is then silently none. `systemd-analyze verify`
//! reads files as the manager does and says so beforehand.

use std::{collections::HashMap, ffi::OsString, io, path::Path, time::Duration};

use super::{Systemd, act::live, batch::Work, parts::UnitKind};
use crate::{
    effect::process::{self, End},
    service::{definition::Scheduler, spec::program},
};

/// What reads units as the manager does.
pub const ANALYZER: &str = "systemd-analyze";

/// Units in one call: their paths stay far below what a command line takes.
const UNITS: usize = 1000;

/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(60);

impl Systemd {
    /// Fails the steps whose unit holds a setting of the spec that systemd would not take.
    ///
    /// Before the reload: a step that fails here has its old unit back before the manager reads any.
    /// Only settings of the spec's own are looked at, so only services that have some cost anything.
    /// Where there is no [`ANALYZER`], nothing is said; plan and doctor say that.
    pub(super) async fn verify(&self, works: &mut [&mut Work<'_>]) {
        let mut looked_at: Vec<&mut Work<'_>> = live(works)
            .filter(|work| work.written_overrides().is_some())
            .collect();
        for works in looked_at.chunks_mut(UNITS) {
            let paths = works
                .iter()
                .map(|work| self.unit_path(work.name(), UnitKind::Service));
            let said = self.analyze(paths).await;
            let said = match &said {
                Ok(Some(said)) => complaints(said),
                Ok(None) => return,
                Err(why) => {
                    for work in works {
                        self.give_up(work, &format!("cannot check its `unit` settings: {why}"));
                    }
                    continue;
                }
            };
            for work in works {
                let unit = self.unit_name(work.name(), UnitKind::Service);
                let text = work.written_overrides().unwrap_or_default();
                let own = |key: &str| work.service.unit.contains_key(key);
                let refused = said.get(unit.as_str()).map_or_else(Vec::new, |said| {
                    said.iter()
                        .filter_map(|said| said.of_setting(text, &own))
                        .collect()
                });
                if !refused.is_empty() {
                    self.give_up(work, &refused.join("; "));
                }
            }
        }
    }

    /// What `systemd-analyze verify` says of some units; `None` where there is none.
    async fn analyze(
        &self,
        paths: impl Iterator<Item = std::path::PathBuf>,
    ) -> Result<Option<String>, String> {
        let mut argv: Vec<OsString> = vec![ANALYZER.into()];
        if Scheduler::of(&self.id) == Some(Scheduler::SystemdUser) {
            argv.push("--user".into());
        }
        argv.extend(["verify", "--man=no", "--"].map(OsString::from));
        argv.extend(paths.map(OsString::from));
        // Plain lines, whatever the caller's environment asks for.
        let mut env: Vec<(&str, OsString)> = vec![
            ("PATH", program::PATH.join(":").into()),
            ("LC_ALL", "C".into()),
            ("SYSTEMD_LOG_TARGET", "console".into()),
            ("SYSTEMD_LOG_LEVEL", "info".into()),
        ];
        env.extend(
            self.session
                .iter()
                .map(|(name, value)| (*name, value.clone())),
        );
        let listened = match &self.delegate {
            Some(delegate) => delegate.listen(&argv, &env, PATIENCE).await,
            None => process::listen(&argv, &env, PATIENCE).await,
        };
        let said = match listened {
            Ok(said) => said,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{ANALYZER}: {error}")),
        };
        match said.end {
            // 1 for whatever it complains of: a program that is not there, a unit of others.
            End::Exited(_) => Ok(Some(said.error_text)),
            End::Killed(signal) => Err(format!("{ANALYZER} was ended by signal {signal}")),
            End::TimedOut | End::Stopped => Err(format!(
                "{ANALYZER} did not end within {} s",
                PATIENCE.as_secs()
            )),
        }
    }
}

/// A line of what was said: about which line of a unit, and what.
#[derive(Debug, PartialEq, Eq)]
struct Complaint<'s> {
    line: usize,
    said: &'s str,
}

impl Complaint<'_> {
    /// What to say of it where that line gives a setting of the spec's own.
    fn of_setting(&self, unit: &[u8], own: &dyn Fn(&str) -> bool) -> Option<String> {
        let line = unit
            .split(|byte| *byte == b'\n')
            .nth(self.line.checked_sub(1)?)?;
        let line = std::str::from_utf8(line).ok()?;
        let (key, _) = line.split_once('=')?;
        own(key).then(|| format!("systemd does not take `{line}` of `unit`: {}", self.said))
    }
}

/// The complaints over values that systemd drops, by the name of the unit's file.
///
/// Such a line is `PATH:LINE: WHAT, ignoring` (`log_syntax()`), the last word at the end or before what is
/// ignored. What else it says is advice (`Unit uses …; please use …`), or of no one line: a unit
/// of others, a program that is not there.
fn complaints(said: &str) -> HashMap<&str, Vec<Complaint<'_>>> {
    let mut all: HashMap<&str, Vec<Complaint<'_>>> = HashMap::new();
    for text in said.lines() {
        let mut split = text.match_indices(':').filter_map(|(at, _)| {
            let (number, what) = text.get(at + 1..)?.split_once(": ")?;
            Some((text.get(..at)?, number.parse().ok()?, what))
        });
        let Some((path, line, said)) = split.next() else {
            continue;
        };
        let name = Path::new(path).file_name().and_then(|name| name.to_str());
        if let Some(name) = name
            && said.contains("ignor")
        {
            all.entry(name).or_default().push(Complaint { line, said });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As v252 says it, of seven units in one call.
    const SAID: &str = "\
/etc/systemd/system/lorectl-p.a.service:7: Invalid memory limit 'lots', ignoring: Invalid argument
/etc/systemd/system/lorectl-p.a.service:8: Invalid CPU quota 'ba: nana', ignoring.
/etc/systemd/system/lorectl-p.a.service:9: Invalid weight, ignoring: 0
/etc/systemd/system/lorectl-p.b.service:11: Failed to parse resource value, ignoring: abc
/etc/systemd/system/lorectl-p.b.service:12: Unit uses MemoryLimit=; please use MemoryMax= instead.
/etc/systemd/system/lorectl-p.b.service.d/x.conf:2: Failed to parse resource value, ignoring: abc
/home/jo:3: x/u.service:2: Unknown lvalue, ignoring
lorectl-p.a.service: Command /usr/local/bin/none is not executable: No such file or directory
Failed to load configuration: x
";

    #[test]
    fn what_is_dropped_is_told_by_unit_and_line() {
        let all = complaints(SAID);
        let lines = |unit: &str| -> Vec<usize> {
            let complaints = all.get(unit).into_iter().flatten();
            complaints.map(|complaint| complaint.line).collect()
        };
        assert_eq!(lines("lorectl-p.a.service"), [7, 8, 9]);
        assert_eq!(lines("lorectl-p.b.service"), [11]);
        assert_eq!(lines("x.conf"), [2]);
        assert_eq!(
            all["lorectl-p.a.service"][1].said,
            "Invalid CPU quota 'ba: nana', ignoring."
        );
    }

    #[test]
    fn only_a_setting_of_the_specs_own_counts() {
        let unit = b"[Service]\nCPUQuota=banana\nMemoryMax=lots\n";
        let of = |line| {
            let complaint = Complaint {
                line,
                said: "no, ignoring",
            };
            complaint.of_setting(unit, &|key| key == "CPUQuota")
        };
        assert_eq!(
            of(2).as_deref(),
            Some("systemd does not take `CPUQuota=banana` of `unit`: no, ignoring")
        );
        for line in [0, 1, 3, 4, 5, 99] {
            assert_eq!(of(line), None, "{line}");
        }
    }
}
