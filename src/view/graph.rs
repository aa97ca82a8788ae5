//! `lorectl graph`: in the language of Graphviz, or of Mermaid, which forges draw by themselves.
//!
//! The same graph gives the same bytes. An arrow leads from what needs to what is needed.

use std::{collections::BTreeMap, fmt::Write as _};

use schemars::JsonSchema;
use serde::Serialize;

use super::{View, style::Style};
use crate::{id::Address, resource::Action};

/// What `lorectl graph` shows.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl graph --json` prints as data")]
pub struct Graph {
    /// The project.
    pub project: String,
    /// The resources, ordered.
    pub nodes: Vec<Node>,
    /// What depends on what, ordered.
    pub edges: Vec<Edge>,
    /// The language of the text.
    #[serde(skip)]
    #[schemars(skip)]
    pub format: Format,
}

/// A resource.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "GraphNode")]
pub struct Node {
    /// Which.
    #[schemars(with = "String")]
    pub address: Address,
    /// What the next apply does to it, in the plan's words.
    #[schemars(with = "Vec<String>")]
    pub actions: Action,
}

/// A dependency.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "GraphEdge")]
pub struct Edge {
    /// What needs the other.
    #[schemars(with = "String")]
    pub from: Address,
    /// What is needed.
    #[schemars(with = "String")]
    pub to: Address,
}

/// The language of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Graphviz, dot(1).
    Dot,
    /// Mermaid.
    Mermaid,
}

impl View for Graph {
    fn text(&self, _: &Style) -> String {
        match self.format {
            Format::Dot => self.dot(),
            Format::Mermaid => self.mermaid(),
        }
    }
}

/// The colour of an action's border, as the plan has it.
const fn color(action: Action) -> &'static str {
    match action {
        Action::NoOp => "#8c959f",
        Action::Create | Action::Adopt => "#1a7f37",
        Action::Update => "#9a6700",
        Action::Replace => "#8250df",
        Action::Delete | Action::Forget => "#cf222e",
    }
}

const fn word(action: Action) -> Option<&'static str> {
    match action {
        Action::NoOp => None,
        Action::Create => Some("create"),
        Action::Update => Some("update"),
        Action::Replace => Some("replace"),
        Action::Delete => Some("delete"),
        Action::Adopt => Some("adopt"),
        Action::Forget => Some("forget"),
    }
}

impl Graph {
    fn dot(&self) -> String {
        let mut out = String::new();
        // Writing to a `String` cannot fail.
        let _ = writeln!(out, "digraph {} {{", quoted(&self.project));
        out.push_str("  rankdir=\"LR\";\n  node [shape=\"box\", style=\"rounded\", fontname=\"sans-serif\"];\n");
        for node in &self.nodes {
            let name = quoted(&node.address.to_string());
            let mut label = name.clone();
            if let Some(word) = word(node.actions) {
                label.insert_str(label.len() - 1, &format!("\\n{word}"));
            }
            let _ = writeln!(
                out,
                "  {name} [label={label}, color=\"{}\"];",
                color(node.actions)
            );
        }
        for edge in &self.edges {
            let (from, to) = (edge.from.to_string(), edge.to.to_string());
            let _ = writeln!(out, "  {} -> {};", quoted(&from), quoted(&to));
        }
        out.push_str("}\n");
        out
    }

    fn mermaid(&self) -> String {
        let mut out = "flowchart LR\n".to_owned();
        let mut numbers = BTreeMap::new();
        for (number, node) in self.nodes.iter().enumerate() {
            numbers.insert(&node.address, number);
            let mut label = entities(&node.address.to_string());
            if let Some(word) = word(node.actions) {
                let _ = write!(label, "<br/>{word}");
            }
            let _ = writeln!(out, "  n{number}[\"{label}\"]");
        }
        let known = |edge: &Edge| Some((*numbers.get(&edge.from)?, *numbers.get(&edge.to)?));
        for (from, to) in self.edges.iter().filter_map(known) {
            let _ = writeln!(out, "  n{from} --> n{to}");
        }
        for (number, node) in self.nodes.iter().enumerate() {
            if node.actions != Action::NoOp {
                let color = color(node.actions);
                let _ = writeln!(out, "  style n{number} stroke:{color},stroke-width:2px");
            }
        }
        out
    }
}

/// A quoted string of the dot language: in it only the quote and the backslash mean anything.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' | '\r' => out.push(' '),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A text of a label in Mermaid, which reads it as HTML and has entities by number.
fn entities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_alphanumeric() || matches!(c, ' ' | '.' | '-' | '_') {
            out.push(c);
        } else {
            let _ = write!(out, "#{};", u32::from(c));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture::snapshot;

    fn graph(format: Format) -> Graph {
        let node = |address: &str, actions| Node {
            address: address.parse().unwrap(),
            actions,
        };
        let edge = |from: &str, to: &str| Edge {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
        };
        Graph {
            project: "acme".to_owned(),
            nodes: vec![
                node("service.backup", Action::NoOp),
                node("service.index", Action::Replace),
                node("service.new", Action::Create),
                node("service.old", Action::Delete),
                node("service.sync", Action::Update),
            ],
            edges: vec![
                edge("service.index", "service.sync"),
                edge("service.new", "service.index"),
            ],
            format,
        }
    }

    #[test]
    fn each_language_has_names_arrows_and_actions() {
        snapshot("graph-dot", &graph(Format::Dot).text(&Style::PLAIN));
        snapshot("graph-mermaid", &graph(Format::Mermaid).text(&Style::PLAIN));
    }

    #[test]
    fn no_name_leaves_its_quotes() {
        let hostile = "a\"]; b\\ -> <x>\n#";
        assert_eq!(quoted(hostile), "\"a\\\"]; b\\\\ -> <x> #\"");
        assert_eq!(
            entities(hostile),
            "a#34;#93;#59; b#92; -#62; #60;x#62;#10;#35;"
        );
        let empty = Graph {
            project: hostile.to_owned(),
            nodes: Vec::new(),
            edges: Vec::new(),
            format: Format::Dot,
        };
        assert!(empty.text(&Style::PLAIN).starts_with("digraph \"a\\\"]; b"));
    }
}
