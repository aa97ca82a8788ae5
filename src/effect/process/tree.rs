//! The process tree below us, as proc(5) shows it, and its end.
#![expect(
    clippy::disallowed_methods,
    reason = "proc(5) is read here and nowhere else"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        signal::Signal,
        wait::{Id, WaitPidFlag, waitid, waitpid},
    },
    unistd::Pid,
};
use tokio::time::{Instant, sleep};

use super::send;

/// How often we look whether what was told to end has ended.
const LOOK: Duration = Duration::from_millis(10);

/// How long we go on killing what cannot be killed.
const PERSISTENCE: Duration = Duration::from_secs(3);

/// What proc(5) says of a process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stat {
    parent: u32,
    group: u32,
    /// Clock ticks since boot.
    pub(super) started: u64,
    /// It has ended and was not waited for yet.
    pub(super) ended: bool,
}

/// What became of a tree.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Gone {
    /// How many processes were found alive when we began.
    pub(super) found: usize,
    /// How many were alive when we gave up.
    pub(super) survivors: usize,
}

/// Reads `/proc/PID/stat`; `None` when there is no such process.
pub(super) fn stat(pid: u32) -> Option<Stat> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The second field is the program's name in parentheses and may hold anything, parentheses too.
fn parse(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    // `starttime` is field 22; `fields` stands behind field 5.
    let started = fields.nth(16)?.parse().ok()?;
    Some(Stat {
        parent,
        group,
        started,
        ended: matches!(state, "Z" | "X" | "x"),
    })
}

/// Every process by PID.
fn processes() -> BTreeMap<u32, Stat> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, stat(pid)?))).collect()
}

/// The descendants of `root` among `all`, those below one of `except` left out.
fn below(root: u32, except: &[u32], all: &BTreeMap<u32, Stat>) -> BTreeSet<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (pid, stat) in all {
        children.entry(stat.parent).or_default().push(*pid);
    }
    let mut found = BTreeSet::new();
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            if !except.contains(child) && found.insert(*child) {
                open.push(*child);
            }
        }
    }
    found
}

/// Whether we have any child at all, ended or not. Costs one system call.
pub(super) fn has_children() -> bool {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::All, look) != Err(Errno::ECHILD)
}

/// Waits for our children that have ended, but for `keep`, for whom somebody else waits; returns
/// the living descendants.
fn living(keep: Option<u32>, spared: Spared<'_>) -> BTreeSet<u32> {
    let this = std::process::id();
    let all = processes();
    let own_group;
    let except = match spared {
        Spared::Some(pids) => pids,
        Spared::OwnGroup => {
            let group = all.get(&this).map(|stat| stat.group);
            let beside = |stat: &Stat| stat.parent == this && Some(stat.group) == group;
            own_group = all.iter().filter(|(_, stat)| beside(stat));
            &own_group.map(|(pid, _)| *pid).collect::<Vec<u32>>()[..]
        }
    };
    let mut alive = below(this, except, &all);
    alive.retain(|pid| {
        let Some(stat) = all.get(pid) else {
            return false;
        };
        if stat.ended
            && stat.parent == this
            && Some(*pid) != keep
            && let Ok(pid) = i32::try_from(*pid)
        {
            // It has ended, so this neither waits nor fails.
            let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
        }
        !stat.ended
    });
    alive
}

/// Which of our descendants are left alone.
#[derive(Debug, Clone, Copy)]
pub(super) enum Spared<'a> {
    /// These, and what is below them.
    Some(&'a [u32]),
    /// Our children in our own process group, and what is below them.
    OwnGroup,
}

/// Ends all our descendants but those that are spared; `main` is waited for by the caller.
pub(super) async fn end_descendants(
    main: Option<u32>,
    spared: Spared<'_>,
    grace: Duration,
) -> Gone {
    end(main, spared, grace).await
}

/// Ends our descendants but for some and what is below them.
pub(super) async fn end_strays(except: &[u32], grace: Duration) -> Gone {
    end(None, Spared::Some(except), grace).await
}

/// SIGTERM, `grace`, SIGKILL: for whatever appears meanwhile, too.
async fn end(main: Option<u32>, spared: Spared<'_>, grace: Duration) -> Gone {
    let mut alive = living(main, spared);
    let found = alive.len();
    let mut told = BTreeSet::new();
    let deadline = Instant::now() + grace;
    while !alive.is_empty() && Instant::now() < deadline {
        for pid in alive.difference(&told) {
            send(*pid, Signal::SIGTERM);
            // One that is stopped takes no signal but these.
            send(*pid, Signal::SIGCONT);
        }
        told.extend(&alive);
        sleep(LOOK).await;
        alive = living(main, spared);
    }
    let deadline = Instant::now() + PERSISTENCE;
    while !alive.is_empty() && Instant::now() < deadline {
        // All are stopped before the first is killed, so that none forks while we look away.
        let mut stopped = BTreeSet::new();
        for _ in 0..100 {
            let running: Vec<u32> = living(main, spared).difference(&stopped).copied().collect();
            if running.is_empty() {
                break;
            }
            for pid in &running {
                send(*pid, Signal::SIGSTOP);
            }
            stopped.extend(running);
        }
        for pid in &stopped {
            send(*pid, Signal::SIGKILL);
        }
        sleep(LOOK).await;
        alive = living(main, spared);
    }
    Gone {
        found,
        survivors: alive.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_cannot_pose_as_other_fields() {
        let rest = "S 7 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        for name in ["sh", "a b", ") R 1 (", "x) Z 1 1"] {
            let stat = parse(&format!("12 ({name}) {rest}")).unwrap();
            assert_eq!((stat.parent, stat.started, stat.ended), (7, 4242, false));
        }
        assert!(parse("").is_none() && parse("12 (sh) S").is_none());
    }

    #[test]
    fn the_tree_is_what_is_below_and_not_excepted() {
        let process = |parent| Stat {
            parent,
            group: 1,
            started: 0,
            ended: false,
        };
        let all = [(2, 1), (3, 2), (4, 3), (5, 2), (6, 5), (7, 9), (9, 1)];
        let all = all.map(|(pid, parent)| (pid, process(parent))).into();
        assert_eq!(below(2, &[], &all), BTreeSet::from([3, 4, 5, 6]));
        assert_eq!(below(2, &[5], &all), BTreeSet::from([3, 4]));
    }

    #[test]
    fn this_process_is_there_and_alive() {
        let stat = stat(std::process::id()).unwrap();
        assert!(stat.started > 0 && !stat.ended);
    }
}
