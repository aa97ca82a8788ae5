//! The installed program against a real systemd, as root and as an ordinary user. `tests/system/run`
//! runs this in a sandbox; elsewhere every test is ignored and says why.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stderr,
    reason = "tests tamper with files and processes as an administrator would, and fail by panicking"
)]

mod adopt;
mod bad_input;
mod ci;
mod cycle;
mod drift;
mod durable;
mod failure;
mod host;
mod interrupt;
mod kill;
#[path = "../../src/effect/http/listener.rs"]
#[expect(dead_code, reason = "the unit tests of requests need all of it")]
mod listener;
mod reading;
mod reboot;
mod runner;
mod runner_reboot;
mod sealed;
mod shells;
mod tending;
mod tidings;
mod told;
mod trace;
mod users;
mod uses;

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use host::{Host, Manager};
use libtest_mimic::{Arguments, Failed, Trial};

/// What `tests/systemd-sandbox` leaves where tests may write.
const SANDBOX: &str = "/run/lorectl-sandbox";
/// Programs that tests call, and what is said where one is missing.
const NEEDS: &[(&str, &str)] = &[
    ("strace", "needs strace"),
    ("chattr", "needs chattr, of e2fsprogs"),
    ("useradd", "needs useradd, of passwd"),
    ("loginctl", "needs loginctl, of systemd"),
];

/// What is not tested of another user's manager.
const NOT_FOR_OTHERS: &[&str] = &[
    // They follow the calls of one process, and there are two.
    "a_kill_anywhere_in_an_apply_is_mended",
    "a_kill_anywhere_in_a_first_apply_is_mended",
    "a_kill_anywhere_in_a_destroy_is_mended",
    "a_record_is_durable_before_the_act_that_it_announces",
    "a_trace_that_breaks_the_rule_is_told",
    "what_only_looks_changes_no_file",
    "a_plan_of_a_thousand_services_makes_few_calls",
    // A home is looked into only for what is in that user's manager.
    "units_are_found_of_a_manager_that_nothing_names",
    // It cannot read root's store, as a test of its own says.
    "rotated_values_reach_the_next_run",
    "emptied_values_are_named_by_the_runner",
    "handed_over_by_systemd_alone",
    "secret_urls_come_from_credentials",
    "tokens_are_renewed_before_a_run",
    "worker_lays_values_out_for_the_job",
];

/// One test, on a host with a project of its own.
type Test = (&'static str, fn(&Host));

/// Tests of one manager go one after the other: they count its calls and look through its directories.
static SYSTEM: Mutex<()> = Mutex::new(());
static USER: Mutex<()> = Mutex::new(());

fn main() {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(2);
    let skip = if !Path::new(SANDBOX).exists() {
        Some("not in tests/systemd-sandbox")
    } else if lorectl::effect::user::effective().uid != 0 {
        Some("needs root")
    } else {
        let missing = NEEDS.iter().find(|(program, _)| !is_there(program));
        missing.map(|(_, reason)| *reason)
    };
    if skip.is_none() && !args.list {
        host::prepare();
    }
    let both = [
        kill::BOTH,
        cycle::BOTH,
        drift::BOTH,
        durable::BOTH,
        failure::BOTH,
        reading::BOTH,
        interrupt::BOTH,
        bad_input::BOTH,
        runner::BOTH,
        tidings::BOTH,
        tending::BOTH,
        uses::BOTH,
    ]
    .concat();
    let mut trials = Vec::new();
    for (name, test) in both {
        for manager in [Manager::System, Manager::User, Manager::Other] {
            if manager != Manager::Other || !NOT_FOR_OTHERS.contains(&name) {
                trials.push(trial(name, manager, skip, test));
            }
        }
    }
    for (name, test) in users::OTHER.iter().chain(uses::OTHER) {
        trials.push(trial(name, Manager::Other, skip, *test));
    }
    let system = [
        bad_input::SYSTEM,
        cycle::SYSTEM,
        kill::SYSTEM,
        runner::SYSTEM,
        sealed::SYSTEM,
        ci::SYSTEM,
    ]
    .concat();
    for (name, test) in &system {
        trials.push(trial(name, Manager::System, skip, *test));
    }
    for (name, test) in runner::USER {
        trials.push(trial(name, Manager::User, skip, *test));
    }
    let (name, test) = ci::BROWSER;
    let skip_browser = skip.or((!is_there("chromium")).then_some("needs chromium"));
    trials.push(trial(name, Manager::System, skip_browser, test));
    for (shell, reason, (name, test)) in shells::SHELLS {
        let skip = skip.or((!is_there(shell)).then_some(*reason));
        trials.push(trial(name, Manager::System, skip, *test));
    }
    let cron = Path::new("/usr/sbin/cron").exists();
    for (name, test) in adopt::SYSTEM {
        let skip = skip.or((!cron).then_some("needs cron"));
        trials.push(trial(name, Manager::System, skip, *test));
    }
    // Each wants a boot of its own: run by name alone, with `--ignored`.
    for (name, test) in reboot::BOOTS.iter().chain(runner_reboot::BOOTS) {
        let run = || {
            for manager in [Manager::System, Manager::User] {
                test(&Host::of_project(manager, "reboots"));
            }
            Ok(())
        };
        let boot = Trial::test(format!("reboot::{name}"), run);
        trials.push(
            boot.with_kind(skip.unwrap_or("in a boot of its own"))
                .with_ignored_flag(true),
        );
    }
    libtest_mimic::run(&args, trials).exit();
}

fn is_there(program: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .any(|dir| Path::new(dir).join(program).exists())
}

fn trial(
    name: &'static str,
    manager: Manager,
    skip: Option<&'static str>,
    test: fn(&Host),
) -> Trial {
    let (backend, turn) = match manager {
        Manager::System => ("systemd-system", &SYSTEM),
        Manager::User => ("systemd-user", &USER),
        Manager::Other => ("systemd-user@", &USER),
    };
    let run = move || -> Result<(), Failed> {
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        test(&Host::new(manager, name));
        Ok(())
    };
    Trial::test(format!("{backend}::{name}"), run)
        .with_kind(skip.unwrap_or_default())
        .with_ignored_flag(skip.is_some())
}
