//! What changed on the host since the last apply, per resource, level and field.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    canvas::{Canvas, Line},
    json,
    plan::draw_drifted,
    style::{Paint, Style},
    text, time,
};
use crate::{
    id::Timestamp,
    resource::{Drift, DriftField, Plan, Stray, Subject},
};

/// What `lorectl drift` found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "What `lorectl drift --json` prints as data")]
pub struct Report<'a> {
    /// The project.
    pub project: &'a str,
    /// The host's name.
    pub host: &'a str,
    /// The serial of the state that the host was compared with.
    pub serial: u64,
    /// When the host was observed, UTC.
    #[schemars(with = "String")]
    pub observed_at: Timestamp,
    /// How many resources were compared.
    pub resources: usize,
    /// Those that drifted.
    #[serde(serialize_with = "json::drifts")]
    #[schemars(with = "Vec<json::DriftData>")]
    pub drift: &'a [Drift],
    /// Those that could not be told, and why.
    pub unknown: Vec<Unknown>,
    /// What carries the project's mark and is in no state.
    #[serde(serialize_with = "json::strays")]
    #[schemars(with = "Vec<json::StrayData>")]
    pub strays: &'a [Stray],
}

/// A resource that could not be told.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Unknown {
    /// `service.sync`.
    pub address: String,
    /// Why not.
    pub reason: String,
}

impl<'a> Report<'a> {
    /// The drift that a plan found among so many resources.
    pub fn of(plan: &'a Plan, resources: usize) -> Self {
        Self::new(&plan.subject, plan.created_at, resources, &plan.drift, &[])
    }

    /// A report in which all could be told.
    pub fn new(
        subject: &'a Subject,
        observed_at: Timestamp,
        resources: usize,
        drift: &'a [Drift],
        strays: &'a [Stray],
    ) -> Self {
        Self {
            project: subject.project.as_str(),
            host: &subject.host,
            serial: subject.serial,
            observed_at,
            resources,
            drift,
            unknown: Vec::new(),
            strays,
        }
    }

    /// Whether anything drifted that is not ignored: what `--detailed-exitcode` asks.
    pub fn has_drift(&self) -> bool {
        self.fields().any(|field| !field.ignored)
    }

    fn fields(&self) -> impl Iterator<Item = &DriftField> {
        self.drift.iter().flat_map(|drift| &drift.fields)
    }
}

/// The report as text.
pub fn render(report: &Report<'_>, style: &Style) -> String {
    let mut canvas = Canvas::new(style);
    let listed: Vec<&Drift> = report
        .drift
        .iter()
        .filter(|drift| !drift.fields.is_empty() || !drift.notes.is_empty())
        .collect();
    if !(listed.is_empty() && report.unknown.is_empty() && report.strays.is_empty()) {
        heading(&mut canvas, report);
    }
    for drift in listed {
        canvas.gap();
        let ignored = drift.fields.iter().all(|field| field.ignored);
        let paint = if ignored { Paint::Dim } else { Paint::Change };
        let line = Line::indented(2)
            .put(paint, "~ ")
            .put(Paint::Strong, drift.address.to_string());
        canvas.line(&line, 6);
        for field in &drift.fields {
            draw_drifted(&mut canvas, Line::indented(6), field);
        }
        for note in &drift.notes {
            let bullet = canvas.style().glyphs().bullet;
            let line = Line::indented(6).put(Paint::Dim, bullet).plain(" ");
            canvas.line(&line.plain(note), 8);
        }
    }
    unknown(&mut canvas, report);
    strays(&mut canvas, report);
    canvas.gap();
    summary(&mut canvas, report);
    canvas.finish()
}

fn heading(canvas: &mut Canvas<'_>, report: &Report<'_>) {
    let dot = canvas.style().glyphs().dot;
    let at = time::clock(report.observed_at, report.observed_at);
    let line = Line::new()
        .put(Paint::Strong, report.project)
        .plain(" on ")
        .put(Paint::Strong, report.host)
        .plain(" ")
        .whole(Paint::Dim, format!("{dot} observed {at}"))
        .plain(" ")
        .whole(Paint::Dim, format!("{dot} state {}", report.serial));
    canvas.line(&line, 2);
}

