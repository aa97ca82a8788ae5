//! What an apply would meet on this host, as far as that can be seen without running or sending
//! anything: what makes it fail, and what is not safe.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use crate::{
    effect::{
        dbus::{Manager, Whose},
        disk::{Disk, EntryKind},
        user::Account,
    },
    error::Error,
    id::Address,
    service::doctor::{Check, Verdict},
};

use super::{
    definition::{Credential, Source},
    delivery,
    source::{self, Look},
};

/// A credential that is looked at.
pub struct Subject {
    /// Its address.
    pub address: Address,
    /// As it is wanted.
    pub credential: Credential,
    /// Whether an apply would deliver it.
    pub is_changed: bool,
}

/// What there is to warn of each of some credentials. systemd is asked once for all of them, and not at
/// all where no delivery has a unit reloaded.
pub async fn look(
    disk: &dyn Disk,
    account: &Account,
    subjects: &[Subject],
) -> BTreeMap<Address, Vec<String>> {
    let mut warnings: BTreeMap<Address, Vec<String>> = BTreeMap::new();
    for subject in subjects {
        let told = seen(disk, &subject.credential, subject.is_changed);
        let own = told.into_iter().map(|what| of(&subject.address, &what));
        warnings
            .entry(subject.address.clone())
            .or_default()
            .extend(own);
    }
    for (address, told) in reloads(account, subjects).await {
        warnings.entry(address).or_default().extend(told);
    }
    warnings
}

fn of(address: &Address, what: &str) -> String {
    format!("{address}: {what}")
}

/// What the disk tells: of its source, and of its deliveries where one is to be written.
fn seen(disk: &dyn Disk, credential: &Credential, is_changed: bool) -> Vec<String> {
    let mut found = Vec::new();
    if let Source::Command { argv, .. } = &credential.source {
        let program = argv.first().map_or(Path::new("/"), Path::new);
        let why = unfit(disk, program);
        found.extend(why.map(|why| format!("its command cannot be run: {why}")));
    }
    if is_changed {
        let checked = credential.deliver.iter();
        let refused = checked.filter_map(|one| delivery::check(disk, one).err());
        found.extend(refused.map(|error| error.sentence()));
    }
    found
}

/// What of a source that has been taken in before is not taken any more, though something is there.
fn untaken(disk: &dyn Disk, credential: &Credential) -> Option<String> {
    match source::look(disk, credential) {
        Look::Nothing(error) if source::holds_something(disk, credential, &error) => Some(format!(
            "nothing is taken from its source: {}",
            error.sentence()
        )),
        Look::Value(_) | Look::Nothing(_) | Look::Unasked => None,
    }
}

/// What stands in the way of the next value of a credential that was applied, from the disk alone.
pub fn checks(disk: &dyn Disk, credential: &Credential) -> Vec<Check> {
    let source = untaken(disk, credential).into_iter();
    let all = source.chain(seen(disk, credential, true));
    all.map(|why| Check::new("outlook", Verdict::Warn, why, ""))
        .collect()
}

/// Why a program would not be run, if it would not.
fn unfit(disk: &dyn Disk, program: &Path) -> Option<String> {
    let shown = program.display();
    let resolved = disk.resolve(program).ok()?;
    let stat = match resolved {
        Some(path) => disk.stat(&path).ok()?,
        None => None,
    };
    let Some(stat) = stat else {
        return Some(format!("there is no {shown}"));
    };
    if stat.kind != EntryKind::File {
        return Some(format!("{shown} is not a file"));
    }
    if stat.mode & 0o111 == 0 {
        return Some(format!(
            "{shown} is not executable ({:04o}); `chmod u+x {shown}`",
            stat.mode
        ));
    }
    source::foreign_program(disk, program).map(|why| {
        format!(
            "{shown} {why}; let it belong to root, or to who applies, and be written by nobody else"
        )
    })
}

/// That systemd does not answer, and what comes of it for those that have units reloaded: an apply asks it
/// for the places that it writes, and for no others.
fn unanswered(error: &Error, users: &[&Subject]) -> String {
    let changed = users.iter().filter(|one| one.is_changed);
    let names: Vec<String> = changed.map(|one| one.address.to_string()).collect();
    let what = format!("no unit can be told to reload: {}", error.chain());
    if names.is_empty() {
        return what;
    }
    let names = names.join(", ");
    format!("{what}; until it answers, an apply delivers nothing of {names}")
}

/// What systemd says of the units that deliveries have reload.
pub async fn reloads(account: &Account, subjects: &[Subject]) -> Vec<(Address, Vec<String>)> {
    let wanted = |subject: &Subject| -> BTreeSet<String> {
        // The project's own units are made by an apply, in time.
        let own = format!("lorectl-{}.", subject.credential.project);
        let units = subject.credential.deliver.iter();
        let units = units.filter_map(|one| one.reload.clone());
        units.filter(|unit| !unit.starts_with(&own)).collect()
    };
    let all: BTreeSet<String> = subjects.iter().flat_map(wanted).collect();
    let all: Vec<String> = all.into_iter().collect();
    if all.is_empty() {
        return Vec::new();
    }
    let manager = Manager::new(match account.owner.uid {
        0 => Whose::System,
        uid => Whose::User {
            uid,
            name: account.name.clone(),
        },
    });
    let states = match manager.states(&all).await {
        Ok(states) => states,
        Err(error) => {
            let users = subjects.iter().filter(|one| !wanted(one).is_empty());
            let users: Vec<&Subject> = users.collect();
            let whole = unanswered(&error, &users);
            // One line, however many it is about.
            let first = users.first().map(|one| (one.address.clone(), vec![whole]));
            return first.into_iter().collect();
        }
    };
    let broken: BTreeMap<&String, String> = all
        .iter()
        .zip(states)
        .filter_map(|(unit, state)| Some((unit, state.not_loaded?)))
        .collect();
    let told = |subject: &Subject| {
        let units = wanted(subject);
        let told = units.iter().filter_map(|unit| {
            let why = match broken.get(unit)?.as_str() {
                "not-found" => "there is no such unit".to_owned(),
                other => format!("systemd says that it is {other}"),
            };
            let what = format!(
                "{unit} is to reload when it is delivered, and {why}: nothing takes in a new value"
            );
            Some(of(&subject.address, &what))
        });
        told.collect::<Vec<_>>()
    };
    let told = subjects.iter().map(|one| (one.address.clone(), told(one)));
    told.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::Code;

    #[test]
    fn only_what_an_apply_writes_is_said_to_be_held_up() {
        let subject = |name: &str, is_changed| Subject {
            address: format!("credential.{name}").parse().unwrap(),
            credential: serde_json::from_value(json!({
                "name": name,
                "project": "acme",
                "id": "0123456789ab",
                "warn": "60s",
                "source": { "command": { "argv": ["/bin/mint"], "timeout": "30s", "dir": "/" } },
            }))
            .unwrap(),
            is_changed,
        };
        let (stays, goes) = (subject("stays", false), subject("goes", true));
        let error = Error::new(Code::BackendUnavailable, "systemd does not answer");
        let what = "no unit can be told to reload: systemd does not answer";
        for (users, expected) in [
            (vec![&stays], what.to_owned()),
            (
                vec![&stays, &goes],
                format!("{what}; until it answers, an apply delivers nothing of credential.goes"),
            ),
        ] {
            assert_eq!(unanswered(&error, &users), expected);
        }
    }
}
