//! Loading: every file on its own, then all of them together.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    mem,
    ops::Range,
    sync::Arc,
};

use super::{
    RECONCILE, Reconcile, Spec,
    file::{self, Declared, Parsed, Place, ReadCredential, ReadService},
    finding::{self, Finding, Lines},
    graph,
    locate::{Located, locate, table_of},
    node::Node,
    raw::{RawAllowed, RawProject, RawReconcile, Requirement},
    rivals, schema,
    source::{Bytes, Request, Source, Sources},
    walk::Fault,
};
use crate::{
    credential::{
        provider::{self, RawProvider},
        spec::{DeclaredCredential, check as token, raw::RawCredential, rivals as deliveries},
    },
    effect::{disk::Disk, threads},
    error::{Code, Error, Result},
    id::{Address, Digest, Kind, ResourceName, Seconds},
    resource::{Declared as Declaration, Meta},
    service::spec::{
        DeclaredService, Problem,
        check::{self, Limits},
        raw::{RawScheduler, RawService},
        sink::{DeclaredSink, RawNotify, RawUrl},
    },
};

/// The shortest `every` where the project says none.
const MIN_INTERVAL: Seconds = Seconds(5 * 60);

/// How much of a spec is in the parser at a time, in bytes, if it is more than one file: that takes
/// some forty times the room of the text.
const AT_ONCE: usize = 1 << 20;

/// The most findings that one file adds, and the most problems of services that are looked up.
const MOST: usize = 1000;

/// Places whose value is checked against that of another key.
const HANGING: [(&str, &str); 4] = [
    ("/profile", "profiles"),
    ("/profile", "stages"),
    ("/profiles", "stages"),
    ("/unit", "scheduler"),
];

/// Loads a spec.
///
/// # Errors
/// `SPEC_NOT_FOUND`; `BINARY_TOO_OLD`, before anything else that is wrong; `SPEC_INVALID` with all
/// that is wrong, each finding a detail; `NOT_IN_THIS_BUILD` where nothing else is; or what the
/// system says when files are read.
pub fn load(request: &Request<'_>, disk: &dyn Disk) -> Result<Spec> {
    let sources = Sources::find(request, disk)?;
    let node = schema::node();
    let mut loader = Loader::default();
    let mut digests = String::new();
    let mut total = 0;
    // What was read and not parsed yet: as much as may be in the parser at a time.
    let mut read: Vec<Unparsed<'_>> = Vec::new();
    for (index, source) in sources.files.iter().enumerate() {
        match sources.read(source, disk)? {
            Bytes::Refused(finding) => {
                loader.torn = true;
                loader.findings.push(finding);
            }
            Bytes::Read(bytes) => {
                total += bytes.len() as u64;
                if total > Sources::limit() {
                    let message = "the files of the spec are more than 32 MiB together";
                    loader
                        .findings
                        .push(Finding::of_file(&source.shown, message));
                    loader.torn = true;
                    break;
                }
                // A name holds no line feed that could make two sets look like one: it is quoted.
                // Writing to a string does not fail.
                let _ = writeln!(digests, "{:?} {}", source.name, Digest::of(&bytes));
                let held: usize = read.iter().map(|file| file.bytes.len()).sum();
                if held + bytes.len() > AT_ONCE {
                    loader.files(&mem::take(&mut read), &node);
                }
                read.push(Unparsed {
                    index,
                    source,
                    bytes,
                });
            }
        }
    }
    loader.files(&read, &node);
    loader.check_binary(env!("CARGO_PKG_VERSION"))?;
    loader.finish(sources, Digest::of(digests.as_bytes()), disk)
}

/// A file of the spec as it was read.
struct Unparsed<'a> {
    index: usize,
    source: &'a Source,
    bytes: Vec<u8>,
}

impl Unparsed<'_> {
    fn parse(&self, node: &Node) -> Result<(Lines<'_>, Parsed), Finding> {
        let text = file::text_of(self.source, &self.bytes)?;
        let lines = Lines::of(text);
        let parsed = file::read(self.index, self.source, text, &lines, node);
        Ok((lines, parsed))
    }
}

