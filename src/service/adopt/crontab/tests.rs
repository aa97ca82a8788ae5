use super::{super::id::Table, *};

fn jobs(text: &str, names_users: bool) -> Vec<Job> {
    let entries = parse(text, names_users).into_iter();
    let jobs = entries.filter_map(|entry| match entry {
        Entry::Job(job) => Some(job),
        Entry::Unread { .. } => None,
    });
    jobs.collect()
}

fn only(line: &str) -> Job {
    let jobs = jobs(line, false);
    assert_eq!(jobs.len(), 1, "{line}");
    jobs.into_iter().next().unwrap()
}

#[test]
fn times_are_five_fields_or_a_nickname() {
    for (line, when) in [
        (
            "*/5 0-6/2 1,15 jan-MAR Mon-Fri x",
            "*/5 0-6/2 1,15 jan-mar mon-fri",
        ),
        ("\t 0\t5 * *  7   x y", "0 5 * * 7"),
        ("@yearly x", "0 0 1 1 *"),
        ("@annually x", "0 0 1 1 *"),
        ("@monthly x", "0 0 1 * *"),
        ("@weekly x", "0 0 * * 0"),
        ("@daily x", "0 0 * * *"),
        ("@midnight\tx", "0 0 * * *"),
        ("@hourly x", "0 * * * *"),
    ] {
        assert_eq!(only(line).when, When::Cron(when.to_owned()), "{line}");
    }
    assert_eq!(only("@reboot x").when, When::Reboot);
}

#[test]
fn a_percent_is_a_newline_and_the_first_begins_the_input() {
    for (line, command, stdin) in [
        ("* * * * * date +\\%F", "date +%F", None),
        (
            "* * * * * mail joe%Hello%%Bye",
            "mail joe",
            Some("Hello\n\nBye\n"),
        ),
        ("* * * * * cat%50\\% off%", "cat", Some("50% off\n")),
        ("* * * * * cat%", "cat", Some("")),
        (r"* * * * * printf 'a\n'", r"printf 'a\n'", None),
        (r"* * * * * echo \\%in", r"echo \", Some("in\n")),
        (r"* * * * * cat%a\b\", "cat", Some("a\\b\\\n")),
    ] {
        let job = only(line);
        assert_eq!(job.command, command, "{line}");
        assert_eq!(job.stdin.as_deref(), stdin, "{line}");
    }
}

#[test]
fn variables_hold_for_the_lines_below_them() {
    let text = "SHELL=/bin/bash\n  MAILTO = \"\"\n'GREETING'= \"a b \"\n* * * * * one\n\
                # SHELL=/bin/none\nSHELL=/bin/dash \n* * * * * two X=1 y\n";
    let jobs = jobs(text, false);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        jobs[0].env,
        [
            pair("SHELL", "/bin/bash"),
            pair("MAILTO", ""),
            pair("GREETING", "a b "),
        ]
    );
    assert!(jobs[1].env.contains(&pair("SHELL", "/bin/dash")));
    assert_eq!(jobs[1].env.len(), 3);
    assert_eq!(jobs[1].command, "two X=1 y");
}

#[test]
fn a_system_table_names_users() {
    let text = "17 *\t* * *\troot\tcd / && run-parts --report /etc/cron.hourly\n";
    let jobs = jobs(text, true);
    assert_eq!(jobs[0].user.as_deref(), Some("root"));
    assert_eq!(
        jobs[0].command,
        "cd / && run-parts --report /etc/cron.hourly"
    );
}

#[test]
fn what_cannot_be_read_is_told_with_its_line() {
    let bad = [
        ("* * * *", false, "fewer than five"),
        ("* * * * *", false, "runs nothing"),
        ("61 * * * * x", false, "0 to 59"),
        ("@fortnightly x", false, "no time"),
        ("@daily", false, "runs nothing"),
        ("0~30 * * * * x", false, "minute"),
        ("* * * * * root", true, "runs nothing"),
        ("* * * * * ", true, "names no user"),
        ("hello world", false, "fewer than five"),
    ];
    for (line, names_users, expected) in bad {
        match parse(&format!("\n{line}\n"), names_users).as_slice() {
            [
                Entry::Unread {
                    reason, number: 2, ..
                },
            ] => {
                assert!(reason.contains(expected), "{line}: {reason}");
            }
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn a_line_is_retired_and_given_back_and_no_other_is_touched() {
    let line = "*/5 * * * * /usr/bin/sync";
    let id = LineId::of(Table::User("joe".to_owned()), line, "/usr/bin/sync");
    let text = format!("# mine\nA=b\r\n{line}\n{line} --all\n\n  {line}");
    let off = retire(&text, &id, "acme, service.sync");
    assert_eq!(
        off,
        format!(
            "# mine\nA=b\r\n# taken over by lorectl (acme, service.sync): {line}\n{line} --all\n\n\
             # taken over by lorectl (acme, service.sync):   {line}"
        )
    );
    assert_eq!(standing(&text, &id), Standing::Live);
    assert_eq!(standing(&off, &id), Standing::Retired);
    assert_eq!(standing("# none\n", &id), Standing::Missing);
    assert_eq!(standing(&format!("# {line}\n"), &id), Standing::Missing);
    assert_eq!(retire(&off, &id, "acme, service.sync"), off);
    assert_eq!(give_back(&off, &id), text);
    assert_eq!(give_back(&text, &id), text);
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[-*/,0-9a-z@%\\\\\"'= \t\n#]{0,80}", names_users: bool) {
        parse(&text, names_users);
        parse(&format!("* * * * * {text}"), names_users);
    }

    #[test]
    fn retiring_and_giving_back_leaves_a_table_as_it_was(
        lines in proptest::collection::vec("[ -~]{0,20}", 1..6),
        at in 0_usize..6,
    ) {
        let text = lines.join("\n");
        let line = lines.get(at).cloned().unwrap_or_default();
        let id = LineId::of(Table::User("joe".to_owned()), &line, "x");
        let off = retire(&text, &id, "acme, service.x");
        proptest::prop_assert_ne!(standing(&off, &id), Standing::Live);
        proptest::prop_assert_eq!(give_back(&off, &id), text);
    }
}
