//! The worker: what it does with one delivery.
//!
//! Decode → claimability → run permit → run slot → claim → [`attempt`](crate::attempt) → answer to
//! the broker. A delivery is acked only when its job needs no further message.

use std::pin::pin;
use std::time::Duration;

use export_amqp::Verdict;
use export_core::message::WakeUp;
use export_core::{JobId, causes};
use export_store::{Claim, Claimability, StoreError};
use tokio::time::{Instant, sleep};
use tracing::{Instrument, debug, info, info_span, warn};

use crate::attempt::{Attempt, AttemptServices};
use crate::heartbeat::ClaimedJob;
use crate::run_permits::{RunPermit, RunPermits, exclusive_limit};
use crate::run_slots::{RunSlotWait, WorkerRunSlots};

/// Time between two looks at a job that waits for the exclusive permit: another worker may have
/// claimed it, or a client may have cancelled it.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Longest wait for an object store that refuses writes. Another worker may have another way to it,
/// so the message must not stay here.
const STORAGE_WAIT: Duration = Duration::from_mins(1);

/// A worker. Cheap to clone; a clone handles each delivery.
#[derive(Clone, Debug)]
pub struct Worker {
    services: AttemptServices,
    permits: RunPermits,
    slots: WorkerRunSlots,
    owner: String,
}

impl Worker {
    /// A worker that claims jobs under the name `owner`.
    pub fn new(services: AttemptServices, slots: WorkerRunSlots, owner: String) -> Self {
        Self { services, permits: RunPermits::default(), slots, owner }
    }

    /// The permits of its exports.
    pub(crate) fn permits(&self) -> RunPermits {
        self.permits.clone()
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
            let permitted = match self.services.jobs.claimability(job_id).await {
                Ok(Claimability::Claimable) => match self.storage_accepts_writes().await {
                    Ok(()) => self.permit_beside_others().await,
                    Err(refused) => Err(refused),
                },
                Ok(Claimability::ClaimableAlone { due_for }) => match self.storage_accepts_writes().await {
                    Ok(()) => self.permit_alone(job_id, due_for).await,
                    Err(refused) => Err(refused),
                },
                Ok(claimability) => Err(Unpermitted::NotClaimable(claimability)),
                Err(error) => Err(Unpermitted::Verdict(store_failed(&error))),
            };
            match permitted {
                Ok(permit) => self.claim_and_run(job_id, body, permit).await,
                Err(Unpermitted::NotClaimable(claimability)) => {
                    self.answer_unclaimed(body, claimability).await
                }
                Err(Unpermitted::Verdict(verdict)) => verdict,
            }
        }
        .instrument(span)
        .await
    }

    /// Waits until the object store accepts writes, for at most [`STORAGE_WAIT`].
    async fn storage_accepts_writes(&self) -> Result<(), Unpermitted> {
        tokio::select! {
            is_open = self.services.storage.wait_until_open(STORAGE_WAIT) => {
                if is_open {
                    return Ok(());
                }
                debug!("the object store refuses writes; the job's message comes again");
                Err(Unpermitted::Verdict(Verdict::Nack))
            }
            () = self.services.shutdown.intake().cancelled() => Err(Unpermitted::Verdict(Verdict::Leave)),
        }
    }

    async fn permit_beside_others(&self) -> Result<RunPermit, Unpermitted> {
        self.permits.shared().await.ok_or_else(|| {
            info!("an export runs alone on this worker; the job's message comes again");
            Unpermitted::Verdict(Verdict::Nack)
        })
    }

    /// Waits until the worker runs no other export. Meanwhile it begins none.
    async fn permit_alone(&self, job_id: JobId, due_for: Duration) -> Result<RunPermit, Unpermitted> {
        info!("the job has lost workers and has to run alone: waiting until this worker runs nothing else");
        let mut limit = pin!(sleep(exclusive_limit(due_for, self.services.terms.deadline)));
        let mut permit = pin!(self.permits.exclusive());
        loop {
            tokio::select! {
                permit = &mut permit => return Ok(permit),
                () = self.services.shutdown.intake().cancelled() => {
                    return Err(Unpermitted::Verdict(Verdict::Leave));
                }
                () = &mut limit => {
                    info!("this worker still runs other exports; the job's message comes again");
                    return Err(Unpermitted::Verdict(Verdict::Nack));
                }
                () = sleep(LOOK_INTERVAL) => match self.services.jobs.claimability(job_id).await {
                    Ok(Claimability::ClaimableAlone { .. }) => {}
                    Ok(claimability) => return Err(Unpermitted::NotClaimable(claimability)),
                    Err(error) => return Err(Unpermitted::Verdict(store_failed(&error))),
                },
            }
        }
    }

    /// Takes a run slot, claims the job and works on it.
    async fn claim_and_run(&self, job_id: JobId, body: Vec<u8>, permit: RunPermit) -> Verdict {
        let slot = match self.slots.take(job_id).await {
            Ok(RunSlotWait::Taken(slot)) => slot,
            Ok(RunSlotWait::AllTaken) => {
                info!(limit = self.slots.limit(), "all run slots are taken; the job's message comes again");
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
        let AttemptServices { jobs, terms, .. } = &self.services;
        let claim = if permit.is_exclusive() {
            jobs.claim_alone(job_id, &self.owner, terms.lease).await
        } else {
            jobs.claim(job_id, &self.owner, terms.lease).await
        };
        match claim {
            Ok(Claim::Claimed(job, fence)) => {
                let claimed = ClaimedJob { job: *job, fence, claimed_at, slot, _permit: permit };
                Attempt::new(&self.services, &claimed).run().await
            }
            Ok(Claim::Refused(claimability)) => self.answer_unclaimed(body, claimability).await,
            Err(error) => store_failed(&error),
        }
    }

    /// The answer to the message of a job that was not claimed.
    async fn answer_unclaimed(&self, body: Vec<u8>, claimability: Claimability) -> Verdict {
        match claimability {
            Claimability::Unknown => self.keep_dead_letter(body, "there is no such job").await,
            Claimability::NotAvailable(state) => {
                info!(
                    job.state = state.as_str(),
                    "ignored the message of a job that has ended or is running"
                );
                Verdict::Ack
            }
            // The dispatcher publishes the job when it is due.
            Claimability::NotDue { is_published: false } => Verdict::Ack,
            // The dispatcher does not publish a job that counts as published, so this message must
            // come again.
            Claimability::NotDue { is_published: true }
            | Claimability::Claimable
            | Claimability::ClaimableAlone { .. } => Verdict::Nack,
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

/// Why a job gets no permit to run.
enum Unpermitted {
    /// It cannot be claimed.
    NotClaimable(Claimability),
    /// The answer to its delivery, for another reason.
    Verdict(Verdict),
}

fn store_failed(error: &StoreError) -> Verdict {
    warn!(error = %causes(error), "cannot claim a job; its message comes again");
    Verdict::Nack
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
