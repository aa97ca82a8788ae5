//! A saved plan as what it is: an approval, which allows and never commands.
//!
//! What runs is planned afresh on the host; [`check`] says whether all of that was approved. A
//! document's `steps`, `holds` and words for readers count for nothing here, so a forged file can
//! forbid, and allow what the spec asks for anyway, but adds nothing.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value, value::RawValue};
use sha2::{Digest as _, Sha256};

use super::document::{self, FORMAT_VERSION};
use crate::{
    error::{Code, Error, Result},
    id::{Address, Digest, Lineage, ProjectName, Timestamp},
    resource::{Action, Cause, Change, Plan},
};

/// The largest plan file that is read, in bytes.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Differences that are listed of one resource.
const LISTED: usize = 4;
const AGAIN: &str = "make it again with `lorectl plan --out FILE`";

/// What a plan file approves, for whom.
#[derive(Debug, Clone)]
pub struct Approval {
    /// The project that the plan was made for.
    pub project: ProjectName,
    /// The host.
    pub host: String,
    /// The lineage of its state.
    pub lineage: Lineage,
    /// The serial of the state that was planned from.
    pub serial: u64,
    /// The digest of the spec's files then. Not compared: unrelated edits do not void an approval.
    pub spec_digest: Option<Digest>,
    /// When the plan was made, UTC.
    pub created_at: Timestamp,
    changes: BTreeMap<Address, Approved>,
}

/// Its values stay text until they are compared: as trees, those of ten thousand services take a
/// dozen times as much.
#[derive(Debug, Clone)]
struct Approved {
    action: Action,
    before: Box<RawValue>,
    after: Box<RawValue>,
}

#[derive(Deserialize)]
struct Document {
    created_at: Timestamp,
    host: String,
    lineage: Lineage,
    project: ProjectName,
    refusals: Vec<Refused>,
    resource_changes: Vec<Entry>,
    serial: u64,
    spec_digest: Option<Digest>,
}

#[derive(Deserialize)]
struct Entry {
    address: Address,
    change: Values,
}

#[derive(Deserialize)]
struct Refused {
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Values {
    actions: Action,
    after: Box<RawValue>,
    before: Box<RawValue>,
}

/// What tells a plan document from other JSON.
#[derive(Deserialize)]
struct Kind {
    format_version: Option<Value>,
    ok: Option<IgnoredAny>,
    data: Option<IgnoredAny>,
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::PlanInvalid, message).suggest(AGAIN)
}

/// Reads a plan file.
///
/// Whether others may write to the file is for the caller to look at.
///
/// # Errors
/// `PLAN_INVALID` when it is too large, cut short, no plan, of another major format, or was edited
/// after it was made (its digest differs); `NOT_APPROVED` for a plan that was refused when it was made.
pub fn read(bytes: &[u8]) -> Result<Approval> {
    let document: Document = serde_json::from_slice(&verified(bytes)?).map_err(shape)?;
    if !document.refusals.is_empty() {
        let message = "the plan was refused when it was made, so its file approves nothing";
        let why = document.refusals.into_iter().map(|refused| refused.message);
        return Err(Error::new(Code::NotApproved, message)
            .suggest(AGAIN)
            .with_details(why.collect()));
    }
    let mut changes = BTreeMap::new();
    for entry in document.resource_changes {
        let approved = Approved {
            action: entry.change.actions,
            before: entry.change.before,
            after: entry.change.after,
        };
        if changes.insert(entry.address.clone(), approved).is_some() {
            let message = format!("the plan file has {} twice", entry.address);
            return Err(invalid(message));
        }
    }
    Ok(Approval {
        project: document.project,
        host: document.host,
        lineage: document.lineage,
        serial: document.serial,
        spec_digest: document.spec_digest,
        created_at: document.created_at,
        changes,
    })
}

/// That a document of the right digest is not shaped like a plan.
pub(super) fn shape(error: serde_json::Error) -> Error {
    invalid("the plan file is no plan that this version reads").because(error)
}

