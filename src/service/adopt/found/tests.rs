use super::*;

fn home_of(user: &str) -> Option<String> {
    match user {
        "root" => Some("/root".to_owned()),
        "joe" => Some("/home/joe".to_owned()),
        _nobody => None,
    }
}

fn of_text(table: &Table, text: &str) -> (Vec<Candidate>, Vec<Left>) {
    of_crontab(table, text, "Europe/Paris", &home_of)
}

fn only(text: &str) -> Candidate {
    let (found, left) = of_text(&Table::User("joe".to_owned()), text);
    assert_eq!((found.len(), left), (1, Vec::new()), "{text}");
    found.into_iter().next().unwrap()
}

fn timer() -> Timer {
    Timer {
        unit: "logrotate.timer".to_owned(),
        description: "Daily rotation of log files".to_owned(),
        starts: "logrotate.service".to_owned(),
        path: "/lib/systemd/system/logrotate.timer".to_owned(),
        is_active: true,
        calendar: vec!["*-*-* 00:00:00".to_owned()],
        is_persistent: true,
        ..Timer::default()
    }
}

#[test]
fn a_line_runs_as_cron_would_have_run_it() {
    let text = "SHELL=/bin/bash\nPATH=/opt/bin:/bin\nMAILTO=joe@example.com\nA = b c\n\
                30 2 * * * backup --all > /dev/null 2>&1\n";
    let found = only(text);
    assert_eq!(found.user.as_deref(), Some("joe"));
    assert_eq!(found.name, "backup");
    assert_eq!(
        found.run,
        ["/bin/bash", "-c", "backup --all > /dev/null 2>&1"]
    );
    let env: Vec<(&str, &str)> = (found.env.iter())
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        env,
        [
            ("A", "b c"),
            ("HOME", "/home/joe"),
            ("LOGNAME", "joe"),
            ("PATH", "/opt/bin:/bin"),
            ("SHELL", "/bin/bash"),
        ]
    );
    assert_eq!(found.working_dir, "/home/joe");
    assert_eq!((found.splay, found.catch_up), (Seconds(0), CatchUp::Skip));
    assert!(
        found
            .remarks
            .iter()
            .any(|r| r.contains("MAILTO=joe@example.com"))
    );
    assert!(
        found
            .replaces
            .to_string()
            .starts_with("crontab:joe#backup-")
    );
}

#[test]
fn what_stands_behind_a_percent_is_its_input() {
    let found = only("0 9 * * 1 mail -s hi joe%Hello,%%it's 50\\%.\n");
    assert_eq!(found.run[2], FEED);
    assert_eq!(
        found.run[3..],
        [
            "cron",
            "/bin/sh",
            "mail -s hi joe",
            "Hello,",
            "",
            "it's 50%."
        ]
    );
    let silent = only("0 9 * * 1 cat%\n");
    assert_eq!(silent.run, ["/bin/sh", "-c", "cat"]);
}

#[test]
fn what_no_service_can_do_is_left_with_the_reason() {
    let system = Table::File("/etc/cron.d/x".to_owned());
    for (line, expected) in [
        ("@reboot root x", "boots"),
        ("* * * * * nobody-here x", "does not know"),
        ("* * * * root", "cannot be read"),
        ("CRON_TZ=UTC\n* * * * * root x", "CRON_TZ"),
        ("SHELL=bash\n* * * * * root x", "no path"),
        ("LORECTL_X=1\n* * * * * root x", "LORECTL_X"),
        ("* * * * * root x\x07", "control"),
    ] {
        let (found, left) = of_text(&system, &format!("{line}\n"));
        assert!(found.is_empty(), "{line}");
        assert!(left[0].why.contains(expected), "{line}: {left:?}");
        assert!(left[0].what.starts_with("/etc/cron.d/x, line "), "{left:?}");
    }
    let (found, left) = of_text(&system, "* * * * * root x\n* * * * * root x\n");
    assert_eq!((found.len(), left.len()), (1, 1));
    assert!(left[0].why.contains("twice"));
}

#[test]
fn a_timer_s_service_is_started_as_it_is() {
    let found = of_timer(&timer(), Owner::System, "Europe/Paris").unwrap();
    let start = [
        "/usr/bin/systemctl",
        "start",
        "--wait",
        "--",
        "logrotate.service",
    ];
    assert_eq!(found.run, start);
    assert_eq!(found.replaces.to_string(), "systemd:logrotate.timer");
    assert_eq!(found.catch_up, CatchUp::Once);
    assert_eq!(
        found.schedule,
        Schedule::Cron {
            expression: "0 0 * * *".to_owned(),
            timezone: "Europe/Paris".to_owned(),
        }
    );
    let users = of_timer(&timer(), Owner::User("/run/user/7"), "UTC").unwrap();
    assert_eq!(users.run[1], "--user");
    assert_eq!(users.env["XDG_RUNTIME_DIR"], "/run/user/7");
    assert_eq!((users.user, users.is_confined), (None, false));
}

