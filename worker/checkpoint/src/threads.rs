//! The same work on every element of a list, on as many threads as the machine has cores.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Most threads: beyond that the disk is what is waited for.
const MAX_THREADS: usize = 16;

/// The answers of `work` to every element, in the list's order. A thread takes the next element when it is done with one, so a list
/// with the longest work first ends soonest.
pub(crate) fn each<T: Sync, R: Send>(list: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    each_with(list, || (), |(), element| work(element))
}

/// The same, with something that each thread makes once and uses for all its elements: buffers.
pub(crate) fn each_with<T: Sync, R: Send, S>(
    list: &[T],
    make: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(list.len()));
    let run = || {
        let mut own = make();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(element) = list.get(index) else { return };
            let answer = work(&mut own, element);
            done.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((index, answer));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 1..threads.min(MAX_THREADS).min(list.len()) {
            scope.spawn(run);
        }
        run();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn answers_come_in_the_order_of_the_list() {
        let list: Vec<u64> = (0..100).rev().collect();
        let slow_first = |n: &u64| {
            std::thread::sleep(std::time::Duration::from_micros(n * 10));
            n * n
        };
        let expected: Vec<u64> = list.iter().map(|n| n * n).collect();
        assert_eq!(super::each(&list, slow_first), expected);
        assert!(super::each(&[], slow_first).is_empty());
    }
}
