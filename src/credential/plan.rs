//! What a plan says of a credential: its fields, its value's fingerprint, how it stands.

use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::{
    error::{Code, Result},
    id::{Address, Timestamp},
    notify::sink::Event,
    resource::{Action, Definition, Disruption, FieldChange, Found, Hold, Image, Lift, Meta, Part},
    service::plan::sinks,
};

use super::{
    definition::{Credential, Delivery, Source, StoreKind},
    drift::is_held_by_the_host,
    facts::{Due, Facts, Standing, away, ends, ends_shortly, shortly, when},
    finding::{Expiry, Finding, Provenance, Status},
    image::{DUE, NEW_VALUE, SOURCE},
    issuer,
    key::Fingerprint,
    mint::Issuer,
    rest::{Renewer, Renewers},
};

/// What a source holds, as far as a plan may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Glimpse {
    /// A value; what stands for it, where the key is there.
    Value(Option<Fingerprint>),
    /// Nothing: how that shows, and what helps.
    Nothing(String),
    /// Something that is not taken, and why not.
    Unusable(String),
    /// It is known at apply.
    AtApply,
}

/// Looks at sources; it runs nothing, and sends nothing anywhere.
pub trait Sources {
    /// What the source of a credential holds that the spec wants.
    fn glimpse(&self, address: &Address) -> Glimpse;

    /// What an apply of it would meet on this host, for a reader; nothing where the host is another.
    fn ahead(&self, address: &Address) -> Vec<String>;
}

/// One credential, before and after.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// Its address.
    pub address: &'a Address,
    /// The definition that was applied.
    pub before: Option<&'a Definition>,
    /// The image that was applied.
    pub applied_image: Option<&'a Image>,
    /// What is there.
    pub found: Option<&'a Found>,
    /// The definition that is wanted.
    pub after: Option<&'a Definition>,
    /// The image that is wanted.
    pub desired_image: Option<&'a Image>,
    /// What any resource may say, applied and wanted.
    pub meta: (Option<&'a Meta>, Option<&'a Meta>),
    /// What is done.
    pub action: Action,
    /// Whether a removal leaves nothing.
    pub purge: bool,
    /// The instant of planning.
    pub now: Timestamp,
}

/// What there is to say.
#[derive(Debug, Default)]
pub struct Told {
    /// The document's `before`.
    pub before: Value,
    /// The document's `after`.
    pub after: Value,
    /// Fields that change.
    pub fields: Vec<FieldChange>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// Why an update is made that nobody's edit asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The source holds another value.
    Source,
    /// A new value is due.
    Due,
    /// Someone asked for a new value.
    Asked,
}

/// Why a credential is changed that nobody has edited; `None` where the host differs, and no value is due.
pub fn occasion(found: &Image, desired: &Image) -> Option<Occasion> {
    let differing = found.differences(desired);
    if differing.iter().any(|part| **part == DUE) {
        let is_asked = found.get(DUE.as_str()) == Some(&Part::Text(Due::ASKED.to_owned()));
        Some(if is_asked {
            Occasion::Asked
        } else {
            Occasion::Due
        })
    } else if differing.iter().any(|part| is_held_by_the_host(part)) {
        None
    } else if differing.iter().any(|part| **part == SOURCE) {
        Some(Occasion::Source)
    } else {
        None
    }
}

/// How a new value is made before anything else is done, where one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Making {
    /// No new value is made.
    Nothing,
    /// One is made, which can be ended again.
    Undoable,
    /// One is made, and the old one ends with it.
    Final,
}

/// Whether its issuer makes a new value, given what was applied, is there and is wanted.
pub fn making(
    before: Option<&Definition>,
    after: &Definition,
    found: Option<&Found>,
) -> Result<Making> {
    let after: Credential = after.read()?;
    let Some(issuer) = &after.issuer else {
        return Ok(Making::Nothing);
    };
    let is_minted = after.source == Source::Minted;
    let makes = match facts(found) {
        None => is_minted,
        Some(facts) => match facts.due {
            Some(Due::Asked | Due::Ends | Due::Dead) => true,
            Some(Due::Pending | Due::Lost) => false,
            Some(Due::Revoke | Due::Reload) | None => {
                let before: Option<Credential> = before.map(Definition::read).transpose()?;
                let same = |before: &Credential| before.issuer == after.issuer;
                is_minted && (facts.generation == 0 || !before.as_ref().is_some_and(same))
            }
        },
    };
    Ok(match (makes, issuer.both_live()) {
        (false, _) => Making::Nothing,
        (true, true) => Making::Undoable,
        (true, false) => Making::Final,
    })
}

