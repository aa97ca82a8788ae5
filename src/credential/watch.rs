//! Asking issuers, before a plan, how the values in use stand.
//!
//! Each value is sent where the definition that was applied says, and nowhere else: what the spec says
//! now does not count, so that a change to a URL in a branch sends nothing anywhere.

use std::{cell::Cell, collections::BTreeMap};

use futures_util::future::join_all;

use crate::{
    effect::{disk::Disk, http::Http},
    id::{ResourceName, Timestamp},
    layout::Layout,
};

use super::{
    definition::Credential,
    facts::Noted,
    finding::{Finding, Status},
    issuer::{self, Means},
    record::{Generation, Record},
};

/// How many requests are under way to one host.
pub const PER_HOST: usize = 16;

/// How long what was found of a live value is new enough, in seconds: an apply plans more than once.
const FRESH: i64 = 10;

/// One value that is to be asked after.
struct Asked {
    name: ResourceName,
    credential: Credential,
    current: Generation,
    noted: Option<Noted>,
}

/// Asks after some credentials, the hosts side by side, and keeps what is found beside each.
///
/// A dead value is asked after ever more rarely, and a host that asks to be left alone is left alone.
/// What cannot be read or written is left to whoever looks at the store next: nothing here fails.
pub async fn ask(
    disk: &dyn Disk,
    layout: &Layout,
    http: &Http,
    names: impl Iterator<Item = ResourceName>,
    now: Timestamp,
) {
    let mut hosts: BTreeMap<String, Vec<Asked>> = BTreeMap::new();
    for name in names {
        if let Some((host, asked)) = due(disk, layout, name, now) {
            hosts.entry(host).or_default().push(asked);
        }
    }
    let all = hosts
        .values()
        .map(|all| ask_host(disk, layout, http, all, now));
    join_all(all).await;
}

/// What is to be asked of a credential, and of which host; `None` where nothing is.
fn due(
    disk: &dyn Disk,
    layout: &Layout,
    name: ResourceName,
    now: Timestamp,
) -> Option<(String, Asked)> {
    let record = Record::read(disk, layout, &name).ok()??;
    let credential: Credential = record.definition.read().ok()?;
    let current = record.current()?.clone();
    let noted = Noted::read(disk, layout, &name);
    let same = noted.filter(|noted| {
        noted.generation == current.number && noted.url == issuer::resolved_url(&credential)
    });
    // Its word is worth nothing until the value or the URL is another.
    if (same.as_ref()).is_some_and(|noted| issuer::takes_any(&noted.finding)) {
        return None;
    }
    let again = same.as_ref().map(|noted| {
        let probed = noted.finding.probed_at;
        noted.ask_again().max(probed.plus_seconds(FRESH))
    });
    // A clock that was set back must not keep a value from being asked after for ever.
    let ahead = |at: Timestamp| at.seconds_since(now) > 2 * 86_400;
    if again.is_some_and(|at| now < at && !ahead(at)) {
        return None;
    }
    let host = issuer::host(&credential).unwrap_or_default();
    let asked = Asked {
        name,
        credential,
        current,
        noted: same,
    };
    Some((host, asked))
}

async fn ask_host(disk: &dyn Disk, layout: &Layout, http: &Http, all: &[Asked], now: Timestamp) {
    let throttled = Cell::new(false);
    for some in all.chunks(PER_HOST) {
        if throttled.get() {
            return;
        }
        let asking = some.iter().map(|one| async {
            let value = one.current.value.value();
            let finding = match Means::of(disk, layout, &one.credential) {
                Ok(means) => issuer::probe(http, &one.credential, &means, value, now).await,
                Err(error) => Finding::new(Status::Error, now).because(error.message),
            };
            if finding.status == Status::Throttled {
                throttled.set(true);
            }
            let number = one.current.number;
            let noted = Noted::next(one.noted.as_ref(), number, &one.credential, finding);
            noted.write(disk, layout, &one.name).ok()
        });
        join_all(asking).await;
    }
}