#[test]
fn a_timer_that_cannot_be_expressed_is_left_with_the_reason() {
    type Edit = fn(&mut Timer);
    let second: u64 = 1_000_000;
    let table: [(Edit, &str); 12] = [
        (|t| t.calendar.clear(), "no trigger"),
        (|t| t.calendar.push("*-*-* 12:00:00".to_owned()), "several"),
        (
            |t| t.monotonic.push(("OnBootUSec".to_owned(), 1)),
            "several",
        ),
        (|t| t.is_active = false, "not up"),
        (|t| t.wakes = true, "WakeSystem"),
        (
            |t| t.path = "/run/systemd/transient/x.timer".to_owned(),
            "outlive",
        ),
        (|t| t.path.clear(), "outlive"),
        (|t| t.starts = "backup.target".to_owned(), "no service"),
        (
            |t| t.unit = "systemd-tmpfiles-clean.timer".to_owned(),
            "systemd's own",
        ),
        (
            |t| t.unit = "lorectl-acme.x.timer".to_owned(),
            "lorectl's own",
        ),
        (
            |t| t.calendar = vec!["*-*~01 00:00:00".to_owned()],
            "end of the month",
        ),
        (
            |t| t.calendar = vec!["*-*-* *:*:00/10".to_owned()],
            "within a minute",
        ),
    ];
    for (edit, expected) in table {
        let mut timer = timer();
        edit(&mut timer);
        let why = of_timer(&timer, Owner::System, "UTC").unwrap_err();
        assert!(why.contains(expected), "{expected}: {why}");
    }
    for (triggers, expected) in [
        (vec![("OnUnitActiveUSec", 3600 * second)], Ok(3600)),
        (
            vec![
                ("OnBootUSec", 600 * second),
                ("OnUnitActiveUSec", 600 * second),
            ],
            Ok(600),
        ),
        (
            vec![
                ("OnBootUSec", 900 * second),
                ("OnUnitActiveUSec", 86_400 * second),
            ],
            Err("several"),
        ),
        (vec![("OnBootUSec", 900 * second)], Err("once")),
        (vec![("OnUnitActiveUSec", 1500)], Err("fractions")),
        (
            vec![
                ("OnUnitInactiveUSec", 600 * second),
                ("OnUnitActiveUSec", 600 * second),
            ],
            Err("several"),
        ),
    ] {
        let mut timer = timer();
        timer.calendar.clear();
        timer.monotonic = (triggers.iter())
            .map(|(name, span)| ((*name).to_owned(), *span))
            .collect();
        let found = of_timer(&timer, Owner::System, "UTC");
        match (found, expected) {
            (Ok(found), Ok(every)) => {
                assert_eq!(
                    found.schedule,
                    Schedule::Every(Seconds(every)),
                    "{triggers:?}"
                );
            }
            (Err(why), Err(part)) => assert!(why.contains(part), "{triggers:?}: {why}"),
            (found, _) => panic!("{triggers:?}: {found:?}"),
        }
    }
}

#[test]
fn every_service_has_a_name_of_its_own() {
    let called = |name: &str| Candidate {
        name: name.to_owned(),
        ..only("* * * * * x\n")
    };
    let found = ["pg_dump@15-main", "Weird.Name", "", "---", "x", "x", "x-2"];
    let found = found.map(called).to_vec();
    let taken = ["x".parse().unwrap()].into();
    let names: Vec<String> = (name_all(found, taken).iter())
        .map(|(name, _)| name.to_string())
        .collect();
    let expected = [
        "pg_dump-15-main",
        "weird-name",
        "job",
        "job-2",
        "x-2",
        "x-3",
        "x-2-2",
    ];
    assert_eq!(names, expected);
}

proptest::proptest! {
    #[test]
    fn no_table_panics_and_every_spec_of_one_is_sound(
        text in "([-*/,0-9a-z@%\\\\\"'= \t#]{0,40}\n|(\\*/[1-9]|[0-9]|\\*) \\* \\* \\* [0-7] joe [ -~\t]{1,30}\n){0,5}",
        names_users: bool,
    ) {
        let table = if names_users {
            Table::File("/etc/crontab".to_owned())
        } else {
            Table::User("joe".to_owned())
        };
        let (found, left) = of_text(&table, &text);
        let named = name_all(found, BTreeSet::new());
        let project = "acme".parse().unwrap();
        let spec = super::super::text::spec(&project, "web1", &named, &left);
        let parsed: toml::Table = toml::from_str(&spec).unwrap();
        if let Some(services) = parsed.get("services").and_then(toml::Value::as_table) {
            for (name, service) in services {
                let raw: crate::service::spec::raw::RawService =
                    service.clone().try_into().unwrap();
                let problems = crate::service::spec::check::check(&raw, None);
                proptest::prop_assert!(problems.is_empty(), "{name}: {problems:?}");
            }
        }
    }
}
