//! What collections have in a range, as a digest: two equal digests mean that no hour document was
//! added or removed in between.
//!
//! The server answers from the index of `_id` alone and reads no document, so a look costs much
//! less than an export. It does not see a document that was changed in place: hour documents have
//! no time of their last write.

use bson::{Document, doc};
use export_core::digest::sha256_hex;
use export_core::{Parameter, TimeRange, VehicleId};
use export_mongo::StoreError;
use export_mongo::client::OPERATION as OPERATION_TIME;
use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::options::Hint;

use crate::vehicles::VehicleDatabases;

/// Collections that are looked at concurrently.
const CONCURRENT_LOOKS: usize = 8;

impl VehicleDatabases {
    /// The digest of these collections: how many documents each has with an `_id` in `ids`, and the
    /// sum of these `_id`s.
    pub async fn state_of(
        &self,
        collections: &[(VehicleId, Parameter)],
        ids: TimeRange,
    ) -> Result<String, StoreError> {
        let looks = stream::iter(collections.to_vec())
            .map(|(vehicle, parameter)| async move { self.look_at(&vehicle, &parameter, ids).await });
        let lines: Vec<String> = looks.buffered(CONCURRENT_LOOKS).try_collect().await?;
        Ok(sha256_hex(lines.concat()))
    }

    /// One line: the collection, the number of its documents and the sum of their `_id`s.
    async fn look_at(
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
        let look = async move {
            let found =
                collection.aggregate(stages).hint(Hint::Keys(doc! { "_id": 1 })).max_time(OPERATION_TIME);
            found.await?.try_next().await
        };
        let read = self.throttle().begin(0).await;
        let found: Option<Document> = read.run("look at a collection", look).await?;
        let figure = |name| found.as_ref().and_then(|found| found.get(name)).map(ToString::to_string);
        let [count, ids] = ["count", "ids"].map(|name| figure(name).unwrap_or_default());
        Ok(format!("{vehicle}\u{0}{parameter}\u{0}{count}\u{0}{ids}\n"))
    }
}
