//! Writes new jobs in batches. A write costs the wait for a majority and its journals, which is the
//! same for one job and for many. A job that arrives while no write is in progress is written at
//! once; jobs that arrive during a write are batched into the next one.

use std::sync::Arc;
use std::time::Duration;

use export_core::job::NewJob;
use export_store::{Created, JobStore, StoreError, Written};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// Maximum number of jobs per write: a few hundred kilobytes.
const MAX_BATCH: usize = 64;
/// Number of concurrent writes. More concurrent writes make smaller batches, and the cost of a
/// write does not depend on its size (figures in docs/performance.md).
const MAX_WRITES: usize = 1;
/// Capacity of the queue of jobs to be written. Beyond it, requests wait; their number is bounded,
/// too.
const QUEUE_CAPACITY: usize = 1_024;
/// Maximum time from the request to the start of its write. Clients do not wait much longer, and
/// while MongoDB is slow, abandoned requests must not delay the others.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);

/// The error of a job that was not accepted.
#[derive(Clone, Debug)]
pub struct NotAccepted {
    /// The cause.
    pub error: AcceptError,
    /// Whether the job may exist nevertheless, because the outcome of its write is unknown.
    pub may_exist: bool,
}

/// Why a job was not accepted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AcceptError {
    /// The job waited too long for its write, which was not started.
    #[error("write queue timeout")]
    Overdue,
    /// The task that writes has ended, as it does at shutdown.
    #[error("this process is stopping: write a new job")]
    Stopped,
    /// MongoDB reported a known idempotency key for a job that has none: a bug.
    #[error("bug: a job without an idempotency key has a known key")]
    UnexpectedKey,
    /// The store failed; the error is shared by all jobs of the batch.
    #[error(transparent)]
    Store(Arc<StoreError>),
}

impl NotAccepted {
    fn not_written(error: impl Into<AcceptError>) -> Self {
        Self { error: error.into(), may_exist: false }
    }

    fn unknown(error: impl Into<AcceptError>) -> Self {
        Self { error: error.into(), may_exist: true }
    }
}

impl From<StoreError> for AcceptError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// Writes new jobs. Cheap to clone. Its task ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Acceptor {
    store: JobStore,
    queue: mpsc::Sender<QueuedJob>,
}

/// A job that waits to be written.
#[derive(Debug)]
struct QueuedJob {
    new: NewJob,
    /// Latest start of its write.
    deadline: Instant,
    answer: oneshot::Sender<Result<Written, NotAccepted>>,
}

impl Acceptor {
    /// Starts the task that writes.
    pub fn start(store: &JobStore) -> Self {
        let (queue, queued_jobs) = mpsc::channel(QUEUE_CAPACITY);
        tokio::spawn(write_jobs(store.clone(), queued_jobs));
        Self { store: store.clone(), queue }
    }

    /// Writes a job. On success, the job is durable on a majority of MongoDB's servers.
    ///
    /// # Errors
    /// [`NotAccepted`], which says whether the job may exist nevertheless.
    ///
    /// Cancel safety. The job may be written even if the caller is cancelled.
    pub async fn create(&self, new: NewJob) -> Result<Created, NotAccepted> {
        let (tenant, created_by) = (new.tenant.clone(), new.created_by.clone());
        let idempotency = new.idempotency.clone();
        let deadline = Instant::now() + QUEUE_TIMEOUT;
        match (queue_and_write(&self.queue, new, deadline).await?, idempotency) {
            (Written::New(job), _) => Ok(Created::New(*job)),
            // Looked up here and not by the writing task, so that other jobs do not wait for it.
            (Written::KeyKnown, Some(idempotency)) => {
                let existing = self.store.accepted_before(&tenant, &created_by, &idempotency).await;
                existing.map_err(NotAccepted::not_written)
            }
            (Written::KeyKnown, None) => Err(NotAccepted::not_written(AcceptError::UnexpectedKey)),
            (Written::Refused(error), _) => Err(NotAccepted::not_written(error)),
        }
    }
}

/// Queues a job and waits for the outcome of its write.
async fn queue_and_write(
    queue: &mpsc::Sender<QueuedJob>,
    new: NewJob,
    deadline: Instant,
) -> Result<Written, NotAccepted> {
    let (answer, answered) = oneshot::channel();
    match timeout_at(deadline, queue.send(QueuedJob { new, deadline, answer })).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => return Err(NotAccepted::not_written(AcceptError::Stopped)),
        Err(_) => return Err(NotAccepted::not_written(AcceptError::Overdue)),
    }
    answered.await.unwrap_or_else(|_| Err(NotAccepted::unknown(AcceptError::Stopped)))
}

async fn write_jobs(store: JobStore, mut queue: mpsc::Receiver<QueuedJob>) {
    let writes = Arc::new(Semaphore::new(MAX_WRITES));
    loop {
        // The permit first: jobs that arrive while a write is in progress join the next batch.
        let Ok(permit) = Arc::clone(&writes).acquire_owned().await else { return };
        let mut batch = Vec::with_capacity(MAX_BATCH);
        if queue.recv_many(&mut batch, MAX_BATCH).await == 0 {
            return;
        }
        tokio::spawn(write_batch(store.clone(), batch, permit));
    }
}

async fn write_batch(store: JobStore, batch: Vec<QueuedJob>, _permit: OwnedSemaphorePermit) {
    let now = Instant::now();
    let (in_time, overdue_jobs): (Vec<QueuedJob>, Vec<_>) =
        batch.into_iter().partition(|job| now < job.deadline);
    for job in overdue_jobs {
        job.answer.send(Err(NotAccepted::not_written(AcceptError::Overdue))).ok();
    }
    if in_time.is_empty() {
        return;
    }
    let (new, answers): (Vec<NewJob>, Vec<_>) = in_time.into_iter().map(|job| (job.new, job.answer)).unzip();
    // Jobs whose clients have disconnected are written, too: see "Cancel safety" of `create`.
    match store.create_all(&new).await {
        Ok(written) => {
            for (written, answer) in written.into_iter().zip(answers) {
                answer.send(written.map_err(NotAccepted::unknown)).ok();
            }
        }
        Err(error) => {
            let error = AcceptError::from(error);
            for answer in answers {
                answer.send(Err(NotAccepted::unknown(error.clone()))).ok();
            }
        }
    }
}
