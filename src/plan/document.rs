//! The plan as a document: what `plan --out` writes, what `plan --json` carries, what an approval is read from.
//!
//! It has the shape of Terraform's plan representation where the ideas agree (`resource_changes`,
//! `resource_drift`, `change.actions`), and says more where lorectl knows more.
//!
//! **Digest.** `digest` is the SHA-256 over the document without that member, in canonical form:
//! no white space between tokens, the members of every object ordered by the bytes of their names,
//! strings with JSON's shortest escapes. With common tools:
//!
//! ```sh
//! jq -cjS 'del(.digest)' plan.json | sha256sum
//! ```
//!
//! So a file that was reformatted is still the same plan, and one that was cut or edited is not. It
//! guards against accidents, not against forgers; an approval needs none against those, since a
//! file only ever allows what was planned afresh on the host.
//!
//! The members of every type here are declared in the order of their names, so that what is
//! written is canonical as it is.
//!
//! **Unknown values.** A value that was not known where the plan was made is written as the object
//! `{"unknown": true}` in `change.before` or `change.after`, at any depth. What is known of it all the
//! same stands beside: `one_of`, the values of which it will be one; `ends_with`, how its text ends.

use std::io;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::diff::Diff;
use crate::{
    id::{Digest, Lineage, Timestamp},
    resource::{
        Action, ActionReason, Cause, Change, Disruption, Drift, DriftField, FieldChange,
        FileChange, Hold, Level, Lift, Plan, Refusal, Step, Undo, Values,
    },
};

/// The format that is written: a reader takes any of the same major number.
pub const FORMAT_VERSION: &str = "1.0";

/// Writes the document of a plan, without holding it in memory, and a newline.
///
/// # Errors
/// What the writer says.
pub fn write(plan: &Plan, out: &mut dyn io::Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Document::of(plan)?)?;
    out.write_all(b"\n")
}

/// A plan's document.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "The plan document of lorectl", deny_unknown_fields)]
pub struct Document<'a> {
    /// When the plan was made: RFC 3339, UTC.
    #[schemars(with = "String")]
    created_at: Timestamp,
    /// SHA-256 in hex over the document without this member, in canonical form.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    digest: Option<Digest>,
    /// `MAJOR.MINOR`; another major number is another format.
    format_version: &'static str,
    /// What is not done for now, and what lifts that. Not part of what is approved.
    #[serde(serialize_with = "holds")]
    #[schemars(with = "Vec<HoldEntry>")]
    holds: &'a [Hold],
    /// The host's name.
    host: &'a str,
    /// What the host's state is the state of: 32 hex digits.
    #[schemars(with = "String")]
    lineage: &'a Lineage,
    /// When the host was looked at, UTC, where a snapshot tells of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    observed_at: Option<Timestamp>,
    /// The project.
    project: &'a str,
    /// Why the plan may not be applied; empty when it may.
    #[serde(serialize_with = "refusals")]
    #[schemars(with = "Vec<RefusalEntry>")]
    refusals: &'a [Refusal],
    /// Every resource of spec and state, ordered by address; what is approved.
    #[serde(serialize_with = "changes")]
    #[schemars(with = "Vec<ChangeEntry>")]
    resource_changes: &'a [Change],
    /// What changed on the host since the last apply.
    #[serde(serialize_with = "drifts")]
    #[schemars(with = "Vec<DriftEntry>")]
    resource_drift: &'a [Drift],
    /// The serial of the state that was read; 0 when there was none.
    serial: u64,
    /// SHA-256 over the spec's files, where the command reads a spec.
    #[schemars(with = "Option<String>")]
    spec_digest: Option<Digest>,
    /// What is to be done, in an order in which it may be. Not part of what is approved.
    #[serde(serialize_with = "steps")]
    #[schemars(with = "Vec<StepEntry>")]
    steps: &'a [Step],
    /// What the reader should know.
    warnings: &'a [String],
}

