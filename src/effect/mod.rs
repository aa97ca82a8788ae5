//! The only part that touches the operating system: one file a concern, thin
//! and concrete. `Disk` and `Clock` alone are traits, so that crashes and time
//! can be simulated.

pub mod clock;
pub mod creds;
pub mod dbus;
pub mod delegate;
pub mod disk;
pub mod environment;
pub mod executable;
pub mod host;
pub mod http;
pub mod lock;
pub mod process;
pub mod random;
pub mod signals;
#[cfg(test)]
pub(crate) mod simdisk;
pub mod terminal;
pub mod threads;
pub mod unseen;
pub mod untrusted;
pub mod user;
