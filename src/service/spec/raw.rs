//! A service as its author writes it. The doc comments are the descriptions in the JSON Schema,
//! so they speak to that author.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use super::{
    sink::RawUrl,
    text::{EnvName, HostName, SettingName, UserName},
};
use crate::{
    id::{Address, ResourceName, Seconds},
    service::definition::{
        CatchUp, CredentialForm, CredentialUse, Criticality, ExitPolicy, Overlap, Sandbox,
        Scheduler,
    },
};

/// A scheduled job.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Service")]
pub struct RawService {
    /// One line for lists and units.
    pub description: Option<String>,
    /// Whom it runs as. `systemd-system` requires it; `"root"` only when written.
    pub user: Option<UserName>,
    /// When it is due.
    pub schedule: Option<RawSchedule>,
    /// Who wakes it: `auto` is chosen when the service is created, and stays.
    pub scheduler: Option<RawScheduler>,
    /// The command as an argument vector, never a shell line. It is one core stage named `run`.
    #[schemars(length(min = 1))]
    pub run: Option<Vec<String>>,
    /// The commands, in order, where there are several.
    #[schemars(length(min = 1, max = 100))]
    pub stages: Option<Vec<RawStage>>,
    /// The environment of every stage, beyond `PATH`, `HOME`, `LANG` and `LORECTL_*`.
    pub env: BTreeMap<EnvName, RawEnvValue>,
    /// Absolute paths that the job may write; all else but its own data is read-only to it.
    pub write_paths: Option<Vec<String>>,
    /// Where stages start: absolute, or from the directory of the spec file, which is the default.
    pub working_dir: Option<String>,
    /// The limit of a whole run. Default: `15m`.
    pub timeout: Option<Seconds>,
    /// The longest random delay added to a wake-up. Default: `60s`.
    pub splay: Option<Seconds>,
    /// What an occurrence does while the last one still runs. Default: `skip`.
    pub overlap: Option<Overlap>,
    /// What is done about occurrences missed while the host was off. Default: `once`.
    pub catch_up: Option<CatchUp>,
    /// The entry of `profiles` that chooses the stages. Without it all stages run.
    pub profile: Option<ResourceName>,
    /// Named choices of stages. They run in the order in which `stages` declares them.
    pub profiles: BTreeMap<ResourceName, Vec<ResourceName>>,
    /// How long to wait after failures that may pass.
    pub retry: Option<RawRetry>,
    /// When to stop trying.
    pub breaker: Option<RawBreaker>,
    /// Which failures are for good and which for now, beyond sysexits(3).
    pub classify: Option<RawClassify>,
    /// How the runner's exit status is chosen. Default: `policy`.
    pub exit: Option<ExitPolicy>,
    /// A lock that it shares with the services that name the same.
    pub lock: Option<ResourceName>,
    /// How far the unit is hardened. Default: `strict`.
    pub sandbox: Option<Sandbox>,
    /// Settings of `[Service]` in place of ours: the way out for what is not modelled.
    pub unit: BTreeMap<SettingName, RawSetting>,
    /// The hosts that have it, of those that `[hosts]` lists. Default: every host.
    #[schemars(length(min = 1))]
    pub on: Option<Vec<HostName>>,
    /// What must be there before it, and goes after it: `service.NAME`.
    pub depends_on: Option<Vec<Address>>,
    /// Not destroyed and not replaced, until an apply of `protect = false`.
    pub protect: Option<bool>,
    /// Parts whose drift is left alone: `service`, `timer`, `run.json`, `data`, `enabled`, `active`, `replaces`, `drop-in/…`.
    pub ignore_drift: Option<Vec<String>>,
    /// The entries of `[notify]` that hear of it.
    pub notify: Option<Vec<ResourceName>>,
    /// A dead-man's switch: the URL is asked with `/start` at its end when a run begins, as it is when
    /// the run did its work, and with `/fail` when it did not.
    pub ping: Option<RawUrl>,
    /// What it takes the place of, and retires: `systemd:NAME.timer`, `systemd-user:NAME.timer`, or
    /// `crontab:FILE#LINE` and `crontab:USER#LINE` as `lorectl init --from-host` names lines.
    pub replaces: Option<String>,
    /// Whether a changed program file is drift.
    pub pin_program: Option<bool>,
}

