//! `lorectl credential`: how each stands, and what an issuer says of one.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    canvas::{Canvas, Line},
    service::{Undelivered, undelivered},
    state::{Held, State},
    style::{Paint, Style},
    table::{Column, Table},
    text, time,
};
use crate::id::Timestamp;

/// The credentials of a project on this host.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl credential list --json` prints as data")]
pub struct List {
    /// The project.
    pub project: String,
    /// When all this was so, UTC.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The credentials, by name.
    pub credentials: Vec<Row>,
}

/// One credential. It holds no secret.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "CredentialRow")]
pub struct Row {
    /// Its name.
    pub name: String,
    /// `provisioned`, `expiring`, `under_scoped`, `resting`, `dead`, `held`, `missing`, or `drifted`: that the
    /// host differs.
    pub state: State,
    /// Who issued it.
    pub provider: Option<String>,
    /// Where its value comes from, in words.
    pub source: String,
    /// What stands for its value: equal ones are equal values of this project.
    pub fingerprint: Option<String>,
    /// The number of its value.
    pub generation: u64,
    /// What its issuer last said: `live`, `revoked`, and so on; null where it was not asked.
    pub status: Option<String>,
    /// Why, in lorectl's words; null where the status says it all.
    pub detail: Option<String>,
    /// When the issuer may be asked again, UTC, where it throttles.
    #[schemars(with = "Option<String>")]
    pub retry_at: Option<Timestamp>,
    /// When its issuer was last asked, UTC.
    #[schemars(with = "Option<String>")]
    pub probed_at: Option<Timestamp>,
    /// When it ends, UTC.
    #[schemars(with = "Option<String>")]
    pub expires_at: Option<Timestamp>,
    /// Where that is known from: `header`, `body`, `source`, `jwt`, `certificate`, `declared`.
    pub expiry_from: Option<String>,
    /// Scopes that are asked for and that its issuer does not list.
    pub missing_scopes: Vec<String>,
    /// Scopes that its issuer lists and that are not asked for.
    pub excess_scopes: Vec<String>,
    /// When its next value is obtained, UTC.
    #[schemars(with = "Option<String>")]
    pub renew_at: Option<Timestamp>,
    /// When the value before it is revoked, UTC, where that one still lives.
    #[schemars(with = "Option<String>")]
    pub revoke_at: Option<Timestamp>,
    /// Where it is delivered.
    pub delivered: Vec<String>,
    /// Why nothing is done to it, and what lifts that, where a person must act.
    pub held: Option<Held>,
    /// Why the last try to have a new value brought none, where one is due, or where its issuer is not asked
    /// for any for now.
    pub last_failure: Option<LastFailure>,
    /// `service.NAME`, before whose next run it is renewed, where it has ended or soon does, and nobody
    /// needs it until then.
    pub renewed_for: Option<String>,
    /// What its issuer's clock said and what this host's did, where they were more than 5 minutes apart.
    pub clocks: Option<Clocks>,
    /// What else should be known.
    pub why: Option<String>,
    /// Whom its last news has not reached.
    pub undelivered: Vec<Undelivered>,
}

/// Why there is no new value, in lorectl's words.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LastFailure {
    /// When the last try failed, UTC; null where an older lorectl made it.
    #[schemars(with = "Option<String>")]
    pub at: Option<Timestamp>,
    /// Why.
    pub why: Option<String>,
    /// How many have failed in a row; 0 where they are not counted.
    pub failures: u32,
    /// Whether the issuer's breaker is open.
    pub breaker_open: bool,
    /// Before when the issuer is not asked again, UTC.
    #[schemars(with = "Option<String>")]
    pub not_before: Option<Timestamp>,
    /// What the issuer refused the request for, and where that comes from.
    pub put_right: Option<String>,
}

/// Two clocks at one moment.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct Clocks {
    /// The issuer's, by the `Date` of its answer, UTC.
    #[schemars(with = "String")]
    pub issuer: Timestamp,
    /// This host's, UTC.
    #[schemars(with = "String")]
    pub host: Timestamp,
}

/// The columns that a long name keeps where the window is narrow.
const NAME: usize = 24;

/// How many columns a name may take, so that the others have theirs.
fn room_of_names(list: &List, style: &Style) -> usize {
    let widest = |of: &dyn Fn(&Row) -> usize| list.credentials.iter().map(of).max().unwrap_or(0);
    let others = [
        widest(&|row| row.state.as_str().len()),
        widest(&|row| ends(list, row).map_or(0, |ends| text::width(&ends))),
        widest(&|row| row.provider.as_deref().map_or(0, text::width)),
        widest(&|row| row.fingerprint.as_deref().map_or(0, text::width)),
        widest(&|row| text::width(&row.source)),
    ];
    // Each has a gap before it, and the name its mark.
    let taken: usize = others.iter().map(|width| width + 3).sum::<usize>() + 2;
    style.columns().saturating_sub(taken).max(NAME)
}

