//! `lorectl completions`, and what it makes a shell ask: the program completes its own command line,
//! since it alone knows the addresses. Nothing is asked but the disk, and no spec is parsed.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::CommandFactory;
use clap_complete::{CompletionCandidate, env::Shells};

use crate::{
    effect::{
        disk::{Disk, RealDisk},
        environment, user,
    },
    error::{Code, Error, Result},
    id::{ProjectName, ResourceName},
    layout::Layout,
    spec::source::LARGEST_FILE,
    state::place,
    view::terminal::{ColorChoice, Console},
};

use super::{
    Done,
    args::{Cli, Shell},
    context::Context,
};

/// The variable by which a shell asks; it names the shell.
const ASKED: &str = "LORECTL_COMPLETE";
const PROGRAM: &str = "lorectl";

impl Shell {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }
}

/// Prints what a shell reads to have commands completed.
pub fn run(context: &Context, shell: Shell) -> Result<Done> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let Some(completer) = shells.completer(shell.as_str()) else {
        return Err(Error::new(Code::Internal, "a shell is not known"));
    };
    completer
        .write_registration(ASKED, PROGRAM, PROGRAM, PROGRAM, &mut script)
        .map_err(|error| Error::new(Code::Internal, "a script cannot be written").because(error))?;
    context.console.print(|out| out.write_all(&script))?;
    Ok(Done::Fine)
}

/// Answers a shell that asks how a command line goes on; `None` when none asks.
///
/// A shell is told nothing rather than something that it would print in the middle of a line.
pub fn answer(arguments: &[OsString]) -> Option<ExitCode> {
    let shell = environment::variable(ASKED)?;
    let mut answer = Vec::new();
    let shells = Shells::builtins();
    let words = arguments.iter().skip_while(|word| *word != "--").skip(1);
    let words: Vec<OsString> = words.cloned().collect();
    let done = shell
        .to_str()
        .and_then(|shell| shells.completer(shell))
        .filter(|_| !words.is_empty())
        .map(|completer| {
            let directory = environment::current_dir().ok();
            let mut command = Cli::command();
            command.build();
            completer.write_complete(&mut command, words, directory.as_deref(), &mut answer)
        });
    if !matches!(done, Some(Ok(()))) {
        return Some(ExitCode::FAILURE);
    }
    let console = Console::of_process(ColorChoice::Never);
    let printed = console.print(|out| out.write_all(&answer));
    Some(if printed.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Addresses that go on from what was typed.
pub fn addresses(typed: &OsStr) -> Vec<CompletionCandidate> {
    let known = Known::look();
    let services = known.names.iter().map(|name| format!("service.{name}"));
    let credentials = known
        .credentials
        .iter()
        .map(|name| format!("credential.{name}"));
    matching(typed, credentials.chain(services))
}

/// Names of credentials that go on from what was typed.
pub fn credentials(typed: &OsStr) -> Vec<CompletionCandidate> {
    let known = Known::look();
    matching(typed, known.credentials.iter().map(ToString::to_string))
}

/// Names of services that go on from what was typed.
pub fn names(typed: &OsStr) -> Vec<CompletionCandidate> {
    matching(typed, Known::look().names.iter().map(ToString::to_string))
}

/// Projects that go on from what was typed.
pub fn projects(typed: &OsStr) -> Vec<CompletionCandidate> {
    let known = Known::look();
    let all = known.projects.iter().chain(&known.own);
    let all: BTreeSet<String> = all.map(ToString::to_string).collect();
    matching(typed, all.into_iter())
}

/// Error codes that go on from what was typed.
pub fn codes(typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_ascii_uppercase();
    matching(
        &typed,
        Code::ALL.iter().map(|code| code.as_str().to_owned()),
    )
}

fn matching(typed: &OsStr, all: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    all.filter(|one| one.starts_with(&*typed))
        .map(CompletionCandidate::new)
        .collect()
}

/// What can be named: what was applied, and what the spec of the current directory declares.
#[derive(Debug, Default)]
struct Known {
    projects: Vec<ProjectName>,
    /// The project of the spec in the current directory.
    own: Option<ProjectName>,
    names: BTreeSet<ResourceName>,
    credentials: BTreeSet<ResourceName>,
}

impl Known {
    /// Looks at directories alone, and at the lines of `lore.toml`. What cannot be read is not known.
    fn look() -> Self {
        let disk = RealDisk;
        let mut known = Self::default();
        let Ok(directory) = environment::current_dir() else {
            return known;
        };
        if let Ok(Some(file)) = disk.read(&directory.join("lore.toml"), LARGEST_FILE) {
            let text = String::from_utf8_lossy(&file.bytes);
            (known.own, known.names) = declared(&text, "services.");
            known.credentials = declared(&text, "credentials.").1;
        }
        let Some(state_dir) = state_dir(&directory) else {
            return known;
        };
        known.projects = place::list_projects(&disk, &state_dir).unwrap_or_default();
        let own = known.own.clone();
        let asked = known.projects.iter();
        for project in asked.filter(|project| own.as_ref().is_none_or(|own| own == *project)) {
            let layout = Layout::new(state_dir.clone(), project.clone());
            let listed = |dir: PathBuf| {
                let there = disk.list(&dir).unwrap_or_default().into_iter();
                there.filter_map(|(name, _)| name.parse().ok())
            };
            known.names.extend(listed(layout.services()));
            known.credentials.extend(listed(layout.secrets()));
        }
        known
    }
}

fn state_dir(directory: &Path) -> Option<PathBuf> {
    let given = environment::variable("LORECTL_STATE_DIR").map(PathBuf::from);
    let (xdg_state_home, home) = (
        environment::variable("XDG_STATE_HOME"),
        environment::variable("HOME"),
    );
    place::state_dir(&place::Whereabouts {
        state_dir: given.as_deref(),
        uid: user::effective().uid,
        xdg_state_home: xdg_state_home.as_deref(),
        home: home.as_deref(),
        current_dir: directory,
    })
    .ok()
}

/// The project and the resources of a table that a spec's lines declare, without parsing it: it may be half-written.
fn declared(text: &str, table: &str) -> (Option<ProjectName>, BTreeSet<ResourceName>) {
    let (mut project, mut names) = (None, BTreeSet::new());
    let mut in_project = false;
    for line in text.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            in_project = header.starts_with("project]");
            let name = header.trim_start_matches('[').strip_prefix(table);
            let name = name.and_then(|rest| rest.split(['.', ']']).next());
            names.extend(name.and_then(|name| name.trim_matches('"').parse().ok()));
        } else if in_project
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == "name"
        {
            let value = value.trim().trim_start_matches('"');
            let value = value.split('"').next().unwrap_or_default();
            project = value.parse().ok();
        }
    }
    (project, names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_written_spec_still_names_its_services() {
        let text = "version = 1\n[project]\nname = \"acme\" # ours\n[services.a]\nrun = [\"x\"\n\
                    [[services.sync.stages]]\nname = \"issues\"\n[services.\"b\"]\n[services.]\n[hosts.web1]\n";
        let (project, names) = declared(text, "services.");
        assert_eq!(project.unwrap().as_str(), "acme");
        let names: Vec<&str> = names.iter().map(ResourceName::as_str).collect();
        assert_eq!(names, ["a", "b", "sync"]);
        assert_eq!(declared("", "services.").1.len(), 0);
    }
}
