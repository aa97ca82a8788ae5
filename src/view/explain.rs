//! `lorectl explain`: what an error code means, and what to do.

use super::{
    canvas::{Canvas, Line},
    style::{Paint, Style},
};
use crate::error::{Code, Error, Exit, Result};

/// What a code means, by its name in any case.
///
/// # Errors
/// `USAGE` when there is no such code; it suggests the nearest.
pub fn render(name: &str, style: &Style) -> Result<String> {
    let code = find(name)?;
    let mut canvas = Canvas::new(style);
    canvas.line(&Line::new().put(Paint::Strong, code.as_str()), 0);
    let status = format!(
        "exit status {}: {}",
        code.exit().status(),
        means(code.exit())
    );
    canvas.line(&Line::new().put(Paint::Dim, status), 2);
    for paragraph in code.explain().split("\n\n") {
        canvas.gap();
        canvas.line(&Line::new().plain(paragraph.replace('\n', " ")), 0);
    }
    Ok(canvas.finish())
}

/// All codes, each with its exit status and the first sentence of its page.
pub fn list(style: &Style) -> String {
    let mut canvas = Canvas::new(style);
    let widest = Code::ALL.iter().map(|code| code.as_str().len()).max();
    let column = widest.unwrap_or(0) + 3;
    for code in Code::ALL {
        let line = Line::new()
            .put(Paint::Strong, code.as_str())
            .pad_to(column)
            .plain(format!("{:<5}", code.exit().status()))
            .put(Paint::Dim, first_sentence(code.explain()));
        canvas.line(&line, column + 5);
    }
    canvas.finish()
}

fn find(name: &str) -> Result<Code> {
    let wanted = name.trim().replace('-', "_").to_ascii_uppercase();
    if let Some(code) = Code::ALL.iter().find(|code| code.as_str() == wanted) {
        return Ok(*code);
    }
    let nearest = Code::ALL
        .iter()
        .map(|code| (strsim::damerau_levenshtein(code.as_str(), &wanted), code))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, code)| distance * 3 <= code.as_str().len());
    let error = Error::new(Code::Usage, format!("`{name}` is no error code"));
    Err(match nearest {
        Some((_, code)) => error.suggest(format!(
            "did you mean `{code}`? `lorectl explain` without a code lists all of them"
        )),
        None => error.suggest("`lorectl explain` without a code lists all of them"),
    })
}

fn first_sentence(text: &str) -> &str {
    match text.find(". ") {
        Some(end) => text.get(..=end).unwrap_or(text),
        None => text,
    }
}

/// What an exit status means, whatever the code.
pub const fn means(exit: Exit) -> &'static str {
    match exit {
        Exit::Failed => "it failed; what is connected to the failure is as before",
        Exit::Refused => "refused; a person must act or approve",
        Exit::UndoFailed => "it failed, and not everything could be put back",
        Exit::Usage => "the command line is wrong",
        Exit::Data => "the spec, the state or a plan file is bad",
        Exit::Unavailable => "a backend is unavailable",
        Exit::Internal => "a defect of lorectl",
        Exit::Later => "not now; what is in the way lifts with time",
        Exit::NotPermitted => "not permitted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture::snapshot;

    #[test]
    fn every_code_has_its_page_and_a_typo_its_hint() {
        snapshot(
            "explain",
            &format!(
                "{}\n{}",
                render("state-corrupt", &Style::PLAIN).unwrap(),
                list(&Style::PLAIN)
            ),
        );
        for code in Code::ALL {
            assert!(
                render(code.as_str(), &Style::PLAIN)
                    .unwrap()
                    .starts_with(code.as_str())
            );
        }
        let hint = render("STATE_CORUPT", &Style::PLAIN)
            .unwrap_err()
            .suggestion;
        assert!(hint.unwrap().contains("did you mean `STATE_CORRUPT`"));
        let hint = render("zzz", &Style::PLAIN).unwrap_err().suggestion;
        assert!(!hint.unwrap().contains("did you mean"));
    }
}
