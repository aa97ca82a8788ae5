//! `lorectl credential …`: how credentials stand, what their issuers say, and a new value now.

pub(super) mod refresh;
pub(super) mod renewers;

use secrecy::ExposeSecret;

use crate::{
    apply::execute::OnFailure,
    credential::{
        backend::{self, Known},
        definition::Credential,
        facts::{self, Due, Facts, Noted, Standing, ends, told_by},
        finding::{Expiry, Finding, Status},
        issuer::{self, Controls, Means},
        mint::policy::Skewed,
        notify::tell,
        plan::{GIVE_SCOPES, LOST, found_again},
        record::Record,
        rest::{Renewer, Renewers},
        setback::Issuers,
        value::{self, LONGEST},
    },
    effect::{
        environment,
        http::Http,
        terminal,
        unseen::{self, Typed},
    },
    error::{Code, Error, Result},
    id::{Address, Kind, ResourceName, Timestamp},
    layout::Layout,
    notify::outbox::file::Stored,
    plan::Options,
    resource::Applied,
    view::{
        credential::{Clocks, LastFailure, List, Row, Validated},
        state::{Held, State},
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
    tidings,
};

/// Runs a verb.
pub async fn run(context: &Context, command: CredentialCommand) -> Result<Done> {
    match command {
        CredentialCommand::List => list(context),
        CredentialCommand::Validate { name, value_stdin } => {
            validate(context, &name, value_stdin).await
        }
        CredentialCommand::Refresh { names } => refresh::run(context, &names).await,
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
    let memory = memory(context, &layout)?;
    let renewers = renewers::renewers(context, &layout, &memory)?;
    let issuers = Issuers::new(context.disk.as_ref(), &layout);
    let mut damaged = None;
    for (address, record) in &memory.state.resources {
        if address.kind != Kind::Credential {
            continue;
        }
        let applied: Credential = record.definition.read()?;
        let (known, unread) = look(context, &layout, &issuers, (address, record), &mut damaged);
        let facts = known.as_ref().map(|known| &known.facts);
        let finding = facts.and_then(|facts| facts.finding.as_ref());
        let expiry = facts.and_then(|facts| facts.expiry);
        let rest = known.as_ref().and_then(|known| known.rest(&renewers));
        let told = |applied: &Credential| {
            applied
                .deliver
                .iter()
                .map(|one| one.to.to_string())
                .collect()
        };
        list.credentials.push(Row {
            name: address.name.to_string(),
            state: match &unread {
                Some(_) => State::Unknown,
                None => state(known.as_ref(), rest, now),
            },
            provider: applied.provider.clone(),
            source: applied.source.told(),
            fingerprint: facts
                .and_then(|facts| facts.fingerprint.as_ref())
                .map(ToString::to_string),
            generation: facts.map_or(0, |facts| facts.generation),
            status: finding.map(|finding| finding.status.to_string()),
            detail: finding.and_then(|finding| finding.detail.clone()),
            retry_at: finding.and_then(|finding| finding.retry_at),
            probed_at: finding.map(|finding| finding.probed_at),
            expires_at: expiry.map(|expiry| expiry.at),
            expiry_from: expiry.map(|expiry| expiry.from.as_str().to_owned()),
            missing_scopes: scopes(facts, |finding| finding.missing(&applied.scopes)),
            excess_scopes: scopes(facts, |finding| {
                if applied.scopes.is_empty() {
                    Vec::new()
                } else {
                    finding.excess(&applied.scopes)
                }
            }),
            renew_at: facts.and_then(|facts| facts.renew_at),
            revoke_at: facts.and_then(|facts| facts.revoke_at),
            delivered: told(&applied),
            held: known.as_ref().and_then(held),
            last_failure: facts.and_then(last_failure),
            renewed_for: rest.map(|rest| rest.service.to_string()),
            clocks: facts.and_then(Facts::skewed).map(clocks),
            why: unread.or_else(|| why(known.as_ref(), rest, now)),
            undelivered: match tell::read(context.disk.as_ref(), &layout, &address.name) {
                Stored::Good(outbox) => tidings::undelivered(&outbox, &applied.notify),
                // The doctor says so.
                Stored::Damaged(_) | Stored::Newer(_) => Vec::new(),
            },
        });
    }
    context.show_rest(&list, damaged)
}

/// What is known of one, or why that cannot be told; the first such reason is what a command ends with.
fn look(
    context: &Context,
    layout: &Layout,
    issuers: &Issuers<'_>,
    one: (&Address, &Applied),
    damaged: &mut Option<Error>,
) -> (Option<Known>, Option<String>) {
    match backend::look(context.disk.as_ref(), layout, issuers, one, context.now()) {
        Ok(known) => (known, None),
        Err(error) => {
            let why = error.chain();
            damaged.get_or_insert(error);
            (None, Some(why))
        }
    }
}

/// Scopes of what its issuer last said.
fn scopes<'f>(
    facts: Option<&'f Facts>,
    pick: impl FnOnce(&'f Finding) -> Vec<&'f str>,
) -> Vec<String> {
    let finding = facts.and_then(|facts| facts.finding.as_ref());
    let picked = finding.map(pick).unwrap_or_default();
    picked.into_iter().map(ToOwned::to_owned).collect()
}

fn state(known: Option<&Known>, rest: Option<&Renewer>, now: Timestamp) -> State {
    let Some(known) = known.filter(|known| known.is_stored) else {
        return State::Missing;
    };
    let is_held = known.facts.due == Some(Due::Lost);
    match known.facts.standing(&known.credential, now) {
        // What nobody takes any more is no less dead for that.
        Standing::Dead(_) if is_held => State::Dead,
        Standing::Missing | Standing::Provisioned | Standing::Expiring | Standing::UnderScoped
            if is_held =>
        {
            State::Held
        }
        Standing::Missing => State::Missing,
        Standing::Dead(_) | Standing::Expiring if rest.is_some() && known.is_as_applied() => {
            State::Resting
        }
        Standing::Dead(_) => State::Dead,
        Standing::Provisioned | Standing::Expiring | Standing::UnderScoped
            if !known.is_as_applied() =>
        {
            State::Drifted
        }
        Standing::Provisioned => State::Provisioned,
        Standing::Expiring => State::Expiring,
        Standing::UnderScoped => State::UnderScoped,
    }
}

/// What a person must do before anything is done to it.
fn held(known: &Known) -> Option<Held> {
    (known.facts.due == Some(Due::Lost)).then(|| Held {
        reason: LOST.to_owned(),
        until: None,
        lifted_by: Some(found_again(&known.credential)),
    })
}

fn last_failure(facts: &Facts) -> Option<LastFailure> {
    let setback = facts.setback.as_ref()?;
    Some(LastFailure {
        at: setback.last.as_ref().map(|last| last.at),
        why: setback.last.as_ref().map(|last| last.why.clone()),
        failures: setback.failures,
        breaker_open: setback.is_open,
        not_before: setback.until,
        put_right: setback.secret.clone(),
    })
}

const fn clocks(apart: Skewed) -> Clocks {
    Clocks {
        issuer: apart.issuer,
        host: apart.ours,
    }
}

/// What should be known of a credential that is not simply provisioned.
fn why(known: Option<&Known>, rest: Option<&Renewer>, now: Timestamp) -> Option<String> {
    let Some(known) = known else {
        let gone = "its record is gone from the store; `lorectl apply` makes it anew";
        return Some(gone.to_owned());
    };
    let (facts, applied) = (&known.facts, &known.credential);
    let mut told = Vec::new();
    if !known.differs.is_empty() {
        let differs = known.differs.join("; ");
        told.push(format!("{differs}; `lorectl apply` puts it right"));
    }
    told.extend(known.notes.iter().cloned());
    let setback = facts.setback.as_ref();
    let failed = setback.map(|setback| setback.told(now));
    let help = match setback {
        Some(setback) if applied.renews() => setback.help(),
        Some(_) | None if applied.renews() => "`lorectl apply` obtains another".to_owned(),
        Some(_) | None => format!(
            "put a new one into {}, then `lorectl apply`",
            applied.source.told()
        ),
    };
    let ends = || facts.expiry.map(|expiry| ends(now, expiry));
    match (facts.standing(applied, now), rest) {
        // What is held says why, and what lifts it.
        (standing, _) if facts.due == Some(Due::Lost) => {
            if let Standing::Dead(status) = standing {
                told.push(status.told().to_owned());
            }
            told.extend(failed);
        }
        (Standing::Dead(_) | Standing::Expiring, Some(rest)) => {
            told.extend(ends());
            told.push(rest.told(now));
        }
        (Standing::Provisioned | Standing::Missing, _) => told.extend(failed),
        (Standing::Expiring, None) => {
            told.extend(ends());
            told.extend(failed);
            told.push(help);
        }
        (Standing::UnderScoped, _) => {
            let missing = facts.missing_scopes(applied).join(", ");
            told.push(format!("lacks scopes: {missing}; {GIVE_SCOPES}"));
            told.extend(failed);
        }
        (Standing::Dead(status), None) => {
            told.push(status.told().to_owned());
            told.extend(failed);
            told.push(help);
        }
    }
    let finding = facts.finding.as_ref();
    told.extend(finding.and_then(Finding::no_verdict));
    told.extend(facts.skewed().map(|apart| apart.told_with_help()));
    (!told.is_empty()).then(|| told.join("; "))
}

/// A credential's line of `lorectl status`.
pub(super) fn row(
    context: &Context,
    layout: &Layout,
    issuers: &Issuers<'_>,
    one: (&Address, &Applied),
    renewers: &Renewers,
    damaged: &mut Option<Error>,
) -> StatusRow {
    let now = context.now();
    let (known, unread) = look(context, layout, issuers, one, damaged);
    let known = known.as_ref();
    let rest = known.and_then(|known| known.rest(renewers));
    let facts = known.map(|known| &known.facts);
    let not_before = facts.and_then(|facts| facts.setback.as_ref()?.until);
    StatusRow {
        address: one.0.clone(),
        state: match &unread {
            Some(_) => State::Unknown,
            None => state(known, rest, now),
        },
        next_run: match rest {
            Some(rest) => rest.at,
            // A person comes first.
            None if known.is_some_and(|known| held(known).is_some()) => None,
            None => not_before.or_else(|| facts?.renew_at),
        },
        last_run: None,
        held: known.and_then(held),
        why: unread.or_else(|| why(known, rest, now)),
    }
}

/// The credential of that name, as it was applied, else as the spec has it; and whether it was applied.
fn definition(context: &Context, name: &ResourceName) -> Result<(Layout, Credential, bool)> {
    let layout = context.layout(context.project()?);
    let address = Address::new(Kind::Credential, name.clone());
    if let Some(record) = memory(context, &layout)?.state.resources.get(&address) {
        return Ok((layout, record.definition.read()?, true));
    }
    let Ok(spec) = context.spec() else {
        return Err(unknown(&address));
    };
    let project = Project::open(context, spec.project.clone())?;
    let wish = project.wish(&spec)?;
    match wish.desired.get(&address) {
        Some(desired) => Ok((layout, desired.definition.read()?, false)),
        None => Err(unknown(&address)),
    }
}

/// Asks what the stored value, or one on standard input, is worth.
async fn validate(context: &Context, name: &ResourceName, value_stdin: bool) -> Result<Done> {
    let (layout, credential, is_applied) = definition(context, name)?;
    let disk = context.disk.as_ref();
    let record = Record::read(disk, &layout, name)?;
    let value = if value_stdin {
        let bytes = candidate(context, name).await?;
        value::from_bytes(bytes).map_err(|why| {
            let message = format!("what was given for credential.{name} is no token: {why}");
            Error::new(Code::TokenInvalid, message).suggest(format!(
                "{}: `lorectl credential validate {name} --value-stdin < FILE`",
                why.help()
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
    if !is_applied && let Some(name) = credential.others().next() {
        // It is sent where an apply has said, and nowhere else.
        let message = format!(
            "credential.{} is not applied, and its provider is asked with credential.{name} too",
            credential.name
        );
        return Err(Error::new(Code::NotApproved, message)
            .suggest("`lorectl apply` asks before it stores; then it can be validated"));
    }
    let means = Means::of(disk, &layout, &credential)?;
    let now = context.now();
    let http = Http::default();
    let controls = Controls::default();
    let finding = controls
        .probe(&http, &credential, &means, &value, now)
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
        let _ = noted.write_if_newest(disk, &layout, name);
    }
    let owned = |list: Vec<&str>| list.into_iter().map(ToOwned::to_owned).collect();
    let generation = current.filter(|one| one.value.is(value.expose_secret().as_bytes()));
    let expiry = facts::expiry(&credential, generation, Some(&finding));
    let (status, detail) = judged(&credential, &finding, expiry, now);
    let page = Validated {
        name: name.to_string(),
        value: if value_stdin { "candidate" } else { "stored" }.to_owned(),
        provider: credential.provider.clone(),
        status: status.to_string(),
        detail,
        expires_at: expiry.map(|expiry| expiry.at),
        expiry_from: expiry.map(|expiry| expiry.from.as_str().to_owned()),
        told_by: expiry.map(|expiry| told_by(expiry.from)),
        scopes: (finding.scopes.as_ref()).map(|scopes| scopes.iter().cloned().collect()),
        missing_scopes: owned(finding.missing(&credential.scopes)),
        excess_scopes: if credential.scopes.is_empty() {
            Vec::new()
        } else {
            owned(finding.excess(&credential.scopes))
        },
        account: finding.account.clone(),
        retry_at: finding.retry_at,
        clocks: facts::skewed(&finding).map(clocks),
        clock: facts::skewed(&finding).map(|apart| apart.told_with_help()),
        probed_at: finding.probed_at,
    };
    let error = verdict(&credential, status, &page);
    context.show_with(&page, error.as_ref())
}

/// What a value ends the command with that does not serve, as an error.
fn verdict(credential: &Credential, status: Status, page: &Validated) -> Option<Error> {
    let another = if credential.renews() {
        "`lorectl apply` obtains another".to_owned()
    } else {
        let source = credential.source.told();
        format!("have its issuer make another, put that into {source}, then `lorectl apply`")
    };
    let (code, help) = match status {
        Status::Live | Status::NotImplemented => return None,
        Status::LiveUnderScoped => (Code::TokenUnderScoped, GIVE_SCOPES.to_owned()),
        Status::Expired => (Code::TokenExpired, another),
        Status::Revoked => (Code::TokenRevoked, another),
        Status::Rejected => (Code::TokenRejected, another),
        Status::Throttled => (
            Code::IssuerThrottled,
            page.retry_at.map_or_else(
                || "ask again later".to_owned(),
                |at| format!("ask again from {}", facts::to_second(at)),
            ),
        ),
        Status::Error => (
            Code::IssuerUnavailable,
            "look at `base_url`, and ask again".to_owned(),
        ),
    };
    let why = page.detail.iter().map(|why| format!(": {why}"));
    let message = format!(
        "the {} value of credential.{}: {}{}",
        page.value,
        page.name,
        status.told(),
        why.collect::<String>()
    );
    Some(Error::new(code, message).suggest(help))
}

/// The value to be tried: all of standard input, or a line that nobody sees, where a person types it.
async fn candidate(context: &Context, name: &ResourceName) -> Result<Vec<u8>> {
    let most = LONGEST + 2;
    if !terminal::stdin_is_terminal() {
        return environment::standard_input(most as u64);
    }
    let console = &context.console;
    console.complain(&format!(
        "The value to try for credential.{name} (it is not shown; Enter ends it): "
    ));
    let typed = unseen::read_line(most).await;
    console.complain("\n");
    let from_file = format!("`lorectl credential validate {name} --value-stdin < FILE`");
    match typed? {
        Typed::Line(mut line) => Ok(std::mem::take(&mut *line)),
        Typed::More => {
            let message = format!(
                "what was given for credential.{name} is more than one line of at most 64 KiB; none of it was taken"
            );
            let help = format!("give a token alone, in one line; {from_file} takes PEM");
            Err(Error::new(Code::TokenInvalid, message).suggest(help))
        }
        Typed::Interrupted => {
            let message = format!("interrupted, before a value for credential.{name} was given");
            let help = format!("run it again; {from_file} asks for nothing");
            Err(Error::new(Code::Interrupted, message).suggest(help))
        }
    }
}

/// What is to be said of a value: what its issuer says, but that it is dead when its end has passed,
/// whoever tells that end.
fn judged(
    credential: &Credential,
    finding: &Finding,
    expiry: Option<Expiry>,
    now: Timestamp,
) -> (Status, Option<String>) {
    let asks_nobody = finding.status == Status::NotImplemented && !issuer::tells(credential);
    match expiry {
        Some(expiry)
            if expiry.at <= facts::by_issuer(finding, now) && !finding.status.is_dead() =>
        {
            let takes = if finding.status.is_live() {
                "; its issuer still takes it"
            } else {
                ""
            };
            let why = format!(
                "{} says that its end has passed{takes}",
                told_by(expiry.from)
            );
            (Status::Expired, Some(why))
        }
        Some(_) | None if asks_nobody && finding.detail.is_none() => {
            let why = "it has no `provider`, so there is nobody to ask";
            (finding.status, Some(why.to_owned()))
        }
        Some(_) | None => (finding.status, finding.detail.clone()),
    }
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
        let message = format!(
            "{address} cannot be rotated from here: {told} gives no new value when it is asked"
        );
        return Err(Error::new(Code::Held, message).suggest(format!(
            "have its issuer make another token, put that into {told}, then `lorectl apply`"
        )));
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
