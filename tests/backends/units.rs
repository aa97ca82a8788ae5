//! What systemd makes of our units.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use lorectl::{
    id::Seconds,
    resource::Outcome,
    service::{
        definition::{Sandbox, Schedule},
        image,
    },
};

use crate::{
    Test, USER, run,
    systemd::Machine,
    world::{World, act, done, install, ours, poll, step, wait},
};

/// For the system's manager.
pub const SYSTEM: &[Test] = &[
    ("units_are_sound_and_hardened", || sound(&Machine::system())),
    ("a_timer_fires_and_nothing_else_does", || {
        fires(&Machine::system());
    }),
    ("only_a_changed_timer_is_restarted", || {
        restarts(&Machine::system());
    }),
    ("arguments_arrive_as_they_are", arguments_arrive),
    ("a_job_reads_and_writes_what_is_its_own", job_sees_its_own),
    ("a_state_directory_below_tmp_is_visible", below_tmp),
    ("a_stamp_goes_with_its_timer", stamp_goes),
    ("a_change_of_user_hands_the_status_over", changes_user),
    (
        "something_is_done_before_a_new_service_is_written",
        on_install,
    ),
];

/// For a user's manager.
pub const USER_TESTS: &[Test] = &[
    ("units_are_sound_and_hardened", || sound(&Machine::user())),
    ("a_timer_fires_and_nothing_else_does", || {
        fires(&Machine::user());
    }),
    ("only_a_changed_timer_is_restarted", || {
        restarts(&Machine::user());
    }),
    ("a_hardened_job_writes_its_data_alone", user_job_is_held),
];

fn sound(machine: &Machine) {
    let user =
        machine.service("x").scheduler == lorectl::service::definition::Scheduler::SystemdUser;
    for (level, limit) in [
        (Sandbox::Strict, Some("20")),
        (Sandbox::Basic, None),
        (Sandbox::Off, None),
    ] {
        let mut service = machine.service(&format!("{level:?}").to_lowercase());
        service.sandbox = level;
        service.description = Some("50 % of $HOME; a \"quote\" and a \\".to_owned());
        service.write_paths = vec![
            PathBuf::from("/srv/with space"),
            PathBuf::from("/srv/%h'\""),
        ];
        wait(done(machine, &[install(machine, &service)]));
        let paths = ["service", "timer"].map(|suffix| machine.path(service.name.as_str(), suffix));
        let analyze = |args: &[&str]| {
            let mut command = Command::new("systemd-analyze");
            if user {
                let runtime =
                    lorectl::effect::host::runtime_dir(lorectl::effect::user::effective().uid);
                command.arg("--user").env("XDG_RUNTIME_DIR", runtime);
            }
            let output = command.args(args).output().unwrap();
            let text = [output.stdout, output.stderr].concat();
            (
                output.status.success(),
                String::from_utf8_lossy(&text).into_owned(),
            )
        };
        let [service_path, timer_path] = paths.each_ref().map(|path| path.to_str().unwrap());
        let (good, text) = analyze(&["verify", "--recursive-errors=no", service_path, timer_path]);
        assert!(good && text.is_empty(), "{level:?}: {text}");
        let unit = machine.unit(service.name.as_str(), "service");
        let description = machine.property(&unit, "Description");
        assert_eq!(Some(description), service.description);
        let writable = machine.property(&unit, "ReadWritePaths");
        if level == Sandbox::Strict {
            assert!(writable.contains("-/srv/%h'\\\""), "{writable}");
        }
        if let Some(limit) = limit {
            let threshold = format!("--threshold={limit}");
            let (good, text) = analyze(&["security", "--offline=yes", &threshold, service_path]);
            assert!(good, "{text}");
        }
    }
}

fn fires(machine: &Machine) {
    let mut service = machine.service("fires");
    service.schedule = Schedule::Every(Seconds(5));
    let unit = machine.unit("fires", "service");
    let starts = || machine.property(&unit, "ExecMainStartTimestampMonotonic");
    wait(done(machine, &[install(machine, &service)]));
    assert_eq!(starts(), "0", "an apply starts no job");
    poll("the first wake-up", || starts() != "0");
    assert_eq!(machine.property(&unit, "Result"), "success");
    let first = starts();
    poll("the next wake-up", || starts() != first);
    let image = machine.image(&service);
    wait(done(
        machine,
        &[step(&image::PURGE, &service, Some(image), None)],
    ));
}

