//! `lorectl init`: that a first spec was written.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    View,
    canvas::{Canvas, Line},
    style::{Paint, Style},
};

/// A spec that was written.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl init --json` prints as data")]
pub struct Initialised {
    /// Where it was written.
    pub path: String,
    /// The project that it names.
    pub project: String,
    /// What was found on the host, where it was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<Found>,
}

/// What timers and crontabs run on a host.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Found {
    /// How many services do the same.
    pub services: usize,
    /// What is left alone.
    pub left: Vec<LeftAlone>,
}

/// A timer, a line or a crontab that no service takes the place of.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LeftAlone {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

/// A service that was written into a spec to take the place of something.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl import --json` prints as data")]
pub struct Imported {
    /// Its address.
    pub address: String,
    /// What it takes the place of.
    pub replaces: String,
    /// The file that has it now; none where it was only printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its table.
    pub block: String,
}

impl View for Imported {
    fn text(&self, style: &Style) -> String {
        let Some(path) = &self.path else {
            return self.block.clone();
        };
        let mut canvas = Canvas::new(style);
        let line = Line::new()
            .put(Paint::Good, "Written:")
            .plain(" ")
            .put(Paint::Strong, &self.address)
            .plain(" in ")
            .plain(path)
            .plain(", in the place of ")
            .plain(&self.replaces)
            .plain(". `lorectl plan` shows what it would do.");
        canvas.line(&line, 2);
        canvas.finish()
    }
}

impl View for Initialised {
    fn text(&self, style: &Style) -> String {
        let mut canvas = Canvas::new(style);
        let line = Line::new()
            .put(Paint::Good, "Written:")
            .plain(" ")
            .plain(&self.path)
            .plain(", for the project ")
            .put(Paint::Strong, &self.project)
            .plain(". Edit it; `lorectl plan` shows what it would do.");
        canvas.line(&line, 2);
        if let Some(found) = &self.found {
            let services = match found.services {
                1 => "1 service takes".to_owned(),
                count => format!("{count} services take"),
            };
            let line = Line::new().plain(format!(
                "{services} the place of what runs here. Left alone: {}.",
                found.left.len()
            ));
            canvas.line(&line, 2);
            for left in &found.left {
                let line = Line::new()
                    .plain("  ")
                    .put(Paint::Strong, &left.what)
                    .plain(format!(" {}", left.why));
                canvas.line(&line, 6);
            }
        }
        canvas.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_where_and_what_next() {
        let written = Initialised {
            path: "/srv/acme/lore.toml".to_owned(),
            project: "acme".to_owned(),
            found: None,
        };
        assert_eq!(
            written.text(&Style::PLAIN),
            "Written: /srv/acme/lore.toml, for the project acme. Edit it; `lorectl plan`\n  \
             shows what it would do.\n"
        );
    }
}
