//! Finishes a result.

use std::time::Duration;

use bson::doc;
use export_core::job::Progress;
use export_core::result::WrittenResult;
use export_core::rules::result::ResultTransition;
use export_mongo::StoreError;
use export_mongo::client::bounded;
use export_mongo::server_errors::{driver_error, is_duplicate};

use super::{FinishedResult, GivenOfResult, Writing, read_finished, without_objects};
use crate::jobs::JobStore;

/// Attempts to finish: the first, one after the replaced result was retired, and the rest for
/// concurrent changes.
const TRIES: u32 = 4;

impl JobStore {
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
        for _ in 0..TRIES {
            match self.change_result(&id, ResultTransition::Finish, &given).await {
                Ok(Some(finished)) => return read_finished(finished).map(Some),
                Ok(None) => return self.finished_before(&id, written).await,
                // A current result still exists: the one that was not fresh enough for this job.
                Err(error) if driver_error(&error).is_some_and(is_duplicate) => {
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
        let (results, filter) = (self.results.clone(), doc! { "_id": id, "uri": &written.result.export_uri });
        let found =
            bounded(
                "read a result",
                async move { results.find_one(filter).projection(without_objects()).await },
            );
        found.await?.map(read_finished).transpose()
    }
}
