//! Plans, what their files approve, and what becomes of files that were tampered with.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    id::{BackendId, ResourceId, Seconds},
    resource::{
        ActionReason, Cause, Definition, Disruption, Hold, Lift, Step, StepId, Subject, Undo,
        Values, Verb,
    },
};

/// Puts another value at a pointer.
fn edit(values: &mut Values, at: &str, value: Value) {
    let mut tree = values.tree();
    let (parent, key) = at.rsplit_once('/').unwrap();
    match tree.pointer_mut(parent).unwrap() {
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
        parent => parent[key] = value,
    }
    *values = tree.into();
}

pub fn change(name: &str, action: Action, after: Value) -> Change {
    Change {
        address: format!("service.{name}").parse().unwrap(),
        action,
        cause: (action != Action::NoOp).then_some(Cause::Spec),
        reason: match action {
            Action::NoOp => ActionReason::UpToDate,
            _ => ActionReason::SpecChanged,
        },
        before: match action {
            Action::Create => Values::default(),
            _ => json!({"schedule": "every 30m", "env": {"A": "1"}}).into(),
        },
        after: after.into(),
        fields: Vec::new(),
        files: Vec::new(),
        notes: Vec::new(),
        record: None,
    }
}

/// One of every action that the spec can ask for, with a step and a hold.
pub fn plan() -> Plan {
    let project: ProjectName = "acme".parse().unwrap();
    let lineage = Lineage::derive("machine", 0, &project);
    let changes = vec![
        change("calm", Action::NoOp, Value::Null),
        change(
            "edited",
            Action::Update,
            json!({"schedule": "every 15m", "env": {"A": "2"}}),
        ),
        change("gone", Action::Delete, Value::Null),
        change(
            "moved",
            Action::Replace,
            json!({"scheduler": "worker", "run": ["a", "b"]}),
        ),
        change(
            "new",
            Action::Create,
            json!({"schedule": "every 1h", "digest": {"unknown": true}}),
        ),
    ];
    let address = changes[1].address.clone();
    Plan {
        steps: vec![Step {
            id: StepId(1),
            resource: ResourceId::derive(&lineage, &address),
            address: address.clone(),
            backend: BackendId::from_static("worker"),
            verb: Verb::from_static("update"),
            depends_on: Vec::new(),
            disruption: Disruption::None,
            undo: Undo::Never {
                reason: "it is sent".to_owned(),
            },
            before: None,
            after: None,
            definition: Definition::of(&json!({})).unwrap(),
            patience: Seconds(60),
        }],
        groups: std::collections::BTreeMap::new(),
        holds: vec![Hold {
            address,
            reason: "a run is in flight".to_owned(),
            lift: Lift::Later {
                what: "it".to_owned(),
            },
            code: None,
        }],
        subject: Subject {
            project,
            host: "web1".to_owned(),
            lineage,
            serial: 7,
            spec_digest: Some(Digest::of(b"spec")),
            observed_at: None,
        },
        created_at: "2025-11-20T09:12:00Z".parse().unwrap(),
        changes,
        drift: Vec::new(),
        refusals: Vec::new(),
        warnings: Vec::new(),
    }
}

fn written(plan: &Plan) -> Vec<u8> {
    let mut bytes = Vec::new();
    document::write(plan, &mut bytes).unwrap();
    bytes
}

/// The document after an edit, with the digest that belongs to it.
fn forged(plan: &Plan, edit: impl FnOnce(&mut Map<String, Value>)) -> Vec<u8> {
    let mut members: Map<String, Value> = serde_json::from_slice(&written(plan)).unwrap();
    members.remove("digest");
    edit(&mut members);
    let digest = document::digest(&members).unwrap().to_string();
    members.insert("digest".to_owned(), digest.into());
    serde_json::to_vec(&members).unwrap()
}

fn refused(approval: &Approval, fresh: &Plan) -> Vec<String> {
    let error = check(approval, fresh).unwrap_err();
    assert_eq!(error.code, Code::NotApproved);
    error.details
}

#[test]
fn a_plan_approves_itself_and_what_is_left_of_it() {
    let plan = plan();
    let approval = read(&written(&plan)).unwrap();
    check(&approval, &plan).unwrap();
    for (at, left) in [
        (1, Action::NoOp),
        (2, Action::Forget),
        (3, Action::Create),
        (4, Action::Adopt),
    ] {
        let mut fresh = plan.clone();
        fresh.changes[at].action = left;
        fresh.subject.serial = 9;
        fresh.subject.spec_digest = None;
        check(&approval, &fresh).unwrap();
    }
}

