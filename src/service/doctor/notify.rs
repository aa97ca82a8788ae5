//! Whether others can be told of a service: its files can be read by whom it runs as, and what was last
//! told was taken.

use std::path::Path;

use super::{Check, Doctor, Verdict};
use crate::{
    effect::{
        disk::EntryKind,
        process,
        user::{self, Account},
    },
    id::ResourceName,
    notify::{
        address,
        outbox::{Fault, file::Stored},
        sink::{Target, UrlSource},
    },
    service::{
        definition::{Sandbox, Scheduler},
        notify::courier,
    },
};

const NAME: &str = "notify";

fn warn(message: String, action: &str) -> Check {
    Check::new(NAME, Verdict::Warn, message, action)
}

/// Who reads the files, as far as rights are told by modes.
struct Reader {
    account: Account,
    groups: Vec<u32>,
    /// Whether it may read everything.
    all: bool,
}

impl Doctor<'_> {
    /// One check where all is well, none where nobody is told, else one for each thing that is not.
    pub(super) fn notify(&self) -> Vec<Check> {
        let service = self.service;
        if service.notify.is_empty() && service.ping.is_none() {
            return Vec::new();
        }
        let mut checks = Vec::new();
        if let Some(reader) = self.reader() {
            checks.extend(
                service
                    .told_with()
                    .filter_map(|path| self.unreadable(path, &reader)),
            );
            if checks.is_empty() {
                checks.extend(self.urls(&reader));
            }
        }
        match courier::read(self.disk, self.layout, &service.name) {
            Stored::Good(outbox) => {
                for (sink, fault) in &outbox.faults {
                    checks.push(failed(&format!("notify.{sink}"), fault));
                }
                checks.extend(outbox.ping.iter().map(|fault| failed("the ping", fault)));
            }
            Stored::Damaged(why) => checks.push(warn(
                format!("the outbox cannot be read ({why}); the next run sets it aside"),
                "",
            )),
            Stored::Newer(version) => checks.push(warn(
                format!("the outbox has version {version}, newer than this lorectl: nothing that fails is tried again"),
                "install a newer lorectl",
            )),
        }
        if checks.is_empty() {
            checks.push(Check::pass(NAME));
        }
        checks
    }

    fn reader(&self) -> Option<Reader> {
        let account = match &self.service.user {
            Some(name) => user::by_name(name).ok().flatten()?,
            None => user::current().ok()?,
        };
        let hardened = self.service.sandbox == Sandbox::Strict
            && self.service.scheduler != Scheduler::Worker
            && !self.service.unit.contains_key("CapabilityBoundingSet");
        Some(Reader {
            groups: user::groups(&account).unwrap_or_default(),
            all: account.owner.uid == 0 && !hardened,
            account,
        })
    }

    /// That a file is missing, or that its reader may not read it.
    fn unreadable(&self, path: &Path, reader: &Reader) -> Option<Check> {
        let (shown, name) = (path.display(), &reader.account.name);
        let real = match self.disk.resolve(path) {
            Ok(Some(real)) => real,
            Ok(None) => return Some(warn(format!("there is no {shown}"), "")),
            // Whoever asks may know less than the service's user.
            Err(_) => return None,
        };
        if reader.all {
            return None;
        }
        for (index, at) in real.ancestors().enumerate() {
            let Ok(Some(stat)) = self.disk.stat(at) else {
                return None;
            };
            let wanted = match (index, stat.kind) {
                (0, EntryKind::File) => 0o4,
                (0, EntryKind::Dir | EntryKind::Link | EntryKind::Special) => {
                    return Some(warn(format!("{shown} is not a file"), ""));
                }
                _ => 0o1,
            };
            let shift = if stat.owner.uid == reader.account.owner.uid {
                6
            } else if reader.groups.contains(&stat.owner.gid) {
                3
            } else {
                0
            };
            if stat.mode >> shift & wanted == 0 {
                let (what, action) = if index == 0 {
                    let action = format!("chgrp {name} {shown} && chmod 0640 {shown}");
                    (format!("may not read {shown}"), action)
                } else {
                    let dir = at.display();
                    (format!("may not pass {dir} to {shown}"), String::new())
                };
                let message = format!("`{name}`, whom the service runs as, {what}");
                return Some(warn(message, &action));
            }
        }
        None
    }

    /// What is wrong with the URLs of files, where we may look at them.
    fn urls(&self, reader: &Reader) -> Vec<Check> {
        let look = process::is_root() || user::effective().uid == reader.account.owner.uid;
        let sinks = self
            .service
            .notify
            .iter()
            .filter_map(|sink| match &sink.to {
                Target::Webhook { url, .. } => Some((format!("notify.{}", sink.name), url)),
                Target::Command(_) => None,
            });
        let ping = self
            .service
            .ping
            .iter()
            .map(|url| ("the ping".to_owned(), url));
        let files = sinks
            .chain(ping)
            .filter(|(_, url)| look && matches!(url, UrlSource::File(_)));
        files
            .filter_map(|(what, url)| {
                if let UrlSource::File(path) = url
                    && let Some(check) = self.hidden(path, reader)
                {
                    return Some(check);
                }
                // Only files are looked at.
                let none = |_: &ResourceName| Err(String::new());
                let why = address::url(self.disk, url, reader.account.owner, &none).err()?;
                Some(warn(format!("{what}: {why}"), ""))
            })
            .collect()
    }

    /// That a run in a user's manager cannot tell whose a file with a secret is: it believes none but
    /// the user's own.
    fn hidden(&self, path: &Path, reader: &Reader) -> Option<Check> {
        self.service.manager_of()?;
        if self.service.sandbox == Sandbox::Off {
            return None;
        }
        let real = self.disk.resolve(path).ok().flatten()?;
        let stat = self.disk.stat(&real).ok().flatten()?;
        let (shown, name) = (path.display(), &reader.account.name);
        (stat.owner.uid != reader.account.owner.uid).then(|| {
            let message = format!("{shown} is not `{name}`'s own, and the sandbox of a user's manager does not show a run whose it is");
            warn(message, &format!("chown {name} {shown}"))
        })
    }
}

/// That somebody was not told when that was last tried.
pub fn failed(what: &str, fault: &Fault) -> Check {
    let lost = match fault.given_up {
        0 => String::new(),
        count => format!(", and {count} given up"),
    };
    warn(
        format!("{what} failed at {}: {}{lost}", fault.at, fault.error),
        "",
    )
}
