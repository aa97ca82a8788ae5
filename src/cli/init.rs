//! `lorectl init`: a first spec.

use std::collections::BTreeSet;

use clap::Args;

use crate::{
    effect::disk::Durability,
    error::{Code, Error, Result},
    id::ProjectName,
    service::adopt::{found, host, text},
    spec,
    view::init::{Found, Initialised, LeftAlone},
};

use super::{Done, context::Context};

/// What `init` takes.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Replace a lore.toml that is there
    #[arg(long)]
    pub force: bool,
    /// Write what timers and crontabs run here, so that applying it takes their place
    #[arg(long)]
    pub from_host: bool,
}

/// Writes `lore.toml`.
pub async fn run(context: &Context, args: &InitArgs) -> Result<Done> {
    let path = context.directory.join("lore.toml");
    let there = context
        .disk
        .stat(&path)
        .map_err(|error| Error::io("look at", &path, error))?;
    if there.is_some() && !args.force {
        return Err(
            Error::new(Code::Usage, format!("{} is there already", path.display()))
                .suggest("edit it, or say `--force` to replace it"),
        );
    }
    let project = match &context.global.project {
        Some(project) => project.clone(),
        None => name_of(context),
    };
    let (text, found) = if args.from_host {
        let survey = host::survey(&context.disk, &context.account).await?;
        let named = found::name_all(survey.candidates, BTreeSet::new());
        let text = text::spec(
            &project,
            &crate::effect::host::name()?,
            &named,
            &survey.left,
        );
        let found = Found {
            services: named.len(),
            left: (survey.left.into_iter())
                .map(|left| LeftAlone {
                    what: left.what,
                    why: left.why,
                })
                .collect(),
        };
        (text, Some(found))
    } else {
        // Root's services are the system manager's, which runs none without a user.
        let user = (context.account.owner.uid == 0).then_some("nobody");
        (spec::template(&project, user), None)
    };
    context
        .disk
        .write(&path, text.as_bytes(), 0o644, None, Durability::Now)
        .map_err(|error| Error::io("write", &path, error))?;
    let written = Initialised {
        path: path.display().to_string(),
        project: project.to_string(),
        found,
    };
    context.show(&written)
}

/// The directory's name, made fit to be a project's.
fn name_of(context: &Context) -> ProjectName {
    let dir = context
        .directory
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("");
    let fit = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_lowercase() || c.is_ascii_digit() => c,
        _ => '-',
    };
    let name: String = dir.chars().map(fit).take(32).collect();
    let trimmed = name.trim_matches('-');
    trimmed
        .parse()
        .or_else(|_| "project".parse())
        .unwrap_or_else(|_: crate::id::Invalid| unreachable!("`project` is a project's name"))
}