#[test]
fn what_only_drifted_is_left_and_what_drift_hides_is_not() {
    let plan = plan();
    let approval = read(&written(&plan)).unwrap();
    let drifted = |at: usize| {
        let mut fresh = plan.clone();
        let drifted = &mut fresh.changes[at];
        drifted.action = Action::Update;
        drifted.cause = Some(Cause::Drift);
        drifted.reason = ActionReason::Drifted;
        drifted.after = drifted.before.clone();
        fresh
    };
    // Nothing was approved of the first.
    let fresh = drifted(0);
    let left = check(&approval, &fresh).unwrap();
    assert_eq!(left, [fresh.changes[0].address.clone()].into());
    let mut unheard = drifted(0);
    unheard.changes[0].address = "service.unheard".parse().unwrap();
    assert_eq!(check(&approval, &unheard).unwrap().len(), 1);
    for edit in [
        (|c: &mut Change| c.cause = Some(Cause::Spec)) as fn(&mut Change),
        |c| c.cause = Some(Cause::Version),
        |c| edit(&mut c.after, "/schedule", json!("every 5m")),
    ] {
        let mut fresh = drifted(0);
        edit(&mut fresh.changes[0]);
        assert_eq!(refused(&approval, &fresh).len(), 1);
    }
    // What was approved with other values is not left in silence.
    assert_eq!(refused(&approval, &drifted(1)).len(), 1);
    assert!(check(&approval, &plan).unwrap().is_empty());
}