fn ends(list: &List, row: &Row) -> Option<String> {
    row.expires_at.map(|at| time::relative(list.at, at))
}

const fn column(title: &'static str, spare: u8) -> Column {
    Column { title, spare }
}

/// The list as text.
pub fn render(list: &List, style: &Style) -> String {
    let mut canvas = Canvas::new(style);
    if list.credentials.is_empty() {
        let line = format!("{} has no credential on this host.", list.project);
        canvas.line(&Line::new().plain(line), 0);
        return canvas.finish();
    }
    let columns = vec![
        column("CREDENTIAL", 0),
        column("STATE", 0),
        column("ENDS", 0),
        column("PROVIDER", 2),
        column("VALUE", 4),
        column("SOURCE", 3),
    ];
    let mut table = Table::new(columns, 0);
    let or_dash = |text: Option<&str>| match text {
        Some(text) => Line::new().plain(text),
        None => Line::new().put(Paint::Dim, "-"),
    };
    let room = room_of_names(list, style);
    for row in &list.credentials {
        let ends = ends(list, row);
        let cut = (text::width(&row.name) > room).then(|| {
            let ellipsis = style.glyphs().ellipsis;
            let kept = room.saturating_sub(text::width(ellipsis));
            format!("{}{ellipsis}", text::split_at_width(&row.name, kept).0)
        });
        let name = cut.as_deref().unwrap_or(&row.name);
        table.row(vec![
            Line::new()
                .put(row.state.paint(), row.state.mark(style))
                .plain(" ")
                .put(Paint::Strong, name),
            Line::new().put(row.state.paint(), row.state.as_str()),
            or_dash(ends.as_deref()),
            or_dash(row.provider.as_deref()),
            Line::new().put(Paint::Dim, row.fingerprint.as_deref().unwrap_or("-")),
            Line::new().plain(&row.source),
        ]);
        if cut.is_some() {
            table.note(Line::new().put(Paint::Strong, &row.name));
        }
        if let Some(held) = &row.held {
            table.note(held.line(list.at));
        }
        if let Some(why) = &row.why {
            table.note(Line::new().plain(why));
        }
        for own in &row.undelivered {
            let note = Line::new().put(Paint::Dim, "not told ");
            table.note(note.join(undelivered(list.at, own)));
        }
    }
    table.draw(&mut canvas);
    canvas.gap();
    let count = text::count(list.credentials.len(), "credential");
    canvas.line(&Line::new().plain(format!("{count}.")), 2);
    canvas.finish()
}

impl super::View for List {
    fn text(&self, style: &Style) -> String {
        render(self, style)
    }
}

/// What became of values that a run is to get.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl credential refresh --json` prints as data")]
pub struct Refresh {
    /// The project.
    pub project: String,
    /// When they were asked for, UTC.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Those that serve, in the order in which they were named.
    pub credentials: Vec<RefreshRow>,
}

/// One of them. It holds no secret.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RefreshRow {
    /// Its name.
    pub name: String,
    /// `served` for a value that was there and is not due, `renewed` for a new one, `not_renewed` for one
    /// that is due and serves still.
    pub how: String,
    /// What stands for its value.
    pub fingerprint: Option<String>,
    /// The number of its value.
    pub generation: u64,
    /// When it ends, UTC.
    #[schemars(with = "Option<String>")]
    pub expires_at: Option<Timestamp>,
    /// When its next value is obtained, UTC.
    #[schemars(with = "Option<String>")]
    pub renew_at: Option<Timestamp>,
    /// Why it was not renewed.
    pub why: Option<String>,
}

impl super::View for Refresh {
    fn text(&self, style: &Style) -> String {
        let mut canvas = Canvas::new(style);
        for row in &self.credentials {
            let (paint, how) = match row.how.as_str() {
                "renewed" => (Paint::Good, "renewed"),
                "not_renewed" => (Paint::Warning, "due, and not renewed"),
                _served => (Paint::Plain, "serves"),
            };
            let mut line = Line::new()
                .put(Paint::Strong, format!("credential.{}", row.name))
                .plain(": ")
                .put(paint, how);
            if let Some(at) = row.expires_at {
                line = line.plain(format!("; ends {}", time::when(self.at, at)));
            }
            if let Some(at) = row.renew_at.filter(|at| self.at < *at) {
                line = line.plain(format!("; the next one {}", time::relative(self.at, at)));
            }
            canvas.line(&line, 4);
            if let Some(why) = &row.why {
                canvas.line(&Line::indented(4).plain(why), 4);
            }
        }
        canvas.finish()
    }
}

