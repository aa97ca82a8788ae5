//! What is wrong with a service wherever it goes: a table of named checks that finds all of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path},
};

use super::{
    Problem, check_cron,
    program::program_form,
    raw::{RawEnvValue, RawFailure, RawScheduler, RawService, RawStage},
    secret, setting, sink,
};
use crate::{
    id::{ResourceName, Seconds},
    service::{
        adopt::id::{Replaced, Table},
        definition::{Criticality, Schedule, Scheduler},
        image,
    },
};

/// What the one stage is called that `run` stands for.
pub const SINGLE_STAGE: &str = "run";

/// The limits that a project sets its services.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The shortest `every`.
    pub min_interval: Seconds,
}

type Check = fn(&RawService, Option<Limits>) -> Vec<Problem>;

/// Every check, by what it holds to be true.
const CHECKS: [(&str, Check); 15] = [
    ("one schedule, not under the guard rail", schedules),
    ("something to run, once, with a core stage", stages),
    ("profiles choose stages that are there", profiles),
    ("programs are paths or bare names", programs),
    ("no secret in a URL", secrets),
    ("variables that are not ours", variables),
    ("paths that a unit can hold", paths),
    ("texts that a unit can hold", texts),
    ("bounds that can be kept", bounds),
    ("failures that mean one thing", failures),
    ("settings that are not ours", setting::check),
    ("parts of drift that there are", drift_parts),
    ("a user where one is needed", users),
    ("tidings that can be sent", tidings),
    ("something that can be replaced", replaced),
];

/// All that is wrong with a service. Without `limits`, what they forbid is let through.
pub fn check(raw: &RawService, limits: Option<Limits>) -> Vec<Problem> {
    (CHECKS.iter())
        .flat_map(|(_, check)| check(raw, limits))
        .collect()
}

/// The schedule that a service says.
///
/// # Errors
/// That there is none, or more than one.
pub fn schedule(raw: &RawService) -> Result<Schedule, Problem> {
    const FORMS: &str =
        "write `{ every = \"1h\" }` or `{ cron = \"30 2 * * *\", timezone = \"Europe/Paris\" }`";
    let Some(written) = &raw.schedule else {
        return Err(Problem::at("", "missing key `schedule`").suggest(FORMS));
    };
    match (&written.every, &written.cron, &written.timezone) {
        (Some(every), None, None) => Ok(Schedule::Every(*every)),
        (None, Some(cron), Some(timezone)) => {
            if timezone.trim().is_empty() {
                return Err(Problem::at("/schedule/timezone", "the timezone is empty")
                    .suggest("name an IANA zone, as `Europe/Paris` or `UTC`"));
            }
            check_cron(cron, timezone).map_err(|message| Problem::at("/schedule/cron", message))?;
            Ok(Schedule::Cron {
                expression: cron.clone(),
                timezone: timezone.clone(),
            })
        }
        (Some(_), Some(_), _) => Err(Problem::key(
            "/schedule/cron",
            "a schedule has `every` or `cron`, not both",
        )),
        (Some(_), None, Some(_)) => Err(Problem::key(
            "/schedule/timezone",
            "`timezone` goes with `cron`; `every` counts elapsed time",
        )),
        (None, Some(cron), None) => match check_cron(cron, "UTC") {
            Ok(()) => Err(Problem::at("/schedule", "`cron` wants a `timezone`")
                .suggest("name an IANA zone, as `timezone = \"Europe/Paris\"`")),
            Err(message) => Err(Problem::at("/schedule/cron", message)
                .suggest("and name an IANA zone beside it, as `timezone = \"Europe/Paris\"`")),
        },
        (None, None, Some(_)) => {
            Err(Problem::at("/schedule", "`timezone` without `cron`").suggest(FORMS))
        }
        (None, None, None) => Err(Problem::at("/schedule", "the schedule is empty").suggest(FORMS)),
    }
}

fn schedules(raw: &RawService, limits: Option<Limits>) -> Vec<Problem> {
    match (schedule(raw), limits) {
        (Err(problem), _) => vec![problem],
        (Ok(Schedule::Every(every)), Some(Limits { min_interval })) if every < min_interval => {
            vec![
                Problem::at(
                    "/schedule/every",
                    format!(
                        "`every` is {every}, under the project's `min_interval` of {min_interval}"
                    ),
                )
                .suggest("raise it, or lower `min_interval` in `[project]`"),
            ]
        }
        (Ok(Schedule::Every(_) | Schedule::Cron { .. }), _) => Vec::new(),
    }
}

