use proptest::prelude::*;

use super::*;
use crate::{
    credential::{
        definition::{Rotate, Source, StoreKind},
        finding::{Expiry, Finding, Provenance},
        notify::message::{Case, Message},
    },
    id::Seconds,
    notify::{
        Letter,
        sink::{NotifyFormat, Target, UrlSource},
    },
    scrub::Scrubber,
};

const DAY: i64 = 86_400;

fn start() -> Timestamp {
    "2026-02-03T04:05:06Z".parse().unwrap()
}

fn sink(events: &[Event]) -> Sink {
    Sink {
        name: "ops".parse().unwrap(),
        events: events.to_vec(),
        to: Target::Webhook {
            url: UrlSource::Url(String::new()),
            format: NotifyFormat::Json,
            ca_file: None,
        },
    }
}

fn fingerprint(number: u64) -> Fingerprint {
    serde_json::from_value(format!("hmac:{number:04x}").into()).unwrap()
}

/// A credential whose facts change step by step, a minute each.
struct World {
    credential: Credential,
    facts: Facts,
    told: Option<Told>,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        Self {
            credential: Credential {
                project: "acme".parse().unwrap(),
                name: "gitlab".parse().unwrap(),
                id: serde_json::from_value("0123456789ab".into()).unwrap(),
                provider: Some("gitlab".to_owned()),
                table: None,
                base_url: None,
                ca_file: None,
                with: std::collections::BTreeMap::new(),
                source: Source::Env("GITLAB_TOKEN".to_owned()),
                issuer: None,
                signed_with: None,
                scopes: std::collections::BTreeSet::new(),
                warn: Seconds(14 * 86_400),
                ends_at: None,
                rotate: Rotate::default(),
                store: StoreKind::File,
                deliver: Vec::new(),
                notify: vec![sink(&Event::OF_CREDENTIALS)],
            },
            facts: Facts {
                generation: 1,
                fingerprint: Some(fingerprint(1)),
                obtained_at: Some(start()),
                expiry: None,
                renew_at: None,
                revoke_at: None,
                due: None,
                finding: None,
                setback: None,
            },
            told: None,
            now: start(),
        }
    }

    fn found(&mut self, status: Status) {
        self.facts.finding = Some(Finding::new(status, self.now));
    }

    fn live_for(&mut self, days: i64) {
        self.found(Status::Live);
        self.facts.due = None;
        self.facts.expiry = Some(Expiry {
            at: start().plus_seconds(days * DAY),
            from: Provenance::Body,
        });
    }

    fn next(&mut self) {
        self.facts.generation += 1;
        self.facts.fingerprint = Some(fingerprint(self.facts.generation));
    }

    /// What becomes of it: it is live for long or ends in ten days, or a new value takes its place that
    /// is (`n`) or does (`s`); it is revoked or expired; its issuer throttles or fails; its renewal is due
    /// and held, or fails while it is due, or fails when it was only asked for; the answer was lost.
    fn step(&mut self, what: char) -> News {
        self.now = self.now.plus_seconds(60);
        let mut renewal = None;
        match what {
            'l' => self.live_for(100),
            'e' => self.live_for(10),
            'n' | 's' => {
                self.next();
                self.live_for(if what == 'n' { 200 } else { 11 });
            }
            'd' => self.found(Status::Revoked),
            'x' => self.found(Status::Expired),
            't' => self.found(Status::Throttled),
            'q' => self.found(Status::Error),
            'h' => self.facts.due = Some(Due::Ends),
            'f' => {
                self.facts.due = Some(Due::Ends);
                renewal = Some("it answered 403");
            }
            'o' => renewal = Some("it answered 403"),
            'a' => self.facts.due = Some(Due::Lost),
            other => panic!("{other}"),
        }
        self.look(renewal)
    }

    fn look(&mut self, renewal: Option<&str>) -> News {
        let look = Look {
            credential: &self.credential,
            facts: &self.facts,
            renewal,
            now: self.now,
        };
        let news = decide(self.told.as_ref(), &look);
        // Whoever looks again sees nothing new.
        let again = decide(Some(&news.told), &look);
        assert!(
            again.events.is_empty() && again.told == news.told,
            "{again:?}"
        );
        news
    }

    /// What a sink with these events is told over some steps, `-` for nothing.
    fn story(steps: &str, events: &[Event]) -> String {
        let (sink, mut world) = (sink(events), Self::new());
        let mut heard = Vec::new();
        for what in steps.chars() {
            let news = world.step(what);
            let event = super::heard(&sink, &news.events, world.told.as_ref());
            world.told = Some(news.told);
            heard.push(event.map_or("-", Event::as_str));
        }
        heard.join(" ")
    }
}

