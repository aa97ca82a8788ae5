//! How a credential stands, in a plan's words.

use crate::{
    credential::{
        definition::Credential,
        facts::{Facts, away, ends, ends_shortly, shortly, when},
        finding::{Finding, Status},
        issuer,
        rest::Renewer,
    },
    id::Timestamp,
    resource::Found,
};

use super::facts;

/// What is told of one to which nothing is done, a cell each: how it stands, when it ends, and then what
/// else there is to know.
pub(super) fn stays(
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
