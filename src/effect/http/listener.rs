//! A small HTTP server for tests, on a port of this host: it answers as it is told, and remembers.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// What it does with a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Answers with this status, these header lines, and this body.
    With(u16, &'static str, String),
    /// The same as `With`, without headers, after so long.
    Late(Duration, u16, String),
    /// Reads it, and says nothing for as long as the other end waits.
    Hang,
    /// Reads it and closes the connection.
    Close,
    /// Answers 200 and a body that never ends.
    Flood,
}

impl Answer {
    /// An answer without headers or body.
    pub const fn status(status: u16) -> Self {
        Self::With(status, "", String::new())
    }
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Method and target.
    pub what: String,
    /// The header lines.
    pub headers: String,
    /// The body.
    pub body: String,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    changed: Condvar,
    answers: Mutex<VecDeque<Answer>>,
    /// Whether a token that nobody has is refused, and such a request neither counted nor remembered.
    refuses_garbage: AtomicBool,
}

/// The server; its threads end with the process.
pub struct Listener {
    port: u16,
    shared: Arc<Shared>,
}

impl Listener {
    /// Listens, and gives these answers in turn, the last one for ever.
    pub fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Arc::new(Shared::default());
        let listener = Self {
            port: socket.local_addr().unwrap().port(),
            shared: Arc::clone(&shared),
        };
        listener.answer(answers);
        std::thread::spawn(move || {
            for stream in socket.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(&shared, stream));
            }
        });
        listener
    }

    /// The same for an issuer that refuses a provider's garbage token by itself.
    pub fn issuer(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = Self::start(answers);
        listener
            .shared
            .refuses_garbage
            .store(true, Ordering::SeqCst);
        listener
    }

    /// Gives these answers from now on.
    pub fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        *self.shared.answers.lock().unwrap() = answers.into_iter().collect();
    }

    /// A URL of it.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// What came so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Waits until so many requests have come.
    pub fn wait_for(&self, count: usize) -> Vec<Seen> {
        let seen = self.shared.seen.lock().unwrap();
        let (seen, late) = self
            .shared
            .changed
            .wait_timeout_while(seen, Duration::from_secs(60), |seen| seen.len() < count)
            .unwrap();
        assert!(!late.timed_out(), "{} of {count}: {seen:?}", seen.len());
        seen.clone()
    }
}

fn serve(shared: &Shared, stream: TcpStream) {
    let mut reader = BufReader::new(stream);
    let mut what = String::new();
    if reader.read_line(&mut what).is_err() || what.is_empty() {
        return;
    }
    let (mut headers, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).is_err() || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
        headers.push_str(&line);
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let garbage = headers.contains("NegativeControl") || body.ends_with(b"NegativeControl");
    if garbage && shared.refuses_garbage.load(Ordering::SeqCst) {
        let refusal = "HTTP/1.1 401 X\r\nContent-Type: application/json\r\nContent-Length: 30\r\nConnection: close\r\n\r\n{\"message\":\"401 Unauthorized\"}";
        let _ = reader.into_inner().write_all(refusal.as_bytes());
        return;
    }
    let answer = {
        let mut answers = shared.answers.lock().unwrap();
        if answers.len() > 1 {
            answers.pop_front()
        } else {
            answers.front().cloned()
        }
    };
    shared.seen.lock().unwrap().push(Seen {
        what: what.trim_end_matches(" HTTP/1.1\r\n").to_owned(),
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    });
    shared.changed.notify_all();
    let mut stream = reader.into_inner();
    match answer.unwrap_or(Answer::Close) {
        Answer::Close => {}
        Answer::Hang => drop(stream.read(&mut [0])),
        Answer::With(status, headers, body) => say(&mut stream, status, headers, &body),
        Answer::Late(wait, status, body) => {
            #[expect(
                clippy::disallowed_methods,
                reason = "it is slow, as it was told to be"
            )]
            std::thread::sleep(wait);
            say(&mut stream, status, "", &body);
        }
        Answer::Flood => {
            let _ = write!(stream, "HTTP/1.1 200 X\r\nConnection: close\r\n\r\n");
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
        }
    }
}

fn say(stream: &mut TcpStream, status: u16, headers: &str, body: &str) {
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
    );
}
