//! Whenever a process or the power ends, what is left is whole.

use super::*;
use crate::{
    effect::simdisk::{After, Fault, every_crash},
    state::{
        journal::{self, Journal, JournalId},
        repair::repair,
        store,
    },
};

fn committed_twelve() -> SimDisk {
    let disk = prepared();
    for serial in 1..=12 {
        store::write(&disk, &layout(), &state(serial, 2), now()).unwrap();
    }
    disk
}

fn commit(disk: &SimDisk) -> bool {
    store::write(disk, &layout(), &state(13, 3), now()).is_ok()
}

#[test]
fn a_state_is_the_old_or_the_new_one_at_every_crash() {
    let mut seen = std::collections::BTreeMap::new();
    let points = every_crash(committed_twelve, commit, |disk, told, point| {
        let read = store::read(disk, &layout());
        let found = read.unwrap_or_else(|error| panic!("{point}: {}", error.chain()));
        let found = found.unwrap_or_else(|| panic!("{point}: it is gone"));
        let expected = match found.serial {
            12 => state(12, 2),
            _ => state(13, 3),
        };
        assert_eq!(found, expected, "{point}");
        assert!(!told || found.serial == 13, "{point}: committed and gone");
        *seen.entry(found.serial).or_insert(0) += 1;
        // Whoever comes next can work.
        for dir in [layout().root(), layout().backups()] {
            place::sweep_temporaries(disk, &dir).unwrap();
        }
        store::write(disk, &layout(), &state(14, 1), now()).unwrap();
        assert_eq!(store::read(disk, &layout()).unwrap().unwrap().serial, 14);
        assert!(
            disk.tree()
                .keys()
                .all(|path| !path.to_string_lossy().contains(".tmp"))
        );
    });
    assert!(
        points >= 17,
        "{points}: two writes of eight operations and a removal"
    );
    assert!(seen[&12] > 50 && seen[&13] >= 10, "{seen:?}");
}

#[test]
fn the_first_state_is_there_or_not_at_every_crash_and_stays_once_committed() {
    let first = |disk: &SimDisk| {
        place::prepare_dirs(disk, &layout()).is_ok()
            && store::write(disk, &layout(), &state(1, 2), now()).is_ok()
    };
    let points = every_crash(SimDisk::new, first, |disk, told, point| {
        let found = store::read(disk, &layout());
        let found = found.unwrap_or_else(|error| panic!("{point}: {}", error.chain()));
        assert!(found.is_some() || !told, "{point}");
        assert!(found.is_none_or(|found| found == state(1, 2)), "{point}");
        assert!(
            first(disk) || store::read(disk, &layout()).unwrap().is_some(),
            "{point}"
        );
    });
    assert!(points >= 16, "{points}");
    let disk = SimDisk::new();
    assert!(first(&disk));
    for after in After::ALL {
        let left = store::read(&disk.reboot(after), &layout()).unwrap();
        assert_eq!(left.unwrap(), state(1, 2), "{after:?}");
    }
}

#[test]
fn directories_whose_maker_was_killed_are_durable_before_a_state_is() {
    let prepare = |disk: &SimDisk| place::prepare_dirs(disk, &layout()).is_ok();
    every_crash(SimDisk::new, prepare, |killed, _, point| {
        if point.after != After::Kill {
            return;
        }
        place::prepare_dirs(killed, &layout()).unwrap();
        store::write(killed, &layout(), &state(1, 1), now()).unwrap();
        let left = killed.reboot(After::PowerCut(0));
        assert!(store::read(&left, &layout()).unwrap().is_some(), "{point}");
    });
}

#[test]
fn on_a_disk_that_ignores_syncs_the_simulation_sees_the_damage() {
    let mut damaged = 0;
    let careless = || {
        let disk = committed_twelve();
        disk.ignore_syncs();
        disk
    };
    every_crash(careless, commit, |disk, _, _| {
        damaged += usize::from(store::read(disk, &layout()).is_err());
    });
    assert!(damaged > 0, "or the tests beside this one test nothing");
}