/// Whether it cannot be told what became of a request for a new value, so that nothing is done but to
/// take one in that a person has made.
pub fn is_lost(found: &Found) -> bool {
    let takes_in = found.image.get(SOURCE.as_str()) == Some(&Part::Text(NEW_VALUE.to_owned()));
    facts(Some(found)).is_some_and(|facts| facts.due == Some(Due::Lost)) && !takes_in
}

/// Whether all that is due is that old values are ended.
pub fn is_to_revoke(found: &Found) -> bool {
    facts(Some(found)).is_some_and(|facts| facts.due == Some(Due::Revoke))
}

/// Whether the removal of a credential, or of an old value of it, ends tokens at their issuer.
pub fn revokes(definition: &Definition) -> Result<bool> {
    let issuer = definition.read::<Credential>()?.issuer;
    Ok(issuer.as_ref().is_some_and(Issuer::ends_tokens))
}

/// Why a mint that ends the old value is not undone.
pub const OLD_ONE_ENDS: &str = "its issuer ends the old token when it makes the new one";

/// The service before whose next run a value is renewed that nobody needs until then; `None` for others.
///
/// # Errors
/// For a definition that cannot be read.
pub fn rest<'r>(
    definition: &Definition,
    found: &Found,
    renewers: &'r Renewers,
) -> Result<Option<&'r Renewer>> {
    let Some(facts) = facts(Some(found)) else {
        return Ok(None);
    };
    Ok(renewers.of(&definition.read()?, &facts))
}

/// What a change to a credential disturbs.
pub fn disruption(definition: &Definition) -> Result<Disruption> {
    let credential: Credential = definition.read()?;
    let reloads = credential.deliver.iter().any(|one| one.reload.is_some());
    Ok(if reloads {
        Disruption::Reload
    } else {
        Disruption::None
    })
}

/// What was found of it besides its image.
fn facts(found: Option<&Found>) -> Option<Facts> {
    Facts::deserialize(found?.told.as_deref()?).ok()
}

/// Says what there is to say of one credential; `rest` has it renewed where that is all that is due.
pub fn tell(sources: &dyn Sources, case: &Case<'_>, rest: Option<&Renewer>) -> Result<Told> {
    if case.action == Action::NoOp {
        return tell_as_it_is(case, rest);
    }
    let before: Option<Credential> = case.before.map(Definition::read).transpose()?;
    let after: Option<Credential> = match case.action {
        Action::Delete | Action::Forget => None,
        Action::NoOp | Action::Create | Action::Update | Action::Replace | Action::Adopt => {
            case.after.map(Definition::read).transpose()?
        }
    };
    let facts = facts(case.found);
    let old = facts.as_ref().and_then(|facts| facts.fingerprint.clone());
    let coming = after
        .as_ref()
        .map(|after| coming(sources, case, after, before.as_ref(), facts.as_ref()));
    let mut told = Told {
        before: value(case.before, case.applied_image, case.meta.0, old.as_ref())?,
        ..Told::default()
    };
    if let (Some(definition), Some(coming)) = (case.after, &coming) {
        let print = match coming {
            Coming::Kept => old.as_ref(),
            Coming::New(print) => print.as_ref(),
        };
        told.after = value(Some(definition), case.desired_image, case.meta.1, print)?;
    }
    told.fields = fields(before.as_ref(), after.as_ref());
    if let Some(after) = &after {
        let old = before.as_ref().map_or(&[][..], |before| &before.notify);
        told.fields
            .extend(sinks(old, &after.notify, &Event::OF_CREDENTIALS));
    }
    told.fields.extend(meta_fields(case.meta));
    if let Some(coming) = &coming {
        told.fields.extend(value_field(coming, facts.as_ref()));
    }
    if let (Some(facts), Some(credential)) = (&facts, after.as_ref().or(before.as_ref())) {
        told.notes = standing_in_use(facts, credential, case.now);
        if let Some(first) = told.notes.first_mut() {
            *first = format!("the value in use: {first}");
        }
    }
    let both = (before.as_ref(), after.as_ref());
    told.notes.extend(notes(case, both, coming.as_ref()));
    if let Some(due) = facts.as_ref().and_then(|facts| facts.due) {
        let has_ended = |facts: &Facts| facts.expiry.is_some_and(|one| one.at <= case.now);
        let issuer = after.as_ref().and_then(|after| after.issuer.as_ref());
        let ends_tokens = issuer.is_none_or(Issuer::ends_tokens);
        let why = match due {
            Due::Ends if facts.as_ref().is_some_and(has_ended) => "it has ended",
            Due::Revoke if !ends_tokens => {
                "an old value is forgotten: its issuer revokes none, and it lives until its own end"
            }
            due => due.as_str(),
        };
        told.notes.insert(0, why.to_owned());
    }
    if let Some(setback) = facts.as_ref().and_then(|facts| facts.setback.as_ref()) {
        let first = usize::from(facts.as_ref().is_some_and(|facts| facts.due.is_some()));
        told.notes.splice(first..first, setback.notes(case.now));
    }
    Ok(told)
}

