//! Tests of what becomes of a declared service on a host.
#![expect(
    clippy::disallowed_methods,
    reason = "tests make the programs that are looked up"
)]

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::effect::disk::RealDisk;

fn declared(text: &str) -> DeclaredService {
    let raw: RawService = toml::from_str(text).unwrap();
    DeclaredService {
        name: "job".parse().unwrap(),
        file: Arc::from("lore.toml"),
        line: 1,
        meta: Meta::default(),
        on: Vec::new(),
        sinks: Vec::new(),
        raw,
    }
}

/// A directory of programs, and a context that looks into it.
struct Host {
    dir: tempfile::TempDir,
    project: ProjectName,
    lineage: Lineage,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, mode: u32| {
            let path = dir.path().join(name);
            fs::write(&path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        write("tool", 0o755);
        write("text", 0o644);
        fs::create_dir(dir.path().join("sub")).unwrap();
        std::os::unix::fs::symlink("tool", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("gone", dir.path().join("dangling")).unwrap();
        let project: ProjectName = "acme".parse().unwrap();
        let lineage = Lineage::derive("machine", 0, &project);
        Self {
            dir,
            project,
            lineage,
        }
    }

    fn resolve(
        &self,
        text: &str,
        change: impl FnOnce(&mut Context<'_>),
    ) -> Result<Service, Vec<Problem>> {
        let mut context = Context {
            project: &self.project,
            lineage: &self.lineage,
            scheduler: Scheduler::Worker,
            current_user: "joe",
            privileged: false,
            dir: self.dir.path(),
            renewed: &std::collections::BTreeSet::new(),
            sealed: &std::collections::BTreeSet::new(),
            programs: None,
        };
        change(&mut context);
        resolve(&declared(text), &context)
    }

    fn looked_up(&self, text: &str) -> Result<Service, Vec<Problem>> {
        let programs = Programs::new(&RealDisk);
        let context = Context {
            project: &self.project,
            lineage: &self.lineage,
            scheduler: Scheduler::Worker,
            current_user: "joe",
            privileged: false,
            dir: self.dir.path(),
            renewed: &std::collections::BTreeSet::new(),
            sealed: &std::collections::BTreeSet::new(),
            programs: Some(&programs),
        };
        resolve(&declared(text), &context)
    }
}

const EVERY: &str = "schedule = { every = \"6h\" }\n";

#[test]
fn what_is_not_said_has_the_documented_default() {
    let host = Host::new();
    let service = host
        .resolve(&format!("{EVERY}run = [\"true\"]"), |_| {})
        .unwrap();
    assert_eq!(service.timeout, Seconds(900));
    assert_eq!(service.splay, Seconds(60));
    assert_eq!(service.working_dir, host.dir.path());
    assert_eq!(service.stages.len(), 1);
    assert_eq!(service.stages[0].name.as_str(), "run");
    assert_eq!(service.user, None);
    assert_eq!(service.retry.base, Seconds(6 * 3600), "the interval");
    assert_eq!(service.retry.max, Seconds(6 * 3600), "not under base");
    assert_eq!(service.breaker.failures, 10);
    let address: Address = "service.job".parse().unwrap();
    assert_eq!(service.id, ResourceId::derive(&host.lineage, &address));
    let cron = "schedule = { cron = \"0 3 * * *\", timezone = \"UTC\" }\nrun = [\"true\"]";
    let service = host.resolve(cron, |_| {}).unwrap();
    assert_eq!(service.retry.base, Seconds(1800));
    assert_eq!(service.retry.max, Seconds(4 * 3600));
}

#[test]
fn a_written_bound_of_retry_holds_and_the_other_gives_way() {
    let host = Host::new();
    for (retry, base, max) in [
        ("{ max = \"1h\" }", 3600, 3600),
        ("{ base = \"8h\" }", 8 * 3600, 8 * 3600),
        ("{ base = \"1m\" }", 60, 4 * 3600),
    ] {
        let text = format!("{EVERY}run = [\"true\"]\nretry = {retry}");
        let service = host.resolve(&text, |_| {}).unwrap();
        assert_eq!(service.retry.base, Seconds(base), "{retry}");
        assert_eq!(service.retry.max, Seconds(max), "{retry}");
    }
}

#[test]
fn a_profile_picks_stages_in_their_declared_order() {
    let host = Host::new();
    let stages = "profiles = { two = [\"c\", \"a\"], b = [\"b\"] }\nstages = [\
        { name = \"a\", run = [\"true\"] }, { name = \"b\", run = [\"true\"] }, \
        { name = \"c\", run = [\"true\"], criticality = \"optional\" }]\n";
    let names = |text: &str| {
        let service = host.resolve(text, |_| {}).unwrap();
        let names: Vec<String> = (service.stages.iter())
            .map(|stage| stage.name.to_string())
            .collect();
        names.join(" ")
    };
    assert_eq!(names(&format!("{EVERY}{stages}")), "a b c");
    let chosen = format!("{EVERY}profile = \"two\"\n{stages}");
    assert_eq!(names(&chosen), "a c");
}

#[test]
fn a_user_is_what_the_scheduler_can_give() {
    let host = Host::new();
    let joe = format!("{EVERY}run = [\"true\"]\nuser = \"joe\"");
    let amy = format!("{EVERY}run = [\"true\"]\nuser = \"amy\"");
    let none = format!("{EVERY}run = [\"true\"]");
    let user = |text: &str, scheduler, privileged| {
        let service = host.resolve(text, |context| {
            context.scheduler = scheduler;
            context.privileged = privileged;
        });
        service.map(|service| service.user).map_err(|p| p.len())
    };
    let amy_is = Ok(Some("amy".to_owned()));
    assert_eq!(user(&amy, Scheduler::SystemdSystem, true), amy_is);
    assert_eq!(user(&amy, Scheduler::SystemdSystem, false), amy_is);
    assert_eq!(user(&none, Scheduler::SystemdSystem, true), Err(1));
    assert_eq!(user(&amy, Scheduler::SystemdUser, true), amy_is);
    assert_eq!(user(&amy, Scheduler::SystemdUser, false), Err(1));
    assert_eq!(user(&joe, Scheduler::SystemdUser, true), Ok(None));
    assert_eq!(user(&joe, Scheduler::SystemdUser, false), Ok(None));
    assert_eq!(user(&none, Scheduler::SystemdUser, false), Ok(None));
    assert_eq!(user(&amy, Scheduler::Worker, true), amy_is);
    assert_eq!(user(&amy, Scheduler::Worker, false), Err(1));
    assert_eq!(user(&joe, Scheduler::Worker, false), Ok(None));
    assert_eq!(user(&none, Scheduler::Worker, true), Ok(None));
}

#[test]
fn programs_are_looked_up_on_the_host_and_nowhere_in_validate() {
    let host = Host::new();
    let program = |written: &str| {
        let text = format!("{EVERY}run = [{written:?}, \"x\"]");
        match host.looked_up(&text) {
            Ok(service) => service.stages[0].run[0].clone(),
            Err(problems) => {
                let texts: Vec<String> = (problems.iter())
                    .map(|problem| format!("{} {}", problem.at, problem.message))
                    .collect();
                texts.join("; ")
            }
        }
    };
    let dir = host.dir.path().to_str().unwrap();
    let at = |name: &str| format!("{dir}/{name}");
    assert_eq!(program("./tool"), at("tool"));
    assert_eq!(program("./././tool"), at("tool"));
    assert_eq!(program("./link"), at("link"), "a link stays a link");
    let real = fs::canonicalize(at("tool")).unwrap();
    assert_eq!(program("./sub/../tool"), real.to_str().unwrap());
    assert_eq!(program(&at("tool")), at("tool"));
    assert!(program("sh").ends_with("/sh") && program("sh").starts_with('/'));
    for (written, message) in [
        ("./none", format!("there is no program {dir}/none")),
        ("./dangling", format!("there is no program {dir}/dangling")),
        ("./text", format!("{dir}/text is not executable")),
        ("./sub", format!("{dir}/sub is not a file")),
        ("/none/x", "there is no program /none/x".to_owned()),
        (
            "no-such-program",
            format!(
                "there is no program `no-such-program` on {}",
                program::PATH.join(":")
            ),
        ),
        ("sub/tool", "a relative program begins with `./`".to_owned()),
        (
            "~/tool",
            "`~` is a shell's, and there is none here".to_owned(),
        ),
        ("", "the program is empty".to_owned()),
        ("./sub/", "that is a directory, not a program".to_owned()),
    ] {
        assert_eq!(program(written), format!("/run/0 {message}"));
    }
    let text = format!("{EVERY}run = [\"no-such-program\"]");
    let unlooked = host.resolve(&text, |_| {}).unwrap();
    assert_eq!(unlooked.stages[0].run, ["no-such-program"]);
}

#[test]
fn paths_are_absolute_and_plain() {
    let host = Host::new();
    let text = format!(
        "{EVERY}run = [\"true\"]\nworking_dir = \"./sub//x/\"\nwrite_paths = [\"/srv//a/./b/\"]"
    );
    let service = host.resolve(&text, |_| {}).unwrap();
    assert_eq!(service.working_dir, host.dir.path().join("sub/x"));
    assert_eq!(service.write_paths[0].to_str(), Some("/srv/a/b"));
    let odd = Path::new("/srv/a\nb");
    let text = format!("{EVERY}run = [\"true\"]");
    let problems = host
        .resolve(&text, |context| context.dir = odd)
        .unwrap_err();
    assert_eq!(problems.len(), 1);
}

#[test]
fn what_is_somebody_elses_is_not_retired() {
    let host = Host::new();
    let refused = |id: &str, scheduler: Scheduler, privileged: bool| {
        let text = format!(
            "schedule = {{ every = \"1h\" }}\nrun = [\"/bin/sh\"]\nuser = \"joe\"\nreplaces = \"{id}\""
        );
        let resolved = host.resolve(&text, |context| {
            context.scheduler = scheduler;
            context.privileged = privileged;
            context.current_user = if privileged { "root" } else { "joe" };
        });
        match resolved {
            Ok(_) => false,
            Err(problems) => problems.iter().any(|problem| problem.at == "/replaces"),
        }
    };
    let (system, user) = (Scheduler::SystemdSystem, Scheduler::SystemdUser);
    for (id, scheduler, privileged, expected) in [
        ("systemd:x.timer", system, true, false),
        ("systemd:x.timer", user, false, true),
        ("systemd-user:x.timer", user, false, false),
        ("systemd-user:x.timer", system, true, true),
        ("systemd-user:x.timer", user, true, true),
        ("systemd:x.timer", user, true, false),
        ("crontab:/etc/crontab#0123abcd", system, true, false),
        ("crontab:/etc/crontab#0123abcd", user, false, true),
        ("crontab:joe#0123abcd", user, false, false),
        ("crontab:root#0123abcd", user, false, true),
        ("crontab:root#0123abcd", system, true, false),
    ] {
        let found = refused(id, scheduler, privileged);
        assert_eq!(found, expected, "{id} {scheduler:?} {privileged}");
    }
}

#[test]
fn another_users_manager_is_handed_no_credential_of_roots() {
    let host = Host::new();
    let text = format!(
        "{EVERY}run = [\"true\"]\nuser = \"git\"\nenv = {{ A = {{ credential = \"a\" }} }}"
    );
    let resolve = |scheduler| {
        host.resolve(&text, |context| {
            context.scheduler = scheduler;
            context.current_user = "root";
            context.privileged = true;
        })
    };
    let problems = resolve(Scheduler::SystemdUser).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].at, "/scheduler");
    assert!(problems[0].message.contains("`git`"), "{problems:?}");
    assert!(resolve(Scheduler::SystemdSystem).is_ok());
}