#[derive(Default)]
struct Loader {
    findings: Vec<Finding>,
    /// How many findings there are beyond those.
    dropped: usize,
    /// The lines that are no TOML, by the file's index.
    broken: BTreeSet<(usize, u32)>,
    /// Whether something of the set could not be read, so that what is missing may only be unread.
    torn: bool,
    version: bool,
    requirement: Option<Requirement>,
    project: Option<(Option<RawProject>, Place)>,
    reconcile: Option<(Option<RawReconcile>, Place, Finding)>,
    hosts: BTreeMap<String, Place>,
    defaults: RawService,
    defaults_at: BTreeMap<String, Place>,
    defaults_faulty: bool,
    notify: BTreeMap<ResourceName, (Option<RawNotify>, Place)>,
    providers: BTreeMap<String, (Option<RawProvider>, Place)>,
    /// Where an entry of `[notify]` names a credential.
    notify_credentials: Vec<(ResourceName, Finding)>,
    credentials: BTreeMap<ResourceName, (ReadCredential, Place)>,
    services: BTreeMap<ResourceName, (ReadService, Place)>,
}

impl Loader {
    /// Parses files side by side and takes them in one by one.
    fn files(&mut self, files: &[Unparsed<'_>], node: &Node) {
        for (file, parsed) in files.iter().zip(threads::map(files, 1, |f| f.parse(node))) {
            match parsed {
                Ok((lines, parsed)) => self.file(file.index, file.source, &lines, parsed),
                Err(finding) => {
                    self.torn = true;
                    self.findings.push(finding);
                }
            }
        }
    }

    fn file(&mut self, index: usize, source: &Source, lines: &Lines<'_>, mut parsed: Parsed) {
        let mut faults = mem::take(&mut parsed.faults);
        self.torn |= parsed.torn;
        let broken = mem::take(&mut parsed.broken);
        (self.broken).extend(broken.into_iter().map(|line| (index, line)));
        self.dropped += parsed.dropped;
        let mut clash = |span: &Range<usize>, message: String, suggestion: &str| {
            faults.push(Fault {
                span: span.clone(),
                message,
                suggestion: Some(suggestion.to_owned()),
                absent: false,
                missing: false,
            });
        };
        self.merge(parsed, &mut clash);
        faults.sort_by_key(|fault| (fault.span.start, fault.span.end));
        self.dropped += faults.len().saturating_sub(MOST);
        for fault in faults.into_iter().take(MOST) {
            let finding = lines.finding(&source.shown, fault.span, fault.message);
            self.findings.push(Finding {
                suggestion: fault.suggestion,
                not_in_this_build: fault.absent,
                ..finding
            });
        }
    }

    /// Joins what a file declares to what the ones before it did.
    fn merge(&mut self, parsed: Parsed, clash: &mut dyn FnMut(&Range<usize>, String, &str)) {
        self.version |= parsed.version.is_some();
        self.requirement = self.requirement.take().or(parsed.requirement);
        if let Some(Declared { value, place, span }) = parsed.project {
            match &self.project {
                None => self.project = Some((value, place)),
                Some((Some(first), at)) if value.as_ref().is_some_and(|own| own != first) => clash(
                    &span,
                    format!("`[project]` differs from the one in {}", at.shown),
                    "keep one of them",
                ),
                Some(_) => {}
            }
        }
        if let Some(Declared { value, place, span }) = parsed.reconcile {
            match &self.reconcile {
                None => self.reconcile = Some((value.0, place, value.1)),
                Some((_, first, _)) => clash(
                    &span,
                    format!("`[reconcile]` stands in {} too", first.shown),
                    "keep one of them",
                ),
            }
        }
        for Declared { value, place, span } in parsed.hosts {
            match self.hosts.get(value.as_str()) {
                None => drop(self.hosts.insert(value.as_str().to_owned(), place)),
                Some(first) => clash(
                    &span,
                    format!("the host `{value}` is listed in {} too", first.shown),
                    "keep one of them",
                ),
            }
        }
        for Declared {
            value: (key, value),
            place,
            span,
        } in parsed.defaults
        {
            match self.defaults_at.get(&key) {
                None => {
                    self.defaults_at.insert(key, place);
                }
                Some(first) => clash(
                    &span,
                    format!("the default `{key}` is set in {} too", first.shown),
                    "keep one of them",
                ),
            }
            match value {
                Some(value) => self.defaults.inherit(&value),
                None => self.defaults_faulty = true,
            }
        }
        for Declared {
            value: (name, value, credential),
            place,
            span,
        } in parsed.notify
        {
            self.notify_credentials.extend(credential);
            match self.notify.get(&name) {
                None => drop(self.notify.insert(name, (value, place))),
                Some((_, first)) => clash(
                    &span,
                    format!("`notify.{name}` is declared in {} too", first.shown),
                    "rename one of them, or take it out",
                ),
            }
        }
        self.merge_providers(parsed.providers, clash);
        self.merge_credentials(parsed.credentials, clash);
        for Declared {
            value: (name, value),
            place,
            span,
        } in parsed.services
        {
            if name.as_str() == RECONCILE {
                clash(
                    &span,
                    format!("the name `{RECONCILE}` is kept for lorectl's own timer"),
                    "rename the service; `[reconcile]` makes that timer",
                );
                continue;
            }
            match self.services.get(&name) {
                None => drop(self.services.insert(name, (value, place))),
                Some((_, first)) => clash(
                    &span,
                    format!("`service.{name}` is declared in {} too", first.shown),
                    "rename one of them, or take it out",
                ),
            }
        }
    }

    fn merge_providers(
        &mut self,
        providers: Vec<Declared<(String, Option<RawProvider>)>>,
        clash: &mut dyn FnMut(&Range<usize>, String, &str),
    ) {
        for one in providers {
            let (name, value) = one.value;
            match self.providers.get(&name) {
                None => drop(self.providers.insert(name, (value, one.place))),
                Some((_, first)) => clash(
                    &one.span,
                    format!("`providers.{name}` is declared in {} too", first.shown),
                    "keep one of them",
                ),
            }
        }
    }

    fn merge_credentials(
        &mut self,
        credentials: Vec<Declared<(ResourceName, ReadCredential)>>,
        clash: &mut dyn FnMut(&Range<usize>, String, &str),
    ) {
        for one in credentials {
            let (name, value) = one.value;
            match self.credentials.get(&name) {
                None => drop(self.credentials.insert(name, (value, one.place))),
                Some((_, first)) => clash(
                    &one.span,
                    format!("`credential.{name}` is declared in {} too", first.shown),
                    "rename one of them, or take it out",
                ),
            }
        }
    }

    fn check_binary(&self, version: &str) -> Result<()> {
        match &self.requirement {
            Some(requirement) if !requirement.is_met_by(version) => Err(Error::new(
                Code::BinaryTooOld,
                format!("the spec is for lorectl {requirement}, and this is {version}"),
            )
            .suggest("install a version that satisfies `project.lorectl`")),
            Some(_) | None => Ok(()),
        }
    }

    fn finish(mut self, sources: Sources, digest: Digest, disk: &dyn Disk) -> Result<Spec> {
        self.check_header(&sources);
        let reconcile = self.reconciler(&sources);
        let services = self.inherited(&sources);
        let defaults: BTreeMap<String, usize> = (self.defaults_at.iter())
            .map(|(key, place)| (key.clone(), place.file))
            .collect();
        let credentials = self.credentials(&sources);
        let providers: BTreeMap<String, RawProvider> = (self.providers.iter())
            .filter_map(|(name, (raw, _))| Some((name.clone(), raw.clone()?)))
            .collect();
        self.check_sinks(reconcile.as_ref(), &credentials);
        let mut problems = self.problems(&services, &credentials, &providers);
        self.dropped += problems.len().saturating_sub(MOST);
        problems.truncate(MOST);
        let of_providers: Vec<(&String, Problem)> = (providers.keys())
            .flat_map(|name| {
                let problems = provider::check(name, &providers).into_iter();
                problems.map(move |problem| (name, problem))
            })
            .collect();
        let of_providers = of_providers.iter().filter_map(|(name, problem)| {
            let (_, place) = self.providers.get(*name)?;
            Some(Located {
                file: place.file,
                table: ("providers", name.as_str()),
                line: place.line,
                problem,
            })
        });
        let located: Vec<Located<'_>> = (problems.iter())
            .filter_map(|(address, problem)| {
                let place = match address.kind {
                    Kind::Credential => &self.credentials.get(&address.name)?.1,
                    _other => &self.services.get(&address.name)?.1,
                };
                Some(Located {
                    file: place.file,
                    table: (table_of(address.kind), address.name.as_str()),
                    line: place.line,
                    problem,
                })
            })
            .chain(of_providers)
            .collect();
        let found = locate(&sources, &defaults, &located, disk);
        let broken = |finding: &Finding| {
            let file = (sources.files.iter()).position(|file| file.shown == finding.file);
            file.is_some_and(|file| self.broken.contains(&(file, finding.line)))
        };
        if self.broken.is_empty() {
            self.findings.extend(found);
        } else {
            let kept = found.into_iter().filter(|finding| !broken(finding));
            self.findings.extend(kept);
        }
        if let Some(error) = finding::to_error(self.findings, self.dropped) {
            return Err(error);
        }
        let Some((Some(project), _)) = self.project else {
            return Err(Error::new(
                Code::Internal,
                "a spec without a project was let through",
            ));
        };
        Ok(Spec {
            project: project.name,
            requirement: project.lorectl,
            min_interval: project.min_interval.unwrap_or(MIN_INTERVAL),
            hosts: (!self.hosts.is_empty()).then(|| self.hosts.into_keys().collect()),
            reconcile,
            providers,
            credentials,
            services,
            files: (sources.files.iter())
                .map(|file| Arc::clone(&file.name))
                .collect(),
            digest,
            root: sources.root.clone(),
            sources,
            defaults,
        })
    }

    /// The reconciling timer, held to the guard rail of every interval.
    fn reconciler(&mut self, sources: &Sources) -> Option<Reconcile> {
        let (raw, place, at_every) = self.reconcile.take()?;
        let raw = raw?;
        let own = |(project, _): &(Option<RawProject>, Place)| project.as_ref()?.min_interval;
        let least = (self.project.as_ref().and_then(own)).unwrap_or(MIN_INTERVAL);
        if raw.every < least {
            self.findings.push(Finding {
                message: format!(
                    "`every` is {}, under the project's `min_interval` of {least}",
                    raw.every
                ),
                suggestion: Some("raise it, or lower `min_interval` in `[project]`".to_owned()),
                ..at_every
            });
        }
        let file = sources.files.get(place.file)?;
        let sinks = self.sinks(sources);
        let named = self.defaults.notify.iter().flatten();
        let all = || vec![RawAllowed::Drift, RawAllowed::Rotation, RawAllowed::Rollout];
        Some(Reconcile {
            every: raw.every,
            allow: raw.allow.unwrap_or_else(all),
            sinks: named.filter_map(|name| sinks.get(name).cloned()).collect(),
            declared: Declaration {
                file: Arc::clone(&file.name),
                line: place.line,
            },
        })
    }

    /// One version and one project in the whole set.
    fn check_header(&mut self, sources: &Sources) {
        let Some(first) = sources.files.first() else {
            return;
        };
        if self.torn {
            return;
        }
        if !self.version {
            let at = self.project.as_ref().map_or(0, |(_, place)| place.file);
            let file = sources.files.get(at).unwrap_or(first);
            self.findings.push(
                Finding::of_file(&file.shown, "missing key `version`")
                    .suggest(Some("begin the file with `version = 1`".to_owned())),
            );
        }
        if self.project.is_none() {
            self.findings.push(
                Finding::of_file(&first.shown, "missing table `[project]`").suggest(Some(
                    "add `[project]` with `name = \"…\"`, in one file of the spec".to_owned(),
                )),
            );
        }
    }

    /// The services as far as they could be read, with the defaults filled in.
    fn inherited(&mut self, sources: &Sources) -> Vec<DeclaredService> {
        let mut services = Vec::with_capacity(self.services.len());
        let sinks = self.sinks(sources);
        for (name, (read, place)) in &mut self.services {
            let Some(mut raw) = read.raw.take() else {
                continue;
            };
            // The defaults of `unit` are for the services that have one.
            let unit = (raw.scheduler == Some(RawScheduler::Worker)).then(|| raw.unit.clone());
            raw.inherit(&self.defaults);
            raw.unit = unit.unwrap_or(raw.unit);
            let on = (raw.on.iter().flatten())
                .map(|host| host.as_str().to_owned())
                .collect();
            let file = sources.files.get(place.file);
            let named = raw.notify.iter().flatten();
            let named = named.filter_map(|name| sinks.get(name).cloned());
            let mut service = DeclaredService {
                name: name.clone(),
                file: file.map_or_else(|| Arc::from("-"), |file| Arc::clone(&file.name)),
                line: place.line,
                sinks: named.collect(),
                meta: Meta {
                    depends_on: raw.depends_on.clone().unwrap_or_default(),
                    protect: raw.protect.unwrap_or_default(),
                    ignore_drift: raw.ignore_drift.clone().unwrap_or_default(),
                },
                raw,
                on,
            };
            service.depend_on_credentials();
            services.push(service);
        }
        services
    }

    /// The credentials without faults.
    fn credentials(&self, sources: &Sources) -> Vec<DeclaredCredential> {
        let mut credentials = Vec::with_capacity(self.credentials.len());
        let sinks = self.sinks(sources);
        for (name, (read, place)) in &self.credentials {
            let Some(raw) = read.raw.clone().filter(|_| read.is_sound) else {
                continue;
            };
            let file = sources.files.get(place.file);
            let named = raw.notify.iter().flatten();
            let named = named.filter_map(|name| sinks.get(name).cloned());
            // What its issuer's requests are signed with, and its provider asked with, comes first.
            let mut depends_on = raw.depends_on.clone().unwrap_or_default();
            for (_, name) in raw.uses() {
                let used = Address::new(Kind::Credential, name.clone());
                if !depends_on.contains(&used) {
                    depends_on.push(used);
                }
            }
            credentials.push(DeclaredCredential {
                name: name.clone(),
                file: file.map_or_else(|| Arc::from("-"), |file| Arc::clone(&file.name)),
                line: place.line,
                meta: Meta {
                    depends_on,
                    protect: raw.protect.unwrap_or_default(),
                    ignore_drift: raw.ignore_drift.clone().unwrap_or_default(),
                },
                sinks: named.collect(),
                on: (raw.on.iter().flatten())
                    .map(|host| host.as_str().to_owned())
                    .collect(),
                raw,
            });
        }
        credentials
    }

    /// The entries of `[notify]` without faults.
    fn sinks(&self, sources: &Sources) -> BTreeMap<ResourceName, Arc<DeclaredSink>> {
        let sinks = self.notify.iter().filter_map(|(name, (raw, place))| {
            let file = sources.files.get(place.file)?;
            let sink = DeclaredSink {
                name: name.clone(),
                raw: raw.clone()?,
                dir: sources.dir_of(&file.name),
            };
            Some((name.clone(), Arc::new(sink)))
        });
        sinks.collect()
    }

    fn problems(
        &self,
        services: &[DeclaredService],
        credentials: &[DeclaredCredential],
        providers: &BTreeMap<String, RawProvider>,
    ) -> Vec<(Address, Problem)> {
        let limits = match &self.project {
            Some((Some(project), _)) => Some(Limits {
                min_interval: project.min_interval.unwrap_or(MIN_INTERVAL),
            }),
            Some((None, _)) | None => None,
        };
        let mut problems = Vec::new();
        let partial = self.torn || self.defaults_faulty;
        for service in services {
            let found = check::check(&service.raw, limits).into_iter();
            let faulty = self.services.get(&service.name);
            let faulty = faulty.map(|(read, _)| &read.faulty);
            let partial = partial || faulty.is_some_and(|keys| !keys.is_empty());
            // What is missing from a table may stand where the text could not be read.
            let found = found.filter(|problem| !(partial && problem.at.is_empty()));
            // A value may be sound beside what could not be read.
            let hangs = |problem: &Problem| {
                HANGING.iter().any(|(key, on)| {
                    let at = problem.at.strip_prefix(key);
                    at.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                        && faulty.is_some_and(|keys| keys.contains(*on))
                })
            };
            let found = found.filter(|problem| !hangs(problem));
            problems.extend(found.map(|problem| (service.address(), problem)));
            if !self.torn {
                let unlisted = self.unlisted(&service.on);
                problems.extend(unlisted.map(|problem| (service.address(), problem)));
                let unknown = self.unknown_sinks(service.raw.notify.as_deref());
                problems.extend(unknown.map(|problem| (service.address(), problem)));
                let uses = service.uses().into_iter();
                let lacking = self.lacking(&service.on, "service", uses, credentials);
                problems.extend(lacking.map(|problem| (service.address(), problem)));
            }
        }
        for credential in credentials.iter().filter(|_| !self.torn) {
            let unlisted = self.unlisted(&credential.on);
            problems.extend(unlisted.map(|problem| (credential.address(), problem)));
            let uses = credential.told_with().chain(credential.raw.uses());
            let lacking = self.lacking(&credential.on, "credential", uses, credentials);
            problems.extend(lacking.map(|problem| (credential.address(), problem)));
        }
        let read = self.credentials.iter().filter(|_| !self.torn);
        for (name, raw) in read.filter_map(|(name, (read, _))| Some((name, read.raw.as_ref()?))) {
            let faulty = (raw.provider.as_ref())
                .is_some_and(|name| matches!(self.providers.get(name), Some((None, _))));
            let wrong = token::provider(raw, providers).into_iter();
            let address = Address::new(Kind::Credential, name.clone());
            let own = |problem| (address.clone(), problem);
            let unknown = self.unknown_sinks(raw.notify.as_deref());
            problems.extend(unknown.map(own));
            problems.extend(wrong.filter(|_| !faulty).map(own));
            for (at, used) in raw.uses() {
                if used != name && self.credentials.contains_key(used) {
                    continue;
                }
                let known = self.credentials.keys().filter(|known| *known != name);
                let near = check::nearest(used.as_str(), known.map(ResourceName::as_str));
                let message = format!("there is no other `[credentials.{used}]`");
                problems.push(own(Problem::at(at, message).suggest(match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("add `[credentials.{used}]` with its value's source"),
                })));
            }
        }
        let edges: graph::Edges = (self.services.keys())
            .map(|name| {
                let own = services.binary_search_by(|service| service.name.cmp(name));
                let own = own.ok().and_then(|at| services.get(at));
                let edges = own.map_or_else(Vec::new, edges_of);
                (Address::new(Kind::Service, name.clone()), edges)
            })
            .chain(self.credentials.iter().map(|(name, (read, _))| {
                let address = Address::new(Kind::Credential, name.clone());
                let used = read.raw.iter().flat_map(RawCredential::uses);
                let used = used.filter(|(_, used)| {
                    // What is missing is said above.
                    *used != name && self.credentials.contains_key(*used)
                });
                let used = used.map(|(at, used)| graph::Edge {
                    to: Address::new(Kind::Credential, used.clone()),
                    at,
                    named: graph::Named::Name,
                });
                let declared = graph::depends_on(&read.depends_on);
                (address, declared.chain(used).collect())
            }))
            .collect();
        if !self.torn {
            problems.extend(graph::dangling(&edges));
        }
        let of = |kind| move |(name, problem)| (Address::new(kind, name), problem);
        problems.extend((rivals::twice(services).into_iter()).map(of(Kind::Service)));
        problems.extend((deliveries::twice(credentials).into_iter()).map(of(Kind::Credential)));
        problems.extend(graph::cycles(&edges));
        problems
    }

