//! `lorectl man`: manual pages, made of the command line itself.

use std::path::Path;

use clap::CommandFactory;

use crate::{
    effect::disk::Durability,
    error::{Code, Error, Result},
};

use super::{Done, args::Cli, context::Context};

/// Prints one page, or writes all of them.
pub fn run(context: &Context, command: &[String], out: Option<&Path>) -> Result<Done> {
    let mut root = Cli::command();
    root.build();
    let Some(dir) = out else {
        let mut page = Vec::new();
        render(find(root, command)?, &mut page)?;
        context.console.print(|out| out.write_all(&page))?;
        return Ok(Done::Fine);
    };
    let mut open = vec![(root.get_name().to_owned(), root)];
    while let Some((name, command)) = open.pop() {
        let below = command
            .get_subcommands()
            .filter(|below| !below.is_hide_set());
        open.extend(below.map(|below| (format!("{name}-{}", below.get_name()), below.clone())));
        let mut page = Vec::new();
        render(command, &mut page)?;
        let path = context.directory.join(dir).join(format!("{name}.1"));
        context
            .disk
            .write(&path, &page, 0o644, None, Durability::Now)
            .map_err(|error| Error::io("write", &path, error))?;
    }
    Ok(Done::Fine)
}

fn find(root: clap::Command, words: &[String]) -> Result<clap::Command> {
    let mut command = root;
    for word in words {
        let found = command
            .find_subcommand(word)
            .filter(|found| !found.is_hide_set());
        command = found.cloned().ok_or_else(|| {
            let message = format!("there is no command `{}`", words.join(" "));
            Error::new(Code::Usage, message).suggest("`lorectl --help` lists all")
        })?;
    }
    Ok(command)
}

fn render(command: clap::Command, page: &mut Vec<u8>) -> Result<()> {
    clap_mangen::Man::new(command)
        .manual("lorectl")
        .render(page)
        .map_err(|error| Error::new(Code::Internal, "a page cannot be written").because(error))
}
