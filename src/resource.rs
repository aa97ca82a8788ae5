//! The shared words: what is desired, what was applied, what is observed, and
//! the plan that leads from one to the other.
//!
//! A resource on a host is an [`Image`]: a set of named parts (files, flags,
//! texts). All three states are images, so that one comparison serves all
//! kinds; what a part means, and how it is shown, is its kind's affair.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, value::RawValue};
use smol_str::SmolStr;

use crate::{
    error::Code,
    id::{Address, BackendId, Digest, Lineage, ProjectName, ResourceId, Seconds, Timestamp},
};

/// The name of one part of an image, as `service`, `run.json`, `enabled`, `drop-in/timer/50-x.conf`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartName(SmolStr);

impl PartName {
    /// A name known at compile time.
    pub const fn from_static(text: &'static str) -> Self {
        Self(SmolStr::new_static(text))
    }

    /// A name made at run time.
    pub fn from_text(text: String) -> Self {
        Self(text.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who owns a file: numeric, since names are looked up once, when the spec is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
}

/// A file of an image. Two files are equal when content, mode and owner are; carried bytes do not count.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct File {
    /// SHA-256 of the content.
    pub digest: Digest,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: Owner,
    /// The content, where it is needed: to write it, to show a difference, to put it back.
    #[serde(skip)]
    pub bytes: Option<Arc<[u8]>>,
}

impl PartialEq for File {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.mode == other.mode && self.owner == other.owner
    }
}
impl Eq for File {}

impl File {
    /// A file with its content.
    pub fn new(bytes: impl Into<Arc<[u8]>>, mode: u32, owner: Owner) -> Self {
        let bytes = bytes.into();
        Self {
            digest: Digest::of(&bytes),
            mode,
            owner,
            bytes: Some(bytes),
        }
    }
}

/// One part of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// A file.
    File(File),
    /// Something that is on or off: enabled, active.
    Flag(bool),
    /// A short text: a symbolic link's target, a load state.
    Text(String),
}

/// A resource as its parts, ordered by name.
///
/// A part that is missing is absent from the host; `Flag(false)` and a missing flag differ only in
/// that the latter was not asked for. Clones share their parts until one of them changes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Image(Arc<Vec<(PartName, Part)>>);

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}
impl Eq for Image {}

impl Image {
    /// An image without parts.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The part of that name.
    pub fn get(&self, name: &str) -> Option<&Part> {
        self.0
            .binary_search_by(|(n, _)| n.as_str().cmp(name))
            .ok()
            .map(|at| &self.0[at].1)
    }

    /// The file of that name, if the part is one.
    pub fn file(&self, name: &str) -> Option<&File> {
        match self.get(name) {
            Some(Part::File(file)) => Some(file),
            Some(Part::Flag(_) | Part::Text(_)) | None => None,
        }
    }

