//! Which changes of a service's status are told, and to whom: pure.

use serde::{Deserialize, Serialize};

use crate::{
    id::Timestamp,
    notify::sink::{Event, Sink},
    service::status::{Outcome, Status},
};

/// That others were told of trouble which is not over: part of the status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// When it began, UTC.
    pub since: Timestamp,
    /// What was told of it, each once.
    pub told: Vec<Event>,
}

/// What a run that ended means to others, the most telling event first; empty where nothing changed.
///
/// `before` is the status when it ended, `after` the one with its end recorded; the trouble in both is
/// that of `before`. One that we were asked to end says nothing of the service.
pub fn transitions(
    before: &Status,
    after: &Status,
    outcome: Outcome,
    interrupted: bool,
) -> Vec<Event> {
    match outcome {
        Outcome::Success if before.trouble.is_some() => vec![Event::Recovered],
        Outcome::Success => Vec::new(),
        Outcome::Degraded => {
            // The run before it, since that of this one is recorded by now.
            let before = after.recent_runs.get(1).map(|run| run.outcome);
            let was = before == Some(Outcome::Degraded);
            if was {
                Vec::new()
            } else {
                vec![Event::Degraded]
            }
        }
        Outcome::Failed if interrupted => Vec::new(),
        Outcome::Failed => {
            let by_error = after
                .paused
                .as_ref()
                .is_some_and(|paused| paused.by == BY_US);
            if by_error && before.paused.is_none() {
                vec![Event::Paused, Event::Failed]
            } else if after.breaker.is_some() && before.breaker.is_none() {
                vec![Event::Breaker, Event::Failed]
            } else if before.consecutive_failures == 0 && before.breaker.is_none() {
                vec![Event::Failed]
            } else {
                Vec::new()
            }
        }
    }
}

/// Who has paused a service that an error has paused.
pub const BY_US: &str = "lorectl";

/// The trouble after these events.
pub fn trouble(
    before: Option<&Trouble>,
    events: &[Event],
    outcome: Outcome,
    now: Timestamp,
) -> Option<Trouble> {
    if outcome == Outcome::Success {
        return None;
    }
    let mut trouble = match before {
        None if events.is_empty() => return None,
        None => Trouble {
            since: now,
            told: Vec::new(),
        },
        Some(trouble) => trouble.clone(),
    };
    for event in events {
        if !trouble.told.contains(event) {
            trouble.told.push(*event);
        }
    }
    Some(trouble)
}

