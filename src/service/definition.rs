//! What the spec's author asked of a service, with every choice made: the
//! contract between planner and runner, kept as `run.json`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    id::{Digest, ProjectName, ResourceId, ResourceName, Seconds},
    notify::sink::{Sink, Target, UrlSource},
};

/// The version of `run.json` that this binary writes and the newest that it reads.
pub const RUN_VERSION: u32 = 1;

/// Begins what cannot be told of a path where a plan is made for another host: `KNOWN-AT-APPLY/x` ends
/// so there and begins from the spec's directory, `KNOWN-AT-APPLY:x` is a program that is looked up there.
///
/// It stands in [`Service::working_dir`] and for the program of a stage, nowhere else. Both are
/// absolute in what is applied, so nothing that is can be taken for it.
pub const KNOWN_AT_APPLY: &str = "KNOWN-AT-APPLY";

/// The same, for the digest of a pinned program: no file has it.
pub const DIGEST_AT_APPLY: Digest = Digest::from_bytes([0; 32]);

/// Who wakes the runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheduler {
    /// A timer of the system manager.
    SystemdSystem,
    /// A timer of the user's manager.
    SystemdUser,
    /// `lorectl worker`.
    Worker,
}

impl Scheduler {
    /// As the spec and the state write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SystemdSystem => "systemd-system",
            Self::SystemdUser => "systemd-user",
            Self::Worker => "worker",
        }
    }

    /// The backend of the same name.
    pub const fn backend(self) -> crate::id::BackendId {
        crate::id::BackendId::from_static(self.as_str())
    }

    /// The scheduler of that backend.
    pub fn of(backend: &crate::id::BackendId) -> Option<Self> {
        if user_of(backend).is_some() {
            return Some(Self::SystemdUser);
        }
        [Self::SystemdSystem, Self::SystemdUser, Self::Worker]
            .into_iter()
            .find(|scheduler| scheduler.as_str() == backend.as_str())
    }
}

/// Between `systemd-user` and the user in the name of the backend that is another user's manager.
const OF_USER: char = '@';

/// The backend that is the manager of a user who is not the one who applies.
pub fn backend_of_user(user: &str) -> crate::id::BackendId {
    let scheduler = Scheduler::SystemdUser.as_str();
    crate::id::BackendId::from_text(&format!("{scheduler}{OF_USER}{user}"))
}

/// Whose manager a backend is, where it is that of a user other than who applies.
pub fn user_of(backend: &crate::id::BackendId) -> Option<&str> {
    let (scheduler, user) = backend.as_str().split_once(OF_USER)?;
    (scheduler == Scheduler::SystemdUser.as_str() && !user.is_empty()).then_some(user)
}

/// Where bare names of programs are looked for, in order. The caller's own `PATH` has no say, so that
/// the same spec names the same program for everyone.
pub const PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// When a service is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Counted from the last scheduled start.
    Every(Seconds),
    /// At the occurrences of a cron expression in a zone.
    Cron {
        /// Five fields.
        expression: String,
        /// An IANA zone.
        timezone: String,
    },
}

/// What an occurrence does while the last one still runs.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// It is skipped.
    #[default]
    Skip,
    /// It runs after it.
    Queue,
}

/// What is done about occurrences missed while the host was off.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum CatchUp {
    /// One run makes up for all of them.
    #[default]
    Once,
    /// They are left.
    Skip,
}

/// How far the unit is hardened.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Sandbox {
    /// All of it: an exposure of 2.0 or less.
    #[default]
    Strict,
    /// What seldom breaks a job.
    Basic,
    /// None.
    Off,
}

/// Whether a stage's failure is the run's.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Criticality {
    /// It is.
    #[default]
    Core,
    /// It makes the run degraded.
    Optional,
}

/// How the runner's exit status is chosen.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ExitPolicy {
    /// 0 whenever policy was carried out.
    #[default]
    Policy,
    /// By the run's outcome, for who wants failed units.
    Outcome,
}

/// One command of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Its name within the service.
    pub name: ResourceName,
    /// The argument vector; the program is an absolute path.
    pub run: Vec<String>,
    /// Its own limit; without one, what is left of the run's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Seconds>,
    /// Whether its failure is the run's.
    pub criticality: Criticality,
}

/// How long to wait after transient failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// The lower bound, and the first upper one.
    pub base: Seconds,
    /// The last upper bound.
    pub max: Seconds,
}

/// When to stop trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    /// Transient failures in a row that trip it.
    pub failures: u32,
    /// How long it stays open before one probe is let through.
    pub cooldown: Seconds,
}

/// Which failures are for good and which for now, beyond sysexits(3).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classify {
    /// Exit statuses (as decimal text) and error codes that pause.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permanent: Vec<String>,
    /// Exit statuses and error codes that back off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transient: Vec<String>,
}

