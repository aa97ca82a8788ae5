//! The spec: TOML files in git, read whole, checked whole, and reported on whole.
//!
//! Files are read and parsed one by one, since a parsed file takes forty times its size. Each is
//! walked once against the JSON Schema, then every resource becomes its own type. Spans are looked
//! up again only where something is wrong.

pub mod absent;
mod bounds;
mod file;
pub mod finding;
mod graph;
mod load;
mod locate;
mod node;
pub mod raw;
mod rivals;
pub mod schema;
pub mod source;
mod template;
mod walk;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

pub use load::load;
pub use schema::json_schema;
pub use source::Request;
pub use template::template;

use crate::{
    credential::spec::DeclaredCredential,
    effect::disk::Disk,
    error::{Code, Error, Result},
    id::{Address, Digest, ProjectName, Seconds},
    resource::Declared,
    service::spec::{DeclaredService, Problem, sink::DeclaredSink},
};

/// The name of our own timer, which no service may have.
pub const RECONCILE: &str = "reconcile";

/// The timer of our own that mends between applies.
#[derive(Debug, Clone)]
pub struct Reconcile {
    /// How often, in seconds; not under the guard rail.
    pub every: Seconds,
    /// What it may do.
    pub allow: Vec<raw::RawAllowed>,
    /// The sinks of `[defaults.services]`: who hears of what needs a person.
    pub sinks: Vec<Arc<DeclaredSink>>,
    /// Where it is declared.
    pub declared: Declared,
}

/// A spec without a fault, as far as that can be told without a host.
#[derive(Debug)]
pub struct Spec {
    /// The project.
    pub project: ProjectName,
    /// The versions of lorectl that it is for; this one is among them.
    pub requirement: Option<raw::Requirement>,
    /// The shortest `every`.
    pub min_interval: Seconds,
    /// The hosts that it lists; `None` is any host.
    pub hosts: Option<BTreeSet<String>>,
    /// The reconciling timer, on every host.
    pub reconcile: Option<Reconcile>,
    /// The credentials of all hosts, ordered by name.
    pub credentials: Vec<DeclaredCredential>,
    /// The services of all hosts, ordered by name.
    pub services: Vec<DeclaredService>,
    /// The files, relative to the root, in order; `-` is standard input.
    pub files: Vec<Arc<str>>,
    /// SHA-256 over the names and bytes of the files.
    pub digest: Digest,
    /// The absolute directory of the files: the deepest that holds them all.
    pub root: PathBuf,
    sources: source::Sources,
    /// Where each key of `[defaults.services]` stands: the index of its file.
    defaults: std::collections::BTreeMap<String, usize>,
}

/// The resources of one kind in a spec, as one host sees them.
#[derive(Debug)]
pub struct Selection<'a, T> {
    /// Those that the host has.
    pub here: Vec<&'a T>,
    /// Those that only others have. They may be gone from here, but were not removed.
    pub elsewhere: Vec<&'a T>,
}

impl<'a, T> Selection<'a, T> {
    fn of(all: &'a [T], listed: Option<&str>, on: impl Fn(&T) -> &Vec<String>) -> Self {
        let (here, elsewhere) = all.iter().partition(|one| {
            let hosts = on(one);
            hosts.is_empty() || listed.is_some_and(|listed| hosts.iter().any(|on| on == listed))
        });
        Self { here, elsewhere }
    }
}

impl Spec {
    /// The services of a host, by its name. A host listed without its domain is found by its first label.
    ///
    /// # Errors
    /// `HOST_UNKNOWN`, where the spec lists hosts and this is none of them.
    pub fn services_for(&self, host: &str) -> Result<Selection<'_, DeclaredService>> {
        let listed = self.listed(host)?;
        Ok(Selection::of(&self.services, listed, |one| &one.on))
    }

    /// The credentials of a host, as [`Spec::services_for`].
    ///
    /// # Errors
    /// `HOST_UNKNOWN`, where the spec lists hosts and this is none of them.
    pub fn credentials_for(&self, host: &str) -> Result<Selection<'_, DeclaredCredential>> {
        let listed = self.listed(host)?;
        Ok(Selection::of(&self.credentials, listed, |one| &one.on))
    }

    /// The name under which `[hosts]` lists a host; `None` where there are no `[hosts]`.
    fn listed(&self, host: &str) -> Result<Option<&str>> {
        let Some(hosts) = &self.hosts else {
            return Ok(None);
        };
        let short = host.split('.').next().unwrap_or(host);
        let same = |name: &str| {
            hosts
                .iter()
                .find(|listed| listed.eq_ignore_ascii_case(name))
        };
        if let Some(listed) = same(host).or_else(|| same(short)) {
            return Ok(Some(listed));
        }
        let names: Vec<&str> = hosts.iter().take(8).map(String::as_str).collect();
        Err(Error::new(
            Code::HostUnknown,
            format!(
                "`[hosts]` does not list this host, {}; it lists {}{}",
                finding::printable(host),
                names.join(", "),
                if hosts.len() > names.len() {
                    " …"
                } else {
                    ""
                }
            ),
        )
        .suggest(format!(
            "add `[hosts.{}]` to the spec",
            finding::printable(short)
        )))
    }

    /// The absolute directory of a file of the spec, as resources name the one that declares them.
    pub fn dir_of(&self, file: &str) -> PathBuf {
        self.sources.dir_of(file)
    }

    /// Problems with resources as one error, each with its place in its file.
    ///
    /// The files are read again for it; where they changed meanwhile, the resource's line is named.
    pub fn report(&self, problems: &[(Address, Declared, Problem)], disk: &dyn Disk) -> Error {
        let index_of = |name: &str| self.files.iter().position(|file| &**file == name);
        let located: Vec<locate::Located<'_>> = (problems.iter())
            .filter_map(|(address, declared, problem)| {
                Some(locate::Located {
                    file: index_of(&declared.file)?,
                    address,
                    line: declared.line,
                    problem,
                })
            })
            .collect();
        let findings = locate::locate(&self.sources, &self.defaults, &located, disk);
        finding::to_error(findings, 0)
            .unwrap_or_else(|| Error::new(Code::Internal, "nothing is wrong with the spec"))
    }
}

#[cfg(test)]
mod tests;
