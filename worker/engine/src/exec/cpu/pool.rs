//! A persistent pool of threads. Work is split over outputs, never over the terms of a sum, so who does what changes no bit.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Turns of an idle worker's loop before it sleeps: some hundred microseconds, longer than the serial part between two kernels, since waking
/// a sleeping thread takes as long as a small kernel.
const SPINS: usize = 5000;

/// Threads that wait for kernels. The caller of a kernel works too.
pub struct Pool {
    shared: Arc<Shared>,
    turn: Mutex<()>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    done: Condvar,
    epoch: AtomicU64,
    next: AtomicUsize,
    active: AtomicUsize, // workers at the job; changed under the lock, looked at without it too
}

#[derive(Default)]
struct State {
    job: Option<Job>,
    panicked: bool,
    closed: bool,
}

#[derive(Clone, Copy)]
struct Job {
    body: *const (dyn Fn(usize) + Sync + 'static),
    tasks: usize,
}

// SAFETY: the body is Sync, and `Pool::run` keeps it alive until no worker is active.
unsafe impl Send for Job {}

impl Pool {
    /// A pool of `threads` threads, the caller included; 0 takes all the machine has.
    pub fn new(threads: usize) -> Pool {
        let machine = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if threads == 0 { machine() } else { threads };
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            wake: Condvar::new(),
            done: Condvar::new(),
            epoch: AtomicU64::new(0),
            next: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
        });
        // a thread that cannot be started is only a slower pool
        let workers = (1..threads)
            .map_while(|i| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("engine-{i}"))
                    .spawn(move || shared.work())
                    .ok()
            })
            .collect();
        Pool {
            shared,
            turn: Mutex::new(()),
            workers,
        }
    }

    /// How many threads work, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `body(0..tasks)`, each exactly once, on all threads; returns when all calls have returned.
    pub fn run(&self, tasks: usize, body: &(dyn Fn(usize) + Sync)) {
        if tasks <= 1 || self.workers.is_empty() {
            return (0..tasks).for_each(body);
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: only the lifetime is erased. The pointer is read by workers counted in `active`, and this function takes the job
        // back and waits until `active` is zero before it returns or unwinds.
        let body_static = unsafe {
            std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const (dyn Fn(usize) + Sync + 'static)>(body)
        };
        {
            let mut state = self.shared.lock();
            self.shared.next.store(0, Ordering::Relaxed);
            state.job = Some(Job {
                body: body_static,
                tasks,
            });
            self.shared.epoch.fetch_add(1, Ordering::Release);
        }
        self.shared.wake.notify_all();
        let mine = catch_unwind(AssertUnwindSafe(|| self.shared.drain(tasks, body)));
        self.shared.lock().job = None;
        // no worker joins any more; those at work are near their end
        for _ in 0..SPINS {
            if self.shared.active.load(Ordering::Acquire) == 0 {
                break;
            }
            std::hint::spin_loop();
        }
        let mut state = self.shared.lock();
        while self.shared.active.load(Ordering::Acquire) > 0 {
            state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let panicked = std::mem::take(&mut state.panicked);
        drop(state);
        if let Err(panic) = mine {
            resume_unwind(panic);
        }
        assert!(!panicked, "a kernel panicked on another thread");
    }

    /// Calls `body(index, chunk)` for every chunk of `len` elements, on all threads. The last chunk may be shorter.
    pub fn chunks<T: Send>(&self, data: &mut [T], len: usize, body: impl Fn(usize, &mut [T]) + Sync) {
        let chunks = Chunks::new(data, len);
        // SAFETY: `run` hands out every index once, so no chunk is borrowed twice.
        self.run(chunks.count(), &|i| body(i, unsafe { chunks.get(i) }));
    }

    /// Calls `body(first, span)` for pieces of a slice of units of `len` elements: `first` is the number of a piece's first unit. Pieces
    /// are long at first, since who reads on where it stopped reads faster, and become shorter until they have `least` units, so that nobody is
    /// waited for long. All but the last are multiples of `least`.
    pub fn spans<T: Send>(&self, data: &mut [T], len: usize, least: usize, body: impl Fn(usize, &mut [T]) + Sync) {
        let units = Chunks::new(data, len);
        let (count, least) = (units.count(), least.max(1));
        let mut starts = vec![0];
        let mut start = 0;
        while start < count {
            let share = (count - start) / (2 * self.threads());
            start = count.min(start + share.next_multiple_of(least).max(least));
            starts.push(start);
        }
        // SAFETY: as in `chunks`: the pieces are disjoint.
        self.run(starts.len() - 1, &|i| {
            body(starts[i], unsafe { units.span(starts[i], starts[i + 1]) });
        });
    }

    /// Calls `body(row, column, chunk)` for every chunk of `len` elements of a matrix with so many columns of chunks, column after column.
    pub fn columns<T: Send>(
        &self,
        data: &mut [T],
        len: usize,
        columns: usize,
        body: impl Fn(usize, usize, &mut [T]) + Sync,
    ) {
        let chunks = Chunks::new(data, len);
        let rows = chunks.count() / columns.max(1);
        self.run(rows * columns, &|i| {
            let (row, column) = (i % rows, i / rows);
            // SAFETY: as in `chunks`; every pair of row and column has one index.
            body(row, column, unsafe { chunks.get(row * columns + column) });
        });
    }

    /// As [`Pool::chunks`] over two slices cut into equally many chunks.
    pub fn chunks2<T: Send, U: Send>(
        &self,
        (a, a_len): (&mut [T], usize),
        (b, b_len): (&mut [U], usize),
        body: impl Fn(usize, &mut [T], &mut [U]) + Sync,
    ) {
        let (a, b) = (Chunks::new(a, a_len), Chunks::new(b, b_len));
        // SAFETY: as in `chunks`.
        self.run(a.count().min(b.count()), &|i| {
            body(i, unsafe { a.get(i) }, unsafe { b.get(i) })
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.epoch.fetch_add(1, Ordering::Release);
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drain(&self, tasks: usize, body: &(dyn Fn(usize) + Sync)) {
        loop {
            let task = self.next.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                return;
            }
            body(task);
        }
    }

    fn work(&self) {
        let mut seen = 0;
        loop {
            let mut spins = 0;
            while self.epoch.load(Ordering::Acquire) == seen && spins < SPINS {
                std::hint::spin_loop();
                spins += 1;
            }
            let mut state = self.lock();
            while self.epoch.load(Ordering::Acquire) == seen && !state.closed {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.closed {
                return;
            }
            seen = self.epoch.load(Ordering::Acquire);
            // a worker that comes too late finds no job and holds nobody up
            let Some(job) = state.job else { continue };
            self.active.fetch_add(1, Ordering::AcqRel);
            drop(state);
            // SAFETY: `active` was raised under the lock while the job was there, so `run` waits for this worker.
            let result = catch_unwind(AssertUnwindSafe(|| self.drain(job.tasks, unsafe { &*job.body })));
            let mut state = self.lock();
            state.panicked |= result.is_err();
            if self.active.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.done.notify_all();
            }
        }
    }
}

// A slice to be borrowed in disjoint chunks by several threads.
struct Chunks<'a, T> {
    start: *mut T,
    total: usize,
    len: usize,
    _borrow: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: chunks are disjoint exclusive borrows of T, which may be sent.
unsafe impl<T: Send> Sync for Chunks<'_, T> {}

impl<'a, T> Chunks<'a, T> {
    fn new(data: &'a mut [T], len: usize) -> Chunks<'a, T> {
        Chunks {
            start: data.as_mut_ptr(),
            total: data.len(),
            len: len.max(1),
            _borrow: std::marker::PhantomData,
        }
    }

    fn count(&self) -> usize {
        self.total.div_ceil(self.len)
    }

    // SAFETY: the caller must not ask for the same index twice while the first borrow lives.
    #[allow(clippy::mut_from_ref)]
    unsafe fn get(&self, index: usize) -> &mut [T] {
        // SAFETY: the caller's promise.
        unsafe { self.span(index, index + 1) }
    }

    // SAFETY: the caller must not ask for a chunk again while a borrow that has it lives.
    #[allow(clippy::mut_from_ref)]
    unsafe fn span(&self, from: usize, to: usize) -> &mut [T] {
        let first = (from * self.len).min(self.total);
        let len = (to * self.len).min(self.total) - first;
        // SAFETY: within the slice by the line above; disjoint from other indices; T: Send is asked where it is shared.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), len) }
    }
}