/// What a variable holds of a credential.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CredentialForm {
    /// Its value.
    #[default]
    Value,
    /// The path of a file that holds the value and nothing else.
    Path,
}

/// Which credential a variable is set from, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialUse {
    /// The credential.
    pub credential: ResourceName,
    /// What of it.
    #[serde(rename = "as")]
    pub form: CredentialForm,
}

/// All that a run needs to know. `run.json` is this, and so is the definition in the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The version of this format.
    pub run_version: u32,
    /// The project.
    pub project: ProjectName,
    /// The service's name.
    pub name: ResourceName,
    /// The mark.
    pub id: ResourceId,
    /// One line for lists and units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who wakes the runner.
    pub scheduler: Scheduler,
    /// Whom it runs as, where the scheduler can choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// When it is due.
    pub schedule: Schedule,
    /// The longest random delay added to a wake-up.
    pub splay: Seconds,
    /// Overlapping runs.
    pub overlap: Overlap,
    /// Missed occurrences.
    pub catch_up: CatchUp,
    /// The limit of a whole run.
    pub timeout: Seconds,
    /// Where stages start. Absolute.
    pub working_dir: PathBuf,
    /// The environment of every stage beyond `PATH`, `HOME`, `LANG` and `LORECTL_*`. No secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The variables of every stage that are set from credentials, when it starts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub credentials: BTreeMap<String, CredentialUse>,
    /// The credentials that are renewed before a run, where they are due: those whose next value can be
    /// had without ending the one in use. Never by the job's user.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub refreshes: BTreeSet<ResourceName>,
    /// The credentials that it uses and of which systemd alone opens the file: encrypted for this host.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub sealed: BTreeSet<ResourceName>,
    /// What the job may write besides its own data. Absolute.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub write_paths: Vec<PathBuf>,
    /// What it takes the place of, as [`super::adopt::id::Replaced`] is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// The lock it shares with services that name the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<ResourceName>,
    /// The profile that chose the stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// What is run, in order; at least one, and one of them core.
    pub stages: Vec<Stage>,
    /// Backoff.
    pub retry: Retry,
    /// Breaker.
    pub breaker: Breaker,
    /// Classification.
    #[serde(default)]
    pub classify: Classify,
    /// The runner's exit status.
    pub exit: ExitPolicy,
    /// Hardening.
    pub sandbox: Sandbox,
    /// The digests of its programs by path, where `pin_program` asks for them: as they were when this was
    /// planned. A plan compares them with what is there; a run does not, since a program that was upgraded
    /// is no reason to miss a backup.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub programs: BTreeMap<String, Digest>,
    /// Settings of `[Service]` that replace ours, as the spec gives them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unit: BTreeMap<String, Vec<String>>,
    /// Who hears of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<Sink>,
    /// The dead-man's switch that its runs tell of their start and end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ping: Option<UrlSource>,
}

impl Service {
    /// Who wakes it: its scheduler's backend, or the manager of the other user whose it is.
    pub fn backend(&self) -> crate::id::BackendId {
        match self.manager_of() {
            Some(user) => backend_of_user(user),
            None => self.scheduler.backend(),
        }
    }

    /// The user in whose manager it is, where that is another than who applies.
    pub fn manager_of(&self) -> Option<&str> {
        match self.scheduler {
            Scheduler::SystemdUser => self.user.as_deref(),
            Scheduler::SystemdSystem | Scheduler::Worker => None,
        }
    }

    /// Whether something of it is only known on its host: see [`KNOWN_AT_APPLY`].
    pub fn has_unknowns(&self) -> bool {
        let stages = self.stages.iter().map(|stage| &stage.run);
        let sinks = self.notify.iter().filter_map(|sink| match &sink.to {
            Target::Command(run) => Some(run),
            Target::Webhook { .. } => None,
        });
        let programs = stages.chain(sinks).filter_map(|run| run.first());
        let dir = self.working_dir.to_str();
        (programs.map(String::as_str).chain(dir)).any(|path| path.starts_with(KNOWN_AT_APPLY))
            || self.programs.values().any(|pin| *pin == DIGEST_AT_APPLY)
    }

    /// Takes what is only known on its host from what was applied there, where that is still the same
    /// as far as it is written: a program of that name, a path that ends like this one.
    pub fn fill_in(&mut self, applied: &Self) {
        let was = applied.working_dir.to_str().unwrap_or_default();
        if let Some(known) = (self.working_dir.to_str()).and_then(|path| known(path, was)) {
            self.working_dir = known.into();
        }
        for stage in &mut self.stages {
            let was = applied.stages.iter().find(|was| was.name == stage.name);
            let was = was.and_then(|was| was.run.first());
            if let Some(program) = stage.run.first_mut()
                && let Some(known) = was.and_then(|was| known(program, was))
            {
                *program = known;
            }
        }
        fill_in_sinks(&mut self.notify, &applied.notify);
        self.repin(applied);
    }

