//! What a plan says of a service: its fields, its files, its next runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, json};

use crate::{
    error::Result,
    id::{Address, BackendId, Digest, Kind, ResourceName, Seconds, Timestamp},
    notify::sink::{Event, NotifyFormat, Sink, Target, UrlSource},
    resource::{
        Action, Definition, Disruption, FieldChange, File, FileChange, Found, Image, Meta, Part,
    },
};

use super::{
    adopt::id::Replaced,
    definition::{
        CredentialForm, Criticality, DIGEST_AT_APPLY, KNOWN_AT_APPLY, PATH, Schedule, Scheduler,
        Service, Stage,
    },
    desired,
    schedule::{self, Fire, Past},
};

/// Makes a service's image; the host's paths are the renderer's own.
pub trait Render {
    /// The image, its files with their bytes.
    ///
    /// # Errors
    /// When the definition asks for what cannot be expressed.
    fn image(&self, service: &Service) -> Result<Image>;

    /// What a file part is called on the host.
    fn path(&self, service: &Service, part: &str) -> String;

    /// The next instants at which it is due, at most `count`; empty when that cannot be told.
    fn next_runs(
        &self,
        service: &Service,
        counts_from: Timestamp,
        now: Timestamp,
        count: usize,
    ) -> Vec<Fire>;
}

/// One service, before and after.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// The definition that was applied.
    pub before: Option<&'a Definition>,
    /// The image that was applied.
    pub applied_image: Option<&'a Image>,
    /// What is there.
    pub found: Option<&'a Found>,
    /// The definition that is wanted.
    pub after: Option<&'a Definition>,
    /// What any resource may say, applied and wanted.
    pub meta: (Option<&'a Meta>, Option<&'a Meta>),
    /// What is done.
    pub action: Action,
    /// Whether a deletion takes status and logs too.
    pub purge: bool,
    /// The instant of planning.
    pub now: Timestamp,
}