fn restarts(machine: &Machine) {
    let service = machine.service("steady");
    let timer = machine.unit("steady", "timer");
    let since = || machine.property(&timer, "ActiveEnterTimestampMonotonic");
    let mut before = machine.image(&service);
    wait(done(machine, &[install(machine, &service)]));
    let started = since();

    let mut next = service.clone();
    next.timeout = Seconds(60);
    let after = machine.image(&next);
    let update = step(&image::UPDATE, &next, Some(before), Some(after.clone()));
    wait(done(machine, &[update]));
    let text = machine.property(&machine.unit("steady", "service"), "TimeoutStartUSec");
    assert_eq!(text, "2min", "the manager has read the new unit");
    assert_eq!(since(), started, "and left the timer alone");

    before = after;
    next.schedule = Schedule::Every(Seconds(7200));
    let after = machine.image(&next);
    let update = step(&image::UPDATE, &next, Some(before), Some(after.clone()));
    wait(done(machine, &[update]));
    assert_ne!(since(), started, "a changed timer starts anew");
    assert_eq!(wait(ours(machine, &next)), after);
}

/// A program that writes its arguments to a file, one a line.
fn recorder(at: &Path, into: &Path) {
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    let into = into.display();
    fs::write(at, format!("#!/bin/sh\nprintf '%s\\n' \"$@\" >'{into}'\n")).unwrap();
    fs::set_permissions(at, Permissions::from_mode(0o755)).unwrap();
}

fn arguments_arrive() {
    for odd in [
        "%h",
        "$HOME",
        "${HOME}",
        ";",
        "back\\slash",
        "qu\"ote",
        "it's",
        "a b",
        "end\\",
        "é%%$$",
    ] {
        let base = Path::new("/var/lib/odd").join(odd);
        let mut machine = Machine::system_at(&base.join("state"));
        // systemd takes no quote or backslash in the program's path.
        let plain = !odd.contains(['"', '\'', '\\']);
        machine.context.binary = if plain {
            base.join("bin/record")
        } else {
            PathBuf::from("/var/lib/odd/bin/record")
        };
        recorder(&machine.context.binary, Path::new("/var/lib/odd/arguments"));
        let mut service = machine.service("odd");
        service.sandbox = Sandbox::Off;
        service.working_dir.clone_from(&base);
        let image = machine.image(&service);
        wait(done(&machine, &[install(&machine, &service)]));
        run("systemctl", &["start", &machine.unit("odd", "service")]);
        let project = machine.project().as_str();
        let state_dir = base.join("state");
        let expected = [
            "service",
            "run",
            "--state-dir",
            state_dir.to_str().unwrap(),
            "--project",
            project,
            "odd",
        ];
        let arguments = fs::read_to_string("/var/lib/odd/arguments").unwrap();
        assert_eq!(arguments.lines().collect::<Vec<_>>(), expected, "{odd}");
        let directory = machine.property(&machine.unit("odd", "service"), "WorkingDirectory");
        assert_eq!(directory, format!("!{}", base.display()), "{odd}");
        wait(done(
            &machine,
            &[step(&image::PURGE, &service, Some(image), None)],
        ));
    }
}

/// A program in place of lorectl that does what a job might.
fn job(at: &Path, script: &str) {
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    fs::write(at, format!("#!/bin/sh\n{script}")).unwrap();
    fs::set_permissions(at, Permissions::from_mode(0o755)).unwrap();
}

/// Tries what a hardened job may and may not do; leaves a report in its data.
const TRIALS: &str = r#"
data=$4/$6/services/$7/data
report=$data/report
try() { if sh -c "$2" >/dev/null 2>&1; then echo "$1 yes"; else echo "$1 no"; fi >>"$report"; }
: >"$report"
try run "cat $4/$6/services/$7/run.json"
try state "ls $4/$6"
try data "touch $data/x"
try written "touch /srv/mine/x"
try etc "touch /etc/x"
try home "touch $HOME/x"
try tmp "touch /tmp/x"
try names "getent hosts localhost"
try git "git --version"
try nice "nice -n 5 ionice -c 3 true"
try namespaces "unshare --user true"
"#;

