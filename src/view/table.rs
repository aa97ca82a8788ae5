//! Rows in columns, of which the least needed are left out where the window is narrow.

use super::{
    canvas::{Canvas, Line},
    style::{Paint, Style},
};

/// Spaces between two columns.
const GAP: usize = 3;

/// Where a line below a row begins.
const NOTE_INDENT: usize = 4;

/// A column's index, the column and its width.
type Shown = (usize, Column, usize);

fn total(shown: &[Shown]) -> usize {
    let widths: usize = shown.iter().map(|(.., width)| width).sum();
    widths + GAP * shown.len().saturating_sub(1)
}

/// A column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its heading.
    pub title: &'static str,
    /// 0 stays whatever happens; of the others the lowest is given room first.
    pub spare: u8,
}

/// A table; the last column takes what is left and is the only one that is wrapped.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Line>>,
    /// Lines below a row, by the row's index.
    notes: Vec<(usize, Line)>,
    indent: usize,
}

impl Table {
    /// An empty table that begins at a column of the page.
    pub const fn new(columns: Vec<Column>, indent: usize) -> Self {
        Self {
            columns,
            rows: Vec::new(),
            notes: Vec::new(),
            indent,
        }
    }

    /// Adds a row, a cell for each column in order; missing cells are empty.
    pub fn row(&mut self, cells: Vec<Line>) {
        self.rows.push(cells);
    }

    /// Adds a line below the last row.
    pub fn note(&mut self, line: Line) {
        self.notes.push((self.rows.len().saturating_sub(1), line));
    }

    /// Whether the columns that always stay fit.
    pub fn fits(&self, style: &Style) -> bool {
        total(&self.shown(style)) <= self.room(style)
    }

    /// Draws headings and rows.
    pub fn draw(&self, canvas: &mut Canvas<'_>) {
        let shown = self.shown(canvas.style());
        let headings = shown
            .iter()
            .map(|(_, column, width)| (Line::new().put(Paint::Dim, column.title), *width));
        self.draw_row(canvas, headings.collect());
        let mut notes = self.notes.iter().peekable();
        for (index, row) in self.rows.iter().enumerate() {
            let cells = shown
                .iter()
                .map(|(at, _, width)| (row.get(*at).cloned().unwrap_or_default(), *width));
            self.draw_row(canvas, cells.collect());
            while let Some((_, note)) = notes.next_if(|(of, _)| *of == index) {
                let indent = self.indent + NOTE_INDENT;
                canvas.line(&Line::indented(indent).join(note.clone()), indent);
            }
        }
    }

    fn room(&self, style: &Style) -> usize {
        style.columns().saturating_sub(self.indent)
    }

    /// The columns that are shown, with their widths: those that always stay, and of the others,
    /// the least spare first, each for which there is room. One in which nothing stands says nothing.
    fn shown(&self, style: &Style) -> Vec<Shown> {
        let mut filled: Vec<Shown> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| (at, *column, self.width(at, column.title)))
            .filter(|(at, ..)| self.cells(*at).any(|cell| cell.width() > 0))
            .collect();
        filled.sort_by_key(|(at, column, _)| (column.spare, *at));
        let mut shown: Vec<Shown> = Vec::new();
        for column in filled {
            shown.push(column);
            if column.1.spare > 0 && total(&shown) > self.room(style) {
                shown.pop();
            }
        }
        shown.sort_by_key(|(at, ..)| *at);
        shown
    }

    fn draw_row(&self, canvas: &mut Canvas<'_>, cells: Vec<(Line, usize)>) {
        let (mut line, mut column, mut last) = (Line::indented(self.indent), self.indent, 0);
        for (cell, width) in cells {
            line = line.pad_to(column).join(cell);
            last = column;
            column += width + GAP;
        }
        canvas.line(&line, last.min(canvas.style().columns() / 2));
    }

    fn cells(&self, at: usize) -> impl Iterator<Item = &Line> {
        self.rows.iter().filter_map(move |row| row.get(at))
    }

    fn width(&self, at: usize, title: &str) -> usize {
        let cells = self.cells(at).map(Line::width);
        cells.max().unwrap_or(0).max(title.len())
    }
}
