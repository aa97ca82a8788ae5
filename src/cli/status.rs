//! `lorectl status`: one line a resource, from the state and what the runs recorded. It asks no
//! scheduler, so that it is quick and works where none answers; `drift` asks.

use crate::{
    credential::setback::Issuers,
    error::{Code, Error, Result},
    id::{Address, Kind, Timestamp},
    layout::Layout,
    observe::Memory,
    resource::Applied,
    retry::Gate,
    service::{
        definition::Service,
        schedule::{self, Fire, Past},
        status::{
            Outcome, RunRecord, State, Status,
            file::{self, Stored},
        },
    },
    view::{
        state::{Held, LastRun, RunOutcome, State as Shown},
        status::{Row, Status as Page},
    },
};

use super::{
    Done,
    context::Context,
    credential::{self, renewers::renewers},
};

/// Shows all of a project, or one resource.
pub fn run(context: &Context, only: Option<&Address>) -> Result<Done> {
    let layout = context.layout(context.project()?);
    let memory = memory(context, &layout)?;
    let now = context.now();
    let records = memory.state.resources.iter();
    let chosen: Vec<(&Address, &Applied)> = records
        .filter(|(address, _)| only.is_none_or(|only| only == *address))
        .collect();
    if let Some(only) = only
        && chosen.is_empty()
    {
        return Err(unknown(only));
    }
    let mut page = Page {
        project: layout.project().to_string(),
        host: crate::effect::host::name()?,
        serial: memory.state.serial,
        at: now,
        resources: Vec::with_capacity(chosen.len()),
        notes: Vec::new(),
    };
    if !memory.open_journals.is_empty() {
        page.notes.push(
            "an apply did not end; `lorectl plan` looks what was done, and `lorectl apply` goes on from there".to_owned(),
        );
    }
    let renewers = renewers(context, &layout, &memory)?;
    let issuers = Issuers::new(context.disk.as_ref(), &layout);
    let mut damaged = None;
    for (address, record) in chosen {
        if address.kind == Kind::Credential {
            let one = (address, record);
            let row = credential::row(context, &layout, &issuers, one, &renewers, &mut damaged);
            page.resources.push(row);
            continue;
        }
        let service: Service = record.definition.read()?;
        let known = Known::read(context, &layout, &service, record.created_at);
        page.resources.push(known.row(address, &service, now));
    }
    page.sort();
    context.show_rest(&page, damaged)
}

/// What a project remembers, without looking at the host.
pub fn memory(context: &Context, layout: &Layout) -> Result<Memory> {
    let lineage = context.lineage(layout.project())?;
    let memory = Memory::load(context.disk.as_ref(), layout, &lineage, context.now())?;
    memory.refuse_lost(layout)?;
    Ok(memory)
}

/// That an address names nothing.
pub fn unknown(address: &Address) -> Error {
    Error::new(
        Code::NoSuchResource,
        format!("{address} was not applied here"),
    )
    .suggest("`lorectl status` lists what was")
}

/// What is known of a service's runs.
pub struct Known {
    /// Its status; one of a service that never ran where there is none.
    pub status: Status,
    /// Why there is none, where that is a fault.
    pub fault: Option<String>,
    /// Since when a run is under way.
    pub running_since: Option<Timestamp>,
    past: Past,
}

impl Known {
    /// Reads what a service's runs recorded, as hostile input.
    pub fn read(
        context: &Context,
        layout: &Layout,
        service: &Service,
        created_at: Timestamp,
    ) -> Self {
        let disk = context.disk.as_ref();
        let (status, fault) = match file::read(disk, layout, &service.name) {
            Stored::Good(status) => (Some(*status), None),
            Stored::Absent => (None, None),
            Stored::Newer(version, status) => {
                let why = format!("its status is of the newer format {version}");
                (status.map(|status| *status), Some(why))
            }
            Stored::Damaged(why) => (None, Some(format!("its status cannot be read: {why}"))),
        };
        let status = status.unwrap_or_else(|| Status::new(created_at));
        let changed_at = disk
            .stat(&layout.run_file(&service.name))
            .ok()
            .flatten()
            .map_or(created_at, |stat| stat.modified);
        Self {
            past: Past::of(&status, &service.schedule, changed_at),
            running_since: file::running_since(disk, layout, &service.name),
            status,
            fault,
        }
    }

