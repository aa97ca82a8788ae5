//! The text of a service's units: pure, and exact to the byte, since it is
//! compared with what is on the host.
//!
//! Quoting follows systemd.syntax(7), systemd.service(5) and systemd.exec(5);
//! where these leave a question, what v252 does.

use std::{
    borrow::Cow,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use crate::{
    error::{Code, Error, Result},
    id::{ProjectName, ResourceId, ResourceName, Seconds},
    layout::Layout,
    service::{
        definition::{Schedule, Scheduler, Service},
        hardening,
        schedule::{self, calendar::calendar_candidates},
    },
};

/// The key in `[Unit]` that names the project of what we made. systemd ignores keys that begin with `X-`.
pub const MARK_PROJECT: &str = "X-Lorectl-Project";
/// The key in `[Unit]` that holds the resource's id.
pub const MARK_ID: &str = "X-Lorectl-Id";

/// From SIGTERM to SIGKILL, in seconds: the 30 that the runner gives its stages, and time to record them.
const STOP_SECONDS: u64 = 45;

/// A setting of a unit, and its value as it is written.
pub(super) type Setting<'a> = (&'a str, Cow<'a, str>);

/// What the units of a project have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitContext {
    /// The lorectl that units call: an absolute path.
    pub binary: PathBuf,
    /// Where the project's state is.
    pub layout: Layout,
}

/// `lorectl-PROJECT.NAME`, to which `.service` and `.timer` are added.
///
/// Neither part holds a dot, so no two pairs give the same name.
pub fn stem(project: &ProjectName, name: &ResourceName) -> String {
    format!("lorectl-{project}.{name}")
}

/// The mark of a unit: its project and id, if it carries both in `[Unit]`.
pub fn mark(text: &[u8]) -> Option<(&str, ResourceId)> {
    let (mut project, mut id, mut in_unit) = (None, None, false);
    for line in text.split(|byte| *byte == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else {
            continue;
        };
        let line = line.trim();
        if line.starts_with('[') {
            if in_unit {
                break;
            }
            in_unit = line == "[Unit]";
        } else if in_unit && let Some((key, value)) = line.split_once('=') {
            match key.trim_end() {
                MARK_PROJECT => project = Some(value.trim_start()),
                MARK_ID => id = Some(value.trim_start()),
                _other => {}
            }
        }
    }
    Some((project?, ResourceId::from_mark(id?)))
}

/// The service unit: what a wake-up runs.
///
/// # Errors
/// `SPEC_INVALID` for a text that no unit can hold (a line break, a NUL, a path that is not UTF-8).
pub fn render_service(service: &Service, context: &UnitContext) -> Result<String> {
    let mut settings: Vec<Setting<'_>> = vec![
        ("Type", "oneshot".into()),
        ("ExecStart", exec_start(service, context)?.into()),
    ];
    if service.scheduler == Scheduler::SystemdSystem
        && let Some(user) = &service.user
    {
        settings.push(("User", plain("user", user)?.into()));
    }
    // The dash: a directory that is gone or closed to the job is the runner's to report.
    let directory = plain("working_dir", utf8("working_dir", &service.working_dir)?)?;
    settings.push(("WorkingDirectory", format!("-{directory}").into()));
    settings.push(("TimeoutStartSec", seconds(service.patience()).into()));
    settings.push(("TimeoutStopSec", seconds(Seconds(STOP_SECONDS)).into()));
    // SIGTERM goes to the runner alone, which ends its stages in order; SIGKILL, later, to all.
    settings.push(("KillMode", "mixed".into()));
    settings.extend(hardening::settings(service, &context.layout)?);
    replace(&mut settings, service)?;
    for name in service.uses() {
        let path = context.layout.secret_value(name);
        let path = plain("the state directory", utf8("the state directory", &path)?)?;
        let file = format!("{name}:{path}").into();
        if service.sealed.contains(name) {
            settings.push(("LoadCredentialEncrypted", file));
            // Where the file is gone, the runner finds an empty line and names what is missing. v252 takes
            // no empty text for one, and nothing for a file that it cannot open: that fails the unit.
            settings.push(("SetCredential", format!("{name}:\\n").into()));
        } else {
            settings.push(("LoadCredential", file));
        }
    }

    let mut text = head(service, "runs")?;
    if !service.refreshes.is_empty() {
        // Wanted and not required: a run begins with the value there is, and says itself what is wrong.
        let unit = refresh_unit(&service.project, &service.name);
        for key in ["Wants", "After"] {
            let _ = writeln!(text, "{key}={unit}");
        }
    }
    let room = settings
        .iter()
        .map(|(key, value)| key.len() + value.len() + 2);
    text.reserve(room.sum::<usize>() + 64);
    // How often it runs is the runner's to say. systemd would refuse the sixth start in ten seconds,
    // with which a person who triggers it by hand, or an `every` of a second, is soon there.
    text.push_str("StartLimitIntervalSec=0\n");
    text.push_str("\n[Service]\n");
    for (key, value) in &settings {
        for piece in [key, "=", value, "\n"] {
            text.push_str(piece);
        }
    }
    Ok(text)
}

