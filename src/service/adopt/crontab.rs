//! Crontabs, crontab(5), as Debian's cron reads them: what a table runs, and how one of its lines is
//! commented out and put back without touching any other.

use super::id::LineId;

/// What begins a line that is retired, up to who did it.
const MARK: &str = "# taken over by lorectl (";

/// What ends it.
const MARK_END: &str = "): ";

/// When a line is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// At the occurrences of five fields, in the host's zone.
    Cron(String),
    /// When cron starts.
    Reboot,
}

/// A line that runs something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The line as it stands there, without the blanks around it.
    pub line: String,
    /// Counted from 1.
    pub number: usize,
    /// When.
    pub when: When,
    /// Whom it runs as, where the table says so.
    pub user: Option<String>,
    /// What the shell is given, `%` already taken out.
    pub command: String,
    /// What it reads on standard input, where a `%` says so.
    pub stdin: Option<String>,
    /// The variables that the table sets above it, the last of each name.
    pub env: Vec<(String, String)>,
}

/// A line that is neither empty nor a comment nor a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// It runs something.
    Job(Job),
    /// It cannot be read.
    Unread {
        /// The line.
        line: String,
        /// Counted from 1.
        number: usize,
        /// Why not.
        reason: String,
    },
}

/// Reads a table. `names_users` is whether its lines name whom they run as.
pub fn parse(text: &str, names_users: bool) -> Vec<Entry> {
    let mut env: Vec<(String, String)> = Vec::new();
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some((name, value)) = variable(line) {
            env.retain(|(known, _)| *known != name);
            env.push((name, value));
            continue;
        }
        let number = index + 1;
        entries.push(match job(line, number, names_users, &env) {
            Ok(job) => Entry::Job(job),
            Err(reason) => Entry::Unread {
                line: line.to_owned(),
                number,
                reason,
            },
        });
    }
    entries
}

/// `NAME = value`, either in quotes or not; `None` for any other line.
fn variable(line: &str) -> Option<(String, String)> {
    let (name, rest) = match line.chars().next()? {
        quote @ ('"' | '\'') => {
            let (name, rest) = line.get(1..)?.split_once(quote)?;
            if name.contains('=') {
                return None;
            }
            (name, rest)
        }
        _bare => {
            let end = line.find(|c: char| c == '=' || c.is_whitespace())?;
            line.split_at(end)
        }
    };
    let value = rest.trim_start().strip_prefix('=')?.trim();
    let value = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => match value.get(1..)?.split_once(quote) {
            // Nothing follows the closing quote of a variable.
            Some((value, "")) => value,
            Some(_) | None => return None,
        },
        Some(_) | None => value,
    };
    (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
}

/// Takes the next word off; what is left begins with the one after it.
fn word<'l>(rest: &mut &'l str) -> Option<&'l str> {
    let text = rest.trim_start();
    if text.is_empty() {
        return None;
    }
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (word, left) = text.split_at(end);
    *rest = left.trim_start();
    Some(word)
}

fn job(
    line: &str,
    number: usize,
    names_users: bool,
    env: &[(String, String)],
) -> Result<Job, String> {
    let mut rest = line;
    let when = if line.starts_with('@') {
        let nickname = word(&mut rest).unwrap_or_default();
        match nickname {
            "@reboot" => When::Reboot,
            "@yearly" | "@annually" => When::Cron("0 0 1 1 *".to_owned()),
            "@monthly" => When::Cron("0 0 1 * *".to_owned()),
            "@weekly" => When::Cron("0 0 * * 0".to_owned()),
            "@daily" | "@midnight" => When::Cron("0 0 * * *".to_owned()),
            "@hourly" => When::Cron("0 * * * *".to_owned()),
            other => return Err(format!("`{other}` is no time that lorectl knows")),
        }
    } else {
        let mut fields = Vec::with_capacity(5);
        for _ in 0..5 {
            fields.push(word(&mut rest).ok_or("it has fewer than five fields of time")?);
        }
        let expression = fields.join(" ").to_ascii_lowercase();
        crate::service::schedule::check_cron(&expression, "UTC")
            .map_err(|invalid| invalid.to_string())?;
        When::Cron(expression)
    };
    let user = if names_users {
        let user = word(&mut rest).ok_or("it names no user")?;
        Some(user.to_owned())
    } else {
        None
    };
    if rest.is_empty() {
        return Err("it runs nothing".to_owned());
    }
    let (command, stdin) = percent(rest);
    Ok(Job {
        line: line.to_owned(),
        number,
        when,
        user,
        command,
        stdin,
        env: env.to_vec(),
    })
}

