//! Which services have which credentials renewed, and when they run next.

use crate::{
    cli::{context::Context, status::Known},
    credential::rest::{Renewer, Renewers},
    error::Result,
    id::Kind,
    layout::Layout,
    observe::Memory,
    service::{definition::Service, plan::may_use_credentials},
};

/// Those that were applied, from what their runs recorded; nobody is asked.
///
/// # Errors
/// `STATE_CORRUPT` for a definition that cannot be read.
pub fn renewers(context: &Context, layout: &Layout, memory: &Memory) -> Result<Renewers> {
    let mut renewers = Renewers::default();
    let now = context.now();
    for (address, applied) in &memory.state.resources {
        if address.kind != Kind::Service || !may_use_credentials(&applied.definition) {
            continue;
        }
        let service: Service = applied.definition.read()?;
        if service.refreshes.is_empty() {
            continue;
        }
        let known = Known::read(context, layout, &service, applied.created_at);
        let one = Renewer {
            service: address.clone(),
            at: known.next_run(&service, now),
        };
        renewers.add(&service.refreshes, &one);
    }
    let all = memory.state.resources.iter();
    for (_, applied) in all.filter(|(address, _)| address.kind == Kind::Credential) {
        renewers.without_needs_of(&applied.definition, &applied.meta)?;
    }
    Ok(renewers)
}
