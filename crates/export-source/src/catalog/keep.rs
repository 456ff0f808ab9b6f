//! The worker's side: one keeper at a time, its list of vehicles, and what it found of each.

use std::collections::BTreeSet;
use std::time::Duration;

use bson::{Bson, DateTime, Document, doc};
use export_core::VehicleId;
use export_mongo::StoreError;
use export_mongo::client::bounded;
use export_mongo::clock::{after_now, millis};
use export_mongo::server_errors::DUPLICATE_KEY;
use futures_util::TryStreamExt;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::ReturnDocument;

use super::{Catalog, CataloguedParameter, MARKER, VehicleLook};

/// Vehicles that are added or removed by one command: small enough for its time limit, whatever their number.
const BATCH: usize = 1_000;

/// Proof of being the one that keeps the catalog, as of one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeping {
    owner: String,
    /// The server's time when the look began.
    since: DateTime,
}

/// What a look at the list of vehicles has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListChange {
    /// Vehicles that are new, by name.
    pub added: Vec<VehicleId>,
    /// Vehicles that are gone.
    pub gone: Vec<VehicleId>,
}

impl Catalog {
    /// Becomes the one that keeps the catalog, or stays it, for the length of a lease. `None`: another one keeps it.
    pub async fn keep(&self, owner: &str, lease: Duration) -> Result<Option<Keeping>, StoreError> {
        if let Some(keeping) = self.take_lease(owner, lease).await? {
            return Ok(Some(keeping));
        }
        // The first time ever there is nothing to be taken.
        if self.make_marker().await? { self.take_lease(owner, lease).await } else { Ok(None) }
    }

    async fn take_lease(&self, owner: &str, lease: Duration) -> Result<Option<Keeping>, StoreError> {
        let is_free = doc! { "$lte": ["$leaseUntil", "$$NOW"] };
        let is_ours = doc! { "$eq": ["$owner", { "$literal": owner }] };
        let filter = doc! { "_id": MARKER, "$expr": { "$or": [is_free, is_ours] } };
        let lease =
            doc! { "owner": { "$literal": owner }, "leaseUntil": after_now(lease), "lookedAt": "$$NOW" };
        let catalog = self.vehicles.clone();
        let taken = bounded("take the lease of the catalog", async move {
            let change = vec![doc! { "$set": lease }];
            catalog.find_one_and_update(filter, change).return_document(ReturnDocument::After).await
        })
        .await?;
        let since = taken.and_then(|marker| marker.get_datetime("lookedAt").ok().copied());
        Ok(since.map(|since| Keeping { owner: owner.to_owned(), since }))
    }

