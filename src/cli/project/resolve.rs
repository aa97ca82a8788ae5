//! From what a spec declares of a service to what this host must hold of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use super::{Elsewhere, Project};
use crate::{
    credential::{
        definition::StoreKind,
        spec::{self as credential, DeclaredCredential},
    },
    effect::user::Account,
    error::{Code, Error, Result},
    id::{Address, Digest, ResourceId, ResourceName},
    resource::{Applied, Definition, Desired},
    service::{
        self,
        backend::{self, Managers},
        definition::{Sandbox, Scheduler, Service},
        desired::{self, Owners},
        spec::{
            DeclaredService, Problem,
            program::Programs,
            raw::{RawScheduler, RawService},
        },
        unit::UnitContext,
    },
    spec::Spec,
    state::format::State,
};

/// What services are resolved against, on any thread.
pub(super) struct Resolver<'p> {
    spec: &'p Spec,
    state: &'p State,
    applier: &'p Account,
    /// The users that the services name, as far as there are any.
    accounts: BTreeMap<String, Account>,
    programs: &'p Programs<'p>,
    elsewhere: Option<&'p Elsewhere>,
    units: &'p UnitContext,
    /// The credentials of the spec of which another value can be had for a run.
    renewed: BTreeSet<ResourceName>,
    /// The credentials of the spec that are encrypted for the host.
    sealed: BTreeSet<ResourceName>,
    /// What `scheduler = "auto"` is for a new service.
    auto: Scheduler,
    renderers: Mutex<BTreeMap<Owners, Digest>>,
}

impl Project<'_> {
    /// What `services` are resolved against.
    ///
    /// # Errors
    /// What the host says of its users.
    pub(super) fn resolver<'p>(
        &'p self,
        spec: &'p Spec,
        services: &[&DeclaredService],
    ) -> Result<Resolver<'p>> {
        let mut accounts = BTreeMap::new();
        for user in services
            .iter()
            .filter_map(|declared| declared.raw.user.as_ref())
        {
            if !accounts.contains_key(user.as_str()) {
                accounts.insert(user.as_str().to_owned(), self.account(user.as_str())?);
            }
        }
        let known = accounts
            .into_iter()
            .filter_map(|(name, found)| Some((name, found?)));
        let uid = self.context.account.owner.uid;
        let those = |are: &dyn Fn(&DeclaredCredential) -> bool| {
            let all = spec.credentials.iter().filter(|one| are(one));
            all.map(|one| one.name.clone()).collect()
        };
        Ok(Resolver {
            spec,
            state: &self.memory.state,
            applier: self.applier(),
            accounts: known.collect(),
            programs: &self.programs,
            elsewhere: self.elsewhere.as_ref(),
            units: &self.units,
            renewed: those(&|one| one.raw.renews_for_runs()),
            sealed: those(&|one| credential::store(one.raw.store) == StoreKind::SystemdCreds),
            auto: match &self.elsewhere {
                None => backend::auto(uid, Managers::of_host(uid)),
                Some(there) => there.machine.auto,
            },
            renderers: Mutex::default(),
        })
    }
}

