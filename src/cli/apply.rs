//! `lorectl apply` and `lorectl destroy`: changing the host.

use std::{cell::RefCell, collections::BTreeSet, path::Path};

use crate::{
    apply::{
        events::{Event, Report},
        execute::{Backends, Interrupt, OnFailure},
        session::{Session, sweep},
    },
    credential::{backend as credential, notify::tell::Posted},
    effect::{
        environment,
        lock::{Holder, ProjectLock},
        random,
        signals::Interrupts,
    },
    error::{Code, Error, Result},
    id::{Kind, ProjectName, ResourceName},
    layout::Layout,
    observe::{Situation, Wish},
    plan::{
        Destroy, Options,
        approval::{self, Approval},
        document,
    },
    resource::{ActionReason, Plan},
    service::backend,
    state::place,
    view::{self, apply::Live},
};

use super::{
    Done,
    args::{ApplyArgs, DestroyArgs, OnFailure as OnFailureArg},
    context::Context,
    plan::{held, show, show_before},
    project::{Project, readers},
    reconcile::Mending,
    status::memory,
    tidings,
};

/// The largest plan file.
const LARGEST_PLAN: u64 = 64 << 20;

/// Where an approval comes from.
pub(super) enum Approved {
    /// `-y`, or `destroy -y`.
    Beforehand,
    /// A plan file, or a yes to a plan that was shown.
    By(Box<Approval>),
    /// What was applied, where the host drifted from it.
    ToMend(Mending),
}

/// What an apply is to do.
pub(super) struct Order<'a> {
    pub(super) context: &'a Context,
    pub(super) project: ProjectName,
    pub(super) options: Options,
    pub(super) on_failure: OnFailure,
    /// What it is called in `history`.
    pub(super) command: String,
    /// The credential of which a new value is asked for. The wish is in its record only from when it is
    /// approved until it is carried out, so that a refusal leaves nothing of it.
    pub(super) asked: Option<ResourceName>,
}

/// Applies the spec.
pub async fn run(context: &Context, args: &ApplyArgs) -> Result<Done> {
    let file = args.plan_file.as_deref();
    let approval = file.map(|path| read_plan(context, path)).transpose()?;
    let spec = context.spec()?;
    let order = Order {
        context,
        project: spec.project.clone(),
        options: Options {
            targets: args.targets.clone(),
            allow_deletes: args.allow_deletes,
            ..Options::default()
        },
        on_failure: match args.on_failure {
            OnFailureArg::Rollback => OnFailure::Rollback,
            OnFailureArg::Stop => OnFailure::Stop,
        },
        command: called(args),
        asked: None,
    };
    let wish = |project: &Project<'_>| project.wish(&spec);
    let approved = match approval {
        Some(approval) => Some(Approved::By(Box::new(approval))),
        None => args.yes.then_some(Approved::Beforehand),
    };
    order.carry_out(&wish, approved, "Apply this?").await
}

/// What an apply is called in `history`: all that decides what it does.
fn called(args: &ApplyArgs) -> String {
    let mut words = vec!["apply".to_owned()];
    words.extend(args.plan_file.iter().map(|file| file.display().to_string()));
    let targets = args.targets.iter();
    words.extend(targets.map(|target| format!("--target {target}")));
    if args.on_failure == OnFailureArg::Stop {
        words.push("--on-failure stop".to_owned());
    }
    if args.allow_deletes {
        words.push("--allow-deletes".to_owned());
    }
    words.join(" ")
}

/// Removes all of a project.
pub async fn destroy(context: &Context, args: &DestroyArgs) -> Result<Done> {
    let order = Order {
        context,
        project: context.project()?,
        options: Options {
            destroy: Some(if args.purge {
                Destroy::Purge
            } else {
                Destroy::KeepData
            }),
            ..Options::default()
        },
        on_failure: OnFailure::Rollback,
        command: if args.purge {
            "destroy --purge"
        } else {
            "destroy"
        }
        .to_owned(),
        asked: None,
    };
    let wish = |project: &Project<'_>| {
        let left = if args.purge {
            project.left_behind()?
        } else {
            std::collections::BTreeMap::new()
        };
        Ok(Wish {
            left,
            ..Wish::default()
        })
    };
    let approved = args.yes.then_some(Approved::Beforehand);
    let done = order.carry_out(&wish, approved, "Destroy this?").await?;
    if args.purge && done == Done::Fine {
        purge_replaced(context, &context.layout(order.project.clone()))?;
    }
    Ok(done)
}

