//! Keys: created once, found by their id, ended by expiry or revocation.

use std::time::Duration;

use bson::{Document, doc};
use chrono::DateTime;
use export_core::access::{AllowedVehicles, Scope};
use export_core::key::{ApiKey, KeyId, RANDOM_BYTES};
use export_store::{FoundKey, KeyEnd, KeyStore, NewKey};
use export_testkit::isolation::TestSpace;

use crate::store::{ago, client};

struct Keys {
    space: TestSpace,
    store: KeyStore,
}

impl Keys {
    async fn create() -> Self {
        let space = TestSpace::create().await;
        let store = KeyStore::new(&client(&space).await, &space.jobs_database);
        Self { space, store }
    }

    async fn made(&self, number: u8, end: KeyEnd) -> ApiKey {
        let key = key(number);
        self.store.create(&new_key(&key, end)).await.expect("a key");
        key
    }

    async fn found(&self, key: &ApiKey) -> FoundKey {
        self.store.find(key.id()).await.expect("an answer").expect("a key")
    }

    /// Changes the stored key without the store.
    async fn tamper(&self, id: &KeyId, changes: Document) {
        let stored = self.space.mongodb.database(&self.space.jobs_database).collection::<Document>("apiKeys");
        let outcome = stored.update_one(doc! { "_id": id.as_str() }, vec![doc! { "$set": changes }]).await;
        assert_eq!(outcome.expect("an answer").matched_count, 1);
    }
}

fn key(number: u8) -> ApiKey {
    ApiKey::new(&[number; RANDOM_BYTES])
}

fn new_key(key: &ApiKey, end: KeyEnd) -> NewKey {
    NewKey {
        id: key.id().clone(),
        hash: key.hash(),
        tenant: "acme".parse().expect("a tenant"),
        name: "dashboard".parse().expect("a name"),
        scopes: vec![Scope::Read, Scope::Write],
        vehicles: AllowedVehicles::Like(vec!["vehicle_0*".parse().expect("a pattern")]),
        end,
    }
}

#[tokio::test]
async fn a_key_is_found_as_it_was_made_and_its_secret_is_nowhere() {
    let keys = Keys::create().await;
    assert!(!keys.store.has_any().await.expect("an answer"));
    keys.made(3, KeyEnd::After(Duration::ZERO)).await;
    assert!(!keys.store.has_any().await.expect("an answer"), "one that has ended is none");
    keys.made(4, KeyEnd::After(Duration::from_hours(1))).await;
    assert!(keys.store.has_any().await.expect("an answer"));
    keys.store.revoke(self::key(4).id()).await.expect("an answer");
    assert!(!keys.store.has_any().await.expect("an answer"), "nor is one that was revoked");
    let key = keys.made(1, KeyEnd::Never).await;
    let FoundKey { key: found, good_for } = keys.found(&key).await;
    assert!(found.is_of(&key) && !found.is_of(&self::key(2)));
    assert_eq!(good_for, None);
    let principal = found.principal();
    assert_eq!((principal.name.as_str(), principal.tenant.as_str()), (key.id().as_str(), "acme"));
    assert!(principal.may(Scope::Write) && !principal.may(Scope::Admin));
    assert_eq!(principal.vehicles, new_key(&key, KeyEnd::Never).vehicles);
    assert_eq!(found.name.as_str(), "dashboard");
    assert!(keys.store.has_any().await.expect("an answer"));

    let stored = keys.space.mongodb.database(&keys.space.jobs_database).collection::<Document>("apiKeys");
    let document = stored
        .find_one(doc! { "_id": key.id().as_str() })
        .await
        .expect("an answer")
        .expect("a document")
        .to_string();
    let (_, secret) =
        key.reveal().rsplit_once('_').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a secret");
    assert!(!document.contains(&secret) && document.contains(&key.hash().to_hex()), "{document}");
    assert!(keys.store.find(self::key(2).id()).await.expect("an answer").is_none());
    keys.space.cleanup().await;
}

#[tokio::test]
async fn an_id_is_not_had_twice() {
    let keys = Keys::create().await;
    let key = keys.made(1, KeyEnd::Never).await;
    let mut other = new_key(&key, KeyEnd::Never);
    other.hash = self::key(2).hash();
    keys.store.create(&other).await.expect_err("the id is taken");
    assert!(keys.found(&key).await.key.is_of(&key), "the first is as it was");
    keys.space.cleanup().await;
}

#[tokio::test]
async fn keys_end_by_time_and_by_hand() {
    let keys = Keys::create().await;
    let day = Duration::from_hours(24);
    let lasting = keys.made(1, KeyEnd::After(day)).await;
    let FoundKey { key, good_for } = keys.found(&lasting).await;
    assert_eq!(key.expires_at.map(|end| end - key.created_at), Some(chrono::TimeDelta::days(1)));
    let good_for = good_for.expect("it ends");
    assert!(good_for <= day && good_for > Duration::from_hours(23), "{good_for:?}");

    let ended = keys.made(2, KeyEnd::At(DateTime::UNIX_EPOCH)).await;
    assert_eq!(keys.found(&ended).await.good_for, Some(Duration::ZERO));
    keys.tamper(lasting.id(), doc! { "expiresAt": ago(Duration::from_secs(1)) }).await;
    assert_eq!(keys.found(&lasting).await.good_for, Some(Duration::ZERO));

    let revoked = keys.made(3, KeyEnd::Never).await;
    let first = keys.store.revoke(revoked.id()).await.expect("an answer").expect("a key").revoked_at;
    assert!(first.is_some());
    let again = keys.store.revoke(revoked.id()).await.expect("an answer").expect("a key").revoked_at;
    assert_eq!(again, first, "the time of the first stays");
    assert_eq!(keys.found(&revoked).await.good_for, Some(Duration::ZERO));
    assert!(keys.store.revoke(self::key(4).id()).await.expect("an answer").is_none());
    keys.space.cleanup().await;
}

#[tokio::test]
async fn keys_are_listed_by_tenant() {
    let keys = Keys::create().await;
    keys.made(1, KeyEnd::Never).await;
    let other = NewKey { tenant: "other".parse().expect("a tenant"), ..new_key(&key(2), KeyEnd::Never) };
    keys.store.create(&other).await.expect("a key");
    let ids = |listed: Vec<export_core::key::StoredKey>| {
        let mut ids: Vec<KeyId> = listed.into_iter().map(|key| key.id).collect();
        ids.sort();
        ids
    };
    let all = keys.store.list(None).await.expect("keys");
    assert_eq!(ids(all), [key(1).id().clone(), key(2).id().clone()]);
    let one = keys.store.list(Some(&other.tenant)).await.expect("keys");
    assert_eq!(ids(one), [key(2).id().clone()]);
    keys.space.cleanup().await;
}

#[tokio::test]
async fn a_malformed_key_document_is_reported_without_its_content() {
    let keys = Keys::create().await;
    for (number, changes) in [
        (1, doc! { "hash": "hunter2" }),
        (2, doc! { "scopes": ["hunter2"] }),
        (3, doc! { "vehicles": ["hunter2 $"] }),
        (4, doc! { "tenant": "hunter2!" }),
    ] {
        let key = keys.made(number, KeyEnd::Never).await;
        keys.tamper(key.id(), changes).await;
        let error = keys.store.find(key.id()).await.expect_err("no key");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
    keys.space.cleanup().await;
}
