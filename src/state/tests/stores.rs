//! Reading, replacing and mending the state on a disk.

use nix::errno::Errno;

use super::*;
use crate::{
    effect::{
        disk::{Disk, RealDisk},
        simdisk::{After, Fault, every_crash},
    },
    error::Code,
    state::{
        backups, format,
        journal::{self, Journal, JournalId},
        repair::{Repair, repair},
        store,
    },
};

/// A disk after commits of serial 1 to `last`.
fn committed(last: u64) -> SimDisk {
    let disk = prepared();
    for serial in 1..=last {
        store::write(&disk, &layout(), &state(serial, 2), now()).unwrap();
    }
    disk
}

fn serial(disk: &SimDisk) -> u64 {
    store::read(disk, &layout()).unwrap().unwrap().serial
}

fn kept(disk: &SimDisk) -> Vec<u64> {
    let kept = backups::list(disk, &layout()).unwrap();
    kept.iter().map(|backup| backup.serial).collect()
}

#[test]
fn the_last_ten_states_are_kept_private() {
    let disk = committed(1);
    assert_eq!((serial(&disk), kept(&disk)), (1, vec![]));
    let disk = committed(13);
    assert_eq!(serial(&disk), 13);
    assert_eq!(kept(&disk), (3..=12).collect::<Vec<_>>());
    for backup in backups::list(&disk, &layout()).unwrap() {
        let file = disk.read(&backup.path, 1 << 20).unwrap().unwrap();
        assert_eq!(file.mode, 0o600);
        assert_eq!(format::decode(&file.bytes).unwrap().serial, backup.serial);
    }
    let mode = |path: &Path| disk.stat(path).unwrap().unwrap().mode;
    let l = layout();
    assert_eq!(mode(&l.state_file()), 0o600);
    assert_eq!(
        (mode(&l.root()), mode(&l.backups()), mode(&l.journal())),
        (0o711, 0o700, 0o700)
    );
}

#[test]
fn the_time_of_writing_is_recorded() {
    let disk = prepared();
    let later = now().plus_seconds(5);
    store::write(&disk, &layout(), &state(1, 0), later).unwrap();
    let read = store::read(&disk, &layout()).unwrap().unwrap();
    assert_eq!(read.written_at, later);
}

#[test]
fn nothing_is_read_where_nothing_was_ever_committed() {
    assert_eq!(store::read(&SimDisk::new(), &layout()).unwrap(), None);
    assert_eq!(store::read(&prepared(), &layout()).unwrap(), None);
    assert_eq!(store::next_serial(&prepared(), &layout(), None).unwrap(), 1);
}

#[test]
fn a_state_that_is_gone_is_lost_and_not_new() {
    let disk = committed(3);
    disk.remove(&layout().state_file()).unwrap();
    let error = store::read(&disk, &layout()).unwrap_err();
    assert_eq!(error.code, Code::StateLost);
    let repaired = repair(&disk, &layout()).unwrap().state;
    assert!(matches!(
        repaired,
        Repair::Restored {
            serial: 2,
            set_aside: None,
            ..
        }
    ));
    assert_eq!(serial(&disk), 2);
}

/// What is wrong with a file, and how it comes to be there.
type Planted<'a> = (&'a str, &'a dyn Fn(&SimDisk));

#[test]
fn what_is_not_a_file_of_ours_is_refused_and_left_alone() {
    let path = layout().state_file();
    let good = format::encode(&state(1, 1), now()).unwrap();
    let cases: [Planted<'_>; 6] = [
        ("link", &|d| {
            put(d, Path::new("/elsewhere"), &good);
            d.put_link(&path, Path::new("/elsewhere"));
        }),
        ("pipe", &|d| d.put_pipe(&path)),
        ("directory", &|d| put(d, &path.join("x"), b"")),
        ("of another user", &|d| {
            d.put(&path, &good, 0o600, Owner { uid: 7, gid: 0 });
        }),
        ("writable by the group", &|d| {
            d.put(&path, &good, 0o620, ROOT);
        }),
        ("writable by all", &|d| d.put(&path, &good, 0o602, ROOT)),
    ];
    for (what, place) in cases {
        let disk = prepared();
        place(&disk);
        let before = disk.tree();
        let results = [
            store::read(&disk, &layout()).map(|_| ()),
            store::write(&disk, &layout(), &state(2, 1), now()),
            repair(&disk, &layout()).map(|_| ()),
        ];
        for result in results {
            let error = result.unwrap_err();
            assert_eq!(error.code, Code::StateCorrupt, "{what}");
            assert!(error.message.contains("state.json"), "{what}: {error}");
        }
        assert_eq!(disk.tree(), before, "{what}");
    }
}

