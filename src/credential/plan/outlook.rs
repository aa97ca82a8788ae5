//! What stands in the way of a credential, and what an apply of it would meet.

use crate::{
    credential::{
        definition::Credential,
        facts::{Due, Facts, Standing, ends},
        finding::{Expiry, Provenance, Status},
        image::{NEW_VALUE, SOURCE},
        issuer,
    },
    error::{Code, Result},
    id::{Address, Timestamp},
    resource::{Action, Definition, Hold, Lift, Part},
};

use super::{Case, Coming, Glimpse, Sources, coming, facts};

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
        "a new token, made by hand where it is issued, in {}; the next apply takes it in",
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
                "a new token in {}{end}; the next apply takes it in",
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
                "a new token in {}; the next apply takes it in",
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
