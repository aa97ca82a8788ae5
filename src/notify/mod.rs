//! Telling others what happens: what the kinds share of it.
//!
//! A kind decides what is told and in which words; what is to be told goes to an [`outbox`] before it is
//! sent, so that whatever ends the process loses none, and [`deliver`] sends what is due. It may be sent
//! twice, with the same id, and is never lost but to the bounds of the outbox.

pub mod address;
pub mod deliver;
pub mod outbox;
pub mod sink;

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

use sink::NotifyFormat;

/// What is told, in the words of one kind.
pub trait Letter: fmt::Debug + Clone + PartialEq + Eq + Serialize + DeserializeOwned {
    /// What others know of its subject, where that is kept beside what waits.
    type Told: fmt::Debug + Clone + PartialEq + Eq + Serialize + DeserializeOwned;

    /// The same for the same event, however often it is sent.
    fn id(&self) -> &str;

    /// The sentence for people.
    fn text(&self) -> String;

    /// What a command finds in its environment beside [`text`](Self::text).
    fn environment(&self) -> Vec<(&'static str, &str)>;

    /// The body of a request, or what a command reads.
    fn body(&self, format: NotifyFormat) -> Vec<u8> {
        let text = match format {
            NotifyFormat::Json => serde_json::to_vec(self),
            NotifyFormat::Slack => {
                // Slack's three special characters: without this, a text could call a channel.
                let text = (self.text())
                    .replace('&', "&amp;")
                    .replace('<', "&lt;")
                    .replace('>', "&gt;");
                serde_json::to_vec(&serde_json::json!({ "text": text }))
            }
        };
        // Neither of them has a key that is no text.
        text.unwrap_or_default()
    }
}
