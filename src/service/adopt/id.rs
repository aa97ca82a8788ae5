//! What a service takes the place of, by name: `systemd:logrotate.timer`,
//! `crontab:/etc/crontab#run-parts-1f0c2ab3`.

use std::{fmt, path::Path, str::FromStr};

use crate::id::{Digest, Invalid};

/// How many digits of a line's digest name it.
const DIGITS: usize = 8;

/// The longest label of a line.
const LABEL: usize = 24;

/// Whose crontab it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// A file whose lines name a user: `/etc/crontab`, or one of `/etc/cron.d`.
    File(String),
    /// The crontab that a user edits with `crontab -e`.
    User(String),
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) | Self::User(name) => f.write_str(name),
        }
    }
}

/// One line of a crontab, by its content: it keeps its name wherever in the file it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineId {
    /// Where it stands.
    pub table: Table,
    /// For the reader: what it runs. It decides nothing.
    label: String,
    /// The first hex digits of SHA-256 over the line without the blanks around it.
    digest: String,
}

impl LineId {
    /// The name of a line, whose command is `command`.
    pub fn of(table: Table, line: &str, command: &str) -> Self {
        Self {
            table,
            label: label(command),
            digest: digest(line),
        }
    }

    /// Whether both name the same line.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.table, &self.digest) == (&other.table, &other.digest)
    }

    /// Whether a line is the one that is meant.
    pub fn is(&self, line: &str) -> bool {
        digest(line) == self.digest
    }
}

/// What a service takes the place of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Replaced {
    /// A timer of the system's manager, with its suffix.
    SystemTimer(String),
    /// A timer of the manager of whoever applies, with its suffix.
    UserTimer(String),
    /// A line of a crontab.
    Line(LineId),
}

impl Replaced {
    /// For a sentence: `the timer logrotate.timer`.
    pub fn told(&self) -> String {
        match self {
            Self::SystemTimer(unit) => format!("the timer {unit}"),
            Self::UserTimer(unit) => format!("the user's timer {unit}"),
            Self::Line(line) => match &line.table {
                Table::File(path) => format!("a line of {path}"),
                Table::User(user) => format!("a line of {user}'s crontab"),
            },
        }
    }

    /// What brings it back by hand.
    pub fn by_hand(&self) -> String {
        match self {
            Self::SystemTimer(unit) => format!("`systemctl enable --now {unit}` brings it back"),
            Self::UserTimer(unit) => {
                format!("`systemctl --user enable --now {unit}` brings it back")
            }
            Self::Line(line) => {
                let edit = match &line.table {
                    Table::File(path) => format!("in {path}"),
                    Table::User(user) => format!("with `crontab -u {user} -e`"),
                };
                format!("to bring it back, take the comment before it away {edit}")
            }
        }
    }
}

impl fmt::Display for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SystemTimer(unit) => write!(f, "systemd:{unit}"),
            Self::UserTimer(unit) => write!(f, "systemd-user:{unit}"),
            Self::Line(line) => {
                write!(f, "crontab:{}#", line.table)?;
                if !line.label.is_empty() {
                    write!(f, "{}-", line.label)?;
                }
                f.write_str(&line.digest)
            }
        }
    }
}

impl FromStr for Replaced {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const FORMS: &str = "it is `systemd:NAME.timer`, `systemd-user:NAME.timer`, \
             `crontab:FILE#LINE` or `crontab:USER#LINE`, as `lorectl init --from-host` writes it";
        let invalid = |why: &str| Invalid(format!("`{text}` names nothing to replace: {why}"));
        let (scheme, rest) = text.split_once(':').ok_or_else(|| invalid(FORMS))?;
        match scheme {
            "systemd" => Ok(Self::SystemTimer(
                timer(rest).ok_or_else(|| invalid(FORMS))?,
            )),
            "systemd-user" => Ok(Self::UserTimer(timer(rest).ok_or_else(|| invalid(FORMS))?)),
            "crontab" => {
                let (table, line) = rest.rsplit_once('#').ok_or_else(|| invalid(FORMS))?;
                let table = table_of(table).ok_or_else(|| {
                    invalid("a crontab is /etc/crontab, a file of /etc/cron.d, or a user's name")
                })?;
                let (label, digest) = line.rsplit_once('-').unwrap_or(("", line));
                let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
                if digest.len() != DIGITS || !digest.chars().all(hex) {
                    return Err(invalid(
                        "a line ends with eight hex digits of its digest, as `lorectl init --from-host` writes them",
                    ));
                }
                if !label.chars().all(is_plain) {
                    return Err(invalid(
                        "a line's label is of letters, digits, `.`, `_` and `-`",
                    ));
                }
                Ok(Self::Line(LineId {
                    table,
                    label: label.to_owned(),
                    digest: digest.to_owned(),
                }))
            }
            _other => Err(invalid(FORMS)),
        }
    }
}

const fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// A timer's name; nothing that could lead out of a directory of units.
fn timer(name: &str) -> Option<String> {
    let stem = name.strip_suffix(".timer")?;
    let fit = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    (!stem.is_empty() && name.len() <= 255 && stem.chars().all(fit)).then(|| name.to_owned())
}

fn table_of(text: &str) -> Option<Table> {
    if !text.starts_with('/') {
        let fit = |c: char| c.is_alphanumeric() || "._-$+".contains(c);
        let named = !text.is_empty() && !text.starts_with(['-', '.']) && text.chars().all(fit);
        return named.then(|| Table::User(text.to_owned()));
    }
    let file = Path::new(text);
    let known = text == "/etc/crontab"
        || (text.strip_prefix("/etc/cron.d/")).is_some_and(|name| {
            !name.is_empty()
                && name != "."
                && name != ".."
                && !name.contains(['/', '\0', '#'])
                && !name.contains(char::is_whitespace)
        });
    (known && file.is_absolute()).then(|| Table::File(text.to_owned()))
}

fn digest(line: &str) -> String {
    let digest = Digest::of(line.trim().as_bytes()).to_string();
    digest.chars().take(DIGITS).collect()
}

/// The name of what a command runs, as far as a reader can be told: the directory for `run-parts`, else
/// the program after the last `&&` or `||`.
pub fn label(command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    let parts = words.iter().position(|word| word.ends_with("run-parts"));
    let last = words.iter().rposition(|word| ["&&", "||"].contains(word));
    let rest = words.get(parts.or(last).map_or(0, |at| at + 1)..);
    let chosen = rest
        .unwrap_or_default()
        .iter()
        .find(|word| names_program(word));
    let base = chosen.and_then(|word| {
        word.trim_end_matches(['/', ';', ')', '}'])
            .rsplit('/')
            .next()
    });
    let fit = base.unwrap_or("").chars().filter(|c| is_plain(*c));
    let fit: String = fit.take(LABEL).collect();
    fit.trim_matches(['-', '.']).to_owned()
}

/// Whether a word is more than what stands before a program: an assignment, an option, a shell's word.
fn names_program(word: &str) -> bool {
    const BEFORE: [&str; 16] = [
        "cd", "test", "if", "then", "exec", "command", "nice", "ionice", "sudo", "env", "!", "[",
        "{", "(", ";", "/",
    ];
    let assigns = word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    });
    !assigns && !word.starts_with('-') && !BEFORE.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_written_as_it_is_read() {
        for text in [
            "systemd:logrotate.timer",
            "systemd:pg_dump@15-main.timer",
            r"systemd:dev-disk\x2d1.timer",
            "systemd-user:backup.timer",
            "crontab:/etc/crontab#run-parts-0123abcd",
            "crontab:/etc/cron.d/e2scrub_all#e2scrub_all-0123abcd",
            "crontab:git#0123abcd",
        ] {
            let id: Replaced = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for text in [
            "",
            "logrotate.timer",
            "timer:logrotate.timer",
            "systemd:logrotate.service",
            "systemd:.timer",
            "systemd:../x.timer",
            "systemd:a/b.timer",
            "crontab:root",
            "crontab:root#12",
            "crontab:root#0123ABCD",
            "crontab:-u#0123abcd",
            "crontab:/etc/passwd#0123abcd",
            "crontab:/etc/cron.d/../passwd#0123abcd",
            "crontab:#0123abcd",
            "crontab:root#a b-0123abcd",
        ] {
            assert!(text.parse::<Replaced>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_label_tells_what_is_run() {
        for (command, expected) in [
            ("/usr/local/bin/sync --all", "sync"),
            ("cd / && run-parts --report /etc/cron.hourly", "cron.hourly"),
            (
                "test -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.daily; }",
                "cron.daily",
            ),
            (
                "test -e /x || MODE=1 /usr/lib/e2scrub_all_cron -q",
                "e2scrub_all_cron",
            ),
            ("nice -n 10", "10"),
            ("   ", ""),
            ("&&", ""),
        ] {
            assert_eq!(label(command), expected, "{command}");
        }
    }

    #[test]
    fn a_line_is_known_by_what_it_says() {
        let table = Table::User("root".to_owned());
        let line = "*/5 * * * * cd /srv && /usr/local/bin/sync --all";
        let id = LineId::of(table, line, "cd /srv && /usr/local/bin/sync --all");
        assert!(id.is(line));
        assert!(id.is(&format!("  {line} ")));
        assert!(!id.is("*/6 * * * * cd /srv && /usr/local/bin/sync --all"));
        let read: Replaced = Replaced::Line(id.clone()).to_string().parse().unwrap();
        assert_eq!(read, Replaced::Line(id));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = label(&text);
            if let Ok(id) = text.parse::<Replaced>() {
                proptest::prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
