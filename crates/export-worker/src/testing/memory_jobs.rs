//! Jobs in memory, under the rules of [`export_core::rules`].

use export_model::applied::{ApplyToJob, Input, Record};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use export_core::JobId;
use export_core::job::{Failure, Fence, Job, JobState, Progress};
use export_core::result::WrittenResult;
use export_core::rules::Transition;
use export_store::{
    BackOff, Claim, Claimability, Comparison, FinishedResult, Held, NextStep, StoreError, Writing,
};

use super::TestClock;
use super::faults::Faults;
use super::memory_results::MemoryResults;
use super::memory_slots::millis;
use crate::job_operations::JobOperations;

/// A job store in memory: one lock per call makes each change a compare-and-set.
#[derive(Debug)]
pub(crate) struct MemoryJobs {
    clock: TestClock,
    state: Mutex<State>,
    pub(crate) faults: Faults,
}

#[derive(Debug, Default)]
struct State {
    jobs: BTreeMap<JobId, StoredJob>,
    results: MemoryResults,
    dead_letters: Vec<(Vec<u8>, String)>,
}

/// A job: what rules read, and the data that workers get with a claim.
#[derive(Debug)]
struct StoredJob {
    record: Record<String>,
    job: Job,
}

/// What a test may see of a job.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) state: JobState,
    pub(crate) attempts: u32,
    pub(crate) uri: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) is_waiting: bool,
    /// Time until the job is due, in milliseconds; 0 once it is.
    pub(crate) due_in_ms: i64,
}

impl MemoryJobs {
    pub(crate) fn new(clock: TestClock) -> Self {
        Self { clock, state: Mutex::default(), faults: Faults::default() }
    }

    /// Adds a job as the API creates it; its message was published.
    pub(crate) fn add(&self, job: Job) {
        let mut record = Record::new(job.max_attempts, self.clock.now_ms());
        Transition::MarkPublished.rule().apply(&mut record, &self.input());
        self.state().jobs.insert(job.id, StoredJob { record, job });
    }

    pub(crate) fn see(&self, job_id: JobId) -> Seen {
        let state = self.state();
        let record = &state.jobs[&job_id].record;
        Seen {
            state: record.state,
            attempts: record.attempts,
            uri: record.result.clone(),
            error: record.error.clone(),
            is_waiting: record.is_waiting,
            due_in_ms: (record.run_after_ms - self.clock.now_ms()).max(0),
        }
    }

    /// Applies a transition that is not a worker's, such as a client's or the sweeper's.
    pub(crate) fn apply(&self, job_id: JobId, transition: Transition) {
        let input = self.input();
        let mut state = self.state();
        let record = &mut state.jobs.get_mut(&job_id).expect("a job").record;
        let epoch = record.epoch;
        assert!(transition.rule().apply(record, &Input { epoch, ..input }), "{transition:?}: {record:?}");
    }

    /// The job has lost this many workers.
    pub(crate) fn lose_workers(&self, job_id: JobId, count: u32) {
        self.state().jobs.get_mut(&job_id).expect("a job").record.lost_workers = count;
    }

    /// Gives the job to another worker, as after a lost lease.
    pub(crate) fn steal(&self, job_id: JobId) {
        let mut state = self.state();
        let record = &mut state.jobs.get_mut(&job_id).expect("a job").record;
        record.lease_until_ms = Some(self.clock.now_ms() - 1);
        let thief = Input { owner: "thief".to_owned(), ..self.input() };
        assert!(Transition::ReleaseLost.rule().apply(record, &thief), "{record:?}");
        assert!(Transition::Claim.rule().apply(record, &thief), "{record:?}");
    }

    /// The last claim begins the job's result, as another worker does after it took the job.
    pub(crate) fn begin_anew(&self, job_id: JobId) {
        let State { jobs, results, .. } = &mut *self.state();
        let StoredJob { record, job } = &jobs[&job_id];
        let fence = Fence { job_id, epoch: record.epoch, owner: record.owner.clone().expect("an owner") };
        let begun = results.begin(job, &fence, self.clock.now_ms(), None, |_| None).expect("an answer");
        assert!(matches!(begun, NextStep::Write(_)), "{begun:?}");
    }

