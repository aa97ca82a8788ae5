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
    facts::{Standing, ends},
    finding::Finding,
    issuer,
    notify::tell,
    plan::GIVE_SCOPES,
    record::Record,
};

const APPLY: &str = "lorectl apply";

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

/// How a credential stands: `provisioned`, `unverified`, `expiring`, `under-scoped`, `drifted`, `missing`,
/// `format-invalid` or `dead`.
pub fn check(
    disk: &dyn Disk,
    layout: &Layout,
    address: &Address,
    applied: &Applied,
    now: Timestamp,
) -> Check {
    let name = &address.name;
    let known = match backend::look(disk, layout, address, applied, now) {
        Ok(known) => known,
        Err(error) => {
            let help = error.suggestion.iter().map(|help| format!("; {help}"));
            let message = format!("{}{}", error.chain(), help.collect::<String>());
            return Check::new("record", Verdict::Fail, message, "");
        }
    };
    let Some(Known {
        credential,
        facts,
        is_stored: true,
        differs,
        notes,
    }) = known
    else {
        let message = "it was applied, and its value is gone from the store".to_owned();
        return Check::new("missing", Verdict::Fail, message, APPLY);
    };
    let source = credential.source.told();
    let action = if credential.renews() { APPLY } else { "" };
    let value = Record::read(disk, layout, name).ok().flatten();
    let value = value.as_ref().and_then(Record::current);
    if let Some(current) = value
        && let Err(why) = issuer::check_format(&credential, current.value.value())
    {
        let message = format!("{why}; put a token of its provider into {source}");
        return Check::new("format-invalid", Verdict::Fail, message, action);
    }
    let standing = facts.standing(&credential, now);
    match standing {
        Standing::Provisioned | Standing::Expiring | Standing::UnderScoped
            if !differs.is_empty() || !notes.is_empty() =>
        {
            let action = if differs.is_empty() { "" } else { APPLY };
            let all: Vec<String> = differs.into_iter().chain(notes).collect();
            Check::new("drifted", Verdict::Warn, all.join("; "), action)
        }
        Standing::Provisioned => match facts.finding.as_ref().and_then(Finding::no_verdict) {
            Some(why) => {
                let message = format!("its issuer gave no verdict when it was asked last: {why}");
                Check::new("unverified", Verdict::Warn, message, "")
            }
            None => Check::pass("provisioned"),
        },
        Standing::UnderScoped => {
            let missing = facts.missing_scopes(&credential).join(", ");
            let message = format!("it lacks scopes: {missing}; {GIVE_SCOPES}");
            Check::new("under-scoped", Verdict::Warn, message, "")
        }
        Standing::Missing => {
            let message = format!("it has no value; put one into {source}");
            Check::new("missing", Verdict::Fail, message, action)
        }
        Standing::Expiring => {
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
        Standing::Dead(status) => {
            let status = status.told();
            let message = format!("{status}; a new token is to come from {source}");
            Check::new("dead", Verdict::Fail, message, action)
        }
    }
}
