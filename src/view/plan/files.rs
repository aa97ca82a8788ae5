//! The files of a change: names and sizes, or a unified diff.

use super::{
    super::{
        canvas::{Canvas, Line},
        style::Paint,
        text,
    },
    Detail,
    change::{INDENT, named},
};
use crate::{
    plan::diff::{Diff, DiffLine, Tag},
    resource::FileChange,
};

/// Lines of a diff that are shown unless everything is asked for.
const SHOWN_LINES: usize = 60;

/// The files of a change by what becomes of them.
pub struct Sorted<'a> {
    come: Vec<(&'a str, &'a str)>,
    go: Vec<(&'a str, &'a str)>,
    change: Vec<&'a FileChange>,
}

impl<'a> Sorted<'a> {
    /// Sorts; a file that stays as it is is left out.
    pub fn of(files: &'a [FileChange]) -> Self {
        let (mut come, mut go, mut change) = (Vec::new(), Vec::new(), Vec::new());
        for file in files {
            match (&file.before, &file.after) {
                (None, Some(after)) => come.push((file.path.as_str(), &**after)),
                (Some(before), None) => go.push((file.path.as_str(), &**before)),
                (Some(before), Some(after)) if before != after => change.push(file),
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
        Self { come, go, change }
    }

    /// Draws a row of names and sizes for those that come, and one for those that go.
    pub fn draw_names(&self, canvas: &mut Canvas<'_>, column: usize) {
        // In a change that only makes or only removes, its symbol says which.
        let some = [&self.come, &self.go].map(|files| usize::from(!files.is_empty()));
        let mixed = some.iter().sum::<usize>() + usize::from(!self.change.is_empty()) > 1;
        let (come, go) = if mixed {
            ("new files", "gone")
        } else {
            ("files", "files")
        };
        names(canvas, come, &self.come, column);
        names(canvas, go, &self.go, column);
    }

    /// Draws the diffs of those that change; under `-v` also all that is in those that come and go.
    pub fn draw_contents(&self, canvas: &mut Canvas<'_>, detail: Detail) {
        for file in &self.change {
            heading(canvas, &file.path);
            draw_diff(canvas, &Diff::of(file), detail);
        }
        if detail == Detail::Full {
            for (files, tag) in [(&self.come, Tag::Added), (&self.go, Tag::Removed)] {
                for (path, content) in files {
                    heading(canvas, path);
                    whole(canvas, content, tag);
                }
            }
        }
    }
}

fn names(canvas: &mut Canvas<'_>, name: &str, files: &[(&str, &str)], column: usize) {
    if files.is_empty() {
        return;
    }
    let mut line = named(name, column);
    for (at, (path, content)) in files.iter().enumerate() {
        let base = path.rsplit('/').next().unwrap_or(path);
        let size = text::size(content.len());
        let comma = if at + 1 < files.len() { "," } else { "" };
        line = line
            .whole(Paint::Plain, format!("{base} ({size}){comma}"))
            .plain(" ");
    }
    canvas.line(&line, column);
}

fn heading(canvas: &mut Canvas<'_>, path: &str) {
    canvas.gap();
    let line = Line::indented(INDENT).put(Paint::DiffFile, path);
    canvas.line(&line, INDENT + 2);
}

fn draw_diff(canvas: &mut Canvas<'_>, diff: &Diff, detail: Detail) {
    if diff.too_large {
        let line = Line::indented(INDENT).put(Paint::Dim, "too large to be compared by lines");
        canvas.line(&line, INDENT);
        return;
    }
    let shown = match detail {
        Detail::Full => diff.lines.len(),
        // A few lines over are shown rather than counted.
        Detail::Usual | Detail::Summary if diff.lines.len() <= SHOWN_LINES + 5 => diff.lines.len(),
        Detail::Usual | Detail::Summary => SHOWN_LINES,
    };
    for line in diff.lines.iter().take(shown) {
        draw_line(canvas, line);
    }
    let left = diff.lines.get(shown..).unwrap_or_default();
    if !left.is_empty() {
        let of = |tag| left.iter().filter(|line| line.tag == tag).count();
        let line = Line::indented(INDENT).put(
            Paint::Dim,
            format!(
                "{} {} more, {} added and {} removed; -v shows them",
                canvas.style().glyphs().ellipsis,
                text::count(left.len(), "line"),
                of(Tag::Added),
                of(Tag::Removed),
            ),
        );
        canvas.line(&line, INDENT + 2);
    }
}

fn whole(canvas: &mut Canvas<'_>, content: &str, tag: Tag) {
    for text in content.lines() {
        let text = text.to_owned();
        draw_line(canvas, &DiffLine { tag, text });
    }
}

/// One line of a diff; where it is too long, it goes on below, behind a sign that says so.
fn draw_line(canvas: &mut Canvas<'_>, line: &DiffLine) {
    let paint = match line.tag {
        Tag::Hunk => Paint::DiffHunk,
        Tag::Context => Paint::Plain,
        Tag::Added => Paint::DiffAdded,
        Tag::Removed => Paint::DiffRemoved,
        Tag::NoNewline => Paint::Dim,
    };
    let style = canvas.style();
    let room = style.columns().saturating_sub(INDENT + 2).max(8);
    let clean = text::escape(&line.text);
    let mut sign = line.tag.sign();
    let mut rest: &str = &clean;
    loop {
        let (head, tail) = if text::width(rest) <= room {
            (rest, "")
        } else {
            text::split_at_width(rest, room)
        };
        let row = Line::indented(INDENT).whole(paint, format!("{sign}{head}"));
        canvas.raw_line(&row);
        if tail.is_empty() {
            return;
        }
        sign = style.glyphs().continued;
        rest = tail;
    }
}
