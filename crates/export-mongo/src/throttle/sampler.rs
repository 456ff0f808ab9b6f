//! Asks the source how it is, about once a second, as long as there is reading.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bson::{Document, doc};
use tracing::debug;

use super::pressure::{Judge, Sample};
use super::{Inner, SourceThrottle};
use crate::client::bounded;
use crate::error::StoreError;

/// Time between two samples.
const BETWEEN: Duration = Duration::from_secs(1);
/// Samples without any read in between after which nothing is asked any more.
const QUIET_SAMPLES: u32 = 5;
/// Failures in a row after which the source is taken not to tell.
const FAILURES: u32 = 3;

/// Samples until nobody reads, or the server does not tell.
pub(super) async fn run(throttle: Weak<Inner>) {
    let (mut judge, mut quiet, mut failures) = (Judge::default(), 0, 0);
    while quiet < QUIET_SAMPLES {
        tokio::time::sleep(BETWEEN).await;
        // The throttle may be gone meanwhile.
        let Some(inner) = throttle.upgrade() else { return };
        let own = inner.own_reads.take();
        quiet = if own.count == 0 && inner.permits.in_flight() == 0 { quiet + 1 } else { 0 };
        match ask(&inner).await {
            Ok(sample) if sample.tells_anything() => {
                failures = 0;
                let pressure = judge.judge(sample, own);
                SourceThrottle { inner }.server_told(Instant::now(), pressure);
            }
            Ok(_) => return give_up(&inner, "it says nothing of the kind"),
            Err(error) => {
                judge.pause();
                failures += 1;
                if failures >= FAILURES {
                    return give_up(&inner, &error.to_string());
                }
                debug!(error = &error as &dyn std::error::Error, "the source does not say how it is");
            }
        }
    }
    if let Some(inner) = throttle.upgrade() {
        inner.is_sampling.store(false, Ordering::Release);
    }
}

/// The throttle goes by its own reads alone from now on.
fn give_up(inner: &Arc<Inner>, reason: &str) {
    // The mark stays, so that nobody asks again.
    debug!(
        reason,
        limit = inner.permits.in_flight(),
        "the source does not say how it is; reads are limited by their own times alone"
    );
}

async fn ask(inner: &Inner) -> Result<Sample, StoreError> {
    let admin = inner.client.database("admin");
    // Without the parts that are of no interest here and not free.
    let command = doc! { "serverStatus": 1, "metrics": 0, "tcmalloc": 0, "repl": 0, "locks": 0, "sharding": 0,
    "shardingStatistics": 0, "transactions": 0, "logicalSessionRecordCache": 0, "mirroredReads": 0 };
    // Of a server that is read from.
    let criteria = inner.preference.criteria();
    let status: Document = bounded("ask the source how it is", async move {
        admin.run_command(command).selection_criteria(criteria).await
    })
    .await?;
    Ok(Sample::of(&status))
}
