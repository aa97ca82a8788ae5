//! Whether a credential is there and fit to be used, without asking anybody.

use crate::{
    effect::disk::Disk,
    id::{ResourceName, Timestamp},
    layout::Layout,
    notify::outbox::file::Stored,
    service::doctor::{Check, Verdict, notify::failed},
};

use super::{
    backend,
    definition::Credential,
    facts::{Standing, away, told_by},
    issuer,
    notify::tell,
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

/// How a credential stands: `provisioned`, `expiring`, `missing`, `format-invalid` or `dead`.
pub fn check(disk: &dyn Disk, layout: &Layout, name: &ResourceName, now: Timestamp) -> Check {
    let known = match backend::facts(disk, layout, name, now) {
        Ok(known) => known,
        Err(error) => {
            let help = error.suggestion.iter().map(|help| format!("; {help}"));
            let message = format!("{}{}", error.chain(), help.collect::<String>());
            return Check::new("record", Verdict::Fail, message, "");
        }
    };
    let Some((credential, facts)) = known else {
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
    match facts.standing(&credential, now) {
        Standing::Provisioned => Check::pass("provisioned"),
        Standing::Missing => {
            let message = format!("it has no value; put one into {source}");
            Check::new("missing", Verdict::Fail, message, action)
        }
        Standing::Expiring => {
            let ends = facts.expiry.map_or_else(String::new, |expiry| {
                format!(
                    "it ends {} ({}, says {})",
                    expiry.at,
                    away(now, expiry.at),
                    told_by(expiry.from)
                )
            });
            let message = if credential.renews() {
                ends
            } else {
                format!("{ends}; put a new token into {source}")
            };
            Check::new("expiring", Verdict::Warn, message, action)
        }
        Standing::Dead(status) => {
            let message = format!("{status}; a new token is to come from {source}");
            Check::new("dead", Verdict::Fail, message, action)
        }
    }
}
