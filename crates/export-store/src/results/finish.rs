//! Finishing a result.

use std::time::Duration;

use bson::doc;
use export_core::job::Progress;
use export_core::result::WrittenResult;
use export_core::rules::result::ResultTransition;

use super::{FinishedResult, GivenOfResult, Writing, read_finished, without_objects};
use crate::jobs::JobStore;
use export_mongo::StoreError;
use export_mongo::client::bounded;

/// Tries to finish: one, and one after the result that it replaces was retired. More are for other changes in between.
const TRIES: u32 = 4;

impl JobStore {
    /// Finishes a result, to be kept for `retention`. From now on other jobs share it. `None`: the result is no longer this claim's, and the objects
    /// belong to no job.
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
                // There is a current result still: the one that was not good enough for this job.
                Err(error) if error.is_duplicate() => {
                    let Some((replaced, epoch)) = replaces else { return Err(error) };
                    let seen = GivenOfResult { epoch: *epoch, ..GivenOfResult::default() };
                    self.change_result(replaced, ResultTransition::Retire, &seen).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Contended("the current result of an export"))
    }

    /// The driver may have repeated a change whose answer was lost: then the first one finished the result.
    async fn finished_before(
        &self,
        id: &str,
        written: &WrittenResult,
    ) -> Result<Option<FinishedResult>, StoreError> {
        let (results, wanted) = (self.results.clone(), doc! { "_id": id, "uri": &written.result.export_uri });
        let found =
            bounded(
                "read a result",
                async move { results.find_one(wanted).projection(without_objects()).await },
            );
        found.await?.map(read_finished).transpose()
    }
}