/// What an issuer says of a value.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl credential validate --json` prints as data")]
pub struct Validated {
    /// The credential.
    pub name: String,
    /// `stored`, or `candidate` for what standard input held.
    pub value: String,
    /// Who was asked.
    pub provider: Option<String>,
    /// What it says: `live`, `live_under_scoped`, `expired`, `revoked`, `rejected`, `throttled`,
    /// `not_implemented` or `error`.
    pub status: String,
    /// Why, in lorectl's words.
    pub detail: Option<String>,
    /// When it ends, UTC.
    #[schemars(with = "Option<String>")]
    pub expires_at: Option<Timestamp>,
    /// Where that is known from.
    pub expiry_from: Option<String>,
    /// The same for a reader.
    #[serde(skip)]
    pub told_by: Option<&'static str>,
    /// What it may do, where the issuer lists it.
    pub scopes: Option<Vec<String>>,
    /// What is asked for and not there.
    pub missing_scopes: Vec<String>,
    /// What is there and not asked for.
    pub excess_scopes: Vec<String>,
    /// Whose it is, where the issuer says so.
    pub account: Option<String>,
    /// When the issuer may be asked again, UTC, where it throttles.
    #[schemars(with = "Option<String>")]
    pub retry_at: Option<Timestamp>,
    /// What its issuer's clock said and what this host's did, where they were more than 5 minutes apart.
    pub clocks: Option<Clocks>,
    /// The same for a reader.
    #[serde(skip)]
    pub clock: Option<String>,
    /// When it was asked, UTC.
    #[schemars(with = "String")]
    pub probed_at: Timestamp,
}

impl super::View for Validated {
    fn text(&self, style: &Style) -> String {
        let mut canvas = Canvas::new(style);
        let paint = match self.status.as_str() {
            "live" => Paint::Good,
            "expired" | "revoked" | "rejected" | "live_under_scoped" => Paint::Bad,
            _other => Paint::Warning,
        };
        let name = format!("credential.{}", self.name);
        let line = Line::new()
            .put(Paint::Strong, name)
            .plain(format!(", the {} value: ", self.value))
            .put(
                paint,
                match self.status.as_str() {
                    "live_under_scoped" => "live, but under-scoped",
                    "not_implemented" => "not asked",
                    status => status,
                },
            );
        canvas.line(&line, 4);
        let mut row = |name: &str, value: String| {
            let line = Line::indented(4).put(Paint::Dim, name).pad_to(16);
            canvas.line(&line.plain(value), 16);
        };
        if let Some(detail) = &self.detail {
            row("why", detail.clone());
        }
        if let Some(account) = &self.account {
            row("account", account.clone());
        }
        if let Some(at) = self.expires_at {
            let verb = if at <= self.probed_at {
                "ended"
            } else {
                "ends"
            };
            let from = self.told_by.map(|from| format!(", says {from}"));
            let when = time::when(self.probed_at, at);
            row(verb, format!("{when}{}", from.unwrap_or_default()));
        }
        if let Some(scopes) = &self.scopes {
            row("scopes", scopes.join(", "));
        }
        if !self.missing_scopes.is_empty() {
            row("lacks", self.missing_scopes.join(", "));
        }
        if !self.excess_scopes.is_empty() {
            row("has more", self.excess_scopes.join(", "));
        }
        if let Some(at) = self.retry_at {
            row("ask again", time::when(self.probed_at, at));
        }
        if let Some(clock) = &self.clock {
            row("clock", clock.clone());
        }
        canvas.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture::{self, snapshot};

    fn row(name: &str) -> Row {
        Row {
            name: name.to_owned(),
            state: State::Provisioned,
            provider: Some("gitlab".to_owned()),
            source: "env GITLAB_TOKEN".to_owned(),
            fingerprint: Some("7f3a91c2".to_owned()),
            generation: 1,
            status: None,
            detail: None,
            retry_at: None,
            probed_at: None,
            expires_at: Some(fixture::now().plus_seconds(40 * 86_400)),
            expiry_from: None,
            missing_scopes: Vec::new(),
            excess_scopes: Vec::new(),
            renew_at: None,
            revoke_at: None,
            delivered: Vec::new(),
            held: None,
            last_failure: None,
            renewed_for: None,
            clocks: None,
            why: None,
            undelivered: Vec::new(),
        }
    }

    #[test]
    fn a_long_name_gives_way_before_the_columns_do() {
        let long = "a-name-of-a-credential-that-takes-fifty-characters";
        let list = |names: &[&str]| List {
            project: "acme".to_owned(),
            at: fixture::now(),
            credentials: names.iter().map(|name| row(name)).collect(),
        };
        let drawn = |names: &[&str], width| render(&list(names), &Style::PLAIN.at_width(width));
        snapshot("credential-list-80", &drawn(&["app", long], 80));
        snapshot("credential-list-60", &drawn(&["app", long], 60));
        // Where there is room it is whole, and said once.
        let wide = drawn(&["app", long], 120);
        assert_eq!(wide.matches(long).count(), 1, "{wide}");
        assert!(!wide.contains('…'), "{wide}");
    }
}
