use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;

use super::*;

const FAILURE_TIME: Duration = Duration::from_millis(200);

/// A fake database. A write takes some time, so a concurrent count may or may not include it.
#[derive(Debug, Default)]
struct Jobs {
    queued: AtomicU64,
    counts: AtomicU64,
}

impl Jobs {
    async fn count(&self) -> Result<u64, StoreError> {
        self.counts.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(2)).await;
        let counted = self.queued.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(2)).await;
        Ok(counted)
    }

    /// Writes a job if it is admitted; whether it was.
    async fn post(&self, counter: &Arc<AdmissionCounter>, limit: u64, write_ms: u64) -> bool {
        let Some(permit) = counter.admit(limit, || self.count()).await.expect("a count") else {
            return false;
        };
        tokio::time::sleep(Duration::from_millis(write_ms / 2)).await;
        self.queued.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(write_ms - write_ms / 2)).await;
        permit.keep();
        true
    }
}

#[tokio::test]
async fn exactly_the_limit_is_admitted_in_any_order_of_writes_and_counts() {
    for limit in [1, 7, 31] {
        for spread_ms in [0, 1, 3, 10] {
            let (jobs, counter) = (Jobs::default(), Arc::new(AdmissionCounter::default()));
            let posts = (0..64_u64).map(async |number| {
                tokio::time::sleep(Duration::from_millis(number * spread_ms)).await;
                jobs.post(&counter, limit, 1 + number * 7 % 40).await
            });
            let admitted = join_all(posts).await.into_iter().filter(|is_admitted| *is_admitted).count();
            assert_eq!(u64::try_from(admitted), Ok(limit), "limit {limit}, one each {spread_ms} ms");
        }
    }
}

#[tokio::test]
async fn a_job_that_was_not_written_gives_its_admission_back() {
    let counter = Arc::new(AdmissionCounter::default());
    let admit = async |count: u64| counter.admit(1, async || Ok(count)).await.expect("an answer");
    let first = admit(0).await.expect("a permit");
    assert!(admit(0).await.is_none(), "the first job is still being written after MAX_WRITE_WAIT");
    drop(first);
    let second = admit(0).await.expect("the first admission was taken back");
    second.keep();
    assert!(admit(1).await.is_none());
    tokio::time::sleep(COUNT_AGE * 2).await;
    assert!(admit(0).await.is_some(), "a new count says that the job no longer waits");
}

#[tokio::test]
async fn admissions_of_other_processes_are_known_a_second_later() {
    let (jobs, counter) = (Jobs::default(), Arc::new(AdmissionCounter::default()));
    assert!(jobs.post(&counter, 5, 2).await);
    jobs.queued.store(5, Ordering::SeqCst);
    tokio::time::sleep(COUNT_AGE * 2).await;
    assert!(!jobs.post(&counter, 5, 2).await);
}

#[tokio::test]
async fn at_the_limit_there_are_at_most_ten_counts_per_second() {
    let (jobs, counter) = (Jobs::default(), Arc::new(AdmissionCounter::default()));
    jobs.queued.store(9, Ordering::SeqCst);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        let posts = (0..20).map(|_| jobs.post(&counter, 9, 2));
        assert!(join_all(posts).await.into_iter().all(|is_admitted| !is_admitted));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (counts, most) = (jobs.counts.load(Ordering::SeqCst), began.elapsed().as_millis() / 100 + 1);
    assert!((2..=most).contains(&counts.into()), "{counts}");
}

#[tokio::test]
async fn below_the_limit_there_is_at_most_one_count_per_second() {
    let (jobs, counter) = (Jobs::default(), Arc::new(AdmissionCounter::default()));
    let began = Instant::now();
    for _ in 0..100 {
        let posts = (0..10).map(|_| jobs.post(&counter, 100_000, 2));
        assert!(join_all(posts).await.into_iter().all(|is_admitted| is_admitted));
        tokio::time::sleep(Duration::from_millis(18)).await;
    }
    let (counts, most) = (jobs.counts.load(Ordering::SeqCst), began.elapsed().as_secs() + 1);
    assert!((1..=most).contains(&counts), "{counts}");
}

#[tokio::test]
async fn callers_that_wait_for_a_failing_count_share_its_error() {
    let counter = Arc::new(AdmissionCounter::default());
    let failing = async || {
        tokio::time::sleep(FAILURE_TIME).await;
        Err(StoreError::Contended("nothing"))
    };
    let began = Instant::now();
    let outcomes = join_all((0..50).map(|_| counter.admit(1, failing))).await;
    assert!(outcomes.iter().all(Result::is_err));
    assert!(began.elapsed() < FAILURE_TIME * 3, "the callers do not fail one after the other");
    tokio::time::sleep(COUNT_AGE * 2).await;
    let recovered = counter.admit(1, async || Ok(0)).await.expect("MongoDB is available again");
    assert!(recovered.is_some());
}
