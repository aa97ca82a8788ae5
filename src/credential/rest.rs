//! Values that have ended between the runs they are for, by design: who has them renewed, and when.

use std::collections::BTreeMap;

use crate::{
    error::Result,
    id::{Address, Kind, ResourceName, Timestamp},
    notify::sink::Target,
    resource::{Definition, Meta},
};

use super::{
    definition::Credential,
    facts::{Due, Facts, when},
    finding::Status,
};

/// A service before each run of which a credential is renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewer {
    /// The service.
    pub service: Address,
    /// When its next run begins, UTC; `None` where that cannot be told, or while a person must act.
    pub at: Option<Timestamp>,
}

impl Renewer {
    /// That a value is renewed before the next run, and when that is.
    pub fn told(&self, now: Timestamp) -> String {
        let service = &self.service;
        match self.at {
            Some(at) if now < at => {
                let at = when(now, at);
                format!("renewed before the next run of {service}, {at}")
            }
            Some(_) => format!("renewed before the next run of {service}, which is due"),
            None => format!("renewed before the next run of {service}"),
        }
    }
}

/// Who has which credentials renewed.
#[derive(Debug, Default)]
pub struct Renewers(BTreeMap<ResourceName, Vec<Renewer>>);

impl Renewers {
    /// Adds a service that has these renewed.
    pub fn add<'n>(&mut self, names: impl IntoIterator<Item = &'n ResourceName>, one: &Renewer) {
        for name in names {
            self.0.entry(name.clone()).or_default().push(one.clone());
        }
    }

    /// Drops what a credential needs at any time: what its issuer is asked with, and where others are told
    /// of it.
    ///
    /// # Errors
    /// `STATE_CORRUPT` for a definition that cannot be read.
    pub fn without_needs_of(&mut self, definition: &Definition, meta: &Meta) -> Result<()> {
        let needed = meta.depends_on.iter();
        for one in needed.filter(|one| one.kind == Kind::Credential) {
            self.0.remove(&one.name);
        }
        if !self.0.is_empty() && definition.as_json().contains("\"notify\":") {
            let credential: Credential = definition.read()?;
            let sinks = credential.notify.iter().filter_map(|sink| match &sink.to {
                Target::Webhook { url, .. } => url.credential(),
                Target::Command(_) => None,
            });
            for name in sinks {
                self.0.remove(name);
            }
        }
        Ok(())
    }

    /// The service whose next run is the first before which a value is renewed that has come to its end,
    /// or soon does; `None` for one that somebody reads between runs, whose last renewal failed or whose
    /// next one would, since its issuer's clock and this host's are far apart, or that ended before its
    /// time.
    pub fn of(&self, credential: &Credential, facts: &Facts) -> Option<&Renewer> {
        let is_read = !credential.deliver.is_empty();
        let is_stuck = facts.setback.is_some() || facts.skewed().is_some();
        if is_read || is_stuck || !credential.renews_for_runs() || !ends_by_itself(facts) {
            return None;
        }
        let all = self.0.get(&credential.name)?.iter();
        // One whose instant is not known comes last.
        all.min_by_key(|one| (one.at.is_none(), one.at, &one.service))
    }
}

