//! Being asked to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Code, Error, Result};

/// Ctrl-C and SIGTERM, as long as this lives; they no longer end the process by themselves.
#[derive(Debug)]
pub struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Listens from now on.
    ///
    /// # Errors
    /// `INTERNAL` when the system refuses a handler.
    pub fn listen() -> Result<Self> {
        let on = |kind| {
            signal(kind).map_err(|error| {
                Error::new(Code::Internal, "cannot listen to signals").because(error)
            })
        };
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
