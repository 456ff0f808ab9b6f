//! Begins and finishes a result: the steps of a worker between the claim of a job and its commit.

use std::time::Duration;

use bson::{DateTime, Document, doc};
use chrono::Utc;
use export_core::JobId;
use export_core::job::{Fence, Job, JobState, Progress};
use export_core::result::{ResultState, WrittenResult, is_void};
use export_core::rules::result::ResultTransition;
use export_mongo::StoreError;
use export_mongo::documents::set;
use export_mongo::server_errors::is_duplicate;
use mongodb::Collection;
use mongodb::options::{AggregateOptions, FindOptions, ReturnDocument};

use super::compare_and_set::{changes, filter};
use super::{FinishedResult, GivenOfResult, read_finished, without_objects};
use crate::jobs::JobStore;
use crate::jobs::document::{state_of, to_chrono};

/// Attempts to begin a result. An attempt fails if another worker has changed a result of the same
/// key meanwhile.
const BEGIN_TRIES: u32 = 8;
/// Attempts to finish: the first, one after the replaced result was retired, and the rest for
/// concurrent changes.
const FINISH_TRIES: u32 = 4;

/// The next step of the holder of a claim.
#[derive(Debug)]
pub enum NextStep {
    /// Write the result that this claim has begun.
    Write(Writing),
    /// Commit with this result: the result of an earlier attempt of the same job, or the current
    /// result, which the job shares.
    Use(Box<FinishedResult>),
    /// Compare the source with this current result of another job, which the job can share if the
    /// source is as it was; then call [`JobStore::mark_checked`], or [`JobStore::begin_result`]
    /// with this result as the outdated one.
    Compare(Box<Comparison>),
    /// Give the job back for a while ([`JobStore::wait_for_result`]), because another job writes
    /// the result of the same export.
    Wait,
}

/// A result that a job can share if the source is as it was when the result was begun.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The result.
    pub result: FinishedResult,
    /// The epoch of the claim that wrote it.
    pub epoch: i64,
    /// The server's time before the look at the source.
    pub looked_at: chrono::DateTime<Utc>,
}

/// Proof that a claim has begun its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writing {
    /// The claim.
    pub fence: Fence,
    /// Id and epoch of the result that was current when this one was begun, and that this one
    /// replaces. Only one result of a key is written at a time, so no other one can be current when
    /// this one is finished.
    pub replaces: Option<(String, i64)>,
}

/// The results that a claimed job may be able to use.
#[derive(Debug)]
struct Candidates {
    /// The job's own result.
    own: Option<Document>,
    /// The current result of the job's share key.
    current: Option<Document>,
}

impl JobStore {
    /// Begins the result of a claimed job, unless a finished result exists for it or another job
    /// writes one. The result `outdated` is not shared: its caller has found that the source has
    /// changed since.
    pub async fn begin_result(
        &self,
        job: &Job,
        fence: &Fence,
        outdated: Option<JobId>,
    ) -> Result<NextStep, StoreError> {
        for _ in 0..BEGIN_TRIES {
            let candidates = self.load_candidates(job).await?;
            if let Some(step) = self.step_with_result(job, &candidates, outdated).await? {
                return Ok(step);
            }
            if self.insert_writing_result(job, fence).await? {
                return self.decide_after_begin(job, fence, outdated).await;
            }
            if self.is_written_by_another(job).await? {
                return Ok(NextStep::Wait);
            }
        }
        // Contended: the job waits, and its next claim looks again. If this claim was lost, giving
        // the job back fails, so nothing changes.
        Ok(NextStep::Wait)
    }

    /// The next step after the job's own WRITING result was inserted. Reads again, now that no
    /// other result of the key can be begun: another worker may have finished one since the last
    /// read.
    async fn decide_after_begin(
        &self,
        job: &Job,
        fence: &Fence,
        outdated: Option<JobId>,
    ) -> Result<NextStep, StoreError> {
        let candidates = Candidates { own: None, ..self.load_candidates(job).await? };
        if let Some(step) = self.step_with_result(job, &candidates, outdated).await? {
            self.remove_result(&fence.job_id.to_string(), fence.epoch).await?;
            return Ok(step);
        }
        let replaces = candidates.current.as_ref().and_then(id_and_epoch);
        Ok(NextStep::Write(Writing { fence: fence.clone(), replaces }))
    }

