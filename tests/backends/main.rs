//! Backends on real schedulers. `tests/backends/run` runs this in a sandbox; elsewhere every test
//! is ignored and says why.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests tamper with files and processes as an administrator would, and fail by panicking"
)]

mod crowd;
mod faults;
mod stories;
mod systemd;
mod units;
mod world;

use std::{os::unix::fs::PermissionsExt, path::Path, process::Command};

use libtest_mimic::{Arguments, Failed, Trial};
use world::World;

/// What `tests/systemd-sandbox` leaves where tests may write.
const SANDBOX: &str = "/run/lorectl-sandbox";
/// A copy of this program that an ordinary user can read.
const COPY: &str = "/run/lorectl-tests";
/// The ordinary user.
pub const USER: &str = "lore";

type Test = (&'static str, fn());

fn main() {
    let mut args = Arguments::from_args();
    // Reloads and counts of one manager do not go side by side.
    args.test_threads.get_or_insert(1);
    let root = lorectl::effect::user::effective().uid == 0;
    let skip = if !Path::new(SANDBOX).exists() {
        Some("not in tests/systemd-sandbox")
    } else if !root {
        None
    } else {
        prepare().err()
    };
    let system = tests("systemd-system", || Box::new(systemd::Machine::system()));
    let user = tests("systemd-user", || Box::new(systemd::Machine::user()));
    let mut trials = Vec::new();
    for (name, test) in system.into_iter().chain(only_system()) {
        let skip = skip.or((!root).then_some("needs root"));
        trials.push(trial(format!("systemd-system::{name}"), skip, move || {
            test();
            Ok(())
        }));
    }
    for (name, test) in user.into_iter().chain(only_user()) {
        let full = format!("systemd-user::{name}");
        let exact = full.clone();
        trials.push(trial(full, skip, move || {
            if root {
                return as_user(&exact);
            }
            test();
            Ok(())
        }));
    }
    libtest_mimic::run(&args, trials).exit();
}

fn trial(
    name: String,
    skip: Option<&'static str>,
    run: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    Trial::test(name, run)
        .with_kind(skip.unwrap_or_default())
        .with_ignored_flag(skip.is_some())
}

/// What every backend is held to, on one of them.
fn tests(
    _backend: &str,
    open: fn() -> Box<dyn World>,
) -> Vec<(&'static str, Box<dyn Fn() + Send>)> {
    let mut tests: Vec<(&'static str, Box<dyn Fn() + Send>)> = Vec::new();
    for (name, story) in stories::ALL {
        tests.push((name, Box::new(move || story(&*open()))));
    }
    tests
}

fn boxed(tests: &[Test]) -> Vec<(&'static str, Box<dyn Fn() + Send>)> {
    let boxed =
        |(name, test): &Test| -> (&'static str, Box<dyn Fn() + Send>) { (name, Box::new(*test)) };
    tests.iter().map(boxed).collect()
}

fn only_system() -> Vec<(&'static str, Box<dyn Fn() + Send>)> {
    let mut all = boxed(units::SYSTEM);
    all.extend(boxed(faults::SYSTEM));
    all.extend(boxed(crowd::SYSTEM));
    all
}

fn only_user() -> Vec<(&'static str, Box<dyn Fn() + Send>)> {
    boxed(units::USER_TESTS)
}

/// Makes the ordinary user with a lingering manager, and a copy of this program for them.
fn prepare() -> Result<(), &'static str> {
    if lorectl::effect::user::by_name(USER).is_ok_and(|user| user.is_none()) {
        run("useradd", &["--create-home", USER]);
        run("loginctl", &["enable-linger", USER]);
    }
    let account = lorectl::effect::user::by_name(USER)
        .ok()
        .flatten()
        .ok_or("useradd made no user")?;
    let uid = account.owner.uid;
    world::poll("the user's manager", || {
        lorectl::effect::host::runtime_dir(uid).join("bus").exists()
    });
    std::fs::create_dir_all(COPY).map_err(|_| "no place for a copy of the tests")?;
    let copy = Path::new(COPY).join("backends");
    if !copy.exists() {
        std::fs::copy("/proc/self/exe", &copy).map_err(|_| "cannot copy the tests")?;
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&copy, mode).map_err(|_| "cannot copy the tests")?;
    }
    Ok(())
}

/// Runs one test as the ordinary user.
fn as_user(exact: &str) -> Result<(), Failed> {
    let copy = Path::new(COPY).join("backends");
    let output = Command::new("runuser")
        .args(["-u", USER, "--"])
        .arg(copy)
        .args(["--exact", exact])
        .current_dir("/")
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() || !text.contains("1 passed") {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{text}{error}").into());
    }
    Ok(())
}

/// Runs a program that must succeed; what it printed.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {args:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
