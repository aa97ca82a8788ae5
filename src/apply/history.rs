//! What was done to a project and when, as its journals tell it.
//!
//! Pure: one journal's records in, one entry out. A journal says less than an apply knew: of a step
//! that was put back without an act (nothing of it was there), only that it failed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::record::{Intents, Outcomes};
use crate::{
    id::{Address, Digest, Timestamp},
    resource::{Action, Outcome, StepId},
};

/// A record of a journal without the definitions that it holds: a history of large applies is read
/// without building them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Glance {
    /// As [`super::record::Began`].
    Began(Began),
    /// What was about to be done.
    Intents(Intents),
    /// What became of it.
    Outcomes(Outcomes),
    /// As [`super::record::Ended`].
    Ended(Ended),
}

/// What an apply set out to do.
#[derive(Debug, Clone, Deserialize)]
pub struct Began {
    at: Timestamp,
    by: String,
    command: Option<String>,
    serial: u64,
    spec_digest: Option<Digest>,
    changes: BTreeMap<Address, Change>,
}

#[derive(Debug, Clone, Deserialize)]
struct Change {
    action: Action,
}

/// The end of a journal.
#[derive(Debug, Clone, Deserialize)]
pub struct Ended {
    at: Timestamp,
    serial: u64,
    result: String,
    #[serde(default)]
    in_doubt: BTreeMap<Address, Doubt>,
}

#[derive(Debug, Clone, Deserialize)]
struct Doubt {
    remedy: String,
}

/// One thing that was done to a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Entry {
    /// The journal's name.
    pub id: String,
    /// When it began, UTC; for a journal that only ended, when that was.
    #[schemars(with = "Option<String>")]
    pub began_at: Option<Timestamp>,
    /// When it ended, UTC; null while it is under way, or when it was cut short.
    #[schemars(with = "Option<String>")]
    pub ended_at: Option<Timestamp>,
    /// How long it took, in milliseconds; null where that is not known.
    pub duration_ms: Option<u64>,
    /// Who: a user's name, and where from over ssh.
    pub by: Option<String>,
    /// The command without `lorectl`.
    pub command: Option<String>,
    /// The digest of the spec's files, where it read any.
    #[schemars(with = "Option<String>")]
    pub spec_digest: Option<Digest>,
    /// The serial of the state it began from.
    pub serial_before: Option<u64>,
    /// The serial of the state that holds its result.
    pub serial_after: Option<u64>,
    /// How it ended: `applied`, `failed`, `undo failed`, `interrupted`, `settled` (cut short; a later
    /// apply found out what was done), `edited` and `repaired` (the state alone), `unfinished`, `unreadable`.
    pub result: String,
    /// Each resource that it changed or was to change, ordered.
    pub resources: Vec<Affected>,
    /// Why it cannot be read, where it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What became of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Affected {
    /// Which, as `service.sync`.
    #[schemars(with = "String")]
    pub address: Address,
    /// What was to be done, in the plan's words.
    #[schemars(with = "Vec<String>")]
    pub actions: Action,
    /// How it ended.
    pub outcome: End,
    /// What went wrong, or what holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How the work on one resource ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Done.
    Done,
    /// Failed; what was done of it was put back.
    Failed,
    /// Done, and put back because of a failure elsewhere.
    Undone,
    /// It could not be put back, or not wholly.
    NotUndone,
    /// Something was in the way that ends by itself.
    Held,
    /// It cannot be told whether it was done.
    Unknown,
    /// It was not begun.
    NotBegun,
}

/// What is known of one resource's steps.
#[derive(Default)]
struct Steps<'r> {
    forward: BTreeMap<StepId, Option<&'r Outcome>>,
    back: BTreeMap<StepId, Option<&'r Outcome>>,
}

