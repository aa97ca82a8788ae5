//! What a plan says of a credential: its fields, its value's fingerprint, how it stands.

mod fields;
mod outlook;
mod standing;

use serde::Deserialize as _;
use serde_json::Value;

use crate::{
    error::Result,
    id::{Address, Timestamp},
    notify::sink::Event,
    resource::{Action, Definition, Disruption, FieldChange, Found, Image, Meta, Part},
    service::plan::sinks,
};

use super::{
    definition::{Credential, Source, StoreKind},
    drift::is_held_by_the_host,
    facts::{Due, Facts},
    image::{DUE, NEW_VALUE, SOURCE},
    issuer,
    key::Fingerprint,
    mint::Issuer,
    rest::{Renewer, Renewers},
};

pub use outlook::{GIVE_SCOPES, LOST, NextRun, found_again, hold, warnings};
pub use standing::{as_of, standing_in_use};

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
    /// One was made, and the old one ended with it: there is no way back to that.
    WasFinal,
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
            Some(Due::Pending) if !issuer.both_live() => return Ok(Making::WasFinal),
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
        before: fields::value(case.before, case.applied_image, case.meta.0, old.as_ref())?,
        ..Told::default()
    };
    if let (Some(definition), Some(coming)) = (case.after, &coming) {
        let print = match coming {
            Coming::Kept => old.as_ref(),
            Coming::New(print) => print.as_ref(),
        };
        told.after = fields::value(Some(definition), case.desired_image, case.meta.1, print)?;
    }
    told.fields = fields::of(before.as_ref(), after.as_ref());
    if let Some(after) = &after {
        let old = before.as_ref().map_or(&[][..], |before| &before.notify);
        told.fields
            .extend(sinks(old, &after.notify, &Event::OF_CREDENTIALS));
    }
    told.fields.extend(fields::of_meta(case.meta));
    if let Some(coming) = &coming {
        told.fields.extend(fields::of_value(coming, facts.as_ref()));
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
        told.notes = standing::stays(&facts, &definition.read()?, rest, case.now);
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
    let url = issuer::resolved_url(after);
    if let (Some(Coming::Kept), Some(before), Some(url)) = (coming, before, &url)
        && issuer::resolved_url(before).as_ref() != Some(url)
    {
        notes.push(format!(
            "the value in use is sent to {url} by the apply, to ask what it is worth there"
        ));
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
        notes.push(match (&after.provider, url) {
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

/// Whether a new value is due, as its part says.
pub fn is_due(found: &Found) -> bool {
    found.image.get(DUE.as_str()).is_some()
}
