//! What the results of a tenant take in the bucket.

use bson::{DateTime, doc};
use chrono::Utc;
use export_core::Tenant;
use export_core::result::ResultState;
use export_mongo::StoreError;
use mongodb::options::{AggregateOptions, Hint};
use serde::Deserialize;

use crate::jobs::JobStore;
use crate::jobs::document::to_chrono;

/// The index that has all that the sum needs, so that no result is read.
pub(crate) const STORED_OF_TENANT: &str = "storedOfTenant";

/// A tenant's FINISHED results. A result that several jobs share counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoredResults {
    /// Sum of their bytes, as stored.
    pub bytes: u64,
    /// When the first of them expires; `None` if none does.
    pub first_expiry: Option<chrono::DateTime<Utc>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sum {
    bytes: i64,
    first_expiry: Option<DateTime>,
}

impl JobStore {
    /// What the tenant's results take. Reads one key of an index for each result.
    pub async fn stored_results(&self, tenant: &Tenant) -> Result<StoredResults, StoreError> {
        let finished = doc! { "tenant": tenant.as_str(), "state": ResultState::Finished.as_str() };
        let sum = doc! {
            "_id": null,
            "bytes": { "$sum": "$stats.bytes" },
            "firstExpiry": { "$min": "$expiresAt" },
        };
        let stages = vec![doc! { "$match": finished }, doc! { "$group": sum }];
        let hint = Hint::Name(STORED_OF_TENANT.to_owned());
        let options = AggregateOptions::builder().hint(hint).build();
        let found = self.results.aggregate("sum a tenant's stored bytes", stages, options).await?;
        let Some(sum) = found.into_iter().next() else { return Ok(StoredResults::default()) };
        let Sum { bytes, first_expiry } = bson::deserialize_from_document(sum)
            .map_err(|error| StoreError::Corrupt(format!("a sum of results: {error}")))?;
        let bytes = u64::try_from(bytes).unwrap_or(0);
        Ok(StoredResults { bytes, first_expiry: first_expiry.map(to_chrono) })
    }
}
