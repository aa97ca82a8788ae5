//! Lines of painted text, laid out in columns and wrapped at words.

use super::{
    style::{Paint, Style},
    text,
};

/// The most bytes in backticks that are kept on one row.
const MAX_QUOTED: usize = 48;

/// A piece of one line.
#[derive(Debug, Clone)]
struct Span {
    paint: Paint,
    text: String,
    /// Not broken at its spaces.
    whole: bool,
}

/// One logical line. Whatever is put on it is escaped, so that it stays one line and acts on no terminal.
#[derive(Debug, Clone, Default)]
pub struct Line {
    spans: Vec<Span>,
    width: usize,
}

impl Line {
    /// An empty line.
    pub const fn new() -> Self {
        Self {
            spans: Vec::new(),
            width: 0,
        }
    }

    /// A line that begins with so many spaces.
    #[must_use]
    pub fn indented(columns: usize) -> Self {
        Self::new().pad_to(columns)
    }

    /// Adds text that may be broken at its spaces, but not within a short `command` in backticks.
    #[must_use]
    pub fn put(mut self, paint: Paint, text: impl AsRef<str>) -> Self {
        let mut rest = text.as_ref();
        while let Some((before, quoted, after)) = quoted(rest) {
            self = self.push(paint, before, false).push(paint, quoted, true);
            rest = after;
        }
        self.push(paint, rest, false)
    }

    /// Adds text that is kept on one line where that is possible at all.
    #[must_use]
    pub fn whole(self, paint: Paint, text: impl AsRef<str>) -> Self {
        self.push(paint, text.as_ref(), true)
    }

    /// Adds plain text.
    #[must_use]
    pub fn plain(self, text: impl AsRef<str>) -> Self {
        self.put(Paint::Plain, text)
    }

    /// Adds spaces up to a column; none when the line is there already.
    #[must_use]
    pub fn pad_to(self, column: usize) -> Self {
        let missing = column.saturating_sub(self.width);
        self.push(Paint::Plain, &" ".repeat(missing), true)
    }

    /// Adds another line's text.
    #[must_use]
    pub fn join(mut self, other: Self) -> Self {
        self.width += other.width;
        self.spans.extend(other.spans);
        self
    }

    /// How many columns it takes when it is not broken.
    pub const fn width(&self) -> usize {
        self.width
    }

    fn push(mut self, paint: Paint, raw: &str, whole: bool) -> Self {
        if !raw.is_empty() {
            let text = text::escape(raw).into_owned();
            self.width += text::width(&text);
            self.spans.push(Span { paint, text, whole });
        }
        self
    }
}

/// The first text in backticks that is short enough to be kept together, with what is around it.
fn quoted(text: &str) -> Option<(&str, &str, &str)> {
    let start = text.find('`')?;
    let length = text.get(start + 1..)?.find('`')? + 2;
    let end = start + length;
    (length <= MAX_QUOTED)
        .then(|| Some((text.get(..start)?, text.get(start..end)?, text.get(end..)?)))
        .flatten()
}

/// Where lines are drawn.
#[derive(Debug)]
pub struct Canvas<'s> {
    style: &'s Style,
    out: String,
    /// The row being filled: runs of one paint, and its width.
    row: Vec<(Paint, String)>,
    column: usize,
    drawn: bool,
    gap: bool,
}

impl<'s> Canvas<'s> {
    /// An empty canvas.
    pub const fn new(style: &'s Style) -> Self {
        Self {
            style,
            out: String::new(),
            row: Vec::new(),
            column: 0,
            drawn: false,
            gap: false,
        }
    }

