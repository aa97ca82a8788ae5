//! Who is to be woken when.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use crate::{
    effect::disk::EntryKind,
    id::{ProjectName, ResourceName, Seconds, Timestamp},
    layout::Layout,
    notify::outbox::{self, file::Stored as Kept},
    retry::{self, Gate},
    service::{
        definition::{Schedule, Scheduler, Service},
        notify::courier,
        run::load,
        schedule::{self, Past},
        status::{
            Status,
            file::{self, Stored},
        },
        worker::Host,
    },
};

/// How often every definition is looked at, whatever the directories say, in milliseconds.
const WHOLE: i64 = 60_000;

/// A directory that changed so recently may change again without its time telling, in milliseconds:
/// the times of files have the grain of the kernel's tick.
const GRAIN: i64 = 2000;

/// One service of one project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) project: Arc<ProjectName>,
    pub(super) name: Arc<ResourceName>,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.name)
    }
}

/// What is kept of a service; ten thousand of them are to be small.
struct Entry {
    /// When its definition was written.
    modified: Timestamp,
    /// `None` for one that is not ours to wake: another's, or unreadable.
    service: Option<Box<Service>>,
    /// When it is to be woken.
    wake: Option<Timestamp>,
    /// Whether that is only to deliver what waits to be told.
    only_to_tell: bool,
    /// When it last was.
    woken: Option<Timestamp>,
    /// When it last was only to tell.
    told: Option<Timestamp>,
}

#[derive(Default)]
pub(super) struct Agenda {
    entries: BTreeMap<Key, Entry>,
    queue: BTreeSet<(Timestamp, Key)>,
    /// When each project's directory of services last changed, as far as is known.
    directories: BTreeMap<Arc<ProjectName>, Option<Timestamp>>,
    looked_at_all: Option<Timestamp>,
}

type Complain<'a> = &'a dyn Fn(String, String);

impl Agenda {
    /// How many services it wakes.
    pub(super) fn len(&self) -> usize {
        let ours = |entry: &&Entry| entry.service.is_some();
        self.entries.values().filter(ours).count()
    }

