//! The command line.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::ArgValueCompleter;

use super::completions::{addresses, codes, credentials, names, projects};
use crate::{
    effect::delegate,
    id::{Address, ProjectName, ResourceName, Seconds},
};

/// Reconciles a host's scheduled jobs with a TOML file in git.
#[derive(Debug, Parser)]
#[command(
    name = "lorectl",
    version,
    max_term_width = 100,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// A spec: a file, a directory (all its *.toml), or `-` for standard input [default: lore.toml]
    #[arg(short = 'f', long = "file", value_name = "PATH", global = true)]
    pub files: Vec<PathBuf>,
    /// Work as if started in this directory
    #[arg(short = 'C', long = "directory", value_name = "DIR", global = true)]
    pub directory: Option<PathBuf>,
    /// The project, for commands that read no spec
    #[arg(long, value_name = "NAME", global = true, add = ArgValueCompleter::new(projects))]
    pub project: Option<ProjectName>,
    /// Where states are kept [default: /var/lib/lorectl for root, else ~/.local/state/lorectl]
    #[arg(long, value_name = "DIR", global = true)]
    pub state_dir: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Print JSON lines while working, the document last
    #[arg(long, global = true)]
    pub events: bool,
    /// Show new files whole, and trace phases on standard error; -vv requests, processes and locks too,
    /// -vvv writes too
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Show of plans and applies the summary and what is wrong
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// When to use colour
    #[arg(long, value_enum, default_value_t = Color::Auto, value_name = "WHEN", global = true)]
    pub color: Color,
}

/// A language of graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// For Graphviz: `lorectl graph | dot -Tsvg`
    Dot,
    /// For Markdown, in which forges draw it
    Mermaid,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a first lore.toml
    Init(super::init::InitArgs),
    /// Write a service into the spec that takes the place of a timer or a line of a crontab
    Import(super::import::ImportArgs),
    /// Check the spec; print all that is wrong with it
    Validate,
    /// Print the JSON Schema of the spec
    Schema,
    /// Show what apply would change
    Plan(PlanArgs),
    /// Change the host to what the spec says
    Apply(ApplyArgs),
    /// Show what changed on the host since the last apply
    Drift(DriftArgs),
    /// Take a snapshot of the host, so that a plan can be made for it elsewhere
    Observe(ObserveArgs),
    /// Remove all of a project from the host
    Destroy(DestroyArgs),
    /// Put back what drifted from what was applied; reads no spec
    Reconcile(ReconcileArgs),
    /// Show a plan file or a snapshot
    Show(ShowArgs),
    /// Show each resource: state, next run, last outcome
    Status {
        /// Only this one
        #[arg(add = ArgValueCompleter::new(addresses))]
        address: Option<Address>,
    },
    /// Show what was done: who, when, what became of each resource, how long it took
    History {
        /// Only what was done to this one
        #[arg(add = ArgValueCompleter::new(addresses))]
        address: Option<Address>,
        /// How many, the last first
        #[arg(short = 'n', long, default_value_t = 20, value_name = "COUNT")]
        limit: usize,
    },
    /// Look at and mend what lorectl remembers of a project
    State {
        #[command(subcommand)]
        command: StateCommand,
    },
    /// Look at and trigger services
    Service {
        #[command(subcommand)]
        command: ServiceCommand,
    },
    /// Look at, try and replace credentials
    Credential {
        #[command(subcommand)]
        command: CredentialCommand,
    },
    /// Run a command while holding a service's locks, so that no run of it comes between
    Lock {
        /// The service
        #[arg(add = ArgValueCompleter::new(names))]
        name: ResourceName,
        /// How long to wait for the locks
        #[arg(long, default_value = "0s", value_name = "DURATION")]
        wait: Seconds,
        /// The command and its arguments, after `--`
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Run due services in the foreground, where there is no systemd
    Worker,
    /// What a root's lorectl starts to act for a user
    #[command(name = delegate::COMMAND, hide = true)]
    AsUser {
        /// The user
        name: String,
    },
    /// Draw what depends on what, and what the next apply does to each
    Graph {
        /// The language to draw in
        #[arg(long, value_enum, default_value_t = GraphFormat::Dot, value_name = "FORMAT")]
        format: GraphFormat,
    },
    /// Check all that a project needs on this host, and say what mends it
    Doctor(DoctorArgs),
    /// Explain an error code
    Explain {
        /// The code, as `SPEC_INVALID`; without it, all are listed
        #[arg(add = ArgValueCompleter::new(codes))]
        code: Option<String>,
    },
    /// Print what makes a shell complete commands, options and addresses
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man {
        /// Of this command, as `service trigger`
        command: Vec<String>,
        /// Write the pages of all commands to a directory that is there
        #[arg(long, value_name = "DIR", conflicts_with = "command")]
        out: Option<PathBuf>,
    },
}

