//! `lorectl doctor`: every prerequisite of a project on this host.
//!
//! It changes nothing without `--fix`, and then only what an apply would make anyway, a status that
//! cannot be read, and what a crash left half-written.

use std::{collections::BTreeSet, path::Path};

use crate::{
    apply::session::sweep,
    credential::{self, outlook::Subject, setback::Issuers},
    effect::{
        disk::EntryKind,
        executable, host,
        lock::{self, Holder, ProjectLock},
    },
    error::{Code, Error, Result},
    id::{BackendId, Kind, Timestamp},
    layout::Layout,
    observe::{Memory, Wish},
    plan::Options,
    service::{
        backend::lingering_warning,
        definition::{Scheduler, user_of},
        doctor::{self, Check, Verdict},
        worker,
    },
    state::{backups, format, place},
    view::{
        doctor::{Doctor as Page, Finding, Grade},
        text,
    },
};

use super::{
    Done,
    args::DoctorArgs,
    context::Context,
    credential::renewers::renewers,
    project::{Project, readers},
};

/// Below so many bytes, an apply may not find room for its journal; below a tenth, it will not.
const LOW_SPACE: u64 = 256 << 20;

/// What of a service is asked of the host as a whole.
const ASKED_ONCE: &str = "platform_prerequisites";

const APPLY: &str = "lorectl apply";

struct Doctor<'a> {
    context: &'a Context,
    layout: Layout,
    fix: bool,
    page: Page,
}

/// Looks at everything that the spec and the state need.
///
/// # Errors
/// Only when it cannot be told which project is meant; all else is a finding.
pub async fn run(context: &Context, args: &DoctorArgs) -> Result<Done> {
    let layout = context.layout(context.project()?);
    let page = Page {
        project: layout.project().to_string(),
        overall: Grade::Pass,
        checks: Vec::new(),
        sound_services: 0,
        verbose: context.global.verbose > 0,
    };
    let mut doctor = Doctor {
        context,
        layout,
        fix: args.fix,
        page,
    };
    doctor.directories();
    doctor.lock();
    let memory = doctor.state();
    doctor.backups();
    doctor.clock(memory.as_ref());
    doctor.space();
    let schedulers = doctor.spec(memory.as_ref());
    doctor.schedulers(&schedulers);
    if let Some(memory) = &memory {
        doctor.services(memory).await;
        doctor.credentials(memory);
        if !args.offline && !memory.state.resources.is_empty() {
            doctor.reloads(memory).await;
            doctor.host(memory).await;
        }
    }
    let mut page = doctor.page;
    page.sort();
    let overall = page.overall;
    context.show(&page)?;
    Ok(match overall {
        Grade::Pass | Grade::Fixed | Grade::Warn => Done::Fine,
        Grade::Fail => Done::As(Code::RunFailed),
    })
}