/// What there is to say of one to which nothing is done.
fn tell_as_it_is(case: &Case<'_>, rest: Option<&Renewer>) -> Result<Told> {
    let mut told = Told::default();
    if let (Some(facts), Some(definition)) = (facts(case.found), case.after.or(case.before)) {
        told.notes = stays(&facts, &definition.read()?, rest, case.now);
    }
    Ok(told)
}

/// What becomes of the value.
enum Coming {
    /// It stays.
    Kept,
    /// Another takes its place; what stands for that, where it is known.
    New(Option<Fingerprint>),
}

fn coming(
    sources: &dyn Sources,
    case: &Case<'_>,
    after: &Credential,
    before: Option<&Credential>,
    facts: Option<&Facts>,
) -> Coming {
    let due = |facts: &Facts| match facts.due {
        Some(Due::Asked | Due::Ends | Due::Dead | Due::Pending) => true,
        Some(Due::Revoke | Due::Lost | Due::Reload) | None => false,
    };
    let needed = facts.is_none_or(|facts| facts.generation == 0 || due(facts));
    let another = before.is_some_and(|before| before.source != after.source);
    let is_new = case.found.is_some_and(|found| {
        found.image.get(SOURCE.as_str()) == Some(&Part::Text(NEW_VALUE.to_owned()))
    });
    match sources.glimpse(case.address) {
        // Its issuer makes another, whatever the source still holds.
        Glimpse::Value(_) if facts.is_some_and(due) && after.issuer.is_some() => Coming::New(None),
        Glimpse::Value(print) if needed || another || is_new => {
            let known = facts.and_then(|facts| facts.fingerprint.as_ref());
            if !needed && known.is_some() && known == print.as_ref() {
                Coming::Kept
            } else {
                Coming::New(print)
            }
        }
        Glimpse::AtApply | Glimpse::Nothing(_) | Glimpse::Unusable(_) if needed || another => {
            Coming::New(None)
        }
        Glimpse::Value(_) | Glimpse::AtApply | Glimpse::Nothing(_) | Glimpse::Unusable(_) => {
            Coming::Kept
        }
    }
}

/// The values that the document shows and an approval compares.
fn value(
    definition: Option<&Definition>,
    image: Option<&Image>,
    meta: Option<&Meta>,
    print: Option<&Fingerprint>,
) -> Result<Value> {
    let Some(definition) = definition else {
        return Ok(Value::Null);
    };
    let texts = image.into_iter().flat_map(Image::iter);
    let parts: serde_json::Map<String, Value> = texts
        .filter_map(|(name, part)| match part {
            Part::Text(text) => Some((name.to_string(), json!(text))),
            Part::File(_) | Part::Flag(_) => None,
        })
        .collect();
    Ok(json!({
        "definition": definition.read::<Value>()?,
        "parts": parts,
        "meta": meta,
        "value": print.map_or_else(|| json!({"unknown": true}), |print| json!(print)),
    }))
}

