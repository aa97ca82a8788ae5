//! What the spec wants of credentials, and what their sources hold.

use std::{borrow::Cow, path::PathBuf};

use crate::{
    credential::{
        definition::{Credential, STORE, StoreKind, Target},
        image, issuer,
        key::Key,
        plan::{Glimpse, Sources},
        source::{self, Look},
        spec::{self as credential, DeclaredCredential},
        spot::Claims,
        watch::{self, Asking, PER_HOST},
    },
    effect::{
        creds,
        disk::Disk,
        http::Http,
        threads,
        user::{self, Account},
    },
    error::{Code, Error, Result},
    id::{Address, Kind, ResourceName},
    observe::Wish,
    resource::{Declared, Definition, Desired},
    service::{desired::KNOWN_AT_APPLY, spec::Problem},
    spec::Spec,
};

use super::Project;

/// How many credentials are looked at by one core at least.
const PIECE: usize = 32;

/// A problem, with whose it is and where that is declared.
type Found = (Address, Declared, Problem);

impl Project<'_> {
    /// Adds the credentials that the spec wants of this host; what is wrong with them here.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn wish_credentials(&self, spec: &Spec, wish: &mut Wish) -> Result<Vec<Found>> {
        let selection = spec.credentials_for(&self.host)?;
        let others = selection.elsewhere.iter().map(|one| one.address());
        wish.elsewhere.extend(others);
        let mut problems = Vec::new();
        let key = match (selection.here.is_empty(), &self.elsewhere) {
            (false, None) => Key::read(self.context.disk.as_ref(), &self.layout)?,
            (true, _) | (_, Some(_)) => None,
        };
        let mut wanted = Vec::with_capacity(selection.here.len());
        let mut claims = Claims::default();
        for declared in selection.here {
            match self.resolve_credential(spec, declared)? {
                Ok(credential) => {
                    if self.elsewhere.is_none() {
                        let found = self.rivals(&credential, &declared.address(), &mut claims);
                        let own = |problem| (declared.address(), declared.declared(), problem);
                        problems.extend(found.into_iter().map(own));
                    }
                    wanted.push((declared, credential));
                }
                Err(found) => {
                    let own = |problem| (declared.address(), declared.declared(), problem);
                    problems.extend(found.into_iter().map(own));
                }
            }
        }
        let (disk, here) = (self.context.disk.as_ref(), self.elsewhere.is_none());
        // Their sources are files for the most part, and each is keyed.
        let looked = threads::map(&wanted, PIECE, |(_, credential)| {
            let glimpse = here.then(|| glimpse_at(disk, credential, key.as_ref()));
            let definition = Definition::of(credential)?;
            let image = image::desired(&definition, credential);
            Ok::<_, Error>((definition, image, glimpse))
        });
        for ((declared, credential), looked) in wanted.iter().zip(looked) {
            let (definition, image, glimpse) = looked?;
            let address = declared.address();
            if let Some(glimpse) = glimpse {
                (self.glimpses.borrow_mut()).insert(address.clone(), glimpse);
            }
            let desired = Desired {
                address: address.clone(),
                id: credential.id.clone(),
                backend: STORE,
                image,
                definition,
                renderer: None,
                meta: declared.meta.clone(),
                declared: declared.declared(),
                warnings: Vec::new(),
            };
            wish.desired.insert(address, desired);
        }
        Ok(problems)
    }

    /// The deliveries of a credential to what an earlier one delivers to by another name: behind a link,
    /// or on a mount.
    fn rivals(
        &self,
        credential: &Credential,
        address: &Address,
        claims: &mut Claims<Address>,
    ) -> Vec<Problem> {
        let disk = self.context.disk.as_ref();
        let mut problems = Vec::new();
        for (index, one) in credential.deliver.iter().enumerate() {
            if let Some((other, whose)) = claims.rival(disk, &one.to) {
                let key = match &one.to {
                    Target::File(_) => "file",
                    Target::EnvFile { .. } => "env_file",
                };
                let message = format!("`{whose}` is delivered there, to {other}");
                problems.push(Problem::at(format!("/deliver/{index}/{key}"), message));
            }
            claims.add(disk, one.to.clone(), address.clone());
        }
        problems
    }

    fn resolve_credential(
        &self,
        spec: &Spec,
        declared: &DeclaredCredential,
    ) -> Result<Result<Credential, Vec<Problem>>> {
        let dir = match &self.elsewhere {
            None => spec.dir_of(&declared.file),
            Some(there) => there.dir_of(spec, &declared.file),
        };
        let mut declared = Cow::Borrowed(declared);
        if let Some(there) = &self.elsewhere
            && !declared.sinks.is_empty()
        {
            there.place(spec, &mut declared.to_mut().sinks);
        }
        let resolved = credential::resolve(
            &declared,
            &credential::Context {
                project: &spec.project,
                lineage: &self.memory.state.lineage,
                applier: self.applier().owner,
                dir: &dir,
                programs: &self.programs,
                user: &|name| match (self.account(name)?, &self.elsewhere) {
                    (None, Some(_)) => Ok(Some(Account {
                        name: name.to_owned(),
                        owner: KNOWN_AT_APPLY,
                        home: PathBuf::new(),
                    })),
                    (known, _) => Ok(known),
                },
                providers: &spec.providers,
                group: &|name| match &self.elsewhere {
                    None => user::group_by_name(name),
                    Some(_) => Ok(Some(KNOWN_AT_APPLY.gid)),
                },
            },
        )?;
        let mut credential = match resolved {
            Ok(credential) => credential,
            Err(problems) => return Ok(Err(problems)),
        };
        let address = declared.address();
        let is_here = self.elsewhere.is_none();
        if credential.store == StoreKind::SystemdCreds
            && is_here
            && self.programs.find(creds::PROGRAM).is_err()
        {
            let message = format!(
                "{address}: there is no `{}` on this host, with which its `store` encrypts it",
                creds::PROGRAM
            );
            return Err(Error::new(Code::BackendUnavailable, message)
                .suggest("install systemd 250 or newer, or write `store = \"file\"`"));
        }
        if self.elsewhere.is_some()
            && let Some(applied) = self.memory.state.resources.get(&address)
        {
            credential.fill_in(&applied.definition.read()?);
        }
        Ok(Ok(credential))
    }

    /// Asks issuers how the values in use stand, each where it was applied.
    pub(super) async fn ask_issuers(&self, targets: &[Address]) {
        let applied = self.memory.state.resources.keys();
        let chosen = applied.filter(|address| {
            address.kind == Kind::Credential && (targets.is_empty() || targets.contains(address))
        });
        let names: Vec<ResourceName> = chosen.map(|address| address.name.clone()).collect();
        let asking = Asking {
            disk: self.context.disk.as_ref(),
            layout: &self.layout,
            http: &Http::keeping_connections(),
            per_host: PER_HOST,
            now: self.context.now(),
        };
        watch::ask(&asking, &names).await;
    }
}

