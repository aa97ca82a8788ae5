//! The two systemd managers of the sandbox.

use std::{
    fs,
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

use crate::{
    tampers::TAMPERS,
    world::{World, id, poll},
};

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
        Self::system_of(layout(state_dir))
    }

    /// The same, with a project that a later boot knows again.
    pub fn of_project(project: &str) -> Self {
        let state_dir = PathBuf::from("/var/lib/lorectl-tests");
        Self::system_of(Layout::new(state_dir, project.parse().unwrap()))
    }

    fn system_of(layout: Layout) -> Self {
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
        let stem = stem(self.layout.project(), &name.parse().unwrap());
        format!("{stem}.{suffix}")
    }

    /// Where that unit is.
    pub fn path(&self, name: &str, suffix: &str) -> PathBuf {
        self.places.units.join(self.unit(name, suffix))
    }

    /// Runs `systemctl` of this manager.
    pub fn systemctl(&self, args: &[&str]) -> String {
        let mut command = Command::new("systemctl");
        if self.scheduler == Scheduler::SystemdUser {
            let runtime = host::runtime_dir(self.owners.applier.uid);
            command.arg("--user").env("XDG_RUNTIME_DIR", runtime);
        }
        let output = command.args(args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
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
        credentials: [].into(),
        refreshes: std::collections::BTreeSet::new(),
        sealed: std::collections::BTreeSet::new(),
        write_paths: Vec::new(),
        replaces: None,
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
        programs: [].into(),
        unit: [].into(),
        notify: Vec::new(),
        ping: None,
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

    fn tampers(&self) -> Vec<(&'static str, &'static str)> {
        TAMPERS
            .iter()
            .map(|(what, part, _)| (*what, *part))
            .collect()
    }

    fn tamper(&self, what: &str, name: &str) {
        let found = TAMPERS.iter().find(|tamper| tamper.0 == what);
        (found.unwrap().2)(self, name);
    }

    fn leave(&self, name: &str, file: &str) {
        let data = self.layout.data(&name.parse().unwrap());
        fs::write(data.join(file), "by the job").unwrap();
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