fn job_sees_its_own() {
    let account = lorectl::effect::user::by_name(USER).unwrap().unwrap();
    let mut machine = Machine::system();
    machine.context.binary = PathBuf::from("/usr/local/lib/lorectl-tests/job");
    job(&machine.context.binary, TRIALS);
    fs::create_dir_all("/srv/mine").unwrap();
    std::os::unix::fs::chown("/srv/mine", Some(account.owner.uid), None).unwrap();
    let mut service = machine.service("owned");
    service.user = Some(USER.to_owned());
    service.write_paths = vec![PathBuf::from("/srv/mine"), PathBuf::from("/srv/not-there")];
    wait(done(&machine, &[install(&machine, &service)]));

    let name = service.name.clone();
    let mode = |path: &Path| {
        let meta = fs::metadata(path).unwrap();
        (meta.mode() & 0o7777, meta.uid(), meta.gid())
    };
    let (uid, gid) = (account.owner.uid, account.owner.gid);
    assert_eq!(mode(&machine.layout.service(&name)), (0o711, 0, 0));
    assert_eq!(mode(&machine.layout.data(&name)), (0o700, uid, gid));
    assert_eq!(mode(&machine.layout.run_file(&name)), (0o640, 0, gid));

    run("systemctl", &["start", &machine.unit("owned", "service")]);
    let report = fs::read_to_string(machine.layout.data(&name).join("report")).unwrap();
    assert_eq!(
        report.lines().collect::<Vec<_>>(),
        [
            "run yes",
            "state no",
            "data yes",
            "written yes",
            "etc no",
            "home no",
            "tmp yes",
            "names yes",
            "git yes",
            "nice yes",
            "namespaces no",
        ]
    );
    assert!(!Path::new("/tmp/x").exists(), "its /tmp is its own");
}

fn user_job_is_held() {
    let account = lorectl::effect::user::current().unwrap();
    let mut machine = Machine::user();
    machine.context.binary = account.home.join("bin/job");
    job(&machine.context.binary, TRIALS);
    let service = machine.service("owned");
    wait(done(&machine, &[install(&machine, &service)]));
    machine.systemctl(&["start", &machine.unit("owned", "service")]);
    let report = machine.layout.data(&service.name).join("report");
    let report = fs::read_to_string(report).unwrap();
    assert_eq!(
        report.lines().collect::<Vec<_>>(),
        [
            "run yes",
            "state yes",
            "data yes",
            "written no",
            "etc no",
            "home no",
            "tmp yes",
            "names yes",
            "git yes",
            "nice yes",
            "namespaces no",
        ]
    );
}

fn below_tmp() {
    let mut machine = Machine::system_at(Path::new("/tmp/odd/state"));
    machine.context.binary = PathBuf::from("/usr/local/lib/lorectl-tests/job");
    job(&machine.context.binary, TRIALS);
    let mut service = machine.service("hidden");
    service.working_dir = PathBuf::from("/tmp/odd/work");
    fs::create_dir_all(&service.working_dir).unwrap();
    wait(done(&machine, &[install(&machine, &service)]));
    run("systemctl", &["start", &machine.unit("hidden", "service")]);
    let report = machine.layout.data(&service.name).join("report");
    let report = fs::read_to_string(report).unwrap();
    let lines: Vec<&str> = report.lines().take(6).collect();
    let expected = [
        "run yes",
        "state yes",
        "data yes",
        "written no",
        "etc no",
        "home no",
    ];
    assert_eq!(lines, expected);
    assert!(report.contains("tmp yes"));
    assert!(!Path::new("/tmp/x").exists(), "its /tmp is its own");
}

fn stamp_goes() {
    let machine = Machine::system();
    let service = machine.service("stamped");
    let mut after = machine.image(&service);
    after.remove(image::ACTIVE.as_str());
    wait(done(
        &machine,
        &[step(&image::INSTALL, &service, None, Some(after))],
    ));
    let stamp = machine
        .places
        .stamps
        .join(format!("stamp-{}", machine.unit("stamped", "timer")));
    fs::create_dir_all(&machine.places.stamps).unwrap();
    fs::write(&stamp, "").unwrap();
    let before = wait(ours(&machine, &service));
    wait(done(
        &machine,
        &[step(&image::REMOVE, &service, Some(before), None)],
    ));
    assert!(!stamp.exists());
}

