//! What provisioning a collection needs: the collection itself, and definitions of indexes.

use bson::Document;
use mongodb::options::IndexOptions;
use mongodb::{Database, IndexModel};

use crate::server_errors::{NAMESPACE_EXISTS, has_code};

/// Creates a collection unless it exists.
pub async fn create_collection(database: &Database, name: &str) -> Result<(), mongodb::error::Error> {
    match database.create_collection(name).await {
        Err(error) if !has_code(&error, NAMESPACE_EXISTS) => Err(error),
        _ => Ok(()),
    }
}

/// An index with this name over these keys.
pub fn index(name: &str, keys: Document) -> IndexModel {
    IndexModel::builder().keys(keys).options(IndexOptions::builder().name(name.to_owned()).build()).build()
}
