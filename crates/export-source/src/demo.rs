//! Writes hour documents, for demonstrations only. The services never write to a vehicle's database.

use bson::RawDocumentBuf;
use export_mongo::StoreError;
use export_mongo::client::{MongoClient, bounded};
use export_mongo::server_errors::DUPLICATE_KEY;
use mongodb::error::{Error, ErrorKind};

/// Adds the hour documents that are not there yet; documents that are there stay as they are, whoever wrote them.
pub async fn add_missing_hours(
    mongo: &MongoClient,
    vehicle_database: &str,
    parameter: &str,
    documents: Vec<RawDocumentBuf>,
) -> Result<(), StoreError> {
    let collection = mongo.client().database(vehicle_database).collection::<RawDocumentBuf>(parameter);
    bounded("add hour documents", async move {
        match collection.insert_many(documents).ordered(false).await {
            Err(error) if are_all_duplicates(&error) => Ok(()),
            outcome => outcome.map(drop),
        }
    })
    .await
}

fn are_all_duplicates(error: &Error) -> bool {
    let ErrorKind::InsertMany(failure) = error.kind.as_ref() else { return false };
    let mut errors = failure.write_errors.iter().flatten();
    failure.write_concern_error.is_none() && errors.all(|error| error.code == DUPLICATE_KEY)
}
