//! How issuers have answered of late, kept between commands: `breakers/ENDPOINT.json`.
//!
//! It protects an issuer from us and holds up nothing else: a file that cannot be read, locked or
//! written is reported, and the issuer asked as if nothing were known of it.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Endpoint, MintFault, breaker::Record, policy::Admission};
use crate::{
    credential::setback::{Failed, Setback},
    effect::{
        disk::{Disk, Durability},
        lock::Lock,
        untrusted,
    },
    id::{ResourceName, Timestamp},
};

/// The version that this build writes.
const VERSION: u32 = 1;

/// The largest file that is read: what is written of a credential that fails is some 300 bytes, and no
/// project that can be planned at all has enough of them to fill this.
const LIMIT: u64 = 1 << 26;

/// How long the file's lock is waited for; it is held while a page is written.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known of one issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    format_version: u32,
    endpoint: Endpoint,
    /// How it answers at all.
    #[serde(default)]
    issuer: Record,
    /// How it answers for single credentials: one whose secret it refuses shuts out no other.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    credentials: BTreeMap<ResourceName, Record>,
}

impl Health {
    /// Of an issuer of which nothing is known.
    pub const fn unknown(endpoint: Endpoint) -> Self {
        Self {
            format_version: VERSION,
            endpoint,
            issuer: Record {
                failures: 0,
                opened_at: None,
                next_try: None,
                probing_since: None,
                last: None,
            },
            credentials: BTreeMap::new(),
        }
    }

    /// Whether it may be asked for a credential at `now`.
    pub fn admission(&self, credential: &ResourceName, now: Timestamp) -> Admission {
        let own = self.credentials.get(credential);
        let own = own.map_or(Admission::Open, |record| record.admission(now));
        match (self.issuer.admission(now), own) {
            (Admission::Open, other) | (other, Admission::Open) => other,
            (Admission::Shut { until: one }, Admission::Shut { until: other }) => Admission::Shut {
                until: one.max(other),
            },
        }
    }

    /// Somebody was let through at `now`.
    pub fn entered(&mut self, credential: &ResourceName, now: Timestamp) {
        self.issuer.entered(now);
        if let Some(own) = self.credentials.get_mut(credential) {
            own.entered(now);
        }
    }

    /// It brought a token.
    pub fn succeeded(&mut self, credential: &ResourceName) {
        self.issuer.succeeded();
        self.credentials.remove(credential);
    }

    fn own(&mut self, credential: &ResourceName) -> &mut Record {
        self.credentials.entry(credential.clone()).or_default()
    }

    /// It brought none. A refusal is about the credential, and shows that the issuer answers; all else
    /// is about the issuer.
    pub fn failed(
        &mut self,
        credential: &ResourceName,
        fault: &MintFault,
        now: Timestamp,
        seed: u64,
    ) {
        let last = Some(Failed {
            at: now,
            why: fault.to_string(),
            of_secret: fault.is_of_secret(),
        });
        match fault {
            MintFault::Refused { .. } | MintFault::Unusable { .. } => {
                let own = self.own(credential);
                own.failed(now, None, seed);
                own.last = last;
                self.issuer.succeeded();
            }
            MintFault::Unsendable(_) => {
                let own = self.own(credential);
                own.failed(now, None, seed);
                own.last = last;
            }
            MintFault::Throttled { until } => {
                self.issuer.failed(now, Some(*until), seed);
                self.issuer.last = last;
            }
            MintFault::Unreachable(_) | MintFault::Unknown(_) => {
                self.issuer.failed(now, None, seed);
                self.issuer.last = last;
            }
            // It was not asked.
            MintFault::BreakerOpen { .. } => {}
        }
    }

    /// What is to be told at `now` of the tries that failed, of the issuer's and of the credential's own
    /// what came last; `None` where the last one brought a token.
    pub fn setback(&self, credential: &ResourceName, now: Timestamp) -> Option<Setback> {
        let own = self.credentials.get(credential);
        let own = own.and_then(|own| own.setback(now));
        let of_issuer = self.issuer.setback(now);
        match own {
            Some(own) => Some(own.or_later(of_issuer)),
            None => of_issuer,
        }
    }
}

