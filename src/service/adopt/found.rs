//! What is found on a host, as services that do the same.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    calendar,
    crontab::{self, Entry, Job, When},
    id::{LineId, Replaced, Table, label},
};
use crate::{
    id::{ResourceName, Seconds},
    service::definition::{CatchUp, Schedule},
};

/// What cron has its jobs look for programs in, where the table sets no `PATH`.
const CRON_PATH: &str = "/usr/bin:/bin";

/// Has a shell (`$1`) run a command (`$2`) with the words behind them as its input.
const FEED: &str = r#"s=$1 c=$2; shift 2; printf '%s\n' "$@" | "$s" -c "$c""#;

/// A service that does what something on the host did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// What it may be called; made unique among others by [`name_all`].
    pub name: String,
    /// What it takes the place of.
    pub replaces: Replaced,
    /// What the reader should know, a line each.
    pub remarks: Vec<String>,
    /// One line for lists.
    pub description: Option<String>,
    /// Whom it runs as.
    pub user: Option<String>,
    /// When.
    pub schedule: Schedule,
    /// The command.
    pub run: Vec<String>,
    /// Its variables.
    pub env: BTreeMap<String, String>,
    /// Where it starts.
    pub working_dir: String,
    /// The random delay that it had.
    pub splay: Seconds,
    /// Whether it made up for what it missed.
    pub catch_up: CatchUp,
    /// Whether it is confined: what only starts another unit is, for that one has options of its own.
    pub is_confined: bool,
}

/// Something that is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

/// A timer, as its manager tells of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timer {
    /// Its name, with the suffix.
    pub unit: String,
    /// What it says of itself.
    pub description: String,
    /// What it starts.
    pub starts: String,
    /// Where its file is; empty for one without.
    pub path: String,
    /// Whether it is up.
    pub is_active: bool,
    /// Its calendar events, normalised.
    pub calendar: Vec<String>,
    /// Its other triggers, as `OnUnitActive`, and after how many microseconds.
    pub monotonic: Vec<(String, u64)>,
    /// Whether it makes up for what it missed.
    pub is_persistent: bool,
    /// The longest random delay, in microseconds.
    pub delay_us: u64,
    /// Whether it wakes the machine.
    pub wakes: bool,
}

/// Whose timers they are, and what a service needs to start what they started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner<'a> {
    /// The system's.
    System,
    /// A user's, whose runtime directory this is.
    User(&'a str),
}

/// The service that does what a timer did.
///
/// # Errors
/// Why there is none: to follow the timer's name.
pub fn of_timer(timer: &Timer, owner: Owner<'_>, zone: &str) -> Result<Candidate, String> {
    if timer.unit.starts_with("lorectl-") {
        return Err("is lorectl's own".to_owned());
    }
    if timer.unit.starts_with("systemd-") && owner == Owner::System {
        return Err("is systemd's own housekeeping".to_owned());
    }
    if timer.path.is_empty() || timer.path.starts_with("/run/") {
        return Err(
            "has no file that would outlive a boot, so it could not be put back".to_owned(),
        );
    }
    if !timer.is_active {
        return Err("is not up, so it runs nothing".to_owned());
    }
    if timer.wakes {
        return Err(
            "wakes the machine from sleep (WakeSystem=), which lorectl does not".to_owned(),
        );
    }
    if !timer.starts.ends_with(".service") {
        return Err(format!("starts {}, which is no service", timer.starts));
    }
    let (schedule, remark) = schedule(timer, zone)?;
    let id = match owner {
        Owner::System => format!("systemd:{}", timer.unit),
        Owner::User(_) => format!("systemd-user:{}", timer.unit),
    };
    let replaces: Replaced = id
        .parse()
        .map_err(|_: crate::id::Invalid| "has a name that a spec cannot hold".to_owned())?;
    let mut run = vec!["/usr/bin/systemctl".to_owned()];
    let mut env = BTreeMap::new();
    if let Owner::User(runtime) = owner {
        run.push("--user".to_owned());
        env.insert("XDG_RUNTIME_DIR".to_owned(), runtime.to_owned());
    }
    run.extend(["start", "--wait", "--", &timer.starts].map(str::to_owned));
    let stem = timer.unit.trim_end_matches(".timer");
    let shown = timer.description.trim();
    Ok(Candidate {
        name: stem.to_owned(),
        replaces,
        remarks: remark.into_iter().collect(),
        description: (!shown.is_empty() && shown != timer.unit).then(|| shown.to_owned()),
        user: (owner == Owner::System).then(|| "root".to_owned()),
        schedule,
        run,
        env,
        working_dir: "/".to_owned(),
        splay: Seconds(timer.delay_us.div_ceil(1_000_000)),
        catch_up: if timer.is_persistent {
            CatchUp::Once
        } else {
            CatchUp::Skip
        },
        is_confined: owner == Owner::System,
    })
}

