//! What the next runs of services need of other kinds.

use std::collections::BTreeMap;

use crate::{
    credential::{
        plan::NextRun,
        rest::{Renewer, Renewers},
    },
    error::Result,
    id::{Kind, ResourceName},
    plan::Inputs,
    resource::Seen,
    service,
};

/// When which credentials are needed next, by the services that the spec wants, and by whom they are
/// renewed until then.
#[derive(Debug, Default)]
pub struct Needs {
    runs: BTreeMap<ResourceName, Vec<NextRun>>,
    renewers: Renewers,
}

impl Needs {
    /// Reads them off the definitions.
    ///
    /// # Errors
    /// For a definition that cannot be read.
    pub fn of(inputs: &Inputs<'_>) -> Result<Self> {
        let mut needs = Self::default();
        let services = inputs.desired.iter();
        for (address, desired) in services.filter(|(address, _)| address.kind == Kind::Service) {
            let found = match inputs.observed.resources.get(address) {
                Some(Seen::Ours(found)) => Some(found),
                Some(Seen::Foreign { .. } | Seen::Unknown { .. }) | None => None,
            };
            let before = inputs.applied.get(address);
            let before = before.map(|applied| &applied.definition);
            let need = service::plan::need(before, &desired.definition, found, inputs.now)?;
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
        let credentials = inputs.desired.iter();
        for (_, one) in credentials.filter(|(address, _)| address.kind == Kind::Credential) {
            needs
                .renewers
                .without_needs_of(&one.definition, &one.meta)?;
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
