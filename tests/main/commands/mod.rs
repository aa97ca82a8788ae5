//! Hermetic runs of the real program: what it prints, what it ends with, what it leaves behind.

mod approval;
mod bad_spec;
mod canaries;
mod completions;
mod credentials;
mod deliveries;
mod doctor;
mod doubtful;
mod dumps;
mod examples;
mod graph;
mod guards;
mod heralds;
mod hints;
mod history;
#[path = "../../../src/effect/http/listener.rs"]
mod listener;
mod literal;
mod observe;
mod out;
mod outlook;
mod output;
mod pins;
mod providers;
mod races;
mod readme;
mod reconcile;
mod refresh;
mod remedies;
mod repeat;
mod runs;
mod sealed;
mod setbacks;
mod show;
mod standings;
mod state;
mod tending;
mod tidings;
mod traces;
mod tree;
mod unseen;
mod uses;
mod verbs;
mod world;

/// Compares a text with the snapshot of that name.
fn snapshot(name: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"),
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(format!("command-{name}"), text);
    });
}
