//! Settings of a unit that a spec may not give, since lorectl writes them itself.

mod known;

use super::{
    Problem,
    check::{Limits, nearest},
    raw::{RawScheduler, RawService, RawSetting},
};
use known::KNOWN;

/// Settings that lorectl writes itself, in lower case, with the key that says the same.
const OWNED: [(&str, &str); 34] = [
    ("type", ""),
    ("execstart", "run"),
    ("execstartpre", "stages"),
    ("execstartpost", "stages"),
    ("execcondition", "stages"),
    ("execreload", "stages"),
    ("execstop", "stages"),
    ("execstoppost", "stages"),
    ("user", "user"),
    ("group", "user"),
    ("dynamicuser", "user"),
    ("workingdirectory", "working_dir"),
    ("environment", "env"),
    ("environmentfile", "env"),
    ("passenvironment", "env"),
    ("unsetenvironment", "env"),
    ("loadcredential", "env"),
    ("loadcredentialencrypted", "env"),
    ("setcredential", "env"),
    ("setcredentialencrypted", "env"),
    ("importcredential", "env"),
    ("readwritepaths", "write_paths"),
    ("readwritedirectories", "write_paths"),
    ("timeoutsec", "timeout"),
    ("timeoutstartsec", "timeout"),
    ("timeoutstopsec", "timeout"),
    ("timeoutabortsec", "timeout"),
    ("runtimemaxsec", "timeout"),
    ("restart", "retry"),
    ("restartsec", "retry"),
    ("successexitstatus", "exit"),
    ("remainafterexit", ""),
    ("killmode", ""),
    ("guessmainpid", ""),
];

/// Names from before v231, in lower case, with today's. systemd takes both for one setting; a unit that
/// gave both would hold more than either says.
const OLD: [(&str, &str); 2] = [
    ("readonlydirectories", "ReadOnlyPaths"),
    ("inaccessibledirectories", "InaccessiblePaths"),
];

/// That there is a unit to set something of, and that no setting is one of ours, or longer than a
/// unit's line.
pub fn check(raw: &RawService, _: Option<Limits>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if raw.scheduler == Some(RawScheduler::Worker) && !raw.unit.is_empty() {
        problems.push(
            Problem::key("/unit", "the scheduler `worker` writes no unit")
                .suggest("take `unit` out, or let systemd wake the service"),
        );
    }
    for (name, setting) in &raw.unit {
        let lower = name.as_str().to_ascii_lowercase();
        let owned = OWNED.iter().find(|(owned, _)| *owned == lower);
        if let Some((_, instead)) = owned {
            let problem = Problem::key(
                format!("/unit/{name}"),
                format!("`{name}` is written by lorectl itself"),
            );
            problems.push(if instead.is_empty() {
                problem
            } else {
                problem.suggest(format!("say it with `{instead}`"))
            });
        }
        if let Some((_, today)) = OLD.iter().find(|(old, _)| *old == lower) {
            problems.push(
                Problem::key(
                    format!("/unit/{name}"),
                    format!("`{name}` is an old name of `{today}`"),
                )
                .suggest(format!("write `{today}`")),
            );
        } else if owned.is_none() && KNOWN.binary_search(&name.as_str()).is_err() {
            let near = nearest(name.as_str(), KNOWN.iter().copied());
            problems.push(Problem {
                suggestion: near.map(|near| format!("did you mean `{near}`?")),
                ..Problem::key(
                    format!("/unit/{name}"),
                    format!("systemd knows no setting `{name}` of a service"),
                )
            });
        }
        let longest = match setting {
            RawSetting::List(list) => list.iter().map(String::len).max(),
            RawSetting::Text(text) => Some(text.len()),
            RawSetting::Flag(_) | RawSetting::Integer(_) => None,
        };
        // systemd cuts a unit's line at 1 MiB (LONG_LINE_MAX); far below, a mistake is likelier.
        if longest.is_some_and(|length| length > 64 * 1024) {
            problems.push(Problem::at(
                format!("/unit/{name}"),
                "the setting is longer than 64 KiB",
            ));
        }
    }
    problems
}