#[test]
fn an_end_that_is_told_in_seconds_from_now_is_told_of_once() {
    let mut world = World::new();
    world.told = Some(world.step('e').told);
    let end = world.facts.expiry.unwrap();
    for (moved, events) in [
        (1, &[][..]),
        (-2, &[]),
        (290, &[]),
        (-DAY, &[Event::Expiring]),
        (-DAY + 3, &[]),
    ] {
        world.facts.expiry = Some(Expiry {
            at: end.at.plus_seconds(moved),
            ..end
        });
        let news = world.look(None);
        assert_eq!(news.events, events, "{moved}");
        world.told = Some(news.told);
    }
}

#[test]
fn once_for_each_change() {
    for (steps, expected) in [
        ("lll", "- - -"),
        ("eee", "expiring - -"),
        ("leen", "- expiring - recovered"),
        ("lnn", "- rotated rotated"),
        ("ldd", "- failed -"),
        ("dx", "failed -"),
        ("dn", "failed recovered"),
        ("ddlld", "failed - recovered - failed"),
        ("een", "expiring - recovered"),
        ("ees", "expiring - expiring"),
        ("esn", "expiring expiring recovered"),
        ("edn", "expiring failed recovered"),
        ("lffn", "- failed - recovered"),
        ("lfd", "- failed failed"),
        ("lfhl", "- failed - recovered"),
        ("lol", "- failed recovered"),
        ("laan", "- failed - recovered"),
        ("lhn", "- - rotated"),
    ] {
        let told = World::story(steps, &Event::OF_CREDENTIALS);
        assert_eq!(told, expected, "{steps}");
    }
}

#[test]
fn what_tells_nothing_is_no_news() {
    for (steps, expected) in [
        ("ltql", "- - - -"),
        ("dtqd", "failed - - -"),
        ("dtl", "failed - recovered"),
        ("etqe", "expiring - - -"),
        ("etl", "expiring - recovered"),
        ("tt", "- -"),
    ] {
        let told = World::story(steps, &Event::OF_CREDENTIALS);
        assert_eq!(told, expected, "{steps}");
    }
}

#[test]
fn each_hears_what_it_asked_for() {
    let design = [
        Event::Failed,
        Event::Recovered,
        Event::Expiring,
        Event::Aborted,
    ];
    for (steps, events, expected) in [
        ("lndn", &design[..], "- - failed recovered"),
        ("en", &design, "expiring recovered"),
        ("edn", &[Event::Expiring], "expiring - -"),
        ("edn", &[Event::Rotated], "- - rotated"),
        ("edn", &[Event::Recovered], "- - recovered"),
        ("en", &[Event::Failed, Event::Recovered], "- -"),
        (
            "en",
            &[Event::Failed, Event::Recovered, Event::Rotated],
            "- rotated",
        ),
        ("edn", &[Event::Paused, Event::Breaker], "- - -"),
    ] {
        assert_eq!(World::story(steps, events), expected, "{steps} {events:?}");
    }
}

#[test]
fn one_that_is_renewed_in_time_is_not_told_of() {
    let mut world = World::new();
    world.credential.source = Source::Minted;
    world.live_for(10);
    // It is due eight days from now.
    world.facts.renew_at = Some(start().plus_seconds(8 * DAY));
    for (days, due, expected) in [
        (1, None, &[][..]),
        (8, Some(Due::Ends), &[]),
        // It may be held up for a while.
        (9, Some(Due::Ends), &[Event::Expiring]),
        (9, Some(Due::Ends), &[]),
        (10, Some(Due::Ends), &[Event::Failed]),
    ] {
        world.now = start().plus_seconds(days * DAY);
        world.facts.due = due;
        let news = world.look(None);
        assert_eq!(news.events, expected, "{days}");
        world.told = Some(news.told);
    }
}

#[test]
fn a_value_is_new_to_others_when_it_is_delivered() {
    let mut world = World::new();
    world.step('l');
    world.told = Some(world.look(None).told);
    world.next();
    // It is in use, and what reads it was not told.
    world.facts.due = Some(Due::Reload);
    let news = world.look(Some("app.service cannot be reloaded"));
    assert_eq!(news.events, [Event::Failed]);
    assert_eq!(news.told.value.generation, 1);
    world.told = Some(news.told);
    world.facts.due = None;
    let news = world.look(None);
    assert_eq!(news.events, [Event::Recovered, Event::Rotated]);
    assert_eq!(news.told.value.generation, 2);
}