/// The name of the unit that renews what a service's runs are to get.
pub fn refresh_unit(project: &ProjectName, name: &ResourceName) -> String {
    format!("{}.refresh.service", stem(project, name))
}

/// The unit that renews what a run is to get, before it: as whoever applied, since the job's user has no
/// part in that. `None` where there is nothing to renew.
///
/// It is not hardened: a value is delivered wherever the spec says, and units are reloaded.
///
/// # Errors
/// As [`render_service`].
pub fn render_refresh(service: &Service, context: &UnitContext) -> Result<Option<String>> {
    if service.refreshes.is_empty() {
        return Ok(None);
    }
    let mut text = head(service, "renews tokens for")?;
    text.push_str("StartLimitIntervalSec=0\n\n[Service]\nType=oneshot\n");
    let _ = write!(
        text,
        "ExecStart={}",
        call(context, "credential refresh", &service.project)?
    );
    for name in &service.refreshes {
        let _ = write!(text, " {}", argument(name.as_str())?);
    }
    let _ = writeln!(text, "\nTimeoutStartSec={}", seconds(REFRESH));
    Ok(Some(text))
}

/// How long renewing may take: a minute for each of two waits for another process, then a request for a
/// value, those that ask what it is worth, the places it goes to, and telling others.
const REFRESH: Seconds = Seconds(240);

/// The timer unit: when the runner is woken.
///
/// The system only wakes the runner; the runner decides whether the service is due, with
/// [`lead`] as its tolerance. For `every` it is woken shortly after the timer starts (so that
/// what fell due while the host was off, or the timer was stopped, is caught up), then an
/// interval after that start (the first run of a new service) and an interval after each run.
/// So neither an apply nor a boot makes a job run that is not due. `OnBootSec=` would fire at
/// once on a host that is up for longer than that, and is not used.
///
/// A run that failed for now is made up for once its backoff is over. Nobody but the manager could set
/// a timer for that instant (the runner has its user's rights alone), so a timer whose schedule may be
/// sparser than `retry.base` also wakes the runner that long after it last ended: the first retry,
/// whose wait is `base`, is on time, a later one at most `base` late.
///
/// A `cron` is written as every instant in UTC at which it can be due, whatever offset its zone has:
/// systemd v252 skips or doubles local times where the offset changes.
///
/// # Errors
/// `SPEC_INVALID` as for [`render_service`].
pub fn render_timer(service: &Service, context: &UnitContext) -> Result<String> {
    let mut text = head(service, "wakes")?;
    text.push_str("\n[Timer]\n");
    match &service.schedule {
        Schedule::Every(every) => {
            let _ = writeln!(text, "OnActiveSec={}", seconds(lead(*every)));
            let _ = writeln!(text, "OnActiveSec={}", seconds(*every));
            let _ = writeln!(text, "OnUnitActiveSec={}", seconds(*every));
            if service.retry.base < *every {
                let _ = writeln!(text, "OnUnitInactiveSec={}", seconds(service.retry.base));
            }
            let _ = writeln!(text, "AccuracySec={}", seconds(accuracy(*every)));
        }
        Schedule::Cron { .. } => {
            // What was missed while the host was off is made up for soon after it is up.
            let _ = writeln!(text, "OnActiveSec={}", seconds(CATCH_UP));
            for candidate in calendar_candidates(&service.schedule) {
                let _ = writeln!(text, "OnCalendar={candidate}");
            }
            let _ = writeln!(text, "OnUnitInactiveSec={}", seconds(service.retry.base));
            let _ = writeln!(text, "AccuracySec=1s");
        }
    }
    if service.splay.0 > 0 {
        let _ = writeln!(text, "RandomizedDelaySec={}", seconds(service.splay));
    }
    let unit = stem(context.layout.project(), &service.name);
    let _ = writeln!(text, "Unit={unit}.service");
    text.push_str("\n[Install]\nWantedBy=timers.target\n");
    Ok(text)
}

