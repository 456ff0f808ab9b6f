//! What the operator has set for each tenant, in the collection `tenants`: the vehicles that its
//! callers may see at most.

use bson::{Bson, DateTime, Document, doc};
use export_core::Tenant;
use export_core::access::{AllowedVehicles, VehiclePattern};
use export_mongo::StoreError;
use export_mongo::client::MongoClient;
use export_mongo::documents::Documents;
use mongodb::options::FindOptions;
use serde::Deserialize;

use crate::jobs::document::to_chrono;

/// Maximum number of tenants in a list: a few megabytes.
const MAX_LISTED: i64 = 10_000;

/// A tenant's ceiling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantCeiling {
    /// The tenant.
    pub tenant: Tenant,
    /// The vehicles that its callers may see at most.
    pub vehicles: AllowedVehicles,
    /// When it was set.
    pub changed_at: chrono::DateTime<chrono::Utc>,
}

/// The collection `tenants` of the jobs' database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TenantStore {
    tenants: Documents,
}

impl TenantStore {
    /// The tenants in this database.
    pub fn new(mongo: &MongoClient, database: &str) -> Self {
        Self { tenants: Documents::new(mongo, database, "tenants") }
    }

    /// Sets the vehicles that the callers of a tenant may see at most. Needs an administrator's
    /// rights.
    pub async fn set_ceiling(
        &self,
        tenant: &Tenant,
        vehicles: &AllowedVehicles,
    ) -> Result<TenantCeiling, StoreError> {
        let patterns = match vehicles {
            AllowedVehicles::All => Bson::Null,
            AllowedVehicles::Like(patterns) => patterns.iter().map(VehiclePattern::as_str).collect(),
        };
        let literal = doc! { "$literal": { "_id": tenant.as_str(), "vehicles": patterns } };
        let times = doc! { "changedAt": "$$NOW" };
        let pipeline = vec![doc! { "$replaceWith": { "$mergeObjects": [literal, times] } }];
        let filter = doc! { "_id": tenant.as_str() };
        read(self.tenants.upsert("set the vehicles of a tenant", filter, pipeline, doc! {}).await?)
    }

    /// The vehicles that the callers of this tenant may see at most; `None` if the operator has not
    /// set any, so that each caller may see what its key or token says.
    pub async fn ceiling(&self, tenant: &Tenant) -> Result<Option<AllowedVehicles>, StoreError> {
        let filter = doc! { "_id": tenant.as_str() };
        let found = self.tenants.find_one("look up a tenant", filter, doc! {}).await?;
        Ok(found.map(read).transpose()?.map(|found| found.vehicles))
    }

    /// All ceilings, by name of the tenant.
    pub async fn list(&self) -> Result<Vec<TenantCeiling>, StoreError> {
        let by_name = FindOptions::builder().sort(doc! { "_id": 1 }).limit(MAX_LISTED).build();
        self.tenants.find("list tenants", doc! {}, by_name).await?.into_iter().map(read).collect()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    #[serde(rename = "_id")]
    tenant: Tenant,
    /// Null for all vehicles. A document without the field is invalid, and not one for all.
    #[serde(deserialize_with = "Option::deserialize")]
    vehicles: Option<Vec<VehiclePattern>>,
    changed_at: DateTime,
}

fn read(document: Document) -> Result<TenantCeiling, StoreError> {
    let stored: Stored = bson::deserialize_from_document(document)
        .map_err(|error| StoreError::Corrupt(format!("tenant in tenants: {error}")))?;
    Ok(TenantCeiling {
        tenant: stored.tenant,
        vehicles: stored.vehicles.map_or(AllowedVehicles::All, AllowedVehicles::Like),
        changed_at: to_chrono(stored.changed_at),
    })
}