    /// The job's own result and the current result of its key, read from the primary, where the
    /// unique indexes are enforced.
    async fn load_candidates(&self, job: &Job) -> Result<Candidates, StoreError> {
        let own_id = job.id.to_string();
        let mut filters = vec![doc! { "_id": &own_id }];
        if let Some(key) = &job.share_key {
            filters.push(doc! { "tenant": job.tenant.as_str(), "shareKey": key, "current": true });
        }
        let (results, options) =
            (self.results.with_local_reads(), FindOptions::builder().projection(without_objects()).build());
        let found = results.find("look for a job's result", doc! { "$or": filters }, options).await?;
        let is_own = |result: &Document| result.get_str("_id").is_ok_and(|id| id == own_id);
        let (mut own, mut current): (Vec<_>, Vec<_>) = found.into_iter().partition(is_own);
        Ok(Candidates { own: own.pop(), current: current.pop() })
    }

    /// The next step if there is a result that the job can be committed with, at once or after a
    /// look at the source.
    async fn step_with_result(
        &self,
        job: &Job,
        candidates: &Candidates,
        outdated: Option<JobId>,
    ) -> Result<Option<NextStep>, StoreError> {
        let is_finished =
            |own: &&Document| own.get_str("state").is_ok_and(|state| state == ResultState::Finished.as_str());
        if let Some(own) = candidates.own.as_ref().filter(is_finished) {
            let id = job.id.to_string();
            // An expired result is written again.
            let expired =
                self.change_result(&id, ResultTransition::Expire, &GivenOfResult::default()).await?;
            return if expired.is_some() {
                Ok(None)
            } else {
                read_finished(own.clone()).map(|own| Some(NextStep::Use(Box::new(own))))
            };
        }
        let Some((id, epoch)) = candidates.current.as_ref().and_then(id_and_epoch) else { return Ok(None) };
        if outdated.is_some_and(|outdated| outdated.to_string() == id) {
            return Ok(None);
        }
        let created_at = DateTime::from_millis(job.created_at.timestamp_millis());
        let fresh_since = job.request.fresh.then_some(created_at);
        let given = GivenOfResult { fresh_since, created_at: Some(created_at), ..GivenOfResult::default() };
        let named = doc! { "_id": id, "epoch": epoch };
        if let Some((result, _)) = self.result_for(ResultTransition::Share, &given, &named).await? {
            return Ok(Some(NextStep::Use(Box::new(result))));
        }
        let comparable = self.result_for(ResultTransition::Compare, &given, &named).await?;
        Ok(comparable
            .map(|(result, looked_at)| NextStep::Compare(Box::new(Comparison { result, epoch, looked_at }))))
    }

    /// The named result, if the rule holds for it, and the server's time.
    async fn result_for(
        &self,
        transition: ResultTransition,
        given: &GivenOfResult<'_>,
        named: &Document,
    ) -> Result<Option<(FinishedResult, chrono::DateTime<Utc>)>, StoreError> {
        let mut wanted = named.clone();
        wanted.extend(filter(transition.rule(), given));
        let stages = vec![
            doc! { "$match": wanted },
            doc! { "$unset": "objects" },
            doc! { "$set": { "now": "$$NOW" } },
        ];
        let (results, options) = (self.results.with_local_reads(), AggregateOptions::default());
        let found = results.aggregate("look for a result to share", stages, options).await?;
        let Some(found) = found.into_iter().next() else { return Ok(None) };
        let now = *found.get_datetime("now").map_err(|_| StoreError::Corrupt("no time".to_owned()))?;
        Ok(Some((read_finished(found)?, to_chrono(now))))
    }

    /// Stores that the source is as it was when the result was begun, at the time of the look. Then
    /// jobs that were created before it share the result without a look of their own.
    pub async fn mark_checked(&self, comparison: &Comparison) -> Result<(), StoreError> {
        let Comparison { result, epoch, looked_at } = comparison;
        let looked_at = Some(DateTime::from_millis(looked_at.timestamp_millis()));
        let given = GivenOfResult { epoch: *epoch, looked_at, ..GivenOfResult::default() };
        self.change_result(&result.id.to_string(), ResultTransition::Check, &given).await.map(drop)
    }

    /// Inserts the job's own WRITING result, or changes the result of an earlier attempt into it;
    /// returns whether it did. `false`: the upsert has violated a unique index. Either another
    /// result of the key is WRITING; or the job's own result exists and the rule does not allow the
    /// change, because it is FINISHED or a later claim has begun it.
    async fn insert_writing_result(&self, job: &Job, fence: &Fence) -> Result<bool, StoreError> {
        let rule = ResultTransition::Begin.rule();
        let given = GivenOfResult { epoch: fence.epoch, owner: &fence.owner, ..GivenOfResult::default() };
        let mut own = doc! { "_id": fence.job_id.to_string() };
        own.extend(filter(rule, &given));
        let mut changes = changes(rule, &given);
        changes.insert("tenant", doc! { "$literal": job.tenant.as_str() });
        let share_key = job.share_key.as_ref().map(|key| doc! { "$literal": key });
        changes.insert("shareKey", share_key);
        match self.results.upsert("begin a result", own, set(changes), doc! { "_id": 1 }).await {
            Err(error) if is_duplicate(&error) => Ok(false),
            outcome => outcome.map(|_| true),
        }
    }

