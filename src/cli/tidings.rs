//! Telling others of credentials, at the end of what applies.

use crate::{
    notify::{Letter, outbox::Outbox, sink::Sink},
    view::service::Undelivered,
};

/// Whom news has not reached, of those who are to hear of something.
pub fn undelivered<M: Letter>(outbox: &Outbox<M>, sinks: &[Sink]) -> Vec<Undelivered> {
    let sinks = sinks.iter().map(|sink| &sink.name);
    let all = sinks.filter_map(|name| {
        let own = || (outbox.waiting.iter()).filter(|waiting| waiting.sink == *name);
        let fault = outbox.faults.get(name);
        let first = own().next();
        (first.is_some() || fault.is_some()).then(|| Undelivered {
            to: name.to_string(),
            waiting: own().count() as u64,
            given_up: fault.map_or(0, |fault| fault.given_up),
            last_error: fault.map(|fault| fault.error.clone()),
            next_try: first.map(|waiting| waiting.next_try),
        })
    });
    all.collect()
}
