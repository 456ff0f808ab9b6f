//! Writes hour documents for demonstrations. The services never write to a vehicle's database.

use bson::RawDocumentBuf;
use export_mongo::StoreError;
use export_mongo::client::{MongoClient, bounded};
use export_mongo::server_errors::are_all_duplicates;

/// Inserts the hour documents that do not exist yet. Existing documents are never changed.
pub async fn add_missing_hours(
    mongo: &MongoClient,
    vehicle_database: &str,
    parameter: &str,
    documents: Vec<RawDocumentBuf>,
) -> Result<(), StoreError> {
    let collection = mongo.client().database(vehicle_database).collection::<RawDocumentBuf>(parameter);
    bounded("insert hour documents", async move {
        match collection.insert_many(documents).ordered(false).await {
            Err(error) if are_all_duplicates(&error) => Ok(()),
            outcome => outcome.map(drop),
        }
    })
    .await
}
