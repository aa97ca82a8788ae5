//! A person's request to a run that a scheduler starts: the unit's command line is fixed, so the
//! request waits in `data/` for the runner to take it. There is one at a time: who asks while one
//! waits joins it, and hears what became of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    effect::{
        disk::{Disk, Durability},
        lock::Lock,
    },
    error::{Error, Result},
    id::{ResourceName, Seconds, Timestamp},
    layout::Layout,
    service::{
        definition::Service,
        run::{gate::Ask, report::RunReport},
        status::{
            Trigger,
            file::{self, Stored},
        },
    },
};

const FILE: &str = "trigger.json";
const LIMIT: u64 = 4096;

/// How long a request is good for, in seconds, beyond the time that it may have to wait for a run in
/// flight: one that nobody took is not to start a run days later.
const GOOD_FOR: i64 = 120;

/// The longest that any is good for, in seconds: who may write to `data/` may write anything.
const LONGEST: i64 = 7 * 86_400;

/// How long another who asks at this moment is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize, Deserialize)]
struct Request {
    id: String,
    at: Timestamp,
    ignore_backoff: bool,
    /// How long after `at` it may be taken, in seconds.
    #[serde(default)]
    good_for: i64,
    /// Whether more than one wait for what becomes of it.
    #[serde(default)]
    shared: bool,
}

impl Request {
    fn is_good(&self, now: Timestamp) -> bool {
        now.seconds_since(self.at).abs() <= self.good_for.clamp(GOOD_FOR, LONGEST)
    }
}

fn read(disk: &dyn Disk, layout: &Layout, name: &ResourceName) -> Option<Request> {
    let file = disk.read(&layout.data(name).join(FILE), LIMIT).ok()??;
    serde_json::from_slice(&file.bytes).ok()
}

/// Leaves a request, to be taken by the next runner that starts. Returns the name by which it is
/// [answered](answer): `id`, or that of a request which waits already, which it joins.
///
/// `wait` is how long it may have to wait for a run in flight.
///
/// # Errors
/// As the disk says.
pub async fn leave(
    disk: &dyn Disk,
    layout: &Layout,
    name: &ResourceName,
    id: &str,
    ignore_backoff: bool,
    wait: Seconds,
    now: Timestamp,
) -> Result<String> {
    let data = layout.data(name);
    let path = data.join(FILE);
    let failed = |error| Error::io("write", &path, error);
    let owner = disk.stat(&data).map_err(failed)?.map(|stat| stat.owner);
    // Two who ask at once do so one after the other. Where somebody sits on the lock, the later
    // replaces what the earlier left, who is then told that nothing became of it.
    let _lock = Lock::take_dir(&data, PATIENCE).await;
    let waiting = read(disk, layout, name).filter(|request| request.is_good(now));
    let wait = i64::try_from(wait.0).unwrap_or(LONGEST);
    let request = Request {
        id: (waiting.as_ref()).map_or_else(|| id.to_owned(), |first| first.id.clone()),
        at: now,
        ignore_backoff: ignore_backoff || waiting.as_ref().is_some_and(|r| r.ignore_backoff),
        good_for: wait.saturating_add(GOOD_FOR),
        shared: waiting.is_some(),
    };
    let text = serde_json::to_vec(&request).map_err(|error| failed(error.into()))?;
    disk.write(&path, &text, 0o600, owner, Durability::Batch)
        .map_err(failed)?;
    Ok(request.id)
}

/// Whether a request still waits for a runner to take it: that with this id, or any.
pub fn waits(disk: &dyn Disk, layout: &Layout, name: &ResourceName, id: Option<&str>) -> bool {
    match id {
        None => matches!(disk.stat(&layout.data(name).join(FILE)), Ok(Some(_))),
        Some(id) => read(disk, layout, name).is_some_and(|request| request.id == id),
    }
}

/// Takes away a request that was answered. Who joined it may have written it once more after its runner
/// took it: it would run again, and nobody waits for that.
pub fn settle(disk: &dyn Disk, layout: &Layout, name: &ResourceName, id: &str) {
    if waits(disk, layout, name, Some(id)) {
        // If it cannot be removed, it turns stale by itself.
        let _ = disk.remove(&layout.data(name).join(FILE));
    }
}

/// Takes back a request that nobody took, so that no later wake-up runs for it. Another's is left,
/// and one that somebody else waits for too.
pub fn withdraw(disk: &dyn Disk, layout: &Layout, name: &ResourceName, id: &str) {
    let ours = |request: Request| request.id == id && !request.shared;
    if read(disk, layout, name).is_some_and(ours) {
        // If it cannot be removed, it turns stale by itself.
        let _ = disk.remove(&layout.data(name).join(FILE));
    }
}