/// How soon after its start the timer of a `cron` wakes the runner.
const CATCH_UP: Seconds = Seconds(60);

/// How soon after its start a timer wakes the runner: within the time by which the runner takes a
/// service for due, a second at least.
fn lead(every: Seconds) -> Seconds {
    schedule::lead(every).max(Seconds(1))
}

/// How exact a wake-up is: a sixtieth of the interval, between a second and a minute.
fn accuracy(every: Seconds) -> Seconds {
    Seconds((every.0 / 60).clamp(1, 60))
}

/// Comment and `[Unit]`, alike in both units.
fn head(service: &Service, verb: &str) -> Result<String> {
    let (project, name) = (&service.project, &service.name);
    let described = service.description.as_deref().unwrap_or(name.as_str());
    let description = plain("description", described)?;
    Ok(format!(
        "# Written by lorectl: {verb} service.{name} of project {project}.\n\
         # A change made here is drift, and undone by the next apply.\n\
         \n\
         [Unit]\n\
         Description={description}\n\
         {MARK_PROJECT}={project}\n\
         {MARK_ID}={}\n",
        service.id
    ))
}

fn exec_start(service: &Service, context: &UnitContext) -> Result<String> {
    Ok(format!(
        "{} {}",
        call(context, "service run", &service.project)?,
        argument(service.name.as_str())?,
    ))
}

/// The command line of a unit, but for what the command is about.
fn call(context: &UnitContext, command: &str, project: &ProjectName) -> Result<String> {
    let binary = utf8("lorectl's path", &context.binary)?;
    if !binary.starts_with('/') {
        return Err(invalid("lorectl's path", "is not absolute"));
    }
    Ok(format!(
        "{} {command}{}--project {}",
        program(binary)?,
        state_dir_words(&context.layout)?,
        argument(project.as_str())?,
    ))
}

const STATE_DIR: &str = " --state-dir ";

/// How the command line of a unit names its state directory, with a space at either end.
fn state_dir_words(layout: &Layout) -> Result<String> {
    let state_dir = utf8("the state directory", layout.state_dir())?;
    Ok(format!("{STATE_DIR}{} ", argument(state_dir)?))
}

/// Whether a service unit calls a runner of another state directory than this: a project of the same
/// name may be kept there.
pub fn is_kept_elsewhere(text: &[u8], layout: &Layout) -> bool {
    let text = String::from_utf8_lossy(text);
    let here = || state_dir_words(layout).is_ok_and(|here| text.contains(&here));
    text.contains(STATE_DIR) && !here()
}

/// The spec's `unit` map: each key replaces all lines of ours with that key.
fn replace<'a>(settings: &mut Vec<Setting<'a>>, service: &'a Service) -> Result<()> {
    for (key, values) in &service.unit {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if key.is_empty() || !key.chars().all(allowed) {
            return Err(invalid("a key of `unit`", "is not a setting's name"));
        }
        settings.retain(|(ours, _)| ours != key);
        for value in values {
            settings.push((key, one_line(key, value)?.into()));
        }
    }
    Ok(())
}

fn invalid(what: &str, why: &str) -> Error {
    Error::new(Code::SpecInvalid, format!("{what} {why}"))
}