/// What was in the way of the record. The issuer is asked all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// What was there is no record.
    #[error("{}: {why}; it is read as if nothing were known of the issuer", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The same, and it has another name now.
    #[error("{}: {why}; it is kept as {kept}", path.display())]
    SetAside {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// Its name now, in the same directory.
        kept: String,
    },
    /// A newer lorectl wrote it, and it was left alone.
    #[error("{} is of a newer lorectl (version {version}), and was left alone", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// It could not be locked, moved or written.
    #[error("{} cannot be kept: {why}", path.display())]
    NotKept {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
}

/// What a file says.
enum Read {
    Good(Health),
    Damaged(String),
    Newer(u32),
}

fn decode(bytes: &[u8], endpoint: &Endpoint) -> Read {
    #[derive(Deserialize)]
    struct Version {
        format_version: u32,
    }
    match serde_json::from_slice::<Version>(bytes) {
        Ok(Version { format_version }) if format_version > VERSION => {
            return Read::Newer(format_version);
        }
        Ok(Version { format_version: 0 }) => {
            return Read::Damaged("there is no version 0".to_owned());
        }
        Ok(_) => {}
        Err(error) => return Read::Damaged(error.to_string()),
    }
    match serde_json::from_slice::<Health>(bytes) {
        Ok(health) if health.endpoint != *endpoint => {
            Read::Damaged("it is of another issuer".to_owned())
        }
        Ok(health) => Read::Good(health),
        Err(error) => Read::Damaged(error.to_string()),
    }
}

/// The records of a project's issuers.
#[derive(Clone, Copy)]
pub struct Records<'a> {
    /// The disk.
    pub disk: &'a dyn Disk,
    /// `PROJECT/breakers`; it is made when it is missing, 0700.
    pub dir: &'a Path,
}

