//! The worker's side of the catalog: the lease, the list of vehicles, and the parameters of each
//! vehicle.

use std::collections::BTreeSet;
use std::time::Duration;

use bson::{Bson, DateTime, Document, doc};
use export_core::VehicleId;
use export_mongo::StoreError;
use export_mongo::clock::{after_now, millis};
use export_mongo::documents::set;
use export_mongo::lease::{Lease, released};
use export_mongo::server_errors::is_duplicate;
use mongodb::Collection;
use mongodb::options::FindOptions;

use super::{Catalog, CataloguedParameter, MARKER, VehicleLook};

/// Vehicles that one command adds or removes, so that each command stays within its time limit.
const BATCH: usize = 1_000;

/// Proof that this process holds the lease of the catalog, as of one refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogLease {
    owner: String,
    /// The server's time when the refresh began.
    since: DateTime,
}

/// What a refresh of the list of vehicles has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListChange {
    /// New vehicles, sorted by name.
    pub added: Vec<VehicleId>,
    /// Removed vehicles.
    pub gone: Vec<VehicleId>,
}

impl Catalog {
    /// Takes or renews the lease of the catalog; `None` while another worker has it.
    pub async fn take_lease(
        &self,
        owner: &str,
        length: Duration,
    ) -> Result<Option<CatalogLease>, StoreError> {
        let lease = Lease { owner, length };
        if let Some(taken) = self.try_take(lease).await? {
            return Ok(Some(taken));
        }
        // Before the first lease ever there is no document that could match.
        if self.create_marker().await? { self.try_take(lease).await } else { Ok(None) }
    }

    async fn try_take(&self, lease: Lease<'_>) -> Result<Option<CatalogLease>, StoreError> {
        let filter = doc! { "_id": MARKER, "$expr": lease.is_free_or_own() };
        let mut changes = lease.taken();
        changes.insert("lookedAt", "$$NOW");
        let taken = self.vehicles.change_one("take the lease of the catalog", filter, changes).await?;
        let since = taken.and_then(|marker| marker.get_datetime("lookedAt").ok().copied());
        Ok(since.map(|since| CatalogLease { owner: lease.owner.to_owned(), since }))
    }

    /// Creates the marker document; whether it was missing.
    async fn create_marker(&self) -> Result<bool, StoreError> {
        let create = |catalog: Collection<Document>| async move {
            let free = doc! { "$setOnInsert": released() };
            catalog.update_one(doc! { "_id": MARKER }, free).upsert(true).await
        };
        match self.vehicles.run("create the marker of the catalog", create).await {
            // Another worker created it at the same moment.
            Err(error) if is_duplicate(&error) => Ok(false),
            created => Ok(created?.upserted_id.is_some()),
        }
    }

    /// Releases the lease, so that another worker can take it at once. Does nothing when another
    /// worker has it.
    pub async fn release(&self, owner: &str) -> Result<(), StoreError> {
        let filter = doc! { "_id": MARKER, "owner": owner };
        let change = doc! { "$set": released() };
        self.vehicles.update_one("release the lease of the catalog", filter, change).await.map(drop)
    }

    /// Makes these the vehicles of the catalog. They were listed after `lease` was taken, and count
    /// as complete for the duration `trusted` from now.
    ///
    /// **Lost lease.** A worker that was suspended and has lost the lease meanwhile removes no
    /// vehicle that another worker has added since.
    pub async fn set_list(
        &self,
        lease: &CatalogLease,
        listed: &[VehicleId],
        trusted: Duration,
    ) -> Result<ListChange, StoreError> {
        let known = self.names().await?;
        let listed: BTreeSet<&str> = listed.iter().map(VehicleId::as_str).collect();
        let added: Vec<&str> = listed.iter().copied().filter(|name| !known.contains(*name)).collect();
        let gone: Vec<&str> =
            known.iter().map(String::as_str).filter(|name| !listed.contains(name)).collect();
        for names in added.chunks(BATCH) {
            self.add(lease, names).await?;
        }
        for names in gone.chunks(BATCH) {
            self.remove(lease, names).await?;
        }
        self.trust(lease, trusted).await?;
        // Invalid names were written by another program, and are removed now.
        let parsed = |names: Vec<&str>| names.into_iter().filter_map(|name| name.parse().ok()).collect();
        Ok(ListChange { added: parsed(added), gone: parsed(gone) })
    }

