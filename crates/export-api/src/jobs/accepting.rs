//! Jobs that are accepted at the same time are written together: what a write costs is the wait for a majority and its journals, and
//! that is the same for one job and for many. A job that comes while nothing is written goes at once; one that comes during a write
//! goes with the next.

use std::sync::Arc;
use std::time::Duration;

use export_core::job::NewJob;
use export_store::{Created, JobStore, StoreError, Written};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// Most jobs of one write: some hundred kilobytes.
const BATCH: usize = 64;
/// Writes at a time. While one waits for the journals, jobs gather for the next: with more at a time batches are smaller, and each costs
/// MongoDB what it costs however many jobs it has (docs/performance.md has the figures).
const WRITES: usize = 1;
/// Jobs that may wait for a write. Whoever comes then waits with its request, of which there is a bound, too.
const WAITING_JOBS: usize = 1_024;
/// How long a job may wait for the beginning of its write. Its client would not wait for much longer, and when MongoDB is slow, what
/// nobody waits for any more must not be in the way of the rest.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A store that could not do it, shared by all who asked for the same write.
type SharedError = Arc<StoreError>;

/// A job that was not accepted.
#[derive(Clone, Debug)]
pub struct NotAccepted {
    /// Why.
    pub error: SharedError,
    /// Whether it may be there all the same, since it is not known what came of its write.
    pub may_exist: bool,
}

impl NotAccepted {
    fn not_there(error: StoreError) -> Self {
        Self { error: Arc::new(error), may_exist: false }
    }

    fn unknown(error: SharedError) -> Self {
        Self { error, may_exist: true }
    }
}

/// Writes new jobs. Cheap to clone; ends when the last clone is gone.
#[derive(Clone, Debug)]
pub struct Acceptor {
    store: JobStore,
    jobs: mpsc::Sender<Waiting>,
}

/// A job that waits for its write.
#[derive(Debug)]
struct Waiting {
    new: NewJob,
    /// When it is too late to begin.
    deadline: Instant,
    answer: oneshot::Sender<Result<Written, NotAccepted>>,
}

impl Acceptor {
    /// Starts writing.
    pub fn start(store: &JobStore) -> Self {
        let (jobs, waiting) = mpsc::channel(WAITING_JOBS);
        tokio::spawn(write_jobs(store.clone(), waiting));
        Self { store: store.clone(), jobs }
    }

    /// Accepts a job. When this returns, the job survives whatever dies next.
    pub async fn create(&self, new: NewJob) -> Result<Created, NotAccepted> {
        let (tenant, idempotency) = (new.tenant.clone(), new.idempotency.clone());
        let deadline = Instant::now() + LONGEST_WAIT;
        match (written(&self.jobs, new, deadline).await?, idempotency) {
            (Written::New(job), _) => Ok(Created::New(*job)),
            // Looked up here and not with the write, so that no other job waits for it.
            (Written::KeyKnown, Some(idempotency)) => {
                let before = self.store.accepted_before(&tenant, &idempotency).await;
                before.map_err(NotAccepted::not_there)
            }
            (Written::KeyKnown, None) => {
                let what = "a new job was taken for another".to_owned();
                Err(NotAccepted::not_there(StoreError::Corrupt(what)))
            }
            (Written::Refused(error), _) => Err(NotAccepted::not_there(error)),
        }
    }
}

/// What came of one job's write.
async fn written(to: &mpsc::Sender<Waiting>, new: NewJob, deadline: Instant) -> Result<Written, NotAccepted> {
    let (answer, answered) = oneshot::channel();
    let ended = || StoreError::Contended("the writing of new jobs, which has ended");
    match timeout_at(deadline, to.send(Waiting { new, deadline, answer })).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => return Err(NotAccepted::not_there(ended())),
        Err(_) => return Err(overdue()),
    }
    answered.await.unwrap_or_else(|_| Err(NotAccepted::unknown(Arc::new(ended()))))
}

fn overdue() -> NotAccepted {
    NotAccepted::not_there(StoreError::Overdue("a new job waits to be written"))
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
    let now = Instant::now();
    let (in_time, late): (Vec<Waiting>, Vec<_>) = batch.into_iter().partition(|job| now < job.deadline);
    for job in late {
        job.answer.send(Err(overdue())).ok();
    }
    if in_time.is_empty() {
        return;
    }
    let (new, answers): (Vec<NewJob>, Vec<_>) = in_time.into_iter().map(|job| (job.new, job.answer)).unzip();
    // Who has stopped listening is no reason not to accept: see `create`.
    match store.create_all(&new).await {
        Ok(written) => {
            for (written, answer) in written.into_iter().zip(answers) {
                answer.send(written.map_err(|error| NotAccepted::unknown(Arc::new(error)))).ok();
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            for answer in answers {
                answer.send(Err(NotAccepted::unknown(Arc::clone(&error)))).ok();
            }
        }
    }
}
