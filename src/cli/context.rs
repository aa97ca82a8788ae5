//! What every command needs: where things are, who asks, what time it is, how to print.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
};

use serde::Serialize;

use crate::{
    effect::{
        clock::{Clock, SystemClock},
        disk::{Disk, Durability, EntryKind, RealDisk},
        environment,
        process::Stopwatch,
        user::{self, Account},
    },
    error::{Code, Error, Result},
    id::{Lineage, ProjectName, Timestamp},
    layout::Layout,
    service::backend,
    spec::{self, Spec},
    state::{identity, place, store},
    view::{
        View,
        apply::Verbosity,
        json,
        plan::Detail,
        terminal::{ColorChoice, Console},
        trace,
    },
};

use super::{
    Done,
    args::{Color, Global},
};

/// The surroundings of one command.
pub struct Context {
    pub global: Global,
    pub console: Console,
    pub disk: Rc<dyn Disk>,
    pub clock: SystemClock,
    pub stopwatch: Stopwatch,
    /// Who asks.
    pub account: Account,
    /// Where relative paths begin: `-C`, else the current directory. Absolute.
    pub directory: PathBuf,
    /// Where states are kept. Absolute.
    pub state_dir: PathBuf,
}

impl Context {
    /// Looks at the process once.
    ///
    /// # Errors
    /// `USAGE` for what the environment or the options get wrong.
    pub fn new(global: Global, stopwatch: Stopwatch) -> Result<Self> {
        let mut console = Console::of_process(color(global.color));
        let clock = SystemClock::from_environment()?;
        if !global.quiet && global.verbose > 0 {
            // What moves the cursor would be torn by lines in between.
            console.live = false;
            trace::start(trace::Settings {
                depth: global.verbose,
                style: console.stderr,
                since: stopwatch,
                timeless: clock.is_fixed(),
            });
        }
        let current = environment::current_dir()?;
        let directory = global
            .directory
            .as_ref()
            .map_or_else(|| current.clone(), |dir| current.join(dir));
        let account = user::current()?;
        let (xdg_state_home, home) = (
            environment::variable("XDG_STATE_HOME"),
            environment::variable("HOME"),
        );
        let given = global
            .state_dir
            .clone()
            .or_else(|| environment::variable("LORECTL_STATE_DIR").map(PathBuf::from));
        let state_dir = place::state_dir(&place::Whereabouts {
            state_dir: given.as_deref(),
            uid: account.owner.uid,
            xdg_state_home: xdg_state_home.as_deref(),
            home: home.as_deref(),
            current_dir: &directory,
        })?;
        Ok(Self {
            clock,
            console,
            disk: Rc::new(RealDisk),
            stopwatch,
            account,
            directory,
            state_dir,
            global,
        })
    }

    /// Now, UTC.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Milliseconds since the command began.
    pub fn elapsed_ms(&self) -> u64 {
        self.stopwatch.elapsed_ms()
    }

    /// How much a plan shows.
    pub fn detail(&self) -> Detail {
        match (self.global.quiet, self.global.verbose) {
            (true, _) => Detail::Summary,
            (false, 0) => Detail::Usual,
            (false, _) => Detail::Full,
        }
    }

    /// The layout of a project.
    pub fn layout(&self, project: ProjectName) -> Layout {
        Layout::new(self.state_dir.clone(), project)
    }

    /// What backends of a project work with.
    pub fn host(&self, layout: Layout) -> backend::Host {
        backend::Host {
            account: self.account.clone(),
            layout,
            disk: Rc::clone(&self.disk),
            clock: self.clock,
            asked: None,
        }
    }

    /// The lineage of a project's first state here.
    pub fn lineage(&self, project: &ProjectName) -> Result<Lineage> {
        identity::lineage(self.disk.as_ref(), project)
    }

    /// Reads the spec.
    ///
    /// # Errors
    /// All that is wrong with it, in one error.
    pub fn spec(&self) -> Result<Spec> {
        let from_stdin = self.global.files.iter().any(|f| f == Path::new("-"));
        let stdin = from_stdin
            .then(|| environment::standard_input(spec::source::LARGEST_FILE))
            .transpose()?;
        let request = spec::Request {
            paths: &self.global.files,
            stdin: stdin.as_deref(),
            cwd: &self.directory,
        };
        let watch = Stopwatch::start();
        let spec = spec::load(&request, self.disk.as_ref())?;
        tracing::info!(
            project = %spec.project,
            files = spec.files.len(),
            services = spec.services.len(),
            credentials = spec.credentials.len(),
            ms = watch.elapsed_ms(),
            "loaded the spec"
        );
        Ok(spec)
    }

