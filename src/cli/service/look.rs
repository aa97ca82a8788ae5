//! `lorectl service list` and `service status`: what a service's runs recorded, and whether its
//! scheduler still has what was applied. A scheduler that does not answer is said, and is no failure.

use std::collections::BTreeMap;

use super::{applied, unit_name};
use crate::{
    cli::{
        Done,
        context::Context,
        project::{Project, readers},
        status::{Known, memory, outcome},
        tidings,
    },
    effect::{executable, host},
    error::{Code, Result},
    id::{Address, Kind, ResourceName, Timestamp},
    layout::Layout,
    notify::outbox::file::Stored,
    observe::Wish,
    plan::Options,
    resource::Level,
    retry::Gate,
    service::status::file,
    service::{
        backend::lingering_warning,
        definition::{Criticality, Schedule, Scheduler, Service},
        doctor::{Check, Verdict},
        notify::courier,
        plan::{fires, schedule as schedule_text},
        run::report::BREAKER,
        schedule::Fire,
        status::{RunRecord, StageResult, State as Kept},
        worker,
    },
    view::{
        service::{
            Backoff, FireData, Levels, List, ListRow, PlatformState, Run, ServiceStatus, SkipData,
            Stage, Undelivered,
        },
        state::{RunOutcome, State},
    },
};

/// What the host says of the services that were applied.
struct Observed {
    /// Those that differ.
    drift: BTreeMap<Address, Levels>,
    /// Why nothing is known, where nothing is.
    silent: Option<String>,
}

impl Observed {
    /// Asks the schedulers, of one service or of all; never fails for want of an answer.
    async fn of(context: &Context, layout: &Layout, only: Option<&Address>) -> Self {
        match Self::ask(context, layout, only).await {
            Ok(drift) => Self {
                drift,
                silent: None,
            },
            Err(error) => Self {
                drift: BTreeMap::new(),
                silent: Some(error.chain()),
            },
        }
    }

    async fn ask(
        context: &Context,
        layout: &Layout,
        only: Option<&Address>,
    ) -> Result<BTreeMap<Address, Levels>> {
        let mut project = Project::open(context, layout.project().clone())?;
        if let Some(only) = only {
            let resources = &mut project.memory.state.resources;
            resources.retain(|address, _| address == only);
        }
        let wish = Wish::default();
        let backends = project.backends(&wish)?;
        let options = Options {
            drift_only: true,
            ..Options::default()
        };
        let (_, plan) = project.plan(wish, &readers(&backends), options).await?;
        let mut found = BTreeMap::new();
        for drift in plan.drift {
            let at = |level| {
                let mut fields = drift.fields.iter();
                fields.any(|field| field.level == level && !field.ignored)
            };
            let levels = Levels {
                platform_drift: at(Level::Platform),
                spec_drift: at(Level::Definition),
                command_drift: at(Level::Command),
            };
            found.insert(drift.address, levels);
        }
        Ok(found)
    }

    fn drift(&self, address: &Address) -> Option<Levels> {
        let known = self.silent.is_none();
        known.then(|| self.drift.get(address).copied().unwrap_or_default())
    }

    /// What it is up to, for people: that it differs says more than that all is well.
    fn state(&self, address: &Address, known: State) -> State {
        match self.drift(address) {
            Some(drift) if drift != Levels::default() => known.min(State::Drifted),
            Some(_) | None => known,
        }
    }

    fn platform(&self, context: &Context, service: &Service, address: &Address) -> PlatformState {
        if service.scheduler == Scheduler::Worker && !worker::is_alive(&context.state_dir) {
            return PlatformState::Unloaded;
        }
        match self.drift(address) {
            None => PlatformState::Unknown,
            Some(drift) if drift.platform_drift => PlatformState::Unloaded,
            Some(_) => PlatformState::Loaded,
        }
    }
}

