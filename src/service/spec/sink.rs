//! Who hears of services, as a spec says it: `[notify.NAME]`, and the `ping` of a service.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Problem, Programs, check::nearest, program::program_form, secret};
use crate::{
    effect::http::{HttpUrl, UrlFault},
    id::ResourceName,
    notify::sink::{Event, NotifyFormat, Sink, Target, UrlSource},
};

/// Someone who hears of what happens: a `webhook` or a `command`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Notify")]
pub struct RawNotify {
    /// The URL to which it is posted.
    pub webhook: Option<RawUrl>,
    /// The form in which a webhook takes it. Default: `json`.
    pub format: Option<NotifyFormat>,
    /// A file of PEM certificates that the webhook's is trusted by, beside those of the host.
    pub ca_file: Option<String>,
    /// The command that gets it as JSON on its standard input, as an argument vector.
    #[schemars(length(min = 1))]
    pub command: Option<Vec<String>>,
    /// What is told. Default: all that the resource tells.
    #[schemars(length(min = 1))]
    pub events: Option<Vec<Event>>,
}

/// A URL, or where it is kept when it is a secret.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Url")]
pub enum RawUrl {
    /// The URL.
    Text(String),
    /// Where it is kept.
    From(RawUrlSource),
}

/// Where a URL is kept that is a secret.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "UrlSource")]
pub struct RawUrlSource {
    /// The absolute path of a file that holds it and nothing else. The user of each service that uses
    /// it must be able to read it, and others must not; of credentials tells whoever applies.
    pub file: Option<String>,
    /// Which of `[credentials]` holds it.
    pub credential: Option<ResourceName>,
}

impl RawUrl {
    /// The credential that it names, if it does.
    pub const fn credential(&self) -> Option<&ResourceName> {
        match self {
            Self::From(source) => source.credential.as_ref(),
            Self::Text(_) => None,
        }
    }
}

/// An entry of `[notify]`, with where it was declared.
#[derive(Debug, Clone)]
pub struct DeclaredSink {
    /// Its name.
    pub name: ResourceName,
    /// What it says.
    pub raw: RawNotify,
    /// The absolute directory of the file that declares it.
    pub dir: PathBuf,
}

/// All that is wrong with an entry of `[notify]` wherever it is used; places count from its table.
pub fn check(raw: &RawNotify) -> Vec<Problem> {
    let mut problems = Vec::new();
    match (&raw.webhook, &raw.command) {
        (None, None) => problems.push(
            Problem::at("", "it tells nobody: missing key `webhook`, or `command`")
                .suggest("add `webhook = \"https://…\"`, or `command = [\"/path/to/program\"]`"),
        ),
        (Some(_), Some(_)) => problems.push(
            Problem::key("/command", "one entry has `webhook` or `command`, not both")
                .suggest("make two entries, and name both in `notify`"),
        ),
        (Some(url), None) => problems.extend(check_url("/webhook", url)),
        (None, Some(argv)) => {
            problems.extend(program(argv).map(|problem| Problem {
                at: "/command/0".to_owned(),
                ..problem
            }));
            for (index, argument) in argv.iter().enumerate() {
                if !secret::in_urls(argument).is_empty() {
                    let at = format!("/command/{index}");
                    problems.push(
                        Problem::at(at, "a URL here holds a secret, which everyone on the host could read")
                            .suggest("let the command read it from a file that only the service's user can read"),
                    );
                }
            }
        }
    }
    if raw.webhook.is_none() {
        for (at, said) in [
            ("/format", raw.format.is_some()),
            ("/ca_file", raw.ca_file.is_some()),
        ] {
            if said {
                problems.push(Problem::key(at, "this goes with `webhook`"));
            }
        }
    }
    problems.extend(
        raw.ca_file
            .as_ref()
            .and_then(|path| check_path("/ca_file", path)),
    );
    for (index, event) in raw.events.iter().flatten().enumerate() {
        let before = raw.events.iter().flatten().take(index);
        if before.into_iter().any(|earlier| earlier == event) {
            let at = format!("/events/{index}");
            problems.push(Problem::at(
                at,
                format!("`{}` is there twice", event.as_str()),
            ));
        }
    }
    problems
}