    /// Whether the flag of that name is there and set.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Part::Flag(true)))
    }

    /// Adds or replaces a part.
    pub fn set(&mut self, name: PartName, part: Part) {
        match self.0.binary_search_by(|(n, _)| n.cmp(&name)) {
            Ok(at) => Arc::make_mut(&mut self.0)[at].1 = part,
            Err(at) => Arc::make_mut(&mut self.0).insert(at, (name, part)),
        }
    }

    /// Takes a part out.
    pub fn remove(&mut self, name: &str) -> Option<Part> {
        let at = self
            .0
            .binary_search_by(|(n, _)| n.as_str().cmp(name))
            .ok()?;
        Some(Arc::make_mut(&mut self.0).remove(at).1)
    }

    /// The parts in order.
    pub fn iter(&self) -> impl Iterator<Item = (&PartName, &Part)> {
        self.0.iter().map(|(name, part)| (name, part))
    }

    /// Whether there is no part at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a file of it has its bytes.
    pub fn has_bytes(&self) -> bool {
        self.iter().any(|(_, part)| match part {
            Part::File(file) => file.bytes.is_some(),
            Part::Flag(_) | Part::Text(_) => false,
        })
    }

    /// The same image without the bytes of its files, to be kept where only digests are wanted.
    #[must_use]
    pub fn without_bytes(&self) -> Self {
        let mut image = self.clone();
        if self.has_bytes() {
            for (_, part) in Arc::make_mut(&mut image.0) {
                if let Part::File(file) = part {
                    file.bytes = None;
                }
            }
        }
        image
    }

    /// The names of the parts in which two images differ, in order.
    pub fn differences<'a>(&'a self, other: &'a Self) -> Vec<&'a PartName> {
        let mut names: Vec<&PartName> = Vec::new();
        if Arc::ptr_eq(&self.0, &other.0) {
            return names;
        }
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        loop {
            let order = match (a.peek(), b.peek()) {
                (None, None) => return names,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((x, _)), Some((y, _))) => x.cmp(y),
            };
            match order {
                std::cmp::Ordering::Less => names.extend(a.next().map(|(n, _)| n)),
                std::cmp::Ordering::Greater => names.extend(b.next().map(|(n, _)| n)),
                std::cmp::Ordering::Equal => {
                    if let (Some((name, x)), Some((_, y))) = (a.next(), b.next())
                        && x != y
                    {
                        names.push(name);
                    }
                }
            }
        }
    }
}

impl FromIterator<(PartName, Part)> for Image {
    fn from_iter<T: IntoIterator<Item = (PartName, Part)>>(parts: T) -> Self {
        let mut image = Self::empty();
        for (name, part) in parts {
            image.set(name, part);
        }
        image
    }
}

/// A resource's definition as its kind wrote it: canonical JSON without a secret.
///
/// The engine compares and stores it; only the kind reads it.
#[derive(Debug, Clone)]
pub struct Definition(Arc<RawValue>);

impl Definition {
    /// Canonical JSON of a kind's own struct, whose fields have one order.
    pub fn of<T: Serialize>(definition: &T) -> crate::error::Result<Self> {
        serde_json::value::to_raw_value(definition)
            .map(|json| Self(json.into()))
            .map_err(|error| {
                crate::error::Error::new(Code::Internal, "a definition cannot be written as JSON")
                    .because(error)
            })
    }

    /// The kind's own struct.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> crate::error::Result<T> {
        serde_json::from_str(self.0.get()).map_err(|error| {
            crate::error::Error::new(
                Code::StateCorrupt,
                "a definition in the state is not what this version writes",
            )
            .because(error)
        })
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        self.0.get()
    }
}

impl Serialize for Definition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Definition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self(json.into()))
    }
}

impl PartialEq for Definition {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.get() == other.0.get()
    }
}
impl Eq for Definition {}

/// Values as a plan's document shows them. Objects have their keys in order, so that equal values are
/// equal texts; as a tree they would take ten times as much, for each of many thousand resources.
#[derive(Debug, Clone)]
pub struct Values(Box<RawValue>);

impl Values {
    /// The same as a tree, for a closer look.
    pub fn tree(&self) -> Value {
        serde_json::from_str(self.0.get()).unwrap_or_default()
    }
}

impl From<Value> for Values {
    fn from(value: Value) -> Self {
        // A tree has only keys that are texts, and no number that JSON lacks: it can always be written.
        Self(serde_json::value::to_raw_value(&value).unwrap_or_default())
    }
}

/// Nothing is there: `null`.
impl Default for Values {
    fn default() -> Self {
        Value::Null.into()
    }
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}
impl Eq for Values {}

/// Where in the spec a resource is declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    /// The file, relative to the spec's root.
    pub file: Arc<str>,
    /// The line of its table, counted from 1.
    pub line: u32,
}

/// What any resource may say, whatever its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// What must be there before it, and go after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Address>,
    /// Not destroyed and not replaced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protect: bool,
    /// Parts whose drift is left alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore_drift: Vec<String>,
}