impl<'a> Document<'a> {
    /// The document of a plan, with its digest.
    ///
    /// # Errors
    /// When a value of the plan cannot be written as JSON.
    pub fn of(plan: &'a Plan) -> io::Result<Self> {
        let mut document = Self {
            created_at: plan.created_at,
            digest: None,
            format_version: FORMAT_VERSION,
            holds: &plan.holds,
            host: &plan.subject.host,
            lineage: &plan.subject.lineage,
            observed_at: plan.subject.observed_at,
            project: plan.subject.project.as_str(),
            refusals: &plan.refusals,
            resource_changes: &plan.changes,
            resource_drift: &plan.drift,
            serial: plan.subject.serial,
            spec_digest: plan.subject.spec_digest,
            steps: &plan.steps,
            warnings: &plan.warnings,
        };
        document.digest = Some(digest(&document)?);
        Ok(document)
    }
}

/// The digest of what serialises in canonical form and has no digest yet.
pub(super) fn digest<T: Serialize>(canonical: &T) -> io::Result<Digest> {
    let mut hash = Hashing(Sha256::new());
    {
        // The serialiser writes tokens of a byte or two; the hash likes blocks.
        let mut buffered = io::BufWriter::with_capacity(16 * 1024, &mut hash);
        serde_json::to_writer(&mut buffered, canonical)?;
        io::Write::flush(&mut buffered)?;
    }
    Ok(Digest::from_bytes(hash.0.finalize().into()))
}

struct Hashing(Sha256);

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Serialises a list entry by entry, each made when its turn comes.
macro_rules! entries {
    ($($name:ident: $from:ident => $to:ident;)+) => {$(
        fn $name<S: Serializer>(list: &[$from], s: S) -> Result<S::Ok, S::Error> {
            s.collect_seq(list.iter().map($to::of))
        }
    )+};
}
entries! {
    holds: Hold => HoldEntry;
    refusals: Refusal => RefusalEntry;
    changes: Change => ChangeEntry;
    drifts: Drift => DriftEntry;
    drift_fields: DriftField => DriftFieldEntry;
    fields: FieldChange => FieldEntry;
    files: FileChange => FileEntry;
    steps: Step => StepEntry;
}

/// One resource's place in the plan.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ResourceChange")]
struct ChangeEntry<'a> {
    /// Why this action, or why none.
    #[schemars(with = "String")]
    action_reason: ActionReason,
    /// `service.sync`.
    address: String,
    /// `spec`, `drift`, `schedule` or `version`; null where nothing is done.
    #[schemars(with = "Option<String>")]
    cause: Option<Cause>,
    /// What is done.
    change: ValuesEntry<'a>,
    /// The fields that change, in words for a reader.
    #[serde(serialize_with = "fields", skip_serializing_if = "no_entries")]
    #[schemars(with = "Option<Vec<FieldEntry>>")]
    fields: &'a [FieldChange],
    /// The files that change.
    #[serde(serialize_with = "files", skip_serializing_if = "no_entries")]
    #[schemars(with = "Option<Vec<FileEntry>>")]
    files: &'a [FileChange],
    /// The part of the address after the dot.
    name: &'a str,
    /// What the reader should know.
    #[serde(skip_serializing_if = "no_entries")]
    #[schemars(with = "Option<Vec<String>>")]
    notes: &'a [String],
    /// The part of the address before the dot.
    r#type: &'static str,
}

/// Values before and after.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Change")]
struct ValuesEntry<'a> {
    /// `["no-op"]`, `["create"]`, `["update"]`, `["delete","create"]`, `["delete"]`, `["adopt"]` or `["forget"]`.
    #[schemars(with = "Vec<String>")]
    actions: Action,
    /// The values after; null when it is gone. `{"unknown": true}` in any place is a value known at apply; `one_of` and `ends_with` beside it say what it may be.
    #[schemars(with = "Value")]
    after: &'a Values,
    /// The values before; null when it was not there.
    #[schemars(with = "Value")]
    before: &'a Values,
}

const fn no_entries<T>(list: &[T]) -> bool {
    list.is_empty()
}

impl<'a> ChangeEntry<'a> {
    fn of(change: &'a Change) -> Self {
        Self {
            action_reason: change.reason,
            address: change.address.to_string(),
            cause: change.cause,
            change: ValuesEntry {
                actions: change.action,
                after: &change.after,
                before: &change.before,
            },
            fields: &change.fields,
            files: &change.files,
            name: change.address.name.as_str(),
            notes: &change.notes,
            r#type: change.address.kind.as_str(),
        }
    }
}

/// One field before and after, in words.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FieldChange")]
struct FieldEntry<'a> {
    /// Its value after, if there will be one.
    after: Option<&'a str>,
    /// Its value before, if there was one.
    before: Option<&'a str>,
    /// Its name in the spec.
    field: &'a str,
}