#[test]
fn a_user_reads_its_own_state_and_root_s_and_no_other() {
    let good = format::encode(&state(1, 1), now()).unwrap();
    for (uid, taken) in [(7, true), (0, true), (8, false)] {
        let disk = prepared();
        disk.become_user(Owner { uid: 7, gid: 7 });
        disk.put(&layout().state_file(), &good, 0o600, Owner { uid, gid: 7 });
        assert_eq!(store::read(&disk, &layout()).is_ok(), taken, "{uid}");
    }
}

#[test]
fn only_the_lineage_and_the_next_serial_replace_a_state() {
    let disk = committed(3);
    let other = Lineage::derive("another machine", 0, layout().project());
    let foreign = store::read_of(&disk, &layout(), &other).unwrap_err();
    assert_eq!(foreign.code, Code::StateForeign);
    let own = state(1, 0).lineage;
    assert!(store::read_of(&disk, &layout(), &own).unwrap().is_some());
    let mut moved = state(4, 0);
    moved.lineage = other;
    let mut renamed = state(4, 0);
    renamed.project = "b".parse().unwrap();
    for (new, code) in [
        (moved, Code::StateForeign),
        (renamed, Code::StateForeign),
        (state(3, 0), Code::Internal),
        (state(2, 0), Code::Internal),
    ] {
        let error = store::write(&disk, &layout(), &new, now()).unwrap_err();
        assert_eq!((error.code, serial(&disk)), (code, 3));
    }
}

#[test]
fn serials_never_go_back_even_when_a_state_is_restored() {
    let disk = committed(5);
    put(&disk, &layout().state_file(), b"damaged");
    assert!(matches!(
        repair(&disk, &layout()).unwrap().state,
        Repair::Restored { serial: 4, .. }
    ));
    let state = store::read(&disk, &layout()).unwrap();
    put(
        &disk,
        &layout().backups().join("state-0000000042.json"),
        b"?",
    );
    assert_eq!(
        store::next_serial(&disk, &layout(), state.as_ref()).unwrap(),
        43
    );
}

#[test]
fn a_newer_or_damaged_state_is_not_replaced() {
    for bytes in [&b""[..], b"{\"digest\":\"x"] {
        let disk = committed(2);
        put(&disk, &layout().state_file(), bytes);
        let before = disk.tree();
        let error = store::write(&disk, &layout(), &state(3, 1), now()).unwrap_err();
        assert_eq!(error.code, Code::StateCorrupt);
        assert_eq!(disk.tree(), before);
    }
}

#[test]
fn a_full_disk_leaves_the_old_state_wherever_it_strikes() {
    let mut struck = 0;
    for at in 1.. {
        let disk = committed(12);
        disk.fail(at, Fault::Full);
        let written = store::write(&disk, &layout(), &state(13, 2), now());
        if !disk.was_struck() {
            assert_eq!(serial(&disk), 13);
            break;
        }
        struck += 1;
        let error = written.unwrap_err();
        assert_eq!(error.code, Code::Io, "{at}");
        assert!(
            error.suggestion.as_ref().unwrap().contains("make room"),
            "{at}"
        );
        assert_eq!(serial(&disk), 12, "{at}");
        let temporary = disk
            .tree()
            .into_keys()
            .find(|path| path.to_string_lossy().contains(".tmp"));
        assert_eq!(temporary, None, "{at}");
        disk.heal();
        store::write(&disk, &layout(), &state(13, 2), now()).unwrap();
        assert_eq!((serial(&disk), kept(&disk).len()), (13, 10));
    }
    assert!(struck >= 10, "{struck}");
}

#[test]
fn a_failing_disk_leaves_the_old_state_or_the_new_one() {
    let mut struck = 0;
    for at in 1.. {
        let disk = committed(12);
        disk.fail(at, Fault::Error(Errno::EIO));
        let written = store::write(&disk, &layout(), &state(13, 2), now());
        if !disk.was_struck() {
            break;
        }
        struck += 1;
        let serial = serial(&disk);
        assert!(
            serial == 13 || serial == 12 && written.is_err(),
            "{at}: {serial}, {written:?}"
        );
    }
    assert!(struck >= 14, "{struck}");
}

#[test]
fn a_bad_sector_is_an_error_and_not_an_empty_state() {
    let disk = committed(2);
    disk.make_unreadable(&layout().state_file());
    assert_eq!(store::read(&disk, &layout()).unwrap_err().code, Code::Io);
}

#[test]
fn a_backup_that_does_not_read_back_stops_the_commit() {
    let disk = committed(2);
    disk.make_unreadable(&layout().backups().join("state-0000000002.json"));
    let error = store::write(&disk, &layout(), &state(3, 1), now()).unwrap_err();
    assert_eq!((error.code, serial(&disk)), (Code::Io, 2));
}