impl Records<'_> {
    /// The file of an issuer.
    pub fn path(&self, endpoint: &Endpoint) -> PathBuf {
        self.dir.join(format!("{}.json", endpoint.file_stem()))
    }

    fn load(&self, endpoint: &Endpoint) -> Read {
        match self.disk.read(&self.path(endpoint), LIMIT) {
            Ok(None) => Read::Good(Health::unknown(endpoint.clone())),
            Ok(Some(file)) => decode(&file.bytes, endpoint),
            Err(error) => Read::Damaged(error.to_string()),
        }
    }

    /// What is known of an issuer. Nothing is written.
    pub fn read(&self, endpoint: &Endpoint) -> (Health, Option<Trouble>) {
        let unknown = || Health::unknown(endpoint.clone());
        let path = self.path(endpoint);
        match self.load(endpoint) {
            Read::Good(health) => (health, None),
            Read::Damaged(why) => (unknown(), Some(Trouble::Damaged { path, why })),
            Read::Newer(version) => (unknown(), Some(Trouble::Newer { path, version })),
        }
    }

    /// Changes what is known of an issuer, under the lock of its record, and keeps it if it did change.
    pub async fn update<T>(
        &self,
        endpoint: &Endpoint,
        now: Timestamp,
        change: impl FnOnce(&mut Health) -> T,
    ) -> (T, Vec<Trouble>) {
        let path = self.path(endpoint);
        let mut troubles = Vec::new();
        let not_kept = |why: String| Trouble::NotKept {
            path: path.clone(),
            why,
        };
        let lock = match self.lock(endpoint).await {
            Ok(Some(lock)) => Some(lock),
            Ok(None) => {
                troubles.push(not_kept("its lock is held all the time".to_owned()));
                None
            }
            Err(error) => {
                troubles.push(not_kept(error.to_string()));
                None
            }
        };
        let (mut health, mut writable) = (Health::unknown(endpoint.clone()), lock.is_some());
        match self.load(endpoint) {
            Read::Good(found) => health = found,
            Read::Newer(version) => {
                writable = false;
                let path = path.clone();
                troubles.push(Trouble::Newer { path, version });
            }
            Read::Damaged(why) if writable => match self.set_aside(endpoint, now) {
                Ok(kept) => {
                    let path = path.clone();
                    troubles.push(Trouble::SetAside { path, why, kept });
                }
                Err(error) => {
                    writable = false;
                    troubles.push(not_kept(format!("{why}, and it cannot be moved: {error}")));
                }
            },
            Read::Damaged(why) => troubles.push(Trouble::Damaged {
                path: path.clone(),
                why,
            }),
        }
        let before = health.clone();
        let told = change(&mut health);
        if health != before {
            let failures = health.issuer.failures;
            tracing::trace!(path = %path.display(), failures, "the issuer's breaker moved");
        }
        if writable && health != before {
            let written = serde_json::to_vec_pretty(&health)
                .map_err(io::Error::other)
                .and_then(|mut text| {
                    text.push(b'\n');
                    self.disk.write(&path, &text, 0o600, None, Durability::Now)
                });
            if let Err(error) = written {
                troubles.push(not_kept(error.to_string()));
            }
        }
        (told, troubles)
    }

    async fn lock(&self, endpoint: &Endpoint) -> io::Result<Option<Lock>> {
        self.disk.make_dir(self.dir, 0o700, None)?;
        let path = self.dir.join(format!("{}.lock", endpoint.file_stem()));
        Lock::take(&path, 0o600, PATIENCE).await
    }

    /// Gives what stands in the place of the record another name, whatever it is; returns that name.
    fn set_aside(&self, endpoint: &Endpoint, now: Timestamp) -> io::Result<String> {
        let dir = untrusted::Dir::open(self.dir)?.ok_or(io::ErrorKind::NotFound)?;
        let name = format!("{}.json", endpoint.file_stem());
        let kept = format!("{name}.corrupt.{}", now.millis());
        dir.rename(&name, &kept)?;
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests look at files")]

    use super::*;
    use crate::effect::{disk::RealDisk, http};

    fn now() -> Timestamp {
        "2026-02-09T10:00:00Z".parse().unwrap()
    }

    fn endpoint() -> Endpoint {
        "https://issuer.example/token".parse().unwrap()
    }

    fn name(text: &str) -> ResourceName {
        text.parse().unwrap()
    }

    const REFUSED: MintFault = MintFault::Refused {
        status: 401,
        why: "x",
    };

    async fn fail(records: Records<'_>, credential: &str, fault: &MintFault) -> Vec<Trouble> {
        let change = |health: &mut Health| health.failed(&name(credential), fault, now(), 1);
        records.update(&endpoint(), now(), change).await.1
    }

    fn is_open(records: Records<'_>, credential: &str, seconds: i64) -> bool {
        let (health, _) = records.read(&endpoint());
        let at = now().plus_seconds(seconds);
        health.admission(&name(credential), at) == Admission::Open
    }

    #[tokio::test]
    async fn what_is_learnt_of_an_issuer_outlives_the_command() {
        let dir = tempfile::tempdir().unwrap();
        let breakers = dir.path().join("breakers");
        let records = Records {
            disk: &RealDisk,
            dir: &breakers,
        };
        assert!(is_open(records, "a", 0));
        assert!(!breakers.exists(), "reading makes nothing");
        let fault = MintFault::Unreachable(http::Fault::Unresolved);
        for _ in 0..5 {
            assert_eq!(fail(records, "a", &fault).await, []);
        }
        assert!(!is_open(records, "a", 59) && is_open(records, "a", 60));
        assert!(!is_open(records, "b", 59), "it is the issuer that is away");
        let text = std::fs::read_to_string(records.path(&endpoint())).unwrap();
        assert!(text.contains("\"format_version\": 1"), "{text}");
        let change = |health: &mut Health| health.succeeded(&name("b"));
        records.update(&endpoint(), now(), change).await;
        assert!(is_open(records, "a", 0));
    }

    #[tokio::test]
    async fn a_refusal_shuts_out_no_other_credential() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records {
            disk: &RealDisk,
            dir: dir.path(),
        };
        for _ in 0..5 {
            fail(records, "a", &REFUSED).await;
        }
        assert!(!is_open(records, "a", 59) && is_open(records, "b", 0));
    }

    #[tokio::test]
    async fn a_failure_is_kept_in_words_until_a_token_is_brought() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records {
            disk: &RealDisk,
            dir: dir.path(),
        };
        fail(records, "a", &REFUSED).await;
        let setback = |credential: &str, seconds| {
            let (health, _) = records.read(&endpoint());
            health.setback(&name(credential), now().plus_seconds(seconds))
        };
        let own = setback("a", 0).unwrap();
        let last = own.last.unwrap();
        assert_eq!(last.why, "the issuer refuses: x (HTTP 401)");
        assert!(last.of_secret && own.until.is_some() && !own.is_open);
        assert_eq!(setback("b", 0), None, "it is a's own");
        // What an earlier build wrote has no words, and counts all the same.
        let path = records.path(&endpoint());
        let mut old: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        old["credentials"]["a"]
            .as_object_mut()
            .unwrap()
            .remove("last");
        std::fs::write(&path, old.to_string()).unwrap();
        let own = setback("a", 0).unwrap();
        assert_eq!((own.last, own.failures), (None, 1));
        // The issuer's failure comes later, and is everyone's.
        let later = |health: &mut Health| {
            let fault = MintFault::Unreachable(http::Fault::Unresolved);
            health.failed(&name("b"), &fault, now().plus_seconds(9), 1);
        };
        records.update(&endpoint(), now(), later).await;
        for credential in ["a", "b"] {
            let told = setback(credential, 9).unwrap().last.unwrap();
            assert!(!told.of_secret, "{told:?}");
        }
        let change = |health: &mut Health| health.succeeded(&name("a"));
        records.update(&endpoint(), now(), change).await;
        assert_eq!((setback("a", 9), setback("b", 9)), (None, None));
    }

    #[tokio::test]
    async fn as_many_as_fail_are_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records {
            disk: &RealDisk,
            dir: dir.path(),
        };
        let names: Vec<ResourceName> = (0..5000).map(|at| name(&format!("c{at}"))).collect();
        let all = |health: &mut Health| {
            for one in &names {
                health.failed(one, &REFUSED, now(), 1);
            }
        };
        assert_eq!(records.update(&endpoint(), now(), all).await.1, []);
        let size = std::fs::metadata(records.path(&endpoint())).unwrap().len();
        assert!(size > 1 << 20, "{size}");
        let (health, trouble) = records.read(&endpoint());
        assert_eq!(trouble, None);
        for one in &names {
            assert!(health.setback(one, now()).is_some(), "{one}");
        }
        // One more goes beside them.
        assert_eq!(fail(records, "other", &REFUSED).await, []);
    }

    #[tokio::test]
    async fn a_damaged_record_is_set_aside_and_reported() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records {
            disk: &RealDisk,
            dir: dir.path(),
        };
        let path = records.path(&endpoint());
        let other = "https://other.example/".parse().unwrap();
        let foreign = serde_json::to_string(&Health::unknown(other)).unwrap();
        for damage in ["", "{", "[]", "{\"format_version\":0}", "\0\0", &foreign] {
            std::fs::write(&path, damage).unwrap();
            let (health, trouble) = records.read(&endpoint());
            assert_eq!(health, Health::unknown(endpoint()));
            assert!(matches!(trouble, Some(Trouble::Damaged { .. })), "{damage}");
            let troubles = fail(records, "a", &REFUSED).await;
            let [Trouble::SetAside { kept, .. }] = troubles.as_slice() else {
                panic!("{troubles:?}");
            };
            let kept = std::fs::read_to_string(dir.path().join(kept)).unwrap();
            assert_eq!(kept, damage);
            assert!(!is_open(records, "a", 0), "and begun anew");
        }
    }

    #[tokio::test]
    async fn what_is_no_file_and_what_is_newer_stops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records {
            disk: &RealDisk,
            dir: dir.path(),
        };
        let path = records.path(&endpoint());
        let newer = "{\"format_version\":2,\"what\":\"ever\"}";
        std::fs::write(&path, newer).unwrap();
        let troubles = fail(records, "a", &REFUSED).await;
        assert!(matches!(troubles.as_slice(), [Trouble::Newer { .. }]));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), newer);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        let troubles = fail(records, "a", &REFUSED).await;
        assert!(matches!(troubles.as_slice(), [Trouble::SetAside { .. }]));
        let nowhere = dir.path().join("file");
        std::fs::write(&nowhere, "").unwrap();
        let records = Records {
            disk: &RealDisk,
            dir: &nowhere,
        };
        let troubles = fail(records, "a", &REFUSED).await;
        assert!(
            troubles
                .iter()
                .any(|it| matches!(it, Trouble::NotKept { .. }))
        );
    }
}