impl<'a> FieldEntry<'a> {
    fn of(change: &'a FieldChange) -> Self {
        Self {
            after: change.after.as_deref(),
            before: change.before.as_deref(),
            field: &change.field,
        }
    }
}

/// One file: sizes, and a unified diff where it is there before and after.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FileChange")]
struct FileEntry<'a> {
    /// Lines that come.
    #[serde(skip_serializing_if = "Option::is_none")]
    added: Option<usize>,
    /// The unified diff of what was applied against what will be written, without a heading.
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<String>,
    /// Its path on the host.
    path: &'a str,
    /// Lines that go.
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<usize>,
    /// Bytes after; null when it goes.
    size_after: Option<usize>,
    /// Bytes before; null when it is new.
    size_before: Option<usize>,
}

impl<'a> FileEntry<'a> {
    fn of(change: &'a FileChange) -> Self {
        let diff = (change.before.is_some() && change.after.is_some())
            .then(|| Diff::of(change))
            .filter(|diff| !diff.too_large);
        Self {
            added: diff.as_ref().map(|diff| diff.added),
            removed: diff.as_ref().map(|diff| diff.removed),
            diff: diff.map(|diff| diff.text()),
            path: &change.path,
            size_after: change.after.as_ref().map(|text| text.len()),
            size_before: change.before.as_ref().map(|text| text.len()),
        }
    }
}

/// What drifted of one resource.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ResourceDrift")]
struct DriftEntry<'a> {
    /// `service.sync`.
    address: String,
    /// What drifted.
    #[serde(serialize_with = "drift_fields")]
    #[schemars(with = "Vec<DriftFieldEntry>")]
    fields: &'a [DriftField],
    /// What is there and is left alone.
    notes: &'a [String],
}

impl<'a> DriftEntry<'a> {
    fn of(drift: &'a Drift) -> Self {
        Self {
            address: drift.address.to_string(),
            fields: &drift.fields,
            notes: &drift.notes,
        }
    }
}

/// One field that drifted.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DriftField")]
struct DriftFieldEntry<'a> {
    /// What was applied, where it can be shown.
    applied: Option<&'a str>,
    /// Which field.
    field: &'a str,
    /// Left alone, because `ignore_drift` names it.
    ignored: bool,
    /// `platform`, `definition` or `command`.
    #[schemars(with = "String")]
    level: Level,
    /// What is there, where it can be shown.
    observed: Option<&'a str>,
}

impl<'a> DriftFieldEntry<'a> {
    fn of(field: &'a DriftField) -> Self {
        Self {
            applied: field.applied.as_deref(),
            field: &field.field,
            ignored: field.ignored,
            level: field.level,
            observed: field.observed.as_deref(),
        }
    }
}

/// One step.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Step")]
struct StepEntry<'a> {
    /// Whose step it is.
    address: String,
    /// Who does it.
    backend: &'a str,
    /// Steps that must be done before.
    depends_on: Vec<u32>,
    /// `none`, `hitless`, `reload` or `restart`.
    #[schemars(with = "String")]
    disruption: Disruption,
    /// Its number, from 1.
    id: u32,
    /// How it is undone.
    undo: UndoEntry<'a>,
    /// What is done, in the backend's word.
    verb: &'a str,
}

/// How a step is undone.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "by")]
#[schemars(rename = "Undo")]
enum UndoEntry<'a> {
    /// By another verb.
    Verb {
        /// Which.
        verb: &'a str,
    },
    /// By putting back what was there, byte for byte.
    RestoreBefore,
    /// By putting back a stored generation.
    RestoreGeneration {
        /// Which.
        generation: u64,
    },
    /// Not at all.
    Never {
        /// Why not.
        reason: &'a str,
    },
}

impl<'a> StepEntry<'a> {
    fn of(step: &'a Step) -> Self {
        Self {
            address: step.address.to_string(),
            backend: step.backend.as_str(),
            depends_on: step.depends_on.iter().map(|id| id.0).collect(),
            disruption: step.disruption,
            id: step.id.0,
            undo: match &step.undo {
                Undo::Verb { verb } => UndoEntry::Verb {
                    verb: verb.as_str(),
                },
                Undo::RestoreBefore => UndoEntry::RestoreBefore,
                Undo::RestoreGeneration { generation } => UndoEntry::RestoreGeneration {
                    generation: *generation,
                },
                Undo::Never { reason } => UndoEntry::Never { reason },
            },
            verb: step.verb.as_str(),
        }
    }
}