    fn unknown_sinks<'a>(
        &'a self,
        names: Option<&'a [ResourceName]>,
    ) -> impl Iterator<Item = Problem> + 'a {
        let names = names.into_iter().flatten().enumerate();
        names.filter_map(|(index, name)| {
            if self.notify.contains_key(name) {
                return None;
            }
            let message = format!("there is no `[notify.{name}]`");
            let problem = Problem::at(format!("/notify/{index}"), message);
            let known = self.notify.keys().map(ResourceName::as_str);
            Some(problem.suggest(match check::nearest(name.as_str(), known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("add `[notify.{name}]` with a `webhook` or a `command`"),
            }))
        })
    }

    /// What `[notify]` names and is not there, or is not wherever it is needed.
    fn check_sinks(&mut self, reconcile: Option<&Reconcile>, credentials: &[DeclaredCredential]) {
        if self.torn {
            return;
        }
        let mut findings = Vec::new();
        for (name, at) in &self.notify_credentials {
            if self.credentials.contains_key(name) {
                continue;
            }
            let known = self.credentials.keys().map(ResourceName::as_str);
            let near = check::nearest(name.as_str(), known);
            findings.push(Finding {
                message: format!("there is no `credential.{name}` in this spec"),
                suggestion: near.map(|near| format!("did you mean `{near}`?")),
                ..at.clone()
            });
        }
        // The timer of our own is on every host.
        for sink in reconcile.iter().flat_map(|own| &own.sinks) {
            let named = (sink.raw.webhook.as_ref()).and_then(RawUrl::credential);
            let places = self.notify_credentials.iter();
            let mut at = places.filter(|(name, _)| Some(name) == named);
            if let Some((name, at)) = at.next()
                && let Some(missing) = self.missing_on(name, &[], credentials)
            {
                findings.push(Finding {
                    message: format!(
                        "`[reconcile]` is on every host, and `credential.{name}` is not on {missing}"
                    ),
                    suggestion: Some("leave the credential's `on` out".to_owned()),
                    ..at.clone()
                });
            }
        }
        self.findings.extend(findings);
    }

    /// A host of those (none are all) on which a credential is not.
    fn missing_on<'a>(
        &'a self,
        name: &ResourceName,
        hosts: &'a [String],
        credentials: &[DeclaredCredential],
    ) -> Option<&'a str> {
        let own = credentials.binary_search_by(|one| one.name.cmp(name));
        let on = &credentials.get(own.ok()?)?.on;
        let all = self.hosts.keys().filter(|_| hosts.is_empty());
        let mut needed = all.chain(hosts);
        needed
            .find(|host| !on.is_empty() && !on.contains(host))
            .map(String::as_str)
    }

    /// The credentials that a resource uses and that are not on each of its hosts.
    fn lacking<'a>(
        &'a self,
        on: &'a [String],
        kind: &'a str,
        uses: impl Iterator<Item = (String, &'a ResourceName)> + 'a,
        credentials: &'a [DeclaredCredential],
    ) -> impl Iterator<Item = Problem> + 'a {
        uses.filter_map(move |(at, name)| {
            let host = self.missing_on(name, on, credentials)?;
            let message = format!("`credential.{name}` is not on {host}, which has this {kind}");
            let help = format!("add `{host}` to the credential's `on`, or leave that out");
            Some(Problem::at(at, message).suggest(help))
        })
    }

    fn unlisted<'a>(&'a self, on: &'a [String]) -> impl Iterator<Item = Problem> + 'a {
        on.iter().enumerate().filter_map(|(index, host)| {
            if self.hosts.contains_key(host) {
                return None;
            }
            let message = format!("`[hosts]` does not list `{host}`");
            let problem = Problem::at(format!("/on/{index}"), message);
            let near = check::nearest(host, self.hosts.keys().map(String::as_str));
            Some(problem.suggest(match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("add `[hosts.{host}]`"),
            }))
        })
    }
}

/// What a service needs, with where it says so.
fn edges_of(service: &DeclaredService) -> Vec<graph::Edge> {
    let named = service.raw.depends_on.as_deref().unwrap_or_default();
    let uses = service.uses().into_iter().map(|(at, name)| graph::Edge {
        to: Address::new(Kind::Credential, name.clone()),
        named: if at.starts_with("/notify/") {
            graph::Named::Through
        } else {
            graph::Named::Name
        },
        at,
    });
    graph::depends_on(named).chain(uses).collect()
}
