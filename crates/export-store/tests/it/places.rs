//! Run slots: never more than the limit, and a dead worker's slot becomes free.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use bson::{Document, doc};
use export_store::{RunSlot, RunSlots};
use futures_util::TryStreamExt;
use mongodb::Collection;

use crate::store::{LEASE, TestStore, ago, client, new_id};

const THREE: NonZeroU32 = NonZeroU32::new(3).expect("not zero");
const FIVE: NonZeroU32 = NonZeroU32::new(5).expect("not zero");

struct TestPlaces {
    store: TestStore,
    places: RunSlots,
    stored: Collection<Document>,
}

impl TestPlaces {
    async fn create() -> Self {
        let store = TestStore::create().await;
        let places = RunSlots::new(&client(&store.space).await, &store.space.jobs_database);
        let stored = store.space.mongodb.database(&store.space.jobs_database).collection("places");
        Self { store, places, stored }
    }

    async fn take(&self, limit: NonZeroU32, owner: &str) -> Option<RunSlot> {
        self.places.take(limit, owner, new_id(), LEASE).await.expect("an answer")
    }

    async fn owners(&self) -> BTreeSet<String> {
        let held = self.stored.find(doc! { "$expr": { "$gt": ["$leaseUntil", "$$NOW"] } });
        let held: Vec<Document> = held.await.expect("an answer").try_collect().await.expect("places");
        held.iter().map(|place| place.get_str("owner").expect("an owner").to_owned()).collect()
    }

    /// Expires the leases of all slots.
    async fn expire(&self) {
        let over = vec![doc! { "$set": { "leaseUntil": ago(Duration::from_millis(1)) } }];
        self.stored.update_many(doc! {}, over).await.expect("an answer");
    }

    /// Moves all stored times ahead.
    async fn shift(&self, time: Duration) {
        let ahead_ms = i64::try_from(time.as_millis()).expect("a short time");
        let later = vec![doc! { "$set": { "leaseUntil": { "$add": ["$leaseUntil", ahead_ms] } } }];
        self.stored.update_many(doc! {}, later).await.expect("an answer");
    }

    async fn end(self) {
        self.store.space.cleanup().await;
    }
}

#[tokio::test]
async fn however_many_want_one_there_are_no_more_than_the_limit() {
    let test = TestPlaces::create().await;
    let wanting = (0..40).map(|number| {
        let places = test.places.clone();
        tokio::spawn(async move { places.take(THREE, &format!("worker-{number}"), new_id(), LEASE).await })
    });
    let mut taken = Vec::new();
    for wanted in wanting.collect::<Vec<_>>() {
        taken.extend(wanted.await.expect("no panic").expect("an answer"));
    }
    assert_eq!(taken.len(), 3, "{taken:?}");
    assert_eq!(test.owners().await.len(), 3);

    test.places.give_back(&taken[1]).await.expect("an answer");
    assert!(test.take(THREE, "next").await.is_some());
    assert!(test.take(THREE, "one too many").await.is_none());
    assert!(test.owners().await.contains("next"));
    test.end().await;
}

#[tokio::test]
async fn the_place_of_a_dead_worker_is_free_after_its_lease_and_no_longer_its_own() {
    let test = TestPlaces::create().await;
    let one = NonZeroU32::MIN;
    let dead = test.take(one, "dead").await.expect("a place");
    assert!(test.take(one, "other").await.is_none(), "its lease has not passed");
    assert!(test.places.renew(&dead, LEASE).await.expect("an answer"));

    test.expire().await;
    assert!(test.places.renew(&dead, LEASE).await.expect("an answer"), "no other worker wanted it");
    test.expire().await;
    let other = test.take(one, "other").await.expect("a place");

    // The dead worker resumes: it can neither keep the slot nor take it from its new holder.
    assert!(!test.places.renew(&dead, LEASE).await.expect("an answer"));
    test.places.give_back(&dead).await.expect("an answer");
    assert_eq!(test.owners().await, BTreeSet::from(["other".to_owned()]));
    assert!(test.places.renew(&other, LEASE).await.expect("an answer"));
    test.end().await;
}

/// The primary's clock is set back by an hour, or the next primary's is an hour behind: stored
/// times seem to be an hour ahead.
#[tokio::test]
async fn a_clock_that_goes_back_keeps_no_place_taken() {
    let test = TestPlaces::create().await;
    let one = NonZeroU32::MIN;
    let given_back = test.take(one, "early").await.expect("a place");
    test.places.give_back(&given_back).await.expect("an answer");
    test.shift(Duration::from_hours(1)).await;
    let held = test.take(one, "at work").await.expect("it is free");

    // A working holder renews it by the new clock, and keeps it.
    test.shift(Duration::from_hours(1)).await;
    assert!(test.places.renew(&held, LEASE).await.expect("an answer"));
    assert!(test.take(one, "other").await.is_none(), "it is held");
    // A small step of the clock costs no worker its slot.
    test.shift(LEASE / 2).await;
    assert!(test.take(one, "other").await.is_none(), "it is held");
    // A dead worker's slot is not held for an hour.
    test.shift(Duration::from_hours(1)).await;
    let other = test.take(one, "other").await.expect("a place");
    assert!(!test.places.renew(&held, LEASE).await.expect("an answer"));
    assert!(test.places.renew(&other, LEASE).await.expect("an answer"));
    test.end().await;
}

#[tokio::test]
async fn a_limit_can_be_raised_and_lowered_and_places_that_were_dropped_come_back() {
    let test = TestPlaces::create().await;
    let mut taken = Vec::new();
    for _ in 0..3 {
        taken.push(test.take(THREE, "early").await.expect("a place"));
    }
    taken.push(test.take(FIVE, "after it was raised").await.expect("a place"));
    taken.push(test.take(FIVE, "after it was raised").await.expect("a place"));
    assert!(test.take(FIVE, "one too many").await.is_none());

    // Lowered again: the first three count, whichever workers hold the others.
    assert!(test.take(THREE, "after it was lowered").await.is_none());
    for place in &taken {
        test.places.give_back(place).await.expect("an answer");
    }
    for _ in 0..3 {
        assert!(test.take(THREE, "after it was lowered").await.is_some());
    }
    assert!(test.take(THREE, "one too many").await.is_none());

    test.stored.delete_many(doc! {}).await.expect("an answer");
    assert!(test.take(THREE, "after they were dropped").await.is_some());
    assert!(!test.places.renew(&taken[0], LEASE).await.expect("an answer"), "of another time");
    test.end().await;
}