/// What a source holds. Nothing is run for it and nothing is sent.
fn glimpse_at(disk: &dyn Disk, credential: &Credential, key: Option<&Key>) -> Glimpse {
    match source::look(disk, credential) {
        Look::Value(value) => match issuer::checked(credential, &value) {
            Ok(()) => Glimpse::Value(key.map(|key| key.fingerprint(&value))),
            Err(error) => Glimpse::Unusable(error.sentence()),
        },
        Look::Nothing(error) => unusable(disk, credential, &error),
        Look::Unasked => Glimpse::AtApply,
    }
}

/// What there is where no value was found: something that is not taken, or nothing.
fn unusable(disk: &dyn Disk, credential: &Credential, error: &Error) -> Glimpse {
    let why = error.sentence();
    if source::holds_something(disk, credential, error) {
        Glimpse::Unusable(why)
    } else {
        Glimpse::Nothing(why)
    }
}

impl Sources for Project<'_> {
    fn ahead(&self, address: &Address) -> Vec<String> {
        self.ahead
            .borrow()
            .get(address)
            .cloned()
            .unwrap_or_default()
    }

    fn glimpse(&self, address: &Address) -> Glimpse {
        let known = self.glimpses.borrow().get(address).cloned();
        known.unwrap_or(Glimpse::AtApply)
    }
}
