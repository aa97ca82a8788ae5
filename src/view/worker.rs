//! `lorectl worker`: what it does, a line each, for whoever keeps its output.

use super::{
    canvas::{Canvas, Line},
    style::{Paint, Style},
    text,
};
use crate::{id::Timestamp, service::worker::Event};

/// An event as a line of text.
pub fn line(event: &Event, at: Timestamp, style: &Style) -> String {
    let mut canvas = Canvas::new(style);
    let time = at.utc().format("%Y-%m-%d %H:%M:%S UTC").to_string();
    let line = Line::new().put(Paint::Dim, time).plain("  ");
    let line = match event {
        Event::Serving { services } => line
            .put(Paint::Good, "serving ")
            .plain(text::count(*services, "service")),
        Event::Ignored { service, why } => line
            .put(Paint::Warning, "ignored ")
            .plain(service)
            .plain(": ")
            .plain(why),
        Event::Woken { service, pid } => line
            .put(Paint::Plain, "woken   ")
            .plain(service)
            .put(Paint::Dim, format!(" (process {pid})")),
        Event::NotWoken { service, why } => line
            .put(Paint::Bad, "not woken ")
            .plain(service)
            .plain(": ")
            .plain(why),
        Event::Ended { service, how } => line
            .put(Paint::Warning, "ended   ")
            .plain(service)
            .plain(": ")
            .plain(how),
        Event::Ending { running } => line
            .put(Paint::Strong, "ending; waits for ")
            .plain(text::count(*running, "run")),
    };
    canvas.raw_line(&line);
    canvas.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_and_nothing_in_it_acts_on_a_terminal() {
        let at = Timestamp::from_millis(1_700_000_000_000);
        for event in [
            Event::Serving { services: 2 },
            Event::Ignored {
                service: "p/a".to_owned(),
                why: "bad \u{1b}[2J\nnews".to_owned(),
            },
            Event::Ending { running: 1 },
        ] {
            let text = line(&event, at, &Style::PLAIN);
            assert_eq!(text.lines().count(), 1, "{text:?}");
            assert!(text.starts_with("2023-11-14 22:13:20 UTC  ") && !text.contains('\u{1b}'));
        }
    }
}