/// What there is to say.
#[derive(Debug, Default)]
pub struct Told {
    /// The document's `before`.
    pub before: Value,
    /// The document's `after`.
    pub after: Value,
    /// Fields that change.
    pub fields: Vec<FieldChange>,
    /// Files that change.
    pub files: Vec<FileChange>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// What a change to a service of that backend disturbs.
pub fn disruption(backend: &BackendId) -> Disruption {
    match Scheduler::of(backend) {
        Some(Scheduler::SystemdSystem | Scheduler::SystemdUser) => Disruption::Reload,
        Some(Scheduler::Worker) | None => Disruption::None,
    }
}

/// How long a removal waits for a run in flight.
pub fn patience(definition: &Definition) -> Result<Seconds> {
    Ok(definition.read::<Service>()?.patience())
}

/// Whether two definitions say the same of different programs: not the spec has changed, but a pinned
/// program.
pub fn differ_in_programs_alone(a: &Definition, b: &Definition) -> Result<bool> {
    let (a, mut b): (Service, Service) = (a.read()?, b.read()?);
    if a.programs == b.programs || a.programs.keys().ne(b.programs.keys()) {
        return Ok(false);
    }
    b.programs.clone_from(&a.programs);
    Ok(a == b)
}

/// The image of a definition, its files with their bytes.
pub fn image(render: &dyn Render, definition: &Definition) -> Result<Image> {
    render.image(&definition.read()?)
}

/// Says what there is to say of one service. What does not change is told in nothing.
pub fn tell(render: &dyn Render, case: &Case<'_>) -> Result<Told> {
    if case.action == Action::NoOp {
        return Ok(Told::default());
    }
    let before: Option<Service> = case.before.map(Definition::read).transpose()?;
    let after: Option<Service> = match case.action {
        Action::Delete | Action::Forget => None,
        Action::NoOp | Action::Create | Action::Update | Action::Replace | Action::Adopt => {
            case.after.map(Definition::read).transpose()?
        }
    };
    let mut told = Told {
        before: value(case.before, case.applied_image, case.meta.0)?,
        ..Told::default()
    };
    if let (Some(definition), Some(service)) = (case.after, &after) {
        let image = render.image(service)?;
        told.after = value(Some(definition), Some(&image), case.meta.1)?;
    }
    told.fields = fields(before.as_ref(), after.as_ref());
    told.fields.extend(meta_fields(case.meta.0, case.meta.1));
    told.fields
        .extend(next_runs(render, case, before.as_ref(), after.as_ref()));
    told.files = files(render, case, before.as_ref(), after.as_ref())?;
    told.notes = notes(case);
    told.notes
        .extend(replaced_notes(case, before.as_ref(), after.as_ref()));
    Ok(told)
}

/// The values that the document shows and an approval compares.
fn value(
    definition: Option<&Definition>,
    image: Option<&Image>,
    meta: Option<&Meta>,
) -> Result<Value> {
    let Some(definition) = definition else {
        return Ok(Value::Null);
    };
    let mut parts = BTreeMap::new();
    let mut written = definition.read::<Value>()?;
    let unknown = unknowns(&mut written);
    let unknown_owner = super::image::data(super::image::DATA_MODE, desired::KNOWN_AT_APPLY);
    for (name, part) in image.into_iter().flat_map(Image::iter) {
        let shown = match part {
            Part::File(file) if unknown && holds_unknown(file) => unknown_value(),
            Part::File(file) => json!(file.digest),
            Part::Flag(on) => json!(on),
            Part::Text(_) if *part == unknown_owner => unknown_value(),
            Part::Text(text) => json!(text),
        };
        parts.insert(name.as_str(), shown);
    }
    Ok(json!({
        "definition": written,
        "parts": parts,
        "meta": meta,
    }))
}

/// A value that is known at apply, as the document writes it.
fn unknown_value() -> Value {
    json!({"unknown": true})
}

/// A path that is known at apply, with all that is known of it before.
fn unknown_path(rest: &str) -> Value {
    match rest.strip_prefix(':') {
        Some(name) => {
            let places = PATH.map(|dir| format!("{dir}/{name}"));
            json!({"unknown": true, "one_of": places})
        }
        None if rest.is_empty() => unknown_value(),
        None => json!({"unknown": true, "ends_with": rest}),
    }
}

/// Puts the document's word for it where a definition says [`KNOWN_AT_APPLY`]; whether it did.
fn unknowns(definition: &mut Value) -> bool {
    let mut found = false;
    let mut replace = |value: Option<&mut Value>| {
        let path = value.as_deref().and_then(Value::as_str);
        let rest = path.and_then(|path| path.strip_prefix(KNOWN_AT_APPLY));
        if let Some(unknown) = rest.map(unknown_path)
            && let Some(value) = value
        {
            *value = unknown;
            found = true;
        }
    };
    replace(definition.get_mut("working_dir"));
    let (at_apply, mut pinned) = (json!(DIGEST_AT_APPLY), false);
    if let Some(programs) = definition.get_mut("programs")
        && (programs.as_object()).is_some_and(|pins| pins.values().any(|pin| *pin == at_apply))
    {
        *programs = unknown_value();
        pinned = true;
    }
    let stages = definition.get_mut("stages").and_then(Value::as_array_mut);
    for stage in stages.into_iter().flatten() {
        replace(stage.pointer_mut("/run/0"));
    }
    let sinks = definition.get_mut("notify").and_then(Value::as_array_mut);
    for sink in sinks.into_iter().flatten() {
        replace(sink.pointer_mut("/to/command/0"));
    }
    found || pinned
}

/// Whether the content of a file depends on what is known at apply.
fn holds_unknown(file: &File) -> bool {
    let bytes = file.bytes.as_deref().unwrap_or_default();
    let digest = DIGEST_AT_APPLY.to_string();
    let holds = |mark: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
    holds(KNOWN_AT_APPLY.as_bytes()) || holds(digest.as_bytes())
}

/// A path for a reader, who is told what is known at apply.
fn path(path: &str) -> String {
    match path.strip_prefix(KNOWN_AT_APPLY) {
        None => path.to_owned(),
        Some("") => "(known at apply)".to_owned(),
        Some(rest) => format!("{} (known at apply)", rest.trim_start_matches([':', '/'])),
    }
}

fn change(field: &str, before: Option<String>, after: Option<String>) -> Option<FieldChange> {
    (before != after).then(|| FieldChange {
        field: field.to_owned(),
        before,
        after,
    })
}

/// One reader of a field: its name in the spec, and its text where it says anything.
type Reader = (&'static str, fn(&Service) -> Option<String>);

const READERS: &[Reader] = &[
    ("description", |s| s.description.clone()),
    ("scheduler", |s| Some(scheduler(s.scheduler).to_owned())),
    ("user", |s| s.user.clone()),
    ("schedule", |s| Some(schedule(&s.schedule))),
    ("splay", |s| Some(s.splay.to_string())),
    ("overlap", |s| Some(lower(&s.overlap))),
    ("catch_up", |s| Some(lower(&s.catch_up))),
    ("timeout", |s| Some(s.timeout.to_string())),
    ("working_dir", |s| {
        Some(path(&s.working_dir.display().to_string()))
    }),
    ("write_paths", |s| {
        let paths: Vec<String> = s
            .write_paths
            .iter()
            .map(|p| p.display().to_string())
            .collect();
        (!paths.is_empty()).then(|| paths.join(", "))
    }),
    ("replaces", |s| s.replaces.clone()),
    ("lock", |s| s.lock.as_ref().map(ToString::to_string)),
    ("profile", |s| s.profile.clone()),
    ("retry", |s| {
        Some(format!("base {}, max {}", s.retry.base, s.retry.max))
    }),
    ("breaker", |s| {
        Some(format!(
            "{} failures, cooldown {}",
            s.breaker.failures, s.breaker.cooldown
        ))
    }),
    ("classify.permanent", |s| listed(&s.classify.permanent)),
    ("classify.transient", |s| listed(&s.classify.transient)),
    ("exit", |s| Some(lower(&s.exit))),
    ("sandbox", |s| Some(lower(&s.sandbox))),
    ("ping", |s| s.ping.as_ref().map(url)),
];

/// A scheduler, and whether it confines what it runs.
const fn scheduler(scheduler: Scheduler) -> &'static str {
    match scheduler {
        Scheduler::SystemdSystem | Scheduler::SystemdUser => scheduler.as_str(),
        Scheduler::Worker => "worker (unsandboxed)",
    }
}

/// Fields that a new service is shown with even where the spec leaves them out.
const SHOWN_ON_CREATE: &[&str] = &[
    "description",
    "scheduler",
    "user",
    "schedule",
    "profile",
    "write_paths",
    "replaces",
];

fn fields(before: Option<&Service>, after: Option<&Service>) -> Vec<FieldChange> {
    let both = before.is_some() && after.is_some();
    let mut fields = Vec::new();
    if after.is_none() {
        return fields;
    }
    for (name, read) in READERS {
        if !both && !SHOWN_ON_CREATE.contains(name) {
            continue;
        }
        fields.extend(change(name, before.and_then(read), after.and_then(read)));
    }
    let (old, new) = (before.map(env), after.map(env));
    fields.extend(map_changes(
        "env",
        old.as_ref(),
        new.as_ref(),
        String::clone,
    ));
    fields.extend(map_changes(
        "unit",
        before.map(|s| &s.unit),
        after.map(|s| &s.unit),
        |v| v.join(" "),
    ));
    fields.extend(map_changes(
        "program",
        before.map(|s| &s.programs),
        after.map(|s| &s.programs),
        Digest::short,
    ));
    fields.extend(stages(before, after));
    let old = before.map_or(&[][..], |service| &service.notify);
    let new = after.map_or(&[][..], |service| &service.notify);
    fields.extend(sinks(old, new, &Event::OF_SERVICES));
    fields
}

/// The variables, those from credentials by their names.
fn env(service: &Service) -> BTreeMap<String, String> {
    let mut env = service.env.clone();
    env.extend(service.credentials.iter().map(|(name, used)| {
        let form = match used.form {
            CredentialForm::Value => "",
            CredentialForm::Path => "   (path)",
        };
        (name.clone(), format!("{}{form}", from(&used.credential)))
    }));
    env
}

/// A credential as what something is taken from.
fn from(credential: &ResourceName) -> String {
    format!("← {}", Address::new(Kind::Credential, credential.clone()))
}

/// A URL as it is shown: one that is kept somewhere by that place alone.
fn url(source: &UrlSource) -> String {
    match source {
        UrlSource::Url(url) => url.clone(),
        UrlSource::File(path) => format!("in {}", path.display()),
        UrlSource::Credential(name) => from(name),
    }
}

/// Who hears of something, each by name; `all` are the events of its kind.
pub fn sinks(before: &[Sink], after: &[Sink], all: &[Event]) -> Vec<FieldChange> {
    let find = |sinks: &[Sink], name: &ResourceName| {
        let sink = sinks.iter().find(|sink| sink.name == *name)?;
        Some(sink_text(sink, all))
    };
    let both = before.iter().chain(after);
    let names: BTreeSet<&ResourceName> = both.map(|sink| &sink.name).collect();
    (names.into_iter())
        .filter_map(|name| {
            change(
                &format!("notify.{name}"),
                find(before, name),
                find(after, name),
            )
        })
        .collect()
}

fn sink_text(sink: &Sink, all: &[Event]) -> String {
    let to = match &sink.to {
        Target::Command(run) => command_text(run),
        Target::Webhook {
            url: source,
            format,
            ca_file,
        } => {
            let form = match format {
                NotifyFormat::Json => String::new(),
                NotifyFormat::Slack => "   (slack)".to_owned(),
            };
            let ca = (ca_file.as_ref()).map_or_else(String::new, |path| {
                format!("   (trusts {})", path.display())
            });
            format!("{}{form}{ca}", url(source))
        }
    };
    if sink.events == all {
        return to;
    }
    let events: Vec<&str> = sink.events.iter().map(|event| event.as_str()).collect();
    format!("{to}   on {}", events.join(", "))
}

fn map_changes<V: PartialEq>(
    what: &str,
    before: Option<&BTreeMap<String, V>>,
    after: Option<&BTreeMap<String, V>>,
    text: fn(&V) -> String,
) -> Vec<FieldChange> {
    let keys: std::collections::BTreeSet<&String> = before
        .into_iter()
        .chain(after)
        .flat_map(BTreeMap::keys)
        .collect();
    keys.into_iter()
        .filter_map(|key| {
            change(
                &format!("{what}.{key}"),
                before.and_then(|map| map.get(key)).map(text),
                after.and_then(|map| map.get(key)).map(text),
            )
        })
        .collect()
}

fn stages(before: Option<&Service>, after: Option<&Service>) -> Vec<FieldChange> {
    let list = |service: Option<&Service>| -> Vec<Stage> {
        service.map(|s| s.stages.clone()).unwrap_or_default()
    };
    let (before, after) = (list(before), list(after));
    let mut names: Vec<&Stage> = after.iter().collect();
    names.extend(
        before
            .iter()
            .filter(|b| after.iter().all(|a| a.name != b.name)),
    );
    let mut fields: Vec<FieldChange> = names
        .into_iter()
        .filter_map(|stage| {
            let find =
                |stages: &[Stage]| stages.iter().find(|s| s.name == stage.name).map(stage_text);
            let label = if stage.name.as_str() == "run" {
                "run".to_owned()
            } else {
                format!("stage {}", stage.name)
            };
            change(&label, find(&before), find(&after))
        })
        .collect();
    let order = |stages: &[Stage]| {
        let names: Vec<&str> = stages.iter().map(|s| s.name.as_str()).collect();
        names.join(", ")
    };
    if fields.is_empty() && order(&before) != order(&after) {
        fields.extend(change("stages", Some(order(&before)), Some(order(&after))));
    }
    fields
}

fn stage_text(stage: &Stage) -> String {
    let optional = match stage.criticality {
        Criticality::Core => "",
        Criticality::Optional => "   (optional)",
    };
    let limit = stage
        .timeout
        .map_or_else(String::new, |timeout| format!("   (at most {timeout})"));
    format!("{}{optional}{limit}", command_text(&stage.run))
}

/// A command, and that its program is only known at apply.
fn command_text(run: &[String]) -> String {
    let unknown = match run.first() {
        Some(program) if program.starts_with(KNOWN_AT_APPLY) => "   (where it is: known at apply)",
        Some(_) | None => "",
    };
    let run: Vec<String> = (run.iter().enumerate())
        .map(|(at, word)| match word.strip_prefix(KNOWN_AT_APPLY) {
            Some(rest) if at == 0 => rest.trim_start_matches([':', '/']).to_owned(),
            Some(_) | None => word.clone(),
        })
        .collect();
    format!("{}{unknown}", argv(&run))
}

/// An argument vector as one would type it: quoted where a shell would split or change it.
pub fn argv(run: &[String]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@,+%".contains(c);
    let quoted: Vec<String> = run
        .iter()
        .map(|word| {
            if !word.is_empty() && word.chars().all(plain) {
                word.clone()
            } else {
                format!("'{}'", word.replace('\'', r"'\''"))
            }
        })
        .collect();
    quoted.join(" ")
}

/// A schedule as the spec would say it.
pub fn schedule(schedule: &Schedule) -> String {
    match schedule {
        Schedule::Every(interval) => format!("every {interval}"),
        Schedule::Cron {
            expression,
            timezone,
        } => format!("{expression}   {timezone}"),
    }
}

fn listed(words: &[String]) -> Option<String> {
    (!words.is_empty()).then(|| words.join(", "))
}

/// The word that the spec has for an enum's variant.
fn lower<T: std::fmt::Debug>(word: &T) -> String {
    format!("{word:?}").to_lowercase()
}

/// What changes of what any resource may say.
pub fn meta_fields(before: Option<&Meta>, after: Option<&Meta>) -> Vec<FieldChange> {
    let (Some(before), Some(after)) = (before, after) else {
        return Vec::new();
    };
    let depends = |meta: &Meta| {
        let names: Vec<String> = meta.depends_on.iter().map(ToString::to_string).collect();
        listed(&names)
    };
    let mut fields = Vec::new();
    fields.extend(change("depends_on", depends(before), depends(after)));
    fields.extend(change(
        "protect",
        Some(before.protect.to_string()),
        Some(after.protect.to_string()),
    ));
    fields.extend(change(
        "ignore_drift",
        listed(&before.ignore_drift),
        listed(&after.ignore_drift),
    ));
    fields
}

/// Whether a service may use a credential: told from the text alone, for many.
pub fn may_use_credentials(definition: &Definition) -> bool {
    definition.as_json().contains("\"credential\"")
}

/// What the runs of a service need of credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Those that it uses.
    pub uses: BTreeSet<ResourceName>,
    /// Those of them that are renewed before each run.
    pub renews: BTreeSet<ResourceName>,
    /// When its next run begins, UTC; `None` where that cannot be told, or while a person must act.
    pub at: Option<Timestamp>,
}

