//! What a service takes the place of: around any scheduler's backend, which knows nothing of it.
//!
//! What is replaced is retired before the service's own steps are carried out and put back when they
//! fail, so that at no time both would run. How it was is on disk before it is touched: one that was
//! retired for a service that never came to be is put back by [`Act::refresh`].

mod lines;
mod record;
mod timers;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    rc::Rc,
};

use super::systemd::Places;
use crate::{
    effect::{
        dbus::{Manager, Whose},
        disk::Disk,
        host,
        user::Account,
    },
    error::{Code, Error, Result},
    id::{Address, BackendId, ResourceName},
    layout::Layout,
    resource::{
        Act, Image, Observe, Observed, Outcome, Part, Progress, Scope, Seen, Step, UnknownCode,
    },
    service::{
        adopt::id::Replaced,
        image::{self, REPLACES},
    },
};
pub use lines::{Crontabs, list, spooled};
use record::{Prior, Records};
use timers::{Timers, standing};

/// A backend, and what its services take the place of.
pub(super) struct Retiring {
    inner: Box<dyn Act>,
    id: BackendId,
    layout: Layout,
    records: Records,
    crontabs: Crontabs,
    system: Timers,
    user: Timers,
}

/// How something that is to be retired stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Now {
    /// It runs nothing.
    Retired,
    /// The table is there, and such a line is not in it.
    Gone,
    /// It runs, and is to be put back like this.
    Live(Prior, String),
}

/// What a step does about it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Deed {
    /// Retires it before the rest.
    Retire(Replaced),
    /// Leaves it, and forgets that it is this service's, or that there was any, once the rest is done.
    Release { forget: bool },
    /// Puts back once the rest is done what the service took, and holds what it held before that.
    PutBack {
        replaced: Replaced,
        held: Option<String>,
    },
}

impl Retiring {
    /// Around a backend.
    pub(super) fn new(
        inner: Box<dyn Act>,
        id: BackendId,
        account: &Account,
        layout: Layout,
        disk: &Rc<dyn Disk>,
    ) -> Self {
        let uid = account.owner.uid;
        let user = Whose::User {
            uid,
            name: account.name.clone(),
        };
        let places = Places::user(&account.home, &host::runtime_dir(uid));
        Self {
            inner,
            id,
            records: Records::new(Rc::clone(disk), layout.clone()),
            crontabs: Crontabs::new(Rc::clone(disk), account.clone()),
            system: Timers::new(Manager::new(Whose::System), Places::system(), disk),
            user: Timers::new(Manager::new(user), places, disk),
            layout,
        }
    }

