//! Progress on standard error: lines that stay for what ended, and below them one that turns for each running batch.

use std::collections::BTreeMap;

use super::super::{
    canvas::{Canvas, Line},
    style::{Paint, Style},
    text, time,
};
use crate::{
    apply::events::{Event, SettledStep},
    id::Address,
    resource::{Outcome, Plan, StepId},
};

/// An apply of more steps than this names those that ended only under `-v` or when they did not end well.
const FEW_STEPS: usize = 20;
/// Milliseconds that a frame of the wheel stands.
const FRAME_MS: u64 = 100;
/// Steps that a running batch names.
const NAMED: usize = 2;

/// How much is said while an apply works.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// Nothing but what an operator must know: `-q`.
    Quiet,
    /// Progress, if a person reads along.
    #[default]
    Usual,
    /// Every step, to a file too: `-v`.
    Verbose,
}

/// Turns events into what is written to standard error.
///
/// Every call returns all that is to be written, to be written at once, so that no half-drawn line
/// is ever seen. Time is milliseconds of any steady clock, from any zero.
#[derive(Debug)]
pub struct Progress<'p> {
    style: Style,
    live: bool,
    verbosity: Verbosity,
    steps: BTreeMap<StepId, (&'p Address, &'p str)>,
    name_column: usize,
    total: usize,
    ended: usize,
    batches: Vec<Batch>,
    /// What is drawn below the lines that stay.
    drawn: Vec<String>,
    /// Whether a line stayed.
    stayed: bool,
}

#[derive(Debug)]
struct Batch {
    began_ms: u64,
    waiting: Vec<StepId>,
}

impl<'p> Progress<'p> {
    /// Progress of a plan. `live` is whether standard error is a terminal that moves its cursor.
    pub fn new(plan: &'p Plan, style: Style, live: bool, verbosity: Verbosity) -> Self {
        let steps: BTreeMap<_, _> = plan
            .steps
            .iter()
            .map(|step| (step.id, (&step.address, step.verb.as_str())))
            .collect();
        let widths = steps.values().map(|(address, _)| address.to_string().len());
        let live = live && verbosity != Verbosity::Quiet;
        Self {
            // One column is left free: a terminal whose last column is full wraps or clears it.
            style: if live {
                style.at_width(style.width.saturating_sub(1))
            } else {
                style
            },
            live,
            verbosity,
            name_column: widths.max().unwrap_or(0).min(28),
            total: steps.len(),
            steps,
            ended: 0,
            batches: Vec::new(),
            drawn: Vec::new(),
            stayed: false,
        }
    }

    /// What to write for an event.
    pub fn event(&mut self, event: &Event, now_ms: u64) -> String {
        let stays = match event {
            Event::Settled { journal, found } => self.settled(journal, found),
            Event::Began { steps, waves: _ } => {
                self.total = *steps;
                // Apart from the plan and the question above.
                if self.live { "\n".to_owned() } else { String::new() }
            }
            Event::BatchBegan {
                wave: _,
                backend: _,
                steps,
            } => {
                self.batches.push(Batch {
                    began_ms: now_ms,
                    waiting: steps.clone(),
                });
                String::new()
            }
            Event::StepEnded {
                step,
                address,
                verb,
                outcome,
                elapsed_ms,
            } => {
                self.ended += 1;
                for batch in &mut self.batches {
                    batch.waiting.retain(|waiting| waiting != step);
                }
                self.batches.retain(|batch| !batch.waiting.is_empty());
                self.step(address, verb.as_str(), outcome, Some(*elapsed_ms))
            }
            Event::UndoBegan { failed, addresses } => self.undo_began(failed, addresses),
            Event::UndoEnded {
                step: _,
                address,
                outcome,
            } => self.step(address, "put back", outcome, None),
            Event::Interrupted => self.notice(
                "interrupted: what runs now ends, and nothing new begins; Ctrl-C again leaves at once",
            ),
            Event::Committed { serial: _ } => {
                self.batches.clear();
                String::new()
            }
        };
        self.draw(&stays, now_ms)
    }

    /// What to write as time goes by; nothing where nobody reads along or nothing moved.
    pub fn tick(&mut self, now_ms: u64) -> String {
        self.draw("", now_ms)
    }

    /// What to write at the end: what runs is taken away, and what follows stands apart from what ended.
    pub fn finish(&mut self) -> String {
        self.batches.clear();
        let apart = std::mem::take(&mut self.stayed) && self.live;
        self.draw(if apart { "\n" } else { "" }, 0)
    }

    /// Whether a step's end is a line that stays.
    fn names(&self, outcome: &Outcome) -> bool {
        match self.verbosity {
            Verbosity::Verbose => true,
            Verbosity::Quiet => false,
            Verbosity::Usual => {
                self.live && (self.total <= FEW_STEPS || !matches!(outcome, Outcome::Done))
            }
        }
    }

