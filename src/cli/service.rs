//! `lorectl service …`: looking at services, triggering them, and what schedulers call.

mod look;

use std::{ffi::OsString, time::Duration};

use crate::{
    credential::record,
    effect::{dbus::Manager, environment, lock::Holder, process, random, signals::Interrupts},
    error::{Code, Error, Result},
    id::{Address, Kind, ResourceName, Seconds, Timestamp},
    layout::Layout,
    resource::Applied,
    service::{
        backend,
        definition::{Overlap, Scheduler, Service},
        doctor::{self, Verdict},
        logs,
        run::{
            Runner,
            gate::{self, Ask},
            load,
            report::{Action, RunReport},
            request,
        },
        status::{
            Outcome, SkipReason, Status, Trigger,
            file::{self, Stored},
        },
        unit,
        verb::Verbs,
    },
    view::{
        self,
        service::{LogLine, Logs, NotInstalled, Run, Stage, Stream, Trigger as Triggered},
        state::{Held, RunOutcome},
    },
};

use super::{
    Done,
    args::ServiceCommand,
    context::Context,
    credential::refresh::before_run,
    status::{memory, outcome, unknown},
};

/// How often a triggered run is asked for its end.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Runs a verb.
pub async fn run(context: &Context, command: ServiceCommand) -> Result<Done> {
    match command {
        ServiceCommand::List => look::list(context).await,
        ServiceCommand::Status { name } => look::status(context, &name).await,
        ServiceCommand::Logs {
            name,
            tail,
            follow,
            open,
        } => {
            if open && !context.json() {
                return open_log(context, &name).await;
            }
            if !follow {
                return logs(context, &name, tail);
            }
            // Opened first: a line that comes meanwhile is better shown twice than not at all.
            let layout = context.layout(context.project()?);
            let follower = logs::Follower::open(&layout, &name)
                .map_err(|error| Error::io("read", &layout.logs(&name), error))?;
            logs(context, &name, tail)?;
            follow_logs(context, &name, follower).await?;
            Ok(Done::Fine)
        }
        ServiceCommand::Pause { name, reason } => {
            let layout = context.layout(context.project()?);
            let by = Holder::this_process(context.now()).user;
            let report = verbs(context, &layout, &name)
                .pause(reason.as_deref(), &by)
                .await?;
            warn(context, &report.warnings);
            context.show(&report)
        }
        ServiceCommand::Resume { name } => {
            let layout = context.layout(context.project()?);
            match verbs(context, &layout, &name).resume().await {
                Ok(report) => {
                    warn(context, &report.warnings);
                    context.show(&report)
                }
                // There is nothing that could be paused, which is what was asked for.
                Err(error) if error.code == Code::NoSuchResource => {
                    context.show(&NotInstalled::new(&name))
                }
                Err(error) => Err(error),
            }
        }
        ServiceCommand::Doctor { name, fix } => {
            let layout = context.layout(context.project()?);
            let disk = context.disk.as_ref();
            let mut report = doctor::check(disk, &layout, &name, context.now(), fix).await?;
            for check in look::checks(context, &layout, &name).await? {
                report.add(check);
            }
            context.show(&report)?;
            Ok(match report.overall {
                Verdict::Pass | Verdict::Fixed | Verdict::Warn => Done::Fine,
                Verdict::Fail => Done::As(Code::RunFailed),
            })
        }
        ServiceCommand::Repair { name } => {
            let layout = context.layout(context.project()?);
            context.show(&verbs(context, &layout, &name).repair().await?)
        }
        ServiceCommand::Trigger {
            name,
            ignore_backoff,
        } => Box::pin(trigger(context, &name, ignore_backoff)).await,
        ServiceCommand::Run { name, only_notify } => scheduled(context, &name, only_notify).await,
    }
}

fn verbs<'a>(context: &'a Context, layout: &'a Layout, name: &'a ResourceName) -> Verbs<'a> {
    Verbs {
        disk: &*context.disk,
        layout,
        name,
        now: context.now(),
    }
}

fn warn(context: &Context, warnings: &[String]) {
    for warning in warnings {
        context
            .console
            .complain(&view::error::warning(warning, &context.console.stderr));
    }
}