    fn timers<'a>(&'a self, replaced: &'a Replaced) -> Option<(&'a Timers, &'a str)> {
        match replaced {
            Replaced::SystemTimer(unit) => Some((&self.system, unit)),
            Replaced::UserTimer(unit) => Some((&self.user, unit)),
            Replaced::Line(_) => None,
        }
    }

    /// How each stands, in the order asked.
    async fn look(&self, all: &[&Replaced]) -> Vec<Result<Now>> {
        let of = |timers: &Timers| -> Vec<String> {
            let known = all.iter().filter_map(|replaced| self.timers(replaced));
            let own = known.filter(|(whose, _)| std::ptr::eq(*whose, timers));
            own.map(|(_, unit)| unit.to_owned()).collect()
        };
        let system = self.system.look(&of(&self.system)).await;
        let user = self.user.look(&of(&self.user)).await;
        let mut found = Vec::with_capacity(all.len());
        for replaced in all {
            found.push(match replaced {
                Replaced::SystemTimer(unit) => now_of(&system, unit),
                Replaced::UserTimer(unit) => now_of(&user, unit),
                Replaced::Line(line) => self.crontabs.look(line).await,
            });
        }
        found
    }

    /// Retires some, each its own outcome; how they were is recorded before.
    async fn retire(&self, wanted: &[(&Step, &Replaced)]) -> Vec<Result<Option<Prior>>> {
        let all: Vec<&Replaced> = wanted.iter().map(|(_, replaced)| *replaced).collect();
        let looked = self.look(&all).await;
        let mut outcomes = Vec::with_capacity(wanted.len());
        for ((step, replaced), now) in wanted.iter().zip(looked) {
            outcomes.push(match now {
                Ok(now) => self.intend(step, replaced, now),
                Err(error) => Err(error),
            });
        }
        if let Err(error) = self.records.sync() {
            return wanted.iter().map(|_| Err(error.again())).collect();
        }
        for timers in [&self.system, &self.user] {
            let mut own: Vec<(&str, &mut Result<Option<Prior>>)> = Vec::new();
            for ((_, replaced), outcome) in wanted.iter().zip(&mut outcomes) {
                if let (Some((whose, unit)), Ok(Some(_))) = (self.timers(replaced), &outcome)
                    && std::ptr::eq(whose, timers)
                {
                    own.push((unit, outcome));
                }
            }
            timers.retire(&mut own).await;
        }
        for ((step, replaced), outcome) in wanted.iter().zip(&mut outcomes) {
            if let (Replaced::Line(line), Ok(Some(_))) = (replaced, &outcome) {
                let who = format!("{}, {}", self.layout.project(), step.address);
                if let Err(error) = self.crontabs.retire(line, &who).await {
                    *outcome = Err(error);
                }
            }
        }
        outcomes
    }

    /// Writes down how something is before it is retired; nothing where it is already.
    fn intend(&self, step: &Step, replaced: &Replaced, now: Now) -> Result<Option<Prior>> {
        let name = &step.address.name;
        let mut record = self.records.read(name)?.unwrap_or_default();
        let id = replaced.to_string();
        if step.verb == image::INSTALL && !record.unsettled {
            // How it was for a service that has gone since tells nothing.
            record.before.remove(&id);
        }
        let prior = match now {
            Now::Gone if step.verb == image::INSTALL && !record.before.contains_key(&id) => {
                return Err(not_there(replaced));
            }
            Now::Retired | Now::Gone => None,
            Now::Live(prior, _) => {
                record.before.insert(id.clone(), prior.clone());
                Some(prior)
            }
        };
        record.held = Some(id);
        record.unsettled = true;
        self.records.write(name, &record)?;
        Ok(prior)
    }

    /// Puts back what was retired.
    async fn put_back(&self, replaced: &Replaced, prior: &Prior) -> Result<()> {
        match (replaced, prior) {
            (Replaced::Line(line), _) => self.crontabs.put_back(line).await,
            (_, Prior::Timer(timer)) => match self.timers(replaced) {
                Some((timers, unit)) => timers.put_back(unit, timer).await,
                None => Ok(()),
            },
            (_, Prior::Line { .. }) => Ok(()),
        }
    }

    /// What a step does about what is replaced, as the two images and the verb say.
    fn deed(&self, step: &Step, recorded: &BTreeSet<ResourceName>) -> Result<Option<Deed>> {
        let text =
            |image: Option<&Image>| match image.and_then(|image| image.get(REPLACES.as_str())) {
                Some(Part::Text(text)) => Some(text.clone()),
                Some(Part::Flag(_) | Part::File(_)) | None => None,
            };
        let (before, after) = (text(step.before.as_ref()), text(step.after.as_ref()));
        let name = &step.address.name;
        let withdraws = step.verb == image::WITHDRAW;
        if step.after.is_some() && before == after && step.before.is_some() {
            return Ok(None);
        }
        let named = |text: &Option<String>| {
            let id = text.as_ref().and_then(|text| text.split(' ').next());
            id.and_then(|id| id.parse::<Replaced>().ok())
        };
        if withdraws {
            let record = self.records.read(name)?.unwrap_or_default();
            let held = record.held.and_then(|id| id.parse().ok());
            let held = named(&before).or(held);
            return Ok(held.map(|replaced| Deed::PutBack {
                replaced,
                held: named(&after).map(|replaced| replaced.to_string()),
            }));
        }
        let wanted = named(&after);
        let is_retired = wanted.as_ref().map(|id| image::retired(&id.to_string())) == after;
        Ok(match wanted.filter(|_| is_retired) {
            Some(replaced) => Some(Deed::Retire(replaced)),
            None if recorded.contains(name) => Some(Deed::Release {
                forget: step.verb == image::PURGE,
            }),
            None => None,
        })
    }

    /// After the rest of a step: records what holds now, or puts back what the step had retired.
    async fn conclude(&self, step: &Step, deed: &Deed, done: bool) -> Result<()> {
        let name = &step.address.name;
        let Some(mut record) = self.records.read(name)? else {
            return Ok(());
        };
        match (deed, done) {
            (Deed::Retire(_), true) => {}
            (Deed::Retire(replaced), false) => {
                if let Some(prior) = record.before.get(&replaced.to_string()) {
                    self.put_back(replaced, prior).await?;
                }
                let was = step.before.as_ref();
                record.held = was.and_then(|image| match image.get(REPLACES.as_str()) {
                    Some(Part::Text(text)) => text.split(' ').next().map(ToOwned::to_owned),
                    Some(Part::Flag(_) | Part::File(_)) | None => None,
                });
            }
            (Deed::Release { forget: true }, true) => return self.records.remove(name),
            (Deed::Release { forget: false }, true) => record.held = None,
            (Deed::PutBack { replaced, held }, true) => {
                if let Some(prior) = record.before.get(&replaced.to_string()) {
                    self.put_back(replaced, prior).await?;
                }
                record.held.clone_from(held);
            }
            (Deed::Release { .. } | Deed::PutBack { .. }, false) => return Ok(()),
        }
        record.unsettled = false;
        if record.held.is_none() && !matches!(deed, Deed::Release { .. }) {
            return self.records.remove(name);
        }
        self.records.write(name, &record)
    }
}

