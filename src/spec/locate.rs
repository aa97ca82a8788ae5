//! Where a problem stands: its file read once more, since nothing keeps spans while all is well.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    file,
    finding::{Finding, Lines},
    source::{Bytes, Source, Sources},
};
use crate::{
    effect::disk::Disk,
    id::{Address, Kind},
    service::spec::Problem,
};

/// A problem and the resource that has it.
pub struct Located<'a> {
    /// The index of its file.
    pub file: usize,
    /// The resource.
    pub address: &'a Address,
    /// The line of its table.
    pub line: u32,
    /// The problem.
    pub problem: &'a Problem,
}

/// Finds the places of problems, in the service's own table or in the defaults that it inherits.
pub fn locate(
    sources: &Sources,
    defaults: &BTreeMap<String, usize>,
    problems: &[Located<'_>],
    disk: &dyn Disk,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut inherited: Vec<Located<'_>> = Vec::new();
    for (index, source) in sources.files.iter().enumerate() {
        let own: Vec<&Located<'_>> = problems
            .iter()
            .filter(|located| located.file == index)
            .collect();
        if own.is_empty() {
            continue;
        }
        with_text(sources, source, disk, |text| {
            let lookup = text.map(|(text, lines)| (Lookup::of(text), lines));
            for located in own {
                let (table, inherits) = table(located.address.kind);
                let mut path = vec![table, located.address.name.as_str()];
                let steps = steps(&located.problem.at);
                path.extend(steps.iter().map(String::as_str));
                let key = path.get(2).copied();
                let (Some((lookup, lines)), Some(key)) = (&lookup, key.or(Some(""))) else {
                    findings.push(by_line(source, located));
                    continue;
                };
                let elsewhere = inherits && !key.is_empty() && defaults.contains_key(key);
                if elsewhere && !lookup.has(&path) {
                    inherited.push(Located { ..*located });
                    continue;
                }
                findings.push(at_path(source, lookup, lines, &path, located));
            }
        });
    }
    let files: BTreeSet<usize> = defaults.values().copied().collect();
    for index in files {
        let Some(source) = sources.files.get(index) else {
            continue;
        };
        let of_file = |located: &&Located<'_>| {
            let steps = steps(&located.problem.at);
            steps.first().and_then(|key| defaults.get(key)) == Some(&index)
        };
        let own: Vec<&Located<'_>> = inherited.iter().filter(of_file).collect();
        if own.is_empty() {
            continue;
        }
        with_text(sources, source, disk, |text| {
            let lookup = text.map(|(text, lines)| (Lookup::of(text), lines));
            for located in own {
                let mut path = vec!["defaults", "services"];
                let steps = steps(&located.problem.at);
                path.extend(steps.iter().map(String::as_str));
                findings.push(match &lookup {
                    Some((lookup, lines)) => at_path(source, lookup, lines, &path, located),
                    None => by_line(source, located),
                });
            }
        });
    }
    findings
}

/// The table of a kind's resources, and whether they inherit from `[defaults]`.
const fn table(kind: Kind) -> (&'static str, bool) {
    match kind {
        Kind::Service => ("services", true),
        Kind::Credential => ("credentials", false),
        Kind::Deployment => ("deployments", false),
        #[cfg(test)]
        Kind::Toy => ("toys", false),
    }
}

fn at_path(
    source: &Source,
    lookup: &Lookup<'_>,
    lines: &Lines<'_>,
    path: &[&str],
    located: &Located<'_>,
) -> Finding {
    let problem = located.problem;
    let span = lookup.span(path, problem.on_key);
    lines
        .finding(&source.shown, span, problem.message.clone())
        .suggest(problem.suggestion.clone())
}

/// The finding of a problem whose file can no longer be read.
fn by_line(source: &Source, located: &Located<'_>) -> Finding {
    let message = format!(
        "`{}` (line {}): {}",
        located.address, located.line, located.problem.message
    );
    Finding::of_file(&source.shown, message).suggest(located.problem.suggestion.clone())
}

fn with_text(
    sources: &Sources,
    source: &Source,
    disk: &dyn Disk,
    then: impl FnOnce(Option<(&str, Lines<'_>)>),
) {
    match sources.read(source, disk) {
        Ok(Bytes::Read(bytes)) => match std::str::from_utf8(&bytes) {
            Ok(text) => then(Some((text, Lines::of(text)))),
            Err(_) => then(None),
        },
        Ok(Bytes::Refused(_)) | Err(_) => then(None),
    }
}

/// The steps of a JSON pointer.
fn steps(pointer: &str) -> Vec<String> {
    (pointer.split('/').skip(1))
        .map(|step| step.replace("~1", "/").replace("~0", "~"))
        .collect()
}

/// The span of a place in a parsed text: as much of the way as there is.
struct Lookup<'t> {
    root: Option<Spanned<DeTable<'t>>>,
}

impl<'t> Lookup<'t> {
    /// Parses a text once more, to look spans up in it.
    fn of(text: &'t str) -> Self {
        Self {
            root: file::parse(text).0,
        }
    }

    /// Whether there is something at a path of keys.
    fn has(&self, path: &[&str]) -> bool {
        self.find(path)
            .is_some_and(|(_, _, found)| found == path.len())
    }

    /// The span of the value at the end of a path, or of its key; where the path ends early, of
    /// what it ends at.
    fn span(&self, path: &[&str], on_key: bool) -> Range<usize> {
        match self.find(path) {
            Some((Some(key), _, found)) if on_key && found == path.len() => key,
            Some((_, value, _)) => value,
            None => 0..0,
        }
    }

    fn find(&self, path: &[&str]) -> Option<(Option<Range<usize>>, Range<usize>, usize)> {
        let root = self.root.as_ref()?;
        let (first, rest) = path.split_first()?;
        let (key, value) = root.get_ref().get_key_value(*first)?;
        let (key, span, found) = find_below(Some(key.span()), value, rest);
        Some((key, span, found + 1))
    }
}

/// The span of a place below a value, or of its key, as [`Lookup::span`] has it.
pub fn span(value: &Spanned<DeValue<'_>>, pointer: &str, on_key: bool) -> Range<usize> {
    let steps = steps(pointer);
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    match find_below(None, value, &steps) {
        (Some(key), _, found) if on_key && found == steps.len() => key,
        (_, value, _) => value,
    }
}

/// Goes as far as there is something: the key and the value where it ends, and how many steps that is.
fn find_below(
    mut key: Option<Range<usize>>,
    mut value: &Spanned<DeValue<'_>>,
    steps: &[&str],
) -> (Option<Range<usize>>, Range<usize>, usize) {
    for (index, step) in steps.iter().enumerate() {
        let next = match value.get_ref() {
            DeValue::Table(table) => table
                .get_key_value(*step)
                .map(|(key, value)| (Some(key.span()), value)),
            DeValue::Array(array) => step
                .parse::<usize>()
                .ok()
                .and_then(|at| Some((None, array.get(at)?))),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => None,
        };
        let Some((next_key, next_value)) = next else {
            return (key, value.span(), index);
        };
        (key, value) = (next_key, next_value);
    }
    (key, value.span(), steps.len())
}
