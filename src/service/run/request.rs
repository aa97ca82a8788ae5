//! A person's request to a run that a scheduler starts: the unit's command line is fixed, so the
//! request waits in `data/` for the runner to take it.

use serde::{Deserialize, Serialize};

use crate::{
    effect::disk::{Disk, Durability},
    error::{Error, Result},
    id::{ResourceName, Timestamp},
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

/// How long a request is good for, in seconds: one that nobody took is not to start a run days later.
const GOOD_FOR: i64 = 120;

#[derive(Debug, Serialize, Deserialize)]
struct Request {
    id: String,
    at: Timestamp,
    ignore_backoff: bool,
}

/// Leaves a request, to be taken by the next runner that starts. `id` tells it from others.
///
/// # Errors
/// As the disk says.
pub fn leave(
    disk: &dyn Disk,
    layout: &Layout,
    name: &ResourceName,
    id: &str,
    ignore_backoff: bool,
    now: Timestamp,
) -> Result<()> {
    let data = layout.data(name);
    let path = data.join(FILE);
    let failed = |error| Error::io("write", &path, error);
    let owner = disk.stat(&data).map_err(failed)?.map(|stat| stat.owner);
    let request = Request {
        id: id.to_owned(),
        at: now,
        ignore_backoff,
    };
    let text = serde_json::to_vec(&request).map_err(|error| failed(error.into()))?;
    disk.write(&path, &text, 0o600, owner, Durability::Batch)
        .map_err(failed)
}

/// Takes back a request that nobody took, so that no later wake-up runs for it. Another's is left.
pub fn withdraw(disk: &dyn Disk, layout: &Layout, name: &ResourceName, id: &str) {
    let path = layout.data(name).join(FILE);
    let Ok(Some(file)) = disk.read(&path, LIMIT) else {
        return;
    };
    let ours = serde_json::from_slice(&file.bytes).is_ok_and(|request: Request| request.id == id);
    if ours {
        // If it cannot be removed, it turns stale by itself.
        let _ = disk.remove(&path);
    }
}

/// Takes the request that waits, if there is one and it is not stale.
pub(super) fn take(
    disk: &dyn Disk,
    layout: &Layout,
    name: &ResourceName,
    now: Timestamp,
) -> Option<Ask> {
    let path = layout.data(name).join(FILE);
    let file = disk.read(&path, LIMIT).ok()??;
    // If it cannot be removed, it turns stale by itself.
    let _ = disk.remove(&path);
    let request: Request = serde_json::from_slice(&file.bytes).ok()?;
    (now.seconds_since(request.at).abs() <= GOOD_FOR).then_some(Ask {
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
    if let Some(run) = &status.last_run
        && run.request.as_deref() == Some(id)
    {
        return Some(RunReport::ran(service, &status, run, now));
    }
    let skip = status.last_skip.as_ref()?;
    (skip.request.as_deref() == Some(id)).then(|| RunReport::skipped(service, &status, skip))
}
