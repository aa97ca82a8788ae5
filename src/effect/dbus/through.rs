//! A manager whose bus hears only its user: a process of that user asks in our place.

use std::{sync::Arc, time::Duration};

use super::{Manager, NAMES, UnitResult, UnitState, Whose};
use crate::{
    effect::delegate::{BusAnswer, BusAsk, Delegate, WireState, capped, milliseconds},
    error::{Code, Error, Result},
    id::Timestamp,
};

/// How long one's own manager may take for a reload or for jobs is no measure for another user's: a pipe
/// in place of a drop-in is enough to hang it at the next reload (systemd 252), as long as its user
/// likes. Five thousand timers take a few seconds. Whoever takes longer is not asked again in the batch.
const PATIENCE: Duration = Duration::from_secs(45);

/// What a run may take beside its own time.
const MARGIN: Duration = Duration::from_secs(30);

impl Manager {
    /// The manager of the delegate's user, asked by a process of that user.
    pub fn through(user: &Arc<Delegate>) -> Self {
        Self {
            through: Some(Arc::clone(user)),
            ..Self::new(Whose::User {
                uid: user.uid(),
                name: user.name().to_owned(),
            })
        }
    }
}

async fn ask(user: &Delegate, ask: &BusAsk, patience: Duration) -> Result<BusAnswer> {
    match user.ask_bus(ask, patience).await? {
        BusAnswer::Failed(fault) => Err(fault.into_error(user.name())),
        answer => Ok(answer),
    }
}

fn astray(user: &Delegate) -> Error {
    Error::new(Code::BackendUnavailable, user.astray())
}

/// One result for each of so many units.
async fn results(
    user: &Delegate,
    asked: BusAsk,
    count: usize,
    patience: Duration,
) -> Result<Vec<UnitResult>> {
    // Nothing to start or stop is no question, and so needs no manager.
    if count == 0 {
        return Ok(Vec::new());
    }
    match ask(user, &asked, patience).await? {
        BusAnswer::Results(results) if results.len() == count => {
            let result = |why: Option<String>| why.map_or(Ok(()), |why| Err(capped(&why)));
            Ok(results.into_iter().map(result).collect())
        }
        _other => Err(astray(user)),
    }
}

pub(super) async fn states(user: &Delegate, names: &[String]) -> Result<Vec<UnitState>> {
    let calls = u32::try_from(names.len() / NAMES + 1).unwrap_or(u32::MAX);
    let asked = BusAsk::States {
        names: names.to_vec(),
    };
    match ask(user, &asked, super::CALL.saturating_mul(calls)).await? {
        BusAnswer::States(states) if states.len() == names.len() => {
            Ok(states.into_iter().map(WireState::into_state).collect())
        }
        _other => Err(astray(user)),
    }
}

pub(super) async fn units_read_at(user: &Delegate) -> Result<Option<Timestamp>> {
    match ask(user, &BusAsk::UnitsReadAt, super::CALL).await? {
        BusAnswer::ReadAt(millis) => Ok(millis.map(Timestamp::from_millis)),
        _other => Err(astray(user)),
    }
}

pub(super) async fn exit_status(user: &Delegate, service: &str) -> Result<Option<i32>> {
    let asked = BusAsk::ExitStatus {
        service: service.to_owned(),
    };
    match ask(user, &asked, super::CALL).await? {
        BusAnswer::ExitStatus(status) => Ok(status),
        _other => Err(astray(user)),
    }
}

pub(super) async fn reload(user: &Delegate) -> Result<()> {
    done(user, &BusAsk::Reload, PATIENCE).await
}

async fn done(user: &Delegate, asked: &BusAsk, patience: Duration) -> Result<()> {
    match ask(user, asked, patience).await? {
        BusAnswer::Done => Ok(()),
        _other => Err(astray(user)),
    }
}

pub(super) async fn start(user: &Delegate, names: &[String]) -> Result<Vec<UnitResult>> {
    let asked = BusAsk::Start {
        names: names.to_vec(),
    };
    results(user, asked, names.len(), PATIENCE).await
}

pub(super) async fn run(
    user: &Delegate,
    names: &[String],
    patience: Duration,
) -> Result<Vec<UnitResult>> {
    let asked = BusAsk::Run {
        names: names.to_vec(),
        patience_ms: milliseconds(patience),
    };
    results(user, asked, names.len(), patience + MARGIN).await
}

pub(super) async fn stop(user: &Delegate, names: &[String]) -> Result<Vec<UnitResult>> {
    let asked = BusAsk::Stop {
        names: names.to_vec(),
    };
    results(user, asked, names.len(), PATIENCE).await
}

pub(super) async fn reset_failed(user: &Delegate, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let asked = BusAsk::ResetFailed {
        names: names.to_vec(),
    };
    done(user, &asked, super::CALL).await
}