type Reader = (&'static str, fn(&Credential) -> Option<String>);

const READERS: &[Reader] = &[
    ("provider", |c| c.provider.clone()),
    ("base_url", |c| c.base_url.clone()),
    ("ca_file", |c| {
        c.ca_file.as_ref().map(|path| path.display().to_string())
    }),
    ("with", |c| {
        let with = c.with.iter().map(|(key, with)| format!("{key} = {with}"));
        (!c.with.is_empty()).then(|| with.collect::<Vec<_>>().join(", "))
    }),
    ("source", |c| Some(source(&c.source))),
    ("issuer", |c| {
        c.issuer.as_ref().map(|one| one.endpoint().to_string())
    }),
    ("signed with", |c| {
        c.signed_with
            .as_ref()
            .map(|name| format!("credential.{name}"))
    }),
    ("store", |c| Some(c.store.as_str().to_owned())),
    ("scopes", |c| {
        let scopes: Vec<&str> = c.scopes.iter().map(String::as_str).collect();
        (!scopes.is_empty()).then(|| scopes.join(", "))
    }),
    ("expiry.warn", |c| Some(c.warn.to_string())),
    ("expiry.at", |c| c.ends_at.map(|at| at.to_string())),
    ("rotate.before", |c| {
        c.rotate.before.map(|one| one.to_string())
    }),
    ("rotate.ttl", |c| c.rotate.ttl.map(|one| one.to_string())),
    ("rotate.grace", |c| {
        c.rotate.grace.map(|one| one.to_string())
    }),
];

/// Fields that a new credential is shown with.
const SHOWN_ON_CREATE: &[&str] = &[
    "provider",
    "base_url",
    "with",
    "source",
    "issuer",
    "signed with",
    "scopes",
    "expiry.at",
];

/// A source in one line, as the spec would say it.
fn source(source: &Source) -> String {
    match source {
        Source::Env(name) => format!("env {name}"),
        Source::File(path) => format!("file {}", path.display()),
        Source::Command { argv, .. } => {
            format!("command {}", crate::service::plan::argv(argv))
        }
        Source::Systemd(name) => format!("systemd {name}"),
        Source::Minted => "its issuer".to_owned(),
    }
}

fn change(field: String, before: Option<String>, after: Option<String>) -> Option<FieldChange> {
    (before != after).then_some(FieldChange {
        field,
        before,
        after,
    })
}

fn fields(before: Option<&Credential>, after: Option<&Credential>) -> Vec<FieldChange> {
    let both = before.is_some() && after.is_some();
    let mut fields = Vec::new();
    if after.is_none() {
        return fields;
    }
    let sealed = after.is_some_and(|after| after.store == StoreKind::SystemdCreds);
    for (name, read) in READERS {
        if both || SHOWN_ON_CREATE.contains(name) || (*name == "store" && sealed) {
            fields.extend(change(
                (*name).to_owned(),
                before.and_then(read),
                after.and_then(read),
            ));
        }
    }
    let places = |credential: Option<&Credential>| {
        let all = credential.into_iter().flat_map(|one| &one.deliver);
        all.map(|one| (one.to.to_string(), delivery(one)))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let (old, new) = (places(before), places(after));
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        fields.extend(change(
            "deliver".to_owned(),
            old.get(name).cloned(),
            new.get(name).cloned(),
        ));
    }
    fields
}

/// A delivery in one line: `/etc/acme/token   0640 0:0, reloads app.service`.
fn delivery(one: &Delivery) -> String {
    let mut of_file = Vec::new();
    of_file.extend(one.mode.map(|mode| format!("{mode:04o}")));
    of_file.extend(
        one.owner
            .map(|owner| format!("{}:{}", owner.uid, owner.gid)),
    );
    let mut text = one.to.to_string();
    if !of_file.is_empty() {
        text = format!("{text}   {}", of_file.join(" "));
    }
    match &one.reload {
        Some(unit) => format!("{text}, reloads {unit}"),
        None => text,
    }
}

fn meta_fields((before, after): (Option<&Meta>, Option<&Meta>)) -> Vec<FieldChange> {
    match (before, after) {
        (Some(before), Some(after)) => crate::service::plan::meta_fields(Some(before), Some(after)),
        (_, _) => Vec::new(),
    }
}

fn value_field(coming: &Coming, facts: Option<&Facts>) -> Option<FieldChange> {
    let Coming::New(print) = coming else {
        return None;
    };
    let old = facts.filter(|facts| facts.generation > 0).map(|facts| {
        (facts.fingerprint.as_ref()).map_or_else(|| "unknown".to_owned(), ToString::to_string)
    });
    let new = (print.as_ref()).map_or_else(|| "known at apply".to_owned(), ToString::to_string);
    Some(FieldChange {
        field: "value".to_owned(),
        before: old,
        after: Some(new),
    })
}

/// What is told of one to which nothing is done, a cell each: how it stands, when it ends, and then what
/// else there is to know.
fn stays(
    facts: &Facts,
    credential: &Credential,
    rest: Option<&Renewer>,
    now: Timestamp,
) -> Vec<String> {
    let its_now = facts.by_issuer(now);
    let has_ended = facts.expiry.is_some_and(|expiry| expiry.at <= its_now);
    let how = match &facts.finding {
        _ if rest.is_some() => "resting".to_owned(),
        Some(finding) if has_ended && !finding.status.is_dead() => "expired".to_owned(),
        Some(finding) if finding.status == Status::LiveUnderScoped => "under-scoped".to_owned(),
        Some(finding) => finding.status.told().to_owned(),
        None => Status::NotImplemented.told().to_owned(),
    };
    let unasked = issuer::unasked(credential, facts.finding.as_ref());
    let (ends, unasked) = match (facts.expiry, unasked) {
        (Some(expiry), unasked) => (ends_shortly(its_now, expiry), unasked),
        // Its own words are of more use than two cells that hold nothing.
        (None, Some(why)) => (format!("no end known; {why}"), None),
        (None, None) => ("no end known".to_owned(), None),
    };
    let mut told = vec![how, ends];
    told.extend(unasked.filter(|why| why != issuer::NO_PROVIDER));
    told.extend(facts.finding.as_ref().and_then(Finding::no_verdict));
    if let Some(rest) = rest {
        told.push(rest.told(now));
    } else if let Some(at) = facts.renew_at.filter(|at| *at > its_now) {
        told.push(format!("next value {}", shortly(its_now, at)));
    }
    if let Some(at) = facts.revoke_at.filter(|at| *at > its_now) {
        let at = shortly(its_now, at);
        told.push(format!("the value before it is revoked {at}"));
    }
    // What it lacks is warned of.
    told.extend(excess(facts, credential));
    told.extend(facts.setback.as_ref().map(|setback| setback.told(now)));
    told
}

/// Which scopes it has that nobody asks for, where some are asked for.
fn excess(facts: &Facts, credential: &Credential) -> Option<String> {
    let excess = facts.finding.as_ref()?.excess(&credential.scopes);
    (!excess.is_empty() && !credential.scopes.is_empty()).then(|| {
        format!(
            "it has more scopes than are asked for: {}",
            excess.join(", ")
        )
    })
}

/// How what is there stands: its status, its end, its scopes, when the next value is due.
pub fn standing_in_use(facts: &Facts, credential: &Credential, now: Timestamp) -> Vec<String> {
    let now = facts.by_issuer(now);
    let mut told = Vec::new();
    // What has ended is not live, also where its issuer took it when it was asked last.
    let has_ended = facts.expiry.is_some_and(|expiry| expiry.at <= now);
    let says = |finding: &&Finding| {
        finding.status != Status::NotImplemented && !(has_ended && finding.status.is_live())
    };
    let finding = facts.finding.as_ref().filter(says);
    let status = finding.map(|finding| match finding.no_verdict() {
        Some(why) => why,
        None => finding.status.told().to_owned(),
    });
    let both: Vec<String> = status
        .into_iter()
        .chain(facts.expiry.map(|expiry| ends(now, expiry)))
        .collect();
    if !both.is_empty() {
        told.push(both.join(", "));
    }
    let missing = facts.missing_scopes(credential);
    if !missing.is_empty() {
        told.push(format!("it lacks scopes: {}", missing.join(", ")));
    }
    told.extend(excess(facts, credential));
    if let Some(at) = facts.revoke_at.filter(|at| *at > now) {
        told.push(format!("the value before it is revoked {}", when(now, at)));
    }
    if let Some(at) = facts.renew_at.filter(|at| *at > now) {
        told.push(format!("the next value is obtained {}", when(now, at)));
    }
    told
}

/// Where nobody is asked: when the issuer said what is told of a value.
pub fn as_of(found: &Found, now: Timestamp) -> Option<String> {
    let finding = facts(Some(found))?.finding?;
    let is_said = finding.status != Status::NotImplemented;
    let asked = if finding.probed_at < now {
        away(now, finding.probed_at)
    } else {
        "just now".to_owned()
    };
    is_said.then(|| format!("last asked {asked}"))
}

fn notes(
    case: &Case<'_>,
    (before, after): (Option<&Credential>, Option<&Credential>),
    coming: Option<&Coming>,
) -> Vec<String> {
    let mut notes = Vec::new();
    let Some(after) = after else {
        if case.action == Action::Delete {
            let revoked = match before.and_then(|before| before.issuer.as_ref()) {
                Some(issuer) if issuer.ends_tokens() => "what its issuer made for us is revoked",
                Some(_) => "its issuer revokes none: what it made for us lives until its own end",
                None => "it is not revoked",
            };
            notes.push(format!(
                "its value and its deliveries are removed; {revoked}"
            ));
            if case.purge {
                notes.push("what its deliveries replaced is deleted from `backups/`".to_owned());
            }
        }
        return notes;
    };
    if after.store == StoreKind::SystemdCreds && !after.deliver.is_empty() {
        notes.push(
            "the store holds it encrypted; where it is delivered it is clear text".to_owned(),
        );
    }
    let is_made = facts(case.found).is_some_and(|facts| facts.due == Some(Due::Pending));
    if let Some(Coming::New(_)) = coming
        && let Some(issuer) = &after.issuer
        && issuer.both_live()
        && !is_made
    {
        notes.push(if issuer.ends_tokens() {
            format!(
                "its issuer makes a new value; an old one is revoked {} later",
                after.grace()
            )
        } else {
            "its issuer makes a new value, and revokes none: an old one lives until its own end"
                .to_owned()
        });
    }
    if let Some(Coming::New(_)) = coming {
        notes.push(match (&after.provider, issuer::resolved_url(after)) {
            (Some(provider), Some(url)) => {
                format!("{provider} is asked at {url} before it is stored")
            }
            (Some(_), None) if issuer::reads_certificates(after) => {
                "its own dates tell whether it is live, before it is stored: nobody is asked"
                    .to_owned()
            }
            (Some(provider), None) => {
                format!("nobody is asked whether it is live: `{provider}` is nobody")
            }
            (None, _) => "nobody is asked whether it is live: it has no `provider`".to_owned(),
        });
    }
    notes
}

/// The next run of a service that uses a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextRun {
    /// The service.
    pub service: Address,
    /// When it begins, UTC.
    pub at: Timestamp,
}

