//! A user's process as it should be, and as a user could make it be.
#![expect(clippy::disallowed_methods, reason = "tests lay out files")]

use std::{fs, path::Path, sync::Arc, thread};

use serde::Serialize;

use super::{wire::Bytes, *};
use crate::{
    effect::{
        dbus::Manager,
        disk::{Disk, Durability, EntryKind, RealDisk},
        user,
    },
    resource::Owner,
};

/// A delegate to somebody who answers as `serve` does with the other ends of both sockets.
fn delegate(serve: impl FnOnce(UnixStream, UnixStream) + Send + 'static) -> Arc<Delegate> {
    let (files, their_files) = UnixStream::pair().unwrap();
    let (bus, their_bus) = UnixStream::pair().unwrap();
    thread::spawn(move || serve(their_files, their_bus));
    let limits = Limits {
        file: Duration::from_millis(300),
        all: Duration::from_secs(60),
        bytes: 1 << 20,
    };
    let up = Up {
        files,
        bus: Some(bus),
        child: None,
        left: (limits.all, limits.bytes),
    };
    let mut delegate = Delegate::with("git".to_owned(), None, Link::Up(up));
    delegate.limits = limits;
    Arc::new(delegate)
}

/// One who does what is asked.
fn honest() -> Arc<Delegate> {
    delegate(|files, _bus| {
        block_on(async {
            files.set_nonblocking(true).unwrap();
            let mut files = tokio::net::UnixStream::from_std(files).unwrap();
            serve::answer_files(&mut files).await.unwrap();
        });
    })
}

fn block_on<T>(what: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(what)
}

/// One who takes a question and answers with these bytes.
fn saying(bytes: Vec<u8>) -> Arc<Delegate> {
    delegate(move |mut files, _bus| {
        let mut question = [0; 16];
        let _ = files.read(&mut question);
        let _ = files.write_all(&bytes);
        // What is open still says nothing more.
        let _ = files.read(&mut [0; 1 << 12]);
        thread::park();
    })
}

fn answering(answer: &impl Serialize) -> Arc<Delegate> {
    saying(wire::pack(answer).unwrap())
}

fn disk(user: Arc<Delegate>) -> SharedDisk {
    SharedDisk::new(user, "/var/lib/lorectl".into())
}

#[test]
fn files_are_treated_as_by_ones_own_hand() {
    let dir = tempfile::tempdir().unwrap();
    let disk = disk(honest());
    let at = |name: &str| dir.path().join(name);
    let me = user::effective();

    disk.make_dir(&at("a/b"), 0o750, Some(me)).unwrap();
    let bytes = [b"text \0 ".as_slice(), &[0xff, 0xfe, 0]].concat();
    for bytes in [bytes.as_slice(), b"[Unit]\n"] {
        disk.write(&at("a/b/file"), bytes, 0o640, Some(me), Durability::Now)
            .unwrap();
        let read = disk.read(&at("a/b/file"), 100).unwrap().unwrap();
        let direct = RealDisk.read(&at("a/b/file"), 100).unwrap().unwrap();
        assert_eq!(
            (read.bytes, read.mode, read.owner),
            (bytes.to_vec(), 0o640, me)
        );
        assert_eq!(read.modified, direct.modified);
    }
    disk.append(&at("a/b/file"), b"more", 0o600, Durability::Batch)
        .unwrap();
    assert_eq!(fs::read(at("a/b/file")).unwrap(), b"[Unit]\nmore");
    let too_large = disk.read(&at("a/b/file"), 3).unwrap_err();
    assert_eq!(too_large.to_string(), "it is larger than 3 bytes");

    disk.link(Path::new("file"), &at("a/b/link")).unwrap();
    let target = disk.read_link(&at("a/b/link")).unwrap();
    assert_eq!(target.as_deref(), Some(Path::new("file")));
    assert_eq!(disk.read_link(&at("a/b/file")).unwrap(), None);
    let entries = [("file", EntryKind::File), ("link", EntryKind::Link)];
    let entries = entries.map(|(name, kind)| (name.to_owned(), kind));
    assert_eq!(disk.list(&at("a/b")).unwrap(), entries);
    disk.link(Path::new("a/b"), &at("there")).unwrap();
    disk.list(&at("there")).unwrap_err();
    assert_eq!(disk.list_behind_links(&at("there")).unwrap(), entries);
    let resolved = disk.resolve(&at("there")).unwrap();
    assert_eq!(resolved, RealDisk.resolve(&at("there")).unwrap());
    // A link is not followed, and its error is the system's own.
    let link = disk.read(&at("a/b/link"), 100).unwrap_err();
    assert_eq!(link.raw_os_error(), Some(nix::errno::Errno::ELOOP as i32));

    let stat = disk.stat(&at("a/b")).unwrap().unwrap();
    assert_eq!(
        (stat.kind, stat.mode, stat.owner),
        (EntryKind::Dir, 0o750, me)
    );
    assert!(disk.stat(&at("none")).unwrap().is_none());
    assert!(disk.read(&at("none"), 1).unwrap().is_none());
    disk.sync_fs(&at("a")).unwrap();
    assert!(!disk.remove_dir(&at("a/b")).unwrap());
    assert!(disk.remove(&at("a/b/link")).unwrap());
    assert!(!disk.remove(&at("a/b/link")).unwrap());
    assert!(disk.remove_tree(&at("a")).unwrap());
    assert!(!at("a").exists());
}

