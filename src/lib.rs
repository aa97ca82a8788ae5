//! lorectl reconciles a host with TOML files kept in git.
//!
//! A command begins in [`cli`]. It loads everything before anything is compared: [`spec`] reads the
//! files and says all that is wrong with them, [`state`] reads what was applied and the journals that
//! an earlier apply left, and [`observe`] asks each backend once what the host holds. An unfinished
//! journal is settled in memory, by looking at the host ([`apply::settle`]).
//!
//! [`plan`] is then a pure function of these three, the time and the options. It decides every
//! action, step, order, inverse and refusal, in the words of [`resource`]: a resource is an image of
//! named parts, so that one comparison serves all kinds, and a kind ([`service`]) says what a part
//! means, how it is shown and which steps change it.
//!
//! [`apply`] obeys: wave by wave it looks whether the host is still as planned, writes its intents to
//! the journal, hands each backend a batch, reads back, and writes the outcomes. What is connected to
//! a failure is put back. The state is replaced once, at the end.
//!
//! Between applies a scheduler only wakes [`service::run`], which decides by the service's own
//! `run.json` and status whether it is due and may run, runs its stages and records what became of
//! them.
//!
//! What others are told, of runs and of credentials, is in an outbox of [`notify`] before it is sent.
//! No value is in what is kept, told or traced: [`scrub`] takes it out.
//!
//! Only [`view`] prints, and only [`effect`] touches the operating system. Imports run one way, from
//! [`cli`] down to [`id`]; a test holds them to it.

pub mod apply;
pub mod cli;
pub mod credential;
pub mod effect;
pub mod error;
pub mod id;
pub mod layout;
pub mod notify;
pub mod observe;
pub mod plan;
pub mod resource;
pub mod retry;
pub mod scrub;
pub mod service;
pub mod spec;
pub mod state;
pub mod view;
