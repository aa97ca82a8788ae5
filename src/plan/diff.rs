//! A file before and after, as the lines of a unified diff.

use similar::{ChangeTag, TextDiff};

use crate::resource::FileChange;

/// Lines of context around a change, as in diff(1) and git-diff(1).
const CONTEXT: usize = 3;
/// Files of more bytes than this, both taken together, are not compared line by line.
const LIMIT: usize = 2 * 1024 * 1024;

/// What a line of a diff is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// The place of a hunk, `@@ -1,4 +1,5 @@`.
    Hunk,
    /// There before and after.
    Context,
    /// Comes.
    Added,
    /// Goes.
    Removed,
    /// The line before has no newline at its end.
    NoNewline,
}

impl Tag {
    /// The sign in front of the line.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Hunk => "",
            Self::Context => " ",
            Self::Added => "+",
            Self::Removed => "-",
            Self::NoNewline => "\\ ",
        }
    }
}

/// One line of a diff, without its newline and its sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffLine {
    /// What it is.
    pub tag: Tag,
    /// Its text, as it is in the file.
    pub text: String,
}

/// A file's difference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// The lines, hunk after hunk.
    pub lines: Vec<DiffLine>,
    /// How many lines come.
    pub added: usize,
    /// How many lines go.
    pub removed: usize,
    /// The files are too large to be compared by lines; there are no lines then.
    pub too_large: bool,
}

impl Diff {
    /// The difference of a file change; a missing side is an empty file.
    ///
    /// The same texts give the same lines: no time limit is set on the comparison.
    pub fn of(change: &FileChange) -> Self {
        Self::between(
            change.before.as_deref().unwrap_or_default(),
            change.after.as_deref().unwrap_or_default(),
        )
    }

    /// The difference of two texts.
    pub fn between(before: &str, after: &str) -> Self {
        if before.len().saturating_add(after.len()) > LIMIT {
            return Self {
                too_large: true,
                ..Self::default()
            };
        }
        let mut diff = Self::default();
        let compared = TextDiff::from_lines(before, after);
        for hunk in compared.unified_diff().context_radius(CONTEXT).iter_hunks() {
            diff.push(Tag::Hunk, &hunk.header().to_string());
            for change in hunk.iter_changes() {
                let tag = match change.tag() {
                    ChangeTag::Equal => Tag::Context,
                    ChangeTag::Insert => {
                        diff.added += 1;
                        Tag::Added
                    }
                    ChangeTag::Delete => {
                        diff.removed += 1;
                        Tag::Removed
                    }
                };
                let text = change.value();
                diff.push(tag, text.strip_suffix('\n').unwrap_or(text));
                if change.missing_newline() {
                    diff.push(Tag::NoNewline, "No newline at end of file");
                }
            }
        }
        diff
    }

    /// The diff that [`Diff::text`] wrote. Any text is some diff: what begins with no sign is context.
    pub fn of_text(text: &str) -> Self {
        let mut diff = Self::default();
        for line in text.split_terminator('\n') {
            let (tag, rest) = if line.starts_with("@@") {
                (Tag::Hunk, line)
            } else if let Some(rest) = line.strip_prefix('+') {
                diff.added += 1;
                (Tag::Added, rest)
            } else if let Some(rest) = line.strip_prefix('-') {
                diff.removed += 1;
                (Tag::Removed, rest)
            } else if let Some(rest) = line.strip_prefix("\\ ") {
                (Tag::NoNewline, rest)
            } else {
                (Tag::Context, line.strip_prefix(' ').unwrap_or(line))
            };
            diff.push(tag, rest);
        }
        diff
    }

    /// The text of the diff, without a heading for the file.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            text.push_str(line.tag.sign());
            text.push_str(&line.text);
            text.push('\n');
        }
        text
    }

    fn push(&mut self, tag: Tag, text: &str) {
        self.lines.push(DiffLine {
            tag,
            text: text.to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_is_what_diff_prints() {
        let before = "[Timer]\nOnUnitActiveSec=30min\nPersistent=true\n";
        let after = "[Timer]\nOnUnitActiveSec=15min\nPersistent=true";
        let diff = Diff::between(before, after);
        assert_eq!(
            diff.text(),
            "@@ -1,3 +1,3 @@\n [Timer]\n-OnUnitActiveSec=30min\n-Persistent=true\n+OnUnitActiveSec=15min\n\
             +Persistent=true\n\\ No newline at end of file\n"
        );
        assert_eq!((diff.added, diff.removed), (2, 2));
        assert_eq!(Diff::of_text(&diff.text()), diff);
    }

    #[test]
    fn equal_and_giant_files_have_no_lines() {
        assert_eq!(Diff::between("a\n", "a\n"), Diff::default());
        assert!(Diff::between(&"a\n".repeat(LIMIT), "").too_large);
    }
}