/// When a timer is due, and what is to be said of it.
fn schedule(timer: &Timer, zone: &str) -> Result<(Schedule, Option<String>), String> {
    match (timer.calendar.as_slice(), timer.monotonic.as_slice()) {
        ([], []) => Err("has no trigger".to_owned()),
        ([event], []) => {
            let cron = calendar::to_cron(event)?;
            let schedule = Schedule::Cron {
                expression: cron.expression,
                timezone: cron.timezone.unwrap_or_else(|| zone.to_owned()),
            };
            Ok((schedule, Some(format!("OnCalendar={event}"))))
        }
        ([], monotonic) => every(monotonic),
        (_, _) => Err("has several triggers".to_owned()),
    }
}

/// An interval, where the triggers come to one: since the last run, and as long after the start.
fn every(triggers: &[(String, u64)]) -> Result<(Schedule, Option<String>), String> {
    let repeats = |name: &str| name.starts_with("OnUnitActive");
    let Some((_, interval)) = triggers.iter().find(|(name, _)| repeats(name)) else {
        return Err("runs once after a start, and not at intervals".to_owned());
    };
    if triggers.iter().any(|(name, span)| {
        (!repeats(name) && name.starts_with("OnUnitInactive")) || span != interval
    }) {
        return Err("has several triggers".to_owned());
    }
    if interval % 1_000_000 != 0 || *interval == 0 {
        return Err("counts in fractions of a second".to_owned());
    }
    let names: Vec<&str> = (triggers.iter())
        .map(|(name, _)| name.trim_end_matches("USec"))
        .collect();
    let every = Seconds(interval / 1_000_000);
    let remark = format!("{}: {every}", names.join(", "));
    Ok((Schedule::Every(every), Some(remark)))
}

/// Everything that a crontab runs: services that do the same, and what is left alone.
///
/// `home_of` says where a user is at home, where there is such a user.
pub fn of_crontab(
    table: &Table,
    text: &str,
    zone: &str,
    home_of: &dyn Fn(&str) -> Option<String>,
) -> (Vec<Candidate>, Vec<Left>) {
    let names_users = matches!(table, Table::File(_));
    let (mut candidates, mut left) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for entry in crontab::parse(text, names_users) {
        let (line, number) = match &entry {
            Entry::Job(job) => (&job.line, job.number),
            Entry::Unread { line, number, .. } => (line, *number),
        };
        let what = format!("{}, line {number}: {line}", told(table));
        if !seen.insert(line.clone()) {
            let why = "is there twice; one service takes the place of both".to_owned();
            left.push(Left { what, why });
            continue;
        }
        let candidate = match entry {
            Entry::Unread { reason, .. } => Err(format!("cannot be read: {reason}")),
            Entry::Job(job) => of_job(table, &job, zone, home_of),
        };
        match candidate {
            Ok(candidate) => candidates.push(candidate),
            Err(why) => left.push(Left { what, why }),
        }
    }
    (candidates, left)
}

/// A table, for a reader.
pub fn told(table: &Table) -> String {
    match table {
        Table::File(path) => path.clone(),
        Table::User(user) => format!("the crontab of {user}"),
    }
}