/// Removes what the deliveries of credentials have replaced that are no more, and when none is left, what
/// only they need.
fn purge_replaced(context: &Context, layout: &Layout) -> Result<()> {
    let disk = context.disk.as_ref();
    let root = layout.root();
    let stat = disk.stat(&root);
    if (stat.map_err(|error| Error::io("look at", &root, error))?).is_none() {
        return Ok(());
    }
    let holder = Holder::this_process(context.now());
    let _lock = ProjectLock::acquire(&layout.lock_file(), &holder)?;
    let memory = memory(context, layout)?;
    let credentials = memory.state.resources.keys();
    let credentials = credentials.filter(|address| address.kind == Kind::Credential);
    let kept: BTreeSet<ResourceName> = credentials.map(|address| address.name.clone()).collect();
    credential::purge_replaced(disk, layout, &kept)?;
    if kept.is_empty() && memory.open_journals.is_empty() {
        let in_the_way = credential::purge_empty_store(disk, layout)?;
        if !in_the_way.is_empty() {
            let secrets = layout.secrets();
            let warning = format!(
                "{} and the keys and issuers' records beside it are left: {}; see to that, then `lorectl destroy --purge` removes them",
                secrets.display(),
                in_the_way.join("; ")
            );
            let style = &context.console.stderr;
            context
                .console
                .complain(&view::error::warning(&warning, style));
        }
    }
    Ok(())
}

/// Reads a plan file as an approval.
fn read_plan(context: &Context, shown: &Path) -> Result<Approval> {
    let path = context.directory.join(shown);
    let read = context.disk.read(&path, LARGEST_PLAN).map_err(|error| {
        let mut failed = Error::io("read", shown, error);
        // What the disk refuses by itself: not a regular file, or too large.
        if failed.code == Code::Io {
            failed.code = Code::PlanInvalid;
        }
        failed
    })?;
    let shown = shown.display();
    let Some(file) = read else {
        let message = format!("there is no plan file {shown}");
        return Err(
            Error::new(Code::PlanInvalid, message).suggest("`lorectl plan --out FILE` makes one")
        );
    };
    if file.mode & 0o002 != 0 {
        let message = format!("{shown} can be written by anyone, so it approves nothing");
        return Err(Error::new(Code::PlanInvalid, message)
            .suggest(format!("look at it, then `chmod o-w {shown}`")));
    }
    let writer = file.owner.uid;
    if !trusted(context.account.owner.uid).contains(&writer) {
        let name = crate::effect::user::by_uid(writer)?;
        let name = name.map_or_else(|| format!("user id {writer}"), |account| account.name);
        let message =
            format!("{shown} belongs to {name}, who may write to it, so it approves nothing");
        return Err(Error::new(Code::PlanInvalid, message).suggest(format!(
            "look at it, then `chown {} {shown}`",
            context.account.name
        )));
    }
    approval::read(&file.bytes)
}

/// Whose plan files are believed: root's, those of whoever applies, and of whoever called `sudo` to.
pub(super) fn trusted(applier: u32) -> Vec<u32> {
    let sudo = environment::variable("SUDO_UID").filter(|_| applier == 0);
    let sudo = sudo.and_then(|uid| uid.to_str()?.parse().ok());
    [0, applier].into_iter().chain(sudo).collect()
}

/// One carrying out of an order.
struct Run {
    /// Who applies.
    by: String,
    /// What its draws follow from.
    seed: u64,
    /// When it was approved, in milliseconds since the command began.
    since: u64,
}