/// One resource as the spec wants it on this host, with every choice made.
#[derive(Debug, Clone)]
pub struct Desired {
    /// Its address.
    pub address: Address,
    /// The mark it will carry.
    pub id: ResourceId,
    /// Where it goes.
    pub backend: BackendId,
    /// What the kind made of the spec.
    pub definition: Definition,
    /// What the host must hold. Files carry no bytes here; the kind renders them for what changes.
    pub image: Image,
    /// What made the image of the definition, and of what else, where the kind says so: the same
    /// definition and the same of this give the same image.
    pub renderer: Option<Digest>,
    /// What any resource may say.
    pub meta: Meta,
    /// Where it was declared.
    pub declared: Declared,
    /// What the user should know whenever it is planned (no lingering, no live worker).
    pub warnings: Vec<String>,
}

/// One resource as it was last applied: a record of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The mark it carries.
    pub id: ResourceId,
    /// Where it is.
    pub backend: BackendId,
    /// What the kind had made of the spec.
    pub definition: Definition,
    /// What was written to the host; no bytes.
    pub image: Image,
    /// What made the image of the definition, where it is just what was made, so that it need not be made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renderer: Option<Digest>,
    /// What any resource may say.
    #[serde(default)]
    pub meta: Meta,
    /// The spec file that declared it, for the guard against a file set that lacks one.
    pub declared_in: Arc<str>,
    /// When it was created, UTC.
    pub created_at: Timestamp,
}

/// One resource as it is on the host. Absent is no entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Seen {
    /// It carries our mark and id.
    Ours(Found),
    /// The name is taken by something without our mark, or with another id.
    Foreign {
        /// What stands there, for the user.
        reason: String,
    },
    /// It could not be told. Never taken for gone.
    Unknown {
        /// Why not.
        reason: String,
        /// What helps, where that is known; older builds had it in the reason, after a semicolon.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        help: Option<String>,
        /// The error that a command ends with when this stops it.
        code: UnknownCode,
    },
}

/// Why a backend could not be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownCode {
    /// It does not answer.
    BackendUnavailable,
    /// The user has no manager.
    UserManagerMissing,
    /// The rights do not suffice.
    NotPermitted,
    /// What lorectl keeps of it cannot be read.
    StateCorrupt,
}

impl UnknownCode {
    /// The error code of the same meaning.
    pub const fn code(self) -> Code {
        match self {
            Self::BackendUnavailable => Code::BackendUnavailable,
            Self::UserManagerMissing => Code::UserManagerMissing,
            Self::NotPermitted => Code::NotPermitted,
            Self::StateCorrupt => Code::StateCorrupt,
        }
    }
}

/// What is there of one resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its parts. A file carries its bytes where they are neither the applied nor the desired ones.
    pub image: Image,
    /// What is there, is not ours and is left alone, but that the user should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Since when a run of it is under way, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_since: Option<Timestamp>,
    /// From when its schedule counts (its last scheduled start, else its creation), where it was looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts_from: Option<Timestamp>,
    /// What is at the paths of the programs that were pinned when it was applied; `None` for one that is
    /// gone or cannot be read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub programs: BTreeMap<String, Option<Digest>>,
    /// What else its kind has found, for itself to read: JSON without a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Box<Value>>,
}

/// Something on the host that carries the project's mark and is in neither spec nor state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stray {
    /// What it is called there (a unit name).
    pub name: String,
    /// The address its name stands for, where it can be told.
    pub address: Option<Address>,
    /// The id in its mark.
    pub id: ResourceId,
    /// Where it was found.
    pub backend: BackendId,
}

/// The host as it is, for one project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// By address. What is absent has no entry.
    pub resources: BTreeMap<Address, Seen>,
    /// What carries our mark and is asked for by nobody.
    pub strays: Vec<Stray>,
}

