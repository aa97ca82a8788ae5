//! `lorectl credential refresh`: values that serve, for the run that is about to begin.

use futures_util::future::join_all;

use crate::{
    credential::{
        backend::{self, Refreshed, Renewal, Store},
        facts::to_second,
        notify::tell::Looked,
        setback::Issuers,
    },
    error::{Error, Exit, Result},
    id::{ResourceName, Timestamp},
    layout::Layout,
    view::{
        self,
        credential::{Refresh, RefreshRow},
    },
};

use super::super::{Done, context::Context, tidings};

/// Renews what is due, the credentials side by side.
pub(super) async fn run(context: &Context, names: &[ResourceName]) -> Result<Done> {
    let layout = context.layout(context.project()?);
    let mut page = Refresh {
        project: layout.project().to_string(),
        at: context.now(),
        credentials: Vec::new(),
    };
    let mut failure: Option<Error> = None;
    for (name, refreshed) in names.iter().zip(all(context, &layout, names).await) {
        match refreshed {
            Ok(refreshed) => page.credentials.push(row(name, refreshed)),
            Err(error) => match &failure {
                None => failure = Some(error),
                Some(_) => complain(context, &error),
            },
        }
    }
    match failure {
        None => context.show(&page),
        Some(error) => {
            if !context.json() && !page.credentials.is_empty() {
                context.show(&page)?;
            }
            Err(error)
        }
    }
}

/// Renews what a run is about to need, and says what stands in the way: the run begins all the same.
pub(in super::super) async fn before_run(
    context: &Context,
    layout: &Layout,
    names: &[ResourceName],
) {
    for refreshed in all(context, layout, names).await {
        match refreshed {
            Ok(Refreshed {
                how: Renewal::NotRenewed(error),
                ..
            })
            | Err(error) => complain(context, &error),
            Ok(Refreshed {
                how: Renewal::Served | Renewal::Renewed,
                ..
            }) => {}
        }
    }
}

async fn all(context: &Context, layout: &Layout, names: &[ResourceName]) -> Vec<Result<Refreshed>> {
    let store = Store::new(
        &context.account,
        layout.clone(),
        &context.disk,
        context.clock,
    );
    let all = join_all(names.iter().map(|name| store.refresh(name))).await;
    for (name, refreshed) in names.iter().zip(&all) {
        trace(name, refreshed);
    }
    let issuers = Issuers::new(context.disk.as_ref(), layout);
    let looked = names.iter().zip(&all).filter_map(|(name, refreshed)| {
        let renewal = match refreshed.as_ref().map(|refreshed| &refreshed.how) {
            Ok(Renewal::Served) => return None,
            Ok(Renewal::Renewed) => None,
            Ok(Renewal::NotRenewed(error)) | Err(error) => is_failure(error).then(|| error.chain()),
        };
        let (disk, now) = (context.disk.as_ref(), context.now());
        let known = backend::facts(disk, layout, &issuers, name, now);
        // Where nobody hears of it, no apply is kept from its lock.
        let heard = known
            .ok()
            .flatten()
            .is_some_and(|(one, _)| !one.notify.is_empty());
        let name = name.clone();
        heard.then_some(Looked { name, renewal })
    });
    tidings::tell(context, layout, &looked.collect::<Vec<_>>()).await;
    all
}

/// Tells a trace what became of a value, and when the next one is due.
fn trace(name: &ResourceName, refreshed: &Result<Refreshed>) {
    let told = |at: Option<Timestamp>| {
        at.map_or_else(|| "unknown".to_owned(), |at| to_second(at).to_string())
    };
    let (facts, how) = match refreshed {
        Ok(Refreshed { facts, how }) => (facts, how),
        Err(error) => return tracing::info!(credential = %name, code = %error.code, "has no value"),
    };
    let ends = told(facts.expiry.map(|expiry| expiry.at));
    let renewed_from = told(facts.renew_at);
    let what = match how {
        Renewal::Served => "its value serves, and no new one is due",
        Renewal::Renewed => "has a new value",
        Renewal::NotRenewed(_) => "its value serves, and a new one is due that was not had",
    };
    tracing::info!(credential = %name, ends, renewed_from, "{what}");
}

/// Whether a renewal has failed, and not only to be tried again when an issuer answers.
fn is_failure(error: &Error) -> bool {
    !matches!(error.code.exit(), Exit::Later | Exit::Unavailable)
}

fn complain(context: &Context, error: &Error) {
    let style = &context.console.stderr;
    (context.console).complain(&view::error::warning(&error.sentence(), style));
}

fn row(name: &ResourceName, refreshed: Refreshed) -> RefreshRow {
    let (how, why) = match refreshed.how {
        Renewal::Served => ("served", None),
        Renewal::Renewed => ("renewed", None),
        Renewal::NotRenewed(error) => ("not_renewed", Some(error.sentence())),
    };
    let facts = refreshed.facts;
    RefreshRow {
        name: name.to_string(),
        how: how.to_owned(),
        fingerprint: facts.fingerprint.map(|print| print.to_string()),
        generation: facts.generation,
        expires_at: facts.expiry.map(|expiry| expiry.at),
        renew_at: facts.renew_at,
        why,
    }
}
