//! The version of the catalog, which the worker that maintains it changes and the job store reads.

use bson::oid::ObjectId;
use bson::{Document, doc};
use mongodb::options::AggregateOptions;

use crate::client::MongoClient;
use crate::documents::{Documents, set};
use crate::error::StoreError;

/// The name of the catalog's collection in the jobs' database.
pub const CATALOG: &str = "catalog";
/// `_id` of the document about the catalog itself. No vehicle name contains a `/`.
pub const MARKER: &str = "/catalog";

/// The version of the catalog: a new one whenever a vehicle or a parameter is added or removed.
/// Versions are compared for equality only.
#[derive(Clone, Debug)]
pub struct CatalogVersion {
    catalog: Documents,
}

impl CatalogVersion {
    /// The version of the catalog in this database.
    pub fn new(mongo: &MongoClient, database: &str) -> Self {
        Self { catalog: Documents::new(mongo, database, CATALOG) }
    }

    /// The current version; `None` while the list of vehicles is not recent enough to be trusted.
    pub async fn trusted(&self) -> Result<Option<String>, StoreError> {
        let is_trusted = doc! { "$gt": ["$trustedUntil", "$$NOW"] };
        let stages = vec![
            doc! { "$match": { "_id": MARKER } },
            doc! { "$project": { "version": { "$cond": [is_trusted, "$version", null] } } },
        ];
        let catalog = self.catalog.with_local_reads();
        let found = catalog.aggregate("read the catalog's version", stages, AggregateOptions::default());
        let marker = found.await?.into_iter().next();
        Ok(marker.and_then(|marker| marker.get_str("version").ok().map(str::to_owned)))
    }

    /// Sets a new version. Call it before the catalog's documents change: after a crash in between,
    /// the next look changes them.
    pub async fn renew(&self) -> Result<(), StoreError> {
        self.renew_where(doc! { "_id": MARKER }).await
    }

    /// Sets the first version, if there is none.
    pub async fn ensure(&self) -> Result<(), StoreError> {
        self.renew_where(doc! { "_id": MARKER, "version": null }).await
    }

    async fn renew_where(&self, marker: Document) -> Result<(), StoreError> {
        let change = set(doc! { "version": ObjectId::new().to_hex() });
        self.catalog.update_one("set the catalog's version", marker, change).await.map(drop)
    }
}
