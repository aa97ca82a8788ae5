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
mod liar;
mod reboot;
mod stories;
mod systemd;
mod tampers;
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
/// A test that may hold on to what it is told on.
type Told = (&'static str, Box<dyn Fn() + Send>);

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
    let system = stories(|| Box::new(systemd::Machine::system()))
        .chain(boxed(units::SYSTEM))
        .chain(boxed(faults::SYSTEM))
        .chain(boxed(crowd::SYSTEM));
    let user = stories(|| Box::new(systemd::Machine::user()))
        .chain(boxed(units::USER_TESTS))
        .chain(boxed(faults::USER_TESTS));
    let mut trials = Vec::new();
    for (name, test) in system {
        let skip = skip.or((!root).then_some("needs root"));
        trials.push(trial(format!("systemd-system::{name}"), skip, move || {
            test();
            Ok(())
        }));
    }
    for (name, test) in user {
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
    for (name, test) in reboot::BOOTS {
        let skip = skip.or(Some("by tests/backends/run, in two boots"));
        trials.push(trial(format!("reboot::{name}"), skip, || {
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
fn stories(open: fn() -> Box<dyn World>) -> impl Iterator<Item = Told> {
    let told = move |(name, story): &(&'static str, stories::Story)| -> Told {
        let story = *story;
        (name, Box::new(move || story(&*open())))
    };
    stories::ALL.iter().map(told)
}

fn boxed(tests: &'static [Test]) -> impl Iterator<Item = Told> {
    tests
        .iter()
        .map(|(name, test)| -> Told { (name, Box::new(*test)) })
}

/// Makes the ordinary user with a lingering manager, and a copy of this program for them.
fn prepare() -> Result<(), &'static str> {
    if lorectl::effect::user::by_name(USER).is_ok_and(|user| user.is_none()) {
        run("useradd", &["--create-home", USER]);
    }
    // Starts logind too, which the sandbox's basic.target does not.
    run("loginctl", &["enable-linger", USER]);
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
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {args:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
