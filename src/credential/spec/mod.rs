//! What a spec says of a credential, and what becomes of it once every choice is made.
//!
//! [`check`](check::check) finds what is wrong with a credential wherever it goes; [`resolve`] makes of
//! it the [`Credential`] of one host.

pub mod check;
pub mod raw;
pub mod rivals;
pub mod text;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use crate::{
    effect::user::Account,
    error::Result,
    id::{Address, Kind, Lineage, ProjectName, ResourceId, ResourceName, Seconds, Timestamp},
    notify::sink::Event,
    resource::{Declared, Meta, Owner},
    service::spec::{
        Problem,
        program::{ProgramForm, Programs, program_form},
        sink::{self, DeclaredSink},
    },
};

use super::definition::{Credential, Delivery, Rotate, Source, StoreKind, Target, With};
use super::{
    issuer,
    mint::issuer::{
        Endpoint, Issuer,
        github_app::GithubApp,
        gitlab::Gitlab,
        jupyterhub::Jupyterhub,
        oauth2::{ClientAuth, Oauth2},
    },
    provider::{self, Provider, RawProvider},
};
use raw::{RawClientAuth, RawCredential, RawDelivery, RawSource, RawStore, RawWith};

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
    /// The entries of `[notify]` that it names.
    pub sinks: Vec<Arc<DeclaredSink>>,
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

    /// The credentials that hold the URLs of who hears of it, each with the place that names it.
    pub fn told_with(&self) -> impl Iterator<Item = (String, &ResourceName)> {
        let places = self.raw.notify.iter().flatten().enumerate();
        places.filter_map(|(index, name)| {
            let sink = self.sinks.iter().find(|sink| sink.name == *name)?;
            let used = sink.raw.webhook.as_ref()?.credential()?;
            Some((format!("/notify/{index}"), used))
        })
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
    /// The providers that the spec declares.
    pub providers: &'a BTreeMap<String, RawProvider>,
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
    let table = match &raw.provider {
        None => None,
        Some(name) => match issuer::table(name, context.providers) {
            Ok(table) => table.map(Box::new),
            Err(problem) => {
                problems.push(Problem::at("/provider", problem.message));
                None
            }
        },
    };
    let builtin = raw.provider.as_deref().and_then(provider::builtin);
    let with = with(raw, table.as_deref().or(builtin));
    let issuer = match issued(raw, table.as_deref()) {
        Ok(issuer) => issuer,
        Err(problem) => {
            problems.push(problem);
            None
        }
    };
    let source = (raw.source.as_ref()).and_then(|raw| source(raw, context, &mut problems));
    let mut deliver = Vec::new();
    for (index, one) in raw.deliver.iter().flatten().enumerate() {
        deliver.extend(delivery(index, one, context, &mut problems)?);
    }
    if store(raw.store) == StoreKind::SystemdCreds && context.applier.uid != 0 {
        let message = "only what root applies is encrypted by systemd-creds: the system's manager alone opens it";
        let help = "apply as root, or write `store = \"file\"`";
        problems.push(Problem::at("/store", message).suggest(help));
    }
    let notify = sink::resolve(
        raw.notify.as_deref().unwrap_or_default(),
        &declared.sinks,
        Some(context.programs),
        &Event::OF_CREDENTIALS,
        &mut |problem| problems.push(problem),
    );
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
        table,
        base_url: raw.base_url.clone(),
        ca_file: raw.ca_file.as_ref().map(|path| placed(path, context.dir)),
        with,
        source,
        issuer,
        signed_with: raw.signed_with().map(|(_, name)| name.clone()),
        scopes: raw.scopes.iter().flatten().cloned().collect(),
        warn: expiry.warn.unwrap_or(WARN),
        ends_at: expiry.at.as_deref().and_then(instant),
        rotate: Rotate {
            before: rotate.before,
            ttl: rotate.ttl,
            grace: rotate.grace,
        },
        store: store(raw.store),
        deliver,
        notify,
    }))
}

/// How a value is kept.
pub fn store(raw: Option<RawStore>) -> StoreKind {
    match raw {
        None | Some(RawStore::File) => StoreKind::File,
        Some(RawStore::SystemdCreds) => StoreKind::SystemdCreds,
    }
}