/// Why nothing is done to a credential of which it cannot be told whether it was rotated.
pub const LOST: &str = "the answer to its last rotation was lost, and it must not be sent again";

/// What lifts that.
pub fn found_again(credential: &Credential) -> String {
    format!(
        "a new token, made by hand where it is issued, in {}, then `lorectl apply`",
        credential.source.told()
    )
}

/// What stands in the way of a credential, that no step of an apply lifts; `runs` are the next ones of
/// the services that use it.
pub fn hold(case: &Case<'_>, runs: &[NextRun]) -> Result<Option<Hold>> {
    let (Some(facts), Some(definition)) = (facts(case.found), case.after.or(case.before)) else {
        return Ok(None);
    };
    let is_new = case.found.is_some_and(|found| {
        found.image.get(SOURCE.as_str()) == Some(&Part::Text(NEW_VALUE.to_owned()))
    });
    let credential: Credential = definition.read()?;
    if facts.due == Some(Due::Lost) && !is_new {
        return Ok(Some(Hold {
            address: case.address.clone(),
            reason: LOST.to_owned(),
            lift: Lift::ByHand {
                how: found_again(&credential),
            },
            code: Some(Code::Held),
        }));
    }
    if facts.due.is_some() || is_new || case.action != Action::NoOp {
        return Ok(None);
    }
    let Standing::Dead(status) = facts.standing(&credential, case.now) else {
        return Ok(too_early(case, &credential, &facts, runs));
    };
    let (code, reason) = match status {
        Status::Expired => {
            let its_now = facts.by_issuer(case.now);
            let ended = facts.expiry.filter(|expiry| expiry.at <= its_now);
            let ended = ended.map(|expiry| format!(": it {}", ends(its_now, expiry)));
            let reason = format!("it has expired{}", ended.unwrap_or_default());
            (Code::TokenExpired, reason)
        }
        Status::Revoked => (Code::TokenRevoked, "it was revoked".to_owned()),
        Status::Rejected
        | Status::Live
        | Status::LiveUnderScoped
        | Status::Throttled
        | Status::NotImplemented
        | Status::Error => (Code::TokenRejected, "its issuer refuses it".to_owned()),
    };
    let is_declared = |expiry: Expiry| expiry.from == Provenance::Declared;
    let says_end = status == Status::Expired && facts.expiry.is_some_and(is_declared);
    let end = if says_end {
        " and its end in `expiry.at`"
    } else {
        ""
    };
    Ok(Some(Hold {
        address: case.address.clone(),
        reason,
        lift: Lift::ByHand {
            how: format!(
                "a new token in {}{end}, then `lorectl apply`",
                credential.source.told()
            ),
        },
        code: Some(code),
    }))
}

