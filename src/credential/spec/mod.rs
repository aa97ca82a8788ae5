//! What a spec says of a credential, and what becomes of it once every choice is made.
//!
//! [`check`](check::check) finds what is wrong with a credential wherever it goes; [`resolve`] makes of
//! it the [`Credential`] of one host.

pub mod check;
pub mod raw;
pub mod rivals;
pub mod text;

use std::{path::Path, sync::Arc};

use crate::{
    effect::user::Account,
    error::Result,
    id::{Address, Kind, Lineage, ProjectName, ResourceId, ResourceName, Seconds, Timestamp},
    resource::{Declared, Meta, Owner},
    service::spec::{
        Problem,
        program::{ProgramForm, Programs, program_form},
    },
};

use super::definition::{Credential, Delivery, Rotate, Source, StoreKind, Target};
use raw::{RawCredential, RawDelivery, RawSource};

/// How long before its end a credential is warned of, where the spec does not say.
const WARN: Seconds = Seconds(14 * 86_400);

/// How long a command may take, where the spec does not say.
const TIMEOUT: Seconds = Seconds(30);

/// The mode of a delivered file, where the spec does not say.
pub const MODE: u32 = 0o600;

/// A credential as a spec declares it.
#[derive(Debug, Clone)]
pub struct DeclaredCredential {
    /// Its name.
    pub name: ResourceName,
    /// The file, relative to the spec's root.
    pub file: Arc<str>,
    /// The line of its table, counted from 1.
    pub line: u32,
    /// What it says.
    pub raw: RawCredential,
    /// What any resource may say.
    pub meta: Meta,
    /// The hosts that have it, as `[hosts]` lists them; empty is every host.
    pub on: Vec<String>,
}

impl DeclaredCredential {
    /// Its address.
    pub fn address(&self) -> Address {
        Address::new(Kind::Credential, self.name.clone())
    }

    /// Where it is declared.
    pub fn declared(&self) -> Declared {
        Declared {
            file: Arc::clone(&self.file),
            line: self.line,
        }
    }
}

/// What a credential is resolved against.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The project.
    pub project: &'a ProjectName,
    /// What the project's ids are drawn from.
    pub lineage: &'a Lineage,
    /// Who applies.
    pub applier: Owner,
    /// The absolute directory of the spec file that declares it.
    pub dir: &'a Path,
    /// How programs are looked up.
    pub programs: &'a Programs<'a>,
    /// How users are looked up.
    pub user: &'a dyn Fn(&str) -> Result<Option<Account>>,
    /// How groups are looked up.
    pub group: &'a dyn Fn(&str) -> Result<Option<u32>>,
}

/// The credential of one host.
///
/// # Errors
/// In the outer result what the system says; in the inner one what is wrong with it here.
pub fn resolve(
    declared: &DeclaredCredential,
    context: &Context<'_>,
) -> Result<Result<Credential, Vec<Problem>>> {
    let raw = &declared.raw;
    let mut problems = Vec::new();
    let source = (raw.source.as_ref()).and_then(|raw| source(raw, context, &mut problems));
    let mut deliver = Vec::new();
    for (index, one) in raw.deliver.iter().flatten().enumerate() {
        deliver.extend(delivery(index, one, context, &mut problems)?);
    }
    let (Some(source), true) = (source, problems.is_empty()) else {
        return Ok(Err(problems));
    };
    let address = declared.address();
    let rotate = raw.rotate.clone().unwrap_or_default();
    let expiry = raw.expiry.clone().unwrap_or_default();
    Ok(Ok(Credential {
        project: context.project.clone(),
        id: ResourceId::derive(context.lineage, &address),
        name: address.name,
        provider: raw.provider.clone(),
        base_url: raw.base_url.clone(),
        ca_file: raw.ca_file.as_ref().map(Into::into),
        source,
        scopes: raw.scopes.iter().flatten().cloned().collect(),
        warn: expiry.warn.unwrap_or(WARN),
        ends_at: expiry.at.as_deref().and_then(instant),
        rotate: Rotate {
            before: rotate.before,
            ttl: rotate.ttl,
            grace: rotate.grace,
        },
        store: StoreKind::File,
        deliver,
    }))
}

fn source(raw: &RawSource, context: &Context<'_>, problems: &mut Vec<Problem>) -> Option<Source> {
    if let Some(name) = &raw.env {
        return Some(Source::Env(name.to_string()));
    }
    if let Some(path) = &raw.file {
        return Some(Source::File(path.into()));
    }
    if let Some(name) = &raw.systemd {
        return Some(Source::Systemd(name.to_string()));
    }
    let mut argv = raw.command.clone()?;
    let program = argv.first_mut()?;
    let form = program_form(program).ok()?;
    match form {
        ProgramForm::Absolute => {}
        ProgramForm::Relative => {
            *program = clean(&context.dir.join(&*program)).display().to_string();
        }
        ProgramForm::Bare => match context.programs.find(program) {
            Ok(path) => *program = path,
            Err(why) => {
                problems.push(Problem::at("/source/command/0", why));
                return None;
            }
        },
    }
    Some(Source::Command {
        argv,
        timeout: raw.timeout.unwrap_or(TIMEOUT),
        dir: context.dir.to_owned(),
    })
}

/// A path without `.` and `..`, as it reads.
fn clean(path: &Path) -> std::path::PathBuf {
    let mut clean = std::path::PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

fn delivery(
    index: usize,
    raw: &RawDelivery,
    context: &Context<'_>,
    problems: &mut Vec<Problem>,
) -> Result<Option<Delivery>> {
    let (to, is_file) = match (&raw.file, &raw.env_file, &raw.name) {
        (Some(path), _, _) => (Target::File(path.into()), true),
        (None, Some(path), Some(name)) => {
            let (path, name) = (path.into(), name.to_string());
            (Target::EnvFile { path, name }, false)
        }
        (None, _, _) => return Ok(None),
    };
    let mut owner = is_file.then_some(context.applier);
    if let Some(name) = &raw.owner {
        match (context.user)(name.as_str())? {
            Some(account) => owner = Some(account.owner),
            None => problems.push(Problem::at(
                format!("/deliver/{index}/owner"),
                format!("this host has no user `{name}`"),
            )),
        }
    }
    if let Some(name) = &raw.group {
        match (context.group)(name.as_str())? {
            Some(gid) => owner.get_or_insert(context.applier).gid = gid,
            None => problems.push(Problem::at(
                format!("/deliver/{index}/group"),
                format!("this host has no group `{name}`"),
            )),
        }
    }
    let foreign = owner.is_some_and(|owner| owner.uid != context.applier.uid);
    if foreign && context.applier.uid != 0 {
        problems.push(
            Problem::at(
                format!("/deliver/{index}/owner"),
                "only root can give a file to another user",
            )
            .suggest("apply it as root, or leave `owner` out"),
        );
    }
    Ok(Some(Delivery {
        to,
        owner,
        mode: (raw.mode.as_ref())
            .map(text::FileMode::bits)
            .or(is_file.then_some(MODE)),
        reload: raw.then.as_ref().and_then(|then| then.reload.clone()),
    }))
}

/// An instant as a spec writes it: RFC 3339, or a day, which is its first moment in UTC.
pub fn instant(text: &str) -> Option<Timestamp> {
    if let Ok(instant) = text.parse() {
        return Some(instant);
    }
    let day = text.parse::<chrono::NaiveDate>().ok()?;
    Some(day.and_hms_opt(0, 0, 0)?.and_utc().into())
}