/// What `service doctor` asks of others than the service's own files: the program that a scheduler
/// calls, the scheduler itself, and whether it has what was applied.
pub(super) async fn checks(
    context: &Context,
    layout: &Layout,
    name: &ResourceName,
) -> Result<Vec<Check>> {
    let (service, _) = applied(context, layout, name)?;
    let address = Address::new(Kind::Service, name.clone());
    let by_units = match service.scheduler {
        Scheduler::SystemdSystem | Scheduler::SystemdUser => true,
        Scheduler::Worker => false,
    };
    let mut checks = Vec::new();
    let binary = "binary_path";
    checks.push(match executable::stable_binary(context.account.owner.uid) {
        Err(error) if by_units => {
            let action = error.suggestion.clone().unwrap_or_default();
            Check::new(binary, Verdict::Warn, error.message, &action)
        }
        Ok(_) | Err(_) => Check::pass(binary),
    });
    let observed = Observed::of(context, layout, Some(&address)).await;
    let platform = "platform_prerequisites";
    if let Some(silent) = &observed.silent {
        checks.push(Check::new(platform, Verdict::Fail, silent.clone(), ""));
    }
    let user = service.manager_of().unwrap_or(&context.account.name);
    if let Some(warning) = lingering_warning(service.scheduler, user, host::lingers(user)) {
        let action = format!("loginctl enable-linger {user}");
        checks.push(Check::new(platform, Verdict::Warn, warning, &action));
    }
    let state = "install_state";
    checks.push(match observed.drift(&address) {
        None => Check::new(state, Verdict::Warn, "it could not be told".to_owned(), ""),
        Some(drift) if drift == Levels::default() => Check::pass(state),
        Some(drift) => {
            // What its scheduler does not wake does not run; the rest runs, but otherwise.
            let verdict = if drift.platform_drift {
                Verdict::Fail
            } else {
                Verdict::Warn
            };
            let levels = drift.levels().join(", ");
            let message = format!("the host differs from what was applied: {levels}");
            Check::new(state, verdict, message, "lorectl drift; lorectl apply")
        }
    });
    Ok(checks)
}

fn interval(service: &Service) -> Option<u64> {
    match service.schedule {
        Schedule::Every(every) => Some(every.0),
        Schedule::Cron { .. } => None,
    }
}

pub(super) async fn list(context: &Context) -> Result<Done> {
    let layout = context.layout(context.project()?);
    let now = context.now();
    let mut list = List {
        project: layout.project().to_string(),
        at: now,
        services: Vec::new(),
    };
    let records = memory(context, &layout)?.state.resources;
    let observed = Observed::of(context, &layout, None).await;
    for (address, record) in &records {
        if address.kind != Kind::Service {
            continue;
        }
        let service: Service = record.definition.read()?;
        let known = Known::read(context, &layout, &service, record.created_at);
        list.services.push(ListRow {
            name: service.name.to_string(),
            service_id: service.id.to_string(),
            state: observed.state(address, known.state(&service, now)),
            scheduler_state: known.kept(&service, now).as_str().to_owned(),
            schedule: schedule_text(&service.schedule),
            interval_seconds: interval(&service),
            profile: service.profile.clone(),
            platform: service.scheduler.as_str().to_owned(),
            platform_state: observed.platform(context, &service, address),
            drift: (observed.drift(address)).map(|drift| drift != Levels::default()),
            installed_at_iso: record.created_at,
            next_run: known
                .next_runs(&service, now, 1)
                .first()
                .map(|fire| fire.at),
            last_run: known.last_run(),
        });
    }
    list.sort();
    if let Some(silent) = observed.silent {
        super::warn(context, &[silent]);
    }
    context.show(&list)
}

