//! Asking issuers, before a plan, how the values in use stand.
//!
//! Each value is sent where the definition that was applied says, and nowhere else: what the spec says
//! now does not count, so that a change to a URL in a branch sends nothing anywhere.

use std::{cell::Cell, collections::BTreeMap};

use futures_util::{StreamExt as _, future::join_all, stream};

use crate::{
    effect::{disk::Disk, http::Http, threads},
    id::{ResourceName, Timestamp},
    layout::Layout,
};

use super::{
    definition::Credential,
    facts::{Noted, to_second},
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

/// How many credentials are read by one core at least.
const PIECE: usize = 32;

/// How many findings are kept at once, so that writing them takes all cores.
const KEPT_AT_ONCE: usize = 256;

/// What asking takes.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// The disk.
    pub disk: &'a dyn Disk,
    /// Where the project's credentials are.
    pub layout: &'a Layout,
    /// What sends; best one that keeps connections.
    pub http: &'a Http,
    /// How many requests are under way to one host; [`PER_HOST`] but where that is measured.
    pub per_host: usize,
    /// Now, UTC.
    pub now: Timestamp,
}

/// Asks after some credentials, the hosts side by side, and keeps what is found beside each.
///
/// A dead value is asked after ever more rarely, and a host that asks to be left alone is left alone.
/// What cannot be read or written is left to whoever looks at the store next: nothing here fails.
pub async fn ask(asking: &Asking<'_>, names: &[ResourceName]) {
    let Asking {
        disk, layout, now, ..
    } = *asking;
    let read = threads::map(names, PIECE, |name| due(disk, layout, name, now));
    let mut hosts: BTreeMap<String, Vec<Asked>> = BTreeMap::new();
    for (host, asked) in read.into_iter().flatten() {
        hosts.entry(host).or_default().push(asked);
    }
    let all = hosts.values().map(|all| ask_host(asking, all));
    join_all(all).await;
}

/// What is to be asked of a credential, and of which host; `None` where nothing is.
fn due(
    disk: &dyn Disk,
    layout: &Layout,
    name: &ResourceName,
    now: Timestamp,
) -> Option<(String, Asked)> {
    let record = Record::read(disk, layout, name).ok()??;
    let credential: Credential = record.definition.read().ok()?;
    let current = record.current()?.clone();
    let noted = Noted::read(disk, layout, name);
    let same = noted.filter(|noted| {
        noted.generation == current.number && noted.url == issuer::resolved_url(&credential)
    });
    // Its word is worth nothing until the value or the URL is another.
    if (same.as_ref()).is_some_and(|noted| issuer::takes_any(&noted.finding)) {
        tracing::info!(credential = %name, "not asked: its issuer takes any token");
        return None;
    }
    let again = same.as_ref().map(|noted| {
        let probed = noted.finding.probed_at;
        noted.ask_again().max(probed.plus_seconds(FRESH))
    });
    // A clock that was set back must not keep a value from being asked after for ever.
    let ahead = |at: Timestamp| at.seconds_since(now) > 2 * 86_400;
    if let Some(at) = again.filter(|at| now < *at && !ahead(*at)) {
        let finding = same.as_ref().map(|noted| &noted.finding);
        let (verdict, ago) = finding.map_or((None, 0), |finding| {
            (Some(finding.status), now.seconds_since(finding.probed_at))
        });
        let again = to_second(at);
        // Of one that nobody can be asked about, it would be noise.
        if let Some(verdict) = verdict.filter(|_| issuer::host(&credential).is_some()) {
            tracing::info!(credential = %name, %verdict, %again, "asked {ago} s ago, and not again yet");
        }
        return None;
    }
    let host = issuer::host(&credential).unwrap_or_default();
    let asked = Asked {
        name: name.clone(),
        credential,
        current,
        noted: same,
    };
    Some((host, asked))
}

