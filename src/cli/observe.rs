//! `lorectl observe`: a snapshot of the host, so that a plan can be made for it elsewhere. It changes
//! nothing.

use std::path::Path;

use crate::{
    effect::environment,
    error::{Code, Error, Result},
    observe::snapshot::{self, Snapshot},
    view::{self, snapshot::Observed},
};

use super::{Done, args::ObserveArgs, context::Context, project::Project};

/// Looks at the host, and writes what there is where `--out` says.
pub async fn run(context: &Context, args: &ObserveArgs) -> Result<Done> {
    let mut project = Project::open(context, context.project()?)?;
    let snapshot = project.observe().await?;
    let to_stdout = args.out.as_deref() == Some(Path::new("-"));
    if args.out.is_some() || context.json() {
        let bytes = snapshot.encode()?;
        if to_stdout && !context.json() {
            context.console.print(|out| out.write_all(&bytes))?;
            return Ok(Done::Fine);
        }
        if let Some(out) = args.out.as_deref().filter(|_| !to_stdout) {
            context.write_out(out, &bytes)?;
        }
        if context.json() {
            context.console.print(|out| {
                view::json::success_with(out, bytes.trim_ascii_end(), context.elapsed_ms())
            })?;
            return Ok(Done::Fine);
        }
    }
    let written = args.out.as_ref().map(|out| out.display().to_string());
    context.text(&Observed::of(&snapshot, written).text(&context.console.stdout))
}

/// Reads a snapshot; `-` is standard input.
///
/// # Errors
/// `SNAPSHOT_INVALID` for what is none, or larger than any; nothing that large is read.
pub fn read(context: &Context, shown: &Path) -> Result<Snapshot> {
    if shown == Path::new("-") {
        return Snapshot::decode(&environment::standard_input(snapshot::MAX_BYTES)?);
    }
    let path = context.directory.join(shown);
    let read = context.disk.read(&path, snapshot::MAX_BYTES);
    let read = read.map_err(|error| {
        let mut failed = Error::io("read", shown, error);
        // What the disk refuses by itself: not a regular file, or too large.
        if failed.code == Code::Io {
            failed.code = Code::SnapshotInvalid;
            return failed.suggest(snapshot::AGAIN);
        }
        failed
    })?;
    let Some(file) = read else {
        let message = format!("there is no snapshot {}", shown.display());
        return Err(Error::new(Code::SnapshotInvalid, message)
            .suggest("`lorectl observe --out FILE`, on the host, makes one"));
    };
    Snapshot::decode(&file.bytes)
}
