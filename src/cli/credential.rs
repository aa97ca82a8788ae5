//! `lorectl credential …`: how credentials stand, what their issuers say, and a new value now.

use secrecy::ExposeSecret;

use crate::{
    apply::execute::OnFailure,
    credential::{
        backend,
        definition::Credential,
        facts::{Facts, Noted, Standing, away, told_by},
        finding::Status,
        issuer::{self, Controls},
        record::Record,
        value::{self, LONGEST},
    },
    effect::{environment, http::Http},
    error::{Code, Error, Result},
    id::{Address, Kind, ResourceName, Timestamp},
    layout::Layout,
    plan::Options,
    view::{
        credential::{List, Row, Validated},
        state::State,
        status::Row as StatusRow,
    },
};

use super::{
    Done,
    apply::{Approved, Order},
    args::CredentialCommand,
    context::Context,
    project::Project,
    status::{memory, unknown},
};

/// Runs a verb.
pub async fn run(context: &Context, command: CredentialCommand) -> Result<Done> {
    match command {
        CredentialCommand::List => list(context),
        CredentialCommand::Validate { name, value_stdin } => {
            validate(context, &name, value_stdin).await
        }
        CredentialCommand::Rotate { name, yes } => rotate(context, &name, yes).await,
    }
}

fn list(context: &Context) -> Result<Done> {
    let layout = context.layout(context.project()?);
    let now = context.now();
    let mut list = List {
        project: layout.project().to_string(),
        at: now,
        credentials: Vec::new(),
    };
    for (address, record) in &memory(context, &layout)?.state.resources {
        if address.kind != Kind::Credential {
            continue;
        }
        let applied: Credential = record.definition.read()?;
        let known = backend::facts(context.disk.as_ref(), &layout, &address.name, now)?;
        let facts = known.as_ref().map(|(_, facts)| facts);
        let finding = facts.and_then(|facts| facts.finding.as_ref());
        let expiry = facts.and_then(|facts| facts.expiry);
        let told = |applied: &Credential| {
            applied
                .deliver
                .iter()
                .map(|one| one.to.to_string())
                .collect()
        };
        list.credentials.push(Row {
            name: address.name.to_string(),
            state: state(facts, &applied, now),
            provider: applied.provider.clone(),
            source: applied.source.told(),
            fingerprint: facts
                .and_then(|facts| facts.fingerprint.as_ref())
                .map(ToString::to_string),
            generation: facts.map_or(0, |facts| facts.generation),
            status: finding.map(|finding| finding.status.to_string()),
            probed_at: finding.map(|finding| finding.probed_at),
            expires_at: expiry.map(|expiry| expiry.at),
            expiry_from: expiry.map(|expiry| expiry.from.as_str().to_owned()),
            renew_at: facts.and_then(|facts| facts.renew_at),
            delivered: told(&applied),
            why: why(facts, &applied, now),
        });
    }
    context.show(&list)
}

fn state(facts: Option<&Facts>, applied: &Credential, now: Timestamp) -> State {
    match facts.map(|facts| facts.standing(applied, now)) {
        None | Some(Standing::Missing) => State::Missing,
        Some(Standing::Provisioned) => State::Provisioned,
        Some(Standing::Expiring) => State::Expiring,
        Some(Standing::Dead(_)) => State::Dead,
    }
}

/// What should be known of a credential that is not simply provisioned.
fn why(facts: Option<&Facts>, applied: &Credential, now: Timestamp) -> Option<String> {
    let facts = facts?;
    let help = if applied.renews() {
        "`lorectl apply` obtains another".to_owned()
    } else {
        format!(
            "put a new token into {}, then `lorectl apply`",
            applied.source.told()
        )
    };
    match facts.standing(applied, now) {
        Standing::Provisioned | Standing::Missing => None,
        Standing::Expiring => facts.expiry.map(|expiry| {
            let (at, from) = (expiry.at, told_by(expiry.from));
            format!("ends {at} ({}, says {from}); {help}", away(now, at))
        }),
        Standing::Dead(status) => Some(format!("{status}; {help}")),
    }
}

/// A credential's line of `lorectl status`.
pub(super) fn row(
    context: &Context,
    layout: &Layout,
    address: &Address,
    now: Timestamp,
) -> Result<StatusRow> {
    let known = backend::facts(context.disk.as_ref(), layout, &address.name, now)?;
    let (state, next, why) = match &known {
        None => (State::Missing, None, None),
        Some((credential, facts)) => (
            state(Some(facts), credential, now),
            facts.renew_at,
            why(Some(facts), credential, now),
        ),
    };
    Ok(StatusRow {
        address: address.clone(),
        state,
        next_run: next,
        last_run: None,
        held: None,
        why,
    })
}

