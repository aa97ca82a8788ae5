//! One file: from bytes to what it declares, with all that is wrong with its text and shape.

use std::{collections::BTreeSet, ops::Range};

use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::{
    bounds,
    finding::{Finding, Lines},
    locate,
    node::Node,
    raw::{RawProject, RawReconcile, Requirement},
    source::Source,
    walk::{Fault, Walk},
};
use crate::{
    credential::{
        provider::RawProvider,
        spec::{check, raw::RawCredential},
    },
    id::{Address, ResourceName},
    service::spec::{
        Problem,
        raw::RawService,
        sink::{self, RawNotify, RawUrl},
        text::HostName,
    },
};

/// Where something is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file's index in the set.
    pub file: usize,
    /// The line, from 1.
    pub line: u32,
    /// `FILE:LINE:COLUMN`, for a message.
    pub shown: String,
}

/// Something declared, with its place and the span of its key in the text.
#[derive(Debug)]
pub struct Declared<T> {
    /// What it is.
    pub value: T,
    /// Where it stands.
    pub place: Place,
    /// The bytes of its key.
    pub span: Range<usize>,
}

/// A service as far as its table could be read.
#[derive(Debug, Default)]
pub struct ReadService {
    /// What is in order of it; `None` where it is no table, or its type refuses the whole.
    pub raw: Option<RawService>,
    /// Its keys that have faults, and so are not in `raw`.
    pub faulty: BTreeSet<String>,
}

/// A credential as far as its table could be read.
#[derive(Debug, Default)]
pub struct ReadCredential {
    /// What is in order of its shape; `None` where it is no table.
    pub raw: Option<RawCredential>,
    /// Whether nothing is wrong with it by itself.
    pub is_sound: bool,
    /// What it depends on.
    pub depends_on: Vec<Address>,
}

/// An entry of `[notify]`, `None` where it has faults, and the credential that it names, with the place.
pub type ReadSink = (
    ResourceName,
    Option<RawNotify>,
    Option<(ResourceName, Finding)>,
);

/// What one file declares.
#[derive(Default)]
pub struct Parsed {
    /// Its `version`, if it is one.
    pub version: Option<Declared<()>>,
    /// Its project; `None` within when it has faults.
    pub project: Option<Declared<Option<RawProject>>>,
    /// The versions of lorectl that it wants, even where the project has faults.
    pub requirement: Option<Requirement>,
    /// Its reconciling timer, with a finding on its interval; `None` within when it has faults.
    pub reconcile: Option<Declared<(Option<RawReconcile>, Finding)>>,
    /// Its hosts.
    pub hosts: Vec<Declared<HostName>>,
    /// Its defaults of services by key, each alone in a service; `None` when it has faults.
    pub defaults: Vec<Declared<(String, Option<RawService>)>>,
    /// Its providers; `None` for one that has faults.
    pub providers: Vec<Declared<(String, Option<RawProvider>)>>,
    /// Its entries of `[notify]`.
    pub notify: Vec<Declared<ReadSink>>,
    /// Its credentials.
    pub credentials: Vec<Declared<(ResourceName, ReadCredential)>>,
    /// Its services.
    pub services: Vec<Declared<(ResourceName, ReadService)>>,
    /// Whether its text could not be read in full, so that something may be missing from all this.
    pub torn: bool,
    /// What is wrong with it.
    pub faults: Vec<Fault>,
    /// How much more is.
    pub dropped: usize,
    /// The lines that are no TOML; what the parser made of them has no say.
    pub broken: BTreeSet<u32>,
}

/// A fault of the text itself.
fn torn(span: Range<usize>, message: impl Into<String>, suggestion: Option<&str>) -> Fault {
    Fault {
        span,
        message: message.into(),
        suggestion: suggestion.map(ToOwned::to_owned),
        absent: false,
        missing: false,
    }
}

