//! What timers and crontabs ran before is taken over, and nothing runs twice.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    Test,
    host::{Host, account, run},
};

/// On the system's manager.
pub const SYSTEM: &[Test] = &[
    ("a_host_is_adopted_and_each_job_runs_once", adopted),
    ("what_a_service_replaces_comes_back_with_an_undo", undone),
    ("what_a_service_replaces_is_part_of_its_drift", drifted),
    ("one_job_is_imported", imported),
];

/// Timers of Debian 12: package, unit, and what its `[Timer]` says.
const TIMERS: &[(&str, &str, &str)] = &[
    (
        "anacron",
        "anacron",
        "OnCalendar=*-*-* 07..23:30;RandomizedDelaySec=5m;Persistent=true",
    ),
    (
        "apt",
        "apt-daily-upgrade",
        "OnCalendar=*-*-* 6:00;RandomizedDelaySec=60m;Persistent=true",
    ),
    (
        "apt",
        "apt-daily",
        "OnCalendar=*-*-* 6,18:00;RandomizedDelaySec=12h;Persistent=true",
    ),
    (
        "borgmatic",
        "borgmatic",
        "OnCalendar=daily;Persistent=true;RandomizedDelaySec=3h",
    ),
    (
        "btrfsmaintenance",
        "btrfs-balance",
        "OnCalendar=monthly;AccuracySec=1h;Persistent=true",
    ),
    (
        "btrfsmaintenance",
        "btrfs-defrag",
        "OnCalendar=monthly;AccuracySec=1h;Persistent=true",
    ),
    (
        "btrfsmaintenance",
        "btrfs-scrub",
        "OnCalendar=monthly;AccuracySec=1h;Persistent=true",
    ),
    (
        "btrfsmaintenance",
        "btrfs-trim",
        "OnCalendar=monthly;AccuracySec=1h;Persistent=true",
    ),
    (
        "certbot",
        "certbot",
        "OnCalendar=*-*-* 00,12:00:00;RandomizedDelaySec=43200;Persistent=true",
    ),
    ("dpkg", "dpkg-db-backup", "OnCalendar=daily"),
    (
        "e2fsprogs",
        "e2scrub_all",
        "OnCalendar=Sun *-*-* 03:10:00;RandomizedDelaySec=60;Persistent=true",
    ),
    (
        "exim4-base",
        "exim4-base",
        "OnCalendar=daily;AccuracySec=12h;Persistent=true",
    ),
    (
        "fwupd",
        "fwupd-refresh",
        "OnCalendar=*-*-* 6,18:00;RandomizedDelaySec=12h;Persistent=true",
    ),
    (
        "logrotate",
        "logrotate",
        "OnCalendar=daily;AccuracySec=1h;Persistent=true",
    ),
    (
        "lynis",
        "lynis",
        "OnCalendar=daily;RandomizedDelaySec=1800;Persistent=false",
    ),
    (
        "man-db",
        "man-db",
        "OnCalendar=daily;RandomizedDelaySec=12h;Persistent=true",
    ),
    ("mdadm", "mdcheck_continue", "OnCalendar= 1:05:00"),
    ("mdadm", "mdmonitor-oneshot", "OnCalendar= 2:00:00"),
    (
        "ntpsec-ntpviz",
        "ntpviz-daily",
        "OnCalendar=*:53:00;Persistent=true",
    ),
    (
        "ntpsec-ntpviz",
        "ntpviz-weekly",
        "OnCalendar=11,23:45:00;Persistent=true",
    ),
    (
        "ntpsec",
        "ntpsec-rotate-stats",
        "OnCalendar=*-*-* 06:25:00;Persistent=true",
    ),
    (
        "php-common",
        "phpsessionclean",
        "OnCalendar=*-*-* *:09,39:00;Persistent=true",
    ),
    (
        "plocate",
        "plocate-updatedb",
        "OnCalendar=daily;RandomizedDelaySec=12h;Persistent=true",
    ),
    (
        "podman",
        "podman-auto-update",
        "OnCalendar=daily;RandomizedDelaySec=900;Persistent=true",
    ),
    ("snapper", "snapper-timeline", "OnCalendar=hourly"),
    (
        "spamassassin",
        "spamassassin-maintenance",
        "OnCalendar=*-*-* 6:00;RandomizedDelaySec=60m",
    ),
    ("sysstat", "sysstat-collect", "OnCalendar=*:00/10"),
    ("sysstat", "sysstat-summary", "OnCalendar=00:07:00"),
    (
        "util-linux",
        "fstrim",
        "OnCalendar=weekly;AccuracySec=1h;Persistent=true;RandomizedDelaySec=6000",
    ),
];

