//! What there is of the worker's services.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use super::{Mark, Worker};
use crate::{
    effect::disk::{EntryKind, ReadFile},
    error::Result,
    id::{Address, Kind, ResourceName},
    resource::{
        File, Found, Image, Observe, Observed, Part, Scope, ScopeEntry, Seen, Stray, UnknownCode,
    },
    service::{
        definition::{Scheduler, Service},
        image,
        status::file,
    },
};

/// The largest `run.json` that is read.
pub(super) const LIMIT: u64 = 1 << 20;

/// After so many services others may work.
const TURN: usize = 64;

#[async_trait::async_trait(?Send)]
impl Observe for Worker {
    async fn observe(&self, scope: &Scope<'_>) -> Result<Observed> {
        let mut resources = BTreeMap::new();
        let own = Scheduler::Worker.backend();
        let entries = scope.entries.iter().filter(|entry| *entry.backend == own);
        for (at, entry) in entries.enumerate() {
            if at % TURN == 0 {
                tokio::task::yield_now().await;
            }
            if let Some(seen) = self.look(entry, scope.all_bytes) {
                resources.insert(entry.address.clone(), seen);
            }
        }
        let strays = self.strays(scope);
        Ok(Observed { resources, strays })
    }
}

/// What cannot be read: a link, a pipe or a giant is not ours, and of all else nothing is known.
fn unreadable(path: &std::path::Path, error: &io::Error) -> Seen {
    let reason = format!("cannot read {}: {error}", path.display());
    let is_link = error.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32);
    match error.kind() {
        // What the disk refuses by itself has no number.
        io::ErrorKind::Other if error.raw_os_error().is_none() => Seen::Foreign { reason },
        _other if is_link => Seen::Foreign { reason },
        io::ErrorKind::PermissionDenied => Seen::Unknown {
            reason,
            help: None,
            code: UnknownCode::NotPermitted,
        },
        _other => Seen::Unknown {
            reason,
            help: None,
            code: UnknownCode::BackendUnavailable,
        },
    }
}

/// A file as a part, with its bytes where they are wanted.
pub(super) fn part(read: ReadFile) -> File {
    File::new(read.bytes, read.mode, read.owner)
}

impl Worker {
    fn look(&self, entry: &ScopeEntry<'_>, all_bytes: bool) -> Option<Seen> {
        let name = &entry.address.name;
        let path = self.path(name);
        let read = match self.disk.read(&path, LIMIT) {
            Ok(None) => return None,
            Ok(Some(read)) => read,
            Err(error) => return Some(unreadable(&path, &error)),
        };
        // What says nothing any more stands in a directory of ours, and is drift.
        if let Some(mark) = Mark::read(&read.bytes) {
            if mark.project != *self.layout.project() || mark.id != *entry.id {
                let reason = format!(
                    "{} is of another resource, {} of project `{}`",
                    path.display(),
                    mark.id,
                    mark.project
                );
                return Some(Seen::Foreign { reason });
            }
            if mark.scheduler != Scheduler::Worker {
                return None;
            }
        }
        let service: Option<Service> = entry.definition.read().ok();
        let counts_from = service.and_then(|service| {
            file::counts_from(&*self.disk, &self.layout, &service, read.modified)
        });
        let mut file = part(read);
        let same = |known: &&Image| {
            let known = known.file(image::RUN.as_str());
            known.is_some_and(|known| known.digest == file.digest)
        };
        if !all_bytes && !entry.known.is_empty() && entry.known.iter().all(same) {
            file.bytes = None;
        }
        let mut image = Image::empty();
        image.set(image::RUN, Part::File(file));
        let data = self.layout.data(name);
        match self.disk.stat(&data) {
            Ok(Some(stat)) if stat.kind != EntryKind::Dir => {
                let reason = format!("{} is not a directory", data.display());
                return Some(Seen::Foreign { reason });
            }
            Ok(Some(stat)) => image.set(image::DATA, image::data_found(&stat)),
            Ok(None) => {}
            Err(error) => return Some(unreadable(&data, &error)),
        }
        Some(Seen::Ours(Found {
            image,
            notes: Vec::new(),
            running_since: file::running_since(&*self.disk, &self.layout, name),
            counts_from,
            programs: std::collections::BTreeMap::new(),
            told: None,
        }))
    }

    /// What has the project's mark and is the worker's under names that nobody asks for.
    fn strays(&self, scope: &Scope<'_>) -> Vec<Stray> {
        let services = scope
            .entries
            .iter()
            .filter(|entry| entry.address.kind == Kind::Service);
        let asked: BTreeSet<&ResourceName> = services.map(|entry| &entry.address.name).collect();
        // What cannot be listed or read carries no mark that we could know of.
        let names = self.disk.list(&self.layout.services()).unwrap_or_default();
        names
            .into_iter()
            .filter_map(|(name, _)| {
                let name: ResourceName = name.parse().ok()?;
                if asked.contains(&name) {
                    return None;
                }
                let path = self.path(&name);
                let mark = Mark::read(&self.disk.read(&path, LIMIT).ok()??.bytes)?;
                let ours = mark.project == *self.layout.project();
                (ours && mark.scheduler == Scheduler::Worker).then(|| Stray {
                    name: path.display().to_string(),
                    address: Some(Address::new(Kind::Service, name)),
                    id: mark.id,
                    backend: Scheduler::Worker.backend(),
                })
            })
            .collect()
    }
}