#[test]
fn what_is_ours_is_never_asked_of_the_user() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = Arc::new(Delegate::of_nobody("git"));
    let disk = SharedDisk::new(nobody, dir.path().to_owned());
    let path = dir.path().join("state.json");
    disk.write(&path, b"{}", 0o600, None, Durability::Now)
        .unwrap();
    assert_eq!(disk.read(&path, 10).unwrap().unwrap().bytes, b"{}");
    let theirs = disk.read(&dir.path().with_extension("x"), 10).unwrap_err();
    assert_eq!(theirs.to_string(), "there is no user `git` on this host");
}

#[test]
fn an_answer_out_of_all_bounds_ends_the_talk() {
    let path = Path::new("/home/git/x");
    for (said, why) in [
        (vec![0xff; 4], "it says more than it may"),
        // More than is left to it in this batch.
        (
            (2_u32 << 20).to_be_bytes().to_vec(),
            "it says more than it may",
        ),
        (
            [&[0, 0, 0, 2], b"{x".as_slice()].concat(),
            "what it says cannot be read",
        ),
        (vec![0, 0, 0, 9, b'{'], "it did not answer in time"),
        (Vec::new(), "it did not answer in time"),
    ] {
        let disk = disk(saying(said.clone()));
        let error = disk.stat(path).unwrap_err().to_string();
        let expected = format!("the process that acts for `git` broke off: {why}");
        assert_eq!(error, expected, "{said:?}");
        // Nothing that it says later is heard.
        assert_eq!(disk.stat(path).unwrap_err().to_string(), expected);
    }
    let gone = disk(delegate(|_files, _bus| {}));
    let error = gone.stat(path).unwrap_err().to_string();
    assert!(
        error.starts_with("the process that acts for `git` broke off"),
        "{error}"
    );
}

#[test]
fn an_answer_to_another_question_is_refused() {
    let path = Path::new("/home/git/x");
    let astray = "the process that acts for `git` answered something else than what it was asked";
    let says = |answer: &FileAnswer| disk(answering(answer));
    let refused = |error: io::Error| assert_eq!(error.to_string(), astray);
    refused(says(&FileAnswer::Done).stat(path).unwrap_err());
    refused(says(&FileAnswer::Was(true)).read(path, 10).unwrap_err());
    refused(says(&FileAnswer::Absent).sync_fs(path).unwrap_err());
    refused(says(&FileAnswer::Absent).remove(path).unwrap_err());
    for name in ["", ".", "..", "a/b", "/etc/shadow", "a\0"] {
        let entries = FileAnswer::Entries(vec![(name.to_owned(), EntryKind::File)]);
        refused(says(&entries).list_behind_links(path).unwrap_err());
    }
    for resolved in ["x", "/var/lib/lorectl/p/services"] {
        let resolved = FileAnswer::Path(Bytes::from(Path::new(resolved)));
        refused(says(&resolved).resolve(path).unwrap_err());
    }
    let long = FileAnswer::Path(Bytes::from("x".repeat(5000).as_bytes()));
    refused(says(&long).read_link(path).unwrap_err());

    let file = FileAnswer::File {
        bytes: Bytes::from(b"12345".as_slice()),
        mode: 0o107_777,
        owner: Owner { uid: 0, gid: 0 },
        modified: i64::MAX,
    };
    let error = says(&file).read(path, 4).unwrap_err();
    assert_eq!(error.to_string(), "it is larger than 4 bytes");
    assert_eq!(says(&file).read(path, 5).unwrap().unwrap().mode, 0o7777);
    let failed = FileAnswer::Failed {
        number: None,
        text: "\x1b[2J\n".repeat(1000),
    };
    let error = says(&failed).stat(path).unwrap_err().to_string();
    assert_eq!(error.chars().count(), 1000);
    assert!(!error.contains(char::is_control));
}

#[test]
fn a_manager_says_as_much_as_it_was_asked() {
    let ask = |answer: &BusAnswer| {
        let frame = wire::pack(answer).unwrap();
        let delegate = delegate(move |_files, mut bus| {
            let _ = bus.read(&mut [0; 1 << 12]);
            let _ = bus.write_all(&frame);
            thread::park();
        });
        let names = ["a.timer".to_owned(), "b.timer".to_owned()];
        block_on(async { Manager::through(&delegate).stop(&names).await })
    };
    let right = BusAnswer::Results(vec![None, Some("no".to_owned())]);
    assert_eq!(ask(&right).unwrap(), [Ok(()), Err("no".to_owned())]);
    for wrong in [
        BusAnswer::Results(vec![None]),
        BusAnswer::Results(vec![None; 3]),
        BusAnswer::Done,
        BusAnswer::States(Vec::new()),
    ] {
        let error = ask(&wrong).unwrap_err();
        assert_eq!(error.code, Code::BackendUnavailable, "{error:?}");
    }
    let missing = BusAnswer::Failed(wire::Fault::NoManager("none runs".to_owned()));
    let error = ask(&missing).unwrap_err();
    assert_eq!(error.code, Code::UserManagerMissing);
    assert_eq!(error.message, "none runs");
    let hint = "Run `loginctl enable-linger git` as root.";
    assert_eq!(error.suggestion.as_deref(), Some(hint));
}

#[test]
fn a_question_that_was_given_up_is_not_answered_to_the_next() {
    let delegate = delegate(|_files, mut bus| {
        let _ = bus.read(&mut [0; 1 << 12]);
        thread::park();
    });
    let manager = Manager::through(&delegate);
    let names = ["a.timer".to_owned()];
    block_on(async {
        let late = time::timeout(Duration::from_millis(20), manager.stop(&names)).await;
        assert!(late.is_err());
        let error = manager.stop(&names).await.unwrap_err();
        assert!(error.message.contains("was given up"), "{error:?}");
    });
    // A new batch has a new process, where there is such a user.
    delegate.begin();
    let error = block_on(manager.stop(&names)).unwrap_err();
    assert_eq!(error.message, "there is no user `git` on this host");
}