/// Timers of Debian 12 that no schedule says: the same, and a word of the reason.
const LEFT_TIMERS: &[(&str, &str, &str, &str)] = &[
    (
        "chkrootkit",
        "chkrootkit",
        "OnBootSec=30min;OnUnitActiveSec=24h",
        "several triggers",
    ),
    (
        "etckeeper",
        "etckeeper",
        "OnBootSec=15min;OnUnitActiveSec=1d",
        "several triggers",
    ),
    (
        "mdadm",
        "mdcheck_start",
        "OnCalendar=Sun *-*-1..7 1:00:00",
        "both",
    ),
    ("snapper", "snapper-boot", "OnBootSec=1h", "once"),
];

/// Files of `/etc/cron.d` of Debian 12, by package: what they run, and how many of their lines a service
/// can stand for.
const CRONTABS: &[(&str, &str, usize)] = &[
    (
        "anacron",
        "SHELL=/bin/sh\nPATH=/usr/local/sbin:/usr/local/bin:/sbin:/bin:/usr/sbin:/usr/bin\n\
         30 7-23 * * *   root\t[ -x /etc/init.d/anacron ] && if [ ! -d /run/systemd/system ]; then \
         /usr/sbin/invoke-rc.d anacron start >/dev/null; fi\n",
        1,
    ),
    (
        "awstats",
        "MAILTO=root\n*/10 * * * * www-data [ -x /usr/share/awstats/tools/update.sh ] && \
         /usr/share/awstats/tools/update.sh\n",
        1,
    ),
    (
        "backupninja",
        "PATH=/usr/local/sbin:/usr/local/bin:/sbin:/bin:/usr/sbin:/usr/bin\n\n\
         0 * * * * root if [ -x /usr/sbin/backupninja ]; then /usr/sbin/backupninja; fi\n",
        1,
    ),
    (
        "cron-apt",
        "0 4\t* * *\troot\ttest -x /usr/sbin/cron-apt && /usr/sbin/cron-apt\n",
        1,
    ),
    (
        "logcheck",
        "MAILTO=root\n\
         @reboot         logcheck    if [ -x /usr/sbin/logcheck ]; then nice -n10 /usr/sbin/logcheck -R; fi\n\
         2 * * * *       logcheck    if [ -x /usr/sbin/logcheck ]; then nice -n10 /usr/sbin/logcheck; fi\n",
        0,
    ),
    (
        "mailman3",
        "# mailman\n0  8 * * *  list\tif [ -x /usr/bin/mailman ]; then /usr/bin/mailman notify; fi\n\
         0 12 * * *  list\tif [ -x /usr/bin/mailman ]; then /usr/bin/mailman digests --periodic; fi\n",
        2,
    ),
    (
        "mdadm",
        "57 0 * * 0 root if [ -x /usr/share/mdadm/checkarray ] && [ $(date +\\%d) -le 7 ]; then \
         /usr/share/mdadm/checkarray --cron --all --idle --quiet; fi\n",
        1,
    ),
    (
        "php",
        "09,39 *     * * *     root   [ -x /usr/lib/php/sessionclean ] && if [ ! -d \
         /run/systemd/system ]; then /usr/lib/php/sessionclean; fi\n",
        1,
    ),
    (
        "sysstat",
        "PATH=/usr/lib/sysstat:/usr/sbin:/usr/sbin:/usr/bin:/sbin:/bin\n\n\
         5-55/10 * * * * root command -v debian-sa1 > /dev/null && debian-sa1 1 1\n\
         59 23 * * * root command -v debian-sa1 > /dev/null && debian-sa1 60 2\n",
        2,
    ),
];

/// Where the test's timers are, as an administrator's own are.
const UNITS: &str = "/usr/local/lib/systemd/system";
/// Where our jobs write the minute in which they run.
const TICKS: &str = "/var/tmp/lorectl-ticks";
/// The table of a user.
const SPOOL: &str = "/var/spool/cron/crontabs/ticker";