/// Runs a command while no run of the service can begin; ends as it does.
pub async fn lock(
    context: &Context,
    name: &ResourceName,
    wait: Seconds,
    command: &[OsString],
) -> Result<Done> {
    let layout = context.layout(context.project()?);
    let _locks = verbs(context, &layout, name)
        .hold(Duration::from_secs(wait.0))
        .await?;
    // Ctrl-C is the command's to answer; we wait for its end.
    let _interrupts = Interrupts::listen()?;
    let end = process::foreground(command).await.map_err(|error| {
        let shown = command.first().map(|c| c.to_string_lossy().into_owned());
        Error::new(
            Code::Usage,
            format!("cannot run {}", shown.unwrap_or_default()),
        )
        .because(error)
    })?;
    Ok(Done::Status(end.shell_status()))
}

/// A service that was applied here.
fn applied(context: &Context, layout: &Layout, name: &ResourceName) -> Result<(Service, Applied)> {
    let address = Address::new(Kind::Service, name.clone());
    let mut memory = memory(context, layout)?;
    let record = memory
        .state
        .resources
        .remove(&address)
        .ok_or_else(|| unknown(&address))?;
    Ok((record.definition.read()?, record))
}

/// The unit that a scheduler starts; none for the worker's.
fn unit_name(service: &Service) -> Option<String> {
    match service.scheduler {
        Scheduler::SystemdSystem | Scheduler::SystemdUser => Some(format!(
            "{}.service",
            unit::stem(&service.project, &service.name)
        )),
        Scheduler::Worker => None,
    }
}

/// How many lines are shown where nobody says how many, and at most in a JSON document.
const TAIL: usize = 100;

fn read_log(context: &Context, name: &ResourceName, count: usize) -> Result<logs::Tail> {
    let layout = context.layout(context.project()?);
    let (service, _) = applied(context, &layout, name)?;
    logs::tail(&layout, &service.name, count)
        .map_err(|error| Error::io("read", &layout.logs(name), error))
}

fn logs(context: &Context, name: &ResourceName, count: Option<usize>) -> Result<Done> {
    if context.json() {
        let tail = read_log(context, name, count.unwrap_or(0).min(TAIL))?;
        return context.data(&Logs {
            log_path: tail.log_path.display().to_string(),
            exists: tail.exists,
            size_bytes: tail.size_bytes,
            last_lines: count.map(|_| shown_lines(tail.last_lines)),
        });
    }
    let tail = read_log(context, name, count.unwrap_or(TAIL))?;
    if tail.last_lines.is_empty() {
        let path = tail.log_path.display();
        let said = format!("Nothing was printed yet to {path}.\n");
        context.console.complain(&said);
    }
    print_lines(context, &shown_lines(tail.last_lines))?;
    Ok(Done::Fine)
}

/// Opens the log as `$VISUAL` or `$EDITOR` does, else in a pager; ends as that does.
async fn open_log(context: &Context, name: &ResourceName) -> Result<Done> {
    let tail = read_log(context, name, 0)?;
    if !tail.exists {
        let path = tail.log_path.display();
        let said = format!("Nothing was printed yet to {path}.\n");
        context.console.complain(&said);
        return Ok(Done::Fine);
    }
    let named = ["VISUAL", "EDITOR"]
        .into_iter()
        .filter_map(environment::variable);
    for editor in named.chain([OsString::from("less")]) {
        // `code --wait` is a program and its argument; there is no shell to ask.
        let words = editor.to_string_lossy().into_owned();
        let mut argv: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
        argv.push(tail.log_path.clone().into());
        match process::foreground(&argv).await {
            Ok(end) => return Ok(Done::Status(end.shell_status())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let text = format!("cannot run {words}");
                return Err(Error::new(Code::Usage, text).because(error));
            }
        }
    }
    Err(Error::new(
        Code::Usage,
        "there is no editor and no `less` to open the log with",
    )
    .suggest(format!("set EDITOR, or run: lorectl service logs {name}")))
}

fn shown_lines(lines: Vec<logs::Line>) -> Vec<LogLine> {
    let shown = |line: logs::Line| LogLine {
        at: line.time,
        stage: (line.stage != "-").then_some(line.stage),
        stream: match line.source {
            logs::Source::Out => Stream::Stdout,
            logs::Source::Err => Stream::Stderr,
            logs::Source::Run => Stream::Runner,
        },
        text: line.text,
    };
    lines.into_iter().map(shown).collect()
}

fn print_lines(context: &Context, lines: &[LogLine]) -> Result<()> {
    context
        .console
        .print(|out| view::service::write_logs(lines, &context.console.stdout, out))
}

/// How often a followed log is looked at.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