impl Doctor<'_> {
    fn add(&mut self, check: Check) {
        self.page.checks.push(Finding::of(None, check));
    }

    fn wrong(&mut self, name: &'static str, status: Verdict, error: &Error) {
        let help = error.suggestion.as_deref().and_then(command_in);
        let mut message = error.chain();
        if let (None, Some(suggestion)) = (help, &error.suggestion) {
            message = format!("{message}; {suggestion}");
        }
        self.add(Check::new(name, status, message, help.unwrap_or_default()));
    }

    /// Whether the project's own directories are as an apply makes them.
    fn directories(&mut self) {
        let name = "directories";
        let disk = self.context.disk.as_ref();
        let (uid, mut wrong) = (disk.identity().uid, Vec::new());
        let wanted = [
            (self.layout.root(), 0o711),
            (self.layout.backups(), 0o700),
            (self.layout.journal(), 0o700),
        ];
        for (dir, mode) in wanted {
            match disk.stat(&dir) {
                // Nothing was applied yet.
                Ok(None) if wrong.is_empty() && dir == self.layout.root() => {
                    return self.add(Check::pass(name));
                }
                Ok(None) => wrong.push((format!("{} is missing", dir.display()), true)),
                Ok(Some(stat)) if stat.kind != EntryKind::Dir => {
                    wrong.push((format!("{} is not a directory", dir.display()), false));
                }
                Ok(Some(stat)) if stat.owner.uid != uid && stat.owner.uid != 0 => {
                    let owner = stat.owner.uid;
                    wrong.push((
                        format!("{} belongs to user id {owner}", dir.display()),
                        false,
                    ));
                }
                Ok(Some(stat)) if stat.mode != mode => {
                    let message = format!(
                        "{} has the mode {:04o}, not {mode:04o}",
                        dir.display(),
                        stat.mode
                    );
                    wrong.push((message, true));
                }
                Ok(Some(_)) => {}
                Err(error) => wrong.push((format!("{}: {error}", dir.display()), false)),
            }
            if let Err(error) = lock::writable(&dir) {
                return self.wrong(name, Verdict::Fail, &error);
            }
        }
        if wrong.is_empty() {
            return self.add(Check::pass(name));
        }
        let mendable = wrong.iter().all(|(_, mendable)| *mendable);
        let what: Vec<String> = wrong.into_iter().map(|(what, _)| what).collect();
        let what = what.join("; ");
        if !mendable {
            return self.add(Check::new(name, Verdict::Fail, what, ""));
        }
        if !self.fix {
            return self.add(Check::new(
                name,
                Verdict::Warn,
                what,
                "lorectl doctor --fix",
            ));
        }
        match self.mend() {
            Ok(()) => self.add(Check::new(
                name,
                Verdict::Fixed,
                format!("{what}; it was made so"),
                "",
            )),
            Err(error) => self.wrong(name, Verdict::Fail, &error),
        }
    }

    fn mend(&self) -> Result<()> {
        let disk = self.context.disk.as_ref();
        place::prepare_dirs(disk, &self.layout)?;
        let holder = Holder::this_process(self.context.now());
        let _lock = ProjectLock::acquire(&self.layout.lock_file(), &holder)?;
        sweep(disk, &self.layout)
    }

    fn lock(&mut self) {
        let name = "lock";
        let path = self.layout.lock_file();
        let check = match self.context.disk.stat(&path) {
            Ok(None) => Check::pass(name),
            Ok(Some(stat)) if stat.kind == EntryKind::File => match lock::is_held(&path) {
                Ok(true) => {
                    let who = lock::holder(&path).ok().flatten();
                    let who = who.map_or_else(|| "somebody".to_owned(), |who| who.who());
                    Check {
                        message: Some(format!("{who} holds it: an apply is under way")),
                        ..Check::pass(name)
                    }
                }
                Ok(false) => Check::pass(name),
                Err(error) => Check::new(name, Verdict::Fail, error.to_string(), ""),
            },
            Ok(Some(_)) => {
                let message = format!(
                    "{} is not a file, so nothing can be applied",
                    path.display()
                );
                Check::new(
                    name,
                    Verdict::Fail,
                    message,
                    &format!("rm {}", path.display()),
                )
            }
            Err(error) => Check::new(name, Verdict::Fail, error.to_string(), ""),
        };
        self.add(check);
    }

    /// The state and its journals, where they can be read.
    fn state(&mut self) -> Option<Memory> {
        let disk = self.context.disk.as_ref();
        let read = self.context.lineage(self.layout.project());
        let read = read.and_then(|lineage| {
            let memory = Memory::load(disk, &self.layout, &lineage, self.context.now())?;
            memory.refuse_lost(&self.layout).map(|()| memory)
        });
        let memory = match read {
            Ok(memory) => memory,
            Err(error) => {
                self.wrong("state", Verdict::Fail, &error);
                return None;
            }
        };
        self.add(Check::pass("state"));
        self.add(if memory.open_journals.is_empty() {
            Check::pass("journal")
        } else if lock::is_held(&self.layout.lock_file()).unwrap_or(false) {
            Check {
                message: Some("an apply is under way".to_owned()),
                ..Check::pass("journal")
            }
        } else {
            let message = "an apply did not end; the next one looks what was done".to_owned();
            Check::new("journal", Verdict::Warn, message, APPLY)
        });
        if memory.open_journals.is_empty() && !memory.unfinished.doubtful.is_empty() {
            let names: Vec<String> = memory
                .unfinished
                .doubtful
                .keys()
                .map(ToString::to_string)
                .collect();
            let message = format!(
                "it is unknown whether the last step of {} was carried out",
                text::list(&names)
            );
            self.add(Check::new("doubts", Verdict::Warn, message, "lorectl plan"));
        }
        Some(memory)
    }

    /// Whether the newest old state, which a repair would take, can be read.
    fn backups(&mut self) {
        let name = "backups";
        let disk = self.context.disk.as_ref();
        let newest = match backups::list(disk, &self.layout) {
            Ok(mut all) => all.pop(),
            Err(error) => return self.wrong(name, Verdict::Warn, &error),
        };
        let Some(newest) = newest else {
            return self.add(Check::pass(name));
        };
        let shown = newest.path.display();
        let warn = |why: String| {
            let message = format!("{shown}: {why}; the next apply keeps another");
            Check::new(name, Verdict::Warn, message, "")
        };
        let check = match disk.read(&newest.path, 512 << 20) {
            Err(error) => warn(error.to_string()),
            Ok(None) => warn("it is gone".to_owned()),
            Ok(Some(file)) => match format::decode_head(&file.bytes) {
                Ok(_) => Check::pass(name),
                Err(error) => warn(error.to_string()),
            },
        };
        self.add(check);
    }

    /// A clock that stands before what was written by it counts schedules wrong.
    fn clock(&mut self, memory: Option<&Memory>) {
        let name = "clock";
        let now = self.context.now();
        let written = memory
            .filter(|memory| memory.is_stored)
            .map(|memory| memory.state.written_at);
        let behind = written.map_or(0, |written| written.seconds_since(now));
        let check = if now < Timestamp::from_millis(BUILT_AFTER) {
            let message = format!("it says {now}, which was before this lorectl was made");
            Check::new(name, Verdict::Fail, message, "timedatectl set-ntp true")
        } else if behind > 60 {
            let message = format!(
                "it says {now}, and the state was written {} later: it was set back",
                crate::view::time::elapsed(behind.unsigned_abs().saturating_mul(1000))
            );
            Check::new(name, Verdict::Warn, message, "timedatectl set-ntp true")
        } else {
            Check::pass(name)
        };
        self.add(check);
    }

    fn space(&mut self) {
        let name = "disk_space";
        let root = self.layout.root();
        let there = root
            .ancestors()
            .find(|dir| self.context.disk.stat(dir).ok().flatten().is_some());
        let there = there.unwrap_or(Path::new("/"));
        let space = match host::free_space(there) {
            Ok(space) => space,
            Err(error) => {
                let message = format!("{}: {error}", there.display());
                return self.add(Check::new(name, Verdict::Warn, message, ""));
            }
        };
        let low =
            |limit: u64, files: u64| space.bytes < limit || space.files.is_some_and(|n| n < files);
        if !low(LOW_SPACE, 1000) {
            return self.add(Check::pass(name));
        }
        let status = if low(LOW_SPACE / 10, 100) {
            Verdict::Fail
        } else {
            Verdict::Warn
        };
        let free = text::size(usize::try_from(space.bytes).unwrap_or(usize::MAX));
        let files = space
            .files
            .map_or_else(String::new, |n| format!(" and {n} files"));
        let message = format!(
            "{} has room for {free}{files}, and a state is replaced by a whole new one",
            there.display()
        );
        self.add(Check::new(name, status, message, ""));
    }

    /// Whether the spec can be applied here, as far as it can be told without asking a scheduler; the
    /// schedulers that it and the state need.
    fn spec(&mut self, memory: Option<&Memory>) -> BTreeSet<BackendId> {
        let name = "spec";
        let mut schedulers: BTreeSet<BackendId> = memory
            .into_iter()
            .flat_map(|memory| memory.state.resources.values())
            .map(|record| record.backend.clone())
            .collect();
        let spec = match self.context.spec() {
            Ok(spec) => spec,
            Err(error)
                if error.code == Code::SpecNotFound && self.context.global.files.is_empty() =>
            {
                return schedulers;
            }
            Err(error) => {
                self.bad_spec(&error);
                return schedulers;
            }
        };
        if spec.project != *self.layout.project() || memory.is_none() {
            return schedulers;
        }
        let wish = Project::open(self.context, spec.project.clone()).and_then(|p| p.wish(&spec));
        match wish {
            Ok(wish) => {
                let desired = wish.desired.values();
                schedulers.extend(desired.map(|d| d.backend.clone()));
                self.add(Check::pass(name));
            }
            Err(error) => self.bad_spec(&error),
        }
        schedulers
    }

    /// The first lines of what is wrong with the spec; all of it is the plan's to show.
    fn bad_spec(&mut self, error: &Error) {
        let firsts = error.details.iter().filter_map(|one| one.lines().next());
        let mut firsts: Vec<&str> = firsts.collect();
        let more = firsts.len().saturating_sub(3);
        firsts.truncate(3);
        let mut message = firsts.join("; ");
        if firsts.is_empty() {
            message = error.chain();
        } else if more > 0 {
            message = format!("{message}; and {more} more");
        }
        self.add(Check::new("spec", Verdict::Fail, message, "lorectl plan"));
    }

    /// The program that units call, lingering, and the worker.
    fn schedulers(&mut self, backends: &BTreeSet<BackendId>) {
        let account = self.context.account.clone();
        let known = |backend| Some((Scheduler::of(backend)?, user_of(backend)));
        let schedulers: Vec<(Scheduler, Option<&str>)> =
            backends.iter().filter_map(known).collect();
        if schedulers
            .iter()
            .any(|(known, _)| *known != Scheduler::Worker)
        {
            match executable::stable_binary(account.owner.uid) {
                Ok(_) => self.add(Check::pass("binary_path")),
                Err(error) => self.wrong("binary_path", Verdict::Warn, &error),
            }
        }
        for (scheduler, user) in schedulers {
            let user = user.unwrap_or(&account.name);
            match scheduler {
                Scheduler::SystemdSystem | Scheduler::SystemdUser => {
                    let lingers = host::lingers(user);
                    let warning = lingering_warning(scheduler, user, lingers);
                    self.add(warning.map_or_else(
                        || Check::pass("lingering"),
                        |_| {
                            let message = format!("timers of {user} stop at logout and do not start at boot");
                            let action = format!("loginctl enable-linger {user}");
                            Check::new("lingering", Verdict::Warn, message, &action)
                        },
                    ));
                }
                Scheduler::Worker => self.add(if worker::is_alive(&self.context.state_dir) {
                    Check::pass("worker")
                } else {
                    let message = "no worker serves the state directory: its services run only when triggered";
                    Check::new("worker", Verdict::Warn, message.to_owned(), "lorectl worker")
                }),
            }
        }
    }

    /// What each service's runs need; those that have it are counted.
    async fn services(&mut self, memory: &Memory) {
        let disk = self.context.disk.as_ref();
        for address in memory.state.resources.keys() {
            if address.kind != Kind::Service {
                continue;
            }
            let now = self.context.now();
            let report = doctor::check(disk, &self.layout, &address.name, now, self.fix).await;
            let wrong: Vec<Check> = match report {
                Ok(report) => report.checks.into_iter().filter(is_told).collect(),
                Err(error) => vec![Check::new(
                    "definition",
                    Verdict::Fail,
                    error.chain(),
                    APPLY,
                )],
            };
            if wrong.is_empty() {
                self.page.sound_services += 1;
            }
            let findings = wrong.into_iter();
            let findings = findings.map(|check| Finding::of(Some(address.to_string()), check));
            self.page.checks.extend(findings);
        }
    }

    /// How each credential stands, from what is stored and what its issuer last said.
    fn credentials(&mut self, memory: &Memory) {
        let (disk, now) = (self.context.disk.as_ref(), self.context.now());
        let all = memory.state.resources.iter();
        // A service that cannot be read is told of by its own check.
        let renewers = renewers(self.context, &self.layout, memory).unwrap_or_default();
        let issuers = Issuers::new(disk, &self.layout);
        for one in all.filter(|(address, _)| address.kind == Kind::Credential) {
            let (address, applied) = one;
            let layout = &self.layout;
            let checks = credential::doctor::checks(disk, layout, &issuers, one, &renewers, now);
            for check in checks {
                if check.status != Verdict::Pass || self.page.verbose {
                    let finding = Finding::of(Some(address.to_string()), check);
                    self.page.checks.push(finding);
                }
            }
            // What is wrong with the record is told above.
            if let Ok(wanted) = applied.definition.read() {
                let ahead = credential::outlook::checks(disk, &wanted).into_iter();
                let ahead = ahead.map(|check| Finding::of(Some(address.to_string()), check));
                self.page.checks.extend(ahead);
            }
            let untold = credential::doctor::untold(disk, &self.layout, &address.name);
            let untold = untold.into_iter();
            let findings = untold.map(|check| Finding::of(Some(address.to_string()), check));
            self.page.checks.extend(findings);
        }
    }

    /// What systemd says of the units that deliveries have reload, asked once for all.
    async fn reloads(&mut self, memory: &Memory) {
        let subjects = memory.state.resources.iter();
        let subjects = subjects.filter_map(|(address, applied)| {
            let credential = applied.definition.read().ok();
            let credential = credential.filter(|_| address.kind == Kind::Credential)?;
            Some(Subject {
                address: address.clone(),
                credential,
                is_changed: false,
            })
        });
        let subjects: Vec<Subject> = subjects.collect();
        let told = credential::outlook::reloads(&self.context.account, &subjects).await;
        for why in told.into_iter().flat_map(|(_, told)| told) {
            self.add(Check::new("reload", Verdict::Warn, why, ""));
        }
    }

    /// What only the schedulers tell: that they answer, what differs, what is left of us that nobody knows.
    async fn host(&mut self, memory: &Memory) {
        let looked = self.look().await;
        let (drifted, strays) = match looked {
            Ok(found) => found,
            Err(error) => return self.not_looked(&error),
        };
        self.add(Check::pass("schedulers"));
        self.add(if drifted.is_empty() {
            Check::pass("drift")
        } else {
            let (few, all) = (drifted.len().min(5), memory.state.resources.len());
            let names = drifted.get(..few).unwrap_or_default();
            let more = if drifted.len() > few {
                " and others"
            } else {
                ""
            };
            let message = format!(
                "{} of {} differ from what was applied: {}{more}",
                drifted.len(),
                text::count(all, "resource"),
                text::list(names)
            );
            Check::new("drift", Verdict::Warn, message, "lorectl drift")
        });
        self.add(if strays.is_empty() {
            Check::pass("strays")
        } else {
            let message = format!(
                "{} this project's mark and is in no state",
                match strays.as_slice() {
                    [one] => format!("{one} carries"),
                    all => format!("each of {} carries", text::list(all)),
                }
            );
            Check::new("strays", Verdict::Warn, message, "lorectl state repair")
        });
    }

    /// Why the host was not looked at; in short where that is told of a credential already.
    fn not_looked(&mut self, error: &Error) {
        let unreadable = |check: &&Finding| check.name == credential::doctor::UNREADABLE;
        let all = self.page.checks.iter().filter(unreadable);
        let told: Vec<String> = all.filter_map(|check| check.address.clone()).collect();
        if error.code != Code::StateCorrupt || told.is_empty() {
            return self.wrong("schedulers", Verdict::Fail, error);
        }
        let message = format!(
            "not asked, nor whether anything drifted, while {} cannot be read",
            text::list(&told)
        );
        self.add(Check::new("schedulers", Verdict::Warn, message, ""));
    }

    async fn look(&self) -> Result<(Vec<String>, Vec<String>)> {
        let mut project = Project::open(self.context, self.layout.project().clone())?;
        let wish = Wish::default();
        let backends = project.backends(&wish)?;
        let options = Options {
            drift_only: true,
            ..Options::default()
        };
        let (situation, plan) = project.plan(wish, &readers(&backends), options).await?;
        let drifted = plan.drift.iter();
        let drifted = drifted.filter(|drift| drift.fields.iter().any(|field| !field.ignored));
        let strays = situation.observed.strays.iter();
        Ok((
            drifted.map(|drift| drift.address.to_string()).collect(),
            strays.map(|stray| stray.name.clone()).collect(),
        ))
    }
}

/// 2025-01-01: no clock of a host that runs this shows an earlier day.
const BUILT_AFTER: i64 = 1_735_689_600_000;

fn is_told(check: &Check) -> bool {
    check.status != Verdict::Pass && check.name != ASKED_ONCE
}

/// The first command in backticks.
fn command_in(sentence: &str) -> Option<&str> {
    let command = sentence.split('`').nth(1)?;
    command.contains(' ').then_some(command)
}
