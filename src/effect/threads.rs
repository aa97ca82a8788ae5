//! The machine's cores, for work that is cut in pieces.

use std::{
    panic,
    sync::atomic::{AtomicUsize, Ordering},
    thread::{self, Builder},
};

/// More threads than this gain nothing for what a host has.
const MOST: usize = 8;

/// What a thread may use of its stack, in bytes: as much as the first one.
const STACK: usize = 8 << 20;

/// `each` of all items, in their order, with the work spread over the cores: whichever is free takes the
/// next `least` items, so that none waits for another that was slower.
///
/// No thread is started for fewer than twice `least` items, so that little work costs nothing. A
/// thread that cannot be started is done without.
pub fn map<'t, T: Sync, R: Send>(
    items: &'t [T],
    least: usize,
    each: impl Fn(&'t T) -> R + Sync,
) -> Vec<R> {
    let pieces: Vec<&[T]> = items.chunks(least.max(1)).collect();
    if items.len() / least.max(1) < 2 {
        return items.iter().map(each).collect();
    }
    // Asked only here: it reads the limits of the control group.
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let (each, next) = (&each, &AtomicUsize::new(0));
    let pieces = &pieces;
    let work = move || {
        let mut done: Vec<(usize, Vec<R>)> = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = pieces.get(at) else {
                return done;
            };
            done.push((at, piece.iter().map(each).collect()));
        }
    };
    let mut done = thread::scope(|scope| {
        let helpers = cores.min(MOST).min(pieces.len()).saturating_sub(1);
        let others: Vec<_> = (0..helpers)
            .filter_map(|_| {
                Builder::new()
                    .stack_size(STACK)
                    .spawn_scoped(scope, work)
                    .ok()
            })
            .collect();
        let mut done = work();
        for thread in others {
            match thread.join() {
                Ok(theirs) => done.extend(theirs),
                Err(panicked) => panic::resume_unwind(panicked),
            }
        }
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    let mut all = Vec::with_capacity(items.len());
    all.extend(done.into_iter().flat_map(|(_, results)| results));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_order_and_the_number_of_results_are_those_of_the_items(
            items in prop::collection::vec(any::<u16>(), 0..200),
            least in 0usize..50,
        ) {
            let expected: Vec<u32> = items.iter().map(|item| u32::from(*item) * 3).collect();
            prop_assert_eq!(map(&items, least, |item| u32::from(*item) * 3), expected);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        let items: Vec<usize> = (0..1000).collect();
        let caught = panic::catch_unwind(|| map(&items, 1, |item| assert_ne!(*item, 999)));
        assert!(caught.is_err());
    }

    #[test]
    fn little_work_stays_on_its_thread() {
        let own = thread::current().id();
        let ran = map(&[1, 2, 3], 2, |_| thread::current().id());
        assert_eq!(ran, [own; 3]);
    }
}
