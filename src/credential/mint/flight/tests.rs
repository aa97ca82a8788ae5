#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests look at files and start processes"
)]

use std::{
    cell::{Cell, RefCell},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use secrecy::ExposeSecret;

use super::*;
use crate::{
    credential::mint::{Issuer, Wire, health::Health, policy::Jitter},
    effect::{
        clock::{FixedClock, SystemClock},
        disk::{Disk, Durability, RealDisk},
        http::{
            self, Http,
            listener::{Answer, Listener},
        },
    },
};

/// A directory with a lock, records and a store that a test looks into.
struct World {
    dir: PathBuf,
    name: ResourceName,
    endpoint: Endpoint,
    /// Removed with the world.
    temporary: Option<tempfile::TempDir>,
}

impl World {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut world = Self::at(temporary.path(), "https://issuer.example");
        world.temporary = Some(temporary);
        world
    }

    fn at(dir: &Path, endpoint: &str) -> Self {
        Self {
            dir: dir.to_owned(),
            name: "token".parse().unwrap(),
            endpoint: endpoint.parse().unwrap(),
            temporary: None,
        }
    }

    fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    fn flight<'a>(
        &'a self,
        clock: &'a dyn Clock,
        lock: &'a Path,
        breakers: &'a Path,
    ) -> Flight<'a> {
        Flight {
            clock,
            seed: 7,
            credential: &self.name,
            endpoint: &self.endpoint,
            loss: Loss::Brief,
            lock,
            patience: PATIENCE,
            records: Records {
                disk: &RealDisk,
                dir: breakers,
            },
        }
    }

    async fn refresh(
        &self,
        vault: &dyn Vault,
        seconds: i64,
        loss: Loss,
        mint: impl AsyncFnOnce(Timestamp, bool) -> Result<Minted, MintFault>,
    ) -> Outcome {
        let (clock, lock) = (FixedClock(at(seconds)), self.lock());
        let breakers = self.dir.join("breakers");
        let mut flight = self.flight(&clock, &lock, &breakers);
        flight.loss = loss;
        refresh(&flight, vault, mint).await
    }
}

fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-02-09T10:00:00Z".parse().unwrap();
    start.plus_seconds(seconds)
}

fn minted(value: &str, now: Timestamp, life: i64) -> Minted {
    Minted {
        value: value.into(),
        id: None,
        issued_at: now,
        expires_at: Some(now.plus_seconds(life)),
        scopes: None,
        issuer_time: None,
    }
}

fn kept(value: &str, from: i64, life: i64) -> Kept {
    let minted = minted(value, at(from), life);
    Kept {
        value: minted.value,
        life: Life::of(minted.issued_at, minted.expires_at, Jitter::NONE),
    }
}

fn refused() -> MintFault {
    MintFault::Refused {
        status: 401,
        why: "x",
    }
}

fn away() -> MintFault {
    MintFault::Unreachable(http::Fault::Unresolved)
}

#[derive(Default)]
struct Memory {
    token: RefCell<Option<Kept>>,
    open: Cell<bool>,
    full: bool,
}

impl Memory {
    fn holding(token: Kept) -> Self {
        Self {
            token: Some(token).into(),
            ..Self::default()
        }
    }
}

#[async_trait::async_trait(?Send)]
impl Vault for Memory {
    fn read(&self) -> Result<Stored> {
        Ok(Stored {
            token: self.token.borrow().clone(),
            open: self.open.get(),
        })
    }

    fn intend(&self, _: Timestamp) -> Result<()> {
        self.open.set(true);
        Ok(())
    }

    fn withdraw(&self) -> Result<()> {
        self.open.set(false);
        Ok(())
    }

    async fn keep(&self, minted: &Minted) -> Result<()> {
        if self.full {
            let full = std::io::ErrorKind::StorageFull.into();
            return Err(Error::io("write", Path::new("value"), full));
        }
        self.open.set(false);
        let value = minted.value.clone();
        let life = Life::of(minted.issued_at, minted.expires_at, Jitter::NONE);
        *self.token.borrow_mut() = Some(Kept { value, life });
        Ok(())
    }
}

