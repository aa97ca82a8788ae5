//! What was found, as a spec that is read by people.

use std::fmt::Write as _;

use super::found::{Candidate, Left};
use crate::{
    id::{ProjectName, ResourceName, Seconds},
    service::definition::{CatchUp, Schedule},
};

/// The shortest `every` that a project has without saying so.
const MIN_INTERVAL: Seconds = Seconds(300);

/// Whether a character is one that a reader would not see as what it is: a control character, or one of
/// those that turn or hide text (UAX #9 and the like).
fn hides(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A string as TOML has it.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if hides(c) => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A comment: one line, whatever the text holds.
fn comment(text: &str) -> String {
    let shown: String = text
        .chars()
        .map(|c| if hides(c) { ' ' } else { c })
        .collect();
    format!("# {}\n", shown.trim_end())
}

/// The policy of cron and systemd: what failed is run at its next time, and nothing ends a long run.
const POLICY: [(&str, &str); 3] = [
    ("timeout", "\"1d\""),
    ("breaker", "{ failures = 1, cooldown = \"1s\" }"),
    ("classify", "{ transient = [77, 78] }"),
];

/// A whole spec.
pub fn spec(
    project: &ProjectName,
    host: &str,
    named: &[(ResourceName, Candidate)],
    left: &[Left],
) -> String {
    let mut text = String::from("#:schema ./lorectl.schema.json\n");
    text += &comment(&format!(
        "What timers and crontabs ran on {host}, as `lorectl init --from-host` found it."
    ));
    text += "#\n\
             # Applied, each of these services does what ran before, as the same user and at the same times,\n\
             # and retires what it `replaces`: stops and disables that timer, or comments that line out.\n\
             #\n\
             #   lorectl plan        says what applying it would change, and changes nothing\n\
             #   lorectl apply       changes it\n\
             \n\
             version = 1\n\n[project]\n";
    let version = concat!(
        env!("CARGO_PKG_VERSION_MAJOR"),
        ".",
        env!("CARGO_PKG_VERSION_MINOR")
    );
    let _ = writeln!(text, "name = \"{project}\"");
    let _ = writeln!(text, "lorectl = \">={version}\"");
    let shortest = named
        .iter()
        .filter_map(|(_, candidate)| match candidate.schedule {
            Schedule::Every(every) => Some(every),
            Schedule::Cron { .. } => None,
        });
    if let Some(shortest) = shortest.min().filter(|shortest| *shortest < MIN_INTERVAL) {
        let _ = writeln!(text, "min_interval = \"{shortest}\"");
    }
    text += "\n# The policy of cron and systemd: a failed run is run again at its next time, whatever its exit\n\
             # status, and no run is cut short within a day. Without these lines lorectl's own holds: a limit\n\
             # of 15m, retries, backoff and a breaker.\n\
             [defaults.services]\n";
    for (key, value) in POLICY {
        let _ = writeln!(text, "{key} = {value}");
    }
    for (name, candidate) in named {
        text.push('\n');
        text += &block(name, candidate, false);
    }
    if !left.is_empty() {
        text += "\n# Left alone:\n#\n";
        for left in left {
            text += &comment(&format!("  {}", left.what));
            text += &comment(&format!("      {}", left.why));
        }
    }
    text
}

/// The table of one service; with `policy`, also what [`spec`] has under `[defaults.services]`.
pub fn block(name: &ResourceName, candidate: &Candidate, policy: bool) -> String {
    let mut text = String::new();
    for remark in &candidate.remarks {
        text += &comment(remark);
    }
    let _ = writeln!(text, "[services.{name}]");
    let mut put = |key: &str, value: String| {
        let _ = writeln!(text, "{key} = {value}");
    };
    if let Some(description) = &candidate.description {
        let line: String = (description.chars().filter(|c| !hides(*c)))
            .take(200)
            .collect();
        put("description", quoted(&line));
    }
    if let Some(user) = &candidate.user {
        put("user", quoted(user));
    }
    put(
        "schedule",
        match &candidate.schedule {
            Schedule::Every(every) => format!("{{ every = \"{every}\" }}"),
            Schedule::Cron {
                expression,
                timezone,
            } => format!(
                "{{ cron = {}, timezone = {} }}",
                quoted(expression),
                quoted(timezone)
            ),
        },
    );
    let words: Vec<String> = candidate.run.iter().map(|word| quoted(word)).collect();
    put("run", format!("[{}]", words.join(", ")));
    if !candidate.env.is_empty() {
        let pairs: Vec<String> = (candidate.env.iter())
            .map(|(name, value)| format!("{name} = {}", quoted(value)))
            .collect();
        put("env", format!("{{ {} }}", pairs.join(", ")));
    }
    put("working_dir", quoted(&candidate.working_dir));
    put("splay", format!("\"{}\"", candidate.splay));
    if candidate.catch_up == CatchUp::Skip {
        put("catch_up", quoted("skip"));
    }
    if !candidate.is_confined {
        put("sandbox", quoted("off"));
    }
    if policy {
        for (key, value) in POLICY {
            put(key, value.to_owned());
        }
    }
    put("replaces", quoted(&candidate.replaces.to_string()));
    text
}