    fn step(
        &self,
        address: &Address,
        verb: &str,
        outcome: &Outcome,
        elapsed_ms: Option<u64>,
    ) -> String {
        if !self.names(outcome) {
            return String::new();
        }
        let glyphs = self.style.glyphs();
        let (mark, paint, why) = match outcome {
            Outcome::Done => (glyphs.done, Paint::Good, ""),
            Outcome::Failed { message, .. } => (glyphs.failed, Paint::Bad, message.as_str()),
            Outcome::Held { reason, .. } => (glyphs.bullet, Paint::Held, reason.as_str()),
            Outcome::Unknown { reason } => ("?", Paint::Grave, reason.as_str()),
        };
        let column = 5 + self.name_column;
        let mut line = Line::indented(2)
            .put(paint, mark)
            .plain(" ")
            .pad_to(4)
            .put(Paint::Strong, address.to_string())
            .plain(" ")
            .pad_to(column)
            .plain(format!(" {verb:<8}"));
        if let Some(elapsed_ms) = elapsed_ms {
            line = line.put(Paint::Dim, format!(" {}", time::elapsed(elapsed_ms)));
        }
        let mut canvas = Canvas::new(&self.style);
        canvas.line(&line, 6);
        for text in why.trim_end().lines() {
            canvas.line(&Line::indented(6).plain(text), 6);
        }
        canvas.finish()
    }

    fn undo_began(&self, failed: &[Address], addresses: &[Address]) -> String {
        if !self.live && self.verbosity != Verbosity::Verbose {
            return String::new();
        }
        let names = |list: &[Address]| {
            let names: Vec<String> = list.iter().map(ToString::to_string).collect();
            text::list(&names)
        };
        let undone = match addresses {
            [] => "there is nothing to put back".to_owned(),
            addresses => format!("putting back {}", names(addresses)),
        };
        self.notice(&format!("{} failed; {undone}", names(failed)))
    }

    fn settled(&self, journal: &str, found: &[SettledStep]) -> String {
        let found: Vec<String> = found
            .iter()
            .map(|step| format!("{} was {}", step.address, step.found))
            .collect();
        let found = match found.as_slice() {
            [] => String::new(),
            found => format!(": {}", text::list(found)),
        };
        self.notice(&format!(
            "an apply that did not end (journal {journal}) was settled{found}"
        ))
    }

    fn notice(&self, text: &str) -> String {
        let mut canvas = Canvas::new(&self.style);
        let line = Line::indented(2).put(Paint::Warning, "! ").plain(text);
        canvas.line(&line, 4);
        canvas.finish()
    }

    /// Lines that stay, then one for each running batch, drawn over what was drawn before.
    fn draw(&mut self, stays: &str, now_ms: u64) -> String {
        self.stayed |= !stays.trim().is_empty();
        if !self.live {
            return stays.to_owned();
        }
        let lines: Vec<String> = self
            .batches
            .iter()
            .map(|batch| self.batch(batch, now_ms))
            .collect();
        if stays.is_empty() && lines == self.drawn {
            return String::new();
        }
        let mut out = String::new();
        // The cursor rests at the end of the last drawn line; back to the beginning of the first.
        if !self.drawn.is_empty() {
            out.push('\r');
            if self.drawn.len() > 1 {
                out.push_str("\x1b[");
                out.push_str(&(self.drawn.len() - 1).to_string());
                out.push('A');
            }
        }
        // Each line is overwritten and then cleared from its end on, never before: no flicker.
        for line in stays.lines() {
            out.push_str(line);
            out.push_str("\x1b[K\n");
        }
        for (at, line) in lines.iter().enumerate() {
            if at > 0 {
                out.push('\n');
            }
            out.push_str(line);
            out.push_str("\x1b[K");
        }
        if lines.len() < self.drawn.len() {
            out.push_str("\x1b[J");
        }
        self.drawn = lines;
        out
    }

    /// `  ⠹ 5 of 12  service.sync update, service.backup update and 3 more  1.3 s`
    fn batch(&self, batch: &Batch, now_ms: u64) -> String {
        let elapsed = now_ms.saturating_sub(batch.began_ms);
        let wheel = self.style.glyphs().wheel;
        let frame = usize::try_from(elapsed / FRAME_MS).unwrap_or(0) % wheel.len().max(1);
        let first = batch.waiting.iter().take(NAMED);
        let mut names: Vec<String> = first
            .filter_map(|id| self.steps.get(id))
            .map(|(address, verb)| format!("{address} {verb}"))
            .collect();
        let more = batch.waiting.len().saturating_sub(NAMED);
        if more > 0 {
            names.push(format!("{more} more"));
        }
        // To the tenth of a second: more would only be noise.
        let elapsed = format!("  {}.{} s", elapsed / 1000, elapsed / 100 % 10);
        let count = format!("{} of {}  ", self.ended, self.total);
        // One column is left free: a terminal that wraps at its last column would break the line.
        let room = self
            .style
            .width
            .saturating_sub(5 + count.len() + elapsed.len());
        let names = text::escape(&text::list(&names)).into_owned();
        let names = text::cut(&names, room, self.style.glyphs().ellipsis);
        let mut out = String::from("  ");
        let mark = wheel.get(frame).copied().unwrap_or_default();
        self.style.paint_onto(&mut out, Paint::Held, mark);
        out.push(' ');
        self.style.paint_onto(&mut out, Paint::Dim, &count);
        out.push_str(&names);
        self.style.paint_onto(&mut out, Paint::Dim, &elapsed);
        out
    }
}

#[cfg(test)]
mod tests;