#[test]
fn a_repair_that_is_cut_short_can_be_done_again() {
    let broken = || {
        let disk = committed_twelve();
        put(&disk, &layout().state_file(), b"damaged");
        disk
    };
    let mend = |disk: &SimDisk| repair(disk, &layout()).is_ok();
    let points = every_crash(broken, mend, |disk, _, point| {
        assert!(
            disk.tree().contains_key(&layout().state_file()),
            "{point}: never without one"
        );
        assert!(mend(disk), "{point}");
        assert_eq!(store::read(disk, &layout()).unwrap().unwrap().serial, 11);
        let aside = disk
            .tree()
            .into_keys()
            .filter(|path| path.to_string_lossy().contains("damaged"));
        assert_eq!(aside.count(), 1, "{point}");
    });
    assert!(points >= 16, "{points}");
}

/// Three groups; how many records the process was told to be on disk.
fn three_groups(disk: &SimDisk) -> usize {
    let id = JournalId::new(now(), 1);
    let Ok(mut journal) = Journal::create(disk, &layout(), &id) else {
        return 0;
    };
    let groups: [&[&str]; 3] = [
        &["begin"],
        &["intent 1", "intent 2", "intent 3"],
        &["done 1", "done 2"],
    ];
    let mut told = 0;
    for group in groups {
        if journal.append(group).is_err() {
            break;
        }
        told += group.len();
    }
    told
}

const RECORDS: [&str; 6] = [
    "begin", "intent 1", "intent 2", "intent 3", "done 1", "done 2",
];

fn journal_path() -> std::path::PathBuf {
    journal::path(&layout(), &JournalId::new(now(), 1))
}

#[test]
fn a_journal_keeps_all_that_was_acknowledged_at_every_crash() {
    let mut lengths = std::collections::BTreeSet::new();
    let points = every_crash(prepared, three_groups, |disk, told, point| {
        let read = journal::read::<String>(disk, &journal_path());
        let read = read.unwrap_or_else(|error| panic!("{point}: {}", error.chain()));
        assert_eq!(read, RECORDS[..read.len()], "{point}");
        assert!(read.len() >= *told, "{point}: {} of {told}", read.len());
        lengths.insert(read.len());
        // Whoever settles it goes on where it ends, and that survives.
        let (mut journal, again) = Journal::open::<String>(disk, &journal_path()).unwrap();
        assert_eq!(again, read);
        journal.append(&["settled"]).unwrap();
        for after in After::ALL {
            let left = journal::read::<String>(&disk.reboot(after), &journal_path()).unwrap();
            assert_eq!(left.last().unwrap(), "settled", "{point}, {after:?}");
            assert_eq!(left[..read.len()], read);
        }
    });
    assert!(points >= 14, "{points}");
    assert_eq!(lengths, (0..=6).collect(), "every prefix was met");
}

#[test]
fn an_append_that_failed_leaves_no_trace_in_the_next_one() {
    for fault in [Fault::Full, Fault::Error(nix::errno::Errno::EIO)] {
        for at in 1..=4 {
            let disk = prepared();
            let id = JournalId::new(now(), 1);
            let mut journal = Journal::create(&disk, &layout(), &id).unwrap();
            journal.append(&["one"]).unwrap();
            disk.fail(at, fault);
            let failed = journal
                .append(&["lost, and long enough to be torn"])
                .is_err();
            assert_eq!(failed, disk.was_struck());
            let seen = journal::read::<String>(&disk, &journal_path()).unwrap();
            assert_eq!(seen[0], "one");
            disk.heal();
            journal.append(&["two"]).unwrap();
            let left =
                journal::read::<String>(&disk.reboot(After::PowerCut(0)), &journal_path()).unwrap();
            assert_eq!(left.first().unwrap(), "one");
            assert_eq!(left.last().unwrap(), "two");
            assert_eq!(left.len(), if failed { 2 } else { 3 }, "{fault:?} at {at}");
        }
    }
}
