#![expect(clippy::disallowed_methods, reason = "tests lay out files")]

use super::{
    super::sink::{Event, NotifyFormat, Target, UrlSource},
    *,
};
use proptest::prelude::*;

type Outbox = super::Outbox<Note>;

fn now() -> Timestamp {
    "2026-02-09T10:00:00Z".parse().unwrap()
}

/// Something to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    id: String,
    text: String,
}

impl Letter for Note {
    type Told = u32;

    fn id(&self) -> &str {
        &self.id
    }

    fn text(&self) -> String {
        self.text.clone()
    }

    fn environment(&self) -> Vec<(&'static str, &str)> {
        Vec::new()
    }
}

fn message(run: &str, event: Event) -> Note {
    Note {
        id: format!("{run}.{}", event.as_str()),
        // As long as any.
        text: "x".repeat(2000),
    }
}

fn sink(name: &str) -> Sink {
    Sink {
        name: name.parse().unwrap(),
        events: Event::OF_SERVICES.to_vec(),
        to: Target::Webhook {
            url: UrlSource::Url("http://127.0.0.1:1/".to_owned()),
            format: NotifyFormat::Json,
            ca_file: None,
        },
    }
}

fn name(text: &str) -> ResourceName {
    text.parse().unwrap()
}

fn due(outbox: &Outbox, now: Timestamp) -> Vec<String> {
    let due = outbox.due(now).into_iter();
    due.map(|waiting| format!("{} {}", waiting.sink, waiting.message.id))
        .collect()
}

#[test]
fn each_sink_hears_in_order_and_waits_for_itself_alone() {
    let mut outbox = Outbox::default();
    for (run, event) in [("1", Event::Failed), ("2", Event::Recovered)] {
        outbox.push(name("ops"), message(run, event), now());
        outbox.push(name("dev"), message(run, event), now());
        outbox.push(name("dev"), message(run, event), now());
    }
    assert_eq!(outbox.waiting.len(), 4, "nothing is there twice");
    assert_eq!(due(&outbox, now()), ["ops 1.failed", "dev 1.failed"]);

    outbox.settle(&name("dev"), "1.failed", Attempt::Delivered, now(), 1);
    let later = Attempt::Later("it answered 500".to_owned(), None);
    outbox.settle(&name("ops"), "1.failed", later, now(), 1);
    assert_eq!(due(&outbox, now()), ["dev 2.recovered"]);
    let soon = outbox.next_try().unwrap();
    assert_eq!(soon, now(), "dev's");
    outbox.settle(&name("dev"), "2.recovered", Attempt::Delivered, now(), 1);
    let wait = outbox.next_try().unwrap().millis() - now().millis();
    assert!((800..=1200).contains(&wait), "{wait}");
    assert_eq!(due(&outbox, now().plus_seconds(2)), ["ops 1.failed"]);
    assert_eq!(outbox.faults[&name("ops")].error, "it answered 500");

    outbox.settle(&name("ops"), "1.failed", Attempt::Delivered, now(), 1);
    outbox.settle(
        &name("ops"),
        "2.recovered",
        Attempt::Never("404".to_owned()),
        now(),
        1,
    );
    let fault = &outbox.faults[&name("ops")];
    assert_eq!((fault.error.as_str(), fault.given_up), ("404", 1));
    assert!(outbox.waiting.is_empty() && !outbox.is_empty());
    outbox.keep_known(&[sink("dev")], false);
    assert!(outbox.is_empty());
}

#[test]
fn what_the_other_side_asks_for_is_a_floor() {
    let mut outbox = Outbox::default();
    outbox.push(name("ops"), message("1", Event::Failed), now());
    let hint = Some(now().plus_seconds(120));
    let later = Attempt::Later("it answered 429".to_owned(), hint);
    outbox.settle(&name("ops"), "1.failed", later, now(), 1);
    assert_eq!(outbox.next_try(), hint);
    assert!(outbox.holds("1.failed") && !outbox.holds("2.failed"));
}

#[test]
fn a_clock_that_was_put_back_holds_nothing_up() {
    let mut outbox = Outbox::default();
    outbox.push(name("ops"), message("1", Event::Failed), now());
    assert_eq!(due(&outbox, now().plus_seconds(-315_360_000)).len(), 1);
}