pub(super) async fn status(context: &Context, name: &ResourceName) -> Result<Done> {
    let layout = context.layout(context.project()?);
    let now = context.now();
    let (service, record) = match applied(context, &layout, name) {
        Ok(known) => known,
        // Whoever looks is to be told, not refused.
        Err(error) if error.code == Code::NoSuchResource => {
            return context.show(&not_installed(&layout, name, now));
        }
        Err(error) => return Err(error),
    };
    let address = Address::new(Kind::Service, name.clone());
    let observed = Observed::of(context, &layout, Some(&address)).await;
    let known = Known::read(context, &layout, &service, record.created_at);
    let next = known.next_runs(&service, now, 3);
    let mut notes: Vec<String> = known.fault.iter().cloned().collect();
    notes.extend(stale(&known, &service, now));
    let aside = file::last_aside(context.disk.as_ref(), &layout, &service.name);
    notes.extend(aside.map(|(aside, at)| {
        let path = layout.data(&service.name).join(aside);
        format!(
            "a status that could not be read was set aside at {at}: {}",
            path.display()
        )
    }));
    notes.extend(observed.silent.clone());
    let undelivered = undelivered(context, &layout, &service, &mut notes);
    let kept = known.kept(&service, now);
    let last = known.status.last_run.iter();
    let before = known.status.recent_runs.iter().skip(1);
    let page = ServiceStatus {
        name: service.name.to_string(),
        project: layout.project().to_string(),
        at: now,
        installed: true,
        service_id: Some(service.id.to_string()),
        description: service.description.clone(),
        state: known.state(&service, now),
        scheduler_state: kept.as_str().to_owned(),
        held: known.held(&service, now),
        paused_reason: paused_reason(&known, &service, now),
        backoff: backoff(&known, &service, now),
        schedule: Some(schedule_text(&service.schedule)),
        interval_seconds: interval(&service),
        profile: service.profile.clone(),
        platform: Some(service.scheduler.as_str().to_owned()),
        platform_state: observed.platform(context, &service, &address),
        user: service.user.clone(),
        next_runs: next.iter().map(|fire| fire.at).collect(),
        next_in_zone: match &service.schedule {
            Schedule::Every(_) => None,
            Schedule::Cron { .. } => fires(&next, now),
        },
        next_fires: next.into_iter().map(shown_fire).collect(),
        running_since: known.running_since,
        runs: last.chain(before).map(shown).collect(),
        consecutive_failures: known.status.consecutive_failures,
        skipped: (known.status.skipped.iter())
            .map(|(reason, count)| (reason.as_str().to_owned(), *count))
            .collect(),
        last_skip: known.status.last_skip.as_ref().map(|skip| SkipData {
            timestamp_iso: skip.at,
            reason: skip.reason.as_str().to_owned(),
        }),
        drift: observed.drift(&address),
        unit: unit_name(&service),
        undelivered,
        notes,
    };
    context.show(&page)
}

/// Whom the last news of a service has not reached.
fn undelivered(
    context: &Context,
    layout: &Layout,
    service: &Service,
    notes: &mut Vec<String>,
) -> Vec<Undelivered> {
    let mut outbox = match courier::read(context.disk.as_ref(), layout, &service.name) {
        Stored::Good(outbox) => outbox,
        Stored::Newer(version) => {
            notes.push(format!("its outbox is of the newer format {version}"));
            return Vec::new();
        }
        Stored::Damaged(why) => {
            notes.push(format!("its outbox cannot be read: {why}"));
            return Vec::new();
        }
    };
    outbox.keep_known(&service.notify, service.ping.is_some());
    let mut all = tidings::undelivered(&outbox, &service.notify);
    all.extend(outbox.ping.map(|fault| Undelivered {
        to: "ping".to_owned(),
        waiting: 0,
        given_up: 0,
        last_error: Some(fault.error),
        next_try: None,
    }));
    all
}