    /// Whether another job writes the result of the same key. Removes that result if it is void.
    async fn is_written_by_another(&self, job: &Job) -> Result<bool, StoreError> {
        let Some(key) = &job.share_key else { return Ok(false) };
        let writing = doc! {
            "tenant": job.tenant.as_str(),
            // The same type as in the index.
            "shareKey": { "$eq": key, "$type": "string" },
            "state": ResultState::Writing.as_str(),
            "_id": { "$ne": job.id.to_string() },
        };
        let results = self.results.with_local_reads();
        let found =
            results.find_one("look for the result of the same export", writing, doc! { "epoch": 1 }).await?;
        let Some((id, epoch)) = found.as_ref().and_then(id_and_epoch) else { return Ok(false) };
        if !is_void(epoch, self.state_and_epoch(&id).await?) {
            return Ok(true);
        }
        self.remove_result(&id, epoch).await?;
        Ok(false)
    }

    async fn state_and_epoch(&self, job_id: &str) -> Result<Option<(JobState, i64)>, StoreError> {
        let (jobs, projection) = (self.jobs.with_local_reads(), doc! { "state": 1, "epoch": 1 });
        let found = jobs.find_one("look at the job of a result", doc! { "_id": job_id }, projection).await?;
        let state = |job: Document| Ok((state_of(&job)?, job.get_i64("epoch").unwrap_or_default()));
        found.map(state).transpose()
    }

    /// Finishes a result, to be kept for `retention`. From now on other jobs share it. `None` if
    /// the claim no longer holds the result; then the objects belong to no job.
    pub async fn finish_result(
        &self,
        writing: &Writing,
        written: &WrittenResult,
        progress: &Progress,
        retention: Duration,
    ) -> Result<Option<FinishedResult>, StoreError> {
        let Writing { fence, replaces } = writing;
        let given = GivenOfResult {
            epoch: fence.epoch,
            owner: &fence.owner,
            written: Some((written, progress)),
            retention,
            ..GivenOfResult::default()
        };
        let id = fence.job_id.to_string();
        for _ in 0..FINISH_TRIES {
            match self.change_result(&id, ResultTransition::Finish, &given).await {
                Ok(Some(finished)) => return read_finished(finished).map(Some),
                Ok(None) => return self.finished_before(&id, written).await,
                // A current result still exists: the one that was not fresh enough for this job.
                Err(error) if is_duplicate(&error) => {
                    let Some((replaced, epoch)) = replaces else { return Err(error) };
                    let given = GivenOfResult { epoch: *epoch, ..GivenOfResult::default() };
                    self.change_result(replaced, ResultTransition::Retire, &given).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Contended("the current result of an export"))
    }

    /// The driver may have repeated a change after a lost answer: then the first change finished
    /// the result.
    async fn finished_before(
        &self,
        id: &str,
        written: &WrittenResult,
    ) -> Result<Option<FinishedResult>, StoreError> {
        let filter = doc! { "_id": id, "uri": &written.result.export_uri };
        let found = self.results.find_one("read a result", filter, without_objects()).await?;
        found.map(read_finished).transpose()
    }

    /// Removes a WRITING result of this epoch, if it still exists.
    pub(crate) async fn remove_result(&self, id: &str, epoch: i64) -> Result<bool, StoreError> {
        let given = GivenOfResult { epoch, ..GivenOfResult::default() };
        let mut removable = doc! { "_id": id };
        removable.extend(filter(ResultTransition::Remove.rule(), &given));
        let remove = |results: Collection<Document>| async move { results.delete_one(removable).await };
        Ok(self.results.run("remove a void result", remove).await?.deleted_count > 0)
    }

    /// Changes one result if the rule holds; returns the document afterwards.
    async fn change_result(
        &self,
        id: &str,
        transition: ResultTransition,
        given: &GivenOfResult<'_>,
    ) -> Result<Option<Document>, StoreError> {
        let rule = transition.rule();
        let mut changeable = doc! { "_id": id };
        changeable.extend(filter(rule, given));
        let change = set(changes(rule, given));
        self.results
            .run("change a result", |results| async move {
                let changed = results.find_one_and_update(changeable, change).projection(without_objects());
                changed.return_document(ReturnDocument::After).await
            })
            .await
    }
}

fn id_and_epoch(result: &Document) -> Option<(String, i64)> {
    Some((result.get_str("_id").ok()?.to_owned(), result.get_i64("epoch").ok()?))
}