fn of_job(
    table: &Table,
    job: &Job,
    zone: &str,
    home_of: &dyn Fn(&str) -> Option<String>,
) -> Result<Candidate, String> {
    let expression = match &job.when {
        When::Reboot => return Err("runs when the host boots, which no schedule says".to_owned()),
        When::Cron(expression) => expression.clone(),
    };
    let user = match (&job.user, table) {
        (Some(user), _) | (None, Table::User(user)) => user.clone(),
        (None, Table::File(_)) => return Err("names no user".to_owned()),
    };
    let home =
        home_of(&user).ok_or_else(|| format!("runs as `{user}`, whom this host does not know"))?;
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    env.insert("PATH".to_owned(), CRON_PATH.to_owned());
    env.insert("HOME".to_owned(), home);
    env.insert("SHELL".to_owned(), "/bin/sh".to_owned());
    let mut remarks = vec![format!(
        "{}, line {}: {}",
        told(table),
        job.number,
        job.line
    )];
    for (name, value) in &job.env {
        match name.as_str() {
            "MAILTO" | "MAILFROM" if value.is_empty() => {
                remarks.push("cron mailed nothing of it".to_owned());
            }
            "MAILTO" | "MAILFROM" => remarks.push(format!(
                "cron had {name}={value}; what it prints is in `lorectl service logs` now"
            )),
            "CRON_TZ" => {
                return Err(format!("has CRON_TZ={value}, which crons read differently"));
            }
            _other => {
                let named = name.parse::<crate::service::spec::text::EnvName>().is_ok();
                if !named || name.starts_with("LORECTL_") || value.contains('\0') {
                    return Err(format!(
                        "sets the variable `{name}`, which a spec cannot hold"
                    ));
                }
                env.insert(name.clone(), value.clone());
            }
        }
    }
    env.insert("LOGNAME".to_owned(), user.clone());
    let (shell, home) = (env.remove("SHELL"), env.get("HOME").cloned());
    let shell = shell.unwrap_or_else(|| "/bin/sh".to_owned());
    env.insert("SHELL".to_owned(), shell.clone());
    if !shell.starts_with('/') {
        return Err(format!("wants the shell `{shell}`, which is no path"));
    }
    let input: Vec<&str> = job.stdin.iter().flat_map(|input| input.lines()).collect();
    let run = if input.is_empty() {
        vec![shell, "-c".to_owned(), job.command.clone()]
    } else {
        remarks.push("what stood behind `%` goes to its standard input, a line each".to_owned());
        let fed = ["/bin/sh", "-c", FEED, "cron", &shell, &job.command];
        let words = fed.into_iter().chain(input);
        words.map(str::to_owned).collect()
    };
    let odd = |text: &&String| text.chars().any(|c| c.is_control() && c != '\t');
    if run.iter().chain(env.values()).find(odd).is_some() {
        return Err("holds a control character, which a spec cannot".to_owned());
    }
    let named = label(&job.command);
    let name = match table {
        Table::File(path) if path != "/etc/crontab" => {
            path.rsplit('/').next().unwrap_or_default().to_owned()
        }
        Table::File(_) | Table::User(_) => named,
    };
    Ok(Candidate {
        name,
        replaces: Replaced::Line(LineId::of(table.clone(), &job.line, &job.command)),
        remarks,
        description: None,
        user: Some(user),
        schedule: Schedule::Cron {
            expression,
            timezone: zone.to_owned(),
        },
        run,
        env,
        working_dir: home
            .filter(|home| home.starts_with('/'))
            .unwrap_or_else(|| "/".to_owned()),
        splay: Seconds(0),
        catch_up: CatchUp::Skip,
        is_confined: false,
    })
}

/// Gives each a name that a service may have and that no other has, nor one of `taken`.
pub fn name_all(
    candidates: Vec<Candidate>,
    mut taken: BTreeSet<ResourceName>,
) -> Vec<(ResourceName, Candidate)> {
    let mut named = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let fit = |c: char| match c.to_ascii_lowercase() {
            c if c.is_ascii_lowercase() || c.is_ascii_digit() => c,
            '_' => '_',
            _other => '-',
        };
        let stem: String = candidate.name.chars().map(fit).take(56).collect();
        let stem = match stem.trim_matches(['-', '_']) {
            "" => "job",
            stem => stem,
        };
        let mut tries = std::iter::once(stem.to_owned())
            .chain((2_u32..).map(|number| format!("{stem}-{number}")));
        let free = tries.find_map(|text| {
            let name: ResourceName = text.parse().ok()?;
            (!taken.contains(&name)).then_some(name)
        });
        if let Some(name) = free {
            taken.insert(name.clone());
            named.push((name, candidate));
        }
    }
    named
}

#[cfg(test)]
mod tests;
