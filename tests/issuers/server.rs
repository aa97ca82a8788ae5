//! An issuer that runs for one test.

use std::{
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use lorectl::{
    credential::mint::{self, Issuer, MintFault, Minted, Wire},
    effect::{
        clock::{Clock, SystemClock},
        http::{Http, HttpUrl, Method, Request},
    },
    id::Timestamp,
};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

/// How long anything is waited for.
const DEADLINE: Duration = Duration::from_secs(60);

/// Which issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Jupyterhub,
    Oidc,
    Gitlab,
    Github,
    Verdaccio,
}

/// A running issuer; it ends with this.
pub struct Server {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    http: Http,
}

/// The first of three ports in a row that nobody has now and no other test was given. They lie below
/// those that the kernel gives to connections, for a hub takes seconds to listen.
fn free() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let turn = std::process::id() % 7000 * 31 + GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(10_000 + turn % 7000 * 3).unwrap();
        let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (port..port + 3).all(is_free) {
            return port;
        }
    }
}

/// The machine's time.
pub fn now() -> Timestamp {
    SystemClock::of_machine().now()
}

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < end, "{what} never came");
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl Server {
    /// Starts an issuer, and waits until it answers.
    pub fn start(kind: Kind, secret: &str, more: &[(&str, &str)]) -> Self {
        let (name, ready) = match kind {
            Kind::Jupyterhub => ("jupyterhub", "/hub/api"),
            Kind::Oidc => ("oidc", "/.well-known/openid-configuration"),
            Kind::Gitlab => ("gitlab", "/-/family"),
            Kind::Github => ("github", "/-/living"),
            Kind::Verdaccio => ("verdaccio", "/-/ping"),
        };
        let (dir, port) = (tempfile::tempdir().unwrap(), free());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/issuers/start");
        let child = Command::new(script)
            .args([name, &port.to_string()])
            .arg(dir.path())
            .env("ISSUER_TOKEN", secret)
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let server = Self {
            child,
            port,
            _dir: dir,
            runtime: runtime.unwrap(),
            http: Http::default(),
        };
        until(name, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok() && server.get(ready, &[]).0 == 200
        });
        server
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Sends a request; the status of the answer and its JSON, if that is what it is.
    pub fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> (u16, Value) {
        let url = HttpUrl::parse(&self.url(path)).unwrap();
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, (*value).into()))
            .collect();
        let request = Request {
            method,
            url: &url,
            headers: &headers,
            body: (!body.is_empty()).then_some(body.as_bytes()),
            roots: None,
            timeout: DEADLINE,
            body_limit: 1 << 20,
        };
        let Ok(answer) = self.runtime.block_on(self.http.send(&request)) else {
            return (0, Value::Null);
        };
        let json = serde_json::from_slice(answer.body.expose_secret());
        (answer.status, json.unwrap_or(Value::Null))
    }

    pub fn get(&self, path: &str, headers: &[(&'static str, &str)]) -> (u16, Value) {
        self.send(Method::Get, path, headers, "")
    }

    /// Runs something that asks it.
    pub fn ask<T>(&self, asked: impl AsyncFnOnce(Wire<'_>) -> T) -> T {
        let wire = Wire {
            credential: "app",
            http: &self.http,
            roots: None,
        };
        self.runtime.block_on(asked(wire))
    }

    pub fn mint(&self, issuer: &Issuer, secret: &SecretString) -> Result<Minted, MintFault> {
        self.ask(async |wire| mint::mint(wire, issuer, secret, "lorectl acme/token", now()).await)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        // A hub's proxy has a session of its own, and is ended by the hub alone.
        let _ = killpg(group, Signal::SIGTERM);
        let end = Instant::now() + DEADLINE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}
