//! The worker: what it does with one delivery.
//!
//! Decode → claimability → run slot → claim → [`attempt`](crate::attempt) → answer to the broker. A
//! delivery is acked only when its job needs no further message.

use export_amqp::Verdict;
use export_core::causes;
use export_core::message::WakeUp;
use export_store::{Claim, Claimability, StoreError};
use tokio::time::Instant;
use tracing::{Instrument, info, info_span, warn};

use crate::attempt::{Attempt, AttemptServices};
use crate::heartbeat::ClaimedJob;
use crate::run_slots::{RunSlotWait, WorkerRunSlots};

/// A worker. Cheap to clone; a clone handles each delivery.
#[derive(Clone, Debug)]
pub struct Worker {
    services: AttemptServices,
    slots: WorkerRunSlots,
    owner: String,
}

impl Worker {
    /// A worker that claims jobs under the name `owner`.
    pub fn new(services: AttemptServices, slots: WorkerRunSlots, owner: String) -> Self {
        Self { services, slots, owner }
    }

    /// Handles one message; returns the answer to its delivery.
    pub async fn handle(self, body: Vec<u8>) -> Verdict {
        let job_id = match WakeUp::decode(&body) {
            Ok(message) => message.job_id,
            Err(error) => return self.keep_dead_letter(body, &error.to_string()).await,
        };
        let span = info_span!("job", job.id = %job_id);
        async {
            // Most messages that need no export are recognized before the worker waits for
            // anything.
            match self.services.jobs.claimability(job_id).await {
                Ok(Claimability::Claimable) => {}
                Ok(claimability) => return self.answer_unclaimed(body, claimability).await,
                Err(error) => return store_failed(&error),
            }
            let slot = match self.slots.take(job_id).await {
                Ok(RunSlotWait::Taken(slot)) => slot,
                Ok(RunSlotWait::AllTaken) => {
                    info!(
                        limit = self.slots.limit(),
                        "all run slots are taken; the job's message comes again"
                    );
                    return Verdict::Nack;
                }
                Ok(RunSlotWait::Stopping) => return Verdict::Leave,
                Err(error) => {
                    warn!(error = %causes(&error), "cannot take a run slot; the job's message comes again");
                    return Verdict::Nack;
                }
            };
            // The lease begins when the server makes the claim, not when its answer arrives.
            let claimed_at = Instant::now();
            match self.services.jobs.claim(job_id, &self.owner, self.services.terms.lease).await {
                Ok(Claim::Claimed(job, fence)) => {
                    let claimed = ClaimedJob { job: *job, fence, claimed_at, slot };
                    Attempt::new(&self.services, &claimed).run().await
                }
                Ok(Claim::Refused(claimability)) => self.answer_unclaimed(body, claimability).await,
                Err(error) => store_failed(&error),
            }
        }
        .instrument(span)
        .await
    }

    /// The answer to the message of a job that was not claimed.
    async fn answer_unclaimed(&self, body: Vec<u8>, claimability: Claimability) -> Verdict {
        match claimability {
            Claimability::Unknown => self.keep_dead_letter(body, "there is no such job").await,
            Claimability::NotAvailable(state) => {
                info!(job.state = state.as_str(), "a message for a job that needs none");
                Verdict::Ack
            }
            // The dispatcher publishes the job when it is due.
            Claimability::NotDue { is_published: false } => Verdict::Ack,
            // The dispatcher does not publish a job that counts as published, so this message must
            // come again.
            Claimability::NotDue { is_published: true } | Claimability::Claimable => Verdict::Nack,
        }
    }

    async fn keep_dead_letter(&self, body: Vec<u8>, reason: &str) -> Verdict {
        match self.services.jobs.keep_dead_letter(body, reason).await {
            Ok(()) => {
                warn!(reason, "a message without a job was stored in deadLetters");
                Verdict::Ack
            }
            Err(error) => {
                warn!(error = %causes(&error), "cannot store a dead letter; the message comes again");
                Verdict::Nack
            }
        }
    }
}

fn store_failed(error: &StoreError) -> Verdict {
    warn!(error = %causes(error), "cannot claim a job; its message comes again");
    Verdict::Nack
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