const NEXT_RUN: &str = "next_run";

/// What is told of a service that is there: when its next run begins, as its runs so far have it.
pub fn told(next_run: Option<Timestamp>) -> Option<Box<Value>> {
    next_run.map(|at| Box::new(json!({ NEXT_RUN: at })))
}

/// The same, as it was found.
fn next_run(found: &Found) -> Option<Timestamp> {
    found.told.as_ref()?.get(NEXT_RUN)?.as_str()?.parse().ok()
}

/// Which credentials the next run of a service needs, and when it begins; `None` where it needs none.
///
/// # Errors
/// For a definition that cannot be read.
pub fn need(
    before: Option<&Definition>,
    after: &Definition,
    found: Option<&Found>,
    now: Timestamp,
) -> Result<Option<Need>> {
    if !may_use_credentials(after) {
        return Ok(None);
    }
    let after: Service = after.read()?;
    let uses: BTreeSet<ResourceName> = after.uses().into_iter().cloned().collect();
    if uses.is_empty() {
        return Ok(None);
    }
    let before: Option<Service> = before.map(Definition::read).transpose()?;
    let same = before.is_some_and(|before| before.schedule == after.schedule);
    let due = if same {
        found.and_then(next_run)
    } else {
        // It counts from this apply on.
        schedule::next_due(&after.schedule, Past::none(now), now)
    };
    Ok(Some(Need {
        uses,
        renews: after.refreshes,
        at: due.map(|at| at.max(now)),
    }))
}