fn program(argv: &[String]) -> Option<Problem> {
    program_form(argv.first()?).err()
}

/// What is wrong with a URL, or with the place where it is kept.
pub fn check_url(at: &str, url: &RawUrl) -> Option<Problem> {
    match url {
        RawUrl::From(RawUrlSource { file, credential }) => match (file, credential) {
            (Some(path), None) => check_path(&format!("{at}/file"), path),
            (None, Some(_)) => None,
            (Some(_), Some(_)) => Some(Problem::key(
                format!("{at}/file"),
                "a URL is kept in a `file` or a `credential`, not both",
            )),
            (None, None) => Some(
                Problem::at(
                    at,
                    "it does not say where the URL is kept: missing key `file`, or `credential`",
                )
                .suggest("write `{ file = \"/etc/acme/hook-url\" }`"),
            ),
        },
        RawUrl::Text(text) if !secret::in_urls(text).is_empty() => Some(
            Problem::at(
                at,
                "the URL holds a secret, which everyone who reads the spec could see",
            )
            .suggest("put the URL into a file, `{ file = \"/etc/acme/hook-url\" }`, or make it a credential"),
        ),
        RawUrl::Text(text) => {
            let fault = HttpUrl::parse(text).err()?;
            let problem = Problem::at(at, fault.to_string());
            Some(match fault {
                UrlFault::Scheme(scheme) => match nearest(&scheme, ["https", "http"].into_iter()) {
                    Some(near) => problem.suggest(format!("did you mean `{near}`?")),
                    None => problem.suggest("write `https://…`"),
                },
                UrlFault::NotOne if text.starts_with('/') => {
                    problem.suggest(format!("a file that holds it is `{{ file = \"{text}\" }}`"))
                }
                UrlFault::NotOne | UrlFault::LinkLocal | UrlFault::Disguised | UrlFault::Long => {
                    problem
                }
            })
        }
    }
}

fn check_path(at: &str, path: &str) -> Option<Problem> {
    let climbs = Path::new(path)
        .components()
        .any(|part| part == std::path::Component::ParentDir);
    let wrong = if path.starts_with('~') {
        "`~` is a shell's, and there is none here"
    } else if !path.starts_with('/') {
        "the path of the file is absolute"
    } else if climbs {
        "the path of the file holds no `..`"
    } else if path.contains(char::is_control) {
        "the path holds a control character"
    } else {
        return None;
    };
    Some(Problem::at(at, wrong).suggest("write the absolute path"))
}

/// Where a URL comes from; `None` for what [`check_url`] refuses.
pub(super) fn url_source(url: &RawUrl) -> Option<UrlSource> {
    match url {
        RawUrl::Text(text) => Some(UrlSource::Url(text.clone())),
        RawUrl::From(RawUrlSource { file, credential }) => match (file, credential) {
            (Some(path), None) => Some(UrlSource::File(path.into())),
            (None, Some(name)) => Some(UrlSource::Credential(name.clone())),
            (Some(_), Some(_)) | (None, None) => None,
        },
    }
}

/// The entries of `notify` that are there twice.
pub fn twice(names: &[ResourceName]) -> Vec<Problem> {
    (names.iter().enumerate())
        .filter(|(index, name)| names.iter().take(*index).any(|earlier| earlier == *name))
        .map(|(index, name)| {
            Problem::at(
                format!("/notify/{index}"),
                format!("`{name}` is there twice"),
            )
        })
        .collect()
}

/// The sinks that something names, in the order in which it does; `all` are the events of its kind.
pub fn resolve(
    names: &[ResourceName],
    declared: &[std::sync::Arc<DeclaredSink>],
    programs: Option<&Programs<'_>>,
    all: &[Event],
    note: &mut dyn FnMut(Problem),
) -> Vec<Sink> {
    let mut sinks = Vec::new();
    for (index, name) in names.iter().enumerate() {
        // One that is not declared is among the problems of the whole spec.
        let Some(sink) = declared.iter().find(|sink| sink.name == *name) else {
            continue;
        };
        match target(sink, programs) {
            Ok(Some(to)) => sinks.push(Sink {
                name: name.clone(),
                events: events(&sink.raw, all),
                to,
            }),
            Ok(None) => {}
            Err(problem) => note(Problem {
                at: format!("/notify/{index}"),
                message: format!("`notify.{name}`: {}", problem.message),
                ..problem
            }),
        }
    }
    sinks
}

