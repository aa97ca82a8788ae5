//! What reports look like, how long they get, and what hostile text does in them: nothing.

use proptest::prelude::*;

use super::{Gitlab, html, markdown};
use crate::{
    plan::{document, saved::Saved},
    resource::{ActionReason, Cause, Plan},
    view::fixture::{self, snapshot},
};

fn saved(plan: &Plan) -> Saved {
    let mut bytes = Vec::new();
    document::write(plan, &mut bytes).unwrap();
    Saved::read(&bytes).unwrap()
}

fn page(plan: &Plan) -> String {
    let mut out = Vec::new();
    html::write(&saved(plan), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// One of everything, with something that depends on something.
fn plan() -> Plan {
    let mut plan = fixture::plan();
    let needs =
        |name: &str| serde_json::json!({"meta": {"depends_on": [format!("service.{name}")]}});
    for (at, name) in [(2, "backup"), (7, "index")] {
        plan.changes[at].after = needs(name).into();
    }
    plan
}

#[test]
fn one_of_everything() {
    snapshot("report-markdown", &markdown::render(&saved(&plan())));
    snapshot("report-html", &page(&plan()));
    snapshot(
        "report-markdown-refused",
        &markdown::render(&saved(&fixture::refused_plan())),
    );
    snapshot(
        "report-markdown-quiet",
        &markdown::render(&saved(&fixture::quiet_plan())),
    );
}

#[test]
fn what_someone_asked_for_is_on_no_schedule() {
    let mut plan = plan();
    for change in &mut plan.changes {
        if change.cause.is_some() {
            change.cause = Some(Cause::Schedule);
            change.reason = ActionReason::RenewalAsked;
        }
    }
    let asked = plan
        .changes
        .iter()
        .filter(|one| one.cause.is_some())
        .count();
    for (text, cell) in [
        (markdown::render(&saved(&plan)), "| asked |"),
        (page(&plan), "<span class=\"why\">asked</span>"),
    ] {
        assert_eq!(text.matches(cell).count(), asked, "{text}");
        let scheduled = cell.replace("asked", "schedule");
        assert!(!text.contains(&scheduled), "{text}");
    }
}

#[test]
fn gitlab_counts_as_terraform_does() {
    let json = |plan: &Plan| serde_json::to_string(&Gitlab::of(&saved(plan))).unwrap();
    assert_eq!(
        json(&fixture::plan()),
        r#"{"create":2,"update":4,"delete":2}"#
    );
    assert_eq!(
        json(&fixture::quiet_plan()),
        r#"{"create":0,"update":0,"delete":0}"#
    );
}

/// The fixture with this text wherever a user, a host or a job could have written it.
fn hostile_plan(text: &str, times: usize) -> Plan {
    let mut plan = plan();
    let one = || text.to_owned();
    plan.subject.host = one();
    plan.warnings = vec![one(); times];
    plan.holds[0].reason = one();
    plan.refusals = fixture::refused_plan().refusals;
    plan.refusals[0].message = one();
    plan.refusals[0].suggestion = Some(one());
    plan.drift[0].fields[0].field = one();
    plan.drift[0].fields[0].observed = Some(one());
    for change in &mut plan.changes {
        change.notes = vec![one(); times];
        change.fields = vec![fixture::field(text, Some(text), Some(text)); times];
        change.files = vec![
            fixture::file(text, Some("a"), Some(text)),
            fixture::file(text, None, Some(text)),
        ];
    }
    plan
}

#[test]
fn a_comment_has_a_limit_and_says_what_it_leaves_out() {
    let mut plan = plan();
    let change = plan.changes[7].clone();
    for n in 0..10_000 {
        let mut more = change.clone();
        more.address = fixture::address(&format!("more{n:05}"));
        plan.changes.push(more);
    }
    let text = markdown::render(&saved(&plan));
    assert!(text.len() <= markdown::LIMIT, "{}", text.len());
    assert!(text.len() > markdown::LIMIT / 2, "{}", text.len());
    assert!(
        text.contains("resources more_"),
        "no row is said to be missing"
    );
    assert!(
        text.contains("`lorectl show FILE` shows all"),
        "nor are details"
    );
    for long in ["`".repeat(5000), "|\\".repeat(5000), "é@\n".repeat(3000)] {
        let text = markdown::render(&saved(&hostile_plan(&long, 40)));
        assert!(text.len() <= markdown::LIMIT, "{}", text.len());
    }
}

/// What a comment is made of, without the diffs: no text of others has any of these characters.
fn is_harmless(text: &str) -> Result<(), String> {
    let mut fence: Option<&str> = None;
    for line in text.split('\n') {
        let run = line.len() - line.trim_start_matches('`').len();
        match fence {
            Some(open) if line == open => fence = None,
            Some(open) if run >= open.len() => return Err(format!("closed by {line:?}")),
            Some(_) => {}
            None if run >= 3 => fence = Some(&line[..run]),
            None => {
                for part in line.split("<code>").skip(1) {
                    let inner = part.split("</code>").next().unwrap_or_default();
                    if inner.contains(|c: char| "<>|`*_[]@!~#".contains(c) && c != '#')
                        || inner.replace("&#", "").contains('#')
                    {
                        return Err(format!("{inner:?} of {line:?}"));
                    }
                }
            }
        }
    }
    fence.map_or(Ok(()), |fence| Err(format!("{fence} is not closed")))
}

/// Whether every tag is closed in its order, and what stands between is escaped.
fn is_well_formed(page: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    let (_, body) = page.split_once("</style>").unwrap();
    let mut rest = body;
    open.push("head");
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at);
        if before.contains('>') {
            return Err(format!("a stray > in {before:?}"));
        }
        let end = tag.find('>').ok_or("a tag without an end")?;
        let name = &tag[1..end];
        rest = &tag[end + 1..];
        if let Some(name) = name.strip_prefix('/') {
            if name == "html" {
                return Ok(());
            }
            if open.pop() != Some(name) {
                return Err(format!("</{name}> closes {open:?}"));
            }
        } else if !name.ends_with('/') {
            open.push(name.split(' ').next().unwrap_or_default());
        }
    }
    Err("no end".to_owned())
}

#[test]
fn a_page_refers_to_nothing_outside_of_it() {
    for plan in [plan(), fixture::refused_plan(), fixture::quiet_plan()] {
        let page = page(&plan);
        for reference in [
            "src=", "href=", "url(", "@import", "<script", "<link", "<iframe", "://",
        ] {
            assert!(!page.contains(reference), "{reference}");
        }
        is_well_formed(&page).unwrap();
    }
    assert!(page(&plan()).contains("<svg"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn hostile_text_stays_text(
        hostile in prop_oneof![
            any::<String>(),
            "[a\\x1b\n\r\t\u{202e}`|<>&\"'*_@/~\\[\\]()!#:.-]{0,120}",
            Just("```\n</details><script>alert(1)</script>".to_owned()),
            Just("</pre></span><img src=x onerror=alert(1)>".to_owned()),
        ],
        times in 1_usize..4,
    ) {
        let plan = hostile_plan(&hostile, times);
        let comment = markdown::render(&saved(&plan));
        prop_assert!(comment.len() <= markdown::LIMIT);
        is_harmless(&comment).map_err(TestCaseError::fail)?;
        let page = page(&plan);
        is_well_formed(&page).map_err(TestCaseError::fail)?;
        prop_assert!(!page.contains("<script") && !page.contains("<img"));
        for text in [&comment, &page] {
            let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            prop_assert!(!text.contains(acts));
        }
    }
}