fn not_installed(layout: &Layout, name: &ResourceName, now: Timestamp) -> ServiceStatus {
    ServiceStatus {
        name: name.to_string(),
        project: layout.project().to_string(),
        at: now,
        installed: false,
        service_id: None,
        description: None,
        state: State::NotInstalled,
        scheduler_state: State::NotInstalled.as_str().replace(' ', "_"),
        held: None,
        paused_reason: None,
        backoff: None,
        schedule: None,
        interval_seconds: None,
        profile: None,
        platform: None,
        platform_state: PlatformState::Unloaded,
        user: None,
        next_runs: Vec::new(),
        next_fires: Vec::new(),
        next_in_zone: None,
        running_since: None,
        runs: Vec::new(),
        consecutive_failures: 0,
        skipped: BTreeMap::new(),
        last_skip: None,
        drift: None,
        unit: None,
        undelivered: Vec::new(),
        notes: vec![
            "it was not applied here; `lorectl service list` shows what was, `lorectl apply` makes what the spec says".to_owned(),
        ],
    }
}

/// Why it is paused, with the command that resumes it.
fn paused_reason(known: &Known, service: &Service, now: Timestamp) -> Option<String> {
    let status = &known.status;
    let resume = format!("Run: lorectl service resume {}", service.name);
    if let Some(paused) = &status.paused {
        return Some(format!("{}: {}. {resume}", paused.code, paused.reason));
    }
    let tripped = status.breaker.as_ref()?;
    let Gate::Open { .. } = status.gate(service, now) else {
        return None;
    };
    Some(format!(
        "{BREAKER}: {} consecutive transient failures (last: {}). {resume}",
        status.consecutive_failures, tripped.last_error
    ))
}

/// What a failure makes it wait for.
fn backoff(known: &Known, service: &Service, now: Timestamp) -> Option<Backoff> {
    let status = &known.status;
    let wait = |at: Option<Timestamp>, message: &str| Backoff {
        consecutive_failures: status.consecutive_failures,
        next_retry_iso: at,
        remaining_seconds: at.map_or(0, |at| u64::try_from(at.seconds_since(now)).unwrap_or(0)),
        backoff_reason: match (&status.breaker, status.retry_after) {
            (Some(_), _) => "breaker",
            (None, true) => "retry_after",
            (None, false) => "drawn",
        },
        circuit_breaker_cooldown_expired: false,
        message: message.to_owned(),
    };
    if status.paused.is_some() {
        return None;
    }
    match status.gate(service, now) {
        Gate::Open { until } => Some(wait(
            Some(until),
            "the breaker is open; the first run after its cooldown is a probe",
        )),
        Gate::HalfOpen => Some(Backoff {
            circuit_breaker_cooldown_expired: true,
            ..wait(
                None,
                "the breaker's cooldown is over; the next run is a probe",
            )
        }),
        Gate::Closed => status
            .next_retry_at
            .map(|at| wait(Some(at), "the last run failed and is tried again then")),
    }
}

/// A run whose runner is gone.
fn stale(known: &Known, service: &Service, now: Timestamp) -> Option<String> {
    let run = known.status.current_run.as_ref()?;
    (known.kept(service, now) == Kept::RunningStale).then(|| {
        format!(
            "the run of {} has not recorded its end, and its process {} is gone; the next run counts it as failed",
            run.started_at, run.pid
        )
    })
}

fn shown_fire(fire: Fire) -> FireData {
    FireData {
        at: fire.at,
        local: fire.local,
        transition: fire.transition.map(str::to_owned),
    }
}

fn shown(run: &RunRecord) -> Run {
    Run {
        started_at: run.started_at,
        duration_ms: run.duration_ms,
        outcome: outcome(run.outcome),
        error: run.error.clone(),
        stages: run.stages.iter().map(shown_stage).collect(),
    }
}

fn shown_stage(stage: &StageResult) -> Stage {
    Stage {
        name: stage.stage.clone(),
        outcome: if stage.success {
            RunOutcome::Success
        } else {
            RunOutcome::Failed
        },
        duration_ms: stage.duration_ms,
        optional: stage.criticality == Criticality::Optional,
        items_updated: (stage.items_updated > 0).then_some(stage.items_updated),
        error: stage.error.clone(),
        error_code: stage.error_code.clone(),
    }
}