    pub(crate) fn dead_letters(&self) -> Vec<(Vec<u8>, String)> {
        self.state().dead_letters.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    fn input(&self) -> Input<String> {
        Input {
            now_ms: self.clock.now_ms(),
            epoch: 0,
            owner: String::new(),
            is_alone: false,
            result: String::new(),
            expires_at_ms: None,
            error: String::new(),
            lease_ms: 0,
            back_off_ms: 0,
            wait_ms: 0,
            patience_ms: 0,
        }
    }

    fn fenced(&self, fence: &Fence) -> Input<String> {
        Input { epoch: fence.epoch, owner: fence.owner.clone(), ..self.input() }
    }

    fn failed(&self, fence: &Fence, failure: &Failure) -> Input<String> {
        Input { error: failure.code.clone(), ..self.fenced(fence) }
    }

    /// Makes one change by the holder of a claim.
    async fn change(
        &self,
        operation: &'static str,
        fence: &Fence,
        transition: Transition,
        input: Input<String>,
    ) -> Result<Held, StoreError> {
        self.faults.call(operation, || Ok(self.change_now(fence, transition, &input))).await
    }

    fn change_now(&self, fence: &Fence, transition: Transition, input: &Input<String>) -> Held {
        let mut state = self.state();
        let Some(stored) = state.jobs.get_mut(&fence.job_id) else { return Held::Lost };
        if transition.rule().apply(&mut stored.record, input) {
            return Held::Done;
        }
        let record = &stored.record;
        let is_held = (record.state, record.epoch, record.owner.as_ref())
            == (JobState::Started, fence.epoch, Some(&fence.owner));
        match (is_held, record.cancel_requested) {
            (true, true) => Held::CancelRequested,
            (true, false) if transition == Transition::Commit => Held::ResultExpired,
            (true, false) if transition == Transition::Postpone => Held::PatienceOver,
            _ => Held::Lost,
        }
    }

    fn claimability_now(&self, job_id: JobId) -> Claimability {
        let state = self.state();
        let Some(StoredJob { record, .. }) = state.jobs.get(&job_id) else { return Claimability::Unknown };
        let (input, due_for_ms) = (self.input(), self.clock.now_ms() - record.run_after_ms);
        let may_claim =
            |is_alone| Transition::Claim.rule().holds(record, &Input { is_alone, ..input.clone() });
        match record.state {
            JobState::NotStarted if may_claim(false) => Claimability::Claimable,
            JobState::NotStarted if may_claim(true) => Claimability::ClaimableAlone {
                due_for: Duration::from_millis(due_for_ms.try_into().expect("it is due")),
            },
            JobState::NotStarted => Claimability::NotDue { is_published: record.published_at_ms.is_some() },
            state => Claimability::NotAvailable(state),
        }
    }

    fn claim_now(&self, job_id: JobId, owner: &str, is_alone: bool, lease: Duration) -> Claim {
        let lease_ms = millis(lease);
        let input = Input { owner: owner.to_owned(), is_alone, lease_ms, ..self.input() };
        if let Some(stored) = self.state().jobs.get_mut(&job_id)
            && Transition::Claim.rule().apply(&mut stored.record, &input)
        {
            let Record { state, epoch, attempts, .. } = stored.record;
            let job = Job { state, epoch, attempts, ..stored.job.clone() };
            return Claim::Claimed(Box::new(job), Fence { job_id, epoch, owner: owner.to_owned() });
        }
        Claim::Refused(self.claimability_now(job_id))
    }
}

#[async_trait]
impl JobOperations for MemoryJobs {
    async fn claimability(&self, job_id: JobId) -> Result<Claimability, StoreError> {
        self.faults.call("claimability", || Ok(self.claimability_now(job_id))).await
    }

    async fn claim(&self, job_id: JobId, owner: &str, lease: Duration) -> Result<Claim, StoreError> {
        self.faults.call("claim", || Ok(self.claim_now(job_id, owner, false, lease))).await
    }

    async fn claim_alone(&self, job_id: JobId, owner: &str, lease: Duration) -> Result<Claim, StoreError> {
        self.faults.call("claim_alone", || Ok(self.claim_now(job_id, owner, true, lease))).await
    }

