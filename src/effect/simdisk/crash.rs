//! Crashes: what they leave, and stories that are ended at each of their operations.

use super::{Entries, EntryChange, Fault, Inode, Node, SimDisk};

/// What the crash was, and so what it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// `kill -9`: the kernel lives on, and all that was written is there.
    Kill,
    /// The power went. Seeds 0 to 3 are the corners: nothing unsynced is left; names without their
    /// content; content without its names; everything. Others mix them at random.
    PowerCut(u64),
}

impl After {
    /// A kill, the corners of a power cut, and four mixtures.
    pub(crate) const ALL: [Self; 9] = [
        Self::Kill,
        Self::PowerCut(0),
        Self::PowerCut(1),
        Self::PowerCut(2),
        Self::PowerCut(3),
        Self::PowerCut(4),
        Self::PowerCut(5),
        Self::PowerCut(6),
        Self::PowerCut(7),
    ];
}

/// A point at which a story was ended, and how.
#[derive(Debug, Clone)]
pub(crate) struct CrashPoint {
    /// The operation before which it was, counted from 1.
    pub(crate) at: usize,
    /// That operation, in words.
    pub(crate) operation: String,
    /// How it ended.
    pub(crate) after: After,
}

impl std::fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            at,
            operation,
            after,
        } = self;
        write!(f, "{after:?} before operation {at}, {operation}")
    }
}

/// Ends `story` before each of its operations, in each manner, and shows `check` what is left.
///
/// `story` starts on a new disk of `begin` each time and must do the same each time; what it
/// returns is for `check`, which learns with it what the process had been told before it died.
/// Returns how many points there were, for the test to see that it tested something.
pub(crate) fn every_crash<T>(
    begin: impl Fn() -> SimDisk,
    story: impl Fn(&SimDisk) -> T,
    mut check: impl FnMut(&SimDisk, &T, &CrashPoint),
) -> usize {
    let whole = begin();
    let before = whole.trace().len();
    story(&whole);
    let trace = whole.trace().split_off(before);
    for (index, operation) in trace.iter().enumerate() {
        let disk = begin();
        disk.fail(index + 1, Fault::Crash);
        let told = story(&disk);
        assert!(disk.was_struck(), "{operation} was not reached again");
        for after in After::ALL {
            let point = CrashPoint {
                at: index + 1,
                operation: operation.clone(),
                after,
            };
            check(&disk.reboot(after), &told, &point);
        }
    }
    trace.len()
}

/// Draws what becomes of each unsynced thing.
pub(super) enum Fate {
    Corner { names: bool, content: bool },
    Random(u64),
}

impl Fate {
    pub(super) fn of(seed: u64) -> Self {
        match seed {
            corner @ 0..4 => Self::Corner {
                names: corner & 1 != 0,
                content: corner & 2 != 0,
            },
            seed => Self::Random(seed),
        }
    }

    /// A number below `bound`, by splitmix64.
    fn draw(seed: &mut u64, bound: usize) -> usize {
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from((z ^ (z >> 31)) % bound).unwrap_or(0)
    }

    fn content(&mut self, now: &[u8], synced: &[u8]) -> Vec<u8> {
        match self {
            Self::Corner { content: true, .. } => now.to_vec(),
            Self::Corner { content: false, .. } => synced.to_vec(),
            Self::Random(seed) => {
                let kept = if now.starts_with(synced) {
                    synced.len()
                } else {
                    0
                };
                let cut = kept + Self::draw(seed, now.len() - kept + 1);
                match Self::draw(seed, 4) {
                    0 => synced.to_vec(),
                    1 => now[..cut].to_vec(),
                    // The length reached the disk and the last blocks did not.
                    2 => {
                        let mut bytes = now.to_vec();
                        bytes[cut..].fill(0);
                        bytes
                    }
                    // The last blocks reached it and some before them did not.
                    _ => {
                        let mut bytes = now.to_vec();
                        bytes[kept..cut].fill(0);
                        bytes
                    }
                }
            }
        }
    }

    fn entries(&mut self, synced: &Entries, pending: &[EntryChange]) -> Entries {
        let count = match self {
            Self::Corner { names: true, .. } => pending.len(),
            Self::Corner { names: false, .. } => 0,
            Self::Random(seed) => Self::draw(seed, pending.len() + 1),
        };
        let mut entries = synced.clone();
        for (name, inode) in pending.iter().take(count).flatten() {
            match inode {
                Some(at) => entries.insert(name.clone(), *at),
                None => entries.remove(name),
            };
        }
        entries
    }
}

/// Copies what is left of an inode, and of all below it, to `left`; returns its new number.
pub(super) fn survivors(
    inodes: &[Inode],
    at: usize,
    fate: &mut Fate,
    left: &mut Vec<Inode>,
) -> usize {
    let inode = &inodes[at];
    let to = left.len();
    left.push(inode.clone());
    match &inode.node {
        Node::File { now, synced } => {
            let bytes = fate.content(now, synced);
            left[to].node = Node::File {
                now: bytes.clone(),
                synced: bytes,
            };
        }
        Node::Dir {
            synced, pending, ..
        } => {
            let entries = fate
                .entries(synced, pending)
                .into_iter()
                .map(|(name, child)| (name, survivors(inodes, child, fate, left)))
                .collect();
            left[to].node = Node::directory(entries);
        }
        Node::Link(_) | Node::Special => {}
    }
    to
}