/// A time span that means the same in every setting: seconds with their unit.
fn seconds(span: Seconds) -> String {
    format!("{}s", span.0)
}

/// A path as text.
pub(super) fn utf8<'a>(what: &str, path: &'a Path) -> Result<&'a str> {
    path.to_str()
        .ok_or_else(|| invalid(what, "is not UTF-8, which a unit must be"))
}

/// Refuses what would end the line, or the text. Other control characters pass: systemd keeps them.
fn refuse_breaks(what: &str, text: &str) -> Result<()> {
    if text.contains(['\n', '\r', '\0']) {
        return Err(invalid(what, "holds a line break or a NUL"));
    }
    Ok(())
}

/// A value taken as it stands: a trailing backslash would join the next line, but not before a space, which systemd drops.
fn one_line(what: &str, value: &str) -> Result<String> {
    refuse_breaks(what, value)?;
    let joins = if value.ends_with('\\') { " " } else { "" };
    Ok(format!("{value}{joins}"))
}

/// A value that is not split into words but has its `%` specifiers expanded.
fn plain(what: &str, value: &str) -> Result<String> {
    if value.trim() != value {
        return Err(invalid(
            what,
            "begins or ends with a space, which a unit cannot hold",
        ));
    }
    one_line(what, &value.replace('%', "%%"))
}

/// The program of a command line: specifiers count there, variables do not, and systemd v252 takes
/// no quote, backslash or control character in it, however it is escaped.
fn program(path: &str) -> Result<String> {
    if path.contains(['"', '\'', '\\']) || path.chars().any(char::is_control) {
        return Err(Error::new(
            Code::BinaryUnstable,
            format!("units cannot call {path:?}: systemd takes no quote, backslash or control character there"),
        )
        .suggest("Install lorectl as /usr/local/bin/lorectl, and apply with that one."));
    }
    Ok(format!("\"{}\"", path.replace('%', "%%")))
}

/// One argument of a command line, which reaches the program as it is given here.
fn argument(text: &str) -> Result<String> {
    refuse_breaks("the state directory", text)?;
    let escaped = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('%', "%%")
        .replace('$', "$$");
    Ok(format!("\"{escaped}\""))
}