/// The command up to the first `%` that no backslash guards, and what follows it as input, where every
/// such `%` is a newline.
fn percent(text: &str) -> (String, Option<String>) {
    let mut command = String::new();
    let mut chars = text.chars();
    let mut input = None;
    while let Some(c) = chars.next() {
        match c {
            '%' => {
                input = Some(chars.as_str());
                break;
            }
            '\\' => match chars.clone().next() {
                Some('%') => {
                    command.push('%');
                    chars.next();
                }
                // A backslash that guards another is taken out too, and that one guards no `%`.
                Some('\\') => {
                    command.push('\\');
                    chars.next();
                }
                Some(_) | None => command.push('\\'),
            },
            other => command.push(other),
        }
    }
    let Some(input) = input else {
        return (command, None);
    };
    let mut stdin = String::new();
    let mut escaped = false;
    for c in input.chars() {
        if escaped {
            if c != '%' {
                stdin.push('\\');
            }
            escaped = false;
            if c == '\\' {
                escaped = true;
                continue;
            }
            stdin.push(c);
        } else if c == '\\' {
            escaped = true;
        } else {
            stdin.push(if c == '%' { '\n' } else { c });
        }
    }
    if escaped {
        stdin.push('\\');
    }
    if !stdin.is_empty() && !stdin.ends_with('\n') {
        stdin.push('\n');
    }
    (command, Some(stdin))
}

/// How a line stands in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Cron runs it.
    Live,
    /// It is there, commented out by us.
    Retired,
    /// It is not there.
    Missing,
}

/// The line that stands behind our mark, if this is one.
fn retired(line: &str) -> Option<&str> {
    let (_, line) = line.strip_prefix(MARK)?.split_once(MARK_END)?;
    Some(line)
}

fn is_live(line: &str, id: &LineId) -> bool {
    !line.trim_start().starts_with('#') && id.is(line)
}

/// How a line stands in a table.
pub fn standing(text: &str, id: &LineId) -> Standing {
    if text.lines().any(|line| is_live(line, id)) {
        return Standing::Live;
    }
    let behind = |line: &str| retired(line).is_some_and(|line| id.is(line));
    if text.lines().any(behind) {
        Standing::Retired
    } else {
        Standing::Missing
    }
}

/// The table with that line commented out, by `who`; where it stands twice, both.
pub fn retire(text: &str, id: &LineId, who: &str) -> String {
    rewritten(text, |line| {
        is_live(line, id).then(|| format!("{MARK}{who}{MARK_END}{line}"))
    })
}

/// The table with that line as it was.
pub fn give_back(text: &str, id: &LineId) -> String {
    rewritten(text, |line| {
        retired(line)
            .filter(|line| id.is(line))
            .map(ToOwned::to_owned)
    })
}

/// Every line as `change` has it, or as it is; with the newlines that there are.
fn rewritten(text: &str, change: impl Fn(&str) -> Option<String>) -> String {
    let mut whole = String::with_capacity(text.len() + 64);
    for piece in text.split_inclusive('\n') {
        let line = piece.strip_suffix('\n').unwrap_or(piece);
        match change(line) {
            Some(changed) => {
                whole.push_str(&changed);
                whole.push_str(piece.get(line.len()..).unwrap_or_default());
            }
            None => whole.push_str(piece),
        }
    }
    whole
}

#[cfg(test)]
mod tests;
