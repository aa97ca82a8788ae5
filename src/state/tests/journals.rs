//! Journals: what is read of them, and how long they are kept.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    effect::disk::Disk,
    error::Code,
    state::{
        journal::{self, Journal, JournalId},
        store,
    },
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Record {
    Begin { serial: u64 },
    Intent(Applied),
    Note(String),
}

fn id(n: i64) -> JournalId {
    JournalId::new(now().plus_seconds(n), 1)
}

fn records() -> Vec<Record> {
    let address = "service.a".parse().unwrap();
    vec![
        Record::Begin { serial: 4 },
        Record::Intent(applied(&address, &state(1, 0).lineage)),
        Record::Note("line\nbreak \u{0} ünï".to_owned()),
        Record::Note(String::new()),
    ]
}

/// A journal of two groups: one record, then three.
fn written() -> (SimDisk, PathBuf, Vec<u8>) {
    let disk = prepared();
    let mut journal = Journal::create(&disk, &layout(), &id(0)).unwrap();
    let (first, rest) = records()
        .split_first()
        .map(|(a, b)| (a.clone(), b.to_vec()))
        .unwrap();
    journal.append(&[first]).unwrap();
    journal.append::<Record>(&[]).unwrap();
    journal.append(&rest).unwrap();
    let path = journal.path().to_owned();
    let bytes = disk.read(&path, 1 << 20).unwrap().unwrap().bytes;
    (disk, path, bytes)
}

fn read(bytes: &[u8]) -> crate::error::Result<Vec<Record>> {
    let (disk, path, _) = written();
    put(&disk, &path, bytes);
    journal::read(&disk, &path)
}

#[test]
fn what_is_appended_is_read_back() {
    let (disk, path, bytes) = written();
    assert_eq!(journal::read::<Record>(&disk, &path).unwrap(), records());
    assert_eq!(disk.stat(&path).unwrap().unwrap().mode, 0o600);
    for line in String::from_utf8(bytes).unwrap().lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(value["n"].is_u64() && value["r"] != serde_json::Value::Null);
    }
    let (mut journal, found) = Journal::open::<Record>(&disk, &path).unwrap();
    journal.append(&[Record::Note("more".to_owned())]).unwrap();
    assert_eq!(found, records());
    assert_eq!(journal::read::<Record>(&disk, &path).unwrap().len(), 5);
    let none = journal::read::<Record>(&disk, Path::new("/s/none.jsonl"));
    assert_eq!(none.unwrap(), []);
}

#[test]
fn a_journal_is_not_begun_twice() {
    let (disk, _, _) = written();
    assert_eq!(
        Journal::create(&disk, &layout(), &id(0)).unwrap_err().code,
        Code::Internal
    );
}

#[test]
fn a_cut_leaves_the_records_before_it() {
    let (_, _, bytes) = written();
    for cut in 0..=bytes.len() {
        let read = read(&bytes[..cut]).unwrap();
        assert_eq!(read, records()[..read.len()]);
        // A record is whole without the line's end.
        let ends = bytes[..cut].split(|byte| *byte == b'\n').count() - 1;
        assert!(read.len() == ends || read.len() == ends + 1 && bytes.get(cut) == Some(&b'\n'));
    }
}

#[test]
fn a_flipped_bit_is_damage_and_not_a_shorter_journal() {
    let (_, _, bytes) = written();
    let (last, first_group) = (
        bytes.len() - 1,
        bytes.iter().position(|b| *b == b'\n').unwrap(),
    );
    let mut damaged = bytes.clone();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            damaged[at] ^= 1 << bit;
            match read(&damaged) {
                Err(error) => assert_eq!(error.code, Code::StateCorrupt, "bit {bit} of byte {at}"),
                // The two that look like a torn end: the line's end itself, and a zero.
                Ok(read) => {
                    assert!(at == last || damaged[at] == 0, "bit {bit} of byte {at}");
                    assert!(at > first_group, "a later group vouches for this one");
                    assert_eq!(read, records()[..read.len()]);
                }
            }
            damaged[at] ^= 1 << bit;
        }
    }
}

#[test]
fn lines_that_are_lost_doubled_or_swapped_are_damage() {
    let (_, _, bytes) = written();
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for order in [
        &[1, 2, 3][..],
        &[0, 2, 3],
        &[0, 1, 3],
        &[0, 0, 1, 2, 3],
        &[0, 1, 2, 3, 3],
        &[0, 2, 1, 3],
        &[3],
        &[0, 1, 2, 3, 0],
    ] {
        let shuffled: String = order.iter().map(|at| lines[*at]).collect();
        let error = read(shuffled.as_bytes()).unwrap_err();
        assert_eq!(error.code, Code::StateCorrupt, "{order:?}");
        assert!(error.message.contains(".jsonl"), "{error}");
    }
}

#[test]
fn blocks_that_did_not_reach_the_disk_tear_only_the_last_group() {
    let (_, _, bytes) = written();
    let first = bytes.iter().position(|b| *b == b'\n').unwrap() + 1;
    let mut lines = bytes.split_inclusive(|b| *b == b'\n');
    let last = bytes.len() - lines.next_back().unwrap().len();
    for start in (0..bytes.len()).step_by(7) {
        for end in (start + 1..=bytes.len()).step_by(11) {
            let mut holed = bytes.clone();
            holed[start..end].fill(0);
            match read(&holed) {
                Ok(read) => {
                    assert_eq!(read, records()[..read.len()]);
                    // With a whole line behind it, the first group is known to have been there.
                    assert!(start >= first || end >= last, "{start}..{end}");
                }
                Err(error) => {
                    assert_eq!(error.code, Code::StateCorrupt);
                    assert!(start < first, "{start}..{end} is in the last group");
                }
            }
        }
    }
}

