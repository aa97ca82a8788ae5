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
        };
        assert_eq!(
            written.text(&Style::PLAIN),
            "Written: /srv/acme/lore.toml, for the project acme. Edit it; `lorectl plan`\n  \
             shows what it would do.\n"
        );
    }
}
