//! `lorectl reconcile`: mends what drifted, towards what was applied. It reads no spec, and is what the
//! timer of `[reconcile]` runs.

use std::{cell::RefCell, collections::BTreeSet, path::PathBuf};

use clap::ValueEnum as _;

use crate::{
    apply::{events::Failure, execute::OnFailure},
    effect::{disk::Durability, environment},
    error::{Error, Exit, Result},
    id::{Address, Kind},
    observe::Situation,
    plan::{Options, approval},
    resource::{Action, Cause, Plan},
    service::{definition::Service, run::classify},
    spec::RECONCILE,
    state::place,
};

use super::{
    Done,
    apply::{Approved, Order},
    args::{Allow, ReconcileArgs},
    context::Context,
    project::Project,
    state::rename,
};

/// Why the drift of a pinned program stays.
const OTHER_PROGRAM: &str = "a program that it pins is not the one that was applied: put the old one back, \
     or take the new one in with `lorectl apply`";

/// What `reconcile` may do, and what it had to leave to a person.
pub struct Mending {
    /// What the command line allows; where it says nothing, what was applied does.
    asked: Vec<Allow>,
    /// What drifted and stays so, with the reason.
    unmended: RefCell<Vec<Failure>>,
}

/// Mends, and says nothing where nothing was to be done.
pub async fn run(context: &Context, args: &ReconcileArgs) -> Result<Done> {
    let project = context.project()?;
    let layout = context.layout(project.clone());
    let disk = context.disk.as_ref();
    if !place::list_projects(disk, &context.state_dir)?.contains(layout.project()) {
        return Ok(Done::Fine);
    }
    rename::finish(context, &layout).await?;
    let order = Order {
        context,
        project,
        options: Options::default(),
        asked: None,
        on_failure: OnFailure::Rollback,
        command: "reconcile".to_owned(),
    };
    let mending = Mending {
        asked: args.allow.clone(),
        unmended: RefCell::default(),
    };
    let wish = |project: &Project<'_>| Ok(project.as_applied());
    let done = order
        .carry_out(&wish, Some(Approved::ToMend(mending)), "")
        .await;
    let exit = match &done {
        Ok(Done::As(code)) => Some(code.exit()),
        Err(error) => Some(error.code.exit()),
        Ok(Done::Fine | Done::Changes | Done::Status(_)) => None,
    };
    if exit == Some(Exit::Refused) {
        wait_for_a_person(context)?;
    }
    done
}

/// In how many seconds nothing is any different that waits for a person; longer than the pause before
/// a stage's second attempt.
const LATER: u64 = 60;

/// Tells the runner, where it is one that asked, that to try at once again is of no use.
fn wait_for_a_person(context: &Context) -> Result<()> {
    let Some(path) = environment::variable(classify::RESULT).map(PathBuf::from) else {
        return Ok(());
    };
    let said = format!("{{\"retry_after\":{LATER}}}\n");
    let written = (context.disk).append(&path, said.as_bytes(), 0o600, Durability::Batch);
    written.map_err(|error| Error::io("write", &path, error))
}

impl Mending {
    /// What drifted and stays so, with the reason.
    pub(super) fn unmended(&self) -> Vec<Failure> {
        self.unmended.borrow().clone()
    }

    /// What a plan would do beyond putting back what was applied and replacing what is due.
    ///
    /// # Errors
    /// `STATE_CORRUPT` for a record whose definition cannot be read.
    pub(super) fn leave(
        &self,
        project: &Project<'_>,
        situation: &Situation,
        plan: &Plan,
    ) -> Result<BTreeSet<Address>> {
        let allowed = match self.asked.as_slice() {
            [] => allowed(situation)?,
            asked => asked.to_vec(),
        };
        let drift_is_mended = allowed.contains(&Allow::Drift);
        let due_is_replaced = allowed.contains(&Allow::Rotation);
        let (mut leave, mut why) = (BTreeSet::new(), Vec::new());
        for change in plan.changes.iter().filter(|c| c.action != Action::NoOp) {
            let address = &change.address;
            let stuck = match situation.applied.get(address) {
                Some(record)
                    if (drift_is_mended && approval::only_drifted(change))
                        || (due_is_replaced && change.cause == Some(Cause::Schedule)) =>
                {
                    project.stuck(address, record)?
                }
                Some(_) | None => {
                    leave.insert(address.clone());
                    continue;
                }
            };
            if let Some(stuck) = stuck {
                why.push(Failure {
                    address: address.clone(),
                    message: stuck,
                });
                leave.insert(address.clone());
            }
        }
        for refusal in plan.refusals.iter().filter(|_| drift_is_mended) {
            if let Some(address) = &refusal.address {
                why.push(Failure {
                    address: address.clone(),
                    message: refusal.message.clone(),
                });
                leave.insert(address.clone());
            }
        }
        let swapped = plan.drift.iter().filter(|drift| drift.has_other_program());
        for drift in swapped.filter(|drift| drift_is_mended && !leave.contains(&drift.address)) {
            why.push(Failure {
                address: drift.address.clone(),
                message: OTHER_PROGRAM.to_owned(),
            });
        }
        self.unmended.replace(why);
        Ok(leave)
    }
}

/// What `[reconcile]` allowed when it was applied; all of it where there is none.
fn allowed(situation: &Situation) -> Result<Vec<Allow>> {
    let own = (situation.applied.iter())
        .find(|(address, _)| address.kind == Kind::Service && address.name.as_str() == RECONCILE);
    let Some((_, record)) = own else {
        return Ok(Allow::value_variants().to_vec());
    };
    let service: Service = record.definition.read()?;
    let words = service.stages.iter().filter_map(|stage| {
        let says = |pair: &&[String]| pair.first().is_some_and(|word| word == "--allow");
        stage.run.windows(2).find(says)?.get(1)
    });
    // A word of a later version allows nothing that this one does.
    let known = |word: &str| Allow::from_str(word, false).ok();
    Ok(words
        .flat_map(|words| words.split(',').filter_map(known))
        .collect())
}
