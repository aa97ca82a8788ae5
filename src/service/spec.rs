//! What a spec says of a service, and what becomes of it once every choice is made.
//!
//! [`check`](check::check) finds what is wrong with a service wherever it goes; [`resolve`] makes
//! of it the [`Service`] of one host.

pub mod check;
pub mod program;
pub mod raw;
pub mod secret;
mod setting;
pub mod sink;
pub mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use crate::{
    id::{Address, Digest, Kind, Lineage, ProjectName, ResourceId, ResourceName, Seconds},
    notify::sink::Event,
    resource::{Declared, Meta},
    service::definition::{
        Breaker, Classify, RUN_VERSION, Retry, Schedule, Scheduler, Service, Stage,
    },
};
use program::{ProgramForm, Programs, program_form};
use raw::{RawEnvValue, RawFailure, RawService, RawSetting, RawStage};
use sink::DeclaredSink;

/// What is wrong at one place of a service's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The place, as a JSON pointer (RFC 6901) from the service's table; empty is the table itself.
    pub at: String,
    /// Whether the key is meant, not its value.
    pub on_key: bool,
    /// What is wrong. It quotes no value that could be a secret.
    pub message: String,
    /// The edit or command that helps.
    pub suggestion: Option<String>,
}

impl Problem {
    /// A problem with the value at a place.
    pub fn at(at: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            at: at.into(),
            on_key: false,
            message: message.into(),
            suggestion: None,
        }
    }

    /// A problem with the key of that place.
    pub fn key(at: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            on_key: true,
            ..Self::at(at, message)
        }
    }

    /// Adds the edit or command that helps.
    #[must_use]
    pub fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }
}

/// A service as a spec declares it, with the defaults of the project filled in.
#[derive(Debug, Clone)]
pub struct DeclaredService {
    /// Its name.
    pub name: ResourceName,
    /// The file, relative to the spec's root.
    pub file: Arc<str>,
    /// The line of its table, counted from 1.
    pub line: u32,
    /// What it says.
    pub raw: RawService,
    /// What any resource may say.
    pub meta: Meta,
    /// The hosts that have it, as `[hosts]` lists them; empty is every host.
    pub on: Vec<String>,
    /// The entries of `[notify]` that it names.
    pub sinks: Vec<Arc<DeclaredSink>>,
}

impl DeclaredService {
    /// Its address.
    pub fn address(&self) -> Address {
        Address::new(Kind::Service, self.name.clone())
    }

    /// Where it is declared.
    pub fn declared(&self) -> Declared {
        Declared {
            file: Arc::clone(&self.file),
            line: self.line,
        }
    }

    /// Has it depend on the credentials that it names.
    pub fn depend_on_credentials(&mut self) {
        let uses = self.uses().into_iter();
        let uses: Vec<Address> = uses
            .map(|(_, name)| Address::new(Kind::Credential, name.clone()))
            .collect();
        for address in uses {
            if !self.meta.depends_on.contains(&address) {
                self.meta.depends_on.push(address);
            }
        }
    }

    /// Those of some credentials that it names.
    fn uses_of(&self, those: &BTreeSet<ResourceName>) -> BTreeSet<ResourceName> {
        let names = self.uses().into_iter().map(|(_, name)| name);
        names
            .filter(|name| those.contains(*name))
            .cloned()
            .collect()
    }

    /// The credentials that it names, each with its place in the service's table.
    pub fn uses(&self) -> Vec<(String, &ResourceName)> {
        let env = self.raw.env.iter().filter_map(|(name, value)| match value {
            RawEnvValue::Credential(used) => {
                Some((format!("/env/{name}/credential"), &used.credential))
            }
            RawEnvValue::Text(_) => None,
        });
        let ping = self.raw.ping.as_ref().and_then(sink::RawUrl::credential);
        let ping = ping.map(|name| ("/ping/credential".to_owned(), name));
        let places = self.raw.notify.iter().flatten().enumerate();
        let sinks = places.filter_map(|(index, name)| {
            let sink = self.sinks.iter().find(|sink| sink.name == *name)?;
            let used = sink.raw.webhook.as_ref()?.credential()?;
            Some((format!("/notify/{index}"), used))
        });
        env.chain(ping).chain(sinks).collect()
    }
}