/// The text of a plan document whose digest is that of its content.
///
/// # Errors
/// `PLAN_INVALID`, as [`read`].
pub(super) fn verified(bytes: &[u8]) -> Result<Cow<'_, [u8]>> {
    if bytes.len() > MAX_BYTES {
        return Err(invalid("the plan file is larger than 64 MiB"));
    }
    if is_as_written(bytes) {
        let kind: Kind = serde_json::from_slice(bytes).map_err(shape)?;
        check_format(&kind)?;
        return Ok(Cow::Borrowed(bytes));
    }
    let members = reformatted(bytes)?;
    let text = serde_json::to_vec(&members).map_err(shape)?;
    Ok(Cow::Owned(text))
}

/// Whether the bytes are those that [`document::write`] wrote, so that no tree need be built of them
/// to tell: the digest, their second member, is that of the rest.
fn is_as_written(bytes: &[u8]) -> bool {
    const FIRST: &[u8] = b"{\"created_at\":\"";
    const MEMBER: &[u8] = b"\"digest\":\"";
    const END: &[u8] = b"\",";
    let text = bytes.trim_ascii_end();
    let parts = || {
        let rest = text.strip_prefix(FIRST)?;
        let at = FIRST.len() + rest.iter().position(|byte| *byte == b'"')? + END.len();
        let (before, rest) = text.split_at_checked(at)?;
        let (hex, after) = rest.strip_prefix(MEMBER)?.split_at_checked(64)?;
        Some((before, hex, after.strip_prefix(END)?))
    };
    parts().is_some_and(|(before, hex, after)| {
        let mut hash = Sha256::new();
        hash.update(before);
        hash.update(after);
        let digest = Digest::from_bytes(hash.finalize().into());
        digest.to_string().as_bytes() == hex
    })
}

/// The members, but the digest, of a document that someone wrote in another form.
fn reformatted(bytes: &[u8]) -> Result<Map<String, Value>> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| {
        let what = if error.is_eof() {
            "the plan file is cut short"
        } else {
            "the plan file is no JSON"
        };
        invalid(what).because(error)
    })?;
    let Value::Object(mut members) = value else {
        return Err(invalid("the plan file is no plan: it is no JSON object"));
    };
    check_format(&Kind {
        format_version: members.get("format_version").cloned(),
        ok: members.get("ok").map(|_| IgnoredAny),
        data: members.get("data").map(|_| IgnoredAny),
    })?;
    let written = members.remove("digest");
    let digest = document::digest(&members).map_err(|error| {
        Error::new(Code::Internal, "a plan file that was read cannot be hashed").because(error)
    })?;
    if written.as_ref().and_then(Value::as_str) != Some(digest.to_string().as_str()) {
        return Err(invalid(
            "the plan file was edited or damaged after it was made: its digest is not that of its content",
        ));
    }
    Ok(members)
}

fn check_format(kind: &Kind) -> Result<()> {
    if kind.ok.is_some() && kind.data.is_some() {
        return Err(invalid(
            "the file is what `--json` prints, not the plan document",
        ));
    }
    let version = kind.format_version.as_ref().and_then(Value::as_str);
    let Some(version) = version else {
        return Err(invalid(
            "the plan file is no plan of lorectl: it has no `format_version`",
        ));
    };
    let major = |version: &str| -> Option<u32> { version.split_once('.')?.0.parse().ok() };
    match (major(version), major(FORMAT_VERSION)) {
        (Some(theirs), Some(ours)) if theirs == ours => Ok(()),
        (Some(theirs), Some(ours)) if theirs > ours => Err(Error::new(
            Code::PlanInvalid,
            format!(
                "the plan file is of format {version}, which is newer than the {FORMAT_VERSION} that this version reads"
            ),
        )
        .suggest("use the lorectl that made it, or make it again with this one")),
        _ => Err(invalid(format!(
            "the plan file is of format `{version}`; this version reads {FORMAT_VERSION}"
        ))),
    }
}

