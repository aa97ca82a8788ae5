//! What lorectl's own timer needs: its service, and the applied resources as a wish.

use crate::{
    credential::{self, definition::Credential},
    effect::executable,
    error::{Error, Result},
    id::{Address, Kind},
    observe::Wish,
    resource::{Applied, Declared, Desired, Meta},
    service::{
        definition::{Sandbox, Scheduler, Service},
        desired,
        spec::{
            DeclaredService,
            raw::{RawBreaker, RawClassify, RawFailure, RawRetry, RawSchedule, RawService},
        },
    },
    spec::{RECONCILE, Reconcile, Spec},
};

use super::Project;

/// The failures in a row that trip its breaker: the most that a spec may say, 28 years of failing every 15 minutes.
const MOST_FAILURES: u32 = 1_000_000;

/// Why what was applied cannot be mended.
const OTHERWISE: &str = "this lorectl writes it otherwise than the one that applied it";

impl Project<'_> {
    /// The service of `[reconcile]`: lorectl itself, woken and run like any other service.
    pub(super) fn reconciler(&self, spec: &Spec, own: &Reconcile) -> Result<DeclaredService> {
        let address = reconcile_address()?;
        let root = self.applier().owner.uid == 0;
        let mut declared = DeclaredService {
            name: address.name.clone(),
            file: own.declared.file.clone(),
            line: own.declared.line,
            raw: RawService::default(),
            meta: Meta::default(),
            sinks: own.sinks.clone(),
            on: Vec::new(),
        };
        let applied = self.memory.state.resources.get(&address);
        let scheduler = self.resolver(spec, &[])?.scheduler(&declared, applied);
        let program = match (scheduler, &self.elsewhere) {
            // The worker runs what runs now; units call what will be there for years.
            (Scheduler::Worker, None) => executable::current()?,
            (Scheduler::Worker | Scheduler::SystemdSystem | Scheduler::SystemdUser, _) => {
                self.units.binary.clone()
            }
        };
        let allow: Vec<&str> = own.allow.iter().map(|word| word.as_str()).collect();
        let run = [
            &*program.to_string_lossy(),
            RECONCILE,
            "--state-dir",
            &*self.layout.state_dir().to_string_lossy(),
            "--project",
            spec.project.as_str(),
            "--allow",
            &allow.join(","),
        ];
        declared.raw = RawService {
            description: Some("Mends what drifted from what was applied".to_owned()),
            user: match scheduler {
                Scheduler::SystemdSystem if root => Some("root".parse().map_err(internal)?),
                Scheduler::SystemdSystem | Scheduler::SystemdUser | Scheduler::Worker => None,
            },
            schedule: Some(RawSchedule {
                every: Some(own.every),
                ..RawSchedule::default()
            }),
            run: Some(run.map(ToOwned::to_owned).to_vec()),
            working_dir: Some("/".to_owned()),
            // It writes units and calls the manager.
            sandbox: Some(Sandbox::Off),
            notify: Some(own.sinks.iter().map(|sink| sink.name.clone()).collect()),
            // One thing that waits for a person keeps it from mending neither the rest nor later.
            retry: Some(RawRetry {
                base: Some(own.every),
                max: Some(own.every),
            }),
            breaker: Some(RawBreaker {
                failures: Some(MOST_FAILURES),
                ..RawBreaker::default()
            }),
            // It never pauses itself: what stands in its way now may be gone at the next time.
            classify: Some(RawClassify {
                transient: Some([64, 77, 78].map(RawFailure::Status).to_vec()),
                permanent: None,
            }),
            ..RawService::default()
        };
        declared.depend_on_credentials();
        Ok(declared)
    }

    /// The applied resources as a wish: what `reconcile` mends towards, without a spec.
    pub fn as_applied(&self) -> Wish {
        let mut wish = Wish::default();
        for (address, record) in &self.memory.state.resources {
            let desired = Desired {
                address: address.clone(),
                id: record.id.clone(),
                backend: record.backend.clone(),
                definition: record.definition.clone(),
                image: record.image.clone(),
                renderer: record.renderer,
                meta: record.meta.clone(),
                declared: Declared {
                    file: record.declared_in.clone(),
                    line: 0,
                },
                warnings: Vec::new(),
            };
            wish.files.insert(record.declared_in.to_string());
            wish.desired.insert(address.clone(), desired);
        }
        wish
    }

    /// Why what was applied cannot be written again to the byte; `None` when it can.
    ///
    /// # Errors
    /// `STATE_CORRUPT` for a definition that cannot be read.
    pub fn stuck(&self, address: &Address, record: &Applied) -> Result<Option<String>> {
        if address.kind == Kind::Credential {
            let credential: Credential = record.definition.read()?;
            let image = credential::image::desired(&record.definition, &credential);
            return Ok((image != record.image).then(|| OTHERWISE.to_owned()));
        }
        let service: Service = record.definition.read()?;
        let owners = match self.owners(&service) {
            Ok(owners) => owners,
            Err(error) => return Ok(Some(error.message)),
        };
        let image = desired::outline(&service, &self.units, owners)?;
        Ok((image != record.image).then(|| OTHERWISE.to_owned()))
    }

    /// What this host must hold of the reconciling timer.
    ///
    /// # Errors
    /// What is wrong with it here.
    pub(super) fn desired_reconciler(
        &self,
        spec: &Spec,
        declared: &DeclaredService,
    ) -> Result<Desired> {
        match self.resolver(spec, &[declared])?.desired(declared)? {
            Ok(desired) => Ok(desired),
            Err(problems) => {
                let own = |problem| (declared.address(), declared.declared(), problem);
                let found: Vec<_> = problems.into_iter().map(own).collect();
                Err(spec.report(&found, self.context.disk.as_ref()))
            }
        }
    }
}

fn reconcile_address() -> Result<Address> {
    let name = RECONCILE.parse().map_err(internal)?;
    Ok(Address::new(Kind::Service, name))
}

fn internal(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(crate::error::Code::Internal, "lorectl's own name is none").because(error)
}
