//! Whether a service has on this host what a run of it needs.
//!
//! Read-only, but for what `fix` mends: what an apply would make anyway, and a status that cannot be
//! read, which is set aside. Whether a manager of systemd answers is asked elsewhere.

pub mod notify;

use std::path::Path;

use serde::Serialize;

use crate::{
    credential::record,
    effect::{
        disk::{Disk, EntryKind, Stat},
        user,
    },
    error::Result,
    id::{ResourceName, Timestamp},
    layout::Layout,
    resource::Owner,
    service::{
        backend::{named_lock, systemd::ANALYZER},
        definition::Schedule,
        definition::{Scheduler, Service},
        run::load,
        schedule::check_cron,
        spec::program::Programs,
        status::file::{self, Stored},
        verb::Verbs,
        worker,
    },
};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// It was not, and was mended.
    Fixed,
    /// It runs, but not as one would think.
    Warn,
    /// It does not run.
    Fail,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it ended.
    pub status: Verdict,
    /// What was found, or done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
}

/// All checks of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The service.
    pub service: ResourceName,
    /// The checks, in the order of their names' places here.
    pub checks: Vec<Check>,
    /// The worst of them.
    pub overall: Verdict,
}

impl Report {
    /// Adds what was looked at elsewhere; of two checks of one name the worse one stays.
    pub fn add(&mut self, check: Check) {
        self.overall = self.overall.max(check.status);
        match self
            .checks
            .iter_mut()
            .find(|known| known.name == check.name)
        {
            Some(known) if known.status < check.status => *known = check,
            Some(_) => {}
            None => self.checks.push(check),
        }
    }
}

impl Check {
    /// That all is well.
    pub fn pass(name: &'static str) -> Self {
        Self {
            name,
            status: Verdict::Pass,
            message: None,
            action: None,
        }
    }

    /// What was found, and what helps; no action where it is empty.
    pub fn new(name: &'static str, status: Verdict, message: String, action: &str) -> Self {
        Self {
            name,
            status,
            message: Some(message),
            action: (!action.is_empty()).then(|| action.to_owned()),
        }
    }
}

const APPLY: &str = "lorectl apply";

struct Doctor<'a> {
    disk: &'a dyn Disk,
    layout: &'a Layout,
    service: &'a Service,
    now: Timestamp,
    fix: bool,
}

/// Looks at everything; with `fix`, mends what is safe to mend.
///
/// # Errors
/// When there is no definition to check.
pub async fn check(
    disk: &dyn Disk,
    layout: &Layout,
    name: &ResourceName,
    now: Timestamp,
    fix: bool,
) -> Result<Report> {
    let service = load::load(disk, layout, name)?.service;
    let doctor = Doctor {
        disk,
        layout,
        service: &service,
        now,
        fix,
    };
    let mut checks = vec![Check::pass("definition")];
    let (user, owner) = doctor.user();
    checks.push(user);
    checks.push(doctor.schedule());
    checks.push(doctor.data(owner));
    checks.push(doctor.status().await);
    checks.push(doctor.lock());
    checks.push(doctor.working_dir());
    checks.extend(doctor.programs());
    checks.extend(doctor.credentials());
    checks.extend(doctor.notify());
    checks.push(doctor.scheduler());
    checks.extend(doctor.unit_settings());
    let overall = checks.iter().map(|check| check.status).max();
    Ok(Report {
        service: service.name.clone(),
        overall: overall.unwrap_or(Verdict::Pass),
        checks,
    })
}

