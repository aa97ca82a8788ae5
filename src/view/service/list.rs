//! `lorectl service list`: what fires next, as `systemctl list-timers` shows it.

use schemars::JsonSchema;
use serde::Serialize;

use super::super::{
    canvas::{Canvas, Line},
    state::{LastRun, State},
    style::{Paint, Style},
    table::{Column, Table},
    text, time,
};
use super::status::PlatformState;
use crate::id::Timestamp;

/// The services of a project on this host.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl service list --json` prints as data")]
pub struct List {
    /// The project.
    pub project: String,
    /// When all this was so, UTC.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The services.
    pub services: Vec<ListRow>,
}

/// One service.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ListRow {
    /// Its name.
    pub name: String,
    /// Its mark on the host: 12 hex digits.
    pub service_id: String,
    /// What it is up to, or that the host differs.
    pub state: State,
    /// What it is up to: `idle`, `running`, `running_stale`, `degraded`, `backoff`, `half_open`, `paused`.
    pub scheduler_state: String,
    /// Its schedule in words, `every 30m`.
    pub schedule: String,
    /// The interval of an `every`.
    pub interval_seconds: Option<u64>,
    /// The profile that chooses its stages.
    pub profile: Option<String>,
    /// Who wakes it: `systemd-system`, `systemd-user`, `worker`.
    pub platform: String,
    /// Whether that one has it.
    pub platform_state: PlatformState,
    /// Whether the host differs from what was applied; null where it could not be told.
    pub drift: Option<bool>,
    /// When it was first applied, UTC.
    #[schemars(with = "String")]
    pub installed_at_iso: Timestamp,
    /// When it runs next, UTC.
    #[schemars(with = "Option<String>")]
    pub next_run: Option<Timestamp>,
    /// Its last run.
    pub last_run: Option<LastRun>,
}

impl List {
    /// Puts what fires first at the top, and what does not fire at the end.
    pub fn sort(&mut self) {
        self.services.sort_by(|a, b| {
            let key = |row: &ListRow| (row.next_run.is_none(), row.next_run);
            key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
        });
    }
}

const fn column(title: &'static str, spare: u8) -> Column {
    Column { title, spare }
}

/// Who wakes it, and what is wrong there.
fn scheduler(row: &ListRow) -> Line {
    let line = Line::new().put(Paint::Dim, &row.platform);
    match row.platform_state {
        PlatformState::Loaded => line,
        PlatformState::Unloaded | PlatformState::Unknown => {
            line.put(Paint::Warning, format!(", {}", row.platform_state.as_str()))
        }
    }
}

/// The list as text.
pub fn render(list: &List, style: &Style) -> String {
    let mut canvas = Canvas::new(style);
    if list.services.is_empty() {
        let line = Line::new().plain(format!("{} has no service on this host.", list.project));
        canvas.line(&line, 0);
        return canvas.finish();
    }
    let columns = vec![
        column("NEXT", 3),
        column("LEFT", 0),
        column("LAST", 4),
        column("PASSED", 0),
        column("OUTCOME", 1),
        column("SERVICE", 0),
        column("STATE", 0),
        column("SCHEDULE", 2),
        column("SCHEDULER", 5),
    ];
    let mut table = Table::new(columns, 0);
    let dash = || Line::new().put(Paint::Dim, "-");
    for row in &list.services {
        let (next, left) = match row.next_run {
            Some(at) => (
                Line::new().plain(time::clock(list.at, at)),
                Line::new().plain(time::relative(list.at, at)),
            ),
            None => (dash(), dash()),
        };
        let (ended, passed, outcome) = match &row.last_run {
            Some(run) => (
                Line::new().plain(time::clock(list.at, run.ended_at)),
                Line::new().plain(time::relative(list.at, run.ended_at)),
                Line::new().put(run.outcome.paint(), run.outcome.as_str()),
            ),
            None => (dash(), dash(), dash()),
        };
        table.row(vec![
            next,
            left,
            ended,
            passed,
            outcome,
            Line::new().put(Paint::Strong, &row.name),
            Line::new().put(row.state.paint(), row.state.as_str()),
            Line::new().plain(&row.schedule),
            scheduler(row),
        ]);
    }
    table.draw(&mut canvas);
    canvas.gap();
    let waiting = list
        .services
        .iter()
        .filter(|row| row.state.needs_attention())
        .count();
    let rest = if waiting > 0 {
        format!("; {waiting} to look at: `lorectl status`")
    } else {
        String::new()
    };
    let count = text::count(list.services.len(), "service");
    canvas.line(&Line::new().plain(format!("{count}{rest}.")), 2);
    canvas.finish()
}

impl super::super::View for List {
    fn text(&self, style: &Style) -> String {
        render(self, style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture::{self, snapshot};

    #[test]
    fn what_fires_first_is_on_top_and_columns_leave_with_the_room() {
        let mut list = fixture::service_list();
        list.sort();
        for width in [60, 80, 120] {
            let text = render(&list, &Style::PLAIN.at_width(width));
            assert!(
                text.lines().all(|line| text::width(line) <= width),
                "{text}"
            );
            snapshot(&format!("service-list-{width}"), &text);
        }
    }
}