/// What to observe, and which contents are known already.
#[derive(Debug, Clone)]
pub struct Scope<'a> {
    /// The project whose names are looked at.
    pub project: &'a ProjectName,
    /// The resources to look at, each on its own backend.
    pub entries: Vec<ScopeEntry<'a>>,
    /// Whether every file is wanted with its bytes (before it is changed), or only the unknown ones.
    pub all_bytes: bool,
}

/// One resource of a [`Scope`].
#[derive(Debug, Clone)]
pub struct ScopeEntry<'a> {
    /// Its address.
    pub address: &'a Address,
    /// The mark that makes it ours.
    pub id: &'a ResourceId,
    /// Where to look.
    pub backend: &'a BackendId,
    /// What the kind needs to find it (a user's name, a socket).
    pub definition: &'a Definition,
    /// Images whose files need no bytes: a file equal to the one in each of these is known.
    pub known: Vec<&'a Image>,
}

/// What is done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Nothing.
    NoOp,
    /// Made.
    Create,
    /// Changed in place.
    Update,
    /// Deleted and made anew.
    Replace,
    /// Deleted.
    Delete,
    /// Taken into the state as it is.
    Adopt,
    /// Dropped from the state; the host is not touched.
    Forget,
}

impl Action {
    /// As the plan document writes it, in Terraform's manner.
    pub const fn words(self) -> &'static [&'static str] {
        match self {
            Self::NoOp => &["no-op"],
            Self::Create => &["create"],
            Self::Update => &["update"],
            Self::Replace => &["delete", "create"],
            Self::Delete => &["delete"],
            Self::Adopt => &["adopt"],
            Self::Forget => &["forget"],
        }
    }

    /// The action of such words.
    pub fn from_words(words: &[&str]) -> Option<Self> {
        [
            Self::NoOp,
            Self::Create,
            Self::Update,
            Self::Replace,
            Self::Delete,
            Self::Adopt,
            Self::Forget,
        ]
        .into_iter()
        .find(|action| action.words() == words)
    }

    /// The mark in front of a resource in a printed plan.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::NoOp => " ",
            Self::Create => "+",
            Self::Update => "~",
            Self::Replace => "±",
            Self::Delete => "-",
            Self::Adopt => ">",
            Self::Forget => "<",
        }
    }

    /// Whether something that is there goes away.
    pub const fn destroys(self) -> bool {
        match self {
            Self::Replace | Self::Delete => true,
            Self::NoOp | Self::Create | Self::Update | Self::Adopt | Self::Forget => false,
        }
    }
}

impl Serialize for Action {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.words())
    }
}

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let words = Vec::<String>::deserialize(d)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Self::from_words(&words)
            .ok_or_else(|| serde::de::Error::custom(format!("{words:?} is no action")))
    }
}

/// Why a change is in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The spec says something else than what was applied.
    Spec,
    /// The host holds something else than what was applied.
    Drift,
    /// Its time has come (a rotation, a rollout).
    Schedule,
    /// This version of lorectl writes the same spec differently.
    Version,
    /// `destroy` asks for it.
    Destroy,
}

impl Cause {
    /// The word in a printed plan.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spec => "spec",
            Self::Drift => "drift",
            Self::Schedule => "schedule",
            Self::Version => "version",
            Self::Destroy => "destroy",
        }
    }
}