/// How many fire times a reader is shown.
const NEXT: usize = 3;

fn next_runs(
    render: &dyn Render,
    case: &Case<'_>,
    before: Option<&Service>,
    after: Option<&Service>,
) -> Option<FieldChange> {
    after?;
    let before = before.filter(|_| case.found.is_some());
    let known = case.found.and_then(|found| found.counts_from);
    let same = before.map(|service| &service.schedule) == after.map(|service| &service.schedule);
    // A schedule that changes counts from the change on.
    let text = |service: &Service, from: Option<Timestamp>| {
        let runs = render.next_runs(service, from.unwrap_or(case.now), case.now, NEXT);
        fires(&runs, case.now)
    };
    let old = before.and_then(|service| text(service, known));
    let new = after.and_then(|service| text(service, known.filter(|_| same)));
    change("next runs", old, new)
}

/// Fire times in one line: the day where it is another than the one before, the zone once.
pub fn fires(runs: &[Fire], now: Timestamp) -> Option<String> {
    let today = now.utc().format("%Y-%m-%d").to_string();
    let mut day = today.as_str();
    let mut zone = "";
    let mut texts: Vec<String> = Vec::new();
    for fire in runs {
        let mut words = fire.local.splitn(3, ' ');
        let (date, time, its_zone) = (words.next()?, words.next()?, words.next().unwrap_or(""));
        let far = fire.at.seconds_since(now) > 6 * 86_400;
        let weekday = date
            .parse::<chrono::NaiveDate>()
            .map(|date| date.format("%a").to_string());
        let mut text = match (date == day, far, weekday) {
            (true, _, _) => time.to_owned(),
            (false, false, Ok(weekday)) => format!("{weekday} {time}"),
            (false, true, _) | (false, false, Err(_)) => format!("{date} {time}"),
        };
        if !zone.is_empty()
            && zone != its_zone
            && let Some(last) = texts.last_mut()
        {
            *last = format!("{last} {zone}");
        }
        if let Some(transition) = fire.transition {
            text = format!("{text} ({transition})");
        }
        texts.push(text);
        day = date;
        zone = its_zone;
    }
    (!texts.is_empty()).then(|| format!("{} {zone}", texts.join(", ")))
}

