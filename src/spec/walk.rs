//! One walk over a parsed file against the schema, which finds all that is wrong with its shape.

use std::{collections::BTreeSet, ops::Range};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{
    absent,
    node::{Node, Table},
};
use crate::service::spec::check::nearest;

/// The most faults that are kept of one file; beyond them a file is not worth reading on.
const MOST: usize = 10_000;

/// Something wrong at a span of a file's text.
#[derive(Debug)]
pub struct Fault {
    /// The bytes that are meant.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What helps.
    pub suggestion: Option<String>,
    /// Whether all that is wrong is that this build does not have it.
    pub absent: bool,
    /// Whether something is missing, rather than wrong.
    pub missing: bool,
}

/// What a walk found.
#[derive(Default)]
pub struct Walk<'t> {
    /// The faults, in the order of the tree.
    pub faults: Vec<Fault>,
    /// How many faults there are beyond the ones that are kept.
    pub dropped: usize,
    /// The first three keys of the way to each fault, as `("services", "sync", "run")`; empty where the
    /// way ends before.
    pub faulty: BTreeSet<(String, String, String)>,
    path: Vec<&'t str>,
}

impl<'t> Walk<'t> {
    /// Walks over a whole file.
    pub fn file(node: &Node, root: &'t Spanned<DeTable<'_>>) -> Self {
        let mut walk = Self::default();
        if let Node::Table(table) = node {
            walk.table(table, root.get_ref(), &root.span());
        }
        walk
    }

    fn fault(&mut self, span: &Range<usize>, message: String) -> Option<&mut Fault> {
        let step = |at: usize| self.path.get(at).copied().unwrap_or_default().to_owned();
        self.faulty.insert((step(0), step(1), step(2)));
        if self.faults.len() >= MOST {
            self.dropped += 1;
            return None;
        }
        self.faults.push(Fault {
            span: span.clone(),
            message,
            suggestion: None,
            absent: false,
            missing: false,
        });
        self.faults.last_mut()
    }

    fn suggest(fault: Option<&mut Fault>, suggestion: Option<String>) {
        if let Some(fault) = fault {
            fault.suggestion = suggestion;
        }
    }

    fn table(&mut self, table: &Table, found: &'t DeTable<'_>, span: &Range<usize>) {
        let mut meant = BTreeSet::new();
        for (key, value) in found {
            self.path.push(key.get_ref());
            meant.extend(self.entry(table, key, value));
            self.path.pop();
        }
        for key in &table.required {
            if !found.contains_key(key.as_str()) && !meant.contains(key.as_str()) {
                let fault = self.fault(span, format!("missing key `{key}`"));
                if let Some(fault) = fault {
                    fault.missing = true;
                }
            }
        }
    }