/// What a service is resolved against.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The project.
    pub project: &'a ProjectName,
    /// What the project's ids are drawn from.
    pub lineage: &'a Lineage,
    /// The scheduler, `auto` already decided.
    pub scheduler: Scheduler,
    /// The name of the user who applies.
    pub current_user: &'a str,
    /// Whether that user may run services as others.
    pub privileged: bool,
    /// The absolute directory of the spec file that declares the service.
    pub dir: &'a Path,
    /// The credentials of the spec of which another value can be had for a run.
    pub renewed: &'a BTreeSet<ResourceName>,
    /// The credentials of the spec that are encrypted for the host.
    pub sealed: &'a BTreeSet<ResourceName>,
    /// How programs are looked up; `None` leaves them as they are written, for `validate`.
    pub programs: Option<&'a Programs<'a>>,
}

/// Whether a cron expression and its zone can be read.
///
/// # Errors
/// What is wrong with them, in a sentence.
pub fn check_cron(expression: &str, timezone: &str) -> Result<(), String> {
    crate::service::schedule::check_cron(expression, timezone)
        .map(drop)
        .map_err(|invalid| invalid.to_string())
}

/// The service of one host, with every choice made.
///
/// # Errors
/// All that is wrong with it here: a user that the scheduler cannot give it, a program that is not
/// there, and whatever [`check`](check::check) would have found.
pub fn resolve(declared: &DeclaredService, context: &Context<'_>) -> Result<Service, Vec<Problem>> {
    let raw = &declared.raw;
    let mut problems = check::check(raw, None);
    let mut note = |problem| {
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    };
    let user = user(raw, context).map_err(&mut note).unwrap_or_default();
    let working_dir = working_dir(raw, context)
        .map_err(&mut note)
        .unwrap_or_default();
    let mut stages = Vec::new();
    for (at, stage) in chosen_stages(raw) {
        match stage_of(&at, stage, context) {
            Ok(stage) => stages.push(stage),
            Err(problem) => note(problem),
        }
    }
    let programs = pins(raw, &stages, context).unwrap_or_else(|problem| {
        note(problem);
        BTreeMap::new()
    });
    if let Err(problem) = check::reach(raw, context) {
        note(problem);
    }
    let (mut env, mut credentials) = (BTreeMap::new(), BTreeMap::new());
    for (name, value) in &raw.env {
        let name = name.as_str().to_owned();
        match value {
            RawEnvValue::Text(text) => drop(env.insert(name, text.clone())),
            RawEnvValue::Credential(taken) => drop(credentials.insert(name, taken.chosen())),
        }
    }
    let names = raw.notify.as_deref().unwrap_or_default();
    let (own, all) = (&declared.sinks, &Event::OF_SERVICES);
    let sinks = sink::resolve(names, own, context.programs, all, &mut note);
    let schedule = match check::schedule(raw) {
        Ok(schedule) if problems.is_empty() => schedule,
        // A faulty schedule is among the problems of the check.
        Ok(_) | Err(_) => return Err(problems),
    };
    let address = declared.address();
    let service = Service {
        run_version: RUN_VERSION,
        project: context.project.clone(),
        name: declared.name.clone(),
        id: ResourceId::derive(context.lineage, &address),
        description: raw.description.clone(),
        scheduler: context.scheduler,
        user,
        splay: raw.splay.unwrap_or(Seconds(60)),
        overlap: raw.overlap.unwrap_or_default(),
        catch_up: raw.catch_up.unwrap_or_default(),
        timeout: raw.timeout.unwrap_or(Seconds(15 * 60)),
        working_dir: working_dir.into(),
        env,
        credentials,
        refreshes: declared.uses_of(context.renewed),
        sealed: declared.uses_of(context.sealed),
        write_paths: (raw.write_paths.iter().flatten())
            .map(|path| Path::new(path).components().collect())
            .collect(),
        replaces: raw.replaces.clone(),
        lock: raw.lock.clone(),
        profile: raw.profile.as_ref().map(ToString::to_string),
        stages,
        retry: retry(raw, &schedule),
        breaker: breaker(raw),
        classify: classify(raw),
        exit: raw.exit.unwrap_or_default(),
        sandbox: raw.sandbox.unwrap_or_default(),
        programs,
        unit: (raw.unit.iter())
            .map(|(name, setting)| (name.as_str().to_owned(), RawSetting::values(setting)))
            .collect(),
        notify: sinks,
        ping: raw.ping.as_ref().and_then(sink::url_source),
        schedule,
    };
    if let (Some(user), false) = (service.manager_of(), service.uses().is_empty()) {
        // The store is root's, and that manager reads what its user may.
        let message =
            format!("the manager of `{user}` cannot read what is kept for root's credentials");
        let help =
            "make it a service of `systemd-system` with the same `user`, or apply it as that user";
        return Err(vec![Problem::at("/scheduler", message).suggest(help)]);
    }
    let mut references = declared.uses().into_iter();
    if service.scheduler != Scheduler::SystemdSystem
        && let Some((at, name)) = references.find(|(_, name)| service.sealed.contains(*name))
    {
        let message = format!(
            "`{name}` is encrypted for the system's manager, and `{}` cannot open it",
            service.scheduler.as_str()
        );
        let help = format!(
            "make it a service of `systemd-system` with a `user`, or keep credential.{name} with `store = \"file\"`"
        );
        return Err(vec![Problem::at(at, message).suggest(help)]);
    }
    Ok(service)
}

