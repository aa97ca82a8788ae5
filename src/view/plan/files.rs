//! The files of a change: names and sizes, or a unified diff.

use std::borrow::Cow;

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
    plan::{
        diff::{Diff, DiffLine, Tag},
        saved::SavedFile,
    },
    resource::FileChange,
};

/// Lines of a diff that are shown unless everything is asked for.
const SHOWN_LINES: usize = 60;

/// A file that comes or goes: its path, its size, and its content where a plan still has that.
type Whole<'a> = (&'a str, usize, Option<&'a str>);

/// The files of a change by what becomes of them.
pub struct Sorted<'a> {
    come: Vec<Whole<'a>>,
    go: Vec<Whole<'a>>,
    change: Vec<(&'a str, Cow<'a, Diff>)>,
}

impl<'a> Sorted<'a> {
    /// Sorts; a file that stays as it is is left out.
    pub fn of(files: &'a [FileChange]) -> Self {
        let (mut come, mut go, mut change) = (Vec::new(), Vec::new(), Vec::new());
        for file in files {
            match (&file.before, &file.after) {
                (None, Some(after)) => come.push((file.path.as_str(), after.len(), Some(&**after))),
                (Some(before), None) => {
                    go.push((file.path.as_str(), before.len(), Some(&**before)));
                }
                (Some(before), Some(after)) if before != after => {
                    change.push((file.path.as_str(), Cow::Owned(Diff::of(file))));
                }
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
        Self { come, go, change }
    }

    /// Sorts those of a plan file, which has sizes and diffs alone.
    pub fn of_saved(files: &'a [SavedFile]) -> Self {
        let (mut come, mut go, mut change) = (Vec::new(), Vec::new(), Vec::new());
        for file in files {
            let path = file.path.as_str();
            match (file.size_before, file.size_after, &file.diff) {
                (None, Some(size), _) => come.push((path, size, None)),
                (Some(size), None, _) => go.push((path, size, None)),
                (Some(_), Some(_), Some(diff)) => change.push((path, Cow::Borrowed(diff))),
                // A diff that is too large is not kept.
                (Some(_), Some(_), None) => {
                    let diff = Diff {
                        too_large: true,
                        ..Diff::default()
                    };
                    change.push((path, Cow::Owned(diff)));
                }
                (None, None, _) => {}
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
        for (path, diff) in &self.change {
            heading(canvas, path);
            draw_diff(canvas, diff, detail);
        }
        if detail == Detail::Full {
            for (files, tag) in [(&self.come, Tag::Added), (&self.go, Tag::Removed)] {
                for (path, _, content) in files {
                    if let Some(content) = content {
                        heading(canvas, path);
                        whole(canvas, content, tag);
                    }
                }
            }
        }
    }
}

fn names(canvas: &mut Canvas<'_>, name: &str, files: &[Whole<'_>], column: usize) {
    if files.is_empty() {
        return;
    }
    let mut line = named(name, column);
    for (at, (path, size, _)) in files.iter().enumerate() {
        let base = path.rsplit('/').next().unwrap_or(path);
        let size = text::size(*size);
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
