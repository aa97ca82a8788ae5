//! What the last try to have a new value came to, where it brought none.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{effect::disk::Disk, id::Timestamp, layout::Layout};

use super::{
    definition::Credential,
    facts::{away, when},
    mint::{
        Endpoint,
        health::{Health, Records},
    },
    record::Outline,
};

/// A failed try, as it is kept: in our words, which hold no secret and no text of an issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// When it failed, UTC.
    pub at: Timestamp,
    /// Why.
    pub why: String,
    /// Whether the issuer refused what the request was made with.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_secret: bool,
}

/// What stands in the way of a new value, as far as the tries so far tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setback {
    /// The last failed try; `None` where an older lorectl counted it, which kept no words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Failed>,
    /// How many have failed in a row; 0 where they are not counted.
    #[serde(default)]
    pub failures: u32,
    /// Before when the issuer is not asked again, UTC, where that is ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Whether the issuer's breaker is open.
    #[serde(default)]
    pub is_open: bool,
    /// What is to be put right, where the issuer refused what the request was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl Setback {
    /// One that nobody counts: a source failed, or what it gave was not taken.
    pub const fn of(last: Failed) -> Self {
        Self {
            last: Some(last),
            failures: 0,
            until: None,
            is_open: false,
            secret: None,
        }
    }

    /// The instant of the last try, UTC.
    fn at(&self) -> Option<Timestamp> {
        self.last.as_ref().map(|last| last.at)
    }

    /// Of two, the one that came to pass later.
    #[must_use]
    pub fn or_later(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if self.at() < other.at() => other,
            Some(_) | None => self,
        }
    }

    /// What the last try came to, how many have failed, and when the issuer is asked again.
    pub fn told(&self, now: Timestamp) -> String {
        let mut told = match &self.last {
            Some(last) => format!("the last try, {}: {}", away(now, last.at), last.why),
            None => "the last try brought none".to_owned(),
        };
        if self.failures > 1 {
            told = format!("{told}; {} failures in a row", self.failures);
        }
        match self.until {
            Some(until) if self.is_open => {
                let until = when(now, until);
                format!("{told}, so that its issuer is not asked before {until}")
            }
            Some(until) => format!(
                "{told}; its issuer is not asked before {}",
                when(now, until)
            ),
            None => told,
        }
    }

    /// What a plan notes of it.
    pub fn notes(&self, now: Timestamp) -> Vec<String> {
        let secret = self.secret.as_ref();
        let help = secret.map(|secret| format!("put right {secret}"));
        [self.told(now)].into_iter().chain(help).collect()
    }

    /// What helps.
    pub fn help(&self) -> String {
        match (&self.secret, self.until) {
            (Some(secret), _) => format!("put right {secret}, then `lorectl apply`"),
            (None, Some(_)) => "`lorectl apply` tries again then".to_owned(),
            (None, None) => "`lorectl apply` tries again".to_owned(),
        }
    }
}

/// What the records of a project's issuers say. Each is read once, when it is first asked about, since
/// many credentials share one, and all that failed are in it.
pub struct Issuers<'a> {
    disk: &'a dyn Disk,
    layout: &'a Layout,
    read: Mutex<BTreeMap<Endpoint, Arc<Health>>>,
}

impl<'a> Issuers<'a> {
    /// Of which none was read yet.
    pub const fn new(disk: &'a dyn Disk, layout: &'a Layout) -> Self {
        Self {
            disk,
            layout,
            read: Mutex::new(BTreeMap::new()),
        }
    }

    fn health(&self, endpoint: &Endpoint) -> Arc<Health> {
        // Held while one is read: whoever else wants that one would only read it too.
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(health) = read.get(endpoint) {
            return Arc::clone(health);
        }
        let (disk, dir) = (self.disk, self.layout.breakers());
        let (health, _) = Records { disk, dir: &dir }.read(endpoint);
        let health = Arc::new(health);
        read.insert(endpoint.clone(), Arc::clone(&health));
        health
    }

    /// What the record of a credential's issuer says of the tries that failed; `None` where it has none,
    /// or where the last one brought a token.
    pub fn setback(&self, credential: &Credential, now: Timestamp) -> Option<Setback> {
        let issuer = credential.issuer.as_ref()?;
        let health = self.health(issuer.endpoint());
        let mut setback = health.setback(&credential.name, now)?;
        if setback.last.as_ref().is_some_and(|last| last.of_secret) {
            setback.secret = Some(signed_with(self.disk, self.layout, credential));
        }
        Some(setback)
    }
}

/// What its issuer is asked with, and where that comes from.
fn signed_with(disk: &dyn Disk, layout: &Layout, credential: &Credential) -> String {
    let Some(name) = &credential.signed_with else {
        return format!("the token in {}", credential.source.told());
    };
    let outline = Outline::read(disk, layout, name).ok().flatten();
    let signing = outline.and_then(|outline| outline.definition.read::<Credential>().ok());
    match signing {
        Some(signing) => format!(
            "the secret of credential.{name}, in {}",
            signing.source.told()
        ),
        None => format!("the secret of credential.{name}"),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests look at files")]

    use super::*;
    use crate::{credential::mint::MintFault, effect::disk::RealDisk};

    #[tokio::test]
    async fn the_record_of_an_issuer_is_read_once_for_all_its_credentials() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().to_owned(), "acme".parse().unwrap());
        std::fs::create_dir(dir.path().join("acme")).unwrap();
        let credential = |name: &str| -> Credential {
            serde_json::from_value(serde_json::json!({
                "project": "acme", "name": name, "id": "0123456789ab", "warn": "60s",
                "source": "minted", "signed_with": "client",
                "issuer": {
                    "kind": "oauth2", "token_url": "https://issuer.example/token", "client_id": "acme",
                },
            }))
            .unwrap()
        };
        let (one, other) = (credential("one"), credential("other"));
        let endpoint = one.issuer.as_ref().unwrap().endpoint();
        let breakers = layout.breakers();
        let records = Records {
            disk: &RealDisk,
            dir: &breakers,
        };
        let now: Timestamp = "2026-02-09T10:00:00Z".parse().unwrap();
        let refused = MintFault::Refused {
            status: 401,
            why: "x",
        };
        let fail = |health: &mut Health| {
            for credential in [&one, &other] {
                health.failed(&credential.name, &refused, now, 1);
            }
        };
        records.update(endpoint, now, fail).await;
        let issuers = Issuers::new(&RealDisk, &layout);
        let first = issuers.setback(&one, now).unwrap();
        assert_eq!(first.secret.unwrap(), "the secret of credential.client");
        // Who reads it again finds none.
        std::fs::remove_file(records.path(endpoint)).unwrap();
        assert_eq!(issuers.setback(&other, now).unwrap().failures, 1);
        let anew = Issuers::new(&RealDisk, &layout);
        assert_eq!(anew.setback(&other, now), None);
    }
}
