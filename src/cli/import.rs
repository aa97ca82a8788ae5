//! `lorectl import`: one thing that runs here becomes a service of the spec.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::{
    effect::disk::Durability,
    error::{Code, Error, Result},
    id::{Address, Kind},
    service::adopt::{host, id::Replaced, text},
    view::init::Imported,
};

use super::{Done, context::Context};

/// What `import` takes.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The service that is to be, as `service.backup`
    #[arg(value_name = "ADDR")]
    pub address: Address,
    /// What it takes the place of: `systemd:NAME.timer`, `crontab:FILE#LINE`, `crontab:USER#LINE`
    #[arg(value_name = "ID")]
    pub id: Replaced,
    /// Print its table, and write nothing
    #[arg(long)]
    pub print: bool,
}

/// The largest spec file that is added to, in bytes.
const LIMIT: u64 = 4 << 20;

/// Adds the table of a service to the spec.
pub async fn run(context: &Context, args: &ImportArgs) -> Result<Done> {
    if args.address.kind != Kind::Service {
        let message = format!(
            "{} is no service: what runs by the clock is one",
            args.address
        );
        return Err(Error::new(Code::Usage, message));
    }
    if !args.print {
        let spec = context.spec()?;
        if let Some(known) = spec
            .services
            .iter()
            .find(|known| known.name == args.address.name)
        {
            let message = format!(
                "{} is in the spec already, in {}, line {}",
                args.address, known.file, known.line
            );
            return Err(Error::new(Code::Usage, message)
                .suggest("give it `replaces` there, or choose another name"));
        }
    }
    let found = host::one(&context.disk, &context.account, &args.id).await?;
    let candidate = found.map_err(|survey| {
        let error = Error::new(
            Code::Usage,
            format!("`{}` names nothing that can be taken over here", args.id),
        );
        error
            .with_details(survey)
            .suggest("name one of these, or see `lorectl init --from-host`")
    })?;
    let block = text::block(&args.address.name, &candidate, true);
    let mut imported = Imported {
        address: args.address.to_string(),
        replaces: args.id.to_string(),
        path: None,
        block,
    };
    if !args.print {
        let path = file(context)?;
        append(context, &path, &imported.block)?;
        imported.path = Some(path.display().to_string());
    }
    context.show(&imported)
}

/// The one file of the spec.
fn file(context: &Context) -> Result<PathBuf> {
    let path = match context.global.files.as_slice() {
        [] => context.directory.join("lore.toml"),
        [only] if only != Path::new("-") => context.directory.join(only),
        _other => {
            return Err(Error::new(Code::Usage, "the spec is not one file")
                .suggest("name the file with `-f`, or say `--print`"));
        }
    };
    let resolved = context.disk.resolve(&path);
    let resolved = resolved.map_err(|error| Error::io("look at", &path, error))?;
    Ok(resolved.unwrap_or(path))
}

fn append(context: &Context, path: &Path, block: &str) -> Result<()> {
    let read = context.disk.read(path, LIMIT);
    let read = read.map_err(|error| {
        Error::io("add to", path, error).suggest("name a file with `-f`, or say `--print`")
    })?;
    let Some(mut file) = read else {
        let message = format!("there is no {}", path.display());
        return Err(Error::new(Code::Usage, message).suggest("`lorectl init` writes a first one"));
    };
    if !file.bytes.ends_with(b"\n") {
        file.bytes.push(b'\n');
    }
    file.bytes.push(b'\n');
    file.bytes.extend_from_slice(block.as_bytes());
    (context.disk)
        .write(
            path,
            &file.bytes,
            file.mode,
            Some(file.owner),
            Durability::Now,
        )
        .map_err(|error| Error::io("write", path, error))
}
