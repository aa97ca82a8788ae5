//! What a removal needs besides: to wait for a run in flight, as a change of user
//! does, and to leave nothing in the manager's memory.

use std::time::Duration;

use tokio::time;

use super::{super::hand_over, Systemd, batch::Work, parts::UnitKind};
use crate::{
    effect::dbus::Active,
    error::{Error, Result},
    resource::Outcome,
    service::{image, status::file as status},
};

/// How often a run in flight is looked at: soon at first, then less often.
const POLL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

impl Systemd {
    /// Marks the removals and hand-overs that have a run in flight; their timers are stopped already.
    pub(super) async fn find_runs(&self, works: &mut [&mut Work<'_>]) {
        let removals: Vec<&mut Work<'_>> = works
            .iter_mut()
            .map(|work| &mut **work)
            .filter(|work| work.minds_runs() && work.outcome.is_none())
            .collect();
        if removals.is_empty() {
            return;
        }
        let names: Vec<String> = removals
            .iter()
            .flat_map(|work| UnitKind::ALL.map(|kind| self.unit_name(work.name(), kind)))
            .collect();
        let mut states = match self.manager.states(&names).await {
            Ok(states) => states.into_iter(),
            Err(error) => {
                for work in removals {
                    work.waits = false;
                    work.fail(error.chain());
                }
                return;
            }
        };
        for work in removals {
            work.waits = false;
            work.failed_units.clear();
            for kind in UnitKind::ALL {
                let Some(state) = states.next() else { break };
                if state.active == Active::Failed {
                    work.failed_units.push(self.unit_name(work.name(), kind));
                }
                work.waits |= kind == UnitKind::Service && state.in_flight;
            }
            // One that a person started has no unit.
            work.waits |= work.hands_over && hand_over::runs(&self.layout, work.name());
        }
    }

    /// Waits for the runs in flight, each as long as its step allows, and goes on with what has ended;
    /// what has not is held.
    pub(super) async fn wait_for_runs(&self, works: &mut [&mut Work<'_>]) {
        let mut waiting: Vec<&mut Work<'_>> = works
            .iter_mut()
            .map(|work| &mut **work)
            .filter(|work| work.waits && work.outcome.is_none())
            .collect();
        if waiting.is_empty() {
            return;
        }
        let began = time::Instant::now();
        let mut pause = POLL.0;
        while waiting
            .iter()
            .any(|work| work.waits && work.outcome.is_none())
        {
            time::sleep(pause).await;
            pause = (pause * 2).min(POLL.1);
            self.find_runs(&mut waiting).await;
            for work in &mut waiting {
                let patience = Duration::from_secs(work.step.patience.0);
                if work.waits && work.outcome.is_none() && began.elapsed() >= patience {
                    work.outcome = Some(Outcome::held(format!(
                        "a run is in flight and did not end within {}",
                        work.step.patience
                    )));
                }
            }
        }
        self.round(&mut waiting).await;
    }

    /// After the reload: makes the manager forget what failed, and removes data where that is asked for.
    pub(super) async fn forget(&self, works: &mut [&mut Work<'_>]) {
        let removals = works
            .iter_mut()
            .filter(|work| work.is_removal() && work.is_live());
        let mut failed_units = Vec::new();
        for work in removals {
            failed_units.append(&mut work.failed_units);
            let name = &work.step.address.name;
            let untouched = || status::is_untouched(&*self.disk, &self.layout, name);
            if (work.step.verb == image::PURGE || untouched())
                && let Err(error) = self.purge(work)
            {
                // All but this is done and stays so: there is nothing to put back by halves.
                work.fail(error.chain());
            }
        }
        // The service is gone whatever the answer: a failed state that is kept shows in `systemctl` alone.
        let _ = self.manager.reset_failed(&failed_units).await;
    }

    fn purge(&self, work: &mut Work<'_>) -> Result<()> {
        let name = work.step.address.name.clone();
        let data = self.layout.data(&name);
        if work.step.verb == image::PURGE {
            hand_over::purge(&*self.disk, &self.layout, &name)?;
        }
        self.disk
            .remove_tree(&data)
            .map_err(|error| Error::io("remove", &data, error))?;
        work.undo
            .remove_dir(&*self.disk, &self.layout.service(&name))
    }
}
