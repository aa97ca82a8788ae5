//! The state room as a whole: states and journals as they survive damage, crashes and full disks.

use std::path::Path;

use proptest::prelude::*;
use serde_json::json;

use crate::{
    effect::simdisk::SimDisk,
    id::{Address, BackendId, Digest, Lineage, ResourceId, Timestamp},
    layout::Layout,
    resource::{Applied, Definition, File, Image, Meta, Owner, Part, PartName},
    state::{
        format::{Origin, OriginKind, State},
        place,
    },
};

mod crash;
mod damage;
mod journals;
mod stores;

const ROOT: Owner = Owner { uid: 0, gid: 0 };
/// 2 January 2026, 03:04:05.678.
fn now() -> Timestamp {
    Timestamp::from_millis(1_767_323_045_678)
}

fn layout() -> Layout {
    Layout::new("/s".into(), "acme".parse().unwrap())
}

/// A disk with the project's directories.
fn prepared() -> SimDisk {
    let disk = SimDisk::new();
    place::prepare_dirs(&disk, &layout()).unwrap();
    disk
}

fn applied(address: &Address, lineage: &Lineage) -> Applied {
    let mut image = Image::empty();
    let file = |text: String, mode| File {
        digest: Digest::of(text.as_bytes()),
        mode,
        owner: ROOT,
        bytes: None,
    };
    for part in ["service", "timer", "run.json"] {
        let file = file(format!("{part} of {address}"), 0o644);
        image.set(PartName::from_static(part), Part::File(file));
    }
    image.set(PartName::from_static("enabled"), Part::Flag(true));
    image.set(
        PartName::from_static("load-state"),
        Part::Text("“quoted”\n".to_owned()),
    );
    let definition =
        json!({"run": ["/usr/bin/true", "ä\"\\\u{1}"], "every": "5m", "z": 1.50, "a": null});
    Applied {
        id: ResourceId::derive(lineage, address),
        backend: BackendId::from_static("systemd-system"),
        definition: Definition::of(&definition).unwrap(),
        image,
        renderer: None,
        meta: Meta {
            protect: true,
            ..Meta::default()
        },
        declared_in: "lore.toml".into(),
        created_at: Timestamp::from_millis(1_767_225_600_123),
    }
}

/// A state with `count` services.
fn state(serial: u64, count: usize) -> State {
    let project = "acme".parse().unwrap();
    let lineage = Lineage::derive("machine", 0, &project);
    let addresses = (0..count).map(|n| format!("service.s{n}").parse::<Address>().unwrap());
    let resources = addresses
        .map(|address| {
            let applied = applied(&address, &lineage);
            (address, applied)
        })
        .collect();
    State {
        serial,
        origin: Some(Origin {
            kind: OriginKind::Git,
            value: "https://git.example.com/ops/hosts.git//web".to_owned(),
        }),
        files: vec!["lore.toml".to_owned(), "more/ünï.toml".to_owned()],
        resources,
        ..State::new(project, lineage, now())
    }
}

/// Any state that could be committed.
fn any_state() -> impl Strategy<Value = State> {
    let text = "[ -~äé\u{1F600}\n\"\\\\]{0,12}";
    let part = prop_oneof![
        any::<bool>().prop_map(Part::Flag),
        text.prop_map(Part::Text),
        (any::<Vec<u8>>(), 0_u32..0o7777, any::<u32>(), any::<u32>()).prop_map(
            |(bytes, mode, uid, gid)| Part::File(File {
                digest: Digest::of(&bytes),
                mode,
                owner: Owner { uid, gid },
                bytes: None,
            })
        ),
    ];
    let parts = prop::collection::vec((text.prop_map(PartName::from_text), part), 0..5);
    let definition = prop_oneof![
        Just(json!({})),
        (text, any::<i64>(), any::<f64>()).prop_map(|(t, i, f)| json!({"t": t, "n": [i, f, null]})),
    ];
    let kind = prop_oneof![Just("service"), Just("credential"), Just("deployment")];
    let resource = (
        kind,
        "[a-z0-9][a-z0-9_-]{0,9}",
        parts,
        definition,
        any::<bool>(),
        text,
        any::<i64>(),
    );
    let resources = prop::collection::vec(resource, 0..6);
    let origin = prop::option::of((any::<bool>(), text));
    let files = prop::collection::vec(text, 0..4);
    (1..=u64::MAX, origin, files, resources, any::<i64>()).prop_map(
        |(serial, origin, files, resources, at)| {
            let mut state = State {
                serial,
                origin: origin.map(|(git, value)| Origin {
                    kind: if git {
                        OriginKind::Git
                    } else {
                        OriginKind::Path
                    },
                    value,
                }),
                files,
                ..state(serial, 0)
            };
            state.written_at = Timestamp::from_millis(at);
            for (kind, name, parts, definition, protect, text, at) in resources {
                let address: Address = format!("{kind}.{name}").parse().unwrap();
                let record = Applied {
                    definition: Definition::of(&definition).unwrap(),
                    image: parts.into_iter().collect(),
                    meta: Meta {
                        depends_on: vec![address.clone()],
                        protect,
                        ignore_drift: vec![text.clone()],
                    },
                    declared_in: text.into(),
                    created_at: Timestamp::from_millis(at),
                    ..applied(&address, &state.lineage)
                };
                state.resources.insert(address, record);
            }
            state
        },
    )
}

fn put(disk: &SimDisk, path: &Path, bytes: &[u8]) {
    disk.put(path, bytes, 0o600, ROOT);
}