    /// Whether there was none.
    async fn make_marker(&self) -> Result<bool, StoreError> {
        let catalog = self.vehicles.clone();
        let made = bounded("begin the catalog", async move {
            let free = doc! { "$setOnInsert": { "leaseUntil": DateTime::from_millis(0) } };
            catalog.update_one(doc! { "_id": MARKER }, free).upsert(true).await
        });
        match made.await {
            Ok(made) => Ok(made.upserted_id.is_some()),
            // Another worker was first.
            Err(StoreError::Driver { source, .. }) if is_duplicate(source.as_ref()) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Lets another worker keep the catalog at once.
    pub async fn resign(&self, owner: &str) -> Result<(), StoreError> {
        let filter = doc! { "_id": MARKER, "owner": owner };
        let catalog = self.vehicles.clone();
        bounded("give the catalog's lease back", async move {
            let change = vec![doc! { "$set": { "leaseUntil": "$$NOW", "owner": null } }];
            catalog.update_one(filter, change).await
        })
        .await
        .map(drop)
    }

    /// Makes the catalog's vehicles these ones, which were listed after `keeping` was given out. For `trusted` from now on, this is all
    /// there are.
    ///
    /// A keeper that was stopped for a while, and is none any more, removes nothing that others have added since.
    pub async fn set_list(
        &self,
        keeping: &Keeping,
        listed: &[VehicleId],
        trusted: Duration,
    ) -> Result<ListChange, StoreError> {
        let known = self.names().await?;
        let listed: BTreeSet<&str> = listed.iter().map(VehicleId::as_str).collect();
        let added: Vec<&str> = listed.iter().copied().filter(|name| !known.contains(*name)).collect();
        let gone: Vec<&str> =
            known.iter().map(String::as_str).filter(|name| !listed.contains(name)).collect();
        for names in added.chunks(BATCH) {
            self.add(keeping, names).await?;
        }
        for names in gone.chunks(BATCH) {
            self.remove(keeping, names).await?;
        }
        self.trust(keeping, trusted).await?;
        // Names that are none of a vehicle were put there by somebody else, and are gone now.
        let parsed = |names: Vec<&str>| names.into_iter().filter_map(|name| name.parse().ok()).collect();
        Ok(ListChange { added: parsed(added), gone: parsed(gone) })
    }

    async fn names(&self) -> Result<BTreeSet<String>, StoreError> {
        let catalog = self.vehicles.clone();
        let found = bounded("list the catalog's vehicles", async move {
            let names = catalog.find(doc! { "_id": { "$ne": MARKER } }).projection(doc! { "_id": 1 });
            let names = names.sort(doc! { "_id": 1 }).await?;
            names
                .map_ok(|document| document.get_str("_id").map(str::to_owned).ok())
                .try_collect::<Vec<_>>()
                .await
        })
        .await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn add(&self, keeping: &Keeping, names: &[&str]) -> Result<(), StoreError> {
        let since = keeping.since;
        let documents: Vec<Document> =
            names.iter().map(|name| doc! { "_id": *name, "addedAt": since, "parameters": [] }).collect();
        let catalog = self.vehicles.clone();
        bounded("add vehicles to the catalog", async move {
            match catalog.insert_many(documents).ordered(false).await {
                // Another keeper has added them.
                Err(error) if are_only_duplicates(&error) => Ok(()),
                outcome => outcome.map(drop),
            }
        })
        .await
    }

    async fn remove(&self, keeping: &Keeping, names: &[&str]) -> Result<(), StoreError> {
        let names: Vec<Bson> = names.iter().map(|name| (*name).into()).collect();
        let filter = doc! { "_id": { "$in": names }, "addedAt": { "$not": { "$gte": keeping.since } } };
        let catalog = self.vehicles.clone();
        bounded("remove vehicles from the catalog", async move { catalog.delete_many(filter).await })
            .await
            .map(drop)
    }

    async fn trust(&self, keeping: &Keeping, trusted: Duration) -> Result<(), StoreError> {
        let filter = doc! { "_id": MARKER, "owner": &keeping.owner };
        let change = vec![doc! { "$set": { "listedAt": "$$NOW", "trustedUntil": after_now(trusted) } }];
        let catalog = self.vehicles.clone();
        bounded("note that the catalog is complete", async move { catalog.update_one(filter, change).await })
            .await
            .map(drop)
    }

    /// Vehicles that nobody has looked at in the time before `keeping` was given out: new ones first, then the longest not looked at.
    pub async fn stalest(
        &self,
        keeping: &Keeping,
        age: Duration,
        limit: i64,
    ) -> Result<Vec<VehicleId>, StoreError> {
        let fresh_from = DateTime::from_millis(keeping.since.timestamp_millis().saturating_sub(millis(age)));
        let filter = doc! { "_id": { "$ne": MARKER }, "triedAt": { "$not": { "$gt": fresh_from } } };
        let catalog = self.vehicles.clone();
        let found = bounded("find what to look at next", async move {
            let oldest = catalog.find(filter).sort(doc! { "triedAt": 1 }).limit(limit);
            oldest.projection(doc! { "_id": 1 }).await?.try_collect::<Vec<_>>().await
        })
        .await?;
        Ok(found.iter().filter_map(|vehicle| vehicle.get_str("_id").ok()?.parse().ok()).collect())
    }

    /// Notes what was found of a vehicle; `None`: that it could not be looked at, so that others have their turn first. A vehicle
    /// that was removed meanwhile stays so.
    pub async fn note(&self, vehicle: &VehicleId, look: Option<&VehicleLook>) -> Result<(), StoreError> {
        let mut change = doc! { "triedAt": "$$NOW" };
        if let Some(look) = look {
            let parameters: Vec<Document> = look.parameters.iter().map(parameter_document).collect();
            let first = look.parameters.iter().filter_map(|parameter| parameter.first_hour_ms).min();
            let last = look.parameters.iter().filter_map(|parameter| parameter.last_hour_ms).max();
            change.insert("refreshedAt", "$$NOW");
            // Names of parameters come from outside: as they are, not as expressions.
            change.insert("parameters", doc! { "$literal": parameters });
            change.insert("isWhole", look.is_whole);
            change.insert("firstHour", first.map(DateTime::from_millis));
            change.insert("lastHour", last.map(DateTime::from_millis));
        }
        let filter = doc! { "_id": vehicle.as_str() };
        let catalog = self.vehicles.clone();
        bounded("note what a vehicle has", async move {
            catalog.update_one(filter, vec![doc! { "$set": change }]).await
        })
        .await
        .map(drop)
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

fn is_duplicate(error: &(dyn std::error::Error + 'static)) -> bool {
    let Some(error) = error.downcast_ref::<Error>() else { return false };
    match &*error.kind {
        ErrorKind::Command(command) => command.code == DUPLICATE_KEY,
        ErrorKind::Write(mongodb::error::WriteFailure::WriteError(write)) => write.code == DUPLICATE_KEY,
        _ => false,
    }
}

fn are_only_duplicates(error: &Error) -> bool {
    let ErrorKind::InsertMany(failed) = &*error.kind else { return false };
    let all = failed.write_errors.iter().flatten();
    failed.write_concern_error.is_none()
        && all.clone().count() > 0
        && all.into_iter().all(|one| one.code == DUPLICATE_KEY)
}