impl Doctor<'_> {
    fn user(&self) -> (Check, Option<Owner>) {
        let name = "user";
        let Some(wanted) = &self.service.user else {
            return (Check::pass(name), Some(user::effective()));
        };
        match user::by_name(wanted) {
            Ok(Some(account)) => (Check::pass(name), Some(account.owner)),
            Ok(None) => {
                let message = format!("there is no user `{wanted}` on this host");
                let action = format!("useradd --system {wanted}");
                (Check::new(name, Verdict::Fail, message, &action), None)
            }
            Err(error) => (Check::new(name, Verdict::Fail, error.chain(), ""), None),
        }
    }

    fn schedule(&self) -> Check {
        let name = "schedule";
        match &self.service.schedule {
            Schedule::Every(_) => Check::pass(name),
            Schedule::Cron {
                expression,
                timezone,
            } => match check_cron(expression, timezone) {
                Ok(_) => Check::pass(name),
                Err(error) => Check::new(name, Verdict::Fail, error.to_string(), APPLY),
            },
        }
    }

    fn data(&self, owner: Option<Owner>) -> Check {
        let name = "data_directory";
        let path = self.layout.data(&self.service.name);
        let fail = |message: String| Check::new(name, Verdict::Fail, message, APPLY);
        let wrong = match self.disk.stat(&path) {
            Err(error) => return fail(format!("{}: {error}", path.display())),
            Ok(Some(stat)) if stat.kind != EntryKind::Dir => {
                return fail(format!("{} is not a directory", path.display()));
            }
            Ok(None) => "is missing".to_owned(),
            Ok(Some(stat)) => match wrong_of(&stat, owner) {
                None => return Check::pass(name),
                Some(wrong) => wrong,
            },
        };
        let message = format!("{} {wrong}", path.display());
        let (true, Some(owner)) = (self.fix, owner) else {
            return fail(message);
        };
        match self.disk.make_dir(&path, 0o700, Some(owner)) {
            Ok(()) => Check::new(
                name,
                Verdict::Fixed,
                format!("{message}; it was made so"),
                "",
            ),
            Err(error) => fail(format!("{message}: {error}")),
        }
    }

    async fn status(&self) -> Check {
        let name = "status";
        let service = &self.service.name;
        match file::read(self.disk, self.layout, service) {
            Stored::Good(_) => match file::last_aside(self.disk, self.layout, service) {
                None => Check::pass(name),
                Some((aside, at)) => {
                    let path = self.layout.data(service).join(aside);
                    let message = format!(
                        "one that could not be read was set aside at {at}: {}",
                        path.display()
                    );
                    Check::new(name, Verdict::Pass, message, "")
                }
            },
            Stored::Absent => Check::new(
                name,
                Verdict::Warn,
                "there is none yet; the first run makes it".to_owned(),
                "",
            ),
            Stored::Newer(version, _) => Check::new(
                name,
                Verdict::Warn,
                format!("its version is {version}, newer than this lorectl: runs are not recorded"),
                "install a newer lorectl",
            ),
            Stored::Damaged(why) if self.fix => {
                let verbs = Verbs {
                    disk: self.disk,
                    layout: self.layout,
                    name: service,
                    now: self.now,
                };
                match verbs.repair().await {
                    Ok(_) => {
                        let message = format!("it could not be read ({why}) and was set aside");
                        Check::new(name, Verdict::Fixed, message, "")
                    }
                    Err(error) => Check::new(name, Verdict::Warn, error.chain(), ""),
                }
            }
            Stored::Damaged(why) => {
                let action = format!("lorectl service repair {service}");
                Check::new(name, Verdict::Warn, why, &action)
            }
        }
    }

    fn lock(&self) -> Check {
        let name = "lock";
        let Some(lock) = &self.service.lock else {
            return Check::pass(name);
        };
        let path = self.layout.named_lock(lock);
        // What cannot be locked does not run.
        let action = format!("lorectl service doctor --fix {}", self.service.name);
        let fail = |why: String, action: &str| {
            let message = format!("{}: {why}; until then no run begins", path.display());
            Check::new(name, Verdict::Fail, message, action)
        };
        match self.disk.stat(&path) {
            Ok(Some(stat)) if stat.kind == EntryKind::File => Check::pass(name),
            Ok(Some(_)) => fail("it is not a file".to_owned(), ""),
            Ok(None) if self.fix => {
                let owner = user::effective();
                match named_lock::make(self.disk, self.layout, self.service, owner) {
                    Ok(()) => {
                        let message = format!("{} was missing and was made", path.display());
                        Check::new(name, Verdict::Fixed, message, "")
                    }
                    Err(error) => fail(error.chain(), ""),
                }
            }
            Ok(None) => fail("it is missing".to_owned(), &action),
            Err(error) => fail(error.to_string(), ""),
        }
    }

    /// One check where each credential has a value, none where none is used, else one for each that has
    /// not. The value itself is not read; who may not look at it is told nothing.
    fn credentials(&self) -> Vec<Check> {
        let name = "credentials";
        let used = self.service.uses();
        let any = !used.is_empty();
        let wrong = used.into_iter().filter_map(|credential| {
            let path = self.layout.secret_value(credential);
            let sealed = self.service.sealed.contains(credential);
            // One that has ended is kept from runs, each of which tries to have another first.
            let renewed = |stat: &Option<Stat>| {
                let is_withheld = match stat {
                    Some(stat) => stat.kind == EntryKind::File && stat.size == 0,
                    None => sealed,
                };
                is_withheld && self.service.refreshes.contains(credential)
            };
            let what = match self.disk.stat(&path) {
                Ok(Some(_))
                    if sealed && record::is_replaced(self.disk, self.layout, credential) =>
                {
                    "is not as lorectl has encrypted it, so that systemd would not start a run"
                }
                Ok(Some(stat)) if stat.kind == EntryKind::File && stat.size > 0 => return None,
                Ok(stat) if renewed(&stat) => {
                    let message = format!(
                        "credential.{credential} has no value that serves; its next run tries to have it renewed"
                    );
                    let action = format!("lorectl credential refresh {credential}");
                    return Some(Check::new(name, Verdict::Warn, message, &action));
                }
                Ok(Some(stat)) if stat.kind == EntryKind::File => "has no value",
                Ok(Some(_)) => "is not kept in a file",
                Ok(None) if sealed => "is not in the store",
                Ok(None) => "is not in the store, so that systemd would not start a run",
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return None,
                Err(_) => "cannot be looked at",
            };
            let message = format!("credential.{credential} {what}");
            Some(Check::new(name, Verdict::Fail, message, APPLY))
        });
        let mut checks: Vec<Check> = wrong.collect();
        if any && checks.is_empty() {
            checks.push(Check::pass(name));
        }
        checks
    }

    fn working_dir(&self) -> Check {
        let name = "working_dir";
        let path = &self.service.working_dir;
        match self.found(path) {
            Ok(Some(stat)) if stat.kind == EntryKind::Dir => Check::pass(name),
            Ok(_) => {
                let message = format!("{} is not a directory", path.display());
                Check::new(name, Verdict::Fail, message, "")
            }
            Err(error) => {
                let message = format!("{}: {error}", path.display());
                Check::new(name, Verdict::Fail, message, "")
            }
        }
    }

    /// What stands at a path that may lead over links.
    fn found(&self, path: &Path) -> std::io::Result<Option<Stat>> {
        match self.disk.resolve(path)? {
            Some(resolved) => self.disk.stat(&resolved),
            None => Ok(None),
        }
    }

    /// One check for all programs where all are well, else one for each that is not.
    fn programs(&self) -> Vec<Check> {
        let name = "program";
        let wrong = self.service.stages.iter().filter_map(|stage| {
            let program = stage.run.first()?;
            let what = match self.found(Path::new(program)) {
                Ok(Some(stat)) if stat.kind == EntryKind::File && stat.mode & 0o111 != 0 => {
                    return None;
                }
                Ok(Some(_)) => "is no program that can be run".to_owned(),
                Ok(None) => "is missing".to_owned(),
                Err(error) => error.to_string(),
            };
            let message = format!("{program} of stage `{}` {what}", stage.name);
            Some(Check::new(name, Verdict::Fail, message, ""))
        });
        let mut checks: Vec<Check> = wrong.collect();
        if checks.is_empty() {
            checks.push(Check::pass(name));
        }
        checks
    }

    /// Whether an apply can tell that systemd takes the settings of the spec's own, where there are some.
    fn unit_settings(&self) -> Option<Check> {
        let name = "unit";
        let systemd = self.service.scheduler != Scheduler::Worker;
        if self.service.unit.is_empty() || !systemd {
            return None;
        }
        if Programs::new(self.disk).find(ANALYZER).is_ok() {
            return Some(Check::pass(name));
        }
        let message = format!(
            "there is no `{ANALYZER}` here: an apply does not find values that systemd does not take"
        );
        Some(Check::new(name, Verdict::Warn, message, ""))
    }

    fn scheduler(&self) -> Check {
        let name = "platform_prerequisites";
        match self.service.scheduler {
            Scheduler::Worker if !worker::is_alive(self.layout.state_dir()) => Check::new(
                name,
                Verdict::Warn,
                "no worker serves the state directory: it runs only by hand".to_owned(),
                "lorectl worker",
            ),
            Scheduler::Worker | Scheduler::SystemdSystem | Scheduler::SystemdUser => {
                Check::pass(name)
            }
        }
    }
}