/// What a sink is told of some events: the most telling of those that it hears of, if there is one.
///
/// A recovery is for who heard of what it is from, and for who asks for recoveries alone.
pub fn told(sink: &Sink, events: &[Event], trouble: Option<&Trouble>) -> Option<Event> {
    let hears = |event: &Event| sink.events.contains(event);
    let event = events.iter().copied().find(hears)?;
    let concerned = || {
        let told = trouble.map_or(&[][..], |trouble| &trouble.told);
        told.iter().any(hears) || !sink.events.iter().any(|event| event.is_trouble())
    };
    (event != Event::Recovered || concerned()).then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::Timestamp,
        notify::sink::{NotifyFormat, Target, UrlSource},
        service::{
            definition::Service,
            fixture,
            run::{classify::Failure, record},
            status::{Paused, RunRecord, Trigger},
        },
    };
    use proptest::prelude::*;

    fn at(run: i64) -> Timestamp {
        let start: Timestamp = "2026-02-09T10:00:00Z".parse().unwrap();
        start.plus_seconds(run * 7200)
    }

    /// What a run does, by one letter: success, degraded, fails for now, fails for good, was
    /// interrupted; or a person resumes.
    struct World {
        service: Service,
        status: Status,
        runs: i64,
    }

    impl World {
        fn new() -> Self {
            let mut service = fixture::service("sync", &["true"]);
            service.breaker.failures = 3;
            Self {
                service,
                status: Status::new(at(0)),
                runs: 0,
            }
        }

        fn run(&mut self, what: char) -> Vec<Event> {
            if what == 'r' {
                self.status.paused = None;
                self.status.clear_failures();
                return Vec::new();
            }
            self.runs += 1;
            let outcome = match what {
                's' => Outcome::Success,
                'd' => Outcome::Degraded,
                _ => Outcome::Failed,
            };
            let failure = (outcome == Outcome::Failed).then(|| Failure {
                permanent: what == 'p',
                interrupted: what == 'i',
                retry_at_once: false,
                code: "EXIT_1".to_owned(),
                message: "it failed".to_owned(),
                not_before: None,
            });
            let run = RunRecord {
                id: self.runs.to_string(),
                trigger: Trigger::Schedule,
                request: None,
                started_at: at(self.runs),
                duration_ms: 1,
                outcome,
                stages: Vec::new(),
                error: None,
                error_code: None,
            };
            let before = self.status.clone();
            let probe = before.breaker.is_some();
            let (now, failure) = (at(self.runs), failure.as_ref());
            record::finish(&mut self.status, &self.service, run, failure, probe, now, 1);
            let events = transitions(&before, &self.status, outcome, what == 'i');
            self.status.trouble = trouble(before.trouble.as_ref(), &events, outcome, now);
            events
        }

        /// What a sink with these events is told over some runs, `-` for nothing.
        fn story(runs: &str, events: &[Event]) -> String {
            let sink = Sink {
                name: "ops".parse().unwrap(),
                events: events.to_vec(),
                to: Target::Webhook {
                    url: UrlSource::Url(String::new()),
                    format: NotifyFormat::Json,
                    ca_file: None,
                },
            };
            let mut world = Self::new();
            let mut told = Vec::new();
            for what in runs.chars() {
                let trouble = world.status.trouble.clone();
                let events = world.run(what);
                let event = super::told(&sink, &events, trouble.as_ref());
                told.push(event.map_or("-", Event::as_str));
            }
            told.join(" ")
        }
    }

    #[test]
    fn once_for_each_change() {
        for (runs, expected) in [
            ("sss", "- - -"),
            ("fs", "failed recovered"),
            ("ffss", "failed - recovered -"),
            ("fffffs", "failed - breaker - - recovered"),
            ("p", "paused"),
            ("fp", "failed paused"),
            ("prs", "paused - recovered"),
            ("frf", "failed - failed"),
            ("frs", "failed - recovered"),
            ("dds", "degraded - recovered"),
            ("dfds", "degraded failed degraded recovered"),
            ("fds", "failed degraded recovered"),
            ("is", "- -"),
            ("fifs", "failed - - recovered"),
        ] {
            assert_eq!(World::story(runs, &Event::OF_SERVICES), expected, "{runs}");
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
        for (runs, events, expected) in [
            ("fffffs", &design[..], "failed - failed - - recovered"),
            ("fp", &design, "failed failed"),
            ("ds", &design, "- -"),
            ("dfs", &design, "- failed recovered"),
            ("fds", &design, "failed - recovered"),
            ("fs", &[Event::Recovered], "- recovered"),
            ("fps", &[Event::Paused], "- paused -"),
            (
                "fffs",
                &[Event::Breaker, Event::Recovered],
                "- - breaker recovered",
            ),
            ("ffs", &[Event::Breaker, Event::Recovered], "- - -"),
        ] {
            assert_eq!(World::story(runs, events), expected, "{runs} {events:?}");
        }
    }

    #[test]
    fn a_person_s_pause_is_not_told() {
        let mut world = World::new();
        world.status.paused = Some(Paused {
            reason: "mine".to_owned(),
            code: "MANUAL".to_owned(),
            at: at(0),
            by: "joe".to_owned(),
        });
        assert_eq!(world.run('p'), [Event::Failed]);
    }

    proptest! {
        #[test]
        fn trouble_and_recovery_take_turns(runs in "[sdfpri]{0,30}") {
            let mut world = World::new();
            let mut open = false;
            for what in runs.chars() {
                for event in world.run(what) {
                    if event == Event::Recovered {
                        prop_assert!(open, "{runs}: recovered from nothing");
                    }
                    open = event != Event::Recovered;
                }
                prop_assert_eq!(open, world.status.trouble.is_some(), "{}", runs);
            }
        }
    }
}
