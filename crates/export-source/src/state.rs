//! What collections have in a range, as a digest: two equal digests mean that no hour document was
//! added or removed in between.
//!
//! The server answers from the index of `_id` alone and reads no document, so counting costs much
//! less than an export. It does not notice a document that was changed in place: hour documents
//! have no time of their last write.

use bson::{Document, doc};
use export_core::digest::sha256_hex;
use export_core::{Parameter, TimeRange, VehicleId, causes};
use export_mongo::StoreError;
use export_mongo::client::ON_SERVER;
use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::options::Hint;
use tracing::warn;

use crate::resume::{RetryBudget, is_out_of_time, is_resumable};
use crate::vehicles::VehicleDatabases;

/// Collections whose documents are counted concurrently.
const CONCURRENT_COUNTS: usize = 8;

impl VehicleDatabases {
    /// The digest of these collections: how many documents each has with an `_id` in `ids`, and the
    /// sum of these `_id`s. Calls `counted` after each collection.
    ///
    /// `None` if other servers than the primary are read: they may lag behind each other, so an
    /// equal digest would not mean that the documents that were read are all that there are.
    pub async fn state_of(
        &self,
        collections: impl Iterator<Item = (VehicleId, Parameter)> + Send,
        ids: TimeRange,
        counted: impl Fn() + Send + Sync,
    ) -> Result<Option<String>, StoreError> {
        if !self.throttle().read_from().is_primary() {
            return Ok(None);
        }
        let counts = stream::iter(collections).map(|(vehicle, parameter)| async move {
            self.count_with_retries(&vehicle, &parameter, ids).await
        });
        let digest = counts.buffered(CONCURRENT_COUNTS).try_fold(String::new(), |digest, line| {
            counted();
            std::future::ready(Ok(sha256_hex(digest + &line)))
        });
        digest.await.map(Some)
    }

    /// Counts with the same retries as reads of batches.
    async fn count_with_retries(
        &self,
        vehicle: &VehicleId,
        parameter: &Parameter,
        ids: TimeRange,
    ) -> Result<String, StoreError> {
        let mut retries = RetryBudget::new();
        loop {
            let error = match self.count_in(vehicle, parameter, ids).await {
                Err(error) if is_resumable(&error) => error,
                counted => return counted,
            };
            let Some(delay) = retries.delay_after_failure(fastrand::f64()) else { return Err(error) };
            let failed_tries = retries.failed();
            warn!(failed_tries, error = %causes(&error), "counting hour documents failed, retrying");
            tokio::time::sleep(delay).await;
        }
    }

    /// One line: the collection, the number of its documents and the sum of their `_id`s.
    async fn count_in(
        &self,
        vehicle: &VehicleId,
        parameter: &Parameter,
        ids: TimeRange,
    ) -> Result<String, StoreError> {
        let collection = self.hours(vehicle, parameter);
        let stages = [
            doc! { "$match": { "_id": { "$gte": ids.from_ms(), "$lt": ids.to_ms() } } },
            doc! { "$group": { "_id": null, "count": { "$sum": 1 }, "ids": { "$sum": "$_id" } } },
        ];
        let counting = async move {
            let found = collection.aggregate(stages).hint(Hint::Keys(doc! { "_id": 1 })).max_time(ON_SERVER);
            found.await?.try_next().await
        };
        let read = self.throttle().begin(0).await;
        let found: Result<Option<Document>, _> = read.run("count hour documents", counting).await;
        match &found {
            Err(error) if is_out_of_time(error) => read.timed_out(),
            // The reply is too small to measure the source by.
            _ => drop(read),
        }
        let found = found?;
        let figure = |name| found.as_ref().and_then(|found| found.get(name)).map(ToString::to_string);
        let [count, ids] = ["count", "ids"].map(|name| figure(name).unwrap_or_default());
        Ok(format!("{vehicle}\u{0}{parameter}\u{0}{count}\u{0}{ids}\n"))
    }
}