fn files(
    render: &dyn Render,
    case: &Case<'_>,
    before: Option<&Service>,
    after: Option<&Service>,
) -> Result<Vec<FileChange>> {
    let rendered = |service: Option<&Service>| -> Result<Image> {
        service.map_or(Ok(Image::empty()), |service| render.image(service))
    };
    let new = rendered(after)?;
    let old = applied_bytes(case, &rendered(before)?);
    let Some(named) = after.or(before) else {
        return Ok(Vec::new());
    };
    let mut files = Vec::new();
    for name in [
        super::image::SERVICE,
        super::image::TIMER,
        super::image::REFRESH,
        super::image::RUN,
    ] {
        let text = |image: &Image| -> Option<Arc<str>> {
            let bytes = image.file(name.as_str())?.bytes.as_ref()?;
            Some(String::from_utf8_lossy(bytes).into())
        };
        let (before, after) = (text(&old), text(&new));
        // The fields tell already what changes in a definition.
        let told = name == super::image::RUN && before.is_some() && after.is_some();
        if before != after && !told {
            files.push(FileChange {
                path: render.path(named, name.as_str()),
                before,
                after,
            });
        }
    }
    Ok(files)
}

/// The files as they were applied: what is there where it is still that, else what this version renders.
fn applied_bytes(case: &Case<'_>, rendered: &Image) -> Image {
    let Some(applied) = case.applied_image else {
        return Image::empty();
    };
    let mut image = rendered.clone();
    let found = case.found.map(|found| &found.image);
    for (name, part) in found.into_iter().flat_map(Image::iter) {
        if applied.get(name.as_str()) == Some(part)
            && matches!(part, Part::File(file) if file.bytes.is_some())
        {
            image.set(name.clone(), part.clone());
        }
    }
    image
}

