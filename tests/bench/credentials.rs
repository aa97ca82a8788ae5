//! The figures of credentials: `tests/bench/run credentials [CREDENTIALS]`.

use std::{
    fmt::Write as _,
    fs,
    future::Future,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use lorectl::{
    credential::{
        definition::Credential,
        issuer::{self, Means},
        record::Record,
        watch::{self, Asking},
    },
    effect::{disk::RealDisk, http::Http},
    id::{ResourceName, Timestamp},
    layout::Layout,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{LORECTL, ROUNDS, median, ms, timed};

/// How many requests are under way at a time.
const SIDE_BY_SIDE: usize = 64;

/// What the issuer says of every token.
const ANSWER: &str = r#"{"id":42,"name":"ci","revoked":false,"created_at":"2026-01-02T03:04:05.000Z","scopes":["read_api"],"user_id":7,"last_used_at":"2026-02-03T04:05:06.000Z","active":true,"expires_at":"2026-12-31"}"#;

/// Measures probes of one local issuer, and plans that ask nobody.
pub fn run(credentials: usize) {
    println!("{:<52} {:>9} {:>9} {:>7}", "", "lorectl", "floor", "ratio");
    let place = Place::new(credentials);
    place.probes();
    place.plans("plain", "from variables", &[]);
    place.plans("bench", "from files to files", &["in", "out"]);
}

/// Credentials of one issuer, applied, each with a file of its own and a delivery.
struct Place {
    names: Vec<ResourceName>,
    dir: PathBuf,
    issuer: SocketAddr,
}

impl Place {
    fn new(credentials: usize) -> Self {
        let names = (0..credentials).map(|at| format!("token{at:05}"));
        let place = Self {
            names: names.map(|name| name.parse().unwrap()).collect(),
            dir: PathBuf::from("/srv/credentials"),
            issuer: issuer(),
        };
        let at = |name: &str| place.dir.join(name);
        for dir in ["bench", "plain", "in", "out"] {
            fs::create_dir_all(at(dir)).unwrap();
        }
        let head = |project: &str| format!("version = 1\n[project]\nname = \"{project}\"\n");
        let (mut spec, mut plain) = (head("bench"), head("plain"));
        for name in &place.names {
            let (source, target) = (at("in").join(name.as_str()), at("out").join(name.as_str()));
            fs::write(&source, format!("glpat-{name}-0123456789abcdef")).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(&source, mode).unwrap();
            let asked = format!(
                "[credentials.{name}]\nprovider = \"gitlab\"\nbase_url = \"http://{}\"\nscopes = [\"read_api\"]\n",
                place.issuer
            );
            write!(
                spec,
                "{asked}source = {{ file = \"{}\" }}\ndeliver = [{{ file = \"{}\" }}]\n",
                source.display(),
                target.display()
            )
            .unwrap();
            writeln!(plain, "{asked}source = {{ env = \"TOKEN\" }}").unwrap();
        }
        for (project, spec) in [("bench", spec), ("plain", plain)] {
            fs::write(at(project).join("lore.toml"), spec).unwrap();
            let applied = place.command(project, &["apply", "-y", "-q"]).output();
            let applied = applied.unwrap();
            assert!(applied.status.success(), "{applied:?}");
        }
        place
    }

    fn command(&self, project: &str, args: &[&str]) -> Command {
        let mut command = Command::new(LORECTL);
        command
            .args(args)
            .env("LORECTL_STATE_DIR", self.dir.join("state"))
            .env("HOME", &self.dir)
            .env("TOKEN", "glpat-ofThemAll-0123456789abcdef")
            .current_dir(self.dir.join(project));
        command
    }

    fn layout(&self, project: &str) -> Layout {
        Layout::new(self.dir.join("state"), project.parse().unwrap())
    }

    /// The same requests by lorectl's engine and by reqwest alone; and with the store around them, as a
    /// plan asks: what is due is read, and each finding kept.
    fn probes(&self) {
        let (layout, wanted) = (self.layout("bench"), self.names.len());
        let records = self.names.iter().map(|name| {
            let record = Record::read(&RealDisk, &layout, name).unwrap().unwrap();
            let credential: Credential = record.definition.read().unwrap();
            (credential, record)
        });
        let records: Vec<(Credential, Record)> = records.collect();
        let mut now: Timestamp = "2026-02-09T10:00:00Z".parse().unwrap();
        let (mut bare, mut probed, mut asked) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS * 3 {
            bare.push(self.bare(&records));
            probed.push(on_one_thread(async {
                let http = Http::keeping_connections();
                let all = stream::iter(&records).map(async |(credential, record)| {
                    let value = record.current().unwrap().value.value();
                    issuer::probe(&http, credential, &Means::default(), value, now).await
                });
                let live = all
                    .buffer_unordered(SIDE_BY_SIDE)
                    .filter(|found| std::future::ready(found.status.is_live()));
                assert_eq!(live.count().await, wanted);
            }));
            // All are due again.
            now = now.plus_seconds(3600);
            asked.push(on_one_thread(async {
                let asking = Asking {
                    disk: &RealDisk,
                    layout: &layout,
                    http: &Http::keeping_connections(),
                    per_host: SIDE_BY_SIDE,
                    now,
                };
                watch::ask(&asking, &self.names).await;
            }));
            let last = layout.secret_finding(self.names.last().unwrap());
            let noted = fs::read_to_string(last).unwrap();
            assert!(noted.contains(&now.to_string()), "{noted}");
        }
        paired(
            &format!("{wanted} probes at {SIDE_BY_SIDE} side by side"),
            probed,
            &bare,
        );
        paired("  the same, with the store read and written", asked, &bare);
    }

    fn bare(&self, records: &[(Credential, Record)]) -> Duration {
        use secrecy::ExposeSecret as _;
        // Whoever was first has chosen the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        on_one_thread(async {
            let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]);
            let client = builder.build().unwrap();
            let url = format!("http://{}/api/v4/personal_access_tokens/self", self.issuer);
            let all = stream::iter(records).map(async |(_, record)| {
                let value = record.current().unwrap().value.value().expose_secret();
                let sent = client.get(&url).header("private-token", value).send();
                let body = sent.await.unwrap().bytes().await.unwrap();
                serde_json::from_slice::<serde_json::Value>(&body).unwrap()["active"] == true
            });
            let live = all
                .buffer_unordered(SIDE_BY_SIDE)
                .filter(|live| std::future::ready(*live));
            assert_eq!(live.count().await, records.len());
        })
    }

    /// The whole process, beside reading what it reads; `dirs` hold a file of each beside the store's.
    fn plans(&self, project: &str, what: &str, dirs: &[&str]) {
        let (mut ours, mut floor, mut peak) = (Vec::new(), Vec::new(), 0);
        let layout = self.layout(project);
        for _ in 0..ROUNDS * 3 {
            let began = Instant::now();
            let spec = self.dir.join(project).join("lore.toml");
            let mut bytes = fs::read(spec).unwrap().len();
            bytes += fs::read(layout.state_file()).unwrap().len();
            for name in &self.names {
                let own = [
                    layout.secret_record(name),
                    layout.secret_finding(name),
                    layout.secret_value(name),
                ];
                let others = dirs
                    .iter()
                    .map(|dir| self.dir.join(dir).join(name.as_str()));
                for path in own.into_iter().chain(others) {
                    bytes += fs::read(path).unwrap().len();
                }
            }
            std::hint::black_box(bytes);
            floor.push(began.elapsed());
            let usage = timed(&mut self.command(project, &["plan", "--offline", "-q"]));
            ours.push(usage.wall);
            peak = peak.max(usage.peak_kib);
        }
        let many = self.names.len();
        paired(&format!("`plan --offline` of {many} {what}"), ours, &floor);
        println!("{:<52} {:>6} MB", "  its peak memory", peak / 1024);
    }
}

