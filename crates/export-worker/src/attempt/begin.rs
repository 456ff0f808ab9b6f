//! The beginning of an attempt: does the job write its result, or use the result of an earlier one?

use export_core::causes;
use export_engine::Meter;
use export_store::{NextStep, StoreError, is_outage};
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Attempt, AttemptServices, deadline_exceeded};
use crate::disposition::{JobError, NeededService};
use crate::heartbeat::Heartbeat;

/// Results of other jobs that an attempt compares with the source at most.
const COMPARISONS: u32 = 2;

impl Attempt<'_> {
    /// Begins the result. A result of an earlier job is used only if it has what the source has
    /// now. Returns the digest of the source as well, if it was compared.
    pub(super) async fn begin(&self) -> Result<(NextStep, Option<String>), JobError> {
        let (mut outdated, mut source_state) = (None, None);
        // Another worker may finish a result of the same key meanwhile, so there may be a second
        // comparison; after it the job waits.
        for _ in 0..COMPARISONS {
            let begun = self.jobs().begin_result(self.job(), self.fence(), outdated).await;
            let comparison = match begun.map_err(not_begun)? {
                NextStep::Compare(comparison) => comparison,
                step => return Ok((step, source_state)),
            };
            let mut result = comparison.result.clone();
            source_state = self.source_state().await?;
            // A source that cannot be compared may have changed.
            if source_state.is_none() || source_state != result.source_state {
                info!(result.id = %result.id, "the source has changed since the earlier result: reading it again");
                outdated = Some(result.id);
                continue;
            }
            // Without the mark, other jobs compare for themselves.
            if let Err(error) = self.jobs().mark_checked(&comparison).await {
                warn!(error = %causes(&error), "cannot store that a result was compared with the source");
            }
            result.checked_at = comparison.looked_at;
            return Ok((NextStep::Use(Box::new(result)), None));
        }
        Ok((NextStep::Wait, None))
    }

    /// What the source has for the export now, as a digest, if it can be compared; stops for the
    /// reasons for which the writer stops.
    async fn source_state(&self) -> Result<Option<String>, JobError> {
        let AttemptServices { writer, shutdown, terms, .. } = self.services;
        let (meter, stop) = (Meter::default(), shutdown.export_token());
        let heartbeat =
            Heartbeat { jobs: self.jobs(), claimed: self.claimed, meter: &meter, lease: terms.lease };
        tokio::select! {
            biased;
            reason = heartbeat.run() => Err(reason),
            state = writer.source_state(self.job(), &meter) => state,
            () = stop.cancelled() => Err(JobError::hand_over()),
            () = sleep(terms.deadline) => Err(deadline_exceeded(terms.deadline)),
        }
    }
}

fn not_begun(error: StoreError) -> JobError {
    let failed = if is_outage(&error) {
        JobError::outage(NeededService::JobStore)
    } else {
        JobError::retry("internal", "the result could not be begun")
    };
    failed.because(error)
}
