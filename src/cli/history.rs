//! `lorectl history`: what was done to a project, from its journals.

use crate::{
    apply::history::{Entry, Glance},
    effect::disk::Disk,
    error::Result,
    id::Address,
    layout::Layout,
    state::journal::{self, JournalId},
    view::history::History,
};

use super::{Done, context::Context};

/// Shows the last of what was done, or of what was done to one resource.
///
/// It reads the journals alone: a state that is damaged or lost keeps nobody from seeing what
/// happened to it.
pub fn run(context: &Context, only: Option<&Address>, limit: usize) -> Result<Done> {
    let layout = context.layout(context.project()?);
    let disk = context.disk.as_ref();
    let mut ids = journal::list(disk, &layout)?;
    let mut entries = Vec::new();
    while entries.len() < limit
        && let Some(id) = ids.pop()
    {
        let mut entry = read(disk, &layout, &id);
        if only.is_none_or(|only| entry.only(only)) {
            entries.push(entry);
        }
    }
    context.show(&History {
        project: layout.project().to_string(),
        address: only.map(ToString::to_string),
        at: context.now(),
        entries,
        earlier: ids.len(),
    })
}

fn read(disk: &dyn Disk, layout: &Layout, id: &JournalId) -> Entry {
    match journal::read::<Glance>(disk, &journal::path(layout, id)) {
        Ok(records) => Entry::of(id.to_string(), &records),
        Err(error) => Entry::unreadable(id.to_string(), error.chain()),
    }
}