/// What came of it, and the value.
fn told(outcome: &Outcome) -> String {
    match &outcome.result {
        Ok((kept, how)) => {
            let how = match how {
                How::Served => "served".to_owned(),
                How::Minted => "minted".to_owned(),
                How::NotRenewed(failure) => format!("not renewed, {failure}:"),
            };
            format!("{how} {}", kept.value.expose_secret())
        }
        Err(failure) => failure.to_string(),
    }
}

async fn never(_: Timestamp, _: bool) -> Result<Minted, MintFault> {
    panic!("the issuer was asked")
}

#[tokio::test]
async fn a_token_is_minted_when_there_is_none_and_renewed_when_it_is_due() {
    let (world, vault) = (World::new(), Memory::default());
    let first = async |now, _| Ok(minted("first", now, 100));
    let outcome = world.refresh(&vault, 0, Loss::Brief, first).await;
    assert_eq!(told(&outcome), "minted first");
    assert!(!vault.open.get());
    let outcome = world.refresh(&vault, 60, Loss::Brief, never).await;
    assert_eq!(told(&outcome), "served first");
    let second = async |now, _| Ok(minted("second", now, 100));
    let outcome = world.refresh(&vault, 80, Loss::Brief, second).await;
    assert_eq!(told(&outcome), "minted second");
    let third = async |now, _| Ok(minted("third", now, 100));
    let outcome = world.refresh(&vault, 180, Loss::Brief, third).await;
    assert_eq!(told(&outcome), "minted third");
}

#[tokio::test]
async fn a_valid_token_is_served_while_its_issuer_is_away() {
    let world = World::new();
    let vault = Memory::holding(kept("old", 0, 100));
    let failing = async |_, _| Err(away());
    let outcome = world.refresh(&vault, 90, Loss::Brief, failing).await;
    let why = "not renewed, the issuer was not reached: the host's name cannot be resolved: old";
    assert_eq!(told(&outcome), why);
    // The wait after the failure.
    let outcome = world.refresh(&vault, 90, Loss::Brief, never).await;
    assert_eq!(told(&outcome), "served old");
    let outcome = world.refresh(&vault, 100, Loss::Brief, failing).await;
    assert!(told(&outcome).starts_with("the issuer was not"));
    let outcome = world.refresh(&vault, 100, Loss::Brief, never).await;
    let Err(Failure::Mint(MintFault::BreakerOpen { until })) = outcome.result else {
        panic!("{outcome:?}");
    };
    assert!(at(100) < until && until < at(104), "{until}");
    // Nothing of this holds the lock.
    assert!(!crate::effect::lock::is_held(&world.lock()).unwrap());
}

#[tokio::test]
async fn five_failures_shut_it_and_one_is_let_in_after_a_minute() {
    let (world, vault) = (World::new(), Memory::default());
    let mut now = 0;
    for _ in 0..5 {
        let outcome = world
            .refresh(&vault, now, Loss::Brief, async |_, _| Err(refused()))
            .await;
        assert!(told(&outcome).starts_with("the issuer refuses"), "{now}");
        now += 20;
    }
    now -= 20;
    let outcome = world.refresh(&vault, now + 59, Loss::Brief, never).await;
    assert!(told(&outcome).starts_with("the issuer is not asked before"));
    // The one that is let in never comes back, and nobody else is let in until it surely is gone.
    let killed = async |_, _| std::future::pending().await;
    {
        let refresh = world.refresh(&vault, now + 60, Loss::Brief, killed);
        let short = tokio::time::timeout(Duration::from_millis(50), refresh);
        assert!(short.await.is_err());
    }
    let outcome = world.refresh(&vault, now + 61, Loss::Brief, never).await;
    assert!(told(&outcome).starts_with("the issuer is not asked before"));
    let last = async |now, _| Ok(minted("back", now, 100));
    let outcome = world.refresh(&vault, now + 150, Loss::Brief, last).await;
    assert_eq!(told(&outcome), "minted back");
}