    /// The next service whose time has come, and whether it is only to tell what waits; it is off the
    /// queue until it is noted again.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<(Key, bool)> {
        if self.queue.first()?.0 > now {
            return None;
        }
        let (_, key) = self.queue.pop_first()?;
        let mut only_to_tell = false;
        if let Some(entry) = self.entries.get_mut(&key) {
            only_to_tell = std::mem::take(&mut entry.only_to_tell);
            entry.wake = None;
            if only_to_tell {
                entry.told = Some(now);
            } else {
                entry.woken = Some(now);
            }
        }
        Some((key, only_to_tell))
    }

    /// How long it is until somebody is to be woken.
    pub(super) fn until_next(&self, now: Timestamp) -> Option<Duration> {
        let wait = self.queue.first()?.0.millis() - now.millis();
        Some(Duration::from_millis(u64::try_from(wait).unwrap_or(0)))
    }

    /// Looks for what changed: at the directories, or at every definition.
    pub(super) fn look(&mut self, host: &Host<'_>, whole: bool, complain: Complain<'_>) {
        let now = host.clock.now();
        let whole = whole
            || self
                .looked_at_all
                .is_none_or(|at| (now.millis() - at.millis()).abs() >= WHOLE);
        if whole {
            self.looked_at_all = Some(now);
        }
        let listed = host
            .disk
            .list_behind_links(host.state_dir)
            .unwrap_or_default();
        let mut projects = BTreeSet::new();
        for (name, kind) in listed {
            if kind == EntryKind::Dir
                && let Ok(project) = name.parse::<ProjectName>()
            {
                projects.insert(project);
            }
        }
        let gone: Vec<_> = self
            .directories
            .keys()
            .filter(|project| !projects.contains(project.as_ref()))
            .cloned()
            .collect();
        for project in gone {
            self.directories.remove(&project);
            self.retain(&project, &BTreeSet::new());
        }
        for project in projects {
            let project = self
                .directories
                .get_key_value(&project)
                .map_or_else(|| Arc::new(project.clone()), |(known, _)| known.clone());
            let layout = Layout::new(host.state_dir.to_owned(), (*project).clone());
            let stat = host.disk.stat(&layout.services()).ok().flatten();
            let changed = stat.map(|stat| stat.modified);
            let known = self.directories.get(&project).copied().flatten();
            if whole || changed != known {
                // One that has just changed is looked at once more.
                let settled = changed.filter(|at| now.millis() - at.millis() > GRAIN);
                self.directories.insert(project.clone(), settled);
                self.look_at(host, &project, &layout, complain);
            }
        }
    }

    fn look_at(
        &mut self,
        host: &Host<'_>,
        project: &Arc<ProjectName>,
        layout: &Layout,
        complain: Complain<'_>,
    ) {
        let listed = host.disk.list(&layout.services()).unwrap_or_default();
        let mut there = BTreeSet::new();
        for (name, kind) in listed {
            let Ok(name) = name.parse::<ResourceName>() else {
                continue;
            };
            if kind != EntryKind::Dir {
                continue;
            }
            let Ok(Some(stat)) = host.disk.stat(&layout.run_file(&name)) else {
                continue;
            };
            let key = Key {
                project: project.clone(),
                name: Arc::new(name),
            };
            let known = self.entries.get(&key);
            if known.is_none_or(|entry| entry.modified != stat.modified) {
                self.read(host, layout, &key, stat.modified, complain);
            }
            there.insert(key);
        }
        self.retain(project, &there);
    }

    /// Forgets the services of a project that are not there any more.
    fn retain(&mut self, project: &Arc<ProjectName>, there: &BTreeSet<Key>) {
        let queue = &mut self.queue;
        self.entries.retain(|key, entry| {
            let keep = key.project != *project || there.contains(key);
            if !keep && let Some(wake) = entry.wake {
                queue.remove(&(wake, key.clone()));
            }
            keep
        });
    }

    fn read(
        &mut self,
        host: &Host<'_>,
        layout: &Layout,
        key: &Key,
        modified: Timestamp,
        complain: Complain<'_>,
    ) {
        let service = match load::load(host.disk, layout, &key.name) {
            Ok(loaded) if loaded.service.scheduler == Scheduler::Worker => {
                let mut service = Box::new(loaded.service);
                // What only the runner needs.
                service.stages = Vec::new();
                service.env = BTreeMap::new();
                service.unit = BTreeMap::new();
                Some(service)
            }
            Ok(_) => None,
            Err(error) => {
                complain(key.to_string(), error.chain());
                None
            }
        };
        let old = self.entries.remove(key);
        let queued = old
            .as_ref()
            .is_none_or(|old| old.wake.is_some() || old.service.is_none());
        if let Some(wake) = old.as_ref().and_then(|old| old.wake) {
            self.queue.remove(&(wake, key.clone()));
        }
        let entry = Entry {
            modified,
            service,
            wake: None,
            only_to_tell: false,
            woken: old.as_ref().and_then(|old| old.woken),
            told: old.and_then(|old| old.told),
        };
        self.entries.insert(key.clone(), entry);
        // One that runs is noted when it has ended.
        if queued {
            self.note(host, key);
        }
    }

    /// Puts a service on the queue again, by what its status says now.
    pub(super) fn note(&mut self, host: &Host<'_>, key: &Key) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let Some(service) = &entry.service else {
            return;
        };
        let layout = Layout::new(host.state_dir.to_owned(), (*key.project).clone());
        let now = host.clock.now();
        let status = match file::read(host.disk, &layout, &key.name) {
            Stored::Good(status) | Stored::Newer(_, Some(status)) => *status,
            Stored::Absent | Stored::Damaged(_) | Stored::Newer(_, None) => {
                Status::new(entry.modified.min(now))
            }
        };
        if let Some(wake) = entry.wake.take() {
            self.queue.remove(&(wake, key.clone()));
        }
        entry.wake = wake_at(service, &status, entry.modified, entry.woken, now);
        let tell = next_tell(host, &layout, service, entry.told.max(entry.woken));
        entry.only_to_tell = match (tell, entry.wake) {
            (Some(tell), Some(wake)) => tell < wake,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if entry.only_to_tell {
            entry.wake = tell;
        }
        if let Some(wake) = entry.wake {
            self.queue.insert((wake, key.clone()));
        }
    }
}

/// When what waits to be told of a service is tried next. One whose outbox did not move when it was
/// last woken (a full disk) is left alone for a minute.
fn next_tell(
    host: &Host<'_>,
    layout: &Layout,
    service: &Service,
    woken: Option<Timestamp>,
) -> Option<Timestamp> {
    if service.notify.is_empty() {
        return None;
    }
    let Kept::Good(outbox) = courier::read(host.disk, layout, &service.name) else {
        return None;
    };
    let next = outbox.next_try()?;
    let now = host.clock.now();
    // What no draw could have given is due: the clock was put back.
    let next = if outbox::POLICY.is_waiting(next, now) {
        next
    } else {
        next.min(now)
    };
    Some(match woken {
        Some(woken) if next <= woken => woken.plus_seconds(60),
        Some(_) | None => next,
    })
}

