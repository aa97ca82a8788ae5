//! What the spec's author asked of a credential, with every choice made. It holds no secret: of the
//! source it says where it is, and of a delivery where it goes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    id::{BackendId, ProjectName, ResourceId, ResourceName, Seconds, Timestamp},
    notify::sink::Sink,
    resource::Owner,
    service::definition::fill_in_sinks,
};

use super::{mint::Issuer, provider::Provider};

/// How long an old value lives beside the new one, where the spec does not say.
const GRACE: Seconds = Seconds(3600);

/// The one backend of the kind.
pub const STORE: BackendId = BackendId::from_static("store");

/// A credential as it is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Its project.
    pub project: ProjectName,
    /// Its name.
    pub name: ResourceName,
    /// Its mark.
    pub id: ResourceId,
    /// The provider that tells what it is worth; `None` for one that nobody can be asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The provider's table, where the spec declares it or changes one that is built in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Box<Provider>>,
    /// Where the provider is asked; `None` is where the provider itself says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Certificates that the provider is trusted by, beside those of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// What the provider is asked with beside the value, by the names of its table.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<String, With>,
    /// Where the value comes from.
    pub source: Source,
    /// Who makes new values, where someone does: the one that a minted value comes from, or the issuer of a
    /// token that rotates itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Issuer>,
    /// The credential that such a request is signed with; `None` is this one itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_with: Option<ResourceName>,
    /// What it must be able to do.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub scopes: BTreeSet<String>,
    /// When its end is warned of.
    pub warn: Seconds,
    /// When it ends, where the spec says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// How it is replaced in time.
    #[serde(default, skip_serializing_if = "Rotate::is_default")]
    pub rotate: Rotate,
    /// How it is kept.
    #[serde(default, skip_serializing_if = "StoreKind::is_default")]
    pub store: StoreKind,
    /// Where it is delivered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deliver: Vec<Delivery>,
    /// Who hears of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<Sink>,
}

/// What a provider is asked with beside the value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum With {
    /// A text that is no secret.
    Text(String),
    /// The value of another credential.
    Credential(ResourceName),
}

impl std::fmt::Display for With {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Credential(name) => write!(f, "credential.{name}"),
        }
    }
}

/// How a credential is replaced before it ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotate {
    /// How long before its end; `None` leaves a fifth of its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Seconds>,
    /// The life that is asked for; `None` is what the issuer gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Seconds>,
    /// How long the old one still lives beside the new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<Seconds>,
}

impl Rotate {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A variable of whoever applies.
    Env(String),
    /// A file that only its owner and perhaps a group may read.
    File(PathBuf),
    /// A command that prints it, or an object with it as `exec` credential plugins do.
    Command {
        /// The argument vector, its program absolute.
        argv: Vec<String>,
        /// How long it may take.
        timeout: Seconds,
        /// Where it starts.
        dir: PathBuf,
    },
    /// A credential of systemd's, by its name.
    Systemd(String),
    /// Its issuer, which makes one.
    Minted,
}

impl Source {
    /// Whether it can be asked for another value whenever one is needed, even if the one in use is dead.
    pub const fn renews(&self) -> bool {
        match self {
            Self::Command { .. } | Self::Minted => true,
            Self::Env(_) | Self::File(_) | Self::Systemd(_) => false,
        }
    }

    /// In words, for a reader.
    pub fn told(&self) -> String {
        match self {
            Self::Env(name) => format!("the variable {name}"),
            Self::File(path) => format!("the file {}", path.display()),
            Self::Command { argv, .. } => {
                format!("the command {}", crate::service::plan::argv(argv))
            }
            Self::Systemd(name) => format!("systemd's credential {name}"),
            Self::Minted => "its issuer".to_owned(),
        }
    }
}

impl Credential {
    /// Whether another value can be had in time.
    pub const fn renews(&self) -> bool {
        self.source.renews() || self.issuer.is_some()
    }

    /// Whether another value can be had for a run, without an apply: its source gives one whenever it is
    /// asked, and the old one lives on.
    pub fn renews_for_runs(&self) -> bool {
        let both_live = self.issuer.as_ref().is_none_or(Issuer::both_live);
        self.source.renews() && both_live
    }

    /// Takes what only its host knows from what was applied there: who a file belongs to, and where a
    /// command is, as far as both are written alike.
    pub fn fill_in(&mut self, applied: &Self) {
        let unknown = crate::service::desired::KNOWN_AT_APPLY;
        for one in &mut self.deliver {
            let was = applied.deliver.iter().find(|was| was.to == one.to);
            if let (Some(owner), Some(Some(was))) = (&mut one.owner, was.map(|was| was.owner)) {
                if owner.uid == unknown.uid {
                    owner.uid = was.uid;
                }
                if owner.gid == unknown.gid {
                    owner.gid = was.gid;
                }
            }
        }
        fill_in_sinks(&mut self.notify, &applied.notify);
        if let (
            Source::Command { argv, timeout, .. },
            Source::Command {
                argv: was,
                timeout: limit,
                ..
            },
        ) = (&self.source, &applied.source)
        {
            let name = |argv: &[String]| {
                let program = argv.first().map(String::as_str).unwrap_or_default();
                program.rsplit(['/', ':']).next().map(ToOwned::to_owned)
            };
            let same = name(argv) == name(was) && argv.get(1..) == was.get(1..);
            if same && timeout == limit {
                self.source = applied.source.clone();
            }
        }
    }

    /// The credentials whose values its provider is asked with.
    pub fn others(&self) -> impl Iterator<Item = &ResourceName> {
        self.with.values().filter_map(|with| match with {
            With::Text(_) => None,
            With::Credential(name) => Some(name),
        })
    }

    /// How long an old value lives beside the new one.
    pub fn grace(&self) -> Seconds {
        self.rotate.grace.unwrap_or(GRACE)
    }

    /// What its issuer notes of the value of that number, to find it by again.
    pub fn mark(&self, generation: u64) -> String {
        format!("lorectl {} {} {generation}", self.project, self.id)
    }
}

/// How a value is kept in the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// In a file of whoever applies, 0600.
    #[default]
    File,
    /// Encrypted for this host by systemd-creds.
    SystemdCreds,
}

impl StoreKind {
    /// As the spec says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::SystemdCreds => "systemd-creds",
        }
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde calls it with a reference"
    )]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// One place to which a value is delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The place.
    pub to: Target,
    /// Owner and group of the file; `None` leaves those of an env file that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Permission bits of the file; `None` leaves those of an env file that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// The unit that is reloaded after the value has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<String>,
}

/// A place that holds a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A file that holds it and nothing else.
    File(PathBuf),
    /// One line of a file of variables.
    EnvFile {
        /// The file.
        path: PathBuf,
        /// The variable.
        name: String,
    },
}

impl Target {
    /// The file that is written.
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::EnvFile { path, .. } => path,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::EnvFile { path, name } => write!(f, "{}#{name}", path.display()),
        }
    }
}