#[test]
fn a_whole_record_of_a_newer_version_is_told_apart_from_damage() {
    let disk = prepared();
    let mut journal = Journal::create(&disk, &layout(), &id(0)).unwrap();
    journal.append(&["unheard of"]).unwrap();
    let error = journal::read::<Record>(&disk, journal.path()).unwrap_err();
    assert_eq!(error.code, Code::StateNewer);
}

#[test]
fn a_journal_that_others_could_have_written_is_refused() {
    let (_, path, bytes) = written();
    for (mode, uid) in [(0o606, 0), (0o600, 7)] {
        let disk = prepared();
        disk.put(&path, &bytes, mode, Owner { uid, gid: 0 });
        let error = journal::read::<Record>(&disk, &path).unwrap_err();
        assert_eq!(error.code, Code::StateCorrupt);
    }
}

#[test]
fn names_of_journals_sort_by_time() {
    let names: Vec<String> = [-1, 0, 1, 1_000_000_000]
        .into_iter()
        .map(|n| id(n).to_string())
        .collect();
    assert_eq!(names[1], "20260102T030405678Z-00000001");
    assert!(names.is_sorted());
    for name in &names {
        assert_eq!(&name.parse::<JournalId>().unwrap().to_string(), name);
    }
    for bad in [
        "",
        "x",
        "../20260102T030405678Z-0000000",
        "20260102T030405678Z-0000000G",
        "20260102T030405678Z-000000011",
    ] {
        assert!(bad.parse::<JournalId>().is_err(), "{bad}");
    }
}

#[test]
fn the_next_name_sorts_last_whatever_the_clock_says() {
    let disk = prepared();
    let mut last = None;
    for (n, random) in [(0, 7), (0, 7), (0, 9), (-100, 3), (5, 0), (5, 0)] {
        let at = now().plus_seconds(n);
        let id = journal::next_id(&disk, &layout(), at, random).unwrap();
        Journal::create(&disk, &layout(), &id)
            .unwrap()
            .append(&["begin"])
            .unwrap();
        assert!(last.as_ref() < Some(&id), "{last:?}, {id}");
        last = Some(id);
    }
    assert_eq!(journal::latest(&disk, &layout()).unwrap(), last);
    put(
        &disk,
        &journal::path(&layout(), &JournalId::new(now().plus_seconds(9), u32::MAX)),
        b"",
    );
    let error = journal::next_id(&disk, &layout(), now(), 0).unwrap_err();
    assert_eq!(error.code, Code::Internal);
}

/// Apply n begins 10 n seconds after the first, writes so many bytes, and commits 5 seconds later.
fn apply(disk: &SimDisk, n: i64, bytes: usize) {
    let mut journal = Journal::create(disk, &layout(), &id(10 * n)).unwrap();
    journal.append(&["x".repeat(bytes)]).unwrap();
    let serial = u64::try_from(n).unwrap();
    let later = now().plus_seconds(10 * n + 5);
    store::write(disk, &layout(), &state(serial, 0), later).unwrap();
}

#[test]
fn so_many_journals_are_kept_for_the_history() {
    let disk = prepared();
    let all_finished = |_: &JournalId| false;
    let kept = i64::try_from(journal::KEPT).unwrap();
    for n in 1..=kept {
        apply(&disk, n, 1);
        assert_eq!(journal::prune(&disk, &layout(), &all_finished).unwrap(), 0);
    }
    apply(&disk, kept + 1, 1);
    apply(&disk, kept + 2, 1);
    let first = id(10);
    let prune = |keep: &dyn Fn(&JournalId) -> bool| journal::prune(&disk, &layout(), keep).unwrap();
    assert_eq!(prune(&|id| *id == first), 1, "an unfinished one stays");
    assert_eq!(prune(&all_finished), 1);
    assert_eq!(prune(&all_finished), 0);
    let left = journal::list(&disk, &layout()).unwrap();
    assert_eq!((left.len(), left.first()), (journal::KEPT, Some(&id(30))));
}

#[test]
fn large_journals_are_kept_as_long_as_the_oldest_backup() {
    let disk = prepared();
    let all_finished = |_: &JournalId| false;
    put(&disk, &layout().journal().join("notes.txt"), b"");
    for n in 1..=14 {
        // The second alone is larger than what is kept for the history.
        apply(&disk, n, if n == 2 { 33 << 20 } else { 1 });
        let removed = journal::prune(&disk, &layout(), &all_finished).unwrap();
        let left = journal::list(&disk, &layout()).unwrap();
        // The oldest backup is serial n - 10, which that apply wrote.
        match n {
            ..13 => assert_eq!(removed, 0, "{n}"),
            13 => assert_eq!((removed, left.first()), (2, Some(&id(30)))),
            _ => assert_eq!(left.first(), Some(&id(30))),
        }
    }
    assert_eq!(journal::latest(&disk, &layout()).unwrap(), Some(id(140)));
}

proptest! {
    #[test]
    fn no_damage_panics_the_reader_or_changes_a_record(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..60, prop::collection::vec(any::<u8>(), 0..6)), 1..4),
    ) {
        let (_, _, mut bytes) = written();
        for (at, length, with) in cuts {
            let at = at.index(bytes.len() + 1);
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, with);
        }
        if let Ok(read) = read(&bytes) {
            prop_assert_eq!(&read, &records()[..read.len()]);
        }
    }
}
