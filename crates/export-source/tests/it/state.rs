//! The digest of what collections have in a range.

use std::sync::atomic::{AtomicU64, Ordering};

use bson::{Document, doc};
use export_core::{Parameter, TimeRange, VehicleId};
use export_source::{ReadFrom, ReadLimits, SourceThrottle, VehicleDatabases};
use export_testkit::hour::HourBuilder;
use export_testkit::isolation::TestSpace;

use crate::connection::client;

const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 1_543_536_000_000;

/// The digest of two parameters of vehicle 001 in the three hours from the start on.
async fn state(space: &TestSpace, read_from: ReadFrom) -> Option<String> {
    let throttle =
        SourceThrottle::new(&client(space).await, ReadLimits { read_from, ..ReadLimits::default() });
    let databases = VehicleDatabases::with_throttle(&throttle, &space.vehicle_prefix);
    let vehicle: VehicleId = space.vehicle("001").parse().expect("a vehicle");
    let names = ["soc", "odo"].map(|name| name.parse::<Parameter>().expect("a parameter"));
    let collections = names.into_iter().map(|parameter| (vehicle.clone(), parameter));
    let hours = TimeRange::new(START_MS, START_MS + 3 * HOUR_MS).expect("a range");
    let counted = AtomicU64::new(0);
    let count = || {
        counted.fetch_add(1, Ordering::Relaxed);
    };
    let state = databases.state_of(collections, hours, count).await.expect("an answer");
    assert_eq!(counted.into_inner(), if state.is_some() { 2 } else { 0 }, "each collection is progress");
    state
}

async fn add(space: &TestSpace, parameter: &str, start_ms: i64) {
    let hour = HourBuilder::new(start_ms).point(start_ms + 1, 1).build();
    space.insert_hours("001", parameter, vec![hour]).await;
}

#[tokio::test]
async fn added_and_removed_documents_change_it() {
    let space = TestSpace::create().await;
    add(&space, "soc", START_MS).await;
    add(&space, "soc", START_MS + HOUR_MS).await;
    let before = state(&space, ReadFrom::Primary).await.expect("a digest");
    let unchanged = async || state(&space, ReadFrom::Primary).await.as_deref() == Some(&*before);
    assert!(unchanged().await);
    // Outside of the range, or of the collections.
    add(&space, "soc", START_MS + 3 * HOUR_MS).await;
    add(&space, "speed", START_MS).await;
    assert!(unchanged().await);
    let soc = space.mongodb.database(&space.vehicle("001")).collection::<Document>("soc");
    let first = soc.find_one(doc! { "_id": START_MS }).await.expect("an answer").expect("a document");
    let first_id = || doc! { "_id": START_MS };
    soc.update_one(first_id(), doc! { "$set": { "values": {} } }).await.expect("changed");
    assert!(unchanged().await, "a change within a document is not noticed");

    soc.delete_one(first_id()).await.expect("deleted");
    assert!(!unchanged().await, "removed");
    add(&space, "soc", START_MS + 2 * HOUR_MS).await;
    assert!(!unchanged().await, "as many as before, others");
    soc.delete_one(doc! { "_id": START_MS + 2 * HOUR_MS }).await.expect("deleted");
    soc.insert_one(first).await.expect("inserted");
    assert!(unchanged().await, "as it was");
    add(&space, "odo", START_MS).await;
    assert!(!unchanged().await, "added");
    space.cleanup().await;
}

#[tokio::test]
async fn servers_that_may_lag_cannot_be_compared() {
    let space = TestSpace::create().await;
    add(&space, "soc", START_MS).await;
    for read_from in [ReadFrom::PrimaryPreferred, ReadFrom::SecondaryPreferred, ReadFrom::Nearest] {
        assert_eq!(state(&space, read_from).await, None, "{read_from:?}");
    }
    space.cleanup().await;
}
