//! `lorectl worker`: runs due services in the foreground, for all projects of the state directory.

use crate::{
    effect::{executable, signals::Interrupts},
    error::Result,
    service::worker::{Event, Host, serve},
    view,
};

use super::{Done, context::Context};

/// Serves until SIGTERM or Ctrl-C; a second one does not wait for the runs under way.
pub async fn run(context: &Context) -> Result<Done> {
    let program = executable::current()?;
    let host = Host {
        disk: context.disk.as_ref(),
        clock: &context.clock,
        state_dir: &context.state_dir,
        program: &program,
    };
    let console = &context.console;
    let tell = |event: &Event| {
        if context.json() {
            // A reader that is gone does not stop the services.
            let _ = console.print(|out| view::json::line(out, event));
        } else if !context.global.quiet {
            console.complain(&view::worker::line(event, context.now(), &console.stderr));
        }
    };
    let mut first = Interrupts::listen()?;
    // Listens only once the first has come, and so hears the next.
    let second = async {
        match Interrupts::listen() {
            Ok(mut second) => second.next().await,
            Err(_) => std::future::pending().await,
        }
    };
    serve(&host, first.next(), second, &tell).await?;
    Ok(Done::Fine)
}