    async fn begin_result(
        &self,
        job: &Job,
        fence: &Fence,
        outdated: Option<JobId>,
    ) -> Result<NextStep, StoreError> {
        self.faults
            .call("begin_result", || {
                let State { jobs, results, .. } = &mut *self.state();
                let state_and_epoch = |id| jobs.get(&id).map(|job| (job.record.state, job.record.epoch));
                results.begin(job, fence, self.clock.now_ms(), outdated, state_and_epoch)
            })
            .await
    }

    async fn mark_checked(&self, comparison: &Comparison) -> Result<(), StoreError> {
        self.faults
            .call("mark_checked", || {
                self.state().results.mark_checked(comparison);
                Ok(())
            })
            .await
    }

    async fn wait_for_result(&self, fence: &Fence, wait: Duration) -> Result<Held, StoreError> {
        let input = Input { wait_ms: millis(wait), ..self.fenced(fence) };
        self.change("wait_for_result", fence, Transition::WaitForResult, input).await
    }

    async fn heartbeat(&self, fence: &Fence, lease: Duration, _: &Progress) -> Result<Held, StoreError> {
        let input = Input { lease_ms: millis(lease), ..self.fenced(fence) };
        let held = self.change("heartbeat", fence, Transition::Heartbeat, input).await?;
        let is_cancelled = self.state().jobs[&fence.job_id].record.cancel_requested;
        Ok(if held == Held::Done && is_cancelled { Held::CancelRequested } else { held })
    }

    async fn finish_result(
        &self,
        writing: &Writing,
        written: &WrittenResult,
        progress: &Progress,
        retention: Duration,
    ) -> Result<Option<FinishedResult>, StoreError> {
        self.faults
            .call("finish_result", || {
                let State { jobs, results, .. } = &mut *self.state();
                let job = &jobs[&writing.fence.job_id].job;
                results.finish(job, writing, written, progress, retention, self.clock.now_ms())
            })
            .await
    }

    async fn commit(&self, fence: &Fence, result: &FinishedResult) -> Result<Held, StoreError> {
        let uri = result.result.export_uri.clone();
        let input = Input {
            result: uri.clone(),
            expires_at_ms: result.expires_at.as_ref().map(DateTime::timestamp_millis),
            ..self.fenced(fence)
        };
        let held = self.change("commit", fence, Transition::Commit, input).await?;
        // A repeated commit finds the result of the first one.
        let is_committed = self.state().jobs[&fence.job_id].record.result == Some(uri);
        Ok(if is_committed { Held::Done } else { held })
    }

    async fn release(&self, fence: &Fence, back_off: BackOff, failure: &Failure) -> Result<Held, StoreError> {
        let attempts = self.see(fence.job_id).attempts;
        let bound = i64::try_from(back_off.policy.bound_ms(attempts)).expect("a short wait");
        let input = Input { back_off_ms: bound, ..self.failed(fence, failure) };
        self.change("release", fence, Transition::Release, input).await
    }

    async fn postpone(
        &self,
        fence: &Fence,
        back_off: BackOff,
        patience: Duration,
        failure: &Failure,
    ) -> Result<Held, StoreError> {
        let back_off_ms = i64::try_from(back_off.policy.first_wait_ms).expect("a short wait");
        let input = Input { back_off_ms, patience_ms: millis(patience), ..self.failed(fence, failure) };
        self.change("postpone", fence, Transition::Postpone, input).await
    }

    async fn hand_over(&self, fence: &Fence, failure: &Failure) -> Result<Held, StoreError> {
        self.change("hand_over", fence, Transition::HandOver, self.failed(fence, failure)).await
    }

    async fn fail(&self, fence: &Fence, failure: &Failure) -> Result<Held, StoreError> {
        self.change("fail", fence, Transition::Fail, self.failed(fence, failure)).await
    }

    async fn cancel_running(&self, fence: &Fence) -> Result<Held, StoreError> {
        self.change("cancel_running", fence, Transition::CancelRunning, self.fenced(fence)).await
    }

    async fn keep_dead_letter(&self, body: Vec<u8>, reason: &str) -> Result<(), StoreError> {
        self.faults
            .call("keep_dead_letter", || {
                self.state().dead_letters.push((body, reason.to_owned()));
                Ok(())
            })
            .await
    }
}
