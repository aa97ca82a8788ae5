//! Snapshots as they are written, and what becomes of files that are something else.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    id::{BackendId, Digest, ResourceId},
    resource::{Definition, File, Found, Image, Meta, Part, PartName},
};

fn snapshot() -> Snapshot {
    let project: ProjectName = "acme".parse().unwrap();
    let lineage = Lineage::derive("machine", 0, &project);
    let address: Address = "service.a".parse().unwrap();
    let root = Owner { uid: 0, gid: 0 };
    let image: Image = [(
        PartName::from_static("run.json"),
        Part::File(File::new(*b"their own words", 0o600, root)),
    )]
    .into_iter()
    .collect();
    let applied = Applied {
        id: ResourceId::derive(&lineage, &address),
        backend: BackendId::from_static("worker"),
        definition: Definition::of(&json!({"name": "a", "user": "daemon"})).unwrap(),
        image: image.without_bytes(),
        renderer: None,
        meta: Meta::default(),
        declared_in: "lore.toml".into(),
        created_at: now(),
    };
    let found = Found {
        image,
        ..Found::default()
    };
    Snapshot {
        project,
        host: "web1.example.com".to_owned(),
        lineage,
        serial: 7,
        created_at: now(),
        lorectl: "0.1.0".to_owned(),
        origin: None,
        files: vec!["lore.toml".to_owned()],
        machine: Machine {
            account: Account {
                name: "root".to_owned(),
                owner: root,
                home: "/root".into(),
            },
            users: [("daemon".to_owned(), Owner { uid: 1, gid: 1 })].into(),
            auto: Scheduler::SystemdSystem,
            lingers: false,
            lingering: BTreeSet::new(),
            worker_runs: true,
            state_dir: "/var/lib/lorectl".into(),
            binary: "/usr/local/bin/lorectl".into(),
            unstable: None,
            spec_dir: Some("/srv/jobs".into()),
        },
        in_doubt: [("service.b".parse().unwrap(), "look".to_owned())].into(),
        applied: [(address.clone(), applied)].into(),
        observed: Observed {
            resources: [(address, Seen::Ours(found))].into(),
            strays: Vec::new(),
        },
    }
}

fn now() -> Timestamp {
    "2025-11-20T09:12:00Z".parse().unwrap()
}

fn refused(bytes: &[u8]) -> String {
    let error = Snapshot::decode(bytes).unwrap_err();
    assert_eq!(error.code, Code::SnapshotInvalid);
    error.message
}

/// The bytes after an edit, with the digest that belongs to them.
fn forged(edit: impl FnOnce(&str) -> String) -> Vec<u8> {
    let bytes = snapshot().encode().unwrap();
    let mut forged = edit(std::str::from_utf8(&bytes).unwrap()).into_bytes();
    seal::seal(&mut forged);
    forged
}

#[test]
fn what_is_written_is_read_and_holds_no_byte_of_a_file() {
    let snapshot = snapshot();
    let bytes = snapshot.encode().unwrap();
    let text = std::str::from_utf8(&bytes).unwrap();
    assert!(!text.contains("their own words"), "{text}");
    assert!(text.contains(&Digest::of(b"their own words").to_string()));
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(value["format_version"], FORMAT_VERSION);
    assert_eq!(Snapshot::decode(&bytes).unwrap(), snapshot);
    let empty = Snapshot {
        applied: BTreeMap::new(),
        observed: Observed::default(),
        ..snapshot
    };
    assert_eq!(Snapshot::decode(&empty.encode().unwrap()).unwrap(), empty);
}

#[test]
fn what_is_no_snapshot_is_said_to_be_none() {
    let bytes = snapshot().encode().unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    for (bytes, said) in [
        (&b""[..], "the snapshot is empty"),
        (&b"{}"[..], "no snapshot of lorectl"),
        (&b"{\"ok\":true,\"data\":{}}"[..], "`--json` prints"),
        (&bytes[..bytes.len() / 2], "cut short"),
        (text.replace("web1", "web2").as_bytes(), "was edited"),
        (
            &forged(|text| text.replace("\"1.0\"", "\"2.0\"")),
            "newer than the 1.0",
        ),
        (
            &forged(|text| text.replace("\"1.0\"", "\"0.9\"")),
            "format `0.9`",
        ),
        (
            &forged(|text| text.replace("\"serial\"", "\"serious\"")),
            "not one that this version reads",
        ),
    ] {
        let message = refused(bytes);
        assert!(message.contains(said), "{message}");
    }
    let later = forged(|text| {
        text.replace("\"1.0\"", "\"1.1\"")
            .replace("\"serial\"", "\"more\":1,\n\"serial\"")
    });
    assert_eq!(Snapshot::decode(&later).unwrap(), snapshot());
}

#[test]
fn another_host_or_project_is_foreign() {
    let snapshot = snapshot();
    let check = |project: &str, host: Option<&str>| {
        let checked = snapshot.check_subject(&project.parse().unwrap(), host);
        checked.map_err(|error| error.code)
    };
    for same in [
        None,
        Some("web1.example.com"),
        Some("web1"),
        Some("WEB1.example.COM"),
    ] {
        assert_eq!(check("acme", same), Ok(()), "{same:?}");
    }
    let foreign = Err(Code::SnapshotForeign);
    for other in ["web2", "web", "web1.example.org", ""] {
        assert_eq!(check("acme", Some(other)), foreign, "{other}");
    }
    assert_eq!(check("zeta", None), foreign);
}

#[test]
fn what_is_too_old_or_from_the_future_is_stale() {
    let snapshot = snapshot();
    let check = |later: i64| {
        let checked = snapshot.check_age(Seconds(3600), now().plus_seconds(later));
        checked.map_err(|error| error.code)
    };
    for fine in [0, 3600, -SKEW] {
        assert_eq!(check(fine), Ok(()), "{fine}");
    }
    for stale in [3601, -SKEW - 1, i64::MAX / 2000, i64::MIN / 2000] {
        assert_eq!(check(stale), Err(Code::SnapshotStale), "{stale}");
    }
}

#[test]
fn users_are_those_of_the_applied_services() {
    let users = Snapshot::users_of(&snapshot().applied).unwrap();
    assert_eq!(users, ["daemon".to_owned()].into());
}

proptest! {
    #[test]
    fn a_changed_byte_is_noticed(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = snapshot().encode().unwrap();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != to);
        // A digest is read in either case.
        prop_assume!(!bytes[at].eq_ignore_ascii_case(&to));
        bytes[at] = to;
        prop_assert!(Snapshot::decode(&bytes).is_err());
    }

    #[test]
    fn bytes_of_any_kind_panic_nobody(bytes in any::<Vec<u8>>()) {
        prop_assert!(Snapshot::decode(&bytes).is_err());
    }
}
