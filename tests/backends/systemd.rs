//! The two systemd managers of the sandbox.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    rc::Rc,
    sync::atomic::{AtomicU32, Ordering},
};

use lorectl::{
    effect::{disk::RealDisk, host, user},
    id::{ProjectName, Seconds},
    layout::Layout,
    resource::{Act, Image},
    service::{
        backend::systemd::{Places, Systemd},
        definition::{
            Breaker, CatchUp, Classify, Criticality, ExitPolicy, Overlap, RUN_VERSION, Retry,
            Sandbox, Schedule, Scheduler, Service, Stage,
        },
        desired::{Owners, image},
        unit::{UnitContext, stem},
    },
};

use crate::world::{Tamper, World, id, poll};

static PROJECTS: AtomicU32 = AtomicU32::new(0);

/// A manager, and a project that no other test has.
pub struct Machine {
    pub backend: Systemd,
    pub scheduler: Scheduler,
    pub layout: Layout,
    pub places: Places,
    pub context: UnitContext,
    pub owners: Owners,
}

impl Machine {
    /// PID 1 of the sandbox, asked by root.
    pub fn system() -> Self {
        Self::system_at(Path::new("/var/lib/lorectl-tests"))
    }

    /// The same, with another state directory.
    pub fn system_at(state_dir: &Path) -> Self {
        let layout = layout(state_dir);
        let owner = user::effective();
        Self {
            backend: Systemd::system(layout.clone(), Rc::new(RealDisk)),
            scheduler: Scheduler::SystemdSystem,
            places: Places::system(),
            context: UnitContext {
                binary: PathBuf::from("/usr/bin/true"),
                layout: layout.clone(),
            },
            layout,
            owners: Owners {
                applier: owner,
                runner: owner,
            },
        }
    }

    /// The manager of the user who runs the tests.
    pub fn user() -> Self {
        let account = user::current().unwrap();
        let layout = layout(&account.home.join(".local/state/lorectl"));
        Self {
            backend: Systemd::user(&account, layout.clone(), Rc::new(RealDisk)),
            scheduler: Scheduler::SystemdUser,
            places: Places::user(&account.home, &host::runtime_dir(account.owner.uid)),
            context: UnitContext {
                binary: PathBuf::from("/usr/bin/true"),
                layout: layout.clone(),
            },
            layout,
            owners: Owners {
                applier: account.owner,
                runner: account.owner,
            },
        }
    }

    /// `lorectl-PROJECT.NAME.SUFFIX`.
    pub fn unit(&self, name: &str, suffix: &str) -> String {
        unit_name(&self.layout, name, suffix)
    }

    /// Where that unit is.
    pub fn path(&self, name: &str, suffix: &str) -> PathBuf {
        self.places.units.join(self.unit(name, suffix))
    }

    /// Runs `systemctl` of this manager.
    pub fn systemctl(&self, args: &[&str]) -> String {
        systemctl(self.scheduler, args)
    }

    /// One property of a unit.
    pub fn property(&self, unit: &str, property: &str) -> String {
        let args = ["show", "--value", "--property", property, unit];
        self.systemctl(&args).trim().to_owned()
    }
}

fn layout(state_dir: &Path) -> Layout {
    let number = PROJECTS.fetch_add(1, Ordering::Relaxed);
    let project = format!("t{number}-{}", std::process::id());
    Layout::new(state_dir.to_owned(), project.parse().unwrap())
}

fn unit_name(layout: &Layout, name: &str, suffix: &str) -> String {
    format!(
        "{}.{suffix}",
        stem(layout.project(), &name.parse().unwrap())
    )
}

