//! One read: its permit, the bytes charged to the rate limit, and its outcome.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use export_mongo::StoreError;
use export_mongo::client::bounded;

use super::controller::EndedRead;
use super::permits::Permit;
use super::{SourceThrottle, lock, meters};

/// One read, from its request until its reply. When dropped without a reply, it does not count.
#[derive(Debug)]
pub(crate) struct Read {
    pub(super) throttle: SourceThrottle,
    pub(super) permit: Option<Arc<RunningRead>>,
    /// Bytes charged to the rate limit, until the reply's size is known.
    pub(super) charged_bytes: Option<usize>,
    pub(super) began_at: Instant,
}

/// A permit shared by the read and the operation that runs for it.
#[derive(Debug)]
pub(crate) struct RunningRead(pub(super) Permit);

impl Drop for RunningRead {
    fn drop(&mut self) {
        meters::ended();
    }
}

impl Read {
    /// Runs the operation of this read under the time limit.
    ///
    /// **Permit.** The operation shares the permit. When the caller is cancelled, the operation
    /// goes on and still runs on the server, so its permit must not be granted to another read. At
    /// the time limit the operation is cancelled, and the permit is returned in any case.
    ///
    /// Closing the cursor that a reply of 16 MiB leaves open is not covered by the permit: the
    /// driver does it on its own task right after the reply, and it costs the server almost
    /// nothing.
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
        // Boxed because the driver's futures are large.
        let future = Box::pin(future);
        bounded(operation, async move {
            let answered = future.await;
            drop(permit);
            answered
        })
    }

    /// Records a reply of this size.
    pub(crate) fn answered(mut self, bytes: usize) {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.began_at);
        self.settle(bytes);
        self.throttle.inner.own_reads.add(took);
        meters::answered(took, bytes);
        if let Some(running) = &self.permit {
            let concurrency = running.0.concurrency();
            let read = EndedRead { began_at: self.began_at, ended_at: now, bytes, concurrency };
            self.throttle.apply(now, |controller| controller.read_ended(read));
        }
    }

    /// Records a timeout of the client or the server.
    pub(crate) fn timed_out(mut self) {
        self.settle(0);
        self.throttle.inner.timeouts.fetch_add(1, Ordering::Relaxed);
        meters::timed_out();
        let now = Instant::now();
        self.throttle.apply(now, |controller| controller.read_timed_out(now));
    }

    /// Replaces the estimate charged to the rate limit by the real size.
    fn settle(&mut self, bytes: usize) {
        let (Some(charged_bytes), Some(rate)) = (self.charged_bytes.take(), &self.throttle.inner.rate) else {
            return;
        };
        let mut bucket = lock(&rate.bucket);
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
    use crate::throttle::permits::Concurrency;

    #[tokio::test]
    async fn a_timeout_lowers_the_limit_and_is_counted() {
        // Never used: nothing listens on this port.
        let source =
            export_mongo::client::connect(&"mongodb://127.0.0.1:1".into(), "test").await.expect("a client");
        let throttle = SourceThrottle::new(&source, ReadLimits::default());
        let concurrency = Concurrency { was_alone: true, is_full: true };
        let mut now = Instant::now();
        let mut answers = 0;
        while throttle.now().limit < 4 {
            let ended_at = now + Duration::from_millis(5);
            let read = EndedRead { began_at: now, ended_at, bytes: 1_000, concurrency };
            throttle.apply(ended_at, |controller| controller.read_ended(read));
            now = ended_at;
            answers += 1;
            assert!(answers < 1_000, "fast reads do not raise the limit");
        }
        throttle.begin(0).await.timed_out();
        assert!(throttle.now().limit < 4, "{:?}", throttle.now());
        assert_eq!((throttle.now().timeouts, throttle.now().in_flight), (1, 0));
    }

    #[tokio::test]
    async fn an_abandoned_operation_keeps_its_permit() {
        // Never used: nothing listens on this port.
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
        assert_eq!(throttle.now().in_flight, 1, "it still runs");
        end.send(()).expect("it still runs");
        let asked_at = Instant::now();
        while throttle.now().in_flight > 0 {
            assert!(asked_at.elapsed() < Duration::from_secs(10), "the permit was not returned");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