fn unit(name: &str, timer: &str, exec: &str) {
    fs::create_dir_all(UNITS).unwrap();
    let timer = timer.replace(';', "\n");
    let path = Path::new(UNITS).join(name);
    fs::write(
        path.with_extension("timer"),
        format!("[Unit]\nDescription=Timer of {name}\n[Timer]\n{timer}\n[Install]\nWantedBy=timers.target\n"),
    )
    .unwrap();
    let service = format!("[Service]\nType=oneshot\nEnvironment=FROM=unit\nExecStart={exec}\n");
    fs::write(path.with_extension("service"), service).unwrap();
}

fn enable(host: &Host, names: &[&str]) {
    host.systemctl(&["daemon-reload"]);
    let timers: Vec<String> = names.iter().map(|name| format!("{name}.timer")).collect();
    let mut args = vec!["enable", "--now"];
    args.extend(timers.iter().map(String::as_str));
    host.systemctl(&args);
}

fn is(host: &Host, what: &str, timer: &str) -> String {
    let output = host.command("systemctl").args([what, timer]).output();
    String::from_utf8(output.unwrap().stdout)
        .unwrap()
        .trim()
        .to_owned()
}

/// How a timer stands.
pub fn stands(host: &Host, timer: &str) -> (String, String) {
    (is(host, "is-enabled", timer), is(host, "is-active", timer))
}

fn is_retired(host: &Host, timer: &str) -> bool {
    is(host, "is-enabled", timer) == "disabled" && is(host, "is-active", timer) == "inactive"
}

fn minute() -> String {
    run("date", &["+%H:%M"]).trim().to_owned()
}

/// How often a job ran in a minute.
fn ticks(job: &str, minute: &str) -> usize {
    let text = fs::read_to_string(Path::new(TICKS).join(job)).unwrap_or_default();
    text.lines().filter(|line| *line == minute).count()
}

fn tick(job: &str) -> String {
    format!("date +\\%H:\\%M >> {TICKS}/{job}")
}

