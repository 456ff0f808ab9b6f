//! The thread pool of an engine, shared by all exports of a process, and pools of reusable buffers.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Threads for CPU-bound work. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    threads: Arc<rayon::ThreadPool>,
    before_work: BeforeWork,
}

/// Runs on each thread of an engine when it starts, and before each piece of work.
#[derive(Clone)]
struct BeforeWork(Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for BeforeWork {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("BeforeWork(..)")
    }
}

/// The result of work that was submitted to the pool.
#[derive(Debug)]
pub(crate) struct Pending<T>(Receiver<T>);

impl Pool {
    /// Starts the threads. Each thread runs `before_work` first, and again before each piece of work.
    pub(crate) fn new(
        threads: NonZeroUsize,
        before_work: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let before_work = BeforeWork(Arc::new(before_work));
        let begin = before_work.clone();
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.get())
            .thread_name(|index| format!("engine-{index}"))
            .start_handler(move |_| (begin.0)())
            // A panic reaches the export that waits for the work; other exports continue.
            .panic_handler(drop)
            .build()
            .map_err(io::Error::other)?;
        Ok(Self { threads: Arc::new(threads), before_work })
    }

    /// Runs `before_work` on the current thread, which is not of the pool but works for the engine.
    pub(crate) fn before_work(&self) {
        (self.before_work.0)();
    }

    /// The number of threads.
    pub(crate) fn size(&self) -> usize {
        self.threads.current_num_threads()
    }

    /// Runs the work when a thread is free, in order of submission.
    pub(crate) fn submit<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Pending<T> {
        let (sender, receiver) = sync_channel(1);
        let before_work = self.before_work.clone();
        self.threads.spawn_fifo(move || {
            (before_work.0)();
            // The receiver is gone if the export has failed.
            sender.send(work()).ok();
        });
        Pending(receiver)
    }
}

impl<T> Pending<T> {
    /// Waits for the result.
    ///
    /// # Panics
    ///
    /// If the work panicked, so that the panic reaches the export that the work belongs to.
    pub(crate) fn wait(self) -> T {
        self.0.recv().unwrap_or_else(|_| panic!("work on a thread of the engine panicked"))
    }
}

/// Buffers for reuse, so that the hot loops do not allocate.
#[derive(Debug)]
pub(crate) struct Spares<T> {
    kept: Mutex<Vec<T>>,
    limit: usize,
}

impl<T> Spares<T> {
    /// Keeps at most `limit` buffers.
    pub(crate) fn new(limit: usize) -> Self {
        Self { kept: Mutex::new(Vec::new()), limit }
    }

    /// Takes a buffer that was given back, if there is one.
    pub(crate) fn take(&self) -> Option<T> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    pub(crate) fn give_back(&self, spare: T) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < self.limit {
            kept.push(spare);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_gets_its_own_result() {
        let pool = Pool::new(NonZeroUsize::new(3).expect("three"), || ()).expect("threads");
        let squares: Vec<Pending<u64>> = (0..100).map(|n| pool.submit(move || n * n)).collect();
        for (n, square) in squares.into_iter().enumerate() {
            assert_eq!(square.wait(), (n * n) as u64);
        }
    }

    #[test]
    fn every_thread_runs_it_when_it_starts_and_before_its_work() {
        let begun = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = Arc::clone(&begun);
        let count = move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        };
        let pool = Pool::new(NonZeroUsize::new(3).expect("three"), count).expect("threads");
        let calls = move || begun.load(std::sync::atomic::Ordering::SeqCst);
        // A thread takes work only after its start.
        pool.threads.broadcast(|_| ());
        assert_eq!(calls(), 3);
        assert_eq!(pool.submit(calls.clone()).wait(), 4);
    }

    #[test]
    fn a_panic_reaches_only_the_caller_that_waits() {
        let pool = Pool::new(NonZeroUsize::new(1).expect("one"), || ()).expect("threads");
        let fails = pool.submit(|| assert!(std::hint::black_box(false), "this panic is part of the test"));
        let works = pool.submit(|| 5);
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| fails.wait()));
        assert!(waited.is_err());
        assert_eq!(works.wait(), 5);
    }
}
