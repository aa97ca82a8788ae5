//! `lorectl state rm`: forgetting what was applied, and leaving it where it is.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    apply::record::Transition,
    credential::definition::Credential,
    error::{Code, Error, Result},
    id::{Address, Kind},
    layout::Layout,
    resource::{Action, Applied, Part},
    service::{definition::Service, plan::Render},
    view::state_file::{Forgotten, Left},
};

use super::{
    super::{
        Done,
        context::Context,
        project::Project,
        status::{memory, unknown},
    },
    edit::Edit,
};

/// Takes resources out of the state. The host is not touched.
///
/// # Errors
/// `NO_SUCH_RESOURCE`, `PROTECTED`; all or none are forgotten.
pub fn run(context: &Context, layout: &Layout, addresses: &[Address]) -> Result<Done> {
    // What was mistyped is said before anything is made or locked.
    let known = memory(context, layout)?.state.resources;
    let chosen: BTreeSet<&Address> = addresses.iter().collect();
    for address in &chosen {
        let record = known.get(*address).ok_or_else(|| unknown(address))?;
        refuse_protected(address, record)?;
    }
    let edit = Edit::begin(context, layout, false)?;
    let mut state = edit.memory.state.clone();
    let project = Project::open(context, layout.project().clone())?;
    let (mut changes, mut left) = (BTreeMap::new(), Vec::new());
    for address in chosen {
        let record = state.resources.remove(address);
        let record = record.ok_or_else(|| unknown(address))?;
        refuse_protected(address, &record)?;
        left.push(Left {
            address: address.to_string(),
            files: files(&project, address, &record)?,
        });
        let transition = Transition {
            action: Action::Forget,
            before: Some(record),
            after: None,
        };
        changes.insert(address.clone(), transition);
    }
    state.serial = edit.next_serial()?;
    let words: Vec<String> = changes.keys().map(ToString::to_string).collect();
    edit.commit(format!("state rm {}", words.join(" ")), changes, &state)?;
    context.show(&Forgotten {
        project: layout.project().to_string(),
        serial: state.serial,
        resources: left,
    })
}

pub(super) fn refuse_protected(address: &Address, record: &Applied) -> Result<()> {
    if !record.meta.protect {
        return Ok(());
    }
    let message = format!("{address} was applied with `protect = true`");
    Err(Error::new(Code::Protected, message)
        .suggest("apply `protect = false` first: what is forgotten is protected no more"))
}

/// The files that stay on the host.
fn files(project: &Project<'_>, address: &Address, record: &Applied) -> Result<Vec<String>> {
    if address.kind == Kind::Credential {
        let credential: Credential = record.definition.read()?;
        let delivered = credential.deliver.iter().map(|one| one.to.to_string());
        let stored = project.layout.secret(&address.name).display().to_string();
        return Ok([stored].into_iter().chain(delivered).collect());
    }
    let service: Service = record.definition.read()?;
    let parts = record.image.iter();
    let files = parts.filter(|(_, part)| match part {
        Part::File(_) => true,
        Part::Flag(_) | Part::Text(_) => false,
    });
    Ok(files
        .map(|(name, _)| project.path(&service, name.as_str()))
        .collect())
}