fn user(raw: &RawService, context: &Context<'_>) -> Result<Option<String>, Problem> {
    let named = raw.user.as_ref().map(ToString::to_string);
    let chooses = match context.scheduler {
        Scheduler::SystemdSystem => {
            return match named {
                Some(user) => Ok(Some(user)),
                None => Err(check::missing_user()),
            };
        }
        // One's own manager is meant where nobody else is named.
        Scheduler::SystemdUser => {
            context.privileged && named.as_deref() != Some(context.current_user)
        }
        Scheduler::Worker => context.privileged,
    };
    match named {
        Some(user) if !chooses && user != context.current_user => Err(Problem::at(
            "/user",
            format!(
                "the scheduler `{}` of `{}` cannot run a service as `{user}`",
                context.scheduler.as_str(),
                context.current_user
            ),
        )
        .suggest("leave `user` out, or apply as root")),
        Some(user) if chooses => Ok(Some(user)),
        Some(_) | None => Ok(None),
    }
}

fn working_dir(raw: &RawService, context: &Context<'_>) -> Result<String, Problem> {
    let (at, path) = match &raw.working_dir {
        Some(path) => ("/working_dir", context.dir.join(path)),
        None => ("", context.dir.to_path_buf()),
    };
    // `components` drops `.` and doubled slashes, which systemd would refuse.
    let path: std::path::PathBuf = path.components().collect();
    match path.to_str() {
        Some(text) if !text.contains(char::is_control) => Ok(text.to_owned()),
        Some(_) | None => Err(Problem::at(
            at,
            "the directory where its stages start has a name that no unit can hold",
        )
        .suggest("name another one with `working_dir`, or move the spec")),
    }
}

/// The stages that run, each with its place, in the order in which they are declared.
fn chosen_stages(raw: &RawService) -> Vec<(String, StageSource<'_>)> {
    if let Some(run) = &raw.run {
        return vec![("/run".to_owned(), StageSource::Run(run))];
    }
    let chosen = raw.profile.as_ref().and_then(|name| raw.profiles.get(name));
    (raw.stages.iter().flatten().enumerate())
        .filter(|(_, stage)| chosen.is_none_or(|names| names.contains(&stage.name)))
        .map(|(index, stage)| (format!("/stages/{index}/run"), StageSource::Stage(stage)))
        .collect()
}

