//! How output looks: with or without colour, in which characters, how wide.

use crate::resource::Action;

/// The narrowest layout that is made; a smaller window wraps.
pub const MIN_WIDTH: usize = 40;
/// The width where there is no window to ask.
pub const DEFAULT_WIDTH: usize = 80;
/// The widest that text is laid out; the eye loses longer lines.
pub const MAX_WIDTH: usize = 120;

/// What a piece of text means. One meaning, one colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Nothing in particular.
    Plain,
    /// Of less interest than what stands beside it.
    Dim,
    /// A heading or a name.
    Strong,
    /// Made.
    Create,
    /// Changed.
    Change,
    /// Removed.
    Delete,
    /// Replaced, or beyond undoing.
    Grave,
    /// Held, or waiting.
    Held,
    /// As it should be.
    Good,
    /// Of concern.
    Warning,
    /// Failed or refused.
    Bad,
    /// The name of a file above its diff.
    DiffFile,
    /// The place of a hunk.
    DiffHunk,
    /// A line that comes.
    DiffAdded,
    /// A line that goes.
    DiffRemoved,
}

impl Paint {
    /// The parameters of the escape sequence (ECMA-48, "select graphic rendition").
    const fn parameters(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Dim => Some("2"),
            Self::Strong | Self::DiffFile => Some("1"),
            Self::Create | Self::Good | Self::DiffAdded => Some("32"),
            Self::Change | Self::Warning => Some("33"),
            Self::Delete | Self::DiffRemoved => Some("31"),
            Self::Bad => Some("1;31"),
            Self::Grave => Some("35"),
            Self::Held => Some("34"),
            Self::DiffHunk => Some("36"),
        }
    }

    /// The colour of an action.
    pub const fn of(action: Action) -> Self {
        match action {
            Action::NoOp => Self::Dim,
            Action::Create | Action::Adopt => Self::Create,
            Action::Update => Self::Change,
            Action::Replace => Self::Grave,
            Action::Delete | Action::Forget => Self::Delete,
        }
    }
}

/// The characters beyond ASCII that a layout uses, and what stands for them where there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glyphs {
    /// Between before and after.
    pub arrow: &'static str,
    /// Between the parts of a heading.
    pub dot: &'static str,
    /// In front of a remark.
    pub bullet: &'static str,
    /// For what is left out.
    pub ellipsis: &'static str,
    /// In front of a line that goes on.
    pub continued: &'static str,
    /// Done.
    pub done: &'static str,
    /// Failed.
    pub failed: &'static str,
    /// Under way.
    pub running: &'static str,
    /// The frames of a wheel that turns while work is done.
    pub wheel: &'static [&'static str],
}

const UNICODE: Glyphs = Glyphs {
    arrow: "→",
    dot: "·",
    bullet: "•",
    ellipsis: "…",
    continued: "↪",
    done: "✓",
    failed: "✗",
    running: "▸",
    wheel: &["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"],
};

const ASCII: Glyphs = Glyphs {
    arrow: "->",
    dot: "-",
    bullet: "*",
    ellipsis: "...",
    continued: ">",
    done: "=",
    failed: "x",
    running: ">",
    wheel: &["|", "/", "-", "\\"],
};

/// How output looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether colours are used.
    pub color: bool,
    /// Whether characters beyond ASCII are.
    pub unicode: bool,
    /// Columns; at least [`MIN_WIDTH`].
    pub width: usize,
}

impl Style {
    /// No colour, 80 columns: what a pipe gets.
    pub const PLAIN: Self = Self {
        color: false,
        unicode: true,
        width: DEFAULT_WIDTH,
    };

    /// The same style at another width.
    #[must_use]
    pub const fn at_width(self, width: usize) -> Self {
        Self { width, ..self }
    }

    /// The columns that text is laid out in.
    pub fn columns(&self) -> usize {
        self.width.clamp(MIN_WIDTH, MAX_WIDTH)
    }

    /// The characters to use.
    pub const fn glyphs(&self) -> &'static Glyphs {
        if self.unicode { &UNICODE } else { &ASCII }
    }

    /// The mark of an action in the characters to use.
    pub const fn symbol(&self, action: Action) -> &'static str {
        match (action, self.unicode) {
            (Action::Replace, false) => "#",
            _ => action.symbol(),
        }
    }

    /// Appends a piece of text that was made safe before.
    pub fn paint_onto(&self, out: &mut String, paint: Paint, text: &str) {
        match paint.parameters().filter(|_| self.color) {
            Some(parameters) if !text.is_empty() => {
                out.push_str("\x1b[");
                out.push_str(parameters);
                out.push('m');
                out.push_str(text);
                out.push_str("\x1b[0m");
            }
            _ => out.push_str(text),
        }
    }
}
