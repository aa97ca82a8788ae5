//! Tokens of real issuers. `tests/issuers/run` installs them; without that, every test that needs one
//! is ignored and says why. The GitLab stand-in needs Python alone.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test starts processes, says what it did, and stops at the first surprise"
)]

mod github;
mod gitlab;
mod home;
mod jupyterhub;
mod oidc;
mod rotation;
mod server;
mod verdaccio;

use libtest_mimic::{Arguments, Trial};
use server::Kind;

/// One test, of one issuer.
type Test = (&'static str, Kind, fn());

fn main() {
    let args = Arguments::from_args();
    let installed = std::env::var_os("LORECTL_ISSUERS").is_some();
    let python = std::process::Command::new("python3")
        .arg("--version")
        .output();
    let tests = [
        jupyterhub::TESTS,
        rotation::TESTS,
        oidc::TESTS,
        gitlab::TESTS,
        github::TESTS,
        verdaccio::TESTS,
    ]
    .concat();
    let mut trials = Vec::new();
    for (name, kind, test) in tests {
        let missing = match kind {
            Kind::Gitlab => python.is_err().then_some("needs python3"),
            Kind::Jupyterhub | Kind::Oidc | Kind::Github | Kind::Verdaccio => {
                (!installed).then_some("not installed: tests/issuers/run")
            }
        };
        let shown = missing.map_or_else(|| name.to_owned(), |why| format!("{name}: {why}"));
        let trial = Trial::test(shown, move || {
            test();
            Ok(())
        });
        trials.push(trial.with_ignored_flag(missing.is_some()));
    }
    libtest_mimic::run(&args, trials).exit();
}