impl Entry {
    /// What a journal of that name tells.
    pub fn of(id: String, records: &[Glance]) -> Self {
        let mut entry = Self::unreadable(id, String::new());
        entry.problem = None;
        "unfinished".clone_into(&mut entry.result);
        let mut steps: BTreeMap<&Address, Steps<'_>> = BTreeMap::new();
        let mut owners: BTreeMap<StepId, &Address> = BTreeMap::new();
        let mut changes = None;
        let mut doubts = None;
        for record in records {
            match record {
                Glance::Began(began) => {
                    entry.began_at = Some(began.at);
                    entry.by = Some(began.by.clone());
                    entry.command.clone_from(&began.command);
                    entry.spec_digest = began.spec_digest;
                    entry.serial_before = Some(began.serial);
                    changes = Some(&began.changes);
                }
                Glance::Intents(intents) => {
                    for intent in &intents.steps {
                        owners.insert(intent.step, &intent.address);
                        let of = steps.entry(&intent.address).or_default();
                        of.side(intents.undo).entry(intent.step).or_default();
                    }
                }
                Glance::Outcomes(outcomes) => {
                    for (step, outcome) in &outcomes.steps {
                        if let Some(address) = owners.get(step) {
                            let of = steps.entry(address).or_default();
                            of.side(outcomes.undo).insert(*step, Some(outcome));
                        }
                    }
                }
                Glance::Ended(ended) => {
                    entry.result.clone_from(&ended.result);
                    entry.serial_after = Some(ended.serial);
                    entry.ended_at = Some(ended.at);
                    entry.began_at = entry.began_at.or(Some(ended.at));
                    doubts = Some(&ended.in_doubt);
                }
            }
        }
        entry.measure();
        let whole = matches!(entry.result.as_str(), "applied" | "edited" | "repaired");
        for (address, change) in changes.into_iter().flatten() {
            let (mut outcome, mut message) = steps
                .get(address)
                .map_or_else(|| without_steps(whole), Steps::end);
            if let Some(doubt) = doubts.and_then(|doubts| doubts.get(address)) {
                outcome = End::Unknown;
                message = Some(doubt.remedy.clone());
            }
            entry.resources.push(Affected {
                address: address.clone(),
                actions: change.action,
                outcome,
                message,
            });
        }
        entry
    }

    /// A journal that is there and tells nothing.
    pub fn unreadable(id: String, problem: String) -> Self {
        Self {
            id,
            began_at: None,
            ended_at: None,
            duration_ms: None,
            by: None,
            command: None,
            spec_digest: None,
            serial_before: None,
            serial_after: None,
            result: "unreadable".to_owned(),
            resources: Vec::new(),
            problem: Some(problem),
        }
    }

    /// Leaves only one resource; whether it is in it at all.
    pub fn only(&mut self, address: &Address) -> bool {
        self.resources.retain(|one| one.address == *address);
        !self.resources.is_empty()
    }

    fn measure(&mut self) {
        // What was settled ended at some other time than its journal.
        if self.result == "settled" {
            self.ended_at = None;
        }
        self.duration_ms = self.began_at.zip(self.ended_at).and_then(|(began, ended)| {
            let millis = ended.millis().checked_sub(began.millis())?;
            u64::try_from(millis).ok()
        });
    }
}

const fn without_steps(whole: bool) -> (End, Option<String>) {
    // The state alone had to change.
    (if whole { End::Done } else { End::NotBegun }, None)
}

