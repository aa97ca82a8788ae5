//! What this host runs by timers and crontabs.

use std::{cell::RefCell, collections::BTreeMap, path::Path, rc::Rc};

use super::{
    found::{self, Candidate, Left, Owner, Timer},
    id::{Replaced, Table},
};
use crate::{
    effect::{
        dbus::{Manager, TimerFacts, Whose},
        disk::{Disk, EntryKind},
        host,
        user::{self, Account},
    },
    error::Result,
    service::backend::retire::{self, Crontabs},
};

/// Where cron says that it runs: without it, a crontab runs nothing.
const PID_FILES: [&str; 3] = ["/run/crond.pid", "/run/cron.pid", "/var/run/crond.pid"];

/// What was found.
#[derive(Debug, Default)]
pub struct Survey {
    /// Services that do the same, in the order in which they were found.
    pub candidates: Vec<Candidate>,
    /// What is left alone.
    pub left: Vec<Left>,
}

impl Survey {
    fn leave(&mut self, what: impl Into<String>, why: impl Into<String>) {
        let (what, why) = (what.into(), why.into());
        self.left.push(Left { what, why });
    }
}

/// The IANA zone of this host; `UTC` where it has none that is known.
pub fn zone(disk: &dyn Disk) -> String {
    let link = disk.read_link(Path::new("/etc/localtime")).ok().flatten();
    let named = link.and_then(|path| {
        let path = path.to_str()?.to_owned();
        path.split_once("/zoneinfo/")
            .map(|(_, zone)| zone.to_owned())
    });
    let written = || {
        let read = disk.read(Path::new("/etc/timezone"), 1024).ok().flatten()?;
        String::from_utf8(read.bytes).ok()
    };
    let known = |zone: &String| zone.parse::<chrono_tz::Tz>().is_ok();
    named
        .filter(known)
        .or_else(|| written().map(|zone| zone.trim().to_owned()).filter(known))
        .unwrap_or_else(|| "UTC".to_owned())
}

/// Reads timers and crontabs: for root the system's and everyone's, for a user their own. What cannot be
/// read is among what is left alone.
///
/// # Errors
/// What the disk says of directories.
pub async fn survey(disk: &Rc<dyn Disk>, account: &Account) -> Result<Survey> {
    let mut survey = Survey::default();
    let zone = zone(disk.as_ref());
    let uid = account.owner.uid;
    if uid == 0 && host::system_manager_runs() {
        timers(
            &mut survey,
            &Manager::new(Whose::System),
            Owner::System,
            &zone,
        )
        .await;
    }
    if uid != 0 && host::user_manager_runs(uid) {
        let whose = Whose::User {
            uid,
            name: account.name.clone(),
        };
        let runtime = host::runtime_dir(uid).display().to_string();
        timers(
            &mut survey,
            &Manager::new(whose),
            Owner::User(&runtime),
            &zone,
        )
        .await;
    }
    crontabs(&mut survey, disk, account, &zone).await?;
    Ok(survey)
}

/// The one that a name stands for; where there is none, what could be named, and what is left alone.
///
/// # Errors
/// As [`survey`].
pub async fn one(
    disk: &Rc<dyn Disk>,
    account: &Account,
    wanted: &Replaced,
) -> Result<std::result::Result<Candidate, Vec<String>>> {
    let survey = survey(disk, account).await?;
    let there: Vec<String> = (survey.candidates.iter())
        .map(|candidate| candidate.replaces.to_string())
        .chain(
            survey
                .left
                .iter()
                .map(|left| format!("{} {}", left.what, left.why)),
        )
        .collect();
    let found = survey.candidates.into_iter();
    let found = found
        .into_iter()
        .find(|candidate| match (&candidate.replaces, wanted) {
            // The label of a line decides nothing.
            (Replaced::Line(there), Replaced::Line(wanted)) => there.is_same(wanted),
            (there, wanted) => there == wanted,
        });
    Ok(found.ok_or(there))
}

async fn timers(survey: &mut Survey, manager: &Manager, owner: Owner<'_>, zone: &str) {
    let facts = match manager.timers().await {
        Ok(facts) => facts,
        Err(error) => return survey.leave("the timers", error.chain()),
    };
    for facts in facts {
        if facts.unit.starts_with("lorectl-") || !(facts.is_active || facts.file_state == "enabled")
        {
            continue;
        }
        let timer = timer(facts);
        match found::of_timer(&timer, owner, zone) {
            Ok(candidate) => survey.candidates.push(candidate),
            Err(why) => survey.leave(&timer.unit, why),
        }
    }
}

fn timer(facts: TimerFacts) -> Timer {
    Timer {
        unit: facts.unit,
        description: facts.description,
        starts: facts.starts,
        path: facts.fragment,
        is_active: facts.is_active,
        calendar: facts.calendar,
        monotonic: facts.monotonic,
        is_persistent: facts.is_persistent,
        delay_us: facts.delay_us,
        wakes: facts.wakes,
    }
}

async fn crontabs(
    survey: &mut Survey,
    disk: &Rc<dyn Disk>,
    account: &Account,
    zone: &str,
) -> Result<()> {
    let crontabs = Crontabs::new(Rc::clone(disk), account.clone());
    let mut tables = Vec::new();
    if account.owner.uid == 0 {
        tables.push(Table::File("/etc/crontab".to_owned()));
        for (name, kind) in retire::list(disk.as_ref(), Path::new("/etc/cron.d"))? {
            if name == ".placeholder" || kind == EntryKind::Dir {
                continue;
            }
            // Debian's cron reads files of such names alone, cron(8).
            let read = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if !name.is_empty() && name.chars().all(read) {
                tables.push(Table::File(format!("/etc/cron.d/{name}")));
            } else {
                survey.leave(format!("/etc/cron.d/{name}"), "has a name that cron skips");
            }
        }
        for user in retire::spooled(disk.as_ref())? {
            tables.push(Table::User(user));
        }
    } else {
        tables.push(Table::User(account.name.clone()));
    }
    let cron_runs = PID_FILES.iter().any(|path| host::is_there(Path::new(path)));
    let homes: RefCell<BTreeMap<String, Option<String>>> = RefCell::default();
    let home_of = |name: &str| -> Option<String> {
        let mut homes = homes.borrow_mut();
        let known = homes.entry(name.to_owned()).or_insert_with(|| {
            let account = user::by_name(name).ok().flatten()?;
            account.home.to_str().map(ToOwned::to_owned)
        });
        known.clone()
    };
    for table in tables {
        let text = match crontabs.text(&table).await {
            Ok(None) => continue,
            Ok(Some(text)) => text,
            Err(error) => {
                survey.leave(found::told(&table), error.chain());
                continue;
            }
        };
        let (candidates, left) = found::of_crontab(&table, &text, zone, &home_of);
        let runs_nothing = candidates.is_empty() && left.is_empty();
        if !cron_runs && !runs_nothing {
            survey.leave(found::told(&table), "runs nothing, since no cron runs here");
            continue;
        }
        survey
            .candidates
            .extend(candidates.into_iter().map(|candidate| Candidate {
                // Who is no root runs everything as themselves.
                user: candidate.user.filter(|_| account.owner.uid == 0),
                ..candidate
            }));
        survey.left.extend(left);
    }
    Ok(())
}