/// Whether all that is due is the end of the value, and its issuer does not say that it came earlier.
fn ends_by_itself(facts: &Facts) -> bool {
    let had_ended = |at: Timestamp| facts.expiry.is_some_and(|expiry| expiry.at <= at);
    match (facts.due, &facts.finding) {
        (Some(Due::Ends), _) => true,
        (Some(Due::Dead), Some(finding)) => match finding.status {
            Status::Expired => true,
            // Issuers do not say why they take it no more.
            Status::Revoked | Status::Rejected => had_ended(finding.probed_at),
            Status::Live
            | Status::LiveUnderScoped
            | Status::Throttled
            | Status::NotImplemented
            | Status::Error => false,
        },
        (
            Some(Due::Dead | Due::Asked | Due::Pending | Due::Revoke | Due::Lost | Due::Reload)
            | None,
            _,
        ) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::{
        finding::{Expiry, Finding, Provenance},
        setback::{Failed, Setback},
    };

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn credential() -> Credential {
        serde_json::from_value(serde_json::json!({
            "project": "acme", "name": "hub", "id": "0123456789ab", "warn": "60s",
            "source": {"command": {"argv": ["/bin/mint"], "timeout": "30s", "dir": "/"}},
        }))
        .unwrap()
    }

    fn ended() -> Facts {
        Facts {
            generation: 1,
            fingerprint: None,
            obtained_at: None,
            expiry: Some(Expiry {
                at: at("2026-02-03T05:00:00Z"),
                from: Provenance::Body,
            }),
            renew_at: Some(at("2026-02-03T04:50:00Z")),
            revoke_at: None,
            due: Some(Due::Ends),
            finding: None,
            setback: None,
        }
    }

    /// What an issuer said an hour before the end, or after it.
    fn said(status: Status, when: &str) -> Facts {
        Facts {
            due: Some(Due::Dead),
            finding: Some(Finding::new(status, at(when))),
            ..ended()
        }
    }

    #[test]
    fn what_a_run_has_renewed_rests_unless_somebody_else_needs_it() {
        let mut renewers = Renewers::default();
        let service = |name: &str, at: Option<Timestamp>| Renewer {
            service: name.parse().unwrap(),
            at,
        };
        let hub: ResourceName = "hub".parse().unwrap();
        assert_eq!(renewers.of(&credential(), &ended()), None);
        renewers.add([&hub], &service("service.paused", None));
        renewers.add(
            [&hub],
            &service("service.late", Some(at("2026-02-09T00:00:00Z"))),
        );
        renewers.add(
            [&hub],
            &service("service.soon", Some(at("2026-02-04T00:00:00Z"))),
        );
        let rests = |credential: &Credential, facts: &Facts| {
            renewers
                .of(credential, facts)
                .map(|one| one.service.to_string())
        };
        assert_eq!(rests(&credential(), &ended()).unwrap(), "service.soon");
        let (early, late) = ("2026-02-03T04:00:00Z", "2026-02-03T06:00:00Z");
        for (facts, is_resting) in [
            (said(Status::Rejected, late), true),
            (said(Status::Revoked, late), true),
            (said(Status::Expired, late), true),
            (said(Status::Rejected, early), false),
            (said(Status::Revoked, early), false),
            (
                Facts {
                    due: Some(Due::Asked),
                    ..ended()
                },
                false,
            ),
            (
                Facts {
                    due: Some(Due::Pending),
                    ..ended()
                },
                false,
            ),
            (
                Facts {
                    due: None,
                    ..ended()
                },
                false,
            ),
        ] {
            assert_eq!(
                rests(&credential(), &facts).is_some(),
                is_resting,
                "{facts:?}"
            );
        }
        let failed = Failed {
            at: at(late),
            why: "no".to_owned(),
            of_secret: false,
        };
        let stuck = Facts {
            setback: Some(Setback::of(failed)),
            ..ended()
        };
        assert_eq!(rests(&credential(), &stuck), None);
        let apart = |issuer: &str| Facts {
            finding: Some(Finding {
                issuer_time: Some(at(issuer)),
                ..Finding::new(Status::Live, at(early))
            }),
            ..ended()
        };
        assert!(rests(&credential(), &apart("2026-02-03T04:04:00Z")).is_some());
        assert_eq!(rests(&credential(), &apart("2026-02-03T04:10:00Z")), None);
        let mut read = credential();
        read.deliver = serde_json::from_value(serde_json::json!([{"to": {"file": "/x"}}])).unwrap();
        assert_eq!(rests(&read, &ended()), None);
        let mut given = credential();
        given.source = super::super::definition::Source::Env("X".to_owned());
        assert_eq!(rests(&given, &ended()), None);
        // What another is signed with, or told by, is needed at any time.
        let signed = Meta {
            depends_on: vec!["credential.hub".parse().unwrap()],
            ..Meta::default()
        };
        let nothing = Definition::of(&credential()).unwrap();
        let mut told = serde_json::to_value(credential()).unwrap();
        told["notify"] = serde_json::json!([{
            "name": "ops", "events": ["failed"],
            "to": {"webhook": {"credential": "hub", "format": "json"}},
        }]);
        let told = Definition::of(&told).unwrap();
        for (definition, meta) in [(&nothing, &signed), (&told, &Meta::default())] {
            let mut renewers = Renewers(renewers.0.clone());
            let before = renewers.of(&credential(), &ended()).is_some();
            renewers.without_needs_of(definition, meta).unwrap();
            assert!(before && renewers.of(&credential(), &ended()).is_none());
        }
    }
}
