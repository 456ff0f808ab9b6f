//! The API's keys, in `apiKeys`: made and revoked by an administrator, looked up by the API.

use std::time::Duration;

use bson::{Bson, DateTime, Document, doc};
use chrono::Utc;
use export_core::Tenant;
use export_core::access::{AllowedVehicles, Scope, VehiclePattern};
use export_core::key::{KeyHash, KeyId, KeyName, StoredKey};
use export_mongo::StoreError;
use export_mongo::client::{MongoClient, bounded, durable};
use export_mongo::clock::millis;
use futures_util::TryStreamExt;
use mongodb::Collection;
use mongodb::options::ReturnDocument;
use serde::Deserialize;

use crate::jobs::document::to_chrono;

/// Most keys of one listing: more than anybody reads, and a few megabytes.
const MAX_LISTED: i64 = 10_000;

/// A key that is to be.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Names it.
    pub id: KeyId,
    /// Of its secret.
    pub hash: KeyHash,
    /// Whose jobs its owner sees.
    pub tenant: Tenant,
    /// What its owner calls it.
    pub name: KeyName,
    /// What its owner may do.
    pub scopes: Vec<Scope>,
    /// Which vehicles its owner may see.
    pub vehicles: AllowedVehicles,
    /// When it ends by itself.
    pub end: KeyEnd,
}

/// When a key ends by itself.
#[derive(Clone, Copy, Debug)]
pub enum KeyEnd {
    /// Not at all.
    Never,
    /// So long after it was made, by the server's clock.
    After(Duration),
    /// Then.
    At(chrono::DateTime<Utc>),
}

/// A key as the API finds it.
#[derive(Clone, Debug)]
pub struct FoundKey {
    /// The key.
    pub key: StoredKey,
    /// How long it is good for, by the server's clock: zero where it has ended or was revoked; `None` where it does not end.
    pub good_for: Option<Duration>,
}

/// The collection `apiKeys` of the jobs' database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KeyStore {
    keys: Collection<Document>,
}

impl KeyStore {
    /// The keys in this database.
    pub fn new(mongo: &MongoClient, database: &str) -> Self {
        Self { keys: mongo.client().database(database).collection_with_options("apiKeys", durable()) }
    }

    /// Keeps a new key. An id that is taken is an error, and changes nothing.
    pub async fn create(&self, new: &NewKey) -> Result<StoredKey, StoreError> {
        let vehicles = match &new.vehicles {
            AllowedVehicles::All => Bson::Null,
            AllowedVehicles::Like(patterns) => patterns.iter().map(VehiclePattern::as_str).collect(),
        };
        let expires_at = match new.end {
            KeyEnd::Never => Bson::Null,
            KeyEnd::After(time) => doc! { "$add": ["$$NOW", millis(time)] }.into(),
            KeyEnd::At(time) => DateTime::from_millis(time.timestamp_millis()).into(),
        };
        let scopes: Vec<&str> = new.scopes.iter().map(|scope| scope.as_str()).collect();
        let literal = doc! { "$literal": {
            "_id": new.id.as_str(),
            "hash": new.hash.to_hex(),
            "tenant": new.tenant.as_str(),
            "name": new.name.as_str(),
            "scopes": scopes,
            "vehicles": vehicles,
            "revokedAt": null,
        } };
        let times = doc! { "createdAt": "$$NOW", "expiresAt": expires_at };
        let pipeline = vec![doc! { "$replaceWith": { "$mergeObjects": [literal, times] } }];
        // Upserted, because only updates can take the server's time; a key of this id that is there does not match, and its
        // id cannot be had twice.
        let filter = doc! { "_id": new.id.as_str(), "hash": null };
        let keys = self.keys.clone();
        let made = bounded("make a key", async move {
            keys.find_one_and_update(filter, pipeline)
                .upsert(true)
                .return_document(ReturnDocument::After)
                .await
        });
        let made = made
            .await?
            .ok_or_else(|| StoreError::Corrupt("the key that was made is not there".to_owned()))?;
        read_key(made)
    }