    /// Walks over one entry; the key that was meant, where the one that is written is unknown.
    fn entry<'n>(
        &mut self,
        table: &'n Table,
        key: &Spanned<DeString<'_>>,
        value: &'t Spanned<DeValue<'_>>,
    ) -> Option<&'n str> {
        let name = key.get_ref().as_ref();
        if let Some(absent) = absent::at(&self.path) {
            let message = format!("this build of lorectl {}", absent.what);
            if let Some(fault) = self.fault(&key.span(), message) {
                fault.absent = true;
            }
            return None;
        }
        if let Some(node) = table.keys.get(name) {
            self.value(node, value);
            return None;
        }
        if let Some((rule, node)) = &table.others {
            if let Some(Err(invalid)) = rule.map(|rule| (rule.check)(name)) {
                self.fault(&key.span(), format!("`{name}`: {invalid}"));
            }
            self.value(node, value);
            return None;
        }
        let near = nearest(name, table.keys.keys().map(String::as_str));
        let suggestion = match near {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None => Self::known_keys(table),
        };
        let fault = self.fault(&key.span(), format!("unknown key `{name}`"));
        Self::suggest(fault, suggestion);
        near
    }

    fn known_keys(table: &Table) -> Option<String> {
        let known: Vec<String> = table.keys.keys().map(|key| format!("`{key}`")).collect();
        let few = !known.is_empty() && known.len() <= 8;
        few.then(|| format!("the keys here are {}", known.join(", ")))
    }

    fn value(&mut self, node: &Node, value: &'t Spanned<DeValue<'_>>) {
        let span = value.span();
        if span == (0..0) {
            // What the parser puts where a value was broken; it has said so.
            return;
        }
        if let DeValue::String(text) = value.get_ref() {
            self.text(text, &span);
        }
        match (node, value.get_ref()) {
            (Node::Any, _)
            | (Node::Text(None), DeValue::String(_))
            | (Node::Flag, DeValue::Boolean(_)) => {}
            (Node::Text(Some(rule)), DeValue::String(text)) => {
                if let Err(invalid) = (rule.check)(text) {
                    self.fault(&span, invalid.to_string());
                }
            }
            (Node::Word(words), DeValue::String(text)) => self.word(words, text, &span),
            (Node::Integer(least, most), DeValue::Integer(integer)) => {
                let parsed = i64::from_str_radix(integer.as_str(), integer.radix());
                if !parsed.is_ok_and(|n| *least <= n && n <= *most) {
                    let message = if least == most {
                        format!("this build of lorectl knows {least} only")
                    } else {
                        format!("the number is not between {least} and {most}")
                    };
                    self.fault(&span, message);
                }
            }
            (Node::Array(item, least, most), DeValue::Array(found)) => {
                let count = found.len() as u64;
                if count < *least {
                    self.fault(&span, "it is empty".to_owned());
                } else if count > *most {
                    self.fault(&span, format!("there are {count} of at most {most}"));
                }
                for value in found {
                    self.value(item, value);
                }
            }
            (Node::Table(table), DeValue::Table(found)) => self.table(table, found, &span),
            (Node::Either(nodes), found) => match nodes.iter().find(|node| takes(node, found)) {
                Some(node) => self.value(node, value),
                None => self.mismatch(node, value),
            },
            (
                Node::Text(_)
                | Node::Word(_)
                | Node::Integer(..)
                | Node::Flag
                | Node::Array(..)
                | Node::Table(_),
                _,
            ) => self.mismatch(node, value),
        }
    }

    /// No text of a spec holds what could end a line where it lands: a unit, a log, a terminal.
    fn text(&mut self, text: &str, span: &Range<usize>) {
        let held = [
            ('\n', "a line feed"),
            ('\r', "a carriage return"),
            ('\0', "a NUL"),
        ];
        for (c, what) in held {
            if text.contains(c) {
                let fault = self.fault(span, format!("the string holds {what}"));
                Self::suggest(
                    fault,
                    Some("a string of a spec is one line; put longer text in a file".to_owned()),
                );
            }
        }
    }

    fn word(&mut self, words: &[String], text: &str, span: &Range<usize>) {
        if words.iter().any(|word| word == text) {
            return;
        }
        let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        let near = nearest(text, words.iter().map(String::as_str));
        let suggestion = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("write one of {}", quoted.join(", ")),
        };
        let fault = self.fault(span, format!("`{text}` is not known here"));
        Self::suggest(fault, Some(suggestion));
    }

    fn mismatch(&mut self, node: &Node, value: &Spanned<DeValue<'_>>) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        let suggestion = match (node, value.get_ref()) {
            (
                Node::Text(None) | Node::Either(_),
                DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_),
            ) if takes(node, &DeValue::String(DeString::Borrowed(""))) => {
                Some("put it in quotes".to_owned())
            }
            // A command written as a shell line.
            (Node::Array(item, ..), DeValue::String(text))
                if matches!(**item, Node::Text(None)) =>
            {
                let plain = !text.contains(['"', '\'', '\\', '$', '|', '>', '<', '&', ';', '*']);
                let words: Vec<String> = (text.split_whitespace())
                    .map(|word| format!("\"{word}\""))
                    .collect();
                (plain && text.len() <= 80 && !words.is_empty())
                    .then(|| format!("write `[{}]`", words.join(", ")))
            }
            _ => None,
        };
        let message = format!("expected {}, found {found}", node.expected());
        let fault = self.fault(&value.span(), message);
        Self::suggest(fault, suggestion);
    }
}

/// Whether a node is for values of this type.
fn takes(node: &Node, value: &DeValue<'_>) -> bool {
    match (node, value) {
        (Node::Any, _)
        | (Node::Text(_) | Node::Word(_), DeValue::String(_))
        | (Node::Integer(..), DeValue::Integer(_))
        | (Node::Flag, DeValue::Boolean(_))
        | (Node::Array(..), DeValue::Array(_))
        | (Node::Table(_), DeValue::Table(_)) => true,
        (Node::Either(nodes), value) => nodes.iter().any(|node| takes(node, value)),
        (
            Node::Text(_)
            | Node::Word(_)
            | Node::Integer(..)
            | Node::Flag
            | Node::Array(..)
            | Node::Table(_),
            _,
        ) => false,
    }
}