impl<'r> Steps<'r> {
    const fn side(&mut self, undo: bool) -> &mut BTreeMap<StepId, Option<&'r Outcome>> {
        if undo {
            &mut self.back
        } else {
            &mut self.forward
        }
    }

    fn end(&self) -> (End, Option<String>) {
        let mut end = (End::Done, None);
        for outcome in self.forward.values() {
            let (of, message) = match outcome {
                Some(Outcome::Done) => continue,
                Some(Outcome::Failed { message, .. }) => (End::Failed, Some(message)),
                Some(Outcome::Held { reason, .. }) => (End::Held, Some(reason)),
                Some(Outcome::Unknown { reason }) => (End::Unknown, Some(reason)),
                None => (End::Unknown, None),
            };
            end = (of, message.cloned());
            if of == End::Failed {
                break;
            }
        }
        let stuck = self.back.values().find_map(|outcome| match outcome {
            Some(Outcome::Done) => None,
            Some(Outcome::Failed { message, .. }) => Some(Some(message)),
            Some(Outcome::Held { reason, .. } | Outcome::Unknown { reason }) => Some(Some(reason)),
            None => Some(None),
        });
        match (stuck, self.back.is_empty(), end.0) {
            (Some(message), ..) => (End::NotUndone, message.cloned()),
            (None, false, End::Done) => (End::Undone, None),
            (None, ..) => end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn entry(records: &[Value]) -> Entry {
        let read = |record: &Value| serde_json::from_value(record.clone()).unwrap();
        let records: Vec<Glance> = records.iter().map(read).collect();
        Entry::of("j".to_owned(), &records)
    }

    fn began(addresses: &[&str]) -> Value {
        let change = json!({"action": ["create"], "before": null, "after": {"any": "thing"}});
        let changes = addresses
            .iter()
            .map(|one| ((*one).to_owned(), change.clone()));
        json!({"began": {
            "at": "2026-02-03T04:05:06Z", "by": "alice", "command": "apply", "serial": 3,
            "spec_digest": null, "changes": changes.collect::<serde_json::Map<_, _>>(),
        }})
    }

    fn intents(undo: bool, steps: &[(u32, &str)]) -> Value {
        let steps = steps
            .iter()
            .map(|(step, address)| json!({"step": step, "address": address, "verb": "write"}));
        json!({"intents": {"undo": undo, "steps": steps.collect::<Vec<_>>()}})
    }

    fn ended(result: &str) -> Value {
        json!({"ended": {"at": "2026-02-03T04:05:08.5Z", "serial": 4, "result": result}})
    }

    fn ends(entry: &Entry) -> Vec<(End, Option<&str>)> {
        let all = entry.resources.iter();
        all.map(|one| (one.outcome, one.message.as_deref()))
            .collect()
    }

    #[test]
    fn an_apply_that_ended_tells_who_what_and_how_long() {
        let done = json!({"outcomes": {"undo": false, "steps": {"1": {"is": "done"}}}});
        let entry = entry(&[
            began(&["service.a", "service.b"]),
            intents(false, &[(1, "service.a")]),
            done,
            ended("applied"),
        ]);
        assert_eq!(entry.by.as_deref(), Some("alice"));
        assert_eq!(entry.duration_ms, Some(2500));
        assert_eq!(
            (entry.serial_before, entry.serial_after),
            (Some(3), Some(4))
        );
        assert_eq!(ends(&entry), [(End::Done, None), (End::Done, None)]);
    }

    #[test]
    fn a_failure_is_told_of_the_one_and_the_undo_of_the_others() {
        let outcomes = json!({"outcomes": {"undo": false, "steps": {
            "1": {"is": "done"}, "2": {"is": "failed", "message": "no"}, "3": {"is": "done"},
            "5": {"is": "held", "reason": "it runs"},
        }}});
        let back = json!({"outcomes": {"undo": true, "steps": {
            "1": {"is": "done"}, "3": {"is": "failed", "message": "stuck"},
        }}});
        let entry = entry(&[
            began(&[
                "service.a",
                "service.b",
                "service.c",
                "service.d",
                "service.e",
            ]),
            intents(
                false,
                &[
                    (1, "service.a"),
                    (2, "service.b"),
                    (3, "service.c"),
                    (5, "service.e"),
                ],
            ),
            outcomes,
            intents(true, &[(1, "service.a"), (3, "service.c")]),
            back,
            ended("undo failed"),
        ]);
        assert_eq!(
            ends(&entry),
            [
                (End::Undone, None),
                (End::Failed, Some("no")),
                (End::NotUndone, Some("stuck")),
                (End::NotBegun, None),
                (End::Held, Some("it runs")),
            ]
        );
    }

    #[test]
    fn what_was_cut_short_is_unknown_and_its_length_too() {
        let cut = [began(&["service.a"]), intents(false, &[(1, "service.a")])];
        let open = entry(&cut);
        assert_eq!(
            (open.result.as_str(), open.duration_ms),
            ("unfinished", None)
        );
        assert_eq!(ends(&open), [(End::Unknown, None)]);
        let settled = entry(&[&cut[..], &[ended("settled")]].concat());
        assert_eq!(
            (settled.result.as_str(), settled.duration_ms),
            ("settled", None)
        );
        let only_end = entry(&[ended("repaired")]);
        assert!(only_end.began_at.is_some() && only_end.by.is_none());
        assert_eq!(entry(&[]).result, "unfinished");
    }
}