fn unknown(canvas: &mut Canvas<'_>, report: &Report<'_>) {
    if report.unknown.is_empty() {
        return;
    }
    canvas.gap();
    canvas.line(&Line::new().put(Paint::Grave, "Could not be told"), 0);
    for unknown in &report.unknown {
        let line = Line::indented(4)
            .put(Paint::Strong, &unknown.address)
            .plain("   ")
            .plain(&unknown.reason);
        canvas.line(&line, 6);
    }
}

fn strays(canvas: &mut Canvas<'_>, report: &Report<'_>) {
    if report.strays.is_empty() {
        return;
    }
    canvas.gap();
    canvas.line(&Line::new().put(Paint::Warning, "Ours, and in no state"), 0);
    for stray in report.strays {
        let line = Line::indented(4)
            .put(Paint::Strong, &stray.name)
            .plain("   ")
            .put(Paint::Dim, format!("on {}", stray.backend));
        canvas.line(&line, 6);
    }
}

/// `Drift: 2 of 12 resources, 5 fields; 1 ignored. lorectl apply puts it right.`
fn summary(canvas: &mut Canvas<'_>, report: &Report<'_>) {
    let ignored = report.fields().filter(|field| field.ignored).count();
    let fields = report.fields().count() - ignored;
    let drifted = report
        .drift
        .iter()
        .filter(|drift| drift.fields.iter().any(|field| !field.ignored))
        .count();
    let rest: String = [
        (ignored, "ignored"),
        (report.unknown.len(), "could not be told"),
        (report.strays.len(), "in no state"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .flat_map(|(count, words)| ["; ".to_owned(), count.to_string(), format!(" {words}")])
    .collect();
    let line = if drifted == 0 {
        let told = report.resources.saturating_sub(report.unknown.len());
        let are = if told == 1 { "is" } else { "are" };
        Line::new().put(Paint::Good, "No drift.").plain(format!(
            " {} {are} as applied{rest}.",
            text::count(told, "resource")
        ))
    } else {
        Line::new().put(Paint::Change, "Drift:").plain(format!(
            " {drifted} of {}, {}{rest}. {}",
            text::count(report.resources, "resource"),
            text::count(fields, "field"),
            remedy(report, drifted),
        ))
    };
    canvas.line(&line, 2);
}

/// What a person does about the drift; each kind of it has its own way.
fn remedy(report: &Report<'_>, drifted: usize) -> String {
    let count = |is: fn(&Drift) -> bool| report.drift.iter().filter(|drift| is(drift)).count();
    let conflicts = count(Drift::is_in_conflict);
    let programs = count(Drift::has_other_program);
    let mut parts = Vec::new();
    if conflicts > 0 {
        parts.push("What is not lorectl's is left alone: remove or rename it by hand.");
    }
    if programs > 0 {
        parts.push("`lorectl apply` takes the changed program in.");
    }
    if drifted > conflicts.saturating_add(programs) {
        parts.push(if parts.is_empty() {
            "`lorectl apply` puts it right."
        } else {
            "`lorectl apply` puts the rest right."
        });
    }
    parts.join(" ")
}

impl super::View for Report<'_> {
    fn text(&self, style: &Style) -> String {
        render(self, style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{BackendId, ResourceId},
        view::fixture::{self, address, snapshot},
    };

    #[test]
    fn drift_names_level_and_field() {
        let (subject, drift) = (fixture::subject(), fixture::drift());
        let strays = [Stray {
            name: "lorectl-acme.lost.timer".to_owned(),
            address: Some(address("lost")),
            id: ResourceId::derive(&subject.lineage, &address("lost")),
            backend: BackendId::from_static("systemd-system"),
        }];
        let mut report = Report::new(&subject, fixture::now(), 12, &drift, &strays);
        report.unknown.push(Unknown {
            address: "service.far".to_owned(),
            reason: "the user manager of `git` does not answer".to_owned(),
        });
        snapshot("drift", &render(&report, &Style::PLAIN));
        assert!(report.has_drift());
    }

    #[test]
    fn what_is_ignored_is_no_drift() {
        let (subject, drift) = (fixture::subject(), fixture::drift());
        let report = Report::new(&subject, fixture::now(), 12, &drift[..1], &[]);
        assert!(!report.has_drift());
        assert!(
            render(&report, &Style::PLAIN)
                .ends_with("No drift. 12 resources are as applied; 1 ignored.\n")
        );
        let report = Report::new(&subject, fixture::now(), 1, &[], &[]);
        assert_eq!(
            render(&report, &Style::PLAIN),
            "No drift. 1 resource is as applied.\n"
        );
    }
}