#[test]
fn what_was_kept_is_there_after_every_crash() {
    use super::file::{self, Stored, Writer};
    use crate::effect::{
        disk::{Disk as _, Durability},
        simdisk::{SimDisk, every_crash},
    };

    // The lock is a real one, of a directory with the same name as the simulated one.
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let push = |disk: &SimDisk, run: &str| {
        let writer = Writer {
            disk,
            dir: &data,
            durability: Durability::Now,
        };
        let change =
            |outbox: &mut Outbox| outbox.push(name("ops"), message(run, Event::Failed), now());
        runtime.block_on(writer.update(now(), change)).kept
    };
    let begin = || {
        let disk = SimDisk::new();
        disk.make_dir(&data, 0o700, None).unwrap();
        assert!(push(&disk, "1"));
        disk.sync_fs(&data).unwrap();
        disk
    };
    let mut seen = BTreeMap::new();
    let points = every_crash(
        begin,
        |disk| push(disk, "2"),
        |disk, kept, point| {
            let Stored::Good(outbox) = file::read::<Note>(disk, &data) else {
                panic!("{point}: it is damaged");
            };
            let found = outbox.waiting.len();
            assert!(outbox.holds("1.failed"), "{point}: what was there is gone");
            assert!(!kept || found == 2, "{point}: kept and gone");
            *seen.entry(found).or_insert(0) += 1;
            assert!(push(disk, "3"), "{point}: whoever comes next cannot go on");
        },
    );
    assert!(points >= 6, "{points}");
    assert!(seen[&1] > 5 && seen[&2] > 2, "{seen:?}");
    for (bytes, what) in [
        (&b"{"[..], "damaged"),
        (b"", "damaged"),
        (b"{\"outbox_version\": 0}", "damaged"),
        (b"{\"outbox_version\": 1, \"waiting\": 3}", "damaged"),
        (b"{\"outbox_version\": 2}", "newer"),
    ] {
        let disk = begin();
        let path = file::path(&data);
        disk.write(&path, bytes, 0o600, None, Durability::Now)
            .unwrap();
        let found = match file::read::<Note>(&disk, &data) {
            Stored::Good(_) => "good",
            Stored::Damaged(_) => "damaged",
            Stored::Newer(2) => "newer",
            Stored::Newer(_) => "other",
        };
        assert_eq!(found, what, "{}", String::from_utf8_lossy(bytes));
    }
}

proptest! {
    #[test]
    fn it_stays_within_its_bounds_and_says_what_it_gave_up(
        steps in proptest::collection::vec((0_u8..4, 0_u8..3, 0_u32..200), 0..300),
    ) {
        let mut outbox = Outbox::default();
        let (mut pushed, mut delivered) = (0_u64, 0_u64);
        let mut given_up = 0;
        for (step, who, run) in steps {
            let sink = name(["a", "b", "c"][usize::from(who)]);
            let before = outbox.waiting.len() as u64;
            let lost: u64 = outbox.faults.values().map(|fault| fault.given_up).sum();
            let oldest = outbox.due(now()).first().map(|w| (w.sink.clone(), w.message.id.clone()));
            match (step, oldest) {
                (0 | 1, _) | (_, None) => {
                    outbox.push(sink, message(&run.to_string(), Event::Failed), now());
                    let after = outbox.waiting.len() as u64;
                    let lost_now: u64 = outbox.faults.values().map(|fault| fault.given_up).sum();
                    pushed += after + (lost_now - lost) - before;
                    given_up += lost_now - lost;
                }
                (2, Some((sink, id))) => {
                    outbox.settle(&sink, &id, Attempt::Delivered, now(), 1);
                    delivered += 1;
                }
                (_, Some((sink, id))) => {
                    outbox.settle(&sink, &id, Attempt::Never("no".to_owned()), now(), 1);
                    given_up += 1;
                }
            }
            prop_assert!(outbox.waiting.len() <= MOST);
        }
        prop_assert_eq!(pushed, delivered + given_up + outbox.waiting.len() as u64);
        let text = serde_json::to_vec(&outbox).unwrap();
        prop_assert!(text.len() < 1 << 20);
        prop_assert_eq!(serde_json::from_slice::<Outbox>(&text).unwrap(), outbox);
    }
}
