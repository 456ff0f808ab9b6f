//! The threads that encode and compress, shared by all exports of a process.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Threads for work that only computes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    threads: Arc<rayon::ThreadPool>,
    on_start: OnStart,
}

/// What each thread of an engine does first.
#[derive(Clone)]
struct OnStart(Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for OnStart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("OnStart(..)")
    }
}

/// The outcome of work that was given to the pool.
#[derive(Debug)]
pub(crate) struct Pending<T>(Receiver<T>);

impl Pool {
    /// Each thread begins with `on_start`.
    pub(crate) fn new(
        threads: NonZeroUsize,
        on_start: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let on_start = OnStart(Arc::new(on_start));
        let begin = on_start.clone();
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.get())
            .thread_name(|index| format!("engine-{index}"))
            .start_handler(move |_| (begin.0)())
            // Whoever waits for the work sees that its thread has panicked; the other exports go on.
            .panic_handler(drop)
            .build()
            .map_err(io::Error::other)?;
        Ok(Self { threads: Arc::new(threads), on_start })
    }

    /// Does on a thread beside the pool what the pool's own have begun with.
    pub(crate) fn begin_this_thread(&self) {
        (self.on_start.0)();
    }

    /// How many threads there are.
    pub(crate) fn size(&self) -> usize {
        self.threads.current_num_threads()
    }

    /// Has the work done as soon as a thread is free; what was given first is begun first.
    pub(crate) fn submit<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Pending<T> {
        let (sender, receiver) = sync_channel(1);
        self.threads.spawn_fifo(move || {
            // Nobody waits any more when the export has failed.
            sender.send(work()).ok();
        });
        Pending(receiver)
    }
}

impl<T> Pending<T> {
    /// Waits for the outcome. Panics when the work has: its defect is passed on to the export that it belongs to.
    pub(crate) fn wait(self) -> T {
        self.0.recv().unwrap_or_else(|_| panic!("work on a thread of the engine panicked"))
    }
}

/// Buffers that are used again, so that the hot loops allocate nothing.
#[derive(Debug)]
pub(crate) struct Spares<T> {
    kept: Mutex<Vec<T>>,
    most: usize,
}

impl<T> Spares<T> {
    /// Keeps so many at most.
    pub(crate) fn new(most: usize) -> Self {
        Self { kept: Mutex::new(Vec::new()), most }
    }

    /// One that was given back, if there is one.
    pub(crate) fn take(&self) -> Option<T> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    pub(crate) fn give_back(&self, spare: T) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < self.most {
            kept.push(spare);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_come_to_whom_they_belong() {
        let pool = Pool::new(NonZeroUsize::new(3).expect("three"), || ()).expect("threads");
        let squares: Vec<Pending<u64>> = (0..100).map(|n| pool.submit(move || n * n)).collect();
        for (n, square) in squares.into_iter().enumerate() {
            assert_eq!(square.wait(), (n * n) as u64);
        }
    }

    #[test]
    fn every_thread_begins_with_what_was_given() {
        let begun = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = Arc::clone(&begun);
        let count = move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        };
        let pool = Pool::new(NonZeroUsize::new(3).expect("three"), count).expect("threads");
        // A thread works only after it has begun.
        pool.threads.broadcast(|_| ());
        assert_eq!(begun.load(std::sync::atomic::Ordering::SeqCst), 3);
    }

    #[test]
    fn a_panic_reaches_who_waits_and_nobody_else() {
        let pool = Pool::new(NonZeroUsize::new(1).expect("one"), || ()).expect("threads");
        let fails = pool.submit(|| assert!(std::hint::black_box(false), "this panic is part of the test"));
        let works = pool.submit(|| 5);
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| fails.wait()));
        assert!(waited.is_err());
        assert_eq!(works.wait(), 5);
    }
}