/// Prints what comes, across rotation, until Ctrl-C.
async fn follow_logs(
    context: &Context,
    name: &ResourceName,
    mut follower: logs::Follower,
) -> Result<()> {
    let layout = context.layout(context.project()?);
    let failed = |error| Error::io("read", &layout.logs(name), error);
    let mut interrupts = Interrupts::listen()?;
    let mut ticks = tokio::time::interval(FOLLOW_EVERY);
    loop {
        tokio::select! {
            () = interrupts.next() => return Ok(()),
            _ = ticks.tick() => loop {
                let lines = follower.poll().map_err(failed)?;
                if lines.is_empty() {
                    break;
                }
                print_lines(context, &shown_lines(lines))?;
            }
        }
    }
}

async fn trigger(context: &Context, name: &ResourceName, ignore_backoff: bool) -> Result<Done> {
    let layout = context.layout(context.project()?);
    let (service, _) = applied(context, &layout, name)?;
    let report = match backend::manager(&service, &context.account)? {
        None => {
            let ask = Ask {
                trigger: Trigger::Manual,
                request: None,
                ignore_backoff,
            };
            in_place(context, &layout, name, ask).await?
        }
        Some(manager) => through(context, &layout, &service, &manager, ignore_backoff).await?,
    };
    warn(context, &report.warnings);
    let code = match report.trigger_status() {
        0 => None,
        1 => Some(Code::RunFailed),
        3 => Some(Code::ServicePaused),
        _ => Some(Code::RunSkipped),
    };
    let wrong = code.map(|code| fault(&report, code));
    context.show_with(&triggered(&report, context.now()), wrong.as_ref())
}

/// What became of a request that did not end well, as an error.
fn fault(report: &RunReport, code: Code) -> Error {
    let what = match report.outcome {
        Some(_) => "failed",
        None => "did not run",
    };
    let why = (report.message.as_ref()).map_or_else(String::new, |why| format!(": {why}"));
    let error = Error::new(code, format!("service.{} {what}{why}", report.service));
    match &report.suggestion {
        Some(command) => error.suggest(format!("`{command}`")),
        None => error,
    }
}

/// What became of a wake-up or a request, as it is shown.
fn triggered(report: &RunReport, now: Timestamp) -> Triggered {
    let stage = |stage: &crate::service::run::report::StageView| Stage {
        name: stage.stage.clone(),
        outcome: if stage.success {
            RunOutcome::Success
        } else {
            RunOutcome::Failed
        },
        duration_ms: stage.duration_ms,
        optional: stage.optional,
        items_updated: (stage.items_updated > 0).then_some(stage.items_updated),
        error: stage.error.clone(),
        error_code: stage.error_code.clone(),
    };
    let ended = report.outcome.map(outcome);
    let took = Duration::from_secs_f64(report.duration_seconds.unwrap_or(0.0).max(0.0));
    Triggered {
        name: report.service.to_string(),
        at: now,
        action: report.action.as_str().to_owned(),
        outcome: ended.unwrap_or(RunOutcome::Skipped),
        run: ended.map(|outcome| Run {
            started_at: now,
            duration_ms: took.as_millis().try_into().unwrap_or(u64::MAX),
            outcome,
            error: report.message.clone(),
            stages: report.stage_results.iter().map(stage).collect(),
        }),
        held: held(report, ended.is_some()),
        profile: report.profile.clone(),
        consecutive_failures: report.consecutive_failures,
        reason: report.reason.clone(),
        message: report.message.clone(),
        suggestion: report.suggestion.clone(),
        next_retry: report.next_retry_iso,
        remaining_seconds: report.remaining_seconds,
        next_due: report.next_due_iso,
        warnings: report.warnings.clone(),
    }
}

/// Why it did not run, or why the next run waits.
fn held(report: &RunReport, ran: bool) -> Option<Held> {
    let lifted_by = report
        .suggestion
        .as_ref()
        .map(|command| format!("`{command}`"));
    if !ran || report.action == Action::Paused {
        return Some(Held {
            reason: report.message.clone().unwrap_or_default(),
            until: report.next_retry_iso,
            lifted_by,
        });
    }
    report.next_retry_iso.map(|until| Held {
        reason: "the next run waits".to_owned(),
        until: Some(until),
        lifted_by: None,
    })
}

/// Runs it in this process, as its user.
async fn in_place(
    context: &Context,
    layout: &Layout,
    name: &ResourceName,
    ask: Ask,
) -> Result<RunReport> {
    Ok(answer(context, layout, name, ask).await?.report)
}

fn runner<'a>(
    context: &'a Context,
    layout: &'a Layout,
    name: &'a ResourceName,
) -> Result<Runner<'a>> {
    Ok(Runner {
        disk: context.disk.as_ref(),
        clock: &context.clock,
        seed: random::seed()?,
        layout,
        name,
    })
}

