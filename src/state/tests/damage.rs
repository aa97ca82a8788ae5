//! A state is read as it was written, or not at all.

use std::error::Error as _;

use super::*;
use crate::{
    error::Code,
    id::Digest,
    state::{
        format::{self, SCHEMA_VERSION, Unreadable},
        journal, store,
    },
};

const VERSION_1: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/state/v1.json"
));

/// The same document with another body and the right digest.
fn resealed(bytes: &[u8], change: impl Fn(String) -> String) -> Vec<u8> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let (_, body) = text.split_once('\n').unwrap();
    let body = change(body.to_owned());
    format!("{{\"digest\":\"{}\",\n{body}", Digest::of(body.as_bytes())).into_bytes()
}

fn read(bytes: &[u8]) -> crate::error::Result<Option<State>> {
    let disk = prepared();
    put(&disk, &layout().state_file(), bytes);
    let before = disk.tree();
    let read = store::read(&disk, &layout());
    assert_eq!(disk.tree(), before, "reading changes nothing");
    read
}

#[test]
fn a_state_of_version_1_is_read_and_written_as_it_was() {
    let state = format::decode(VERSION_1).unwrap();
    assert_eq!(state, super::state(7, 2));
    let written = format::encode(&state, now()).unwrap();
    assert_eq!(
        String::from_utf8(written).unwrap(),
        String::from_utf8(VERSION_1.to_vec()).unwrap()
    );
}

#[test]
fn the_document_is_json_with_a_line_for_each_resource() {
    let bytes = format::encode(&state(1, 3), now()).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(
        value["resources"]["service.s2"]["backend"],
        "systemd-system"
    );
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(
        text.lines()
            .filter(|line| line.contains("\"service.s"))
            .count(),
        3
    );
    let empty = format::encode(&state(1, 0), now()).unwrap();
    assert_eq!(format::decode(&empty).unwrap().resources.len(), 0);
}

#[test]
fn every_damage_has_its_code_and_names_the_file_and_the_command() {
    let good = format::encode(&state(3, 2), now()).unwrap();
    let other =
        |from: &'static str, to: &'static str| resealed(&good, |body| body.replacen(from, to, 1));
    let newer = format!("\"schema_version\":{}", SCHEMA_VERSION + 1).leak();
    for (what, bytes, code) in [
        ("empty", Vec::new(), Code::StateCorrupt),
        ("zeros", vec![0; good.len()], Code::StateCorrupt),
        ("not JSON", b"resources = []\n".to_vec(), Code::StateCorrupt),
        (
            "JSON of others",
            b"{\"version\":4,\"serial\":1,\"resources\":[]}".to_vec(),
            Code::StateCorrupt,
        ),
        (
            "edited",
            String::from_utf8(good.clone())
                .unwrap()
                .replace("every\":\"5m", "every\":\"6m")
                .into_bytes(),
            Code::StateCorrupt,
        ),
        (
            "more behind it",
            [good.as_slice(), b"\n"].concat(),
            Code::StateCorrupt,
        ),
        (
            "twice",
            [good.as_slice(), good.as_slice()].concat(),
            Code::StateCorrupt,
        ),
        (
            "a key of no version",
            other("\"serial\":", "\"extra\":1,\"serial\":"),
            Code::StateCorrupt,
        ),
        (
            "a missing key",
            other("\"serial\":3,", ""),
            Code::StateCorrupt,
        ),
        (
            "a bad address",
            other("service.s0", "timer.s0"),
            Code::StateCorrupt,
        ),
        (
            "version 0",
            other("\"schema_version\":1", "\"schema_version\":0"),
            Code::StateCorrupt,
        ),
        (
            "newer",
            other("\"schema_version\":1", newer),
            Code::StateNewer,
        ),
        (
            "newer, of another shape",
            resealed(&good, |_| "\"schema_version\":99,\n\"x\":[]}".to_owned()),
            Code::StateNewer,
        ),
        (
            "another project",
            other("\"acme\"", "\"bcme\""),
            Code::StateForeign,
        ),
    ] {
        let error = read(&bytes).unwrap_err();
        assert_eq!(error.code, code, "{what}: {}", error.chain());
        assert!(
            error.message.contains("/s/acme/state.json"),
            "{what}: {error}"
        );
        assert!(error.suggestion.is_some(), "{what}");
        if code == Code::StateCorrupt {
            assert!(
                error
                    .suggestion
                    .as_ref()
                    .unwrap()
                    .contains("lorectl state repair"),
                "{what}"
            );
            assert!(error.source().is_some(), "{what} says why");
        }
    }
    assert_eq!(read(&good).unwrap().unwrap().serial, 3);
}

#[test]
fn every_truncation_and_every_flipped_bit_of_a_small_state_is_noticed() {
    let good = format::encode(&state(3, 1), now()).unwrap();
    for cut in 0..good.len() {
        assert!(format::decode(&good[..cut]).is_err(), "cut at {cut}");
    }
    let mut bytes = good.clone();
    for at in 0..good.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            let read = format::decode(&bytes);
            assert!(read.is_err(), "bit {bit} of byte {at}");
            assert!(
                !matches!(read, Err(Unreadable::Newer(_))),
                "damage is not taken for a version"
            );
            bytes[at] ^= 1 << bit;
        }
    }
    assert!(format::decode(&bytes).is_ok());
}

proptest! {
    #[test]
    fn any_state_is_read_as_it_was_written(state in any_state()) {
        let bytes = format::encode(&state, state.written_at).unwrap();
        prop_assert_eq!(format::decode(&bytes).unwrap(), state.clone());
        let head = format::decode_head(&bytes).unwrap();
        prop_assert_eq!((head.serial, head.lineage, head.written_at), (state.serial, state.lineage, state.written_at));
    }

    #[test]
    fn any_cut_and_any_changed_byte_is_refused(
        state in any_state(),
        cut in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        change in 1_u8..,
    ) {
        let mut bytes = format::encode(&state, now()).unwrap();
        prop_assert!(format::decode(&bytes[..cut.index(bytes.len())]).is_err());
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        prop_assert!(format::decode(&bytes).is_err());
        prop_assert!(format::decode_head(&bytes).is_err());
    }

    #[test]
    fn no_bytes_panic_a_reader(bytes in any::<Vec<u8>>()) {
        let _ = format::decode(&bytes);
        let disk = prepared();
        let path = layout().journal().join("x.jsonl");
        put(&disk, &path, &bytes);
        let _ = journal::read::<serde_json::Value>(&disk, &path);
    }

    /// Damage behind the digest: a body that someone sealed anew.
    #[test]
    fn no_sealed_nonsense_panics_a_reader(
        state in any_state(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..40, "[\\[\\]{}\",:0-9a-z\\\\\n]{0,6}"), 0..4),
    ) {
        let bytes = format::encode(&state, now()).unwrap();
        let damaged = resealed(&bytes, |body| {
            let mut chars: Vec<char> = body.chars().collect();
            for (at, length, text) in &cuts {
                let at = at.index(chars.len() + 1);
                let end = (at + length).min(chars.len());
                chars.splice(at..end, text.chars());
            }
            chars.into_iter().collect()
        });
        let _ = format::decode(&damaged);
        let _ = format::decode_head(&damaged);
        let _ = read(&damaged);
    }
}