/// What becomes of what a service took the place of.
fn replaced_notes(
    case: &Case<'_>,
    before: Option<&Service>,
    after: Option<&Service>,
) -> Vec<String> {
    let id = |service: Option<&Service>| -> Option<Replaced> {
        service?.replaces.as_ref()?.parse().ok()
    };
    let (old, new) = (id(before), id(after));
    let mut notes = Vec::new();
    if let Some(old) = old.as_ref().filter(|_| old != new) {
        let told = old.told();
        notes.push(format!("{told} stays retired; {}", old.by_hand()));
    }
    if let Some(new) = new {
        let wanted = super::image::retired(&new.to_string());
        let found = case.found.and_then(|found| {
            let part = found.image.get(super::image::REPLACES.as_str());
            part.cloned()
        });
        if case.action == Action::Create || found != Some(Part::Text(wanted)) {
            let told = new.told();
            notes.push(format!("retires {told} first; an undo puts it back"));
        }
    }
    notes
}

fn notes(case: &Case<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    let found = case.found.map(|found| &found.image);
    for (name, _) in found.into_iter().flat_map(Image::iter) {
        if let Some(drop_in) = name.as_str().strip_prefix(super::image::DROP_IN) {
            notes.push(format!(
                "removes the drop-in {drop_in}; a copy is kept in backups"
            ));
        }
    }
    match case.action {
        // What a purge takes is said with its step, which cannot be undone.
        Action::Delete if case.purge => {}
        Action::Delete => notes.push("status and logs stay".to_owned()),
        Action::NoOp
        | Action::Create
        | Action::Update
        | Action::Replace
        | Action::Adopt
        | Action::Forget => {}
    }
    if let Some(since) = case.found.and_then(|found| found.running_since) {
        notes.push(match case.action {
            Action::Delete | Action::Replace => {
                format!("runs since {since}; removed when that run has ended")
            }
            Action::NoOp | Action::Create | Action::Update | Action::Adopt | Action::Forget => {
                format!("runs since {since}; that run ends as it began")
            }
        });
    }
    notes
}
