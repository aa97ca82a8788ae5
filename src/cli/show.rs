//! `lorectl show`: a plan file, or a snapshot, for whoever is to read it.

use std::path::Path;

use crate::{
    error::{Code, Error, Result},
    observe::snapshot::{self, Snapshot},
    plan::saved::Saved,
    view::{
        self,
        report::{Gitlab, html, markdown},
        snapshot::Observed,
    },
};

use super::{
    Done,
    args::{Format, ShowArgs},
    context::Context,
};

/// What a snapshot begins with, and no plan file does.
const SNAPSHOT: &[u8] = b"{\"digest\":\"";

/// Shows a file.
pub fn run(context: &Context, args: &ShowArgs) -> Result<Done> {
    let bytes = read(context, &args.file)?;
    if bytes.starts_with(SNAPSHOT) {
        return show_snapshot(context, args, &bytes);
    }
    let saved = Saved::read(&bytes)?;
    let console = &context.console;
    if context.json() {
        console
            .print(|out| view::json::success_with(out, bytes.trim_ascii(), context.elapsed_ms()))?;
        return Ok(Done::Fine);
    }
    match args.format {
        Format::Text => console
            .print(|out| view::plan::write_saved(&saved, &console.stdout, context.detail(), out)),
        Format::Markdown => console.print(|out| out.write_all(markdown::render(&saved).as_bytes())),
        Format::Gitlab => console.print(|out| view::json::line(out, &Gitlab::of(&saved))),
        Format::Html => console.print(|out| html::write(&saved, out)),
    }?;
    Ok(Done::Fine)
}

fn show_snapshot(context: &Context, args: &ShowArgs, bytes: &[u8]) -> Result<Done> {
    let snapshot = Snapshot::decode(bytes)?;
    if context.json() {
        context
            .console
            .print(|out| view::json::success_with(out, bytes.trim_ascii(), context.elapsed_ms()))?;
        return Ok(Done::Fine);
    }
    match args.format {
        Format::Text => {
            let told = Observed::of(&snapshot, Some(args.file.display().to_string()));
            context.text(&told.text(&context.console.stdout))
        }
        Format::Markdown | Format::Gitlab | Format::Html => Err(Error::new(
            Code::Usage,
            format!(
                "{} is a snapshot, and only a plan has that format",
                args.file.display()
            ),
        )
        .suggest(
            "make a plan of it with `lorectl plan --observed FILE --out PLAN`, and show that",
        )),
    }
}

fn read(context: &Context, shown: &Path) -> Result<Vec<u8>> {
    let path = context.directory.join(shown);
    let read = context.disk.read(&path, snapshot::MAX_BYTES);
    let read = read.map_err(|error| {
        let mut failed = Error::io("read", shown, error);
        // What the disk refuses by itself: not a regular file, or too large.
        if failed.code == Code::Io {
            failed.code = Code::PlanInvalid;
        }
        failed
    })?;
    read.map(|file| file.bytes).ok_or_else(|| {
        Error::new(
            Code::PlanInvalid,
            format!("there is no file {}", shown.display()),
        )
        .suggest("`lorectl plan --out FILE` makes one")
    })
}