fn events(raw: &RawNotify, all: &[Event]) -> Vec<Event> {
    match &raw.events {
        None => all.to_vec(),
        Some(events) => {
            let mut events = events.clone();
            events.sort_unstable();
            events
        }
    }
}

fn target(sink: &DeclaredSink, programs: Option<&Programs<'_>>) -> Result<Option<Target>, Problem> {
    let raw = &sink.raw;
    if let Some(webhook) = &raw.webhook {
        return Ok(url_source(webhook).map(|url| Target::Webhook {
            url,
            format: raw.format.unwrap_or_default(),
            ca_file: raw.ca_file.as_ref().map(PathBuf::from),
        }));
    }
    let Some((program, arguments)) = raw.command.as_ref().and_then(|argv| argv.split_first())
    else {
        return Ok(None);
    };
    let program = super::program("", program, &sink.dir, programs)?;
    let arguments = arguments.iter().cloned();
    Ok(Some(Target::Command(
        std::iter::once(program).chain(arguments).collect(),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let raw: RawNotify = toml::from_str(text).unwrap();
        (check(&raw).into_iter())
            .map(|problem| {
                let near = problem.suggestion.unwrap_or_default();
                format!("{}: {} ({near})", problem.at, problem.message)
            })
            .collect()
    }

    #[test]
    fn sound_entries() {
        for text in [
            "webhook = \"https://hooks.example/x\"",
            "webhook = { file = \"/etc/acme/hook\" }\nformat = \"slack\"\nca_file = \"/etc/ca.pem\"",
            "command = [\"/usr/bin/mail\", \"ops@example.org\"]\nevents = [\"failed\", \"recovered\"]",
            "command = [\"./tell\"]",
            "webhook = { credential = \"slack\" }\nformat = \"slack\"",
        ] {
            assert_eq!(problems(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_helps() {
        for (text, expected) in [
            (
                "format = \"json\"",
                vec![": it tells nobody", "/format: this goes with `webhook`"],
            ),
            (
                "webhook = \"https://a.example\"\ncommand = [\"/x\"]",
                vec!["/command: one entry has"],
            ),
            (
                "webhook = \"htps://a.example\"",
                vec!["did you mean `https`?"],
            ),
            (
                "webhook = \"file:///etc/passwd\"",
                vec!["`file` is not `https`"],
            ),
            (
                "webhook = \"/etc/acme/hook\"",
                vec!["a file that holds it is"],
            ),
            ("webhook = \"http://169.254.169.254/\"", vec!["link-local"]),
            (
                "webhook = \"https://u:p@a.example\"",
                vec!["the URL holds a secret"],
            ),
            (
                "webhook = \"https://a.example/?token=x\"",
                vec!["{ file = "],
            ),
            ("webhook = {}", vec!["missing key `file`, or `credential`"]),
            (
                "webhook = { file = \"/etc/hook\", credential = \"slack\" }",
                vec!["/webhook/file: a URL is kept in"],
            ),
            (
                "webhook = { file = \"~/hook\" }",
                vec!["/webhook/file: `~` is a shell's"],
            ),
            ("webhook = { file = \"hook\" }", vec!["is absolute"]),
            ("command = [\"a/b\"]", vec!["/command/0: "]),
            (
                "command = [\"/x\", \"https://u:p@a.example\"]",
                vec!["/command/1: a URL here"],
            ),
            (
                "command = [\"/x\"]\nevents = [\"failed\", \"failed\"]",
                vec!["/events/1: `failed` is there twice"],
            ),
        ] {
            let found = problems(text);
            assert_eq!(found.len(), expected.len(), "{text}: {found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.contains(expected), "{text}: {found}");
                assert!(!found.contains("u:p"), "{found}");
            }
        }
    }
}