/// Why this action and no other, or why none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionReason {
    /// Host, state and spec agree.
    UpToDate,
    /// It is new in the spec.
    NewInSpec,
    /// It was applied and is gone from the host.
    GoneFromHost,
    /// The host differs from what was applied.
    Drifted,
    /// The spec differs from what was applied.
    SpecChanged,
    /// Only what the state records differs (`protect`, `depends_on`); the host is not touched.
    RecordChanged,
    /// The spec no longer has it.
    RemovedFromSpec,
    /// The spec has it for other hosts.
    NotForThisHost,
    /// Its source holds another value than it did.
    SourceChanged,
    /// A new value is due.
    RenewalDue,
    /// Someone asked for a new value.
    RenewalAsked,
    /// A new value is due, and the next run that needs it has it renewed.
    AtRest,
    /// It moves to another backend.
    BackendChanged,
    /// It is on the host with our mark and not in the state.
    FoundOnHost,
    /// It is in the state, not in the spec, and already gone from the host.
    AlreadyGone,
    /// `--target` leaves it out.
    NotTargeted,
    /// It drifted, and the plan file that approves the rest does not have it.
    NotApproved,
    /// All that differs is under `ignore_drift`.
    DriftIgnored,
    /// `destroy` asks for it.
    Destroy,
    /// Something holds it for now; see the plan's holds.
    Held,
    /// It may not be done; see the plan's refusals.
    Refused,
}

/// At which level something drifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Loaded, enabled, active, drop-ins.
    Platform,
    /// The bytes of what defines it.
    Definition,
    /// What it runs.
    Command,
}

impl Level {
    /// The word in a printed list.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Definition => "definition",
            Self::Command => "command",
        }
    }
}

/// One field that drifted: applied against observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftField {
    /// At which level.
    pub level: Level,
    /// Which field, as `enabled`, `service [Service] ExecStart`, `drop-in timer/50-x.conf`.
    pub field: String,
    /// What was applied, where it can be shown.
    pub applied: Option<String>,
    /// What is there, where it can be shown; bytes of others appear by key name only.
    pub observed: Option<String>,
    /// Left alone, because the resource's `ignore_drift` names its part.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignored: bool,
}

/// One resource that drifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// Its address.
    pub address: Address,
    /// What drifted.
    pub fields: Vec<DriftField>,
    /// What is there and is left alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Drift {
    /// The field that stands for a resource of which nothing of ours is there.
    pub const WHOLE: &str = "all of it";
    /// What is found where nothing is.
    pub const GONE: &str = "gone";
    /// How the fields of pinned programs begin.
    pub const PROGRAM: &str = "program ";

    /// Whether a pinned program is not the one that was applied: to apply takes in what is there.
    pub fn has_other_program(&self) -> bool {
        let mut fields = self.fields.iter();
        fields.any(|field| !field.ignored && field.field.starts_with(Self::PROGRAM))
    }

    /// Whether something that is not ours stands in its place: no apply touches that.
    pub fn is_in_conflict(&self) -> bool {
        let mut fields = self.fields.iter();
        fields.any(|field| {
            field.field == Self::WHOLE && field.observed.as_deref() != Some(Self::GONE)
        })
    }
}

/// One line of a change: a field before and after, in the kind's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// The field, as the spec names it.
    pub field: String,
    /// Its value before, if there was one.
    pub before: Option<String>,
    /// Its value after, if there will be one.
    pub after: Option<String>,
}

/// A file before and after, both ours, for a unified diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// What the file is called on the host.
    pub path: String,
    /// What was applied; `None` when it is new.
    pub before: Option<Arc<str>>,
    /// What will be written; `None` when it goes.
    pub after: Option<Arc<str>>,
}

/// How much of what runs a step disturbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Disruption {
    /// Nothing.
    None,
    /// Traffic moves without a lost request.
    Hitless,
    /// A daemon reloads.
    Reload,
    /// Something restarts.
    Restart,
}

/// How a step is undone. Decided in the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Undo {
    /// By another verb of the same backend.
    Verb {
        /// The verb.
        verb: Verb,
    },
    /// By putting back the parts that were there before, byte for byte.
    RestoreBefore,
    /// By putting back a stored generation.
    RestoreGeneration {
        /// Which.
        generation: u64,
    },
    /// Not at all: the step is a pivot, and what follows it rolls forward.
    Never {
        /// Why not.
        reason: String,
    },
}

/// What a backend is asked to do, in the backend's words (`install`, `update`, `remove`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Verb(Cow<'static, str>);

