//! `lorectl validate`: that a spec is good, and what is in it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    canvas::{Canvas, Line},
    style::{Paint, Style},
    text,
};

/// A valid spec.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl validate --json` prints as data")]
pub struct Validated {
    /// The project.
    pub project: String,
    /// The files that were read, in order.
    pub files: Vec<String>,
    /// How many resources there are of each kind (`service`).
    pub resources: BTreeMap<String, usize>,
    /// What is allowed and should be known all the same.
    pub warnings: Vec<String>,
}

/// The result as text: `Valid: 12 services of acme in 3 files.`
pub fn render(validated: &Validated, style: &Style) -> String {
    let mut canvas = Canvas::new(style);
    for warning in &validated.warnings {
        let line = Line::new().put(Paint::Warning, "warning: ").plain(warning);
        canvas.line(&line, 2);
    }
    let counted: Vec<String> = validated
        .resources
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(kind, count)| text::count(*count, kind))
        .collect();
    let counted = if counted.is_empty() {
        "no resource".to_owned()
    } else {
        text::list(&counted)
    };
    let files = match validated.files.as_slice() {
        [one] => one.clone(),
        files => text::count(files.len(), "file"),
    };
    let line = Line::new()
        .put(Paint::Good, "Valid:")
        .plain(format!(" {counted} of {} in {files}.", validated.project));
    canvas.line(&line, 2);
    canvas.finish()
}

impl super::View for Validated {
    fn text(&self, style: &Style) -> String {
        render(self, style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_spec_is_one_line() {
        let validated = |files: &[&str], services| Validated {
            project: "acme".to_owned(),
            files: files.iter().map(|&file| file.to_owned()).collect(),
            resources: [("service".to_owned(), services)].into(),
            warnings: Vec::new(),
        };
        for (files, services, text) in [
            (
                &["lore.toml"][..],
                1,
                "Valid: 1 service of acme in lore.toml.\n",
            ),
            (
                &["a.toml", "b.toml"],
                12,
                "Valid: 12 services of acme in 2 files.\n",
            ),
            (
                &["lore.toml"],
                0,
                "Valid: no resource of acme in lore.toml.\n",
            ),
        ] {
            assert_eq!(render(&validated(files, services), &Style::PLAIN), text);
        }
    }
}