    /// The project of a command that reads no spec: `--project`, else the spec's, else the only one.
    ///
    /// # Errors
    /// `PROJECT_UNKNOWN` with those there are; what is wrong with a spec that `-f` names.
    pub fn project(&self) -> Result<ProjectName> {
        if let Some(project) = &self.global.project {
            return Ok(project.clone());
        }
        match self.spec() {
            Ok(spec) => return Ok(spec.project),
            Err(error) if !self.global.files.is_empty() => return Err(error),
            // A spec that is missing or being edited does not keep anyone from looking at the host.
            Err(_) => {}
        }
        let disk = self.disk.as_ref();
        let mut projects = place::list_projects(disk, &self.state_dir)?;
        if projects.len() > 1 {
            // One that holds nothing any more is in nobody's way.
            let all = projects.clone();
            projects.retain(|project| !store::is_empty(disk, &self.layout(project.clone())));
            if projects.is_empty() {
                projects = all;
            }
        }
        if projects.len() > 1 || projects.is_empty() {
            let place = self.state_dir.display();
            let message = if projects.is_empty() {
                format!("there is no spec here and no project in {place}")
            } else {
                format!("there are several projects in {place}")
            };
            return Err(Error::new(Code::ProjectUnknown, message)
                .with_details(projects.iter().map(ToString::to_string).collect())
                .suggest("name one with `--project`, or the spec with `-f`"));
        }
        Ok(projects.remove(0))
    }

    /// Writes what `--out` asks for, whole or not at all, readable to its owner alone. What is no file
    /// is neither replaced nor written to (but that `/dev/null` swallows it), and no link is followed: in
    /// a directory that others may write to, it could be anyone's.
    ///
    /// # Errors
    /// `IO` for a directory, a link, a device or a pipe, and for what the disk says.
    pub fn write_out(&self, shown: &Path, bytes: &[u8]) -> Result<()> {
        let path = self.directory.join(shown);
        let failed = |error| Error::io("write", shown, error);
        let refused = |why: &str| {
            let message = format!("cannot write {}: {why}", shown.display());
            Err(Error::new(Code::Io, message).suggest("name a file, or `-` for standard output"))
        };
        match (self.disk.stat(&path).map_err(failed)?).map(|stat| stat.kind) {
            Some(EntryKind::Special) if path == Path::new("/dev/null") => Ok(()),
            Some(EntryKind::Special) => refused("it is a device or a pipe"),
            Some(EntryKind::Dir) => refused("it is a directory"),
            Some(EntryKind::Link) => refused("it is a symbolic link"),
            Some(EntryKind::File) | None => {
                let written = self.disk.write(&path, bytes, 0o600, None, Durability::Now);
                written.map_err(failed)
            }
        }
    }

    /// How much an apply says while it works.
    pub fn verbosity(&self) -> Verbosity {
        match (self.global.quiet, self.global.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Usual,
            (false, _) => Verbosity::Verbose,
        }
    }

    /// Whether programs read along: one JSON document, and perhaps events before it.
    pub fn json(&self) -> bool {
        self.global.json || self.global.events
    }

    /// Prints text.
    pub fn text(&self, text: &str) -> Result<Done> {
        self.console.print(|out| out.write_all(text.as_bytes()))?;
        Ok(Done::Fine)
    }

    /// Prints what a command has found: as JSON, or as text.
    pub fn show<T: View>(&self, data: &T) -> Result<Done> {
        self.console.show(data, self.json(), self.elapsed_ms())?;
        Ok(Done::Fine)
    }

    /// The same for data whose text tells what is wrong: the command ends as that does, and so does its JSON.
    pub fn show_with<T: View>(&self, data: &T, wrong: Option<&Error>) -> Result<Done> {
        let Some(error) = wrong else {
            return self.show(data);
        };
        if self.json() {
            self.console
                .print(|out| json::failure_with(out, error, Some(data), self.elapsed_ms()))?;
        } else {
            self.show(data)?;
        }
        Ok(Done::As(error.code))
    }

    /// The same for data of which some could not be read: that is told after the rest.
    pub fn show_rest<T: View>(&self, data: &T, unread: Option<Error>) -> Result<Done> {
        match unread {
            Some(error) if !self.json() => {
                self.show(data)?;
                Err(error)
            }
            unread => self.show_with(data, unread.as_ref()),
        }
    }

    /// Prints data that has no text of its own.
    pub fn data<T: Serialize>(&self, data: &T) -> Result<Done> {
        self.console
            .print(|out| json::success(out, data, self.elapsed_ms()))?;
        Ok(Done::Fine)
    }

    /// Prints an error: as the JSON document, or as text on standard error.
    pub fn fail(&self, error: &Error) {
        self.console.fail(error, self.json(), self.elapsed_ms());
    }
}

/// When to use colours, as the options say.
pub const fn color(given: Color) -> ColorChoice {
    match given {
        Color::Auto => ColorChoice::Auto,
        Color::Always => ColorChoice::Always,
        Color::Never => ColorChoice::Never,
    }
}

/// Prints the error of a command that could not begin.
pub fn fail_early(error: &Error, json: bool) {
    Console::of_process(ColorChoice::Auto).fail(error, json, 0);
}