    /// Pins as was applied what is the same program.
    fn repin(&mut self, applied: &Self) {
        if self.programs.is_empty() {
            return;
        }
        let programs = self.stages.iter().filter_map(|stage| stage.run.first());
        self.programs = programs
            .map(|path| {
                let pin = applied.programs.get(path).copied();
                (path.clone(), pin.unwrap_or(DIGEST_AT_APPLY))
            })
            .collect();
    }

    /// The files that telling others of it needs: those of secret URLs and certificates, and programs.
    pub fn told_with(&self) -> impl Iterator<Item = &Path> {
        fn file(source: &UrlSource) -> Option<&Path> {
            match source {
                UrlSource::Url(_) | UrlSource::Credential(_) => None,
                UrlSource::File(path) => Some(path),
            }
        }
        let sinks = self.notify.iter().flat_map(|sink| match &sink.to {
            Target::Webhook { url, ca_file, .. } => [file(url), ca_file.as_deref()],
            Target::Command(argv) => [argv.first().map(Path::new), None],
        });
        sinks.chain([self.ping.as_ref().and_then(file)]).flatten()
    }

    /// The credentials that its runs need: those of its stages, and of who is told of it.
    pub fn uses(&self) -> BTreeSet<&ResourceName> {
        let of_stages = self.credentials.values().map(|used| &used.credential);
        let sinks = self.notify.iter().filter_map(|sink| match &sink.to {
            Target::Webhook { url, .. } => Some(url),
            Target::Command(_) => None,
        });
        let urls = sinks.chain(&self.ping);
        of_stages
            .chain(urls.filter_map(UrlSource::credential))
            .collect()
    }

    /// How long a unit gives a run before it ends it itself: the run's limit, and a minute to record it
    /// and to tell others.
    pub const fn patience(&self) -> Seconds {
        Seconds(self.timeout.0.saturating_add(60))
    }
}

/// Takes the programs of sinks that are only known on their host from what was applied there.
pub fn fill_in_sinks(sinks: &mut [Sink], applied: &[Sink]) {
    for sink in sinks {
        let was = applied.iter().find(|was| was.name == sink.name);
        if let Target::Command(run) = &mut sink.to
            && let Some(Target::Command(was)) = was.map(|was| &was.to)
            && let (Some(program), Some(was)) = (run.first_mut(), was.first())
            && let Some(known) = known(program, was)
        {
            *program = known;
        }
    }
}

/// The applied path, where it may stand for one that is not known here.
fn known(path: &str, applied: &str) -> Option<String> {
    let unknown = path.strip_prefix(KNOWN_AT_APPLY)?;
    let is_same = match unknown.strip_prefix(':') {
        Some(name) => {
            let found = applied.rsplit_once('/');
            found.is_some_and(|(dir, file)| file == name && PATH.contains(&dir))
        }
        // The directory of the spec, or what lies below it.
        None => applied.starts_with('/') && applied.ends_with(unknown),
    };
    is_same.then(|| applied.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_says_whose_manager_it_is() {
        let git = backend_of_user("git");
        assert_eq!(git.as_str(), "systemd-user@git");
        assert_eq!(user_of(&git), Some("git"));
        assert_eq!(Scheduler::of(&git), Some(Scheduler::SystemdUser));
        let own = Scheduler::SystemdUser.backend();
        assert_eq!(user_of(&own), None);
        for none in ["systemd-user@", "worker@git", "systemd-system@git", "@git"] {
            let none = crate::id::BackendId::from_text(none);
            assert_eq!((user_of(&none), Scheduler::of(&none)), (None, None));
        }
    }

    #[test]
    fn what_was_applied_stands_for_what_is_written_the_same() {
        let at = |rest: &str| format!("{KNOWN_AT_APPLY}{rest}");
        for (path, applied, same) in [
            (at(":restic"), "/usr/bin/restic", true),
            (at(":restic"), "/usr/local/bin/restic", true),
            (at(":restic"), "/srv/jobs/restic", false),
            (at(":restic"), "/usr/bin/borg", false),
            (at(""), "/srv/jobs", true),
            (at("/sync"), "/srv/jobs/sync", true),
            (at("/sync"), "/srv/jobs/async", false),
            (at("/sync"), "/srv/jobs", false),
            ("/usr/bin/restic".to_owned(), "/usr/bin/restic", false),
        ] {
            let known = known(&path, applied);
            assert_eq!(known, same.then(|| applied.to_owned()), "{path} {applied}");
        }
    }
}