fn on_install() {
    let mut machine = Machine::system();
    let layout = machine.layout.clone();
    machine.backend = machine.backend.on_install(std::rc::Rc::new(move |service| {
        assert!(layout.data(&service.name).exists());
        assert!(!layout.run_file(&service.name).exists());
        if service.name.as_str() == "refused" {
            return Err(lorectl::error::Error::new(
                lorectl::error::Code::Io,
                "no status can be written",
            ));
        }
        fs::write(layout.status_file(&service.name), "{}").unwrap();
        Ok(())
    }));
    let (good, bad) = (machine.service("seeded"), machine.service("refused"));
    let steps = [install(&machine, &good), install(&machine, &bad)];
    let outcomes = wait(act(&machine, &steps));
    assert_eq!(outcomes[0], Outcome::Done);
    assert!(machine.layout.status_file(&good.name).exists());
    let Outcome::Failed { message, .. } = &outcomes[1] else {
        panic!("{outcomes:?}");
    };
    assert_eq!(message, "no status can be written");
    assert_eq!(machine.residue("refused"), [""; 0]);
}

fn changes_user() {
    let machine = Machine::system();
    let layout = &machine.layout;
    let old = machine.service("changes-user");
    let mut new = old.clone();
    new.user = Some("nobody".to_owned());
    wait(done(&machine, &[install(&machine, &old)]));
    let (data, status) = (layout.data(&old.name), layout.status_file(&old.name));
    let at = "2026-02-09T10:00:00Z".parse().unwrap();
    let mut known = lorectl::service::status::Status::new(at);
    known.consecutive_failures = 3;
    fs::write(&status, serde_json::to_vec(&known).unwrap()).unwrap();
    std::os::unix::fs::symlink("/etc", data.join("logs")).unwrap();
    fs::set_permissions(&data, Permissions::from_mode(0o750)).unwrap();
    let before = wait(ours(&machine, &old));
    let change = || {
        step(
            &image::UPDATE,
            &new,
            Some(before.clone()),
            Some(machine.image(&new)),
        )
    };
    let owner = |path: &Path| fs::symlink_metadata(path).unwrap().uid();
    let read = || {
        let bytes = fs::read(&status).unwrap();
        serde_json::from_slice::<lorectl::service::status::Status>(&bytes).unwrap()
    };
    let as_it_was = |mode| {
        assert_eq!((owner(&data), owner(&status)), (0, 0));
        assert_eq!(fs::metadata(&data).unwrap().mode() & 0o777, mode);
        assert!(fs::symlink_metadata(data.join("logs")).is_ok());
        assert_eq!(read(), known);
        let left = fs::read_dir(layout.service(&old.name)).unwrap();
        assert_eq!(left.count(), 2, "run.json and data");
    };

    // A run that a person started is waited for.
    let lock = lorectl::effect::lock::Lock::try_take(&layout.run_lock(&old.name), 0o600);
    let mut held = change();
    held.patience = Seconds(1);
    let outcomes = wait(act(&machine, &[held]));
    assert!(matches!(outcomes[0], Outcome::Held { .. }), "{outcomes:?}");
    drop(lock);
    fs::remove_file(layout.run_lock(&old.name)).unwrap();
    as_it_was(0o750);
    assert_eq!(wait(ours(&machine, &old)), before, "timer and all");

    // What fails later takes it back: a unit file that cannot be replaced.
    let unit = machine.path("changes-user", "service");
    let unit = unit.to_str().unwrap();
    run("mount", &["--bind", unit, unit]);
    let outcomes = wait(act(&machine, &[change()]));
    run("umount", &[unit]);
    assert!(
        matches!(outcomes[0], Outcome::Failed { .. }),
        "{outcomes:?}"
    );
    as_it_was(0o750);

    wait(done(&machine, &[change()]));
    assert_eq!(wait(ours(&machine, &new)), machine.image(&new));
    let nobody = owner(&data);
    assert_ne!(nobody, 0);
    assert_eq!(
        (owner(&status), owner(&data.join("lock"))),
        (nobody, nobody)
    );
    assert!(fs::symlink_metadata(data.join("logs")).is_err());
    assert_eq!(read().consecutive_failures, 3);

    let back = step(
        &image::UPDATE,
        &old,
        Some(machine.image(&new)),
        Some(machine.image(&old)),
    );
    wait(done(&machine, &[back]));
    as_it_was(0o700);
}