impl Verb {
    /// A verb known at compile time.
    pub const fn from_static(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// The verb as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A step's number within its plan, from 1 in the order in which steps may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub u32);

/// One thing to be done, once, by one backend.
///
/// It names the parts that are there before and after, so that a precondition, a read-back and an
/// undo are the same comparison with other images.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its number.
    pub id: StepId,
    /// Whose step it is.
    pub address: Address,
    /// The mark of the resource.
    pub resource: ResourceId,
    /// Who does it.
    pub backend: BackendId,
    /// What is done.
    pub verb: Verb,
    /// Steps that must be done before.
    pub depends_on: Vec<StepId>,
    /// What it disturbs.
    pub disruption: Disruption,
    /// How it is undone.
    pub undo: Undo,
    /// What must be there when it begins; `None` is nothing at all. No bytes.
    pub before: Option<Image>,
    /// What is there when it is done, with the bytes to write; `None` is nothing at all.
    pub after: Option<Image>,
    /// The definition that `after` (or for a removal, `before`) was made from.
    pub definition: Definition,
    /// The longest that it may have to wait for a run in flight.
    pub patience: Seconds,
}

/// One resource's place in the plan.
#[derive(Debug, Clone)]
pub struct Change {
    /// Its address.
    pub address: Address,
    /// What is done.
    pub action: Action,
    /// Why, for what is done at all.
    pub cause: Option<Cause>,
    /// Why this action, or why none.
    pub reason: ActionReason,
    /// The values before, as the document shows them; `null` is absent.
    pub before: Values,
    /// The values after; `null` is absent. Equal values mean an equal change, for an approval.
    pub after: Values,
    /// The fields that change, for a reader.
    pub fields: Vec<FieldChange>,
    /// The files that change, for a reader.
    pub files: Vec<FileChange>,
    /// What the reader should know: what is interrupted, what is left alone.
    pub notes: Vec<String>,
    /// The record that the state gets when the change is done; `None` takes it out, or leaves it
    /// where nothing is done.
    pub record: Option<Applied>,
}

impl Change {
    /// The record that there is when the change is done, of a resource that was applied as `applied`.
    pub fn record_after<'a>(&'a self, applied: Option<&'a Applied>) -> Option<&'a Applied> {
        match self.action {
            Action::NoOp => applied,
            Action::Create
            | Action::Update
            | Action::Replace
            | Action::Delete
            | Action::Adopt
            | Action::Forget => self.record.as_ref(),
        }
    }
}

/// Who or what lifts a hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "lifted")]
pub enum Lift {
    /// It lifts at an instant.
    At {
        /// When, UTC.
        at: Timestamp,
    },
    /// It lifts when something that will end has ended.
    Later {
        /// What.
        what: String,
    },
    /// A person lifts it.
    ByHand {
        /// The command or act that does.
        how: String,
    },
}

/// Something that would be done and is not, for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// What is held.
    pub address: Address,
    /// Why.
    pub reason: String,
    /// What lifts it.
    #[serde(flatten)]
    pub lift: Lift,
    /// The code that a command ends with when holds leave nothing to do, where the reason has one.
    #[serde(skip)]
    pub code: Option<Code>,
}

/// A reason for which the plan may be looked at but not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code, and so the exit status.
    pub code: Code,
    /// Whom it is about, if it is about one.
    pub address: Option<Address>,
    /// What is refused and why.
    pub message: String,
    /// What helps.
    pub suggestion: Option<String>,
}

/// Which project, on which host, in which state: what a plan is a plan of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The project.
    pub project: ProjectName,
    /// The host's name.
    pub host: String,
    /// The lineage of its state.
    pub lineage: Lineage,
    /// The serial of the state that was read.
    pub serial: u64,
    /// The digest of the spec's files; `None` for a command that reads none.
    pub spec_digest: Option<Digest>,
    /// When the host was looked at, UTC, where a snapshot tells of it; `None` when the plan looked itself.
    pub observed_at: Option<Timestamp>,
}