impl Resolver<'_> {
    /// What the host must hold of a service, or what is wrong with it here.
    ///
    /// # Errors
    /// `STATE_CORRUPT`, `INTERNAL`: what no edit of the spec mends.
    pub(super) fn desired(
        &self,
        declared: &DeclaredService,
    ) -> Result<std::result::Result<Desired, Vec<Problem>>> {
        let address = declared.address();
        let applied = self.state.resources.get(&address);
        match self.service(declared, applied)? {
            Ok(service) => self.rendered(declared, &service, address, applied).map(Ok),
            Err(problems) => Ok(Err(problems)),
        }
    }

    /// The service with every choice made.
    fn service(
        &self,
        declared: &DeclaredService,
        applied: Option<&Applied>,
    ) -> Result<std::result::Result<Service, Vec<Problem>>> {
        let dir = match self.elsewhere {
            None => self.spec.dir_of(&declared.file),
            Some(there) => there.dir_of(self.spec, &declared.file),
        };
        let there = self
            .elsewhere
            .map(|there| there.declared(self.spec, declared));
        let resolved = service::spec::resolve(
            there.as_deref().unwrap_or(declared),
            &service::spec::Context {
                project: &self.spec.project,
                lineage: &self.state.lineage,
                scheduler: self.scheduler(declared, applied),
                current_user: &self.applier.name,
                privileged: self.applier.owner.uid == 0,
                renewed: &self.renewed,
                sealed: &self.sealed,
                dir: &dir,
                programs: Some(self.programs),
            },
        );
        let mut service = match resolved {
            Ok(service) => service,
            Err(problems) => return Ok(Err(problems)),
        };
        if service.has_unknowns()
            && let Some(applied) = applied
        {
            service.fill_in(&applied.definition.read()?);
        }
        if let Some(user) = &service.user
            && self.elsewhere.is_none()
            && !self.accounts.contains_key(user)
        {
            let problem = Problem::at("/user", format!("this host has no user `{user}`"));
            return Ok(Err(vec![problem]));
        }
        Ok(Ok(service))
    }

    /// The scheduler of a service: what the spec says, else where it is, else what answers here.
    pub(super) fn scheduler(
        &self,
        declared: &DeclaredService,
        applied: Option<&Applied>,
    ) -> Scheduler {
        let named = declared.raw.scheduler.and_then(RawScheduler::named);
        let pinned = || applied.and_then(|record| Scheduler::of(&record.backend));
        named.or_else(pinned).unwrap_or(self.auto)
    }

    /// What is wanted of it. It is rendered only where its record does not tell what would come of that.
    fn rendered(
        &self,
        declared: &DeclaredService,
        service: &Service,
        address: Address,
        applied: Option<&Applied>,
    ) -> Result<Desired> {
        let account = service
            .user
            .as_ref()
            .and_then(|user| self.accounts.get(user));
        let owners = owners(service, self.applier, account, self.elsewhere.is_some())?;
        let renderer = self.renderer(owners);
        let definition = Definition::of(service)?;
        let known = applied
            .filter(|applied| applied.renderer == Some(renderer))
            .filter(|applied| applied.definition == definition);
        // The very same then, so that whoever compares them has nothing to do.
        let (definition, image) = match known {
            Some(applied) => (applied.definition.clone(), applied.image.clone()),
            None => (definition, desired::outline(service, self.units, owners)?),
        };
        let warnings = (without_effect(service, &declared.raw).into_iter())
            .chain(self.elsewhere.and_then(|there| there.warning(service)));
        Ok(Desired {
            id: ResourceId::derive(&self.state.lineage, &address),
            address,
            backend: service.backend(),
            definition,
            image,
            renderer: Some(renderer),
            meta: declared.meta.clone(),
            declared: declared.declared(),
            warnings: warnings.collect(),
        })
    }

    fn renderer(&self, owners: Owners) -> Digest {
        let mut known = self
            .renderers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let renderer = known.entry(owners);
        *renderer.or_insert_with(|| desired::renderer(self.units, owners))
    }
}

/// Who owns what of a service, whose user has this account here.
///
/// # Errors
/// `SPEC_INVALID` for a user that the host does not have.
pub(super) fn owners(
    service: &Service,
    applier: &Account,
    account: Option<&Account>,
    elsewhere: bool,
) -> Result<Owners> {
    let applier = applier.owner;
    let runner = match (&service.user, account) {
        (None, _) => applier,
        (Some(_), Some(account)) => account.owner,
        (Some(_), None) if elsewhere => desired::KNOWN_AT_APPLY,
        (Some(name), None) => {
            let message = format!("this host has no user {name}");
            return Err(Error::new(Code::SpecInvalid, message));
        }
    };
    Ok(Owners { applier, runner })
}

/// What the spec says of a sandbox that the worker does not have.
fn without_effect(service: &Service, raw: &RawService) -> Option<String> {
    if service.scheduler != Scheduler::Worker {
        return None;
    }
    let mut keys = Vec::new();
    if !service.write_paths.is_empty() {
        keys.push("write_paths");
    }
    if !service.unit.is_empty() {
        keys.push("unit");
    }
    if raw.sandbox.is_some_and(|sandbox| sandbox != Sandbox::Off) {
        keys.push("sandbox");
    }
    let (last, before) = keys.split_last()?;
    let named = match before {
        [] => format!("{last} has"),
        before => format!("{} and {last} have", before.join(", ")),
    };
    Some(format!(
        "service.{}: the worker runs it unsandboxed, so {named} no effect",
        service.name
    ))
}
