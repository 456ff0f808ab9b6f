//! Samples `serverStatus` of the source about once a second while there are reads.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use export_mongo::StoreError;
use export_mongo::client::bounded;
use export_mongo::server_errors::{REFUSED, code_of};
use tracing::{debug, info};

use super::pressure::{Judge, Sample};
use super::{Inner, SourceThrottle};

/// Time between two samples.
const INTERVAL: Duration = Duration::from_secs(1);
/// Samples in a row without any read after which sampling stops until the next read.
const IDLE_SAMPLES: u32 = 5;
/// The log message when sampling ends for good.
const DISABLED: &str =
    "serverStatus of the source is not available; the read limit depends only on the duration of reads";
/// Longest pause after failures; each failure in a row doubles the pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Doublings after which the pause is the longest in any case.
const MAX_DOUBLINGS: u32 = 5;

/// Samples until there are no more reads, or until the server refuses.
pub(super) async fn run(throttle: Weak<Inner>) {
    let (mut judge, mut idle, mut failures) = (Judge::default(), 0, 0);
    while idle < IDLE_SAMPLES {
        tokio::time::sleep(pause_after(failures)).await;
        // The throttle may have been dropped meanwhile.
        let Some(inner) = throttle.upgrade() else { return };
        let own = inner.own_reads.take();
        idle = if own.count == 0 && inner.permits.in_flight() == 0 { idle + 1 } else { 0 };
        match sample(&inner).await {
            Ok(sample) if sample.is_usable() => {
                failures = 0;
                let pressure = judge.judge(sample, own);
                SourceThrottle { inner }.server_reported(Instant::now(), pressure);
            }
            Ok(_) => return disable(&inner, "no usable values in the reply"),
            Err(error) if is_refusal(&error) => return disable(&inner, "permission denied"),
            Err(error) => {
                judge.pause();
                failures += 1;
                debug!(
                    failures,
                    error = &error as &dyn std::error::Error,
                    "serverStatus of the source failed"
                );
            }
        }
    }
    if let Some(inner) = throttle.upgrade() {
        inner.is_sampling.store(false, Ordering::Release);
    }
}

fn pause_after(failures: u32) -> Duration {
    INTERVAL.saturating_mul(1 << failures.min(MAX_DOUBLINGS)).min(LONGEST_PAUSE)
}

fn is_refusal(error: &StoreError) -> bool {
    code_of(error).is_some_and(|code| REFUSED.contains(&code))
}

/// Logs that sampling ends for good. `is_sampling` stays set, so that it never starts again.
fn disable(inner: &Inner, reason: &str) {
    if inner.is_quiet {
        debug!(reason, "{DISABLED}");
    } else {
        info!(reason, "{DISABLED}");
    }
}

async fn sample(inner: &Inner) -> Result<Sample, StoreError> {
    let admin = inner.client.database("admin");
    // Without sections that are not used here and cost time on the server.
    let command = doc! { "serverStatus": 1, "metrics": 0, "tcmalloc": 0, "repl": 0, "locks": 0, "sharding": 0,
    "shardingStatistics": 0, "transactions": 0, "logicalSessionRecordCache": 0, "mirroredReads": 0 };
    // The same servers as for reads.
    let criteria = inner.preference.criteria();
    let status: Document = bounded("run serverStatus on the source", async move {
        admin.run_command(command).selection_criteria(criteria).await
    })
    .await?;
    Ok(Sample::of(&status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resume::tests::command_failed;

    #[test]
    fn failures_make_the_pause_longer_up_to_a_bound() {
        let seconds = [0, 1, 2, 4, 5, 6, u32::MAX].map(|failures| pause_after(failures).as_secs());
        assert_eq!(seconds, [1, 2, 4, 16, 30, 30, 30]);
    }

    #[test]
    fn only_a_refusal_ends_sampling() {
        assert!(is_refusal(&command_failed(13)));
        assert!(is_refusal(&command_failed(59)));
        assert!(!is_refusal(&command_failed(189)));
        assert!(!is_refusal(&StoreError::TimedOut {
            operation: "run serverStatus on the source",
            seconds: 30
        }));
    }
}