#[tokio::test]
async fn an_intent_is_open_while_the_outcome_is_not_known() {
    let world = World::new();
    for (fault, open) in [
        (refused(), false),
        (away(), false),
        (MintFault::Unknown("x".to_owned()), true),
    ] {
        let vault = Memory::default();
        let records = world.dir.join("breakers");
        let _ = std::fs::remove_dir_all(records);
        let fault = async |_, _| {
            assert!(vault.open.get(), "it is written down before");
            Err(fault)
        };
        world.refresh(&vault, 0, Loss::Brief, fault).await;
        assert_eq!(vault.open.get(), open);
    }
}

/// gitlab-org/gitlab#524639: the second request would end what the first one made.
#[tokio::test]
async fn what_revokes_at_once_is_never_asked_again_after_a_lost_answer() {
    let (world, vault) = (World::new(), Memory::holding(kept("old", 0, 100)));
    let lost = async |_, _| Err(MintFault::Unknown("x".to_owned()));
    world.refresh(&vault, 90, Loss::Fatal, lost).await;
    for seconds in [95, 99, 200, 90_000] {
        let outcome = world.refresh(&vault, seconds, Loss::Fatal, never).await;
        assert!(
            matches!(
                &outcome.result,
                Ok((_, How::NotRenewed(Failure::Mint(MintFault::Unknown(_)))))
                    | Err(Failure::Mint(MintFault::Unknown(_)))
            ),
            "{outcome:?}"
        );
    }
    let marked = async |now, after_loss: bool| {
        assert!(after_loss, "whoever mints is told to look for the orphan");
        Ok(minted("new", now, 100))
    };
    let outcome = world.refresh(&vault, 90_000, Loss::Marked, marked).await;
    assert_eq!(told(&outcome), "minted new");
}

