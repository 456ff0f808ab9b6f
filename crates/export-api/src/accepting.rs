//! Jobs that are accepted at the same time are written together: what a write costs is the wait for a majority and its journals, and
//! that is the same for one job and for many. A job that comes alone does not wait for others.

use std::sync::Arc;

use export_core::JobId;
use export_core::causes;
use export_core::job::NewJob;
use export_mongo::{Created, JobStore, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::warn;

/// Most jobs of one write: some hundred kilobytes.
const BATCH: usize = 64;
/// Writes at a time: while one waits for the journals, the next can be prepared.
const WRITES: usize = 2;
/// Jobs that may wait for a write. Whoever comes then waits with its request, of which there is a bound, too.
const WAITING_JOBS: usize = 1_024;
/// Marks that may wait. What is too many is left to the sweeper, which publishes such a job once more.
const WAITING_MARKS: usize = 16_384;
/// Most marks of one write.
const MARKS: usize = 1_000;

/// A store that could not do it, shared by all who asked for the same write.
type SharedError = Arc<StoreError>;

/// Writes new jobs. Cheap to clone; ends when the last clone is gone.
#[derive(Clone, Debug)]
pub struct Acceptor {
    jobs: mpsc::Sender<Waiting>,
    marks: mpsc::Sender<(JobId, i64)>,
}

/// A job that waits for its write.
#[derive(Debug)]
struct Waiting {
    new: NewJob,
    answer: oneshot::Sender<Result<Created, SharedError>>,
}

impl Acceptor {
    /// Starts its tasks; the handle ends when all marks are written after the last clone is gone.
    pub fn start(store: &JobStore) -> (Self, JoinHandle<()>) {
        let (jobs, waiting) = mpsc::channel(WAITING_JOBS);
        let (marks, waiting_marks) = mpsc::channel(WAITING_MARKS);
        tokio::spawn(write_jobs(store.clone(), waiting));
        let marking = tokio::spawn(write_marks(store.clone(), waiting_marks));
        (Self { jobs, marks }, marking)
    }

    /// Accepts a job. When this returns, the job survives whatever dies next.
    pub async fn create(&self, new: NewJob) -> Result<Created, SharedError> {
        let (answer, answered) = oneshot::channel();
        let is_gone = || Arc::new(StoreError::Contended("the writing of new jobs, which has ended"));
        self.jobs.send(Waiting { new, answer }).await.map_err(|_| is_gone())?;
        answered.await.unwrap_or_else(|_| Err(is_gone()))
    }

    /// Notes, soon, that the broker has confirmed the message of a job that was seen at this epoch.
    pub fn mark_published(&self, job_id: JobId, epoch: i64) {
        if self.marks.try_send((job_id, epoch)).is_err() {
            warn!(job.id = %job_id, "too much to note: the job will be published once more");
        }
    }
}

async fn write_jobs(store: JobStore, mut waiting: mpsc::Receiver<Waiting>) {
    let writes = Arc::new(Semaphore::new(WRITES));
    loop {
        // First the place, then the jobs: while all places are taken, jobs gather.
        let Ok(place) = Arc::clone(&writes).acquire_owned().await else { return };
        let mut batch = Vec::with_capacity(BATCH);
        if waiting.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        tokio::spawn(write_batch(store.clone(), batch, place));
    }
}

async fn write_batch(store: JobStore, batch: Vec<Waiting>, _place: OwnedSemaphorePermit) {
    let (new, answers): (Vec<NewJob>, Vec<_>) = batch.into_iter().map(|job| (job.new, job.answer)).unzip();
    // Who has stopped listening is no reason not to accept: see `create`.
    match store.create_all(&new).await {
        Ok(created) => {
            for (created, answer) in created.into_iter().zip(answers) {
                answer.send(created.map_err(Arc::new)).ok();
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            for answer in answers {
                answer.send(Err(Arc::clone(&error))).ok();
            }
        }
    }
}

async fn write_marks(store: JobStore, mut waiting: mpsc::Receiver<(JobId, i64)>) {
    let mut batch = Vec::with_capacity(MARKS);
    while waiting.recv_many(&mut batch, MARKS).await > 0 {
        if let Err(error) = store.mark_all_published(&batch).await {
            let job_count = batch.len();
            warn!(job_count, error = %causes(&error), "messages are out, but that could not be noted");
        }
        batch.clear();
    }
}