fn not_there(replaced: &Replaced) -> Error {
    let message = format!(
        "{} that `replaces` names is not there any more: it was edited, or taken away",
        replaced.told()
    );
    Error::new(Code::Conflict, message).suggest(
        "`lorectl import service.NAME ID` takes over the line as it is now; without `replaces` nothing is retired",
    )
}

fn now_of(found: &Result<BTreeMap<String, Now>>, unit: &str) -> Result<Now> {
    match found {
        Ok(found) => Ok(found.get(unit).cloned().unwrap_or(Now::Retired)),
        Err(error) => Err(error.again()),
    }
}

/// Removes temporary files that an apply which was cut short left where it retired something, or put
/// it back.
///
/// # Errors
/// What the disk says.
pub(super) fn sweep(disk: &Rc<dyn Disk>, layout: &Layout, units: &Path) -> Result<()> {
    let clear = |dir: &Path, ours: &dyn Fn(&str) -> bool| {
        let swept = crate::effect::disk::sweep(disk.as_ref(), dir, ours);
        swept
            .map(drop)
            .map_err(|(path, error)| Error::io("sweep", &path, error))
    };
    clear(&layout.replaced_dir(), &|_| true)?;
    let records = Records::new(Rc::clone(disk), layout.clone());
    for name in records.names()? {
        // One that is damaged is told of where it is needed.
        let Ok(Some(record)) = records.read(&name) else {
            continue;
        };
        for (id, prior) in &record.before {
            let mut paths: Vec<PathBuf> = match (record::named(id), prior) {
                (Ok(Replaced::Line(line)), _) => lines::paths(&line.table),
                (Ok(Replaced::SystemTimer(unit) | Replaced::UserTimer(unit)), _) => {
                    vec![units.join(unit)]
                }
                (Err(_), _) => Vec::new(),
            };
            if let Prior::Timer(timer) = prior {
                paths.extend(timer.links.iter().map(|(path, _)| path.clone()));
            }
            for path in paths {
                let target = path.file_name().and_then(|name| name.to_str());
                if let (Some(dir), Some(target)) = (path.parent(), target)
                    && disk.stat(dir).is_ok_and(|stat| stat.is_some())
                {
                    clear(dir, &|of| of == target)?;
                }
            }
        }
    }
    Ok(())
}

/// The image without what this backend sees to.
fn stripped(image: Option<&Image>) -> Option<Image> {
    let mut image = image?.clone();
    image.remove(REPLACES.as_str());
    Some(image)
}

/// The step as the scheduler's own backend is to carry it out.
fn inner_step(step: &Step) -> Step {
    let mut inner = Step {
        before: stripped(step.before.as_ref()),
        after: stripped(step.after.as_ref()),
        ..step.clone()
    };
    if inner.verb == image::WITHDRAW {
        inner.verb = match inner.after {
            Some(_) => image::UPDATE,
            None => image::REMOVE,
        };
    }
    inner
}

#[async_trait::async_trait(?Send)]
impl Observe for Retiring {
    async fn observe(&self, scope: &Scope<'_>) -> Result<Observed> {
        let mut observed = self.inner.observe(scope).await?;
        let recorded = self.records.names()?;
        if recorded.is_empty() {
            return Ok(observed);
        }
        let mut held: Vec<(Address, Result<Replaced>)> = Vec::new();
        let own = (scope.entries.iter()).filter(|entry| *entry.backend == self.id);
        for entry in own.filter(|entry| recorded.contains(&entry.address.name)) {
            if !matches!(observed.resources.get(entry.address), Some(Seen::Ours(_))) {
                continue;
            }
            let read = self.records.read(&entry.address.name);
            match read.map(|record| record.and_then(|record| record.held)) {
                Ok(None) => {}
                Ok(Some(id)) => held.push((entry.address.clone(), record::named(&id))),
                Err(error) => held.push((entry.address.clone(), Err(error))),
            }
        }
        let known: Vec<&Replaced> = (held.iter())
            .filter_map(|(_, replaced)| replaced.as_ref().ok())
            .collect();
        let mut looked = self.look(&known).await.into_iter();
        for (address, replaced) in &held {
            let now = match replaced {
                Ok(_) => looked.next().unwrap_or(Ok(Now::Retired)),
                Err(error) => Err(error.again()),
            };
            let seen = observed.resources.get_mut(address);
            match (seen, replaced, now) {
                (Some(Seen::Ours(found)), Ok(replaced), Ok(now)) => {
                    let text = standing(&replaced.to_string(), &now);
                    found.image.set(REPLACES, Part::Text(text));
                }
                (Some(seen), _, Err(error)) => *seen = unknown(&error),
                (_, _, _) => {}
            }
        }
        Ok(observed)
    }
}