    /// When the next run begins, as far as that can be told, UTC; none while a person must act.
    pub fn next_run(&self, service: &Service, now: Timestamp) -> Option<Timestamp> {
        let runs = self.next_runs(service, now, 1);
        runs.first().map(|fire| fire.at)
    }

    /// The next runs, as far as time alone decides; none while a person must act.
    pub fn next_runs(&self, service: &Service, now: Timestamp, count: usize) -> Vec<Fire> {
        if self.status.paused.is_some() {
            return Vec::new();
        }
        let until = self.status.breaker.as_ref().map(|tripped| {
            let cooldown = service.breaker.cooldown.signed();
            tripped.opened_at.plus_seconds(cooldown)
        });
        let retry = self.status.retry_at(service, now);
        let from = retry.or(until).map_or(now, |at| at.max(now));
        let mut runs = schedule::upcoming(&service.schedule, self.past, from, count);
        if retry.is_some() && runs.first().is_none_or(|fire| fire.at > from) {
            runs.insert(0, Fire::unscheduled(&service.schedule, from));
            runs.truncate(count);
        }
        runs
    }

    /// What it is up to, as its status has it.
    pub fn kept(&self, service: &Service, now: Timestamp) -> State {
        let alive = self.running_since.is_some() || file::run_is_alive(&self.status);
        self.status.state(service, now, alive)
    }

    /// What it is up to.
    pub fn state(&self, service: &Service, now: Timestamp) -> Shown {
        match self.kept(service, now) {
            State::Running => Shown::Running,
            State::RunningStale => Shown::RunningStale,
            State::Degraded => Shown::Degraded,
            State::Backoff => Shown::Backoff,
            State::Paused => Shown::Paused,
            State::HalfOpen => Shown::HalfOpen,
            State::Idle => match &self.status.last_run {
                None => Shown::New,
                Some(run) if run.outcome == Outcome::Failed => Shown::Failed,
                Some(_) => Shown::Idle,
            },
        }
    }

    /// Why it does not run as scheduled, if it does not.
    pub fn held(&self, service: &Service, now: Timestamp) -> Option<Held> {
        let resume = format!("`lorectl service resume {}`", service.name);
        if let Some(paused) = &self.status.paused {
            return Some(Held {
                reason: format!("{}: {}", paused.code, paused.reason),
                until: None,
                lifted_by: Some(resume),
            });
        }
        if let Some(breaker) = &self.status.breaker {
            let failures = self.status.consecutive_failures;
            let last = &breaker.last_error;
            let (until, next) = match self.status.gate(service, now) {
                Gate::Open { until } => (Some(until), ""),
                Gate::HalfOpen | Gate::Closed => (None, "; the next run is a probe"),
            };
            return Some(Held {
                reason: format!("{failures} failures in a row (last: {last}){next}"),
                until,
                lifted_by: Some(resume),
            });
        }
        self.status.next_retry_at.map(|until| Held {
            reason: "the last run failed".to_owned(),
            until: Some(until),
            lifted_by: None,
        })
    }

    /// The last run, for a list.
    pub fn last_run(&self) -> Option<LastRun> {
        self.status.last_run.as_ref().map(|run| LastRun {
            outcome: outcome(run.outcome),
            ended_at: ended(run),
            duration_ms: run.duration_ms,
        })
    }

    fn row(&self, address: &Address, service: &Service, now: Timestamp) -> Row {
        let error = self
            .status
            .last_run
            .as_ref()
            .and_then(|run| run.error.clone());
        Row {
            address: address.clone(),
            state: self.state(service, now),
            next_run: self.next_runs(service, now, 1).first().map(|fire| fire.at),
            last_run: self.last_run(),
            held: self.held(service, now),
            why: self.fault.clone().or(error),
        }
    }
}

/// A run's outcome, as it is shown.
pub const fn outcome(outcome: Outcome) -> RunOutcome {
    match outcome {
        Outcome::Success => RunOutcome::Success,
        Outcome::Degraded => RunOutcome::Degraded,
        Outcome::Failed => RunOutcome::Failed,
    }
}

/// When a run ended.
fn ended(run: &RunRecord) -> Timestamp {
    let millis = i64::try_from(run.duration_ms).unwrap_or(0);
    Timestamp::from_millis(run.started_at.millis().saturating_add(millis))
}
