//! What the next runs of services need of other kinds.

use std::collections::BTreeMap;

use crate::{
    credential::plan::NextRun,
    error::Result,
    id::{Kind, ResourceName},
    plan::Inputs,
    resource::Seen,
    service,
};

/// When which credentials are needed next, by the services that the spec wants.
#[derive(Debug, Default)]
pub struct Needs(BTreeMap<ResourceName, Vec<NextRun>>);

impl Needs {
    /// Reads them off the definitions.
    ///
    /// # Errors
    /// For a definition that cannot be read.
    pub fn of(inputs: &Inputs<'_>) -> Result<Self> {
        let mut runs: BTreeMap<ResourceName, Vec<NextRun>> = BTreeMap::new();
        let services = inputs.desired.iter();
        for (address, desired) in services.filter(|(address, _)| address.kind == Kind::Service) {
            let found = match inputs.observed.resources.get(address) {
                Some(Seen::Ours(found)) => Some(found),
                Some(Seen::Foreign { .. } | Seen::Unknown { .. }) | None => None,
            };
            let before = inputs.applied.get(address);
            let before = before.map(|applied| &applied.definition);
            let need = service::plan::next_need(before, &desired.definition, found, inputs.now)?;
            let Some((uses, at)) = need else { continue };
            for name in uses {
                runs.entry(name).or_default().push(NextRun {
                    service: address.clone(),
                    at,
                });
            }
        }
        Ok(Self(runs))
    }

    /// The first run of each service that uses a credential.
    pub fn of_credential(&self, name: &ResourceName) -> &[NextRun] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}