/// When a service is to be woken next: when it is due and what holds it up is over, or when a failure
/// is to be made up for; and its share of the splay has passed.
///
/// `woken` is when it last was. A status that did not move since then (a full disk, a newer version)
/// must not wake it over and over: it then counts from that.
fn wake_at(
    service: &Service,
    status: &Status,
    modified: Timestamp,
    woken: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    let past = Past::of(status, &service.schedule, modified);
    let due = schedule::next_due(&service.schedule, past, now)?;
    let mut at = due;
    if matches!(service.schedule, Schedule::Every(_)) && status.paused.is_none() {
        if let Some(until) = status.backing_off(service, now) {
            at = at.max(until);
        }
        if let Gate::Open { until } = status.gate(service, now) {
            at = at.max(until);
        }
    }
    let retry = status.retry_at(service, now);
    at = retry.map_or(at, |retry| at.min(retry));
    at = at.plus_millis(splay(service, due));
    match woken {
        Some(woken) if at <= woken => {
            let past = Past {
                since: past.since,
                last: Some(woken),
            };
            let due = schedule::next_due(&service.schedule, past, now)?;
            // As often as a timer's: see `unit::render_timer`.
            let again = retry.map(|_| woken.plus_seconds(service.retry.base.signed()));
            let at = again.map_or(due, |again| due.min(again));
            Some(at.plus_millis(splay(service, due)))
        }
        Some(_) | None => Some(at),
    }
}

/// A service's own share of its splay, the same whenever it is asked for.
fn splay(service: &Service, due: Timestamp) -> i64 {
    let Seconds(splay) = service.splay;
    let name = service.id.as_str().bytes();
    let seed = name.fold(0, |seed, byte| retry::derive(seed, u64::from(byte)));
    let seed = retry::derive(seed, due.millis().unsigned_abs());
    let most = i64::try_from(splay.saturating_mul(1000)).unwrap_or(i64::MAX);
    retry::draw(seed, 0, most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{
        fixture,
        status::{MANUAL, Paused, Tripped},
    };

    fn at(text: &str) -> Timestamp {
        format!("2026-02-09T{text}Z").parse().unwrap()
    }

    #[test]
    fn a_service_is_woken_when_it_is_due_and_nothing_holds_it_up() {
        let service = fixture::service("sync", &["true"]);
        let created = at("10:00:00");
        let now = at("10:10:00");
        let wake = |status: &Status, woken| wake_at(&service, status, created, woken, now);
        let mut status = Status::new(created);
        assert_eq!(wake(&status, None), Some(at("10:30:00")));
        status.last_scheduled_start = Some(at("10:05:00"));
        assert_eq!(wake(&status, None), Some(at("10:35:00")));

        status.next_retry_at = Some(at("11:00:00"));
        assert_eq!(wake(&status, None), Some(at("11:00:00")));
        // Sooner than it is due: a failure of what runs seldom is not left for so long.
        status.next_retry_at = Some(at("10:20:00"));
        assert_eq!(wake(&status, None), Some(at("10:20:00")));
        let woken = Some(at("10:20:00"));
        let again = wake_at(&service, &status, created, woken, at("10:20:01"));
        assert_eq!(again, Some(at("10:50:00")), "a lock was held");
        status.next_retry_at = None;
        status.breaker = Some(Tripped {
            opened_at: now,
            last_error: String::new(),
        });
        assert_eq!(wake(&status, None), Some(at("10:40:00")));
        status.paused = Some(Paused {
            reason: String::new(),
            code: MANUAL.to_owned(),
            at: now,
            by: String::new(),
        });
        assert_eq!(
            wake(&status, None),
            Some(at("10:35:00")),
            "a pause is counted"
        );
    }

    #[test]
    fn a_status_that_does_not_move_wakes_nobody_over_and_over() {
        let mut service = fixture::service("sync", &["true"]);
        let created = at("08:00:00");
        let now = at("10:00:00");
        let status = Status::new(created);
        let first = wake_at(&service, &status, created, None, now);
        assert_eq!(first, Some(at("08:30:00")));
        let second = wake_at(&service, &status, created, Some(now), now);
        assert_eq!(second, Some(at("10:30:00")));
        service.schedule = Schedule::Cron {
            expression: "15 * * * *".to_owned(),
            timezone: "UTC".to_owned(),
        };
        let second = wake_at(&service, &status, created, Some(now), now);
        assert_eq!(second, Some(at("10:15:00")));
    }

    #[test]
    fn splay_is_a_service_s_own_and_within_bounds() {
        let mut service = fixture::service("sync", &["true"]);
        service.splay = Seconds(60);
        let shares: BTreeSet<i64> = (0..50)
            .map(|run| splay(&service, at("10:00:00").plus_seconds(run * 1800)))
            .collect();
        assert!(shares.len() > 40 && shares.iter().all(|share| (0..=60_000).contains(share)));
        let due = at("10:00:00");
        assert_eq!(splay(&service, due), splay(&service, due));
    }
}
