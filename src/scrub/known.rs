//! Every value that this process has met, for what is printed without anyone having looked through it:
//! traces, and what a panic says.
//!
//! A value is met where it comes to be one of ours: read from a source or from standard input, out of
//! the store, out of an issuer's answer. It is kept until the process ends, since nobody knows which
//! text it may turn up in.

use std::{
    borrow::Cow,
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError, TryLockError},
};

use secrecy::{ExposeSecret, SecretString};

use super::Scrubber;

/// What is written between brackets in the place of a value: whose it is, is not asked where it is met.
const NAME: &str = "value";

struct Met {
    values: Vec<SecretString>,
    /// What tells that one was met: keyed anew in each process.
    seen: Option<(RandomState, HashSet<u64>)>,
}

static MET: Mutex<Met> = Mutex::new(Met {
    values: Vec::new(),
    seen: None,
});

/// Remembers a value. The same one again costs a look.
pub fn meet(value: &SecretString) {
    let mut met = MET.lock().unwrap_or_else(PoisonError::into_inner);
    let met = &mut *met;
    let (keyed, seen) = met.seen.get_or_insert_with(Default::default);
    if seen.insert(keyed.hash_one(value.expose_secret())) {
        met.values.push(value.clone());
    }
}

/// Takes the values that were met so far out of texts.
#[derive(Default)]
pub struct Screen {
    scrubber: Scrubber,
    learnt: usize,
}

impl Screen {
    /// A text without any value that was met by now.
    pub fn text<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        let met = MET.lock().unwrap_or_else(PoisonError::into_inner);
        self.learn(&met);
        drop(met);
        self.scrubber.text(text)
    }

    /// The same for who must not wait, since the values may be locked by itself: `None` where they are.
    pub fn text_at_once<'t>(&mut self, text: &'t str) -> Option<Cow<'t, str>> {
        let met = match MET.try_lock() {
            Ok(met) => met,
            Err(TryLockError::Poisoned(met)) => met.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        self.learn(&met);
        drop(met);
        Some(self.scrubber.text(text))
    }

    fn learn(&mut self, met: &Met) {
        for value in met.values.iter().skip(self.learnt) {
            self.scrubber.learn(NAME, value);
        }
        self.learnt = met.values.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::process::apart::apart;

    // Other tests meet values too.
    apart! {
        fn what_was_met_is_taken_out_also_when_it_was_met_later() {
            let mut screen = Screen::default();
            let [first, second] = ["canary-of-known-1b7e", "canary-of-known-1b7e-and-longer"];
            let text = format!("a {first} b {second} c");
            assert_eq!(screen.text(&text), text);
            meet(&first.into());
            meet(&first.into());
            assert_eq!(screen.text(&text), "a «value» b «value»-and-longer c");
            meet(&second.into());
            assert_eq!(screen.text(&text), "a «value» b «value» c");
            let at_once = Screen::default().text_at_once(&text).map(Cow::into_owned);
                assert_eq!(at_once.as_deref(), Some("a «value» b «value» c"));
            assert_eq!(screen.text("nothing"), "nothing");
        }
    }
}
