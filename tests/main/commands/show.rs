//! A plan file as text, comment, widget and page; and what is none.

use std::fs;

use serde_json::Value;

use super::world::{World, service};

/// A world with a plan file of one change, and a value that wants to be more than one.
fn planned() -> World {
    let hostile = "env = { X = \"</pre>|`@all <script>alert(1)</script>\" }\n";
    let world = World::with(&service("a", ""));
    world.ok("apply --yes");
    world.spec(
        &[
            service("a", hostile),
            service("b", "depends_on = [\"service.a\"]\n"),
        ]
        .concat(),
    );
    world.ok("plan --out ../plan.json");
    world
}

#[test]
fn a_plan_file_is_shown_as_it_was_printed() {
    let world = planned();
    let plan = world.ok("plan");
    let shown = world.ok("show ../plan.json");
    let rest = |text: &str| text.split_once('\n').unwrap().1.to_owned();
    assert_eq!(rest(&shown), rest(&plan));
    let last = |text: &str| text.lines().last().unwrap().to_owned();
    assert_eq!(last(&world.ok("show ../plan.json -q")), last(&plan));
    let json: Value = serde_json::from_str(&world.ok("show ../plan.json --json")).unwrap();
    let file = fs::read_to_string(world.path().join("plan.json")).unwrap();
    let file: Value = serde_json::from_str(&world.redacted(&file)).unwrap();
    assert_eq!(json["data"], file);
}

#[test]
fn a_plan_file_is_a_comment_a_widget_and_a_page() {
    let world = planned();
    let comment = world.ok("show ../plan.json --format markdown");
    assert!(
        comment.contains(": 1 to create, 1 to change\n"),
        "{comment}"
    );
    let widget = world.ok("show ../plan.json --format gitlab");
    assert_eq!(widget, "{\"create\":1,\"update\":1,\"delete\":0}\n");
    let page = world.ok("show ../plan.json --format html");
    assert!(page.starts_with("<!DOCTYPE html>"), "{page}");
    assert!(page.contains("<svg"), "{page}");
    assert!(!comment.contains("@all"), "{comment}");
    for text in [&comment, &page] {
        assert!(!text.contains("<script"), "{text}");
    }
}

#[test]
fn a_snapshot_is_shown_in_words() {
    let world = planned();
    world.ok("observe --out ../snapshot.json");
    let text = world.ok("show ../snapshot.json");
    assert!(text.contains("1 resource applied"), "{text}");
    world.refuses("show ../snapshot.json --format html", 64, "USAGE");
}

#[test]
fn what_is_neither_is_not_shown() {
    let world = planned();
    let plan = world.path().join("plan.json");
    let good = fs::read_to_string(&plan).unwrap();
    for bad in ["", "{}", &good[..100], &good.replace("2026", "2027")] {
        fs::write(&plan, bad).unwrap();
        world.refuses("show ../plan.json", 65, "PLAN_INVALID");
    }
    world.refuses("show nothing.json", 65, "PLAN_INVALID");
    world.refuses("show ..", 65, "PLAN_INVALID");
}
