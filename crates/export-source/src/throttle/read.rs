//! One read: its permit, what it was charged, and how it ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use export_mongo::StoreError;
use export_mongo::client::{OPERATION, bounded};

use super::controller::EndedRead;
use super::permits::Permit;
use super::{SourceThrottle, lock, meters};

/// One read, from before it is asked for until it is answered. Dropped unanswered, it counts for nothing.
#[derive(Debug)]
pub(crate) struct Read {
    pub(super) throttle: SourceThrottle,
    pub(super) permit: Option<Arc<UnderWay>>,
    /// Bytes that the rate was charged, until the answer's size is known.
    pub(super) charged_bytes: Option<usize>,
    pub(super) began_at: Instant,
}

/// A permit in use: by the read, and by the operation that runs for it.
#[derive(Debug)]
pub(crate) struct UnderWay(Permit);

impl UnderWay {
    pub(super) fn new(permit: Permit) -> Arc<Self> {
        Arc::new(Self(permit))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        meters::ended();
    }
}

impl Read {
    /// Runs the operation that this read is for, under its time limit.
    ///
    /// The operation keeps the permit as well. It goes on when nobody waits for it any more, and is under way on the server until it
    /// ends: so long no other may begin in its place. Past the time limit the server has ended it (`maxTimeMS`) or is not to be
    /// reached; then the permit is given back, whatever becomes of the operation: permits must come back.
    ///
    /// Not under the permit is the closing of the cursor that an answer of 16 MiB leaves: the driver does it by itself right after the
    /// answer, on a task of its own. It costs the server next to nothing, and no time of reading.
    pub(crate) fn run<T, F>(
        &self,
        operation: &'static str,
        future: F,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, mongodb::error::Error>> + Send + 'static,
    {
        let permit = self.permit.clone();
        // The driver's futures are large.
        let mut future = Box::pin(future);
        bounded(operation, async move {
            let answered = tokio::time::timeout(OPERATION, future.as_mut()).await;
            drop(permit);
            match answered {
                Ok(answered) => answered,
                Err(_) => future.await,
            }
        })
    }

    /// The answer has come.
    pub(crate) fn answered(mut self, bytes: usize) {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.began_at);
        self.settle(bytes);
        self.throttle.inner.own_reads.add(took);
        meters::answered(took, bytes);
        if let Some(under_way) = &self.permit {
            let company = under_way.0.company();
            let read = EndedRead { began_at: self.began_at, ended_at: now, bytes, company };
            self.throttle.apply(now, |controller| controller.read_ended(read));
        }
    }

    /// No answer has come in time, or the server has given up for want of time.
    pub(crate) fn timed_out(mut self) {
        self.settle(0);
        self.throttle.inner.timeouts.fetch_add(1, Ordering::Relaxed);
        meters::timed_out();
        let now = Instant::now();
        self.throttle.apply(now, |controller| controller.read_timed_out(now));
    }

    /// Corrects what the rate was charged.
    fn settle(&mut self, bytes: usize) {
        let (Some(charged_bytes), Some(pace)) = (self.charged_bytes.take(), &self.throttle.inner.pace) else {
            return;
        };
        let mut bucket = lock(&pace.bucket);
        bucket.give_back(charged_bytes);
        bucket.take(bytes);
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        self.settle(0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::throttle::ReadLimits;
    use crate::throttle::permits::Company;

    #[tokio::test]
    async fn a_read_that_is_not_answered_in_time_lowers_the_limit_and_is_counted() {
        // Prepared only: nobody listens there.
        let source =
            export_mongo::client::connect(&"mongodb://127.0.0.1:1".into(), "test").await.expect("a client");
        let throttle = SourceThrottle::new(&source, ReadLimits::default());
        let company = Company { alone: true, is_full: true };
        let mut now = Instant::now();
        let mut answers = 0;
        while throttle.now().limit < 4 {
            let ended_at = now + Duration::from_millis(5);
            let read = EndedRead { began_at: now, ended_at, bytes: 1_000, company };
            throttle.apply(ended_at, |controller| controller.read_ended(read));
            now = ended_at;
            answers += 1;
            assert!(answers < 1_000, "reads as fast as ever do not raise the limit");
        }
        throttle.begin(0).await.timed_out();
        assert!(throttle.now().limit < 4, "{:?}", throttle.now());
        assert_eq!((throttle.now().timeouts, throttle.now().in_flight), (1, 0));
    }

    #[tokio::test]
    async fn an_operation_that_nobody_waits_for_keeps_its_permit() {
        // Prepared only: nobody listens there.
        let source =
            export_mongo::client::connect(&"mongodb://127.0.0.1:1".into(), "test").await.expect("a client");
        let throttle = SourceThrottle::new(&source, ReadLimits::default());
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let read = throttle.begin(0).await;
        let waits = tokio::spawn(async move {
            let ends = async move {
                ended.await.ok();
                Ok(())
            };
            read.run("end", ends).await
        });
        tokio::task::yield_now().await;
        waits.abort();
        assert!(waits.await.is_err_and(|error| error.is_cancelled()));
        assert_eq!(throttle.now().in_flight, 1, "it is still under way");
        end.send(()).expect("still under way");
        let asked_at = Instant::now();
        while throttle.now().in_flight > 0 {
            assert!(asked_at.elapsed() < Duration::from_secs(10), "the permit has not come back");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