/// A shell that completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// `eval "$(lorectl completions bash)"` in ~/.bashrc
    Bash,
    /// `eval "$(lorectl completions zsh)"` in ~/.zshrc, after compinit
    Zsh,
    /// `lorectl completions fish | source` in config.fish
    Fish,
}

/// What `plan` takes.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Write the plan to a file, to be shown, approved and given to apply
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Plan for the host of a snapshot that `observe` made, without looking at this one; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub observed: Option<PathBuf>,
    /// The host that the snapshot must be of
    #[arg(long, value_name = "NAME", requires = "observed")]
    pub host: Option<String>,
    /// Refuse a snapshot that is older
    #[arg(long, value_name = "DURATION", requires = "observed")]
    pub max_age: Option<Seconds>,
    /// Only this resource and what it depends on
    #[arg(long = "target", value_name = "ADDR", add = ArgValueCompleter::new(addresses))]
    pub targets: Vec<Address>,
    /// Refuse a plan that holds one of these actions
    #[arg(long, value_name = "ACTIONS", value_delimiter = ',', value_enum)]
    pub deny: Vec<Deny>,
    /// Do not refuse a plan for deleting much
    #[arg(long)]
    pub allow_deletes: bool,
    /// Exit with 2 when there are changes
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// Ask no issuer of a credential: go by what each said last
    #[arg(long)]
    pub offline: bool,
}

/// An action that `--deny` refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Deny {
    /// Nothing may be made
    Create,
    /// Nothing may be changed
    Update,
    /// Nothing may be replaced
    Replace,
    /// Nothing may be deleted
    Delete,
}

/// What `reconcile` takes.
#[derive(Debug, Args)]
pub struct ReconcileArgs {
    /// What it may do [default: what `[reconcile]` allowed when it was applied, else all of it]
    #[arg(long, value_name = "WHAT", value_delimiter = ',', value_enum)]
    pub allow: Vec<Allow>,
}

/// What a reconciling may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Allow {
    /// Mend drift
    Drift,
    /// Rotate what is due
    Rotation,
    /// Go on with rollouts
    Rollout,
}

/// What `apply` takes.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// A plan made with `plan --out`: the approval; what is not in it is not done
    pub plan_file: Option<PathBuf>,
    /// Do not ask
    #[arg(short = 'y', long = "yes")]
    pub yes: bool,
    /// Only this resource and what it depends on
    #[arg(long = "target", value_name = "ADDR", add = ArgValueCompleter::new(addresses))]
    pub targets: Vec<Address>,
    /// What to do with what is connected to a failure
    #[arg(long, value_enum, default_value_t = OnFailure::Rollback, value_name = "WHAT")]
    pub on_failure: OnFailure,
    /// Do not refuse a plan for deleting much
    #[arg(long)]
    pub allow_deletes: bool,
}

/// What to do with what is connected to a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnFailure {
    /// Put it back as it was
    Rollback,
    /// Leave it as it is
    Stop,
}

/// What `drift` takes.
#[derive(Debug, Args)]
pub struct DriftArgs {
    /// Exit with 2 when something drifted
    #[arg(long)]
    pub detailed_exitcode: bool,
}

/// What `observe` takes.
#[derive(Debug, Args)]
pub struct ObserveArgs {
    /// Write the snapshot to a file; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// What `show` takes.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// What `plan --out` or `observe --out` wrote
    pub file: PathBuf,
    /// How a plan is shown
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
}

/// How a plan file is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// As `plan` prints it
    Text,
    /// A comment on a merge request, under 60 KB
    Markdown,
    /// The counts that GitLab shows as a Terraform report
    Gitlab,
    /// One page for a browser
    Html,
}

/// What `destroy` takes.
#[derive(Debug, Args)]
pub struct DestroyArgs {
    /// Do not ask
    #[arg(short = 'y', long = "yes")]
    pub yes: bool,
    /// Remove status and logs too
    #[arg(long)]
    pub purge: bool,
}