#[test]
fn what_is_declared_to_end_is_told_without_an_issuer() {
    let mut world = World::new();
    world.credential.provider = None;
    world.facts.expiry = Some(Expiry {
        at: start().plus_seconds(20 * DAY),
        from: Provenance::Declared,
    });
    for (days, expected) in [
        (0, &[][..]),
        (7, &[Event::Expiring]),
        (20, &[Event::Failed]),
        (21, &[]),
    ] {
        world.now = start().plus_seconds(days * DAY);
        let news = world.look(None);
        assert_eq!(news.events, expected, "{days}");
        world.told = Some(news.told);
    }
    world.facts.expiry = None;
    assert_eq!(world.look(None).events, [Event::Recovered]);
}

fn message(world: &World, news: &News, event: Event) -> Message {
    let value = "canary-7f3a-value".to_owned().into();
    let name = "gitlab".parse().unwrap();
    let case = Case {
        credential: &world.credential,
        host: "web1",
        at: world.now,
        before: world.told.as_ref(),
        news,
        scrubber: &Scrubber::new([(&name, &value)]),
    };
    case.message(event)
}

#[test]
fn the_two_forms() {
    let mut world = World::new();
    world.told = Some(world.step('e').told);
    world.facts.due = Some(Due::Ends);
    let why = "it answered 403 to canary-7f3a-value\nand <Y2FuYXJ5LTdmM2EtdmFsdWU=>";
    let news = world.look(Some(why));
    let failed = message(&world, &news, Event::Failed);
    assert_eq!(
        String::from_utf8(failed.body(NotifyFormat::Json)).unwrap(),
        r#"{"version":1,"id":"0123456789ab.1.1770091566000.failed","event":"failed","project":"acme","credential":"gitlab","host":"web1","at":"2026-02-03T04:06:06Z","state_before":"expiring","state_after":"expiring","since":"2026-02-03T04:06:06Z","error_code":"APPLY_FAILED","error":"no new value: it answered 403 to «gitlab» and <«gitlab»>","generation":1,"fingerprint":"hmac:0001","expires_at":"2026-02-13T04:05:06Z","fingerprint_before":null,"expires_at_before":null}"#
    );
    assert_eq!(
        String::from_utf8(failed.body(NotifyFormat::Slack)).unwrap(),
        r#"{"text":"acme/credential.gitlab on web1 failed: APPLY_FAILED: no new value: it answered 403 to «gitlab» and &lt;«gitlab»&gt;"}"#
    );
    world.told = Some(news.told);
    let news = world.step('n');
    let texts: Vec<String> = [Event::Recovered, Event::Rotated]
        .map(|event| message(&world, &news, event).text())
        .into();
    let value = "hmac:0002 in the place of hmac:0001, ends 2026-08-22T04:05:06Z, the old one: 2026-02-13T04:05:06Z";
    assert_eq!(
        texts,
        [
            format!(
                "acme/credential.gitlab on web1 recovered (in trouble since 2026-02-03T04:06:06Z, {value})"
            ),
            format!("acme/credential.gitlab on web1 has a new value ({value})"),
        ]
    );
    world.told = Some(news.told);
    let news = world.step('e');
    assert_eq!(
        message(&world, &news, Event::Expiring).text(),
        "acme/credential.gitlab on web1 expires soon: it ends 2026-02-13T04:05:06Z (in 9 days, says the issuer's answer); put a new token into the variable GITLAB_TOKEN, then `lorectl apply`"
    );
    let news = world.step('d');
    assert_eq!(
        message(&world, &news, Event::Failed).text(),
        "acme/credential.gitlab on web1 failed: TOKEN_REVOKED: it was revoked; put a new token into the variable GITLAB_TOKEN, then `lorectl apply`"
    );
}

proptest! {
    #[test]
    fn trouble_and_recovery_take_turns(steps in "[lendsxtqhfoa]{0,30}") {
        let mut world = World::new();
        let mut open = false;
        for what in steps.chars() {
            let news = world.step(what);
            for event in &news.events {
                match event {
                    Event::Recovered => {
                        prop_assert!(open, "{steps}: recovered from nothing");
                        open = false;
                    }
                    Event::Failed | Event::Expiring => open = true,
                    Event::Rotated => {}
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            prop_assert_eq!(open, news.told.trouble.is_some(), "{}", steps);
            world.told = Some(news.told);
        }
    }
}