fn replaced(raw: &RawService, _: Option<Limits>) -> Vec<Problem> {
    let parsed = raw.replaces.as_ref().map(|text| text.parse::<Replaced>());
    let faulty = parsed.and_then(Result::err);
    faulty
        .map(|invalid| Problem::at("/replaces", invalid.to_string()))
        .into_iter()
        .collect()
}

/// Whether who applies may retire what a service replaces.
///
/// # Errors
/// That it is somebody else's.
pub fn reach(raw: &RawService, context: &super::Context<'_>) -> Result<(), Problem> {
    let Some(Ok(replaced)) = raw.replaces.as_ref().map(|text| text.parse()) else {
        return Ok(());
    };
    let reachable = match &replaced {
        Replaced::SystemTimer(_) => context.privileged,
        // One's own: that of another user is nothing that root should touch.
        Replaced::UserTimer(_) => match context.scheduler {
            Scheduler::SystemdSystem => false,
            Scheduler::SystemdUser => {
                let user = raw.user.as_ref().map(ToString::to_string);
                user.is_none_or(|user| user == context.current_user)
            }
            Scheduler::Worker => true,
        },
        Replaced::Line(line) => match &line.table {
            Table::File(_) => context.privileged,
            Table::User(user) => context.privileged || user == context.current_user,
        },
    };
    if reachable {
        return Ok(());
    }
    let (told, user) = (replaced.told(), context.current_user);
    let message = format!("{told} cannot be retired by what `{user}` applies here");
    Err(Problem::at("/replaces", message).suggest(match replaced {
        Replaced::UserTimer(_) => "apply as the user whose timer it is",
        Replaced::SystemTimer(_) | Replaced::Line(_) => "apply as root, or leave `replaces` out",
    }))
}

fn is_core(stage: &RawStage) -> bool {
    match stage.criticality.unwrap_or_default() {
        Criticality::Core => true,
        Criticality::Optional => false,
    }
}

fn stages(raw: &RawService, _: Option<Limits>) -> Vec<Problem> {
    let mut problems = Vec::new();
    match (&raw.run, &raw.stages) {
        (Some(_), Some(_)) => problems.push(
            Problem::key("/stages", "a service has `run` or `stages`, not both")
                .suggest("make `run` a stage of its own, first in the list"),
        ),
        (None, None) => problems.push(
            Problem::at("", "it runs nothing: missing key `run`")
                .suggest("add `run = [\"/path/to/program\", \"argument\"]`, or `stages`"),
        ),
        (Some(_), None) => {}
        (None, Some(stages)) => {
            let mut seen = BTreeSet::new();
            for (index, stage) in stages.iter().enumerate() {
                if !seen.insert(&stage.name) {
                    problems.push(Problem::at(
                        format!("/stages/{index}/name"),
                        format!("the stage `{}` is there twice", stage.name),
                    ));
                }
            }
            if !stages.is_empty() && !stages.iter().any(is_core) {
                problems.push(
                    Problem::at("/stages", "no stage is core, so that no run could fail")
                        .suggest("leave out `criticality` where the run cannot do without"),
                );
            }
        }
    }
    problems
}

fn profiles(raw: &RawService, _: Option<Limits>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let stages: BTreeMap<&ResourceName, bool> = (raw.stages.iter().flatten())
        .map(|stage| (&stage.name, is_core(stage)))
        .collect();
    if let Some(profile) = &raw.profile
        && !raw.profiles.contains_key(profile)
    {
        let known = raw.profiles.keys().map(ResourceName::as_str);
        problems.push(unknown(
            "/profile",
            &format!("there is no profile `{profile}`"),
            profile.as_str(),
            known,
        ));
    }
    for (name, chosen) in &raw.profiles {
        let at = format!("/profiles/{name}");
        let mut seen = BTreeSet::new();
        for (index, stage) in chosen.iter().enumerate() {
            let at = format!("{at}/{index}");
            if !stages.contains_key(stage) {
                // Each is compared with every stage, so no more than the first few are.
                let few = if problems.len() < 20 { stages.len() } else { 0 };
                let known = stages.keys().take(few).map(|name| name.as_str());
                problems.push(unknown(
                    &at,
                    &format!("there is no stage `{stage}`"),
                    stage.as_str(),
                    known,
                ));
            } else if !seen.insert(stage) {
                problems.push(Problem::at(
                    at,
                    format!("the profile names `{stage}` twice"),
                ));
            }
        }
        let all_known = chosen.iter().all(|stage| stages.contains_key(stage));
        if all_known && !chosen.iter().any(|stage| stages.get(stage) == Some(&true)) {
            problems.push(Problem::at(
                at,
                format!("the profile `{name}` has no core stage"),
            ));
        }
    }
    problems
}

