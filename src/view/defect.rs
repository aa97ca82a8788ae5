//! What a panic says: a defect of ours, told without any value that this process has met.

use std::{
    any::Any,
    io::{self, Write as _},
    panic::{self, PanicHookInfo},
};

use super::terminal::{ColorChoice, Console};
use crate::{
    error::{Code, Error},
    scrub::known::Screen,
};

/// Has panics told so from now on, on standard error.
pub fn listen(color: ColorChoice) {
    panic::set_hook(Box::new(move |info| {
        let style = Console::of_process(color).stderr;
        let text = super::error::render(&error(info), &style);
        // That it cannot be written is nothing that could be told anyone.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }));
}

fn error(info: &PanicHookInfo<'_>) -> Error {
    let said = message(info.payload());
    // Whoever panics may be who holds the values. What cannot be looked through is not told.
    let mut screen = Screen::default();
    let said = screen.text_at_once(said);
    let said = said.as_deref().unwrap_or("what happened cannot be told");
    let place = info.location();
    let place = place.map(|place| format!(" ({}:{})", place.file(), place.line()));
    let place = place.unwrap_or_default();
    Error::new(
        Code::Internal,
        format!("lorectl has a defect: {said}{place}"),
    )
    .suggest(
        "report it with the command that you ran; what was under way is settled by the next apply",
    )
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or_default()
}

/// The error that a command ends with which panicked. What happened was told already.
pub fn ended() -> Error {
    Error::new(
        Code::Internal,
        "lorectl has a defect, which standard error tells of",
    )
}