fn systemctl(scheduler: Scheduler, args: &[&str]) -> String {
    let mut command = Command::new("systemctl");
    if scheduler == Scheduler::SystemdUser {
        let runtime = host::runtime_dir(user::effective().uid);
        command.arg("--user").env("XDG_RUNTIME_DIR", runtime);
    }
    let output = command.args(args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A service that runs nothing of note, once an hour.
pub fn service(project: &ProjectName, name: &str, scheduler: Scheduler) -> Service {
    Service {
        run_version: RUN_VERSION,
        project: project.clone(),
        name: name.parse().unwrap(),
        id: id(project, name),
        description: None,
        scheduler,
        user: None,
        schedule: Schedule::Every(Seconds(3600)),
        splay: Seconds(0),
        overlap: Overlap::Skip,
        catch_up: CatchUp::Once,
        timeout: Seconds(900),
        working_dir: PathBuf::from("/"),
        env: [].into(),
        write_paths: Vec::new(),
        lock: None,
        profile: None,
        stages: vec![Stage {
            name: "main".parse().unwrap(),
            run: vec!["/usr/bin/true".to_owned()],
            timeout: None,
            criticality: Criticality::Core,
        }],
        retry: Retry {
            base: Seconds(3600),
            max: Seconds(14_400),
        },
        breaker: Breaker {
            failures: 10,
            cooldown: Seconds(1800),
        },
        classify: Classify::default(),
        exit: ExitPolicy::Policy,
        sandbox: Sandbox::Strict,
        unit: [].into(),
    }
}

impl World for Machine {
    fn backend(&self) -> &dyn Act {
        &self.backend
    }

    fn project(&self) -> &ProjectName {
        self.layout.project()
    }

    fn service(&self, name: &str) -> Service {
        service(self.project(), name, self.scheduler)
    }

    fn image(&self, service: &Service) -> Image {
        let mut owners = self.owners;
        if let Some(user) = &service.user {
            owners.runner = user::by_name(user).unwrap().unwrap().owner;
        }
        image(service, &self.context, owners).unwrap()
    }

    fn tampers(&self) -> Vec<Tamper> {
        let tamper = |what, part, act: Box<dyn Fn(&str)>| Tamper { what, part, act };
        let (layout, scheduler) = (self.layout.clone(), self.scheduler);
        let units = self.places.units.clone();
        let at = {
            let layout = layout.clone();
            move |name: &str, suffix: &str| units.join(unit_name(&layout, name, suffix))
        };
        let control = move |verb: &'static str| -> Box<dyn Fn(&str)> {
            let layout = layout.clone();
            Box::new(move |name| {
                drop(systemctl(
                    scheduler,
                    &[verb, &unit_name(&layout, name, "timer")],
                ));
            })
        };
        let edit = |suffix: &'static str, from: &'static str, to: &'static str| {
            let at = at.clone();
            let edit: Box<dyn Fn(&str)> = Box::new(move |name| {
                let path = at(name, suffix);
                let text = fs::read_to_string(&path).unwrap();
                assert!(text.contains(from), "{text}");
                fs::write(&path, text.replace(from, to)).unwrap();
            });
            edit
        };
        let on = |suffix: &'static str, act: fn(&Path)| {
            let at = at.clone();
            let act: Box<dyn Fn(&str)> = Box::new(move |name| act(&at(name, suffix)));
            act
        };
        let drop_in = |dir: PathBuf, suffix: &'static str, text: &'static str| {
            let layout = self.layout.clone();
            let act: Box<dyn Fn(&str)> = Box::new(move |name| {
                let unit = unit_name(&layout, name, suffix);
                let dir = dir.join(format!("{unit}.d"));
                fs::create_dir_all(&dir).unwrap();
                fs::write(dir.join("50-mine.conf"), text).unwrap();
            });
            act
        };
        let run = self.layout.clone();
        let beside = |tag: &str| {
            let found = self.places.beside.iter().find(|beside| beside.tag == tag);
            found.unwrap().dir.clone()
        };
        let shadow = beside("run-control");
        let layout = self.layout.clone();
        vec![
            tamper(
                "a unit edited",
                "service",
                edit("service", "KillMode=mixed", "KillMode=none"),
            ),
            tamper(
                "another program",
                "service",
                edit("service", "/usr/bin/true", "/usr/bin/false"),
            ),
            tamper(
                "another interval",
                "timer",
                edit("timer", "OnActiveSec=3600s", "OnActiveSec=60s"),
            ),
            tamper(
                "a unit's mode",
                "timer",
                on("timer", |path| {
                    fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
                }),
            ),
            tamper(
                "a unit removed",
                "service",
                on("service", |path| fs::remove_file(path).unwrap()),
            ),
            tamper(
                "a unit masked",
                "timer",
                on("timer", |path| {
                    fs::remove_file(path).unwrap();
                    symlink("/dev/null", path).unwrap();
                }),
            ),
            tamper(
                "run.json edited",
                "run.json",
                Box::new(move |name| {
                    let path = run.run_file(&name.parse().unwrap());
                    let text = fs::read_to_string(&path).unwrap();
                    fs::write(&path, text.replace("/usr/bin/true", "/usr/bin/false")).unwrap();
                }),
            ),
            tamper("the timer disabled", "enabled", control("disable")),
            tamper("the timer stopped", "active", control("stop")),
            tamper(
                "a drop-in for the service",
                "drop-in/service/50-mine.conf",
                drop_in(
                    self.places.units.clone(),
                    "service",
                    "[Service]\nEnvironment=X=1\n",
                ),
            ),
            tamper(
                "a drop-in for the timer",
                "drop-in/timer/50-mine.conf",
                drop_in(
                    self.places.units.clone(),
                    "timer",
                    "[Timer]\nAccuracySec=2s\n",
                ),
            ),
            tamper(
                "a drop-in until reboot",
                "drop-in/timer/run/50-mine.conf",
                drop_in(beside("run"), "timer", "[Timer]\nAccuracySec=2s\n"),
            ),
            tamper(
                "a unit hidden",
                "shadow/timer/run-control",
                Box::new(move |name| {
                    fs::create_dir_all(&shadow).unwrap();
                    let unit = unit_name(&layout, name, "timer");
                    fs::write(shadow.join(unit), "[Timer]\nOnBootSec=1d\n").unwrap();
                    drop(systemctl(scheduler, &["daemon-reload"]));
                }),
            ),
        ]
    }

    fn residue(&self, name: &str) -> Vec<String> {
        let stem = stem(self.project(), &name.parse().unwrap());
        let mut left = Vec::new();
        let mut look = |dir: PathBuf| {
            for entry in fs::read_dir(dir).into_iter().flatten() {
                let entry = entry.unwrap().file_name().into_string().unwrap();
                if entry.contains(&format!("{stem}.")) {
                    left.push(entry);
                }
            }
        };
        look(self.places.units.clone());
        look(self.places.wants());
        look(self.places.stamps.clone());
        for beside in &self.places.beside {
            look(beside.dir.clone());
        }
        let home = self.layout.service(&name.parse().unwrap());
        for entry in fs::read_dir(&home).into_iter().flatten() {
            left.push(entry.unwrap().file_name().into_string().unwrap());
        }
        // The manager drops what it need not remember soon, not at once.
        poll("the manager to forget", || {
            let args = ["list-units", "--all", "--plain", "--no-legend"];
            !self.systemctl(&args).contains(&format!("{stem}."))
        });
        left
    }
}