#[test]
fn what_differs_is_named() {
    let plan = plan();
    let approval = read(&written(&plan)).unwrap();
    let with = |at: usize, edit: fn(&mut Change)| {
        let mut fresh = plan.clone();
        edit(&mut fresh.changes[at]);
        refused(&approval, &fresh)
    };
    assert_eq!(
        with(1, |c| edit(&mut c.after, "/schedule", json!("every 5m"))),
        [r#"service.edited: `schedule` is "every 5m", "every 15m" was approved"#]
    );
    assert_eq!(
        with(1, |c| c.after =
            json!({"schedule": "every 15m", "user": "root", "env": {}})
                .into()),
        [
            r#"service.edited: `env.A` is gone, "2" was approved; `user` is "root", nothing was approved"#
        ]
    );
    assert_eq!(
        with(3, |c| edit(&mut c.after, "/run/1", json!("c"))),
        [r#"service.moved: `run.1` is "c", "b" was approved"#]
    );
    assert_eq!(
        with(1, |c| c.action = Action::Delete),
        ["service.edited: would be deleted; the file has it updated"]
    );
    assert_eq!(
        with(0, |c| c.action = Action::Update),
        ["service.calm: would be updated; the file has it unchanged"]
    );
    assert_eq!(
        with(4, |c| c.address = "service.other".parse().unwrap()),
        ["service.other: would be created; the file does not have it"]
    );
    assert_eq!(
        with(2, |c| edit(&mut c.before, "/schedule", json!("every 1m"))),
        [r#"service.gone: what goes differs: `schedule` is "every 1m", "every 30m" was approved"#]
    );
}

#[test]
fn what_is_known_of_an_unknown_value_must_hold() {
    let plan = plan();
    let approved = |unknown: Value| {
        read(&forged(&plan, |members| {
            members["resource_changes"][1]["change"]["after"]["schedule"] = unknown;
        }))
        .unwrap()
    };
    for (unknown, fits) in [
        (json!({"unknown": true}), true),
        (json!({"unknown": true, "one_of": ["every 15m", 1]}), true),
        (json!({"unknown": true, "one_of": ["every 5m"]}), false),
        (json!({"unknown": true, "ends_with": " 15m"}), true),
        (json!({"unknown": true, "ends_with": " 5m"}), false),
        // What this version does not know may forbid, and so it does.
        (json!({"unknown": true, "begins_with": "every"}), false),
        (json!({"unknown": true, "one_of": "every 15m"}), false),
    ] {
        let checked = check(&approved(unknown.clone()), &plan);
        assert_eq!(checked.is_ok(), fits, "{unknown}");
    }
}

#[test]
fn values_before_count_only_where_something_goes() {
    let plan = plan();
    let approval = read(&written(&plan)).unwrap();
    let mut fresh = plan;
    fresh.changes[1].before = json!({"schedule": "drifted"}).into();
    check(&approval, &fresh).unwrap();
}

#[test]
fn an_unknown_value_in_the_file_allows_any_and_one_on_the_host_none() {
    let plan = plan();
    let approval = read(&written(&plan)).unwrap();
    for value in [
        json!("abc"),
        json!({"deep": [1]}),
        json!(null),
        json!({"unknown": true}),
    ] {
        let mut fresh = plan.clone();
        edit(&mut fresh.changes[4].after, "/digest", value);
        check(&approval, &fresh).unwrap();
    }
    let mut fresh = plan.clone();
    edit(
        &mut fresh.changes[1].after,
        "/env",
        json!({"unknown": true}),
    );
    assert_eq!(
        refused(&approval, &fresh),
        [r#"service.edited: `env` is an unknown value, {"A":"2"} was approved"#]
    );
    for near in [
        json!({"unknown": false}),
        json!({"unknown": true, "x": 1}),
        json!("unknown"),
    ] {
        assert!(!is_unknown(&near), "{near}");
    }
}

#[test]
fn another_host_project_or_lineage_is_foreign() {
    let approval = read(&written(&plan())).unwrap();
    for edit in [
        (|s| s.host = "web2".to_owned()) as fn(&mut Subject),
        |s| s.project = "other".parse().unwrap(),
        |s| s.lineage = Lineage::derive("another", 0, &s.project),
    ] {
        let mut fresh = plan();
        edit(&mut fresh.subject);
        assert_eq!(
            check(&approval, &fresh).unwrap_err().code,
            Code::PlanForeign
        );
    }
}

#[test]
fn what_is_no_plan_is_said_to_be_none() {
    let good = written(&plan());
    let text = String::from_utf8(good.clone()).unwrap();
    let newer = forged(&plan(), |m| {
        m.insert("format_version".to_owned(), "2.0".into());
    });
    let twice = forged(&plan(), |m| {
        let list = m
            .get_mut("resource_changes")
            .unwrap()
            .as_array_mut()
            .unwrap();
        list.push(list[0].clone());
    });
    let minor = forged(&plan(), |m| {
        m.insert("format_version".to_owned(), "1.7".into());
        m.insert("zebra".to_owned(), json!([1]));
    });
    read(&minor).unwrap();
    for (bytes, says) in [
        (b"".to_vec(), "cut short"),
        (good[..good.len() / 2].to_vec(), "cut short"),
        (b"version = 1".to_vec(), "no JSON"),
        (b"[]".to_vec(), "no JSON object"),
        (b"{}".to_vec(), "no `format_version`"),
        (
            format!("{{\"ok\":true,\"data\":{text}}}").into_bytes(),
            "`--json`",
        ),
        (text.replace("15m", "16m").into_bytes(), "edited"),
        (
            text.replace("\"digest\":\"", "\"digest\":\"0").into_bytes(),
            "edited",
        ),
        (newer, "newer"),
        (twice, "twice"),
        (vec![b' '; MAX_BYTES + 1], "64 MiB"),
        ("[".repeat(100_000).into_bytes(), "no JSON"),
    ] {
        let error = read(&bytes).unwrap_err();
        assert_eq!(error.code, Code::PlanInvalid);
        assert!(error.message.contains(says), "{says}: {}", error.message);
    }
}

#[test]
fn reformatting_is_no_edit() {
    let value: Value = serde_json::from_slice(&written(&plan())).unwrap();
    read(serde_json::to_string_pretty(&value).unwrap().as_bytes()).unwrap();
}

#[test]
fn steps_and_words_for_readers_approve_nothing() {
    let fresh = plan();
    let bytes = forged(&fresh, |members| {
        for name in ["steps", "holds", "resource_drift", "warnings"] {
            members.insert(
                name.to_owned(),
                json!([{"address": "service.edited", "verb": "purge"}]),
            );
        }
        let list = members.get_mut("resource_changes").unwrap();
        list[1]["fields"] = json!([{"field": "x"}]);
        list.as_array_mut().unwrap().remove(4);
    });
    assert_eq!(
        refused(&read(&bytes).unwrap(), &fresh),
        ["service.new: would be created; the file does not have it"]
    );
}

#[test]
fn a_refused_plan_is_no_approval() {
    let bytes = forged(&plan(), |members| {
        members.insert("refusals".to_owned(), json!([{"message": "it is denied"}]));
    });
    let error = read(&bytes).unwrap_err();
    assert_eq!(error.code, Code::NotApproved);
    assert_eq!(error.details, ["it is denied"]);
}

/// Whether all that one approval allows, the other allows too.
fn is_within(some: &Approval, all: &Approval) -> bool {
    some.changes.iter().all(|(address, a)| {
        all.changes.get(address).is_some_and(|b| {
            let equal = |a: &RawValue, b: &RawValue| tree(a) == tree(b);
            a.action == b.action && equal(&a.after, &b.after) && equal(&a.before, &b.before)
        })
    }) && (&some.host, &some.project, &some.lineage) == (&all.host, &all.project, &all.lineage)
}

#[derive(Debug, Clone)]
enum Mutation {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Truncate(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(a, b)| Mutation::Set(a, b)),
        (
            at(),
            prop::sample::select(vec![" ", "\n", "{", "\"", ",", "0", "\"unknown\":true,"])
        )
            .prop_map(|(a, b)| Mutation::Insert(a, b.as_bytes().to_vec())),
        (at(), 1_usize..40).prop_map(|(a, n)| Mutation::Remove(a, n)),
        at().prop_map(Mutation::Truncate),
        (at(), at()).prop_map(|(a, b)| Mutation::Swap(a, b)),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    if bytes.is_empty() {
        return;
    }
    let length = bytes.len();
    match mutation {
        Mutation::Set(at, byte) => bytes[at.index(length)] = *byte,
        Mutation::Insert(at, more) => {
            let at = at.index(length);
            bytes.splice(at..at, more.iter().copied());
        }
        Mutation::Remove(at, count) => {
            let at = at.index(length);
            bytes.drain(at..(at + count).min(length));
        }
        Mutation::Truncate(at) => bytes.truncate(at.index(length)),
        Mutation::Swap(a, b) => bytes.swap(a.index(length), b.index(length)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_mutated_file_is_refused_or_approves_no_more(
        mutations in prop::collection::vec(mutation(), 1..3),
    ) {
        let plan = plan();
        let mut bytes = written(&plan);
        let whole = read(&bytes).unwrap();
        for one in &mutations {
            mutate(&mut bytes, one);
        }
        match read(&bytes) {
            Ok(approval) => prop_assert!(is_within(&approval, &whole)),
            Err(error) => prop_assert_eq!(error.code, Code::PlanInvalid),
        }
    }

    #[test]
    fn bytes_of_any_kind_panic_nobody(bytes in any::<Vec<u8>>()) {
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn a_forged_file_approves_only_what_it_says(
        edits in prop::collection::vec((0_usize..5, 0_usize..4), 0..6),
    ) {
        let fresh = plan();
        let bytes = forged(&fresh, |members| {
            let list = members.get_mut("resource_changes").unwrap();
            for (at, edit) in edits.iter().copied() {
                let entry = &mut list[at];
                match edit {
                    0 => entry["change"]["actions"] = json!(["forget"]),
                    1 => entry["change"]["after"] = json!({"forged": 1}),
                    2 => entry["change"]["before"] = json!({"forged": 1}),
                    _ => entry["address"] = json!(format!("service.forged{at}")),
                }
            }
        });
        let touched: std::collections::BTreeSet<_> = edits
            .iter()
            .filter(|(at, edit)| match (*at, *edit) {
                (0, _) => false,
                // What was there before matters to what goes: a delete and a replace.
                (at, 2) => at == 2 || at == 3,
                _ => true,
            })
            .map(|(at, _)| fresh.changes[*at].address.to_string())
            .collect();
        let said = match check(&read(&bytes).unwrap(), &fresh) {
            Ok(_) => Vec::new(),
            Err(error) => error.details,
        };
        let said: std::collections::BTreeSet<_> = said
            .iter()
            .map(|line| line.split(':').next().unwrap().to_owned())
            .collect();
        prop_assert_eq!(said, touched);
    }
}