/// Renews what a run of the worker's is to get, as a unit does for one of systemd's, while this is who
/// applied. What is wrong with the definition is the runner's to say.
async fn renew(context: &Context, layout: &Layout, name: &ResourceName) {
    let Ok(loaded) = load::load(context.disk.as_ref(), layout, name) else {
        return;
    };
    let names: Vec<ResourceName> = match loaded.service.scheduler {
        Scheduler::Worker => loaded.service.refreshes.into_iter().collect(),
        Scheduler::SystemdSystem | Scheduler::SystemdUser => Vec::new(),
    };
    if !names.is_empty() {
        before_run(context, layout, &names).await;
    }
}

async fn answer(
    context: &Context,
    layout: &Layout,
    name: &ResourceName,
    ask: Ask,
) -> Result<crate::service::run::Done> {
    renew(context, layout, name).await;
    let runner = runner(context, layout, name)?;
    let mut interrupts = Interrupts::listen()?;
    runner.answer(ask, interrupts.next()).await
}

/// Has the scheduler start the unit, so that user, sandbox and credentials are those of any run,
/// and waits for what the run says of the request.
async fn through(
    context: &Context,
    layout: &Layout,
    service: &Service,
    manager: &Manager,
    ignore_backoff: bool,
) -> Result<RunReport> {
    let disk = context.disk.as_ref();
    let name = &service.name;
    for credential in service.uses() {
        let what = if service.sealed.contains(credential) {
            // Of one that is gone the run itself tells.
            record::is_replaced(disk, layout, credential)
                .then_some("is not as lorectl has encrypted it in the store")
        } else {
            let path = layout.secret_value(credential);
            matches!(disk.stat(&path), Ok(None)).then_some("is gone from the store")
        };
        if let Some(what) = what {
            let message =
                format!("systemd does not start service.{name}: credential.{credential} {what}");
            return Err(Error::new(Code::CredentialMissing, message)
                .suggest("`lorectl reconcile` puts it back"));
        }
    }
    let id = random::token().map_err(|error| {
        Error::new(Code::Io, "cannot draw a name for the request").because(error)
    })?;
    let ask = Ask {
        trigger: Trigger::Manual,
        request: Some(id.clone()),
        ignore_backoff,
    };
    if service.overlap == Overlap::Skip && file::running_since(disk, layout, name).is_some() {
        // systemd would take our start for the one under way.
        return Ok(overlapped(context, layout, service, &ask));
    }
    let wait = match service.overlap {
        Overlap::Skip => Seconds(0),
        Overlap::Queue => service.patience(),
    };
    let now = context.now();
    let id = request::leave(disk, layout, name, &id, ignore_backoff, wait, now).await?;
    let answered = ask_and_wait(context, layout, service, manager, &id).await;
    match &answered {
        Ok(Some(_)) => request::settle(disk, layout, name, &id),
        Ok(None) | Err(_) => request::withdraw(disk, layout, name, &id),
    }
    Ok(answered?.unwrap_or_else(|| overlapped(context, layout, service, &ask)))
}

/// What is said of a request that came while a run was under way.
fn overlapped(context: &Context, layout: &Layout, service: &Service, ask: &Ask) -> RunReport {
    let now = context.now();
    let status = match file::read(context.disk.as_ref(), layout, &service.name) {
        Stored::Good(status) => *status,
        Stored::Absent | Stored::Damaged(_) | Stored::Newer(..) => Status::new(now),
    };
    RunReport::skipped(service, &status, &gate::skip(SkipReason::Overlap, ask, now))
}

/// How long a run may take to say what became of a request, once its unit has ended.
const GRACE: Duration = Duration::from_secs(2);

/// How often a unit is started for a request: systemd takes a start for the one under way, and a run
/// that began before the request was left does not answer it.
const STARTS: u32 = 3;

/// With what a unit ends where systemd could not open a credential: `EXIT_CREDENTIALS`, systemd.exec(5).
const EXIT_CREDENTIALS: i32 = 243;

/// That no runner began, since systemd could not give it its credentials.
fn unopened(service: &Service, systemctl: &str, unit: &str) -> Error {
    let name = &service.name;
    let message = format!(
        "systemd did not start service.{name}: it could not open a credential of it (status {EXIT_CREDENTIALS}/CREDENTIALS)"
    );
    Error::new(Code::CredentialMissing, message).suggest(format!(
        "`lorectl service doctor {name}` looks at each; `{systemctl} status {unit}` tells what systemd knows"
    ))
}