/// Asks one host, with no more requests under way than it may get, and a new one as soon as one is
/// answered. Once it asks to be left alone none is begun; those under way are still heard.
async fn ask_host(asking: &Asking<'_>, all: &[Asked]) {
    let throttled = Cell::new(false);
    let throttled = &throttled;
    let answers = stream::iter(all).map(|one| async move {
        if throttled.get() {
            return None;
        }
        let Asking {
            disk,
            layout,
            http,
            now,
            ..
        } = *asking;
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
        Some((&one.name, noted))
    });
    let mut answers = answers.buffer_unordered(asking.per_host.max(1));
    let mut found = Vec::new();
    while let Some(answer) = answers.next().await {
        found.extend(answer);
        if found.len() == KEPT_AT_ONCE {
            asking.keep(&found);
            found.clear();
        }
    }
    asking.keep(&found);
}

impl Asking<'_> {
    fn keep(&self, found: &[(&ResourceName, Noted)]) {
        threads::map(found, PIECE, |(name, noted)| {
            drop(noted.write_if_newest(self.disk, self.layout, name));
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        credential::definition::Source,
        effect::{
            disk::RealDisk,
            http::listener::{Answer, Listener},
        },
        resource::Definition,
    };

    fn now() -> Timestamp {
        "2026-02-03T04:05:06Z".parse().unwrap()
    }

    /// Credentials of one issuer in a store of their own.
    fn store(
        dir: &std::path::Path,
        issuer: &Listener,
        count: usize,
    ) -> (Layout, Vec<ResourceName>) {
        let layout = Layout::new(dir.to_owned(), "acme".parse().unwrap());
        let names = (0..count).map(|at| format!("t{at:02}").parse().unwrap());
        let names: Vec<ResourceName> = names.collect();
        for name in &names {
            let json = serde_json::json!({
                "project": "acme", "name": name, "id": "0123456789abcdef", "provider": "gitlab",
                "base_url": issuer.url(""), "source": Source::Env("X".to_owned()), "warn": "60s",
            });
            let credential: Credential = serde_json::from_value(json).unwrap();
            let mut record = Record::new(Definition::of(&credential).unwrap()).unwrap();
            record.take(format!("glpat-{name}-canaryCanary").into(), now(), None);
            RealDisk
                .make_dir(&layout.secret(name), 0o700, None)
                .unwrap();
            record.write(&RealDisk, &layout, name).unwrap();
        }
        (layout, names)
    }

    fn live() -> Answer {
        let body = "{\"active\":true,\"revoked\":false,\"scopes\":[\"api\"]}".to_owned();
        Answer::With(200, "Content-Type: application/json\r\n", body)
    }

    fn asking<'a>(layout: &'a Layout, http: &'a Http, per_host: usize) -> Asking<'a> {
        Asking {
            disk: &RealDisk,
            layout,
            http,
            per_host,
            now: now(),
        }
    }

    #[tokio::test]
    async fn a_host_that_asks_for_it_is_left_alone_and_what_it_said_is_kept() {
        let busy = Answer::With(429, "Retry-After: 60\r\n", "Retry later".to_owned());
        let issuer = Listener::issuer((0..5).map(|_| live()).chain([busy]));
        let dir = tempfile::tempdir().unwrap();
        let (layout, names) = store(dir.path(), &issuer, 40);
        let http = Http::keeping_connections();
        ask(&asking(&layout, &http, 4), &names).await;
        // Five answers, the one that asks, and the three that were under way by then.
        let seen = issuer.seen().len();
        assert!((6..=9).contains(&seen), "{seen}");
        let noted = names
            .iter()
            .filter_map(|name| Noted::read(&RealDisk, &layout, name));
        let mut statuses: Vec<Status> = noted.map(|noted| noted.finding.status).collect();
        assert_eq!(statuses.len(), seen);
        statuses.retain(|status| *status == Status::Live);
        assert_eq!(statuses.len(), 5);
    }

    #[tokio::test]
    async fn one_that_is_slow_to_answer_holds_up_no_other() {
        let issuer = Arc::new(Listener::issuer([Answer::Hang, live()]));
        let dir = tempfile::tempdir().unwrap();
        let (layout, names) = store(dir.path(), &issuer, 20);
        let http = Http::keeping_connections();
        let asking = asking(&layout, &http, 2);
        let came = Arc::clone(&issuer);
        let all = tokio::task::spawn_blocking(move || came.wait_for(20).len());
        tokio::select! {
            biased;
            came = all => assert_eq!(came.unwrap(), 20),
            () = ask(&asking, &names) => panic!("the first was waited for"),
        }
    }
}
