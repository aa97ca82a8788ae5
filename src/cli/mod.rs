//! The commands: one file each, with its arguments and what it does. They load,
//! call the engine, and hand what comes of it to the view.

mod apply;
mod args;
mod as_user;
mod completions;
mod context;
mod credential;
mod doctor;
mod drift;
mod graph;
mod history;
mod import;
mod init;
mod man;
mod observe;
mod plan;
mod project;
mod reconcile;
mod service;
mod show;
mod state;
mod status;
mod tidings;
mod worker;

use std::{
    ffi::OsString,
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
};

use clap::Parser;

use crate::{
    effect::process::{self, Stopwatch},
    error::{Code, Error, Result},
    spec,
    view::{self, validate::Validated},
};

use args::{Cli, Command};
use context::Context;

/// What a command that did not fail ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// 0.
    Fine,
    /// 2: changes or drift exist, and `--detailed-exitcode` asks.
    Changes,
    /// The exit status of a code, where the output has said all there is to say.
    As(Code),
    /// The exit status of a command that was run.
    Status(u8),
}

impl Done {
    fn status(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Changes => 2,
            Self::As(code) => code.exit().status(),
            Self::Status(status) => status,
        }
    }
}

/// Parses the arguments, runs the command, and gives the process its exit status.
pub fn main(arguments: std::env::ArgsOs) -> ExitCode {
    let stopwatch = Stopwatch::start();
    let arguments: Vec<OsString> = arguments.collect();
    if let Some(status) = completions::answer(&arguments) {
        return status;
    }
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && for_programs(&arguments) => {
            let error = view::error::of_usage(&error);
            context::fail_early(&error, true);
            return ExitCode::from(error.code.exit().status());
        }
        Err(error) => return ExitCode::from(view::terminal::usage(&error)),
    };
    let json = cli.global.json || cli.global.events;
    process::forbid_core_dumps();
    view::defect::listen(context::color(cli.global.color));
    ExitCode::from(guarded(json, || carry_out(cli, stopwatch, json)))
}

/// The exit status of a command, and that of a defect where it panics.
fn guarded(json: bool, command: impl FnOnce() -> u8) -> u8 {
    // Whatever it has left half changed ends with the process.
    panic::catch_unwind(AssertUnwindSafe(command)).unwrap_or_else(|_| {
        let error = view::defect::ended();
        if json {
            context::fail_early(&error, json);
        }
        error.code.exit().status()
    })
}

/// Runs a command; its exit status.
fn carry_out(cli: Cli, stopwatch: Stopwatch, json: bool) -> u8 {
    let context = match Context::new(cli.global, stopwatch) {
        Ok(context) => context,
        Err(error) => {
            context::fail_early(&error, json);
            return error.code.exit().status();
        }
    };
    match run(&context, cli.command) {
        Ok(done) => done.status(),
        Err(error) => {
            let status = error.code.exit().status();
            context.fail(&error);
            status
        }
    }
}

/// Whether arguments that cannot be parsed ask for JSON all the same.
fn for_programs(arguments: &[OsString]) -> bool {
    let words = arguments.iter().take_while(|word| *word != "--");
    words
        .into_iter()
        .any(|word| word == "--json" || word == "--events")
}

fn run(context: &Context, command: Command) -> Result<Done> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(Code::Internal, "cannot start the runtime").because(error))?;
    let done = runtime.block_on(async {
        match command {
            Command::Init(args) => init::run(context, &args).await,
            Command::Import(args) => import::run(context, &args).await,
            Command::Validate => validate(context),
            Command::Schema => context.text(&spec::json_schema()),
            Command::Plan(args) => plan::run(context, &args).await,
            Command::Apply(args) => apply::run(context, &args).await,
            Command::Drift(args) => drift::run(context, &args).await,
            Command::Observe(args) => observe::run(context, &args).await,
            Command::Show(args) => show::run(context, &args),
            Command::Destroy(args) => apply::destroy(context, &args).await,
            Command::Reconcile(args) => reconcile::run(context, &args).await,
            Command::Status { address } => status::run(context, address.as_ref()),
            Command::History { address, limit } => history::run(context, address.as_ref(), limit),
            Command::State { command } => state::run(context, command).await,
            Command::Service { command } => Box::pin(service::run(context, command)).await,
            Command::Credential { command } => credential::run(context, command).await,
            Command::Lock {
                name,
                wait,
                command,
            } => service::lock(context, &name, wait, &command).await,
            Command::Worker => worker::run(context).await,
            Command::AsUser { name } => as_user::run(&name).await,
            Command::Graph { format } => graph::run(context, format).await,
            Command::Doctor(args) => doctor::run(context, &args).await,
            Command::Completions { shell } => completions::run(context, shell),
            Command::Man { command, out } => man::run(context, &command, out.as_deref()),
            Command::Explain { code } => explain(context, code.as_deref()),
        }
    });
    // A name that is still being resolved, on a thread of its own, is waited for by nobody.
    runtime.shutdown_background();
    done
}

fn validate(context: &Context) -> Result<Done> {
    let spec = context.spec()?;
    let validated = Validated {
        project: spec.project.to_string(),
        files: spec.files.iter().map(ToString::to_string).collect(),
        resources: [
            ("credential".to_owned(), spec.credentials.len()),
            ("service".to_owned(), spec.services.len()),
        ]
        .into(),
        warnings: Vec::new(),
    };
    context.show(&validated)
}

fn explain(context: &Context, code: Option<&str>) -> Result<Done> {
    let style = &context.console.stdout;
    let text = match code {
        Some(name) => view::explain::render(name, style)?,
        None => view::explain::list(style),
    };
    context.text(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_with_the_status_of_a_defect() {
        assert_eq!(guarded(false, || 3), 3);
        assert_eq!(guarded(false, || panic!("a test panics here")), 70);
    }
}