    /// Keys, newest first, of one tenant or of all.
    pub async fn list(&self, tenant: Option<&Tenant>) -> Result<Vec<StoredKey>, StoreError> {
        let filter = tenant.map_or_else(Document::new, |tenant| doc! { "tenant": tenant.as_str() });
        let keys = self.keys.clone();
        let found: Vec<Document> = bounded("list keys", async move {
            let found = keys.find(filter).sort(doc! { "createdAt": -1, "_id": 1 }).limit(MAX_LISTED).await?;
            found.try_collect().await
        })
        .await?;
        found.into_iter().map(read_key).collect()
    }

    /// Ends a key; `None` where there is none. Doing it again changes nothing.
    pub async fn revoke(&self, id: &KeyId) -> Result<Option<StoredKey>, StoreError> {
        let filter = doc! { "_id": id.as_str() };
        let change = vec![doc! { "$set": { "revokedAt": { "$ifNull": ["$revokedAt", "$$NOW"] } } }];
        let keys = self.keys.clone();
        let revoked = bounded("revoke a key", async move {
            keys.find_one_and_update(filter, change).return_document(ReturnDocument::After).await
        });
        revoked.await?.map(read_key).transpose()
    }

    /// The key of this id, whether it is still good or not.
    pub async fn find(&self, id: &KeyId) -> Result<Option<FoundKey>, StoreError> {
        let remaining = doc! { "$subtract": ["$expiresAt", "$$NOW"] };
        let stages = [
            doc! { "$match": { "_id": id.as_str() } },
            doc! { "$set": { "remainingMs": { "$cond": [{ "$gt": ["$revokedAt", null] }, 0_i64, remaining] } } },
        ];
        let keys = self.keys.clone();
        let found: Option<Document> = bounded("look up a key", async move {
            let mut found = keys.aggregate(stages).await?;
            if found.advance().await? { found.deserialize_current().map(Some) } else { Ok(None) }
        })
        .await?;
        let Some(document) = found else { return Ok(None) };
        let good_for = match document.get("remainingMs") {
            Some(Bson::Int64(remaining)) => Some(Duration::from_millis((*remaining).try_into().unwrap_or(0))),
            _ => None,
        };
        Ok(Some(FoundKey { key: read_key(document)?, good_for }))
    }

    /// Whether there is any key that is good: neither revoked nor, by the server's clock, at its end.
    pub async fn has_any(&self) -> Result<bool, StoreError> {
        let keys = self.keys.clone();
        let has_time = doc! { "$expr": { "$gt": ["$expiresAt", "$$NOW"] } };
        let is_good = doc! { "revokedAt": null, "$or": [{ "expiresAt": null }, has_time] };
        let found = bounded("look for keys", async move { keys.find_one(is_good).await });
        found.await.map(|found| found.is_some())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    #[serde(rename = "_id")]
    id: KeyId,
    hash: String,
    tenant: Tenant,
    #[serde(default)]
    name: KeyName,
    scopes: Vec<Scope>,
    /// None: all of them.
    vehicles: Option<Vec<VehiclePattern>>,
    created_at: DateTime,
    expires_at: Option<DateTime>,
    revoked_at: Option<DateTime>,
}

fn read_key(document: Document) -> Result<StoredKey, StoreError> {
    // Without the driver's words, which may repeat what was stored.
    let corrupt = || StoreError::Corrupt("a key in apiKeys does not read as one".to_owned());
    let stored: Stored = bson::deserialize_from_document(document).map_err(|_| corrupt())?;
    Ok(StoredKey {
        id: stored.id,
        hash: KeyHash::from_hex(&stored.hash).ok_or_else(corrupt)?,
        tenant: stored.tenant,
        name: stored.name,
        scopes: stored.scopes,
        vehicles: stored.vehicles.map_or(AllowedVehicles::All, AllowedVehicles::Like),
        created_at: to_chrono(stored.created_at),
        expires_at: stored.expires_at.map(to_chrono),
        revoked_at: stored.revoked_at.map(to_chrono),
    })
}