fn fault_of(span: Range<usize>, problem: &Problem) -> Fault {
    Fault {
        span,
        message: problem.message.clone(),
        suggestion: problem.suggestion.clone(),
        absent: false,
        missing: false,
    }
}

/// The text of a file.
///
/// # Errors
/// A finding on the first byte that is not UTF-8.
pub fn text_of<'b>(source: &Source, bytes: &'b [u8]) -> Result<&'b str, Finding> {
    std::str::from_utf8(bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let good = std::str::from_utf8(good).unwrap_or_default();
        let span = good.len()..good.len();
        Lines::of(good)
            .finding(&source.shown, span, "the file is not UTF-8 from here on")
            .suggest(Some("save it as UTF-8".to_owned()))
    })
}

/// Parses a text, and says where it is no TOML.
pub fn parse(text: &str) -> (Option<Spanned<DeTable<'_>>>, Vec<Fault>) {
    if let Some((span, message)) = bounds::exceeded(text) {
        return (None, vec![torn(span, message, None)]);
    }
    let (root, errors) = DeTable::parse_recoverable(text);
    let faults = (errors.into_iter())
        .map(|error| {
            let span = error.span().unwrap_or(0..0);
            let key = text.get(span.clone()).unwrap_or_default().trim();
            match error.message() {
                "duplicate key" => torn(
                    span.clone(),
                    format!("duplicate key `{key}`"),
                    Some("each key, and each table's header, stands once in a file"),
                ),
                message if message.starts_with("string values must be quoted") => {
                    let fault = torn(span.clone(), "a string stands in quotes", None);
                    let plain = !key.is_empty() && !key.contains(['"', '\'', '\\', '\n']);
                    Fault {
                        suggestion: (plain && key.len() < 40).then(|| format!("write `\"{key}\"`")),
                        ..fault
                    }
                }
                message => torn(span, message, None),
            }
        })
        .collect();
    (Some(root), faults)
}

/// Reads what a file declares.
pub fn read(index: usize, source: &Source, text: &str, lines: &Lines<'_>, node: &Node) -> Parsed {
    let mut parsed = Parsed::default();
    let (root, faults) = parse(text);
    parsed.faults = faults;
    parsed.torn = !parsed.faults.is_empty();
    let Some(root) = root else {
        return parsed;
    };
    let walk = Walk::file(node, &root);
    let Walk { faults, faulty, .. } = walk;
    parsed.dropped = walk.dropped;
    let broken: BTreeSet<u32> = (parsed.faults.iter())
        .map(|fault| lines.line(fault.span.start))
        .collect();
    parsed.faults.extend((faults.into_iter()).filter(|fault| {
        !(broken.contains(&lines.line(fault.span.start)) || (fault.missing && !broken.is_empty()))
    }));
    parsed.broken = broken;
    let mut reader = Reader {
        index,
        source,
        lines,
        faulty: &faulty,
        parsed,
    };
    reader.root(root.into_inner());
    reader.parsed
}

struct Reader<'a> {
    index: usize,
    source: &'a Source,
    lines: &'a Lines<'a>,
    faulty: &'a BTreeSet<(String, String, String)>,
    parsed: Parsed,
}

