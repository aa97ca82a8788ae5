//! `replaces`: that no two services of one host take the place of the same.

use std::collections::BTreeMap;

use crate::{
    id::ResourceName,
    service::{
        adopt::id::Replaced,
        spec::{DeclaredService, Problem},
    },
};

/// Each service that replaces what an earlier one does: both would run in its place.
pub fn twice(services: &[DeclaredService]) -> Vec<(ResourceName, Problem)> {
    let mut first: BTreeMap<Replaced, Vec<&DeclaredService>> = BTreeMap::new();
    let mut problems = Vec::new();
    for service in services {
        let Some(Ok(replaced)) = service.raw.replaces.as_ref().map(|text| text.parse()) else {
            continue;
        };
        let others = first.entry(replaced).or_default();
        if let Some(other) = others.iter().find(|other| meet(&other.on, &service.on)) {
            let message = format!("`{}` replaces the same", other.address());
            problems.push((service.name.clone(), Problem::at("/replaces", message)));
        }
        others.push(service);
    }
    problems
}

/// Whether there is a host that has both; an empty list is every host.
fn meet(a: &[String], b: &[String]) -> bool {
    a.is_empty() || b.is_empty() || a.iter().any(|host| b.contains(host))
}