impl Order<'_> {
    pub(super) async fn carry_out(
        &self,
        wish: &dyn Fn(&Project<'_>) -> Result<Wish>,
        approved: Option<Approved>,
        question: &str,
    ) -> Result<Done> {
        let (approved, since) = match approved {
            Some(approved) => (approved, 0),
            None => match self.ask(wish, question).await? {
                // The time that a person took to answer is not the apply's.
                Ok(approval) => (Approved::By(Box::new(approval)), self.context.elapsed_ms()),
                Err(done) => return Ok(done),
            },
        };
        let layout = self.context.layout(self.project.clone());
        let disk = self.context.disk.as_ref();
        let seed = random::seed()?;
        if self.is_first(&layout)? {
            // What is wrong or refused is said before the first directory is made.
            let (_, _, plan) = self.plan(wish, &approved).await?;
            match &approved {
                Approved::Beforehand if plan.refusals.is_empty() => {}
                Approved::Beforehand | Approved::By(_) | Approved::ToMend(_) => {
                    self.permit(&approved, &plan)?;
                }
            }
        }
        place::prepare_dirs(disk, &layout)?;
        let holder = Holder::this_process(self.context.now());
        let run = Run {
            by: holder.who(),
            seed,
            since,
        };
        let lock = ProjectLock::acquire(&layout.lock_file(), &holder)?;
        sweep(disk, &layout)?;
        credential::sweep_store(disk, &layout)?;
        let (backends, situation, plan) = self.plan(wish, &approved).await?;
        self.permit(&approved, &plan)?;
        if !situation.memory.open_journals.is_empty() {
            credential::sweep_deliveries(disk, &layout)?;
            backend::sweep(
                &self.context.host(layout),
                &situation.memory.unfinished.purged,
            )?;
        }
        self.set_asked(true).await?;
        let executed = self.execute(&backends, &situation, &plan, run, &approved);
        let executed = executed.await;
        let mut forgotten = Ok(());
        if !matches!(executed, Ok((Done::Fine, _))) {
            // The next apply is not to do it unasked, nor to fail with it.
            forgotten = self.set_asked(false).await;
        }
        let (done, posted) = executed?;
        forgotten?;
        // Whoever hears of it is not waited for by the next apply.
        drop((backends, lock));
        let layout = self.context.layout(self.project.clone());
        tidings::deliver(self.context, &layout, posted).await;
        Ok(done)
    }

    /// Notes that a new value is asked for, or is not any more. Only under the project's lock.
    async fn set_asked(&self, asked: bool) -> Result<()> {
        let Some(name) = &self.asked else {
            return Ok(());
        };
        let layout = self.context.layout(self.project.clone());
        credential::set_asked(self.context.disk.as_ref(), &layout, name, asked).await
    }

    /// Whether nothing of the project is here yet.
    fn is_first(&self, layout: &Layout) -> Result<bool> {
        let root = layout.root();
        let stat = self.context.disk.stat(&root);
        Ok(stat
            .map_err(|error| Error::io("look at", &root, error))?
            .is_none())
    }

    /// Whether a plan may be carried out; shows one that nobody has seen.
    fn permit(&self, approved: &Approved, plan: &Plan) -> Result<()> {
        match approved {
            // What was shown before the question is not shown again.
            Approved::By(approval) => {
                refuse(plan)?;
                approval::check(approval, plan)?;
                if plan.has_changes() || self.context.json() {
                    return Ok(());
                }
                show(self.context, plan)
            }
            Approved::ToMend(_) => refuse(plan),
            Approved::Beforehand => {
                if !self.context.json() {
                    show_before(self.context, plan)?;
                }
                refuse(plan)
            }
        }
    }

    /// Plans afresh; what an approval leaves alone is left out of the plan.
    async fn plan(
        &self,
        wish: &dyn Fn(&Project<'_>) -> Result<Wish>,
        approved: &Approved,
    ) -> Result<(Backends, Situation, Plan)> {
        let mut project = Project::open(self.context, self.project.clone())?;
        project.asks_issuers = true;
        project.asked.clone_from(&self.asked);
        let wish = wish(&project)?;
        let backends = project.backends(&wish)?;
        let (situation, mut plan) = project
            .plan(wish, &readers(&backends), self.options.clone())
            .await?;
        let leave = match approved {
            Approved::By(approval) if plan.refusals.is_empty() => approval::check(approval, &plan)?,
            Approved::ToMend(mending) => mending.leave(&project, &situation, &plan)?,
            Approved::By(_) | Approved::Beforehand => BTreeSet::new(),
        };
        if !leave.is_empty() {
            let options = Options {
                leave,
                ..self.options.clone()
            };
            plan = project.decide(&situation, options)?;
        }
        Ok((backends, situation, plan))
    }

    /// Shows the plan and asks. What is approved is what was shown; `Err` when there is nothing to ask.
    async fn ask(
        &self,
        wish: &dyn Fn(&Project<'_>) -> Result<Wish>,
        question: &str,
    ) -> Result<std::result::Result<Approval, Done>> {
        let (_, situation, plan) = self.plan(wish, &Approved::Beforehand).await?;
        let is_needed = plan.has_changes() || !situation.memory.open_journals.is_empty();
        let unapproved = self.unapproved();
        if self.context.json() {
            let answer = self.answer(&situation, &plan, is_needed.then_some(unapproved));
            if !is_needed {
                self.tell(&situation, &plan).await;
            }
            return answer;
        }
        show_before(self.context, &plan)?;
        refuse(&plan)?;
        if !is_needed {
            self.tell(&situation, &plan).await;
            return Ok(Err(nothing_to_do(&plan)));
        }
        if !self.context.console.can_ask {
            return Err(unapproved);
        }
        if !self.context.console.ask(question)? {
            let message = format!("{}: the answer was not `yes`", self.undone());
            return Err(Error::new(Code::NotApproved, message));
        }
        let mut bytes = Vec::new();
        document::write(&plan, &mut bytes).map_err(|error| {
            Error::new(Code::Internal, "a plan cannot be written").because(error)
        })?;
        Ok(Ok(approval::read(&bytes)?))
    }

    /// What was not done, when it is not approved.
    fn undone(&self) -> String {
        match (&self.asked, self.options.destroy) {
            (Some(name), _) => format!("credential.{name} was not rotated"),
            (None, Some(_)) => "nothing was destroyed".to_owned(),
            (None, None) => "nothing was applied".to_owned(),
        }
    }

    /// That nobody said yes, and how one does to this command.
    fn unapproved(&self) -> Error {
        let help = match (&self.asked, self.options.destroy) {
            (Some(name), _) => format!("say `lorectl credential rotate {name} -y`"),
            (None, Some(_)) => format!("say `lorectl {} -y`", self.command),
            (None, None) => {
                "say `-y`, or give a plan file made with `lorectl plan --out FILE`".to_owned()
            }
        };
        let message = format!("{}: nobody approved it", self.undone());
        Error::new(Code::NotApproved, message).suggest(help)
    }

    /// Tells others what is news of credentials, where nothing is to be done.
    async fn tell(&self, situation: &Situation, plan: &Plan) {
        if plan.refusals.is_empty() && self.options.destroy.is_none() {
            let looked = tidings::looked_after(situation, plan, &Report::default());
            let layout = self.context.layout(self.project.clone());
            tidings::tell(self.context, &layout, &looked).await;
        }
    }

    /// What a program gets that did not approve: it is never asked.
    fn answer(
        &self,
        situation: &Situation,
        plan: &Plan,
        unapproved: Option<Error>,
    ) -> Result<std::result::Result<Approval, Done>> {
        let context = self.context;
        if let Some(error) = view::json::refused(plan).or(unapproved) {
            context.console.print(|out| {
                view::json::plan_that_failed(plan, &error, context.elapsed_ms(), out)
            })?;
            return Ok(Err(Done::As(error.code)));
        }
        let report = Report {
            serial: situation.memory.state.serial,
            ..Report::default()
        };
        let done = nothing_to_do(plan);
        show_report(context, plan, &report, done, 0)?;
        Ok(Err(done))
    }

    async fn execute(
        &self,
        backends: &Backends,
        situation: &Situation,
        plan: &Plan,
        run: Run,
        approved: &Approved,
    ) -> Result<(Done, Posted)> {
        let context = self.context;
        let layout = context.layout(self.project.clone());
        let console = &context.console;
        let progress = RefCell::new(Live::new(plan, console, context.verbosity()));
        let interrupt = Interrupt::default();
        let events = |event: &Event| {
            if context.global.events {
                let at = context.now();
                // A reader that is gone does not stop an apply.
                let _ = console.print(|out| view::json::write_event(out, event, at));
            }
            progress.borrow_mut().event(event, context.elapsed_ms());
        };
        let elapsed_ms = || context.elapsed_ms();
        let session = Session {
            disk: context.disk.as_ref(),
            layout: &layout,
            clock: &context.clock,
            backends,
            events: &events,
            elapsed_ms: &elapsed_ms,
            interrupt: &interrupt,
            on_failure: self.on_failure,
            by: run.by,
            command: self.command.clone(),
            random: u32::try_from(run.seed >> 32).unwrap_or_default(),
        };
        let work = session.carry_out(situation, plan);
        let tick = || progress.borrow_mut().tick(context.elapsed_ms());
        let report = attend(work, &interrupt, &tick).await;
        progress.borrow_mut().finish();
        let mut report = report?;
        match approved {
            Approved::By(_) => {
                let left = plan.changes.iter();
                let left = left.filter(|change| change.reason == ActionReason::NotApproved);
                report.left = left.map(|change| change.address.clone()).collect();
            }
            Approved::ToMend(mending) => {
                report.is_mending = true;
                report.unmended = mending.unmended();
            }
            Approved::Beforehand => {}
        }
        let did = plan.has_changes()
            || !situation.memory.open_journals.is_empty()
            || !report.unmended.is_empty();
        let done = outcome(plan, &report);
        let posted = if self.options.destroy.is_none() {
            let looked = tidings::looked_after(situation, plan, &report);
            tidings::post(context, &layout, &looked).await
        } else {
            // Who removes it all needs no telling.
            Posted::default()
        };
        if did || context.json() {
            show_report(context, plan, &report, done, run.since)?;
        } else if report.is_mending && done != Done::Fine {
            // Nothing but holds, which nobody has seen.
            show_before(context, plan)?;
        }
        // Who has asked us to stop is not kept waiting.
        let posted = Some(posted).filter(|_| !report.interrupted);
        Ok((done, posted.unwrap_or_default()))
    }
}

/// Drives the work, its display, and the first Ctrl-C; the second ends the process, and the journal
/// tells the next apply what was done.
async fn attend<T>(
    work: impl Future<Output = Result<T>>,
    interrupt: &Interrupt,
    tick: &dyn Fn(),
) -> Result<T> {
    let mut work = std::pin::pin!(work);
    let mut signals = Interrupts::listen()?;
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(100));
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = signals.next() => {
                if interrupt.is_set() {
                    return Err(Error::new(Code::ApplyFailed, "interrupted twice, in the middle of a batch")
                        .suggest("run `lorectl apply` again: it looks what was done and goes on from there"));
                }
                interrupt.set();
            }
            _ = ticks.tick() => tick(),
        }
    }
}

