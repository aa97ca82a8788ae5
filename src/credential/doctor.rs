//! Whether a credential is there and fit to be used, without asking anybody.

use crate::{
    effect::disk::Disk,
    id::{Address, ResourceName, Timestamp},
    layout::Layout,
    notify::outbox::file::Stored,
    resource::Applied,
    service::doctor::{Check, Verdict, notify::failed},
};

use super::{
    backend::{self, Known},
    definition::Credential,
    facts::{Due, Standing, ends},
    finding::Finding,
    issuer,
    notify::tell,
    plan::{GIVE_SCOPES, LOST, found_again},
    record::Record,
    rest::{Renewer, Renewers},
    setback::Issuers,
};

const APPLY: &str = "lorectl apply";

/// The check of one whose record, or what opens it, cannot be read.
pub const UNREADABLE: &str = "unreadable";

/// What others were not told of a credential: one check for each entry of `[notify]` that failed.
pub fn untold(disk: &dyn Disk, layout: &Layout, name: &ResourceName) -> Vec<Check> {
    let warn = |message: String, action: &str| Check::new("notify", Verdict::Warn, message, action);
    let known = Record::read(disk, layout, name).ok().flatten();
    let credential = known.and_then(|record| record.definition.read::<Credential>().ok());
    let sinks = credential
        .map(|credential| credential.notify)
        .unwrap_or_default();
    if sinks.is_empty() {
        return Vec::new();
    }
    match tell::read(disk, layout, name) {
        Stored::Good(mut outbox) => {
            outbox.keep_known(&sinks, false);
            let faults = outbox.faults.iter();
            let faults = faults.map(|(sink, fault)| failed(&format!("notify.{sink}"), fault));
            faults.collect()
        }
        Stored::Damaged(why) => vec![warn(
            format!("the outbox cannot be read ({why}); the next apply sets it aside"),
            APPLY,
        )],
        Stored::Newer(version) => vec![warn(
            format!("the outbox has version {version}, newer than this lorectl: nothing is told"),
            "install a newer lorectl",
        )],
    }
}

/// How a credential stands: `provisioned`, `resting`, `unverified`, `expiring`, `under-scoped`, `drifted`,
/// `held`, `missing`, `format-invalid`, `dead` or `unreadable`; then `renewal`, that its issuer gave no new
/// value or is not asked for any, and `clock`, that its issuer's and this host's are far apart.
pub fn checks(
    disk: &dyn Disk,
    layout: &Layout,
    issuers: &Issuers<'_>,
    one: (&Address, &Applied),
    renewers: &Renewers,
    now: Timestamp,
) -> Vec<Check> {
    let name = &one.0.name;
    let known = match backend::look(disk, layout, issuers, one, now) {
        Ok(known) => known,
        Err(error) => {
            let help = error.suggestion.iter().map(|help| format!("; {help}"));
            let message = format!("{}{}", error.chain(), help.collect::<String>());
            return vec![Check::new(UNREADABLE, Verdict::Fail, message, "")];
        }
    };
    let Some(known) = known.filter(|known| known.is_stored) else {
        let message = "it was applied, and its value is gone from the store".to_owned();
        return vec![Check::new("missing", Verdict::Fail, message, APPLY)];
    };
    let value = Record::read(disk, layout, name).ok().flatten();
    let value = value.as_ref().and_then(Record::current);
    let rest = known.rest(renewers);
    let malformed = value
        .and_then(|current| issuer::check_format(&known.credential, current.value.value()).err());
    let mut checks = vec![match malformed {
        Some(why) => {
            let source = known.credential.source.told();
            let message = format!("{why}; put a token of its provider into {source}");
            let action = if known.credential.renews() { APPLY } else { "" };
            Check::new("format-invalid", Verdict::Fail, message, action)
        }
        None => stands(&known, rest, now),
    }];
    checks.extend(renewal(&known, now));
    checks.extend(known.facts.skewed().map(|apart| {
        let message = apart.told();
        Check::new("clock", Verdict::Warn, message, "timedatectl")
    }));
    checks
}

/// Why there is no new value, and when its issuer is asked again.
fn renewal(known: &Known, now: Timestamp) -> Option<Check> {
    let setback = known.facts.setback.as_ref()?;
    let verdict = if known.facts.serves(now) {
        Verdict::Warn
    } else {
        Verdict::Fail
    };
    let message = match &setback.secret {
        Some(secret) => format!("{}; put right {secret}", setback.told(now)),
        None => setback.told(now),
    };
    let is_lost = known.facts.due == Some(Due::Lost);
    let action = if is_lost { "" } else { APPLY };
    Some(Check::new("renewal", verdict, message, action))
}

fn stands(known: &Known, rest: Option<&Renewer>, now: Timestamp) -> Check {
    let Known {
        credential,
        facts,
        differs,
        notes,
        ..
    } = known;
    let source = credential.source.told();
    let action = if credential.renews() { APPLY } else { "" };
    if facts.due == Some(Due::Lost) {
        let message = format!("{LOST}; to lift it: {}", found_again(credential));
        return Check::new("held", Verdict::Fail, message, "");
    }
    let standing = facts.standing(credential, now);
    match (standing, rest) {
        (Standing::Dead(_) | Standing::Expiring, Some(_)) if known.is_as_applied() => {
            Check::pass("resting")
        }
        (Standing::Provisioned | Standing::Expiring | Standing::UnderScoped, _)
            if !known.is_as_applied() =>
        {
            let action = if differs.is_empty() { "" } else { APPLY };
            let all: Vec<String> = differs.iter().chain(notes).cloned().collect();
            Check::new("drifted", Verdict::Warn, all.join("; "), action)
        }
        (Standing::Provisioned, _) => match facts.finding.as_ref().and_then(Finding::no_verdict) {
            Some(why) => {
                let message = format!("its issuer gave no verdict when it was asked last: {why}");
                Check::new("unverified", Verdict::Warn, message, "")
            }
            None => Check::pass("provisioned"),
        },
        (Standing::UnderScoped, _) => {
            let missing = facts.missing_scopes(credential).join(", ");
            let message = format!("it lacks scopes: {missing}; {GIVE_SCOPES}");
            Check::new("under-scoped", Verdict::Warn, message, "")
        }
        (Standing::Missing, _) => {
            let message = format!("it has no value; put one into {source}");
            Check::new("missing", Verdict::Fail, message, action)
        }
        (Standing::Expiring, _) => {
            let mut ends = (facts.expiry)
                .map_or_else(String::new, |expiry| format!("it {}", ends(now, expiry)));
            if let Some(why) = facts.finding.as_ref().and_then(Finding::no_verdict) {
                ends = format!("{ends}; {why}");
            }
            let message = if credential.renews() {
                ends
            } else {
                format!("{ends}; put a new one into {source}")
            };
            Check::new("expiring", Verdict::Warn, message, action)
        }
        (Standing::Dead(status), _) => {
            let status = status.told();
            let message = format!("{status}; a new token is to come from {source}");
            Check::new("dead", Verdict::Fail, message, action)
        }
    }
}
