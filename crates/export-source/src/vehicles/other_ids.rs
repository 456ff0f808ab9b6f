//! Finds the collections with documents that no export reads, because their `_id` is no number.
//!
//! An export reads ranges of times. MongoDB compares numbers with numbers only, so a document whose
//! `_id` is a date, an `ObjectId` or a text is in no range. From a dump such documents are read and
//! rejected; on a server there may be millions of them, so the manifest only says that they exist.
//!
//! **Cost.** One query for 50 collections of a vehicle, beside the query that lists them. It reads
//! at most one key of each collection's index of `_id`: numbers are one stretch of the index, and
//! what is before or behind them is a match.

use bson::{Document, doc};
use export_core::source::{UnreadCollection, UnreadReason};
use export_core::{Parameter, VehicleId, causes};
use export_mongo::StoreError;
use export_mongo::client::ON_SERVER;
use futures_util::TryStreamExt;
use tracing::warn;

use super::VehicleDatabases;
use crate::resume::is_resumable;

/// Collections that one query looks at. The server locks all of them for its time.
const COLLECTIONS_PER_QUERY: usize = 50;

impl VehicleDatabases {
    /// The collections of these parameters that have documents whose `_id` is no number.
    ///
    /// A server that refuses this query, as an old one may, is not a reason to fail: a line in the
    /// log says that these documents were not looked for.
    pub(super) async fn with_other_ids(
        &self,
        vehicle: &VehicleId,
        parameters: &[Parameter],
    ) -> Result<Vec<UnreadCollection>, StoreError> {
        let mut found = Vec::new();
        for chunk in parameters.chunks(COLLECTIONS_PER_QUERY) {
            match self.look_for_other_ids(vehicle, chunk).await {
                Ok(names) => found.extend(names),
                Err(error) if is_resumable(&error) => return Err(error),
                Err(error) => {
                    let error = causes(&error);
                    warn!(%vehicle, %error, "cannot search for documents whose _id is not a number");
                    break;
                }
            }
        }
        let unread = |name| UnreadCollection { name, reason: UnreadReason::OtherIds };
        Ok(found.into_iter().map(unread).collect())
    }

    async fn look_for_other_ids(
        &self,
        vehicle: &VehicleId,
        parameters: &[Parameter],
    ) -> Result<Vec<String>, StoreError> {
        let Some((first, others)) = parameters.split_first() else { return Ok(Vec::new()) };
        let mut stages = one_other_id(first).to_vec();
        stages.extend(others.iter().map(|parameter| {
            let pipeline = one_other_id(parameter).to_vec();
            doc! { "$unionWith": { "coll": parameter.as_str(), "pipeline": pipeline } }
        }));
        let collection = self.hours(vehicle, first).clone_with_type::<Document>();
        let read = self.throttle.begin(0).await;
        let asked = read.run("find documents whose _id is no number", async move {
            collection.aggregate(stages).max_time(ON_SERVER).await?.try_collect::<Vec<Document>>().await
        });
        let names = asked.await?;
        Ok(names.iter().filter_map(|one| one.get_str("name").ok().map(str::to_owned)).collect())
    }
}

/// One document with the name of the collection, if any of its `_id`s is no number. The negation
/// has bounds in the index, unlike a condition on the type.
fn one_other_id(parameter: &Parameter) -> [Document; 3] {
    [
        doc! { "$match": { "_id": { "$not": { "$gte": f64::NEG_INFINITY } } } },
        doc! { "$limit": 1 },
        doc! { "$project": { "_id": 0, "name": { "$literal": parameter.as_str() } } },
    ]
}
