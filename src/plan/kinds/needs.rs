//! What the next runs of services need of other kinds.

use std::collections::BTreeMap;

use crate::{
    credential::{
        plan::NextRun,
        rest::{Renewer, Renewers},
    },
    error::Result,
    id::{Address, Kind, ResourceName},
    plan::Inputs,
    resource::Seen,
    service,
};

/// When which credentials are needed next, by the services that are there once the plan is carried out,
/// and by whom they are renewed until then.
#[derive(Debug, Default)]
pub struct Needs {
    runs: BTreeMap<ResourceName, Vec<NextRun>>,
    renewers: Renewers,
}

impl Needs {
    /// Reads them off the definitions: the wanted ones of what is in the plan's scope, the applied ones of
    /// what is not.
    ///
    /// # Errors
    /// For a definition that cannot be read.
    pub fn of(inputs: &Inputs<'_>, in_scope: impl Fn(&Address) -> bool) -> Result<Self> {
        let mut needs = Self::default();
        let wanted = inputs
            .desired
            .iter()
            .filter(|(address, _)| in_scope(address));
        let wanted = wanted.map(|(address, one)| (address, &one.definition, &one.meta));
        let stays = inputs
            .applied
            .iter()
            .filter(|(address, _)| !in_scope(address));
        let stays = stays.map(|(address, one)| (address, &one.definition, &one.meta));
        let all: Vec<_> = wanted.chain(stays).collect();
        let of_kind = |kind| all.iter().filter(move |(address, ..)| address.kind == kind);
        for &(address, definition, _) in of_kind(Kind::Service) {
            let found = match inputs.observed.resources.get(address) {
                Some(Seen::Ours(found)) => Some(found),
                Some(Seen::Foreign { .. } | Seen::Unknown { .. }) | None => None,
            };
            let before = inputs.applied.get(address);
            let before = before.map(|applied| &applied.definition);
            let need = service::plan::need(before, definition, found, inputs.now)?;
            let Some(need) = need else { continue };
            let one = Renewer {
                service: address.clone(),
                at: need.at,
            };
            needs.renewers.add(&need.renews, &one);
            let Some(at) = need.at else { continue };
            for name in need.uses {
                needs.runs.entry(name).or_default().push(NextRun {
                    service: address.clone(),
                    at,
                });
            }
        }
        for (_, definition, meta) in of_kind(Kind::Credential) {
            needs.renewers.without_needs_of(definition, meta)?;
        }
        Ok(needs)
    }

    /// The first run of each service that uses a credential.
    pub fn of_credential(&self, name: &ResourceName) -> &[NextRun] {
        self.runs.get(name).map_or(&[], Vec::as_slice)
    }

    /// Who has which credentials renewed.
    pub const fn renewers(&self) -> &Renewers {
        &self.renewers
    }
}
