//! API keys in the collection `apiKeys`: an administrator creates and revokes them, the API looks
//! them up.

use std::time::Duration;

use bson::{Bson, DateTime, Document, doc};
use chrono::Utc;
use export_core::Tenant;
use export_core::access::{AllowedVehicles, Scope, VehiclePattern};
use export_core::key::{KeyHash, KeyId, KeyName, StoredKey};
use export_mongo::StoreError;
use export_mongo::client::MongoClient;
use export_mongo::clock::millis;
use export_mongo::documents::Documents;
use mongodb::options::{AggregateOptions, FindOptions};
use serde::Deserialize;

use crate::jobs::document::to_chrono;

/// Maximum number of keys in a list: a few megabytes.
const MAX_LISTED: i64 = 10_000;

/// A key to be created.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The public id.
    pub id: KeyId,
    /// The hash of the secret.
    pub hash: KeyHash,
    /// The tenant whose jobs the key gives access to.
    pub tenant: Tenant,
    /// A name chosen by the owner.
    pub name: KeyName,
    /// The granted rights.
    pub scopes: Vec<Scope>,
    /// The vehicles that the key gives access to.
    pub vehicles: AllowedVehicles,
    /// When the key expires.
    pub end: KeyEnd,
}

/// When a key expires.
#[derive(Clone, Copy, Debug)]
pub enum KeyEnd {
    /// Never.
    Never,
    /// This long after its creation, by the server's clock.
    After(Duration),
    /// At this time.
    At(chrono::DateTime<Utc>),
}

/// A stored key and its remaining validity.
#[derive(Clone, Debug)]
pub struct FoundKey {
    /// The key.
    pub key: StoredKey,
    /// The remaining validity by the server's clock: zero when the key has expired or was revoked,
    /// `None` when it never expires.
    pub good_for: Option<Duration>,
}

/// The collection `apiKeys` of the jobs' database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KeyStore {
    keys: Documents,
}

impl KeyStore {
    /// The keys in this database.
    pub fn new(mongo: &MongoClient, database: &str) -> Self {
        Self { keys: Documents::new(mongo, database, "apiKeys") }
    }

    /// Stores a new key. Fails and changes nothing when the id exists.
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
        // An upsert, because only updates can use the server's time. An existing key of this id
        // does not match the filter, so the upsert fails by the unique `_id`.
        let filter = doc! { "_id": new.id.as_str(), "hash": null };
        read_key(self.keys.upsert("create a key", filter, pipeline, doc! {}).await?)
    }

    /// The keys of one tenant or of all tenants, newest first.
    pub async fn list(&self, tenant: Option<&Tenant>) -> Result<Vec<StoredKey>, StoreError> {
        let filter = tenant.map_or_else(Document::new, |tenant| doc! { "tenant": tenant.as_str() });
        let newest_first = FindOptions::builder().sort(doc! { "createdAt": -1, "_id": 1 });
        let found = self.keys.find("list keys", filter, newest_first.limit(MAX_LISTED).build()).await?;
        found.into_iter().map(read_key).collect()
    }

    /// Revokes a key; `None` when it does not exist. Idempotent.
    pub async fn revoke(&self, id: &KeyId) -> Result<Option<StoredKey>, StoreError> {
        let filter = doc! { "_id": id.as_str() };
        let changes = doc! { "revokedAt": { "$ifNull": ["$revokedAt", "$$NOW"] } };
        self.keys.change_one("revoke a key", filter, changes).await?.map(read_key).transpose()
    }

    /// The key with this id, valid or not.
    pub async fn find(&self, id: &KeyId) -> Result<Option<FoundKey>, StoreError> {
        let remaining = doc! { "$subtract": ["$expiresAt", "$$NOW"] };
        let stages = vec![
            doc! { "$match": { "_id": id.as_str() } },
            doc! { "$set": { "remainingMs": { "$cond": [{ "$gt": ["$revokedAt", null] }, 0_i64, remaining] } } },
        ];
        let found = self.keys.aggregate("look up a key", stages, AggregateOptions::default()).await?;
        let Some(document) = found.into_iter().next() else { return Ok(None) };
        let good_for = match document.get("remainingMs") {
            Some(Bson::Int64(remaining)) => Some(Duration::from_millis((*remaining).try_into().unwrap_or(0))),
            _ => None,
        };
        Ok(Some(FoundKey { key: read_key(document)?, good_for }))
    }

    /// Whether any key is valid: neither revoked nor, by the server's clock, expired.
    pub async fn has_any(&self) -> Result<bool, StoreError> {
        let has_time = doc! { "$expr": { "$gt": ["$expiresAt", "$$NOW"] } };
        let is_good = doc! { "revokedAt": null, "$or": [{ "expiresAt": null }, has_time] };
        self.keys.find_one("look for keys", is_good, doc! { "_id": 1 }).await.map(|found| found.is_some())
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
    /// `None` for all vehicles.
    vehicles: Option<Vec<VehiclePattern>>,
    created_at: DateTime,
    expires_at: Option<DateTime>,
    revoked_at: Option<DateTime>,
}

fn read_key(document: Document) -> Result<StoredKey, StoreError> {
    // Without the driver's message, which may repeat stored values.
    let corrupt = || StoreError::Corrupt("key in apiKeys".to_owned());
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