/// That a value ends before a service needs it, and nothing renews it until then.
fn too_early(
    case: &Case<'_>,
    credential: &Credential,
    facts: &Facts,
    runs: &[NextRun],
) -> Option<Hold> {
    let expiry = facts.expiry?;
    if facts.renew_at.is_some() {
        return None;
    }
    let late = runs.iter().filter(|run| expiry.at <= run.at);
    let first = late.min_by_key(|run| (run.at, &run.service))?;
    Some(Hold {
        address: case.address.clone(),
        reason: format!(
            "it {}, before the next run of {} ({})",
            ends(case.now, expiry),
            first.service,
            first.at
        ),
        lift: Lift::ByHand {
            how: format!(
                "a new token in {}, then `lorectl apply`",
                credential.source.told()
            ),
        },
        code: None,
    })
}

/// What the reader of any plan should know of a credential: what an apply would meet, and how it stands
/// where nothing is done to it.
pub fn warnings(sources: &dyn Sources, case: &Case<'_>) -> Result<Vec<String>> {
    let Some(definition) = case.after.or(case.before) else {
        return Ok(Vec::new());
    };
    let credential: Credential = definition.read()?;
    let facts = facts(case.found);
    let mut warnings = ahead(sources, case, &credential, facts.as_ref())?;
    let Some(facts) = facts else {
        return Ok(warnings);
    };
    if facts.finding.as_ref().is_some_and(issuer::takes_any) {
        warnings.push(format!(
            "{}: {}, so nobody can tell whether this one is live",
            case.address,
            issuer::TAKES_ANY
        ));
        return Ok(warnings);
    }
    if let Some(apart) = facts.skewed() {
        warnings.push(format!("{}: {}", case.address, apart.told_with_help()));
    }
    let missing = facts.missing_scopes(&credential);
    if !missing.is_empty() && case.action == Action::NoOp {
        warnings.push(format!(
            "{}: it lacks scopes: {}; {}",
            case.address,
            missing.join(", "),
            GIVE_SCOPES
        ));
    }
    let ends_soon = facts.standing(&credential, case.now) == Standing::Expiring;
    if let Some(expiry) = facts
        .expiry
        .filter(|_| ends_soon && facts.renew_at.is_none())
    {
        warnings.push(format!(
            "{}: it {}; put a new one into {}",
            case.address,
            ends(case.now, expiry),
            credential.source.told()
        ));
    }
    Ok(warnings)
}