/// What services do not say themselves.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct RawServiceDefaults(pub RawService);

/// The keys that make a service this one, and so have no default.
const OWN: [&str; 8] = [
    "description",
    "run",
    "stages",
    "profile",
    "profiles",
    "depends_on",
    "ping",
    "replaces",
];

impl JsonSchema for RawServiceDefaults {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ServiceDefaults".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = RawService::json_schema(generator);
        schema.insert(
            "description".to_owned(),
            "What services do not say themselves. A table is merged key by key.".into(),
        );
        if let Some(properties) = schema
            .get_mut("properties")
            .and_then(serde_json::Value::as_object_mut)
        {
            properties.retain(|key, _| !OWN.contains(&key.as_str()));
        }
        schema
    }
}

/// When a service is due: `every`, or `cron` and `timezone`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Schedule")]
pub struct RawSchedule {
    /// The interval, counted from the last scheduled start.
    pub every: Option<Seconds>,
    /// Five fields: minute, hour, day of the month, month, day of the week.
    pub cron: Option<String>,
    /// The IANA zone of `cron`, as `Europe/Paris`.
    pub timezone: Option<String>,
}

/// Who wakes a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Scheduler")]
pub enum RawScheduler {
    /// As root the system manager; else the user's; where there is none, the worker.
    Auto,
    /// A timer of the system manager.
    SystemdSystem,
    /// A timer of the manager of whoever applies, or, where root does, of `user`.
    SystemdUser,
    /// `lorectl worker`.
    Worker,
}

impl RawScheduler {
    /// The scheduler that is named; `None` is `auto`.
    pub const fn named(self) -> Option<Scheduler> {
        match self {
            Self::Auto => None,
            Self::SystemdSystem => Some(Scheduler::SystemdSystem),
            Self::SystemdUser => Some(Scheduler::SystemdUser),
            Self::Worker => Some(Scheduler::Worker),
        }
    }
}

/// One command of a service.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Stage")]
pub struct RawStage {
    /// Its name within the service.
    pub name: ResourceName,
    /// The command as an argument vector, never a shell line.
    #[schemars(length(min = 1))]
    pub run: Vec<String>,
    /// Its own limit. Default: what is left of the run's.
    pub timeout: Option<Seconds>,
    /// Whether its failure is the run's. Default: `core`.
    pub criticality: Option<Criticality>,
}

/// The value of a variable.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "EnvValue")]
pub enum RawEnvValue {
    /// The text, literally: `%`, `$` and quotes mean nothing.
    Text(String),
    /// A credential's value, or the path of a file that holds it.
    Credential(RawCredentialUse),
}

/// How a variable gets a credential.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CredentialUse")]
pub struct RawCredentialUse {
    /// Which of `[credentials]`.
    pub credential: ResourceName,
    /// Its value, or the path of a file that holds it. Default: `value`.
    pub r#as: Option<RawCredentialForm>,
}

impl RawCredentialUse {
    /// The same with every choice made.
    pub fn chosen(&self) -> CredentialUse {
        CredentialUse {
            credential: self.credential.clone(),
            form: match self.r#as {
                None | Some(RawCredentialForm::Value) => CredentialForm::Value,
                Some(RawCredentialForm::Path) => CredentialForm::Path,
            },
        }
    }
}

/// What a variable holds of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "CredentialForm")]
pub enum RawCredentialForm {
    /// The value itself.
    Value,
    /// The path of a file that holds it.
    Path,
}

/// A setting's value; a list gives the setting once for each, and an empty one takes ours away.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Setting")]
pub enum RawSetting {
    /// `true` or `false`.
    Flag(bool),
    /// A number.
    Integer(i64),
    /// The text, literally.
    Text(String),
    /// Several.
    List(Vec<String>),
}

impl RawSetting {
    /// The values as texts.
    pub fn values(&self) -> Vec<String> {
        match self {
            Self::Flag(flag) => vec![flag.to_string()],
            Self::Integer(number) => vec![number.to_string()],
            Self::Text(text) => vec![text.clone()],
            Self::List(list) => list.clone(),
        }
    }
}