fn unknown(error: &Error) -> Seen {
    Seen::Unknown {
        reason: format!("cannot tell how what it replaces stands: {}", error.chain()),
        help: None,
        code: match error.code {
            Code::NotPermitted => UnknownCode::NotPermitted,
            Code::UserManagerMissing => UnknownCode::UserManagerMissing,
            _other => UnknownCode::BackendUnavailable,
        },
    }
}

#[async_trait::async_trait(?Send)]
impl Act for Retiring {
    async fn act(&self, batch: &[Step], progress: &Progress<'_>) -> Vec<Outcome> {
        let failed = |error: &Error| Outcome::failed(error.chain());
        let recorded = self.records.names();
        let mut outcomes: Vec<Option<Outcome>> = vec![None; batch.len()];
        let mut deeds: Vec<Option<Deed>> = Vec::with_capacity(batch.len());
        for (step, outcome) in batch.iter().zip(&mut outcomes) {
            let deed = match &recorded {
                Ok(recorded) => self.deed(step, recorded),
                Err(error) => Err(error.again()),
            };
            deeds.push(deed.unwrap_or_else(|error| {
                *outcome = Some(failed(&error));
                None
            }));
        }
        let (mut places, mut wanted) = (Vec::new(), Vec::new());
        for (at, (step, deed)) in batch.iter().zip(&deeds).enumerate() {
            if let Some(Deed::Retire(replaced)) = deed {
                places.push(at);
                wanted.push((step, replaced));
            }
        }
        if !wanted.is_empty() {
            for (at, retired) in places.into_iter().zip(self.retire(&wanted).await) {
                if let (Err(error), Some(outcome)) = (retired, outcomes.get_mut(at)) {
                    *outcome = Some(failed(&error));
                }
            }
        }
        self.act_inside(batch, &mut outcomes, progress).await;
        for ((step, deed), outcome) in batch.iter().zip(&deeds).zip(&mut outcomes) {
            let Some(deed) = deed else {
                continue;
            };
            let done = *outcome == Some(Outcome::Done);
            let concluded = self.conclude(step, deed, done).await;
            if let Err(error) = concluded {
                *outcome = Some(match outcome.take() {
                    Some(Outcome::Failed { message, mut left }) => {
                        left.push(error.chain());
                        Outcome::Failed { message, left }
                    }
                    _other => failed(&error),
                });
            }
        }
        if deeds.iter().any(Option::is_some) {
            // What an unsynced record would tell is what is seen on the host.
            let _ = self.records.sync();
        }
        let settled = outcomes.into_iter().map(|outcome| {
            outcome.unwrap_or_else(|| Outcome::failed("the step was not carried out"))
        });
        settled.collect()
    }

    async fn refresh(&self) -> Result<()> {
        let mut result = self.inner.refresh().await;
        for name in self.records.names()? {
            let mended = self.mend(&name).await;
            result = result.and(mended);
        }
        result
    }
}

impl Retiring {
    /// Hands the scheduler's backend the steps that are not settled, without what it does not know.
    async fn act_inside(
        &self,
        batch: &[Step],
        outcomes: &mut [Option<Outcome>],
        progress: &Progress<'_>,
    ) {
        let (mut places, mut steps) = (Vec::new(), Vec::new());
        for (at, (step, outcome)) in batch.iter().zip(outcomes.iter_mut()).enumerate() {
            if outcome.is_some() {
                continue;
            }
            let inner = inner_step(step);
            if inner.after.is_some() && inner.before == inner.after {
                *outcome = Some(Outcome::Done);
            } else {
                places.push(at);
                steps.push(inner);
            }
        }
        if steps.is_empty() {
            return;
        }
        let acted = self.inner.act(&steps, progress).await;
        for (at, outcome) in places.into_iter().zip(acted) {
            if let Some(place) = outcomes.get_mut(at) {
                *place = Some(outcome);
            }
        }
    }

    /// Puts back what was retired for a service that never came to be.
    async fn mend(&self, name: &ResourceName) -> Result<()> {
        let Some(mut record) = self.records.read(name)?.filter(|record| record.unsettled) else {
            return Ok(());
        };
        if !self.records.has_service(name)? {
            if let Some(id) = record.held.take()
                && let Some(prior) = record.before.get(&id)
            {
                self.put_back(&record::named(&id)?, prior).await?;
            }
            return self.records.remove(name);
        }
        record.unsettled = false;
        self.records.write(name, &record)
    }
}
