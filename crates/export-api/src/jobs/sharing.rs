//! Jobs that share a result: the same request for the same hours, which are over, reads the source once.
//!
//! One job leads, the others follow (the store decides which, see `export_store`). Here is who may, and the task that gives followers what
//! their leaders have got.

use std::time::Duration;

use export_core::access::AllowedVehicles;
use export_core::causes;
use export_core::job::Job;
use export_core::request::ExportRequest;
use export_core::sharing::ShareKey;
use export_store::{JobStore, Settled};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Mean time between two looks for leaders that have ended; each wait is between half and one and a half of it, so that copies do not march
/// in step. A follower ends so much later than its leader. Where nobody follows, a look is one question to an empty index.
const INTERVAL: Duration = Duration::from_secs(1);

/// Whether jobs share results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// They do, where the range is over.
    On,
    /// They do not: what is over may still change.
    Off,
}

impl Sharing {
    /// What the new job shares a result by.
    pub fn key_of(self, request: &ExportRequest, allowed: &AllowedVehicles) -> Option<ShareKey> {
        match self {
            Self::On => Some(ShareKey::of(request, allowed, env!("CARGO_PKG_VERSION"))),
            Self::Off => None,
        }
    }
}

/// Says whose result a new job shares.
pub(crate) fn tell(job: &Job) {
    if let Some(leader) = job.shares_result_of {
        info!(job.id = %job.id, leader.id = %leader, "the export shares another one's result");
    }
}

/// Gives jobs that follow what their leaders have got, until `stop`. Runs whether or not new jobs share results: earlier ones may.
pub(crate) async fn settle(jobs: JobStore, stop: CancellationToken) {
    let mut behind: Option<String> = None;
    loop {
        let waited_and_settled = async {
            tokio::time::sleep(INTERVAL.mul_f64(0.5 + fastrand::f64())).await;
            jobs.settle_followers(behind.as_deref()).await
        };
        let settled = tokio::select! {
            () = stop.cancelled() => return,
            settled = waited_and_settled => settled,
        };
        match settled {
            Ok(settling) => {
                settling.settled.into_iter().for_each(tell_settled);
                for (leader, error) in settling.failed {
                    warn!(leader.id = %leader, error = %causes(&error), "jobs that share a result wait; a later look tries again");
                }
                behind = settling.goes_on_behind;
            }
            Err(error) => warn!(error = %causes(&error), "shared results wait; the next look goes on"),
        }
    }
}

fn tell_settled(settled: Settled) {
    match settled {
        Settled::Adopted(leader, job_count) => {
            info!(leader.id = %leader, job_count, "jobs share the result of one that has finished");
        }
        Settled::Failed(leader, job_count) => {
            info!(leader.id = %leader, job_count, "jobs have failed with the one whose result they were to share");
        }
        Settled::TookOver(leader, next) => {
            info!(leader.id = %leader, job.id = %next, "a job works for itself: the one that it followed has no result");
        }
        Settled::Moved(leader, next, job_count) => {
            info!(leader.id = %leader, next.id = %next, job_count, "jobs follow another: theirs has no result");
        }
    }
}