fn wrong_of(stat: &Stat, owner: Option<Owner>) -> Option<String> {
    if let Some(owner) = owner
        && owner.uid != stat.owner.uid
    {
        return Some(format!(
            "belongs to user id {}, not {}",
            stat.owner.uid, owner.uid
        ));
    }
    (stat.mode != 0o700).then(|| format!("has the mode {:04o}, not 0700", stat.mode))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests lay out files")]

    use super::*;
    use crate::{effect::disk::RealDisk, service::fixture};
    use std::os::unix::fs::PermissionsExt;

    struct World {
        _dir: tempfile::TempDir,
        layout: Layout,
        service: Service,
    }

    fn world(change: impl FnOnce(&mut Service)) -> World {
        let dir = tempfile::tempdir().unwrap();
        let mut service = fixture::service("sync", &["true"]);
        change(&mut service);
        let layout = Layout::new(dir.path().to_owned(), service.project.clone());
        let data = layout.data(&service.name);
        std::fs::create_dir_all(&data).unwrap();
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).unwrap();
        let text = serde_json::to_vec(&service).unwrap();
        std::fs::write(layout.run_file(&service.name), text).unwrap();
        file::seed_status(&RealDisk, &layout, &service, now()).unwrap();
        World {
            _dir: dir,
            layout,
            service,
        }
    }

    fn now() -> Timestamp {
        "2026-02-09T10:00:00Z".parse().unwrap()
    }

    impl World {
        /// The checks that did not pass.
        async fn wrong(&self, fix: bool) -> Vec<(&'static str, Verdict)> {
            let report = check(&RealDisk, &self.layout, &self.service.name, now(), fix).await;
            let checks = report.unwrap().checks.into_iter();
            let wrong = checks.filter(|check| check.status != Verdict::Pass);
            wrong.map(|check| (check.name, check.status)).collect()
        }
    }

    #[tokio::test]
    async fn a_sound_service_lacks_only_its_worker() {
        let world = world(|_| {});
        let name = &world.service.name;
        assert_eq!(
            world.wrong(false).await,
            [("platform_prerequisites", Verdict::Warn)]
        );
        let report = check(&RealDisk, &world.layout, name, now(), false).await;
        assert_eq!(report.unwrap().overall, Verdict::Warn);
    }

    #[tokio::test]
    async fn what_is_missing_is_named() {
        let world = world(|service| {
            service.user = Some("no-such-user".to_owned());
            service.working_dir = "/no/such/dir".into();
            service.lock = Some("db".parse().unwrap());
            service.stages[0].run = vec!["/no/such/program".to_owned()];
        });
        assert_eq!(
            world.wrong(true).await,
            [
                ("user", Verdict::Fail),
                ("lock", Verdict::Fixed),
                ("working_dir", Verdict::Fail),
                ("program", Verdict::Fail),
                ("platform_prerequisites", Verdict::Warn),
            ]
        );
    }

    #[tokio::test]
    async fn a_shared_lock_that_is_missing_keeps_a_job_from_running() {
        let world = world(|service| service.lock = Some("db".parse().unwrap()));
        assert_eq!(world.wrong(false).await[0], ("lock", Verdict::Fail));
        assert_eq!(world.wrong(true).await[0], ("lock", Verdict::Fixed));
        assert_eq!(world.wrong(false).await.len(), 1, "but for the worker");
    }

    #[tokio::test]
    async fn what_others_cannot_be_told_is_warned_of() {
        use crate::notify::{
            outbox::{Attempt, file::Writer},
            sink::{Event, NotifyFormat, Sink, Target, UrlSource},
        };
        let sink = |name: &str, url| Sink {
            name: name.parse().unwrap(),
            events: Event::OF_SERVICES.to_vec(),
            to: Target::Webhook {
                url,
                format: NotifyFormat::Json,
                ca_file: None,
            },
        };
        let files = tempfile::tempdir().unwrap();
        let path = files.path().join("hook");
        let ping = files.path().join("ping");
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for path in [&path, &ping] {
            std::fs::write(path, "https://hooks.example/s3cret").unwrap();
            mode(path, 0o600);
        }
        let world = world(|service| {
            service.notify = vec![
                sink("web", UrlSource::Url("https://hooks.example/".to_owned())),
                sink("ops", UrlSource::File(path.clone())),
            ];
            service.ping = Some(UrlSource::File(ping.clone()));
        });
        let found = || async {
            let report = check(&RealDisk, &world.layout, &world.service.name, now(), false).await;
            let checks = report.unwrap().checks.into_iter();
            let own =
                checks.filter(|check| check.name == "notify" && check.status == Verdict::Warn);
            let messages: Vec<String> = own.filter_map(|check| check.message).collect();
            assert!(!format!("{messages:?}").contains("s3cret"));
            messages
        };
        assert_eq!(found().await, [""; 0]);
        mode(&path, 0o644);
        std::fs::write(&ping, "s3cret").unwrap();
        let messages = found().await;
        assert!(
            messages[0].contains("can be read by everybody"),
            "{messages:?}"
        );
        assert!(messages[1].contains("holds no URL"), "{messages:?}");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(found().await, [format!("there is no {}", path.display())]);

        std::fs::write(&path, "https://hooks.example/s3cret").unwrap();
        for path in [&path, &ping] {
            std::fs::write(path, "https://hooks.example/s3cret").unwrap();
            mode(path, 0o600);
        }
        let writer = Writer {
            disk: &RealDisk,
            dir: &world.layout.data(&world.service.name),
            durability: crate::effect::disk::Durability::Now,
        };
        let change = |outbox: &mut crate::service::notify::courier::Outbox| {
            let never = Attempt::Never("it answered 404".to_owned());
            outbox.settle(&"ops".parse().unwrap(), "1.failed", never, now(), 1);
            outbox.settle_ping(Some("no answer in time".to_owned()), now());
        };
        assert!(writer.update(now(), change).await.kept);
        assert_eq!(
            found().await,
            [
                "notify.ops failed at 2026-02-09T10:00:00Z: it answered 404, and 1 given up",
                "the ping failed at 2026-02-09T10:00:00Z: no answer in time",
            ]
        );
    }

    #[tokio::test]
    async fn what_is_safe_to_mend_is_mended_on_demand() {
        let world = world(|_| {});
        let data = world.layout.data(&world.service.name);
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(world.layout.status_file(&world.service.name), "{").unwrap();
        let wrong = world.wrong(false).await;
        assert_eq!(
            wrong[..2],
            [("data_directory", Verdict::Fail), ("status", Verdict::Warn)]
        );
        let wrong = world.wrong(true).await;
        assert_eq!(
            wrong[..2],
            [
                ("data_directory", Verdict::Fixed),
                ("status", Verdict::Fixed)
            ]
        );
        assert_eq!(
            world.wrong(false).await,
            [("platform_prerequisites", Verdict::Warn)]
        );
    }
}
