//! `lorectl drift`: what changed on the host since the last apply. It reads no spec.

use crate::{error::Result, observe::Wish, plan::Options, view};

use super::{
    Done,
    args::DriftArgs,
    context::Context,
    project::{Project, readers},
};

/// Compares what was applied with what is there.
pub async fn run(context: &Context, args: &DriftArgs) -> Result<Done> {
    let mut project = Project::open(context, context.project()?)?;
    let wish = Wish::default();
    let backends = project.backends(&wish)?;
    let options = Options {
        drift_only: true,
        ..Options::default()
    };
    let (situation, plan) = project.plan(wish, &readers(&backends), options).await?;
    let report = view::drift::Report::new(
        &plan.subject,
        plan.created_at,
        situation.applied.len(),
        &plan.drift,
        &situation.observed.strays,
    );
    context.show(&report)?;
    Ok(if report.has_drift() && args.detailed_exitcode {
        Done::Changes
    } else {
        Done::Fine
    })
}