/// Starts the unit, and looks for the answer until there is one, or there can be none any more;
/// `None` when each start was taken for that of a run under way, which the request does not wait out.
async fn ask_and_wait(
    context: &Context,
    layout: &Layout,
    service: &Service,
    manager: &Manager,
    id: &str,
) -> Result<Option<RunReport>> {
    let disk = context.disk.as_ref();
    let units: Vec<String> = unit_name(service).into_iter().collect();
    let systemctl = match (service.scheduler, service.manager_of()) {
        (_, Some(user)) => format!("systemctl --user --machine={user}@"),
        (Scheduler::SystemdUser, None) => "systemctl --user".to_owned(),
        (Scheduler::SystemdSystem | Scheduler::Worker, None) => "systemctl".to_owned(),
    };
    let hint = format!(
        "`{systemctl} status {}` tells what systemd knows",
        units.join(" ")
    );
    let failed = |what: String| {
        Error::new(Code::RunFailed, format!("service.{}: {what}", service.name))
            .suggest(hint.clone())
    };
    let patience = Duration::from_secs(service.patience().0);
    let mut start = Box::pin(manager.run(&units, patience));
    let mut starts = 1;
    let mut started = false;
    let answer = || request::answer(disk, layout, service, id, context.now());
    let mut interrupts = Interrupts::listen()?;
    let mut ticks = tokio::time::interval(ASK_EVERY);
    let mut deadline = tokio::time::Instant::now() + patience;
    loop {
        tokio::select! {
            results = &mut start, if !started => {
                // That a unit is to fail as its run did is no news then.
                if let Some(report) = answer() {
                    return Ok(Some(report));
                }
                // The runner that we were given had taken its requests already: it ran, or was telling
                // others of its run.
                if request::waits(disk, layout, &service.name, Some(id)) {
                    if let Some(unit) = units.first()
                        && manager.exit_status(unit).await? == Some(EXIT_CREDENTIALS)
                    {
                        return Err(unopened(service, &systemctl, unit));
                    }
                    // How the run ended that was not for us says nothing.
                    if starts < STARTS {
                        results?;
                        starts += 1;
                        start = Box::pin(manager.run(&units, patience));
                        deadline = tokio::time::Instant::now() + patience;
                        continue;
                    }
                    // Others keep it running.
                    if service.overlap == Overlap::Skip {
                        return Ok(None);
                    }
                }
                started = true;
                for result in results? {
                    result.map_err(&failed)?;
                }
                deadline = deadline.min(tokio::time::Instant::now() + GRACE);
            }
            () = interrupts.next() => {
                return Err(Error::new(Code::RunSkipped, "no longer waited for")
                    .suggest(format!("`lorectl service status {}` shows what became of it", service.name)));
            }
            _ = ticks.tick() => {
                // A run that has said all still holds its lock for a moment: who asks for the next
                // one then is not to be told that this one has not ended.
                let late = tokio::time::Instant::now() > deadline;
                if (started || late) && let Some(report) = answer() {
                    return Ok(Some(report));
                }
                if late {
                    if let Stored::Newer(version, _) = file::read(disk, layout, &service.name) {
                        let message = format!(
                            "service.{}: what became of its run is not recorded: its status has version {version}, newer than this lorectl reads",
                            service.name
                        );
                        let logs = format!("`lorectl service logs {}` shows the run; install a newer lorectl", service.name);
                        return Err(Error::new(Code::StateNewer, message).suggest(logs));
                    }
                    return Err(failed("its run said nothing of the request".to_owned()));
                }
            }
        }
    }
}

/// What a scheduler calls: policy, then perhaps a run. Its text goes to the scheduler's log.
async fn scheduled(context: &Context, name: &ResourceName, only_notify: bool) -> Result<Done> {
    let layout = context.layout(context.project()?);
    process::adopt_orphans().map_err(|error| {
        Error::new(Code::Internal, "cannot take in orphaned processes").because(error)
    })?;
    if only_notify {
        let mut interrupts = Interrupts::listen()?;
        let runner = runner(context, &layout, name)?;
        warn(context, &runner.tell(interrupts.next()).await?);
        return Ok(Done::Fine);
    }
    let done = answer(context, &layout, name, Ask::SCHEDULED).await?;
    warn(context, &done.report.warnings);
    if context.json() || done.report.action != Action::NotDue {
        context.show(&triggered(&done.report, context.now()))?;
    }
    Ok(match (done.status, done.report.outcome) {
        (1.., Some(Outcome::Failed) | None) => Done::As(Code::RunFailed),
        (0, _) | (1.., Some(Outcome::Success | Outcome::Degraded)) => Done::Fine,
    })
}
