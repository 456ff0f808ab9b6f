use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;

use super::*;

const FAILURE: Duration = Duration::from_millis(200);

/// A database whose writes take a while, and are in a count or not as it happens.
#[derive(Debug, Default)]
struct Jobs {
    waiting: AtomicU64,
    counts: AtomicU64,
}

impl Jobs {
    async fn count(&self) -> Result<u64, StoreError> {
        self.counts.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(2)).await;
        let counted = self.waiting.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(2)).await;
        Ok(counted)
    }

    /// Takes room and writes the job; whether there was any.
    async fn post(&self, tally: &Arc<Tally>, most: u64, write_ms: u64) -> bool {
        let Asked::Taken(room) = tally.take(most, || self.count()).await.expect("a count") else {
            return false;
        };
        tokio::time::sleep(Duration::from_millis(write_ms / 2)).await;
        self.waiting.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(write_ms - write_ms / 2)).await;
        room.written();
        true
    }
}

fn taken(asked: Result<Asked, Arc<StoreError>>) -> Option<Room> {
    match asked.expect("an answer") {
        Asked::Taken(room) => Some(room),
        Asked::Full => None,
    }
}

#[tokio::test]
async fn exactly_the_limit_is_let_in_however_writes_and_counts_meet() {
    for limit in [1, 7, 31] {
        for spread_ms in [0, 1, 3, 10] {
            let (jobs, tally) = (Jobs::default(), Arc::new(Tally::default()));
            let posts = (0..64_u64).map(async |number| {
                tokio::time::sleep(Duration::from_millis(number * spread_ms)).await;
                jobs.post(&tally, limit, 1 + number * 7 % 40).await
            });
            let let_in = join_all(posts).await.into_iter().filter(|is_in| *is_in).count();
            assert_eq!(u64::try_from(let_in), Ok(limit), "limit {limit}, one each {spread_ms} ms");
        }
    }
}

#[tokio::test]
async fn what_was_not_written_is_given_back() {
    let tally = Arc::new(Tally::default());
    let nothing = async || Ok(0);
    let first = taken(tally.take(1, nothing).await).expect("room");
    // Longer than it waits for writes: then it is as full as it may be.
    assert!(taken(tally.take(1, nothing).await).is_none(), "the first one is being written");
    drop(first);
    let second = taken(tally.take(1, nothing).await).expect("it was given back");
    second.written();
    assert!(taken(tally.take(1, async || Ok(1)).await).is_none());
    tokio::time::sleep(COUNT_AGE * 2).await;
    assert!(taken(tally.take(1, nothing).await).is_some(), "it has ended, and a count says so");
}

#[tokio::test]
async fn what_others_let_in_is_known_a_second_later() {
    let (jobs, tally) = (Jobs::default(), Arc::new(Tally::default()));
    assert!(jobs.post(&tally, 5, 2).await);
    jobs.waiting.store(5, Ordering::SeqCst);
    tokio::time::sleep(COUNT_AGE * 2).await;
    assert!(!jobs.post(&tally, 5, 2).await);
}

#[tokio::test]
async fn a_full_line_is_counted_ten_times_a_second_at_most() {
    let (jobs, tally) = (Jobs::default(), Arc::new(Tally::default()));
    jobs.waiting.store(9, Ordering::SeqCst);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        let posts = (0..20).map(|_| jobs.post(&tally, 9, 2));
        assert!(join_all(posts).await.into_iter().all(|is_in| !is_in));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (counts, most) = (jobs.counts.load(Ordering::SeqCst), began.elapsed().as_millis() / 100 + 1);
    assert!((2..=most).contains(&counts.into()), "{counts}");
}

#[tokio::test]
async fn a_line_with_room_is_counted_once_a_second() {
    let (jobs, tally) = (Jobs::default(), Arc::new(Tally::default()));
    let began = Instant::now();
    for _ in 0..100 {
        assert!(
            join_all((0..10).map(|_| jobs.post(&tally, 100_000, 2))).await.into_iter().all(|is_in| is_in)
        );
        tokio::time::sleep(Duration::from_millis(18)).await;
    }
    let (counts, most) = (jobs.counts.load(Ordering::SeqCst), began.elapsed().as_secs() + 1);
    assert!((1..=most).contains(&counts), "{counts}");
}

#[tokio::test]
async fn a_failure_is_told_to_all_who_wait_for_it() {
    let tally = Arc::new(Tally::default());
    let failing = async || {
        tokio::time::sleep(FAILURE).await;
        Err(StoreError::Contended("nothing"))
    };
    let began = Instant::now();
    let asked = join_all((0..50).map(|_| tally.take(1, failing))).await;
    assert!(asked.iter().all(Result::is_err));
    assert!(began.elapsed() < FAILURE * 3, "not one after the other");
    tokio::time::sleep(COUNT_AGE * 2).await;
    assert!(taken(tally.take(1, async || Ok(0)).await).is_some(), "MongoDB is back");
}