/// Takes the request that waits, if there is one and it is not stale.
pub(super) fn take(
    disk: &dyn Disk,
    layout: &Layout,
    name: &ResourceName,
    now: Timestamp,
) -> Option<Ask> {
    let request = read(disk, layout, name);
    // If it cannot be removed, it turns stale by itself.
    let _ = disk.remove(&layout.data(name).join(FILE));
    let request = request?;
    request.is_good(now).then_some(Ask {
        trigger: Trigger::Manual,
        request: Some(request.id),
        ignore_backoff: request.ignore_backoff,
    })
}

/// What became of a request, as the status tells; `None` while nothing did.
pub fn answer(
    disk: &dyn Disk,
    layout: &Layout,
    service: &Service,
    id: &str,
    now: Timestamp,
) -> Option<RunReport> {
    let status = match file::read(disk, layout, &service.name) {
        Stored::Good(status) => status,
        Stored::Absent | Stored::Damaged(_) | Stored::Newer(..) => return None,
    };
    // Whoever asked next may have run since.
    let mut runs = status.last_run.iter().chain(&status.recent_runs);
    if let Some(run) = runs.find(|run| run.request.as_deref() == Some(id)) {
        return Some(RunReport::ran(service, &status, run, now));
    }
    let skip = status.last_skip.as_ref()?;
    (skip.request.as_deref() == Some(id)).then(|| RunReport::skipped(service, &status, skip))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests lay out files")]

    use super::*;
    use crate::effect::disk::RealDisk;

    struct World {
        _dir: tempfile::TempDir,
        layout: Layout,
        name: ResourceName,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let layout = Layout::new(dir.path().to_owned(), "acme".parse().unwrap());
            let name: ResourceName = "sync".parse().unwrap();
            std::fs::create_dir_all(layout.data(&name)).unwrap();
            Self {
                _dir: dir,
                layout,
                name,
            }
        }

        async fn leave(&self, id: &str, ignore_backoff: bool, now: &str) -> String {
            let (wait, now) = (Seconds(60), at(now));
            let left = leave(
                &RealDisk,
                &self.layout,
                &self.name,
                id,
                ignore_backoff,
                wait,
                now,
            );
            left.await.unwrap()
        }

        fn take(&self, now: &str) -> Option<(String, bool)> {
            let ask = take(&RealDisk, &self.layout, &self.name, at(now))?;
            Some((ask.request?, ask.ignore_backoff))
        }

        fn withdraw(&self, id: &str) {
            withdraw(&RealDisk, &self.layout, &self.name, id);
        }

        fn waits(&self, id: &str) -> bool {
            waits(&RealDisk, &self.layout, &self.name, Some(id))
        }
    }

    fn at(text: &str) -> Timestamp {
        format!("2026-02-09T{text}Z").parse().unwrap()
    }

    #[tokio::test]
    async fn who_asks_while_a_request_waits_joins_it() {
        let world = World::new();
        assert_eq!(world.leave("one", false, "10:00:00").await, "one");
        assert_eq!(world.leave("two", true, "10:00:30").await, "one");
        assert!(world.waits("one") && !world.waits("two"));
        // The first waits no longer; the second still does.
        world.withdraw("one");
        assert_eq!(world.take("10:03:00"), Some(("one".to_owned(), true)));
        assert_eq!(world.take("10:03:00"), None);
        // One that was taken, or that nobody took in its time, is joined by nobody.
        assert_eq!(world.leave("three", false, "10:04:00").await, "three");
        assert_eq!(world.leave("four", false, "10:08:00").await, "four");
        world.withdraw("three");
        assert!(world.waits("four"));
        world.withdraw("four");
        assert_eq!(world.take("10:08:00"), None);
    }

    #[tokio::test]
    async fn a_request_is_good_for_its_wait_and_no_longer() {
        let world = World::new();
        world.leave("one", false, "10:00:00").await;
        assert_eq!(world.take("10:03:00"), Some(("one".to_owned(), false)));
        world.leave("one", false, "10:00:00").await;
        assert_eq!(world.take("10:03:01"), None);
        let path = world.layout.data(&world.name).join(FILE);
        let ever = r#"{"id":"x","at":"2020-01-01T00:00:00Z","ignore_backoff":true,"good_for":999999999999}"#;
        std::fs::write(path, ever).unwrap();
        assert_eq!(world.take("10:00:00"), None);
    }

    #[tokio::test]
    async fn of_many_who_ask_at_once_all_wait_for_one_request() {
        let world = World::new();
        let ids = ["a", "b", "c", "d", "e"];
        let asked = ids.map(|id| world.leave(id, false, "10:00:00"));
        let heard = futures_util::future::join_all(asked).await;
        assert!(heard.iter().all(|id| world.waits(id)), "{heard:?}");
    }
}