    async fn names(&self) -> Result<BTreeSet<String>, StoreError> {
        let options = FindOptions::builder().projection(doc! { "_id": 1 }).sort(doc! { "_id": 1 }).build();
        let filter = doc! { "_id": { "$ne": MARKER } };
        let found = self.vehicles.find("list the catalog's vehicles", filter, options).await?;
        Ok(found.iter().filter_map(|vehicle| vehicle.get_str("_id").ok().map(str::to_owned)).collect())
    }

    async fn add(&self, lease: &CatalogLease, names: &[&str]) -> Result<(), StoreError> {
        let since = lease.since;
        let documents: Vec<Document> =
            names.iter().map(|name| doc! { "_id": *name, "addedAt": since, "parameters": [] }).collect();
        // Another worker may have added them.
        self.vehicles.insert_missing("add vehicles to the catalog", documents).await
    }

    async fn remove(&self, lease: &CatalogLease, names: &[&str]) -> Result<(), StoreError> {
        let names: Vec<Bson> = names.iter().map(|name| (*name).into()).collect();
        let filter = doc! { "_id": { "$in": names }, "addedAt": { "$not": { "$gte": lease.since } } };
        let remove = |catalog: Collection<Document>| async move { catalog.delete_many(filter).await };
        self.vehicles.run("remove vehicles from the catalog", remove).await.map(drop)
    }

    async fn trust(&self, lease: &CatalogLease, trusted: Duration) -> Result<(), StoreError> {
        let filter = doc! { "_id": MARKER, "owner": &lease.owner };
        let change = set(doc! { "listedAt": "$$NOW", "trustedUntil": after_now(trusted) });
        self.vehicles.update_one("mark the catalog as complete", filter, change).await.map(drop)
    }

    /// Vehicles that were not examined within `age` before `lease` was taken: new ones first, then
    /// the stalest.
    pub async fn stalest(
        &self,
        lease: &CatalogLease,
        age: Duration,
        limit: i64,
    ) -> Result<Vec<VehicleId>, StoreError> {
        let fresh_from = DateTime::from_millis(lease.since.timestamp_millis().saturating_sub(millis(age)));
        let filter = doc! { "_id": { "$ne": MARKER }, "triedAt": { "$not": { "$gt": fresh_from } } };
        let oldest_first = FindOptions::builder().sort(doc! { "triedAt": 1 }).limit(limit);
        let options = oldest_first.projection(doc! { "_id": 1 }).build();
        let found = self.vehicles.find("find the stalest vehicles", filter, options).await?;
        Ok(found.iter().filter_map(|vehicle| vehicle.get_str("_id").ok()?.parse().ok()).collect())
    }

    /// Stores what examining a vehicle has found. `None`: the examination failed, and other
    /// vehicles are examined first. A vehicle that was removed meanwhile stays removed.
    pub async fn note(&self, vehicle: &VehicleId, look: Option<&VehicleLook>) -> Result<(), StoreError> {
        let mut change = doc! { "triedAt": "$$NOW" };
        if let Some(look) = look {
            let parameters: Vec<Document> = look.parameters.iter().map(parameter_document).collect();
            let first = look.parameters.iter().filter_map(|parameter| parameter.first_hour_ms).min();
            let last = look.parameters.iter().filter_map(|parameter| parameter.last_hour_ms).max();
            change.insert("refreshedAt", "$$NOW");
            // A literal, because names of parameters come from outside and must not be evaluated.
            change.insert("parameters", doc! { "$literal": parameters });
            change.insert("isWhole", look.is_whole);
            change.insert("firstHour", first.map(DateTime::from_millis));
            change.insert("lastHour", last.map(DateTime::from_millis));
        }
        let filter = doc! { "_id": vehicle.as_str() };
        self.vehicles.update_one("store the parameters of a vehicle", filter, set(change)).await.map(drop)
    }
}

fn parameter_document(parameter: &CataloguedParameter) -> Document {
    doc! {
        "name": parameter.parameter.as_str(),
        "types": &parameter.types,
        "firstHour": parameter.first_hour_ms.map(DateTime::from_millis),
        "lastHour": parameter.last_hour_ms.map(DateTime::from_millis),
    }
}