#[tokio::test]
async fn the_only_token_there_is_is_kept_whatever_is_said_of_its_end() {
    let unusable = async |now, _| {
        let mut minted = minted("new", now, 0);
        minted.expires_at = None;
        Err(minted.unusable("its expiry is no date"))
    };
    for (loss, expected) in [(Loss::Fatal, "served new"), (Loss::Brief, "minted next")] {
        let (world, vault) = (World::new(), Memory::holding(kept("old", 0, 100)));
        let outcome = world.refresh(&vault, 200, loss, unusable).await;
        let why = "the issuer made a token that cannot be used: its expiry is no date";
        assert_eq!(told(&outcome), why);
        let next = async |now, _| Ok(minted("next", now, 100));
        let outcome = world.refresh(&vault, 260, loss, next).await;
        assert_eq!(told(&outcome), expected);
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_stored_is_handed_back() {
    let world = World::new();
    let vault = Memory {
        full: true,
        ..Memory::default()
    };
    let outcome = world
        .refresh(&vault, 0, Loss::Brief, async |now, _| {
            Ok(minted("lost", now, 9))
        })
        .await;
    let Err(Failure::NotKept { minted, error }) = outcome.result else {
        panic!("{outcome:?}");
    };
    assert_eq!(minted.value.expose_secret(), "lost");
    assert!(error.suggestion.is_some());
    let shown = format!("{minted:?}{error:?}");
    assert!(!shown.contains("lost"), "{shown}");
}

#[tokio::test]
async fn a_damaged_record_stops_no_mint() {
    let (world, vault) = (World::new(), Memory::default());
    let breakers = world.dir.join("breakers");
    std::fs::create_dir(&breakers).unwrap();
    let records = Records {
        disk: &RealDisk,
        dir: &breakers,
    };
    std::fs::write(records.path(&world.endpoint), "{").unwrap();
    let mint = async |now, _| Ok(minted("new", now, 100));
    let outcome = world.refresh(&vault, 0, Loss::Brief, mint).await;
    assert_eq!(told(&outcome), "minted new");
    assert!(matches!(
        outcome.troubles.as_slice(),
        [Trouble::SetAside { .. }]
    ));
    assert_eq!(
        records.read(&world.endpoint).0,
        Health::unknown(world.endpoint.clone())
    );
}

/// While one mints, a valid token is served to the others at once, and who has none waits.
#[tokio::test]
async fn who_has_a_valid_token_waits_for_nobody() {
    let (world, vault) = (World::new(), Memory::holding(kept("old", 0, 100)));
    let _held = Lock::try_take(&world.lock(), 0o600).unwrap().unwrap();
    let outcome = world.refresh(&vault, 90, Loss::Brief, never).await;
    assert_eq!(told(&outcome), "served old");
    let (clock, lock) = (FixedClock(at(200)), world.lock());
    let breakers = world.dir.join("breakers");
    let mut flight = world.flight(&clock, &lock, &breakers);
    flight.patience = Duration::from_millis(50);
    let outcome = refresh(&flight, &vault, never).await;
    assert!(matches!(outcome.result, Err(Failure::Busy)), "{outcome:?}");
}

/// A store that processes share.
struct File(PathBuf);

#[async_trait::async_trait(?Send)]
impl Vault for File {
    fn read(&self) -> Result<Stored> {
        let Ok(text) = std::fs::read_to_string(&self.0) else {
            return Ok(Stored::default());
        };
        let (expires, value) = text.split_once(' ').unwrap();
        let life = Life {
            expires_at: Some(expires.parse().unwrap()),
            due_at: None,
        };
        Ok(Stored {
            token: Some(Kept {
                value: value.into(),
                life,
            }),
            open: false,
        })
    }

    fn intend(&self, _: Timestamp) -> Result<()> {
        Ok(())
    }

    fn withdraw(&self) -> Result<()> {
        Ok(())
    }

    async fn keep(&self, minted: &Minted) -> Result<()> {
        let text = format!(
            "{} {}",
            minted.expires_at.unwrap(),
            minted.value.expose_secret()
        );
        let written = RealDisk.write(&self.0, text.as_bytes(), 0o600, None, Durability::Now);
        written.map_err(|error| Error::io("write", &self.0, error))
    }
}

const DIR: &str = "LORECTL_TEST_FLIGHT_DIR";
const URL: &str = "LORECTL_TEST_FLIGHT_URL";

/// One of the processes of the test below, which starts it in its own program.
#[test]
#[ignore = "started by the test of many processes"]
fn one_process() {
    let (Ok(dir), Ok(url)) = (std::env::var(DIR), std::env::var(URL)) else {
        return;
    };
    let world = World::at(Path::new(&dir), &url);
    let issuer: Issuer = serde_json::from_value(serde_json::json!({
        "kind": "oauth2", "token_url": url, "client_id": "client",
    }))
    .unwrap();
    let clock = SystemClock::of_machine();
    let (lock, breakers) = (world.lock(), world.dir.join("breakers"));
    let flight = world.flight(&clock, &lock, &breakers);
    let vault = File(world.dir.join("value"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let http = Http::default();
    let wire = Wire {
        credential: "app",
        http: &http,
        roots: None,
    };
    let mint = async |now, _| {
        crate::credential::mint::mint(wire, &issuer, &"s3cret".into(), "mark", now).await
    };
    let outcome = runtime.unwrap().block_on(refresh(&flight, &vault, mint));
    println!("{}", told(&outcome));
}

#[test]
fn many_processes_make_one_mint_though_the_first_of_them_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let answer = "{\"access_token\":\"the-token\",\"expires_in\":3600}".to_owned();
    let listener = Listener::start([
        Answer::Hang,
        Answer::Late(Duration::from_secs(2), 200, answer),
    ]);
    std::fs::write(dir.path().join("value"), "2001-01-01T00:00:00Z dead").unwrap();
    let start = || -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "credential::mint::flight::tests::one_process"])
            .args(["--ignored", "--nocapture"])
            .env(DIR, dir.path())
            .env(URL, listener.url("/token"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut first = start();
    listener.wait_for(1);
    let others: Vec<Child> = (0..200).map(|_| start()).collect();
    first.kill().unwrap();
    first.wait().unwrap();
    let (mut minted, mut served) = (0, 0);
    for other in others {
        let output = other.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        minted += usize::from(text.contains("minted the-token"));
        served += usize::from(text.contains("served the-token"));
    }
    assert_eq!((minted, served), (1, 199));
    assert_eq!(listener.seen().len(), 2, "the killed one's and one more");
}