/// What an apply would meet: a source that gives no value where one is needed, or holds something that
/// is not taken; a command that is not there; a place to which nothing can be delivered.
fn ahead(
    sources: &dyn Sources,
    case: &Case<'_>,
    after: &Credential,
    facts: Option<&Facts>,
) -> Result<Vec<String>> {
    let before: Option<Credential> = case.before.map(Definition::read).transpose()?;
    let coming = coming(sources, case, after, before.as_ref(), facts);
    let is_needed = case.action != Action::NoOp && matches!(coming, Coming::New(_));
    let source = match sources.glimpse(case.address) {
        Glimpse::Nothing(why) => is_needed.then_some(why),
        Glimpse::Unusable(why) if is_needed => Some(why),
        Glimpse::Unusable(why) => Some(format!("nothing is taken from its source: {why}")),
        Glimpse::Value(_) | Glimpse::AtApply => None,
    };
    let mut warnings: Vec<String> = source
        .map(|why| format!("{}: {why}", case.address))
        .into_iter()
        .collect();
    warnings.extend(sources.ahead(case.address));
    Ok(warnings)
}

/// What helps a token that may do too little.
pub const GIVE_SCOPES: &str = "have its issuer give it these, or ask for fewer in `scopes`";

/// Whether a new value is due, as its part says.
pub fn is_due(found: &Found) -> bool {
    found.image.get(DUE.as_str()).is_some()
}