/// What can be done with a state.
#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// List what was applied
    List,
    /// Show the record of one resource, as JSON
    Show {
        /// The resource
        #[arg(add = ArgValueCompleter::new(addresses))]
        address: Address,
    },
    /// Forget resources, and leave them on the host as they are
    Rm {
        /// The resources
        #[arg(required = true, value_name = "ADDR", add = ArgValueCompleter::new(addresses))]
        addresses: Vec<Address>,
    },
    /// Give a service another name, with its status and logs: the old one goes, the new one is made
    Mv {
        /// What it is called
        #[arg(add = ArgValueCompleter::new(addresses))]
        from: Address,
        /// What it is to be called
        to: Address,
    },
    /// Write the state to one file, for a host that takes this one's place
    Export {
        /// The file; `-` is standard output [default: standard output]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Make an exported state the state of this host
    Import(ImportArgs),
    /// Put the newest good backup in the place of a damaged or lost state, and take in what carries
    /// the project's marks and is in no state
    Repair,
}

/// What `doctor` takes.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Mend what is safe to mend
    #[arg(long)]
    pub fix: bool,
    /// Ask no scheduler
    #[arg(long)]
    pub offline: bool,
}

/// What `state import` takes.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// What `state export` wrote; `-` is standard input
    pub file: PathBuf,
    /// This host takes the place of the one that the file is of
    #[arg(long)]
    pub new_host: bool,
    /// Put it in the place of a state that is here
    #[arg(long)]
    pub overwrite: bool,
}

/// The verbs of credentials.
#[derive(Debug, Subcommand)]
pub enum CredentialCommand {
    /// List all credentials: how each stands, when it ends
    List,
    /// Ask the issuer what a credential is worth, or what a token would be
    Validate {
        /// The credential
        #[arg(add = ArgValueCompleter::new(credentials))]
        name: ResourceName,
        /// Try the token on standard input, and store nothing
        #[arg(long)]
        value_stdin: bool,
    },
    /// See to it that there is a value that serves, as a unit does before a run: renew what is due, where
    /// the old value lives on beside the new one
    Refresh {
        /// The credentials
        #[arg(required = true, add = ArgValueCompleter::new(credentials))]
        names: Vec<ResourceName>,
    },
    /// Obtain a new value now and deliver it
    Rotate {
        /// The credential
        #[arg(add = ArgValueCompleter::new(credentials))]
        name: ResourceName,
        /// Do not ask
        #[arg(short = 'y', long = "yes")]
        yes: bool,
    },
}

/// The verbs of services.
#[derive(Debug, Subcommand)]
pub enum ServiceCommand {
    /// List all services
    List,
    /// Show one service: schedule, state, recent runs
    Status {
        /// The service
        #[arg(add = ArgValueCompleter::new(names))]
        name: ResourceName,
    },
    /// Show what a service printed
    Logs {
        /// The service
        #[arg(add = ArgValueCompleter::new(names))]
        name: ResourceName,
        /// How many lines [default: 100]; with --json none are shown without this, and at most 100
        #[arg(short = 'n', long, num_args = 0..=1, default_missing_value = "100", value_name = "LINES")]
        tail: Option<usize>,
        /// Go on with what comes, until Ctrl-C
        #[arg(short = 'F', long, conflicts_with = "json")]
        follow: bool,
        /// Open the log with $VISUAL, $EDITOR or `less`
        #[arg(long, conflicts_with = "follow")]
        open: bool,
    },
    /// Run a service no more until it is resumed; a run under way ends first
    Pause {
        /// The service
        #[arg(add = ArgValueCompleter::new(names))]
        name: ResourceName,
        /// Why, for whoever finds it paused
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Run a paused service again, and forget its failures
    Resume {
        /// The service
        #[arg(add = ArgValueCompleter::new(names))]
        name: ResourceName,
    },
    /// Check what a service's runs need on this host
    Doctor {
        /// The service
        #[arg(add = ArgValueCompleter::new(names))]
        name: ResourceName,
        /// Mend what is safe to mend
        #[arg(long)]
        fix: bool,
    },
    /// Set aside a status that cannot be read, and begin a new one
    Repair {
        /// The service
        #[arg(add = ArgValueCompleter::new(names))]
        name: ResourceName,
    },
    /// Run a service now and wait for its end
    Trigger {
        /// The service
        #[arg(add = ArgValueCompleter::new(names))]
        name: ResourceName,
        /// Do not wait for a backoff to end
        #[arg(long)]
        ignore_backoff: bool,
    },
    /// What a scheduler calls
    #[command(hide = true)]
    Run {
        /// The service
        #[arg(add = ArgValueCompleter::new(names))]
        name: ResourceName,
        /// Run nothing; deliver the notifications that wait
        #[arg(long)]
        only_notify: bool,
    },
}