impl Reader<'_> {
    fn declared<T>(&self, value: T, span: Range<usize>) -> Declared<T> {
        let (line, column) = self.lines.place(span.start);
        let shown = format!("{}:{line}:{column}", self.source.shown);
        Declared {
            value,
            place: Place {
                file: self.index,
                line,
                shown,
            },
            span,
        }
    }

    /// The keys of a table of a table that have faults; the empty one is the table itself.
    fn faulty_keys(&self, first: &str, second: &str) -> BTreeSet<String> {
        let within =
            |(a, b, _): &&(String, String, String)| a == first && (b == second || b.is_empty());
        let from = (first.to_owned(), String::new(), String::new());
        let of_first = self.faulty.range(from..).take_while(|(a, ..)| a == first);
        of_first
            .filter(within)
            .map(|(.., key)| key.clone())
            .collect()
    }

    /// Makes a value of its type; what the walk let through and the type refuses is a fault.
    fn typed<'de, T: Deserialize<'de>>(&mut self, value: Spanned<DeValue<'de>>) -> Option<T> {
        let span = value.span();
        match T::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => Some(value),
            Err(error) => {
                let span = error.span().unwrap_or(span);
                self.parsed.faults.push(torn(span, error.message(), None));
                None
            }
        }
    }

    fn root(&mut self, root: DeTable<'_>) {
        for (key, value) in root {
            let span = key.span();
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("version", _) => {
                    self.parsed.version = Some(self.declared((), span));
                }
                ("project", DeValue::Table(table)) => {
                    self.parsed.requirement = (table.get("lorectl"))
                        .and_then(|text| text.get_ref().as_str()?.parse().ok());
                    let faulty = self.faulty.iter().any(|(first, ..)| first == "project");
                    let at = value.span();
                    let project = if faulty { None } else { self.typed(value) };
                    self.parsed.project = Some(self.declared(project, at));
                }
                ("reconcile", DeValue::Table(table)) => {
                    let every = table.get("every").map_or(value.span(), Spanned::span);
                    let finding = self.lines.finding(&self.source.shown, every, String::new());
                    let faulty = self.faulty.iter().any(|(first, ..)| first == "reconcile");
                    let at = value.span();
                    let reconcile = if faulty { None } else { self.typed(value) };
                    self.parsed.reconcile = Some(self.declared((reconcile, finding), at));
                }
                ("hosts", DeValue::Table(_)) => {
                    for (name, _) in into_table(value) {
                        if let Ok(host) = name.get_ref().parse() {
                            let host = self.declared(host, name.span());
                            self.parsed.hosts.push(host);
                        }
                    }
                }
                ("defaults", DeValue::Table(_)) => self.defaults(into_table(value)),
                ("notify", DeValue::Table(_)) => {
                    for (name, value) in into_table(value) {
                        self.sink(&name, value);
                    }
                }
                ("providers", DeValue::Table(_)) => {
                    for (name, value) in into_table(value) {
                        let span = header(&name, &value);
                        let sound = self.faulty_keys("providers", name.get_ref()).is_empty();
                        let raw = sound.then(|| self.typed(value)).flatten();
                        let declared = self.declared((name.into_inner().into_owned(), raw), span);
                        self.parsed.providers.push(declared);
                    }
                }
                ("credentials", DeValue::Table(_)) => {
                    for (name, value) in into_table(value) {
                        self.credential(&name, value);
                    }
                }
                ("services", DeValue::Table(_)) => {
                    for (name, value) in into_table(value) {
                        self.service(&name, value);
                    }
                }
                _ => {}
            }
        }
    }

    fn defaults(&mut self, defaults: DeTable<'_>) {
        for (kind, value) in defaults {
            if kind.get_ref() != "services" {
                continue;
            }
            let faulty = self.faulty_keys("defaults", "services");
            for (key, value) in into_table(value) {
                let (name, span) = (key.get_ref().to_string(), key.span());
                let service = if faulty.contains("") || faulty.contains(&name) {
                    None
                } else {
                    let mut table = DeTable::new();
                    let at = value.span();
                    table.insert(key, value);
                    self.typed(Spanned::new(at, DeValue::Table(table)))
                };
                let declared = self.declared((name, service), span);
                self.parsed.defaults.push(declared);
            }
        }
    }

    fn sink(&mut self, key: &Spanned<std::borrow::Cow<'_, str>>, value: Spanned<DeValue<'_>>) {
        let Ok(name) = key.get_ref().parse::<ResourceName>() else {
            return;
        };
        let (mut sink, mut credential) = (None, None);
        if self.faulty_keys("notify", name.as_str()).is_empty() {
            // What is wrong with it, it is with every way to say it: its places are at hand here.
            let places = value.clone();
            sink = self.typed::<RawNotify>(value);
            let problems = sink.as_ref().map(sink::check).unwrap_or_default();
            for problem in &problems {
                let span = match problem.at.as_str() {
                    "" => key.span(),
                    _ => locate::span(&places, &problem.at, problem.on_key),
                };
                let fault = fault_of(span, problem);
                self.parsed.faults.push(fault);
            }
            sink = sink.filter(|_| problems.is_empty());
            let url = sink.as_ref().and_then(|sink| sink.webhook.as_ref());
            credential = url.and_then(RawUrl::credential).map(|name| {
                let span = locate::span(&places, "/webhook/credential", false);
                let finding = self.lines.finding(&self.source.shown, span, String::new());
                (name.clone(), finding)
            });
        }
        let declared = self.declared((name, sink, credential), key.span());
        self.parsed.notify.push(declared);
    }

    fn credential(
        &mut self,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: Spanned<DeValue<'_>>,
    ) {
        let Ok(name) = key.get_ref().parse::<ResourceName>() else {
            return;
        };
        let span = header(key, &value);
        let mut read = ReadCredential::default();
        let faulty = self.faulty_keys("credentials", name.as_str());
        if !faulty.contains("") {
            // As with sinks: no default is inherited, so all that is wrong with it is wrong here.
            let places = value.clone();
            let raw = if faulty.is_empty() {
                self.typed::<RawCredential>(value)
            } else {
                let at = value.span();
                let sound = into_table(value).into_iter();
                let sound = sound.filter(|(key, _)| !faulty.contains(key.get_ref().as_ref()));
                self.typed(Spanned::new(at, DeValue::Table(sound.collect())))
            };
            let mut problems = raw.as_ref().map(check::check).unwrap_or_default();
            if !faulty.is_empty() {
                // What is missing may be what has a fault, and what goes with another key too.
                problems.retain(|problem| !problem.at.is_empty() && !problem.on_key);
            }
            for problem in &problems {
                let at = match problem.at.as_str() {
                    "" => span.clone(),
                    _ => locate::span(&places, &problem.at, problem.on_key),
                };
                self.parsed.faults.push(fault_of(at, problem));
            }
            read.depends_on = (raw.as_ref())
                .and_then(|raw| raw.depends_on.clone())
                .unwrap_or_default();
            read.is_sound = problems.is_empty() && faulty.is_empty();
            read.raw = raw;
        }
        let declared = self.declared((name, read), span);
        self.parsed.credentials.push(declared);
    }

    fn service(&mut self, key: &Spanned<std::borrow::Cow<'_, str>>, value: Spanned<DeValue<'_>>) {
        let Ok(name) = key.get_ref().parse::<ResourceName>() else {
            return;
        };
        let span = header(key, &value);
        let faulty = self.faulty_keys("services", name.as_str());
        let raw = if faulty.is_empty() {
            self.typed(value)
        } else if faulty.contains("") {
            None
        } else {
            let at = value.span();
            let sound = into_table(value)
                .into_iter()
                .filter(|(key, _)| !faulty.contains(key.get_ref().as_ref()))
                .collect();
            self.typed(Spanned::new(at, DeValue::Table(sound)))
        };
        let service = ReadService { raw, faulty };
        let declared = self.declared((name, service), span);
        self.parsed.services.push(declared);
    }
}

/// The header of a table where there is one, as `[services.sync]`; else its key.
fn header(key: &Spanned<std::borrow::Cow<'_, str>>, value: &Spanned<DeValue<'_>>) -> Range<usize> {
    match value.get_ref() {
        DeValue::Table(_) if value.span().start <= key.span().start => value.span(),
        _ => key.span(),
    }
}

fn into_table(value: Spanned<DeValue<'_>>) -> DeTable<'_> {
    match value.into_inner() {
        DeValue::Table(table) => table,
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => DeTable::new(),
    }
}