#[track_caller]
fn poll_for(what: &str, seconds: u64, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Timers and tables of Debian, and four jobs of our own that run each minute: the one line of ours in
/// `/etc/cron.d`, and a user's table.
fn arrange(host: &Host) -> (String, String) {
    for (_, name, timer) in TIMERS {
        unit(name, timer, "/bin/true");
    }
    for (_, name, timer, _) in LEFT_TIMERS {
        unit(name, timer, "/bin/true");
    }
    for (package, text, _) in CRONTABS {
        fs::write(Path::new("/etc/cron.d").join(package), text).unwrap();
    }
    fs::write("/etc/cron.d/skipped.dpkg-old", "* * * * * root false\n").unwrap();
    // Jobs of our own, each minute: a timer, a system's table, a user's with input and variables.
    run("mkdir", &["-p", "-m", "1777", TICKS]);
    unit(
        "tick",
        "OnCalendar=*:*:00;AccuracySec=1us",
        &format!("/bin/sh -c 'test $FROM = unit && date +%%H:%%M >> {TICKS}/timer'"),
    );
    let system = format!("* * * * * root {}\n", tick("system"));
    fs::write("/etc/cron.d/tick", &system).unwrap();
    if account("ticker").is_none() {
        run("useradd", &["--create-home", "ticker"]);
    }
    let table = format!(
        "# mine\nSHELL=/bin/bash\nGREETING = 'two words'\n@reboot /bin/false\n\
         */1 * * * * [[ $GREETING = 'two words' && $PWD = $HOME && $(id -un) = $LOGNAME ]] && {}\n\
         * * * * * read a; read b; [ \"$a$b\" = 'x\\%y' ] && {}%x\\%%y\n",
        tick("user"),
        tick("input")
    );
    host.write(&host.dir.join("table"), &table);
    run(
        "crontab",
        &[
            "-u",
            "ticker",
            &host.dir.join("table").display().to_string(),
        ],
    );
    let before = fs::read_to_string(SPOOL).unwrap();
    let mut names: Vec<&str> = TIMERS.iter().map(|(_, name, _)| *name).collect();
    names.extend(LEFT_TIMERS.iter().map(|(_, name, ..)| *name));
    names.push("tick");
    enable(host, &names);
    host.systemctl(&["start", "cron.service"]);
    (system, before)
}

/// In the first whole minute after `applied`, each of our jobs ran once; the next one begins with more.
fn each_ran_once(applied: &str) {
    let jobs = ["timer", "system", "user", "input"];
    poll_for("the minute to end", 70, || minute() != applied);
    let whole = minute();
    // Whoever would run a job twice does so within the minute.
    poll_for("the next minute's runs", 130, || {
        let now = minute();
        now != whole && jobs.iter().all(|job| ticks(job, &now) > 0)
    });
    for job in jobs {
        assert_eq!(ticks(job, &whole), 1, "{job} in {whole}");
    }
}

fn adopted(host: &Host) {
    let (system, before) = arrange(host);
    let spool = Path::new(SPOOL);
    let init = ["init", "--from-host", "--json", "--project", &host.project];
    let written = host.lorectl(&init).exits(0).data();
    let services = written["found"]["services"].as_u64().unwrap();
    let lines: usize = CRONTABS.iter().map(|(.., lines)| lines).sum();
    let services = usize::try_from(services).unwrap();
    assert!(services >= TIMERS.len() + lines + 4, "{written}");
    let left = written["found"]["left"].as_array().unwrap();
    let why = |what: &str| -> String {
        let found = left
            .iter()
            .find(|left| left["what"].as_str().unwrap().contains(what));
        found.unwrap_or_else(|| panic!("{what} is not left: {written}"))["why"].to_string()
    };
    for (_, name, _, reason) in LEFT_TIMERS {
        assert!(
            why(&format!("{name}.timer")).contains(reason),
            "{name}: {written}"
        );
    }
    assert!(why("@reboot /bin/false").contains("boots"));
    assert!(why("logcheck; fi").contains("does not know"));
    assert!(why("skipped.dpkg-old").contains("cron skips"));
    let spec = fs::read_to_string(host.dir.join("lore.toml")).unwrap();
    for (_, name, _) in TIMERS {
        assert!(
            spec.contains(&format!("replaces = \"systemd:{name}.timer\"")),
            "{name}\n{spec}"
        );
    }
    host.lorectl(&["validate"]).exits(0);

    host.apply();
    host.converged();
    let after = minute();
    for name in TIMERS.iter().map(|(_, name, _)| *name).chain(["tick"]) {
        assert!(is_retired(host, &format!("{name}.timer")), "{name}");
    }
    for (_, name, ..) in LEFT_TIMERS {
        assert_eq!(is(host, "is-enabled", &format!("{name}.timer")), "enabled");
    }
    let taken = fs::read_to_string("/etc/cron.d/tick").unwrap();
    assert!(
        taken.starts_with("# taken over by lorectl (") && taken.ends_with(&system),
        "{taken}"
    );
    let table = fs::read_to_string(spool).unwrap();
    assert_eq!(table.lines().count(), before.lines().count());
    for (now, was) in table.lines().zip(before.lines()) {
        let retired = now.starts_with("# taken over by lorectl (") && now.ends_with(was);
        assert_eq!(retired, was.starts_with('*'), "{now}");
        assert!(retired || now == was, "{now}");
    }
    let owner = run("stat", &["-c", "%U:%G %a", &spool.display().to_string()]);
    assert_eq!(owner.trim(), "ticker:crontab 600");

    each_ran_once(&after);
    host.lorectl(&["destroy", "-y"]).exits(0);
    assert!(
        is_retired(host, "tick.timer"),
        "nothing that was deleted begins to run"
    );
    host.systemctl(&["stop", "cron.service"]);
}

/// A service that takes the place of a timer, one of a line, and one that fails and takes both along.
pub fn story(host: &Host, fails: bool) -> (String, String) {
    let name = format!("old-{}", host.project);
    unit(&name, "OnCalendar=daily", "/bin/true");
    enable(host, &[&name]);
    let path = format!("/etc/cron.d/{}", host.project);
    let line = "7 3 * * * root /bin/true --line";
    fs::write(&path, format!("# kept\n{line}\nA=b\n")).unwrap();
    run("chmod", &["640", &path]);
    let digest = run(
        "sh",
        &[
            "-c",
            &format!("printf '%s' '{line}' | sha256sum | cut -c1-8"),
        ],
    );
    let line = format!("\"crontab:{path}#true-{}\"", digest.trim());
    let mut jobs = vec![
        host.job("line").with("replaces", &line),
        host.job("timer")
            .with("replaces", &format!("\"systemd:{name}.timer\"")),
    ];
    if fails {
        let gone = "\"crontab:/etc/crontab#gone-00000000\"";
        jobs.push(
            host.job("bad")
                .with("depends_on", r#"["service.line", "service.timer"]"#)
                .with("replaces", gone),
        );
    }
    host.spec(&jobs);
    (format!("{name}.timer"), path)
}

/// What was printed, however it was wrapped.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn undone(host: &Host) {
    let (timer, path) = story(host, true);
    let table = fs::read_to_string(&path).unwrap();
    fs::write("/etc/crontab", "# system-wide\n").unwrap();
    let failed = host.lorectl(&["apply", "-y"]).exits(1);
    assert!(
        words(&failed.stdout).contains("is not there any more"),
        "{failed:?}"
    );
    assert_eq!(is(host, "is-enabled", &timer), "enabled");
    assert_eq!(is(host, "is-active", &timer), "active");
    assert_eq!(fs::read_to_string(&path).unwrap(), table);
    assert_eq!(run("stat", &["-c", "%a", &path]).trim(), "640");
    assert_eq!(host.residue(), Vec::<String>::new());
}

fn drifted(host: &Host) {
    let (timer, path) = story(host, false);
    let table = fs::read_to_string(&path).unwrap();
    let plan = host.lorectl(&["plan"]).exits(0);
    assert!(
        plan.stdout.contains(&format!("retires the timer {timer}")),
        "{plan:?}"
    );
    assert!(
        plan.stdout.contains(&format!("retires a line of {path}")),
        "{plan:?}"
    );
    host.apply();
    host.converged();
    assert!(is_retired(host, &timer));
    let retired = fs::read_to_string(&path).unwrap();

    host.systemctl(&["enable", "--now", &timer]);
    fs::write(&path, &table).unwrap();
    let (status, drift) = host.drift();
    assert_eq!(status, 2, "{drift}");
    let fields = drift.to_string();
    assert!(
        fields.contains("is enabled and up") && fields.contains("is in place"),
        "{drift}"
    );
    host.apply();
    host.converged();
    assert!(is_retired(host, &timer));
    assert_eq!(fs::read_to_string(&path).unwrap(), retired);

    // A comment that somebody clears away is no drift: the line does not run.
    fs::write(&path, "# kept\n").unwrap();
    host.converged();
    let gone = host.lorectl(&["destroy", "-y"]).exits(0);
    let hint = format!("systemctl enable --now {timer}");
    assert!(words(&gone.stdout).contains(&hint), "{gone:?}");
    assert!(is_retired(host, &timer));
}

fn imported(host: &Host) {
    let name = format!("one-{}", host.project);
    unit(
        &name,
        "OnCalendar=Mon..Fri 09:30;Persistent=true",
        &format!("/bin/touch /run/{name}"),
    );
    enable(host, &[&name]);
    host.spec(&[host.job("other")]);
    let id = format!("systemd:{name}.timer");
    let printed = host
        .lorectl(&["import", "service.one", &id, "--print"])
        .exits(0);
    assert!(
        printed.stdout.contains("cron = \"30 9 * * 1-5\""),
        "{printed:?}"
    );
    let data: Value = host
        .lorectl(&["import", "service.one", &id, "--json"])
        .exits(0)
        .data();
    assert_eq!(data["replaces"], id);
    host.lorectl(&["import", "service.one", &id]).exits(64);
    let unknown = host
        .lorectl(&["import", "service.two", "systemd:nothing.timer"])
        .exits(64);
    assert!(
        unknown.stderr.contains(&id),
        "what there is is named: {unknown:?}"
    );
    host.apply();
    host.converged();
    assert!(is_retired(host, &format!("{name}.timer")));
    let mut ran = host.command("/usr/local/bin/lorectl");
    assert!(
        ran.args(["service", "trigger", "one"])
            .status()
            .unwrap()
            .success()
    );
    assert!(Path::new("/run").join(&name).exists());
}
