//! The embedded worker as a backend: a service is its `run.json`, and nothing else.
//!
//! There is nobody to ask and nobody to tell: `lorectl worker` finds what changed by itself.

mod act;
mod observe;

use std::{path::PathBuf, rc::Rc};

use crate::{
    effect::{clock::Clock, disk::Disk},
    id::{ProjectName, ResourceId, ResourceName},
    layout::Layout,
    service::definition::Scheduler,
};

/// The backend `worker`.
pub struct Worker {
    layout: Layout,
    disk: Rc<dyn Disk>,
    clock: Rc<dyn Clock>,
}

impl Worker {
    /// The services of one project that its state directory holds.
    pub fn new(layout: Layout, disk: Rc<dyn Disk>, clock: Rc<dyn Clock>) -> Self {
        Self {
            layout,
            disk,
            clock,
        }
    }

    fn path(&self, name: &ResourceName) -> PathBuf {
        self.layout.run_file(name)
    }
}

/// Whose a `run.json` is, as far as can be read of one that somebody may have edited.
#[derive(serde::Deserialize)]
struct Mark {
    project: ProjectName,
    id: ResourceId,
    scheduler: Scheduler,
}

impl Mark {
    /// `None` where the bytes do not say.
    fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

#[cfg(test)]
mod tests;