/// One path of a list of paths. There a backslash is a backslash, so a quote is hidden by the other kind.
pub(super) fn path_word(what: &str, path: &Path) -> Result<String> {
    let text = utf8(what, path)?.replace('%', "%%");
    refuse_breaks(what, &text)?;
    Ok(format!("\"{}\"", text.replace('"', "\"'\"'\"")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::sink::UrlSource;
    use crate::service::definition::{
        Breaker, CatchUp, Classify, CredentialForm, CredentialUse, Criticality, ExitPolicy,
        Overlap, RUN_VERSION, Retry, Sandbox, Stage,
    };
    use proptest::prelude::*;

    fn service() -> Service {
        let project: ProjectName = "acme".parse().unwrap();
        Service {
            run_version: RUN_VERSION,
            project,
            name: "sync".parse().unwrap(),
            id: ResourceId::from_mark("0123456789ab"),
            description: Some("Mirrors the tracker".to_owned()),
            scheduler: Scheduler::SystemdSystem,
            user: Some("root".to_owned()),
            schedule: Schedule::Every(Seconds(1800)),
            splay: Seconds(60),
            overlap: Overlap::Skip,
            catch_up: CatchUp::Once,
            timeout: Seconds(900),
            working_dir: PathBuf::from("/srv/spec"),
            env: [].into(),
            credentials: [].into(),
            refreshes: std::collections::BTreeSet::new(),
            sealed: std::collections::BTreeSet::new(),
            write_paths: vec![PathBuf::from("/srv/mirror")],
            replaces: None,
            lock: None,
            profile: None,
            stages: vec![Stage {
                name: "main".parse().unwrap(),
                run: vec!["/usr/bin/git".to_owned(), "fetch".to_owned()],
                timeout: None,
                criticality: Criticality::Core,
            }],
            retry: Retry {
                base: Seconds(1800),
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

    fn context(state_dir: &str) -> UnitContext {
        UnitContext {
            binary: PathBuf::from("/usr/local/bin/lorectl"),
            layout: Layout::new(PathBuf::from(state_dir), "acme".parse().unwrap()),
        }
    }

    fn rendered(service: &Service) -> String {
        render_service(service, &context("/var/lib/lorectl")).unwrap()
    }

    /// The values of a key, in order.
    fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
        let value = |line: &'a str| line.strip_prefix(key)?.strip_prefix('=');
        unit.lines().filter_map(value).collect()
    }

    #[test]
    fn the_units_of_each_level() {
        let mut service = service();
        let context = context("/var/lib/lorectl");
        insta::with_settings!({
            snapshot_path => concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"),
            prepend_module_to_snapshot => false,
        }, {
            insta::assert_snapshot!("unit-strict", rendered(&service));
            insta::assert_snapshot!("unit-timer", render_timer(&service, &context).unwrap());
            service.sandbox = Sandbox::Basic;
            service.scheduler = Scheduler::SystemdUser;
            service.user = None;
            insta::assert_snapshot!("unit-basic-user", rendered(&service));
        });
        service.sandbox = Sandbox::Off;
        assert!(!rendered(&service).contains("Protect"));
    }

    #[test]
    fn a_mark_is_read_from_the_unit_section_alone() {
        let service = service();
        let text = rendered(&service);
        let (project, id) = mark(text.as_bytes()).unwrap();
        assert_eq!((project, &id), ("acme", &service.id));
        for other in [
            "",
            "[Unit]\nX-Lorectl-Project=acme\n",
            "[Service]\nX-Lorectl-Project=acme\nX-Lorectl-Id=0123456789ab\n",
            "X-Lorectl-Project=acme\nX-Lorectl-Id=0123456789ab\n",
            "[Unit]\n#X-Lorectl-Project=acme\nX-Lorectl-Id=0123456789ab\n",
        ] {
            assert_eq!(mark(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn what_is_special_to_systemd_is_escaped() {
        for (given, expected) in [
            ("/a b", r#""/a b""#),
            ("/%h", r#""/%%h""#),
            ("/$HOME", r#""/$$HOME""#),
            ("/${HOME}", r#""/$${HOME}""#),
            (r"/a\b", r#""/a\\b""#),
            (r#"/a"b"#, r#""/a\"b""#),
            ("/a;b", r#""/a;b""#),
            (";", r#"";""#),
            (r"/end\", r#""/end\\""#),
        ] {
            assert_eq!(argument(given).unwrap(), expected, "{given}");
        }
        let word = |path: &str| path_word("a path", Path::new(path)).unwrap();
        assert_eq!(word("/a b"), r#""/a b""#);
        assert_eq!(word("/%h"), r#""/%%h""#);
        assert_eq!(word(r#"/a"b"#), r#""/a"'"'"b""#);
        assert_eq!(word(r"/a\"), r#""/a\""#);
    }

    #[test]
    fn what_no_unit_can_hold_is_refused() {
        let refused = |change: fn(&mut Service)| {
            let mut service = service();
            change(&mut service);
            let error = render_service(&service, &context("/var/lib/lorectl")).unwrap_err();
            assert_eq!(error.code, Code::SpecInvalid);
        };
        refused(|s| s.description = Some("a\nExecStartPre=/bin/evil".to_owned()));
        refused(|s| s.description = Some("a\rb".to_owned()));
        refused(|s| s.user = Some("root\n".to_owned()));
        refused(|s| s.working_dir = PathBuf::from("/a\nb"));
        refused(|s| s.working_dir = PathBuf::from("/ends with a space "));
        refused(|s| s.write_paths = vec![PathBuf::from("/a\0b")]);
        refused(|s| s.unit = [("Nice".to_owned(), vec!["1\nUser=x".to_owned()])].into());
        refused(|s| s.unit = [("Nice=1\nUser".to_owned(), vec!["x".to_owned()])].into());
        let error = render_service(&service(), &context("/a\nb")).unwrap_err();
        assert_eq!(error.code, Code::SpecInvalid);
        for path in ["/opt/it's/lorectl", "/opt/a\\b", "/opt/a\"b", "/opt/a\tb"] {
            let mut context = context("/var/lib/lorectl");
            context.binary = PathBuf::from(path);
            let error = render_service(&service(), &context).unwrap_err();
            assert_eq!(error.code, Code::BinaryUnstable, "{path}");
        }
    }

    #[test]
    fn a_trailing_backslash_joins_nothing() {
        let mut service = service();
        service.description = Some("ends with \\".to_owned());
        service.unit = [("SyslogIdentifier".to_owned(), vec!["x\\".to_owned()])].into();
        for line in rendered(&service).lines() {
            assert!(!line.ends_with('\\'), "{line}");
        }
    }

    #[test]
    fn what_a_run_is_to_get_is_renewed_by_a_unit_of_its_own() {
        let mut service = service();
        assert_eq!(
            render_refresh(&service, &context("/var/lib/lorectl")).unwrap(),
            None
        );
        assert!(!rendered(&service).contains("refresh"));
        service.refreshes = ["app", "hub"].map(|name| name.parse().unwrap()).into();
        let unit = rendered(&service);
        let name = "lorectl-acme.sync.refresh.service";
        assert_eq!(values(&unit, "Wants"), [name]);
        assert_eq!(values(&unit, "After"), [name]);
        let text = render_refresh(&service, &context("/var/lib/lorectl"))
            .unwrap()
            .unwrap();
        assert_eq!(mark(text.as_bytes()), mark(unit.as_bytes()));
        let call = values(&text, "ExecStart");
        assert_eq!(
            call,
            [
                "\"/usr/local/bin/lorectl\" credential refresh --state-dir \"/var/lib/lorectl\" --project \"acme\" \"app\" \"hub\""
            ]
        );
        assert_eq!(values(&text, "User"), [""; 0], "it is who applied");
    }

    #[test]
    fn the_specs_own_settings_replace_ours() {
        let mut service = service();
        service.unit = [
            (
                "ReadWritePaths".to_owned(),
                vec!["/a".to_owned(), "/b".to_owned()],
            ),
            ("ProtectProc".to_owned(), Vec::new()),
            ("Nice".to_owned(), vec!["5".to_owned()]),
        ]
        .into();
        let unit = rendered(&service);
        assert_eq!(values(&unit, "ReadWritePaths"), ["/a", "/b"]);
        assert_eq!(values(&unit, "ProtectProc"), [""; 0]);
        assert_eq!(values(&unit, "Nice"), ["5"]);
    }

    #[test]
    fn credentials_are_handed_over_by_their_files() {
        let mut service = service();
        let used = |name: &str, form| CredentialUse {
            credential: name.parse().unwrap(),
            form,
        };
        service.credentials = [
            ("A".to_owned(), used("gitlab", CredentialForm::Value)),
            ("B".to_owned(), used("gitlab", CredentialForm::Path)),
        ]
        .into();
        service.ping = Some(UrlSource::Credential("hc".parse().unwrap()));
        let unit = render_service(&service, &context("/srv/100% a")).unwrap();
        assert_eq!(
            values(&unit, "LoadCredential"),
            [
                "gitlab:/srv/100%% a/acme/secrets/gitlab/value",
                "hc:/srv/100%% a/acme/secrets/hc/value"
            ]
        );
        service.sealed = ["hc".parse().unwrap()].into();
        let unit = render_service(&service, &context("/srv/100% a")).unwrap();
        assert_eq!(
            values(&unit, "LoadCredential"),
            ["gitlab:/srv/100%% a/acme/secrets/gitlab/value"]
        );
        assert_eq!(
            values(&unit, "LoadCredentialEncrypted"),
            ["hc:/srv/100%% a/acme/secrets/hc/value"]
        );
        assert_eq!(values(&unit, "SetCredential"), ["hc:\\n"]);
    }

    #[test]
    fn what_a_private_tmp_would_hide_is_bound() {
        let mut service = service();
        service.working_dir = PathBuf::from("/tmp");
        service.write_paths = vec![PathBuf::from("/var/tmp/out")];
        service.stages[0].run[0] = "/tmp/bin/job".to_owned();
        service.ping = Some(UrlSource::File(PathBuf::from("/tmp/hook")));
        let unit = render_service(&service, &context("/tmp/state")).unwrap();
        assert_eq!(
            values(&unit, "BindReadOnlyPaths"),
            [
                r#""-/tmp/bin/job""#,
                r#""-/tmp/hook""#,
                r#""-/tmp/state/acme""#
            ]
        );
        assert_eq!(
            values(&unit, "BindPaths"),
            [
                r#""-/tmp/state/acme/services/sync/data""#,
                r#""-/var/tmp/out""#
            ]
        );
    }

    #[test]
    fn a_timer_wakes_soon_after_its_start_and_then_each_interval() {
        let mut service = service();
        for (every, lead, accuracy) in [
            (1, "1s", "1s"),
            (5, "1s", "1s"),
            (60, "12s", "1s"),
            (300, "60s", "5s"),
            (86_400, "60s", "60s"),
        ] {
            service.schedule = Schedule::Every(Seconds(every));
            service.splay = Seconds(0);
            let timer = render_timer(&service, &context("/x")).unwrap();
            let every = format!("{every}s");
            assert_eq!(values(&timer, "OnActiveSec"), [lead, &every]);
            assert_eq!(values(&timer, "OnUnitActiveSec"), [&every]);
            assert_eq!(values(&timer, "AccuracySec"), [accuracy]);
            assert_eq!(values(&timer, "RandomizedDelaySec"), [""; 0]);
            let retries = values(&timer, "OnUnitInactiveSec");
            assert_eq!(
                retries.len(),
                usize::from(service.schedule == Schedule::Every(Seconds(86_400)))
            );
        }
    }

    #[test]
    fn cron_wakes_at_every_instant_in_utc_that_may_be_due() {
        let mut service = service();
        service.schedule = Schedule::Cron {
            expression: "30 2 * * *".to_owned(),
            timezone: "Europe/Paris".to_owned(),
        };
        let text = render_timer(&service, &context("/x")).unwrap();
        let calendar: Vec<&str> = text
            .lines()
            .filter(|l| l.starts_with("OnCalendar="))
            .collect();
        // 02:30 in winter and in summer, and the end of the gap in March.
        assert!(
            calendar.iter().all(|line| line.ends_with(" UTC")),
            "{calendar:?}"
        );
        for hour in ["00", "01"] {
            assert!(
                calendar.iter().any(|line| line.contains(hour)),
                "{calendar:?}"
            );
        }
        assert!(
            text.contains("OnActiveSec=60s\n"),
            "missed runs are made up for: {text}"
        );
        assert!(!text.contains("OnUnitActiveSec"));
        assert_eq!(values(&text, "OnUnitInactiveSec"), ["1800s"]);
    }

    /// Undoes what systemd does to a quoted argument; `None` when it would end early or go on.
    fn unquote(argument: &str) -> Option<String> {
        let inner = argument.strip_prefix('"')?.strip_suffix('"')?;
        let mut text = String::new();
        let mut chars = inner.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => return None,
                '\\' => text.push(chars.next().filter(|c| ['\\', '"'].contains(c))?),
                '%' | '$' => text.push(chars.next().filter(|next| *next == c)?),
                other => text.push(other),
            }
        }
        Some(text)
    }

    proptest! {
        #[test]
        fn any_argument_is_quoted_so_that_it_comes_back(text in "[^\n\r\0]{0,40}") {
            let quoted = argument(&text).unwrap();
            prop_assert_eq!(unquote(&quoted), Some(text));
        }

        #[test]
        fn any_description_stays_on_its_line(text in ".{0,40}") {
            let mut service = service();
            service.description = Some(text);
            if let Ok(unit) = render_service(&service, &context("/x")) {
                prop_assert_eq!(values(&unit, "ExecStart").len(), 1);
                prop_assert_eq!(unit.lines().count(), rendered(&super::tests::service()).lines().count());
            }
        }
    }
}