/// What the provider is asked with: as the spec says, else as the client of the source is named there.
fn with(raw: &RawCredential, provider: Option<&Provider>) -> BTreeMap<String, With> {
    let said = raw.with.iter().flatten();
    let mut with: BTreeMap<String, With> = said
        .map(|(name, value)| {
            let value = match value {
                RawWith::Text(text) => With::Text(text.clone()),
                RawWith::Credential(one) => With::Credential(one.credential.clone()),
            };
            (name.clone(), value)
        })
        .collect();
    for name in provider.iter().flat_map(|provider| provider.asks_for()) {
        if let Some(client) = raw.client(name) {
            with.entry(name.to_owned()).or_insert(client);
        }
    }
    with
}

fn source(raw: &RawSource, context: &Context<'_>, problems: &mut Vec<Problem>) -> Option<Source> {
    if let Some(name) = &raw.env {
        return Some(Source::Env(name.to_string()));
    }
    if let Some(path) = &raw.file {
        return Some(Source::File(placed(path, context.dir)));
    }
    if let Some(name) = &raw.systemd {
        return Some(Source::Systemd(name.to_string()));
    }
    if raw.oauth2.is_some() || raw.github_app.is_some() || raw.jupyterhub.is_some() {
        return Some(Source::Minted);
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

/// Who makes new values, where someone does.
fn issued(raw: &RawCredential, table: Option<&Provider>) -> Result<Option<Issuer>, Problem> {
    let Some(source) = &raw.source else {
        return Ok(None);
    };
    let endpoint = |at: &str, url: &str| {
        url.parse::<Endpoint>()
            .map_err(|why| Problem::at(at, why.to_string()))
    };
    // The API that the provider's own paths are below is the issuer's too.
    let base = |below: &str| {
        let builtin = raw.provider.as_deref().and_then(provider::builtin);
        let default = table.or(builtin).and_then(Provider::default_base_url);
        let url = raw.base_url.as_deref().or(default).ok_or_else(|| {
            let problem = Problem::at(
                "",
                "it is not known where its issuer is: missing key `base_url`",
            );
            problem.suggest("add `provider` and `base_url`")
        })?;
        let url = url.trim_end_matches('/');
        endpoint("/base_url", &format!("{url}{below}"))
    };
    let scopes = || raw.scopes.iter().flatten().cloned().collect();
    let ttl = raw.rotate.as_ref().and_then(|rotate| rotate.ttl);
    if let Some(one) = &source.oauth2 {
        let revoke = one.revoke_url.as_deref();
        return Ok(Some(Issuer::Oauth2(Oauth2 {
            token_url: endpoint("/source/oauth2/token_url", &one.token_url)?,
            client_id: one.client_id.clone(),
            auth: match one.auth {
                Some(RawClientAuth::Post) => ClientAuth::Post,
                Some(RawClientAuth::Basic) | None => ClientAuth::Basic,
            },
            scopes: scopes(),
            audience: one.audience.clone(),
            revoke_url: revoke
                .map(|url| endpoint("/source/oauth2/revoke_url", url))
                .transpose()?,
        })));
    }
    if let Some(one) = &source.github_app {
        return Ok(Some(Issuer::GithubApp(GithubApp {
            base_url: match raw.base_url {
                Some(_) => base("")?,
                None => endpoint("/base_url", "https://api.github.com")?,
            },
            app_id: one.app_id.clone(),
            installation_id: one.installation_id,
            repositories: one.repositories.clone().unwrap_or_default(),
            permissions: one.permissions.clone().unwrap_or_default(),
        })));
    }
    if let Some(one) = &source.jupyterhub {
        return Ok(Some(Issuer::Jupyterhub(Jupyterhub {
            base_url: base("/hub/api")?,
            user: one.user.clone(),
            ttl,
            scopes: scopes(),
        })));
    }
    let rotates = raw.rotate.is_some() && raw.provider.as_deref() == Some(check::ROTATES_ITSELF);
    if rotates && source.command.is_none() {
        let base_url = base("")?;
        return Ok(Some(Issuer::Gitlab(Gitlab { base_url, ttl })));
    }
    Ok(None)
}

/// Where a file is that the spec names: `./x` from the spec file's directory.
fn placed(path: &str, dir: &Path) -> std::path::PathBuf {
    match path.strip_prefix("./") {
        Some(rest) => dir.join(rest),
        None => path.into(),
    }
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
        (Some(path), _, _) => (Target::File(placed(path, context.dir)), true),
        (None, Some(path), Some(name)) => {
            let (path, name) = (placed(path, context.dir), name.to_string());
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