/// The ordered set of changes, with every choice, inverse and refusal made.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What it is a plan of.
    pub subject: Subject,
    /// When it was made, UTC.
    pub created_at: Timestamp,
    /// Every resource of spec and state, ordered by address.
    pub changes: Vec<Change>,
    /// What changed on the host since the last apply.
    pub drift: Vec<Drift>,
    /// What is to be done, in an order in which it may be done.
    pub steps: Vec<Step>,
    /// For each resource with steps, the number of its group: the changed resources that are
    /// connected by `depends_on`, in whichever direction. A failure undoes its group and no other.
    pub groups: BTreeMap<Address, u32>,
    /// What is not done for now.
    pub holds: Vec<Hold>,
    /// Why it may not be applied; empty when it may.
    pub refusals: Vec<Refusal>,
    /// What the reader should know.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Whether anything would be done, on the host or in the state.
    pub fn has_changes(&self) -> bool {
        self.changes.iter().any(|c| c.action != Action::NoOp)
    }

    /// How many resources have that action.
    pub fn count(&self, action: Action) -> usize {
        self.changes.iter().filter(|c| c.action == action).count()
    }

    /// The change of that address.
    pub fn change(&self, address: &Address) -> Option<&Change> {
        self.changes
            .binary_search_by(|change| change.address.cmp(address))
            .ok()
            .map(|at| &self.changes[at])
    }
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Outcome {
    /// Done.
    Done,
    /// Not done; the backend put back what it had begun, where it could.
    Failed {
        /// What happened.
        message: String,
        /// What it could not put back and no image shows, each in a sentence: an undo that finds the
        /// parts as they were must not call that done.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left: Vec<String>,
    },
    /// Not done, because something that will end is in the way.
    Held {
        /// What.
        reason: String,
        /// The instant that lifts it, UTC, where one does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// It cannot be told whether it was done; it must not be sent again.
    Unknown {
        /// What happened, and the remedy.
        reason: String,
    },
}

impl Outcome {
    /// Held back until something ends of which nobody knows when.
    pub fn held(reason: impl Into<String>) -> Self {
        Self::Held {
            reason: reason.into(),
            until: None,
        }
    }

    /// A failure after which all is as before, or the images tell what is not.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed {
            message: message.into(),
            left: Vec::new(),
        }
    }
}

/// Reads what a backend holds. The planner's caller has nothing but these.
#[async_trait::async_trait(?Send)]
pub trait Observe {
    /// What is there of the resources in scope, and what carries the project's mark besides.
    ///
    /// One call observes a whole project; it never fails for one resource (that one is
    /// [`Seen::Unknown`]).
    ///
    /// # Errors
    /// When nothing at all can be told for a reason that is no backend's (a damaged disk).
    async fn observe(&self, scope: &Scope<'_>) -> crate::error::Result<Observed>;
}

/// Told of each step of a batch as it ends.
/// Told of each step's outcome as soon as it is settled.
///
/// Named, because `async_trait` would give the reference within a `Fn(…)` the lifetime of the call.
pub type Progress<'p> = dyn Fn(StepId, &Outcome) + 'p;

/// Changes what a backend holds.
#[async_trait::async_trait(?Send)]
pub trait Act: Observe {
    /// Carries out a batch of steps that do not depend on one another: an outcome for each, in order.
    ///
    /// A step whose outcome is not [`Outcome::Done`] has left the host as near to its `before` as
    /// could be; the executor reads back and puts back the rest.
    async fn act(&self, batch: &[Step], progress: &Progress<'_>) -> Vec<Outcome>;

    /// Has whoever stands behind the backend look anew at what is on disk: after an apply that was cut
    /// short, it may remember what is gone. Nothing changes but that.
    async fn refresh(&self) -> crate::error::Result<()> {
        Ok(())
    }
}
