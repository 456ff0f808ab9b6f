//! Asks the source how it is, about once a second, as long as there is reading.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use export_mongo::StoreError;
use export_mongo::client::bounded;
use tracing::{debug, info};

use super::pressure::{Judge, Sample};
use super::{Inner, SourceThrottle};
use crate::resume::code_of;

/// Time between two samples.
const BETWEEN: Duration = Duration::from_secs(1);
/// Samples without any read in between after which nothing is asked any more.
const QUIET_SAMPLES: u32 = 5;
/// What the log is told when nothing more is asked.
const GIVEN_UP: &str =
    "the source does not say how it is (serverStatus); reads are limited by their own times alone";
/// Longest rest after failures: each failure in a row doubles it. A source that cannot be asked has other worries, and one that can be
/// asked again should be before long.
const LONGEST_REST: Duration = Duration::from_secs(30);
/// Doublings after which the rest is the longest in any case.
const MOST_DOUBLINGS: u32 = 5;

/// What the server says when this user, or this kind of server, will never be told. Any other error passes.
const REFUSALS: [i32; 2] = [
    13, // Unauthorized
    59, // CommandNotFound
];

/// Samples until nobody reads, or the server does not tell.
pub(super) async fn run(throttle: Weak<Inner>) {
    let (mut judge, mut quiet, mut failures) = (Judge::default(), 0, 0);
    while quiet < QUIET_SAMPLES {
        tokio::time::sleep(rest_after(failures)).await;
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
            Err(error) if is_refusal(&error) => return give_up(&inner, "it is not permitted"),
            Err(error) => {
                judge.pause();
                failures += 1;
                debug!(
                    failures,
                    error = &error as &dyn std::error::Error,
                    "the source does not say how it is"
                );
            }
        }
    }
    if let Some(inner) = throttle.upgrade() {
        inner.is_sampling.store(false, Ordering::Release);
    }
}

fn rest_after(failures: u32) -> Duration {
    BETWEEN.saturating_mul(1 << failures.min(MOST_DOUBLINGS)).min(LONGEST_REST)
}

fn is_refusal(error: &StoreError) -> bool {
    code_of(error).is_some_and(|code| REFUSALS.contains(&code))
}

/// The throttle goes by its own reads alone from now on. Comes once: the mark stays, so that nobody asks again.
fn give_up(inner: &Inner, reason: &str) {
    if inner.is_quiet {
        debug!(reason, "{GIVEN_UP}");
    } else {
        info!(reason, "{GIVEN_UP}");
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resume::tests::command_failed;

    #[test]
    fn failures_make_the_rest_longer_and_never_too_long() {
        let seconds = [0, 1, 2, 4, 5, 6, u32::MAX].map(|failures| rest_after(failures).as_secs());
        assert_eq!(seconds, [1, 2, 4, 16, 30, 30, 30]);
    }

    #[test]
    fn only_a_refusal_ends_the_asking() {
        assert!(is_refusal(&command_failed(13)));
        assert!(is_refusal(&command_failed(59)));
        assert!(!is_refusal(&command_failed(189)));
        assert!(!is_refusal(&StoreError::TimedOut { operation: "ask the source how it is", seconds: 30 }));
    }
}