#[derive(Clone, Copy)]
enum StageSource<'a> {
    Run(&'a [String]),
    Stage(&'a RawStage),
}

fn stage_of(at: &str, source: StageSource<'_>, context: &Context<'_>) -> Result<Stage, Problem> {
    let (name, argv, timeout, criticality) = match source {
        StageSource::Run(argv) => {
            let name = check::SINGLE_STAGE
                .parse()
                .map_err(|error: crate::id::Invalid| Problem::at(at, error.to_string()))?;
            (name, argv, None, None)
        }
        StageSource::Stage(stage) => (
            stage.name.clone(),
            stage.run.as_slice(),
            stage.timeout,
            stage.criticality,
        ),
    };
    let Some((program, arguments)) = argv.split_first() else {
        return Err(Problem::at(at, "it runs nothing"));
    };
    let program = self::program(&format!("{at}/0"), program, context.dir, context.programs)?;
    let run = std::iter::once(program)
        .chain(arguments.iter().cloned())
        .collect();
    Ok(Stage {
        name,
        run,
        timeout,
        criticality: criticality.unwrap_or_default(),
    })
}

/// The path of a program as it is written in a file of `dir`.
fn program(
    at: &str,
    written: &str,
    dir: &Path,
    programs: Option<&Programs<'_>>,
) -> Result<String, Problem> {
    let fault = |message: String| Problem::at(at, message);
    let path = match program_form(written).map_err(|problem| Problem {
        at: at.to_owned(),
        ..problem
    })? {
        ProgramForm::Bare => {
            let Some(programs) = programs else {
                return Ok(written.to_owned());
            };
            return programs.find(written).map_err(|message| {
                fault(message).suggest("install it, or give its absolute path")
            });
        }
        ProgramForm::Absolute => Path::new(written).to_path_buf(),
        ProgramForm::Relative => dir.join(written).components().collect(),
    };
    let path = match programs {
        Some(programs) => programs.executable(&path).map_err(|message| {
            fault(message).suggest(
                "a program is an executable file; a relative one is looked for from the spec file",
            )
        })?,
        None => path,
    };
    path.to_str()
        .map(ToOwned::to_owned)
        .ok_or_else(|| fault("its path is not UTF-8".to_owned()))
}

/// The digests of its programs, where they are pinned and this is a host.
fn pins(
    raw: &RawService,
    stages: &[Stage],
    context: &Context<'_>,
) -> Result<BTreeMap<String, Digest>, Problem> {
    let (Some(true), Some(programs)) = (raw.pin_program, context.programs) else {
        return Ok(BTreeMap::new());
    };
    let paths = stages.iter().filter_map(|stage| stage.run.first());
    let pinned = paths.map(|path| match programs.digest(Path::new(path)) {
        Ok(Some(digest)) => Ok((path.clone(), digest)),
        Ok(None) => Err(format!("there is no program {path}")),
        Err(why) => Err(format!("cannot read {path} to pin it: {why}")),
    });
    pinned
        .collect::<Result<_, String>>()
        .map_err(|message| Problem::at("/pin_program", message))
}

fn retry(raw: &RawService, schedule: &Schedule) -> Retry {
    let interval = match schedule {
        Schedule::Every(interval) => *interval,
        Schedule::Cron { .. } => Seconds(30 * 60),
    };
    let most = Seconds(4 * 3600);
    let written = raw.retry.clone().unwrap_or_default();
    // What is written holds; the default of the other bound gives way to it.
    match (written.base, written.max) {
        (Some(base), Some(max)) => Retry { base, max },
        (Some(base), None) => Retry {
            base,
            max: base.max(most),
        },
        (None, Some(max)) => Retry {
            base: interval.min(max),
            max,
        },
        (None, None) => Retry {
            base: interval,
            max: interval.max(most),
        },
    }
}

fn breaker(raw: &RawService) -> Breaker {
    let written = raw.breaker.clone().unwrap_or_default();
    Breaker {
        failures: written.failures.unwrap_or(10),
        cooldown: written.cooldown.unwrap_or(Seconds(30 * 60)),
    }
}

fn classify(raw: &RawService) -> Classify {
    let texts = |list: Option<Vec<RawFailure>>| {
        let mut texts: Vec<String> = list.iter().flatten().map(check::failure_text).collect();
        texts.sort_unstable();
        texts.dedup();
        texts
    };
    let written = raw.classify.clone().unwrap_or_default();
    Classify {
        permanent: texts(written.permanent),
        transient: texts(written.transient),
    }
}

#[cfg(test)]
mod tests;