#[test]
fn the_newest_good_backup_is_put_in_place_and_the_damaged_file_kept() {
    let disk = committed(5);
    let (state_file, newest) = (
        layout().state_file(),
        layout().backups().join("state-0000000004.json"),
    );
    put(&disk, &state_file, b"damaged");
    put(&disk, &newest, b"damaged too");
    let Repair::Restored {
        from,
        serial: restored,
        set_aside,
        passed_over,
        ..
    } = repair(&disk, &layout()).unwrap().state
    else {
        panic!("it was damaged");
    };
    assert_eq!(
        (from.file_name().unwrap().to_str(), restored),
        (Some("state-0000000003.json"), 3)
    );
    assert_eq!(passed_over[0].0, newest);
    let aside = disk.read(&set_aside.unwrap(), 100).unwrap().unwrap();
    assert_eq!(
        (aside.bytes.as_slice(), aside.mode),
        (&b"damaged"[..], 0o600)
    );
    assert_eq!(serial(&disk), 3);
    assert_eq!(
        repair(&disk, &layout()).unwrap().state,
        Repair::Sound { serial: 3 }
    );
}

#[test]
fn a_damaged_journal_is_set_aside_and_a_torn_one_left() {
    let disk = committed(2);
    let mut paths = Vec::new();
    for n in 1..=3 {
        let id = JournalId::new(now(), n);
        let mut journal = Journal::create(&disk, &layout(), &id).unwrap();
        journal.append(&["one"]).unwrap();
        journal.append(&["two"]).unwrap();
        paths.push(journal.path().to_owned());
    }
    let good = disk.read(&paths[0], 1000).unwrap().unwrap().bytes;
    put(&disk, &paths[1], &good[..good.len() - 3]);
    put(&disk, &paths[2], &good[3..]);
    let begin = || disk.reboot(After::Kill);
    let mend = |disk: &SimDisk| repair(disk, &layout());
    let mended = begin();
    let report = mend(&mended).unwrap();
    assert_eq!(report.state, Repair::Sound { serial: 2 });
    let [(from, to)] = report.journals.as_slice() else {
        panic!("{:?}", report.journals);
    };
    assert_eq!(from, &paths[2]);
    assert_eq!(mended.read(to, 1000).unwrap().unwrap().bytes, &good[3..]);
    assert_eq!(journal::list(&mended, &layout()).unwrap().len(), 2);
    let points = every_crash(begin, mend, |left, _, point| {
        mend(left).unwrap();
        let kept = left.read(to, 1000).unwrap();
        assert_eq!(kept.expect("it is kept").bytes, &good[3..], "{point}");
        assert_eq!(journal::list(left, &layout()).unwrap().len(), 2, "{point}");
    });
    assert!(points >= 9, "{points}");
}

#[test]
fn what_is_not_damaged_is_not_repaired() {
    assert_eq!(
        repair(&prepared(), &layout()).unwrap().state,
        Repair::NothingThere
    );
    let newer = b"\"schema_version\":9}\n";
    let newer = format!(
        "{{\"digest\":\"{}\",\n{}",
        Digest::of(newer),
        "\"schema_version\":9}\n"
    );
    let foreign = {
        let mut state = state(6, 0);
        state.project = "b".parse().unwrap();
        format::encode(&state, now()).unwrap()
    };
    let (state_file, backup) = (
        layout().state_file(),
        layout().backups().join("state-0000000099.json"),
    );
    for (path, bytes, code) in [
        (&state_file, newer.as_bytes(), Code::StateNewer),
        (&state_file, &foreign, Code::StateForeign),
        (&backup, newer.as_bytes(), Code::StateNewer),
        (&backup, &foreign, Code::StateForeign),
    ] {
        let disk = committed(5);
        put(&disk, &state_file, b"damaged");
        put(&disk, path, bytes);
        let before = disk.tree();
        assert_eq!(repair(&disk, &layout()).unwrap_err().code, code);
        assert_eq!(disk.tree(), before);
    }
    let alone = prepared();
    put(&alone, &state_file, b"damaged");
    let before = alone.tree();
    let error = repair(&alone, &layout()).unwrap_err();
    assert_eq!((error.code, alone.tree()), (Code::StateCorrupt, before));
}

#[test]
fn the_real_disk_keeps_states_as_the_simulated_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path().join("new/dir"), "acme".parse().unwrap());
    place::prepare_dirs(&RealDisk, &layout).unwrap();
    for serial in 1..=12 {
        store::write(&RealDisk, &layout, &state(serial, 2), now()).unwrap();
    }
    assert_eq!(store::read(&RealDisk, &layout).unwrap().unwrap().serial, 12);
    assert_eq!(backups::list(&RealDisk, &layout).unwrap().len(), 10);
    let mode = |path: &Path| RealDisk.stat(path).unwrap().unwrap().mode;
    assert_eq!(mode(layout.state_dir()), 0o711);
    assert_eq!(mode(&layout.root()), 0o711);
    assert_eq!(mode(&layout.backups()), 0o700);
    assert_eq!(mode(&layout.state_file()), 0o600);
}