/// The refusals as an error, where there are any.
fn refuse(plan: &Plan) -> Result<()> {
    view::json::refused(plan).map_or(Ok(()), Err)
}

fn nothing_to_do(plan: &Plan) -> Done {
    held(plan).map_or(Done::Fine, Done::As)
}

/// Shows how an apply ended; to a program as an error where the exit status, which `done` says, is one's.
fn show_report(
    context: &Context,
    plan: &Plan,
    report: &Report,
    done: Done,
    since: u64,
) -> Result<()> {
    let elapsed = context.elapsed_ms();
    if !context.json() {
        let took = elapsed.saturating_sub(since);
        let text = view::apply::render(report, took, &context.console.stdout);
        return context.text(&text).map(drop);
    }
    let ended = view::apply::failure(report).or_else(|| match done {
        Done::As(code) => Some(view::apply::held(plan, report, code)),
        Done::Fine | Done::Changes | Done::Status(_) => None,
    });
    context
        .console
        .print(|out| view::json::applied(plan, report, ended.as_ref(), elapsed, out))
}

fn outcome(plan: &Plan, report: &Report) -> Done {
    if !report.not_undone.is_empty() {
        Done::As(Code::UndoFailed)
    } else if !report.failed.is_empty() || report.interrupted {
        Done::As(Code::ApplyFailed)
    } else if !report.unmended.is_empty() {
        Done::As(Code::Held)
    } else if report.applied.is_empty() && !report.held.is_empty() {
        Done::As(Code::HeldForNow)
    } else if report.applied.is_empty() && !plan.has_changes() {
        nothing_to_do(plan)
    } else {
        Done::Fine
    }
}
