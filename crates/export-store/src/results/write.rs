//! Begins and finishes a result: the steps of a worker between the claim of a job and its commit.

use std::time::Duration;

use bson::{DateTime, Document, doc};
use export_core::job::{Fence, Job, JobState, Progress};
use export_core::result::{ResultState, WrittenResult, is_void};
use export_core::rules::result::ResultTransition;
use export_core::sharing::listing_of;
use export_mongo::StoreError;
use export_mongo::documents::set;
use export_mongo::server_errors::is_duplicate;
use mongodb::Collection;
use mongodb::options::{FindOptions, ReturnDocument};

use super::compare_and_set::{changes, filter};
use super::{FinishedResult, GivenOfResult, read_finished, without_objects};
use crate::jobs::JobStore;
use crate::jobs::document::state_of;

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
    /// Give the job back for a while ([`JobStore::wait_for_result`]), because another job writes
    /// the result of the same export.
    Wait,
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
    /// writes one.
    pub async fn begin_result(&self, job: &Job, fence: &Fence) -> Result<NextStep, StoreError> {
        for _ in 0..BEGIN_TRIES {
            // Read before the result is begun, and therefore before the source is read: a vehicle
            // that is added later gives the catalog another version.
            let version = self.catalog_version.trusted().await?;
            let version = version.as_deref();
            let candidates = self.load_candidates(job).await?;
            if let Some(result) = self.usable_result(job, &candidates, version).await? {
                return Ok(NextStep::Use(Box::new(result)));
            }
            if self.insert_writing_result(job, fence, version).await? {
                return self.decide_after_begin(job, fence, version).await;
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
        catalog_version: Option<&str>,
    ) -> Result<NextStep, StoreError> {
        let candidates = Candidates { own: None, ..self.load_candidates(job).await? };
        if let Some(result) = self.usable_result(job, &candidates, catalog_version).await? {
            self.remove_result(&fence.job_id.to_string(), fence.epoch).await?;
            return Ok(NextStep::Use(Box::new(result)));
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

    /// The result that the job can be committed with, if it has one.
    async fn usable_result(
        &self,
        job: &Job,
        candidates: &Candidates,
        catalog_version: Option<&str>,
    ) -> Result<Option<FinishedResult>, StoreError> {
        let is_finished =
            |own: &&Document| own.get_str("state").is_ok_and(|state| state == ResultState::Finished.as_str());
        if let Some(own) = candidates.own.as_ref().filter(is_finished) {
            let id = job.id.to_string();
            // An expired result is written again.
            let expired =
                self.change_result(&id, ResultTransition::Expire, &GivenOfResult::default()).await?;
            return if expired.is_some() { Ok(None) } else { read_finished(own.clone()).map(Some) };
        }
        let Some((id, epoch)) = candidates.current.as_ref().and_then(id_and_epoch) else { return Ok(None) };
        let fresh_since = job.request.fresh.then(|| DateTime::from_millis(job.created_at.timestamp_millis()));
        let given = GivenOfResult { fresh_since, catalog_version, ..GivenOfResult::default() };
        let mut is_usable = doc! { "_id": id, "epoch": epoch };
        is_usable.extend(filter(ResultTransition::Share.rule(), &given));
        let results = self.results.with_local_reads();
        let found = results.find_one("look for a result to share", is_usable, without_objects()).await?;
        found.map(read_finished).transpose()
    }

    /// Inserts the job's own WRITING result, or changes the result of an earlier attempt into it;
    /// returns whether it did. `false`: the upsert has violated a unique index. Either another
    /// result of the key is WRITING; or the job's own result exists and the rule does not allow the
    /// change, because it is FINISHED or a later claim has begun it.
    async fn insert_writing_result(
        &self,
        job: &Job,
        fence: &Fence,
        catalog_version: Option<&str>,
    ) -> Result<bool, StoreError> {
        let rule = ResultTransition::Begin.rule();
        let given = GivenOfResult {
            epoch: fence.epoch,
            owner: &fence.owner,
            listing: listing_of(&job.request, catalog_version),
            ..GivenOfResult::default()
        };
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