/// The wait after failures in a row is drawn from `base` to twice the last bound, at most `max`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Retry")]
pub struct RawRetry {
    /// The lower bound. Default: the interval; for cron `30m`.
    pub base: Option<Seconds>,
    /// The last upper bound. Default: `4h`.
    pub max: Option<Seconds>,
}

/// After so many failures in a row nothing is tried but, after a while, one probe.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Breaker")]
pub struct RawBreaker {
    /// The failures in a row that trip it. Default: 10.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub failures: Option<u32>,
    /// How long it stays open. Default: `30m`.
    pub cooldown: Option<Seconds>,
}

/// Exit statuses and error codes by what they mean.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Classify")]
pub struct RawClassify {
    /// What pauses the service until a person resumes it.
    pub permanent: Option<Vec<RawFailure>>,
    /// What backs off and is tried again.
    pub transient: Option<Vec<RawFailure>>,
}

/// A way to fail: an exit status, or the `error_code` of a result.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Failure")]
pub enum RawFailure {
    /// An exit status.
    Status(#[schemars(range(min = 1, max = 255))] u8),
    /// An error code, as `AUTH_FAILED`.
    Code(String),
}

impl RawService {
    /// Takes from `defaults` what it does not say itself; tables key by key.
    pub fn inherit(&mut self, defaults: &Self) {
        /// Sets what is not set.
        fn fill<T: Clone>(own: &mut Option<T>, default: Option<&T>) {
            if own.is_none() {
                *own = default.cloned();
            }
        }
        // Taken apart in full, so that a new key cannot be forgotten here.
        let Self {
            description: _,
            user,
            schedule,
            scheduler,
            run: _,
            stages: _,
            env,
            write_paths,
            working_dir,
            timeout,
            splay,
            overlap,
            catch_up,
            profile: _,
            profiles: _,
            retry,
            breaker,
            classify,
            exit,
            lock,
            sandbox,
            unit,
            on,
            depends_on: _,
            protect,
            ignore_drift,
            notify,
            ping: _,
            replaces: _,
            pin_program,
        } = defaults;
        fill(&mut self.user, user.as_ref());
        fill(&mut self.schedule, schedule.as_ref());
        fill(&mut self.scheduler, scheduler.as_ref());
        fill(&mut self.write_paths, write_paths.as_ref());
        fill(&mut self.working_dir, working_dir.as_ref());
        fill(&mut self.timeout, timeout.as_ref());
        fill(&mut self.splay, splay.as_ref());
        fill(&mut self.overlap, overlap.as_ref());
        fill(&mut self.catch_up, catch_up.as_ref());
        fill(&mut self.exit, exit.as_ref());
        fill(&mut self.lock, lock.as_ref());
        fill(&mut self.sandbox, sandbox.as_ref());
        fill(&mut self.on, on.as_ref());
        fill(&mut self.protect, protect.as_ref());
        fill(&mut self.ignore_drift, ignore_drift.as_ref());
        fill(&mut self.notify, notify.as_ref());
        fill(&mut self.pin_program, pin_program.as_ref());
        if let Some(defaults) = retry {
            let own = self.retry.get_or_insert_default();
            fill(&mut own.base, defaults.base.as_ref());
            fill(&mut own.max, defaults.max.as_ref());
        }
        if let Some(defaults) = breaker {
            let own = self.breaker.get_or_insert_default();
            fill(&mut own.failures, defaults.failures.as_ref());
            fill(&mut own.cooldown, defaults.cooldown.as_ref());
        }
        if let Some(defaults) = classify {
            let own = self.classify.get_or_insert_default();
            fill(&mut own.permanent, defaults.permanent.as_ref());
            fill(&mut own.transient, defaults.transient.as_ref());
        }
        for (name, value) in env {
            self.env
                .entry(name.clone())
                .or_insert_with(|| value.clone());
        }
        for (name, value) in unit {
            self.unit
                .entry(name.clone())
                .or_insert_with(|| value.clone());
        }
    }
}