/// The credential of that name: as it was applied, else as the spec has it.
fn definition(context: &Context, name: &ResourceName) -> Result<(Layout, Credential)> {
    let layout = context.layout(context.project()?);
    let address = Address::new(Kind::Credential, name.clone());
    if let Some(record) = memory(context, &layout)?.state.resources.get(&address) {
        return Ok((layout, record.definition.read()?));
    }
    let Ok(spec) = context.spec() else {
        return Err(unknown(&address));
    };
    let project = Project::open(context, spec.project.clone())?;
    let wish = project.wish(&spec)?;
    match wish.desired.get(&address) {
        Some(desired) => Ok((layout, desired.definition.read()?)),
        None => Err(unknown(&address)),
    }
}

/// Asks what the stored value, or one on standard input, is worth.
async fn validate(context: &Context, name: &ResourceName, value_stdin: bool) -> Result<Done> {
    let (layout, credential) = definition(context, name)?;
    let disk = context.disk.as_ref();
    let record = Record::read(disk, &layout, name)?;
    let value = if value_stdin {
        let bytes = environment::standard_input(LONGEST as u64 + 2)?;
        value::from_bytes(bytes).map_err(|why| {
            Error::new(Code::TokenInvalid, format!("standard input: {why}")).suggest(format!(
                "`lorectl credential validate {name} --value-stdin < FILE`"
            ))
        })?
    } else {
        let current = record.as_ref().and_then(Record::current);
        let current = current.ok_or_else(|| {
            Error::new(
                Code::CredentialMissing,
                format!("credential.{name} has no value here"),
            )
            .suggest("`lorectl apply` stores one; `--value-stdin` tries another")
        })?;
        current.value.value().clone()
    };
    issuer::check_format(&credential, &value).map_err(|why| {
        Error::new(Code::TokenInvalid, format!("credential.{name}: {why}"))
            .suggest("look whether it is the token of that provider")
    })?;
    let roots = issuer::roots(disk, &credential)?;
    let now = context.now();
    let http = Http::default();
    let controls = Controls::default();
    let finding = controls
        .probe(&http, &credential, roots.as_deref(), &value, now)
        .await;
    let current = record.as_ref().and_then(Record::current);
    if let Some(current) = current
        && current.value.is(value.expose_secret().as_bytes())
    {
        let before = Noted::read(disk, &layout, name);
        let noted = Noted::next(
            before.as_ref(),
            current.number,
            &credential,
            finding.clone(),
        );
        // Who asks is to hear the answer, also where nothing can be kept.
        let _ = noted.write(disk, &layout, name);
    }
    let owned = |list: Vec<&str>| list.into_iter().map(ToOwned::to_owned).collect();
    context.show(&Validated {
        name: name.to_string(),
        value: if value_stdin { "candidate" } else { "stored" }.to_owned(),
        provider: credential.provider.clone(),
        status: finding.status.to_string(),
        detail: finding.detail.clone(),
        expires_at: finding.expiry.map(|expiry| expiry.at),
        expiry_from: finding.expiry.map(|expiry| expiry.from.as_str().to_owned()),
        scopes: (finding.scopes.as_ref()).map(|scopes| scopes.iter().cloned().collect()),
        missing_scopes: owned(finding.missing(&credential.scopes)),
        excess_scopes: if credential.scopes.is_empty() {
            Vec::new()
        } else {
            owned(finding.excess(&credential.scopes))
        },
        account: finding.account.clone(),
        retry_at: finding.retry_at,
        probed_at: finding.probed_at,
    })?;
    Ok(match finding.status {
        Status::Live | Status::NotImplemented => Done::Fine,
        Status::LiveUnderScoped => Done::As(Code::TokenUnderScoped),
        Status::Expired => Done::As(Code::TokenExpired),
        Status::Revoked => Done::As(Code::TokenRevoked),
        Status::Rejected => Done::As(Code::TokenRejected),
        Status::Throttled => Done::As(Code::IssuerThrottled),
        Status::Error => Done::As(Code::IssuerUnavailable),
    })
}

/// Obtains a new value now and delivers it, as an apply of what was applied.
async fn rotate(context: &Context, name: &ResourceName, yes: bool) -> Result<Done> {
    let project = context.project()?;
    let layout = context.layout(project.clone());
    let address = Address::new(Kind::Credential, name.clone());
    let applied = memory(context, &layout)?.state.resources;
    let applied = applied.get(&address).ok_or_else(|| unknown(&address))?;
    let credential: Credential = applied.definition.read()?;
    if !credential.renews() {
        let told = credential.source.told();
        let message = format!("{address}: {told} gives no new value when it is asked");
        return Err(Error::new(Code::Usage, message)
            .suggest(format!("put a new token into {told}, then `lorectl apply`")));
    }
    let order = Order {
        context,
        project,
        options: Options {
            targets: vec![address],
            ..Options::default()
        },
        on_failure: OnFailure::Rollback,
        command: format!("credential rotate {name}"),
        asked: Some(name.clone()),
    };
    let wish = |project: &Project<'_>| Ok(project.as_applied());
    let approved = yes.then_some(Approved::Beforehand);
    order.carry_out(&wish, approved, "Rotate it?").await
}