/// Whether everything that a fresh plan would do was approved, and what is to be left alone.
///
/// Each change but a no-op must be in the file, at the same address, with the same actions and
/// values; `{"unknown": true}` in the file allows any value in its place, and where something is
/// destroyed the values before count too. What was approved and needs doing no more is no matter,
/// nor is what is left of an approved change whose other half is done ([`remains`]).
///
/// What the file has no change for, and would be changed only because the host drifted since
/// ([`only_drifted`]), does not void the approval: nobody asked for anything new. It is not done
/// either, and returned, so that the plan is made again without it
/// ([`Options::leave`](super::Options::leave)).
///
/// # Errors
/// `PLAN_FOREIGN` when the file is for another project, host or lineage; `NOT_APPROVED` with one
/// detail for each change that the file does not approve.
pub fn check(approval: &Approval, fresh: &Plan) -> Result<BTreeSet<Address>> {
    let subject = &fresh.subject;
    for (what, theirs, ours) in [
        (
            "project",
            approval.project.as_str(),
            subject.project.as_str(),
        ),
        ("host", &*approval.host, &*subject.host),
        (
            "lineage",
            approval.lineage.as_str(),
            subject.lineage.as_str(),
        ),
    ] {
        if theirs != ours {
            let message =
                format!("the plan file was made for {what} `{theirs}`, and this is `{ours}`");
            return Err(Error::new(Code::PlanForeign, message)
                .suggest("make a plan for this one with `lorectl plan --out FILE`"));
        }
    }
    let changes = fresh.changes.iter().filter(|c| c.action != Action::NoOp);
    let (mut left, mut details) = (BTreeSet::new(), Vec::new());
    for change in changes.clone() {
        let approved = approval.changes.get(&change.address);
        if approved.is_none_or(|approved| approved.action == Action::NoOp) && only_drifted(change) {
            left.insert(change.address.clone());
        } else {
            details.extend(refusal(approved, change));
        }
    }
    if details.is_empty() {
        return Ok(left);
    }
    let message = format!(
        "{} of {} changes are not what the plan file approves",
        details.len(),
        changes.count()
    );
    Err(Error::new(Code::NotApproved, message)
        .suggest("review the plan as it is now, and approve it with `lorectl plan --out FILE`")
        .with_details(details))
}

/// Whether a change only puts back what was applied: the host drifted, and the spec asks for the same
/// values as it did then.
pub fn only_drifted(change: &Change) -> bool {
    match change.cause {
        Some(Cause::Drift) => change.before == change.after,
        Some(Cause::Spec | Cause::Schedule | Cause::Version | Cause::Destroy) | None => false,
    }
}

/// Whether an action is an approved one, or what is left of it when the host's half is done.
///
/// A replace that was ended after its delete plans as a create; a delete of what is gone by now,
/// as a forget; a create whose record was lost, as an adopt. The values must agree all the same.
const fn remains(approved: Action, fresh: Action) -> bool {
    match (approved, fresh) {
        (Action::Replace, Action::Create | Action::Replace)
        | (Action::Delete, Action::Delete | Action::Forget)
        | (Action::Create, Action::Create | Action::Adopt)
        | (Action::Update, Action::Update)
        | (Action::Adopt, Action::Adopt)
        | (Action::Forget, Action::Forget)
        | (Action::NoOp, Action::NoOp) => true,
        (
            Action::NoOp
            | Action::Create
            | Action::Update
            | Action::Replace
            | Action::Delete
            | Action::Adopt
            | Action::Forget,
            _,
        ) => false,
    }
}