/// What is not done for now.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Hold")]
struct HoldEntry<'a> {
    /// What is held.
    address: String,
    /// When it lifts, UTC, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    at: Option<Timestamp>,
    /// The command or act that lifts it, if a person must.
    #[serde(skip_serializing_if = "Option::is_none")]
    how: Option<&'a str>,
    /// `at`, `later` or `by_hand`.
    lifted: &'static str,
    /// Why.
    reason: &'a str,
    /// What must end before, if something must.
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<&'a str>,
}

impl<'a> HoldEntry<'a> {
    fn of(hold: &'a Hold) -> Self {
        let (lifted, at, what, how) = match &hold.lift {
            Lift::At { at } => ("at", Some(*at), None, None),
            Lift::Later { what } => ("later", None, Some(what.as_str()), None),
            Lift::ByHand { how } => ("by_hand", None, None, Some(how.as_str())),
        };
        Self {
            address: hold.address.to_string(),
            at,
            how,
            lifted,
            reason: &hold.reason,
            what,
        }
    }
}

/// Why the plan may not be applied.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Refusal")]
struct RefusalEntry<'a> {
    /// Whom it is about, if it is about one.
    address: Option<String>,
    /// The error code.
    code: &'static str,
    /// What is refused and why.
    message: &'a str,
    /// What helps.
    suggestion: Option<&'a str>,
}

impl<'a> RefusalEntry<'a> {
    fn of(refusal: &'a Refusal) -> Self {
        Self {
            address: refusal.address.as_ref().map(ToString::to_string),
            code: refusal.code.as_str(),
            message: &refusal.message,
            suggestion: refusal.suggestion.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::approval::tests::{change, plan};

    fn written(plan: &Plan) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(plan, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_written_is_canonical_and_its_digest_holds() {
        let bytes = written(&plan());
        let text = std::str::from_utf8(&bytes).unwrap().trim_end();
        let mut value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(value.to_string(), text, "the members are not in order");
        let digest = value.as_object_mut().unwrap().remove("digest").unwrap();
        assert_eq!(
            digest,
            Digest::of(value.to_string().as_bytes()).to_string(),
            "the digest is not that of the document without it"
        );
    }

    #[test]
    fn the_shape_is_terraforms_where_the_ideas_agree() {
        let value: Value = serde_json::from_slice(&written(&plan())).unwrap();
        assert_eq!(value["format_version"], "1.0");
        let replaced = &value["resource_changes"][3];
        assert_eq!(replaced["address"], "service.moved");
        assert_eq!(replaced["type"], "service");
        assert_eq!(replaced["name"], "moved");
        assert_eq!(replaced["change"]["actions"], json!(["delete", "create"]));
        assert_eq!(replaced["action_reason"], "spec_changed");
        assert_eq!(replaced["cause"], "spec");
        assert_eq!(
            value["resource_changes"][0]["change"]["actions"],
            json!(["no-op"])
        );
        assert_eq!(value["resource_changes"][0]["cause"], Value::Null);
    }

    #[test]
    fn files_are_diffs_or_sizes() {
        let file = |before: Option<&str>, after: Option<&str>| FileChange {
            path: "/etc/x".to_owned(),
            before: before.map(Into::into),
            after: after.map(Into::into),
        };
        let mut plan = plan();
        plan.changes = vec![Change {
            files: vec![
                file(Some("a\nb\n"), Some("a\nc\n")),
                file(None, Some("new\n")),
                file(Some("old\n"), None),
            ],
            ..change("a", Action::Update, Value::Null)
        }];
        let value: Value = serde_json::from_slice(&written(&plan)).unwrap();
        assert_eq!(
            value["resource_changes"][0]["files"],
            json!([
                {"path": "/etc/x", "added": 1, "removed": 1, "size_before": 4, "size_after": 4,
                 "diff": "@@ -1,2 +1,2 @@\n a\n-b\n+c\n"},
                {"path": "/etc/x", "size_before": null, "size_after": 4},
                {"path": "/etc/x", "size_before": 4, "size_after": null},
            ])
        );
    }
}