    /// The style that is drawn in.
    pub const fn style(&self) -> &'s Style {
        self.style
    }

    /// Leaves one empty line before what comes next; none at the top, and never two.
    pub const fn gap(&mut self) {
        self.gap = self.drawn;
    }

    /// Draws a line, broken at words where it is too long; what follows a break begins at column `hang`.
    pub fn line(&mut self, line: &Line, hang: usize) {
        if std::mem::take(&mut self.gap) {
            self.out.push('\n');
        }
        self.drawn = true;
        let columns = self.style.columns();
        let hang = hang.min(columns / 2);
        let mut word: Vec<(Paint, &str)> = Vec::new();
        for span in &line.spans {
            if span.whole && !span.text.trim_matches(' ').is_empty() {
                word.push((span.paint, &span.text));
                continue;
            }
            for piece in span.text.split_inclusive(' ') {
                let body = piece.trim_end_matches(' ');
                if !body.is_empty() {
                    word.push((span.paint, body));
                }
                if body.len() < piece.len() {
                    self.word(&word, hang);
                    word.clear();
                    self.append(span.paint, " ");
                }
            }
        }
        self.word(&word, hang);
        self.end_row();
    }

    /// Draws a line as it is, however long.
    pub fn raw_line(&mut self, line: &Line) {
        if std::mem::take(&mut self.gap) {
            self.out.push('\n');
        }
        self.drawn = true;
        for span in &line.spans {
            self.append(span.paint, &span.text);
        }
        self.end_row();
    }

    /// Places what must stay together: on this row, else on the next, else cut where a row ends.
    fn word(&mut self, word: &[(Paint, &str)], hang: usize) {
        let columns = self.style.columns();
        let width: usize = word.iter().map(|(_, text)| text::width(text)).sum();
        let fits = self.column + width <= columns;
        let blank = self.row.iter().all(|(_, text)| text.trim().is_empty());
        // What must be cut anyway is begun here when there is some room.
        let cut_here = width > columns - hang && self.column + 16 <= columns;
        if !fits && !blank && !cut_here {
            self.next_row(hang);
        }
        for (paint, text) in word {
            let mut rest = *text;
            while self.column + text::width(rest) > columns {
                let room = columns.saturating_sub(self.column);
                if room == 0 {
                    self.next_row(hang);
                    continue;
                }
                let (head, tail) = text::split_at_width(rest, room);
                self.append(*paint, head);
                rest = tail;
                if !rest.is_empty() {
                    self.next_row(hang);
                }
            }
            self.append(*paint, rest);
        }
    }

    fn next_row(&mut self, hang: usize) {
        self.end_row();
        self.append(Paint::Plain, &" ".repeat(hang));
    }

    fn append(&mut self, paint: Paint, piece: &str) {
        if piece.is_empty() {
            return;
        }
        self.column += text::width(piece);
        match self.row.last_mut() {
            Some((last, text)) if *last == paint => text.push_str(piece),
            _ => self.row.push((paint, piece.to_owned())),
        }
    }

    fn end_row(&mut self) {
        // No line ends in spaces: they would show in a diff of two outputs.
        while let Some((_, text)) = self.row.last_mut() {
            text.truncate(text.trim_end_matches(' ').len());
            if !text.is_empty() {
                break;
            }
            self.row.pop();
        }
        for (paint, text) in self.row.drain(..) {
            // Spaces that lead carry no colour, so that nothing but text is painted.
            let body = text.trim_start_matches(' ');
            self.out.push_str(&text[..text.len() - body.len()]);
            self.style.paint_onto(&mut self.out, paint, body);
        }
        self.out.push('\n');
        self.column = 0;
    }

    /// What was drawn since the last call; the canvas goes on.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    /// What was drawn.
    pub fn finish(self) -> String {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drawn(line: &Line, hang: usize, width: usize) -> String {
        let style = Style::PLAIN.at_width(width);
        let mut canvas = Canvas::new(&style);
        canvas.line(line, hang);
        canvas.finish()
    }

    #[test]
    fn a_long_line_breaks_at_words_and_hangs() {
        let line = Line::indented(2)
            .put(Paint::Strong, "label")
            .pad_to(10)
            .plain("one two three four five six seven eight nine");
        assert_eq!(
            drawn(&line, 10, 40),
            "  label   one two three four five six\n          seven eight nine\n"
        );
    }

    #[test]
    fn a_word_longer_than_a_line_is_cut_and_nothing_is_lost() {
        let word = "x".repeat(100);
        let text = drawn(&Line::indented(4).plain(&word), 6, 40);
        assert!(text.lines().all(|line| line.len() <= 40), "{text}");
        assert_eq!(text.matches('x').count(), 100);
    }

    #[test]
    fn colour_wraps_text_and_never_the_margin() {
        let style = Style {
            color: true,
            unicode: true,
            width: 40,
        };
        let mut canvas = Canvas::new(&style);
        canvas.line(&Line::indented(2).put(Paint::Create, "  made  "), 2);
        assert_eq!(canvas.finish(), "    \x1b[32mmade\x1b[0m\n");
    }

    proptest! {
        #[test]
        fn no_row_is_wider_than_the_style(
            text in any::<String>(), indent in 0_usize..30, hang in 0_usize..60, width in 40_usize..130,
        ) {
            let text = drawn(&Line::indented(indent).plain(text), hang, width);
            for row in text.lines() {
                prop_assert!(text::width(row) <= width + 1, "{row:?}");
                prop_assert!(!row.contains('\x1b'));
            }
        }
    }
}
