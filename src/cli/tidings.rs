//! Telling others of credentials, at the end of what applies.
//!
//! Whoever obtains, delivers or looks after values does so when the state is committed: with [`post`]
//! under the project's lock and [`deliver`] without it, or with [`tell`], which takes the lock.

use crate::{
    apply::events::Report,
    credential::notify::tell::{Looked, Posted, Teller},
    effect::{
        host,
        lock::{Holder, ProjectLock},
        process, random,
        signals::Interrupts,
    },
    id::Kind,
    layout::Layout,
    notify::{Letter, outbox::Outbox, sink::Sink},
    observe::Situation,
    resource::{Action, ActionReason, Cause, Definition, Plan},
    view::{self, service::Undelivered},
};

use super::context::Context;

/// Tells others what is news of some credentials, and what waited to be told of them. Within some ten
/// seconds; what is in the way is a warning, and no more. While another holds the project's lock nothing
/// is told: that one does,
/// or the next renewal: a run never waits for an apply.
///
/// This process must not hold that lock, and have no children.
pub async fn tell(context: &Context, layout: &Layout, looked: &[Looked]) {
    if looked.is_empty() {
        return;
    }
    let holder = Holder::this_process(context.now());
    let Ok(lock) = ProjectLock::acquire(&layout.lock_file(), &holder) else {
        return;
    };
    let posted = post(context, layout, looked).await;
    drop(lock);
    deliver(context, layout, posted).await;
}

/// Keeps what is news of some credentials, to be sent by [`deliver`]. Under the project's lock, when the
/// state is committed.
pub async fn post(context: &Context, layout: &Layout, looked: &[Looked]) -> Posted {
    if looked.is_empty() {
        return Posted::default();
    }
    with_teller(context, layout, async |teller| teller.post(looked).await).await
}

/// Sends what was kept, until we are asked to end: the next apply goes on. Says what was in the way.
///
/// This process must have no children.
pub async fn deliver(context: &Context, layout: &Layout, posted: Posted) {
    if posted.is_empty() {
        return;
    }
    let sent = with_teller(context, layout, async |teller| teller.deliver(posted).await);
    let warnings = match Interrupts::listen() {
        Ok(mut interrupts) => tokio::select! {
            warnings = sent => warnings,
            () = interrupts.next() => {
                process::end_strays(&[], std::time::Duration::from_secs(1)).await;
                Vec::new()
            }
        },
        Err(_) => sent.await,
    };
    for warning in warnings {
        let text = view::error::warning(&warning, &context.console.stderr);
        context.console.complain(&text);
    }
}

async fn with_teller<T>(
    context: &Context,
    layout: &Layout,
    work: impl AsyncFnOnce(Teller<'_>) -> T,
) -> T {
    let host = host::name().unwrap_or_default();
    let teller = Teller {
        disk: context.disk.as_ref(),
        clock: &context.clock,
        // Only the waits follow from it.
        seed: random::seed().unwrap_or_default(),
        layout,
        account: &context.account,
        host: &host,
    };
    work(teller).await
}

/// The credentials that an apply has looked after, and whose renewal it has failed to bring about. One
/// that somebody hears of, or did.
pub fn looked_after(situation: &Situation, plan: &Plan, report: &Report) -> Vec<Looked> {
    let tells = |definition: Option<&Definition>| {
        definition.is_some_and(|definition| definition.as_json().contains("\"notify\":"))
    };
    let own = plan.changes.iter().filter(|change| {
        let before = situation.applied.get(&change.address);
        change.address.kind == Kind::Credential
            && change.reason != ActionReason::NotTargeted
            // That it has ended is nobody's concern until a run needs it.
            && change.reason != ActionReason::AtRest
            && (tells(change.record.as_ref().map(|record| &record.definition))
                || tells(before.map(|record| &record.definition)))
    });
    let looked = own.map(|change| {
        let is_renewal = change.action != Action::NoOp && change.cause == Some(Cause::Schedule);
        let mut failed = report.failed.iter().filter(|_| is_renewal);
        let failed = failed.find(|failure| failure.address == change.address);
        Looked {
            name: change.address.name.clone(),
            renewal: failed.map(|failure| failure.message.clone()),
        }
    });
    looked.collect()
}

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