/// Why a change is not approved; `None` when it is.
fn refusal(approved: Option<&Approved>, fresh: &Change) -> Option<String> {
    let address = &fresh.address;
    let would = words(fresh.action);
    let Some(approved) = approved else {
        return Some(format!(
            "{address}: would be {would}; the file does not have it"
        ));
    };
    if !remains(approved.action, fresh.action) {
        let has = words(approved.action);
        return Some(format!(
            "{address}: would be {would}; the file has it {has}"
        ));
    }
    let mut found = Vec::new();
    differences(&tree(&approved.after), &fresh.after.tree(), "", &mut found);
    if fresh.action.destroys() {
        let mut before = Vec::new();
        differences(
            &tree(&approved.before),
            &fresh.before.tree(),
            "",
            &mut before,
        );
        found.extend(
            before
                .into_iter()
                .map(|one| format!("what goes differs: {one}")),
        );
    }
    if found.is_empty() {
        return None;
    }
    let more = found.len().saturating_sub(LISTED);
    found.truncate(LISTED);
    if more > 0 {
        found.push(format!("{more} more"));
    }
    Some(format!("{address}: {}", found.join("; ")))
}

/// A value that was read as JSON before.
fn tree(text: &RawValue) -> Value {
    serde_json::from_str(text.get()).unwrap_or_default()
}

const fn words(action: Action) -> &'static str {
    match action {
        Action::NoOp => "unchanged",
        Action::Create => "created",
        Action::Update => "updated",
        Action::Replace => "replaced",
        Action::Delete => "deleted",
        Action::Adopt => "adopted",
        Action::Forget => "forgotten",
    }
}

/// Whether a value stands for one that was not known where the plan was made.
pub fn is_unknown(value: &Value) -> bool {
    let Value::Object(members) = value else {
        return false;
    };
    members.get("unknown") == Some(&Value::Bool(true))
        && members.iter().all(|(name, value)| match name.as_str() {
            "unknown" => true,
            "one_of" => value.is_array(),
            "ends_with" => value.is_string(),
            _ => false,
        })
}

/// Whether a value may stand in the place of an unknown one: what was known of that holds.
fn fits(unknown: &Value, fresh: &Value) -> bool {
    let one_of = unknown.get("one_of").and_then(Value::as_array);
    let ends_with = unknown.get("ends_with").and_then(Value::as_str);
    one_of.is_none_or(|values| values.contains(fresh))
        && ends_with.is_none_or(|end| fresh.as_str().is_some_and(|text| text.ends_with(end)))
}

/// Appends where a fresh value is not the approved one.
fn differences(approved: &Value, fresh: &Value, at: &str, found: &mut Vec<String>) {
    if approved == fresh || (is_unknown(approved) && fits(approved, fresh)) {
        return;
    }
    let below = |name: &str| match at {
        "" => name.to_owned(),
        _ => format!("{at}.{name}"),
    };
    match (approved, fresh) {
        (Value::Object(a), Value::Object(b)) if !is_unknown(approved) && !is_unknown(fresh) => {
            for (name, value) in a {
                match b.get(name) {
                    Some(other) => differences(value, other, &below(name), found),
                    None => found.push(format!(
                        "`{}` is gone, {} was approved",
                        below(name),
                        short(value)
                    )),
                }
            }
            for (name, value) in b.iter().filter(|(name, _)| !a.contains_key(*name)) {
                found.push(format!(
                    "`{}` is {}, nothing was approved",
                    below(name),
                    short(value)
                ));
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (value, other)) in a.iter().zip(b).enumerate() {
                differences(value, other, &below(&index.to_string()), found);
            }
        }
        _ if at.is_empty() => found.push("its values are not those approved".to_owned()),
        _ => found.push(format!(
            "`{at}` is {}, {} was approved",
            short(fresh),
            short(approved)
        )),
    }
}

/// A value as JSON, cut where it is long.
fn short(value: &Value) -> String {
    const LONGEST: usize = 60;
    if is_unknown(value) {
        let known = value.get("one_of").and_then(|values| values.get(0));
        let known = known.or_else(|| value.get("ends_with"));
        let name = known.and_then(Value::as_str).unwrap_or_default();
        return match name.rsplit_once('/') {
            Some((_, name)) => format!("`{name}`, wherever it is,"),
            None => "an unknown value".to_owned(),
        };
    }
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
pub(super) mod tests;
