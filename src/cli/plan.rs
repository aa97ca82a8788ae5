//! `lorectl plan`: what apply would change.

use std::path::Path;

use crate::{
    credential::{self, setback::Issuers},
    error::{Code, Error, Result},
    id::{Kind, Timestamp},
    plan::{Options, document},
    resource::{Action, Definition, Hold, Lift, Plan, Seen},
    view::{self, plan::Observation},
};

use super::{
    Done,
    args::{Deny, PlanArgs},
    context::Context,
    project::{Project, readers},
};

/// Plans, shows the plan, and writes it where `--out` says.
pub async fn run(context: &Context, args: &PlanArgs) -> Result<Done> {
    let options = Options {
        targets: args.targets.clone(),
        deny: args.deny.iter().map(|deny| action(*deny)).collect(),
        allow_deletes: args.allow_deletes,
        ..Options::default()
    };
    let plan = match &args.observed {
        Some(file) => elsewhere(context, args, file, options)?,
        None => here(context, options, args.offline).await?,
    };
    if let Some(out) = &args.out {
        let bytes = encoded(&plan, out)?;
        if out.as_os_str() == "-" {
            context.console.print(|to| to.write_all(&bytes))?;
            return Ok(outcome(&plan, args.detailed_exitcode));
        }
        context.write_out(out, &bytes)?;
    }
    let observation = if args.offline && args.observed.is_none() {
        Observation::Offline
    } else {
        of(&plan)
    };
    show_as(context, &plan, observation, false)?;
    let outcome = outcome(&plan, args.detailed_exitcode);
    leave(plan);
    Ok(outcome)
}

/// Lets the end of the process take what it would take long to free piece by piece.
fn leave<T>(what: T) {
    std::mem::forget(what);
}

async fn here(context: &Context, options: Options, offline: bool) -> Result<Plan> {
    let spec = context.spec()?;
    let mut project = Project::open(context, spec.project.clone())?;
    project.asks_issuers = !offline;
    let wish = project.wish(&spec)?;
    leave(spec);
    let backends = project.backends(&wish)?;
    let (situation, mut plan) = project.plan(wish, &readers(&backends), options).await?;
    if offline {
        for change in &mut plan.changes {
            let found = match situation.observed.resources.get(&change.address) {
                Some(Seen::Ours(found)) if change.address.kind == Kind::Credential => found,
                Some(_) | None => continue,
            };
            change
                .notes
                .extend(credential::plan::as_of(found, context.now()));
        }
    }
    leave(situation);
    let issuers = Issuers::new(context.disk.as_ref(), &project.layout);
    for change in &mut plan.changes {
        if change.address.kind == Kind::Credential && change.action == Action::Create {
            let wanted = change.record.as_ref().map(|record| &record.definition);
            let met = wanted
                .map(|wanted| met(&issuers, wanted, context.now()))
                .transpose()?;
            change.notes.extend(met.into_iter().flatten());
        }
    }
    Ok(plan)
}

/// What an earlier try to have a first value met, of which no record tells.
fn met(issuers: &Issuers<'_>, wanted: &Definition, now: Timestamp) -> Result<Vec<String>> {
    let setback = issuers.setback(&wanted.read()?, now);
    Ok(setback.map_or_else(Vec::new, |setback| setback.notes(now)))
}

/// Plans for the host of a snapshot.
fn elsewhere(context: &Context, args: &PlanArgs, file: &Path, options: Options) -> Result<Plan> {
    let snapshot = super::observe::read(context, file)?;
    let spec = context.spec()?;
    snapshot.check_subject(&spec.project, args.host.as_deref())?;
    if let Some(most) = args.max_age {
        snapshot.check_age(most, context.now())?;
    }
    let other = snapshot.lorectl.clone();
    let (mut project, snapshot) = Project::of_snapshot(context, snapshot);
    let mut wish = project.wish(&spec)?;
    if other != env!("CARGO_PKG_VERSION") {
        wish.warnings.push(format!(
            "the host has lorectl {other} and this is {}: what one writes differently from the other is not approved by this plan",
            env!("CARGO_PKG_VERSION")
        ));
    }
    drop(spec);
    project.plan_elsewhere(snapshot, wish, options)
}

const fn action(deny: Deny) -> Action {
    match deny {
        Deny::Create => Action::Create,
        Deny::Update => Action::Update,
        Deny::Replace => Action::Replace,
        Deny::Delete => Action::Delete,
    }
}

fn encoded(plan: &Plan, shown: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    document::write(plan, &mut bytes).map_err(|error| Error::io("write", shown, error))?;
    Ok(bytes)
}

/// Shows a plan as text or as its document.
pub fn show(context: &Context, plan: &Plan) -> Result<()> {
    show_as(context, plan, of(plan), false)
}

/// The same, where the refusals are told by the error that the command ends with.
pub fn show_before(context: &Context, plan: &Plan) -> Result<()> {
    show_as(context, plan, of(plan), true)
}

/// Where a plan's knowledge of the host comes from.
fn of(plan: &Plan) -> Observation {
    let observed_at = plan.subject.observed_at;
    observed_at.map_or(Observation::Live, Observation::Snapshot)
}

fn show_as(
    context: &Context,
    plan: &Plan,
    observation: Observation,
    error_follows: bool,
) -> Result<()> {
    if context.json() {
        return context
            .console
            .print(|out| view::json::plan(plan, context.elapsed_ms(), out));
    }
    let page = view::plan::PlanContext {
        detail: context.detail(),
        observation,
        error_follows,
    };
    context
        .console
        .print(|out| view::plan::write(plan, &context.console.stdout, &page, out))
}

/// What a shown plan ends a command with.
pub fn outcome(plan: &Plan, detailed: bool) -> Done {
    if let Some(refusal) = plan.refusals.first() {
        return Done::As(refusal.code);
    }
    if detailed && plan.has_changes() {
        return Done::Changes;
    }
    Done::Fine
}

/// What holds that left nothing to do end an apply with; `None` when nothing is held.
///
/// A person's act weighs more than time: someone waiting for time alone would wait in vain.
pub fn held(plan: &Plan) -> Option<Code> {
    let code = |hold: &Hold| match (&hold.lift, hold.code) {
        (_, Some(code)) => code,
        (Lift::ByHand { .. }, None) => Code::Held,
        (Lift::At { .. } | Lift::Later { .. }, None) => Code::HeldForNow,
    };
    let codes: Vec<Code> = plan.holds.iter().map(code).collect();
    let by_hand = codes.iter().find(|code| code.exit() == Code::Held.exit());
    by_hand.or(codes.first()).copied()
}
