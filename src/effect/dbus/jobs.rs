//! Jobs that are waited for: which call made which, and how each ended.

use std::{collections::HashMap, future::poll_fn, num::NonZeroU32, pin::Pin, time::Duration};

use futures_core::Stream;
use zbus::{Connection, Message, MessageStream, ObjectPath, message};

use super::UnitResult;

/// Everything that arrives on a connection, read while calls are being written, so that neither waits for the other.
pub(super) struct Inbox {
    messages: tokio::sync::mpsc::UnboundedReceiver<Message>,
    reader: tokio::task::JoinHandle<()>,
}

impl Inbox {
    pub(super) fn open(connection: &Connection) -> Self {
        let mut stream = MessageStream::from(connection);
        let (sender, messages) = tokio::sync::mpsc::unbounded_channel();
        let reader = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)).await {
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        Self { messages, reader }
    }

    pub(super) async fn next(&mut self) -> Option<Message> {
        self.messages.recv().await
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Which calls and jobs are still open.
pub(super) struct Jobs {
    /// Units without a result.
    pub(super) open: usize,
    calls: HashMap<NonZeroU32, usize>,
    queued: HashMap<String, usize>,
    /// Ended before the answer that names them was read, with their result.
    ended: HashMap<String, String>,
    results: Vec<Option<UnitResult>>,
}

impl Jobs {
    pub(super) fn new(count: usize) -> Self {
        Self {
            open: count,
            calls: HashMap::new(),
            queued: HashMap::new(),
            ended: HashMap::new(),
            results: vec![None; count],
        }
    }

    /// Jobs asked for that have not ended.
    pub(super) fn under_way(&self) -> usize {
        self.calls.len() + self.queued.len()
    }

    /// A call was sent for the unit at this place.
    pub(super) fn called(&mut self, serial: NonZeroU32, at: usize) {
        self.calls.insert(serial, at);
    }

    /// Reads a message that may end a call or a job.
    pub(super) fn take(&mut self, message: &Message) {
        let header = message.header();
        match header.message_type() {
            message::Type::MethodReturn => {
                let at = header.reply_serial().and_then(|s| self.calls.remove(&s));
                let Some(at) = at else { return };
                let body = message.body();
                match body.deserialize::<ObjectPath<'_>>() {
                    Ok(job) => match self.ended.remove(job.as_str()) {
                        Some(result) => self.end(at, outcome(&result)),
                        None => drop(self.queued.insert(job.as_str().to_owned(), at)),
                    },
                    Err(error) => self.end(at, Err(error.to_string())),
                }
            }
            message::Type::Error => {
                let at = header.reply_serial().and_then(|s| self.calls.remove(&s));
                let Some(at) = at else { return };
                let name = header.error_name().map(|name| name.as_str().to_owned());
                let why = if name.as_deref() == Some("org.freedesktop.systemd1.NoSuchUnit") {
                    NO_SUCH_UNIT.to_owned()
                } else {
                    let body = message.body();
                    let text = body.deserialize::<&str>().map(str::to_owned);
                    text.ok().or(name).unwrap_or_default()
                };
                self.end(at, Err(why));
            }
            message::Type::Signal => {
                if header.member().is_none_or(|m| m.as_str() != "JobRemoved") {
                    return;
                }
                let body = message.body();
                let Ok((_, job, _, result)) =
                    body.deserialize::<(u32, ObjectPath<'_>, &str, &str)>()
                else {
                    return;
                };
                match self.queued.remove(job.as_str()) {
                    Some(at) => self.end(at, outcome(result)),
                    // Others' jobs end here too, and those whose answer is still on its way.
                    None => drop(
                        self.ended
                            .insert(job.as_str().to_owned(), result.to_owned()),
                    ),
                }
            }
            message::Type::MethodCall => {}
        }
    }

    fn end(&mut self, at: usize, result: UnitResult) {
        if let Some(slot) = self.results.get_mut(at)
            && slot.is_none()
        {
            *slot = Some(result);
            self.open -= 1;
        }
    }

    /// The result of each unit; one that has none took longer than `limit`.
    pub(super) fn results(self, method: &str, limit: Duration) -> Vec<UnitResult> {
        let unanswered = || Err(format!("{method} did not end within {} s", limit.as_secs()));
        self.results
            .into_iter()
            .map(|result| match result.unwrap_or_else(unanswered) {
                Err(text) if text == NO_SUCH_UNIT && method == "StopUnit" => Ok(()),
                other => other,
            })
            .collect()
    }
}

const NO_SUCH_UNIT: &str = "the manager does not know it";

/// The result of a job, org.freedesktop.systemd1(5).
fn outcome(result: &str) -> UnitResult {
    match result {
        "done" => Ok(()),
        other => Err(format!("its job ended as `{other}`")),
    }
}