/// A problem with a name that is not among the known ones, with the nearest of them.
fn unknown<'a>(
    at: &str,
    message: &str,
    name: &str,
    known: impl Iterator<Item = &'a str>,
) -> Problem {
    let problem = Problem::at(at, message);
    match nearest(name, known) {
        Some(near) => problem.suggest(format!("did you mean `{near}`?")),
        None => problem,
    }
}

/// The known word nearest to `word`, if one is near enough to have been meant.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters, as rustc has it; long words are cut, for the distance is quadratic.
    let letters = word.chars().count();
    if letters > 64 {
        return None;
    }
    let most = (letters / 3).max(1).min(letters.saturating_sub(1));
    known
        .map(|candidate| {
            let distance =
                strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Each command with its place.
fn commands(raw: &RawService) -> impl Iterator<Item = (String, &[String])> {
    let run = raw
        .run
        .iter()
        .map(|argv| ("/run".to_owned(), argv.as_slice()));
    let stages = (raw.stages.iter().flatten().enumerate())
        .map(|(index, stage)| (format!("/stages/{index}/run"), stage.run.as_slice()));
    run.chain(stages)
}

fn programs(raw: &RawService, _: Option<Limits>) -> Vec<Problem> {
    commands(raw)
        .filter_map(|(at, argv)| {
            let problem = program_form(argv.first()?).err()?;
            Some(Problem {
                at: format!("{at}/0"),
                ..problem
            })
        })
        .collect()
}

fn secrets(raw: &RawService, _: Option<Limits>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut look = |at: &dyn Fn() -> String, text: &str| {
        if !secret::in_urls(text).is_empty() {
            problems.push(
                Problem::at(at(), "a URL here holds a secret, which everyone on the host could read")
                    .suggest("take it out of the URL; let the job read it from a file that only its user can read"),
            );
        }
    };
    for (at, argv) in commands(raw) {
        for (index, argument) in argv.iter().enumerate() {
            look(&|| format!("{at}/{index}"), argument);
        }
    }
    for (name, value) in &raw.env {
        match value {
            RawEnvValue::Text(text) => look(&|| format!("/env/{name}"), text),
            RawEnvValue::Credential(_) => {}
        }
    }
    for (name, setting) in &raw.unit {
        for value in setting.values() {
            look(&|| format!("/unit/{name}"), &value);
        }
    }
    if let Some(description) = &raw.description {
        look(&|| "/description".to_owned(), description);
    }
    problems
}

fn variables(raw: &RawService, _: Option<Limits>) -> Vec<Problem> {
    let ours = |name: &str| match name {
        "CREDENTIALS_DIRECTORY" => {
            Some("`CREDENTIALS_DIRECTORY` is set where there are credentials")
        }
        name if name.starts_with("LORECTL_") => {
            Some("variables that begin with `LORECTL_` are set by lorectl")
        }
        _ => None,
    };
    (raw.env.keys())
        .filter_map(|name| Some((name, ours(name.as_str())?)))
        .map(|(name, what)| Problem::key(format!("/env/{name}"), what))
        .collect()
}

fn paths(raw: &RawService, _: Option<Limits>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, path) in raw.write_paths.iter().flatten().enumerate() {
        let at = format!("/write_paths/{index}");
        if !path.starts_with('/') {
            problems.push(Problem::at(at, "a path that may be written is absolute"));
        } else if climbs(path) {
            problems.push(Problem::at(at, "a path that may be written holds no `..`"));
        } else if path.contains(char::is_control) {
            problems.push(Problem::at(at, "the path holds a control character"));
        }
    }
    if let Some(path) = &raw.working_dir {
        if path.is_empty() {
            problems.push(Problem::at("/working_dir", "the directory is empty"));
        } else if path.starts_with('~') {
            problems.push(
                Problem::at("/working_dir", "`~` is a shell's, and there is none here")
                    .suggest("write the absolute path"),
            );
        } else if climbs(path) {
            problems.push(
                Problem::at(
                    "/working_dir",
                    "the directory where stages start holds no `..`",
                )
                .suggest("write the absolute path"),
            );
        } else if path.contains(char::is_control) {
            problems.push(Problem::at(
                "/working_dir",
                "the path holds a control character",
            ));
        }
    }
    problems
}

fn climbs(path: &str) -> bool {
    Path::new(path)
        .components()
        .any(|part| part == Component::ParentDir)
}

fn texts(raw: &RawService, _: Option<Limits>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(description) = &raw.description {
        if description.trim().is_empty() {
            problems.push(Problem::at("/description", "the description is empty"));
        } else if description.chars().count() > 200 {
            problems.push(Problem::at(
                "/description",
                "a description is one line of at most 200 characters",
            ));
        } else if description.contains(char::is_control) {
            problems.push(Problem::at(
                "/description",
                "the description holds a control character",
            ));
        }
    }
    for (name, setting) in &raw.unit {
        if setting
            .values()
            .iter()
            .any(|value| value.contains(char::is_control))
        {
            problems.push(Problem::at(
                format!("/unit/{name}"),
                "the setting holds a control character",
            ));
        }
    }
    problems
}

fn bounds(raw: &RawService, _: Option<Limits>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let retry = raw.retry.as_ref();
    let stages = (raw.stages.iter().flatten().enumerate())
        .map(|(index, stage)| (format!("/stages/{index}/timeout"), stage.timeout));
    let fixed = [
        ("/timeout", raw.timeout),
        ("/retry/base", retry.and_then(|retry| retry.base)),
        ("/retry/max", retry.and_then(|retry| retry.max)),
        (
            "/breaker/cooldown",
            raw.breaker.as_ref().and_then(|breaker| breaker.cooldown),
        ),
    ];
    let fixed = fixed.into_iter().map(|(at, value)| (at.to_owned(), value));
    for (at, value) in fixed.chain(stages) {
        if value == Some(Seconds(0)) {
            problems.push(Problem::at(at, "that is no time at all"));
        }
    }
    if let Some(retry) = retry
        && let (Some(base), Some(max)) = (retry.base, retry.max)
        && base > max
    {
        problems.push(Problem::at(
            "/retry/max",
            format!("`max` is {max}, less than `base`, which is {base}"),
        ));
    }
    problems
}

/// A way to fail, as the runner compares it.
pub fn failure_text(failure: &RawFailure) -> String {
    match failure {
        RawFailure::Status(status) => status.to_string(),
        RawFailure::Code(code) => code.clone(),
    }
}

fn failures(raw: &RawService, _: Option<Limits>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(classify) = &raw.classify else {
        return problems;
    };
    let lists = [
        ("/classify/permanent", &classify.permanent),
        ("/classify/transient", &classify.transient),
    ];
    let mut seen = BTreeSet::new();
    for (at, list) in lists {
        for (index, failure) in list.iter().flatten().enumerate() {
            let (at, text) = (format!("{at}/{index}"), failure_text(failure));
            if text.is_empty() || text.len() > 128 || text.contains(char::is_control) {
                problems.push(Problem::at(at, "an error code is 1 to 128 characters"));
            } else if text == "0" {
                problems.push(Problem::at(at, "status 0 is success"));
            } else if !seen.insert(text.clone()) {
                problems.push(Problem::at(at, format!("`{text}` is classified twice")));
            }
        }
    }
    problems
}

/// That `systemd-system` was asked for without a user.
pub fn missing_user() -> Problem {
    Problem::at("", "the scheduler `systemd-system` requires `user`")
        .suggest("name the user to run as; `user = \"root\"` only where nothing less will do")
}

fn drift_parts(raw: &RawService, _: Option<Limits>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let parts = [
        image::SERVICE,
        image::TIMER,
        image::REFRESH,
        image::RUN,
        image::DATA,
        image::ENABLED,
        image::ACTIVE,
        image::REPLACES,
    ];
    for (index, part) in raw.ignore_drift.iter().flatten().enumerate() {
        let known = parts.iter().any(|known| known.as_str() == part);
        if !known && !part.starts_with(image::DROP_IN) && !part.starts_with(image::SHADOW) {
            problems.push(unknown(
                &format!("/ignore_drift/{index}"),
                "a service has no such part",
                part,
                parts.iter().map(crate::resource::PartName::as_str),
            ));
        }
    }
    problems
}

fn tidings(raw: &RawService, _: Option<Limits>) -> Vec<Problem> {
    let mut problems = sink::twice(raw.notify.as_deref().unwrap_or_default());
    problems.extend(
        raw.ping
            .as_ref()
            .and_then(|ping| sink::check_url("/ping", ping)),
    );
    problems
}

fn users(raw: &RawService, _: Option<Limits>) -> Vec<Problem> {
    if raw.scheduler == Some(RawScheduler::SystemdSystem) && raw.user.is_none() {
        return vec![missing_user()];
    }
    Vec::new()
}