/// Medians, and the median of the ratios within each round: what slows a machine for a while slows both.
fn paired(what: &str, ours: Vec<Duration>, floor: &[Duration]) {
    let both = ours.iter().zip(floor);
    let mut ratios: Vec<f64> = both
        .map(|(ours, floor)| ours.as_secs_f64() / floor.as_secs_f64())
        .collect();
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios[ratios.len() / 2];
    let (ours, floor) = (median(ours), median(floor.to_vec()));
    println!("{what:<52} {:>9} {:>9} {ratio:>6.2}x", ms(ours), ms(floor));
}

fn on_one_thread(work: impl Future<Output = ()>) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let began = Instant::now();
    runtime.block_on(work);
    began.elapsed()
}

/// An issuer on a thread of its own, which answers at once and keeps connections.
fn issuer() -> SocketAddr {
    let (told, port) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
            told.send(socket.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                tokio::spawn(serve(stream));
            }
        });
    });
    port.recv().unwrap()
}

async fn serve(mut stream: TcpStream) {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{ANSWER}",
        ANSWER.len()
    );
    let refusal = "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n{\"message\":\"401 Unauthorized\"}";
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(n) => head.extend_from_slice(&piece[..n]),
        }
        if head.ends_with(b"\r\n\r\n") {
            // The token that nobody has is refused, or no word of this issuer would be believed.
            let garbage = head.windows(15).any(|part| part == b"NegativeControl");
            let said = if garbage { refusal } else { &answer };
            if stream.write_all(said.as_bytes()).await.is_err() {
                return;
            }
            head.clear();
        }
    }
}
